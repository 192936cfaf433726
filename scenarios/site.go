package scenarios

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/online"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Shaper puts an access link in front of a target: whoever connects to the
// address that Shape returns reaches endpoint, over a link of its own.
type Shaper interface {
	Shape(ctx context.Context, l Link, endpoint string) (Relay, error)
	// Share starts links as c says, which several providers share.
	Share(ctx context.Context, c link.Config) (SharedRelay, error)
}

// Relay is a running access link.
type Relay interface {
	// Address is the host:port to connect to.
	Address() string
	// Stats returns what the links have carried, and how late, since the relay was started.
	Stats(ctx context.Context) (link.Stats, error)
	// Close ends the relay and every connection through it.
	Close() error
}

// A site is a plan at one of its targets: what sessions need to log in there.
type site struct {
	plan    Plan
	target  Target
	about   Description
	relay   Relay       // nil without a link
	carried *link.Stats // what the links had carried when a cell began; nil if that is not known
	keys    *session.KeyCache
	tls     *tls.Config
	mode    session.TLSMode
	trace   func(stream uint64, out bool, b []byte)
	streams atomic.Uint64 // opened so far
	shaper  Shaper
	// traceFile gets the XML between providers, with times from epoch on; empty for none.
	traceFile string
	epoch     time.Time
	// note, where set, writes what was noticed into the events of the run.
	note func(kind, text string, fields map[string]string)
	// tell, where set, shows a line to whoever follows the run.
	tell    func(text string)
	starter WorkerStarter
	// met, where set, is told once of the first session.
	met  func(first *session.Session)
	once sync.Once
	// measurable says that the CPU time of the target could be read when it was
	// opened.
	measurable bool
}

// openSite opens the target for the plan and the link before it.
func openSite(ctx context.Context, plan Plan, targets Targets, c RunConfig) (_ *site, err error) {
	target, err := targets.Open(ctx, plan)
	if err != nil {
		return nil, err
	}
	s := &site{plan: plan, target: target, about: target.Describe(), keys: new(session.KeyCache), trace: c.Trace, shaper: c.Shaper, starter: c.Workers, traceFile: c.TraceFile, epoch: c.Epoch}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	_, cpuErr := target.CPU()
	s.measurable = cpuErr == nil
	if plan.Scenario == FederationScenario && s.about.Simulated {
		return s, nil // there are no clients
	}
	if s.mode, err = session.ParseTLSMode(plan.Login.TLS); err != nil {
		return nil, err
	}
	if s.tls, err = s.tlsConfig(); err != nil {
		return nil, err
	}
	if plan.Link.Shaped() && plan.Scenario != FederationScenario {
		endpoint := s.about.Endpoint
		if s.mode == session.DirectTLS {
			endpoint = s.about.DirectTLS
		}
		if s.relay, err = c.Shaper.Shape(ctx, plan.Link, endpoint); err != nil {
			return nil, fmt.Errorf("scenarios: link: %w", err)
		}
	}
	return s, nil
}

// record writes what the first session negotiates, and what is noticed, into the
// events of a run, under the label of the plan.
func (s *site) record(w *results.Writer, plan, target string) {
	s.met = func(first *session.Session) {
		about := negotiated(first)
		about["plan"] = plan
		w.Event("session", "what the first session negotiated at "+target, about)
	}
	s.note = func(kind, text string, fields map[string]string) {
		fields["plan"] = plan
		w.Event(kind, text, fields)
	}
}

// versionLimit bounds the wait for a server to tell its version.
const versionLimit = 10 * time.Second

