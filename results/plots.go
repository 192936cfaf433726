package results

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// PlotsSchema is the version of what the pictures of an HTML report are drawn from.
const PlotsSchema = "xmppbench.plots/3"

// Plots are what the pictures of a report are drawn from, beside its [Document].
// Everything refers to arms by their place in Arms. Times are in seconds, sizes in
// bytes. Where there is more than a picture can show it is thinned, and of each
// stretch that is drawn as one the largest value is kept; of CPU time, which is a rate,
// the mean.
type Plots struct {
	Schema    string         `json:"schema"`
	Arms      []PlotArm      `json:"arms"`
	Plans     []string       `json:"plans"`
	Latency   []LatencyPlot  `json:"latency,omitempty"`
	Timelines []TimelinePlot `json:"timelines,omitempty"`
	Ratios    []RatioPlot    `json:"ratios,omitempty"`
	Resources []ResourcePlot `json:"resources,omitempty"`
	Load      []LoadPlot     `json:"load,omitempty"`
	Meshes    []MeshPlot     `json:"meshes,omitempty"`
	Costs     []CostPlot     `json:"costs,omitempty"`
	Limits    []PlotLimit    `json:"limits,omitempty"` // thresholds on response times, which are drawn as lines
	Metrics   []PlotMetric   `json:"metrics,omitempty"`
}

// PlotArm is one of the things set side by side: a variant, of one of the runs.
type PlotArm struct {
	Run     string `json:"run"`
	Variant string `json:"variant"`
	Label   string `json:"label"`
}

// PlotMetric says what a metric is, for the captions.
type PlotMetric struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// PlotLimit is a threshold on a response time.
type PlotLimit struct {
	Metric string  `json:"metric"`
	Text   string  `json:"text"`
	Value  float64 `json:"value"`
}

// LatencyPlot is the response time of one metric in one plan: by percentile, and
// over time.
type LatencyPlot struct {
	Plan   string  `json:"plan"`
	Metric string  `json:"metric"`
	Curves []Curve `json:"curves"`

	// Heat maps have one row for each step of Decade-th parts of a power of ten;
	// row 0 begins at 10^(Floor/Decade) seconds.
	Decade int `json:"decade"`
	Floor  int `json:"floor"`
	Rows   int `json:"rows"`
	// All have the same columns, each of which is Step wide: of seconds if Column is "s",
	// of blocks if it is "block". Seconds are those in which the blocks ran, one after
	// the other.
	Column string  `json:"column"`
	Step   float64 `json:"step"`
	Heat   []Heat  `json:"heat"`
}

// Curve is the distribution of one arm: the value at each of the quantiles
// 1-10^-nines, and the interval of the median over blocks, as far as the samples
// allow either.
type Curve struct {
	Arm    int       `json:"arm"`
	N      int64     `json:"n"`
	Mean   float64   `json:"mean"`
	Max    float64   `json:"max"`
	Nines  []float64 `json:"nines"`
	Value  []float64 `json:"value"`
	Lo     []float64 `json:"lo,omitempty"` // shorter than Value where blocks have too few samples
	Hi     []float64 `json:"hi,omitempty"`
	Level  float64   `json:"level,omitempty"`
	Blocks int       `json:"blocks"`
}

// Heat is how often what response time occurred when.
type Heat struct {
	Arm    int       `json:"arm"`
	Max    []float64 `json:"max"`              // of each column
	N      []int64   `json:"n"`                // samples of each column
	Blocks []float64 `json:"blocks,omitempty"` // seconds at which blocks begin, if columns are times
	Cells  []int64   `json:"cells"`            // column, row, samples; and so on
}

// TimelinePlot is when samples of a metric were slow.
type TimelinePlot struct {
	Plan    string   `json:"plan"`
	Metric  string   `json:"metric"`
	Since   string   `json:"since"`
	Step    float64  `json:"step"` // width of a stretch in seconds
	Courses []Course `json:"courses"`
}

// Course is a timeline of one arm over all blocks: for each stretch of time, named by
// its middle, the smallest, the median and the largest sample.
type Course struct {
	Arm    int       `json:"arm"`
	N      int       `json:"n"`
	T      []float64 `json:"t"`
	Lo     []float64 `json:"lo"`
	Mid    []float64 `json:"mid"`
	Hi     []float64 `json:"hi"`
	Theory []Point   `json:"theory,omitempty"`
}

// RatioPlot is one metric of a comparison, by block.
type RatioPlot struct {
	Group   string     `json:"group"`
	Metric  string     `json:"metric"`
	Label   string     `json:"label"`
	Primary bool       `json:"primary"`
	Rows    []RatioRow `json:"rows"`
}

// RatioRow is one verdict with the ratios that stand behind it.
type RatioRow struct {
	Baseline string   `json:"baseline"`
	Variant  string   `json:"variant"`
	Ratio    Ratio    `json:"ratio"`
	Lo       Ratio    `json:"lo"`
	Hi       Ratio    `json:"hi"`
	Level    float64  `json:"level"`
	Decision Decision `json:"decision"`
	// Blocks are the ratios of each pair, or of many pairs as many that stand for equal parts
	// of them; there are none if the comparison is unpaired.
	Blocks []float64 `json:"blocks,omitempty"`
	Text   string    `json:"text"`
}

