package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [StreamOptions].
const (
	DefaultPiece        = 4096
	DefaultQueueBytes   = 4 << 20
	DefaultWriteTimeout = time.Minute
	DefaultCloseTimeout = 5 * time.Second
)

// abortTimeout is how long a stream that is given up may still take to say why.
const abortTimeout = time.Second

// StreamOptions configure a [Stream]. The zero value is useful.
type StreamOptions struct {
	Limits
	Server       bool              // this end received the stream: its ids differ from the peer's, and it sends a header before an error that comes first
	NS           string            // content namespace for parsing; empty: NSClient, but see Prefixes
	Prefixes     map[string]string // prefixes bound by the peer's header; nil: "stream" alone. Without NS and Prefixes both are taken from each header that Next reads
	Opened       bool              // both headers passed already: the first bytes are stanzas
	Piece        int               // largest single Write in bytes; 0: DefaultPiece
	QueueBytes   int               // bound of what is posted and not written; 0: DefaultQueueBytes
	WriteTimeout time.Duration     // longest that one Write may take; 0: DefaultWriteTimeout
	CloseTimeout time.Duration     // longest wait for the peer's end of the stream; 0: DefaultCloseTimeout
	Verify       bool              // check everything received with encoding/xml as well
	Raw          *Conn             // the counted connection below TLS; only Counts uses it

	// Trace, if set, sees all bytes read (out false) and written (out true). It is
	// called from the reading and the writing goroutine, possibly at once, and must
	// not keep b. Whoever stores what it sees masks secrets first.
	Trace func(out bool, b []byte)
	// Sent, if set, is called for each Send, Post and PostPieces (b is nil there) in
	// the order in which they go out, as XEP-0198 needs it. It runs under the
	// stream's lock: it must not call the stream, nor keep b.
	Sent func(b []byte)
}

func (o StreamOptions) withDefaults() StreamOptions {
	o.Limits = o.Limits.withDefaults()
	if o.Piece <= 0 {
		o.Piece = DefaultPiece
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = DefaultCloseTimeout
	}
	return o
}

// settings are the options that a stream still needs once it exists. They are kept
// apart because every byte counts in a hundred thousand idle streams.
type settings struct {
	server, verify             bool
	piece                      int32
	queueBytes                 int
	writeTimeout, closeTimeout time.Duration
	raw                        *Conn
	trace                      func(out bool, b []byte)
	sent                       func(b []byte)
}

func (o StreamOptions) settings() settings {
	return settings{
		server: o.Server, verify: o.Verify, piece: int32(min(o.Piece, math.MaxInt32)), queueBytes: o.QueueBytes, // #nosec G115 -- above 0
		writeTimeout: o.WriteTimeout, closeTimeout: o.CloseTimeout,
		raw: o.Raw, trace: o.Trace, sent: o.Sent,
	}
}

// A Stanza is one top-level element of a stream as far as it was read. Slices are
// valid only during the call that hands it over; after Next until the next call
// of Next, Serve or Close.
type Stanza struct {
	Tag      []byte    // start tag
	Child    []byte    // start tag of the first child; nil when there is none
	Frame    []byte    // the whole stanza in Frame mode, else nil
	Elements int       // number of watched elements
	Size     int64     // bytes
	Start    time.Time // when the read returned that held the end of the start tag
	First    time.Time // same for the end of the first watched element; zero when there is none
	End      time.Time // same for the end of the stanza

	names *names
}

// names are what names without a declaration of their own mean in a stream.
type names struct {
	ns       string
	prefixes map[string]string // nil: "stream" alone
}

// Name returns the local name, as "iq".
func (s *Stanza) Name() []byte { return LocalName(s.Tag) }

// ID returns the id attribute, unescaped.
func (s *Stanza) ID() string { return AttrString(s.Tag, "id") }

// Type returns the type attribute, unescaped.
func (s *Stanza) Type() string { return AttrString(s.Tag, "type") }

// From returns the from attribute, unescaped.
func (s *Stanza) From() string { return AttrString(s.Tag, "from") }

// To returns the to attribute, unescaped.
func (s *Stanza) To() string { return AttrString(s.Tag, "to") }

