package results

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// WriteText writes what one more of each driver costs, by variant, and what the last
// check said. Width is that of the terminal in columns, 0 for the default.
func (m *Model) WriteText(w io.Writer, width int) error {
	t := newTextReport(Metrics(), width)
	for i := range m.Parts {
		if i > 0 {
			t.line("")
		}
		t.part(&m.Parts[i])
	}
	t.line("")
	t.item(fmt.Sprintf("A price is given with its standard error. Calibrated on %s; %s.", plural(int64(len(m.Source.Runs)), "run"), m.Source.machine()))
	if len(m.Checks) > 0 {
		t.line("")
		t.check(&m.Checks[len(m.Checks)-1])
	}
	_, err := w.Write(t.out.Bytes())
	return err
}

// machine names where the calibration ran.
func (s ModelSource) machine() string {
	e := s.Environment
	text := fmt.Sprintf("%s, %s, %s", orUnknown(e.CPU), plural(int64(e.CPUs), "CPU"), formatBytes(float64(e.Memory)))
	for _, target := range s.Targets {
		text += ", target " + target.Name
	}
	return text
}

// part writes the prices of a variant.
func (t *textReport) part(p *ModelPart) {
	sizes := 0
	for _, point := range p.Points {
		if point.Role == RoleCalibration {
			sizes++
		}
	}
	t.heading(1, fmt.Sprintf("%s, from %s", p.Variant, plural(int64(sizes), "size")))
	g := grid{head: []string{"quantity", "constant"}, left: 1}
	for _, d := range p.Drivers {
		g.head = append(g.head, "per "+d.Name)
	}
	g.head = append(g.head, "residual")
	for _, q := range p.Quantities {
		row := []string{q.Name}
		for i, c := range q.Coefficients {
			row = append(row, price(c, math.Sqrt(q.Covariance[i][i]), q.Unit))
		}
		g.add(append(row, errorShare(q.Residual))...)
	}
	seen := []string{"calibrated with", ""}
	for _, d := range p.Drivers {
		seen = append(seen, formatCount(d.Min)+" to "+formatCount(d.Max))
	}
	g.add(append(seen, "")...)
	t.grid(g)
}

// price is a coefficient with its standard error, where there is any.
func price(c, sd float64, unit string) string {
	if sd == 0 {
		return formatUnit(c, unit)
	}
	return formatUnit(c, unit) + " ±" + formatUnit(sd, unit)
}

func errorShare(v float64) string {
	if v < 5e-7 {
		return "0 %"
	}
	return significantShare(v) + " %"
}

