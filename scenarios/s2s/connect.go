package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// connectOptions say what an outgoing stream is for.
type connectOptions struct {
	key     string // of its link
	verify  bool   // dialback verification alone
	plain   bool   // without TLS
	certify bool   // the peer's certificate must name the domain, whatever the variant says
}

// connect opens a stream from a hosted domain to a domain at a target, up to where
// authority can be proved on it. It blocks, for the time of Config.Setup at most.
func (h *Host) connect(local, remote string, t *target, o connectOptions) (*Stream, error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.c.Setup)
	defer cancel()
	select {
	case h.dials <- struct{}{}:
		defer func() { <-h.dials }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s := &Stream{host: h, initiator: true, verifying: o.verify, key: o.key, local: local, remote: remote, dialled: t, gone: make(chan struct{})}
	v := h.c.Variant
	if v.before != nil && !o.verify {
		if err := v.before(ctx, h, remote, t); err != nil {
			return nil, err
		}
	}
	conn, err := h.dialTarget(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("s2s: connect to %s: %w", remote, err)
	}
	s.opened.Connected = time.Now()
	h.tally.add(FigureOpened, 1)
	s.raw = wire.NewConn(conn, 0)
	n := &negotiation{s: s, ctx: ctx, options: o}
	if err := n.run(); err != nil {
		if bye, ok := errors.AsType[*wire.StreamError](err); ok {
			h.received(bye)
		}
		if s.wire != nil {
			s.wire.Abort(wire.StreamError{Condition: "undefined-condition", Text: "the stream could not be set up"})
			<-s.wire.Done()
		} else {
			_ = conn.Close() // the error that matters is the first
		}
		return nil, n.explain(err)
	}
	s.opened.Usable = time.Now()
	s.used.Store(int64(h.since()))
	if err := h.enter(s); err != nil {
		_ = s.wire.Close(ctx) // the host is closing
		return nil, err
	}
	s.ready.Store(true)
	h.wg.Go(s.serve)
	return s, nil
}

