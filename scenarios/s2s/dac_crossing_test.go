package s2s_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestAttrcertCrossing lets what both ends say cross on the way: each domain is proved
// once, and nobody waits for what does not come.
func TestAttrcertCrossing(t *testing.T) {
	for _, mode := range []string{"classic", "eager", "batch"} {
		apartFrom(t, map[string]any{"mode": mode}, nil, func(t *testing.T, w *world, b *provider, p *dacPeer) {
			o := w.signers
			sent := posting(t, b.host, "b1.test", "c1.test")
			p.respond("")
			p.expect("challenge")
			first := p.expect("assert")
			// The peer asks for b1.test before it has read the assertion, and asserts c1.test
			// before it has read the challenge.
			p.printf("<challenge xmlns='%s' id='x1' nonce='%s'><domain name='b1.test'/></challenge>", peerDAC, b64(p.nonce[:]))
			if got := p.assert("q1", proving("c1.test", o.sign("c1.test", "provider-c.test", nil))); got != "valid" {
				t.Fatalf("%s: %s", mode, got)
			}
			if mode == "classic" {
				p.printf("<verdict xmlns='%s' id='%s'><challenge name='b1.test' nonce='%s'/></verdict>", peerDAC, first.attr("id"), b64(p.nonce[:]))
				first = p.expect("assert")
			}
			if first.path("domain", "ac").Text == "" {
				t.Errorf("%s: no proof in %+v", mode, first)
			}
			p.printf("<verdict xmlns='%s' id='%s'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC, first.attr("id"))
			if n := p.next(); n.XMLName.Local != "message" {
				t.Errorf("%s: after all was proved came %+v", mode, n)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			// Answers nobody waits for, and wrong ones.
			p.printf("<verdict xmlns='%s' id='%s'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC, first.attr("id"))
			p.printf("<verdict xmlns='%s' id='other'><invalid name='b1.test'><policy/></invalid></verdict>", peerDAC)
			p.printf("<impossible xmlns='%s' name='c9.test'/><retract xmlns='%s' id='r9'><domain name='c9.test'/></retract>", peerDAC, peerDAC)
			p.printf("<revoke xmlns='%s' id='v9'><invalid name='b2.test'><policy/></invalid></revoke>", peerDAC)
			if got := p.echo("c1.test", "b1.test"); got != "back" {
				t.Errorf("%s: %s", mode, got)
			}
			if f := b.host.Figures(); f[s2s.FigureUnsolicited] != 2 || f[s2s.FigureProofs] != 1 {
				t.Errorf("%s: figures %v", mode, f)
			}
		})
	}
}

// TestAttrcertVerdicts reads verdicts that are incomplete, late or not what was wanted.
func TestAttrcertVerdicts(t *testing.T) {
	tests := []struct{ name, verdict, reason string }{
		{"leaves it out", "<valid name='b9.test' until='2030-01-01T00:00:00Z'/>", "no-answer"},
		{"is over", "<valid name='b1.test' until='1999-01-01T00:00:00Z'/>", "expired"},
		{"wants it again and again", "<challenge name='b1.test' nonce='NONCE'/>", "policy"},
		{"refuses", "<invalid name='b1.test'><untrusted-issuer/></invalid>", "untrusted-issuer"},
	}
	for _, tt := range tests {
		apartFrom(t, nil, nil, func(t *testing.T, w *world, b *provider, p *dacPeer) {
			sent := posting(t, b.host, "b1.test", "c1.test")
			p.respond("<assert id='f0'>" + proving("c1.test", w.signers.sign("c1.test", "provider-c.test", nil)) + "</assert>")
			first := p.expect("assert")
			verdict := strings.Replace(tt.verdict, "NONCE", b64(p.nonce[:]), 1)
			p.printf("<verdict xmlns='%s' id='%s'>%s</verdict>", peerDAC, first.attr("id"), verdict)
			if err := wantRefused(<-sent, "b1.test", tt.reason); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		})
	}
}

// TestAttrcertRetractedUnderWay takes assertions back that are being decided on, at both
// ends.
func TestAttrcertRetractedUnderWay(t *testing.T) {
	apartFrom(t, map[string]any{"revocation": "crl"}, func(c *s2s.Config) {
		fetch := c.CRLs
		c.CRLs = slowly(fetch, time.Minute/4)
	}, func(t *testing.T, w *world, b *provider, p *dacPeer) {
		o := w.signers
		sent := posting(t, b.host, "b1.test", "c1.test")
		p.respond("")
		first := p.expect("assert")
		// The verifier waits for a list when the peer thinks better of it.
		p.printf("<assert xmlns='%s' id='q1'>%s</assert>", peerDAC, proving("c1.test", o.sign("c1.test", "provider-c.test", nil)))
		p.printf("<retract xmlns='%s' id='r1'><domain name='c1.test'/></retract>", peerDAC)
		if got := p.verdict("q1"); got != "policy" {
			t.Errorf("a retracted assertion is %s", got)
		}
		if err := wantRefused(<-sent, "c1.test", "retracted"); err != nil {
			t.Error(err)
		}
		// The host gives b1.test up and hosts it again, before there is a verdict.
		if err := b.host.Retract("b1.test"); err != nil {
			t.Fatal(err)
		}
		if n := p.expect("retract"); n.path("domain").attr("name") != "b1.test" {
			t.Errorf("%+v", n)
		}
		proof := o.proofs[b.name]["b1.test"]
		if err := b.host.AddDomain(s2s.NewDomain{Domain: "b1.test", Proof: &proof}); err != nil {
			t.Fatal(err)
		}
		sent = posting(t, b.host, "b1.test", "c1.test")
		if ask := p.expect("challenge"); ask.path("domain").attr("name") != "c1.test" {
			t.Errorf("%+v", ask)
		}
		p.printf("<verdict xmlns='%s' id='%s'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC, first.attr("id"))
		second := p.expect("assert")
		if second.path("domain").attr("ref") != first.attr("id") {
			t.Errorf("asserted again with %+v", second)
		}
		p.printf("<verdict xmlns='%s' id='%s'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC, second.attr("id"))
		if got := p.assert("q2", proving("c1.test", o.sign("c1.test", "provider-c.test", nil))); got != "valid" {
			t.Errorf("asserted anew: %s", got)
		}
		if n := p.expect("message"); n.attr("from") != "u@b1.test" {
			t.Errorf("%+v", n)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// TestAttrcertReference asserts what was shown on the stream before by a reference.
func TestAttrcertReference(t *testing.T) {
	visited(t, map[string]any{"tls": "direct", "revocation": "crl"}, func(t *testing.T, w *world, b *provider, p *dacPeer) {
		o := w.signers
		short := o.sign("c1.test", "provider-c.test", func(t *attrcert.Template) { t.CRL = "" })
		listed := o.sign("c2.test", "provider-c.test", nil)
		again := func(id, domain, ref string) string {
			return p.assert(id, fmt.Sprintf("<domain name='%s' ref='%s'/>", domain, ref))
		}
		if got := again("q0", "c1.test", "q1"); got != "challenge" {
			t.Errorf("a reference to nothing is %s", got)
		}
		for i, proof := range []s2s.Proof{short, listed} {
			domain, id := fmt.Sprintf("c%d.test", i+1), fmt.Sprintf("q%d", i+1)
			if got := p.assert(id, proving(domain, proof)); got != "valid" {
				t.Fatal(got)
			}
			p.printf("<retract xmlns='%s' id='r1'><domain name='%s'/></retract>", peerDAC, domain)
			if got := again("x"+id, domain, id); got != "valid" {
				t.Errorf("%s by reference is %s", domain, got)
			}
			if got := again("y"+id, domain, "x"+id); got != "challenge" {
				t.Errorf("a reference to what had no certificate is %s", got)
			}
			if got := p.echo(domain, "b1.test"); got != "back" {
				t.Errorf("%s: %s", domain, got)
			}
		}
		if got := again("q9", "c3.test", "q1"); got != "challenge" {
			t.Errorf("a reference to the certificate of another domain is %s", got)
		}
		// Revoked here: no reference and no other way of showing the same helps.
		b.host.Revoke("c1.test", attrcert.Policy)
		p.expect("revoke")
		if got := again("q10", "c1.test", "q1"); got != "challenge" {
			t.Errorf("a reference to what was revoked is %s", got)
		}
		if got := p.assert("q11", proving("c1.test", short)); got != "policy" {
			t.Errorf("what was revoked is %s", got)
		}
		if got := p.assert("q12", proving("c1.test", o.sign("c1.test", "provider-c.test", nil))); got != "valid" {
			t.Errorf("something new is %s", got)
		}
	})
}

// TestAttrcertCut cuts the connection at every operation of it: a stanza is sent or comes
// back, and nobody waits for ever.
func TestAttrcertCut(t *testing.T) {
	for _, given := range []map[string]any{{"mode": "classic"}, {"mode": "batch", "binding": true}, {"mode": "proactive", "tls": "direct"}} {
		cuts := 0
		for after := int64(1); ; after++ {
			whole := false
			apartVia(t, given, 10*time.Millisecond, [2]int{2, 2}, func(c net.Conn) net.Conn { return &fragile{Conn: c, left: after} }, func(t *testing.T, _ *world, a, b *provider) {
				var failed int
				for range 2 {
					for _, p := range []s2s.Pair{{From: "a1.test", To: "b1.test"}, {From: "a2.test", To: "b2.test"}} {
						if err := <-posting(t, a.host, p.From, p.To); err != nil {
							failed++
						}
					}
				}
				time.Sleep(time.Minute) // what was cut is noticed
				whole = failed == 0
				if failed > 0 {
					cuts++
				}
				if f := b.host.Figures(); f[s2s.FigureUnauthorised] != 0 {
					t.Errorf("cut after %d operations: figures %v", after, f)
				}
			})
			if whole {
				break
			}
		}
		if cuts < 10 {
			t.Errorf("%v: cut %d times only", given, cuts)
		}
	}
}

// fragile is a connection that breaks after some operations.
type fragile struct {
	net.Conn
	left int64
}

func (f *fragile) Read(b []byte) (int, error) {
	f.wear()
	return f.Conn.Read(b)
}

func (f *fragile) Write(b []byte) (int, error) {
	f.wear()
	return f.Conn.Write(b)
}

func (f *fragile) wear() {
	if atomic.AddInt64(&f.left, -1) == 0 {
		f.Close()
	}
}
