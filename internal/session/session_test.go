package session_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

const (
	jid      = "juliet@a.test/balcony"
	password = "wherefore art thou"
)

// login dials with a test's timeout and closes the session at its end.
func login(t testing.TB, c session.Config) (*session.Session, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if c.JID == "" {
		c.JID = jid
	}
	if c.Password == "" {
		c.Password = password
	}
	s, err := session.Dial(ctx, c)
	if err == nil {
		t.Cleanup(func() { s.Stream.Abort(wire.StreamError{Condition: "reset"}) })
	}
	return s, err
}

func mustLogin(t testing.TB, c session.Config) *session.Session {
	t.Helper()
	s, err := login(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// steps returns the names of the steps, and fails if they do not follow one another in time.
func steps(t *testing.T, s *session.Session) string {
	t.Helper()
	var names []string
	var sum time.Duration
	for i, st := range s.Steps {
		sum += st.End.Sub(st.Start)
		names = append(names, st.Name)
		if st.End.Before(st.Start) || i > 0 && !st.Start.Equal(s.Steps[i-1].End) {
			t.Errorf("step %d (%s) runs from %v to %v, the one before ended at another time", i, st.Name, st.Start, st.End)
		}
	}
	if whole := s.Steps[len(s.Steps)-1].End.Sub(s.Steps[0].Start); sum != whole {
		t.Errorf("the steps took %v in all, the login %v", sum, whole)
	}
	return strings.Join(names, " ")
}

const (
	clearSteps    = "dial header features sasl header features bind"
	starttlsSteps = "dial header features starttls tls header features sasl header features bind"
	directSteps   = "dial tls header features sasl header features bind"
)

func exporter(p *peer) []byte {
	state := p.tls.ConnectionState()
	if state.Version < tls.VersionTLS13 {
		return state.TLSUnique
	}
	b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	p.gone(err)
	return b
}

func TestLogin(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("a.test")
	server12 := ca.server("a.test")
	server12.MaxVersion = tls.VersionTLS12
	mutual := ca.server("a.test")
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
	withCert := ca.client()
	withCert.Certificates = []tls.Certificate{ca.issue(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "juliet")}
	all := mechanisms("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN")

	tests := []struct {
		name   string
		config session.Config
		script func(*peer)

		mechanism  string
		steps      string
		roundTrips int
	}{
		{"clear SCRAM-SHA-256", session.Config{TLS: session.NoTLS}, func(p *peer) {
			p.stream(mechanisms("PLAIN", "SCRAM-SHA-256"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, gs2: "n,,"})
		}, "SCRAM-SHA-256", clearSteps, 6},
		{"clear SCRAM-SHA-1, signature in a challenge", session.Config{TLS: session.NoTLS}, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: password, asChallenge: true})
		}, "SCRAM-SHA-1", clearSteps, 7},
		{"clear PLAIN when allowed", session.Config{TLS: session.NoTLS, PlainInClear: true}, func(p *peer) {
			p.stream(mechanisms("PLAIN"))
			p.plain(password)
		}, "PLAIN", clearSteps, 5},
		{"STARTTLS PLAIN", session.Config{TLSConfig: ca.client()}, func(p *peer) {
			p.startTLS(server)
			p.stream(mechanisms("PLAIN"))
			p.plain(password)
		}, "PLAIN", starttlsSteps, 8},
		{"STARTTLS, server without channel binding", session.Config{TLSConfig: ca.client()}, func(p *peer) {
			p.startTLS(server)
			p.stream(mechanisms("SCRAM-SHA-256", "PLAIN"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, gs2: "y,,"})
		}, "SCRAM-SHA-256", starttlsSteps, 9},
		{"STARTTLS, client without channel binding", session.Config{TLSConfig: ca.client(), Mechanisms: []string{session.ScramSHA1}}, func(p *peer) {
			p.startTLS(server)
			p.stream(all)
			p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: password, gs2: "n,,"})
		}, "SCRAM-SHA-1", starttlsSteps, 9},
		{"TLS 1.3, server silent about tls-exporter", session.Config{TLSConfig: ca.client()}, func(p *peer) {
			p.startTLS(server)
			p.stream(all)
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, gs2: "n,,"})
		}, "SCRAM-SHA-256", starttlsSteps, 9},
		{"STARTTLS tls-exporter on request", session.Config{TLSConfig: ca.client(), Mechanisms: session.DefaultMechanisms()}, func(p *peer) {
			p.startTLS(server)
			p.stream(all)
			p.scram(scramServer{mechanism: "SCRAM-SHA-256-PLUS", password: password, gs2: "p=tls-exporter,,", binding: exporter(p)})
		}, "SCRAM-SHA-256-PLUS", starttlsSteps, 9},
		{"STARTTLS 1.2 tls-unique", session.Config{TLSConfig: ca.client(), Mechanisms: []string{session.ScramSHA1Plus}}, func(p *peer) {
			p.startTLS(server12)
			p.stream(all)
			p.scram(scramServer{mechanism: "SCRAM-SHA-1-PLUS", password: password, gs2: "p=tls-unique,,", binding: exporter(p)})
		}, "SCRAM-SHA-1-PLUS", starttlsSteps, 10},
		{"server knows another channel binding", session.Config{TLSConfig: ca.client()}, func(p *peer) {
			p.startTLS(server)
			p.stream(all, "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-server-end-point'/></sasl-channel-binding>")
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, gs2: "n,,"})
		}, "SCRAM-SHA-256", starttlsSteps, 9},
		{"direct TLS, server says the channel binding", session.Config{TLS: session.DirectTLS, TLSConfig: ca.client()}, func(p *peer) {
			c := server.Clone()
			c.NextProtos = []string{"xmpp-client"}
			p.upgrade(c)
			if name := p.tls.ConnectionState().ServerName; name != "a.test" {
				p.fatalf("SNI is %q", name)
			}
			p.stream(all, "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>")
			p.scram(scramServer{mechanism: "SCRAM-SHA-256-PLUS", password: password, binding: exporter(p)})
		}, "SCRAM-SHA-256-PLUS", directSteps, 7},
		{"EXTERNAL", session.Config{TLS: session.DirectTLS, TLSConfig: withCert, Mechanisms: []string{session.External}}, func(p *peer) {
			p.upgrade(mutual)
			p.stream(mechanisms("EXTERNAL"))
			if b := p.auth("EXTERNAL"); len(b) != 0 {
				p.fatalf("EXTERNAL carries %q", b)
			}
			p.send("<success xmlns='" + saslNS + "'>=</success>")
		}, "EXTERNAL", directSteps, 6},
		{"ANONYMOUS", session.Config{JID: "a.test", TLSConfig: ca.client(), Mechanisms: []string{session.Anonymous}}, func(p *peer) {
			p.startTLS(server)
			p.stream(mechanisms("PLAIN", "ANONYMOUS"))
			if b := p.auth("ANONYMOUS"); len(b) != 0 {
				p.fatalf("ANONYMOUS carries %q", b)
			}
			p.send("<success xmlns='" + saslNS + "'/>")
		}, "ANONYMOUS", starttlsSteps, 8},
	}
	for _, tt := range tests {
		for _, cut := range []int{0, 1, 3, 17} {
			t.Run(fmt.Sprintf("%s/cut %d", tt.name, cut), func(t *testing.T) {
				tt.config.Connect, _ = listen(t, func(p *peer) {
					p.cut = cut
					tt.script(p)
					p.stream(bindFeature, smFeature)
					p.bind("juliet@a.test/balcony", "")
					p.rest()
				})
				s := mustLogin(t, tt.config)
				if s.JID != jid {
					t.Errorf("bound %s", s.JID)
				}
				if s.StreamID != "s1" {
					t.Errorf("stream %q", s.StreamID)
				}
				if s.Mechanism != tt.mechanism {
					t.Errorf("mechanism %s, want %s", s.Mechanism, tt.mechanism)
				}
				if got := steps(t, s); got != tt.steps {
					t.Errorf("steps\n%s, want\n%s", got, tt.steps)
				}
				if s.RoundTrips != tt.roundTrips {
					t.Errorf("%d round trips, want %d", s.RoundTrips, tt.roundTrips)
				}
				if secured := s.TLS.Version != 0; secured != (tt.config.TLS != session.NoTLS) {
					t.Errorf("TLS %v with mode %v", s.TLS, tt.config.TLS)
				}
				if s.Features.Find("urn:xmpp:sm:3", "sm") == nil {
					t.Errorf("features %v lack sm", s.Features.Names())
				}
			})
		}
	}
}

