package online

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// maxUnacked bounds the stanzas that a session keeps to send again.
const maxUnacked = 10_000

// Management is the client's half of stream management (XEP-0198): it counts what was
// sent, keeps what was not acknowledged, and sends that again after a resumption. Its
// methods may be called concurrently.
type Management struct {
	every int

	mu      sync.Mutex
	id, jid string
	handled uint32 // stanzas of the server, when the connection was lost
	out     uint32 // stanzas sent
	acked   uint32
	kept    [][]byte       // from acked on
	lost    bool           // more were sent than can be kept
	again   map[*byte]bool // stanzas counted before that are sent once more, by their first byte
	asked   uint32         // value of out at the last request of its own
	waiting []chan<- time.Time
}

// NewManagement returns one for a new session, or for one that goes on where before was
// interrupted. every is the number of stanzas after which [Management.Due] asks for an
// acknowledgement; 0: never.
func NewManagement(every int, before *Management) *Management {
	if before == nil {
		return &Management{every: every}
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	return &Management{every: every, out: before.out, acked: before.acked, kept: before.kept, lost: before.lost}
}

// Resumption returns what to resume, nil if that is not possible.
func (m *Management) Resumption() *session.Resume {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id == "" {
		return nil
	}
	return &session.Resume{ID: m.id, JID: m.jid, Handled: m.handled}
}

// Begin takes note of a login, which before was to be resumed by; nil if there was none.
// It returns the number of stanzas of the server that were handled before, for
// [Config].Handled.
func (m *Management) Begin(login *session.Session, before *Management) (handled uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jid = login.JID
	if login.SM != nil {
		m.id = login.SM.ID
	}
	if !login.Resumed {
		m.out, m.acked, m.kept, m.lost = 0, 0, nil, false
		return 0
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	m.take(login.SM.Handled)
	return before.handled
}

// Interrupted takes note of what [Client.Handled] was when the connection was lost.
func (m *Management) Interrupted(handled uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handled = handled
}

// take notes that the server has handled the first h stanzas. The lock is held.
func (m *Management) take(h uint32) {
	n := h - m.acked
	if n > m.out-m.acked {
		return // more than were sent: nothing to go by
	}
	m.acked = h
	m.kept = m.kept[min(int(n), len(m.kept)):]
	if len(m.kept) == 0 {
		m.kept = nil
	}
}

// Resend sends what the server has not handled before the connection was lost, if the
// login resumed. It blocks until that is written or the stream ends.
func (m *Management) Resend(stream *wire.Stream, login *session.Session) {
	if !login.Resumed {
		return
	}
	m.mu.Lock()
	again := m.kept
	m.again = make(map[*byte]bool, len(again))
	for _, b := range again {
		m.again[&b[0]] = true
	}
	m.mu.Unlock()
	for _, b := range again {
		if stream.Send(b) != nil {
			break // the end of the stream is told to whoever uses it
		}
	}
	m.mu.Lock()
	m.again = nil
	m.mu.Unlock()
}

// Sent counts what is sent, if it is a stanza. It is made for wire.StreamOptions.Sent.
func (m *Management) Sent(b []byte) {
	if !isStanza(b) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.again[&b[0]] {
		return
	}
	m.out++
	if m.lost || len(m.kept) == maxUnacked {
		m.lost, m.kept = true, nil
		return
	}
	m.kept = append(m.kept, append([]byte(nil), b...))
}

// isStanza reports whether b begins with a stanza (RFC 6120 §8).
func isStanza(b []byte) bool {
	tag := b[min(len(b), bytes.IndexByte(b, '<')+1):]
	return bytes.HasPrefix(tag, []byte("iq")) || bytes.HasPrefix(tag, []byte("message")) || bytes.HasPrefix(tag, []byte("presence"))
}

// Due reports whether it is time to ask for an acknowledgement, and then takes it that
// somebody does.
func (m *Management) Due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.every == 0 || m.out-m.asked < uint32(m.every) { // #nosec G115 -- the option is bounded
		return false
	}
	m.asked = m.out
	return true
}

// Acknowledged takes an acknowledgement. It is made for a handler of the element a.
func (m *Management) Acknowledged(st *wire.Stanza) error {
	h, err := strconv.ParseUint(wire.AttrString(st.Tag, "h"), 10, 32)
	if err != nil {
		return &wire.StreamError{Condition: "bad-format", Text: "h is not a number"}
	}
	m.mu.Lock()
	m.take(uint32(h))
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for _, w := range waiting {
		w <- st.End
	}
	return nil
}

// Unacked counts the stanzas that the server has not acknowledged.
func (m *Management) Unacked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.out - m.acked)
}

// Request asks for an acknowledgement and returns how long it took. It blocks until that
// has come, the stream ends or the context does.
func (m *Management) Request(ctx context.Context, stream *wire.Stream) (time.Duration, error) {
	got := make(chan time.Time, 1)
	m.mu.Lock()
	m.waiting = append(m.waiting, got)
	m.mu.Unlock()
	sent := time.Now()
	if err := stream.Send([]byte("<r xmlns='" + wire.NSSM + "'/>")); err != nil {
		return 0, err
	}
	select {
	case at := <-got:
		return at.Sub(sent), nil
	case <-stream.Done():
		return 0, fmt.Errorf("%w before the acknowledgement", wire.ErrClosed)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
