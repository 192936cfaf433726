package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// RunConfig says what is run, against what, and where the results go.
type RunConfig struct {
	Plans []Plan
	// Targets are the values of the dimension "target". With more than one, each
	// block runs every arm against every target.
	Targets []Targets
	Shaper  Shaper
	// Workers starts the processes of federating providers.
	Workers WorkerStarter
	Results *results.Writer
	// Recorder is the one that Results writes.
	Recorder *results.Recorder
	// block, where set, is shown every block.
	block func(results.Block)
	// budget, where set, is the time after which no block begins any more: each plan
	// makes as many of its blocks as its share of what is left allows, one at least.
	budget time.Duration
	// AA runs the baseline a second time under the name "<baseline>#aa": a
	// comparison that must not find a difference.
	AA bool
	// Progress, where set, is called when a cell begins, each second while it runs and
	// when it has ended, never concurrently.
	Progress func(Progress)
	// Trace, where set, sees the bytes of every stream, which is numbered from 1,
	// with secrets masked; out tells those written. It is called concurrently.
	Trace func(stream uint64, out bool, b []byte)
	// TraceFile, where set, is a file to which processes of providers append the XML
	// between them, with times from Epoch on.
	TraceFile string
	Epoch     time.Time
}

// Progress is the state of a run.
type Progress struct {
	Plan       string
	Warmup     bool
	Block      int // from 1
	Blocks     int
	Arm        string
	Cells      int           // ended so far, warm-up cells included
	TotalCells int           // of the run, as long as no block is repeated
	Elapsed    time.Duration // since the run began
	Expected   time.Duration // of the whole run, by theory at first and by experience later
	Note       string        // what was noticed, such as a skipped arm or a repeated block
	// Step, where set, names what runs in place of plan and block.
	Step string
	Live *Live // what the cell under way has measured so far, each second; nil where nothing is known
}

// arms returns what each block of the plan runs, the baseline's repetition
// included.
func (c RunConfig) arms(p Plan) []Arm {
	arms := slices.Clone(p.Arms)
	if c.AA {
		again := arms[0]
		again.Label += results.AASuffix
		arms = slices.Insert(arms, 1, again)
	}
	return arms
}

// Outcome is how a run ended, apart from errors that ended it early.
type Outcome struct {
	// Skipped maps "plan variant" to the reason why it could not run.
	Skipped map[string]string
	// Failed holds the arms without a single valid block, with the last error.
	Failed map[string]error
}

// Run carries out the plans, one after another. What it measures goes to
// c.Results as it is measured; the caller closes it. The error is, by errors.As,
// an [*UnreachableError] when a target could not be used from the start, a
// [*bench.InvalidError] when the generator could not keep its promise, a
// [*CountError] when a count differs from its closed form, a [*DigestError] when
// a roster is not the expected one, a [*ThresholdError] when a threshold ended the
// run, or the cause of ctx.
// An operation that fails in the middle of a run is counted and the run goes on.
func Run(ctx context.Context, c RunConfig) (Outcome, error) {
	if c.Plans[0].Scenario == CapacitySheet {
		return runSheet(ctx, c)
	}
	r := newRunner(c)
	for _, p := range c.Plans {
		cells := len(c.arms(p)) * len(c.Targets)
		r.total += cells * (p.Blocks + bench.DefaultWarmupBlocks)
		r.expected += p.Duration(c.AA) * time.Duration(len(c.Targets))
	}
	defer func() {
		for _, kind := range slices.Sorted(maps.Keys(r.warnings)) {
			c.Results.Flag(r.warnings[kind])
		}
	}()
	for i, p := range c.Plans {
		if c.budget > 0 {
			left := c.budget - time.Since(r.started)
			r.deadline = time.Now().Add(left / time.Duration(len(c.Plans)-i))
		}
		if err := r.plan(ctx, p); err != nil {
			return r.outcome, err
		}
	}
	return r.outcome, nil
}

// newRunner returns a runner that begins now.
func newRunner(c RunConfig) *runner {
	return &runner{
		RunConfig: c, started: time.Now(), warnings: make(map[string]results.Flag),
		outcome: Outcome{Skipped: make(map[string]string), Failed: make(map[string]error)},
		monitor: func() func() bench.Figures { return bench.StartMonitor().Stop },
	}
}

