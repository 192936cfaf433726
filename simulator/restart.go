package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Keep says what of a provider's state outlives a restart.
type Keep string

// What outlives a restart.
const (
	// KeepRosters keeps rosters with their versions and messages stored for users who are
	// offline, and no session: what servers do that have a database. It is the default.
	KeepRosters Keep = "rosters"
	// KeepNothing brings everything back to what the populations say, as a server whose
	// data is lost; the numbering of roster versions begins anew.
	KeepNothing Keep = "nothing"
	// KeepSessions keeps sessions that can be resumed as well, and does not say goodbye to
	// anybody: what a server does that is killed and writes its sessions down.
	KeepSessions Keep = "sessions"
)

// Restart says how the provider goes down and comes back.
type Restart struct {
	// Down is the time from the closing of the listeners until they are open again, at
	// least: without KeepSessions, clients are waited for that are slow to say goodbye.
	Down time.Duration `json:"down"`
	// Keep is KeepRosters if empty.
	Keep Keep `json:"keep,omitempty"`
}

// restart closes the listeners and all connections, forgets what is not to be kept, and
// opens the listeners again at the same addresses. It blocks until then.
func (s *Simulator) restart(ctx context.Context, r Restart) (Dropped, error) {
	var err error
	choose(&r.Keep, func(format string, args ...any) { err = fmt.Errorf(format, args...) }, "keep", KeepRosters, KeepNothing, KeepSessions)
	if err != nil {
		return Dropped{}, err
	}
	if r.Down < 0 {
		return Dropped{}, fmt.Errorf("%v: the time cannot be negative", r.Down)
	}
	if !s.restarting.TryLock() {
		return Dropped{}, errors.New("a restart is under way already")
	}
	defer s.restarting.Unlock()

	up := time.NewTimer(r.Down)
	defer up.Stop()
	s.mu.Lock()
	s.down = true
	listeners := s.listeners
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, ln := range listeners {
		_ = ln.Close() // it is going away
	}
	s.hangUp(conns, r.Keep == KeepSessions)
	if r.Keep != KeepSessions {
		s.forgetSessions()
	}
	if r.Keep == KeepNothing {
		s.forgetAccounts()
	}
	select {
	case <-up.C:
	case <-ctx.Done():
		err = ctx.Err() // it comes up all the same
	case <-s.ctx.Done():
		return Dropped{}, errors.New("the simulator is closed")
	}
	return Dropped{len(conns)}, errors.Join(err, s.reopen(ctx))
}

// hangUp ends connections: at once, or with a goodbye that they have a while to take.
func (s *Simulator) hangUp(conns []*connection, abruptly bool) {
	if !abruptly {
		for _, c := range conns {
			c.abort(wire.StreamError{Condition: "system-shutdown"})
		}
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	for _, c := range conns {
		if abruptly {
			_ = c.raw.Close() // most often it is open
		}
		select {
		case <-c.done:
		case <-grace.C:
			grace.Reset(0)
			_ = c.raw.Close() // it did not take its goodbye
			<-c.done
		}
	}
}

// forgetSessions ends the sessions that wait for their clients, and forgets those that
// have ended.
func (s *Simulator) forgetSessions() {
	s.mu.Lock()
	waiting := slices.Collect(maps.Values(s.resuming))
	s.mu.Unlock()
	for _, x := range waiting {
		x.end()
	}
	s.mu.Lock()
	clear(s.ended)
	s.mu.Unlock()
}

// forgetAccounts brings all accounts back to what the populations say. Nobody is logged
// in then.
func (s *Simulator) forgetAccounts() {
	d := &s.directory
	d.mu.RLock()
	accounts := slices.Collect(maps.Values(d.accounts))
	d.mu.RUnlock()
	for _, a := range accounts {
		a.mu.Lock()
		a.gone = true
		a.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts = map[string]*account{}
	s.epoch = newEpoch()
}

// reopen listens again where it did before.
func (s *Simulator) reopen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errors.New("the simulator is closed")
	}
	open := make([]net.Listener, 0, len(s.listeners))
	for _, ln := range s.listeners {
		again, err := s.listen(context.WithoutCancel(ctx), ln.Addr().String())
		if err != nil {
			for _, ln := range open {
				err = errors.Join(err, ln.Close())
			}
			return fmt.Errorf("coming back: %w", err)
		}
		open = append(open, again)
	}
	s.listeners, s.down = open, false
	for i, ln := range open {
		s.wg.Go(func() { s.accept(ln, s.config.Listeners[i]) })
	}
	return nil
}

// listen opens one listener.
func (s *Simulator) listen(ctx context.Context, address string) (net.Listener, error) {
	// Options are tried on the listeners, where failing tells in time that it will not work.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if s.config.NotSentLowat == 0 {
			return nil
		}
		return setNotSentLowat(raw, s.config.NotSentLowat)
	}}
	return lc.Listen(ctx, "tcp", address)
}
