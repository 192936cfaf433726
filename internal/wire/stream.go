package wire

import (
	"context"
	"net"
	"time"
)

// Defaults of [StreamOptions].
const (
	DefaultPiece        = 4096
	DefaultQueueBytes   = 4 << 20
	DefaultWriteTimeout = time.Minute
	DefaultCloseTimeout = 5 * time.Second
)

// StreamOptions configure a [Stream]. The zero value is useful.
type StreamOptions struct {
	Limits
	Server       bool              // this end received the stream; only NextID depends on it
	NS           string            // content namespace for parsing; empty: NSClient
	Prefixes     map[string]string // prefixes bound by the peer's header; nil: learned from a header read by Next, else "stream" alone
	Opened       bool              // both headers passed already: the first bytes are stanzas
	Piece        int               // largest single Write in bytes; 0: DefaultPiece
	QueueBytes   int               // bound of what is posted and not written; 0: DefaultQueueBytes
	WriteTimeout time.Duration     // longest that one Write of a Piece may take; 0: DefaultWriteTimeout
	CloseTimeout time.Duration     // longest wait for the peer's end of the stream; 0: DefaultCloseTimeout
	Verify       bool              // check everything received with encoding/xml as well
	Raw          *Conn             // the counted connection below TLS; only Counts uses it

	// Trace, if set, sees all bytes read (out false) and written (out true). It is
	// called from the reading and the writing goroutine, possibly at once, and must
	// not keep b. Whoever stores what it sees masks secrets first.
	Trace func(out bool, b []byte)
	// Sent, if set, is called for each Send, Post and PostPieces (b is nil there) in
	// the order in which they go out, as XEP-0198 needs it. It runs under the
	// stream's lock: it must not call the stream and not keep b longer than the
	// caller of Post lets it.
	Sent func(b []byte)
}

// A Stanza is one top-level element of a stream as far as it was read. Slices are
// valid during the call that hands it over only, after Next until the next call of Next or Serve.
type Stanza struct {
	Tag      []byte    // start tag
	Child    []byte    // start tag of the first child; nil when there is none
	Frame    []byte    // the whole stanza in Frame mode, else nil
	Elements int       // number of watched elements
	Size     int64     // bytes
	Start    time.Time // when the read returned that held the end of the start tag
	First    time.Time // same for the end of the first watched element; zero when there is none
	End      time.Time // same for the end of the stanza
}

// Name returns the local name, as "iq".
func (s *Stanza) Name() []byte { return nil }

// ID returns the id attribute, unescaped.
func (s *Stanza) ID() string { return "" }

// Type returns the type attribute, unescaped.
func (s *Stanza) Type() string { return "" }

// From returns the from attribute, unescaped.
func (s *Stanza) From() string { return "" }

// To returns the to attribute, unescaped.
func (s *Stanza) To() string { return "" }

// Element parses a stanza that was read in Frame mode with the namespaces of its
// stream; see [ParseElement].
func (s *Stanza) Element() (*Element, error) { return nil, nil }

// A Handler says what to do with one stanza. Its functions run on the goroutine
// that reads the stream; what they take, the stream's other stanzas wait. They
// may Post and PostPieces; Send and IQ there can lock two streams against each other.
type Handler struct {
	Watch   Watch
	Element func(b []byte, at time.Time) error // each watched element, if Watch.Elements; at is the time of the read
	Done    func(*Stanza) error                // the whole stanza arrived; an error ends the stream, a *StreamError is sent to the peer first
	Fail    func(error)                        // instead of Done, when the stream ends first; called once
}

// Counts are the exact totals of a stream since NewStream.
type Counts struct {
	BytesIn, BytesOut     int64 // above TLS; bytes left over by whoever negotiated are counted here
	StanzasIn, StanzasOut int64 // iq, message and presence, as XEP-0198 counts
	RawIn, RawOut         int64 // of StreamOptions.Raw, below TLS; 0 without
}

// A Stream is one XMPP stream over a connection, from the first header on or from
// where a negotiation left it.
//
// One goroutine reads at a time: Next while negotiating, then Serve. Everything
// else may be called concurrently. A Stream starts no goroutine of its own but
// the one that writes what was posted, for as long as there is something to write.
type Stream struct{}

// NewStream returns a stream over c. left holds bytes that whoever negotiated read
// too early; the stream keeps it until it is used up.
func NewStream(c net.Conn, left []byte, o StreamOptions) *Stream { return &Stream{} }

