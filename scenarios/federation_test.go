package scenarios

import (
	"context"
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
			Traffic: Traffic{Matrix: MatrixFull, Rate: 200, Duration: 200 * time.Millisecond, Size: 300}, Event: EventNone, Idle: 300 * time.Millisecond,
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
func (nothing) Close() error { return nil }
