package results

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// ModelReport is what a model says beside runs: see [Model.Report]. It marshals to the
// part of the JSON report that is about it.
type ModelReport struct {
	Scenario string    `json:"scenario"`
	Created  time.Time `json:"created"`
	Runs     []string  `json:"runs"` // of the calibration
	// Check are the errors on all sizes that the model was not fitted to: those that were
	// checked, and those of the reported runs. It is nil if there are none.
	Check *ModelCheck `json:"check,omitempty"`

	parts  []ModelPart // with the points of the runs
	design ModelDesign
}

// Report sets a model beside runs of its scenario. Sizes in them that the model has not
// seen are predicted, and judged as a check would, however large they are; the model
// stays as it is. Runs without figures, and variants that the model does not have, are
// left out.
func (m *Model) Report(runs []*Run, d ModelDesign) (*ModelReport, error) {
	out := &ModelReport{Scenario: m.Scenario, Created: m.Created, Runs: m.Source.Runs, design: d, parts: slices.Clone(m.Parts)}
	var unseen []*Run
	var c ModelCheck
	for _, r := range runs {
		if r.Manifest.Scenario != m.Scenario {
			return nil, fmt.Errorf("results: model: run %s is of scenario %s, the model of %s", r.Manifest.ID, r.Manifest.Scenario, m.Scenario)
		}
		if bad, _ := r.Invalid(); bad || r.Partial || slices.Contains(m.Source.Runs, r.Manifest.ID) {
			continue
		}
		if _, err := m.alike(d, r, false); err != nil {
			return nil, err
		}
		unseen = append(unseen, r)
	}
	groups, err := d.groups(unseen)
	if err != nil {
		return nil, fmt.Errorf("results: model: %w", err)
	}
	for _, check := range m.Checks {
		c.add(check.Runs, check.Verdicts)
	}
	for _, g := range groups {
		i := slices.IndexFunc(out.parts, func(p ModelPart) bool { return p.Variant == g.variant })
		if i < 0 {
			continue
		}
		p := &out.parts[i]
		point, verdicts, err := p.judge(g, d)
		if err != nil {
			return nil, fmt.Errorf("results: model: %s: %w", g, err)
		}
		p.Points = slices.DeleteFunc(slices.Clone(p.Points), point.same)
		p.Points = append(p.Points, point)
		c.add(g.runs, verdicts)
	}
	if len(c.Verdicts) > 0 {
		c.conclude()
		out.Check = &c
	}
	if !slices.ContainsFunc(out.parts, func(p ModelPart) bool {
		return slices.ContainsFunc(p.Points, func(o ModelPoint) bool { return o.Drivers[d.Over] > 0 })
	}) {
		return nil, fmt.Errorf("results: model: its sizes do not tell %s: an earlier program has fitted it, fit it again", d.Over)
	}
	return out, nil
}

// add takes verdicts, in place of earlier ones on the same sizes.
func (c *ModelCheck) add(runs []string, verdicts []ModelVerdict) {
	for _, id := range runs {
		if !slices.Contains(c.Runs, id) {
			c.Runs = append(c.Runs, id)
		}
	}
	for _, v := range verdicts {
		i := slices.IndexFunc(c.Verdicts, func(o ModelVerdict) bool {
			return o.Plan == v.Plan && o.Variant == v.Variant && o.Name == v.Name && o.Factor == v.Factor
		})
		if i < 0 {
			c.Verdicts = append(c.Verdicts, v)
		} else {
			c.Verdicts[i] = v
		}
	}
}

// conclude fills in what follows from the verdicts.
func (c *ModelCheck) conclude() {
	slices.SortStableFunc(c.Verdicts, func(a, b ModelVerdict) int { return cmp.Compare(a.Variant, b.Variant) })
	c.State, c.Reach = Passed, 0
	for _, v := range c.Verdicts {
		c.Reach = max(c.Reach, v.Factor)
		if v.Judged && !v.Within {
			c.State = Failed
		}
	}
}