// ResourcePlot is what processes of one run used over time, beside the response times.
type ResourcePlot struct {
	Run      string          `json:"run"`
	T        []float64       `json:"t"`             // seconds since the run began
	CPU      []ResourceLine  `json:"cpu,omitempty"` // cores, the mean since the point before
	RSS      []ResourceLine  `json:"rss,omitempty"` // bytes
	FDs      []ResourceLine  `json:"fds,omitempty"`
	Metric   string          `json:"metric,omitempty"` // whose response times follow
	Response []ResponsePoint `json:"response,omitempty"`
}

// ResourceLine is one figure of one role; nil where it was not taken.
type ResourceLine struct {
	Role  string     `json:"role"`
	Value []*float64 `json:"value"`
}

// ResponsePoint is what one arm showed in one interval.
type ResponsePoint struct {
	Arm int     `json:"arm"`
	T   float64 `json:"t"` // end of the interval, seconds since the run began
	N   int64   `json:"n"`
	P50 float64 `json:"p50"`
	Max float64 `json:"max"`
}

// LoadPlot is response time against offered rate, or another level of a search.
type LoadPlot struct {
	Group  string      `json:"group"` // what the plans have in common, or the goal of the search
	Metric string      `json:"metric"`
	Over   string      `json:"over"` // the key that the levels are of
	Unit   string      `json:"unit"` // of a level
	Points []LoadPoint `json:"points"`
	Found  *LoadFound  `json:"found,omitempty"`
}

// LoadFound is what a search found: the levels that hold in its searches, and the
// lowest one that does not, 0 if none failed.
type LoadFound struct {
	Median float64 `json:"median"`
	Lowest float64 `json:"lowest"`
	Most   float64 `json:"most"`
	Fails  float64 `json:"fails,omitempty"`
}

// LoadPoint is one arm at one rate. Quantiles that too few samples stand behind are
// nil.
type LoadPoint struct {
	Arm  int      `json:"arm"`
	Rate float64  `json:"rate"`
	N    int64    `json:"n"`
	P50  *float64 `json:"p50"`
	P99  *float64 `json:"p99"`
	Max  float64  `json:"max"`
	// Judgement is that of a search: pass, fail, split or invalid.
	Judgement string `json:"judgement,omitempty"`
}

// MeshPlot is how many connections the domains of providers needed.
type MeshPlot struct {
	Plan string `json:"plan"`
	Arm  int    `json:"arm"`
	// Domains are those of each provider. Pairs are the pairs of domains that talked,
	// either direction being the same pair.
	Domains []int   `json:"domains"`
	Pairs   float64 `json:"pairs"`
	// Connections that stay. They are Shared if they are those of providers, and not each
	// that of a pair of domains.
	Connections float64 `json:"connections"`
	Shared      bool    `json:"shared"`
}

// CostPlot is one figure against size.
type CostPlot struct {
	Metric string      `json:"metric"`
	Unit   string      `json:"unit"`
	Over   string      `json:"over"`            // what sizes are told by, such as pairs
	Group  string      `json:"group,omitempty"` // what the sizes of a model have in common
	Points []CostPoint `json:"points"`
	Lines  []CostLine  `json:"lines,omitempty"` // of a model
}

// CostPoint is the median over blocks with their range.
type CostPoint struct {
	Arm   int     `json:"arm"`
	Plan  string  `json:"plan"`
	Role  string  `json:"role,omitempty"` // RoleCalibration or RoleHeldOut, of a model
	Size  float64 `json:"size"`
	Value float64 `json:"value"`
	Lo    float64 `json:"lo"`
	Hi    float64 `json:"hi"`
	Model float64 `json:"model,omitempty"` // what the model says
}

// CostLine is what a model says of one arm, with its band at 95 %.
type CostLine struct {
	Arm   int       `json:"arm"`
	Size  []float64 `json:"size"`
	Value []float64 `json:"value"`
	Lo    []float64 `json:"lo"`
	Hi    []float64 `json:"hi"`
}

const (
	heatDecade = 20 // rows of a heat map for each power of ten
	// Blocks with as many intervals are looked into; shorter ones are a column each.
	windowColumns = 5
	heatColumns   = 240 // most columns
	heatRows      = 120 // most rows
	nineStep      = 0.05
	bandLevel     = 0.95
	ratioDots     = 400 // most dots of a ratio
	courseSteps   = 300 // most stretches of a timeline
	seriesSteps   = 600 // most points of a resource line
	plotMetrics   = 12  // most metrics with pictures, in the order of the table
)

// plotter gathers plots.
type plotter struct {
	runs  []*Run
	table []Metric
	doc   *Document
	out   Plots
	arms  map[[2]string]int // by run and variant
}

