package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/online"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

func messageSteady() Scenario {
	return steadyScenario(MessageSteady, "messages.rate", "users who are online send each other messages, each timed until it is read")
}

func presenceFanout() Scenario {
	return steadyScenario(PresenceFanout, "presence.rate", "users change their presence, each change timed until the last contact who is online knows")
}

// steadyScenario is traffic among users who are online. The scenarios of it differ in
// what they are about, which is the load at level, and so in what their files ask for.
func steadyScenario(name, level, summary string) Scenario {
	return Scenario{
		Name: name, Summary: summary, level: level,
		Steps: []string{
			"log online.sessions accounts in at logins.rate, fetch rosters where online.roster says so, send presence where presence.send does",
			"wait at the barrier `online` until all are there, and at `settled` until initial presence has come in; go on with the share barrier.least when barrier.timeout is over",
			"send, each on a schedule of its own: messages with messages.rate, changes of presence with presence.rate, pings with pings.rate, requests for features with disco.rate",
			"time messages until their receiver has read them, presence until each contact and until the last one has, requests until their answer",
			"wait up to load.drain for what is under way; count loss, duplicates and order for each pair of sender and receiver; log out",
		},
		Metrics: []string{
			"login.dial", "login.tls", "login.sasl", "login.bind", "login", "roster.complete",
			"message", "presence", "presence.fanout", "ping", "disco",
			"sessions", "sessions.lost", "logins.failed",
			"messages.sent", "messages.delivered", "messages.lost", "messages.duplicated", "messages.reordered", "messages.bounced", "messages.rate",
			"presence.changes", "presence.delivered", "presence.expected", "presence.lost", "presence.superseded", "presence.duplicated", "presence.reordered", "presence.amplification",
			"requests.unanswered", "stanzas.rate", "cpu.client", "cpu.server", "cpu.stanza",
		},
		primary: func(p Plan) string {
			flows := p.traffic()
			if len(flows) == 0 {
				return "login.mean"
			}
			return flows[leading(flows, level)].metric + ".mean"
		},
		family:  rosterFamily,
		check:   (*planParser).checkSteady,
		outlook: Plan.steadyOutlook,
		prepare: func(_ context.Context, s *site) (actor, error) { return newSteady(s) },
	}
}

// steadyOutlook is that of traffic among users who are online.
func (p Plan) steadyOutlook() outlook {
	n := p.online(p.Accounts)
	setup, _ := p.Logins.reaches(n)
	if p.Presence.Send != presenceNever {
		setup += p.Presence.Quiet
	}
	var operations []string
	for _, f := range p.traffic() {
		operations = append(operations, f.metric)
	}
	return outlook{
		operations:  operations,
		sessions:    func() int { return n },
		setup:       setup,
		cell:        func(Arm) time.Duration { return setup + p.Load.end() + overhead },
		warmup:      short,
		connections: func(Arm) int { return bench.DefaultWarmupBlocks + p.Blocks*n },
		samples: func(metric string) float64 {
			for _, f := range p.traffic() {
				if f.metric == metric {
					return f.expected(p.Load.Warmup, p.Load.Warmup+p.Load.Duration)
				}
			}
			return 0
		},
	}
}

type steady struct {
	*site
	kept *crowd // of the last cell, nil if it was not kept
}

func newSteady(s *site) (*steady, error) {
	if err := holdable(s.plan.online(s.about.Accounts), "online.sessions"); err != nil {
		return nil, err
	}
	return &steady{site: s}, nil
}

func (s *steady) close(ctx context.Context) error {
	if s.kept != nil {
		s.kept.close(ctx)
	}
	return nil
}

func (s *steady) cell(ctx context.Context, c *cell) error {
	if err := s.configure(ctx, c.arm); err != nil {
		return err
	}
	if c.warmup {
		return s.taste(ctx, c)
	}
	crowd, err := s.gather(ctx, c)
	if err != nil {
		return err
	}
	if c.keep {
		s.kept = crowd
	} else {
		defer crowd.close(ctx)
	}
	t, err := newExchange(crowd, c)
	if err != nil {
		return err
	}
	return t.run(ctx)
}

