package xk6xmpp

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Events of a client.
const (
	eventMessage  = "message"
	eventPresence = "presence"
	eventIQ       = "iq"
	eventPush     = "rosterpush"
	eventError    = "error"
	eventClose    = "close"
)

func eventNames() []string {
	return []string{eventMessage, eventPresence, eventIQ, eventPush, eventError, eventClose}
}

// taskQueue runs functions on the event loop of an iteration that it keeps alive until
// it is closed.
type taskQueue struct {
	register func() func(func() error)

	mu      sync.Mutex
	enqueue func(func() error) // nil while a run is under way or coming
	pending []func() error
	closed  bool
}

// newTaskQueue starts one. It must be called on the event loop.
func newTaskQueue(register func() func(func() error)) *taskQueue {
	return &taskQueue{register: register, enqueue: register()}
}

// push has f run on the event loop, from any goroutine. After close it does nothing.
func (q *taskQueue) push(f func() error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.pending = append(q.pending, f)
	q.wake()
}

// wake sees to it that run comes. The lock is held.
func (q *taskQueue) wake() {
	if enqueue := q.enqueue; enqueue != nil {
		q.enqueue = nil
		enqueue(q.run)
	}
}

// run runs on the event loop.
func (q *taskQueue) run() error {
	q.mu.Lock()
	tasks := q.pending
	q.pending = nil
	if !q.closed {
		q.enqueue = q.register()
	}
	q.mu.Unlock()
	for _, f := range tasks {
		if err := f(); err != nil {
			q.close()
			return err
		}
	}
	return nil
}

// close lets the iteration go. What was pushed before still runs.
func (q *taskQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

// listening is the side of a client or component to which scripts listen.
type listening struct {
	m         *instance
	listeners map[string][]sobek.Value // by event; event loop only

	mu     sync.Mutex
	wanted map[string]bool // events that have a listener
	queue  *taskQueue      // holds the iteration while there are listeners; nil without. Set on the event loop
}

// listen adds a listener of one of the events.
func (x *listening) listen(what string, events []string, call sobek.FunctionCall) {
	event, listener := x.listener(what, events, call)
	if x.listeners == nil {
		x.listeners = make(map[string][]sobek.Value)
	}
	x.listeners[event] = append(x.listeners[event], listener)
	x.noteWanted()
}

func (x *listening) listener(what string, events []string, call sobek.FunctionCall) (event string, listener sobek.Value) {
	event, _ = call.Argument(0).Export().(string)
	if !slices.Contains(events, event) {
		x.m.typeErrorf("%s: there is no event %q: use one of %s", what, call.Argument(0), strings.Join(events, ", "))
	}
	listener = call.Argument(1)
	if _, ok := sobek.AssertFunction(listener); !ok {
		x.m.typeErrorf("%s: the listener of %q is not a function", what, event)
	}
	return event, listener
}

func (x *listening) noteWanted() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wanted = make(map[string]bool, len(x.listeners))
	for event := range x.listeners {
		x.wanted[event] = true
	}
}

// holdOpen keeps the iteration alive while there are listeners.
func (x *listening) holdOpen() {
	if len(x.listeners) == 0 || x.queue != nil || x.m.vu.State() == nil {
		return
	}
	q := newTaskQueue(x.m.vu.RegisterCallback)
	x.mu.Lock()
	x.queue = q
	x.mu.Unlock()
	// The end of the iteration must not wait for the session's.
	context.AfterFunc(x.m.vu.Context(), q.close)
}

// release lets the iteration end.
func (x *listening) release() {
	x.mu.Lock()
	q := x.queue
	x.queue = nil
	x.mu.Unlock()
	if q != nil {
		q.close()
	}
}

// call calls the listeners of an event. It runs on the event loop.
func (x *listening) call(event string, args ...any) (last sobek.Value, err error) {
	values := make([]sobek.Value, 0, len(args))
	for _, a := range args {
		values = append(values, x.m.rt.ToValue(a))
	}
	for _, listener := range slices.Clone(x.listeners[event]) {
		f, _ := sobek.AssertFunction(listener)
		result, err := f(sobek.Undefined(), values...)
		if err != nil {
			return nil, err
		}
		if !common.IsNullish(result) {
			last = result
		}
	}
	return last, nil
}

