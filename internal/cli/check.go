package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios"
)

func (a *app) check() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "check [SCENARIO]",
		Short: "Look whether a target and this machine are ready for a scenario",
		Long: `Look, before a run, at all that it needs: names, reach, certificate, a login, what
the server announces, which variants it really speaks, descriptors and ports, the
clock, and whether what the server uses can be seen. It logs one account in,
fetches its roster once for each variant, and puts no load on anything.

Each line says ok, warn, fail or skip, what was found, and below it what to do.
The exit code is 3 if anything failed. Without SCENARIO it looks at what
roster-login needs.`,
		Example: `  xmppbench check --target prosody.yaml
  xmppbench check --target prosody.yaml login-storm --set load.rate=500/s`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: scenarioNames,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{scenarios.RosterLogin}
			}
			return a.preflight(c.Context(), args, f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.targets, "target", nil, "\"sim\" (the default) or a target `FILE`; several are looked at in turn")
	flags.StringSliceVar(&f.variants, "variants", nil, "variants to look for in place of the file's; \"all\" looks for every one")
	flags.StringArrayVar(&f.set, "set", nil, "`KEY=VALUE` overrides a key of the scenario")
	flags.StringArrayVar(&f.allow, "allow", nil, "`HOST` outside of this machine that may be connected to")
	if err := c.RegisterFlagCompletionFunc("variants", variantNames); err != nil {
		panic("cli: " + err.Error()) // there is no such flag, or it has two
	}
	return c
}

// checkSchema is the version of the JSON that check answers with.
const checkSchema = "xmppbench.check/1"

// checkAnswer is what check says in JSON.
type checkAnswer struct {
	Schema  string        `json:"schema"`
	OK      bool          `json:"ok"` // nothing failed
	Targets []checkTarget `json:"targets"`
}

// checkTarget is what was found of one plan at one target.
type checkTarget struct {
	Target string            `json:"target"`
	Plan   string            `json:"plan"`
	Checks []scenarios.Check `json:"checks"`
}

func (a *app) preflight(ctx context.Context, args []string, f runFlags) error {
	in, err := a.scenarioInput(args, "", scenarios.Override{Set: f.set, Variants: f.variants})
	if err != nil {
		return err
	}
	plans, err := scenarios.Parse(in.File, []byte(in.Source), in.Override)
	if err != nil {
		return err
	}
	targets, err := a.openTargets(f, func(string, *proc.Child) {})
	if err != nil {
		return err
	}
	for _, p := range plans {
		if err := scenarios.CheckTargets(p, targets); err != nil {
			return err
		}
	}
	answer := checkAnswer{Schema: checkSchema, OK: true}
	for _, t := range targets {
		for _, p := range plans {
			one := checkTarget{Target: t.Name(), Plan: scenarios.PlanName(p, t.Name(), len(targets))}
			if !a.json && len(targets)*len(plans) > 1 {
				fmt.Fprintf(a.stdout, "%s at %s\n", one.Plan, one.Target)
			}
			scenarios.Preflight(ctx, t, p, func(c scenarios.Check) {
				one.Checks = append(one.Checks, c)
				if !a.json {
					a.printCheck(c)
				}
			})
			answer.Targets = append(answer.Targets, one)
			if slices.ContainsFunc(one.Checks, func(c scenarios.Check) bool { return c.State == scenarios.CheckFail }) {
				answer.OK = false
			}
		}
		if server, ok := t.(scenarios.ServerTargets); ok && server.Observer != nil {
			server.Observer.Close()
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if a.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(answer); err != nil {
			return err
		}
	}
	if !answer.OK {
		return &exitError{ExitUnreachable, errors.New("a run would fail: see what failed above")}
	}
	return nil
}

// printCheck prints a check as it was made.
func (a *app) printCheck(c scenarios.Check) {
	const indent = 19
	fmt.Fprintf(a.stdout, "%-4s  %-11s  %s\n", c.State, c.Name, wrap(c.Found, indent, max(textWidth, terminalWidth(a.stdout))))
	if c.Remedy != "" {
		fmt.Fprintf(a.stdout, "%*s%s\n", indent, "", wrap("→ "+c.Remedy, indent, max(textWidth, terminalWidth(a.stdout))))
	}
}
