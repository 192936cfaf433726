package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// ModelSchema is the version of the model files that this package writes. A reader
// accepts the same name with an equal or lower number.
const ModelSchema = "xmppbench.model/1"

// Model is what runs of small sizes say of larger ones: unit costs, fitted by least
// squares of relative errors. It marshals to the JSON of a model file.
type Model struct {
	Schema   string    `json:"schema"`
	Created  time.Time `json:"created"`
	Scenario string    `json:"scenario"`
	// Source is where the calibration ran: runs elsewhere, or with other wire formats,
	// are no evidence for or against the model.
	Source ModelSource `json:"source"`
	// Settings are those of the scenario that all calibration runs share, as the
	// scenario wrote them.
	Settings json.RawMessage `json:"settings,omitempty"`
	Parts    []ModelPart     `json:"parts"` // one for each variant, in the order of the runs
	Checks   []ModelCheck    `json:"checks,omitempty"`
}

// ModelSource is what of the manifests decides whether runs can be compared.
type ModelSource struct {
	Runs        []string          `json:"runs"` // their IDs
	Targets     []TargetInfo      `json:"targets,omitempty"`
	Wire        map[string]string `json:"wire,omitempty"`
	Environment Environment       `json:"environment"`
}

// manifest is the source in the form that comparisons of manifests take.
func (s ModelSource) manifest() Manifest {
	return Manifest{Targets: s.Targets, Wire: s.Wire, Environment: s.Environment}
}

// ModelPart is the model of one variant.
type ModelPart struct {
	Variant  string          `json:"variant"`
	Settings json.RawMessage `json:"settings,omitempty"` // of the variant, as the scenario wrote them
	Drivers  []DriverRange   `json:"drivers"`            // what costs depend on
	// Quantities are what is predicted, each with a coefficient for the constant and
	// then for each driver.
	Quantities []ModelQuantity `json:"quantities"`
	// Points are the sizes that were measured, those of the calibration first.
	Points []ModelPoint `json:"points"`
}

