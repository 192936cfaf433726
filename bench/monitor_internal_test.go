package bench

import (
	"math"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	buckets := []float64{math.Inf(-1), 0, 0.001, 0.002, 0.003, math.Inf(1)}
	histogram := func(counts ...uint64) *metrics.Float64Histogram {
		return &metrics.Float64Histogram{Counts: counts, Buckets: buckets}
	}
	tests := []struct {
		name     string
		from, to *metrics.Float64Histogram
		count    uint64
		p50, max time.Duration
	}{
		{"nothing new", histogram(0, 5, 0, 9, 0), histogram(0, 5, 0, 9, 0), 0, 0, 0},
		{"what was before does not count", histogram(0, 0, 0, 0, 7), histogram(0, 3, 1, 0, 7), 4, time.Millisecond, 2 * time.Millisecond},
		{"open bucket", histogram(0, 0, 0, 0, 0), histogram(0, 0, 0, 0, 1), 1, 3 * time.Millisecond, 3 * time.Millisecond},
		{"none before", &metrics.Float64Histogram{}, histogram(0, 1, 0, 1, 0), 2, time.Millisecond, 3 * time.Millisecond},
		{"not available", &metrics.Float64Histogram{}, &metrics.Float64Histogram{}, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := added(tt.from, tt.to)
			if g.count() != tt.count || g.quantile(0.5) != tt.p50 || g.quantile(1) != tt.max {
				t.Errorf("count %d, p50 %v, max %v", g.count(), g.quantile(0.5), g.quantile(1))
			}
		})
	}
}

func TestDifferenceOfTheMachine(t *testing.T) {
	begin := time.Now()
	from := reading{at: begin, cpu: new(time.Second), pauses: &metrics.Float64Histogram{}, latency: &metrics.Float64Histogram{}}
	to := from
	to.at, to.cpu = begin.Add(10*time.Second), new(3*time.Second)
	from.machine = machine{stall: new(time.Minute), steal: new(time.Second), total: new(100 * time.Second)}
	to.machine = machine{stall: new(time.Minute + 4*time.Second), steal: new(6 * time.Second), total: new(200 * time.Second)}
	f := difference(from, to)
	if *f.CPU != 2*time.Second || *f.Pressure != 0.4 || *f.Steal != 0.05 {
		t.Errorf("CPU %v, pressure %v, steal %v", *f.CPU, *f.Pressure, *f.Steal)
	}
	to.cpu, to.machine = nil, machine{}
	if f := difference(from, to); f.CPU != nil || f.Pressure != nil || f.Steal != nil {
		t.Errorf("figures of nothing: %+v", f)
	}
}

// The queue keeps order and does not grow beyond what waits at once.
func TestQueue(t *testing.T) {
	var q queue
	var in, out uint64
	for round := range uint64(10_000) {
		for range 1 + round%5 {
			if q.len() < 100 {
				q.push(Arrival{Seq: in})
				in++
			}
		}
		for range 1 + round%4 {
			if q.len() > 0 {
				if a := q.pop(); a.Seq != out {
					t.Fatalf("arrival %d, want %d", a.Seq, out)
				}
				out++
			}
		}
	}
	if out+uint64(q.len()) != in {
		t.Errorf("%d in, %d out, %d left", in, out, q.len())
	}
	if cap(q.items) > 512 {
		t.Errorf("room for %d where 100 wait at most", cap(q.items))
	}
}
