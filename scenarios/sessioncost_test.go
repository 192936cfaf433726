package scenarios

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/simulator"
)

// paid is what a few sessions come to.
const paid = `
scenario: session-cost
accounts: 6
roster: {items: 25}
logins: {rate: closed 4}
messages: {each: 3}
hold: {settle: 0s}
blocks: 1
`

// TestSessionCost holds what is counted against the closed forms, for every variant.
func TestSessionCost(t *testing.T) {
	every := 8 // blocks, as many as the number of variants needs
	tests := []struct {
		name     string
		set      []string
		variants []string
		blocks   *int
	}{
		{"every variant", []string{"login.tls=none", "accounts=3", "messages.each=1", "roster.state=cold", "simulator.iterations=1"}, []string{"all"}, &every},
		{"over TLS", nil, nil, nil},
		{"no messages", []string{"login.tls=none", "messages.each=0"}, []string{"chunked-pull"}, nil},
		{"empty rosters", []string{"login.tls=none", "roster.items=0"}, nil, nil},
		{"some online, on schedule", []string{"login.tls=none", "online.sessions=4", "logins.rate=200/s"}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clock := time.Duration(0)
			o := Override{Set: tt.set, Variants: tt.variants, Blocks: tt.blocks}
			run, outcome, err := carryOut(t, paid, o, rig{cpu: func() time.Duration { clock += time.Second; return clock }})
			if err != nil || len(outcome.Failed)+len(outcome.Skipped) > 0 {
				t.Fatalf("error %v, failed %v, skipped %v", err, outcome.Failed, outcome.Skipped)
			}
			plans, err := Parse("x.yaml", []byte(paid), o)
			if err != nil {
				t.Fatal(err)
			}
			p := plans[0]
			if want := p.Blocks * len(p.Arms); len(run.Blocks) != want {
				t.Fatalf("%d blocks, want %d", len(run.Blocks), want)
			}
			n := p.online(p.Accounts)
			for _, b := range run.Blocks {
				got := b.Scalars
				for name, want := range map[string]int{"sessions": n, "roster.items": n * p.Roster.Items, "messages.sent": n * p.Messages.Each, "logins.failed": 0, "login.n": n} {
					if got[name] != float64(want) {
						t.Errorf("%s: %s is %v, want %d", b.Variant, name, got[name], want)
					}
				}
				// A login, a roster with names and a ping are not less.
				if got["bytes.in"] < float64(n*(800+100*p.Roster.Items)) || got["bytes.out"] < float64(n*500) || got["stanzas"] < float64(4*n+2*n*p.Messages.Each) {
					t.Errorf("%s: %v bytes in, %v out, %v stanzas", b.Variant, got["bytes.in"], got["bytes.out"], got["stanzas"])
				}
				if clear := p.Login.TLS == "none"; clear != (got["bytes.in.tls"] == got["bytes.in"]) {
					t.Errorf("%s: %v bytes on the socket of %v", b.Variant, got["bytes.in.tls"], got["bytes.in"])
				}
				if got["cpu.server"] < 1 || got["cpu.client"] <= 0 || got["rss.client"] <= 0 || got["fds.client"] <= 0 {
					t.Errorf("%s: costs %v", b.Variant, got)
				}
			}
			for _, c := range run.Counts {
				if !c.Equal {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

// What was not done has no price.
func TestSessionCostFails(t *testing.T) {
	clear := Override{Set: []string{"login.tls=none"}}
	t.Run("other rosters", func(t *testing.T) {
		t.Parallel()
		_, _, err := carryOut(t, paid, clear, rig{wrong: true})
		if _, ok := errors.AsType[*CountError](err); !ok {
			t.Errorf("error %v, want a CountError", err)
		}
	})
	t.Run("nobody may log in", func(t *testing.T) {
		t.Parallel()
		_, _, err := carryOut(t, paid, clear, rig{password: "wrong"})
		if _, ok := errors.AsType[*UnreachableError](err); !ok {
			t.Errorf("error %v, want an UnreachableError", err)
		}
	})
	t.Run("one has no account", func(t *testing.T) {
		t.Parallel()
		_, _, err := carryOut(t, paid, clear, rig{config: func(c *simulator.Config) { c.Populations[0].Accounts = 5 }})
		if err == nil || !strings.Contains(err.Error(), "5 of 6") {
			t.Errorf("error %v", err)
		}
	})
}

func TestSessionCostRefuses(t *testing.T) {
	for set, want := range map[string]string{
		"online.sessions=7":                               "7 sessions are to be online, one of each account, and there are 6 accounts",
		"logins.rate=hold 1/s for 2s":                     "ends before 6 sessions are online",
		"variants={variant: versioned, state: unchanged}": "sessions of many accounts have no primed caches",
		"messages.rate=5/s":                               "messages.rate",
		"messages.each=-1":                                "messages.each",
		"presence.send=after":                             "presence.send",
	} {
		if _, err := Parse("x.yaml", []byte(paid), Override{Set: []string{set}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", set, err, want)
		}
	}
	if _, err := Parse("x.yaml", []byte("scenario: message-steady\nmessages: {each: 5, rate: 1/s}\n"), Override{}); err == nil || !strings.Contains(err.Error(), "messages.each") {
		t.Errorf("error %v", err)
	}
}

// modelled runs a scenario file as the command does, which tells the model what ran.
func modelled(t *testing.T, id, source string) *results.Run {
	t.Helper()
	plans, err := Parse("x.yaml", []byte(source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	run, outcome, err := carryOutPlans(t, plans, rig{})
	if err != nil || len(outcome.Failed) > 0 {
		t.Fatalf("error %v, failed %v", err, outcome.Failed)
	}
	m := &run.Manifest
	m.ID, m.Config, m.Targets = id, map[string]any{"plans": plans}, []results.TargetInfo{{Name: "lab", Server: SimulatorServer}}
	for _, arm := range plans[0].Arms {
		m.Variants = append(m.Variants, arm.Label)
	}
	for _, p := range plans {
		m.Plans = append(m.Plans, results.Plan{Name: p.Label, Dimensions: p.Dimensions})
	}
	return run
}

// TestLoginModel fits bytes of real sessions and predicts those of more, longer and
// busier ones.
func TestLoginModel(t *testing.T) {
	const clear = "scenario: session-cost\nvariants: chunked-push\naccounts: 24\nlogin: {tls: none}\nsimulator: {iterations: 1}\nlogins: {rate: closed 4}\nhold: {settle: 0s}\nblocks: 3\n"
	few := modelled(t, "few", clear+"online: {sessions: [3, 6]}\nroster: {items: [5, 40]}\nmessages: {each: [2, 8]}\n")
	many := modelled(t, "many", clear+"online: {sessions: 24}\nroster: {items: 40}\nmessages: {each: 8}\n")
	design, ok := ModelDesign(SessionCost, few.Manifest.Targets)
	if !ok {
		t.Fatal("no model is made of sessions")
	}
	m, _, err := results.FitModel([]*results.Run{few}, design, results.FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Check([]*results.Run{many}, design, results.CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	judged := make(map[string]results.ModelVerdict)
	for _, v := range c.Verdicts {
		judged[v.Name] = v
	}
	for _, name := range []string{"sessions", "roster.items", "messages.sent", "stanzas", "bytes", "bytes.tls"} {
		if v := judged[name]; !v.Judged || !v.Within || v.Factor != 4 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	// What is predicted without a run is what the run was.
	part, err := m.Part("chunked-push")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ForecastLogins(part.Settings, LoginTraffic{Sessions: 24, Items: 40, Messages: 24 * 8, LoginRate: 2, MessageRate: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range many.Blocks {
		for _, name := range f.CountNames() {
			if b.Scalars[name] != f.Counts[name] {
				t.Errorf("%s: %v of the run, %v by closed form", name, b.Scalars[name], f.Counts[name])
			}
		}
	}
	if got := f.Drivers(); got["sessions"] != 24 || got["items"] != 960 || got["messages"] != 192 || f.Ends != 24 || f.Ports != 24 {
		t.Errorf("%+v, drivers %v", f, got)
	}
	if p := f.PerSecond; p["sessions"] != 2 || p["items"] != 80 || p["messages"] != 5 {
		t.Errorf("per second %v", p)
	}
	// Another length of contacts is another calibration.
	longer := modelled(t, "longer", clear+"online: {sessions: 24}\nroster: {items: 40, item-bytes: 200}\nmessages: {each: 8}\n")
	if _, err := m.Check([]*results.Run{longer}, design, results.CheckOptions{}); !errors.As(err, new(*results.DifferentError)) {
		t.Errorf("error %v, want a DifferentError", err)
	}
	q, _ := part.Quantity("bytes")
	if now := q.WithoutConstant(); now.Coefficients[0] != 0 || now.Covariance[0][1] != 0 || now.Covariance[1][0] != 0 || math.Abs(now.Coefficients[2]-q.Coefficients[2]) > 0 {
		t.Errorf("%+v", now)
	}
}

// A model file may say anything of a variant.
func TestForecastLoginsRefuses(t *testing.T) {
	for settings, want := range map[string]string{
		`[]`:                    "settings of the variant",
		`{"variant": "pigeon"}`: `a variant "pigeon"`,
		`{"variant": "monolithic", "item-bytes": -1}`: "items of -1 bytes",
	} {
		if _, err := ForecastLogins([]byte(settings), LoginTraffic{Sessions: 1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", settings, err, want)
		}
	}
}
