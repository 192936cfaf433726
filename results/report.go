package results

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// DocumentSchema is the version of the JSON report.
const DocumentSchema = "xmppbench.report/1"

// Document is everything that a report says: the JSON report, summary.json of a
// run directory, and the source of all other forms.
type Document struct {
	Schema     string      `json:"schema"`
	Runs       []RunReport `json:"runs"`
	Comparison *Comparison `json:"comparison,omitempty"` // of several runs; of one run's variants otherwise
	Refused    string      `json:"refused,omitempty"`    // why there is no comparison
	// Model is what a model says of the runs, where one was given.
	Model *ModelReport `json:"model,omitempty"`
}

// RunReport is one run of a [Document]. If Invalid is not empty it holds no
// figures.
type RunReport struct {
	ID         string       `json:"id"`
	Scenario   string       `json:"scenario"`
	Started    time.Time    `json:"started"`
	Status     Status       `json:"status"`
	Reasons    []string     `json:"reasons,omitempty"`
	Invalid    []string     `json:"invalid,omitempty"`
	Warnings   []string     `json:"warnings,omitempty"`
	Blocks     int          `json:"blocks"`
	Primary    string       `json:"primary,omitempty"`
	Sheet      *Sheet       `json:"sheet,omitempty"` // the page that the run was made for
	Plans      []PlanReport `json:"plans,omitempty"`
	Thresholds []Outcome    `json:"thresholds,omitempty"`
	Counts     []Count      `json:"counts,omitempty"`
	// Searches are there even if the run is invalid: their valid levels hold.
	Searches []SearchReport `json:"searches,omitempty"`
	How      []string       `json:"how"` // how it was measured, from the manifest
	Notes    []string       `json:"notes,omitempty"`
}

// PlanReport is one plan of a [RunReport].
type PlanReport struct {
	Name       string            `json:"name"`
	Dimensions map[string]string `json:"dimensions,omitempty"`
	Blocks     int               `json:"blocks,omitempty"` // planned, where they differ from those of the run
	Variants   []VariantReport   `json:"variants"`
}

// VariantReport is what one variant did in one plan.
type VariantReport struct {
	Name      string                      `json:"name"`
	Blocks    int                         `json:"blocks"` // valid ones
	Skipped   string                      `json:"skipped,omitempty"`
	Values    []Value                     `json:"values,omitempty"`
	Latencies []Latency                   `json:"latencies,omitempty"`
	Stages    []StageReport               `json:"stages,omitempty"` // of the plan's loads, where one has several
	Errors    map[string]map[string]int64 `json:"errors,omitempty"` // by metric and kind
}

// Value is one scalar over the valid blocks. Times are in seconds, sizes in
// bytes.
type Value struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit"`
	Median float64  `json:"median"` // of the blocks
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Blocks int      `json:"blocks"`
	Theory *float64 `json:"theory,omitempty"` // expected, where a model exists
	// Estimate is the centre of the blocks with its interval, as [SignedRank] gives it. It
	// is missing where the blocks are too few for the level: see [MinBlocks].
	Estimate *Estimate `json:"estimate,omitempty"`
}

// Latency is the distribution of one metric over all blocks, in seconds.
type Latency struct {
	Metric    string           `json:"metric"`
	Clock     Clock            `json:"clock"`
	N         int64            `json:"n"`
	Mean      float64          `json:"mean"`
	Max       float64          `json:"max"`
	Quantiles []QuantileReport `json:"quantiles"`
	Clamped   int64            `json:"clamped,omitempty"`

	bins bins // for the histograms of the text form
}

// QuantileReport is one quantile; Value is null where too few samples stand
// behind it.
type QuantileReport struct {
	Q     float64  `json:"q"`
	Value *float64 `json:"value"`
}

// reportQuantiles are the quantiles that reports ask for.
func reportQuantiles() []float64 { return []float64{0.5, 0.9, 0.99, 0.999, 0.9999} }

// Summarize makes a document of runs. With several it compares them as o says;
// a comparison that is refused leaves its reason in Document.Refused.
func Summarize(runs []*Run, o CompareOptions) *Document {
	if o.Metrics == nil {
		o.Metrics = Metrics()
	}
	d := &Document{Schema: DocumentSchema, Runs: make([]RunReport, 0, len(runs))}
	for _, r := range runs {
		d.Runs = append(d.Runs, summarizeRun(r, o.Metrics))
	}
	if !canCompare(runs, o) {
		return d
	}
	c, err := Compare(runs, o)
	if err != nil {
		d.Refused = strings.TrimPrefix(err.Error(), "results: ")
	} else {
		d.Comparison = c
	}
	return d
}

// canCompare reports whether there is anything to set side by side: a run of
// one variant has nothing.
func canCompare(runs []*Run, o CompareOptions) bool {
	if len(runs) == 1 && runs[0].Sheet != nil {
		return false // its parts measure different things
	}
	if len(runs) != 1 || o.By != "" || len(o.Gates) > 0 {
		return len(runs) > 0
	}
	variants := make(map[string]bool)
	for _, b := range runs[0].Blocks {
		if b.Skipped == "" && b.Valid {
			variants[b.Variant] = true
		}
	}
	return len(variants) > 1
}

