package results

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMinBlocks(t *testing.T) {
	for k, want := range map[int]int{1: 6, 2: 7, 3: 7, 4: 8, 6: 8, 7: 9, 11: 9} {
		if got := MinBlocks(k, 0.05); got != want {
			t.Errorf("MinBlocks(%d, 0.05) = %d, want %d", k, got, want)
		}
	}
	// An exact power of two is not rounded up.
	if got := MinBlocks(1, 0.0625); got != 5 {
		t.Errorf("MinBlocks(1, 1/16) = %d, want 5", got)
	}
	if got := Bonferroni(4, 0.05); got != 0.9875 {
		t.Errorf("Bonferroni(4, 0.05) = %v, want 0.9875", got)
	}
}

// MinBlocks and the interval agree: with so many blocks it is bounded, with one
// fewer it is not.
func TestMinBlocksIsTheBoundOfTheInterval(t *testing.T) {
	for k := 1; k <= 11; k++ {
		n := MinBlocks(k, 0.05)
		d := make([]float64, n)
		for i := range d {
			d[i] = float64(i)
		}
		if e := SignedRank(d, Bonferroni(k, 0.05)); math.IsInf(e.Hi, 0) {
			t.Errorf("%d comparisons: interval of %d blocks is unbounded", k, n)
		}
		if e := SignedRank(d[1:], Bonferroni(k, 0.05)); !math.IsInf(e.Hi, 0) {
			t.Errorf("%d comparisons: interval of %d blocks is bounded", k, n-1)
		}
	}
}

// The distributions against all outcomes, counted one by one.
func TestDistributionsByEnumeration(t *testing.T) {
	const n = 9
	signed := make([]float64, n*(n+1)/2+1)
	for signs := range 1 << n {
		w := 0
		for i := range n {
			if signs>>i&1 == 1 {
				w += i + 1
			}
		}
		signed[w] += 1. / (1 << n)
	}
	approxEqual(t, "signed-rank", signedRankDistribution(n), signed)

	const first, second = 4, 5
	u := make([]float64, first*second+1)
	orders := 0
	for set := range 1 << (first + second) {
		// Bit i says whether the i-th smallest value is of the second sample.
		below, above, total := 0, 0, 0
		for i := range first + second {
			if set>>i&1 == 1 {
				above++
				total += below
			} else {
				below++
			}
		}
		if above == second {
			u[total]++
			orders++
		}
	}
	for i := range u {
		u[i] /= float64(orders)
	}
	approxEqual(t, "Mann-Whitney", mannWhitneyDistribution(first, second), u)
}

func approxEqual(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Abs(got[i]-want[i]) > 1e-12 {
			t.Errorf("%s: P(%d) = %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestEstimates(t *testing.T) {
	// Pairwise averages of 1, 2, 4: 1, 1.5, 2, 2.5, 3, 4; a sum of ranks below
	// 2 has probability 2/8.
	d := []float64{4, 1, 2}
	if e := SignedRank(d, 0.5); e.Value != 2.25 || e.Lo != 1.5 || e.Hi != 3 {
		t.Errorf("signed rank %+v, want 2.25 in 1.5 to 3", e)
	}
	if !slices.Equal(d, []float64{4, 1, 2}) {
		t.Error("SignedRank must not change its argument")
	}
	if e := MannWhitney([]float64{1, 2, 3}, []float64{11, 12, 13}, 0.9); e.Value != 10 || e.Lo != 8 || e.Hi != 12 {
		t.Errorf("Mann-Whitney %+v, want 10 in 8 to 12", e)
	}
	if e := SignedRank(nil, 0.95); !math.IsNaN(e.Value) {
		t.Errorf("no differences give %v", e.Value)
	}
}

// naive takes median and interval from all numbers, sorted.
func naive(all []float64, k int) (value, lo, hi float64) {
	slices.Sort(all)
	value, lo, hi = median(all), math.Inf(-1), math.Inf(1)
	if k > 0 {
		lo, hi = all[k-1], all[len(all)-k]
	}
	return value, lo, hi
}

// What is selected among pairs that nobody stores is what stands there when all are
// stored and sorted, with ties, zeros and numbers of any size.
func TestEstimatesOfAllPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 5))
	sample := func(n int) []float64 {
		kind, out := rng.IntN(4), make([]float64, n)
		for i := range out {
			switch kind {
			case 0: // many ties
				out[i] = float64(rng.IntN(5) - 2)
			case 1:
				out[i] = rng.NormFloat64()
			case 2: // far apart
				out[i] = rng.NormFloat64() * math.Pow(10, float64(rng.IntN(200)-100))
			default: // of one sign
				out[i] = math.Exp(rng.NormFloat64())
			}
		}
		return out
	}
	same := func(what string, e Estimate, all []float64, k int) {
		t.Helper()
		if value, lo, hi := naive(all, k); e.Value != value || e.Lo != lo || e.Hi != hi {
			t.Errorf("%s of %d numbers: %+v, want %v in %v to %v", what, len(all), e, value, lo, hi)
		}
		if math.Signbit(e.Value) && e.Value == 0 {
			t.Errorf("%s is a negative zero", what)
		}
	}
	for range 2000 {
		level := []float64{0, 0.5, 0.9, 0.95, 0.99}[rng.IntN(5)]
		x, y := sample(1+rng.IntN(40)), sample(1+rng.IntN(40))
		var averages, differences []float64
		for i, a := range x {
			for _, b := range x[i:] {
				averages = append(averages, a/2+b/2)
			}
			for _, b := range y {
				differences = append(differences, b-a)
			}
		}
		k := lowerTail(signedRankDistribution(len(x)), (1-level)/2)
		same("signed rank", SignedRank(x, level), averages, min(k, (len(averages)+1)/2))
		k = lowerTail(mannWhitneyDistribution(len(x), len(y)), (1-level)/2)
		same("Mann-Whitney", MannWhitney(x, y, level), differences, min(k, (len(differences)+1)/2))
	}
}

