package simulator_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/roster"
	"mellium.im/xmpp/stanza"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/simulator"
)

func TestFeatures(t *testing.T) {
	s := start(t, nil)
	const mechanisms = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>"
	tests := []struct {
		name     string
		listener int
		want     string
	}{
		{"plaintext", 0, "<stream:features>" + mechanisms + "</stream:features>"},
		{"starttls", 1, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"},
		{"optional", 3, "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>" + mechanisms + "</stream:features>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := dial(t, s.Addrs()[tt.listener]).open("a.example"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFeaturesAfterTLS(t *testing.T) {
	const list = "<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>"
	const plus = "<mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>" + list
	tests := []struct {
		name    string
		tls     simulator.TLS
		version uint16
		want    string
	}{
		{"1.3", simulator.TLS{}, tls.VersionTLS13, list + "</stream:features>"},
		{"1.3 with plus", simulator.TLS{Plus13: true}, tls.VersionTLS13,
			plus + "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/></sasl-channel-binding></stream:features>"},
		{"1.2", simulator.TLS{}, tls.VersionTLS12,
			plus + "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-unique'/><channel-binding type='tls-server-end-point'/></sasl-channel-binding></stream:features>"},
		{"ed25519", simulator.TLS{Key: lab.Ed25519}, tls.VersionTLS12,
			plus + "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-unique'/><channel-binding type='tls-server-end-point'/></sasl-channel-binding></stream:features>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(c *simulator.Config) { c.TLS = tt.tls })
			p := dial(t, s.Addrs()[1])
			p.open("a.example")
			p.startTLS(s, func(c *tls.Config) { c.MaxVersion = tt.version })
			got := p.open("a.example")
			if want := "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + tt.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestMellium logs a client of another code base in, in every way there is.
func TestMellium(t *testing.T) {
	keys := []lab.KeyType{lab.P256, lab.RSA2048, lab.Ed25519}
	for i, key := range keys {
		t.Run(string(key), func(t *testing.T) {
			s := start(t, func(c *simulator.Config) {
				c.TLS.Key, c.TLS.Plus13 = key, true
				c.Populations[0].Contacts = 5
			})
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSha1, sasl.ScramSha256, sasl.ScramSha1Plus, sasl.ScramSha256Plus} {
					for _, direct := range []bool{false, true} {
						if i > 0 && (direct || m.Name == "PLAIN") {
							continue // nothing about them depends on the key
						}
						t.Run(tls.VersionName(version)+" "+m.Name+map[bool]string{true: " direct"}[direct], func(t *testing.T) {
							session := melliumLogin(t, s, "u2@a.example", m, version, direct)
							if err := ping.Send(t.Context(), session, jid.MustParse("a.example")); err != nil {
								t.Errorf("ping: %v", err)
							}
							items := 0
							iter := roster.Fetch(t.Context(), session)
							for iter.Next() {
								items++
							}
							if err := errors.Join(iter.Err(), iter.Close()); err != nil || items != 5 {
								t.Errorf("roster: %d items, %v: want 5", items, err)
							}
						})
					}
				}
			}
			if n := s.Figures()["logins.SCRAM-SHA-256-PLUS"]; n < 2 {
				t.Errorf("%d logins with SCRAM-SHA-256-PLUS were counted: want 2 or more", n)
			}
		})
	}
}

func melliumLogin(t *testing.T, s *simulator.Simulator, address string, m sasl.Mechanism, version uint16, direct bool) *xmpp.Session {
	t.Helper()
	me := jid.MustParse(address)
	config := &tls.Config{RootCAs: roots(s), ServerName: me.Domainpart(), MinVersion: version, MaxVersion: version}
	var features []xmpp.StreamFeature
	state := xmpp.SessionState(0)
	i := 1
	if direct {
		i = 2
		state = xmpp.Secure
		config.NextProtos = []string{"xmpp-client"}
	} else {
		features = append(features, xmpp.StartTLS(config))
	}
	features = append(features, xmpp.SASL("", "secret", m), xmpp.BindResource())
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", s.Addrs()[i].String())
	if err != nil {
		t.Fatal(err)
	}
	if direct {
		tc := tls.Client(c, config)
		if err := tc.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := tc.ConnectionState().NegotiatedProtocol; got != "xmpp-client" {
			t.Errorf("ALPN %q: want xmpp-client", got)
		}
		c = tc
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	session, err := xmpp.NewSession(ctx, me.Domain(), me, c, state, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
		return xmpp.StreamConfig{Features: features}
	}))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- session.Serve(nil) }()
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		<-served
		c.Close()
	})
	return session
}

