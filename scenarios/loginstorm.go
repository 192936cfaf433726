package scenarios

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

func loginStorm() Scenario {
	return Scenario{
		Name:    LoginStorm,
		Summary: "many users log in on schedule, whether or not the server keeps up",
		Steps: []string{
			"at the planned time connect, negotiate TLS, authenticate, bind a resource",
			"fetch the roster as the variant does; send presence when presence.send says so",
			"ping: the answer is `ready`; log out",
		},
		Metrics: []string{
			"login.dial", "login.tls", "login.sasl", "login.bind", "login", "roster.first", "roster.complete", "ready", "presence.settled",
			"bytes.in", "bytes.out", "stanzas", "cpu.client", "cpu.server", "cpu.login", "logins", "logins.failed", "logins.rate", "in-flight.peak",
			"presence.in", "presence.bounced",
		},
		level:   "load.rate",
		family:  rosterFamily,
		outlook: Plan.stormOutlook,
		check: func(p *planParser, plan *Plan) {
			if !plan.Load.Rate.Any() {
				p.fail(nil, "load.rate", "a storm needs a rate, such as 50/s; for single logins use the scenario %s", RosterLogin)
			}
			p.checkLoad(plan)
		},
		primary: func(Plan) string { return "ready.mean" },
		prepare: func(_ context.Context, s *site) (actor, error) { return &storm{s}, nil },
	}
}

// stormOutlook is that of logins at a rate.
func (p Plan) stormOutlook() outlook {
	rate := p.Load.Rate
	return outlook{
		sessions: func() int {
			if n := rate.Workers(); n > 0 {
				return n
			}
			return p.Load.MaxInFlight
		},
		cell:   func(Arm) time.Duration { return p.Load.end() },
		warmup: short,
		connections: func(Arm) int {
			return bench.DefaultWarmupBlocks + int(float64(p.Blocks)*rate.expected(0, p.Load.end()))
		},
		samples:    func(string) float64 { return rate.expected(p.Load.Warmup, p.Load.Warmup+p.Load.Duration) },
		operations: []string{"ready", "presence.settled"},
	}
}

// storm runs a window of logins for each cell.
type storm struct{ *site }

func (*storm) close(context.Context) error { return nil }

func (s *storm) cell(ctx context.Context, c *cell) error {
	if err := s.configure(ctx, c.arm); err != nil {
		return err
	}
	load := s.plan.Load
	if c.warmup {
		// One login tells whether the target can be used and speaks the variant.
		return s.op(ctx, bench.Arrival{At: time.Now()}, c, results.Discard{}, true)
	}
	config := bench.Config{
		Warmup: load.Warmup, Measure: load.Duration, Cooldown: load.Cooldown,
		MaxInFlight: load.MaxInFlight, Drain: s.plan.Login.Limit, Timer: bench.TimerThread, Progress: c.watch,
	}
	if err := load.Rate.engine(&config, load.Arrivals, s.plan.Seed+uint64(c.block), load.end()); err != nil { // #nosec G115 -- blocks are not negative
		return err
	}
	server, serverErr := s.target.CPU()
	var wrong atomic.Pointer[DigestError]
	stats, err := bench.Run(ctx, config, func(ctx context.Context, a bench.Arrival, sink results.Sink) error {
		every := uint64(s.plan.Login.Verify) // #nosec G115 -- not negative, by the key
		err := s.op(ctx, a, c, sink, every > 0 && a.Seq%every == 0)
		if digest, ok := errors.AsType[*DigestError](err); ok {
			wrong.Store(digest)
		}
		return err
	}, c.sink)
	c.window(stats, load.Warmup)
	if err != nil {
		return err
	}
	if digest := wrong.Load(); digest != nil {
		return digest
	}
	c.judge = "ready"
	c.figures.Planned, c.figures.Done = float64(stats.Measured.Planned), float64(stats.Measured.Started)
	c.figures.Dropped, c.figures.Waited = int64(stats.Measured.Dropped), int64(stats.Measured.Waited) // #nosec G115 -- counts are far below
	c.figures.Poisson = load.Rate.random(load.Arrivals)
	c.set("logins", float64(stats.Measured.Done))
	c.set("logins.failed", float64(stats.Measured.Failed+stats.Measured.Cut))
	c.set("logins.rate", stats.DoneRate())
	c.set("in-flight.peak", float64(stats.InFlightPeak))
	if cpu := stats.Generator.CPU; cpu != nil {
		c.set("cpu.client", cpu.Seconds())
	}
	// The clock of the server runs over all windows, that of the client over the
	// measured one alone.
	if now, err := s.target.CPU(); err == nil && serverErr == nil {
		all := stats.Warmup.Done + stats.Measured.Done + stats.Cooldown.Done
		if all > 0 {
			login := (now - server).Seconds() / float64(all)
			c.set("cpu.login", login)
			c.set("cpu.server", login*float64(stats.Measured.Done))
		}
	}
	if stats.Measured.Done == 0 {
		return fmt.Errorf("scenarios: none of %d logins ended well", stats.Measured.Started)
	}
	return nil
}

