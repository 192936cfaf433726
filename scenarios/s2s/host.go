package s2s

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// Defaults of [Config].
const (
	DefaultSetup  = 30 * time.Second
	DefaultDials  = 16
	DefaultQueue  = 1000
	DefaultPiece  = 4096
	DefaultFrames = 4 << 20
)

// Config describes the federation side of a provider. Domains, Variant, Params
// (as Variant.Parse returns them) and Resolver are required.
type Config struct {
	// Domains are those hosted, in lower case.
	Domains []string
	// Address is the host:port that the domains' SRV records point to. Layouts that
	// share streams tell providers apart by it.
	Address string
	Variant Variant
	Params  Params
	// Credentials are what the variant needs.
	Credentials Credentials
	// Secret is what dialback keys are made of (XEP-0220 §2.5). Workers of one
	// provider share it.
	Secret string
	// Resolver finds the targets of domains.
	Resolver Locator
	// CRLs fetches the revocation list of a domain's owner, as DER, from a URL that
	// stands in a proof. Without it only attribute certificates are accepted that cannot
	// be revoked.
	CRLs func(ctx context.Context, url string) ([]byte, error)
	// Known is what was proved before, for the modes warm and proactive of
	// shared-attrcert: see [KnownOf] and [Host.Known].
	Known []Known
	// POSH fetches what domains publish of their certificates; shared-posh needs it.
	POSH *POSHFetcher
	// Partners are the providers known by configuration, for zero handshake.
	Partners []Partner
	// Dial opens a TCP connection to host:port; nil dials it from the IP address in Address.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Deliver takes stanzas for hosted domains. It runs on the goroutine that reads
	// the stream, must not block, and must not keep what it is given.
	Deliver func(Inbound)
	// Now is the wall clock by which certificates are judged; nil is time.Now.
	Now func() time.Time

	// Setup bounds the set-up of a stream and each proof of authority, 30 s if zero.
	// Stanzas that waited for it bounce then.
	Setup time.Duration
	// Dials is how many streams are set up at one time, 16 if zero.
	Dials int
	// Queue is how many stanzas of one pair may wait for authority, 1000 if zero.
	Queue int
	// Idle closes streams on which no stanza passed for that long; never if zero.
	Idle time.Duration
	// Piece is the largest single write in bytes, 4096 if zero. Frame bounds what is
	// taken as one stanza, 4 MiB if zero.
	Piece, Frame int
	// LenientTarget admits stanzas of a proved sender to any hosted domain, and asks
	// deployed servers for no more than they can grant: a second target on a stream goes
	// without a request where the peer announces no dialback errors, and streams that the
	// peer has opened carry no requests. LenientAnswer admits answers from wherever
	// something was sent to.
	LenientTarget, LenientAnswer bool
	// Trace, where set, sees the bytes of every stream, numbered from 1.
	Trace func(stream uint64, out bool, b []byte)
}

