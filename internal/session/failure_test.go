package session_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// wantStep checks the step, the kind and the cause of a failed login.
func wantStep(t *testing.T, err error, step string, cause error) {
	t.Helper()
	var failed *session.Error
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a *session.Error", err)
	}
	if failed.Step != step || failed.Kind() != "login."+step {
		t.Errorf("step %s, kind %s, want %s: %v", failed.Step, failed.Kind(), step, err)
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("error %q, want cause %q", err, cause)
	}
}

func TestFailure(t *testing.T) {
	ca := newAuthority(t)
	hour := func(n int) time.Time { return time.Now().Add(time.Duration(n) * time.Hour) }
	good := ca.server("a.test")
	secured := session.Config{TLSConfig: ca.client()}
	direct := session.Config{TLS: session.DirectTLS, TLSConfig: ca.client()}
	inClear := session.Config{TLS: session.NoTLS}
	authenticated := func(p *peer, features ...string) {
		p.stream(mechanisms("SCRAM-SHA-256"))
		p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password})
		p.stream(features...)
	}
	bindReply := func(reply string) func(*peer) {
		return func(p *peer) {
			authenticated(p, bindFeature, smFeature)
			p.element("iq")
			p.send(reply)
			p.rest()
		}
	}

	tests := []struct {
		name   string
		config session.Config
		script func(*peer)
		step   string
		cause  error
		says   []string
	}{
		// Authentication.
		{"wrong password", session.Config{TLS: session.NoTLS, Password: "sesame"}, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: password})
		}, "sasl", nil, []string{"not-authorized", "juliet@a.test", "wrong password", "SCRAM-SHA-1", "no such luck"}},
		{"wrong password, PLAIN", session.Config{TLSConfig: ca.client(), Password: "sesame"}, func(p *peer) {
			p.startTLS(good)
			p.stream(mechanisms("PLAIN"))
			p.plain(password)
		}, "sasl", nil, []string{"not-authorized", "juliet@a.test", "PLAIN"}},
		{"server without the password", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: password, badSignature: true})
			p.rest()
		}, "sasl", session.ErrServerSignature, nil},
		{"success without signature", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<success xmlns='" + saslNS + "'/>")
			p.rest()
		}, "sasl", nil, nil},
		{"absurd iteration count", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-256"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, iterations: 1_000_001})
		}, "sasl", nil, []string{"1000001", "1000000"}},
		{"iteration count above the limit", session.Config{TLS: session.NoTLS, MaxIterations: 4096}, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-256"))
			p.scram(scramServer{mechanism: "SCRAM-SHA-256", password: password, iterations: 4097})
		}, "sasl", nil, []string{"4097", "4096"}},
		{"mechanism not offered", session.Config{TLSConfig: ca.client(), Mechanisms: []string{session.ScramSHA256}}, func(p *peer) {
			p.startTLS(good)
			p.stream(mechanisms("DIGEST-MD5", "PLAIN"))
			p.rest()
		}, "sasl", nil, []string{"DIGEST-MD5, PLAIN", "accepts SCRAM-SHA-256"}},
		{"PLAIN in clear", inClear, func(p *peer) {
			p.stream(mechanisms("PLAIN"))
			p.rest()
		}, "sasl", nil, []string{"offers PLAIN", "PLAIN: not without TLS"}},
		{"no authentication at all", inClear, func(p *peer) {
			p.stream()
			p.rest()
		}, "features", nil, []string{"no authentication"}},
		{"only STARTTLS", inClear, func(p *peer) {
			p.stream(starttlsFeature)
			p.rest()
		}, "features", nil, []string{"STARTTLS"}},
		{"garbage for a challenge", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<challenge xmlns='" + saslNS + "'>%%%</challenge>")
			p.rest()
		}, "sasl", nil, []string{"base64"}},
		{"challenge in PLAIN", session.Config{TLS: session.NoTLS, PlainInClear: true}, func(p *peer) {
			p.stream(mechanisms("PLAIN"))
			p.auth("PLAIN")
			p.send("<challenge xmlns='" + saslNS + "'/>")
			p.rest()
		}, "sasl", nil, []string{"challenge"}},
		{"stanza for a challenge", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<message/>")
			p.rest()
		}, "sasl", nil, []string{"message"}},

		// TLS.
		{"STARTTLS not offered", secured, func(p *peer) {
			p.stream(mechanisms("PLAIN", "SCRAM-SHA-1"))
			p.rest()
		}, "features", session.ErrNoTLS, []string{"xmpp-sasl mechanisms"}},
		{"STARTTLS refused", secured, func(p *peer) {
			p.stream(starttlsFeature)
			p.element("starttls")
			p.send("<failure xmlns='" + tlsNS + "'/></stream:stream>")
			p.rest()
		}, "starttls", nil, nil},
		{"optional STARTTLS refused", secured, func(p *peer) {
			p.stream("<starttls xmlns='"+tlsNS+"'/>", mechanisms("PLAIN"))
			p.element("starttls")
			p.send("<failure xmlns='" + tlsNS + "'/></stream:stream>")
			p.rest()
		}, "starttls", nil, []string{"TLS negotiation failed"}},
		{"optional STARTTLS, handshake fails", secured, func(p *peer) {
			p.stream("<starttls xmlns='" + tlsNS + "'/>")
			p.element("starttls")
			p.send("<proceed xmlns='" + tlsNS + "'/>")
			p.upgrade(&tls.Config{Certificates: []tls.Certificate{ca.issue(hour(-2), hour(-1), "a.test")}})
		}, "tls", nil, []string{"is valid from"}},
		{"bytes behind proceed", secured, func(p *peer) {
			p.stream(starttlsFeature)
			p.element("starttls")
			p.send("<proceed xmlns='" + tlsNS + "'/><message/>")
			p.rest()
		}, "starttls", nil, []string{"10 bytes", "injected"}},
		{"expired certificate", secured, func(p *peer) {
			p.startTLS(&tls.Config{Certificates: []tls.Certificate{ca.issue(hour(-2), hour(-1), "a.test")}})
		}, "tls", nil, []string{"certificate for a.test", "is valid from", "only"}},
		{"certificate of another domain", direct, func(p *peer) {
			p.upgrade(ca.server("b.test", "conference.b.test"))
		}, "tls", nil, []string{"b.test, conference.b.test", "not for a.test"}},
		{"unknown authority", session.Config{TLS: session.DirectTLS, TLSConfig: &tls.Config{RootCAs: x509.NewCertPool()}}, func(p *peer) {
			p.upgrade(good)
		}, "tls", nil, []string{"authority", "CA file"}},
		{"direct TLS at a STARTTLS port", direct, func(p *peer) {
			p.send(openTag)
			p.rest()
		}, "tls", nil, []string{"does not speak TLS at once"}},
		{"no common TLS version", session.Config{TLS: session.DirectTLS, TLSConfig: &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS13}}, func(p *peer) {
			c := good.Clone()
			c.MaxVersion = tls.VersionTLS12
			p.upgrade(c)
		}, "tls", nil, []string{"version"}},
		{"client certificate demanded", direct, func(p *peer) {
			c := good.Clone()
			c.ClientAuth = tls.RequireAnyClientCert
			p.upgrade(c)
		}, "header", nil, []string{"certificate required"}},
		{"closed in the handshake", direct, func(*peer) {}, "tls", session.ErrClosed, nil},

		// The stream.
		{"host unknown", inClear, func(p *peer) {
			p.header()
			p.send(openTag + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>not here</text></stream:error></stream:stream>")
			p.rest()
		}, "features", nil, []string{"host-unknown", "not here"}},
		{"host unknown, from another domain", inClear, func(p *peer) {
			p.header()
			p.send(strings.Replace(openTag, "a.test", "z.test", 1) + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			p.rest()
		}, "features", nil, []string{"host-unknown"}},
		{"stream error before the header", inClear, func(p *peer) {
			p.header()
			p.send("<stream:error xmlns:stream='" + streamNS + "'><connection-timeout xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
			p.rest()
		}, "header", nil, []string{"connection-timeout"}},
		{"half a stream error before the header", inClear, func(p *peer) {
			p.header()
			p.send("<stream:error xmlns:stream='" + streamNS + "'><connection-timeout")
		}, "header", nil, []string{"incomplete stream error"}},
		{"answer of another domain", inClear, func(p *peer) {
			p.header()
			p.send(strings.Replace(openTag, "a.test", "z.test", 1) + "<stream:features>" + mechanisms("PLAIN") + "</stream:features>")
			p.rest()
		}, "features", nil, []string{"a.test", "z.test"}},
		{"stream error in place of success", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			p.rest()
		}, "sasl", nil, []string{"policy-violation"}},
		{"closed at once", inClear, func(*peer) {}, "header", session.ErrClosed, nil},
		{"closed after the header", inClear, func(p *peer) { p.header(); p.send(openTag) }, "features", session.ErrClosed, nil},
		{"closed in the middle of a tag", inClear, func(p *peer) { p.header(); p.send(openTag + "<stream:fea") }, "features", session.ErrClosed, nil},
		{"stream closed in SASL", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("</stream:stream>")
			p.rest()
		}, "sasl", session.ErrClosed, nil},
		{"not XMPP", inClear, func(p *peer) {
			p.send("SSH-2.0-OpenSSH_9.2\r\n<<<<")
			p.rest()
		}, "header", nil, []string{"SSH-2.0"}},
		{"HTML", inClear, func(p *peer) {
			p.send("<html><body>400 Bad Request</body></html>")
			p.rest()
		}, "header", nil, []string{"html", "no XMPP"}},
		{"unbalanced features", inClear, func(p *peer) {
			p.header()
			p.send(openTag + "<stream:features><a></b></stream:features>")
			p.rest()
		}, "features", nil, []string{"not XMPP"}},
		{"huge header", inClear, func(p *peer) {
			p.header()
			p.send("<stream:stream a='" + strings.Repeat("x", 1<<20))
			p.rest()
		}, "header", session.ErrTooLarge, []string{"65536"}},
		{"huge features", inClear, func(p *peer) {
			p.header()
			p.send(openTag + "<stream:features>" + strings.Repeat("<a/>", 1<<18))
			p.rest()
		}, "features", session.ErrTooLarge, nil},
		{"deep nesting", inClear, func(p *peer) {
			p.header()
			p.send(openTag + "<stream:features>" + strings.Repeat("<a>", 1_000_000))
			p.rest()
		}, "features", session.ErrTooLarge, nil},
		{"deep nesting in SASL", inClear, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<challenge xmlns='" + saslNS + "'>" + strings.Repeat("<a>", 1_000_000))
			p.rest()
		}, "sasl", session.ErrTooLarge, nil},
		{"long text in SASL", session.Config{TLS: session.NoTLS, StepBytes: 2000}, func(p *peer) {
			p.stream(mechanisms("SCRAM-SHA-1"))
			p.auth("SCRAM-SHA-1")
			p.send("<challenge xmlns='" + saslNS + "'>" + strings.Repeat("A", 1<<20))
			p.rest()
		}, "sasl", session.ErrTooLarge, []string{"2000"}},

		// Binding and stream management.
		{"no bind", inClear, func(p *peer) {
			authenticated(p, smFeature)
			p.rest()
		}, "features", nil, []string{"before a resource was bound", "urn:xmpp:sm:3 sm"}},
		{"conflict", inClear, bindReply("<iq type='error' id='bind'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"),
			"bind", nil, []string{`"balcony"`, "in use", "conflict"}},
		{"too many resources", inClear, bindReply("<iq type='error' id='bind'><bind xmlns='" + bindNS + "'/><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"),
			"bind", nil, []string{"resource-constraint"}},
		{"bare JID bound", inClear, bindReply("<iq type='result' id='bind'><bind xmlns='" + bindNS + "'><jid>juliet@a.test</jid></bind></iq>"),
			"bind", nil, []string{"full JID"}},
		{"another id", inClear, bindReply("<iq type='result' id='other'><bind xmlns='" + bindNS + "'><jid>juliet@a.test/x</jid></bind></iq>"),
			"bind", nil, []string{"other"}},
		{"enable refused", session.Config{TLS: session.NoTLS, SM: true}, func(p *peer) {
			authenticated(p, bindFeature, smFeature)
			p.bind(jid, "")
			p.element("enable")
			p.send("<failed xmlns='" + smNS + "'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
			p.rest()
		}, "sm", nil, []string{"unexpected-request"}},
		{"flood before enabled", session.Config{TLS: session.NoTLS, SM: true}, func(p *peer) {
			authenticated(p, bindFeature, smFeature)
			p.bind(jid, strings.Repeat("<message/>", 100_000))
			p.rest()
		}, "sm", session.ErrTooLarge, nil},
		{"resumed without a number", session.Config{TLS: session.NoTLS, Resume: &session.Resume{ID: "x", JID: jid}}, func(p *peer) {
			authenticated(p, bindFeature, smFeature)
			p.element("resume")
			p.send("<resumed xmlns='" + smNS + "' previd='x' h='-1'/>")
			p.rest()
		}, "sm", nil, []string{"-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Connect, _ = listen(t, tt.script)
			_, err := login(t, tt.config)
			wantStep(t, err, tt.step, tt.cause)
			for _, word := range tt.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q:\n%v", word, err)
				}
			}
		})
	}
}

