package xk6xmpp

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/grafana/sobek"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
)

// swarm is the class Swarm: many sessions of one virtual user, driven by Go.
type swarm struct {
	m           *instance
	o           loginOptions
	users       *userPool
	size        int
	offset      int
	byIteration bool    // takes accounts by the iteration, and not by the virtual user
	rate        float64 // logins per second; 0: as concurrency allows
	concurrency int
	roster      *retrieval
	presence    []byte
	tags        sobek.Value

	busy bool // connecting; event loop only

	mu       sync.Mutex
	sessions []*live                           // those that are not over
	waiting  map[string]func(time.Time, error) // for receipts, by id
}

func swarmClass() class[*swarm] {
	return class[*swarm]{
		name: "Swarm",
		make: newSwarm,
		methods: map[string]func(*swarm, sobek.FunctionCall) sobek.Value{
			"connect": (*swarm).connect, "chatter": (*swarm).chatter, "hold": (*swarm).hold, "disconnect": (*swarm).disconnect,
		},
		getters: map[string]func(*swarm) any{
			"connected": func(s *swarm) any { return s.connected() },
			"size":      func(s *swarm) any { return s.size },
		},
	}
}

// maxSwarm bounds the sessions of one virtual user.
const maxSwarm = 1_000_000

func newSwarm(m *instance, call sobek.ConstructorCall) *swarm {
	p := m.options("Swarm()", call.Argument(0), true)
	s := &swarm{m: m, waiting: make(map[string]func(time.Time, error))}
	users, ok := inside[*userPool](m, p.get("users"))
	if !ok {
		p.bad("users", "is not a UserPool")
	}
	if !p.has("size") {
		p.bad("size", "is required")
	}
	s.users, s.size = users, p.integer("size", 0, 1, maxSwarm)
	s.offset = p.integer("offset", 0, 0, maxUsers)
	s.byIteration = p.choice("by", "vu", "vu", "iteration") == "iteration"
	s.rate = p.number("rate", 0, 1e-3, 1e6)
	s.concurrency = p.integer("concurrency", 64, 1, 10_000)
	s.o = p.login()
	if v := p.get("roster"); v != nil {
		in := p.inner("roster")
		q := in.retrieval(s.o.request)
		if q.items {
			in.bad("items", "cannot be handed to the script by a swarm")
		}
		in.done()
		s.roster = &q
	}
	if v := p.get("presence"); v != nil && (v.ExportType() == nil || v.ToBoolean()) {
		in := p.inner("presence")
		s.presence = in.presence("")
		in.done()
	}
	s.tags = p.tagged()
	p.done()
	return s
}

// live returns the sessions that are not over.
func (s *swarm) live() []*live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sessions)
}

// connected is the number of sessions that are not over.
func (s *swarm) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// recorder returns one with the tags of the swarm and those of the call.
func (s *swarm) recorder(ctx context.Context, p *options) recorder {
	return s.m.taggedRecorder(ctx, p, s.tags)
}

// swarmed is what connect() resolves with.
type swarmed struct {
	Connected int            `js:"connected"`
	Failed    int            `js:"failed"`
	Duration  float64        `js:"duration"`
	Errors    map[string]int `js:"errors"` // by stage and condition
}

// number is that of the virtual user or the iteration in the whole test, from 0.
func (s *swarm) number() int {
	state := s.m.vu.State()
	switch {
	case s.byIteration && state.GetScenarioGlobalVUIter == nil:
		s.m.typeErrorf("Swarm.connect(): there are no iterations outside of scenarios, as in setup()")
	case s.byIteration:
		return counter(state.GetScenarioGlobalVUIter())
	case state.VUIDGlobal > 0:
		return counter(state.VUIDGlobal) - 1
	}
	return 0
}

// connect logs all sessions in, fetches rosters and sends presence where that is asked
// for.
func (s *swarm) connect(call sobek.FunctionCall) sobek.Value {
	ctx := s.m.vuContext("Swarm.connect()")
	p := s.m.options("Swarm.connect()", call.Argument(0), false)
	r := s.recorder(ctx, p)
	p.done()
	if s.busy || s.connected() > 0 {
		s.m.typeErrorf("Swarm.connect(): the swarm is connected already")
	}
	base := s.offset + s.number()*s.size
	if _, ok := s.users.place(base + s.size - 1); !ok {
		return s.users.exhaust(base + s.size - 1)
	}
	o := s.o
	o.jid = s.users.user(0).jid // of the domain, which is that of all
	net := s.m.network(o)
	s.busy = true
	var pacer bench.Pacer
	if s.rate > 0 {
		var err error
		if pacer, err = bench.Constant(s.rate); err != nil {
			s.m.typeErrorf("Swarm.connect(): %v", err)
		}
	}
	return s.m.async(ctx, func() { s.busy = false }, func(ctx context.Context) (any, error) {
		out := &swarmed{Errors: make(map[string]int)}
		start := time.Now()
		var (
			wait sync.WaitGroup
			mu   sync.Mutex
		)
		slots := make(chan struct{}, s.concurrency)
		for i := range s.size {
			if pacer != nil {
				at, _ := pacer.At(uint64(i))
				if pause(ctx, time.Until(start.Add(at))) != nil {
					break
				}
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
			wait.Go(func() {
				defer func() { <-slots }()
				err := s.begin(ctx, net, base+i, r)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					out.Connected++
					return
				}
				out.Failed++
				f := fail(stageSession, err)
				out.Errors[f.stage+":"+f.condition]++
			})
		}
		wait.Wait()
		s.flush(r)
		if ctx.Err() != nil {
			s.m.root.work.Go(s.abandon) // those that were faster than the end
			return nil, fail(stageSession, context.Cause(ctx))
		}
		out.Duration = since(start)
		context.AfterFunc(ctx, s.abandon)
		return out, nil
	})
}

