package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios"
)

// dryRun prints what a run would do, and connects to nothing.
func (a *app) dryRun(plans []scenarios.Plan, targets []scenarios.Targets, aa bool) error {
	var estimates []scenarios.Estimate
	var total time.Duration
	for _, p := range plans {
		estimates = append(estimates, p.Estimates()...)
		total += p.Duration(aa) * time.Duration(len(targets))
	}
	if a.json {
		return a.writeJSON(struct {
			Duration  time.Duration        `json:"duration-ns"`
			Estimates []scenarios.Estimate `json:"estimates"`
		}{total, estimates})
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.Name())
	}
	fmt.Fprintf(a.stdout, "%s at %s:\n%s, about %s.\n", plans[0].Scenario, strings.Join(names, ", "), cells(plans, len(targets), aa), roundDuration(total))
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
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", e.Plan, e.Arm, expected(e, "roster.complete.mean"), expected(e, "ready.mean"),
				expected(e, "probe.mean"), expected(e, "probe.max"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.stdout, "\nIn all, at each target, warm-up included:")
	fmt.Fprintln(w, "plan\tvariant\tconnections\thandshakes\ttime\t")
	for _, e := range estimates {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t\n", e.Plan, e.Arm, e.Connections, e.Handshakes, roundDuration(e.Duration))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range plans {
		if limit, err := proc.DescriptorLimit(); err == nil && p.Sessions() > limit {
			fmt.Fprintf(a.stdout, "\nPlan %s holds up to %d sessions; this process may open %d descriptors.\n", p.Label, p.Sessions(), limit)
		}
	}
	return nil
}

// expected is a scalar of theory as text, "-" where none is known.
func expected(e scenarios.Estimate, scalar string) string {
	v, ok := e.Theory[scalar]
	if !ok {
		return "-"
	}
	return time.Duration(v * float64(time.Second)).Round(100 * time.Microsecond).String()
}
