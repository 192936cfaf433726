package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

func rosterLogin() Scenario {
	return Scenario{
		Name:    RosterLogin,
		Summary: "log in, fetch a massive roster, be able to talk; variant against variant",
		Steps: []string{
			"log in past the link and fetch the roster without pings, for exact counts and CPU; log out",
			"connect over the access link, negotiate TLS, authenticate, bind a resource",
			"ping on the same stream every probe.every, on the plan's schedule, until the cell ends",
			"fetch the roster as the variant does; send presence when presence.send says so",
			"ping once when the roster is complete: its answer is `ready`",
		},
		Metrics: []string{
			"login", "roster.first", "roster.complete", "roster.resume", "ready", "probe", "probe.outside", "probe.control",
			"presence.settled", "bytes.in", "bytes.out", "bytes.in.tls", "bytes.out.tls", "stanzas", "round-trips",
			"resume.bytes", "resume.items", "cut.bytes", "cpu.client", "cpu.server", "cpu.items", "cpu.login", "presence.in", "presence.bounced",
		},
		level:  "load.rate",
		family: rosterFamily,
		outlook: func(p Plan) outlook {
			if p.Load.Rate.Any() {
				return p.stormOutlook()
			}
			return p.oneShotOutlook()
		},
		check: func(p *planParser, plan *Plan) {
			if plan.Load.Rate.Any() {
				p.checkLoad(plan)
			} else {
				p.checkSessions(plan)
			}
		},
		primary: func(p Plan) string {
			switch {
			case p.Load.Rate.Any():
				return "ready.mean"
			case !p.probing():
				return "roster.complete.mean"
			}
			return "probe.mean"
		},
		prepare: func(ctx context.Context, s *site) (actor, error) {
			if s.plan.Load.Rate.Any() {
				return &storm{s}, nil
			}
			return newRosterCells(ctx, s)
		},
	}
}

// oneShotOutlook is that of one login in each cell.
func (p Plan) oneShotOutlook() outlook {
	return outlook{
		sessions: func() int { return 2 }, // the idle one is the second
		cell: func(arm Arm) time.Duration {
			d := overhead + 2*time.Duration(p.Roster.Items)*5*time.Microsecond
			if p.probing() {
				d += p.Probe.Before + p.Probe.After
			}
			// The login, the first ping and the end of the stream.
			d += time.Duration(p.loginRoundTrips()+2) * p.Link.RTT
			if t, ok := p.rosterTheory(arm); ok {
				d += t.Complete
			} else if p.Link.Rate > 0 {
				d += time.Duration(float64(p.size().Bytes*8) / p.Link.Rate * float64(time.Second))
			}
			if p.Cut.At > 0 {
				d += time.Duration(p.loginRoundTrips()) * p.Link.RTT
			}
			return d
		},
		connections: func(arm Arm) int {
			each := 2 // past the link, and over it
			if s := arm.Params.State; s == roster.StateUnchanged || s == roster.StateStale {
				each += 2
			}
			if p.Cut.At > 0 {
				each++ // after the loss
			}
			return (p.Blocks + bench.DefaultWarmupBlocks) * each
		},
		samples: func(string) float64 { return 1 },
		theory:  p.loginTheory,
	}
}

// rosterCells runs one login for each cell.
type rosterCells struct {
	*site
	expected population.Digest
	known    bool // whether expected is

	// idle is the session that shows what a stream without a transfer feels.
	idle *client
}

// The accounts of one-shot cells: the one under study, that of the idle session,
// and one whose roster is changed between retrievals.
const (
	studied = 0
	idling  = 1
	changed = 2
)

// account is the one whose roster the arm retrieves.
func (r *rosterCells) account(arm Arm) int {
	if arm.Params.State == roster.StateStale {
		return changed
	}
	return studied
}

func newRosterCells(ctx context.Context, s *site) (*rosterCells, error) {
	if s.about.Accounts <= changed {
		return nil, fmt.Errorf("scenarios: %s: one-shot cells need %d accounts: one under study, one idle, one whose roster changes; the target has %d",
			s.about.Name, changed+1, s.about.Accounts)
	}
	r := &rosterCells{site: s}
	r.expected, r.known = s.target.Expected(studied)
	if s.plan.probing() {
		limited, cancel := context.WithTimeout(ctx, s.plan.Login.Limit)
		defer cancel()
		var err error
		if r.idle, err = s.login(limited, idling, shaped, false); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *rosterCells) close(ctx context.Context) error {
	if r.idle != nil {
		r.idle.close(ctx)
	}
	return nil
}

func (r *rosterCells) cell(ctx context.Context, c *cell) error {
	limited, cancel := context.WithTimeout(ctx, r.plan.Login.Limit)
	defer cancel()
	err := r.steps(limited, c)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("not done within login.limit, %s: %w", r.plan.Login.Limit, err)
	}
	return err
}

