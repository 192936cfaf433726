package s2s_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// sending hands a message over and returns what becomes of it.
func sending(t *testing.T, h *s2s.Host, from, to string) error {
	t.Helper()
	select {
	case err := <-posting(t, h, from, to):
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s>%s: nothing came of it", from, to)
		return nil
	}
}

// posting hands a message over; what becomes of it comes out.
func posting(t *testing.T, h *s2s.Host, from, to string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	p := s2s.Pair{From: from, To: to}
	if err := h.Send(s2s.Stanza{Pair: p, XML: message(from, to, p.String()), Done: func(_ s2s.Times, err error) { done <- err }}); err != nil {
		done <- err
	}
	return done
}

// difference subtracts figures that were read before.
func difference(after, before s2s.Figures) s2s.Figures {
	d := s2s.Figures{}
	d.Add(after)
	for name, n := range before {
		d[name] -= n
	}
	return d
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("in vain waited until %s", what)
}

// twoProviders are those of most tests.
func twoProviders(t *testing.T, given map[string]any, n, m int) (w *world, a, b *provider) {
	w = newWorld(t, "shared-attrcert", given)
	made := w.start(map[string][]string{"provider-a.test": domains("a", n), "provider-b.test": domains("b", m)})
	return w, made["provider-a.test"], made["provider-b.test"]
}

// TestAttrcertAtOnce brings large meshes up at once, cold and after a first pair, and
// holds them against the closed form.
func TestAttrcertAtOnce(t *testing.T) {
	for _, tt := range []struct {
		n, m  int
		given map[string]any
	}{
		{40, 30, nil},
		{40, 30, map[string]any{"batch": 7}},
		{40, 30, map[string]any{"batch": 256, "binding": true}},
		{40, 30, map[string]any{"batch": 16, "window": 1}},
		{40, 30, map[string]any{"mode": "pipelined", "window": 4}},
		{40, 30, map[string]any{"pool": 3}},
		{130, 5, map[string]any{"batch": 64, "mode": "warm"}},
		{130, 70, map[string]any{"mode": "proactive"}},
	} {
		t.Run(fmt.Sprintf("%dx%d %v", tt.n, tt.m, tt.given), func(t *testing.T) {
			w, a, b := twoProviders(t, tt.given, tt.n, tt.m)
			pairs := allPairs(a.domains, b.domains)
			if err := a.host.Connect(pairs...); err != nil {
				t.Fatal(err)
			}
			exchange(t, a, pairs)
			want := w.variant.Counts(w.params, s2s.MeshOf(tt.n, tt.m, pairs, w.params.Pool)).Figures()
			got := settledFigures(map[string]*provider{"a": a, "b": b})
			for figure, n := range want {
				if got[figure] != int64(n) {
					t.Errorf("%s: %d, by closed form %d", figure, got[figure], n)
				}
			}
			if got[s2s.FigureUnauthorised]+got[s2s.FigureBounced]+got[s2s.FigureUnsolicited] != 0 {
				t.Errorf("figures %v", got)
			}
		})
	}
}

// TestAttrcertAtOnceRounds does so at a distance: all pairs are ready when the first is,
// and all further ones a round trip later, when nobody else comes.
func TestAttrcertAtOnceRounds(t *testing.T) {
	const rtt = 100 * time.Millisecond
	apart(t, nil, rtt, [2]int{40, 30}, func(t *testing.T, w *world, a, b *provider) {
		ready := func(pairs []s2s.Pair) (longest time.Duration) {
			var wait sync.WaitGroup
			var mu sync.Mutex
			wait.Add(len(pairs))
			for _, p := range pairs {
				err := a.host.Send(s2s.Stanza{Pair: p, XML: message(p.From, p.To, "1"), Done: func(times s2s.Times, err error) {
					defer wait.Done()
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, times.Usable.Sub(times.Handed))
				}})
				if err != nil {
					t.Fatal(err)
				}
			}
			wait.Wait()
			return longest
		}
		rounds := w.variant.Rounds(w.params)
		if got := ready(allPairs(a.domains[:20], b.domains[:15])); got != rtt*time.Duration(rounds.First) {
			t.Errorf("the first 300 pairs were ready after %v", got)
		}
		const quiet = 10 * time.Millisecond
		if got := ready(allPairs(a.domains[20:], b.domains[15:])); got != rtt+quiet {
			t.Errorf("300 further pairs were ready after %v", got)
		}
		f := a.host.Figures()
		f.Add(b.host.Figures())
		if f[s2s.FigureAsserts] != 1+1+1+1+1 || f[s2s.FigureProofs] != 70 {
			t.Errorf("figures %v", f)
		}
	})
}

