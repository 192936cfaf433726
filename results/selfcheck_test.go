package results

import (
	"strings"
	"testing"
	"time"
)

// spread is a histogram of n samples, one in a hundred of which takes slow.
func spread(n int64, usual, slow time.Duration) *Histogram {
	h := NewHistogram()
	h.Record(usual, n-n/50)
	h.Record(slow, n/50)
	return h
}

func TestCheck(t *testing.T) {
	ok := Figures{
		Response: spread(10_000, 10*time.Millisecond, 100*time.Millisecond),
		Lateness: spread(10_000, 0, 9*time.Millisecond), // below 10 % of 100 ms
		Samples:  1000, Planned: 10_000, Done: 10_000,
		GeneratorCPU: 0.7, GCPause: time.Millisecond, Scheduling: time.Millisecond, Pressure: 0.1, Steal: 0.05,
		LinkLateness: spread(1000, 0, time.Millisecond), LinkRTT: 50 * time.Millisecond,
	}
	if flags := Check(DefaultLimits(), ok); len(flags) != 0 {
		t.Errorf("a good run is flagged: %+v", flags)
	}
	for _, tt := range []struct {
		name     string
		change   func(*Figures)
		kind     string
		severity Severity
		text     string
	}{
		{"late", func(f *Figures) { f.Lateness = spread(10_000, 0, 11*time.Millisecond) }, "lateness", Invalid, "lateness p99 11ms is over 10ms"},
		{"late below the floor", func(f *Figures) {
			f.Response, f.GCPause, f.Scheduling = spread(10_000, time.Millisecond, 2*time.Millisecond), 0, 0
			f.Lateness = spread(10_000, 0, 2*time.Millisecond)
		}, "", "", ""},
		{"late with few samples", func(f *Figures) {
			f.Samples, f.Response, f.Lateness = 0, spread(300, 10*time.Millisecond, 10*time.Millisecond), NewHistogram()
			f.Lateness.Record(5*time.Millisecond, 300)
		}, "lateness", Invalid, "lateness p95 5ms is over 3ms"},
		{"late with very few samples", func(f *Figures) {
			f.Samples, f.Response, f.Lateness = 0, spread(3, 100*time.Millisecond, 0), NewHistogram()
			f.Lateness.Record(50*time.Millisecond, 3)
		}, "lateness", Invalid, "lateness max 50ms is over 10ms"},
		{"dropped", func(f *Figures) { f.Dropped = 1 }, "dropped", Invalid, "1 arrivals were dropped"},
		{"slow", func(f *Figures) { f.Done = 9799 }, "rate", Invalid, "9799 of 10000 arrivals"},
		{"slow by chance", func(f *Figures) { f.Done, f.Poisson = 9501, true }, "", "", ""},
		{"slow beyond chance", func(f *Figures) { f.Done, f.Poisson = 9499, true }, "rate", Invalid, "9499 of 10000 arrivals"},
		{"few", func(f *Figures) { f.Samples = 10_001 }, "samples", Invalid, "too few samples: 10000"},
		{"clamped", func(f *Figures) { f.Clamped = 2 }, "clamped", Invalid, "2 samples lay outside"},
		{"cpu", func(f *Figures) { f.GeneratorCPU = 0.9 }, "cpu", Warning, "90 %"},
		{"late for want of room", func(f *Figures) { f.Lateness, f.Waited = spread(10_000, 0, 11*time.Millisecond), 7 }, "lateness", Invalid, "; 7 arrivals waited"},
		{"gc", func(f *Figures) { f.GCPause = 11 * time.Millisecond }, "gc", Warning, "stopped it for 11ms, over 10 % of response p99 (100ms)"},
		{"scheduling", func(f *Figures) { f.Scheduling = 11 * time.Millisecond }, "scheduling", Warning, "waited for 11ms"},
		{"steal", func(f *Figures) { f.Steal = 0.06 }, "steal", Warning, "gave 6 % of the CPU time of this machine to others, over 5 %"},
		{"steal beside the target", func(f *Figures) { f.Steal, f.Shared = 0.06, true }, "steal", Warning, "6 %"},
		{"pressure", func(f *Figures) { f.Pressure = 0.5 }, "pressure", Warning, "50 %"},
		{"pressure from the target", func(f *Figures) { f.Pressure, f.Shared = 0.9, true }, "", "", ""},
		{"link", func(f *Figures) { f.LinkLateness = spread(1000, 0, 3*time.Millisecond) }, "link", Warning, "the link delivered late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ok
			tt.change(&f)
			flags := Check(DefaultLimits(), f)
			if tt.kind == "" {
				if len(flags) != 0 {
					t.Errorf("flags %+v, want none", flags)
				}
				return
			}
			if len(flags) != 1 || flags[0].Kind != tt.kind || flags[0].Severity != tt.severity || !strings.Contains(flags[0].Text, tt.text) {
				t.Errorf("flags %+v, want one %s of kind %s with %q", flags, tt.severity, tt.kind, tt.text)
			}
			if got := IsInvalid(flags); got != (tt.severity == Invalid) {
				t.Errorf("IsInvalid %v", got)
			}
		})
	}
	if flags := Check(DefaultLimits(), Figures{}); len(flags) != 0 {
		t.Errorf("what is not known is judged: %+v", flags)
	}
}

func TestMetricTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range Metrics() {
		if seen[m.Name] {
			t.Errorf("%s stands twice in the table", m.Name)
		}
		seen[m.Name] = true
		if err := checkMetricName(m.Name); err != nil {
			t.Error(err)
		}
		if m.Doc == "" || !strings.HasSuffix(m.Doc, ".") || (m.From == "") != (m.To == "") || m.Timed() && m.Unit != UnitSeconds {
			t.Errorf("%s is not wholly described: %+v", m.Name, m)
		}
		// A scalar's name must lead back to its metric.
		for _, stat := range []string{"mean", "p50", "max", "n"} {
			if seen[m.Name+"."+stat] {
				t.Errorf("%s.%s is a metric of its own", m.Name, stat)
			}
		}
		if s := parseScalar(Metrics(), m.Name+".mean"); m.Timed() && (s.metric.Name != m.Name || s.stat != "mean") {
			t.Errorf("%s.mean is taken for %+v", m.Name, s)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, UnitSeconds, "0s"}, {1.0234, UnitSeconds, "1.02s"}, {0.0123, UnitSeconds, "12.3ms"}, {0.99999, UnitSeconds, "1s"},
		{123e-6, UnitSeconds, "123µs"}, {5e-9, UnitSeconds, "5ns"}, {3725, UnitSeconds, "3725s"}, {-0.5, UnitSeconds, "-500ms"},
		{0, UnitBytes, "0B"}, {1023, UnitBytes, "1023B"}, {1024, UnitBytes, "1KiB"}, {1090519, UnitBytes, "1.04MiB"},
		{5000, UnitCount, "5000"}, {1234567, UnitCount, "1234567"}, {2.5, UnitCount, "2.5"},
	} {
		if got := formatUnit(tt.v, tt.unit); got != tt.want {
			t.Errorf("formatUnit(%v, %q) = %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}
