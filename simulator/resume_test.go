package simulator_test

import (
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// manage logs in with stream management and returns its id.
func manage(t *testing.T, s *simulator.Simulator, jid string) (*peer, string) {
	t.Helper()
	p := user(t, s, jid)
	p.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	return p, p.want("<enabled xmlns='urn:xmpp:sm:3' id='{id}' …/>")["id"]
}

// resume takes a session over, having handled h stanzas.
func resume(t *testing.T, s *simulator.Simulator, account, id, h string) *peer {
	t.Helper()
	user, domain, _ := strings.Cut(account, "@")
	p := dial(t, s.Addrs()[0])
	p.open(domain)
	p.plain(user, domain, "secret")
	p.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='" + h + "'/>")
	p.want("<resumed xmlns='urn:xmpp:sm:3' previd='" + id + "' h='…'/>")
	return p
}

// stanza reads the next stanza and skips requests to acknowledge.
func (p *peer) stanza() string {
	p.t.Helper()
	for {
		text, err := p.read()
		if err != nil {
			p.t.Fatal(err)
		}
		if text != "<r xmlns='urn:xmpp:sm:3'/>" {
			return text
		}
	}
}

// TestResumeInTheMiddleOfARoster cuts a connection while a large roster is being
// sent: the session sends the beginning again and goes on.
func TestResumeInTheMiddleOfARoster(t *testing.T) {
	const items = 20000
	s := start(t, func(c *simulator.Config) {
		c.Populations = []population.Config{{
			Seed: 7, Domains: []string{"a.example"}, Pattern: "u{i}", Accounts: 5, Contacts: items, Password: "secret",
		}}
		c.SendBuffer = 4096
	})
	p, id := manage(t, s, "u2@a.example/x")
	p.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>")
	// Some of it is read, the rest is stuck in a full socket.
	var some [5000]byte
	if _, err := p.conn.Read(some[:]); err != nil {
		t.Fatal(err)
	}
	p.conn.Close()

	q := resume(t, s, "u2@a.example", id, "0")
	got := q.stanza()
	if n := strings.Count(got, "<item "); n != items || !strings.HasPrefix(got, "<iq type='result' id='1'") {
		t.Errorf("%d items in %.60s: want %d in the result", n, got, items)
	}
	q.ping2()
}

// ping2 is ping where requests to acknowledge may come between.
func (p *peer) ping2() {
	p.t.Helper()
	p.send("<iq type='get' id='ping2'><ping xmlns='urn:xmpp:ping'/></iq>")
	if got := p.stanza(); !strings.Contains(got, "id='ping2'") {
		p.t.Errorf("got %s instead of the answer to a ping", got)
	}
}

// TestResumeInTheMiddleOfATransfer cuts a connection between chunks: the transfer
// outlives it, credits included.
func TestResumeInTheMiddleOfATransfer(t *testing.T) {
	s := start(t, contacts)
	p, id := manage(t, s, "u2@a.example/x")
	p.send("<iq type='get' id='1'><query xmlns='urn:example:xmppbench:roster:0'><chunked xmlns='urn:example:xmppbench:chunk:0' mode='push' max-items='10' window='1'/></query></iq>")
	if got := p.stanza(); !strings.Contains(got, "<started ") {
		t.Fatalf("got %s instead of the start of a transfer", got)
	}
	seen := 0
	chunk := func() (id string, last bool) {
		t.Helper()
		got := p.stanza()
		vars, ok := match("<iq type='set' id='{id}' …<chunk …seq='{seq}'…>…</iq>", got)
		if !ok {
			t.Fatalf("got %s instead of a chunk", got)
		}
		seen += strings.Count(got, "<item ")
		return vars["id"], strings.Contains(got, "last='true'")
	}
	first, _ := chunk()
	p.send("<iq type='result' id='" + first + "'/>")
	lost, _ := chunk() // the client has it, but its answer is not sent
	p.conn.Close()

	p = resume(t, s, "u2@a.example", id, "3")
	for last := false; !last; {
		p.send("<iq type='result' id='" + lost + "'/>")
		lost, last = chunk()
	}
	if seen != 50 {
		t.Errorf("%d items came: want 50", seen)
	}
}

// TestSeveralPopulations checks that rosters of different sizes live side by side.
func TestSeveralPopulations(t *testing.T) {
	s := start(t, func(c *simulator.Config) {
		c.Populations = nil
		for _, n := range []int{3, 30} {
			c.Populations = append(c.Populations, population.Config{
				Seed: 7, Domains: []string{"a.example"}, Pattern: "r{n}-{i}", Accounts: 5, Contacts: n, Password: "secret",
			})
		}
	})
	for account, want := range map[string]int{"r3-1@a.example/x": 3, "r30-1@a.example/x": 30} {
		p := user(t, s, account)
		p.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>")
		if got, err := p.read(); err != nil || strings.Count(got, "<item ") != want {
			t.Errorf("%s: %.100s, %v: want %d items", account, got, err, want)
		}
	}
}
