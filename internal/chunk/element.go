package chunk

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Started is the answer to a push request: the transfer and the limits in force.
type Started struct {
	SID                        string
	Window, MaxItems, MaxBytes int
	// Count is an estimate of the items to come, negative if not known.
	Count int
}

// Append appends the element.
func (s Started) Append(dst []byte) []byte {
	dst = append(dst, "<started xmlns='"+wire.NSChunk+"'"...)
	dst = wire.AppendAttr(dst, "sid", s.SID)
	if s.Window == Unbounded {
		dst = append(dst, " window='unbounded'"...)
	} else {
		dst = appendInt(dst, "window", s.Window)
	}
	dst = appendInt(dst, "max-items", s.MaxItems)
	dst = appendInt(dst, "max-bytes", s.MaxBytes)
	if s.Count >= 0 {
		dst = appendInt(dst, "count", s.Count)
	}
	return append(dst, "/>"...)
}

// ParseStarted reads <started/> and checks that the server raised nothing that
// was asked for.
func ParseStarted(e *wire.Element, asked Request) (Started, error) {
	s := Started{SID: e.Attr("sid"), Count: -1}
	if s.SID == "" {
		return s, fmt.Errorf("chunk: started without sid")
	}
	if n, ok := number(e.Attr("count")); ok {
		s.Count = n
	}
	for _, a := range []struct {
		name  string
		value *int
		asked int
	}{
		{"window", &s.Window, asked.Window},
		{"max-items", &s.MaxItems, asked.MaxItems},
		{"max-bytes", &s.MaxBytes, asked.MaxBytes},
	} {
		text := e.Attr(a.name)
		if a.name == "window" && text == "unbounded" && asked.Window == Unbounded {
			s.Window = Unbounded
			continue
		}
		n, ok := number(text)
		if !ok || n < 1 {
			return s, fmt.Errorf("chunk: started: %s='%s' is not a positive number", a.name, text)
		}
		if a.asked != Unbounded && n > a.asked {
			return s, fmt.Errorf("chunk: started: server raised %s from %d to %d", a.name, a.asked, n)
		}
		*a.value = n
	}
	return s, nil
}

// Chunk is the start tag of <chunk/>, around the payload of one stanza of a push.
type Chunk struct {
	SID    string
	Seq    int
	Cursor string
	Last   bool
}

// AppendStart appends the start tag.
func (c Chunk) AppendStart(dst []byte) []byte {
	dst = append(dst, "<chunk xmlns='"+wire.NSChunk+"'"...)
	dst = wire.AppendAttr(dst, "sid", c.SID)
	dst = appendInt(dst, "seq", c.Seq)
	if c.Cursor != "" {
		dst = wire.AppendAttr(dst, "cursor", c.Cursor)
	}
	if c.Last {
		dst = append(dst, " last='true'"...)
	}
	return append(dst, '>')
}

// AppendChunkEnd appends the end tag of a chunk.
func AppendChunkEnd(dst []byte) []byte { return append(dst, "</chunk>"...) }

// Is reports whether tag starts the element of this name in the namespace of the
// transport, declared on the element itself.
func Is(tag []byte, name string) bool {
	if string(wire.TagName(tag)) != name {
		return false
	}
	ns, ok := wire.Attr(tag, "xmlns")
	return ok && string(ns) == wire.NSChunk
}

// ParseChunk reads the start tag of a chunk.
func ParseChunk(tag []byte) (Chunk, error) {
	c := Chunk{SID: wire.AttrString(tag, "sid"), Cursor: wire.AttrString(tag, "cursor"), Last: isTrue(tag, "last")}
	if c.SID == "" {
		return c, fmt.Errorf("chunk: chunk without sid")
	}
	seq, _ := wire.Attr(tag, "seq")
	var ok bool
	if c.Seq, ok = number(seq); !ok {
		return c, fmt.Errorf("chunk: chunk of %s: seq='%s' is not a number", c.SID, seq)
	}
	if len(c.Cursor) > MaxCursor {
		return c, fmt.Errorf("chunk: chunk of %s: cursor of %d bytes: the limit is %d", c.SID, len(c.Cursor), MaxCursor)
	}
	return c, nil
}

func isTrue(tag []byte, name string) bool {
	v, ok := wire.Attr(tag, name)
	return ok && (string(v) == "true" || string(v) == "1")
}

// Page is <page/>, beside the payload of the answer to a pull.
type Page struct {
	// Cursor is the end of this page.
	Cursor string
	// Ahead are the boundaries of the pages that follow, as far as asked for and
	// as known when the page was made.
	Ahead []string
	// Count is an estimate of all items, negative if not known.
	Count int
	Last  bool
}

