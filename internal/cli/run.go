package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// runFlags are the options of the run command.
type runFlags struct {
	targets    []string
	variants   []string
	set        []string
	blocks     int
	seed       uint64
	aa         bool
	baseline   string
	out        string
	dryRun     bool
	inProcess  bool
	trace      string
	from       string
	allow      []string
	thresholds []string
	gates      gateFlags
	progress   string
}

func (a *app) run() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and report what it measured",
		Long: `Run a scenario: the name of a shipped one (see xmppbench list), a file, or "-"
for standard input. Every variant runs once in each block, in random order,
after one block that is discarded. The tables and verdicts go to standard
output, progress to standard error, and everything that was measured to a run
directory, which report and compare read later.

docs/scenarios.md describes scenario files, docs/targets.md target files, and
docs/method.md what the numbers mean.`,
		Example: `  xmppbench run roster-login
  xmppbench run roster-login --variants monolithic,chunked-push --blocks 6
  xmppbench run roster-login --target prosody.yaml --set 'roster.items=[1k,10k]'
  xmppbench run roster-login --set link.rtt=200ms --dry-run
  xmppbench run federation --set domains=50x50 --variants all`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			o := scenarios.Override{Set: f.set, Variants: f.variants, Baseline: f.baseline}
			if c.Flags().Changed("blocks") {
				o.Blocks = &f.blocks
			}
			if c.Flags().Changed("seed") {
				o.Seed = &f.seed
			}
			return a.runScenario(c.Context(), args, f, o)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.targets, "target", nil, "\"sim\" (the default) or a target `FILE`; several are compared block by block")
	flags.StringSliceVar(&f.variants, "variants", nil, "variants to run in place of the file's, the baseline first; \"all\" runs every one")
	flags.StringArrayVar(&f.set, "set", nil, "`KEY=VALUE` overrides a key of the scenario; a list is a dimension")
	flags.IntVar(&f.blocks, "blocks", 0, "number of measured blocks")
	flags.Uint64Var(&f.seed, "seed", 0, "what everything random follows from")
	flags.BoolVar(&f.aa, "aa", false, "run the baseline twice: a comparison that must find nothing")
	flags.StringVar(&f.baseline, "baseline", "", "`VARIANT` that the others are compared with")
	flags.StringArrayVar(&f.thresholds, "threshold", nil, "`EXPR` that must hold, such as 'ready p(99)<2s'; exit 99 if it does not, at once if it ends in abort, or abort after 10s")
	f.gates.register(flags)
	flags.StringVar(&f.out, "out", "", "run `DIR` to make (default runs/<time>-<scenario>-<id>)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print plans, expected counts and times, and connect to nothing")
	flags.BoolVar(&f.inProcess, "in-process", false, "simulator and link in this process; CPU is then not told apart")
	flags.StringVar(&f.trace, "trace", "", "`FILE` that gets the XML of both directions, secrets masked")
	flags.StringVar(&f.from, "from", "", "repeat the scenario of an earlier `RUN`, other options on top")
	flags.StringArrayVar(&f.allow, "allow", nil, "`HOST` outside of this machine that may be put under load")
	flags.StringVar(&f.progress, "progress", "auto", "auto, bar, plain or none")
	if err := c.RegisterFlagCompletionFunc("variants", variantNames); err != nil {
		panic("cli: " + err.Error()) // there is no such flag, or it has two
	}
	return c
}

// input is the scenario as it was given: enough to run it again.
type input struct {
	File      string             `json:"file"`
	Source    string             `json:"source"`
	Override  scenarios.Override `json:"override"`
	Options   runOptions         `json:"options,omitzero"`
	Effective []scenarios.Plan   `json:"plans"` // after defaults
}

// runOptions are the other options of a run that belong to what it measured, under
// their names on the command line.
type runOptions struct {
	Target    []string `json:"target,omitempty"`
	Threshold []string `json:"threshold,omitempty"`
	AA        bool     `json:"aa,omitempty"`
}

