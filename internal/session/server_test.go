package session_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/pbkdf2"
)

// The peer of these tests is made of encoding/xml, fmt and crypto alone: it shares no code with the client.

const (
	streamNS = "http://etherx.jabber.org/streams"
	saslNS   = "urn:ietf:params:xml:ns:xmpp-sasl"
	tlsNS    = "urn:ietf:params:xml:ns:xmpp-tls"
	bindNS   = "urn:ietf:params:xml:ns:xmpp-bind"
	smNS     = "urn:xmpp:sm:3"

	starttlsFeature = "<starttls xmlns='" + tlsNS + "'><required/></starttls>"
	bindFeature     = "<bind xmlns='" + bindNS + "'><required/></bind>"
	smFeature       = "<sm xmlns='" + smNS + "'/>"
)

func mechanisms(names ...string) string {
	s := "<mechanisms xmlns='" + saslNS + "'>"
	for _, n := range names {
		s += "<mechanism>" + n + "</mechanism>"
	}
	return s + "</mechanisms>"
}

// peer is one connection at the server.
type peer struct {
	t    testing.TB
	conn net.Conn
	d    *xml.Decoder
	tls  *tls.Conn
	cut  int // bytes per write; 0: all at once
}

// element is one element received.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Inner   string     `xml:",innerxml"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// gone ends the script when the client has left; what the client makes of it, the test checks.
func (p *peer) gone(err error) {
	if err != nil {
		runtime.Goexit()
	}
}

func (p *peer) fatalf(format string, args ...any) {
	p.t.Errorf("server: "+format, args...)
	runtime.Goexit()
}

func (p *peer) sendf(format string, args ...any) { p.send(fmt.Sprintf(format, args...)) }

func (p *peer) send(text string) {
	for len(text) > 0 {
		n := len(text)
		if p.cut > 0 {
			n = min(n, p.cut)
		}
		_, err := io.WriteString(p.conn, text[:n])
		p.gone(err)
		text = text[n:]
	}
}

// header reads the client's stream header.
func (p *peer) header() xml.StartElement {
	p.d = xml.NewDecoder(p.conn)
	for {
		token, err := p.d.Token()
		p.gone(err)
		if start, ok := token.(xml.StartElement); ok {
			if start.Name != (xml.Name{Space: streamNS, Local: "stream"}) {
				p.fatalf("stream begins with %v", start.Name)
			}
			return start
		}
	}
}

const openTag = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + streamNS + "' id='s1' from='a.test' version='1.0'>"

// stream reads the client's header and answers it with these features.
func (p *peer) stream(features ...string) {
	p.header()
	p.send(openTag + "<stream:features>" + strings.Join(features, "") + "</stream:features>")
}

func (p *peer) element(name string) element {
	var e element
	p.gone(p.d.Decode(&e))
	if e.XMLName.Local != name {
		p.fatalf("got <%s>, expected <%s>", e.XMLName.Local, name)
	}
	return e
}

func (p *peer) upgrade(c *tls.Config) {
	p.tls = tls.Server(p.conn, c)
	p.conn = p.tls
	p.gone(p.tls.Handshake())
}

func (p *peer) startTLS(c *tls.Config) {
	p.stream(starttlsFeature)
	p.element("starttls")
	p.send("<proceed xmlns='" + tlsNS + "'/>")
	p.upgrade(c)
}

func (p *peer) auth(mechanism string) []byte {
	e := p.element("auth")
	if got := e.attr("mechanism"); got != mechanism {
		p.fatalf("client chose %s, expected %s", got, mechanism)
	}
	return p.decode(e)
}

func (p *peer) decode(e element) []byte {
	if e.Text == "=" || e.Text == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(e.Text)
	if err != nil {
		p.fatalf("<%s>: %v", e.XMLName.Local, err)
	}
	return b
}

func (p *peer) success(data string) {
	p.sendf("<success xmlns='%s'>%s</success>", saslNS, base64.StdEncoding.EncodeToString([]byte(data)))
}

// plain takes any user with the password.
func (p *peer) plain(password string) {
	fields := strings.Split(string(p.auth("PLAIN")), "\x00")
	if len(fields) != 3 || fields[2] != password {
		p.send("<failure xmlns='" + saslNS + "'><not-authorized/></failure>")
		p.gone(io.EOF)
	}
	p.success("")
}

// scramServer is the server's half of RFC 5802, by the book.
type scramServer struct {
	mechanism, password string
	salt                string
	iterations          int
	binding             []byte // data expected behind the gs2 header
	gs2                 string // gs2 header expected, checked if not empty
	asChallenge         bool   // send the server's last message as a challenge, then an empty success
	badSignature        bool
	salted              []byte // salted password, derived for each login if nil
}

