package xk6xmpp

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Namespaces of publish-subscribe (XEP-0060).
const (
	nsPubSub       = "http://jabber.org/protocol/pubsub"
	nsPubSubOwner  = "http://jabber.org/protocol/pubsub#owner"
	nsPubSubConfig = "http://jabber.org/protocol/pubsub#node_config"
)

const stagePubSub = "pubsub"

// Ways to retrieve items (XEP-0060 §6.5): all in one stanza, the last ones, those with
// given ids, or all by pages (XEP-0059).
const (
	itemsMonolithic = "monolithic"
	itemsLatest     = "latest"
	itemsByID       = "ids"
	itemsRSM        = "rsm"
)

func itemsModes() []string { return []string{itemsMonolithic, itemsLatest, itemsByID, itemsRSM} }

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
		_, err := l.timed(ctx, c.m, r, id, b)
		return nil, err
	})
}

// create creates a node (XEP-0060 §8.1).
func (x *pubsubOf) create(call sobek.FunctionCall) sobek.Value {
	const name = "pubsub.create()"
	service, node := x.address(name, call)
	b := wire.AppendAttr([]byte("<pubsub xmlns='"+nsPubSub+"'><create"), "node", node)
	b = append(b, "/>"...)
	if v := call.Argument(2); !common.IsNullish(v) {
		b = append(append(append(b, "<configure>"...), x.c.m.form(name, nsPubSubConfig, v)...), "</configure>"...)
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
	b = append(wire.AppendAttr(b, "jid", bare(x.c.session.jid)), "/></pubsub>"...)
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
		got, err := l.timed(ctx, c.m, r, id, b)
		if err != nil {
			return nil, err
		}
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
	Verdict   string  `js:"verdict"`
	Reason    string  `js:"reason"`
	Count     int     `js:"count"`
	Bytes     int64   `js:"bytes"`
	Stanzas   int     `js:"stanzas"`
	FirstItem any     `js:"firstItem"` // null without items
	Duration  float64 `js:"duration"`
	Limited   bool    `js:"limited"` // there is more, which was not asked for
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
	f := itemsFetch{l: l, service: service, mode: mode, items: wire.AppendAttr([]byte("<items"), "node", node), out: &itemsResult{Mode: mode}}
	switch mode {
	case itemsRSM:
		f.most = p.integer("max", 100, 1, 100_000)
	case itemsLatest:
		f.most = p.integer("max", 1, 1, 100_000)
		f.items = wire.AppendAttr(f.items, "max_items", strconv.Itoa(f.most))
	case itemsByID:
		ids := p.texts("ids")
		if f.most = len(ids); f.most == 0 {
			p.bad("ids", "is required in the mode %q", mode)
		}
		f.items = append(f.items, '>')
		for _, id := range ids {
			f.items = append(wire.AppendAttr(append(f.items, "<item"...), "id", id), "/>"...)
		}
	}
	if mode == itemsByID {
		f.items = append(f.items, "</items>"...)
	} else {
		f.items = append(f.items, "/>"...)
	}
	f.keep, f.limit = p.flag("items", false), p.integer("limit", 0, 1, maxItems)
	timeout := p.duration("timeout", c.o.request)
	return c.do(p, l, stagePubSub, timeout, func(ctx context.Context, r recorder) (any, error) {
		if err := f.run(ctx); err != nil {
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
		if f.keep {
			f.out.Items = f.kept
		}
		r.push(f.last, figures...)
		return f.out, nil
	})
}

// itemsFetch is a retrieval under way.
type itemsFetch struct {
	l             *live
	service, mode string
	items         []byte // the element that asks
	most          int    // items of a page, or of all; 0: as many as there are
	keep          bool
	limit         int // items that are enough; 0: all
	out           *itemsResult
	kept          []pubsubItem

	start, first, last time.Time
}

// A page is what an answer holds.
type page struct {
	items int
	paged bool   // there is a set
	last  string // id of the last item
	count int    // items of the node; -1 where the service does not say
}

// run fetches all there is to fetch, page by page where that is asked for, and says
// whether the service did what it was asked.
func (f *itemsFetch) run(ctx context.Context) error {
	f.kept = make([]pubsubItem, 0)
	f.start = time.Now()
	f.out.Verdict = string(roster.Spoken)
	after := ""
	for {
		b := append([]byte("<pubsub xmlns='"+nsPubSub+"'>"), f.items...)
		if f.mode == itemsRSM {
			b = append(b, "<set xmlns='"+wire.NSRSM+"'>"...)
			b = appendChild(b, "max", strconv.Itoa(f.most))
			if after != "" {
				b = appendChild(b, "after", after)
			}
			b = append(b, "</set>"...)
		}
		got, err := f.ask(ctx, append(b, "</pubsub>"...))
		if err != nil {
			return err
		}
		f.out.Count += got.items
		switch {
		case f.mode == itemsRSM && !got.paged && got.items > 0:
			f.ignored("the answer has no pages")
		case f.mode == itemsMonolithic && got.items < got.count:
			f.ignored(fmt.Sprintf("%d of %d items came", got.items, got.count))
		case f.mode != itemsRSM && f.most > 0 && got.items > f.most:
			f.ignored(fmt.Sprintf("%d items came for %d", got.items, f.most))
		}
		if f.mode != itemsRSM || !got.paged || got.items == 0 || got.last == "" || got.count >= 0 && f.out.Count >= got.count {
			return nil
		}
		if f.limit > 0 && f.out.Count >= f.limit {
			f.out.Limited = true
			return nil
		}
		if got.last == after {
			return fmt.Errorf("the page after item %q ends with it", after)
		}
		after = got.last
	}
}

// ignored notes that the service did something else than what it was asked.
func (f *itemsFetch) ignored(reason string) {
	f.out.Verdict, f.out.Reason = string(roster.Ignored), reason
}

// ask fetches one page. Items are counted as they come, and parsed only where they are
// wanted.
func (f *itemsFetch) ask(ctx context.Context, payload []byte) (page, error) {
	got := page{count: -1}
	done := make(chan error, 1)
	id := f.l.Stream.NextID()
	cancel := f.l.Stream.Expect(id, wire.Handler{
		Watch:   wire.Watch{Mode: wire.Count, Elements: true, Level: 5}, // items, and what a set holds
		Element: func(b []byte, at time.Time) error { return f.see(&got, b, at) },
		Done: func(st *wire.Stanza) error {
			f.out.Stanzas++
			f.out.Bytes += st.Size
			f.last = st.End
			if st.Type() != "error" {
				done <- nil
				return nil
			}
			el, err := st.Element()
			if err == nil {
				err = wire.ParseStanzaError(el)
			}
			done <- err
			return nil
		},
		Fail: func(err error) { done <- err },
	})
	defer cancel()
	if err := f.l.Stream.Post(wire.AppendIQ(nil, "get", id, "", f.service, payload), nil); err != nil {
		return page{}, err
	}
	select {
	case err := <-done:
		return got, err
	case <-ctx.Done():
		return page{}, context.Cause(ctx)
	}
}

// see takes an element of an answer: an item, or one of its set (XEP-0059).
func (f *itemsFetch) see(got *page, b []byte, at time.Time) error {
	name := string(wire.TagName(b))
	if name == "item" {
		got.items++
		if f.first.IsZero() {
			f.first = at
		}
		if !f.keep || f.limit > 0 && len(f.kept) == f.limit {
			return nil
		}
	}
	el, err := wire.ParseElement(b, nsPubSub, nil)
	if err != nil {
		return err
	}
	switch name {
	case "item":
		item := pubsubItem{ID: el.Attr("id")}
		if payload := el.Child("", ""); payload != nil {
			item.Payload = plainElement(payload)
		}
		f.kept = append(f.kept, item)
	case "last":
		got.paged, got.last = true, el.Text()
	case "count":
		got.paged = true
		if n, err := strconv.Atoi(el.Text()); err == nil {
			got.count = n
		}
	case "first":
		got.paged = true
	}
	return nil
}
