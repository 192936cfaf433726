package results

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		give   string
		metric string
		agg    Aggregation
		q      float64
		op     string
		value  float64
		unit   string
		want   string
	}{
		{"ready p(99)<2s", "ready", AggQuantile, 0.99, "<", 2, "s", "ready p(99)<2s"},
		{"probe mean<=1.10", "probe", AggMean, 0, "<=", 1.10, "", "probe mean<=1.10"},
		{"p(99.9) < 200 ms", "", AggQuantile, 0.999, "<", 0.2, "s", "p(99.9)<200 ms"},
		{"avg>=1.5m", "", AggMean, 0, ">=", 90, "s", "mean>=1.5m"},
		{"med===3us", "", AggMedian, 0.5, "==", 3e-6, "s", "med==3us"},
		{"ready errors<1%", "ready", AggErrors, 0, "<", 0.01, "%", "ready errors<1%"},
		{"ready rate>10k/s", "ready", AggRate, 0, ">", 10_000, "/s", "ready rate>10k/s"},
		{"bytes.in count<64KiB", "bytes.in", AggCount, 0, "<", 65536, "B", "bytes.in count<64KiB"},
		{"bytes.in rate<1MB/s", "bytes.in", AggRate, 0, "<", 1e6, "B/s", "bytes.in rate<1MB/s"},
		{"ready p(95) < 2 s abort", "ready", AggQuantile, 0.95, "<", 2, "s", "ready p(95)<2 s abort"},
		{"errors<5% abort after 1m30s", "", AggErrors, 0, "<", 0.05, "%", "errors<5% abort after 1m30s"},
		{"round-trips max!==3", "round-trips", AggMax, 0, "!=", 3, "", "round-trips max!=3"},
	} {
		e, err := Parse(tt.give)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.give, err)
			continue
		}
		if e.Metric != tt.metric || e.Agg != tt.agg || !close64(e.Q, tt.q) || e.Op != tt.op || !close64(e.Value, tt.value) || e.Unit != tt.unit {
			t.Errorf("Parse(%q) = %+v", tt.give, e)
		}
		if got := e.String(); got != tt.want {
			t.Errorf("Parse(%q).String() = %q, want %q", tt.give, got, tt.want)
		}
	}
}

func close64(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestParseErrors(t *testing.T) {
	for give, want := range map[string]string{
		"":                              "no comparison",
		"ready p(99)":                   "no comparison",
		"<2s":                           "one aggregation",
		"ready the p(99)<2s":            "one aggregation",
		"p(100)<2s":                     "between 0 and 100",
		"p(x)<2s":                       "between 0 and 100",
		"p(99<2s":                       "between 0 and 100",
		"p99<2s":                        "unknown aggregation",
		"mean<>2s":                      "unknown operator",
		"mean<":                         "decimal number",
		"mean<-2s":                      "decimal number",
		"mean<2lightyears":              "unknown unit",
		"mean<2s/s":                     "per second",
		"a/b mean<2s":                   "made of letters",
		"ready mean<2s abort 10s":       "such as after 10s",
		"ready mean<2s abort after 10":  "such as after 10s",
		"ready mean<2s abort after -1s": "such as after 10s",
		"ready mean<2s aborts":          "such as after 10s",
		"p(" + strings.Repeat("9", 400): "longer than",
	} {
		if _, err := Parse(give); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want one with %q", give, err, want)
		}
	}
}

func TestCheckThreshold(t *testing.T) {
	for give, want := range map[string]string{
		"ready p(99)<2s":        "",
		"ready p(99)<2":         "a time such as",
		"ready mean<2KiB":       "a time such as",
		"ready count>10":        "",
		"ready rate>5/s":        "",
		"ready errors<=0":       "",
		"bytes.in mean<1MiB":    "",
		"bytes.in mean<1s":      "a size such as",
		"stanzas mean<12":       "",
		"stanzas errors<1%":     "cannot fail",
		"unheard.of mean<1s":    "unknown metric",
		"bytes.in rate<1MiB/s":  "",
		"cpu.client mean<100ms": "",

		"ready errors==0 abort":    "",
		"bytes.in mean<1MiB abort": "",
		"ready count<100 abort":    "",
		"ready count>100 abort":    "not known before the end",
		"ready rate>5/s abort":     "not known before the end",
	} {
		e, err := Parse(give)
		if err != nil {
			t.Fatal(err)
		}
		switch err := e.CheckThreshold(Metrics()); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", give, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want one with %q", give, err, want)
		}
	}
}

func TestThresholds(t *testing.T) {
	r, err := Open(testRun(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		give string
		want []State // monolithic, chunked
		text string
	}{
		{"probe mean<15ms", []State{Failed, Passed}, "21ms"},
		{"probe max<=1s", []State{Passed, Passed}, ""},
		{"probe med<15ms", []State{Failed, Passed}, ""},
		{"probe p(99)<1s", []State{Refused, Refused}, "60 samples, at least 1000 are needed"},
		{"iq errors<1%", []State{Failed, Failed}, "3.23%"},
		{"iq count==60", []State{Passed, Passed}, ""},
		{"iq rate>5/s", []State{Passed, Passed}, ""},
		{"stanzas count==120", []State{Passed, Passed}, ""},
		{"stanzas mean==60", []State{Passed, Passed}, ""},
		{"victim mean<1s", []State{Refused, Refused}, "nothing is known of victim"},
	} {
		e, err := Parse(tt.give)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Thresholds(Metrics(), e)
		if len(got) != 2 {
			t.Fatalf("%q: %d outcomes, want one for each variant", tt.give, len(got))
		}
		for _, o := range got {
			want := tt.want[0]
			if o.Variant != "monolithic" {
				want = tt.want[1]
			}
			if o.State != want {
				t.Errorf("%q: %s is %s, want %s (%s)", tt.give, o.Variant, o.State, want, o.Text)
			}
		}
		if all := got[0].Text + got[1].Text; !strings.Contains(all, tt.text) {
			t.Errorf("%q: %q lacks %q", tt.give, all, tt.text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"ready p(99)<2s", "probe mean<=1.10", "p(99.9) < 200 ms", "bytes.in rate<1MB/s", "errors<1%", "p(.)<..", "é mean==1µs", "count!==0x1p3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(e.String())
		if err != nil || again != e {
			t.Errorf("%q reads as %+v, written %q, read again %+v, %v", s, e, e.String(), again, err)
		}
		_ = e.CheckGate()
		_ = e.CheckThreshold(Metrics())
	})
}
