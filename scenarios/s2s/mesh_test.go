package s2s_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A provider is a host with a listener, whose domains echo messages.
type provider struct {
	name     string
	host     *s2s.Host
	listener net.Listener
	domains  []string
	echoed   func(st *wire.Stanza) // what comes back
	serving  sync.WaitGroup
}

// world is what providers share: an authority, and who hosts what.
type world struct {
	t       *testing.T
	ca      *lab.CA
	locator *resolve.Static
	variant s2s.Variant
	params  s2s.Params
	// change, where set, changes a configuration before its host is made.
	change    func(name string, c *s2s.Config)
	signers   *signers // owners of domains, with attribute certificates
	providers []*provider
}

func newWorld(t *testing.T, variant string, given map[string]any) *world {
	t.Helper()
	ca, err := lab.NewCA("test authority", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := s2s.Find(variant)
	if !ok {
		t.Fatalf("no variant %s", variant)
	}
	p, err := v.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, variant: v, params: p, locator: &resolve.Static{Start: map[string]string{}, Direct: map[string]string{}}}
	return w
}

func domains(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d.test", prefix, i+1))
	}
	return all
}

func keyPair(t *testing.T, ca *lab.CA, opts lab.LeafOptions) s2s.KeyPair {
	t.Helper()
	leaf, err := ca.Issue(opts)
	if err != nil {
		t.Fatal(err)
	}
	certificates, key, err := lab.EncodePEM(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return s2s.KeyPair{Certificates: certificates, Key: key}
}

// credentials are what the variant needs, from the authority.
func (w *world) credentials(name string, hosted []string) s2s.Credentials {
	own := keyPair(w.t, w.ca, lab.LeafOptions{Names: []string{name}})
	c := s2s.Credentials{Provider: name, Roots: w.ca.CertificatePEM(), Own: &own}
	switch w.variant.Needs(w.params) {
	case s2s.EachDomain:
		c.Domains = map[string]s2s.KeyPair{}
		for _, d := range hosted {
			c.Domains[d] = keyPair(w.t, w.ca, lab.LeafOptions{Names: []string{d}})
		}
	case s2s.OneForAll:
		all := keyPair(w.t, w.ca, lab.LeafOptions{Names: hosted})
		c.All = &all
	}
	return c
}

// add makes listeners for providers and starts them, so that each knows of all.
func (w *world) start(hosting map[string][]string) map[string]*provider {
	w.t.Helper()
	made := map[string]*provider{}
	var partners []s2s.Partner
	publish := w.publisher()
	attest := func(string, *s2s.Config) {}
	if w.variant.Needs(w.params) == s2s.Attributes {
		attest = w.attest(hosting)
	}
	for name, hosted := range hosting {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", len(made)+1))
		if err != nil {
			w.t.Fatal(err)
		}
		p := &provider{name: name, listener: ln, domains: hosted}
		made[name] = p
		w.providers = append(w.providers, p)
		for _, d := range hosted {
			w.locator.Start[d] = ln.Addr().String()
			w.locator.Direct[d] = ln.Addr().String()
		}
		partners = append(partners, s2s.Partner{Name: name, Address: ln.Addr().String(), Domains: hosted})
	}
	for name, p := range made {
		c := s2s.Config{
			Domains: p.domains, Address: p.listener.Addr().String(), Variant: w.variant, Params: w.params,
			Credentials: w.credentials(name, p.domains), Secret: "secret of " + name, Resolver: w.locator, Partners: partners,
			Setup: 10 * time.Second, Deliver: p.deliver,
		}
		publish(p, &c)
		attest(name, &c)
		if w.change != nil {
			w.change(name, &c)
		}
		var err error
		if p.host, err = s2s.New(context.Background(), c); err != nil {
			w.t.Fatal(err)
		}
		p.serving.Go(func() {
			for {
				conn, err := p.listener.Accept()
				if err != nil {
					return
				}
				p.host.Accept(conn, w.params.TLS == s2s.TLSDirect)
			}
		})
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, p := range made {
			p.listener.Close()
		}
		for _, p := range made {
			p.host.Close(ctx)
			p.serving.Wait()
		}
	})
	return made
}

// publisher returns what makes the third parties of a variant say what they must of
// a provider and its domains, before its host is made.
func (w *world) publisher() func(p *provider, c *s2s.Config) {
	t := w.t
	own := func(c *s2s.Config) *x509.Certificate {
		pair, err := tls.X509KeyPair(c.Credentials.Own.Certificates, c.Credentials.Own.Key)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	switch w.variant.Name {
	case "shared-posh":
		web, err := lab.NewWeb(t.Context(), lab.WebOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { web.Close() })
		return func(p *provider, c *s2s.Config) {
			for _, d := range p.domains {
				leaf, err := w.ca.Issue(lab.LeafOptions{Names: []string{d}})
				if err != nil {
					t.Fatal(err)
				}
				web.SetCertificate(d, leaf)
				web.SetPage(d, s2s.POSHPath, lab.Page{Body: s2s.NewPOSHDocument(time.Hour, own(c))})
			}
			c.POSH = &s2s.POSHFetcher{Roots: w.ca.Pool(), Dial: web.DialContext, Now: c.Now}
		}
	case "shared-dane":
		dns, err := lab.NewDNS(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dns.Close() })
		dns.SetValidation("test", lab.Secure)
		return func(p *provider, c *s2s.Config) {
			at := netip.MustParseAddrPort(c.Address)
			if err := dns.AddHost(p.name, at.Addr()); err != nil {
				t.Fatal(err)
			}
			record, err := s2s.TLSARecord(own(c), s2s.DANEEE, s2s.SelectKey, s2s.MatchSHA256)
			if err != nil {
				t.Fatal(err)
			}
			if err := dns.AddTLSA(at.Port(), p.name, record.String()); err != nil {
				t.Fatal(err)
			}
			for _, d := range p.domains {
				if err := dns.AddSRV(resolve.ServerStart, d, p.name, at.Port()); err != nil {
					t.Fatal(err)
				}
			}
			c.Resolver = &resolve.Resolver{Servers: []string{dns.Addr()}}
		}
	}
	return func(*provider, *s2s.Config) {}
}

