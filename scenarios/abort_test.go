package scenarios

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// TestAbort lets a load run into thresholds that end the run. Each operation takes
// what the second in which it starts says; one starts every 10 ms.
func TestAbort(t *testing.T) {
	const source = `
scenario: login-storm
variants: [monolithic]
load: {rate: 100/s, warmup: 1s, duration: 20s, cooldown: 0s}
blocks: 2
`
	slowFrom := func(second int) func(int) time.Duration {
		return func(s int) time.Duration {
			if s >= second {
				return 500 * time.Millisecond
			}
			return 5 * time.Millisecond
		}
	}
	for _, tt := range []struct {
		name, thresholds string
		took             func(second int) time.Duration // 0: fails after 5 ms
		late             time.Duration                  // of every operation
		after            time.Duration                  // of the abort; 0: none
		text             string
		valid            int // blocks
	}{
		{"in time", "{ready: [p(95)<400ms abort]}", slowFrom(100), 0, 0, "", 2},
		{"at once", "{ready: [max<400ms abort]}", slowFrom(5), 0, 6 * time.Second, "ready max<400ms abort is broken: 500ms for monolithic", 0},
		{"quantile", "{ready: [med<400ms abort]}", slowFrom(3), 0, 6 * time.Second, "ready med<400ms abort is broken: 500ms", 0},
		{"too few samples for the quantile", "{ready: [p(99)<400ms abort]}", slowFrom(0), 0, 12 * time.Second, "ready p(99)<400ms abort is broken: 500ms", 0},
		{"not yet", "{ready: {threshold: max<400ms, abortOnFail: true, delayAbortEval: 10s}}", slowFrom(5), 0, 12 * time.Second, "max<400ms abort after 10s", 0},
		{"in the second block", "{ready: {threshold: max<400ms, abortOnFail: true, delayAbortEval: 25s}}", slowFrom(5), 0, 27 * time.Second, "max<400ms abort after 25s", 1},
		{"errors", "{ready: [errors<1% abort]}", func(s int) time.Duration {
			if s == 8 {
				return 0
			}
			return 5 * time.Millisecond
		}, 0, 9 * time.Second, "errors<1% abort is broken: ", 0},
		{"without abort", "{ready: [max<400ms]}", slowFrom(5), 0, 0, "", 2},
		{"the generator's fault", "{ready: [max<400ms abort]}", slowFrom(100), 450 * time.Millisecond, 0, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parsed(t, source+"thresholds: "+tt.thresholds+"\nlimits: {repeats: 0}\n")
			synctest.Test(t, func(t *testing.T) {
				run, _, err := runCells(t, nil, p, func(ctx context.Context, c *cell) error {
					if c.warmup {
						return nil
					}
					c.judge = "ready"
					began := time.Now()
					pacer, err := bench.Constant(100)
					if err != nil {
						return err
					}
					_, err = bench.Run(ctx, bench.Config{
						Pacer: pacer, Warmup: p.Load.Warmup, Measure: p.Load.Duration,
					}, func(_ context.Context, a bench.Arrival, s results.Sink) error {
						time.Sleep(tt.late)
						took := tt.took(int(a.At.Sub(began) / time.Second))
						start := time.Now()
						time.Sleep(max(took, 5*time.Millisecond))
						var failed error
						if took == 0 {
							failed = errors.New("no")
						}
						s.Observe(results.Sample{Metric: "ready", Intended: a.At, Start: start, End: time.Now(), Err: failed})
						return failed
					}, c.sink)
					return err
				})
				broken, aborted := errors.AsType[*ThresholdError](err)
				invalid, isInvalid := errors.AsType[*bench.InvalidError](err)
				switch {
				case tt.late > 0:
					if !isInvalid || !strings.Contains(invalid.Reason, "the generator was late") {
						t.Errorf("error %v, want the run to be invalid", err)
					}
				case aborted != (tt.after > 0) || !aborted && err != nil:
					t.Errorf("error %v, want an abort: %v", err, tt.after > 0)
				case aborted:
					// A second passes between two looks, and as much as one operation takes.
					if d := broken.After - tt.after; d < 0 || d > 2*time.Second || !strings.Contains(broken.Error(), tt.text) {
						t.Errorf("%q, want %q after %s or a little more", broken, tt.text, tt.after)
					}
					if !slices.ContainsFunc(run.Events, func(e results.Event) bool { return e.Kind == "abort" && e.Text == broken.Error() }) {
						t.Error("no event tells of it")
					}
					// What was measured is there, and the same threshold fails on it.
					if o := run.Thresholds(results.Metrics(), broken.Expr); len(o) != 1 || o[0].State != results.Failed {
						t.Errorf("the threshold is judged by what was written: %+v", o)
					}
					if run.Timings("ready", results.Filter{}).Errors["canceled"] > 0 {
						t.Error("what was cut off counts as failed")
					}
				}
				valid := 0
				for _, b := range run.Blocks {
					if b.Valid {
						valid++
					}
				}
				if valid != tt.valid {
					t.Errorf("%d valid blocks, want %d", valid, tt.valid)
				}
			})
		})
	}
}

