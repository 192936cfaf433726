package bench_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

func TestPacers(t *testing.T) {
	const never = -1
	ok := must(t)
	tests := []struct {
		name string
		plan bench.Pacer
		give uint64
		want time.Duration
	}{
		{"constant begins at once", ok(bench.Constant(100)), 0, 0},
		{"constant", ok(bench.Constant(100)), 250, 2500 * time.Millisecond},
		{"constant rounds to the nearest", ok(bench.Constant(3)), 2, 666_666_667},
		{"constant does not drift", ok(bench.Constant(3)), 3_000_000_000, 1_000_000_000 * time.Second},
		{"constant below one a second", ok(bench.Constant(0.1)), 1, 10 * time.Second},
		{"constant beyond the clock", ok(bench.Constant(1)), math.MaxUint64, never},
		{"constant at the end of the clock", ok(bench.Constant(1)), 9_223_372_036, 9_223_372_036 * time.Second},
		{"constant past the end of the clock", ok(bench.Constant(1)), 9_223_372_037, never},
		{"poisson beyond the clock", ok(bench.Poisson(1e-12, 1)), math.MaxUint64, never},

		{"ramp from 0 begins at once", ok(bench.Ramp(0, 100, 10*time.Second)), 0, 0},
		{"ramp up", ok(bench.Ramp(0, 100, 10*time.Second)), 125, 5 * time.Second},
		{"ramp up, last", ok(bench.Ramp(0, 100, 10*time.Second)), 499, 9_989_994_995},
		{"ramp up, over", ok(bench.Ramp(0, 100, 10*time.Second)), 500, never},
		{"ramp down", ok(bench.Ramp(100, 0, 10*time.Second)), 375, 5 * time.Second},
		{"ramp down, over", ok(bench.Ramp(100, 0, 10*time.Second)), 500, never},
		{"ramp of rate 0", ok(bench.Ramp(0, 0, time.Second)), 0, never},
		{"ramp, far beyond", ok(bench.Ramp(1, 2, time.Second)), math.MaxUint64, never},
		{"level ramp", ok(bench.Ramp(10, 10, time.Second)), 9, 900 * time.Millisecond},
		{"level ramp, the end is not part", ok(bench.Ramp(10, 10, time.Second)), 10, never},
		{"rounding adds no arrival", ok(bench.Ramp(1.1, 1.1, 10*time.Second)), 11, never},

		{"second stage", ok(bench.Stages(bench.Stage{10, 10, time.Second}, bench.Stage{20, 20, time.Second})), 10, time.Second},
		{"inside the second stage", ok(bench.Stages(bench.Stage{10, 10, time.Second}, bench.Stage{20, 20, time.Second})), 20, 1500 * time.Millisecond},
		{"silence first", ok(bench.Stages(bench.Stage{0, 0, time.Minute}, bench.Stage{1, 1, time.Minute})), 0, time.Minute},
		{"silence between", ok(bench.Stages(bench.Stage{1, 1, time.Second}, bench.Stage{0, 0, time.Minute}, bench.Stage{1, 1, time.Second})), 1, 61 * time.Second},
		{"silence last", ok(bench.Stages(bench.Stage{1, 1, time.Second}, bench.Stage{0, 0, time.Minute})), 1, never},

		{"burst", ok(bench.Burst(3, time.Second)), 2, 0},
		{"next burst", ok(bench.Burst(3, time.Second)), 3, time.Second},
		{"burst beyond the clock", ok(bench.Burst(1, time.Hour)), math.MaxUint64, never},
		{"burst at the edge of the clock", ok(bench.Burst(1, math.MaxInt64)), 1, math.MaxInt64},
		{"burst past the edge of the clock", ok(bench.Burst(1, math.MaxInt64)), 2, never},

		{"once", bench.Once(2), 1, 0},
		{"once, over", bench.Once(2), 2, never},
		{"once, none", bench.Once(0), 0, never},
		{"trace", ok(bench.Trace(strings.NewReader("# login times\n0s\n\n  250ms\r\n1m\n"))), 1, 250 * time.Millisecond},
		{"trace, over", ok(bench.Trace(strings.NewReader("1s\n1s"))), 2, never},
		{"trace, empty", ok(bench.Trace(strings.NewReader(""))), 0, never},

		{"first", bench.First(ok(bench.Constant(1)), 2), 1, time.Second},
		{"first, over", bench.First(ok(bench.Constant(1)), 2), 2, never},
		{"until", bench.Until(ok(bench.Constant(1)), 2*time.Second), 1, time.Second},
		{"until, the end is not part", bench.Until(ok(bench.Constant(1)), 2*time.Second), 2, never},
		{"share", ok(bench.Share(ok(bench.Constant(1)), 2, 3)), 1, 5 * time.Second},
		{"share of a plan that ended", ok(bench.Share(bench.Once(5), 2, 3)), 1, never},
		{"share beyond all numbers", ok(bench.Share(bench.Once(math.MaxUint64), 1, 2)), math.MaxUint64, never},
		{"share carries over", ok(bench.Share(bench.Once(math.MaxUint64), 1, 2)), math.MaxUint64 / 2, never},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.plan.At(tt.give)
			if !ok {
				got = never
			}
			if got != tt.want {
				t.Errorf("At(%d) = %v, want %v", tt.give, got, tt.want)
			}
		})
	}
}