// MakePlots gathers what pictures of runs are drawn from; d is their [Summarize].
// Runs that are invalid have none.
func MakePlots(runs []*Run, d *Document, o CompareOptions) *Plots {
	if o.Metrics == nil {
		o.Metrics = Metrics()
	}
	p := &plotter{table: o.Metrics, doc: d, out: Plots{Schema: PlotsSchema, Arms: []PlotArm{}, Plans: []string{}}, arms: make(map[[2]string]int)}
	for _, r := range runs {
		if bad, _ := r.Invalid(); bad {
			continue
		}
		p.runs = append(p.runs, r)
	}
	p.name(runs)
	p.latencies()
	p.timelines()
	p.ratios()
	p.resources()
	p.loads()
	p.meshes()
	p.costs()
	p.limits()
	return &p.out
}

// name finds arms and plans. An arm is named by its variant, and by its run where
// there are several.
func (p *plotter) name(all []*Run) {
	for _, r := range p.runs {
		for _, plan := range planOrder(r) {
			if !slices.Contains(p.out.Plans, plan.Name) {
				p.out.Plans = append(p.out.Plans, plan.Name)
			}
			for _, v := range variantOrder(r, plan.Name) {
				key := [2]string{r.Manifest.ID, v}
				if _, known := p.arms[key]; known {
					continue
				}
				arm := PlotArm{Run: r.Manifest.ID, Variant: v, Label: v}
				if len(all) > 1 {
					arm.Label = joinGroup(r.Manifest.ID, v)
				}
				p.arms[key] = len(p.out.Arms)
				p.out.Arms = append(p.out.Arms, arm)
			}
		}
	}
}

