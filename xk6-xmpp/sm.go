package xk6xmpp

import (
	"context"
	"errors"
	"time"

	"github.com/grafana/sobek"
)

// errNoManagement says that a call needs stream management.
var errNoManagement = errors.New("stream management is off: set the option streamManagement, and log in at a server that has it")

// smOf is the class StreamManagement, a part of a client (XEP-0198).
type smOf struct{ c *client }

func smClass() class[*smOf] {
	return class[*smOf]{
		name: "StreamManagement",
		methods: map[string]func(*smOf, sobek.FunctionCall) sobek.Value{
			"request": (*smOf).request, "resume": (*smOf).resume,
		},
		getters: map[string]func(*smOf) any{
			"enabled": func(x *smOf) any { return x.enabled() },
			"unacked": func(x *smOf) any {
				if !x.enabled() {
					return 0
				}
				return x.c.session.management.Unacked()
			},
		},
	}
}

func (x *smOf) enabled() bool { return x.c.session != nil && x.c.session.SM != nil }

// managed returns the session for a call that needs stream management.
func (x *smOf) managed(call string) *live {
	l := x.c.live(call)
	if !x.enabled() {
		panic(x.c.m.jsError(&fault{stage: stageSM, condition: "unexpected-request", err: errNoManagement}))
	}
	return l
}

// request asks for an acknowledgement of all that was sent.
func (x *smOf) request(call sobek.FunctionCall) sobek.Value {
	l := x.managed("sm.request()")
	p := x.c.m.options("sm.request()", call.Argument(0), false)
	timeout := p.duration("timeout", x.c.o.request)
	return x.c.do(p, l, stageSM, timeout, func(ctx context.Context, r recorder) (any, error) {
		d, err := l.management.Request(ctx, l.Stream)
		if err != nil {
			return nil, err
		}
		r.push(time.Now(), took(metricAck, d))
		return milliseconds(d), nil
	})
}

// resume takes the connection away and resumes the session over another one.
func (x *smOf) resume(call sobek.FunctionCall) sobek.Value {
	l := x.managed("sm.resume()")
	c := x.c
	p := c.m.options("sm.resume()", call.Argument(0), false)
	after := time.Duration(0)
	if p.has("after") {
		after = p.duration("after", 0)
	}
	o := c.o
	o.timeout = p.duration("timeout", c.o.timeout)
	ctx := c.m.vu.Context()
	r := c.recorder(ctx, p)
	p.done()
	if l.management.Resumption() == nil {
		panic(c.m.jsError(&fault{stage: stageSM, condition: "item-not-found", err: errors.New("the server does not resume sessions")}))
	}
	net, from := c.m.network(o), c.starter()
	h := c.replaces(l)
	var made *live
	return c.m.async(ctx, func() {
		if made != nil {
			c.adopt(ctx, made)
		} else {
			c.over(l)
		}
		c.deliver()
	}, func(ctx context.Context) (any, error) {
		defer close(h.over)
		l.flush(r)
		l.cut()
		l.management.Interrupted(l.Handled())
		if err := pause(ctx, after); err != nil {
			return nil, fail(stageSM, err)
		}
		var err error
		if made, err = net.start(ctx, o, r, from, l.management); err != nil {
			return nil, fail(stageSM, err)
		}
		h.to = made
		return onLoop(func() any { return made.told() }), nil
	})
}

// handover is the replacement of a client's session by another one.
type handover struct {
	from *live
	to   *live         // nil if that has failed; valid once over
	over chan struct{} // closed when it is known
}

// failed reports whether there is no successor, as far as is known.
func (h *handover) failed() bool {
	select {
	case <-h.over:
		return h.to == nil
	default:
		return false
	}
}

// replaces notes that the end of a session is not the end of the client.
func (c *client) replaces(l *live) *handover {
	h := &handover{from: l, over: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handover = h
	return h
}

// successor returns the session that has taken the place of another one, once that is
// known, or nil.
func (c *client) successor(ctx context.Context, l *live) *live {
	c.mu.Lock()
	h := c.handover
	c.mu.Unlock()
	if h == nil || h.from != l {
		return nil
	}
	select {
	case <-h.over:
		return h.to
	case <-ctx.Done():
		return nil
	}
}
