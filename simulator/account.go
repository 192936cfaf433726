package simulator

import (
	"maps"
	"slices"
	"sync"

	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// An account is what the simulator keeps about a user beyond the population. It
// exists while somebody is logged in and for as long as something differs
// from what the population says.
type account struct {
	jid    string
	member member

	mu   sync.Mutex
	gone bool // removed from the directory: look it up again

	store     *roster.MemStore
	untouched uint64            // version of the store as the population has it
	sessions  []*session        // bound, waiting for resumption included
	requests  map[string][]byte // pending in: requester -> stanza (RFC 6121 §3.1.3)
	offline   [][]byte          // messages, each with its delay stamp
}

// directory holds the accounts in use.
type directory struct {
	mu       sync.RWMutex
	accounts map[string]*account
}

// existing returns the account if it is in use. It may be gone by the time it is locked.
func (d *directory) existing(bare string) *account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.accounts[bare]
}

// use runs f on an account with its lock held, and makes the account's state if it
// has none. It reports false if there is no such account.
func (s *Simulator) use(bare string, f func(*account)) bool {
	d := &s.directory
	for {
		a := d.existing(bare)
		if a == nil {
			m := s.member(bare)
			if !m.exists() {
				return false
			}
			d.mu.Lock()
			if a = d.accounts[bare]; a == nil {
				store := roster.NewMemStore(s.epoch, roster.PopulationBase(m.population, m.index))
				a = &account{jid: bare, member: m, store: store, untouched: store.Version()}
				d.accounts[bare] = a
			}
			d.mu.Unlock()
		}
		a.mu.Lock()
		if !a.gone {
			f(a)
			s.forget(a)
			a.mu.Unlock()
			return true
		}
		a.mu.Unlock()
	}
}

// peek runs f on an account with its lock held, only if it is in use.
func (s *Simulator) peek(bare string, f func(*account)) bool {
	a := s.directory.existing(bare)
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	f(a)
	s.forget(a)
	return true
}

// forget drops an account that has become what the population says again. The
// account is locked.
func (s *Simulator) forget(a *account) {
	if len(a.sessions)+len(a.requests)+len(a.offline) > 0 || a.store.Version() != a.untouched || a.store.Horizon() > 0 {
		return
	}
	d := &s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	a.gone = true
	delete(d.accounts, a.jid)
}

// knows reports whether anything is known of a bare JID: an account or a contact.
func (s *Simulator) knows(bare string) bool { return s.member(bare).population != nil }

// session returns the session with a resource, or nil. The account is locked.
func (a *account) session(resource string) *session {
	for _, x := range a.sessions {
		if x.resource == resource {
			return x
		}
	}
	return nil
}

// held returns the number of accounts in use, and of their sessions.
func (d *directory) held() (accounts, sessions int64) {
	d.mu.RLock()
	list := slices.Collect(maps.Values(d.accounts))
	d.mu.RUnlock()
	for _, a := range list {
		a.mu.Lock()
		if !a.gone {
			accounts++
			sessions += int64(len(a.sessions))
		}
		a.mu.Unlock()
	}
	return accounts, sessions
}
