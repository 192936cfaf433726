package scenarios

import (
	"math"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		b    Backoff
		want []time.Duration
	}{
		{"none", Backoff{Policy: BackoffNone, Base: time.Second, Jitter: JitterFull}, []time.Duration{0, eager, eager, eager}},
		{"fixed", Backoff{Policy: BackoffFixed, Base: 300 * ms, Cap: 1}, []time.Duration{300 * ms, 300 * ms, 300 * ms}},
		{"exponential", Backoff{Policy: BackoffExponential, Base: 100 * ms, Cap: time.Second},
			[]time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second}},
		{"cap below base", Backoff{Policy: BackoffExponential, Base: 100 * ms, Cap: 50 * ms}, []time.Duration{50 * ms, 50 * ms}},
		{"cap of any size", Backoff{Policy: BackoffExponential, Base: 1, Cap: math.MaxInt64}, []time.Duration{1, 2, 4, 8}},
	}
	for _, tt := range tests {
		for attempt, want := range tt.want {
			if got := tt.b.Delay(1, 7, attempt); got != want {
				t.Errorf("%s: attempt %d waits %v, want %v", tt.name, attempt, got, want)
			}
		}
	}
	far := Backoff{Policy: BackoffExponential, Base: time.Second, Cap: math.MaxInt64}
	if got := far.Delay(1, 1, 1e6); got != math.MaxInt64 {
		t.Errorf("after a million attempts the wait is %v, want the cap", got)
	}
}

// Jitter repeats with the seed, differs between clients and attempts, and is spread
// evenly over what the policy says.
func TestJitter(t *testing.T) {
	const clients = 20_000
	base := Backoff{Policy: BackoffExponential, Base: time.Second, Cap: time.Minute}
	for _, tt := range []struct {
		jitter         string
		least, most    time.Duration // before the second attempt, where the policy says 2 s
		mean, variance float64
	}{
		{JitterFull, 0, 2 * time.Second, 1, 4. / 12},
		{JitterEqual, time.Second, 2 * time.Second, 1.5, 1. / 12},
	} {
		b := base
		b.Jitter = tt.jitter
		seen := make(map[time.Duration]int)
		var sum, squares float64
		for i := range clients {
			d := b.Delay(1, i, 1)
			if d < tt.least || d > tt.most {
				t.Fatalf("%s: client %d waits %v", tt.jitter, i, d)
			}
			if d != b.Delay(1, i, 1) {
				t.Fatalf("%s: client %d waits differently when asked again", tt.jitter, i)
			}
			seen[d]++
			sum += d.Seconds()
			squares += d.Seconds() * d.Seconds()
		}
		mean := sum / clients
		if math.Abs(mean-tt.mean) > 4*math.Sqrt(tt.variance/clients) {
			t.Errorf("%s: the mean is %g s, want %g", tt.jitter, mean, tt.mean)
		}
		if variance := squares/clients - mean*mean; math.Abs(variance/tt.variance-1) > 0.05 {
			t.Errorf("%s: the variance is %g, want %g", tt.jitter, variance, tt.variance)
		}
		if len(seen) < clients-10 {
			t.Errorf("%s: %d clients wait for %d different times", tt.jitter, clients, len(seen))
		}
		if b.Delay(1, 0, 1) == b.Delay(2, 0, 1) || b.Delay(1, 0, 1) == b.Delay(1, 0, 2) {
			t.Errorf("%s: the wait does not depend on seed and attempt", tt.jitter)
		}
	}
}
