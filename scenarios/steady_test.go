package scenarios

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
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
	f.Add("xb1-0-2-1-0-0", 3, 4, uint32(7), int64(5), int64(6))
	f.Add("xb1-0-0-1-0-0-", 0, 0, uint32(0), int64(0), int64(0))
	f.Add("xb1--1-0-0-0", 1<<31-1, 1, uint32(math.MaxUint32), int64(math.MaxInt64), int64(1))
	f.Add("xb1-zik0zk-0-1-0-0", 1, 1<<31-1, uint32(1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, id string, sender, receiver int, number uint32, due, start int64) {
		if m, ok := parseMark(id, "xb1"); ok {
			if again, ok := parseMark(string(m.append(nil, "xb1")), "xb1"); !ok || again != m {
				t.Errorf("%q reads as %+v, then as %+v", id, m, again)
			}
		}
		if sender < 0 || sender > maxMembers || receiver < 0 || receiver > maxMembers || due < 0 || start < 0 {
			return
		}
		m := mark{sender, receiver, number, time.Duration(due), time.Duration(start)}
		text := string(m.append(nil, "xb1"))
		if got, ok := parseMark(text, "xb1"); !ok || got != m {
			t.Errorf("%+v is written as %s and read as %+v", m, text, got)
		}
		if _, ok := parseMark(text, "xb2"); ok {
			t.Error("the tag of another cell is taken")
		}
	})
}

// among is an exchange of members without sessions, and what it observes.
func among(members int) (*exchange, *observed) {
	sink := &observed{}
	cr := &crowd{site: &site{}, epoch: time.Now(), members: make([]*member, members)}
	t := &exchange{crowd: cr, cell: &cell{sink: sink}, tag: "xb1", flows: []flow{{metric: "message"}}, load: Load{Duration: time.Hour, Drain: time.Minute}, start: cr.epoch}
	t.open.operations = make(map[ref]operation)
	t.talks = make([]talk, members)
	for i := range t.talks {
		cr.members[i] = &member{at: int32(i), crowd: cr}
		t.online = append(t.online, cr.members[i])
		k := &t.talks[i]
		k.out.numbers, k.out.left = make(map[int32]uint32), make(map[uint32]int)
		k.in.messages, k.in.presence = make(map[int32]*pairing), make(map[int32]*pairing)
	}
	return t, sink
}

// observed keeps samples.
type observed struct {
	results.Discard
	mu      sync.Mutex
	samples []results.Sample
}

func (o *observed) Observe(s results.Sample) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.samples = append(o.samples, s)
}

// of counts the samples of a metric that ended well and that did not.
func (o *observed) of(metric string) (well, failed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.samples {
		switch {
		case s.Metric != metric:
		case s.Err == nil:
			well++
		default:
			failed++
		}
	}
	return well, failed
}

// sends makes the first member send the next message to the second, and returns its mark.
func (t *exchange) sends() mark {
	out := &t.talks[0].out
	out.numbers[1]++
	m := mark{0, 1, out.numbers[1], time.Second, time.Second}
	t.sent.Add(1)
	t.begin(m.message(), operation{due: t.epoch.Add(m.due), start: t.epoch.Add(m.start)})
	return m
}

// comes brings the message to its receiver, or back to its sender as an error.
func (t *exchange) comes(m mark, back bool) {
	st := &wire.Stanza{Tag: m.append([]byte("<message id='"), t.tag), End: t.epoch.Add(2 * time.Second)}
	st.Tag = append(st.Tag, "'>"...)
	if back {
		t.bounced(t.members[0], st, &wire.StanzaError{Condition: "service-unavailable"})
		return
	}
	t.messageArrived(t.members[1], st)
}

// Whatever comes of a message, and however often, the first outcome is the one.
func TestFirstOutcome(t *testing.T) {
	tests := []struct {
		events                        string // d: delivered, b: bounced
		well, failed                  int
		open, seen, duplicated, bounc int64
	}{
		{"", 0, 0, 2, 0, 0, 0},
		{"d", 1, 0, 1, 1, 0, 0},
		{"b", 0, 1, 1, 0, 0, 1},
		{"dd", 1, 0, 1, 1, 1, 0},
		{"bb", 0, 1, 1, 0, 0, 2},
		{"db", 1, 0, 1, 1, 0, 1},
		{"bd", 0, 1, 1, 1, 0, 1},
		{"bdbd", 0, 1, 1, 1, 1, 2},
	}
	for _, tt := range tests {
		x, sink := among(2)
		first, second := x.sends(), x.sends()
		for _, e := range tt.events {
			x.comes(first, e == 'b')
		}
		well, failed := sink.of("message")
		got, _ := x.tallies()
		if well != tt.well || failed != tt.failed || int64(x.open.unsettled) != tt.open || got.seen != tt.seen || got.duplicated != tt.duplicated || x.bounces.Load() != tt.bounc {
			t.Errorf("%q: %d well, %d failed, %d open, %+v, %d bounces; want %+v", tt.events, well, failed, x.open.unsettled, got, x.bounces.Load(), tt)
		}
		if int64(well+failed+x.open.unsettled) != 2 || x.underway.Load() != int64(x.open.unsettled) {
			t.Errorf("%q: %d well, %d failed, %d open, %d under way of 2", tt.events, well, failed, x.open.unsettled, x.underway.Load())
		}
		// What comes for others, and what was never sent, is nobody's.
		for _, stray := range []mark{{1, 0, 1, 0, 0}, {0, 0, 2, 0, 0}, {0, 1, 9, 0, 0}, {7, 1, 1, 0, 0}} {
			x.comes(stray, true)
			x.comes(stray, false)
		}
		x.comes(second, false)
		if again, _ := sink.of("message"); again != well+1 {
			t.Errorf("%q: strays made samples, or kept one from being made: %d", tt.events, again)
		}
	}
}

