package simulator

import (
	"maps"
	"slices"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// standing is how an account stands to one contact: the state of RFC 6121
// appendix A in its four parts, and pre-approval.
type standing struct {
	to, from bool // subscribed to the contact; the contact is subscribed
	out, in  bool // pending requests
	approved bool // pre-approved (RFC 6121 §3.4)
}

// An effect is what a subscription stanza causes beyond the change of state.
type effect struct {
	route   bool // outbound: to the contact; inbound: to the user's clients
	reply   string
	share   bool // send the contact our presence
	unshare bool // send the contact that we are unavailable
}

// outbound is what a subscription stanza that the user sends means (RFC 6121 §A.2).
func (s standing) outbound(typ string) (standing, effect) {
	var e effect
	switch typ {
	case "subscribe":
		e.route = true
		s.out = s.out || !s.to
	case "unsubscribe":
		e.route = true
		s.to, s.out = false, false
	case "subscribed":
		switch {
		case s.in:
			e.route, e.share = true, true
			s.in, s.from = false, true
		case !s.from:
			s.approved = true
		}
	case "unsubscribed":
		e.route = s.in || s.from
		e.unshare = s.from
		s.in, s.from, s.approved = false, false, false
	}
	return s, e
}

// inbound is what a subscription stanza from a contact means (RFC 6121 §A.3).
func (s standing) inbound(typ string) (standing, effect) {
	var e effect
	switch typ {
	case "subscribe":
		switch {
		case s.from:
			e.reply = "subscribed"
		case s.approved:
			e.reply, e.share = "subscribed", true
			s.from, s.approved = true, false
		case !s.in:
			e.route = true
			s.in = true
		}
	case "unsubscribe":
		e.route = s.in || s.from
		e.unshare = s.from
		s.in, s.from = false, false
	case "subscribed":
		e.route = s.out
		s.to = s.to || s.out
		s.out = false
	case "unsubscribed":
		e.route = s.out || s.to
		s.to, s.out = false, false
	}
	return s, e
}

// standing returns how the account stands to a contact, and its roster item. The
// account is locked.
func (a *account) standing(contact string) (st standing, item roster.Item, listed bool) {
	item, listed = a.store.Get(contact)
	st.to = listed && (item.Subscription == "to" || item.Subscription == "both")
	st.from = listed && (item.Subscription == "from" || item.Subscription == "both")
	st.out = listed && item.Ask
	_, st.in = a.requests[contact]
	st.approved = listed && item.Approved
	if !listed {
		item = roster.Item{JID: contact}
	}
	return st, item, listed
}

// settle writes a standing back: what the roster shows, and requests that were
// answered. It pushes what changed. It fails on a JID that no roster can hold. The
// account is locked.
func (a *account) settle(st standing, item roster.Item, listed bool) error {
	if !st.in {
		delete(a.requests, item.JID)
	}
	was := item
	item.Subscription = "none"
	switch {
	case st.to && st.from:
		item.Subscription = "both"
	case st.to:
		item.Subscription = "to"
	case st.from:
		item.Subscription = "from"
	}
	item.Ask, item.Approved = st.out, st.approved
	visible := st.to || st.from || st.out || st.approved
	if !listed && !visible {
		return nil
	}
	if listed && was.Subscription == item.Subscription && was.Ask == item.Ask && was.Approved == item.Approved {
		return nil
	}
	return a.put(item)
}

// put writes an item and pushes it. The account is locked.
func (a *account) put(item roster.Item) error {
	entry, err := a.store.Put(item)
	if err != nil {
		return err
	}
	a.push(entry)
	return nil
}

// push tells the interested sessions of a change (RFC 6121 §2.1.6).
func (a *account) push(entry roster.Entry) {
	for _, x := range a.sessions {
		if x.roster == nil {
			continue
		}
		if err := x.roster.Changed(entry); err != nil {
			x.Abort(wire.StreamError{Condition: wire.PolicyViolation, Text: "a change of the roster could not be told"})
		}
	}
}

// online returns the presence of the available sessions, by full JID. The account is locked.
func (a *account) online() map[string][]byte {
	m := map[string][]byte{}
	for _, x := range a.sessions {
		if x.available() {
			m[x.full()] = x.presence
		}
	}
	return m
}

// subscribe acts on a subscription stanza of the user's client.
func (s *Simulator) subscribe(x *session, typ string, el *wire.Element, contact string) {
	user := x.account.jid
	if contact == user {
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "not-allowed", Text: "this is your own account"})
		return
	}
	setAttr(el, "from", user)
	setAttr(el, "to", contact)
	var e effect
	var online map[string][]byte
	var err error
	s.use(user, func(a *account) {
		st, item, listed := a.standing(contact)
		st, e = st.outbound(typ)
		err = a.settle(st, item, listed)
		online = a.online()
	})
	if err != nil {
		x.send(appendBounce(nil, el, x.full(), &wire.StanzaError{Type: "modify", Condition: "not-acceptable", Text: err.Error()}))
		return
	}
	if e.unshare {
		s.unshare(online, user, contact)
	}
	if e.route && !s.transfer(typ, el, user, contact) {
		back := appendBounce(nil, el, x.full(), &wire.StanzaError{Type: "cancel", Condition: "remote-server-not-found"})
		x.send(back)
	}
	if e.share {
		for _, from := range slices.Sorted(maps.Keys(online)) {
			s.presentTo(contact, user, from, online[from], false)
		}
	}
}

