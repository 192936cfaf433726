package s2s

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// A Stream is one stream between two providers, of either end. It lives until one
// end closes it or the connection is lost.
type Stream struct {
	host      *Host
	initiator bool
	verifying bool   // it serves dialback verification alone
	key       string // of the link it belongs to; empty for inbound streams
	raw       *wire.Conn
	wire      *wire.Stream
	tls       *tls.ConnectionState // nil in the clear
	secured   *x509.Certificate    // this end's, as presented
	chainErr  error                // why the peer's certificate chain is not trusted; nil if it is
	dialled   *target              // nil for inbound streams

	// Of the stream headers, by this end's point of view. id is the receiving end's.
	local, remote, id string
	peer              peerFeatures
	opened            Times // when the steps of setting it up were done

	ready atomic.Bool  // it is set up: what stands above does not change any more
	used  atomic.Int64 // nanoseconds of the host's epoch of the last stanza
	gone  chan struct{}
	// gaveUp says that this end has ended the stream with an error.
	gaveUp atomic.Bool

	// Guarded by the host's lock: since when it is on the books, whether this end is
	// closing it, and where it is the stream in Host.pairs and Host.domains.
	entered time.Time
	leaving bool
	carries []Pair
	leads   []string

	mu        sync.Mutex
	out, in   Authority
	both      bool // stanzas may pass in both directions
	settled   bool // SASL has succeeded at the receiving end
	muxed     bool // the initiating end wants all names of the certificates to count
	failures  int  // of SASL
	bounced   int  // stanzas without authority
	ended     bool
	unflushed []posted
	head      int // first of unflushed
	dialback  dialback
	proofs    map[string]*proving // by domain of the peer
	dac       atomic.Pointer[dac] // state of attribute certificates
	waiting   map[*route]struct{} // routes that use the stream
}

// peerFeatures is what the peer announced after TLS.
type peerFeatures struct {
	external, bidi, dialback, errors bool
	element                          *wire.Element
}

// posted is a stanza on its way to the wire.
type posted struct {
	stanza Stanza
	times  Times
}

// certificate returns the peer's certificate, nil in the clear.
func (s *Stream) certificate() *x509.Certificate {
	if s.tls == nil || len(s.tls.PeerCertificates) == 0 {
		return nil
	}
	return s.tls.PeerCertificates[0]
}

// expired reports whether the peer's certificate was good and is not any more.
func (s *Stream) expired(now time.Time) bool {
	c := s.certificate()
	return c != nil && s.chainErr == nil && now.After(c.NotAfter)
}

// byExpiry is the end of a stream whose peer's certificate has expired (RFC 6120
// §13.7.2.3).
func byExpiry() wire.StreamError {
	return wire.StreamError{Condition: "reset", Text: "the certificate has expired"}
}

// trusted reports whether the peer's certificate is verified and names the domain.
func (s *Stream) trusted(domain string) bool {
	c := s.certificate()
	return c != nil && s.chainErr == nil && Covers(c, domain)
}

// send posts an element that is no stanza.
func (s *Stream) send(b []byte, written func()) error {
	err := s.wire.Post(b, written)
	if errors.Is(err, wire.ErrQueueFull) {
		s.wire.Abort(wire.StreamError{Condition: wire.PolicyViolation, Text: "too much waits to be read"})
	}
	return err
}

// over reports whether the stream has ended. With the host's lock held, the answer
// holds as long as the lock: who takes the stream off the books has it then.
func (s *Stream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// allowed reports whether this end may send stanzas of the pair.
func (s *Stream) allowed(p Pair) bool {
	now := s.host.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended && s.out.Allows(p, now)
}

// post hands a stanza to the wire. The host's lock is held. After an error the stanza
// is the caller's again, and its Done is not called.
func (s *Stream) post(st Stanza, t Times) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return wire.ErrClosed
	}
	// Under the lock, so that whoever takes the stream off the books finds either both the
	// stanza and the wire's promise to write it, or neither.
	if err := s.wire.Post(st.XML, s.flushed); err != nil {
		return err
	}
	s.unflushed = append(s.unflushed, posted{st, t})
	s.used.Store(int64(s.host.since()))
	return nil
}

// flushed is called for each stanza, in order, when its last byte was written.
func (s *Stream) flushed() {
	now := time.Now()
	s.mu.Lock()
	if s.head >= len(s.unflushed) {
		s.mu.Unlock()
		return
	}
	p := s.unflushed[s.head]
	s.unflushed[s.head] = posted{}
	if s.head++; s.head == len(s.unflushed) {
		s.head = 0
		s.unflushed = s.unflushed[:0]
		if cap(s.unflushed) > 64 {
			s.unflushed = nil
		}
	}
	s.mu.Unlock()
	s.host.tally.stanzasOut.Add(1)
	p.times.Flushed = now
	if p.stanza.Done != nil {
		p.stanza.Done(p.times, nil)
	}
}

