package simulator

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// routePresence acts on a presence stanza of the session's client.
func (x *session) routePresence(el *wire.Element, to address) {
	typ := el.Attr("type")
	switch typ {
	case "", "unavailable":
		if to.domain == "" {
			x.broadcast(el, typ == "")
		} else {
			x.direct(el, to, typ == "")
		}
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		if to.domain == "" || to.local == "" {
			x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "a subscription needs 'to' with a user"})
			return
		}
		x.sim.subscribe(x, typ, el, to.bare())
	case "error":
		x.sim.deliverFull(el, to)
	case "probe": // servers probe (RFC 6121 §4.3)
	default:
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "unknown type of presence"})
	}
}

// priorityOf reads the priority of a presence (RFC 6121 §4.7.2.3).
func priorityOf(el *wire.Element) (int8, bool) {
	p := el.Child(wire.NSClient, "priority")
	if p == nil {
		return 0, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(p.Text()), 10, 8)
	return int8(n), err == nil
}

// broadcast makes the session available, changes its presence or makes it
// unavailable, and tells everybody concerned (RFC 6121 §4.2, §4.4, §4.5).
func (x *session) broadcast(el *wire.Element, available bool) {
	priority, ok := priorityOf(el)
	if !ok {
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "the priority is not a number from -128 to 127"})
		return
	}
	b := el.Append(nil, wire.NSClient)
	x.sim.peek(x.account.jid, func(a *account) {
		if !available {
			x.withdraw(b)
			return
		}
		initial := x.presence == nil
		another := slices.ContainsFunc(a.sessions, func(o *session) bool { return o != x && o.available() })
		wasNegative := initial || x.priority < 0
		x.presence, x.priority = b, priority
		x.present(x.full(), addTo(b, x.full()))
		for _, o := range a.sessions {
			if o == x || !o.available() {
				continue
			}
			o.present(x.full(), addTo(b, o.full()))
			if initial {
				x.present(o.full(), addTo(o.presence, x.full()))
			}
		}
		if initial {
			for _, requester := range slices.Sorted(maps.Keys(a.requests)) {
				x.send(a.requests[requester])
			}
		}
		if wasNegative && priority >= 0 {
			x.sim.figures.add("offline.delivered", int64(len(a.offline)))
			for _, m := range a.offline {
				x.send(m)
			}
			a.offline = nil
		}
		x.tell(announcement{b: b, initial: initial, ask: initial && (!another || x.sim.config.Presence.Probes == ProbeAlways), contacts: true})
	})
}

// withdraw makes the session unavailable. b is what the client said, or nil. The
// account is locked.
func (x *session) withdraw(b []byte) {
	was, directed := x.presence != nil, x.directed
	x.presence, x.directed = nil, nil
	if !was && len(directed) == 0 {
		return
	}
	if b == nil {
		b = append(wire.AppendAttr([]byte("<presence"), "from", x.full()), " type='unavailable'/>"...)
	}
	if was {
		for _, o := range x.account.sessions {
			if o.available() || o == x {
				o.present(x.full(), addTo(b, o.full()))
			}
		}
	}
	x.tell(announcement{b: b, contacts: was, directed: directed})
}

// direct sends presence to one entity (RFC 6121 §4.6).
func (x *session) direct(el *wire.Element, to address, available bool) {
	if !x.sim.domains[to.domain] && !x.sim.knows(to.bare()) {
		x.bounce(el, &wire.StanzaError{Type: "cancel", Condition: "remote-server-not-found"})
		return
	}
	x.sim.peek(x.account.jid, func(*account) {
		switch {
		case !available:
			delete(x.directed, to.String())
		case x.directed == nil:
			x.directed = map[string]struct{}{to.String(): {}}
		case len(x.directed) < maxDirected:
			x.directed[to.String()] = struct{}{}
		}
	})
	x.sim.deliverPresence(el.Append(nil, wire.NSClient), x.full(), to)
}

// maxDirected bounds how many receivers of directed presence are remembered.
const maxDirected = 10000

