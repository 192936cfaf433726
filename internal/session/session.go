package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Defaults of [Config].
const (
	DefaultStepTimeout = 30 * time.Second
	DefaultStepBytes   = 64 << 10
)

// Config says who logs in, where and how. JID alone is enough for a login with STARTTLS at a server found by SRV.
type Config struct {
	JID      string // account, "user@domain" or with the wished "/resource"; for ANONYMOUS alone the domain is enough
	Password string
	Resource string // wished resource, wins over the JID's; empty: the server makes one up

	TLS          TLSMode
	TLSConfig    *tls.Config // roots, versions, curves, certificates, session cache; ServerName and ALPN are filled in; nil: Go's defaults from TLS 1.2 on
	Mechanisms   []string    // SASL mechanisms accepted, best first, -PLUS ones with any server that offers them; nil: DefaultMechanisms with their caution
	PlainInClear bool        // whether PLAIN may be used without TLS

	Keys          *KeyCache // keys of earlier logins; nil: derived in each login
	MaxIterations int       // largest SCRAM iteration count accepted; 0: DefaultMaxIterations

	SM     bool    // enable stream management (XEP-0198 §3), if the server offers it
	Brief  bool    // with SM: do not ask the server to keep the session for a resumption
	Resume *Resume // resume this session in place of binding, if the server can

	Dialer  Dialer
	Connect func(context.Context) (net.Conn, error) // connects in place of Dialer, as to a shaped link or a pipe

	StepTimeout time.Duration      // bound of each step; 0: DefaultStepTimeout
	StepBytes   int                // most bytes of XML accepted in one step; 0: DefaultStepBytes
	Stream      wire.StreamOptions // for the stream returned; Trace sees the login too, with what SASL carries masked. Opened, Prefixes, Raw and Server are set by Dial
}

// Resume names the session to resume (XEP-0198 §5).
type Resume struct {
	ID      string // of SM.ID
	JID     string // full JID that was bound
	Handled uint32 // stanzas of the server handled so far, the attribute h
}

// SM is the state of stream management at the end of a login (XEP-0198).
type SM struct {
	ID       string        // for Resume.ID; empty when the session cannot be resumed
	Location string        // where the server wants to be reconnected, may be empty
	Max      time.Duration // how long the server keeps the session; 0: it does not say
	Handled  uint32        // after a resumption: how many of the client's stanzas the server had handled
	Early    int           // stanzas the stream brings first that came before <enabled/>: they do not count for acknowledgements
}

// A Step is one timed part of a login.
type Step struct {
	Name       string // one of the Step constants
	Start, End time.Time
}

// Traffic counts bytes in both directions.
type Traffic struct {
	In, Out       int64 // XML, above TLS
	RawIn, RawOut int64 // on the socket, below TLS; equal to the former without
}

// A Session is a finished login. It may be dropped as soon as what is wanted of it has been read: the stream lives on.
type Session struct {
	Stream     *wire.Stream // at the first byte after the login; call Serve on it
	JID        string       // full JID as bound by the server
	StreamID   string       // as the server's header names the last stream
	Features   Features     // offered after authentication
	SM         *SM          // nil when stream management is off
	Resumed    bool         // whether Config.Resume was accepted
	NotResumed error        // why Config.Resume was not accepted: a session was bound in its place
	Steps      []Step       // in order, each beginning where the one before ended
	Mechanism  string       // SASL mechanism used
	TLS        TLSInfo
	RoundTrips int     // times the client waited for the server from the TCP connection on, look-ups apart
	Login      Traffic // of the login itself, stanzas that came with its last answer included in the raw count only
}