// steps runs the cell without a limit of its own.
func (r *rosterCells) steps(ctx context.Context, c *cell) error {
	if err := r.configure(ctx, c.arm); err != nil {
		return err
	}
	have, err := r.prime(ctx, c.arm)
	if err != nil {
		return err
	}
	if err := r.priced(ctx, c, have); err != nil || c.skipped != "" {
		return err
	}
	if have, err = r.prime(ctx, c.arm); err != nil {
		return err
	}
	return r.timed(ctx, c, have)
}

// prime brings a client's cache into the state that the arm asks for, outside of
// all measurement.
func (r *rosterCells) prime(ctx context.Context, arm Arm) (roster.Have, error) {
	state := arm.Params.State
	if state == "" || state == roster.StateCold {
		return roster.Have{}, nil
	}
	cl, err := r.login(ctx, r.account(arm), direct, false)
	if err != nil {
		return roster.Have{}, err
	}
	defer cl.close(ctx)
	have, err := r.version(ctx, cl, arm)
	if err != nil || state == roster.StateUnchanged || !have.Known && have.Ver == "" {
		return have, err
	}
	if err := r.change(ctx, cl, arm.Params.Changes); err != nil {
		return roster.Have{}, err
	}
	if arm.Params.Diff {
		now, err := r.version(ctx, cl, arm)
		if err != nil {
			return roster.Have{}, err
		}
		have.Target = now.Ver
	}
	return have, nil
}