// Of however many messages each has one outcome when the wait for them is over.
func FuzzOutcomes(f *testing.F) {
	f.Add([]byte{0, 1, 2})
	f.Add([]byte{0, 0, 1, 1, 2, 2, 0, 0x11, 0x12, 0x21})
	f.Fuzz(func(t *testing.T, events []byte) {
		synctest.Test(t, func(t *testing.T) {
			x, sink := among(2)
			var sent []mark
			for _, e := range events {
				switch n := int(e >> 2); {
				case e&3 == 0:
					sent = append(sent, x.sends())
				case n < len(sent):
					x.comes(sent[n], e&3 == 2)
				}
			}
			if err := x.drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, m := range sent {
				x.comes(m, true)
			}
			well, failed := sink.of("message")
			got, _ := x.tallies()
			if well+failed != len(sent) || x.open.unsettled != 0 || x.underway.Load() != 0 || got.seen+got.lost != int64(len(sent)) || int64(well) > got.seen {
				t.Errorf("%d well and %d failed of %d, %d open, %+v", well, failed, len(sent), x.open.unsettled, got)
			}
		})
	})
}

// What has no outcome when load.drain is over has failed, but for presence that later one
// has taken the place of.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, sink := among(3)
		x.comes(x.sends(), false)
		x.sends()
		x.begin(ref{metric: "ping", from: 1, number: 4}, operation{due: x.epoch, start: x.epoch})
		// Of three changes the second is superseded at one contact, the third lost at the other.
		x.watched = [][]int32{{1, 2}, nil, nil}
		for n := range uint32(3) {
			x.talks[0].out.changes, x.talks[0].out.left[n+1] = n+1, 2
			x.begin(changeOf(0, n+1), operation{due: x.epoch, start: x.epoch})
		}
		knows := func(contact int, n uint32) {
			st := &wire.Stanza{Tag: append(mark{number: n}.append([]byte("<presence id='"), x.tag), "'>"...), End: x.epoch.Add(time.Second)}
			x.presenceArrived(x.members[contact], st)
		}
		knows(1, 1)
		knows(2, 1)
		knows(1, 3)
		knows(2, 2)
		began := time.Now()
		if err := x.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != x.load.Drain {
			t.Errorf("waited %s", waited)
		}
		for metric, want := range map[string][2]int{"message": {1, 1}, "ping": {0, 1}, "presence.fanout": {1, 1}, "presence": {4, 0}} {
			if well, failed := sink.of(metric); well != want[0] || failed != want[1] {
				t.Errorf("%s: %d well, %d failed, want %v", metric, well, failed, want)
			}
		}
		if x.unanswered != 1 || x.open.unsettled != 0 {
			t.Errorf("%d requests unanswered, %d open", x.unanswered, x.open.unsettled)
		}
		for _, s := range sink.samples {
			if s.Err != nil && (!errors.Is(s.Err, errUnanswered) || s.End.Sub(began) != x.load.Drain) {
				t.Errorf("%+v", s)
			}
		}
	})
}

// Pushes that never come are failed samples, of the changes that the server has taken.
func TestPushesLost(t *testing.T) {
	sink := &observed{}
	start := time.Now()
	p := &pushes{sink: sink, due: make(map[uint64]time.Time), sent: make(map[uint64]time.Time), left: make(map[uint64]int), each: 3, complete: make(chan struct{})}
	for seq := range uint64(4) {
		p.due[seq], p.sent[seq] = start, start
	}
	p.arrived(0, start) // before the server says that it has taken the change
	p.made(0)
	p.made(1)
	for range 3 {
		p.arrived(1, start)
	}
	p.made(2)
	p.arrived(3, start) // of a change that failed
	p.lose(start.Add(time.Second))
	if well, failed := sink.of("push"); well != 5 || failed != 5 {
		t.Errorf("%d came and %d were lost, want 5 and 5", well, failed)
	}
}