// significantShare writes a share in percent with two significant digits.
func significantShare(v float64) string {
	v *= 100
	switch a := math.Abs(v); {
	case a >= 10:
		return fmt.Sprintf("%.0f", v)
	case a >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// WriteText writes the errors of a check, and whether it passed. Width is that of the
// terminal in columns, 0 for the default.
func (c *ModelCheck) WriteText(w io.Writer, width int) error {
	t := newTextReport(Metrics(), width)
	t.check(c)
	_, err := w.Write(t.out.Bytes())
	return err
}

func (t *textReport) check(c *ModelCheck) {
	t.errors(c)
	text := c.outcome()
	if of := c.failed(); len(of) > 0 {
		text += fmt.Sprintf(" The model predicts nothing of %s until a check passes.", strings.Join(of, ", "))
	}
	t.item(text)
}

// failed are the variants that a verdict went against.
func (c *ModelCheck) failed() (of []string) {
	for _, v := range c.Verdicts {
		if v.Judged && !v.Within && !slices.Contains(of, v.Variant) {
			of = append(of, v.Variant)
		}
	}
	return of
}

// outcome says in a sentence what came of the check.
func (c *ModelCheck) outcome() string {
	judged, beyond := 0, 0
	for _, v := range c.Verdicts {
		if v.Judged {
			judged++
			if !v.Within {
				beyond++
			}
		}
	}
	if beyond > 0 {
		return fmt.Sprintf("FAILED: %s of %d beyond the limit.", plural(int64(beyond), "error"), judged)
	}
	return fmt.Sprintf("passed: all of %d within their limits, up to %s times the size of the calibration.", judged, significant(c.Reach))
}

// errors writes the errors as a table, and those beyond their limits as sentences.
func (t *textReport) errors(c *ModelCheck) {
	t.heading(1, modelErrors)
	t.grid(c.grid())
	t.gap()
	for _, w := range c.Warnings {
		t.item("warning: " + w)
	}
	for _, v := range c.Verdicts {
		if v.Judged && !v.Within {
			t.item(v.String())
		}
	}
}

// modelErrors is the title of the table of errors.
const modelErrors = "Error of the model on sizes that it was not fitted to"

// grid sets the errors of each size side by side, the counts of one as a whole.
func (c *ModelCheck) grid() grid {
	type size struct{ plan, variant string }
	var (
		sizes      []size
		quantities []string
		by         = make(map[size]map[string]ModelVerdict)
		counts     = make(map[size][2]int) // those that are exact, and all
	)
	for _, v := range c.Verdicts {
		s := size{v.Plan, v.Variant}
		if by[s] == nil {
			by[s] = make(map[string]ModelVerdict)
			sizes = append(sizes, s)
		}
		if v.Exact && v.Lo == v.Hi && v.Predicted == v.Lo { // a closed form
			n := counts[s]
			n[1]++
			if v.Within {
				n[0]++
			}
			counts[s] = n
			continue
		}
		by[s][v.Name] = v
		if !slices.Contains(quantities, v.Name) {
			quantities = append(quantities, v.Name)
		}
	}
	g := grid{head: []string{"variant", "plan", "size", "counts"}, left: 2}
	g.head = append(g.head, quantities...)
	for _, s := range sizes {
		row := []string{s.variant, s.plan, "", "-"}
		if n := counts[s]; n[1] > 0 {
			row[3] = fmt.Sprintf("%d of %d", n[0], n[1])
			if n[0] == n[1] {
				row[3] = "exact"
			}
		}
		for _, name := range quantities {
			v, ok := by[s][name]
			text := "-"
			if ok {
				row[2] = significant(v.Factor) + "x"
				text = errorText(v)
			}
			row = append(row, text)
		}
		g.add(row...)
	}
	return g
}

// errorText is the error of a quantity in a table. An error beyond its limit is marked.
func errorText(v ModelVerdict) string {
	mark := ""
	if v.Judged && !v.Within {
		mark = " !"
	}
	switch {
	case v.Exact && v.Within:
		return "exact"
	case v.Exact, v.Measured == 0:
		return fmt.Sprintf("%+g%s", math.Round(v.Error), mark)
	}
	sign := "+"
	switch {
	case math.Abs(v.Relative) < 5e-5:
		return "0 %"
	case v.Error < 0:
		sign = "-"
	}
	return sign + significantShare(math.Abs(v.Relative)) + " %" + mark
}

// String tells the error in a sentence.
func (v ModelVerdict) String() string {
	text := fmt.Sprintf("%s of %s, %s: predicted %s, measured %s", v.Name, v.Variant, v.Plan, formatUnit(v.Predicted, v.Unit), formatUnit(v.Measured, v.Unit))
	switch {
	case v.Exact:
		return text + "; it has to be exact"
	case v.Judged:
		return fmt.Sprintf("%s, an error of %s; the limit is %s", text, strings.TrimSuffix(errorText(v), " !"), errorShare(v.Limit))
	}
	return text
}

// Text writes the prediction and its band.
func (p Prediction) Text() (value, band string) {
	return formatCost(p.Value, p.Unit), formatCost(p.Lo, p.Unit) + " to " + formatCost(p.Hi, p.Unit)
}

// formatCost is formatUnit for figures of any size: CPU time of many hours is told in
// hours or days, and counts have their thousands apart.
func formatCost(v float64, unit string) string {
	const hour, day = 3600, 86400
	switch {
	case unit == UnitSeconds && v >= 3*day:
		return Grouped(v/day) + " days"
	case unit == UnitSeconds && v >= 3*hour:
		return significant(v/hour) + " hours"
	case unit == UnitCount:
		return Grouped(v)
	}
	return formatUnit(v, unit)
}

// Grouped writes a number with its thousands apart, one below a thousand with three
// significant digits.
func Grouped(v float64) string {
	if math.Abs(v) < 1000 {
		return significant(v)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
