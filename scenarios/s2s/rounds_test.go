package s2s_test

import (
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestRounds holds the times until pairs can talk, over a link in virtual time,
// against the closed forms: to the nanosecond, since computing takes no time there.
func TestRounds(t *testing.T) {
	const rtt = 100 * time.Millisecond
	for way, given := range ways() {
		if variantOf(way) == "shared-attrcert" {
			continue // it has a test of its own
		}
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			newBlueprint(t, variantOf(way), given, 2, 2).run(t, func(n *network, _ string, c *s2s.Config) { n.rtt = rtt }, func(n *network) {
				want := n.variant.Rounds(n.params)
				for i, tt := range []struct {
					pair        s2s.Pair
					ready, echo int
				}{
					{s2s.Pair{From: "a1.test", To: "b1.test"}, want.First, want.FirstEcho},
					{s2s.Pair{From: "a2.test", To: "b2.test"}, want.Further, want.FurtherEcho},
				} {
					begin := time.Now()
					ready, echo := n.a.trip(tt.pair, i+1)
					// The link has the first byte wait for the connection, not whoever connects.
					if got := ready.Sub(begin); got != time.Duration(tt.ready)*rtt && tt.ready > 1 {
						t.Errorf("%s was ready after %.2f round trips, want %d", tt.pair, got.Seconds()/rtt.Seconds(), tt.ready)
					}
					if got := echo.Sub(begin); got != time.Duration(tt.echo)*rtt {
						t.Errorf("the echo of %s came after %.2f round trips, want %d", tt.pair, got.Seconds()/rtt.Seconds(), tt.echo)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// trip sends a message and returns when its pair was ready and when the echo came.
func (p *party) trip(pair s2s.Pair, seq int) (ready, echo time.Time) {
	p.n.t.Helper()
	came := make(chan time.Time, 1)
	p.mu.Lock()
	p.heard = func(got s2s.Pair, n int) {
		if got == pair.Reverse() && n == seq {
			came <- time.Now()
		}
	}
	p.mu.Unlock()
	times := make(chan s2s.Times, 1)
	err := p.host.Send(s2s.Stanza{Pair: pair, XML: numbered(pair, seq, "echo"), Done: func(t s2s.Times, err error) {
		if err != nil {
			p.n.t.Error(err)
		}
		times <- t
	}})
	if err != nil {
		p.n.t.Error(err)
	}
	return (<-times).Usable, <-came
}
