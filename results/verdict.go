package results

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Decision is what a comparison can say.
type Decision string

// The decisions. Faster and Slower are said of times, Fewer and More of counts
// and sizes; Same only of figures that are exactly equal in every block;
// Flagged of a variant that differs from itself.
const (
	Faster     Decision = "faster"
	Slower     Decision = "slower"
	Fewer      Decision = "fewer"
	More       Decision = "more"
	Same       Decision = "same"
	CannotTell Decision = "cannot tell"
	Flagged    Decision = "flagged"
)

// Ratio is a ratio, or a figure, that JSON shows as null where it is infinite or
// unknown.
type Ratio float64

// MarshalJSON implements [json.Marshaler].
func (r Ratio) MarshalJSON() ([]byte, error) {
	if v := float64(r); !math.IsInf(v, 0) && !math.IsNaN(v) {
		return json.Marshal(v)
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements [json.Unmarshaler]: null is not a number.
func (r *Ratio) UnmarshalJSON(b []byte) error {
	v := math.NaN()
	if string(b) != "null" {
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
	}
	*r = Ratio(v)
	return nil
}

// Verdict sets one figure of one variant beside that of the baseline.
type Verdict struct {
	Group         string   `json:"group,omitempty"` // what both have in common: plan, and variant if that is not compared
	Metric        string   `json:"metric"`          // the scalar, such as "probe.mean"
	Label         string   `json:"label"`           // the same in words, such as "mean probe"
	Unit          string   `json:"unit"`
	Baseline      string   `json:"baseline"`
	Variant       string   `json:"variant"`
	BaselineValue Ratio    `json:"baseline-value"` // median of the blocks, unknown without any
	VariantValue  Ratio    `json:"variant-value"`
	Ratio         Ratio    `json:"ratio"` // variant to baseline: Hodges-Lehmann of the logarithms
	Lo            Ratio    `json:"lo"`    // interval of the ratio
	Hi            Ratio    `json:"hi"`    // infinite if unbounded
	Level         float64  `json:"level"` // confidence of the interval
	Blocks        int      `json:"blocks"`
	OtherBlocks   int      `json:"other-blocks,omitempty"` // of the baseline, if the two share none
	Paired        bool     `json:"paired"`                 // by block; if not, drift between the runs is not removed
	Exact         bool     `json:"exact"`                  // counted, and equal in every block of either side
	Primary       bool     `json:"primary"`                // the figure declared to decide; all others are exploratory
	Decision      Decision `json:"decision"`
	Reason        string   `json:"reason,omitempty"` // why there is no ratio

	ratios []float64 // of the pairs of blocks, as far as there are any
}

// comparison is one question put to the figures of two arms.
type comparison struct {
	group             string
	scalar            scalar
	baseline, variant string
	x, y              []float64 // baseline and variant; of equal length and order if paired
	paired            bool
	level             float64
	k                 int // comparisons that share the error probability
	primary           bool
}

// AASuffix ends the name of a variant that repeats another one, to see whether a
// comparison finds a difference where there is none.
const AASuffix = "#aa"

func (c comparison) judge() Verdict {
	v := Verdict{
		Group: c.group, Metric: c.scalar.name, Label: c.scalar.label(), Unit: c.scalar.unit(),
		Baseline: c.baseline, Variant: c.variant,
		BaselineValue: Ratio(medianOf(c.x)), VariantValue: Ratio(medianOf(c.y)),
		Level: c.level, Blocks: len(c.y), Paired: c.paired, Primary: c.primary,
		Lo: 0, Hi: Ratio(math.Inf(1)),
	}
	if c.paired {
		v.ratios = c.ratios()
	} else {
		v.OtherBlocks = len(c.x)
	}
	switch {
	case len(c.x) == 0 || len(c.y) == 0:
		v.Decision, v.Reason = CannotTell, "no valid block has both figures"
		return v
	case v.Unit != UnitSeconds && constant(c.x) && constant(c.y) && (c.scalar.metric.Exact || min(len(c.x), len(c.y)) >= c.minBlocks()):
		v.Exact = true
		v.Ratio = Ratio(exactRatio(c.x[0], c.y[0]))
		v.Lo, v.Hi = v.Ratio, v.Ratio
	case v.Unit != UnitSeconds && c.paired && len(c.y) < c.minBlocks() && (anyNotPositive(c.x) || anyNotPositive(c.y)):
		v.Ratio = Ratio(math.NaN())
		v.Decision, v.Reason = CannotTell, c.fewBlocks()
		return v
	case anyNotPositive(c.x) || anyNotPositive(c.y):
		v.Ratio = Ratio(math.NaN())
		v.Decision, v.Reason = CannotTell, "a block without a positive figure gives no ratio"
		return v
	default:
		c.estimate(&v)
	}
	v.Decision = v.decide()
	if base, ok := strings.CutSuffix(c.variant, AASuffix); ok && base == c.baseline {
		if v.Decision != CannotTell && v.Decision != Same {
			v.Decision = Flagged
		}
	}
	return v
}

// ratios are those of the pairs.
func (c comparison) ratios() []float64 {
	var out []float64
	for i, x := range c.x {
		if x > 0 && c.y[i] > 0 {
			out = append(out, c.y[i]/x)
		}
	}
	return out
}

func (c comparison) estimate(v *Verdict) {
	var e Estimate
	x, y := logs(c.x), logs(c.y)
	if c.paired {
		for i := range y {
			y[i] -= x[i]
		}
		e = SignedRank(y, c.level)
	} else {
		e = MannWhitney(x, y, c.level)
	}
	v.Ratio, v.Lo, v.Hi = Ratio(math.Exp(e.Value)), Ratio(math.Exp(e.Lo)), Ratio(math.Exp(e.Hi))
	switch {
	case !math.IsInf(e.Hi, 1):
	case c.paired:
		v.Reason = c.fewBlocks()
	default:
		v.Reason = fmt.Sprintf("no bounded %s interval from %d and %s", percent(c.level), len(x), blocks(len(y)))
	}
}

// minBlocks is the number of blocks from which on figures that vary can be told apart at
// all; so can counts that came out the same in each of them, as by chance they may.
func (c comparison) minBlocks() int { return MinBlocks(c.k, float64(c.k)*(1-c.level)) }

func (c comparison) fewBlocks() string {
	return fmt.Sprintf("no bounded %s interval from %s, at least %d are needed", percent(c.level), blocks(len(c.y)), c.minBlocks())
}

// difference estimates how far the variant lies above the baseline.
func (c comparison) difference() Difference {
	if constant(c.x) && constant(c.y) && c.scalar.metric.Exact {
		d := Ratio(c.y[0] - c.x[0])
		return Difference{d, d, d}
	}
	var e Estimate
	if c.paired {
		d := make([]float64, len(c.y))
		for i := range d {
			d[i] = c.y[i] - c.x[i]
		}
		e = SignedRank(d, c.level)
	} else {
		e = MannWhitney(c.x, c.y, c.level)
	}
	return Difference{Ratio(e.Value), Ratio(e.Lo), Ratio(e.Hi)}
}

func (v *Verdict) decide() Decision {
	less, more := Faster, Slower
	if v.Unit != UnitSeconds || v.Exact {
		less, more = Fewer, More
	}
	switch {
	case v.Exact && v.Ratio == 1:
		return Same
	case v.Hi < 1:
		return less
	case v.Lo > 1:
		return more
	}
	return CannotTell
}

func logs(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = math.Log(x)
	}
	return out
}

func constant(v []float64) bool {
	for _, x := range v {
		if x != v[0] {
			return false
		}
	}
	return true
}

func anyNotPositive(v []float64) bool {
	for _, x := range v {
		if !(x > 0) {
			return true
		}
	}
	return false
}

func exactRatio(x, y float64) float64 {
	switch x {
	case y:
		return 1
	case 0:
		return math.Inf(1)
	}
	return y / x
}

func percent(level float64) string {
	return strconv.FormatFloat(100*level, 'g', 4, 64) + " %"
}

func blocks(n int) string {
	if n == 1 {
		return "1 block"
	}
	return strconv.Itoa(n) + " blocks"
}

// String is the verdict as one sentence without a full stop.
func (v Verdict) String() string {
	s := v.sentence()
	if !v.Primary {
		s += " [exploratory]"
	}
	return s
}

func (v Verdict) sentence() string {
	switch {
	case v.Reason != "":
		return fmt.Sprintf("cannot tell whether %s differs from %s in %s: %s", v.Variant, v.Baseline, v.Label, v.Reason)
	case v.Decision == Same:
		return fmt.Sprintf("%s and %s have the same %s (%s, equal in %s)", v.Variant, v.Baseline, v.Label, formatUnit(float64(v.VariantValue), v.Unit), v.evidence())
	case v.Decision == CannotTell:
		lo, hi := apart(float64(v.Lo), float64(v.Hi))
		return fmt.Sprintf("cannot tell whether %s differs from %s in %s: ratio %s (%s interval %s-%s, %s)",
			v.Variant, v.Baseline, v.Label, significant(float64(v.Ratio)), percent(v.Level), lo, hi, v.evidence())
	case v.Decision == Flagged:
		lo, hi := apart(float64(v.Lo), float64(v.Hi))
		return fmt.Sprintf("%s differs from itself in %s: ratio %s (%s interval %s-%s, %s), so the run cannot tell variants from disturbance",
			v.Baseline, v.Label, significant(float64(v.Ratio)), percent(v.Level), lo, hi, v.evidence())
	}
	how, interval := v.difference()
	if v.Exact {
		return fmt.Sprintf("%s has %s %s than %s (%s against %s, equal in %s)", v.Variant, how, v.Label, v.Baseline,
			formatUnit(float64(v.VariantValue), v.Unit), formatUnit(float64(v.BaselineValue), v.Unit), v.evidence())
	}
	return fmt.Sprintf("%s has %s %s than %s (%s interval %s, %s)", v.Variant, how, v.Label, v.Baseline, percent(v.Level), interval, v.evidence())
}

func (v Verdict) evidence() string {
	if v.Paired {
		return blocks(v.Blocks)
	}
	return fmt.Sprintf("%d and %s made at different times, drift is not removed", v.OtherBlocks, blocks(v.Blocks))
}

// difference says how far the ratio lies from one: as a factor from 1.5 on, in
// percent below.
func (v Verdict) difference() (how, interval string) {
	r, lo, hi, word := float64(v.Ratio), float64(v.Lo), float64(v.Hi), "higher"
	if r < 1 {
		word = "lower"
	}
	if math.IsInf(r, 1) || math.IsNaN(r) || r == 0 {
		return word, ""
	}
	if r >= 1.5 || r <= 1/1.5 {
		if r < 1 {
			r, lo, hi = 1/r, 1/hi, 1/lo
		}
		a, b := apart(lo, hi)
		return twoDigits(r) + "x " + word, a + "-" + b
	}
	p, plo, phi := 100*(r-1), 100*(lo-1), 100*(hi-1)
	if r < 1 {
		p, plo, phi = -p, -phi, -plo
	}
	a, b := apart(plo, phi)
	return twoDigits(p) + " % " + word, a + "-" + b + " %"
}

func twoDigits(v float64) string {
	if math.Abs(v) >= 10 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// apart prints both ends of an interval with as many digits as it takes to tell
// them apart, three at least; with three if five do not.
func apart(lo, hi float64) (string, string) {
	magnitude := int(math.Floor(math.Log10(max(math.Abs(lo), math.Abs(hi), 1e-6))))
	at := func(digits int) (string, string) {
		decimals := max(0, digits-1-magnitude)
		return strconv.FormatFloat(lo, 'f', decimals, 64), strconv.FormatFloat(hi, 'f', decimals, 64)
	}
	for digits := 3; digits <= 5; digits++ {
		if a, b := at(digits); a != b {
			return a, b
		}
	}
	return at(3)
}
