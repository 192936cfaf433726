package s2s_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// The peers here are written from the specifications alone, on encoding/xml and
// fmt: they share no code with the hosts that they talk to.

const (
	peerStream       = "http://etherx.jabber.org/streams"
	peerServer       = "jabber:server"
	peerTLS          = "urn:ietf:params:xml:ns:xmpp-tls"
	peerSASL         = "urn:ietf:params:xml:ns:xmpp-sasl"
	peerDialback     = "jabber:server:dialback"
	peerBidi         = "urn:xmpp:bidi"
	peerMux          = "urn:xmpp:mux:0"
	peerStanzas      = "urn:ietf:params:xml:ns:xmpp-stanzas"
	peerStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
)

// peerPatience is how long a peer waits for what has to come.
const peerPatience = 20 * time.Second

// peerKey is the dialback key of XEP-0220 §2.5, as XEP-0185 makes it.
func peerKey(secret, target, sender, id string) string {
	inner := sha256.Sum256([]byte(secret))
	outer := hmac.New(sha256.New, []byte(hex.EncodeToString(inner[:])))
	io.WriteString(outer, target+" "+sender+" "+id)
	return hex.EncodeToString(outer.Sum(nil))
}

// node is any XML element.
type node struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []node     `xml:",any"`
	Text    string     `xml:",chardata"`
}

func (n *node) is(space, name string) bool {
	return n != nil && n.XMLName == xml.Name{Space: space, Local: name}
}

func (n *node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// child returns a child element by namespace and name; any name if that is empty.
func (n *node) child(space, name string) *node {
	for i := range n.Nodes {
		if c := &n.Nodes[i]; c.XMLName.Space == space && (name == "" || c.XMLName.Local == name) {
			return c
		}
	}
	return nil
}

func (n *node) stanza() bool {
	if n == nil || n.XMLName.Space != peerServer {
		return false
	}
	switch n.XMLName.Local {
	case "message", "iq", "presence":
		return true
	}
	return false
}

// condition returns what an error says, of a stanza or element of dialback.
func (n *node) condition() string {
	for i := range n.Nodes {
		if n.Nodes[i].XMLName.Local == "error" {
			if c := n.Nodes[i].child(peerStanzas, ""); c != nil {
				return c.XMLName.Local
			}
		}
	}
	return "undefined-condition"
}

// What a peer sees of what it has said, in words. Beside these there are "stream
// closed: ", "refused: " and "bounced: " with a condition.
const (
	accepted  = "accepted"
	ignored   = "no answer, ignored"
	ended     = "stream ended"
	cut       = "connection cut"
	tlsAlert  = "TLS alert"
	delivered = "delivered"
)

// peer is one end of a stream between servers.
type peer struct {
	t        testing.TB
	tcp      net.Conn
	conn     net.Conn // the same, or TLS above it
	in       *bufio.Reader
	dec      *xml.Decoder
	id       string // of the stream, as said by whoever received it
	features *node
	end      string // how the stream ended, once it has
	headless bool
	secured  bool
	// authenticated says that SASL has succeeded.
	authenticated bool

	// Of the header, where this end received the stream.
	from, to string
	both     bool
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, tcp: c}
	p.over(c)
	return p
}

// over reads and writes a connection from now on.
func (p *peer) over(c net.Conn) {
	p.conn, p.in = c, bufio.NewReader(c)
	p.restart()
}

// restart expects a new stream. The decoder takes one byte at a time from the
// reader, so that none is lost.
func (p *peer) restart() {
	p.dec = xml.NewDecoder(p.in)
	if p.headless {
		head := "<stream:stream xmlns='" + peerServer + "' xmlns:stream='" + peerStream + "' xmlns:db='" + peerDialback + "'>"
		p.dec = xml.NewDecoder(&prefixed{strings.NewReader(head), p.in})
		if _, err := p.dec.Token(); err != nil {
			p.t.Error(err)
		}
	}
}

// prefixed is a reader with something in front, byte by byte.
type prefixed struct {
	head *strings.Reader
	*bufio.Reader
}

func (p *prefixed) ReadByte() (byte, error) {
	if b, err := p.head.ReadByte(); err == nil {
		return b, nil
	}
	return p.Reader.ReadByte()
}

// close cuts the connection. It may be called from anywhere.
func (p *peer) close() { p.tcp.Close() }

// printf writes. Where the other end has left already, reading tells.
func (p *peer) printf(format string, args ...any) {
	p.conn.SetWriteDeadline(time.Now().Add(peerPatience))
	fmt.Fprintf(p.conn, format, args...)
}

// next reads a header or an element; nil at the end of the stream, of which end
// says how it came.
func (p *peer) next() *node {
	if p.end != "" {
		return nil
	}
	for {
		p.conn.SetReadDeadline(time.Now().Add(peerPatience))
		tok, err := p.dec.Token()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Errorf("nothing came within %s", peerPatience)
			}
			p.end = cut
			return nil
		}
		switch tok := tok.(type) {
		case xml.EndElement:
			p.end = ended
			return nil
		case xml.StartElement:
			n := &node{XMLName: tok.Name, Attrs: tok.Attr}
			if n.is(peerStream, "stream") {
				return n
			}
			if err := p.dec.DecodeElement(n, &tok); err != nil {
				p.end = cut
				return nil
			}
			return n
		}
	}
}

