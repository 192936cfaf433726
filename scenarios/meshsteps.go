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

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

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
	if err := m.event(ctx, c); err != nil {
		return err
	}
	m.judgeLinks(ctx, c)
	return nil
}

// judgeLinks notes how late the links delivered, for the self-check. One that
// cannot be asked any more shows in the next cell.
func (m *mesh) judgeLinks(ctx context.Context, c *cell) {
	for _, l := range m.links {
		stats, err := l.Stats(ctx)
		if err != nil {
			continue
		}
		h, err := results.DecodeHistogram(stats.Lateness.Histogram)
		if err != nil {
			continue
		}
		if c.figures.LinkLateness == nil {
			c.figures.LinkLateness, c.figures.LinkRTT = results.NewHistogram(), m.plan.Link.RTT
		}
		c.figures.LinkLateness.Merge(h)
	}
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
	rounds := m.arm.meshRounds()
	for i, p := range pairs {
		name := "pair.first"
		if i > 0 {
			name = "pair.further"
		}
		before := m.cpu()
		start := time.Now()
		var got brought
		err := near.workers[0].Call(ctx, workerBringUp, bringUp{Only: []s2s.Pair{p}, matrix: matrix{Users: m.users()}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit}, &got)
		if err != nil {
			return err
		}
		if err := got.failure(); err != nil {
			if m.foreign != nil && !c.warmup || got.Errors["unspoken"] > 0 {
				return &skipError{got.First}
			}
			c.failed(ctx, name, start, err)
			return err
		}
		t := got.Trips[0]
		sample(c.sink, name, start, time.Duration(t.Ready))
		sample(c.sink, name+".echo", start, time.Duration(t.Echo))
		spent := m.cpu().since(before).sum()
		c.doubt(m.plan.Link.RTT, name, time.Duration(t.Ready), rounds[name], spent)
		c.doubt(m.plan.Link.RTT, name+".echo", time.Duration(t.Echo), rounds[name+".echo"], spent)
	}
	return nil
}

// sample records a step that was measured as a duration.
func sample(sink results.Sink, metric string, start time.Time, took time.Duration) {
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

// failure returns why a bring-up failed, nil if it did not.
func (b brought) failure() error {
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

// allPairs asks every sender for so many messages and their echoes for each of its
// pairs, all pairs at once, and calls took, one call at a time, with what each worker was asked and did.
// failed says why pairs could not talk, err why workers could not be asked.
func (m *mesh) allPairs(ctx context.Context, messages int, took func(b bringUp, got brought)) (failed, err error) {
	var mu sync.Mutex
	err = m.senders(func(p *meshProvider, to []string) error {
		return p.each(func(w int, worker Worker) error {
			b := bringUp{matrix: matrix{p.hosted[w], to, m.users()}, Size: m.fed.Traffic.Size, Limit: m.fed.Limit, More: messages - 1}
			var got brought
			if err := worker.Call(ctx, workerBringUp, b, &got); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			took(b, got)
			failed = errors.Join(failed, got.failure())
			return nil
		})
	})
	return failed, err
}

// bringUp makes every pair talk, and returns those that did.
func (m *mesh) bringUp(ctx context.Context, c *cell) ([]s2s.Pair, error) {
	if m.fed.BringUp == BringUpLazy {
		return m.lazily(ctx, c)
	}
	before := m.cpu()
	start := time.Now()
	var (
		pairs   []s2s.Pair
		longest time.Duration
	)
	failed, err := m.allPairs(ctx, m.fed.messages(), func(b bringUp, got brought) {
		for i, t := range got.Trips {
			pairs = append(pairs, b.pair(i))
			if t.Ready >= 0 {
				sample(c.sink, "pair.ready", start, time.Duration(t.Ready))
			}
			if t.Echo >= 0 {
				sample(c.sink, "pair.echo", start, time.Duration(t.Echo))
			}
		}
		longest = max(longest, got.Elapsed)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		c.failed(ctx, "mesh", start, err)
		return nil, err
	}
	sample(c.sink, "mesh", start, longest)
	if longest > 0 {
		c.set("pairs.rate", float64(len(pairs))/longest.Seconds())
	}
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
