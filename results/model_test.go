package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/xmppbench/xmppbench/internal/golden"
)

// meshDesign is that of a mesh of n × m in which everything talks: links are either one
// for each pair or one in all.
func meshDesign() ModelDesign {
	return ModelDesign{
		Scenario: "mesh",
		Drivers: []Driver{
			{Name: "links", Of: []string{"links"}, Vary: "run other sizes"},
			{Name: "proofs", Of: []string{"proofs.a", "proofs.b"}, Vary: "run other shapes"},
			{Name: "messages", Of: []string{"messages"}, Vary: "run several numbers of messages"},
			{Name: "pairs", Of: []string{"pairs"}, Vary: "run other sizes"},
		},
		Quantities: []Quantity{
			{Name: "cpu", Unit: UnitSeconds, Of: []string{"cpu"}, By: []string{"links", "proofs", "messages"}, Limit: QuantityLimits{Relative: 0.15}},
			{Name: "memory", Unit: UnitBytes, Of: []string{"rss.a", "rss.b"}, By: []string{"links", "proofs"}, Limit: QuantityLimits{Relative: 0.02}},
			{Name: "fds", Unit: UnitCount, Of: []string{"fds"}, By: []string{"links"}, Limit: QuantityLimits{Exact: true}},
		},
		Over: "pairs",
		Group: func(drivers map[string]float64) string {
			if drivers["messages"] < 600 {
				return "few messages"
			}
			return "many messages"
		},
		Counts: []string{"links", "messages"},
		Forms: func(_ *Run, plan, variant string) (map[string]float64, error) {
			return parseSize(plan).counts(variant), nil
		},
		Reference: meshReference,
		Settings: func(r *Run, variant string) (run, of json.RawMessage, err error) {
			return json.RawMessage(fmt.Sprintf(`{"size":%v}`, r.Manifest.Config)), json.RawMessage(fmt.Sprintf("%q", variant)), nil
		},
	}
}

func meshReference(_ *Run, variant string) (all []map[string]float64, err error) {
	for _, s := range []gridSize{{2, 3, 1}, {5, 4, 1}, {7, 7, 2}, {3, 9, 3}, {8, 2, 1}} {
		all = append(all, s.counts(variant))
	}
	return all, nil
}

type gridSize struct{ n, m, messages int }

func (s gridSize) String() string { return fmt.Sprintf("%dx%d,%d", s.n, s.m, s.messages) }

func parseSize(plan string) (s gridSize) {
	fmt.Sscanf(plan, "%dx%d,%d", &s.n, &s.m, &s.messages)
	return s
}

func (s gridSize) counts(variant string) map[string]float64 {
	pairs := float64(s.n * s.m)
	c := map[string]float64{"pairs": pairs, "links": 1, "proofs.a": float64(s.n), "proofs.b": float64(s.m), "messages": 2 * pairs * float64(s.messages)}
	if variant == "each" {
		c["links"], c["proofs.a"], c["proofs.b"] = 2*pairs, pairs, pairs
	}
	return c
}

// prices are the true costs of the simulation.
var prices = map[string]map[string][4]float64{
	"each":   {"cpu": {0.004, 0.001, 0, 16e-6}, "memory": {40e6, 30e3, 0, 0}, "fds": {20, 2, 0, 0}},
	"shared": {"cpu": {0.004, 0, 80e-6, 17e-6}, "memory": {40e6, 0, 2e3, 0}, "fds": {20, 2, 0, 0}},
}

func (s gridSize) cost(variant, quantity string) float64 {
	c, p := s.counts(variant), prices[variant][quantity]
	return p[0] + p[1]*c["links"] + p[2]*(c["proofs.a"]+c["proofs.b"]) + p[3]*c["messages"]
}

// meshRun is a run of the sizes, each of so many blocks, with relative noise.
func meshRun(id string, noise float64, seed uint64, blocks int, sizes ...gridSize) *Run {
	rng := rand.New(rand.NewPCG(seed, 3))
	r := &Run{Manifest: Manifest{
		ID: id, Scenario: "mesh", Variants: []string{"each", "shared"}, Config: 300, Targets: []TargetInfo{{Name: "sim"}}, Wire: map[string]string{"each": "1"},
		Environment: Environment{Host: "bench", CPU: "Example CPU", CPUs: 2, Memory: 8 << 30},
	}, Done: Done{Status: StatusOK}}
	for _, s := range sizes {
		r.Manifest.Plans = append(r.Manifest.Plans, Plan{Name: s.String(), Dimensions: map[string]string{"domains": fmt.Sprintf("%dx%d", s.n, s.m), "messages": fmt.Sprint(s.messages)}})
		for block := range blocks {
			for _, variant := range r.Manifest.Variants {
				scalars := s.counts(variant)
				noisy := func(quantity string) float64 { return s.cost(variant, quantity) * (1 + noise*rng.NormFloat64()) }
				memory := noisy("memory")
				scalars["cpu"], scalars["rss.a"], scalars["rss.b"], scalars["fds"] = noisy("cpu"), memory/2, memory/2, s.cost(variant, "fds")
				r.Blocks = append(r.Blocks, Block{Key: Key{s.String(), variant, block}, Valid: true, Scalars: scalars})
			}
		}
	}
	return r
}

