package xk6xmpp

import (
	"context"
	"errors"
	"time"

	"github.com/grafana/sobek"
)

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
				return x.c.session.management.unacked()
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
		d, err := l.management.request(ctx, l)
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
	if l.management.resumption() == nil {
		panic(c.m.jsError(&fault{stage: stageSM, condition: "item-not-found", err: errors.New("the server does not resume sessions")}))
	}
	net, from := c.m.network(o), c.starter()
	c.replaces(l)
	var made *live
	return c.m.async(ctx, func() {
		if made != nil {
			c.adopt(ctx, made)
		} else {
			c.replaces(nil)
			c.over(l)
		}
		c.deliver()
	}, func(ctx context.Context) (any, error) {
		l.flush(r)
		l.cut()
		l.management.interrupted(l.Handled())
		if err := pause(ctx, after); err != nil {
			return nil, fail(stageSM, err)
		}
		var err error
		if made, err = net.start(ctx, o, r, from, l.management); err != nil {
			return nil, fail(stageSM, err)
		}
		return onLoop(func() any { return made.info }), nil
	})
}

// replaces notes that the end of a session is not the end of the client.
func (c *client) replaces(l *live) { // nil: it is after all
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resuming = l
}