// Dial logs in. It blocks until the session is bound or resumed; each step is bounded by Config.StepTimeout and all of
// them by ctx. It does not try again; only the targets and addresses of the server are tried one after another until one
// accepts the connection. A failed login leaves nothing behind and is an *[Error]; behind it are, where they are the
// cause, *[AuthError], *[MechanismError], *[wire.StreamError], *[wire.StanzaError] and the errors of crypto/tls,
// crypto/x509 and net.
func Dial(ctx context.Context, c Config) (*Session, error) {
	l, err := newLogin(ctx, c)
	if err != nil {
		return nil, &Error{Step: StepConfig, Account: c.JID, Err: err}
	}
	s, err := l.run(ctx)
	if err != nil {
		return nil, &Error{Step: l.step, Account: l.account.String(), Err: err}
	}
	return s, nil
}

// login is one login while it goes on.
type login struct {
	config      Config
	account     jid.JID // bare
	resource    string
	domain      string
	credentials credentials
	wish        wish

	step  string // the one in progress
	since time.Time
	steps []Step

	raw  *wire.Conn // on the socket
	top  *tap       // what the negotiator reads: on raw, or on TLS
	tls  *tls.ConnectionState
	info TLSInfo

	clear Traffic // XML counts of streams below STARTTLS
	turns int
	ctx   context.Context

	early      []byte // stanzas that came between two answers of the login
	earlyCount int

	authenticated bool
	session       Session
}

func newLogin(ctx context.Context, c Config) (*login, error) {
	j, err := jid.Parse(c.JID)
	if err != nil {
		return nil, fmt.Errorf("JID %q: %w", c.JID, err)
	}
	if j.Localpart() == "" && !slices.Equal(c.Mechanisms, []string{Anonymous}) {
		return nil, fmt.Errorf("JID %q names no user: write user@domain", c.JID)
	}
	if c.TLS > NoTLS {
		return nil, fmt.Errorf("unknown TLS mode %d", c.TLS)
	}
	l := &login{config: c, account: j.Bare(), domain: j.Domainpart(), resource: j.Resourcepart(), ctx: ctx}
	if c.Resource != "" {
		full, err := l.account.WithResource(c.Resource)
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", c.Resource, err)
		}
		l.resource = full.Resourcepart()
	}
	if l.credentials.user, err = prepare("user name", j.Localpart()); err != nil {
		return nil, err
	}
	if l.credentials.password, err = prepare("password", c.Password); err != nil {
		return nil, err
	}
	l.credentials.keys, l.credentials.nonce = c.Keys, newNonce
	l.credentials.maxIterations = c.MaxIterations
	if l.credentials.maxIterations <= 0 {
		l.credentials.maxIterations = DefaultMaxIterations
	}
	l.wish = wish{mechanisms: c.Mechanisms, plainInClear: c.PlainInClear, trustPlus: c.Mechanisms != nil}
	if c.Mechanisms == nil {
		l.wish.mechanisms = DefaultMechanisms()
	}
	if l.config.StepTimeout <= 0 {
		l.config.StepTimeout = DefaultStepTimeout
	}
	if l.config.StepBytes <= 0 {
		l.config.StepBytes = DefaultStepBytes
	}
	if r := c.Resume; r != nil && (r.ID == "" || r.JID == "") {
		return nil, errors.New("a session to resume needs its id and its full JID")
	}
	return l, nil
}

// enter ends the step in progress and begins another.
func (l *login) enter(step string) {
	now := time.Now()
	l.endStep(now)
	l.step, l.since = step, now
	if l.top != nil {
		l.top.newStep(step)
	}
	if l.raw != nil {
		// Errors show in the next read.
		_ = l.raw.SetDeadline(now.Add(l.config.StepTimeout))
		if l.ctx.Err() != nil {
			_ = l.raw.SetDeadline(now)
		}
	}
}

func (l *login) endStep(now time.Time) {
	if l.step != "" {
		l.steps = append(l.steps, Step{l.step, l.since, now})
	}
}

