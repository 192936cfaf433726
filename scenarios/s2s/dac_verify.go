package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// believing is the half of an end that decides on the peer's domains. It is guarded
// by the lock of the [dac].
type believing struct {
	beliefs map[string]*belief
	wanted  []*belief // to be challenged
	chunk   int       // domains in one challenge
	storm   int       // assertions of what was refused before
}

// belief is a domain of the peer's.
type belief struct {
	name      string
	state     beliefState
	wanted    bool    // to be challenged
	verifying bool    // an assertion has no verdict yet
	changes   int     // of what is believed, other than by the assertion that is being verified
	tried     dacHash // what was refused, with its chain
	banned    dacHash // certificate that this end has revoked
	reason    attrcert.Reason
	ac        dacHash         // certificate that was accepted
	carrier   string          // assertion on this stream that had it, empty if there is none
	claim     *attrcert.Claim // the same, kept if it can be revoked
	until     time.Time       // as the peer was told
	review    time.Time       // when to look whether it was revoked; zero for never
	when      dacTimes
	waiting   []*dacJoin
}

// beliefState says what this end makes of a domain.
type beliefState int

const (
	unknown beliefState = iota
	challenged
	believed
	disbelieved
)

const (
	// maxVerifying is how many assertions of a stream are verified at a time. What comes
	// above waits unread.
	maxVerifying = 64
	// maxBeliefs bounds the domains of one peer on a stream.
	maxBeliefs = 1 << 16
	// maxStorm is how often a peer may assert what was refused before.
	maxStorm = 100
	// fetchers is how many domains of one assertion are verified at a time where that
	// waits for revocation lists.
	fetchers = 64
)

// beliefOf returns what is known of a peer's domain, nil if there are too many. The
// lock is held.
func (d *dac) beliefOf(name string) *belief {
	b := d.beliefs[name]
	if b == nil && len(d.beliefs) < maxBeliefs {
		b = &belief{name: name}
		d.beliefs[name] = b
	}
	return b
}

// late is until when stanzas are taken that the peer may have sent in time.
func (d *dac) late(until time.Time) time.Time { return until.Add(d.s.host.c.Params.Skew) }

// needBelief has the peer prove a domain for a join. The lock is held.
func (d *dac) needBelief(name string, j *dacJoin) {
	b := d.beliefOf(name)
	switch {
	case b == nil:
		d.fail(j, &ProofError{Domain: name, Reason: string(attrcert.TooMany), Err: errors.New("the peer has too many domains")})
	case b.state == believed && !d.now().After(d.late(b.until)):
		d.arrive(j, b.when.asked, b.when.granted)
	case b.state == disbelieved:
		d.fail(j, &ProofError{Domain: name, Reason: string(b.reason), Err: errDisbelieved})
	default:
		b.waiting = append(b.waiting, j)
		if !b.verifying && !b.wanted && b.state != challenged {
			b.wanted = true
			d.wanted = append(d.wanted, b)
		}
	}
}

var errDisbelieved = errors.New("this end has refused the peer's proof")

// challengeWanted asks for the proofs that are wanted. The lock is held.
func (d *dac) challengeWanted() {
	for len(d.wanted) > 0 {
		c := dacChallenge{id: d.id("c"), nonce: d.nonce}
		var asked []*belief
		for len(d.wanted) > 0 && len(asked) < d.chunk {
			b := d.wanted[0]
			d.wanted = d.wanted[1:]
			b.wanted = false
			if len(b.waiting) == 0 || b.verifying || b.state == challenged {
				continue // the peer was faster, or nobody waits any more
			}
			b.state = challenged
			c.names = append(c.names, b.name)
			asked = append(asked, b)
		}
		if len(asked) == 0 {
			break
		}
		d.greeted = true
		d.post(c.append(nil), func() {
			now := time.Now()
			d.do(func() {
				for _, b := range asked {
					b.when.asked = now
				}
			})
		})
	}
	d.wanted = nil
}

// dacJob is the verification of one domain.
type dacJob struct {
	name   string
	belief *belief
	was    belief     // when it began
	domain *dacDomain // what was asserted; nil where nothing was
	claim  *attrcert.Claim

	entry   dacEntry
	verdict attrcert.Verdict
	err     error
	ac      dacHash // certificate
	shown   dacHash // the same with its chain
	storm   bool    // it was refused before
}

