package simulator_test

import (
	"encoding/xml"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// contacts is a population in which everybody has fifty contacts, on two domains.
func contacts(c *simulator.Config) {
	c.Populations = []population.Config{{
		Seed: 7, Domains: []string{"a.example", "b.example"}, Pattern: "u{i}", Accounts: 200, Contacts: 50, Password: "secret",
	}}
}

// standing counts, for an account, what the closed forms of a login depend on.
func standing(t *testing.T, s population.Config, account int, domain string) (from, to, remote int) {
	t.Helper()
	p, err := population.New(s)
	if err != nil {
		t.Fatal(err)
	}
	for it := range p.Items(account) {
		if it.Subscription == "from" || it.Subscription == "both" {
			from++
		}
		if it.Subscription == "to" || it.Subscription == "both" {
			to++
			if !strings.HasSuffix(it.JID, "@"+domain) {
				remote++
			}
		}
	}
	return from, to, remote
}

// TestPresenceCounts checks a login's presence against the closed forms of RFC 6121 §4.
func TestPresenceCounts(t *testing.T) {
	config := simulator.Config{}
	contacts(&config)
	from, to, remote := standing(t, config.Populations[0], 2, "a.example")
	tests := []struct {
		name     string
		presence simulator.Presence
		want     map[string]int // of the first login
		second   map[string]int // of another resource
	}{
		{"everybody offline", simulator.Presence{},
			map[string]int{"sent": from, "probes": remote, "answers": remote, "available": 0, "unavailable": remote},
			map[string]int{"sent": from, "probes": 0, "answers": 0, "available": 0, "unavailable": 0}},
		{"silence", simulator.Presence{OfflineReply: simulator.ReplySilent},
			map[string]int{"sent": from, "probes": remote},
			map[string]int{"sent": from}},
		{"everybody online", simulator.Presence{Online: 1},
			map[string]int{"sent": from, "probes": remote, "answers": remote, "available": to, "fanout": from},
			map[string]int{"sent": from, "available": to, "fanout": from}},
		{"two resources", simulator.Presence{Online: 1, Resources: 2},
			map[string]int{"sent": from, "probes": remote, "answers": remote, "available": 2 * to, "fanout": 2 * from},
			map[string]int{"sent": from, "available": 2 * to, "fanout": 2 * from}},
		{"always", simulator.Presence{Probes: simulator.ProbeAlways},
			map[string]int{"sent": from, "probes": remote, "answers": remote, "unavailable": remote},
			map[string]int{"sent": from, "probes": remote, "answers": remote, "unavailable": remote}},
		{"one server", simulator.Presence{Local: simulator.LocalAll},
			map[string]int{"sent": from}, map[string]int{"sent": from}},
		{"many servers", simulator.Presence{Local: simulator.LocalNone, Delay: time.Millisecond, Spread: simulator.SpreadExponential},
			map[string]int{"sent": from, "probes": to, "answers": to, "unavailable": to},
			map[string]int{"sent": from}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(c *simulator.Config) {
				contacts(c)
				c.Presence = tt.presence
			})
			p := user(t, s, "u2@a.example/x")
			before := s.Figures()
			p.send("<presence/>")
			p.want("<presence to='u2@a.example/x' from='u2@a.example/x'/>")
			checkFlood(t, s, p, before, tt.want)

			q := user(t, s, "u2@a.example/y")
			before = s.Figures()
			q.send("<presence/>")
			q.want("<presence …from='u2@a.example/y'/>")
			q.want("<presence …from='u2@a.example/x'/>")
			checkFlood(t, s, q, before, tt.second)
		})
	}
}

