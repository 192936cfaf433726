package s2s

// pairExternal is federation as RFC 6120 and XEP-0178 have it: two one-way streams
// for each two domains, each secured with the certificate of its domain and
// authenticated by SASL EXTERNAL.
//
// On the wire: for each ordered pair of domains a connection, a TLS handshake with
// certificates of both domains, one SASL exchange and a restart. 2nm connections,
// handshakes and exchanges for n × m domains, and the private key of every
// customer's domain at its host. T + 2 round trips until a pair is ready, for every
// pair anew; the echo needs the stream of the other direction.
func pairExternal() Variant {
	return Variant{
		Name:    "pair-external",
		Spec:    "RFC 6120, XEP-0178",
		Summary: "two one-way streams for each two domains, SASL EXTERNAL",
		Layout:  func(Params) Layout { return EachPair },
		Needs:   func(Params) Needs { return EachDomain },
		Counts: func(p Params, m Mesh) Counts {
			n := 2 * m.Pairs
			return Counts{Persistent: n, Opened: n, Handshakes: n, SASL: n, Lookups: m.ActiveA + m.ActiveB, Keys: m.keys(EachDomain)}
		},
		Rounds: func(p Params) Rounds {
			ready := p.transport() + 2
			return Rounds{First: ready, FirstEcho: 2*ready + 1, Further: ready, FurtherEcho: 2*ready + 1}
		},
		unauth: UnauthClose,
		named:  true,
		offer:  offerExternal,
		begin: func(n *negotiation) error {
			if err := beginExternal(n); err != nil {
				return err
			}
			n.s.granted(Pair{n.s.local, n.s.remote})
			return nil
		},
		authenticated: func(s *Stream) error {
			s.accept(Pair{s.remote, s.local})
			return nil
		},
	}
}
