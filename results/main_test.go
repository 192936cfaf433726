package results

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// crashDir, if set in the environment, makes the test binary write a run into
// that directory until it is killed.
const crashDir = "RESULTS_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(dir)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// writeUntilKilled records one sample a millisecond and names the number of
// samples that have been flushed for certain on standard output.
func writeUntilKilled(dir string) {
	rec := NewRecorder()
	w, err := Create(dir, Manifest{Scenario: "crash", Seeds: map[string]uint64{"run": 1}}, Options{
		Recorder: rec, Interval: 20 * time.Millisecond,
		Figures: func() map[string]float64 { return map[string]float64{"outstanding": 1} },
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	key := Key{Plan: "only", Variant: "monolithic"}
	sink := rec.Sink(key)
	for i := 1; ; i++ {
		start := time.Now()
		time.Sleep(time.Millisecond)
		sink.Observe(Sample{Metric: "probe", Intended: start.Add(-time.Millisecond), Start: start, End: time.Now()})
		sink.Count("stanzas", 2)
		if i%10 == 0 {
			w.Block(Block{Key: Key{"only", "monolithic", i / 10}, Valid: true, Scalars: map[string]float64{"stanzas": 2}})
			fmt.Println(i)
		}
	}
}

// at is a moment some seconds into the runs of the tests.
func at(seconds float64) time.Time {
	return time.Date(2026, 11, 22, 12, 49, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}
