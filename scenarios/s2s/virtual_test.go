package s2s_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// blueprint is what two providers of a variant need, made once: keys are dear. It
// holds in virtual time, which begins at the same moment in every bubble.
type blueprint struct {
	variant s2s.Variant
	params  s2s.Params
	hosted  map[string][]string   // by name of the provider
	configs map[string]s2s.Config // the same, without what belongs to a network
	own     map[string]*x509.Certificate
	web     map[string]tls.Certificate // of the owners' web servers, by domain
	roots   *x509.CertPool
}

const (
	left, rightSide = "provider-a.test", "provider-b.test"
)

func newBlueprint(t *testing.T, variant string, given map[string]any, n, m int) *blueprint {
	t.Helper()
	b := &blueprint{
		hosted:  map[string][]string{left: domains("a", n), rightSide: domains("b", m)},
		configs: map[string]s2s.Config{}, own: map[string]*x509.Certificate{}, web: map[string]tls.Certificate{},
	}
	synctest.Test(t, func(t *testing.T) {
		all := map[string]any{"curves": "x25519"}
		maps.Copy(all, given)
		w := newWorld(t, variant, all)
		b.variant, b.params, b.roots = w.variant, w.params, w.ca.Pool()
		attest := func(string, *s2s.Config) {}
		if w.variant.Needs(w.params) == s2s.Attributes {
			attest = w.attest(b.hosted)
		}
		for name, hosted := range b.hosted {
			c := s2s.Config{
				Domains: hosted, Variant: w.variant, Params: w.params, Credentials: w.credentials(name, hosted), Secret: "secret of " + name,
				Setup: 30 * time.Second,
			}
			attest(name, &c)
			b.configs[name] = c
			pair, err := tls.X509KeyPair(c.Credentials.Own.Certificates, c.Credentials.Own.Key)
			if err != nil {
				t.Fatal(err)
			}
			b.own[name] = pair.Leaf
			if variant == "shared-posh" {
				for _, d := range hosted {
					b.web[d] = issue(t, w.ca, lab.LeafOptions{Names: []string{d}})
				}
			}
		}
	})
	return b
}

// network connects the two providers in memory, in virtual time.
type network struct {
	*blueprint
	t       *testing.T
	rtt     time.Duration
	skew    time.Duration     // how much longer each connection is than the one before
	parties map[string]*party // by address
	a, b    *party
	// refuse has connections refused, deaf has them made and nothing pass on them.
	refuse, deaf atomic.Bool
	// trace, where set, sees what the hosts write and read.
	trace func(out bool, b []byte)
	web   net.Listener // of the owners of domains

	ctx    context.Context
	relays sync.WaitGroup
	mu     sync.Mutex
	lines  []*line
}

// party is one of the two providers.
type party struct {
	n             *network
	name, address string
	domains       []string
	host          *s2s.Host

	mu  sync.Mutex
	got map[s2s.Pair][]int // what came, by the pair that it came on
	out map[string][]error // what became of what was sent, by id
	// heard, where set, is told what comes.
	heard func(pair s2s.Pair, seq int)
}

// line is a connection in memory.
type line struct {
	net.Conn
	remote net.Addr
	deaf   atomic.Bool
}

func (l *line) RemoteAddr() net.Addr { return l.remote }

// Close tells the other end, unless nothing passes any more.
func (l *line) Close() error {
	if l.deaf.Load() {
		return l.SetDeadline(time.Unix(1, 0))
	}
	return l.Conn.Close()
}

func (l *line) Write(b []byte) (int, error) {
	if l.deaf.Load() {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

// run makes the network and calls f, in virtual time. Afterwards both hosts are
// closed, and nothing may be left.
func (b *blueprint) run(t *testing.T, prepare func(n *network, name string, c *s2s.Config), f func(n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		n := &network{blueprint: b, t: t, parties: map[string]*party{}, ctx: ctx}
		at := map[string]netip.AddrPort{}
		n.web = listenInMemory()
		server := &http.Server{Handler: http.HandlerFunc(n.document), TLSConfig: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := b.web[h.ServerName]
			return &c, nil
		}}}
		var serving sync.WaitGroup
		serving.Go(func() { server.ServeTLS(n.web, "", "") })
		var partners []s2s.Partner
		for i, name := range []string{left, rightSide} {
			p := &party{n: n, name: name, address: fmt.Sprintf("127.0.0.%d:5269", i+1), domains: b.hosted[name], got: map[s2s.Pair][]int{}, out: map[string][]error{}}
			n.parties[p.address] = p
			partners = append(partners, s2s.Partner{Name: name, Address: p.address, Domains: p.domains})
			for _, d := range append([]string{name}, p.domains...) {
				at[d] = netip.MustParseAddrPort(p.address)
			}
		}
		n.a, n.b = n.parties["127.0.0.1:5269"], n.parties["127.0.0.2:5269"]
		for _, p := range []*party{n.a, n.b} {
			c := b.configs[p.name]
			c.Address, c.Partners, c.Deliver = p.address, partners, p.deliver
			c.Resolver = &names{network: n, at: at, known: map[string]bool{}}
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) { return n.dial(ctx, p, address) }
			c.Trace = func(_ uint64, out bool, b []byte) {
				if n.trace != nil {
					n.trace(out, b)
				}
			}
			c.POSH = &s2s.POSHFetcher{Roots: b.roots, Dial: func(context.Context, string, string) (net.Conn, error) {
				return n.web.(*memory).dial(n, n.rtt)
			}}
			if prepare != nil {
				prepare(n, p.name, &c)
			}
			var err error
			if p.host, err = s2s.New(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		f(n)
		for _, p := range []*party{n.a, n.b} {
			p.host.Close(ctx)
		}
		n.cut()
		server.Close()
		serving.Wait()
		cancel()
		n.relays.Wait()
	})
}