// metrics are those with histograms, the most important first.
func (p *plotter) metrics() []string {
	set := make(map[string]bool)
	primary := ""
	for _, r := range p.runs {
		primary = cmp.Or(primary, parseScalar(p.table, r.Manifest.Primary).metric.Name)
		for _, m := range r.TimedMetrics() {
			set[m] = true
		}
	}
	rank := func(name string) int {
		i := slices.IndexFunc(p.table, func(m Metric) bool { return m.Name == name })
		switch {
		case name == primary:
			return -1
		case i < 0:
			return 2 * len(p.table)
		case len(p.table[i].Columns) == 0:
			return len(p.table) + i
		}
		return i
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
}

// cell is what one metric of one arm showed in one plan.
type plotCell struct {
	arm     int
	total   *Histogram
	blocks  []*Histogram
	columns []heatColumn
	window  bool // blocks are long enough to look into
}

// heatColumn is one interval, or what a column of a heat map shows.
type heatColumn struct {
	block         int
	start, length float64 // seconds
	n, max        int64
	rows          map[int]int64
}

func (p *plotter) latencies() {
	for _, metric := range p.metrics() {
		drawn := false
		for _, plan := range p.out.Plans {
			var cells []*plotCell
			for _, r := range p.runs {
				for _, v := range variantOrder(r, plan) {
					if c := p.cell(r, metric, plan, v); c.total.N() >= MinSamples(0.5) {
						cells = append(cells, c)
					}
				}
			}
			if len(cells) > 0 {
				p.out.Latency = append(p.out.Latency, p.latency(plan, metric, cells))
				drawn = true
			}
		}
		if drawn {
			p.describe(metric)
		}
		if len(p.out.Metrics) == plotMetrics {
			break
		}
	}
}

func (p *plotter) describe(metric string) {
	m := parseScalar(p.table, metric).metric
	if !slices.ContainsFunc(p.out.Metrics, func(o PlotMetric) bool { return o.Name == m.Name }) {
		p.out.Metrics = append(p.out.Metrics, PlotMetric{m.Name, m.Doc})
	}
}

func heatRow(ns int64) int { return int(math.Floor(heatDecade * math.Log10(float64(max(ns, 1))*1e-9))) }

// cell merges the intervals of one metric: into one histogram, into one for each
// block, and into columns of a heat map.
func (p *plotter) cell(r *Run, metric, plan, variant string) *plotCell {
	c := &plotCell{arm: p.arms[[2]string{r.Manifest.ID, variant}], total: NewHistogram()}
	f := Filter{Plan: plan, Variant: variant}
	blocks := make(map[int]*Histogram)
	var d decoder
	for i := range r.intervals {
		iv := &r.intervals[i]
		// A filter takes an empty name for any.
		if iv.metric != metric || iv.key.Plan != plan || iv.key.Variant != variant || !r.chosen(f, iv.key) {
			continue
		}
		b := blocks[iv.key.Block]
		if b == nil {
			b = NewHistogram()
			blocks[iv.key.Block] = b
			c.blocks = append(c.blocks, b)
		}
		column := heatColumn{block: iv.key.Block, start: iv.start, length: iv.length, rows: make(map[int]int64)}
		got := d.mustWalk(cmp.Or(iv.response, iv.service), b, func(high, n int64) { column.rows[heatRow(high)] += n })
		column.n, column.max = got.n, got.max
		c.columns = append(c.columns, column)
	}
	for _, b := range c.blocks {
		c.total.Merge(b)
	}
	c.window = len(c.columns) >= windowColumns*len(c.blocks)
	return c
}

func (p *plotter) latency(plan, metric string, cells []*plotCell) LatencyPlot {
	out := LatencyPlot{Plan: plan, Metric: metric, Decade: heatDecade, Floor: math.MaxInt, Column: "block"}
	top := math.MinInt
	for _, c := range cells {
		if c.window {
			out.Column = "s"
		}
		for _, column := range c.columns {
			for row := range column.rows {
				out.Floor, top = min(out.Floor, row), max(top, row)
			}
		}
	}
	// What is further down than a picture has room for goes into its lowest row.
	out.Floor = max(out.Floor, top-heatRows+1)
	out.Rows = top - out.Floor + 1
	axis := newHeatAxis(cells, out.Column == "s")
	out.Step = axis.step
	for _, c := range cells {
		out.Curves = append(out.Curves, c.curve())
		out.Heat = append(out.Heat, axis.heat(c, out.Floor))
	}
	return out
}

// curve asks for quantiles in equal steps of nines, up to the last one that enough
// samples stand behind.
func (c *plotCell) curve() Curve {
	out := Curve{Arm: c.arm, N: c.total.N(), Mean: rounded(c.total.Mean().Seconds()), Max: rounded(c.total.Max().Seconds()), Blocks: len(c.blocks)}
	var qs []float64
	for i := 1; ; i++ {
		nines := nineStep * float64(i)
		q := 1 - math.Pow(10, -nines)
		if out.N < MinSamples(q) {
			break
		}
		out.Nines, qs = append(out.Nines, rounded(nines)), append(qs, q)
	}
	for _, v := range c.total.Quantiles(qs...) {
		out.Value = append(out.Value, rounded(v.Value.Seconds()))
	}
	if len(c.blocks) < MinBlocks(1, 1-bandLevel) {
		return out
	}
	// The band goes as far as every block can speak for itself.
	fewest := slices.MinFunc(c.blocks, func(a, b *Histogram) int { return cmp.Compare(a.N(), b.N()) }).N()
	known := 0
	for known < len(qs) && fewest >= MinSamples(qs[known]) {
		known++
	}
	if known == 0 {
		return out
	}
	out.Level = bandLevel
	perBlock := make([][]Quantile, len(c.blocks))
	for i, b := range c.blocks {
		perBlock[i] = b.Quantiles(qs[:known]...)
	}
	for i := range known {
		logs := make([]float64, len(perBlock))
		for b := range perBlock {
			logs[b] = math.Log(max(perBlock[b][i].Value.Seconds(), 1e-9))
		}
		e := SignedRank(logs, bandLevel)
		out.Lo, out.Hi = append(out.Lo, rounded(math.Exp(e.Lo))), append(out.Hi, rounded(math.Exp(e.Hi)))
	}
	return out
}

// heatAxis is what the columns of the heat maps of all arms stand for.
type heatAxis struct {
	step   float64     // width of a column in seconds, or in blocks
	blocks map[int]int // places of the blocks, where columns are blocks; nil where they are times
}

// newHeatAxis makes columns as wide as it takes for the arm with most to show.
func newHeatAxis(cells []*plotCell, times bool) heatAxis {
	if !times {
		numbers := make(map[int]int)
		for _, c := range cells {
			for _, iv := range c.columns {
				numbers[iv.block] = 0
			}
		}
		for i, n := range slices.Sorted(maps.Keys(numbers)) {
			numbers[n] = i
		}
		return heatAxis{math.Ceil(float64(len(numbers)) / heatColumns), numbers}
	}
	var lengths []float64
	longest := 0.0
	for _, c := range cells {
		_, total := c.spans()
		longest = max(longest, total)
		for _, iv := range c.columns {
			lengths = append(lengths, iv.length)
		}
	}
	// Whole intervals fall into a column, but for what a block ends with.
	usual := max(medianOf(lengths), 1e-3)
	return heatAxis{step: rounded(usual * max(1, math.Ceil(longest/usual/heatColumns)))}
}

// blockSpan is where a block lies on an axis of the time in which blocks ran.
type blockSpan struct{ at, from, to float64 }

// spans puts the blocks one after the other, in the order in which they ran, and
// returns the time in which they did.
func (c *plotCell) spans() (map[int]blockSpan, float64) {
	spans := make(map[int]blockSpan)
	for _, iv := range c.columns {
		s, known := spans[iv.block]
		if !known {
			s = blockSpan{from: iv.start, to: iv.start}
		}
		spans[iv.block] = blockSpan{from: min(s.from, iv.start), to: max(s.to, iv.start+iv.length)}
	}
	total := 0.0
	order := func(a, b int) int { return cmp.Or(cmp.Compare(spans[a].from, spans[b].from), cmp.Compare(a, b)) }
	for _, b := range slices.SortedFunc(maps.Keys(spans), order) {
		s := spans[b]
		s.at = total
		spans[b] = s
		total += s.to - s.from
	}
	return spans, total
}

// heat sorts what an arm recorded into the columns of the axis.
func (a heatAxis) heat(c *plotCell, floor int) Heat {
	out := Heat{Arm: c.arm}
	spans, _ := c.spans()
	columns := make(map[int]*heatColumn)
	for _, iv := range c.columns {
		at := float64(a.blocks[iv.block])
		if a.blocks == nil {
			s := spans[iv.block]
			at = s.at + iv.start - s.from + iv.length/2
		}
		i := min(int(at/a.step), heatColumns)
		if columns[i] == nil {
			columns[i] = &heatColumn{rows: make(map[int]int64)}
		}
		columns[i].add(iv)
	}
	if len(columns) == 0 {
		return out
	}
	for i := range slices.Max(slices.Collect(maps.Keys(columns))) + 1 {
		column := columns[i]
		if column == nil {
			column = new(heatColumn)
		}
		out.Max, out.N = append(out.Max, rounded(float64(column.max)*1e-9)), append(out.N, column.n)
		rows := make(map[int]int64)
		for row, n := range column.rows {
			rows[max(row-floor, 0)] += n
		}
		for _, row := range slices.Sorted(maps.Keys(rows)) {
			out.Cells = append(out.Cells, int64(i), int64(row), rows[row])
		}
	}
	if a.blocks == nil {
		for _, s := range spans {
			out.Blocks = append(out.Blocks, math.Round(s.at*1e3)/1e3)
		}
		slices.Sort(out.Blocks)
	}
	return out
}

func (h *heatColumn) add(o heatColumn) {
	h.n, h.max = h.n+o.n, max(h.max, o.max)
	for row, n := range o.rows {
		h.rows[row] += n
	}
}

// rounded keeps four digits, one more than histograms have.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return r
}

