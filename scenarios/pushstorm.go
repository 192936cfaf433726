package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

func rosterPushStorm() Scenario {
	return Scenario{
		Name:    RosterPushStorm,
		Summary: "one session changes a roster at a fixed rate; every other session of the account is told",
		Steps: []string{
			"log push.resources sessions of one account in and fetch the roster, which makes them interested",
			"from one more session change one item, push.rate times a second, on the plan's schedule",
			"take the time from when each change was due to its push at every resource",
			"remove the item again",
		},
		Metrics: []string{"push", "iq", "cpu.server", "changes", "pushes", "pushes.lost"},
		level:   "push.rate",
		family:  rosterFamily,
		check:   (*planParser).checkSessions,
		outlook: func(p Plan) outlook {
			cell := p.Load.Duration + time.Second
			sessions := p.Push.Resources + 1
			return outlook{
				operations:  []string{"iq", "push"},
				sessions:    func() int { return sessions },
				cell:        func(Arm) time.Duration { return cell },
				warmup:      func(Arm) time.Duration { return min(cell, 2*time.Second) },
				connections: func(Arm) int { return (p.Blocks + bench.DefaultWarmupBlocks) * sessions },
			}
		},
		primary: func(Plan) string { return "push.mean" },
		prepare: func(_ context.Context, s *site) (actor, error) { return &pushStorm{s}, nil },
	}
}

type pushStorm struct{ *site }

func (*pushStorm) close(context.Context) error { return nil }

// pushes keeps, for each change, when it was due and at how many resources it
// has arrived.
type pushes struct {
	sink results.Sink

	mu        sync.Mutex
	due, sent map[uint64]time.Time
	left      map[uint64]int // of changes that the server has taken, or that came before it said so: resources to come
	each      int            // resources
	seen      int64
	unknown   int64 // pushes of no change of this cell
	complete  chan struct{}
	want      int64
}

func (p *pushes) arrived(seq uint64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	due, ok := p.due[seq]
	if !ok {
		p.unknown++
		return
	}
	p.seen++
	p.left[seq]--
	p.sink.Observe(results.Sample{Metric: "push", Intended: due, Start: p.sent[seq], End: at})
	p.finish()
}

// made says that the server has taken a change, so that it is owed to each resource.
func (p *pushes) made(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left[seq] += p.each
}

// lose makes failed samples of the pushes that never came.
func (p *pushes) lose(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq, left := range p.left {
		for range left {
			p.sink.Observe(results.Sample{Metric: "push", Intended: p.due[seq], Start: p.sent[seq], End: now, Err: &unansweredError{"login.step-limit"}})
		}
	}
}

// finish tells whoever waits when all expected pushes are in. The caller holds
// the lock.
func (p *pushes) finish() {
	if p.want > 0 && p.seen >= p.want {
		close(p.complete)
		p.want = 0
	}
}

// expect waits for n pushes and returns how many have arrived in the end.
func (p *pushes) expect(ctx context.Context, n int64) int64 {
	p.mu.Lock()
	p.want = n
	p.finish()
	p.mu.Unlock()
	if n > 0 {
		select {
		case <-p.complete:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

func (s *pushStorm) cell(ctx context.Context, c *cell) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.plan.Login.Limit+s.plan.Load.Duration)
	defer cancel()
	rate, duration := s.plan.Push.Rate, s.plan.Load.Duration
	if c.warmup {
		duration = min(duration, time.Second)
	}
	p := &pushes{sink: c.sink, due: make(map[uint64]time.Time), sent: make(map[uint64]time.Time), left: make(map[uint64]int), each: s.plan.Push.Resources, complete: make(chan struct{})}
	for range s.plan.Push.Resources {
		cl, err := s.interested(ctx, c.arm, p)
		if err != nil {
			return err
		}
		defer cl.close(ctx)
	}
	driver, err := s.login(ctx, studied, direct, false)
	if err != nil {
		return err
	}
	defer driver.close(ctx)
	jid := "push.xmppbench@" + driver.Domain

	pacer, err := bench.Constant(rate)
	if err != nil {
		return err
	}
	server, serverErr := s.target.CPU()
	stats, err := bench.Run(ctx, bench.Config{Pacer: bench.Until(pacer, duration), Measure: duration, MaxInFlight: 1000, Timer: bench.TimerThread, Progress: c.watch},
		func(ctx context.Context, a bench.Arrival, sink results.Sink) error {
			return s.change(ctx, driver, p, jid, a, sink)
		}, c.sink)
	// An interrupt must not leave the item in the roster of a real server.
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.plan.Login.StepLimit)
		defer cancel()
		err = errors.Join(err, s.remove(limited, driver, jid))
	}()
	if err != nil {
		return err
	}
	c.window(stats, 0)
	if now, err := s.target.CPU(); err == nil && serverErr == nil {
		c.set("cpu.server", (now - server).Seconds())
	}
	drained, cancelDrain := context.WithTimeout(ctx, s.plan.Login.StepLimit)
	defer cancelDrain()
	want := int64(stats.Measured.Done) * int64(s.plan.Push.Resources) // #nosec G115 -- a count, far below
	seen := p.expect(drained, want)
	p.lose(time.Now())
	c.set("changes", float64(stats.Measured.Done))
	c.set("pushes", float64(seen))
	c.set("pushes.lost", float64(want-seen))
	c.judge = "iq"
	c.figures.Planned, c.figures.Done = float64(stats.Measured.Planned), float64(stats.Measured.Started)
	c.figures.Dropped, c.figures.Waited = int64(stats.Measured.Dropped), int64(stats.Measured.Waited) // #nosec G115 -- counts are far below
	if s.about.Simulated {
		c.count("pushes", seen, want)
	}
	return nil
}