// asserted verifies an assertion of the peer's, for which it had a nonce. The verdict
// goes out when all of its domains have one. It blocks while too many are verified.
func (d *dac) asserted(a *dacAssert, nonce []byte) error {
	select {
	case d.slots <- struct{}{}:
	case <-d.s.gone:
		return nil
	}
	jobs := make([]*dacJob, 0, len(a.domains))
	var err error
	d.do(func() {
		if d.ended != nil {
			return
		}
		if a.nonce != nil {
			d.given = a.nonce
		}
		for i := range a.domains {
			dd := &a.domains[i]
			b := d.beliefOf(dd.name)
			if b == nil {
				err = streamError(wire.PolicyViolation, "more than "+strconv.Itoa(maxBeliefs)+" domains on one stream")
				return
			}
			if b.verifying {
				err = streamError(wire.PolicyViolation, dd.name+" was asserted twice at a time")
				return
			}
			b.verifying = true
			jobs = append(jobs, &dacJob{name: b.name, belief: b, was: *b, domain: dd})
		}
		d.pump() // a nonce may have come that an assertion had to wait for
	})
	if err != nil || len(jobs) == 0 {
		<-d.slots
		return err
	}
	d.s.host.spawn(func() {
		defer func() { <-d.slots }()
		d.verify(a, nonce, jobs)
		d.do(func() { d.decide(a, jobs) })
	})
	return nil
}

// verify does what takes time. It holds no lock.
func (d *dac) verify(a *dacAssert, nonce []byte, jobs []*dacJob) {
	h := d.s.host
	ctx, cancel := context.WithTimeout(h.ctx, h.c.Setup)
	defer cancel()
	if err := d.verifyBinding(a, nonce); err != nil {
		for _, j := range jobs {
			j.refuse(err)
		}
		return
	}
	pool := parsePool(a)
	each(jobs, h.c.Params.Revocation == RevocationCRL, func(j *dacJob) { d.verifyOne(ctx, j, pool) })
	h.countVerified(jobs)
}

// countVerified counts the signatures that were verified for jobs.
func (h *Host) countVerified(jobs []*dacJob) {
	signatures := 0
	for _, j := range jobs {
		signatures += j.verdict.Signatures
	}
	h.tally.add(FigureVerified, int64(signatures))
}

