package scenarios

import (
	"slices"

	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// VariantInfo is what is known of a variant of any kind: enough for a parser, a
// help text and a schema.
type VariantInfo struct {
	// Name is as in scenario files, Spec says where the protocol is written down,
	// Summary is one line.
	Name, Spec, Summary string
	// Kind is what the variant is a way of: "roster", "return" or "federation". Prefix is where
	// scenario files have settings that are meant for all variants of the kind.
	Kind, Prefix string
	// Params are the settings.
	Params []setting.Param
}

// Variants returns what is known of the variants of all kinds, those of one kind
// side by side, its baseline first.
func Variants() []VariantInfo {
	var all []VariantInfo
	for _, f := range families() {
		all = append(all, f.variants...)
	}
	return all
}

// A family is the variants of one kind. Each scenario runs those of one family.
type family struct {
	// kind and prefix are those of VariantInfo.
	kind, prefix string
	variants     []VariantInfo
	// arm makes an arm without a label of a variant, with the settings given for it
	// and defaults for the others.
	arm func(name string, given map[string]any) (Arm, error)
}

func families() []family { return []family{rosterFamily(), herdFamily(), s2sFamily()} }

func rosterFamily() family {
	f := family{kind: "roster", prefix: "roster"}
	for _, v := range roster.Variants() {
		f.variants = append(f.variants, VariantInfo{v.Name, v.Spec, v.Summary, f.kind, f.prefix, v.Params})
	}
	f.arm = func(name string, given map[string]any) (Arm, error) {
		v, _ := roster.Find(name)
		params, err := v.Parse(given)
		return Arm{Variant: v, Name: name, Params: params}, err
	}
	return f
}

func s2sFamily() family {
	f := family{kind: "federation", prefix: "s2s"}
	for _, v := range s2s.Variants() {
		f.variants = append(f.variants, VariantInfo{v.Name, v.Spec, v.Summary, f.kind, f.prefix, v.Settings()})
	}
	f.arm = func(name string, given map[string]any) (Arm, error) {
		v, _ := s2s.Find(name)
		params, err := v.Parse(given)
		if err != nil {
			return Arm{}, err
		}
		return Arm{Federation: v, Name: name, S2S: params, Layout: v.Layout(params).String()}, nil
	}
	return f
}

func (f family) find(name string) (VariantInfo, bool) {
	if i := slices.IndexFunc(f.variants, func(v VariantInfo) bool { return v.Name == name }); i >= 0 {
		return f.variants[i], true
	}
	return VariantInfo{}, false
}

func (f family) names() []string {
	var names []string
	for _, v := range f.variants {
		names = append(names, v.Name)
	}
	return names
}

// has reports whether the variant has a setting of that name.
func (f family) has(variant, name string) bool {
	v, _ := f.find(variant)
	return slices.ContainsFunc(v.Params, func(p setting.Param) bool { return p.Name == name })
}

// settings returns those of all variants of the family. A name that several
// variants share has one meaning; what may stand there is what any of them takes,
// and each variant checks its own.
func (f family) settings() []setting.Param {
	var all []setting.Param
	for _, v := range f.variants {
		for _, param := range v.Params {
			i := slices.IndexFunc(all, func(p setting.Param) bool { return p.Name == param.Name })
			if i < 0 {
				param.Choices = slices.Clone(param.Choices)
				all = append(all, param)
				continue
			}
			shared := &all[i]
			shared.Min, shared.Max = min(shared.Min, param.Min), max(shared.Max, param.Max)
			for _, choice := range param.Choices {
				if !slices.Contains(shared.Choices, choice) {
					shared.Choices = append(shared.Choices, choice)
				}
			}
		}
	}
	return all
}

// Variants returns the variants that the scenario can run.
func (s Scenario) Variants() []VariantInfo {
	if s.single {
		return nil
	}
	return s.family().variants
}

// VariantKeys returns the settings of the variants that the scenario can run, named
// by their whole path in scenario files.
func (s Scenario) VariantKeys() []setting.Param {
	if s.single {
		return nil
	}
	f := s.family()
	keys := f.settings()
	for i := range keys {
		keys[i].Name = f.prefix + "." + keys[i].Name
	}
	return keys
}