// A day of windows of one second has as many blocks as it has seconds: estimates need no
// more room than their arguments.
func TestManyBlocks(t *testing.T) {
	const n = 100_000
	d, shifted := make([]float64, n), make([]float64, n)
	for i, v := range rand.New(rand.NewPCG(20261122, 6)).Perm(n) {
		d[i], shifted[i] = float64(v), float64(v)+1000
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := SignedRank(d, 0.95)
	m := MannWhitney(d, shifted, 0.95)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d blocks took %d MiB", n, took>>20)
	}
	// Of a uniform distribution the interval is as wide as that of the mean.
	half := 1.959964 * n / math.Sqrt(12*n)
	if centre := float64(n-1) / 2; e.Value != centre || math.Abs(e.Hi-centre-half) > 0.01*half || e.Hi-centre != centre-e.Lo || e.Exact {
		t.Errorf("signed rank %+v, want %v ± %.1f", e, centre, half)
	}
	if half *= math.Sqrt2; m.Value != 1000 || math.Abs(m.Hi-1000-half) > 0.01*half || m.Hi-1000 != 1000-m.Lo || m.Exact {
		t.Errorf("Mann-Whitney %+v, want 1000 ± %.1f", m, half)
	}
}

// Whatever is asked for as a level, the interval holds the estimate.
func TestLevelsThatAreNone(t *testing.T) {
	for _, n := range []int{1, 2, 7, 61, 101} {
		d := repeat(n, 1, 0.01)
		for _, level := range []float64{-1e300, -1, 0, 1, 2, math.NaN(), math.Inf(1), math.Inf(-1)} {
			for what, e := range map[string]Estimate{"signed rank": SignedRank(d, level), "Mann-Whitney": MannWhitney(d, d, level)} {
				if !(e.Lo <= e.Value && e.Value <= e.Hi) {
					t.Errorf("%s of %d blocks at level %v: %+v", what, n, level, e)
				}
			}
		}
	}
	if n := MinBlocks(1, 1e-320); n < 1000 {
		t.Errorf("%d blocks are enough for next to no error", n)
	}
}

// Where the exact distribution gives way to the normal one the intervals meet.
func TestNormalTailMeetsExact(t *testing.T) {
	n := exactPaired
	m, sd := float64(n)*float64(n+1)/4, math.Sqrt(float64(n)*float64(n+1)*float64(2*n+1)/24)
	for _, tail := range []float64{0.05, 0.025, 0.005, 0.0025} {
		if exact, normal := lowerTail(signedRankDistribution(n), tail), normalTail(m, sd, tail); math.Abs(float64(exact-normal)) > 0.005*m {
			t.Errorf("signed rank, n=%d, %v to either side: exact %d, normal %d", n, tail, exact, normal)
		}
	}
	k := exactUnpaired
	mn := float64(k * k)
	exact, normal := lowerTail(mannWhitneyDistribution(k, k), 0.025), normalTail(mn/2, math.Sqrt(mn*float64(2*k+1)/12), 0.025)
	if math.Abs(float64(exact-normal)) > 0.005*mn {
		t.Errorf("Mann-Whitney, %d and %d: exact %d, normal %d", k, k, exact, normal)
	}
}

