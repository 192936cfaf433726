package chunk

import "fmt"

// Sender decides when the next chunk of a transfer may be handed to the write
// queue. It is a state machine without locks, timers or I/O: whoever owns it
// builds and posts the chunks and tells it what happened.
type Sender struct {
	window     int
	interleave bool
	next       int // seq of the next chunk
	answered   int // chunks answered
	queued     int // chunks handed over and not yet written
	last       bool
}

// unboundedQueue is the number of chunks that an uncredited sender that does not
// interleave keeps queued: enough to stand in everybody's way, without the whole
// transfer in memory.
const unboundedQueue = 64

// NewSender returns the sender of a new transfer. With interleave one chunk at a
// time is in the queue, so that whatever else was queued meanwhile is written
// before the next one.
func NewSender(window int, interleave bool) Sender {
	return Sender{window: window, interleave: interleave}
}

// Ready reports whether the next chunk may be built and posted.
func (s *Sender) Ready() bool {
	switch {
	case s.last:
		return false
	case s.interleave && s.queued > 0:
		return false
	case s.window == Unbounded:
		return s.queued < unboundedQueue
	}
	return s.next-s.answered < s.window
}

// Post takes the sequence number of the chunk that is handed over now. After the
// last one no other is ready.
func (s *Sender) Post(last bool) (seq int) {
	seq = s.next
	s.next++
	s.queued++
	s.last = last
	return seq
}

// Written notes that a chunk went into the socket.
func (s *Sender) Written() { s.queued-- }

// Credit notes the answer to one chunk.
func (s *Sender) Credit() { s.answered = min(s.answered+1, s.next) }

// Ack notes that all chunks up to seq are answered. It refuses one that was
// never sent; an older one changes nothing.
func (s *Sender) Ack(seq int) error {
	if seq >= s.next {
		return badRequest(fmt.Sprintf("chunk %d was not sent yet", seq))
	}
	s.answered = max(s.answered, seq+1)
	return nil
}

// Resize sets the window. A window below what is in flight only delays.
func (s *Sender) Resize(window int) { s.window = window }

// Unanswered returns the number of chunks sent and not answered.
func (s *Sender) Unanswered() int { return s.next - s.answered }

// Sent returns the number of chunks handed over.
func (s *Sender) Sent() int { return s.next }
