//go:build interop

package interop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// mustConverse fails the test unless all questions of both sides are answered.
func mustConverse(t *testing.T, p *ourProvider, u *users) {
	t.Helper()
	for _, about := range []topic{ourQuestions, theirQuestions} {
		c := converse(t, p, u, about, len(p.domains)*len(u.all))
		if verdict := c.verdict(clientLimit); verdict != spoken {
			t.Fatalf("topic %d: %s, %s", about, c.delivered(), verdict)
		}
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(clientLimit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s was never the case", what)
		}
	}
}

// TestFederationIdle leaves streams alone until the server does something about that: whitespace
// is nothing, and a stream that was ended is opened again.
func TestFederationIdle(t *testing.T) {
	for _, f := range []foreigner{{kind: "prosody"}, {kind: "ejabberd"}} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := f.start(t, w, "r", 2, Options{Impatient: true})
			p := w.newProvider(t, w.fresh(2), providerOptions{variant: "pair-external"})
			mustConverse(t, p, u)
			before := p.host.Figures()
			if f.kind == "prosody" {
				eventually(t, "whitespace", func() bool { return slices.Contains(p.tap.listen().quirks, "whitespace") })
			} else {
				eventually(t, "the end of all streams", func() bool { return p.host.Figures()[s2s.FigureStreams] == 0 })
			}
			mustConverse(t, p, u)
			after := p.host.Figures()
			const timeouts = s2s.FigurePeerErrorPrefix + "connection-timeout"
			opened := after[s2s.FigureOpened] - before[s2s.FigureOpened]
			switch {
			case f.kind == "prosody" && opened != 0:
				t.Errorf("%d streams were opened again", opened)
			case f.kind == "ejabberd" && (opened < 4 || after[timeouts] == 0):
				t.Errorf("%d of 4 streams were opened again; figures %v", opened, after)
			}
		})
	}
}

// TestFederationUnknownDomain has each side ask for a domain that the other does not host, and
// then for those that it does: a refusal may cost the stream, not the domains on it.
func TestFederationUnknownDomain(t *testing.T) {
	dialback := Federation{Dialback: true}
	for _, c := range []struct {
		foreigner
		way    way
		reason string // why ours fails
		opened int64  // streams of ours in the end
	}{
		{foreigner{kind: "prosody"}, "pair-external", "stream error host-unknown", 4 + 1},
		{foreigner{kind: "ejabberd"}, "pair-external", "stream error host-unknown", 4 + 1},
		// Prosody ends the stream on which all domains are.
		{foreigner{kind: "prosody", Federation: dialback}, "shared-dialback", silence, 2},
		{foreigner{kind: "ejabberd", Federation: dialback}, "shared-dialback", "authority: not-allowed", 1},
	} {
		t.Run(c.String()+", "+string(c.way), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := c.start(t, w, "r", 2, Options{})
			p := w.newProvider(t, w.fresh(2), c.way.options())
			w.publish(t, []string{"nobody.test"}, u.server.Host, false)
			w.publish(t, []string{"nobody-of-ours.test"}, p.address.Addr().String(), false)
			mustConverse(t, p, u)

			pairs := []s2s.Pair{{From: p.domains[0], To: "nobody.test"}}
			ours := newConversation(pairs)
			p.current.Store(ours)
			p.ask(ours, pairs, anybody)
			if verdict := ours.verdict(silenceLimit); !strings.Contains(verdict, c.reason) {
				t.Errorf("ours: %s, want %s", verdict, c.reason)
			}
			pairs = []s2s.Pair{{From: u.server.Domains[0], To: "nobody-of-ours.test"}}
			theirs := newConversation(pairs)
			u.current.Store(theirs)
			u.ask(t, theirs, pairs, anybody)
			if verdict := theirs.verdict(clientLimit); !strings.Contains(verdict, "host-unknown") {
				t.Errorf("theirs: %s", verdict)
			}

			mustConverse(t, p, u)
			if got := p.host.Figures()[s2s.FigureOpened]; got != c.opened {
				t.Errorf("%d streams were opened, want %d", got, c.opened)
			}
		})
	}
}
