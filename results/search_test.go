package results

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/xmppbench/xmppbench/internal/golden"
)

// searchRun writes a run of one goal: at each level a trial whose responses follow
// from the level, and the given ends.
func searchRun(t *testing.T, status Status, goal SearchGoal, trials []SearchTrial, found ...SearchFound) *Run {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "search")
	recorder := NewRecorder()
	w, err := Create(dir, Manifest{
		ID: "20261126T090000Z-login-storm-0001", Scenario: goal.Scenario, Started: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC),
		Variants: []string{goal.Variant}, Limits: DefaultLimits(),
		Environment: Environment{OS: "linux", Arch: "amd64", CPU: "test", CPUs: 2, Memory: 1 << 30, Go: "go1.26", GOMAXPROCS: 2, GOGC: 100},
	}, Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	w.Search(SearchLine{Goal: &goal})
	start := time.Date(2026, 11, 26, 9, 0, 1, 0, time.UTC)
	for i, trial := range trials {
		trial.Goal, trial.Variant, trial.Block = goal.Name, goal.Variant, i
		trial.Plan = "rate=" + strings.ReplaceAll(formatCount(trial.Level)+"/s", "/", "_")
		trial.Start = start.Add(time.Duration(i) * 10 * time.Second)
		trial.End = trial.Start.Add(5 * time.Second)
		w.Plan(Plan{Name: trial.Plan})
		sink := recorder.Sink(trial.Key)
		n := int(trial.Level * 5)
		for j := range n {
			at := trial.Start.Add(time.Duration(j) * time.Second / time.Duration(trial.Level))
			d := time.Duration(float64(10*time.Millisecond) * (1 + float64(j)/float64(n)) / max(0.01, 1-trial.Level/1000))
			sink.Observe(Sample{Metric: "ready", Intended: at, Start: at, End: at.Add(d)})
		}
		block := Block{Key: trial.Key, Start: trial.Start, End: trial.End, Valid: trial.Judgement != "invalid"}
		if !block.Valid {
			block.Flags = []Flag{{Kind: "lateness", Severity: Invalid, Text: trial.Reason}}
		}
		w.Block(block)
		w.Search(SearchLine{Trial: &trial})
	}
	for _, f := range found {
		f.Goal = goal.Name
		w.Search(SearchLine{Found: &f})
	}
	var reasons []string
	if status == StatusInvalid {
		reasons = []string{"the generator cannot go higher"}
	}
	if err := w.Close(status, reasons...); err != nil {
		t.Fatal(err)
	}
	run, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// logins is the goal that the tests search for.
func logins(repeat int) SearchGoal {
	return SearchGoal{
		Name: "load.rate", Scenario: "login-storm", Variant: "monolithic", Target: "sim", Over: "load.rate", Unit: "logins/s", Metric: "ready",
		SLO: []string{"ready p(99)<100ms"}, Errors: 0.01, Attainment: 0.98, Start: 100, Min: 10, Max: 1e6, Tolerance: 1.06, Repeat: repeat,
	}
}

// tried is a trial at a level.
func tried(search int, level float64, judgement, reason string) SearchTrial {
	got := level / 1e4
	return SearchTrial{
		Search: search, Phase: "bisect", Level: level, Judgement: judgement, Reason: reason, Planned: level, Achieved: level * 0.99,
		SLO: []SLOFigure{{Expr: "ready p(99)<100ms", Got: &got, N: int64(level * 5), Holds: judgement == "pass"}},
	}
}

