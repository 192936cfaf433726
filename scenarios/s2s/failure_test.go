package s2s_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestNetworkInMemory holds the network of these tests itself: everything passes, in
// the numbers of the closed form.
func TestNetworkInMemory(t *testing.T) {
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			newBlueprint(t, variantOf(way), given, 2, 2).run(t, nil, func(n *network) {
				pairs := allPairs(n.a.domains, n.b.domains)
				for _, p := range pairs {
					n.a.send(p, 1, "echo")
				}
				time.Sleep(time.Minute)
				for _, p := range pairs {
					n.b.inOrder(p, 1)
					n.a.inOrder(p.Reverse(), 1)
				}
				if failed := n.a.failures(); len(failed) > 0 {
					t.Error(failed)
				}
				got := n.figures()
				for name, want := range n.variant.Counts(n.params, s2s.MeshOf(2, 2, pairs, 1)).Figures() {
					if got[name] != int64(want) {
						t.Errorf("%s: %d, want %d", name, got[name], want)
					}
				}
			})
		})
	}
}

// TestCutAnywhere cuts every connection at every step of setting pairs up and using
// them. Whatever was sent comes to one end, and what is sent afterwards passes.
func TestCutAnywhere(t *testing.T) {
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := newBlueprint(t, variantOf(way), given, 2, 1)
			pairs := allPairs(b.hosted[left], b.hosted[rightSide])
			for at, reached := int64(1), true; reached && !t.Failed(); at++ {
				b.run(t, nil, func(n *network) {
					var steps atomic.Int64
					n.trace = func(bool, []byte) {
						if steps.Add(1) == at {
							n.cut()
						}
					}
					for _, p := range pairs {
						n.a.send(p, 1, "echo")
					}
					time.Sleep(5 * time.Minute)
					reached = steps.Swap(at) >= at
					for _, what := range append(conditions(n.a.failures()), conditions(n.b.failures())...) {
						// What was written and not taken is neither sent nor returned.
						if what != "remote-server-timeout" && what != "remote-server-not-found" && !strings.Contains(what, "the stream ended") {
							t.Errorf("cut at step %d: %s", at, what)
						}
					}
					for _, p := range pairs {
						n.a.send(p, 2, "echo")
					}
					time.Sleep(5 * time.Minute)
					for _, p := range pairs {
						if !slices.Contains(n.a.received(p.Reverse()), 2) {
							t.Errorf("cut at step %d: afterwards no echo on %s: %v, %v", at, p, n.a.failures(), n.b.failures())
						}
					}
				})
			}
		})
	}
}

// TestSilenceAnywhere has nothing pass any more from some step on, on connections
// that stay open. What waits bounces when the time for setting up is over.
func TestSilenceAnywhere(t *testing.T) {
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			b := newBlueprint(t, variantOf(way), given, 1, 1)
			pair := s2s.Pair{From: "a1.test", To: "b1.test"}
			for at, reached := int64(1), true; reached && !t.Failed(); at++ {
				b.run(t, nil, func(n *network) {
					var steps atomic.Int64
					n.trace = func(bool, []byte) {
						if steps.Add(1) == at {
							n.silence()
						}
					}
					n.a.send(pair, 1, "echo")
					// A connection for the proof may follow the one for the stream.
					time.Sleep(3*n.configs[left].Setup + time.Minute)
					reached = steps.Swap(at) >= at
					if failed := conditions(n.a.failures()); len(failed) > 0 && !slices.Equal(failed, []string{"remote-server-timeout"}) {
						t.Errorf("silent from step %d on: %v", at, n.a.failures())
					}
					n.b.outcomes()
					n.cut()
					time.Sleep(time.Minute)
					n.a.send(pair, 2, "echo")
					time.Sleep(5 * time.Minute)
					if !slices.Contains(n.a.received(pair.Reverse()), 2) {
						t.Errorf("silent from step %d on: afterwards no echo: %v, %v", at, n.a.failures(), n.b.failures())
					}
				})
			}
		})
	}
}

// TestNoWay is about targets that cannot be had.
func TestNoWay(t *testing.T) {
	for way, given := range mainWays() {
		b := newBlueprint(t, variantOf(way), given, 1, 1)
		tests := []struct {
			name    string
			to      string
			prepare func(n *network)
			want    string
		}{
			{"unknown target", "nobody.test", func(*network) {}, "remote-server-not-found"},
			{"refused connection", "b1.test", func(n *network) { n.refuse.Store(true) }, "remote-server-not-found"},
			{"server that says nothing", "b1.test", func(n *network) { n.deaf.Store(true) }, "remote-server-timeout"},
		}
		for _, tt := range tests {
			if way == "zero-handshake tls=none" && tt.name == "server that says nothing" {
				continue // nobody says anything there
			}
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				b.run(t, nil, func(n *network) {
					tt.prepare(n)
					for i := range 3 {
						n.a.send(s2s.Pair{From: "a1.test", To: tt.to}, i, "echo")
					}
					time.Sleep(n.configs[left].Setup + 2*time.Second)
					if got := conditions(n.a.failures()); !slices.Equal(got, []string{tt.want}) {
						t.Errorf("%v: %v", got, n.a.failures())
					}
					if got := n.a.host.Figures(); got[s2s.FigureBounced] != 3 || got[s2s.FigureStreams] != 0 {
						t.Errorf("figures %v", got)
					}
				})
			})
		}
	}
}