// transfer hands a subscription stanza to the contact's server. It reports false
// if there is none.
func (s *Simulator) transfer(typ string, el *wire.Element, user, contact string) bool {
	a, ok := parseAddress(contact)
	m := s.member(contact)
	switch {
	case m.exists():
		s.receive(typ, el, user, contact)
	case m.population != nil: // a contact that nobody answers for
	case !ok || !s.domains[a.domain]:
		return false
	case typ == "subscribe": // no such account (RFC 6121 §8.5.1)
		s.notify(user, "unsubscribed", contact)
	}
	return true
}

// notify lets an account receive a subscription stanza that a server made.
func (s *Simulator) notify(user, typ, contact string) {
	s.receive(typ, &wire.Element{Space: wire.NSClient, Name: "presence", Attrs: []wire.Attribute{
		{Name: "type", Value: typ}, {Name: "from", Value: contact}, {Name: "to", Value: user},
	}}, contact, user)
}

// receive acts on a subscription stanza that arrived for an account.
func (s *Simulator) receive(typ string, el *wire.Element, sender, user string) {
	var e effect
	var online map[string][]byte
	s.use(user, func(a *account) {
		st, item, listed := a.standing(sender)
		st, e = st.inbound(typ)
		b := el.Append(nil, wire.NSClient)
		if st.in && e.route {
			if a.requests == nil {
				a.requests = map[string][]byte{}
			}
			if len(a.requests) >= maxRequests {
				e = effect{}
				return
			}
			a.requests[sender] = b
		}
		if e.route {
			// Subscription stanzas come before the push that they cause (§3.1.6).
			for _, x := range a.sessions {
				interested := typ != "subscribe" && x.roster != nil && x.roster.Interested()
				if x.available() || interested {
					x.present(sender+" "+typ, b)
				}
			}
		}
		if err := a.settle(st, item, listed); err != nil {
			e = effect{} // as if it had not come
			return
		}
		online = a.online()
	})
	if e.unshare {
		s.unshare(online, user, sender)
	}
	if e.reply != "" {
		s.notify(sender, e.reply, user)
	}
	if e.share {
		for _, from := range slices.Sorted(maps.Keys(online)) {
			s.presentTo(sender, user, from, online[from], false)
		}
	}
}

// maxRequests bounds the subscription requests that an account has pending.
const maxRequests = 10000

