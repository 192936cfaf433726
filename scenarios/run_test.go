package scenarios

import (
	"context"
	"errors"
	"maps"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig starts a simulator in this process for each plan. What it says of the
// rosters, and what it refuses, can be bent.
type rig struct {
	variants []string             // on offer; nil: all
	wrong    bool                 // expect one contact more in each roster
	strange  bool                 // expect the rosters of other accounts
	password string               // that accounts log in with, if not their own
	connect  func() (err error)   // called for every connection
	cpu      func() time.Duration // clock of the server; nil: it has none
	config   func(*simulator.Config)
}

func (rig) Name() string { return "lab" }

func (l rig) Open(ctx context.Context, p Plan) (Target, error) {
	c := population.Config{Seed: p.Seed, Domains: []string{"lab.test"}, Accounts: p.Accounts, Contacts: p.Roster.Items, ItemBytes: p.Roster.ItemBytes}
	pop, err := population.New(c)
	if err != nil {
		return nil, err
	}
	security := map[string]simulator.Security{"starttls": simulator.StartTLS, "direct": simulator.DirectTLS, "none": simulator.Plaintext}[p.Login.TLS]
	config := simulator.Config{
		Listeners: []simulator.Listener{{Address: "127.0.0.1:0", Security: security}}, Populations: []population.Config{c},
		Roster: roster.Settings{Variants: l.variants}, Presence: simulator.Presence{Online: p.Simulator.Online},
	}
	if l.config != nil {
		l.config(&config)
		// Clients are told of as many accounts as the plan has, whatever exists.
		c.Domains = config.Populations[0].Domains
		if pop, err = population.New(c); err != nil {
			return nil, err
		}
	}
	s, err := simulator.Start(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, err
	}
	return &labTarget{rig: l, pop: pop, sim: s}, nil
}

type labTarget struct {
	rig
	pop *population.Population
	sim *simulator.Simulator
}

func (t *labTarget) Describe() Description {
	address := t.sim.Addrs()[0].String()
	return Description{
		Name: "lab", Server: "simulator", Domains: t.pop.Config().Domains, Accounts: t.pop.Accounts(), Endpoint: address, DirectTLS: address,
		Roots: t.sim.CA(), Simulated: t.variants == nil,
	}
}

func (t *labTarget) Dial(ctx context.Context, _ string, _ bool) (net.Conn, error) {
	if t.connect != nil {
		if err := t.connect(); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.sim.Addrs()[0].String())
}

func (t *labTarget) Account(i int) population.Account {
	a := t.pop.Account(i)
	if t.password != "" {
		a.Password = t.password
	}
	return a
}

func (t *labTarget) Expected(i int) (population.Digest, bool) {
	if t.strange {
		i++
	}
	d := t.pop.Expected(i)
	if t.wrong {
		d.Add(population.Item{JID: "nobody@lab.test"})
	}
	return d, true
}

func (t *labTarget) Control(ctx context.Context, method string, in, out any) error {
	if method == controlFreeMemory {
		return nil
	}
	return t.sim.Control(ctx, method, in, out)
}

func (t *labTarget) CPU() (time.Duration, error) {
	if t.cpu == nil {
		return 0, proc.ErrUnavailable
	}
	return t.cpu(), nil
}

func (t *labTarget) Observe(context.Context) (observe.Reading, error) {
	return observe.Reading{}, proc.ErrUnavailable
}

func (t *labTarget) Close() error { return t.sim.Close(context.Background()) }

// shaper runs links in this process.
type shaper struct{}

func (shaper) Shape(ctx context.Context, l Link, endpoint string) (Relay, error) {
	r, err := link.Start(context.WithoutCancel(ctx), link.Config{
		Params: link.Params{RTT: l.RTT, Rate: int64(l.Rate)}, Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: endpoint}},
	})
	if err != nil {
		return nil, err
	}
	return relayed{r}, nil
}

func (shaper) Share(ctx context.Context, c link.Config) (SharedRelay, error) {
	r, err := link.Start(context.WithoutCancel(ctx), c)
	if err != nil {
		return nil, err
	}
	return relayed{r}, nil
}

type relayed struct{ relay *link.Relay }

