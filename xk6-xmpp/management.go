package xk6xmpp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// maxUnacked bounds the stanzas that a session keeps to send again.
const maxUnacked = 10_000

// management is the client's half of stream management (XEP-0198): it counts what was
// sent, keeps what was not acknowledged, and sends that again after a resumption.
type management struct {
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

// newManagement returns one for a new session, or for one that goes on.
func newManagement(every int, before *management) *management {
	if before == nil {
		return &management{every: every}
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	return &management{every: every, out: before.out, acked: before.acked, kept: before.kept, lost: before.lost}
}

// resumption returns what to resume, nil if that is not possible.
func (m *management) resumption() *session.Resume {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id == "" {
		return nil
	}
	return &session.Resume{ID: m.id, JID: m.jid, Handled: m.handled}
}

// begin takes note of a login. It returns the number of stanzas of the server that
// were handled before.
func (m *management) begin(login *session.Session, before *management) (handled uint32) {
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

// interrupted takes note of what was handled when the connection was lost.
func (m *management) interrupted(handled uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handled = handled
}

// take notes that the server has handled the first h stanzas. The lock is held.
func (m *management) take(h uint32) {
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

// resend sends what the server has not handled before the connection was lost.
func (m *management) resend(l *live, login *session.Session) {
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
		if l.Stream.Send(b) != nil {
			break // the end of the stream is told to whoever uses it
		}
	}
	m.mu.Lock()
	m.again = nil
	m.mu.Unlock()
}

// sent counts a stanza. It runs under the stream's lock.
func (m *management) sent(b []byte) {
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

// due reports whether it is time to ask for an acknowledgement.
func (m *management) due() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.every == 0 || m.out-m.asked < uint32(m.every) { //nolint:gosec // the option is bounded
		return false
	}
	m.asked = m.out
	return true
}

// acknowledged takes an acknowledgement.
func (m *management) acknowledged(st *wire.Stanza) error {
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

// unacked counts the stanzas that the server has not acknowledged.
func (m *management) unacked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.out - m.acked)
}

// request asks for an acknowledgement and returns how long it took.
func (m *management) request(ctx context.Context, l *live) (time.Duration, error) {
	got := make(chan time.Time, 1)
	m.mu.Lock()
	m.waiting = append(m.waiting, got)
	m.mu.Unlock()
	sent := time.Now()
	if err := l.Stream.Send([]byte("<r xmlns='" + wire.NSSM + "'/>")); err != nil {
		return 0, err
	}
	select {
	case at := <-got:
		return at.Sub(sent), nil
	case <-l.Stream.Done():
		return 0, fmt.Errorf("%w before the acknowledgement", wire.ErrClosed)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// errNoManagement says that a call needs stream management.
var errNoManagement = errors.New("stream management is off: set the option streamManagement, and log in at a server that has it")
