package provision_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

// BenchmarkProsody writes accounts and rosters, with the ledger and all checks.
func BenchmarkProsody(b *testing.B) {
	for _, c := range []struct{ accounts, contacts int }{{10_000, 0}, {1, 100_000}, {1_000, 1_000}} {
		b.Run(fmt.Sprintf("%dx%d", c.accounts, c.contacts), func(b *testing.B) {
			p, err := population.New(population.Config{Domains: []string{"a.test"}, Accounts: c.accounts, Contacts: c.contacts})
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				n++
				data := filepath.Join(b.TempDir(), fmt.Sprint(n))
				if err := os.Mkdir(data, 0o755); err != nil {
					b.Fatal(err)
				}
				plan, err := provision.NewPlan(provision.Spec{Server: "prosody", Data: data, Ledger: data + ".jsonl"}, p)
				if err != nil {
					b.Fatal(err)
				}
				if err := plan.Apply(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
