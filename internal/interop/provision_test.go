//go:build interop

package interop

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

func mustPopulation(t *testing.T, cfg population.Config) *population.Population {
	t.Helper()
	p, err := population.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustApply(t *testing.T, s *Server, pops ...*population.Population) {
	t.Helper()
	if err := tryApply(t, s, pops...); err != nil {
		t.Fatal(err)
	}
}

func tryApply(t *testing.T, s *Server, pops ...*population.Population) error {
	t.Helper()
	plan, err := provision.NewPlan(s.Spec, pops...)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Apply(t.Context(), nil)
}

func mustTeardown(t *testing.T, s *Server) {
	t.Helper()
	if err := provision.Teardown(t.Context(), s.Spec, nil); err != nil {
		t.Fatal(err)
	}
}

// massive returns single accounts with rosters of 1 000, 10 000 and 100 000
// items, and a thousand accounts with 20.
func massive(t *testing.T, domain string) (pops []*population.Population) {
	t.Helper()
	for _, size := range []int{1_000, 10_000, 100_000} {
		pops = append(pops, mustPopulation(t, population.Config{
			Seed: 1, Domains: []string{domain}, Pattern: "r{n}-{i:06}", Accounts: 1, Contacts: size, ItemBytes: 120,
		}))
	}
	return append(pops, mustPopulation(t, population.Config{
		Seed: 1, Domains: []string{domain}, Accounts: 1_000, Contacts: 20,
	}))
}

// TestProvisionRosters creates massive rosters and many accounts, has a foreign
// client read them, and takes them away.
func TestProvisionRosters(t *testing.T) {
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true, Versioning: true})
			pops := massive(t, s.Domains[0])
			mustApply(t, s, pops...)
			s.Start(t)
			for _, p := range pops {
				for _, i := range slices.Compact([]int{0, p.Accounts() / 2, p.Accounts() - 1}) {
					checkRoster(t, s, p, i)
				}
			}

			var exists *provision.ExistsError
			s.Stop(t)
			again := s.Spec
			again.Ledger = filepath.Join(s.Dir, "other-ledger.jsonl")
			plan, err := provision.NewPlan(again, pops[3])
			if err != nil {
				t.Fatal(err)
			}
			if err := plan.Apply(t.Context(), nil); !errors.As(err, &exists) || exists.Run != "" {
				t.Errorf("accounts of another ledger: %v", err)
			}

			mustTeardown(t, s)
			s.Start(t)
			checkNoLogin(t, s, pops[2], 0)
			checkNoLogin(t, s, pops[3], 999)
		})
	}
}

// TestProvisionKeys stores SCRAM keys instead of passwords.
func TestProvisionKeys(t *testing.T) {
	for _, hash := range []string{"SHA-1", "SHA-256"} {
		for kind, create := range servers() {
			t.Run(kind+", "+hash, func(t *testing.T) {
				t.Parallel()
				s := create(t, Options{Storage: hash})
				s.Spec.Hash = hash
				p := mustPopulation(t, population.Config{Seed: 5, Domains: s.Domains, Accounts: 5, Contacts: 10})
				mustApply(t, s, p)
				s.Start(t)
				checkRoster(t, s, p, 0)
				checkRoster(t, s, p, 4)
				s.Stop(t)
				mustTeardown(t, s)
			})
		}
	}
}

// TestProvisionRunningServers creates accounts while the server runs, at two
// domains, beside an account that must survive.
func TestProvisionRunningServers(t *testing.T) {
	domains := []string{"a1.test", "a2.test"}
	for kind, start := range map[string]func(*testing.T) *Server{
		"prosody, plain":   func(t *testing.T) *Server { return StartProsody(t, Options{Domains: domains}) },
		"prosody, SHA-1":   func(t *testing.T) *Server { return StartProsody(t, Options{Domains: domains, Storage: "SHA-1"}) },
		"prosody, SHA-256": func(t *testing.T) *Server { return StartProsody(t, Options{Domains: domains, Storage: "SHA-256"}) },
		"ejabberd, plain":  func(t *testing.T) *Server { return StartEjabberd(t, Options{Domains: domains, Mnesia: true}) },
		"ejabberd, SHA-256": func(t *testing.T) *Server {
			return StartEjabberd(t, Options{Domains: domains, Mnesia: true, Storage: "SHA-256"})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			theirs := mustPopulation(t, population.Config{Seed: 2, Domains: domains, Pattern: "theirs{i}", Accounts: 2, Contacts: 30, Settled: s.Mnesia})
			mustApply(t, s, theirs)
			// Whoever loses the ledger loses the accounts to it.
			if err := os.Rename(s.Spec.Ledger, s.Spec.Ledger+".theirs"); err != nil {
				t.Fatal(err)
			}
			var exists *provision.ExistsError
			if err := tryApply(t, s, theirs); !errors.As(err, &exists) || exists.Run != "" || len(exists.JIDs) != 2 {
				t.Errorf("existing accounts: %v", err)
			}

			ours := mustPopulation(t, population.Config{Seed: 3, Domains: domains, Accounts: 100, Contacts: 50, Settled: s.Mnesia})
			mustApply(t, s, ours)
			for _, i := range []int{0, 1, 99} {
				checkRoster(t, s, ours, i)
			}
			if err := tryApply(t, s, ours); !errors.As(err, &exists) || exists.Run == "" {
				t.Errorf("accounts of the same ledger: %v", err)
			}
			mustTeardown(t, s)
			checkNoLogin(t, s, ours, 0)
			checkNoLogin(t, s, ours, 99)
			checkRoster(t, s, theirs, 0)
			checkRoster(t, s, theirs, 1)
		})
	}
}