// begin reads and writes the stream over a connection.
func (s *Stream) begin(c net.Conn, opened bool) {
	s.wire = wire.NewStream(c, nil, s.options(opened))
	// Now, since it can be closed from here on, which takes the handlers away.
	whole := wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: s.handle}
	s.wire.Handle(func(*wire.Stanza) wire.Handler { return whole })
}

// handle acts on what has come. A stream error is what the peer is told.
func (s *Stream) handle(st *wire.Stanza) error {
	var err error
	switch string(st.Name()) {
	case "message", "iq", "presence":
		err = s.stanza(st)
	default:
		err = s.control(st)
	}
	if bye, ok := errors.AsType[*wire.StreamError](err); ok {
		s.given(bye.Condition)
	}
	return err
}

// given notes that this end gives the stream up with an error.
func (s *Stream) given(condition string) {
	s.gaveUp.Store(true)
	s.host.tally.add(FigureStreamErrorPrefix+condition, 1)
}

// serve reads the stream to its end. It is the last thing that its goroutine does.
func (s *Stream) serve() { s.host.lost(s, s.wire.Serve(s.host.ctx)) }

// stanza judges one stanza and hands it on.
func (s *Stream) stanza(st *wire.Stanza) error {
	p, plain, err := addressed(st.Tag)
	if err != nil {
		return err
	}
	if !plain {
		return s.control(st)
	}
	if p.From == "" || p.To == "" {
		return streamError("improper-addressing", "a stanza between servers has 'from' and 'to'")
	}
	s.used.Store(int64(s.host.since()))
	now := s.host.now()
	if s.expired(now) {
		e := byExpiry()
		return &e
	}
	if condition := s.judge(p, now); condition != "" {
		return s.refuse(st, p, condition)
	}
	s.host.tally.stanzasIn.Add(1)
	if s.host.c.Params.Pool > 1 && s.mayAnswer() {
		s.host.reachable(s, p.Reverse()) // only a stanza tells which stream of a pool is the pair's
	}
	if deliver := s.host.c.Deliver; deliver != nil {
		deliver(Inbound{Pair: p, Stanza: st, Stream: s})
	}
	return nil
}

// addressed reads the domains that a stanza is between from its start tag. It is not
// plain if its name has another namespace than that of the stream. What is judged
// must be what everybody else will read in it, so references are resolved before the
// address is taken apart, and a second address is an error.
func addressed(tag []byte) (p Pair, plain bool, err error) {
	plain = bytes.IndexByte(wire.TagName(tag), ':') < 0
	sc := wire.NewScanner(tag)
	sc.Next()
	var from, to bool
	for name, value := range sc.Attrs() {
		var domain *string
		var seen *bool
		switch string(name) {
		case "from":
			domain, seen = &p.From, &from
		case "to":
			domain, seen = &p.To, &to
		case "xmlns":
			plain = plain && string(value) == wire.NSServer
			continue
		default:
			continue
		}
		if *seen {
			return p, plain, &wire.SyntaxError{Condition: wire.NotWellFormed, Msg: "an attribute stands twice in a stanza"}
		}
		*seen = true
		if bytes.IndexByte(value, '&') >= 0 {
			if value, err = wire.Unescape(nil, value); err != nil {
				return p, plain, err
			}
		}
		*domain = domainOf(value)
	}
	return p, plain, nil
}

// judge returns the stream error that RFC 6120 has for a stanza of the pair, or
// nothing if it is admitted.
func (s *Stream) judge(p Pair, now time.Time) (condition string) {
	h := s.host
	s.mu.Lock()
	admitted := s.in.Allows(p, now)
	speaks := admitted || s.in.speaks(p.From, now)
	both := s.both || !s.initiator
	s.mu.Unlock()
	hosted := h.hosts(p.To)
	switch {
	case admitted && hosted && both:
		return ""
	case !hosted:
		return "host-unknown"
	case h.c.LenientTarget && speaks && both:
		h.tally.add(FigureLenientTarget, 1)
		return ""
	case h.c.LenientAnswer && h.talks(p.Reverse()):
		h.tally.add(FigureLenientAnswer, 1)
		return ""
	case speaks && both:
		return "host-unknown" // a target that is not validated is as good as none
	}
	return "invalid-from"
}

// unproved reports whether the peer has no authority at all.
func (s *Stream) unproved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in.pairs) == 0 && s.in.from.empty()
}

// maxBounced is how many stanzas without authority a stream bears.
const maxBounced = 100

