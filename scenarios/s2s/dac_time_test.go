package s2s_test

import (
	"context"
	"crypto/tls"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// What follows takes hours, in virtual time.

// visited runs a host in virtual time that a peer of other make connects to.
func visited(t *testing.T, given map[string]any, f func(t *testing.T, w *world, b *provider, p *dacPeer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "shared-attrcert", given)
		hosting := map[string][]string{"provider-b.test": domains("b", 2)}
		attest := w.attest(hosting)
		b := &provider{name: "provider-b.test", domains: hosting["provider-b.test"]}
		c := s2s.Config{
			Domains: b.domains, Address: "127.0.0.2:5269", Variant: w.variant, Params: w.params, Credentials: w.credentials(b.name, b.domains),
			Secret: b.name, Resolver: w.locator, Deliver: b.deliver,
		}
		attest(b.name, &c)
		var err error
		if b.host, err = s2s.New(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		b.host.Accept(far, true)
		p := newDACPeer(t, near, w.signers.provider("provider-c.test"))
		p.tls = tls.Client(near, &tls.Config{Certificates: []tls.Certificate{p.own}, InsecureSkipVerify: true, ServerName: "b1.test"})
		p.over(p.tls)
		p.open("c1.test", "b1.test")
		p.header()
		p.features = p.next()
		p.printf("<verdict xmlns='%s' id='f0'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC)
		f(t, w, b, p)
		near.Close()
		if err := b.host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestAttrcertLate sends stanzas around the end of what was accepted.
func TestAttrcertLate(t *testing.T) {
	for _, skew := range []int{0, 300} {
		visited(t, map[string]any{"tls": "direct", "skew": skew}, func(t *testing.T, w *world, b *provider, p *dacPeer) {
			until := time.Now().Add(10 * time.Minute).Truncate(time.Second)
			proof := w.signers.sign("c1.test", "provider-c.test", func(t *attrcert.Template) { t.NotAfter = until })
			p.printf("<assert xmlns='%s' id='q1'>%s</assert>", peerDAC, proving("c1.test", proof))
			v := p.expect("verdict")
			if got := v.Nodes[0].attr("until"); got != until.UTC().Format(time.RFC3339) {
				t.Errorf("accepted until %s, want %s", got, until)
			}
			if got := p.assert("q2", proving("c2.test", w.signers.sign("c2.test", "provider-c.test", nil))); got != "valid" {
				t.Fatal(got)
			}
			last := until.Add(time.Duration(skew) * time.Second)
			time.Sleep(time.Until(last))
			if got := p.echo("c1.test", "b1.test"); got != "back" {
				t.Errorf("at the last moment: %s", got)
			}
			time.Sleep(time.Nanosecond)
			p.message("c1.test", "b1.test")
			revoke := p.next()
			if revoke.XMLName.Local != "revoke" || revoke.path("invalid").attr("name") != "c1.test" || revoke.path("invalid").Nodes[0].XMLName.Local != "expired" {
				t.Errorf("a moment later: %+v", revoke)
			}
			if m := p.next(); m.attr("type") != "error" || m.path("error").Nodes[0].XMLName.Local != "not-authorized" {
				t.Errorf("a moment later: %+v", m)
			}
			p.message("c1.test", "b1.test")
			if m := p.next(); m.attr("type") != "error" {
				t.Errorf("it is said once that a domain is accepted no more, then %+v", m)
			}
			if got := p.echo("c2.test", "b1.test"); got != "back" {
				t.Errorf("another domain: %s", got)
			}
			want := "expired"
			time.Sleep(time.Second)
			if got := p.assert("q3", proving("c1.test", proof)); got != want {
				t.Errorf("the same proof once more: %s, want %s", got, want)
			}
			if f := b.host.Figures(); f[s2s.FigureStanzasIn] != 2 || f[s2s.FigureUnauthorised] != 2 {
				t.Errorf("figures %v", f)
			}
		})
	}
}

// TestAttrcertSkewedProof shows a proof within and beyond what clocks may be apart.
func TestAttrcertSkewedProof(t *testing.T) {
	for _, tt := range []struct {
		skew int
		late time.Duration
		want string
	}{
		{0, 0, "valid"}, {0, time.Second, "expired"}, {300, 300 * time.Second, "valid"}, {300, 301 * time.Second, "expired"},
	} {
		visited(t, map[string]any{"tls": "direct", "skew": tt.skew}, func(t *testing.T, w *world, _ *provider, p *dacPeer) {
			until := time.Now().Add(time.Minute).Truncate(time.Second)
			proof := w.signers.sign("c1.test", "provider-c.test", func(t *attrcert.Template) { t.NotAfter = until })
			time.Sleep(time.Until(until.Add(tt.late)))
			if got := p.assert("q1", proving("c1.test", proof)); got != tt.want {
				t.Errorf("skew %d s, %v late: %s, want %s", tt.skew, tt.late, got, tt.want)
			}
		})
	}
}

// TestAttrcertLapsed sends over a stream for longer than the proofs live. The host says
// no more for a domain than it may.
func TestAttrcertLapsed(t *testing.T) {
	apart(t, nil, 10*time.Millisecond, [2]int{2, 1}, func(t *testing.T, w *world, a, b *provider) {
		until := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		if err := a.host.Prove("a1.test", w.signers.sign("a1.test", a.name, func(t *attrcert.Template) { t.NotAfter = until })); err != nil {
			t.Fatal(err)
		}
		exchange(t, a, allPairs(a.domains, b.domains))
		a.echoed = nil
		time.Sleep(time.Until(until) - time.Second)
		if err := sending(t, a.host, "a1.test", "b1.test"); err != nil {
			t.Errorf("in time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := wantRefused(sending(t, a.host, "a1.test", "b1.test"), "a1.test", "expired"); err != nil {
			t.Error(err)
		}
		if err := sending(t, a.host, "a2.test", "b1.test"); err != nil {
			t.Errorf("another domain: %v", err)
		}
		if err := a.host.Prove("a1.test", w.signers.sign("a1.test", a.name, nil)); err != nil {
			t.Fatal(err)
		}
		if err := sending(t, a.host, "a1.test", "b1.test"); err != nil {
			t.Errorf("with a new proof: %v", err)
		}
		time.Sleep(time.Second)
		if f := b.host.Figures(); f[s2s.FigureUnauthorised] != 0 || f[s2s.FigureStreams] != 1 {
			t.Errorf("figures %v", f)
		}
	})
}

// TestAttrcertRenewed replaces a proof in good time: it is shown when four fifths of the
// old one's time are over, and nothing is interrupted. Where there is nothing new the
// peer is asked once whether it accepts the old one for longer.
func TestAttrcertRenewed(t *testing.T) {
	const life = 100 * time.Minute
	apart(t, nil, 10*time.Millisecond, [2]int{2, 1}, func(t *testing.T, w *world, a, b *provider) {
		start := time.Now()
		until := start.Add(life).Truncate(time.Second)
		for _, d := range a.domains {
			if err := a.host.Prove(d, w.signers.sign(d, a.name, func(t *attrcert.Template) { t.NotAfter = until })); err != nil {
				t.Fatal(err)
			}
		}
		exchange(t, a, allPairs(a.domains, b.domains))
		a.echoed = nil
		before := a.host.Figures()
		time.Sleep(time.Until(start.Add(life / 2)))
		if err := a.host.Prove("a1.test", w.signers.sign("a1.test", a.name, func(t *attrcert.Template) { t.NotAfter = until.Add(life) })); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(start.Add(life/5*4 - time.Second)))
		if f := difference(a.host.Figures(), before); f[s2s.FigureAsserts] != 0 {
			t.Errorf("asserted too early: %v", f)
		}
		time.Sleep(3 * time.Second)
		if f := difference(a.host.Figures(), before); f[s2s.FigureProofs] != 2 || f[s2s.FigureReferences] != 1 {
			t.Errorf("after four fifths: %v", f)
		}
		before = a.host.Figures()
		for time.Now().Before(start.Add(life + life/2)) {
			if err := sending(t, a.host, "a1.test", "b1.test"); err != nil {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			time.Sleep(time.Minute)
		}
		if f := difference(a.host.Figures(), before); f[s2s.FigureAsserts] != 0 {
			t.Errorf("asserted again: %v", f)
		}
		if f := b.host.Figures(); f[s2s.FigureUnauthorised] != 0 {
			t.Errorf("figures %v", f)
		}
	})
}

// TestAttrcertReviewed revokes on a live stream: the verifier looks when the list that it
// has is followed by another.
func TestAttrcertReviewed(t *testing.T) {
	apart(t, map[string]any{"revocation": "crl"}, 10*time.Millisecond, [2]int{3, 1}, func(t *testing.T, w *world, a, b *provider) {
		o := w.signers
		proofs := map[string]s2s.Proof{}
		for _, p := range []*provider{a, b} {
			for _, d := range p.domains {
				proofs[d] = o.sign(d, p.name, func(t *attrcert.Template) { t.NotAfter = o.to.Add(20 * time.Hour) })
				if err := p.host.Prove(d, proofs[d]); err != nil {
					t.Fatal(err)
				}
			}
		}
		exchange(t, a, allPairs(a.domains, b.domains))
		a.echoed = nil
		if n := b.host.Figures()[s2s.FigureFetches]; n != 3 {
			t.Errorf("%d lists were fetched", n)
		}
		sent := func(domain string) error {
			err := sending(t, a.host, domain, "b1.test")
			time.Sleep(time.Second)
			return err
		}
		verified := b.host.Figures()[s2s.FigureVerified]
		ac, err := attrcert.Parse(proofs["a2.test"].AC)
		if err != nil {
			t.Fatal(err)
		}
		next := o.to
		o.to = next.Add(20 * time.Hour)
		o.revoke("a1.test")
		o.revoke("b1.test")
		o.revoke("a2.test", ac.SerialNumber, big.NewInt(99))
		o.mu.Lock()
		delete(o.lists, "http://a3.test/ac.crl")
		o.mu.Unlock()
		time.Sleep(time.Until(next) - time.Minute)
		for _, d := range a.domains {
			if err := sent(d); err != nil {
				t.Errorf("%s, before the next list: %v", d, err)
			}
		}
		time.Sleep(2 * time.Minute)
		if err := sent("a1.test"); err != nil {
			t.Errorf("with a new list: %v", err)
		}
		if err := wantRefused(sent("a2.test"), "a2.test", "revoked"); err != nil {
			t.Error(err)
		}
		if err := wantRefused(sent("a3.test"), "a3.test", "policy"); err != nil {
			t.Error(err)
		}
		f := b.host.Figures()
		// Of each certificate and of the two lists that were there.
		if f[s2s.FigureFetches] != 6 || f[s2s.FigureVerified]-verified != 3+2 || f[s2s.FigureUnauthorised] != 0 {
			t.Errorf("figures %v", f)
		}
	})
}