// outcome puts what came into words; nil is the end of the stream.
func (p *peer) outcome(n *node) string {
	switch {
	case n == nil:
		return p.end
	case n.is(peerStream, "error"):
		condition := "undefined-condition"
		if c := n.child(peerStreamErrors, ""); c != nil {
			condition = c.XMLName.Local
		}
		if p.next() != nil {
			p.t.Errorf("something came behind the stream error %s", condition)
		}
		return "stream closed: " + condition
	case n.is(peerSASL, "failure"):
		return "refused: " + n.child(peerSASL, "").XMLName.Local
	case n.is(peerSASL, "success"), n.is(peerDialback, "result") && n.attr("type") == "valid":
		return accepted
	case n.is(peerDialback, "result") && n.attr("type") == "error":
		return "refused: " + n.condition()
	case n.is(peerDialback, "result"):
		return "refused: " + n.attr("type")
	case n.stanza() && n.attr("type") == "error":
		return "bounced: " + n.condition()
	}
	return "<" + n.XMLName.Local + "/>"
}

func peerHeader(attrs ...string) string {
	head := "<?xml version='1.0'?><stream:stream xmlns='" + peerServer + "' xmlns:db='" + peerDialback + "' xmlns:stream='" + peerStream + "'"
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			head += fmt.Sprintf(" %s='%s'", attrs[i], attrs[i+1])
		}
	}
	return head + ">"
}

// open begins a stream and reads the features; the outcome is empty if there are any.
func (p *peer) open(from, to string) string {
	return p.begin(peerHeader("from", from, "to", to, "version", "1.0"))
}

func (p *peer) begin(header string) string {
	p.printf("%s", header)
	n := p.next()
	if !n.is(peerStream, "stream") {
		return p.outcome(n)
	}
	p.id = n.attr("id")
	if n = p.next(); !n.is(peerStream, "features") {
		return p.outcome(n)
	}
	p.features = n
	return ""
}

// startTLS negotiates STARTTLS after open.
func (p *peer) startTLS(c *tls.Config) string {
	p.printf("<starttls xmlns='%s'/>", peerTLS)
	if n := p.next(); !n.is(peerTLS, "proceed") {
		return p.outcome(n)
	}
	return p.shake(c)
}

// shake does the handshake of whoever connects.
func (p *peer) shake(c *tls.Config) string {
	t := tls.Client(p.conn, c)
	t.SetDeadline(time.Now().Add(peerPatience))
	if err := t.Handshake(); err != nil {
		return tlsAlert
	}
	p.secured = true
	p.over(t)
	return ""
}

// auth does SASL EXTERNAL.
func (p *peer) auth(authzid string) string {
	p.printf("<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", peerSASL, base64.StdEncoding.EncodeToString([]byte(authzid)))
	n := p.next()
	if n.is(peerSASL, "success") {
		p.restart()
	}
	return p.outcome(n)
}

// result asks for a pair by dialback and waits for the answer.
func (p *peer) result(from, to, key string) string {
	p.printf("<db:result%s from='%s' to='%s'>%s</db:result>", p.db(), from, to, key)
	return p.answer(from, to)
}

// db declares the prefix of dialback where no header has done so.
func (p *peer) db() string {
	if p.headless {
		return " xmlns:db='" + peerDialback + "'"
	}
	return ""
}

// answer waits for the answer to a db:result.
func (p *peer) answer(from, to string) string {
	for {
		n := p.next()
		switch {
		case n.is(peerDialback, "verify"):
			p.t.Errorf("a key was to be verified on the stream that it came on: %+v", n)
		case n.is(peerDialback, "result") && (n.attr("from") != to || n.attr("to") != from):
		default:
			return p.outcome(n)
		}
	}
}

// message sends one from a domain to another.
func (p *peer) message(from, to, id string) {
	p.printf("<message from='u@%s' to='v@%s' id='%s' type='chat'><body>hello</body></message>", from, to, id)
}

// settle waits until all was acted upon that was sent before: a db:verify is
// answered in every state of a stream. What came first on the way is the outcome.
func (p *peer) settle(domain string) string {
	p.printf("<db:verify%s from='settle.test' to='%s' id='settle'>0</db:verify>", p.db(), domain)
	first := ignored
	for {
		n := p.next()
		if n.is(peerDialback, "verify") && n.attr("id") == "settle" && n.attr("type") != "" {
			return first
		}
		out := p.outcome(n)
		switch {
		case first == ignored:
			first = out
		case p.end != "":
			first += ", then closed"
		}
		if p.end != "" {
			return first
		}
	}
}

