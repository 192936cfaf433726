package roster

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// simStream is one end of a stream without sockets and goroutines: stanzas wait
// in a queue until deliver takes the first one. Nothing happens by itself, so
// that a test decides about every interleaving.
type simStream struct {
	prefix  string
	ids     int
	queue   []simStanza
	expects map[string]wire.Handler
	handle  func(head *wire.Stanza) wire.Handler
	peer    *simStream
	aborted *wire.StreamError
	full    bool         // the queue takes nothing any more
	err     error        // the first that a handler returned
	sent    func([]byte) // sees every stanza as it is delivered

	framer  wire.Framer
	opened  bool
	handler wire.Handler
	st      wire.Stanza
}

type simStanza struct {
	b       []byte
	next    func(dst []byte) ([]byte, bool)
	written func()
}

// newSim returns both ends of a stream.
func newSim() (client, server *simStream) {
	client = &simStream{prefix: "q", expects: map[string]wire.Handler{}, framer: wire.NewFramer(wire.Limits{})}
	server = &simStream{prefix: "k", expects: map[string]wire.Handler{}, framer: wire.NewFramer(wire.Limits{}), peer: client}
	client.peer = server
	return client, server
}

func (s *simStream) NextID() string {
	s.ids++
	return fmt.Sprint(s.prefix, s.ids)
}

func (s *simStream) Post(b []byte, written func()) error {
	if s.full {
		return wire.ErrQueueFull
	}
	s.queue = append(s.queue, simStanza{b: b, written: written})
	return nil
}

func (s *simStream) PostPieces(next func(dst []byte) ([]byte, bool), written func()) error {
	s.queue = append(s.queue, simStanza{next: next, written: written})
	return nil
}

func (s *simStream) Expect(id string, h wire.Handler) (cancel func()) {
	s.expects[id] = h
	return func() { delete(s.expects, id) }
}

func (s *simStream) Abort(e wire.StreamError) { s.aborted = &e }

// write takes the first stanza out of the queue, as if it had gone into the
// socket.
func (s *simStream) write() []byte {
	q := s.queue[0]
	s.queue = s.queue[1:]
	for more := q.next != nil; more; {
		q.b, more = q.next(q.b)
	}
	if q.written != nil {
		q.written()
	}
	if s.sent != nil {
		s.sent(q.b)
	}
	return q.b
}

// deliver moves the first stanza of the queue to the peer.
func (s *simStream) deliver() { s.peer.receive(s.write()) }

// receive does what a stream does with what it reads.
func (s *simStream) receive(b []byte) {
	if !s.opened {
		s.framer.Opened()
		s.opened = true
	}
	if _, err := s.framer.Feed(b, (*simEvents)(s)); err != nil && s.err == nil {
		s.err = err
	}
}

// simEvents hands the stanzas of a framer to their handlers.
type simEvents simStream

func (s *simEvents) Open([]byte) (bool, error) { return false, fmt.Errorf("a stream header") }
func (s *simEvents) Close() error              { return fmt.Errorf("the end of the stream") }

func (s *simEvents) Start(tag []byte) (wire.Watch, error) {
	s.st = wire.Stanza{Tag: bytes.Clone(tag), Start: time.Unix(1, 0)}
	s.handler = wire.Handler{}
	typ := s.st.Type()
	if h, ok := s.expects[s.st.ID()]; ok && (typ == "result" || typ == "error") {
		delete(s.expects, s.st.ID())
		s.handler = h
		if typ == "error" {
			s.handler = wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: h.Done}
		}
	} else if s.handle != nil {
		s.handler = s.handle(&s.st)
	}
	return s.handler.Watch, nil
}

func (s *simEvents) Child(tag []byte) { s.st.Child = bytes.Clone(tag) }

func (s *simEvents) Element(b []byte) error {
	if s.handler.Element == nil {
		return nil
	}
	return s.handler.Element(b, time.Unix(2, 0))
}

func (s *simEvents) End(frame []byte, elements int, size int64) (bool, error) {
	s.st.Frame, s.st.Elements, s.st.Size, s.st.End = frame, elements, size, time.Unix(3, 0)
	if elements > 0 {
		s.st.First = time.Unix(2, 0)
	}
	if s.handler.Done == nil {
		return false, nil
	}
	return false, s.handler.Done(&s.st)
}

// account is a roster with its sessions, as a server keeps them.
type account struct {
	store    *MemStore
	view     Store // what the sessions see of it, if not the store itself
	lock     sync.Mutex
	settings Settings
	sessions []*Server
}

const (
	accountJID = "u@a.example"
	fullJID    = "u@a.example/x"
)

// session binds a session to the server end of a stream.
func (a *account) session(stream Stream) *Server {
	var store Store = a.store
	if a.view != nil {
		store = a.view
	}
	s := NewServer(SessionConfig{
		Settings: a.settings, Stream: stream, Account: accountJID, Full: fullJID, Store: store, Lock: &a.lock,
	})
	a.sessions = append(a.sessions, s)
	return s
}

// serve returns the stream handler of a session.
func (a *account) serve(s *Server, stream Stream) func(head *wire.Stanza) wire.Handler {
	return func(head *wire.Stanza) wire.Handler {
		typ := head.Type()
		if string(head.Name()) != "iq" || typ != "get" && typ != "set" {
			return wire.Handler{}
		}
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
			q, err := parse(st)
			if err != nil {
				return err
			}
			a.lock.Lock()
			defer a.lock.Unlock()
			handled, err := s.ServeIQ(q)
			if handled || err != nil {
				return err
			}
			return stream.Post(wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"}), nil)
		}}
	}
}

// put changes an item and tells the sessions.
func (a *account) put(t testing.TB, it Item) {
	t.Helper()
	a.lock.Lock()
	defer a.lock.Unlock()
	e, err := a.store.Put(it)
	if err == nil {
		err = a.changed(e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// remove removes an item, if it is there, and tells the sessions.
func (a *account) remove(t testing.TB, jid string) {
	t.Helper()
	a.lock.Lock()
	defer a.lock.Unlock()
	if e, ok := a.store.Remove(jid); ok {
		if err := a.changed(e); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *account) changed(e Entry) error {
	for _, s := range a.sessions {
		if err := s.Changed(e); err != nil {
			return err
		}
	}
	return nil
}

// connect makes a client and a session of a over a simulated stream.
func (a *account) connect() (*Client, *Server, *simStream) {
	client, server := newSim()
	s := a.session(server)
	server.handle = a.serve(s, server)
	c := newClient(client, accountJID, nil)
	client.handle = c.Handle
	return c, s, client
}

// settle delivers stanzas until none is left: all of the client's, then one of
// the server's.
func settle(client *simStream) {
	for {
		switch {
		case len(client.queue) > 0:
			client.deliver()
		case len(client.peer.queue) > 0:
			client.peer.deliver()
		default:
			return
		}
	}
}
