package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
)

// EventDrop is the loss of all connections at once.
const EventDrop = "drop"

func reconnectHerd() Scenario {
	return Scenario{
		Name:    ReconnectHerd,
		Summary: "everybody is online when the link drops or the server restarts, and comes back",
		Steps: []string{
			"log herd.sessions sessions in, as logins.rate says, and fetch their rosters; wait herd.settle",
			"let the event happen: reset every connection with a stanza on its way, or restart the server",
			"each client that has lost its connection waits as its back-off says, tries, and waits again after a failure",
			"a client that is in again resumes its session or logs in and fetches its roster, sends presence when presence.send says so, and pings: the answer is `talk`",
			"when all are back, or herd.limit after the event, log out",
		},
		Metrics: []string{
			"talk", "attempt", "login", "roster.complete", "back.first", "back.50", "back.95", "back.all", "back.rate",
			"absent", "attempts", "attempts.failed", "resumed", "resumed.refused", "roster.whole", "stanzas.lost", "lost.again",
			"cpu.client", "cpu.server", "cpu.login",
		},
		level:   "herd.sessions",
		family:  herdFamily,
		outlook: Plan.herdOutlook,
		check: func(p *planParser, plan *Plan) {
			p.checkSessions(plan)
			p.checkHerd(plan)
		},
		primary: func(Plan) string { return "back.95" },
		prepare: func(_ context.Context, s *site) (actor, error) { return newHerd(s) },
	}
}

// herds runs one event for each cell.
type herds struct {
	*site
	bounds []float64 // CPU time of all logins on all processors, in seconds, of each block of clients that return cold
}

func newHerd(s *site) (*herds, error) {
	if err := holdable(s.plan.Herd.Sessions, "herd.sessions"); err != nil {
		return nil, err
	}
	return &herds{site: s}, nil
}

func (*herds) close(context.Context) error { return nil }

// herdWarmup is the number of sessions in the warm-up block, which shows whether the
// event can happen and clients return from it.
const herdWarmup = 10

// outlived is how long to wait for the first lost connection after a restart that is
// said to be done.
const outlived = 10 * time.Second

func (h *herds) cell(ctx context.Context, c *cell) error {
	if err := h.configure(ctx, c.arm); err != nil {
		return err
	}
	n := h.plan.Herd.Sessions
	if c.warmup {
		n = min(n, herdWarmup)
	}
	herd := newHerdOf(h.site, c, n)
	defer herd.disperse(ctx)
	before, beforeErr := h.target.CPU()
	if err := herd.gather(ctx); err != nil || c.skipped != "" {
		return err
	}
	if now, err := h.target.CPU(); err == nil && beforeErr == nil {
		login := (now - before).Seconds() / float64(n)
		c.set("cpu.login", login)
		if !c.warmup && c.arm.Name == ReturnCold && h.about.local() {
			h.bounds = append(h.bounds, login*float64(n)/float64(runtime.NumCPU()))
		}
	}
	if err := sleep(ctx, h.plan.Herd.Settle); err != nil {
		return err
	}
	server, serverErr := h.target.CPU()
	client, clientErr := proc.CPU(os.Getpid())
	if err := herd.event(ctx); err != nil {
		return err
	}
	if now, err := h.target.CPU(); err == nil && serverErr == nil {
		c.set("cpu.server", (now - server).Seconds())
	}
	if now, err := proc.CPU(os.Getpid()); err == nil && clientErr == nil {
		c.set("cpu.client", (now - client).Seconds())
	}
	return herd.conclude()
}

// A herd is the sessions of one cell.
type herd struct {
	*site
	c         *cell
	returners []*returner
	seed      uint64
	at        time.Time     // of the event
	lost      chan struct{} // closed by the first who loses its connection
	losing    sync.Once

	mu       sync.Mutex
	end      time.Time       // when the last was back, or nobody was waited for any more
	back     []time.Duration // since the event, in the order in which they came
	attempts int
	failed   int
	refused  int // resumptions
	resumed  int
	whole    int   // rosters that came although the client had them
	err      error // of the last attempt that failed
	wrong    *DigestError
	lateness *results.Histogram // of attempts, whatever came of them
	response *results.Histogram
}

