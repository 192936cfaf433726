package scenarios

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

// served is a window of a server with one thread that takes 10 ms for each operation, or
// more and less by chance, with arrivals at random: what p(95) was, and the trend.
func served(random *rand.Rand, rate float64, window time.Duration) (p95 float64, tr *trend) {
	const warmup = 2 * time.Second
	start := time.Unix(1000, 0)
	tr = &trend{}
	var free, at float64
	var all []float64
	for {
		at += random.ExpFloat64() / rate
		if at >= (warmup + window).Seconds() {
			break
		}
		free = max(free, at) + 0.005 + 0.005*random.ExpFloat64()
		due := start.Add(time.Duration(at * float64(time.Second)))
		tr.add(due, time.Duration((free-at)*float64(time.Second)))
		if at >= warmup.Seconds() {
			all = append(all, free-at)
		}
	}
	slices.Sort(all)
	return all[int(0.95*float64(len(all)))], tr
}

// Searches that look at trends must end on levels that the confirming run agrees with more
// often than those that do not, and call no level failed that the server bears.
func TestTrendOfSearches(t *testing.T) {
	const window, limit = 4 * time.Second, 1.0
	// search returns whether the first confirming run failed, and the level found.
	search := func(seed uint64, looks bool) (broke bool, found float64) {
		random := rand.New(rand.NewPCG(seed, 1))
		confirms := 0
		f, err := bench.Search(t.Context(), bench.SearchConfig{Start: 20 + float64(seed%17), Min: 1, Max: 1000, Tolerance: 1.06}, func(_ context.Context, tr bench.Trial) (bench.Judged, error) {
			w := window
			if tr.Phase == bench.PhaseConfirm {
				w = time.Duration(confirming * float64(window))
			}
			p95, grown := served(random, tr.Level, w)
			j := bench.Judged{Judgement: bench.Pass, Clear: p95 <= clearly*limit}
			if p95 >= limit {
				j = bench.Judged{Judgement: bench.Fail}
			} else if projected, grows := grown.grows(time.Unix(1002, 0), w); looks && tr.Phase != bench.PhaseConfirm && grows && projected >= limit {
				j = bench.Judged{Judgement: bench.Fail}
			}
			if tr.Phase == bench.PhaseConfirm {
				if confirms++; confirms == 2 && j.Judgement == bench.Fail {
					broke = true
				}
			}
			return j, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return broke, f.Lo
	}
	const searches = 300
	broke := map[bool]float64{}
	found := map[bool][]float64{}
	for _, looks := range []bool{false, true} {
		for seed := range uint64(searches) {
			b, lo := search(seed, looks)
			if b {
				broke[looks]++
			}
			found[looks] = append(found[looks], lo)
		}
		slices.Sort(found[looks])
		t.Logf("looking at trends: %v: the confirming run broke %.0f of %d levels; found %.1f (5 to 95 %%: %.1f to %.1f)", looks, broke[looks], searches,
			found[looks][searches/2], found[looks][searches/20], found[looks][searches*19/20])
	}
	if broke[true] > broke[false]/2 {
		t.Errorf("the confirming run broke %v levels of searches that look at trends, and %v of others", broke[true], broke[false])
	}
	if m := found[true][searches/2]; m < 95 {
		t.Errorf("the median is %.1f/s of a server that bears 100", m)
	}
}

// Far below what a server bears response grows by chance, and not by so much that it counts.
func TestTrendBelowKnee(t *testing.T) {
	counted := 0
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 2))
		_, tr := served(random, 70, 4*time.Second)
		if projected, grows := tr.grows(time.Unix(1002, 0), 4*time.Second); grows && projected >= 1 {
			counted++
		}
	}
	if counted > 5 {
		t.Errorf("of 1000 windows at 70 %% of what the server bears %d would be called failed", counted)
	}
}

// A queue that grows evenly is followed to where it is at the horizon.
func TestTrendProjects(t *testing.T) {
	var tr trend
	start := time.Unix(1000, 0)
	for i := range 4000 {
		at := time.Duration(i) * time.Millisecond
		tr.add(start.Add(at), at/10)
	}
	projected, grows := tr.grows(start, 4*time.Second)
	if want := 0.1 * 4 * horizon; !grows || math.Abs(projected-want) > 0.01 {
		t.Errorf("%v, %v, want %v", projected, grows, want)
	}
	if _, grows := tr.grows(start.Add(time.Hour), 4*time.Second); grows {
		t.Error("nothing grows")
	}
}