func (c Config) withDefaults() Config {
	c.Setup = cmp.Or(c.Setup, DefaultSetup)
	c.Dials = cmp.Or(c.Dials, DefaultDials)
	c.Queue = cmp.Or(c.Queue, DefaultQueue)
	c.Piece = cmp.Or(c.Piece, DefaultPiece)
	c.Frame = cmp.Or(c.Frame, DefaultFrames)
	c.Params.Pool = max(c.Params.Pool, 1)
	if c.Dial == nil {
		d := net.Dialer{KeepAlive: -1}
		if own, err := netip.ParseAddrPort(c.Address); err == nil {
			// From the provider's own address: peers without TLS know it by that, and each address has ports of its own.
			d.LocalAddr = &net.TCPAddr{IP: own.Addr().AsSlice()}
		}
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Stanza is one to be sent between domains.
type Stanza struct {
	Pair
	// XML is the stanza, in the namespace jabber:server, with from and to. The host
	// owns it from then on.
	XML []byte
	// Done, where set, is called once: when the last byte was handed to the
	// connection, or with the reason why it never will be, a *[RouteError] where no
	// stream could be had. It must not block.
	Done func(Times, error)
}

// Times are when the steps of a stanza's way were done, from the monotonic clock;
// docs/metrics.md calls them s0 to s7. Those of the stream's set-up are not before
// Handed where the stream was there already: steps that were not needed took no time.
type Times struct {
	Handed    time.Time // s0: handed to Send
	Connected time.Time // s1: TCP connection made
	Secured   time.Time // s2: TLS negotiated
	Features  time.Time // s3: features after TLS decoded
	Asked     time.Time // s4: proof of authority written
	Granted   time.Time // s5: answer decoded
	Usable    time.Time // s6: stanzas may pass
	Flushed   time.Time // s7: the stanza was written
}

// since replaces times before the stanza was handed over.
func (t Times) since(handed time.Time) Times {
	for _, step := range []*time.Time{&t.Connected, &t.Secured, &t.Features, &t.Asked, &t.Granted, &t.Usable} {
		if step.Before(handed) {
			*step = handed
		}
	}
	t.Handed = handed
	return t
}

// Inbound is a stanza that a peer had the authority to send.
type Inbound struct {
	Pair
	// Stanza was read whole. It is valid during the call only.
	Stanza *wire.Stanza
	Stream *Stream
}

// Host is the federation side of one provider. Its methods may be called
// concurrently.
type Host struct {
	c       Config
	id      *identity
	names   names
	server  *tls.Config
	clients clients
	tally   tally
	dac     *dacHost // of attribute certificates
	epoch   time.Time
	dials   chan struct{}

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closing bool
	number  uint64    // of streams, for Trace
	coming  int       // routes that are about to seek their target
	fresh   []*route  // those of them that no goroutine has taken yet
	leaders int       // goroutines that take them
	seeking int       // routes whose target is being looked up
	begun   time.Time // when the last route began
	routes  map[Pair]*route
	links   map[string]*link
	pairs   map[Pair]*Stream        // streams with authority to send for a pair
	domains map[string]*Stream      // streams to the provider of a remote domain
	targets map[string]*lookup      // by domain
	tlsa    map[resolve.Target]bool // whose TLSA records were asked for
	streams map[*Stream]struct{}    // alive
	alive   map[*Stream]struct{}    // being set up or alive, as initiator
}

// A route is a pair that something was sent for.
type route struct {
	pair   Pair
	stream *Stream // that admits the pair; nil while there is none
	busy   bool    // authority is being asked for
	again  int     // how often in a row a stream was on its way out when this route wanted it
	queue  []queued
}

type queued struct {
	stanza Stanza
	handed time.Time
}

// A link is an outgoing stream under the key of its layout, from the moment that
// somebody wanted it.
type link struct {
	key     string
	stream  *Stream
	waiting []func(*Stream, error)
	yielded bool    // to one that the peer has opened
	other   *Stream // that the peer has opened, and is to give up
}

// New returns a host that listens nowhere yet: see [Host.Accept]. The context ends
// all its work.
func New(ctx context.Context, c Config) (*Host, error) {
	c = c.withDefaults()
	id, err := c.Credentials.parse()
	if err != nil {
		return nil, err
	}
	if len(c.Domains) == 0 || c.Resolver == nil || c.Variant.Name == "" {
		return nil, errors.New("s2s: a host needs domains, a variant and a resolver")
	}
	h := &Host{
		c: c, id: id, epoch: time.Now(), dials: make(chan struct{}, c.Dials),
		routes: make(map[Pair]*route), links: make(map[string]*link),
		pairs: make(map[Pair]*Stream), domains: make(map[string]*Stream), targets: make(map[string]*lookup),
		tlsa: make(map[resolve.Target]bool), streams: make(map[*Stream]struct{}), alive: make(map[*Stream]struct{}),
	}
	h.names.hosted = make(map[string]bool)
	for _, d := range c.Domains {
		h.names.hosted[d] = true
	}
	h.names.partners = make(map[string]map[string]bool)
	for _, p := range c.Partners {
		h.names.trust(p.Name, p.Domains...)
	}
	h.server = h.serverTLS()
	if prepare := c.Variant.prepare; prepare != nil {
		if err := prepare(h); err != nil {
			return nil, err
		}
	}
	h.ctx, h.cancel = context.WithCancel(ctx)
	h.wg.Go(h.sweep)
	return h, nil
}

func (h *Host) now() time.Time       { return h.c.Now() }
func (h *Host) since() time.Duration { return time.Since(h.epoch) }

// hosts reports whether a domain is hosted here.
func (h *Host) hosts(domain string) bool { return h.names.has(domain) }

// names are the domains on both sides of a host. They have a lock of their own, which
// is taken after all others.
type names struct {
	mu       sync.RWMutex
	hosted   map[string]bool
	partners map[string]map[string]bool // by the name of the partner
}

func (n *names) has(domain string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.hosted[domain]
}

func (n *names) host(domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosted[domain] = true
}

func (n *names) drop(domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hosted, domain)
}

// trust notes domains of a partner, knows tells them.
func (n *names) trust(partner string, domains ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.partners[partner] == nil {
		n.partners[partner] = make(map[string]bool)
	}
	for _, d := range domains {
		n.partners[partner][d] = true
	}
}

func (n *names) knows(partner, domain string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.partners[partner][domain]
}

// talks reports whether something was sent for the pair.
func (h *Host) talks(p Pair) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.routes[p] != nil
}

