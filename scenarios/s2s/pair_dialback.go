package s2s

// pairDialback is two one-way streams for each two domains whose authority is
// proved by dialback: the receiving end asks the provider that DNS names for the
// sender's domain whether a key is its own.
//
// On the wire: for each ordered pair of domains a connection, a db:result and a
// db:verify. With verify: reverse the question goes over the stream of the reverse
// pair, which stays: 2nm connections. With verify: separate it goes over a connection
// made for it: 4nm, of which 2nm stay. The host holds no customer's key, and proves
// with what DNS says, no more. T + 1 round trips and the way of the verification
// until a pair is ready.
func pairDialback() Variant {
	return Variant{
		Name:    "pair-dialback",
		Spec:    "RFC 6120, XEP-0220",
		Summary: "two one-way streams for each two domains, dialback",
		Params:  []Param{dialbackTLSParam(), verifyParam(), verifyTLSParam()},
		Layout:  func(Params) Layout { return EachPair },
		Needs:   func(Params) Needs { return OwnOnly },
		Counts: func(p Params, m Mesh) Counts {
			n := 2 * m.Pairs
			c := Counts{Persistent: n, Opened: n, Handshakes: p.secured(n), Results: n, Verifies: n, Lookups: m.ActiveA + m.ActiveB}
			if p.Verify == VerifySeparate {
				c.Opened += n
				if p.VerifyTLS {
					c.Handshakes += p.secured(n)
				}
			}
			return c
		},
		Rounds: func(p Params) Rounds {
			ready := p.transport() + 1 + p.verification()
			echo := ready + 1 // the reverse pair was asked for beside the verification
			if p.Verify == VerifySeparate {
				echo = 2*ready + 1
			}
			return Rounds{First: ready, FirstEcho: echo, Further: ready, FurtherEcho: echo}
		},
		unauth: UnauthClose,
		open:   true,
		offer:  offerDialback,
		prove:  proveByDialback,
		judge:  judgeByDialback,
	}
}

// judgeByDialback verifies every key.
func judgeByDialback(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
	if s.host.c.Params.Verify == VerifySeparate {
		verifySeparate(s, r, answer, connectOptions{plain: !s.host.c.Params.VerifyTLS})
		return
	}
	verifyReverse(s, r, answer)
}

// verification is the number of round trips to verify a key with a provider that
// there is no stream to.
func (p Params) verification() int {
	if p.Verify == VerifySeparate && !p.VerifyTLS {
		p.TLS = TLSNone
	}
	return p.transport() + 1
}

func dialbackTLSParam() Param {
	return Param{Name: "tls", Default: TLSStart, Choices: []string{TLSStart, TLSDirect, TLSNone},
		Doc: "How streams between servers are encrypted: STARTTLS (RFC 6120 §5), direct TLS (XEP-0368) or not at all."}
}

func verifyParam() Param {
	return Param{Name: "verify", Default: VerifyReverse, Choices: []string{VerifyReverse, VerifySeparate},
		Doc: "Where dialback keys are verified: on the stream of the reverse direction, or on a connection made for it and closed afterwards."}
}

func verifyTLSParam() Param {
	return Param{Name: "verify-tls", Default: true,
		Doc: "TLS on connections that do nothing but verify dialback keys."}
}
