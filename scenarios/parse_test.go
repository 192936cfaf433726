package scenarios

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/xmppbench/xmppbench/internal/golden"
)

func TestUnits(t *testing.T) {
	tests := []struct {
		kind Kind
		give string
		want any // nil: an error
	}{
		{KindCount, "0", 0},
		{KindCount, "10k", 10000},
		{KindCount, "1.5k", 1500},
		{KindCount, "2M", 2000000},
		{KindCount, "1.5", nil},
		{KindCount, "-1", nil},
		{KindCount, "-0", nil},
		{KindCount, "ten", nil},
		{KindCount, "1e300", nil},
		{KindCount, "NaN", nil},
		{KindCount, "Infk", nil},
		{KindBytes, "100", 100},
		{KindBytes, "64KiB", 65536},
		{KindBytes, "64 KiB", 65536},
		{KindBytes, "1MB", 1000000},
		{KindBytes, "12B", 12},
		{KindBytes, "-5KiB", nil},
		{KindBytes, "5Kib", nil},
		{KindDuration, "50ms", 50 * time.Millisecond},
		{KindDuration, "1m30s", 90 * time.Second},
		{KindDuration, "0", time.Duration(0)},
		{KindDuration, "5", nil},
		{KindDuration, "-5s", nil},
		{KindDuration, "5 parsecs", nil},
		{KindRate, "20/s", 20.0},
		{KindRate, "90/min", 1.5},
		{KindRate, "20", nil},
		{KindBitRate, "10Mbit/s", 10e6},
		{KindBitRate, "500 kbit/s", 500e3},
		{KindBitRate, "10MB/s", nil},
		{KindBool, "true", true},
		{KindBool, "yes", nil},
		{KindShare, "0.5", 0.5},
		{KindShare, "-0.5", nil},
		{KindShare, "1.5", nil},
	}
	for _, tt := range tests {
		k := Key{Kind: tt.kind}
		if tt.kind == KindShare {
			k.Max = 1
		}
		got, err := k.parse(tt.give)
		if tt.want == nil {
			if err == nil {
				t.Errorf("%s %q = %v, want an error", tt.kind, tt.give, got)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %q = %v, %v, want %v", tt.kind, tt.give, got, err, tt.want)
		}
	}
}

// TestDefaults parses the default of every key, and checks that every key sets
// something of its own.
func TestDefaults(t *testing.T) {
	for _, k := range Keys() {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: its doc is not a sentence: %q", k.Path, k.Doc)
		}
		if _, err := k.parse(k.Default); err != nil {
			t.Errorf("%s: default: %v", k.Path, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name, give, want string
		override         Override
	}{
		{name: "empty", give: "", want: `f.yaml: must hold one YAML document`},
		{name: "not a mapping", give: "[1, 2]", want: `f.yaml:1:1: must be a mapping`},
		{name: "no scenario", give: "blocks: 12", want: `f.yaml: scenario: is missing: name one of roster-login`},
		{name: "unknown scenario", give: "scenario: roster-logon", want: `f.yaml:1:11: scenario: "roster-logon" is not one of`},
		{name: "unknown key", give: "scenario: roster-login\nrooster: {items: 5}", want: `f.yaml:2:11: rooster.items: is unknown; did you mean roster.items?`},
		{name: "unknown key without a neighbour", give: "scenario: roster-login\nzzzzzzzzzzzz: 5", want: "f.yaml:2:1: zzzzzzzzzzzz: is unknown; `xmppbench explain roster-login` lists the keys"},
		{name: "impossible unit", give: "scenario: roster-login\nlink: {rate: 10MB/s}", want: `f.yaml:2:14: link.rate: "10MB/s" is not a value such as 10Mbit/s`},
		{name: "negative size", give: "scenario: roster-login\nroster:\n  items: -5", want: `f.yaml:3:10: roster.items: "-5" is negative`},
		{name: "duration without a unit", give: "scenario: roster-login\nlink: {rtt: 50}", want: `f.yaml:2:13: link.rtt: "50" is not a duration`},
		{name: "too large", give: "scenario: roster-login\nroster: {items: 100M}", want: `f.yaml:2:17: roster.items: 100M is above the maximum, 10000000`},
		{name: "wrong word", give: "scenario: roster-login\nlogin: {tls: always}", want: `f.yaml:2:14: login.tls: "always" is not one of starttls, direct, none`},
		{name: "empty list", give: "scenario: roster-login\nroster: {items: []}", want: `f.yaml:2:17: roster.items: is an empty list`},
		{name: "twice in a list", give: "scenario: roster-login\nroster: {items: [5, 5]}", want: `f.yaml:2:21: roster.items: 5 stands twice`},
		{name: "no value", give: "scenario: roster-login\nroster: {items: }", want: `f.yaml:2:10: roster.items: has no value`},
		{name: "duplicate key", give: "scenario: roster-login\nblocks: 12\nblocks: 13", want: `f.yaml:3:1: mapping key "blocks" already defined`},
		{name: "key of another scenario", give: "scenario: roster-login\nhold: {sessions: 5}", want: `f.yaml:2:8: hold.sessions: the scenario roster-login has no such key`},
		{name: "unknown variant", give: "scenario: roster-login\nvariants: [monolith]", want: `f.yaml:2:12: variants: "monolith" is not one of monolithic`},
		{name: "variant twice", give: "scenario: roster-login\nvariants: [monolithic, monolithic]", want: `f.yaml:2:24: variants: monolithic stands twice: give one of them another label`},
		{name: "setting no variant here has", give: "scenario: roster-login\nvariants: [monolithic]\nroster: {window: 4}", want: `f.yaml:3:10: roster.window: none of the variants in this run has such a setting`},
		{name: "too few blocks", give: "scenario: roster-login\nvariants: [monolithic, versioned]\nblocks: 5", want: `f.yaml: blocks: 5 blocks cannot tell 2 variants apart with 95 % confidence: use at least 6`},
		{name: "items too small", give: "scenario: roster-login\nroster: {item-bytes: 10}", want: `f.yaml: roster: population: items of 10 bytes are too small`},
		{name: "PLUS in clear", give: "scenario: roster-login\nlogin: {tls: none, sasl: SCRAM-SHA-256-PLUS}", want: `f.yaml: login.sasl: SCRAM-SHA-256-PLUS binds to a TLS channel`},
		{name: "threshold that is none", give: "scenario: roster-login\nthresholds: {ready: [\"fast\"]}", want: `f.yaml:2:22: thresholds.ready: `},
		{name: "quantile without samples", give: "scenario: roster-login\nthresholds: {ready: [\"p(99)<2s\"]}", want: `needs 1000 samples and this plan makes about 12`},
		{name: "threshold on what is not measured", give: "scenario: roster-login\nthresholds: {push: [\"mean<2s\"]}", want: `f.yaml:2:21: thresholds.push: the scenario roster-login does not measure push`},
		{name: "threshold in another unit", give: "scenario: roster-login\nthresholds: {ready: [\"mean<2MB\"]}", want: `f.yaml:2:22: thresholds.ready: `},
		{name: "nested and dotted key", give: "scenario: roster-login\nlink: {rtt: 5ms}\nlink.rtt: 6ms", want: `f.yaml:3:1: link.rtt: stands twice`},
		{name: "set of a mapping", give: "scenario: roster-login", override: Override{Set: []string{"link={rtt: 5ms, rat: 5}"}}, want: `--set link={rtt: 5ms, rat: 5}: link.rat: is unknown; did you mean link.rtt?`},
		{name: "set of what no variant has", give: "scenario: roster-login\nvariants: [monolithic]", override: Override{Set: []string{"roster.window=4"}}, want: `--set roster.window=4: none of the variants`},
		{name: "too few blocks asked for", give: "scenario: roster-login\nvariants: [monolithic, versioned]", override: Override{Blocks: new(5)}, want: `--blocks: 5 blocks cannot tell 2 variants apart`},
		{name: "storm without a rate", give: "scenario: login-storm", want: `f.yaml: load.rate: a storm needs a rate`},
		{name: "too many plans", give: "scenario: roster-login\nseed: [" + numbers(40) + "]\nroster: {items: [" + numbers(40) + "]}", want: `f.yaml: makes more than 1000 plans`},
		{name: "set without a value", give: "scenario: roster-login", override: Override{Set: []string{"roster.items"}}, want: `--set roster.items: must be path=value`},
		{name: "set of an unknown key", give: "scenario: roster-login", override: Override{Set: []string{"roster.itms=5"}}, want: `--set roster.itms=5: is unknown; did you mean roster.items?`},
		{name: "unknown baseline", give: "scenario: roster-login", override: Override{Baseline: "rsm"}, want: `--baseline: "rsm" is none of the variants of this run`},
		{name: "tab", give: "scenario: roster-login\n\tblocks: 5", want: `f.yaml:2:`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.give), tt.override)
			var file *FileError
			if !errors.As(err, &file) {
				t.Fatalf("error %v, want a FileError", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error\n\t%v\nwants\n\t%s", err, tt.want)
			}
		})
	}
}