func (p *plotter) timelines() {
	var metrics []string
	for _, r := range p.runs {
		for _, t := range r.Timelines {
			if !slices.Contains(metrics, t.Metric) {
				metrics = append(metrics, t.Metric)
			}
		}
	}
	for _, metric := range sortScalars(p.table, metrics, "") {
		for _, plan := range p.out.Plans {
			if t := p.timeline(plan, metric); len(t.Courses) > 0 {
				p.out.Timelines = append(p.out.Timelines, t)
				p.describe(metric)
			}
		}
	}
}

func (p *plotter) timeline(plan, metric string) TimelinePlot {
	out := TimelinePlot{Plan: plan, Metric: metric}
	points := make(map[int][]Point)
	theories := make(map[int][]Point)
	from, to, every := math.Inf(1), math.Inf(-1), math.Inf(1)
	for _, r := range p.runs {
		for _, t := range r.Timelines {
			if t.Plan != plan || t.Metric != metric || r.discarded[t.Key] || len(t.Points) == 0 {
				continue
			}
			arm, known := p.arms[[2]string{r.Manifest.ID, t.Variant}]
			if !known {
				continue
			}
			out.Since = t.Since
			first, last := t.Points[0][0], t.Points[len(t.Points)-1][0]
			from, to = min(from, first), max(to, last)
			if n := len(t.Points) - 1; n > 0 && last > first {
				every = min(every, (last-first)/float64(n))
			}
			points[arm] = append(points[arm], t.Points...)
			for _, th := range r.Theory {
				if th.Plan == plan && th.Variant == strings.TrimSuffix(t.Variant, AASuffix) {
					theories[arm] = th.Timelines[metric]
				}
			}
		}
	}
	if len(points) == 0 {
		return out
	}
	out.Step = (to - from) / courseSteps
	if !math.IsInf(every, 1) {
		out.Step = max(out.Step, every)
	}
	out.Step = cmp.Or(rounded(out.Step), 1e-3)
	for _, arm := range slices.Sorted(maps.Keys(points)) {
		c := Course{Arm: arm, N: len(points[arm]), Theory: roundedPoints(thin(theories[arm], courseSteps))}
		stretches := make(map[int][]float64)
		for _, pt := range points[arm] {
			i := int(math.Floor(pt[0] / out.Step))
			stretches[i] = append(stretches[i], pt[1])
		}
		for _, i := range slices.Sorted(maps.Keys(stretches)) {
			v := stretches[i]
			c.T = append(c.T, rounded((float64(i)+0.5)*out.Step))
			c.Lo, c.Mid, c.Hi = append(c.Lo, rounded(slices.Min(v))), append(c.Mid, rounded(medianOf(v))), append(c.Hi, rounded(slices.Max(v)))
		}
		out.Courses = append(out.Courses, c)
	}
	return out
}

func roundedPoints(points []Point) []Point {
	out := make([]Point, len(points))
	for i, pt := range points {
		out[i] = Point{rounded(pt[0]), rounded(pt[1])}
	}
	return out
}

// ratios takes the verdicts of the comparison.
func (p *plotter) ratios() {
	c := p.doc.Comparison
	if c == nil {
		return
	}
	for _, v := range c.Verdicts {
		s := parseScalar(p.table, v.Metric)
		if !v.Primary && !(&textReport{table: p.table}).shown(s) || v.Exact && v.Ratio == 1 {
			continue
		}
		row := RatioRow{
			Baseline: v.Baseline, Variant: v.Variant, Ratio: roundedRatio(v.Ratio), Lo: roundedRatio(v.Lo), Hi: roundedRatio(v.Hi),
			Level: v.Level, Decision: v.Decision, Text: v.String(),
		}
		if math.IsNaN(float64(v.Ratio)) || math.IsInf(float64(v.Ratio), 0) || v.Ratio <= 0 {
			continue // The table tells why.
		}
		for _, r := range evenly(v.ratios, ratioDots) {
			row.Blocks = append(row.Blocks, rounded(r))
		}
		i := slices.IndexFunc(p.out.Ratios, func(r RatioPlot) bool { return r.Group == v.Group && r.Metric == v.Metric })
		if i < 0 {
			i = len(p.out.Ratios)
			p.out.Ratios = append(p.out.Ratios, RatioPlot{Group: v.Group, Metric: v.Metric, Label: v.Label, Primary: v.Primary})
		}
		p.out.Ratios[i].Rows = append(p.out.Ratios[i].Rows, row)
	}
}

