package scenarios

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// meshPlan is a small federation of the variant.
func meshPlan(t *testing.T, variant string, given map[string]any) Plan {
	t.Helper()
	v, ok := s2s.Find(variant)
	if !ok {
		t.Fatalf("no variant %s", variant)
	}
	params, err := v.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	return Plan{
		Label: "all", Scenario: FederationScenario, Arms: []Arm{{Label: variant, Name: variant, Federation: v, S2S: params}},
		Login: Login{StepLimit: 10 * time.Second}, Blocks: 1, Seed: 1, Simulator: Simulator{Key: "p256", Piece: 4096},
		Limits: results.Limits{LatenessFloor: time.Minute, RateShortfall: 1},
		Federation: Federation{
			Domains: Domains{3, 2}, Providers: 2, BringUp: BringUpAll, Settle: 20 * time.Millisecond, Limit: 20 * time.Second,
			Traffic: Traffic{Matrix: MatrixFull, Rate: 200, Duration: 200 * time.Millisecond, Size: 300}, Event: EventNone, Idle: time.Second,
		},
	}
}

func TestFederationOfEveryVariant(t *testing.T) {
	for _, variant := range s2s.Names() {
		for _, event := range []string{EventNone, EventIdle, EventRestart, EventAdd} {
			t.Run(variant+"/"+event, func(t *testing.T) {
				t.Parallel() // most of it is waiting
				p := meshPlan(t, variant, nil)
				p.Federation.Event = event
				p.Federation.Bulk, p.Federation.BulkEvery = 100_000, 50*time.Millisecond
				run := federate(t, p)
				for _, metric := range []string{"pair.first.mean", "pair.first.echo.mean", "pair.further.mean", "pair.ready.mean", "pair.echo.mean", "mesh.mean", "echo.mean", "victim.mean", "bulk.mean"} {
					if v := run.Blocks[0].Scalars[metric]; v < 0 || v == 0 && metric != "pair.further.mean" {
						t.Errorf("%s is %v", metric, v)
					}
				}
				if t.Failed() {
					t.Log(run.Blocks[0].Scalars)
				}
			})
		}
	}
}

// federate carries a plan out and returns the run as it was written.
func federate(t *testing.T, p Plan) *results.Run {
	t.Helper()
	run, _, err := carryOutPlans(t, []Plan{p}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Blocks) != 1 || !run.Blocks[0].Valid {
		t.Fatalf("blocks %+v", run.Blocks)
	}
	return run
}

// nothing is the target of plans whose actors start everything themselves.
type nothing struct{ Target }

func (nothing) Name() string                               { return "sim" }
func (nothing) Open(context.Context, Plan) (Target, error) { return nothing{}, nil }
func (nothing) Describe() Description {
	return Description{Name: "sim", Server: "simulator", Simulated: true}
}
func (nothing) CPU() (time.Duration, error) { return 0, ErrUnsupported }
func (nothing) Close() error                { return nil }

func TestAttributeCertificatesOfEveryMode(t *testing.T) {
	for _, mode := range []string{"classic", "classic-feat", "eager", "pipelined", "batch", "warm", "proactive"} {
		for _, binding := range []bool{false, true} {
			if binding && mode == "proactive" {
				continue // nothing is asserted that could be bound
			}
			for _, revocation := range []string{"short", "crl"} {
				t.Run(fmt.Sprintf("%s binding=%v %s", mode, binding, revocation), func(t *testing.T) {
					t.Parallel()
					p := meshPlan(t, "shared-attrcert", map[string]any{"mode": mode, "binding": binding, "revocation": revocation})
					p.Federation.Traffic.Rate = 0
					federate(t, p)
				})
			}
		}
	}
}