func (a *app) runScenario(ctx context.Context, args []string, f runFlags, o scenarios.Override) error {
	gates, err := f.gates.parse()
	if err != nil {
		return err
	}
	in, err := a.scenarioInput(args, f.from, o)
	if err != nil {
		return err
	}
	if len(f.targets) == 0 {
		f.targets = in.Options.Target
	}
	f.thresholds = append(in.Options.Threshold, f.thresholds...)
	f.aa = f.aa || in.Options.AA
	in.Options = runOptions{Target: f.targets, Threshold: f.thresholds, AA: f.aa}
	plans, err := scenarios.Parse(in.File, []byte(in.Source), in.Override)
	if err != nil {
		return err
	}
	if err := addThresholds(plans, f.thresholds); err != nil {
		return err
	}
	if err := checkGates(plans, gates, len(f.targets)); err != nil {
		return err
	}
	in.Effective = plans
	if err := checkProgress(f.progress); err != nil {
		return err
	}
	r := &runJob{app: a, flags: f, input: in, plans: plans, compare: results.CompareOptions{Gates: gates}}
	if gates != nil && len(plans[0].Arms) == 1 {
		r.compare.By = "target"
	}
	if r.targets, err = a.openTargets(f, r.started); err != nil {
		return err
	}
	if plans[0].Scenario == scenarios.CapacitySheet && (f.aa || len(r.targets) > 1) {
		return usage(errors.New("a capacity sheet is of one target, and compares nothing: give one --target, and no --aa"))
	}
	if f.aa && slices.ContainsFunc(plans, func(p scenarios.Plan) bool { return p.Hold.Grow }) {
		return usage(errors.New("with hold.grow the baseline cannot run twice: what it left behind would be booked on its repetition; leave --aa or hold.grow out"))
	}
	measured, err := scenarios.Measured(plans)
	if err != nil {
		return usage(err)
	}
	for _, p := range measured {
		if err := scenarios.CheckTargets(p, r.targets); err != nil {
			return err
		}
	}
	if f.dryRun {
		return a.dryRun(plans, r.targets, f.aa)
	}
	for _, p := range measured {
		if err := scenarios.CheckMachine(p); err != nil {
			return err
		}
	}
	return r.run(ctx)
}

// checkGates refuses, before the run, gates that it could never decide.
func checkGates(plans []scenarios.Plan, gates []results.Expr, targets int) error {
	for _, e := range gates {
		if len(plans[0].Arms) < 2 && targets < 2 {
			return usage(fmt.Errorf("--gate %q: there is nothing to compare: run several variants or targets, or compare this run with another one", e))
		}
		for _, p := range plans {
			if err := p.CheckGate(e); err != nil {
				return usage(fmt.Errorf("--gate: %w", err))
			}
		}
	}
	return nil
}

func checkProgress(mode string) error {
	if !slices.Contains([]string{"auto", "bar", "plain", "none"}, mode) {
		return usage(fmt.Errorf("--progress %q is not one of auto, bar, plain, none", mode))
	}
	return nil
}

func addThresholds(plans []scenarios.Plan, exprs []string) error {
	for _, text := range exprs {
		e, err := results.Parse(text)
		if err != nil {
			return usage(fmt.Errorf("--threshold: %w", err))
		}
		for i := range plans {
			if err := plans[i].AddThreshold(e); err != nil {
				return usage(fmt.Errorf("--threshold: %w", err))
			}
		}
	}
	return nil
}

