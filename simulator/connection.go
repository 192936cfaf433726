package simulator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// A connection is one accepted socket, from its first byte to its last. It
// negotiates until a session is there, then serves the session.
type connection struct {
	sim      *Simulator
	security Security
	raw      *wire.Conn
	stream   *wire.Stream
	done     chan struct{}
	bound    atomic.Pointer[session] // the session, for others than the reading goroutine

	// While negotiating.
	tls      *tls.ConnectionState
	domain   string // of the stream header
	greeted  bool   // our header of this stream is out
	user     string // bare JID, once authenticated
	failures int    // authentications
	session  *session
}

// A goodbye is a stream error that this end has decided on, in contrast to one
// that was received.
type goodbye struct{ wire.StreamError }

func leave(condition, text string) error {
	return &goodbye{wire.StreamError{Condition: condition, Text: text}}
}

// serve runs a connection to its end.
func (s *Simulator) serve(c net.Conn, security Security) {
	cn := &connection{sim: s, security: security, raw: wire.NewConn(c, 0), done: make(chan struct{})}
	s.figures.add("connections", 1)
	ctx, cancel := context.WithTimeout(s.ctx, s.config.LoginTimeout)
	defer cancel()

	var under net.Conn = cn.raw
	if security == DirectTLS {
		t := tls.Server(cn.raw, s.channels.config)
		if err := cn.handshake(ctx, t); err != nil {
			_ = c.Close()
			close(cn.done)
			return
		}
		under = t
	}
	cn.stream = wire.NewStream(under, nil, wire.StreamOptions{
		Limits:     wire.Limits{Frame: s.config.StanzaBytes, Restricted: true},
		Server:     true,
		Piece:      s.config.Piece,
		QueueBytes: s.config.QueueBytes,
		Raw:        cn.raw,
	})
	if !s.enter(cn) {
		_ = c.Close()
		close(cn.done)
		return
	}
	err := cn.negotiate(ctx)
	if err == nil {
		cn.bound.Store(cn.session)
		// A new goroutine has a small stack: the one that negotiated has grown.
		s.wg.Go(func() {
			defer cn.finish()
			cn.session.run(cn)
		})
		return
	}
	defer cn.finish()
	cn.refuse(ctx, err)
	if cn.session != nil {
		cn.session.end()
	}
}

// finish takes the connection off the books.
func (c *connection) finish() {
	_ = c.raw.Close() // most often it is closed already
	s := c.sim
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	f := Figures{}
	c.addTo(f)
	for name, n := range f {
		s.figures.add(name, n)
	}
	close(c.done)
}

