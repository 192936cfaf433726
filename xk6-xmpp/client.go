package xk6xmpp

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// client is the class Client: one session of one virtual user.
type client struct {
	listening
	o          loginOptions
	persistent bool
	userTags   sobek.Value

	session *live // the one logged in; used on the event loop only, set there
	busy    bool  // connecting

	// Guarded by the lock of listening.
	waiters  []*waiter
	handover *handover      // the last one, nil if there was none
	inbox    []func() error // events of a persistent client, for the next call
	size     int            // bound of inbox
	dropped  int64

	receipts                map[string]chan time.Time // by id of the message
	roster, sm, muc, pubsub *sobek.Object             // parts, made when they are asked for
}

func clientClass() class[*client] {
	return class[*client]{
		name: "Client",
		make: func(m *instance, call sobek.ConstructorCall) *client {
			return m.newClient(call.Argument(0), "Client()")
		},
		methods: map[string]func(*client, sobek.FunctionCall) sobek.Value{
			"connect":      (*client).connect,
			"disconnect":   (*client).disconnect,
			"message":      (*client).message,
			"presence":     (*client).presence,
			"iq":           (*client).iq,
			"ping":         (*client).ping,
			"raw":          (*client).raw,
			"on":           (*client).on,
			"off":          (*client).off,
			"waitFor":      (*client).waitFor,
			"waitForCount": (*client).waitForCount,
		},
		getters: map[string]func(*client) any{
			"connected": func(c *client) any { return c.connected() },
			"info": func(c *client) any {
				if c.session == nil {
					return nil
				}
				return c.session.told()
			},
			"roster": func(c *client) any { return lazily(c.m, &c.roster, rosterClass, &rosterOf{c}) },
			"sm":     func(c *client) any { return lazily(c.m, &c.sm, smClass, &smOf{c}) },
			"muc":    func(c *client) any { return lazily(c.m, &c.muc, mucClass, &mucOf{c}) },
			"pubsub": func(c *client) any { return lazily(c.m, &c.pubsub, pubsubClass, &pubsubOf{c}) },
		},
	}
}

// lazily returns the object of a part of a client, made when it is first asked for.
func lazily[T any](m *instance, slot **sobek.Object, table func() class[T], value T) *sobek.Object {
	if *slot == nil {
		*slot = object(m, table, value)
	}
	return *slot
}

// newClient reads the options of a client.
func (m *instance) newClient(v sobek.Value, call string) *client {
	p := m.options(call, v, true)
	c := &client{listening: listening{m: m}}
	p.get("index") // of credentials, which a script may spread into the options
	jid, password := p.required("jid"), p.text("password", "")
	c.o = p.login()
	c.o.jid, c.o.password = jid, password
	if local, _, ok := strings.Cut(jid, "@"); c.o.domain() == "" || (!ok || local == "") && !c.o.anonymous() {
		p.bad("jid", "%q is not user@domain", jid)
	}
	c.persistent = p.choice("lifetime", "iteration", "iteration", "vu") == "vu"
	c.size = p.integer("inboxSize", 1000, 1, 1_000_000)
	c.userTags = p.tagged()
	p.done()
	return c
}

// connect is the function connect(): a new client that connects at once.
func (m *instance) connect(call sobek.FunctionCall) sobek.Value {
	made, err := m.rt.New(m.exported("Client"), call.Argument(0))
	must(m.rt, err)
	c := self[*client](m, made, "Client")
	return c.open(m.options("connect()", nil, false), func() any { return made })
}

// exported is a class as scripts import it.
func (m *instance) exported(name string) sobek.Value { return m.rt.ToValue(m.exports.Named[name]) }

// connect is the method connect().
func (c *client) connect(call sobek.FunctionCall) sobek.Value {
	p := c.m.options("connect()", call.Argument(0), false)
	return c.open(p, func() any { return c.session.told() })
}

// open logs in. result makes what the promise is resolved with.
func (c *client) open(p *options, result func() any) sobek.Value {
	ctx := c.m.vuContext("connect()")
	r := c.recorder(ctx, p)
	p.done()
	if c.connected() || c.busy {
		c.m.typeErrorf("connect(): the client is connected already")
	}
	c.busy = true
	net, from := c.m.network(c.o), c.starter()
	var made *live
	return c.m.async(ctx, func() {
		c.busy = false
		if made != nil {
			c.adopt(ctx, made)
		}
	}, func(ctx context.Context) (any, error) {
		var err error
		if made, err = net.start(ctx, c.o, r, from, nil); err != nil {
			return nil, fail(stageDial, err)
		}
		return onLoop(result), nil
	})
}

