package scenarios

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// The states of a [Check].
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // a run goes ahead, and its figures need the remark
	CheckFail = "fail" // a run would fail
	CheckSkip = "skip" // cannot be told, since an earlier check failed, or is not needed
)

// A Check is one thing that a run needs, whether it is there, and what to do if it
// is not.
type Check struct {
	// Name is dns, reach, tls, login, features, variant, descriptors, ports, clock or
	// observe.
	Name   string `json:"name"`
	State  string `json:"state"`
	Found  string `json:"found"`            // one sentence without a full stop
	Remedy string `json:"remedy,omitempty"` // what to do, where there is anything to do
}

// Preflight looks at all that a plan needs of a target and of this machine before a
// run, with one login, and one retrieval of a roster for each variant. It tells each
// check as it has been made, and blocks until all are; each step that waits for
// another machine is bounded by login.step-limit.
func Preflight(ctx context.Context, t Targets, p Plan, tell func(Check)) {
	f := &preflight{plan: p, tell: tell}
	server, real := t.(ServerTargets)
	switch {
	case !real && p.Scenario == FederationScenario:
		f.skip("providers are started for each cell, none can be reached before", "dns", "reach", "tls", "login", "features", "variant")
	case !real:
		f.simulator(ctx, t)
	default:
		f.server(ctx, server)
	}
	f.machine(server.File)
	f.observed(ctx, server)
}

// preflight is one set of checks while it is made.
type preflight struct {
	plan Plan
	tell func(Check)
	seen *tls.ConnectionState // of the last handshake, nil if there was none
	err  error                // of its verification
}

func (f *preflight) ok(name, format string, args ...any) {
	f.tell(Check{Name: name, State: CheckOK, Found: fmt.Sprintf(format, args...)})
}

func (f *preflight) warn(name, found, remedy string) {
	f.tell(Check{Name: name, State: CheckWarn, Found: found, Remedy: remedy})
}

func (f *preflight) fail(name, found, remedy string) {
	f.tell(Check{Name: name, State: CheckFail, Found: found, Remedy: remedy})
}

func (f *preflight) skip(why string, names ...string) {
	for _, name := range names {
		f.tell(Check{Name: name, State: CheckSkip, Found: why})
	}
}

// limited bounds one step that waits for another machine.
func (f *preflight) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, f.plan.Login.StepLimit)
}

// simulator checks the simulator, which is started for it.
func (f *preflight) simulator(ctx context.Context, t Targets) {
	f.ok("dns", "the simulator has an address, nothing is looked up")
	target, err := t.Open(ctx, f.plan)
	if err != nil {
		f.fail("reach", err.Error(), "see the settings under simulator in the scenario")
		f.skip("the simulator did not start", "tls", "login", "features", "variant")
		return
	}
	f.ok("reach", "the simulator answers at %s", target.Describe().Endpoint)
	f.login(ctx, target)
	if err := target.Close(); err != nil {
		f.fail("reach", err.Error(), "the simulator did not end in order, which is a fault of the program")
	}
}

// server checks a real server from its name to its rosters.
func (f *preflight) server(ctx context.Context, s ServerTargets) {
	after := []string{"reach", "tls", "login", "features", "variant"}
	t, err := s.prepare(f.plan)
	if err != nil {
		f.fail("dns", err.Error(), "put right in the target file what the message names")
		f.skip("the target file cannot be used", after...)
		return
	}
	endpoints := f.names(ctx, t)
	if endpoints == nil {
		f.skip("the server's address is not known", after...)
		return
	}
	for _, e := range endpoints {
		if err := s.allowed(e.String()); err != nil {
			f.fail("reach", err.Error(), "if the server is yours to load: --allow "+e.Host)
			f.skip("the server may not be connected to", after[1:]...)
			return
		}
	}
	if !f.reach(ctx, t) {
		f.skip("the server was not reached", after[1:]...)
		return
	}
	if f.plan.Scenario == FederationScenario {
		f.federation(t)
		return
	}
	f.login(ctx, t)
}

// mode is the way in which the plan's clients secure their connections.
func (f *preflight) mode() session.TLSMode {
	mode, err := session.ParseTLSMode(f.plan.Login.TLS)
	if err != nil {
		return session.StartTLS // cannot be: the parser knows the names
	}
	return mode
}