func (p *provider) deliver(in s2s.Inbound) {
	to := in.Stanza.To()
	if strings.HasPrefix(to, "echo@") {
		b := wire.AppendReply(nil, in.Stanza.Tag, "chat", []byte("<body>back</body>"))
		p.host.Send(s2s.Stanza{Pair: in.Reverse(), XML: b})
		return
	}
	if p.echoed != nil {
		p.echoed(in.Stanza)
	}
}

func message(from, to, id string) []byte {
	return fmt.Appendf(nil, "<message type='chat' from='u@%s' to='echo@%s' id='%s'><body>hello</body></message>", from, to, id)
}

// exchange sends one message for each pair of a to b and waits for all echoes.
func exchange(t *testing.T, a *provider, pairs []s2s.Pair) {
	t.Helper()
	got := make(chan string, len(pairs)*2)
	failed := make(chan error, len(pairs))
	a.echoed = func(st *wire.Stanza) { got <- domainsOf(st) }
	for _, p := range pairs {
		err := a.host.Send(s2s.Stanza{Pair: p, XML: message(p.From, p.To, p.String()), Done: func(times s2s.Times, err error) {
			if err != nil {
				failed <- err
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(20 * time.Second)
	seen := map[string]bool{}
	for range pairs {
		select {
		case s := <-got:
			if seen[s] {
				t.Errorf("%s came twice", s)
			}
			seen[s] = true
		case err := <-failed:
			t.Fatal(err)
		case <-limit:
			t.Fatalf("%d of %d echoes came; figures %v", len(seen), len(pairs), a.host.Figures())
		}
	}
}

func domainsOf(st *wire.Stanza) string { return st.From() + " " + st.To() }

func allPairs(a, b []string) []s2s.Pair {
	var all []s2s.Pair
	for _, x := range a {
		for _, y := range b {
			all = append(all, s2s.Pair{From: x, To: y})
		}
	}
	return all
}

// ways are the variants with the settings that change what they do.
func ways() map[string]map[string]any {
	return withAttrcert(map[string]map[string]any{
		"pair-external":                  nil,
		"pair-external tls=direct":       {"tls": "direct"},
		"pair-external tls-max=1.2":      {"tls-max": "1.2"},
		"pair-dialback":                  nil,
		"pair-dialback verify=separate":  {"verify": "separate"},
		"pair-dialback verify plain":     {"verify": "separate", "verify-tls": false},
		"pair-dialback tls=none":         {"tls": "none"},
		"pair-bidi":                      nil,
		"shared-dialback":                nil,
		"shared-dialback streams=one":    {"streams": "one"},
		"shared-dialback tls=none":       {"tls": "none"},
		"shared-7712":                    nil,
		"shared-cert":                    nil,
		"shared-cert streams=two":        {"streams": "two"},
		"shared-cert granularity=domain": {"granularity": "domain"},
		"shared-mux":                     nil,
		"shared-posh":                    nil,
		"shared-posh overlap":            {"overlap": true},
		"shared-dane":                    nil,
		"zero-handshake":                 nil,
		"zero-handshake tls=none":        {"tls": "none"},
	})
}

func TestMeshEqualsItsClosedForm(t *testing.T) {
	for name, given := range ways() {
		variant, _, _ := strings.Cut(name, " ")
		for _, size := range [][2]int{{1, 1}, {3, 2}} {
			t.Run(fmt.Sprintf("%s/%dx%d", name, size[0], size[1]), func(t *testing.T) {
				w := newWorld(t, variant, given)
				a, b := domains("a", size[0]), domains("b", size[1])
				made := w.start(map[string][]string{"provider-a.test": a, "provider-b.test": b})
				if w.params.Mode != "" {
					// What is asked for at once is asked for at one moment, however busy the machine.
					if err := made["provider-a.test"].host.Connect(allPairs(a, b)...); err != nil {
						t.Fatal(err)
					}
				}
				exchange(t, made["provider-a.test"], allPairs(a, b))
				want := w.variant.Counts(w.params, s2s.MeshOf(len(a), len(b), allPairs(a, b), w.params.Pool)).Figures()
				got := settledFigures(made)
				for figure, n := range want {
					if got[figure] != int64(n) {
						t.Errorf("%s: %d, by closed form %d", figure, got[figure], n)
					}
				}
				if got[s2s.FigureUnauthorised]+got[s2s.FigureBounced]+got[s2s.FigureUnsolicited] != 0 {
					t.Errorf("figures %v", got)
				}
				if t.Failed() {
					t.Logf("figures %v", got)
				}
			})
		}
	}
}

// settledFigures waits until streams that are to be closed are closed.
func settledFigures(made map[string]*provider) s2s.Figures {
	var last s2s.Figures
	for range 50 {
		sum := s2s.Figures{}
		for _, p := range made {
			sum.Add(p.host.Figures())
		}
		if last != nil && fmt.Sprint(last) == fmt.Sprint(sum) {
			return sum
		}
		last = sum
		time.Sleep(20 * time.Millisecond)
	}
	return last
}
