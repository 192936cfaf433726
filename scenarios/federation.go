package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// WorkerStarter starts the processes of providers.
type WorkerStarter interface {
	// Start starts a worker that listens as c says. It returns when it does.
	Start(ctx context.Context, c WorkerConfig) (Worker, error)
}

// Worker is a running [ProviderWorker], in a process of its own or in this one.
type Worker interface {
	// Call runs a method of the worker. It blocks until the answer is there.
	Call(ctx context.Context, method string, in, out any) error
	// PID is the process, 0 if it is this one.
	PID() int
	// Close ends the worker.
	Close() error
}

// SharedRelay is a running link with several routes.
type SharedRelay interface {
	// Addresses are what to connect to, in the order of the routes.
	Addresses() []string
	// Lateness returns how late bytes were delivered since the last call.
	Lateness(ctx context.Context) (*results.Histogram, error)
	// Close ends the relay and every connection through it.
	Close() error
}

func federation() Scenario {
	return Scenario{
		Name:    FederationScenario,
		Summary: "n × m domains of hosting providers federate; layout against layout, proof against proof",
		Steps: []string{
			"start the providers, each in processes of its own, with the certificates, keys and signed proofs that the variant needs and no others",
			"on a cold mesh, send a message for one pair of domains and wait for its echo, then for a second pair: `pair.first`, `pair.further`",
			"begin anew; bring all pairs up at once, or lazily by traffic, each with a message and its echo: `pair.ready`, `pair.echo`, `mesh`",
			"wait mesh.settle; read counts, which must equal the closed forms, CPU time, memory and descriptors",
			"send messages between domains at traffic.rate and time their echoes: `echo`",
			"send them again while a bulk stanza crosses, or one pair is noisy: `victim`",
			"let the event happen: streams idle out, the peers restart, or a domain is added to the live mesh",
		},
		Metrics: []string{
			"pair.first", "pair.first.echo", "pair.further", "pair.further.echo", "pair.ready", "pair.echo", "mesh", "echo", "victim", "bulk",
			"reconnect", "pair.added",
			"connections", "connections.opened", "handshakes.full", "handshakes.resumed", "signatures.made", "signatures.verified",
			"authority.sasl", "authority.results", "authority.verifies", "authority.asserts", "authority.proofs", "authority.verdicts",
			"fetches", "lookups", "keys.customer", "bytes.mesh", "bytes.mesh.tls", "cpu.mesh", "cpu.mesh.a", "cpu.mesh.b", "cpu.steady",
			"rss.a", "rss.b", "rss.connection", "fds.a", "fds.b", "glare", "unauthorised", "pairs.open", "pairs.expected",
		},
		primary: func(p Plan) string {
			if p.Federation.BringUp == BringUpLazy {
				return "pair.echo.mean"
			}
			return "cpu.mesh"
		},
		prepare: prepareFederation,
	}
}

// federates is the actor of federation plans.
type federates struct {
	*site
	ceremony *ceremony
	foreign  *foreign   // nil where all providers are ours
	names    [][]string // of the domains of each provider; nil: made up
}

func prepareFederation(ctx context.Context, s *site) (actor, error) {
	c, err := newCeremony(s.plan.Simulator.Key)
	if err != nil {
		return nil, err
	}
	f := &federates{site: s, ceremony: c}
	if !s.about.Simulated {
		f.foreign, err = s.meet(ctx)
	}
	return f, err
}

func (f *federates) close(ctx context.Context) error {
	if f.foreign == nil {
		return nil
	}
	return f.foreign.close(ctx)
}

// warmDomains are those of each provider in the warm-up block: enough for every step.
const warmDomains = 2

func (f *federates) cell(ctx context.Context, c *cell) error {
	fed := f.plan.Federation
	if c.warmup {
		// Processes are fresh in each cell: what is warm afterwards is the machine.
		fed.Domains = Domains{min(fed.Domains.A, warmDomains), min(fed.Domains.B, warmDomains)}
		fed.Workers = 1
		fed.Traffic.Duration = min(fed.Traffic.Duration, 200*time.Millisecond)
	}
	m, err := f.raise(ctx, c.arm, fed)
	if err != nil {
		return err
	}
	err = m.steps(ctx, c)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeMesh)
	defer cancel()
	if unspoken := (*skipError)(nil); errors.As(err, &unspoken) {
		c.skipped = unspoken.reason
		err = nil
	}
	return errors.Join(err, m.close(closing))
}

// closeMesh bounds the end of a mesh.
const closeMesh = 20 * time.Second

// skipError says that the peer does not speak the variant.
type skipError struct{ reason string }

func (e *skipError) Error() string { return e.reason }

// A mesh is the providers of one cell, with what lies between them.
type mesh struct {
	*federates
	arm       Arm
	fed       Federation
	dns       *lab.DNS
	web       *lab.Web
	providers []*meshProvider
	links     []SharedRelay
	empty     []proc.Figures // what providers hold without a connection; nil where that is not known
}