// deliverPresence hands a presence to one resource, or to all that are available.
func (s *Simulator) deliverPresence(b []byte, from string, to address) {
	s.peek(to.bare(), func(a *account) {
		for _, o := range a.sessions {
			if o.resource == to.resource || (to.resource == "" && o.available()) {
				o.present(from, b)
			}
		}
	})
}

// present sends a presence to this session's client, or holds it back while the
// client is inactive. The account is locked.
func (x *session) present(from string, b []byte) {
	if x.inactive {
		if x.held == nil {
			x.held = map[string][]byte{}
		}
		x.held[from] = b
		return
	}
	x.sim.figures.add("presence.delivered", 1)
	x.send(b)
}

// indicate notes whether the client is being looked at (XEP-0352). Presence is
// held back while it is not.
func (x *session) indicate(inactive bool) {
	x.sim.peek(x.account.jid, func(*account) {
		x.inactive = inactive
		if inactive {
			return
		}
		held := x.held
		x.held = nil
		for _, from := range slices.Sorted(maps.Keys(held)) {
			x.present(from, held[from])
		}
	})
}

// addTo returns a presence, which has no 'to' of its own kept, addressed to one receiver.
func addTo(b []byte, to string) []byte {
	const start = "<presence"
	out := make([]byte, 0, len(b)+len(to)+8)
	out = append(out, start...)
	out = wire.AppendAttr(out, "to", to)
	return append(out, bytes.TrimPrefix(b, []byte(start))...)
}

// An announcement is a change of presence that contacts are to be told.
type announcement struct {
	b        []byte              // the presence, without 'to'
	contacts bool                // tell those subscribed
	directed map[string]struct{} // and these
	initial  bool                // find out about contacts in return
	ask      bool                // by probes
}

// tell queues an announcement. A goroutine exists for as long as there is one. Of
// several that wait the newest counts: presence is a state. The account is locked.
func (x *session) tell(t announcement) {
	if n := len(x.tasks); n > 0 && x.tasks[n-1].contacts && t.contacts && len(x.tasks[n-1].directed) == 0 {
		t.initial = t.initial || x.tasks[n-1].initial
		t.ask = t.ask || x.tasks[n-1].ask
		x.tasks[n-1] = t
	} else {
		x.tasks = append(x.tasks, t)
	}
	if !x.telling {
		x.telling = true
		x.sim.wg.Go(x.announce)
	}
}

// announce works through the announcements.
func (x *session) announce() {
	for {
		x.account.mu.Lock()
		if len(x.tasks) == 0 {
			x.telling, x.tasks = false, nil
			x.account.mu.Unlock()
			return
		}
		t := x.tasks[0]
		x.tasks = x.tasks[1:]
		x.account.mu.Unlock()
		if x.sim.ctx.Err() != nil || x.sim.isDown() {
			continue // nobody is left to hear it
		}
		for _, to := range slices.Sorted(maps.Keys(t.directed)) {
			if a, ok := parseAddress(to); ok {
				x.sim.deliverPresence(addTo(t.b, to), x.full(), a)
			}
		}
		if t.contacts {
			x.walk(t)
		}
	}
}

// walk goes through the roster: it tells those who may know, and finds out about
// those who may be known.
func (x *session) walk(t announcement) {
	const batch = 256
	f := &flood{x: x}
	list := make([]roster.Item, 0, batch)
	key, end := "", false
	for !end {
		list, end = list[:0], true
		x.account.mu.Lock()
		for e := range x.account.store.After(key, 0) {
			if len(list) == batch {
				end = false
				break
			}
			key = e.JID
			if !e.Gone {
				list = append(list, e.Item)
			}
		}
		x.account.mu.Unlock()
		for _, item := range list {
			if !x.meet(f, item, t) {
				return
			}
		}
	}
	f.finish()
}

