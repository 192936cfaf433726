package results

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// ModelCheck is what held-out runs said of a model.
type ModelCheck struct {
	Time     time.Time      `json:"time"`
	Runs     []string       `json:"runs"`
	State    State          `json:"state"` // Passed or Failed
	Reach    float64        `json:"reach"` // the largest factor of its sizes
	Verdicts []ModelVerdict `json:"verdicts"`
	Warnings []string       `json:"warnings,omitempty"`
}

// ModelVerdict is one quantity or count of one held-out size, judged.
type ModelVerdict struct {
	Plan      string  `json:"plan"`
	Variant   string  `json:"variant"`
	Name      string  `json:"name"`
	Unit      string  `json:"unit"`
	Factor    float64 `json:"factor"`
	Measured  float64 `json:"measured"`
	Predicted float64 `json:"predicted"`
	Lo        float64 `json:"lo"`
	Hi        float64 `json:"hi"`
	// Error is absolute, in the unit; Relative its share of what was measured, 0 if
	// that was 0.
	Error    float64 `json:"error"`
	Relative float64 `json:"relative"`
	// Limit is what bounds the relative error. Exact says that there may be none; a
	// quantity with neither is shown and not judged.
	Limit  float64 `json:"limit,omitempty"`
	Exact  bool    `json:"exact,omitempty"`
	Judged bool    `json:"judged"`
	Within bool    `json:"within"`
}

// CheckOptions say how to check.
type CheckOptions struct {
	// AllowDifferent takes runs although their wire formats, targets, machines or
	// settings differ; the differences become warnings.
	AllowDifferent bool
}

// Check predicts sizes that the calibration did not have, and adds to the model what
// came of it: a check, and the points. Every variant of the runs must be in the model,
// and each must have a size of [ModelReach] times the largest of the calibration at least,
// by the driver that tells sizes: what is closer proves little.
func (m *Model) Check(runs []*Run, d ModelDesign, o CheckOptions) (*ModelCheck, error) {
	if err := evidence(runs, m.Scenario); err != nil {
		return nil, err
	}
	var c ModelCheck
	for _, r := range runs {
		if slices.Contains(m.Source.Runs, r.Manifest.ID) {
			return nil, fmt.Errorf("results: model: run %s is part of the calibration: a check takes runs that are not", r.Manifest.ID)
		}
		c.Runs = append(c.Runs, r.Manifest.ID)
		text, err := m.alike(d, r, o.AllowDifferent)
		if err != nil {
			return nil, err
		}
		if text != "" {
			c.Warnings = append(c.Warnings, text)
		}
	}
	groups, err := d.groups(runs)
	if err != nil {
		return nil, fmt.Errorf("results: model: %w", err)
	}
	if len(groups) == 0 {
		return nil, errors.New("results: model: the runs hold no valid block")
	}
	if err := m.check(c, groups, d); err != nil {
		return nil, err
	}
	return &m.Checks[len(m.Checks)-1], nil
}

// check holds the model against sizes that it was not fitted to, and adds what came of
// it.
func (m *Model) check(c ModelCheck, groups []group, d ModelDesign) error {
	points := make(map[string][]ModelPoint)
	for _, g := range groups {
		if isRepeat(g.variant) {
			continue
		}
		part, err := m.Part(g.variant)
		if err != nil {
			return err
		}
		point, verdicts, err := part.judge(g, d)
		if err != nil {
			return fmt.Errorf("results: model: %s: %w", g, err)
		}
		points[g.variant] = append(points[g.variant], point)
		c.Verdicts = append(c.Verdicts, verdicts...)
	}
	c.conclude()
	for _, variant := range slices.Sorted(maps.Keys(points)) {
		if reach := reach(slices.Concat(m.part(variant).calibration(), points[variant]), d.Over); reach < ModelReach {
			return fmt.Errorf("results: model: %s was run at %s times the %s of the calibration at most: a check takes %s times at least",
				variant, significant(reach), d.Over, significant(ModelReach))
		}
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		for _, point := range points[p.Variant] {
			p.Points = slices.DeleteFunc(p.Points, point.same)
			p.Points = append(p.Points, point)
		}
	}
	m.Checks = append(m.Checks, c)
	return nil
}

// same reports whether both are the same held-out size.
func (p ModelPoint) same(o ModelPoint) bool {
	return p.Role == RoleHeldOut && o.Role == RoleHeldOut && p.Plan == o.Plan && maps.Equal(p.Drivers, o.Drivers)
}

