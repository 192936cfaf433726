package s2s

import "github.com/xmppbench/xmppbench/internal/wire"

// sharedMux is one stream for both directions between two providers whose
// certificates name all of their domains: one SASL EXTERNAL, and everything that the
// certificates name is proved by it.
//
// On the wire: <mux/> in the features after TLS, and in the initiator's answer before
// SASL, as the proposal "Stanza Multiplexing" of 2020 has it. K connections,
// handshakes and exchanges, none for each domain: the least that sharing with PKIX can
// cost. T + 2 round trips, none for a further pair.
func sharedMux() Variant {
	return Variant{
		Name:    "shared-mux",
		Spec:    "ProtoXEP Stanza Multiplexing (2020), XEP-0178, XEP-0288",
		Summary: "one stream for all domains, one SASL EXTERNAL, all names of the certificates valid",
		Params:  []Param{poolParam()},
		Layout:  func(Params) Layout { return EachProviderBoth },
		Needs:   func(Params) Needs { return OneForAll },
		Counts: func(p Params, m Mesh) Counts {
			return Counts{Persistent: m.Slots, Opened: m.Slots, Handshakes: m.Slots, SASL: m.Slots, Lookups: m.ActiveB, Keys: m.keys(OneForAll)}
		},
		Rounds: func(p Params) Rounds {
			ready := p.transport() + 2
			return Rounds{First: ready, FirstEcho: ready + 1, Further: 0, FurtherEcho: 1}
		},
		unauth: UnauthBounce,
		named:  true,
		offer: func(s *Stream, dst []byte) []byte {
			if !s.trusted(s.remote) {
				return dst
			}
			dst = offerExternal(s, dst)
			return append(dst, "<mux xmlns='"+nsMux+"'/>"...)
		},
		begin: func(n *negotiation) error {
			s := n.s
			if s.peer.element.Child(nsMux, "mux") == nil || !s.both {
				return &UnspokenError{Peer: s.remote, Missing: "stanza multiplexing on streams in both directions"}
			}
			if err := n.send([]byte("<mux xmlns='" + nsMux + "'/>")); err != nil {
				return err
			}
			if err := beginExternal(n); err != nil {
				return err
			}
			return s.multiplex()
		},
		control: func(s *Stream, el *wire.Element) (bool, error) {
			if el.Space != nsMux || el.Name != "mux" {
				return false, nil
			}
			s.muxed = true
			return true, nil
		},
		authenticated: func(s *Stream) error {
			if !s.muxed {
				s.accept(Pair{s.remote, s.local})
				return nil
			}
			if err := s.multiplex(); err != nil {
				return err
			}
			for _, name := range s.certificate().DNSNames {
				s.host.reachable(s, Pair{s.local, name})
			}
			return nil
		},
	}
}

// multiplex admits everything that the certificates of both ends name.
func (s *Stream) multiplex() error {
	h := s.host
	// Every stanza asks, of certificates that may have thousands of names.
	own, err := NewIdentities(s.secured)
	if err != nil {
		return err
	}
	peer, err := NewIdentities(s.certificate())
	if err != nil {
		return err
	}
	mine := func(domain string) bool { return h.hosts(domain) && own.Covers(domain) }
	theirs := func(domain string) bool { return !h.hosts(domain) && peer.Covers(domain) }
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.from.covers, s.out.to.covers = mine, theirs
	s.in.from.covers, s.in.to.covers = theirs, mine
	return nil
}
