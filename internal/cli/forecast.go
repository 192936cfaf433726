package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// forecastSchema is the version of the JSON answer of model predict.
const forecastSchema = "xmppbench.forecast/1"

// forecasts are the JSON answer of model predict.
type forecasts struct {
	Schema      string     `json:"schema"`
	Predictions []forecast `json:"predictions"`
}

// A forecast is what a model says of one variant at one size.
type forecast struct {
	Variant string                 `json:"variant"`
	Domains scenarios.Domains      `json:"domains"`
	Traffic string                 `json:"traffic"`
	Mesh    scenarios.MeshForecast `json:"mesh"`
	Drivers map[string]float64     `json:"drivers"`
	// Factor is how many times the largest calibrated size it is, by the driver that goes
	// farthest; Checked is how far a check that passed went, 0 if there was none.
	Factor  float64              `json:"factor"`
	Driver  string               `json:"driver,omitempty"`
	Checked float64              `json:"checked"`
	Values  []results.Prediction `json:"values"`
	Upkeep  *upkeep              `json:"upkeep,omitempty"`
	Walls   []wall               `json:"walls"`

	part *results.ModelPart
}

// upkeep is what goes on each second once everything stands.
type upkeep struct {
	Messages float64            `json:"messages"` // per second, echoes included
	Opened   float64            `json:"opened"`   // connections per second
	CPU      results.Prediction `json:"cpu"`      // of both ends, per second: cores
}

// A wall is a limit of a machine, and what the size needs of it.
type wall struct {
	Name  string  `json:"name"`
	Need  float64 `json:"need"`
	Limit float64 `json:"limit"`
	Text  string  `json:"text"`
}

func (w wall) ratio() float64 { return w.Need / w.Limit }

func newForecast(m *results.Model, part *results.ModelPart, t scenarios.MeshTraffic, f predictFlags) (forecast, error) {
	out := forecast{Variant: part.Variant, Domains: t.Domains, part: part, Traffic: fmt.Sprintf("all pairs talk, %s each", plural(t.PerPair, "message"))}
	if t.Zipf {
		out.Traffic = fmt.Sprintf("%s messages, popularity by rank to the power of -%g", results.Grouped(t.Messages), t.Exponent)
	}
	state, reach := m.Checked(part.Variant)
	switch state {
	case results.Failed:
		return out, &exitError{ExitInvalid, fmt.Errorf("%s: the last check of the model failed, so that it predicts nothing: mend the calibration and check again", part.Variant)}
	case results.Passed:
		out.Checked = reach
	case results.Inconclusive:
	}
	var err error
	if out.Mesh, err = scenarios.ForecastMesh(part.Settings, t); err != nil {
		return out, usage(err)
	}
	out.Drivers = out.Mesh.Drivers()
	out.Factor, out.Driver = part.Factor(out.Drivers)
	if out.Factor > f.limit {
		return out, usage(fmt.Errorf("%s: %s are %s times the most that was calibrated; the limit is %s: run larger sizes, or say --max-extrapolation %s to take it as an order of magnitude",
			part.Variant, out.Driver, results.Grouped(out.Factor), results.Grouped(f.limit), strconv.FormatFloat(roundUp(out.Factor), 'g', -1, 64)))
	}
	for _, q := range part.Quantities {
		out.Values = append(out.Values, part.Predict(q, out.Drivers, f.level))
	}
	if t.Zipf && f.idle > 0 {
		out.keepUp(part, t, f)
	}
	out.walls(m, f)
	return out, nil
}

// roundUp returns the next of 1, 2, 5, 10, 20, … that is not below v.
func roundUp(v float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if n*step >= v {
				return n * step
			}
		}
	}
}

// keepUp adds what goes on while everything stands: messages, and streams that come
// back after a silence.
func (f *forecast) keepUp(part *results.ModelPart, t scenarios.MeshTraffic, o predictFlags) {
	window := o.idle.Seconds()
	share := 0.0
	if opened := f.Drivers["connections"]; opened > 0 {
		share = f.Mesh.Again / opened
	}
	// A stream that comes back is opened and proved like the others.
	drivers := map[string]float64{"messages": f.Drivers["messages"]}
	for name, v := range f.Drivers {
		if name != "messages" {
			drivers[name] = v * share
		}
	}
	f.Upkeep = &upkeep{Messages: 2 * t.Messages / window, Opened: f.Mesh.Again / window}
	if q, ok := part.Quantity("cpu.mesh"); ok {
		q.Coefficients = slices.Clone(q.Coefficients)
		q.Coefficients[0] = 0 // the constant is that of coming up
		p := part.Predict(q, drivers, o.level)
		p.Name, p.Value, p.Lo, p.Hi = "cpu.upkeep", p.Value/window, p.Lo/window, p.Hi/window
		f.Upkeep.CPU = p
	}
}

// value is one of the predictions.
func (f *forecast) value(name string) (results.Prediction, bool) {
	i := slices.IndexFunc(f.Values, func(p results.Prediction) bool { return p.Name == name })
	if i < 0 {
		return results.Prediction{}, false
	}
	return f.Values[i], true
}