// recorder returns one with the tags of the client and those of the call.
func (c *client) recorder(ctx context.Context, p *options) recorder {
	return c.m.taggedRecorder(ctx, p, c.userTags)
}

// taggedRecorder returns one with the tags of an object and, on top, those of a call.
func (m *instance) taggedRecorder(ctx context.Context, p *options, tags sobek.Value) recorder {
	t := m.vu.State().Tags.GetCurrentValues()
	if tags != nil {
		must(m.rt, common.ApplyCustomUserTags(m.rt, &t, tags)) // that tagged has looked at
	}
	p.tags(&t)
	return m.recorder(ctx, t)
}

// adopt makes a session the client's. It runs on the event loop.
func (c *client) adopt(ctx context.Context, l *live) {
	c.session = l
	if !c.persistent {
		// The end of the iteration ends the session.
		context.AfterFunc(ctx, func() { _ = l.close(closeTimeout) })
	}
	c.holdOpen()
	if !c.connected() {
		c.release() // it ended before it was known here
	}
}

// connected reports whether there is a session that is not over.
func (c *client) connected() bool {
	if c.session == nil {
		return false
	}
	select {
	case <-c.session.Stream.Done():
		return false
	default:
		return true
	}
}

// live returns the session for a call, and throws without one.
func (c *client) live(call string) *live {
	c.m.vuContext(call)
	if c.session == nil {
		panic(c.m.jsError(&fault{stage: stageSession, condition: "not-connected", err: errors.New(call + " before connect()")}))
	}
	return c.session
}

// do runs a request over the session, counts its fault, and delivers what came for
// listeners.
func (c *client) do(p *options, l *live, stage string, timeout time.Duration, work func(ctx context.Context, r recorder) (any, error)) sobek.Value {
	ctx := c.m.vu.Context()
	r := c.recorder(ctx, p)
	p.done()
	return c.m.async(ctx, c.deliver, func(ctx context.Context) (any, error) {
		bounded, cancel := within(ctx, timeout)
		defer cancel()
		result, err := work(bounded, r)
		if l.management != nil && l.management.Due() {
			_ = l.Stream.Post([]byte("<r xmlns='"+wire.NSSM+"'/>"), nil) // a stream that is over says so below
		}
		l.flush(r)
		if err != nil {
			err = timedOut(ctx, bounded, err)
			f := fail(stage, err)
			r.failed(stage, f)
			return nil, f
		}
		return result, nil
	})
}

func (c *client) disconnect(call sobek.FunctionCall) sobek.Value {
	ctx := c.m.vuContext("disconnect()")
	p := c.m.options("disconnect()", call.Argument(0), false)
	timeout := p.duration("timeout", defaultClose)
	r := c.recorder(ctx, p)
	p.done()
	l := c.session
	return c.m.async(ctx, func() { c.deliver(); c.release() }, func(ctx context.Context) (any, error) {
		if l == nil {
			return nil, nil
		}
		l.flush(r)
		err := c.m.ending(ctx, func() error { return l.close(timeout) })
		r.push(time.Now(), figure{metricActive, float64(c.m.root.active())})
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			r.failed(stageClose, err)
			return nil, fail(stageClose, err)
		}
		return nil, nil // how a stream ends that was over already is told by on("close")
	})
}

// send hands bytes to the socket, unless ctx ends first.
func (l *live) send(ctx context.Context, b []byte) error {
	return send(ctx, l.Stream, b)
}

// send hands bytes to the socket of a stream, unless ctx ends first.
func send(ctx context.Context, s *wire.Stream, b []byte) error {
	done := make(chan struct{})
	if err := s.Post(b, func() { close(done) }); err != nil {
		return err
	}
	_, err := await(ctx, s, done)
	return err
}

