package xk6xmpp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/errext/exitcodes"
	"go.k6.io/k6/v2/lib"
	"go.k6.io/k6/v2/lib/executor"
	"go.k6.io/k6/v2/lib/types"
	"go.k6.io/k6/v2/metrics"
	"go.k6.io/k6/v2/output"

	"github.com/xmppbench/xmppbench/results"
)

// rig is an output with metrics of k6 and of the module.
type rig struct {
	*hdr
	registry *metrics.Registry
	metrics  map[string]*metrics.Metric
	log      bytes.Buffer
}

// newRig makes an output that has not begun. scenarios are the tags of each scenario of
// a test of one minute.
func newRig(t testing.TB, argument string, tags map[string]string, scenarios map[string]map[string]string) *rig {
	t.Helper()
	r := &rig{registry: metrics.NewRegistry(), metrics: make(map[string]*metrics.Metric)}
	metrics.RegisterBuiltinMetrics(r.registry)
	for name, m := range map[string]struct {
		typ   metrics.MetricType
		value metrics.ValueType
	}{
		"xmpp_login_duration":  {metrics.Trend, metrics.Time},
		"xmpp_roster_duration": {metrics.Trend, metrics.Time},
		"xmpp_message_rtt":     {metrics.Trend, metrics.Time},
		"xmpp_roster_bytes":    {metrics.Trend, metrics.Data},
		"xmpp_sessions":        {metrics.Counter, metrics.Default},
		"xmpp_sessions_active": {metrics.Gauge, metrics.Default},
		"xmpp_login_success":   {metrics.Rate, metrics.Default},
		"xmpp_errors":          {metrics.Counter, metrics.Default},
		"own":                  {metrics.Counter, metrics.Default},
	} {
		r.registry.MustNewMetric(name, m.typ, m.value)
	}
	for _, m := range r.registry.All() {
		r.metrics[m.Name] = m
	}
	configs := lib.ScenarioConfigs{}
	for name, tags := range scenarios {
		c := executor.NewConstantVUsConfig(name)
		c.Duration = types.NullDurationFrom(time.Minute)
		c.Tags = tags
		configs[name] = c
	}
	log := logrus.New()
	log.SetOutput(&r.log)
	h, err := newHDR(output.Params{
		ConfigArgument: argument, Logger: log, ScriptPath: &url.URL{Path: "/scripts/chat.js"},
		ScriptOptions: lib.Options{Scenarios: configs, RunTags: tags},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.hdr = h
	return r
}

// push gives the output a sample.
func (r *rig) push(name string, value float64, at time.Time, tags map[string]string) {
	set := r.registry.RootTagSet()
	for k, v := range r.params.ScriptOptions.RunTags {
		set = set.With(k, v)
	}
	set = set.WithTagsFromMap(tags)
	r.AddMetricSamples([]metrics.SampleContainer{metrics.Samples{{TimeSeries: metrics.TimeSeries{Metric: r.metrics[name], Tags: set}, Time: at, Value: value}}})
}

func (r *rig) begin(t testing.TB) {
	t.Helper()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) end(t testing.TB, testErr error) *results.Run {
	t.Helper()
	if err := r.StopWithTestError(testErr); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(r.opts.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Verify(); err != nil {
		t.Error(err)
	}
	return run
}

// twoModes are scenarios of which each has a roster mode of its own.
func twoModes() map[string]map[string]string {
	return map[string]map[string]string{"one": {"roster_mode": "monolithic"}, "two": {"roster_mode": "rsm"}}
}

// play pushes a minute of samples, of every so many-th operation: logins and rosters in
// two modes, the second of which takes twice as long.
func (r *rig) play(n, of int) {
	for op := range 300 {
		time.Sleep(200 * time.Millisecond)
		if op%of != n {
			continue
		}
		now := time.Now()
		for i, scenario := range []string{"one", "two"} {
			mode := []string{"monolithic", "rsm"}[i]
			base := map[string]string{"scenario": scenario, "roster_mode": mode, "proto": "XMPP", "group": ""}
			took := float64((i + 1) * (10 + op%7))
			login := maps.Clone(base)
			login["mechanism"], login["ip"] = "PLAIN", fmt.Sprintf("192.0.2.%d", op%20)
			r.push("xmpp_login_duration", took/2, now, login)
			r.push("xmpp_login_success", 1, now, base)
			r.push("xmpp_roster_duration", took, now, base)
			r.push("xmpp_roster_bytes", 1000, now, base)
			r.push("xmpp_sessions", 1, now, base)
			r.push("xmpp_sessions_active", 5, now, base)
			r.push("data_sent", 100, now, base)
			r.push("http_reqs", 1, now, base)
			r.push("own", 0.25, now, base)
			r.push("checks", float64(op%2), now, map[string]string{"scenario": scenario, "roster_mode": mode, "check": fmt.Sprint(op % 3)})
			if op%60 == 0 {
				bad := maps.Clone(base)
				bad["stage"], bad["condition"] = "sasl", "not-authorized"
				r.push("xmpp_errors", 1, now, bad)
				r.push("xmpp_login_success", 0, now, bad)
			}
		}
	}
}

func TestOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	var r *rig
	synctest.Test(t, func(t *testing.T) {
		r = newRig(t, dir+",primary=roster.complete.mean", map[string]string{"testrun_name": "x"}, twoModes())
		r.begin(t)
		r.play(0, 1)
		r.end(t, nil)
	})
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := run.Manifest
	if m.Scenario != "chat.js" || m.Window != 5 || run.Done.Status != results.StatusOK || m.Wire["xmppbench"] == "" || r.Description() == "" {
		t.Errorf("scenario %s, window %g, status %s, wire %v", m.Scenario, m.Window, run.Done.Status, m.Wire)
	}
	var plans []string
	for _, p := range m.Plans {
		plans = append(plans, p.Name)
	}
	if diff := cmp.Diff([]string{"mechanism=PLAIN", "all"}, plans); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
	f := results.Filter{Plan: "all", Variant: "rsm"}
	roster := run.Timings("roster.complete", f).Of(results.Service)
	if roster.N() != 300 || roster.Max().Round(time.Millisecond) != 32*time.Millisecond {
		t.Errorf("%d rosters, at most %s", roster.N(), roster.Max())
	}
	if n := run.Timings("login", results.Filter{}).Of(results.Response).N(); n != 600 {
		t.Errorf("%d logins", n)
	}
	want := map[string]int64{
		"logins": 300, "logins.failed": 5, "roster.bytes.sum": 300_000, "roster.bytes.samples": 300, "sessions.bound": 300,
		"bytes.out.tls": 30_000, "own": 75, "checks.true": 150, "checks.false": 150,
	}
	if diff := cmp.Diff(want, run.Counters(f)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if n := run.Errors(f)["login.sasl"]["not-authorized"]; n != 5 {
		t.Errorf("%d errors: %v", n, run.Errors(f))
	}
	// Twelve windows, of which the last one ends with the test; what came at its very
	// end is in one more that is no evidence.
	valid := make(map[results.Key]int)
	for _, b := range run.Blocks {
		if b.Valid {
			valid[results.Key{Plan: b.Plan, Variant: b.Variant}]++
		}
	}
	if n := valid[results.Key{Plan: "all", Variant: "rsm"}]; n != 12 {
		t.Errorf("%d valid blocks: %v", n, valid)
	}
	left := make(map[string]bool)
	for _, e := range run.Events {
		left[e.Fields["metric"]] = e.Kind == "left-out"
	}
	if !left["xmpp_sessions_active"] || !left["http_reqs"] || len(left) != 2 {
		t.Errorf("left out: %v", left)
	}
	var text strings.Builder
	if err := results.Report(&text, []*results.Run{run}, "text", results.ReportOptions{Width: 200}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rsm has 2x higher mean roster.complete than monolithic (95 % interval", "rsm: 5 errors of kind not-authorized in login.sasl",
		"note: Measured by k6", "note: Blocks are windows of 5s",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &text)
		}
	}
}

// TestOutputSplit holds three instances that were merged against one that did all.
func TestOutputSplit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		done := make(chan bool)
		play := func(name string, n, of int, tags map[string]string) {
			r := newRig(t, filepath.Join(dir, name), tags, twoModes())
			r.begin(t)
			r.play(n, of)
			r.end(t, nil)
			done <- true
		}
		go play("whole", 0, 1, nil)
		for i := range 3 {
			go play("part-{instance}", i, 3, map[string]string{"instance_id": fmt.Sprint(i + 1)})
		}
		for range 4 {
			<-done
		}
	})
	var runs []*results.Run
	for _, name := range []string{"whole", "part-1", "part-2", "part-3"} {
		run, err := results.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	merged := filepath.Join(dir, "merged")
	if err := results.Merge(merged, runs[1:], results.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := results.Open(merged)
	if err != nil {
		t.Fatal(err)
	}
	whole := runs[0]
	if diff := cmp.Diff(whole.Keys(), got.Keys()); diff != "" {
		t.Errorf("keys (-one +merged):\n%s", diff)
	}
	for _, key := range whole.Keys() {
		f := results.Filter{Plan: key.Plan, Variant: key.Variant, Block: &key.Block}
		for _, metric := range whole.TimedMetrics() {
			want := maps.Collect(whole.Timings(metric, f).Of(results.Service).All())
			if diff := cmp.Diff(want, maps.Collect(got.Timings(metric, f).Of(results.Service).All())); diff != "" {
				t.Errorf("%s of %v (-one +merged):\n%s", metric, key, diff)
			}
		}
		counts := func(r *results.Run) map[string]int64 {
			c := r.Counters(f)
			delete(c, "own") // Fractions are kept for later, by each instance.
			return c
		}
		if diff := cmp.Diff(counts(whole), counts(got)); diff != "" {
			t.Errorf("counters of %v (-one +merged):\n%s", key, diff)
		}
		if diff := cmp.Diff(whole.Errors(f), got.Errors(f)); diff != "" {
			t.Errorf("errors of %v (-one +merged):\n%s", key, diff)
		}
	}
	for _, b := range got.Blocks {
		for _, w := range whole.Blocks {
			if w.Key != b.Key {
				continue
			}
			for _, name := range []string{"roster.complete.mean", "roster.complete.max", "roster.complete.n", "login.mean", "logins"} {
				if d := b.Scalars[name] - w.Scalars[name]; d > 1e-9 || d < -1e-9 {
					t.Errorf("%v: %s is %g, want %g", b.Key, name, b.Scalars[name], w.Scalars[name])
				}
			}
		}
	}
}

// TestOutputTags says which plan and which variant a series belongs to.
func TestOutputTags(t *testing.T) {
	one := map[string]map[string]string{"chat": nil}
	same := map[string]map[string]string{"a": {"roster_mode": "rsm"}, "b": {"roster_mode": "rsm"}}
	for name, tt := range map[string]struct {
		argument      string
		run           map[string]string
		scenarios     map[string]map[string]string
		tags          map[string]string
		plan, variant string
	}{
		"scenario":    {"d", nil, one, map[string]string{"scenario": "chat", "side": "a"}, "side=a", "chat"},
		"nothing":     {"d", nil, one, nil, "all", "all"},
		"mode":        {"d", nil, one, map[string]string{"scenario": "chat", "roster_mode": "rsm"}, "scenario=chat", "rsm"},
		"own mode":    {"d", nil, twoModes(), map[string]string{"scenario": "two", "roster_mode": "rsm"}, "all", "rsm"},
		"shared mode": {"d", nil, same, map[string]string{"scenario": "b", "roster_mode": "rsm"}, "scenario=b", "rsm"},
		"own tag":     {"d,variant=side", nil, one, map[string]string{"scenario": "chat", "side": "a"}, "scenario=chat", "a"},
		"without":     {"d,without=side,without=phase", nil, one, map[string]string{"side": "a", "phase": "x", "k": "v"}, "k=v", "all"},
		"instance":    {"d", map[string]string{"instance_id": "1", "run": "x"}, one, map[string]string{"ip": "::1", "proto": "XMPP"}, "all", "all"},
		"run tag":     {"d", map[string]string{"run": "x"}, one, map[string]string{"run": "y"}, "run=y", "all"},
		"layout":      {"d", nil, one, map[string]string{"s2s_strategy": "pair-external", "s2s_layout": usualLayout("pair-external")}, "all", "pair-external"},
		"new layout":  {"d", nil, one, map[string]string{"s2s_strategy": "pair-external", "s2s_layout": "ring"}, "s2s_layout=ring", "pair-external"},
		"quoted":      {"d", nil, one, map[string]string{"a": "b c", "d": "e"}, `a="b c" d=e`, "all"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.argument, tt.run, tt.scenarios)
			tags := maps.Clone(tt.run)
			if tags == nil {
				tags = make(map[string]string)
			}
			maps.Copy(tags, tt.tags)
			dimensions := make(map[string]string)
			plan, variant := r.tags.split("xmpp_login_duration", tags, dimensions)
			if plan != tt.plan || variant != tt.variant {
				t.Errorf("plan %q, variant %q; want %q, %q", plan, variant, tt.plan, tt.variant)
			}
			if plan == "all" && len(dimensions) > 0 {
				t.Errorf("dimensions %v", dimensions)
			}
		})
	}
}

