package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// server serves one request at a time, in the order they come, and stands still
// for a while.
type server struct {
	service            time.Duration
	stallFrom, stallTo time.Time

	mu   sync.Mutex
	free time.Time
}

// serve returns when a request made now has been served.
func (s *server) serve(ctx context.Context) error {
	s.mu.Lock()
	begin := time.Now()
	if s.free.After(begin) {
		begin = s.free
	}
	if !begin.Before(s.stallFrom) && begin.Before(s.stallTo) {
		begin = s.stallTo
	}
	s.free = begin.Add(s.service)
	end := s.free
	s.mu.Unlock()
	return sleep(ctx, time.Until(end))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takes returns an operation of the given length.
func takes(d time.Duration) bench.Op {
	return func(ctx context.Context, _ bench.Arrival, _ results.Sink) error { return sleep(ctx, d) }
}

// response is the histogram of end − from in nanoseconds.
func response(t *testing.T, samples []results.Sample, from func(results.Sample) time.Time) *hdrhistogram.Histogram {
	t.Helper()
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for _, s := range samples {
		if err := h.RecordValue(int64(s.End.Sub(from(s)))); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// The target stands still for 10 s of 100. Whoever waits for the answer before
// sending again notices once; a plan that goes on notices a thousand times.
func TestCoordinatedOmission(t *testing.T) {
	const plan, length = 10 * time.Millisecond, 100 * time.Second
	newServer := func() *server {
		now := time.Now()
		return &server{service: time.Millisecond, stallFrom: now.Add(45 * time.Second), stallTo: now.Add(55 * time.Second)}
	}
	check := func(t *testing.T, what string, got int64, want, tolerance float64) {
		t.Helper()
		if math.Abs(float64(got)/want-1) > tolerance {
			t.Errorf("%s %v, want %v", what, time.Duration(got), time.Duration(want))
		}
	}

	t.Run("closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			target, sink := newServer(), &memory{}
			stats, err := bench.Run(t.Context(), bench.Config{Workers: 1, Measure: length},
				func(ctx context.Context, _ bench.Arrival, s results.Sink) error {
					begin := time.Now()
					err := target.serve(ctx)
					s.Observe(results.Sample{Metric: "op", Intended: begin, Start: begin, End: time.Now(), Err: err})
					return errors.Join(err, sleep(ctx, plan-time.Since(begin)))
				}, sink)
			if err != nil || !stats.Closed {
				t.Fatal(err, stats.Closed)
			}
			naive := response(t, sink.samples, func(s results.Sample) time.Time { return s.Start })
			if naive.TotalCount() != 9001 {
				t.Errorf("%d operations, want 9001", naive.TotalCount())
			}
			check(t, "p99", naive.ValueAtQuantile(99), 1e6, 0.01)
			check(t, "mean", int64(naive.Mean()), 2.1e6, 0.02)

			corrected := hdrhistogram.New(1, int64(time.Hour), 3)
			for _, s := range sink.samples {
				if err := corrected.RecordCorrectedValue(int64(s.End.Sub(s.Start)), int64(plan)); err != nil {
					t.Fatal(err)
				}
			}
			check(t, "corrected p99", corrected.ValueAtQuantile(99), 9009e6, 0.002)
			check(t, "corrected mean", int64(corrected.Mean()), 502e6, 0.01)
		})
	})

	t.Run("open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			target, sink := newServer(), &memory{}
			stats, err := bench.Run(t.Context(), bench.Config{Pacer: must(t)(bench.Constant(100)), Measure: length, Metric: "op"},
				func(ctx context.Context, _ bench.Arrival, _ results.Sink) error { return target.serve(ctx) }, sink)
			if err != nil || stats.Closed {
				t.Fatal(err, stats.Closed)
			}
			open := response(t, sink.samples, func(s results.Sample) time.Time { return s.Intended })
			if open.TotalCount() != 10_000 {
				t.Errorf("%d operations, want 10000", open.TotalCount())
			}
			check(t, "p50", open.ValueAtQuantile(50), 1e6, 0.01)
			check(t, "p99", open.ValueAtQuantile(99), 9102e6, 0.002)
			check(t, "p99.9", open.ValueAtQuantile(99.9), 9915e6, 0.002)
			check(t, "mean", int64(open.Mean()), 557e6, 0.01)
			if late := stats.Lateness.Max(); late != 0 {
				t.Errorf("the target stood still, not the generator: lateness %v", time.Duration(late))
			}
			if stats.InFlightPeak < 1000 {
				t.Errorf("%d operations in flight at most, want those of 10 s", stats.InFlightPeak)
			}
		})
	})

	// With few in flight it is our own queue that the stall fills, and nothing changes for the user.
	t.Run("open, bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			target, sink := newServer(), &memory{}
			stats, err := bench.Run(t.Context(), bench.Config{Pacer: must(t)(bench.Constant(100)), Measure: length, Metric: "op", MaxInFlight: 10},
				func(ctx context.Context, _ bench.Arrival, _ results.Sink) error { return target.serve(ctx) }, sink)
			if err != nil {
				t.Fatal(err)
			}
			open := response(t, sink.samples, func(s results.Sample) time.Time { return s.Intended })
			check(t, "p99", open.ValueAtQuantile(99), 9102e6, 0.002)
			check(t, "mean", int64(open.Mean()), 557e6, 0.01)
			check(t, "lateness p99", stats.Lateness.ValueAtQuantile(99), 9.0e9, 0.02)
			if stats.InFlightPeak != 10 || stats.Measured.Waited < 1000 {
				t.Errorf("in flight at most %d, %d waited", stats.InFlightPeak, stats.Measured.Waited)
			}
		})
	})
}

func TestRunWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, outside := &memory{}, &memory{}
		cfg := bench.Config{
			Pacer:  must(t)(bench.Constant(10)),
			Warmup: 2 * time.Second, Measure: 5 * time.Second, Cooldown: time.Second,
			Metric: "op", Outside: outside,
		}
		start := time.Now()
		stats, err := bench.Run(t.Context(), cfg, func(ctx context.Context, a bench.Arrival, s results.Sink) error {
			s.Count("begun", 1)
			if a.Seq%10 == 3 {
				return errors.New("refused")
			}
			return sleep(ctx, 250*time.Millisecond)
		}, sink)
		if err != nil {
			t.Fatal(err)
		}
		want := bench.Stats{
			Start: start, Window: 5 * time.Second,
			Warmup:        bench.Tally{Planned: 20, Started: 20, Done: 18, Failed: 2},
			Measured:      bench.Tally{Planned: 50, Started: 50, Done: 45, Failed: 5},
			Cooldown:      bench.Tally{Planned: 10, Started: 10, Done: 9, Failed: 1},
			StartedWithin: 50,
			// Those begun in the last 0.25 s of a window end in the next one.
			DoneWithin:   45,
			InFlightPeak: 3,
			Lateness:     stats.Lateness, Generator: stats.Generator,
		}
		if stats != want {
			t.Errorf("stats\n%+v, want\n%+v", stats, want)
		}
		if stats.Generator.Elapsed != 5*time.Second {
			t.Errorf("the generator was watched for %v", stats.Generator.Elapsed)
		}
		if stats.Lateness.TotalCount() != 50 || stats.Lateness.Max() != 0 {
			t.Errorf("lateness of %d operations, at most %d ns", stats.Lateness.TotalCount(), stats.Lateness.Max())
		}
		if len(sink.samples) != 50 || sink.counts["begun"] != 50 {
			t.Errorf("%d samples and %d counts, want those of the measured window", len(sink.samples), sink.counts["begun"])
		}
		if len(outside.samples) != 30 || outside.counts["begun"] != 30 {
			t.Errorf("%d samples and %d counts outside", len(outside.samples), outside.counts["begun"])
		}
		for _, s := range sink.samples {
			if at := s.Intended.Sub(start); at < cfg.Warmup || at >= cfg.Warmup+cfg.Measure {
				t.Errorf("sample intended at %v is outside the window", at)
			}
		}
		if stats.PlannedRate() != 10 || stats.StartRate() != 10 || stats.DoneRate() != 9 {
			t.Errorf("rates %v, %v, %v", stats.PlannedRate(), stats.StartRate(), stats.DoneRate())
		}
	})
}

