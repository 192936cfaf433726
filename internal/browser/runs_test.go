//go:build browser

package browser

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// recipe says what a made-up run shows.
type recipe struct {
	id, scenario string
	variants     []string
	plans        []results.Plan
	config       any
	thresholds   []string
	primary      string
	// samples of a metric in one block; the slowness of the variant grows with v.
	metric  string
	samples int
	scalars func(plan, v int, rng *rand.Rand) map[string]float64
	pings   bool
}

// make writes the run directory and reads it.
func (r recipe) make(t testing.TB) (string, *results.Run) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	dir := filepath.Join(t.TempDir(), r.id)
	rec := results.NewRecorder()
	begin := time.Now()
	w, err := results.Create(dir, results.Manifest{
		Scenario: r.scenario, Variants: r.variants, Baseline: r.variants[0], Primary: r.primary, Plans: r.plans, Config: r.config,
		Blocks: 8, Thresholds: r.thresholds, Limits: results.DefaultLimits(), Argv: []string{"xmppbench", "run", r.scenario},
		Targets: []results.TargetInfo{{Name: "sim", Server: "simulator"}}, Seeds: map[string]uint64{"seed": 1},
		Notes: []string{"This run was made up for a test."},
	}, results.Options{Recorder: rec})
	if err != nil {
		t.Fatal(err)
	}
	for p, plan := range r.plans {
		for block := range 8 {
			for v, variant := range r.variants {
				key := results.Key{Plan: plan.Name, Variant: variant, Block: block}
				sink := rec.Sink(key)
				line := results.Timeline{Key: key, Metric: r.metric, Since: "roster request"}
				for i := range r.samples {
					took := 0.04 / float64(1+3*v) * (1 + float64(p)) * math.Exp(0.3*rng.NormFloat64())
					due := begin.Add(time.Duration(i) * 5 * time.Millisecond)
					sink.Observe(results.Sample{Metric: r.metric, Intended: due, Start: due, End: due.Add(time.Duration(took * float64(time.Second)))})
					line.Points = append(line.Points, results.Point{float64(i-20) * 0.005, took})
				}
				if r.pings {
					w.Timeline(line)
				}
				total := rec.Total(key)
				scalars := total.Scalars()
				if r.scalars != nil {
					for name, value := range r.scalars(p, v, rng) {
						scalars[name] = value
					}
				}
				w.Block(results.Block{Key: key, Order: v, Valid: true, Scalars: scalars})
			}
		}
		if r.pings {
			for v, variant := range r.variants {
				w.Theory(results.Theory{
					Plan: plan.Name, Variant: variant, Scalars: map[string]float64{r.metric + ".mean": 0.04 / float64(1+3*v)},
					Timelines: map[string][]results.Point{r.metric: {{0, 0.04}, {0.2, 0.03}, {0.4, 0.02}}},
				})
			}
		}
	}
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	// Seconds that nobody has to wait for.
	f, err := os.OpenFile(filepath.Join(dir, "series.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		line, err := json.Marshal(results.Second{Time: begin.Add(time.Duration(i) * time.Second), Elapsed: float64(i + 1), Figures: map[string]float64{
			"cpu.generator": 0.2 * float64(i), "cpu.server": 0.5*float64(i) + 0.1*math.Sin(float64(i)), "rss.generator": 20 << 20, "rss.server": float64(30+i) * (1 << 20),
			"fds.generator": 30, "fds.server": float64(10 + i),
		}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s\n", line)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	sum(t, dir, "series.jsonl")
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, run
}

// sum renews the checksum of a file, so that the run is one that nobody changed.
func sum(t testing.TB, dir, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "DONE"))
	if err != nil {
		t.Fatal(err)
	}
	var done results.Done
	if err := json.Unmarshal(b, &done); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	done.SHA256[name] = fmt.Sprintf("%x", sha256.Sum256(file))
	if b, err = json.Marshal(done); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "DONE"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// rosters is a run of one-shot retrievals in two plans.
