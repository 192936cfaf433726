package s2s

import (
	"errors"
	"fmt"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// A RouteError says why stanzas of a pair could not be sent. Condition is what a
// server answers to their senders (RFC 6120 §8.3.3).
type RouteError struct {
	Pair      Pair
	Condition string // as "remote-server-not-found"
	Err       error
}

// Error implements error.
func (e *RouteError) Error() string {
	return fmt.Sprintf("s2s: %s: %s: %v", e.Pair, e.Condition, e.Err)
}

// Unwrap returns the cause.
func (e *RouteError) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting: that of a peer that lacks
// something or does not accept a proof, where that was the cause.
func (e *RouteError) Kind() string {
	var (
		unspoken *UnspokenError
		proof    *ProofError
	)
	switch {
	case errors.As(e.Err, &unspoken):
		return unspoken.Kind()
	case errors.As(e.Err, &proof):
		return proof.Kind()
	}
	return "route." + e.Condition
}

// An UnspokenError says that the peer does not speak what the variant needs.
type UnspokenError struct {
	Peer    string // domain
	Missing string // what it did not offer
}

// Error implements error.
func (e *UnspokenError) Error() string {
	return fmt.Sprintf("s2s: %s does not offer %s", e.Peer, e.Missing)
}

// Kind returns the class of the error for counting.
func (e *UnspokenError) Kind() string { return "unspoken" }

// A ProofError says that the other end did not accept a proof of authority, or
// that this end did not accept the other's. Reason is the condition or reason that
// stood on the wire, or what was wrong.
type ProofError struct {
	Domain string // that was to be proved
	Reason string // as "forbidden" or "holder-mismatch"
	Err    error  // may be nil
}

// Error implements error.
func (e *ProofError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("s2s: authority for %s: %s: %v", e.Domain, e.Reason, e.Err)
	}
	return fmt.Sprintf("s2s: authority for %s: %s", e.Domain, e.Reason)
}

// Unwrap returns the cause.
func (e *ProofError) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting.
func (e *ProofError) Kind() string { return "proof." + e.Reason }

// Errors of a [Host].
var (
	// ErrClosed is returned for what is sent after Close.
	ErrClosed = errors.New("s2s: the host is closed")
	// ErrNotHosted is returned for stanzas whose sender's domain is not hosted here.
	ErrNotHosted = errors.New("s2s: the sender's domain is not hosted here")
	// ErrQueueFull is returned when too many stanzas wait for authority.
	ErrQueueFull = errors.New("s2s: too many stanzas wait for this pair of domains")
)

// condition returns the stanza error that stands for why a stream could not be had.
func condition(err error) string {
	var (
		proof    *ProofError
		route    *RouteError
		timeout  interface{ Timeout() bool }
		unspoken *UnspokenError
	)
	switch {
	case errors.As(err, &route):
		return route.Condition
	case errors.As(err, &proof) && proof.Reason == "invalid":
		return "internal-server-error" // XEP-0220: the key was not known again by who made it
	case errors.As(err, &proof):
		return "remote-server-timeout" // RFC 6120 §8.3.3.16: nothing is said of what was wrong
	case errors.As(err, &unspoken):
		return "remote-server-timeout"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "remote-server-timeout"
	case errors.Is(err, ErrQueueFull), errors.Is(err, wire.ErrQueueFull):
		return "resource-constraint"
	}
	return "remote-server-not-found"
}

// streamError is a stream error that this end gives a stream up with.
func streamError(condition, text string) error {
	return &wire.StreamError{Condition: condition, Text: text}
}
