package scenarios

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
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

// Bounds of errors on held-out runs, as shares.
const (
	bytesLimit = 0.02 // of memory as well
	cpuLimit   = 0.15
)

// ModelDesign returns what the costs of a scenario depend on at the targets of a run, and
// false if no model is made of it.
func ModelDesign(scenario string, targets []results.TargetInfo) (results.ModelDesign, bool) {
	s, ok := Find(scenario)
	if !ok || s.model == nil {
		return results.ModelDesign{}, false
	}
	return s.model(simulated(targets)), true
}

// simulated reports whether one of the targets is the simulator.
func simulated(targets []results.TargetInfo) bool {
	return slices.ContainsFunc(targets, func(t results.TargetInfo) bool { return t.Server == SimulatorServer })
}

// Modelled returns the names of the scenarios that models are made of.
func Modelled() []string {
	var names []string
	for _, s := range Scenarios() {
		if s.model != nil {
			names = append(names, s.Name)
		}
	}
	return names
}

// meshModel is the design of models of federation.
func meshModel(bool) results.ModelDesign {
	const vary = "run sizes of several shapes, such as domains: [6x6, 8x16, 12x12, 20x20]"
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
			{Name: "cpu.mesh", Unit: results.UnitSeconds, Of: []string{"cpu.mesh"}, By: passing, Doc: "CPU time of both ends.", Limit: results.QuantityLimits{Relative: cpuLimit}, Least: true},
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
	}
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
		if name := config.Plans[i].Scenario; !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("its manifest names a scenario %q that this program does not know", name)
		}
		for j := range config.Plans[i].Arms {
			arm := &config.Plans[i].Arms[j]
			if !arm.find() {
				return nil, fmt.Errorf("its manifest names a variant %q that this program does not know", arm.Name)
			}
		}
	}
	return config.Plans, nil
}

// find fills in the variant that the arm names, of whatever kind. It reports false if
// there is none.
func (a *Arm) find() (ok bool) {
	if a.Federation, ok = s2s.Find(a.Name); ok {
		return true
	}
	a.Variant, ok = roster.Find(a.Name)
	return ok
}

// commonSettings are those that all plans of a run share, as JSON, and an error if they
// do not.
func commonSettings[T any](plans []Plan, of func(Plan) T) (json.RawMessage, error) {
	var common json.RawMessage
	for _, p := range plans {
		text, err := json.Marshal(of(p))
		if err != nil {
			return nil, err
		}
		if common != nil && !bytes.Equal(text, common) {
			return nil, fmt.Errorf("its plans differ in more than sizes: %s / %s; make a run of each", common, text)
		}
		common = text
	}
	return common, nil
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

func (p Plan) meshSettings() meshSettings {
	f := p.Federation
	return meshSettings{f.Providers, f.BringUp, f.Traffic.Size, f.Workers, p.Link, p.Simulator.Key, p.Simulator.Piece}
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
		if p.Federation.BringUp == BringUpLazy {
			return nil, nil, fmt.Errorf("plan %s brings pairs up lazily: a calibration brings all of them up (mesh.bring-up: all)", p.Label)
		}
	}
	if run, err = commonSettings(plans, Plan.meshSettings); err != nil {
		return nil, nil, err
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
	// Idle, where not zero, is how long the messages take, and after which time a stream
	// that is silent is closed.
	Idle time.Duration
}

// Forecast is what closed forms say of a size that nobody ran.
type Forecast struct {
	// Counts are by metric. They are expectations where traffic decides.
	Counts map[string]float64 `json:"counts"`
	// Ends is how many connections each provider, or the server, is an end of, Ports how
	// many go from one address to one other.
	Ends  float64 `json:"ends"`
	Ports float64 `json:"ports"`
	// PerSecond is what goes on each second once everything stands, by driver; nil for
	// nothing.
	PerSecond map[string]float64 `json:"per-second,omitempty"`

	scenario string
}

// ForecastMesh returns what closed forms say of a mesh of the variant whose settings
// stand in a model.
func ForecastMesh(variant json.RawMessage, t MeshTraffic) (Forecast, error) {
	var about armSettings
	if err := json.Unmarshal(variant, &about); err != nil {
		return Forecast{}, fmt.Errorf("scenarios: the model's settings of the variant: %w", err)
	}
	v, ok := s2s.Find(about.Name)
	if !ok {
		return Forecast{}, fmt.Errorf("scenarios: the model is one of a variant %q that this program does not know", about.Name)
	}
	if about.S2S.Pool > maxPool {
		return Forecast{}, fmt.Errorf("scenarios: the model's settings of the variant: a pool of %d streams", about.S2S.Pool)
	}
	n, m := t.Domains.A, t.Domains.B
	mesh := s2s.Full(n, m)
	met := results.ZipfMet{Pairs: float64(n) * float64(m), A: float64(n), B: float64(m)}
	messages := 2 * met.Pairs * float64(max(t.PerPair, 1))
	if t.Zipf {
		met = results.ZipfPairs(n, m, t.Exponent, t.Messages)
		mesh.Pairs, mesh.ActiveA, mesh.ActiveB = int(math.Round(met.Pairs)), int(math.Round(met.A)), int(math.Round(met.B))
		messages = 2 * t.Messages
	}
	mesh.ProvedA, mesh.ProvedB = mesh.ActiveA, mesh.ActiveB
	if pool := about.S2S.Pool; pool > 1 {
		mesh.Slots = min(pool, mesh.Pairs)
		mesh.ProvedA, mesh.ProvedB = mesh.ActiveA*mesh.Slots, mesh.ActiveB*mesh.Slots
	}
	counts := v.Counts(about.S2S, mesh)
	f := Forecast{scenario: FederationScenario, Counts: make(map[string]float64)}
	for figure, count := range counts.Figures() {
		f.Counts[metricOf(figure)] = float64(count)
	}
	f.Counts[metricOf(s2s.FigureStanzasOut)] = messages
	f.Counts[metricPairs], f.Counts[metricDomains] = met.Pairs, met.A+met.B
	f.Ends = float64(counts.Opened)
	f.Ports = f.Ends
	layout := v.Layout(about.S2S)
	if layout == s2s.EachPair {
		f.Ports = f.Ends / 2 // half of them each way
	}
	if !t.Zipf || t.Idle <= 0 {
		return f, nil
	}
	again := 0.0 // with so many domains a shared stream is never silent for long
	if !layout.Shared() && met.Pairs > 0 {
		again = met.Again / met.Pairs
	}
	// A stream that comes back is opened and proved like the others.
	f.PerSecond = f.Drivers()
	for name := range f.PerSecond {
		if name != driverMessages {
			f.PerSecond[name] *= again
		}
		f.PerSecond[name] /= t.Idle.Seconds()
	}
	return f, nil
}

// maxPool bounds the streams of a pool that a model file may speak of.
const maxPool = 1 << 20

// Drivers are what costs depend on in a model of the scenario.
func (f Forecast) Drivers() map[string]float64 {
	design, _ := ModelDesign(f.scenario, nil)
	out := make(map[string]float64)
	for _, d := range design.Drivers {
		for _, name := range d.Of {
			out[d.Name] += f.Counts[name]
		}
	}
	return out
}

// CountNames are the names of the counts that are not zero, sorted.
func (f Forecast) CountNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.Counts)), func(name string) bool { return f.Counts[name] == 0 })
}