// numbers lists n different counts.
func numbers(n int) string {
	var all []string
	for i := range n {
		all = append(all, strconv.Itoa(i+1))
	}
	return strings.Join(all, ",")
}

// TestSet applies settings over those of a file, whole mappings too.
func TestSet(t *testing.T) {
	source := "scenario: roster-login\nlink: {rtt: 10ms, rate: 10Mbit/s}\nthresholds: {ready: [\"mean<2s\"], login: [\"mean<1s\"]}\n"
	plans, err := Parse("f.yaml", []byte(source), Override{Set: []string{
		"link={rtt: 20ms, jitter: 1ms}", "blocks=7", "blocks=8", "thresholds.ready=[mean<3s, max<5s]",
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := plans[0]
	if want := (Link{RTT: 20 * time.Millisecond, Jitter: time.Millisecond, Rate: 10e6}); len(plans) != 1 || p.Link != want || p.Blocks != 8 {
		t.Errorf("%d plans, link %+v, %d blocks", len(plans), p.Link, p.Blocks)
	}
	if diff := cmp.Diff([]string{"login mean<1s", "ready mean<3s", "ready max<5s"}, p.Thresholds); diff != "" {
		t.Errorf("thresholds (-want +got):\n%s", diff)
	}
}

func TestDimensions(t *testing.T) {
	plans, err := Parse("f.yaml", []byte("scenario: roster-login\nroster: {items: [1k, 10k]}\nlink: {rtt: [10ms, 50ms], rate: 10Mbit/s}\n"), Override{Set: []string{"seed=7"}})
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, p := range plans {
		labels = append(labels, p.Label)
		if p.Seed != 7 {
			t.Errorf("%s: seed %d, want 7", p.Label, p.Seed)
		}
	}
	want := []string{"items=1k,rtt=10ms", "items=1k,rtt=50ms", "items=10k,rtt=10ms", "items=10k,rtt=50ms"}
	if diff := cmp.Diff(want, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if p := plans[3]; p.Roster.Items != 10000 || p.Link.RTT != 50*time.Millisecond || p.Link.Rate != 10e6 {
		t.Errorf("last plan has %+v, %+v", p.Roster, p.Link)
	}
}

func TestArms(t *testing.T) {
	source := `
scenario: roster-login
variants: [monolithic, {variant: chunked-pull, max-bytes: 64KiB, as: pull-64k}, chunked-push]
roster: {window: [2, 8]}
`
	plans, err := Parse("f.yaml", []byte(source), Override{Baseline: "chunked-push"})
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) != 2 {
		t.Fatalf("%d plans, want 2", len(plans))
	}
	var labels []string
	for _, arm := range plans[1].Arms {
		labels = append(labels, arm.Label)
	}
	if diff := cmp.Diff([]string{"chunked-push", "monolithic", "pull-64k"}, labels); diff != "" {
		t.Errorf("arms (-want +got):\n%s", diff)
	}
	if got := plans[1].Arms[0].Params.Window; got != 8 {
		t.Errorf("window %d, want 8", got)
	}
	if got := plans[1].Arms[2].Params.MaxBytes; got != 64<<10 {
		t.Errorf("max-bytes %d, want 65536", got)
	}
}

// TestSharedSettings gives a setting a value that only one of the variants that
// share it takes.
func TestSharedSettings(t *testing.T) {
	source := "scenario: roster-login\nroster: {window: unbounded}\n"
	plans, err := Parse("f.yaml", []byte(source), Override{Variants: []string{"chunked-push"}})
	if err != nil || plans[0].Arms[0].Params.Window != -1 {
		t.Errorf("chunked-push with an unbounded window: %v", err)
	}
	if _, err := Parse("f.yaml", []byte(source), Override{Variants: []string{"chunked-pull"}}); err == nil {
		t.Error("chunked-pull takes an unbounded window")
	}
}

// TestDimensionsThatEndAlike are told apart by their whole path.
func TestDimensionsThatEndAlike(t *testing.T) {
	source := "scenario: roster-login\nlink: {rtt: 1ms, rate: [1Mbit/s, 2Mbit/s]}\nload: {rate: [5/s, 6/s]}\n"
	plans, err := Parse("f.yaml", []byte(source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	if got := plans[1]; got.Label != "link.rate=1Mbit_s,load.rate=6_s" || len(got.Dimensions) != 2 {
		t.Errorf("plan %s with dimensions %v", got.Label, got.Dimensions)
	}
}

// TestIdleCostHasNoVariants: a key must not be taken and do nothing.
func TestIdleCostHasNoVariants(t *testing.T) {
	for _, o := range []Override{{Variants: []string{"rsm"}}, {Set: []string{"variants=rsm"}}} {
		if _, err := Parse("f.yaml", []byte("scenario: idle-cost\n"), o); err == nil || !strings.Contains(err.Error(), "compares none") {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

// TestLoadRefuses what only one-shot cells can do.
func TestLoadRefuses(t *testing.T) {
	for source, want := range map[string]string{
		"variants: versioned\n":                             "has no primed caches",
		"variants: {variant: chunked-pull, state: stale}\n": "has no primed caches",
		"cut: {at: 0.5}\n":                                  "cut.at: is for one-shot cells",
	} {
		_, err := Parse("f.yaml", []byte("scenario: roster-login\nload: {rate: 5/s}\n"+source), Override{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", source, err, want)
		}
	}
}

// TestShipped parses every scenario that comes with the program, and holds it
// against the schema.
func TestShipped(t *testing.T) {
	schema := compile(t, "schema/scenario.schema.json")
	for _, name := range Names() {
		source, err := Shipped(name)
		if err != nil {
			t.Fatal(err)
		}
		plans, err := Parse(name+".yaml", source, Override{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if plans[0].Scenario != name {
			t.Errorf("%s.yaml is of scenario %s", name, plans[0].Scenario)
		}
		validate(t, schema, source)
	}
}

func TestSchemas(t *testing.T) {
	scenario, err := ScenarioSchema()
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("schema", "scenario.schema.json"), scenario)
	target, err := TargetSchema()
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("schema", "target.schema.json"), target)
}

// TestSchemaRefuses shows that the schema finds what the parser finds.
func TestSchemaRefuses(t *testing.T) {
	schema := compile(t, "schema/scenario.schema.json")
	for _, source := range []string{"scenario: roster-logon", "scenario: roster-login\nrooster: 5", "scenario: roster-login\nlink: {rate: 10MB/s}", "blocks: 5"} {
		if err := schema.Validate(decoded(t, []byte(source))); err == nil {
			t.Errorf("the schema admits %q", source)
		}
	}
}

func compile(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func decoded(t *testing.T, source []byte) any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(source)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func validate(t *testing.T, schema *jsonschema.Schema, source []byte) {
	t.Helper()
	if err := schema.Validate(decoded(t, source)); err != nil {
		t.Errorf("schema: %v", err)
	}
}

// FuzzParse looks for files that make the parser panic, hang or return an error
// without a place.
func FuzzParse(f *testing.F) {
	for _, name := range Names() {
		source, err := Shipped(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source)
	}
	f.Add([]byte("scenario: roster-login\nroster: {items: [1k, 10k]}\nvariants: [{variant: chunked-pull, as: x}]"))
	f.Add([]byte("scenario: roster-login\nthresholds: {ready: [\"p(50)<2s\"]}"))
	f.Add([]byte("a: &x [*x]"))
	f.Add([]byte("scenario: !!binary x"))
	f.Fuzz(func(t *testing.T, source []byte) {
		plans, err := Parse("f.yaml", source, Override{})
		if err != nil {
			var file *FileError
			if !errors.As(err, &file) {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		for _, p := range plans {
			if len(p.Arms) == 0 || p.Label == "" || p.Blocks < 1 && p.Scenario != CapacitySheet {
				t.Errorf("a plan that cannot run: %+v", p)
			}
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add([]byte("server: prosody\ndomains: [a.test]\nprovision: {data: d}\n"))
	f.Add([]byte("server: ejabberd\ndomains: [a.test]\naccounts: {pattern: \"u{i}\", count: 5}\nconnect: {host: 127.0.0.1, port: 5222}"))
	f.Fuzz(func(t *testing.T, source []byte) {
		target, err := ParseTarget("t.yaml", source)
		var file *FileError
		if err != nil && !errors.As(err, &file) {
			t.Errorf("error without a place: %v", err)
		}
		if err == nil && target.Server == "" {
			t.Error("a target without a server")
		}
	})
}

func TestParseTarget(t *testing.T) {
	source := `
server: prosody
domains: [a1.test, a2.test]
connect: {host: 127.0.10.1, port: 15222, ca: ca.pem}
accounts: {pattern: "u{i}", count: 10, password: {env: XMPP_PASSWORD}}
observe: {pid-file: prosody.pid}
provision: {data: ./data, owner: prosody}
`
	target, err := ParseTarget(filepath.Join("lab", "pa.yaml"), []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	if target.Name != "pa" || target.Connect.CA != filepath.Join("lab", "ca.pem") || target.Provision.Data != filepath.Join("lab", "data") {
		t.Errorf("names are not relative to the file: %+v", target)
	}
	validate(t, compile(t, "schema/target.schema.json"), []byte(source))
}

// TestFederationAccounts makes one account at each domain of a server.
func TestFederationAccounts(t *testing.T) {
	file, err := ParseTarget("t.yaml", []byte("server: prosody\ndomains: [r1.test, r2.test, r3.test]\nprovision: {data: d}\n"))
	if err != nil {
		t.Fatal(err)
	}
	pop, err := file.Population(parseFederation(t, "domains: 2x3")[0])
	if err != nil {
		t.Fatal(err)
	}
	if pop.Accounts() != 3 || pop.Account(2).Domain != "r3.test" {
		t.Errorf("%d accounts, the last at %s", pop.Accounts(), pop.Account(pop.Accounts()-1).Domain)
	}
}

// TestFederationTarget refuses plans that a real server is not prepared for.
func TestFederationTarget(t *testing.T) {
	const own = "connect: {host: 127.0.10.1}\nfederation: {listen: \"127.0.10.4:15269\", dns: \"127.0.10.53:15053\", domain: \"g{i}.test\"}\n"
	tests := []struct {
		name, plan, target string
		accounts           int
		want               string
	}{
		{"ready", "domains: 9x2\nsimulator: {key: rsa-2048}", own, 2, ""},
		{"no end of ours", "domains: 9x2", "", 2, "t: federation: is missing: say where our provider listens"},
		{"too few domains", "domains: 2x3", own, 2, "t: domains: has 2 domains, and 2x3 asks for 3 at the server"},
		{"several providers", "domains: 2x2\nproviders: 3", own, 2, "t: providers: 3 federate, but a real server is one of two"},
		{"several processes", "domains: 2x2\nworkers: 2", own, 2, "t: workers: our provider listens at one address, 127.0.10.4:15269"},
		{"restart", "domains: 2x2\nevent: {kind: restart}", own, 2, "t: event.kind: restart is for two providers of the simulator"},
		{"link", "domains: 2x2\nlink: {rtt: 5ms}", own, 2, "t: link: lies between two providers of the simulator"},
		{"no address", "domains: 2x2", strings.Replace(own, "connect: {host: 127.0.10.1}\n", "", 1), 2, "t: connect.host: is missing"},
		{"too few accounts", "domains: 2x2", own, 1, "t: accounts.count: is 1, and each of 2 domains needs an account"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := fmt.Sprintf("server: prosody\ndomains: [r1.test, r2.test]\naccounts: {pattern: \"echo{i}\", count: %d}\n%s", tt.accounts, tt.target)
			file, err := ParseTarget("t.yaml", []byte(source))
			if err != nil {
				t.Fatal(err)
			}
			err = CheckTargets(parseFederation(t, tt.plan)[0], []Targets{ServerTargets{File: file}})
			if got := errorText(err); tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("error\n\t%s\nwants\n\t%s", got, tt.want)
			}
			if tt.target != "" {
				if got := file.Federation.domains(2); !slices.Equal(got, []string{"g1.test", "g2.test"}) {
					t.Errorf("our domains are %q", got)
				}
			}
		})
	}
}

func TestParseTargetErrors(t *testing.T) {
	tests := []struct{ name, give, want string }{
		{"empty", "", `t.yaml: server: "" is not one of prosody`},
		{"unknown server", "server: jabberd\ndomains: [a]", `t.yaml:1:1: server: "jabberd" is not one of`},
		{"unknown key", "server: prosody\ndomain: a.test", `t.yaml:2:1: unknown field "domain"`},
		{"no domains", "server: prosody", `t.yaml: domains: is missing`},
		{"bad domain", "server: prosody\ndomains: [a b]", `t.yaml:2:1: domains: "a b" is not a domain`},
		{"port alone", "server: prosody\ndomains: [a]\nconnect: {port: 5}", `t.yaml:3:1: connect.host: is missing`},
		{"port too large", "server: prosody\ndomains: [a]\nconnect: {host: h, port: 70000}", `t.yaml:3:`},
		{"CA and insecure", "server: prosody\ndomains: [a]\nconnect: {host: h, ca: x, insecure: true}", `connect.insecure: contradicts connect.ca`},
		{"nobody", "server: prosody\ndomains: [a]", `t.yaml: accounts: is missing: name the accounts that exist, or add provision`},
		{"s2s port alone", "server: prosody\ndomains: [a]\nconnect: {s2s-port: 5269}", `t.yaml:3:1: connect.host: is missing`},
		{"no address of ours", "server: prosody\ndomains: [a]\naccounts: {pattern: \"e{i}\"}\nfederation: {dns: \"127.0.0.1:53\"}", `t.yaml:4:1: federation.listen: "" is not address:port`},
		{"name in place of an address", "server: prosody\ndomains: [a]\nfederation:\n  listen: 127.0.0.1:5269\n  dns: localhost:53\n", `t.yaml:5:3: federation.dns: "localhost:53" is not address:port`},
		{"domains of ours without a number", "server: prosody\ndomains: [a]\nfederation: {listen: \"127.0.0.1:5269\", dns: \"127.0.0.1:53\", domain: g.test}", `t.yaml:3:61: federation.domain: "g.test" must hold {i} once`},
		{"upper case", "server: prosody\ndomains: [a]\nfederation: {listen: \"127.0.0.1:5269\", dns: \"127.0.0.1:53\", domain: \"G{i}.test\"}", `federation.domain: "G1.test" is not a domain in lower case`},
		{"domain of both", "server: prosody\ndomains: [x, g12.test]\nfederation: {listen: \"127.0.0.1:5269\", dns: \"127.0.0.1:53\", domain: \"g{i}.test\"}", `federation.domain: would make g12.test, which the server hosts`},
		{"authority of no agent", "server: prosody\ndomains: [a]\nobserve: {pid: 5, ca: x.pem}", `observe.agent: is missing: ca is for the certificate of an agent`},
		{"authority without TLS", "server: prosody\ndomains: [a]\nobserve: {agent: \"http://a:1\", ca: x.pem, token: {env: T}}", `observe.ca: is for TLS`},
		{"two pids", "server: prosody\ndomains: [a]\nobserve: {pid: 5, pid-file: x}", `observe: names the process in more than one way`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTarget("t.yaml", []byte(tt.give))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error\n\t%v\nwants\n\t%s", err, tt.want)
			}
		})
	}
}