// begin opens one session.
func (s *swarm) begin(ctx context.Context, net network, n int, r recorder) error {
	i, _ := s.users.place(n) // connect has looked
	u := s.users.user(i)
	o := s.o
	o.jid, o.password = u.jid, u.password
	l, err := net.start(ctx, o, r, starter{first: s.first, over: s.over, brief: true}, nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	l.place = len(s.sessions)
	s.sessions = append(s.sessions, l)
	s.mu.Unlock()
	select {
	case <-l.Stream.Done():
		s.over(l) // before it was known here
	default:
	}
	if s.roster != nil {
		bounded, cancel := within(ctx, s.roster.timeout)
		defer cancel()
		if _, err := l.retrieve(bounded, *s.roster, r); err != nil {
			return s.broken(ctx, l, stageRoster, err, r)
		}
	}
	if s.presence != nil {
		if err := l.send(ctx, bytes.ReplaceAll(s.presence, []byte(placeholder), strconv.AppendInt(nil, int64(i), 10))); err != nil {
			return s.broken(ctx, l, stagePresence, err, r)
		}
	}
	return nil
}

// broken ends a session that could not do what it should.
func (s *swarm) broken(ctx context.Context, l *live, stage string, err error, r recorder) error {
	if ctx.Err() == nil {
		r.failed(stage, err)
	}
	_ = l.close(closeTimeout)
	return fail(stage, err)
}

// over drops a session that has ended.
func (s *swarm) over(l *live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.place >= len(s.sessions) || s.sessions[l.place] != l {
		return
	}
	last := len(s.sessions) - 1
	moved := s.sessions[last]
	s.sessions[l.place], moved.place = moved, l.place
	s.sessions[last] = nil
	s.sessions = s.sessions[:last]
}

// first answers requests for receipts, and takes receipts.
func (s *swarm) first(l *live, head *wire.Stanza) (wire.Handler, bool) {
	if string(head.Name()) != "message" || head.Type() == "error" {
		return wire.Handler{}, false
	}
	return wire.Handler{Watch: wire.Watch{Mode: wire.Count, Name: "request", Level: 3}, Done: func(st *wire.Stanza) error {
		if string(wire.TagName(st.Child)) == "received" {
			s.receipt(wire.AttrString(st.Child, "id"), st.End, nil)
			return nil
		}
		if !s.o.receipts {
			return nil
		}
		return l.receipt(st)
	}}, true
}

// receipt settles a message.
func (s *swarm) receipt(id string, at time.Time, err error) {
	s.mu.Lock()
	done := s.waiting[id]
	delete(s.waiting, id)
	s.mu.Unlock()
	if done != nil {
		done(at, err)
	}
}

// flush pushes the stanzas that all sessions have counted.
func (s *swarm) flush(r recorder) {
	var sum [2]kinds
	for _, l := range s.live() {
		for i, k := range l.news() {
			sum[i].iq += k.iq
			sum[i].message += k.message
			sum[i].presence += k.presence
		}
	}
	r.stanzas(sum)
}

// chatted is what chatter() resolves with. Times are in milliseconds.
type chatted struct {
	Sent     uint64 `js:"sent"`
	Received uint64 `js:"received"`
	Failed   uint64 `js:"failed"`
	Mean     any    `js:"mean"` // null where nothing was received
	P50      any    `js:"p50"`  // null where too little was received to tell
	P99      any    `js:"p99"`
	Max      any    `js:"max"`
}

// chats is the sink of a chatter: a histogram of all, and every n-th for k6.
type chats struct {
	r     recorder
	every int

	mu    sync.Mutex
	times *results.Histogram
	n     int
}

// Observe implements results.Sink. Times count from when a message should have been
// sent.
func (c *chats) Observe(s results.Sample) {
	if s.Err != nil {
		if !errors.Is(s.Err, context.Canceled) {
			c.r.failed(stageMessage, s.Err)
		}
		return
	}
	d := s.End.Sub(s.Intended)
	c.mu.Lock()
	c.times.Record(d, 1)
	c.n++
	push := c.n%c.every == 0
	c.mu.Unlock()
	if push {
		c.r.push(s.End, took(metricMessage, d))
	}
}

// Count implements results.Sink.
func (*chats) Count(string, int64) {}

// chatter has the sessions send messages with receipts, in turn, on schedule.
func (s *swarm) chatter(call sobek.FunctionCall) sobek.Value {
	ctx := s.m.vuContext("Swarm.chatter()")
	init := s.m.options("Swarm.chatter()", call.Argument(0), true)
	p := s.m.options("Swarm.chatter()", call.Argument(1), true)
	typ, to, lang := init.choice("type", "chat", "chat", "normal", "headline"), init.text("to", ""), init.text("lang", "")
	content := init.children(nil, "subject", "body")
	if !init.has("body") {
		content = appendChild(content, "body", "hello")
	}
	content = append(content, askReceipt+"</message>"...)
	init.done()
	if !p.has("rate") || !p.has("duration") {
		p.bad("rate", "and duration are required")
	}
	rate, duration := p.number("rate", 0, 1e-3, 1e6), p.duration("duration", 0)
	every := p.integer("sampleEvery", 1, 1, math.MaxInt32)
	r := s.recorder(ctx, p)
	p.done()
	sessions := s.live()
	if len(sessions) == 0 {
		panic(s.m.jsError(&fault{stage: stageSession, condition: "not-connected", err: errors.New("Swarm.chatter(): no session is connected")}))
	}
	pacer, err := bench.Constant(rate)
	if err != nil {
		s.m.typeErrorf("Swarm.chatter(): %v", err)
	}
	send := func(_ context.Context, seq uint64, done func(time.Time, error)) error {
		count := uint64(len(sessions))
		n := seq % count
		from := sessions[n]
		number := strconv.AppendUint(nil, n, 10)
		target := to
		if target == "" {
			target = sessions[(n+1)%count].jid
		}
		id := "x" + strconv.FormatUint(seq, 36) + from.Stream.NextID()
		b := append(startTag("message", target, id, typ, lang), content...)
		b = bytes.ReplaceAll(b, []byte(placeholder), number)
		s.mu.Lock()
		s.waiting[id] = done
		s.mu.Unlock()
		err := from.Stream.Post(b, nil)
		if err != nil {
			s.receipt(id, time.Now(), err)
		}
		return nil
	}
	return s.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		sink := &chats{r: r, every: every, times: results.NewHistogram()}
		stats, err := bench.Probe(ctx, bench.ProbeConfig{
			Pacer: bench.Until(pacer, duration), Classify: func(time.Time) string { return metricMessage }, Drain: min(s.o.request, 10*time.Second),
		}, send, sink)
		s.mu.Lock()
		clear(s.waiting)
		s.mu.Unlock()
		s.flush(r)
		if err != nil {
			return nil, fail(stageMessage, err)
		}
		out := &chatted{Sent: stats.Planned - stats.Dropped, Received: stats.Answered, Failed: stats.Failed + stats.Unanswered + stats.Dropped}
		if sink.times.N() > 0 {
			out.Mean, out.Max = milliseconds(sink.times.Mean()), milliseconds(sink.times.Max())
		}
		if q := sink.times.Quantile(0.5); q.OK {
			out.P50 = milliseconds(q.Value)
		}
		if q := sink.times.Quantile(0.99); q.OK {
			out.P99 = milliseconds(q.Value)
		}
		return out, nil
	})
}