// A NewDomain is a domain that comes to a running host, with what its owner gives.
type NewDomain struct {
	Domain string `json:"domain"`
	// Pair is its certificate and key, where each domain has one; All the certificate
	// for all domains, made anew, where there is one; Proof what the owner has signed,
	// where that is enough.
	Pair  *KeyPair `json:"pair,omitempty"`
	All   *KeyPair `json:"all,omitempty"`
	Proof *Proof   `json:"proof,omitempty"`
}

// AddDomain hosts one more domain. It joins the streams that are there, unless the
// certificate had to be made anew: streams with the old one are ended in order then,
// and what is sent next opens others.
func (h *Host) AddDomain(d NewDomain) error {
	pair, err := h.id.pair(d.Pair, "that of "+d.Domain)
	if err != nil {
		return err
	}
	all, err := h.id.pair(d.All, "the one for all domains")
	if err != nil {
		return err
	}
	h.id.add(d.Domain, pair, all, d.Proof)
	h.names.host(d.Domain)
	if all == nil {
		return nil
	}
	h.mu.Lock()
	old := slices.Collect(maps.Keys(h.alive))
	for _, s := range old {
		h.hide(s)
	}
	h.mu.Unlock()
	for _, s := range old {
		h.spawn(func() { _ = s.close(h.ctx) }) // lost sees the end
	}
	return nil
}

// AddPartnerDomain notes that a partner known by configuration speaks for one more
// domain.
func (h *Host) AddPartnerDomain(partner, domain string) { h.names.trust(partner, domain) }

// Send hands a stanza to the host. It never blocks. What cannot be sent at once
// waits for a stream and for authority. The error says why it was not taken, and
// Done is not called then.
func (h *Host) Send(st Stanza) error {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closing:
		return ErrClosed
	case !h.hosts(st.From):
		return ErrNotHosted
	}
	r := h.route(st.Pair)
	if r.stream != nil && len(r.queue) == 0 {
		t := Times{}.since(now)
		if err := r.stream.post(st, t); err == nil {
			return nil
		} else if errors.Is(err, wire.ErrQueueFull) {
			return err
		}
		r.stream = nil // it has just ended
	}
	if len(r.queue) >= h.c.Queue {
		return ErrQueueFull
	}
	r.queue = append(r.queue, queued{st, now})
	if !r.busy {
		h.begin(r, now)
	}
	return nil
}

// Connect makes pairs ready, all at once, without sending anything.
func (h *Host) Connect(pairs ...Pair) error {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return ErrClosed
	}
	for _, p := range pairs {
		if !h.hosts(p.From) {
			return ErrNotHosted
		}
	}
	for _, p := range pairs {
		if r := h.route(p); r.stream == nil && !r.busy {
			h.begin(r, now)
		}
	}
	return nil
}

// route returns the route of a pair, off a stream whose authority has ended. The lock
// is held.
func (h *Host) route(p Pair) *route {
	r := h.routes[p]
	if r == nil {
		r = &route{pair: p}
		h.routes[p] = r
	}
	if r.stream != nil && h.c.Variant.lapses && !r.stream.allowed(p) {
		r.stream = nil
	}
	return r
}

// begin seeks a stream for a route. The lock is held.
func (h *Host) begin(r *route, now time.Time) {
	r.busy = true
	h.coming++
	h.begun = now
	h.fresh = append(h.fresh, r)
	if h.leaders < maxLeaders {
		h.leaders++
		h.wg.Go(h.establishAll)
	}
}

// maxLeaders bounds the goroutines that lead routes to streams. Nothing of it blocks, and
// one goroutine for each pair would leave its descriptor behind, which the runtime never
// frees: half of the memory that a pair on a shared stream takes.
const maxLeaders = 16