type runner struct {
	RunConfig
	started  time.Time
	deadline time.Time                   // of the plan; zero: none
	monitor  func() func() bench.Figures // begins to watch this process; what it returns tells what was seen since
	expected time.Duration
	total    int
	ended    int
	position int                     // of the next cell within its block
	attempts int                     // at blocks of the plan: each gets a number of its own
	attempt  []attempted             // what the attempt under way has recorded
	warnings map[string]results.Flag // the last of each kind; every block has its own
	outcome  Outcome
}

// attempted is what a booth has recorded in the attempt under way.
type attempted struct {
	booth *booth
	block results.Block
}

// A booth is one arm of a plan at one site.
type booth struct {
	label string // of the plan, the target included where there are several
	site  *site
	actor actor
	arm   Arm

	watch   *results.Watch // over the thresholds of the plan
	skipped string
	valid   int   // blocks
	failed  int   // blocks in which an operation failed
	err     error // of the last block
	lastErr error // of the last block that failed
}

func newBooth(label string, s *site, a actor, arm Arm) *booth {
	var watched []results.Expr
	if !strings.HasSuffix(arm.Label, results.AASuffix) {
		watched = s.plan.thresholds()
	}
	return &booth{label: label, site: s, actor: a, arm: arm, watch: results.NewWatch(watched...)}
}

func (r *runner) plan(ctx context.Context, p Plan) (err error) {
	scenario, ok := Find(p.Scenario)
	if !ok {
		return fmt.Errorf("scenarios: unknown scenario %q", p.Scenario)
	}
	var booths []*booth
	for _, targets := range r.Targets {
		s, err := openSite(ctx, p, targets, r.RunConfig)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		s.record(r.Results, PlanName(p, targets.Name(), len(r.Targets)), targets.Name())
		s.identify(ctx, r.Results)
		a, err := scenario.prepare(ctx, s)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &UnreachableError{Target: targets.Name(), Err: err}
		}
		defer func() {
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Login.StepLimit)
			defer cancel()
			err = errors.Join(err, a.close(closing))
		}()
		label := PlanName(p, targets.Name(), len(r.Targets))
		for _, arm := range r.arms(p) {
			booths = append(booths, newBooth(label, s, a, arm))
			if t, ok := s.theory(arm); ok && !strings.HasSuffix(arm.Label, results.AASuffix) {
				r.Results.Theory(results.Theory{Plan: label, Variant: arm.Label, Scalars: t, Timelines: p.theoryTimelines(arm)})
			}
		}
	}
	return r.blocks(ctx, p, booths)
}

// blocks runs the booths of a plan, block by block.
func (r *runner) blocks(ctx context.Context, p Plan, booths []*booth) error {
	r.attempts = 0
	repeat := p.Repeats
	if repeat == 0 {
		repeat = -1 // to bench, zero is the default
	}
	var names []string
	for _, b := range booths {
		names = append(names, b.arm.Label+" at "+b.site.about.Name)
	}
	err := bench.Blocks(ctx, bench.BlocksConfig{
		Arms: names, Blocks: p.Blocks, Seed: p.Seed, Repeat: repeat, Affords: r.affords(),
		After: func(b bench.BlockRun, err error) error { return r.after(ctx, b, err, booths) },
	}, func(ctx context.Context, b bench.BlockRun) error { return r.cell(ctx, p, b, booths[b.Arm]) })
	for _, b := range booths {
		key := b.label + " " + b.arm.Label
		if t, ok := b.actor.(theorist); ok {
			if scalars := t.bound(b.arm); scalars != nil {
				r.Results.Theory(results.Theory{Plan: b.label, Variant: b.arm.Label, Scalars: scalars})
			}
		}
		switch {
		case b.skipped != "":
			r.outcome.Skipped[key] = b.skipped
			r.Results.Block(results.Block{Key: results.Key{Plan: b.label, Variant: b.arm.Label}, Skipped: b.skipped})
		case b.valid == 0 && b.lastErr != nil:
			r.outcome.Failed[key] = b.lastErr
		case b.failed > 0:
			r.Results.Flag(results.Flag{
				Kind: "errors", Severity: results.Warning,
				Text: fmt.Sprintf("%d blocks of %s failed and are left out, at last: %v", b.failed, key, b.lastErr),
			})
		}
	}
	// Where in the blocks a target was lost is no news: that it was is.
	if unreachable, ok := errors.AsType[*UnreachableError](err); ok {
		return unreachable
	}
	if broken, ok := errors.AsType[*ThresholdError](err); ok {
		return broken
	}
	if err != nil {
		return err
	}
	for _, b := range booths {
		if few := b.watch.Few(); few != "" && b.skipped == "" {
			flag := results.Flag{Kind: "samples", Severity: results.Invalid, Text: few + " by " + b.label + " " + b.arm.Label}
			r.Results.Flag(flag)
			return &bench.InvalidError{Reason: flag.Text}
		}
	}
	return nil
}

