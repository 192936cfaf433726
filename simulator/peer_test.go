package simulator_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// timeout bounds every wait of the tests. Nothing is asserted about how long things take.
const timeout = 10 * time.Second

// start runs a simulator on loopback with two domains and ten accounts, changed as
// edit says.
func start(t *testing.T, edit func(*simulator.Config)) *simulator.Simulator {
	t.Helper()
	c := simulator.Config{
		Listeners: []simulator.Listener{
			{Address: "127.0.0.1:0", Security: simulator.Plaintext},
			{Address: "127.0.0.1:0", Security: simulator.StartTLS},
			{Address: "127.0.0.1:0", Security: simulator.DirectTLS},
			{Address: "127.0.0.1:0", Security: simulator.OptionalTLS},
		},
		Populations: []population.Config{{
			Seed: 1, Domains: []string{"a.example", "b.example"}, Pattern: "u{i}", Accounts: 10, Contacts: 0, Password: "secret",
		}},
		Iterations: 4096,
	}
	if edit != nil {
		edit(&c)
	}
	s, err := simulator.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// roots returns what a client must trust.
func roots(s *simulator.Simulator) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(s.CA())
	return p
}

// A peer is a client that knows no XMPP: it sends text and reads elements with
// encoding/xml, and shares no code with what it tests.
type peer struct {
	t    testing.TB
	conn net.Conn
	dec  *xml.Decoder
	seen *bytes.Buffer // everything read
	at   int64         // offset in seen of what was not returned yet
}

func dial(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &peer{t: t}
	p.over(c)
	return p
}

// over starts anew on a connection.
func (p *peer) over(c net.Conn) {
	p.conn = c
	p.restart()
}

// restart makes the peer expect a new header. A server sends nothing before it has
// seen ours, so nothing can have been read ahead.
func (p *peer) restart() {
	p.seen, p.at = new(bytes.Buffer), 0
	p.dec = xml.NewDecoder(io.TeeReader(p.conn, p.seen))
}

func (p *peer) send(text string) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatalf("send %s: %v", text, err)
	}
}

// read returns the next header, element or end of the stream as it stands on the wire.
func (p *peer) read() (string, error) {
	p.conn.SetReadDeadline(time.Now().Add(timeout))
	depth := 0
	for {
		tok, err := p.dec.RawToken()
		if err != nil {
			return "", err
		}
		end := p.dec.InputOffset()
		switch tok := tok.(type) {
		case xml.StartElement:
			if tok.Name.Space == "stream" && tok.Name.Local == "stream" {
				return p.take(end), nil
			}
			depth++
		case xml.EndElement:
			if tok.Name.Space == "stream" && tok.Name.Local == "stream" {
				return p.take(end), nil
			}
			if depth--; depth == 0 {
				return p.take(end), nil
			}
		}
	}
}

func (p *peer) take(end int64) string {
	text := p.seen.String()[p.at:end]
	p.at = end
	if i := strings.Index(text, "?>"); strings.HasPrefix(text, "<?xml") && i > 0 {
		text = text[i+2:]
	}
	return text
}

// want reads an element and matches it; see match.
func (p *peer) want(pattern string) map[string]string {
	p.t.Helper()
	got, err := p.read()
	if err != nil {
		p.t.Fatalf("want %s: %v", pattern, err)
	}
	vars, ok := match(pattern, got)
	if !ok {
		p.t.Fatalf("got  %s\nwant %s", got, pattern)
	}
	return vars
}

// wantEOF reads the end of the connection.
func (p *peer) wantEOF() {
	p.t.Helper()
	got, err := p.read()
	if err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		p.t.Fatalf("got %q, %v: want the end of the connection", got, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// match compares text with a pattern, in which … stands for anything and {name}
// for anything but quotes and angle brackets, which is returned.
func match(pattern, text string) (map[string]string, bool) {
	var names []string
	var re strings.Builder
	re.WriteString("(?s)^")
	for len(pattern) > 0 {
		i := strings.IndexAny(pattern, "…{")
		if i < 0 {
			re.WriteString(regexp.QuoteMeta(pattern))
			break
		}
		re.WriteString(regexp.QuoteMeta(pattern[:i]))
		if strings.HasPrefix(pattern[i:], "…") {
			re.WriteString(".*?")
			pattern = pattern[i+len("…"):]
			continue
		}
		end := i + strings.IndexByte(pattern[i:], '}')
		names = append(names, pattern[i+1:end])
		re.WriteString(`([^'"<>]*)`)
		pattern = pattern[end+1:]
	}
	re.WriteString("$")
	m := regexp.MustCompile(re.String()).FindStringSubmatch(text)
	if m == nil {
		return nil, false
	}
	vars := map[string]string{}
	for i, name := range names {
		vars[name] = m[i+1]
	}
	return vars, true
}

const openA = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>"

// open starts a stream to a domain and returns the features.
func (p *peer) open(domain string) string {
	p.t.Helper()
	p.restart()
	p.send(strings.Replace(openA, "a.example", domain, 1))
	p.want("<stream:stream …>")
	features, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	return features
}

// startTLS upgrades the connection.
func (p *peer) startTLS(s *simulator.Simulator, edit func(*tls.Config)) *tls.Conn {
	p.t.Helper()
	p.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	p.want("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return p.handshake(s, edit)
}

func (p *peer) handshake(s *simulator.Simulator, edit func(*tls.Config)) *tls.Conn {
	p.t.Helper()
	c := &tls.Config{RootCAs: roots(s), ServerName: "a.example", MinVersion: tls.VersionTLS12}
	if edit != nil {
		edit(c)
	}
	tc := tls.Client(p.conn, c)
	ctx, cancel := context.WithTimeout(p.t.Context(), timeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		p.t.Fatal(err)
	}
	p.over(tc)
	return tc
}

// plain logs in with PLAIN on an open stream, up to the features behind it.
func (p *peer) plain(user, domain, password string) {
	p.t.Helper()
	p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>")
	p.want("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	p.open(domain)
}

// login leads a fresh connection to a session and returns its full JID.
func (p *peer) login(jid string) string {
	p.t.Helper()
	user, rest, _ := strings.Cut(jid, "@")
	domain, resource, _ := strings.Cut(rest, "/")
	p.open(domain)
	p.plain(user, domain, "secret")
	p.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	return p.want("<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>")["jid"]
}

// user dials the plaintext listener and logs in.
func user(t testing.TB, s *simulator.Simulator, jid string) *peer {
	t.Helper()
	p := dial(t, s.Addrs()[0])
	p.login(jid)
	return p
}

// ping proves that everything sent before was handled and nothing unexpected came.
func (p *peer) ping() {
	p.t.Helper()
	id := fmt.Sprintf("ping%d", p.at)
	p.send("<iq type='get' id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	p.want("<iq type='result' id='" + id + "' to='…'></iq>")
}

// wantFigure waits for a figure to reach a value: what a client causes is counted
// a little after the client sees it.
func wantFigure(t testing.TB, s *simulator.Simulator, name string, want int64) {
	t.Helper()
	var got int64
	for range int(timeout / time.Millisecond) {
		if got = s.Figures()[name]; got == want {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%s is %d: want %d", name, got, want)
}