// evenly keeps n of more values: from the smallest to the largest, in equal steps of
// their number.
func evenly(v []float64, n int) []float64 {
	if len(v) <= n {
		return v
	}
	sorted := slices.Sorted(slices.Values(v))
	out := make([]float64, n)
	for i := range out {
		out[i] = sorted[i*(len(sorted)-1)/(n-1)]
	}
	return out
}

func roundedRatio(r Ratio) Ratio { return Ratio(rounded(float64(r))) }

// resources takes the series of every run.
func (p *plotter) resources() {
	metrics := p.metrics()
	for _, r := range p.runs {
		out := ResourcePlot{Run: r.Manifest.ID, T: []float64{}}
		series := sampledSeconds(r.Series)
		join := max(1, (len(series)+seriesSteps-1)/seriesSteps)
		for chunk := range slices.Chunk(series, join) {
			out.T = append(out.T, math.Round(chunk[len(chunk)-1].Elapsed*1e3)/1e3)
		}
		names := make(map[string]bool)
		for _, s := range series {
			for name := range s.Figures {
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			f, role, _, ok := FindSeries(name)
			switch {
			case !ok:
			case f.Name == SeriesCPU:
				if line := cpuLine(series, name, join); hasValue(line) {
					out.CPU = append(out.CPU, ResourceLine{role, line})
				}
			case f.Name == SeriesRSS:
				out.RSS = append(out.RSS, ResourceLine{role, levelLine(series, name, join)})
			case f.Name == SeriesFDs:
				out.FDs = append(out.FDs, ResourceLine{role, levelLine(series, name, join)})
			}
		}
		for _, metric := range metrics {
			if out.Response = p.responses(r, metric); len(out.Response) > 0 {
				out.Metric = metric
				break
			}
		}
		if len(out.T) > 1 || len(out.Response) > 0 {
			p.out.Resources = append(p.out.Resources, out)
		}
	}
}

func hasValue(line []*float64) bool {
	return slices.ContainsFunc(line, func(v *float64) bool { return v != nil })
}

// cpuLine makes cores of seconds of CPU time: the mean of each stretch, which is what
// the counter grew by since the one before; where it went back its process had been
// replaced.
func cpuLine(series []Second, name string, join int) []*float64 {
	var out []*float64
	var before *Second
	for chunk := range slices.Chunk(series, join) {
		var grown, length float64
		for i := range chunk {
			s := &chunk[i]
			v, ok := s.Figures[name]
			if !ok {
				before = nil
				continue
			}
			if before != nil && s.Elapsed > before.Elapsed && v >= before.Figures[name] {
				grown += v - before.Figures[name]
				length += s.Elapsed - before.Elapsed
			}
			before = s
		}
		var mean *float64
		if length > 0 {
			mean = new(rounded(grown / length))
		}
		out = append(out, mean)
	}
	return out
}

// levelLine keeps the largest figure of each stretch.
func levelLine(series []Second, name string, join int) []*float64 {
	var out []*float64
	for chunk := range slices.Chunk(series, join) {
		var most *float64
		for _, s := range chunk {
			if v, ok := s.Figures[name]; ok && (most == nil || v > *most) {
				most = &v
			}
		}
		out = append(out, most)
	}
	return out
}

// responses are the intervals of a metric in all plans, those of equal arms joined
// where there are too many.
func (p *plotter) responses(r *Run, metric string) []ResponsePoint {
	started := epoch(r.Manifest.Started)
	intervals := 0
	for i := range r.intervals {
		if r.intervals[i].metric == metric && !r.discarded[r.intervals[i].key] {
			intervals++
		}
	}
	join := max(1, (intervals+seriesSteps-1)/seriesSteps)
	var out []ResponsePoint
	sums := make(map[int]*Histogram)
	joined := make(map[int]int)
	last := make(map[int]float64)
	var d decoder
	emit := func(arm int) {
		h := sums[arm]
		pt := ResponsePoint{Arm: arm, T: math.Round((last[arm]-started)*1e3) / 1e3, N: h.N(), Max: rounded(h.Max().Seconds())}
		// The median of an interval tells where it lay, not how sure it is.
		pt.P50 = rounded(min(float64(h.hdr.ValueAtPercentile(50))*1e-9, h.Max().Seconds()))
		out = append(out, pt)
		sums[arm] = NewHistogram()
		joined[arm] = 0
	}
	for i := range r.intervals {
		iv := &r.intervals[i]
		arm, known := p.arms[[2]string{r.Manifest.ID, iv.key.Variant}]
		if iv.metric != metric || r.discarded[iv.key] || !known {
			continue
		}
		if sums[arm] == nil {
			sums[arm] = NewHistogram()
		}
		d.mustAdd(cmp.Or(iv.response, iv.service), sums[arm])
		last[arm] = iv.start + iv.length
		if joined[arm]++; joined[arm] >= join {
			emit(arm)
		}
	}
	for _, arm := range slices.Sorted(maps.Keys(sums)) {
		if sums[arm].N() > 0 {
			emit(arm)
		}
	}
	slices.SortStableFunc(out, func(a, b ResponsePoint) int { return cmp.Compare(a.T, b.T) })
	return out
}

// loads sets plans that differ in a rate against one another.
func (p *plotter) loads() {
	for _, r := range p.doc.Runs {
		for _, s := range r.Searches {
			p.searched(r.ID, s)
		}
		for _, plan := range r.Plans {
			name, rate, ok := rateOf(plan.Dimensions)
			if !ok || len(r.Searches) > 0 {
				continue
			}
			rest := maps.Clone(plan.Dimensions)
			delete(rest, name)
			group := dimensionLabel(rest)
			for _, v := range plan.Variants {
				arm, known := p.arms[[2]string{r.ID, v.Name}]
				if !known {
					continue
				}
				for _, l := range v.Latencies {
					m := parseScalar(p.table, l.Metric).metric
					if l.Clock == Response && (len(m.Columns) > 0 || m.Doc == "") {
						p.load(LoadPlot{Group: group, Metric: l.Metric, Over: name, Unit: "/s"}, loadPoint(arm, rate, l))
					}
				}
			}
		}
	}
	// One rate makes no curve.
	p.out.Load = slices.DeleteFunc(p.out.Load, func(l LoadPlot) bool {
		return !slices.ContainsFunc(l.Points, func(pt LoadPoint) bool { return pt.Rate != l.Points[0].Rate })
	})
	order := p.metrics()
	slices.SortStableFunc(p.out.Load, func(a, b LoadPlot) int {
		return cmp.Compare(slices.Index(order, a.Metric), slices.Index(order, b.Metric))
	})
}

// searched draws every level that a search tried, those that it judged invalid left out.
func (p *plotter) searched(run string, s SearchReport) {
	if s.Metric == "" {
		return
	}
	key := [2]string{run, s.Variant}
	arm, known := p.arms[key]
	if !known { // of an invalid run, whose valid levels hold
		arm = len(p.out.Arms)
		p.arms[key] = arm
		p.out.Arms = append(p.out.Arms, PlotArm{Run: run, Variant: s.Variant, Label: s.Variant})
	}
	plot := LoadPlot{Group: s.Name, Metric: s.Metric, Over: s.Over, Unit: s.Unit}
	if s.Median > 0 {
		plot.Found = &LoadFound{Median: s.Median, Lowest: s.Lowest, Most: s.Highest, Fails: s.Fails}
	}
	for _, l := range s.Levels {
		if l.Response == nil || l.Judgement == string(Invalid) {
			continue
		}
		pt := loadPoint(arm, l.Level, *l.Response)
		pt.Judgement = l.Judgement
		p.load(plot, pt)
	}
	for _, text := range s.SLO {
		p.limit(text)
	}
}

func (p *plotter) load(plot LoadPlot, pt LoadPoint) {
	i := slices.IndexFunc(p.out.Load, func(l LoadPlot) bool { return l.Group == plot.Group && l.Metric == plot.Metric })
	if i < 0 {
		i = len(p.out.Load)
		p.out.Load = append(p.out.Load, plot)
		p.describe(plot.Metric)
	}
	l := &p.out.Load[i]
	l.Points = append(l.Points, pt)
	slices.SortStableFunc(l.Points, func(a, b LoadPoint) int { return cmp.Or(cmp.Compare(a.Arm, b.Arm), cmp.Compare(a.Rate, b.Rate)) })
}

func loadPoint(arm int, rate float64, l Latency) LoadPoint {
	pt := LoadPoint{Arm: arm, Rate: rate, N: l.N, Max: rounded(l.Max)}
	for _, q := range l.Quantiles {
		if q.Value == nil {
			continue
		}
		v := rounded(*q.Value)
		switch q.Q {
		case 0.5:
			pt.P50 = &v
		case 0.99:
			pt.P99 = &v
		}
	}
	return pt
}

// rateOf finds the dimension that is a rate.
func rateOf(dimensions map[string]string) (name string, rate float64, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(dimensions)) {
		var e Expr
		if err := e.parseValue(dimensions[name]); err == nil && e.Unit == "/s" {
			return name, e.Value, true
		}
	}
	return "", 0, false
}

