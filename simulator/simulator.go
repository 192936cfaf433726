package simulator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/text/secure/precis"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Simulator is a running provider. Its methods may be called concurrently.
type Simulator struct {
	config      Config
	populations []*population.Population
	domains     map[string]bool
	channels    *channels
	credentials *credentials
	mechanisms  []mechanism
	figures     figures
	epoch       string
	offer       atomic.Pointer[offer]

	ctx    context.Context // ends when Close has said goodbye to everybody
	cancel context.CancelFunc
	detach func() bool // from the context of Start
	wg     sync.WaitGroup

	restarting sync.Mutex // held during a restart

	mu        sync.Mutex
	listeners []net.Listener
	down      bool // in a restart
	closing   bool
	conns     map[*connection]struct{}
	resuming  map[string]*session // by XEP-0198 id
	ended     map[string]formerSession

	directory directory
}

// An offer is what the roster protocols have on offer, shared by sessions.
type offer struct {
	settings roster.Settings
	variants []roster.Variant
}

func newOffer(s roster.Settings) *offer { return &offer{s, s.Offered()} }

// newEpoch names the numbering of roster versions of one simulator. It is another
// one for each start: changes made to rosters are gone then, and a client's cache
// of them must not match.
func newEpoch() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Start opens the listeners and serves until Close is called or ctx ends. It
// returns at once. An error says which setting or address is wrong.
func Start(ctx context.Context, c Config) (*Simulator, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Simulator{
		config:   c,
		domains:  map[string]bool{},
		epoch:    newEpoch(),
		conns:    map[*connection]struct{}{},
		resuming: map[string]*session{},
		ended:    map[string]formerSession{},
	}
	s.directory.accounts = map[string]*account{}
	s.offer.Store(newOffer(c.Roster))
	var names []string
	for _, pc := range c.Populations {
		p, err := population.New(pc)
		if err != nil {
			return nil, fmt.Errorf("simulator: %w", err)
		}
		if other := s.member(p.JID(0)); other.population != nil {
			return nil, fmt.Errorf("simulator: populations %d and %d both have %s: give them different patterns, numbers or domains",
				slices.Index(s.populations, other.population)+1, len(s.populations)+1, p.JID(0))
		}
		s.populations = append(s.populations, p)
		for _, d := range pc.Domains {
			if !s.domains[d] {
				s.domains[d] = true
				names = append(names, d)
			}
		}
	}
	if s.channels, err = newChannels(c.TLS, names); err != nil {
		return nil, err
	}
	for _, m := range mechanisms() {
		if len(c.Mechanisms) == 0 || slices.Contains(c.Mechanisms, m.name) {
			s.mechanisms = append(s.mechanisms, m)
		}
	}
	s.credentials = newCredentials(c.Iterations, s.password)

	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, l := range c.Listeners {
		ln, err := s.listen(ctx, l.Address)
		if err != nil {
			for _, open := range s.listeners {
				err = errors.Join(err, open.Close())
			}
			s.cancel()
			return nil, fmt.Errorf("simulator: %w", err)
		}
		s.listeners = append(s.listeners, ln)
	}
	for i, ln := range s.listeners {
		s.wg.Go(func() { s.accept(ln, c.Listeners[i]) })
	}
	if c.IdleTimeout > 0 {
		s.wg.Go(s.sweep)
	}
	context.AfterFunc(s.ctx, s.cut)
	s.detach = context.AfterFunc(ctx, s.cancel)
	return s, nil
}

// Addrs returns the addresses listened on, in the order of the configuration.
func (s *Simulator) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]net.Addr, len(s.listeners))
	for i, ln := range s.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// CA returns the certificate, in PEM, of the authority that signed the
// simulator's own.
func (s *Simulator) CA() []byte { return s.channels.ca.CertificatePEM() }

