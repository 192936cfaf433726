package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Accept serves a connection that a peer has opened, of direct TLS if so told. It
// returns at once.
func (h *Host) Accept(conn net.Conn, direct bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		_ = conn.Close() // there is nobody to tell
		return
	}
	h.wg.Go(func() { h.receive(conn, direct) })
}

func (h *Host) receive(conn net.Conn, direct bool) {
	h.tally.add(FigureAccepted, 1)
	ctx, cancel := context.WithTimeout(h.ctx, h.c.Setup)
	defer cancel()
	s := &Stream{host: h, raw: wire.NewConn(conn, 0), gone: make(chan struct{})}
	r := &reception{s: s, ctx: ctx}
	under := net.Conn(s.raw)
	if direct || h.c.Variant.headless && h.c.Params.TLS != TLSNone {
		t := tls.Server(s.raw, h.server)
		if err := r.handshake(t); err != nil {
			_ = conn.Close() // the alert is out
			return
		}
		under = t
	}
	s.begin(under, h.c.Variant.headless)
	if err := h.enter(s); err != nil {
		_ = conn.Close()
		return
	}
	s.used.Store(int64(h.since()))
	err := r.negotiate()
	if err == nil {
		// A new goroutine has a small stack: the one that negotiated has grown.
		s.ready.Store(true)
		h.wg.Go(s.serve)
		return
	}
	h.lost(s, r.refuse(err))
}

// reception is the set-up of an incoming stream. It is used by one goroutine.
type reception struct {
	s       *Stream
	ctx     context.Context
	greeted bool // our header of this stream is out
}

// negotiate leads the stream to where the peer proves authority or is done with it.
func (r *reception) negotiate() error {
	s, h := r.s, r.s.host
	if h.c.Variant.headless {
		return h.c.Variant.admit(s)
	}
	for {
		st, err := s.wire.Next(r.ctx)
		if err != nil {
			return err
		}
		if st.Frame == nil { // a header
			if err := r.open(st.Tag); err != nil {
				return err
			}
			if s.settled {
				// Not before: what waits for the peer may leave at once, and has to follow the header.
				return h.c.Variant.authenticated(s)
			}
			continue
		}
		if !r.greeted {
			return &wire.SyntaxError{Condition: wire.BadFormat, Msg: "something came before the stream header"}
		}
		el, err := st.Element()
		if err != nil {
			return err
		}
		switch {
		case el.Space == wire.NSTLS && el.Name == "starttls" && r.secures():
			if err := r.startTLS(); err != nil {
				return err
			}
		case el.Space == wire.NSTLS:
			return streamError(wire.PolicyViolation, "STARTTLS is not on offer")
		case r.secures() && !h.plainVerify(el):
			return streamError(wire.PolicyViolation, "TLS comes first")
		case el.Space == nsBidi && el.Name == "bidi" && h.c.Variant.Layout(h.c.Params).Both():
			s.mu.Lock()
			s.both = true
			s.mu.Unlock()
		case el.Space == wire.NSSASL:
			if err := s.authenticate(el, r); err != nil {
				return err
			}
		case el.Space == wire.NSServer && s.unproved():
			// Nothing that lives on the stream is lost with it, and where it has two directions
			// nothing may be answered yet (XEP-0288 §2).
			h.tally.add(FigureUnauthorised, 1)
			return streamError("not-authorized", "nothing is proved yet")
		case el.Space == wire.NSServer:
			return s.stanza(st)
		default:
			if err := s.act(el); err != nil || h.c.Variant.authenticated == nil {
				return err
			}
		}
	}
}

// secures reports whether STARTTLS has to come next: towards a provider of direct TLS
// too, for peers that do not connect with it.
func (r *reception) secures() bool { return r.s.tls == nil && r.s.host.c.Params.TLS != TLSNone }

// plainVerify reports whether an element may come without TLS where that is asked
// for otherwise: requests to verify dialback keys may (XEP-0220 §2.1.2).
func (h *Host) plainVerify(el *wire.Element) bool {
	return el.Space == wire.NSDialback && el.Name == "verify" && !h.c.Params.VerifyTLS
}

