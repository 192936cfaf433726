package xk6xmpp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Namespaces of publish-subscribe (XEP-0060).
const (
	nsPubSub       = "http://jabber.org/protocol/pubsub"
	nsPubSubOwner  = "http://jabber.org/protocol/pubsub#owner"
	nsPubSubConfig = "http://jabber.org/protocol/pubsub#node_config"
	nsDataForms    = "jabber:x:data"
)

const stagePubSub = "pubsub"

// Ways to retrieve items (XEP-0060 §6.5): all in one stanza, or by pages (XEP-0059).
const (
	itemsMonolithic = "monolithic"
	itemsRSM        = "rsm"
)

func itemsModes() []string { return []string{itemsMonolithic, itemsRSM} }

// pubsubOf is the class PubSub, a part of a client.
type pubsubOf struct{ c *client }

func pubsubClass() class[*pubsubOf] {
	return class[*pubsubOf]{name: "PubSub", methods: map[string]func(*pubsubOf, sobek.FunctionCall) sobek.Value{
		"create": (*pubsubOf).create, "delete": (*pubsubOf).remove, "subscribe": (*pubsubOf).subscribe, "unsubscribe": (*pubsubOf).unsubscribe,
		"publish": (*pubsubOf).publish, "items": (*pubsubOf).items,
	}}
}

// address reads service and node of a call. Without a service the account itself is meant
// (XEP-0163).
func (x *pubsubOf) address(name string, call sobek.FunctionCall) (service, node string) {
	x.c.live(name)
	if v := call.Argument(0); !common.IsNullish(v) {
		service = x.c.m.argument(name, "the service", v)
	}
	return service, x.c.m.argument(name, "the node", call.Argument(1))
}

// request sends a request that has nothing to say but that it was granted.
func (x *pubsubOf) request(p *options, service, typ string, payload []byte) sobek.Value {
	c := x.c
	l := c.session
	timeout := p.duration("timeout", c.o.request)
	id := l.Stream.NextID()
	b := wire.AppendIQ(nil, typ, id, "", service, payload)
	return c.do(p, l, stagePubSub, timeout, func(ctx context.Context, r recorder) (any, error) {
		start := time.Now()
		got, err := l.request(ctx, c.m, id, b)
		if err != nil {
			return nil, err
		}
		r.push(got.at, took(metricIQ, got.at.Sub(start)))
		return nil, nil
	})
}

// create creates a node (XEP-0060 §8.1).
func (x *pubsubOf) create(call sobek.FunctionCall) sobek.Value {
	const name = "pubsub.create()"
	service, node := x.address(name, call)
	b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSub+"'><create"), "node", node)
	b = append(b, "/>"...)
	if v := call.Argument(2); !common.IsNullish(v) {
		config, ok := v.Export().(map[string]any)
		if !ok {
			x.c.m.typeErrorf("%s: the configuration is an object of names and values", name)
		}
		b = append(b, "<configure><x xmlns='"+nsDataForms+"' type='submit'><field var='FORM_TYPE' type='hidden'><value>"+nsPubSubConfig+"</value></field>"...)
		for _, key := range slices.Sorted(maps.Keys(config)) {
			b = append(wire.AppendAttr(append(b, "<field"...), "var", key), '>')
			b = append(appendChild(b, "value", fmt.Sprint(config[key])), "</field>"...)
		}
		b = append(b, "</x></configure>"...)
	}
	return x.request(x.c.m.options(name, call.Argument(3), false), service, "set", append(b, "</pubsub>"...))
}

// remove deletes a node (XEP-0060 §8.4).
func (x *pubsubOf) remove(call sobek.FunctionCall) sobek.Value {
	const name = "pubsub.delete()"
	service, node := x.address(name, call)
	b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSubOwner+"'><delete"), "node", node)
	return x.request(x.c.m.options(name, call.Argument(2), false), service, "set", append(b, "/></pubsub>"...))
}

