package s2s

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// DialbackKey returns the key that a provider with the secret sends, and knows
// again, for a stream with the id from sender to target (XEP-0220 §2.5, XEP-0185).
func DialbackKey(secret, target, sender, id string) string {
	inner := sha256.Sum256([]byte(secret))
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(inner[:])))
	_, _ = mac.Write([]byte(target + " " + sender + " " + id)) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// A dialbackRequest is a db:result that asks for authority.
type dialbackRequest struct {
	pair Pair
	key  string
}

// A dialbackVerdict answers one. The zero value is no verdict.
type dialbackVerdict struct {
	typ       string // valid, invalid or error
	condition string // of an error
}

func valid() dialbackVerdict { return dialbackVerdict{typ: "valid"} }

func refused(condition string) dialbackVerdict {
	return dialbackVerdict{typ: "error", condition: condition}
}

// dialback is what a stream waits for. It is guarded by the stream's lock.
type dialback struct {
	asked     map[Pair]*asking
	verifying map[verification]*asking
	judging   map[Pair]bool // requests of the peer that have no verdict yet
	accepted  int           // pairs admitted by dialback
}

// A verification identifies a db:verify request on its stream.
type verification struct{ from, to, id string }

// asking is a request under way.
type asking struct {
	done         func(dialbackVerdict, error)
	at, answered time.Time // written; answer decoded
	timer        *time.Timer
}

// fail takes all that waits away and returns what tells them why. The lock is held.
func (d *dialback) fail() []func(error) {
	var all []func(error)
	give := func(a *asking) {
		a.timer.Stop()
		all = append(all, func(err error) { a.done(dialbackVerdict{}, err) })
	}
	for _, a := range d.asked {
		give(a)
	}
	for _, a := range d.verifying {
		give(a)
	}
	d.asked, d.verifying = nil, nil
	return all
}

// proveByDialback asks for authority with a key (XEP-0220 §2.1.1). Several targets
// on one stream need a peer that answers with errors.
func proveByDialback(s *Stream, p Pair, done func(Proved, error)) {
	if !s.peer.dialback && s.initiator && !s.host.c.LenientTarget {
		done(Proved{}, &UnspokenError{Peer: s.remote, Missing: "dialback"})
		return
	}
	if s.initiator && p.To != s.remote && !s.peer.errors && !s.host.c.LenientTarget {
		done(Proved{}, &UnspokenError{Peer: s.remote, Missing: "dialback errors, which a second target on one stream needs (XEP-0220 §2.6.2)"})
		return
	}
	if !s.bySender() {
		s.ask(p, done)
		return
	}
	var first Proved
	s.onceProved(">"+p.From, func(done func(error)) {
		s.ask(p, func(proved Proved, err error) {
			first = proved
			done(err)
		})
	}, func(err error) {
		if err == nil {
			s.granted(p)
		}
		done(first, err)
	})
}

// bySender reports whether a sender's domain is asked for once, whatever the target: as
// the setting granularity says, or towards peers that announce no errors. Prosody 0.12 is
// one of those. It looks at the sender alone, and a further request takes the sender's
// authority away until it is verified: what is sent meanwhile ends the stream.
func (s *Stream) bySender() bool {
	c := s.host.c
	return c.Params.Granularity == GrainDomain || s.initiator && !s.peer.errors && c.LenientTarget
}

// ask sends a request for a pair.
func (s *Stream) ask(p Pair, done func(Proved, error)) {
	a := &asking{}
	a.done = func(v dialbackVerdict, err error) {
		switch {
		case err != nil:
			done(Proved{}, &ProofError{Domain: p.From, Reason: "no-answer", Err: err})
		case v.typ == "valid":
			s.granted(p)
			done(Proved{Asked: a.at, Granted: a.answered}, nil)
		case v.typ == "invalid":
			done(Proved{}, &ProofError{Domain: p.From, Reason: "invalid"})
		default:
			done(Proved{}, &ProofError{Domain: p.From, Reason: v.condition})
		}
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		done(Proved{}, wire.ErrClosed)
		return
	}
	if s.dialback.asked == nil {
		s.dialback.asked = make(map[Pair]*asking)
	}
	s.dialback.asked[p] = a
	a.timer = time.AfterFunc(s.host.c.Setup, func() {
		if s.take(p, a, time.Now()) {
			a.done(dialbackVerdict{}, fmt.Errorf("nothing within %s", s.host.c.Setup))
		}
	})
	s.mu.Unlock()
	s.host.tally.add(FigureResults, 1)
	b := appendDialback(nil, "result", p.From, p.To, "", "")
	b = append(append(append(b, '>'), DialbackKey(s.host.c.Secret, p.To, p.From, s.id)...), "</db:result>"...)
	// Where nothing can be written, the end of the stream tells.
	_ = s.send(b, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.at = time.Now()
	})
}

// take ends the wait for an answer. It reports false if somebody else has.
func (s *Stream) take(p Pair, a *asking, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialback.asked[p] != a {
		return false
	}
	delete(s.dialback.asked, p)
	a.answered = now
	a.timer.Stop()
	return true
}