// names looks the server up as clients do, and returns where they would connect to;
// nil if nowhere.
func (f *preflight) names(ctx context.Context, t *serverTarget) []resolve.Target {
	dialer, host := t.dialer(f.mode()), t.file.Connect.Host
	if _, err := netip.ParseAddr(host); err == nil {
		f.ok("dns", "connect.host is the address %s, nothing is looked up", host)
		targets, _ := dialer.Targets(ctx, "", f.mode()) // with a host there is nothing to fail
		return targets
	}
	domains := t.file.Domains
	if host != "" || len(domains) == 0 {
		domains = []string{t.accounts.Account(0).Domain}
	}
	var all []resolve.Target
	for _, domain := range domains {
		limited, cancel := f.limited(ctx)
		targets, err := dialer.Targets(limited, domain, f.mode())
		cancel()
		if err != nil {
			f.fail("dns", err.Error(), "publish SRV records for "+domain+" (RFC 6120 §3.2), or give connect.host, or the right resolvers as connect.dns")
			return nil
		}
		for _, target := range targets {
			limited, cancel := f.limited(ctx)
			answer, err := dialer.Resolver.Addresses(limited, target.Host)
			cancel()
			if err != nil {
				f.fail("dns", err.Error(), "publish an address for "+target.Host+", or give an address as connect.host")
				return nil
			}
			what := domain + " is served by " + target.String()
			if host != "" {
				what = "connect.host is " + host
			}
			var addresses []string
			for _, a := range answer.Addrs {
				addresses = append(addresses, a.String())
			}
			f.ok("dns", "%s, at %s", what, strings.Join(addresses, ", "))
			if !slices.Contains(all, target) {
				all = append(all, target)
			}
		}
	}
	return all
}

// reach connects once.
func (f *preflight) reach(ctx context.Context, t *serverTarget) bool {
	limited, cancel := f.limited(ctx)
	defer cancel()
	started := time.Now()
	conn, err := t.Dial(limited, t.accounts.Account(0).Domain, f.mode() == session.DirectTLS)
	if err != nil {
		f.fail("reach", err.Error(), "start the server, or put connect.host and connect.port right; there may be a firewall between")
		return false
	}
	f.ok("reach", "%s takes connections, this one after %s", conn.RemoteAddr(), time.Since(started).Round(10*time.Microsecond))
	_ = conn.Close()
	return true
}

// login logs one account in and looks at all that this shows.
func (f *preflight) login(ctx context.Context, t Target) {
	s := &site{plan: f.plan, target: t, about: t.Describe(), keys: new(session.KeyCache), mode: f.mode()}
	var err error
	if s.tls, err = s.tlsConfig(); err != nil {
		f.fail("tls", err.Error(), "name a PEM file with the authority of the server as connect.ca")
		f.skip("connections cannot be secured", "login", "features", "variant")
		return
	}
	s.tls = f.watched(s.tls)
	var about *session.Session
	s.met = func(got *session.Session) { about = got }
	started := time.Now()
	cl, err := s.login(ctx, 0, direct, false)
	failed, _ := errors.AsType[*session.Error](err)
	secured := failed == nil || failed.Step != session.StepStartTLS && failed.Step != session.StepTLS
	f.certificates(s.about.Insecure, secured, err)
	if err != nil {
		after := []string{"login", "features", "variant"}
		if secured {
			f.fail("login", err.Error(), loginRemedy(failed))
			after = after[1:]
		}
		f.skip("nobody could log in", after...)
		return
	}
	defer cl.close(ctx)
	f.ok("login", "%s logged in with %s after %s", t.Account(0).JID(), about.Mechanism, time.Since(started).Round(100*time.Microsecond))
	f.features(about)
	f.variants(ctx, s, cl)
}

// loginRemedy says what helps against a login that failed.
func loginRemedy(failed *session.Error) string {
	if failed == nil {
		return "see the server's log for what it did with this login"
	}
	switch failed.Step {
	case session.StepSASL:
		return "make the accounts with xmppbench provision, or put accounts and their password right in the target file"
	case session.StepHeader, session.StepFeatures:
		return "the port must be one for clients, the server must serve the domain, and login.tls must be what it wants"
	}
	return "see the server's log for what it did with this login"
}

