package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
)

func idleCost() Scenario {
	return Scenario{
		Name:    IdleCost,
		Summary: "memory and descriptors of sessions that do nothing",
		Steps: []string{
			"log a fifth of hold.sessions in, with a garbage collector that runs often (GOGC 20), wait hold.settle, read memory and descriptors",
			"log the rest in, wait, read again: the difference is the price of a session",
			"log out; or, with hold.grow, leave them there and log the next share of hold.sessions in in the next block",
		},
		Metrics: []string{"sessions", "rss.client", "rss.server", "session.rss.client", "session.rss.server", "fds.client", "fds.server"},
		level:   "hold.sessions",
		single:  true,
		family:  rosterFamily,
		check:   (*planParser).checkSessions,
		outlook: Plan.idleOutlook,
		primary: func(Plan) string { return "session.rss.server" },
		prepare: func(_ context.Context, s *site) (actor, error) { return newIdle(s) },
	}
}

// idleOutlook is that of sessions that do nothing.
func (p Plan) idleOutlook() outlook {
	h := p.Hold
	settled, each, opened := 2*h.Settle, h.Sessions, p.Blocks*h.Sessions
	if h.Grow {
		settled, each, opened = h.Settle, h.Sessions/max(p.Blocks, 1), h.Sessions
	}
	return outlook{
		sessions:    func() int { return h.Sessions },
		cell:        func(Arm) time.Duration { return settled + time.Duration(each)*time.Millisecond },
		warmup:      short,
		connections: func(Arm) int { return bench.DefaultWarmupBlocks + opened },
	}
}

type idle struct {
	*site
	held []*client // from block to block, where they are kept
	last reading   // with these
}

func newIdle(s *site) (*idle, error) {
	if err := holdable(s.plan.Hold.Sessions, "hold.sessions"); err != nil {
		return nil, err
	}
	return &idle{site: s}, nil
}

// holdable refuses more sessions than this process can have open; key is where they are
// asked for.
func holdable(sessions int, key string) error {
	need := sessions + reservedDescriptors
	if limit, err := proc.DescriptorLimit(); err == nil && need > limit {
		return fmt.Errorf("scenarios: %d sessions need %d file descriptors in this process, which may open %d: lower %s, or raise ulimit -n",
			sessions, need, limit, key)
	}
	return nil
}

// reservedDescriptors are what the process needs besides its sessions.
const reservedDescriptors = 64

func (s *idle) close(ctx context.Context) error {
	s.logout(ctx, s.held)
	return nil
}

// A reading is what the processes hold at one moment.
type reading struct {
	client, server       int64 // bytes resident
	heap                 int64 // bytes alive on the server's heap; 0: not known
	clientFDs, serverFDs int64
	known                bool // whether the server's are
}

func (s *idle) cell(ctx context.Context, c *cell) error {
	if c.warmup {
		cl, err := s.login(ctx, studied, shaped, true)
		if err != nil {
			return err
		}
		cl.close(ctx)
		return nil
	}
	if !s.plan.Hold.Grow {
		defer func() {
			s.logout(ctx, s.held)
			s.held = nil
		}()
	}
	from, to := s.share()
	few, err := s.upTo(ctx, from)
	if err != nil {
		return err
	}
	many, err := s.upTo(ctx, to)
	if err != nil {
		return err
	}
	c.set("sessions", float64(to))
	c.set("rss.client", float64(many.client))
	c.set("fds.client", float64(many.clientFDs))
	if n := to - from; n > 0 {
		c.set("session.rss.client", float64(many.client-few.client)/float64(n))
		if many.known {
			c.set("session.rss.server", float64(many.server-few.server)/float64(n))
		}
	}
	if many.known {
		c.set("rss.server", float64(many.server))
		c.set("fds.server", float64(many.serverFDs))
	}
	return nil
}

// share says between which numbers of sessions the next block looks at what one costs.
func (s *idle) share() (from, to int) {
	total := s.plan.Hold.Sessions
	if !s.plan.Hold.Grow {
		return max(total/5, 1), total
	}
	return len(s.held), len(s.held) + max(total/s.plan.Blocks, 1)
}

// upTo sees to it that n sessions are there, and reads what they cost.
func (s *idle) upTo(ctx context.Context, n int) (reading, error) {
	if len(s.held) == n && n > 0 {
		return s.last, nil
	}
	more, err := s.hold(ctx, len(s.held), n)
	s.held = append(s.held, more...)
	if err == nil {
		err = sleep(ctx, s.plan.Hold.Settle)
	}
	if err == nil {
		s.last, err = s.read(ctx)
	}
	return s.last, err
}

// holdGC is GOGC while sessions log in, in percent.
const holdGC = 20

// hold logs sessions in until there are upTo of them. A login leaves many times
// more behind than a session keeps, so the collector runs often meanwhile: what is
// read later is the price of sessions that lie close together, not of the debris
// between them.
func (s *idle) hold(ctx context.Context, from, upTo int) ([]*client, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(holdGC))
	var (
		mu     sync.Mutex
		held   []*client
		failed error
		wait   sync.WaitGroup
	)
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	for i := from; i < upTo && ctx.Err() == nil; i++ {
		slots <- struct{}{}
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, s.plan.Login.Limit)
			defer cancel()
			cl, err := s.login(limited, i%s.about.Accounts, shaped, false)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if failed == nil || exhausted(err) {
					failed = err
				}
				return
			}
			cl.login = nil // an idle session need not remember it
			held = append(held, cl)
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return held, context.Cause(ctx)
	}
	return held, failed
}

// read takes the figures after what the logins left behind has been freed: on
// this side, and in the simulator; a real server is taken as it is.
func (s *site) read(ctx context.Context) (reading, error) {
	debug.FreeOSMemory()
	var r reading
	if s.about.Simulated {
		if err := s.target.Control(ctx, controlFreeMemory, nil, &r.heap); err != nil {
			return reading{}, err
		}
	}
	own, err := proc.Usage(os.Getpid())
	if err != nil {
		return reading{}, err
	}
	r.client, r.clientFDs = own.RSS, int64(own.Descriptors)
	u, err := s.target.Observe(ctx)
	if errors.Is(err, proc.ErrUnavailable) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.server, r.serverFDs, r.known = u.RSS, int64(u.Descriptors), len(u.PIDs) > 0
	return r, nil
}