func summarizeRun(r *Run, table []Metric) RunReport {
	m := r.Manifest
	out := RunReport{
		ID: m.ID, Scenario: m.Scenario, Started: m.Started, Status: r.Done.Status, Reasons: r.Done.Reasons,
		Blocks: m.Blocks, Primary: m.Primary, Counts: r.Counts, How: m.how(), Notes: m.Notes,
	}
	for _, f := range r.Flags {
		if f.Severity != Invalid {
			out.Warnings = append(out.Warnings, f.Text)
		}
	}
	if r.Partial {
		out.Warnings = append(out.Warnings, "the run did not end; these are the figures written before")
	}
	if text := r.change(); text != "" {
		out.Warnings = append(out.Warnings, text)
	}
	out.Searches = r.searches()
	out.Sheet = r.Sheet.withSearches(out.Searches) // its rows say themselves what is missing
	if bad, why := r.Invalid(); bad {
		out.Invalid = orNone(why)
		return out
	}
	for _, plan := range planOrder(r) {
		p := PlanReport{Name: plan.Name, Dimensions: plan.Dimensions, Blocks: plan.Blocks}
		for _, variant := range variantOrder(r, plan.Name) {
			p.Variants = append(p.Variants, summarizeVariant(r, table, plan.Name, variant))
		}
		out.Plans = append(out.Plans, p)
	}
	for _, text := range m.Thresholds {
		if e, err := Parse(text); err == nil {
			out.Thresholds = append(out.Thresholds, r.Thresholds(table, e)...)
		} else {
			out.Warnings = append(out.Warnings, strings.TrimPrefix(err.Error(), "results: "))
		}
	}
	return out
}

// planOrder is the manifest's order, followed by plans that it does not name.
func planOrder(r *Run) []Plan {
	plans := slices.Clone(r.Manifest.Plans)
	for _, k := range r.Keys() {
		if !slices.ContainsFunc(plans, func(p Plan) bool { return p.Name == k.Plan }) {
			plans = append(plans, Plan{Name: k.Plan})
		}
	}
	return plans
}

func variantOrder(r *Run, plan string) []string {
	var seen []string
	for _, k := range r.Keys() {
		if k.Plan == plan && !slices.Contains(seen, k.Variant) {
			seen = append(seen, k.Variant)
		}
	}
	var out []string
	for _, v := range r.Manifest.Variants {
		if slices.Contains(seen, v) {
			out = append(out, v)
		}
	}
	for _, v := range seen {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func summarizeVariant(r *Run, table []Metric, plan, variant string) VariantReport {
	f := Filter{Plan: plan, Variant: variant}
	out := VariantReport{Name: variant}
	values, alpha := make(map[string][]float64), cmp.Or(r.Manifest.Alpha, 0.05)
	for _, b := range r.Blocks {
		switch {
		case !f.match(b.Key):
		case b.Skipped != "":
			out.Skipped = b.Skipped
		case b.Valid:
			out.Blocks++
			for name, v := range b.Scalars {
				values[name] = append(values[name], v)
			}
		}
	}
	if out.Blocks > 0 {
		out.Skipped = ""
	}
	for _, name := range sortScalars(table, slices.Collect(maps.Keys(values)), "") {
		v := values[name]
		s := parseScalar(table, name)
		value := Value{Name: name, Unit: s.unit(), Median: medianOf(v), Min: slices.Min(v), Max: slices.Max(v), Blocks: len(v)}
		if len(v) >= MinBlocks(1, alpha) {
			if e := SignedRank(v, 1-alpha); !math.IsInf(e.Hi, 1) {
				value.Estimate = &e
			}
		}
		for _, t := range r.Theory {
			if expected, ok := t.Scalars[name]; ok && t.Plan == plan && t.Variant == strings.TrimSuffix(variant, AASuffix) {
				value.Theory = &expected
			}
		}
		out.Values = append(out.Values, value)
	}
	for _, metric := range r.TimedMetrics() {
		t := r.Timings(metric, f)
		for _, c := range Clocks() {
			if h := t.Of(c); h.N() > 0 && (c == Response || t.Response != nil) {
				out.Latencies = append(out.Latencies, latency(metric, c, h, t.Clamped))
			}
		}
	}
	out.Stages = r.stages(plan, variant)
	if e := r.Errors(f); len(e) > 0 {
		out.Errors = e
	}
	return out
}

func latency(metric string, c Clock, h *Histogram, clamped int64) Latency {
	l := Latency{Metric: metric, Clock: c, N: h.N(), Mean: h.Mean().Seconds(), Max: h.Max().Seconds(), Clamped: clamped}
	if c == Response {
		l.bins = binsOf(h)
	}
	for _, v := range h.Quantiles(reportQuantiles()...) {
		qr := QuantileReport{Q: v.Q}
		if v.OK {
			s := v.Value.Seconds()
			qr.Value = &s
		}
		l.Quantiles = append(l.Quantiles, qr)
	}
	return l
}

// how tells how the run was measured.
func (m Manifest) how() []string {
	e := m.Environment
	out := []string{fmt.Sprintf("%s, %d CPUs, %s, %s/%s %s, %s, GOMAXPROCS %d, GOGC %d",
		orUnknown(e.CPU), e.CPUs, formatBytes(float64(e.Memory)), e.OS, e.Arch, orUnknown(e.Kernel), e.Go, e.GOMAXPROCS, e.GOGC)}
	if t := targets(m, m); t != "" {
		out = append(out, "target "+t)
	}
	if len(m.Link) > 0 {
		out = append(out, "link "+dimensionLabel(m.Link))
	}
	if len(m.Seeds) > 0 {
		out = append(out, "seeds "+seedsText(m.Seeds))
	}
	if l := m.limits(); len(l) > 0 {
		out = append(out, "limits of the self-check changed: "+strings.Join(l, "; "))
	}
	if cc := e.Sysctl["net.ipv4.tcp_congestion_control"]; cc != "" {
		out = append(out, "congestion control "+cc)
	}
	return out
}

// limits tells the limits of the self-check that are not the usual ones, of the run and
// of plans that have others.
func (m Manifest) limits() []string {
	var out []string
	if c := m.Limits.changed(); c != "" && m.Limits != (Limits{}) {
		out = append(out, c)
	}
	for _, p := range m.Plans {
		if p.Limits != nil {
			out = append(out, "in plan "+p.Name+" "+cmp.Or(p.Limits.changed(), "the usual limits"))
		}
	}
	return out
}

func seedsText(seeds map[string]uint64) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(seeds)) {
		out = append(out, fmt.Sprintf("%s=%d", k, seeds[k]))
	}
	return strings.Join(out, " ")
}