// features tells what the server announces after authentication.
func (f *preflight) features(about *session.Session) {
	var names []string
	for _, name := range about.Features.Names() {
		space, _, _ := strings.Cut(name, " ")
		names = append(names, space)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if f.plan.Login.SM && !slices.Contains(names, "urn:xmpp:sm:3") {
		f.warn("features", "the server does not offer stream management, which login.sm asks for", "switch it on in the server, or leave login.sm out")
	}
	f.ok("features", "the server announces %s", strings.Join(names, ", "))
}

// watched is a TLS configuration that keeps what the server shows, and verifies as the
// one that it is made of.
func (f *preflight) watched(c *tls.Config) *tls.Config {
	w := c.Clone()
	w.InsecureSkipVerify = true // VerifyConnection does it instead, and sees what it refuses
	w.VerifyConnection = func(state tls.ConnectionState) error {
		f.seen = &state
		options := x509.VerifyOptions{Roots: c.RootCAs, DNSName: state.ServerName, Intermediates: x509.NewCertPool()}
		for _, intermediate := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(intermediate)
		}
		_, f.err = state.PeerCertificates[0].Verify(options)
		if c.InsecureSkipVerify {
			return nil
		}
		return f.err
	}
	return w
}

// soon is how long before its end a certificate is worth a remark.
const soon = 14 * 24 * time.Hour

// certificates tells what the handshake showed. A login that was not secured ended in
// it, with err.
func (f *preflight) certificates(insecure, secured bool, err error) {
	switch {
	case f.mode() == session.NoTLS:
		f.skip("login.tls is none", "tls")
		return
	case f.seen == nil && !secured:
		f.fail("tls", err.Error(), "the port must speak the TLS that login.tls says, "+f.plan.Login.TLS)
		return
	case f.seen == nil:
		f.skip("the login did not come to a handshake", "tls")
		return
	}
	leaf := f.seen.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	names := leaf.DNSNames
	if len(names) == 0 {
		names = []string{leaf.Subject.CommonName}
	}
	text := fmt.Sprintf("%s, %s; certificate of %s by %s, valid until %s, %s", tls.VersionName(f.seen.Version),
		tls.CipherSuiteName(f.seen.CipherSuite), strings.Join(names[:min(len(names), 5)], ", "), leaf.Issuer.CommonName,
		leaf.NotAfter.UTC().Format(time.DateOnly), remaining(left))
	switch {
	case f.err != nil && insecure:
		f.warn("tls", text+": "+f.err.Error(), "connect.insecure takes it; other clients would not")
	case f.err != nil:
		f.fail("tls", text+": "+f.err.Error(), certificateRemedy(f.err))
	case left < soon:
		f.warn("tls", text, "renew the certificate before it ends")
	case !secured:
		f.fail("tls", err.Error(), "see the server's log for what it disliked")
	default:
		f.ok("tls", "%s", text)
	}
}

func remaining(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= -2*day:
		return fmt.Sprintf("expired %d days ago", -d/day)
	case d < 0:
		return fmt.Sprintf("expired %.0f hours ago", -d.Hours())
	case d < 2*day:
		return fmt.Sprintf("%.0f hours left", d.Hours())
	}
	return fmt.Sprintf("%d days left", d/day)
}

func certificateRemedy(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name a PEM file with the authority of the server as connect.ca"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "give the server a certificate that names the domain, not its host"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "renew the certificate; if it is valid, set the clock of this machine"
	}
	return "give the server a certificate that clients accept"
}

// variants tries each variant once: what a server announces and what it does are two
// things.
func (f *preflight) variants(ctx context.Context, s *site, cl *client) {
	works := 0
	for _, arm := range f.plan.Arms {
		if err := s.configure(ctx, arm); err != nil {
			f.fail("variant", arm.Label+": "+err.Error(), "see the settings of the variant")
			return
		}
		// A variant that has a cache can begin with an empty one; what another state
		// holds, a run makes first.
		if arm.Params.State != "" {
			arm.Params.State = roster.StateCold
		}
		limited, cancel := context.WithTimeout(ctx, f.plan.Login.Limit)
		result, answer, err := cl.retrieve(limited, arm, roster.Options{})
		cancel()
		switch {
		case err != nil:
			f.fail("variant", arm.Label+": "+err.Error(), "see the server's log for what it did with the request")
			return // the stream may be over
		case answer.Verdict == roster.Spoken:
			works++
			f.ok("variant", "%s will run: the server speaks it, %s", arm.Label, counted(result.Items, "contact", "contacts"))
		default:
			f.warn("variant", fmt.Sprintf("%s will be skipped, %s: %s", arm.Label, answer.Verdict, answer.Reason), "switch it on in the server, or leave it out")
		}
	}
	if works == 0 {
		f.fail("variant", "the server speaks none of the variants", "choose others with --variants; monolithic is what every server speaks")
	}
}