// TestFailureTypes checks that causes can be told apart by type.
func TestFailureTypes(t *testing.T) {
	connect, _ := listen(t, func(p *peer) {
		p.stream(mechanisms("SCRAM-SHA-1"))
		p.scram(scramServer{mechanism: "SCRAM-SHA-1", password: "another"})
	})
	_, err := login(t, session.Config{TLS: session.NoTLS, Connect: connect})
	if a := new(session.AuthError); !errors.As(err, &a) || a.Condition != "not-authorized" || a.Account != "juliet@a.test" {
		t.Errorf("got %#v", a)
	}
	_, err = login(t, session.Config{TLS: session.NoTLS, Connect: connect, Mechanisms: []string{session.Plain}, PlainInClear: true})
	if m := new(session.MechanismError); !errors.As(err, &m) || len(m.Offered) != 1 || m.Offered[0] != "SCRAM-SHA-1" {
		t.Errorf("got %#v", m)
	}
	connect, _ = listen(t, func(p *peer) {
		p.header()
		p.send(openTag + "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>b.test:5222</see-other-host></stream:error>")
		p.rest()
	})
	_, err = login(t, session.Config{TLS: session.NoTLS, Connect: connect})
	if s := new(wire.StreamError); !errors.As(err, &s) || s.Condition != "see-other-host" || s.Text != "b.test:5222" {
		t.Errorf("got %#v from %v", s, err)
	}
}

func TestConfigErrors(t *testing.T) {
	never := func(context.Context) (net.Conn, error) {
		t.Error("dialled")
		return nil, errors.New("dialled")
	}
	for name, c := range map[string]session.Config{
		"no user":           {JID: "a.test"},
		"no domain":         {JID: "juliet@"},
		"not a JID":         {JID: "@/"},
		"bad resource":      {JID: jid, Resource: "\x00"},
		"bad password":      {JID: jid, Password: "a\xff"},
		"control character": {JID: jid, Password: "a\x7f\x00"},
		"bad TLS mode":      {JID: jid, TLS: 9},
		"empty resumption":  {JID: jid, Resume: &session.Resume{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Connect = never
			_, err := session.Dial(t.Context(), c)
			wantStep(t, err, session.StepConfig, nil)
		})
	}
}
