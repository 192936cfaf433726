package bench_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

func metric(name string) func(time.Time) string { return func(time.Time) string { return name } }

// answers calls done after the given time unless ctx ends before.
func answers(wg *sync.WaitGroup, after time.Duration) bench.ProbeFunc {
	return func(ctx context.Context, _ uint64, done func(time.Time, error)) error {
		wg.Go(func() {
			if sleep(ctx, after) == nil {
				done(time.Now(), nil)
			}
		})
		return nil
	}
}

// Answers stop for 10 s; probes do not.
func TestProbeThroughStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stallFrom, stallTo := start.Add(5*time.Second), start.Add(15*time.Second)
		var wg sync.WaitGroup
		var sent []time.Time
		send := func(_ context.Context, _ uint64, done func(time.Time, error)) error {
			now := time.Now()
			sent = append(sent, now)
			answer := now.Add(10 * time.Millisecond)
			if !now.Before(stallFrom) && answer.Before(stallTo) {
				answer = stallTo
			}
			wg.Go(func() {
				time.Sleep(time.Until(answer))
				done(time.Now(), nil)
			})
			return nil
		}
		sink := &memory{}
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{
			Pacer: bench.Until(must(t)(bench.Constant(100)), 20*time.Second),
			Classify: func(intended time.Time) string {
				switch {
				case intended.Before(stallFrom):
					return "before"
				case intended.Before(stallTo):
					return "during"
				default:
					return "after"
				}
			},
		}, send, sink)
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if want := (bench.ProbeStats{Planned: 2000, Answered: 2000, OutstandingPeak: 1000}); stats != want {
			t.Errorf("stats %+v, want %+v", stats, want)
		}
		for i, at := range sent {
			if want := start.Add(time.Duration(i) * 10 * time.Millisecond); !at.Equal(want) {
				t.Fatalf("probe %d sent %v late", i, at.Sub(want))
			}
		}
		n, sum := make(map[string]int), make(map[string]time.Duration)
		for _, s := range sink.samples {
			n[s.Metric]++
			sum[s.Metric] += s.End.Sub(s.Intended)
		}
		if n["before"] != 500 || n["during"] != 1000 || n["after"] != 500 {
			t.Errorf("probes per phase: %v", n)
		}
		if mean := sum["before"] / 500; mean != 10*time.Millisecond {
			t.Errorf("mean before the stall %v", mean)
		}
		// From 10 s down to 10 ms in equal steps, and the last one late for it.
		if mean := sum["during"] / 1000; mean.Round(10*time.Millisecond) != 5*time.Second+10*time.Millisecond {
			t.Errorf("mean during the stall %v", mean)
		}
	})
}

func TestProbeStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(995*time.Millisecond, func() { close(stop) })
		var wg sync.WaitGroup
		sink := &memory{}
		start := time.Now()
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{
			Pacer: must(t)(bench.Constant(100)), Stop: stop, Classify: metric("probe"),
		}, answers(&wg, 2*time.Second), sink)
		wg.Wait()
		if err != nil || stats.Planned != 100 || stats.Answered != 100 || len(sink.samples) != 100 {
			t.Errorf("%+v, %d samples, %v", stats, len(sink.samples), err)
		}
		if took := time.Since(start); took != 2990*time.Millisecond {
			t.Errorf("took %v, want until the last answer", took)
		}
	})
}

