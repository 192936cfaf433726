package xk6xmpp

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/grafana/sobek"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// rosterOf is the class Roster, a part of a client.
type rosterOf struct{ c *client }

func rosterClass() class[*rosterOf] {
	return class[*rosterOf]{name: "Roster", methods: map[string]func(*rosterOf, sobek.FunctionCall) sobek.Value{
		"get": (*rosterOf).get, "set": (*rosterOf).set, "remove": (*rosterOf).remove,
	}}
}

// rosterItem is an item as scripts get and give it.
type rosterItem struct {
	JID          string   `js:"jid"`
	Name         string   `js:"name"`
	Subscription string   `js:"subscription"`
	Ask          bool     `js:"ask"`
	Groups       []string `js:"groups"`
}

// maxItems bounds what scripts may ask for of rosters and nodes.
const maxItems = 1_000_000

func newRosterItem(it population.Item) rosterItem {
	return rosterItem{it.JID, it.Name, cmp.Or(it.Subscription, "none"), it.Ask, it.Groups}
}

func parseItem(el *wire.Element) rosterItem {
	it := rosterItem{JID: el.Attr("jid"), Name: el.Attr("name"), Subscription: cmp.Or(el.Attr("subscription"), "none"), Ask: el.Attr("ask") == "subscribe"}
	for g := range el.Each(el.Space, "group") {
		it.Groups = append(it.Groups, g.Text())
	}
	return it
}

// retrieval says how a roster is fetched.
type retrieval struct {
	variant roster.Variant
	params  roster.Params
	have    roster.Have
	items   bool
	limit   int           // items that are enough; 0: all
	every   time.Duration // between two probes; 0: none
	to      string        // of probes
	timeout time.Duration
}