func (r relayed) Addresses() []string { return r.relay.Addrs() }

func (r relayed) Address() string { return r.relay.Addrs()[0] }

func (r relayed) Close() error { return r.relay.Close() }

func (r relayed) Stats(context.Context) (link.Stats, error) { return r.relay.Stats() }

// quick makes a plan small, and forgiving towards the machine that tests run on.
const quick = `
accounts: 3
roster: {items: 25}
probe: {every: 2ms, before: 4ms, after: 4ms}
limits: {lateness-floor: 1m, rate-shortfall: 1}
`

// carryOut runs a scenario and returns the run as it was written.
func carryOut(t *testing.T, source string, o Override, targets ...Targets) (*results.Run, Outcome, error) {
	t.Helper()
	plans, err := Parse("test.yaml", []byte(source), o)
	if err != nil {
		t.Fatal(err)
	}
	return carryOutPlans(t, plans, targets...)
}

func carryOutPlans(t *testing.T, plans []Plan, targets ...Targets) (*results.Run, Outcome, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	recorder := results.NewRecorder()
	w, err := results.Create(dir, results.Manifest{Scenario: plans[0].Scenario}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	outcome, runErr := Run(ctx, RunConfig{Plans: plans, Targets: targets, Shaper: shaper{}, Workers: OwnWorkers{}, Results: w, Recorder: recorder})
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run, outcome, runErr
}

// TestRosterLogin runs one-shot cells: every variant side by side, and single ones
// in every circumstance.
func TestRosterLogin(t *testing.T) {
	const all = 8 // blocks, as many as the number of variants needs
	tests := []struct {
		name, source string
		variants     []string
		blocks       int
	}{
		{"every variant", quick, []string{"all"}, all},
		{"link", quick + "link: {rtt: 2ms, rate: 50Mbit/s}\n", []string{"chunked-push"}, 1},
		{"direct TLS, stream management", quick + "login: {tls: direct, sm: true}\n", []string{"monolithic"}, 1},
		{"in clear, PLAIN", quick + "login: {tls: none, sasl: PLAIN}\n", []string{"monolithic"}, 1},
		{"presence while the roster arrives", quick + "presence: {send: during, quiet: 20ms}\nsimulator: {online: 0.5}\n", []string{"chunked-pull"}, 1},
		{"presence afterwards", quick + "presence: {send: after, quiet: 20ms}\n", []string{"monolithic"}, 1},
		{"stale, differences", quick + "variants: {variant: versioned, state: stale, diff: true, changes: 3}\n", nil, 1},
		{"stale, all again", quick + "variants: {variant: versioned, state: stale, changes: 3}\n", nil, 1},
		{"cut, push goes on", quick + "variants: {variant: chunked-push, chunk: 3}\ncut: {at: 0.5}\n", nil, 1},
		{"cut, push goes on as pull", quick + "variants: {variant: chunked-push, chunk: 3}\ncut: {at: 0.5, continue: other}\n", nil, 1},
		{"cut, pull goes on as push", quick + "variants: {variant: chunked-pull, chunk: 3}\ncut: {at: 0.7, continue: other}\nlogin: {tls: none}\n", nil, 1},
		{"cut, all again", strings.Replace(quick, "25", "100", 1) + "cut: {at: 0.5}\n", []string{"monolithic"}, 1},
		{"delta", quick + "variants: {variant: chunked-push, state: stale, changes: 3}\n", nil, 1},
		{"nothing new", quick + "variants: {variant: chunked-pull, state: unchanged}\n", nil, 1},
		{"no probes", "probe: {every: 0s}\nroster: {items: 25}\n", []string{"monolithic"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run, outcome, err := carryOut(t, "scenario: roster-login\n"+tt.source, Override{Variants: tt.variants, Blocks: &tt.blocks}, rig{})
			if err != nil {
				t.Fatal(err)
			}
			if len(outcome.Skipped) > 0 || len(outcome.Failed) > 0 {
				t.Errorf("skipped %v, failed %v", outcome.Skipped, outcome.Failed)
			}
			blocks := make(map[string]int)
			for _, b := range run.Blocks {
				if !b.Valid {
					t.Errorf("block %d of %s is not valid: %v %v", b.Block, b.Variant, b.Flags, b.Errors)
				}
				blocks[b.Variant]++
				for _, scalar := range []string{"ready.mean", "roster.complete.mean", "bytes.in", "stanzas", "round-trips"} {
					if b.Scalars[scalar] <= 0 {
						t.Errorf("%s: %s is %v", b.Variant, scalar, b.Scalars[scalar])
					}
				}
				if b.Scalars["ready.mean"] < b.Scalars["roster.complete.mean"] {
					t.Errorf("%s: ready before the roster", b.Variant)
				}
			}
			for v, n := range blocks {
				if n != tt.blocks {
					t.Errorf("%s ran in %d blocks of %d", v, n, tt.blocks)
				}
			}
			if tt.variants != nil && tt.variants[0] == "all" && len(blocks) != len(roster.Variants()) {
				t.Errorf("%d variants ran of %d", len(blocks), len(roster.Variants()))
			}
			for _, c := range run.Counts {
				if !c.Equal {
					t.Errorf("%+v", c)
				}
			}
			checkTimelines(t, run)
		})
	}
}

// checkTimelines holds the pings of each block against what its histograms made of those
// that were due while the roster arrived.
func checkTimelines(t *testing.T, run *results.Run) {
	t.Helper()
	slowest := make(map[results.Key]float64)
	for _, l := range run.Timelines {
		for _, p := range l.Points {
			if l.Metric == "probe" && p[0] >= 0 {
				slowest[l.Key] = max(slowest[l.Key], p[1])
			}
		}
	}
	for _, b := range run.Blocks {
		if want := b.Scalars["probe.max"]; want > slowest[b.Key]*1.002+1e-6 {
			t.Errorf("the slowest ping of %v took %vs, and its timeline has none over %vs", b.Key, want, slowest[b.Key])
		}
	}
}

// TestSkippedVariants runs against a server that speaks nothing new.
func TestSkippedVariants(t *testing.T) {
	t.Parallel()
	run, outcome, err := carryOut(t, "scenario: roster-login\n"+quick, Override{Variants: []string{"all"}, Blocks: new(8)}, rig{variants: []string{"monolithic"}})
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[string]string{"rsm": "ignored", "rsm-index": "ignored", "chunked-push": "refused", "chunked-pull": "refused"} {
		if got := outcome.Skipped["all "+v]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: skipped %q, want %s", v, got, want)
		}
		if !slices.ContainsFunc(run.Blocks, func(b results.Block) bool { return b.Variant == v && b.Skipped != "" }) {
			t.Errorf("%s: no line in blocks.jsonl says why it was skipped", v)
		}
	}
	if got := slices.Sorted(maps.Keys(outcome.Failed)); len(got) > 0 {
		t.Errorf("failed: %v", got)
	}
}

