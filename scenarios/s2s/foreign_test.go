package s2s_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestDialbackKey holds both implementations to the test vector of XEP-0220 §2.5.
func TestDialbackKey(t *testing.T) {
	const want = "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3"
	secret, target, sender, id := "s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F"
	if got := s2s.DialbackKey(secret, target, sender, id); got != want {
		t.Errorf("got %s", got)
	}
	if got := keyFor(secret, target, sender, id); got != want {
		t.Errorf("the peer of the tests has %s", got)
	}
}

// meeting is one host and one foreign provider.
type meeting struct {
	*world
	t       *testing.T
	own     *provider
	foreign *foreignProvider
	certs   map[string]tls.Certificate
	got     chan string // senders of what came for ordinary users
}

// meet starts a host for b1.test and b2.test, and a foreign provider for f1.test and
// f2.test.
func meet(t *testing.T, variant string, given map[string]any, change func(*s2s.Config)) *meeting {
	t.Helper()
	m := &meeting{world: newWorld(t, variant, given), t: t, certs: map[string]tls.Certificate{}, got: make(chan string, 16)}
	for _, d := range []string{f1, f2} {
		m.certs[d] = issue(t, m.ca, lab.LeafOptions{Names: []string{d}})
	}
	layout := m.variant.Layout(m.params)
	m.foreign = &foreignProvider{
		t: t, name: "foreign.test", domains: []string{f1, f2}, secret: "secret of the other", bidi: layout.Both(),
		external: m.variant.Needs(m.params) == s2s.EachDomain && variant != "shared-7712",
		config: &tls.Config{ClientAuth: tls.RequestClientCert, NextProtos: []string{"xmpp-server"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, ok := m.certs[h.ServerName]
			if !ok {
				return nil, fmt.Errorf("asked for %q", h.ServerName)
			}
			return &c, nil
		}},
	}
	m.foreign.listen("127.0.0.9")
	t.Cleanup(m.foreign.stop)
	m.locator.Start[f1], m.locator.Start[f2] = m.foreign.listener.Addr().String(), m.foreign.listener.Addr().String()
	m.change = func(_ string, c *s2s.Config) {
		c.Setup = patience
		echo := c.Deliver
		c.Deliver = func(in s2s.Inbound) {
			if strings.HasPrefix(in.Stanza.To(), "echo@") {
				echo(in)
				return
			}
			m.got <- in.Stanza.From()
		}
		if change != nil {
			change(c)
		}
	}
	m.own = m.start(map[string][]string{"host.test": {b1, b2}})["host.test"]
	return m
}

// dial opens a stream of the foreign provider to the host, up to the features after
// TLS.
func (m *meeting) dial(from, to string) *scripted {
	m.t.Helper()
	p, out := m.open(from, to)
	if out != "" {
		m.t.Fatalf("no stream from %s to %s: %s", from, to, out)
	}
	return p
}

// open is dial with an outcome, which is empty where that worked.
func (m *meeting) open(from, to string) (*scripted, string) {
	m.t.Helper()
	c, err := net.Dial("tcp", m.own.listener.Addr().String())
	if err != nil {
		return nil, err.Error()
	}
	p := newScripted(m.t, c)
	m.t.Cleanup(p.close)
	out := p.open(from, to)
	if out == "" {
		out = p.startTLS(&tls.Config{
			RootCAs: m.ca.Pool(), ServerName: to, NextProtos: []string{"xmpp-server"}, Certificates: []tls.Certificate{m.certs[from]},
			InsecureSkipVerify: m.variant.Needs(m.params) == s2s.OwnOnly,
		})
	}
	if out == "" {
		out = p.open(from, to)
	}
	return p, out
}

// tell has the host send a message, which the foreign provider has to receive.
func (m *meeting) tell(from, to, id string) error {
	m.t.Helper()
	done := make(chan error, 1)
	err := m.own.host.Send(s2s.Stanza{Pair: s2s.Pair{From: from, To: to}, XML: message(from, to, id), Done: func(_ s2s.Times, err error) { done <- err }})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errors.New("nothing came of it")
	}
}

// echoOn waits for the host's echo on a stream.
func echoOn(p *scripted, id string) error {
	for {
		n := p.next()
		if n == nil {
			return errors.New(p.end)
		}
		if n.stanza() {
			if n.attr("id") != id || n.attr("type") == "error" {
				return fmt.Errorf("%+v came", n)
			}
			return nil
		}
	}
}

// request is a message to the echo of the host.
func (p *scripted) request(from, to, id string) {
	p.printf("<message from='u@%s' to='echo@%s' id='%s' type='chat'><body>hello</body></message>", from, to, id)
}

