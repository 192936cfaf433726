package s2s

import (
	"errors"
	"fmt"
	"net"
)

// A Partner is another provider that a host knows by configuration, as zero
// handshake needs it.
type Partner struct {
	// Name is what its certificate names; Address is the host:port of its SRV
	// records. Domains are those it speaks for.
	Name    string   `json:"name"`
	Address string   `json:"address"`
	Domains []string `json:"domains"`
}

// zeroHandshake is XEP-0361: providers that know everything of each other
// beforehand open one connection and send stanzas, with no header, no features and
// no authority to prove.
//
// On the wire: TCP, TLS unless told otherwise, stanzas. One connection. One round
// trip until a pair is ready, two with TLS, none for a further pair: the floor that
// everything else is compared with. Who the peer is follows from its certificate, or
// from its address where there is none.
func zeroHandshake() Variant {
	return Variant{
		Name:     "zero-handshake",
		Spec:     "XEP-0361",
		Summary:  "one stream for all domains without any negotiation, between providers that know each other",
		Params:   []Param{zeroTLSParam()},
		Layout:   func(Params) Layout { return EachProviderBoth },
		Needs:    func(Params) Needs { return OwnOnly },
		headless: true,
		open:     true,
		unauth:   UnauthBounce,
		Counts: func(p Params, m Mesh) Counts {
			return Counts{Persistent: 1, Opened: 1, Handshakes: p.secured(1), Lookups: m.ActiveB}
		},
		Rounds: func(p Params) Rounds {
			ready := 1
			if p.TLS != TLSNone {
				ready = 2
			}
			return Rounds{First: ready, FirstEcho: ready + 1, Further: 0, FurtherEcho: 1}
		},
		begin: func(n *negotiation) error {
			s := n.s
			for _, p := range s.host.c.Partners {
				if p.Address == s.dialled.provider() {
					return s.confide(p)
				}
			}
			return &ProofError{Domain: s.remote, Reason: "unknown-partner", Err: fmt.Errorf("no provider at %s is configured", s.dialled.provider())}
		},
		admit: func(s *Stream) error {
			for _, p := range s.host.c.Partners {
				if p.Address != s.host.c.Address && s.is(p) {
					s.host.mu.Lock() // for Close
					s.remote = p.Name
					s.host.mu.Unlock()
					if err := s.confide(p); err != nil {
						return err
					}
					for _, d := range p.Domains {
						s.host.reachable(s, Pair{s.host.c.Domains[0], d})
					}
					return nil
				}
			}
			return streamError("not-authorized", "no provider is configured that this could be")
		},
	}
}

// is reports whether the peer is the partner: by certificate, or by address where
// there is no TLS (XEP-0361 §4).
func (s *Stream) is(p Partner) bool {
	if s.tls != nil {
		return s.trusted(p.Name)
	}
	host, _, err := net.SplitHostPort(p.Address)
	peer, _, peerErr := net.SplitHostPort(s.raw.RemoteAddr().String())
	return err == nil && peerErr == nil && host == peer
}

// confide admits everything between the hosted domains and those of a partner.
func (s *Stream) confide(p Partner) error {
	if s.tls != nil && !s.trusted(p.Name) {
		return &ProofError{Domain: p.Name, Reason: "name-mismatch", Err: errors.New("the peer's certificate is not that of the configured provider")}
	}
	knows := func(domain string) bool { return !s.host.hosts(domain) && s.host.names.knows(p.Name, domain) }
	s.mu.Lock()
	defer s.mu.Unlock()
	s.both = true
	s.out.from.covers, s.out.to.covers = s.host.hosts, knows
	s.in.from.covers, s.in.to.covers = knows, s.host.hosts
	return nil
}

func zeroTLSParam() Param {
	return Param{Name: "tls", Default: TLSDirect, Choices: []string{TLSDirect, TLSNone},
		Doc: "TLS from the first byte, or none: the peer is then known by its address."}
}
