package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// defaultReceiveBuffer keeps what the relay's own sockets hold, before the link sees it, small against what a sender would buffer.
const defaultReceiveBuffer = 8 << 10

// Config describes a relay: one or several listeners in front of links. It can be handed to another process as JSON, so that the
// relay's work is not booked on the generator.
type Config struct {
	Params Params `json:"params"`
	// Shared puts all connections of all routes onto one link, as those between two providers are. Otherwise each connection has a
	// link of its own, as clients have, and its jitter is seeded by Seed and its number.
	Shared bool    `json:"shared,omitempty"`
	Routes []Route `json:"routes"`
	// ReceiveBuffer is SO_RCVBUF of the relay's sockets on both sides, in bytes, before the system doubles it. Zero means 8 KiB.
	ReceiveBuffer int `json:"receive_buffer_bytes,omitempty"`
}

// Route is a way through a relay.
type Route struct {
	// Listen is the "host:port" that clients connect to; port 0 is any free one.
	Listen string `json:"listen"`
	// Dial is the "host:port" of the server.
	Dial string `json:"dial"`
	// Reverse says that clients of this route are at the far end of the link, where the servers of the other routes are.
	Reverse bool `json:"reverse,omitempty"`
}

// Relay is a running relay.
type Relay struct {
	config    Config
	meter     *meter
	listeners []net.Listener
	cancel    context.CancelFunc
	serving   sync.WaitGroup
	fine      fineSleeper

	mu     sync.Mutex
	errs   []error
	number uint64
}

// Start opens the listeners of a relay and serves them until [Relay.Close] or the end of the context.
func Start(ctx context.Context, c Config) (*Relay, error) {
	if err := c.Params.Validate(); err != nil {
		return nil, err
	}
	if len(c.Routes) == 0 {
		return nil, errors.New("link: a relay needs at least one route")
	}
	if c.ReceiveBuffer < 0 {
		return nil, fmt.Errorf("link: the receive buffer of %d bytes is negative", c.ReceiveBuffer)
	}
	c.Params = c.Params.WithDefaults()
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = defaultReceiveBuffer
	}
	r := &Relay{config: c, meter: newMeter(c.Params)}
	control := func(_, _ string, raw syscall.RawConn) error { return setReceiveBuffer(raw, c.ReceiveBuffer) }
	// The buffer has to be set before connect and listen, since the window scale is settled in the handshake; accepted sockets
	// inherit it.
	lc := net.ListenConfig{Control: control}
	for _, route := range c.Routes {
		ln, err := lc.Listen(ctx, "tcp", route.Listen)
		if err != nil {
			errs := []error{fmt.Errorf("link: listen for %s: %w", route.Dial, err)}
			for _, ln := range r.listeners {
				errs = append(errs, ln.Close())
			}
			return nil, errors.Join(errs...)
		}
		r.listeners = append(r.listeners, ln)
	}

	ctx, r.cancel = context.WithCancel(ctx)
	newLink := r.ownLink
	if c.Shared {
		shared := newLink()
		newLink = func() *Link { return shared }
	}
	for i, route := range c.Routes {
		dialer := net.Dialer{Control: control}
		dial := func(ctx context.Context) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", route.Dial)
			if err != nil {
				r.meter.failed()
			}
			return conn, err
		}
		direct := newLink
		if route.Reverse {
			direct = func() *Link { return newLink().Reverse() }
		}
		r.serving.Go(func() {
			if err := Serve(ctx, r.listeners[i], dial, direct); err != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.errs = append(r.errs, err)
			}
		})
	}
	return r, nil
}

// ownLink returns a link for one connection.
func (r *Relay) ownLink() *Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.config.Params
	p.Seed += r.number
	r.number++
	l := newLink(p, r.meter)
	l.forward.fine, l.backward.fine = &r.fine, &r.fine
	return l
}

// Addrs returns the addresses of the listeners, in the order of the routes.
func (r *Relay) Addrs() []string {
	addrs := make([]string, len(r.listeners))
	for i, ln := range r.listeners {
		addrs[i] = ln.Addr().String()
	}
	return addrs
}

// Stats returns the figures of all links together.
func (r *Relay) Stats() (Stats, error) { return r.meter.read() }

// Close breaks what is still relayed and waits for it. It returns what kept a listener from accepting, if anything did.
func (r *Relay) Close() error {
	r.cancel()
	r.serving.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}

// Serve relays each connection that the listener accepts to one that dial makes, over the link that newLink returns: a new one for each
// connection, or the same for all. A client whose server cannot be reached is reset. Serve closes the listener and returns when the
// context has ended and all its connections with it, which is no error, or when the listener fails.
func Serve(ctx context.Context, ln net.Listener, dial func(context.Context) (net.Conn, error), newLink func() *Link) error {
	ctx, cancel := context.WithCancel(ctx)
	var relays sync.WaitGroup
	defer relays.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer func() {
		stop()
		_ = ln.Close()
	}()
	timer := newTimer()
	for {
		client, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = client.Close()
			}
			return nil
		case exhausted(err):
			// Descriptors come back as connections end.
			const pause = 50 * time.Millisecond
			if sleepUntil(ctx, timer, time.Now().Add(pause)) != nil {
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("link: accept on %s: %w", ln.Addr(), err)
		}
		relays.Go(func() {
			server, err := dial(ctx)
			if err != nil {
				discard(client)
				_ = client.Close()
				return
			}
			l := newLink()
			l.meter.buffers(Buffers{ClientReceive: receiveBuffer(client), ServerReceive: receiveBuffer(server)})
			// How a connection ended is its two ends' affair.
			_ = l.Relay(ctx, client, server)
		})
	}
}
