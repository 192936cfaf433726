package cli

import (
	"cmp"
	"encoding/json"
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
	Variant string `json:"variant"`
	Size    string `json:"size"`
	Traffic string `json:"traffic"`
	// Forms is what closed forms say of the size.
	Forms   scenarios.Forecast `json:"forms"`
	Drivers map[string]float64 `json:"drivers"`
	// Factor is how many times the largest calibrated size it is, by the driver that goes
	// farthest; Checked is how far a check that passed went by the same one, 0 if there was none.
	Factor  float64              `json:"factor"`
	Driver  string               `json:"driver,omitempty"`
	Checked float64              `json:"checked"`
	Values  []results.Prediction `json:"values"`
	// Upkeep is the CPU time of each second once everything stands: the number of CPUs.
	Upkeep *results.Prediction `json:"upkeep,omitempty"`
	Walls  []wall              `json:"walls"`

	subject subject
}

// A subject is what models of a scenario are asked about.
type subject struct {
	scenario string
	who      string // whose costs are predicted
	holds    string // who holds memory
	end      string // what one end of the connections is
	cpu, rss string // the quantities that are limited by a machine
	coming   string // what takes CPU time
	// rates are drivers by the name that they have in a second of upkeep.
	rates []rate
	// flags are those that other subjects lack.
	flags []string
	// size returns what is asked, and how to answer it for a variant of the model.
	size func(f predictFlags) (question, error)
}

// A rate is a driver as something that goes on.
type rate struct{ driver, name string }

// A question is a size that a model is asked about.
type question struct {
	size, traffic string
	forms         func(variant json.RawMessage) (scenarios.Forecast, error)
}

// subjects are what models can be asked about, one for each scenario that models are made
// of.
func subjects() []subject {
	return []subject{
		{
			scenario: scenarios.FederationScenario, who: "both ends", holds: "both ends hold", end: "each provider", cpu: "cpu.mesh", rss: "rss", coming: "coming up takes",
			rates: []rate{{"connections", "connections made anew"}, {"messages", "messages"}},
			flags: []string{"domains", "per-pair", "traffic", "zipf", "idle"},
			size:  predictFlags.mesh,
		},
		{
			scenario: scenarios.SessionCost, who: "quantity", holds: "the server holds", end: "the server", cpu: "cpu.server", rss: "rss.server", coming: "all logins and messages take",
			rates: []rate{{"sessions", "logins"}, {"messages", "messages"}},
			flags: []string{"sessions", "items", "login-rate", "message-rate"},
			size:  predictFlags.logins,
		},
	}
}

// A wall is a limit of a machine, and what the size needs of it.
type wall struct {
	Name  string  `json:"name"`
	Need  float64 `json:"need"`
	Limit float64 `json:"limit"`
	Text  string  `json:"text"`
}

func (w wall) ratio() float64 { return w.Need / w.Limit }

