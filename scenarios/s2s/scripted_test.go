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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The peers here are written from the specifications alone, on encoding/xml and
// fmt: they share no code with the hosts that they talk to.

const (
	nsStream       = "http://etherx.jabber.org/streams"
	nsServer       = "jabber:server"
	nsTLS          = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL         = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsDialback     = "jabber:server:dialback"
	nsBidi         = "urn:xmpp:bidi"
	nsMux          = "urn:xmpp:mux:0"
	nsStanzas      = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsStreamErrors = "urn:ietf:params:xml:ns:xmpp-streams"
)

// patience is how long a peer waits for what has to come.
const patience = 20 * time.Second

// keyFor is the dialback key of XEP-0220 §2.5, as XEP-0185 makes it.
func keyFor(secret, target, sender, id string) string {
	inner := sha256.Sum256([]byte(secret))
	outer := hmac.New(sha256.New, []byte(hex.EncodeToString(inner[:])))
	io.WriteString(outer, target+" "+sender+" "+id)
	return hex.EncodeToString(outer.Sum(nil))
}

// xmlElement is any XML element.
type xmlElement struct {
	XMLName xml.Name
	Attrs   []xml.Attr   `xml:",any,attr"`
	Nodes   []xmlElement `xml:",any"`
	Text    string       `xml:",chardata"`
}

func (n *xmlElement) is(space, name string) bool {
	return n != nil && n.XMLName == xml.Name{Space: space, Local: name}
}

func (n *xmlElement) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// child returns a child element by namespace and name; any name if that is empty.
func (n *xmlElement) child(space, name string) *xmlElement {
	for i := range n.Nodes {
		if c := &n.Nodes[i]; c.XMLName.Space == space && (name == "" || c.XMLName.Local == name) {
			return c
		}
	}
	return nil
}

// path follows names from child to child, in any namespace. What is not there is an
// element without a name.
func (n *xmlElement) path(names ...string) *xmlElement {
	for _, name := range names {
		i := slices.IndexFunc(n.Nodes, func(c xmlElement) bool { return c.XMLName.Local == name })
		if i < 0 {
			return &xmlElement{}
		}
		n = &n.Nodes[i]
	}
	return n
}

func (n *xmlElement) stanza() bool {
	if n == nil || n.XMLName.Space != nsServer {
		return false
	}
	switch n.XMLName.Local {
	case "message", "iq", "presence":
		return true
	}
	return false
}