// document is what the owner of a domain publishes.
func (n *network) document(w http.ResponseWriter, r *http.Request) {
	name := left
	if slices.Contains(n.hosted[rightSide], r.Host) {
		name = rightSide
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(s2s.NewPOSHDocument(time.Hour, n.own[name]))
}

// dial connects a party to an address.
func (n *network) dial(ctx context.Context, from *party, address string) (net.Conn, error) {
	to := n.parties[address]
	if to == nil || n.refuse.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	n.mu.Lock()
	rtt := n.rtt + n.skew*time.Duration(len(n.lines)/2)
	n.mu.Unlock()
	near, far, err := n.pipe(rtt)
	if err != nil {
		return nil, err
	}
	client := &line{Conn: near, remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to.address))}
	server := &line{Conn: far, remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from.address))}
	client.deaf.Store(n.deaf.Load())
	server.deaf.Store(n.deaf.Load())
	n.mu.Lock()
	n.lines = append(n.lines, client, server)
	n.mu.Unlock()
	to.host.Accept(server, n.params.TLS == s2s.TLSDirect)
	return client, ctx.Err()
}

// pipe makes a connection over a link, on which a write does not wait for a read.
func (n *network) pipe(rtt time.Duration) (near, far net.Conn, err error) {
	l, err := link.New(link.Params{RTT: rtt})
	if err != nil {
		return nil, nil, err
	}
	near, client := net.Pipe()
	server, far := net.Pipe()
	n.relays.Go(func() { _ = l.Relay(n.ctx, client, server) })
	return near, far, nil
}

// cut ends all connections.
func (n *network) cut() {
	n.mu.Lock()
	lines := n.lines
	n.lines = nil
	n.mu.Unlock()
	for _, l := range lines {
		l.Conn.Close()
	}
}

// silence has nothing pass any more on the connections that there are.
func (n *network) silence() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lines {
		l.deaf.Store(true)
	}
}

// names is the DNS as one provider sees it, all of it signed.
type names struct {
	*network
	at map[string]netip.AddrPort // of domains, and of providers by name

	mu    sync.Mutex
	known map[string]bool // what was asked for before
}

// ask takes as long as a question does, a round trip, unless the answer is known.
// Where look-ups are not part of the closed form they take no time.
func (d *names) ask(question string) {
	d.mu.Lock()
	known := d.known[question]
	d.known[question] = true
	d.mu.Unlock()
	if !known && d.variant.Name == "shared-dane" {
		time.Sleep(d.rtt)
	}
}

func (d *names) SRV(_ context.Context, service, domain string) (resolve.SRVAnswer, error) {
	d.ask("SRV " + domain)
	at, ok := d.at[domain]
	if !ok {
		return resolve.SRVAnswer{}, &resolve.NoServiceError{Service: service, Domain: domain}
	}
	host := left
	if slices.Contains(d.hosted[rightSide], domain) {
		host = rightSide
	}
	return resolve.SRVAnswer{Targets: []resolve.Target{{Host: host, Port: at.Port()}}, Secure: true}, nil
}

func (d *names) Addresses(_ context.Context, host string) (resolve.AddressAnswer, error) {
	d.ask("A " + host)
	return resolve.AddressAnswer{Addrs: []netip.Addr{d.at[host].Addr()}, Secure: true}, nil
}

func (d *names) TLSA(_ context.Context, _ uint16, host string) (resolve.TLSAAnswer, error) {
	d.ask("TLSA " + host)
	r, err := s2s.TLSARecord(d.own[host], s2s.DANEEE, s2s.SelectKey, s2s.MatchSHA256)
	return resolve.TLSAAnswer{Records: []resolve.TLSA{r}, Secure: true}, err
}

