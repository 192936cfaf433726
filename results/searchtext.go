package results

import (
	"fmt"
	"slices"
)

// searched reports whether a plan is a level of a search, which has a table of its
// own.
func (r RunReport) searched(p PlanReport) bool {
	return slices.ContainsFunc(r.Searches, func(s SearchReport) bool {
		return slices.ContainsFunc(s.Levels, func(l SearchLevel) bool { return l.Plan == p.Name })
	})
}

// search writes the answer of a search and the table of its levels.
func (t *textReport) search(s SearchReport) {
	t.line("")
	if t.markdown {
		t.heading(2, "search "+s.Name)
	}
	t.item(s.Answer)
	if s.Limit != "" {
		t.item(s.Limit)
	}
	for _, remark := range s.Remarks {
		t.item(remark)
	}
	t.line("")
	t.grid(s.grid())
	if !t.markdown && slices.ContainsFunc(s.Levels, func(l SearchLevel) bool { return l.Aborted }) {
		t.item("* ended early, since it could only fail: the figures are what was seen until then")
	}
}

// grid makes a row of each level.
func (s SearchReport) grid() grid {
	g := grid{head: []string{s.Unit}, left: 1}
	rates := slices.ContainsFunc(s.Levels, func(l SearchLevel) bool { return l.Planned > 0 })
	if rates {
		g.head = append(g.head, "achieved")
	}
	if s.Metric != "" {
		g.head = append(g.head, s.Metric+" p50", "p99", "max")
	}
	// The distribution shows two quantiles and the maximum; a condition on anything
	// else has a column of its own.
	var own []string
	for _, text := range s.SLO {
		e, err := Parse(text)
		if err == nil && !(e.Metric == s.Metric && (e.Agg == AggMax || e.Q == 0.5 || e.Q == 0.99)) {
			own = append(own, text)
			g.head = append(g.head, text)
		}
	}
	g.head = append(g.head, "errors", "trials", "SLO")
	for _, l := range s.Levels {
		row := []string{s.number(l.Level)}
		if rates {
			achieved := "-" // of a window that was cut
			if l.Achieved > 0 || !l.Aborted {
				achieved = significant(l.Achieved)
			}
			row = append(row, achieved)
		}
		if s.Metric != "" {
			row = append(row, l.distribution()...)
		}
		for _, text := range own {
			row = append(row, l.slo(text))
		}
		judged := map[string]string{"pass": "held", "fail": "failed", "split": "split", "invalid": "invalid"}[l.Judgement]
		if l.Aborted {
			judged += "*"
		}
		row = append(row, significant(100*l.Errors)+"%", l.trials(), judged)
		g.add(row...)
	}
	return g
}

// distribution is the median, the 0.99 quantile and the maximum.
func (l SearchLevel) distribution() []string {
	if l.Response == nil {
		return []string{"-", "-", "-"}
	}
	out := make([]string, 0, 3)
	for _, q := range l.Response.Quantiles {
		switch {
		case q.Q != 0.5 && q.Q != 0.99:
		case q.Value == nil:
			out = append(out, "n/a")
		default:
			out = append(out, formatSeconds(*q.Value))
		}
	}
	return append(out, formatSeconds(l.Response.Max))
}

// slo is the figure of one condition.
func (l SearchLevel) slo(text string) string {
	e, err := Parse(text)
	i := slices.IndexFunc(l.SLO, func(f SLOFigure) bool { return f.Expr == text })
	if err != nil || i < 0 || l.SLO[i].Got == nil {
		return "n/a"
	}
	return e.Format(*l.SLO[i].Got)
}

// trials tells how many held, of how many that count, and how many do not.
func (l SearchLevel) trials() string {
	text := fmt.Sprintf("%d/%d", l.Passed, l.Passed+l.Failed)
	if l.Invalid > 0 {
		text += fmt.Sprintf(" (%d invalid)", l.Invalid)
	}
	return text
}
