package results

import (
	"slices"
	"testing"
)

// TestColumns shows in the summary what has a column there, and only where there is
// anything to show.
func TestColumns(t *testing.T) {
	table := []Metric{
		timing("step", "a", "b", "A step.", "mean"), timing("inner", "a", "b", "A part of it."),
		counted("always", UnitCount, "Always."), seldom(counted("seldom", UnitCount, "Seldom.")),
		seldom(exact("never", UnitCount, "Seldom, and not here.")), hidden(counted("hidden", UnitCount, "Hidden.")),
	}
	values := func(seldom float64) []Value {
		return []Value{
			{Name: "step.mean"}, {Name: "step.max"}, {Name: "inner.mean"}, {Name: "always"},
			{Name: "seldom", Max: seldom}, {Name: "never"}, {Name: "hidden", Max: 5}, {Name: "unknown"},
		}
	}
	r := &textReport{table: table}
	got := r.scalars(PlanReport{Variants: []VariantReport{{Name: "one", Values: values(0)}, {Name: "two", Values: values(3)}}}, 1).head
	if want := []string{"variant", "blocks", "step", "always", "seldom", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("columns %q, want %q", got, want)
	}
}

// TestMetrics finds descriptions that documentation could not be made of.
func TestMetrics(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range Metrics() {
		switch {
		case seen[m.Name]:
			t.Errorf("%s stands twice", m.Name)
		case m.Timed() != (m.To != ""), m.Timed() && m.Unit != UnitSeconds:
			t.Errorf("%s is neither timed nor counted: %+v", m.Name, m)
		case m.Doc == "" || m.Doc[len(m.Doc)-1] != '.':
			t.Errorf("%s: its doc is not a sentence: %q", m.Name, m.Doc)
		case m.Timed() && m.Column != ColumnAlways, !m.Timed() && m.Columns != nil:
			t.Errorf("%s says in two ways what the summary shows", m.Name)
		}
		seen[m.Name] = true
	}
}
