package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/simulator"
)

// herded is a herd that tests have the time for.
const herded = `
scenario: reconnect-herd
accounts: 6
roster: {items: 25}
logins: {rate: 1000/s}
herd: {event: restart, sessions: 6, settle: 0s, down: 20ms, limit: 2m, base: 5ms, cap: 20ms}
limits: {lateness-floor: 1m, rate-shortfall: 1}
blocks: 1
`

// TestReconnectHerd runs each way to return through each event: all are back, and what
// they were spared is what client and server had kept.
func TestReconnectHerd(t *testing.T) {
	t.Parallel()
	const n = 6
	tests := []struct {
		name, variant string
		set           []string
		resumed       float64
		whole         float64 // of those whose client has the roster
	}{
		{"drop", ReturnCold, []string{"herd.event=drop"}, 0, 0},
		{"drop", ReturnVersioned, []string{"herd.event=drop"}, 0, 0},
		{"drop", ReturnResume, []string{"herd.event=drop"}, n, 0},
		{"drop, at once", ReturnCold, []string{"herd.event=drop", "herd.backoff=none"}, 0, 0},
		{"drop, direct TLS, presence", ReturnResume, []string{"herd.event=drop", "login.tls=direct", "presence.send=after"}, n, 0},
		{"drop on a link", ReturnResume, []string{"herd.event=drop", "link.rtt=2ms", "login.tls=none", "login.sasl=PLAIN"}, n, 0},
		{"drop, chunked", ReturnCold, []string{"herd.event=drop", "herd.roster=chunked-push", "presence.send=during"}, 0, 0},
		{"drop, no news in chunks", ReturnVersioned, []string{"herd.event=drop", "herd.roster=chunked-pull"}, 0, 0},
		{"restart", ReturnCold, nil, 0, 0},
		{"restart", ReturnVersioned, nil, 0, 0},
		{"restart", ReturnResume, nil, 0, 0},
		{"restart without data", ReturnVersioned, []string{"simulator.keep=nothing"}, 0, n},
		{"restart with sessions", ReturnResume, []string{"simulator.keep=sessions"}, n, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.variant, func(t *testing.T) {
			t.Parallel()
			run, outcome, err := carryOut(t, herded, Override{Variants: []string{tt.variant}, Set: tt.set}, rig{})
			if err != nil {
				t.Fatal(err)
			}
			if len(outcome.Skipped) > 0 || len(outcome.Failed) > 0 || len(run.Blocks) != 1 || !run.Blocks[0].Valid {
				t.Fatalf("skipped %v, failed %v, blocks %+v", outcome.Skipped, outcome.Failed, run.Blocks)
			}
			b := run.Blocks[0]
			got := b.Scalars
			if got["talk.n"] != n || got["absent"] != 0 || got["lost.again"] != 0 {
				t.Errorf("%v talk, %v are absent, %v are gone again: want %d, 0, 0", got["talk.n"], got["absent"], got["lost.again"], n)
			}
			if got["attempts"] != n+got["attempts.failed"] {
				t.Errorf("%v attempts, %v of them failed: want %d that did not", got["attempts"], got["attempts.failed"], n)
			}
			first, half, most, all := got["back.first"], got["back.50"], got["back.95"], got["back.all"]
			if first <= 0 || half < first || most < half || all < most || all > got["talk.max"]*1.001+1e-6 {
				t.Errorf("back: first %v, 50 %% %v, 95 %% %v, all %v; the last talked at %v", first, half, most, all, got["talk.max"])
			}
			if got["back.rate"] < 1 || got["back.rate"] > n {
				t.Errorf("%v were back within one second", got["back.rate"])
			}
			if got["resumed"] != tt.resumed || tt.variant == ReturnResume && got["resumed"]+got["resumed.refused"] != n {
				t.Errorf("%v resumed, %v refused: want %v of %d resumed", got["resumed"], got["resumed.refused"], tt.resumed, n)
			}
			if got["roster.whole"] != tt.whole {
				t.Errorf("%v rosters came whole to clients that had them, want %v", got["roster.whole"], tt.whole)
			}
			if fetched := got["roster.complete.n"]; fetched != n-tt.resumed {
				t.Errorf("%v rosters were retrieved, want %v", fetched, n-tt.resumed)
			}
			if tt.variant == ReturnResume && got["stanzas.lost"] > n-tt.resumed {
				t.Errorf("%v stanzas are lost though %v sessions were resumed", got["stanzas.lost"], tt.resumed)
			}
			for _, c := range run.Counts {
				if !c.Equal {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

// struck is a simulator to which something else happens than what was asked for.
type struck struct {
	rig
	restart func(context.Context, *simulator.Simulator) error
}

func (s struck) Open(ctx context.Context, p Plan) (Target, error) {
	target, err := s.rig.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &struckTarget{target.(*labTarget), s.restart}, nil
}

type struckTarget struct {
	*labTarget
	restart func(context.Context, *simulator.Simulator) error
}

func (t *struckTarget) Control(ctx context.Context, method string, in, out any) error {
	if method == controlRestart {
		return t.restart(ctx, t.sim)
	}
	return t.labTarget.Control(ctx, method, in, out)
}

// A server that does not come back, or cannot be restarted, ends the run.
func TestHerdWithoutServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		restart func(context.Context, *simulator.Simulator) error
		want    string
	}{
		{"never back", func(ctx context.Context, s *simulator.Simulator) error { return s.Close(ctx) },
			"nobody was back within herd.limit, 300ms, after the restart; of"},
		{"no restart", func(context.Context, *simulator.Simulator) error { return errors.New("no such service") }, "lab: no such service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run, _, err := carryOut(t, herded, Override{Set: []string{"herd.limit=300ms"}}, struck{restart: tt.restart})
			if len(run.Blocks) != 0 {
				t.Errorf("the warm-up has shown it, and there are blocks: %+v", run.Blocks)
			}
			if _, ok := errors.AsType[*UnreachableError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the run ended with %v, want an unreachable target: %s", err, tt.want)
			}
		})
	}
}

// A server that is lost in the middle leaves behind what was measured until then.
func TestHerdLosesServer(t *testing.T) {
	t.Parallel()
	var restarts atomic.Int64
	lost := struck{restart: func(ctx context.Context, s *simulator.Simulator) error {
		if restarts.Add(1) == 3 { // the first is that of the warm-up
			return s.Close(ctx)
		}
		return s.Control(ctx, controlRestart, simulator.Restart{}, nil)
	}}
	run, _, err := carryOut(t, herded, Override{Set: []string{"herd.limit=8s"}, Blocks: new(5)}, lost)
	if _, ok := errors.AsType[*UnreachableError](err); !ok || !strings.Contains(err.Error(), "nobody was back within herd.limit, 8s") {
		t.Errorf("the run ended with %v", err)
	}
	if len(run.Blocks) != 2 || !run.Blocks[0].Valid || run.Blocks[1].Valid {
		t.Fatalf("blocks %+v, want a valid one and one that is not", run.Blocks)
	}
	if b := run.Blocks[1]; b.Scalars["absent"] != 6 || b.Errors["attempt"]["refused"] == 0 {
		t.Errorf("the block of the loss: %v are absent, errors %v", b.Scalars["absent"], b.Errors)
	}
}

// Who is not back by the limit is counted, and there is no time until all were.
func TestHerdWithAbsentees(t *testing.T) {
	t.Parallel()
	const n, warmup = 6, 2 * 6
	var connections atomic.Int64
	l := rig{connect: func() error {
		if connections.Add(1) > warmup+n+n/2 { // only half of them get in after the event
			return syscall.ECONNREFUSED
		}
		return nil
	}}
	run, _, err := carryOut(t, herded, Override{Set: []string{"herd.limit=3s", "herd.backoff=none", "herd.event=drop"}}, l)
	if err != nil {
		t.Fatal(err)
	}
	b := run.Blocks[0]
	if !b.Valid || b.Scalars["absent"] != n/2 || b.Scalars["talk.n"] != n/2 || b.Errors["talk"]["unanswered"] != n/2 {
		t.Errorf("valid %v, %v are absent, %v talk: want %d and %d", b.Valid, b.Scalars["absent"], b.Scalars["talk.n"], n/2, n/2)
	}
	if _, ok := b.Scalars["back.all"]; ok {
		t.Error("there is a time until all were back")
	}
	if b.Scalars["back.50"] <= 0 {
		t.Error("there is no time until half were back")
	}
	if kinds := b.Errors["attempt"]; kinds["refused"] == 0 || float64(kinds["refused"]) != b.Scalars["attempts.failed"] {
		t.Errorf("errors %v, %v attempts failed", b.Errors, b.Scalars["attempts.failed"])
	}
	if !slices.ContainsFunc(b.Flags, func(f results.Flag) bool {
		return strings.Contains(f.Text, "3 of 6 sessions were back within herd.limit, 3s")
	}) {
		t.Errorf("flags %v", b.Flags)
	}
}

func TestBackBy(t *testing.T) {
	times := func(n int) []time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = time.Duration(i + 1)
		}
		return all
	}
	for _, tt := range []struct {
		back, n, percent int
		want             time.Duration // 0: never
	}{
		{100, 100, 50, 50}, {100, 100, 95, 95}, {100, 100, 100, 100}, {1, 1, 50, 1}, {3, 3, 50, 2},
		{99, 100, 100, 0}, {95, 100, 95, 95}, {94, 100, 95, 0}, {1000, 1000, 95, 950}, {0, 1, 50, 0},
	} {
		got, ok := backBy(times(tt.back), tt.n, tt.percent)
		if got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%d of %d, %d %%: %v, %v, want %v", tt.back, tt.n, tt.percent, got, ok, tt.want)
		}
	}
}

