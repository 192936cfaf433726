package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp"
	"mellium.im/xmpp/stream"

	"github.com/xmppbench/xmppbench/internal/wire"
)

var errNotBound = errors.New("the server ended the negotiation before a resource was bound")

// tap is the connection as the negotiating library sees it: bounded, traced, and keeping what was read since the
// stream or the last step began, so that the features are known with their attributes.
type tap struct {
	*wire.Conn
	login    *login
	kept     []byte
	budget   int  // bytes still accepted in this step
	traced   int  // of kept
	opened   bool // the stream header is there
	body     int  // where in kept the features begin
	tag      int  // where in kept the last tag began, until opened
	quote    byte // open quote in that tag
	prefixes map[string]string
	wrote    bool
	secret   bool  // SASL is going on
	err      error // of the last failed read
}

func newTap(c *wire.Conn, l *login) *tap { return &tap{Conn: c, login: l, budget: l.config.StepBytes} }

// newStep prepares the tap for the next step.
func (t *tap) newStep(step string) {
	t.flush()
	t.budget = t.login.config.StepBytes
	t.secret = step == StepSASL
	if step != StepFeatures {
		t.kept, t.traced, t.opened, t.body, t.tag = t.kept[:0], 0, false, 0, 0
	}
}

// ReadByte implements io.ByteReader, which is how an XML decoder reads without taking too much.
func (t *tap) ReadByte() (byte, error) {
	if t.wrote {
		t.wrote = false
		t.login.turns++
	}
	if t.budget == 0 {
		t.err = fmt.Errorf("%w: more than %d bytes in one step", ErrTooLarge, t.login.config.StepBytes)
		return 0, t.err
	}
	b, err := t.Conn.ReadByte()
	if err != nil {
		t.err = err
		return 0, err
	}
	t.budget--
	t.kept = append(t.kept, b)
	if !t.opened && t.login.step == StepHeader {
		if t.err = t.seekHeader(b); t.err != nil {
			return 0, t.err
		}
	}
	return b, nil
}

// Write implements io.Writer.
func (t *tap) Write(p []byte) (int, error) {
	t.flush()
	t.trace(true, p)
	t.wrote = true
	n, err := t.Conn.Write(p)
	if err != nil {
		t.err = err
	}
	return n, err
}

// seekHeader finds the end of the stream header, where the step of the features begins. Anything else in its place is
// an error here already: the library panics when it meets a stream error there.
func (t *tap) seekHeader(b byte) error {
	switch {
	case t.quote != 0:
		if b == t.quote {
			t.quote = 0
		}
	case b == '<':
		t.tag = len(t.kept) - 1
	case b == '"' || b == '\'':
		t.quote = b
	case b == '>' && t.tag+1 < len(t.kept) && t.kept[t.tag+1] != '?' && t.kept[t.tag+1] != '!':
		tag := t.kept[t.tag:]
		t.opened, t.body = true, len(t.kept)
		t.prefixes = boundPrefixes(tag)
		switch name := string(wire.LocalName(tag)); name {
		case "stream":
			t.login.session.StreamID = wire.AttrString(tag, "id")
			t.login.enter(StepFeatures)
		case "error":
			t.body = t.tag
			if refused := t.streamError(); refused != nil {
				return refused
			}
			return errors.New("the server sent an incomplete stream error in place of its stream header")
		default:
			return fmt.Errorf("the server sent <%.40s> in place of its stream header: it speaks no XMPP", name)
		}
	}
	return nil
}

// streamError reads on to the end of the stream error that is expected next, and returns nil when there is none.
func (t *tap) streamError() error {
	for !t.endsWith("error") {
		if t.endsWith("features") {
			return nil
		}
		if _, err := t.ReadByte(); err != nil {
			return nil
		}
	}
	e, err := t.features()
	if err != nil || e.Name != "error" {
		return nil
	}
	return wire.ParseStreamError(e)
}