// Probes without an answer end as errors, and a late answer does no harm.
func TestProbeUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []func(time.Time, error)
		send := func(_ context.Context, seq uint64, done func(time.Time, error)) error {
			if seq%2 == 0 {
				done(time.Now(), nil)
				done(time.Now(), errors.New("twice"))
				return nil
			}
			late = append(late, done)
			return nil
		}
		sink := &memory{}
		start := time.Now()
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{
			Pacer: bench.First(must(t)(bench.Constant(10)), 11), Classify: metric("probe"), Drain: 3 * time.Second,
		}, send, sink)
		if err != nil {
			t.Fatal(err)
		}
		for _, done := range late {
			done(time.Now(), nil)
		}
		if want := (bench.ProbeStats{Planned: 11, Answered: 6, Unanswered: 5, OutstandingPeak: 6}); stats != want {
			t.Errorf("stats %+v, want %+v", stats, want)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("took %v, want the plan's 1s and the drain's 3s", took)
		}
		if len(sink.samples) != 11 {
			t.Fatalf("%d samples, want one per probe", len(sink.samples))
		}
		for i, s := range sink.samples {
			if wantErr := i >= 6; errors.Is(s.Err, bench.ErrUnanswered) != wantErr || !wantErr && s.Err != nil {
				t.Errorf("sample %d: error %v", i, s.Err)
			}
		}
		if first := sink.samples[6]; first.Intended.Sub(start) != 100*time.Millisecond || first.End.Sub(start) != 4*time.Second {
			t.Errorf("first unanswered probe from %v to %v", first.Intended.Sub(start), first.End.Sub(start))
		}
	})
}

func TestProbeFailedSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken pipe")
		sink := &memory{}
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{Pacer: bench.Once(3), Classify: metric("probe")},
			func(_ context.Context, seq uint64, done func(time.Time, error)) error {
				switch seq {
				case 0:
					return broken
				case 1:
					// The answer was an error, and so then was the send.
					done(time.Now(), errors.New("first"))
					return broken
				}
				done(time.Now(), nil)
				return nil
			}, sink)
		if want := (bench.ProbeStats{Planned: 3, Answered: 1, Failed: 2, OutstandingPeak: 1}); err != nil || stats != want {
			t.Errorf("%+v, %v", stats, err)
		}
		if !errors.Is(sink.samples[0].Err, broken) || sink.samples[1].Err.Error() != "first" || sink.samples[2].Err != nil {
			t.Errorf("samples %+v", sink.samples)
		}
	})
}

func TestProbeOutstandingLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		sink := &memory{}
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{
			Pacer: bench.First(must(t)(bench.Constant(10)), 100), Classify: metric("probe"), MaxOutstanding: 5,
		}, answers(&wg, 995*time.Millisecond), sink)
		wg.Wait()
		if err != nil || stats.OutstandingPeak != 5 || stats.Dropped != 50 || stats.Answered != 50 {
			t.Errorf("%+v, %v", stats, err)
		}
		dropped := 0
		for _, s := range sink.samples {
			if errors.Is(s.Err, bench.ErrOutstanding) {
				dropped++
			}
		}
		if dropped != 50 || len(sink.samples) != 100 {
			t.Errorf("%d samples, %d of them dropped", len(sink.samples), dropped)
		}
	})
}

// A send that blocks makes the next ones late, and their samples say so.
func TestProbeSendBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{Pacer: bench.First(must(t)(bench.Constant(10)), 30), Classify: metric("probe")},
			func(_ context.Context, seq uint64, done func(time.Time, error)) error {
				if seq == 5 {
					time.Sleep(2 * time.Second)
				}
				done(time.Now(), nil)
				return nil
			}, sink)
		if err != nil || stats.Answered != 30 || stats.MaxLateness != 1900*time.Millisecond {
			t.Errorf("%+v, %v", stats, err)
		}
		if s := sink.samples[6]; s.Start.Sub(s.Intended) != 1900*time.Millisecond {
			t.Errorf("lateness of the next probe %v", s.Start.Sub(s.Intended))
		}
	})
}

func TestProbeHangingSendIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(stop) })
		start := time.Now()
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{Pacer: must(t)(bench.Constant(10)), Classify: metric("probe"), Stop: stop, Drain: time.Second},
			func(ctx context.Context, _ uint64, _ func(time.Time, error)) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}, &memory{})
		if err != nil || stats.Planned != 1 || stats.Failed != 1 || time.Since(start) != 2*time.Second {
			t.Errorf("%+v, %v after %v", stats, err, time.Since(start))
		}
	})
}

