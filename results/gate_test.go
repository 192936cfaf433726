package results

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// invented makes a run of blocks with one figure, ready.mean, of each arm: a drift
// that all arms of a block share, and noise of its own for each.
func invented(rng *rand.Rand, id string, blocks int, drift, noise float64, arms ...arm) *Run {
	r := &Run{Manifest: Manifest{ID: id, Scenario: "login-storm", Primary: "ready.mean", Plans: []Plan{{Name: "all"}}}, Done: Done{Status: StatusOK}}
	for _, a := range arms {
		r.Manifest.Variants = append(r.Manifest.Variants, a.name)
	}
	for block := range blocks {
		common := drift * rng.NormFloat64()
		for _, a := range arms {
			v := 0.1 * a.ratio * math.Exp(common+noise*rng.NormFloat64())
			r.Blocks = append(r.Blocks, Block{Key: Key{"all", a.name, block}, Valid: true, Scalars: map[string]float64{"ready.mean": v}})
		}
	}
	return r
}

type arm struct {
	name  string
	ratio float64 // to the baseline
}

// rates runs a procedure many times from a seed and returns how often it came out how,
// as shares.
func rates(t *testing.T, seed uint64, runs int, once func(*rand.Rand) string) map[string]float64 {
	t.Helper()
	rng := rand.New(rand.NewPCG(20261126, seed))
	came := make(map[string]int)
	for range runs {
		came[once(rng)]++
	}
	out := make(map[string]float64)
	for how, n := range came {
		out[how] = float64(n) / float64(runs)
	}
	t.Logf("%v", out)
	return out
}