// TestTargets compares two targets block by block.
func TestTargets(t *testing.T) {
	t.Parallel()
	run, _, err := carryOut(t, "scenario: roster-login\n"+quick, Override{Variants: []string{"monolithic"}, Blocks: new(2)}, rig{}, named{rig{}, "other"})
	if err != nil {
		t.Fatal(err)
	}
	plans := make(map[string]int)
	for _, b := range run.Blocks {
		plans[b.Plan]++
	}
	if plans["target=lab"] != 2 || plans["target=other"] != 2 {
		t.Errorf("blocks by plan: %v, want 2 for each target", plans)
	}
}

type named struct {
	rig
	name string
}

func (n named) Name() string { return n.name }

func TestRunErrors(t *testing.T) {
	t.Parallel()
	one := Override{Variants: []string{"monolithic"}, Blocks: new(6)}
	t.Run("wrong roster", func(t *testing.T) {
		_, _, err := carryOut(t, "scenario: roster-login\n"+quick, one, rig{wrong: true})
		if wrong, ok := errors.AsType[*CountError](err); !ok || wrong.Counted != 25 || wrong.Expected != 26 {
			t.Errorf("error %v, want a CountError of 25 against 26", err)
		}
	})
	t.Run("strange roster", func(t *testing.T) {
		for _, source := range []string{
			"scenario: roster-login\n" + quick,
			"scenario: login-storm\nroster: {items: 25}\nload: {rate: 20/s, warmup: 0s, duration: 200ms, cooldown: 0s}\n",
		} {
			_, _, err := carryOut(t, source, one, rig{strange: true})
			if wrong, ok := errors.AsType[*DigestError](err); !ok || wrong.Items != 25 || wrong.Got == wrong.Want {
				t.Errorf("error %v, want a DigestError of 25 items", err)
			}
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		_, _, err := carryOut(t, "scenario: roster-login\n"+quick, one, rig{password: "guess"})
		if _, ok := errors.AsType[*UnreachableError](err); !ok || !strings.Contains(err.Error(), "not-authorized") {
			t.Errorf("error %v, want not-authorized at the target", err)
		}
	})
	t.Run("refused in the middle", func(t *testing.T) {
		n := 0
		refuse := errors.New("refused")
		run, outcome, err := carryOut(t, "scenario: roster-login\nprobe: {every: 0s}\nroster: {items: 25}\n", one, rig{connect: func() error {
			if n++; n == 5 {
				return refuse
			}
			return nil
		}})
		if err != nil || len(outcome.Failed) > 0 {
			t.Errorf("error %v, failed %v: one refused connection must cost one block", err, outcome.Failed)
		}
		valid := 0
		for _, b := range run.Blocks {
			if b.Valid {
				valid++
			}
		}
		if valid != 5 {
			t.Errorf("%d valid blocks, want 5 of 6", valid)
		}
	})
	t.Run("late generator", func(t *testing.T) {
		source := "scenario: roster-login\nroster: {items: 25}\nprobe: {every: 1ms, before: 5ms, after: 5ms}\nlimits: {lateness-floor: 0s, lateness-share: 0}\n"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		plans, err := Parse("test.yaml", []byte(source), one)
		if err != nil {
			t.Fatal(err)
		}
		w, err := results.Create(filepath.Join(t.TempDir(), "run"), results.Manifest{}, results.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close(results.StatusInterrupted)
		repeated := false
		_, err = Run(ctx, RunConfig{
			Plans: plans, Targets: []Targets{rig{}}, Shaper: shaper{}, Workers: OwnWorkers{}, Results: w, Recorder: results.NewRecorder(),
			Progress: func(p Progress) {
				if strings.Contains(p.Note, "is repeated in") {
					repeated = true
					cancel() // the wait before the repetition ends at once
				}
			},
		})
		if !repeated || !errors.Is(err, context.Canceled) {
			t.Errorf("repeated %v, error %v: a late block must be repeated", repeated, err)
		}
	})
}

// TestInvalidBlockIsTakenBack ends an attempt whose last cell is invalid: the
// others do not count either.
func TestInvalidBlockIsTakenBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	w, err := results.Create(dir, results.Manifest{}, results.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(RunConfig{Results: w, Recorder: results.NewRecorder()})
	flags := map[string][]results.Flag{"late": {{Kind: "lateness", Severity: results.Invalid, Text: "late"}}}
	var booths []*booth
	for _, label := range []string{"well", "late"} {
		b := &booth{label: "all", arm: Arm{Label: label}, site: &site{}}
		if label == "well" {
			b.valid = 1
		}
		booths = append(booths, b)
		c := &cell{arm: b.arm}
		block := r.block(results.Key{Plan: "all", Variant: label}, time.Now(), c, results.Snapshot{}, flags[label], nil)
		r.attempt = append(r.attempt, attempted{b, block})
	}
	if err := r.after(t.Context(), bench.BlockRun{Arm: 1}, &bench.InvalidError{Reason: "late"}, booths); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Blocks) != 2 || run.Blocks[0].Valid || run.Blocks[1].Valid || booths[0].valid != 0 {
		t.Errorf("blocks %+v, %d of the first arm count", run.Blocks, booths[0].valid)
	}
}

// TestPrices divides the CPU time of the server by what it was used for.
func TestPrices(t *testing.T) {
	const used = 0.005 // seconds between two looks at the clock
	for _, tt := range []struct {
		name, source string
		scalar       string
		want         func(scalars map[string]float64) float64
	}{
		{"roster", "scenario: roster-login\nroster: {items: 1250}\nprobe: {every: 0s}\n", "cpu.items", func(map[string]float64) float64 { return used / 1.25 }},
		{"roster too small for a price", "scenario: roster-login\nroster: {items: 999}\nprobe: {every: 0s}\n", "cpu.items", nil},
		{"nothing that was whole", "scenario: roster-login\nroster: {items: 1250}\nprobe: {every: 0s}\nvariants: {variant: versioned, state: unchanged}\n", "cpu.items", nil},
		{
			"storm", "scenario: login-storm\naccounts: 20\nroster: {items: 10}\nload: {rate: 40/s, warmup: 250ms, duration: 500ms, cooldown: 0s}\nlimits: {lateness-floor: 1m, rate-shortfall: 1}\n", "cpu.login",
			func(s map[string]float64) float64 { return s["cpu.server"] / s["logins"] },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var looks atomic.Int64
			clock := func() time.Duration { return time.Duration(float64(looks.Add(1)) * used * float64(time.Second)) }
			override := Override{}
			if !strings.Contains(tt.source, "variants") {
				override.Variants = []string{"monolithic"}
			}
			run, _, err := carryOut(t, tt.source+"blocks: 1\n", override, rig{cpu: clock})
			if err != nil {
				t.Fatal(err)
			}
			scalars := run.Blocks[0].Scalars
			got, ok := scalars[tt.scalar]
			switch {
			case scalars["cpu.server"] <= 0:
				t.Errorf("scalars %v", scalars)
			case tt.want == nil && ok:
				t.Errorf("%s is %v, there is nothing to divide by", tt.scalar, got)
			case tt.want != nil && (!ok || math.Abs(got/tt.want(scalars)-1) > 1e-6):
				t.Errorf("%s is %v, want %v", tt.scalar, got, tt.want(scalars))
			}
			if tt.scalar == "cpu.login" && scalars["cpu.server"] >= used {
				t.Errorf("%v s for the measured logins, %v s were used for those of the warm-up too", scalars["cpu.server"], used)
			}
		})
	}
}