// unshare tells a contact that the user's resources are unavailable, as far as the
// contact can know from now on.
func (s *Simulator) unshare(online map[string][]byte, user, contact string) {
	for _, from := range slices.Sorted(maps.Keys(online)) {
		b := append(wire.AppendAttr([]byte("<presence"), "from", from), " type='unavailable'/>"...)
		s.presentTo(contact, user, from, b, true)
	}
}

// Bounds of roster items (RFC 6121 §2.3.3), in bytes.
const (
	maxName   = 1023
	maxGroup  = 1023
	maxGroups = 100
)

// setRoster acts on a roster set (RFC 6121 §2.3 to §2.5).
func (x *session) setRoster(el *wire.Element) {
	item, remove, refused := readItem(first(el))
	if refused != nil {
		x.bounce(el, refused)
		return
	}
	var st standing
	var online map[string][]byte
	x.sim.use(x.account.jid, func(a *account) {
		held, listed := a.store.Get(item.JID)
		if !remove {
			item.Subscription, item.Ask, item.Approved = "none", false, false
			if listed {
				item.Subscription, item.Ask, item.Approved = held.Subscription, held.Ask, held.Approved
			}
			if err := a.put(item); err != nil {
				refused = &wire.StanzaError{Type: "modify", Condition: "not-acceptable", Text: err.Error()}
				return
			}
			x.answer(el, "")
			return
		}
		if !listed {
			refused = &wire.StanzaError{Type: "cancel", Condition: "item-not-found"}
			return
		}
		st, _, _ = a.standing(item.JID)
		delete(a.requests, item.JID)
		if entry, ok := a.store.Remove(item.JID); ok {
			a.push(entry)
		}
		x.answer(el, "")
		online = a.online()
	})
	if refused != nil {
		x.bounce(el, refused)
		return
	}
	if !remove {
		return
	}
	// Removing an item ends the subscriptions of both directions (§2.5.2).
	user := x.account.jid
	if st.from {
		x.sim.unshare(online, user, item.JID)
	}
	for _, typ := range []string{"unsubscribe", "unsubscribed"} {
		if (typ == "unsubscribe" && (st.to || st.out)) || (typ == "unsubscribed" && (st.from || st.in)) {
			x.sim.transfer(typ, &wire.Element{Space: wire.NSClient, Name: "presence", Attrs: []wire.Attribute{
				{Name: "type", Value: typ}, {Name: "from", Value: user}, {Name: "to", Value: item.JID},
			}}, user, item.JID)
		}
	}
}

// readItem reads the one item of a roster set.
func readItem(query *wire.Element) (item roster.Item, remove bool, refused *wire.StanzaError) {
	bad := func(condition, text string) (roster.Item, bool, *wire.StanzaError) {
		return roster.Item{}, false, &wire.StanzaError{Type: "modify", Condition: condition, Text: text}
	}
	if query.Name != "query" || children(query) != 1 {
		return bad("bad-request", "a roster set has exactly one item")
	}
	el := query.Child(wire.NSRoster, "item")
	raw, present := el.LookupAttr("", "jid")
	if !present {
		return bad("bad-request", "an item needs a jid")
	}
	a, ok := parseAddress(raw)
	if !ok {
		return bad("jid-malformed", "")
	}
	item = roster.Item{JID: a.String(), Name: el.Attr("name")}
	if len(item.Name) > maxName {
		return bad("not-acceptable", "the name is too long")
	}
	seen := map[string]bool{}
	for g := range el.Each(wire.NSRoster, "group") {
		name := g.Text()
		switch {
		case name == "":
			return bad("not-acceptable", "a group has no name")
		case len(name) > maxGroup:
			return bad("not-acceptable", "the name of a group is too long")
		case seen[name]:
			return bad("bad-request", "a group is named twice")
		case len(seen) == maxGroups:
			return bad("not-acceptable", "too many groups")
		}
		seen[name] = true
		item.Groups = append(item.Groups, name)
	}
	return item, el.Attr("subscription") == "remove", nil
}