// A meshCell is what a variant showed in a plan that says how many domains there are.
type meshCell struct {
	plan    string
	arm     int
	domains []int // of each provider
	shared  bool
	values  []Value
}

// meshCells looks for runs of federations.
func (p *plotter) meshCells() []meshCell {
	var out []meshCell
	for _, r := range p.runs {
		i := slices.IndexFunc(p.doc.Runs, func(rr RunReport) bool { return rr.ID == r.Manifest.ID })
		if i < 0 {
			continue
		}
		for _, plan := range p.doc.Runs[i].Plans {
			m, ok := findMesh(r.Manifest, plan.Name)
			if !ok {
				continue
			}
			for _, v := range plan.Variants {
				c := meshCell{plan: plan.Name, arm: p.arms[[2]string{r.Manifest.ID, v.Name}], domains: m.domains, values: v.Values}
				c.shared = c.sharesStreams(m.layouts[strings.TrimSuffix(v.Name, AASuffix)])
				out = append(out, c)
			}
		}
	}
	return out
}

// pairs is how many pairs of domains talked, or all pairs of different providers where
// that was not counted.
func (c meshCell) pairs() float64 {
	if v, ok := findValue(c.values, "pairs"); ok {
		return v.Median
	}
	all, before := 0, 0
	for _, n := range c.domains {
		all += n * before
		before += n
	}
	return float64(all)
}