// establishAll establishes routes until there are none that nobody has taken.
func (h *Host) establishAll() {
	for {
		h.mu.Lock()
		if len(h.fresh) == 0 {
			h.fresh = nil
			h.leaders--
			h.mu.Unlock()
			return
		}
		r := h.fresh[0]
		h.fresh = h.fresh[1:]
		h.mu.Unlock()
		h.establish(r)
	}
}

// count adds to a counter of routes.
func (h *Host) count(routes *int, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*routes += n
}

// unsettled returns how many routes are about to seek their target and how many wait
// for a look-up, and when the last one began.
func (h *Host) unsettled() (coming, seeking int, last time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.coming, h.seeking, h.begun
}

// establish leads a route to a stream with authority for its pair.
func (h *Host) establish(r *route) {
	// What comes of a route is noted before it is no longer on its way.
	defer h.count(&h.coming, -1)
	if s := h.through(r.pair); s != nil {
		h.extend(s, r)
		return
	}
	h.count(&h.seeking, 1)
	h.resolve(r.pair.To, func(t *target, err error) {
		h.count(&h.seeking, -1)
		if err != nil {
			h.fail(r, err)
			return
		}
		h.link(h.key(r.pair, t), r.pair, t, func(s *Stream, err error) {
			if err != nil {
				h.fail(r, err)
				return
			}
			h.extend(s, r)
		})
	})
}

// key names the stream for a pair whose target is known.
func (h *Host) key(p Pair, t *target) string {
	return h.c.Variant.Key(h.c.Params, Endpoint{p.From, h.c.Address}, Endpoint{p.To, t.provider()})
}

// through finds a stream that is there and leads to the target of the pair.
func (h *Host) through(p Pair) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leading(p)
}

// leading is through with the lock held.
func (h *Host) leading(p Pair) *Stream {
	if s := h.pairs[p]; s != nil {
		return s
	}
	if h.c.Params.Pool > 1 {
		return nil // the layout decides which of them
	}
	return h.domains[p.To]
}

// extend makes a stream serve a route, by proving authority where it is not there.
func (h *Host) extend(s *Stream, r *route) {
	if s.allowed(r.pair) {
		h.attach(s, r, s.opened)
		return
	}
	prove := h.c.Variant.prove
	switch {
	case s.over():
		h.again(s, r, wire.ErrClosed)
		return
	case prove == nil:
		h.fail(r, &ProofError{Domain: r.pair.From, Reason: "uncovered", Err: errors.New("nothing on this stream proves it")})
		return
	}
	prove(s, r.pair, func(p Proved, err error) {
		switch {
		case errors.Is(err, wire.ErrClosed):
			h.again(s, r, err)
			return
		case err != nil:
			h.fail(r, err)
			return
		}
		t := s.opened
		t.Asked, t.Granted, t.Usable = p.Asked, p.Granted, p.Granted
		h.attach(s, r, t)
	})
}

// attach gives a route its stream and sends what waited.
func (h *Host) attach(s *Stream, r *route, t Times) {
	h.mu.Lock()
	s.mu.Lock()
	if s.ended || s.leaving {
		s.mu.Unlock()
		h.mu.Unlock()
		h.again(s, r, wire.ErrClosed)
		return
	}
	if s.waiting == nil {
		s.waiting = make(map[*route]struct{})
	}
	s.waiting[r] = struct{}{}
	s.mu.Unlock()
	r.stream, r.busy = s, false
	h.pairs[r.pair] = s
	queue := r.queue
	r.queue = nil
	var failed []queued
	var cause error
	for i, q := range queue {
		if err := s.post(q.stanza, t.since(q.handed)); err != nil {
			failed, cause = queue[i:], err
			break
		}
	}
	if errors.Is(cause, wire.ErrClosed) {
		r.queue, r.busy, r.stream = failed, true, nil
		h.mu.Unlock()
		h.again(s, r, cause)
		return
	}
	r.again = 0
	h.mu.Unlock()
	h.bounce(r.pair, failed, cause)
}

// maxAgain bounds how many streams that are on their way out a route runs into.
const maxAgain = 8

