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
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// listed is a scenario or variant in the answer of list.
type listed struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	Spec    string `json:"spec,omitempty"` // of a variant, as is Kind
	Kind    string `json:"kind,omitempty"`
}

// lists is the answer of list.
type lists struct {
	Scenarios []listed `json:"scenarios"`
	Variants  []listed `json:"variants"`
}

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List scenarios and variants",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var all lists
			for _, s := range scenarios.Scenarios() {
				all.Scenarios = append(all.Scenarios, listed{Name: s.Name, Summary: s.Summary})
			}
			for _, v := range scenarios.Variants() {
				all.Variants = append(all.Variants, listed{Name: v.Name, Summary: v.Summary, Spec: v.Spec, Kind: v.Kind})
			}
			if a.json {
				return a.writeJSON(all)
			}
			var b strings.Builder
			b.WriteString("Scenarios:\n")
			writeListed(&b, all.Scenarios)
			for i, v := range all.Variants {
				if i == 0 || v.Kind != all.Variants[i-1].Kind {
					fmt.Fprintf(&b, "\n%s%s variants:\n", strings.ToUpper(v.Kind[:1]), v.Kind[1:])
				}
				writeListed(&b, all.Variants[i:i+1])
			}
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
	Name     string    `json:"name"`
	Summary  string    `json:"summary"`
	Spec     string    `json:"spec,omitempty"`     // of a variant, as is Settings
	Settings string    `json:"settings,omitempty"` // where they stand if meant for all variants
	Steps    []string  `json:"steps,omitempty"`    // of a scenario's actor, as is what follows
	Metrics  []string  `json:"metrics,omitempty"`  // that it measures
	Keys     []fileKey `json:"keys,omitempty"`
	File     string    `json:"file,omitempty"` // that is shipped
}

// fileKey is a key of a scenario file.
type fileKey struct {
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
	for _, v := range scenarios.Variants() {
		if v.Name != name {
			continue
		}
		e := explanation{Name: v.Name, Summary: v.Summary, Spec: v.Spec, Settings: v.Prefix}
		for _, p := range v.Params {
			key := variantSetting(p)
			key.Name = v.Prefix + "." + key.Name
			e.Keys = append(e.Keys, key)
		}
		return e, nil
	}
	return explanation{}, usage(fmt.Errorf("%q is neither a scenario nor a variant: name one of %s", name, strings.Join(explainableNames(), ", ")))
}

func explainScenario(s scenarios.Scenario) (explanation, error) {
	source, err := scenarios.Shipped(s.Name)
	e := explanation{Name: s.Name, Summary: s.Summary, Steps: s.Steps, Metrics: s.Metrics, File: string(source)}
	for _, k := range scenarios.Keys() {
		if k.Scenarios == nil || slices.Contains(k.Scenarios, s.Name) {
			e.Keys = append(e.Keys, fileKey{Name: k.Path, Kind: string(k.Kind), Default: k.Default, Choices: k.Choices, Doc: k.Explained(s.Name)})
		}
	}
	for _, p := range s.VariantKeys() {
		key := variantSetting(p)
		// Each variant has a default and limits of its own.
		key.Default, key.Min, key.Max = "", 0, 0
		e.Keys = append(e.Keys, key)
	}
	return e, err
}

func variantSetting(p setting.Param) fileKey {
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
	return fileKey{Name: p.Name, Kind: kind, Default: fmt.Sprint(p.Default), Choices: p.Choices, Min: p.Min, Max: p.Max, Doc: p.Doc}
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
		fmt.Fprintf(&b, "\nSettings, beside the variant's name or under %s: for all variants:\n", e.Settings)
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
func (k fileKey) about() string {
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
