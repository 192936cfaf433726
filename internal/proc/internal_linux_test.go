package proc

import (
	"math"
	"os"
	"testing"
	"time"
)

// The fall-back has to be tried where the clock works, so it is called by its own name.
func TestCPUThreads(t *testing.T) {
	clock, err := cpuClock(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	threads, err := cpuThreads(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// A Go process keeps its threads, so the sum over the living ones is nearly everything.
	if threads < clock/2 {
		t.Errorf("the threads add up to %v, the clock stands at %v", threads, clock)
	}
}

func TestQuantile(t *testing.T) {
	bounds := []float64{math.Inf(-1), 1, 2, 3, math.Inf(1)}
	tests := []struct {
		name   string
		counts []uint64
		q      float64
		want   time.Duration
	}{
		{"nothing", []uint64{0, 0, 0, 0}, 0.99, 0},
		{"first bucket", []uint64{1, 0, 0, 0}, 0.99, time.Second},
		{"one in a hundred is not the 99th percentile", []uint64{0, 99, 1, 0}, 0.99, 2 * time.Second},
		{"but the maximum", []uint64{0, 99, 1, 0}, 1, 3 * time.Second},
		{"last bucket has no upper bound", []uint64{0, 0, 0, 5}, 1, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.counts, bounds, tt.q); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	end := &tail{limit: 10}
	for _, s := range []string{"one\n", "two\n", "three\n", "four\n"} {
		if n, err := end.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if got, want := end.String(), "... four\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