// TestVariantTags holds the tags that are variants against those that metrics have.
func TestVariantTags(t *testing.T) {
	found := make(map[string]bool)
	for _, m := range metricTable() {
		for _, tag := range regexp.MustCompile(`\w+_(mode|strategy)\b`).FindAllString(m.tags, -1) {
			found[tag] = true
		}
	}
	if diff := cmp.Diff(variantTags(), slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("tags that tell how something was done (-output +metrics):\n%s", diff)
	}
	if usualLayout("pair-external") == "" || usualLayout("magic") != "" {
		t.Error("the usual layout of a strategy is not known")
	}
}

func TestOutputBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, filepath.Join(t.TempDir(), "run")+",series=3", nil, nil)
		r.begin(t)
		for i := range 50 {
			r.push("xmpp_message_rtt", 5, time.Now(), map[string]string{"room": fmt.Sprint(i % 10)})
			r.push("dropped_iterations", 2, time.Now(), nil)
		}
		time.Sleep(time.Second)
		run := r.end(t, nil)
		if n := run.Timings("message.rtt", results.Filter{}).Of(results.Service).N(); n != 50 {
			t.Errorf("%d samples: none may be lost", n)
		}
		if n := run.Timings("message.rtt", results.Filter{Plan: "(other tags)"}).Of(results.Service).N(); n != 40 {
			t.Errorf("%d samples beyond the limit, want 40", n)
		}
		if keys := run.Keys(); len(keys) != 4 {
			t.Errorf("keys %v", keys)
		}
		var flags strings.Builder
		for _, f := range run.Flags {
			flags.WriteString(f.Text + "\n")
		}
		for _, want := range []string{"40 samples had tags beyond the first 3 sets", "k6 dropped 100 iterations"} {
			if !strings.Contains(flags.String(), want) {
				t.Errorf("no flag %q in %q", want, &flags)
			}
		}
		if n := strings.Count(r.log.String(), "more than 3 sets of metric and tags"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, &r.log)
		}
	})
}

