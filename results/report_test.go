package results

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/xmppbench/xmppbench/internal/golden"
)

// fixture is a run as Open would return it: two plans, a baseline, a better
// variant, one that was skipped in one plan, and an A/A arm.
func fixture(t testing.TB, id string, seed uint64, drift float64) *Run {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	r := &Run{
		Dir: "runs/" + id,
		Manifest: Manifest{
			Schema: Schema, ID: id, Scenario: "roster-login", Started: at(0),
			Argv: []string{"xmppbench", "run", "roster-login"}, Config: map[string]any{"blocks": 8}, Seeds: map[string]uint64{"run": seed},
			Plans: []Plan{
				{Name: "items=1k", Dimensions: map[string]string{"roster.items": "1k"}},
				{Name: "items=10k", Dimensions: map[string]string{"roster.items": "10k"}},
			},
			Variants: []string{"monolithic", "chunked-push", "rsm", "monolithic#aa"}, Baseline: "monolithic", Primary: "probe.mean", Blocks: 8,
			Thresholds: []string{"ready p(99)<2s", "ready p(99.99)<2s"},
			Targets:    []TargetInfo{{Name: "sim", Version: "1"}}, Processes: []Process{{"generator", 10}, {"simulator", 11}},
			Link: map[string]string{"rtt": "50ms", "rate": "10Mbit/s"}, Wire: map[string]string{"chunked-push": "1"},
			Limits: DefaultLimits(), Notes: []string{"slow start and loss are not modelled"},
			Environment: Environment{
				Host: "bench", OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPU: "Example CPU", CPUs: 2, Memory: 8 << 30, Go: "go1.26", GOMAXPROCS: 2, GOGC: 100,
				Sysctl: map[string]string{"net.ipv4.tcp_congestion_control": "cubic"}, Taken: at(0),
			},
		},
		Done: Done{Status: StatusOK, Ended: at(300)},
	}
	recorded := recordings.get(seed, drift, func() recording { return record(t, r.Manifest, rng, drift) })
	// Tests change their run; what they share stays encoded.
	if err := json.Unmarshal(recorded.rest, r); err != nil {
		t.Fatal(err)
	}
	read := r.intervalLine()
	for s := bufio.NewScanner(bytes.NewReader(recorded.log)); s.Scan(); {
		if err := read(s.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// recording is what a fixture measured: a log, and the rest as JSON.
type recording struct{ log, rest []byte }

// recordingCache keeps the recordings, which take a while to make.
type recordingCache struct {
	mu sync.Mutex
	m  map[string]recording
}

var recordings recordingCache

func (c *recordingCache) get(seed uint64, drift float64, record func() recording) recording {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprint(seed, drift)
	r, ok := c.m[key]
	if !ok {
		if c.m == nil {
			c.m = make(map[string]recording)
		}
		r = record()
		c.m[key] = r
	}
	return r
}

// record measures eight blocks of every variant and plan.
func record(t testing.TB, m Manifest, rng *rand.Rand, drift float64) recording {
	t.Helper()
	var r Run
	d := Delta{Start: at(0), End: at(8)}
	for p, plan := range m.Plans {
		size := 1 + 9*float64(p)
		for block := range 8 {
			common := drift * (1 + 0.2*rng.Float64())
			for order, variant := range m.Variants {
				key := Key{plan.Name, variant, block}
				b := Block{Key: key, Order: order, Start: at(float64(block)), End: at(float64(block + 1)), Valid: true}
				if variant == "rsm" && p == 1 {
					b.Valid, b.Skipped = false, "the target does not speak it"
					r.Blocks = append(r.Blocks, b)
					continue
				}
				gain := map[string]float64{"chunked-push": 7.6, "rsm": 3}[variant]
				if gain == 0 {
					gain = 1
				}
				rec := NewRecorder()
				sink := rec.Sink(key)
				for i := range 150 {
					wait := time.Duration(float64(40*time.Millisecond) * size * common / gain * (1 + 0.05*rng.Float64()))
					due := at(float64(block)).Add(time.Duration(i) * 5 * time.Millisecond)
					sink.Observe(Sample{Metric: "probe", Intended: due, Start: due.Add(50 * time.Microsecond), End: due.Add(wait)})
					sink.Observe(Sample{Metric: "ready", Intended: due, Start: due.Add(50 * time.Microsecond), End: due.Add(2 * wait)})
				}
				first := at(0)
				sink.Observe(Sample{Metric: "roster.complete", Intended: first, Start: first, End: first.Add(time.Duration(float64(time.Second) * size * common))})
				if block == 3 {
					sink.Observe(Sample{Metric: "ready", Err: errors.New("lost")})
				}
				sink.Count("stanzas", int64(12*size))
				sink.Count("bytes.in", int64(109_000*size+gain))
				snap := rec.Total(key)
				b.Scalars, b.Errors = snap.Scalars(), snap.Errors()
				d.Series = append(d.Series, DeltaSeries{key, snap})
				b.Scalars["cpu.client"] = 0.012 * size * common
				b.Scalars["cpu.items"] = 0.004 * common
				r.Blocks = append(r.Blocks, b)
				r.Counts = append(r.Counts, Count{"stanzas", plan.Name, variant, block, b.Scalars["stanzas"], 12 * size, true})
			}
		}
		for variant, gain := range map[string]float64{"monolithic": 1, "chunked-push": 7.6} {
			r.Theory = append(r.Theory, Theory{Plan: plan.Name, Variant: variant, Scalars: map[string]float64{"probe.mean": 0.044 * size / gain, "stanzas": 12 * size}})
		}
	}
	lines, err := intervalLines(d)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := json.Marshal(struct {
		Blocks []Block
		Theory []Theory
		Counts []Count
		Series []Second
	}{r.Blocks, r.Theory, r.Counts, []Second{{Time: at(8), Elapsed: 8, Counts: secondCounts(d)}}})
	if err != nil {
		t.Fatal(err)
	}
	return recording{lines, rest}
}

func report(t *testing.T, format string, o ReportOptions, runs ...*Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Report(&b, runs, format, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReportForms(t *testing.T) {
	r := fixture(t, "20261122T124900Z-roster-login-a1b2", 1, 1)
	for _, format := range []string{"text", "md", "json", "csv", "bench"} {
		t.Run(format, func(t *testing.T) {
			golden.File(t, filepath.Join("testdata", "report."+format), report(t, format, ReportOptions{}, r))
		})
	}
	t.Run("narrow", func(t *testing.T) {
		out := report(t, "text", ReportOptions{Width: 80}, r)
		golden.File(t, filepath.Join("testdata", "report80.text"), out)
		for _, line := range strings.Split(string(out), "\n") {
			if n := len([]rune(line)); n > 80 {
				t.Errorf("line of %d columns: %q", n, line)
			}
		}
	})
	if err := Report(new(bytes.Buffer), []*Run{r}, "yaml", ReportOptions{}); err == nil || !strings.Contains(err.Error(), "want text, html, md") {
		t.Errorf("error %v, want one that lists the formats", err)
	}
}

func TestReportOfSeveralRuns(t *testing.T) {
	a, b := fixture(t, "before", 1, 1), fixture(t, "after", 2, 1.5)
	golden.File(t, filepath.Join("testdata", "runs.text"), report(t, "text", ReportOptions{}, a, b))
	b.Manifest.Wire["chunked-push"] = "2"
	a.intervals, b.intervals = nil, nil
	if out := string(report(t, "text", ReportOptions{}, a, b)); !strings.Contains(out, "not compared: compare: before and after are not alike: wire format of chunked-push 1 / 2") {
		t.Errorf("runs of different wire formats are compared:\n%s", out)
	}
}

func TestComparisonText(t *testing.T) {
	c, err := Compare([]*Run{fixture(t, "run", 1, 1)}, CompareOptions{Gates: []Expr{mustParse(t, "probe mean<=1.10")}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.WriteText(&b, 80, false); err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("testdata", "compare.text"), b.Bytes())
}

func TestReportShowsInvalidFailedAndUnequal(t *testing.T) {
	bad := fixture(t, "bad", 1, 1)
	bad.Done = Done{Status: StatusInvalid, Reasons: []string{"7 arrivals were dropped, at most 0 may be"}}
	for _, format := range Formats() {
		if format == "html" {
			continue // TestHTMLOfInvalidRun
		}
		out := string(report(t, format, ReportOptions{}, bad))
		if regexp.MustCompile(`probe|0\.04[0-9]`).MatchString(strings.ReplaceAll(out, "probe.mean", "")) {
			t.Errorf("%s form of an invalid run shows figures:\n%s", format, out)
		}
	}
	failed := fixture(t, "failed", 1, 1)
	failed.Done = Done{Status: StatusFailed, Reasons: []string{"a count differs"}}
	failed.Counts[0].Counted, failed.Counts[0].Equal = 13, false
	out := string(report(t, "text", ReportOptions{}, failed))
	for _, want := range []string{"failed: a count differs", "count differs: stanzas of monolithic in items=1k is 13, its closed form gives 12"} {
		if !strings.Contains(out, want) {
			t.Errorf("report lacks %q:\n%s", want, out)
		}
	}
}

// The merged log holds every sample of every run, in order of time, under the name of
// its run.
func TestReportLog(t *testing.T) {
	a, b := fixture(t, "a", 1, 1), fixture(t, "b", 1, 1)
	for i := range b.intervals {
		b.intervals[i].start -= 100
	}
	merged := &Run{}
	read := merged.intervalLine()
	lines := make(map[string]int)
	out := report(t, "hlog", ReportOptions{}, a, b)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		line := s.Text()
		if tag, rest, ok := strings.Cut(line, ","); ok && strings.HasPrefix(tag, "Tag=") {
			at := strings.LastIndexByte(tag, '/')
			lines[tag[at:]]++
			line = tag[:at] + "," + rest
		}
		if err := read([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if len(lines) != 2 || lines["/a"] == 0 || lines["/a"] != lines["/b"] {
		t.Errorf("lines by the end of their tags: %v, want as many of either run", lines)
	}
	if !bytes.Contains(out, []byte("tag = metric/clock/plan/variant/block/run]")) {
		t.Error("the log does not say what its tags are")
	}
	// Four variants in one plan, three in the other, eight blocks of 150.
	if n, want := merged.Timings("probe", Filter{}).Of(Response).N(), int64(2*7*8*150); n != want {
		t.Errorf("%d samples of probe, want %d", n, want)
	}
	if !slices.IsSortedFunc(merged.intervals, func(a, b interval) int { return cmp.Compare(a.start, b.start) }) {
		t.Error("the intervals are not in order of time")
	}
}

func TestReportCSVIsRectangular(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(report(t, "csv", ReportOptions{}, fixture(t, "a", 1, 1)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		if row[7] == "" || row[8] == "" {
			t.Errorf("row without unit or value: %q", row)
		}
	}
}

// What was sampled and counted in each second has a row of its own, at its time.
func TestReportCSVSeries(t *testing.T) {
	r := fixture(t, "a", 1, 1)
	key := r.Blocks[0].Key
	spoiled := Key{key.Plan, key.Variant, 99}
	r.discarded = map[Key]bool{spoiled: true}
	r.Series = []Second{{
		Elapsed: 1.5, Figures: map[string]float64{"cpu.server": 0.25, "rss.server": 1 << 20, "unheard.of": 3},
		Counts: []SecondCounts{
			{Key: key, Counts: map[string]int64{"stanzas": 12, "bytes.in": 7}, Errors: map[string]map[string]int64{"ready": {"timeout": 2}}, Clamped: map[string]int64{"probe": 1}},
			{Key: spoiled, Counts: map[string]int64{"stanzas": 77}},
		},
	}, {Elapsed: 2.5, Figures: map[string]float64{"cpu.server": 1e7}}}
	out := string(report(t, "csv", ReportOptions{}, r))
	of := "a," + key.Plan + "," + key.Variant + ",0,"
	for _, want := range []string{
		"run,plan,variant,block,metric,clock,statistic,unit,value,elapsed\n",
		"a,,,,cpu.server,,value,s,0.25,1.500\n", "a,,,,rss.server,,value,B,1048576,1.500\n", "a,,,,unheard.of,,value,1,3,1.500\n",
		"a,,,,cpu.server,,value,s,10000000,2.500\n",
		of + "stanzas,,count,1,12,1.500\n", of + "bytes.in,,count,B,7,1.500\n", of + "ready,,errors.timeout,1,2,1.500\n", of + "probe,,clamped,1,1,1.500\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if strings.Contains(out, ",77,") {
		t.Error("the table counts what a spoiled block did")
	}
}

// A terminal obeys what names hold: none reaches it, in no form that is read on one.
func TestReportOfNamesThatATerminalObeys(t *testing.T) {
	const name, shown = "a\x1b[31mb\x07\u009bc\u202ed\x7f\ne", "a\ufffd[31mb\ufffd\ufffdc\ufffdd\ufffd"
	r := fixture(t, name, 1, 1)
	m := &r.Manifest
	m.Scenario, m.Notes, m.Plans[0].Name, m.Variants[0] = name, []string{name}, name, name
	m.Targets[0].Name, m.Baseline = name, name
	r.Done.Reasons, r.Done.Status = []string{name}, StatusFailed
	r.Flags = []Flag{{name, Warning, name}}
	r.Sheet = &Sheet{Target: name, Rows: []SheetRow{{Name: name, Unit: name, Missing: name}}}
	for i := range r.Blocks {
		b := &r.Blocks[i]
		if b.Plan == "items=1k" {
			b.Plan = name
		}
		if b.Variant == "monolithic" {
			b.Variant = name
		}
		if b.Skipped != "" {
			b.Skipped = name
		}
	}
	r.Counts[0].Name, r.Counts[0].Equal = name, false
	for _, format := range []string{"text", "md", "bench"} {
		out := string(report(t, format, ReportOptions{Color: true, Width: 200}, r))
		for _, colour := range []paint{good, bad, doubtful, plain} {
			out = strings.ReplaceAll(out, string(colour), "")
		}
		for i, c := range out {
			if c != '\n' && (unicode.IsControl(c) || c == '\u202e') {
				t.Errorf("%s has %q: %.60q", format, c, out[max(0, i-30):])
				break
			}
		}
		want := shown
		if format == "md" {
			want = strings.ReplaceAll(shown, "[", `\[`)
		}
		if !strings.Contains(out, want) {
			t.Errorf("%s lost the name:\n%s", format, out)
		}
	}
	c, err := Compare([]*Run{r}, CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.WriteText(&b, 100, false); err != nil || strings.ContainsAny(b.String(), "\x1b\x07\u009b\u202e") {
		t.Errorf("error %v, the comparison is %q", err, b.String())
	}
}

// Histograms fit the terminal, whatever the labels.
func TestHistogramsFitTheWidth(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	label := strings.Repeat("v", 35)
	for i := range r.intervals {
		if k := &r.intervals[i].key; k.Variant == "chunked-push" {
			k.Variant = label
		}
	}
	drawn := 0
	d := Summarize([]*Run{r}, CompareOptions{})
	for width := 60; width <= 90; width++ {
		for _, line := range strings.Split(string(newTextReport(Metrics(), width).render(d)), "\n") {
			if strings.HasPrefix(line, "  "+label+"  |") {
				drawn++
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("line of %d columns in %d: %q", n, width, line)
				}
			}
		}
	}
	if drawn == 0 {
		t.Error("no histogram was drawn")
	}
}

func TestSchemas(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	flagged := fixture(t, "flagged", 1, 1)
	flagged.Done = Done{Status: StatusInvalid, Reasons: []string{"late"}}
	gate, err := Parse("probe mean<=1.10")
	if err != nil {
		t.Fatal(err)
	}
	real, err := os.ReadFile(filepath.Join(testRun(t), "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(r.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	plotsOf := func(runs ...*Run) []byte {
		b, err := json.Marshal(MakePlots(runs, Summarize(runs, CompareOptions{}), CompareOptions{}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m := mustFit(t, []*Run{meshRun("small", 0, 1, 3, small()...)}, FitOptions{})
	large := meshRun("large", 0, 9, 3, gridSize{30, 30, 10})
	beside, err := m.Report([]*Run{large}, meshDesign())
	if err != nil {
		t.Fatal(err)
	}
	withModel := ReportOptions{Model: beside}
	var page struct{ Plots json.RawMessage }
	if err := json.Unmarshal(dataOf(t, report(t, "html", withModel, large)), &page); err != nil {
		t.Fatal(err)
	}
	for name, docs := range map[string][][]byte{
		"report.schema.json": {
			report(t, "json", withModel, large),
			report(t, "json", ReportOptions{}, r),
			report(t, "json", ReportOptions{}, flagged),
			report(t, "json", ReportOptions{}, r, fixture(t, "other", 2, 1)),
			report(t, "json", ReportOptions{Compare: CompareOptions{Gates: []Expr{gate}}}, r),
		},
		"run.schema.json":   {manifest, real},
		"plots.schema.json": {plotsOf(r), plotsOf(r, fixture(t, "other", 2, 1)), plotsOf(withTimelines(fixture(t, "pings", 1, 1))), page.Plots},
	} {
		c := jsonschema.NewCompiler()
		schema, err := c.Compile(filepath.Join("schema", name))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range docs {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s, document %d: %v", name, i, err)
			}
		}
		for _, bad := range []string{`{}`, `{"schema":"xmppbench.run/2"}`, `[]`} {
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
			if err != nil {
				t.Fatal(err)
			}
			if schema.Validate(doc) == nil {
				t.Errorf("%s accepts %s", name, bad)
			}
		}
		if b, err := Schemas().ReadFile("schema/" + name); err != nil || !json.Valid(b) {
			t.Errorf("%s is not embedded: %v", name, err)
		}
	}
}

func TestCompare(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	find := func(c *Comparison, group, metric, variant string) Verdict {
		t.Helper()
		for _, v := range c.Verdicts {
			if v.Group == group && v.Metric == metric && v.Variant == variant {
				return v
			}
		}
		t.Fatalf("no verdict on %s of %s in %s", metric, variant, group)
		return Verdict{}
	}
	t.Run("by variant", func(t *testing.T) {
		c, err := Compare([]*Run{r}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v := find(c, "items=1k", "probe.mean", "chunked-push")
		if v.Decision != Faster || !v.Paired || !v.Primary || v.Blocks != 8 || v.Level != 0.975 || v.Ratio < 0.13 || v.Ratio > 0.133 {
			t.Errorf("verdict %+v", v)
		}
		// In the larger plan the third variant was skipped: one comparison.
		if v := find(c, "items=10k", "probe.mean", "chunked-push"); v.Level != 0.95 {
			t.Errorf("level %v of a single comparison, want 0.95", v.Level)
		}
		if v := find(c, "items=1k", "stanzas", "chunked-push"); v.Decision != Same || v.Primary {
			t.Errorf("counts: %+v", v)
		}
		if v := find(c, "items=1k", "probe.mean", "monolithic#aa"); v.Decision != CannotTell || v.Baseline != "monolithic" {
			t.Errorf("A/A arm: %+v", v)
		}
		if len(c.Flagged()) != 0 {
			t.Errorf("flagged: %+v", c.Flagged())
		}
	})
	t.Run("by dimension", func(t *testing.T) {
		c, err := Compare([]*Run{r}, CompareOptions{By: "roster.items"})
		if err != nil {
			t.Fatal(err)
		}
		v := find(c, "monolithic", "roster.complete.mean", "10k")
		if v.Baseline != "1k" || v.Decision != Slower || !v.Paired || v.Ratio < 9 || v.Ratio > 11 {
			t.Errorf("verdict %+v", v)
		}
	})
	t.Run("by run", func(t *testing.T) {
		other := fixture(t, "other", 2, 1.5)
		c, err := Compare([]*Run{r, other}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v := find(c, "items=1k monolithic", "probe.mean", "other")
		if v.Baseline != "run" || v.Paired || v.Blocks != 8 || v.OtherBlocks != 8 || v.Decision != Slower {
			t.Errorf("verdict %+v", v)
		}
	})
	t.Run("A/A arm that differs", func(t *testing.T) {
		bad := fixture(t, "bad", 1, 1)
		for _, b := range bad.Blocks {
			if b.Variant == "monolithic#aa" {
				b.Scalars["probe.mean"] *= 1.5
			}
		}
		c, err := Compare([]*Run{bad}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Flagged(); len(got) != 2 {
			t.Errorf("flagged %v, want the A/A arm in both plans", got)
		}
	})
	t.Run("invalid blocks are left out", func(t *testing.T) {
		part := fixture(t, "part", 1, 1)
		for i := range part.Blocks {
			if b := &part.Blocks[i]; b.Variant == "chunked-push" && b.Block < 2 {
				b.Valid = false
			}
		}
		c, err := Compare([]*Run{part}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if v := find(c, "items=1k", "probe.mean", "chunked-push"); v.Blocks != 6 {
			t.Errorf("%d blocks, want 6", v.Blocks)
		}
		if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "4 blocks are not valid") {
			t.Errorf("warnings %q", c.Warnings)
		}
	})
	t.Run("invalid run", func(t *testing.T) {
		bad := fixture(t, "bad", 1, 1)
		bad.Flags = []Flag{{"lateness", Invalid, "the generator was late"}}
		c, err := Compare([]*Run{bad}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Verdicts) != 0 || len(c.Invalid) != 1 {
			t.Errorf("%d verdicts, reasons %q; want none, and a reason", len(c.Verdicts), c.Invalid)
		}
	})
}

// Versions are compared target by target: one that has none, as the simulator, hides no
// other, and what one run does not know is told.
func TestCompareVersions(t *testing.T) {
	run := func(id string, server string) *Run {
		r := fixture(t, id, 1, 1)
		r.Manifest.Targets = []TargetInfo{{Name: "sim"}, {Name: "prosody", Server: "prosody", Version: server}}
		return r
	}
	first := run("first", "0.12.3")
	if _, err := Compare([]*Run{first, run("other", "13.0.1")}, CompareOptions{}); err == nil || !strings.Contains(err.Error(), "target sim, prosody prosody 0.12.3 / sim, prosody prosody 13.0.1") {
		t.Errorf("another version: %v", err)
	}
	for version, want := range map[string][]string{
		"0.12.3": nil, "": {"the version of target prosody is 0.12.3 in first and unknown in other: whether it is the same was not compared"},
	} {
		c, err := Compare([]*Run{first, run("other", version)}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(c.Warnings, func(s string) bool { return !strings.Contains(s, "version") })
		if !slices.Equal(got, want) {
			t.Errorf("%q: warnings %q", version, c.Warnings)
		}
	}
}

func TestCompareRefuses(t *testing.T) {
	change := func(f func(*Run)) *Run { r := fixture(t, "other", 2, 1); f(r); return r }
	first := fixture(t, "run", 1, 1)
	for _, tt := range []struct {
		name  string
		runs  []*Run
		o     CompareOptions
		want  string
		allow bool // AllowDifferent helps
	}{
		{"nothing", nil, CompareOptions{}, "no runs", false},
		{"baseline", []*Run{first}, CompareOptions{Baseline: "x"}, `no variant is called "x": there are monolithic`, false},
		{"dimension", []*Run{first}, CompareOptions{By: "x"}, `no plan has a dimension "x": there are variant, run, roster.items`, false},
		{"scenario", []*Run{first, change(func(r *Run) { r.Manifest.Scenario = "room" })}, CompareOptions{}, "ran scenario", false},
		{"wire", []*Run{first, change(func(r *Run) { r.Manifest.Wire["chunked-push"] = "2" })}, CompareOptions{}, "wire format of chunked-push 1 / 2", true},
		{"target", []*Run{first, change(func(r *Run) { r.Manifest.Targets[0].Name = "prosody" })}, CompareOptions{}, "target sim 1 / prosody 1", true},
		{"version", []*Run{first, change(func(r *Run) { r.Manifest.Targets[0].Version = "2" })}, CompareOptions{}, "target sim 1 / sim 2", true},
		{"machine", []*Run{first, change(func(r *Run) { r.Manifest.Environment.CPUs = 64 })}, CompareOptions{}, "number of CPUs 2 / 64", true},
		{"gate unit", []*Run{first}, CompareOptions{Gates: []Expr{mustParse(t, "probe mean<2s")}}, "ratio to the baseline", false},
		{"gate metric", []*Run{first}, CompareOptions{Gates: []Expr{mustParse(t, "raedy mean<2")}}, "no figure is called raedy", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compare(tt.runs, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if different := (*DifferentError)(nil); errors.As(err, &different) != tt.allow {
				t.Errorf("error %v of type %T", err, err)
			}
			if tt.allow {
				tt.o.AllowDifferent = true
				c, err := Compare(tt.runs, tt.o)
				if err != nil || len(c.Warnings) == 0 {
					t.Errorf("allowed, it gives %v without warning", err)
				}
			}
		})
	}
}

// Runs without a block to compare are told apart from a question that is wrong.
func TestCompareEmpty(t *testing.T) {
	without := func(left func(Block) bool) *Run {
		r := fixture(t, "run", 1, 1)
		for i := range r.Blocks {
			r.Blocks[i].Valid = r.Blocks[i].Valid && !left(r.Blocks[i])
		}
		return r
	}
	noBaseline := without(func(b Block) bool { return b.Variant == "monolithic" })
	for _, tt := range []struct {
		name string
		run  *Run
		o    CompareOptions
		want string // "" if it is no EmptyError
	}{
		{"no block", without(func(Block) bool { return true }), CompareOptions{}, "the runs hold no valid block"},
		{"no block of the baseline", noBaseline, CompareOptions{}, "the runs hold no valid block of the baseline, monolithic: there are "},
		{"no block of a baseline that was asked for", noBaseline, CompareOptions{Baseline: "monolithic"}, ""},
		{"no dimension", noBaseline, CompareOptions{By: "x"}, ""},
	} {
		_, err := Compare([]*Run{tt.run}, tt.o)
		empty := (*EmptyError)(nil)
		if errors.As(err, &empty) != (tt.want != "") || err == nil || empty != nil && !strings.HasPrefix(empty.Text, tt.want) {
			t.Errorf("%s: %v, want an EmptyError with %q", tt.name, err, tt.want)
		}
	}
}

// A version that only one of two runs knows tells no difference.
func TestCompareUnknownVersion(t *testing.T) {
	first, other := fixture(t, "run", 1, 1), fixture(t, "run", 1, 1)
	other.Manifest.Targets[0].Version = ""
	if _, err := Compare([]*Run{first, other}, CompareOptions{}); err != nil {
		t.Error(err)
	}
}

// TestCompareSettings holds the plans of two runs against each other: what would make the figures differ for a reason that is not
// compared is named, and what says only how much is measured may differ.
func TestCompareSettings(t *testing.T) {
	type m = map[string]any
	plan := func(change func(plan m)) m {
		p := m{
			"label": "all", "scenario": "roster-login", "seed": 1, "blocks": 12, "repeats": 3, "given": []string{"link.rtt"}, "thresholds": []string{"ready p(99)<2s"},
			"link": m{"rtt": 10000000, "rate": 0}, "login": m{"tls": "starttls", "sm": false}, "roster": m{"items": 1000}, "load": m{"rate": "20/s"},
			"limits": m{"generator-cpu": 0.7}, "sheet": m{"budget": 1, "searches": 5},
			"arms": []m{{"label": "chunked-push", "variant": "chunked-push", "params": m{"window": 8}, "given": []string{"window"}}},
		}
		change(p)
		return p
	}
	run := func(id string, plans ...m) *Run {
		r := fixture(t, id, 1, 1)
		r.Manifest.Config = m{"file": "roster-login.yaml", "plans": plans}
		return r
	}
	same := func(m) {}
	group := func(p m, name string) m { return p[name].(m) }
	for _, tt := range []struct {
		name   string
		change func(m)
		want   []string
	}{
		{"the same", same, nil},
		{"how much is measured", func(p m) {
			p["seed"], p["blocks"], p["repeats"], p["given"], p["thresholds"] = 2, 20, 1, []string{"seed"}, nil
			p["sheet"] = m{"budget": 9, "searches": 1}
		}, nil},
		{"what is zero, and not named", func(p m) {
			delete(group(p, "link"), "rate")
			delete(group(p, "login"), "sm")
			p["cut"] = m{"at": 0, "continue": ""}
		}, nil},
		{"link", func(p m) { group(p, "link")["rtt"] = 200000000 }, []string{"setting link.rtt 10000000 / 200000000"}},
		{"login", func(p m) { group(p, "login")["tls"] = "direct" }, []string{"setting login.tls starttls / direct"}},
		{"roster and load", func(p m) { group(p, "roster")["items"], group(p, "load")["rate"] = 10000, "50/s" },
			[]string{"setting load.rate 20/s / 50/s", "setting roster.items 1000 / 10000"}},
		{"limits", func(p m) { group(p, "limits")["generator-cpu"] = 0.9 }, []string{"setting limits.generator-cpu 0.7 / 0.9"}},
		{"one that only one names", func(p m) { p["herd"] = m{"event": "restart"} }, []string{"setting herd.event 0 / restart"}},
		{"of a variant", func(p m) { p["arms"].([]m)[0]["params"] = m{"window": 4} }, []string{"setting window of chunked-push 8 / 4"}},
		{"of plans that only one has", func(p m) { p["label"] = "items=10k"; group(p, "roster")["items"] = 10000 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runs := []*Run{run("before", plan(same)), run("after", plan(tt.change))}
			_, err := Compare(runs, CompareOptions{Gates: []Expr{mustParse(t, "probe mean<=1.10")}})
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := "before and after are not alike: " + strings.Join(tt.want, "; ") + ": to compare values of a setting, give it both in one run"
			if different := (*DifferentError)(nil); !errors.As(err, &different) || !strings.HasPrefix(different.Text, want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
			c, err := Compare(runs, CompareOptions{AllowDifferent: true})
			if err != nil || !slices.Contains(c.Warnings, "before and after are not alike: "+strings.Join(tt.want, "; ")) {
				t.Errorf("allowed: %v, warnings %q", err, c.Warnings)
			}
			// One run holds what differs as a dimension.
			if _, err := Compare(runs[1:], CompareOptions{}); err != nil {
				t.Errorf("alone: %v", err)
			}
		})
	}
	for name, config := range map[string]any{"nothing": nil, "a script of k6": "export default", "merged runs": m{"merged": []m{{"id": "a"}}}, "other plans": m{"plans": "none"}} {
		other := run("after", plan(same))
		other.Manifest.Config = config
		if _, err := Compare([]*Run{run("before", plan(same)), other}, CompareOptions{}); err != nil {
			t.Errorf("config %s: %v", name, err)
		}
	}
}

func mustParse(t *testing.T, s string) Expr {
	t.Helper()
	e, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestGates(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	for _, tt := range []struct {
		gate string
		want State
	}{
		{"probe mean<=1.10", Passed},
		{"probe mean<=0.10", Failed},
		{"probe mean>=0.10", Passed},
		{"probe mean>=1", Failed},
		{"roster.complete mean<=1.10", Passed},
		{"stanzas count<=1", Passed},
		{"bytes.in mean<1", Failed},
		{"bytes.in mean<100.1%", Passed},
	} {
		c, err := Compare([]*Run{r}, CompareOptions{Gates: []Expr{mustParse(t, tt.gate)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Gate(); got != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.gate, got, tt.want, fmt.Sprint(c.Gates[0].Text))
		}
	}
	few := fixture(t, "few", 1, 1)
	few.Blocks = few.Blocks[:12] // three blocks of one plan
	c, err := Compare([]*Run{few}, CompareOptions{Gates: []Expr{mustParse(t, "probe mean<=1.10"), mustParse(t, "stanzas mean<=1")}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Gate() != Inconclusive || c.Gates[len(c.Gates)-1].State != Passed {
		t.Errorf("three blocks: %s; a count needs no more than one, a time does", c.Gate())
	}
}

// A gate on what was not measured is undecided, and leaves the verdicts and the other gates alone.
func TestGateOnNothing(t *testing.T) {
	c, err := Compare([]*Run{fixture(t, "run", 1, 1)}, CompareOptions{Gates: []Expr{mustParse(t, "victim mean<=2"), mustParse(t, "probe mean<=1.10")}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "gate undecided: victim mean<=2: no variant other than the baseline has that figure"; c.Gate() != Inconclusive || c.Gates[0].State != Inconclusive || c.Gates[0].Text != want {
		t.Errorf("%+v, want %q", c.Gates[0], want)
	}
	if len(c.Verdicts) == 0 || c.Gates[1].State != Passed {
		t.Errorf("%d verdicts, and the other gate %+v", len(c.Verdicts), c.Gates[1])
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	e := GatherEnvironment()
	if e.OS == "" || e.CPUs < 1 || e.GOMAXPROCS < 1 || e.GOMEMLIMIT == 0 || e.Go == "" || e.Taken.IsZero() {
		t.Errorf("environment %+v lacks what every system tells", e)
	}
	if e.OS == "linux" && (e.Kernel == "" || e.Memory == 0 || e.Ulimit["nofile"] == "") {
		t.Errorf("environment %+v lacks what Linux tells", e)
	}
}