// TestIdle sends at moments at which streams are just being closed because nothing
// passed. Everything arrives, once and in order.
func TestIdle(t *testing.T) {
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			const count = 60
			for _, rtt := range []time.Duration{0, 7 * time.Millisecond} {
				b := newBlueprint(t, variantOf(way), given, 2, 1)
				b.run(t, func(n *network, _ string, c *s2s.Config) {
					n.rtt = rtt
					c.Idle = 400 * time.Millisecond
				}, func(n *network) {
					pairs := allPairs(n.a.domains, n.b.domains)
					for i := range count {
						for _, p := range pairs {
							n.a.send(p, i+1, "v")
							n.b.send(p.Reverse(), i+1, "v")
						}
						// Streams are looked at each tenth of a second.
						time.Sleep(time.Duration(i%7)*100*time.Millisecond + time.Duration(i%4)*rtt/2)
					}
					time.Sleep(time.Minute)
					for _, p := range pairs {
						n.b.inOrder(p, count)
						n.a.inOrder(p.Reverse(), count)
					}
					if a, b := n.a.failures(), n.b.failures(); len(a)+len(b) > 0 {
						t.Errorf("with a round trip of %v were not sent: %v, %v", rtt, a, b)
					}
					if f := n.figures(); f[s2s.FigureStreams] != 0 {
						t.Errorf("%d streams are left", f[s2s.FigureStreams])
					}
				})
			}
		})
	}
}

// TestReconnect has everything cut at once at one end and comes back, with as many
// connections as before.
func TestReconnect(t *testing.T) {
	for way, given := range mainWays() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			newBlueprint(t, variantOf(way), given, 3, 2).run(t, func(n *network, _ string, c *s2s.Config) { n.rtt = 10 * time.Millisecond }, func(n *network) {
				pairs := allPairs(n.a.domains, n.b.domains)
				want := n.variant.Counts(n.params, s2s.MeshOf(3, 2, pairs, 1))
				for round := 1; round <= 3; round++ {
					for _, p := range pairs {
						n.a.send(p, round, "echo")
					}
					time.Sleep(time.Minute)
					for _, p := range pairs {
						n.a.inOrder(p.Reverse(), round)
					}
					f := n.figures()
					if f[s2s.FigureAlive] != int64(want.Persistent) || f[s2s.FigureOpened] != int64(round*want.Opened) || f[s2s.FigureFull] != int64(round*want.Handshakes) {
						t.Errorf("round %d: %d connections, %d opened, %d handshakes; want %d, %d, %d", round,
							f[s2s.FigureAlive], f[s2s.FigureOpened], f[s2s.FigureFull], want.Persistent, round*want.Opened, round*want.Handshakes)
					}
					if dropped := n.b.host.Drop(); dropped != int(f[s2s.FigureStreams])/2 {
						t.Errorf("%d dropped of %d", dropped, f[s2s.FigureStreams]/2)
					}
					time.Sleep(time.Second)
				}
				if a, b := n.a.failures(), n.b.failures(); len(a)+len(b) > 0 {
					t.Errorf("were not sent: %v, %v", a, b)
				}
			})
		})
	}
}

// TestExpiry has the certificates of both ends expire on streams that nothing passes
// on: they are closed with reset, and no new one can be had where certificates count.
func TestExpiry(t *testing.T) {
	for way, given := range mainWays() {
		if given["tls"] == s2s.TLSNone {
			continue
		}
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			newBlueprint(t, variantOf(way), given, 2, 1).run(t, func(_ *network, _ string, c *s2s.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			}, func(n *network) {
				pairs := allPairs(n.a.domains, n.b.domains)
				for _, p := range pairs {
					n.a.send(p, 1, "echo")
				}
				time.Sleep(time.Minute)
				before := n.figures()
				if before[s2s.FigureStreams] == 0 {
					t.Fatal("there are no streams")
				}
				ahead.Store(int64(100 * 24 * time.Hour))
				time.Sleep(3 * time.Second)
				after := n.figures()
				resets := after[s2s.FigureStreamErrorPrefix+"reset"] + after[s2s.FigurePeerErrorPrefix+"reset"]
				if after[s2s.FigureStreams] != 0 || resets < before[s2s.FigureStreams]/2 {
					t.Errorf("%d streams are left, %d resets for %d", after[s2s.FigureStreams], resets, before[s2s.FigureStreams])
				}
				n.a.send(pairs[0], 2, "v")
				time.Sleep(2 * n.configs[left].Setup)
				// Dialback trusts the DNS, and DANE a key.
				open := map[string]bool{"pair-dialback": true, "shared-dialback": true, "shared-dane": true}
				if sent := len(n.a.failures()) == 0; sent != open[n.variant.Name] {
					t.Errorf("sent afterwards: %t, %v", sent, n.a.failures())
				}
			})
		})
	}
}
