package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// listed is a scenario or variant in the answer of list.
type listed struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	Spec    string `json:"spec,omitempty"`
}

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List scenarios and variants",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var all struct {
				Scenarios []listed `json:"scenarios"`
				Variants  []listed `json:"variants"`
			}
			for _, s := range scenarios.Scenarios() {
				all.Scenarios = append(all.Scenarios, listed{Name: s.Name, Summary: s.Summary})
			}
			for _, v := range roster.Variants() {
				all.Variants = append(all.Variants, listed{v.Name, v.Summary, v.Spec})
			}
			if a.json {
				return a.writeJSON(all)
			}
			var b strings.Builder
			b.WriteString("Scenarios:\n")
			writeListed(&b, all.Scenarios)
			b.WriteString("\nRoster variants:\n")
			writeListed(&b, all.Variants)
			b.WriteString("\nxmppbench explain NAME tells more about each.\n")
			_, err := fmt.Fprint(a.stdout, b.String())
			return err
		},
	}
}

func writeListed(b *strings.Builder, all []listed) {
	const column = 21
	for _, l := range all {
		fmt.Fprintf(b, "  %-*s%s\n", column-2, l.Name, wrap(l.Summary, column, textWidth))
	}
}

func (a *app) explain() *cobra.Command {
	return &cobra.Command{
		Use:               "explain NAME",
		Short:             "Explain a scenario with its keys, or a variant with its settings",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: explainable,
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := explanationOf(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(e)
			}
			_, err = fmt.Fprint(a.stdout, e)
			return err
		},
	}
}

// explanation is the answer of explain.
type explanation struct {
	Name    string    `json:"name"`
	Summary string    `json:"summary"`
	Spec    string    `json:"spec,omitempty"`    // of a variant
	Steps   []string  `json:"steps,omitempty"`   // of a scenario's actor, as is what follows
	Metrics []string  `json:"metrics,omitempty"` // that it measures
	Keys    []setting `json:"keys,omitempty"`
	File    string    `json:"file,omitempty"` // that is shipped
}

// setting is a key of a scenario file.
type setting struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Default string   `json:"default"`
	Choices []string `json:"choices,omitempty"`
	Min     int      `json:"min,omitempty"` // of a variant's setting, as is Max
	Max     int      `json:"max,omitempty"`
	Doc     string   `json:"doc"`
}

func explanationOf(name string) (explanation, error) {
	if s, ok := scenarios.Find(name); ok {
		return explainScenario(s)
	}
	if v, ok := roster.Find(name); ok {
		e := explanation{Name: v.Name, Summary: v.Summary, Spec: v.Spec}
		for _, p := range v.Params {
			e.Keys = append(e.Keys, variantSetting("roster.", p))
		}
		return e, nil
	}
	return explanation{}, usage(fmt.Errorf("%q is neither a scenario nor a variant: name one of %s",
		name, strings.Join(slices.Concat(scenarios.Names(), roster.Names()), ", ")))
}

func explainScenario(s scenarios.Scenario) (explanation, error) {
	source, err := scenarios.Shipped(s.Name)
	e := explanation{Name: s.Name, Summary: s.Summary, Steps: s.Steps, Metrics: s.Metrics, File: string(source)}
	for _, k := range scenarios.Keys() {
		if k.Scenarios == nil || slices.Contains(k.Scenarios, s.Name) {
			e.Keys = append(e.Keys, setting{Name: k.Path, Kind: string(k.Kind), Default: k.Default, Choices: k.Choices, Doc: k.Doc})
		}
	}
	for _, p := range scenarios.VariantKeys() {
		setting := variantSetting("roster.", p)
		// Each variant has a default and limits of its own.
		setting.Default, setting.Min, setting.Max = "", 0, 0
		e.Keys = append(e.Keys, setting)
	}
	return e, err
}

func variantSetting(prefix string, p roster.Param) setting {
	kind := p.Unit
	switch p.Default.(type) {
	case string:
		kind = string(scenarios.KindString)
	case bool:
		kind = string(scenarios.KindBool)
	case int:
		if kind == "" {
			kind = string(scenarios.KindCount)
		}
	}
	return setting{Name: prefix + p.Name, Kind: kind, Default: fmt.Sprint(p.Default), Choices: p.Choices, Min: p.Min, Max: p.Max, Doc: p.Doc}
}

// String lays the explanation out for people.
func (e explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", e.Name, wrap(e.Summary, len(e.Name)+2, textWidth))
	if e.Spec != "" {
		fmt.Fprintf(&b, "Specified in: %s\n", wrap(e.Spec, len("Specified in: "), textWidth))
	}
	if len(e.Steps) > 0 {
		b.WriteString("\nSteps of each actor:\n")
	}
	for i, step := range e.Steps {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, wrap(step, 5, textWidth))
	}
	if len(e.Metrics) > 0 {
		fmt.Fprintf(&b, "\nMeasured: %s\n", wrap(strings.Join(e.Metrics, ", "), len("Measured: "), textWidth))
	}
	switch {
	case len(e.Keys) > 0 && e.File == "":
		b.WriteString("\nSettings, beside the variant's name or under roster: for all variants:\n")
	case len(e.Keys) > 0:
		b.WriteString("\nKeys of the file, which --set overrides:\n")
	}
	for _, k := range e.Keys {
		fmt.Fprintf(&b, "  %s (%s)\n      %s\n", k.Name, wrap(k.about(), len(k.Name)+4, textWidth), wrap(k.Doc, 6, textWidth))
	}
	if e.File != "" {
		fmt.Fprintf(&b, "\nThe file that comes with the program:\n\n%s", e.File)
	}
	return b.String()
}

// about says what values a key takes.
func (k setting) about() string {
	text := k.Kind
	switch {
	case len(k.Choices) > 0 && k.Kind == string(scenarios.KindString):
		text = strings.Join(k.Choices, ", ")
	case len(k.Choices) > 0:
		text += " or " + strings.Join(k.Choices, ", ")
	}
	if k.Max > 0 {
		text += fmt.Sprintf(", %d to %d", k.Min, k.Max)
	}
	if k.Default != "" {
		text += "; default " + k.Default
	}
	return text
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := programVersion{Version: "(devel)", Go: runtime.Version(), Wire: wire.WireVersion}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Version = info.Main.Version
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Revision = s.Value
					}
				}
			}
			if a.json {
				return a.writeJSON(v)
			}
			_, err := fmt.Fprintln(a.stdout, v)
			return err
		},
	}
}

// programVersion is the answer of version.
type programVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Wire     int    `json:"wire"` // version of the experimental protocols
}

func (v programVersion) String() string {
	text := "xmppbench " + v.Version
	if v.Revision != "" {
		text += " (" + v.Revision + ")"
	}
	return fmt.Sprintf("%s, wire version %d, %s", text, v.Wire, v.Go)
}
