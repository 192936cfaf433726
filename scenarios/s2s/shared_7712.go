package s2s

// shared7712 is one stream each way between two providers, on which domains are
// added as RFC 7712 §4.4 says to the letter: asserted by a dialback request, and
// proved, where the certificate of the stream does not name them, over a second
// connection on which the domain's own certificate is presented.
//
// On the wire: a db:result for each pair; for each asserted domain a temporary
// connection with a db:verify. 2K + n + m connections, of which 2K stay. The key of
// every customer's domain is held where its SRV record points. The first pair and
// each new sender's domain take T + 1 round trips more than an assertion; a domain
// proved before takes one.
func shared7712() Variant {
	return Variant{
		Name:    "shared-7712",
		Spec:    "RFC 7712 §4.4",
		Summary: "streams shared by all domains, each asserted domain proved on a connection of its own",
		Params:  []Param{poolParam()},
		Layout:  func(Params) Layout { return EachProvider },
		Needs:   func(Params) Needs { return EachDomain },
		Counts: func(p Params, m Mesh) Counts {
			asserted := m.ProvedA + m.ProvedB // on each stream anew
			return Counts{
				Persistent: 2 * m.Slots, Opened: 2*m.Slots + asserted, Handshakes: 2*m.Slots + asserted,
				Results: 2 * m.Pairs, Verifies: asserted, Lookups: m.ActiveA + m.ActiveB, Keys: m.keys(EachDomain),
			}
		},
		Rounds: func(p Params) Rounds {
			proof := p.transport() + 1
			ready := p.transport() + 1 + proof
			return Rounds{First: ready, FirstEcho: 2*ready + 1, Further: 1 + proof, FurtherEcho: 2*(1+proof) + 1}
		},
		unauth: UnauthBounce,
		open:   true,
		client: ownCertificate,
		offer:  offerDialback,
		prove:  proveByDialback,
		judge: func(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
			s.onceProved(r.pair.From, func(done func(error)) {
				verifySeparate(s, r, func(v dialbackVerdict) {
					if v.typ == "valid" {
						done(nil)
						return
					}
					done(&ProofError{Domain: r.pair.From, Reason: v.typ})
				}, connectOptions{certify: true})
			}, func(err error) { answer(verdictOn(err)) })
		},
	}
}

// verdictOn is the verdict on a domain that could or could not be proved.
func verdictOn(err error) dialbackVerdict {
	switch {
	case err == nil:
		return valid()
	case isInvalid(err):
		return dialbackVerdict{typ: "invalid"}
	}
	return refused("not-authorized")
}
