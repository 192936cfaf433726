package scenarios

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// What models of federation call what costs depend on.
const (
	driverConnections = "connections"
	driverProofs      = "proofs"
	driverPairs       = "pairs"
	driverDomains     = "domains"
	driverMessages    = "messages"
)

// ModelDesign returns what the costs of a scenario depend on, and false if no model is
// made of it.
func ModelDesign(scenario string) (results.ModelDesign, bool) {
	if scenario != FederationScenario {
		return results.ModelDesign{}, false
	}
	const (
		bytesLimit = 0.02
		cpuLimit   = 0.15
		vary       = "run sizes of several shapes, such as domains: [6x6, 8x16, 12x12, 20x20]"
	)
	var (
		passing  = []string{driverConnections, driverProofs, driverMessages}             // what is paid once
		standing = []string{driverConnections, driverProofs, driverPairs, driverDomains} // what is held
	)
	return results.ModelDesign{
		Scenario: FederationScenario,
		Drivers: []results.Driver{
			{Name: driverConnections, Of: []string{metricOf(s2s.FigureOpened)}, Doc: "Connections made, those for verification included.", Vary: vary},
			{Name: driverProofs, Of: authorityMetrics(), Doc: "Exchanges and messages of authority.", Vary: vary},
			{Name: driverPairs, Of: []string{metricPairs}, Doc: "Pairs of domains that talk.", Vary: vary},
			{Name: driverDomains, Of: []string{metricDomains}, Doc: "Domains that talk.", Vary: vary},
			{Name: driverMessages, Of: []string{metricOf(s2s.FigureStanzasOut)}, Doc: "Messages between domains, echoes included.",
				Vary: "run each size with several numbers of messages, such as mesh: {messages: [1, 10]}"},
		},
		Quantities: []results.Quantity{
			{Name: "cpu.mesh", Unit: results.UnitSeconds, Of: []string{"cpu.mesh"}, By: passing, Doc: "CPU time of both ends.", Limit: results.QuantityLimits{Relative: cpuLimit}},
			{Name: "bytes.mesh", Unit: results.UnitBytes, Of: []string{"bytes.mesh"}, By: passing, Doc: "XML in both directions.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "bytes.mesh.tls", Unit: results.UnitBytes, Of: []string{"bytes.mesh.tls"}, By: passing, Doc: "Bytes on sockets in both directions.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			// A few MiB where connections are shared, of which the tables of pairs, which double, are a large part.
			{Name: "heap", Unit: results.UnitBytes, Of: []string{"heap.a", "heap.b"}, By: standing, Doc: "Live heap of both ends: their memory without stacks, and without what the runtime keeps for later.", Limit: results.QuantityLimits{Relative: bytesLimit}, LimitWith: driverConnections},
			{Name: "rss", Unit: results.UnitBytes, Of: []string{"rss.a", "rss.b"}, By: standing, Doc: "Resident memory of both ends.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "fds", Unit: results.UnitCount, Of: []string{"fds.a", "fds.b"}, By: []string{driverConnections}, Doc: "Open descriptors of both ends.", Limit: results.QuantityLimits{Exact: true}},
		},
		Over: driverPairs,
		Group: func(drivers map[string]float64) string {
			return strconv.FormatFloat(drivers[driverMessages]/(2*drivers[driverPairs]), 'g', 3, 64) + " messages a pair, echoed"
		},
		Counts:    meshMetrics(),
		Forms:     modelForms,
		Reference: modelReference,
		Settings:  modelSettings,
	}, true
}

// authorityMetrics are the metrics of exchanges and messages of authority.
func authorityMetrics() []string {
	var names []string
	for _, figure := range []string{
		s2s.FigureSASL, s2s.FigureResults, s2s.FigureVerifies, s2s.FigureAsserts, s2s.FigureProofs, s2s.FigureVerdicts,
	} {
		names = append(names, metricOf(figure))
	}
	return names
}

// meshMetrics are the metrics that have a closed form.
func meshMetrics() []string {
	names := []string{metricPairs, metricDomains, metricOf(s2s.FigureStanzasOut)}
	for figure := range (s2s.Counts{}).Figures() {
		names = append(names, metricOf(figure))
	}
	slices.Sort(names)
	return names
}

// ranPlan is a plan with one of its arms, as the manifest of a run has them.
func ranPlan(r *results.Run, plan, variant string) (Plan, Arm, error) {
	plans, err := ranPlans(r)
	if err != nil {
		return Plan{}, Arm{}, err
	}
	for _, p := range plans {
		if plan != "" && p.Label != plan {
			continue
		}
		for _, arm := range p.Arms {
			if arm.Label == variant {
				return p, arm, nil
			}
		}
	}
	return Plan{}, Arm{}, fmt.Errorf("its manifest has no plan %q with a variant %q", plan, variant)
}

// ranPlans are the plans of a run, as its manifest has them.
func ranPlans(r *results.Run) ([]Plan, error) {
	raw, err := json.Marshal(r.Manifest.Config)
	if err != nil {
		return nil, err
	}
	var config struct {
		Plans []Plan `json:"plans"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("its manifest holds no plans: %w", err)
	}
	for i := range config.Plans {
		for j := range config.Plans[i].Arms {
			arm := &config.Plans[i].Arms[j]
			v, ok := s2s.Find(arm.Name)
			if !ok {
				return nil, fmt.Errorf("its manifest names a variant %q that this program does not know", arm.Name)
			}
			arm.Federation = v
		}
	}
	return config.Plans, nil
}

// sized refuses numbers of domains that no file can ask for, so that what follows from
// them can be computed.
func (f Federation) sized() error {
	if f.Domains.A < 1 || f.Domains.B < 1 || f.Domains.A > maxDomains || f.Domains.B > maxDomains || f.Providers < 2 || f.Providers > 16 {
		return fmt.Errorf("its manifest has %s domains of %d providers", f.Domains, f.Providers)
	}
	return nil
}

// modelForms are the counts of a plan of a run by closed form.
func modelForms(r *results.Run, plan, variant string) (map[string]float64, error) {
	p, arm, err := ranPlan(r, plan, variant)
	if err != nil {
		return nil, err
	}
	if err := p.Federation.sized(); err != nil {
		return nil, err
	}
	return floats(p.meshCounts(arm)), nil
}

func floats(counts map[string]int) map[string]float64 {
	out := make(map[string]float64, len(counts))
	for name, n := range counts {
		out[name] = float64(n)
	}
	return out
}

// modelReference are the counts of meshes of many shapes.
func modelReference(r *results.Run, variant string) ([]map[string]float64, error) {
	p, arm, err := ranPlan(r, "", variant)
	if err != nil {
		return nil, err
	}
	var all []map[string]float64
	for _, d := range []Domains{{2, 3}, {5, 4}, {7, 7}, {4, 9}, {11, 3}, {3, 13}, {16, 16}} {
		for _, messages := range []int{1, 4} {
			p.Federation.Domains, p.Federation.Messages = d, messages
			all = append(all, floats(p.meshCounts(arm)))
		}
	}
	return all, nil
}

// meshSettings are those that costs depend on besides sizes and variant.
type meshSettings struct {
	Providers int    `json:"providers"`
	BringUp   string `json:"bring-up"`
	Size      int    `json:"size"` // bytes of a message
	Workers   int    `json:"workers,omitempty"`
	Link      Link   `json:"link"`
	Key       string `json:"key"`
	Piece     int    `json:"piece"`
}

// armSettings are those of a variant.
type armSettings struct {
	Name string     `json:"variant"`
	S2S  s2s.Params `json:"s2s"`
}

// modelSettings are those of a run and of one of its variants.
func modelSettings(r *results.Run, variant string) (run, of json.RawMessage, err error) {
	plans, err := ranPlans(r)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range plans {
		f := p.Federation
		if f.BringUp == BringUpLazy {
			return nil, nil, fmt.Errorf("plan %s brings pairs up lazily: a calibration brings all of them up (mesh.bring-up: all)", p.Label)
		}
		text, err := json.Marshal(meshSettings{f.Providers, f.BringUp, f.Traffic.Size, f.Workers, p.Link, p.Simulator.Key, p.Simulator.Piece})
		if err != nil {
			return nil, nil, err
		}
		if run != nil && string(text) != string(run) {
			return nil, nil, fmt.Errorf("its plans differ in more than sizes: %s / %s; make a run of each", run, text)
		}
		run = text
	}
	_, arm, err := ranPlan(r, "", variant)
	if err != nil {
		return nil, nil, err
	}
	of, err = json.Marshal(armSettings{arm.Name, arm.S2S})
	return run, of, err
}

// MeshTraffic says which pairs of domains are predicted to talk, and how much.
type MeshTraffic struct {
	Domains Domains
	// PerPair is the number of messages of each pair in a full mesh.
	PerPair int
	// Zipf makes it Messages in all, between domains that are as popular as a power of
	// their rank with this exponent.
	Zipf     bool
	Exponent float64
	Messages float64
}

// MeshForecast is what closed forms say of a mesh of two providers.
type MeshForecast struct {
	// Pairs of domains that talk, ActiveA and ActiveB the domains of each provider that
	// do. They are expectations where traffic decides.
	Pairs   float64 `json:"pairs"`
	ActiveA float64 `json:"active-a"`
	ActiveB float64 `json:"active-b"`
	// Counts are those of the mesh, by metric.
	Counts map[string]float64 `json:"counts"`
	// Again is how many connections are made anew in as long as the messages take, if
	// a stream is closed that was silent for so long.
	Again float64 `json:"again"`
	// Ends is how many connections each provider is an end of, Ports how many go from
	// one provider to the other, from one address to another.
	Ends  float64 `json:"ends"`
	Ports float64 `json:"ports"`
}

// ForecastMesh returns what closed forms say of a mesh of the variant whose settings
// stand in a model.
func ForecastMesh(variant json.RawMessage, t MeshTraffic) (MeshForecast, error) {
	var about armSettings
	if err := json.Unmarshal(variant, &about); err != nil {
		return MeshForecast{}, fmt.Errorf("scenarios: the model's settings of the variant: %w", err)
	}
	v, ok := s2s.Find(about.Name)
	if !ok {
		return MeshForecast{}, fmt.Errorf("scenarios: the model is one of a variant %q that this program does not know", about.Name)
	}
	if about.S2S.Pool > maxPool {
		return MeshForecast{}, fmt.Errorf("scenarios: the model's settings of the variant: a pool of %d streams", about.S2S.Pool)
	}
	n, m := t.Domains.A, t.Domains.B
	mesh := s2s.Full(n, m)
	f := MeshForecast{Pairs: float64(n) * float64(m), ActiveA: float64(n), ActiveB: float64(m)}
	messages := 2 * f.Pairs * float64(max(t.PerPair, 1))
	if t.Zipf {
		met := results.ZipfPairs(n, m, t.Exponent, t.Messages)
		f.Pairs, f.ActiveA, f.ActiveB, f.Again = met.Pairs, met.A, met.B, met.Again
		mesh.Pairs, mesh.ActiveA, mesh.ActiveB = int(math.Round(met.Pairs)), int(math.Round(met.A)), int(math.Round(met.B))
		messages = 2 * t.Messages
	}
	mesh.ProvedA, mesh.ProvedB = mesh.ActiveA, mesh.ActiveB
	if pool := about.S2S.Pool; pool > 1 {
		mesh.Slots = min(pool, mesh.Pairs)
		mesh.ProvedA, mesh.ProvedB = mesh.ActiveA*mesh.Slots, mesh.ActiveB*mesh.Slots
	}
	counts := v.Counts(about.S2S, mesh)
	f.Counts = make(map[string]float64)
	for figure, count := range counts.Figures() {
		f.Counts[metricOf(figure)] = float64(count)
	}
	f.Counts[metricOf(s2s.FigureStanzasOut)] = messages
	f.Counts[metricPairs], f.Counts[metricDomains] = f.Pairs, f.ActiveA+f.ActiveB
	f.Ends = float64(counts.Opened)
	f.Ports = f.Ends
	layout := v.Layout(about.S2S)
	if layout == s2s.EachPair {
		f.Ports = f.Ends / 2 // half of them each way
	}
	if layout.Shared() || f.Pairs == 0 {
		f.Again = 0 // with so many domains a shared stream is never silent for long
	} else {
		f.Again *= f.Ends / f.Pairs
	}
	return f, nil
}

// maxPool bounds the streams of a pool that a model file may speak of.
const maxPool = 1 << 20

// Drivers are what costs depend on in a model of the mesh.
func (f MeshForecast) Drivers() map[string]float64 {
	design, _ := ModelDesign(FederationScenario)
	out := make(map[string]float64)
	for _, d := range design.Drivers {
		for _, name := range d.Of {
			out[d.Name] += f.Counts[name]
		}
	}
	return out
}

// CountNames are the names of the counts that are not zero, sorted.
func (f MeshForecast) CountNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.Counts)), func(name string) bool { return f.Counts[name] == 0 })
}
