package chunk

import (
	"fmt"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Request is <chunked/>, the child by which a query asks for its answer in
// chunks or pages.
type Request struct {
	Mode     Mode
	MaxItems int
	MaxBytes int
	// Window is the number of chunks that may be unanswered, or of requests that
	// the client means to have in flight; Unbounded waits for no answer.
	Window int
	// After is the cursor to go on from, empty for the start. Until ends the
	// range of a pipelined pull.
	After, Until string
	// Delivery is how chunks are to be pushed.
	Delivery Delivery
}

// Append appends the element. Attributes that have their default are left out,
// but for the mode.
func (r Request) Append(dst []byte) []byte {
	dst = append(dst, "<chunked xmlns='"+wire.NSChunk+"' mode='"...)
	dst = append(dst, r.Mode...)
	dst = append(dst, '\'')
	if r.MaxItems != 0 && r.MaxItems != DefaultItems {
		dst = appendInt(dst, "max-items", r.MaxItems)
	}
	if r.MaxBytes != 0 && r.MaxBytes != DefaultBytes {
		dst = appendInt(dst, "max-bytes", r.MaxBytes)
	}
	switch {
	case r.Window == Unbounded:
		dst = append(dst, " window='unbounded'"...)
	case r.Window != 0 && r.Window != defaultWindow(r.Mode):
		dst = appendInt(dst, "window", r.Window)
	}
	if r.After != "" {
		dst = wire.AppendAttr(dst, "after", r.After)
	}
	if r.Until != "" {
		dst = wire.AppendAttr(dst, "until", r.Until)
	}
	if r.Delivery == DeliverMessage {
		dst = append(dst, " delivery='message'"...)
	}
	return append(dst, "/>"...)
}

// defaultWindow is 1 for pull: whoever does not say that it pipelines gets the
// plain form, without boundaries ahead.
func defaultWindow(m Mode) int {
	if m == Pull {
		return 1
	}
	return DefaultWindow
}

// ParseRequest reads <chunked/>. The error is a *[wire.StanzaError], bad-request.
func ParseRequest(e *wire.Element) (Request, error) {
	r := Request{Mode: Mode(e.Attr("mode")), After: e.Attr("after"), Until: e.Attr("until")}
	if r.Mode != Push && r.Mode != Pull {
		return r, badRequest("mode is neither push nor pull")
	}
	var err error
	if r.MaxItems, err = intAttr(e, "max-items", 1, DefaultItems); err != nil {
		return r, err
	}
	if r.MaxBytes, err = intAttr(e, "max-bytes", MinBytes, DefaultBytes); err != nil {
		return r, err
	}
	if e.Attr("window") == "unbounded" && r.Mode == Push {
		r.Window = Unbounded
	} else if r.Window, err = intAttr(e, "window", 1, defaultWindow(r.Mode)); err != nil {
		return r, err
	}
	switch d := e.Attr("delivery"); {
	case d == "" || d == string(DeliverIQ):
		r.Delivery = DeliverIQ
	case d == string(DeliverMessage) && r.Mode == Push:
		r.Delivery = DeliverMessage
	default:
		return r, badRequest("delivery is for push, as iq or message")
	}
	if r.Until != "" && (r.Mode != Pull || r.After == "") {
		return r, badRequest("until is for pull, with after")
	}
	if len(r.After) > MaxCursor || len(r.Until) > MaxCursor {
		return r, badRequest("cursor longer than any that was given out")
	}
	return r, nil
}

// Lower returns r with what exceeds l lowered to it.
func (r Request) Lower(l Limits) Request {
	l = l.WithDefaults()
	r.MaxItems = min(r.MaxItems, l.MaxItems)
	r.MaxBytes = max(MinBytes, min(r.MaxBytes, l.MaxBytes))
	if r.Window > l.MaxWindow || r.Window == Unbounded && l.Credited {
		r.Window = l.MaxWindow
	}
	return r
}

func intAttr(e *wire.Element, name string, least, fallback int) (int, error) {
	s, ok := e.LookupAttr("", name)
	if !ok {
		return fallback, nil
	}
	n, ok := number(s)
	if !ok || n < least {
		return 0, badRequest(fmt.Sprintf("%s is not a number of %d or more", name, least))
	}
	return n, nil
}

// number reads an unsigned decimal number. Numbers beyond 31 bits count as the
// largest of these: every use is bounded anyway.
func number[T ~string | ~[]byte](s T) (int, bool) {
	const most = 1<<31 - 1
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int(s[i]-'0'), most)
	}
	return n, true
}

func appendInt(dst []byte, name string, n int) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\'')
}

func badRequest(text string) error {
	return &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: text}
}

// Errors that a server answers with.

// CursorExpired is the answer to a cursor that is unknown or too old: the client
// starts again without one.
func CursorExpired() *wire.StanzaError {
	return &wire.StanzaError{Type: "cancel", Condition: "item-not-found", App: "<cursor-expired xmlns='" + wire.NSChunk + "'/>"}
}

// TooManySIDs is the answer to one transfer more than MaxSIDs.
func TooManySIDs() *wire.StanzaError {
	return &wire.StanzaError{Type: "wait", Condition: "resource-constraint", Text: "too many transfers at a time"}
}

// UnknownSID is the answer to a control for a transfer that is not there.
func UnknownSID() *wire.StanzaError {
	return &wire.StanzaError{Type: "cancel", Condition: "item-not-found"}
}