func TestPacersRefuse(t *testing.T) {
	plan := func(_ bench.Pacer, err error) error { return err }
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"rate 0", plan(bench.Constant(0)), "rate 0/s"},
		{"negative rate", plan(bench.Constant(-1)), "rate -1/s"},
		{"rate not a number", plan(bench.Poisson(math.NaN(), 1)), "rate NaN/s"},
		{"infinite rate", plan(bench.Poisson(math.Inf(1), 1)), "rate +Inf/s"},
		{"no stage", plan(bench.Stages()), "at least one stage"},
		{"stage of negative rate", plan(bench.Stages(bench.Stage{1, 1, 1}, bench.Stage{1, -2, 1})), "stage 2: rate -2/s"},
		{"stage of no length", plan(bench.Ramp(1, 2, 0)), "stage 1: length 0s"},
		{"stages too long", plan(bench.Stages(bench.Stage{1, 1, math.MaxInt64}, bench.Stage{1, 1, 1})), "stage 2: the stages together are too long"},
		{"too many arrivals", plan(bench.Ramp(1e18, 1e18, time.Hour)), "too many"},
		{"no poisson stage", plan(bench.PoissonStages(1)), "poisson stages: need at least one stage"},
		{"poisson stage of no length", plan(bench.PoissonStages(1, bench.Stage{1, 1, 0})), "stage 1: length 0s"},
		{"burst of none", plan(bench.Burst(0, time.Second)), "bursts of 0"},
		{"burst without a distance", plan(bench.Burst(1, 0)), "each 0s"},
		{"share beyond the last", plan(bench.Share(bench.Once(1), 3, 3)), "share 3 of 3"},
		{"share of none", plan(bench.Share(bench.Once(1), 0, 0)), "share 0 of 0"},
		{"trace without a unit", plan(bench.Trace(strings.NewReader("1s\n# x\n12"))), "line 3"},
		{"trace out of order", plan(bench.Trace(strings.NewReader("2s\n1s"))), "line 2: offset 1s lies before 2s"},
		{"negative trace", plan(bench.Trace(strings.NewReader("-1s"))), "line 1: offset -1s"},
		{"trace line without an end", plan(bench.Trace(strings.NewReader("1s\n" + strings.Repeat("x", 100_000)))), "line 2"},
		{"trace that cannot be read", plan(bench.Trace(iotest.ErrReader(errors.New("disk gone")))), "disk gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", tt.err, tt.want)
			}
		})
	}
}

