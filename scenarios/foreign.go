package scenarios

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	pemfile "encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A foreign server is the other end of a federation with a real one: its domains, and
// an account at each that returns messages.
type foreign struct {
	own     OwnProvider
	pair    *s2s.KeyPair      // that our provider shows; nil for one that nobody knows
	roots   []byte            // PEM, that the server's certificate chains to
	domains []string          // in the order of the accounts
	users   map[string]string // local parts, by domain
	address map[string]string // host:port for servers, by domain
	dns     *lab.DNS
	clients []*client
}

// federated is what a target tells that our provider can federate with.
type federated interface {
	Federate(direct bool) (OwnProvider, map[string]string, error)
}

// Federate returns where our provider is to be, and the host:port for servers of each
// domain.
func (t *serverTarget) Federate(direct bool) (OwnProvider, map[string]string, error) {
	f := t.file
	if f.Federation == (OwnProvider{}) {
		return OwnProvider{}, nil, errors.New("the target file has no federation section: say where our provider listens, where its DNS server answers and what its domains are called")
	}
	c := f.Connect
	if c.Host == "" {
		return OwnProvider{}, nil, errors.New("the target file has no connect.host: the address of the server is needed for a federation")
	}
	port := uint16(5269)
	given := c.S2SPort
	if direct {
		port, given = 5270, c.S2SDirectPort
	}
	if given != 0 {
		port = given
	}
	addresses := make(map[string]string)
	for _, d := range f.Domains {
		addresses[d] = net.JoinHostPort(c.Host, strconv.Itoa(int(port)))
	}
	return f.Federation, addresses, nil
}

// meet makes the other end of a federation ready: our DNS server, by which the server
// finds our domains, and the accounts that return messages.
func (s *site) meet(ctx context.Context) (_ *foreign, err error) {
	target, ok := s.target.(federated)
	if !ok {
		return nil, fmt.Errorf("scenarios: %s cannot be federated with", s.about.Name)
	}
	f := &foreign{users: make(map[string]string), roots: s.about.Roots}
	direct, err := s.plan.directTLS()
	if err != nil {
		return nil, fmt.Errorf("scenarios: %s: %w", s.about.Name, err)
	}
	if f.own, f.address, err = target.Federate(direct); err != nil {
		return nil, fmt.Errorf("scenarios: %s: %w", s.about.Name, err)
	}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("scenarios: %w", err)
	}
	if err := f.check(s.plan, time.Now()); err != nil {
		return nil, fmt.Errorf("scenarios: %s: %w", s.about.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(context.WithoutCancel(ctx)))
		}
	}()
	if f.dns, err = lab.NewDNS(ctx, f.own.DNS); err != nil {
		return nil, err
	}
	if err := f.publish(s.plan.Federation.Domains.A, direct); err != nil {
		return nil, err
	}
	return f, s.answering(ctx, f)
}

// load reads what our provider shows.
func (f *foreign) load() (err error) {
	if f.own.Certificate == "" {
		return nil
	}
	f.pair = new(s2s.KeyPair)
	if f.pair.Certificates, err = os.ReadFile(f.own.Certificate); err != nil {
		return fmt.Errorf("federation.certificate: %w", err)
	}
	if f.pair.Key, err = os.ReadFile(f.own.Key); err != nil {
		return fmt.Errorf("federation.key: %w", err)
	}
	return nil
}

