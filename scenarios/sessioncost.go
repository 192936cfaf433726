package scenarios

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
)

func sessionCost() Scenario {
	return Scenario{
		Name:    SessionCost,
		Summary: "what sessions come to, with their rosters and messages: CPU time, bytes, memory, descriptors",
		Steps: []string{
			"log online.sessions accounts in as logins.rate says, each of which fetches its roster as the variant does",
			"send messages.each messages for each of them, sixteen at a time, and wait until all have arrived",
			"ping each session once: the server is through with everything then; read CPU time, bytes and stanzas",
			"wait hold.settle, free what nobody needs, read memory and descriptors; log out",
		},
		Metrics: []string{
			"login", "roster.complete", "sessions", "roster.items", "messages.sent", "stanzas",
			"bytes.in", "bytes.out", "bytes.in.tls", "bytes.out.tls", "cpu.client", "cpu.server",
			"rss.client", "rss.server", "heap.server", "fds.client", "fds.server", "logins.failed",
		},
		level:   "online.sessions",
		model:   loginModel,
		family:  rosterFamily,
		check:   (*planParser).checkCrowd,
		outlook: Plan.billOutlook,
		primary: func(Plan) string { return "cpu.server" },
		prepare: func(_ context.Context, s *site) (actor, error) { return newSessionBill(s) },
	}
}

// messagesUnderWay is how many messages are on their way at a time. It is the same for
// all sizes: the more there are, the more of them share a write.
const messagesUnderWay = 16

// billOutlook is that of a crowd that is paid for: logins as planned, and a guess of what
// the messages take.
func (p Plan) billOutlook() outlook {
	n := p.online(p.Accounts)
	return outlook{
		sessions: func() int { return n },
		cell: func(Arm) time.Duration {
			logins, _ := p.Logins.reaches(n)
			return logins + time.Duration(n*p.Messages.Each)*50*time.Microsecond + p.Hold.Settle + overhead
		},
		connections: func(Arm) int {
			return bench.DefaultWarmupBlocks + (p.Blocks+bench.DefaultWarmupBlocks)*n // one tells whether the variant is spoken
		},
	}
}

// sessionBill counts what a crowd comes to.
type sessionBill struct{ *steady }

func newSessionBill(s *site) (*sessionBill, error) {
	// Who is not there cannot be paid for.
	s.plan.Barrier.Least = 1
	s.plan.Online.Roster, s.plan.Presence.Send = true, presenceNever
	s.plan.Load.Drain = s.plan.Login.Limit
	if s.plan.Messages.Each > 0 {
		shape, err := ParseShape("closed " + strconv.Itoa(messagesUnderWay))
		if err != nil {
			return nil, err
		}
		s.plan.Messages.Rate = shape
	}
	crowd, err := newSteady(s)
	return &sessionBill{crowd}, err
}

func (s *sessionBill) cell(ctx context.Context, c *cell) error {
	if err := s.configure(ctx, c.arm); err != nil {
		return err
	}
	if c.warmup {
		return s.warmUp(ctx, c)
	}
	server, serverErr := s.target.CPU()
	client, clientErr := proc.CPU(os.Getpid())
	crowd, err := s.raise(ctx, c)
	if err != nil {
		return err
	}
	defer crowd.close(ctx)
	if err := crowd.exchangeAll(ctx, c); err != nil {
		return err
	}
	if !crowd.rested(ctx) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("scenarios: the server did not answer a ping of each of %d sessions within %s", len(crowd.alive()), restLimit)
	}
	if now, err := proc.CPU(os.Getpid()); err == nil && clientErr == nil {
		c.set("cpu.client", (now - client).Seconds())
	}
	if now, err := s.target.CPU(); err == nil && serverErr == nil {
		c.set("cpu.server", (now - server).Seconds())
	}
	if err := s.count(c, crowd); err != nil {
		return err
	}
	if err := sleep(ctx, s.plan.Hold.Settle); err != nil {
		return err
	}
	held, err := s.read(ctx)
	if err != nil {
		return err
	}
	c.set("rss.client", float64(held.client))
	c.set("fds.client", float64(held.clientFDs))
	if held.known {
		c.set("rss.server", float64(held.server))
		c.set("fds.server", float64(held.serverFDs))
	}
	if held.heap > 0 {
		c.set("heap.server", float64(held.heap))
	}
	return nil
}