func newHerdOf(s *site, c *cell, n int) *herd {
	h := &herd{
		site: s, c: c, seed: s.plan.herdSeed(c.block), lost: make(chan struct{}), lateness: results.NewHistogram(), response: results.NewHistogram(),
	}
	for i := range n {
		h.returners = append(h.returners, &returner{herd: h, index: i})
	}
	return h
}

// gather logs everybody in. A login that fails ends it: who is not there cannot return.
func (h *herd) gather(ctx context.Context) error {
	logins, err := h.logins(len(h.returners))
	if err != nil {
		return err
	}
	gathering, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_, err = bench.Run(gathering, logins, func(ctx context.Context, a bench.Arrival, _ results.Sink) error {
		err := h.returners[a.Seq].join(ctx)
		if err != nil {
			cancel(fmt.Errorf("scenarios: logging %d sessions in before the event: %w", len(h.returners), err))
		}
		return err
	}, results.Discard{})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case gathering.Err() != nil:
		return context.Cause(gathering)
	case err != nil:
		return err
	}
	if h.c.arm.Return.Resume && h.returners[0].management.Resumption() == nil {
		h.c.skipped = "refused: the server lets no session be resumed (XEP-0198)"
	}
	return nil
}

// event lets it happen, and returns when everybody is back or the limit has passed. Its
// error is that of an event that did not happen.
func (h *herd) event(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var returning sync.WaitGroup
	h.at = time.Now()
	limited, stop := context.WithDeadlineCause(ctx, h.at.Add(h.plan.Herd.Limit), errHerdLimit)
	defer stop()
	cuts := make([]func(), 0, len(h.returners))
	for _, m := range h.returners {
		cuts = append(cuts, m.cut())
	}
	for _, m := range h.returners {
		returning.Go(func() { m.comeBack(limited) })
	}
	striking := make(chan error, 1)
	go func() {
		err := h.strike(limited, cuts)
		if err != nil && limited.Err() == nil {
			cancel(err)
		}
		striking <- err
	}()
	returning.Wait()
	h.mu.Lock()
	if h.end.IsZero() || len(h.back) < len(h.returners) {
		h.end = time.Now()
	}
	h.mu.Unlock()
	// A server can be back before the command that restarts it says so.
	err := <-striking
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// errHerdLimit is why clients give up.
var errHerdLimit = errors.New("herd.limit has passed")

// strike is the event itself. An error is an [*UnreachableError].
func (h *herd) strike(ctx context.Context, cuts []func()) error {
	if h.plan.Herd.Event == EventDrop {
		for _, cut := range cuts {
			cut()
		}
		return nil
	}
	fail := func(err error) error { return &UnreachableError{Target: h.about.Name, Err: err} }
	if err := h.target.Control(ctx, controlRestart, restart{h.plan.Herd.Down, h.plan.Simulator.Keep}, nil); err != nil {
		return fail(err)
	}
	waiting := time.NewTimer(outlived)
	defer waiting.Stop()
	select {
	case <-h.lost:
		return nil
	case <-ctx.Done():
		return nil
	case <-waiting.C:
		return fail(fmt.Errorf("the server is said to have restarted, and %s later all connections stand: does control.restart restart this server?", outlived))
	}
}

// restart is what the simulator is asked for; a real server takes no settings.
type restart struct {
	Down time.Duration `json:"down"`
	Keep string        `json:"keep"`
}

// observeReturn gives the steps of a return to the sink.
func (h *herd) observeReturn(cl *client) { cl.observeLogin(h.c.sink, cl.login.started) }

// returned takes a client that is back.
func (h *herd) returned(m *returner, due, started, talking time.Time) {
	h.c.sink.Observe(results.Sample{Metric: "attempt", Intended: due, Start: started, End: talking})
	h.c.sink.Observe(results.Sample{Metric: "talk", Intended: h.at, Start: h.at, End: talking})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts++
	h.lateness.Record(started.Sub(due), 1)
	h.response.Record(talking.Sub(h.at), 1)
	h.back = append(h.back, talking.Sub(h.at))
	if talking.After(h.end) {
		h.end = talking
	}
	if h.c.arm.Return.Resume {
		if m.cl.resumed {
			h.resumed++
		} else {
			h.refused++
		}
	}
}

// attemptFailed counts an attempt that the limit did not end.
func (h *herd) attemptFailed(due, started time.Time, err error) {
	now := time.Now()
	h.c.sink.Observe(results.Sample{Metric: "attempt", Intended: due, Start: started, End: now, Err: &returnError{err}})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts++
	h.failed++
	h.lateness.Record(started.Sub(due), 1)
	h.err = err
	if wrong, ok := errors.AsType[*DigestError](err); ok {
		h.wrong = wrong
	}
}

// conclude makes the figures of the cell.
func (h *herd) conclude() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, n := h.c, len(h.returners)
	if h.wrong != nil {
		return h.wrong
	}
	c.from, c.to = h.at, h.end
	c.figures.Lateness, c.figures.Response = h.lateness, h.response
	c.set("attempts", float64(h.attempts))
	c.set("attempts.failed", float64(h.failed))
	c.set("absent", float64(n-len(h.back)))
	if c.arm.Return.Resume {
		c.set("resumed", float64(h.resumed))
		c.set("resumed.refused", float64(h.refused))
	}
	if c.arm.Params.State != "" {
		c.set("roster.whole", float64(h.whole))
	}
	h.concludeStanzas()
	if len(h.back) == 0 {
		err := fmt.Errorf("nobody was back within herd.limit, %s, after the %s", h.plan.Herd.Limit, h.plan.Herd.Event)
		if h.err != nil {
			err = fmt.Errorf("%w; of %d attempts the last failed: %w", err, h.attempts, h.err)
		}
		return &UnreachableError{Target: h.about.Name, Err: err}
	}
	slices.Sort(h.back)
	c.set("back.first", h.back[0].Seconds())
	c.set("back.rate", float64(peak(h.back, time.Second)))
	for name, share := range backShares() {
		if d, ok := backBy(h.back, n, share); ok {
			c.set(name, d.Seconds())
		}
	}
	for range n - len(h.back) {
		h.c.sink.Observe(results.Sample{Metric: "talk", Intended: h.at, Start: h.at, End: h.end, Err: &unansweredError{"herd.limit"}})
	}
	if len(h.back) < n {
		c.flags = append(c.flags, results.Flag{Kind: "absent", Severity: results.Warning, Text: fmt.Sprintf(
			"%s: %d of %d sessions were back within herd.limit, %s: there is no time until all were", c.arm.Label, len(h.back), n, h.plan.Herd.Limit)})
	}
	return nil
}