// Element parses a stanza that was read in Frame mode with the namespaces of its
// stream; see [ParseElement]. Without a frame it returns an error.
func (s *Stanza) Element() (*Element, error) {
	if s.Frame == nil {
		return nil, fmt.Errorf("wire: stanza %s was not read in Frame mode", s.Tag)
	}
	return ParseElement(s.Frame, s.names.ns, s.names.prefixes)
}

// A Handler says what to do with one stanza. Its functions run on the goroutine
// that reads the stream: while they run, the stream's other stanzas wait. They
// may Post and PostPieces; Send there can lock two streams against each other
// until a write times out, IQ and Close wait for the very goroutine that calls them.
type Handler struct {
	Watch   Watch
	Element func(b []byte, at time.Time) error // each watched element, if Watch.Elements; at is the time of the read
	Done    func(*Stanza) error                // the whole stanza arrived; an error ends the stream, a *StreamError is sent to the peer first
	Fail    func(error)                        // called once instead of Done when the stream ends first
}

// Counts are the exact totals of a stream since NewStream.
type Counts struct {
	BytesIn, BytesOut     int64 // above TLS; bytes left over by whoever negotiated are counted here
	StanzasIn, StanzasOut int64 // whole iq, message and presence, as XEP-0198 counts
	RawIn, RawOut         int64 // of StreamOptions.Raw, below TLS; 0 without
}

// A Stream is one XMPP stream over a connection, from the first header on or from
// where a negotiation left it.
//
// One goroutine reads at a time: Next while negotiating, then Serve. Everything
// else may be called concurrently. A Stream starts no goroutine of its own but
// the one that writes what was posted, for as long as there is something to write.
type Stream struct {
	opt    settings
	handle func(*Stanza) Handler
	ids    atomic.Uint64

	bytesIn, bytesOut, stanzasIn, stanzasOut atomic.Int64

	mu      sync.Mutex
	conn    net.Conn
	expects map[string]*Handler
	queue   []entry
	head    int           // first entry of queue not taken by the writer
	queued  int           // cost of what is posted and not written
	writeBy *time.Time    // set when the stream is given up
	err     error         // why the stream ended
	writing bool          // a goroutine writes
	reading bool          // a goroutine reads
	closing bool          // the own end tag is queued or sent: nothing more is taken
	aborted bool          // given up: the queue was dropped
	leaving bool          // Close reads, because nobody else did
	ended   bool          // nothing is read or written any more
	closed  bool          // the connection is closed as well
	done    chan struct{} // made when somebody waits for the end, closed when closed is set
	flushed chan struct{} // closed when the last thing was written: the end tag, or why the stream was given up

	reader // for the reading goroutine only
	writer // for the writing goroutine only
}

// NewStream returns a stream over c. left holds bytes that whoever negotiated read
// too early; the stream keeps it until it is used up. Deadlines of c are taken away.
func NewStream(c net.Conn, left []byte, o StreamOptions) *Stream {
	o = o.withDefaults()
	s := &Stream{opt: o.settings(), conn: c}
	s.in = NewFramer(o.Limits)
	s.pending = left
	s.names = names{ns: cmp.Or(o.NS, NSClient), prefixes: o.Prefixes}
	s.learn = o.NS == "" && o.Prefixes == nil
	s.bytesIn.Add(int64(len(left)))
	if o.Opened {
		s.in.Opened()
		s.outOpen = true
	}
	if len(left) > 0 {
		s.now = time.Now()
		if o.Trace != nil {
			o.Trace(false, left)
		}
	}
	_ = c.SetDeadline(time.Time{}) // fails on a closed connection only, which reading tells better
	return s
}

// Handle sets what happens to stanzas that nobody expects: requests, messages,
// presence and others. f is called with Tag and Start set; a zero Handler skips
// the stanza, as does a nil f. Set it before Serve.
func (s *Stream) Handle(f func(head *Stanza) Handler) { s.handle = f }

