package scenarios

import (
	"context"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

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
	failed, err := m.allPairs(ctx, 1, func(_ bringUp, got brought) {
		for _, t := range got.Trips {
			if t.Echo >= 0 {
				sample(c.sink, metric, start, time.Duration(t.Echo))
			}
		}
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
	got, err := m.join(ctx, domainName(0, len(m.providers[0].domains)+1))
	if err != nil {
		return err
	}
	if err := got.failure(); err != nil {
		c.failed(ctx, "pair.added", start, err)
		return err
	}
	for _, t := range got.Trips {
		sample(c.sink, "pair.added", start, time.Duration(t.Echo))
	}
	return nil
}

// join adds a domain to the first provider of the live mesh, and makes it talk to every
// domain of the second.
func (m *mesh) join(ctx context.Context, domain string) (got brought, err error) {
	near, far := m.providers[0], m.providers[1]
	params := m.arm.S2S
	credentials, err := m.ceremony.credentials(m.arm.Federation.Needs(params), near.name, append(slices.Clone(near.domains), domain), params.Revocation)
	if err != nil {
		return got, err
	}
	if err := m.ceremony.publish(m.dns, m.web, m.arm, near.name, []published{{near.address[0], []string{domain}}}); err != nil {
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
