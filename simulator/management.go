package simulator

import (
	"bytes"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// management is the XEP-0198 state of a session, guarded by the session's lock.
type management struct {
	id        string
	resumable bool
	timeout   time.Duration
	timer     *time.Timer // runs while the session waits for its client

	received uint32 // stanzas handled, modulo 2^32
	acked    uint32 // stanzas the client said it has handled
	sent     uint32
	queue    []*unacked // sent - acked of them, fewer if lost
	bytes    int
	lost     bool // the queue went over its bound: nothing can be resumed
	asked    bool // an <r/> is on its way
	taken    bool // a connection is resuming the session

	stanzas, limit int // bounds of queue
}

// An unacked is a stanza, sent or about to be.
type unacked struct {
	b       []byte // as far as it is known
	written func() // to call once

	// A stanza that is made while it is written is recorded as it goes. next is
	// nil when it is complete.
	next func(dst []byte) ([]byte, bool)
	over bool       // longer than the queue may be: not recorded to its end
	turn int        // of the connections that it was handed to
	run  sync.Mutex // held while a part is made
}

// keep queues a stanza until it is acknowledged.
func (m *management) keep(u *unacked) {
	m.sent++
	if m.lost {
		return
	}
	m.queue = append(m.queue, u)
	m.bytes += len(u.b)
	m.lost = len(m.queue) > m.stanzas || m.bytes > m.limit
}

// ack drops what the client has. It reports false for a count of stanzas that were
// never sent.
func (m *management) ack(h uint32) bool {
	n := h - m.acked
	if n > m.sent-m.acked {
		return false
	}
	m.acked = h
	n = min(n, uint32(len(m.queue))) // #nosec G115 -- the queue is bounded far below
	for _, u := range m.queue[:n] {
		m.bytes -= len(u.b)
	}
	clear(m.queue[:n])
	m.queue = m.queue[n:]
	return true
}

// tooHigh is the end of a stream whose client acknowledged what was never sent
// (XEP-0198 §4).
func (m *management) tooHigh(h uint32) wire.StreamError {
	app := wire.AppendAttr([]byte("<handled-count-too-high xmlns='"+wire.NSSM+"'"), "h", strconv.FormatUint(uint64(h), 10))
	app = wire.AppendAttr(app, "send-count", strconv.FormatUint(uint64(m.sent), 10))
	return wire.StreamError{Condition: "undefined-condition", Text: "more stanzas were acknowledged than sent", App: string(append(app, "/>"...))}
}

// handled counts a stanza of the client.
func (x *session) handled() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sm != nil {
		x.sm.received++
	}
}

// transmit hands a kept stanza to the connection, with a request to acknowledge
// if none is on its way. The session is locked.
func (x *session) transmit(u *unacked) error {
	stream := x.conn.stream
	written := func() {
		x.mu.Lock()
		f := u.written
		u.written = nil
		x.mu.Unlock()
		if f != nil {
			f()
		}
	}
	var err error
	if u.next == nil {
		if u.written == nil {
			written = nil
		}
		// The stream may keep what it is given, the queue keeps it too: neither writes to it.
		err = stream.Post(u.b, written)
	} else {
		err = stream.PostPieces(x.record(u), written)
	}
	if err == nil && !x.sm.asked {
		x.sm.asked = true
		err = stream.Post([]byte("<r xmlns='"+wire.NSSM+"'/>"), nil)
	}
	return err
}

// record returns a source of pieces that remembers them: after a resumption they
// are sent again, and the rest is made then. The session is locked.
func (x *session) record(u *unacked) func(dst []byte) ([]byte, bool) {
	const piece = 4096
	at := 0
	u.turn++
	turn := u.turn
	return func(dst []byte) ([]byte, bool) {
		u.run.Lock()
		defer u.run.Unlock()
		x.mu.Lock()
		if u.turn != turn { // another connection goes on with it
			x.mu.Unlock()
			return dst, false
		}
		if again := u.b[min(at, len(u.b)):]; len(again) > 0 {
			n := min(piece, len(again))
			at += n
			dst = append(dst, again[:n]...)
			more := at < len(u.b) || u.next != nil
			x.mu.Unlock()
			return dst, more
		}
		next := u.next
		x.mu.Unlock()
		if next == nil {
			return dst, false
		}
		was := len(dst)
		dst, more := next(dst) // takes the account's lock: ours must be free
		x.mu.Lock()
		defer x.mu.Unlock()
		if !u.over {
			u.b = append(u.b, dst[was:]...)
			x.sm.bytes += len(dst) - was
			at = len(u.b)
			if x.sm.bytes > x.sm.limit {
				u.over, x.sm.lost = true, true
			}
		}
		if !more {
			u.next = nil
		}
		return dst, more
	}
}

