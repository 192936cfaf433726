package results

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Aggregation is what an expression makes of the samples of a metric.
type Aggregation string

// The aggregations. For a timed metric they speak of the response clock.
const (
	AggQuantile Aggregation = "p"      // p(99): the quantile, refused with too few samples
	AggMean     Aggregation = "mean"   // also written avg
	AggMax      Aggregation = "max"    //
	AggMin      Aggregation = "min"    //
	AggMedian   Aggregation = "med"    // p(50)
	AggCount    Aggregation = "count"  // samples that succeeded, or the sum of a counter
	AggRate     Aggregation = "rate"   // count per second of the time in which the metric's plan and variant ran
	AggErrors   Aggregation = "errors" // share of the samples that failed, 0 to 1
)

// Expr is a condition on a metric: a threshold ("ready p(99)<2s") or a gate on
// the ratio to the baseline ("probe mean<=1.10"). It is made by [Parse] and
// comparable with ==.
type Expr struct {
	Metric string // empty where the place of the expression implies one
	Agg    Aggregation
	Q      float64 // of AggQuantile and AggMedian, 0 < Q < 1
	Op     string  // "<", "<=", ">", ">=", "==" or "!="
	Value  float64 // in seconds, bytes, per second, or plain
	Unit   string  // "s", "B", "%", "/s", "B/s", or "" for a plain number

	// Abort says of a threshold that the run ends as soon as it is broken, but not
	// before Delay has passed since the first sample.
	Abort bool
	Delay time.Duration

	// Slack is a difference to the baseline, in the unit of the metric, up to which a
	// gate is met whatever the ratio is: what is small does no harm. 0: none.
	Slack float64

	slackUnit, slackText string

	percent string // the percentile as written
	literal string // the value as written
}

// maxExpr bounds the text of an expression.
const maxExpr = 256

// Parse reads an expression:
//
//	[metric] aggregation operator value [or +value] [abort [after duration]]
//
// An aggregation is p(N), mean (or avg), max, min, med, count, rate or errors;
// an operator <, <=, >, >=, == or != (k6's === and !== are read too); a value a
// decimal number with one of the units ns, us, ms, s, m, h, B, kB, MB, GB, KiB,
// MiB, GiB, %, k and M, and /s where it is a rate. Spaces are free. A threshold
// that ends the run when it is broken says abort, and how long not to, as in
// "ready p(99)<2s abort after 10s". A gate that is met as well by a small difference
// says so as in "probe mean<=1.10 or +5ms".
func Parse(s string) (Expr, error) {
	e, err := parseExpr(s)
	if err != nil {
		return Expr{}, fmt.Errorf("results: expression %q: %w", cut(s, maxExpr), err)
	}
	return e, nil
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

func parseExpr(s string) (Expr, error) {
	if len(s) > maxExpr {
		return Expr{}, fmt.Errorf("longer than %d bytes", maxExpr)
	}
	at := strings.IndexAny(s, "<>=!")
	if at < 0 {
		return Expr{}, errors.New(`no comparison: want something like "p(99)<2s"`)
	}
	end := at
	for end < len(s) && strings.IndexByte("<>=!", s[end]) >= 0 {
		end++
	}
	var e Expr
	switch op := s[at:end]; op {
	case "<", "<=", ">", ">=", "==", "!=":
		e.Op = op
	case "===", "!==":
		e.Op = op[:2]
	default:
		return Expr{}, fmt.Errorf("unknown operator %q: want <, <=, >, >=, == or !=", op)
	}
	left := strings.Fields(s[:at])
	switch len(left) {
	case 1:
	case 2:
		e.Metric = left[0]
		if err := checkMetricName(e.Metric); err != nil {
			return Expr{}, err
		}
	default:
		return Expr{}, errors.New("want an optional metric and one aggregation before the operator")
	}
	if err := e.parseAggregation(left[len(left)-1]); err != nil {
		return Expr{}, err
	}
	value, abort, aborts := strings.Cut(s[end:], " abort")
	value, slack, slackens := strings.Cut(value, " or ")
	if slackens {
		if err := e.parseSlack(strings.TrimSpace(slack)); err != nil {
			return Expr{}, err
		}
	}
	if err := e.parseValue(strings.TrimSpace(value)); err != nil {
		return Expr{}, err
	}
	if aborts {
		e.Abort = true
		if err := e.parseDelay(strings.Fields(abort)); err != nil {
			return Expr{}, err
		}
	}
	return e, nil
}

// parseSlack reads what follows "or".
func (e *Expr) parseSlack(s string) error {
	number, ok := strings.CutPrefix(s, "+")
	var v Expr
	if err := v.parseValue(strings.TrimSpace(number)); !ok || err != nil || !(v.Value > 0) || v.Unit == "%" || strings.HasSuffix(v.Unit, "/s") {
		return fmt.Errorf("%q after or: want a difference such as +5ms", s)
	}
	e.Slack, e.slackUnit, e.slackText = v.Value, v.Unit, v.literal
	return nil
}

// parseDelay reads what follows "abort".
func (e *Expr) parseDelay(words []string) (err error) {
	if len(words) == 0 {
		return nil
	}
	if len(words) == 2 && words[0] == "after" {
		if e.Delay, err = time.ParseDuration(words[1]); err == nil && e.Delay >= 0 {
			return nil
		}
	}
	return fmt.Errorf("%q after abort: want nothing, or a time such as after 10s", strings.Join(words, " "))
}

func checkMetricName(name string) error {
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if digit := r >= '0' && r <= '9'; !letter && !digit && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("metric %q holds %q: names are made of letters, digits, dots, dashes and underscores", name, r)
		}
	}
	return nil
}