func (c *client) on(call sobek.FunctionCall) sobek.Value {
	c.listen("on()", eventNames(), call)
	if c.connected() {
		c.holdOpen()
	}
	return call.This
}

func (c *client) off(call sobek.FunctionCall) sobek.Value {
	event, listener := c.listener("off()", eventNames(), call)
	left := slices.DeleteFunc(c.listeners[event], func(v sobek.Value) bool { return v.StrictEquals(listener) })
	if len(left) > 0 {
		c.listeners[event] = left
	} else {
		delete(c.listeners, event)
	}
	c.noteWanted()
	if len(c.listeners) == 0 {
		c.release()
	}
	return call.This
}

// holdOpen keeps the iteration alive while a client has listeners, unless it outlives
// iterations.
func (c *client) holdOpen() {
	if !c.persistent {
		c.listening.holdOpen()
	}
}

// emit has a function run on the event loop: soon, or with the next call of a client
// that outlives iterations.
func (c *client) emit(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.queue != nil:
		c.queue.push(f)
	case !c.persistent:
	case len(c.inbox) >= c.size:
		c.inbox = append(c.inbox[1:], f)
		c.dropped++
	default:
		c.inbox = append(c.inbox, f)
	}
}

// deliver runs what came in for a client that outlives iterations. It runs on the event
// loop.
func (c *client) deliver() {
	c.mu.Lock()
	tasks, dropped := c.inbox, c.dropped
	c.inbox, c.dropped = nil, 0
	c.mu.Unlock()
	if dropped > 0 {
		c.recorder(c.m.vu.Context(), c.m.options("on()", nil, false)).push(time.Now(), figure{metricDropped, float64(dropped)})
	}
	for _, f := range tasks {
		if err := f(); err != nil {
			// Thrown by a listener, where nobody catches it: the iteration ends with it.
			enqueue := c.m.vu.RegisterCallback()
			enqueue(func() error { return err })
		}
	}
}

// starter says what a session of the client does with what it receives.
func (c *client) starter() starter {
	return starter{first: c.first, push: c.pushed, over: c.over}
}

// first decides, when a stanza begins, who is going to look at it.
func (c *client) first(l *live, head *wire.Stanza) (wire.Handler, bool) {
	name := string(head.Name())
	typ := head.Type()
	request := name == "iq" && (typ == "get" || typ == "set")
	c.mu.Lock()
	defer c.mu.Unlock()
	heard := c.wanted[name] && (name != "iq" || request)
	receipts := name == "message" && len(c.receipts) > 0
	waited := c.waitingFor(head)
	if !heard && !receipts && len(waited) == 0 {
		return wire.Handler{}, false
	}
	framed := heard || receipts || slices.ContainsFunc(waited, func(w *waiter) bool { return w.whole || !w.match.whole() })
	h := wire.Handler{Done: func(st *wire.Stanza) error { return c.arrived(l, st, waited, heard, request) }}
	if framed {
		h.Watch = wire.Watch{Mode: wire.Frame}
	} else if name == "message" {
		h.Watch = wire.Watch{Mode: wire.Count, Name: "request", Level: 3}
	}
	return h, true
}

// waitingFor returns the waiters that a stanza may be for. The lock is held.
func (c *client) waitingFor(head *wire.Stanza) []*waiter {
	return slices.DeleteFunc(slices.Clone(c.waiters), func(w *waiter) bool { return !w.head(head) })
}

// arrived hands a stanza on to those who wanted it.
func (c *client) arrived(l *live, st *wire.Stanza, waited []*waiter, heard, request bool) error {
	var el *wire.Element
	if st.Frame != nil {
		var err error
		if el, err = st.Element(); err != nil {
			return err
		}
	}
	c.settle(st, el, waited)
	if string(st.Name()) == "message" {
		if err := c.receipted(l, st, el); err != nil {
			return err
		}
	}
	if !heard {
		if request {
			return l.Answer(st)
		}
		return nil
	}
	s, err := newStanza(c.m, st)
	if err != nil {
		return err
	}
	event := s.Name
	c.emit(func() error {
		last, err := c.call(event, s)
		if err != nil || !request {
			return err
		}
		return c.reply(l, s, last)
	})
	return nil
}

