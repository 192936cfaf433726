package scenarios

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/simulator"
)

// crowded is traffic of a few users for a second, forgiving towards the machine that
// tests run on.
const crowded = `
accounts: 12
roster: {items: 4}
logins: {rate: 200/s}
presence: {send: after, quiet: 50ms, rate: 10/s}
messages: {rate: 60/s, size: uniform 1..200, peers: 2}
pings: {rate: 10/s}
disco: {rate: 20/s}
load: {warmup: 200ms, duration: 1s, cooldown: 100ms}
limits: {lateness-floor: 1m, rate-shortfall: 1}
blocks: 1
`

func steadyRun(t *testing.T, source string, o Override, l rig) results.Block {
	t.Helper()
	run, outcome, err := carryOut(t, source, o, l)
	if err != nil {
		t.Fatal(err)
	}
	if len(outcome.Failed) > 0 || len(outcome.Skipped) > 0 {
		t.Fatalf("failed %v, skipped %v", outcome.Failed, outcome.Skipped)
	}
	for _, c := range run.Counts {
		if !c.Equal {
			t.Errorf("%+v", c)
		}
	}
	return run.Blocks[len(run.Blocks)-1]
}

// TestMessageSteady holds what a run counts against what was sent.
func TestMessageSteady(t *testing.T) {
	tests := []struct {
		name string
		set  []string
	}{
		{"poisson", nil},
		{"in clear", []string{"login.tls=none"}},
		{"constant", []string{"load.arrivals=constant"}},
		{"stages", []string{"messages.rate=ramp 0->80/s in 200ms, hold 1s, ramp 80->0/s in 100ms"}},
		{"two domains", []string{"messages.remote=0.5"}},
		{"closed loop", []string{"messages.rate=closed 3", "load.warmup=0s"}},
		{"all closed", []string{"load.warmup=0s", "logins.rate=closed 2", "messages.rate=closed 1", "pings.rate=closed 1", "disco.rate=closed 1", "presence.rate=closed 1"}},
		{"no rosters", []string{"presence.rate=none", "online.roster=false", "presence.send=never"}},
		{"some online", []string{"online.sessions=6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var l rig
			if tt.name == "two domains" {
				l.config = func(c *simulator.Config) { c.Populations[0].Domains = []string{"lab.test", "lab2.test"} }
			}
			b := steadyRun(t, "scenario: message-steady\n"+crowded, Override{Set: tt.set}, l)
			got := b.Scalars
			if got["messages.sent"] == 0 || got["messages.sent"] != got["messages.delivered"] {
				t.Errorf("sent %v, delivered %v", got["messages.sent"], got["messages.delivered"])
			}
			if n := got["message.n"]; n == 0 || n > got["messages.sent"] || math.Abs(got["messages.rate"]-n) > 1e-9 {
				t.Errorf("%v samples of %v messages, %v each second for a second", n, got["messages.sent"], got["messages.rate"])
			}
			for _, none := range []string{
				"messages.lost", "messages.duplicated", "messages.reordered", "messages.bounced", "presence.lost",
				"presence.duplicated", "presence.reordered", "requests.unanswered", "sessions.lost", "logins.failed",
			} {
				if got[none] != 0 {
					t.Errorf("%s: %v", none, got[none])
				}
			}
			// Of several changes that wait the simulator tells the newest.
			if got["presence.delivered"]+got["presence.superseded"] != got["presence.expected"] {
				t.Errorf("presence: %v arrived of %v, %v superseded", got["presence.delivered"], got["presence.expected"], got["presence.superseded"])
			}
			if got["ping.n"] == 0 || got["disco.n"] == 0 || len(b.Errors) > 0 {
				t.Errorf("%v pings, %v requests for features, errors %v", got["ping.n"], got["disco.n"], b.Errors)
			}
			if want := map[bool]float64{false: 12, true: 6}[tt.name == "some online"]; got["sessions"] != want {
				t.Errorf("%v sessions, want %v", got["sessions"], want)
			}
			if closed := strings.Contains(tt.name, "closed"); closed == (b.Plan == "all") {
				t.Errorf("the plan is called %s", b.Plan)
			}
		})
	}
}

