package s2s

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// errNoDACAnswer is why a proof was given up.
var errNoDACAnswer = errors.New("s2s: no answer in time")

// asserting is the half of an end that proves its own domains. It is guarded by the
// lock of the [dac].
type asserting struct {
	claims  map[string]*claim
	queue   []*claim              // to be asserted
	free    int                   // of them, how many need not wait for others
	flights map[string]*dacFlight // assertions without a verdict, by id
	window  int                   // how many there may be
	given   []byte                // the peer's nonce for what this end asserts, nil if none came yet
	pending int                   // octets of assertions that are not written yet

	greeted bool // the peer has the nonce of this end
	opening bool // the features are not through, or whatever waited for the stream is about to ask
	held    bool // the proof of the peer's first domain comes before those of this end

	gathering bool      // a part of a batch waits for more
	asked     int       // requests since then
	since     time.Time // when that began
	timer     *time.Timer
}

// claim is a domain of this end's.
type claim struct {
	name    string
	state   claimState
	queued  bool
	flight  *dacFlight // the assertion that has no verdict yet
	again   bool       // to be asserted once more when it has
	re      string     // challenge to be answered
	wanted  bool       // the peer has asked for a proof
	whole   bool       // and does not know what was referred to
	shown   bool       // the last assertion had the certificate itself
	hash    dacHash    // of the certificate last asserted
	carrier string     // assertion on this stream that had it whole
	until   time.Time
	renewal time.Time       // when to assert again; zero for never
	reason  attrcert.Reason // why it was refused
	when    dacTimes
	waiting []*dacJoin
}

// claimState says what the peer makes of a domain.
type claimState int

const (
	unclaimed claimState = iota
	claimAccepted
	claimRefused
)

// dacFlight is an assertion on its way.
type dacFlight struct {
	claims []*claim
	asked  time.Time // when it was written
}

// dacTimes are when a proof was asked for or shown, and when it was accepted.
type dacTimes struct{ asked, granted time.Time }

// Bounds of assertions on their way to the wire, and of how long a part of a batch
// waits for the rest.
const (
	maxPending = 512 << 10 // octets

	// A single pair waits that long for company, on a stream that was open already.
	gatherLone = time.Millisecond
	// Where several pairs are asked for at once, it is over when nobody has asked for
	// so long.
	gatherQuiet = 10 * time.Millisecond
	// Look-ups under way are waited for, but not for long; a burst without end not for
	// ever.
	gatherSeeking = 100 * time.Millisecond
	gatherLimit   = time.Second
)

// batched reports whether the mode has several domains in one assertion.
func (d *dac) batched() bool {
	switch d.mode {
	case ModeBatch, ModeWarm, ModeProactive:
		return true
	}
	return false
}

func (d *dac) classic() bool { return d.mode == ModeClassic || d.mode == ModeClassicFeature }

// claimOf returns what is known of a hosted domain. The lock is held.
func (d *dac) claimOf(name string) *claim {
	c := d.claims[name]
	if c == nil {
		c = &claim{name: name}
		d.claims[name] = c
	}
	return c
}

// needClaim proves a domain for a join. The lock is held.
func (d *dac) needClaim(name string, j *dacJoin) {
	proof, ok := d.s.host.proof(name)
	if !ok {
		d.fail(j, &ProofError{Domain: name, Reason: "no-proof", Err: errors.New("its owner has signed nothing")})
		return
	}
	c := d.claimOf(name)
	switch {
	case c.state == claimAccepted && !d.now().After(c.until):
		d.arrive(j, c.when.asked, c.when.granted)
	case c.state == claimRefused && c.hash == attrcert.RefHash(proof.AC):
		// Invalid domains are not tried again without new material.
		d.fail(j, &ProofError{Domain: name, Reason: string(c.reason), Err: errRefusedBefore})
	default:
		c.waiting = append(c.waiting, j)
		d.enqueue(c)
	}
}

var errRefusedBefore = errors.New("the peer has refused this proof")

