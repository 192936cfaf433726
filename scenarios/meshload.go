package scenarios

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

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
				Duration: l.duration, Drain: m.drain(), Seed: m.plan.Seed + uint64(w), Spare: l.spare && w == 0, First: l.first, // #nosec G115 -- w is an index
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
	c.figures.Planned, c.figures.Done, c.figures.Dropped = float64(stats.Planned), float64(stats.Answered), int64(stats.Dropped) // #nosec G115 -- a count, far below
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