// TestTLSInfo checks what the result says about TLS, resumption included.
func TestTLSInfo(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("a.test")
	server.NextProtos = []string{"xmpp-client"}
	connect, _ := listen(t, func(p *peer) {
		p.upgrade(server)
		p.stream(mechanisms("PLAIN"))
		p.plain(password)
		p.stream(bindFeature)
		p.bind(jid, "")
		p.rest()
	})
	client := ca.client()
	client.CurvePreferences = []tls.CurveID{tls.X25519}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	c := session.Config{TLS: session.DirectTLS, TLSConfig: client, Connect: connect}
	for i, want := range []string{"TLS 1.3 X25519 TLS_AES_128_GCM_SHA256", "TLS 1.3 X25519 TLS_AES_128_GCM_SHA256 resumed"} {
		s := mustLogin(t, c)
		// Go's choice of cipher depends on the processor.
		if got := strings.Replace(s.TLS.String(), "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256", 1); got != want {
			t.Errorf("login %d: %s, want %s", i, got, want)
		}
		if s.TLS.NegotiatedProtocol != "xmpp-client" {
			t.Errorf("login %d: ALPN %q", i, s.TLS.NegotiatedProtocol)
		}
		if s.RoundTrips != 6 {
			t.Errorf("login %d: %d round trips", i, s.RoundTrips)
		}
		if l := s.Login; l.In <= 0 || l.Out <= 0 || l.RawIn <= l.In || l.RawOut <= l.Out {
			t.Errorf("login %d: bytes %+v", i, l)
		}
	}
}

