package simulator_test

import (
	"net"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/simulator"
)

func control(t *testing.T, s *simulator.Simulator, method string, in any) simulator.RosterState {
	t.Helper()
	var state simulator.RosterState
	if err := s.Control(t.Context(), method, in, &state); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestMutations(t *testing.T) {
	const jid = "u2@a.example"
	tests := []struct {
		kind                   string
		changes, items, pushes int
	}{
		{"", 10, 50, 10},
		{"rename", 50, 50, 50},
		{"remove", 7, 43, 7},
		{"add", 5, 55, 5},
		{"mixed", 30, 50, 30},
		{"mixed", 0, 50, 0},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			s := start(t, contacts)
			before := control(t, s, simulator.MethodRoster, simulator.Account{JID: jid})
			if before.Items != 50 || before.Version != 50 || before.Horizon != 0 {
				t.Errorf("state %+v: want 50 items at version 50", before)
			}
			p := user(t, s, jid+"/x")
			p.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster' ver='" + before.Ver + "'/></iq>")
			p.want("<iq type='result' id='1' to='u2@a.example/x'/>")
			m := simulator.Mutation{JID: jid, Changes: tt.changes, Seed: 3, Kind: tt.kind}
			after := control(t, s, simulator.MethodMutate, m)
			if after.Items != tt.items || after.Version != before.Version+uint64(tt.changes) {
				t.Errorf("state %+v: want %d items, %d versions on", after, tt.items, tt.changes)
			}
			if tt.changes > 0 && after.Digest == before.Digest {
				t.Error("the digest did not change")
			}
			last := before.Ver
			for range tt.pushes {
				last = p.want("<iq type='set' …><query xmlns='jabber:iq:roster' ver='{ver}'>…</query></iq>")["ver"]
			}
			if last != after.Ver {
				t.Errorf("the last push has version %s: want %s", last, after.Ver)
			}
			p.ping()

			// The same seed changes the same items of the same roster.
			again := control(t, start(t, contacts), simulator.MethodMutate, m)
			if again.Digest != after.Digest {
				t.Errorf("digest %s, and %s when repeated", after.Digest, again.Digest)
			}
		})
	}
}

func TestCompact(t *testing.T) {
	s := start(t, contacts)
	const jid = "u2@a.example"
	state := control(t, s, simulator.MethodMutate, simulator.Mutation{JID: jid, Changes: 4, Kind: "remove"})
	after := control(t, s, simulator.MethodCompact, simulator.Compaction{JID: jid, Version: state.Version})
	if after.Horizon != state.Version || after.Items != 46 {
		t.Errorf("state %+v: want the horizon at %d and 46 items", after, state.Version)
	}
}

func TestSettings(t *testing.T) {
	s := start(t, nil)
	if err := s.Control(t.Context(), simulator.MethodSettings, roster.Settings{Variants: []string{"monolithic"}}, nil); err != nil {
		t.Fatal(err)
	}
	p := dial(t, s.Addrs()[0])
	p.open("a.example")
	p.plain("u2", "a.example", "secret")
	p.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	p.want("<iq …>…</iq>")
	p.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>")
	p.want("<iq type='result' id='1' …><query xmlns='jabber:iq:roster'></query></iq>")
}

func TestDrop(t *testing.T) {
	s := start(t, nil)
	a, b, c := user(t, s, "u2@a.example/x"), user(t, s, "u2@a.example/y"), user(t, s, "u3@b.example/x")
	drop := func(jid string, want int) {
		t.Helper()
		var got simulator.Dropped
		if err := s.Control(t.Context(), simulator.MethodDrop, simulator.Drop{JID: jid}, &got); err != nil {
			t.Fatal(err)
		}
		if got.Connections != want {
			t.Errorf("drop %q: %d connections: want %d", jid, got.Connections, want)
		}
	}
	drop("u4@a.example", 0)
	drop("u2@a.example/x", 1)
	a.wantEOF()
	b.ping()
	drop("u2@a.example", 1)
	b.wantEOF()
	drop("", 1)
	c.wantEOF()
}