// Append appends the element.
func (p Page) Append(dst []byte) []byte {
	dst = append(dst, "<page xmlns='"+wire.NSChunk+"'"...)
	if p.Cursor != "" {
		dst = wire.AppendAttr(dst, "cursor", p.Cursor)
	}
	if len(p.Ahead) > 0 {
		dst = wire.AppendAttr(dst, "ahead", strings.Join(p.Ahead, " "))
	}
	if p.Count >= 0 {
		dst = appendInt(dst, "count", p.Count)
	}
	if p.Last {
		dst = append(dst, " last='true'"...)
	}
	return append(dst, "/>"...)
}

// ParsePage reads the start tag of <page/>. most bounds the boundaries that are
// kept, whatever the server sent.
func ParsePage(tag []byte, most int) (Page, error) {
	p := Page{Cursor: wire.AttrString(tag, "cursor"), Count: -1, Last: isTrue(tag, "last")}
	if p.Cursor == "" && !p.Last {
		return p, fmt.Errorf("chunk: page without cursor that is not the last")
	}
	if count, ok := wire.Attr(tag, "count"); ok {
		if n, ok := number(count); ok {
			p.Count = n
		}
	}
	if ahead, ok := wire.Attr(tag, "ahead"); ok {
		for c := range bytes.FieldsSeq(ahead) {
			if len(p.Ahead) == most {
				break
			}
			p.Ahead = append(p.Ahead, string(c))
		}
	}
	for _, c := range append(p.Ahead[:len(p.Ahead):len(p.Ahead)], p.Cursor) {
		if len(c) > MaxCursor {
			return p, fmt.Errorf("chunk: page: cursor of %d bytes: the limit is %d", len(c), MaxCursor)
		}
	}
	return p, nil
}

// Control is what a client tells the sender of a transfer: ack, window or stop.
type Control struct {
	// Name is "ack", "window" or "stop".
	Name string
	SID  string
	// Seq is the chunk up to which an ack answers; Size is the new window.
	Seq, Size int
}

// Append appends the element.
func (c Control) Append(dst []byte) []byte {
	dst = append(dst, '<')
	dst = append(dst, c.Name...)
	dst = append(dst, " xmlns='"+wire.NSChunk+"'"...)
	dst = wire.AppendAttr(dst, "sid", c.SID)
	switch c.Name {
	case "ack":
		dst = appendInt(dst, "seq", c.Seq)
	case "window":
		dst = appendInt(dst, "size", c.Size)
	}
	return append(dst, "/>"...)
}

// ParseControl reads the child of an iq of type set that is in the namespace of
// the transport. The error is a *[wire.StanzaError].
func ParseControl(e *wire.Element) (Control, error) {
	c := Control{Name: e.Name, SID: e.Attr("sid")}
	if c.SID == "" {
		return c, badRequest("no sid")
	}
	var ok bool
	switch c.Name {
	case "stop":
	case "ack":
		if c.Seq, ok = number(e.Attr("seq")); !ok {
			return c, badRequest("seq is not a number")
		}
	case "window":
		if c.Size, ok = number(e.Attr("size")); !ok || c.Size < 1 {
			return c, badRequest("size is not a positive number")
		}
	default:
		return c, &wire.StanzaError{Type: "cancel", Condition: "feature-not-implemented", Text: "unknown element " + c.Name}
	}
	return c, nil
}

// Aborted is how a server ends a transfer of its own accord. The cursor stays
// valid.
type Aborted struct {
	SID, Cursor string
	// Reason is the local name of the child element, as "timeout".
	Reason string
}

// Append appends the element.
func (a Aborted) Append(dst []byte) []byte {
	dst = append(dst, "<aborted xmlns='"+wire.NSChunk+"'"...)
	dst = wire.AppendAttr(dst, "sid", a.SID)
	if a.Cursor != "" {
		dst = wire.AppendAttr(dst, "cursor", a.Cursor)
	}
	dst = append(dst, "><"...)
	dst = append(dst, a.Reason...)
	return append(dst, "/></aborted>"...)
}

// ParseAborted reads the element.
func ParseAborted(e *wire.Element) (Aborted, error) {
	a := Aborted{SID: e.Attr("sid"), Cursor: e.Attr("cursor"), Reason: "unknown"}
	if a.SID == "" {
		return a, fmt.Errorf("chunk: aborted without sid")
	}
	if len(a.Cursor) > MaxCursor {
		return a, fmt.Errorf("chunk: aborted %s: cursor of %d bytes: the limit is %d", a.SID, len(a.Cursor), MaxCursor)
	}
	for reason := range e.Each(wire.NSChunk, "") {
		a.Reason = reason.Name
		break
	}
	return a, nil
}

// AbortedError is the error of a client whose transfer the server ended.
type AbortedError struct{ Aborted }

// Error implements error.
func (e *AbortedError) Error() string {
	return fmt.Sprintf("chunk: server aborted %s: %s", e.SID, e.Reason)
}

// Kind returns the class of the error for counting.
func (e *AbortedError) Kind() string { return "chunk.aborted" }