// TestAttrcertSignatures counts the checks and uses of keys.
func TestAttrcertSignatures(t *testing.T) {
	for _, binding := range []bool{false, true} {
		_, a, b := twoProviders(t, map[string]any{"mode": "eager", "binding": binding}, 4, 3)
		exchange(t, a, allPairs(a.domains, b.domains))
		f := settledFigures(map[string]*provider{"a": a, "b": b})
		// Each end checks the handshake and the one certificate of the peer; for each of
		// the peer's domains the attribute certificate and its owner's.
		verified, signed := int64(2*2+2*(4+3)), int64(2)
		if binding {
			verified, signed = verified+4+3, signed+4+3
		}
		if f[s2s.FigureVerified] != verified || f[s2s.FigureSigned] != signed || f[s2s.FigureKeys] != 0 {
			t.Errorf("binding %t: %d signatures verified, %d made, %d keys of customers; want %d, %d and none",
				binding, f[s2s.FigureVerified], f[s2s.FigureSigned], f[s2s.FigureKeys], verified, signed)
		}
	}
}

// TestAttrcertKeys shows that a provider gets no key but its own.
func TestAttrcertKeys(t *testing.T) {
	w := newWorld(t, "shared-attrcert", nil)
	var held [][]byte
	w.change = func(_ string, c *s2s.Config) {
		b, err := json.Marshal(c.Credentials)
		if err != nil {
			t.Error(err)
		}
		held = append(held, b)
		var back s2s.Credentials
		if err := json.Unmarshal(b, &back); err != nil {
			t.Error(err)
		}
		if len(back.Domains) > 0 || back.All != nil || strings.Count(string(back.Own.Key), "PRIVATE KEY") != 2 || strings.Contains(string(back.Own.Certificates), "PRIVATE") {
			t.Errorf("credentials %+v", back)
		}
		for domain, p := range back.Proofs {
			for _, der := range append([][]byte{p.AC}, p.Chain...) {
				if strings.Contains(string(der), "PRIVATE") {
					t.Errorf("%s: the proof has a key", domain)
				}
			}
		}
	}
	w.start(map[string][]string{"provider-a.test": domains("a", 3), "provider-b.test": domains("b", 2)})
	for domain, leaf := range w.signers.leaves {
		_, key, err := lab.EncodePEM(leaf)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Split(string(key), "\n")[1]
		for _, b := range held {
			if strings.Contains(string(b), body) {
				t.Errorf("the key of %s is held by a provider", domain)
			}
		}
	}
}

// TestAttrcertResumed opens a stream again by a ticket: Go restores the certificates of
// the first handshake, which holders and bindings are checked against.
func TestAttrcertResumed(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		for _, mode := range []string{"batch", "warm"} {
			_, a, b := twoProviders(t, map[string]any{"resumption": true, "binding": true, "tls-max": version, "mode": mode}, 2, 2)
			// Tickets are kept by the domains of the header.
			first := []s2s.Pair{{From: "a1.test", To: "b1.test"}}
			exchange(t, a, first)
			exchange(t, a, allPairs(a.domains, b.domains))
			a.host.Drop()
			eventually(t, "the peer has lost the stream", func() bool { return b.host.Figures()[s2s.FigureStreams] == 0 })
			exchange(t, a, first)
			exchange(t, a, allPairs(a.domains, b.domains))
			f := settledFigures(map[string]*provider{"a": a, "b": b})
			if f[s2s.FigureResumed] != 1 || f[s2s.FigureFull] != 1 || f[s2s.FigureProofs] != 8 {
				t.Errorf("TLS %s: figures %v", version, f)
			}
		}
	}
}

