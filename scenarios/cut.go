package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// errCut is what reading returns after the loss of a connection that the plan
// asked for.
var errCut = errors.New("scenarios: the connection is cut, as planned")

// loss takes the connection of a session away after a number of bytes.
type loss struct {
	after int64 // bytes received from the request on; 0: never
	conn  *cutConn
}

// newLoss returns the loss that the plan has for a cell, whose exact bytes are
// known already.
func (r *rosterCells) newLoss(c *cell) *loss {
	return &loss{after: int64(r.plan.Cut.At * c.scalars["bytes.in.tls"])}
}

// path is the shaped path, with a connection that can be taken away.
func (l *loss) path(ctx context.Context, s *site, domain string) (net.Conn, error) {
	conn, err := shaped(ctx, s, domain)
	if err != nil || l.after == 0 {
		return conn, err
	}
	l.conn = &cutConn{Conn: conn}
	return l.conn, nil
}

// arm starts the count of bytes.
func (l *loss) arm() {
	if l.conn != nil {
		l.conn.left.Store(l.after)
		l.conn.armed.Store(true)
	}
}

// happened reports whether the connection was taken away: whatever failed then
// failed for that reason.
func (l *loss) happened() bool { return l.conn != nil && l.conn.lost.Load() }

// cutConn is a connection that is lost after some bytes, without a goodbye.
type cutConn struct {
	net.Conn
	armed atomic.Bool
	left  atomic.Int64
	lost  atomic.Bool
}

// mostRead is the largest piece read while nothing is counted yet: the read that
// waits when the count starts may bring as much.
const mostRead = 512

// Read never returns more than may still be received.
func (c *cutConn) Read(p []byte) (int, error) {
	if !c.armed.Load() {
		n, err := c.Conn.Read(p[:min(len(p), mostRead)])
		if c.armed.Load() {
			c.left.Add(-int64(n))
		}
		return n, err
	}
	left := c.left.Load()
	if left <= 0 {
		c.lost.Store(true)
		// The other end learns of the loss as of a reset.
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		return 0, errCut
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(-int64(n))
	return n, err
}

// fetch retrieves the roster over the link. If the plan has the connection cut,
// it logs in again and goes on where the variant can, or begins again; the client
// returned is the one whose session is open then. Requested and First of the
// result are those of the first attempt.
func (r *rosterCells) fetch(ctx context.Context, c *cell, cl *client, l *loss, have roster.Have) (roster.Result, *client, error) {
	o := roster.Options{Have: have, Digest: c.warmup}
	if l.after == 0 {
		result, _, err := cl.retrieve(ctx, c.arm, o)
		return result, cl, err
	}
	if c.warmup {
		o.Map = new(roster.Map)
	}
	l.arm()
	first, _, err := cl.retrieve(ctx, c.arm, o)
	if err == nil {
		return first, cl, errors.New("scenarios: the roster was complete before the connection was cut: lower cut.at")
	}
	if !l.happened() {
		return first, cl, err
	}
	cl.close(ctx)
	lost := time.Now()
	again, err := r.login(ctx, r.account(c.arm), shaped, c.warmup)
	if err != nil {
		return first, cl, err
	}
	arm := c.arm
	o.Resume = first.Resume
	if o.Resume != (roster.Resume{}) && r.plan.Cut.Continue == "other" {
		if arm, err = otherMode(arm); err != nil {
			return first, again, err
		}
	}
	second, _, err := again.retrieve(ctx, arm, o)
	if err != nil {
		return second, again, err
	}
	c.sink.Observe(results.Sample{Metric: "roster.resume", Intended: lost, Start: lost, End: second.Complete})
	c.set("resume.bytes", float64(second.BytesIn))
	c.set("resume.items", float64(second.Items))
	c.set("cut.bytes", float64(first.BytesIn))
	if err := r.verifyResumed(c, arm, o.Map, second); err != nil {
		return second, again, err
	}
	second.Requested = first.Requested
	if !first.First.IsZero() {
		second.First = first.First
	}
	return second, again, nil
}

// otherMode returns the other mode of the chunked protocol, with the same limits.
func otherMode(arm Arm) (Arm, error) {
	name := map[string]string{"chunked-push": "chunked-pull", "chunked-pull": "chunked-push"}[arm.Name]
	v, ok := roster.Find(name)
	if !ok {
		return arm, fmt.Errorf("scenarios: %s has no other mode to go on in", arm.Name)
	}
	params, err := v.Parse(map[string]any{"chunk": arm.Params.Chunk, "max-bytes": arm.Params.MaxBytes})
	if err != nil {
		return arm, err
	}
	return Arm{Label: arm.Label, Variant: v, Name: name, Params: params}, nil
}

// verifyResumed holds the roster that was put together from two attempts against
// what it must be.
func (r *rosterCells) verifyResumed(c *cell, arm Arm, m *roster.Map, second roster.Result) error {
	if !r.known || arm.Params.State == roster.StateStale {
		return nil
	}
	if m == nil || second.Epoch == "" {
		if second.Mode == "full" {
			c.count("roster.items", int64(second.Items), int64(r.expected.Count()))
		}
		return nil
	}
	var got population.Digest
	for e := range m.Items() {
		got.Add(e.Item)
	}
	if !got.Equal(r.expected) {
		return r.digestError(c.arm, got.Count(), got)
	}
	return nil
}
