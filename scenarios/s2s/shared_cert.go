package s2s

import (
	"crypto/tls"
	"errors"
)

// sharedCert is one stream for both directions, or one each way, between two
// providers whose certificates name all of their domains: dialback requests are
// answered by a look at the certificate (XEP-0344 "dialback without dialback").
//
// On the wire: for each pair a db:result, answered at once. K connections, or 2K. One
// private key that speaks for every customer. T + 1 round trips for the first pair,
// one for each further one.
func sharedCert() Variant {
	return Variant{
		Name:    "shared-cert",
		Spec:    "XEP-0344, XEP-0220",
		Summary: "streams shared by all domains, dialback answered by the certificate that names them",
		Params:  []Param{streamsParam(StreamsOne), poolParam(), granularityParam()},
		Layout:  layoutOfStreams,
		Needs:   func(Params) Needs { return OneForAll },
		Counts: func(p Params, m Mesh) Counts {
			return sharedCounts(p, m, OneForAll)
		},
		Rounds: func(p Params) Rounds { return p.shortcut(0, 0) },
		unauth: UnauthBounce,
		named:  true,
		offer:  offerDialback,
		prove: func(s *Stream, p Pair, done func(Proved, error)) {
			if !s.trusted(p.To) {
				done(Proved{}, untrusted(s, p.To))
				return
			}
			proveByDialback(s, p, done)
		},
		judge: func(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
			// The certificate is looked at now, not when the stream was set up.
			if c := s.certificate(); !s.trusted(r.pair.From) || s.host.now().After(c.NotAfter) {
				answer(refused("not-authorized"))
				return
			}
			answer(valid())
		},
	}
}

// untrusted says why a domain is not proved by the peer's certificate.
func untrusted(s *Stream, domain string) error {
	if s.chainErr != nil {
		return &ProofError{Domain: domain, Reason: "untrusted", Err: s.chainErr}
	}
	return &ProofError{Domain: domain, Reason: "name-mismatch", Err: errors.New("the peer's certificate does not name it")}
}

// sharedCounts is the closed form of shared streams with a dialback request for
// each pair that needs no verification.
func sharedCounts(p Params, m Mesh, n Needs) Counts {
	c := Counts{Persistent: m.Slots, Opened: m.Slots, Handshakes: m.Slots, Results: m.Pairs, Lookups: m.ActiveB, Keys: m.keys(n)}
	if p.Streams == StreamsTwo {
		c.Persistent, c.Opened, c.Handshakes, c.Results = 2*m.Slots, 2*m.Slots, 2*m.Slots, 2*m.Pairs
		c.Lookups += m.ActiveA
	}
	return c.grain(p, m)
}

// shortcut is the closed form of round trips where dialback requests are answered
// once the peer has proved itself otherwise, which takes as many round trips before
// the first stream, and as many for each new domain after the request.
func (p Params) shortcut(before, after int) Rounds {
	ready := before + p.transport() + 1 + after
	r := Rounds{First: ready, FirstEcho: ready + 1, Further: 1 + before + after, FurtherEcho: 2 + before + after}
	if p.Streams == StreamsTwo {
		// The echo opens the stream of its direction.
		r.FirstEcho = 2*ready + 1
		r.FurtherEcho = 2*r.Further + 1
	}
	return r
}

// ownCertificate presents the provider's own certificate for every domain.
func ownCertificate(h *Host, _ string) *tls.Certificate { return h.id.own }