// endsWith tells whether the last thing read is the end tag of an element with the local name.
func (t *tap) endsWith(name string) bool {
	if !bytes.HasSuffix(t.kept, []byte(name+">")) {
		return false
	}
	_, tag, _ := bytes.Cut(t.kept[max(0, bytes.LastIndexByte(t.kept, '<')):], []byte("</"))
	return string(tag) == name+">" || bytes.HasSuffix(tag, []byte(":"+name+">"))
}

// boundPrefixes returns what a stream header binds, or nil when that is no more than usual.
func boundPrefixes(tag []byte) map[string]string {
	if bytes.Count(tag, []byte("xmlns:")) == 1 && bytes.Contains(tag, []byte("xmlns:stream=")) {
		return nil
	}
	d := xml.NewDecoder(bytes.NewReader(tag))
	token, err := d.Token()
	start, ok := token.(xml.StartElement)
	if err != nil || !ok {
		return nil
	}
	prefixes := make(map[string]string)
	for _, a := range start.Attr {
		if a.Name.Space == "xmlns" {
			prefixes[a.Name.Local] = a.Value
		}
	}
	return prefixes
}

// flush shows the trace what was read since the last time.
func (t *tap) flush() {
	if t.traced < len(t.kept) {
		t.trace(false, t.kept[t.traced:])
		t.traced = len(t.kept)
	}
}

func (t *tap) trace(out bool, b []byte) {
	f := t.login.config.Stream.Trace
	if f == nil {
		return
	}
	if t.secret {
		b = mask(b)
	}
	f(out, b)
}

// mask replaces the text of elements, where SASL carries its messages.
func mask(b []byte) []byte {
	var out []byte
	inTag, masked := false, false
	for _, c := range b {
		switch {
		case c == '<':
			inTag, masked = true, false
			out = append(out, c)
		case inTag:
			inTag = c != '>'
			out = append(out, c)
		case !masked:
			masked = true
			out = append(out, "***"...)
		}
	}
	return out
}

// features returns the stream features read last.
func (t *tap) features() (*wire.Element, error) {
	return wire.ParseElement(bytes.TrimSpace(t.kept[t.body:]), wire.NSClient, t.prefixes)
}

// negotiator returns the library's negotiator with our features, timed.
func (l *login) negotiator() xmpp.Negotiator {
	features := []xmpp.StreamFeature{l.saslFeature(), channelBindingFeature(), l.bindFeature()}
	if l.config.TLS == StartTLS {
		features = append(features, l.startTLSFeature())
	}
	stock := xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
		return xmpp.StreamConfig{Features: features}
	})
	return func(ctx context.Context, in, out *stream.Info, s *xmpp.Session, data any) (xmpp.SessionState, io.ReadWriter, any, error) {
		l.enter(StepHeader)
		return stock(ctx, in, out, s, data)
	}
}

// startTLSFeature decorates the library's: the handshake runs here, timed, and the connection above it reads byte by
// byte again.
func (l *login) startTLSFeature() xmpp.StreamFeature {
	f := xmpp.StartTLS(clientConfig(l.config.TLSConfig, l.domain, StartTLS))
	// Whatever the server says, STARTTLS is required: the library goes on in clear when an optional feature fails.
	parse, request := f.Parse, f.Negotiate
	f.Parse = func(ctx context.Context, d *xml.Decoder, start *xml.StartElement) (bool, any, error) {
		_, data, err := parse(ctx, d, start)
		return true, data, err
	}
	f.Negotiate = func(ctx context.Context, s *xmpp.Session, data any) (xmpp.SessionState, io.ReadWriter, error) {
		if _, offered := s.Feature(wire.NSTLS); !offered {
			e, _ := l.top.features()
			return 0, nil, fmt.Errorf("%w; it offers: %s", ErrNoTLS, list(featureNames(e)))
		}
		l.enter(StepStartTLS)
		mask, _, err := request(ctx, s, data)
		if err != nil {
			return 0, nil, err
		}
		if n := l.raw.Buffered(); n > 0 {
			return 0, nil, fmt.Errorf("the server sent %d bytes between <proceed/> and the TLS handshake: they may have been injected", n)
		}
		if err := l.handshake(false); err != nil {
			return 0, nil, err
		}
		return mask, l.top, nil
	}
	return f
}