// Whatever the numbers, a plan never goes back, and answers the same when asked
// again in another order.
func TestPacersArePureAndNonDecreasing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ok := must(t)
	rate := func() float64 { return math.Exp(random.Float64()*30 - 8) } // 0.0003 to 3e9 per second
	length := func() time.Duration { return time.Duration(1 + random.Int64N(int64(time.Minute))) }
	for range 300 {
		list := make([]bench.Stage, 1+random.IntN(5))
		for i := range list {
			list[i] = bench.Stage{rate(), rate(), length()}
			if random.IntN(3) == 0 {
				list[i].From = 0
			}
			if random.IntN(3) == 0 {
				list[i].To = 0
			}
		}
		r := rate()
		plans := map[string]bench.Pacer{
			fmt.Sprintf("constant %v", r):  ok(bench.Constant(r)),
			fmt.Sprintf("poisson %v", r):   ok(bench.Poisson(r, random.Uint64())),
			fmt.Sprintf("stages %v", list): ok(bench.Stages(list...)),

			fmt.Sprintf("poisson stages %v", list): ok(bench.PoissonStages(random.Uint64(), list...)),
		}
		for name, plan := range plans {
			begin := uint64(random.IntN(3000))
			var got []time.Duration
			for seq := begin; seq < begin+1500; seq++ {
				offset, ok := plan.At(seq)
				if !ok {
					break
				}
				got = append(got, offset)
			}
			if !slices.IsSorted(got) || len(got) > 0 && got[0] < 0 {
				t.Fatalf("%s decreases from arrival %d on", name, begin)
			}
			for _, i := range random.Perm(len(got))[:min(20, len(got))] {
				if again, _ := plan.At(begin + uint64(i)); again != got[i] {
					t.Fatalf("%s: arrival %d at %v, then at %v", name, begin+uint64(i), got[i], again)
				}
			}
		}
	}
}

// The number of arrivals until t is the integral of the rate.
func TestStagesFollowTheRate(t *testing.T) {
	plan := must(t)(bench.Stages(bench.Stage{0, 200, 10 * time.Second}, bench.Stage{200, 200, 5 * time.Second}, bench.Stage{200, 50, 8 * time.Second}))
	integral := func(t float64) float64 {
		n := 10 * min(t, 10) * min(t, 10)
		n += 200 * max(0, min(t-10, 5))
		if u := max(0, t-15); u > 0 {
			n += 200*u - 150.0/16*u*u
		}
		return n
	}
	var n uint64
	for ; ; n++ {
		offset, ok := plan.At(n)
		if !ok {
			break
		}
		if got := integral(offset.Seconds()); math.Abs(got-float64(n)) > 1e-5 {
			t.Fatalf("arrival %d at %v, where the rate sums up to %v", n, offset, got)
		}
	}
	if n != 3000 {
		t.Errorf("%d arrivals, want 3000", n)
	}
}

// Gaps of a Poisson process are exponential: their mean and their standard
// deviation are 1/rate, and gaps do not depend on the ones before.
func TestPoissonGaps(t *testing.T) {
	const n, rate = 1_000_000, 1000.0
	plan := must(t)(bench.Poisson(rate, 7))
	var sum, squares, products, before float64
	var last time.Duration
	for seq := range uint64(n) {
		offset, _ := plan.At(seq)
		gap := (offset - last).Seconds() * rate
		sum += gap
		squares += gap * gap
		products += (gap - 1) * (before - 1)
		last, before = offset, gap
	}
	mean := sum / n
	// Five standard errors of each.
	if math.Abs(mean-1) > 5/math.Sqrt(n) {
		t.Errorf("mean gap %v of the expected one", mean)
	}
	if variance := squares/n - mean*mean; math.Abs(variance-1) > 5*math.Sqrt(8.0/n) {
		t.Errorf("variance of the gaps %v of the expected one", variance)
	}
	if correlation := products / n; math.Abs(correlation) > 5/math.Sqrt(n) {
		t.Errorf("correlation of neighbouring gaps %v", correlation)
	}
}

