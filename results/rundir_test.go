package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
)

// writeRun writes a small run with everything in it, in virtual time, and
// leaves it without DONE if partial.
func writeRun(t testing.TB, dir string, end func(*Writer)) {
	t.Helper()
	rec := NewRecorder()
	w, err := Create(dir, Manifest{
		Scenario: "roster-login", Variants: []string{"monolithic", "chunked push/#1"}, Baseline: "monolithic",
		Primary: "probe.mean", Plans: []Plan{{Name: "items=1k", Dimensions: map[string]string{"roster.items": "1k"}}},
		Config: map[string]any{"blocks": 2}, Seeds: map[string]uint64{"run": 1}, Limits: DefaultLimits(),
		Targets: []TargetInfo{{Name: "sim"}}, Processes: []Process{{"generator", os.Getpid()}},
	}, Options{Recorder: rec, Figures: func() map[string]float64 { return map[string]float64{"rss": 1 << 20} }, Events: 2})
	if err != nil {
		t.Fatal(err)
	}
	for block := range 2 {
		for i, variant := range []string{"monolithic", "chunked push/#1"} {
			key := Key{"items=1k", variant, block}
			sink := rec.Sink(key)
			begin := time.Now()
			for n := range 30 {
				start := begin.Add(time.Duration(n) * 100 * time.Millisecond)
				time.Sleep(time.Until(start))
				took := time.Duration(10*(2-i)) * time.Millisecond
				sink.Observe(Sample{Metric: "probe", Intended: start.Add(-time.Millisecond), Start: start, End: start.Add(took)})
				sink.Observe(Sample{Metric: "iq", Intended: start, Start: start, End: start.Add(took)})
				sink.Count("stanzas", 2)
			}
			sink.Observe(Sample{Metric: "iq", Err: errors.New("lost")})
			snap := rec.Total(key)
			w.Block(Block{Key: key, Order: i, Start: begin, End: time.Now(), Valid: true, Scalars: snap.Scalars(), Errors: snap.Errors()})
			points := make([]Point, maxPoints+500)
			for n := range points {
				points[n] = Point{0.0000012 + float64(n), 0.01}
			}
			w.Timeline(Timeline{Key: key, Metric: "probe", Since: "request", Points: points})
			w.Event("phase", fmt.Sprintf("block %d done", block), map[string]string{"variant": variant})
			if !w.Count(Count{Name: "stanzas", Plan: key.Plan, Variant: variant, Block: block, Counted: float64(snap.Counts["stanzas"]), Expected: 60}) {
				t.Error("the counted stanzas must equal 60")
			}
		}
	}
	w.Theory(Theory{Plan: "items=1k", Variant: "monolithic", Scalars: map[string]float64{"probe.mean": 0.0205}, Timelines: map[string][]Point{"probe": {{0, 0.02}}}})
	end(w)
}

