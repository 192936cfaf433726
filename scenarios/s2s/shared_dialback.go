package s2s

// sharedDialback is one stream each way, or one for both directions, between two
// providers, on which every pair of domains is proved by a dialback request of its
// own (XEP-0220 §2.6).
//
// On the wire: for each pair a db:result on the stream that is there, and a
// db:verify. Two streams verify over each other; one for both directions needs a
// second connection for that, since a key must not be verified where it was sent
// (XEP-0288 §2.4), and keeps it. 2K connections or K + 1 in place of 2nm. The first
// pair takes T + 1 round trips and the way of the verification, each further one two.
func sharedDialback() Variant {
	return Variant{
		Name:    "shared-dialback",
		Spec:    "XEP-0220, XEP-0288",
		Summary: "streams shared by all domains, a dialback request for each pair",
		Params:  []Param{dialbackTLSParam(), streamsParam(StreamsTwo), poolParam(), granularityParam()},
		Layout:  layoutOfStreams,
		Needs:   func(Params) Needs { return OwnOnly },
		Counts: func(p Params, m Mesh) Counts {
			if p.Streams == StreamsOne {
				n := m.Slots
				return Counts{Persistent: n + 1, Opened: n + 1, Handshakes: p.secured(n + 1), Results: m.Pairs, Verifies: m.Pairs, Lookups: m.ActiveA + m.ActiveB}.grain(p, m)
			}
			n := 2 * m.Slots
			return Counts{Persistent: n, Opened: n, Handshakes: p.secured(n), Results: 2 * m.Pairs, Verifies: 2 * m.Pairs, Lookups: m.ActiveA + m.ActiveB}.grain(p, m)
		},
		Rounds: func(p Params) Rounds {
			ready := p.transport() + 1 + p.transport() + 1
			return Rounds{First: ready, FirstEcho: ready + 1, Further: 2, FurtherEcho: 3}
		},
		unauth: UnauthBounce,
		open:   true,
		offer:  offerDialback,
		prove:  proveByDialback,
		judge: func(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
			if s.host.c.Params.Streams == StreamsOne {
				verifyKept(s, r, answer)
				return
			}
			verifyReverse(s, r, answer)
		},
	}
}

// layoutOfStreams is the layout of variants with the setting streams.
func layoutOfStreams(p Params) Layout {
	if p.Streams == StreamsOne {
		return EachProviderBoth
	}
	return EachProvider
}

// grain replaces requests for pairs by requests for domains where authority is that
// of domains.
func (c Counts) grain(p Params, m Mesh) Counts {
	if p.Granularity != GrainDomain {
		return c
	}
	requests := m.ActiveA
	if p.Streams != StreamsOne {
		requests += m.ActiveB
	}
	c.Results = requests
	if c.Verifies > 0 {
		c.Verifies = requests
	}
	return c
}