// change makes n changes to the roster. On a real server they are taken back: the
// content is the same afterwards, the version is not.
func (r *rosterCells) change(ctx context.Context, cl *client, n int) error {
	if r.about.Simulated {
		return r.target.Control(ctx, controlMutate, struct {
			JID     string `json:"jid"`
			Changes int    `json:"changes"`
			Seed    uint64 `json:"seed"`
		}{cl.Account, n, r.plan.Seed}, nil)
	}
	for i := range n {
		it := roster.Item{JID: fmt.Sprintf("change-%06d.xmppbench@%s", i, cl.Domain)}
		if err := rosterSet(ctx, cl, it, false); err != nil {
			return err
		}
		// An interrupt must not leave the item behind.
		removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.plan.Login.StepLimit)
		err := rosterSet(removing, cl, it, true)
		cancel()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// version asks for the version of the roster with an empty cache.
func (r *rosterCells) version(ctx context.Context, cl *client, arm Arm) (roster.Have, error) {
	arm.Params.State = roster.StateCold
	result, _, err := cl.retrieve(ctx, arm, roster.Options{})
	if err != nil {
		return roster.Have{}, fmt.Errorf("scenarios: priming the cache of %s: %w", arm.Label, err)
	}
	return roster.Have{Ver: result.Ver, Epoch: result.Epoch, Version: result.Version, Known: result.Epoch != ""}, nil
}

// pricedItems is how many items have a price: that of fewer would be the price of a
// request.
const pricedItems = 1000

// priced fetches the roster past the link and without probes: what it costs in
// bytes, stanzas, round trips and CPU, exactly. Warm-up blocks verify instead.
func (r *rosterCells) priced(ctx context.Context, c *cell, have roster.Have) error {
	cl, err := r.login(ctx, r.account(c.arm), direct, c.warmup)
	if err != nil {
		return err
	}
	defer cl.close(ctx)
	before := cl.Stream.Counts()
	server, serverErr := r.target.CPU()
	client, clientErr := proc.CPU(os.Getpid())
	result, answer, err := cl.retrieve(ctx, c.arm, roster.Options{Have: have, Digest: c.warmup})
	if err != nil {
		return err
	}
	// The last answer to a chunk may wait to be written still; it is part of the price.
	if err := cl.Stream.Send(nil); err != nil {
		return &stepError{step: "roster", err: err}
	}
	if now, err := proc.CPU(os.Getpid()); err == nil && clientErr == nil {
		c.set("cpu.client", (now - client).Seconds())
	}
	if now, err := r.target.CPU(); err == nil && serverErr == nil {
		used := (now - server).Seconds()
		c.set("cpu.server", used)
		if result.Mode == "full" && result.Items >= pricedItems {
			c.set("cpu.items", used*pricedItems/float64(result.Items))
		}
	}
	after := cl.Stream.Counts()
	if answer.Verdict != roster.Spoken {
		c.skipped = fmt.Sprintf("%s: %s", answer.Verdict, answer.Reason)
		return nil
	}
	c.set("bytes.in", float64(result.BytesIn))
	c.set("bytes.out", float64(result.BytesOut))
	c.set("bytes.in.tls", float64(after.RawIn-before.RawIn))
	c.set("bytes.out.tls", float64(after.RawOut-before.RawOut))
	c.set("stanzas", float64(result.StanzasIn+result.StanzasOut))
	c.set("round-trips", float64(result.RoundTrips))
	return r.verify(c, result)
}

// verify holds what was received against what must have been.
func (r *rosterCells) verify(c *cell, result roster.Result) error {
	if r.about.Simulated {
		size := roster.Size{Items: result.Items, Bytes: int64(result.Items * r.plan.Roster.ItemBytes), Largest: r.plan.Roster.ItemBytes}
		want := c.arm.Variant.Counts(c.arm.Params, size)
		if want.Exact {
			c.count("stanzas.in", int64(result.StanzasIn), int64(want.StanzasIn))
			c.count("stanzas.out", int64(result.StanzasOut), int64(want.StanzasOut))
			c.count("round-trips", int64(result.RoundTrips), int64(want.RoundTrips))
		}
	}
	if !r.known || result.Mode != "full" || c.arm.Params.State == roster.StateStale {
		return nil
	}
	c.count("roster.items", int64(result.Items), int64(r.expected.Count()))
	if c.warmup && result.Items == r.expected.Count() && !result.Digest.Equal(r.expected) {
		return r.digestError(c.arm, result.Items, result.Digest)
	}
	return nil
}

func (r *rosterCells) digestError(arm Arm, items int, got population.Digest) error {
	return &DigestError{
		Variant: arm.Label, Account: r.target.Account(r.account(arm)).JID(), Items: items,
		Got: got.String(), Want: r.expected.String(),
	}
}

// timed logs in over the link, fetches with probes around, and observes all of
// it.
func (r *rosterCells) timed(ctx context.Context, c *cell, have roster.Have) error {
	intended := time.Now()
	loss := r.newLoss(c)
	cl, err := r.login(ctx, r.account(c.arm), loss.path, c.warmup)
	if err != nil {
		c.failed(ctx, "login", intended, err)
		return err
	}
	defer func() { cl.close(ctx) }()
	cl.observeLogin(c.sink, intended)

	probes := r.startProbes(ctx, cl, c.sink)
	defer probes.end()
	if err := sleep(ctx, r.probeWindow(r.plan.Probe.Before)); err != nil {
		return err
	}
	requested := time.Now()
	probes.transferBegins(requested)
	var settled chan error
	if r.plan.Presence.Send == "during" {
		settled = r.startPresence(ctx, cl, c.sink)
	}
	planned := requested.Sub(cl.login.ready) // the tool's wait for probes, not the user's
	result, cl, err := r.fetch(ctx, c, cl, loss, have)
	if err != nil {
		c.failed(ctx, "roster.complete", requested, err)
		return err
	}
	probes.transferEnds(result.Complete)
	talking, err := cl.firstPing(ctx)
	if err != nil {
		return err
	}
	if r.plan.Presence.Send == "after" {
		settled = r.startPresence(ctx, cl, c.sink)
	}
	ready := talking.Add(-planned)
	observe := func(metric string, from, to time.Time) {
		c.sink.Observe(results.Sample{Metric: metric, Intended: from, Start: from, End: to})
	}
	if !result.First.IsZero() {
		observe("roster.first", result.Requested, result.First)
	}
	observe("roster.complete", result.Requested, result.Complete)
	c.sink.Observe(results.Sample{Metric: "ready", Intended: intended, Start: intended, End: ready})
	if settled != nil {
		err = <-settled
	}
	if err == nil {
		err = sleep(ctx, r.probeWindow(r.plan.Probe.After))
	}
	probes.end()
	c.figures.Lateness, c.figures.Response, c.figures.Dropped = probes.lateness, probes.response, probes.dropped
	c.timelines = probes.timelines(requested)
	return errors.Join(err, probes.err)
}

// probeWindow is the time to probe before or after the transfer: none without
// probes.
func (r *rosterCells) probeWindow(d time.Duration) time.Duration {
	if !r.plan.probing() {
		return 0
	}
	return d
}

// firstPing sends a ping at once and returns when its answer came.
func (c *client) firstPing(ctx context.Context) (time.Time, error) {
	type answer struct {
		at  time.Time
		err error
	}
	got := make(chan answer, 1)
	if err := c.Ping(c.Domain, func(at time.Time, err error) { got <- answer{at, err} }); err != nil {
		return time.Time{}, &stepError{step: "ready", err: err}
	}
	select {
	case a := <-got:
		if a.err != nil {
			return time.Time{}, &stepError{step: "ready", err: a.err}
		}
		return a.at, nil
	case <-ctx.Done():
		return time.Time{}, &stepError{step: "ready", err: context.Cause(ctx)}
	}
}

// probes are the two open-loop probes of a cell: on the stream under study and
// on the idle one.
type probes struct {
	sink results.Sink
	halt chan struct{}
	wait sync.WaitGroup
	once sync.Once

	mu       sync.Mutex
	from, to time.Time // of the transfer
	err      error
	dropped  int64
	lateness *results.Histogram
	response *results.Histogram
	answered map[string][]results.Sample // by stream: "probe" under study, "probe.control" idle
}

func (r *rosterCells) startProbes(ctx context.Context, cl *client, sink results.Sink) *probes {
	p := &probes{
		sink: sink, halt: make(chan struct{}), lateness: results.NewHistogram(), response: results.NewHistogram(),
		answered: make(map[string][]results.Sample),
	}
	if !r.plan.probing() {
		return p
	}
	every := r.plan.Probe.Every
	pacer, err := bench.Constant(float64(time.Second) / float64(every))
	if err != nil {
		p.err = err
		return p
	}
	start := time.Now()
	run := func(send bench.ProbeFunc, classify func(time.Time) string) {
		stats, err := bench.Probe(ctx, bench.ProbeConfig{
			Pacer: pacer, Start: start, Stop: p.halt, Classify: classify, Drain: r.plan.Login.Limit,
			MaxOutstanding: 1 << 20, Timer: bench.TimerThread,
		}, send, p)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dropped += int64(stats.Dropped) // #nosec G115 -- a count, far below
		if err != nil {
			p.err = errors.Join(p.err, &stepError{step: "probe", err: err})
		}
	}
	p.wait.Go(func() {
		run(cl.ping, func(at time.Time) string {
			if p.during(at) {
				return "probe"
			}
			return "probe.outside"
		})
	})
	if r.idle != nil {
		p.wait.Go(func() {
			run(r.idle.ping, func(at time.Time) string {
				if p.during(at) {
					return "probe.control"
				}
				return ""
			})
		})
	}
	return p
}

// Observe passes the samples of the probes on and keeps their lateness.
func (p *probes) Observe(s results.Sample) {
	p.sink.Observe(s)
	if s.Err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lateness.Record(s.Start.Sub(s.Intended), 1)
	p.response.Record(s.End.Sub(s.Intended), 1)
	stream := "probe"
	if s.Metric == "probe.control" {
		stream = s.Metric
	}
	p.answered[stream] = append(p.answered[stream], s)
}

// timelines returns the probes of either stream against the time since the request, in
// the order in which they were due.
func (p *probes) timelines(requested time.Time) []results.Timeline {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []results.Timeline
	for _, stream := range slices.Sorted(maps.Keys(p.answered)) {
		t := results.Timeline{Metric: stream, Since: "roster request"}
		for _, s := range p.answered[stream] {
			t.Points = append(t.Points, results.Point{s.Intended.Sub(requested).Seconds(), s.End.Sub(s.Intended).Seconds()})
		}
		slices.SortStableFunc(t.Points, func(a, b results.Point) int { return cmp.Compare(a[0], b[0]) })
		out = append(out, t)
	}
	return out
}

// Count implements results.Sink.
func (p *probes) Count(name string, n int64) { p.sink.Count(name, n) }

func (p *probes) transferBegins(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = at
}

func (p *probes) transferEnds(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = at
}

// during tells whether a probe was due while the transfer ran.
func (p *probes) during(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.from.IsZero() && !at.Before(p.from) && (p.to.IsZero() || at.Before(p.to))
}

// end ends the plan of the probes and waits for their answers. Afterwards the
// fields say how well the plan was kept.
func (p *probes) end() {
	p.once.Do(func() { close(p.halt) })
	p.wait.Wait()
}

// stepError says in which step of an operation an error occurred.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string {
	text := e.err.Error()
	if strings.HasPrefix(text, e.step+": ") {
		return text
	}
	return e.step + ": " + text
}

func (e *stepError) Unwrap() error { return e.err }

// Kind is the class under which the error is counted.
func (e *stepError) Kind() string {
	var kind interface{ Kind() string }
	if errors.As(e.err, &kind) {
		return e.step + "." + kind.Kind()
	}
	return e.step
}

// sleep waits for d or the end of the context.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
