package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// dryRun prints what a run would do, and connects to nothing.
func (a *app) dryRun(plans []scenarios.Plan, targets []scenarios.Targets, aa bool) error {
	var total time.Duration
	for _, p := range plans {
		total += p.Duration(aa) * time.Duration(len(targets))
	}
	if !a.json {
		var names []string
		for _, t := range targets {
			names = append(names, t.Name())
		}
		fmt.Fprintf(a.stdout, "%s at %s:\n%s, about %s.\n", plans[0].Scenario, strings.Join(names, ", "), cells(plans, len(targets), aa), roundDuration(total))
	}
	if plans[0].Scenario == scenarios.CapacitySheet {
		return a.drySheet(plans[0])
	}
	if plans[0].Scenario == scenarios.FederationScenario {
		server := slices.ContainsFunc(targets, func(t scenarios.Targets) bool { _, ok := t.(scenarios.ServerTargets); return ok })
		return a.dryMesh(plans, total, server)
	}
	if plans[0].Scenario == scenarios.ReconnectHerd {
		return a.dryHerd(plans, targets, total)
	}
	return a.drySessions(plans, total)
}

// estimated is the answer of a dry run in JSON.
type estimated[E any] struct {
	Duration  time.Duration        `json:"duration-ns"`
	Estimates []E                  `json:"estimates"`
	Arrivals  []scenarios.Arrivals `json:"arrivals,omitempty"`
}

// dryArrivals says how many arrivals each load of the plans has.
func (a *app) dryArrivals(plans []scenarios.Plan) error {
	if !slices.ContainsFunc(plans, func(p scenarios.Plan) bool { return len(p.Streams()) > 0 && p.Load.Duration > 0 }) {
		return nil
	}
	fmt.Fprintln(a.stdout, "\nArrivals expected in each cell, by window:")
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "plan\tload\tshape\twarm-up\tmeasured\tcool-down")
	for _, p := range plans {
		opens, measured, cooldown := p.Load.Warmup, p.Load.Duration, p.Load.Cooldown
		fmt.Fprintf(w, "%s\twindows\t\t%s\t%s\t%s\n", p.Label, opens, measured, cooldown)
		for _, e := range p.Arrivals() {
			number := func(n float64) string {
				if e.Closed {
					return "as it goes"
				}
				return strconv.FormatFloat(n, 'f', 0, 64)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Plan, e.Stream, e.Shape, number(e.Warmup), number(e.Measured), number(e.Cooldown))
		}
	}
	return w.Flush()
}