// small are sizes of a calibration.
func small() []gridSize {
	return []gridSize{{2, 2, 1}, {2, 2, 10}, {4, 8, 1}, {4, 8, 10}, {10, 6, 1}, {10, 6, 10}, {12, 12, 1}, {12, 12, 10}}
}

func mustFit(t testing.TB, runs []*Run, o FitOptions) *Model {
	t.Helper()
	m, _, err := FitModel(runs, meshDesign(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModelFindsPrices(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
	// What always goes together has one price: of a mesh with a link for each pair, proofs are
	// as many as links, and a single link is no driver at all.
	var drivers []string
	for _, p := range m.Parts {
		for _, d := range p.Drivers {
			drivers = append(drivers, p.Variant+" "+d.Name)
		}
	}
	if diff := cmp.Diff([]string{"each links", "each messages", "shared proofs", "shared messages", "shared pairs"}, drivers); diff != "" {
		t.Errorf("drivers (-want +got):\n%s", diff)
	}
	want := map[string][]float64{
		"each cpu": {0.004, 0.001, 16e-6}, "each memory": {40e6, 30e3, 0}, "each fds": {20, 2, 0},
		"shared cpu": {0.004, 80e-6, 17e-6}, "shared memory": {40e6, 2e3, 0}, "shared fds": {22, 0, 0},
	}
	for _, p := range m.Parts {
		for _, q := range p.Quantities {
			for i, c := range want[p.Variant+" "+q.Name] {
				if math.Abs(q.Coefficients[i]-c) > 1e-9*max(c, 1) {
					t.Errorf("%s %s: coefficient %d is %v, want %v", p.Variant, q.Name, i, q.Coefficients[i], c)
				}
			}
			large := gridSize{100, 50, 3}
			got := p.Predict(q, map[string]float64{
				"links": large.counts(p.Variant)["links"], "proofs": 150, "messages": large.counts(p.Variant)["messages"],
			}, 0.95)
			if want := large.cost(p.Variant, q.Name); math.Abs(got.Value-want) > 1e-6*want || got.Lo > got.Value || got.Hi < got.Value || got.Hi-got.Lo > 1e-4*want {
				t.Errorf("%s %s: predicted %+v, want %v", p.Variant, q.Name, got, want)
			}
		}
	}
	if f, driver := m.Parts[0].Factor(map[string]float64{"links": 2880, "messages": 2880}); f != 10 || driver != "links" {
		t.Errorf("factor %v by %s, want 10 by links", f, driver)
	}
}

// The band has to hold a further measurement as often as it says.
func TestModelBandCovers(t *testing.T) {
	const simulations = 400
	rng := rand.New(rand.NewPCG(5, 6))
	held := map[string]int{}
	for i := range simulations {
		m := mustFit(t, []*Run{meshRun("small", 0.05, uint64(i), 3, small()...)}, FitOptions{})
		large := meshRun("large", 0.05, rng.Uint64(), 3, gridSize{30, 30, 2})
		groups, err := meshDesign().groups([]*Run{large})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			part := m.part(g.variant)
			q, _ := part.Quantity("cpu")
			if out := part.outcome(q, g.drivers, g); out.Lo <= out.Measured && out.Measured <= out.Hi {
				held[g.variant]++
			}
		}
	}
	for variant, n := range held {
		// Three standard deviations of a proportion of 400.
		if share := float64(n) / simulations; share < 0.95-0.033 || share > 0.95+0.033 {
			t.Errorf("%s: %d of %d measurements within the band, want 95 %%", variant, n, simulations)
		}
	}
	if len(held) != 2 {
		t.Fatalf("variants %v", held)
	}
}

func TestModelPricesAreNotNegative(t *testing.T) {
	// What falls with one driver and rises with the other: the best price of the first is none.
	rows := [][]float64{{1, 1, 8}, {1, 2, 4}, {1, 5, 2}, {1, 7, 9}, {1, 9, 1}, {1, 12, 3}}
	var values []float64
	for _, r := range rows {
		values = append(values, 50-2*r[1]+3*r[2])
	}
	q, err := leastSquares(rows, values)
	if err != nil {
		t.Fatal(err)
	}
	if q.Coefficients[1] != 0 || q.Coefficients[0] <= 0 || q.Coefficients[2] <= 0 {
		t.Fatalf("coefficients %v", q.Coefficients)
	}
	squares := func(c []float64) (sum float64) {
		for i, row := range rows {
			e := 1 - dot(row, c)/values[i]
			sum += e * e
		}
		return sum
	}
	// No other prices of at least 0 nearby fit better.
	best := squares(q.Coefficients)
	for i := range q.Coefficients {
		for _, step := range []float64{-1e-3, 1e-3} {
			c := slices.Clone(q.Coefficients)
			if c[i] += step; c[i] >= 0 && squares(c) < best {
				t.Errorf("%v fits better than %v", c, q.Coefficients)
			}
		}
	}
	if q.Covariance[1][1] == 0 {
		t.Error("a price that is held at 0 has no doubt left")
	}
}

func TestModelRefuses(t *testing.T) {
	tests := []struct {
		name string
		runs func() []*Run
		want string
	}{
		{"no run", func() []*Run { return nil }, "no runs"},
		{"too few sizes", func() []*Run { return []*Run{meshRun("r", 0, 1, 3, small()[:5]...)} }, "5 sizes: a calibration takes 6 at least"},
		{"too few blocks", func() []*Run { return []*Run{meshRun("r", 0, 1, 2, small()...)} }, "2 valid blocks: a calibration takes 3 at least"},
		{"one number of messages", func() []*Run {
			return []*Run{meshRun("r", 0, 1, 3, gridSize{2, 2, 3}, gridSize{3, 4, 3}, gridSize{5, 5, 3}, gridSize{4, 8, 3}, gridSize{9, 9, 3}, gridSize{9, 7, 3})}
		}, "each: messages cannot be told from links, so that neither has a price of its own: run several numbers of messages"},
		{"one size", func() []*Run {
			var sizes []gridSize
			for k := range 6 {
				sizes = append(sizes, gridSize{4, 4, k + 1})
			}
			return []*Run{meshRun("r", 0, 1, 3, sizes...)}
		}, "links is the same in all runs, so that neither has a price of its own: run other sizes"},
		{"invalid", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			r.Done = Done{Status: StatusInvalid, Reasons: []string{"it was late"}}
			return []*Run{r}
		}, "run r is invalid: it was late"},
		{"did not end", func() []*Run { r := meshRun("r", 0, 1, 3, small()...); r.Partial = true; return []*Run{r} }, "run r did not end"},
		{"two targets", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			r.Manifest.Targets = append(r.Manifest.Targets, TargetInfo{Name: "other"})
			return []*Run{r}
		}, "has 2 targets"},
		{"another scenario", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			r.Manifest.Scenario = "storm"
			return []*Run{r}
		}, "r ran scenario storm, not mesh"},
		{"a count that differs", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			r.Counts = []Count{{Name: "links", Variant: "each", Counted: 7, Expected: 8}}
			return []*Run{r}
		}, "links of each is 7, its closed form gives 8"},
		{"another machine", func() []*Run {
			r := meshRun("s", 0, 2, 3, small()...)
			r.Manifest.Environment.CPUs = 64
			return []*Run{meshRun("r", 0, 1, 3, small()...), r}
		}, "the model and s are not alike: number of CPUs 2 / 64"},
		{"another wire format", func() []*Run {
			r := meshRun("s", 0, 2, 3, small()...)
			r.Manifest.Wire = map[string]string{"each": "2"}
			return []*Run{meshRun("r", 0, 1, 3, small()...), r}
		}, "wire format of each 1 / 2"},
		{"other settings", func() []*Run {
			r := meshRun("s", 0, 2, 3, small()...)
			r.Manifest.Config = 600
			return []*Run{meshRun("r", 0, 1, 3, small()...), r}
		}, `settings {"size":300} / {"size":600}`},
		{"a missing driver", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			delete(r.Blocks[0].Scalars, "messages")
			return []*Run{r}
		}, "has no figure messages"},
		{"nothing to predict", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			for _, b := range r.Blocks {
				for _, name := range []string{"cpu", "rss.a", "rss.b", "fds"} {
					delete(b.Scalars, name)
				}
			}
			return []*Run{r}
		}, "nothing can be predicted"},
		{"a cost of nothing", func() []*Run {
			r := meshRun("r", 0, 1, 3, small()...)
			for _, b := range r.Blocks {
				b.Scalars["cpu"] = 0
			}
			return []*Run{r}
		}, "cpu is 0s, which no relative error can be taken of"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := FitModel(tt.runs(), meshDesign(), FitOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestModelOfDifferentRuns(t *testing.T) {
	other := meshRun("s", 0, 2, 3, small()...)
	other.Manifest.Environment.Host = "elsewhere"
	runs := []*Run{meshRun("r", 0, 1, 3, small()...), other}
	if _, _, err := FitModel(runs, meshDesign(), FitOptions{}); !errors.As(err, new(*DifferentError)) {
		t.Errorf("error %v, want a DifferentError", err)
	}
	m, warnings, err := FitModel(runs, meshDesign(), FitOptions{AllowDifferent: true})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "host bench / elsewhere") {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
	// Blocks of the same size are one point, whichever run they are of.
	if m != nil && (len(m.Parts[0].Points) != 8 || m.Parts[0].Points[0].Blocks != 6 || len(m.Parts[0].Points[0].Runs) != 2) {
		t.Errorf("points %+v", m.Parts[0].Points)
	}
}

func TestModelCheck(t *testing.T) {
	large := func(change func(b *Block)) []*Run {
		r := meshRun("large", 0, 9, 3, gridSize{24, 24, 1}, gridSize{30, 30, 10})
		for i := range r.Blocks {
			change(&r.Blocks[i])
		}
		return []*Run{r}
	}
	tests := []struct {
		name   string
		change func(b *Block)
		failed []string
	}{
		{"as predicted", func(*Block) {}, nil},
		{"within the limits", func(b *Block) { b.Scalars["cpu"] *= 1.14; b.Scalars["rss.a"] *= 1.03 }, nil},
		{"CPU time", func(b *Block) { b.Scalars["cpu"] *= 1.2 }, []string{"each cpu 24x24,1", "each cpu 30x30,10", "shared cpu 24x24,1", "shared cpu 30x30,10"}},
		{"memory of one", func(b *Block) {
			if b.Variant == "each" {
				b.Scalars["rss.a"] *= 0.94
			}
		}, []string{"each memory 24x24,1", "each memory 30x30,10"}},
		{"a descriptor", func(b *Block) {
			if b.Variant == "each" && b.Plan == "24x24,1" {
				b.Scalars["fds"]++
			}
		}, []string{"each fds 24x24,1"}},
		{"a count in one block", func(b *Block) {
			if b.Variant == "shared" && b.Block == 1 && b.Plan == "30x30,10" {
				b.Scalars["messages"]++
			}
		}, []string{"shared messages 30x30,10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
			if state := m.Checked("each"); state != Inconclusive {
				t.Errorf("before the check the state is %s", state)
			}
			c, err := m.Check(large(tt.change), meshDesign(), CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, v := range c.Verdicts {
				if v.Judged && !v.Within {
					failed = append(failed, v.Variant+" "+v.Name+" "+v.Plan)
				}
			}
			if diff := cmp.Diff(tt.failed, failed); diff != "" {
				t.Errorf("failed (-want +got):\n%s", diff)
			}
			want := Passed
			if tt.failed != nil {
				want = Failed
			}
			if c.State != want || c.Reach != 6.25 {
				t.Errorf("state %s, reach %v", c.State, c.Reach)
			}
			if n := len(m.Parts[0].Points); n != 10 || m.Parts[0].Points[9].Role != RoleHeldOut {
				t.Errorf("%d points", n)
			}
		})
	}
}

func TestModelCheckOfEachVariant(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
	bad := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
	for i := range bad.Blocks {
		if bad.Blocks[i].Variant == "each" {
			bad.Blocks[i].Scalars["cpu"] *= 2
		}
	}
	if _, err := m.Check([]*Run{bad}, meshDesign(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	for variant, want := range map[string]State{"each": Failed, "shared": Passed} {
		p, err := m.Part(variant)
		if err != nil {
			t.Fatal(err)
		}
		if state, links, messages := m.Checked(variant), p.Reach("links"), p.Reach("messages"); state != want || messages != 6.25 || links != map[string]float64{"each": 6.25, "shared": 1}[variant] {
			t.Errorf("%s: %s up to %v times the links and %v times the messages", variant, state, links, messages)
		}
	}
	if _, err := m.Check([]*Run{meshRun("again", 0, 10, 3, gridSize{30, 30, 10})}, meshDesign(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	if state := m.Checked("each"); state != Passed {
		t.Errorf("after a check that passed the state is %s", state)
	}
}

func TestModelCheckRefuses(t *testing.T) {
	tests := []struct {
		name string
		run  func() *Run
		want string
	}{
		{"too close", func() *Run { return meshRun("large", 0, 9, 3, gridSize{20, 20, 10}) }, "was run at 2.78 times the pairs of the calibration at most: a check takes 4 times at least"},
		{"larger in messages alone", func() *Run { return meshRun("large", 0, 9, 3, gridSize{12, 12, 100}) }, "was run at 1 times the pairs of the calibration at most"},
		{"the calibration", func() *Run { return meshRun("small", 0, 9, 3, gridSize{30, 30, 10}) }, "is part of the calibration"},
		{"a variant that is not there", func() *Run {
			r := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
			r.Manifest.Variants = append(r.Manifest.Variants, "third")
			b := r.Blocks[0]
			b.Variant = "third"
			r.Blocks = append(r.Blocks, b)
			return r
		}, `no variant "third": there are each, shared`},
		{"a quantity that is not there", func() *Run {
			r := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
			delete(r.Blocks[0].Scalars, "cpu")
			return r
		}, "lacks cpu, which the calibration had"},
		{"a count that is not there", func() *Run {
			d := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
			delete(d.Blocks[2].Scalars, "links")
			return d
		}, "has no figure links"},
		{"no valid block", func() *Run {
			r := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
			for i := range r.Blocks {
				r.Blocks[i].Valid = false
			}
			return r
		}, "no valid block"},
		{"another machine", func() *Run {
			r := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
			r.Manifest.Environment.CPU = "Other CPU"
			return r
		}, "not alike: CPU Example CPU / Other CPU"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
			if _, err := m.Check([]*Run{tt.run()}, meshDesign(), CheckOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if len(m.Checks) > 0 || len(m.Parts[0].Points) != len(small()) {
				t.Error("the model was changed")
			}
		})
	}
}

func TestModelHoldsOut(t *testing.T) {
	sizes := append(small(), gridSize{24, 24, 1}, gridSize{24, 24, 10})
	for name, o := range map[string]FitOptions{
		"by name":      {HoldOut: []string{"24x24,1", "24x24,10"}},
		"by dimension": {HoldOut: []string{"24x24"}},
	} {
		m := mustFit(t, []*Run{meshRun("all", 0, 1, 3, sizes...)}, o)
		if len(m.Checks) != 1 || m.Checks[0].State != Passed || m.Checks[0].Reach != 4 {
			t.Errorf("%s: checks %+v", name, m.Checks)
		}
	}
	// By itself what is above a quarter of the largest is left out, in links or messages.
	many := []gridSize{{2, 2, 1}, {2, 2, 3}, {3, 5, 1}, {3, 5, 2}, {5, 5, 1}, {6, 6, 1}, {6, 4, 2}, {20, 20, 1}}
	m := mustFit(t, []*Run{meshRun("all", 0, 1, 3, many...)}, FitOptions{Automatic: true})
	if p := m.Parts[0].Points; len(p) != 8 || p[7].Plan != "20x20,1" || p[7].Role != RoleHeldOut || p[6].Role != RoleCalibration {
		t.Errorf("points %+v", p)
	}
	if _, _, err := FitModel([]*Run{meshRun("all", 0, 1, 3, sizes...)}, meshDesign(), FitOptions{HoldOut: []string{"9x9"}}); err == nil || !strings.Contains(err.Error(), `nothing is held out by ["9x9"]`) {
		t.Errorf("error %v", err)
	}
}

func TestModelFile(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0.03, 1, 3, small()...)}, FitOptions{})
	if _, err := m.Check([]*Run{meshRun("large", 0.03, 9, 3, gridSize{30, 30, 10})}, meshDesign(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "model.json")
	if err := m.Save(file); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	again, err := ReadModel(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	// A model that was read checks runs like the one that was written.
	if _, err := again.Check([]*Run{meshRun("larger", 0.03, 11, 3, gridSize{40, 40, 10})}, meshDesign(), CheckOptions{}); err != nil {
		t.Error(err)
	}

	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("schema", "model.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{}`, `{"schema":"xmppbench.model/1","parts":[]}`, `[]`} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("the schema accepts %s", bad)
		}
	}

	for name, tt := range map[string]struct {
		change func(m *Model)
		want   string
	}{
		"newer":                {func(m *Model) { m.Schema = "xmppbench.model/2" }, "newer than this program"},
		"of something else":    {func(m *Model) { m.Schema = "xmppbench.run/1" }, "not that of a model"},
		"no parts":             {func(m *Model) { m.Parts = nil }, "no variants"},
		"twice":                {func(m *Model) { m.Parts = append(m.Parts, m.Parts[0]) }, `variant "each" has no name of its own`},
		"driver without range": {func(m *Model) { m.Parts[0].Drivers[0].Max = 0 }, `driver "links" goes from`},
		"nothing predicted":    {func(m *Model) { m.Parts[0].Quantities = nil }, "predicts nothing"},
		"coefficient missing":  {func(m *Model) { q := &m.Parts[0].Quantities[0]; q.Coefficients = q.Coefficients[1:] }, "2 coefficients"},
		"coefficient negative": {func(m *Model) { m.Parts[0].Quantities[0].Coefficients[1] = -1 }, "coefficient 1 is -1"},
		"covariance cut":       {func(m *Model) { q := &m.Parts[0].Quantities[0]; q.Covariance[1] = q.Covariance[1][1:] }, "row 1 of the covariance has 2 columns"},
		"no freedom":           {func(m *Model) { m.Parts[0].Quantities[0].DF = 0 }, "0 degrees of freedom"},
		"role":                 {func(m *Model) { m.Parts[0].Points[0].Role = "extra" }, `role "extra"`},
	} {
		damaged, err := ReadModel(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		tt.change(damaged)
		var b bytes.Buffer
		if err := damaged.Write(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadModel(&b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	if _, err := ReadModel(strings.NewReader("{\n\"schema\": x}")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v", err)
	}
	if _, err := ReadModel(strings.NewReader(strings.Repeat(" ", maxModel+1))); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

func FuzzReadModel(f *testing.F) {
	m := mustFit(f, []*Run{meshRun("small", 0.03, 1, 3, small()...)}, FitOptions{})
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":"xmppbench.model/1","parts":[{"variant":"a","drivers":[{"name":"x","max":1}],"quantities":[{"name":"q","coefficients":[1,2],"covariance":[[1,0],[0,1]],"df":1}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadModel(bytes.NewReader(b))
		if err != nil {
			return
		}
		// What was accepted can be used, and is read again as it was.
		for i := range m.Parts {
			p := &m.Parts[i]
			drivers := make(map[string]float64)
			for _, d := range p.Drivers {
				drivers[d.Name] = 2 * d.Max
			}
			p.Factor(drivers)
			for _, q := range p.Quantities {
				if got := p.Predict(q, drivers, 0.95); got.Lo > got.Hi {
					t.Errorf("%+v", got)
				}
			}
			m.Checked(p.Variant)
		}
		if err := m.WriteText(&bytes.Buffer{}, 80); err != nil {
			t.Error(err)
		}
		var out bytes.Buffer
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadModel(&out); err != nil {
			t.Errorf("what was written is not read: %v", err)
		}
	})
}

func TestModelText(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0.03, 1, 3, small()...)}, FitOptions{})
	runs := []*Run{meshRun("large", 0.01, 9, 3, gridSize{24, 24, 1}, gridSize{30, 30, 10})}
	for i := range runs[0].Blocks {
		if b := &runs[0].Blocks[i]; b.Variant == "shared" {
			b.Scalars["cpu"] *= 1.4
		}
	}
	if _, err := m.Check(runs, meshDesign(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.WriteText(&b, 80); err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("testdata", "model.text"), b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(line)) - 1; n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestZipfPairs(t *testing.T) {
	// Sums over all pairs, without bins, and closed forms where there are any.
	exact := func(n, m int, exponent, messages float64) (met ZipfMet) {
		shares := func(n int) []float64 {
			var all []float64
			sum := 0.0
			for rank := 1; rank <= n; rank++ {
				all = append(all, math.Pow(float64(rank), -exponent))
				sum += all[rank-1]
			}
			for i := range all {
				all[i] /= sum
			}
			return all
		}
		a, b := shares(n), shares(m)
		for _, p := range a {
			met.A += 1 - math.Exp(-messages*p)
			for _, q := range b {
				met.Pairs += 1 - math.Exp(-messages*p*q)
				met.Again += messages * p * q * math.Exp(-messages*p*q)
			}
		}
		for _, q := range b {
			met.B += 1 - math.Exp(-messages*q)
		}
		return met
	}
	for _, tt := range []struct {
		n, m               int
		exponent, messages float64
	}{{1000, 1000, 1, 1e4}, {1000, 1000, 1, 1e6}, {50, 2000, 0.8, 1e5}, {1, 1, 1, 3}, {300, 300, 0, 5000}} {
		want, got := exact(tt.n, tt.m, tt.exponent, tt.messages), ZipfPairs(tt.n, tt.m, tt.exponent, tt.messages)
		for name, pair := range map[string][2]float64{"pairs": {want.Pairs, got.Pairs}, "A": {want.A, got.A}, "B": {want.B, got.B}, "again": {want.Again, got.Again}} {
			if math.Abs(pair[1]-pair[0]) > 1e-4*pair[0] {
				t.Errorf("%+v: %s %v, want %v", tt, name, pair[1], pair[0])
			}
		}
	}
	if got := ZipfPairs(1000, 1000, 1, 1e6).Pairs; math.Abs(got-199_128) > 1 {
		t.Errorf("1000 x 1000 with a million messages: %v pairs", got)
	}
	if got := ZipfPairs(100_000, 100_000, 1, 1e6).Pairs; math.Abs(got-6.8e5) > 0.005e5 {
		t.Errorf("100 000 x 100 000 with a million messages: %v pairs", got)
	}
	// With everyone talking and no end of messages, all pairs.
	if got := ZipfPairs(30, 40, 0, 1e9); got.Pairs != 1200 || got.A != 30 || got.B != 40 {
		t.Errorf("%+v", got)
	}
}

// Messages drawn one by one meet what the formula says.
func TestZipfPairsDrawn(t *testing.T) {
	const n, m, exponent, messages, trials = 40, 60, 1.0, 2000, 60
	cumulated := func(n int) []float64 {
		out := make([]float64, n)
		sum := 0.0
		for i := range out {
			sum += math.Pow(float64(i+1), -exponent)
			out[i] = sum
		}
		return out
	}
	a, b := cumulated(n), cumulated(m)
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(c []float64) int { i, _ := slices.BinarySearch(c, rng.Float64()*c[len(c)-1]); return i }
	var pairs, from []float64
	for range trials {
		met, left := make(map[[2]int]bool), make(map[int]bool)
		for range messages {
			i, j := draw(a), draw(b)
			met[[2]int{i, j}], left[i] = true, true
		}
		pairs, from = append(pairs, float64(len(met))), append(from, float64(len(left)))
	}
	want := ZipfPairs(n, m, exponent, messages)
	for name, tt := range map[string]struct {
		drawn []float64
		want  float64
	}{"pairs": {pairs, want.Pairs}, "domains": {from, want.A}} {
		mean, squares := 0.0, 0.0
		for _, v := range tt.drawn {
			mean += v / trials
		}
		for _, v := range tt.drawn {
			squares += (v - mean) * (v - mean)
		}
		// Poisson arrivals differ from a fixed number of draws by less than a tenth of a percent here.
		if tolerance := 4*math.Sqrt(squares/(trials-1)/trials) + 1e-3*tt.want; math.Abs(mean-tt.want) > tolerance {
			t.Errorf("%s: %.2f drawn, %.2f expected, tolerance %.2f", name, mean, tt.want, tolerance)
		}
	}
}

// A report shows a model beside runs: what it was fitted to, what it was checked on, and
// the sizes of runs that it has not seen.
func TestModelReport(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0.02, 1, 3, small()...)}, FitOptions{})
	if _, err := m.Check([]*Run{meshRun("checked", 0, 8, 3, gridSize{24, 24, 10})}, meshDesign(), CheckOptions{}); err != nil {
		t.Fatal(err)
	}
	before := len(m.Parts[0].Points)
	large := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
	for i := range large.Blocks {
		if b := &large.Blocks[i]; b.Variant == "shared" {
			b.Scalars["cpu"] *= 1.4
		}
	}
	beside, err := m.Report([]*Run{large}, meshDesign())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Parts[0].Points); n != before || len(m.Checks) != 1 {
		t.Errorf("the model changed: %d points, %d checks", n, len(m.Checks))
	}
	if c := beside.Check; c.State != Failed || c.Reach != 6.25 || !slices.Equal(c.Runs, []string{"checked", "large"}) {
		t.Errorf("check %s, reach %v of %v", c.State, c.Reach, c.Runs)
	}
	o := ReportOptions{Model: beside}
	golden.File(t, filepath.Join("testdata", "report-model.text"), report(t, "text", o, large))
	md := string(report(t, "md", o, large))
	for _, want := range []string{"# " + modelErrors, "| shared | 30x30,10 | 6.25x", "- cpu of shared, 30x30,10: predicted "} {
		if !strings.Contains(md, want) {
			t.Errorf("the report in Markdown lacks %q:\n%s", want, md)
		}
	}
	page := report(t, "html", o, large)
	for _, want := range []string{modelErrors, "model: FAILED: 1 error of ", "cpu of shared, 30x30,10: predicted "} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var data struct{ Plots struct{ Costs []CostPlot } }
	if err := json.Unmarshal(dataOf(t, page), &data); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for _, c := range data.Plots.Costs {
		fmt.Fprintf(&lines, "%s (%s) over %s, %s\n", c.Metric, c.Unit, c.Over, c.Group)
		for _, part := range []any{c.Points, c.Lines} {
			b, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			lines.WriteString(strings.ReplaceAll(string(b), "},{", "},\n{") + "\n")
		}
	}
	golden.File(t, filepath.Join("testdata", "plots-model.txt"), lines.Bytes())

	// The line goes through what the model says of each size.
	for _, c := range data.Plots.Costs {
		for _, pt := range c.Points {
			i := slices.IndexFunc(c.Lines, func(l CostLine) bool { return l.Arm == pt.Arm })
			at := slices.Index(c.Lines[i].Size, pt.Size)
			if at < 0 || c.Lines[i].Lo[at] > pt.Model*1.2 || c.Lines[i].Hi[at] < pt.Model*0.8 {
				t.Errorf("%s: the line of arm %d does not meet %+v", c.Metric, pt.Arm, pt)
			}
		}
	}

	other := meshRun("storm", 0, 9, 3, gridSize{30, 30, 10})
	other.Manifest.Scenario = "storm"
	if _, err := m.Report([]*Run{other}, meshDesign()); err == nil || !strings.Contains(err.Error(), "is of scenario storm, the model of mesh") {
		t.Errorf("error %v", err)
	}
	unlike := meshRun("unlike", 0, 9, 3, gridSize{30, 30, 10})
	unlike.Manifest.Config = 600
	if _, err := m.Report([]*Run{unlike}, meshDesign()); !errors.As(err, new(*DifferentError)) {
		t.Errorf("error %v, want a DifferentError", err)
	}
	// An invalid run has no figures, and the model is shown all the same.
	large.Done = Done{Status: StatusInvalid, Reasons: []string{"it was late"}}
	beside, err = m.Report([]*Run{large}, meshDesign())
	if err != nil || !slices.Equal(beside.Check.Runs, []string{"checked"}) {
		t.Errorf("%+v, error %v", beside, err)
	}
	// Models of earlier programs do not tell sizes.
	for _, p := range m.Parts {
		for _, pt := range p.Points {
			delete(pt.Drivers, "pairs")
		}
	}
	if _, err := m.Report(nil, meshDesign()); err == nil || !strings.Contains(err.Error(), "do not tell pairs") {
		t.Errorf("error %v", err)
	}
}

// A limit may hold for those variants only whose costs have a driver.
func TestModelLimitWith(t *testing.T) {
	d := meshDesign()
	i := slices.IndexFunc(d.Quantities, func(q Quantity) bool { return q.Name == "memory" })
	d.Quantities[i].LimitWith = "links"
	m, _, err := FitModel([]*Run{meshRun("small", 0, 1, 3, small()...)}, d, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	large := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
	for i := range large.Blocks {
		large.Blocks[i].Scalars["rss.a"] *= 1.5
	}
	c, err := m.Check([]*Run{large}, d, CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	judged := make(map[string]bool)
	for _, v := range c.Verdicts {
		if v.Name == "memory" {
			judged[v.Variant] = v.Judged && !v.Within
		}
	}
	if !judged["each"] || judged["shared"] || c.State != Failed {
		t.Errorf("failed %v, state %s", judged, c.State)
	}
}

// Runs whose plans have one name but differ in size are sizes of their own.
func TestModelTellsSizesOfEqualNames(t *testing.T) {
	m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
	a, b := meshRun("a", 0, 8, 3, gridSize{50, 50, 1}), meshRun("b", 0, 9, 3, gridSize{60, 60, 1})
	d := meshDesign()
	sizes := map[*Run]string{a: "50x50,1", b: "60x60,1"}
	for r := range sizes {
		r.Manifest.Plans[0].Name = "messages=1"
		for i := range r.Blocks {
			r.Blocks[i].Plan = "messages=1"
		}
	}
	d.Forms = func(r *Run, _, variant string) (map[string]float64, error) {
		return parseSize(sizes[r]).counts(variant), nil
	}
	c, err := m.Check([]*Run{a, b}, d, CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.State != Passed || len(m.Parts[0].Points) != 10 {
		t.Errorf("state %s, %d points, want both sizes", c.State, len(m.Parts[0].Points))
	}
}

// What other work adds to is told by the least of the blocks, in fits and checks alike.
func TestModelLeast(t *testing.T) {
	disturbed := func(id string, seed uint64, sizes ...gridSize) *Run {
		r := meshRun(id, 0, seed, 3, sizes...)
		for i := range r.Blocks {
			if b := &r.Blocks[i]; b.Block > 0 {
				b.Scalars["cpu"] *= 1 + 0.1*float64(b.Block+i%3)
			}
		}
		return r
	}
	d := meshDesign()
	d.Quantities[0].Least = true
	m, _, err := FitModel([]*Run{disturbed("small", 1, small()...)}, d, FitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Check([]*Run{disturbed("large", 9, gridSize{30, 30, 10})}, d, CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.Verdicts {
		if v.Name == "cpu" && math.Abs(v.Relative) > 1e-6 {
			t.Errorf("%s: error %v", v.Variant, v.Relative)
		}
	}
	for _, p := range m.Parts {
		q, _ := p.Quantity("cpu")
		if o := p.Points[0].Values["cpu"]; !q.Least || o.Measured != o.Min || o.Min == o.Max {
			t.Errorf("%s: least %v, %+v", p.Variant, q.Least, o)
		}
	}
}