func TestControlErrors(t *testing.T) {
	s := start(t, contacts)
	tests := []struct {
		method string
		in     any
		want   string
	}{
		{"dance", nil, "no such method"},
		{simulator.MethodRoster, simulator.Account{JID: "nobody@a.example"}, `no account "nobody@a.example"`},
		{simulator.MethodMutate, simulator.Mutation{JID: "u2@a.example", Changes: 51}, "the roster has 50 items"},
		{simulator.MethodMutate, simulator.Mutation{JID: "u2@a.example", Changes: -1}, "-1 changes"},
		{simulator.MethodMutate, simulator.Mutation{JID: "u2@a.example", Changes: 1, Kind: "shuffle"}, `kind "shuffle"`},
		{simulator.MethodMutate, "u2@a.example", "cannot unmarshal"},
		{simulator.MethodSettings, roster.Settings{Variants: []string{"telepathy"}}, "telepathy"},
		{simulator.MethodRestart, simulator.Restart{Down: -1}, "negative"},
		{simulator.MethodRestart, simulator.Restart{Keep: "calm"}, `keep "calm"`},
	}
	for _, tt := range tests {
		err := s.Control(t.Context(), tt.method, tt.in, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %v: error %v: want %q in it", tt.method, tt.in, err, tt.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	good := func() simulator.Config {
		return simulator.Config{
			Listeners:   []simulator.Listener{{Address: "127.0.0.1:0"}},
			Populations: []population.Config{{Domains: []string{"a.example"}, Accounts: 1}},
		}
	}
	tests := []struct {
		name string
		edit func(*simulator.Config)
		want string
	}{
		{"no population", func(c *simulator.Config) { c.Populations = nil }, "no population"},
		{"no listener", func(c *simulator.Config) { c.Listeners = nil }, "no listener"},
		{"no address", func(c *simulator.Config) { c.Listeners[0].Address = "" }, "listener 1 has no address"},
		{"security", func(c *simulator.Config) { c.Listeners[0].Security = "some" }, `security "some" is not one of`},
		{"population", func(c *simulator.Config) { c.Populations[0].Accounts = 0 }, "0 accounts"},
		{"overlap", func(c *simulator.Config) { c.Populations = append(c.Populations, c.Populations[0]) }, "populations 1 and 2 both have"},
		{"mechanism", func(c *simulator.Config) { c.Mechanisms = []string{"MAGIC"} }, `mechanism "MAGIC" is not known`},
		{"curve", func(c *simulator.Config) { c.TLS.Curves = []string{"P-1"} }, `curve "P-1" is not known`},
		{"version", func(c *simulator.Config) { c.TLS.MinVersion = "1.1" }, `TLS version "1.1"`},
		{"key", func(c *simulator.Config) { c.TLS.Key = "rsa-1" }, `key "rsa-1"`},
		{"share", func(c *simulator.Config) { c.Presence.Online = 2 }, "want a share from 0 to 1"},
		{"stanza", func(c *simulator.Config) { c.StanzaBytes = 100 }, "10000 bytes"},
		{"negative", func(c *simulator.Config) { c.Piece = -1 }, "cannot be negative"},
		{"variant", func(c *simulator.Config) { c.Roster.Variants = []string{"telepathy"} }, "telepathy"},
		{"port", func(c *simulator.Config) { c.Listeners[0].Address = "127.0.0.1:70000" }, "invalid port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.edit(&c)
			s, err := simulator.Start(t.Context(), c)
			if err == nil {
				s.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v: want %q in it", err, tt.want)
			}
		})
	}
}

func TestClose(t *testing.T) {
	s := start(t, nil)
	p := user(t, s, "u2@a.example/x")
	early := dial(t, s.Addrs()[1])
	early.open("a.example")
	detached := user(t, s, "u4@a.example/y")
	detached.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	detached.want("<enabled …/>")
	detached.conn.Close()
	wantFigure(t, s, "connections.open", 2)
	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()
	for _, c := range []*peer{p, early} {
		c.want("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
		c.want("</stream:stream>")
		c.wantEOF()
		c.conn.Close()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

// TestUntouchedAccounts checks that accounts leave nothing behind.
func TestUntouchedAccounts(t *testing.T) {
	s := start(t, contacts)
	p := user(t, s, "u2@a.example/x")
	p.send("<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>")
	p.want("<iq type='result' …>…</iq>")
	p.send("<presence/></stream:stream>")
	for {
		got, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if got == "</stream:stream>" {
			break
		}
	}
	p.wantEOF()
	wantFigure(t, s, "accounts.held", 0)
	q := user(t, s, "u4@a.example/x")
	q.send("<message to='u6@a.example'><body>keep</body></message>")
	q.ping()
	wantFigure(t, s, "accounts.held", 2)
}
