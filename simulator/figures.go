package simulator

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Figures are exact totals since the start, by name. Names that are absent are
// zero. The names are these, where NAME stands for a mechanism, a condition or a
// variant as it is spelled on the wire:
//
//	connections, connections.open          accepted so far, open now
//	sessions, sessions.open                resources bound so far, live now (waiting for resumption included)
//	accounts.held                          accounts that something is kept about now
//	handshakes.full, handshakes.resumed    TLS handshakes completed
//	handshakes.failed
//	logins.NAME, logins.failed             by mechanism
//	sm.enabled, sm.resumed, sm.failed      stream management (XEP-0198)
//	sm.expired
//	stanzas.in, stanzas.out                iq, message, presence
//	bytes.in, bytes.out                    above TLS
//	bytes.raw.in, bytes.raw.out            below TLS
//	presence.sent                          to contacts, from clients' broadcasts
//	presence.fanout                        of these, deliveries to resources of contacts
//	presence.delivered                     to clients
//	probes.sent, probes.answered
//	messages.delivered                     to clients
//	messages.absorbed                      taken by contacts that have no account
//	offline.stored, offline.refused, offline.delivered
//	stream-errors.NAME                     sent, by condition
//	roster.NAME                            requests served, by variant
//	roster.pushes                          changes told to sessions
//	chunk.sent, chunk.aborted              of transfers
//	chunk.refused
type Figures map[string]int64

// figures counts concurrently.
type figures struct {
	named sync.Map // string -> *atomic.Int64
}

func (f *figures) add(name string, n int64) {
	v, ok := f.named.Load(name)
	if !ok {
		v, _ = f.named.LoadOrStore(name, new(atomic.Int64))
	}
	v.(*atomic.Int64).Add(n)
}

func (f *figures) snapshot() Figures {
	out := Figures{}
	for name, v := range f.named.Range {
		out[name.(string)] = v.(*atomic.Int64).Load()
	}
	return out
}

// Figures returns the totals so far. It may be called at any time.
func (s *Simulator) Figures() Figures {
	out := s.figures.snapshot()
	out["accounts.held"], out["sessions.open"] = s.directory.held()
	s.mu.Lock()
	defer s.mu.Unlock()
	out["connections.open"] = int64(len(s.conns))
	for c := range s.conns {
		c.addTo(out)
	}
	maps.DeleteFunc(out, func(_ string, n int64) bool { return n == 0 })
	return out
}

// addTo adds what passed over the connection.
func (c *connection) addTo(f Figures) {
	n := c.stream.Counts()
	f["stanzas.in"] += n.StanzasIn
	f["stanzas.out"] += n.StanzasOut
	f["bytes.in"] += n.BytesIn
	f["bytes.out"] += n.BytesOut
	f["bytes.raw.in"] += n.RawIn
	f["bytes.raw.out"] += n.RawOut
}