func closeOK(t testing.TB) func(*Writer) {
	return func(w *Writer) {
		if err := w.Close(StatusOK); err != nil {
			t.Error(err)
		}
		if err := w.Close(StatusFailed); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

// writtenRun is the run of writeRun, which takes a while to write.
var writtenRun struct {
	sync.Mutex
	files map[string][]byte
}

// testRun returns a directory with a run that ended well.
func testRun(t *testing.T) string {
	t.Helper()
	writtenRun.Lock()
	defer writtenRun.Unlock()
	dir := filepath.Join(t.TempDir(), "run")
	if writtenRun.files != nil {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range writtenRun.files {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	synctest.Test(t, func(t *testing.T) { writeRun(t, dir, closeOK(t)) })
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	writtenRun.files = make(map[string][]byte)
	for _, e := range entries {
		if writtenRun.files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRunRoundTrip(t *testing.T) {
	dir := testRun(t)
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Partial || r.Done.Status != StatusOK {
		t.Errorf("partial %v, status %s; want an ended run", r.Partial, r.Done.Status)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
	if m := r.Manifest; m.Schema != Schema || m.ID != "run" || m.Environment.Go == "" || m.Environment.GOMAXPROCS == 0 {
		t.Errorf("manifest lacks what Create fills in: %+v", m)
	}
	f := Filter{Variant: "chunked push/#1"}
	probe := r.Timings("probe", f)
	for c, want := range map[Clock]time.Duration{Response: 11 * time.Millisecond, Service: 10 * time.Millisecond, Lateness: time.Millisecond} {
		h := probe.Of(c)
		if diff := h.Mean() - want; h.N() != 60 || diff < -want/500 || diff > want/500 {
			t.Errorf("%s: n %d, mean %v; want 60, %v", c, h.N(), h.Mean(), want)
		}
	}
	if iq := r.Timings("iq", f); iq.Response != nil || iq.Of(Response).N() != 60 || iq.Errors["error"] != 2 {
		t.Errorf("iq: n %d, errors %v; want 60 samples of one clock and 2 errors", iq.Of(Response).N(), iq.Errors)
	}
	if got := r.Counters(Filter{})["stanzas"]; got != 240 {
		t.Errorf("%d stanzas, want 240", got)
	}
	if len(r.Blocks) != 4 || len(r.Theory) != 1 || len(r.Counts) != 4 {
		t.Errorf("%d blocks, %d theories, %d counts; want 4, 1, 4", len(r.Blocks), len(r.Theory), len(r.Counts))
	}
	// Two of each kind are kept, and a line tells how many there were.
	if len(r.Events) != 3 || r.Events[2].Count != 4 {
		t.Errorf("events %+v, want two and a count of 4", r.Events)
	}
	// Thirty steps of 100 ms in each block, the last of which does not wait.
	if got, want := r.Elapsed(f), 2*2900*time.Millisecond; got < want-time.Millisecond || got > want+time.Millisecond {
		t.Errorf("elapsed %v, want %v", got, want)
	}
	r.Blocks = r.Blocks[:1] // of the other variant
	if got := r.Elapsed(f); got < 6*time.Second || got > 8*time.Second {
		t.Errorf("elapsed without blocks %v, want two times 2.9 s and at most the rest of an interval on either side", got)
	}
	var n int64
	for iv := range r.Intervals("probe", f) {
		n += iv.Timings.Of(Response).N()
		if iv.Length > time.Second || iv.Variant != f.Variant {
			t.Errorf("interval %v of %v", iv.Length, iv.Key)
		}
	}
	if n != 60 {
		t.Errorf("intervals hold %d samples, want 60", n)
	}
	for _, name := range []string{"manifest.json", "latency.hlog", "series.jsonl", "events.jsonl", "blocks.jsonl", "theory.jsonl", "timelines.jsonl", "counts.json", "summary.json", "DONE"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestSlowFigures reads figures of a server that takes longer than an interval to tell them: every sample stays in the second in which
// it ended, and no reading begins before the last one is back.
func TestSlowFigures(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	key := Key{"all", "monolithic", 0}
	const took = 2500 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		rec := NewRecorder()
		created := time.Now()
		w, err := Create(dir, Manifest{Scenario: "login-storm"}, Options{Recorder: rec, Figures: func() map[string]float64 {
			began := time.Since(created).Seconds()
			time.Sleep(took)
			return map[string]float64{"began": began}
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		for i := range 100 {
			now := time.Now()
			rec.Sink(key).Observe(Sample{Metric: "ready", Intended: now, Start: now, End: now.Add(time.Duration(1+i/10) * time.Millisecond)})
			rec.Sink(key).Count("stanzas", 1)
			time.Sleep(100 * time.Millisecond)
		}
		if err := w.Close(StatusOK); err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(created), 10050*time.Millisecond+took-50*time.Millisecond+took; got != want {
			t.Errorf("ended after %v, want %v: what is under way, and one more reading", got, want)
		}
	})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second := 0
	for iv := range r.Intervals("ready", Filter{}) {
		h := iv.Timings.Of(Response)
		second++
		if from := iv.Start.Sub(r.Manifest.Started); from != time.Duration(second-1)*time.Second || iv.Length != time.Second || h.N() != 10 {
			t.Errorf("interval %d begins at %v, lasts %v and has %d samples; want a second with 10", second, from, iv.Length, h.N())
		}
		if want := time.Duration(second) * time.Millisecond; h.Mean().Round(time.Millisecond) != want {
			t.Errorf("interval %d has samples of %v, want those of %v", second, h.Mean(), want)
		}
	}
	var counted, began []float64
	for _, s := range r.Series {
		if v, ok := s.Figures["began"]; ok {
			began = append(began, v)
			if s.Elapsed != v {
				t.Errorf("figures of %v s stand at %v s", v, s.Elapsed)
			}
		}
		for _, c := range s.Counts {
			if counted = append(counted, s.Elapsed); c.Counts["stanzas"] != 10 {
				t.Errorf("%d stanzas at %v s, want 10", c.Counts["stanzas"], s.Elapsed)
			}
		}
	}
	if diff := cmp.Diff([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, counted); diff != "" || second != 10 {
		t.Errorf("%d intervals, counts at (-want +got)\n%s", second, diff)
	}
	if diff := cmp.Diff([]float64{1, 4, 7, 10, 12.5}, began); diff != "" {
		t.Errorf("readings began at (-want +got)\n%s", diff)
	}
}

// Other implementations read the log: here the library's own reader.
func TestLogIsStandard(t *testing.T) {
	dir := testRun(t)
	b, err := os.ReadFile(filepath.Join(dir, "latency.hlog"))
	if err != nil {
		t.Fatal(err)
	}
	r := hdrhistogram.NewHistogramLogReader(bytes.NewReader(b))
	counts := make(map[string]int64)
	for {
		h, err := r.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		counts[h.Tag()] += h.TotalCount()
	}
	want := map[string]int64{}
	for _, block := range []string{"0", "1"} {
		for _, variant := range []string{"monolithic", "chunked%20push%2F%231"} {
			for _, series := range []string{"probe/response", "probe/service", "probe/lateness", "iq/service"} {
				want[series+"/items=1k/"+variant+"/"+block] = 30
			}
		}
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("samples by tag (-want +got):\n%s", diff)
	}
}

// A process that starts during the run stands in the manifest as well.
// TestInvalidBlocksCountForNothing writes a block whose second cell is invalid,
// and takes the first one back.
func TestInvalidBlocksCountForNothing(t *testing.T) {
	rec := NewRecorder()
	dir := filepath.Join(t.TempDir(), "run")
	w, err := Create(dir, Manifest{Variants: []string{"a", "b"}, Baseline: "a", Primary: "ready.mean"}, Options{Recorder: rec})
	if err != nil {
		t.Fatal(err)
	}
	invalid := []Flag{{Kind: "lateness", Severity: Invalid, Text: "late"}}
	for block := range 7 {
		for i, variant := range []string{"a", "b"} {
			key := Key{"all", variant, block}
			took := 10 * time.Millisecond
			if block == 3 {
				took = time.Hour / 2
			}
			begin := at(float64(block))
			rec.Sink(key).Observe(Sample{Metric: "ready", Intended: begin, Start: begin, End: begin.Add(took)})
			rec.Sink(key).Count("stanzas", 2)
			total := rec.Total(key)
			b := Block{Key: key, Order: i, Start: begin, End: begin.Add(time.Second), Valid: true, Scalars: total.Scalars()}
			if block == 3 && variant == "b" {
				b.Valid, b.Flags = false, invalid
			}
			w.Block(b)
		}
	}
	total := rec.Total(Key{"all", "a", 3})
	w.Block(Block{Key: Key{"all", "a", 3}, Flags: invalid, Scalars: total.Scalars()})
	if err := w.Close(StatusOK); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Blocks) != 14 {
		t.Errorf("%d blocks, want one line for each cell", len(r.Blocks))
	}
	for _, variant := range []string{"a", "b"} {
		f := Filter{Variant: variant}
		if h := r.Timings("ready", f).Of(Response); h.N() != 6 || h.Max() > time.Second {
			t.Errorf("%s: %d samples up to %v, want 6 of 10 ms", variant, h.N(), h.Max())
		}
		if n := r.Counters(f)["stanzas"]; n != 12 {
			t.Errorf("%s: %d stanzas, want 12", variant, n)
		}
		if got := r.Elapsed(f); got != 6*time.Second {
			t.Errorf("%s ran for %v, want 6 s", variant, got)
		}
	}
	e, err := Parse("ready max<1s")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Thresholds(Metrics(), e) {
		if o.State != Passed {
			t.Error(o.Text)
		}
	}
	c, err := Compare([]*Run{r}, CompareOptions{})
	if err != nil || c.Verdicts[0].Blocks != 6 {
		t.Errorf("compared %+v, %v, want 6 blocks", c, err)
	}
	var log bytes.Buffer
	if err := Report(&log, []*Run{r}, "hlog", ReportOptions{}); err != nil || strings.Contains(log.String(), "/all/a/3,") {
		t.Errorf("error %v, the log is\n%s", err, &log)
	}
}

func TestProcessStartedLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	synctest.Test(t, func(t *testing.T) {
		w, err := Create(dir, Manifest{Scenario: "s", Processes: []Process{{"generator", 1}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.Process(Process{"simulator", 2})
		if err := w.Close(StatusOK); err != nil {
			t.Fatal(err)
		}
	})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Process{{"generator", 1}, {"simulator", 2}}, r.Manifest.Processes); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
}

func TestDirName(t *testing.T) {
	got := DirName("my scenario/../x", at(0))
	if !regexp.MustCompile(`^20261122T124900Z-my-scenario-..-x-[0-9a-f]{4}$`).MatchString(got) {
		t.Errorf("name %q", got)
	}
}

func TestCreateRefusesAFullDirectory(t *testing.T) {
	dir := testRun(t)
	if _, err := Create(dir, Manifest{}, Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v, want one that says that the directory is not empty", err)
	}
}

// damage changes one file of a run.
func damage(t *testing.T, dir, name string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Wherever the last line of a log is cut, all lines before it are read.
func TestCutLastLine(t *testing.T) {
	whole := testRun(t)
	if err := os.Remove(filepath.Join(whole, "DONE")); err != nil {
		t.Fatal(err)
	}
	r, err := Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Partial || r.Done.Status != StatusPartial {
		t.Fatal("a run without DONE must be partial")
	}
	all := r.Timings("iq", Filter{}).Of(Service).N()
	log, err := os.ReadFile(filepath.Join(whole, "latency.hlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"latency.hlog", "blocks.jsonl", "series.jsonl"} {
		b, err := os.ReadFile(filepath.Join(whole, name))
		if err != nil {
			t.Fatal(err)
		}
		last := len(b) - bytes.LastIndexByte(b[:len(b)-1], '\n') - 1
		for cut := 1; cut < last; cut += 7 {
			damage(t, whole, name, func([]byte) []byte { return b[:len(b)-cut] })
			if _, err := Open(whole); err != nil {
				t.Fatalf("%s cut by %d bytes: %v", name, cut, err)
			}
		}
		damage(t, whole, name, func([]byte) []byte { return b })
	}
	damage(t, whole, "latency.hlog", func([]byte) []byte { return log[:len(log)-1] })
	if r, err = Open(whole); err != nil {
		t.Fatal(err)
	}
	if got := r.Timings("iq", Filter{}).Of(Service).N(); got != all {
		t.Errorf("%d samples after losing the last line feed, want all %d", got, all)
	}
}

func TestDamageIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		change     func([]byte) []byte
		want       string
	}{
		{"log", "latency.hlog", func(b []byte) []byte {
			i := bytes.Index(b, []byte("HIST"))
			return append(append(b[:i:i], "HISTXX"...), b[i+6:]...)
		}, "latency.hlog:5: "},
		{"blocks", "blocks.jsonl", func(b []byte) []byte { return append([]byte("{\n"), b...) }, "blocks.jsonl:1: "},
		{"manifest", "manifest.json", func(b []byte) []byte { return b[:len(b)/2] }, "manifest.json:"},
		{"newer", "manifest.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte("xmppbench.run/1"), []byte("xmppbench.run/2"), 1)
		}, "newer"},
		{"foreign", "manifest.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte("xmppbench.run/1"), []byte("other/1"), 1)
		}, "not that of a run directory"},
		{"last line of an ended run", "blocks.jsonl", func(b []byte) []byte { return b[:len(b)-4] }, "blocks.jsonl:4: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := testRun(t)
			damage(t, dir, tt.file, tt.change)
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// Numbers that no run can have are refused where they stand, whichever file they are in.
func TestImpossibleFiguresAreNamed(t *testing.T) {
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Errorf("nothing to replace: %s", old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	manifest := func(text string) func([]byte) []byte {
		return replace(`"primary"`, text+`, "primary"`)
	}
	line := func(text string) func([]byte) []byte {
		return func(b []byte) []byte { return append([]byte(text+"\n"), b...) }
	}
	for _, tt := range []struct {
		file   string
		change func([]byte) []byte
		want   string
	}{
		{"manifest.json", manifest(`"alpha": 2`), "manifest.json: alpha is 2"},
		{"manifest.json", manifest(`"alpha": -0.05`), "manifest.json: alpha is -0.05"},
		{"manifest.json", manifest(`"alpha": 1`), "manifest.json: alpha is 1"},
		{"manifest.json", manifest(`"alpha": 1e-90`), "manifest.json: alpha is 1e-90"},
		{"manifest.json", manifest(`"alpha": 1e-300`), "manifest.json: alpha is 1e-300"},
		{"manifest.json", manifest(`"blocks": -1`), "manifest.json: blocks is -1"},
		{"manifest.json", manifest(`"window": -5`), "manifest.json: window is -5"},
		{"manifest.json", replace(`"name": "items=1k"`, `"name": "items=1k", "blocks": -8`), `manifest.json: blocks of plan "items=1k" is -8`},
		{"manifest.json", replace(`"lateness-share": 0.1`, `"lateness-share": 1e308`), "manifest.json: limits.lateness-share is 1e+308"},
		{"blocks.jsonl", line(`{"plan":"p","variant":"v","scalars":{"x":1e300}}`), "blocks.jsonl:1: scalars.x is 1e+300"},
		{"blocks.jsonl", line(`{"plan":"p","variant":"v","scalars":{"x":5e-324}}`), "blocks.jsonl:1: scalars.x is 5e-324"},
		{"series.jsonl", line(`{"elapsed":1,"figures":{"cpu.server":-1e308}}`), "series.jsonl:1: figures.cpu.server is -1e+308"},
		{"series.jsonl", line(`{"elapsed":1e306}`), "series.jsonl:1: elapsed is 1e+306"},
		{"timelines.jsonl", line(`{"metric":"m","points":[[0,1],[1e308,1]]}`), "timelines.jsonl:1: points[1][0] is 1e+308"},
		{"theory.jsonl", line(`{"timelines":{"m":[[1,-1e308]]}}`), "theory.jsonl:1: timelines.m[0][1] is -1e+308"},
		{"counts.json", replace(`"expected": 60`, `"expected": 1e301`), "counts.json: [0].expected is 1e+301"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			dir := testRun(t)
			damage(t, dir, tt.file, tt.change)
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A run whose files are not those that it ended with is shown for what it is, in every
// form; one that is whole says nothing of it.
func TestChangedFilesAreTold(t *testing.T) {
	forms := func(t *testing.T, dir string) map[string]string {
		t.Helper()
		r, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]string)
		for _, format := range Formats() {
			out[format] = string(report(t, format, ReportOptions{Width: 500}, r))
		}
		c, err := Compare([]*Run{r}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := c.WriteText(&b, 500, false); err != nil {
			t.Fatal(err)
		}
		out["compare"] = b.String()
		return out
	}
	const told = "these may not be the figures that were measured"
	for format, out := range forms(t, testRun(t)) {
		if strings.Contains(out, told) || strings.Contains(out, "files changed") {
			t.Errorf("%s: a whole run is said to be changed:\n%s", format, out)
		}
	}
	for name, tt := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"changed": {func(dir string) error {
			damage(t, dir, "blocks.jsonl", func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"probe.max":0.0`), []byte(`"probe.max":0.1`), 1)
			})
			return nil
		}, "blocks.jsonl was changed after the run ended"},
		"missing": {func(dir string) error { return os.Remove(filepath.Join(dir, "theory.jsonl")) }, "theory.jsonl is missing"},
		"added": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "sheet.json"), []byte(`{"target":"x"}`), 0o600)
		}, "sheet.json was added after the run ended"},
		"no checksums": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "DONE"), []byte(`{"status":"ok"}`), 0o600)
		}, "DONE has no checksums"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testRun(t)
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			for format, out := range forms(t, dir) {
				want := []string{told, tt.want}
				if format == "csv" {
					want = []string{"run,,,,,,files changed,1,1,\n"}
				}
				for _, w := range want {
					if !strings.Contains(out, w) {
						t.Errorf("%s lacks %q:\n%.3000s", format, w, out)
					}
				}
			}
		})
	}
	t.Run("summary", func(t *testing.T) {
		dir := testRun(t)
		damage(t, dir, "summary.json", func(b []byte) []byte { return append(b, '\n') })
		if _, err := OpenHead(dir); err == nil || !strings.Contains(err.Error(), "summary.json was changed after the run ended: derive it anew with report --rebuild") {
			t.Errorf("error %v of a summary that is not that of the run", err)
		}
		if err := Rebuild(dir, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenHead(dir); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefusesLinksAndForeignDirectories(t *testing.T) {
	dir := testRun(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks := filepath.Join(dir, "blocks.jsonl")
	if err := errors.Join(os.Remove(blocks), os.Symlink(secret, blocks)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v, want a refusal of the link", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a run directory") {
		t.Errorf("error %v, want one that says that this is no run", err)
	}
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that is fs.ErrNotExist", err)
	}
}

func TestVerifyAndRebuild(t *testing.T) {
	dir := testRun(t)
	before, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "summary.json")); err != nil {
		t.Fatal(err)
	}
	if err := Rebuild(dir, Metrics()); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("rebuilt summary differs:\n%s", cmp.Diff(string(before), string(after)))
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
	damage(t, dir, "blocks.jsonl", func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"probe.max":0.0`), []byte(`"probe.max":0.1`), 1)
	})
	if err := r.Verify(); err == nil || !strings.Contains(err.Error(), "blocks.jsonl was changed") {
		t.Errorf("error %v, want one that names the changed file", err)
	}
	if err := Rebuild(dir, Metrics()); err == nil {
		t.Error("rebuilding from changed files must be refused")
	}
}

func TestInvalidRunSaysWhy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	synctest.Test(t, func(t *testing.T) {
		writeRun(t, dir, func(w *Writer) {
			w.Flag(Flag{"dropped", Invalid, "7 arrivals were dropped, at most 0 may be"})
			w.Flag(Flag{"pressure", Warning, "busy"})
			if err := w.Close(StatusInvalid, "7 arrivals were dropped, at most 0 may be"); err != nil {
				t.Error(err)
			}
		})
	})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	bad, why := r.Invalid()
	if !bad || len(why) != 1 || len(r.Flags) != 2 {
		t.Errorf("invalid %v, reasons %q, %d flags; want one reason and two flags", bad, why, len(r.Flags))
	}
	var text bytes.Buffer
	if err := Report(&text, []*Run{r}, "text", ReportOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); !strings.Contains(s, "INVALID: 7 arrivals") || strings.Contains(s, "20.5ms") || strings.Contains(s, "lower") {
		t.Errorf("the report of an invalid run must show reasons and no figures:\n%s", s)
	}
}

// A file that cannot be written is reported, and does not stop the others.
func TestWriteErrorIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	synctest.Test(t, func(t *testing.T) {
		w, err := Create(dir, Manifest{Scenario: "s"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "blocks.jsonl"), 0o755); err != nil {
			t.Fatal(err)
		}
		w.Block(Block{Valid: true})
		w.Event("phase", "done", nil)
		time.Sleep(2 * time.Second)
		if err := w.Err(); err == nil || !strings.Contains(err.Error(), "blocks.jsonl") {
			t.Errorf("error %v, want one that names the file", err)
		}
		w.Block(Block{Scalars: map[string]float64{"x": math.NaN()}})
		if err := errors.Join(w.Close(StatusOK), os.Remove(filepath.Join(dir, "blocks.jsonl"))); err == nil {
			t.Error("Close must return the first error")
		}
	})
	r, err := Open(dir)
	if err != nil || len(r.Events) != 1 {
		t.Errorf("the other files must be whole: %v", err)
	}
}

// A process that is killed without warning leaves a run that can be read, and
// loses at most the interval before.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for s := bufio.NewScanner(out); last < 150 && s.Scan(); {
		if last, err = strconv.Atoi(s.Text()); err != nil {
			t.Fatalf("child said %q", s.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed; that is the point.
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Partial {
		t.Error("a killed run must be partial")
	}
	got := r.Timings("probe", Filter{}).Of(Response).N()
	counted := r.Counters(Filter{})["stanzas"]
	if got == 0 || len(r.Blocks) == 0 || counted == 0 {
		t.Errorf("%d samples, %d blocks and %d counts survive, want some of each", got, len(r.Blocks), counted)
	}
	var text bytes.Buffer
	if err := Report(&text, []*Run{r}, "text", ReportOptions{}); err != nil || !strings.Contains(text.String(), "did not end") {
		t.Errorf("report of a killed run: %v\n%s", err, text.String())
	}
}

func TestDecoderAgreesWithLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, g := range []struct {
		low, high int64
		digits    int
	}{{1, int64(time.Hour), 3}, {1000, int64(time.Hour), 3}, {1, 60_000_000_000, 2}, {1, 3_600_000, 1}} {
		h := hdrhistogram.New(g.low, g.high, g.digits)
		for range 500 {
			if err := h.RecordValues(rng.Int64N(g.high>>rng.IntN(20)), 1+rng.Int64N(1<<rng.IntN(30))); err != nil {
				t.Fatal(err)
			}
		}
		text, err := h.EncodeV2()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeHistogram(string(text))
		if err != nil {
			t.Fatal(err)
		}
		want := hdrhistogram.New(lowestValue, highestValue, digits)
		// The library merges by the lowest value of each bucket, too.
		if dropped := want.Merge(h); dropped != 0 {
			t.Fatalf("%d values do not fit", dropped)
		}
		wide := hdrhistogram.New(lowestValue, highestValue, digits)
		got.hdr.MergeInto(wide)
		if !want.Equals(wide) {
			t.Errorf("histogram %d..%d, %d digits: %d values decoded, want %d", g.low, g.high, g.digits, got.N(), want.TotalCount())
		}
		ends := make(map[time.Duration]int64)
		for _, bar := range want.Distribution() {
			if bar.Count > 0 {
				ends[time.Duration(bar.To)] = bar.Count
			}
		}
		if diff := cmp.Diff(ends, distribution(got)); diff != "" {
			t.Errorf("histogram %d..%d, %d digits: buckets differ from the library's (-want +got):\n%s", g.low, g.high, g.digits, diff)
		}
	}
}

func FuzzDecodeHistogram(f *testing.F) {
	h := NewHistogram()
	for i := range 50 {
		h.Record(time.Duration(i*i)*time.Millisecond, int64(i))
	}
	text, err := h.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add("HISTFAAAAAB42pNpmSzMwMDAxAABzFCaEUoz2X+AMIKZAEZCAwE=")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := DecodeHistogram(s)
		if err != nil {
			return
		}
		again, err := got.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeHistogram(again)
		if err != nil || !maps.Equal(distribution(back), distribution(got)) {
			t.Errorf("encoded again it is another histogram: %v", err)
		}
		if want, err := hdrhistogram.Decode([]byte(s)); err != nil || want.TotalCount() != got.N() {
			t.Errorf("the library disagrees: %v", err)
		}
	})
}

// Whatever the bytes, Open returns an error or a run that can be reported.
func FuzzOpen(f *testing.F) {
	manifest, err := json.Marshal(Manifest{Schema: Schema, ID: "x", Scenario: "s", Variants: []string{"a", "b"}, Primary: "probe.mean", Thresholds: []string{"probe p(50)<1s"}})
	if err != nil {
		f.Fatal(err)
	}
	rec := NewRecorder()
	rec.Sink(Key{"p", "a", 0}).Observe(sample("probe", 1, 2))
	log, err := intervalLines(rec.Take(time.Now()))
	if err != nil {
		f.Fatal(err)
	}
	block := []byte(`{"plan":"p","variant":"a","block":0,"valid":true,"scalars":{"probe.mean":1}}` + "\n")
	f.Add(manifest, log, block, []byte(`{"counts":[{"plan":"p","variant":"a","errors":{"probe":{"timeout":1}}}]}`))
	f.Add(manifest, log[:len(log)/2], bytes.Replace(block, []byte(`"a"`), []byte(`"b"`), 1), []byte("{}\n{"))
	f.Add(bytes.Replace(manifest, []byte(`"primary"`), []byte(`"alpha":1e-12,"primary"`), 1), log, bytes.Repeat(block, 50),
		[]byte(`{"elapsed":1,"figures":{"cpu.server":1e100}}`+"\n"+`{"elapsed":1e-100,"figures":{"cpu.server":-1e100}}`+"\n"+`{"elapsed":1e100,"figures":{"cpu.server":1e100}}`))
	f.Add(manifest, bytes.Replace(log, []byte("Tag="), []byte("Tag=x"), 1), bytes.Replace(block, []byte(":1}"), []byte(":1e-100}"), 1), []byte(`{"elapsed":-1e100}`))
	f.Add([]byte(`{"schema":"xmppbench.run/1","scenario":"federation","config":{"plans":[{"label":"p","federation":{"domains":"999999999999x999999999999","providers":1e18}}]}}`),
		log, bytes.Replace(block, []byte("probe.mean"), []byte("connections"), 1), []byte(`{}`))
	f.Add([]byte(`{"schema":"xmppbench.run/9"}`), []byte("Tag=a/b/c/d/e,1,2,3,x\n"), []byte("\n"), []byte("null"))
	f.Fuzz(func(t *testing.T, manifest, log, blocks, series []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"manifest.json": manifest, "latency.hlog": log, "blocks.jsonl": blocks, "series.jsonl": series} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Open(dir)
		if err != nil {
			return
		}
		for _, format := range Formats() {
			if err := Report(new(bytes.Buffer), []*Run{r}, format, ReportOptions{}); err != nil {
				t.Errorf("report as %s: %v", format, err)
			}
		}
	})
}

// BenchmarkOpen reads a run of 1000 intervals of one metric with three clocks.
func BenchmarkOpen(b *testing.B) {
	rec := NewRecorder()
	sink := rec.Sink(Key{"p", "v", 0})
	for i := range 200 {
		sink.Observe(sample("probe", 1, float64(2+i)))
	}
	lines, err := intervalLines(rec.Take(time.Now()))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := errors.Join(
		writeJSON(dir, fileManifest, Manifest{Schema: Schema}),
		os.WriteFile(filepath.Join(dir, fileLatency), bytes.Repeat(lines, 1000), 0o644),
	); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(1000 * len(lines)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(dir); err != nil {
			b.Fatal(err)
		}
	}
}
