package xk6xmpp

import (
	"context"
	"crypto/sha1" // #nosec G505 -- XEP-0114 has no other
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/lib"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// nsComponent is the namespace of streams of external components (XEP-0114).
const nsComponent = "jabber:component:accept"

// component is the class Component: a domain behind a server, which does the federation.
type component struct {
	listening
	domain, secret string
	host           string
	port           uint16
	timeout        time.Duration
	tags           sobek.Value
	reply          bool

	stream *wire.Stream // nil before connect; guarded by the lock of listening
	busy   bool         // event loop only
}

func componentClass() class[*component] {
	return class[*component]{
		name: "Component",
		make: newComponent,
		methods: map[string]func(*component, sobek.FunctionCall) sobek.Value{
			"connect": (*component).connect, "disconnect": (*component).disconnect, "message": (*component).message, "ping": (*component).ping, "on": (*component).on,
		},
		getters: map[string]func(*component) any{
			"connected": func(x *component) any { return x.current() != nil },
			"domain":    func(x *component) any { return x.domain },
			"autoReply": func(x *component) any { return x.reply },
		},
	}
}

func newComponent(m *instance, call sobek.ConstructorCall) *component {
	p := m.options("Component()", call.Argument(0), true)
	x := &component{
		listening: listening{m: m}, domain: p.required("domain"), secret: p.required("secret"), host: p.required("host"),
		port: p.port(5347), timeout: p.duration("timeout", defaultTimeout), reply: p.flag("autoReply", true),
	}
	x.tags = p.tagged()
	p.done()
	return x
}

func (x *component) recorder(ctx context.Context, p *options) recorder {
	return x.m.taggedRecorder(ctx, p, x.tags)
}

// current is the stream, nil where there is none that lives.
func (x *component) current() *wire.Stream {
	x.mu.Lock()
	s := x.stream
	x.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case <-s.Done():
		return nil
	default:
		return s
	}
}

// componentInfo is what connect() resolves with.
type componentInfo struct {
	Total float64 `js:"total"`
}

func (x *component) connect(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Component.connect()")
	p := x.m.options("Component.connect()", call.Argument(0), false)
	r := x.recorder(ctx, p)
	p.done()
	if x.busy || x.current() != nil {
		x.m.typeErrorf("Component.connect(): the component is connected already")
	}
	x.busy = true
	dialer := x.m.vu.State().Dialer
	return x.m.async(ctx, func() {
		x.busy = false
		if x.current() != nil {
			x.holdOpen()
		}
	}, func(ctx context.Context) (any, error) {
		bounded, cancel := within(ctx, x.timeout)
		defer cancel()
		start := time.Now()
		s, err := x.open(bounded, dialer)
		if err != nil {
			err = timedOut(ctx, bounded, err)
			f := fail(stageStream, err)
			r.loginFailed(f)
			return nil, f
		}
		x.mu.Lock()
		x.stream = s
		x.mu.Unlock()
		d := time.Since(start)
		r.push(time.Now(), figure{metricLoginSuccess, 1})
		r.with("mechanism", "component").push(time.Now(), figure{metricSessions, 1}, took(metricLogin, d))
		context.AfterFunc(ctx, func() { x.end(s, closeTimeout) })
		return &componentInfo{milliseconds(d)}, nil
	})
}

// open connects and proves the secret (XEP-0114 §3).
func (x *component) open(ctx context.Context, dialer lib.DialContexter) (*wire.Stream, error) {
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(x.host, fmt.Sprint(x.port)))
	if err != nil {
		return nil, fail(stageDial, err)
	}
	s := wire.NewStream(conn, nil, wire.StreamOptions{NS: nsComponent})
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	refused := func(err error) (*wire.Stream, error) {
		_ = conn.Close() // the error says more
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	if err := s.Send(wire.AppendHeader(nil, wire.Header{NS: nsComponent, To: x.domain})); err != nil {
		return refused(err)
	}
	st, err := s.Next(ctx)
	if err != nil {
		return refused(err)
	}
	header, err := wire.ParseHeader(st.Tag)
	if err != nil {
		return refused(err)
	}
	sum := sha1.Sum([]byte(header.ID + x.secret)) // #nosec G401 -- XEP-0114 has no other
	if err := s.Send([]byte("<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>")); err != nil {
		return refused(err)
	}
	if st, err = s.Next(ctx); err != nil {
		return refused(fail(session.StepSASL, err))
	}
	if string(st.Name()) != "handshake" {
		return refused(fail(session.StepSASL, fmt.Errorf("the server answered <%s/> in place of the handshake", st.Name())))
	}
	if !stop() {
		return refused(nil)
	}
	s.Handle(func(head *wire.Stanza) wire.Handler { return x.arrives(s, head) })
	go func() { _ = s.Serve(context.WithoutCancel(ctx)) }() // ends with the stream, which end waits for
	return s, nil
}

// end closes the stream and waits until it is over.
func (x *component) end(s *wire.Stream, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_ = s.Close(ctx) // a server that does not say goodbye is left all the same
}

