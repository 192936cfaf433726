package cli

import (
	"encoding/json"
	"fmt"
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
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Duration  time.Duration        `json:"duration-ns"`
			Estimates []scenarios.Estimate `json:"estimates"`
		}{total, estimates})
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.Name())
	}
	fmt.Fprintf(a.stdout, "%s at %s, %s, about %s\n\n", plans[0].Scenario, strings.Join(names, ", "), cells(plans, len(targets), aa), roundDuration(total))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "plan\tvariant\tstanzas in\tout\tround trips\titem bytes\tcomplete\tready\tprobe mean\tmax\tconnections\thandshakes\ttime\t")
	for _, e := range estimates {
		about := ""
		if !e.Exact {
			about = "~"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%d\t%s%d\t%s%d\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t\n", e.Plan, e.Arm, about, e.StanzasIn, about, e.StanzasOut,
			about, e.RoundTrips, e.Bytes, expected(e, "roster.complete.mean"), expected(e, "ready.mean"), expected(e, "probe.mean"), expected(e, "probe.max"),
			e.Connections, e.Handshakes, roundDuration(e.Duration))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\nStanzas, round trips and item bytes are those of one retrieval; ~ marks counts that the sizes of single items can change.")
	fmt.Fprintln(a.stdout, "Times are theory on the plan's link; connections, handshakes and time are those of all blocks, warm-up included.")
	for _, p := range plans {
		if limit, err := proc.DescriptorLimit(); err == nil && p.Workers() > limit {
			fmt.Fprintf(a.stdout, "Plan %s holds up to %d sessions; this process may open %d descriptors.\n", p.Label, p.Workers(), limit)
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
