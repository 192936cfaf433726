package s2s

import (
	"context"
	"errors"

	"github.com/xmppbench/xmppbench/internal/resolve"
)

// sharedDANE is one stream for both directions between two providers with
// certificates of their own, on which domains are added by dialback requests and
// proved by DNSSEC: a secure SRV record leads to the provider, whose TLSA record says
// which certificate is found there (RFC 7673, RFC 7712).
//
// On the wire: for each pair a db:result; for each domain an SRV look-up, for each
// provider its addresses and one TLSA look-up. K connections, no customer's key, no
// third party but the DNS. That a connection which a peer has opened is held against
// the TLSA record of the sender's domain is this project's: no RFC says how.
func sharedDANE() Variant {
	return Variant{
		Name:    "shared-dane",
		Spec:    "RFC 7673, RFC 7712, XEP-0220, XEP-0288; inbound experimental",
		Summary: "one stream for all domains, proved by DNSSEC and TLSA records",
		Params: []Param{
			poolParam(),
			{Name: "usage", Default: UsageDANE, Choices: []string{UsageDANE, UsagePKIX},
				Doc: "What TLSA records say: that the certificate is right (DANE-EE), or that it is besides being valid for a name (PKIX-EE)."},
		},
		Layout: func(Params) Layout { return EachProviderBoth },
		Needs:  func(Params) Needs { return OwnOnly },
		Asks:   func(Params) ThirdParty { return SecureDNS },
		Counts: func(p Params, m Mesh) Counts {
			c := sharedCounts(p, m, OwnOnly)
			c.Lookups = m.ActiveA + m.ActiveB
			c.TLSA = 2
			return c
		},
		Rounds: func(p Params) Rounds {
			// SRV, address and TLSA; for further domains of the same provider SRV alone.
			r := p.shortcut(3, 3)
			further := p.shortcut(1, 1)
			r.Further, r.FurtherEcho = further.Further, further.FurtherEcho
			return r
		},
		unauth: UnauthBounce,
		open:   true,
		offer:  offerDialback,
		before: func(ctx context.Context, h *Host, _ string, t *target) error {
			if !t.secure {
				return nil // then nothing that TLSA says counts (RFC 7673 §3.2)
			}
			_, err := h.associations(ctx, t.service)
			return err
		},
		prove: func(s *Stream, p Pair, done func(Proved, error)) {
			s.onceProved(p.To, s.proveDANE(p.To), func(err error) {
				if err != nil {
					done(Proved{}, err)
					return
				}
				proveByDialback(s, p, done)
			})
		},
		judge: func(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
			s.onceProved(r.pair.From, s.proveDANE(r.pair.From), func(err error) { answer(verdictOn(err)) })
		},
	}
}

// proveDANE returns what holds the peer's certificate against the TLSA records of
// the provider that a domain's SRV record leads to. Without a secure answer ordinary
// PKIX decides (RFC 7673 §4).
func (s *Stream) proveDANE(domain string) func(done func(error)) {
	return func(done func(error)) {
		s.host.resolve(domain, func(t *target, err error) {
			if err != nil {
				done(&ProofError{Domain: domain, Reason: "unproved", Err: err})
				return
			}
			s.proveBlocking(domain, func(ctx context.Context) error { return s.matchTLSA(ctx, domain, t) })(done)
		})
	}
}

func (s *Stream) matchTLSA(ctx context.Context, domain string, t *target) error {
	if s.certificate() == nil {
		return errors.New("s2s: the peer presented no certificate")
	}
	if !t.secure {
		return s.matchName(domain)
	}
	answer, err := s.host.associations(ctx, t.service)
	if err != nil {
		return err
	}
	if !answer.Secure {
		return s.matchName(domain)
	}
	m := MatchTLSA(answer.Records, s.tls.PeerCertificates, DANEOptions{
		Names: []string{domain, t.service.Host}, Roots: s.host.id.roots, Now: s.host.now(), RequireClientAuth: s.host.c.Credentials.ClientAuth,
	})
	switch {
	case m.Usable == 0:
		return s.matchName(domain)
	case !m.Matched:
		return m.Err
	}
	return nil
}

// matchName is ordinary PKIX for a domain.
func (s *Stream) matchName(domain string) error {
	if !s.trusted(domain) {
		return untrusted(s, domain)
	}
	return nil
}

// associations returns the TLSA records of a target, counting those that were not
// asked for before. The resolver keeps what is true for a while.
func (h *Host) associations(ctx context.Context, service resolve.Target) (resolve.TLSAAnswer, error) {
	h.mu.Lock()
	if !h.tlsa[service] {
		h.tlsa[service] = true
		h.tally.add(FigureLookupsTLSA, 1)
	}
	h.mu.Unlock()
	return h.c.Resolver.TLSA(ctx, service.Port, service.Host)
}