// verifyKey asks the peer whether it has made a key (XEP-0220 §2.1.2).
func (s *Stream) verifyKey(r dialbackRequest, id string, done func(dialbackVerdict, error)) {
	v := verification{from: r.pair.To, to: r.pair.From, id: id}
	a := &asking{done: done}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		done(dialbackVerdict{}, wire.ErrClosed)
		return
	}
	if s.dialback.verifying == nil {
		s.dialback.verifying = make(map[verification]*asking)
	}
	s.dialback.verifying[v] = a
	a.timer = time.AfterFunc(s.host.c.Setup, func() {
		if s.takeVerification(v) == a {
			done(dialbackVerdict{}, fmt.Errorf("s2s: %s did not verify a key within %s: %w", s.remote, s.host.c.Setup, context.DeadlineExceeded))
		}
	})
	s.mu.Unlock()
	s.host.tally.add(FigureVerifies, 1)
	b := appendDialback(nil, "verify", v.from, v.to, id, "")
	b = append(wire.AppendText(append(b, '>'), r.key), "</db:verify>"...)
	_ = s.send(b, nil) // as above
}

func (s *Stream) takeVerification(v verification) *asking {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.dialback.verifying[v]
	if a != nil {
		delete(s.dialback.verifying, v)
		a.timer.Stop()
	}
	return a
}

// appendDialback appends an element of dialback without its end.
func appendDialback(dst []byte, name, from, to, id, typ string) []byte {
	dst = append(append(dst, "<db:"...), name...)
	dst = wire.AppendAttr(dst, "from", from)
	dst = wire.AppendAttr(dst, "to", to)
	if id != "" {
		dst = wire.AppendAttr(dst, "id", id)
	}
	if typ != "" {
		dst = wire.AppendAttr(dst, "type", typ)
	}
	return dst
}

// appendVerdict appends the answer to a db:result or db:verify.
func appendVerdict(dst []byte, name, from, to, id string, v dialbackVerdict) []byte {
	dst = appendDialback(dst, name, from, to, id, v.typ)
	if v.typ != "error" {
		return append(dst, "/>"...)
	}
	dst = wire.AppendError(append(dst, '>'), stanzaError(v.condition))
	return append(append(append(dst, "</db:"...), name...), '>')
}

// dialbackElement acts on an element of dialback, of either direction.
func (s *Stream) dialbackElement(el *wire.Element) error {
	from, to := domainOf(el.Attr("from")), domainOf(el.Attr("to"))
	typ, answer := el.LookupAttr("", "type")
	if from == "" || to == "" {
		return streamError("improper-addressing", "an element of dialback has 'from' and 'to'")
	}
	switch {
	case el.Name == "result" && !answer:
		s.requested(dialbackRequest{pair: Pair{from, to}, key: el.Text()})
	case el.Name == "verify" && !answer:
		s.verified(from, to, el.Attr("id"), el.Text())
	case el.Name == "result":
		p := Pair{to, from}
		s.mu.Lock()
		a := s.dialback.asked[p]
		s.mu.Unlock()
		if a == nil || !s.take(p, a, time.Now()) {
			s.host.tally.add(FigureUnsolicited, 1)
			return nil
		}
		a.done(parseVerdict(el, typ), nil)
	case el.Name == "verify":
		a := s.takeVerification(verification{from: to, to: from, id: el.Attr("id")})
		if a == nil {
			s.host.tally.add(FigureUnsolicited, 1)
			return nil
		}
		a.done(parseVerdict(el, typ), nil)
	default:
		return streamError("unsupported-stanza-type", "<db:"+el.Name+"/> is not known here")
	}
	return nil
}

func parseVerdict(el *wire.Element, typ string) dialbackVerdict {
	v := dialbackVerdict{typ: typ}
	switch typ {
	case "valid", "invalid":
	default:
		// The error is of the stream's namespace, not of dialback's.
		in := *el
		if e := el.Child("", "error"); e != nil {
			in.Space = e.Space
		}
		v.typ, v.condition = "error", wire.ParseStanzaError(&in).Condition
	}
	return v
}

// requested judges a request for authority.
func (s *Stream) requested(r dialbackRequest) {
	h := s.host
	answer := func(v dialbackVerdict) { s.answer(r, v) }
	s.mu.Lock()
	reverse, again := s.initiator && !s.both, s.dialback.judging[r.pair]
	s.mu.Unlock()
	switch {
	case reverse:
		answer(refused("policy-violation")) // no stanza may come that way
	case again:
		answer(refused("resource-constraint")) // a verdict could not be told from that on the other one
	case !h.hosts(r.pair.To):
		answer(refused("item-not-found"))
	case h.hosts(r.pair.From):
		answer(refused("not-acceptable")) // a peer that claims to be this provider
	case h.c.Variant.judge == nil:
		answer(refused("policy-violation"))
	case s.tls == nil && h.c.Params.TLS != TLSNone:
		answer(refused("policy-violation"))
	default:
		s.mu.Lock()
		if s.dialback.judging == nil {
			s.dialback.judging = make(map[Pair]bool)
		}
		s.dialback.judging[r.pair] = true
		s.mu.Unlock()
		h.c.Variant.judge(s, r, func(v dialbackVerdict) {
			s.mu.Lock()
			delete(s.dialback.judging, r.pair)
			s.mu.Unlock()
			answer(v)
		})
	}
}