func TestLoginStorm(t *testing.T) {
	for _, load := range []string{
		"rate: 40/s, warmup: 200ms, duration: 1s, cooldown: 100ms",
		"rate: 'ramp 0->40/s in 200ms, hold 1s, ramp 40->0/s in 100ms'",
		"rate: closed 2, warmup: 0s, duration: 1s, cooldown: 100ms", // on a slow machine a warm-up might outlast the window
	} {
		t.Run(load, func(t *testing.T) {
			t.Parallel()
			source := "scenario: login-storm\naccounts: 20\nroster: {items: 10}\nload: {" + load + "}\nblocks: 1\nlogin: {verify: 5}\nlimits: {lateness-floor: 1m, rate-shortfall: 1}\n"
			run, _, err := carryOut(t, source, Override{}, rig{})
			if err != nil {
				t.Fatal(err)
			}
			b := run.Blocks[0]
			if b.Scalars["logins"] == 0 || b.Scalars["logins.failed"] != 0 || b.Scalars["ready.n"] != b.Scalars["logins"] {
				t.Errorf("scalars %v", b.Scalars)
			}
			if got := run.Elapsed(results.Filter{}); got.Round(time.Millisecond) != time.Second {
				t.Errorf("rates are taken over %v, the measured window is 1 s", got)
			}
			if closed := strings.Contains(load, "closed"); closed != (b.Plan == "load.rate=closed_2") {
				t.Errorf("the plan is called %s", b.Plan)
			}
		})
	}
}

