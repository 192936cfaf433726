package chunk

import (
	"cmp"
	"time"
)

// Bounds and defaults of the attributes of a request.
const (
	DefaultItems  = 100
	DefaultBytes  = 8192 // below the 10000 bytes that every peer must accept (RFC 6120 §13.12)
	MinBytes      = 1024
	DefaultWindow = 4
	Unbounded     = -1 // the window of a sender that waits for no credit

	// MaxSIDs is the number of transfers a connection may have at a time.
	MaxSIDs = 4
	// MaxCursor is the length in bytes of the longest cursor.
	MaxCursor = 256
	// CreditTimeout is how long a server waits for the next credit.
	CreditTimeout = time.Minute
)

// Limits are the most that a server grants. What a client asks for above them is
// lowered, not refused. Zero fields mean those of DefaultLimits.
type Limits struct {
	MaxItems  int `json:"max-items,omitempty"`
	MaxBytes  int `json:"max-bytes,omitempty"`
	MaxWindow int `json:"max-window,omitempty"`
	// Credited refuses senders that wait for no credit: a client that asks for an
	// unbounded window gets MaxWindow.
	Credited bool `json:"credited,omitempty"`
}

// DefaultLimits returns what a server grants unless told otherwise.
func DefaultLimits() Limits { return Limits{MaxItems: 500, MaxBytes: 65536, MaxWindow: 64} }

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	l.MaxItems = cmp.Or(l.MaxItems, d.MaxItems)
	l.MaxBytes = cmp.Or(l.MaxBytes, d.MaxBytes)
	l.MaxWindow = cmp.Or(l.MaxWindow, d.MaxWindow)
	return l
}

// Mode says who sets the pace.
type Mode string

// The modes.
const (
	Push Mode = "push"
	Pull Mode = "pull"
)

// Delivery is the kind of stanza that carries pushed chunks.
type Delivery string

// The deliveries.
const (
	DeliverIQ      Delivery = "iq"
	DeliverMessage Delivery = "message"
)