// judge holds the model against one size. The size is that of the closed form where
// there is one: counts are predicted like everything else.
func (p *ModelPart) judge(g group, d ModelDesign) (ModelPoint, []ModelVerdict, error) {
	drivers := g.drivers
	var verdicts []ModelVerdict
	if d.Forms != nil {
		forms, err := d.Forms(g.run, g.plan, g.variant)
		if err != nil {
			return ModelPoint{}, nil, err
		}
		if forms != nil {
			if drivers, err = d.drivers(forms); err != nil {
				return ModelPoint{}, nil, fmt.Errorf("its closed form %w", err)
			}
		}
		for _, name := range d.Counts {
			want, known := forms[name]
			if !known {
				continue
			}
			v := ModelVerdict{Name: name, Unit: UnitCount, Predicted: want, Lo: want, Hi: want, Measured: math.NaN()}
			for _, b := range g.blocks {
				got, ok := b.Scalars[name]
				if !ok {
					return ModelPoint{}, nil, fmt.Errorf("block %d has no figure %s", b.Block, name)
				}
				// Of several blocks the one that is farthest off counts.
				if math.IsNaN(v.Measured) || math.Abs(got-want) > math.Abs(v.Measured-want) {
					v.Measured = got
				}
			}
			verdicts = append(verdicts, v.judged(QuantityLimits{Exact: true}))
		}
	}
	point := ModelPoint{Role: RoleHeldOut, Runs: g.runs, Plan: g.plan, Blocks: len(g.blocks), Drivers: drivers, Values: make(map[string]ModelOutcome)}
	point.Factor, _ = p.Factor(drivers)
	for _, q := range p.Quantities {
		if len(g.sums[q.Name]) == 0 {
			return ModelPoint{}, nil, fmt.Errorf("lacks %s, which the calibration had: was it made in another way?", q.Name)
		}
		out := p.outcome(q, drivers, g)
		point.Values[q.Name] = out
		v := ModelVerdict{Name: q.Name, Unit: q.Unit, Predicted: out.Predicted, Lo: out.Lo, Hi: out.Hi, Measured: out.Measured}
		verdicts = append(verdicts, v.judged(q.Limit))
	}
	for i := range verdicts {
		v := &verdicts[i]
		v.Plan, v.Variant, v.Factor = g.plan, g.variant, point.Factor
	}
	return point, verdicts, nil
}

// judged fills in the errors and what becomes of them.
func (v ModelVerdict) judged(l QuantityLimits) ModelVerdict {
	v.Error = v.Predicted - v.Measured
	if v.Measured != 0 {
		v.Relative = v.Error / math.Abs(v.Measured)
	}
	v.Limit, v.Exact, v.Judged = l.Relative, l.Exact, l.Exact || l.Relative > 0
	switch {
	case l.Exact:
		v.Within = math.Abs(v.Error) < 0.5
	case l.Relative > 0:
		v.Within = math.Abs(v.Error) <= l.Relative*math.Abs(v.Measured)
	}
	return v
}

// calibration are the points that the part was fitted to.
func (p *ModelPart) calibration() []ModelPoint {
	return slices.DeleteFunc(slices.Clone(p.Points), func(o ModelPoint) bool { return o.Role != RoleCalibration })
}

// Reach is how many times the largest value of the calibration a driver had in a size that
// was held out, 0 if none was.
func (p *ModelPart) Reach(driver string) float64 { return reach(p.Points, driver) }

func reach(points []ModelPoint, driver string) float64 {
	calibrated, checked := 0.0, 0.0
	for _, p := range points {
		if p.Role == RoleCalibration {
			calibrated = max(calibrated, p.Drivers[driver])
		} else {
			checked = max(checked, p.Drivers[driver])
		}
	}
	if calibrated == 0 {
		return 0
	}
	return checked / calibrated
}

// Checked is what the last check of a variant came to: Passed or Failed, and Inconclusive
// if there was none. [ModelPart.Reach] says how far checks went.
func (m *Model) Checked(variant string) State {
	state := Inconclusive
	for _, c := range m.Checks {
		for _, v := range c.Verdicts {
			if v.Variant != variant {
				continue
			}
			if state = Passed; slices.ContainsFunc(c.Verdicts, func(v ModelVerdict) bool { return v.Variant == variant && v.Judged && !v.Within }) {
				state = Failed
			}
			break
		}
	}
	return state
}
