package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	old "math/rand"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"

	"github.com/xmppbench/xmppbench/bench"
)

// queue simulates a single server with arrivals at random and returns the
// 0.99-quantile of the response of n customers: Lindley's recursion, seconds.
func queue(random *rand.Rand, rate float64, n int, service func() float64) float64 {
	response := make([]float64, 0, n)
	var wait float64
	for i := range n + n/2 {
		s := service()
		if i >= n/2 { // the first third fills the queue
			response = append(response, wait+s)
		}
		wait = max(0, wait+s-random.ExpFloat64()/rate)
	}
	slices.Sort(response)
	return response[int(math.Ceil(0.99*float64(n)))-1]
}

// TestSearchQueues searches targets whose knee is known: of an M/M/1 queue the
// response is exponential with rate μ−λ, so its p99 meets an SLO at μ − ln(100)/SLO;
// a server that takes always the same time, M/D/1, bears the load that bisecting
// its own long simulation gives.
func TestSearchQueues(t *testing.T) {
	const mu, slo = 2500.0, 0.010
	random := func(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
	deterministic := func() float64 { return 1 / mu }
	lo, hi := 1.0, mu
	for hi/lo > 1.005 {
		if mid := math.Sqrt(lo * hi); queue(random(1), mid, 300_000, deterministic) <= slo {
			lo = mid
		} else {
			hi = mid
		}
	}
	tests := []struct {
		name    string
		knee    float64
		service func(*rand.Rand) func() float64
	}{
		{"M/M/1", mu - math.Log(100)/slo, func(r *rand.Rand) func() float64 { return func() float64 { return r.ExpFloat64() / mu } }},
		{"M/D/1", lo, func(*rand.Rand) func() float64 { return deterministic }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var found []float64
			for seed := range uint64(15) {
				r := random(seed)
				got, err := bench.Search(t.Context(), bench.SearchConfig{Start: 400, Min: 50, Max: 1e6},
					func(_ context.Context, trial bench.Trial) (bench.Judged, error) {
						n := 5_000
						if trial.Phase == bench.PhaseConfirm {
							n *= 3
						}
						p99 := queue(r, trial.Level, n, tt.service(r))
						if p99 > slo {
							return bench.Judged{Judgement: bench.Fail}, nil
						}
						return bench.Judged{Judgement: bench.Pass, Clear: p99 < slo/2}, nil
					})
				if err != nil || got.End != bench.EndBracket || !got.Confirmed {
					t.Fatalf("seed %d: %+v, %v", seed, got, err)
				}
				// A window near the knee holds few independent busy periods, so that a
				// single search may err by more than its tolerance.
				if off := got.Lo / tt.knee; off < 0.8 || off > 1.06 {
					t.Errorf("seed %d: found %.0f/s, the knee is at %.0f/s", seed, got.Lo, tt.knee)
				}
				found = append(found, got.Lo)
			}
			slices.Sort(found)
			if off := found[len(found)/2] / tt.knee; off < 1/1.06 || off > 1.06 {
				t.Errorf("median of %d searches %.0f/s, range %.0f/s to %.0f/s; the knee is at %.0f/s",
					len(found), found[len(found)/2], found[0], found[len(found)-1], tt.knee)
			}
		})
	}
}

// judge is a target without noise that bears levels up to the knee.
func judge(knee float64) func(context.Context, bench.Trial) (bench.Judged, error) {
	return func(_ context.Context, t bench.Trial) (bench.Judged, error) {
		if t.Level > knee {
			return bench.Judged{Judgement: bench.Fail, Reason: fmt.Sprintf("%v is too much", t.Level)}, nil
		}
		return bench.Judged{Judgement: bench.Pass, Clear: true}, nil
	}
}

