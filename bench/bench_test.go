package bench_test

import (
	"context"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

type nowhere struct{}

func (nowhere) Observe(results.Sample) {}
func (nowhere) Count(string, int64)    {}

func BenchmarkPacer(b *testing.B) {
	ok := must(b)
	for name, plan := range map[string]bench.Pacer{
		"constant": ok(bench.Constant(1e5)),
		"poisson":  ok(bench.Poisson(1e5, 1)),
		"stages":   ok(bench.Stages(bench.Stage{0, 1e9, time.Hour}, bench.Stage{1e9, 1e9, time.Hour})),
		"burst":    ok(bench.Burst(10, time.Millisecond)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			seq := uint64(0)
			for b.Loop() {
				plan.At(seq)
				seq++
			}
		})
	}
}

// BenchmarkRun gives the cost of one arrival, from plan to sample, of an
// operation that does nothing.
func BenchmarkRun(b *testing.B) {
	op := func(context.Context, bench.Arrival, results.Sink) error { return nil }
	benchmarks := []struct {
		name string
		cfg  bench.Config
	}{
		{"open", bench.Config{MaxBacklog: 1 << 30}},
		{"queued", bench.Config{MaxInFlight: 2, MaxBacklog: 1 << 30}},
		{"closed", bench.Config{Workers: 2}},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			cfg := bb.cfg
			if cfg.Workers > 0 {
				cfg.Limit = uint64(b.N)
			} else {
				cfg.Pacer = bench.Once(uint64(b.N))
			}
			cfg.Metric = "op"
			cfg.Drain = time.Hour
			if _, err := bench.Run(b.Context(), cfg, op, nowhere{}); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkTimer reports how late arrivals at 300 per second start.
func BenchmarkTimer(b *testing.B) {
	op := func(context.Context, bench.Arrival, results.Sink) error { return nil }
	for _, timer := range []bench.Timer{bench.TimerPortable, bench.TimerThread} {
		b.Run(timer.String(), func(b *testing.B) {
			plan := bench.First(must(b)(bench.Poisson(300, 1)), uint64(b.N))
			stats, err := bench.Run(b.Context(), bench.Config{Pacer: plan, Timer: timer, Drain: time.Minute}, op, nowhere{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(stats.Lateness.ValueAtQuantile(50))/1e3, "p50-late-us")
			b.ReportMetric(float64(stats.Lateness.ValueAtQuantile(99))/1e3, "p99-late-us")
		})
	}
}
