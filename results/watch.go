package results

import (
	"fmt"
	"slices"
	"time"
)

// Watch judges the thresholds of one variant of one plan while it runs. It is not
// safe for concurrent use.
type Watch struct {
	exprs  []Expr
	past   map[string]*Timings  // by metric, of the blocks that count
	values map[string][]float64 // the same of figures that are known at the end of a block
	first  map[string]time.Time // when the first sample was seen
}

// NewWatch returns a watch over what the thresholds speak of.
func NewWatch(thresholds ...Expr) *Watch {
	return &Watch{
		exprs: thresholds, past: make(map[string]*Timings), values: make(map[string][]float64), first: make(map[string]time.Time),
	}
}

// Aborts returns the metrics of the thresholds that end a run.
func (w *Watch) Aborts() []string {
	var metrics []string
	for _, e := range w.exprs {
		if e.Abort && !slices.Contains(metrics, e.Metric) {
			metrics = append(metrics, e.Metric)
		}
	}
	return metrics
}

// Add takes in what a block that counts has recorded, and its figures.
func (w *Watch) Add(s Snapshot, scalars map[string]float64) {
	seen := make(map[string]bool)
	for _, e := range w.exprs {
		if seen[e.Metric] {
			continue
		}
		seen[e.Metric] = true
		if s.Metrics[e.Metric] != nil {
			w.past[e.Metric] = w.with(e.Metric, s)
		} else if v, ok := scalars[e.Metric]; ok {
			w.values[e.Metric] = append(w.values[e.Metric], v)
		}
	}
}

// with returns all samples of a metric: those of earlier blocks, and those of the
// block under way.
func (w *Watch) with(metric string, s Snapshot) *Timings {
	all := &Timings{}
	for _, t := range []*Timings{w.past[metric], s.Metrics[metric]} {
		if t != nil {
			all.merge(t)
		}
	}
	return all
}

// Broken returns the first threshold with [Expr.Abort] that is broken by what has
// been added and by what the block under way has recorded so far, and a sentence
// that says by how much. A threshold with too few samples, or whose delay has not
// passed since its first one, is not judged.
func (w *Watch) Broken(now time.Time, s Snapshot) (e Expr, text string, broken bool) {
	for _, e := range w.exprs {
		if !e.Abort {
			continue
		}
		t := w.with(e.Metric, s)
		var v float64
		var err error
		unit := UnitSeconds
		if n := t.Of(Response).N(); n+t.Failed() > 0 {
			v, _, err = aggregateAll(e, t, 0)
		} else if len(w.values[e.Metric]) > 0 {
			v, _, err = aggregateValues(e, w.values[e.Metric])
			unit = parseScalar(Metrics(), e.Metric).metric.Unit
		} else {
			continue
		}
		if w.first[e.Metric].IsZero() {
			w.first[e.Metric] = now
		}
		since := now.Sub(w.first[e.Metric])
		if err != nil || since < e.Delay || e.Holds(v) {
			continue
		}
		return e, fmt.Sprintf("%s is broken: %s", e, e.format(v, unit)), true
	}
	return Expr{}, "", false
}

// Few returns a sentence about the first quantile that was never going to be known:
// too few operations were begun, those that failed included. It is "" if there is
// none.
func (w *Watch) Few() string {
	for _, e := range w.exprs {
		t := w.past[e.Metric]
		if t == nil || e.Q == 0 {
			continue
		}
		if n := t.Of(Response).N() + t.Failed(); n < e.MinSamples() {
			return fmt.Sprintf("too few samples: %s needs %d, and %d were made", e, e.MinSamples(), n)
		}
	}
	return ""
}
