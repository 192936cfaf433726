package s2s_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// The peers here are written from the protocol alone, on encoding/xml and fmt: each end
// of shared-attrcert talks to one that shares no code with it.

const peerDAC = "urn:example:xmppbench:dac:0"

// dacPeer is one end of a stream.
type dacPeer struct {
	t        testing.TB
	conn     net.Conn
	dec      *xml.Decoder
	tls      *tls.Conn
	own      tls.Certificate
	features xmlElement
	nonce    [32]byte // for what the host asserts
}

func newDACPeer(t testing.TB, c net.Conn, own tls.Certificate) *dacPeer {
	p := &dacPeer{t: t, own: own}
	_, _ = rand.Read(p.nonce[:])
	p.over(c)
	t.Cleanup(func() { p.conn.Close() })
	return p
}

// over goes on over another connection. Neither end says anything between the end of
// what was agreed and TLS, so that nothing is lost with the decoder.
func (p *dacPeer) over(c net.Conn) {
	p.conn = c
	p.dec = xml.NewDecoder(c)
	_ = c.SetDeadline(time.Now().Add(time.Hour))
}

func (p *dacPeer) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(p.conn, format, args...); err != nil {
		p.t.Error(err)
	}
}

// header reads a stream header.
func (p *dacPeer) header() xml.StartElement {
	p.t.Helper()
	for {
		tok, err := p.dec.Token()
		if err != nil {
			p.t.Fatal(err)
		}
		if start, ok := tok.(xml.StartElement); ok {
			if start.Name != (xml.Name{Space: nsStream, Local: "stream"}) {
				p.t.Fatalf("%v is no stream", start.Name)
			}
			return start
		}
	}
}

// next reads an element; one without a name at the end of the stream.
func (p *dacPeer) next() xmlElement {
	p.t.Helper()
	for {
		tok, err := p.dec.Token()
		if err != nil {
			return xmlElement{}
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			var n xmlElement
			if err := p.dec.DecodeElement(&n, &tok); err != nil {
				return xmlElement{}
			}
			return n
		case xml.EndElement:
			return xmlElement{}
		}
	}
}

// expect reads elements until one of the given name.
func (p *dacPeer) expect(name string) xmlElement {
	p.t.Helper()
	for {
		n := p.next()
		if n.XMLName.Local == name {
			return n
		}
		if n.XMLName.Local == "" {
			p.t.Fatalf("the stream ended before <%s/>", name)
		}
	}
}

func (p *dacPeer) open(from, to string) {
	p.printf("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='%s' from='%s' to='%s' version='1.0'>", nsStream, from, to)
}

// dialDAC connects to a host as an initiating end, up to the features after TLS.
func dialDAC(t testing.TB, address string, own tls.Certificate, from, to string) *dacPeer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := newDACPeer(t, c, own)
	p.open(from, to)
	p.header()
	p.expect("features")
	p.printf("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	p.expect("proceed")
	p.tls = tls.Client(c, &tls.Config{Certificates: []tls.Certificate{own}, InsecureSkipVerify: true, ServerName: to})
	p.over(p.tls)
	p.open(from, to)
	p.header()
	p.features = p.next()
	return p
}

// dac is what the features have of attribute certificates.
func (p *dacPeer) dac() *xmlElement { return p.features.path("dac") }

// keying takes keying material from TLS.
func (p *dacPeer) keying(role byte, nonce []byte) []byte {
	p.t.Helper()
	if err := p.tls.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	state := p.tls.ConnectionState()
	material, err := state.ExportKeyingMaterial("EXPERIMENTAL-xmppbench-dac-0", append([]byte{role}, nonce...), 32)
	if err != nil {
		p.t.Fatal(err)
	}
	return material
}

// bindingContent is what a binding signs.
func bindingContent(role byte, keying, nonce []byte, names ...string) []byte {
	slices.Sort(names)
	list := sha256.Sum256([]byte(strings.Join(names, "\n") + "\n"))
	return slices.Concat([]byte("xmppbench-dac-0"), []byte{0, role}, keying, nonce, list[:])
}