// simulate makes the verdict of one run of n blocks: a drift that both variants
// share, noise of each cell, and a true ratio.
func simulate(rng *rand.Rand, n int, ratio, drift, noise float64) Verdict {
	c := comparison{scalar: parseScalar(Metrics(), "probe.mean"), baseline: "a", variant: "b", paired: true, level: 0.95, k: 1, primary: true}
	for range n {
		common := drift * rng.NormFloat64()
		c.x = append(c.x, math.Exp(common+noise*rng.NormFloat64()))
		c.y = append(c.y, ratio*math.Exp(common+noise*rng.NormFloat64()))
	}
	return c.judge()
}

// Drift of 25 % between blocks; noise of 5 % within one, so that a slow-down of
// 10 % stands a little over one standard deviation of a difference apart.
const (
	simDrift = 0.25
	simNoise = 0.05
)

func TestEqualVariantsGetNoVerdict(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 1))
	const runs = 1000
	silent := 0
	for range runs {
		if simulate(rng, 12, 1, simDrift, simNoise).Decision == CannotTell {
			silent++
		}
	}
	if silent < 930 {
		t.Errorf("%d of %d runs of equal variants gave no verdict, want at least 930", silent, runs)
	}
}

func TestPlantedSlowDownIsFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 2))
	const runs = 1000
	found := 0
	for range runs {
		switch simulate(rng, 12, 1.10, simDrift, simNoise).Decision {
		case Slower:
			found++
		case Faster:
			t.Error("a slow-down was taken for a gain")
		}
	}
	if found < 900 {
		t.Errorf("a slow-down of 10 %% was found in %d of %d runs of 12 blocks, want at least 900", found, runs)
	}
}

func TestCoverage(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 3))
	const runs = 1000
	for _, ratio := range []float64{0.5, 1.1, 7.6} {
		covered := 0
		for range runs {
			if v := simulate(rng, 12, ratio, simDrift, 0.10); float64(v.Lo) <= ratio && ratio <= float64(v.Hi) {
				covered++
			}
		}
		if share := float64(covered) / runs; share < 0.92 || share > 0.99 {
			t.Errorf("ratio %v: the 95 %% interval holds it in %v of the runs, want 0.92 to 0.99", ratio, share)
		}
	}
}

// Runs at different times differ by their drift: an unpaired comparison sees
// the sum, which is why its verdict says so.
func TestUnpairedCoverage(t *testing.T) {
	rng := rand.New(rand.NewPCG(20261122, 4))
	const runs = 500
	covered := 0
	for range runs {
		c := comparison{scalar: parseScalar(Metrics(), "ready.mean"), baseline: "r1", variant: "r2", level: 0.95, k: 1, primary: true}
		for range 12 {
			c.x = append(c.x, math.Exp(0.1*rng.NormFloat64()))
			c.y = append(c.y, 1.3*math.Exp(0.1*rng.NormFloat64()))
		}
		v := c.judge()
		if float64(v.Lo) <= 1.3 && 1.3 <= float64(v.Hi) {
			covered++
		}
		if !strings.Contains(v.String(), "drift is not removed") {
			t.Fatalf("verdict of runs made at different times: %q", v)
		}
	}
	if share := float64(covered) / runs; share < 0.92 || share > 0.99 {
		t.Errorf("the 95 %% interval holds the ratio in %v of the runs, want 0.92 to 0.99", share)
	}
}

// repeat scales values by a factor with a little spread.
func repeat(n int, value, spread float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = value * (1 + spread*float64(i%5-2))
	}
	return out
}

