//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// world is what servers and providers of one test share: an authority that all trust, and the DNS.
type world struct {
	ca    *lab.CA
	names *lab.DNS
	made  int // lists of fresh domains
}

// fresh returns n domains that nobody has been told of.
func (w *world) fresh(n int) []string {
	w.made++
	return numbered(fmt.Sprintf("o%d-", w.made), n)
}

// newWorld starts a DNS server on an address of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := new(world)
	w.newCA(t)
	names, err := lab.NewDNS(t.Context(), net.JoinHostPort(freeHost(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := names.Close(); err != nil {
			t.Error(err)
		}
	})
	w.names = names
	return w
}

func (w *world) newCA(t *testing.T) {
	t.Helper()
	var err error
	if w.ca, err = lab.NewCA("xmppbench interop", lab.CAOptions{}); err != nil {
		t.Fatal(err)
	}
}

// publish makes domains known as hosted at an address, with direct TLS beside STARTTLS if so told.
// The address itself is the target: ejabberd looks up hosts elsewhere than where it is told to.
func (w *world) publish(t *testing.T, domains []string, host string, direct bool) {
	t.Helper()
	for _, d := range domains {
		err := w.names.AddSRV(resolve.ServerStart, d, host, s2sPort)
		if err == nil && direct {
			err = w.names.AddSRV(resolve.ServerDirect, d, host, s2sDirectPort)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// numbered returns n domains: a1.test, a2.test and so on.
func numbered(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d.test", prefix, i+1))
	}
	return all
}

// crossed returns all pairs of domains of one list with one of the other.
func crossed(from, to []string) []s2s.Pair {
	var all []s2s.Pair
	for _, x := range from {
		for _, y := range to {
			all = append(all, s2s.Pair{From: x, To: y})
		}
	}
	return all
}

// ourProvider is our own side: a host with listeners, whose users echo.
type ourProvider struct {
	domains []string
	address netip.AddrPort
	host    *s2s.Host
	tap     *tap

	current atomic.Pointer[conversation]
}

// providerOptions say how our side is made.
type providerOptions struct {
	variant  string
	params   map[string]any
	partners []s2s.Partner
}

// setupLimit bounds the set-up of a stream and each proof: a loaded machine must not fail a test.
const setupLimit = 90 * time.Second

// newProvider starts a provider of the domains. It ends with the test. It listens for STARTTLS, for
// plain TCP, or for direct TLS and STARTTLS, as the settings of its variant have it.
func (w *world) newProvider(t *testing.T, domains []string, o providerOptions) *ourProvider {
	t.Helper()
	v, ok := s2s.Find(o.variant)
	if !ok {
		t.Fatalf("no variant is called %s", o.variant)
	}
	params, err := v.Parse(o.params)
	if err != nil {
		t.Fatal(err)
	}
	host := freeHost(t, s2sPort, s2sDirectPort)
	p := &ourProvider{domains: domains, tap: newTap(), address: netip.AddrPortFrom(netip.MustParseAddr(host), s2sPort)}
	ports := map[int]bool{s2sPort: false}
	if params.TLS == s2s.TLSDirect {
		ports[s2sDirectPort] = true
	}
	w.publish(t, domains, host, params.TLS == s2s.TLSDirect)
	c := s2s.Config{
		Domains: domains, Address: p.address.String(), Variant: v, Params: params,
		Credentials: w.credentials(t, v.Needs(params), "provider."+domains[0], domains),
		Secret:      "the secret of " + domains[0],
		Resolver:    &resolve.Resolver{Servers: []string{w.names.Addr()}},
		Setup:       setupLimit, Deliver: p.deliver, Trace: p.tap.trace,
		LenientTarget: true, LenientAnswer: true, Partners: o.partners,
	}
	if p.host, err = s2s.New(context.WithoutCancel(t.Context()), c); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.host.Close(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	for port, direct := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		serving.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				p.host.Accept(conn, direct)
			}
		})
	}
	return p
}

// credentials are what the variant needs, from the test's authority.
func (w *world) credentials(t *testing.T, needs s2s.Needs, name string, hosted []string) s2s.Credentials {
	t.Helper()
	c := s2s.Credentials{Provider: name, Roots: w.ca.CertificatePEM(), Own: w.keyPair(t, name)}
	switch needs {
	case s2s.EachDomain:
		c.Domains = make(map[string]s2s.KeyPair)
		for _, d := range hosted {
			c.Domains[d] = *w.keyPair(t, d)
		}
	case s2s.OneForAll:
		c.All = w.keyPair(t, hosted...)
	}
	return c
}

func (w *world) keyPair(t *testing.T, names ...string) *s2s.KeyPair {
	t.Helper()
	leaf, err := w.ca.Issue(lab.LeafOptions{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	certificates, key, err := lab.EncodePEM(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return &s2s.KeyPair{Certificates: certificates, Key: key}
}

// deliver answers questions and takes answers.
func (p *ourProvider) deliver(in s2s.Inbound) {
	id, c := in.Stanza.ID(), p.current.Load()
	switch in.Stanza.Type() {
	case question:
		p.send(c, s2s.Stanza{Pair: in.Reverse(), XML: wire.AppendReply(nil, in.Stanza.Tag, answer, []byte("<body>back</body>"))}, id)
	case answer, "result", "error":
		failure := complaint(in.Stanza)
		if failure == "" && !strings.HasSuffix(id, ":"+in.Reverse().String()) {
			failure = "came from elsewhere"
		}
		c.heard(id, failure)
	}
}

// send sends a stanza that belongs to the message with an id, which fails if the stanza does.
func (p *ourProvider) send(c *conversation, st s2s.Stanza, id string) {
	st.Done = func(_ s2s.Times, err error) {
		if err != nil {
			c.heard(id, reason(err))
		}
	}
	if err := p.host.Send(st); err != nil {
		c.heard(id, reason(err))
	}
}

// ask sends the questions of a conversation to whom address names.
func (p *ourProvider) ask(c *conversation, pairs []s2s.Pair, address func(domain string) string) {
	for _, pair := range pairs {
		id := c.id(pair)
		xml := fmt.Appendf(nil, "<message type='%s' from='asks@%s' to='%s' id='%s'><body>hello</body></message>",
			question, pair.From, address(pair.To), id)
		p.send(c, s2s.Stanza{Pair: pair, XML: xml}, id)
	}
}

// ping asks the domain of each pair itself for a sign of life.
func (p *ourProvider) ping(c *conversation, pairs []s2s.Pair) {
	for _, pair := range pairs {
		id := c.id(pair)
		p.send(c, s2s.Stanza{Pair: pair, XML: wire.AppendIQ(nil, "get", id, "asks@"+pair.From, pair.To, []byte("<ping xmlns='urn:xmpp:ping'/>"))}, id)
	}
}

// reason says in few words why a stanza could not be sent, without the names of domains.
func reason(err error) string {
	var (
		bye      *wire.StreamError
		unspoken *s2s.UnspokenError
		proof    *s2s.ProofError
		network  *net.OpError
	)
	switch {
	case errors.As(err, &bye):
		return "stream error " + strings.TrimSpace(bye.Condition+" "+bye.Text)
	case errors.As(err, &unspoken):
		missing, _, _ := strings.Cut(unspoken.Missing, ":")
		return "it does not offer " + missing
	case errors.As(err, &proof):
		return "authority: " + proof.Reason
	case errors.As(err, &network):
		return network.Op + ": " + network.Err.Error()
	}
	return err.Error()
}