// An operation belongs to the window of its intended time, however late it starts.
func TestRunWindowOfLateStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		stats, err := bench.Run(t.Context(), bench.Config{
			Pacer: bench.First(must(t)(bench.Constant(1)), 4), Measure: 2 * time.Second, Cooldown: 2 * time.Second,
			Metric: "op", MaxInFlight: 1,
		}, takes(5*time.Second), sink)
		if err != nil {
			t.Fatal(err)
		}
		if len(sink.samples) != 2 || stats.Measured.Started != 2 || stats.Cooldown.Started != 2 {
			t.Fatalf("%d samples, %+v", len(sink.samples), stats)
		}
		if second := sink.samples[1]; second.Start.Sub(second.Intended) != 4*time.Second {
			t.Errorf("waited %v, want 4s", second.Start.Sub(second.Intended))
		}
		if stats.StartedWithin != 1 || stats.StartRate() != 0.5 || stats.PlannedRate() != 1 {
			t.Errorf("started %d within the window, rates %v of %v", stats.StartedWithin, stats.StartRate(), stats.PlannedRate())
		}
	})
}

func TestRunWithoutWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats, err := bench.Run(t.Context(), bench.Config{Pacer: bench.Once(100), MaxInFlight: 20}, takes(time.Second), &memory{})
		if err != nil {
			t.Fatal(err)
		}
		if stats.Measured.Done != 100 || stats.Window != 5*time.Second || stats.DoneRate() != 20 {
			t.Errorf("%d done in %v: %v/s", stats.Measured.Done, stats.Window, stats.DoneRate())
		}
		if got := stats.Lateness.Max(); time.Duration(got).Round(10*time.Millisecond) != 4*time.Second {
			t.Errorf("the last waited %v, want 4s", time.Duration(got))
		}
	})
}

func TestRunEmptyPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stats, err := bench.Run(t.Context(), bench.Config{Pacer: bench.Once(0), Measure: time.Second}, takes(0), &memory{})
		if err != nil || stats.Measured != (bench.Tally{}) || stats.DoneRate() != 0 {
			t.Errorf("%+v, %v", stats, err)
		}
		if time.Since(start) > time.Second {
			t.Errorf("took %v", time.Since(start))
		}
	})
}

func TestRunStartsWhenTold(t *testing.T) {
	for name, cfg := range map[string]bench.Config{
		"open":   {Pacer: bench.Once(3)},
		"closed": {Workers: 3, Limit: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &memory{}
				cfg.Start, cfg.Metric = time.Now().Add(time.Minute), "op"
				if _, err := bench.Run(t.Context(), cfg, takes(0), sink); err != nil {
					t.Fatal(err)
				}
				for _, s := range sink.samples {
					if !s.Start.Equal(cfg.Start) {
						t.Errorf("started at %v, want %v", s.Start, cfg.Start)
					}
				}
				if len(sink.samples) != 3 {
					t.Errorf("%d operations, want 3", len(sink.samples))
				}
			})
		})
	}
}