// TestMelliumConversation lets two mellium clients subscribe and talk.
func TestMelliumConversation(t *testing.T) {
	s := start(t, nil)
	one := melliumLogin(t, s, "u2@a.example", sasl.ScramSha256, tls.VersionTLS13, false)
	got := make(chan string, 100)
	two := func() *xmpp.Session {
		me := jid.MustParse("u4@a.example")
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		session, err := xmpp.NewSession(t.Context(), me.Domain(), me, c, xmpp.Secure, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{xmpp.SASL("", "secret", sasl.ScramSha1), xmpp.BindResource()}}
		}))
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() {
			served <- session.Serve(xmpp.HandlerFunc(func(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
				typ := ""
				for _, a := range start.Attr {
					if a.Name.Local == "type" {
						typ = a.Value
					}
				}
				got <- start.Name.Local + " " + typ
				return nil
			}))
		}()
		t.Cleanup(func() { session.Close(); <-served; c.Close() })
		return session
	}()
	send := func(s *xmpp.Session, p stanza.Presence) {
		t.Helper()
		if err := s.Send(t.Context(), p.Wrap(nil)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(expected ...string) {
		t.Helper()
		for len(expected) > 0 {
			select {
			case v := <-got:
				if i := slices.Index(expected, v); i >= 0 {
					expected = slices.Delete(expected, i, i+1)
				}
			case <-t.Context().Done():
				t.Fatalf("missing %v", expected)
			}
		}
	}
	send(two, stanza.Presence{})
	want("presence ")
	send(one, stanza.Presence{To: jid.MustParse("u4@a.example"), Type: stanza.SubscribePresence})
	want("presence subscribe")
	send(two, stanza.Presence{To: jid.MustParse("u2@a.example"), Type: stanza.SubscribedPresence})
	msg := stanza.Message{To: jid.MustParse("u4@a.example"), Type: stanza.ChatMessage}
	if err := one.Send(t.Context(), msg.Wrap(xmlstream.Wrap(xmlstream.Token(xml.CharData("hello")), xml.StartElement{Name: xml.Name{Local: "body"}}))); err != nil {
		t.Fatal(err)
	}
	want("message chat")
}

func TestWrongPasswords(t *testing.T) {
	s := start(t, nil)
	p := dial(t, s.Addrs()[0])
	p.open("a.example")
	const wrong = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHUyAHdyb25n</auth>"
	const refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/>…</failure>"
	for range 4 {
		p.send(wrong)
		p.want(refused)
	}
	p.plain("u2", "a.example", "secret") // the fifth may still succeed

	p = dial(t, s.Addrs()[0])
	p.open("a.example")
	for range 5 {
		p.send(wrong)
		p.want(refused)
	}
	p.want("<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>…</stream:error>")
	p.want("</stream:stream>")
	p.wantEOF()
	if n := s.Figures()["logins.failed"]; n != 9 {
		t.Errorf("%d failed logins were counted: want 9", n)
	}
}

func TestSASLFailures(t *testing.T) {
	s := start(t, nil)
	tests := []struct{ name, auth, want string }{
		{"unknown mechanism", "mechanism='X-MAGIC'>=", "<invalid-mechanism/>"},
		{"no mechanism", ">", "<invalid-mechanism/>"},
		{"plus without TLS", "mechanism='SCRAM-SHA-1-PLUS'>=", "<invalid-mechanism/>"},
		{"not base64", "mechanism='PLAIN'>&lt;&gt;", "<incorrect-encoding/>"},
		{"empty response", "mechanism='PLAIN'>=", "<malformed-request/>"},
		{"unknown user", "mechanism='PLAIN'>AG5vYm9keQBzZWNyZXQ=", "<not-authorized/><text xml:lang='en'>wrong user name or password</text>"},
		{"other authzid", "mechanism='PLAIN'>dTRAYS5leGFtcGxlAHUyAHNlY3JldA==", "<invalid-authzid/>"},
		{"scram without header", "mechanism='SCRAM-SHA-1'>bj11Mg==", "<malformed-request/><text xml:lang='en'>no gs2 header</text>"},
		{"binding without plus", "mechanism='SCRAM-SHA-1'>cD10bHMtdW5pcXVlLCxuPXUyLHI9YWJj", "<malformed-request/><text xml:lang='en'>channel binding asked for with a mechanism that has none</text>"},
		{"mandatory extension", "mechanism='SCRAM-SHA-1'>biwsbT14LG49dTIscj1hYmM=", "<malformed-request/><text xml:lang='en'>user name and nonce expected</text>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, s.Addrs()[0])
			p.open("a.example")
			p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' " + tt.auth + "</auth>")
			p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + tt.want + "</failure>")
			p.plain("u2", "a.example", "secret")
		})
	}
}

