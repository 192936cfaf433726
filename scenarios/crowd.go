package scenarios

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// A crowd is the sessions that are online for a cell, one of each account.
type crowd struct {
	*site
	cell    *cell
	members []*member
	index   map[string]int32 // by bare JID

	presences    atomic.Int64                   // received
	lastPresence atomic.Int64                   // when, since epoch, in nanoseconds
	items        atomic.Int64                   // of rosters received
	logins       struct{ in, out atomic.Int64 } // bytes of XML
	epoch        time.Time
	traffic      atomic.Pointer[exchange] // nil until everybody is online

	mu sync.Mutex // of members, while they join
}

// A member is one session of a crowd.
type member struct {
	*client
	crowd *crowd
	at    int32 // in the crowd
	full  string

	message, presence wire.Handler // made once: a stanza costs no closure

	watches []int32 // members whose presence this one may see, by its roster
}

// raise logs the crowd in, on schedule, and waits at the barriers "online" and, where
// presence is sent, "settled".
func (s *site) raise(ctx context.Context, c *cell) (*crowd, error) {
	n := s.plan.online(s.about.Accounts)
	if n > s.about.Accounts {
		return nil, fmt.Errorf("scenarios: %d sessions are to be online, one of each account, and %s has %d accounts: lower online.sessions", n, s.about.Name, s.about.Accounts)
	}
	cr := &crowd{site: s, cell: c, index: make(map[string]int32, n), epoch: time.Now(), members: make([]*member, n)}
	for i := range n {
		cr.index[s.target.Account(i).JID()] = int32(i) // bounded by the key
	}
	barrier := bench.NewBarrier("online", n)
	logins, err := s.logins(n)
	if err != nil {
		return nil, err
	}
	// What is not online when the barrier opens will not be.
	joining, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		lost  error // of the first that failed, or that told that the generator has nothing left
	)
	group.Go(func() {
		_, _ = bench.Run(joining, logins, func(ctx context.Context, a bench.Arrival, sink results.Sink) error {
			m, err := cr.join(ctx, int(a.Seq), a.At, sink) // #nosec G115 -- below n
			if err != nil {
				mu.Lock()
				if lost == nil || exhausted(err) && !exhausted(lost) {
					lost = err
				}
				mu.Unlock()
				barrier.Lose()
				return err
			}
			cr.mu.Lock()
			cr.members[m.at] = m
			cr.mu.Unlock()
			barrier.Reach()
			return nil
		}, c.sink)
	})
	least := int(math.Ceil(s.plan.Barrier.Least * float64(n)))
	online, err := barrier.Wait(ctx, s.plan.Barrier.Timeout, max(least, 2))
	stop(errLate)
	group.Wait()
	s.passed(online)
	there := len(cr.alive())
	c.set("sessions", float64(there))
	c.set("logins.failed", float64(n-there))
	if online.Reached < n && err == nil {
		c.flags = append(c.flags, results.Flag{Kind: "online", Severity: results.Warning, Text: online.String() + "; the run went on without the others"})
	}
	if err != nil && lost != nil {
		err = fmt.Errorf("%w; the first failed with: %w", err, lost)
	}
	if err == nil && s.plan.Presence.Send != presenceNever {
		err = cr.settle(ctx)
	}
	if err != nil {
		cr.close(ctx)
		return nil, &offlineError{err}
	}
	return cr, nil
}

// offlineError says that the sessions which a cell begins with did not come online. It
// wraps why.
type offlineError struct{ err error }

// Error is that of what it wraps.
func (e *offlineError) Error() string { return e.err.Error() }

// Unwrap returns why.
func (e *offlineError) Unwrap() error { return e.err }

// logins is how n sessions come online.
func (s *site) logins(n int) (bench.Config, error) {
	c := bench.Config{MaxInFlight: loginsInFlight, Drain: s.plan.Login.Limit, Timer: bench.TimerThread}
	if err := s.plan.Logins.engine(&c, s.plan.Load.Arrivals, s.plan.Seed, math.MaxInt64); err != nil {
		return c, err
	}
	if c.Workers > 0 {
		c.Limit = uint64(n) // #nosec G115 -- not negative
	} else {
		c.Pacer = bench.First(c.Pacer, uint64(n)) // #nosec G115 -- not negative
	}
	return c, nil
}

const (
	// loginsInFlight bounds the logins under way, whose handshakes would else wait for
	// each other.
	loginsInFlight = 1000
	presenceNever  = "never"
)

var errLate = errors.New("scenarios: the barrier has opened without this session")

// passed tells that a barrier has opened.
func (s *site) passed(c bench.Crowd) {
	if s.note != nil {
		s.note("barrier", c.String(), map[string]string{"barrier": c.Barrier})
	}
	if s.tell != nil {
		s.tell(c.String())
	}
}