// check refuses what cannot work, before the first connection: certificates that have
// expired or do not name our domains, and addresses that clash.
func (f *foreign) check(p Plan, now time.Time) error {
	roots, err := parseCertificates(f.roots)
	if err != nil {
		return fmt.Errorf("connect.ca: %w", err)
	}
	for _, c := range roots {
		if err := current(c, now); err != nil {
			return fmt.Errorf("connect.ca: the authority %q %w", c.Subject.CommonName, err)
		}
	}
	taken := map[string]string{f.own.Listen: "federation.listen"}
	for d, address := range f.address {
		if what := taken[address]; what != "" {
			return fmt.Errorf("%s is %s, which is where the server takes streams for %s", what, address, d)
		}
	}
	if f.own.DNS == f.own.Listen {
		return fmt.Errorf("federation.dns and federation.listen are both %s: give them different ports", f.own.DNS)
	}
	if f.pair == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(f.pair.Certificates, f.pair.Key)
	if err != nil {
		return fmt.Errorf("federation.certificate and federation.key: %w", err)
	}
	if err := current(pair.Leaf, now); err != nil {
		return fmt.Errorf("federation.certificate: it %w", err)
	}
	for _, d := range f.own.domains(p.Federation.Domains.A) {
		if !s2s.Covers(pair.Leaf, d) {
			return fmt.Errorf("federation.certificate: it does not name %s, one of our %d domains: issue one that does, or lower domains", d, p.Federation.Domains.A)
		}
	}
	return nil
}

// current says why a certificate is not valid at a time.
func current(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("has expired on %s", c.NotAfter.UTC().Format(time.DateTime))
	case now.Before(c.NotBefore):
		return fmt.Errorf("is not valid before %s", c.NotBefore.UTC().Format(time.DateTime))
	}
	return nil
}

// parseCertificates reads certificates in PEM form; other blocks are passed over.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pemfile.Block
		if block, text = pemfile.Decode(text); block == nil {
			return all, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
}

// directTLS reports whether the streams between servers begin with TLS, in all arms
// alike: a server keeps what the DNS has said of our domains from arm to arm.
func (p Plan) directTLS() (bool, error) {
	var direct, other string
	for _, a := range p.Arms {
		switch {
		case a.Federation.Headless(): // not for servers that nobody has configured for it
		case a.S2S.TLS == s2s.TLSDirect:
			direct = a.Label
		default:
			other = a.Label
		}
	}
	if direct != "" && other != "" {
		return false, fmt.Errorf("%s has direct TLS and %s has not, and the server keeps what the DNS has said of our domains: make two runs", direct, other)
	}
	return direct != "", nil
}

// publish makes the domains of both ends known to the server. The targets of SRV
// records are addresses in dotted form, which every server takes without another
// look-up. Ours take one kind of TLS, and only that is published: some servers try
// direct TLS first and nothing after it.
func (f *foreign) publish(n int, direct bool) error {
	own, err := netip.ParseAddrPort(f.own.Listen)
	if err != nil {
		return err
	}
	service := serverService(direct)
	for _, d := range f.own.domains(n) {
		if err := f.dns.AddSRV(service, d, own.Addr().String(), own.Port()); err != nil {
			return err
		}
	}
	for d, address := range f.address {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return err
		}
		if err := f.dns.AddSRV(resolve.ServerStart, d, host, uint16(n)); err != nil {
			return err
		}
	}
	return nil
}

// answering logs an account in at each domain, which returns messages from then on.
func (s *site) answering(ctx context.Context, f *foreign) error {
	want := s.plan.Federation.Domains.B
	var accounts []int
	for i := 0; i < s.about.Accounts && len(f.domains) < want; i++ {
		a := s.target.Account(i)
		if _, there := f.users[a.Domain]; there {
			continue
		}
		f.users[a.Domain] = a.Local
		f.domains = append(f.domains, a.Domain)
		accounts = append(accounts, i)
	}
	if len(f.domains) < want {
		return fmt.Errorf("scenarios: %s has accounts at %d domains, the plan wants %d (domains): provision accounts, or ask for fewer", s.about.Name, len(f.domains), want)
	}
	var (
		mu     sync.Mutex
		wait   sync.WaitGroup
		failed error
	)
	slots := make(chan struct{}, 8)
	for _, i := range accounts {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			cl, err := s.login(ctx, i, direct, false)
			if err == nil {
				cl.echoes.Store(true)
				err = cl.Stream.Send([]byte("<presence/>"))
			}
			mu.Lock()
			defer mu.Unlock()
			if cl != nil {
				f.clients = append(f.clients, cl)
			}
			failed = errors.Join(failed, err)
		})
	}
	wait.Wait()
	return failed
}