// TestAttrcertMemory meets a peer again, with what it has learned: on a later stream, as
// another host with what the first one knew, and after it has forgotten.
func TestAttrcertMemory(t *testing.T) {
	for _, mode := range []string{"warm", "proactive"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, "shared-attrcert", map[string]any{"mode": mode})
			w.change = func(_ string, c *s2s.Config) { c.Known = nil }
			made := w.start(map[string][]string{"provider-a.test": domains("a", 3), "provider-b.test": domains("b", 2)})
			a, b := made["provider-a.test"], made["provider-b.test"]
			pairs := allPairs(a.domains, b.domains)
			meet := func() s2s.Figures {
				before := settledFigures(made)
				exchange(t, a, pairs)
				after := settledFigures(made)
				a.host.Drop()
				eventually(t, "the peer has lost the stream", func() bool { return b.host.Figures()[s2s.FigureStreams] == 0 })
				return difference(after, before)
			}
			if f := meet(); f[s2s.FigureProofs] != 5 || f[s2s.FigureReferences] != 0 || f[s2s.FigureVerdicts] != 0 {
				t.Errorf("strangers: figures %v", f)
			}
			again := map[string]int64{s2s.FigureProofs: 5, s2s.FigureReferences: 5, s2s.FigureVerified: 4}
			if mode == "proactive" {
				again = map[string]int64{s2s.FigureVerdicts: 2, s2s.FigureVerified: 4}
			}
			check := func(what string, f s2s.Figures) {
				for _, figure := range []string{s2s.FigureProofs, s2s.FigureReferences, s2s.FigureVerdicts, s2s.FigureVerified} {
					if f[figure] != again[figure] {
						t.Errorf("%s: %s is %d, want %d", what, figure, f[figure], again[figure])
					}
				}
			}
			check("on a later stream", meet())
			if n := len(a.host.Known()); n != 5 {
				t.Errorf("a host knows %d proofs, want those of 3 domains of its own and 2 of the peer's", n)
			}
			b.host.Forget()
			f := meet()
			if f[s2s.FigureProofs] < 3 || f[s2s.FigureUnauthorised] != 0 {
				t.Errorf("after the peer has forgotten: figures %v", f)
			}
			check("once more", meet())
		})
	}
}