// interested logs a session in that is sent the pushes of the account.
func (s *pushStorm) interested(ctx context.Context, arm Arm, p *pushes) (*client, error) {
	cl, err := s.login(ctx, studied, shaped, false)
	if err != nil {
		return nil, err
	}
	if _, _, err := cl.retrieve(ctx, arm, roster.Options{}); err != nil {
		cl.close(ctx)
		return nil, err
	}
	cl.Stream.Handle(func(head *wire.Stanza) wire.Handler {
		if string(head.Name()) != "iq" || head.Type() != "set" {
			return cl.Others(head)
		}
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
			e, err := wire.ParseElement(st.Frame, wire.NSClient, nil)
			if err != nil {
				return err
			}
			if name := e.Child(wire.NSRoster, "query").Child(wire.NSRoster, "item").Attr("name"); name != "" {
				if seq, err := strconv.ParseUint(name, 10, 64); err == nil {
					p.arrived(seq, st.End)
				}
			}
			return cl.Stream.Post(wire.AppendReply(nil, st.Tag, "result", nil), nil)
		}}
	})
	return cl, nil
}

// change renames the item that the storm is about.
func (s *pushStorm) change(ctx context.Context, driver *client, p *pushes, jid string, a bench.Arrival, sink results.Sink) error {
	now := time.Now()
	p.mu.Lock()
	p.due[a.Seq], p.sent[a.Seq] = a.At, now
	p.mu.Unlock()
	err := rosterSet(ctx, driver, roster.Item{JID: jid, Name: strconv.FormatUint(a.Seq, 10)}, false)
	sink.Observe(results.Sample{Metric: "iq", Intended: a.At, Start: now, End: time.Now(), Err: err})
	if err == nil {
		p.made(a.Seq)
	}
	return err
}

func (s *pushStorm) remove(ctx context.Context, driver *client, jid string) error {
	return rosterSet(ctx, driver, roster.Item{JID: jid}, true)
}

// rosterSet changes one item of the client's roster (RFC 6121 §2.3, §2.5).
func rosterSet(ctx context.Context, c *client, it roster.Item, remove bool) error {
	id := c.Stream.NextID()
	b := wire.AppendIQStart(nil, "set", id, "", "")
	b = append(b, "<query xmlns='"+wire.NSRoster+"'><item"...)
	b = wire.AppendAttr(b, "jid", it.JID)
	if remove {
		b = append(b, " subscription='remove'/>"...)
	} else {
		if it.Name != "" {
			b = wire.AppendAttr(b, "name", it.Name)
		}
		b = append(b, '>')
		for _, g := range it.Groups {
			b = append(b, "<group>"...)
			b = wire.AppendText(b, g)
			b = append(b, "</group>"...)
		}
		b = append(b, "</item>"...)
	}
	b = append(b, "</query></iq>"...)
	if _, err := c.Stream.IQ(ctx, id, b); err != nil {
		return fmt.Errorf("scenarios: changing %s in the roster of %s: %w", it.JID, c.Account, err)
	}
	return nil
}