// again seeks another stream for a route whose stream was just being closed, in
// order, by whichever end: nothing was wrong with it. Where that stream had been
// opened after the stanzas were handed over and this end did not want to leave it, the
// peer closes every one of them, and they are returned.
func (h *Host) again(s *Stream, r *route, err error) {
	h.mu.Lock()
	give := h.closing || r.again >= maxAgain || !s.leaving && len(r.queue) > 0 && s.entered.After(r.queue[0].handed)
	r.again++
	if !give {
		r.busy, r.stream = true, nil
		h.wg.Go(func() {
			select {
			case <-s.gone:
			case <-h.ctx.Done():
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.begin(r, time.Now())
		})
	}
	h.mu.Unlock()
	if give {
		h.fail(r, err)
	}
}

// fail gives a route up and returns what waited.
func (h *Host) fail(r *route, err error) {
	h.mu.Lock()
	queue := r.queue
	r.queue, r.busy, r.stream = nil, false, nil
	if h.routes[r.pair] == r {
		delete(h.routes, r.pair)
	}
	h.mu.Unlock()
	h.bounce(r.pair, queue, err)
}

func (h *Host) bounce(p Pair, queue []queued, err error) {
	if len(queue) == 0 {
		return
	}
	h.tally.add(FigureBounced, int64(len(queue)))
	cause := &RouteError{Pair: p, Condition: condition(err), Err: err}
	for _, q := range queue {
		if q.stanza.Done != nil {
			q.stanza.Done(Times{Handed: q.handed}, cause)
		}
	}
}

// link returns the outgoing stream of a key to got, opening it where needed.
func (h *Host) link(key string, p Pair, t *target, got func(*Stream, error)) {
	h.linkWith(key, p, t, connectOptions{}, got)
}

// linkWith is link for a stream with options.
func (h *Host) linkWith(key string, p Pair, t *target, o connectOptions, got func(*Stream, error)) {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		got(nil, ErrClosed)
		return
	}
	l := h.links[key]
	var s *Stream
	switch {
	case l != nil:
		s = l.stream
	case !o.verify:
		s = h.leading(p) // the peer has opened one meanwhile, and does not expect another
	}
	if s != nil {
		h.mu.Unlock()
		got(s, nil)
		return
	}
	if l != nil {
		l.waiting = append(l.waiting, got)
		h.mu.Unlock()
		return
	}
	l = &link{key: key, waiting: []func(*Stream, error){got}}
	h.links[key] = l
	o.key = key
	h.wg.Go(func() { h.open(l, p, t, o) })
	h.mu.Unlock()
}

// open sets the stream of a link up.
func (h *Host) open(l *link, p Pair, t *target, o connectOptions) {
	s, err := h.connect(p.From, p.To, t, o)
	h.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	yielded := l.yielded
	if err == nil && s.over() {
		err = fmt.Errorf("s2s: the stream to %s ended as soon as it was set up: %w", p.To, wire.ErrClosed)
	}
	switch {
	case yielded:
	case err != nil:
		if h.links[l.key] == l {
			delete(h.links, l.key)
		}
		if l.other != nil && !l.other.over() {
			// The peer keeps its own (RFC 6120 §4.9.3.3).
			h.carry(l.other, p)
			s, err = l.other, nil
		}
	default:
		l.stream = s
		if !o.verify {
			h.lead(s, p.To)
		}
	}
	h.mu.Unlock()
	if yielded && err == nil {
		h.tally.add(FigureGlare, 1)
		h.wg.Go(func() { _ = s.close(h.ctx) }) // nothing was sent on it
	}
	for _, got := range waiting {
		got(s, err)
	}
	if err == nil {
		if d := s.dac.Load(); d != nil {
			d.opened()
		}
	}
}

// reachable notes that a stream which the peer has opened carries a pair of this
// end too. Where this end has opened one as well, one of the two is given up: that
// whose initiator's domain sorts higher.
func (h *Host) reachable(s *Stream, p Pair) {
	if s.initiator {
		return
	}
	if h.c.Variant.Layout(h.c.Params) != EachPairBoth {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.pairs[p] == nil {
			h.carry(s, p)
		}
		if !h.c.LenientTarget { // a deployed server takes no requests on a stream that it has opened
			h.lead(s, p.To)
		}
		return
	}
	key := EachPairBoth.Key(Endpoint{Domain: p.From}, Endpoint{Domain: p.To}, 1)
	h.mu.Lock()
	l := h.links[key]
	if l == nil || l.yielded {
		h.carry(s, p)
		h.mu.Unlock()
		return
	}
	if p.From < s.remote { // this end's own stream stays, the peer gives its up
		l.other = s
		h.mu.Unlock()
		return
	}
	l.yielded = true
	delete(h.links, key)
	own := l.stream
	if own != nil {
		own.leaving = true
	}
	waiting := l.waiting
	l.waiting = nil
	h.carry(s, p)
	r := h.routes[p]
	if r != nil && r.stream == own && own != nil {
		r.stream, r.busy = nil, true // what comes now waits until the other stream is empty
	} else {
		r = nil
	}
	h.mu.Unlock()
	for _, got := range waiting {
		got(s, nil)
	}
	if own == nil {
		return // open sees to the rest
	}
	h.tally.add(FigureGlare, 1)
	h.wg.Go(func() {
		_ = own.close(h.ctx) // a peer that does not answer has lost it anyway
		if r != nil {
			h.attach(s, r, s.opened)
		}
	})
}

