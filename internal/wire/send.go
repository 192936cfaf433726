package wire

import (
	"fmt"
	"sync"
	"time"
)

const (
	bigBuffer = 16 << 10 // bytes of a pooled buffer, the largest TLS record
	entryCost = 64       // bytes that a queued entry counts beyond its stanza
)

// buffers lends 16 KiB to streams while data flows, so that idle streams hold none.
//
//nolint:gochecknoglobals // a pool is worth something only when all streams share it
var buffers = sync.Pool{New: func() any { return new([bigBuffer]byte) }}

// framers lends a Framer to streams that write.
//
//nolint:gochecknoglobals // as above
var framers = sync.Pool{New: func() any { return new(Framer) }}

// entry is one thing queued for writing.
type entry struct {
	b       []byte
	next    func(dst []byte) (b []byte, more bool) // instead of b
	written func()
	result  chan error // of a Send that waits
	cost    int
}

// writer is the state of the goroutine that writes.
type writer struct {
	out       *Framer // counts stanzas on their way out; nil between stanzas while nothing is written
	outOpen   bool    // the own header was sent
	outBroken bool    // what is sent is not XML: counting stopped
	outStanza bool    // the element at hand is a stanza
}

// Send writes b, one or more whole stanzas, after all that was queued before, and
// returns when its last byte was written to the connection. b can be used again
// then. A peer that takes no byte for WriteTimeout ends the stream.
func (s *Stream) Send(b []byte) error {
	s.mu.Lock()
	if s.ended || s.closing {
		defer s.mu.Unlock()
		return s.closedError()
	}
	if s.opt.sent != nil {
		s.opt.sent(b)
	}
	if s.writing {
		result := make(chan error, 1)
		s.push(entry{b: b, result: result})
		s.mu.Unlock()
		return <-result // every write is bounded, and end answers too
	}
	s.writing = true
	s.mu.Unlock()
	err := s.write(b)
	if err != nil {
		s.end(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 { // nobody has popped yet
		go s.drain()
	} else {
		s.stopWriting()
	}
	return err
}

// Post queues b, one or more whole stanzas, and never waits for the peer. The
// stream owns b until written is called, or for ever when written is nil. written
// runs on the writing goroutine after the last byte of b was written; it may Post
// again, but not Send, IQ or Close. It is not called when the stream ends first.
//
// Above the queue's bound Post queues nothing and returns [ErrQueueFull]; the
// caller decides whether that is the end of the stream. A stanza larger than the
// bound is taken when nothing else is posted.
func (s *Stream) Post(b []byte, written func()) error {
	return s.post(entry{b: b, written: written, cost: len(b) + entryCost})
}

// PostPieces queues one stanza (or several) that is made while it is written: next
// appends a following part to dst, returns it and says whether there is more. It
// runs on the writing goroutine, without locks of the stream, and should append
// something each time. Nothing interleaves. The rest is as with Post.
func (s *Stream) PostPieces(next func(dst []byte) (b []byte, more bool), written func()) error {
	return s.post(entry{next: next, written: written, cost: entryCost})
}

func (s *Stream) post(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.closing {
		return s.closedError()
	}
	if s.queued > 0 && s.queued+e.cost > s.opt.queueBytes {
		return ErrQueueFull
	}
	if s.opt.sent != nil {
		s.opt.sent(e.b)
	}
	s.push(e)
	return nil
}

// push queues an entry and sees to it that somebody writes it. The lock is held.
func (s *Stream) push(e entry) {
	s.queue = append(s.queue, e)
	s.queued += e.cost
	if !s.writing {
		s.writing = true
		go s.drain()
	}
}

// dropQueue throws away what is not being written yet. The lock is held.
func (s *Stream) dropQueue() {
	for _, e := range s.queue[s.head:] {
		s.queued -= e.cost
		if e.result != nil {
			e.result <- s.closedError()
		}
	}
	s.queue, s.head = nil, 0
}

// stopWriting leaves the connection to the next writer. The lock is held.
func (s *Stream) stopWriting() {
	s.writing = false
	if s.out != nil && s.out.Between() {
		s.outOpen = true
		framers.Put(s.out)
		s.out = nil
	}
	if !s.ended {
		// TLS writes by itself when it answers a key update.
		var by time.Time
		if s.writeBy != nil {
			by = *s.writeBy
		}
		_ = s.conn.SetWriteDeadline(by)
	}
}

// pop takes the next entry. Without one, and with nothing left to flush, it ends
// the writing.
func (s *Stream) pop(flushed bool) (e entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head < len(s.queue) {
		e = s.queue[s.head]
		s.queue[s.head] = entry{}
		if s.head++; s.head > len(s.queue)/2 && s.head > 16 {
			n := copy(s.queue, s.queue[s.head:])
			clear(s.queue[n:])
			s.queue, s.head = s.queue[:n], 0
		}
		return e, true
	}
	s.queue, s.head = nil, 0
	if flushed {
		s.stopWriting()
	}
	return entry{}, false
}

// batch is what drain is about to write.
type batch struct {
	s       *Stream
	store   *[bigBuffer]byte
	buf     []byte  // gathered bytes, in store unless a piece was larger
	entries []entry // whose last byte is in buf
}

// drain writes the queue until it is empty. It gathers small stanzas into one
// Write, because a Write costs more than they do.
func (s *Stream) drain() {
	store := buffers.Get().(*[bigBuffer]byte)
	defer buffers.Put(store)
	w := batch{s: s, store: store, buf: store[:0]}
	for {
		e, ok := s.pop(len(w.entries) == 0)
		if !ok && len(w.entries) == 0 {
			return
		}
		var err error
		switch {
		case !ok:
			err = w.flush()
		case e.next != nil:
			err = w.addPieces(e.next)
		default:
			err = w.add(e.b)
		}
		if ok {
			e.b, e.next = nil, nil
			w.entries = append(w.entries, e)
		}
		if err != nil {
			w.fail(err)
			return
		}
	}
}

func (w *batch) add(b []byte) error {
	piece := int(w.s.opt.piece)
	if len(w.buf) > 0 && len(w.buf)+len(b) > min(piece, len(w.store)) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(b) >= piece {
		whole := len(b) - len(b)%piece
		if err := w.s.write(b[:whole]); err != nil {
			return err
		}
		b = b[whole:]
	}
	w.buf = append(w.buf, b...)
	return nil
}

func (w *batch) addPieces(next func([]byte) ([]byte, bool)) error {
	for more := true; more; {
		w.buf, more = next(w.buf)
		rest := w.buf
		for piece := int(w.s.opt.piece); len(rest) >= piece; rest = rest[piece:] {
			if err := w.s.write(rest[:piece]); err != nil {
				return err
			}
			// What was gathered before is smaller than a piece, hence written.
			w.written()
		}
		w.buf = append(w.store[:0], rest...)
	}
	return nil
}

func (w *batch) flush() error {
	if err := w.s.write(w.buf); err != nil {
		return err
	}
	w.buf = w.store[:0]
	w.written()
	return nil
}

// written tells those whose last byte went out. They may queue more.
func (w *batch) written() {
	if len(w.entries) == 0 {
		return
	}
	w.s.mu.Lock()
	for i := range w.entries {
		w.s.queued -= w.entries[i].cost
	}
	w.s.mu.Unlock()
	for i := range w.entries {
		if e := &w.entries[i]; e.result != nil {
			e.result <- nil
		} else if e.written != nil {
			e.written()
		}
	}
	clear(w.entries)
	w.entries = w.entries[:0]
}

func (w *batch) fail(err error) {
	w.s.end(err)
	for _, e := range w.entries {
		if e.result != nil {
			e.result <- err
		}
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.stopWriting()
}

// write writes b in pieces. Only the goroutine that set writing may call it.
func (s *Stream) write(b []byte) error {
	for len(b) > 0 {
		p := b[:min(len(b), int(s.opt.piece))]
		b = b[len(p):]
		s.mu.Lock()
		c := s.conn
		var by time.Time
		if s.writeBy != nil {
			by = *s.writeBy
		} else {
			by = time.Now().Add(s.opt.writeTimeout)
		}
		_ = c.SetWriteDeadline(by) // under the lock, or it could undo that of giveUp
		s.mu.Unlock()
		if s.opt.trace != nil {
			s.opt.trace(true, p)
		}
		n, err := c.Write(p)
		s.bytesOut.Add(int64(n))
		if err != nil {
			return fmt.Errorf("wire: write: %w", err)
		}
		s.count(p)
	}
	return nil
}

// count counts the stanzas in what was written.
func (s *Stream) count(p []byte) {
	if s.outBroken {
		return
	}
	if s.out == nil {
		s.out = framers.Get().(*Framer)
		*s.out = NewFramer(s.in.limits)
		if s.outOpen {
			s.out.Opened()
		}
	}
	_, err := s.out.Feed(p, (*outgoing)(s))
	s.outBroken = err != nil
}

// outgoing counts the stanzas in what was written.
type outgoing Stream

func (*outgoing) Open([]byte) (bool, error) { return false, nil }

func (o *outgoing) Start(tag []byte) (Watch, error) {
	o.outStanza = isStanza(tag)
	return Watch{}, nil
}

func (*outgoing) Child([]byte)         {}
func (*outgoing) Element([]byte) error { return nil }

func (o *outgoing) End([]byte, int, int64) (bool, error) {
	if o.outStanza {
		o.stanzasOut.Add(1)
	}
	return false, nil
}

func (*outgoing) Close() error { return nil }

// isStanza reports whether the start tag is that of an iq, message or presence.
func isStanza(tag []byte) bool {
	switch string(LocalName(tag)) {
	case "iq", "message", "presence":
		return true
	}
	return false
}