// enter puts the connection on the books, unless the simulator is closing or down.
func (s *Simulator) enter(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.down {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// abort ends the stream with an error. It may be called at any time.
func (c *connection) abort(e wire.StreamError) {
	c.sim.figures.add("stream-errors."+e.Condition, 1)
	c.stream.Abort(e)
}

// refuse ends a negotiation as its error wants it.
func (c *connection) refuse(ctx context.Context, err error) {
	var bye *goodbye
	var syntax *wire.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		c.greet()
		_ = c.stream.Close(c.sim.ctx) // the peer has said goodbye
		return
	case errors.As(err, &bye):
		c.greet()
		c.abort(bye.StreamError)
	case errors.As(err, &syntax):
		c.greet()
		c.abort(wire.StreamError{Condition: syntax.Condition, Text: syntax.Msg}) // unless the stream has told the peer itself
	case c.sim.ctx.Err() != nil:
		c.greet()
		c.abort(wire.StreamError{Condition: "system-shutdown"})
	case ctx.Err() != nil:
		c.greet()
		c.abort(wire.StreamError{Condition: "connection-timeout", Text: "the login took too long"})
	default:
		return // the connection is gone
	}
	select {
	case <-c.stream.Done():
	case <-time.After(2 * time.Second):
	}
}

// greet sends our header if the stream has none yet: errors need one (RFC 6120 §4.9.1.2).
func (c *connection) greet() {
	if c.greeted {
		return
	}
	c.greeted = true
	_ = c.stream.Send(c.header(nil, wire.Header{})) // what follows fails as well
}

// header appends our header in answer to the client's.
func (c *connection) header(dst []byte, peer wire.Header) []byte {
	from := c.domain
	if from == "" {
		from = c.sim.config.Populations[0].Domains[0]
	}
	return wire.AppendHeader(dst, wire.Header{From: from, To: peer.From, ID: rand.Text(), Lang: "en"})
}

// handshake does the TLS handshake.
func (c *connection) handshake(ctx context.Context, t *tls.Conn) error {
	if err := t.HandshakeContext(ctx); err != nil {
		c.sim.figures.add("handshakes.failed", 1)
		return err
	}
	cs := t.ConnectionState()
	c.tls = &cs
	if cs.DidResume {
		c.sim.figures.add("handshakes.resumed", 1)
	} else {
		c.sim.figures.add("handshakes.full", 1)
	}
	return nil
}

// negotiate leads the connection to a session: bound anew or resumed.
func (c *connection) negotiate(ctx context.Context) error {
	for c.session == nil {
		if !c.greeted {
			if err := c.open(ctx); err != nil {
				return err
			}
		}
		el, tag, err := c.next(ctx)
		if err != nil {
			return err
		}
		if err := c.step(ctx, el, tag); err != nil {
			return err
		}
	}
	c.tls = nil
	return nil
}

// next reads one element.
func (c *connection) next(ctx context.Context) (*wire.Element, []byte, error) {
	st, err := c.stream.Next(ctx)
	if err != nil {
		return nil, nil, err
	}
	el, err := st.Element()
	return el, st.Tag, err
}

// open exchanges headers and sends the features that now apply.
func (c *connection) open(ctx context.Context) error {
	st, err := c.stream.Next(ctx)
	if err != nil {
		return err
	}
	h, err := wire.ParseHeader(st.Tag)
	if err != nil {
		return err
	}
	to, ok := parseAddress(h.To)
	known := ok && to.local == "" && to.resource == "" && c.sim.domains[to.domain]
	first := c.domain == ""
	if known && first {
		c.domain = to.domain
	}
	b := c.header(nil, h)
	var bye error
	switch {
	case h.NS != wire.NSClient:
		bye = leave(wire.InvalidNamespace, "this port serves clients: the content namespace is "+wire.NSClient)
	case majorVersion(h.Version) < 1:
		bye = leave("unsupported-version", "XMPP 1.0 is spoken here")
	case h.To == "":
		bye = leave("improper-addressing", "the stream header has no 'to'")
	case !known || c.domain != to.domain:
		bye = leave("host-unknown", "")
	default:
		b = c.features(b)
	}
	c.greeted = true
	if err := c.stream.Send(b); err != nil {
		return err
	}
	return bye
}

// majorVersion reads a stream's version; an absent one is 0.9 (RFC 6120 §4.7.5).
func majorVersion(v string) int {
	major, minor, dot := strings.Cut(v, ".")
	n, err := strconv.ParseUint(major, 10, 16)
	if dot && err == nil {
		_, err = strconv.ParseUint(minor, 10, 16)
	}
	if err != nil {
		return 0
	}
	return int(n)
}

// features appends what the stream offers in its present state (RFC 6120 §4.3.2).
func (c *connection) features(dst []byte) []byte {
	dst = append(dst, "<stream:features>"...)
	switch {
	case c.user != "":
		dst = append(dst, "<bind xmlns='"+wire.NSBind+"'/><session xmlns='"+wire.NSSession+"'><optional/></session>"...)
		if !c.sim.config.Resumption.Off {
			dst = append(dst, "<sm xmlns='"+wire.NSSM+"'/>"...)
		}
		dst = append(dst, "<sub xmlns='"+wire.NSPreApproval+"'/><csi xmlns='"+wire.NSCSI+"'/>"...)
		dst = c.sim.offer.Load().settings.Features(dst)
	default:
		if c.upgradable() {
			dst = append(dst, "<starttls xmlns='"+wire.NSTLS+"'>"...)
			if c.security == StartTLS {
				dst = append(dst, "<required/>"...)
			}
			dst = append(dst, "</starttls>"...)
		}
		if c.authenticable() {
			dst = c.appendMechanisms(dst)
		}
	}
	return append(dst, "</stream:features>"...)
}

// upgradable reports whether STARTTLS may be negotiated now.
func (c *connection) upgradable() bool {
	return c.tls == nil && c.user == "" && (c.security == StartTLS || c.security == OptionalTLS)
}

// authenticable reports whether SASL may be negotiated now.
func (c *connection) authenticable() bool {
	return c.user == "" && (c.tls != nil || c.security != StartTLS)
}

// step acts on one element of the negotiation.
func (c *connection) step(ctx context.Context, el *wire.Element, tag []byte) error {
	switch el.Space {
	case wire.NSTLS:
		if el.Name == "starttls" && c.upgradable() {
			return c.upgrade(ctx)
		}
		if el.Name == "starttls" {
			_ = c.stream.Send([]byte("<failure xmlns='" + wire.NSTLS + "'/>")) // what follows ends the stream
			return leave(wire.PolicyViolation, "STARTTLS is not on offer")
		}
	case wire.NSSASL:
		if el.Name == "auth" && c.user == "" {
			return c.authenticate(ctx, el)
		}
	case wire.NSSM:
		if c.user == "" {
			return leave("not-authorized", "stream management needs a login first")
		}
		if c.sim.config.Resumption.Off {
			break
		}
		if el.Name == "resume" {
			return c.resume(el)
		}
		return c.stream.Send(appendFailed(nil, "unexpected-request", nil))
	case wire.NSClient:
		if c.user != "" && el.Name == "iq" && el.Child(wire.NSBind, "bind") != nil {
			return c.bind(el, tag)
		}
		if el.Name == "iq" || el.Name == "message" || el.Name == "presence" {
			return leave("not-authorized", "stanzas need a login and a bound resource first")
		}
	case wire.NSServer:
		return leave(wire.InvalidNamespace, "")
	}
	return leave("unsupported-stanza-type", "<"+el.Name+"/> is not known here")
}

// upgrade negotiates STARTTLS (RFC 6120 §5.4).
func (c *connection) upgrade(ctx context.Context) error {
	if err := c.stream.Send([]byte("<proceed xmlns='" + wire.NSTLS + "'/>")); err != nil {
		return err
	}
	// Bytes that came before the handshake could have been injected: Upgrade refuses them.
	t := tls.Server(c.raw, c.sim.channels.config)
	if err := c.stream.Upgrade(t); err != nil {
		return err
	}
	c.greeted, c.domain = false, ""
	return c.handshake(ctx, t)
}

// bind binds a resource (RFC 6120 §7).
func (c *connection) bind(el *wire.Element, tag []byte) error {
	id := el.Attr("id")
	fail := func(typ, condition, text string) error {
		return c.stream.Send(wire.AppendStanzaError(nil, tag, &wire.StanzaError{Type: typ, Condition: condition, Text: text}))
	}
	if id == "" || el.Attr("type") != "set" {
		return fail("modify", "bad-request", "resource binding is an iq of type set with an id")
	}
	resource := el.Child(wire.NSBind, "bind").Child(wire.NSBind, "resource").Text()
	made := resource == ""
	if made {
		resource = rand.Text()[:12]
	} else {
		a, ok := parseAddress(c.user + "/" + resource)
		if !ok {
			return fail("modify", "bad-request", "the resource is not allowed")
		}
		resource = a.resource
	}

	var old *session
	var err error
	c.sim.use(c.user, func(a *account) {
		if a.session(resource) != nil && c.sim.config.Conflict == ConflictRename {
			resource = rand.Text()[:12]
		}
		old = a.session(resource)
		switch {
		case old != nil && old.attached() && c.sim.config.Conflict == ConflictRefuse:
			old, err = nil, fail("modify", "conflict", "")
			return
		case old == nil && len(a.sessions) >= c.sim.config.Resources:
			err = fail("wait", "resource-constraint", "too many resources")
			return
		case old != nil:
			return // first the old session has to go
		}
		c.session = newSession(c.sim, a, resource, c)
		jid := c.session.full()
		payload := append([]byte("<bind xmlns='"+wire.NSBind+"'><jid>"), wire.AppendText(nil, jid)...)
		// Queued before the lock is released, so that it comes before whatever
		// others send to the new session.
		err = c.stream.Post(wire.AppendIQ(nil, "result", id, "", "", append(payload, "</jid></bind>"...)), nil)
	})
	if old != nil {
		old.replace()
		return c.bind(el, tag)
	}
	if c.session != nil {
		c.sim.figures.add("sessions", 1)
	}
	return err
}