// manage acts on an element of stream management.
func (x *session) manage(c *connection, el *wire.Element) error {
	if x.sim.config.Resumption.Off {
		return c.leave("unsupported-stanza-type", "stream management is not on offer")
	}
	switch el.Name {
	case "enable":
		return x.enable(c, el)
	case "resume":
		return x.raw(c, appendFailed(nil, "unexpected-request", nil))
	case "r", "a":
	default:
		return c.leave("unsupported-stanza-type", "<"+el.Name+"/> is not known here")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.sm
	switch {
	case m == nil:
		return c.leave("unsupported-stanza-type", "stream management is not enabled")
	case el.Name == "r":
		b := append([]byte("<a xmlns='"+wire.NSSM+"' h='"), strconv.FormatUint(uint64(m.received), 10)...)
		return c.stream.Post(append(b, "'/>"...), nil)
	}
	h, err := strconv.ParseUint(el.Attr("h"), 10, 32)
	if err != nil {
		return c.leave(wire.BadFormat, "<a/> needs a number in 'h'")
	}
	if !m.ack(uint32(h)) {
		e := m.tooHigh(uint32(h))
		c.sim.figures.add("stream-errors."+e.Condition, 1)
		return &e
	}
	m.asked = m.acked != m.sent
	if m.asked {
		return c.stream.Post([]byte("<r xmlns='"+wire.NSSM+"'/>"), nil)
	}
	return nil
}

// raw posts what is no stanza.
func (x *session) raw(c *connection, b []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return c.stream.Post(b, nil)
}

// enable begins stream management (XEP-0198 §3).
func (x *session) enable(c *connection, el *wire.Element) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sm != nil {
		return c.leave("undefined-condition", "stream management is enabled already")
	}
	limits := x.sim.config.Resumption
	m := &management{timeout: limits.Timeout, stanzas: limits.QueueStanzas, limit: limits.QueueBytes}
	b := []byte("<enabled xmlns='" + wire.NSSM + "'")
	if r := el.Attr("resume"); r == "true" || r == "1" {
		m.resumable = true
		m.id = rand.Text()
		if s, err := strconv.ParseUint(el.Attr("max"), 10, 31); err == nil {
			m.timeout = min(m.timeout, time.Duration(s)*time.Second)
		}
		b = wire.AppendAttr(b, "id", m.id)
		b = append(b, " resume='true'"...)
		b = wire.AppendAttr(b, "max", strconv.Itoa(int(m.timeout/time.Second)))
		x.sim.mu.Lock()
		x.sim.resuming[m.id] = x
		x.sim.mu.Unlock()
	}
	x.sm = m
	x.sim.figures.add("sm.enabled", 1)
	return c.stream.Post(append(b, "/>"...), nil)
}

// appendFailed appends the refusal of a request (XEP-0198 §6). h is the count of a
// session that is gone, if it is known.
func appendFailed(dst []byte, condition string, h *uint32) []byte {
	dst = append(dst, "<failed xmlns='"+wire.NSSM+"'"...)
	if h != nil {
		dst = wire.AppendAttr(dst, "h", strconv.FormatUint(uint64(*h), 10))
	}
	dst = append(append(dst, "><"...), condition...)
	return append(dst, " xmlns='"+wire.NSStanzas+"'/></failed>"...)
}

// wait lets the session wait for its client to come back, and reports whether it
// may. The session is locked.
func (x *session) wait() bool {
	s := x.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || x.ended {
		return false
	}
	x.sm.timer = time.AfterFunc(x.sm.timeout, x.expire)
	return true
}