// federation checks what a federation with a real server needs beyond its being there.
func (f *preflight) federation(t *serverTarget) {
	f.skip("streams between servers are made by the run itself", "tls", "login", "features")
	direct, err := f.plan.directTLS()
	var own foreign
	if err == nil {
		own.roots = t.about.Roots
		own.own, own.address, err = t.Federate(direct)
	}
	if err == nil {
		err = own.load()
	}
	if err == nil {
		err = own.check(f.plan, time.Now())
	}
	if err != nil {
		f.fail("variant", err.Error(), "put right in the target file what the message names")
		return
	}
	f.ok("variant", "our provider is to listen at %s for %s, and its DNS server at %s; which variants the server accepts shows in the run", own.own.Listen, own.own.Domain, own.own.DNS)
}

// machine checks what this machine has for the plan.
func (f *preflight) machine(file *TargetFile) {
	if f.plan.Scenario == FederationScenario {
		if err := CheckMachine(f.plan); err != nil {
			f.fail("descriptors", err.Error(), "lower domains or raise workers, as the message says")
		} else {
			f.ok("descriptors", "the mesh fits into what processes may open here, into the local ports and into the memory")
		}
	} else {
		f.room(file)
	}
	switch clock := results.GatherEnvironment().Clock; clock {
	case "":
		f.warn("clock", "the clock source is not known", "if this is not Linux, nothing")
	case "hpet", "acpi_pm", "jiffies", "pit":
		f.warn("clock", "the clock source is "+clock+", which takes microseconds to read", "choose another of those in /sys/devices/system/clocksource/clocksource0/available_clocksource")
	default:
		f.ok("clock", "the clock source is %s", clock)
	}
}

// room checks descriptors and ports for the sessions of a plan.
func (f *preflight) room(file *TargetFile) {
	m := thisMachine()
	sessions := counted(f.plan.Sessions(), "session", "sessions")
	need, each := f.plan.Sessions()*f.plan.descriptorsEach()+reservedDescriptors, "one"
	if f.plan.Link.Shaped() {
		each = "two in the process of the link"
	}
	found := fmt.Sprintf("up to %s take %d descriptors, %s for each; a process may open %d", sessions, need, each, m.descriptors)
	switch {
	case m.descriptors == 0:
		f.warn("descriptors", fmt.Sprintf("up to %s take %d descriptors; how many a process may open is not known", sessions, need), "see ulimit -n")
	case need > m.descriptors:
		f.fail("descriptors", found, fmt.Sprintf("ulimit -n %d, or fewer sessions", need))
	default:
		f.ok("descriptors", "%s", found)
	}
	sources := 1
	if file != nil {
		sources = max(1, len(file.Connect.Sources))
	}
	have := m.ports * sources
	found = fmt.Sprintf("up to %s take a local port each; %s %d for one port of a server", sessions, counted(sources, "local address has", "local addresses have"), have)
	switch {
	case m.ports == 0:
		f.warn("ports", "how many local ports there are is not known", "see net.ipv4.ip_local_port_range")
	case f.plan.Sessions() > have:
		f.fail("ports", found, "name more local addresses as connect.sources, or widen net.ipv4.ip_local_port_range")
	default:
		f.ok("ports", "%s", found)
	}
}

// descriptorsEach is how many descriptors a client's session takes in the process that
// has most of them: a link has both of its ends.
func (p Plan) descriptorsEach() int {
	if p.Link.Shaped() {
		return 2
	}
	return 1
}