func (s *scramServer) hash() func() hash.Hash {
	if strings.HasPrefix(s.mechanism, "SCRAM-SHA-1-") || s.mechanism == "SCRAM-SHA-1" {
		return sha1.New
	}
	return sha256.New
}

func (s *scramServer) defaults() {
	s.salt = cmp.Or(s.salt, "salt of the account")
	s.iterations = cmp.Or(s.iterations, 16)
}

func (s *scramServer) saltedPassword() []byte {
	s.defaults()
	h := s.hash()
	return pbkdf2.Key([]byte(s.password), []byte(s.salt), s.iterations, h().Size(), h)
}

func hmacOf(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	io.WriteString(m, text)
	return m.Sum(nil)
}

func (p *peer) scram(s scramServer) {
	h := s.hash()
	s.defaults()
	first := string(p.auth(s.mechanism))
	at := strings.Index(first, "n=")
	gs2, bare := first[:at], first[at:]
	if s.gs2 != "" && s.gs2 != gs2 {
		p.fatalf("gs2 header %q, expected %q", gs2, s.gs2)
	}
	_, nonce, _ := strings.Cut(bare, ",r=")
	serverFirst := fmt.Sprintf("r=%sSERVER,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString([]byte(s.salt)), s.iterations)
	p.sendf("<challenge xmlns='%s'>%s</challenge>", saslNS, base64.StdEncoding.EncodeToString([]byte(serverFirst)))
	final := string(p.decode(p.element("response")))
	withoutProof, proof, _ := strings.Cut(final, ",p=")
	c := base64.StdEncoding.EncodeToString(append([]byte(gs2), s.binding...))
	if want := "c=" + c + ",r=" + nonce + "SERVER"; withoutProof != want {
		p.fatalf("client's last message %q, expected %q", withoutProof, want)
	}
	if s.salted == nil {
		s.salted = s.saltedPassword()
	}
	message := bare + "," + serverFirst + "," + withoutProof
	clientKey := hmacOf(h, s.salted, "Client Key")
	digest := h()
	digest.Write(clientKey)
	signature := hmacOf(h, digest.Sum(nil), message)
	got, _ := base64.StdEncoding.DecodeString(proof)
	for i := range signature {
		signature[i] ^= clientKey[i]
	}
	if !hmac.Equal(got, signature) {
		p.send("<failure xmlns='" + saslNS + "'><not-authorized/><text>no such luck</text></failure>")
		p.gone(io.EOF)
	}
	server := hmacOf(h, hmacOf(h, s.salted, "Server Key"), message)
	if s.badSignature {
		server[0]++
	}
	last := "v=" + base64.StdEncoding.EncodeToString(server)
	if s.asChallenge {
		p.sendf("<challenge xmlns='%s'>%s</challenge>", saslNS, base64.StdEncoding.EncodeToString([]byte(last)))
		p.element("response")
		p.send("<success xmlns='" + saslNS + "'/>")
		return
	}
	p.success(last)
}

// bind answers the request for a resource; more follows in the same segment.
func (p *peer) bind(jid, more string) {
	e := p.element("iq")
	if !strings.Contains(e.Inner, bindNS) {
		p.fatalf("expected a bind request, got %s", e.Inner)
	}
	p.sendf("<iq type='result' id='%s'><bind xmlns='%s'><jid>%s</jid></bind></iq>%s", e.attr("id"), bindNS, jid, more)
}

// rest waits until the client has closed.
func (p *peer) rest() { _, _ = io.Copy(io.Discard, p.conn) }

// listen runs a script for each connection made to it and waits for all of them at the end of the test.
func listen(t testing.TB, script func(*peer)) (connect func(context.Context) (net.Conn, error), addr *net.TCPAddr) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				script(&peer{t: t, conn: c})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	addr = l.Addr().(*net.TCPAddr)
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr.String())
	}, addr
}

// pipe is listen over one net.Pipe, for scripts in virtual time.
func pipe(t testing.TB, script func(*peer)) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() {
			defer server.Close()
			script(&peer{t: t, conn: server})
		})
		t.Cleanup(wg.Wait)
		return client, nil
	}
}

// authority issues the certificates of the tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(from, to time.Time, names ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: from, NotAfter: to,
		Subject: pkix.Name{CommonName: names[0]}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// server returns a TLS configuration for the names, valid now.
func (a *authority) server(names ...string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.issue(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), names...)}}
}

func (a *authority) client() *tls.Config {
	return &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS12}
}

// dialled returns a Connect function for a connection that exists.
func dialled(c net.Conn) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) { return c, nil }
}