func rosters(id string) recipe {
	return recipe{
		id: id, scenario: "roster-login", variants: []string{"monolithic", "versioned", "rsm-index", "chunked-push", "chunked-pull"},
		plans:  []results.Plan{{Name: "items=1k", Dimensions: map[string]string{"roster.items": "1k"}}, {Name: "items=10k", Dimensions: map[string]string{"roster.items": "10k"}}},
		metric: "probe", samples: 150, primary: "probe.mean", thresholds: []string{"probe p(90)<50ms"}, pings: true,
		scalars: func(plan, v int, rng *rand.Rand) map[string]float64 {
			return map[string]float64{"bytes.in": float64(1000*(plan+1) + v), "stanzas": float64(2 + 10*v), "cpu.server": 0.01 * (1 + rng.Float64()) / float64(1+v)}
		},
	}
}

// federations is a run of meshes of so many domains each side.
func federations(sizes ...int) recipe {
	var plans []results.Plan
	var config []any
	for _, n := range sizes {
		name := fmt.Sprintf("domains=%dx%d", n, n)
		plans = append(plans, results.Plan{Name: name, Dimensions: map[string]string{"domains": fmt.Sprintf("%dx%d", n, n)}})
		config = append(config, map[string]any{"label": name, "federation": map[string]any{"domains": fmt.Sprintf("%dx%d", n, n), "providers": 2}})
	}
	return recipe{
		id: "federation", scenario: "federation", variants: []string{"pair-external", "shared-7712", "shared-attrcert"}, plans: plans,
		config: map[string]any{"plans": config}, metric: "echo", samples: 60, primary: "cpu.mesh",
		scalars: func(plan, v int, rng *rand.Rand) map[string]float64 {
			n := float64(sizes[plan])
			noise := 1 + 0.2*rng.Float64()
			return map[string]float64{
				"pairs": n * n, "connections": []float64{2 * n * n, 2, 1}[v], "cpu.mesh": []float64{0.001 * n * n, 0.0005 * n, 0.0002 * n}[v] * noise,
				"bytes.mesh": []float64{4000 * n * n, 900 * n * n, 500 * n * n}[v], "rss.a": 2e7 + 1e4*n*n, "mesh.mean": 0.01 * n * noise,
			}
		},
	}
}

// lazyMesh is a run of three providers in which traffic has met 150 of 300 pairs.
func lazyMesh() recipe {
	r := federations(10)
	r.id, r.variants = "lazy", []string{"pair-bidi", "shared-7712"}
	r.config = map[string]any{"plans": []any{map[string]any{
		"label": r.plans[0].Name, "federation": map[string]any{"domains": "10x10", "providers": 3},
		"arms": []any{map[string]any{"label": "pair-bidi", "layout": "each-pair-both"}, map[string]any{"label": "shared-7712", "layout": "each-provider"}},
	}}}
	r.scalars = func(_, v int, rng *rand.Rand) map[string]float64 {
		return map[string]float64{"pairs": 150, "connections": []float64{150, 6}[v], "cpu.mesh": []float64{0.15, 0.02}[v] * (1 + 0.2*rng.Float64())}
	}
	return r
}

// storms is a run of one variant at six rates.
func storms() recipe {
	var plans []results.Plan
	for _, rate := range []string{"25/s", "50/s", "100/s", "200/s", "400/s", "800/s"} {
		plans = append(plans, results.Plan{Name: "rate=" + rate, Dimensions: map[string]string{"load.rate": rate}})
	}
	return recipe{
		id: "storm", scenario: "login-storm", variants: []string{"monolithic"}, plans: plans, metric: "ready", samples: 200, primary: "ready.mean",
		thresholds: []string{"ready p(99)<100ms"},
	}
}

// page writes the HTML report of runs into a file and returns its address and what its
// pictures are drawn from.
func reportPage(t testing.TB, runs ...*results.Run) (string, *results.Plots) {
	t.Helper()
	return reportWith(t, results.ReportOptions{}, runs...)
}

// reportWith is reportPage with options.
func reportWith(t testing.TB, o results.ReportOptions, runs ...*results.Run) (string, *results.Plots) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := results.Report(f, runs, "html", o); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d := results.Summarize(runs, o.Compare)
	d.Model = o.Model
	return fileURL(t, file), results.MakePlots(runs, d, o.Compare)
}