// identify asks a real server for the version of its software, over a session of its own
// before anything is measured, and puts it into the manifest. One that does not tell has
// none there; one that cannot be reached is told by what comes next. Plans of federations
// say nothing of how clients log in.
func (s *site) identify(ctx context.Context, w *results.Writer) {
	if s.about.Simulated || s.about.Accounts == 0 || s.plan.Scenario == FederationScenario {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cl, err := s.login(ctx, studied, direct, false)
	if err != nil {
		return
	}
	defer cl.close(ctx)
	if version, err := cl.Version(ctx, cl.Domain); err == nil {
		w.TargetVersion(s.about.Name, version)
	}
}

func (s *site) close() error {
	var errs []error
	if s.relay != nil {
		errs = append(errs, s.relay.Close())
	}
	return errors.Join(append(errs, s.target.Close())...)
}

// theory is that of the plan, as far as it holds for the target: how long a real server
// is away in a restart is not known.
func (s *site) theory(arm Arm) (map[string]float64, bool) {
	if s.plan.Herd.Event == EventRestart && !s.about.Simulated {
		return nil, false
	}
	return s.plan.Theory(arm)
}

func (s *site) tlsConfig() (*tls.Config, error) {
	login := s.plan.Login
	settings := session.TLSSettings{Min: login.TLSMin, Max: login.TLSMax, NoVerify: s.about.Insecure}
	switch login.Curves {
	case "x25519":
		settings.Curves = []string{"X25519"}
	case "p256":
		settings.Curves = []string{"P-256"}
	}
	c, err := settings.Config()
	if err != nil {
		return nil, err
	}
	if len(s.about.Domains) == 1 {
		// Complete as it is, it is shared by all sessions: else each would keep a copy.
		c.ServerName = s.about.Domains[0]
		if s.mode == session.DirectTLS {
			c.NextProtos = []string{session.ALPN}
		}
	}
	if len(s.about.Roots) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(s.about.Roots) {
			return nil, fmt.Errorf("scenarios: %s: the CA file holds no certificate in PEM form", s.about.Name)
		}
	}
	return c, nil
}

// What the simulator can be asked to do.
const (
	controlSettings   = "roster.settings"
	controlMutate     = "roster.mutate"
	controlFreeMemory = "free-memory"
	controlRestart    = "restart" // a real server can be asked too
)

// configure tells the simulator the settings that belong to the server half of
// the arm's variant; a real server is taken as it is.
func (s *site) configure(ctx context.Context, arm Arm) error {
	if !s.about.Simulated {
		return nil
	}
	settings := arm.Params.Apply(roster.Settings{Shuffled: s.plan.Simulator.Shuffled})
	return s.target.Control(ctx, controlSettings, settings, nil)
}

// A path connects a session to the target.
type path func(ctx context.Context, s *site, domain string) (net.Conn, error)

// shaped is the path over the plan's link, where it has one.
func shaped(ctx context.Context, s *site, domain string) (net.Conn, error) {
	if s.relay == nil {
		return direct(ctx, s, domain)
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, "tcp", s.relay.Address())
}

// direct is the path past the link.
func direct(ctx context.Context, s *site, domain string) (net.Conn, error) {
	return s.target.Dial(ctx, domain, s.mode == session.DirectTLS)
}

// sessionOptions say what is out of the ordinary in a session.
type sessionOptions struct {
	verify bool // everything received is checked
	// management, where set, is the client's half of stream management; resume is that of
	// the session to resume.
	management, resume *online.Management
	// first, where set, is asked first about stanzas that nobody expects; over is called
	// when the stream has ended. Both are as in online.Config.
	first func(head *wire.Stanza) (wire.Handler, bool)
	over  func()
}

// login opens a session of account i and starts reading its stream. The context
// bounds the login; the session lives until its close.
func (s *site) login(ctx context.Context, i int, way path, verify bool) (*client, error) {
	return s.open(ctx, i, way, sessionOptions{verify: verify})
}