// enqueue wants a domain asserted, once. The lock is held.
func (d *dac) enqueue(c *claim) {
	if !c.queued && c.flight == nil {
		c.queued = true
		d.queue = append(d.queue, c)
	}
}

// urge wants a domain asserted without waiting for others: the peer has asked for it.
// The lock is held.
func (d *dac) urge(c *claim) {
	if c.queued {
		d.unqueue(c)
	}
	c.queued = true
	d.queue = slices.Insert(d.queue, d.free, c)
	d.free++
}

// unqueue takes a domain out of the queue. The lock is held.
func (d *dac) unqueue(c *claim) {
	if i := slices.Index(d.queue, c); i >= 0 {
		d.queue = slices.Delete(d.queue, i, i+1)
		if i < d.free {
			d.free--
		}
	}
	c.queued = false
}

// stir is called when something was asked for. Without batches it goes out at once.
// With batches, whole ones do; a part of one waits as long as others are likely to come.
// The lock is held.
func (d *dac) stir() {
	d.asked++
	switch {
	case d.opening:
	case d.batch == 1:
		d.release()
	case d.gathering:
		d.pump() // there may be a whole batch now
	default:
		d.gathering, d.since = true, time.Now()
		d.gather(gatherLone)
	}
}

// opened ends the time in which nothing can be asserted yet, and all pairs that waited
// for the stream ask for their proofs.
func (d *dac) opened() {
	d.do(func() {
		if d.ended != nil {
			return
		}
		d.opening = false
		d.gathering, d.since = true, time.Now()
		d.gather(0)
	})
}

// gather decides whether to wait for more; lone is how long where nobody else is in
// sight. The lock is held.
func (d *dac) gather(lone time.Duration) {
	if wait := d.company(lone); wait > 0 && d.batch > 1 {
		d.pump()
		d.timer = time.AfterFunc(wait, func() {
			d.do(func() {
				if d.ended == nil && d.gathering {
					d.gather(lone)
				}
			})
		})
		return
	}
	d.release()
}

// company is how long others are likely to come. The lock is held.
func (d *dac) company(lone time.Duration) time.Duration {
	coming, seeking, last := d.s.host.unsettled()
	elapsed := time.Since(d.since)
	switch {
	case elapsed >= gatherLimit:
		return 0
	case coming > 0, seeking > 0 && elapsed < gatherSeeking:
		return gatherLone
	case d.asked > 1:
		return gatherQuiet - time.Since(last)
	}
	return lone - elapsed
}