// TestSearchReport writes runs of every end and holds their reports against golden
// files, as text, in Markdown and as JSON of the schema.
func TestSearchReport(t *testing.T) {
	aborted := tried(1, 800, "fail", "ready p(99) is over the limit")
	aborted.Aborted = true
	trials := []SearchTrial{
		tried(1, 100, "pass", "ready p(99) is 22ms"), tried(1, 400, "invalid", "the generator was late"), tried(1, 400, "pass", "ready p(99) is 33ms"),
		aborted, tried(1, 566, "fail", "ready p(99) is 120ms"), tried(1, 566, "fail", "ready p(99) is 130ms"), tried(1, 476, "pass", "ready p(99) is 38ms"),
		tried(0, 250, "pass", "ready p(99) is 26ms"),
	}
	late := tried(1, 566, "invalid", "the generator was late")
	one := SearchFound{Search: 1, End: "bracket", Lo: 476, Hi: 566, Confirmed: true, Reason: "ready p(99) is 130ms", Trials: 7, Seconds: 70}
	tests := []struct {
		name   string
		status Status
		repeat int
		trials []SearchTrial
		found  []SearchFound
	}{
		{"one", StatusOK, 1, trials, []SearchFound{one}},
		{"several", StatusOK, 3, trials, []SearchFound{
			one, {Search: 2, End: "bracket", Lo: 400, Hi: 476, Confirmed: true, Reason: "ready p(99) is 110ms"}, {Search: 3, End: "budget", Lo: 250, Hi: 566},
		}},
		{"maximum", StatusOK, 1, trials[:1], []SearchFound{{Search: 1, End: "maximum", Lo: 100, Confirmed: true}}},
		{"nothing", StatusFailed, 3, trials[4:6], []SearchFound{{Search: 1, End: "nothing", Hi: 566, Reason: "ready p(99) is 130ms"}}},
		{"invalid", StatusInvalid, 1, append(trials[:3:3], late, late), []SearchFound{{Search: 1, End: "invalid", Lo: 400, Stuck: 566, Reason: "the generator was late"}}},
		{"invalid-below", StatusInvalid, 3, append(trials[:3:3], late, late), []SearchFound{one, {Search: 2, End: "invalid", Lo: 250, Stuck: 400, Reason: "the generator was late"}}},
		{"invalid-first", StatusInvalid, 3, append(trials[:3:3], late, late), []SearchFound{one, {Search: 2, End: "invalid", Stuck: 566, Reason: "the generator was late"}}},
		{"interrupted", StatusInterrupted, 1, trials[:5], nil},
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("schema", "report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := searchRun(t, tt.status, logins(tt.repeat), tt.trials, tt.found...)
			golden.File(t, filepath.Join("testdata", "search", tt.name+".txt"), report(t, "text", ReportOptions{Width: 80}, run))
			golden.File(t, filepath.Join("testdata", "search", tt.name+".md"), report(t, "md", ReportOptions{}, run))
			b := report(t, "json", ReportOptions{}, run)
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSearchLevels checks what the golden files show but do not explain.
func TestSearchLevels(t *testing.T) {
	cut := tried(1, 300, "fail", "over the limit")
	cut.Aborted = true
	s := searchRun(t, StatusOK, logins(1), []SearchTrial{
		tried(1, 200, "fail", "a fluke"), tried(1, 200, "pass", "fine"), tried(1, 200, "pass", "fine again"),
		cut, tried(1, 300, "fail", "measured"),
		tried(1, 40, "pass", "fine"),
	}).searches()[0]
	if len(s.Levels) != 3 || s.Levels[0].Level != 40 || s.Levels[2].Level != 300 {
		t.Fatalf("levels %+v", s.Levels)
	}
	if l := s.Levels[1]; l.Judgement != "pass" || l.Reason != "fine again" || l.Response.N != 3000 {
		t.Errorf("outvoted: %+v, %d samples", l, l.Response.N)
	}
	if l := s.Levels[2]; l.Aborted || l.Judgement != "fail" || l.Response.N != 1500 || l.Reason != "measured" {
		t.Errorf("one of two was aborted: %+v, %d samples", l, l.Response.N)
	}
	// 200 samples support a median and no 0.99 quantile.
	if q := s.Levels[0].Response.Quantiles; q[0].Value == nil || q[2].Value != nil {
		t.Errorf("quantiles of few samples: %+v", q)
	}
}

// What bounds the levels stands in the answer.
func TestSearchBound(t *testing.T) {
	goal := logins(1)
	goal.MaxBy = "lab has 100 accounts"
	s := searchRun(t, StatusOK, goal, []SearchTrial{tried(1, 100, "pass", "fine")}, SearchFound{Search: 1, End: "maximum", Lo: 100, Confirmed: true}).searches()[0]
	if want := "the highest level that there can be (lab has 100 accounts)"; !strings.HasSuffix(s.Answer, want) || !strings.HasPrefix(s.Bound, want) {
		t.Errorf("answer %q, bound %q", s.Answer, s.Bound)
	}
}

// TestSearchLimit holds a level that failed against what the run says of its machine, its addresses and its limits.
func TestSearchLimit(t *testing.T) {
	const ports, cpu = "net.ipv4.ip_local_port_range", 0.8
	for _, tt := range []struct {
		name   string
		change func(*SearchGoal, *Manifest)
		want   string
	}{
		{"one address", func(*SearchGoal, *Manifest) {},
			"the first limit is the generator: the generator used 80 % of its one CPU, and is in doubt from 70 % on"},
		{"another share of the CPUs", func(_ *SearchGoal, m *Manifest) { m.Limits.GeneratorCPU = 0.9 },
			"the first limit is the ports: the server had 30000 sockets open, and the generator has 28232 local ports to connect from"},
		{"several addresses", func(g *SearchGoal, m *Manifest) { g.Sources, m.Limits.GeneratorCPU = 4, 0.9 },
			"no limit was found; closest came the generator: the generator used 80 % of its one CPU, and is in doubt from 90 % on"},
		{"CPUs are not judged", func(g *SearchGoal, m *Manifest) { g.Sources, m.Limits.GeneratorCPU = 4, 0 },
			"no limit was found; closest came the ports: the server had 30000 sockets open, and the generator has 112928 local ports to connect from"},
		{"no limits are told", func(_ *SearchGoal, m *Manifest) { m.Limits = Limits{} },
			"the first limit is the generator: the generator used 80 % of its one CPU, and is in doubt from 70 % on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			goal := logins(1)
			m := Manifest{Limits: DefaultLimits(), Environment: Environment{GOMAXPROCS: 1, Sysctl: map[string]string{ports: "32768\t60999"}}}
			tt.change(&goal, &m)
			start := time.Unix(1000, 0)
			trial := tried(1, 400, "fail", "ready p(99) is over the limit")
			trial.Goal, trial.Start, trial.End = goal.Name, start, start.Add(10*time.Second)
			r := &Run{Manifest: m, SearchLines: []SearchLine{{Goal: &goal}, {Trial: &trial}, {Found: &SearchFound{Goal: goal.Name, Search: 1, End: "nothing", Hi: 400}}}}
			for i := range 11 {
				r.Series = append(r.Series, Second{Time: start.Add(time.Duration(i) * time.Second), Figures: map[string]float64{
					"cpu.generator": cpu * float64(i), "sockets.server": 30000,
				}})
			}
			if got, want := r.searches()[0].Limit, "At 400 logins/s "+tt.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	recorder := NewRecorder()
	key := Key{Plan: "p", Variant: "v"}
	sink := recorder.Sink(key)
	start := time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC)
	for i := range 100 {
		sink.Observe(Sample{Metric: "ready", Intended: start, Start: start, End: start.Add(time.Duration(i+1) * time.Millisecond)})
	}
	sink.Observe(Sample{Metric: "ready", Intended: start, Start: start, End: start, Err: fmt.Errorf("refused")})
	total := recorder.Total(key)
	tests := []struct {
		expr string
		want float64
		n    int64
		ok   bool
	}{
		{"ready p(90)<1s", 0.09, 100, true},
		{"ready p(99)<1s", 0, 100, false},
		{"ready max<1s", 0.1, 100, true},
		{"ready count>1", 100, 100, true},
		{"ready rate>1/s", 10, 100, true},
		{"ready errors<1%", 1.0 / 101, 101, true},
		{"rss.server max<1GiB", 5e6, 1, true},
		{"login mean<1s", 0, 0, false},
	}
	for _, tt := range tests {
		e, err := Parse(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		got, n, err := e.Judge(&total, map[string]float64{"rss.server": 5e6}, 10*time.Second)
		if (err == nil) != tt.ok || n != tt.n || tt.ok && (got < tt.want*0.999 || got > tt.want*1.001) {
			t.Errorf("%s: %v of %d samples, %v", tt.expr, got, n, err)
		}
	}
}