// refuse treats a stanza without authority as the setting unauth says.
func (s *Stream) refuse(st *wire.Stanza, p Pair, condition string) error {
	h := s.host
	h.tally.add(FigureUnauthorised, 1)
	if d := s.dac.Load(); d != nil {
		d.lapsed(p)
	}
	if h.c.Params.Unauth != UnauthBounce {
		return streamError(condition, "no authority for "+p.String()+" on this stream")
	}
	s.mu.Lock()
	s.bounced++
	n := s.bounced
	s.mu.Unlock()
	if n > maxBounced {
		return streamError(wire.PolicyViolation, "more than "+strconv.Itoa(maxBounced)+" stanzas without authority")
	}
	switch st.Type() {
	case "error", "result":
		return nil // never answered (RFC 6120 §8.3.1)
	}
	b := wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "auth", Condition: "not-authorized"})
	if s.mayAnswer() {
		return s.send(b, nil)
	}
	if h.hosts(p.To) && s.mayHear(p.From) {
		// Where nothing can be sent, there is nobody to tell.
		_ = h.Send(Stanza{Pair: p.Reverse(), XML: b})
	}
	return nil
}

// mayAnswer reports whether a refused stanza can be answered where it came from.
func (s *Stream) mayAnswer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.both
}

// mayHear reports whether a domain is the peer's, so that what goes to its provider
// goes to whoever is behind this stream and not to a third party.
func (s *Stream) mayHear(domain string) bool {
	now := s.host.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.initiator && (domain == s.remote || s.out.reaches(domain)) || s.in.speaks(domain, now)
}

// control acts on an element of authority. It does so on a goroutine of its own,
// which is gone afterwards: acting takes a deep stack, and a stack that has grown
// stays with a goroutine that waits for its peer.
func (s *Stream) control(st *wire.Stanza) error {
	el, err := st.Element()
	if err != nil {
		return err
	}
	acted := make(chan error, 1)
	go func() { acted <- s.act(el) }()
	return <-acted
}

func (s *Stream) act(el *wire.Element) error {
	v := s.host.c.Variant
	if el.Space == wire.NSDialback {
		return s.dialbackElement(el)
	}
	if v.control != nil {
		if handled, err := v.control(s, el); handled || err != nil {
			return err
		}
	}
	return streamError("unsupported-stanza-type", "<"+el.Name+"/> is not known here")
}

// accept admits stanzas of a pair from the peer, and where the stream is used in
// both directions, those of its reverse to the peer (XEP-0288 §2).
func (s *Stream) accept(p Pair) {
	h := s.host
	s.mu.Lock()
	if h.c.Params.Granularity == GrainDomain {
		s.in.from.add(p.From, time.Time{})
		s.in.to.covers = h.hosts
	} else {
		s.in.addPair(p)
	}
	both := s.both
	switch {
	case both && h.c.Params.Granularity == GrainDomain:
		// A domain that may be a source may be a target (XEP-0288 §2.3).
		s.out.from.covers = h.hosts
		s.out.to.add(p.From, time.Time{})
	case both:
		s.out.addPair(p.Reverse())
	}
	s.mu.Unlock()
	if both {
		h.reachable(s, p.Reverse())
	}
}

// granted notes that the peer accepts a pair of this end.
func (s *Stream) granted(p Pair) {
	h := s.host
	s.mu.Lock()
	if h.c.Params.Granularity == GrainDomain {
		s.out.from.add(p.From, time.Time{})
		s.out.to.add(p.To, time.Time{})
	}
	s.out.addPair(p)
	switch {
	case s.both && h.c.Params.Granularity == GrainDomain:
		s.in.from.add(p.To, time.Time{})
		s.in.to.covers = h.hosts
	case s.both:
		s.in.addPair(p.Reverse())
	}
	s.mu.Unlock()
}

// newID returns a stream id that nobody can guess (RFC 6120 §4.7.3).
func newID() string { return rand.Text() }

// majorVersion reads a stream's version; an absent one is 0.9 (RFC 6120 §4.7.5).
func majorVersion(v string) int {
	major, _, _ := strings.Cut(v, ".")
	n, err := strconv.ParseUint(major, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// parseFeatures reads what a peer announced.
func parseFeatures(el *wire.Element) peerFeatures {
	f := peerFeatures{element: el}
	for m := range el.Child(wire.NSSASL, "mechanisms").Each(wire.NSSASL, "mechanism") {
		f.external = f.external || m.Text() == "EXTERNAL"
	}
	f.bidi = el.Child(nsBidiFeature, "bidi") != nil
	db := el.Child(nsDialbackFeature, "dialback")
	f.dialback = db != nil
	f.errors = db.Child(nsDialbackFeature, "errors") != nil
	return f
}

// close ends the stream in order: what was posted goes out before the end tag.
func (s *Stream) close(ctx context.Context) error {
	if err := s.wire.Close(ctx); err != nil {
		s.host.mu.Lock()
		defer s.host.mu.Unlock()
		return fmt.Errorf("s2s: close the stream %s to %s: %w", s.local, s.remote, err)
	}
	return nil
}

// Local and Remote are the domains of the stream headers, this end's and the
// peer's.
func (s *Stream) Local() string { return s.local }

// Remote returns the peer's domain of the stream headers.
func (s *Stream) Remote() string { return s.remote }

// Initiator reports whether this end has opened the stream.
func (s *Stream) Initiator() bool { return s.initiator }