// TestAttrcertKnown takes what was known from one host to another.
func TestAttrcertKnown(t *testing.T) {
	w, a, b := twoProviders(t, map[string]any{"mode": "warm"}, 2, 2)
	exchange(t, a, allPairs(a.domains, b.domains))
	text, err := json.Marshal(a.host.Known())
	if err != nil {
		t.Fatal(err)
	}
	var known []s2s.Known
	if err := json.Unmarshal(text, &known); err != nil || len(known) != 4 {
		t.Errorf("%s: %v", text, err)
	}
	want := s2s.KnownOf(w.signers.provider("provider-a.test").Leaf, w.signers.provider("provider-b.test").Leaf, w.signers.proofs["provider-a.test"])
	found := 0
	for _, k := range known {
		for _, other := range want {
			if string(k.Holder) == string(other.Holder) && k.Domain == other.Domain && string(k.AC) == string(other.AC) && k.Until.Equal(other.Until) {
				found++
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of the proofs shown are known: %+v", found, known)
	}
	_, err = s2s.New(context.Background(), s2s.Config{
		Domains: []string{"x.test"}, Variant: w.variant, Params: w.params, Resolver: w.locator,
		Credentials: s2s.Credentials{Own: ownOf(t, w)}, Known: []s2s.Known{{Holder: []byte("short")}},
	})
	if err == nil {
		t.Error("a host takes hashes of a wrong length")
	}
}

func ownOf(t *testing.T, w *world) *s2s.KeyPair {
	certificates, key, err := lab.EncodePEM(w.signers.provider("provider-x.test"))
	if err != nil {
		t.Fatal(err)
	}
	return &s2s.KeyPair{Certificates: certificates, Key: key}
}

// TestAttrcertSettings refuses what does not go together.
func TestAttrcertSettings(t *testing.T) {
	v, _ := s2s.Find("shared-attrcert")
	if _, err := v.Parse(map[string]any{"mode": "proactive", "binding": true}); err == nil {
		t.Error("nothing that is asserted can be bound")
	}
	p, err := v.Parse(map[string]any{"revocation": "crl"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "shared-attrcert", nil)
	w.signers = newSigners(t, w.ca, false)
	c := s2s.Config{Domains: []string{"x.test"}, Variant: v, Params: p, Resolver: w.locator, Credentials: s2s.Credentials{Own: ownOf(t, w)}}
	if _, err := s2s.New(context.Background(), c); err == nil || !strings.Contains(err.Error(), "CRLs") {
		t.Errorf("revocation without lists: %v", err)
	}
	c.Credentials.Own = nil
	if _, err := s2s.New(context.Background(), c); err == nil || !strings.Contains(err.Error(), "own certificate") {
		t.Errorf("a provider without a certificate: %v", err)
	}
}

// TestAttrcertRetracted gives domains up at both ends of a stream, and hosts them again.
func TestAttrcertRetracted(t *testing.T) {
	w, a, b := twoProviders(t, nil, 2, 2)
	exchange(t, a, allPairs(a.domains, b.domains))
	if err := a.host.Retract("a2.test"); err != nil {
		t.Fatal(err)
	}
	if err := a.host.Retract("a2.test"); !errors.Is(err, s2s.ErrNotHosted) {
		t.Errorf("given up twice: %v", err)
	}
	if err := sending(t, a.host, "a2.test", "b1.test"); !errors.Is(err, s2s.ErrNotHosted) {
		t.Errorf("a domain that is not hosted sends: %v", err)
	}
	// The peer has heard of it once the answer to something later has come.
	exchange(t, a, []s2s.Pair{{From: "a1.test", To: "b1.test"}})
	// It may have moved, and is looked for: where it was it is not.
	var route *s2s.RouteError
	if err := sending(t, b.host, "b1.test", "a2.test"); !errors.As(err, &route) {
		t.Errorf("a domain that is hosted no more: %v", err)
	}
	exchange(t, b, []s2s.Pair{{From: "b1.test", To: "a1.test"}})

	if err := b.host.Retract("b2.test"); err != nil {
		t.Fatal(err)
	}
	exchange(t, b, []s2s.Pair{{From: "b1.test", To: "a1.test"}})
	if err := wantRefused(sending(t, a.host, "a1.test", "b2.test"), "b2.test", "impossible"); err != nil {
		t.Error(err)
	}

	again := w.signers.sign("a2.test", "provider-a.test", nil)
	if err := a.host.AddDomain(s2s.NewDomain{Domain: "a2.test", Proof: &again}); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, []s2s.Pair{{From: "a2.test", To: "b1.test"}})
	exchange(t, b, []s2s.Pair{{From: "b1.test", To: "a2.test"}})
	f := settledFigures(map[string]*provider{"a": a, "b": b})
	if f[s2s.FigureAlive] != 1 || f[s2s.FigureUnauthorised] != 0 {
		t.Errorf("figures %v", f)
	}
}

// TestAttrcertRevoked stops accepting domains at both ends of a stream; new material is
// accepted again.
func TestAttrcertRevoked(t *testing.T) {
	w, a, b := twoProviders(t, nil, 2, 2)
	exchange(t, a, allPairs(a.domains, b.domains))
	b.host.Revoke("a2.test", attrcert.Policy)
	b.host.Revoke("a2.test", attrcert.Policy) // once is enough
	b.host.Revoke("a9.test", attrcert.Policy) // never heard of
	exchange(t, b, []s2s.Pair{{From: "b1.test", To: "a1.test"}})
	if err := wantRefused(sending(t, a.host, "a2.test", "b1.test"), "a2.test", "policy"); err != nil {
		t.Error(err)
	}
	if err := wantRefused(sending(t, b.host, "b1.test", "a2.test"), "a2.test", "policy"); err != nil {
		t.Error(err)
	}
	a.host.Revoke("b2.test", attrcert.Revoked)
	if err := wantRefused(sending(t, a.host, "a1.test", "b2.test"), "b2.test", "revoked"); err != nil {
		t.Error(err)
	}
	exchange(t, a, []s2s.Pair{{From: "a1.test", To: "b1.test"}})
	if err := a.host.Prove("a9.test", s2s.Proof{}); !errors.Is(err, s2s.ErrNotHosted) {
		t.Errorf("a proof for a domain of others: %v", err)
	}
	if err := a.host.Prove("a2.test", w.signers.sign("a2.test", "provider-a.test", nil)); err != nil {
		t.Fatal(err)
	}
	exchange(t, a, []s2s.Pair{{From: "a2.test", To: "b1.test"}})
	if f := settledFigures(map[string]*provider{"a": a, "b": b}); f[s2s.FigureOpened] != 1 || f[s2s.FigureUnauthorised] != 0 {
		t.Errorf("figures %v", f)
	}
}

// TestAttrcertAdded hosts a domain more on a live stream, at either end.
func TestAttrcertAdded(t *testing.T) {
	w, a, b := twoProviders(t, nil, 1, 1)
	exchange(t, a, allPairs(a.domains, b.domains))
	for i, p := range []*provider{a, b} {
		domain := []string{"a2.test", "b2.test"}[i]
		w.locator.Start[domain] = p.listener.Addr().String()
		proof := w.signers.sign(domain, p.name, nil)
		if err := p.host.AddDomain(s2s.NewDomain{Domain: domain, Proof: &proof}); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, a, []s2s.Pair{{From: "a2.test", To: "b2.test"}})
	exchange(t, b, []s2s.Pair{{From: "b2.test", To: "a1.test"}})
	// A domain of which nobody has signed anything.
	if err := a.host.AddDomain(s2s.NewDomain{Domain: "a3.test"}); err != nil {
		t.Fatal(err)
	}
	if err := wantRefused(sending(t, a.host, "a3.test", "b1.test"), "a3.test", "no-proof"); err != nil {
		t.Error(err)
	}
	if f := settledFigures(map[string]*provider{"a": a, "b": b}); f[s2s.FigureOpened] != 1 || f[s2s.FigureProofs] != 4 {
		t.Errorf("figures %v", f)
	}
}

// TestAttrcertBothAsk lets both ends ask for the same at once on a stream that is there:
// each domain is proved once.
func TestAttrcertBothAsk(t *testing.T) {
	for _, mode := range []string{"classic", "eager", "pipelined", "batch", "warm", "proactive"} {
		w := newWorld(t, "shared-attrcert", map[string]any{"mode": mode})
		w.change = func(_ string, c *s2s.Config) { c.Known = nil }
		made := w.start(map[string][]string{"provider-a.test": domains("a", 12), "provider-b.test": domains("b", 9)})
		a, b := made["provider-a.test"], made["provider-b.test"]
		exchange(t, a, allPairs(a.domains, b.domains[:1]))
		var wait sync.WaitGroup
		wait.Go(func() { _ = a.host.Connect(allPairs(a.domains, b.domains)...) })
		wait.Go(func() { _ = b.host.Connect(allPairs(b.domains, a.domains)...) })
		wait.Wait()
		exchange(t, a, allPairs(a.domains, b.domains))
		exchange(t, b, allPairs(b.domains, a.domains))
		f := settledFigures(made)
		if f[s2s.FigureProofs] != 21 || f[s2s.FigureAlive] != 1 || f[s2s.FigureUnauthorised]+f[s2s.FigureBounced]+f[s2s.FigureUnsolicited] != 0 {
			t.Errorf("%s: figures %v", mode, f)
		}
	}
}

// TestAttrcertSilent gives a peer up that answers nothing, in the time for set-ups.
func TestAttrcertSilent(t *testing.T) {
	apartFrom(t, nil, nil, func(t *testing.T, _ *world, b *provider, p *dacPeer) {
		start := time.Now()
		outcome := posting(t, b.host, "b1.test", "c1.test")
		p.respond("")
		p.expect("assert")
		if err := wantRefused(<-outcome, "c1.test", "no-answer"); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 30*time.Second || took > 32*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// respond takes a stream up to the features.
func (p *dacPeer) respond(inside string) {
	p.header()
	p.open("c1.test", "b1.test")
	p.printf("<stream:features><dac max-bytes='100000' max-batch='2' xmlns='%s' nonce='%s'><proof-type>ac</proof-type>%s</dac></stream:features>", peerDAC, b64(p.nonce[:]), inside)
}

// apartFrom runs a host in virtual time that connects to a peer of other make.
func apartFrom(t *testing.T, given map[string]any, change func(c *s2s.Config), f func(t *testing.T, w *world, b *provider, p *dacPeer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		settings := map[string]any{"tls": "direct"}
		maps.Copy(settings, given)
		w := newWorld(t, "shared-attrcert", settings)
		hosting := map[string][]string{"provider-b.test": domains("b", 2)}
		attest := w.attest(hosting)
		b := &provider{name: "provider-b.test", domains: hosting["provider-b.test"]}
		near, far := net.Pipe()
		for _, d := range []string{"c1.test", "c2.test"} {
			w.locator.Direct[d] = "127.0.0.3:5269"
		}
		c := s2s.Config{
			Domains: b.domains, Address: "127.0.0.2:5269", Variant: w.variant, Params: w.params, Credentials: w.credentials(b.name, b.domains),
			Secret: b.name, Resolver: w.locator, Setup: 30 * time.Second, Deliver: b.deliver,
			Dial: func(context.Context, string) (net.Conn, error) { return near, nil },
		}
		attest(b.name, &c)
		if change != nil {
			change(&c)
		}
		var err error
		if b.host, err = s2s.New(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		p := newDACPeer(t, far, w.signers.provider("provider-c.test"))
		p.tls = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{p.own}, ClientAuth: tls.RequireAnyClientCert})
		p.over(p.tls)
		f(t, w, b, p)
		far.Close()
		if err := b.host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
