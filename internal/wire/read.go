package wire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	nextBuffer = 512 // bytes of read buffer of Next
	idleBuffer = 64  // bytes of read buffer that an idle stream holds in Serve
	idleKeep   = 512 // bytes of each other buffer that an idle stream may keep
)

// arrivals lends an arrival to streams that something arrives on.
//
//nolint:gochecknoglobals // a pool is worth something only when all streams share it
var arrivals = sync.Pool{New: func() any { return new(arrival) }}

// reader is the state of the goroutine that reads.
type reader struct {
	*arrival // nil while nothing arrives

	in      Framer
	small   []byte    // read buffer while little comes
	pending []byte    // read, not yet fed
	now     time.Time // when the last read returned
	pull    bool      // Next reads
	pulled  bool      // the stanza at hand was begun by Next
	ready   bool      // Next has its element
	over    bool      // the peer's end tag was read
	learn   bool      // names, from the next header
	names   names
	verify  *verifier
}

// arrival is what a stream knows of the stanza at hand.
type arrival struct {
	tags []byte // copies of the start tags in cur
	cur  Stanza
	then actions // of its handler
}

// errOver is pump's word for the peer's end tag. It is not io.EOF, which a handler
// might return.
var errOver = errors.New("wire: the peer ended the stream")

// actions are the functions of the handler of the stanza at hand.
type actions struct {
	element func(b []byte, at time.Time) error
	done    func(*Stanza) error
	fail    func(error)
}

// Next reads and returns the next top-level element in Frame mode, or the start
// tag of the stream header (only Tag and Start set). What came along behind it
// waits for the next call of Next or Serve. It returns io.EOF at the peer's end
// tag, a *[CutError] when the connection ended first, a received stream error as
// *[StreamError]. When ctx ends it returns its error, nothing is lost and Next
// can be called again; any other error ends the stream.
func (s *Stream) Next(ctx context.Context) (*Stanza, error) {
	if err := s.beginRead(); err != nil {
		return nil, err
	}
	defer s.endRead()
	defer s.interruptReads(ctx)()
	s.pull, s.ready = true, false
	err := s.pump(ctx, func() bool { return s.ready })
	s.pull = false
	var interrupted *interruptedError
	switch {
	case err == nil:
		if err := s.receivedError(); err != nil {
			return nil, err
		}
		return &s.cur, nil
	case errors.Is(err, errOver):
		return nil, io.EOF
	case errors.As(err, &interrupted):
		return nil, err
	}
	return nil, s.broken(err)
}

// receivedError ends the stream when the element at hand is a stream error.
func (s *Stream) receivedError() error {
	if !isStreamError(s.cur.Tag) || s.cur.Frame == nil {
		return nil
	}
	el, err := s.cur.Element()
	if err != nil {
		return s.broken(err)
	}
	if e := ParseStreamError(el); e != nil {
		return s.broken(peerError{e})
	}
	return nil
}

// Serve reads until the stream ends and hands stanzas to those who Expect them,
// the others to the Handle function, on the calling goroutine. It answers the
// peer's end of the stream and returns nil after an orderly close.
//
// Whatever it returns, the stream is over then: the connection is closed and all
// who wait are told. An error is the first cause: *[CutError], *[SyntaxError] (the
// peer is sent the stream error), *[StreamError] sent by the peer or by Abort, a
// handler's, that of ctx, or that of a failed write. Called too late, when the
// stream has ended or Close reads it to its end already, it returns that end.
func (s *Stream) Serve(ctx context.Context) error {
	if err := s.beginRead(); errors.Is(err, ErrReading) && !s.isLeaving() {
		return err
	} else if err != nil {
		<-s.Done() // every way to the end is bounded
		return s.Err()
	}
	stop := s.interruptReads(ctx)
	err := s.pump(ctx, nil)
	if errors.Is(err, errOver) {
		s.shut(ctx)
	} else {
		_ = s.broken(err) // Err tells the first cause below
		s.linger()        // at once when the connection is closed already
	}
	stop()
	s.end(nil)
	s.endRead()
	<-s.Done()
	err = s.Err()
	if s.arrival == nil {
		return err
	}
	if fail := s.then.fail; fail != nil {
		s.then = actions{}
		s.mu.Lock()
		cause := s.closedError()
		s.mu.Unlock()
		fail(cause)
	}
	return err
}

