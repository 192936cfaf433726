package scenarios

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// searching makes a search of a scenario on the rig, whose run directory dir returns
// when it has been closed.
func searching(t *testing.T, source string, slo string, change func(*SearchConfig)) (s *Search, dir func() *results.Run) {
	t.Helper()
	plans, err := Parse("test.yaml", []byte(source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := results.Parse(slo)
	if err != nil {
		t.Fatal(err)
	}
	recorder := results.NewRecorder()
	path := filepath.Join(t.TempDir(), "run")
	w, err := results.Create(path, results.Manifest{Scenario: plans[0].Scenario}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(results.StatusFailed) })
	c := SearchConfig{
		RunConfig: RunConfig{Plans: plans, Targets: []Targets{rig{}}, Shaper: shaper{}, Workers: OwnWorkers{}, Results: w, Recorder: recorder},
		SLO:       []results.Expr{e}, Repeat: 1, Curve: -1, Window: time.Second,
	}
	if change != nil {
		change(&c)
	}
	if s, err = NewSearch(c); err != nil {
		t.Fatal(err)
	}
	return s, func() *results.Run {
		if err := w.Close(results.StatusOK); err != nil {
			t.Fatal(err)
		}
		run, err := results.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
}

const stormFile = `
scenario: login-storm
accounts: 3
roster: {items: 5}
login:  {tls: none}
load:   {rate: 4/s, warmup: 0s, cooldown: 0s}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`

// Where the links of the clients are what takes the time, they are the first limit.
func TestSearchNarrowLink(t *testing.T) {
	t.Parallel()
	// 160 items of 100 bytes take 0.5 s at 250 kbit/s, however fast the rest is.
	s, dir := searching(t, stormFile+"link: {rate: 250kbit/s}\n", "roster.complete mean<400ms", func(c *SearchConfig) {
		c.Over, c.Start, c.Max, c.Tolerance = "roster.items", 80, 160, 100
	})
	if out, err := s.Run(t.Context()); err != nil || len(out.Searches) != 1 || out.Searches[0].Hi == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	var report strings.Builder
	if err := results.Report(&report, []*results.Run{dir()}, "text", results.ReportOptions{Width: 1000}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.String(), "the first limit is the access link: the access links from the simulator, 0.25 Mbit/s each, were sending") {
		t.Errorf("another limit was found:\n%s", &report)
	}
}

// TestSearchRun runs searches whose ends do not depend on the machine.
func TestSearchRun(t *testing.T) {
	t.Run("maximum", func(t *testing.T) {
		s, dir := searching(t, stormFile, "ready mean<1m", func(c *SearchConfig) { c.Max = 8 })
		out, err := s.Run(t.Context())
		if err != nil || !slices.Equal(out.Held, []float64{8}) || out.Searches[0].End != bench.EndMaximum {
			t.Fatalf("%+v, %v", out, err)
		}
		trials, found := 0, 0
		run := dir()
		for _, l := range run.SearchLines {
			if l.Trial != nil {
				trials++
				if l.Trial.Judgement != "pass" || l.Trial.Planned == 0 || run.Timings("ready", results.Filter{Plan: l.Trial.Plan, Block: &l.Trial.Block}).Of(results.Response).N() != l.Trial.SLO[0].N {
					t.Errorf("trial %+v", l.Trial)
				}
			}
			if l.Found != nil {
				found++
			}
		}
		if run.SearchLines[0].Goal == nil || trials != 3 || found != 1 {
			t.Errorf("%d trials, %d found", trials, found)
		}
	})
	t.Run("size", func(t *testing.T) {
		// Each level has rosters of its own, and so a target of its own.
		s, _ := searching(t, stormFile, "ready mean<1m", func(c *SearchConfig) { c.Over, c.Max = "roster.items", 10 })
		if out, err := s.Run(t.Context()); err != nil || !slices.Equal(out.Held, []float64{10}) {
			t.Fatalf("%+v, %v", out, err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		s, _ := searching(t, stormFile, "ready mean<1ns", func(c *SearchConfig) { c.Min = 4 })
		_, err := s.Run(t.Context())
		if _, ok := errors.AsType[*SLOError](err); !ok {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		s, _ := searching(t, stormFile, "ready mean<1m", func(c *SearchConfig) {
			c.Targets = []Targets{rig{connect: func() error { return syscall.ECONNREFUSED }}}
		})
		_, err := s.Run(t.Context())
		if _, ok := errors.AsType[*UnreachableError](err); !ok {
			t.Fatalf("got %v", err)
		}
	})
}

// TestSearchSteady searches traffic that a slow link holds back: what counts is what has
// arrived, not what was sent.
func TestSearchSteady(t *testing.T) {
	const source = `
scenario: message-steady
accounts: 4
roster: {items: 2}
login: {tls: none}
logins: {rate: 200/s}
messages: {rate: 1/s, size: 2000}
load: {warmup: 0s, cooldown: 0s, drain: 100ms}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`
	tests := []struct {
		name  string
		rate  float64 // of a few messages none is too late by chance
		link  string
		slo   string
		fails string
	}{
		{"holds", 8, "", "message mean<1m", ""},
		{"too little arrives", 60, "link: {rate: 64kbit/s}\n", "message mean<1m", "planned were achieved"},
		{"too much is under way", 60, "link: {rate: 64kbit/s}\n", "message mean<20ms", "operations are under way"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, dir := searching(t, source+tt.link, tt.slo, func(c *SearchConfig) {
				c.Min, c.Start, c.Max = tt.rate, tt.rate, tt.rate
			})
			_, err := s.Run(t.Context())
			failed, fails := errors.AsType[*SLOError](err)
			if fails != (tt.fails != "") || !fails && err != nil || fails && !strings.Contains(failed.Reason, tt.fails) {
				t.Fatal(err)
			}
			for _, l := range dir().SearchLines {
				if l.Goal != nil && (l.Goal.Over != "messages.rate" || l.Goal.Unit != "messages/s") {
					t.Errorf("searched over %s, in %s", l.Goal.Over, l.Goal.Unit)
				}
			}
		})
	}
}

// The sessions of a search over traffic log in once, for all of its levels; that they
// cannot is no level that failed.
func TestSearchKeepsSessions(t *testing.T) {
	const source = `
scenario: message-steady
accounts: 4
roster: {items: 2}
login: {tls: none}
logins: {rate: 200/s}
messages: {rate: 8/s}
load: {warmup: 0s, cooldown: 0s, drain: 100ms}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`
	s, dir := searching(t, source, "message mean<1m", func(c *SearchConfig) { c.Max = 32 })
	out, err := s.Run(t.Context())
	if err != nil || !slices.Equal(out.Held, []float64{32}) {
		t.Fatalf("%+v, %v", out, err)
	}
	run := dir()
	if n := run.Timings("login", results.Filter{}).Of(results.Response).N(); n != 4 {
		t.Errorf("%d logins in %d trials, want those of 4 sessions", n, out.Searches[0].Trials)
	}
	for _, b := range run.Blocks {
		if b.Scalars["sessions"] != 4 || b.Scalars["messages.lost"] != 0 || b.Scalars["messages.sent"] == 0 {
			t.Errorf("block %d: %v", b.Block, b.Scalars)
		}
	}

	var dials atomic.Int32
	s, _ = searching(t, source, "message mean<1m", func(c *SearchConfig) {
		c.Targets = []Targets{rig{connect: func() error {
			if dials.Add(1) > 4 { // of the warm-up, which tells how fast an idle target is
				return syscall.ECONNREFUSED
			}
			return nil
		}}}
	})
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "did not come online") {
		t.Errorf("without sessions it ended with %v", err)
	} else if _, ok := errors.AsType[*UnreachableError](err); !ok {
		t.Errorf("it ended with %v", err)
	}
}

// TestWatch shows the watch of a level samples that decide it.
func TestWatch(t *testing.T) {
	s, _ := searching(t, strings.Replace(stormFile, "4/s", "100/s", 1), "ready p(90)<100ms", nil)
	start := time.Now()
	sample := func(d time.Duration, err error) results.Sample {
		return results.Sample{Metric: "ready", Intended: start, Start: start, End: start.Add(d), Err: err}
	}
	watching := func() (*watch, context.Context) {
		ctx, cancel := context.WithCancelCause(t.Context())
		return newWatch(s, s.Plan(), cancel), ctx
	}
	// 130 samples are planned, of which at most 13 may be slow, and 3 more by chance.
	w, ctx := watching()
	for range 19 {
		w.observe(sample(time.Second, nil))
	}
	if ctx.Err() != nil {
		t.Errorf("ended after 19 slow samples: %s", w.aborted())
	}
	for range 10 {
		w.observe(sample(time.Second, nil))
	}
	if ctx.Err() == nil || !strings.Contains(w.aborted(), "ready p(90) is over the limit") {
		t.Errorf("not ended: %q", w.aborted())
	}
	w, ctx = watching()
	for range 30 {
		w.observe(sample(0, syscall.EMFILE))
	}
	if ctx.Err() == nil || !errors.Is(w.exhausted(), syscall.EMFILE) {
		t.Errorf("failures: %q, %v", w.aborted(), w.exhausted())
	}
	w, ctx = watching()
	w.progress(bench.Progress{Elapsed: time.Second, InFlight: 20, Waiting: 1})
	if ctx.Err() == nil {
		t.Error("arrivals that wait are no reason to end")
	}
	// A backlog that grows by 40 in the second half, of 200 that arrive there.
	w, _ = watching()
	stats := &bench.Stats{Window: 4 * time.Second, Measured: bench.Tally{Planned: 400}}
	for i := range 9 {
		w.progress(bench.Progress{Elapsed: time.Duration(i) * 500 * time.Millisecond, InFlight: 10 * i})
	}
	if grown, arrivals := w.growth(stats); grown < 39 || grown > 41 || arrivals != 200 {
		t.Errorf("grew by %v of %v", grown, arrivals)
	}
	// Two looks, a moment apart, at one operation more: it did not grow by hundreds.
	w, _ = watching()
	for i := range 2 {
		w.progress(bench.Progress{Elapsed: 3*time.Second + time.Duration(i)*10*time.Millisecond, InFlight: i})
	}
	if grown, _ := w.growth(stats); grown < 0.9 || grown > 1.1 {
		t.Errorf("grew by %v", grown)
	}
}

// TestSearchKey searches every scenario over what it is about, if there is such a thing.
func TestSearchKey(t *testing.T) {
	for _, s := range Scenarios() {
		key, err := SearchKey(s.Name, "")
		if key.Path != s.level || (err == nil) != (s.level != "") {
			t.Errorf("%s is searched over %q, want %q: %v", s.Name, key.Path, s.level, err)
		}
	}
	if _, err := SearchKey(MessageSteady, "logins.rate"); err == nil {
		t.Error("a search over how sessions come online, which is over when messages are sent")
	}
}

// TestSearchPlans checks what a search decides before it runs.
func TestSearchPlans(t *testing.T) {
	s, _ := searching(t, stormFile, "ready p(99)<2s", func(c *SearchConfig) { c.Start = 50 })
	p := s.Plan()
	if p.Label != "rate=50_s" || p.Load.MaxInFlight != 1000 || p.Login.Limit != 20*time.Second {
		t.Errorf("plan %+v", p)
	}
	if w := p.Load.Duration; w < 20*time.Second || w > 25*time.Second {
		t.Errorf("1000 samples at 50/s are measured for %s", w)
	}
	for _, budget := range []time.Duration{time.Hour, time.Minute} {
		s, _ := searching(t, stormFile, "ready p(99)<2s", func(c *SearchConfig) { c.Start, c.Budget, c.Repeat, c.Window = 200, budget, 3, 10*time.Second })
		if short := budget < time.Hour; short != (s.config.Window < 10*time.Second) || s.config.Window < minWindow {
			t.Errorf("budget %s: window %s, about %s", budget, s.config.Window, s.Expected())
		}
	}
	// Levels that have been seen need not be run again for the curve.
	if got := s.curve(100, map[float64]bool{10: true, 22: true, 50: true, 95: true}); len(got) != 0 {
		t.Errorf("curve without levels: %v", got)
	}
	s.config.Curve = 5
	got := s.curve(100, map[float64]bool{95: true, 30: true})
	if len(got) != 3 || slices.Min(got) < 10 || slices.Max(got) > 95 {
		t.Errorf("curve %v", got)
	}
}
