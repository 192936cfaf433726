package s2s_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestGlare has both ends open a stream for the same two domains at once, with
// numbered stanzas before, during and after. One stream stays, and everything
// arrives in order.
func TestGlare(t *testing.T) {
	const (
		repetitions = 200
		count       = 40
		rtt         = 10 * time.Millisecond
	)
	b := newBlueprint(t, "pair-bidi", nil, 1, 1)
	pair := s2s.Pair{From: "a1.test", To: "b1.test"}
	glares := int64(0)
	for seed := range repetitions {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		b.run(t, func(n *network, _ string, _ *s2s.Config) {
			if seed%4 > 0 {
				n.rtt = rtt
			}
		}, func(n *network) {
			// Setting a stream up takes seven round trips: any step of one end meets any of the other.
			late := time.Duration(r.IntN(int(9*n.rtt/time.Millisecond*2)+1)) * time.Millisecond / 2
			first, second := n.a, n.b
			forth, back := pair, pair.Reverse()
			if seed%2 > 0 {
				first, second, forth, back = second, first, back, forth
			}
			spread := 1 + r.IntN(5)
			for i := range count {
				first.send(forth, i+1, "v")
				if i == 0 {
					time.Sleep(late)
				}
				second.send(back, i+1, "v")
				if i%spread == 0 {
					time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
				}
			}
			time.Sleep(time.Minute)
			second.inOrder(forth, count)
			first.inOrder(back, count)
			if a, b := n.a.failures(), n.b.failures(); len(a)+len(b) > 0 {
				t.Errorf("were not sent: %v, %v", a, b)
			}
			f := n.figures()
			if f[s2s.FigureAlive] != 1 || f[s2s.FigureStreams] != 2 {
				t.Errorf("%d streams stay, glare %d", f[s2s.FigureAlive], f[s2s.FigureGlare])
			}
			if f[s2s.FigureGlare] > 1 || f[s2s.FigureGlare] != f[s2s.FigureOpened]-1 {
				t.Errorf("%d opened, glare %d", f[s2s.FigureOpened], f[s2s.FigureGlare])
			}
			if f[s2s.FigureUnauthorised]+f[s2s.FigureUnsolicited] > 0 {
				t.Errorf("figures %v", f)
			}
			glares += f[s2s.FigureGlare]
		})
		if t.Failed() {
			t.Fatalf("with the seed %d", seed)
		}
	}
	if glares < repetitions/4 {
		t.Errorf("only %d of %d times both ends opened a stream", glares, repetitions)
	}
}

// bothInOrder checks that the numbers from 1 came both ways on all pairs, all of them
// and in order, and that nothing is left unsent.
func (n *network) bothInOrder(pairs []s2s.Pair, count int) {
	n.t.Helper()
	for _, p := range pairs {
		n.b.inOrder(p, count)
		n.a.inOrder(p.Reverse(), count)
	}
	if a, b := n.a.failures(), n.b.failures(); len(a)+len(b) > 0 {
		n.t.Errorf("were not sent: %v, %v", a, b)
	}
}

// TestGlareOfManyPairs has both ends open streams for all pairs of many domains.
func TestGlareOfManyPairs(t *testing.T) {
	const count = 5
	newBlueprint(t, "pair-bidi", nil, 4, 4).run(t, func(n *network, _ string, c *s2s.Config) {
		n.rtt = 10 * time.Millisecond
	}, func(n *network) {
		pairs := allPairs(n.a.domains, n.b.domains)
		for i := range count {
			for _, p := range pairs {
				n.a.send(p, i+1, "v")
				n.b.send(p.Reverse(), i+1, "v")
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		n.bothInOrder(pairs, count)
		if f := n.figures(); f[s2s.FigureAlive] != int64(len(pairs)) {
			t.Errorf("%d streams stay of %d pairs", f[s2s.FigureAlive], len(pairs))
		}
	})
}

// TestSharedFromBothEnds has both ends of shared streams begin at once: there may be
// a stream of each, but nothing is lost, and each pair keeps its order.
func TestSharedFromBothEnds(t *testing.T) {
	const count = 20
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := newBlueprint(t, variantOf(way), given, 3, 3)
			for _, late := range []time.Duration{0, 5 * time.Millisecond, 35 * time.Millisecond, 60 * time.Millisecond, 110 * time.Millisecond} {
				b.run(t, func(n *network, _ string, _ *s2s.Config) { n.rtt = 10 * time.Millisecond }, func(n *network) {
					pairs := allPairs(n.a.domains, n.b.domains)
					for i := range count {
						for _, p := range pairs {
							n.a.send(p, i+1, "v")
						}
						if i == 0 {
							time.Sleep(late)
						}
						for _, p := range pairs {
							n.b.send(p.Reverse(), i+1, "v")
						}
						time.Sleep(3 * time.Millisecond)
					}
					time.Sleep(time.Minute)
					for _, p := range pairs {
						n.b.inOrder(p, count)
						n.a.inOrder(p.Reverse(), count)
					}
					if a, b := n.a.failures(), n.b.failures(); len(a)+len(b) > 0 {
						t.Errorf("%v late were not sent: %v, %v", late, conditions(a), conditions(b))
					}
					most := n.variant.Counts(n.params, s2s.MeshOf(3, 3, pairs, 1)).Persistent
					if n.variant.Layout(n.params) == s2s.EachProviderBoth {
						most *= 2 // XEP-0361 and this project's shared streams keep both
					}
					if f := n.figures(); f[s2s.FigureAlive] > int64(most) || f[s2s.FigureUnauthorised]+f[s2s.FigureUnsolicited] > 0 {
						t.Errorf("%v late: %d streams, at most %d; figures %v", late, f[s2s.FigureAlive], most, f)
					}
				})
			}
		})
	}
}

// TestPools has streams of a pool used by both ends at once.
func TestPools(t *testing.T) {
	const count = 10
	for _, variant := range s2s.Variants() {
		if _, err := variant.Parse(map[string]any{"pool": 3}); err != nil {
			continue
		}
		t.Run(variant.Name, func(t *testing.T) {
			t.Parallel()
			newBlueprint(t, variant.Name, map[string]any{"pool": 3}, 3, 3).run(t, func(n *network, _ string, _ *s2s.Config) { n.rtt = 10 * time.Millisecond }, func(n *network) {
				pairs := allPairs(n.a.domains, n.b.domains)
				for i := range count {
					for _, p := range pairs {
						n.a.send(p, i+1, "v")
						n.b.send(p.Reverse(), i+1, "v")
					}
					time.Sleep(30 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				n.bothInOrder(pairs, count)
			})
		})
	}
}