func TestPushStorm(t *testing.T) {
	t.Parallel()
	source := "scenario: roster-push-storm\nroster: {items: 10}\npush: {resources: 3, rate: 50/s}\nload: {duration: 500ms}\nblocks: 1\nlimits: {lateness-floor: 1m, rate-shortfall: 1}\n"
	run, _, err := carryOut(t, source, Override{}, rig{})
	if err != nil {
		t.Fatal(err)
	}
	b := run.Blocks[0]
	if b.Scalars["changes"] == 0 || b.Scalars["pushes"] != 3*b.Scalars["changes"] || b.Scalars["push.n"] != b.Scalars["pushes"] {
		t.Errorf("scalars %v", b.Scalars)
	}
}

func TestIdleCost(t *testing.T) {
	run, _, err := carryOut(t, "scenario: idle-cost\naccounts: 5\nroster: {items: 3}\nhold: {sessions: 20, settle: 1ms}\nblocks: 1\n", Override{}, rig{})
	if err != nil {
		t.Fatal(err)
	}
	if b := run.Blocks[0]; b.Scalars["sessions"] != 20 || b.Scalars["fds.client"] < 20 {
		t.Errorf("scalars %v", b.Scalars)
	}
}

// Sessions that are kept make each block hold more than the one before, and none is
// logged in twice.
func TestIdleCostGrows(t *testing.T) {
	run, _, err := carryOut(t, "scenario: idle-cost\naccounts: 5\nroster: {items: 3}\nhold: {sessions: 20, settle: 1ms, grow: true}\nblocks: 4\n", Override{}, rig{})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range run.Blocks {
		if b.Scalars["sessions"] != float64(5*(i+1)) || b.Scalars["fds.client"] < float64(5*(i+1)) {
			t.Errorf("block %d: scalars %v", i, b.Scalars)
		}
	}
}

