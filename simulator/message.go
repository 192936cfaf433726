package simulator

import (
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// routeMessage sends a message on its way (RFC 6121 §8.5).
func (x *session) routeMessage(el *wire.Element, to address) {
	s := x.sim
	if el.Attr("type") == "error" && (to.domain == "" || to.bare() == x.account.jid && to.resource == "") {
		// Perhaps a chunk of a roster that the client could not take.
		s.peek(x.account.jid, func(*account) { x.rosterServer().ServeMessage(el) })
		return
	}
	switch {
	case to.domain == "":
		// Without 'to' it is for the account itself (RFC 6120 §8.1.1.1).
		setAttr(el, "to", x.account.jid)
		s.deliverBare(el, x.account.jid)
	case !s.domains[to.domain] && !s.knows(to.bare()):
		x.bounce(el, &wire.StanzaError{Type: "cancel", Condition: "remote-server-not-found"})
	case to.local == "":
		x.bounce(el, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"})
	case to.resource == "":
		s.deliverBare(el, to.bare())
	case !s.deliverFull(el, to):
		switch el.Attr("type") {
		case "chat":
			s.deliverBare(el, to.bare())
		case "headline", "error":
		default:
			if m := s.member(to.bare()); m.population != nil && !m.exists() {
				s.figures.add("messages.absorbed", 1)
				return
			}
			s.reject(el, "service-unavailable")
		}
	}
}

// deliverFull hands a stanza to one resource. It reports false if there is none.
func (s *Simulator) deliverFull(el *wire.Element, to address) (delivered bool) {
	s.peek(to.bare(), func(a *account) {
		if o := a.session(to.resource); o != nil {
			o.deliver(el)
			delivered = true
		}
	})
	return delivered
}

// deliver sends a stanza to this session's client.
func (x *session) deliver(el *wire.Element) {
	if el.Name == "message" {
		x.sim.figures.add("messages.delivered", 1)
	}
	x.send(el.Append(nil, wire.NSClient))
}

// deliverBare hands a message to an account: to the most available resources, all
// resources or the offline store, by its type (RFC 6121 §8.5.2).
func (s *Simulator) deliverBare(el *wire.Element, bare string) {
	m := s.member(bare)
	if m.population != nil && !m.exists() {
		s.figures.add("messages.absorbed", 1)
		return
	}
	refused := ""
	known := s.use(bare, func(a *account) {
		best := int8(-1)
		for _, o := range a.sessions {
			if o.available() {
				best = max(best, o.priority)
			}
		}
		least := best
		switch el.Attr("type") {
		case "groupchat":
			refused = "service-unavailable"
			return
		case "error":
			return
		case "headline":
			least = 0
		default:
			if best < 0 {
				if !s.store(a, el) {
					refused = "service-unavailable"
				}
				return
			}
		}
		for _, o := range a.sessions {
			if o.available() && o.priority >= max(0, least) {
				o.deliver(el)
			}
		}
	})
	if !known {
		refused = "service-unavailable"
	}
	if refused != "" {
		s.reject(el, refused)
	}
}

// store keeps a message until its receiver becomes available (RFC 6121 §8.5.2.2.1,
// XEP-0160). It reports false if there is no room. The account is locked.
func (s *Simulator) store(a *account, el *wire.Element) bool {
	if el.Child(wire.NSHints, "no-store") != nil {
		return true
	}
	if len(a.offline) >= s.config.OfflineMessages {
		s.figures.add("offline.refused", 1)
		return false
	}
	s.figures.add("offline.stored", 1)
	a.offline = append(a.offline, stamped(el, a.jid).Append(nil, wire.NSClient))
	return true
}

// stamped returns a message that says when it should have been delivered, if it
// does not say so already (XEP-0203).
func stamped(el *wire.Element, bare string) *wire.Element {
	if el.Child(wire.NSDelay, "delay") != nil {
		return el
	}
	_, domain, _ := strings.Cut(bare, "@")
	delayed := *el
	delayed.Nodes = append(el.Nodes[:len(el.Nodes):len(el.Nodes)], wire.Node{Element: &wire.Element{
		Space: wire.NSDelay, Name: "delay",
		Attrs: []wire.Attribute{{Name: "from", Value: domain}, {Name: "stamp", Value: stamp(time.Now())}},
	}})
	return &delayed
}

// stamp writes a time as XEP-0082 wants it.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05Z") }

// reject returns a stanza to whoever sent it, unless it is an error itself.
func (s *Simulator) reject(el *wire.Element, condition string) {
	switch el.Attr("type") {
	case "error", "result":
		return
	}
	from, ok := parseAddress(el.Attr("from"))
	if !ok {
		return
	}
	b := appendBounce(nil, el, el.Attr("from"), &wire.StanzaError{Type: "cancel", Condition: condition})
	s.peek(from.bare(), func(a *account) {
		if o := a.session(from.resource); o != nil {
			o.send(b)
		}
	})
}