// TestTranscript holds the login on the wire against a transcript. What SASL carries is masked in the trace, so the
// transcript is the same each time.
func TestTranscript(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("a.test")
	tests := map[string]struct {
		config session.Config
		script func(*peer)
	}{
		"starttls-scram-sm": {session.Config{TLSConfig: ca.client(), SM: true}, func(p *peer) {
			p.startTLS(server)
			p.stream(mechanisms("SCRAM-SHA-256", "PLAIN"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
			p.stream(bindFeature, smFeature)
			p.bind(jid, "")
			p.element("enable")
			p.send("<enabled xmlns='" + smNS + "' id='x' resume='true'/>")
			p.rest()
		}},
		"brief": {session.Config{TLS: session.NoTLS, SM: true, Brief: true, JID: "a.test", Mechanisms: []string{session.Anonymous}}, func(p *peer) {
			p.stream(mechanisms("ANONYMOUS"))
			p.auth("ANONYMOUS")
			p.send("<success xmlns='" + saslNS + "'/>")
			p.stream(bindFeature, smFeature)
			p.bind("4b7c@a.test/x", "")
			p.element("enable")
			p.send("<enabled xmlns='" + smNS + "'/>")
			p.rest()
		}},
		"clear-plain": {session.Config{TLS: session.NoTLS, PlainInClear: true, JID: "juliet@a.test"}, func(p *peer) {
			p.stream(mechanisms("PLAIN"))
			p.plain(password)
			p.stream(bindFeature)
			p.bind("juliet@a.test/x", "")
			p.rest()
		}},
		"resume": {session.Config{TLS: session.NoTLS, Resume: &session.Resume{ID: "a&b", JID: jid, Handled: 7}}, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: password})
			p.stream(bindFeature, smFeature)
			p.element("resume")
			p.send("<resumed xmlns='" + smNS + "' previd='a&amp;b' h='3'/>")
			p.rest()
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			tt.config.Stream.Trace = func(out bool, b []byte) {
				who := "S: "
				if out {
					who = "C: "
				}
				got.WriteString(who + string(b) + "\n")
			}
			tt.config.Connect, _ = listen(t, tt.script)
			mustLogin(t, tt.config)
			if strings.Contains(got.String(), password) {
				t.Error("the trace shows the password")
			}
			golden.File(t, filepath.Join("testdata", name+".golden"), got.Bytes())
		})
	}
}

// collect serves the stream until it ends and returns the ids of what it brought.
func collect(t *testing.T, s *session.Session) []string {
	t.Helper()
	var ids []string
	s.Stream.Handle(func(head *wire.Stanza) wire.Handler {
		id := head.ID()
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
			if !bytes.HasSuffix(st.Frame, []byte("</message>")) {
				t.Errorf("stanza %s is %s", id, st.Frame)
			}
			ids = append(ids, id)
			return nil
		}}
	})
	if err := s.Stream.Serve(t.Context()); err != nil {
		t.Error(err)
	}
	return ids
}

func messages(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "<message id='%d'><body>%s</body></message>", i, strings.Repeat("x", i*50))
	}
	return b.String()
}

