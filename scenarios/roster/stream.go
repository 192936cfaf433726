package roster

import "github.com/xmppbench/xmppbench/internal/wire"

// Stream is what the halves need of a stream. *[wire.Stream] is one; tests put a
// simulation in its place. Callbacks never run inside the call that gives them,
// except for the error of a stream that is over.
type Stream interface {
	// NextID returns a new id.
	NextID() string
	// Post queues whole stanzas and calls written when they were written.
	Post(b []byte, written func()) error
	// PostPieces queues a stanza that is made while it is written.
	PostPieces(next func(dst []byte) (b []byte, more bool), written func()) error
	// Expect hands the answer with this id to h.
	Expect(id string, h wire.Handler) (cancel func())
	// Abort ends the stream with an error.
	Abort(e wire.StreamError)
}

var _ Stream = (*wire.Stream)(nil)

// emptyResult returns an iq of type result without a payload.
func emptyResult(id, to string) []byte {
	b := wire.AppendIQStart(nil, "result", id, "", to)
	return append(b[:len(b)-1], "/>"...)
}

// parse parses a stanza of a client stream that was read in Frame mode.
func parse(st *wire.Stanza) (*wire.Element, error) {
	return wire.ParseElement(st.Frame, wire.NSClient, nil)
}