// arrives decides who looks at a stanza.
func (x *component) arrives(s *wire.Stream, head *wire.Stanza) wire.Handler {
	name, typ := string(head.Name()), head.Type()
	if name == "iq" && (typ == "get" || typ == "set") && x.reply {
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error { return x.answer(s, st) }}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.wanted[name] {
		return wire.Handler{}
	}
	return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
		received, err := newStanza(x.m, st)
		if err != nil {
			return err
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.queue != nil {
			x.queue.push(func() error { _, err := x.call(received.Name, received); return err })
		}
		return nil
	}}
}

// answer answers pings and disco of any JID of the domain, and refuses the rest.
func (x *component) answer(s *wire.Stream, st *wire.Stanza) error {
	el, err := st.Element()
	if err != nil {
		return err
	}
	child := el.Child("", "")
	var b []byte
	switch {
	case child != nil && child.Space == wire.NSPing:
		b = wire.AppendReply(nil, st.Tag, "result", nil)
	case child != nil && child.Space == wire.NSDiscoInfo && child.Attr("node") == "":
		b = wire.AppendReply(nil, st.Tag, "result", []byte("<query xmlns='"+wire.NSDiscoInfo+"'><identity category='component' type='generic' name='xmppbench'/>"+
			"<feature var='"+wire.NSDiscoInfo+"'/><feature var='"+wire.NSPing+"'/></query>"))
	default:
		b = wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"})
	}
	return s.Post(b, nil)
}

func (x *component) on(call sobek.FunctionCall) sobek.Value {
	x.listen("Component.on()", []string{eventMessage, eventPresence}, call)
	if x.current() != nil {
		x.holdOpen()
	}
	return call.This
}

// linked returns the stream for a call, and throws without one.
func (x *component) linked(call string) *wire.Stream {
	x.m.vuContext(call)
	s := x.current()
	if s == nil {
		panic(x.m.jsError(&fault{stage: stageSession, condition: "not-connected", err: errors.New(call + ": the component is not connected")}))
	}
	return s
}

// own refuses a sender outside of the component's domain.
func (x *component) own(call, jid string) {
	_, domain, ok := strings.Cut(jid, "@")
	if !ok {
		domain = jid
	}
	domain, _, _ = strings.Cut(domain, "/")
	if domain != x.domain {
		x.m.typeErrorf("%s: %q is not at %s, the domain of the component", call, jid, x.domain)
	}
}

func (x *component) message(call sobek.FunctionCall) sobek.Value {
	s := x.linked("Component.message()")
	p := x.m.options("Component.message()", call.Argument(0), true)
	from := p.required("from")
	x.own("Component.message()", from)
	p.required("to")
	b, _ := p.message(s.NextID, false)
	b = append(wire.AppendAttr([]byte("<message"), "from", from), b[len("<message"):]...)
	ctx := x.m.vu.Context()
	r := x.recorder(ctx, p)
	p.done()
	return x.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		bounded, cancel := within(ctx, x.timeout)
		defer cancel()
		if err := send(bounded, s, b); err != nil {
			r.failed(stageMessage, err)
			return nil, fail(stageMessage, err)
		}
		r.with("kind", "message").push(time.Now(), figure{metricSent, 1})
		return nil, nil
	})
}

func (x *component) ping(call sobek.FunctionCall) sobek.Value {
	const name = "Component.ping()"
	s := x.linked(name)
	from, ok := call.Argument(0).Export().(string)
	to, ok2 := call.Argument(1).Export().(string)
	if !ok || !ok2 {
		x.m.typeErrorf("%s takes the JID that asks and the JID that is asked", name)
	}
	x.own(name, from)
	p := x.m.options(name, call.Argument(2), false)
	timeout := p.duration("timeout", x.timeout)
	ctx := x.m.vu.Context()
	r := x.recorder(ctx, p)
	p.done()
	return x.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		bounded, cancel := within(ctx, timeout)
		defer cancel()
		id := s.NextID()
		start := time.Now()
		_, err := s.IQ(bounded, id, wire.AppendIQ(nil, "get", id, from, to, []byte("<ping xmlns='"+wire.NSPing+"'/>")))
		if err != nil {
			err = timedOut(ctx, bounded, err)
			r.failed(stageIQ, err)
			return nil, fail(stageIQ, err)
		}
		d := time.Since(start)
		r.push(time.Now(), took(metricPing, d))
		return milliseconds(d), nil
	})
}

func (x *component) disconnect(call sobek.FunctionCall) sobek.Value {
	ctx := x.m.vuContext("Component.disconnect()")
	p := x.m.options("Component.disconnect()", call.Argument(0), false)
	timeout := p.duration("timeout", defaultClose)
	p.done()
	s := x.current()
	return x.m.async(ctx, x.release, func(ctx context.Context) (any, error) {
		if s == nil {
			return nil, nil
		}
		if err := x.m.ending(ctx, func() error { x.end(s, timeout); return nil }); err != nil {
			return nil, fail(stageClose, err)
		}
		return nil, nil
	})
}
