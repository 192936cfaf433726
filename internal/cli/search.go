package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// searchFlags are the options of the search command besides those that it shares
// with run.
type searchFlags struct {
	run             runFlags
	slo             []string
	over            string
	start, min, max string
	tolerance       float64
	repeat          int
	window          time.Duration
	curve           int
	budget          time.Duration
}

func (a *app) search() *cobra.Command {
	var f searchFlags
	c := &cobra.Command{
		Use:   "search SCENARIO --slo EXPR",
		Short: "Find the highest load that keeps an SLO",
		Long: `Find the highest level of one key of a scenario, by default its rate, at which the
target keeps an SLO: the level doubles until it fails, the bracket is bisected,
and a longer run confirms the winner. A level fails as well when over 1 % of its
operations fail, when less than 98 % of the planned rate is achieved, or when its
backlog grows. A level at which the generator could not keep its promise neither
holds nor fails: it is repeated, and at last the search ends without an answer.

Several searches give a median and a range. Levels below the one found are run in
the end, so that a report can draw response against load.

docs/method.md says what the number means and what it does not.`,
		Example: `  xmppbench search login-storm --slo 'ready p(99)<2s'
  xmppbench search login-storm --slo 'ready p(99)<2s' --target prosody.yaml --repeat 5
  xmppbench search login-storm --slo 'ready p(95)<500ms' --over roster.items
  xmppbench search roster-push-storm --slo 'push p(99)<200ms' --budget 5m
  xmppbench search idle-cost --slo 'rss.server max<1GiB' --set hold.sessions=1k`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			o := scenarios.Override{Set: f.run.set, Variants: f.run.variants, Search: &f.over}
			if c.Flags().Changed("seed") {
				o.Seed = &f.run.seed
			}
			return a.runSearch(c.Context(), args, f, o)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.slo, "slo", nil, "`EXPR` that has to hold, such as 'ready p(99)<2s'; several all have to")
	flags.StringVar(&f.over, "over", "", "`KEY` whose highest value is looked for (default the scenario's rate)")
	flags.StringVar(&f.start, "start", "", "`LEVEL` tried first (default the scenario's)")
	flags.StringVar(&f.min, "min", "", "lowest `LEVEL`; the search ends with exit 99 if that fails")
	flags.StringVar(&f.max, "max", "", "highest `LEVEL`")
	flags.Float64Var(&f.tolerance, "tolerance", bench.DefaultTolerance, "`RATIO` of failing to holding level at which a search ends")
	flags.IntVar(&f.repeat, "repeat", scenarios.DefaultSearches, "number of searches")
	flags.DurationVar(&f.window, "window", scenarios.DefaultWindow, "least measured time of a level; what the SLO needs in samples comes on top")
	flags.IntVar(&f.curve, "curve", scenarios.DefaultCurve, "levels to be known between 10 and 95 % of the one found; 0: run none for that")
	flags.DurationVar(&f.budget, "budget", 0, "most time that all searches may take together (default as long as it takes)")
	flags.StringArrayVar(&f.run.targets, "target", nil, "\"sim\" (the default) or a target `FILE`")
	flags.StringSliceVar(&f.run.variants, "variants", nil, "the variant to run, if not the file's first")
	flags.StringArrayVar(&f.run.set, "set", nil, "`KEY=VALUE` overrides a key of the scenario")
	flags.Uint64Var(&f.run.seed, "seed", 0, "what everything random follows from")
	flags.StringVar(&f.run.out, "out", "", "run `DIR` to make (default runs/<time>-<scenario>-<id>)")
	flags.BoolVar(&f.run.dryRun, "dry-run", false, "print what would be searched and how long, and connect to nothing")
	flags.BoolVar(&f.run.inProcess, "in-process", false, "simulator and link in this process; CPU is then not told apart")
	flags.StringArrayVar(&f.run.allow, "allow", nil, "`HOST` outside of this machine that may be put under load")
	flags.StringVar(&f.run.progress, "progress", "auto", "auto, bar, plain or none")
	if err := c.RegisterFlagCompletionFunc("variants", variantNames); err != nil {
		panic("cli: " + err.Error()) // there is no such flag, or it has two
	}
	return c
}