func TestOutputStatus(t *testing.T) {
	coded := func(code exitcodes.ExitCode) error {
		return errext.WithExitCodeIfNone(errors.New("because"), code)
	}
	for name, tt := range map[string]struct {
		err  error
		want results.Status
	}{
		"good":       {nil, results.StatusOK},
		"plain":      {errors.New("because"), results.StatusFailed},
		"thresholds": {coded(99), results.StatusFailed},
		"signal":     {coded(105), results.StatusInterrupted},
		"script":     {coded(108), results.StatusInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, filepath.Join(t.TempDir(), "run"), nil, nil)
			r.begin(t)
			run := r.end(t, tt.err)
			if run.Done.Status != tt.want || tt.err != nil && run.Done.Reasons[0] != "because" {
				t.Errorf("%s: %q", run.Done.Status, run.Done.Reasons)
			}
		})
	}
}

func TestOutputArgument(t *testing.T) {
	for argument, want := range map[string]string{
		"d,block=5":        `option "block": "5" is not a time of at least a second`,
		"d,block=1ms":      `"1ms" is not a time`,
		"d,interval=x":     `option "interval"`,
		"d,series=0":       `option "series": "0" is not a number from 1 to 10000`,
		"d,series=10001":   `option "series": "10001" is not`,
		"d,interval=-1s":   `"-1s" is not a time`,
		"d,series":         `option "series": has no value`,
		"d,=,block":        `option "": has no value`,
		"d,colour=red":     `option "colour": is not known: there are block, interval, series, without, variant, primary`,
		"runs/{instance}":  "has no tag instance_id",
		"runs/{instance}x": "has no tag instance_id",
	} {
		if _, err := newHDR(output.Params{ConfigArgument: argument, Logger: logrus.New()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", argument, err, want)
		}
	}
	if _, err := newHDR(output.Params{ConfigArgument: "{instance}", Logger: logrus.New(), ScriptOptions: lib.Options{RunTags: map[string]string{"instance_id": "../x"}}}); err == nil {
		t.Error("an instance that names another folder: no error")
	}
	h, err := newHDR(output.Params{Logger: logrus.New()})
	if err != nil || !strings.HasPrefix(h.opts.dir, "runs") || !strings.Contains(h.opts.dir, "-k6-") {
		t.Errorf("%v: %+v", err, h)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, full, nil, nil)
	if err := r.Start(); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a directory that holds something: %v", err)
	}
}

