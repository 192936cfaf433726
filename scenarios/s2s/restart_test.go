package s2s_test

import (
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestNothingPassesBeforeTheRestart has the host speak to a peer that has
// authenticated and not begun its stream anew (RFC 6120 §6.4.6): what is sent meanwhile
// must not come where the header belongs.
func TestNothingPassesBeforeTheRestart(t *testing.T) {
	for _, c := range conducts() {
		g := newGround(t, c)
		if !sasl(g) || !g.layout.Both() {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			a := newArena(t, g, "auto", nil)
			p, out := a.approach(a.foe, approach{from: f1, to: b1})
			if out == "" {
				out = p.auth(f1)
			}
			if out != accepted {
				t.Fatalf("the foe is not let in: %s", out)
			}
			time.Sleep(20 * time.Millisecond) // until the host has taken note of that; too short, nothing is found
			st := s2s.Stanza{Pair: s2s.Pair{From: b1, To: f1}, XML: message(b1, f1, "early")}
			if err := a.host.Send(st); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			if out := p.open(f1, b1); out != "" {
				t.Errorf("in place of the header comes: %s", out)
			}
		})
	}
}
