package chunk

// Bounds and defaults of the attributes of a request.
const (
	DefaultItems  = 100
	DefaultBytes  = 8192 // below the 10000 bytes that every peer must accept (RFC 6120 §13.12)
	MinBytes      = 1024
	DefaultWindow = 4
	Unbounded     = -1 // the window of a sender that waits for no credit

	// MaxSIDs is the number of transfers a connection may have at a time.
	MaxSIDs = 4
)

// Limits are the most that a server grants. What a client asks for above them is
// lowered, not refused.
type Limits struct {
	MaxItems  int `json:"max-items,omitempty"`
	MaxBytes  int `json:"max-bytes,omitempty"`
	MaxWindow int `json:"max-window,omitempty"`
	// Unbounded admits senders that wait for no credit. Without it a client that
	// asks for one gets MaxWindow.
	Unbounded bool `json:"unbounded,omitempty"`
}

// DefaultLimits returns what a server grants unless told otherwise.
func DefaultLimits() Limits {
	return Limits{MaxItems: 500, MaxBytes: 65536, MaxWindow: 64, Unbounded: true}
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
