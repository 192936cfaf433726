package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A mesh is the providers of one cell, with what lies between them.
type mesh struct {
	*federates
	arm       Arm
	fed       Federation
	dns       *lab.DNS
	web       *lab.Web
	providers []*meshProvider
	links     []SharedRelay
	empty     []holding // what providers hold without a connection; nil where that is not known
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
			err = errors.Join(err, m.close())
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

// letter names the i-th provider in host names of domains and processes.
func letter(i int) string { return string(rune('a' + i)) } // #nosec G115 -- providers are at most 16

// madeUp returns the names of n domains of the i-th provider.
func madeUp(i, n int) []string {
	names := make([]string, 0, n)
	for d := range n {
		names = append(names, domainName(i, d+1))
	}
	return names
}

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
		worker, err := m.starter.Start(ctx, m.worker(fmt.Sprintf("127.0.%d.%d:0", providerNet+i, w+1), fmt.Sprintf("%s%d", letter(i), w)))
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

// worker is a worker that listens at an address and is called by a label in a trace.
func (m *mesh) worker(listen, label string) WorkerConfig {
	return WorkerConfig{Listen: listen, Trace: m.traceFile, Label: label, Epoch: m.epoch}
}

// providerNet is the third number of the first provider's addresses.
const providerNet = 20

// connect puts a link between each two providers, and before the web server.
func (m *mesh) connect(ctx context.Context) error {
	if !m.plan.Link.Shaped() {
		return nil
	}
	params := m.plan.Link.Params()
	params.Seed = m.plan.Seed
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
		c := link.Config{Params: link.Params{RTT: m.plan.Link.RTT}, Routes: []link.Route{
			{Listen: "127.0.0.1:0", Dial: m.web.Addr()}, {Listen: "127.0.0.1:0", Dial: m.web.PlainAddr()},
		}}
		if err := add(c, []map[string]string{p.via, p.via}); err != nil {
			return err
		}
	}
	if m.arm.asks() == s2s.SecureDNS {
		m.dns.SetDelay(m.plan.Link.RTT)
	}
	return nil
}

// asks is the third party that providers ask about each other.
func (a Arm) asks() s2s.ThirdParty {
	if a.Federation.Asks == nil {
		return s2s.Nobody
	}
	return a.Federation.Asks(a.S2S)
}

// configure makes providers of the workers.
func (m *mesh) configure(ctx context.Context) error {
	variant, params := m.arm.Federation, m.arm.S2S
	if m.arm.asks() == s2s.SecureDNS {
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
		if err := m.ceremony.publish(m.dns, m.web, m.arm, p.name, listed); err != nil {
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

// close ends the mesh: the providers first, so that their streams end in order. Each of
// them bounds its own end.
func (m *mesh) close() error {
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
