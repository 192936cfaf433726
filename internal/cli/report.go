package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/results"
)

func (a *app) report() *cobra.Command {
	var (
		format  string
		output  string
		rebuild bool
		model   string
	)
	c := &cobra.Command{
		Use:   "report RUN...",
		Short: "Report what runs measured",
		Long: `Report what runs measured: as tables for a terminal or in Markdown, as one HTML
file with pictures that fetches nothing, as JSON, as comma-separated values, as
one HdrHistogram interval log, or as lines that benchstat reads. A run that died
is reported as far as it was written; one that is invalid shows why.

With --model, the report shows what a model file says of the runs: its line and
its errors, on the sizes that it was checked on and on those of the runs.

docs/run-directory.md describes what runs leave behind.`,
		Example: `  xmppbench report runs/20261122T124900Z-roster-login-a1b2
  xmppbench report RUN --format html -o report.html
  xmppbench report RUN --format hlog -o latency.hlog
  xmppbench report large --model model.json --format html -o report.html`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if a.json && !c.Flags().Changed("format") {
				format = "json"
			}
			if rebuild {
				for _, dir := range args {
					if err := results.Rebuild(dir, nil); err != nil {
						return err
					}
				}
			}
			return a.reportRuns(args, format, output, model)
		},
	}
	flags := c.Flags()
	flags.StringVar(&format, "format", "text", strings.Join(results.Formats(), ", "))
	flags.StringVarP(&output, "output", "o", "-", "file to write; \"-\" is standard output")
	flags.BoolVar(&rebuild, "rebuild", false, "derive summary.json anew from the other files first")
	flags.StringVar(&model, "model", "", modelFlag+", to set beside the runs")
	return c
}

func (a *app) reportRuns(dirs []string, format, output, model string) (err error) {
	runs, err := openRuns(dirs)
	if err != nil {
		return err
	}
	var beside *results.ModelReport
	if model != "" {
		if beside, err = a.beside(model, runs, format); err != nil {
			return err
		}
	}
	w, done, err := a.output(output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	width := 0
	if output == "-" {
		width = terminalWidth(a.stdout)
	}
	if err := results.Report(w, runs, format, results.ReportOptions{Width: width, Color: a.colored(w), Model: beside}); err != nil {
		return usage(err)
	}
	return nil
}

// beside reads what a model says of runs.
func (a *app) beside(file string, runs []*results.Run, format string) (*results.ModelReport, error) {
	if !slices.Contains([]string{"text", "html", "md", "json"}, format) {
		return nil, usage(fmt.Errorf("--model: the format %s has no place for a model: use text, html, md or json", format))
	}
	m, err := a.readModel(file)
	if err != nil {
		return nil, err
	}
	design, err := designOf(m.Scenario, m.Source.Targets)
	if err != nil {
		return nil, err
	}
	report, err := m.Report(runs, design)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", file, err))
	}
	return report, nil
}

// output opens a file for writing, or standard output for "-".
func (a *app) output(name string) (io.Writer, func() error, error) {
	if name == "-" {
		return a.stdout, func() error { return nil }, nil
	}
	f, err := os.Create(name) // #nosec G304 -- a file that the user names
	if err != nil {
		return nil, nil, usage(fmt.Errorf("output: %w", err))
	}
	return f, f.Close, nil
}
