package scenarios

import (
	"fmt"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// Near the limit of a server queues grow slowly: a window can end before the SLO is
// broken that a longer one breaks. So a level does not hold either if the trend of
// its response would break the SLO within a run as long as a confirming one.

const (
	// trendStep is how finely response times are added up over time.
	trendStep = 100 * time.Millisecond
	// quarters is the number of parts of a window whose means a trend is taken from.
	quarters = 4
	// horizon is how many times the window a trend is followed, up to the quantile that
	// conditions are mostly about.
	horizon = confirming * 0.95
)

// trend adds response times up over the time of a load.
type trend struct {
	began time.Time // of the first step
	steps []trendSum
}

type trendSum struct {
	sum float64 // seconds
	n   float64
}

// maxTrend bounds the steps: what comes after them is not added up.
const maxTrend = 36_000

// add takes an operation that was due at a time.
func (t *trend) add(due time.Time, response time.Duration) {
	if t.began.IsZero() {
		t.began = due.Add(-time.Minute) // those before it can end after it
	}
	i := int(due.Sub(t.began) / trendStep)
	if i < 0 || i >= maxTrend {
		return
	}
	for len(t.steps) <= i {
		t.steps = append(t.steps, trendSum{})
	}
	t.steps[i].sum += response.Seconds()
	t.steps[i].n++
}

// grows reports whether response grew in a window, and what it would come to at the
// horizon if it went on like that.
func (t *trend) grows(from time.Time, window time.Duration) (projected float64, grows bool) {
	var means [quarters]float64
	for q := range means {
		var of trendSum
		first := int(from.Add(window*time.Duration(q)/quarters).Sub(t.began) / trendStep)
		end := int(from.Add(window*time.Duration(q+1)/quarters).Sub(t.began) / trendStep)
		for i := max(first, 0); i < min(end, len(t.steps)); i++ {
			of.sum, of.n = of.sum+t.steps[i].sum, of.n+t.steps[i].n
		}
		if of.n == 0 {
			return 0, false
		}
		means[q] = of.sum / of.n
	}
	// By least squares, in windows.
	slope := (3*(means[3]-means[0]) + means[2] - means[1]) / 10 * quarters
	middle := (means[0] + means[1] + means[2] + means[3]) / quarters
	return middle + slope*(horizon-0.5), slope > 0
}

// worsens says how the response of a level that held would break the SLO in a confirming
// run; empty if it would not, or if the trial is no part of looking for a level.
func (s *Search) worsens(stats *bench.Stats, w *watch, phase string) string {
	if stats == nil || s.limit <= 0 || phase != string(bench.PhaseGrow) && phase != string(bench.PhaseShrink) && phase != string(bench.PhaseBisect) {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	projected, grows := w.trend.grows(stats.Start.Add(w.plan.Load.Warmup), stats.Window)
	for _, e := range s.config.SLO {
		if grows && e.Metric == s.metric && strings.HasPrefix(e.Op, "<") && e.Agg != results.AggErrors && e.Agg != results.AggCount && e.Agg != results.AggRate && !e.Holds(projected) {
			return fmt.Sprintf("%s grew in the window, and would come to %s in a run %g times as long",
				s.metric, e.Format(projected), confirming)
		}
	}
	return ""
}
