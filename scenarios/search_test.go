package scenarios

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/provision"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/simulator"
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

// A goal knows how many addresses a search connects from: each has ports of its own.
func TestSearchSources(t *testing.T) {
	t.Parallel()
	file, err := ParseTarget("prosody.yaml", []byte("server: prosody\ndomains: [a.test]\nconnect: {host: 127.0.0.1, sources: [127.0.0.2, 127.0.0.3]}\naccounts: {pattern: \"u{i}\", count: 3, password: {env: PASSWORD}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for want, targets := range map[int]Targets{0: rig{}, 2: ServerTargets{File: file}} {
		s, _ := searching(t, stormFile, "ready mean<1s", func(c *SearchConfig) { c.Targets = []Targets{targets} })
		if got := s.Goal().Sources; got != want {
			t.Errorf("%s: %d sources, want %d", targets.Name(), got, want)
		}
	}
}

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
load: {warmup: 0s, cooldown: 0s}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`
	const slow = "link: {rate: 64kbit/s}\n"
	tests := []struct {
		name  string
		rate  float64 // of a few messages none is too late by chance
		link  string
		slo   string
		fails string
	}{
		{"holds", 8, "", "message mean<1m", ""},
		{"too little arrives", 60, slow, "message mean<1m", "planned were achieved"},
		{"too much is under way", 60, slow, "message mean<20ms", "operations are under way"},
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
load: {warmup: 0s, cooldown: 0s}
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

// lossy is the rig behind connections that lose every n-th message of their clients.
type lossy struct {
	rig
	every int64
	sent  *atomic.Int64
}

func (l lossy) Open(ctx context.Context, p Plan) (Target, error) {
	t, err := l.rig.Open(ctx, p)
	return lossyTarget{t, l}, err
}

type lossyTarget struct {
	Target
	lossy lossy
}

func (t lossyTarget) Dial(ctx context.Context, domain string, direct bool) (net.Conn, error) {
	conn, err := t.Target.Dial(ctx, domain, direct)
	return lossyConn{conn, t.lossy}, err
}

type lossyConn struct {
	net.Conn
	lossy lossy
}

// Write implements net.Conn. What is written at a time are whole stanzas.
func (c lossyConn) Write(b []byte) (int, error) {
	rest := regexp.MustCompile(`<message .*?</message>`).ReplaceAllFunc(b, func(m []byte) []byte {
		if c.lossy.sent.Add(1)%c.lossy.every == 0 {
			return nil
		}
		return m
	})
	if _, err := c.Conn.Write(rest); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Messages that never arrive fail a level, however few of them the achieved rate shows.
func TestSearchLoss(t *testing.T) {
	const source = `
scenario: message-steady
accounts: 4
roster: {items: 2}
login: {tls: none}
logins: {rate: 200/s}
messages: {rate: 80/s}
load: {arrivals: constant, warmup: 0s, cooldown: 0s, drain: 3s}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`
	for _, every := range []int64{20, 1e6} {
		t.Run(strconv.FormatInt(every, 10), func(t *testing.T) {
			t.Parallel()
			s, dir := searching(t, source, "message mean<1m", func(c *SearchConfig) {
				c.Targets = []Targets{lossy{every: every, sent: new(atomic.Int64)}}
				c.Min, c.Start, c.Max = 80, 80, 80
			})
			_, err := s.Run(t.Context())
			failed, fails := errors.AsType[*SLOError](err)
			if fails != (every == 20) || !fails && err != nil {
				t.Fatal(err)
			}
			if fails && (!strings.Contains(failed.Reason, "5 % of the operations failed, over 1 %") || !strings.Contains(failed.Reason, "4 of 80 messages were lost")) {
				t.Errorf("the reason is %q", failed.Reason)
			}
			for _, l := range dir().SearchLines {
				if l.Trial != nil && (l.Trial.Errors != map[bool]float64{true: 0.05}[fails] || l.Trial.Aborted) {
					t.Errorf("%+v", l.Trial)
				}
			}
		})
	}
}

// The share of errors is that of the operations, whatever the SLO is about.
func TestWatchOperations(t *testing.T) {
	s, _ := searching(t, strings.Replace(stormFile, "4/s", "100/s", 1), "login p(90)<1s", nil)
	w := newWatch(s, s.Plan(), func(error) {})
	start := time.Now()
	for i := range 100 {
		if i%10 == 0 {
			w.observe(results.Sample{Metric: "ready", Intended: start, Start: start, End: start, Err: errors.New("refused")})
			continue
		}
		w.observe(results.Sample{Metric: "login", Intended: start, Start: start, End: start})
		w.observe(results.Sample{Metric: "ready", Intended: start, Start: start, End: start})
	}
	if got := w.errors(); got != 0.1 {
		t.Errorf("10 of 100 logins failed: %v", got)
	}
	w.observe(results.Sample{Metric: "ready", Intended: start, Start: start, End: start, Err: &net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}})
	if w.exhausted() == nil {
		t.Error("a login without a local port left does not show")
	}
	// Of several kinds of operations the worst counts, and attempts that are made again are none.
	steady := strings.Replace(crowded, "presence: {send: after, quiet: 50ms, rate: 10/s}", "", 1)
	s, _ = searching(t, "scenario: message-steady\n"+steady, "message mean<1s", nil)
	w = newWatch(s, s.Plan(), func(error) {})
	for range 50 {
		w.observe(results.Sample{Metric: "message", Intended: start, Start: start, End: start})
	}
	w.observe(results.Sample{Metric: "ping", Intended: start, Start: start, End: start})
	w.observe(results.Sample{Metric: "ping", Intended: start, Start: start, End: start, Err: errUnanswered})
	if got := w.errors(); got != 0.5 {
		t.Errorf("one of two pings failed: %v", got)
	}
	s, _ = searching(t, "scenario: reconnect-herd\naccounts: 3\n", "attempt mean<1s", nil)
	w = newWatch(s, s.Plan(), func(error) {})
	w.observe(results.Sample{Metric: "attempt", Intended: start, Start: start, End: start, Err: errors.New("refused")})
	w.observe(results.Sample{Metric: "talk", Intended: start, Start: start, End: start})
	if got := w.errors(); got != 0 {
		t.Errorf("all are back: %v", got)
	}
}

// A level ends early by the samples that its own condition can have, and not where that
// number is unknown.
func TestWatchConditions(t *testing.T) {
	steady := strings.Replace(crowded, "60/s", "4000/s", 1)
	s, _ := searching(t, "scenario: message-steady\n"+steady, "message p(99)<200ms", func(c *SearchConfig) {
		fanout, err := results.Parse("presence.fanout p(95)<2s")
		if err != nil {
			t.Fatal(err)
		}
		presence, err := results.Parse("presence p(50)<1s")
		if err != nil {
			t.Fatal(err)
		}
		c.SLO = append(c.SLO, fanout, presence)
	})
	start := time.Now()
	slow := func(metric string, n int) string {
		w := newWatch(s, s.Plan(), func(error) {})
		for range n {
			w.observe(results.Sample{Metric: metric, Intended: start, Start: start, End: start.Add(time.Minute)})
		}
		return w.aborted()
	}
	planned := s.Plan().samples("message")
	for _, tt := range []struct {
		metric string
		n      int
		ends   bool
	}{
		{"message", fewSamples, false},
		{"message", int(planned) / 100, false},
		{"message", int(planned)/100 + int(3*math.Sqrt(float64(planned))/100) + 2, true},
		{"presence.fanout", int(s.Plan().samples("presence.fanout")), true},
		{"presence", 1000, false},
	} {
		if reason := slow(tt.metric, tt.n); (reason != "") != tt.ends {
			t.Errorf("%d slow samples of %s: %q", tt.n, tt.metric, reason)
		}
	}
}

// A search over a number of sessions goes as far as there are accounts, and a level whose
// sessions the server does not let come online has failed.
func TestSearchOverSessions(t *testing.T) {
	const source = `
scenario: message-steady
accounts: 12
roster: {items: 2}
login: {tls: none}
logins: {rate: 400/s}
online: {sessions: 4}
messages: {rate: 10/s}
load: {warmup: 0s, cooldown: 0s}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`
	over := func(c *SearchConfig) { c.Over = "online.sessions" }
	t.Run("all accounts", func(t *testing.T) {
		t.Parallel()
		s, dir := searching(t, source, "message mean<1m", over)
		out, err := s.Run(t.Context())
		if err != nil || !slices.Equal(out.Held, []float64{12}) || out.Searches[0].End != bench.EndMaximum {
			t.Fatalf("%+v, %v", out, err)
		}
		if goal := dir().SearchLines[0].Goal; goal.MaxBy != "lab has 12 accounts" {
			t.Errorf("goal %+v", goal)
		}
	})
	t.Run("the server refuses", func(t *testing.T) {
		t.Parallel()
		s, _ := searching(t, source, "message mean<1m", func(c *SearchConfig) {
			over(c)
			c.Targets = []Targets{rig{config: func(c *simulator.Config) { c.Populations[0].Accounts = 8 }}}
		})
		out, err := s.Run(t.Context())
		if err != nil || !slices.Equal(out.Held, []float64{8}) || out.Searches[0].Hi != 9 || !strings.Contains(out.Searches[0].Reason, "8 of 9 online") {
			t.Fatalf("%+v, %v", out, err)
		}
	})
	for _, tt := range []struct{ source, over, max, wrong string }{
		{source, "online.sessions", "400", "--max 400 is above the maximum of online.sessions, 12, since lab has 12 accounts"},
		{"scenario: idle-cost\naccounts: 3\nhold: {sessions: 20}\n", "hold.sessions", "1M", "(ulimit -n), one for each session"},
	} {
		plans, err := Parse("test.yaml", []byte(tt.source), Override{})
		if err != nil {
			t.Fatal(err)
		}
		slo, err := results.Parse("sessions max>1")
		if err != nil {
			t.Fatal(err)
		}
		key, err := SearchKey(plans[0].Scenario, tt.over)
		if err != nil {
			t.Fatal(err)
		}
		most, err := key.Number(tt.max)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewSearch(SearchConfig{RunConfig: RunConfig{Plans: plans, Targets: []Targets{rig{}}}, Over: tt.over, Max: most, SLO: []results.Expr{slo}})
		if err == nil || !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s up to %s: %v, want %q", tt.over, tt.max, err, tt.wrong)
		}
	}
}

// What a plan can hold is bounded by what a run would be refused for.
func TestMostSessions(t *testing.T) {
	has := machine{descriptors: 1000 + reservedDescriptors, ports: 800}
	server := ServerTargets{File: &TargetFile{
		Name: "lab", Domains: []string{"lab.test"}, Connect: Connect{Host: "127.0.0.1", Sources: []string{"127.0.0.2", "127.0.0.3"}},
		Accounts: provision.Accounts{Pattern: "u{i}", Count: 900}, Provision: provision.Spec{Data: "data"},
	}}
	plan := func(change func(*Plan)) Plan {
		p := Plan{Scenario: MessageSteady, Accounts: 5000, Logins: Shape{text: "100/s", rate: 100}}
		p.Roster.Items = 2
		if change != nil {
			change(&p)
		}
		return p
	}
	stages, err := ParseShape("hold 10/s for 20s")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		p      Plan
		m      machine
		target Targets
		apart  bool
		most   int
		why    string
	}{
		{"ports", plan(nil), has, rig{}, false, 800, "one local address has 800 local ports"},
		{"sources", plan(nil), has, server, false, 1000, "may open 1064 descriptors"},
		{"accounts of the server", plan(nil), has, server, true, 900, "lab has 900 accounts"},
		{"accounts of the plan", plan(func(p *Plan) { p.Accounts = 7 }), has, rig{}, true, 7, "lab has 7 accounts"},
		{"link", plan(func(p *Plan) { p.Link.RTT = time.Millisecond }), has, rig{}, false, 500, "a link takes two"},
		{"logins", plan(func(p *Plan) { p.Logins = stages }), has, rig{}, false, 200, "lets 200 sessions log in"},
		{"nothing known", plan(nil), machine{}, rig{}, false, math.MaxInt, ""},
	} {
		if most, why := tt.p.mostSessions(tt.m, tt.target, tt.apart); most != tt.most || !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%s: %d, %q", tt.name, most, why)
		}
	}
}

// A generator that has no descriptors or ports left is no server that fails.
func TestSearchExhausted(t *testing.T) {
	const common = "accounts: 4\nroster: {items: 2}\nlogin: {tls: none}\n"
	for _, tt := range []struct {
		name, source, slo string
		warm              int32 // connections of the warm-up cells before the first level
	}{
		{"idle", common + "scenario: idle-cost\nhold: {sessions: 2, settle: 0s}\n", "sessions max>0", 6},
		{"herd", common + "scenario: reconnect-herd\nherd: {sessions: 2, settle: 0s}\nlogins: {rate: 400/s}\n", "talk mean<1m", 24},
		{"crowd", common + "scenario: message-steady\nonline: {sessions: 2}\nlogins: {rate: 400/s}\nmessages: {rate: 10/s}\nload: {warmup: 0s, cooldown: 0s}\n", "message mean<1m", 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, errno := range []error{syscall.EADDRNOTAVAIL, syscall.EMFILE} {
				var dials atomic.Int32
				s, dir := searching(t, tt.source, tt.slo, func(c *SearchConfig) {
					if tt.name == "crowd" {
						c.Over = "online.sessions"
					}
					c.Start, c.Max = 2, 2
					c.Targets = []Targets{rig{connect: func() error {
						if n := dials.Add(1); n > tt.warm && n <= tt.warm+2 {
							return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)}
						}
						return nil
					}}}
				})
				s.plan.Repeats = 0
				_, err := s.Run(t.Context())
				if _, ok := errors.AsType[*bench.InvalidError](err); !ok || !strings.Contains(err.Error(), "the generator ran out of what it needs") {
					t.Errorf("%v: the search ended with %v", errno, err)
				}
				for _, l := range dir().SearchLines {
					if l.Trial != nil && l.Trial.Judgement != "invalid" {
						t.Errorf("%v: %+v", errno, l.Trial)
					}
				}
			}
		})
	}
}

// A search that ends early says so, and takes nothing back of what one before has found.
func TestSearchBeyond(t *testing.T) {
	s, _ := searching(t, stormFile, "ready mean<1m", func(c *SearchConfig) { c.Repeat = 3 })
	s.search = 2
	stuck := bench.Found{End: bench.EndInvalid, Stuck: 900, Reason: "the generator was late"}
	for _, tt := range []struct {
		lo   float64
		held []float64
		want string
	}{
		{0, nil, "at 900/s the generator was late"},
		{800, nil, "the generator cannot go higher than 800/s on this machine: at 900/s the generator was late"},
		{800, []float64{850, 1000}, "search 2 of 3 ended early, and 1000/s held in one before: at 900/s the generator was late"},
		{0, []float64{1000}, "search 2 of 3 ended early, and 1000/s held in one before: at 900/s the generator was late"},
	} {
		stuck.Lo = tt.lo
		if got := s.beyond(stuck, tt.held); got != tt.want {
			t.Errorf("%v after %v: %q, want %q", tt.lo, tt.held, got, tt.want)
		}
	}
}

// A login has one outcome: once the user can talk, presence that does not settle is an
// error of its own.
func TestStormOutcomes(t *testing.T) {
	plans, err := Parse("test.yaml", []byte(stormFile+"presence: {send: after, quiet: 1m}\n"), Override{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSite(t.Context(), plans[0], rig{}, RunConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	ctx, cancel := context.WithCancel(t.Context())
	sink := &cutting{metric: "ready", cut: cancel}
	if err := (&storm{s}).op(ctx, bench.Arrival{At: time.Now()}, &cell{arm: plans[0].Arms[0]}, sink, false); err == nil {
		t.Error("presence settled within its minute")
	}
	for metric, want := range map[string][2]int{"ready": {1, 0}, "presence.settled": {0, 1}} {
		if well, failed := sink.of(metric); well != want[0] || failed != want[1] {
			t.Errorf("%s: %d well, %d failed, want %v", metric, well, failed, want)
		}
	}
	sink = &cutting{}
	if err := (&storm{s}).op(ctx, bench.Arrival{At: time.Now()}, &cell{arm: plans[0].Arms[0]}, sink, false); err == nil {
		t.Error("a login after the end of its context")
	}
	if well, failed := sink.of("ready"); well != 0 || failed != 1 {
		t.Errorf("a login that failed: %d well, %d failed", well, failed)
	}
}

// cutting ends a context at the first sample of a metric.
type cutting struct {
	observed
	metric string
	cut    func()
}

func (c *cutting) Observe(s results.Sample) {
	c.observed.Observe(s)
	if s.Metric == c.metric {
		c.cut()
	}
}