// TestForeignProvider has the host federate with a provider that shares no code with
// it, in both roles.
func TestForeignProvider(t *testing.T) {
	tests := []struct {
		name, variant string
		given         map[string]any
		dialback      bool
	}{
		{"EXTERNAL", "pair-external", nil, false},
		{"EXTERNAL bidi", "pair-bidi", nil, false},
		{"dialback reverse", "pair-dialback", nil, true},
		{"dialback separate", "pair-dialback", map[string]any{"verify": "separate"}, true},
		{"dialback shared", "shared-dialback", nil, true},
		{"dialback shared bidi", "shared-dialback", map[string]any{"streams": "one"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name+"/initiator", func(t *testing.T) {
			t.Parallel()
			m := meet(t, tt.variant, tt.given, nil)
			both := m.variant.Layout(m.params).Both()
			m.foreign.judge = m.verify
			for i, pair := range []s2s.Pair{{From: b1, To: f1}, {From: b2, To: f1}, {From: b1, To: f2}} {
				id := fmt.Sprint("m", i)
				if err := m.tell(pair.From, pair.To, id); err != nil {
					t.Fatal(err)
				}
				n := m.foreign.receive()
				if n.attr("id") != id || n.attr("from") != "u@"+pair.From || n.attr("to") != "echo@"+pair.To {
					t.Errorf("%+v came", n)
				}
			}
			f := m.own.host.Figures()
			shared := m.variant.Layout(m.params).Shared()
			if streams := f[s2s.FigureOpened]; shared && streams != 1 || !shared && streams != 3 {
				t.Errorf("%d connections", streams)
			}
			if !both {
				return
			}
			// The answer comes on the same stream.
			m.foreign.mu.Lock()
			p := m.foreign.peers[0]
			m.foreign.mu.Unlock()
			p.printf("<message from='v@%s' to='u@%s' id='back' type='chat'/>", p.to, p.from)
			select {
			case from := <-m.got:
				if from != "v@"+p.to {
					t.Errorf("from %s", from)
				}
			case <-time.After(patience):
				t.Error("the answer did not arrive")
			}
		})
		t.Run(tt.name+"/responder", func(t *testing.T) {
			t.Parallel()
			m := meet(t, tt.variant, tt.given, nil)
			both := m.variant.Layout(m.params).Both()
			p := m.dial(f1, b1)
			if both {
				p.printf("<bidi xmlns='%s'/>", nsBidi)
			}
			var out string
			if tt.dialback {
				out = p.result(f1, b1, keyFor(m.foreign.secret, b1, f1, p.id))
			} else {
				if out = p.auth(f1); out == accepted {
					if out = p.open(f1, b1); out == "" {
						out = accepted
					}
				}
			}
			if out != accepted {
				t.Fatal(out)
			}
			p.request(f1, b1, "m1")
			if both {
				if err := echoOn(p, "m1"); err != nil {
					t.Error(err)
				}
			} else if n := m.foreign.receive(); n.attr("id") != "m1" || n.attr("from") != "echo@"+b1 {
				t.Errorf("%+v came", n)
			}
			if !tt.dialback {
				return
			}
			// A further pair on the same stream, and one whose key is wrong.
			if out := p.result(f2, b1, keyFor(m.foreign.secret, b1, f2, p.id)); out != accepted {
				t.Error(out)
			}
			if out := p.result(f2, b2, keyFor("another secret", b2, f2, p.id)); out != "refused: forbidden" {
				t.Error(out)
			}
		})
	}
}

// verify asks the host whether a key is its own, on a connection made for it.
func (m *meeting) verify(p *scripted, n *xmlElement) string {
	v, out := m.open(n.attr("to"), n.attr("from"))
	if out != "" {
		return "error"
	}
	defer v.close()
	v.printf("<db:verify from='%s' to='%s' id='%s'>%s</db:verify>", n.attr("to"), n.attr("from"), p.id, n.Text)
	answer := v.next()
	switch {
	case answer == nil:
		return "error"
	case !answer.is(nsDialback, "verify") || answer.attr("id") != p.id || answer.attr("from") != n.attr("from") || answer.attr("to") != n.attr("to"):
		m.t.Errorf("the host answers a question for a key with %+v", answer)
		return "error"
	}
	return answer.attr("type")
}

// TestConflict has a peer that has opened a stream itself refuse that of the host
// with conflict (RFC 6120 §4.9.3.3): an expected outcome, and what waited takes the
// stream that there is.
func TestConflict(t *testing.T) {
	t.Parallel()
	m := meet(t, "pair-bidi", nil, nil)
	var theirs *scripted
	refused := make(chan struct{})
	m.foreign.hook(func() {
		m.foreign.heard = func(p *scripted, n *xmlElement) bool {
			if !n.is(nsStream, "stream") || !p.secured {
				return true
			}
			theirs = m.dial(f1, b1)
			theirs.printf("<bidi xmlns='%s'/>", nsBidi)
			if out := theirs.auth(f1); out != accepted {
				t.Error(out)
			}
			if out := theirs.open(f1, b1); out != "" {
				t.Error(out)
			}
			theirs.settle(b1)
			p.printf("%s<stream:error><conflict xmlns='%s'/></stream:error></stream:stream>", headerOf("id", "x", "from", b1, "to", f1, "version", "1.0"), nsStreamErrors)
			close(refused)
			return false
		}
	})
	if err := m.tell(b1, f1, "m1"); err != nil {
		t.Fatal(err)
	}
	<-refused
	if err := echoOn(theirs, "m1"); err != nil {
		t.Error(err)
	}
	if f := m.own.host.Figures(); f[s2s.FigureConflict] != 1 || f[s2s.FigureBounced] != 0 || f[s2s.FigurePeerErrorPrefix+"conflict"] != 1 {
		t.Errorf("figures %v", f)
	}
}

// TestConflictInPool has a peer refuse every stream of a pool but the first.
func TestConflictInPool(t *testing.T) {
	t.Parallel()
	m := meet(t, "shared-dialback", map[string]any{"pool": 8}, nil)
	var mu sync.Mutex
	streams := 0
	m.foreign.hook(func() {
		m.foreign.heard = func(p *scripted, n *xmlElement) bool {
			if !n.is(nsStream, "stream") || !p.secured {
				return true
			}
			mu.Lock()
			defer mu.Unlock()
			if streams++; streams == 1 {
				return true
			}
			p.printf("%s<stream:error><conflict xmlns='%s'/></stream:error></stream:stream>", headerOf("id", "x", "from", p.to, "to", p.from, "version", "1.0"), nsStreamErrors)
			return false
		}
	})
	kept, refused := 0, 0
	for _, from := range []string{b1, b2} {
		for _, to := range []string{f1, f2} {
			err := m.tell(from, to, "m")
			var bounced *s2s.RouteError
			switch {
			case err == nil:
				kept++
			case errors.As(err, &bounced) && bounced.Condition == "remote-server-not-found":
				refused++
			default:
				t.Error(err)
			}
		}
	}
	if f := m.own.host.Figures(); kept == 0 || refused == 0 || f[s2s.FigureConflict] != int64(refused) {
		t.Errorf("%d kept, %d refused; figures %v", kept, refused, f)
	}
}

// TestPeerLeaves has the peer end its streams in order, or with an error, at every
// element of setting a pair up. What waits is returned, and what is sent afterwards
// passes.
func TestPeerLeaves(t *testing.T) {
	tests := []struct {
		name, variant string
		given         map[string]any
	}{
		{"EXTERNAL", "pair-external", nil},
		{"EXTERNAL bidi", "pair-bidi", nil},
		{"dialback reverse", "pair-dialback", nil},
		{"dialback separate", "pair-dialback", map[string]any{"verify": "separate"}},
		{"dialback shared", "shared-dialback", nil},
		{"dialback shared bidi", "shared-dialback", map[string]any{"streams": "one"}},
	}
	for _, tt := range tests {
		for _, bye := range []string{"</stream:stream>", "<stream:error><shutdown xmlns='" + nsStreamErrors + "'/></stream:error></stream:stream>"} {
			t.Run(tt.name+"/"+bye[:8], func(t *testing.T) {
				t.Parallel()
				for at, reached := 1, true; reached && !t.Failed(); at++ {
					m := meet(t, tt.variant, tt.given, nil)
					m.foreign.judge = m.verify
					var mu sync.Mutex
					heard := 0
					m.foreign.hook(func() {
						m.foreign.heard = func(p *scripted, _ *xmlElement) bool {
							mu.Lock()
							defer mu.Unlock()
							if heard++; heard != at {
								return true
							}
							p.printf("%s", bye)
							return false
						}
					})
					err := m.tell(b1, f1, "m1")
					var bounced *s2s.RouteError
					if err != nil && (!errors.As(err, &bounced) || bounced.Condition != "remote-server-not-found" && bounced.Condition != "remote-server-timeout") {
						t.Errorf("element %d: %v", at, err)
					}
					mu.Lock()
					reached = heard >= at
					mu.Unlock()
					m.foreign.hook(func() { m.foreign.heard = nil })
					if err := m.tell(b1, f1, "m2"); err != nil {
						t.Errorf("after element %d: %v", at, err)
					}
				}
			})
		}
	}
}