// channelBindingFeature reads which channel bindings the server knows (XEP-0440).
func channelBindingFeature() xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name: xml.Name{Space: wire.NSChannelBinding, Local: "sasl-channel-binding"},
		Parse: func(_ context.Context, d *xml.Decoder, start *xml.StartElement) (bool, any, error) {
			var parsed struct {
				Bindings []struct {
					Type string `xml:"type,attr"`
				} `xml:"channel-binding"`
			}
			err := d.DecodeElement(&parsed, start)
			types := []string{}
			for _, b := range parsed.Bindings {
				types = append(types, b.Type)
			}
			return false, types, err
		},
	}
}

func (l *login) saslFeature() xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name:       xml.Name{Space: wire.NSSASL, Local: "mechanisms"},
		Necessary:  xmpp.Secure,
		Prohibited: xmpp.Authn,
		Parse: func(_ context.Context, d *xml.Decoder, start *xml.StartElement) (bool, any, error) {
			var parsed struct {
				Mechanisms []string `xml:"mechanism"`
			}
			err := d.DecodeElement(&parsed, start)
			return true, parsed.Mechanisms, err
		},
		Negotiate: func(_ context.Context, s *xmpp.Session, data any) (xmpp.SessionState, io.ReadWriter, error) {
			o := offer{state: l.tls}
			o.mechanisms, _ = data.([]string)
			if known, ok := s.Feature(wire.NSChannelBinding); ok {
				o.bindings, _ = known.([]string)
			}
			l.enter(StepSASL)
			name, m, err := l.credentials.choose(l.wish, o)
			if err != nil {
				return 0, nil, err
			}
			l.session.Mechanism = name
			if err := l.authenticate(s, name, m); err != nil {
				return 0, nil, err
			}
			l.authenticated = true
			return xmpp.Authn, s.Conn(), nil
		},
	}
}

// authenticate runs one SASL exchange (RFC 6120 §6.4).
func (l *login) authenticate(s *xmpp.Session, name string, m mechanism) error {
	r := s.TokenReader()
	defer func() { _ = r.Close() }()
	d := xml.NewTokenDecoder(r)
	response, done, err := m.start()
	if err != nil {
		return err
	}
	request := wire.AppendAttr([]byte("<auth xmlns='"+wire.NSSASL+"'"), "mechanism", name)
	request = append(request, '>')
	if len(response) == 0 {
		request = append(request, '=') // an empty first response, in contrast to none
	}
	request = append(base64.StdEncoding.AppendEncode(request, response), "</auth>"...)
	for {
		if _, err := s.Conn().Write(request); err != nil {
			return err
		}
		var reply struct {
			XMLName xml.Name
			Data    string `xml:",chardata"`
			Text    string `xml:"text"`
			Other   []struct {
				XMLName xml.Name
			} `xml:",any"`
		}
		if err := d.Decode(&reply); err != nil {
			return err
		}
		var data []byte
		if text := strings.TrimSpace(reply.Data); text != "=" {
			if data, err = base64.StdEncoding.DecodeString(text); err != nil {
				return fmt.Errorf("the server's <%s/>: %w", reply.XMLName.Local, err)
			}
		}
		switch reply.XMLName {
		case xml.Name{Space: wire.NSSASL, Local: "challenge"}:
			if response, done, err = m.next(data); err != nil {
				return err
			}
			request = append(request[:0], "<response xmlns='"+wire.NSSASL+"'>"...)
			request = append(base64.StdEncoding.AppendEncode(request, response), "</response>"...)
		case xml.Name{Space: wire.NSSASL, Local: "success"}:
			if !done {
				if _, done, err = m.next(data); err != nil {
					return err
				}
			}
			if !done {
				return fmt.Errorf("the server reports success in the middle of %s: %w", name, ErrServerSignature)
			}
			return nil
		case xml.Name{Space: wire.NSSASL, Local: "failure"}:
			failure := &AuthError{Account: l.account.String(), Mechanism: name, Condition: "undefined-condition", Text: reply.Text}
			if len(reply.Other) > 0 {
				failure.Condition = reply.Other[0].XMLName.Local
			}
			return failure
		default:
			return fmt.Errorf("the server answered <%s xmlns='%s'/> in the middle of SASL", reply.XMLName.Local, reply.XMLName.Space)
		}
	}
}

