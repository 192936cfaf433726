package cli_test

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// priced DIR FILE [FACTOR] writes the run that a scenario file of federation or session-cost
// asks for, with counts by closed form, costs of known prices, and CPU time times FACTOR.
func priced(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: priced DIR FILE [FACTOR]")
	}
	source, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	plans, err := scenarios.Parse(args[1], source, scenarios.Override{})
	ts.Check(err)
	factor := 1.0
	if len(args) == 3 {
		factor, err = strconv.ParseFloat(args[2], 64)
		ts.Check(err)
	}
	m := results.Manifest{
		ID: args[0], Scenario: plans[0].Scenario, Config: map[string]any{"plans": plans}, Targets: []results.TargetInfo{{Name: "sim", Server: scenarios.SimulatorServer}}, Limits: results.DefaultLimits(),
		Environment: results.Environment{
			Host: "bench", OS: "linux", Arch: "amd64", CPU: "Example CPU", CPUs: 2, Memory: 8 << 30, Go: "go1.26", GOMAXPROCS: 2,
			Ulimit: map[string]string{"nofile": "1024/4096"}, Sysctl: map[string]string{"net.ipv4.ip_local_port_range": "32768\t60999"},
		},
	}
	for _, arm := range plans[0].Arms {
		m.Variants = append(m.Variants, arm.Label)
	}
	for _, p := range plans {
		m.Plans = append(m.Plans, results.Plan{Name: p.Label, Dimensions: p.Dimensions})
	}
	w, err := results.Create(ts.MkAbs(args[0]), m, results.Options{Recorder: results.NewRecorder()})
	ts.Check(err)
	for _, p := range plans {
		for block := range p.Blocks {
			for arm, scalars := range costs(p, factor, block) {
				w.Block(results.Block{Key: results.Key{Plan: p.Label, Variant: arm, Block: block}, Valid: true, Scalars: scalars})
			}
		}
	}
	ts.Check(w.Close(results.StatusOK))
}

// valid SCHEMA [FILE] checks what the last command has printed, or a file, against a
// shipped schema.
func valid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: valid SCHEMA [FILE]")
	}
	file := "stdout"
	if len(args) == 2 {
		file = args[1]
	}
	ts.Check(validate(args[0], ts.ReadFile(file)))
}

// validate holds a document against a shipped schema.
func validate(name, document string) error {
	text, err := results.Schemas().ReadFile("schema/" + name)
	if err != nil {
		return err
	}
	source, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, source); err != nil {
		return err
	}
	schema, err := c.Compile(name)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		return err
	}
	return schema.Validate(doc)
}

// costs are the figures of a block of a plan, by variant.
func costs(p scenarios.Plan, factor float64, block int) map[string]map[string]float64 {
	all := make(map[string]map[string]float64)
	if p.Scenario == scenarios.FederationScenario {
		for _, e := range p.MeshEstimates() {
			all[e.Arm] = meshCosts(e.Counts, factor, block)
		}
		return all
	}
	for _, e := range p.Estimates() {
		sessions := float64(p.Online.Sessions)
		items, messages := sessions*float64(p.Roster.Items), sessions*float64(p.Messages.Each)
		noise := 1 + 0.01*float64(block%3-1) + 0.02*math.Sin(messages)
		all[e.Arm] = map[string]float64{
			"sessions": sessions, "roster.items": items, "messages.sent": messages,
			"stanzas":    sessions*float64(e.StanzasIn+e.StanzasOut+2) + 2*messages,
			"cpu.server": factor * noise * (0.01 + 1.5e-3*sessions + 2e-6*items + 50e-6*messages),
			"cpu.client": factor * noise * (0.01 + 2e-3*sessions + 2e-6*items + 40e-6*messages),
			"bytes.in":   2000*sessions + 102*items + 200*messages, "bytes.out": 1000*sessions + 160*messages,
			"bytes.in.tls": 3000*sessions + 103*items + 220*messages, "bytes.out.tls": 2000*sessions + 180*messages,
			"heap.server": 1e6 + 11e3*sessions, "rss.server": 22e6 + 22e3*sessions, "fds.server": 10 + sessions,
		}
	}
	return all
}

// meshCosts are the figures of a block of a mesh with these counts.
func meshCosts(counts map[string]int, factor float64, block int) map[string]float64 {
	s := make(map[string]float64)
	for name, n := range counts {
		s[name] = float64(n)
	}
	links, messages, pairs := s["connections.opened"], s["messages"], s["pairs"]
	proofs := s["authority.sasl"] + s["authority.results"] + s["authority.verifies"] + s["authority.asserts"] + s["authority.proofs"] + s["authority.verdicts"]
	noise := 1 + 0.01*float64(block%3-1) + 0.02*math.Sin(messages)
	s["cpu.mesh"] = factor * noise * (0.004 + 0.001*links + 60e-6*proofs + 16e-6*messages)
	s["bytes.mesh"] = 300 + 1500*links + 160*proofs + 196*messages
	s["bytes.mesh.tls"] = 500 + 6000*links + 170*proofs + 217*messages
	for _, side := range []string{".a", ".b"} {
		s["heap"+side] = 2e6 + 9e3*links + 700*pairs
		s["rss"+side] = 18e6 + 14e3*links + 900*pairs
		s["fds"+side] = 10 + links
	}
	return s
}