func TestSearchEnds(t *testing.T) {
	stay := func(context.Context, bench.Trial) (bench.Judged, error) {
		return bench.Judged{Judgement: bench.Invalid, Reason: "late"}, nil
	}
	above := func(level float64, then bench.Judged) func(context.Context, bench.Trial) (bench.Judged, error) {
		return func(ctx context.Context, t bench.Trial) (bench.Judged, error) {
			if t.Level > level {
				return then, nil
			}
			return judge(1e9)(ctx, t)
		}
	}
	short := func(ctx context.Context, t bench.Trial) (bench.Judged, error) { // longer runs show what short ones do not
		if t.Phase == bench.PhaseConfirm {
			return judge(90)(ctx, t)
		}
		return judge(200)(ctx, t)
	}
	tests := []struct {
		name   string
		config bench.SearchConfig
		run    func(context.Context, bench.Trial) (bench.Judged, error)
		want   func(bench.Found) bool
	}{
		{"bracket", bench.SearchConfig{Start: 10, Min: 1, Max: 1e4}, judge(333), func(f bench.Found) bool {
			return f.End == bench.EndBracket && f.Confirmed && f.Lo <= 333 && f.Hi > 333 && f.Hi/f.Lo <= 1.06 && f.Reason != ""
		}},
		{"downwards", bench.SearchConfig{Start: 1000, Min: 1, Max: 1e4}, judge(3), func(f bench.Found) bool {
			return f.End == bench.EndBracket && f.Confirmed && f.Lo <= 3 && f.Hi > 3
		}},
		{"everything passes", bench.SearchConfig{Start: 10, Min: 1, Max: 500}, judge(1e9), func(f bench.Found) bool {
			return f.End == bench.EndMaximum && f.Confirmed && f.Lo == 500 && f.Hi == 0 && f.Trials == 8
		}},
		{"one level", bench.SearchConfig{Start: 5, Min: 5, Max: 5}, judge(1e9), func(f bench.Found) bool {
			return f.End == bench.EndMaximum && f.Lo == 5
		}},
		{"nothing passes", bench.SearchConfig{Start: 10, Min: 4, Max: 500}, judge(3), func(f bench.Found) bool {
			return f.End == bench.EndNothing && f.Lo == 0 && f.Hi == 4 && f.Reason == "4 is too much"
		}},
		{"whole numbers", bench.SearchConfig{Start: 1, Min: 1, Max: 100, Round: math.Round}, judge(6), func(f bench.Found) bool {
			return f.End == bench.EndBracket && f.Lo == 6 && f.Hi == 7
		}},
		{"invalid from the start", bench.SearchConfig{Start: 10, Min: 1, Max: 100, Repeat: 2}, stay, func(f bench.Found) bool {
			return f.End == bench.EndInvalid && f.Lo == 0 && f.Stuck == 10 && f.Trials == 3 && f.Reason == "late"
		}},
		{"invalid above", bench.SearchConfig{Start: 10, Min: 1, Max: 1000, Repeat: -1}, above(100, bench.Judged{Judgement: bench.Invalid}), func(f bench.Found) bool {
			return f.End == bench.EndInvalid && f.Lo == 80 && f.Stuck == 160 && !f.Confirmed
		}},
		{"stepped down", bench.SearchConfig{Start: 100, Min: 1, Max: 1000}, short, func(f bench.Found) bool {
			return f.End == bench.EndBracket && f.Confirmed && f.Lo <= 90 && f.Lo > 40 && f.Hi > 90
		}},
		{"stepped down to nothing", bench.SearchConfig{Start: 100, Min: 95, Max: 1000}, short, func(f bench.Found) bool {
			return f.End == bench.EndNothing && f.Lo == 0 && f.Hi == 95
		}},
		{"small steps first", bench.SearchConfig{Start: 100, Min: 1, Max: 1000, Growth: 1.2}, judge(110), func(f bench.Found) bool {
			return f.End == bench.EndBracket && f.Lo <= 110 && f.Hi > 110 && f.Trials <= 9
		}},
		{"no time", bench.SearchConfig{Start: 10, Min: 1, Max: 1000, Affords: func(bench.Trial) bool { return false }}, judge(100), func(f bench.Found) bool {
			return f.End == bench.EndBudget && f.Lo == 0 && f.Trials == 0
		}},
		{"time for the bracket", bench.SearchConfig{Start: 10, Min: 1, Max: 1000, Affords: func(t bench.Trial) bool { return t.Phase != bench.PhaseBisect }}, judge(100), func(f bench.Found) bool {
			return f.End == bench.EndBudget && f.Lo == 80 && f.Hi == 160 && f.Confirmed
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := bench.Search(t.Context(), tt.config, tt.run)
			if err != nil || !tt.want(got) {
				t.Errorf("found %+v, %v", got, err)
			}
		})
	}
}

// TestSearchVotes lets one trial of each level lie: a failure is outvoted, and a pass
// that was not clear too.
func TestSearchVotes(t *testing.T) {
	for _, lie := range []bench.Judgement{bench.Fail, bench.Pass, bench.Invalid} {
		got, err := bench.Search(t.Context(), bench.SearchConfig{Start: 10, Min: 1, Max: 1e4},
			func(ctx context.Context, trial bench.Trial) (bench.Judged, error) {
				if trial.Attempt == 0 {
					return bench.Judged{Judgement: lie}, nil
				}
				return judge(333)(ctx, trial)
			})
		if err != nil || got.End != bench.EndBracket || got.Lo > 333 || got.Hi <= 333 {
			t.Errorf("first trials say %s: found %+v, %v", lie, got, err)
		}
	}
}

