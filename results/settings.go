package results

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settings are the values that a plan was run with, by the path of the setting. A value that
// is zero is left out: where a manifest does not name it, it is zero as well.
type settings map[string]any

// plannedSettings reads those of each plan, by its label, from the config of a manifest; nil if
// it holds no plans, as that of a k6 test. Left out is what says how much is measured and not
// what: two runs may differ in it and be compared.
func (m Manifest) plannedSettings() map[string]settings {
	var config struct {
		Plans []struct {
			Label string                       `json:"label"`
			Arms  []map[string]json.RawMessage `json:"arms"`
		} `json:"plans"`
	}
	var whole struct {
		Plans []map[string]any `json:"plans"`
	}
	raw, err := json.Marshal(m.Config)
	if err != nil || json.Unmarshal(raw, &config) != nil || json.Unmarshal(raw, &whole) != nil {
		return nil // another program's
	}
	out := make(map[string]settings)
	for i, p := range config.Plans {
		plan := whole.Plans[i]
		for _, name := range []string{"label", "dimensions", "scenario", "arms", "given", "seed", "blocks", "repeats", "thresholds"} {
			delete(plan, name)
		}
		if sheet, ok := plan["sheet"].(map[string]any); ok {
			delete(sheet, "budget")
			delete(sheet, "searches")
		}
		s := make(settings)
		s.add("", "", plan)
		for _, arm := range p.Arms {
			s.addArm(arm)
		}
		out[p.Label] = s
	}
	return out
}

// addArm adds the settings of a variant: those that stand beside its label, and those in the
// groups of its protocol.
func (s settings) addArm(arm map[string]json.RawMessage) {
	var label string
	if json.Unmarshal(arm["label"], &label) != nil {
		return
	}
	for name, raw := range arm {
		var v any
		if name == "label" || name == "given" || json.Unmarshal(raw, &v) != nil {
			continue
		}
		if _, group := v.(map[string]any); group {
			name = ""
		}
		s.add(name, " of "+label, v)
	}
}

// add puts the leaves of v under their paths.
func (s settings) add(path, of string, v any) {
	if group, ok := v.(map[string]any); ok {
		for name, v := range group {
			s.add(strings.TrimPrefix(path+"."+name, "."), of, v)
		}
		return
	}
	switch v {
	case nil, "", 0.0, false:
		return
	}
	s[path+of] = v
}

// differentSettings names the settings of plans that both runs have and that are not the same in
// both, with their values as the manifests hold them: durations are in nanoseconds.
func differentSettings(m, o Manifest) []string {
	a, b := m.plannedSettings(), o.plannedSettings()
	var out []string
	for _, label := range slices.Sorted(maps.Keys(a)) {
		other, both := b[label]
		if !both {
			continue
		}
		all := maps.Clone(a[label])
		maps.Copy(all, other)
		for _, path := range slices.Sorted(maps.Keys(all)) {
			x, y := a[label].text(path), other.text(path)
			if text := "setting " + path + " " + x + " / " + y; x != y && !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}

// text writes a value: 0 stands for one that is not named.
func (s settings) text(path string) string {
	switch v := s[path].(type) {
	case nil:
		return "0"
	case string:
		return v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			panic(fmt.Sprintf("results: setting %s: %v", path, err)) // it was JSON
		}
		return string(text)
	}
}