// theorist is an actor whose theory of an arm needs what its blocks have measured: nil
// where they have not. It takes the place of what was expected before.
type theorist interface {
	bound(arm Arm) map[string]float64
}

// affords returns what tells whether there is time for one more block of a plan, by
// those that it has run; nil if it may take as long as it does.
func (r *runner) affords() func(block int) bool {
	if r.deadline.IsZero() {
		return nil
	}
	var began time.Time
	return func(block int) bool {
		if block == 0 {
			began = time.Now()
			return true
		}
		return time.Until(r.deadline) >= time.Since(began)/time.Duration(block)
	}
}

// PlanName is the label of a plan in results: with several targets, the target
// is one of its dimensions.
func PlanName(p Plan, target string, targets int) string {
	if targets < 2 {
		return p.Label
	}
	name := "target=" + labelText(target)
	if p.Label != allPlans {
		name = p.Label + "," + name
	}
	return name
}

// patience is how long to wait before an invalid block is repeated the first
// time; each further wait is three times as long. What makes a generator late is
// mostly other work on the machine, and that takes its time.
const patience = 2 * time.Second

// after notes a block that has to be repeated and gives the next attempt a
// number of its own, so that what an invalid block recorded stays apart.
func (r *runner) after(ctx context.Context, b bench.BlockRun, err error, booths []*booth) error {
	r.position = 0
	if b.Warmup {
		// A target where nothing works in the warm-up is not going to work later.
		for _, booth := range booths {
			if booth.err == nil {
				return nil
			}
		}
		return &UnreachableError{Target: booths[0].site.about.Name, Err: booths[0].err}
	}
	r.attempts++
	recorded := r.attempt
	r.attempt = nil
	plan := booths[0].site.plan
	invalid, ok := errors.AsType[*bench.InvalidError](err)
	if !ok {
		return nil
	}
	r.takeBack(recorded, booths[b.Arm].arm.Label)
	if b.Attempt >= plan.Repeats {
		return nil
	}
	r.Results.Event("repeat", invalid.Reason, map[string]string{"block": fmt.Sprint(b.Block + 1)})
	r.total += len(booths)
	wait := patience
	for range b.Attempt {
		wait *= 3
	}
	r.report(Progress{
		Plan: booths[0].label, Block: b.Block + 1, Blocks: plan.Blocks, Arm: booths[b.Arm].arm.Label,
		Note: fmt.Sprintf("block %d is repeated in %s: %s", b.Block+1, wait, invalid.Reason),
	})
	return sleep(ctx, wait)
}

// takeBack makes the cells of an attempt invalid that were well themselves: a
// block counts as a whole or not at all.
func (r *runner) takeBack(recorded []attempted, spoiler string) {
	for _, a := range recorded {
		if results.IsInvalid(a.block.Flags) {
			continue
		}
		if a.block.Valid {
			a.booth.valid--
		}
		a.block.Valid = false
		a.block.Flags = append(slices.Clone(a.block.Flags), results.Flag{
			Kind: "block", Severity: results.Invalid, Text: "the block runs again, since " + spoiler + " was invalid in it",
		})
		r.noteBlock(a.block)
	}
}