// meet does what an announcement means for one contact. It reports false when the
// session is over.
func (x *session) meet(f *flood, item roster.Item, t announcement) bool {
	s := x.sim
	to := item.Subscription == "to" || item.Subscription == "both"
	from := item.Subscription == "from" || item.Subscription == "both"
	if !to && !from {
		return true
	}
	a, ok := parseAddress(item.JID)
	if !ok {
		return true
	}
	bare := a.bare()
	m := s.member(bare)
	if m.population == nil && !s.domains[a.domain] {
		if t.initial {
			b := wire.AppendAttr([]byte("<presence type='error'"), "from", item.JID)
			b = append(wire.AppendAttr(b, "to", x.full()), '>')
			b = wire.AppendError(b, &wire.StanzaError{Type: "cancel", Condition: "remote-server-not-found"})
			return f.add(item.JID, append(b, "</presence>"...))
		}
		return true
	}
	if from {
		s.figures.add("presence.sent", 1)
		n := s.presentTo(bare, x.account.jid, x.full(), t.b, false)
		if n == 0 && m.population != nil {
			n = s.likeness(bare).resources
		}
		s.figures.add("presence.fanout", int64(n))
	}
	if !to || !t.initial {
		return true
	}
	probed := t.ask && s.remote(x.account.jid, a)
	if probed {
		s.figures.add("probes.sent", 1)
		if d := s.answerDelay(bare); d > 0 {
			f.later = append(f.later, delayed{d, bare})
			return true
		}
	}
	return f.answer(bare, probed)
}

// presentTo hands a presence to the available resources of a contact who may see
// it, or to all of them if always is set. It returns their number.
func (s *Simulator) presentTo(contact, user, from string, b []byte, always bool) (n int) {
	s.peek(contact, func(a *account) {
		if !always {
			item, ok := a.store.Get(user)
			if !ok || (item.Subscription != "to" && item.Subscription != "both") {
				return
			}
		}
		for _, o := range a.sessions {
			if o.available() {
				o.present(from, addTo(b, o.full()))
				n++
			}
		}
	})
	return n
}

// remote reports whether a contact is on another server than the user, as far as
// the configuration says.
func (s *Simulator) remote(user string, contact address) bool {
	switch s.config.Presence.Local {
	case LocalAll:
		return false
	case LocalNone:
		return true
	}
	_, domain, _ := strings.Cut(user, "@")
	return domain != contact.domain
}

// likeness is how a contact behaves that nobody is logged in as.
type likeness struct {
	resources int // 0: offline
}