// Counts are held against closed forms in every run: a run that is valid has them.
func TestFederationOfOtherShapes(t *testing.T) {
	tests := []struct {
		name, variant string
		given         map[string]any
		change        func(*Federation)
	}{
		{"three providers", "pair-external", nil, func(f *Federation) { f.Providers = 3 }},
		{"three providers share", "shared-attrcert", nil, func(f *Federation) { f.Providers = 3 }},
		{"three providers with dialback", "shared-dialback", map[string]any{"streams": "one"}, func(f *Federation) { f.Providers = 3 }},
		{"workers", "pair-external", nil, func(f *Federation) { f.Workers = 2 }},
		{"workers with dialback", "pair-dialback", map[string]any{"verify": "separate"}, func(f *Federation) { f.Workers = 2 }},
		{"workers in both directions", "pair-bidi", nil, func(f *Federation) { f.Workers = 2; f.Event = EventRestart }},
		{"one pair", "pair-external", nil, func(f *Federation) { f.Domains = Domains{1, 1} }},
		{"lazily, uniform", "pair-external", nil, func(f *Federation) { f.BringUp = BringUpLazy; f.Traffic.Matrix = MatrixUniform }},
		{"lazily, zipf", "shared-cert", nil, func(f *Federation) { f.BringUp = BringUpLazy; f.Traffic.Matrix = MatrixZipf; f.Traffic.Zipf = 1 }},
		{"lazily, certificates", "shared-attrcert", map[string]any{"mode": "eager"}, func(f *Federation) { f.BringUp = BringUpLazy; f.Traffic.Matrix = MatrixUniform; f.Traffic.Rate = 20 }},
		{"a noisy pair", "shared-cert", nil, func(f *Federation) { f.Noisy = 1000 }},
		{"a pool", "shared-cert", map[string]any{"pool": 3}, func(*Federation) {}},
		{"a pool each way", "shared-dialback", map[string]any{"pool": 2}, func(*Federation) {}},
		{"a pool of certificates", "shared-attrcert", map[string]any{"pool": 3}, func(*Federation) {}},
		{"TLS 1.2", "shared-7712", map[string]any{"tls-max": "1.2"}, func(*Federation) {}},
		{"direct TLS", "shared-mux", map[string]any{"tls": "direct"}, func(*Federation) {}},
		{"resumption", "pair-external", map[string]any{"resumption": true}, func(f *Federation) { f.Event = EventIdle }},
		{"domains", "shared-cert", map[string]any{"granularity": "domain"}, func(*Federation) {}},
		{"PKIX-EE", "shared-dane", map[string]any{"usage": "pkix-ee"}, func(*Federation) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := meshPlan(t, tt.variant, tt.given)
			p.Federation.Domains = Domains{4, 3}
			tt.change(&p.Federation)
			run := federate(t, p)
			if v := run.Blocks[0].Scalars["echo.mean"]; v <= 0 {
				t.Errorf("echo is %v", v)
			}
			if p.Federation.Noisy > 0 && run.Blocks[0].Scalars["victim.mean"] <= 0 {
				t.Error("nobody was disturbed")
			}
		})
	}
}

// A host that needs no customer's key gets none: what its process is told holds the
// provider's own key and no other.
func TestCustomersKeysStayAway(t *testing.T) {
	c, err := newCeremony("p256")
	if err != nil {
		t.Fatal(err)
	}
	domains := []string{"a1.test", "a2.test", "a3.test"}
	tests := []struct {
		needs s2s.Needs
		keys  int // private keys in all
	}{
		{s2s.OwnOnly, 1}, {s2s.Attributes, 1}, {s2s.EachDomain, 4}, {s2s.OneForAll, 2}, {s2s.Nothing, 0},
	}
	for _, tt := range tests {
		credentials, err := c.credentials(tt.needs, "provider-a.test", domains, "short")
		if err != nil {
			t.Fatal(err)
		}
		told, err := json.Marshal(s2s.ProviderConfig{Credentials: credentials})
		if err != nil {
			t.Fatal(err)
		}
		if n := privateKeys(t, told); n != tt.keys {
			t.Errorf("needs %d: %d private keys, want %d", tt.needs, n, tt.keys)
		}
		if tt.needs != s2s.Attributes {
			continue
		}
		for _, d := range domains {
			owner := c.owners[d].PrivateKey
			der, err := x509.MarshalPKCS8PrivateKey(owner)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(told, der) || strings.Contains(string(told), base64.StdEncoding.EncodeToString(der)) {
				t.Errorf("the key of %s is in what the host is told", d)
			}
		}
	}
}

// privateKeys counts the private keys in PEM within JSON, at any depth and in
// base64.
func privateKeys(t *testing.T, b []byte) int {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			raw, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				raw = []byte(v)
			}
			n += strings.Count(string(raw), "PRIVATE KEY-----\n") / 2
			if _, err := x509.ParsePKCS8PrivateKey(raw); err == nil {
				n++
			}
		}
	}
	walk(v)
	return n
}
