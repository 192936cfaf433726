package results

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Limits of the self-check. They stand in the manifest, so that a reader can
// tell what a run promised. [DefaultLimits] are in force unless the user says
// otherwise.
type Limits struct {
	LatenessFloor time.Duration `json:"lateness-floor-ns"` // a lateness below this is never flagged
	LatenessShare float64       `json:"lateness-share"`    // of the same quantile of response
	Dropped       int64         `json:"dropped"`           // arrivals that found no room
	RateShortfall float64       `json:"rate-shortfall"`    // share of the planned arrivals that may be missing
	Clamped       int64         `json:"clamped"`           // samples outside the range of the histograms

	// What is above these is a warning.
	GeneratorCPU float64 `json:"generator-cpu"` // share of the CPUs it may use
	GC           float64 `json:"gc"`            // longest pause of the garbage collector against p99 of response
	Scheduling   float64 `json:"scheduling"`    // longest wait of a goroutine for a thread against p99 of response
	Pressure     float64 `json:"pressure"`      // share of time in which some task waited for a CPU
	Steal        float64 `json:"steal"`         // share of the CPU time that the hypervisor gave to others
	Link         float64 `json:"link"`          // lateness p99 of the link itself against its RTT
}

// DefaultLimits returns the limits that hold unless the user sets others.
func DefaultLimits() Limits {
	return Limits{
		LatenessFloor: 3 * time.Millisecond,
		LatenessShare: 0.10,
		RateShortfall: 0.02,
		GeneratorCPU:  0.70,
		GC:            0.10,
		Scheduling:    0.10,
		Pressure:      0.20,
		Steal:         0.05,
		Link:          0.05,
	}
}

// changed tells the limits that are not the default ones, with the default
// beside each; "" if there are none.
func (l Limits) changed() string {
	of := func(l Limits) (m map[string]any) {
		b, err := json.Marshal(l)
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			panic("results: limits: " + err.Error()) // numbers only
		}
		m["lateness-floor"] = l.LatenessFloor
		delete(m, "lateness-floor-ns")
		return m
	}
	own, usual := of(l), of(DefaultLimits())
	var out []string
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if own[name] != usual[name] {
			out = append(out, fmt.Sprintf("%s %v (usually %v)", name, own[name], usual[name]))
		}
	}
	return strings.Join(out, ", ")
}

// Figures is what a run or a step knows of itself. A figure that is not known
// stays zero and is not judged.
type Figures struct {
	Response, Lateness *Histogram    // of the operations that had a planned start
	Samples            int64         // needed for the quantiles asked for, 0 if none is
	Dropped            int64         // arrivals that found no room
	Waited             int64         // arrivals that waited, as many operations as may be were under way
	Planned, Done      float64       // arrivals
	Poisson            bool          // arrivals are random: three standard deviations are allowed
	Clamped            int64         // samples outside the range of the histograms
	GeneratorCPU       float64       // share of the CPUs it may use, 0 to 1
	GCPause            time.Duration // longest of the garbage collector
	Scheduling         time.Duration // longest that a goroutine waited for a thread
	Pressure           float64       // share of time in which some task waited for a CPU, 0 to 1
	Steal              float64       // share of the CPU time that the hypervisor gave to others, 0 to 1
	Shared             bool          // generator and target share the machine: pressure says nothing
	LinkLateness       *Histogram    // of deliveries on the shaped link
	LinkRTT            time.Duration
	Access             *AccessUse // of the clients' own links; it is not judged here
}

// Severity says what a flag means for the run.
type Severity string

// A warning stands beside the figures; an invalid run has none.
const (
	Warning Severity = "warning"
	Invalid Severity = "invalid"
)

// Flag is one thing that a run holds against itself.
type Flag struct {
	Kind     string   `json:"kind"` // "lateness", "dropped", "rate", "samples", "clamped", "cpu", "gc", "scheduling", "pressure", "steal", "link", or what the caller adds
	Severity Severity `json:"severity"`
	Text     string   `json:"text"` // one sentence with figure and limit
}