// TestNothingLost sends stanzas in one segment with the last answer of the login, and cuts everything at odd sizes.
func TestNothingLost(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("a.test")
	for _, mode := range []session.TLSMode{session.NoTLS, session.StartTLS} {
		for _, sm := range []bool{false, true} {
			for _, cut := range []int{0, 1, 2, 5, 64, 1000} {
				t.Run(fmt.Sprintf("%v/sm %v/cut %d", mode, sm, cut), func(t *testing.T) {
					connect, _ := listen(t, func(p *peer) {
						p.cut = cut
						if mode == session.StartTLS {
							p.startTLS(server)
						}
						p.stream(mechanisms("SCRAM-SHA-256"))
						p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
						p.stream(bindFeature, smFeature)
						if sm {
							p.bind(jid, "\n"+messages(1, 2))
							p.element("enable")
							p.send("<enabled xmlns='" + smNS + "' id='x' resume='true' max='600' location='[::1]:5222'/>" + messages(3, 9) + "</stream:stream>")
						} else {
							p.bind(jid, messages(1, 9)+"</stream:stream>")
						}
						p.rest()
					})
					s := mustLogin(t, session.Config{TLS: mode, TLSConfig: ca.client(), Connect: connect, SM: sm, Stream: wire.StreamOptions{Verify: true}})
					if got, want := collect(t, s), []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
						t.Errorf("got stanzas %v, want %v", got, want)
					}
					var want *session.SM
					if sm {
						want = &session.SM{ID: "x", Location: "[::1]:5222", Max: 10 * time.Minute, Early: 2}
					}
					if diff := cmp.Diff(want, s.SM); diff != "" {
						t.Error(diff)
					}
				})
			}
		}
	}
}

func TestResume(t *testing.T) {
	authenticate := func(p *peer, features ...string) {
		p.stream(mechanisms("SCRAM-SHA-256"))
		p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
		p.stream(features...)
	}
	t.Run("accepted", func(t *testing.T) {
		connect, _ := listen(t, func(p *peer) {
			authenticate(p, bindFeature, smFeature)
			e := p.element("resume")
			if e.attr("previd") != "some-id" || e.attr("h") != "4294967295" {
				p.fatalf("resume is %+v", e)
			}
			p.send("<resumed xmlns='" + smNS + "' previd='some-id' h='12'/>" + messages(1, 3) + "</stream:stream>")
			p.rest()
		})
		s := mustLogin(t, session.Config{TLS: session.NoTLS, Connect: connect, SM: true,
			Resume: &session.Resume{ID: "some-id", JID: "juliet@a.test/old", Handled: 1<<32 - 1}})
		if !s.Resumed || s.NotResumed != nil || s.JID != "juliet@a.test/old" || s.SM == nil || s.SM.Handled != 12 || s.SM.ID != "some-id" {
			t.Errorf("session %+v with %+v", s, s.SM)
		}
		if got := steps(t, s); got != "dial header features sasl header features sm" {
			t.Errorf("steps %s", got)
		}
		if got := collect(t, s); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("got stanzas %v", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		connect, _ := listen(t, func(p *peer) {
			authenticate(p, bindFeature, smFeature)
			p.element("resume")
			p.send("<failed xmlns='" + smNS + "'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
			p.bind(jid, "")
			p.rest()
		})
		s := mustLogin(t, session.Config{TLS: session.NoTLS, Connect: connect, Resume: &session.Resume{ID: "some-id", JID: "juliet@a.test/old"}})
		if s.Resumed || s.NotResumed == nil || !strings.Contains(s.NotResumed.Error(), "item-not-found") || s.JID != jid {
			t.Errorf("session %+v", s)
		}
		if got := steps(t, s); got != "dial header features sasl header features sm bind" {
			t.Errorf("steps %s", got)
		}
	})
	t.Run("not offered", func(t *testing.T) {
		connect, _ := listen(t, func(p *peer) {
			authenticate(p, bindFeature)
			p.bind(jid, "")
			p.rest()
		})
		s := mustLogin(t, session.Config{TLS: session.NoTLS, Connect: connect, SM: true, Resume: &session.Resume{ID: "some-id", JID: jid}})
		if s.Resumed || s.NotResumed == nil || s.SM != nil || s.JID != jid {
			t.Errorf("session %+v", s)
		}
	})
}

// TestFeatures checks that features arrive with their attributes, whatever prefix the server gives its stream.
func TestFeatures(t *testing.T) {
	connect, _ := listen(t, func(p *peer) {
		p.stream(mechanisms("SCRAM-SHA-256"))
		p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
		p.header()
		p.send("<?xml version='1.0'?><s:stream xmlns='jabber:client' xmlns:s='" + streamNS + "' xmlns:x='urn:example:xmppbench:roster:0' to='juliet@a.test' " +
			"id='>2' from='a.test' version='1.0' xml:lang='en'><s:features>" + bindFeature +
			"<ver xmlns='urn:xmpp:features:rosterver'/><x:roster max-chunk='200' window='8'><x:by>name</x:by></x:roster></s:features>")
		p.bind(jid, "<message id='1' x:mark='yes'></message></s:stream>")
		p.rest()
	})
	s := mustLogin(t, session.Config{TLS: session.NoTLS, Connect: connect})
	want := []string{"urn:ietf:params:xml:ns:xmpp-bind bind", "urn:xmpp:features:rosterver ver", "urn:example:xmppbench:roster:0 roster"}
	if got := s.Features.Names(); !slices.Equal(got, want) {
		t.Errorf("features %q, want %q", got, want)
	}
	roster := s.Features.Find("urn:example:xmppbench:roster:0", "")
	if roster.Attr("max-chunk") != "200" || roster.Attr("window") != "8" || roster.Child("urn:example:xmppbench:roster:0", "by").Text() != "name" {
		t.Errorf("roster feature is %s", roster.Append(nil, ""))
	}
	if s.Features.Find("urn:xmpp:sm:3", "sm") != nil {
		t.Error("found a feature that was not offered")
	}
	if got := collect(t, s); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got stanzas %v", got)
	}
}

// TestSilence lets the server fall silent in each step: the login ends when the step's time is over, in virtual time.
func TestSilence(t *testing.T) {
	hang := func(p *peer) { p.rest() }
	tests := map[string]func(*peer){
		"header":   hang,
		"features": func(p *peer) { p.header(); p.send(openTag); hang(p) },
		"sasl":     func(p *peer) { p.stream(mechanisms("SCRAM-SHA-256")); p.auth("SCRAM-SHA-256"); hang(p) },
		"bind": func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-256"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
			p.stream(bindFeature)
			hang(p)
		},
		"sm": func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-256"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
			p.stream(bindFeature, smFeature)
			p.bind(jid, "")
			hang(p)
		},
	}
	for step, script := range tests {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := session.Dial(t.Context(), session.Config{JID: jid, Password: password, TLS: session.NoTLS, SM: true,
					Connect: pipe(t, script), StepTimeout: 7 * time.Second})
				wantStep(t, err, step, session.ErrNoAnswer)
				if took := time.Since(start); took != 7*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
		t.Run(step+"/cancelled", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err := session.Dial(ctx, session.Config{JID: jid, Password: password, TLS: session.NoTLS, SM: true, Connect: pipe(t, script)})
				wantStep(t, err, step, context.DeadlineExceeded)
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
	t.Run("tls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, err := session.Dial(t.Context(), session.Config{JID: jid, Password: password, TLS: session.DirectTLS, Connect: pipe(t, hang)})
			wantStep(t, err, "tls", session.ErrNoAnswer)
		})
	})
	t.Run("drip", func(t *testing.T) {
		// One byte a second is no silence, and must not hold a login for ever either.
		synctest.Test(t, func(t *testing.T) {
			_, err := session.Dial(t.Context(), session.Config{JID: jid, Password: password, TLS: session.NoTLS, StepTimeout: time.Minute, Connect: pipe(t, func(p *peer) {
				p.header()
				for {
					p.send(" ")
					time.Sleep(time.Second)
				}
			})})
			wantStep(t, err, "header", session.ErrNoAnswer)
		})
	})
	t.Run("dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, err := session.Dial(t.Context(), session.Config{JID: jid, Password: password, Connect: func(ctx context.Context) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			wantStep(t, err, "dial", context.DeadlineExceeded)
		})
	})
}