// release lets everything go that was asked for. The lock is held.
func (d *dac) release() {
	d.gathering, d.asked = false, 0
	// In the order of their names: what passes is not to depend on which goroutine came first.
	slices.SortFunc(d.queue[d.free:], func(a, b *claim) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(d.wanted, func(a, b *belief) int { return strings.Compare(a.name, b.name) })
	d.free = len(d.queue)
	d.challengeWanted()
	d.pump()
}

// pump sends what may be sent. The lock is held.
func (d *dac) pump() {
	if d.opening || d.held || d.ended != nil || (d.bound && d.given == nil) {
		return
	}
	for len(d.queue) > 0 && len(d.flights) < d.window && d.pending < maxPending {
		if d.free == 0 && len(d.queue) < d.batch {
			return // a part of a batch, which waits for more
		}
		a, f := d.compose(d.id("a"), d.batch)
		if f == nil {
			continue // there was nothing left to prove
		}
		b := a.append(nil, true)
		d.pending += len(b)
		d.post(b, func() {
			now := time.Now()
			d.do(func() {
				d.pending -= len(b)
				f.asked = now
				if d.ended == nil {
					d.pump()
				}
			})
		})
	}
}

// compose makes an assertion of the first domains of the queue, as many as may be in
// it, and puts it on the list of those that wait for a verdict. Domains that answer
// the same challenge, or none, go together. The lock is held.
func (d *dac) compose(id string, most int) (*dacAssert, *dacFlight) {
	a := &dacAssert{id: id}
	f := &dacFlight{}
	pool := dacPool{ids: make(map[string]string)}
	size, taken := 0, 0
	if len(d.queue) < most {
		most = d.free
	}
	for _, c := range d.queue {
		if len(f.claims) == most || len(f.claims) > 0 && c.re != f.claims[0].re {
			break
		}
		proof, ok := d.s.host.proof(c.name)
		if !ok {
			c.queued = false
			taken++
			d.failAll(c.waiting, &ProofError{Domain: c.name, Reason: "retracted"})
			c.waiting = nil
			continue
		}
		dd := d.show(c, proof)
		if size += dacSize(dd, proof); size > d.bytes && len(f.claims) > 0 {
			break
		}
		switch {
		case dd.ac != nil:
			dd.leaf, dd.via = pool.add(proof.Chain)
			c.carrier = id
		case dd.refHash != nil:
			c.carrier = "" // what was shown on this stream may have been another one
		}
		c.hash, c.shown = attrcert.RefHash(proof.AC), dd.ac != nil
		c.queued, c.flight, c.wanted, c.whole = false, f, false, false
		a.re = c.re
		taken++
		a.domains = append(a.domains, dd)
		f.claims = append(f.claims, c)
	}
	d.queue = slices.Delete(d.queue, 0, taken)
	d.free = max(d.free-taken, 0)
	if len(f.claims) == 0 {
		return nil, nil
	}
	for _, c := range f.claims {
		c.re = ""
	}
	a.certs = pool.certs()
	if d.s.initiator && !d.greeted {
		d.greeted = true
		a.nonce = d.nonce
	}
	if d.bound {
		d.bind(a)
	}
	d.flights[id] = f
	d.tally(a)
	return a, f
}

// show decides what an assertion of a domain holds. The lock is held.
func (d *dac) show(c *claim, proof Proof) dacDomain {
	dd := dacDomain{name: c.name}
	hash := attrcert.RefHash(proof.AC)
	switch {
	case d.classic() && !c.wanted:
	case !c.whole && c.carrier != "" && c.hash == hash:
		dd.ref = c.carrier
	case !c.whole && d.remembered(c.name, hash):
		dd.refHash = hash[:]
	default:
		dd.ac = proof.AC
	}
	return dd
}

// remembered reports whether the peer has accepted a certificate on another stream.
func (d *dac) remembered(name string, ac dacHash) bool {
	m, ok := d.h.recall(d.h.shown, dacKey{d.peer, name}, d.now())
	return ok && m.ac == ac
}

// tally counts an assertion.
func (d *dac) tally(a *dacAssert) {
	t := &d.s.host.tally
	t.add(FigureAsserts, 1)
	proofs, references := 0, 0
	for i := range a.domains {
		dd := &a.domains[i]
		if !dd.proofless() {
			proofs++
			if dd.ac == nil {
				references++
			}
		}
	}
	t.add(FigureProofs, int64(proofs))
	t.add(FigureReferences, int64(references))
}

// dacSize is about how many octets a domain adds to an assertion.
func dacSize(d dacDomain, proof Proof) int {
	n := len(d.name) + len(d.ref) + 2*len(d.refHash)
	if d.ac == nil {
		return n
	}
	n += len(proof.AC) / 3 * 4
	for _, der := range proof.Chain {
		n += len(der)/3*4 + 16
	}
	return n
}

// dacPool is the certificates of one assertion, each of them once.
type dacPool struct {
	ids            map[string]string // by DER
	leaves, others []dacCert
}

// add takes a chain in and returns the names of its certificates.
func (p *dacPool) add(chain [][]byte) (leaf string, via []string) {
	for i, der := range chain {
		id, there := p.ids[string(der)]
		if !there {
			to, prefix := &p.others, "i"
			if i == 0 {
				to, prefix = &p.leaves, "c"
			}
			id = prefix + strconv.Itoa(len(*to)+1)
			p.ids[string(der)] = id
			*to = append(*to, dacCert{id, der})
		}
		if i == 0 {
			leaf = id
		} else {
			via = append(via, id)
		}
	}
	return leaf, via
}

func (p *dacPool) certs() []dacCert { return append(p.others, p.leaves...) }

// bind signs an assertion with the provider's key. The lock is held.
func (d *dac) bind(a *dacAssert) {
	nonce := d.given
	if nonce == nil {
		// Of the features: the peer could not give one before.
		nonce = d.nonce
	}
	b, err := d.s.binding(d.role, nonce, a.names())
	if err != nil {
		d.s.abort(*internalError(err))
		return
	}
	signer, ok := d.s.host.id.own.PrivateKey.(crypto.Signer)
	if !ok {
		d.s.abort(*internalError(errors.New("the provider's key cannot sign")))
		return
	}
	alg, signature, err := b.Sign(signer)
	if err != nil {
		d.s.abort(*internalError(err))
		return
	}
	a.binding = &dacBinding{alg, signature}
}

// binding is what is signed for an assertion on this stream.
func (s *Stream) binding(role attrcert.Role, nonce []byte, names []string) (attrcert.Binding, error) {
	exporter, err := s.tls.ExportKeyingMaterial(attrcert.ExporterLabel, attrcert.ExporterContext(role, nonce), attrcert.ExporterLength)
	if err != nil {
		return attrcert.Binding{}, fmt.Errorf("s2s: bind assertions to the connection, which takes TLS 1.3, or 1.2 with extended master secret: %w", err)
	}
	return attrcert.Binding{Role: role, Exporter: exporter, Nonce: nonce, Names: names}, nil
}

// challenged answers the peer's wish for proofs. The lock is held.
func (d *dac) challenged(c *dacChallenge) {
	if d.ended != nil {
		return
	}
	d.given = c.nonce
	for _, name := range c.names {
		proof, ok := d.s.host.proof(name)
		cl := d.claims[name]
		if !ok || cl != nil && cl.state == claimRefused && cl.hash == attrcert.RefHash(proof.AC) {
			d.reject(name)
			continue
		}
		cl = d.claimOf(name)
		cl.wanted = true
		if cl.flight != nil {
			continue // its proof is under way, or will be asked for
		}
		cl.re = c.id
		d.urge(cl)
	}
	d.pump()
}

// judged takes a verdict. The lock is held.
func (d *dac) judged(v *dacVerdict) {
	if d.ended != nil {
		return
	}
	now := time.Now()
	if v.id == "" {
		d.trusted(v, now)
		return
	}
	f := d.flights[v.id]
	if f == nil {
		d.s.host.tally.add(FigureUnsolicited, 1)
		return
	}
	delete(d.flights, v.id)
	entries := make(map[string]*dacEntry, len(v.entries))
	for i := range v.entries {
		entries[v.entries[i].name] = &v.entries[i]
	}
	for _, c := range f.claims {
		c.flight = nil
		e := entries[c.name]
		switch {
		case c.again: // it was retracted meanwhile, and may be hosted again
			c.again = false
			if c.wanted || len(c.waiting) > 0 {
				d.enqueue(c)
			}
		case e == nil:
			d.failAll(c.waiting, &ProofError{Domain: c.name, Reason: "no-answer", Err: errors.New("the peer's verdict leaves it out")})
			c.waiting = nil
		case e.nonce != nil:
			d.demanded(c, e.nonce)
		case e.reason != "":
			d.refusedBy(c, e.reason)
		default:
			d.acceptedBy(c, e.until, dacTimes{f.asked, now})
		}
	}
	d.stirQueue()
}

// stirQueue sends what had to wait for a verdict. The lock is held.
func (d *dac) stirQueue() {
	if d.gathering {
		d.pump()
		return
	}
	d.release()
}

// demanded is the peer's wish for a proof in answer to an assertion. The lock is held.
func (d *dac) demanded(c *claim, nonce []byte) {
	d.given = nonce
	if c.shown {
		// It had the proof: to show it again would go on for ever.
		d.refusedBy(c, attrcert.Policy)
		return
	}
	c.wanted, c.whole = true, true
	d.urge(c)
}

// acceptedBy notes that the peer accepts a domain. The lock is held.
func (d *dac) acceptedBy(c *claim, until time.Time, when dacTimes) {
	now := d.now()
	c.renewal = time.Time{}
	if until.After(c.until) || c.state != claimAccepted {
		c.renewal = now.Add(until.Sub(now) / 5 * 4)
		d.plan(c.renewal)
	}
	c.state, c.until, c.when, c.reason = claimAccepted, until, when, ""
	d.s.mu.Lock()
	d.s.out.from.add(c.name, until)
	d.s.in.to.add(c.name, d.late(until))
	d.s.mu.Unlock()
	d.h.remember(d.h.shown, dacKey{d.peer, c.name}, dacMemory{c.hash, until})
	waiting := c.waiting
	c.waiting = nil
	if now.After(until) {
		d.failAll(waiting, &ProofError{Domain: c.name, Reason: string(attrcert.Expired), Err: errors.New("the peer accepts it until a time that is over")})
		return
	}
	for _, j := range waiting {
		d.arrive(j, when.asked, when.granted)
	}
}

// refusedBy notes that the peer does not accept a domain. The lock is held.
func (d *dac) refusedBy(c *claim, reason attrcert.Reason) {
	c.state, c.reason, c.renewal = claimRefused, reason, time.Time{}
	d.silence(c)
	d.failAll(c.waiting, &ProofError{Domain: c.name, Reason: string(reason), Err: errors.New("the peer has refused it")})
	c.waiting = nil
}

// silence ends the authority of a domain of this end's. The lock is held.
func (d *dac) silence(c *claim) {
	d.s.mu.Lock()
	d.s.out.from.remove(c.name)
	d.s.in.to.remove(c.name)
	d.s.mu.Unlock()
	d.h.forget(d.h.shown, dacKey{d.peer, c.name})
}

// trusted takes a verdict that nobody had asked for: the peer remembers domains. It is
// no news of what is hosted here. The lock is held.
func (d *dac) trusted(v *dacVerdict, now time.Time) {
	for i := range v.entries {
		e := &v.entries[i]
		proof, ok := d.s.host.proof(e.name)
		if !ok {
			d.reject(e.name)
			continue
		}
		c := d.claimOf(e.name)
		if c.queued {
			d.unqueue(c)
		}
		c.hash, c.carrier = attrcert.RefHash(proof.AC), "" // as far as this end can tell
		d.acceptedBy(c, e.until, dacTimes{now, now})
	}
}

// revoked takes back what the peer had accepted. The lock is held.
func (d *dac) revoked(r *dacRevoke) {
	if d.ended != nil {
		return
	}
	for i := range r.entries {
		if c := d.claims[r.entries[i].name]; c != nil && c.state == claimAccepted {
			d.refusedBy(c, r.entries[i].reason)
		}
	}
}

// renew asserts domains again whose time is four fifths over: with what has come in
// place of the old certificate, or as a reference to it, should the peer accept it for
// longer now. The lock is held.
func (d *dac) renew(now time.Time) {
	for _, c := range d.claims {
		if c.renewal.IsZero() {
			continue
		}
		if now.Before(c.renewal) {
			d.plan(c.renewal)
			continue
		}
		c.renewal = time.Time{}
		c.wanted = true
		if c.flight == nil {
			d.urge(c)
		}
	}
	d.pump()
}

// retract takes an assertion back. The lock is held.
func (d *dac) retract(name string) {
	c := d.claims[name]
	if c == nil || d.ended != nil {
		return
	}
	known := c.state == claimAccepted || c.flight != nil
	d.silence(c)
	d.unqueue(c)
	d.failAll(c.waiting, &ProofError{Domain: name, Reason: "retracted"})
	// The verdict on an assertion under way is about what was.
	*c = claim{name: name, hash: c.hash, carrier: c.carrier, flight: c.flight, again: c.flight != nil}
	if known {
		r := dacRetract{d.id("r"), []string{name}}
		d.post(r.append(nil), nil)
	}
}