// mostSessions is how many sessions of clients a plan can hold at a target on a machine,
// and why not more; apart says that each is of another account. It is math.MaxInt where
// nothing bounds them.
func (p Plan) mostSessions(m machine, t Targets, apart bool) (most int, why string) {
	most = math.MaxInt
	lower := func(n int, format string, args ...any) {
		if n < most {
			most, why = max(n, 0), fmt.Sprintf(format, args...)
		}
	}
	accounts, sources := p.Accounts, 1
	if server, ok := t.(ServerTargets); ok {
		sources = max(1, len(server.File.Connect.Sources))
		if target, err := server.prepare(p); err == nil { // else its opening tells
			accounts = target.about.Accounts
		}
	}
	if apart {
		lower(accounts, "%s has %s", t.Name(), counted(accounts, "account", "accounts"))
	}
	if m.descriptors > 0 {
		each := "one for each session"
		if p.Link.Shaped() {
			each = "and a link takes two for each session"
		}
		lower((m.descriptors-reservedDescriptors)/p.descriptorsEach(), "a process may open %d descriptors (ulimit -n), %s", m.descriptors, each)
	}
	if m.ports > 0 {
		lower(m.ports*sources, "%s %d local ports for one port of a server", counted(sources, "local address has", "local addresses have"), m.ports*sources)
	}
	if length, finite := p.Logins.length(); finite {
		n := p.Logins.expected(0, length)
		lower(int(n), "%s lets %d sessions log in", p.Logins, int(n))
	}
	return most, why
}

// observed checks whether what the server uses can be seen.
func (f *preflight) observed(ctx context.Context, s ServerTargets) {
	switch {
	case s.File == nil:
		f.ok("observe", "the simulator is a process of our own")
		return
	case s.Observer == nil:
		f.warn("observe", "the target file has no observe: there will be no CPU time, no memory and no first limit of the server",
			"name its process by pid-file, pid or port, or run xmppbench observe on its machine and name that as agent")
		return
	}
	r, err := s.Observer.Read(ctx)
	if err != nil {
		f.fail("observe", err.Error(), observeRemedy(err))
		return
	}
	for _, missing := range r.Missing {
		f.warn("observe", missing, "the URL must be right, and the server must let this machine ask")
	}
	told := ""
	if len(r.Metrics) > 0 {
		told = ", and " + counted(len(r.Metrics), "metric", "metrics") + " of the server's own"
	}
	if r.PIDs == nil {
		f.warn("observe", "no process is named"+told, "name the process as well, for its CPU time and memory")
		return
	}
	f.ok("observe", "%s: %s of CPU time so far, %d MiB resident%s", counted(len(r.PIDs), "process", "processes"), r.CPU.Round(time.Millisecond), r.RSS>>20, told)
	f.serverRoom(r)
}

// serverRoom checks the descriptors of the server, which may die where it runs out of
// them.
func (f *preflight) serverRoom(r observe.Reading) {
	if r.Descriptors < 0 || r.DescriptorLimit <= 0 || f.plan.Scenario == FederationScenario {
		return
	}
	sessions := f.plan.Sessions()
	found := fmt.Sprintf("the server has %d descriptors open and may open %d; up to %s come", r.Descriptors, r.DescriptorLimit, counted(sessions, "session", "sessions"))
	if r.Descriptors+sessions > r.DescriptorLimit {
		f.fail("descriptors", found, "start the server with a higher limit, by LimitNOFILE of its unit or ulimit -n")
		return
	}
	f.ok("descriptors", "%s", found)
}

// observeRemedy says what helps against a server that cannot be seen.
func observeRemedy(err error) string {
	_, network := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return "name as observe.ca the authority of the certificate that the agent has as --tls-cert, or give it one that is valid for its name"
	case errors.Is(err, observe.ErrToken):
		return "name as observe.token the file that the agent has as --token-file"
	case errors.Is(err, fs.ErrPermission):
		return "run this as root, or as the user of the server"
	case errors.Is(err, proc.ErrNoListener):
		return "start the server, or put observe.port right"
	case network:
		return "start xmppbench observe on the server's machine, and put observe.agent right"
	}
	return "start the server, or put observe right"
}

// dialer is how clients of a mode connect.
func (t *serverTarget) dialer(mode session.TLSMode) *session.Dialer {
	if mode == session.DirectTLS {
		return &t.direct
	}
	return &t.plain
}
