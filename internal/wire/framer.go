package wire

import (
	"bytes"
	"fmt"
)

// Default limits, used where a field of [Limits] is zero. RFC 6120 §13.12 forbids
// to deploy a limit of stanza size below 10000 bytes.
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

	// Restricted refuses comments, and processing instructions behind the header, in
	// what is only counted and between stanzas too (RFC 6120 §11.1). Without it they
	// are passed over there, as a client does well to do.
	Restricted bool
}

func (l Limits) withDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	if l.Tag <= 0 {
		l.Tag = DefaultTag
	}
	if l.Frame <= 0 {
		l.Frame = DefaultFrame
	}
	return l
}

// A Mode says what a [Framer] does with a stanza.
type Mode uint8

// Modes of a stanza. In every mode the start tags of the stanza and of its first child are handed over.
const (
	Skip  Mode = iota // find the end; no limit of size, no memory
	Count             // the same, and count the watched elements
	Frame             // hand the whole stanza over, up to Limits.Frame; count as well
)

// A Watch says what is wanted of a stanza.
type Watch struct {
	Mode     Mode
	Elements bool   // hand over each counted element's bytes, up to Limits.Frame
	Name     string // local name of the elements to count; empty: all at Level
	Level    int    // their depth: the stream is 1, the stanza 2, <item/> in <iq><query><item/> 4; 0: count nothing
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

type state uint8

const (
	inText      state = iota
	inLess            // after <
	inTag             // in a start tag, outside quotes
	inSingle          // in '...'
	inDouble          // in "..."
	inSlash           // in a start tag, after /
	inEndTag          // after </
	inBang            // after <!
	inDash            // after <!-
	inComment         // after <!--
	inComment1        // in a comment, after -
	inComment2        // in a comment, after --
	inOpenCDATA       // in the keyword of <![CDATA[
	inCDATA           // in a CDATA section
	inCDATA1          // in a CDATA section, after ]
	inCDATA2          // in a CDATA section, after ]]
	inPI              // after <?
	inPI1             // in a processing instruction, after ?
	closed            // after the root's end tag
)

const cdataKeyword = "[CDATA["

// A Framer finds the boundaries of an XMPP stream in bytes pushed into it. It
// keeps a copy only of what is unfinished and wanted whole when Feed returns: a tag it
// hands over, a watched element, a stanza in Frame mode.
//
// It checks nesting in number, the shape of tags, comments and CDATA roughly, and
// that nothing but white space stands between stanzas; document types are refused.
// It does not check names of end tags, attributes, references, characters or namespaces.
type Framer struct {
	limits Limits
	state  state
	key    uint8 // bytes of cdataKeyword seen
	child  bool  // the stanza's first child was seen
	inside bool  // within a counted element
	held   bool  // a region is kept, from hold on
	depth  int   // open elements
	count  int   // counted elements of the stanza
	watch  Watch

	// Offsets in the stream since NewFramer or Reset.
	off    int64 // of the first byte of the slice being fed
	tag    int64 // of the < of the tag at hand
	stanza int64 // of the stanza's <
	elem   int64 // of the watched element's <
	hold   int64 // of the kept region
	carry  []byte
	sent   int // bytes of the slice being fed that are in carry already
}

// NewFramer returns a framer that waits for a stream header.
func NewFramer(l Limits) Framer { return Framer{limits: l.withDefaults()} }

// Reset makes the framer expect a new stream header, as after a stream restart.
// Like Opened it must not be called by an event.
func (f *Framer) Reset() { *f = Framer{limits: f.limits, carry: f.carry[:0]} }

// Opened makes the framer expect stanzas: the header was read elsewhere.
func (f *Framer) Opened() { f.Reset(); f.depth = 1 }

// Elements returns how many watched elements of the stanza at hand have ended.
func (f *Framer) Elements() int { return f.count }

// Depth returns the number of open elements: 0 before the header and after the
// root's end, 1 between stanzas.
func (f *Framer) Depth() int { return f.depth }

// Between reports whether the framer stands between stanzas, with nothing begun.
func (f *Framer) Between() bool { return f.depth == 1 && f.state == inText }

// Release gives memory back that is kept for the next split stanza, if it is more
// than keep bytes.
func (f *Framer) Release(keep int) {
	if !f.held && cap(f.carry) > keep {
		f.carry = nil
	}
}

// Feed takes the next bytes of the stream and reports what they complete. It
// returns how many bytes it took: all of p, unless an event paused it, the
// stream's end was reached or an error occurred. Errors are *[SyntaxError] or
// what an event returned; after one the framer must not be fed.
func (f *Framer) Feed(p []byte, ev Events) (n int, err error) {
	f.sent = 0
	i, pause := 0, false
	for i < len(p) && !pause && err == nil && f.state != closed {
		c := p[i]
		switch f.state {
		case inText:
			i, err = f.text(p, i)
		case inLess:
			if i, err = f.less(p, i); err != nil || f.state != inTag {
				break
			}
			if n, empty := plainTag(p[i:]); n > 0 {
				i += n
				pause, err = f.start(p, i, empty, ev)
			}
		case inTag:
			if i, c = tagEnd(p, i); c == 0 {
				break
			}
			i++
			switch c {
			case '"':
				f.state = inDouble
			case '\'':
				f.state = inSingle
			case '/':
				f.state = inSlash
			case '>':
				pause, err = f.start(p, i, false, ev)
			default:
				err = f.fault(i-1, NotWellFormed, "< inside a tag")
			}
		case inSingle:
			i = f.jump(p, i, '\'', inTag)
		case inDouble:
			i = f.jump(p, i, '"', inTag)
		case inSlash:
			if c != '>' {
				err = f.fault(i, NotWellFormed, "/ inside a tag")
				break
			}
			i++
			pause, err = f.start(p, i, true, ev)
		case inEndTag:
			if i = f.jump(p, i, '>', inText); f.state == inText {
				pause, err = f.end(p, i, ev)
			}
		default:
			i, err = f.markup(p, i, c)
		}
	}
	if err == nil {
		err = f.keep(p, i)
	}
	f.off += int64(i)
	return i, err
}

// plainWindow bounds what plainTag looks at, in bytes.
const plainWindow = 512

// plainTag returns the length of the rest of a start tag, and whether it is an empty
// element, if that can be told from counting alone: the tag is whole and has one
// kind of quotes. It is 0 otherwise. Searching whole tags for single bytes is
// several times as fast as walking from quote to quote.
func plainTag(p []byte) (n int, empty bool) {
	n = bytes.IndexByte(p[:min(len(p), plainWindow)], '>')
	if n < 0 {
		return 0, false
	}
	tag := p[:n]
	if n < 16 { // walking is as fast
		at, c := tagEnd(tag, 0)
		if c != 0 && (c != '/' || at < n-1) {
			return 0, false
		}
		return n + 1, c != 0
	}
	quote := []byte{'\''}
	if bytes.IndexByte(tag, '"') >= 0 {
		if bytes.IndexByte(tag, '\'') >= 0 {
			return 0, false
		}
		quote[0] = '"'
	}
	// An odd number of quotes means that the > is part of a value.
	if bytes.Count(tag, quote)%2 != 0 || bytes.IndexByte(tag, '<') >= 0 {
		return 0, false
	}
	slash := bytes.IndexByte(tag, '/')
	if slash >= 0 && slash < n-1 {
		return 0, false
	}
	return n + 1, slash >= 0
}

// tagEnd returns the index of the first byte that matters in a start tag, and that
// byte, or 0 when there is none.
func tagEnd(p []byte, i int) (int, byte) {
	for ; i < len(p); i++ {
		switch c := p[i]; c {
		case '"', '\'', '/', '>', '<':
			return i, c
		}
	}
	return i, 0
}

// jump moves behind the next end and to the state that follows it, if it is in p.
func (f *Framer) jump(p []byte, i int, end byte, next state) int {
	j := bytes.IndexByte(p[i:], end)
	if j < 0 {
		return len(p)
	}
	f.state = next
	return i + j + 1
}

func (f *Framer) text(p []byte, i int) (int, error) {
	j := i
	switch {
	case p[i] == '<': // most often nothing is between two tags
	case f.depth > 1:
		n := bytes.IndexByte(p[i:], '<')
		if n < 0 {
			return len(p), nil
		}
		j += n
	default:
		for j < len(p) && isSpace(p[j]) {
			j++
		}
		if j == len(p) {
			return j, nil
		}
		if p[j] != '<' {
			where := "between stanzas"
			if f.depth == 0 {
				where = "before the stream header"
			}
			return j, f.fault(j, NotWellFormed, "text "+where)
		}
	}
	f.state = inLess
	f.tag = f.off + int64(j)
	if !f.held && f.wanted() {
		f.held, f.hold, f.carry, f.sent = true, f.tag, f.carry[:0], j
	}
	return j + 1, nil
}

// wanted reports whether a start tag at this depth would be handed over or looked
// into, so that it must be whole.
func (f *Framer) wanted() bool {
	return f.depth < 2 || !f.child || f.depth+1 == f.watch.Level
}

func (f *Framer) less(p []byte, i int) (int, error) {
	switch c := p[i]; {
	case c == '/':
		if f.depth == 0 {
			return i, f.fault(i, NotWellFormed, "end tag before the stream header")
		}
		f.state = inEndTag
	case c == '!':
		f.state = inBang
	case c == '?':
		if f.limits.Restricted && f.depth > 0 {
			return i, f.fault(i, RestrictedXML, "processing instruction")
		}
		f.state = inPI
	case isNameStart(c):
		if f.depth >= f.limits.Depth {
			return i, f.fault(i, PolicyViolation, fmt.Sprintf("more than %d nested elements", f.limits.Depth))
		}
		f.state = inTag
		return i + 1, nil
	default:
		return i, f.fault(i, NotWellFormed, "< not followed by a name")
	}
	// Not a start tag: what was held for one is let go.
	if f.held && f.hold == f.tag {
		f.held = false
	}
	return i + 1, nil
}

// start handles a whole start tag that ends before p[i].
func (f *Framer) start(p []byte, i int, empty bool, ev Events) (pause bool, err error) {
	f.state = inText
	if err := f.checkTag(i); err != nil {
		return false, err
	}
	f.depth++
	switch f.depth {
	case 1:
		pause, err = ev.Open(f.slice(p, f.tag, i))
	case 2:
		f.stanza, f.count, f.child = f.tag, 0, false
		f.watch = Watch{}
		f.watch, err = ev.Start(f.slice(p, f.tag, i))
		if f.watch.Mode == Skip {
			f.watch = Watch{}
		}
		if err == nil && (f.watch.Level < 0 || f.watch.Level == 1 || f.watch.Level == 2) {
			err = fmt.Errorf("wire: watch of elements at level %d: the first level below a stanza is 3", f.watch.Level)
		}
	case 3:
		if !f.child {
			f.child = true
			ev.Child(f.slice(p, f.tag, i))
		}
	}
	if err != nil {
		return false, err
	}
	if f.depth > 2 && f.depth == f.watch.Level && !f.inside {
		if f.watch.Name == "" || string(LocalName(f.slice(p, f.tag, i))) == f.watch.Name {
			f.inside, f.elem = true, f.tag
		}
	}
	if f.held && f.hold == f.tag && !f.stillWanted() {
		f.held = false
	}
	if empty {
		endPause, err := f.end(p, i, ev)
		return pause || endPause, err
	}
	return pause, nil
}

// stillWanted reports whether the region that began with the start tag at hand goes on behind it.
func (f *Framer) stillWanted() bool {
	return f.depth > 1 && (f.watch.Mode == Frame || (f.inside && f.watch.Elements))
}

// end handles the end of an element, which lies before p[i].
func (f *Framer) end(p []byte, i int, ev Events) (pause bool, err error) {
	if err := f.checkTag(i); err != nil {
		return false, err
	}
	f.depth--
	if f.inside && f.depth == f.watch.Level-1 {
		f.inside = false
		f.count++
		if f.watch.Elements {
			if size := f.off + int64(i) - f.elem; size > int64(f.limits.Frame) {
				return false, f.tooLarge(i, "element")
			}
			if err := ev.Element(f.slice(p, f.elem, i)); err != nil {
				return false, err
			}
		}
		if f.watch.Mode != Frame {
			f.held = false
		}
	}
	switch f.depth {
	case 0:
		f.state = closed
		return true, ev.Close()
	case 1:
		size := f.off + int64(i) - f.stanza
		var frame []byte
		if f.watch.Mode == Frame {
			if size > int64(f.limits.Frame) {
				return false, f.tooLarge(i, "stanza")
			}
			frame = f.slice(p, f.stanza, i)
		}
		f.held, f.child, f.watch = false, false, Watch{}
		n := f.count
		f.count = 0
		return ev.End(frame, n, size)
	}
	return false, nil
}

// slice returns the bytes from the offset to p[i], which lie in the held region.
func (f *Framer) slice(p []byte, from int64, i int) []byte {
	if f.hold >= f.off {
		return p[from-f.off : i]
	}
	f.carry = append(f.carry, p[f.sent:i]...)
	f.sent = i
	return f.carry[from-f.hold:]
}

// keep copies the held part of p before the caller takes p back, and checks the
// limits of what is unfinished.
func (f *Framer) keep(p []byte, i int) error {
	if f.held {
		f.carry = append(f.carry, p[f.sent:i]...)
		switch {
		case f.watch.Mode == Frame && f.depth > 1 && len(f.carry) > f.limits.Frame:
			return f.tooLarge(i, "stanza")
		case f.inside && f.watch.Elements && f.off+int64(i)-f.elem > int64(f.limits.Frame):
			return f.tooLarge(i, "element")
		}
	}
	switch f.state {
	case inTag, inSingle, inDouble, inSlash, inEndTag:
		return f.checkTag(i)
	}
	return nil
}

func (f *Framer) checkTag(i int) error {
	if f.off+int64(i)-f.tag > int64(f.limits.Tag) {
		return f.fault(i, PolicyViolation, fmt.Sprintf("tag larger than %d bytes", f.limits.Tag))
	}
	return nil
}

func (f *Framer) tooLarge(i int, what string) error {
	return f.fault(i, PolicyViolation, fmt.Sprintf("%s larger than %d bytes", what, f.limits.Frame))
}

func (f *Framer) fault(i int, condition, msg string) error {
	return &SyntaxError{Condition: condition, Msg: msg, Offset: f.off + int64(i)}
}

// markup handles comments, CDATA sections and processing instructions.
func (f *Framer) markup(p []byte, i int, c byte) (int, error) {
	switch f.state {
	case inBang:
		switch {
		case c == '-' && f.limits.Restricted:
			return i, f.fault(i, RestrictedXML, "comment")
		case c == '-':
			f.state = inDash
		case c == '[' && f.depth > 1:
			f.state, f.key = inOpenCDATA, 1
		default:
			return i, f.fault(i, RestrictedXML, "document type, or CDATA outside a stanza")
		}
	case inDash:
		if c != '-' {
			return i, f.fault(i, NotWellFormed, "<!- does not start a comment")
		}
		f.state = inComment
	case inComment:
		return f.jump(p, i, '-', inComment1), nil
	case inComment1:
		f.state = inComment
		if c == '-' {
			f.state = inComment2
		}
	case inComment2:
		if c != '>' {
			return i, f.fault(i, NotWellFormed, "-- inside a comment")
		}
		f.state = inText
	case inOpenCDATA:
		if c != cdataKeyword[f.key] {
			return i, f.fault(i, NotWellFormed, "<![ does not start a CDATA section")
		}
		if f.key++; int(f.key) == len(cdataKeyword) {
			f.state = inCDATA
		}
	case inCDATA:
		return f.jump(p, i, ']', inCDATA1), nil
	case inCDATA1:
		f.state = inCDATA
		if c == ']' {
			f.state = inCDATA2
		}
	case inCDATA2:
		switch c {
		case '>':
			f.state = inText
		case ']': // ]]]: still two of them
		default:
			f.state = inCDATA
		}
	case inPI:
		return f.jump(p, i, '?', inPI1), nil
	case inPI1:
		switch c {
		case '>':
			f.state = inText
		case '?':
		default:
			f.state = inPI
		}
	}
	return i + 1, nil
}
