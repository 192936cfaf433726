package xk6xmpp

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/sobek"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Namespaces of rooms (XEP-0045).
const (
	nsMUC       = "http://jabber.org/protocol/muc"
	nsMUCUser   = "http://jabber.org/protocol/muc#user"
	nsMUCOwner  = "http://jabber.org/protocol/muc#owner"
	nsMUCConfig = "http://jabber.org/protocol/muc#roomconfig"
)

// Status codes of presence in rooms (XEP-0045 §15.6).
const (
	statusSelf    = "110"
	statusCreated = "201"
)

const stageMUC = "muc"

// mucOf is the class MUC, a part of a client.
type mucOf struct{ c *client }

func mucClass() class[*mucOf] {
	return class[*mucOf]{name: "MUC", methods: map[string]func(*mucOf, sobek.FunctionCall) sobek.Value{"join": (*mucOf).join}}
}

// room is the class Room: a room that a client has joined.
type room struct {
	c         *client
	jid, nick string
	occupants int
	created   bool
}

func roomClass() class[*room] {
	return class[*room]{
		name: "Room",
		methods: map[string]func(*room, sobek.FunctionCall) sobek.Value{
			"send": (*room).send, "publish": (*room).publish, "leave": (*room).leave,
		},
		getters: map[string]func(*room) any{
			"jid": func(r *room) any { return r.jid }, "nick": func(r *room) any { return r.nick },
			"occupants": func(r *room) any { return r.occupants }, "created": func(r *room) any { return r.created },
		},
	}
}

// argument reads a string that a call takes.
func (m *instance) argument(call, what string, v sobek.Value) string {
	s, ok := v.Export().(string)
	if !ok || s == "" {
		m.typeErrorf("%s: %s, %v, is not a string", call, what, v)
	}
	return s
}

// hasStatus reports whether a presence of a room has a status code.
func hasStatus(el *wire.Element, code string) bool {
	for status := range el.Child(nsMUCUser, "x").Each(nsMUCUser, "status") {
		if status.Attr("code") == code {
			return true
		}
	}
	return false
}

// presences waits for presence from a room until done says that it was the last.
func (c *client) presences(ctx context.Context, l *live, room string, b []byte, done func(el *wire.Element) (over bool, err error)) (time.Time, error) {
	type outcome struct {
		at  time.Time
		err error
	}
	got := make(chan outcome, 1)
	forget := c.wait(&waiter{match: match{name: "presence", from: room, bare: true}, whole: true, done: func(st *wire.Stanza) bool {
		el, err := st.Element()
		over := true
		if err == nil {
			over, err = done(el)
		}
		if over || err != nil {
			got <- outcome{st.End, err}
			return false
		}
		return true
	}})
	defer forget()
	if err := l.Stream.Post(b, nil); err != nil {
		return time.Time{}, err
	}
	o, err := awaitStanza(ctx, c, l, got)
	if err == nil {
		err = o.err
	}
	return o.at, err
}