// close logs the accounts out and ends the DNS server.
func (f *foreign) close(ctx context.Context) error {
	var wait sync.WaitGroup
	for _, cl := range f.clients {
		wait.Go(func() { cl.close(ctx) })
	}
	wait.Wait()
	if f.dns == nil {
		return nil
	}
	return f.dns.Close()
}

// startOwn starts our provider where the server finds it.
func (m *mesh) startOwn(ctx context.Context) (*meshProvider, error) {
	f := m.foreign
	p := &meshProvider{name: "our provider", domains: f.own.domains(m.fed.Domains.A), address: []string{f.own.Listen}}
	p.hosted = [][]string{p.domains}
	worker, err := m.starter.Start(ctx, m.worker(f.own.Listen, letter(0)))
	if err != nil {
		return p, err
	}
	p.workers = []Worker{worker}
	credentials := s2s.Credentials{Provider: p.name, Roots: f.roots}
	if f.pair != nil {
		credentials.Own, credentials.All = f.pair, f.pair
	} else {
		made, err := m.ceremony.credentials(s2s.OwnOnly, "our-provider.test", p.domains, "")
		if err != nil {
			return p, err
		}
		credentials.Own = made.Own
	}
	p.configs = []s2s.ProviderConfig{{
		Domains: p.domains, Variant: m.arm.Federation.Name, Params: m.arm.S2S, Credentials: credentials,
		Secret: fmt.Sprintf("secret of our provider, seed %d", m.plan.Seed), Hosts: f.address,
		Setup: foreignSetup, Idle: m.idle(), Piece: m.plan.Simulator.Piece, Queue: maxQueued, Lenient: true,
	}}
	return p, worker.Call(ctx, workerFederate, p.configs[0], nil)
}

// foreignSetup is how long a real server may take to set up a stream: it may look
// names up and verify keys meanwhile.
const foreignSetup = 20 * time.Second

// second returns the domains that the first provider talks to.
func (m *mesh) second() []string {
	if m.foreign != nil {
		return m.foreign.domains[:m.fed.Domains.B]
	}
	return m.providers[1].domains
}

// users returns who returns messages, nil where every domain has the echo.
func (m *mesh) users() map[string]string {
	if m.foreign == nil {
		return nil
	}
	return m.foreign.users
}

// notice reads what our end of a federation with a real server has counted. There is
// no closed form of what a server does: what it did stands in the events of the run.
func (m *mesh) notice(ctx context.Context, c *cell) error {
	var got s2s.Figures
	if err := m.providers[0].workers[0].Call(ctx, workerFigures, nil, &got); err != nil {
		return err
	}
	c.report(got)
	// The server's connections count as well: both ends of each are seen here once.
	c.set("connections", float64(got[s2s.FigureStreams]))
	c.set("connections.opened", float64(got[s2s.FigureOpened]+got[s2s.FigureAccepted]))
	if m.note != nil {
		m.note("federation", "what "+m.about.Name+" did with "+c.arm.Label, map[string]string{
			"opened-by-us": strconv.FormatInt(got[s2s.FigureOpened], 10), "opened-by-server": strconv.FormatInt(got[s2s.FigureAccepted], 10),
			"alive": strconv.FormatInt(got[s2s.FigureStreams], 10), "pairs": strconv.Itoa(m.fed.Domains.A * m.fed.Domains.B),
			"lenient-target": strconv.FormatInt(got[s2s.FigureLenientTarget], 10), "lenient-answer": strconv.FormatInt(got[s2s.FigureLenientAnswer], 10),
			"unsolicited": strconv.FormatInt(got[s2s.FigureUnsolicited], 10), "conflict": strconv.FormatInt(got[s2s.FigureConflict], 10),
			"db-results": strconv.FormatInt(got[s2s.FigureResults], 10), "db-verifies": strconv.FormatInt(got[s2s.FigureVerifies], 10),
		})
	}
	return m.hold(ctx, c)
}