// await returns what comes over a channel, unless the stream or ctx ends first.
func await[T any](ctx context.Context, s *wire.Stream, got <-chan T) (v T, err error) {
	select {
	case v = <-got:
		return v, nil
	case <-s.Done():
		return v, wire.ErrClosed
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// awaitStanza returns what comes over a channel that a waiter of the client feeds, unless
// its session or ctx ends first. A session that is resumed goes on in its successor.
func awaitStanza[T any](ctx context.Context, c *client, l *live, got <-chan T) (v T, err error) {
	for {
		v, err = await(ctx, l.Stream, got)
		if !errors.Is(err, wire.ErrClosed) {
			return v, err
		}
		if l = c.successor(ctx, l); l == nil {
			return v, err
		}
	}
}

// stanzaStart is the start tag of a stanza from the options that all have.
func (p *options) stanzaStart(name, id string) []byte {
	return startTag(name, p.text("to", ""), id, p.text("type", ""), p.text("lang", ""))
}

// startTag is the start tag of a stanza. What is empty is left out.
func startTag(name, to, id, typ, lang string) []byte {
	b := append([]byte{'<'}, name...)
	for _, attr := range [][2]string{{"to", to}, {"id", id}, {"type", typ}, {"xml:lang", lang}} {
		if attr[1] != "" {
			b = wire.AppendAttr(b, attr[0], attr[1])
		}
	}
	return append(b, '>')
}

// children appends the elements of a stanza that stand for options with their names, and
// the payload.
func (p *options) children(b []byte, names ...string) []byte {
	for _, name := range names {
		if p.has(name) {
			b = appendChild(b, name, p.text(name, ""))
		}
	}
	return p.m.payload(b, p.call, p.get("payload"))
}

func appendChild(dst []byte, name, text string) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	dst = wire.AppendText(dst, text)
	return append(append(append(dst, "</"...), name...), '>')
}

// message reads a message from options. With a receipt it has an id.
func (p *options) message(nextID func() string, asks bool) (b []byte, id string) {
	id = p.text("id", "")
	if asks && id == "" {
		id = nextID()
	}
	b = p.stanzaStart("message", id)
	if p.has("type") {
		p.choice("type", "", "chat", "groupchat", "headline", "normal", "error")
	}
	b = p.children(b, "subject", "body")
	if asks {
		b = append(b, askReceipt...)
	}
	return append(b, "</message>"...), id
}

func (c *client) message(call sobek.FunctionCall) sobek.Value {
	l := c.live("message()")
	p := c.m.options("message()", call.Argument(0), true)
	asks := p.flag("receipt", false)
	timeout := p.duration("timeout", c.o.request)
	b, id := p.message(l.Stream.NextID, asks)
	var got chan time.Time
	if asks {
		got = make(chan time.Time, 1)
		c.expectReceipt(id, got)
	}
	return c.do(p, l, stageMessage, timeout, func(ctx context.Context, r recorder) (any, error) {
		start := time.Now()
		if asks {
			defer c.expectReceipt(id, nil)
		}
		if err := l.send(ctx, b); err != nil || !asks {
			return since(start), err
		}
		at, err := awaitStanza(ctx, c, l, got)
		if err != nil {
			return nil, err
		}
		d := at.Sub(start)
		r.push(at, took(metricMessage, d))
		return milliseconds(d), nil
	})
}

// expectReceipt registers for the receipt of a message, or takes that back.
func (c *client) expectReceipt(id string, got chan time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got == nil {
		delete(c.receipts, id)
		return
	}
	if c.receipts == nil {
		c.receipts = make(map[string]chan time.Time)
	}
	c.receipts[id] = got
}

// presence reads a presence from options.
func (p *options) presence(id string) []byte {
	if p.has("type") {
		p.choice("type", "", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error")
	}
	b := p.stanzaStart("presence", id)
	if p.has("show") {
		b = appendChild(b, "show", p.choice("show", "", "away", "chat", "dnd", "xa"))
	}
	if p.has("status") {
		b = appendChild(b, "status", p.text("status", ""))
	}
	if p.has("priority") {
		b = appendChild(b, "priority", strconv.Itoa(p.integer("priority", 0, -128, 127)))
	}
	return append(p.m.payload(b, p.call, p.get("payload")), "</presence>"...)
}

func (c *client) presence(call sobek.FunctionCall) sobek.Value {
	l := c.live("presence()")
	p := c.m.options("presence()", call.Argument(0), false)
	b := p.presence(p.text("id", ""))
	return c.do(p, l, stagePresence, c.o.request, func(ctx context.Context, _ recorder) (any, error) {
		return nil, l.send(ctx, b)
	})
}

func (c *client) iq(call sobek.FunctionCall) sobek.Value {
	l := c.live("iq()")
	p := c.m.options("iq()", call.Argument(0), true)
	timeout := p.duration("timeout", c.o.request)
	p.required("type")
	p.choice("type", "", "get", "set")
	id := p.text("id", "")
	if id == "" {
		id = l.Stream.NextID()
	}
	b := p.stanzaStart("iq", id)
	b = append(c.m.payload(b, "iq()", p.get("payload")), "</iq>"...)
	return c.do(p, l, stageIQ, timeout, func(ctx context.Context, r recorder) (any, error) {
		answer, err := l.timed(ctx, c.m, r, id, b)
		if err != nil {
			return nil, err
		}
		return answer.stanza, nil
	})
}

// answer is what a request brought.
type answer struct {
	stanza *stanza
	at     time.Time
}

// request sends an iq and returns its result. An error answer is an error.
func (l *live) request(ctx context.Context, m *instance, id string, b []byte) (answer, error) {
	type outcome struct {
		answer
		err error
	}
	got := make(chan outcome, 1)
	cancel := l.Stream.Expect(id, wire.Handler{
		Watch: wire.Watch{Mode: wire.Frame},
		Done: func(st *wire.Stanza) error {
			s, err := newStanza(m, st)
			if err != nil {
				got <- outcome{err: err}
				return err
			}
			if s.Type == "error" {
				got <- outcome{err: wire.ParseStanzaError(s.element)}
				return nil
			}
			got <- outcome{answer: answer{s, st.End}}
			return nil
		},
		Fail: func(err error) { got <- outcome{err: err} },
	})
	defer cancel()
	if err := l.Stream.Post(b, nil); err != nil {
		return answer{}, err
	}
	select {
	case o := <-got:
		return o.answer, o.err
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// timed is a request whose time is that of an iq.
func (l *live) timed(ctx context.Context, m *instance, r recorder, id string, b []byte) (answer, error) {
	start := time.Now()
	got, err := l.request(ctx, m, id, b)
	if err == nil {
		r.push(got.at, took(metricIQ, got.at.Sub(start)))
	}
	return got, err
}

func (c *client) ping(call sobek.FunctionCall) sobek.Value {
	l := c.live("ping()")
	to := l.Domain
	if v := call.Argument(0); !common.IsNullish(v) {
		s, ok := v.Export().(string)
		if !ok {
			c.m.typeErrorf("ping(): %v is not a JID", v)
		}
		to = s
	}
	p := c.m.options("ping()", call.Argument(1), false)
	timeout := p.duration("timeout", c.o.request)
	return c.do(p, l, stageIQ, timeout, func(ctx context.Context, r recorder) (any, error) {
		start := time.Now()
		id := l.Stream.NextID()
		b := wire.AppendIQ(nil, "get", id, "", to, []byte("<ping xmlns='"+wire.NSPing+"'/>"))
		got, err := l.request(ctx, c.m, id, b)
		if err != nil {
			return nil, err
		}
		d := got.at.Sub(start)
		r.push(got.at, took(metricPing, d))
		return milliseconds(d), nil
	})
}

func (c *client) raw(call sobek.FunctionCall) sobek.Value {
	l := c.live("raw()")
	text, ok := call.Argument(0).Export().(string)
	if !ok || text == "" {
		c.m.typeErrorf("raw() takes XML as text")
	}
	p := c.m.options("raw()", call.Argument(1), false)
	return c.do(p, l, stageStream, c.o.request, func(ctx context.Context, _ recorder) (any, error) {
		return nil, l.send(ctx, []byte(text))
	})
}

// wait registers a waiter and takes it back when work is over.
func (c *client) wait(w *waiter) (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters = append(c.waiters, w)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiters = slices.DeleteFunc(c.waiters, func(o *waiter) bool { return o == w })
	}
}

func (c *client) waitFor(call sobek.FunctionCall) sobek.Value {
	l := c.live("waitFor()")
	w := &waiter{match: c.m.match("waitFor()", call.Argument(0)), whole: true}
	p := c.m.options("waitFor()", call.Argument(1), false)
	timeout := p.duration("timeout", c.o.request)
	got := make(chan *stanza, 1)
	w.done = func(st *wire.Stanza) bool {
		if s, err := newStanza(c.m, st); err == nil {
			got <- s
		}
		return false
	}
	forget := c.wait(w)
	return c.do(p, l, stageSession, timeout, func(ctx context.Context, _ recorder) (any, error) {
		defer forget()
		s, err := awaitStanza(ctx, c, l, got)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// counted is what waitForCount resolves with.
type counted struct {
	Count    int     `js:"count"`
	Duration float64 `js:"duration"`
}

func (c *client) waitForCount(call sobek.FunctionCall) sobek.Value {
	l := c.live("waitForCount()")
	w := &waiter{match: c.m.match("waitForCount()", call.Argument(0))}
	n, ok := call.Argument(1).Export().(int64)
	if !ok || n < 1 {
		c.m.typeErrorf("waitForCount(): %v is not a whole number above zero", call.Argument(1))
	}
	p := c.m.options("waitForCount()", call.Argument(2), false)
	timeout := p.duration("timeout", c.o.request)
	got := make(chan time.Time, 1)
	left := n
	w.done = func(st *wire.Stanza) bool {
		left--
		if left == 0 {
			got <- st.End
		}
		return left > 0
	}
	start := time.Now()
	forget := c.wait(w)
	return c.do(p, l, stageSession, timeout, func(ctx context.Context, _ recorder) (any, error) {
		defer forget()
		at, err := awaitStanza(ctx, c, l, got)
		if err != nil {
			return nil, err
		}
		return &counted{int(n), milliseconds(at.Sub(start))}, nil
	})
}