func (l *login) bindFeature() xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name:       xml.Name{Space: wire.NSBind, Local: "bind"},
		Necessary:  xmpp.Authn,
		Prohibited: xmpp.Ready,
		Parse: func(_ context.Context, d *xml.Decoder, start *xml.StartElement) (bool, any, error) {
			return true, nil, d.Skip()
		},
		Negotiate: func(_ context.Context, s *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, error) {
			e, err := l.top.features()
			if err != nil {
				return 0, nil, err
			}
			l.session.Features = newFeatures(e)
			r := s.TokenReader()
			defer func() { _ = r.Close() }()
			if err := l.openSession(xml.NewTokenDecoder(r), e.Child(wire.NSSM, "sm") != nil); err != nil {
				return 0, nil, err
			}
			return xmpp.Ready, nil, nil
		},
	}
}

// openSession resumes or binds, and enables stream management.
func (l *login) openSession(d *xml.Decoder, sm bool) error {
	if l.config.Resume != nil {
		switch err := l.resume(d, sm); {
		case err != nil:
			return err
		case l.session.Resumed:
			return nil
		}
	}
	if err := l.bind(d); err != nil {
		return err
	}
	if l.config.SM && sm {
		return l.enable(d)
	}
	return nil
}

const bindID = "bind"

// bind asks for a resource (RFC 6120 §7.6). It is our own because the library's never sends the resource wished.
func (l *login) bind(d *xml.Decoder) error {
	l.enter(StepBind)
	request := wire.AppendIQStart(nil, "set", bindID, "", "")
	if l.resource == "" {
		request = append(request, "<bind xmlns='"+wire.NSBind+"'/>"...)
	} else {
		request = append(request, "<bind xmlns='"+wire.NSBind+"'><resource>"...)
		request = append(wire.AppendText(request, l.resource), "</resource></bind>"...)
	}
	if _, err := l.top.Write(wire.AppendIQEnd(request)); err != nil {
		return err
	}
	var reply struct {
		XMLName xml.Name
		Type    string `xml:"type,attr"`
		ID      string `xml:"id,attr"`
		JID     string `xml:"urn:ietf:params:xml:ns:xmpp-bind bind>jid"`
	}
	if err := d.Decode(&reply); err != nil {
		return err
	}
	switch {
	case reply.XMLName != xml.Name{Space: wire.NSClient, Local: "iq"} || reply.ID != bindID:
		return fmt.Errorf("the server answered <%s id='%s'/> to the request for a resource", reply.XMLName.Local, reply.ID)
	case reply.Type == "error":
		return l.bindError()
	case reply.Type != "result" || !fullJID(reply.JID):
		return fmt.Errorf("the server bound %q, which is not a full JID", reply.JID)
	}
	l.session.JID = reply.JID
	return nil
}

func (l *login) bindError() error {
	e, err := wire.ParseElement(bytes.TrimSpace(l.top.kept), wire.NSClient, l.top.prefixes)
	if err != nil {
		return err
	}
	refused := wire.ParseStanzaError(e)
	if refused.Condition == "conflict" {
		return fmt.Errorf("the resource %q of %s is in use by another session: choose another one: %w", l.resource, l.account, refused)
	}
	return fmt.Errorf("the server bound no resource for %s: %w", l.account, refused)
}