// join logs one session in, retrieves its roster and sends initial presence, as far as
// the plan wants it.
func (cr *crowd) join(ctx context.Context, at int, due time.Time, sink results.Sink) (_ *member, err error) {
	ctx, cancel := context.WithTimeout(ctx, cr.plan.Login.Limit)
	defer cancel()
	cl, err := cr.login(ctx, at, shaped, false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			cl.close(context.WithoutCancel(ctx))
		}
	}()
	cl.observeLogin(sink, due)
	cr.logins.in.Add(cl.login.bytes.In)
	cr.logins.out.Add(cl.login.bytes.Out)
	m := &member{client: cl, crowd: cr, at: int32(at), full: cl.login.jid} // #nosec G115 -- bounded by the key
	cl.login = nil
	m.message = wire.Handler{Done: m.tookMessage}
	m.presence = wire.Handler{Done: m.tookPresence}
	cl.takes.Store(m)
	if cr.plan.Presence.Send == "during" {
		if err := cl.Stream.Post([]byte("<presence/>"), nil); err != nil {
			return nil, err
		}
	}
	if cr.plan.Online.Roster {
		if err := m.retrieveRoster(ctx, cr.cell.arm, sink); err != nil {
			return nil, err
		}
	}
	if cr.plan.Presence.Send == "after" {
		if err := cl.Stream.Post([]byte("<presence/>"), nil); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// retrieveRoster fetches the roster and remembers whose presence the member may see.
func (m *member) retrieveRoster(ctx context.Context, arm Arm, sink results.Sink) error {
	result, answer, err := m.retrieve(ctx, arm, roster.Options{Item: func(it roster.Item) error {
		if it.Subscription == "to" || it.Subscription == "both" {
			if i, there := m.crowd.index[it.JID]; there {
				m.watches = append(m.watches, i)
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	if answer.Verdict != roster.Spoken {
		return &stepError{step: "roster", err: errors.New(answer.Reason)}
	}
	m.crowd.items.Add(int64(result.Items))
	sink.Observe(results.Sample{Metric: "roster.complete", Intended: result.Requested, Start: result.Requested, End: result.Complete})
	return nil
}

// settle waits until initial presence has come in: until none came for
// presence.quiet.
func (cr *crowd) settle(ctx context.Context) error {
	start, quiet := time.Now(), cr.plan.Presence.Quiet
	settled := bench.Crowd{Barrier: "settled", Want: len(cr.alive()), Reached: len(cr.alive())}
	last := start
	for {
		if err := sleep(ctx, time.Until(last.Add(quiet))); err != nil {
			return err
		}
		seen := cr.epoch.Add(time.Duration(cr.lastPresence.Load()))
		if !seen.After(last) {
			break
		}
		if last = seen; time.Since(start) > cr.plan.Barrier.Timeout {
			return fmt.Errorf("scenarios: presence still came in %s after everybody was online: raise barrier.timeout, or lower presence.quiet", cr.plan.Barrier.Timeout)
		}
	}
	settled.After = time.Since(start)
	cr.passed(settled)
	return nil
}

// restLimit bounds the wait for sessions to be through with what they have sent.
const restLimit = drainLimit

// rested waits until the server has answered everybody, and so is through with what the
// sessions have sent before. It reports false if one of them is lost, or that takes too
// long.
func (cr *crowd) rested(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	all := cr.alive()
	answers := make(chan error, len(all))
	for _, m := range all {
		if err := m.Ping(m.Domain, func(_ time.Time, err error) { answers <- err }); err != nil {
			return false
		}
	}
	for range all {
		select {
		case err := <-answers:
			if err != nil {
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// alive returns those that are online.
func (cr *crowd) alive() []*member {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	all := make([]*member, 0, len(cr.members))
	for _, m := range cr.members {
		if m != nil {
			all = append(all, m)
		}
	}
	return all
}

// close logs everybody out.
func (cr *crowd) close(ctx context.Context) {
	var all []*client
	for _, m := range cr.alive() {
		all = append(all, m.client)
	}
	cr.logout(context.WithoutCancel(ctx), all)
}

// take says what a member does with a stanza that nobody expects.
func (m *member) take(head *wire.Stanza) (h wire.Handler, taken bool) {
	switch string(head.Name()) {
	case "message":
		if head.Type() == "error" {
			return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: m.bounced}, true
		}
		return m.message, true
	case "presence":
		return m.presence, true
	}
	return wire.Handler{}, false
}

func (m *member) tookMessage(st *wire.Stanza) error {
	if t := m.crowd.traffic.Load(); t != nil {
		t.messageArrived(m, st)
	}
	return nil
}

func (m *member) tookPresence(st *wire.Stanza) error {
	m.crowd.presences.Add(1)
	if t := m.crowd.traffic.Load(); t != nil {
		t.presenceArrived(m, st)
	} else {
		m.crowd.lastPresence.Store(int64(st.End.Sub(m.crowd.epoch)))
	}
	return nil
}

func (m *member) bounced(st *wire.Stanza) error {
	t := m.crowd.traffic.Load()
	if t == nil {
		return nil
	}
	el, err := st.Element()
	if err != nil {
		return err
	}
	t.bounced(m, st, wire.ParseStanzaError(el))
	return nil
}

// shuffled returns the numbers below n in an order that the seed decides.
func shuffled(seed uint64, n int) []int {
	return rand.New(rand.NewPCG(seed, 0x73746561)).Perm(n) // #nosec G404 -- seeded on purpose
}
