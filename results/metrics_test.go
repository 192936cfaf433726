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

// TestCosts gives every price its row: the centre of the blocks with its interval, or the
// median alone where the blocks are too few for one.
func TestCosts(t *testing.T) {
	r := &Run{Manifest: Manifest{ID: "run"}}
	for block, login := range []float64{4, 1, 2, 16, 8, 32} {
		b := Block{Key: Key{"plan", "cold", block}, Valid: true, Scalars: map[string]float64{"cpu.login": login / 1000, "logins": 9}}
		if block < 5 {
			b.Scalars["session.rss.server"] = 1024 * login
		}
		r.Blocks = append(r.Blocks, b)
	}
	r.Blocks = append(r.Blocks, Block{Key: Key{"plan", "cold", 6}, Scalars: map[string]float64{"cpu.login": 1e6}}) // not valid
	text := func() grid {
		return (&textReport{table: Metrics()}).costs(Summarize([]*Run{r}, CompareOptions{}).Runs[0].Plans[0])
	}
	got := text()
	// Of six blocks the 95 % interval is their range. The centre is the median of the
	// averages of all pairs.
	want := [][]string{
		{"session.rss.server", "cold", "5", "4KiB", "n/a"},
		{"cpu.login", "cold", "6", "8.5ms", "1ms to 32ms"},
	}
	if !slices.EqualFunc(got.rows, want, slices.Equal[[]string]) || got.head[4] != "95 % interval" {
		t.Errorf("%q\n%q, want\n%q", got.head, got.rows, want)
	}
	// A run that asks for more confidence needs more blocks.
	r.Manifest.Alpha = 0.01
	if got := text(); got.rows[1][4] != "n/a" || got.head[4] != "interval" {
		t.Errorf("six blocks give an interval of 99 %%: %q %q", got.head, got.rows)
	}
	// The summary does not say it twice.
	p := Summarize([]*Run{r}, CompareOptions{}).Runs[0].Plans[0]
	if head := (&textReport{table: Metrics()}).scalars(p, 6).head; !slices.Equal(head, []string{"variant", "blocks", "logins"}) {
		t.Errorf("columns %q", head)
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