// Of a Poisson process whose rate changes, the arrivals within any stretch are as
// many as the rate sums up to there, with the variance that independence gives, and
// those of a stretch say nothing of those of the next.
func TestPoissonStagesFollowTheRate(t *testing.T) {
	list := []bench.Stage{{0, 40, 10 * time.Second}, {40, 40, 5 * time.Second}, {40, 0, 10 * time.Second}}
	want := []float64{50, 150, 200, 150, 50} // in each of five stretches of 5 s
	const plans = 2000
	sums, squares := make([]float64, len(want)), make([]float64, len(want))
	var products float64
	for seed := range uint64(plans) {
		counts := make([]float64, len(want))
		for offset := range all(must(t)(bench.PoissonStages(seed, list...))) {
			counts[offset/(5*time.Second)]++
		}
		for i, n := range counts {
			sums[i] += n
			squares[i] += (n - want[i]) * (n - want[i])
		}
		products += (counts[1] - want[1]) * (counts[2] - want[2])
	}
	for i := range want {
		// Five standard errors of each.
		if mean := sums[i] / plans; math.Abs(mean-want[i]) > 5*math.Sqrt(want[i]/plans) {
			t.Errorf("stretch %d: %v arrivals on average, want %v", i+1, mean, want[i])
		}
		if variance := squares[i] / plans; math.Abs(variance/want[i]-1) > 5*math.Sqrt(2.0/plans) {
			t.Errorf("stretch %d: variance %v, want %v", i+1, variance, want[i])
		}
	}
	if c := products / plans / math.Sqrt(want[1]*want[2]); math.Abs(c) > 5/math.Sqrt(plans) {
		t.Errorf("correlation of neighbouring stretches %v", c)
	}
	if _, ok := must(t)(bench.PoissonStages(1, list...)).At(math.MaxUint64); ok {
		t.Error("a plan of 25 s has an arrival without a time")
	}
}

func TestPoissonDependsOnTheSeedAlone(t *testing.T) {
	offsets := func(seed uint64) []time.Duration {
		plan := must(t)(bench.Poisson(50, seed))
		got := make([]time.Duration, 100)
		for i := range got {
			got[i], _ = plan.At(uint64(i))
		}
		return got
	}
	if !slices.Equal(offsets(1), offsets(1)) {
		t.Error("one seed gave two plans")
	}
	if slices.Equal(offsets(1), offsets(2)) {
		t.Error("two seeds gave one plan")
	}
	// A plan whose gaps are another plan's, shifted, would couple the arms of a comparison.
	a, b := offsets(1), offsets(2)
	if a[50]-a[49] == b[49]-b[48] || a[50]-a[49] == b[51]-b[50] {
		t.Error("neighbouring seeds share their gaps")
	}
}

func TestPoissonConcurrently(t *testing.T) {
	shared, alone := must(t)(bench.Poisson(100, 3)), must(t)(bench.Poisson(100, 3))
	want := make([]time.Duration, 5000)
	for i := range want {
		want[i], _ = alone.At(uint64(i))
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 500 {
				seq := random.IntN(len(want))
				if got, _ := shared.At(uint64(seq)); got != want[seq] {
					t.Errorf("arrival %d at %v, want %v", seq, got, want[seq])
				}
			}
		})
	}
	wg.Wait()
}

// The shares of a plan are a partition of it.
func TestShares(t *testing.T) {
	plan := bench.First(must(t)(bench.Poisson(10, 1)), 1000)
	var want, got []time.Duration
	for offset := range all(plan) {
		want = append(want, offset)
	}
	for i := range 3 {
		for offset := range all(must(t)(bench.Share(plan, i, 3))) {
			got = append(got, offset)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Error("the shares are not the whole")
	}
}

func all(plan bench.Pacer) func(func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		for seq := uint64(0); ; seq++ {
			if offset, ok := plan.At(seq); !ok || !yield(offset) {
				return
			}
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("0s\n1s\n1m2.5s\n")
	f.Add("# comment\n\n250ms")
	f.Add("2s\n1s\n")
	f.Add("-1s")
	f.Add("9223372036854775807ns\n9223372036854775808ns")
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := bench.Trace(strings.NewReader(text))
		if err != nil {
			if !strings.Contains(err.Error(), "line ") {
				t.Fatalf("the error names no line: %v", err)
			}
			return
		}
		offsets := slices.Collect(all(plan))
		if !slices.IsSorted(offsets) || len(offsets) > 0 && offsets[0] < 0 {
			t.Fatalf("offsets decrease: %v", offsets)
		}
		var written strings.Builder
		for _, offset := range offsets {
			fmt.Fprintln(&written, offset)
		}
		again, err := bench.Trace(strings.NewReader(written.String()))
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(all(again)); !slices.Equal(got, offsets) {
			t.Fatalf("%v became %v when written and read again", offsets, got)
		}
	})
}