func TestPeak(t *testing.T) {
	for _, tt := range []struct {
		times []time.Duration
		want  int
	}{
		{[]time.Duration{5}, 1},
		{[]time.Duration{0, 9, 10, 19}, 2}, // a span holds its begin and not its end
		{[]time.Duration{0, 1, 2, 50, 51, 52, 53, 90}, 4},
	} {
		if got := peak(tt.times, 10); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.times, got, tt.want)
		}
	}
}

func TestReturnErrors(t *testing.T) {
	login := func(err error) error { return &session.Error{Step: session.StepSASL, Err: err} }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{login(&session.AuthError{Condition: "temporary-auth-failure"}), "auth.temporary-auth-failure"},
		{login(&wire.StreamError{Condition: "policy-violation"}), "stream.policy-violation"},
		{&stepError{step: "ready", err: fmt.Errorf("%w: %w", wire.ErrClosed, &wire.StreamError{Condition: "system-shutdown"})}, "stream.system-shutdown"},
		{login(fmt.Errorf("binding: %w", &wire.StanzaError{Condition: "resource-constraint"})), "stanza.resource-constraint"},
		{login(syscall.ECONNREFUSED), "refused"},
		{login(fmt.Errorf("%w: %w", session.ErrClosed, syscall.ECONNRESET)), "reset"},
		{login(fmt.Errorf("%w: %w", session.ErrClosed, io.EOF)), "closed"},
		{login(fmt.Errorf("%w within 30s", session.ErrNoAnswer)), "timeout"},
		{&stepError{step: "ready", err: context.DeadlineExceeded}, "timeout"},
		{login(errors.New("something else")), "login.sasl"},
		{&stepError{step: "roster", err: errors.New("refused")}, "roster"},
		{errors.New("something else"), "other"},
	} {
		if got := results.ErrorKind(&returnError{tt.err}); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestHerdTheory(t *testing.T) {
	for _, tt := range []struct {
		set                []string
		half, most, all    float64
		halfSlack, tolerat float64
	}{
		{[]string{"herd.backoff=none", "herd.down=250ms"}, 0.3, 0.3, 0.3, 0, 0},
		{[]string{"herd.backoff=fixed", "herd.jitter=none", "herd.base=40ms", "herd.event=drop"}, 0.04, 0.04, 0.04, 0, 0},
		{[]string{"herd.jitter=none", "herd.base=10ms", "herd.cap=40ms", "herd.down=100ms"}, 0.11, 0.11, 0.11, 0, 0},
		{[]string{"herd.base=1s", "herd.cap=1m", "herd.sessions=10k", "herd.event=drop"}, 0.5, 0.95, 1, 0.02, 0.001},
	} {
		plans, err := Parse("test.yaml", []byte(herded), Override{Set: tt.set})
		if err != nil {
			t.Errorf("%v: %v", tt.set, err)
			continue
		}
		got, _ := plans[0].Theory(plans[0].Arms[0])
		for name, want := range map[string]float64{"back.50": tt.half, "back.95": tt.most, "back.all": tt.all} {
			slack := tt.halfSlack
			if name == "back.all" {
				slack = tt.tolerat
			}
			if d := got[name] - want; d < -slack-1e-9 || d > slack+1e-9 {
				t.Errorf("%v: %s is %v, want %v", tt.set, name, got[name], want)
			}
		}
	}
}

func TestHerdRefuses(t *testing.T) {
	for _, tt := range []struct {
		set  []string
		want string
	}{
		{[]string{"herd.backoff=none", "herd.jitter=full"}, "herd.jitter: does nothing without a back-off"},
		{[]string{"herd.backoff=fixed", "herd.cap=1s"}, "does nothing without an exponential back-off"},
		{[]string{"herd.base=1500us"}, "1500us is not a whole number of milliseconds"},
		{[]string{"herd.base=0"}, "0 is not a number of milliseconds from 1"},
		{[]string{"herd.event=fire"}, `"fire" is not one of drop, restart`},
		{[]string{"herd.roster=telepathy"}, "telepathy is not one of monolithic"},
		{[]string{"simulator.keep=sessions"}, "does nothing without herd.event: restart"},
		{[]string{"herd.session=5"}, "did you mean herd.sessions?"},
	} {
		source := strings.NewReplacer("event: restart, ", "", ", down: 20ms", "", ", base: 5ms, cap: 20ms", "").Replace(herded)
		_, err := Parse("test.yaml", []byte(source), Override{Set: tt.set})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %s", tt.set, err, tt.want)
		}
	}
}