// memory is a listener in memory.
type memory struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func listenInMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) dial(n *network, rtt time.Duration) (net.Conn, error) {
	near, far, err := n.pipe(rtt)
	if err != nil {
		return nil, err
	}
	select {
	case m.conns <- far:
		return near, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// deliver notes what comes, and returns what is sent to echo@.
func (p *party) deliver(in s2s.Inbound) {
	st := in.Stanza
	if st.Type() == "error" {
		p.n.t.Errorf("%s received an error: %s", p.name, st.Frame)
		return
	}
	seq, err := strconv.Atoi(st.ID())
	if err != nil {
		p.n.t.Errorf("%s received %s", p.name, st.Frame)
		return
	}
	p.mu.Lock()
	p.got[in.Pair] = append(p.got[in.Pair], seq)
	heard := p.heard
	p.mu.Unlock()
	if heard != nil {
		heard(in.Pair, seq)
	}
	if strings.HasPrefix(st.To(), "echo@") {
		b := wire.AppendReply(nil, st.Tag, "chat", nil)
		p.post(in.Reverse(), seq, b)
	}
}

// send sends a message of a pair, to be echoed or not.
func (p *party) send(pair s2s.Pair, seq int, user string) {
	p.post(pair, seq, numbered(pair, seq, user))
}

// numbered is a message with a number for its id.
func numbered(pair s2s.Pair, seq int, user string) []byte {
	return fmt.Appendf(nil, "<message type='chat' from='u@%s' to='%s@%s' id='%d'/>", pair.From, user, pair.To, seq)
}

func (p *party) post(pair s2s.Pair, seq int, b []byte) {
	id := fmt.Sprintf("%s %d", pair, seq)
	p.mu.Lock()
	if p.out[id] == nil {
		p.out[id] = []error{}
	}
	p.mu.Unlock()
	done := func(_ s2s.Times, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.out[id] = append(p.out[id], err)
	}
	if err := p.host.Send(s2s.Stanza{Pair: pair, XML: b, Done: done}); err != nil {
		done(s2s.Times{}, err)
	}
}

// outcomes returns what became of everything that was sent, each of which has to have
// come out once.
func (p *party) outcomes() map[string]error {
	p.n.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]error{}
	for id, errs := range p.out {
		if len(errs) != 1 {
			p.n.t.Errorf("%s: Done was called %d times for %s: %v", p.name, len(errs), id, errs)
			continue
		}
		all[id] = errs[0]
	}
	return all
}

// failures returns what was not sent.
func (p *party) failures() map[string]error {
	all := p.outcomes()
	maps.DeleteFunc(all, func(_ string, err error) bool { return err == nil })
	return all
}

// received returns what came on a pair.
func (p *party) received(pair s2s.Pair) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got[pair])
}

// inOrder checks that the numbers from 1 came on a pair, all of them and in order.
func (p *party) inOrder(pair s2s.Pair, count int) {
	p.n.t.Helper()
	got := p.received(pair)
	for i, seq := range got {
		if seq != i+1 {
			p.n.t.Errorf("%s: on %s came %v", p.name, pair, got)
			return
		}
	}
	if len(got) != count {
		p.n.t.Errorf("%s: on %s came %d of %d", p.name, pair, len(got), count)
	}
}

// conditions returns what stanzas bounced with.
func conditions(failed map[string]error) []string {
	var all []string
	for id, err := range failed {
		var bounced *s2s.RouteError
		if errors.As(err, &bounced) {
			all = append(all, bounced.Condition)
		} else {
			all = append(all, id+": "+err.Error())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// figures are those of both, together.
func (n *network) figures() s2s.Figures {
	f := n.a.host.Figures()
	f.Add(n.b.host.Figures())
	return f
}

// mainWays are the ways of the failure tests: one for each layout and proof.
func mainWays() map[string]map[string]any {
	all := map[string]map[string]any{}
	for name, given := range ways() {
		switch name {
		case "pair-external", "pair-external tls=direct", "pair-dialback", "pair-dialback verify=separate", "pair-dialback tls=none", "pair-bidi",
			"shared-dialback", "shared-dialback streams=one", "shared-7712", "shared-cert", "shared-cert streams=two", "shared-mux", "shared-posh",
			"shared-dane", "zero-handshake", "zero-handshake tls=none", "shared-attrcert mode=batch revocation=short binding=false",
			"shared-attrcert mode=proactive revocation=short binding=false":
			all[name] = given
		}
	}
	return all
}

func variantOf(way string) string {
	variant, _, _ := strings.Cut(way, " ")
	return variant
}