// TestHDROptions reads arguments of --out xmpp-hdr.
func TestHDROptions(t *testing.T) {
	for argument, want := range map[string]hdrOptions{
		"":          {series: 500},
		"d":         {dir: "d", series: 500},
		"d,,":       {dir: "d", series: 500},
		",block=1m": {block: time.Minute, series: 500},
		"d,block=10s,interval=1s,series=5,without=a,without=b,variant=c,primary=x.mean": {
			dir: "d", block: 10 * time.Second, interval: time.Second, series: 5, without: []string{"a", "b"}, variant: "c", primary: "x.mean",
		},
	} {
		if got, err := parseHDROptions(argument); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", argument, got, err, want)
		}
	}
}

// TestOutputFits holds the directory of a long test within what can be read.
func TestOutputFits(t *testing.T) {
	for planned, want := range map[time.Duration][2]time.Duration{
		time.Minute:        {5 * time.Second, time.Second},
		time.Hour:          {121 * time.Second, time.Second},
		24 * time.Hour:     {2881 * time.Second, 24 * time.Second},
		7 * 24 * time.Hour: {20161 * time.Second, time.Minute},
	} {
		r := newRig(t, "d", nil, nil)
		c := executor.NewConstantVUsConfig("soak")
		c.Duration = types.NullDurationFrom(planned)
		r.params.ScriptOptions.Scenarios = lib.ScenarioConfigs{"soak": c}
		half, err := lib.NewExecutionSegmentFromString("0:1/2")
		if err != nil {
			t.Fatal(err)
		}
		r.params.ScriptOptions.ExecutionSegment = half
		r.fit()
		if got := [2]time.Duration{r.opts.block, r.opts.interval}; got != want {
			t.Errorf("%s: %v, want %v", planned, got, want)
		}
	}
}