func TestProbeCancel(t *testing.T) {
	errStop := errors.New("enough")
	for _, at := range []time.Duration{0, 5 * time.Millisecond, 1500 * time.Millisecond, 2500 * time.Millisecond} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				if at == 0 {
					cancel(errStop)
				}
				timer := time.AfterFunc(at, func() { cancel(errStop) })
				defer timer.Stop()
				var wg sync.WaitGroup
				sink := &memory{}
				start := time.Now()
				stats, err := bench.Probe(ctx, bench.ProbeConfig{Pacer: bench.Until(must(t)(bench.Constant(100)), 2*time.Second), Classify: metric("probe")},
					answers(&wg, time.Second), sink)
				wg.Wait()
				if !errors.Is(err, errStop) || time.Since(start) != at {
					t.Errorf("error %v after %v", err, time.Since(start))
				}
				if stats.Planned != stats.Answered+stats.Unanswered || uint64(len(sink.samples)) != stats.Planned {
					t.Errorf("the counts do not add up: %+v, %d samples", stats, len(sink.samples))
				}
				for _, s := range sink.samples {
					if s.Err != nil && !errors.Is(s.Err, errStop) {
						t.Errorf("error %v", s.Err)
					}
				}
			})
		})
	}
}

// Where the caller has no name for a probe, it is not observed.
func TestProbeClassifyNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &memory{}
		stats, err := bench.Probe(t.Context(), bench.ProbeConfig{Pacer: bench.Once(2), Classify: metric("")},
			func(_ context.Context, _ uint64, done func(time.Time, error)) error {
				done(time.Now(), nil)
				return nil
			}, sink)
		if err != nil || stats.Answered != 2 || len(sink.samples) != 0 {
			t.Errorf("%+v, %d samples, %v", stats, len(sink.samples), err)
		}
	})
}

// What the caller learns of the transfer before an answer comes is in time for it.
func TestProbeClassifyKnowsTheTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began atomic.Pointer[time.Time]
		time.AfterFunc(450*time.Millisecond, func() { began.Store(new(time.Now())) })
		var wg sync.WaitGroup
		sink := &memory{}
		_, err := bench.Probe(t.Context(), bench.ProbeConfig{
			Pacer: bench.First(must(t)(bench.Constant(10)), 10),
			Classify: func(intended time.Time) string {
				if b := began.Load(); b == nil || intended.Before(*b) {
					return "outside"
				}
				return "during"
			},
		}, answers(&wg, 200*time.Millisecond), sink)
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range sink.samples {
			if want := map[bool]string{true: "outside", false: "during"}[i < 5]; s.Metric != want {
				t.Errorf("probe %d is %q, want %q", i, s.Metric, want)
			}
		}
	})
}

func TestProbeRefuses(t *testing.T) {
	send := func(context.Context, uint64, func(time.Time, error)) error { return nil }
	full := bench.ProbeConfig{Pacer: bench.Once(1), Classify: metric("probe")}
	tests := []struct {
		name string
		cfg  bench.ProbeConfig
		send bench.ProbeFunc
		sink results.Sink
		want string
	}{
		{"no pacer", bench.ProbeConfig{Classify: full.Classify}, send, &memory{}, "need a pacer"},
		{"no classifier", bench.ProbeConfig{Pacer: full.Pacer}, send, &memory{}, "classifier"},
		{"no function", full, nil, &memory{}, "function"},
		{"no sink", full, send, nil, "sink"},
		{"negative limit", bench.ProbeConfig{Pacer: full.Pacer, Classify: full.Classify, MaxOutstanding: -1}, send, &memory{}, "limit of -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := bench.Probe(t.Context(), tt.cfg, tt.send, tt.sink); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
