// Package online is a client that has logged in: what every session does by itself,
// whoever drives it. It answers requests, acknowledges stanzas where stream management
// is on, and carries the client half of the roster variants. The native engine and the
// k6 extension stand on it alike.
//
// It knows neither load nor measurement: callers take the times that they want.
package online

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Config is what a [Client] is made of.
type Config struct {
	// Account is the bare JID, Domain its server.
	Account, Domain string
	// First, where set, is asked first about stanzas that nobody expects and that do
	// not concern rosters. It is as a handler of the stream; what it does not take the
	// client deals with.
	First func(head *wire.Stanza) (h wire.Handler, taken bool)
	// Push, where set, sees roster pushes (RFC 6121 §2.1.6) before they are answered, on
	// the goroutine that reads the stream; it must not block, nor keep what it is given.
	Push func(st *wire.Stanza)
	// Over, where set, is called once by whoever reads the stream, when it has ended.
	Over func()
	// Handled counts the stanzas that were handled before a resumption (XEP-0198 §5).
	Handled uint32
}

// Client is a session that is logged in and being read. Its methods may be called
// concurrently.
type Client struct {
	Stream  *wire.Stream
	Roster  *roster.Client
	Account string      // bare JID
	Domain  string      // of the account
	SM      *session.SM // nil where stream management is off

	first   func(head *wire.Stanza) (wire.Handler, bool)
	over    func()
	handled uint32
	reading sync.WaitGroup
}

// New returns the client of a finished login. It does nothing until Start.
func New(login *session.Session, o Config) *Client {
	c := &Client{
		Stream: login.Stream, Account: o.Account, Domain: o.Domain, SM: login.SM, first: o.First, handled: o.Handled,
	}
	c.Roster = roster.NewClient(c.Stream, c.Account, c.Others)
	if o.Push != nil {
		c.Stream.Handle(func(head *wire.Stanza) wire.Handler { return c.watched(head, o.Push) })
	}
	c.over = o.Over
	return c
}

// Start begins to read the stream. The session lives until Close, or until its stream
// ends.
func (c *Client) Start() {
	// The session outlives the context of the login and must not hold on to it: Close ends the stream and so Serve.
	c.reading.Go(func() {
		_ = c.Stream.Serve(context.Background()) // Stream.Err tells it
		if c.over != nil {
			c.over()
		}
	})
}

// watched shows roster pushes to whoever wants to see them.
func (c *Client) watched(head *wire.Stanza, push func(*wire.Stanza)) wire.Handler {
	h := c.Roster.Handle(head)
	if string(head.Name()) != "iq" || head.Type() != "set" {
		return h
	}
	take := h.Done
	h.Done = func(st *wire.Stanza) error {
		switch ns := wire.AttrString(st.Child, "xmlns"); {
		case ns == wire.NSRoster && string(wire.TagName(st.Child)) == "query", ns == wire.NSRosterX && string(wire.TagName(st.Child)) == "push":
			push(st)
		}
		return take(st)
	}
	return h
}

// Others answers what no roster variant handles: requests of the server or of other
// clients, and stream management.
func (c *Client) Others(head *wire.Stanza) wire.Handler {
	if c.first != nil {
		if h, taken := c.first(head); taken {
			return h
		}
	}
	switch string(head.Name()) {
	case "iq":
		if t := head.Type(); t == "get" || t == "set" {
			return wire.Handler{Done: c.Answer}
		}
	case "r":
		return wire.Handler{Done: c.acknowledge}
	}
	return wire.Handler{}
}

// Answer answers a request that nobody else does: a ping (XEP-0199) with a result, all
// others with an error (RFC 6120 §8.2.3).
func (c *Client) Answer(st *wire.Stanza) error {
	answer := wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"})
	if string(wire.TagName(st.Child)) == "ping" {
		answer = wire.AppendReply(nil, st.Tag, "result", nil)
	}
	return c.Stream.Post(answer, nil)
}

// Handled counts the stanzas of the server handled so far, those before a resumption
// included: the attribute h of XEP-0198.
func (c *Client) Handled() uint32 {
	n := c.Stream.Counts().StanzasIn
	if c.SM != nil {
		n -= int64(c.SM.Early)
	}
	return c.handled + uint32(n) // #nosec G115 -- h wraps (XEP-0198 §4)
}

// acknowledge answers a request for acknowledgement (XEP-0198 §4).
func (c *Client) acknowledge(*wire.Stanza) error {
	return c.Stream.Post(fmt.Appendf(nil, "<a xmlns='%s' h='%d'/>", wire.NSSM, c.Handled()), nil)
}

// Ping posts an iq with a ping to an entity. done is called once by whoever reads the
// stream, when the answer has come or never will, or before Ping returns an error; a
// refusal is an answer, which costs the same (XEP-0199 §4.2).
func (c *Client) Ping(to string, done func(time.Time, error)) error {
	return c.ask(to, "<ping xmlns='"+wire.NSPing+"'/>", done)
}

// Discover asks an entity for its features (XEP-0030 §3). The rest is as with Ping.
func (c *Client) Discover(to string, done func(time.Time, error)) error {
	return c.ask(to, "<query xmlns='"+wire.NSDiscoInfo+"'/>", done)
}

// Version asks an entity for the version of its software (XEP-0092) and waits for the
// answer.
func (c *Client) Version(ctx context.Context, to string) (string, error) {
	id := c.Stream.NextID()
	b := wire.AppendIQStart(nil, "get", id, "", to)
	el, err := c.Stream.IQ(ctx, id, append(b, "<query xmlns='"+wire.NSVersion+"'/></iq>"...))
	if err != nil {
		return "", err
	}
	if q := el.Child(wire.NSVersion, "query"); q != nil {
		if v := q.Child(wire.NSVersion, "version"); v != nil {
			return v.Text(), nil
		}
	}
	return "", fmt.Errorf("online: %s does not tell its version", to)
}

func (c *Client) ask(to, payload string, done func(time.Time, error)) error {
	id := c.Stream.NextID()
	var once sync.Once
	answered := func(at time.Time, err error) { once.Do(func() { done(at, err) }) }
	cancel := c.Stream.Expect(id, wire.Handler{
		Done: func(st *wire.Stanza) error { answered(st.End, nil); return nil },
		Fail: func(err error) { answered(time.Now(), err) },
	})
	b := make([]byte, 0, 128)
	b = wire.AppendIQStart(b, "get", id, "", to)
	b = append(append(b, payload...), "</iq>"...)
	err := c.Stream.Post(b, nil)
	if err != nil {
		cancel()
		answered(time.Now(), err)
	}
	return err
}

// Close ends the session in order and waits for its reader, both bounded. How a session
// ends says nothing about what was measured, so it returns no error.
func (c *Client) Close(ctx context.Context) {
	_ = c.Stream.Close(ctx)
	c.Wait()
}

// Wait returns when nobody reads the stream any more.
func (c *Client) Wait() { c.reading.Wait() }