// join enters a room (XEP-0045 §7.2). The promise is resolved when the client's own
// presence has come, after that of all others. A room that this has made is locked until its
// owner has configured it (§10.1), which is done before.
func (x *mucOf) join(call sobek.FunctionCall) sobek.Value {
	const name = "muc.join()"
	c := x.c
	l := c.live(name)
	jid := c.m.argument(name, "the room", call.Argument(0))
	nick := c.m.argument(name, "the nickname", call.Argument(1))
	if strings.Contains(jid, "/") || !strings.Contains(jid, "@") {
		c.m.typeErrorf("%s: %q is not room@service", name, jid)
	}
	p := c.m.options(name, call.Argument(2), false)
	timeout := p.duration("timeout", c.o.request)
	b := wire.AppendAttr([]byte("<presence"), "to", jid+"/"+nick)
	b = append(b, "><x xmlns='"+nsMUC+"'>"...)
	if p.has("password") {
		b = appendChild(b, "password", p.text("password", ""))
	}
	if p.has("history") {
		b = wire.AppendAttr(append(b, "<history"...), "maxstanzas", strconv.Itoa(p.integer("history", 0, 0, 1_000_000)))
		b = append(b, "/>"...)
	}
	b = append(b, "</x></presence>"...)
	config := append(append([]byte("<query xmlns='"+nsMUCOwner+"'>"), c.m.form(name, nsMUCConfig, p.get("config"))...), "</query>"...)
	return c.do(p, l, stageMUC, timeout, func(ctx context.Context, r recorder) (any, error) {
		joined := &room{c: c, jid: jid, nick: nick}
		start := time.Now()
		at, err := c.presences(ctx, l, jid, b, func(el *wire.Element) (bool, error) {
			if el.Attr("type") == "error" {
				return true, wire.ParseStanzaError(el)
			}
			// What comes from the room itself is no occupant: some send their picture so (XEP-0153).
			if _, nick, _ := strings.Cut(el.Attr("from"), "/"); nick != "" && el.Attr("type") == "" {
				joined.occupants++
			}
			if !hasStatus(el, statusSelf) {
				return false, nil
			}
			joined.created = hasStatus(el, statusCreated)
			_, joined.nick, _ = strings.Cut(el.Attr("from"), "/") // the service may have another idea of it
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		if joined.created {
			id := l.Stream.NextID()
			if _, err := l.Stream.IQ(ctx, id, wire.AppendIQ(nil, "set", id, "", jid, config)); err != nil {
				return nil, err
			}
		}
		r.push(at, took(metricJoin, at.Sub(start)))
		return onLoop(func() any { return object(c.m, roomClass, joined) }), nil
	})
}

// send sends a message to the room. The promise is resolved with the time until the room
// has reflected it.
func (x *room) send(call sobek.FunctionCall) sobek.Value {
	const name = "Room.send()"
	c := x.c
	l := c.live(name)
	body := c.m.argument(name, "the text", call.Argument(0))
	p := c.m.options(name, call.Argument(1), false)
	timeout := p.duration("timeout", c.o.request)
	id := p.text("id", "")
	if id == "" {
		id = "r" + l.Stream.NextID()
	}
	b := startTag("message", x.jid, id, "groupchat", p.text("lang", ""))
	b = append(p.children(appendChild(b, "body", body), "subject"), "</message>"...)
	return c.do(p, l, stageMUC, timeout, func(ctx context.Context, r recorder) (any, error) {
		type outcome struct {
			at  time.Time
			err error
		}
		got := make(chan outcome, 1)
		forget := c.wait(&waiter{match: match{name: "message", from: x.jid, bare: true, id: id}, whole: true, done: func(st *wire.Stanza) bool {
			o := outcome{at: st.End}
			if st.Type() == "error" {
				el, err := st.Element()
				if o.err = err; err == nil {
					o.err = wire.ParseStanzaError(el)
				}
			}
			got <- o
			return false
		}})
		defer forget()
		start := time.Now()
		if err := l.Stream.Post(b, nil); err != nil {
			return nil, err
		}
		o, err := awaitStanza(ctx, c, l, got)
		if err == nil {
			err = o.err
		}
		if err != nil {
			return nil, err
		}
		d := o.at.Sub(start)
		r.push(o.at, took(metricMessage, d))
		return milliseconds(d), nil
	})
}

// publish publishes an item at a node of the room itself.
func (x *room) publish(call sobek.FunctionCall) sobek.Value {
	return (&pubsubOf{x.c}).publishAt("Room.publish()", x.jid, call.Argument(0), call.Argument(1), call.Argument(2))
}

// leave leaves the room (XEP-0045 §7.14).
func (x *room) leave(call sobek.FunctionCall) sobek.Value {
	const name = "Room.leave()"
	c := x.c
	l := c.live(name)
	p := c.m.options(name, call.Argument(0), false)
	timeout := p.duration("timeout", c.o.request)
	b := append(wire.AppendAttr([]byte("<presence"), "to", x.jid+"/"+x.nick), " type='unavailable'/>"...)
	return c.do(p, l, stageMUC, timeout, func(ctx context.Context, _ recorder) (any, error) {
		_, err := c.presences(ctx, l, x.jid, b, func(el *wire.Element) (bool, error) {
			switch el.Attr("type") {
			case "error":
				return true, wire.ParseStanzaError(el)
			case "unavailable":
				return hasStatus(el, statusSelf) || el.Attr("from") == fmt.Sprintf("%s/%s", x.jid, x.nick), nil
			}
			return false, nil
		})
		return nil, err
	})
}