func (x *pubsubOf) subscription(name, action string, call sobek.FunctionCall) sobek.Value {
	service, node := x.address(name, call)
	b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSub+"'><"+action), "node", node)
	b = append(wire.AppendAttr(b, "jid", x.c.o.bare()), "/></pubsub>"...)
	return x.request(x.c.m.options(name, call.Argument(2), false), service, "set", b)
}

// subscribe subscribes the account to a node (XEP-0060 §6.1).
func (x *pubsubOf) subscribe(call sobek.FunctionCall) sobek.Value {
	return x.subscription("pubsub.subscribe()", "subscribe", call)
}

// unsubscribe ends that (XEP-0060 §6.2).
func (x *pubsubOf) unsubscribe(call sobek.FunctionCall) sobek.Value {
	return x.subscription("pubsub.unsubscribe()", "unsubscribe", call)
}

// publish publishes an item (XEP-0060 §7.1).
func (x *pubsubOf) publish(call sobek.FunctionCall) sobek.Value {
	const name = "pubsub.publish()"
	service := ""
	if v := call.Argument(0); !common.IsNullish(v) {
		service = x.c.m.argument(name, "the service", v)
	}
	return x.publishAt(name, service, call.Argument(1), call.Argument(2), call.Argument(3))
}

// publishAt publishes at a service; the promise is resolved with the id of the item.
func (x *pubsubOf) publishAt(name, service string, at, payload, rest sobek.Value) sobek.Value {
	c := x.c
	l := c.live(name)
	node := c.m.argument(name, "the node", at)
	p := c.m.options(name, rest, false)
	timeout := p.duration("timeout", c.o.request)
	given := p.text("id", "")
	b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSub+"'><publish"), "node", node)
	b = append(b, "><item"...)
	if given != "" {
		b = wire.AppendAttr(b, "id", given)
	}
	b = append(c.m.payload(append(b, '>'), name, payload), "</item></publish></pubsub>"...)
	id := l.Stream.NextID()
	b = wire.AppendIQ(nil, "set", id, "", service, b)
	return c.do(p, l, stagePubSub, timeout, func(ctx context.Context, r recorder) (any, error) {
		start := time.Now()
		got, err := l.request(ctx, c.m, id, b)
		if err != nil {
			return nil, err
		}
		r.push(got.at, took(metricIQ, got.at.Sub(start)))
		if made := got.stanza.element.Child(nsPubSub, "pubsub").Child(nsPubSub, "publish").Child(nsPubSub, "item").Attr("id"); made != "" {
			return made, nil
		}
		return given, nil
	})
}

// pubsubItem is an item as scripts get it.
type pubsubItem struct {
	ID      string `js:"id"`
	Payload any    `js:"payload"`
}

// itemsResult is what a retrieval of items brought, in milliseconds and bytes.
type itemsResult struct {
	Mode      string  `js:"mode"`
	Count     int     `js:"count"`
	Bytes     int64   `js:"bytes"`
	Stanzas   int     `js:"stanzas"`
	FirstItem any     `js:"firstItem"` // null without items
	Duration  float64 `js:"duration"`
	Items     any     `js:"items"`
}

// items retrieves the items of a node.
func (x *pubsubOf) items(call sobek.FunctionCall) sobek.Value {
	const name = "pubsub.items()"
	service, node := x.address(name, call)
	c := x.c
	l := c.session
	p := c.m.options(name, call.Argument(2), false)
	mode := p.choice("mode", itemsMonolithic, itemsModes()...)
	page := 0
	if mode == itemsRSM {
		page = p.integer("max", 100, 1, 100_000)
	}
	keep := p.flag("items", false)
	timeout := p.duration("timeout", c.o.request)
	return c.do(p, l, stagePubSub, timeout, func(ctx context.Context, r recorder) (any, error) {
		f := itemsFetch{l: l, service: service, node: node, page: page, keep: keep, out: &itemsResult{Mode: mode}}
		err := f.run(ctx)
		if err != nil {
			return nil, err
		}
		r = r.with("items_mode", mode)
		d := f.last.Sub(f.start)
		f.out.Duration = milliseconds(d)
		figures := []figure{took(metricItems, d)}
		if !f.first.IsZero() {
			f.out.FirstItem = milliseconds(f.first.Sub(f.start))
			figures = append(figures, took(metricFirstItem, f.first.Sub(f.start)))
		}
		if keep {
			f.out.Items = f.kept
		}
		r.push(f.last, figures...)
		return f.out, nil
	})
}