func TestVerdictSentences(t *testing.T) {
	swing := func(n int, value float64) []float64 { // alternates around value
		out := make([]float64, n)
		for i := range out {
			out[i] = value * (1 + 0.05*float64(i%2*2-1))
		}
		return out
	}
	for _, tt := range []struct {
		name, scalar string
		base         string
		variant      string
		x, y         []float64
		k            int
		unpaired     bool
		exploratory  bool
		want         string
		decision     Decision
	}{
		{"factor", "probe.mean", "monolithic", "chunked-push", repeat(8, 0.42, 0), repeat(8, 0.42/7.6, 0.003), 4, false, false,
			"chunked-push has 7.6x lower mean probe than monolithic (98.75 % interval 7.55-7.65, 8 blocks)", Faster},
		{"percent", "roster.complete.mean", "monolithic", "chunked-push", repeat(12, 1, 0), repeat(12, 1.019, 0.0003), 1, false, true,
			"chunked-push has 1.9 % higher mean roster.complete than monolithic (95 % interval 1.85-1.93 %, 12 blocks) [exploratory]", Slower},
		{"no difference", "ready.mean", "a", "b", repeat(12, 1, 0), swing(12, 1), 1, false, false,
			"cannot tell whether b differs from a in mean ready: ratio 0.999 (95 % interval 0.95-1.05, 12 blocks)", CannotTell},
		{"too few blocks", "ready.mean", "a", "b", repeat(4, 1, 0), repeat(4, 2, 0.01), 1, false, false,
			"cannot tell whether b differs from a in mean ready: no bounded 95 % interval from 4 blocks, at least 6 are needed", CannotTell},
		{"equal counts", "stanzas", "a", "b", repeat(3, 12, 0), repeat(3, 12, 0), 1, false, false,
			"b and a have the same stanzas (12, equal in 3 blocks)", Same},
		{"fewer connections", "connections", "pair", "shared", repeat(2, 5000, 0), repeat(2, 2, 0), 1, false, false,
			"shared has 2500x lower connections than pair (2 against 5000, equal in 2 blocks)", Fewer},
		{"counts that may vary, too few blocks", "attempts.failed", "a", "b", repeat(2, 3, 0), repeat(2, 4, 0), 1, false, false,
			"cannot tell whether b differs from a in attempts.failed: no bounded 95 % interval from 2 blocks, at least 6 are needed", CannotTell},
		{"none in too few blocks", "attempts.failed", "a", "b", repeat(5, 0, 0), repeat(5, 0, 0), 1, false, false,
			"cannot tell whether b differs from a in attempts.failed: no bounded 95 % interval from 5 blocks, at least 6 are needed", CannotTell},
		{"counts that may vary", "attempts.failed", "a", "b", repeat(6, 3, 0), repeat(6, 4, 0), 1, false, false,
			"b has 33 % higher attempts.failed than a (4 against 3, equal in 6 blocks)", More},
		{"more comparisons need more blocks", "attempts.failed", "a", "b", repeat(6, 3, 0), repeat(6, 4, 0), 2, false, false,
			"cannot tell whether b differs from a in attempts.failed: no bounded 97.5 % interval from 6 blocks, at least 7 are needed", CannotTell},
		{"counts of other runs", "attempts.failed", "r1", "r2", repeat(2, 3, 0), repeat(3, 4, 0), 1, true, false,
			"cannot tell whether r2 differs from r1 in attempts.failed: no bounded 95 % interval from 2 and 3 blocks", CannotTell},
		{"something for nothing", "stanzas", "a", "b", repeat(1, 0, 0), repeat(1, 10, 0), 1, false, false,
			"b has higher stanzas than a (10 against 0, equal in 1 block)", More},
		{"memory of one block", "rss.client", "a", "b", repeat(1, 1e6, 0), repeat(1, 2e6, 0), 1, false, false,
			"cannot tell whether b differs from a in rss.client: no bounded 95 % interval from 1 block, at least 6 are needed", CannotTell},
		{"zero time", "ready.mean", "a", "b", []float64{1, 0, 1}, []float64{1, 1, 1}, 1, false, false,
			"cannot tell whether b differs from a in mean ready: a block without a positive figure gives no ratio", CannotTell},
		{"repeat", "probe.mean", "a", "a#aa", repeat(12, 1, 0), repeat(12, 1.2, 0.001), 1, false, false,
			"a differs from itself in mean probe: ratio 1.2 (95 % interval 1.198-1.201, 12 blocks), so the run cannot tell variants from disturbance", Flagged},
		{"other runs", "ready.mean", "r1", "r2", repeat(12, 1, 0.001), repeat(10, 2, 0.001), 1, true, false,
			"r2 has 2x higher mean ready than r1 (95 % interval 1.998-2.004, 12 and 10 blocks made at different times, drift is not removed)", Slower},
		{"missing", "ready.mean", "a", "b", nil, nil, 1, false, false,
			"cannot tell whether b differs from a in mean ready: no valid block has both figures", CannotTell},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := comparison{
				scalar: parseScalar(Metrics(), tt.scalar), baseline: tt.base, variant: tt.variant, x: tt.x, y: tt.y,
				paired: !tt.unpaired, level: Bonferroni(tt.k, 0.05), k: tt.k, primary: !tt.exploratory,
			}.judge()
			if v.Decision != tt.decision {
				t.Errorf("decision %q, want %q", v.Decision, tt.decision)
			}
			if got := v.String(); got != tt.want {
				t.Errorf("sentence\n  %q, want\n  %q", got, tt.want)
			}
		})
	}
}

// BenchmarkSignedRank estimates from as many blocks as a run has, an hour and a day of
// windows of one second.
func BenchmarkSignedRank(b *testing.B) {
	for _, n := range []int{12, 100, 3600, 86_400} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			d := make([]float64, n)
			for i := range d {
				d[i] = rng.NormFloat64()
			}
			b.ReportAllocs()
			for b.Loop() {
				SignedRank(d, 0.95)
			}
		})
	}
}