func newForecast(m *results.Model, part *results.ModelPart, about subject, q question, f predictFlags) (forecast, error) {
	out := forecast{Variant: part.Variant, Size: q.size, Traffic: q.traffic, subject: about}
	state := m.Checked(part.Variant)
	if state == results.Failed {
		return out, &exitError{ExitInvalid, fmt.Errorf("%s: the last check of the model failed, so that it predicts nothing: mend the calibration and check again", part.Variant)}
	}
	var err error
	if out.Forms, err = q.forms(part.Settings); err != nil {
		return out, usage(err)
	}
	out.Drivers = out.Forms.Drivers()
	out.Factor, out.Driver = part.Factor(out.Drivers)
	if state == results.Passed {
		out.Checked = part.Reach(out.Driver)
	}
	if out.Factor > f.limit {
		return out, usage(fmt.Errorf("%s: %s are %s times the most that was calibrated; the limit is %s: run larger sizes, or say --max-extrapolation %s to take it as an order of magnitude",
			part.Variant, out.Driver, results.Grouped(out.Factor), results.Grouped(f.limit), strconv.FormatFloat(roundUp(out.Factor), 'g', -1, 64)))
	}
	for _, q := range part.Quantities {
		out.Values = append(out.Values, part.Predict(q, out.Drivers, f.level))
	}
	if cpu, ok := part.Quantity(about.cpu); ok && out.Forms.PerSecond != nil {
		p := part.Predict(cpu.WithoutConstant(), out.Forms.PerSecond, f.level)
		p.Name = "cpu.upkeep"
		out.Upkeep = &p
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
		add("descriptors", f.Forms.Ends, limit, "ends of connections at %s: %s, and a process may open %s descriptors (ulimit -n)", f.subject.end, results.Grouped(f.Forms.Ends), results.Grouped(limit))
	}
	var low, high float64
	if n, _ := fmt.Sscan(e.Sysctl["net.ipv4.ip_local_port_range"], &low, &high); n == 2 && high >= low {
		add("ports", f.Forms.Ports, high-low+1, "connections from one address to one other: %s, and there are %s ports for them (net.ipv4.ip_local_port_range)", results.Grouped(f.Forms.Ports), results.Grouped(high-low+1))
	}
	if rss, ok := f.value(f.subject.rss); ok {
		value, _ := rss.Text()
		have, _ := results.Prediction{Value: float64(e.Memory), Unit: results.UnitBytes}.Text()
		add("memory", rss.Value, float64(e.Memory), "%s %s, and the machine has %s", f.subject.holds, value, have)
	}
	if cpu, ok := f.value(f.subject.cpu); ok && e.CPUs > 0 {
		value, _ := cpu.Text()
		add("bring-up", cpu.Value, float64(e.CPUs)*o.within.Seconds(), "%s %s of CPU time, and %s have %s of it within %s (--within)",
			f.subject.coming, value, plural(e.CPUs, "CPU"), hours(time.Duration(e.CPUs)*o.within), hours(o.within))
	}
	if f.Upkeep != nil && e.CPUs > 0 {
		add("upkeep", f.Upkeep.Value, float64(e.CPUs), "%s a second take %s CPUs, and there are %d", f.going(), results.Grouped(f.Upkeep.Value), e.CPUs)
	}
	slices.SortStableFunc(f.Walls, func(a, b wall) int { return cmp.Compare(b.ratio(), a.ratio()) })
}

// going says what goes on once everything stands.
func (f *forecast) going() string {
	var all []string
	for _, r := range f.subject.rates {
		if v := f.Forms.PerSecond[r.driver]; v > 0 {
			all = append(all, results.Grouped(v)+" "+r.name)
		}
	}
	return strings.Join(all, " and ")
}

func (f *forecast) write(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s: %s\n\n", f.Variant, f.Size, f.Traffic)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, name := range f.Forms.CountNames() {
		fmt.Fprintf(table, "%s\t%s\t\n", name, results.Grouped(f.Forms.Counts[name]))
	}
	fmt.Fprintf(table, "ports from one address to one other\t%s\t\n", results.Grouped(f.Forms.Ports))
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	level := 0.0
	for _, v := range f.Values {
		level = v.Level
	}
	fmt.Fprintf(table, "%s\tpredicted\t%g %% band\t\n", f.subject.who, 100*level)
	for _, v := range f.Values {
		value, band := v.Text()
		fmt.Fprintf(table, "%s\t%s\t%s\t\n", v.Name, value, band)
	}
	if f.Upkeep != nil {
		fmt.Fprintf(table, "CPUs to keep up\t%s\t%s to %s\t\n", results.Grouped(f.Upkeep.Value), results.Grouped(f.Upkeep.Lo), results.Grouped(f.Upkeep.Hi))
		for _, r := range f.subject.rates {
			fmt.Fprintf(table, "%s\t%s/s\t\t\n", r.name, results.Grouped(f.Forms.PerSecond[r.driver]))
		}
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
	case f.Checked <= 1:
		text += " Checks went no further in them than the calibration; beyond it the band knows only of errors like those of the calibration."
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
