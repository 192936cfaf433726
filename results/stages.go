package results

import (
	"fmt"
	"slices"
)

// StageReport is what one variant did in one stage of a load, over all valid blocks.
type StageReport struct {
	Stage
	// Seconds is the time that the figures are of: that of the stage, as far as the blocks reached, without the intervals at its ends
	// that lie in it only in part. Achieved is how many operations ended well in it, per second, a time in which none did included;
	// Failed is how many failed.
	Seconds  float64 `json:"seconds"`
	Achieved float64 `json:"achieved"`
	Failed   int64   `json:"failed"`
	// Response is missing where no operation ended well.
	Response *Latency `json:"response,omitempty"`
}

// stages takes the response in each stage of a plan from the intervals that the run has
// written each second. Operations count for the stage in which they end.
func (r *Run) stages(plan, variant string) []StageReport {
	i := slices.IndexFunc(r.Manifest.Plans, func(p Plan) bool { return p.Name == plan })
	if i < 0 || len(r.Manifest.Plans[i].Stages) == 0 {
		return nil
	}
	var all []StageReport
	for _, s := range r.Manifest.Plans[i].Stages {
		out := StageReport{Stage: s}
		within := make(map[Key]span)
		for _, b := range r.Blocks {
			if b.Valid && b.Skipped == "" && b.Plan == plan && b.Variant == variant {
				if at := r.stageIn(b, s); at.from < at.to {
					within[b.Key] = at
					out.Seconds += at.to - at.from
				}
			}
		}
		response := NewHistogram()
		for iv := range r.Intervals(s.Metric, Filter{Plan: plan, Variant: variant}) {
			from := epoch(iv.Start)
			if at, ok := within[iv.Key]; ok && from >= at.from-logStep && from+iv.Length.Seconds() <= at.to+logStep {
				if h := iv.Timings.Of(Response); h != nil {
					response.Merge(h)
				}
			}
		}
		for _, second := range r.Series {
			end := epoch(second.Time)
			for _, c := range second.Counts {
				if at, ok := within[c.Key]; ok && end > at.from+logStep && end <= at.to+logStep {
					for _, n := range c.Errors[s.Metric] {
						out.Failed += n
					}
				}
			}
		}
		if response.N() > 0 {
			out.Response = new(latency(s.Metric, Response, response, 0))
			if out.Seconds > 0 {
				out.Achieved = float64(response.N()) / out.Seconds
			}
		}
		all = append(all, out)
	}
	return all
}

// logStep is more than what times in an interval log are rounded by, in seconds.
const logStep = 2e-3

// stageIn is the part of a stage in a block whose operations are known apart: an interval
// that reaches beyond an end of the stage, or of the block, takes what it covers with it. A
// time in which nothing ended has no interval, and stays.
func (r *Run) stageIn(b Block, s Stage) span {
	start := epoch(b.Start)
	whole := span{start + s.From, start + s.To}
	if !b.End.IsZero() {
		whole.to = min(whole.to, epoch(b.End))
	}
	at := whole
	for _, iv := range r.intervals {
		if iv.key != b.Key {
			continue
		}
		end := iv.start + iv.length
		if iv.start < whole.from-logStep && end > whole.from+logStep {
			at.from = max(at.from, end)
		}
		if iv.start < whole.to-logStep && end > whole.to+logStep {
			at.to = min(at.to, iv.start)
		}
	}
	return at
}

// stages lists the stages of a plan's loads.
func (t *textReport) stages(p PlanReport) grid {
	g := grid{head: []string{"stage", "variant", "rate", "achieved", "failed", "response", "n", "p50", "p90", "p99", "p99.9", "p99.99", "max"}, left: 2}
	for _, v := range p.Variants {
		for _, s := range v.Stages {
			rate := func(v float64) string { return significant(v) + "/s" }
			row := []string{fmt.Sprintf("%s %s to %s", s.Load, formatSeconds(s.From), formatSeconds(s.To)), v.Name, rate(s.Rate)}
			if s.Seconds == 0 {
				g.add(append(row, "n/a", "n/a", s.Metric, "0", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a")...)
				continue
			}
			row = append(row, rate(s.Achieved), fmt.Sprint(s.Failed), s.Metric)
			if s.Response == nil {
				g.add(append(row, "0", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a")...)
				continue
			}
			row = append(row, fmt.Sprint(s.Response.N))
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