func (a *app) runSearch(ctx context.Context, args []string, f searchFlags, o scenarios.Override) error {
	in, err := a.scenarioInput(args, "", o)
	if err != nil {
		return err
	}
	if err := checkProgress(f.run.progress); err != nil {
		return err
	}
	if n := len(f.run.variants); n > 1 || n == 1 && f.run.variants[0] == "all" {
		return usage(errors.New("--variants: a search has one variant: choose one of them"))
	}
	plans, err := scenarios.Parse(in.File, []byte(in.Source), in.Override)
	if err != nil {
		return err
	}
	r := &runJob{app: a, flags: f.run, input: in}
	if r.targets, err = a.openTargets(f.run, r.started); err != nil {
		return err
	}
	c, err := f.config(plans, r.targets)
	if err != nil {
		return err
	}
	search, err := scenarios.NewSearch(c)
	if err != nil {
		return usage(fmt.Errorf("search: %w", err))
	}
	r.plans = []scenarios.Plan{search.Plan()}
	r.input.Effective = r.plans
	if err := scenarios.CheckTargets(r.plans[0], r.targets); err != nil {
		return err
	}
	if f.run.dryRun {
		return a.drySearch(search)
	}
	return r.search(ctx, c)
}

// config reads what the options say.
func (f searchFlags) config(plans []scenarios.Plan, targets []scenarios.Targets) (scenarios.SearchConfig, error) {
	c := scenarios.SearchConfig{
		RunConfig: scenarios.RunConfig{Plans: plans[:1], Targets: targets}, Over: f.over, Tolerance: f.tolerance,
		Repeat: f.repeat, Window: f.window, Curve: f.curve, Budget: f.budget,
	}
	if f.curve == 0 {
		c.Curve = -1 // to the search, zero is the default
	}
	switch {
	case len(f.slo) == 0:
		return c, usage(errors.New("--slo is missing: say what has to hold, as in --slo 'ready p(99)<2s'"))
	case !(f.tolerance > 1):
		return c, usage(fmt.Errorf("--tolerance %v: must be above 1, such as 1.06", f.tolerance))
	case f.repeat < 1:
		return c, usage(fmt.Errorf("--repeat %d: must be at least 1", f.repeat))
	case f.window < time.Second:
		return c, usage(fmt.Errorf("--window %s: must be at least 1s", f.window))
	case f.curve < 0:
		return c, usage(fmt.Errorf("--curve %d: must not be negative", f.curve))
	case f.budget < 0:
		return c, usage(fmt.Errorf("--budget %s: must not be negative", f.budget))
	}
	for _, set := range f.run.set {
		if strings.HasPrefix(set, "load.duration=") {
			return c, usage(errors.New("--set load.duration: a search measures each level for as long as it needs; --window is the least"))
		}
	}
	for _, text := range f.slo {
		e, err := results.Parse(text)
		if err != nil {
			return c, usage(fmt.Errorf("--slo: %w", err))
		}
		c.SLO = append(c.SLO, e)
	}
	// A list of variants, or a dimension, that the file itself has is no mistake of
	// who searches: its first one is meant, unless the key itself is the dimension.
	if f.run.variants == nil {
		c.Plans[0].Arms = c.Plans[0].Arms[:1]
	}
	key, err := scenarios.SearchKey(plans[0].Scenario, f.over)
	if err != nil {
		return c, usage(fmt.Errorf("--over: %w", err))
	}
	for path := range plans[0].Dimensions {
		if !strings.HasSuffix(key.Path, path) {
			return c, usage(fmt.Errorf("%s takes several values: give one with --set", path))
		}
	}
	for _, l := range []struct {
		name, text string
		to         *float64
	}{{"start", f.start, &c.Start}, {"min", f.min, &c.Min}, {"max", f.max, &c.Max}} {
		if l.text == "" {
			continue
		}
		text := l.text
		if _, plain := strconv.ParseFloat(text, 64); plain == nil && key.Rated() {
			text += "/s" // which other unit could be meant?
		}
		if *l.to, err = key.Number(text); err != nil {
			return c, usage(fmt.Errorf("--%s: %w", l.name, err))
		}
	}
	return c, nil
}

