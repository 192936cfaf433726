package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/results"
)

func (a *app) report() *cobra.Command {
	var (
		format  string
		output  string
		rebuild bool
	)
	c := &cobra.Command{
		Use:   "report RUN...",
		Short: "Report what runs measured",
		Long: `Report what runs measured: as tables for a terminal or in Markdown, as one HTML
file with pictures that fetches nothing, as JSON, as comma-separated values, as
one HdrHistogram interval log, or as lines that benchstat reads. A run that died
is reported as far as it was written; one that is invalid shows why.

docs/run-directory.md describes what runs leave behind.`,
		Example: `  xmppbench report runs/20261122T124900Z-roster-login-a1b2
  xmppbench report RUN --format html -o report.html
  xmppbench report RUN --format hlog -o latency.hlog`,
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
			return a.reportRuns(args, format, output)
		},
	}
	flags := c.Flags()
	flags.StringVar(&format, "format", "text", strings.Join(results.Formats(), ", "))
	flags.StringVarP(&output, "output", "o", "-", "file to write; \"-\" is standard output")
	flags.BoolVar(&rebuild, "rebuild", false, "derive summary.json anew from the other files first")
	return c
}

func (a *app) reportRuns(dirs []string, format, output string) (err error) {
	runs, err := openRuns(dirs)
	if err != nil {
		return err
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
	if err := results.Report(w, runs, format, results.ReportOptions{Width: width, Color: a.colored(w)}); err != nil {
		return usage(err)
	}
	return nil
}

// output opens a file for writing, or standard output for "-".
func (a *app) output(name string) (io.Writer, func() error, error) {
	if name == "-" {
		return a.stdout, func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("output: %w", err))
	}
	return f, f.Close, nil
}
