package roster

import (
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

// SessionConfig is what a Server needs to know of its session.
type SessionConfig struct {
	Settings
	// Stream carries the session. Its roster stanzas are handed to ServeIQ.
	Stream *wire.Stream
	// Account is the bare JID of the user, Full the JID of this session.
	Account, Full string
	// Store is the user's roster.
	Store Store
	// Lock guards Store and every method of the Server. The Server takes it by
	// itself where the stream calls back: when a chunk is written, credited or
	// overdue. The stream's callbacks must therefore not run inside Post.
	Lock sync.Locker
	// Count, if not nil, is told of events: "roster.served.<variant>",
	// "chunk.sent", "chunk.aborted", "chunk.refused". It is called with the lock
	// held.
	Count func(name string, n int64)
}

// Server is the server half of all variants for one session of an account. Its
// methods are called with SessionConfig.Lock held.
type Server struct {
	c SessionConfig
}

// NewServer returns the server half for a session that has just been bound.
func NewServer(c SessionConfig) *Server { return &Server{c: c} }

// Features appends the stream features that announce what is on offer, as they
// are sent after authentication.
func (s Settings) Features(dst []byte) []byte { return dst }

// ServeIQ answers a request of the client if it is about the roster or about a
// chunked transfer, and reports whether it was; retrievals, and controls of the
// chunk transport, are, changes of the roster (RFC 6121 §2.3 to §2.5) are not.
// An error means that the stream cannot go on.
func (s *Server) ServeIQ(q *wire.Element) (handled bool, err error) { return false, nil }

// Changed tells the client what changed, in order of version, by a push in the
// form it asked for; not at all if it asked for none (RFC 6121 §2.2). It is
// called once for each change of the store, before the lock is released.
func (s *Server) Changed(changes ...Entry) error { return nil }

// Interested reports whether the session asked for the roster and so gets pushes.
func (s *Server) Interested() bool { return false }

// Close ends all transfers, when the session ends.
func (s *Server) Close() {}
