package scenarios

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

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
	for name := range want {
		c.set(metricOf(name), 0) // none is a number too
	}
	c.report(got)
	c.set(metricPairs, float64(len(pairs)))
	c.set(metricDomains, float64(talking(pairs)))
	return m.hold(ctx, c)
}

// talking counts the domains of pairs.
func talking(pairs []s2s.Pair) int {
	seen := make(map[string]bool)
	for _, p := range pairs {
		seen[p.From], seen[p.To] = true, true
	}
	return len(seen)
}

// report sets the metrics of what hosts have counted.
func (c *cell) report(got s2s.Figures) {
	for figure, n := range got {
		if metric := metricOf(figure); metric != "" {
			c.set(metric, float64(n))
		}
	}
}

// metricOf is the metric that a figure of hosts is reported under, empty for none.
func metricOf(figure string) string {
	switch figure {
	case s2s.FigureAlive:
		return "connections"
	case s2s.FigureBytesOut:
		return "bytes.mesh"
	case s2s.FigureStanzasOut:
		return "messages"
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
		size.Lazy = m.fed.BringUp == BringUpLazy
		for name, n := range m.arm.Federation.Counts(m.arm.S2S, size).Figures() {
			sum[name] += n
		}
		made, verified := m.arm.Federation.Signatures(m.arm.S2S, size, ownChain, ownerChain)
		if made != s2s.Undetermined {
			sum[s2s.FigureSigned] += made
			sum[s2s.FigureVerified] += verified
		}
	}
	if m.fed.BringUp != BringUpLazy {
		sum[s2s.FigureStanzasOut] = 2 * m.fed.messages() * len(pairs) // and their echoes
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
// stream that has served its purpose, is waited for, and so is the writer of a stanza
// that was read before it could count it.
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
		quiet := sum[s2s.FigureAlive] == int64(want[s2s.FigureAlive]) && sum[s2s.FigureStanzasOut] >= sum[s2s.FigureStanzasIn]
		if quiet || attempt == patience {
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
		c.set("heap"+side, c.scalars["heap"+side]+float64(u.heap))
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

// holding is what the processes of a provider hold.
type holding struct {
	proc.Figures
	heap uint64 // bytes alive on the heap
}

// read returns what the processes of each provider hold, after what nobody needs has
// been freed; nil where the sides cannot be told apart.
func (m *mesh) read(ctx context.Context) ([]holding, error) {
	all := make([]holding, len(m.providers))
	var mu sync.Mutex
	err := m.each(func(i, _ int, worker Worker) error {
		var used uint64
		err := worker.Call(ctx, workerFree, nil, &used)
		mu.Lock()
		defer mu.Unlock()
		all[i].heap += used
		return err
	})
	if err != nil {
		return nil, err
	}
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
