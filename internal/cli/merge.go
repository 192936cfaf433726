package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/results"
)

func (a *app) merge() *cobra.Command {
	var (
		output string
		o      results.MergeOptions
	)
	c := &cobra.Command{
		Use:   "merge RUN... -o DIR",
		Short: "Make one run of the instances of a test that was split",
		Long: `Make one run directory of those that the instances of one test wrote, such as the
pods of a Kubernetes TestRun. Counts, errors and histograms are added, so that a
quantile of the whole is that of all samples, not an average of quantiles.

Runs of different scenarios are refused. Runs of different machines, targets or
wire versions, or that did not run at the same time, are refused unless told
otherwise. docs/k6.md says how to split a test.`,
		Example: `  xmppbench merge runs/crowd-0 runs/crowd-1 runs/crowd-2 -o runs/crowd
  xmppbench merge runs/pod-* -o runs/crowd --allow-different`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if output == "" {
				return usage(errors.New("-o is missing: name the directory to write"))
			}
			return a.mergeRuns(args, output, o)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVarP(&output, "output", "o", "", "`DIR` to write; it must not exist")
	flags.BoolVar(&o.AllowDifferent, "allow-different", false, "merge runs of different machines, targets or wire versions, or of different times")
	return c
}

// merged is the answer of merge as JSON.
type merged struct {
	Run     string           `json:"run"` // directory
	Status  results.Status   `json:"status"`
	Runs    int              `json:"runs"`
	Samples map[string]int64 `json:"samples"` // by metric
	Counts  map[string]int64 `json:"counts,omitempty"`
}

func (a *app) mergeRuns(dirs []string, output string, o results.MergeOptions) error {
	runs, err := openRuns(dirs)
	if err != nil {
		return err
	}
	if err := results.Merge(output, runs, o); err != nil {
		return usage(err)
	}
	whole, err := results.Open(output)
	if err != nil {
		return err
	}
	out := merged{Run: output, Status: whole.Done.Status, Runs: len(runs), Samples: make(map[string]int64), Counts: whole.Counters(results.Filter{})}
	var all int64
	for _, metric := range whole.TimedMetrics() {
		n := whole.Timings(metric, results.Filter{}).Of(results.Service).N()
		out.Samples[metric] = n
		all += n
	}
	if a.json {
		return a.writeJSON(out)
	}
	fmt.Fprintf(a.stdout, "%s: %s of %s with %s, %s\n", output, plural(len(out.Samples), "metric"), plural(len(runs), "run"),
		plural(int(all), "sample"), out.Status)
	for _, reason := range whole.Done.Reasons {
		fmt.Fprintf(a.stdout, "%s: %s\n", out.Status, reason)
	}
	return nil
}