// A generator that cannot keep up says so in every figure by which it is judged.
func TestStarvedGenerator(t *testing.T) {
	window := bench.Config{Warmup: time.Second, Measure: 10 * time.Second}
	tests := []struct {
		name                    string
		plan                    bench.Pacer
		op                      bench.Op
		inFlight, backlog       int
		minLateness             time.Duration
		waited, dropped, missed bool
	}{
		{"healthy", must(t)(bench.Constant(100)), takes(10 * time.Millisecond), 10, 10, 0, false, false, false},
		{"too few in flight", must(t)(bench.Constant(100)), takes(50 * time.Millisecond), 1, 0, 5 * time.Second, true, false, true},
		{"backlog too small", must(t)(bench.Constant(100)), takes(50 * time.Millisecond), 1, 5, 200 * time.Millisecond, true, true, true},
		{"no backlog", must(t)(bench.Constant(100)), takes(50 * time.Millisecond), 1, -1, 0, false, true, true},
		{"pacing goroutine starved", slowPacer{must(t)(bench.Constant(100)), 25 * time.Millisecond}, takes(0), 10, 10, 5 * time.Second, false, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := window
				cfg.Pacer, cfg.MaxInFlight, cfg.MaxBacklog, cfg.Drain = tt.plan, tt.inFlight, tt.backlog, time.Hour
				stats, err := bench.Run(t.Context(), cfg, tt.op, &memory{})
				if err != nil {
					t.Fatal(err)
				}
				m := stats.Measured
				if m.Planned != 1000 || m.Planned != m.Started+m.Dropped || m.Started != m.Done {
					t.Errorf("the counts do not add up: %+v", m)
				}
				if late := time.Duration(stats.Lateness.ValueAtQuantile(99)); late < tt.minLateness || tt.minLateness == 0 && late != 0 {
					t.Errorf("lateness p99 %v, want at least %v", late, tt.minLateness)
				}
				if (m.Waited > 0) != tt.waited || (m.Dropped > 0) != tt.dropped {
					t.Errorf("%d waited, %d dropped", m.Waited, m.Dropped)
				}
				if missed := stats.StartRate() < 0.98*stats.PlannedRate(); missed != tt.missed {
					t.Errorf("started %v/s of %v/s", stats.StartRate(), stats.PlannedRate())
				}
				if stats.InFlightPeak > tt.inFlight || stats.BacklogPeak > max(0, tt.backlog) && tt.backlog != 0 {
					t.Errorf("%d in flight, %d waiting", stats.InFlightPeak, stats.BacklogPeak)
				}
			})
		})
	}
}

// slowPacer keeps the pacing goroutine from running, as a busy machine would.
type slowPacer struct {
	bench.Pacer
	hold time.Duration
}

func (p slowPacer) At(seq uint64) (time.Duration, bool) {
	time.Sleep(p.hold)
	return p.Pacer.At(seq)
}

func TestLatenessBeyondItsRangeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats, err := bench.Run(t.Context(), bench.Config{Pacer: bench.Once(3), MaxInFlight: 1, Drain: 100 * time.Hour},
			takes(50*time.Minute), &memory{})
		if err != nil {
			t.Fatal(err)
		}
		if stats.Clamped != 1 || stats.Lateness.TotalCount() != 3 {
			t.Errorf("%d clamped of %d", stats.Clamped, stats.Lateness.TotalCount())
		}
		if late := time.Duration(stats.Lateness.Max()).Round(time.Minute); late != time.Hour {
			t.Errorf("lateness at most %v, want the end of the range", late)
		}
	})
}

