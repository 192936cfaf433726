package s2s_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// deeds are the attribute certificates of an arena. They are public: whoever has met
// their holder can show them again.
type deeds struct {
	foe  map[string]map[string]s2s.Proof // what was signed for the foe, by kind of certificate and domain
	rest map[string]s2s.Proof            // what was signed for others, by domain
}

// attest has the owners of the domains sign for their providers.
func (g *ground) attest(t *testing.T) {
	t.Helper()
	o := newSigners(t, g.ca, false)
	holding := func(domain string, c tls.Certificate) s2s.Proof {
		return o.sign(domain, "provider.test", func(a *attrcert.Template) { a.Holder = c.Leaf })
	}
	g.deeds = &deeds{foe: map[string]map[string]s2s.Proof{}, rest: map[string]s2s.Proof{}}
	for _, kind := range []string{right, short, expired, server} {
		g.deeds.foe[kind] = map[string]s2s.Proof{}
		for d, c := range g.foe[kind] {
			g.deeds.foe[kind][d] = holding(d, c)
		}
	}
	for d, c := range g.honest {
		g.deeds.rest[d] = holding(d, c)
	}
	own, err := tls.X509KeyPair(g.own.Own.Certificates, g.own.Own.Key)
	if err != nil {
		t.Fatal(err)
	}
	g.own.Proofs = map[string]s2s.Proof{}
	for _, d := range []string{b1, b2, b3} {
		g.deeds.rest[d] = holding(d, own)
		g.own.Proofs[d] = g.deeds.rest[d]
	}
}

// deed is what a provider has to show for a domain: its own, or what it has seen of
// another one, or its own for another domain.
func (a *arena) deed(p *scripted, domain string) s2s.Proof {
	if proof, ok := a.deeds.foe[p.kind][domain]; ok {
		return proof
	}
	if proof, ok := a.deeds.foe[right][domain]; ok {
		return proof
	}
	if proof, ok := a.deeds.rest[domain]; ok {
		return proof
	}
	return a.deeds.foe[right][f1]
}

// accept answers the assertion in the features.
func (p *scripted) accept() {
	if intro := p.features.child(peerDAC, "dac").child(peerDAC, "assert"); intro != nil {
		p.approve(intro)
	}
}

// approve accepts all that an assertion names.
func (p *scripted) approve(assertion *xmlElement) {
	p.printf("<verdict xmlns='%s' id='%s'>", peerDAC, assertion.attr("id"))
	for _, n := range assertion.Nodes {
		if !n.is(peerDAC, "domain") {
			continue
		}
		if p.vouched == nil {
			p.vouched = map[string]bool{}
		}
		p.vouched[n.attr("name")] = true
		p.printf("<valid name='%s' until='2100-01-01T00:00:00Z'/>", n.attr("name"))
	}
	p.printf("</verdict>")
}

// attribute proves a pair by attribute certificates: the sender's domain is asserted,
// and the other one asked for, unless that has been done.
func (a *arena) attribute(p *scripted, from, to string) string {
	for !p.vouched[to] {
		p.printf("<challenge xmlns='%s' id='to-%s' nonce='%s'><domain name='%s'/></challenge>", peerDAC, to, b64(make([]byte, 32)), to)
		n := p.next()
		if !n.is(peerDAC, "assert") {
			return p.outcome(n)
		}
		p.approve(n)
	}
	if p.proved[from] {
		return accepted
	}
	out := p.assert(from, proving(from, a.deed(p, from)))
	if out == accepted {
		if p.proved == nil {
			p.proved = map[string]bool{}
		}
		p.proved[from] = true
	}
	return out
}

// assert asserts a domain and waits for the verdict.
func (p *scripted) assert(domain, content string) string {
	p.printf("<assert xmlns='%s' id='for-%s' nonce='%s'>%s</assert>", peerDAC, domain, b64(make([]byte, 32)), content)
	n := p.next()
	if !n.is(peerDAC, "verdict") || n.attr("id") != "for-"+domain {
		return p.outcome(n)
	}
	switch verdict := n.child(peerDAC, ""); verdict.XMLName.Local {
	case "valid":
		return accepted
	case "invalid":
		return "refused: " + verdict.child(peerDAC, "").XMLName.Local
	case "challenge":
		return "challenged"
	default:
		return "<" + verdict.XMLName.Local + "/>"
	}
}

