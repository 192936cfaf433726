package roster

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(figuresEnv) != "" {
		serveFigures()
		return
	}
	goleak.VerifyTestMain(m)
}

// half is one direction of a connection in memory. Writes never wait.
type half struct {
	mu      sync.Mutex
	cond    *sync.Cond
	buf     []byte
	left    int // bytes until the cut
	closed  bool
	expired bool
	timer   *time.Timer
}

const uncut = int(^uint(0) >> 1)

func newHalf(cut int) *half {
	h := &half{left: cut}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.cond.Broadcast()
}

// conn is one end of a connection in memory.
type conn struct{ in, out *half }

// newConn returns both ends of a connection. What goes from b to a is cut after
// so many bytes.
func newConn(cut int) (a, b net.Conn) {
	up, down := newHalf(uncut), newHalf(cut)
	return &conn{down, up}, &conn{up, down}
}

func (c *conn) Read(p []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) == 0 && !h.closed && !h.expired && h.left > 0 {
		h.cond.Wait()
	}
	switch {
	case h.expired:
		return 0, os.ErrDeadlineExceeded
	case h.left == 0 || len(h.buf) == 0:
		return 0, io.EOF
	}
	n := copy(p, h.buf[:min(len(h.buf), h.left)])
	h.buf = h.buf[n:]
	if h.left != uncut {
		h.left -= n
	}
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, net.ErrClosed
	}
	h.buf = append(h.buf, p...)
	h.cond.Broadcast()
	return len(p), nil
}

func (c *conn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	h.expired = false
	if t.IsZero() {
		return nil
	}
	expire := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.expired = true
		h.cond.Broadcast()
	}
	if d := time.Until(t); d > 0 {
		h.timer = time.AfterFunc(d, expire)
	} else {
		h.expired = true
		h.cond.Broadcast()
	}
	return nil
}

func (c *conn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error { return nil } // writes never wait
func (c *conn) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "memory"} }
func (c *conn) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "memory"} }

// pair is a client and a server half on the two ends of a stream.
type pair struct {
	client         *Client
	stream, server *wire.Stream
	account        *account
	up, down       []byte // what passed, as the client saw it

	mu   sync.Mutex
	wait func()
}

// newPair starts both ends over a connection that is cut after so many bytes
// towards the client.
func newPair(t testing.TB, a *account, cut int) *pair {
	t.Helper()
	p := &pair{account: a}
	clientConn, serverConn := newConn(cut)
	p.stream = wire.NewStream(clientConn, nil, wire.StreamOptions{Opened: true, Trace: p.trace})
	p.server = wire.NewStream(serverConn, nil, wire.StreamOptions{Opened: true, Server: true})
	session := a.session(p.server)
	p.server.Handle(a.serve(session, p.server))
	p.client = NewClient(p.stream, accountJID, nil)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	// How a stream ends is told by its Err; the cut is meant.
	wg.Go(func() { _ = p.stream.Serve(ctx) })
	wg.Go(func() { _ = p.server.Serve(ctx) })
	p.wait = func() {
		cancel()
		wg.Wait()
		a.lock.Lock()
		defer a.lock.Unlock()
		session.Close()
	}
	return p
}

func (p *pair) trace(out bool, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if out {
		p.up = append(p.up, b...)
	} else {
		p.down = append(p.down, b...)
	}
}

// traffic returns what passed so far.
func (p *pair) traffic() (up, down []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up, p.down
}

// bounded returns a context that ends a test that waits for ever.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// contacts returns a population whose rosters have n items of the same size.
func contacts(t testing.TB, n, itemBytes int) *population.Population {
	t.Helper()
	p, err := population.New(population.Config{Seed: 1, Domains: []string{"a.example", "b.example"}, Accounts: 1, Contacts: n, ItemBytes: itemBytes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sizeOf returns what the closed forms want to know of a roster.
func sizeOf(base Base) Size {
	s := Size{Items: base.Len()}
	var b []byte
	for n := range s.Items {
		b = population.AppendItem(b[:0], base.Item(n))
		s.Bytes += int64(len(b))
		s.Largest = max(s.Largest, len(b))
	}
	return s
}