// TestTheory holds the estimates of a plan against what is known of it.
func TestTheory(t *testing.T) {
	source, err := Shipped(RosterLogin)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Parse("roster-login.yaml", source, Override{})
	if err != nil {
		t.Fatal(err)
	}
	p := plans[0]
	for tls, want := range map[string]int{"starttls": 9, "direct": 7, "none": 6} {
		p.Login.TLS = tls
		if got := p.loginRoundTrips(); got != want {
			t.Errorf("%s: %d round trips of a login, want %d", tls, got, want)
		}
	}
	for _, arm := range plans[0].Arms {
		theory, ok := plans[0].Theory(arm)
		if !ok {
			t.Fatalf("%s: no theory", arm.Label)
		}
		if theory["roster.complete.mean"] < 0.05 || theory["probe.mean"] < 0.05 || theory["probe.max"] < theory["probe.mean"] {
			t.Errorf("%s: %v", arm.Label, theory)
		}
	}
}

// TestEstimates holds what a plan is going to take against what it takes: the
// warm-up block of a load is a single login.
func TestEstimates(t *testing.T) {
	tests := []struct {
		name, source string
		connections  int
		took         time.Duration // 0: not told
		theory       bool
	}{
		{"one-shot cells", "scenario: roster-login\nlink: {rtt: 50ms}\nblocks: 2\n", 6, 0, true},
		{"cut", "scenario: roster-login\nlink: {rtt: 50ms}\nblocks: 2\ncut: {at: 0.5}\n", 9, 0, false},
		{"primed", "scenario: roster-login\nvariants: versioned\nblocks: 2\n", 12, 0, false},
		{"logins at a rate", "scenario: login-storm\nload: {rate: 10/s, warmup: 1s, duration: 3s, cooldown: 1s}\nblocks: 2\n", 101, 10*time.Second + overhead, false},
		{"idle sessions", "scenario: idle-cost\nhold: {sessions: 1k, settle: 2s}\nblocks: 2\n", 2001, 10*time.Second + overhead, false},
		{"idle sessions that stay", "scenario: idle-cost\nhold: {sessions: 1k, settle: 2s, grow: true}\nblocks: 2\n", 1001, 5*time.Second + overhead, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plans, err := Parse("test.yaml", []byte(tt.source), Override{})
			if err != nil {
				t.Fatal(err)
			}
			e := plans[0].Estimates()[0]
			if e.Connections != tt.connections || e.Handshakes != tt.connections || (e.Theory != nil) != tt.theory {
				t.Errorf("%+v, want %d connections, theory %v", e, tt.connections, tt.theory)
			}
			if tt.took > 0 && (e.Duration != tt.took || plans[0].Duration(false) != tt.took || plans[0].Duration(true) != 2*tt.took) {
				t.Errorf("takes %v, want %v", e.Duration, tt.took)
			}
		})
	}
}