// gather returns those of the last cell, where they were kept and all are there still,
// or logs everybody in.
func (s *steady) gather(ctx context.Context, c *cell) (*crowd, error) {
	if cr := s.kept; cr != nil {
		s.kept = nil
		if cr.rested(ctx) {
			c.set("sessions", float64(len(cr.alive())))
			return cr, nil
		}
		cr.close(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return s.raise(ctx, c)
}

// taste logs one account in and out, which tells whether the target can be used and
// speaks the variant.
func (s *steady) taste(ctx context.Context, c *cell) error {
	ctx, cancel := context.WithTimeout(ctx, s.plan.Login.Limit)
	defer cancel()
	cl, err := s.login(ctx, studied, shaped, true)
	if err != nil {
		return err
	}
	defer cl.close(ctx)
	if !s.plan.Online.Roster {
		return nil
	}
	_, answer, err := cl.retrieve(ctx, c.arm, roster.Options{})
	if err == nil && answer.Verdict != roster.Spoken {
		c.skipped = fmt.Sprintf("%s: %s", answer.Verdict, answer.Reason)
	}
	return err
}

// A flow is one kind of traffic of a plan.
type flow struct {
	Stream
	metric string
	send   func(t *exchange, ctx context.Context, a bench.Arrival) error
}

// traffic returns the kinds of traffic that the plan has.
func (p Plan) traffic() []flow {
	all := []flow{
		{Stream{"messages.rate", p.Messages.Rate}, "message", (*exchange).sendMessage},
		{Stream{"presence.rate", p.Presence.Rate}, "presence.fanout", (*exchange).changePresence},
		{Stream{"pings.rate", p.Pings.Rate}, "ping", (*exchange).ping},
		{Stream{"disco.rate", p.Disco.Rate}, "disco", (*exchange).discover},
	}
	return slices.DeleteFunc(all, func(f flow) bool { return !f.Any() })
}

// leading returns the index of the load at key, of the first one if that is left out.
func leading(flows []flow, key string) int {
	return max(0, slices.IndexFunc(flows, func(f flow) bool { return f.Key == key }))
}

// exchange is what a crowd does once it is online.
type exchange struct {
	*crowd
	cell    *cell
	tag     string // of the ids of this exchange
	talks   []talk // of each member
	load    Load
	online  []*member
	start   time.Time
	peers   [2][][]int32 // of each member, by remote: who it sends messages to
	flows   []flow
	main    int       // of the flows, the one that the cell is about
	watched [][]int32 // of each member: who may see its presence
	order   []*member // in which members change their presence

	open              ledger
	underway          atomic.Int64  // of the main flow: begun and not over
	done              atomic.Uint64 // of the main flow: ended well in the measured window
	sent, bounces     atomic.Int64  // messages
	within            atomic.Int64  // messages that arrived, and were due in the measured window
	changes, expected atomic.Int64  // presence
	unanswered        int64         // requests, once load.drain is over
}

// A talk is what an exchange keeps of one member's traffic.
type talk struct {
	out struct { // guarded by mu
		mu      sync.Mutex
		turn    [2]int           // of the next message, by remote
		numbers map[int32]uint32 // of messages sent, by receiver
		changes uint32           // of presence sent
		left    map[uint32]int   // of changes that have not reached everybody: contacts to come
	}
	in struct { // guarded by mu
		mu       sync.Mutex
		messages map[int32]*pairing // by sender
		presence map[int32]*pairing
	}
}

func newExchange(cr *crowd, c *cell) (*exchange, error) {
	t := &exchange{crowd: cr, cell: c, load: cr.plan.Load, online: cr.alive(), flows: cr.plan.traffic()}
	t.main = leading(t.flows, c.load)
	t.open.operations = make(map[ref]operation)
	for _, i := range shuffled(cr.plan.Seed, len(t.online)) {
		t.order = append(t.order, t.online[i])
	}
	t.tag = fmt.Sprintf("xb%x", time.Now().UnixNano())
	t.talks = make([]talk, len(t.members))
	for i := range t.talks {
		k := &t.talks[i]
		k.out.numbers, k.out.left = make(map[int32]uint32), make(map[uint32]int)
		k.in.messages, k.in.presence = make(map[int32]*pairing), make(map[int32]*pairing)
	}
	if cr.plan.Messages.Rate.Any() {
		if err := t.choosePeers(); err != nil {
			return nil, err
		}
	}
	if cr.plan.Presence.Rate.Any() {
		return t, t.findWatchers()
	}
	return t, nil
}

// findWatchers turns around who may see whom.
func (t *exchange) findWatchers() error {
	t.watched = make([][]int32, len(t.members))
	pairs := 0
	for _, m := range t.online {
		for _, i := range m.watches {
			if t.members[i] != nil && t.members[i] != m {
				t.watched[i] = append(t.watched[i], m.at)
				pairs++
			}
		}
	}
	if pairs == 0 {
		return errors.New("scenarios: no two of the accounts that are online are contacts who may see each other's presence: raise roster.items or online.sessions, or provision rosters")
	}
	return nil
}

// choosePeers gives each member those that its messages go to: at its own domain the
// next ones in the order of accounts, and so at the others.
func (t *exchange) choosePeers() error {
	n, share := len(t.online), t.plan.Messages.Remote
	for remote := range t.peers {
		t.peers[remote] = make([][]int32, len(t.members))
		if remote == 0 && share == 1 || remote == 1 && share == 0 {
			continue
		}
		for i, m := range t.online {
			var chosen []int32
			for k := 1; k < n && len(chosen) < t.plan.Messages.Peers; k++ {
				if o := t.online[(i+k)%n]; (o.Domain != m.Domain) == (remote == 1) {
					chosen = append(chosen, o.at)
				}
			}
			switch {
			case len(chosen) > 0:
				t.peers[remote][m.at] = chosen
			case remote == 1:
				return fmt.Errorf("scenarios: messages.remote is %v, but all sessions are at %s: the target needs a second domain", share, m.Domain)
			default:
				return fmt.Errorf("scenarios: %s is alone at its domain: raise online.sessions, or set messages.remote to 1", m.full)
			}
		}
	}
	return nil
}

// run sends all kinds of traffic side by side, waits for what is under way and
// reports.
func (t *exchange) run(ctx context.Context) error {
	const head = 50 * time.Millisecond // to start all kinds at the same time
	t.start = time.Now().Add(head)
	t.traffic.Store(t)
	defer t.leave()
	var wait sync.WaitGroup
	edges := make(chan edges, 1)
	wait.Go(func() { edges <- t.watch(ctx) })
	stats := make([]bench.Stats, len(t.flows))
	errs := make([]error, len(t.flows))
	for i, f := range t.flows {
		config := bench.Config{
			Start: t.start, Warmup: t.load.Warmup, Measure: t.load.Duration, Cooldown: t.load.Cooldown,
			Drain: t.load.Drain, Timer: bench.TimerThread,
		}
		if i == t.main && t.cell.watch != nil {
			config.Progress = func(p bench.Progress) {
				p.InFlight = int(t.underway.Load())
				t.cell.watch(p)
			}
		}
		if errs[i] = f.engine(&config, t.load.Arrivals, t.plan.Seed^uint64(t.cell.block)<<32^uint64(i)<<48, t.load.end()); errs[i] != nil { // #nosec G115 -- blocks are not negative
			continue
		}
		wait.Go(func() {
			// Samples are made of outcomes, wherever they come.
			stats[i], errs[i] = bench.Run(ctx, config, func(ctx context.Context, a bench.Arrival, _ results.Sink) error {
				return f.send(t, ctx, a)
			}, results.Discard{})
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := t.drain(ctx); err != nil {
		return err
	}
	t.report(stats, <-edges)
	return nil
}

// leave ends the exchange: what comes from now on is none of its.
func (t *exchange) leave() {
	t.traffic.Store(nil)
	t.open.take()
}

// begin notes an operation, which is not over when the engine has sent it.
func (t *exchange) begin(r ref, o operation) {
	t.open.begin(r, o)
	if t.leads(r) {
		t.underway.Add(1)
	}
}

// end takes what came of an operation. If that is over already, it changes nothing: only
// the first outcome counts.
func (t *exchange) end(r ref, at time.Time, err error) {
	if o, open := t.open.claim(r); open {
		t.conclude(r, o, at, err)
	}
}

// conclude makes the sample of an operation that has been claimed.
func (t *exchange) conclude(r ref, o operation, at time.Time, err error) {
	t.sinkOf(o.due).Observe(results.Sample{Metric: r.metric, Intended: o.due, Start: o.start, End: at, Err: err})
	if r.metric == "message" && err == nil && t.measures(o.due) {
		t.within.Add(1)
	}
	t.release(r, o, err == nil && t.measures(at))
}

// release lets go of an operation that has been claimed; done says that it ended well in
// the measured window.
func (t *exchange) release(r ref, o operation, done bool) {
	if t.leads(r) {
		t.underway.Add(-1)
		if done {
			t.done.Add(1)
		}
	}
	if o.over != nil {
		close(o.over)
	}
	t.open.settle()
}

// leads reports whether an operation is of the load that the cell is about.
func (t *exchange) leads(r ref) bool { return t.flows[t.main].metric == r.metric }

// drain waits up to load.drain for what is under way. What is not over then has failed,
// but for changes of presence in whose place later ones came.
func (t *exchange) drain(ctx context.Context) error {
	if err := t.open.wait(ctx, t.load.Drain); err != nil {
		return err
	}
	t.traffic.Store(nil) // what arrives from now on is too late
	now := time.Now()
	for r, o := range t.open.take() {
		switch {
		case r.metric == "presence.fanout" && t.superseded(r):
			t.release(r, o, false)
			continue
		case r.metric == "ping" || r.metric == "disco":
			t.unanswered++
		}
		t.conclude(r, o, now, errUnanswered)
	}
	return t.open.wait(ctx, t.load.Drain) // for outcomes that are being taken
}

// superseded reports whether all contacts whom a change of presence has not reached know
// a later one.
func (t *exchange) superseded(r ref) bool {
	return !slices.ContainsFunc(t.watched[r.from], func(to int32) bool {
		in := &t.talks[to].in
		in.mu.Lock()
		defer in.mu.Unlock()
		p := in.presence[r.from]
		return p == nil || uint64(p.high) < r.number
	})
}

// measures reports whether a time lies in the measured window.
func (t *exchange) measures(at time.Time) bool {
	since := at.Sub(t.start)
	return since >= t.load.Warmup && since < t.load.Warmup+t.load.Duration
}

// sinkOf is where samples of what was due at a time belong.
func (t *exchange) sinkOf(due time.Time) results.Sink {
	if !t.measures(due) {
		return results.Discard{}
	}
	return t.cell.sink
}

// A ref names an operation of an exchange.
type ref struct {
	metric   string
	from, to int32  // members; to is that of messages
	number   uint64 // of messages from one to the other, of changes of one, of requests of a kind
}

// An operation has begun and is not over.
type operation struct {
	due, start time.Time
	over       chan struct{} // closed when it is; nil in an open loop
}

// A ledger holds what is under way, and tells when nothing is any more.
type ledger struct {
	mu         sync.Mutex
	operations map[ref]operation
	unsettled  int           // of them, and of those claimed
	empty      chan struct{} // of who waits, nil if nobody does
}

func (l *ledger) begin(r ref, o operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations[r] = o
	l.unsettled++
}

// claim takes an operation out, for whoever settles it. It reports false if somebody has
// done so before.
func (l *ledger) claim(r ref) (operation, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, open := l.operations[r]
	delete(l.operations, r)
	return o, open
}

// take claims all that is under way.
func (l *ledger) take() map[ref]operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.operations
	l.operations = make(map[ref]operation)
	return all
}

// settle says that an operation which was claimed is over.
func (l *ledger) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsettled--; l.unsettled == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

// wait returns when nothing is under way, limit has passed, or ctx ends, whose cause
// it returns then. Nothing may begin meanwhile.
func (l *ledger) wait(ctx context.Context, limit time.Duration) error {
	l.mu.Lock()
	if l.unsettled == 0 {
		l.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	l.empty = empty
	l.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-empty:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// sendMessage sends the next message. Who sends it, and whether it stays at the
// sender's domain, follow from the seed and its number.
func (t *exchange) sendMessage(ctx context.Context, a bench.Arrival) error {
	draw := bench.Mix(t.plan.Seed + 0x6d657373 + a.Seq)
	m := t.online[draw%uint64(len(t.online))]
	remote := 0
	if float64(bench.Mix(draw)>>11)*0x1p-53 < t.plan.Messages.Remote {
		remote = 1
	}
	// The order of numbers has to be that of the stream.
	out := &t.talks[m.at].out
	out.mu.Lock()
	peers := t.peers[remote][m.at]
	to := peers[out.turn[remote]%len(peers)]
	out.turn[remote]++
	number := out.numbers[to] + 1
	start := time.Now()
	b := make([]byte, 0, 256)
	b = append(b, "<message type='chat'"...)
	b = wire.AppendAttr(b, "to", t.members[to].full)
	b = append(b, " id='"...)
	b = mark{int(m.at), int(to), number, a.At.Sub(t.epoch), start.Sub(t.epoch)}.append(b, t.tag)
	b = append(b, "'><body>"...)
	b = t.plan.Messages.sizes(t.plan.Seed).AppendBody(b, a.Seq)
	b = append(b, "</body></message>"...)
	r, o := ref{"message", m.at, to, uint64(number)}, operation{due: a.At, start: start}
	if t.plan.Messages.Rate.Workers() > 0 {
		o.over = make(chan struct{})
	}
	t.begin(r, o)
	out.numbers[to] = number // before it can arrive
	err := m.Stream.Post(b, nil)
	if err != nil {
		out.numbers[to]--
		t.end(r, time.Now(), err) // before the next one takes its number
	}
	out.mu.Unlock()
	if err != nil {
		return err
	}
	t.sent.Add(1)
	return t.await(ctx, o.over)
}

// await returns when what a worker of a closed loop has begun is over.
func (t *exchange) await(ctx context.Context, over chan struct{}) error {
	if over == nil {
		return nil
	}
	limit := time.NewTimer(t.load.Drain)
	defer limit.Stop()
	select {
	case <-over:
		return nil
	case <-limit.C:
		return errUnanswered
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errUnanswered is what comes of an operation that is not over when load.drain is.
var errUnanswered error = &unansweredError{"load.drain"}

// unansweredError says that something had no outcome in the end.
type unansweredError struct{ limit string } // key of the time that was waited for it

// Error names the limit.
func (e *unansweredError) Error() string { return "scenarios: nothing came back within " + e.limit }

// Kind returns the class of the error for counting.
func (*unansweredError) Kind() string { return "unanswered" }

// messageArrived takes a message at its receiver.
func (t *exchange) messageArrived(m *member, st *wire.Stanza) {
	k, ok := parseMark(st.ID(), t.tag)
	if !ok || k.receiver != int(m.at) || k.sender >= len(t.members) || t.members[k.sender] == nil {
		return
	}
	from, in := &t.talks[k.sender].out, &t.talks[m.at].in
	from.mu.Lock()
	sent := from.numbers[m.at]
	from.mu.Unlock()
	if !arrived(&in.mu, in.messages, k, sent) {
		return
	}
	t.end(k.message(), st.End, nil)
}

// arrived books a number with its pair. It reports whether it is new.
func arrived(mu *sync.Mutex, pairs map[int32]*pairing, k mark, sent uint32) bool {
	mu.Lock()
	defer mu.Unlock()
	sender := int32(k.sender) // #nosec G115 -- an index of members
	p := pairs[sender]
	if p == nil {
		p = new(pairing)
		pairs[sender] = p
	}
	return p.arrive(k.number, sent)
}

// bounced takes a message that came back to its sender as an error: it is lost, and the
// server has said why. A bounce of one that has arrived, or has come back before, is
// counted and changes nothing.
func (t *exchange) bounced(m *member, st *wire.Stanza, why error) {
	k, ok := parseMark(st.ID(), t.tag)
	if !ok || k.sender != int(m.at) {
		return
	}
	t.bounces.Add(1)
	t.end(k.message(), st.End, why)
}

// changePresence makes the next member change its presence. They take turns, so that
// two changes of one member lie as far apart as can be.
func (t *exchange) changePresence(ctx context.Context, a bench.Arrival) error {
	m := t.order[a.Seq%uint64(len(t.order))]
	watchers := len(t.watched[m.at])
	start := time.Now()
	o := operation{due: a.At, start: start}
	if t.plan.Presence.Rate.Workers() > 0 {
		o.over = make(chan struct{})
	}
	out := &t.talks[m.at].out
	out.mu.Lock()
	out.changes++
	number := out.changes
	b := append(make([]byte, 0, 160), "<presence id='"...)
	b = mark{int(m.at), int(m.at), number, a.At.Sub(t.epoch), start.Sub(t.epoch)}.append(b, t.tag)
	b = append(b, "'>"...)
	if number%2 == 1 {
		b = append(b, "<show>away</show>"...)
	}
	b = append(b, "</presence>"...)
	if watchers > 0 {
		out.left[number] = watchers
	}
	r := changeOf(m.at, number)
	t.begin(r, o)
	err := m.Stream.Post(b, nil)
	if err != nil {
		out.changes--
		delete(out.left, number)
		t.end(r, time.Now(), err)
	}
	out.mu.Unlock()
	if err != nil {
		return err
	}
	if watchers == 0 {
		// There is nobody whose time could be taken.
		if _, open := t.open.claim(r); open {
			t.release(r, o, t.measures(time.Now()))
		}
	}
	t.changes.Add(1)
	t.expected.Add(int64(watchers))
	return t.await(ctx, o.over)
}

// changeOf names a change of presence.
func changeOf(member int32, number uint32) ref {
	return ref{metric: "presence.fanout", from: member, number: uint64(number)}
}

// presenceArrived takes presence at a contact.
func (t *exchange) presenceArrived(m *member, st *wire.Stanza) {
	k, ok := parseMark(st.ID(), t.tag)
	if !ok || k.sender == int(m.at) || k.sender >= len(t.members) || t.members[k.sender] == nil {
		return // not of this cell, or the server's word to the sender itself
	}
	from, in := &t.talks[k.sender].out, &t.talks[m.at].in
	from.mu.Lock()
	sent := from.changes
	from.mu.Unlock()
	if !arrived(&in.mu, in.presence, k, sent) {
		return
	}
	due := t.epoch.Add(k.due)
	t.sinkOf(due).Observe(results.Sample{Metric: "presence", Intended: due, Start: t.epoch.Add(k.start), End: st.End})
	from.mu.Lock()
	left, open := from.left[k.number]
	if left--; left > 0 {
		from.left[k.number] = left
	} else {
		delete(from.left, k.number)
	}
	from.mu.Unlock()
	if open && left == 0 {
		t.end(changeOf(int32(k.sender), k.number), st.End, nil) // #nosec G115 -- an index of members
	}
}

// ping asks a member's server for an answer, discover for its features.
func (t *exchange) ping(ctx context.Context, a bench.Arrival) error {
	return t.request(ctx, a, "ping", t.plan.Pings.Rate, (*online.Client).Ping)
}

func (t *exchange) discover(ctx context.Context, a bench.Arrival) error {
	return t.request(ctx, a, "disco", t.plan.Disco.Rate, (*online.Client).Discover)
}

// request sends one request to a member's own server.
func (t *exchange) request(
	ctx context.Context, a bench.Arrival, metric string, shape Shape,
	ask func(c *online.Client, to string, done func(time.Time, error)) error,
) error {
	m := t.online[bench.Mix(t.plan.Seed+uint64(len(metric))<<56+a.Seq)%uint64(len(t.online))]
	r, o := ref{metric: metric, from: m.at, number: a.Seq}, operation{due: a.At, start: time.Now()}
	if shape.Workers() > 0 {
		o.over = make(chan struct{})
	}
	t.begin(r, o)
	if err := ask(m.Client, m.Domain, func(end time.Time, err error) { t.end(r, end, err) }); err != nil {
		return err // which has been taken
	}
	return t.await(ctx, o.over)
}

// edges are the figures of the measured window.
type edges struct {
	opened, closed  reckoning
	client          time.Duration
	lost            int // sessions that ended meanwhile
	clientKnown, ok bool
}

type reckoning struct {
	in, out int64 // stanzas of all members
	server  time.Duration
	known   bool // whether server is
}

// reckon adds up what the members have counted so far.
func (t *exchange) reckon() (r reckoning) {
	server, err := t.target.CPU()
	r.server, r.known = server, err == nil
	for _, m := range t.online {
		n := m.Stream.Counts()
		r.in += n.StanzasIn
		r.out += n.StanzasOut
	}
	return r
}

// watch reads the figures at both ends of the measured window.
func (t *exchange) watch(ctx context.Context) (e edges) {
	if sleep(ctx, time.Until(t.start.Add(t.load.Warmup))) != nil {
		return e
	}
	monitor := bench.StartMonitor()
	e.opened = t.reckon()
	if sleep(ctx, time.Until(t.start.Add(t.load.Warmup+t.load.Duration))) != nil {
		return e
	}
	e.closed = t.reckon()
	if own := monitor.Stop(); own.CPU != nil {
		e.client, e.clientKnown = *own.CPU, true
	}
	for _, m := range t.online {
		select {
		case <-m.Stream.Done():
			e.lost++
		default:
		}
	}
	e.ok = true
	return e
}

// tally adds up what has become of all pairs.
type tally struct{ lost, gaps, duplicated, reordered, seen int64 }

func (n *tally) add(p *pairing, sent uint32) {
	if p == nil {
		p = new(pairing)
	}
	n.lost += p.lost(sent)
	n.gaps += p.gaps()
	n.duplicated += p.duplicated
	n.reordered += p.reordered
	n.seen += p.seen
}

// tallies goes through all pairs of senders and receivers. Messages may still arrive
// meanwhile: they count as lost, since they came too late.
func (t *exchange) tallies() (messages, presence tally) {
	for _, from := range t.online {
		out := &t.talks[from.at].out
		out.mu.Lock()
		numbers, changes := maps.Clone(out.numbers), out.changes
		out.mu.Unlock()
		pair := func(n *tally, of func(*talk) map[int32]*pairing, to int32, sent uint32) {
			k := &t.talks[to]
			k.in.mu.Lock()
			defer k.in.mu.Unlock()
			n.add(of(k)[from.at], sent)
		}
		for to, sent := range numbers {
			pair(&messages, func(k *talk) map[int32]*pairing { return k.in.messages }, to, sent)
		}
		if t.watched == nil {
			continue
		}
		for _, to := range t.watched[from.at] {
			pair(&presence, func(k *talk) map[int32]*pairing { return k.in.presence }, to, changes)
		}
	}
	return messages, presence
}

// report makes the figures of the cell.
func (t *exchange) report(stats []bench.Stats, e edges) {
	c, plan := t.cell, t.plan
	messages, presence := t.tallies()
	warn := func(kind, format string, args ...any) {
		c.flags = append(c.flags, results.Flag{Kind: kind, Severity: results.Warning, Text: fmt.Sprintf(format, args...)})
	}
	if plan.Messages.Rate.Any() {
		sent := t.sent.Load()
		c.set("messages.sent", float64(sent))
		c.set("messages.delivered", float64(messages.seen))
		c.set("messages.lost", float64(messages.lost))
		c.set("messages.duplicated", float64(messages.duplicated))
		c.set("messages.reordered", float64(messages.reordered))
		c.set("messages.bounced", float64(t.bounces.Load()))
		c.set("messages.rate", float64(t.within.Load())/t.load.Duration.Seconds())
		c.count("messages", messages.seen+messages.lost, sent)
		if messages.lost > 0 {
			warn(flagLoss, "%d of %d messages were lost, and %d came back as errors", messages.lost, sent, t.bounces.Load())
		}
		if messages.duplicated > 0 {
			warn("duplicates", "%d messages arrived more than once", messages.duplicated)
		}
		if messages.reordered > 0 {
			warn("order", "%d messages arrived behind later ones of the same sender", messages.reordered)
		}
	}
	if plan.Presence.Rate.Any() {
		expected := t.expected.Load()
		c.set("presence.changes", float64(t.changes.Load()))
		c.set("presence.delivered", float64(presence.seen))
		c.set("presence.expected", float64(expected))
		c.set("presence.lost", float64(presence.lost-presence.gaps))
		c.set("presence.superseded", float64(presence.gaps))
		c.set("presence.duplicated", float64(presence.duplicated))
		c.set("presence.reordered", float64(presence.reordered))
		if n := t.changes.Load(); n > 0 {
			c.set("presence.amplification", float64(presence.seen)/float64(n))
		}
		c.count("presence", presence.seen+presence.lost, expected)
		if lost := presence.lost - presence.gaps; lost > 0 {
			warn(flagLoss, "%d of %d presences were lost", lost, expected)
		}
		if presence.gaps > 0 {
			warn("superseded", "%d of %d presences never came, though later ones of the same contact did", presence.gaps, expected)
		}
		if presence.duplicated > 0 {
			warn("duplicates", "%d presences arrived more than once", presence.duplicated)
		}
		if presence.reordered > 0 {
			warn("order", "%d presences arrived behind later ones of the same contact", presence.reordered)
		}
	}
	if plan.Pings.Rate.Any() || plan.Disco.Rate.Any() {
		c.set("requests.unanswered", float64(t.unanswered))
		if t.unanswered > 0 {
			warn(flagLoss, "%d requests were not answered within load.drain", t.unanswered)
		}
	}
	c.set("sessions.lost", float64(e.lost))
	if e.lost > 0 {
		warn("sessions", "%d of %d sessions ended before the run did", e.lost, len(t.online))
	}
	t.resources(e)
	t.judge(stats)
}

// flagLoss is the kind of flags that tell of stanzas without an outcome.
const flagLoss = "loss"

// resources makes the figures of the measured window.
func (t *exchange) resources(e edges) {
	if !e.ok {
		return
	}
	stanzas := e.closed.in + e.closed.out - e.opened.in - e.opened.out
	t.cell.set("stanzas.rate", float64(stanzas)/t.load.Duration.Seconds())
	if e.clientKnown {
		t.cell.set("cpu.client", e.client.Seconds())
	}
	if e.opened.known && e.closed.known {
		used := (e.closed.server - e.opened.server).Seconds()
		t.cell.set("cpu.server", used)
		if stanzas > 0 {
			t.cell.set("cpu.stanza", used/float64(stanzas))
		}
	}
}

// judge gives the self-check what it wants to know: all arrivals of open loops, and
// the lateness of the kind of traffic that the scenario is about.
func (t *exchange) judge(stats []bench.Stats) {
	c := t.cell
	for i, f := range t.flows {
		if f.Workers() > 0 {
			continue
		}
		if c.judge == "" || i == t.main {
			c.judge = f.metric
		}
		c.figures.Planned += float64(stats[i].Measured.Planned)
		c.figures.Done += float64(stats[i].Measured.Started)
		c.figures.Dropped += int64(stats[i].Measured.Dropped) // #nosec G115 -- a count, far below
		c.figures.Poisson = c.figures.Poisson || f.random(t.load.Arrivals)
	}
	main := stats[t.main]
	main.DoneWithin = t.done.Load()
	c.window(main, t.load.Warmup)
}
