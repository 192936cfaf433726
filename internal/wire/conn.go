package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
)

// DefaultConnBuffer is the size in bytes of the read buffer of a [Conn].
const DefaultConnBuffer = 512

// A Conn is a net.Conn that counts bytes and implements io.ByteReader.
//
// An XML decoder above an io.ByteReader reads byte by byte and so never takes more
// than it returns: whoever negotiates on a Conn can hand the connection over with
// [Conn.Detach] and no byte is lost. The buffer exists only from the first ReadByte
// to the next Read that empties it, so a Conn below TLS keeps none.
//
// Reading methods and Detach are for one goroutine at a time; everything else may
// run concurrently.
type Conn struct {
	net.Conn

	in, out atomic.Int64
	size    int
	buf     []byte // unread part of the read buffer
	store   []byte
}

// NewConn wraps c. A size of 0 means [DefaultConnBuffer].
func NewConn(c net.Conn, size int) *Conn {
	if size <= 0 {
		size = DefaultConnBuffer
	}
	return &Conn{Conn: c, size: size}
}

// Read implements io.Reader: buffered bytes first, then straight from the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.buf) > 0 {
		n := copy(p, c.buf)
		c.buf = c.buf[n:]
		return n, nil
	}
	// A block reader sits above: the buffer has done its work.
	c.buf, c.store = nil, nil
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

// ReadByte implements io.ByteReader. It blocks until a byte is there.
func (c *Conn) ReadByte() (byte, error) {
	for len(c.buf) == 0 {
		if c.store == nil {
			c.store = make([]byte, c.size)
		}
		n, err := c.Conn.Read(c.store)
		c.in.Add(int64(n))
		c.buf = c.store[:n]
		if n == 0 && err != nil {
			return 0, err
		}
	}
	b := c.buf[0]
	c.buf = c.buf[1:]
	return b, nil
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	// The peer's answer may be read before Write returns: whoever counts then
	// wants these bytes in.
	c.out.Add(int64(len(p)))
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n - len(p)))
	return n, err
}

// CloseWrite ends what is sent and leaves what is received open. It fails with
// errors.ErrUnsupported when the connection beneath cannot do that.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// BytesIn returns how many bytes were read from the connection beneath, those
// still in the buffer included.
func (c *Conn) BytesIn() int64 { return c.in.Load() }

// BytesOut returns how many bytes were written to the connection beneath.
func (c *Conn) BytesOut() int64 { return c.out.Load() }

// Buffered returns the number of bytes read from the connection beneath and not yet taken.
func (c *Conn) Buffered() int { return len(c.buf) }

// Detach returns the bytes read and not yet taken, and the connection beneath, for
// [NewStream]. The Conn must not be read afterwards; what passes over the
// connection beneath is no longer counted here.
func (c *Conn) Detach() (left []byte, under net.Conn) {
	left = c.buf
	c.buf, c.store = nil, nil
	return left, c.Conn
}

// ConnectionState returns the state of the TLS connection beneath, or the zero
// state when there is none. Channel binding depends on it.
func (c *Conn) ConnectionState() tls.ConnectionState {
	if t, ok := c.Conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}