// Whenever the context of a run ends, what was measured comes back, the counts
// add up and nothing is left running (synctest sees to the last).
func TestRunCancel(t *testing.T) {
	errStop := errors.New("enough")
	loops := map[string]bench.Config{
		"open":    {Pacer: must(t)(bench.Constant(100))},
		"bounded": {Pacer: must(t)(bench.Constant(100)), MaxInFlight: 2, MaxBacklog: 50},
		"closed":  {Workers: 5},
	}
	ops := map[string]bench.Op{"short": takes(300 * time.Millisecond), "endless": takes(time.Hour)}
	for _, at := range []time.Duration{0, 5 * time.Millisecond, 1500 * time.Millisecond, 4 * time.Second, 7500 * time.Millisecond, 8050 * time.Millisecond} {
		for loop, cfg := range loops {
			for length, op := range ops {
				t.Run(fmt.Sprintf("%s/%s/%v", loop, length, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						ctx, cancel := context.WithCancelCause(t.Context())
						if at == 0 {
							cancel(errStop)
						}
						timer := time.AfterFunc(at, func() { cancel(errStop) })
						defer timer.Stop()
						cfg := cfg
						cfg.Warmup, cfg.Measure, cfg.Cooldown, cfg.Grace = 3*time.Second, 4*time.Second, time.Second, 500*time.Millisecond
						cfg.Metric = "op"
						sink := &memory{}
						start := time.Now()
						stats, err := bench.Run(ctx, cfg, op, sink)
						if !errors.Is(err, errStop) || !stats.Interrupted {
							t.Fatalf("error %v, interrupted %v", err, stats.Interrupted)
						}
						if took := time.Since(start); took > at+cfg.Grace {
							t.Errorf("returned %v after the cancel", took-at)
						}
						for _, tally := range []bench.Tally{stats.Warmup, stats.Measured, stats.Cooldown} {
							if tally.Planned != tally.Started+tally.Dropped+tally.Abandoned || tally.Started != tally.Done+tally.Failed+tally.Cut {
								t.Errorf("the counts do not add up: %+v", tally)
							}
							if length == "short" && tally.Cut+tally.Failed > 0 {
								t.Errorf("short operations were cut: %+v", tally)
							}
						}
						if uint64(len(sink.samples)) != stats.Measured.Done {
							t.Errorf("%d samples of %d operations that ended; what was cut has not failed", len(sink.samples), stats.Measured.Done)
						}
						if want := min(cfg.Measure, max(0, at-cfg.Warmup)); stats.Window != want {
							t.Errorf("window of %v, want %v", stats.Window, want)
						}
					})
				})
			}
		}
	}
}

func TestRunCancelWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		stats, err := bench.Run(ctx, bench.Config{Pacer: bench.Once(3), MaxInFlight: 2, Drain: time.Minute}, takes(time.Hour), &memory{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if want := (bench.Tally{Planned: 3, Started: 2, Waited: 1, Abandoned: 1, Cut: 2}); stats.Measured != want {
			t.Errorf("%+v, want %+v", stats.Measured, want)
		}
		if took := time.Since(start); took != 5*time.Second+bench.DefaultGrace {
			t.Errorf("took %v", took)
		}
	})
}