// scenarioInput finds the text of the scenario: a shipped one, a file, standard
// input, or that of an earlier run.
func (a *app) scenarioInput(args []string, from string, o scenarios.Override) (input, error) {
	switch {
	case from != "" && len(args) > 0:
		return input{}, usage(errors.New("--from repeats the scenario of a run: name no other one"))
	case from != "":
		run, err := results.Open(from)
		if err != nil {
			return input{}, usage(err)
		}
		raw, err := json.Marshal(run.Manifest.Config)
		if err != nil {
			return input{}, err
		}
		var in input
		if err := json.Unmarshal(raw, &in); err != nil || in.Source == "" {
			return input{}, usage(fmt.Errorf("%s: its manifest holds no scenario to repeat", from))
		}
		in.Override.Set = append(in.Override.Set, o.Set...)
		if o.Variants != nil {
			in.Override.Variants = o.Variants
		}
		if o.Baseline != "" {
			in.Override.Baseline = o.Baseline
		}
		if o.Blocks != nil {
			in.Override.Blocks = o.Blocks
		}
		if o.Seed != nil {
			in.Override.Seed = o.Seed
		}
		return in, nil
	case len(args) == 0:
		return input{}, usage(fmt.Errorf("name a scenario, one of %s, or a file", strings.Join(scenarios.Names(), ", ")))
	}
	name := args[0]
	if _, ok := scenarios.Find(name); ok {
		source, err := scenarios.Shipped(name)
		return input{File: name + ".yaml", Source: string(source), Override: o}, err
	}
	source, err := a.readInput(name)
	if err != nil {
		return input{}, fmt.Errorf("%w; a shipped scenario is one of %s", err, strings.Join(scenarios.Names(), ", "))
	}
	if name == "-" {
		name = "<stdin>"
	}
	return input{File: name, Source: string(source), Override: o}, nil
}

// openTargets reads the target files; nothing is connected yet.
func (a *app) openTargets(f runFlags, started func(string, *proc.Child)) ([]scenarios.Targets, error) {
	names := f.targets
	if len(names) == 0 {
		names = []string{simName}
	}
	var all []scenarios.Targets
	for _, name := range names {
		if name == simName {
			all = append(all, simTargets{inProcess: f.inProcess, started: started})
			continue
		}
		file, err := a.targetFile(name)
		if err != nil {
			return nil, err
		}
		observer, err := file.Observer()
		if err != nil {
			return nil, usage(err)
		}
		all = append(all, scenarios.ServerTargets{File: file, Allow: f.allow, Observer: observer})
	}
	for i, t := range all {
		if slices.ContainsFunc(all[:i], func(o scenarios.Targets) bool { return o.Name() == t.Name() }) {
			return nil, usage(fmt.Errorf("--target %s stands twice: give the files different names", t.Name()))
		}
	}
	return all, nil
}

func (a *app) targetFile(name string) (*scenarios.TargetFile, error) {
	source, err := a.readInput(name)
	if err != nil {
		return nil, fmt.Errorf("--target: %w", err)
	}
	return scenarios.ParseTarget(name, source)
}

// runJob is one run under way.
type runJob struct {
	*app
	flags   runFlags
	input   input
	plans   []scenarios.Plan
	targets []scenarios.Targets
	compare results.CompareOptions // of the report

	mu       sync.Mutex
	children map[*proc.Child]string // roles
	results  *results.Writer
	sampler  *sampler
}

// started is told of every child process.
func (r *runJob) started(role string, c *proc.Child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children == nil {
		r.children = make(map[*proc.Child]string)
	}
	r.children[c] = role
	if r.results != nil {
		r.results.Process(results.Process{Role: role, PID: c.PID()})
	}
}

func (r *runJob) run(ctx context.Context) (err error) {
	scenario, _ := scenarios.Find(r.plans[0].Scenario)
	r.sampler = newSampler(r)
	defer r.sampler.close()
	m := r.manifest(scenario)
	if scenario.Name == scenarios.CapacitySheet {
		m.Plans, m.Variants, m.Baseline, m.Blocks = nil, nil, "", 0 // those of its parts are met on the way
	}
	record, err := r.record(ctx, m)
	if err != nil {
		return err
	}
	config := record.config
	shown := newProgress(r.flags.progress, r.stderr)
	config.Progress = shown.show
	var total time.Duration
	for _, p := range r.plans {
		total += p.Duration(r.flags.aa) * time.Duration(len(r.targets))
	}
	fmt.Fprintf(r.stderr, "%s: %s, about %s\n", scenario.Name, cells(r.plans, len(r.targets), r.flags.aa), roundDuration(total))

	var outcome scenarios.Outcome
	runErr := untilInterrupted(ctx, shown, func() (err error) {
		outcome, err = scenarios.Run(ctx, config)
		return err
	})
	status, reasons := judge(ctx, runErr, outcome)
	if err := record.close(ctx, runErr, status, reasons); err != nil {
		return err
	}
	return r.answer(ctx, record.dir, status, reasons, runErr, outcome)
}