func (r *runner) cell(ctx context.Context, p Plan, b bench.BlockRun, booth *booth) error {
	progress := Progress{
		Plan: booth.label, Warmup: b.Warmup, Block: b.Block + 1, Blocks: p.Blocks, Arm: booth.arm.Label,
	}
	r.report(progress)
	if booth.skipped != "" {
		r.ended++
		return nil
	}
	key := results.Key{Plan: booth.label, Variant: booth.arm.Label, Block: r.attempts}
	c := &cell{arm: booth.arm, block: r.attempts, warmup: b.Warmup, sink: results.Discard{}, recorder: r.Recorder, key: key}
	if !b.Warmup {
		c.sink = r.Recorder.Sink(key)
	}
	booth.site.tell = func(text string) {
		now := progress
		now.Note = text
		r.report(now)
	}
	booth.site.attend(ctx)
	started := time.Now()
	seen := r.monitor()
	running, watched := r.guard(ctx, booth, key, progress)
	err := booth.actor.cell(running, c)
	broken := watched()
	r.ended++
	defer func() { r.position++ }()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrong, ok := errors.AsType[*DigestError](err); ok {
		return wrong
	}
	// What cannot be reached any more will not come back for the next cell.
	if gone, ok := errors.AsType[*UnreachableError](err); ok {
		if !b.Warmup {
			r.block(key, started, c, r.Recorder.Total(key), c.flags, err)
		}
		return gone
	}
	if broken != nil {
		// That it was ended is why the cell failed, and nothing else may be.
		err = nil
		c.judge = broken.Expr.Metric
	}
	if err != nil {
		progress.Note = fmt.Sprintf("%s: %v", booth.arm.Label, err)
		r.Results.Event("error", err.Error(), map[string]string{"plan": booth.label, "variant": booth.arm.Label})
	}
	booth.err = err
	if err != nil && !b.Warmup {
		booth.failed++
		booth.lastErr = err
	}
	if c.skipped != "" {
		booth.skipped = c.skipped
		progress.Note = booth.arm.Label + " is skipped: " + c.skipped
	}
	if b.Warmup || c.skipped != "" {
		r.report(progress)
		return r.checkCounts(booth, c, b.Warmup)
	}
	total := r.Recorder.Total(key)
	if timings := total.Metrics[c.judge]; timings != nil {
		c.figures.Response, c.figures.Lateness = timings.Of(results.Response), timings.Of(results.Lateness)
	}
	c.figures.Clamped = total.Clamped()
	booth.site.observe(ctx, &c.figures, seen())
	flags := append(results.Check(p.Limits, c.figures), c.flags...)
	if broken != nil && !results.IsInvalid(flags) {
		r.aborted(started, c, total, flags, broken)
		return broken
	}
	block := r.block(key, started, c, total, flags, err)
	r.attempt = append(r.attempt, attempted{booth, block})
	if block.Valid {
		booth.valid++
		booth.watch.Add(total, block.Scalars)
	}
	r.report(progress)
	if err := r.checkCounts(booth, c, false); err != nil {
		return err
	}
	if results.IsInvalid(flags) {
		return &bench.InvalidError{Reason: firstInvalid(flags)}
	}
	if e, text, ok := booth.watch.Broken(time.Now(), results.Snapshot{}); ok {
		broken := &ThresholdError{Expr: e, Plan: booth.label, Variant: booth.arm.Label, After: time.Since(r.started), Text: text}
		r.noteAbort(key, broken)
		return broken
	}
	return nil
}

// noteBlock writes a block, or takes one back.
func (r *runner) noteBlock(b results.Block) {
	r.Results.Block(b)
	if r.RunConfig.block != nil {
		r.RunConfig.block(b)
	}
}

// block records what a cell found, and returns it as it was written.
func (r *runner) block(key results.Key, started time.Time, c *cell, total results.Snapshot, flags []results.Flag, err error) results.Block {
	scalars := total.Scalars()
	for name, v := range c.scalars {
		scalars[name] = v
	}
	block := results.Block{
		Key: key, Order: r.position, Start: started, End: time.Now(), Valid: err == nil && !results.IsInvalid(flags),
		Flags: flags, Scalars: scalars, Errors: total.Errors(),
	}
	if !c.from.IsZero() {
		block.Start, block.End = c.from, c.to
	}
	r.noteBlock(block)
	for _, t := range c.timelines {
		t.Key = key
		r.Results.Timeline(t)
	}
	for _, f := range flags {
		if f.Severity == results.Warning {
			r.warnings[f.Kind] = f
		}
	}
	return block
}

// checkCounts holds the exact counts of a cell against their closed forms.
func (r *runner) checkCounts(booth *booth, c *cell, warmup bool) error {
	for _, n := range c.counts {
		n.Plan = booth.label
		if !warmup && r.Results.Count(n) {
			continue
		}
		if n.Counted != n.Expected {
			return &CountError{Name: n.Name, Plan: n.Plan, Variant: n.Variant, Counted: int64(n.Counted), Expected: int64(n.Expected)}
		}
	}
	return nil
}

func firstInvalid(flags []results.Flag) string {
	for _, f := range flags {
		if f.Severity == results.Invalid {
			return f.Text
		}
	}
	return ""
}

func (r *runner) report(p Progress) {
	if r.Progress == nil {
		return
	}
	p.Cells, p.TotalCells = r.ended, r.total
	p.Elapsed = time.Since(r.started)
	p.Expected = max(r.expected, p.Elapsed)
	if r.ended > 2 {
		p.Expected = p.Elapsed * time.Duration(r.total) / time.Duration(r.ended)
	}
	r.Progress(p)
}
