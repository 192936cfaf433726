package scenarios

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/golden"
)

//go:generate go test -run "^(TestDocs|TestSchemas)$" . -update

// TestDocs holds the tables of the documentation against the code that they
// describe; -update writes them anew.
func TestDocs(t *testing.T) {
	docs := filepath.Join("..", "docs")
	golden.Part(t, filepath.Join(docs, "scenarios.md"), "keys", keysTable())
	for _, f := range families() {
		golden.Part(t, filepath.Join(docs, "scenarios.md"), f.kind+" settings", settingsTable(f))
	}
	golden.Part(t, filepath.Join(docs, "scenarios.md"), "scenarios", scenariosText())
	golden.Part(t, filepath.Join(docs, "targets.md"), "keys", targetTable())
}

// tableRow writes the cells of one row of a Markdown table.
func tableRow(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func code(s string) string { return "`" + s + "`" }

func codes(all []string) string {
	var out []string
	for _, s := range all {
		out = append(out, code(s))
	}
	return strings.Join(out, ", ")
}

func keysTable() string {
	var b strings.Builder
	b.WriteString(tableRow("key", "kind", "default", "values", "scenarios", "what it is") + tableRow("---", "---", "---", "---", "---", "---"))
	for _, k := range Keys() {
		values := codes(k.Choices)
		if k.Min > 0 {
			values = join(values, "at least "+k.show(k.Min))
		}
		if k.Max > 0 {
			values = join(values, "at most "+k.show(k.Max))
		}
		only := "all"
		if name, ok := k.lacking(); ok {
			only = "all but " + code(name)
		} else if k.Scenarios != nil {
			only = codes(k.Scenarios)
		}
		b.WriteString(tableRow(code(k.Path), string(k.Kind), code(k.Default), values, only, k.Explained("")))
	}
	return b.String()
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// settingsTable has one row for all variants whose setting of a name is the same.
func settingsTable(f family) string {
	var rows [][]string // without the variants
	variants := make(map[string][]string)
	for _, v := range f.variants {
		for _, p := range v.Params {
			values := codes(p.Choices)
			if p.Max > 0 {
				values = join(values, fmt.Sprintf("%d to %d %s", p.Min, p.Max, p.Unit))
			}
			if _, ok := p.Default.(bool); ok {
				values = "`true`, `false`"
			}
			doc := p.Doc
			if p.Server {
				doc += " A setting of the server: on the simulator only."
			}
			row := []string{code(p.Name), code(fmt.Sprint(p.Default)), values, doc}
			key := strings.Join(row, "|")
			if variants[key] == nil {
				rows = append(rows, row)
			}
			variants[key] = append(variants[key], v.Name)
		}
	}
	var b strings.Builder
	b.WriteString(tableRow("setting", "default", "values", "what it is", "variants") + tableRow("---", "---", "---", "---", "---"))
	for _, row := range rows {
		of := "all"
		if names := variants[strings.Join(row, "|")]; len(names) < len(f.variants) {
			of = codes(names)
		}
		b.WriteString(tableRow(append(slices.Clone(row), of)...))
	}
	return b.String()
}

func scenariosText() string {
	var b strings.Builder
	for i, s := range Scenarios() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n", s.Name, strings.ToUpper(s.Summary[:1])+s.Summary[1:])
		for n, step := range s.Steps {
			fmt.Fprintf(&b, "%d. %s\n", n+1, step)
		}
		fmt.Fprintf(&b, "\nMeasures %s.\n", codes(s.Metrics))
	}
	return b.String()
}

// targetTable is made from the schema of target files.
func targetTable() string {
	var b strings.Builder
	b.WriteString(tableRow("key", "type", "what it is") + tableRow("---", "---", "---"))
	for _, k := range schemaKeys("", targetSchema()) {
		b.WriteString(tableRow(code(k.path), k.kind, k.doc))
	}
	return b.String()
}

type schemaKey struct{ path, kind, doc string }

// schemaKeys lists the keys of an object, in the order of their names.
func schemaKeys(prefix string, n *schemaNode) []schemaKey {
	var all []schemaKey
	for name, p := range n.Properties {
		if p.Properties != nil {
			all = append(all, schemaKeys(prefix+name+".", p)...)
			continue
		}
		doc := p.Description
		if p.Enum != nil {
			doc += " One of " + codes(p.Enum) + "."
		}
		all = append(all, schemaKey{prefix + name, fmt.Sprint(p.Type), doc})
	}
	slices.SortFunc(all, func(a, b schemaKey) int { return cmp.Compare(a.path, b.path) })
	return all
}

// TestTargetSchemaIsComplete finds keys of target files that the schema, and so
// the documentation, does not know.
func TestTargetSchemaIsComplete(t *testing.T) {
	var have, want []string
	for _, k := range schemaKeys("", targetSchema()) {
		have = append(have, k.path)
	}
	want = yamlKeys("", reflect.TypeFor[TargetFile]())
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the schema has the keys\n\t%q\nthe file has\n\t%q", have, want)
	}
}

// yamlKeys lists the keys that a structure is decoded from.
func yamlKeys(prefix string, typ reflect.Type) []string {
	var all []string
	for f := range typ.Fields() {
		name, ok := f.Tag.Lookup("yaml")
		switch {
		case !ok || name == "-":
		case f.Type.Kind() == reflect.Struct:
			all = append(all, yamlKeys(prefix+name+".", f.Type)...)
		default:
			all = append(all, prefix+name)
		}
	}
	return all
}

// TestDocumentedFiles reads every scenario and target file that the
// documentation shows.
func TestDocumentedFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for _, file := range append(files, filepath.Join("..", "README.md")) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(b), "```")
		for i := 1; i < len(parts); i += 2 {
			source, ok := strings.CutPrefix(parts[i], "yaml\n")
			if !ok {
				continue
			}
			switch first, _, _ := strings.Cut(strings.TrimLeft(source, "# \n"), ":"); {
			case strings.Contains("\n"+source, "\nscenario:"):
				seen["scenario"]++
				if _, err := Parse(file, []byte(source), Override{}); err != nil {
					t.Errorf("%s:\n%s\n%v", file, source, err)
				}
			case first == "server":
				seen["target"]++
				if _, err := ParseTarget(file, []byte(source)); err != nil {
					t.Errorf("%s:\n%s\n%v", file, source, err)
				}
			}
		}
	}
	if seen["scenario"] == 0 || seen["target"] == 0 {
		t.Errorf("the documentation shows %v: the test looks in the wrong place", seen)
	}
}