type smReply struct {
	XMLName  xml.Name
	ID       string `xml:"id,attr"`
	Resume   string `xml:"resume,attr"`
	Location string `xml:"location,attr"`
	Max      string `xml:"max,attr"`
	Handled  string `xml:"h,attr"`
	PrevID   string `xml:"previd,attr"`
	Other    []struct {
		XMLName xml.Name
	} `xml:",any"`
}

func (r *smReply) condition() string {
	if len(r.Other) == 0 {
		return "undefined-condition"
	}
	return r.Other[0].XMLName.Local
}

func (r *smReply) handled() (uint32, error) {
	h, err := strconv.ParseUint(r.Handled, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the server's <%s h='%s'/>: %w", r.XMLName.Local, r.Handled, err)
	}
	return uint32(h), nil
}

// resume takes up an earlier session in place of binding (XEP-0198 §5). A server that refuses leaves the stream as it
// was, so that the caller can bind.
func (l *login) resume(d *xml.Decoder, offered bool) error {
	if !offered {
		l.session.NotResumed = errors.New("session: the server does not offer stream management")
		return nil
	}
	l.enter(StepSM)
	request := wire.AppendAttr([]byte("<resume xmlns='"+wire.NSSM+"'"), "previd", l.config.Resume.ID)
	request = wire.AppendAttr(request, "h", strconv.FormatUint(uint64(l.config.Resume.Handled), 10))
	if _, err := l.top.Write(append(request, "/>"...)); err != nil {
		return err
	}
	reply, err := l.smAnswer(d)
	if err != nil {
		return err
	}
	switch reply.XMLName.Local {
	case "resumed":
		handled, err := reply.handled()
		if err != nil {
			return err
		}
		l.session.Resumed = true
		l.session.JID = l.config.Resume.JID
		l.session.SM = &SM{ID: reply.PrevID, Handled: handled}
		return nil
	case "failed":
		l.session.NotResumed = fmt.Errorf("session: the server does not resume %s: %s", l.config.Resume.ID, reply.condition())
		return nil
	}
	return fmt.Errorf("the server answered <%s/> to <resume/>", reply.XMLName.Local)
}

// smAnswer returns the next element of stream management. Stanzas may come before it, as the resource is bound already:
// they are kept for the stream.
func (l *login) smAnswer(d *xml.Decoder) (*smReply, error) {
	from := len(l.top.kept)
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
			continue
		case start.Name.Space == wire.NSSM:
			reply := new(smReply)
			return reply, d.DecodeElement(reply, &start)
		}
		if err := d.Skip(); err != nil {
			return nil, err
		}
		l.early = append(l.early, l.top.kept[from:]...)
		l.earlyCount++
		from = len(l.top.kept)
	}
}

// enable switches stream management on (XEP-0198 §3).
func (l *login) enable(d *xml.Decoder) error {
	l.enter(StepSM)
	request := []byte("<enable xmlns='" + wire.NSSM + "'")
	if !l.config.Brief {
		request = append(request, " resume='true'"...)
	}
	if _, err := l.top.Write(append(request, "/>"...)); err != nil {
		return err
	}
	reply, err := l.smAnswer(d)
	if err != nil {
		return err
	}
	switch reply.XMLName.Local {
	case "enabled":
		sm := &SM{Location: reply.Location, Early: l.earlyCount}
		if reply.Resume == "true" || reply.Resume == "1" {
			sm.ID = reply.ID
		}
		if reply.Max != "" {
			seconds, err := strconv.ParseUint(reply.Max, 10, 31)
			if err != nil {
				return fmt.Errorf("the server's <enabled max='%s'/>: %w", reply.Max, err)
			}
			sm.Max = time.Duration(seconds) * time.Second
		}
		l.session.SM = sm
		return nil
	case "failed":
		return fmt.Errorf("the server offers stream management and refuses it: %s", reply.condition())
	}
	return fmt.Errorf("the server answered <%s/> to <enable/>", reply.XMLName.Local)
}