// op is one login from its arrival to its logout.
func (s *storm) op(ctx context.Context, a bench.Arrival, c *cell, sink results.Sink, verify bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.plan.Login.Limit)
	defer cancel()
	started, ready := time.Now(), false
	defer func() {
		if err != nil && !ready {
			sink.Observe(results.Sample{Metric: "ready", Intended: a.At, Start: started, End: time.Now(), Err: err})
		}
	}()
	account := int(a.Seq % uint64(s.about.Accounts)) // #nosec G115 -- below the number of accounts, which is above 0
	cl, err := s.login(ctx, account, shaped, verify)
	if err != nil {
		return err
	}
	defer cl.close(ctx)
	cl.observeLogin(sink, a.At)
	var settled chan error
	var available time.Time
	if s.plan.Presence.Send == "during" {
		available, settled = time.Now(), s.startPresence(ctx, cl, sink)
	}
	result, answer, err := cl.retrieve(ctx, c.arm, roster.Options{Digest: verify})
	if err != nil {
		return err
	}
	if answer.Verdict != roster.Spoken {
		if !c.warmup {
			return &stepError{step: "roster", err: errors.New(answer.Reason)}
		}
		c.skipped = fmt.Sprintf("%s: %s", answer.Verdict, answer.Reason)
		return nil
	}
	if want, known := s.target.Expected(account); known {
		if result.Items != want.Count() || verify && !result.Digest.Equal(want) {
			return &stepError{step: "roster", err: &DigestError{
				Variant: c.arm.Label, Account: cl.Account, Items: result.Items, Got: result.Digest.String(), Want: want.String(),
			}}
		}
	}
	talking, err := cl.firstPing(ctx)
	if err != nil {
		return err
	}
	if s.plan.Presence.Send == "after" {
		available, settled = time.Now(), s.startPresence(ctx, cl, sink)
	}
	if !result.First.IsZero() {
		sink.Observe(results.Sample{Metric: "roster.first", Intended: result.Requested, Start: result.Requested, End: result.First})
	}
	sink.Observe(results.Sample{Metric: "roster.complete", Intended: result.Requested, Start: result.Requested, End: result.Complete})
	ready = true
	sink.Observe(results.Sample{Metric: "ready", Intended: a.At, Start: started, End: talking})
	sink.Count("stanzas", int64(result.StanzasIn+result.StanzasOut))
	sink.Count("bytes.in", result.BytesIn)
	sink.Count("bytes.out", result.BytesOut)
	if settled == nil {
		return nil
	}
	if err := <-settled; err != nil {
		sink.Observe(results.Sample{Metric: "presence.settled", Intended: available, Start: available, End: time.Now(), Err: err})
		return err
	}
	return nil
}