// settle tells those who wait for a stanza like this one.
func (c *client) settle(st *wire.Stanza, el *wire.Element, waited []*waiter) {
	for _, w := range waited {
		if !w.match.whole() && !w.content(el) {
			continue
		}
		c.mu.Lock()
		if slices.Contains(c.waiters, w) && !w.done(st) {
			c.waiters = slices.DeleteFunc(c.waiters, func(o *waiter) bool { return o == w })
		}
		c.mu.Unlock()
	}
}

// receipted deals with both ends of receipts (XEP-0184) in a message.
func (c *client) receipted(l *live, st *wire.Stanza, el *wire.Element) error {
	if el == nil {
		if c.o.receipts {
			return l.receipt(st)
		}
		return nil
	}
	id := el.Child(nsReceipts, "received").Attr("id")
	if el.Attr("type") == "error" {
		return nil
	}
	c.mu.Lock()
	if got := c.receipts[id]; got != nil {
		delete(c.receipts, id)
		got <- st.End
	}
	c.mu.Unlock()
	if c.o.receipts && el.Child(nsReceipts, "request") != nil {
		asked := *st
		asked.Elements = 1
		return l.receipt(&asked)
	}
	return nil
}

// reply answers a request with what a listener returned. It runs on the event loop.
func (c *client) reply(l *live, s *stanza, payload sobek.Value) error {
	tag := wire.AppendAttr([]byte("<iq"), "id", s.ID)
	if s.From != "" {
		tag = wire.AppendAttr(tag, "from", s.From)
	}
	tag = append(tag, '>')
	b := wire.AppendStanzaError(nil, tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"})
	if payload != nil {
		thrown := c.m.rt.Try(func() {
			b = wire.AppendReply(nil, tag, "result", c.m.payload(nil, `on("iq")`, payload))
		})
		if thrown != nil {
			return thrown
		}
	}
	_ = l.Stream.Post(b, nil) // whoever asked learns from the end of the stream
	return nil
}

// pushed sees roster pushes.
func (c *client) pushed(st *wire.Stanza) {
	c.mu.Lock()
	heard := c.wanted[eventPush]
	waited := c.waitingFor(st)
	c.mu.Unlock()
	if !heard && len(waited) == 0 {
		return
	}
	el, err := st.Element()
	if err != nil {
		return // the stream ends for this reason
	}
	c.settle(st, el, waited)
	if !heard {
		return
	}
	query := el.Child("", "")
	items := make([]rosterItem, 0, 1)
	for item := range query.Each("", "item") {
		items = append(items, parseItem(item))
	}
	for item := range query.Each("", "gone") {
		items = append(items, rosterItem{JID: item.Attr("jid"), Subscription: "remove"})
	}
	var ver any
	if v, ok := query.LookupAttr("", "ver"); ok {
		ver = v
	}
	c.emit(func() error {
		for i := range items {
			if _, err := c.call(eventPush, &items[i], ver); err != nil {
				return err
			}
		}
		return nil
	})
}

// closeReason is what listeners of "close" get.
type closeReason struct {
	Condition string `js:"condition"`
	Clean     bool   `js:"clean"`
}

// over tells listeners of the end of a session, unless another one takes its place.
func (c *client) over(l *live) {
	err := l.Stream.Err()
	c.mu.Lock()
	heard, troubled, replaced := c.wanted[eventClose], c.wanted[eventError], c.handover != nil && c.handover.from == l && !c.handover.failed()
	c.mu.Unlock()
	if replaced {
		return
	}
	reason := &closeReason{Clean: err == nil}
	if err != nil {
		reason.Condition = fail(stageSession, err).condition
	}
	if err != nil && troubled {
		c.emit(func() error {
			_, err := c.call(eventError, c.m.jsError(fail(stageSession, err)))
			return err
		})
	}
	if heard {
		c.emit(func() error {
			_, err := c.call(eventClose, reason)
			return err
		})
	}
	c.emit(func() error {
		if c.session == l {
			c.release()
		}
		return nil
	})
}