// hold keeps the sessions for some time.
func (s *swarm) hold(call sobek.FunctionCall) sobek.Value {
	ctx := s.m.vuContext("Swarm.hold()")
	in := s.m.rt.NewObject()
	must(s.m.rt, in.Set("duration", call.Argument(0)))
	p := s.m.options("Swarm.hold()", in, true)
	if !p.has("duration") {
		p.bad("duration", "is required")
	}
	d := p.duration("duration", 0)
	r := s.recorder(ctx, s.m.options("Swarm.hold()", nil, false))
	return s.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		err := pause(ctx, d)
		s.flush(r)
		if err != nil {
			return nil, fail(stageSession, err)
		}
		return nil, nil
	})
}

// disconnect ends all sessions in order.
func (s *swarm) disconnect(call sobek.FunctionCall) sobek.Value {
	ctx := s.m.vuContext("Swarm.disconnect()")
	p := s.m.options("Swarm.disconnect()", call.Argument(0), false)
	timeout := p.duration("timeout", defaultClose)
	r := s.recorder(ctx, p)
	p.done()
	return s.m.async(ctx, nil, func(ctx context.Context) (any, error) {
		s.flush(r)
		if err := s.m.ending(ctx, func() error { s.end(timeout); return nil }); err != nil {
			return nil, fail(stageClose, err)
		}
		r.push(time.Now(), figure{metricActive, float64(s.m.root.active())})
		return nil, nil
	})
}

// end closes all sessions, many at a time.
func (s *swarm) end(timeout time.Duration) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, 256)
	for _, l := range s.live() {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			_ = l.close(timeout) // a session that does not end in order is gone all the same
		})
	}
	wait.Wait()
}

// abandon ends the sessions when the iteration is over.
func (s *swarm) abandon() { s.end(closeTimeout) }
