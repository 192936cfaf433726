package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memoryConn is one end of a connection in memory. Unlike net.Pipe it buffers, up to a limit, and can be closed by halves.
type memoryConn struct {
	in, out *memoryBuffer
}

// memoryPair returns the two ends of a connection that holds up to limit bytes each way; 0 is without limit.
func memoryPair(limit int) (a, b *memoryConn) {
	there, back := newMemoryBuffer(limit), newMemoryBuffer(limit)
	return &memoryConn{in: back, out: there}, &memoryConn{in: there, out: back}
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memoryConn) CloseWrite() error           { c.out.end(io.EOF, errClosed); return nil }

func (c *memoryConn) Close() error {
	c.out.end(io.EOF, errClosed)
	c.in.end(net.ErrClosed, errReset)
	return nil
}

// reset breaks the connection as a TCP reset does.
func (c *memoryConn) reset() {
	c.out.end(errReset, errReset)
	c.in.end(errReset, errReset)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	if t.After(time.Now()) {
		return errors.New("only deadlines in the past are known")
	}
	c.in.end(os.ErrDeadlineExceeded, nil)
	return nil
}

func (c *memoryConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
func (c *memoryConn) LocalAddr() net.Addr              { return &net.IPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.IPAddr{} }

var (
	errClosed = errors.New("write after the end")
	errReset  = errors.New("reset by peer")
)

type memoryBuffer struct {
	limit int

	mu       sync.Mutex
	changed  sync.Cond
	bytes    []byte
	readErr  error
	writeErr error
	accepted int // bytes taken from writers so far
}

func newMemoryBuffer(limit int) *memoryBuffer {
	b := &memoryBuffer{limit: limit}
	b.changed.L = &b.mu
	return b
}

func (b *memoryBuffer) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.bytes) == 0 && b.readErr == nil {
		b.changed.Wait()
	}
	if len(b.bytes) == 0 || b.readErr != nil && !errors.Is(b.readErr, io.EOF) {
		return 0, b.readErr
	}
	n := copy(p, b.bytes)
	b.bytes = b.bytes[n:]
	b.changed.Broadcast()
	return n, nil
}

func (b *memoryBuffer) write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	written := 0
	for len(p) > 0 {
		for b.writeErr == nil && b.limit > 0 && len(b.bytes) >= b.limit {
			b.changed.Wait()
		}
		if b.writeErr != nil {
			return written, b.writeErr
		}
		n := len(p)
		if b.limit > 0 {
			n = min(n, b.limit-len(b.bytes))
		}
		b.bytes = append(b.bytes, p[:n]...)
		b.accepted += n
		p = p[n:]
		written += n
		b.changed.Broadcast()
	}
	return written, nil
}

// end makes reads and writes fail from now on; io.EOF lets the reader have what is buffered first.
func (b *memoryBuffer) end(readErr, writeErr error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readErr == nil || !errors.Is(readErr, io.EOF) {
		b.readErr = readErr
	}
	if b.writeErr == nil {
		b.writeErr = writeErr
	}
	b.changed.Broadcast()
}

func (b *memoryBuffer) acceptedBytes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted
}
