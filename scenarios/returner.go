package scenarios

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/online"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// A returner is one client of a herd.
type returner struct {
	herd  *herd
	index int

	cl         *client
	conn       net.Conn      // beneath cl
	over       chan struct{} // closed when the stream of cl has ended
	management *online.Management
	have       roster.Have
	back       bool
	flight     atomic.Int32 // of the stanza that is on its way when the connection is lost
}

// States of the stanza on its way.
const (
	flightNone int32 = iota
	flightSent
	flightAnswered
)

// flightID is the id of that stanza, unlike any that the stream makes.
const flightID = "in-flight"

// account is the one that the member logs in as.
func (m *returner) account() int { return m.index % m.herd.about.Accounts }

// verify reports whether what the member receives is checked in full.
func (m *returner) verify() bool {
	every := m.herd.plan.Login.Verify
	return m.herd.c.warmup || every > 0 && m.index%every == 0
}

// open logs the member in, or resumes its session.
func (m *returner) open(ctx context.Context, resume *online.Management) (*client, error) {
	over := make(chan struct{})
	var conn net.Conn
	o := sessionOptions{verify: m.verify(), first: m.first, over: func() { close(over) }}
	if m.herd.c.arm.Return.Resume {
		o.management = online.NewManagement(0, resume)
		if resume != nil && resume.Resumption() != nil {
			o.resume = resume
		}
	}
	cl, err := m.herd.open(ctx, m.account(), func(ctx context.Context, s *site, domain string) (net.Conn, error) {
		var err error
		conn, err = shaped(ctx, s, domain)
		return conn, err
	}, o)
	if err != nil {
		return nil, err
	}
	m.cl, m.conn, m.over = cl, conn, over
	if o.management != nil {
		m.management = o.management
	}
	return cl, nil
}

// first notes the answer to the stanza that was on its way.
func (m *returner) first(head *wire.Stanza) (wire.Handler, bool) {
	if string(head.Name()) != "iq" || head.ID() != flightID || head.Type() == "get" || head.Type() == "set" {
		return wire.Handler{}, false
	}
	return wire.Handler{Done: func(*wire.Stanza) error { m.flight.Store(flightAnswered); return nil }}, true
}

// join logs the member in before the event.
func (m *returner) join(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, m.herd.plan.Login.Limit)
	defer cancel()
	if _, err := m.open(limited, nil); err != nil {
		return err
	}
	_, err := m.settle(limited, roster.StateCold)
	return err
}

// settle makes the member of a session that was bound anew what it is to its contacts,
// and returns when it can talk.
func (m *returner) settle(ctx context.Context, state string) (time.Time, error) {
	h, cl, arm := m.herd, m.cl, m.herd.c.arm
	if state != "" && arm.Params.State != "" {
		arm.Params.State = state
	}
	if h.plan.Presence.Send == "during" {
		if err := cl.Stream.Post([]byte("<presence/>"), nil); err != nil {
			return time.Time{}, &stepError{step: "presence", err: err}
		}
	}
	result, answer, err := cl.retrieve(ctx, arm, roster.Options{Have: m.have, Digest: m.verify()})
	switch {
	case err != nil:
		return time.Time{}, err
	case answer.Verdict == roster.Ignored && result.Mode == "full" && arm.Params.State == roster.StateUnchanged:
		// A server that knows no versions: everything comes.
	case answer.Verdict != roster.Spoken:
		return time.Time{}, &stepError{step: "roster", err: errors.New(string(answer.Verdict) + ": " + answer.Reason)}
	}
	if err := m.check(result); err != nil {
		return time.Time{}, err
	}
	m.have = roster.Have{Ver: result.Ver, Epoch: result.Epoch, Version: result.Version, Known: result.Epoch != ""}
	if result.Mode == "full" && arm.Params.State == roster.StateUnchanged {
		h.mu.Lock()
		h.whole++
		h.mu.Unlock()
	}
	if h.plan.Presence.Send == "after" {
		if err := cl.Stream.Post([]byte("<presence/>"), nil); err != nil {
			return time.Time{}, &stepError{step: "presence", err: err}
		}
	}
	talking, err := cl.firstPing(ctx)
	if err == nil && !h.at.IsZero() {
		h.c.sink.Observe(results.Sample{Metric: "roster.complete", Intended: result.Requested, Start: result.Requested, End: result.Complete})
	}
	return talking, err
}

