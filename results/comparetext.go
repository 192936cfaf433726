package results

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// WriteText writes the comparison for a terminal of the given width in columns,
// 100 if it is 0, in colours if that is wanted: the sentences of the primary figure,
// the gates, and a table of the other figures that the summary shows, which decide
// nothing.
func (c *Comparison) WriteText(w io.Writer, width int, color bool) error {
	t := newTextReport(Metrics(), width)
	t.color = color
	t.comparison(&Document{Comparison: c})
	for _, group := range c.groups() {
		g := t.exploratory(c, group)
		if len(g.rows) == 0 {
			continue
		}
		t.line("")
		title := "Exploratory figures as ratios to " + c.Baseline
		if len(c.groups()) > 1 {
			title += ", " + group
		}
		t.line("%s; ~ where the interval holds 1:", title)
		t.grid(g)
	}
	if _, err := w.Write(bytes.TrimLeft(t.out.Bytes(), "\n")); err != nil {
		return fmt.Errorf("results: compare: %w", err)
	}
	return nil
}

// groups lists the groups of the verdicts in order.
func (c *Comparison) groups() []string {
	var all []string
	for _, v := range c.Verdicts {
		if !slices.Contains(all, v.Group) {
			all = append(all, v.Group)
		}
	}
	return all
}

// exploratory makes one row per figure and one column per variant.
func (t *textReport) exploratory(c *Comparison, group string) grid {
	g := grid{head: []string{"figure"}, left: 1}
	rows := make(map[string][]string)
	for _, v := range c.Verdicts {
		if v.Group == group && !slices.Contains(g.head[1:], v.Variant) {
			g.head = append(g.head, v.Variant)
		}
	}
	for _, v := range c.Verdicts {
		if v.Group != group || v.Primary || c.Primary == "" || !t.shown(parseScalar(t.table, v.Metric)) {
			continue
		}
		row := rows[v.Metric]
		if row == nil {
			row = make([]string, len(g.head))
			row[0] = v.Label
			for i := range row[1:] {
				row[1+i] = "-"
			}
			rows[v.Metric] = row
			g.add(row...)
		}
		row[1+slices.Index(g.head[1:], v.Variant)] = v.short()
	}
	return g
}

// short is the verdict in a cell of a table.
func (v Verdict) short() string {
	switch {
	case v.Reason != "":
		return "-"
	case v.Exact:
		return significant(float64(v.Ratio)) + " exactly"
	}
	mark := ""
	if v.Decision == CannotTell {
		mark = "~"
	}
	lo, hi := apart(float64(v.Lo), float64(v.Hi))
	return fmt.Sprintf("%s%s [%s, %s]", mark, significant(float64(v.Ratio)), lo, hi)
}
