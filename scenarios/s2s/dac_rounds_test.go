package s2s_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// apart runs f in virtual time with two providers that are a round trip apart. Third
// parties are as far away.
func apart(t *testing.T, given map[string]any, rtt time.Duration, sizes [2]int, f func(t *testing.T, w *world, a, b *provider)) {
	t.Helper()
	apartVia(t, given, rtt, sizes, func(c net.Conn) net.Conn { return c }, f)
}

// apartVia is apart with connections that are something special.
func apartVia(t *testing.T, given map[string]any, rtt time.Duration, sizes [2]int, via func(net.Conn) net.Conn, f func(t *testing.T, w *world, a, b *provider)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "shared-attrcert", given)
		hosting := map[string][]string{"provider-a.test": domains("a", sizes[0]), "provider-b.test": domains("b", sizes[1])}
		made, at := map[string]*provider{}, map[string]*provider{}
		var relays sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		dial := func(_ context.Context, address string) (net.Conn, error) {
			l, err := link.New(link.Params{RTT: rtt})
			if err != nil {
				return nil, err
			}
			near, client := net.Pipe()
			server, far := net.Pipe()
			relays.Go(func() { _ = l.Relay(ctx, client, server) })
			at[address].host.Accept(far, w.params.TLS == s2s.TLSDirect)
			return via(near), nil
		}
		attest := w.attest(hosting)
		for name, hosted := range hosting {
			p := &provider{name: name, domains: hosted}
			address := fmt.Sprintf("127.0.0.%d:5269", len(made)+1)
			made[name], at[address] = p, p
			for _, domain := range hosted {
				w.locator.Start[domain], w.locator.Direct[domain] = address, address
			}
			c := s2s.Config{
				Domains: hosted, Address: address, Variant: w.variant, Params: w.params, Credentials: w.credentials(name, hosted),
				Secret: name, Resolver: w.locator, Setup: 30 * time.Second, Deliver: p.deliver, Dial: dial,
			}
			attest(name, &c)
			fetch := c.CRLs
			c.CRLs = slowly(fetch, 2*rtt) // TCP, then HTTP
			if w.change != nil {
				w.change(name, &c)
			}
			var err error
			if p.host, err = s2s.New(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		f(t, w, made["provider-a.test"], made["provider-b.test"])
		for _, p := range made {
			if err := p.host.Close(ctx); err != nil {
				t.Error(err)
			}
		}
		cancel()
		relays.Wait()
	})
}

// slowly makes a fetch take its time.
func slowly(fetch func(context.Context, string) ([]byte, error), wait time.Duration) func(context.Context, string) ([]byte, error) {
	return func(ctx context.Context, url string) ([]byte, error) {
		time.Sleep(wait)
		return fetch(ctx, url)
	}
}

// TestAttrcertRounds holds times on a distant peer against the closed form, to the
// nanosecond: computing takes no time in virtual time.
func TestAttrcertRounds(t *testing.T) {
	const rtt = 100 * time.Millisecond
	for name, given := range attrcertWays() {
		if given["pool"] != nil || given["resumption"] != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			apart(t, given, rtt, [2]int{2, 2}, func(t *testing.T, w *world, a, _ *provider) {
				rounds := w.variant.Rounds(w.params)
				// Where several domains go into one assertion, one waits for company.
				var gather time.Duration
				switch w.params.Mode {
				case s2s.ModeBatch, s2s.ModeWarm:
					gather = time.Millisecond
				}
				ready, echo := trip(t, a, s2s.Pair{From: "a1.test", To: "b1.test"})
				if ready != rtt*time.Duration(rounds.First) || echo != rtt*time.Duration(rounds.FirstEcho) {
					t.Errorf("the first pair was ready after %v, its echo came after %v; want %d and %d round trips", ready, echo, rounds.First, rounds.FirstEcho)
				}
				if w.params.Batch == 1 && gather > 0 {
					gather = 0 // a batch of one is whole
				}
				ready, echo = trip(t, a, s2s.Pair{From: "a2.test", To: "b2.test"})
				if ready != rtt*time.Duration(rounds.Further)+gather || echo != rtt*time.Duration(rounds.FurtherEcho)+gather {
					t.Errorf("a further pair was ready after %v, its echo came after %v; want %d and %d round trips and %v", ready, echo, rounds.Further, rounds.FurtherEcho, gather)
				}
				for _, p := range []s2s.Pair{{From: "a1.test", To: "b2.test"}, {From: "a2.test", To: "b1.test"}} {
					if ready, echo = trip(t, a, p); ready != 0 || echo != rtt {
						t.Errorf("a pair of proved domains was ready after %v, its echo came after %v", ready, echo)
					}
				}
			})
		})
	}
}

// trip sends a message for a pair and returns when the pair was ready and when the echo
// came.
func trip(t *testing.T, a *provider, p s2s.Pair) (ready, echo time.Duration) {
	t.Helper()
	start := time.Now()
	got := make(chan error, 2)
	a.echoed = func(*wire.Stanza) {
		echo = time.Since(start)
		got <- nil
	}
	err := a.host.Send(s2s.Stanza{Pair: p, XML: message(p.From, p.To, "1"), Done: func(times s2s.Times, err error) {
		ready = times.Usable.Sub(times.Handed)
		got <- err
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
	return ready, echo
}