// carry notes that a stream of the peer's admits a pair of this end. The lock is held.
func (h *Host) carry(s *Stream, p Pair) {
	if s.over() {
		return // it was taken off the books already
	}
	h.pairs[p] = s
	s.carries = append(s.carries, p)
}

// leadsTo is lead for a domain that the peer has proved.
func (h *Host) leadsTo(s *Stream, domain string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lead(s, domain)
}

// strays notes that a stream leads to a domain no more: it may have moved.
func (h *Host) strays(s *Stream, domain string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains[domain] == s {
		delete(h.domains, domain)
	}
	for p, over := range h.pairs {
		if over == s && p.To == domain {
			delete(h.pairs, p)
		}
	}
}

// lead notes that a shared stream leads to the provider of a domain. The lock is held.
func (h *Host) lead(s *Stream, domain string) {
	if !h.c.Variant.Layout(h.c.Params).Shared() || h.c.Params.Pool > 1 || h.domains[domain] != nil || s.over() {
		return
	}
	h.domains[domain] = s
	s.leads = append(s.leads, domain)
}

// hide lets nobody else find a stream by the key of its link or by where it leads. The
// lock is held.
func (h *Host) hide(s *Stream) {
	if l := h.links[s.key]; l != nil && l.stream == s {
		delete(h.links, s.key)
	}
	for _, d := range s.leads {
		if h.domains[d] == s {
			delete(h.domains, d)
		}
	}
}

// spawn runs f on a goroutine that Close waits for. Once the host is closing it does
// nothing and returns false.
func (h *Host) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.wg.Go(f)
	return true
}

// enter puts a stream on the books.
func (h *Host) enter(s *Stream) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return ErrClosed
	}
	s.entered = time.Now()
	h.streams[s] = struct{}{}
	if s.initiator {
		h.alive[s] = struct{}{}
	}
	return nil
}

// listed returns the streams on the books. The lock is held.
func (h *Host) listed() []*Stream {
	return slices.AppendSeq(make([]*Stream, 0, len(h.streams)), maps.Keys(h.streams))
}

// lost takes a stream off the books.
func (h *Host) lost(s *Stream, err error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	unflushed := s.unflushed[s.head:]
	s.unflushed, s.head = nil, 0
	pending := s.dialback.fail()
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()

	h.mu.Lock()
	delete(h.streams, s)
	delete(h.alive, s)
	h.hide(s)
	for r := range waiting {
		if r.stream == s {
			r.stream = nil
			if len(r.queue) == 0 && !r.busy {
				delete(h.routes, r.pair)
			}
		}
		if h.pairs[r.pair] == s {
			delete(h.pairs, r.pair)
		}
	}
	for _, p := range s.carries {
		if h.pairs[p] == s {
			delete(h.pairs, p)
		}
	}
	h.mu.Unlock()

	if bye, ok := errors.AsType[*wire.StreamError](err); ok && !s.gaveUp.Load() {
		h.received(bye)
	}
	var syntax *wire.SyntaxError
	if errors.As(err, &syntax) {
		h.tally.add(FigureStreamErrorPrefix+syntax.Condition, 1)
	}
	f := Figures{}
	s.addTo(f)
	for name, n := range f {
		h.tally.add(name, n)
	}
	close(s.gone)
	cause := cmp.Or(err, wire.ErrClosed)
	for _, p := range unflushed {
		if p.stanza.Done != nil {
			p.stanza.Done(p.times, fmt.Errorf("s2s: %s: the stream ended: %w", p.stanza.Pair, cause))
		}
	}
	for _, done := range pending {
		done(cause)
	}
	if d := s.dac.Load(); d != nil {
		d.end(cause)
	}
}

