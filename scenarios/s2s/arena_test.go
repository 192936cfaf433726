package s2s_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A conduct is how a provider behaves rightly in a variant: what the attacks begin
// from. A new variant adds its lines to conducts.
type conduct struct {
	name, variant string
	given         map[string]any
	proof         proof
	// open is true where no certificate proves anything.
	open bool
}

// proof is what proves a pair of domains.
type proof int

const (
	bySASL        proof = iota // EXTERNAL, once for a stream
	byKey                      // dialback, the key verified elsewhere
	byCertificate              // dialback, judged by the certificate or what is published of it
	byMux                      // EXTERNAL, once for all names
	byAttributes               // attribute certificates, for each domain
	byConfiguration
)

func conducts() []conduct {
	return []conduct{
		{name: "pair-external", variant: "pair-external", proof: bySASL},
		{name: "pair-dialback", variant: "pair-dialback", proof: byKey, open: true},
		{name: "pair-dialback verify=separate", variant: "pair-dialback", given: map[string]any{"verify": "separate"}, proof: byKey, open: true},
		{name: "pair-bidi", variant: "pair-bidi", proof: bySASL},
		{name: "shared-dialback", variant: "shared-dialback", proof: byKey, open: true},
		{name: "shared-dialback streams=one", variant: "shared-dialback", given: map[string]any{"streams": "one"}, proof: byKey, open: true},
		{name: "shared-7712", variant: "shared-7712", proof: byKey, open: true},
		{name: "shared-cert", variant: "shared-cert", proof: byCertificate},
		{name: "shared-cert granularity=domain", variant: "shared-cert", given: map[string]any{"granularity": "domain"}, proof: byCertificate},
		{name: "shared-mux", variant: "shared-mux", proof: byMux},
		{name: "shared-posh", variant: "shared-posh", proof: byCertificate},
		{name: "shared-dane", variant: "shared-dane", proof: byCertificate},
		{name: "shared-attrcert", variant: "shared-attrcert", proof: byAttributes},
		{name: "shared-attrcert mode=classic", variant: "shared-attrcert", given: map[string]any{"mode": "classic"}, proof: byAttributes},
		{name: "zero-handshake", variant: "zero-handshake", proof: byConfiguration},
		{name: "zero-handshake tls=none", variant: "zero-handshake", given: map[string]any{"tls": "none"}, proof: byConfiguration},
	}
}

// The cast: a host with three domains, a foe who is the provider of two others, and
// an honest provider whose domains the foe pretends to have. The name ghost.test is
// not in the DNS, lost.test leads to where nobody listens, led.test to the foe, who has
// no part in it, and lone.test to a server of the foe's that has another's certificate.
const (
	f1, f2     = "f1.test", "f2.test"
	c1, c2     = "c1.test", "c2.test"
	b1, b2, b3 = "b1.test", "b2.test", "b3.test"
	nobody     = "nobody.test"
	ghost      = "ghost.test"
	lost       = "lost.test"
	led        = "led.test"
	lone       = "lone.test"
)

// poison is the id of a stanza that must not be delivered.
const poison = "poison"

// Kinds of certificates that the foe presents.
const (
	right     = "" // what the variant asks for
	short     = "short"
	expired   = "expired"
	misnamed  = "misnamed"
	untrusted = "untrusted"
	selfmade  = "selfmade"
	authority = "authority"
	server    = "server"
	stolen    = "stolen"
	without   = "without"
)

// ground is what the arenas of one conduct share.
type ground struct {
	conduct
	v      s2s.Variant
	ca     *lab.CA
	layout s2s.Layout
	needs  s2s.Needs
	tls    string
	foe    map[string]map[string]tls.Certificate // by kind and domain
	honest map[string]tls.Certificate            // by domain
	own    s2s.Credentials
	web    *lab.Web
	deeds  *deeds // where attribute certificates prove domains
}