// modelled makes pictures of what the model says, what it was fitted to and what it was
// not: one for each quantity and group of sizes.
func (p *plotter) modelled(m *ModelReport) {
	for _, part := range m.parts {
		arm := p.armOf(part.Variant)
		groups := make(map[string][]ModelPoint)
		var names []string
		for _, pt := range part.Points {
			if pt.Drivers[m.design.Over] > 0 {
				name := m.design.Group(pt.Drivers)
				if groups[name] == nil {
					names = append(names, name)
				}
				groups[name] = append(groups[name], pt)
			}
		}
		// What was held out tells most.
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(heldOut(groups[b]), heldOut(groups[a])) })
		for _, q := range part.Quantities {
			for _, name := range names {
				i := slices.IndexFunc(p.out.Costs, func(c CostPlot) bool { return c.Metric == q.Name && c.Group == name })
				if i < 0 {
					i = len(p.out.Costs)
					p.out.Costs = append(p.out.Costs, CostPlot{Metric: q.Name, Unit: q.Unit, Over: m.design.Over, Group: name})
					if !slices.ContainsFunc(p.out.Metrics, func(o PlotMetric) bool { return o.Name == q.Name }) {
						p.out.Metrics = append(p.out.Metrics, PlotMetric{q.Name, q.Doc})
					}
				}
				c := &p.out.Costs[i]
				points := slices.SortedStableFunc(slices.Values(groups[name]), func(a, b ModelPoint) int {
					return cmp.Compare(a.Drivers[m.design.Over], b.Drivers[m.design.Over])
				})
				for _, pt := range points {
					if v, ok := pt.Values[q.Name]; ok {
						c.Points = append(c.Points, CostPoint{
							Arm: arm, Plan: pt.Plan, Role: pt.Role, Size: pt.Drivers[m.design.Over],
							Value: rounded(v.Measured), Lo: rounded(v.Min), Hi: rounded(v.Max), Model: rounded(v.Predicted),
						})
					}
				}
				c.Lines = append(c.Lines, part.line(q, points, m.design.Over, arm))
			}
		}
	}
}

// heldOut is how many of the sizes the model was not fitted to.
func heldOut(points []ModelPoint) (n int) {
	for _, p := range points {
		if p.Role == RoleHeldOut {
			n++
		}
	}
	return n
}

// armOf is the arm of a variant where one run is reported, and else one of its own.
func (p *plotter) armOf(variant string) int {
	key := [2]string{"", variant}
	if len(p.doc.Runs) == 1 {
		key[0] = p.doc.Runs[0].ID
	}
	arm, known := p.arms[key]
	if !known {
		arm = len(p.out.Arms)
		p.arms[key] = arm
		p.out.Arms = append(p.out.Arms, PlotArm{Run: key[0], Variant: variant, Label: "model " + variant})
	}
	return arm
}

// lineSteps is how many steps the line of a model has from one size to the next.
const lineSteps = 8

// line is what the part says of the sizes, and of those in between: there each driver is
// taken to follow a power of the size.
func (p *ModelPart) line(q ModelQuantity, points []ModelPoint, over string, arm int) CostLine {
	var sizes []map[string]float64
	for from := 0; from < len(points); {
		to := from
		sum := make(map[string]float64)
		for to < len(points) && points[to].Drivers[over] == points[from].Drivers[over] {
			for name, v := range points[to].Drivers {
				sum[name] += v
			}
			to++
		}
		for name := range sum {
			sum[name] /= float64(to - from) // shapes of equal size share the line
		}
		sizes = append(sizes, sum)
		from = to
	}
	out := CostLine{Arm: arm}
	add := func(drivers map[string]float64) {
		says := p.Predict(q, drivers, modelLevel)
		out.Size, out.Value = append(out.Size, rounded(drivers[over])), append(out.Value, rounded(says.Value))
		out.Lo, out.Hi = append(out.Lo, rounded(says.Lo)), append(out.Hi, rounded(says.Hi))
	}
	for i, size := range sizes {
		if i > 0 {
			for k := 1; k < lineSteps; k++ {
				add(blend(sizes[i-1], size, float64(k)/lineSteps))
			}
		}
		add(size)
	}
	return out
}

// blend is what lies at a share of the way from one size to another.
func blend(a, b map[string]float64, share float64) map[string]float64 {
	out := make(map[string]float64, len(b))
	for name, to := range b {
		from := a[name]
		if from > 0 && to > 0 {
			out[name] = from * math.Pow(to/from, share)
		} else {
			out[name] = from + share*(to-from)
		}
	}
	return out
}

// model writes the errors of a model beside the figures of runs.
func (t *textReport) model(m *ModelReport) {
	if m == nil {
		return
	}
	t.line("")
	if m.Check == nil {
		t.item("The model was held against no size that it was not fitted to.")
		return
	}
	t.errors(m.Check)
	t.item(m.Check.outcome())
}