// Expect hands the next iq of type result or error with this id to h, once. An
// error answer is always read in Frame mode and goes to h.Done alone. cancel takes
// the expectation back: neither Done nor Fail is called afterwards, unless the
// answer has begun to arrive. On a stream that is over h.Fail is called at once; an
// older expectation of the same id fails.
func (s *Stream) Expect(id string, h Handler) (cancel func()) {
	s.mu.Lock()
	if s.ended {
		err := s.closedError()
		s.mu.Unlock()
		if h.Fail != nil {
			h.Fail(err)
		}
		return func() {}
	}
	if s.expects == nil {
		s.expects = map[string]*Handler{}
	}
	old := s.expects[id]
	s.expects[id] = &h
	s.mu.Unlock()
	if old != nil && old.Fail != nil {
		old.Fail(fmt.Errorf("wire: iq %s: its id was used again", id))
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.expects[id] == &h {
			delete(s.expects, id)
		}
	}
}

// IQ sends b, which is an iq with this id, and returns the answer. An error answer
// is returned as *[StanzaError], the end of the stream as an error that wraps
// [ErrClosed]. Serve must be running on another goroutine.
func (s *Stream) IQ(ctx context.Context, id string, b []byte) (*Element, error) {
	type answer struct {
		el  *Element
		err error
	}
	got := make(chan answer, 1)
	cancel := s.Expect(id, Handler{
		Watch: Watch{Mode: Frame},
		Done: func(st *Stanza) error {
			el, err := st.Element()
			if err == nil && el.Attr("type") == "error" {
				got <- answer{err: ParseStanzaError(el)}
				return nil
			}
			got <- answer{el, err}
			return err // an answer that cannot be parsed ends the stream
		},
		Fail: func(err error) { got <- answer{err: err} },
	})
	defer cancel()
	if err := s.Send(b); err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.el, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wire: iq %s: no answer: %w", id, context.Cause(ctx))
	}
}

// NextID returns an id that is unique on this stream and differs from those of the other end.
func (s *Stream) NextID() string {
	b := []byte("c")
	if s.opt.server {
		b[0] = 's'
	}
	return string(strconv.AppendUint(b, s.ids.Add(1), 10))
}

// Restart makes the stream expect a new header from the peer, as after SASL
// (RFC 6120 §6.4.6). Bytes that the peer sent early are kept. Call it between
// calls of Next, before sending the own new header and with nothing posted.
func (s *Stream) Restart() error { return s.restart(nil) }

// Upgrade is Restart over c, as after STARTTLS (RFC 6120 §5.4.3.3). Bytes that the
// peer sent before its handshake are an error, as they could have been injected.
func (s *Stream) Upgrade(c net.Conn) error { return s.restart(c) }

func (s *Stream) restart(c net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.closing:
		return s.closedError()
	case s.reading:
		return ErrReading
	case s.writing:
		return errors.New("wire: restart: something is still being written")
	case !s.in.Between():
		return errors.New("wire: restart: a stanza has not been read to its end")
	case c != nil && len(s.pending) > 0:
		return &SyntaxError{Condition: PolicyViolation, Msg: fmt.Sprintf("%d bytes before the TLS handshake", len(s.pending)), Offset: s.bytesIn.Load() - int64(len(s.pending))}
	}
	if c != nil {
		s.conn = c
		_ = c.SetDeadline(time.Time{}) // as in NewStream
	}
	s.in.Reset()
	s.writer = writer{}
	s.stopVerifier()
	return nil
}

// Close ends the stream: it sends the end tag after all that was queued, waits for
// the peer's (at most CloseTimeout) and closes the connection. Stanzas that still
// arrive are handed over if Serve runs, else dropped. A peer that does not answer is
// an error. Not to be called by handlers.
func (s *Stream) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.closeTimeout)
	defer cancel()
	s.mu.Lock()
	if s.ended || s.aborted {
		s.mu.Unlock()
	} else {
		s.queueFooter()
		reader := !s.reading
		if reader {
			s.reading, s.leaving = true, true
		}
		s.mu.Unlock()
		if reader {
			s.discard(ctx)
		}
	}
	select {
	case <-s.Done():
	case <-ctx.Done():
		s.end(fmt.Errorf("wire: close: the peer did not end the stream: %w", context.Cause(ctx)))
		<-s.Done() // another goroutine may be closing the connection, which is bounded
	}
	return s.Err()
}

