package xk6xmpp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.k6.io/k6/v2/lib"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/online"
)

// loginOptions say who logs in, where and how.
type loginOptions struct {
	jid, password, resource string
	host                    string
	port                    uint16 // 0: as found
	mode                    session.TLSMode
	serverName              string         // that certificates must bear; empty: the domain
	authorities             *x509.CertPool // nil: those of the system
	mechanisms              []string
	timeout                 time.Duration // of the whole login
	request                 time.Duration // of requests
	management              bool          // XEP-0198
	brief                   bool          // without resumption
	ackEvery                int           // stanzas between two requests for acknowledgement; 0: none
	receipts                bool          // answer requests for receipts
}

// Defaults of options.
const (
	defaultTimeout = 30 * time.Second
	defaultClose   = 5 * time.Second
)

// login reads the options that all kinds of sessions have.
func (p *options) login() loginOptions {
	o := loginOptions{
		resource:   p.text("resource", ""),
		host:       p.text("host", ""),
		port:       p.port(0),
		mechanisms: p.texts("mechanisms"),
		timeout:    p.duration("timeout", defaultTimeout),
		request:    p.duration("requestTimeout", defaultTimeout),
		receipts:   p.flag("receipts", true),
	}
	for _, name := range o.mechanisms {
		p.among("mechanisms", name, mechanisms())
	}
	in := p.inner("tls")
	var err error
	if o.mode, err = session.ParseTLSMode(in.choice("mode", session.StartTLS.String(), tlsModes()...)); err != nil {
		p.bad("tls", "%v", err)
	}
	o.serverName = in.text("serverName", "")
	if ca := in.text("ca", ""); ca != "" {
		if o.authorities = p.m.root.pool(ca); o.authorities == nil {
			in.bad("ca", "holds no certificate in PEM form")
		}
	}
	in.done()
	switch sm := p.get("streamManagement"); {
	case sm == nil:
	case sm.ExportType().Kind().String() == "bool":
		o.management = p.flag("streamManagement", false)
	default:
		inner := p.inner("streamManagement")
		o.management = true
		o.ackEvery = inner.integer("ackEvery", 0, 1, 1_000_000)
		o.brief = !inner.flag("resume", true)
		inner.done()
	}
	p.not("compression", "is not there: stream compression (XEP-0138) has been obsolete since 2022, because the size of what is compressed together with a secret tells of it")
	return o
}

// tlsModes are the ways to secure a connection, by name.
func tlsModes() []string {
	return []string{session.StartTLS.String(), session.DirectTLS.String(), session.NoTLS.String()}
}

// mechanisms are those of SASL that a session can use.
func mechanisms() []string {
	return []string{session.ScramSHA256Plus, session.ScramSHA256, session.ScramSHA1Plus, session.ScramSHA1, session.Plain, session.External, session.Anonymous}
}

// domain is the server of the account.
func (o loginOptions) domain() string {
	domain := bare(o.jid)
	if _, rest, ok := strings.Cut(domain, "@"); ok {
		domain = rest
	}
	return domain
}

// anonymous reports whether the server makes up the account.
func (o loginOptions) anonymous() bool {
	return slices.Equal(o.mechanisms, []string{session.Anonymous})
}

// bare is a JID without its resource.
func bare(jid string) string {
	account, _, _ := strings.Cut(jid, "/")
	return account
}

// network is what a login needs of the virtual user. It is taken on the event loop.
type network struct {
	root   *RootModule
	dialer lib.DialContexter
	tls    *tls.Config
}

// network returns what logins with the options need.
func (m *instance) network(o loginOptions) network {
	state := m.vu.State()
	return network{m.root, state.Dialer, m.root.secure(o, state.TLSConfig)}
}

// secured is what the TLS settings of sessions depend on.
type secured struct {
	serverName  string
	direct      bool
	authorities *x509.CertPool
}

// secure returns the TLS settings of the test, of which the options change what concerns
// the server. All virtual users have the same, each of them as a copy: sessions to one
// server share the first one's.
func (r *RootModule) secure(o loginOptions, base *tls.Config) *tls.Config {
	key := secured{cmp.Or(o.serverName, o.domain()), o.mode == session.DirectTLS, o.authorities}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.tls[key]
	if c != nil {
		return c
	}
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	c.ServerName = key.serverName
	c.NextProtos = nil
	if key.direct {
		c.NextProtos = []string{session.ALPN}
	}
	if key.authorities != nil {
		c.RootCAs = key.authorities
	}
	r.tls[key] = c
	return c
}

// pool returns the authorities in a text in PEM form, which is parsed once, or nil if there
// are none.
func (r *RootModule) pool(text string) *x509.CertPool {
	r.mu.Lock()
	defer r.mu.Unlock()
	pool := r.authorities[text]
	if pool == nil {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(text)) {
			return nil
		}
		r.authorities[text] = pool
	}
	return pool
}