// Close ends every stream with system-shutdown, waits for clients to take it as
// long as ctx and a bounded time allow, and returns when no goroutine of the
// simulator is left.
func (s *Simulator) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	conns := make([]*connection, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	waiting := slices.Collect(maps.Values(s.resuming))
	listeners := s.listeners
	s.mu.Unlock()
	var errs []error
	for _, ln := range listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("simulator: %w", err))
		}
	}
	for _, c := range conns {
		c.abort(wire.StreamError{Condition: "system-shutdown"})
	}
	for _, x := range waiting {
		if !x.attached() {
			x.end()
		}
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		s.wg.Wait()
	}()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	// Until everybody is gone by themselves, or was waited for long enough.
	for _, c := range conns {
		select {
		case <-c.done:
		case <-grace.C:
			grace.Reset(0)
		case <-ctx.Done():
		}
	}
	s.cancel()
	s.detach()
	<-left
	return errors.Join(errs...)
}

// cut closes all connections when the simulator's time is over.
func (s *Simulator) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.conns {
		_ = c.raw.Close() // most of them are closed already
	}
}

// closeGrace is how long Close waits for clients to take their goodbye.
const closeGrace = 3 * time.Second

func (s *Simulator) accept(ln net.Listener, l Listener) {
	stop := context.AfterFunc(s.ctx, func() { _ = ln.Close() }) // it is going away
	defer stop()
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			if err := limitWriteAhead(c, s.config.NotSentLowat, s.config.SendBuffer); err != nil {
				_ = c.Close() // it is gone already, or no use
				continue
			}
			s.wg.Go(func() { s.serve(c, l.Security) })
		case s.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			// Out of descriptors, most likely: waiting frees some.
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// limitWriteAhead bounds what the kernel takes ahead of the network on a socket.
// Not every kernel hands the options on from the socket that listens.
func limitWriteAhead(c net.Conn, notSentLowat, sendBuffer int) error {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	if sendBuffer > 0 {
		if err := t.SetWriteBuffer(sendBuffer); err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
	}
	if notSentLowat == 0 {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	return setNotSentLowat(raw, notSentLowat)
}

// ServeConn serves one client on a connection made elsewhere, as an in-memory
// one. It returns at once; Close waits for the connection to end.
func (s *Simulator) ServeConn(c net.Conn, security Security) {
	s.wg.Go(func() { s.serve(c, security) })
}

// isDown reports whether the simulator is closing, or down in a restart.
func (s *Simulator) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing || s.down
}

// sweep ends the sessions that were silent for longer than the idle timeout. One
// goroutine does it for all, so that a session needs no timer.
func (s *Simulator) sweep() {
	tick := time.NewTicker(max(s.config.IdleTimeout/4, time.Millisecond))
	defer tick.Stop()
	type seen struct {
		bytes int64
		since time.Time
	}
	last := map[*connection]seen{}
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			live := make([]*connection, 0, len(s.conns))
			for c := range s.conns {
				live = append(live, c)
			}
			s.mu.Unlock()
			next := make(map[*connection]seen, len(live))
			for _, c := range live {
				was, known := last[c]
				if n := c.stream.Counts().BytesIn; !known || n != was.bytes {
					was = seen{n, now}
				}
				next[c] = was
				if now.Sub(was.since) >= s.config.IdleTimeout {
					c.abort(wire.StreamError{Condition: "connection-timeout", Text: "nothing was received for too long"})
				}
			}
			last = next
		}
	}
}

// member is a JID of one of the populations.
type member struct {
	population *population.Population
	index      int
}

// member looks a bare JID up. The population is nil where there is no such member.
func (s *Simulator) member(bare string) member {
	for _, p := range s.populations {
		if i, ok := p.Index(bare); ok {
			return member{p, i}
		}
	}
	return member{}
}

// exists reports whether the member can log in: others are contacts only.
func (m member) exists() bool { return m.population != nil && m.index < m.population.Accounts() }

func (s *Simulator) password(bare string) (string, bool) {
	m := s.member(bare)
	if !m.exists() {
		return "", false
	}
	plain := m.population.Account(m.index).Password
	// Clients prepare what they are given, so both ends must (RFC 8265 §4.2).
	if prepared, err := precis.OpaqueString.String(plain); err == nil {
		return prepared, true
	}
	return plain, true
}
