package results

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// part is an instance of a test of which each one does every so many-th operation.
type part struct {
	n, of    int
	edit     func(*Manifest)
	scalars  map[string]float64 // added to those of each block
	theory   bool
	delay    time.Duration
	interval time.Duration
}

// write makes the run directory of the part, in virtual time: two blocks of two
// variants, each operation with a time that follows from its number.
func (p part) write(t *testing.T, dir string) {
	t.Helper()
	time.Sleep(p.delay)
	rec := NewRecorder()
	m := Manifest{
		Scenario: "script.js", Window: 10, Variants: []string{"a", "b"}, Baseline: "a", Primary: "iq.mean", Limits: DefaultLimits(),
		Processes: []Process{{"generator", 1 + p.n}}, Wire: map[string]string{"xmppbench": "0"},
		Environment: Environment{Host: "h", OS: "linux", Arch: "amd64", CPUs: 2, GOMAXPROCS: 2},
	}
	if p.edit != nil {
		p.edit(&m)
	}
	w, err := Create(dir, m, Options{Recorder: rec, Interval: p.interval, Figures: func() map[string]float64 { return map[string]float64{"rss": 1} }})
	if err != nil {
		t.Fatal(err)
	}
	w.Plan(Plan{Name: "scenario=x", Dimensions: map[string]string{"scenario": "x"}})
	if p.theory {
		w.Theory(Theory{Plan: "scenario=x", Variant: "a"})
	}
	op := 0
	for block := range 2 {
		begin := time.Now()
		for range 50 {
			op++
			if op%p.of == p.n {
				for i, variant := range m.Variants {
					sink := rec.Sink(Key{"scenario=x", variant, block})
					now := time.Now()
					took := time.Duration(op*(i+1)) * 1234567
					intended := now
					if op > 60 {
						intended = now.Add(-time.Millisecond) // from then on with a plan
					}
					sink.Observe(Sample{Metric: "iq", Intended: intended, Start: now, End: now.Add(took)})
					sink.Count("logins", int64(op))
					sink.Count("never", 0)
					if op%10 == 0 {
						sink.Observe(Sample{Metric: "iq", Err: fmt.Errorf("lost: %w", os.ErrDeadlineExceeded)})
						sink.Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(2 * time.Hour)})
					}
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
		for _, variant := range m.Variants {
			key := Key{"scenario=x", variant, block}
			snap := rec.Total(key)
			b := Block{Key: key, Start: begin, End: time.Now(), Valid: true, Scalars: snap.Scalars(), Errors: snap.Errors()}
			maps.Copy(b.Scalars, p.scalars)
			w.Block(b)
			w.Count(Count{Name: "logins", Plan: key.Plan, Variant: variant, Block: block, Counted: snap.Scalars()["logins"], Expected: snap.Scalars()["logins"]})
		}
		w.Event("note", "a block is done", nil)
	}
	if err := w.Close(StatusOK); err != nil {
		t.Fatal(err)
	}
}

// parts writes instances that run at the same time and opens them.
func parts(t *testing.T, ps ...part) []*Run {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		for i, p := range ps {
			go func() {
				defer func() { done <- struct{}{} }()
				p.write(t, filepath.Join(dir, fmt.Sprintf("p%d", i)))
			}()
		}
		for range ps {
			<-done
		}
	})
	var runs []*Run
	for i := range ps {
		r, err := Open(filepath.Join(dir, fmt.Sprintf("p%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	return runs
}

// distribution is what a histogram holds, bucket by bucket.
func distribution(h *Histogram) map[time.Duration]int64 { return maps.Collect(h.All()) }

// TestMerge splits a test in three and holds what comes out against the test run
// by one.
func TestMerge(t *testing.T) {
	whole := parts(t, part{of: 1})[0]
	runs := parts(t, part{n: 0, of: 3}, part{n: 1, of: 3, delay: 70 * time.Millisecond}, part{n: 2, of: 3, delay: 300 * time.Millisecond, interval: 3 * time.Second})
	dir := filepath.Join(t.TempDir(), "new", "merged")
	if err := Merge(dir, runs, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
	if r.Partial || r.Done.Status != StatusOK || r.Manifest.ID != "merged" || r.Manifest.Window != 10 {
		t.Errorf("partial %v, status %s, id %s, window %g", r.Partial, r.Done.Status, r.Manifest.ID, r.Manifest.Window)
	}
	for _, f := range []Filter{{}, {Variant: "a"}, {Variant: "b", Block: new(1)}} {
		got, want := r.Timings("iq", f), whole.Timings("iq", f)
		for _, c := range Clocks() {
			if diff := cmp.Diff(distribution(want.Of(c)), distribution(got.Of(c))); diff != "" {
				t.Errorf("%+v %s (-one +merged):\n%s", f, c, diff)
			}
		}
		if got.Clamped != want.Clamped || got.Errors["timeout"] != want.Errors["timeout"] || want.Clamped == 0 {
			t.Errorf("%+v: clamped %d, errors %v; want %d, %v", f, got.Clamped, got.Errors, want.Clamped, want.Errors)
		}
		if diff := cmp.Diff(whole.Counters(f), r.Counters(f)); diff != "" {
			t.Errorf("%+v: counters (-one +merged):\n%s", f, diff)
		}
	}
	if len(r.Blocks) != 4 || len(r.Counts) != 4 || len(r.Events) != 6 || len(r.Manifest.Processes) != 3 || len(r.Manifest.Plans) != 1 {
		t.Fatalf("%d blocks, %d counts, %d events, %d processes, %d plans", len(r.Blocks), len(r.Counts), len(r.Events), len(r.Manifest.Processes), len(r.Manifest.Plans))
	}
	for i, b := range r.Blocks {
		var w Block
		for _, b2 := range whole.Blocks {
			if b2.Key == b.Key {
				w = b2
			}
		}
		for name, want := range w.Scalars {
			// The median comes from buckets; the others are exact.
			if got := b.Scalars[name]; got < want*(1-1e-9) || got > want*(1+1e-9) {
				t.Errorf("block %d: %s is %g, want %g", i, name, got, want)
			}
		}
		if !b.Valid || b.Start.After(w.Start.Add(time.Minute)) || !r.Counts[i].Equal {
			t.Errorf("block %d: %+v", i, b)
		}
	}
	if run := r.Events[0].Fields["run"]; !strings.HasPrefix(run, "p") {
		t.Errorf("event of run %q", run)
	}
	if text := strings.Join(r.Manifest.Notes, "\n"); !strings.Contains(text, "Merged from p0, p1, p2.") {
		t.Errorf("notes %q", text)
	}
	for _, format := range Formats() {
		var b strings.Builder
		if err := Report(&b, []*Run{r}, format, ReportOptions{}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	// The merged run can be merged again, and no directory is written over.
	if err := Merge(filepath.Join(t.TempDir(), "again"), []*Run{r}, MergeOptions{}); err != nil {
		t.Error(err)
	}
	if err := Merge(dir, runs, MergeOptions{}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("merge into a full directory: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".merge-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMergeStatus(t *testing.T) {
	runs := parts(t, part{n: 0, of: 2}, part{n: 1, of: 2})
	if err := os.Remove(filepath.Join(runs[1].Dir, fileDone)); err != nil {
		t.Fatal(err)
	}
	died, err := Open(runs[1].Dir)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "merged")
	if err := Merge(dir, []*Run{runs[0], died}, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done.Status != StatusInterrupted || len(r.Done.Reasons) != 1 || r.Done.Reasons[0] != "p1: did not end" {
		t.Errorf("status %s: %q", r.Done.Status, r.Done.Reasons)
	}
	runs[0].Done = Done{Status: StatusInvalid, Reasons: []string{"late"}}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := Merge(bad, runs, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(bad); err != nil {
		t.Fatal(err)
	}
	if invalid, why := r.Invalid(); !invalid || why[0] != "p0: late" {
		t.Errorf("invalid %v: %q", invalid, why)
	}
}

func TestMergeRefuses(t *testing.T) {
	// What is refused shows without a look at each second.
	first, second := part{n: 0, of: 2, interval: 10 * time.Second}, part{n: 1, of: 2, interval: 10 * time.Second}
	with := func(change func(*part)) part {
		p := second
		change(&p)
		return p
	}
	edit := func(f func(*Manifest)) part { return with(func(p *part) { p.edit = f }) }
	for name, tt := range map[string]struct {
		p     part
		want  string
		allow bool // AllowDifferent takes it
	}{
		"scenario": {edit(func(m *Manifest) { m.Scenario = "other.js" }), "p0 ran scenario script.js and p1 ran other.js", false},
		"window":   {edit(func(m *Manifest) { m.Window = 5 }), "windows of 10s and those of p1 of 5s", false},
		"machine":  {edit(func(m *Manifest) { m.Environment.Host = "i" }), "p0 and p1 are not alike: host h / i", true},
		"wire":     {edit(func(m *Manifest) { m.Wire = map[string]string{"xmppbench": "1"} }), "wire format of xmppbench 0 / 1", true},
		"target":   {edit(func(m *Manifest) { m.Targets = []TargetInfo{{Name: "t"}} }), "target (unknown) / t", true},
		"time":     {with(func(p *part) { p.delay = time.Minute }), "they did not run at the same time", true},
		"figure":   {with(func(p *part) { p.scalars = map[string]float64{"cpu.client": 1} }), `cpu.client of block 0 of plan "scenario=x", variant "a", is neither`, false},
		"theory":   {with(func(p *part) { p.theory = true }), "p1 holds theory", false},
	} {
		t.Run(name, func(t *testing.T) {
			runs := parts(t, first, tt.p)
			dir := filepath.Join(t.TempDir(), "merged")
			err := Merge(dir, runs, MergeOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v; want %q", err, tt.want)
			}
			if different := (*DifferentError)(nil); errors.As(err, &different) != tt.allow {
				t.Errorf("%T", err)
			}
			if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			err = Merge(dir, runs, MergeOptions{AllowDifferent: true})
			if (err == nil) != tt.allow {
				t.Fatalf("with AllowDifferent: %v", err)
			}
			if err != nil {
				return
			}
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if notes := strings.Join(r.Manifest.Notes, "\n"); !strings.Contains(notes, tt.want) {
				t.Errorf("notes %q", notes)
			}
		})
	}
	runs := parts(t, part{of: 1})
	if err := Merge(filepath.Join(t.TempDir(), "m"), []*Run{runs[0], runs[0]}, MergeOptions{}); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("twice: %v", err)
	}
	if err := Merge(filepath.Join(t.TempDir(), "m"), nil, MergeOptions{}); err == nil {
		t.Error("no runs: no error")
	}
}

// TestForget records under ever new keys, as windows of a long test do.
func TestForget(t *testing.T) {
	rec := NewRecorder()
	now := time.Now()
	for block := range 100 {
		key := Key{Variant: "a", Block: block}
		rec.Sink(key).Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(time.Millisecond)})
		rec.Take(now)
		rec.Sink(key).Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(time.Millisecond)})
		if n := rec.Total(key).Metrics["iq"].Of(Service).N(); n != 2 {
			t.Fatalf("block %d: %d samples", block, n)
		}
		rec.Forget(key)
		rec.Forget(key)
		// What has not been taken yet is taken once more.
		d := rec.Take(now)
		if len(d.Series) != 1 || d.Series[0].Metrics["iq"].Service.N() != 1 {
			t.Fatalf("block %d: %+v", block, d)
		}
		if snap := rec.Total(key); !snap.empty() {
			t.Fatalf("block %d is remembered: %+v", block, snap)
		}
	}
	if len(rec.series)+len(rec.totals) > 0 {
		t.Errorf("%d series, %d totals", len(rec.series), len(rec.totals))
	}
}

// TestCompareWindows sets arms side by side that ran in other windows of one test,
// or in the same ones.
func TestCompareWindows(t *testing.T) {
	run := func(shift int, window float64) *Run {
		r := &Run{Manifest: Manifest{ID: "r", Scenario: "s", Window: window, Primary: "iq.mean", Baseline: "a"}}
		for i := range 12 {
			v := 1 + 0.01*float64(i%5)
			for j, variant := range []string{"a", "b"} {
				r.Blocks = append(r.Blocks, Block{Key: Key{Variant: variant, Block: i + j*shift}, Valid: true,
					Scalars: map[string]float64{"iq.mean": v * float64(1+j)}})
			}
		}
		return r
	}
	for name, tt := range map[string]struct {
		shift  int
		window float64
		paired bool
		want   Decision
	}{
		"side by side":      {0, 10, true, Slower},
		"one after another": {12, 10, false, Slower},
		"hardly together":   {10, 10, false, Slower},
		"repetitions":       {12, 0, true, CannotTell},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Compare([]*Run{run(tt.shift, tt.window)}, CompareOptions{})
			if err != nil {
				t.Fatal(err)
			}
			v := c.Verdicts[0]
			if v.Paired != tt.paired || v.Decision != tt.want {
				t.Errorf("paired %v, %s: %s", v.Paired, v.Decision, v)
			}
			if tt.window > 0 && !tt.paired && !strings.Contains(v.String(), "12 and 12 blocks made at different times, drift is not removed") {
				t.Errorf("%s", v)
			}
		})
	}
}