// itemsFetch is a retrieval under way.
type itemsFetch struct {
	l             *live
	service, node string
	page          int // items of a page; 0: all at once
	keep          bool
	out           *itemsResult
	kept          []pubsubItem

	start, first, last time.Time
}

// run fetches pages until one is the last.
func (f *itemsFetch) run(ctx context.Context) error {
	f.kept = make([]pubsubItem, 0)
	f.start = time.Now()
	after := ""
	for {
		b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSub+"'><items"), "node", f.node)
		b = append(b, "/>"...)
		if f.page > 0 {
			b = append(b, "<set xmlns='"+wire.NSRSM+"'>"...)
			b = appendChild(b, "max", strconv.Itoa(f.page))
			if after != "" {
				b = appendChild(b, "after", after)
			}
			b = append(b, "</set>"...)
		}
		got, set, err := f.ask(ctx, append(b, "</pubsub>"...))
		if err != nil {
			return err
		}
		last := set.Child(wire.NSRSM, "last").Text()
		// A server that does not page has no <set/> in its answer, and one that repeats itself must not be followed for ever.
		if f.page == 0 || got == 0 || last == "" || last == after {
			return nil
		}
		if count, err := strconv.Atoi(set.Child(wire.NSRSM, "count").Text()); err == nil && f.out.Count >= count {
			return nil
		}
		after = last
	}
}

// ask fetches one page. Items are counted as they come, and parsed only where they are
// wanted.
func (f *itemsFetch) ask(ctx context.Context, payload []byte) (items int, set *wire.Element, err error) {
	watch := wire.Watch{Mode: wire.Count, Name: "item", Level: 5}
	if f.page > 0 || f.keep {
		watch.Mode = wire.Frame
	}
	done := make(chan error, 1)
	id := f.l.Stream.NextID()
	cancel := f.l.Stream.Expect(id, wire.Handler{
		Watch: watch,
		Done: func(st *wire.Stanza) error {
			f.out.Stanzas++
			f.out.Bytes += st.Size
			f.last = st.End
			if st.Type() != "error" {
				items = st.Elements
				if f.first.IsZero() {
					f.first = st.First
				}
			}
			var el *wire.Element
			if st.Frame != nil {
				var err error
				if el, err = st.Element(); err != nil {
					done <- err
					return err
				}
			}
			if st.Type() == "error" {
				done <- wire.ParseStanzaError(el)
				return nil
			}
			set = el.Child(nsPubSub, "pubsub").Child(wire.NSRSM, "set")
			if f.keep {
				for it := range el.Child(nsPubSub, "pubsub").Child(nsPubSub, "items").Each(nsPubSub, "item") {
					item := pubsubItem{ID: it.Attr("id")}
					if payload := it.Child("", ""); payload != nil {
						item.Payload = plainElement(payload)
					}
					f.kept = append(f.kept, item)
				}
			}
			done <- nil
			return nil
		},
		Fail: func(err error) { done <- err },
	})
	if err := f.l.Stream.Post(wire.AppendIQ(nil, "get", id, "", f.service, payload), nil); err != nil {
		cancel()
		return 0, nil, err
	}
	select {
	case err = <-done:
		f.out.Count += items
		return items, set, err
	case <-ctx.Done():
		cancel()
		return 0, nil, context.Cause(ctx)
	}
}