// concludeStanzas counts the stanzas that were on their way at the event and never
// answered, and the sessions that were lost once more.
func (h *herd) concludeStanzas() {
	var lost, lostResumed, again int
	for _, m := range h.returners {
		if !m.back {
			continue
		}
		if m.flight.Load() == flightSent {
			lost++
			if m.cl.resumed {
				lostResumed++
			}
		}
		select {
		case <-m.over:
			again++
		default:
		}
	}
	h.c.set("lost.again", float64(again))
	if h.plan.Herd.Event != EventDrop {
		return
	}
	h.c.set("stanzas.lost", float64(lost))
	if h.c.arm.Return.Resume && h.about.Simulated {
		h.c.count("stanzas.lost", int64(lostResumed), 0)
	}
}

// backShares are the shares of all sessions whose return is told, in percent, by the
// scalar.
func backShares() map[string]int {
	return map[string]int{"back.50": 50, "back.95": 95, "back.all": 100}
}

// backBy returns when so many percent of n were back, of those whose sorted times are
// given, and false if that was never the case.
func backBy(sorted []time.Duration, n, percent int) (time.Duration, bool) {
	k := (n*percent + 99) / 100
	if k < 1 || k > len(sorted) {
		return 0, false
	}
	return sorted[k-1], true
}

// peak returns the most of the sorted times that lie within one span.
func peak(sorted []time.Duration, span time.Duration) int {
	most, from := 0, 0
	for i, t := range sorted {
		for t-sorted[from] >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// disperse logs everybody out who is still there.
func (h *herd) disperse(ctx context.Context) {
	var there []*client
	for _, m := range h.returners {
		if m.cl != nil {
			there = append(there, m.cl)
		}
	}
	h.logout(ctx, there)
}

// reset takes a connection away as a router does that has forgotten it.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what is not sent yet never will be, and the other end learns by a reset
	}
	_ = conn.Close()
}