func compared(t *testing.T, runs []*Run, gates ...string) *Comparison {
	t.Helper()
	o := CompareOptions{AllowDifferent: true}
	for _, g := range gates {
		o.Gates = append(o.Gates, mustParse(t, g))
	}
	c, err := Compare(runs, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func within(t *testing.T, what string, got, lo, hi float64) {
	t.Helper()
	if got < lo || got > hi {
		t.Errorf("%s in %.3f of the runs, want %v to %v", what, got, lo, hi)
	}
}

// TestErrorRates shows by simulation how often each procedure of a comparison errs
// where there is nothing to find, and how often it finds what was planted. The noise
// of a cell is 5 %, the drift between blocks 25 %; runs are of 12 blocks unless it is
// said. Bounds leave three standard errors of the simulation.
func TestErrorRates(t *testing.T) {
	const noise, drift = 0.05, 0.25
	two := func(ratio float64) []arm { return []arm{{"a", 1}, {"b", ratio}} }
	decision := func(v Verdict) string { return string(v.Decision) }

	t.Run("signed rank, fewest blocks", func(t *testing.T) {
		// The exact level of six blocks is 1-2/64.
		got := rates(t, 1, 1000, func(rng *rand.Rand) string {
			return decision(compared(t, []*Run{invented(rng, "r", 6, drift, noise, two(1)...)}).Verdicts[0])
		})
		within(t, "a difference between equals", got["faster"]+got["slower"], 2./64-0.017, 2./64+0.017)
	})
	t.Run("signed rank, half of the errors on each side", func(t *testing.T) {
		got := rates(t, 2, 2000, func(rng *rand.Rand) string {
			return decision(compared(t, []*Run{invented(rng, "r", 12, drift, noise, two(1)...)}).Verdicts[0])
		})
		for _, side := range []string{"faster", "slower"} {
			within(t, side, got[side], 0.01, 0.036)
		}
	})
	t.Run("four arms", func(t *testing.T) {
		// Bonferroni: that any of four equal arms differs from the baseline.
		arms := []arm{{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}}
		family := func(rng *rand.Rand) string {
			for _, v := range compared(t, []*Run{invented(rng, "r", 12, drift, noise, arms...)}).Verdicts {
				if v.Decision != CannotTell {
					return "any"
				}
			}
			return "none"
		}
		within(t, "any difference between equals", rates(t, 3, 1000, family)["any"], 0.01, 0.07)
		// Without it each would err by itself.
		arms[4].ratio = 1.2
		got := rates(t, 4, 500, func(rng *rand.Rand) string {
			for _, v := range compared(t, []*Run{invented(rng, "r", 12, drift, noise, arms...)}).Verdicts {
				if v.Variant == "e" {
					return decision(v)
				}
			}
			return "missing"
		})
		within(t, "a slow-down of 20 %", got["slower"], 0.97, 1)
	})
	t.Run("runs at different times", func(t *testing.T) {
		// Within a run the drift is small, and it is not removed.
		pair := func(rng *rand.Rand, ratio float64, n int) Verdict {
			return compared(t, []*Run{
				invented(rng, "before", 12, 0.02, noise, arm{"a", 1}), invented(rng, "after", n, 0.02, noise, arm{"a", ratio}),
			}).Verdicts[0]
		}
		for _, n := range []int{12, 7} {
			got := rates(t, 5, 1000, func(rng *rand.Rand) string { return decision(pair(rng, 1, n)) })
			within(t, fmt.Sprintf("a difference between equals, 12 and %d blocks", n), got["faster"]+got["slower"], 0.02, 0.07)
		}
		got := rates(t, 6, 500, func(rng *rand.Rand) string { return decision(pair(rng, 1.1, 12)) })
		within(t, "a slow-down of 10 %", got["slower"], 0.95, 1)
		got = rates(t, 7, 1000, func(rng *rand.Rand) string {
			v := pair(rng, 1.1, 12)
			return fmt.Sprint(float64(v.Lo) <= 1.1 && 1.1 <= float64(v.Hi))
		})
		within(t, "the ratio lies in the interval", got["true"], 0.93, 0.98)
	})
	t.Run("the drift between runs is not removed", func(t *testing.T) {
		// What the verdict warns of: the machine was 10 % slower the second time.
		got := rates(t, 8, 200, func(rng *rand.Rand) string {
			return decision(compared(t, []*Run{
				invented(rng, "before", 12, 0.02, noise, arm{"a", 1}), invented(rng, "after", 12, 0.02, noise, arm{"a", 1.1}),
			}).Verdicts[0])
		})
		within(t, "taken for a slow-down", got["slower"], 0.9, 1)
	})
	t.Run("A/A", func(t *testing.T) {
		arms := []arm{{"a", 1}, {"a#aa", 1}, {"b", 2}}
		flagged := func(rng *rand.Rand) string {
			return fmt.Sprint(len(compared(t, []*Run{invented(rng, "r", 12, drift, noise, arms...)}).Flagged()) > 0)
		}
		within(t, "a repeated baseline is flagged", rates(t, 9, 1000, flagged)["true"], 0.02, 0.07)
		arms[1].ratio = 1.1
		within(t, "a disturbed one is flagged", rates(t, 10, 500, flagged)["true"], 0.9, 1)
	})

	t.Run("counts that vary", func(t *testing.T) {
		// Two arms that fail as often. What is counted is no proof because it came out the same in each of two blocks.
		counted := func(rng *rand.Rand, blocks int, draw func(*rand.Rand, string) float64) *Run {
			r := invented(rng, "r", blocks, 0, 0, two(1)...)
			r.Manifest.Primary = "attempts.failed"
			for i := range r.Blocks {
				r.Blocks[i].Scalars = map[string]float64{"attempts.failed": draw(rng, r.Blocks[i].Variant)}
			}
			return r
		}
		fair := func(rng *rand.Rand, _ string) float64 { return float64(rng.IntN(2)) }
		some := func(rng *rand.Rand, _ string) float64 { return float64(1 + rng.IntN(3)) }
		for i, n := range []int{2, 3, 6, 12} {
			for j, draw := range []func(*rand.Rand, string) float64{fair, some} {
				got := rates(t, uint64(21+2*i+j), 1000, func(rng *rand.Rand) string {
					c := compared(t, []*Run{counted(rng, n, draw)}, "attempts.failed count<=1.00")
					return fmt.Sprintf("%s, gate %s", c.Verdicts[0].Decision, c.Gate())
				})
				wrong := 0.0
				for how, share := range got {
					if strings.HasPrefix(how, "more") || strings.HasPrefix(how, "fewer") || strings.HasSuffix(how, "gate fail") {
						wrong += share
					}
				}
				most := 0.05 + 0.02
				if n < 6 {
					most = 0
				}
				within(t, fmt.Sprintf("a difference between equals, %d blocks", n), wrong, 0, most)
			}
		}
		got := rates(t, 29, 500, func(rng *rand.Rand) string {
			return decision(compared(t, []*Run{counted(rng, 12, func(rng *rand.Rand, arm string) float64 {
				return some(rng, arm) + map[string]float64{"a": 0, "b": 3}[arm]
			})}).Verdicts[0])
		})
		within(t, "three more failures are found", got["more"], 0.95, 1)
	})

	gate := func(seed uint64, runs int, expr string, ratio float64, more ...arm) map[string]float64 {
		return rates(t, seed, runs, func(rng *rand.Rand) string {
			return string(compared(t, []*Run{invented(rng, "r", 12, drift, noise, append(two(ratio), more...)...)}, expr).Gate())
		})
	}
	t.Run("gate", func(t *testing.T) {
		got := gate(11, 1000, "ready mean<=1.10", 1)
		within(t, "broken by equals", got["fail"], 0, 0.001)
		within(t, "met by equals", got["pass"], 0.95, 1)
		// At the limit itself it may be broken, and met, by half of the error each.
		got = gate(12, 2000, "ready mean<=1.10", 1.10)
		within(t, "broken at its limit", got["fail"], 0.01, 0.036)
		within(t, "met at its limit", got["pass"], 0.01, 0.036)
		within(t, "undecided at its limit", got["inconclusive"], 0.93, 0.98)
		got = gate(13, 1000, "ready mean<=1.00", 1)
		within(t, "broken by equals that must not be slower", got["fail"], 0.005, 0.04)
		got = gate(14, 1000, "ready mean<=1.00", 1.10)
		within(t, "a slow-down of 10 % breaks a gate at 1.00", got["fail"], 0.97, 1)
		got = gate(15, 1000, "ready mean<=1.10", 1.25)
		within(t, "a slow-down of 25 % breaks a gate at 1.10", got["fail"], 0.97, 1)
		within(t, "and meets it", got["pass"], 0, 0.001)
	})
	t.Run("gate of several arms", func(t *testing.T) {
		got := gate(16, 1000, "ready mean<=1.00", 1, arm{"c", 1}, arm{"d", 1})
		within(t, "broken by any of three equals", got["fail"], 0.005, 0.045)
	})
	t.Run("gate with a difference", func(t *testing.T) {
		// 100 ms at the baseline: 20 % more are 20 ms more.
		got := gate(17, 1000, "ready mean<=1.10 or +50ms", 1.2)
		within(t, "met since the difference is small", got["pass"], 0.95, 1)
		got = gate(18, 1000, "ready mean<=1.10 or +5ms", 1.2)
		within(t, "broken, since both are large", got["fail"], 0.8, 1)
		within(t, "and met", got["pass"], 0, 0.001)
		// Where both limits lie at the truth it is met by the error of each at most.
		got = gate(19, 2000, "ready mean<=1.10 or +10ms", 1.10)
		within(t, "met at its limits", got["pass"], 0.01, 0.06)
		within(t, "broken at its limits", got["fail"], 0, 0.036)
	})
	t.Run("gate beside a disturbed baseline", func(t *testing.T) {
		got := rates(t, 20, 300, func(rng *rand.Rand) string {
			return string(compared(t, []*Run{invented(rng, "r", 12, drift, 0.02, arm{"a", 1}, arm{"a#aa", 1.3}, arm{"b", 1.5}, arm{"c", 0.5})}, "ready mean<=1.10").Gate())
		})
		within(t, "undecided", got["inconclusive"], 0.999, 1)
	})
}

// TestGatesOnQuantiles compares quantiles of blocks that have samples enough, and
// refuses those of others.
func TestGatesOnQuantiles(t *testing.T) {
	made := func(n int, id string) *Run {
		r := invented(rand.New(rand.NewPCG(1, 2)), id, 6, 0, 0, arm{"a", 1}, arm{"b", 1})
		d := Delta{Start: time.Unix(1, 0), End: time.Unix(2, 0)}
		for _, b := range r.Blocks {
			rec := NewRecorder()
			for i := range n {
				took := 10 * time.Millisecond
				if i%20 == 0 && b.Variant == "b" { // one in twenty is slow
					took = time.Duration(100+b.Block) * time.Millisecond
				}
				rec.Sink(b.Key).Observe(Sample{Metric: "ready", End: time.Time{}.Add(took)})
			}
			rec.Sink(b.Key).Observe(Sample{Metric: "login", Err: errors.New("lost")})
			d.Series = append(d.Series, DeltaSeries{b.Key, rec.Total(b.Key)})
		}
		lines, err := intervalLines(d)
		if err != nil {
			t.Fatal(err)
		}
		read := r.intervalLine()
		for line := range strings.Lines(string(lines)) {
			if err := read([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	long := made(1000, "long")
	for gate, want := range map[string]State{
		"ready p(99)<=1.10": Failed, "ready p(50)<=1.10": Passed, "ready p(99)<=11": Passed, "ready p(90) <= 1.10": Passed,
		"ready p(99)<=1.10 or +1s": Passed, "ready p(99)<=1.10 or +1ms": Failed,
	} {
		c := compared(t, []*Run{long}, gate)
		if got := c.Gate(); got != want {
			t.Errorf("%s: %s, want %s: %s", gate, got, want, c.Gates[0].Text)
		}
	}
	c := compared(t, []*Run{long}, "ready p(99)<=1.10")
	if got := c.Gates[0].Text; !strings.HasPrefix(got, "gate broken: ready p(99)<=1.10: b has 10x higher p(99) ready than a (95 % interval ") {
		t.Errorf("text %q", got)
	}
	for _, v := range c.Verdicts {
		if strings.Contains(v.Metric, "p(") {
			t.Errorf("a quantile that only the gate asked for is among the verdicts: %s", v)
		}
	}
	for gate, want := range map[string]string{
		"ready p(99)<=1.10": "gate undecided: ready p(99)<=1.10: a block of a in all has 999 samples, and p(99) needs 1000: use the mean, or a longer run",
		"login p(99)<=1.10": "gate undecided: login p(99)<=1.10: no variant other than the baseline has that figure",
	} {
		c := compared(t, []*Run{made(999, "short")}, gate)
		if g := c.Gates[0]; c.Gate() != Inconclusive || g.Text != want || g.Verdict.Decision != CannotTell || g.Difference != nil || len(c.Verdicts) == 0 {
			t.Errorf("%s: %+v, want %q", gate, g, want)
		}
	}
}

func TestGateGrammar(t *testing.T) {
	for give, want := range map[string]string{
		"probe mean<=1.10 or +5ms":    "",
		"bytes.in mean<1.01 or +1KiB": "",
		"stanzas count<=1 or +2":      "",
		"ready p(99)<=110%":           "",
		"probe mean>=0.9 or +5ms":     "under < and <= only",
		"probe mean<=1.10 or +5KiB":   "has not the unit of probe",
		"probe mean<=1.10 or +5":      "has not the unit of probe",
		"probe mean<=1.10 or 5ms":     "want a difference such as +5ms",
		"probe mean<=1.10 or +0ms":    "want a difference such as +5ms",
		"probe mean<=1.10 or +5%":     "want a difference such as +5ms",
		"probe mean<=1.10 or":         "unknown unit",
		"probe mean<=1.10 abort":      "leave abort out",
		"probe errors<=1.10":          "want p(N), mean, med, max or count",
		"mean<=1.10":                  "name a metric",
		"probe mean==1":               "use < or <= or > or >=",
	} {
		e, err := Parse(give)
		if err == nil {
			err = e.CheckGate()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", give, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want one with %q", give, err, want)
		}
	}
	if err := mustParse(t, "ready mean<2s or +5ms").CheckThreshold(Metrics()); err == nil || !strings.Contains(err.Error(), "no baseline to differ from") {
		t.Errorf("a threshold with a difference: %v", err)
	}
}
