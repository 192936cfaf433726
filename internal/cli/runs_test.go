package cli_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/results"
)

// TestRuns holds the runs that the scripts compare against what they promise;
// -update makes them anew.
func TestRuns(t *testing.T) {
	for _, run := range []recorded{
		{id: "after", host: "bench", factor: 1.5},
		{id: "before", host: "bench", factor: 1},
		{id: "elsewhere", host: "laptop", factor: 1},
	} {
		t.Run(run.id, func(t *testing.T) {
			dir := filepath.Join("testdata", "runs", run.id)
			if golden.Update() {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				synctest.Test(t, func(t *testing.T) { run.write(t, dir) })
			}
			r, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verify(); err != nil {
				t.Error(err)
			}
			if len(r.Blocks) != 2*recordedBlocks || r.Partial {
				t.Errorf("%d blocks, partial %v", len(r.Blocks), r.Partial)
			}
		})
	}
}

const recordedBlocks = 12

// recorded is a run of two variants whose times are known: chunked-push takes
// 1.5 times as long as monolithic until ready, give or take a tenth.
type recorded struct {
	id, host string
	factor   float64 // on all times
}

// write makes the run directory. Within a bubble of package synctest it is the
// same every time.
func (r recorded) write(t *testing.T, dir string) {
	t.Helper()
	recorder := results.NewRecorder()
	variants := []string{"monolithic", "chunked-push"}
	w, err := results.Create(dir, results.Manifest{
		Scenario: "roster-login", Argv: []string{"xmppbench", "run", "roster-login"}, Plans: []results.Plan{{Name: "all"}},
		Variants: variants, Baseline: variants[0], Primary: "ready.mean", Alpha: 0.05, Blocks: recordedBlocks,
		Targets: []results.TargetInfo{{Name: "sim", Server: "simulator"}}, Limits: results.DefaultLimits(),
		Environment: results.Environment{Host: r.host, OS: "linux", Arch: "amd64", CPU: "Example CPU of " + r.host, CPUs: 2, Memory: 8 << 30, Go: "go1.26", GOMAXPROCS: 2},
	}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	for block := range recordedBlocks {
		drift := 1 + 0.05*float64(block%3)
		for order, variant := range variants {
			key := results.Key{Plan: "all", Variant: variant, Block: block}
			took := 100 * r.factor * drift
			if variant == "chunked-push" {
				took *= 1.4 + 0.2*float64(block)/(recordedBlocks-1)
			}
			start := time.Now()
			end := start.Add(time.Duration(took * float64(time.Millisecond)))
			sink := recorder.Sink(key)
			sink.Observe(results.Sample{Metric: "ready", Intended: start, Start: start, End: end})
			sink.Count("stanzas", 2)
			time.Sleep(end.Sub(start))
			total := recorder.Total(key)
			w.Block(results.Block{Key: key, Order: order, Start: start, End: time.Now(), Valid: true, Scalars: total.Scalars()})
		}
	}
	w.Count(results.Count{Name: "stanzas", Plan: "all", Variant: "monolithic", Counted: 2, Expected: 2})
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
}