// received counts a stream error of a peer.
func (h *Host) received(e *wire.StreamError) {
	h.tally.add(FigurePeerErrorPrefix+e.Condition, 1)
	if e.Condition == "conflict" {
		h.tally.add(FigureConflict, 1)
	}
}

// addTo adds what the stream has passed so far.
func (s *Stream) addTo(f Figures) {
	n := s.wire.Counts()
	f[FigureBytesIn] += n.BytesIn
	f[FigureBytesOut] += n.BytesOut
	f[FigureRawIn] += s.raw.BytesIn()
	f[FigureRawOut] += s.raw.BytesOut()
}

// Figures returns what the host has counted.
func (h *Host) Figures() Figures {
	f := h.tally.read()
	h.mu.Lock()
	streams := h.listed()
	f[FigureAlive] = int64(len(h.alive))
	f[FigureStreams] = int64(len(h.streams))
	h.mu.Unlock()
	for _, s := range streams {
		s.addTo(f)
	}
	f[FigureSigned] += h.id.signed.Load()
	f[FigureKeys] = int64(h.id.customerKeys())
	if h.c.POSH != nil {
		n := h.c.POSH.Counts()
		f[FigureFetches] += int64(n.Fetches)              // #nosec G115 -- a count, far below
		f[FigureFetchConnections] += int64(n.Connections) // #nosec G115 -- as above
		f[FigureFetchHandshakes] += int64(n.Handshakes)   // #nosec G115 -- as above
	}
	return f
}

// sweep closes idle streams and those whose peer's certificate has expired (RFC
// 6120 §13.7.2.3). One goroutine does it for all, so that a stream needs no timer.
func (h *Host) sweep() {
	every := time.Second
	if h.c.Idle > 0 {
		every = min(every, max(h.c.Idle/4, time.Millisecond))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		streams := h.listed()
		h.mu.Unlock()
		now, since := h.now(), h.since()
		for _, s := range streams {
			if !s.ready.Load() {
				continue // the time for setting it up is limited
			}
			if d := s.dac.Load(); d != nil {
				d.tick(now)
			}
			switch {
			case s.expired(now):
				s.abort(byExpiry())
			case h.c.Idle > 0 && s.initiator && since-time.Duration(s.used.Load()) > h.c.Idle:
				h.leave(s)
			}
		}
	}
}

// leave closes a stream that nobody needs any more.
func (h *Host) leave(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.leaving {
		s.leaving = true
		h.wg.Go(func() { _ = s.close(h.ctx) }) // lost sees the end
	}
}

// abort gives the stream up with an error.
func (s *Stream) abort(e wire.StreamError) {
	s.given(e.Condition)
	s.wire.Abort(e)
}

// Drop cuts all connections without a goodbye, as a failing network does, and
// returns how many.
func (h *Host) Drop() int {
	h.mu.Lock()
	streams := h.listed()
	h.mu.Unlock()
	for _, s := range streams {
		_ = s.raw.Close() // most often it is open still; else it is cut already
	}
	for _, s := range streams {
		<-s.gone
	}
	return len(streams)
}

// Forget drops what the host has learned of peers: targets, documents and proofs
// that it would not ask for again.
func (h *Host) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.targets = make(map[string]*lookup)
	h.tlsa = make(map[resolve.Target]bool)
	if h.dac != nil {
		h.dac.clear(h.newVerifier())
	}
}

// Close ends all streams in order, several at a time, and waits for them as long
// as ctx allows; then it cuts what is left and returns when no goroutine of the host
// remains.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closing = true
	streams := h.listed()
	// Streams that are still being negotiated learn their names under the lock.
	slices.SortFunc(streams, func(a, b *Stream) int { return cmp.Compare(a.remote, b.remote) })
	h.mu.Unlock()
	var closing sync.WaitGroup
	const together = 64
	slots := make(chan struct{}, together)
	for _, s := range streams {
		slots <- struct{}{}
		closing.Go(func() {
			defer func() { <-slots }()
			_ = s.close(ctx) // a peer that is gone has nothing to say
		})
	}
	closing.Wait()
	h.cancel()
	h.mu.Lock()
	for s := range h.streams {
		_ = s.raw.Close() // what did not end by itself
	}
	h.mu.Unlock()
	h.wg.Wait()
	return nil
}
