package results

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"
)

// What a calibration needs.
const (
	// ModelPoints is the smallest number of sizes of each variant.
	ModelPoints = 6
	// ModelBlocks is the smallest number of blocks of each size.
	ModelBlocks = 3
	// ModelReach is how many times as large as the calibration the largest held-out
	// size has to be, at least, for a check to count.
	ModelReach = 4.0
)

// FitOptions say how to fit.
type FitOptions struct {
	// AllowDifferent takes runs although their wire formats, targets, machines or
	// settings differ; the differences become warnings.
	AllowDifferent bool
	// HoldOut leaves plans out of the calibration, by name or by a value of a dimension
	// such as "50x50". Automatic leaves out, for each variant, what is larger than a
	// quarter of its largest size. What is held out is checked at once.
	HoldOut   []string
	Automatic bool
}

// held reports whether the plan of a group is left out by name.
func (o FitOptions) held(g group) bool {
	i := slices.IndexFunc(g.run.Manifest.Plans, func(p Plan) bool { return p.Name == g.plan })
	for _, name := range o.HoldOut {
		if g.plan == name {
			return true
		}
		for _, v := range g.run.Manifest.Plans[i].Dimensions {
			if v == name {
				return true
			}
		}
	}
	return false
}

// split parts the sizes of a variant into calibration and held-out ones.
func (o FitOptions) split(d ModelDesign, groups []group) (fitted, held []group) {
	largest, smallest := maps.Clone(groups[0].drivers), maps.Clone(groups[0].drivers)
	for _, g := range groups {
		for name, v := range g.drivers {
			largest[name], smallest[name] = max(largest[name], v), min(smallest[name], v)
		}
	}
	for _, g := range groups {
		out := o.held(g)
		if o.Automatic {
			for _, driver := range d.Drivers {
				// What is nearly the same everywhere, as a single shared stream, sets no sizes apart.
				most, least := largest[driver.Name], smallest[driver.Name]
				out = out || most > ModelReach*least && g.drivers[driver.Name] > most/ModelReach
			}
		}
		if out {
			held = append(held, g)
		} else {
			fitted = append(fitted, g)
		}
	}
	return fitted, held
}

// FitModel fits unit costs to runs of several sizes: for each variant, each quantity
// as a constant and so much for each unit of the drivers, such that the squares of the
// relative errors of the medians of the blocks are smallest and no coefficient is
// negative. It returns an error where runs are too few, or a driver cannot be told from
// the others in them.
func FitModel(runs []*Run, d ModelDesign, o FitOptions) (m *Model, warnings []string, err error) {
	if err := evidence(runs, d.Scenario); err != nil {
		return nil, nil, err
	}
	first := runs[0]
	m = &Model{Schema: ModelSchema, Scenario: d.Scenario, Source: ModelSource{
		Targets: first.Manifest.Targets, Wire: first.Manifest.Wire, Environment: first.Manifest.Environment,
	}}
	for _, r := range runs {
		m.Source.Runs = append(m.Source.Runs, r.Manifest.ID)
		for _, variant := range r.Manifest.Variants {
			run, of, err := d.settings(r, variant)
			if err != nil {
				return nil, nil, err
			}
			if m.Settings == nil {
				m.Settings = run
			}
			if m.part(variant) == nil && !isRepeat(variant) {
				m.Parts = append(m.Parts, ModelPart{Variant: variant, Settings: of})
			}
		}
		text, err := m.alike(d, r, o.AllowDifferent)
		if err != nil {
			return nil, nil, err
		}
		if text != "" {
			warnings = append(warnings, text)
		}
	}
	groups, err := d.groups(runs)
	if err != nil {
		return nil, nil, fmt.Errorf("results: model: %w", err)
	}
	var held []group
	for i := range m.Parts {
		part := &m.Parts[i]
		of := slices.DeleteFunc(slices.Clone(groups), func(g group) bool { return g.variant != part.Variant })
		if len(of) == 0 {
			return nil, nil, fmt.Errorf("results: model: %s has no valid block", part.Variant)
		}
		fitted, out := o.split(d, of)
		if err := part.fit(d, fitted); err != nil {
			return nil, nil, fmt.Errorf("results: model: %s: %w", part.Variant, err)
		}
		held = append(held, out...)
	}
	if len(held) == 0 {
		if len(o.HoldOut) > 0 || o.Automatic {
			return nil, nil, fmt.Errorf("results: model: nothing is held out by %q", append(slices.Clone(o.HoldOut), automatic(o.Automatic)...))
		}
		return m, warnings, nil
	}
	return m, warnings, m.check(ModelCheck{Runs: m.Source.Runs}, held, d)
}