// walls lists what a machine like that of the calibration has too little of, the
// scarcest first. What its manifest does not tell is left out.
func (f *forecast) walls(m *results.Model, o predictFlags) {
	e := m.Source.Environment
	add := func(name string, need, limit float64, format string, args ...any) {
		if limit > 0 && need > 0 {
			f.Walls = append(f.Walls, wall{name, need, limit, fmt.Sprintf(format, args...)})
		}
	}
	soft, _, _ := strings.Cut(e.Ulimit["nofile"], "/")
	if limit, err := strconv.ParseFloat(soft, 64); err == nil {
		add("descriptors", f.Mesh.Ends, limit, "%s connections end at each provider, and a process may open %s descriptors (ulimit -n)", results.Grouped(f.Mesh.Ends), results.Grouped(limit))
	}
	var low, high float64
	if n, _ := fmt.Sscan(e.Sysctl["net.ipv4.ip_local_port_range"], &low, &high); n == 2 && high >= low {
		add("ports", f.Mesh.Ports, high-low+1, "%s connections go one way, and from one address to one other there are %s ports (net.ipv4.ip_local_port_range)", results.Grouped(f.Mesh.Ports), results.Grouped(high-low+1))
	}
	if rss, ok := f.value("rss"); ok {
		value, _ := rss.Text()
		have, _ := results.Prediction{Value: float64(e.Memory), Unit: results.UnitBytes}.Text()
		add("memory", rss.Value, float64(e.Memory), "both ends hold %s, and the machine has %s", value, have)
	}
	if cpu, ok := f.value("cpu.mesh"); ok && e.CPUs > 0 {
		value, _ := cpu.Text()
		add("bring-up", cpu.Value, float64(e.CPUs)*o.within.Seconds(), "coming up takes %s of CPU time, and %s have %s of it within %s (--within)",
			value, plural(e.CPUs, "CPU"), hours(time.Duration(e.CPUs)*o.within), hours(o.within))
	}
	if f.Upkeep != nil && e.CPUs > 0 {
		add("upkeep", f.Upkeep.CPU.Value, float64(e.CPUs), "%s connections and %s messages a second take %s CPUs of both ends, and there are %d",
			results.Grouped(f.Upkeep.Opened), results.Grouped(f.Upkeep.Messages), results.Grouped(f.Upkeep.CPU.Value), e.CPUs)
	}
	slices.SortStableFunc(f.Walls, func(a, b wall) int { return cmp.Compare(b.ratio(), a.ratio()) })
}

func (f *forecast) write(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s domains: %s\n\n", f.Variant, f.Domains, f.Traffic)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "pairs that talk\t%s\t\n", results.Grouped(f.Mesh.Pairs))
	for _, name := range f.Mesh.CountNames() {
		fmt.Fprintf(table, "%s\t%s\t\n", name, results.Grouped(f.Mesh.Counts[name]))
	}
	fmt.Fprintf(table, "ports from one address to one other\t%s\t\n", results.Grouped(f.Mesh.Ports))
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	level := 0.0
	for _, v := range f.Values {
		level = v.Level
	}
	fmt.Fprintf(table, "both ends\tpredicted\t%g %% band\t\n", 100*level)
	for _, v := range f.Values {
		value, band := v.Text()
		fmt.Fprintf(table, "%s\t%s\t%s\t\n", v.Name, value, band)
	}
	if f.Upkeep != nil {
		fmt.Fprintf(table, "CPUs to keep up\t%s\t%s to %s\t\n", results.Grouped(f.Upkeep.CPU.Value), results.Grouped(f.Upkeep.CPU.Lo), results.Grouped(f.Upkeep.CPU.Hi))
		fmt.Fprintf(table, "connections made anew\t%s/s\t\t\n", results.Grouped(f.Upkeep.Opened))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", wrap(f.distance(), 0, textWidth))
	if len(f.Walls) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nLimits of a machine like that of the calibration, the first to be met on top:")
	for _, l := range f.Walls {
		fmt.Fprintln(w, "  "+wrap(l.Name+": "+l.Text+l.verdict(), 4, textWidth))
	}
	return nil
}

// distance says how far the prediction is from what was measured.
func (f *forecast) distance() string {
	text := fmt.Sprintf("Extrapolation: %s are %s times the most that was calibrated.", f.Driver, results.Grouped(f.Factor))
	switch {
	case f.Factor <= 1:
		text = "The size lies within the calibration."
	case f.Checked == 0:
		return text + " The model was never checked on a larger run than it was fitted to: see xmppbench model check."
	case f.Factor > f.Checked:
		text += fmt.Sprintf(" A check held up to %s times; beyond that the band knows only of errors like those of the calibration.", results.Grouped(f.Checked))
	default:
		text += fmt.Sprintf(" A check held up to %s times.", results.Grouped(f.Checked))
	}
	if f.Factor > 10*max(f.Checked, 1) {
		text += " Take it as an order of magnitude."
	}
	return text
}

// verdict says whether a wall is met.
func (w wall) verdict() string {
	if w.ratio() > 1 {
		return fmt.Sprintf(": %s times too many, met at %s of this size", results.Grouped(w.ratio()), share(1/w.ratio()))
	}
	return fmt.Sprintf(": %s of it", share(w.ratio()))
}

// hours writes a duration without parts that are 0.
func hours(d time.Duration) string {
	s := roundDuration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// share writes a share in percent, with two digits at least.
func share(v float64) string {
	if v >= 0.1 {
		return strconv.FormatFloat(100*v, 'f', 0, 64) + " %"
	}
	return strconv.FormatFloat(100*v, 'g', 2, 64) + " %"
}
