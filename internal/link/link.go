package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A Link is a shaped line with two directions that are independent of each other. It carries any number of connections, which share
// its rate, and may be used concurrently. An idle link has no goroutine and need not be closed.
type Link struct {
	forward, backward *pipe
	params            Params
	meter             *meter
}

// New returns a link.
func New(p Params) (*Link, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	p = p.WithDefaults()
	return newLink(p, newMeter(p)), nil
}

// newLink returns a link with checked parameters whose figures go to m.
func newLink(p Params, m *meter) *Link {
	there := p.RTT / 2
	return &Link{
		forward:  newPipe(p, there, forward, m),
		backward: newPipe(p, p.RTT-there, backward, m),
		params:   p,
		meter:    m,
	}
}

// Reverse returns the same link seen from its other end: clients there send the way that servers here send.
func (l *Link) Reverse() *Link {
	return &Link{forward: l.backward, backward: l.forward, params: l.params, meter: l.meter}
}

// Stats returns the figures up to now of the link, or of all links of its relay.
func (l *Link) Stats() (Stats, error) { return l.meter.read() }

// Relay carries one connection over the link, until both sides have ended it, one side breaks it, or the context ends. It closes both
// connections before it returns.
//
// The end of a stream follows its last byte with the same delay, and closes the writing half of the other side where that has a
// CloseWrite method as [net.TCPConn] has, or else the other side. A connection reset by one side is reset on the other after the
// delay. If one side no longer takes bytes, what still comes for it is dropped, and the other direction goes on.
//
// The first bytes from the client wait one RTT more than the others: the time in which the connection would have been set up.
//
// Relay returns nil if both directions ended in order, and otherwise the first error or the cause of the context's end.
func (l *Link) Relay(ctx context.Context, client, server net.Conn) error {
	l.meter.connection(1)
	defer l.meter.connection(-1)
	r := &connection{meter: l.meter}
	ctx, r.abort = context.WithCancelCause(ctx)
	closeBoth := sync.OnceFunc(func() {
		// What a close can report here is that the connection was broken already.
		_ = client.Close()
		_ = server.Close()
	})
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		if _, ok := errors.AsType[*brokenError](context.Cause(ctx)); ok {
			discard(client)
			discard(server)
		}
		closeBoth()
	})

	up, down := l.forward.open(), l.backward.open()
	var directions sync.WaitGroup
	directions.Go(func() { r.run(ctx, client, up, server, l.params.RTT) })
	r.run(ctx, server, down, client, 0)
	directions.Wait()
	up.close()
	down.close()
	cause := context.Cause(ctx)
	if !stop() {
		<-closed
	}
	closeBoth()
	r.abort(nil)
	if cause != nil {
		return fmt.Errorf("link: relay: %w", cause)
	}
	return r.err()
}

// brokenError is the end of a connection that one side broke.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// connection is the state of one relayed connection.
type connection struct {
	meter *meter
	abort context.CancelCauseFunc

	mu    sync.Mutex
	first error
}

func (r *connection) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = fmt.Errorf("link: relay: %w", err)
	}
}

func (r *connection) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// run carries one direction of a connection until its end.
func (r *connection) run(ctx context.Context, from net.Conn, over *flow, to net.Conn, setUp time.Duration) {
	// The reader ends with the writer: there is nobody left to read for.
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { read(ctx, from, over, setUp) })
	defer reading.Wait()
	defer cancel()
	switch err, broken := r.write(ctx, over, to); {
	case broken:
		r.abort(&brokenError{err})
	case err != nil && ctx.Err() == nil:
		r.fail(err)
		// A read that is going on would wait for a client that has no reason to speak.
		_ = from.SetReadDeadline(time.Unix(1, 0))
		over.close()
	}
}

// read puts what comes from a connection onto the link, up to and including its end.
func read(ctx context.Context, from io.Reader, over *flow, setUp time.Duration) {
	buffer := over.pipe.buffer()
	defer func() { over.pipe.recycle(buffer) }()
	for {
		if over.waitForRoom(ctx) != nil {
			return
		}
		n, err := from.Read(buffer)
		now := time.Now()
		if setUp > 0 {
			now = now.Add(setUp)
			setUp = 0
			timer := newTimer()
			if sleepUntil(ctx, timer, now) != nil {
				return
			}
		}
		if n > 0 {
			var data []byte
			data, buffer = over.pipe.detach(buffer, n)
			over.send(data, nil, now)
		}
		if err != nil {
			// The relay itself closes where a half alone cannot be closed.
			if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
				err = io.EOF
			}
			over.send(nil, err, now)
			return
		}
	}
}

// write hands what comes off the link to a connection. It reports whether the sender broke the connection, or else why the receiver
// did not take what was sent.
func (r *connection) write(ctx context.Context, over *flow, to net.Conn) (err error, broken bool) {
	timer := newTimer()
	defer timer.Stop()
	var stalled time.Time // until when the receiver held up the delivery
	for {
		k, err := over.receive(ctx, timer)
		if err != nil {
			return err, false
		}
		if k.end != nil {
			if !errors.Is(k.end, io.EOF) {
				return k.end, true
			}
			return closeWrite(to), false
		}
		begin := time.Now()
		due := k.due
		if stalled.After(due) {
			due = stalled
		}
		r.meter.late(begin.Sub(due))
		if _, err := to.Write(k.data); err != nil {
			return err, false
		}
		if end := time.Now(); end.Sub(begin) > stall {
			stalled = end
		}
		r.meter.delivered(over.pipe.way, len(k.data))
		over.done(k)
	}
}

// closeWrite ends the writing half of a connection.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// discard makes a following close reset the connection instead of ending it in order, where the connection can do so.
func discard(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
		// A connection that refuses is broken already.
		_ = tcp.SetLinger(0)
	}
}