// open is login with options.
func (s *site) open(ctx context.Context, i int, way path, o sessionOptions) (*client, error) {
	account := s.target.Account(i)
	c := session.Config{
		JID:         account.JID(),
		Password:    account.Password,
		TLS:         s.mode,
		TLSConfig:   s.tls,
		Keys:        s.keys,
		SM:          s.plan.Login.SM || o.management != nil,
		StepTimeout: s.plan.Login.StepLimit,
		Stream:      wire.StreamOptions{Verify: o.verify, Trace: s.tracer()},
		Connect:     func(ctx context.Context) (net.Conn, error) { return way(ctx, s, account.Domain) },
	}
	if s.plan.Login.SASL != "auto" {
		c.Mechanisms = []string{s.plan.Login.SASL}
		c.PlainInClear = s.plan.Login.SASL == "PLAIN" && s.mode == session.NoTLS
	}
	if o.management != nil {
		c.Stream.Sent = o.management.Sent
	}
	if o.resume != nil {
		c.Resume = o.resume.Resumption()
	}
	started := time.Now()
	login, err := session.Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	if s.met != nil {
		s.once.Do(func() { s.met(login) })
	}
	cl := &client{
		login: &loginTimes{jid: login.JID, started: started, ready: time.Now(), steps: login.Steps, bytes: login.Login}, resumed: login.Resumed,
		management: o.management, others: o.first,
	}
	config := online.Config{Account: c.JID, Domain: account.Domain, First: cl.first, Over: o.over}
	if o.management != nil {
		config.Handled = o.management.Begin(login, o.resume)
	}
	cl.Client = online.New(login, config)
	cl.Start()
	if o.management != nil {
		o.management.Resend(cl.Stream, login)
	}
	return cl, nil
}

// negotiated tells what a login came to, for the record.
func negotiated(login *session.Session) map[string]string {
	about := map[string]string{"mechanism": login.Mechanism, "round-trips": strconv.Itoa(login.RoundTrips)}
	if login.TLS.Version != 0 {
		about["tls"] = tls.VersionName(login.TLS.Version)
		about["cipher"] = tls.CipherSuiteName(login.TLS.CipherSuite)
		about["curve"] = login.TLS.CurveID.String()
		about["resumed"] = strconv.FormatBool(login.TLS.DidResume)
	}
	return about
}

// tracer returns what sees the bytes of one more stream, nil without a trace.
func (s *site) tracer() func(out bool, b []byte) {
	if s.trace == nil {
		return nil
	}
	stream := s.streams.Add(1)
	return func(out bool, b []byte) { s.trace(stream, out, b) }
}

// client is a session that is logged in and being read.
type client struct {
	*online.Client
	login   *loginTimes // nil where nobody will ask
	resumed bool        // an earlier session goes on

	management *online.Management                      // nil without
	others     func(*wire.Stanza) (wire.Handler, bool) // nil without

	takes    atomic.Pointer[member]        // whose stanzas these are, in traffic of many
	presence atomic.Pointer[presenceCount] // nil until initial presence is sent
	echoes   atomic.Bool                   // messages are returned to their senders
}

// loginTimes are those of a login and of its steps, and what it came to.
type loginTimes struct {
	jid            string // full
	started, ready time.Time
	steps          []session.Step
	bytes          session.Traffic
}

// retrieve fetches the roster as the arm does, and says what the server really
// did. A refusal of the variant is an answer, not an error.
func (c *client) retrieve(ctx context.Context, arm Arm, o roster.Options) (roster.Result, roster.Answer, error) {
	result, err := arm.Variant.Fetch(ctx, c.Roster, arm.Params, o)
	answer := arm.Variant.Detect(arm.Params, result, err)
	if err != nil && answer.Verdict != roster.Refused {
		return result, answer, &stepError{step: "roster", err: err}
	}
	return result, answer, nil
}

// first takes acknowledgements, presence that is counted and messages that are returned.
func (c *client) first(head *wire.Stanza) (h wire.Handler, taken bool) {
	if c.others != nil {
		if h, taken = c.others(head); taken {
			return h, true
		}
	}
	if m := c.takes.Load(); m != nil {
		return m.take(head)
	}
	switch string(head.Name()) {
	case "message":
		if c.echoes.Load() && head.Type() != "error" {
			return wire.Handler{Done: func(st *wire.Stanza) error {
				return c.Stream.Post(wire.AppendReply(nil, st.Tag, "chat", []byte("<body>echo</body>")), nil)
			}}, true
		}
	case "a":
		if c.management != nil {
			return wire.Handler{Done: c.management.Acknowledged}, true
		}
	case "presence":
		if count := c.presence.Load(); count != nil {
			return wire.Handler{Done: count.add}, true
		}
	}
	return wire.Handler{}, false
}