// TestUnknownUserLooksLikeAKnownOne checks that SCRAM answers both alike, and the
// same salt each time.
func TestUnknownUserLooksLikeAKnownOne(t *testing.T) {
	s := start(t, nil)
	challenge := func(auth string) string {
		p := dial(t, s.Addrs()[0])
		p.open("a.example")
		p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + auth + "</auth>")
		got := p.want("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>")["data"]
		text := decode(t, got)
		p.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + encode("c=biws,"+strings.Split(text, ",")[0]+",p="+encode(strings.Repeat("x", 20))) + "</response>")
		p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>wrong user name or password</text></failure>")
		return text
	}
	known, unknown := challenge(encode("n,,n=u2,r=abc")), challenge(encode("n,,n=nobody,r=abc"))
	if len(known) != len(unknown) {
		t.Errorf("%q and %q differ in shape", known, unknown)
	}
	again := challenge(encode("n,,n=nobody,r=abc"))
	if a, b := strings.Split(unknown, ",s=")[1], strings.Split(again, ",s=")[1]; a != b {
		t.Errorf("the salt of an unknown user changed from %s to %s", a, b)
	}
}

func TestChannelBindingChecks(t *testing.T) {
	s := start(t, func(c *simulator.Config) { c.TLS.Plus13 = true })
	secure := func(t *testing.T) *peer {
		p := dial(t, s.Addrs()[2])
		p.handshake(s, func(c *tls.Config) { c.NextProtos = []string{"xmpp-client"} })
		p.open("a.example")
		return p
	}
	t.Run("downgrade", func(t *testing.T) {
		p := secure(t)
		p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + encode("y,,n=u2,r=abc") + "</auth>")
		p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>the client believes that channel binding was not on offer</text></failure>")
	})
	for _, tt := range []struct{ name, typ, data string }{
		{"other channel", "tls-exporter", strings.Repeat("x", 32)},
		{"binding left out", "tls-exporter", ""},
		{"binding of another version", "tls-unique", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := secure(t)
			client := scramClient{hash: sha256New, user: "u2", password: "secret", gs2: "p=" + tt.typ + ",,", binding: tt.data}
			p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256-PLUS'>" + encode(client.first()) + "</auth>")
			challenge := p.want("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>")["data"]
			p.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + encode(client.final(t, decode(t, challenge))) + "</response>")
			p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/>…</failure>")
		})
	}
}

// TestEndPointBinding logs in with tls-server-end-point, which mellium does not know.
func TestEndPointBinding(t *testing.T) {
	for _, key := range []lab.KeyType{lab.P256, lab.RSA2048} {
		s := start(t, func(c *simulator.Config) { c.TLS.Key, c.TLS.Plus13 = key, true })
		p := dial(t, s.Addrs()[2])
		tc := p.handshake(s, nil)
		p.open("a.example")
		sum := sha256Sum(tc.ConnectionState().PeerCertificates[0].Raw)
		client := scramClient{hash: sha256New, user: "u2", password: "secret", gs2: "p=tls-server-end-point,a=u2@a.example,", binding: sum}
		p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256-PLUS'>" + encode(client.first()) + "</auth>")
		challenge := p.want("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>")["data"]
		p.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + encode(client.final(t, decode(t, challenge))) + "</response>")
		verifier := p.want("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</success>")["data"]
		if got := decode(t, verifier); got != client.verifier {
			t.Errorf("the server's signature is %s: want %s", got, client.verifier)
		}
	}
}

// TestAbortedLogin checks that a client may change its mind, and that an answer
// can come without an initial response (RFC 6120 §6.4.3).
func TestAbortedLogin(t *testing.T) {
	s := start(t, nil)
	p := dial(t, s.Addrs()[0])
	p.open("a.example")
	p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + encode("n,,n=u2,r=abc") + "</auth>")
	p.want("<challenge …>…</challenge>")
	p.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><aborted/></failure>")
	p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>")
	p.want("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'></challenge>")
	p.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + encode("u2@a.example\x00u2\x00secret") + "</response>")
	p.want("<success …/>")
}

// TestUserNames checks what SCRAM may call a user (RFC 5802 §5.1).
func TestUserNames(t *testing.T) {
	s := start(t, func(c *simulator.Config) { c.Populations[0].Pattern = "a=,b{i}" })
	for name, good := range map[string]bool{"a=3D=2Cb2": true, "A=3D=2CB2": true, "a=,b2": false, "a=3d=2Cb2": false, "a=3D=2Cb3": false} {
		p := dial(t, s.Addrs()[0])
		p.open("a.example")
		client := scramClient{hash: sha256New, user: name, password: "secret", gs2: "n,,"}
		p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>" + encode(client.first()) + "</auth>")
		got, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if vars, ok := match("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>", got); ok {
			p.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + encode(client.final(t, decode(t, vars["data"]))) + "</response>")
			if got, err = p.read(); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(got, "<success") != good {
			t.Errorf("%s: %s: want success %t", name, got, good)
		}
	}
}