// check holds a roster that came whole against what it must be.
func (m *returner) check(result roster.Result) error {
	want, known := m.herd.target.Expected(m.account())
	if !known || result.Mode != "full" || result.Items == want.Count() && (!m.verify() || result.Digest.Equal(want)) {
		return nil
	}
	return &DigestError{
		Variant: m.herd.c.arm.Label, Account: m.cl.Account, Items: result.Items, Got: result.Digest.String(), Want: want.String(),
	}
}

// cut returns what takes the connection of the present session away, with a stanza on
// its way: whether the server has that, nobody knows.
func (m *returner) cut() func() {
	cl, conn := m.cl, m.conn
	return func() {
		b := wire.AppendIQStart(nil, "get", flightID, "", cl.Domain)
		m.flight.Store(flightSent)
		_ = cl.Stream.Post(append(b, "<ping xmlns='"+wire.NSPing+"'/></iq>"...), nil) // a stream that is over already has lost it
		reset(conn)
	}
}

// comeBack waits for the loss of the connection and then tries to return until it works
// or the context ends.
func (m *returner) comeBack(ctx context.Context) {
	h := m.herd
	select {
	case <-m.over:
	case <-ctx.Done():
		return
	}
	from := time.Now()
	h.losing.Do(func() { close(h.lost) })
	reset(m.conn) // the server may have left its end open
	m.cl.Wait()
	if m.management != nil {
		m.management.Interrupted(m.cl.Handled())
	}
	m.cl = nil
	backoff := h.c.arm.Return.Backoff
	for attempt := 0; ; attempt++ {
		due := from.Add(backoff.Delay(h.seed, m.index, attempt))
		if sleep(ctx, time.Until(due)) != nil || ctx.Err() != nil {
			return
		}
		started := time.Now()
		talking, err := m.attempt(ctx)
		if err == nil {
			m.back = true
			h.returned(m, due, started, talking)
			return
		}
		if ctx.Err() != nil {
			return // what the limit ended did not fail
		}
		h.attemptFailed(due, started, err)
		if _, wrong := errors.AsType[*DigestError](err); wrong {
			return
		}
		from = time.Now()
	}
}

// attempt is one attempt to return. What it leaves behind if it fails is no session.
func (m *returner) attempt(ctx context.Context) (talking time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.herd.plan.Login.Limit)
	defer cancel()
	cl, err := m.open(ctx, m.management)
	if err != nil {
		return time.Time{}, err
	}
	defer func() {
		if err == nil {
			return
		}
		reset(m.conn)
		cl.Wait()
		if m.management != nil {
			m.management.Interrupted(cl.Handled())
		}
		m.cl = nil
	}()
	if cl.resumed {
		talking, err = cl.firstPing(ctx)
	} else {
		talking, err = m.settle(ctx, "")
	}
	if err == nil {
		m.herd.observeReturn(cl)
	}
	return talking, err
}

// A returnError is why an attempt to return failed.
type returnError struct{ err error }

func (e *returnError) Error() string { return e.err.Error() }
func (e *returnError) Unwrap() error { return e.err }

// Kind returns the class of the error for counting: how a connection came to nothing, or
// the condition with which the server refused.
func (e *returnError) Kind() string {
	if refused, ok := errors.AsType[*session.AuthError](e.err); ok {
		return "auth." + refused.Condition
	}
	if ended, ok := errors.AsType[*wire.StreamError](e.err); ok {
		return "stream." + ended.Condition
	}
	if refused, ok := errors.AsType[*wire.StanzaError](e.err); ok {
		return "stanza." + refused.Condition
	}
	var network net.Error
	switch err := e.err; {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, session.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, session.ErrClosed), errors.Is(err, wire.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	if step, ok := errors.AsType[interface {
		error
		Kind() string
	}](e.err); ok {
		return step.Kind()
	}
	return "other"
}