func (e *Expr) parseAggregation(s string) error {
	if inner, ok := strings.CutPrefix(s, "p("); ok {
		num, ok := strings.CutSuffix(inner, ")")
		p, rest, err := decimal(num)
		if !ok || err != nil || rest != "" || !(p > 0 && p < 100) {
			return fmt.Errorf("percentile %q: want p(N) with N between 0 and 100, such as p(99.9)", s)
		}
		e.Agg, e.Q, e.percent = AggQuantile, p/100, num
		return nil
	}
	switch a := Aggregation(s); a {
	case "avg":
		e.Agg = AggMean
	case AggMedian:
		e.Agg, e.Q = a, 0.5
	case AggMean, AggMax, AggMin, AggCount, AggRate, AggErrors:
		e.Agg = a
	default:
		return fmt.Errorf("unknown aggregation %q: want p(N), mean, max, min, med, count, rate or errors", s)
	}
	return nil
}

// decimal reads the number at the beginning of s: digits and at most one point,
// no exponent, so that what follows is a unit without doubt.
func decimal(s string) (v float64, rest string, err error) {
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	v, err = strconv.ParseFloat(s[:end], 64)
	if err != nil || math.IsInf(v, 0) {
		return 0, s, fmt.Errorf("%q does not begin with a decimal number", s)
	}
	return v, s[end:], nil
}

func (e *Expr) parseValue(s string) error {
	v, unit, err := decimal(s)
	if err != nil {
		return fmt.Errorf("value %w", err)
	}
	unit = strings.TrimSpace(unit)
	base, perSecond := strings.CutSuffix(unit, "/s")
	base = strings.TrimSpace(base)
	for _, u := range []struct {
		name string
		kind string
		by   float64
	}{
		{"", "", 1}, {"k", "", 1e3}, {"M", "", 1e6}, {"%", "%", 0.01},
		{"ns", "s", 1e-9}, {"us", "s", 1e-6}, {"µs", "s", 1e-6}, {"ms", "s", 1e-3}, {"s", "s", 1}, {"m", "s", 60}, {"h", "s", 3600},
		{"B", "B", 1}, {"kB", "B", 1e3}, {"MB", "B", 1e6}, {"GB", "B", 1e9},
		{"KiB", "B", 1 << 10}, {"MiB", "B", 1 << 20}, {"GiB", "B", 1 << 30},
	} {
		if u.name != base {
			continue
		}
		e.Value, e.Unit, e.literal = v*u.by, u.kind, s
		if perSecond {
			if u.kind == "s" || u.kind == "%" {
				return fmt.Errorf("value %q: a rate counts things or bytes per second", s)
			}
			e.Unit += "/s"
		}
		return nil
	}
	return fmt.Errorf("value %q: unknown unit %q", s, unit)
}

