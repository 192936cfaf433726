package roster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// Settings is what a server has on offer, the same for all its sessions.
type Settings struct {
	// Variants names the variants on offer; empty means all of them. Monolithic
	// retrieval (RFC 6121 §2.2) is always there.
	Variants []string `json:"variants,omitempty"`
	// Diff makes the server answer a stale version with pushes of what changed,
	// as RFC 6121 §2.6.3 would have it; without it a stale version gets the full
	// roster, as deployed servers do.
	Diff bool `json:"diff,omitempty"`
	// NoInterleave lets a server hand all chunks that the window admits to the
	// write queue at once, so that other stanzas wait behind them. It breaks the
	// interleave rule of the chunk transport and is there to show its worth.
	NoInterleave bool `json:"no-interleave,omitempty"`
	// Shuffled sends whole rosters (RFC 6121 §2.1.4) in another order than that of
	// the keys, as servers with hashed storage do. Paged and chunked retrieval
	// are always in key order.
	Shuffled bool `json:"shuffled,omitempty"`
	// Limits bounds what clients may ask of the chunk transport; zero fields mean
	// the defaults of [chunk.DefaultLimits].
	Limits chunk.Limits `json:"limits,omitzero"`
	// PageLimit is the largest page of result set management, 500 if zero.
	PageLimit int `json:"page-limit,omitempty"`
}

// Check reports a name that is no variant's and limits that make no sense.
func (s Settings) Check() error {
	for _, name := range s.Variants {
		if !slices.ContainsFunc(Variants(), func(v Variant) bool { return v.Name == name }) {
			return fmt.Errorf("roster: no variant is called %q", name)
		}
	}
	l := s.Limits
	if l.MaxItems < 0 || l.MaxWindow < 0 || l.MaxBytes != 0 && l.MaxBytes < chunk.MinBytes || s.PageLimit < 0 {
		return fmt.Errorf("roster: limits %+v, page limit %d: none may be negative, and max-bytes is at least %d", l, s.PageLimit, chunk.MinBytes)
	}
	return nil
}

func (s Settings) offers(name string) bool {
	return len(s.Variants) == 0 || slices.Contains(s.Variants, name)
}

// versions reports whether results and pushes carry a version string.
func (s Settings) versions() bool { return s.offers(nameVersioned) }

// Features appends the stream features that announce what is on offer, as they
// are sent after authentication. Variants that share a feature announce it once.
func (s Settings) Features(dst []byte) []byte {
	from := len(dst)
	for _, v := range Variants() {
		if v.Features == nil || !s.offers(v.Name) {
			continue
		}
		if feature := v.Features(nil, s); !bytes.Contains(dst[from:], feature) {
			dst = append(dst, feature...)
		}
	}
	return dst
}

// SessionConfig is what a Server needs to know of its session.
type SessionConfig struct {
	Settings
	// Offered is what Settings.Offered returned. Nil makes it anew, which costs
	// every session memory of its own.
	Offered []Variant
	// Stream carries the session. Its roster stanzas are handed to ServeIQ.
	Stream Stream
	// Account is the bare JID of the user, Full the JID of this session.
	Account, Full string
	// Store is the user's roster.
	Store Store
	// Lock guards Store and every method of the Server. The Server takes it by
	// itself where the stream calls back: when a chunk is written, credited or
	// overdue, and for each piece of a whole roster.
	Lock sync.Locker
	// Count, if not nil, is told of events: "roster.<variant>" for each request
	// served, "roster.pushes", "chunk.sent", "chunk.aborted", "chunk.refused". It
	// is called with the lock held.
	Count func(name string, n int64)
}

// Server is the server half of all variants for one session of an account. Its
// methods are called with SessionConfig.Lock held. Chunks and pushes are built
// and posted under that lock, so that the order of versions is that of the queue.
type Server struct {
	c SessionConfig

	form      pushForm
	since     uint64 // version from which on the client gets every change in this form
	transfers []*transfer
	finished  []*transfer // the last that ended well
	sids      int
	stride    stride
	closed    bool
}

// pushForm is how a session wants to hear of changes.
type pushForm int

const (
	pushNone    pushForm = iota // it never asked for the roster (RFC 6121 §2.2)
	pushClassic                 // RFC 6121 §2.1.6
	pushChunked                 // with epoch and versions
)

// Offered returns the variants on offer, the most specific first. It is for
// SessionConfig.Offered: any number of sessions can share what it returns.
func (s Settings) Offered() []Variant {
	var on []Variant
	for _, v := range slices.Backward(Variants()) {
		if s.offers(v.Name) || v.Name == nameMonolithic {
			on = append(on, v)
		}
	}
	return on
}

// NewServer returns the server half for a session that has just been bound.
func NewServer(c SessionConfig) *Server {
	if c.Offered == nil {
		c.Offered = c.Settings.Offered()
	}
	return &Server{c: c}
}

// ServeIQ answers a request of the client if it is about the roster or about a
// chunked transfer, and reports whether it was; retrievals, and controls of the
// chunk transport, are, changes of the roster (RFC 6121 §2.3 to §2.5) are not. q
// is an iq of type get or set to nobody or to the account itself. An error means
// that the stream cannot go on.
func (s *Server) ServeIQ(q *wire.Element) (handled bool, err error) {
	if s.closed {
		return false, nil
	}
	switch q.Attr("type") {
	case "get":
		for _, v := range s.c.Offered {
			if handled, err := v.Serve(s, q); handled || err != nil {
				if err == nil {
					s.count("roster."+v.Name, 1)
				}
				return true, s.answerError(q, err)
			}
		}
	case "set":
		if e := q.Child(wire.NSChunk, ""); e != nil && s.chunked() {
			return true, s.answerError(q, s.control(q, e))
		}
	}
	return false, nil
}

