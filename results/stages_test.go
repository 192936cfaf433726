package results

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Each stage of a load has the operations that ended in it, by the intervals that lie wholly
// in it, and those of ramps between stages are nobody's.
func TestStages(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	plan := &r.Manifest.Plans[0]
	plan.Name, plan.Stages = "all", []Stage{
		{Load: "load.rate", Metric: "ready", Rate: 10, From: 0, To: 2.5},
		{Load: "load.rate", Metric: "ready", Rate: 20, From: 4, To: 6},
		{Load: "load.rate", Metric: "ready", Rate: 30, From: 60, To: 62},
	}
	start := time.Unix(5000, 0)
	one := func(block int, from, length float64, took time.Duration, n int64) interval {
		return heard(t, Key{"all", "monolithic", block}, 5000+from, length, took, n)
	}
	r.Manifest.Variants = []string{"monolithic"}
	r.Manifest.Plans = r.Manifest.Plans[:1]
	r.Blocks = nil
	for block := range 2 {
		begin := start.Add(time.Duration(100*block) * time.Second)
		r.Blocks = append(r.Blocks, Block{Key: Key{"all", "monolithic", block}, Start: begin, End: begin.Add(6 * time.Second), Valid: true})
	}
	r.intervals = []interval{
		one(0, -0.5, 1, time.Second, 1000), // begins before the stage does
		one(0, 0.5, 1, 100*time.Millisecond, 10), one(0, 1.5, 1, 100*time.Millisecond, 12),
		one(0, 2.5, 1, 5*time.Second, 1000), // of the ramp
		one(0, 4, 1, 300*time.Millisecond, 20), one(0, 5, 1, 300*time.Millisecond, 18),
		one(1, 100, 1, 100*time.Millisecond, 11), one(1, 101, 1, 100*time.Millisecond, 11),
		one(1, 102, 1, 5*time.Second, 1000), // half of it is of the ramp
		one(1, 104, 1, 500*time.Millisecond, 22), one(1, 105, 1, 500*time.Millisecond, 20),
	}
	r.Series = nil
	got := r.stages("all", "monolithic")
	if len(got) != 3 || got[2].Response != nil || got[2].Seconds != 0 {
		t.Fatalf("%+v", got)
	}
	if s := got[0]; s.Response.N != 44 || s.Seconds != 4 || s.Achieved != 11 || s.Response.Max > 0.11 {
		t.Errorf("the first: %+v, %+v", s, s.Response)
	}
	if s := got[1]; s.Response.N != 80 || s.Seconds != 4 || s.Achieved != 20 || s.Response.Max < 0.49 || s.Response.Max > 0.51 {
		t.Errorf("the second: %+v, %+v", s, s.Response)
	}
	if r.stages("other", "monolithic") != nil {
		t.Error("a plan without stages has some")
	}
	var text, doc bytes.Buffer
	if err := Report(&text, []*Run{r}, "text", ReportOptions{Width: 200}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"stage                 variant     rate  achieved  failed  response   n    p50  p90",
		"load.rate 4s to 6s    monolithic  20/s      20/s       0     ready  80  500ms",
		"load.rate 60s to 62s  monolithic  30/s       n/a     n/a     ready   0    n/a",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &text)
		}
	}
	if err := Report(&doc, []*Run{r}, "json", ReportOptions{}); err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("schema", "report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}
	manifest, err := json.Marshal(plan)
	if err != nil || !bytes.Contains(manifest, []byte(`"stages":[{"load":"load.rate","metric":"ready","rate":10,"from":0,"to":2.5}`)) {
		t.Errorf("%s, %v", manifest, err)
	}
	var page bytes.Buffer
	if err := Report(&page, []*Run{r}, "html", ReportOptions{}); err != nil || !strings.Contains(page.String(), "Stages of the load") {
		t.Errorf("the page has no table of stages, %v", err)
	}
}

// heard is an interval in which n operations ended, each of which took as long.
func heard(t *testing.T, key Key, start, length float64, took time.Duration, n int64) interval {
	t.Helper()
	h := NewHistogram()
	h.Record(took, n)
	text, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return interval{key: key, metric: "ready", start: start, length: length, response: text, lateness: text, service: text}
}

// A server that does not answer leaves no intervals: the time counts all the same.
func TestStagesOfAServerThatStops(t *testing.T) {
	key := Key{"all", "monolithic", 0}
	for _, tt := range []struct {
		name             string
		heard            func(second int) bool
		end              int // of the block, in seconds
		seconds, perSec  float64
		failed, achieved int64
	}{
		{"never", func(int) bool { return true }, 60, 60, 100, 0, 6000},
		{"at the end", func(s int) bool { return s < 10 }, 60, 60, 100. / 6, 50 * 5, 1000},
		{"in the middle", func(s int) bool { return s < 10 || s >= 30 }, 60, 60, 400. / 6, 20 * 5, 4000},
		{"at the start", func(s int) bool { return s >= 15 }, 60, 60, 75, 15 * 5, 4500},
		{"all the time", func(int) bool { return false }, 60, 60, 0, 60 * 5, 0},
		{"in a run that was cut", func(s int) bool { return s < 10 }, 20, 20, 50, 10 * 5, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Unix(5000, 250e6)
			r := &Run{
				Manifest: Manifest{Plans: []Plan{{Name: "all", Stages: []Stage{{Load: "load.rate", Metric: "ready", Rate: 100, From: 0, To: 60}}}}, Variants: []string{"monolithic"}},
				Blocks:   []Block{{Key: key, Start: start, End: start.Add(time.Duration(tt.end) * time.Second), Valid: true}},
			}
			for s := range tt.end {
				if begin := 5000.25 + float64(s); tt.heard(s) {
					r.intervals = append(r.intervals, heard(t, key, begin, 1, time.Second, 100))
				} else {
					r.Series = append(r.Series, Second{Time: clockTime(begin + 1), Counts: []SecondCounts{{Key: key, Errors: map[string]map[string]int64{"ready": {"timeout": 5}}}}})
				}
			}
			got := r.stages("all", "monolithic")[0]
			if got.Seconds != tt.seconds || got.Failed != tt.failed || got.Achieved < tt.perSec-1e-9 || got.Achieved > tt.perSec+1e-9 {
				t.Errorf("%v/s in %v s and %d failed, want %v/s in %v s and %d", got.Achieved, got.Seconds, got.Failed, tt.perSec, tt.seconds, tt.failed)
			}
			if (got.Response == nil) != (tt.achieved == 0) || got.Response != nil && got.Response.N != tt.achieved {
				t.Errorf("response %+v, want %d samples", got.Response, tt.achieved)
			}
			row := newTextReport(Metrics(), 0).stages(PlanReport{Variants: []VariantReport{{Name: "monolithic", Stages: []StageReport{got}}}}).rows[0]
			if want := significant(tt.perSec) + "/s"; row[3] != want || row[4] != fmt.Sprint(tt.failed) {
				t.Errorf("the row says %s and %s failed, want %s and %d", row[3], row[4], want, tt.failed)
			}
		})
	}
}