// recording is a run directory that is being written, and the configuration of what
// writes it.
type recording struct {
	dir    string
	config scenarios.RunConfig
	traced func() error // ends the trace
}

// record makes the run directory. The sampler is the caller's, to be closed after it.
func (r *runJob) record(ctx context.Context, m results.Manifest) (recording, error) {
	dir := r.flags.out
	if dir == "" {
		dir = filepath.Join("runs", results.DirName(m.Scenario, time.Now()))
	}
	recorder := results.NewRecorder()
	writer, err := results.Create(dir, m, results.Options{
		Recorder: recorder, Figures: func() map[string]float64 { return r.sampler.sample(ctx) },
	})
	if err != nil {
		return recording{}, usage(fmt.Errorf("run directory: %w", err))
	}
	r.mu.Lock()
	r.results = writer
	r.mu.Unlock()

	config := scenarios.RunConfig{
		Plans: r.plans, Targets: r.targets, Shaper: linkShaper{inProcess: r.flags.inProcess, started: r.started},
		Workers: workerStarter{r.started}, Results: writer, Recorder: recorder, AA: r.flags.aa,
	}
	if r.flags.inProcess {
		config.Workers = scenarios.OwnWorkers{}
	}
	traced, err := r.openTrace(&config)
	if err != nil {
		return recording{}, errors.Join(err, writer.Close(results.StatusFailed, err.Error()))
	}
	return recording{dir, config, traced}, nil
}

// close ends the run directory. An error means that it is not what it should be.
func (r recording) close(ctx context.Context, runErr error, status results.Status, reasons []string) error {
	closeErr := errors.Join(r.traced(), r.config.Results.Close(status, reasons...))
	if closeErr == nil {
		return nil
	}
	err := errors.Join(runErr, closeErr)
	if ctx.Err() == nil {
		// What could not be written goes before all that the run says of itself.
		err = &exitError{ExitInternal, err}
	}
	return err
}

// untilInterrupted runs what shows its progress, and says so when an interrupt ends
// it.
func untilInterrupted(ctx context.Context, shown progress, run func() error) error {
	started := time.Now()
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		shown.note(time.Since(started), "interrupted: writing what was measured; again to leave at once")
	})
	err := run()
	if !stop() {
		<-told
	}
	shown.close()
	return err
}