// Check judges figures by limits. If any flag is [Invalid] the run must end
// without figures.
func Check(l Limits, f Figures) []Flag {
	var flags []Flag
	add := func(kind string, s Severity, format string, args ...any) {
		flags = append(flags, Flag{kind, s, fmt.Sprintf(format, args...)})
	}
	if f.Lateness != nil && f.Response != nil && f.Lateness.N() > 0 {
		late, name := tail(f.Lateness)
		resp, _ := tail(f.Response)
		limit := max(l.LatenessFloor, time.Duration(l.LatenessShare*float64(resp)))
		if late > limit {
			waited := ""
			if f.Waited > 0 {
				waited = fmt.Sprintf("; %d arrivals waited, since as many operations as may be were under way", f.Waited)
			}
			add("lateness", Invalid, "the generator was late: lateness %s %s is over %s, the larger of %s and %s %% of response %s (%s)%s",
				name, formatSeconds(late.Seconds()), formatSeconds(limit.Seconds()), formatSeconds(l.LatenessFloor.Seconds()),
				significant(100*l.LatenessShare), name, formatSeconds(resp.Seconds()), waited)
		}
	}
	if f.Samples > 0 && f.Response != nil && f.Response.N() < f.Samples {
		add("samples", Invalid, "too few samples: %d, at least %d are needed", f.Response.N(), f.Samples)
	}
	if f.Dropped > l.Dropped {
		add("dropped", Invalid, "%d arrivals were dropped, at most %d may be", f.Dropped, l.Dropped)
	}
	if f.Planned > 0 {
		need := f.Planned * (1 - l.RateShortfall)
		if f.Poisson {
			need -= 3 * math.Sqrt(f.Planned)
		}
		if f.Done < need {
			add("rate", Invalid, "the planned rate was missed: %s of %s arrivals done, at least %s are needed",
				formatCount(f.Done), formatCount(math.Round(f.Planned)), formatCount(math.Ceil(need)))
		}
	}
	if f.Clamped > l.Clamped {
		add("clamped", Invalid, "%d samples lay outside the range of the histograms (0 to %s), at most %d may", f.Clamped, time.Duration(highestValue), l.Clamped)
	}
	if f.GeneratorCPU > l.GeneratorCPU {
		add("cpu", Warning, "the generator used %.0f %% of its CPUs, over %.0f %%", 100*f.GeneratorCPU, 100*l.GeneratorCPU)
	}
	pause := func(kind, what string, d time.Duration, share float64) {
		if d <= 0 || f.Response == nil || f.Response.N() == 0 {
			return
		}
		if resp, name := tail(f.Response); float64(d) > share*float64(resp) {
			add(kind, Warning, "%s %s, over %s %% of response %s (%s)", what, formatSeconds(d.Seconds()), significant(100*share), name, formatSeconds(resp.Seconds()))
		}
	}
	pause("gc", "the garbage collector of the generator stopped it for", f.GCPause, l.GC)
	pause("scheduling", "something ready to run in the generator waited for", f.Scheduling, l.Scheduling)
	if !f.Shared && f.Pressure > l.Pressure {
		add("pressure", Warning, "tasks of this machine waited for a CPU %.0f %% of the time, over %.0f %%", 100*f.Pressure, 100*l.Pressure)
	}
	if f.Steal > l.Steal {
		add("steal", Warning, "the hypervisor gave %s %% of the CPU time of this machine to others, over %s %%", significant(100*f.Steal), significant(100*l.Steal))
	}
	if f.LinkRTT > 0 && f.LinkLateness != nil && f.LinkLateness.N() > 0 {
		late, name := tail(f.LinkLateness)
		if float64(late) > l.Link*float64(f.LinkRTT) {
			add("link", Warning, "the link delivered late: %s %s, over %.0f %% of its round trip %s",
				name, formatSeconds(late.Seconds()), 100*l.Link, formatSeconds(f.LinkRTT.Seconds()))
		}
	}
	return flags
}

// IsInvalid reports whether any flag forbids figures.
func IsInvalid(flags []Flag) bool {
	for _, f := range flags {
		if f.Severity == Invalid {
			return true
		}
	}
	return false
}

// tail is the p99 if enough samples stand behind it, else the highest quantile
// of 0.95 and 0.9 of which that is true, else the maximum: a short cell
// must be able to judge itself too.
func tail(h *Histogram) (time.Duration, string) {
	for _, q := range []struct {
		q    float64
		name string
	}{{0.99, "p99"}, {0.95, "p95"}, {0.9, "p90"}} {
		if v := h.Quantile(q.q); v.OK {
			return v.Value, q.name
		}
	}
	return h.Max(), "max"
}