func (a *app) drySessions(plans []scenarios.Plan, total time.Duration) error {
	var estimates []scenarios.Estimate
	var arrivals []scenarios.Arrivals
	for _, p := range plans {
		estimates = append(estimates, p.Estimates()...)
		arrivals = append(arrivals, p.Arrivals()...)
	}
	if a.json {
		return a.writeJSON(estimated[scenarios.Estimate]{total, estimates, arrivals})
	}
	fmt.Fprintln(a.stdout, "\nCounts of one retrieval; ~ marks what the sizes of single items can change:")
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "plan\tvariant\tstanzas in\tout\tround trips\titem bytes\t")
	for _, e := range estimates {
		about := ""
		if !e.Exact {
			about = "~"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%d\t%s%d\t%s%d\t%d\t\n", e.Plan, e.Arm, about, e.StanzasIn, about, e.StanzasOut, about, e.RoundTrips, e.Bytes)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if slices.ContainsFunc(estimates, func(e scenarios.Estimate) bool { return len(e.Theory) > 0 }) {
		fmt.Fprintln(a.stdout, "\nWhat theory expects on the plan's link:")
		fmt.Fprintln(w, "plan\tvariant\tcomplete\tready\tprobe mean\tprobe max\t")
		for _, e := range estimates {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Plan, e.Arm, expected(e.Theory, "roster.complete.mean"), expected(e.Theory, "ready.mean"),
				expected(e.Theory, "probe.mean"), expected(e.Theory, "probe.max"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return a.dryTotals(plans, estimates, "In all, at each target, warm-up included:")
}

// dryTotals says what a plan of sessions takes in all.
func (a *app) dryTotals(plans []scenarios.Plan, estimates []scenarios.Estimate, text string) error {
	fmt.Fprintf(a.stdout, "\n%s\n", text)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "plan\tvariant\tconnections\thandshakes\ttime\t")
	for _, e := range estimates {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t\n", e.Plan, e.Arm, e.Connections, e.Handshakes, roundDuration(e.Duration))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := a.dryArrivals(plans); err != nil {
		return err
	}
	for _, p := range plans {
		if limit, err := proc.DescriptorLimit(); err == nil && p.Sessions() > limit {
			fmt.Fprintf(a.stdout, "\nPlan %s holds up to %d sessions; this process may open %d descriptors.\n", p.Label, p.Sessions(), limit)
		}
	}
	return nil
}

// dryHerd says when a herd would be back by its back-off alone, and what would be run.
func (a *app) dryHerd(plans []scenarios.Plan, targets []scenarios.Targets, total time.Duration) error {
	var estimates []scenarios.Estimate
	for _, p := range plans {
		estimates = append(estimates, p.Estimates()...)
	}
	if a.json {
		return a.writeJSON(estimated[scenarios.Estimate]{Duration: total, Estimates: estimates})
	}
	fmt.Fprintln(a.stdout, "\nWhen sessions would be back from the event by their back-off alone, if server and link took no time:")
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "plan\tvariant\tsessions\tevent\t50 %\t95 %\tall\t")
	for _, p := range plans {
		event := p.Herd.Event
		if event == scenarios.EventRestart {
			event += ", down " + p.Herd.Down.String()
		}
		for _, arm := range p.Arms {
			theory, _ := p.Theory(arm)
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", p.Label, arm.Label, p.Herd.Sessions, event,
				expected(theory, "back.50"), expected(theory, "back.95"), expected(theory, "back.all"))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range targets {
		server, ok := t.(scenarios.ServerTargets)
		restarts := 0
		for _, p := range plans {
			if p.Herd.Event == scenarios.EventRestart {
				restarts += len(p.Arms) * (p.Blocks + bench.DefaultWarmupBlocks)
			}
		}
		if ok && restarts > 0 {
			fmt.Fprintf(a.stdout, "\nAt %s the server is restarted %d times, by:\n  %s\nHow long it is away then is not known; the times above are for the simulator.\n",
				server.Name(), restarts, server.File.Control.Restart)
		}
	}
	return a.dryTotals(plans, estimates, "In all, at each target, warm-up included; each failed attempt to return takes one connection more:")
}

// expected is a scalar of theory as text, "-" where none is known.
func expected(theory map[string]float64, scalar string) string {
	v, ok := theory[scalar]
	if !ok {
		return "-"
	}
	return time.Duration(v * float64(time.Second)).Round(100 * time.Microsecond).String()
}

// dryMesh says what meshes of providers come to. server says that one of the providers
// is a real server, which follows rules of its own.
func (a *app) dryMesh(plans []scenarios.Plan, total time.Duration, server bool) error {
	var estimates []scenarios.MeshEstimate
	for _, p := range plans {
		estimates = append(estimates, p.MeshEstimates()...)
	}
	if a.json {
		return a.writeJSON(estimated[scenarios.MeshEstimate]{Duration: total, Estimates: estimates})
	}
	text := "\nThe mesh of all pairs of domains, which the counts of a run must equal:"
	switch {
	case server:
		text = "\nThe mesh of all pairs of domains if both ends kept to the variant, which a real server need not:"
	case slices.ContainsFunc(estimates, func(e scenarios.MeshEstimate) bool { return e.AtMost }):
		text = "\nThe mesh of all pairs of domains; traffic decides how many of them a run brings up:"
	}
	fmt.Fprintln(a.stdout, text)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	var counts []string
	for _, m := range results.Metrics() {
		// What all lack needs no column, and those of the plan stand in its name.
		if m.Name != "pairs" && m.Name != "domains" && slices.ContainsFunc(estimates, func(e scenarios.MeshEstimate) bool { return e.Counts[m.Name] > 0 }) {
			counts = append(counts, m.Name)
		}
	}
	fmt.Fprint(w, "plan\tvariant\tpairs\t")
	for _, name := range counts {
		fmt.Fprintf(w, "%s\t", shortCount(name))
	}
	fmt.Fprintln(w)
	for _, e := range estimates {
		fmt.Fprintf(w, "%s\t%s\t%d\t", e.Plan, e.Arm, e.Pairs)
		for _, name := range counts {
			fmt.Fprintf(w, "%d\t", e.Counts[name])
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\nRound trips until a message can pass, and until its echo is back, with the time they take on the plan's link:")
	fmt.Fprintln(w, "plan\tvariant\tfirst pair\techo\tfurther pair\techo\t")
	for _, e := range estimates {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Plan, e.Arm, rounds(e, "pair.first"), rounds(e, "pair.first.echo"),
			rounds(e, "pair.further"), rounds(e, "pair.further.echo"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\nWhat it takes at most; processes are those of each provider, ports those from one address to one other, time that of all blocks:")
	fmt.Fprintln(w, "plan\tvariant\tprocesses\tdescriptors of one\tports\tmemory\ttime\t")
	for _, e := range estimates {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d MiB\t%s\t\n", e.Plan, e.Arm, e.Workers, e.Descriptors, e.Ports, e.Memory>>20, roundDuration(e.Duration))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range plans {
		if err := scenarios.CheckMachine(p); err != nil {
			fmt.Fprintf(a.stdout, "\nPlan %s cannot run: %v.\n", p.Label, err)
		}
	}
	return nil
}

// rounds is a number of round trips with the time that theory expects of them.
func rounds(e scenarios.MeshEstimate, metric string) string {
	n, ok := e.Rounds[metric]
	switch {
	case !ok:
		return "-"
	case e.Theory == nil:
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d: %s", n, expected(e.Theory, metric+".mean"))
}

// shortCount is the heading of a count where all columns are counts of a mesh.
func shortCount(metric string) string {
	switch metric {
	case "handshakes.full":
		return "handshakes"
	case "keys.customer":
		return "keys"
	}
	return metric[strings.LastIndexByte(metric, '.')+1:]
}

// sheetPart is one measurement of a capacity sheet that would be made.
type sheetPart struct {
	Name     string        `json:"name"`
	Scenario string        `json:"scenario"`
	SLO      string        `json:"slo,omitempty"` // that is searched for
	Searches int           `json:"searches,omitempty"`
	Blocks   int           `json:"blocks,omitempty"`
	Budget   time.Duration `json:"budget-ns"`
}

// sheetParts is the answer of a dry run of a sheet in JSON.
type sheetParts struct {
	Duration time.Duration `json:"duration-ns"`
	Parts    []sheetPart   `json:"parts"`
}

func (a *app) drySheet(p scenarios.Plan) error {
	parts, err := p.Parts()
	if err != nil {
		return err
	}
	var all []sheetPart
	for _, part := range parts {
		about := sheetPart{Name: part.Name, Scenario: part.Plans[0].Scenario, SLO: part.SLO, Budget: part.Budget}
		if part.SLO != "" {
			about.Searches = p.Sheet.Searches
		} else {
			about.Blocks = part.Plans[0].Blocks
		}
		all = append(all, about)
	}
	if a.json {
		return a.writeJSON(sheetParts{p.Sheet.Budget, all})
	}
	fmt.Fprintln(a.stdout)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "part\tscenario\twhat\tat most")
	for _, part := range all {
		what := plural(part.Blocks, "block")
		if part.SLO != "" {
			what = fmt.Sprintf("searches: %d, for %s", part.Searches, part.SLO)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", part.Name, part.Scenario, what, roundDuration(part.Budget))
	}
	return w.Flush()
}