func TestRunDrain(t *testing.T) {
	for name, cfg := range map[string]bench.Config{
		"open":   {Pacer: bench.Once(2), Measure: time.Second},
		"closed": {Workers: 2, Measure: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg.Drain = 10 * time.Second
				start := time.Now()
				stats, err := bench.Run(t.Context(), cfg, takes(time.Hour), &memory{})
				if err != nil || stats.Interrupted {
					t.Errorf("error %v, interrupted %v: a cut is not an interruption", err, stats.Interrupted)
				}
				if stats.Measured.Cut != 2 {
					t.Errorf("%+v, want two cut", stats.Measured)
				}
				if took := time.Since(start); took > 11*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestRunGraceNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := bench.Run(ctx, bench.Config{Pacer: bench.Once(2), Grace: -1}, takes(time.Hour), &memory{})
		if err == nil || time.Since(start) != time.Second {
			t.Errorf("returned %v after %v", err, time.Since(start))
		}
	})
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		stats, err := bench.Run(t.Context(), bench.Config{Workers: 4, Limit: 10, Metric: "op"}, takes(time.Second), sink)
		if err != nil {
			t.Fatal(err)
		}
		if !stats.Closed || stats.Measured.Done != 10 || stats.InFlightPeak != 4 || stats.Window != 3*time.Second {
			t.Errorf("%+v", stats)
		}
		seen := make(map[time.Time]int)
		for _, s := range sink.samples {
			seen[s.Intended]++
			if !s.Intended.Equal(s.Start) {
				t.Errorf("a closed loop has no plan, yet intended %v and started %v", s.Intended, s.Start)
			}
		}
		if len(seen) != 3 {
			t.Errorf("operations started at %d times, want 3 rounds", len(seen))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		stats, err := bench.Run(t.Context(), bench.Config{Workers: 2, Warmup: time.Second, Measure: 2 * time.Second, Cooldown: time.Second},
			takes(100*time.Millisecond), &memory{})
		if err != nil {
			t.Fatal(err)
		}
		if stats.Warmup.Done != 20 || stats.Measured.Done != 40 || stats.Cooldown.Done != 20 || stats.StartRate() != 20 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestRunProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []bench.Progress
		_, err := bench.Run(t.Context(), bench.Config{
			Pacer: must(t)(bench.Constant(2)), Warmup: 2 * time.Second, Measure: 2 * time.Second, MaxInFlight: 1,
			Progress: func(p bench.Progress) { got = append(got, p) },
		}, takes(900*time.Millisecond), &memory{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 8 {
			t.Fatalf("%d calls in 7.2 s and one at the end, want 8", len(got))
		}
		windows := []bench.Window{bench.Warmup, bench.Measured, bench.Measured}
		for i, want := range windows {
			if got[i].Window != want {
				t.Errorf("after %v in window %v, want %v", got[i].Elapsed, got[i].Window, want)
			}
		}
		last := got[len(got)-1]
		if last.Total.Done != 8 || last.InFlight != 0 || last.Waiting != 0 || last.LatenessP99 == 0 {
			t.Errorf("at the end %+v", last)
		}
		for i, p := range got[1:] {
			if p.Total.Done < got[i].Total.Done {
				t.Errorf("counts go back: %+v", got)
			}
		}
	})
}

func TestRunRefuses(t *testing.T) {
	op, sink, plan := takes(0), &memory{}, bench.Once(1)
	tests := []struct {
		name string
		cfg  bench.Config
		op   bench.Op
		want string
	}{
		{"no operation", bench.Config{Pacer: plan}, nil, "an operation"},
		{"no load", bench.Config{}, op, "either a pacer"},
		{"two loads", bench.Config{Pacer: plan, Workers: 1}, op, "either a pacer"},
		{"negative workers", bench.Config{Workers: -1, Limit: 1}, op, "-1 workers"},
		{"limit of an open loop", bench.Config{Pacer: plan, Limit: 1}, op, "limit"},
		{"closed without end", bench.Config{Workers: 1}, op, "measured window or a limit"},
		{"negative window", bench.Config{Pacer: plan, Warmup: -1}, op, "-1ns"},
		{"cool-down of nothing", bench.Config{Pacer: plan, Cooldown: 1}, op, "cool-down"},
		{"windows too long", bench.Config{Pacer: plan, Warmup: math.MaxInt64, Measure: 1}, op, "too long"},
		{"negative in-flight limit", bench.Config{Pacer: plan, MaxInFlight: -1}, op, "limit -1"},
		{"negative drain", bench.Config{Pacer: plan, Drain: -1}, op, "drain -1ns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := bench.Run(t.Context(), tt.cfg, tt.op, sink)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// The precise timer waits on the real clock; what is tested here is that the
// plan is kept whole and can be stopped, not how precise it is.
func TestRunThreadTimer(t *testing.T) {
	sink := &memory{}
	stats, err := bench.Run(t.Context(), bench.Config{Pacer: bench.First(must(t)(bench.Constant(500)), 50), Metric: "op", Timer: bench.TimerThread},
		takes(0), sink)
	if err != nil || stats.Measured.Done != 50 {
		t.Fatal(err, stats.Measured)
	}
	for _, s := range sink.samples {
		if s.Start.Before(s.Intended) {
			t.Errorf("started %v early", s.Intended.Sub(s.Start))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := bench.Run(ctx, bench.Config{Pacer: must(t)(bench.Constant(0.001)), Timer: bench.TimerThread}, takes(0), sink); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
