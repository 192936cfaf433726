package xk6xmpp

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.k6.io/k6/v2/js/modulestest"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

//go:generate go test -run ^TestTypes$ . -update

// TestTypes holds the names in index.d.ts that come from the tables of variants against
// these; -update writes them anew.
func TestTypes(t *testing.T) {
	golden.Part(t, filepath.Join("..", "index.d.ts"), "names", generatedTypes())
}

// generatedTypes are unions of names, and the settings of each variant.
func generatedTypes() string {
	var b strings.Builder
	union := func(name, doc string, values []string) {
		fmt.Fprintf(&b, "/** %s */\nexport type %s =\n", doc, name)
		for i, v := range values {
			end := ""
			if i == len(values)-1 {
				end = ";"
			}
			fmt.Fprintf(&b, "  | %q%s\n", v, end)
		}
		b.WriteByte('\n')
	}
	union("Stage", "Where an operation stood when it failed; also the tag stage of metrics.", stages())
	union("TLSMode", "How a connection is secured.", tlsModes())
	union("Mechanism", "SASL mechanisms.", mechanisms())
	union("RosterMode", "Ways to retrieve a roster; docs/variants.md describes them.", roster.Names())
	union("ItemsMode", "Ways to retrieve items.", itemsModes())
	union("S2SVariant", "Ways to federate; docs/variants.md describes them.", s2s.Names())
	var layouts []string
	for _, l := range s2s.Layouts() {
		layouts = append(layouts, l.String())
	}
	union("S2SLayout", "Which pairs of domains share a connection.", layouts)

	group := func(name, base, selector, fallback string, variants []string, settings func(string) []setting.Param) {
		var names []string
		for _, v := range variants {
			own := strings.TrimSuffix(name, "Options")
			for _, word := range strings.Split(v, "-") {
				own += strings.ToUpper(word[:1]) + word[1:]
			}
			names = append(names, own)
			optional := ""
			if v == fallback {
				optional = "?"
			}
			fmt.Fprintf(&b, "interface %s extends %s {\n  %s%s: %q;\n", own, base, selector, optional, v)
			for _, s := range settings(v) {
				fmt.Fprintf(&b, "  /** %s Default %v. */\n  %s?: %s;\n", s.Doc, s.Default, optionOf(s.Name), typeOf(s))
			}
			b.WriteString("}\n")
		}
		fmt.Fprintf(&b, "/** Options by %s. */\nexport type %s = %s;\n\n", selector, name, strings.Join(names, " | "))
	}
	group("RosterGetOptions", "RosterGetBase", "mode", roster.Names()[0], roster.Names(), func(name string) []setting.Param {
		v, _ := roster.Find(name)
		return clientSettings(v)
	})
	group("MeshOptions", "MeshBase", "variant", s2s.Names()[0], s2s.Names(), func(name string) []setting.Param {
		v, _ := s2s.Find(name)
		return v.Settings()
	})
	return b.String()
}

// typeOf is the type of a setting in TypeScript.
func typeOf(s setting.Param) string {
	words := make([]string, 0, len(s.Choices)+1)
	switch s.Default.(type) {
	case bool:
		return "boolean"
	case int:
		words = append(words, "number")
	}
	for _, c := range s.Choices {
		words = append(words, fmt.Sprintf("%q", c))
	}
	return strings.Join(words, " | ")
}

// TestTypesHaveMembers holds the classes of index.d.ts against those of the module.
func TestTypesHaveMembers(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "index.d.ts"))
	if err != nil {
		t.Fatal(err)
	}
	declared := make(map[string][]string)
	member := regexp.MustCompile(`(?m)^  (?:readonly )?(\w+)(?:<[^(]*>)?[(:?]`)
	for _, m := range regexp.MustCompile(`(?ms)^export (?:class|interface) (\w+)[^{\n]*\{\n(.*?)^\}`).FindAllStringSubmatch(string(b), -1) {
		for _, name := range member.FindAllStringSubmatch(m[2], -1) {
			if name[1] != "constructor" {
				declared[m[1]] = append(declared[m[1]], name[1])
			}
		}
		slices.Sort(declared[m[1]])
	}
	check := func(name string, methods, getters []string) {
		t.Helper()
		if diff := cmp.Diff(slices.Sorted(slices.Values(append(methods, getters...))), declared[name]); diff != "" {
			t.Errorf("members of %s (-code +index.d.ts):\n%s", name, diff)
		}
	}
	everyClass(check)

	var exported []string
	for _, m := range regexp.MustCompile(`(?m)^export (?:class|function) (\w+)`).FindAllStringSubmatch(string(b), -1) {
		exported = append(exported, m[1])
	}
	slices.Sort(exported)
	named := New().NewModuleInstance(modulestest.NewRuntime(t).VU).Exports().Named
	if diff := cmp.Diff(slices.Sorted(maps.Keys(named)), exported); diff != "" {
		t.Errorf("exports (-code +index.d.ts):\n%s", diff)
	}
}

// everyClass calls check with the members of each class.
func everyClass(check func(name string, methods, getters []string)) {
	members(check, clientClass())
	members(check, rosterClass())
	members(check, mucClass())
	members(check, roomClass())
	members(check, pubsubClass())
	members(check, smClass())
	members(check, swarmClass())
	members(check, meshClass())
	members(check, componentClass())
	members(check, userPoolClass())
	members(check, rateLimitClass())
}

func members[T any](check func(name string, methods, getters []string), c class[T]) {
	check(c.name, slices.Collect(maps.Keys(c.methods)), slices.Collect(maps.Keys(c.getters)))
}
