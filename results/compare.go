package results

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// CompareOptions say what to set side by side. The zero value compares the
// variants of one run, or several runs with one another.
type CompareOptions struct {
	By       string   // "variant", "run", or the name of a dimension; empty: variant for one run, run for several
	Baseline string   // the value of By to compare with; empty: the run's own baseline, or the first value
	Primary  string   // the scalar that decides; empty: the one that the runs declared
	Alpha    float64  // joint error probability of the comparisons of a group; 0: the one that the first run declared, or 0.05. It lies between 0 and 1
	Gates    []Expr   // limits on the ratio to the baseline
	Metrics  []Metric // table; nil means [Metrics]

	// AllowDifferent compares runs although their wire formats, targets, machines
	// or settings differ; the differences become warnings.
	AllowDifferent bool
}

// Comparison sets the values of one dimension side by side.
type Comparison struct {
	By       string        `json:"by"`
	Baseline string        `json:"baseline"`
	Arms     []string      `json:"arms"` // values of By, in order
	Primary  string        `json:"primary,omitempty"`
	Alpha    float64       `json:"alpha"`
	Verdicts []Verdict     `json:"verdicts"` // by group, the primary metric first
	Gates    []GateOutcome `json:"gates,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Invalid  []string      `json:"invalid,omitempty"` // why there are no verdicts: a run is invalid

	windows bool // the blocks of all runs are windows in time
}

// GateOutcome is a gate judged on one arm of one group.
type GateOutcome struct {
	Expr       string      `json:"expr"`
	State      State       `json:"state"` // Passed, Failed (the regression is proved) or Inconclusive
	Verdict    Verdict     `json:"verdict"`
	Difference *Difference `json:"difference,omitempty"` // where the gate tolerates one
	Text       string      `json:"text"`
}

// Difference is how far a variant lies above the baseline, in the unit of the figure,
// at the level of the verdict.
type Difference struct {
	Value Ratio `json:"value"` // Hodges-Lehmann
	Lo    Ratio `json:"lo"`    // interval, infinite if unbounded
	Hi    Ratio `json:"hi"`
}

// observation is the block of one run seen as evidence.
type observation struct {
	group, arm string
	pair       pairKey
	scalars    map[string]float64
	quantiles  map[string]float64 // that gates ask for
	short      map[string]string  // why there is none, by name
}

// figure returns a scalar, or a quantile that a gate asks for.
func (o observation) figure(name string) (float64, bool) {
	if v, ok := o.scalars[name]; ok {
		return v, true
	}
	v, ok := o.quantiles[name]
	return v, ok
}

type pairKey struct{ run, block int }

// Compare sets the values of one dimension side by side. Figures from the same
// block of the same run are compared in pairs, which removes what drifts over
// time; where two arms share no block the comparison is unpaired and the
// verdicts say so. Each verdict of a group of k has the level of [Bonferroni].
//
// The error is a [*DifferentError] if the runs are not alike, and an
// [*EmptyError] if they hold nothing to compare. A gate on what the runs did not
// measure, or not often enough, is [Inconclusive].
func Compare(runs []*Run, o CompareOptions) (*Comparison, error) {
	if len(runs) == 0 {
		return nil, errors.New("results: compare: no runs")
	}
	asked := o.Baseline
	o.complete(runs)
	if !(o.Alpha >= leastAlpha && o.Alpha < 1) {
		return nil, fmt.Errorf("results: compare: alpha is %g: want a probability of error from %g up to 1", o.Alpha, leastAlpha)
	}
	c := &Comparison{
		By: o.By, Primary: o.Primary, Alpha: o.Alpha,
		windows: !slices.ContainsFunc(runs, func(r *Run) bool { return r.Manifest.Window <= 0 }),
	}
	for _, g := range o.Gates {
		if err := g.CheckGate(); err != nil {
			return nil, err
		}
	}
	if err := c.checkAlike(runs, o); err != nil {
		return nil, err
	}
	for _, r := range runs {
		if bad, why := r.Invalid(); bad {
			c.Invalid = append(c.Invalid, fmt.Sprintf("run %s is invalid: %s", r.Manifest.ID, strings.Join(orNone(why), "; ")))
		}
		if r.Partial {
			c.Warnings = append(c.Warnings, fmt.Sprintf("run %s did not end: only the blocks written before are compared", r.Manifest.ID))
		}
		if text := r.change(); text != "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf("run %s: %s", r.Manifest.ID, text))
		}
	}
	if len(c.Invalid) > 0 {
		return c, nil
	}
	all, err := c.observe(runs, o.By, o.Gates)
	if err != nil {
		return nil, err
	}
	c.Baseline = cmp.Or(o.Baseline, c.Arms[0])
	switch known := strings.Join(c.Arms, ", "); {
	case slices.Contains(c.Arms, c.Baseline):
	case asked == "":
		return nil, &EmptyError{fmt.Sprintf("the runs hold no valid block of the baseline, %s: there are %s", c.Baseline, known)}
	default:
		return nil, fmt.Errorf("results: compare: no %s is called %q: there are %s", o.By, c.Baseline, known)
	}
	if c.Primary == "" {
		c.Warnings = append(c.Warnings, "no primary metric was declared: all verdicts are exploratory")
	}
	c.judge(all, o.Metrics)
	return c, c.gate(all, o)
}

func orNone(why []string) []string {
	if len(why) == 0 {
		return []string{"no reason was written"}
	}
	return why
}

func (o *CompareOptions) complete(runs []*Run) {
	m := runs[0].Manifest
	if o.By == "" {
		o.By = "variant"
		if len(runs) > 1 {
			o.By = "run"
		}
	}
	if o.By == "variant" {
		o.Baseline = cmp.Or(o.Baseline, m.Baseline)
	}
	o.Primary = cmp.Or(o.Primary, m.Primary)
	o.Alpha = cmp.Or(o.Alpha, m.Alpha, 0.05)
	if o.Metrics == nil {
		o.Metrics = Metrics()
	}
}

// checkAlike refuses runs whose figures would differ for reasons that are not
// compared.
func (c *Comparison) checkAlike(runs []*Run, o CompareOptions) error {
	first := runs[0].Manifest
	for _, r := range runs[1:] {
		m := r.Manifest
		if m.Scenario != first.Scenario {
			return fmt.Errorf("results: compare: %s ran scenario %s and %s ran %s", first.ID, first.Scenario, m.ID, m.Scenario)
		}
		c.Warnings = append(c.Warnings, first.unversioned(m)...)
		set := differentSettings(first, m)
		diff := append(first.differences(m, o.By != "target"), set...)
		if len(diff) == 0 {
			continue
		}
		text := fmt.Sprintf("%s and %s are not alike: %s", first.ID, m.ID, strings.Join(diff, "; "))
		switch {
		case o.AllowDifferent:
			c.Warnings = append(c.Warnings, text)
		case len(set) > 0:
			return &DifferentError{What: "compare", Text: text + ": to compare values of a setting, give it both in one run, as in --set 'KEY=[A,B]', or say --allow-different"}
		default:
			return &DifferentError{What: "compare", Text: text}
		}
	}
	return nil
}

// differences lists what differs in a way that makes figures incomparable.
func (m Manifest) differences(o Manifest, target bool) []string {
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(mergedKeys(m.Wire, o.Wire))) {
		a, inA := m.Wire[name]
		b, inB := o.Wire[name]
		if inA && inB && a != b {
			diff = append(diff, fmt.Sprintf("wire format of %s %s / %s", name, a, b))
		}
	}
	if a, b := targets(m, o), targets(o, m); target && a != b {
		diff = append(diff, fmt.Sprintf("target %s / %s", orUnknown(a), orUnknown(b)))
	}
	return append(diff, m.Environment.differences(o.Environment)...)
}

// EmptyError reports runs that hold nothing to compare, although nothing is wrong with
// what was asked: no block is valid, or none of the baseline that they declared.
type EmptyError struct{ Text string }

// Error implements error.
func (e *EmptyError) Error() string { return "results: compare: " + e.Text }

// DifferentError reports runs that differ in wire format, target, machine or
// settings. [CompareOptions.AllowDifferent] and [MergeOptions.AllowDifferent] take them all
// the same.
type DifferentError struct{ What, Text string }

// Error implements error.
func (e *DifferentError) Error() string { return "results: " + e.What + ": " + e.Text }

func mergedKeys(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = make(map[string]string)
	}
	maps.Copy(out, b)
	return out
}

// targets names the targets of a run, with the versions of those of which the other run
// knows one as well.
func targets(m, o Manifest) string {
	var out []string
	for i, t := range m.Targets {
		if i < len(o.Targets) && o.Targets[i].Version == "" {
			t.Version = ""
		}
		out = append(out, strings.Join(slices.DeleteFunc([]string{t.Name, t.Server, t.Version}, func(s string) bool { return s == "" }), " "))
	}
	return strings.Join(out, ", ")
}

// unversioned says of which targets the version is known in one of two runs alone.
func (m Manifest) unversioned(o Manifest) []string {
	var out []string
	for i, a := range m.Targets {
		if i >= len(o.Targets) {
			break
		}
		if b := o.Targets[i]; a.Name == b.Name && (a.Version == "") != (b.Version == "") {
			out = append(out, fmt.Sprintf("the version of target %s is %s in %s and %s in %s: whether it is the same was not compared",
				a.Name, cmp.Or(a.Version, "unknown"), m.ID, cmp.Or(b.Version, "unknown"), o.ID))
		}
	}
	return out
}

// observe turns the valid blocks of all runs into evidence and finds the arms.
func (c *Comparison) observe(runs []*Run, by string, gates []Expr) ([]observation, error) {
	var all []observation
	dims := make(map[string]bool)
	left := 0
	for i, r := range runs {
		plans := make(map[string]Plan)
		for _, p := range r.Manifest.Plans {
			plans[p.Name] = p
			for d := range p.Dimensions {
				dims[d] = true
			}
		}
		for _, b := range r.Blocks {
			if b.Skipped != "" {
				continue
			}
			if !b.Valid {
				left++
				continue
			}
			ob := observation{group: b.Plan, pair: pairKey{i, b.Block}, scalars: b.Scalars}
			switch by {
			case "variant":
				ob.arm = b.Variant
			case "run":
				ob.arm, ob.group = r.Manifest.ID, joinGroup(b.Plan, b.Variant)
			default:
				rest := maps.Clone(plans[b.Plan].Dimensions)
				value, ok := rest[by]
				if !ok {
					continue
				}
				delete(rest, by)
				ob.arm, ob.group = value, joinGroup(dimensionLabel(rest), b.Variant)
			}
			ob.addQuantiles(r, b.Key, gates)
			all = append(all, ob)
		}
		if by == "variant" {
			for _, v := range r.Manifest.Variants {
				c.addArm(v)
			}
		}
	}
	present := make(map[string]bool)
	for _, ob := range all {
		c.addArm(ob.arm)
		present[ob.arm] = true
	}
	c.Arms = slices.DeleteFunc(c.Arms, func(a string) bool { return !present[a] })
	if left > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s not valid and left out", are(left)))
	}
	if len(c.Arms) == 0 {
		if by != "variant" && by != "run" && !dims[by] {
			return nil, fmt.Errorf("results: compare: no plan has a dimension %q: there are %s",
				by, strings.Join(append([]string{"variant", "run"}, slices.Sorted(maps.Keys(dims))...), ", "))
		}
		return nil, &EmptyError{"the runs hold no valid block"}
	}
	return all, nil
}

// addQuantiles takes the quantiles that gates ask for from the histograms of a block,
// and notes of which it has too few samples. Medians are among the scalars, where there
// are samples enough.
func (o *observation) addQuantiles(r *Run, k Key, gates []Expr) {
	for _, e := range gates {
		if e.Agg != AggQuantile {
			continue
		}
		h := r.Timings(e.Metric, Filter{Plan: k.Plan, Variant: k.Variant, Block: &k.Block}).Of(Response)
		if h.N() == 0 {
			continue // another metric may have failed altogether; that no arm has it is told later
		}
		name := e.scalarName(func(string) bool { return true })
		q := h.Quantile(e.Q)
		if !q.OK {
			if o.short == nil {
				o.short = make(map[string]string)
			}
			o.short[name] = fmt.Sprintf("a block of %s%s has %d samples, and %s needs %d: use the mean, or a longer run",
				k.Variant, inPlan(k.Plan), q.N, "p("+e.percent+")", e.MinSamples())
			continue
		}
		if o.quantiles == nil {
			o.quantiles = make(map[string]float64)
		}
		o.quantiles[name] = q.Value.Seconds()
	}
}

func are(n int) string {
	if n == 1 {
		return "1 block is"
	}
	return fmt.Sprintf("%d blocks are", n)
}

func (c *Comparison) addArm(a string) {
	if !slices.Contains(c.Arms, a) {
		c.Arms = append(c.Arms, a)
	}
}

func joinGroup(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

func dimensionLabel(d map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(d)) {
		out = append(out, k+"="+d[k])
	}
	return strings.Join(out, " ")
}

// pairings lists which arm is compared with which within one group.
func (c *Comparison) pairings(present map[string]bool) (pairs [][2]string, k int) {
	for _, arm := range c.Arms {
		if !present[arm] || arm == c.Baseline {
			continue
		}
		if base, ok := strings.CutSuffix(arm, AASuffix); ok {
			if present[base] {
				pairs = append(pairs, [2]string{base, arm})
			}
			continue
		}
		if present[c.Baseline] {
			pairs = append(pairs, [2]string{c.Baseline, arm})
			k++
		}
	}
	return pairs, max(k, 1)
}

// judge compares every scalar of every group.
func (c *Comparison) judge(all []observation, table []Metric) {
	for _, group := range groups(all) {
		present := make(map[string]bool)
		names := make(map[string]bool)
		for _, ob := range all {
			if ob.group != group {
				continue
			}
			present[ob.arm] = true
			for name := range ob.scalars {
				if s := parseScalar(table, name); s.stat != "n" {
					names[name] = true
				}
			}
		}
		pairs, k := c.pairings(present)
		for _, name := range sortScalars(table, slices.Collect(maps.Keys(names)), c.Primary) {
			for _, p := range pairs {
				c.Verdicts = append(c.Verdicts, c.ask(all, table, group, name, p, k).judge())
			}
		}
	}
}

func groups(all []observation) []string {
	var out []string
	for _, ob := range all {
		if !slices.Contains(out, ob.group) {
			out = append(out, ob.group)
		}
	}
	return out
}

// ask collects the figures of two arms, in pairs if they share a block.
func (c *Comparison) ask(all []observation, table []Metric, group, name string, p [2]string, k int) comparison {
	q := comparison{
		group: group, scalar: parseScalar(table, name), baseline: p[0], variant: p[1],
		k: k, level: Bonferroni(k, c.Alpha), primary: name == c.Primary, paired: true,
	}
	x, y := make(map[pairKey]float64), make(map[pairKey]float64)
	for _, ob := range all {
		v, ok := ob.figure(name)
		if ob.group != group || !ok {
			continue
		}
		switch ob.arm {
		case q.baseline:
			x[ob.pair] = v
		case q.variant:
			y[ob.pair] = v
		}
	}
	order := func(a, b pairKey) int { return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.block, b.block)) }
	for _, key := range slices.SortedFunc(maps.Keys(y), order) {
		if v, ok := x[key]; ok {
			q.x, q.y = append(q.x, v), append(q.y, y[key])
		}
	}
	few := len(q.y) == 0 && !shareRun(x, y)
	if c.windows {
		// Windows of one test are no repetitions that could be missing: arms that
		// ran one after the other are two points in time.
		few = len(q.y) < MinBlocks(k, c.Alpha)
	}
	if few {
		q.paired, q.x, q.y = false, nil, nil
		for _, key := range slices.SortedFunc(maps.Keys(x), order) {
			q.x = append(q.x, x[key])
		}
		for _, key := range slices.SortedFunc(maps.Keys(y), order) {
			q.y = append(q.y, y[key])
		}
	}
	return q
}

// shareRun reports whether both arms have blocks in the same run: figures that
// miss each other there are a gap in the run, not two points in time.
func shareRun(x, y map[pairKey]float64) bool {
	runs := make(map[int]bool)
	for k := range x {
		runs[k.run] = true
	}
	for k := range y {
		if runs[k.run] {
			return true
		}
	}
	return false
}

// sortScalars puts the primary scalar first and the others in the order of the
// table.
func sortScalars(table []Metric, names []string, primary string) []string {
	rank := func(name string) int {
		if name == primary {
			return -1
		}
		s := parseScalar(table, name)
		i := slices.IndexFunc(table, func(m Metric) bool { return m.Name == s.metric.Name })
		if i < 0 {
			i = len(table)
		}
		return 4*i + slices.Index([]string{"mean", "p50", "max"}, s.stat) + 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return names
}

// gate judges the gates on each arm that is not the baseline.
func (c *Comparison) gate(all []observation, o CompareOptions) error {
	for _, e := range o.Gates {
		found, known := false, slices.ContainsFunc(o.Metrics, func(m Metric) bool { return m.Name == e.Metric })
		for _, group := range groups(all) {
			present, have := make(map[string]bool), make(map[string]bool)
			for _, ob := range all {
				if ob.group == group {
					present[ob.arm] = true
					for _, figures := range []map[string]float64{ob.scalars, ob.quantiles} {
						for name := range figures {
							have[name] = true
						}
					}
					for name := range ob.short {
						have[name] = true
					}
				}
			}
			name := e.scalarName(func(n string) bool { return have[n] })
			if !have[name] {
				continue
			}
			known = true
			pairs, k := c.pairings(present)
			doubt := ""
			for _, p := range pairs {
				if strings.HasSuffix(p[1], AASuffix) {
					doubt = c.doubt(c.ask(all, o.Metrics, group, name, p, k).judge())
				}
			}
			for _, p := range pairs {
				if strings.HasSuffix(p[1], AASuffix) {
					continue
				}
				found = true
				q := c.ask(all, o.Metrics, group, name, p, k)
				q.primary = true // A gate is declared by the one who asks.
				if why := short(all, group, name, p); why != "" {
					c.Gates = append(c.Gates, q.undecided(e, why))
					continue
				}
				g := q.gate(e, len(groups(all)) > 1)
				if doubt != "" && !g.Verdict.Exact {
					g.State = Inconclusive
					g.Text = fmt.Sprintf("gate undecided: %s: %s", e, doubt)
				}
				c.Gates = append(c.Gates, g)
			}
		}
		switch {
		case found:
		case known:
			q := comparison{scalar: parseScalar(o.Metrics, e.Metric), baseline: c.Baseline, level: Bonferroni(1, c.Alpha), k: 1, primary: true}
			c.Gates = append(c.Gates, q.undecided(e, fmt.Sprintf("no %s other than the baseline has that figure", c.By)))
		default:
			return fmt.Errorf("results: compare: gate %q: no figure is called %s, in these runs or anywhere", e, e.Metric)
		}
	}
	return nil
}

// short says why a block of one of two arms has not the quantile that a gate asks for; ""
// if all have it. To leave out such blocks would be to choose among them.
func short(all []observation, group, name string, arms [2]string) string {
	for _, ob := range all {
		if why := ob.short[name]; why != "" && ob.group == group && slices.Contains(arms[:], ob.arm) {
			return why
		}
	}
	return ""
}

// undecided is the outcome of a gate for which there are no figures.
func (c comparison) undecided(e Expr, why string) GateOutcome {
	c.x, c.y = nil, nil
	v := c.judge()
	v.Ratio, v.Reason = Ratio(math.NaN()), why
	return GateOutcome{Expr: e.String(), State: Inconclusive, Verdict: v, Text: fmt.Sprintf("gate undecided: %s: %s", e, why)}
}

// doubt says why nothing can be proved beside a baseline that was run twice: it
// differs from itself in the figure of the gate, or in the primary one. It is "" if
// it does not.
func (c *Comparison) doubt(own Verdict) string {
	if own.Decision == Flagged {
		return own.sentence()
	}
	for _, v := range c.Flagged() {
		if v.Group == own.Group && v.Primary {
			return v.sentence()
		}
	}
	return ""
}

// gate judges a gate on the figures of two arms. It names the group only where there
// are several.
func (c comparison) gate(e Expr, several bool) GateOutcome {
	v := c.judge()
	g := GateOutcome{Expr: e.String(), Verdict: v, State: Inconclusive}
	best, worst := float64(v.Lo), float64(v.Hi)
	if e.Op[0] == '>' {
		best, worst = worst, best
	}
	known := v.Reason == "" && !math.IsNaN(float64(v.Ratio))
	met, broken := known && e.Holds(worst), known && !e.Holds(best)
	how := v.String()
	if e.Slack > 0 && len(c.x) > 0 && len(c.y) > 0 {
		d := c.difference()
		g.Difference = &d
		met = met || float64(d.Hi) <= e.Slack
		broken = broken && float64(d.Lo) > e.Slack
		how += fmt.Sprintf("; difference %s (%s to %s)", signed(d.Value, v.Unit), signed(d.Lo, v.Unit), signed(d.Hi, v.Unit))
	}
	switch {
	case met:
		g.State = Passed
	case broken:
		g.State = Failed
	}
	word := map[State]string{Passed: "gate met", Failed: "gate broken", Inconclusive: "gate undecided"}[g.State]
	where := ""
	if v.Group != "" && several {
		where = " in " + v.Group
	}
	g.Text = fmt.Sprintf("%s: %s%s: %s", word, e, where, how)
	return g
}

func signed(v Ratio, unit string) string {
	if math.IsInf(float64(v), 0) {
		return "unknown"
	}
	if v > 0 {
		return "+" + formatUnit(float64(v), unit)
	}
	return formatUnit(float64(v), unit)
}

// Gate sums up the gates: Failed if any is broken, else Inconclusive if any is
// undecided, else Passed.
func (c *Comparison) Gate() State {
	out := Passed
	for _, g := range c.Gates {
		switch g.State {
		case Failed:
			return Failed
		case Inconclusive:
			out = Inconclusive
		}
	}
	return out
}

// Flagged lists the verdicts by which the comparison distrusts itself: a variant
// differs from itself in the primary metric, or in any if none was declared.
// Among many exploratory figures some differ by chance.
func (c *Comparison) Flagged() []Verdict {
	var out []Verdict
	for _, v := range c.Verdicts {
		if v.Decision == Flagged && (v.Primary || c.Primary == "") {
			out = append(out, v)
		}
	}
	return out
}
