package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List scenarios and variants",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.listJSON()
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SCENARIO")
			for _, s := range scenarios.Scenarios() {
				fmt.Fprintf(w, "  %s\t%s\n", s.Name, s.Summary)
			}
			fmt.Fprintln(w, "\nROSTER VARIANT")
			for _, v := range roster.Variants() {
				fmt.Fprintf(w, "  %s\t%s\n", v.Name, v.Summary)
			}
			return w.Flush()
		},
	}
}

func (a *app) listJSON() error {
	type entry struct {
		Name    string `json:"name"`
		Summary string `json:"summary"`
		Spec    string `json:"spec,omitempty"`
	}
	var out struct {
		Scenarios []entry `json:"scenarios"`
		Variants  []entry `json:"variants"`
	}
	for _, s := range scenarios.Scenarios() {
		out.Scenarios = append(out.Scenarios, entry{Name: s.Name, Summary: s.Summary})
	}
	for _, v := range roster.Variants() {
		out.Variants = append(out.Variants, entry{v.Name, v.Summary, v.Spec})
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func (a *app) explain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain NAME",
		Short: "Explain a scenario with its keys, or a variant with its settings",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if s, ok := scenarios.Find(args[0]); ok {
				return a.explainScenario(s)
			}
			for _, v := range roster.Variants() {
				if v.Name == args[0] {
					return a.explainVariant(v)
				}
			}
			return usage(fmt.Errorf("%q is neither a scenario nor a variant; xmppbench list names them", args[0]))
		},
	}
}

func (a *app) explainScenario(s scenarios.Scenario) error {
	fmt.Fprintf(a.stdout, "%s: %s\n\nSteps of each actor:\n", s.Name, s.Summary)
	for i, step := range s.Steps {
		fmt.Fprintf(a.stdout, "  %d. %s\n", i+1, step)
	}
	fmt.Fprintf(a.stdout, "\nMeasured: %s\n\nKeys:\n", strings.Join(s.Metrics, ", "))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, k := range scenarios.Keys() {
		if k.Scenarios == nil || slices.Contains(k.Scenarios, s.Name) {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", k.Path, k.Kind, k.Default, k.Doc)
		}
	}
	for _, p := range scenarios.VariantKeys() {
		fmt.Fprintf(w, "  roster.%s\t%T\t%v\t%s\n", p.Name, p.Default, p.Default, p.Doc)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	source, err := scenarios.Shipped(s.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nThe file that comes with the program:\n\n%s", source)
	return nil
}

func (a *app) explainVariant(v roster.Variant) error {
	fmt.Fprintf(a.stdout, "%s: %s\nSpecified in: %s\n", v.Name, v.Summary, v.Spec)
	if len(v.Params) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout, "\nSettings, under roster: or beside the variant's name:")
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, p := range v.Params {
		limits := strings.Join(p.Choices, ", ")
		if p.Max > 0 {
			limits = strings.TrimPrefix(fmt.Sprintf("%s, %d to %d %s", limits, p.Min, p.Max, p.Unit), ", ")
		}
		fmt.Fprintf(w, "  %s\t%v\t%s\t%s\n", p.Name, p.Default, limits, p.Doc)
	}
	return w.Flush()
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version, revision := "(devel)", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if a.json {
				return json.NewEncoder(a.stdout).Encode(map[string]any{
					"version": version, "revision": revision, "go": runtime.Version(), "wire": wire.WireVersion,
				})
			}
			fmt.Fprintf(a.stdout, "xmppbench %s %s, wire version %d, %s\n", version, revision, wire.WireVersion, runtime.Version())
			return nil
		},
	}
}
