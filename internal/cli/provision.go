package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/provision"
	"github.com/xmppbench/xmppbench/scenarios"
)

func (a *app) provision() *cobra.Command {
	var (
		target   string
		set      []string
		seed     uint64
		teardown bool
	)
	c := &cobra.Command{
		Use:   "provision SCENARIO --target FILE",
		Short: "Make a scenario's accounts and rosters on a real server",
		Long: `Make the accounts and rosters that a scenario needs on a real server, in bulk,
the same for the same seed. What was made stands in a ledger beside the target
file; --teardown takes away what stands there and nothing else. Accounts that
exist already are never written over.`,
		Example: `  xmppbench provision roster-login --target prosody.yaml --set roster.items=100k
  xmppbench provision roster-login --target prosody.yaml --teardown`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			if target == "" {
				return usage(errors.New("--target is missing: name the file that describes the server"))
			}
			file, err := a.targetFile(target)
			if err != nil {
				return err
			}
			if !file.Provisioned() {
				return usage(fmt.Errorf("%s: provision: is missing: say where the server keeps its accounts", target))
			}
			if teardown {
				return a.tearDown(c.Context(), file)
			}
			o := scenarios.Override{Set: set}
			if c.Flags().Changed("seed") {
				o.Seed = &seed
			}
			in, err := a.scenarioInput(args, "", o)
			if err != nil {
				return err
			}
			plans, err := scenarios.Parse(in.File, []byte(in.Source), o)
			if err != nil {
				return err
			}
			return a.makeAccounts(c.Context(), file, plans)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&target, "target", "", "target `FILE` with a provision section")
	flags.StringArrayVar(&set, "set", nil, "`KEY=VALUE` overrides a key of the scenario, as for run")
	flags.Uint64Var(&seed, "seed", 0, "what everything random follows from, as for run")
	flags.BoolVar(&teardown, "teardown", false, "take away what was made")
	return c
}

// provisioned is the answer of provision as JSON.
type provisioned struct {
	Target   string  `json:"target"`
	Method   string  `json:"method,omitempty"`
	Accounts int     `json:"accounts,omitempty"` // made
	Items    int     `json:"items,omitempty"`    // of their rosters
	Removed  int     `json:"removed,omitempty"`  // accounts taken away
	Seconds  float64 `json:"seconds,omitempty"`
}

func (a *app) makeAccounts(ctx context.Context, file *scenarios.TargetFile, plans []scenarios.Plan) error {
	populations, err := file.Populations(plans)
	if err != nil {
		return usage(err)
	}
	plan, err := provision.NewPlan(file.Provision, populations...)
	if err != nil {
		return usage(err)
	}
	return a.apply(ctx, file, plan)
}

// apply makes the accounts of a plan and says how many there were.
func (a *app) apply(ctx context.Context, file *scenarios.TargetFile, plan *provision.Plan) error {
	fmt.Fprintf(a.stderr, "%s: %s with %s, by %s\n", file.Name, plural(plan.Accounts, "account"), plural(plan.Items, "roster item"), plan.Method)
	started := time.Now()
	if err := plan.Apply(ctx, a.provisionProgress()); err != nil {
		return provisionError(err)
	}
	took := time.Since(started)
	if a.json {
		return a.writeJSON(provisioned{Target: file.Name, Method: plan.Method, Accounts: plan.Accounts, Items: plan.Items, Seconds: took.Seconds()})
	}
	fmt.Fprintf(a.stdout, "%s: made %s with %s in %s\n", file.Name, plural(plan.Accounts, "account"), plural(plan.Items, "roster item"),
		took.Round(time.Millisecond))
	return nil
}

func (a *app) tearDown(ctx context.Context, file *scenarios.TargetFile) error {
	removed := 0
	err := provision.Teardown(ctx, file.Provision, func(p provision.Progress) { removed = p.Accounts })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usage(err)
	case err != nil:
		return provisionError(err)
	}
	if a.json {
		return a.writeJSON(provisioned{Target: file.Name, Removed: removed})
	}
	fmt.Fprintf(a.stdout, "%s: took %s away\n", file.Name, plural(removed, "account"))
	return nil
}

// provisionError gives accounts that are in the way the exit code of a failed
// pre-flight.
func provisionError(err error) error {
	var exists *provision.ExistsError
	if errors.As(err, &exists) {
		return &exitError{ExitUnreachable, err}
	}
	return err
}

// provisionProgress prints a line every few seconds.
func (a *app) provisionProgress() func(provision.Progress) {
	last := time.Now()
	return func(p provision.Progress) {
		if time.Since(last) < plainInterval/2 {
			return
		}
		last = time.Now()
		fmt.Fprintf(a.stderr, "%d of %d accounts, %d of %d items\n", p.Accounts, p.TotalAccounts, p.Items, p.TotalItems)
	}
}