// discard reads for Close when nobody else does.
func (s *Stream) discard(ctx context.Context) {
	stop := s.interruptReads(ctx)
	s.handle = nil
	err := errOver
	if !s.over {
		err = s.pump(ctx, nil)
	}
	switch {
	case errors.Is(err, errOver):
		s.shut(ctx)
	case ctx.Err() != nil:
		s.end(fmt.Errorf("wire: close: the peer did not end the stream: %w", context.Cause(ctx)))
	default:
		_ = s.broken(err) // Close returns the first cause
		s.linger()
		s.end(nil)
	}
	stop()
	s.endRead()
}

// linger reads on after the stream was given up, until the peer has read why or
// the time for that is over. The caller ends the stream then.
func (s *Stream) linger() {
	s.mu.Lock()
	c, said := s.conn, s.flushed
	s.mu.Unlock()
	discardInput(c)
	// Reading may have ended before the error was written.
	timeout := time.NewTimer(abortTimeout)
	defer timeout.Stop()
	select {
	case <-said:
	case <-s.Done():
	case <-timeout.C:
	}
}

// broken ends the stream because reading failed, tells the peer why if it can
// still be told, and returns the first cause.
func (s *Stream) broken(err error) error {
	var (
		syntax *SyntaxError
		peer   peerError
		stream *StreamError
		cut    *CutError
		ctx    *interruptedError
	)
	switch {
	case errors.As(err, &peer):
		s.giveUp(nil, peer.StreamError)
		err = peer.StreamError
	case errors.As(err, &syntax):
		s.giveUp(&StreamError{Condition: syntax.Condition, Text: syntax.Msg}, err)
	case errors.As(err, &stream):
		s.giveUp(stream, err)
	case errors.As(err, &cut), errors.As(err, &ctx):
		s.end(err)
	default: // a handler's own
		s.giveUp(&StreamError{Condition: undefined}, err)
	}
	if first := s.Err(); first != nil {
		return first
	}
	return err
}

// interruptedError says that the reader's context ended.
type interruptedError struct{ cause error }

func (e *interruptedError) Error() string { return "wire: read: " + e.cause.Error() }
func (e *interruptedError) Unwrap() error { return e.cause }

// peerError is a stream error that the peer sent, so that it is not sent back.
type peerError struct{ *StreamError }

func isStreamError(tag []byte) bool {
	_, local := splitName(TagName(tag))
	return string(local) == "error"
}

// isLeaving reports whether Close has taken over the reading. It stays so.
func (s *Stream) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

func (s *Stream) beginRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.aborted:
		return s.closedError()
	case s.reading:
		return ErrReading
	}
	s.reading = true
	return nil
}

func (s *Stream) endRead() {
	s.mu.Lock()
	s.reading = false
	said := false
	if s.aborted {
		select {
		case <-s.flushed:
			said = true // saidWhy left the end of the stream to this goroutine
		default:
		}
	}
	if s.ended {
		s.stopVerifier()
	}
	s.mu.Unlock()
	if said {
		s.end(nil)
	}
}

// interruptReads makes reads fail once ctx is over. stop takes that back.
func (s *Stream) interruptReads(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	c := s.Conn()
	fired := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection only
		close(fired)
	})
	return func() {
		if !cancel() {
			<-fired
			_ = c.SetReadDeadline(time.Time{})
		}
	}
}