// DriverRange is a driver with the range in which the calibration saw it.
type DriverRange struct {
	Name string  `json:"name"`
	Doc  string  `json:"doc,omitempty"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
}

// ModelQuantity is the fitted cost of one figure: a constant and so much for each unit
// of each driver.
type ModelQuantity struct {
	Name  string         `json:"name"`
	Unit  string         `json:"unit"`
	Doc   string         `json:"doc,omitempty"`
	Limit QuantityLimits `json:"limit"`
	// Least says that a size is what the least of its blocks was, not their median.
	Least bool `json:"least,omitempty"`
	// Coefficients are in the quantity's unit: the constant first, then those of the
	// part's drivers. One that came out negative is 0 here: it means none that could be
	// told from noise, as does one of a driver that the quantity is taken not to depend on.
	Coefficients []float64 `json:"coefficients"`
	// Covariance is that of the coefficients, of a fit in which they may be negative.
	Covariance [][]float64 `json:"covariance"`
	// Residual is the standard deviation of the relative error of one size, DF the
	// degrees of freedom that it rests on.
	Residual float64 `json:"residual"`
	DF       int     `json:"df"`
}

// QuantityLimits bound the error on held-out runs. A quantity without any is not
// judged.
type QuantityLimits struct {
	Relative float64 `json:"relative,omitempty"` // share of what was measured
	Exact    bool    `json:"exact,omitempty"`    // a whole number that must be met
}

// Roles of points.
const (
	RoleCalibration = "calibration"
	RoleHeldOut     = "held-out"
)

// sizeOf is what the blocks of a size say of a quantity: the least of their values, which
// are sorted, or the median.
func sizeOf(values []float64, least bool) float64 {
	if least {
		return values[0]
	}
	return median(values)
}

// ModelPoint is one size: the median of its blocks, or the least, beside what the model
// says.
type ModelPoint struct {
	Role   string   `json:"role"` // RoleCalibration or RoleHeldOut
	Runs   []string `json:"runs"`
	Plan   string   `json:"plan"`
	Blocks int      `json:"blocks"` // of all runs
	// Drivers are those of the scenario, also what the costs of this variant were not fitted to.
	Drivers map[string]float64 `json:"drivers"`
	// Factor is how far beyond the calibration the size lies: the largest ratio of a
	// driver to the calibration's largest value of it.
	Factor float64                 `json:"factor"`
	Values map[string]ModelOutcome `json:"values"` // by quantity
}

// ModelOutcome is one quantity of a point. The band is that of the model at 95 %.
type ModelOutcome struct {
	Measured  float64 `json:"measured"`
	Min       float64 `json:"min"` // of the blocks
	Max       float64 `json:"max"`
	Predicted float64 `json:"predicted"`
	Lo        float64 `json:"lo"`
	Hi        float64 `json:"hi"`
}

// Error is the error of the prediction as a share of what was measured.
func (o ModelOutcome) Error() float64 {
	if o.Measured == o.Predicted {
		return 0
	}
	return (o.Predicted - o.Measured) / math.Abs(o.Measured)
}

// ModelDesign says what a scenario's costs depend on. It is the scenario's knowledge:
// this package knows figures of blocks by their names only.
type ModelDesign struct {
	Scenario string
	// Drivers are what costs depend on, the most telling first: one that follows from
	// those before it by closed form is left out of the variant's model.
	Drivers    []Driver
	Quantities []Quantity
	// Over is the driver by which pictures tell sizes, and Group what those in one picture
	// have in common, as a caption; pictures leave out sizes that have none of Over.
	Over  string
	Group func(drivers map[string]float64) string
	// Counts are the names of figures whose closed form must be met exactly.
	Counts []string
	// Forms are the figures of a plan and variant of a run by closed form, nil where
	// none is known: the drivers are then those that were counted.
	Forms func(r *Run, plan, variant string) (map[string]float64, error)
	// Reference are drivers of a variant at sizes of all kinds, by closed form: they
	// tell what of them always goes together from what merely did so in these runs.
	// Nil means that all drivers are independent.
	Reference func(r *Run, variant string) ([]map[string]float64, error)
	// Settings returns those of a run that its figures depend on, without the sizes that
	// the drivers tell, and those of one of its variants.
	Settings func(r *Run, variant string) (run, of json.RawMessage, err error)
}

// Driver is a count that costs depend on: the sum of figures of blocks, of which those
// that a block lacks count as none.
type Driver struct {
	Name string
	Of   []string
	Doc  string
	// Vary says how to make runs in which the driver differs by itself.
	Vary string
}

// Quantity is a figure to predict: the sum of figures of blocks.
type Quantity struct {
	Name, Unit, Doc string
	Of              []string
	// By names the drivers that it depends on; nil is all of them.
	By    []string
	Limit QuantityLimits
	// Least takes the least of the blocks for a size, not their median: for what other work
	// of the machine adds to, and nothing takes from.
	Least bool
	// LimitWith, where not empty, names a driver: the limit holds for variants whose costs
	// have it, and in others the quantity is shown and not judged.
	LimitWith string
}

// depends reports whether the quantity is taken to depend on a driver.
func (q Quantity) depends(driver string) bool { return q.By == nil || slices.Contains(q.By, driver) }

// limit is what bounds the error of the quantity in a model with these drivers.
func (q Quantity) limit(drivers []DriverRange) QuantityLimits {
	if q.LimitWith != "" && !slices.ContainsFunc(drivers, func(d DriverRange) bool { return d.Name == q.LimitWith }) {
		return QuantityLimits{}
	}
	return q.Limit
}

func sumOf(scalars map[string]float64, names []string) (sum float64, any bool) {
	for _, name := range names {
		v, ok := scalars[name]
		sum += v
		any = any || ok
	}
	return sum, any
}

// drivers are those of a set of figures.
func (d ModelDesign) drivers(figures map[string]float64) (map[string]float64, error) {
	out := make(map[string]float64, len(d.Drivers))
	for _, driver := range d.Drivers {
		v, ok := sumOf(figures, driver.Of)
		if !ok {
			return nil, fmt.Errorf("has no figure %s: it was made by an earlier program, or at a target that does not tell", strings.Join(driver.Of, " or "))
		}
		out[driver.Name] = v
	}
	return out, nil
}

// part returns the model of a variant.
func (m *Model) part(variant string) *ModelPart {
	if i := slices.IndexFunc(m.Parts, func(p ModelPart) bool { return p.Variant == variant }); i >= 0 {
		return &m.Parts[i]
	}
	return nil
}

// Part returns the model of a variant, and an error that names those there are.
func (m *Model) Part(variant string) (*ModelPart, error) {
	if p := m.part(variant); p != nil {
		return p, nil
	}
	var names []string
	for _, p := range m.Parts {
		names = append(names, p.Variant)
	}
	return nil, fmt.Errorf("results: the model has no variant %q: there are %s", variant, strings.Join(names, ", "))
}

// Quantity returns one of the quantities of the part.
func (p *ModelPart) Quantity(name string) (ModelQuantity, bool) {
	i := slices.IndexFunc(p.Quantities, func(q ModelQuantity) bool { return q.Name == name })
	if i < 0 {
		return ModelQuantity{}, false
	}
	return p.Quantities[i], true
}

// WithoutConstant is what units of the drivers cost alone: the constant is that of
// starting, and is not paid again.
func (q ModelQuantity) WithoutConstant() ModelQuantity {
	q.Coefficients, q.Covariance = slices.Clone(q.Coefficients), slices.Clone(q.Covariance)
	q.Coefficients[0] = 0
	for i := range q.Covariance {
		q.Covariance[i] = slices.Clone(q.Covariance[i])
		q.Covariance[0][i], q.Covariance[i][0] = 0, 0
	}
	return q
}

// Factor is how far beyond the calibration the drivers lie, and the driver that goes
// farthest: 1 is the edge of what was calibrated.
func (p *ModelPart) Factor(drivers map[string]float64) (factor float64, driver string) {
	for _, d := range p.Drivers {
		if f := drivers[d.Name] / d.Max; f > factor {
			factor, driver = f, d.Name
		}
	}
	return factor, driver
}

// Prediction is what a model says of one quantity at one size.
type Prediction struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	Lo    float64 `json:"lo"` // of the band
	Hi    float64 `json:"hi"`
	Level float64 `json:"level"` // of the band
}

// Predict returns what the quantity comes to at a size, with the band that holds a
// further measurement of it with the given probability, as far as the errors are those
// of the calibration: it does not know of what changes beyond it.
func (p *ModelPart) Predict(q ModelQuantity, drivers map[string]float64, level float64) Prediction {
	x := p.row(drivers)
	out := Prediction{Name: q.Name, Unit: q.Unit, Level: level}
	variance := 0.0
	for i, c := range q.Coefficients {
		out.Value += c * x[i]
		for j := range x {
			variance += x[i] * x[j] * q.Covariance[i][j]
		}
	}
	spread := q.Residual * out.Value
	half := studentT(q.DF, level) * math.Sqrt(max(variance, 0)+spread*spread)
	out.Lo, out.Hi = max(out.Value-half, 0), out.Value+half
	return out
}

// row is a row of the design matrix: 1 for the constant, then the drivers.
func (p *ModelPart) row(drivers map[string]float64) []float64 {
	x := make([]float64, 0, len(p.Drivers)+1)
	x = append(x, 1)
	for _, d := range p.Drivers {
		x = append(x, drivers[d.Name])
	}
	return x
}

// outcome sets what was measured beside the model.
func (p *ModelPart) outcome(q ModelQuantity, drivers map[string]float64, g group) ModelOutcome {
	values := g.values(q.Name)
	says := p.Predict(q, drivers, modelLevel)
	return ModelOutcome{
		Measured: sizeOf(values, q.Least), Min: slices.Min(values), Max: slices.Max(values),
		Predicted: says.Value, Lo: says.Lo, Hi: says.Hi,
	}
}

// modelLevel is the level of the bands that stand in a model file.
const modelLevel = 0.95

// A group is the blocks of one variant in one plan.
type group struct {
	run           *Run     // the first that has it
	runs          []string // the IDs of all that have it
	plan, variant string
	blocks        []Block
	sums          map[string][]float64 // of quantities, by block
	drivers       map[string]float64
}

func (g group) values(quantity string) []float64 {
	return slices.Sorted(slices.Values(g.sums[quantity]))
}

func (g group) String() string {
	return fmt.Sprintf("run %s, plan %s, %s", strings.Join(g.runs, " and "), g.plan, g.variant)
}

// groups collects the blocks of runs. What was skipped makes none. Several runs of the
// same size are one: what drifts from one to the next is not that of the size.
func (d ModelDesign) groups(runs []*Run) ([]group, error) {
	var all []group
	for _, r := range runs {
		for _, plan := range r.Manifest.Plans {
			for _, variant := range r.Manifest.Variants {
				g := group{run: r, runs: []string{r.Manifest.ID}, plan: plan.Name, variant: variant}
				for _, b := range r.Blocks {
					if b.Plan == plan.Name && b.Variant == variant && b.Valid && b.Skipped == "" && !r.discarded[b.Key] {
						g.blocks = append(g.blocks, b)
					}
				}
				if len(g.blocks) == 0 {
					continue
				}
				if err := d.fill(&g); err != nil {
					return nil, fmt.Errorf("%s: %w", g, err)
				}
				// Plans of different runs may have one name and differ in what was said for all of a run.
				i := slices.IndexFunc(all, func(o group) bool {
					return o.plan == g.plan && o.variant == variant && maps.Equal(o.drivers, g.drivers)
				})
				if i < 0 {
					all = append(all, g)
					continue
				}
				all[i].runs, all[i].blocks = append(all[i].runs, r.Manifest.ID), append(all[i].blocks, g.blocks...)
				if err := d.fill(&all[i]); err != nil {
					return nil, fmt.Errorf("%s: %w", all[i], err)
				}
			}
		}
	}
	return all, nil
}

// fill takes quantities and drivers from the blocks of a group. Drivers that differ
// between blocks enter as their median.
func (d ModelDesign) fill(g *group) error {
	g.sums = make(map[string][]float64)
	counted := make(map[string][]float64)
	for _, b := range g.blocks {
		for _, q := range d.Quantities {
			if v, ok := sumOf(b.Scalars, q.Of); ok {
				g.sums[q.Name] = append(g.sums[q.Name], v)
			}
		}
		drivers, err := d.drivers(b.Scalars)
		if err != nil {
			return err
		}
		for name, v := range drivers {
			counted[name] = append(counted[name], v)
		}
	}
	for name, values := range g.sums {
		if len(values) < len(g.blocks) {
			delete(g.sums, name) // not known in every block
		}
	}
	g.drivers = make(map[string]float64, len(counted))
	for name, values := range counted {
		g.drivers[name] = medianOf(values)
	}
	return nil
}

// evidence refuses runs that cannot be taken at their word.
func evidence(runs []*Run, scenario string) error {
	if len(runs) == 0 {
		return errors.New("results: model: no runs")
	}
	for _, r := range runs {
		if r.Manifest.Scenario != scenario {
			return fmt.Errorf("results: model: %s ran scenario %s, not %s", r.Manifest.ID, r.Manifest.Scenario, scenario)
		}
		if bad, why := r.Invalid(); bad {
			return fmt.Errorf("results: model: run %s is invalid: %s", r.Manifest.ID, strings.Join(orNone(why), "; "))
		}
		if r.Partial {
			return fmt.Errorf("results: model: run %s did not end: wait until it has, or run it again", r.Manifest.ID)
		}
		if len(r.Manifest.Targets) > 1 {
			return fmt.Errorf("results: model: run %s has %d targets: unit costs belong to one, run each by itself", r.Manifest.ID, len(r.Manifest.Targets))
		}
		for _, c := range r.Counts {
			if !c.Equal {
				return fmt.Errorf("results: model: run %s: %s", r.Manifest.ID, c.difference())
			}
		}
	}
	return nil
}

// alike refuses a run that was made elsewhere, with other wire formats or settings.
func (m *Model) alike(d ModelDesign, r *Run, allow bool) (string, error) {
	diff := m.Source.manifest().differences(r.Manifest, true)
	for _, variant := range r.Manifest.Variants {
		part := m.part(variant)
		run, of, err := d.settings(r, variant)
		if err != nil {
			return "", err
		}
		if string(run) != string(m.Settings) {
			diff = append(diff, fmt.Sprintf("settings %s / %s", m.Settings, run))
			break
		}
		if part != nil && string(of) != string(part.Settings) {
			diff = append(diff, fmt.Sprintf("settings of %s %s / %s", variant, part.Settings, of))
		}
	}
	if len(diff) == 0 {
		return "", nil
	}
	text := fmt.Sprintf("the model and %s are not alike: %s", r.Manifest.ID, strings.Join(diff, "; "))
	if !allow {
		return "", &DifferentError{What: "model", Text: text}
	}
	return text, nil
}

func (d ModelDesign) settings(r *Run, variant string) (run, of json.RawMessage, err error) {
	if d.Settings == nil {
		return nil, nil, nil
	}
	run, of, err = d.Settings(r, variant)
	if err != nil {
		err = fmt.Errorf("results: model: run %s: %w", r.Manifest.ID, err)
	}
	return run, of, err
}