// Next reads and returns the next top-level element in Frame mode, or the start
// tag of the stream header (only Tag set). It takes no byte beyond it for its caller: what
// came along waits for the next call. It returns io.EOF at the end tag of the
// stream, a *[CutError] when the connection ended first, a received stream error
// as *[StreamError]. When ctx ends it returns its error and can be called again.
func (s *Stream) Next(ctx context.Context) (*Stanza, error) { return nil, nil }

// Serve reads until the stream ends, hands stanzas to those who Expect them and
// the others to the Handle function, on the calling goroutine. It answers the
// peer's end of the stream and returns nil after an orderly close. Whatever it
// returns, the stream is over then: the connection is closed and all who wait are told.
// An error is the first cause: *[CutError], *[SyntaxError] (the peer got the
// stream error), *[StreamError] sent by the peer or by Abort, ctx's, or a handler's.
func (s *Stream) Serve(ctx context.Context) error { return nil }

// Handle sets what happens to stanzas that nobody expects: requests, messages,
// presence and others. f is called with Tag and Start set; a zero Handler skips
// the stanza, as does a nil f. Set it before Serve.
func (s *Stream) Handle(f func(head *Stanza) Handler) {}

// Expect hands the next iq of type result or error with this id to h, once. An
// error answer is always read in Frame mode and goes to h.Done alone. cancel takes the
// expectation back; afterwards neither Done nor Fail is called for a stanza not yet begun.
// On a stream that is over h.Fail is called at once.
func (s *Stream) Expect(id string, h Handler) (cancel func()) { return func() {} }

// IQ sends b, which is an iq with this id, and returns the answer. An error answer
// is returned as *[StanzaError]. Serve must be running on another goroutine.
func (s *Stream) IQ(ctx context.Context, id string, b []byte) (*Element, error) { return nil, nil }

// NextID returns an id that is unique on this stream and differs from those of the other end.
func (s *Stream) NextID() string { return "" }

// Send writes b, one or more whole stanzas, after all that was queued before, and
// returns when its last byte was written to the connection. b can be used again then.
func (s *Stream) Send(b []byte) error { return nil }

// Post queues b, one or more whole stanzas, and never waits for the peer. The
// stream owns b until written is called, or for ever when written is nil. written runs on the writing
// goroutine after the last byte of b was written; it may Post again, but not
// Send, IQ or Close. It is not called when the stream ends first. Above the
// queue's bound Post queues nothing and returns [ErrQueueFull]; the caller decides
// whether that is the end of the stream. A stanza larger than the bound is taken when nothing else is queued.
func (s *Stream) Post(b []byte, written func()) error { return nil }

// PostPieces queues one stanza (or several) that is made while it is written: next
// appends its following part to dst and says whether there is more. It runs on the
// writing goroutine, without locks of the stream. Nothing interleaves. The rest is as with Post.
func (s *Stream) PostPieces(next func(dst []byte) (b []byte, more bool), written func()) error {
	return nil
}

// Restart makes the stream expect a new header from the peer, as after SASL
// (RFC 6120 §6.4.6). Bytes that the peer sent early are kept. Call it between
// calls of Next, before sending the own new header.
func (s *Stream) Restart() error { return nil }

// Upgrade is Restart over c, as after STARTTLS (RFC 6120 §5.4.3.3). Bytes that the
// peer sent before its handshake are an error, as they could have been injected.
func (s *Stream) Upgrade(c net.Conn) error { return nil }

// Close ends the stream: it sends the end tag after all that was queued, waits for
// the peer's (at most CloseTimeout) and closes the connection. A peer that does not answer
// is an error. Not to be called by handlers.
func (s *Stream) Close(ctx context.Context) error { return nil }

// Abort ends the stream with an error: queued stanzas are dropped, the error and the end tag are
// sent if the peer takes them within a second, and the connection is closed. It
// does not wait. The stream's own header must have been sent.
func (s *Stream) Abort(e StreamError) {}

// Done is closed when the stream is over and its connection closed.
func (s *Stream) Done() <-chan struct{} { return nil }

// Err returns why the stream ended: nil while it lives and after an orderly close.
func (s *Stream) Err() error { return nil }

// Conn returns the connection that the stream reads and writes now.
func (s *Stream) Conn() net.Conn { return nil }

// Counts returns the totals so far.
func (s *Stream) Counts() Counts { return Counts{} }
