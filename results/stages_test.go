package results

import (
	"bytes"
	"encoding/json"
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
		h := NewHistogram()
		h.Record(took, n)
		text, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return interval{key: Key{"all", "monolithic", block}, metric: "ready", start: 5000 + from, length: length, response: text, lateness: text, service: text}
	}
	r.Manifest.Variants = []string{"monolithic"}
	r.Manifest.Plans = r.Manifest.Plans[:1]
	r.Blocks = []Block{{Key: Key{"all", "monolithic", 0}, Start: start, Valid: true}, {Key: Key{"all", "monolithic", 1}, Start: start.Add(100 * time.Second), Valid: true}}
	r.intervals = []interval{
		one(0, -0.5, 1, time.Second, 1000), // begins before the stage does
		one(0, 0.5, 1, 100*time.Millisecond, 10), one(0, 1.5, 1, 100*time.Millisecond, 12),
		one(0, 2.5, 1, 5*time.Second, 1000), // of the ramp
		one(0, 4, 1, 300*time.Millisecond, 20), one(0, 5, 1, 300*time.Millisecond, 18),
		one(1, 104, 1, 500*time.Millisecond, 22),
	}
	got := r.stages("all", "monolithic")
	if len(got) != 3 || got[2].Response != nil {
		t.Fatalf("%+v", got)
	}
	if s := got[0]; s.Response.N != 22 || s.Seconds != 2 || s.Achieved != 11 || s.Response.Max > 0.11 {
		t.Errorf("the first: %+v, %+v", s, s.Response)
	}
	if s := got[1]; s.Response.N != 60 || s.Seconds != 3 || s.Achieved != 20 || s.Response.Max < 0.49 || s.Response.Max > 0.51 {
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
		"stage                 variant     rate  achieved  response   n    p50  p90",
		"load.rate 4s to 6s    monolithic  20/s      20/s     ready  60  300ms",
		"load.rate 60s to 62s  monolithic  30/s       n/a     ready   0    n/a",
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