func (r *runJob) search(ctx context.Context, c scenarios.SearchConfig) error {
	scenario, _ := scenarios.Find(r.plans[0].Scenario)
	m := r.manifest(scenario)
	m.Plans, m.Primary, m.Blocks = nil, "", 0 // levels are met on the way
	r.sampler = newSampler(r)
	defer r.sampler.close()
	record, err := r.record(ctx, m)
	if err != nil {
		return err
	}
	shown := newProgress(r.flags.progress, r.stderr)
	plans := c.Plans
	c.RunConfig = record.config
	c.Plans, c.Progress = plans, shown.show
	search, err := scenarios.NewSearch(c)
	if err != nil {
		return errors.Join(err, record.close(ctx, err, results.StatusFailed, []string{err.Error()}))
	}
	fmt.Fprintln(r.stderr, wrap(searchText(search), 0, textWidth))
	runErr := untilInterrupted(ctx, shown, func() error {
		_, err := search.Run(ctx)
		return err
	})
	status, reasons := judge(ctx, runErr, scenarios.Outcome{})
	if err := record.close(ctx, runErr, status, reasons); err != nil {
		return err
	}
	run, err := results.Open(record.dir)
	if err != nil {
		return errors.Join(runErr, err)
	}
	format := "text"
	if r.json {
		format = "json"
	}
	if err := results.Report(r.stdout, []*results.Run{run}, format, results.ReportOptions{Width: terminalWidth(r.stdout)}); err != nil {
		return errors.Join(runErr, err)
	}
	fmt.Fprintf(r.stderr, "%s: %s\n", record.dir, status)
	if ctx.Err() != nil {
		return &exitError{code: ExitInterrupted}
	}
	return runErr
}

// searchText says in words what is going to happen.
func searchText(s *scenarios.Search) string {
	g := s.Goal()
	n := "one search"
	if g.Repeat > 1 {
		n = fmt.Sprintf("%d searches", g.Repeat)
	}
	takes := "about " + roundDuration(s.Expected()).String()
	if budget := time.Duration(g.Budget * float64(time.Second)); budget > 0 && budget < s.Expected() {
		takes = fmt.Sprintf("cut to a budget of %s", budget)
	}
	return fmt.Sprintf("%s at %s: %s for the highest %s that keeps %s, from %s, %s",
		g.Scenario, g.Target, n, g.Over, strings.Join(g.SLO, " and "), s.Level(g.Start), takes)
}

// plannedSearch is the answer of a dry run of a search in JSON.
type plannedSearch struct {
	Duration time.Duration      `json:"duration-ns"`
	Goal     results.SearchGoal `json:"goal"`
}

// drySearch prints what a search would do, and connects to nothing.
func (a *app) drySearch(s *scenarios.Search) error {
	if a.json {
		return a.writeJSON(plannedSearch{s.Expected(), s.Goal()})
	}
	p := s.Plan()
	g := s.Goal()
	fmt.Fprintln(a.stdout, wrap(searchText(s)+".", 0, textWidth))
	fmt.Fprintln(a.stdout)
	fmt.Fprintln(a.stdout, wrap(fmt.Sprintf("A level at %s is measured for %s after %s of warm-up. It fails if the SLO does, if over %.3g %% of its operations fail, or if less than %.3g %% of the planned rate is achieved. Levels lie between %s and %s.",
		s.Level(g.Start), p.Load.Duration.Round(time.Millisecond), p.Load.Warmup, 100*g.Errors, 100*g.Attainment, s.Level(g.Min), s.Level(g.Max)), 0, textWidth))
	return nil
}
