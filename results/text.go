package results

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textReport writes a document as tables and sentences.
type textReport struct {
	table    []Metric
	width    int
	markdown bool
	color    bool
	out      bytes.Buffer
}

// newTextReport returns an empty report for a terminal of the given width in columns,
// 100 if it is 0.
func newTextReport(table []Metric, width int) *textReport {
	if width <= 0 {
		width = 100
	}
	return &textReport{table: table, width: width}
}

func (t *textReport) render(d *Document) []byte {
	// A terminal shows the end first, a web page the beginning.
	if t.markdown {
		t.comparison(d)
	}
	for i, r := range d.Runs {
		if i > 0 || t.markdown && t.out.Len() > 0 {
			t.line("")
		}
		t.run(r)
	}
	t.model(d.Model)
	if !t.markdown {
		t.comparison(d)
	}
	return t.out.Bytes()
}

// line writes one line. What names hold that a terminal would obey is replaced.
func (t *textReport) line(format string, args ...any) {
	t.out.WriteString(printable(fmt.Sprintf(format, args...)))
	t.out.WriteByte('\n')
}

// printable replaces what is no text: control characters, ends of lines among them,
// characters that turn the direction of what follows, and bytes that are no UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// gap separates tables; Markdown's end in an empty line already.
func (t *textReport) gap() {
	if !t.markdown {
		t.line("")
	}
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// item writes one sentence.
func (t *textReport) item(s string) {
	if t.markdown {
		t.line("- %s", unmarked(s))
		return
	}
	t.wrap(s, "  ")
}

// unmarked keeps what runs are called from becoming markup in Markdown, in tables as
// elsewhere.
func unmarked(s string) string {
	return strings.NewReplacer(`\`, `\\`, "<", `\<`, "[", `\[`, "]", `\]`, "!", `\!`, "|", `\|`, "`", "\\`", "\n", " ").Replace(s)
}

// paint is the code of a terminal for a colour.
type paint string

const (
	good     paint = "\x1b[32m" // green
	bad      paint = "\x1b[31m" // red
	doubtful paint = "\x1b[33m" // yellow
	plain    paint = "\x1b[0m"
)

// painted writes one sentence, with the first occurrence of a phrase in colour where
// colours are wanted: the words tell the same without.
func (t *textReport) painted(phrase string, p paint, s string) {
	at := t.out.Len()
	t.item(s)
	if !t.color {
		return
	}
	words := strings.Fields(phrase)
	for i, w := range words {
		words[i] = regexp.QuoteMeta(w)
	}
	line := bytes.Clone(t.out.Bytes()[at:])
	// The sentence may have been broken within the phrase.
	if found := regexp.MustCompile(strings.Join(words, `\s+`)).FindIndex(line); found != nil {
		t.out.Truncate(at)
		t.out.Write(slices.Concat(line[:found[0]], []byte(p), line[found[0]:found[1]], []byte(plain), line[found[1]:]))
	}
}

// verdict writes a verdict with its word in colour.
func (t *textReport) verdict(v Verdict, several bool) {
	s := sentenceOf(v, several)
	switch v.Decision {
	case Faster, Fewer:
		how, _ := v.difference()
		t.painted(how, good, s)
	case Slower, More:
		how, _ := v.difference()
		t.painted(how, bad, s)
	case Flagged:
		t.painted("FLAG:", bad, "FLAG: "+s)
	case Same:
		t.painted("same", good, s)
	case CannotTell:
		t.painted("cannot tell", doubtful, s)
	}
}

func (t *textReport) heading(level int, s string) {
	if t.markdown {
		t.line("%s %s", strings.Repeat("#", level), unmarked(s))
		t.line("")
		return
	}
	t.line("%s", s)
}

// wrap breaks a sentence at the width; lines after the first are indented.
func (t *textReport) wrap(s, indent string) {
	col := 0
	for i, word := range strings.Fields(s) {
		word = printable(word)
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case col+1+n > t.width:
			t.out.WriteString("\n" + indent)
			col = len(indent)
		default:
			t.out.WriteByte(' ')
			col++
		}
		t.out.WriteString(word)
		col += n
	}
	t.out.WriteByte('\n')
}

func (t *textReport) run(r RunReport) {
	t.heading(1, fmt.Sprintf("%s  %s  %s", r.Scenario, r.ID, r.Status))
	for _, reason := range r.Invalid {
		t.painted("INVALID:", bad, "INVALID: "+reason)
	}
	for _, reason := range r.Reasons {
		if !slices.Contains(r.Invalid, reason) {
			t.painted(string(r.Status), bad, fmt.Sprintf("%s: %s", r.Status, reason))
		}
	}
	for _, w := range r.Warnings {
		t.painted("warning:", doubtful, "warning: "+w)
	}
	for _, c := range r.Counts {
		if !c.Equal {
			t.item(c.difference())
		}
	}
	t.sheet(r.Sheet)
	for _, s := range r.Searches {
		t.search(s)
	}
	for _, p := range r.Plans {
		if !r.searched(p) {
			t.plan(p, cmp.Or(p.Blocks, r.Blocks))
		}
	}
	t.thresholds(r.Thresholds)
	t.line("")
	t.item("measured on " + strings.Join(r.How, "; "))
	for _, note := range r.Notes {
		t.item("note: " + note)
	}
}

// difference says how a count differs from its closed form.
func (c Count) difference() string {
	return fmt.Sprintf("count differs: %s of %s%s is %s, its closed form gives %s", c.Name, c.Variant,
		inPlan(c.Plan), formatCount(c.Counted), formatCount(c.Expected))
}

// thresholds tells what failed or could not be judged, and of the rest how many
// held.
func (t *textReport) thresholds(all []Outcome) {
	if len(all) > 0 {
		t.line("")
	}
	for _, s := range thresholdSentences(all) {
		switch s.state {
		case Passed:
			t.painted("holds", good, s.text)
		case Failed:
			t.painted("fails", bad, s.text)
		default:
			t.painted("cannot be judged", bad, s.text)
		}
	}
}

// judged is a sentence about thresholds, and what it says.
type judged struct {
	state State
	text  string
}

func thresholdSentences(all []Outcome) []judged {
	var out []judged
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(o Outcome) bool { return o.Expr != all[0].Expr })
		if n < 0 {
			n = len(all)
		}
		held := 0
		for _, o := range all[:n] {
			if o.State == Passed {
				held++
				continue
			}
			out = append(out, judged{o.State, "threshold " + o.Text})
		}
		switch {
		case n == 1 && held == 1:
			out = append(out, judged{Passed, "threshold " + all[0].Text})
		case held == n:
			out = append(out, judged{Passed, fmt.Sprintf("threshold %s holds for all %d", all[0].Expr, n)})
		case held > 0:
			out = append(out, judged{Passed, fmt.Sprintf("threshold %s holds for the other %d", all[0].Expr, held)})
		}
		all = all[n:]
	}
	return out
}

func inPlan(p string) string {
	if p == "" {
		return ""
	}
	return " in " + p
}

func (t *textReport) plan(p PlanReport, planned int) {
	t.line("")
	if p.Name != "" {
		t.heading(2, "plan "+p.Name)
	}
	scalars := t.scalars(p, planned)
	if t.markdown {
		// Web pages scroll down more easily than sideways.
		turned, notes := turn(scalars)
		t.grid(turned)
		for _, n := range notes {
			t.item(n)
		}
		if len(notes) > 0 {
			t.line("")
		}
	} else {
		t.grid(scalars)
	}
	for _, g := range []grid{t.costs(p), t.latencies(p), t.stages(p)} {
		if len(g.rows) > 0 {
			t.gap()
			t.grid(g)
		}
	}
	t.histograms(p)
	if slices.ContainsFunc(p.Variants, func(v VariantReport) bool { return len(v.Errors) > 0 }) {
		t.gap()
	}
	for _, v := range p.Variants {
		for _, metric := range slices.Sorted(maps.Keys(v.Errors)) {
			for _, kind := range slices.Sorted(maps.Keys(v.Errors[metric])) {
				n := v.Errors[metric][kind]
				t.item(fmt.Sprintf("%s: %s of kind %s in %s", v.Name, plural(n, "error"), kind, metric))
			}
		}
	}
}

// grid is a table: a head, rows, and for each row a note that takes the place
// of all cells but the first.
type grid struct {
	head []string
	rows [][]string
	note []string // by row; "" for none
	left int      // columns kept when the table is broken, aligned to the left
}

// add appends a row without a note.
func (g *grid) add(cells ...string) {
	g.rows, g.note = append(g.rows, cells), append(g.note, "")
}

// scalars makes one row per variant, one column per figure that the metric
// table shows.
func (t *textReport) scalars(p PlanReport, planned int) grid {
	var columns []scalar
	for _, v := range p.Variants {
		for _, value := range v.Values {
			s := parseScalar(t.table, value.Name)
			if t.shown(s) && s.metric.hasColumn(value) && !slices.ContainsFunc(columns, func(c scalar) bool { return c.name == s.name }) {
				columns = append(columns, s)
			}
		}
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	names = sortScalars(t.table, names, "")
	g := grid{head: []string{"variant", "blocks"}, left: 1}
	for _, name := range names {
		g.head = append(g.head, columnLabel(parseScalar(t.table, name)))
	}
	for _, v := range p.Variants {
		row := []string{v.Name, fmt.Sprint(v.Blocks)}
		if planned > v.Blocks {
			row[1] = fmt.Sprintf("%d/%d", v.Blocks, planned)
		}
		for _, name := range names {
			row = append(row, cell(v.Values, name))
		}
		note := ""
		if v.Skipped != "" {
			note = "skipped: " + v.Skipped
		}
		g.rows, g.note = append(g.rows, row), append(g.note, note)
	}
	return g
}

// turn makes a column of each variant: pages scroll down more easily than sideways.
// What takes the place of a row's cells becomes a sentence.
func turn(g grid) (turned grid, notes []string) {
	turned = grid{head: []string{"figure"}, left: 1}
	var rows []int
	for i, row := range g.rows {
		if g.note[i] != "" {
			notes = append(notes, row[0]+": "+g.note[i])
			continue
		}
		rows = append(rows, i)
		turned.head = append(turned.head, row[0])
	}
	for column := 1; column < len(g.head); column++ {
		cells := []string{g.head[column]}
		for _, i := range rows {
			cells = append(cells, g.rows[i][column])
		}
		turned.add(cells...)
	}
	return turned, notes
}

// shown reports whether the summary has a column for the figure: for a count
// always, for a timed metric as its entry says, for one without entry the mean.
func (t *textReport) shown(s scalar) bool {
	if s.stat == "" {
		return true
	}
	if slices.ContainsFunc(t.table, func(m Metric) bool { return m.Name == s.metric.Name }) {
		return slices.Contains(s.metric.Columns, s.stat)
	}
	return s.stat == "mean"
}

func columnLabel(s scalar) string {
	if s.stat == "" || s.stat == "mean" && len(s.metric.Columns) < 2 {
		return s.metric.Name
	}
	return s.metric.Name + " " + s.stat
}

// findValue returns a figure by its name.
func findValue(values []Value, name string) (v Value, ok bool) {
	i := slices.IndexFunc(values, func(v Value) bool { return v.Name == name })
	if i < 0 {
		return Value{}, false
	}
	return values[i], true
}

func cell(values []Value, name string) string {
	v, ok := findValue(values, name)
	if !ok {
		return "-"
	}
	s := formatUnit(v.Median, v.Unit)
	if v.Theory != nil {
		s += " (theory " + formatUnit(*v.Theory, v.Unit) + ")"
	}
	return s
}

// costs lists what one of each thing costs, with an interval where there are blocks
// enough for one.
func (t *textReport) costs(p PlanReport) grid {
	g := grid{head: []string{"cost", "variant", "blocks", "estimate", "interval"}, left: 2}
	for _, m := range t.table {
		if m.Column != ColumnCost {
			continue
		}
		for _, v := range p.Variants {
			value, ok := findValue(v.Values, m.Name)
			if !ok {
				continue
			}
			estimate, interval := value.Median, "n/a"
			if e := value.Estimate; e != nil {
				estimate = e.Value
				interval = formatUnit(e.Lo, m.Unit) + " to " + formatUnit(e.Hi, m.Unit)
				g.head[4] = percent(e.Level) + " interval"
			}
			g.add(m.Name, v.Name, fmt.Sprint(value.Blocks), formatUnit(estimate, m.Unit), interval)
		}
	}
	return g
}

// latencies lists the metrics whose 0.99 quantile is known for some variant:
// short cells are told by their means and maxima alone.
func (t *textReport) latencies(p PlanReport) grid {
	g := grid{head: []string{"response", "variant", "n", "p50", "p90", "p99", "p99.9", "p99.99", "max"}, left: 2}
	var metrics []string
	for _, v := range p.Variants {
		for _, l := range v.Latencies {
			known := slices.ContainsFunc(l.Quantiles, func(q QuantileReport) bool { return q.Q == 0.99 && q.Value != nil })
			if l.Clock == Response && known && !slices.Contains(metrics, l.Metric) {
				metrics = append(metrics, l.Metric)
			}
		}
	}
	for _, metric := range sortScalars(t.table, metrics, "") {
		for _, v := range p.Variants {
			for _, l := range v.Latencies {
				if l.Metric != metric || l.Clock != Response {
					continue
				}
				row := []string{metric, v.Name, fmt.Sprint(l.N)}
				for _, q := range l.Quantiles {
					s := "n/a"
					if q.Value != nil {
						s = formatSeconds(*q.Value)
					}
					row = append(row, s)
				}
				g.add(append(row, formatSeconds(l.Max))...)
			}
		}
	}
	return g
}

// grid writes a table; columns that do not fit the width go into further tables
// that repeat the first ones.
func (t *textReport) grid(g grid) {
	if len(g.rows) == 0 {
		return
	}
	if t.markdown {
		t.markdownGrid(g)
		return
	}
	widths := make([]int, len(g.head))
	for i := range g.head {
		widths[i] = utf8.RuneCountInString(g.head[i])
		for r, row := range g.rows {
			if i < g.left || g.note[r] == "" {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			}
		}
	}
	fixed := 0
	for _, w := range widths[:g.left] {
		fixed += w + 2
	}
	for from, part := g.left, 0; from < len(g.head) || part == 0; part++ {
		to, total := from, fixed
		for to < len(g.head) && (to == from || total+widths[to] <= t.width) {
			total += widths[to] + 2
			to++
		}
		if part > 0 {
			t.line("")
		}
		t.row(g.head, widths, g.left, from, to, "")
		for r, row := range g.rows {
			if part > 0 && g.note[r] != "" {
				continue
			}
			t.row(row, widths, g.left, from, to, g.note[r])
		}
		from = to
	}
}

func (t *textReport) row(cells []string, widths []int, left, from, to int, note string) {
	var b strings.Builder
	for i := range left {
		fmt.Fprintf(&b, "%-*s  ", widths[i], cells[i])
	}
	if note != "" {
		b.WriteString(note)
	} else {
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "%*s  ", widths[i], cells[i])
		}
	}
	t.line("%s", strings.TrimRight(b.String(), " "))
}

func (t *textReport) markdownGrid(g grid) {
	write := func(cells []string) {
		var b strings.Builder
		for _, c := range cells {
			fmt.Fprintf(&b, "| %s ", unmarked(c))
		}
		t.line("%s|", b.String())
	}
	write(g.head)
	rule := make([]string, len(g.head))
	for i := range rule {
		if rule[i] = "---:"; i < g.left {
			rule[i] = "---"
		}
	}
	write(rule)
	for _, row := range g.rows {
		write(row) // of tables with notes comes what turn makes
	}
	t.line("")
}

// comparison writes what was decided: the sentences of the primary metric, then
// the gates. The other figures are in the JSON form; without a primary metric
// all are told.
func (t *textReport) comparison(d *Document) {
	if d.Refused != "" {
		t.gap()
		t.item("not compared: " + d.Refused)
	}
	c := d.Comparison
	if c == nil {
		return
	}
	if t.markdown {
		t.heading(1, "Verdict")
	} else {
		t.line("")
	}
	for _, reason := range c.Invalid {
		t.painted("INVALID:", bad, "INVALID: "+reason)
	}
	for _, w := range c.Warnings {
		t.painted("warning:", doubtful, "warning: "+w)
	}
	several := len(c.groups()) > 1
	for _, v := range c.Flagged() {
		t.verdict(v, several)
	}
	for _, v := range c.Verdicts {
		if (v.Primary || c.Primary == "") && v.Decision != Flagged {
			t.verdict(v, several)
		}
	}
	for _, g := range c.Gates {
		words, _, _ := strings.Cut(g.Text, ":")
		t.painted(words, map[State]paint{Passed: good, Failed: bad, Inconclusive: doubtful}[g.State], g.Text)
	}
}

// sentenceOf names the group only where there are several.
func sentenceOf(v Verdict, several bool) string {
	if v.Group == "" || !several {
		return v.String()
	}
	return v.Group + ": " + v.String()
}