// TestConcurrent logs many accounts in at once with one configuration, as load does.
func TestConcurrent(t *testing.T) {
	ca := newAuthority(t)
	server := ca.server("a.test")
	connect, _ := listen(t, func(p *peer) {
		p.startTLS(server)
		p.stream(mechanisms("SCRAM-SHA-256"))
		p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
		p.stream(bindFeature)
		e := p.element("iq")
		resource := strings.TrimSuffix(strings.TrimPrefix(e.Inner, "<bind xmlns='"+bindNS+"'><resource>"), "</resource></bind>")
		p.sendf("<iq type='result' id='%s'><bind xmlns='%s'><jid>u@a.test/%s</jid></bind></iq>", e.attr("id"), bindNS, resource)
		p.rest()
	})
	var keys session.KeyCache
	client := ca.client()
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			user := fmt.Sprintf("u%d", i%6)
			s, err := login(t, session.Config{JID: user + "@a.test", Resource: fmt.Sprintf("r%d", i), Keys: &keys, TLSConfig: client, Connect: connect})
			if err != nil {
				t.Error(err)
				return
			}
			if want := fmt.Sprintf("u@a.test/r%d", i); s.JID != want {
				t.Errorf("bound %s, want %s", s.JID, want)
			}
		})
	}
	wg.Wait()
	if keys.Len() != 6 {
		t.Errorf("%d cache entries for 6 accounts", keys.Len())
	}
}