// expire ends a session that nobody came back for.
func (x *session) expire() {
	s := x.sim
	s.mu.Lock()
	if s.closing { // Close ends it
		s.mu.Unlock()
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	x.mu.Lock()
	late := x.conn != nil || x.sm.taken || x.ended
	x.mu.Unlock()
	if late {
		return
	}
	s.figures.add("sm.expired", 1)
	x.end()
}

// resume takes a former session over (XEP-0198 §5).
func (c *connection) resume(el *wire.Element) error {
	s := c.sim
	id := el.Attr("previd")
	h, err := strconv.ParseUint(el.Attr("h"), 10, 32)
	if err != nil || id == "" {
		s.figures.add("sm.failed", 1)
		return c.stream.Send(appendFailed(nil, "bad-request", nil))
	}
	s.mu.Lock()
	x := s.resuming[id]
	s.mu.Unlock()
	if x == nil || x.account.jid != c.user || !x.take() {
		s.figures.add("sm.failed", 1)
		var count *uint32
		if n, ok := s.former(id, c.user); ok {
			count = &n
		}
		return c.stream.Send(appendFailed(nil, "item-not-found", count))
	}
	c.session = x
	return x.adopt(c, uint32(h))
}

// take reserves the session for one connection that resumes it, and ends the
// connection it still has. It reports false if the session cannot be resumed.
func (x *session) take() bool {
	x.mu.Lock()
	if x.ended || x.sm.taken || x.sm.lost {
		x.mu.Unlock()
		return false
	}
	x.sm.taken = true
	old := x.conn
	x.conn = nil
	if x.sm.timer != nil {
		x.sm.timer.Stop()
	}
	x.mu.Unlock()
	if old == nil {
		return true
	}
	old.abort(wire.StreamError{Condition: "conflict", Text: "resumed on another connection"})
	// What is being handled now still counts as received there.
	x.handling.Lock()
	defer x.handling.Unlock()
	return true
}

// adopt carries the session on over a new connection: it answers, and sends again
// whatever the client does not have.
func (x *session) adopt(c *connection, h uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.sm
	if x.ended {
		return leave("internal-server-error", "the session ended while it was resumed")
	}
	if !m.ack(h) {
		x.conn = c
		return &goodbye{m.tooHigh(h)}
	}
	m.taken = false
	x.conn = c
	b := []byte("<resumed xmlns='" + wire.NSSM + "'")
	b = wire.AppendAttr(b, "previd", m.id)
	b = wire.AppendAttr(b, "h", strconv.FormatUint(uint64(m.received), 10))
	if err := c.stream.Post(append(b, "/>"...), nil); err != nil {
		return err
	}
	x.sim.figures.add("sm.resumed", 1)
	m.asked = false
	for _, u := range m.queue {
		if err := x.transmit(u); err != nil {
			return err
		}
	}
	return nil
}

// maxFormer bounds how many ended sessions are remembered for their count.
const maxFormer = 4096

// formerSession is what stays of a resumable session after its end.
type formerSession struct {
	user     string
	received uint32
}

// former returns how many stanzas an ended session had handled.
func (s *Simulator) former(id, user string) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.ended[id]
	return f.received, ok && f.user == user
}

// abandon gives up a session's stream management: messages that the client may
// not have go the way of messages to a resource that is gone (XEP-0198 §4).
func (s *Simulator) abandon(x *session, m *management) {
	x.mu.Lock()
	queue := m.queue
	m.queue = nil
	if m.timer != nil {
		m.timer.Stop()
	}
	received := m.received
	x.mu.Unlock()
	if m.id != "" {
		s.mu.Lock()
		delete(s.resuming, m.id)
		if len(s.ended) >= maxFormer {
			clear(s.ended)
		}
		s.ended[m.id] = formerSession{x.account.jid, received}
		s.mu.Unlock()
	}
	for _, u := range queue {
		if u.next != nil || !bytes.HasPrefix(u.b, []byte("<message")) {
			continue
		}
		el, err := wire.ParseElement(u.b, wire.NSClient, nil)
		if err != nil {
			continue // made here, and not one stanza
		}
		switch el.Attr("type") {
		case "", "normal", "chat":
			s.deliverBare(stamped(el, x.account.jid), x.account.jid)
		}
	}
}