// TestPresenceFanout holds the number of presences against the contact graph.
func TestPresenceFanout(t *testing.T) {
	t.Parallel()
	source := "scenario: presence-fanout\n" + crowded
	b := steadyRun(t, source, Override{Set: []string{"messages.rate=none", "presence.rate=constant 12/s", "load.warmup=0s", "load.cooldown=0s"}}, rig{})
	plans, err := Parse("x.yaml", []byte(source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	pop, err := plans[0].Population([]string{"lab.test"}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	// Each of the 12 changes its presence once.
	want := 0
	for i := range pop.Accounts() {
		for it := range pop.Items(i) {
			if it.Subscription == "from" || it.Subscription == "both" {
				want++
			}
		}
	}
	got := b.Scalars
	if got["presence.changes"] != 12 || got["presence.delivered"] != float64(want) || got["presence.n"] != float64(want) {
		t.Errorf("%v changes, %v presences, %v timed, want 12 and %d", got["presence.changes"], got["presence.delivered"], got["presence.n"], want)
	}
	if got["presence.amplification"] != float64(want)/12 || got["presence.fanout.n"] > 12 || got["presence.fanout.max"] < got["presence.mean"] {
		t.Errorf("scalars %v", got)
	}
}

// TestBarrierOfSessions loses some of the users before they are online.
func TestBarrierOfSessions(t *testing.T) {
	t.Parallel()
	few := func(c *simulator.Config) { c.Populations[0].Accounts, c.Populations[0].Contacts = 8, 4 }
	source := "scenario: message-steady\n" + crowded
	_, outcome, err := carryOut(t, source, Override{}, rig{config: few})
	if err != nil {
		t.Fatal(err)
	}
	if failed := outcome.Failed["all monolithic"]; failed == nil || !strings.Contains(failed.Error(), "8 of 12 online after") || !strings.Contains(failed.Error(), "4 failed, at least 12 are needed; the first failed with: session: login of") {
		t.Errorf("failed: %v", outcome.Failed)
	}
	run, _, err := carryOut(t, source, Override{Set: []string{"barrier.least=0.5", "presence.rate=none"}}, rig{config: few})
	if err != nil {
		t.Fatal(err)
	}
	b := run.Blocks[0]
	if b.Scalars["sessions"] != 8 || b.Scalars["logins.failed"] != 4 || b.Scalars["messages.lost"] != 0 || b.Scalars["message.n"] == 0 {
		t.Errorf("scalars %v", b.Scalars)
	}
	if !slices.ContainsFunc(b.Flags, func(f results.Flag) bool { return f.Kind == "online" && strings.Contains(f.Text, "8 of 12 online") }) {
		t.Errorf("flags %v", b.Flags)
	}
	if !slices.ContainsFunc(run.Events, func(e results.Event) bool { return e.Kind == "barrier" && e.Fields["barrier"] == "online" }) {
		t.Errorf("events %v", run.Events)
	}
}

func TestSteadyPlans(t *testing.T) {
	tests := []struct {
		wrong string // in the error; empty: none
		set   []string
	}{
		{"there is no traffic", []string{"pings.rate=none", "disco.rate=none", "messages.rate=none", "presence.rate=none"}},
		{"needs sessions that are available", []string{"presence.send=never"}},
		{"needs rosters", []string{"online.roster=false"}},
		{"ends before 12 sessions are online", []string{"logins.rate=hold 1/s for 2s"}},
		{"", []string{"logins.rate=hold 1/s for 12s"}},
		{"", []string{"messages.rate=hold 1/s for 1ms"}},
		{"messages.rate: hold 1/s for 1s has no arrivals in the measured window", []string{"messages.rate=hold 1/s for 1s", "load.warmup=5s", "load.duration=5s"}},
		{"from 9 to 5 bytes", []string{"messages.size=uniform 9..5"}},
		{`"many" is not a value`, []string{"messages.size=many"}},
		{"sigma 9", []string{"messages.size=lognormal 60 sigma 9"}},
		{"is not a length", []string{"messages.size=lognormal 60 sigma x"}},
		{"above the maximum", []string{"messages.size=1MB"}},
		{"has no such key", []string{"load.rate=5/s"}},
		{"no primed caches", []string{"variants={variant: versioned, state: unchanged}"}},
	}
	for _, tt := range tests {
		_, err := Parse("x.yaml", []byte("scenario: message-steady\n"+crowded), Override{Set: tt.set})
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%q: error %v, want one with %q", tt.set, err, tt.wrong)
		}
	}
}

// TestPairing takes numbers in every order that a server may bring them in.
func TestPairing(t *testing.T) {
	tests := []struct {
		name                              string
		numbers                           []uint32
		sent                              uint32
		seen, lost, duplicated, reordered int64
	}{
		{"nothing", nil, 0, 0, 0, 0, 0},
		{"in order", []uint32{1, 2, 3}, 3, 3, 0, 0, 0},
		{"nothing came", nil, 3, 0, 3, 0, 0},
		{"the last is lost", []uint32{1, 2}, 3, 2, 1, 0, 0},
		{"one between is lost", []uint32{1, 3}, 3, 2, 1, 0, 0},
		{"the first is lost", []uint32{2, 3}, 3, 2, 1, 0, 0},
		{"twice", []uint32{1, 2, 2, 3, 1}, 3, 3, 0, 2, 0},
		{"exchanged", []uint32{2, 1, 3}, 3, 3, 0, 0, 1},
		{"backwards", []uint32{3, 2, 1}, 3, 3, 0, 0, 2},
		{"late and twice", []uint32{3, 1, 1}, 3, 2, 1, 1, 1},
		{"never sent", []uint32{1, 9, 0}, 1, 1, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pairing
			for _, n := range tt.numbers {
				p.arrive(n, tt.sent)
			}
			if p.seen != tt.seen || p.lost(tt.sent) != tt.lost || p.duplicated != tt.duplicated || p.reordered != tt.reordered {
				t.Errorf("seen %d, lost %d, duplicated %d, reordered %d", p.seen, p.lost(tt.sent), p.duplicated, p.reordered)
			}
			if p.seen+p.lost(tt.sent) != int64(tt.sent) {
				t.Errorf("%d seen and %d lost of %d", p.seen, p.lost(tt.sent), tt.sent)
			}
		})
	}
}

// Whatever stands in an id, reading it never fails but by saying so, and what is
// written is read again.
func FuzzMark(f *testing.F) {
	f.Add("xb1-0-1-0-0", 3, uint32(7), int64(5), int64(6))
	f.Add("xb1-0-1-0-0-", 0, uint32(0), int64(0), int64(0))
	f.Add("xb1--1-0-0", 1<<31, uint32(math.MaxUint32), int64(math.MaxInt64), int64(1))
	f.Fuzz(func(t *testing.T, id string, sender int, number uint32, due, start int64) {
		if m, ok := parseMark(id, "xb1"); ok {
			if again, ok := parseMark(string(m.append(nil, "xb1")), "xb1"); !ok || again != m {
				t.Errorf("%q reads as %+v, then as %+v", id, m, again)
			}
		}
		if sender < 0 || sender > maxMembers || due < 0 || start < 0 {
			return
		}
		m := mark{sender, number, time.Duration(due), time.Duration(start)}
		text := string(m.append(nil, "xb1"))
		if got, ok := parseMark(text, "xb1"); !ok || got != m {
			t.Errorf("%+v is written as %s and read as %+v", m, text, got)
		}
		if _, ok := parseMark(text, "xb2"); ok {
			t.Error("the tag of another cell is taken")
		}
	})
}
