package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xmppbench/xmppbench/results"
)

func (a *app) compare() *cobra.Command {
	var (
		o     results.CompareOptions
		gates gateFlags
	)
	c := &cobra.Command{
		Use:   "compare RUN...",
		Short: "Set variants of a run, or several runs, side by side with intervals",
		Long: `Compare the variants of one run, block by block, or several runs with one
another. Runs made at different times share no block: their comparison is
unpaired, and says so. A gate is a limit on the ratio to the baseline; it is
broken only when the whole interval lies beyond it. What follows "or" is a
difference that does no harm, whatever the ratio.

docs/method.md says how verdicts come about.`,
		Example: `  xmppbench compare runs/20261122T124900Z-roster-login-a1b2
  xmppbench compare before after --gate 'ready mean<=1.10'
  xmppbench compare before after --gate 'ready p(99)<=1.10 or +5ms'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			if o.Gates, err = gates.parse(); err != nil {
				return err
			}
			return a.compareRuns(args, o, gates)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.By, "by", "", "variant, run, or a dimension of the plans (default variant for one run, run for several)")
	flags.StringVar(&o.Baseline, "baseline", "", "value to compare with (default the run's own baseline)")
	flags.StringVar(&o.Primary, "primary", "", "figure that decides, such as probe.mean (default the one the run declared)")
	gates.register(flags)
	flags.BoolVar(&o.AllowDifferent, "allow-different", false, "compare runs of different machines, targets, settings or wire versions")
	return c
}

// gateFlags are the options that judge a comparison.
type gateFlags struct {
	exprs        []string
	inconclusive string
}

func (g *gateFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&g.exprs, "gate", nil, "`EXPR`, a limit on the ratio to the baseline, such as 'probe mean<=1.10' or 'probe mean<=1.10 or +5ms'; exit 5 if it is broken")
	flags.StringVar(&g.inconclusive, "inconclusive", "fail", "whether an undecided gate is pass or fail (exit 6)")
}

// parse reads the gates.
func (g *gateFlags) parse() ([]results.Expr, error) {
	var all []results.Expr
	for _, text := range g.exprs {
		e, err := results.Parse(text)
		if err == nil {
			err = e.CheckGate()
		}
		if err != nil {
			return nil, usage(fmt.Errorf("--gate: %w", err))
		}
		all = append(all, e)
	}
	if g.inconclusive != "pass" && g.inconclusive != "fail" {
		return nil, usage(fmt.Errorf("--inconclusive %q is neither pass nor fail", g.inconclusive))
	}
	return all, nil
}

// judge is the error that makes the exit code of a comparison, or of the error that came in its place: where runs hold nothing to
// compare, gates are undecided.
func (g *gateFlags) judge(c *results.Comparison, err error) error {
	state := results.Inconclusive
	switch {
	case err == nil:
		state = c.Gate()
	case len(g.exprs) == 0 || !errors.As(err, new(*results.EmptyError)):
		return usage(err)
	}
	switch {
	case state == results.Failed:
		return &exitError{code: ExitRegression}
	case state == results.Inconclusive && g.inconclusive == "fail":
		return &exitError{ExitInconclusive, err}
	}
	return nil
}

// openRuns reads run directories.
func openRuns(dirs []string) ([]*results.Run, error) {
	var runs []*results.Run
	for _, dir := range dirs {
		run, err := results.Open(dir)
		if err != nil {
			return nil, usage(err)
		}
		runs = append(runs, run)
	}
	return runs, nil
}

func (a *app) compareRuns(dirs []string, o results.CompareOptions, gates gateFlags) error {
	runs, err := openRuns(dirs)
	if err != nil {
		return err
	}
	comparison, err := results.Compare(runs, o)
	if err != nil {
		judged := gates.judge(nil, err)
		if judged == nil {
			fmt.Fprintln(a.stderr, "gates undecided:", strings.TrimPrefix(err.Error(), "results: compare: "))
		}
		return judged
	}
	if a.json {
		err = a.writeJSON(comparison)
	} else {
		err = comparison.WriteText(a.stdout, terminalWidth(a.stdout), a.colored(a.stdout))
	}
	if err != nil {
		return err
	}
	if len(comparison.Invalid) > 0 {
		return &exitError{ExitInvalid, errors.New("a run is invalid: nothing is compared")}
	}
	return gates.judge(comparison, nil)
}