// dialTarget tries the addresses of a target in their order.
func (h *Host) dialTarget(ctx context.Context, t *target) (net.Conn, error) {
	var errs []error
	for _, address := range t.addresses {
		c, err := h.c.Dial(ctx, address)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// negotiation is the set-up of an outgoing stream. It is used by one goroutine.
type negotiation struct {
	s       *Stream
	ctx     context.Context
	options connectOptions
}

func (n *negotiation) run() error {
	s, h := n.s, n.s.host
	secure := h.c.Params.TLS
	if h.c.Variant.headless {
		return n.headless(secure)
	}
	if n.options.plain {
		secure = TLSNone
	}
	under := net.Conn(s.raw)
	if secure == TLSDirect {
		t, err := n.handshake()
		if err != nil {
			return err
		}
		under = t
	}
	s.begin(under, false)
	if err := n.open(); err != nil {
		return err
	}
	if secure == TLSStart {
		if err := n.startTLS(); err != nil {
			return err
		}
		if err := n.open(); err != nil {
			return err
		}
	}
	s.opened.Features = time.Now()
	if s.peer.bidi && h.c.Variant.Layout(h.c.Params).Both() && !n.options.verify {
		// No answer comes, so that it costs no round trip (XEP-0288 §2).
		if err := n.send([]byte("<bidi xmlns='" + nsBidi + "'/>")); err != nil {
			return err
		}
		s.both = true
	}
	if begin := h.c.Variant.begin; begin != nil && !n.options.verify {
		return begin(n)
	}
	return nil
}

// headless begins a stream of which both ends know everything beforehand.
func (n *negotiation) headless(secure string) error {
	s := n.s
	under := net.Conn(s.raw)
	if secure != TLSNone {
		t, err := n.handshake()
		if err != nil {
			return err
		}
		under = t
	}
	s.begin(under, true)
	s.opened.Features = time.Now()
	return n.s.host.c.Variant.begin(n)
}

// options are those of the wire below.
func (s *Stream) options(opened bool) wire.StreamOptions {
	h := s.host
	o := wire.StreamOptions{
		Limits: wire.Limits{Frame: h.c.Frame, Restricted: !s.initiator},
		Server: !s.initiator, Piece: h.c.Piece, QueueBytes: queueBytes, Raw: s.raw, Opened: opened, CloseTimeout: closeTimeout,
	}
	if opened {
		o.NS = wire.NSServer
	}
	if h.c.Trace != nil {
		h.mu.Lock()
		h.number++
		number := h.number
		h.mu.Unlock()
		o.Trace = func(out bool, b []byte) { h.c.Trace(number, out, b) }
	}
	return o
}

// queueBytes bounds what waits to be written to one peer: a shared stream may get the
// first stanzas of a hundred thousand pairs at one moment.
const queueBytes = 64 << 20

// closeTimeout is how long a peer may take to end a stream that this end has ended.
const closeTimeout = 5 * time.Second

// open exchanges headers and reads the features.
func (n *negotiation) open() error {
	s := n.s
	header := wire.Header{NS: wire.NSServer, From: s.local, To: s.remote, Dialback: true}
	if err := n.send(wire.AppendHeader(nil, header)); err != nil {
		return err
	}
	st, err := s.wire.Next(n.ctx)
	if err != nil {
		return err
	}
	answer, err := wire.ParseHeader(st.Tag)
	if err != nil {
		return err
	}
	if majorVersion(answer.Version) < 1 {
		return &UnspokenError{Peer: s.remote, Missing: "XMPP 1.0"}
	}
	s.id = answer.ID
	el, err := n.next()
	if err != nil {
		return err
	}
	if el.Space != wire.NSStreams || el.Name != "features" {
		return fmt.Errorf("s2s: %s sent <%s/> in place of features", s.remote, el.Name)
	}
	s.peer = parseFeatures(el)
	return nil
}

// startTLS negotiates STARTTLS (RFC 6120 §5.4).
func (n *negotiation) startTLS() error {
	s := n.s
	if s.peer.element.Child(wire.NSTLS, "starttls") == nil {
		return &UnspokenError{Peer: s.remote, Missing: "STARTTLS"}
	}
	if err := n.send([]byte("<starttls xmlns='" + wire.NSTLS + "'/>")); err != nil {
		return err
	}
	el, err := n.next()
	if err != nil {
		return err
	}
	if el.Space != wire.NSTLS || el.Name != "proceed" {
		return &UnspokenError{Peer: s.remote, Missing: "STARTTLS, though it had announced it"}
	}
	t, config := n.client()
	if err := s.wire.Upgrade(t); err != nil {
		return err
	}
	return n.secure(t, config)
}

// handshake does direct TLS (XEP-0368).
func (n *negotiation) handshake() (*tls.Conn, error) {
	t, config := n.client()
	return t, n.secure(t, config)
}

func (n *negotiation) client() (*tls.Conn, *tls.Config) {
	config := n.s.host.clientTLS(n.s, n.options)
	return tls.Client(n.s.raw, config), config
}

func (n *negotiation) secure(t *tls.Conn, config *tls.Config) error {
	h := n.s.host
	if err := t.HandshakeContext(n.ctx); err != nil {
		h.tally.add(FigureHandshakesFailed, 1)
		return fmt.Errorf("s2s: TLS with %s: %w", n.s.remote, err)
	}
	cs := t.ConnectionState()
	n.s.tls = &cs
	if len(config.Certificates) > 0 {
		n.s.secured = config.Certificates[0].Leaf
	}
	n.s.opened.Secured = time.Now()
	if cs.DidResume {
		h.tally.add(FigureResumed, 1)
	} else {
		h.tally.add(FigureFull, 1)
	}
	return nil
}

func (n *negotiation) send(b []byte) error { return n.s.wire.Send(b) }

// next reads one element.
func (n *negotiation) next() (*wire.Element, error) {
	st, err := n.s.wire.Next(n.ctx)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("s2s: %s ended the stream while it was set up: %w", n.s.remote, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, err
	}
	return st.Element()
}

// restart begins the stream anew, as after SASL (RFC 6120 §6.4.6).
func (n *negotiation) restart() error {
	if err := n.s.wire.Restart(); err != nil {
		return err
	}
	return n.open()
}

// explain adds to an error what the context knows of it.
func (n *negotiation) explain(err error) error {
	if n.ctx.Err() != nil && n.s.host.ctx.Err() == nil {
		return fmt.Errorf("s2s: the stream to %s was not set up within %s: %w", n.s.remote, n.s.host.c.Setup, context.DeadlineExceeded)
	}
	return err
}
