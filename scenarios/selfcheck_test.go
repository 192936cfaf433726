package scenarios

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/results"
)

// An actorFunc is an actor whose cells are given.
type actorFunc func(ctx context.Context, c *cell) error

func (f actorFunc) cell(ctx context.Context, c *cell) error { return f(ctx, c) }
func (actorFunc) close(context.Context) error               { return nil }

// lateRelay is a link that has delivered late.
type lateRelay struct{ *results.Histogram }

func (lateRelay) Address() string { return "" }
func (lateRelay) Close() error    { return nil }
func (l lateRelay) Stats(context.Context) (link.Stats, error) {
	text, err := l.Encode()
	return link.Stats{Lateness: link.Lateness{Histogram: text}}, err
}

// far is a target that is not on this machine.
type far struct{ Target }

func (far) Describe() Description {
	return Description{Name: "far", Endpoint: net.JoinHostPort("192.0.2.1", "5222")}
}

// runCells runs the blocks of a plan whose cells are given, without a server, and
// returns the run as it was written.
func runCells(t *testing.T, change func(*runner, *site), p Plan, cell actorFunc) (*results.Run, Outcome, error) {
	t.Helper()
	recorder := results.NewRecorder()
	dir := filepath.Join(t.TempDir(), "run")
	w, err := results.Create(dir, results.Manifest{Scenario: p.Scenario, Limits: p.Limits}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{plan: p, about: far{}.Describe()}
	r := newRunner(RunConfig{Plans: []Plan{p}, Results: w, Recorder: recorder})
	r.monitor = func() func() bench.Figures { return func() bench.Figures { return bench.Figures{} } }
	if change != nil {
		change(r, s)
	}
	var booths []*booth
	for _, arm := range p.Arms {
		booths = append(booths, newBooth(p.Label, s, cell, arm))
	}
	runErr := r.blocks(t.Context(), p, booths)
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run, r.outcome, runErr
}

// parsed is the first plan of a scenario.
func parsed(t *testing.T, source string) Plan {
	t.Helper()
	plans, err := Parse("test.yaml", []byte(source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	return plans[0]
}

// TestEveryFlag lets each figure of the self-check pass its limit in a cell, and
// wants it in the block's flags: those that invalidate end the run, the others
// stand beside its figures. With the limit raised in the scenario file there is no
// flag.
func TestEveryFlag(t *testing.T) {
	sample := func(c *cell, late, took time.Duration) {
		due := time.Now()
		for range 1000 {
			c.sink.Observe(results.Sample{Metric: "ready", Intended: due, Start: due.Add(late), End: due.Add(late + took)})
		}
	}
	machine := func(f bench.Figures) func(*runner, *site) {
		return func(r *runner, _ *site) {
			r.monitor = func() func() bench.Figures { return func() bench.Figures { return f } }
		}
	}
	relay := lateRelay{results.NewHistogram()}
	for _, tt := range []struct {
		kind     string
		severity results.Severity
		raised   string // limits that admit it
		change   func(*runner, *site)
		cell     func(*cell)
	}{
		{"lateness", results.Invalid, "lateness-floor: 1m", nil, func(c *cell) { sample(c, 20*time.Millisecond, time.Millisecond) }},
		{"dropped", results.Invalid, "dropped: 1", nil, func(c *cell) { c.figures.Dropped = 1 }},
		{"rate", results.Invalid, "rate-shortfall: 0.5", nil, func(c *cell) { c.figures.Planned, c.figures.Done = 1000, 600 }},
		{"clamped", results.Invalid, "clamped: 1000", nil, func(c *cell) {
			sample(c, 0, time.Millisecond)
			c.sink.Observe(results.Sample{Metric: "login", End: time.Unix(0, 0)}) // from the year 1 on
		}},
		{"cpu", results.Warning, "generator-cpu: 1", machine(bench.Figures{CPU: new(9 * time.Second), Elapsed: 5 * time.Second, Processors: 2}), nil},
		{"gc", results.Warning, "gc: 100", machine(bench.Figures{GCPauseMax: time.Millisecond}), func(c *cell) { sample(c, 0, time.Millisecond) }},
		{"scheduling", results.Warning, "scheduling: 100", machine(bench.Figures{SchedulingMax: time.Millisecond}), func(c *cell) { sample(c, 0, time.Millisecond) }},
		{"pressure", results.Warning, "pressure: 1", machine(bench.Figures{Pressure: new(0.5)}), nil},
		{"steal", results.Warning, "steal: 1", machine(bench.Figures{Steal: new(0.5)}), nil},
		{"link", results.Warning, "link: 1", func(_ *runner, s *site) { s.relay = relay }, func(*cell) { relay.Record(5*time.Millisecond, 1000) }},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			for _, limits := range []string{"repeats: 0", "repeats: 0, " + tt.raised} {
				p := parsed(t, "scenario: login-storm\nload: {rate: 100/s}\nlink: {rtt: 20ms}\nblocks: 1\nlimits: {"+limits+"}\n")
				run, _, err := runCells(t, tt.change, p, func(_ context.Context, c *cell) error {
					c.judge = "ready"
					if tt.cell != nil && !c.warmup {
						tt.cell(c)
					}
					return nil
				})
				raised := limits != "repeats: 0"
				var invalid *bench.InvalidError
				if want := tt.severity == results.Invalid && !raised; errors.As(err, &invalid) != want {
					t.Errorf("limits %s: error %v, want an invalid run: %v", limits, err, want)
				}
				if err != nil && invalid == nil {
					t.Fatal(err)
				}
				flags := run.Blocks[0].Flags
				flagged := slices.ContainsFunc(flags, func(f results.Flag) bool { return f.Kind == tt.kind && f.Severity == tt.severity })
				if flagged == raised || raised && len(flags) > 0 {
					t.Errorf("limits %s: flags %+v", limits, flags)
				}
				if run.Blocks[0].Valid != (err == nil) {
					t.Errorf("limits %s: the block counts: %v", limits, run.Blocks[0].Valid)
				}
				if invalid != nil && !strings.Contains(invalid.Error(), flags[0].Text) {
					t.Errorf("the run says %q, its block %q", invalid, flags[0].Text)
				}
			}
		})
	}
}

// TestLinkIsJudgedByCells lets a link deliver late in the first of three blocks: the others
// hold nothing against it.
func TestLinkIsJudgedByCells(t *testing.T) {
	relay := lateRelay{results.NewHistogram()}
	p := parsed(t, "scenario: login-storm\nload: {rate: 100/s}\nlink: {rtt: 20ms}\nblocks: 3\n")
	late := 5 * time.Millisecond
	run, _, err := runCells(t, func(_ *runner, s *site) { s.relay = relay }, p, func(_ context.Context, c *cell) error {
		if !c.warmup {
			relay.Record(late, 1000)
			late = time.Microsecond
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range run.Blocks {
		if flagged := slices.ContainsFunc(b.Flags, func(f results.Flag) bool { return f.Kind == "link" }); flagged != (i == 0) {
			t.Errorf("block %d has flags %+v", i+1, b.Flags)
		}
	}
}

// TestInvalidBlocksAreRepeated runs a generator that is late once, and one that
// always is: blocks are repeated after waits that grow, three times at most.
func TestInvalidBlocksAreRepeated(t *testing.T) {
	for _, tt := range []struct {
		name   string
		late   int // attempts
		waits  time.Duration
		blocks int // attempts on record, valid ones
		valid  int
	}{
		{"once", 1, 2 * time.Second, 2, 1},
		{"three times", 3, (2 + 6 + 18) * time.Second, 4, 1},
		{"always", 100, (2 + 6 + 18) * time.Second, 4, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parsed(t, "scenario: roster-login\nvariants: [monolithic]\nblocks: 1\n")
			synctest.Test(t, func(t *testing.T) {
				began, attempts := time.Now(), 0
				run, _, err := runCells(t, nil, p, func(_ context.Context, c *cell) error {
					if c.warmup {
						return nil
					}
					if attempts++; attempts <= tt.late {
						c.figures.Dropped = 1
					}
					return nil
				})
				var invalid *bench.InvalidError
				if always := tt.valid == 0; errors.As(err, &invalid) != always || always && invalid.Attempts != 4 {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took != tt.waits {
					t.Errorf("took %s, want the waits alone: %s", took, tt.waits)
				}
				valid := 0
				for _, b := range run.Blocks {
					if b.Valid {
						valid++
					}
				}
				if len(run.Blocks) != tt.blocks || valid != tt.valid {
					t.Errorf("%d attempts on record, %d valid; want %d and %d", len(run.Blocks), valid, tt.blocks, tt.valid)
				}
			})
		})
	}
}
