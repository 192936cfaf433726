package wire

// Default limits, used where a field of [Limits] is zero.
const (
	DefaultDepth = 128      // elements
	DefaultTag   = 16 << 10 // bytes
	DefaultFrame = 1 << 20  // bytes
)

// Limits bound what a peer can make a stream hold. Zero fields mean the defaults.
type Limits struct {
	Depth int // open elements, the stream's root included
	Tag   int // bytes of one tag, from < to >
	Frame int // bytes of a stanza in Frame mode, and of a watched element handed over
}

// A Mode says what a [Framer] does with a stanza.
type Mode uint8

// Modes of a stanza. In every mode the start tags of the stanza and of its first child are handed over.
const (
	Skip  Mode = iota // find the end; no limit of size, no memory
	Count             // as Skip, and count the watched elements
	Frame             // hand the whole stanza over, up to Limits.Frame; count as well
)

// A Watch says what is wanted of a stanza.
type Watch struct {
	Mode     Mode
	Name     string // local name of the elements to count; empty: all at Level
	Level    int    // their depth: the stream is 1, the stanza 2, <item/> in <iq><query><item/> 4; 0: count nothing
	Elements bool   // hand over each counted element's bytes, up to Limits.Frame
}

// Events is what a [Framer] reports. Every slice is valid only during the call.
// An error ends Feed, which returns it as it is.
type Events interface {
	// Open receives the start tag of the stream header. With pause, Feed returns.
	Open(tag []byte) (pause bool, err error)
	// Start receives a stanza's start tag and says what is wanted of the stanza.
	Start(tag []byte) (Watch, error)
	// Child receives the start tag of the stanza's first child element.
	Child(tag []byte)
	// Element receives a watched element, whole.
	Element(b []byte) error
	// End receives the stanza (Frame mode, else nil), the number of watched
	// elements and the stanza's size in bytes. With pause, Feed returns.
	End(frame []byte, elements int, size int64) (pause bool, err error)
	// Close reports the end tag of the root. Feed returns.
	Close() error
}

// A Framer finds the boundaries of an XMPP stream in bytes pushed into it.
type Framer struct {
	limits Limits
}

// NewFramer returns a framer that waits for a stream header.
func NewFramer(l Limits) Framer { return Framer{limits: l} }

// Feed takes the next bytes of the stream and reports what they complete. It
// returns how many bytes it took: all of p, unless an event paused it, the
// stream's end was reached or an error occurred. Errors are *[SyntaxError] or
// what an event returned; after one the framer must not be fed.
func (f *Framer) Feed(p []byte, ev Events) (n int, err error) { return 0, nil }

// Reset makes the framer expect a new stream header, as after a stream restart.
func (f *Framer) Reset() {}

// Opened makes the framer expect stanzas: the header was read elsewhere.
func (f *Framer) Opened() {}