// checkFlood reads the presence that is to come and compares the figures.
func checkFlood(t *testing.T, s *simulator.Simulator, p *peer, before simulator.Figures, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	seen := map[string]bool{}
	for range want["available"] + want["unavailable"] {
		text, err := p.read()
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		var presence struct {
			From  string `xml:"from,attr"`
			Type  string `xml:"type,attr"`
			Delay *struct {
				Stamp time.Time `xml:"stamp,attr"`
			} `xml:"urn:xmpp:delay delay"`
		}
		if err := xml.Unmarshal([]byte(text), &presence); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if seen[presence.From] {
			t.Errorf("%s came twice", presence.From)
		}
		seen[presence.From] = true
		if presence.Type == "unavailable" {
			got["unavailable"]++
			if presence.Delay == nil || strings.Contains(presence.From, "/") {
				t.Errorf("%s: want a bare JID and a time", text)
			}
		} else {
			got["available"]++
		}
	}
	p.ping()
	wantFigure(t, s, "presence.sent", before["presence.sent"]+int64(want["sent"]))
	wantFigure(t, s, "presence.fanout", before["presence.fanout"]+int64(want["fanout"]))
	wantFigure(t, s, "probes.sent", before["probes.sent"]+int64(want["probes"]))
	wantFigure(t, s, "probes.answered", before["probes.answered"]+int64(want["answers"]))
	expected := map[string]int{}
	for _, key := range []string{"available", "unavailable"} {
		if want[key] > 0 {
			expected[key] = want[key]
		}
	}
	if !maps.Equal(got, expected) {
		t.Errorf("received %v: want %v", got, expected)
	}
}

// TestRealContacts checks that contacts that are logged in are not simulated.
func TestRealContacts(t *testing.T) {
	config := simulator.Config{}
	contacts(&config)
	pop, err := population.New(config.Populations[0])
	if err != nil {
		t.Fatal(err)
	}
	contact := ""
	for it := range pop.Items(2) {
		if it.Subscription == "both" {
			contact = it.JID
			break
		}
	}
	s := start(t, func(c *simulator.Config) {
		contacts(c)
		c.Presence = simulator.Presence{Local: simulator.LocalAll}
	})
	a := user(t, s, contact+"/there")
	a.send("<presence><show>chat</show></presence>")
	a.want("<presence …><show>chat</show></presence>")
	b := user(t, s, "u2@a.example/x")
	b.send("<presence/>")
	b.want("<presence …from='u2@a.example/x'/>")
	b.want("<presence to='u2@a.example/x' from='" + contact + "/there'><show>chat</show></presence>")
	a.want("<presence to='" + contact + "/there' from='u2@a.example/x'/>")
	b.conn.Close()
	a.want("<presence to='" + contact + "/there' from='u2@a.example/x' type='unavailable'/>")
}

// TestSlowReader checks that a client that does not read its flood costs bounded
// memory, and that its session ends with it.
func TestSlowReader(t *testing.T) {
	s := start(t, func(c *simulator.Config) {
		c.Populations = []population.Config{{
			Seed: 7, Domains: []string{"a.example"}, Accounts: 30000, Contacts: 20000, Password: "secret",
		}}
		c.Presence = simulator.Presence{Online: 1, Resources: 4}
		c.SendBuffer = 4096
	})
	p := user(t, s, "u0000002@a.example/x")
	p.send("<presence/>")
	p.want("<presence …/>")
	wantMore := s.Figures()["presence.delivered"]
	p.conn.Close()
	wantFigure(t, s, "connections.open", 0)
	if all := s.Figures()["presence.delivered"]; all-wantMore > 60000 {
		t.Errorf("%d of 80000 presences were made for a client that was gone", all)
	}
}

// TestQueueBound checks that a client that reads nothing is given up when too much
// waits for it, and that whoever writes to it does not wait.
func TestQueueBound(t *testing.T) {
	s := start(t, func(c *simulator.Config) {
		c.QueueBytes = 64 << 10
		c.SendBuffer = 4096
	})
	deaf := user(t, s, "u4@a.example/y")
	p := user(t, s, "u2@a.example/x")
	message := "<message to='u4@a.example/y'><body>" + strings.Repeat("x", 100<<10) + "</body></message>"
	for s.Figures()["stream-errors.policy-violation"] == 0 {
		p.send(message)
		p.ping()
	}
	deaf.conn.Close()
	wantFigure(t, s, "sessions.open", 1)
}