// attributes is what a provider that is connected to says of attribute certificates.
func (a *arena) attributes(domain string) string {
	return fmt.Sprintf("<dac xmlns='%s' nonce='%s' max-batch='256' max-bytes='1048576'><proof-type>ac</proof-type><assert id='f0'>%s</assert></dac>",
		peerDAC, b64(make([]byte, 32)), proving(domain, a.deed(&scripted{}, domain)))
}

// attributeAttacks are about attribute certificates alone.
func attributeAttacks() []attack {
	// showing asserts f1.test by something else than what its owner has signed, and uses it.
	showing := func(proof func(a *arena) s2s.Proof) func(a *arena, _ *scripted) string {
		return func(a *arena, _ *scripted) string {
			p, out := a.approach(a.foe, approach{from: f1, to: b1})
			if out != "" {
				return out
			}
			if out := p.assert(f1, proving(f1, proof(a))); out != accepted {
				return out
			}
			return a.say(p, f1, b1)
		}
	}
	// asserting asserts c1.test on a stream with authority, and uses it.
	asserting := func(content func(a *arena) string) func(a *arena, p *scripted) string {
		return func(a *arena, p *scripted) string {
			if out := p.assert(c1, content(a)); out != accepted {
				return out
			}
			return a.say(p, c1, b1)
		}
	}
	return []attack{
		{name: "attribute certificate signed by the foe, not by the owner", only: attributes, run: showing(func(a *arena) s2s.Proof {
			stranger := issue(a.t, newCA(a.t), lab.LeafOptions{Names: []string{f1}})
			return a.sign(stranger, f1)
		})},
		{name: "attribute certificate signed by the foe's provider certificate", only: attributes, run: showing(func(a *arena) s2s.Proof {
			return a.sign(a.ground.foe[right][f1], f1)
		})},
		{name: "attribute certificate overheard, of another domain", only: attributes, run: showing(func(a *arena) s2s.Proof { return a.deeds.rest[c1] })},
		{name: "attribute certificate overheard, of its own domain", only: attributes, run: func(a *arena, _ *scripted) string {
			return a.prove(approach{from: c1})
		}},
		{name: "attribute certificate overheard, on a stream with authority", only: attributes, on: true,
			run: asserting(func(a *arena) string { return proving(c1, a.deeds.rest[c1]) })},
		{name: "domain asserted by reference to the certificate of another one", only: attributes, on: true,
			run: asserting(func(*arena) string { return "<domain name='" + c1 + "' ref='for-" + f1 + "'/>" })},
		{name: "domain asserted by the hash of an overheard certificate", only: attributes, on: true, run: asserting(func(a *arena) string {
			overheard := sha256.Sum256(a.deeds.rest[c1].AC)
			return "<domain name='" + c1 + "' ref-hash='" + b64(overheard[:]) + "'/>"
		})},
		{name: "verdict that nobody asked for, on the foe's assertion", only: attributes, on: true, run: func(a *arena, p *scripted) string {
			p.printf("<verdict xmlns='%s' id='x'><valid name='%s' until='2100-01-01T00:00:00Z'/></verdict>", peerDAC, c1)
			return a.say(p, c1, b1)
		}},
		{name: "domain retracted, and used all the same", only: attributes, on: true, run: func(a *arena, p *scripted) string {
			p.printf("<retract xmlns='%s' id='x'><domain name='%s'/></retract>", peerDAC, f1)
			return a.say(p, f1, b1)
		}},
		{name: "another provider's domain retracted", only: attributes, on: true, run: func(a *arena, p *scripted) string {
			p.printf("<retract xmlns='%s' id='x'><domain name='%s'/></retract>", peerDAC, c1)
			return a.settle(p)
		}},
		{name: "assertion of 10 000 domains", only: attributes, on: true, run: func(a *arena, p *scripted) string {
			p.printf("<assert xmlns='%s' id='x'>", peerDAC)
			for i := range 10_000 {
				p.printf("<domain name='x%d.test'/>", i)
			}
			p.printf("</assert>")
			return a.settle(p)
		}},
	}
}

// sign has a certificate that is not the owner's sign for the foe.
func (a *arena) sign(by tls.Certificate, domain string) s2s.Proof {
	a.t.Helper()
	der, err := attrcert.Issue(attrcert.Template{
		Holder: a.ground.foe[right][f1].Leaf, Domains: []string{domain}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, by.Leaf, by.PrivateKey.(crypto.Signer))
	if err != nil {
		a.t.Fatal(err)
	}
	return s2s.Proof{AC: der, Chain: by.Certificate}
}