func (l *login) run(ctx context.Context) (_ *Session, err error) {
	l.steps = make([]Step, 0, 12)
	conn, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.turns = 1 // TCP itself
	l.raw = wire.NewConn(conn, 0)
	// The negotiating library sets a deadline when its context ends and takes it back at once, which a reader can
	// miss. So it gets a context that does not end, and the deadline is set here, for good.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() {
		if err != nil {
			if l.top != nil {
				l.top.flush()
			}
			_ = conn.Close()
		}
	}()

	state := xmpp.SessionState(0)
	switch l.config.TLS {
	case DirectTLS:
		if err := l.handshake(true); err != nil {
			return nil, err
		}
		state = xmpp.Secure
	case NoTLS:
		state = xmpp.Secure // the library takes it for leave to authenticate
		fallthrough
	case StartTLS:
		l.top = newTap(l.raw, l)
	}
	quiet := context.WithoutCancel(ctx)
	if _, err := xmpp.NewSession(quiet, l.account.Domain(), l.account, l.top, state, l.negotiator()); err != nil {
		return nil, l.explain(ctx, err)
	}
	if l.session.JID == "" {
		return nil, l.explain(ctx, errNotBound)
	}
	l.endStep(time.Now())
	if !stop() {
		return nil, context.Cause(ctx)
	}
	_ = conn.SetDeadline(time.Time{})
	return l.handOver(), nil
}

func (l *login) connect(ctx context.Context) (net.Conn, error) {
	bound := func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, l.config.StepTimeout) }
	if l.config.Connect != nil {
		l.enter(StepDial)
		bounded, cancel := bound()
		defer cancel()
		return l.config.Connect(bounded)
	}
	cancel := context.CancelFunc(func() {})
	defer func() { cancel() }()
	conn, err := l.config.Dialer.dial(ctx, l.domain, l.config.TLS, func(step string) context.Context {
		l.enter(step)
		cancel()
		var bounded context.Context
		bounded, cancel = bound()
		return bounded
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w within %v: %w", ErrNoAnswer, l.config.StepTimeout, err)
	}
	return conn, err
}

// handshake runs TLS over the raw connection and puts a new tap above it.
func (l *login) handshake(direct bool) error {
	l.enter(StepTLS)
	conn := tls.Client(l.raw, clientConfig(l.config.TLSConfig, l.domain, l.config.TLS))
	// Without a context that ends no goroutine is needed to watch it; the deadline bounds the handshake.
	if err := conn.HandshakeContext(context.WithoutCancel(l.ctx)); err != nil {
		if explained := l.explainIO(l.ctx, err); explained != nil {
			return explained
		}
		return explainTLS(err, l.domain, direct)
	}
	state := conn.ConnectionState()
	l.tls, l.info = &state, newTLSInfo(&state)
	l.turns += l.info.roundTrips()
	if l.top != nil {
		l.clear = Traffic{In: l.top.BytesIn(), Out: l.top.BytesOut()}
	}
	l.top = newTap(wire.NewConn(conn, 0), l)
	return nil
}

// handOver gives the connection to the stream that takes over.
func (l *login) handOver() *Session {
	l.top.flush()
	s := l.session
	s.Steps, s.TLS, s.RoundTrips = l.steps, l.info, l.turns
	s.Login = Traffic{
		In: l.clear.In + l.top.BytesIn() - int64(l.top.Buffered()+len(l.early)), Out: l.clear.Out + l.top.BytesOut(),
		RawIn: l.raw.BytesIn(), RawOut: l.raw.BytesOut(),
	}
	o := l.config.Stream
	o.Server, o.Opened, o.Prefixes, o.Raw = false, true, l.top.prefixes, l.raw
	left, conn := l.top.Detach()
	if l.tls == nil {
		conn = l.raw // whose count goes on
	}
	if len(l.early) > 0 {
		left = append(l.early, left...)
	}
	s.Stream = wire.NewStream(conn, left, o)
	return &s
}

// fullJID tells whether j has a resource.
func fullJID(j string) bool {
	_, resource, ok := strings.Cut(j, "/")
	return ok && resource != ""
}
