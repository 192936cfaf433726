package results

import "time"

// Sample is one timed step of one operation.
//
// Intended is when the step should have begun by the arrival plan, Start when
// it did begin, End when it ended. A step that follows another one inside an
// operation, and so has no plan of its own, has Intended equal to Start. All
// three come from the monotonic clock of one process. A sample with Err set is
// counted under its metric and kind of error and never enters a histogram.
type Sample struct {
	Metric               string
	Intended, Start, End time.Time
	Err                  error
}

// Sink takes samples and exact counts. Implementations are safe for concurrent
// use and never block on output.
type Sink interface {
	// Observe records s in the histograms of s.Metric.
	Observe(s Sample)
	// Count adds n to the counter called name.
	Count(name string, n int64)
}

// Discard is a [Sink] that forgets what it is given, for samples that nobody
// wants, such as those of a warm-up.
type Discard struct{}

// Observe does nothing.
func (Discard) Observe(Sample) {}

// Count does nothing.
func (Discard) Count(string, int64) {}