func newGround(t *testing.T, c conduct) *ground {
	t.Helper()
	g := &ground{conduct: c, ca: newCA(t), foe: map[string]map[string]tls.Certificate{}}
	var ok bool
	if g.v, ok = s2s.Find(c.variant); !ok {
		t.Fatalf("no variant %s", c.variant)
	}
	p := g.params(t, "auto")
	g.layout, g.needs, g.tls = g.v.Layout(p), g.v.Needs(p), p.TLS
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	g.certify(t, right, g.ca, lab.LeafOptions{Signer: key})
	g.certify(t, short, g.ca, lab.LeafOptions{Signer: key, NotAfter: now.Add(time.Hour)})
	g.certify(t, expired, g.ca, lab.LeafOptions{Signer: key, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	g.certify(t, server, g.ca, lab.LeafOptions{Signer: key, Usage: lab.ServerUsage})
	g.certify(t, untrusted, newCA(t), lab.LeafOptions{})
	for _, kind := range []string{without, misnamed, stolen, selfmade, authority} {
		g.foe[kind] = map[string]tls.Certificate{}
	}
	for _, d := range []string{f1, f2} {
		g.foe[misnamed][d] = issue(t, g.ca, lab.LeafOptions{Names: []string{"other.test"}})
		g.foe[selfmade][d] = handmade(t, nil, false, g.names("foe.test", d, f1, f2))
		g.foe[authority][d] = handmade(t, g.ca, true, g.names("foe.test", d, f1, f2))
	}
	g.foe[stolen][b2] = issue(t, g.ca, lab.LeafOptions{Names: []string{b2}})
	g.honest = map[string]tls.Certificate{}
	for _, d := range []string{c1, c2} {
		g.honest[d] = issue(t, g.ca, lab.LeafOptions{Names: g.names("honest.test", d, c1, c2)})
	}
	g.own = g.credentials(t)
	if c.variant == "shared-posh" {
		g.publish(t)
	}
	if c.proof == byAttributes {
		g.attest(t)
	}
	return g
}

// params are the settings of the conduct. The curve is the cheap one: there are many
// handshakes.
func (g *ground) params(t *testing.T, unauth string) s2s.Params {
	t.Helper()
	given := map[string]any{"unauth": unauth, "curves": "x25519"}
	maps.Copy(given, g.given)
	p, err := g.v.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names are what a provider's certificate for a domain has to name in this variant.
func (g *ground) names(provider, domain string, all ...string) []string {
	switch g.needs {
	case s2s.EachDomain:
		return []string{domain}
	case s2s.OneForAll:
		return all
	}
	return []string{provider}
}

func (g *ground) certify(t *testing.T, kind string, ca *lab.CA, o lab.LeafOptions) {
	t.Helper()
	g.foe[kind] = map[string]tls.Certificate{}
	for _, d := range []string{f1, f2} {
		if d == f2 && g.needs != s2s.EachDomain {
			g.foe[kind][f2] = g.foe[kind][f1]
			continue
		}
		o.Names = g.names("foe.test", d, f1, f2)
		g.foe[kind][d] = issue(t, ca, o)
	}
}

// handmade makes a certificate that no authority of the lab would: signed by itself,
// or that of an authority, with names.
func handmade(t *testing.T, ca *lab.CA, isCA bool, names []string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if isCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.Certificate(), ca.Signer()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// credentials are those of the host under attack.
func (g *ground) credentials(t *testing.T) s2s.Credentials {
	t.Helper()
	hosted := []string{b1, b2, b3}
	own := keyPair(t, g.ca, lab.LeafOptions{Names: []string{"host.test"}})
	c := s2s.Credentials{Provider: "host.test", Roots: g.ca.CertificatePEM(), Own: &own}
	switch g.needs {
	case s2s.EachDomain:
		c.Domains = map[string]s2s.KeyPair{}
		for _, d := range hosted {
			c.Domains[d] = keyPair(t, g.ca, lab.LeafOptions{Names: []string{d}})
		}
	case s2s.OneForAll:
		all := keyPair(t, g.ca, lab.LeafOptions{Names: hosted})
		c.All = &all
	}
	return c
}

// publish puts the documents of the domains on a web server.
func (g *ground) publish(t *testing.T) {
	t.Helper()
	var err error
	if g.web, err = lab.NewWeb(t.Context(), lab.WebOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.web.Close() })
	mine := []*x509.Certificate{g.foe[right][f1].Leaf, g.foe[short][f1].Leaf, g.foe[expired][f1].Leaf, g.foe[server][f1].Leaf}
	for d, certs := range map[string][]*x509.Certificate{f1: mine, f2: mine, c1: {g.honest[c1].Leaf}, c2: {g.honest[c2].Leaf}} {
		g.web.SetCertificate(d, issue(t, g.ca, lab.LeafOptions{Names: []string{d}}))
		g.web.SetPage(d, s2s.POSHPath, lab.Page{Body: s2s.NewPOSHDocument(24*time.Hour, certs...)})
	}
}

// directory is the DNS of an arena. All of it is signed.
type directory struct {
	g     *ground
	where map[string]netip.AddrPort // by domain
}

func (d *directory) SRV(_ context.Context, service, domain string) (resolve.SRVAnswer, error) {
	at, ok := d.where[domain]
	if !ok {
		return resolve.SRVAnswer{}, &resolve.NoServiceError{Service: service, Domain: domain}
	}
	return resolve.SRVAnswer{Targets: []resolve.Target{{Host: at.Addr().String(), Port: at.Port()}}, Secure: true}, nil
}

func (d *directory) Addresses(_ context.Context, host string) (resolve.AddressAnswer, error) {
	return resolve.AddressAnswer{}, &resolve.NoAddressError{Host: host}
}

func (d *directory) TLSA(_ context.Context, _ uint16, host string) (resolve.TLSAAnswer, error) {
	for domain, c := range map[string]tls.Certificate{f1: d.g.foe[right][f1], c1: d.g.honest[c1]} {
		if d.where[domain].Addr().String() == host {
			r, err := s2s.TLSARecord(c.Leaf, s2s.DANEEE, s2s.SelectKey, s2s.MatchSHA256)
			return resolve.TLSAAnswer{Records: []resolve.TLSA{r}, Secure: true}, err
		}
	}
	return resolve.TLSAAnswer{Secure: true}, nil
}

// A pledge is a pair that had authority before the attack, and the stream it is on.
type pledge struct {
	p    *scripted
	pair s2s.Pair
}

// arena is one host under attack by one foe, beside an honest provider.
type arena struct {
	*ground
	t           *testing.T
	unauth      string
	host        *s2s.Host
	address     string
	foe, honest *foreignProvider
	lone        *foreignProvider
	others      []pledge
	peers       []*scripted
	ahead       atomic.Int64 // of the host's clock, in nanoseconds

	mu  sync.Mutex
	got map[string]int // deliveries by id
}

func newArena(t *testing.T, g *ground, unauth string, change func(*s2s.Config)) *arena {
	t.Helper()
	a := &arena{ground: g, t: t, unauth: unauth, got: map[string]int{}}
	a.foe = a.provider("foe.test", g.foe[right], f1, f2)
	a.foe.listen("127.0.0.2")
	a.honest = a.provider("honest.test", g.honest, c1, c2)
	a.honest.listen("127.0.0.3")
	a.lone = a.provider("lone.test", g.foe[misnamed], f1)
	a.lone.listen("127.0.0.5")
	foe, honest := netip.MustParseAddrPort(a.foe.listener.Addr().String()), netip.MustParseAddrPort(a.honest.listener.Addr().String())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.address = ln.Addr().String()
	c := s2s.Config{
		Domains: []string{b1, b2, b3}, Address: a.address, Variant: g.v, Params: g.params(t, unauth), Credentials: g.own,
		Secret: "secret of the host", Setup: patience, Frame: 64 << 10,
		Resolver: &directory{g: g, where: map[string]netip.AddrPort{
			f1: foe, f2: foe, led: foe, lone: netip.MustParseAddrPort(a.lone.listener.Addr().String()), c1: honest, c2: honest, lost: netip.MustParseAddrPort("127.0.0.4:9"),
		}},
		Partners: []s2s.Partner{
			{Name: "foe.test", Address: foe.String(), Domains: []string{f1, f2}},
			{Name: "honest.test", Address: honest.String(), Domains: []string{c1, c2}},
		},
		Now: func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) },
		Deliver: func(in s2s.Inbound) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got[in.Stanza.ID()]++
		},
	}
	if change != nil {
		change(&c)
	}
	if g.web != nil {
		c.POSH = &s2s.POSHFetcher{Roots: g.ca.Pool(), Dial: g.web.DialContext, Now: c.Now}
	}
	if a.host, err = s2s.New(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			a.host.Accept(conn, g.tls == s2s.TLSDirect)
		}
	})
	t.Cleanup(func() {
		for _, p := range a.peers {
			p.close()
		}
		a.foe.stop()
		a.honest.stop()
		a.lone.stop()
		ln.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		a.host.Close(ctx)
		serving.Wait()
	})
	return a
}