// draw returns a number in [0,1) that depends on the population's seed, the
// contact and the purpose alone.
func (s *Simulator) draw(bare string, purpose uint64) float64 {
	h := s.config.Populations[0].Seed ^ purpose*0x9e3779b97f4a7c15
	for i := range len(bare) {
		h = (h ^ uint64(bare[i])) * 0x100000001b3
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return float64((h^h>>31)>>11) / (1 << 53)
}

func (s *Simulator) likeness(bare string) likeness {
	p := s.config.Presence
	if s.draw(bare, 1) >= p.Online {
		return likeness{}
	}
	whole, part := math.Modf(p.Resources)
	n := int(whole)
	if s.draw(bare, 2) < part {
		n++
	}
	return likeness{n}
}

// answerDelay is how long a contact takes to answer a probe.
func (s *Simulator) answerDelay(bare string) time.Duration {
	mean := float64(s.config.Presence.Delay)
	switch s.config.Presence.Spread {
	case SpreadUniform:
		mean *= 2 * s.draw(bare, 3)
	case SpreadExponential:
		mean *= min(10, -math.Log(1-s.draw(bare, 3)))
	}
	return time.Duration(mean)
}

// A flood is the presence that comes in after a login. What is under way to the
// client is bounded, so that a slow client costs no memory.
type flood struct {
	x     *session
	batch [][]byte
	from  []string
	bytes int
	later []delayed
	// written has an entry for each batch that may still be queued.
	written chan struct{}
	waiting int
}

// delayed is an answer that is not due yet.
type delayed struct {
	after   time.Duration
	contact string
}

// Bounds of a flood: bytes of one batch, and batches queued.
const (
	floodBatch = 4096
	floodAhead = 4
)

// answer adds what is known of a contact. It reports false when the session is over.
func (f *flood) answer(contact string, probed bool) bool {
	s, x := f.x.sim, f.x
	type sender struct {
		from string
		b    []byte
	}
	var online []sender
	allowed := true
	s.peek(contact, func(a *account) {
		item, ok := a.store.Get(x.account.jid)
		if allowed = ok && (item.Subscription == "from" || item.Subscription == "both"); !allowed {
			return
		}
		for _, o := range a.sessions {
			if o.available() {
				online = append(online, sender{o.full(), o.presence})
			}
		}
	})
	m := s.member(contact)
	if m.population == nil || !allowed {
		// There is no such account, or it has withdrawn (RFC 6121 §4.3.2).
		if probed {
			s.figures.add("probes.answered", 1)
			s.notify(x.account.jid, "unsubscribed", contact)
		}
		return true
	}
	if len(online) == 0 {
		for i := range s.likeness(contact).resources {
			from := contact + "/r" + strconv.Itoa(i+1)
			b := append(wire.AppendAttr([]byte("<presence"), "from", from), "><priority>5</priority></presence>"...)
			online = append(online, sender{from, b})
		}
	}
	if len(online) == 0 && probed && s.config.Presence.OfflineReply == ReplyUnavailable {
		since := time.Now().Add(-time.Duration(s.draw(contact, 4) * float64(24*time.Hour)))
		b := wire.AppendAttr([]byte("<presence"), "from", contact)
		b = append(b, " type='unavailable'>"...)
		b = append(wire.AppendAttr(append(b, "<delay xmlns='"+wire.NSDelay+"'"...), "stamp", stamp(since)), "/>"...)
		online = append(online, sender{contact, append(b, "</presence>"...)})
	}
	if probed && len(online) > 0 {
		s.figures.add("probes.answered", 1)
	}
	for _, o := range online {
		if !f.add(o.from, addTo(o.b, x.full())) {
			return false
		}
	}
	return true
}

// add queues one presence. It reports false when the session is over.
func (f *flood) add(from string, b []byte) bool {
	f.batch = append(f.batch, b)
	f.from = append(f.from, from)
	f.bytes += len(b)
	return f.bytes < floodBatch || f.flush()
}

// flush hands the batch to the session, and waits while too much is queued there.
func (f *flood) flush() bool {
	if len(f.batch) == 0 {
		return true
	}
	if f.written == nil {
		f.written = make(chan struct{}, floodAhead)
	}
	for f.waiting == floodAhead {
		select {
		case <-f.written:
			f.waiting--
		case <-f.x.over():
			return false
		case <-f.x.sim.ctx.Done():
			return false
		}
	}
	ok := true
	f.x.sim.peek(f.x.account.jid, func(*account) {
		for i, b := range f.batch {
			last := i == len(f.batch)-1
			switch {
			case !last || f.x.inactive:
				f.x.present(f.from[i], b)
			default:
				f.x.sim.figures.add("presence.delivered", 1)
				f.waiting++
				ok = f.x.Post(b, func() { f.written <- struct{}{} }) == nil
			}
		}
	})
	f.batch, f.from, f.bytes = f.batch[:0], f.from[:0], 0
	return ok
}

// finish flushes, and adds the delayed answers as they become due.
func (f *flood) finish() {
	if !f.flush() {
		return
	}
	slices.SortStableFunc(f.later, func(a, b delayed) int { return cmp.Compare(a.after, b.after) })
	start := time.Now()
	for i, d := range f.later {
		if wait := d.after - time.Since(start); wait > 0 {
			if !f.flush() {
				return
			}
			due := time.NewTimer(wait)
			select {
			case <-due.C:
			case <-f.x.over():
				due.Stop()
				return
			case <-f.x.sim.ctx.Done():
				due.Stop()
				return
			}
		}
		if !f.answer(d.contact, true) {
			return
		}
		if i == len(f.later)-1 && !f.flush() {
			return
		}
	}
}

// over returns a channel that is closed when the session ends.
func (x *session) over() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone == nil {
		x.gone = make(chan struct{})
		if x.ended {
			close(x.gone)
		}
	}
	return x.gone
}