// optionOf is the name of a setting of variants as scripts write it: "max-bytes" is
// maxBytes.
func optionOf(setting string) string {
	words := strings.Split(setting, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// clientSettings are the settings of a variant that a client has: not those of the
// simulated server, nor what the engine does to rosters beforehand.
func clientSettings(v roster.Variant) []roster.Param {
	var own []roster.Param
	for _, s := range v.Params {
		if !s.Server && s.Name != "state" && s.Name != "changes" {
			own = append(own, s)
		}
	}
	return own
}

// retrieval reads the options of roster.get().
func (p *options) retrieval(fallback time.Duration) retrieval {
	q := retrieval{items: p.flag("items", false), limit: p.integer("limit", 0, 1, maxItems), timeout: p.duration("timeout", fallback)}
	p.not("max", "is called chunk, in the modes that have it")
	q.variant, _ = roster.Find(p.choice("mode", roster.Names()[0], roster.Names()...))
	given := make(map[string]any)
	for _, s := range clientSettings(q.variant) {
		if v := p.get(optionOf(s.Name)); v != nil {
			given[s.Name] = v.Export()
		}
	}
	q.have.Ver = p.text("ver", "")
	if p.has("version") {
		q.have.Known, q.have.Epoch = true, p.required("epoch")
		q.have.Version = uint64(p.number("version", 0, 0, 1<<53))
	} else {
		p.get("epoch")
	}
	for _, s := range q.variant.Params {
		if s.Name == "state" {
			given["state"] = roster.StateCold
			if q.have != (roster.Have{}) {
				given["state"] = roster.StateStale
			}
		}
	}
	var err error
	if q.params, err = q.variant.Parse(given); err != nil {
		p.m.typeErrorf("%s: %v", p.call, err)
	}
	if p.has("probe") {
		in := p.inner("probe")
		q.every = in.duration("interval", 50*time.Millisecond)
		if q.every < time.Millisecond {
			in.bad("interval", "%v is below a millisecond", q.every)
		}
		q.to = in.text("to", "")
		in.done()
	}
	return q
}

// rosterResult is what a retrieval brought, in milliseconds and bytes.
type rosterResult struct {
	Mode      string    `js:"mode"`
	Verdict   string    `js:"verdict"`
	Reason    string    `js:"reason"`
	Count     int       `js:"count"`
	Stanzas   int       `js:"stanzas"`
	Bytes     int64     `js:"bytes"`
	Largest   int64     `js:"largestStanza"`
	Trips     int       `js:"roundTrips"`
	FirstItem any       `js:"firstItem"` // null without items
	Duration  float64   `js:"duration"`
	MaxStall  any       `js:"maxStall"` // null without probe
	Limited   bool      `js:"limited"`  // there is more, which was not asked for
	Ver       any       `js:"ver"`
	Epoch     any       `js:"epoch"`
	Version   float64   `js:"version"`
	Items     any       `js:"items"`
	Probes    []float64 `js:"probes"`
}

func (x *rosterOf) get(call sobek.FunctionCall) sobek.Value {
	c := x.c
	l := c.live("roster.get()")
	p := c.m.options("roster.get()", call.Argument(0), false)
	q := p.retrieval(c.o.request)
	return c.do(p, l, stageRoster, q.timeout, func(ctx context.Context, r recorder) (any, error) {
		return l.retrieve(ctx, q, r)
	})
}

// retrieve fetches the roster and pushes its samples.
func (l *live) retrieve(ctx context.Context, q retrieval, r recorder) (*rosterResult, error) {
	r = r.with("roster_mode", q.variant.Name)
	o := roster.Options{Have: q.have, Limit: q.limit}
	items := make([]rosterItem, 0)
	if q.items {
		o.Item = func(it roster.Item) error {
			if q.limit == 0 || len(items) < q.limit {
				items = append(items, newRosterItem(it))
			}
			return nil
		}
	}
	probing := l.probe(ctx, q)
	got, err := q.variant.Fetch(ctx, l.Roster, q.params, o)
	probes, stall := probing(got.Requested, got.Complete)
	answer := q.variant.Detect(q.params, got, err)
	if err != nil {
		return nil, err
	}
	d := got.Complete.Sub(got.Requested)
	out := &rosterResult{
		Mode: q.variant.Name, Verdict: string(answer.Verdict), Reason: answer.Reason,
		Count: got.Items, Stanzas: got.StanzasIn, Bytes: got.BytesIn, Largest: got.Largest, Trips: got.RoundTrips,
		Duration: milliseconds(d), Limited: got.Limited, Probes: make([]float64, 0, len(probes)),
	}
	if got.Ver != "" && !got.Limited {
		out.Ver = got.Ver
	}
	if got.Epoch != "" && !got.Limited {
		out.Epoch, out.Version = got.Epoch, float64(got.Version)
	}
	if q.items {
		out.Items = items
	}
	figures := []figure{
		took(metricRoster, d), {metricRosterItems, float64(got.Items)}, {metricRosterStanzas, float64(got.StanzasIn)}, {metricRosterBytes, float64(got.BytesIn)},
	}
	if !got.First.IsZero() {
		first := got.First.Sub(got.Requested)
		out.FirstItem = milliseconds(first)
		figures = append(figures, took(metricRosterFirst, first))
	}
	for _, p := range probes {
		out.Probes = append(out.Probes, milliseconds(p))
		figures = append(figures, took(metricPing, p))
	}
	if len(probes) > 0 {
		out.MaxStall = milliseconds(stall)
		figures = append(figures, took(metricRosterStall, stall))
	}
	r.push(got.Complete, figures...)
	return out, nil
}

// probed keeps what probes took. It is the sink of the engine's open-loop probe.
type probed struct {
	mu      sync.Mutex
	samples []results.Sample
}

// Observe implements results.Sink.
func (p *probed) Observe(s results.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.samples = append(p.samples, s)
}

// Count implements results.Sink.
func (*probed) Count(string, int64) {}

// probe pings on schedule over the stream, as the native engine does, until the function
// that it returns is called. That returns the answers' times, from when each ping should
// have been sent, of the pings that were under way in the given time, and the longest.
func (l *live) probe(ctx context.Context, q retrieval) func(from, to time.Time) (took []time.Duration, longest time.Duration) {
	if q.every == 0 {
		return func(time.Time, time.Time) ([]time.Duration, time.Duration) { return nil, 0 }
	}
	to := q.to
	if to == "" {
		to = l.Domain
	}
	halt, over := make(chan struct{}), make(chan struct{})
	sink := &probed{}
	go func() {
		defer close(over)
		pacer, err := bench.Constant(float64(time.Second) / float64(q.every))
		if err != nil {
			return // cannot be: the option is bounded
		}
		_, _ = bench.Probe(ctx, bench.ProbeConfig{
			Pacer: pacer, Stop: halt, Classify: func(time.Time) string { return metricPing }, Drain: q.timeout,
		}, func(_ context.Context, _ uint64, done func(time.Time, error)) error { return l.Ping(to, done) }, sink)
	}()
	return func(from, to time.Time) (took []time.Duration, longest time.Duration) {
		close(halt)
		<-over
		sink.mu.Lock()
		defer sink.mu.Unlock()
		for _, s := range sink.samples {
			if s.Err != nil || s.End.Before(from) || to.IsZero() || s.Intended.After(to) {
				continue
			}
			d := s.End.Sub(s.Intended)
			took, longest = append(took, d), max(longest, d)
		}
		return took, longest
	}
}

// set changes items (RFC 6121 §2.3), one request each.
func (x *rosterOf) set(call sobek.FunctionCall) sobek.Value {
	c := x.c
	c.live("roster.set()")
	list, ok := call.Argument(0).Export().([]any)
	if !ok || len(list) == 0 {
		c.m.typeErrorf("roster.set() takes an array of items")
	}
	array := call.Argument(0).ToObject(c.m.rt)
	var requests [][]byte
	for _, key := range array.Keys() {
		in := c.m.options("roster.set()", array.Get(key), true)
		it := population.Item{JID: in.required("jid"), Name: in.text("name", ""), Groups: in.texts("groups")}
		in.get("subscription") // the server's to say, in items that came from it
		in.get("ask")
		in.done()
		b := wire.AppendAttr([]byte("<query xmlns='"+wire.NSRoster+"'><item"), "jid", it.JID)
		if it.Name != "" {
			b = wire.AppendAttr(b, "name", it.Name)
		}
		b = append(b, '>')
		for _, g := range it.Groups {
			b = appendChild(b, "group", g)
		}
		requests = append(requests, append(b, "</item></query>"...))
	}
	return x.change(call.Argument(1), "roster.set()", requests)
}

// remove removes an item (RFC 6121 §2.5).
func (x *rosterOf) remove(call sobek.FunctionCall) sobek.Value {
	x.c.live("roster.remove()")
	jid, ok := call.Argument(0).Export().(string)
	if !ok {
		x.c.m.typeErrorf("roster.remove() takes a JID")
	}
	b := wire.AppendAttr([]byte("<query xmlns='"+wire.NSRoster+"'><item"), "jid", jid)
	return x.change(call.Argument(1), "roster.remove()", [][]byte{append(b, " subscription='remove'/></query>"...)})
}

func (x *rosterOf) change(v sobek.Value, name string, requests [][]byte) sobek.Value {
	c := x.c
	l := c.session
	p := c.m.options(name, v, false)
	timeout := p.duration("timeout", c.o.request)
	return c.do(p, l, stageRoster, timeout, func(ctx context.Context, r recorder) (any, error) {
		for _, b := range requests {
			id := l.Stream.NextID()
			start := time.Now()
			if _, err := l.Stream.IQ(ctx, id, wire.AppendIQ(nil, "set", id, "", "", b)); err != nil {
				return nil, err
			}
			r.push(time.Now(), took(metricIQ, time.Since(start)))
		}
		return nil, nil
	})
}