// TestAbortByFigure judges a figure that is known at the end of each cell.
func TestAbortByFigure(t *testing.T) {
	p := parsed(t, "scenario: roster-login\nvariants: [monolithic]\nblocks: 6\nthresholds: {cpu.client: [mean<1s abort]}\n")
	n := 0
	run, _, err := runCells(t, nil, p, func(_ context.Context, c *cell) error {
		if !c.warmup {
			n++
			c.set("cpu.client", float64(n))
		}
		return nil
	})
	if broken, ok := errors.AsType[*ThresholdError](err); !ok || !strings.Contains(broken.Text, "cpu.client mean<1s abort is broken: 1s") {
		t.Errorf("error %v", err)
	}
	if len(run.Blocks) != 1 || !run.Blocks[0].Valid {
		t.Errorf("blocks %+v, want the first, which is whole", run.Blocks)
	}
}

// TestTooFewSamples begins fewer operations than a threshold needs: the run is
// invalid. Where as many were begun and some failed, that is the target's doing.
func TestTooFewSamples(t *testing.T) {
	p := parsed(t, "scenario: login-storm\nvariants: [monolithic]\nblocks: 1\nload: {rate: 100/s}\nthresholds: {ready: [p(95)<1s]}\n")
	for _, made := range []int{199, 200} {
		run, _, err := runCells(t, nil, p, func(_ context.Context, c *cell) error {
			for i := range made {
				s := results.Sample{Metric: "ready"}
				if i < 10 {
					s.Err = errors.New("no")
				}
				c.sink.Observe(s)
			}
			return nil
		})
		invalid, ok := errors.AsType[*bench.InvalidError](err)
		if ok != (made < 200) || ok && invalid.Reason != "too few samples: ready p(95)<1s needs 200, and 199 were made by all monolithic" {
			t.Errorf("%d samples: error %v", made, err)
		}
		if bad, _ := run.Invalid(); bad != ok {
			t.Errorf("%d samples: the run is invalid: %v", made, bad)
		}
	}
}

func TestThresholdForms(t *testing.T) {
	for source, want := range map[string]string{
		`p(99)<2s`:                     "ready p(99)<2s",
		`["p(99)<2s abort after 10s"]`: "ready p(99)<2s abort after 10s",
		`{threshold: "p(99)<2s"}`:      "ready p(99)<2s",
		`[{threshold: "p(99) < 2s", abortOnFail: true, delayAbortEval: 1m}]`: "ready p(99)<2s abort after 1m0s",
		`{threshold: "p(99)<2s", abortOnFail: false, delayAbortEval: 1m}`:    "ready p(99)<2s",
	} {
		p := parsed(t, "scenario: login-storm\nload: {rate: 100/s}\nthresholds:\n  ready: "+source+"\n")
		if diff := cmp.Diff([]string{want}, p.Thresholds); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
	for source, want := range map[string]string{
		`{threshold: "mean<2s", abortOnFail: maybe}`:   `5:46: thresholds.ready.abortOnFail: "maybe" is neither true nor false`,
		`{threshold: "mean<2s", delayAbortEval: soon}`: "thresholds.ready.delayAbortEval: ",
		`{threshold: "mean<2s", abort: true}`:          "thresholds.ready.abort: is unknown: want threshold, abortOnFail or delayAbortEval",
		`{abortOnFail: true}`:                          "no comparison",
		`{threshold: "count>9", abortOnFail: true}`:    "not known before the end",
	} {
		_, err := Parse("f.yaml", []byte("scenario: login-storm\nload: {rate: 100/s}\n\nthresholds:\n  ready: "+source+"\n"), Override{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", source, err, want)
		}
	}
}