// each runs f for all jobs, several at a time: as many as there are processors, more
// where they wait for others.
func each(jobs []*dacJob, waits bool, f func(*dacJob)) {
	n := runtime.GOMAXPROCS(0)
	if waits {
		n = fetchers
	}
	if n = min(n, len(jobs)); n == 1 {
		for _, j := range jobs {
			f(j)
		}
		return
	}
	next := make(chan *dacJob)
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			for j := range next {
				f(j)
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	wait.Wait()
}

// refuse makes the verdict on a domain invalid, trust makes it valid, and demand asks
// for a proof.
func (j *dacJob) refuse(err error) {
	j.err = err
	j.entry = dacEntry{name: j.name, reason: attrcert.Policy}
	var refused *attrcert.Error
	if errors.As(err, &refused) {
		j.entry.reason = refused.Reason
	}
}

func (j *dacJob) trust(ac dacHash, until time.Time) {
	j.ac = ac
	j.entry = dacEntry{name: j.name, until: until}
}

func (j *dacJob) demand(nonce []byte) { j.entry = dacEntry{name: j.name, nonce: nonce} }

// verifyBinding checks that the peer's key has signed the assertion, where bindings are
// asked for or there is one.
func (d *dac) verifyBinding(a *dacAssert, nonce []byte) error {
	if a.binding == nil {
		if d.bound {
			return &attrcert.Error{Reason: attrcert.BindingFailed, Detail: "the assertion is not bound"}
		}
		return nil
	}
	role := attrcert.Initiator
	if d.s.initiator {
		role = attrcert.Responder
	}
	b, err := d.s.binding(role, nonce, a.names())
	if err != nil {
		return &attrcert.Error{Reason: attrcert.BindingFailed, Detail: "the connection has no keying material", Err: err}
	}
	err = b.Verify(d.s.certificate(), a.binding.alg, a.binding.signature)
	if err == nil || errors.Unwrap(err) != nil { // a wrong algorithm has no cause below it, and no signature was checked
		d.s.host.tally.add(FigureVerified, 1)
	}
	return err
}

// poolCert is a certificate of an assertion's pool, as far as it could be read.
type poolCert struct {
	hash dacHash
	cert *x509.Certificate
	err  error
}

func parsePool(a *dacAssert) map[string]poolCert {
	pool := make(map[string]poolCert, len(a.certs))
	for _, c := range a.certs {
		cert, err := x509.ParseCertificate(c.der)
		pool[c.id] = poolCert{sha256.Sum256(c.der), cert, err}
	}
	return pool
}

// verifyOne decides on one domain of an assertion.
func (d *dac) verifyOne(ctx context.Context, j *dacJob, pool map[string]poolCert) {
	dd, was := j.domain, &j.was
	switch {
	case d.s.host.hosts(j.name):
		j.refuse(&attrcert.Error{Reason: attrcert.Policy, Detail: j.name + " is hosted here"})
	case dd.proofless():
		j.demand(d.nonce)
	case dd.refHash != nil:
		m, ok := d.h.recall(d.h.known, dacKey{d.peer, j.name}, d.now())
		if !ok || m.ac != dacHash(dd.refHash) {
			j.demand(d.nonce)
			return
		}
		j.trust(m.ac, m.until)
	case dd.ref != "" && dd.ref == was.carrier && was.claim != nil:
		j.claim, j.ac = was.claim, was.ac
		d.check(ctx, j)
	case dd.ref != "" && dd.ref == was.carrier && !d.now().After(was.until):
		j.trust(was.ac, was.until) // it was verified on this stream, and cannot be revoked
	case dd.ref != "":
		j.demand(d.nonce)
	default:
		if err := j.read(d.s.certificate(), pool); err != nil {
			j.refuse(err)
			return
		}
		d.check(ctx, j)
	}
}

// read makes a claim of what an assertion shows.
func (j *dacJob) read(holder *x509.Certificate, pool map[string]poolCert) error {
	dd := j.domain
	j.claim = &attrcert.Claim{Domain: j.name, Holder: holder}
	j.ac = attrcert.RefHash(dd.ac)
	shown := sha256.New()
	_, _ = shown.Write(j.ac[:]) // never fails
	var broken error
	for i, id := range append([]string{dd.leaf}, dd.via...) {
		c := pool[id]
		_, _ = shown.Write(c.hash[:]) // as above
		switch {
		case c.err != nil:
			broken = &attrcert.Error{Reason: attrcert.BadEncoding, Detail: "the certificate " + id, Err: c.err}
		case i == 0:
			j.claim.Owner = c.cert
		default:
			j.claim.Intermediates = append(j.claim.Intermediates, c.cert)
		}
	}
	j.shown = dacHash(shown.Sum(nil))
	if j.shown == j.was.tried || j.ac == j.was.banned {
		j.storm = true
		return &attrcert.Error{Reason: j.was.reason, Detail: "it was refused before"}
	}
	if broken != nil {
		return broken
	}
	var err error
	j.claim.Certificate, err = attrcert.Parse(dd.ac)
	return err
}

// check verifies a claim.
func (d *dac) check(ctx context.Context, j *dacJob) {
	var err error
	if j.verdict, err = d.h.verify(ctx, *j.claim); err != nil {
		j.refuse(err)
		return
	}
	j.trust(j.ac, j.verdict.Until)
}

// decide believes or disbelieves what was verified, and sends the verdict. The lock is
// held.
func (d *dac) decide(a *dacAssert, jobs []*dacJob) {
	if d.ended != nil {
		return
	}
	v := dacVerdict{id: a.id}
	now := time.Now()
	var admitted []*belief
	for _, j := range jobs {
		b := j.belief
		b.verifying = false
		switch {
		case b.changes != j.was.changes: // retracted, or revoked by this end
			j.entry = dacEntry{name: b.name, reason: attrcert.Policy}
			d.disappoint(b, &ProofError{Domain: b.name, Reason: "retracted"})
		case j.entry.reason != "":
			if j.shown != (dacHash{}) {
				b.tried = j.shown
			}
			d.dismiss(b, j.entry.reason, j.err)
		case j.entry.nonce != nil:
			d.greeted = true
			if b.state != believed {
				b.state = challenged
				b.when.asked = now
			}
		default:
			switch {
			case j.domain.ac != nil:
				b.carrier = a.id
			case j.domain.refHash != nil:
				b.carrier = ""
			}
			d.believe(b, j, now)
			admitted = append(admitted, b)
		}
		v.entries = append(v.entries, j.entry)
		if j.storm {
			d.storm++
		}
	}
	d.post(v.append(nil, true), nil)
	// The peer takes nothing for its domains before it has the verdict: no stanza may overtake it.
	for _, b := range admitted {
		d.address(b)
	}
	if d.storm > maxStorm {
		d.s.abort(wire.StreamError{Condition: wire.PolicyViolation, Text: "refused proofs were shown again and again"})
		return
	}
	d.unhold()
}

// unhold lets this end assert its own domains once the peer's first one is decided on.
// The lock is held.
func (d *dac) unhold() {
	if !d.held {
		return
	}
	if b := d.beliefs[d.s.remote]; b != nil && (b.state == challenged || b.verifying) {
		return
	}
	d.held = false
	d.pump()
}

// believe accepts a domain. The lock is held.
func (d *dac) believe(b *belief, j *dacJob, now time.Time) {
	b.state, b.ac, b.until, b.review = believed, j.ac, j.entry.until, j.verdict.StatusUntil
	b.reason, b.tried, b.banned = "", dacHash{}, dacHash{}
	b.when.granted = now
	if b.when.asked.IsZero() {
		b.when.asked = now
	}
	keep := b.until
	if b.claim = nil; !b.review.IsZero() {
		b.claim = j.claim
		d.plan(b.review)
		if b.review.Before(keep) {
			keep = b.review // nobody looks at the list again while there is no stream
		}
	}
	d.admit(b)
	d.h.remember(d.h.known, dacKey{d.peer, b.name}, dacMemory{b.ac, keep})
}

// admit lets stanzas from a domain pass. What is sent to it comes here from now on, and
// waits for address. The lock is held.
func (d *dac) admit(b *belief) {
	s := d.s
	s.mu.Lock()
	s.in.from.add(b.name, d.late(b.until))
	s.mu.Unlock()
	if !s.initiator {
		s.host.leadsTo(s, b.name)
	}
}

// address lets stanzas to a domain pass, and tells those who wait for it. The lock is
// held.
func (d *dac) address(b *belief) {
	s := d.s
	s.mu.Lock()
	s.out.to.add(b.name, d.late(b.until))
	s.mu.Unlock()
	waiting := b.waiting
	b.waiting = nil
	for _, w := range waiting {
		d.arrive(w, b.when.asked, b.when.granted)
	}
}

// dismiss refuses a domain from now on. The lock is held.
func (d *dac) dismiss(b *belief, reason attrcert.Reason, cause error) {
	b.state, b.reason, b.review = disbelieved, reason, time.Time{}
	b.claim, b.carrier = nil, ""
	d.exclude(b)
	d.disappoint(b, &ProofError{Domain: b.name, Reason: string(reason), Err: cause})
}

// exclude lets no stanza of a domain pass. The lock is held.
func (d *dac) exclude(b *belief) {
	d.s.mu.Lock()
	d.s.in.from.remove(b.name)
	d.s.out.to.remove(b.name)
	d.s.mu.Unlock()
	d.h.forget(d.h.known, dacKey{d.peer, b.name})
}

// disappoint tells those who wait for a domain. The lock is held.
func (d *dac) disappoint(b *belief, err error) {
	d.failAll(b.waiting, err)
	b.waiting = nil
}

// overdue gives up challenges that were written before and that the peer has not
// answered, so that they are made again for those who ask next. The lock is held.
func (d *dac) overdue(before time.Time) {
	for _, b := range d.beliefs {
		if b.state == challenged && !b.verifying && b.when.asked.Before(before) {
			b.state = unknown
		}
	}
}

// retracted takes the peer's word that it serves domains no more. The lock is held.
func (d *dac) retracted(r *dacRetract) {
	if d.ended != nil {
		return
	}
	for _, name := range r.names {
		b := d.beliefs[name]
		if b == nil {
			continue
		}
		b.changes++
		if b.state == believed || b.state == challenged {
			b.state = unknown
		}
		b.review = time.Time{}
		d.exclude(b)
		d.s.host.strays(d.s, name)
		if !b.verifying {
			d.disappoint(b, &ProofError{Domain: name, Reason: "retracted"})
		}
	}
	d.unhold()
}

// impossible takes the peer's word that it does not serve a domain. The lock is held.
func (d *dac) impossible(name string) {
	if d.ended != nil {
		return
	}
	b := d.beliefs[name]
	if b == nil || b.verifying {
		return
	}
	if b.state == believed || b.state == challenged {
		b.state = unknown
	}
	d.exclude(b)
	d.s.host.strays(d.s, name)
	d.disappoint(b, &ProofError{Domain: name, Reason: "impossible", Err: errors.New("the peer does not speak for it")})
	d.unhold()
}

// revoke stops believing. The lock is held.
func (d *dac) revoke(name string, reason attrcert.Reason) {
	if d.ended != nil {
		return
	}
	b := d.beliefs[name]
	if b == nil || b.state == disbelieved || b.state == unknown && !b.verifying {
		return
	}
	b.changes++
	told := b.state == believed
	b.banned = b.ac
	d.dismiss(b, reason, errors.New("revoked here"))
	if told {
		d.sayRevoked([]dacEntry{{name: name, reason: reason}})
	}
}

// sayRevoked tells the peer what is believed no more. The lock is held.
func (d *dac) sayRevoked(entries []dacEntry) {
	for len(entries) > 0 {
		n := min(len(entries), dacMaxBatch)
		r := dacRevoke{d.id("v"), entries[:n]}
		d.post(r.append(nil), nil)
		entries = entries[n:]
	}
}

// lapsed notes that a stanza came for which there is no authority. A domain whose time
// is over is revoked then, once.
func (d *dac) lapsed(p Pair) {
	d.do(func() {
		b := d.beliefs[p.From]
		if d.ended != nil || b == nil || b.state != believed || !d.now().After(d.late(b.until)) {
			return
		}
		b.state, b.review = unknown, time.Time{}
		d.exclude(b)
		d.sayRevoked([]dacEntry{{name: b.name, reason: attrcert.Expired}})
	})
}

// recheck looks whether domains were revoked whose revocation list has been followed
// by another. The lock is held.
func (d *dac) recheck(now time.Time) {
	var jobs []*dacJob
	for _, b := range d.beliefs {
		switch {
		case b.review.IsZero():
		case now.Before(b.review) || now.Equal(b.review): // the list holds to the very end of its time
			d.plan(b.review.Add(time.Nanosecond))
		case !b.verifying && b.claim != nil:
			jobs = append(jobs, &dacJob{name: b.name, belief: b, was: *b, claim: b.claim, ac: b.ac})
			b.review = time.Time{}
		}
	}
	if len(jobs) == 0 {
		return
	}
	h := d.s.host
	h.spawn(func() {
		ctx, cancel := context.WithTimeout(h.ctx, h.c.Setup)
		defer cancel()
		each(jobs, true, func(j *dacJob) { d.check(ctx, j) })
		h.countVerified(jobs)
		d.do(func() { d.reviewed(jobs) })
	})
}

// reviewed takes what recheck has found out. The lock is held.
func (d *dac) reviewed(jobs []*dacJob) {
	if d.ended != nil {
		return
	}
	var gone []dacEntry
	for _, j := range jobs {
		b := j.belief
		switch {
		case b.changes != j.was.changes || b.verifying || b.state != believed:
		case j.err != nil:
			b.changes++
			d.dismiss(b, j.entry.reason, j.err)
			gone = append(gone, dacEntry{name: b.name, reason: j.entry.reason})
		default:
			b.review = j.verdict.StatusUntil
			d.plan(b.review)
		}
	}
	d.sayRevoked(gone)
}

// internalError is a stream error for what went wrong at this end.
func internalError(err error) *wire.StreamError {
	return &wire.StreamError{Condition: "internal-server-error", Text: err.Error()}
}
