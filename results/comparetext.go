package results

import (
	"fmt"
	"io"
)

// WriteText writes the comparison for a terminal of the given width in columns,
// 100 if it is 0: the sentences of the primary figure, the gates, and then those
// of the other figures that the summary table shows, which decide nothing.
func (c *Comparison) WriteText(w io.Writer, width int) error {
	t := &textReport{table: Metrics(), width: width}
	if t.width <= 0 {
		t.width = 100
	}
	t.comparison(&Document{Comparison: c})
	exploratory := false
	for _, v := range c.Verdicts {
		if v.Primary || c.Primary == "" || v.Decision == Flagged || !t.shown(parseScalar(t.table, v.Metric)) {
			continue
		}
		if !exploratory {
			t.line("")
			t.line("Exploratory:")
			exploratory = true
		}
		t.item(sentenceOf(v))
	}
	if _, err := w.Write(t.out.Bytes()); err != nil {
		return fmt.Errorf("results: compare: %w", err)
	}
	return nil
}