// Aggregated writes the aggregation as it stands in the expression, such as
// "p(99)".
func (e Expr) Aggregated() string {
	if e.Agg == AggQuantile {
		return "p(" + e.percent + ")"
	}
	return string(e.Agg)
}

// Format writes a figure that the expression speaks of, with its unit.
func (e Expr) Format(v float64) string {
	return e.format(v, parseScalar(Metrics(), e.Metric).metric.Unit)
}

// String writes the expression so that [Parse] reads it back.
func (e Expr) String() string {
	agg := e.Aggregated()
	if e.Metric != "" {
		agg = e.Metric + " " + agg
	}
	s := agg + e.Op + e.literal
	if e.Slack > 0 {
		s += " or +" + e.slackText
	}
	if e.Abort {
		s += " abort"
	}
	if e.Delay > 0 {
		s += " after " + e.Delay.String()
	}
	return s
}

// MinSamples is how many samples the expression needs before it can be judged:
// 1, or what a quantile needs. A caller refuses a run that cannot reach it.
func (e Expr) MinSamples() int64 {
	if e.Q > 0 {
		return MinSamples(e.Q)
	}
	return 1
}

// Holds compares v, in the unit of Value.
func (e Expr) Holds(v float64) bool {
	switch e.Op {
	case "<":
		return v < e.Value
	case "<=":
		return v <= e.Value
	case ">":
		return v > e.Value
	case ">=":
		return v >= e.Value
	case "==":
		return v == e.Value
	case "!=":
		return v != e.Value
	}
	return false
}

// CheckThreshold reports, before a run, what is wrong with e as a threshold: a
// metric that the table lacks, or a unit that does not fit.
func (e Expr) CheckThreshold(table []Metric) error {
	i := slices.IndexFunc(table, func(m Metric) bool { return m.Name == e.Metric })
	if i < 0 {
		return fmt.Errorf("results: expression %q: unknown metric %q", e, e.Metric)
	}
	m := table[i]
	want := m.Unit
	switch e.Agg {
	case AggCount:
		if m.Timed() {
			want = UnitCount
		}
	case AggRate:
		if want = "/s"; m.Unit == UnitBytes {
			want = "B/s"
		}
	case AggErrors:
		if want = "%"; !m.Timed() {
			return fmt.Errorf("results: expression %q: %s is a count and cannot fail", e, m.Name)
		}
	}
	ok := e.Unit == want || want == UnitCount && e.Unit == "" || want == "/s" && e.Unit == "" ||
		want == "%" && e.Unit == "" || e.Value == 0 && e.Unit == ""
	if !ok {
		return fmt.Errorf("results: expression %q: the value of %s %s must be %s", e, m.Name, e.Agg, map[string]string{
			UnitSeconds: "a time such as 200ms", UnitBytes: "a size such as 64KiB", UnitCount: "a plain number",
			"/s": "a rate such as 20/s", "B/s": "a rate such as 1MiB/s", "%": "a share such as 1%",
		}[want])
	}
	if e.Slack > 0 {
		return fmt.Errorf("results: expression %q: a threshold has no baseline to differ from: leave %q out", e, "or +"+e.slackText)
	}
	if grows := e.Agg == AggCount && e.Op[0] != '<'; e.Abort && (grows || e.Agg == AggRate) {
		return fmt.Errorf("results: expression %q: %s is not known before the end: leave abort out", e, e.Agg)
	}
	return nil
}

