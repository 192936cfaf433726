package simulator

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// A session is one bound resource. With stream management it outlives its
// connection. It is what the roster's server halves take for the stream.
type session struct {
	account  *account
	sim      *Simulator
	resource string

	// Guarded by the account's lock.
	presence []byte              // as broadcast, without 'to'; nil: not available
	priority int8                // of that presence
	directed map[string]struct{} // where directed presence went (RFC 6121 §4.6)
	roster   *roster.Server      // made when the client first asks
	inactive bool                // XEP-0352
	held     map[string][]byte   // presence held back while inactive, by sender
	tasks    []announcement      // waiting to be told to contacts
	telling  bool                // a goroutine works on tasks

	handling sync.Mutex // held while a stanza of the client is acted on

	mu     sync.Mutex
	conn   *connection // nil while waiting for resumption
	ended  bool
	sm     *management // nil without stream management
	ids    uint64
	expect map[string]wire.Handler
	gone   chan struct{} // made when somebody waits for the session's end
}

// newSession adds a session to an account, which is locked.
func newSession(sim *Simulator, a *account, resource string, c *connection) *session {
	x := &session{account: a, sim: sim, resource: resource, conn: c}
	a.sessions = append(a.sessions, x)
	return x
}

// full returns the session's full JID.
func (x *session) full() string { return x.account.jid + "/" + x.resource }

// attached reports whether the session has a connection.
func (x *session) attached() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn != nil
}

// on reports whether c is the session's connection.
func (x *session) on(c *connection) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn == c
}

// available reports whether the session sent initial presence. The account is locked.
func (x *session) available() bool { return x.presence != nil }

// run serves the session over a connection until that ends.
func (x *session) run(c *connection) {
	c.stream.Handle(func(*wire.Stanza) wire.Handler {
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: c.stanza}
	})
	// Without a context to watch, which costs every session half a KiB: whoever
	// closes the simulator closes the connections.
	err := c.stream.Serve(context.WithoutCancel(x.sim.ctx))

	var syntax *wire.SyntaxError
	if errors.As(err, &syntax) {
		x.sim.figures.add("stream-errors."+syntax.Condition, 1)
	}
	x.mu.Lock()
	switch {
	case x.conn != c: // resumed elsewhere, or replaced
		x.mu.Unlock()
		return
	case x.sm != nil && x.sm.resumable && !x.sm.lost && lostConnection(err) && x.wait():
		x.conn = nil
		x.mu.Unlock()
		return
	}
	x.mu.Unlock()
	x.end()
}

// lostConnection reports whether a stream ended in a way that its client did not
// want, so that it may come back.
func lostConnection(err error) bool {
	var bye *wire.StreamError
	var syntax *wire.SyntaxError
	switch {
	case err == nil, errors.As(err, &syntax):
		return false
	case errors.As(err, &bye):
		return bye.Condition == "connection-timeout"
	}
	return true
}

// stanza acts on one top-level element of a session's stream. It does so on a
// goroutine of its own, which is gone afterwards: acting takes a deep stack, and
// a stack that has grown stays with a goroutine that waits for its client.
func (c *connection) stanza(st *wire.Stanza) error {
	acted := make(chan error, 1)
	go func() { acted <- c.act(st) }()
	return <-acted
}

func (c *connection) act(st *wire.Stanza) error {
	x := c.session
	x.handling.Lock()
	defer x.handling.Unlock()
	if !x.on(c) {
		return wire.ErrClosed
	}
	el, err := st.Element()
	if err != nil {
		var syntax *wire.SyntaxError
		if errors.As(err, &syntax) {
			return c.leave(syntax.Condition, syntax.Msg)
		}
		return err
	}
	switch el.Space {
	case wire.NSClient:
		switch el.Name {
		case "iq", "message", "presence":
			if !x.stamp(el) {
				return c.leave("invalid-from", "'from' is not this session's")
			}
			if err := x.route(el, st); err != nil {
				return err
			}
			x.handled()
			return nil
		}
	case wire.NSSM:
		return x.manage(c, el)
	case wire.NSCSI:
		switch el.Name {
		case "active", "inactive":
			x.indicate(el.Name == "inactive")
			return nil
		}
	case wire.NSServer:
		return c.leave(wire.InvalidNamespace, "")
	}
	return c.leave("unsupported-stanza-type", "<"+el.Name+"/> is not known here")
}

// leave returns the error by which the stream tells its peer and ends.
func (c *connection) leave(condition, text string) error {
	c.sim.figures.add("stream-errors."+condition, 1)
	return &wire.StreamError{Condition: condition, Text: text}
}

// stamp makes sure that a stanza says who sent it (RFC 6120 §8.1.2.1). It reports
// false if the stanza claims to be from somebody else.
func (x *session) stamp(el *wire.Element) bool {
	from, present := el.LookupAttr("", "from")
	if present {
		a, ok := parseAddress(from)
		if !ok || a.bare() != x.account.jid || (a.resource != "" && a.resource != x.resource) {
			return false
		}
	}
	setAttr(el, "from", x.full())
	return true
}

// setAttr sets an attribute of a parsed element.
func setAttr(el *wire.Element, name, value string) {
	for i := range el.Attrs {
		if el.Attrs[i].Space == "" && el.Attrs[i].Name == name {
			el.Attrs[i].Value = value
			return
		}
	}
	el.Attrs = append(el.Attrs, wire.Attribute{Name: name, Value: value})
}