func TestSearchStops(t *testing.T) {
	broken := errors.New("the server is gone")
	calls := 0
	got, err := bench.Search(t.Context(), bench.SearchConfig{Start: 10, Min: 1, Max: 1e4},
		func(ctx context.Context, trial bench.Trial) (bench.Judged, error) {
			if calls++; calls == 4 {
				return bench.Judged{}, broken
			}
			return judge(1e9)(ctx, trial)
		})
	if !errors.Is(err, broken) || got.Lo != 40 || got.Trials != 3 {
		t.Errorf("found %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	got, err = bench.Search(ctx, bench.SearchConfig{Start: 10, Min: 1, Max: 1e4},
		func(ctx context.Context, trial bench.Trial) (bench.Judged, error) {
			cancel(broken)
			return judge(1e9)(ctx, trial)
		})
	if !errors.Is(err, broken) || got.Lo != 10 {
		t.Errorf("interrupted: found %+v, %v", got, err)
	}
}

func TestSearchRefuses(t *testing.T) {
	for _, c := range []bench.SearchConfig{
		{},
		{Start: 1, Min: 0, Max: 2},
		{Start: 1, Min: 2, Max: 3},
		{Start: 4, Min: 2, Max: 3},
		{Start: 1, Min: 1, Max: math.Inf(1)},
		{Start: math.NaN(), Min: 1, Max: 2},
		{Start: 1, Min: 1, Max: 2, Growth: 1},
		{Start: 1, Min: 1, Max: 2, Tolerance: 0.9},
		{Start: 1, Min: 1, Max: 2, Votes: 2},
	} {
		if got, err := bench.Search(t.Context(), c, judge(1)); err == nil {
			t.Errorf("%+v: found %+v", c, got)
		}
	}
}

// TestSearchProperties runs searches of targets that answer at random, with more
// failures the higher the level, or without any order at all: whatever they say, the
// number of trials is bounded, levels stay within bounds, what is said to hold did
// hold and what is said to fail did fail.
func TestSearchProperties(t *testing.T) {
	check := func(seed uint64, start, low, high, knee uint16, noise, invalid uint8, order bool) bool {
		r := rand.New(rand.NewPCG(seed, 2))
		c := bench.SearchConfig{Min: 1 + float64(low), Growth: 1.05 + 2*r.Float64(), Tolerance: 1.02 + r.Float64()/4, Votes: 1 + 2*r.IntN(3), Repeat: 1 + r.IntN(3)}
		c.Max = c.Min + float64(high)
		c.Start = min(c.Max, c.Min+float64(start))
		if seed%2 == 0 {
			c.Round = math.Round
		}
		passed, failed := make(map[float64]bool), make(map[float64]bool)
		trials := 0
		got, err := bench.Search(t.Context(), c, func(_ context.Context, trial bench.Trial) (bench.Judged, error) {
			trials++
			if trial.Level < c.Min || trial.Level > c.Max {
				t.Errorf("level %v is outside of %v to %v", trial.Level, c.Min, c.Max)
			}
			if r.IntN(1024) < int(invalid) {
				return bench.Judged{Judgement: bench.Invalid}, nil
			}
			bad := order && trial.Level > float64(knee)
			if r.IntN(512) < int(noise) {
				bad = !bad
			}
			if bad {
				failed[trial.Level] = true
				return bench.Judged{Judgement: bench.Fail}, nil
			}
			passed[trial.Level] = true
			return bench.Judged{Judgement: bench.Pass, Clear: r.IntN(2) == 0}, nil
		})
		if err != nil {
			t.Error(err)
			return false
		}
		// Growing or shrinking takes steps that square up to 2, bisecting halves the
		// logarithm of a ratio, and confirming steps down by squares of the tolerance.
		span := math.Log2(c.Max / c.Min)
		slow := 1 + math.Log2(math.Max(1, math.Ln2/math.Log(c.Growth))) // steps below 2
		widest := math.Max(c.Growth, 2)
		levels := (span + 2) + slow + 2 +
			math.Log2(math.Max(1, math.Log(widest*c.Max/c.Min)/math.Log(c.Tolerance))) + 2 +
			math.Log2(math.Max(1, span*math.Ln2/math.Log(c.Tolerance))) + 3
		each := float64(c.Votes + c.Repeat + 1)
		switch {
		case trials != got.Trials || float64(trials) > levels*each:
		case got.Lo != 0 && !passed[got.Lo]:
		case got.Hi != 0 && (!failed[got.Hi] || got.Hi <= got.Lo):
		case got.Confirmed && got.Lo == 0, got.End == "":
		case got.End == bench.EndBracket && (got.Lo == 0 || got.Hi == 0 || !got.Confirmed):
		case got.End == bench.EndNothing && got.Lo != 0, got.End == bench.EndMaximum && got.Lo != c.Max:
		case got.End == bench.EndInvalid && got.Stuck == 0:
		default:
			return true
		}
		t.Logf("%+v of %+v, %d trials, at most %.0f levels", got, c, trials, levels)
		return false
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 5000, Rand: old.New(old.NewSource(1))}); err != nil {
		t.Error(err)
	}
}
