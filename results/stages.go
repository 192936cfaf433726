package results

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// StageReport is what one variant did in one stage of a load, over all valid blocks.
type StageReport struct {
	Stage
	// Seconds is the time that the figures are of: the intervals that lie wholly in the stage. Achieved is how many operations
	// ended in it, per second.
	Seconds  float64 `json:"seconds"`
	Achieved float64 `json:"achieved"`
	// Response is missing where no interval lies in the stage.
	Response *Latency `json:"response,omitempty"`
}

// stages takes the response in each stage of a plan from the intervals that the run has
// written each second. Operations count for the stage in which they end.
func (r *Run) stages(plan, variant string) []StageReport {
	i := slices.IndexFunc(r.Manifest.Plans, func(p Plan) bool { return p.Name == plan })
	if i < 0 || len(r.Manifest.Plans[i].Stages) == 0 {
		return nil
	}
	starts := make(map[Key]time.Time)
	for _, b := range r.Blocks {
		if b.Valid && b.Skipped == "" && b.Plan == plan && b.Variant == variant {
			starts[b.Key] = b.Start
		}
	}
	var all []StageReport
	for _, s := range r.Manifest.Plans[i].Stages {
		out := StageReport{Stage: s}
		response := NewHistogram()
		type span struct{ from, to float64 }
		seen := make(map[Key]span)
		for iv := range r.Intervals(s.Metric, Filter{Plan: plan, Variant: variant}) {
			start, ok := starts[iv.Key]
			if !ok {
				continue
			}
			// Interval logs have milliseconds.
			from := math.Round(iv.Start.Sub(start).Seconds()*1e3) / 1e3
			to := from + iv.Length.Seconds()
			if from < s.From-1e-3 || to > s.To+1e-3 {
				continue
			}
			at, known := seen[iv.Key]
			if !known {
				at = span{from, to}
			}
			seen[iv.Key] = span{min(at.from, from), max(at.to, to)}
			if h := iv.Timings.Of(Response); h != nil {
				response.Merge(h)
			}
		}
		for _, at := range seen {
			out.Seconds += at.to - at.from
		}
		if response.N() > 0 {
			out.Response = new(latency(s.Metric, Response, response, 0))
			out.Achieved = float64(response.N()) / out.Seconds
		}
		all = append(all, out)
	}
	return all
}

// stages lists the stages of a plan's loads.
func (t *textReport) stages(p PlanReport) grid {
	g := grid{head: []string{"stage", "variant", "rate", "achieved", "response", "n", "p50", "p90", "p99", "p99.9", "p99.99", "max"}, left: 2}
	for _, v := range p.Variants {
		for _, s := range v.Stages {
			rate := func(v float64) string { return significant(v) + "/s" }
			row := []string{fmt.Sprintf("%s %s to %s", s.Load, formatSeconds(s.From), formatSeconds(s.To)), v.Name, rate(s.Rate)}
			if s.Response == nil {
				g.add(append(row, "n/a", s.Metric, "0", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a")...)
				continue
			}
			row = append(row, rate(s.Achieved), s.Metric, fmt.Sprint(s.Response.N))
			for _, q := range s.Response.Quantiles {
				text := "n/a"
				if q.Value != nil {
					text = formatSeconds(*q.Value)
				}
				row = append(row, text)
			}
			g.add(append(row, formatSeconds(s.Response.Max))...)
		}
	}
	return g
}
