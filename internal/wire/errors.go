package wire

import (
	"errors"
	"fmt"
	"strings"
)

// Conditions of [SyntaxError] and [StreamError] that this package itself raises
// (RFC 6120 §4.9.3).
const (
	NotWellFormed      = "not-well-formed"
	RestrictedXML      = "restricted-xml"
	BadFormat          = "bad-format"
	BadNamespacePrefix = "bad-namespace-prefix"
	InvalidNamespace   = "invalid-namespace"
	PolicyViolation    = "policy-violation"

	undefined = "undefined-condition"
)

var (
	// ErrQueueFull is returned by Post and PostPieces when the peer reads too
	// slowly and the stream's queue is at its bound. Nothing was queued.
	ErrQueueFull = errors.New("wire: send queue full: the peer reads more slowly than it is written to")
	// ErrClosed is returned for what is sent after Close, Abort or the end of the stream.
	ErrClosed = errors.New("wire: stream closed")
	// ErrReading is returned by Next, Serve and Restart while another goroutine reads the stream.
	ErrReading = errors.New("wire: stream is already being read")
)

// A SyntaxError says that received bytes are not what a stream may carry.
type SyntaxError struct {
	Condition string // stream error condition of RFC 6120 §4.9.3
	Msg       string // what was wrong, for people
	Offset    int64  // bytes from the start of the stream (or of the frame) to the fault
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("wire: %s at byte %d: %s", e.Condition, e.Offset, e.Msg)
}

// Kind returns the class of the error for counting: "xml." and the condition.
func (e *SyntaxError) Kind() string { return "xml." + e.Condition }

// A CutError says that the connection ended before the stream did.
type CutError struct {
	Inside string // start of the stanza that was cut, "<iq id='7'>"; empty between stanzas
	Err    error  // what reading returned: io.ErrUnexpectedEOF or a network error
}

// Error implements error.
func (e *CutError) Error() string {
	if e.Inside == "" {
		return fmt.Sprintf("wire: stream cut between stanzas: %v", e.Err)
	}
	return fmt.Sprintf("wire: stream cut inside %s: %v", e.Inside, e.Err)
}

// Unwrap returns what reading returned.
func (e *CutError) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting.
func (e *CutError) Kind() string { return "stream.cut" }

// A StreamError is the <stream:error/> with which one end gave the stream up (RFC 6120 §4.9).
type StreamError struct {
	Condition string // defined condition, as "policy-violation"
	Text      string // optional text for people
	App       string // application-specific element as XML, may be empty
}

// Error implements error.
func (e *StreamError) Error() string {
	if e.Text == "" {
		return "wire: stream error " + e.Condition
	}
	return "wire: stream error " + e.Condition + ": " + e.Text
}

// Kind returns the class of the error for counting: "stream." and the condition.
func (e *StreamError) Kind() string { return "stream." + e.Condition }

// A StanzaError is the <error/> of a stanza of type error (RFC 6120 §8.3).
type StanzaError struct {
	Type      string // auth, cancel, continue, modify or wait
	Condition string // defined condition, as "item-not-found"
	Text      string // optional text for people
	App       string // application-specific element as XML, may be empty
}

// Error implements error.
func (e *StanzaError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wire: stanza error %s (%s)", e.Condition, e.Type)
	if e.App != "" {
		b.WriteString(" " + e.App)
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	return b.String()
}

// Kind returns the class of the error for counting: "stanza." and the condition.
func (e *StanzaError) Kind() string { return "stanza." + e.Condition }