// warmUp logs everybody in and out: keys are derived from passwords at the first login of
// an account, and servers keep memory that they have once taken.
func (s *sessionBill) warmUp(ctx context.Context, c *cell) error {
	if err := s.taste(ctx, c); err != nil || c.skipped != "" {
		return err
	}
	crowd, err := s.raise(ctx, c)
	if err != nil {
		return err
	}
	crowd.close(ctx)
	return nil
}

// count makes the figures of what was sent and received, and holds them against their
// closed forms.
func (s *sessionBill) count(c *cell, cr *crowd) error {
	in, out := cr.logins.in.Load(), cr.logins.out.Load()
	var rawIn, rawOut, stanzas int64
	for _, m := range cr.alive() {
		// An answer may be there before what was sent has been counted as written.
		if err := m.Stream.Send(nil); err != nil {
			return err
		}
		n := m.Stream.Counts()
		in, out = in+n.BytesIn, out+n.BytesOut
		rawIn, rawOut = rawIn+n.RawIn, rawOut+n.RawOut // the login's are among them
		stanzas += n.StanzasIn + n.StanzasOut
	}
	c.set("bytes.in", float64(in))
	c.set("bytes.out", float64(out))
	c.set("bytes.in.tls", float64(rawIn))
	c.set("bytes.out.tls", float64(rawOut))
	c.set("stanzas", float64(stanzas))
	c.set("roster.items", float64(cr.items.Load()))
	sessions := len(cr.alive())
	if s.about.Simulated {
		want := s.plan.sessionCounts(c.arm, sessions, s.plan.Roster.Items, sessions*s.plan.Messages.Each)
		if n, known := want["stanzas"]; known {
			c.count("stanzas", stanzas, int64(n))
		}
	}
	items, known := int64(0), true
	for i := range sessions {
		expected, ok := s.target.Expected(i)
		items, known = items+int64(expected.Count()), known && ok
	}
	if known {
		c.count("roster.items", cr.items.Load(), items)
	}
	return nil
}

// sessionCounts are the closed forms of so many sessions, whose rosters have so many
// items each, and which send so many messages together: a ping of each session is among
// the stanzas. Stanzas are left out where the variant has none.
func (p Plan) sessionCounts(arm Arm, sessions, items, messages int) map[string]float64 {
	n := float64(sessions)
	counts := map[string]float64{"sessions": n, "roster.items": n * float64(items), "messages.sent": float64(messages)}
	p.Roster.Items = items
	if each := arm.Variant.Counts(arm.Params, p.size()); each.Exact {
		counts["stanzas"] = n*float64(each.StanzasIn+each.StanzasOut+2) + 2*float64(messages)
	}
	return counts
}

// exchangeAll sends the messages of the plan, and returns when all have arrived. Those
// that did not are an error.
func (cr *crowd) exchangeAll(ctx context.Context, c *cell) error {
	if cr.plan.Messages.Each == 0 {
		c.set("messages.sent", 0)
		return nil
	}
	t, err := newExchange(cr, c)
	if err != nil {
		return err
	}
	n := len(t.online) * cr.plan.Messages.Each
	t.start = time.Now()
	cr.traffic.Store(t)
	defer t.leave()
	_, err = bench.Run(ctx, bench.Config{Workers: messagesUnderWay, Limit: uint64(n), Drain: t.load.Drain}, // #nosec G115 -- bounded by the keys
		func(ctx context.Context, a bench.Arrival, _ results.Sink) error { return t.sendMessage(ctx, a) }, results.Discard{})
	if err != nil {
		return err
	}
	if err := t.drain(ctx); err != nil {
		return err
	}
	got, _ := t.tallies()
	c.set("messages.sent", float64(t.sent.Load()))
	if t.sent.Load() != int64(n) || got.lost > 0 || got.duplicated > 0 {
		return fmt.Errorf("scenarios: of %d messages %d were sent, %d of them were lost and %d came twice: what they cost cannot be told", n, t.sent.Load(), got.lost, got.duplicated)
	}
	return nil
}