// close ends the session in order and waits for its reader, both bounded.
func (c *client) close(ctx context.Context) { c.Close(ctx) }

// ping returns a probe of the stream: an iq to the user's own server, answered or
// refused, which costs the same (XEP-0199 §4.2).
func (c *client) ping(_ context.Context, _ uint64, done func(time.Time, error)) error {
	return c.Ping(c.Domain, done)
}

// observeLogin gives the steps of the login to the sink, the login as a whole
// from its intended start.
func (c *client) observeLogin(sink results.Sink, intended time.Time) {
	for _, step := range c.login.steps {
		sink.Observe(results.Sample{Metric: "login." + step.Name, Intended: step.Start, Start: step.Start, End: step.End})
	}
	sink.Observe(results.Sample{Metric: "login", Intended: intended, Start: c.login.started, End: c.login.ready})
}

// observe fills in what the self-check wants to know of the generator and the
// link during a cell.
func (s *site) observe(ctx context.Context, f *results.Figures, generator bench.Figures) {
	f.Shared = s.about.local()
	if share, ok := generator.CPUShare(); ok {
		f.GeneratorCPU = share
	}
	if generator.Pressure != nil {
		f.Pressure = *generator.Pressure
	}
	if generator.Steal != nil {
		f.Steal = *generator.Steal
	}
	f.GCPause, f.Scheduling = generator.GCPauseMax, generator.SchedulingMax
	if s.relay == nil {
		return
	}
	// A link that cannot be asked any more shows in the next cell.
	stats, err := s.relay.Stats(ctx)
	if err != nil {
		return
	}
	if s.carried == nil {
		return
	}
	before, earlier := results.DecodeHistogram(s.carried.Lateness.Histogram)
	if after, err := results.DecodeHistogram(stats.Lateness.Histogram); err == nil && earlier == nil {
		f.LinkLateness, f.LinkRTT = after.Since(before), s.plan.Link.RTT
	}
	f.Access = accessUse(*s.carried, stats)
}

// attend remembers what the access links have carried and how late, so that observe can
// tell what they do from now on.
func (s *site) attend(ctx context.Context) {
	s.carried = nil
	if s.relay == nil {
		return
	}
	if stats, err := s.relay.Stats(ctx); err == nil {
		s.carried = &stats
	}
}

// logout ends all sessions, several at a time.
func (s *site) logout(ctx context.Context, held []*client) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, cl := range held {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, s.plan.Login.StepLimit)
			defer cancel()
			cl.close(limited)
		})
	}
	wait.Wait()
}

// accessUse is what access links were used between two looks at them, on the busier of
// their two ways; nil if they have no rate, or nothing was connected.
func accessUse(before, after link.Stats) *results.AccessUse {
	u := &results.AccessUse{Rate: float64(after.Params.Rate), Connected: (after.Connected - before.Connected).Seconds()}
	if u.Rate <= 0 || u.Connected <= 0 {
		return nil
	}
	u.Queue = float64(after.Params.WithDefaults().Queue) * 8 / u.Rate
	for _, way := range []struct {
		name          string
		before, after link.Traffic
	}{{"from", before.Backward, after.Backward}, {"to", before.Forward, after.Forward}} {
		busy := (way.after.Busy - way.before.Busy).Seconds()
		if u.Way != "" && busy <= u.Busy {
			continue
		}
		u.Way, u.Busy, u.Wait = way.name, busy, 0
		if served := way.after.Served - way.before.Served; served > 0 {
			u.Wait = (way.after.Waited - way.before.Waited).Seconds() / float64(served)
		}
	}
	return u
}