// CheckGate reports what is wrong with e as a gate, which limits the ratio of a
// variant to the baseline.
func (e Expr) CheckGate() error {
	switch {
	case e.Unit != "" && e.Unit != "%":
		return fmt.Errorf("results: gate %q: the limit is a ratio to the baseline, without unit, such as 1.10", e)
	case e.Metric == "":
		return fmt.Errorf("results: gate %q: name a metric, such as probe mean<=1.10", e)
	case e.Abort:
		return fmt.Errorf("results: gate %q: a gate is judged at the end: leave abort out", e)
	case e.Op == "==" || e.Op == "!=":
		return fmt.Errorf("results: gate %q: use < or <= or > or >=", e)
	case e.Agg == AggMin, e.Agg == AggRate, e.Agg == AggErrors:
		return fmt.Errorf("results: gate %q: want p(N), mean, med, max or count", e)
	case e.Slack > 0 && e.Op[0] == '>':
		return fmt.Errorf("results: gate %q: a difference can be tolerated under < and <= only", e)
	}
	if m := parseScalar(Metrics(), e.Metric).metric; e.Slack > 0 && e.slackUnit != m.Unit && (m.Unit != UnitCount || e.slackUnit != "") {
		return fmt.Errorf("results: gate %q: the difference %s has not the unit of %s", e, "+"+e.slackText, e.Metric)
	}
	return nil
}

// scalarName is the block scalar that a gate speaks of, given the scalars that
// exist.
func (e Expr) scalarName(have func(string) bool) string {
	stat := map[Aggregation]string{AggMean: "mean", AggMax: "max", AggMedian: "p50", AggCount: "n"}[e.Agg]
	if e.Agg == AggQuantile {
		stat = "p(" + e.percent + ")"
	}
	if name := e.Metric + "." + stat; have(name) {
		return name
	}
	return e.Metric
}

// State is how a threshold or a gate came out.
type State string

// The outcomes. Refused means that too few samples stand behind the figure.
const (
	Passed       State = "pass"
	Failed       State = "fail"
	Refused      State = "refused"
	Inconclusive State = "inconclusive"
)

// Outcome is a threshold judged on one variant of one plan.
type Outcome struct {
	Expr    string  `json:"expr"`
	Plan    string  `json:"plan"`
	Variant string  `json:"variant"`
	State   State   `json:"state"` // Passed, Failed or Refused
	Got     float64 `json:"got"`   // in the unit of the expression's value; 0 if refused
	N       int64   `json:"n"`     // samples behind it
	Text    string  `json:"text"`  // one sentence
}

// Thresholds judges each expression on each variant of each plan that ran, in
// the order of the manifest. A variant that repeats another one is not judged.
func (r *Run) Thresholds(table []Metric, exprs ...Expr) []Outcome {
	var out []Outcome
	for _, e := range exprs {
		for _, plan := range planOrder(r) {
			for _, variant := range variantOrder(r, plan.Name) {
				f := Filter{Plan: plan.Name, Variant: variant}
				if r.ran(f) && !strings.HasSuffix(variant, AASuffix) {
					out = append(out, r.threshold(table, e, f))
				}
			}
		}
	}
	return out
}

func (r *Run) threshold(table []Metric, e Expr, f Filter) Outcome {
	v, n, err := r.aggregate(e, f)
	o := Outcome{Expr: e.String(), Plan: f.Plan, Variant: f.Variant, N: n}
	where := f.Variant + inPlan(f.Plan)
	if err != nil {
		o.State, o.Text = Refused, fmt.Sprintf("%s cannot be judged for %s: %v", e, where, err)
		return o
	}
	o.State, o.Got = Failed, v
	word := "fails"
	if e.Holds(v) {
		o.State, word = Passed, "holds"
	}
	o.Text = fmt.Sprintf("%s %s for %s: %s", e, word, where, e.format(v, parseScalar(table, e.Metric).metric.Unit))
	return o
}