func automatic(yes bool) []string {
	if yes {
		return []string{"auto"}
	}
	return nil
}

// isRepeat reports whether the label is that of the arm that repeats the baseline.
func isRepeat(variant string) bool { return strings.HasSuffix(variant, AASuffix) }

// fit makes the part of a variant from the sizes that were measured.
func (p *ModelPart) fit(d ModelDesign, groups []group) error {
	if len(groups) < ModelPoints {
		return fmt.Errorf("%s: a calibration takes %d at least, of different %s", plural(int64(len(groups)), "size"), ModelPoints, driverNames(d.Drivers))
	}
	for _, g := range groups {
		if len(g.blocks) < ModelBlocks {
			return fmt.Errorf("%s has %s: a calibration takes %d at least (--blocks)", g, plural(int64(len(g.blocks)), "valid block"), ModelBlocks)
		}
	}
	chosen, err := d.choose(groups)
	if err != nil {
		return err
	}
	for _, driver := range chosen {
		r := DriverRange{Name: driver.Name, Doc: driver.Doc, Min: math.Inf(1)}
		for _, g := range groups {
			r.Min, r.Max = min(r.Min, g.drivers[driver.Name]), max(r.Max, g.drivers[driver.Name])
		}
		p.Drivers = append(p.Drivers, r)
	}
	if free := len(groups) - len(p.Drivers) - 1; free < 1 {
		return fmt.Errorf("%d sizes cannot tell the prices of %d drivers and a constant and how far they err: run %d more", len(groups), len(p.Drivers), 1-free)
	}
	p.Points = make([]ModelPoint, len(groups))
	for i, g := range groups {
		p.Points[i] = ModelPoint{Role: RoleCalibration, Runs: g.runs, Plan: g.plan, Blocks: len(g.blocks), Drivers: g.drivers, Values: make(map[string]ModelOutcome)}
		p.Points[i].Factor, _ = p.Factor(g.drivers)
	}
	for _, q := range d.Quantities {
		known := !slices.ContainsFunc(groups, func(g group) bool { return len(g.sums[q.Name]) == 0 })
		if !known {
			continue // as CPU time where the sides cannot be told apart
		}
		of := []int{0} // the constant
		for i, driver := range p.Drivers {
			if q.depends(driver.Name) {
				of = append(of, i+1)
			}
		}
		rows, values := make([][]float64, len(groups)), make([]float64, len(groups))
		for i, g := range groups {
			row := p.row(g.drivers)
			for _, column := range of {
				rows[i] = append(rows[i], row[column])
			}
			values[i] = sizeOf(g.values(q.Name), q.Least)
			if values[i] <= 0 {
				return fmt.Errorf("%s: %s is %s, which no relative error can be taken of", g, q.Name, formatUnit(values[i], q.Unit))
			}
		}
		fitted, err := leastSquares(rows, values)
		if err != nil {
			return fmt.Errorf("%s: %w", q.Name, err)
		}
		fitted = fitted.spread(of, len(p.Drivers)+1)
		fitted.Name, fitted.Unit, fitted.Doc, fitted.Limit, fitted.Least = q.Name, q.Unit, q.Doc, q.limit(p.Drivers), q.Least
		p.Quantities = append(p.Quantities, fitted)
		for i, g := range groups {
			p.Points[i].Values[q.Name] = p.outcome(fitted, g.drivers, g)
		}
	}
	if len(p.Quantities) == 0 {
		return errors.New("no quantity is known in all blocks: nothing can be predicted")
	}
	return nil
}