// queueFooter queues the own end tag, once. The lock is held.
func (s *Stream) queueFooter() {
	if s.closing {
		return
	}
	s.closing = true
	flushed := make(chan struct{})
	s.flushed = flushed
	s.push(entry{b: AppendFooter(nil), written: func() { close(flushed) }})
}

// shut answers the peer's end tag and closes the connection.
func (s *Stream) shut(ctx context.Context) {
	s.mu.Lock()
	if s.ended || s.aborted {
		s.mu.Unlock()
		return
	}
	s.queueFooter()
	flushed := s.flushed
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.opt.closeTimeout)
	defer cancel()
	select {
	case <-flushed:
		s.end(nil)
	case <-s.Done():
	case <-ctx.Done():
		s.end(fmt.Errorf("wire: close: the peer did not read the end of the stream: %w", context.Cause(ctx)))
	}
}

// Abort ends the stream with an error: queued stanzas are dropped, the error and
// the end tag are sent if the peer takes them within a second, and the connection
// is closed. It does not wait. A server that has not sent its header yet sends one
// first (RFC 6120 §4.9.1.2); a client must have sent its own.
func (s *Stream) Abort(e StreamError) { s.giveUp(&e, &e) }

// giveUp ends the stream for the given cause. e is what the peer is told, if not nil.
func (s *Stream) giveUp(e *StreamError, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.aborted {
		return
	}
	footer, ns := !s.closing, s.names.ns
	s.closing, s.aborted, s.err = true, true, cause
	s.flushed = make(chan struct{})
	by := time.Now().Add(abortTimeout)
	s.writeBy = &by
	_ = s.conn.SetWriteDeadline(by) // for a write that hangs now
	s.dropQueue()
	s.push(entry{written: s.saidWhy, next: func(b []byte) ([]byte, bool) {
		if !footer {
			return b, false
		}
		if s.opt.server && !s.outBroken && !s.outOpen && (s.out == nil || s.out.Depth() == 0) {
			// An error needs a header, and who is meant is not known yet.
			b = AppendHeader(b, Header{NS: ns, ID: "0"})
		}
		if e != nil {
			b = AppendStreamError(b, e)
		}
		return AppendFooter(b), false
	}})
}

// saidWhy runs when the peer was told why the stream was given up.
func (s *Stream) saidWhy() {
	s.mu.Lock()
	close(s.flushed)
	c, reading := s.conn, s.reading
	s.mu.Unlock()
	// Closing a TCP connection with unread input resets it and can destroy the error
	// on its way, so whoever reads goes on until the peer has closed.
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(abortTimeout))
		if reading {
			return
		}
		discardInput(c)
	}
	s.end(nil)
}

// discardInput reads until the peer closes or the read deadline passes.
func discardInput(c net.Conn) {
	var scrap [nextBuffer]byte
	for {
		if _, err := c.Read(scrap[:]); err != nil {
			return
		}
	}
}

// end closes the connection and tells all who wait. The first cause is kept.
func (s *Stream) end(err error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	if s.err == nil {
		s.err = err
	}
	expects := s.expects
	s.expects = nil
	s.dropQueue()
	cause := s.closedError()
	if !s.reading {
		s.stopVerifier()
	}
	c := s.conn
	s.mu.Unlock()
	_ = c.Close() // the stream is over either way
	for _, h := range expects {
		if h.Fail != nil {
			h.Fail(cause)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.done != nil {
		close(s.done)
	}
}

// closedError says that the stream is over and why. The lock is held.
func (s *Stream) closedError() error {
	if s.err == nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, s.err)
}

// Done is closed when the stream is over and its connection closed.
func (s *Stream) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.closed {
			close(s.done)
		}
	}
	return s.done
}

// Err returns why the stream ended: nil while it lives and after an orderly close.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Conn returns the connection that the stream reads and writes now.
func (s *Stream) Conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Counts returns the totals so far.
func (s *Stream) Counts() Counts {
	c := Counts{
		BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		StanzasIn: s.stanzasIn.Load(), StanzasOut: s.stanzasOut.Load(),
	}
	if s.opt.raw != nil {
		c.RawIn, c.RawOut = s.opt.raw.BytesIn(), s.opt.raw.BytesOut()
	}
	return c
}