// writeSummary derives summary.json from the other files.
func writeSummary(dir string, done Done, table []Metric) error {
	r, err := Open(dir)
	if err != nil {
		return err
	}
	r.Done, r.Partial = done, done.Status == StatusPartial
	return writeJSON(dir, fileSummary, Summarize([]*Run{r}, CompareOptions{Metrics: table}))
}

// Rebuild derives summary.json anew from the other files of a run directory,
// and renews its checksum if the run has ended. It refuses a run whose other
// files were changed since.
func Rebuild(dir string, table []Metric) error {
	r, err := Open(dir)
	if err != nil {
		return err
	}
	kept := maps.Clone(r.Done.SHA256)
	delete(r.Done.SHA256, fileSummary)
	if err := r.Verify(); err != nil {
		return err
	}
	if err := writeSummary(dir, r.Done, table); err != nil {
		return err
	}
	if r.Partial {
		return nil
	}
	if kept[fileSummary], err = checksumFile(dir, fileSummary); err != nil {
		return fmt.Errorf("results: rebuild: %w", err)
	}
	r.Done.SHA256 = kept
	return writeJSON(dir, fileDone, r.Done)
}

// ReportOptions say what a report holds beside the figures of the runs.
type ReportOptions struct {
	Compare CompareOptions
	Width   int          // columns of the text form; 0 means 100
	Color   bool         // verdicts and flags of the text form in colours of a terminal
	Model   *ModelReport // what a model says of the runs; nil for none
}

// summarize makes the document of a report.
func (o ReportOptions) summarize(runs []*Run) *Document {
	d := Summarize(runs, o.Compare)
	d.Model = o.Model
	return d
}

// Formats returns the names of the forms that [Report] writes.
func Formats() []string { return []string{"text", "html", "md", "json", "csv", "hlog", "bench"} }

// Report writes runs in one of the [Formats]: tables for a terminal, one HTML file
// with pictures that fetches nothing, the tables in Markdown, the [Document], its
// figures as comma-separated values, one HdrHistogram interval log of all runs, or
// lines in the format of Go's benchmarks.
func Report(w io.Writer, runs []*Run, format string, o ReportOptions) error {
	if o.Compare.Metrics == nil {
		o.Compare.Metrics = Metrics()
	}
	var err error
	switch format {
	case "text", "md":
		t := newTextReport(o.Compare.Metrics, o.Width)
		t.markdown, t.color = format == "md", o.Color && format == "text"
		_, err = w.Write(t.render(o.summarize(runs)))
	case "html":
		err = writeHTML(w, runs, o.summarize(runs), o.Compare)
	case "json":
		err = encodeJSON(w, o.summarize(runs), "  ")
	case "csv":
		err = writeCSV(w, o.summarize(runs), runs)
	case "hlog":
		err = writeLog(w, runs)
	case "bench":
		err = writeBench(w, runs, o.Compare.Metrics)
	default:
		return fmt.Errorf("results: report: unknown format %q: want %s", format, strings.Join(Formats(), ", "))
	}
	if err != nil {
		return fmt.Errorf("results: report as %s: %w", format, err)
	}
	return nil
}
