package s2s

// pairBidi is pairExternal with XEP-0288: one stream for each two domains, used in
// both directions.
//
// On the wire: the initiating end adds <bidi/> before SASL; no answer comes. nm
// connections, handshakes and exchanges for n × m domains; both keys of a pair are
// used on one handshake. T + 2 round trips until a pair is ready, one more for the
// echo. Where both ends open a stream for a pair at once, that of the domain which
// sorts lower stays.
func pairBidi() Variant {
	v := pairExternal()
	v.Name = "pair-bidi"
	v.Spec = "RFC 6120, XEP-0178, XEP-0288"
	v.Summary = "one stream in both directions for each two domains, SASL EXTERNAL"
	v.Layout = func(Params) Layout { return EachPairBoth }
	v.Counts = func(p Params, m Mesh) Counts {
		n := m.Pairs
		return Counts{Persistent: n, Opened: n, Handshakes: n, SASL: n, Lookups: m.ActiveB, Keys: m.keys(EachDomain)}
	}
	v.Rounds = func(p Params) Rounds {
		ready := p.transport() + 2
		return Rounds{First: ready, FirstEcho: ready + 1, Further: ready, FurtherEcho: ready + 1}
	}
	begin := v.begin
	v.begin = func(n *negotiation) error {
		if !n.s.both {
			return &UnspokenError{Peer: n.s.remote, Missing: "streams in both directions (XEP-0288)"}
		}
		return begin(n)
	}
	return v
}
