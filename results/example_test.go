package results_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// A run is recorded, written, read and judged: the measuring half knows nothing
// of the reporting half, the directory lies between them.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	rec := results.NewRecorder()
	w, err := results.Create(filepath.Join(dir, "example"), results.Manifest{
		Scenario: "roster-login", Variants: []string{"monolithic", "chunked-push"}, Primary: "probe.mean",
	}, results.Options{Recorder: rec})
	if err != nil {
		log.Fatal(err)
	}
	begin := time.Now()
	for block := range 8 {
		for order, variant := range []string{"monolithic", "chunked-push"} {
			key := results.Key{Variant: variant, Block: block}
			sink := rec.Sink(key)
			took := time.Duration(40+block) * time.Millisecond / time.Duration(1+7*order)
			sink.Observe(results.Sample{Metric: "probe", Intended: begin, Start: begin, End: begin.Add(took)})
			total := rec.Total(key)
			w.Block(results.Block{Key: key, Order: order, Valid: true, Scalars: total.Scalars()})
		}
	}
	if err := w.Close(results.StatusOK); err != nil {
		log.Fatal(err)
	}

	run, err := results.Open(w.Dir())
	if err != nil {
		log.Fatal(err)
	}
	c, err := results.Compare([]*results.Run{run}, results.CompareOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Verdicts[0])
	// Output: chunked-push has 8x lower mean probe than monolithic (95 % interval 8.00-8.00, 8 blocks)
}

func ExampleParse() {
	for _, s := range []string{"ready p(99)<2s", "p99<2s"} {
		e, err := results.Parse(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(e.Metric, e.Q, e.Op, e.Value, e.Unit, "needs", e.MinSamples(), "samples")
	}
	// Output:
	// ready 0.99 < 2 s needs 1000 samples
	// results: expression "p99<2s": unknown aggregation "p99": want p(N), mean, max, min, med, count, rate or errors
}