// sign signs with an ECDSA key.
func sign(t testing.TB, key tls.Certificate, b []byte) string {
	t.Helper()
	digest := sha256.Sum256(b)
	signature, err := key.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return "<binding alg='ecdsa-sha256'>" + base64.StdEncoding.EncodeToString(signature) + "</binding>"
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// proving is an assertion of one domain, without its binding.
func proving(domain string, proof s2s.Proof) string {
	var certs, via strings.Builder
	for i, der := range proof.Chain {
		fmt.Fprintf(&certs, "<cert id='x%d'>%s</cert>", i, b64(der))
		if i > 0 {
			fmt.Fprintf(&via, "x%d ", i)
		}
	}
	return fmt.Sprintf("%s<domain name='%s'><ac>%s</ac><chain via='%s' leaf='x0'/></domain>", certs.String(), domain, b64(proof.AC), via.String())
}

// assert sends an assertion and returns the verdict on its first domain: "valid", a
// reason, or "challenge".
func (p *dacPeer) assert(id, content string) string {
	p.t.Helper()
	p.printf("<assert xmlns='%s' id='%s' nonce='%s'>%s</assert>", peerDAC, id, b64(p.nonce[:]), content)
	return p.verdict(id)
}

func (p *dacPeer) verdict(id string) string {
	p.t.Helper()
	for {
		v := p.expect("verdict")
		if v.attr("id") != id {
			continue
		}
		if first := v.Nodes[0]; first.XMLName.Local != "invalid" {
			return first.XMLName.Local
		}
		return v.Nodes[0].Nodes[0].XMLName.Local
	}
}

// message sends a message to the echo of a domain.
func (p *dacPeer) message(from, to string) {
	p.printf("<message type='chat' from='u@%s' to='echo@%s' id='%s'><body>hello</body></message>", from, to, from)
}

// echo sends a message and reports whether it came back, or the condition of the error
// that did.
func (p *dacPeer) echo(from, to string) string {
	p.t.Helper()
	p.message(from, to)
	m := p.expect("message")
	if m.attr("type") == "error" {
		return m.path("error").Nodes[0].XMLName.Local
	}
	return m.path("body").Text
}

// oneHost is a world with one host, provider-b.test, and the name of another provider.
func oneHost(t *testing.T, given map[string]any, change func(c *s2s.Config)) (*world, *provider) {
	w := newWorld(t, "shared-attrcert", given)
	w.change = func(_ string, c *s2s.Config) {
		if change != nil {
			change(c)
		}
	}
	return w, w.start(map[string][]string{"provider-b.test": domains("b", 3)})["provider-b.test"]
}

// TestAttrcertForeignInitiator has a peer of other make open the stream.
func TestAttrcertForeignInitiator(t *testing.T) {
	for _, binding := range []bool{false, true} {
		t.Run(fmt.Sprintf("binding=%t", binding), func(t *testing.T) {
			w, b := oneHost(t, map[string]any{"binding": binding}, nil)
			o := w.signers
			p := dialDAC(t, b.listener.Addr().String(), o.provider("provider-c.test"), "c1.test", "b1.test")
			theirs := unb64(t, p.dac().attr("nonce"))
			if p.dac().path("proof-type").Text != "ac" || len(theirs) != 32 || p.dac().attr("max-batch") != "256" {
				t.Errorf("features %+v", p.features)
			}
			intro := p.dac().path("assert")
			domain := intro.path("domain")
			ac := unb64(t, domain.path("ac").Text)
			if domain.attr("name") != "b1.test" || !bytes.Equal(ac, o.proofs["provider-b.test"]["b1.test"].AC) || intro.attr("id") == "" {
				t.Errorf("the features assert %+v", intro)
			}
			if got := intro.path("binding").attr("alg") != ""; got != binding {
				t.Errorf("the assertion in the features is bound: %t", got)
			}
			if binding {
				signed := bindingContent('r', p.keying('r', theirs), theirs, "b1.test")
				if !signedBy(o.provider("provider-b.test"), signed, unb64(t, intro.path("binding").Text)) {
					t.Error("the assertion in the features is not bound by the provider's key")
				}
			}
			p.printf("<verdict xmlns='%s' id='%s'><valid until='2030-01-01T00:00:00Z' name='b1.test'/></verdict>", peerDAC, intro.attr("id"))
			binds := func(names ...string) string {
				if !binding {
					return ""
				}
				return sign(t, p.own, bindingContent('i', p.keying('i', theirs), theirs, names...))
			}
			// As in 2009: without a proof first.
			if got := p.assert("q1", "<domain name='c1.test'/>"+binds("c1.test")); got != "challenge" {
				t.Errorf("an assertion without a proof is answered by %s", got)
			}
			if got := p.assert("q2", proving("c1.test", o.sign("c1.test", "provider-c.test", nil))+binds("c1.test")); got != "valid" {
				t.Fatalf("a correct assertion is %s", got)
			}
			if got := p.echo("c1.test", "b1.test"); got != "back" {
				t.Errorf("the echo was %q", got)
			}
			// b2.test is not proved to this end, so that its answer cannot come.
			p.printf("<challenge xmlns='%s' id='x1' nonce='%s'><domain name='b2.test'/><domain name='b9.test'/></challenge>", peerDAC, b64(p.nonce[:]))
			if no := p.expect("impossible"); no.attr("name") != "b9.test" {
				t.Errorf("impossible is %s", no.attr("name"))
			}
			answer := p.expect("assert")
			if answer.attr("re") != "x1" || answer.path("domain").attr("name") != "b2.test" {
				t.Errorf("the challenge is answered by %+v", answer)
			}
			if binding {
				signed := bindingContent('r', p.keying('r', p.nonce[:]), p.nonce[:], "b2.test")
				if !signedBy(o.provider("provider-b.test"), signed, unb64(t, answer.path("binding").Text)) {
					t.Error("the answer to a challenge is not bound to its nonce")
				}
			}
			p.printf("<verdict xmlns='%s' id='%s'><valid name='b2.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC, answer.attr("id"))
			if got := p.echo("c1.test", "b2.test"); got != "back" {
				t.Errorf("the echo was %q", got)
			}
			if got := p.echo("c2.test", "b1.test"); got != "not-authorized" {
				t.Errorf("a stanza of a domain without proof is answered by %q", got)
			}
			p.printf("<retract xmlns='%s' id='r1'><domain name='c1.test'/></retract>", peerDAC)
			if got := p.echo("c1.test", "b1.test"); got != "not-authorized" {
				t.Errorf("a stanza of a retracted domain is answered by %q", got)
			}
			p.printf("</stream:stream>")
			if end := p.next(); end.XMLName.Local != "" {
				t.Errorf("the stream ended with %v", end.XMLName)
			}
			if f := b.host.Figures(); f[s2s.FigureUnauthorised] != 2 || f[s2s.FigureStanzasIn] != 2 {
				t.Errorf("figures %v", f)
			}
		})
	}
}

// signedBy checks an ECDSA signature.
func signedBy(c tls.Certificate, b, signature []byte) bool {
	return c.Leaf.CheckSignature(x509.ECDSAWithSHA256, b, signature) == nil
}

// TestAttrcertForeignResponder has a peer of other make take the stream.
func TestAttrcertForeignResponder(t *testing.T) {
	for _, binding := range []bool{false, true} {
		t.Run(fmt.Sprintf("binding=%t", binding), func(t *testing.T) {
			w, b := oneHost(t, map[string]any{"binding": binding}, nil)
			o := w.signers
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			w.locator.Start["c1.test"], w.locator.Start["c2.test"] = ln.Addr().String(), ln.Addr().String()
			sent := make(chan error, 2)
			send := func(from, to string) {
				p := s2s.Pair{From: from, To: to}
				if err := b.host.Send(s2s.Stanza{Pair: p, XML: message(from, to, "1"), Done: func(_ s2s.Times, err error) { sent <- err }}); err != nil {
					t.Fatal(err)
				}
			}
			send("b1.test", "c1.test")
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			p := newDACPeer(t, c, o.provider("provider-c.test"))
			p.header()
			p.open("c1.test", "b1.test")
			p.printf("<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>")
			p.expect("starttls")
			p.printf("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			p.tls = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{p.own}, ClientAuth: tls.RequireAnyClientCert})
			p.over(p.tls)
			p.header()
			want := ""
			if binding {
				want = "<binding/>"
			}
			// Nothing is asserted in the features: the host has to ask.
			p.open("c1.test", "b1.test")
			p.printf("<stream:features><dac max-bytes='100000' max-batch='2' xmlns='%s' nonce='%s'><proof-type>other</proof-type><proof-type>ac</proof-type>%s</dac></stream:features>", peerDAC, b64(p.nonce[:]), want)
			ask := p.expect("challenge")
			theirs := unb64(t, ask.attr("nonce"))
			if ask.path("domain").attr("name") != "c1.test" {
				t.Errorf("the host asks for %+v", ask)
			}
			assert := p.expect("assert")
			if assert.path("domain").attr("name") != "b1.test" || len(assert.Nodes) != 2+len(want)/len("<binding/>") {
				t.Errorf("the host asserts %+v", assert)
			}
			if binding {
				signed := bindingContent('i', p.keying('i', p.nonce[:]), p.nonce[:], "b1.test")
				if !signedBy(o.provider("provider-b.test"), signed, unb64(t, assert.path("binding").Text)) {
					t.Error("the assertion is not bound by the provider's key to the nonce of the features")
				}
			}
			p.printf("<verdict xmlns='%s' id='%s'><valid name='b1.test' until='2030-01-01T00:00:00+00:00'/></verdict>", peerDAC, assert.attr("id"))
			bound := ""
			if binding {
				bound = sign(t, p.own, bindingContent('r', p.keying('r', theirs), theirs, "c1.test"))
			}
			p.printf("<assert xmlns='%s' id='q1' re='%s'>%s%s</assert>", peerDAC, ask.attr("id"), proving("c1.test", o.sign("c1.test", "provider-c.test", nil)), bound)
			if got := p.verdict("q1"); got != "valid" {
				t.Fatalf("the proof is %s", got)
			}
			if m := p.expect("message"); m.attr("from") != "u@b1.test" {
				t.Errorf("message from %s", m.attr("from"))
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if got := p.echo("c1.test", "b1.test"); got != "back" {
				t.Errorf("the echo was %q", got)
			}
			// The peer speaks for c1.test alone.
			send("b1.test", "c2.test")
			if ask = p.expect("challenge"); ask.path("domain").attr("name") != "c2.test" {
				t.Errorf("the host asks for %+v", ask)
			}
			p.printf("<impossible xmlns='%s' name='c2.test'/>", peerDAC)
			if err := wantRefused(<-sent, "c2.test", "impossible"); err != nil {
				t.Error(err)
			}
			if got := p.echo("c1.test", "b1.test"); got != "back" {
				t.Errorf("the echo was %q", got)
			}
		})
	}
}

// TestAttrcertLimits keeps to what the peer is ready to take.
func TestAttrcertLimits(t *testing.T) {
	tests := []struct {
		name     string
		features string
		want     []int // domains in each assertion
	}{
		{"batch", "max-batch='2' max-bytes='100000'", []int{2, 2, 1}},
		{"bytes", "max-batch='100' max-bytes='3000'", []int{2, 2, 1}},
		{"one at a time", "max-batch='100' max-bytes='1'", []int{1, 1, 1, 1, 1}},
	}
	for _, tt := range tests {
		apartFrom(t, nil, func(c *s2s.Config) { c.Domains = append(c.Domains, "b3.test", "b4.test", "b5.test") }, func(t *testing.T, w *world, b *provider, p *dacPeer) {
			var pairs []s2s.Pair
			for i := range 5 {
				domain := fmt.Sprintf("b%d.test", i+1)
				pairs = append(pairs, s2s.Pair{From: domain, To: "c1.test"})
				if err := b.host.Prove(domain, w.signers.sign(domain, b.name, nil)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.host.Connect(pairs...); err != nil {
				t.Fatal(err)
			}
			p.header()
			p.open("c1.test", "b1.test")
			p.printf("<stream:features><dac xmlns='%s' nonce='%s' %s><proof-type>ac</proof-type></dac></stream:features>", peerDAC, b64(p.nonce[:]), tt.features)
			var got []int
			for range tt.want {
				n := 0
				for _, c := range p.expect("assert").Nodes {
					if c.XMLName.Local == "domain" {
						n++
					}
				}
				got = append(got, n)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v domains in assertions, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// TestAttrcertUnspoken meets peers that do not speak the protocol, or not as it should be.
func TestAttrcertUnspoken(t *testing.T) {
	tests := []struct {
		name, features string
		binding        bool
		want           string
	}{
		{"nothing", "", false, "does not offer domain attribute certificates"},
		{"another version", "<dac xmlns='urn:example:xmppbench:dac:1'/>", false, "does not offer domain attribute certificates"},
		{"other proofs", "<dac xmlns='NS' nonce='NONCE' max-batch='2' max-bytes='9'><proof-type>key</proof-type></dac>", false, "are not offered"},
		{"short nonce", "<dac xmlns='NS' nonce='AAAA' max-batch='2' max-bytes='9'><proof-type>ac</proof-type></dac>", false, "octets"},
		{"no binding", "<dac xmlns='NS' nonce='NONCE' max-batch='2' max-bytes='9'><proof-type>ac</proof-type></dac>", true, "bound to the connection"},
	}
	for _, tt := range tests {
		apartFrom(t, map[string]any{"binding": tt.binding}, nil, func(t *testing.T, w *world, b *provider, p *dacPeer) {
			sent := posting(t, b.host, "b1.test", "c1.test")
			p.header()
			p.open("c1.test", "b1.test")
			p.printf("<stream:features>%s</stream:features>", strings.NewReplacer("NS", peerDAC, "NONCE", b64(p.nonce[:])).Replace(tt.features))
			if n := p.next(); n.XMLName.Local != "error" {
				t.Errorf("%s: %+v", tt.name, n)
			}
			if err := <-sent; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			}
		})
	}
}

// TestAttrcertImpostor has a peer assert domains of the host's own, and say things
// without authority on a stream that does not bear it.
func TestAttrcertImpostor(t *testing.T) {
	w, b := oneHost(t, map[string]any{"unauth": "close-rfc6120"}, nil)
	o := w.signers
	p := dialDAC(t, b.listener.Addr().String(), o.provider("provider-c.test"), "c1.test", "b1.test")
	if got := p.assert("q1", proving("b2.test", o.sign("b2.test", "provider-c.test", nil))); got != "policy" {
		t.Errorf("a domain of the host's own is %s", got)
	}
	if got := p.assert("q2", proving("c1.test", o.sign("c1.test", "provider-c.test", nil))); got != "valid" {
		t.Fatal(got)
	}
	p.printf("<verdict xmlns='%s' id='f0'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC)
	p.message("c2.test", "b1.test")
	if got := p.expect("error"); got.Nodes[0].XMLName.Local != "invalid-from" {
		t.Errorf("the stream ended with %+v", got)
	}
	if f := b.host.Figures(); f[s2s.FigureStanzasIn] != 0 || f[s2s.FigureUnauthorised] != 1 {
		t.Errorf("figures %v", f)
	}
}