// A meshProvider is one provider and its workers.
type meshProvider struct {
	name    string // host name
	domains []string
	workers []Worker
	configs []s2s.ProviderConfig // of the workers
	address []string             // of the workers
	hosted  [][]string           // domains of each worker
	via     map[string]string    // links to other providers
}

// raise starts the processes of a mesh and tells them of each other.
func (f *federates) raise(ctx context.Context, arm Arm, fed Federation) (_ *mesh, err error) {
	m := &mesh{federates: f, arm: arm, fed: fed}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close(context.WithoutCancel(ctx)))
		}
	}()
	if m.foreign != nil {
		p, err := m.startOwn(ctx)
		if p != nil {
			m.providers = append(m.providers, p)
		}
		return m, err
	}
	if m.dns, err = lab.NewDNS(ctx, ""); err != nil {
		return nil, err
	}
	if m.web, err = lab.NewWeb(ctx, lab.WebOptions{}); err != nil {
		return nil, err
	}
	for i := range fed.Providers {
		p, err := m.start(ctx, i)
		if p != nil {
			m.providers = append(m.providers, p)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := m.connect(ctx); err != nil {
		return nil, err
	}
	return m, m.configure(ctx)
}

// madeUp returns the names of n domains of the i-th provider.
func madeUp(i, n int) []string {
	names := make([]string, 0, n)
	for d := range n {
		names = append(names, fmt.Sprintf("%s%d.test", letter(i), d+1))
	}
	return names
}

// letter names the i-th provider in host names of domains and processes.
func letter(i int) string { return string(rune('a' + i)) }

// start starts the workers of the i-th provider.
func (m *mesh) start(ctx context.Context, i int) (*meshProvider, error) {
	n := m.fed.Domains.B
	if i == 0 {
		n = m.fed.Domains.A
	}
	p := &meshProvider{name: "provider-" + letter(i) + ".test", via: make(map[string]string)}
	if m.names != nil {
		p.domains = m.names[i]
	} else {
		p.domains = madeUp(i, n)
	}
	workers := m.plan.workers(m.arm, m.fed)
	p.hosted = make([][]string, workers)
	for d, domain := range p.domains {
		p.hosted[d%workers] = append(p.hosted[d%workers], domain)
	}
	for w := range workers {
		// An address of its own for each: it has ports of its own, and peers can tell it from others.
		worker, err := m.starter.Start(ctx, WorkerConfig{Listen: fmt.Sprintf("127.0.%d.%d:0", providerNet+i, w+1)})
		if err != nil {
			return p, err
		}
		p.workers = append(p.workers, worker)
		var address string
		if err := worker.Call(ctx, workerAddress, nil, &address); err != nil {
			return p, err
		}
		p.address = append(p.address, address)
	}
	return p, nil
}

// providerNet is the third number of the first provider's addresses.
const providerNet = 20

// connect puts a link between each two providers, and before the web server.
func (m *mesh) connect(ctx context.Context) error {
	if !m.plan.Link.Shaped() {
		return nil
	}
	l := m.plan.Link
	params := link.Params{
		RTT: l.RTT, Rate: int64(l.Rate), Jitter: l.Jitter, Queue: int(l.Queue), Scheduling: link.Scheduling(l.Scheduling), Seed: m.plan.Seed,
	}
	add := func(c link.Config, via []map[string]string) error {
		relay, err := m.shaper.Share(ctx, c)
		if err != nil {
			return fmt.Errorf("scenarios: link: %w", err)
		}
		m.links = append(m.links, relay)
		for i, address := range relay.Addresses() {
			via[i][c.Routes[i].Dial] = address
		}
		return nil
	}
	for i, near := range m.providers {
		for _, far := range m.providers[i+1:] {
			c := link.Config{Params: params, Shared: true}
			var via []map[string]string
			for _, address := range far.address {
				c.Routes = append(c.Routes, link.Route{Listen: "127.0.0.1:0", Dial: address})
				via = append(via, near.via)
			}
			for _, address := range near.address {
				c.Routes = append(c.Routes, link.Route{Listen: "127.0.0.1:0", Dial: address, Reverse: true})
				via = append(via, far.via)
			}
			if err := add(c, via); err != nil {
				return err
			}
		}
	}
	// Third parties are as far away, on lines of their own.
	for _, p := range m.providers {
		c := link.Config{Params: link.Params{RTT: l.RTT}, Routes: []link.Route{
			{Listen: "127.0.0.1:0", Dial: m.web.Addr()}, {Listen: "127.0.0.1:0", Dial: m.web.PlainAddr()},
		}}
		if err := add(c, []map[string]string{p.via, p.via}); err != nil {
			return err
		}
	}
	if m.asks() == s2s.SecureDNS {
		m.dns.SetDelay(l.RTT)
	}
	return nil
}

func (m *mesh) asks() s2s.ThirdParty {
	if m.arm.Federation.Asks == nil {
		return s2s.Nobody
	}
	return m.arm.Federation.Asks(m.arm.S2S)
}

// configure makes providers of the workers.
func (m *mesh) configure(ctx context.Context) error {
	variant, params := m.arm.Federation, m.arm.S2S
	if m.asks() == s2s.SecureDNS {
		m.dns.SetValidation(".", lab.Secure)
	}
	var partners []s2s.Partner
	for _, p := range m.providers {
		for w, address := range p.address {
			partners = append(partners, s2s.Partner{Name: p.name, Address: address, Domains: p.hosted[w]})
		}
	}
	all := make([]s2s.Credentials, len(m.providers))
	for i, p := range m.providers {
		var err error
		if all[i], err = m.ceremony.credentials(variant.Needs(params), p.name, p.domains, params.Revocation); err != nil {
			return err
		}
	}
	known, err := m.known(all)
	if err != nil {
		return err
	}
	for i, p := range m.providers {
		credentials := all[i]
		var listed []published
		for w := range p.workers {
			listed = append(listed, published{p.address[w], p.hosted[w]})
		}
		if err := m.ceremony.publish(m.dns, m.web, variant, params, p.name, listed); err != nil {
			return err
		}
		for w := range p.workers {
			p.configs = append(p.configs, s2s.ProviderConfig{
				Domains: p.hosted[w], Variant: variant.Name, Params: params, Credentials: restrict(credentials, p.hosted[w]),
				Secret: fmt.Sprintf("secret of %s, seed %d", p.name, m.plan.Seed), Partners: partners,
				Known: known, DNS: []string{m.dns.Addr()}, Via: p.via, Web: m.web.Addr(), WebPlain: m.web.PlainAddr(), WebRoots: m.ceremony.root.CertificatePEM(),
				Setup: m.fed.Limit, Idle: m.idle(), Piece: m.plan.Simulator.Piece, Queue: maxQueued,
			})
		}
		if err := p.each(func(w int, worker Worker) error {
			return worker.Call(ctx, workerFederate, p.configs[w], nil)
		}); err != nil {
			return fmt.Errorf("scenarios: provider %s: %w", letter(i), err)
		}
	}
	return nil
}

// known is what providers keep of proofs from streams before, where the variant goes
// by that: as if all of them had been connected yesterday.
func (m *mesh) known(all []s2s.Credentials) ([]s2s.Known, error) {
	if !m.arm.S2S.Remembers() {
		return nil, nil
	}
	var known []s2s.Known
	for i, holder := range m.providers {
		for j, verifier := range m.providers {
			if i == j {
				continue
			}
			from, err := m.ceremony.certificate(holder.name)
			if err != nil {
				return nil, err
			}
			to, err := m.ceremony.certificate(verifier.name)
			if err != nil {
				return nil, err
			}
			known = append(known, s2s.KnownOf(from, to, all[i].Proofs)...)
		}
	}
	return known, nil
}

// maxQueued is how many stanzas of one pair may wait: more than any load leaves there.
const maxQueued = 100_000

// idle is the idle time-out of the providers, none unless that is what is studied.
func (m *mesh) idle() time.Duration {
	if m.fed.Event == EventIdle {
		return m.fed.Idle
	}
	return 0
}

// restrict leaves a worker what belongs to its domains.
func restrict(c s2s.Credentials, domains []string) s2s.Credentials {
	keep := make(map[string]bool, len(domains))
	for _, d := range domains {
		keep[d] = true
	}
	c.Domains, c.Proofs = maps.Clone(c.Domains), maps.Clone(c.Proofs)
	maps.DeleteFunc(c.Domains, func(d string, _ s2s.KeyPair) bool { return !keep[d] })
	maps.DeleteFunc(c.Proofs, func(d string, _ s2s.Proof) bool { return !keep[d] })
	return c
}

// each runs f for every worker at once and returns the first error.
func (p *meshProvider) each(f func(w int, worker Worker) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(p.workers))
	for w, worker := range p.workers {
		wait.Go(func() { errs[w] = f(w, worker) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// each runs f for every worker of every provider at once.
func (m *mesh) each(f func(i, w int, worker Worker) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(m.providers))
	for i, p := range m.providers {
		wait.Go(func() { errs[i] = p.each(func(w int, worker Worker) error { return f(i, w, worker) }) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// close ends the mesh: the providers first, so that their streams end in order.
func (m *mesh) close(context.Context) error {
	errs := []error{m.each(func(_, _ int, worker Worker) error { return worker.Close() })}
	for _, l := range m.links {
		errs = append(errs, l.Close())
	}
	if m.dns != nil {
		errs = append(errs, m.dns.Close())
	}
	if m.web != nil {
		errs = append(errs, m.web.Close())
	}
	return errors.Join(errs...)
}

// steps is a cell from the first pair to the event.
func (m *mesh) steps(ctx context.Context, c *cell) error {
	if err := m.single(ctx, c); err != nil {
		return err
	}
	if err := m.renew(ctx); err != nil {
		return err
	}
	var err error
	if m.empty, err = m.read(ctx); err != nil {
		return err
	}
	pairs, err := m.bringUp(ctx, c)
	if err != nil {
		return err
	}
	if err := m.settle(ctx, c, pairs); err != nil {
		return err
	}
	if err := m.steady(ctx, c); err != nil {
		return err
	}
	return m.event(ctx, c)
}

// renew makes the mesh cold again: every provider as if it had just started.
func (m *mesh) renew(ctx context.Context) error {
	if err := m.each(func(_, _ int, worker Worker) error { return worker.Call(ctx, workerCrash, nil, nil) }); err != nil {
		return err
	}
	return m.each(func(i, w int, worker Worker) error {
		return worker.Call(ctx, workerRevive, m.providers[i].configs[w], nil)
	})
}

// single times the first pair of domains on a cold mesh, and a second one, of other
// domains where there are any.
func (m *mesh) single(ctx context.Context, c *cell) error {
	near, far := m.providers[0], m.second()
	pairs := []s2s.Pair{{From: near.hosted[0][0], To: far[0]}}
	if len(near.hosted[0]) > 1 || len(far) > 1 {
		pairs = append(pairs, s2s.Pair{From: near.hosted[0][len(near.hosted[0])-1], To: far[len(far)-1]})
	}
	rounds := m.arm.Federation.Rounds(m.arm.S2S)
	for i, p := range pairs {
		name, ready, echo := "pair.first", rounds.First, rounds.FirstEcho
		if i > 0 {
			name, ready, echo = "pair.further", rounds.Further, rounds.FurtherEcho
		}
		before := m.cpu()
		start := time.Now()
		var got brought
		err := near.workers[0].Call(ctx, workerBringUp, bringUp{Only: []s2s.Pair{p}, matrix: matrix{Users: m.users()}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit}, &got)
		if err != nil {
			return err
		}
		if err := m.judge(got); err != nil {
			if m.foreign != nil && !c.warmup || got.Errors["unspoken"] > 0 {
				return &skipError{got.First}
			}
			c.failed(ctx, name, start, err)
			return err
		}
		t := got.Trips[0]
		observe(c.sink, name, start, time.Duration(t.Ready))
		observe(c.sink, name+".echo", start, time.Duration(t.Echo))
		if len(pairs) == 2 || i == 0 {
			spent := m.cpu().since(before).sum()
			c.doubt(m.plan.Link.RTT, name, time.Duration(t.Ready), ready, spent)
			c.doubt(m.plan.Link.RTT, name+".echo", time.Duration(t.Echo), echo, spent)
		}
	}
	return nil
}

// observe records a step that was measured as a duration.
func observe(sink results.Sink, metric string, start time.Time, took time.Duration) {
	sink.Observe(results.Sample{Metric: metric, Intended: start, Start: start, End: start.Add(took)})
}

// doubt flags a time that is further from its closed form than a tenth of it and the
// CPU time that was spent meanwhile.
func (c *cell) doubt(rtt time.Duration, name string, took time.Duration, rounds int, spent time.Duration) {
	want := time.Duration(rounds) * rtt
	if want < minTheory || (took-want).Abs() <= want/10+spent {
		return
	}
	c.flags = append(c.flags, results.Flag{
		Kind: "theory", Severity: results.Warning,
		Text: fmt.Sprintf("%s of %s took %s: %d round trips of %s are %s, and both providers used %s of CPU time",
			name, c.arm.Label, took.Round(time.Millisecond), rounds, rtt, want, spent.Round(time.Millisecond)),
	})
}

// minTheory is the shortest time that is held against its closed form: below it the
// emulated link is not exact enough.
const minTheory = 20 * time.Millisecond

// judge returns why a bring-up failed, nil if it did not.
func (m *mesh) judge(b brought) error {
	if len(b.Errors) == 0 {
		return nil
	}
	var failed int64
	for _, n := range b.Errors {
		failed += n
	}
	return &meshError{failed: failed, of: len(b.Trips), kinds: b.Errors, first: b.First}
}

// meshError says that some pairs could not talk.
type meshError struct {
	failed int64
	of     int
	kinds  map[string]int64
	first  string
}

func (e *meshError) Error() string {
	return fmt.Sprintf("%d of %d pairs could not talk (%s); the first because of: %s", e.failed, e.of, strings.Join(slices.Sorted(maps.Keys(e.kinds)), ", "), e.first)
}

// Kind returns the class of the error for counting: that of most pairs.
func (e *meshError) Kind() string {
	most := ""
	for _, kind := range slices.Sorted(maps.Keys(e.kinds)) {
		if most == "" || e.kinds[kind] > e.kinds[most] {
			most = kind
		}
	}
	return most
}

// usage is the CPU time of providers so far, by provider; nil where it is not known.
type usage []time.Duration

func (m *mesh) cpu() usage {
	u := make(usage, len(m.providers))
	for i, p := range m.providers {
		for _, w := range p.workers {
			if w.PID() == 0 {
				return nil
			}
			d, err := proc.CPU(w.PID())
			if err != nil {
				return nil
			}
			u[i] += d
		}
	}
	if m.foreign != nil {
		if d, err := m.target.CPU(); err == nil {
			u = append(u, d)
		}
	}
	return u
}

// since returns what was used from before on.
func (u usage) since(before usage) usage {
	if u == nil || before == nil {
		return nil
	}
	out := make(usage, len(u))
	for i := range u {
		out[i] = u[i] - before[i]
	}
	return out
}

func (u usage) sum() time.Duration {
	var sum time.Duration
	for _, d := range u {
		sum += d
	}
	return sum
}

// senders are the providers at which traffic starts, each with the domains that it
// goes to: those of the providers after it.
func (m *mesh) senders(f func(p *meshProvider, to []string) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(m.providers))
	for i, p := range m.providers {
		var to []string
		for _, far := range m.providers[i+1:] {
			to = append(to, far.domains...)
		}
		if m.foreign != nil {
			to = m.second()
		}
		if len(to) > 0 {
			wait.Go(func() { errs[i] = f(p, to) })
		}
	}
	wait.Wait()
	return errors.Join(errs...)
}

// bringUp makes every pair talk, and returns those that did.
func (m *mesh) bringUp(ctx context.Context, c *cell) ([]s2s.Pair, error) {
	if m.fed.BringUp == BringUpLazy {
		return m.lazily(ctx, c)
	}
	before := m.cpu()
	start := time.Now()
	var (
		mu      sync.Mutex
		pairs   []s2s.Pair
		longest time.Duration
		failed  error
	)
	err := m.senders(func(p *meshProvider, to []string) error {
		return p.each(func(w int, worker Worker) error {
			b := bringUp{matrix: matrix{p.hosted[w], to, m.users()}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit}
			var got brought
			if err := worker.Call(ctx, workerBringUp, b, &got); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for i, t := range got.Trips {
				pairs = append(pairs, b.pair(i))
				if t.Ready >= 0 {
					observe(c.sink, "pair.ready", start, time.Duration(t.Ready))
				}
				if t.Echo >= 0 {
					observe(c.sink, "pair.echo", start, time.Duration(t.Echo))
				}
			}
			longest = max(longest, got.Elapsed)
			failed = errors.Join(failed, m.judge(got))
			return nil
		})
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		c.failed(ctx, "mesh", start, err)
		return nil, err
	}
	observe(c.sink, "mesh", start, longest)
	c.spend("cpu.mesh", m.cpu().since(before))
	return pairs, nil
}

// spend notes the CPU time of both ends of a mesh.
func (c *cell) spend(name string, u usage) {
	if u == nil {
		return
	}
	c.set(name, u.sum().Seconds())
	c.set(name+".a", u[0].Seconds())
	if len(u) > 1 {
		c.set(name+".b", u[1:].sum().Seconds())
	}
}

// lazily brings pairs up as traffic needs them.
func (m *mesh) lazily(ctx context.Context, c *cell) ([]s2s.Pair, error) {
	before := m.cpu()
	stats, err := m.load(ctx, c, load{metric: "echo", first: true, duration: m.fed.Traffic.Duration})
	if err != nil {
		return nil, err
	}
	c.spend("cpu.mesh", m.cpu().since(before))
	c.promise("echo", stats)
	c.set("pairs.open", float64(len(stats.Pairs)))
	if m.fed.Traffic.Matrix == MatrixUniform && len(m.providers) == 2 {
		c.set("pairs.expected", m.fed.expectedPairs())
	}
	return stats.Pairs, nil
}

// settle waits until counts stand still, holds them against the closed forms, and
// reads what the mesh holds.
func (m *mesh) settle(ctx context.Context, c *cell, pairs []s2s.Pair) error {
	if err := sleep(ctx, m.fed.Settle); err != nil {
		return err
	}
	if m.foreign != nil {
		return m.notice(ctx, c)
	}
	want := m.expected(pairs)
	got, err := m.figures(ctx, want)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if m.arm.S2S.Resumption && slices.Contains([]string{s2s.FigureFull, s2s.FigureSigned, s2s.FigureVerified}, name) {
			continue // how many sessions there are to resume depends on who comes first
		}
		c.count(metricOf(name), got[name], int64(want[name]))
	}
	if m.arm.S2S.Resumption {
		c.count("handshakes", got[s2s.FigureFull]+got[s2s.FigureResumed], int64(want[s2s.FigureFull]))
	}
	for figure, n := range got {
		if metric := metricOf(figure); metric != "" {
			c.set(metric, float64(n))
		}
	}
	return m.hold(ctx, c)
}

// metricOf is the metric that a figure of hosts is reported under, empty for none.
func metricOf(figure string) string {
	switch figure {
	case s2s.FigureAlive:
		return "connections"
	case s2s.FigureBytesOut:
		return "bytes.mesh"
	case s2s.FigureRawOut:
		return "bytes.mesh.tls"
	case s2s.FigureLookupsTLSA:
		return "lookups.tlsa"
	case s2s.FigureOpened, s2s.FigureFull, s2s.FigureResumed, s2s.FigureSigned, s2s.FigureVerified, s2s.FigureSASL, s2s.FigureResults,
		s2s.FigureVerifies, s2s.FigureAsserts, s2s.FigureProofs, s2s.FigureVerdicts, s2s.FigureFetches, s2s.FigureLookups, s2s.FigureKeys,
		s2s.FigureGlare, s2s.FigureUnauthorised:
		return figure
	}
	return ""
}

// expected is the closed form of the mesh for the pairs that had traffic.
func (m *mesh) expected(pairs []s2s.Pair) map[string]int {
	sum := make(map[string]int)
	place := m.places()
	between := make(map[[2]seat][]s2s.Pair)
	for _, p := range pairs {
		ends := [2]seat{place[p.From], place[p.To]}
		between[ends] = append(between[ends], p)
	}
	// Each two processes are a mesh of their own: they share neither streams nor what they know.
	for ends, pairs := range between {
		near, far := m.providers[ends[0].provider], m.providers[ends[1].provider]
		size := s2s.MeshOf(len(near.hosted[ends[0].worker]), len(far.hosted[ends[1].worker]), pairs, m.arm.S2S.Pool)
		for name, n := range m.arm.Federation.Counts(m.arm.S2S, size).Figures() {
			sum[name] += n
		}
		made, verified := m.arm.Federation.Signatures(m.arm.S2S, size, ownChain, ownerChain)
		sum[s2s.FigureSigned] += made
		sum[s2s.FigureVerified] += verified
	}
	// Keys are held once, whatever the number of peers.
	sum[s2s.FigureKeys] = 0
	for _, p := range m.providers {
		switch m.arm.Federation.Needs(m.arm.S2S) {
		case s2s.EachDomain:
			sum[s2s.FigureKeys] += len(p.domains)
		case s2s.OneForAll:
			sum[s2s.FigureKeys] += len(p.workers)
		case s2s.OwnOnly, s2s.Attributes, s2s.Nothing:
		}
	}
	return sum
}

// A seat is the process that hosts a domain.
type seat struct{ provider, worker int }

// places returns the seats of all domains.
func (m *mesh) places() map[string]seat {
	all := make(map[string]seat)
	for i, p := range m.providers {
		for w, domains := range p.hosted {
			for _, d := range domains {
				all[d] = seat{i, w}
			}
		}
	}
	return all
}

// figures returns the counts of all hosts. What is still on its way, as the end of a
// stream that has served its purpose, is waited for.
func (m *mesh) figures(ctx context.Context, want map[string]int) (s2s.Figures, error) {
	const patience = 50
	for attempt := 0; ; attempt++ {
		var mu sync.Mutex
		sum := make(s2s.Figures)
		err := m.each(func(_, _ int, worker Worker) error {
			var f s2s.Figures
			if err := worker.Call(ctx, workerFigures, nil, &f); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Add(f)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if sum[s2s.FigureAlive] == int64(want[s2s.FigureAlive]) || attempt == patience {
			return sum, nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// hold reads memory and descriptors of the standing mesh.
func (m *mesh) hold(ctx context.Context, c *cell) error {
	held, err := m.read(ctx)
	if err != nil || held == nil {
		return err
	}
	total := int64(0)
	for i, u := range held {
		side := ".b"
		if i == 0 {
			side = ".a"
		}
		c.set("rss"+side, c.scalars["rss"+side]+float64(u.RSS))
		c.set("fds"+side, c.scalars["fds"+side]+float64(u.Descriptors))
		total += u.RSS
		if m.empty != nil {
			total -= m.empty[i].RSS
		}
	}
	if n := c.scalars["connections"]; n >= fewConnections && m.empty != nil {
		c.set("rss.connection", float64(total)/n)
	}
	return nil
}

// fewConnections is the number of them below which the memory of one is not told from
// what a process takes and gives back by itself.
const fewConnections = 100

// read returns what the processes of each provider hold, after what nobody needs has
// been freed; nil where the sides cannot be told apart.
func (m *mesh) read(ctx context.Context) ([]proc.Figures, error) {
	if err := m.each(func(_, _ int, worker Worker) error { return worker.Call(ctx, workerFree, nil, nil) }); err != nil {
		return nil, err
	}
	all := make([]proc.Figures, len(m.providers))
	for i, p := range m.providers {
		for _, w := range p.workers {
			if w.PID() == 0 {
				return nil, nil
			}
			u, err := proc.Usage(w.PID())
			if errors.Is(err, proc.ErrUnavailable) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			all[i].RSS += u.RSS
			all[i].Descriptors += u.Descriptors
		}
	}
	return all, nil
}

// A load is traffic of the mesh as a whole.
type load struct {
	metric   string
	first    bool // of pairs, is timed apart
	spare    bool // the first pair
	duration time.Duration
}

// load sends messages from all senders, as the plan says.
func (m *mesh) load(ctx context.Context, c *cell, l load) (trafficStats, error) {
	var mu sync.Mutex
	var sum trafficStats
	t := m.fed.Traffic
	err := m.senders(func(p *meshProvider, to []string) error {
		return p.each(func(w int, worker Worker) error {
			var got trafficStats
			err := worker.Call(ctx, workerTraffic, traffic{
				matrix: matrix{p.hosted[w], to, m.users()}, Key: c.key, Metric: l.metric, Kind: t.Matrix, Zipf: t.Zipf,
				Rate: t.Rate * float64(len(p.hosted[w])) / float64(len(p.domains)), Arrivals: "poisson", Size: t.Size,
				Duration: l.duration, Drain: m.drain(), Seed: m.plan.Seed + uint64(w), Spare: l.spare && w == 0, First: l.first,
			}, &got)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(got)
			return nil
		})
	})
	if err != nil {
		return sum, err
	}
	return sum, m.collect(ctx, c)
}

// drain is how long echoes are waited for.
func (m *mesh) drain() time.Duration { return min(m.fed.Limit, 30*time.Second) }

func (s *trafficStats) add(t trafficStats) {
	s.Planned += t.Planned
	s.Answered += t.Answered
	s.Failed += t.Failed
	s.Unanswered += t.Unanswered
	s.Dropped += t.Dropped
	s.Pairs = append(s.Pairs, t.Pairs...)
}

// collect takes what workers have recorded over into the run.
func (m *mesh) collect(ctx context.Context, c *cell) error {
	return m.each(func(_, _ int, worker Worker) error {
		var d results.Delta
		if err := worker.Call(ctx, workerTake, nil, &d); err != nil {
			return err
		}
		if !c.warmup {
			c.recorder.Merge(d)
		}
		return nil
	})
}

// steady is the load of the standing mesh: alone, and beside what disturbs it.
func (m *mesh) steady(ctx context.Context, c *cell) error {
	t := m.fed.Traffic
	if t.Rate == 0 || t.Duration == 0 {
		return nil
	}
	if m.fed.BringUp != BringUpLazy {
		before := m.cpu()
		stats, err := m.load(ctx, c, load{metric: "echo", duration: t.Duration})
		if err != nil {
			return err
		}
		c.spend("cpu.steady", m.cpu().since(before))
		c.promise("echo", stats)
	}
	if m.fed.Bulk == 0 && m.fed.Noisy == 0 {
		return nil
	}
	var wait sync.WaitGroup
	var disturbed error
	wait.Go(func() { disturbed = m.disturb(ctx, c) })
	_, err := m.load(ctx, c, load{metric: "victim", spare: true, duration: t.Duration})
	wait.Wait()
	return errors.Join(err, disturbed, m.collect(ctx, c))
}

// promise notes what the self-check judges of a load.
func (c *cell) promise(metric string, stats trafficStats) {
	c.judge = metric
	c.figures.Planned, c.figures.Done, c.figures.Dropped = float64(stats.Planned), float64(stats.Answered), int64(stats.Dropped)
}

// disturb is the load of the first pair: bulk stanzas, or many small ones.
func (m *mesh) disturb(ctx context.Context, c *cell) error {
	near := m.providers[0]
	t := traffic{
		matrix: matrix{near.hosted[0][:1], m.second()[:1], m.users()}, Key: c.key, Metric: "", Kind: MatrixFull, Rate: m.fed.Noisy, Arrivals: "constant",
		Size: m.fed.Traffic.Size, Duration: m.fed.Traffic.Duration, Drain: m.drain(), Seed: m.plan.Seed,
	}
	if m.fed.Bulk > 0 {
		t.Metric, t.Size, t.Rate = "bulk", m.fed.Bulk, 1/m.fed.BulkEvery.Seconds()
	}
	return near.workers[0].Call(ctx, workerTraffic, t, nil)
}

// event lets happen to the mesh what the plan says.
func (m *mesh) event(ctx context.Context, c *cell) error {
	switch m.fed.Event {
	case EventIdle:
		return m.idleOut(ctx, c)
	case EventRestart:
		return m.restart(ctx, c)
	case EventAdd:
		return m.addDomain(ctx, c)
	}
	return nil
}

// again brings all pairs up once more and times them under a metric.
func (m *mesh) again(ctx context.Context, c *cell, metric string) error {
	start := time.Now()
	var failed error
	var mu sync.Mutex
	err := m.senders(func(p *meshProvider, to []string) error {
		return p.each(func(w int, worker Worker) error {
			var got brought
			b := bringUp{matrix: matrix{p.hosted[w], to, m.users()}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit}
			if err := worker.Call(ctx, workerBringUp, b, &got); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, t := range got.Trips {
				if t.Echo >= 0 {
					observe(c.sink, metric, start, time.Duration(t.Echo))
				}
			}
			failed = errors.Join(failed, m.judge(got))
			return nil
		})
	})
	if err == nil && failed != nil {
		err = failed
		c.failed(ctx, metric, start, err)
	}
	return err
}

// idleOut waits until streams without traffic are closed, and comes back with it.
func (m *mesh) idleOut(ctx context.Context, c *cell) error {
	if err := sleep(ctx, m.fed.Idle); err != nil {
		return err
	}
	got, err := m.figures(ctx, map[string]int{s2s.FigureAlive: 0})
	if err != nil {
		return err
	}
	c.count("connections.idle", got[s2s.FigureAlive], 0)
	return m.again(ctx, c, "reconnect")
}

// restart kills every provider but the first and lets everything come back at once.
func (m *mesh) restart(ctx context.Context, c *cell) error {
	far := m.providers[1:]
	for _, p := range far {
		if err := p.each(func(_ int, worker Worker) error { return worker.Call(ctx, workerCrash, nil, nil) }); err != nil {
			return err
		}
	}
	// What is sent before the loss is noticed is lost with the stream: that is no part of coming back.
	if err := m.alone(ctx, m.providers[0]); err != nil {
		return err
	}
	for _, p := range far {
		if err := p.each(func(w int, worker Worker) error { return worker.Call(ctx, workerRevive, p.configs[w], nil) }); err != nil {
			return err
		}
	}
	before := m.cpu()
	if err := m.again(ctx, c, "reconnect"); err != nil {
		return err
	}
	c.spend("cpu.reconnect", m.cpu().since(before))
	return nil
}

// alone waits until a provider has noticed that all of its streams are gone.
func (m *mesh) alone(ctx context.Context, p *meshProvider) error {
	for {
		var streams int64
		for _, worker := range p.workers {
			var f s2s.Figures
			if err := worker.Call(ctx, workerFigures, nil, &f); err != nil {
				return err
			}
			streams += f[s2s.FigureStreams]
		}
		if streams == 0 {
			return nil
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// addDomain adds a domain to the first provider of the live mesh, and makes it talk
// to every domain of the second.
func (m *mesh) addDomain(ctx context.Context, c *cell) error {
	start := time.Now()
	got, err := m.join(ctx, fmt.Sprintf("%s%d.test", letter(0), len(m.providers[0].domains)+1))
	if err != nil {
		return err
	}
	if err := m.judge(got); err != nil {
		c.failed(ctx, "pair.added", start, err)
		return err
	}
	for _, t := range got.Trips {
		observe(c.sink, "pair.added", start, time.Duration(t.Echo))
	}
	return nil
}

// join adds a domain to the first provider of the live mesh, and makes it talk to every
// domain of the second.
func (m *mesh) join(ctx context.Context, domain string) (got brought, err error) {
	near, far := m.providers[0], m.providers[1]
	variant, params := m.arm.Federation, m.arm.S2S
	credentials, err := m.ceremony.credentials(variant.Needs(params), near.name, append(slices.Clone(near.domains), domain), params.Revocation)
	if err != nil {
		return got, err
	}
	if err := m.ceremony.publish(m.dns, m.web, variant, params, near.name, []published{{near.address[0], []string{domain}}}); err != nil {
		return got, err
	}
	add := s2s.NewDomain{Domain: domain, All: credentials.All}
	if pair, ok := credentials.Domains[domain]; ok {
		add.Pair = &pair
	}
	if proof, ok := credentials.Proofs[domain]; ok {
		add.Proof = &proof
	}
	// Providers that know each other by configuration have to be told.
	if err := far.each(func(_ int, worker Worker) error {
		return worker.Call(ctx, workerTrust, trust{near.name, domain}, nil)
	}); err != nil {
		return got, err
	}
	if err := near.workers[0].Call(ctx, workerAdd, add, nil); err != nil {
		return got, err
	}
	return got, near.workers[0].Call(ctx, workerBringUp, bringUp{matrix: matrix{[]string{domain}, far.domains, nil}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit}, &got)
}