// cells says in words what is going to happen.
func cells(plans []scenarios.Plan, targets int, aa bool) string {
	if plans[0].Scenario == scenarios.CapacitySheet {
		return "a set of measurements"
	}
	text := plural(len(plans[0].Arms), "variant")
	if aa {
		text += ", the baseline twice,"
	}
	text += fmt.Sprintf(" in %s and a warm-up block", plural(plans[0].Blocks, "block"))
	if len(plans) > 1 {
		text = plural(len(plans), "plan") + " of " + text
	}
	if targets > 1 {
		text += fmt.Sprintf(" at %d targets", targets)
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// judge turns the end of a run into its status.
func judge(ctx context.Context, err error, outcome scenarios.Outcome) (results.Status, []string) {
	var (
		invalid *bench.InvalidError
		broken  *scenarios.ThresholdError
		sheet   *scenarios.SheetError
	)
	switch {
	case ctx.Err() != nil:
		return results.StatusInterrupted, nil
	case errors.As(err, &sheet):
		// What was measured stands, whatever the rest was.
		return results.StatusFailed, []string{sheet.Error()}
	case errors.As(err, &broken):
		return results.StatusAborted, []string{broken.Error()}
	case errors.As(err, &invalid):
		return results.StatusInvalid, []string{invalid.Reason}
	case err != nil:
		return results.StatusFailed, []string{err.Error()}
	}
	var reasons []string
	for _, key := range slices.Sorted(maps.Keys(outcome.Failed)) {
		reasons = append(reasons, fmt.Sprintf("%s: %v", key, outcome.Failed[key]))
	}
	if reasons != nil {
		return results.StatusFailed, reasons
	}
	return results.StatusOK, nil
}

// answer prints what was measured and returns the error that makes the exit
// code.
func (r *runJob) answer(ctx context.Context, dir string, status results.Status, reasons []string, runErr error, outcome scenarios.Outcome) error {
	run, err := results.Open(dir)
	if err != nil {
		return errors.Join(runErr, err)
	}
	if runErr == nil || len(run.Blocks) > 0 {
		format := "text"
		if r.json {
			format = "json"
		}
		if err := results.Report(r.stdout, []*results.Run{run}, format, results.ReportOptions{Width: terminalWidth(r.stdout), Color: r.colored(r.stdout), Compare: r.compare}); err != nil {
			return errors.Join(runErr, err)
		}
	}
	fmt.Fprintf(r.stderr, "%s: %s\n", dir, status)
	switch {
	case ctx.Err() != nil:
		return &exitError{code: ExitInterrupted}
	case runErr != nil:
		return runErr
	case status == results.StatusFailed:
		return &exitError{ExitInternal, errors.New(strings.Join(reasons, "; "))}
	case len(outcome.Skipped) > 0 && len(outcome.Skipped) == r.arms():
		return &exitError{ExitUnreachable, errors.New("the target speaks none of the variants")}
	}
	if err := r.thresholds(run); err != nil {
		return err
	}
	if len(r.compare.Gates) == 0 {
		return nil
	}
	return r.flags.gates.judge(results.Compare([]*results.Run{run}, r.compare))
}

func (r *runJob) arms() int {
	n := 0
	for _, p := range r.plans {
		n += len(p.Arms) * len(r.targets)
	}
	return n
}

// thresholds judges the run by its thresholds.
func (r *runJob) thresholds(run *results.Run) error {
	var exprs []results.Expr
	for _, text := range r.plans[0].Thresholds {
		e, err := results.Parse(text)
		if err != nil {
			return err
		}
		exprs = append(exprs, e)
	}
	failed := false
	for _, o := range run.Thresholds(results.Metrics(), exprs...) {
		if o.State != results.Passed {
			failed = true
			fmt.Fprintln(r.stderr, "threshold:", o.Text)
		}
	}
	if failed {
		return &exitError{code: ExitThresholds}
	}
	return nil
}

func (r *runJob) manifest(scenario scenarios.Scenario) results.Manifest {
	first := r.plans[0]
	m := results.Manifest{
		Scenario: scenario.Name, Argv: os.Args, Config: r.input, Seeds: map[string]uint64{"seed": first.Seed},
		Baseline: first.Arms[0].Label, Primary: scenario.Primary(first), Alpha: scenarios.Alpha, Blocks: first.Blocks,
		Thresholds: first.Thresholds, Limits: first.Limits,
		Wire:      map[string]string{"xmppbench": strconv.Itoa(wire.WireVersion)},
		Processes: []results.Process{{Role: "generator", PID: os.Getpid()}},
	}
	for i, arm := range first.Arms {
		m.Variants = append(m.Variants, arm.Label)
		if i == 0 && r.flags.aa {
			m.Variants = append(m.Variants, arm.Label+results.AASuffix)
		}
	}
	for _, p := range r.plans {
		for _, t := range r.targets {
			plan := results.Plan{Name: scenarios.PlanName(p, t.Name(), len(r.targets)), Dimensions: maps.Clone(p.Dimensions), Stages: p.Stages()}
			if len(r.targets) > 1 {
				if plan.Dimensions == nil {
					plan.Dimensions = make(map[string]string)
				}
				plan.Dimensions["target"] = t.Name()
			}
			if p.Blocks != first.Blocks {
				plan.Blocks = p.Blocks
			}
			if p.Seed != first.Seed {
				plan.Seeds = map[string]uint64{"seed": p.Seed}
			}
			if p.Limits != first.Limits {
				plan.Limits = &p.Limits
			}
			m.Plans = append(m.Plans, plan)
		}
	}
	for _, t := range r.targets {
		info := results.TargetInfo{Name: t.Name(), Server: scenarios.SimulatorServer}
		if server, ok := t.(scenarios.ServerTargets); ok {
			info.Server = server.File.Server
			info.Details = map[string]string{"host": server.File.Connect.Host, "domains": strings.Join(server.File.Domains, " ")}
		}
		m.Targets = append(m.Targets, info)
	}
	if m.Link = linkOf(r.plans); m.Link != nil {
		what := "session"
		if scenario.Name == scenarios.FederationScenario {
			what = "two providers, shared by all their streams"
		}
		m.Notes = append(m.Notes, "The link is emulated in user space, one for each "+what+": no loss, no slow start, and TCP ends at the link on both sides.")
	}
	if slices.ContainsFunc(r.targets, func(t scenarios.Targets) bool { _, real := t.(scenarios.ServerTargets); return real }) {
		m.Notes = append(m.Notes, "Theory knows the link, not the time a server takes to answer nor what it writes ahead.")
	}
	for _, s := range first.Closed() {
		m.Notes = append(m.Notes, fmt.Sprintf("%s is a closed loop (%s): each worker begins anew when it has its answer, so a target that stalls is asked less, and the times understate the stall.", s.Key, s))
	}
	if scenario.Name == scenarios.RosterLogin && !first.Load.Rate.Any() {
		m.Notes = append(m.Notes,
			"Bytes, stanzas, round trips and CPU are those of the same retrieval past the link and without probes; times are those over the link.",
			"ready leaves out the planned wait for probes between login and request.")
	}
	return m
}

// linkOf describes the link of all plans, nil if none has one. What differs
// between them stands in their dimensions.
func linkOf(plans []scenarios.Plan) map[string]string {
	var all map[string]string
	for _, p := range plans {
		l := map[string]string{
			"rtt": p.Link.RTT.String(), "rate": bitRate(p.Link.Rate), "jitter": p.Link.Jitter.String(), "queue": linkQueue(p.Link.Queue),
		}
		if p.Link.Scheduling != "" {
			l["scheduling"] = p.Link.Scheduling
		}
		if all == nil {
			all = l
		}
		maps.DeleteFunc(all, func(k, v string) bool { return l[k] != v })
	}
	if !slices.ContainsFunc(plans, func(p scenarios.Plan) bool { return p.Link.Shaped() }) {
		return nil
	}
	return all
}

// bitRate writes the rate of a link as a scenario file does.
func bitRate(rate float64) string {
	if rate == 0 {
		return "unlimited"
	}
	return strconv.FormatFloat(rate/1e6, 'f', -1, 64) + "Mbit/s"
}

// linkQueue writes the queue of a link as a scenario file does.
func linkQueue(n int64) string {
	if n == 0 {
		return "auto"
	}
	return strconv.FormatInt(n, 10) + "B"
}

// openTrace opens the trace file and returns what closes it.
func (r *runJob) openTrace(c *scenarios.RunConfig) (func() error, error) {
	if r.flags.trace == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(r.flags.trace)
	if err != nil {
		return nil, usage(fmt.Errorf("--trace: %w", err))
	}
	start := time.Now()
	if r.plans[0].Scenario == scenarios.FederationScenario {
		// The XML passes in other processes, which append to the file.
		c.TraceFile, c.Epoch = r.flags.trace, start
		return f.Close, nil
	}
	var mu sync.Mutex
	w := bufio.NewWriter(f)
	c.Trace = func(stream uint64, out bool, b []byte) {
		side := "S"
		if out {
			side = "C"
		}
		mu.Lock()
		defer mu.Unlock()
		// A failed write shows when the buffer is flushed.
		_, _ = fmt.Fprintf(w, "%10.6f %d %s: %s\n", time.Since(start).Seconds(), stream, side, b)
	}
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		return errors.Join(w.Flush(), f.Close())
	}, nil
}