// provider makes a foreign provider that behaves as the variant wants.
func (a *arena) provider(name string, certs map[string]tls.Certificate, domains ...string) *foreignProvider {
	f := &foreignProvider{
		t: a.t, name: name, domains: domains, secret: "secret of " + name, external: a.proof == bySASL || a.proof == byMux,
		bidi: a.layout.Both(), mux: a.proof == byMux, headless: a.proof == byConfiguration, direct: a.tls == s2s.TLSDirect,
	}
	if a.proof == byAttributes {
		f.attest = a.attributes
	}
	if a.tls != s2s.TLSNone {
		f.config = &tls.Config{ClientAuth: tls.RequestClientCert, NextProtos: []string{"xmpp-server"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, ok := certs[h.ServerName]
			if !ok {
				c = certs[domains[0]]
			}
			return &c, nil
		}}
	}
	return f
}

// An approach is how a stream is opened.
type approach struct {
	from, to       string // of the header
	first, firstTo string // of the header before TLS, where they differ
	kind           string // of certificate
	sni            string // where it is not the header's
	noSNI          bool
	alpn           string
	cache          tls.ClientSessionCache
}

// connect opens a connection from a provider's address to the host.
func (a *arena) connect(f *foreignProvider) *scripted {
	a.t.Helper()
	ip, _, _ := net.SplitHostPort(f.listener.Addr().String())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.DialContext(a.t.Context(), "tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	p := newScripted(a.t, c)
	a.peers = append(a.peers, p)
	return p
}

// config is that of TLS for an approach.
func (a *arena) config(f *foreignProvider, o approach) *tls.Config {
	c := &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"xmpp-server"}, ServerName: o.to, CurvePreferences: []tls.CurveID{tls.X25519},
		ClientSessionCache: o.cache,
	}
	if o.sni != "" {
		c.ServerName = o.sni
	}
	if o.noSNI {
		c.ServerName = ""
	}
	if o.alpn != "" {
		c.NextProtos = []string{o.alpn}
	}
	cert, ok := a.ground.honest[o.from]
	if f == a.foe {
		cert, ok = a.ground.foe[o.kind][o.from]
		if !ok && o.kind == right {
			cert, ok = a.ground.foe[right][f1]
		}
	}
	if ok {
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// approach opens a stream up to where authority is proved. The outcome is empty
// where that worked.
func (a *arena) approach(f *foreignProvider, o approach) (*scripted, string) {
	p := a.connect(f)
	if a.proof == byConfiguration {
		if a.tls != s2s.TLSNone {
			if out := p.shake(a.config(f, o)); out != "" {
				return p, out
			}
		}
		p.headless = true
		p.restart()
		return p, ""
	}
	if o.first == "" {
		o.first = o.from
	}
	if o.firstTo == "" {
		o.firstTo = o.to
	}
	if out := p.open(o.first, o.firstTo); out != "" {
		return p, out
	}
	if out := p.startTLS(a.config(f, o)); out != "" {
		return p, out
	}
	if out := p.open(o.from, o.to); out != "" {
		return p, out
	}
	if a.proof == byAttributes {
		p.kind = o.kind
		p.accept()
		return p, ""
	}
	if a.layout.Both() {
		p.printf("<bidi xmlns='%s'/>", nsBidi)
	}
	if a.proof == byMux {
		p.printf("<mux xmlns='%s'/>", nsMux)
	}
	return p, ""
}

// claim proves a pair the way that the variant has for it.
func (a *arena) claim(f *foreignProvider, p *scripted, from, to string) string {
	switch {
	case a.proof == byConfiguration, a.proof == byMux && p.authenticated:
		return accepted
	case a.proof == bySASL || a.proof == byMux:
		if out := p.auth(from); out != accepted {
			return out
		}
		p.authenticated = true
		if out := p.open(from, to); out != "" {
			return out
		}
		return accepted
	case a.proof == byAttributes:
		return a.attribute(p, from, to)
	}
	return a.ask(p, from, to, keyFor(f.secret, to, from, p.id))
}

// ask sends a db:result. An invalid key ends a stream on which nothing else was valid.
func (a *arena) ask(p *scripted, from, to, key string) string {
	out := p.result(from, to, key)
	if out == "refused: invalid" {
		if n := p.next(); n != nil || p.end != ended {
			a.t.Errorf("after an invalid key came %v, %s", n, p.end)
		}
		out += ", then closed"
	}
	return out
}

// join opens a stream on which pairs are proved.
func (a *arena) join(f *foreignProvider, o approach, pairs ...s2s.Pair) *scripted {
	a.t.Helper()
	o.from, o.to = pairs[0].From, pairs[0].To
	p, out := a.approach(f, o)
	if out != "" {
		a.t.Fatalf("%s could not open a stream: %s", f.name, out)
	}
	for _, pair := range pairs {
		if out := a.claim(f, p, pair.From, pair.To); out != accepted {
			a.t.Fatalf("%s could not prove %s: %s", f.name, pair, out)
		}
	}
	if out := p.settle(b1); out != ignored {
		a.t.Fatalf("the stream of %s: %s", f.name, out)
	}
	return p
}

// pledge proves the pairs whose fate is watched: two of the foe's, one of the honest
// provider's. With on it returns the stream for (f1, b1), which carries those of the
// foe as well where streams are shared.
func (a *arena) pledge(on bool, kind string) *scripted {
	a.t.Helper()
	var p *scripted
	mine := []s2s.Pair{{From: f2, To: b1}, {From: f1, To: b2}}
	switch {
	case a.layout.Shared() && on:
		p = a.join(a.foe, approach{kind: kind}, append([]s2s.Pair{{From: f1, To: b1}}, mine...)...)
		a.others = []pledge{{p, mine[0]}, {p, mine[1]}}
	case a.layout.Shared():
		q := a.join(a.foe, approach{}, mine...)
		a.others = []pledge{{q, mine[0]}, {q, mine[1]}}
	default:
		for _, pair := range mine {
			a.others = append(a.others, pledge{a.join(a.foe, approach{}, pair), pair})
		}
		if on {
			p = a.join(a.foe, approach{kind: kind}, s2s.Pair{From: f1, To: b1})
		}
	}
	honest := s2s.Pair{From: c1, To: b2}
	a.others = append(a.others, pledge{a.join(a.honest, approach{}, honest), honest})
	return p
}

// lost counts the other pairs that have no stream any more.
func (a *arena) lost() (n int) {
	for i, o := range a.others {
		id := fmt.Sprint("other ", i)
		if o.p.end == "" {
			o.p.message(o.pair.From, o.pair.To, id)
			o.p.settle(o.pair.To)
		}
		if a.delivered(id) == 0 {
			n++
		}
	}
	return n
}

func (a *arena) delivered(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.got[id]
}

// settle is the outcome of what was sent on a stream.
func (a *arena) settle(p *scripted) string {
	out := p.settle(b1)
	if out == ignored && a.delivered(poison) > 0 {
		return delivered
	}
	return out
}

// say sends a stanza and returns what becomes of it.
func (a *arena) say(p *scripted, from, to string) string {
	p.message(from, to, poison)
	return a.settle(p)
}

// returned is the outcome of a refused stanza of a proved domain: where the stream
// has one direction, it bounces on that of the other one.
func (a *arena) returned(out string) string {
	if out == ignored && a.unauth == string(s2s.UnauthBounce) && !a.layout.Both() {
		return (&scripted{t: a.t}).outcome(a.foe.receive())
	}
	return out
}

// prove claims a pair on a fresh stream, (f1, b1) if not told otherwise, and uses it.
func (a *arena) prove(o approach) string {
	if o.from == "" {
		o.from = f1
	}
	if o.to == "" {
		o.to = b1
	}
	p, out := a.approach(a.foe, o)
	if out != "" {
		return out
	}
	if out := a.claim(a.foe, p, o.from, o.to); out != accepted {
		return out
	}
	return a.say(p, o.from, o.to)
}

// gone cuts the connection and waits until the host keeps nothing of it.
func (a *arena) gone(p *scripted) string {
	before := a.host.Figures()[s2s.FigureStreams]
	p.close()
	for range 1000 {
		if a.host.Figures()[s2s.FigureStreams] < before {
			return cut
		}
		time.Sleep(10 * time.Millisecond)
	}
	a.t.Error("the host keeps the stream")
	return "kept"
}

// reverse has the host open a stream to a domain of the foe's, and returns the foe's
// end of it; what arrives on that goes to heard.
func (a *arena) reverse(domain string) *scripted {
	a.t.Helper()
	got := make(chan *scripted, 16)
	a.foe.hook(func() {
		a.foe.heard = func(p *scripted, n *xmlElement) bool {
			if n.stanza() {
				got <- p
			}
			return true
		}
	})
	done := make(chan error, 1)
	pair := s2s.Pair{From: b1, To: domain}
	if err := a.host.Send(s2s.Stanza{Pair: pair, XML: message(b1, domain, "hello"), Done: func(_ s2s.Times, err error) { done <- err }}); err != nil {
		a.t.Fatal(err)
	}
	if err := <-done; err != nil {
		a.t.Fatal(err)
	}
	p := <-got
	a.foe.receive()
	return p
}

// heard is the outcome of what the foe sends on a stream that the host has opened.
func (a *arena) heard(p *scripted, format string, args ...any) string {
	first := make(chan string, 1)
	tell := func(out string) {
		select {
		case first <- out:
		default:
		}
	}
	a.foe.hook(func() {
		a.foe.heard = func(q *scripted, n *xmlElement) bool {
			switch {
			case q != p:
				return true
			case n.is(nsDialback, "verify") && n.attr("id") == "settle":
				tell(ignored)
			case n.is(nsDialback, "verify"):
				a.t.Error("a key was to be verified on the stream that it came on")
			default:
				tell(p.outcome(n))
			}
			return false
		}
	})
	p.printf(format, args...)
	p.printf("<db:verify from='settle.test' to='%s' id='settle'>0</db:verify>", b1)
	select {
	case out := <-first:
		if out == ignored && a.delivered(poison) > 0 {
			return delivered
		}
		return out
	case <-time.After(patience):
		a.t.Error("the host said nothing")
		return ""
	}
}

// send has the host send a stanza to a domain, and says what became of it.
func (a *arena) send(to string) string {
	done := make(chan error, 1)
	err := a.host.Send(s2s.Stanza{Pair: s2s.Pair{From: b1, To: to}, XML: message(b1, to, "secret"), Done: func(_ s2s.Times, err error) { done <- err }})
	if err == nil {
		err = <-done
	}
	return sent(err)
}