// answer sends a verdict, and admits the pair if it is valid. A key that is not
// valid ends a stream on which nothing is (XEP-0220 §2.2.2); on others it is
// forbidden.
func (s *Stream) answer(r dialbackRequest, v dialbackVerdict) {
	last := false
	s.mu.Lock()
	switch {
	case v.typ == "valid":
		s.dialback.accepted++
	case v.typ == "invalid" && s.dialback.accepted > 0:
		v = refused("forbidden")
	case v.typ == "invalid":
		last = true
	}
	s.mu.Unlock()
	if v.typ == "valid" {
		s.accept(r.pair)
	}
	// Where nothing can be written, the stream has ended.
	_ = s.send(appendVerdict(nil, "result", r.pair.To, r.pair.From, "", v), nil)
	if last {
		s.host.spawn(func() { _ = s.close(s.host.ctx) })
	}
}

// verified answers a request to verify a key. Whoever asks need not have proved
// anything: what is told is whether a key is this provider's.
func (s *Stream) verified(from, to, id, key string) {
	v := dialbackVerdict{typ: "invalid"}
	switch want := DialbackKey(s.host.c.Secret, from, to, id); {
	case !s.host.hosts(to):
		v = refused("item-not-found")
	case subtle.ConstantTimeCompare([]byte(want), []byte(key)) == 1:
		v = valid()
	}
	_ = s.send(appendVerdict(nil, "verify", to, from, id, v), nil) // as above
}

// offerDialback announces dialback with errors (XEP-0220 §2.2).
func offerDialback(_ *Stream, dst []byte) []byte {
	return append(dst, "<dialback xmlns='"+nsDialbackFeature+"'><errors/></dialback>"...)
}

// settle turns what became of a verification into a verdict on the request.
func settle(v dialbackVerdict, err error) dialbackVerdict {
	switch {
	case err != nil:
		switch condition(err) {
		case "remote-server-not-found":
			return refused("remote-server-not-found")
		default:
			return refused("remote-server-timeout")
		}
	case v.typ == "error":
		return refused("remote-server-not-found")
	}
	return v
}

// verifyVia verifies a key over the stream that get gives. One that is just being
// closed is followed by another.
func (s *Stream) verifyVia(r dialbackRequest, get func(got func(*Stream, error)), again bool, answer func(dialbackVerdict)) {
	h := s.host
	get(func(back *Stream, err error) {
		if err != nil {
			answer(settle(dialbackVerdict{}, err))
			return
		}
		back.verifyKey(r, s.id, func(v dialbackVerdict, err error) {
			retried := again && errors.Is(err, wire.ErrClosed) && h.spawn(func() {
				select {
				case <-back.gone:
				case <-h.ctx.Done():
				}
				s.verifyVia(r, get, false, answer)
			})
			if !retried {
				answer(settle(v, err))
			}
		})
	})
}

// verifyReverse verifies a key over the stream that this end sends on to the
// domain's provider, and asks for the reverse pair beside it.
func verifyReverse(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
	h := s.host
	reverse := r.pair.Reverse()
	h.resolve(reverse.To, func(t *target, err error) {
		if err != nil {
			answer(settle(dialbackVerdict{}, err))
			return
		}
		s.verifyVia(r, func(got func(*Stream, error)) {
			h.link(h.key(reverse, t), reverse, t, func(back *Stream, err error) {
				got(back, err)
				if err == nil {
					_ = h.Connect(reverse) // where the host is closing nobody needs it
				}
			})
		}, true, answer)
	})
}

// verifySeparate verifies a key over a connection made for it, which is closed
// afterwards.
func verifySeparate(s *Stream, r dialbackRequest, answer func(dialbackVerdict), o connectOptions) {
	h := s.host
	o.verify = true
	h.resolve(r.pair.From, func(t *target, err error) {
		if err != nil {
			answer(settle(dialbackVerdict{}, err))
			return
		}
		h.spawn(func() {
			back, err := h.connect(r.pair.To, r.pair.From, t, o)
			if err != nil {
				answer(settle(dialbackVerdict{}, err))
				return
			}
			back.verifyKey(r, s.id, func(v dialbackVerdict, err error) {
				answer(settle(v, err))
				h.spawn(func() { _ = back.close(h.ctx) }) // it has served its purpose
			})
		})
	})
}

// verifyKept verifies a key over a connection to the domain's provider that
// verifies all of its keys and stays.
func verifyKept(s *Stream, r dialbackRequest, answer func(dialbackVerdict)) {
	h := s.host
	h.resolve(r.pair.From, func(t *target, err error) {
		if err != nil {
			answer(settle(dialbackVerdict{}, err))
			return
		}
		s.verifyVia(r, func(got func(*Stream, error)) {
			h.linkWith("verify "+t.provider(), r.pair.Reverse(), t, connectOptions{verify: true}, got)
		}, true, answer)
	})
}