// connect opens the connection of a session through k6's dialer, which knows the hosts,
// blocked names and source addresses of the test, and counts bytes.
func (n network) connect(ctx context.Context, o loginOptions) (net.Conn, error) {
	at := session.Dialer{Host: o.host}
	targets, err := at.Targets(ctx, o.domain(), o.mode)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range targets {
		if o.port != 0 {
			t.Port = o.port
		}
		conn, err := n.dialer.DialContext(ctx, "tcp", t.String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// kinds count stanzas.
type kinds struct{ iq, message, presence int64 }

// live is a session that is logged in, whoever drives it.
type live struct {
	*online.Client
	root *RootModule
	jid  string       // full JID
	info *sessionInfo // nil in a swarm

	received struct{ messages, presence atomic.Int64 }
	sent     struct{ iqs, messages, presence atomic.Int64 }
	place    int // in its swarm
	flushing sync.Mutex
	flushed  [2]kinds // sent and received, as the metrics know them

	management *online.Management // nil without XEP-0198
}

// A starter says what a new session is to do with what it receives.
type starter struct {
	first func(l *live, head *wire.Stanza) (wire.Handler, bool)
	push  func(st *wire.Stanza)
	over  func(l *live)
	brief bool // nobody will ask what the login came to
}

// start logs in and begins to read. It pushes the metrics of the login.
func (n network) start(ctx context.Context, o loginOptions, r recorder, s starter, resume *online.Management) (*live, error) {
	l := &live{root: n.root}
	bounded, cancel := within(ctx, o.timeout)
	defer cancel()
	if o.management {
		l.management = online.NewManagement(o.ackEvery, resume)
	}
	config := session.Config{
		JID: o.jid, Password: o.password, Resource: o.resource, TLS: o.mode, TLSConfig: n.tls, Mechanisms: o.mechanisms,
		PlainInClear: len(o.mechanisms) == 1 && o.mechanisms[0] == session.Plain, Keys: n.root.keys, SM: o.management, Brief: o.brief, StepTimeout: o.timeout,
		Connect: func(ctx context.Context) (net.Conn, error) { return n.connect(ctx, o) },
		Stream:  wire.StreamOptions{Sent: l.sees},
	}
	if resume != nil {
		config.Resume = resume.Resumption()
	}
	started := time.Now()
	login, err := session.Dial(bounded, config)
	ended := time.Now()
	if err != nil {
		r.loginFailed(err)
		return nil, err
	}
	l.jid = login.JID
	info := newSessionInfo(login, ended.Sub(started))
	if !s.brief {
		l.info = info
	}
	var handled uint32
	if l.management != nil {
		handled = l.management.Begin(login, resume)
	}
	r.loggedIn(info, n.root.opened(l))
	l.Client = online.New(login, online.Config{
		Account: bare(login.JID), Domain: o.domain(), Handled: handled, Push: s.push,
		Over: func() {
			n.root.over(l)
			if s.over != nil {
				s.over(l)
			}
		},
		First: func(head *wire.Stanza) (wire.Handler, bool) { return l.first(s, o.receipts, head) },
	})
	l.Start()
	if l.management != nil {
		l.management.Resend(l.Stream, login)
	}
	return l, nil
}

// loginFailed counts a login that failed, unless the end of the iteration cut it off.
func (r recorder) loginFailed(err error) {
	if isCancelled(r.ctx, err) {
		return
	}
	f := fail(stageDial, err)
	r.with("stage", f.stage, "condition", f.condition).push(time.Now(), figure{metricLoginSuccess, 0}, figure{metricErrors, 1})
}

// loggedIn counts a login.
func (r recorder) loggedIn(i *sessionInfo, active int64) {
	now := time.Now()
	r.push(now, figure{metricLoginSuccess, 1}, figure{metricActive, float64(active)})
	with := r.with("mechanism", i.Mechanism, "tls_version", i.TLSVersion)
	with.push(now, figure{metricSessions, 1})
	t := i.Timings
	figures := []figure{{metricLogin, t.Total}, {metricDial, t.Dial}, {metricSASL, t.SASL}, {metricBind, t.Bind}}
	if i.TLSVersion != "" {
		with = with.with("tls_resumed", strconv.FormatBool(i.tlsResumed))
		figures = append(figures, figure{metricTLS, t.TLS})
	}
	with.push(now, figures...)
}

// sees counts what is sent, under the stream's lock. Stanzas are sent one at a time; of
// what a script sends raw the first element counts.
func (l *live) sees(b []byte) {
	switch tag := b[min(len(b), bytes.IndexByte(b, '<')+1):]; {
	case bytes.HasPrefix(tag, []byte("iq")):
		l.sent.iqs.Add(1)
	case bytes.HasPrefix(tag, []byte("message")):
		l.sent.messages.Add(1)
	case bytes.HasPrefix(tag, []byte("presence")):
		l.sent.presence.Add(1)
	default:
		return
	}
	if l.management != nil {
		l.management.Sent(b)
	}
}

// first sees stanzas before anybody answers them.
func (l *live) first(s starter, receipts bool, head *wire.Stanza) (wire.Handler, bool) {
	switch string(head.Name()) {
	case "message":
		l.received.messages.Add(1)
	case "presence":
		l.received.presence.Add(1)
	case "a":
		if l.management != nil {
			return wire.Handler{Done: l.management.Acknowledged}, true
		}
	}
	if s.first != nil {
		if h, taken := s.first(l, head); taken {
			return h, true
		}
	}
	if receipts && string(head.Name()) == "message" && head.Type() != "error" {
		return wire.Handler{Watch: wire.Watch{Mode: wire.Count, Name: "request", Level: 3}, Done: l.receipt}, true
	}
	return wire.Handler{}, false
}

// nsReceipts is the namespace of delivery receipts (XEP-0184).
const nsReceipts = "urn:xmpp:receipts"

// askReceipt is the request for one.
const askReceipt = "<request xmlns='" + nsReceipts + "'/>"

// receipt answers a message that asks for a receipt.
func (l *live) receipt(st *wire.Stanza) error {
	id := st.ID()
	if st.Elements == 0 || id == "" || st.From() == "" {
		return nil
	}
	b := wire.AppendAttr([]byte("<message"), "to", st.From())
	b = wire.AppendAttr(b, "id", l.Stream.NextID())
	b = append(b, "><received xmlns='"+nsReceipts+"'"...)
	b = wire.AppendAttr(b, "id", id)
	return l.Stream.Post(append(b, "/></message>"...), nil)
}

// news returns the stanzas sent and received since the last time.
func (l *live) news() [2]kinds {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	in := kinds{message: l.received.messages.Load(), presence: l.received.presence.Load()}
	in.iq = max(0, l.Stream.Counts().StanzasIn-in.message-in.presence)
	now := [2]kinds{{l.sent.iqs.Load(), l.sent.messages.Load(), l.sent.presence.Load()}, in}
	var news [2]kinds
	for i, k := range now {
		before := &l.flushed[i]
		// A message that is just arriving is counted by kind and not yet as a stanza.
		news[i] = kinds{max(0, k.iq-before.iq), k.message - before.message, k.presence - before.presence}
		*before = kinds{max(k.iq, before.iq), k.message, k.presence}
	}
	return news
}

// flush pushes the stanzas counted since the last time.
func (l *live) flush(r recorder) { r.stanzas(l.news()) }

// stanzas pushes counts of stanzas sent and received.
func (r recorder) stanzas(news [2]kinds) {
	now := time.Now()
	for i, metric := range []string{metricSent, metricReceived} {
		for _, k := range []struct {
			kind string
			n    int64
		}{{"iq", news[i].iq}, {"message", news[i].message}, {"presence", news[i].presence}} {
			if k.n > 0 {
				r.with("kind", k.kind).push(now, figure{metric, float64(k.n)})
			}
		}
	}
}

// close ends the session in order, bounded by a time-out, and waits for its reader.
func (l *live) close(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := l.Stream.Close(ctx)
	l.Wait()
	return err
}

// cut takes the connection away without a goodbye, and waits for the reader.
func (l *live) cut() {
	conn := l.Stream.Conn()
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	_ = conn.Close() // the stream learns of it by reading
	l.Wait()
}

// sessionInfo is what a login came to, for scripts.
type sessionInfo struct {
	JID        string   `js:"jid"`
	Mechanism  string   `js:"mechanism"`
	TLSVersion string   `js:"tlsVersion"` // as "TLS 1.3", empty without
	StreamID   string   `js:"streamId"`
	SMID       any      `js:"smId"` // null where the session cannot be resumed
	Resumed    bool     `js:"resumed"`
	Features   []string `js:"features"`
	Timings    timings  `js:"timings"`

	tlsResumed bool
	offered    session.Features
}

// timings are the stages of a login in milliseconds.
type timings struct {
	Dial  float64 `js:"dial"`
	TLS   float64 `js:"tls"`
	SASL  float64 `js:"sasl"`
	Bind  float64 `js:"bind"`
	Total float64 `js:"total"`
}

// told returns what a script gets to see. The list of features is made for those
// who ask: most sessions have the same, and few scripts look.
func (l *live) told() *sessionInfo {
	i := *l.info
	i.Features = i.offered.Names()
	return &i
}

func newSessionInfo(login *session.Session, total time.Duration) *sessionInfo {
	i := &sessionInfo{
		JID: login.JID, Mechanism: login.Mechanism, StreamID: login.StreamID, Resumed: login.Resumed,
		Timings: timings{Total: milliseconds(total)}, tlsResumed: login.TLS.DidResume, offered: login.Features,
	}
	if login.TLS.Version != 0 {
		i.TLSVersion = tls.VersionName(login.TLS.Version)
	}
	if login.SM != nil && login.SM.ID != "" {
		i.SMID = login.SM.ID
	}
	for _, step := range login.Steps {
		d := milliseconds(step.End.Sub(step.Start))
		switch step.Name {
		case session.StepResolve, session.StepDial:
			i.Timings.Dial += d
		case session.StepStartTLS, session.StepTLS:
			i.Timings.TLS += d
		case session.StepSASL:
			i.Timings.SASL += d
		case session.StepBind:
			i.Timings.Bind += d
		}
	}
	return i
}
