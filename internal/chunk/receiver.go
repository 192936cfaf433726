package chunk

import "fmt"

// Receiver checks the order of the chunks of one transfer and says when an
// answer is due. It is a state machine without I/O.
type Receiver struct {
	sid      string
	window   int
	delivery Delivery
	next     int
	acked    int
	last     bool
}

// NewReceiver returns the receiver of a transfer that the server started.
func NewReceiver(s Started, d Delivery) Receiver {
	return Receiver{sid: s.SID, window: s.Window, delivery: d}
}

// SequenceError says that a chunk was missing, came twice or came after the
// last: a fault of the server, after which the client stops the transfer.
type SequenceError struct {
	SID       string
	Got, Want int
	Ended     bool // the chunk came after the last
}

// Error implements error.
func (e *SequenceError) Error() string {
	if e.Ended {
		return fmt.Sprintf("chunk: %s: chunk %d came after the last", e.SID, e.Got)
	}
	return fmt.Sprintf("chunk: %s: chunk %d came where %d was due", e.SID, e.Got, e.Want)
}

// Kind returns the class of the error for counting.
func (e *SequenceError) Kind() string { return "chunk.protocol-error" }

// Accept takes the next chunk.
func (r *Receiver) Accept(c Chunk) error {
	if r.last || c.Seq != r.next {
		return &SequenceError{SID: r.sid, Got: c.Seq, Want: r.next, Ended: r.last}
	}
	r.next++
	r.last = c.Last
	return nil
}

// AckDue reports, for delivery by message, whether an ack of everything received
// has to be sent now, and notes that it is: every half window, rounded up. The
// last chunk needs none, as the transfer is dead then.
func (r *Receiver) AckDue() (seq int, due bool) {
	if r.delivery != DeliverMessage || r.window == Unbounded || r.last {
		return 0, false
	}
	if r.next-r.acked < (r.window+1)/2 {
		return 0, false
	}
	r.acked = r.next
	return r.next - 1, true
}