// pump reads and feeds until the condition holds or the peer's end tag came, which
// is errOver. Without a condition it borrows a large buffer after a read that
// filled the small one, until nothing has begun that has not ended.
func (s *Stream) pump(ctx context.Context, until func() bool) error {
	var big *[bigBuffer]byte
	defer func() {
		if big != nil {
			buffers.Put(big)
		}
	}()
	size := idleBuffer
	if until != nil {
		size = nextBuffer
	}
	if len(s.small) != size {
		s.small = make([]byte, size)
	}
	full := false
	for {
		for len(s.pending) > 0 && !s.over {
			n, err := s.feed(s.pending)
			s.pending = s.pending[n:]
			if err != nil {
				s.pending = nil
				return err
			}
			if until != nil && until() {
				return nil
			}
		}
		s.pending = nil
		if s.over {
			return errOver
		}
		switch {
		case !full && (until != nil || s.in.Between()):
			if big != nil {
				buffers.Put(big)
				big = nil
			}
			s.slim()
		case big == nil && until == nil:
			big = buffers.Get().(*[bigBuffer]byte)
		}
		buf := s.small
		if big != nil {
			buf = big[:]
		}
		n, err := s.Conn().Read(buf)
		s.now = time.Now()
		full = n == len(buf)
		if n == 0 && err == nil {
			continue
		}
		if err := s.readError(ctx, n, err); err != nil {
			return err
		}
		s.bytesIn.Add(int64(n))
		if s.opt.trace != nil {
			s.opt.trace(false, buf[:n])
		}
		s.pending = buf[:n]
	}
}

// slim gives back what an idle stream does not need.
func (s *Stream) slim() {
	s.in.Release(idleKeep)
	if s.arrival == nil || !s.in.Between() {
		return
	}
	a := s.arrival
	s.arrival = nil
	*a = arrival{tags: a.tags[:0]}
	if cap(a.tags) <= idleKeep {
		arrivals.Put(a)
	}
}

// readError judges what a read returned. Bytes count before the error that came
// with them, which comes again.
func (s *Stream) readError(ctx context.Context, n int, err error) error {
	s.mu.Lock()
	over, closing := s.ended || s.aborted, s.closing
	closed := s.closedError()
	s.mu.Unlock()
	switch {
	case over:
		return closed
	case n > 0:
		return nil
	case ctx.Err() != nil:
		return &interruptedError{context.Cause(ctx)}
	case !errors.Is(err, io.EOF):
		return &CutError{Inside: s.inside(), Err: err}
	case closing && s.in.Between():
		return errOver // the peer left without an end tag after it had read ours
	}
	return &CutError{Inside: s.inside(), Err: io.ErrUnexpectedEOF}
}

// inside names what has begun to arrive and not ended.
func (s *Stream) inside() string {
	switch {
	case s.in.Between():
		return ""
	case s.in.Depth() == 0:
		return "the stream header"
	case s.in.Depth() == 1:
		return "a start tag"
	}
	b := append([]byte{'<'}, TagName(s.cur.Tag)...)
	b = appendRaw(b, "id", s.cur.Tag, "id")
	return string(append(b, '>'))
}

// feed gives bytes to the framer.
func (s *Stream) feed(p []byte) (int, error) {
	if s.opt.verify && s.verify == nil {
		s.startVerifier()
	}
	if s.arrival == nil {
		s.arrival = arrivals.Get().(*arrival)
	}
	n, err := s.in.Feed(p, (*incoming)(s))
	if s.in.Elements() > 0 && s.cur.First.IsZero() {
		s.cur.First = s.now
	}
	if err == nil && s.verify != nil {
		err = s.verify.check(p[:n])
	}
	return n, err
}

// incoming is what the framer of a stream reports to.
type incoming Stream

func (r *incoming) Open(tag []byte) (pause bool, err error) {
	if !r.pull {
		return false, errors.New("wire: serve: a stream header came, which only Next reads")
	}
	r.tags = append(r.tags[:0], tag...)
	r.cur = Stanza{Tag: r.tags, Start: r.now, End: r.now, Size: int64(len(tag))}
	if r.learn {
		ns, prefixes := cmp.Or(AttrString(tag, "xmlns"), NSClient), headerPrefixes(tag)
		r.mu.Lock() // for whoever aborts the stream meanwhile
		r.names.ns, r.names.prefixes = ns, prefixes
		r.mu.Unlock()
	}
	r.ready = true
	return true, nil
}