// foreign is a provider that shares no code with the hosts: it listens, and answers
// whoever connects.
type foreign struct {
	t        testing.TB
	name     string
	domains  []string
	secret   string
	config   *tls.Config // nil: no TLS
	direct   bool        // TLS from the first byte
	headless bool
	external bool
	bidi     bool
	mux      bool

	listener net.Listener
	stanzas  chan *node // that came
	serving  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	peers  []*peer
	silent bool                              // of TLS: it is not offered
	verify func(n *node) (typ, id string)    // in place of what is right
	judge  func(p *peer, n *node) string     // verdict on a db:result, else valid
	taken  func(p *peer, from, to string)    // a stream was authenticated, or a pair accepted
	heard  func(p *peer, n *node) (act bool) // an element, before all else
	closed bool
}

// listen serves from now on, at an address of its own.
func (f *foreign) listen(ip string) {
	f.t.Helper()
	f.stanzas = make(chan *node, 4096)
	ln, err := net.Listen("tcp", ip+":0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.listener = ln
	f.serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.serving.Go(func() { f.accept(c) })
		}
	})
}

func (f *foreign) accept(c net.Conn) {
	defer c.Close()
	p := newPeer(f.t, c)
	f.mu.Lock()
	f.peers = append(f.peers, p)
	gone := f.closed
	f.mu.Unlock()
	if gone || f.direct && !f.shake(p) {
		return
	}
	if f.headless {
		p.headless, p.both = true, true
		p.restart()
	}
	f.serve(p)
}

func (f *foreign) shake(p *peer) bool {
	t := tls.Server(p.conn, f.config)
	t.SetDeadline(time.Now().Add(peerPatience))
	if t.Handshake() != nil {
		return false
	}
	p.secured = true
	p.over(t)
	return true
}

// stop closes the listener and all connections.
func (f *foreign) stop() {
	f.listener.Close()
	f.mu.Lock()
	f.closed = true
	for _, p := range f.peers {
		p.close()
	}
	f.mu.Unlock()
	f.serving.Wait()
}

// hook changes what the provider does.
func (f *foreign) hook(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// wait is next without a limit of time.
func (p *peer) wait() *node {
	p.conn.SetReadDeadline(time.Time{})
	if _, err := p.in.Peek(1); err != nil {
		return nil
	}
	return p.next()
}

func (f *foreign) serve(p *peer) {
	for {
		n := p.wait()
		if n == nil {
			return
		}
		f.mu.Lock()
		heard, taken, verify, judge := f.heard, f.taken, f.verify, f.judge
		f.mu.Unlock()
		if heard != nil && !heard(p, n) {
			continue
		}
		switch {
		case n.is(peerStream, "stream"):
			f.greet(p, n)
		case n.is(peerTLS, "starttls"):
			p.printf("<proceed xmlns='%s'/>", peerTLS)
			if !f.shake(p) {
				return
			}
		case n.is(peerBidi, "bidi"):
			p.both = true
		case n.is(peerSASL, "auth"):
			p.printf("<success xmlns='%s'/>", peerSASL)
			p.authenticated = true
			p.restart()
		case n.is(peerDialback, "verify") && n.attr("type") == "":
			typ, id := "invalid", n.attr("id")
			if strings.TrimSpace(n.Text) == peerKey(f.secret, n.attr("from"), n.attr("to"), id) {
				typ = "valid"
			}
			if verify != nil {
				typ, id = verify(n)
			}
			p.printf("<db:verify from='%s' to='%s' id='%s' type='%s'/>", n.attr("to"), n.attr("from"), id, typ)
		case n.is(peerDialback, "result") && n.attr("type") == "":
			typ := "valid"
			if judge != nil {
				typ = judge(p, n)
			}
			p.printf("<db:result from='%s' to='%s' type='%s'/>", n.attr("to"), n.attr("from"), typ)
			if typ == "valid" && taken != nil {
				taken(p, n.attr("from"), n.attr("to"))
			}
		case n.stanza():
			select {
			case f.stanzas <- n:
			default:
				f.t.Errorf("%s: too many stanzas", f.name)
			}
		}
	}
}

// greet answers a header with the features of the stream's state.
func (f *foreign) greet(p *peer, n *node) {
	f.mu.Lock()
	silent, taken := f.silent, f.taken
	f.mu.Unlock()
	p.from, p.to = n.attr("from"), n.attr("to")
	p.id = fmt.Sprintf("%s-%p", f.name, n)
	features := ""
	switch {
	case p.authenticated:
	case !p.secured && f.config != nil && !silent:
		features = "<starttls xmlns='" + peerTLS + "'/>"
	default:
		if f.external {
			features += "<mechanisms xmlns='" + peerSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>"
		}
		if f.bidi {
			features += "<bidi xmlns='urn:xmpp:features:bidi'/>"
		}
		if f.mux {
			features += "<mux xmlns='" + peerMux + "'/>"
		}
		features += "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
	}
	p.printf("%s<stream:features>%s</stream:features>", peerHeader("id", p.id, "from", p.to, "to", p.from, "version", "1.0"), features)
	if p.authenticated && taken != nil {
		taken(p, p.from, p.to)
	}
}

// receive waits for a stanza.
func (f *foreign) receive() *node {
	f.t.Helper()
	select {
	case n := <-f.stanzas:
		return n
	case <-time.After(peerPatience):
		f.t.Errorf("%s has received nothing", f.name)
		return &node{}
	}
}