// spread puts coefficients of some columns among all of them.
func (q ModelQuantity) spread(of []int, k int) ModelQuantity {
	coefficients, covariance := make([]float64, k), make([][]float64, k)
	for i := range covariance {
		covariance[i] = make([]float64, k)
	}
	for i, column := range of {
		coefficients[column] = q.Coefficients[i]
		for j, other := range of {
			covariance[column][other] = q.Covariance[i][j]
		}
	}
	q.Coefficients, q.Covariance = coefficients, covariance
	return q
}

func driverNames(drivers []Driver) string {
	var names []string
	for _, d := range drivers {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

// choose returns the drivers that are independent of each other by closed form, and
// refuses runs in which they are not.
func (d ModelDesign) choose(groups []group) ([]Driver, error) {
	table := func(rows []map[string]float64, drivers []Driver) [][]float64 {
		out := make([][]float64, len(drivers))
		for i, driver := range drivers {
			for _, row := range rows {
				out[i] = append(out[i], row[driver.Name])
			}
		}
		return out
	}
	var seen []map[string]float64
	for _, g := range groups {
		seen = append(seen, g.drivers)
	}
	chosen := d.Drivers
	if d.Reference != nil {
		rows, err := d.Reference(groups[0].run, groups[0].variant)
		if err != nil {
			return nil, err
		}
		reference := make([]map[string]float64, len(rows))
		for i, row := range rows {
			if reference[i], err = d.drivers(row); err != nil {
				return nil, fmt.Errorf("its closed form %w", err)
			}
		}
		independent := independentColumns(table(reference, d.Drivers))
		chosen = nil
		for i, driver := range d.Drivers {
			if independent[i] {
				chosen = append(chosen, driver)
			}
		}
	}
	for i, independent := range independentColumns(table(seen, chosen)) {
		if independent {
			continue
		}
		driver := chosen[i]
		text := "is the same in all runs"
		values := table(seen, chosen[i:i+1])[0]
		if slices.Max(values) != slices.Min(values) {
			text = "cannot be told from " + driverNames(chosen[:i])
		}
		return nil, fmt.Errorf("%s %s, so that neither has a price of its own: %s", driver.Name, text, driver.Vary)
	}
	return chosen, nil
}

// independentColumns tells of each column whether it is no sum of multiples of a
// constant and of the independent ones before it.
func independentColumns(columns [][]float64) []bool {
	out := make([]bool, len(columns))
	if len(columns) == 0 {
		return out
	}
	n := len(columns[0])
	constant := make([]float64, n)
	for i := range constant {
		constant[i] = 1 / math.Sqrt(float64(n))
	}
	basis := [][]float64{constant}
	for i, column := range columns {
		left := slices.Clone(column)
		norm := math.Sqrt(dot(column, column))
		// Twice, since the first pass leaves what was rounded off.
		for range 2 {
			for _, b := range basis {
				share := dot(left, b)
				for j := range left {
					left[j] -= share * b[j]
				}
			}
		}
		rest := math.Sqrt(dot(left, left))
		if norm == 0 || rest <= 1e-6*norm {
			continue
		}
		out[i] = true
		for j := range left {
			left[j] /= rest
		}
		basis = append(basis, left)
	}
	return out
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// leastSquares fits coefficients of at least 0 to positive values such that the sum of
// the squares of the relative errors is smallest.
func leastSquares(rows [][]float64, values []float64) (ModelQuantity, error) {
	n, k := len(rows), len(rows[0])
	// Errors become relative by division of each row, and columns of one size keep the
	// equations well conditioned.
	scale := make([]float64, k)
	x := mat.NewDense(n, k, nil)
	for i, row := range rows {
		for j, v := range row {
			x.Set(i, j, v/values[i])
			scale[j] = max(scale[j], math.Abs(v/values[i]))
		}
	}
	for j := range k {
		if scale[j] == 0 {
			return ModelQuantity{}, errors.New("a driver is 0 at every size")
		}
		for i := range n {
			x.Set(i, j, x.At(i, j)/scale[j])
		}
	}
	var qr mat.QR
	qr.Factorize(x)
	if qr.Cond() > 1e12 {
		return ModelQuantity{}, errors.New("the drivers go together too closely to be told apart: run sizes that differ more")
	}
	ones := mat.NewVecDense(n, nil)
	for i := range n {
		ones.SetVec(i, 1)
	}
	solution, _, err := fitSubset(x, ones, (1<<k)-1)
	if err != nil {
		return ModelQuantity{}, err
	}
	// The covariance is that of the free fit, so that a price held at 0 still has its doubt.
	var r mat.Dense
	qr.RTo(&r)
	upper := mat.NewTriDense(k, mat.Upper, nil)
	for i := range k {
		for j := i; j < k; j++ {
			upper.SetTri(i, j, r.At(i, j))
		}
	}
	var inverse mat.TriDense
	if err := inverse.InverseTri(upper); err != nil {
		return ModelQuantity{}, fmt.Errorf("the covariance: %w", err)
	}
	if slices.Min(solution) < -rounding {
		if solution, err = nonNegative(x, ones); err != nil {
			return ModelQuantity{}, err
		}
	}
	q := ModelQuantity{DF: n - k, Coefficients: make([]float64, k), Covariance: make([][]float64, k)}
	squares := 0.0
	for i := range n {
		e := 1.0
		for j := range k {
			e -= x.At(i, j) * solution[j]
		}
		squares += e * e
	}
	if q.Residual = math.Sqrt(squares / float64(q.DF)); q.Residual < rounding {
		q.Residual = 0
	}
	for j := range k {
		if solution[j] > rounding {
			q.Coefficients[j] = solution[j] / scale[j]
		}
		q.Covariance[j] = make([]float64, k)
		for l := range k {
			sum := 0.0
			for i := max(j, l); i < k; i++ {
				sum += inverse.At(j, i) * inverse.At(l, i)
			}
			q.Covariance[j][l] = q.Residual * q.Residual * sum / (scale[j] * scale[l])
		}
	}
	return q, nil
}

// rounding is a share of a value that is nothing but what was rounded off.
const rounding = 1e-9

// fitSubset fits the columns whose bits are set; the others get 0.
func fitSubset(x *mat.Dense, y *mat.VecDense, columns int) (solution []float64, squares float64, err error) {
	n, k := x.Dims()
	solution = make([]float64, k)
	var of []int
	for j := range k {
		if columns&(1<<j) != 0 {
			of = append(of, j)
		}
	}
	sub := mat.NewDense(n, len(of), nil)
	for c, j := range of {
		for i := range n {
			sub.Set(i, c, x.At(i, j))
		}
	}
	var qr mat.QR
	qr.Factorize(sub)
	var b mat.VecDense
	if err := qr.SolveVecTo(&b, false, y); err != nil {
		return nil, 0, fmt.Errorf("least squares: %w", err)
	}
	for c, j := range of {
		solution[j] = b.AtVec(c)
	}
	for i := range n {
		e := y.AtVec(i)
		for j := range k {
			e -= x.At(i, j) * solution[j]
		}
		squares += e * e
	}
	return solution, squares, nil
}

// nonNegative is the best fit without negative coefficients. There are few columns, so
// that every choice of those that are not 0 is tried.
func nonNegative(x *mat.Dense, y *mat.VecDense) ([]float64, error) {
	_, k := x.Dims()
	var best []float64
	least := math.Inf(1)
	for columns := 1; columns < 1<<k; columns++ {
		solution, squares, err := fitSubset(x, y, columns)
		if err != nil {
			return nil, err
		}
		if slices.Min(solution) >= 0 && squares < least {
			best, least = solution, squares
		}
	}
	if best == nil {
		return nil, errors.New("no prices of at least 0 fit: the values fall as the sizes grow")
	}
	return best, nil
}

// studentT is the half width of the interval that holds Student's t with the given
// probability.
func studentT(df int, level float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(df)}.Quantile(0.5 + level/2)
}
