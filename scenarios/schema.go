package scenarios

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// schemaNode is the part of JSON Schema (draft 2020-12) that the schemas use.
type schemaNode struct {
	Schema      string                 `json:"$schema,omitempty"`
	ID          string                 `json:"$id,omitempty"`
	Title       string                 `json:"title,omitempty"`
	Description string                 `json:"description,omitempty"`
	Type        any                    `json:"type,omitempty"`
	Enum        []string               `json:"enum,omitempty"`
	Pattern     string                 `json:"pattern,omitempty"`
	Default     any                    `json:"default,omitempty"`
	Properties  map[string]*schemaNode `json:"properties,omitempty"`
	Additional  any                    `json:"additionalProperties,omitempty"`
	Items       *schemaNode            `json:"items,omitempty"`
	AnyOf       []*schemaNode          `json:"anyOf,omitempty"`
	Required    []string               `json:"required,omitempty"`
	MinItems    int                    `json:"minItems,omitempty"`
}

const draft = "https://json-schema.org/draft/2020-12/schema"

// number is what a value with a unit looks like.
const number = `^[0-9]+(\.[0-9]+)?`

// pattern is the form of a value of the kind when it is written with its unit.
func (k Kind) pattern() string {
	suffixes := func(units []unit) string {
		var all []string
		for _, u := range units {
			all = append(all, u.suffix)
		}
		return number + " ?(" + strings.Join(all, "|") + ")$"
	}
	switch k {
	case KindCount:
		return suffixes(countUnits())
	case KindBytes:
		return suffixes(byteUnits())
	case KindRate:
		return suffixes(rateUnits())
	case KindLoad:
		return loadPattern()
	case KindSizes:
		const one = `[0-9]+(\.[0-9]+)?(KiB|kB|B)?`
		return `^(` + one + `|uniform +` + one + `\.\.` + one + `|lognormal +` + one + ` +sigma +[0-9]+(\.[0-9]+)?)$`
	case KindBitRate:
		return suffixes(bitRateUnits())
	case KindDuration:
		return `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	case KindDomains:
		one := "[0-9]+(\\.[0-9]+)?[kM]?"
		return "^" + one + "x" + one + "$"
	case KindString, KindBool, KindShare, KindNumber:
	}
	return ""
}

// loadPattern is the form of a shape: editors tell a slip of the pen by it, the
// parser tells what is wrong.
func loadPattern() string {
	const rate, length = `[0-9]+(\.[0-9]+)?/(s|min|h)`, `(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)`
	const stage = `(ramp +[0-9]+(\.[0-9]+)?(/(s|min|h))? *(->|→) *` + rate + ` +in +` + length + `|hold +(` + rate + ` +for +)?` + length + `)`
	return `^((poisson +|constant +)?(` + rate + `|` + stage + `( *, *` + stage + `)*)|trace +.+|closed +[0-9]+(\.[0-9]+)?k?)$`
}

// value is the schema of one value of the key.
func (k Key) value() *schemaNode {
	switch k.Kind {
	case KindString:
		return &schemaNode{Type: "string", Enum: k.Choices}
	case KindBool:
		return &schemaNode{Type: "boolean"}
	case KindShare, KindNumber:
		return &schemaNode{Type: "number"}
	case KindDomains:
		return &schemaNode{Type: "string", Pattern: k.Kind.pattern()}
	case KindCount, KindBytes, KindDuration, KindRate, KindLoad, KindBitRate, KindSizes:
	}
	n := &schemaNode{AnyOf: []*schemaNode{{Type: "string", Pattern: k.Kind.pattern()}}}
	if k.Kind == KindCount || k.Kind == KindBytes || k.Kind == KindDuration || k.Kind == KindSizes {
		n.AnyOf = append(n.AnyOf, &schemaNode{Type: "integer"}) // without a suffix
	}
	if len(k.Choices) > 0 {
		n.AnyOf = append(n.AnyOf, &schemaNode{Type: "string", Enum: k.Choices})
	}
	return n
}

// dimension is the schema of a value or a list of them.
func dimensionSchema(value *schemaNode, doc, def string) *schemaNode {
	return &schemaNode{Description: doc, Default: def, AnyOf: []*schemaNode{value, {Type: "array", Items: value, MinItems: 1}}}
}

func paramValue(p setting.Param) *schemaNode {
	switch p.Default.(type) {
	case bool:
		return &schemaNode{Type: "boolean"}
	case string:
		return &schemaNode{Type: "string", Enum: p.Choices}
	}
	n := &schemaNode{AnyOf: []*schemaNode{{Type: "integer"}}}
	if p.Unit == unitMilliseconds {
		n.AnyOf = append(n.AnyOf, &schemaNode{Type: "string", Pattern: KindDuration.pattern()})
	} else {
		n.AnyOf = append(n.AnyOf, &schemaNode{Type: "string", Pattern: KindBytes.pattern()}, &schemaNode{Type: "string", Pattern: KindCount.pattern()})
	}
	if len(p.Choices) > 0 {
		n.AnyOf = append(n.AnyOf, &schemaNode{Type: "string", Enum: p.Choices})
	}
	return n
}

// ScenarioSchema returns the JSON Schema of scenario files.
func ScenarioSchema() ([]byte, error) {
	root := &schemaNode{
		Schema: draft, ID: "xmppbench.scenario/1", Title: "xmppbench scenario", Type: "object", Additional: false, Required: []string{"scenario"},
		Description: "A list where a single value may stand is a dimension; the plans of a run are the cross product.",
		Properties:  map[string]*schemaNode{"scenario": {Type: "string", Enum: Names(), Description: "What the actors do."}},
	}
	put := func(path string, n *schemaNode) {
		at := root
		group, name, nested := strings.Cut(path, ".")
		if nested {
			if at.Properties[group] == nil {
				at.Properties[group] = &schemaNode{Type: "object", Additional: false, Properties: make(map[string]*schemaNode)}
			}
			at = at.Properties[group]
		} else {
			name = group
		}
		at.Properties[name] = n
	}
	for _, k := range Keys() {
		doc := k.Explained("")
		if name, ok := k.lacking(); ok {
			doc += " Not in " + name + "."
		} else if k.Scenarios != nil {
			doc += " Only in " + strings.Join(k.Scenarios, ", ") + "."
		}
		put(k.Path, dimensionSchema(k.value(), doc, k.Default))
	}
	names := &schemaNode{Type: "string", Enum: []string{"all"}}
	variant := []*schemaNode{names}
	for _, f := range families() {
		names.Enum = append(names.Enum, f.names()...)
		entry := &schemaNode{Type: "object", Additional: false, Required: []string{"variant"}, Properties: map[string]*schemaNode{
			"variant": {Type: "string", Enum: f.names()},
			"as":      {Type: "string", Description: "Label in results, the variant's name if left out."},
		}}
		for _, p := range f.settings() {
			value := paramValue(p)
			put(f.prefix+"."+p.Name, dimensionSchema(value, p.Doc, fmt.Sprint(p.Default)))
			one := *value
			one.Description = p.Doc
			entry.Properties[p.Name] = &one
		}
		variant = append(variant, entry)
	}
	list := &schemaNode{Type: "array", MinItems: 1, Items: &schemaNode{AnyOf: variant}}
	root.Properties["variants"] = &schemaNode{
		Description: "What is compared; the first is the baseline.", AnyOf: append(slices.Clone(variant), list),
	}
	condition := &schemaNode{AnyOf: []*schemaNode{
		{Type: "string", Description: "An expression without the metric, such as p(99)<2s; abort after it ends the run when it is broken, abort after 10s not before."},
		{Type: "object", Additional: false, Required: []string{"threshold"}, Properties: map[string]*schemaNode{
			"threshold":      {Type: "string", Description: "The expression."},
			"abortOnFail":    {Type: "boolean", Description: "End the run as soon as it is broken."},
			"delayAbortEval": {Type: "string", Pattern: KindDuration.pattern(), Description: "But not before this time has passed since the first sample."},
		}},
	}}
	root.Properties["thresholds"] = &schemaNode{
		Type: "object", Description: "Conditions by metric, such as ready: [\"p(99)<2s\"].",
		Additional: &schemaNode{AnyOf: []*schemaNode{condition, {Type: "array", Items: condition}}},
	}
	return marshalSchema(root)
}

// TargetSchema returns the JSON Schema of target files.
func TargetSchema() ([]byte, error) { return marshalSchema(targetSchema()) }

func targetSchema() *schemaNode {
	text := func(doc string) *schemaNode { return &schemaNode{Type: "string", Description: doc} }
	whole := func(doc string) *schemaNode { return &schemaNode{Type: "integer", Description: doc} }
	object := func(doc string, properties map[string]*schemaNode) *schemaNode {
		return &schemaNode{Type: "object", Description: doc, Additional: false, Properties: properties}
	}
	list := func(doc string) *schemaNode {
		return &schemaNode{Type: "array", Description: doc, Items: &schemaNode{Type: "string"}}
	}
	root := object("A real server: where it is, who can log in, and how accounts are made on it.", map[string]*schemaNode{
		"server":  {Type: "string", Enum: []string{ServerProsody, ServerEjabberd, ServerOther}, Description: "The software."},
		"domains": list("Domains that accounts live at."),
		"connect": object("Left out, SRV records are followed and the system's authorities trusted.", map[string]*schemaNode{
			"host": text("Name or address."), "port": whole("Client port, 5222 if left out."), "direct-tls-port": whole("Port for direct TLS, 5223 if left out."),
			"s2s-port": whole("Port for servers, 5269 if left out."), "s2s-direct-port": whole("Port for servers with direct TLS, 5270 if left out."),
			"ca": text("PEM file of the authorities trusted."), "insecure": {Type: "boolean", Description: "Do not verify certificates."},
			"dns": list("Resolvers, address:port, in place of the system's."), "sources": list("Local addresses to connect from, in turn."),
		}),
		"accounts": object("By a pattern, by a CSV file, or by an environment variable.", map[string]*schemaNode{
			"pattern": text("Local part with {i} or {i:07} for the number, {n} for the size of the roster."),
			"first":   whole("Number of the first account."), "count": whole("Number of accounts."),
			"password": object("Where the password is; passwords themselves do not stand in files.", map[string]*schemaNode{
				"env": text("Environment variable."), "file": text("File."),
			}),
			"csv": text("File with lines jid,password."), "env": text("Environment variable with such lines."),
		}),
		"federation": object("Our end of a federation with the server, whose resolver must ask our DNS server.", map[string]*schemaNode{
			"listen": text("address:port at which our provider takes streams."), "dns": text("address:port at which our DNS server answers."),
			"domain":      text("Names of our domains, {i} for the number."),
			"certificate": text("PEM file of the certificate that our provider shows, which names all of its domains; left out, one that nobody knows."),
			"key":         text("PEM file of its key."),
		}),
		"observe": object("How to see what the server uses.", map[string]*schemaNode{
			"pid": whole("Process."), "pid-file": text("File that holds it, read anew each time."),
			"port":  whole("Port of this machine that its processes listen at, at connect.host if that is an address."),
			"agent": text("host:port or URL of xmppbench observe on the server's machine."),
			"ca":    text("PEM file of the authorities that the agent's certificate is trusted by; the agent is asked over TLS then."),
			"token": object("Where the token of the agent is.", map[string]*schemaNode{
				"env": text("Environment variable."), "file": text("File."),
			}),
			"metrics": text("URL of metrics in the format of Prometheus or OpenMetrics."), "api": text("URL of ejabberd's mod_http_api."),
		}),
		"control": object("Commands that act on the server, which a scenario runs only where it says so.", map[string]*schemaNode{
			"restart": text("Command line that restarts the server, run by the shell in the folder of the target file."),
		}),
		"provision": object("How accounts and rosters are made; without it they exist already.", map[string]*schemaNode{
			"ledger": text("File that records what was made."), "owner": text("User the server runs as."), "data": text("Prosody's data_path."),
			"hash": {Type: "string", Enum: []string{"SHA-1", "SHA-256"}, Description: "How the server keeps SCRAM keys; left out, passwords are written in clear."}, "iterations": whole("Iterations of hash, 10 000 if left out."),
			"database": text("ejabberd's SQLite file, {domain} for the domain; ejabberd must not run."), "schema": text("SQL file that makes the tables."),
			"ctl": text("ejabberd's control command with its options."), "api": text("URL of ejabberd's mod_http_api."), "export": text("XEP-0227 file to write."),
		}),
	})
	root.Schema, root.ID, root.Title, root.Required = draft, "xmppbench.target/1", "xmppbench target", []string{"server"}
	return root
}

func marshalSchema(n *schemaNode) ([]byte, error) {
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("scenarios: schema: %w", err)
	}
	return append(b, '\n'), nil
}