// ServeMessage takes a message of type error that answers a chunk delivered by
// message, and reports whether it was one.
func (s *Server) ServeMessage(m *wire.Element) (handled bool) {
	if m.Attr("type") != "error" {
		return false
	}
	for _, t := range s.transfers {
		if t.isMessage(m.Attr("id")) {
			t.refused()
			return true
		}
	}
	return false
}

func (s *Server) chunked() bool {
	return s.c.offers(nameChunkedPush) || s.c.offers(nameChunkedPull)
}

// answerError answers q with err if it is a stanza error, and returns any other.
func (s *Server) answerError(q *wire.Element, err error) error {
	if stanza, ok := errors.AsType[*wire.StanzaError](err); ok {
		b := wire.AppendIQStart(nil, "error", q.Attr("id"), "", s.c.Full)
		b = wire.AppendError(b, stanza)
		return s.c.Stream.Post(wire.AppendIQEnd(b), nil)
	}
	return err
}

// Changed tells the client what changed, in order of version, by a push in the
// form it asked for; not at all if it asked for none (RFC 6121 §2.2). It is
// called once for each change of the store, before the lock is released. An
// error means that the stream cannot go on: the client would miss a change.
func (s *Server) Changed(changes ...Entry) error {
	if s.closed || len(changes) == 0 {
		return nil
	}
	switch s.form {
	case pushClassic:
		for _, e := range changes {
			if err := s.c.Stream.Post(s.appendPush(nil, e), nil); err != nil {
				return err
			}
		}
	case pushChunked:
		return s.pushChunked(changes)
	default:
		return nil
	}
	s.count("roster.pushes", int64(len(changes)))
	return nil
}

// pushChunked batches changes that came together, at most as many as fit into
// the default bounds of a chunk.
func (s *Server) pushChunked(changes []Entry) error {
	const room = chunk.DefaultBytes - 512 // for the envelope
	for len(changes) > 0 {
		var items []byte
		n := 0
		for n < len(changes) && n < chunk.DefaultItems {
			size := len(items)
			items = appendEntry(items, changes[n])
			if len(items) > room && n > 0 {
				items = items[:size]
				break
			}
			n++
		}
		b := wire.AppendIQStart(nil, "set", s.c.Stream.NextID(), s.c.Account, s.c.Full)
		b = append(b, "<push xmlns='"+wire.NSRosterX+"'"...)
		b = s.appendVersion(b, changes[n-1].V)
		b = append(b, '>')
		b = append(b, items...)
		b = append(b, "</push>"...)
		if err := s.c.Stream.Post(wire.AppendIQEnd(b), nil); err != nil {
			return err
		}
		s.count("roster.pushes", 1)
		changes = changes[n:]
	}
	return nil
}

// appendVersion appends the attributes epoch and ver.
func (s *Server) appendVersion(dst []byte, v uint64) []byte {
	dst = wire.AppendAttr(dst, "epoch", s.c.Store.Epoch())
	dst = append(dst, " ver='"...)
	dst = strconv.AppendUint(dst, v, 10)
	return append(dst, '\'')
}

// appendPush appends a roster push (RFC 6121 §2.1.6).
func (s *Server) appendPush(dst []byte, e Entry) []byte {
	dst = wire.AppendIQStart(dst, "set", s.c.Stream.NextID(), "", s.c.Full)
	dst = s.appendQuery(dst, e.V)
	dst = appendChange(dst, e)
	dst = append(dst, "</query>"...)
	return wire.AppendIQEnd(dst)
}

// appendQuery appends the start tag of a roster query, with the version string
// where versioning is on offer: then everything carries it (RFC 6121 §2.6).
func (s *Server) appendQuery(dst []byte, v uint64) []byte {
	dst = append(dst, "<query xmlns='"+wire.NSRoster+"'"...)
	if s.c.versions() {
		dst = wire.AppendAttr(dst, "ver", FormatVer(s.c.Store.Epoch(), v))
	}
	return append(dst, '>')
}

// interest makes the session one that hears of changes, in this form.
func (s *Server) interest(form pushForm) {
	if s.form != form {
		s.form = form
		s.since = s.c.Store.Version()
	}
}

// Interested reports whether the session asked for the roster and so gets pushes.
func (s *Server) Interested() bool { return s.form != pushNone }

// Close ends all transfers, when the session ends. The store is free to move its
// horizon afterwards.
func (s *Server) Close() {
	s.closed = true
	for len(s.transfers) > 0 {
		s.transfers[0].end()
	}
}

// fail ends the stream when something could not be posted from a callback.
func (s *Server) fail(err error) {
	s.Close()
	s.c.Stream.Abort(wire.StreamError{Condition: "resource-constraint", Text: err.Error()})
}

func (s *Server) count(name string, n int64) {
	if s.c.Count != nil {
		s.c.Count(name, n)
	}
}

// rosterQuery returns the query of a roster get (RFC 6121 §2.1.3), or nil.
func rosterQuery(q *wire.Element) *wire.Element { return q.Child(wire.NSRoster, "query") }

// FormatVer returns the version string of RFC 6121 §2.6 that servers of this
// package give to a version. It is opaque to foreign clients.
func FormatVer(epoch string, v uint64) string { return epoch + "-" + strconv.FormatUint(v, 10) }

// ParseVer is the inverse of FormatVer. It reports false for other servers'
// strings.
func ParseVer(ver string) (epoch string, v uint64, ok bool) {
	for i := len(ver) - 1; i >= 0; i-- {
		if ver[i] == '-' {
			v, err := parseUint(ver[i+1:])
			return ver[:i], v, err == nil
		}
	}
	return "", 0, false
}