// TestOutputMemory pushes ten times as many samples and wants no more memory.
func TestOutputMemory(t *testing.T) {
	heap := func(samples int) (bytes uint64) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, filepath.Join(t.TempDir(), "run"), nil, twoModes())
			r.begin(t)
			set := r.registry.RootTagSet()
			for i := range samples {
				tags := set.With("scenario", "one").With("room", fmt.Sprint(i%4))
				r.AddMetricSamples([]metrics.SampleContainer{metrics.Sample{
					TimeSeries: metrics.TimeSeries{Metric: r.metrics["xmpp_message_rtt"], Tags: tags}, Time: time.Now(), Value: float64(i%977) + 0.5,
				}})
				if i%(samples/20) == 0 {
					time.Sleep(2 * time.Second) // past a few windows and many writes
				}
			}
			synctest.Wait()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			bytes = m.HeapAlloc
			run := r.end(t, nil)
			if n := run.Timings("message.rtt", results.Filter{}).Of(results.Service).N(); n != int64(samples) {
				t.Errorf("%d samples, want %d", n, samples)
			}
		})
		return bytes
	}
	few, many := heap(50_000), heap(1_000_000)
	t.Logf("heap with 50 000 samples %d KiB, with 1 000 000 %d KiB", few>>10, many>>10)
	// How many of the histograms of four series are open when it is looked at varies. A
	// trend of k6 would have grown by eight bytes for each of 950 000 samples, and as
	// many for each threshold with tags.
	if many > few+4<<20 {
		t.Errorf("%d bytes of heap after 1 000 000 samples, %d after 50 000", many, few)
	}
}