// open answers the peer's header and announces what now applies.
func (r *reception) open(tag []byte) error {
	s, h := r.s, r.s.host
	peer, err := wire.ParseHeader(tag)
	if err != nil {
		return err
	}
	first := s.local == ""
	to, from := domainOf(peer.To), domainOf(peer.From)
	s.id = newID()
	answer := wire.Header{NS: wire.NSServer, From: peer.To, To: peer.From, ID: s.id, Dialback: true}
	var bye error
	switch {
	case peer.NS != wire.NSServer:
		bye = streamError(wire.InvalidNamespace, "this port serves servers: the content namespace is "+wire.NSServer)
	case majorVersion(peer.Version) < 1:
		bye = streamError("unsupported-version", "XMPP 1.0 is spoken here")
	case to == "":
		bye = streamError("improper-addressing", "the stream header has no 'to'")
	case !h.hosts(to):
		bye = streamError("host-unknown", "")
	case !first && to != s.local:
		bye = streamError("host-unknown", "the stream began for another domain")
	case s.tls != nil && s.tls.ServerName != "" && domainOf(s.tls.ServerName) != to:
		bye = streamError(wire.PolicyViolation, "TLS named "+s.tls.ServerName+", the stream header names "+to)
	case s.tls != nil && from == "":
		bye = streamError("improper-addressing", "the stream header has no 'from'")
	case s.tls != nil && h.hosts(from):
		bye = streamError("invalid-from", "that domain is hosted here") // whatever certificate there is for it
	case s.settled && from != s.remote:
		bye = streamError("invalid-from", "the stream was authenticated for another domain")
	default:
		h.mu.Lock() // for Close
		s.local, s.remote = to, from
		h.mu.Unlock()
		if s.tls != nil && h.c.Variant.meet != nil {
			bye = h.c.Variant.meet(s)
		}
	}
	if !h.hosts(to) {
		answer.From = h.c.Domains[0] // one of this server's names (RFC 6120 §4.9.1.3)
	}
	b := wire.AppendHeader(nil, answer)
	if bye == nil {
		b = r.features(b)
	}
	r.greeted = true
	if err := s.wire.Send(b); err != nil {
		return err
	}
	if d := s.dac.Load(); d != nil {
		d.opened()
	}
	return bye
}

// features appends what applies in the stream's present state.
func (r *reception) features(dst []byte) []byte {
	s, h := r.s, r.s.host
	dst = append(dst, "<stream:features>"...)
	switch {
	case s.settled:
	case r.secures():
		dst = append(dst, "<starttls xmlns='"+wire.NSTLS+"'>"...)
		if h.c.Params.VerifyTLS || h.c.Variant.judge == nil {
			dst = append(dst, "<required/>"...)
		}
		dst = append(dst, "</starttls>"...)
	default:
		if h.c.Variant.Layout(h.c.Params).Both() && !h.c.Variant.duplex {
			dst = append(dst, "<bidi xmlns='"+nsBidiFeature+"'/>"...)
		}
		if h.c.Variant.offer != nil {
			dst = h.c.Variant.offer(s, dst)
		}
	}
	return append(dst, "</stream:features>"...)
}

// startTLS answers STARTTLS (RFC 6120 §5.4).
func (r *reception) startTLS() error {
	if err := r.s.wire.Send([]byte("<proceed xmlns='" + wire.NSTLS + "'/>")); err != nil {
		return err
	}
	t := tls.Server(r.s.raw, r.s.host.server)
	// Bytes that came before the handshake could have been injected: Upgrade refuses them.
	if err := r.s.wire.Upgrade(t); err != nil {
		return err
	}
	r.greeted = false
	return r.handshake(t)
}

func (r *reception) handshake(t *tls.Conn) error {
	s, h := r.s, r.s.host
	if err := t.HandshakeContext(withAsked(r.ctx, s.local)); err != nil {
		h.tally.add(FigureHandshakesFailed, 1)
		return &handshakeError{err}
	}
	cs := t.ConnectionState()
	s.tls = &cs
	s.opened.Secured = time.Now()
	s.secured = leafOf(h.id.of(h.presented(cs.ServerName, s.local)))
	s.chainErr = h.verifyChain(&cs)
	if s.chainErr != nil && !h.c.Variant.open {
		// Known to be untrusted: what it can prove is nothing, and what it says is not heard.
		s.chainErr = &ProofError{Domain: s.remote, Reason: "untrusted", Err: s.chainErr}
	}
	return nil
}

// handshakeError is the end of a connection without TLS: nothing can be sent on it.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// refuse ends a stream that could not be set up, tells the peer why where it can
// be told, and returns the reason.
func (r *reception) refuse(err error) error {
	s := r.s
	var (
		bye       *wire.StreamError
		syntax    *wire.SyntaxError
		handshake *handshakeError
	)
	var say wire.StreamError
	switch {
	case errors.As(err, &handshake):
		_ = s.raw.Close() // the alert is out
		return err
	case errors.Is(err, io.EOF):
		_ = s.wire.Close(s.host.ctx) // the peer has said goodbye
		return nil
	case errors.As(err, &bye) && s.wire.Err() != nil:
		<-s.wire.Done() // it was the peer's; every way to the end is bounded
		return err
	case errors.As(err, &bye):
		say = *bye
	case errors.As(err, &syntax):
		say = wire.StreamError{Condition: syntax.Condition, Text: syntax.Msg}
	case s.host.ctx.Err() != nil:
		say = wire.StreamError{Condition: "system-shutdown"}
	case r.ctx.Err() != nil:
		say = wire.StreamError{Condition: "connection-timeout", Text: "the stream was not set up in time"}
	default:
		_ = s.raw.Close() // it is gone
		return err
	}
	if !r.greeted && !s.host.c.Variant.headless {
		r.greeted = true
		b := wire.AppendHeader(nil, wire.Header{NS: wire.NSServer, From: s.host.c.Domains[0], ID: newID(), Dialback: true})
		_ = s.wire.Send(b) // what follows fails as well
	}
	s.abort(say)
	select {
	case <-s.wire.Done():
	case <-time.After(2 * time.Second):
	}
	return nil // it was this end's decision, and is counted
}
