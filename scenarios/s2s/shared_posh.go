package s2s

import (
	"context"
	"errors"
)

// sharedPOSH is one stream for both directions between two providers with
// certificates of their own, on which domains are added by dialback requests and
// proved by what their owners publish over HTTPS: the fingerprint of the provider's
// certificate (RFC 7711, RFC 7712).
//
// On the wire: for each pair a db:result, and for each domain, once, a document from
// its web server: n + m fetches from third parties, of three round trips each, kept as
// long as the documents say. K connections, no customer's key. The initiating end
// fetches for the target before it connects, the receiving end for the sender's
// domain when it is asserted.
func sharedPOSH() Variant {
	return Variant{
		Name:    "shared-posh",
		Spec:    "RFC 7711, RFC 7712, XEP-0220, XEP-0288",
		Summary: "one stream for all domains, proved by what each publishes over HTTPS",
		Params: []Param{
			poolParam(),
			{Name: "overlap", Default: false,
				Doc: "Fetch the target's document beside the set-up of the connection, against a SHOULD of RFC 7711 §5."},
		},
		Layout: func(Params) Layout { return EachProviderBoth },
		Needs:  func(Params) Needs { return OwnOnly },
		Asks:   func(Params) ThirdParty { return WebServers },
		Counts: func(p Params, m Mesh) Counts {
			c := sharedCounts(p, m, OwnOnly)
			c.Fetches = m.ActiveA + m.ActiveB
			return c
		},
		Rounds: func(p Params) Rounds {
			// TCP, TLS and HTTP.
			const fetch = 3
			r := p.shortcut(fetch, fetch)
			if p.Overlap {
				r.First -= fetch
				r.FirstEcho -= fetch
			}
			return r
		},
		unauth: UnauthBounce,
		open:   true,
		offer:  offerDialback,
		prepare: func(h *Host) error {
			if h.c.POSH == nil {
				return errors.New("s2s: shared-posh needs somebody to fetch documents: set Config.POSH")
			}
			return nil
		},
		before: func(ctx context.Context, h *Host, domain string, _ *target) error {
			if h.c.Params.Overlap {
				// Whoever needs the document waits for this fetch; its error comes again.
				h.spawn(func() { _, _ = h.c.POSH.Fetch(h.ctx, domain) })
				return nil
			}
			_, err := h.c.POSH.Fetch(ctx, domain)
			return err
		},
		prove: func(s *Stream, p Pair, done func(Proved, error)) {
			s.onceProved(p.To, s.provePOSH(p.To), func(err error) {
				if err != nil {
					done(Proved{}, err)
					return
				}
				proveByDialback(s, p, done)
			})
		},
		judge: func(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
			s.onceProved(r.pair.From, s.provePOSH(r.pair.From), func(err error) { answer(verdictOn(err)) })
		},
	}
}

// provePOSH returns what holds the peer's certificate against a domain's document.
func (s *Stream) provePOSH(domain string) func(done func(error)) {
	return s.proveBlocking(domain, func(ctx context.Context) error {
		if s.certificate() == nil {
			return &ProofError{Domain: domain, Reason: "no-certificate"}
		}
		m, err := s.host.c.POSH.Fetch(ctx, domain)
		if err != nil {
			return err
		}
		return MatchPOSH(m, s.certificate(), s.host.now())
	})
}

// proveBlocking runs a proof that takes its time on a goroutine of its own.
func (s *Stream) proveBlocking(domain string, prove func(context.Context) error) func(done func(error)) {
	return func(done func(error)) {
		started := s.host.spawn(func() {
			ctx, cancel := context.WithTimeout(s.host.ctx, s.host.c.Setup)
			defer cancel()
			if err := prove(ctx); err != nil {
				done(&ProofError{Domain: domain, Reason: "unproved", Err: err})
				return
			}
			done(nil)
		})
		if !started {
			done(ErrClosed)
		}
	}
}