// TestOutputKilled kills a process that writes, and reads what it left.
func TestOutputKilled(t *testing.T) {
	const dirVariable = "XMPPBENCH_TEST_HDR_DIR"
	if dir := os.Getenv(dirVariable); dir != "" {
		r := newRig(t, dir+",block=1s", nil, twoModes())
		r.begin(t)
		for { // until it is killed
			r.push("xmpp_roster_duration", 7, time.Now(), map[string]string{"scenario": "one", "roster_mode": "rsm"})
			time.Sleep(time.Millisecond)
		}
	}
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutputKilled$")
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	var run *results.Run
	for {
		if t.Context().Err() != nil {
			t.Fatal("nothing was written")
		}
		time.Sleep(50 * time.Millisecond)
		var err error
		if run, err = results.Open(dir); err == nil && len(run.Blocks) >= 2 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !run.Partial || run.Timings("roster.complete", results.Filter{}).Of(results.Service).N() == 0 {
		t.Errorf("partial %v, %v", run.Partial, run.TimedMetrics())
	}
	var report bytes.Buffer
	if err := results.Report(&report, []*results.Run{run}, "json", results.ReportOptions{}); err != nil {
		t.Fatal(err)
	}
	var document results.Document
	if err := json.Unmarshal(report.Bytes(), &document); err != nil || len(document.Runs[0].Warnings) == 0 {
		t.Errorf("%v: %s", err, &report)
	}
	// What is left is merged with what ended, and the whole says so.
	merged := filepath.Join(t.TempDir(), "merged")
	if err := results.Merge(merged, []*results.Run{run}, results.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if whole, err := results.Open(merged); err != nil || whole.Done.Status != results.StatusInterrupted {
		t.Errorf("%v: %+v", err, whole)
	}
}

func BenchmarkOutput(b *testing.B) {
	r := newRig(b, filepath.Join(b.TempDir(), "run"), nil, twoModes())
	r.begin(b)
	tags := r.registry.RootTagSet().With("scenario", "one").With("roster_mode", "rsm")
	batch := []metrics.SampleContainer{metrics.Sample{TimeSeries: metrics.TimeSeries{Metric: r.metrics["xmpp_roster_duration"], Tags: tags}, Time: time.Now(), Value: 12.5}}
	b.ReportAllocs()
	for b.Loop() {
		r.AddMetricSamples(batch)
	}
	r.end(b, nil)
}