// route sends a stanza on its way. Its 'from' is stamped.
func (x *session) route(el *wire.Element, st *wire.Stanza) error {
	var to address
	if raw, present := el.LookupAttr("", "to"); present {
		var ok bool
		if to, ok = parseAddress(raw); !ok {
			x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "jid-malformed"})
			return nil
		}
	}
	switch el.Name {
	case "iq":
		return x.routeIQ(el, to, st)
	case "message":
		x.routeMessage(el, to)
	default:
		x.routePresence(el, to)
	}
	return nil
}

// bounce answers a stanza of this session with an error, unless it is an answer or
// an error itself (RFC 6120 §8.3.1).
func (x *session) bounce(el *wire.Element, e *wire.StanzaError) {
	switch el.Attr("type") {
	case "error", "result":
		return
	}
	x.send(appendBounce(nil, el, x.full(), e))
}

// appendBounce appends the error answer to el for the one who sent it.
func appendBounce(dst []byte, el *wire.Element, sender string, e *wire.StanzaError) []byte {
	dst = append(append(dst, '<'), el.Name...)
	dst = wire.AppendAttr(dst, "type", "error")
	if id, ok := el.LookupAttr("", "id"); ok {
		dst = wire.AppendAttr(dst, "id", id)
	}
	if to := el.Attr("to"); to != "" {
		dst = wire.AppendAttr(dst, "from", to)
	}
	dst = wire.AppendAttr(dst, "to", sender)
	dst = append(dst, '>')
	dst = wire.AppendError(dst, e)
	return append(append(append(dst, "</"...), el.Name...), '>')
}

// NextID implements roster.Stream.
func (x *session) NextID() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ids++
	return "s" + strconv.FormatUint(x.ids, 36)
}

// Expect implements roster.Stream. What is expected survives a resumption.
func (x *session) Expect(id string, h wire.Handler) (cancel func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.expect == nil {
		x.expect = map[string]wire.Handler{}
	}
	x.expect[id] = h
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.expect, id)
	}
}

// expected takes the handler of an answer, if one waits for it.
func (x *session) expected(id string) (h wire.Handler, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h, ok = x.expect[id]
	if ok {
		delete(x.expect, id)
	}
	return h, ok
}

// send posts stanzas. A session that cannot take them ends by itself.
func (x *session) send(b []byte) {
	_ = x.Post(b, nil) // the session has been told
}

// Post implements roster.Stream: it queues b, which the session owns from then on.
func (x *session) Post(b []byte, written func()) error {
	return x.post(&unacked{b: b, written: written})
}

// PostPieces implements roster.Stream.
func (x *session) PostPieces(next func(dst []byte) (b []byte, more bool), written func()) error {
	return x.post(&unacked{next: next, written: written})
}

func (x *session) post(u *unacked) error {
	x.mu.Lock()
	if x.ended {
		x.mu.Unlock()
		return wire.ErrClosed
	}
	if x.sm == nil {
		c := x.conn
		var err error
		if u.next != nil {
			err = c.stream.PostPieces(u.next, u.written)
		} else {
			err = c.stream.Post(u.b, u.written)
		}
		x.mu.Unlock()
		c.overflow(err)
		return err
	}
	x.sm.keep(u)
	if x.conn == nil {
		x.mu.Unlock()
		return nil
	}
	c := x.conn
	err := x.transmit(u)
	x.mu.Unlock()
	c.overflow(err)
	return err
}

// Abort implements roster.Stream: it ends the connection the session has.
func (x *session) Abort(e wire.StreamError) {
	x.mu.Lock()
	c := x.conn
	x.mu.Unlock()
	if c != nil {
		c.abort(e)
	}
}

// overflow ends a connection whose peer reads too slowly.
func (c *connection) overflow(err error) {
	if errors.Is(err, wire.ErrQueueFull) {
		c.abort(wire.StreamError{Condition: wire.PolicyViolation, Text: "too much waits to be read by this client"})
	}
}

// replace ends a session because another one takes its resource.
func (x *session) replace() {
	x.mu.Lock()
	c := x.conn
	x.mu.Unlock()
	if c != nil {
		c.abort(wire.StreamError{Condition: "conflict", Text: "replaced by another session of the same resource"})
	}
	x.end()
}

// end takes the session off its account, tells contacts, and saves what was not
// acknowledged. It does nothing the second time.
func (x *session) end() {
	x.mu.Lock()
	if x.ended {
		x.mu.Unlock()
		return
	}
	x.ended = true
	x.conn = nil
	sm, waiting := x.sm, x.expect
	x.expect = nil
	if x.gone != nil {
		close(x.gone)
	}
	x.mu.Unlock()

	for _, h := range waiting {
		if h.Fail != nil {
			h.Fail(wire.ErrClosed)
		}
	}
	x.sim.peek(x.account.jid, func(a *account) {
		if x.roster != nil {
			x.roster.Close()
		}
		a.sessions = slices.DeleteFunc(a.sessions, func(other *session) bool { return other == x })
	})
	if sm != nil {
		x.sim.abandon(x, sm)
	}
	// The account may be forgotten by now; who is to be told does not depend on that.
	x.account.mu.Lock()
	defer x.account.mu.Unlock()
	x.withdraw(nil)
}
