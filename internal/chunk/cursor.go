package chunk

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Cursor is the resume point that a server hands out: enough to go on without
// any state kept between two attempts. It is opaque to clients, which may hold
// it across connections.
type Cursor struct {
	// Delta says that only what changed since Ver is being sent.
	Delta bool
	// S is the version up to which the client has every change of the keys that
	// it has passed; Ver is the version that it held at the start of a delta.
	S, Ver uint64
	// Key is the last key sent, empty at the start.
	Key string
}

// MaxKey is the length of the longest key that fits into a cursor whatever its
// versions are.
const MaxKey = MaxCursor/4*3 - 1 - 2*binary.MaxVarintLen64

// String returns the cursor as it goes over the wire, at most MaxCursor bytes
// for keys of at most MaxKey.
func (c Cursor) String() string {
	var room [MaxCursor]byte
	b := append(room[:0], 0)
	if c.Delta {
		b[0] = 1
	}
	b = binary.AppendUvarint(b, c.S)
	if c.Delta {
		b = binary.AppendUvarint(b, c.Ver)
	}
	b = append(b, c.Key...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what String wrote. Clients can send anything: only the form
// is checked, not whether the cursor was ever handed out.
func ParseCursor(s string) (Cursor, error) {
	if len(s) > MaxCursor {
		return Cursor{}, fmt.Errorf("chunk: cursor of %d bytes: the limit is %d", len(s), MaxCursor)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return Cursor{}, fmt.Errorf("chunk: cursor: %w", err)
	}
	if len(b) < 2 || b[0] > 1 {
		return Cursor{}, fmt.Errorf("chunk: cursor of an unknown form")
	}
	c := Cursor{Delta: b[0] == 1}
	b = b[1:]
	var n int
	if c.S, n = binary.Uvarint(b); n <= 0 {
		return Cursor{}, fmt.Errorf("chunk: cursor without version")
	}
	b = b[n:]
	if c.Delta {
		if c.Ver, n = binary.Uvarint(b); n <= 0 {
			return Cursor{}, fmt.Errorf("chunk: cursor without version of the client")
		}
		b = b[n:]
	}
	c.Key = string(b)
	return c, nil
}