// condition returns what an error says, of a stanza or element of dialback.
func (n *xmlElement) condition() string {
	for i := range n.Nodes {
		if n.Nodes[i].XMLName.Local == "error" {
			if c := n.Nodes[i].child(nsStanzas, ""); c != nil {
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

// scripted is one end of a stream between servers.
type scripted struct {
	t        testing.TB
	tcp      net.Conn
	conn     net.Conn // the same, or TLS above it
	in       *bufio.Reader
	dec      *xml.Decoder
	id       string // of the stream, as said by whoever received it
	features *xmlElement
	end      string // how the stream ended, once it has
	headless bool
	secured  bool
	// authenticated says that SASL has succeeded.
	authenticated bool

	// Of attribute certificates: the kind of this end's certificate, the peer's domains that
	// this end has accepted, and its own that the peer has.
	kind            string
	vouched, proved map[string]bool

	// Of the header, where this end received the stream.
	from, to string
	both     bool
}

func newScripted(t testing.TB, c net.Conn) *scripted {
	p := &scripted{t: t, tcp: c}
	p.over(c)
	return p
}

// over reads and writes a connection from now on.
func (p *scripted) over(c net.Conn) {
	p.conn, p.in = c, bufio.NewReader(c)
	p.restart()
}

// restart expects a new stream. The decoder takes one byte at a time from the
// reader, so that none is lost.
func (p *scripted) restart() {
	p.dec = xml.NewDecoder(p.in)
	if p.headless {
		head := "<stream:stream xmlns='" + nsServer + "' xmlns:stream='" + nsStream + "' xmlns:db='" + nsDialback + "'>"
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
func (p *scripted) close() { p.tcp.Close() }

// printf writes. Where the other end has left already, reading tells.
func (p *scripted) printf(format string, args ...any) {
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	fmt.Fprintf(p.conn, format, args...)
}

// next reads a header or an element; nil at the end of the stream, of which end
// says how it came.
func (p *scripted) next() *xmlElement {
	if p.end != "" {
		return nil
	}
	for {
		p.conn.SetReadDeadline(time.Now().Add(patience))
		tok, err := p.dec.Token()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Errorf("nothing came within %s", patience)
			}
			p.end = cut
			return nil
		}
		switch tok := tok.(type) {
		case xml.EndElement:
			p.end = ended
			return nil
		case xml.StartElement:
			n := &xmlElement{XMLName: tok.Name}
			if n.is(nsStream, "stream") {
				n.Attrs = tok.Attr
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
func (p *scripted) outcome(n *xmlElement) string {
	switch {
	case n == nil:
		return p.end
	case n.is(nsStream, "error"):
		condition := "undefined-condition"
		if c := n.child(nsStreamErrors, ""); c != nil {
			condition = c.XMLName.Local
		}
		if p.next() != nil {
			p.t.Errorf("something came behind the stream error %s", condition)
		}
		return "stream closed: " + condition
	case n.is(nsSASL, "failure"):
		return "refused: " + n.child(nsSASL, "").XMLName.Local
	case n.is(nsSASL, "success"), n.is(nsDialback, "result") && n.attr("type") == "valid":
		return accepted
	case n.is(nsDialback, "result") && n.attr("type") == "error":
		return "refused: " + n.condition()
	case n.is(nsDialback, "result"):
		return "refused: " + n.attr("type")
	case n.stanza() && n.attr("type") == "error":
		return "bounced: " + n.condition()
	}
	return "<" + n.XMLName.Local + "/>"
}

func headerOf(attrs ...string) string {
	head := "<?xml version='1.0'?><stream:stream xmlns='" + nsServer + "' xmlns:db='" + nsDialback + "' xmlns:stream='" + nsStream + "'"
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			head += fmt.Sprintf(" %s='%s'", attrs[i], attrs[i+1])
		}
	}
	return head + ">"
}

// open begins a stream and reads the features; the outcome is empty if there are any.
func (p *scripted) open(from, to string) string {
	return p.begin(headerOf("from", from, "to", to, "version", "1.0"))
}

func (p *scripted) begin(header string) string {
	p.printf("%s", header)
	n := p.next()
	if !n.is(nsStream, "stream") {
		return p.outcome(n)
	}
	p.id = n.attr("id")
	if n = p.next(); !n.is(nsStream, "features") {
		return p.outcome(n)
	}
	p.features = n
	return ""
}

// startTLS negotiates STARTTLS after open.
func (p *scripted) startTLS(c *tls.Config) string {
	p.printf("<starttls xmlns='%s'/>", nsTLS)
	if n := p.next(); !n.is(nsTLS, "proceed") {
		return p.outcome(n)
	}
	return p.shake(c)
}

// shake does the handshake of whoever connects.
func (p *scripted) shake(c *tls.Config) string {
	t := tls.Client(p.conn, c)
	t.SetDeadline(time.Now().Add(patience))
	if err := t.Handshake(); err != nil {
		return tlsAlert
	}
	p.secured = true
	p.over(t)
	return ""
}

// auth does SASL EXTERNAL.
func (p *scripted) auth(authzid string) string {
	p.printf("<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsSASL, base64.StdEncoding.EncodeToString([]byte(authzid)))
	n := p.next()
	if n.is(nsSASL, "success") {
		p.restart()
	}
	return p.outcome(n)
}

// result asks for a pair by dialback and waits for the answer.
func (p *scripted) result(from, to, key string) string {
	p.printf("<db:result%s from='%s' to='%s'>%s</db:result>", p.db(), from, to, key)
	return p.answer(from, to)
}

// db declares the prefix of dialback where no header has done so.
func (p *scripted) db() string {
	if p.headless {
		return " xmlns:db='" + nsDialback + "'"
	}
	return ""
}

// answer waits for the answer to a db:result.
func (p *scripted) answer(from, to string) string {
	for {
		n := p.next()
		switch {
		case n.is(nsDialback, "verify"):
			p.t.Errorf("a key was to be verified on the stream that it came on: %+v", n)
		case n.is(nsDialback, "result") && (n.attr("from") != to || n.attr("to") != from):
		default:
			return p.outcome(n)
		}
	}
}

// message sends one from a domain to another.
func (p *scripted) message(from, to, id string) {
	p.printf("<message from='u@%s' to='v@%s' id='%s' type='chat'><body>hello</body></message>", from, to, id)
}

// settle waits until all was acted upon that was sent before: a db:verify is
// answered in every state of a stream. What came first on the way is the outcome.
func (p *scripted) settle(domain string) string {
	p.printf("<db:verify%s from='settle.test' to='%s' id='settle'>0</db:verify>", p.db(), domain)
	first := ignored
	for {
		n := p.next()
		if n.is(nsDialback, "verify") && n.attr("id") == "settle" && n.attr("type") != "" {
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

// foreignProvider is a provider that shares no code with the hosts: it listens, and
// answers whoever connects.
type foreignProvider struct {
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
	attest   func(domain string) string // attribute certificates, for the features

	listener net.Listener
	stanzas  chan *xmlElement // that came
	serving  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	peers  []*scripted
	silent bool                                        // of TLS: it is not offered
	verify func(n *xmlElement) (typ, id string)        // in place of what is right
	judge  func(p *scripted, n *xmlElement) string     // verdict on a db:result, else valid
	taken  func(p *scripted, from, to string)          // a stream was authenticated, or a pair accepted
	heard  func(p *scripted, n *xmlElement) (act bool) // an element, before all else
	closed bool
}

// listen serves from now on, at an address of its own.
func (f *foreignProvider) listen(ip string) {
	f.t.Helper()
	f.stanzas = make(chan *xmlElement, 4096)
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

func (f *foreignProvider) accept(c net.Conn) {
	defer c.Close()
	p := newScripted(f.t, c)
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

func (f *foreignProvider) shake(p *scripted) bool {
	t := tls.Server(p.conn, f.config)
	t.SetDeadline(time.Now().Add(patience))
	if t.Handshake() != nil {
		return false
	}
	p.secured = true
	p.over(t)
	return true
}

// stop closes the listener and all connections.
func (f *foreignProvider) stop() {
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
func (f *foreignProvider) hook(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// wait is next without a limit of time.
func (p *scripted) wait() *xmlElement {
	p.conn.SetReadDeadline(time.Time{})
	if _, err := p.in.Peek(1); err != nil {
		return nil
	}
	return p.next()
}

func (f *foreignProvider) serve(p *scripted) {
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
		case n.is(nsStream, "stream"):
			f.greet(p, n)
		case n.is(nsTLS, "starttls"):
			p.printf("<proceed xmlns='%s'/>", nsTLS)
			if !f.shake(p) {
				return
			}
		case n.is(nsBidi, "bidi"):
			p.both = true
		case n.is(nsSASL, "auth"):
			p.printf("<success xmlns='%s'/>", nsSASL)
			p.authenticated = true
			p.restart()
		case n.is(nsDialback, "verify") && n.attr("type") == "":
			typ, id := "invalid", n.attr("id")
			if strings.TrimSpace(n.Text) == keyFor(f.secret, n.attr("from"), n.attr("to"), id) {
				typ = "valid"
			}
			if verify != nil {
				typ, id = verify(n)
			}
			p.printf("<db:verify from='%s' to='%s' id='%s' type='%s'/>", n.attr("to"), n.attr("from"), id, typ)
		case n.is(nsDialback, "result") && n.attr("type") == "":
			typ := "valid"
			if judge != nil {
				typ = judge(p, n)
			}
			p.printf("<db:result from='%s' to='%s' type='%s'/>", n.attr("to"), n.attr("from"), typ)
			if typ == "valid" && taken != nil {
				taken(p, n.attr("from"), n.attr("to"))
			}
		case n.is(peerDAC, "assert"):
			p.approve(n)
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
func (f *foreignProvider) greet(p *scripted, n *xmlElement) {
	f.mu.Lock()
	silent, taken := f.silent, f.taken
	f.mu.Unlock()
	p.from, p.to = n.attr("from"), n.attr("to")
	p.id = fmt.Sprintf("%s-%p", f.name, n)
	features := ""
	switch {
	case p.authenticated:
	case !p.secured && f.config != nil && !silent:
		features = "<starttls xmlns='" + nsTLS + "'/>"
	default:
		if f.external {
			features += "<mechanisms xmlns='" + nsSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>"
		}
		if f.bidi {
			features += "<bidi xmlns='urn:xmpp:features:bidi'/>"
		}
		if f.mux {
			features += "<mux xmlns='" + nsMux + "'/>"
		}
		if f.attest != nil {
			features += f.attest(p.to)
			break
		}
		features += "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
	}
	p.printf("%s<stream:features>%s</stream:features>", headerOf("id", p.id, "from", p.to, "to", p.from, "version", "1.0"), features)
	if p.authenticated && taken != nil {
		taken(p, p.from, p.to)
	}
}

// receive waits for a stanza.
func (f *foreignProvider) receive() *xmlElement {
	f.t.Helper()
	select {
	case n := <-f.stanzas:
		return n
	case <-time.After(patience):
		f.t.Errorf("%s has received nothing", f.name)
		return &xmlElement{}
	}
}