func (r *incoming) Start(tag []byte) (Watch, error) {
	r.tags = append(r.tags[:0], tag...)
	r.cur = Stanza{Tag: r.tags, Start: r.now, names: &r.names}
	r.pulled = r.pull
	h := Handler{Watch: Watch{Mode: Frame}}
	if !r.pull {
		h = (*Stream)(r).handlerFor(&r.cur)
	}
	r.then = actions{element: h.Element, done: h.Done, fail: h.Fail}
	if r.verify != nil {
		r.verify.begin(h.Watch)
	}
	return h.Watch, nil
}

// handlerFor finds who wants the stanza that has just begun.
func (s *Stream) handlerFor(head *Stanza) Handler {
	if string(head.Name()) == "iq" {
		typ, _ := Attr(head.Tag, "type")
		if failed := string(typ) == "error"; failed || string(typ) == "result" {
			if h := s.expected(head.Tag); h != nil {
				if failed {
					return Handler{Watch: Watch{Mode: Frame}, Done: h.Done, Fail: h.Fail}
				}
				return *h
			}
		}
	} else if isStreamError(head.Tag) {
		return Handler{Watch: Watch{Mode: Frame}, Done: func(st *Stanza) error {
			el, err := st.Element()
			if err != nil {
				return err
			}
			if e := ParseStreamError(el); e != nil {
				return peerError{e}
			}
			return nil
		}}
	}
	if s.handle == nil {
		return Handler{}
	}
	return s.handle(head)
}

// expected takes the expectation for the id of the iq, if there is one.
func (s *Stream) expected(tag []byte) *Handler {
	id, ok := Attr(tag, "id")
	if !ok {
		return nil
	}
	if bytes.IndexByte(id, '&') >= 0 {
		id = []byte(AttrString(tag, "id"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.expects[string(id)]
	if h != nil {
		delete(s.expects, string(id))
	}
	return h
}

func (r *incoming) Child(tag []byte) {
	n := len(r.tags)
	r.tags = append(r.tags, tag...)
	r.cur.Tag, r.cur.Child = r.tags[:n:n], r.tags[n:]
}

func (r *incoming) Element(b []byte) error {
	if r.cur.First.IsZero() {
		r.cur.First = r.now
	}
	if r.then.element == nil {
		return nil
	}
	return r.then.element(b, r.now)
}

func (r *incoming) End(frame []byte, elements int, size int64) (pause bool, err error) {
	c := &r.cur
	c.Frame, c.Elements, c.Size, c.End = frame, elements, size, r.now
	if elements > 0 && c.First.IsZero() {
		c.First = r.now
	}
	if r.verify != nil {
		r.verify.settle(elements, size)
		if frame != nil {
			if _, err := c.Element(); err != nil {
				return false, err
			}
		}
	}
	if r.pulled && !r.pull {
		return false, r.replay(frame)
	}
	if isStanza(c.Tag) {
		r.stanzasIn.Add(1)
	}
	if r.pull {
		r.ready = true
		return true, nil
	}
	done := r.then.done
	r.then = actions{}
	if done != nil {
		err = done(c)
	}
	r.cur = Stanza{} // or it would hold on to the framer's memory
	return false, err
}

// replay hands a stanza that an interrupted Next had begun to the handlers of Serve.
func (r *incoming) replay(frame []byte) error {
	v := r.verify
	r.verify = nil // has seen it
	f := NewFramer(r.in.limits)
	f.Opened()
	_, err := f.Feed(frame, r)
	r.verify = v
	return err
}

func (r *incoming) Close() error {
	r.over = true
	return nil
}