// sharesStreams reports whether connections are those of providers. Runs that do not
// say the layout of their streams are told by the number.
func (c meshCell) sharesStreams(layout string) bool {
	if layout == "" {
		v, ok := findValue(c.values, "connections")
		return ok && v.Median < c.pairs()
	}
	return strings.HasPrefix(layout, "each-provider")
}

func (p *plotter) meshes() {
	for _, c := range p.meshCells() {
		if v, ok := findValue(c.values, "connections"); ok {
			p.out.Meshes = append(p.out.Meshes, MeshPlot{
				Plan: c.plan, Arm: c.arm, Domains: c.domains, Pairs: c.pairs(), Connections: v.Median, Shared: c.shared,
			})
		}
	}
}

// Most providers, and domains of each, that are believed to have been there.
const (
	meshProviders = 100
	meshDomains   = 1_000_000
)

// mesh is what the scenario in a manifest says of the providers of a plan.
type mesh struct {
	domains []int             // of each provider
	layouts map[string]string // of streams, by arm; runs may not say them
}

// findMesh reads the scenario of a plan: domains as in "20x30", of the first provider and
// of each further one, and how many providers there are.
func findMesh(m Manifest, plan string) (mesh, bool) {
	config, _ := m.Config.(map[string]any)
	plans, _ := config["plans"].([]any)
	for _, entry := range plans {
		p, _ := entry.(map[string]any)
		label, _ := p["label"].(string)
		// The only plan may have the names of targets alone.
		if label != plan && !strings.HasPrefix(plan, label+",target=") && len(plans) > 1 {
			continue
		}
		f, _ := p["federation"].(map[string]any)
		text, _ := f["domains"].(string)
		left, right, found := strings.Cut(text, "x")
		a, errA := strconv.Atoi(left)
		b, errB := strconv.Atoi(right)
		providers, isNumber := f["providers"].(float64)
		if !isNumber {
			providers = 2
		}
		if !found || errA != nil || errB != nil || min(a, b) < 1 || max(a, b) > meshDomains || providers < 2 || providers > meshProviders {
			return mesh{}, false
		}
		out := mesh{domains: append([]int{a}, slices.Repeat([]int{b}, int(providers)-1)...), layouts: make(map[string]string)}
		arms, _ := p["arms"].([]any)
		for _, entry := range arms {
			arm, _ := entry.(map[string]any)
			name, _ := arm["label"].(string)
			out.layouts[name], _ = arm["layout"].(string)
		}
		return out, true
	}
	return mesh{}, false
}

// costMetrics are the figures of a federation that grow with its size.
func costMetrics() []string {
	return []string{"cpu.mesh", "connections", "bytes.mesh", "rss.a", "mesh.mean"}
}

func (p *plotter) costs() {
	if p.doc.Model != nil {
		p.modelled(p.doc.Model)
	}
	known := len(p.out.Costs) // a figure that the model shows is not shown again
	cells := p.meshCells()
	for _, metric := range costMetrics() {
		if slices.ContainsFunc(p.out.Costs[:known], func(c CostPlot) bool { return c.Metric == metric }) {
			continue
		}
		out := CostPlot{Metric: metric, Unit: parseScalar(p.table, metric).unit(), Over: "pairs"}
		for _, c := range cells {
			if v, ok := findValue(c.values, metric); ok && v.Median > 0 && c.pairs() > 0 {
				out.Points = append(out.Points, CostPoint{
					Arm: c.arm, Plan: c.plan, Size: c.pairs(), Value: rounded(v.Median), Lo: rounded(v.Min), Hi: rounded(v.Max),
				})
			}
		}
		if len(out.Points) > 0 {
			slices.SortStableFunc(out.Points, func(a, b CostPoint) int {
				return cmp.Or(cmp.Compare(a.Arm, b.Arm), cmp.Compare(a.Size, b.Size))
			})
			p.out.Costs = append(p.out.Costs, out)
			p.describe(metric)
		}
	}
}

// limits are the thresholds that are times.
func (p *plotter) limits() {
	for _, r := range p.runs {
		for _, text := range r.Manifest.Thresholds {
			p.limit(text)
		}
	}
}

func (p *plotter) limit(text string) {
	e, err := Parse(text)
	if err != nil || e.Unit != "s" || e.Metric == "" {
		return
	}
	l := PlotLimit{Metric: e.Metric, Text: e.String(), Value: e.Value}
	if !slices.Contains(p.out.Limits, l) {
		p.out.Limits = append(p.out.Limits, l)
	}
}