func (e Expr) format(v float64, unit string) string {
	switch e.Agg {
	case AggCount:
		return formatCount(v)
	case AggRate:
		return significant(v) + "/s"
	case AggErrors:
		return significant(100*v) + "%"
	}
	return formatUnit(v, unit)
}

// ran reports whether anything but skipped cells is known of f.
func (r *Run) ran(f Filter) bool {
	return slices.ContainsFunc(r.intervals, func(iv interval) bool { return f.match(iv.key) }) ||
		slices.ContainsFunc(r.Blocks, func(b Block) bool { return f.match(b.Key) && b.Skipped == "" })
}

func (r *Run) aggregate(e Expr, f Filter) (v float64, n int64, err error) {
	t := r.Timings(e.Metric, f)
	if t.Of(Response).N()+t.Failed() > 0 {
		return aggregateAll(e, t, r.Elapsed(f).Seconds())
	}
	return r.aggregateScalars(e, f)
}

// aggregateAll works on the samples of a timed metric, those that failed included,
// of so many seconds.
func aggregateAll(e Expr, t *Timings, seconds float64) (v float64, n int64, err error) {
	h := t.Of(Response)
	if n = h.N(); e.Agg == AggErrors {
		return float64(t.Failed()) / float64(n+t.Failed()), n + t.Failed(), nil
	}
	return aggregateTimed(e, h, seconds)
}

func aggregateTimed(e Expr, h *Histogram, seconds float64) (float64, int64, error) {
	n := h.N()
	switch e.Agg {
	case AggCount:
		return float64(n), n, nil
	case AggRate:
		if seconds <= 0 {
			return 0, n, errors.New("no time passed")
		}
		return float64(n) / seconds, n, nil
	}
	if n < e.MinSamples() {
		return 0, n, fmt.Errorf("%d samples, at least %d are needed", n, e.MinSamples())
	}
	switch e.Agg {
	case AggMean:
		return h.Mean().Seconds(), n, nil
	case AggMax:
		return h.Max().Seconds(), n, nil
	case AggMin:
		return h.Min().Seconds(), n, nil
	}
	return h.Quantile(e.Q).Value.Seconds(), n, nil
}

// aggregateScalars works on counters and on what blocks hold under a plain name.
func (r *Run) aggregateScalars(e Expr, f Filter) (float64, int64, error) {
	var values []float64
	for _, b := range r.Blocks {
		if v, ok := b.Scalars[e.Metric]; ok && f.match(b.Key) && b.Valid {
			values = append(values, v)
		}
	}
	n := int64(len(values))
	var sum float64
	for _, v := range values {
		sum += v
	}
	if c, ok := r.Counters(f)[e.Metric]; ok {
		sum, n = float64(c), max(n, 1)
	}
	if n == 0 {
		return 0, 0, fmt.Errorf("nothing is known of %s", e.Metric)
	}
	switch e.Agg {
	case AggCount:
		return sum, n, nil
	case AggRate:
		if s := r.Elapsed(f).Seconds(); s > 0 {
			return sum / s, n, nil
		}
		return 0, n, errors.New("no time passed")
	case AggErrors:
		return 0, n, errors.New("a count cannot fail")
	}
	return aggregateValues(e, values)
}

// aggregateValues works on a figure of several blocks.
func aggregateValues(e Expr, values []float64) (float64, int64, error) {
	n := int64(len(values))
	if n < e.MinSamples() {
		return 0, n, fmt.Errorf("%d blocks, at least %d are needed", n, e.MinSamples())
	}
	var sum float64
	for _, v := range values {
		sum += v
	}
	switch e.Agg {
	case AggCount:
		return sum, n, nil
	case AggMean:
		return sum / float64(n), n, nil
	case AggMax:
		return slices.Max(values), n, nil
	case AggMin:
		return slices.Min(values), n, nil
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(e.Q*float64(n)))-1], n, nil
}
