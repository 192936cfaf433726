package simulator_test

import (
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/simulator"
)

// TestStreamErrors provokes the conditions of RFC 6120 §4.9.3 that a client can.
func TestStreamErrors(t *testing.T) {
	s := start(t, func(c *simulator.Config) { c.StanzaBytes = 10000 })
	header := func(attrs string) string { return "<stream:stream " + attrs + ">" }
	const ns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
	const (
		early   = iota // before a header
		opened         // after features
		bound          // with a session
		secured        // on the STARTTLS listener, after features
	)
	tests := []struct {
		name  string
		stage int
		send  string
		want  string
	}{
		{"garbage", early, "GET / HTTP/1.1\r\n\r\n", "not-well-formed"},
		{"doctype", early, "<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"},
		{"comment before the header", early, "<!-- hello -->", "restricted-xml"},
		{"other root", early, "<stream:hello xmlns:stream='http://etherx.jabber.org/streams'>", "bad-format"},
		{"unbound prefix", early, "<stream:stream xmlns='jabber:client' to='a.example' version='1.0'>", "bad-namespace-prefix"},
		{"stream namespace", early, header("xmlns='jabber:client' xmlns:stream='urn:other' to='a.example' version='1.0'"), "invalid-namespace"},
		{"content namespace", early, header("xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'"), "invalid-namespace"},
		{"no version", early, header(ns + "to='a.example'"), "unsupported-version"},
		{"version 0.9", early, header(ns + "to='a.example' version='0.9'"), "unsupported-version"},
		{"version word", early, header(ns + "to='a.example' version='one'"), "unsupported-version"},
		{"unknown host", early, header(ns + "to='c.example' version='1.0'"), "host-unknown"},
		{"host with user", early, header(ns + "to='u2@a.example' version='1.0'"), "host-unknown"},
		{"no host", early, header(ns + "version='1.0'"), "improper-addressing"},
		{"stanza before login", opened, "<message to='u4@a.example'/>", "not-authorized"},
		{"iq before login", opened, "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "not-authorized"},
		{"bind before login", opened, "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "not-authorized"},
		{"resume before login", opened, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>", "not-authorized"},
		{"starttls not on offer", opened, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "policy-violation"},
		{"unknown element", opened, "<hello xmlns='urn:example:x'/>", "unsupported-stanza-type"},
		{"response without auth", opened, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "unsupported-stanza-type"},
		{"mismatched tags", opened, "<a><b></a></b>", "not-well-formed"},
		{"undefined entity", opened, "<a xmlns='x'>&nbsp;</a>", "not-well-formed"},
		{"text between stanzas", opened, "hello", "not-well-formed"},
		{"starttls injected", secured, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><auth/>", "policy-violation"},
		{"comment", bound, "<message><!-- hello --></message>", "restricted-xml"},
		{"instruction", bound, "<message><?php ?></message>", "restricted-xml"},
		{"comment between stanzas", bound, "<!-- hello -->", "restricted-xml"},
		{"instruction between stanzas", bound, "<?php ?>", "restricted-xml"},
		{"late doctype", bound, "<!DOCTYPE x>", "restricted-xml"},
		{"prefix", bound, "<message><x:y/></message>", "bad-namespace-prefix"},
		{"attribute prefix", bound, "<message a:b='c'/>", "bad-namespace-prefix"},
		{"attribute twice", bound, "<message to='u2@a.example' to='u2@a.example'/>", "not-well-formed"},
		{"bad character", bound, "<message>\x01</message>", "not-well-formed"},
		{"bad utf-8", bound, "<message>\xff\xfe</message>", "not-well-formed"},
		{"server stanza", bound, "<message xmlns='jabber:server'/>", "invalid-namespace"},
		{"unknown stanza", bound, "<letter/>", "unsupported-stanza-type"},
		{"other namespace", bound, "<message xmlns='urn:example:x'/>", "unsupported-stanza-type"},
		{"auth again", bound, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>", "unsupported-stanza-type"},
		{"forged sender", bound, "<presence from='u4@a.example'/>", "invalid-from"},
		{"forged resource", bound, "<presence from='u2@a.example/other'/>", "invalid-from"},
		{"malformed sender", bound, "<presence from='@'/>", "invalid-from"},
		{"ack without sm", bound, "<a xmlns='urn:xmpp:sm:3' h='0'/>", "unsupported-stanza-type"},
		{"too large", bound, "<message><body>" + strings.Repeat("x", 10000) + "</body></message>", "policy-violation"},
		{"endless tag", bound, "<message to='" + strings.Repeat("x", 20000), "policy-violation"},
		{"too deep", bound, "<message>" + strings.Repeat("<a>", 1000), "policy-violation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, s.Addrs()[map[bool]int{true: 1}[tt.stage == secured]])
			switch tt.stage {
			case opened, secured:
				p.open("a.example")
			case bound:
				p.login("u2@a.example/" + strings.ReplaceAll(tt.name, " ", "-"))
			}
			before := s.Figures()["stream-errors."+tt.want]
			p.send(tt.send)
			if tt.stage == early {
				p.want("<stream:stream … version='1.0'>")
			}
			if tt.name == "starttls not on offer" {
				p.want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			}
			if tt.name == "starttls injected" {
				p.want("<proceed …/>")
			}
			p.want("<stream:error><" + tt.want + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>…</stream:error>")
			p.want("</stream:stream>")
			p.wantEOF()
			p.conn.Close()
			wantFigure(t, s, "stream-errors."+tt.want, before+1)
		})
	}
}

// TestLargestStanza checks that the bound is not below what it says.
func TestLargestStanza(t *testing.T) {
	s := start(t, func(c *simulator.Config) { c.StanzaBytes = 10000 })
	p := user(t, s, "u2@a.example/x")
	const head, foot = "<message to='u2@a.example/x'><body>", "</body></message>"
	body := strings.Repeat("x", 10000-len(head)-len(foot))
	p.send(head + body + foot)
	p.want("<message to='u2@a.example/x' from='u2@a.example/x'><body>" + body + foot)
}

// TestPeerErrors checks that a client's own stream error ends its stream.
func TestPeerErrors(t *testing.T) {
	s := start(t, nil)
	p := user(t, s, "u2@a.example/x")
	p.send("<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
	p.want("</stream:stream>")
	p.wantEOF()
}
