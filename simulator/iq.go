package simulator

import (
	"slices"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// routeIQ sends an iq on its way, or answers it (RFC 6120 §8.2.3, RFC 6121 §8.5).
func (x *session) routeIQ(el *wire.Element, to address, st *wire.Stanza) error {
	s := x.sim
	typ := el.Attr("type")
	request := typ == "get" || typ == "set"
	switch {
	case el.Attr("id") == "":
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "an iq needs an id"})
		return nil
	case !request && typ != "result" && typ != "error":
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "the type of an iq is get, set, result or error"})
		return nil
	case request && children(el) != 1:
		x.bounce(el, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "a request has exactly one child element"})
		return nil
	}
	own := to.domain == "" || (to.bare() == x.account.jid && to.resource == "")
	server := to.local == "" && to.domain != "" && s.domains[to.domain]
	switch {
	case !request && (own || server):
		if h, ok := x.expected(el.Attr("id")); ok {
			return h.Done(st)
		}
	case own:
		return x.serveAccount(el)
	case server:
		x.serveDomain(el)
	case !s.domains[to.domain] && !s.knows(to.bare()):
		x.bounce(el, &wire.StanzaError{Type: "cancel", Condition: "remote-server-not-found"})
	case to.resource == "":
		x.serveOther(el, to.bare())
	case !request || s.shares(to, x.account.jid):
		if !s.deliverFull(el, to) {
			x.bounce(el, unavailable())
		}
	default:
		x.bounce(el, unavailable())
	}
	return nil
}

func unavailable() *wire.StanzaError {
	return &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"}
}

func children(el *wire.Element) (n int) {
	for range el.Each("", "") {
		n++
	}
	return n
}

// shares reports whether the owner of a full JID lets a user know when it is
// online: otherwise requests do not get through (RFC 6121 §8.5.3.1).
func (s *Simulator) shares(to address, user string) (yes bool) {
	if to.bare() == user {
		return true
	}
	s.peek(to.bare(), func(a *account) {
		if item, ok := a.store.Get(user); ok && (item.Subscription == "from" || item.Subscription == "both") {
			yes = true
			return
		}
		if o := a.session(to.resource); o != nil {
			for target := range o.directed {
				if t, ok := parseAddress(target); ok && t.bare() == user {
					yes = true
					return
				}
			}
		}
	})
	return yes
}

// answer sends the result of a request.
func (x *session) answer(el *wire.Element, payload string) {
	x.send(wire.AppendIQ(nil, "result", el.Attr("id"), el.Attr("to"), x.full(), []byte(payload)))
}

// serveAccount answers what is for the user's own account.
func (x *session) serveAccount(el *wire.Element) error {
	child := first(el)
	var err error
	switch child.Space {
	case wire.NSRoster:
		if el.Attr("type") == "set" {
			x.setRoster(el)
			return nil
		}
	case wire.NSBind:
		x.bounce(el, &wire.StanzaError{Type: "cancel", Condition: "not-allowed", Text: "a resource is bound already"})
		return nil
	case wire.NSSession:
		x.answer(el, "")
		return nil
	case wire.NSPing:
		x.answer(el, "")
		return nil
	case wire.NSDiscoInfo:
		if child.Attr("node") == "" {
			x.answer(el, x.sim.accountInfo())
			return nil
		}
	case wire.NSDiscoItems:
		x.answer(el, "<query xmlns='"+wire.NSDiscoItems+"'/>")
		return nil
	}
	handled := false
	x.sim.peek(x.account.jid, func(*account) { handled, err = x.rosterServer().ServeIQ(el) })
	if !handled && err == nil {
		x.bounce(el, unavailable())
	}
	return err
}

// rosterServer returns the session's half of the roster protocols. The account is locked.
func (x *session) rosterServer() *roster.Server {
	if x.roster == nil {
		offer := x.sim.offer.Load()
		x.roster = roster.NewServer(roster.SessionConfig{
			Settings: offer.settings,
			Offered:  offer.variants,
			Stream:   x,
			Account:  x.account.jid,
			Full:     x.full(),
			Store:    x.account.store,
			Lock:     &x.account.mu,
			Count:    x.sim.figures.add,
		})
	}
	return x.roster
}

// serveDomain answers what is for a domain.
func (x *session) serveDomain(el *wire.Element) {
	child := first(el)
	if el.Attr("type") == "get" && child.Attr("node") == "" {
		switch child.Space {
		case wire.NSPing:
			x.answer(el, "")
			return
		case wire.NSDiscoInfo:
			x.answer(el, domainInfo())
			return
		case wire.NSDiscoItems:
			x.answer(el, "<query xmlns='"+wire.NSDiscoItems+"'/>")
			return
		case wire.NSVersion:
			x.answer(el, "<query xmlns='"+wire.NSVersion+"'><name>xmppbench simulator</name><version>0</version></query>")
			return
		}
	}
	if el.Attr("type") == "set" && child.Space == wire.NSSession {
		x.answer(el, "")
		return
	}
	x.bounce(el, unavailable())
}

// serveOther answers, on behalf of another user, what is for that user's account.
// Who may not know whether the user is online is not told whether the user exists.
func (x *session) serveOther(el *wire.Element, bare string) {
	child := first(el)
	typ := el.Attr("type")
	if typ != "get" && typ != "set" {
		return
	}
	switch {
	case child.Space == wire.NSRoster:
		x.bounce(el, &wire.StanzaError{Type: "auth", Condition: "forbidden"})
	case typ == "get" && child.Space == wire.NSPing && x.sim.sharesBare(bare, x.account.jid):
		x.answer(el, "")
	case typ == "get" && child.Space == wire.NSDiscoInfo && child.Attr("node") == "" && x.sim.sharesBare(bare, x.account.jid):
		x.answer(el, x.sim.accountInfo())
	default:
		x.bounce(el, unavailable())
	}
}

// sharesBare is shares for a whole account.
func (s *Simulator) sharesBare(bare, user string) (yes bool) {
	s.use(bare, func(a *account) {
		item, ok := a.store.Get(user)
		yes = ok && (item.Subscription == "from" || item.Subscription == "both")
	})
	return yes
}

func first(el *wire.Element) *wire.Element { return el.Child("", "") }

// domainInfo describes a domain (XEP-0030).
func domainInfo() string {
	b := "<query xmlns='" + wire.NSDiscoInfo + "'><identity category='server' type='im' name='xmppbench simulator'/>"
	for _, f := range []string{wire.NSDiscoInfo, wire.NSDiscoItems, wire.NSPing, wire.NSRoster, wire.NSVersion, "msgoffline"} {
		b += "<feature var='" + f + "'/>"
	}
	return b + "</query>"
}

// accountInfo describes an account.
func (s *Simulator) accountInfo() string {
	b := "<query xmlns='" + wire.NSDiscoInfo + "'><identity category='account' type='registered'/>"
	features := []string{wire.NSDiscoInfo, wire.NSDiscoItems, wire.NSPing, wire.NSRoster}
	settings := s.offer.Load().settings
	if len(settings.Variants) == 0 || slices.ContainsFunc(settings.Variants, func(v string) bool { return v == "chunked-push" || v == "chunked-pull" }) {
		features = append(features, wire.NSRosterX, wire.NSChunk)
	}
	for _, f := range features {
		b += "<feature var='" + f + "'/>"
	}
	return b + "</query>"
}