// Theory of a herd is the larger of what its back-off takes and of what the processors need
// for its logins.
func TestHerdBound(t *testing.T) {
	plans, err := Parse("test.yaml", []byte("scenario: reconnect-herd\nherd: {sessions: 100, event: drop, backoff: fixed, base: 1s, jitter: none}\n"), Override{Variants: []string{ReturnCold, ReturnResume}})
	if err != nil {
		t.Fatal(err)
	}
	plan := plans[0]
	for _, tt := range []struct {
		bounds    []float64
		most, all float64
	}{
		{[]float64{0.3, 0.1, 0.2}, 1, 1}, // the back-off takes longer
		{[]float64{5, 3}, 3.8, 4},
		{[]float64{1.04}, 1, 1.04},
	} {
		h := &herds{site: &site{plan: plan, about: Description{Simulated: true}}, bounds: tt.bounds}
		got := h.bound(plan.Arms[0])
		if math.Abs(got["back.95"]-tt.most) > 1e-9 || math.Abs(got["back.all"]-tt.all) > 1e-9 {
			t.Errorf("%v: %v", tt.bounds, got)
		}
		if h.bound(plan.Arms[1]) != nil {
			t.Error("who resumes does not log in")
		}
	}
	// How long a real server is away is not known, what its logins take is.
	plan.Herd.Event = EventRestart
	real := &herds{site: &site{plan: plan}, bounds: []float64{2}}
	if got := real.bound(plan.Arms[0]); got["back.all"] != 2 {
		t.Errorf("restart of a real server: %v", got)
	}
	real.bounds = nil
	if got := real.bound(plan.Arms[0]); got != nil {
		t.Errorf("nothing was measured: %v", got)
	}
}
