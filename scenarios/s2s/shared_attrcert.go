package s2s

import (
	"errors"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// sharedAttrcert is one stream for both directions between two providers who present
// their own certificates, and on it an attribute certificate for each domain: the
// domain's owner has signed that the provider may speak for it. It is what the 2009
// Summit proposed as Domain Name Assertions, with batches, times, reasons and bindings.
//
// On the wire: <dac/> in the features after TLS, with the proof of the domain that the
// header is for. Each end asserts its own domains with <assert/>, and the other answers
// with a <verdict/> for each; an end that wants to send to a domain of the peer's asks
// for its proof with <challenge/>. K connections and handshakes; a proof for each domain
// that has traffic and each stream, whatever the number of pairs; no customer's key. T +
// 1 round trips for the first pair and one for a further one, none if both of its
// domains are proved; the modes differ in that.
func sharedAttrcert() Variant {
	return Variant{
		Name:    "shared-attrcert",
		Spec:    "ProtoXEP Domain Name Assertions (2009), RFC 5755; experimental",
		Summary: "one stream for all domains, each proved by what its owner has signed",
		Params: []Param{
			poolParam(),
			{Name: "mode", Default: ModeBatch, Choices: []string{ModeClassic, ModeClassicFeature, ModeEager, ModePipelined, ModeBatch, ModeWarm, ModeProactive},
				Doc: "How domains are asserted: challenged first as in 2009, without or with a proof in the features; at once, one by one or several in flight; " +
					"many in one message; by a reference to what was accepted on an earlier stream; or not at all, where the peer remembers them."},
			{Name: "batch", Unit: "domains", Default: 64, Min: 1, Max: dacMaxBatch,
				Doc: "Domains in one assertion, with the modes batch, warm and proactive."},
			{Name: "window", Unit: "assertions", Default: 64, Min: 1, Max: 1024,
				Doc: "Assertions without a verdict at a time, with the modes pipelined, batch, warm and proactive."},
			{Name: "binding", Default: false,
				Doc: "Assertions are signed with the provider's key and bound to the TLS connection; the mode proactive has none."},
			{Name: "revocation", Default: RevocationShort, Choices: []string{RevocationShort, RevocationCRL},
				Doc: "Attribute certificates live for a day and cannot be revoked, or their owners publish lists."},
			{Name: "skew", Unit: "seconds", Default: 0, Min: 0, Max: int(attrcert.MaxSkew / time.Second),
				Doc: "How far the clocks of owners, providers and verifiers may be apart."},
			{Name: "www-fallback", Default: false,
				Doc: "Takes an owner's certificate for www. and the domain as one for the domain."},
		},
		Layout: func(Params) Layout { return EachProviderBoth },
		Needs:  func(Params) Needs { return Attributes },
		Asks: func(p Params) ThirdParty {
			if p.Revocation == RevocationCRL {
				return RevocationLists
			}
			return Nobody
		},
		Counts: attrcertCounts,
		Rounds: attrcertRounds,
		check: func(p Params) error {
			if p.Binding && p.Mode == ModeProactive {
				return errors.New("binding: with the mode proactive nothing is asserted that could be bound")
			}
			return nil
		},
		unauth:  UnauthBounce,
		duplex:  true,
		lapses:  true,
		client:  ownCertificate,
		prepare: prepareDAC,
		meet:    meetAttributes,
		offer:   offerAttributes,
		begin:   beginAttributes,
		prove:   proveByAttributes,
		control: func(s *Stream, el *wire.Element) (bool, error) {
			d := s.dac.Load()
			if el.Space != NSDAC || d == nil {
				return false, nil
			}
			return true, d.element(el)
		},
	}
}

// attrcertCounts is the closed form for traffic that one of the two providers begins.
// Of the modes warm and proactive it is that of providers who have met before and
// remember all of their domains.
func attrcertCounts(p Params, m Mesh) Counts {
	c := Counts{Persistent: m.Slots, Opened: m.Slots, Handshakes: m.Slots, Proofs: m.ProvedA + m.ProvedB, Lookups: m.ActiveB}
	if p.Revocation == RevocationCRL {
		c.Fetches = m.ActiveA + m.ActiveB
	}
	switch p.Mode {
	case ModeClassic:
		// Of the receiving end's domains only that in the features is asserted first and
		// proved then; the others are asked for.
		c.Asserts = 2*m.ProvedA + m.ProvedB + m.Slots
	case ModeClassicFeature:
		c.Asserts = 2*m.ProvedA + m.ProvedB
	case ModeEager, ModePipelined:
		c.Asserts = m.ProvedA + m.ProvedB
	case ModeBatch, ModeWarm:
		c.Asserts = m.batches(p.Batch)
		if p.Mode == ModeWarm {
			c.Fetches = 0
		}
	case ModeProactive:
		c.Proofs, c.Fetches = 0, 0
		c.Verdicts = m.Slots * (ceil(m.A, p.Batch) + ceil(m.B, p.Batch))
	}
	return c
}

// batches counts the assertions of pairs that are asked for at once. The one in the
// features has one domain.
func (m Mesh) batches(k int) int {
	if m.Lazy {
		return Undetermined
	}
	n := 0
	for _, s := range m.streams() {
		n += ceil(s.A, k) + 1 + ceil(s.B-1, k)
	}
	return n
}

func ceil(n, k int) int { return (n + k - 1) / k }

// attrcertRounds is the closed form of round trips, with a revocation list that is
// fetched over HTTP for each domain where there are any.
func attrcertRounds(p Params) Rounds {
	ready, further := p.transport()+1, 1
	fetch := 0
	if p.Revocation == RevocationCRL {
		fetch = 2
	}
	switch p.Mode {
	case ModeClassic:
		// The initiating end looks at the peer's proof before it shows its own.
		ready, further = ready+2+fetch, 2
	case ModeClassicFeature:
		ready, further = ready+1, 2
	case ModeWarm:
		fetch = 0
	case ModeProactive:
		ready, further, fetch = ready-1, 0, 0
	}
	ready, further = ready+fetch, further+fetch
	return Rounds{First: ready, FirstEcho: ready + 1, Further: further, FurtherEcho: further + 1}
}

// meetAttributes turns a peer away whose certificate is not trusted, whatever it names
// (RFC 6120 §13.7.2), and one with which nothing can be bound.
func meetAttributes(s *Stream) error {
	if s.certificate() == nil || s.chainErr != nil {
		return streamError("not-authorized", "the certificate is not trusted")
	}
	if s.dac.Load() != nil {
		return nil // a second header
	}
	d := newDAC(s)
	if d.bound {
		if _, err := s.binding(d.role, d.nonce, nil); err != nil {
			return streamError(wire.PolicyViolation, err.Error())
		}
	}
	s.dac.Store(d)
	return nil
}

// offerAttributes announces what is taken, asserts the domain that the peer has asked
// for, and says what is remembered of the peer.
func offerAttributes(s *Stream, dst []byte) []byte {
	d := s.dac.Load()
	if d == nil {
		return dst
	}
	s.mu.Lock()
	s.both = true
	s.mu.Unlock()
	f := dacFeature{nonce: d.nonce, maxBatch: dacMaxBatch, maxBytes: dacMaxBytes, types: []string{proofTypeAC}, binding: d.bound}
	d.do(func() {
		if d.mode == ModeProactive {
			f.verdicts = d.recall()
		}
		f.assert = d.introduce()
	})
	return f.append(dst)
}

// introduce asserts the domain that the stream was opened for, unless the peer is
// expected to remember it. The lock is held.
func (d *dac) introduce() *dacAssert {
	proof, ok := d.s.host.proof(d.s.local)
	if !ok || d.ended != nil || d.mode == ModeProactive && d.remembered(d.s.local, attrcert.RefHash(proof.AC)) {
		return nil
	}
	c := d.claimOf(d.s.local)
	c.wanted = d.mode == ModeClassicFeature
	d.urge(c)
	a, f := d.compose("f0", 1)
	f.asked = time.Now()
	return a
}

// recall believes what is remembered of the peer, and returns the verdicts that say
// so. The lock is held.
func (d *dac) recall() []dacVerdict {
	now := time.Now()
	var verdicts []dacVerdict
	var v dacVerdict
	for _, e := range d.h.provedBy(d.peer, d.now()) {
		b := d.beliefOf(e.name)
		if b == nil || d.s.host.hosts(e.name) {
			continue
		}
		b.state, b.until, b.when = believed, e.until, dacTimes{now, now}
		d.admit(b)
		d.address(b) // nothing can be sent before the verdicts: the stream is not open yet
		if v.entries = append(v.entries, e); len(v.entries) == d.batch {
			verdicts, v = append(verdicts, v), dacVerdict{}
		}
	}
	if len(v.entries) > 0 {
		verdicts = append(verdicts, v)
	}
	d.s.host.tally.add(FigureVerdicts, int64(len(verdicts)))
	return verdicts
}

// beginAttributes takes the features of the receiving end.
func beginAttributes(n *negotiation) error {
	s := n.s
	el := s.peer.element.Child(NSDAC, "dac")
	if el == nil {
		return &UnspokenError{Peer: s.remote, Missing: "domain attribute certificates"}
	}
	f, err := parseDACFeature(el)
	if err != nil {
		n.blame(err)
		return err
	}
	d := newDAC(s)
	if d.bound && !f.binding {
		return &UnspokenError{Peer: s.remote, Missing: "assertions that are bound to the connection"}
	}
	if d.bound = f.binding; d.bound {
		if _, err := s.binding(d.role, f.nonce, nil); err != nil {
			return err
		}
	}
	d.given, d.bytes = f.nonce, min(d.bytes, f.maxBytes)
	d.batch, d.chunk = min(d.batch, f.maxBatch), min(d.chunk, f.maxBatch)
	s.mu.Lock()
	s.both = true
	s.mu.Unlock()
	s.dac.Store(d)
	d.do(func() {
		for i := range f.verdicts {
			d.judged(&f.verdicts[i])
		}
		if d.mode == ModeProactive {
			verdicts := d.recall()
			for i := range verdicts {
				d.post(verdicts[i].append(nil, true), nil)
			}
		}
		d.held = d.mode == ModeClassic && f.assert != nil && f.assert.domains[0].proofless() && f.assert.domains[0].name == s.remote
	})
	if f.assert != nil {
		// Bound to the nonce that came with it: the receiving end could not know another.
		return d.asserted(f.assert, f.nonce)
	}
	return nil
}

// blame ends the stream for what the peer has sent.
func (n *negotiation) blame(err error) {
	var bye *wire.StreamError
	if errors.As(err, &bye) {
		n.s.abort(*bye)
	}
}
