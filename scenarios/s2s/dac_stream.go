package s2s

import (
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// dac is what the two ends of a stream have asserted to each other: claims are this
// end's domains, beliefs the peer's. Each end has one. Its lock is taken before all
// others of the package, and nobody's function is called under it.
type dac struct {
	s     *Stream
	h     *dacHost
	role  attrcert.Role // of this end
	peer  dacHash       // its public key
	nonce []byte        // for what the peer asserts
	bound bool          // assertions are bound
	mode  string
	batch int // domains of this end in one assertion
	bytes int // octets in one element
	slots chan struct{}

	mu     sync.Mutex
	ended  error    // why the stream is over
	after  []func() // to be called once the lock is given up
	serial int      // of ids
	joins  []*dacJoin
	due    time.Time // when something is to be done by the wall clock; zero for never

	asserting
	believing
}

// newDAC makes the state of a stream between TLS and the first element.
func newDAC(s *Stream) *dac {
	p := s.host.c.Params
	d := &dac{
		s: s, h: s.host.dac, role: attrcert.Responder, peer: keyHash(s.certificate()), nonce: make([]byte, attrcert.NonceLength),
		bound: p.Binding, mode: p.Mode, batch: 1, bytes: dacMaxBytes, slots: make(chan struct{}, maxVerifying),
	}
	if s.initiator {
		d.role = attrcert.Initiator
	}
	d.chunk, d.window = dacMaxBatch, 1
	if d.batched() {
		d.batch, d.chunk = p.Batch, p.Batch // the peer asserts as many at a time as it is asked for
	}
	if d.batched() || d.mode == ModePipelined {
		d.window = p.Window
	}
	d.opening = true
	_, _ = rand.Read(d.nonce) // never fails
	d.claims, d.beliefs, d.flights = make(map[string]*claim), make(map[string]*belief), make(map[string]*dacFlight)
	return d
}

// dacJoin waits for the proofs of two domains.
type dacJoin struct {
	left           int // proofs that are missing, 0 when it has ended
	by             time.Time
	asked, granted time.Time
	done           func(Proved, error)
}

// proveByAttributes makes the peer accept the sender's domain, and sees to it that
// this end accepts the peer for the target.
func proveByAttributes(s *Stream, p Pair, done func(Proved, error)) {
	d := s.dac.Load()
	d.do(func() {
		j := &dacJoin{left: 2, by: time.Now().Add(s.host.c.Setup), done: done}
		if d.ended != nil {
			d.fail(j, &ProofError{Domain: p.From, Reason: "no-answer", Err: d.ended})
			return
		}
		d.needClaim(p.From, j)
		if j.left > 0 {
			d.needBelief(p.To, j)
		}
		if j.left > 0 {
			d.joins = append(d.joins, j)
			d.stir()
		}
	})
}

// arrive tells a join of one proof. The lock is held.
func (d *dac) arrive(j *dacJoin, asked, granted time.Time) {
	if j.left == 0 {
		return
	}
	if !granted.Before(j.granted) {
		j.asked, j.granted = asked, granted
	}
	if j.left--; j.left == 0 {
		d.after = append(d.after, func() { j.done(Proved{j.asked, j.granted}, nil) })
	}
}

// fail ends a join. The lock is held.
func (d *dac) fail(j *dacJoin, err error) {
	if j.left > 0 {
		j.left = 0
		d.after = append(d.after, func() { j.done(Proved{}, err) })
	}
}

func (d *dac) failAll(joins []*dacJoin, err error) {
	for _, j := range joins {
		d.fail(j, err)
	}
}

// do runs f under the lock, and then what it left to be called.
func (d *dac) do(f func()) {
	d.mu.Lock()
	f()
	after := d.after
	d.after = nil
	d.mu.Unlock()
	for _, call := range after {
		call()
	}
}

// id makes the id of an element.
func (d *dac) id(kind string) string {
	d.serial++
	return kind + strconv.Itoa(d.serial)
}

// now is the time by which proofs are judged.
func (d *dac) now() time.Time { return d.s.host.now() }

// end is the end of the stream.
func (d *dac) end(cause error) {
	d.do(func() {
		d.ended = cause
		if d.timer != nil {
			d.timer.Stop()
		}
		for _, j := range d.joins {
			d.fail(j, &ProofError{Domain: d.s.remote, Reason: "no-answer", Err: cause})
		}
		d.joins = nil
		// The stream may stay in somebody's hand for long.
		d.claims, d.beliefs, d.flights = nil, nil, nil
		d.queue, d.wanted = nil, nil
	})
}

// plan notes that something is to be done at a time. The lock is held.
func (d *dac) plan(at time.Time) {
	if !at.IsZero() && (d.due.IsZero() || at.Before(d.due)) {
		d.due = at
	}
}

// tick does what is due. The host calls it about once a second, so that a stream needs
// no timer and a domain even less.
func (d *dac) tick(now time.Time) {
	d.do(func() {
		if d.ended != nil {
			return
		}
		wall, waiting, late := time.Now(), d.joins[:0], false
		for _, j := range d.joins {
			if j.left > 0 && wall.After(j.by) {
				late = true
				d.fail(j, &ProofError{Domain: d.s.remote, Reason: "no-answer", Err: errNoDACAnswer})
			}
			if j.left > 0 {
				waiting = append(waiting, j)
			}
		}
		clear(d.joins[len(waiting):])
		d.joins = waiting
		if late {
			d.overdue(wall.Add(-d.s.host.c.Setup))
		}
		if d.due.IsZero() || now.Before(d.due) {
			return
		}
		d.due = time.Time{}
		d.renew(now)
		d.recheck(now)
	})
}

// element acts on an element of the namespace.
func (d *dac) element(el *wire.Element) error {
	parsed, err := parseDAC(el)
	if err != nil {
		return err
	}
	switch e := parsed.(type) {
	case *dacAssert:
		return d.asserted(e, d.nonce)
	case *dacChallenge:
		d.do(func() { d.challenged(e) })
	case *dacVerdict:
		d.do(func() { d.judged(e) })
	case *dacRetract:
		d.do(func() { d.retracted(e) })
	case *dacRevoke:
		d.do(func() { d.revoked(e) })
	case *dacImpossible:
		d.do(func() { d.impossible(e.name) })
	}
	return nil
}

// post hands an element to the wire. Where nothing can be written any more, the end of
// the stream tells.
func (d *dac) post(b []byte, written func()) { _ = d.s.send(b, written) }

// reject tells the peer that this end does not speak for a domain.
func (d *dac) reject(name string) {
	i := dacImpossible{name}
	d.post(i.append(nil), nil)
}
