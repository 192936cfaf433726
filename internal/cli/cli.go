// Package cli is the command line: one file for each command, a function of
// context, arguments and streams that returns an exit code. It is the only
// package that prints, draws progress or starts the program's own children.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/scenarios"
)

// The exit codes. Where several apply, the order is 130, 1, 2, 3, 4, 99, 5, 6.
const (
	ExitOK           = 0   // done, thresholds and gates met
	ExitInternal     = 1   // internal error, could not read or write, a count differs from its closed form
	ExitUsage        = 2   // wrong usage or invalid scenario
	ExitUnreachable  = 3   // target unreachable or pre-flight failed
	ExitInvalid      = 4   // the generator could not keep its promise
	ExitRegression   = 5   // --gate: regression proved
	ExitInconclusive = 6   // --gate: inconclusive
	ExitThresholds   = 99  // thresholds failed
	ExitInterrupted  = 130 // interrupted; partial results written
)

// textWidth is how wide help is, in columns.
const textWidth = 80

// app is what every command works with.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	color          string // auto, always or never
}

// exitError carries an exit code that the error alone does not tell. A nil err
// means that everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as one of usage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{ExitUsage, err}
}

// Main runs the command that args name and returns the exit code. It blocks until
// the command has ended; the end of ctx interrupts it. Nothing is read but stdin
// and what args name, and nothing printed but to stdout and stderr.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == proc.ChildArgument {
		return child(ctx, args[1], stdin, stdout, stderr)
	}
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	return a.execute(ctx, a.root(), args)
}

// Tools runs the commands that work with runs and accounts, for another program
// that has them below a command of its own: name is how a user calls it. What
// starts children is left to [Main], since a child is the program started anew.
func Tools(ctx context.Context, name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	return a.execute(ctx, a.tools(name), args)
}

func (a *app) execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	var silent *exitError
	if err != nil && (!errors.As(err, &silent) || silent.err != nil) {
		fmt.Fprintln(a.stderr, "xmppbench:", err)
	}
	return code
}

func (a *app) tools(name string) *cobra.Command {
	root := &cobra.Command{
		Use:   "xmppbench",
		Short: "Work with runs of xmppbench and with accounts",
		Long: `Work with the run directories that the output xmpp-hdr writes, with accounts, and
with the built-in simulator.`,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
	}
	a.finish(root, a.compare(), a.report(), a.view(), a.model(), a.merge(), a.serve(), a.users(), a.provision())
	return root
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "xmppbench",
		Short: "Measure XMPP servers and XMPP protocol proposals",
		Long: `xmppbench measures XMPP servers and XMPP protocol proposals: simulated clients
log in with massive rosters, and simulated hosting providers federate many
domains, against the built-in simulator or a real server, with every way of doing
so side by side.

README.md is the way in; the folder docs has a page for each kind of file. Every
option has a variable in the environment: XMPPBENCH_PROGRESS stands for
--progress where that is left out.`,
		Example: `  xmppbench run roster-login                      the shipped scenario on the simulator
  xmppbench run roster-login --dry-run            what it would do and how long
  xmppbench compare runs/20261122T124900Z-roster-login-a1b2`,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	a.finish(root, a.run(), a.search(), a.check(), a.compare(), a.report(), a.view(), a.model(), a.merge(), a.serve(), a.users(), a.provision(), a.observe(), a.list(), a.explain(), a.version())
	return root
}

// finish gives a root its commands and what all roots have.
func (a *app) finish(root *cobra.Command, commands ...*cobra.Command) {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.Args = cobra.NoArgs
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
	})
	root.PersistentFlags().BoolVar(&a.json, "json", false, "answer in JSON")
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "colours of verdicts and flags: auto, always or never")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := fromEnvironment(c.Flags()); err != nil {
			return err
		}
		if !slices.Contains([]string{"auto", "always", "never"}, a.color) {
			return usage(fmt.Errorf("--color %q is not one of auto, always, never", a.color))
		}
		return nil
	}
	root.AddCommand(commands...)
	root.InitDefaultCompletionCmd()
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", textWidth)))
	checkArgs(root)
}

// environmentPrefix begins the names of variables that stand for options.
const environmentPrefix = "XMPPBENCH_"

// environmentName is the variable that stands for an option.
func environmentName(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment gives the options that the command line leaves out the values of
// their variables. An empty variable is none.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := environmentName(f.Name)
		value := os.Getenv(name)
		if f.Changed || value == "" || f.Name == "help" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, usage(fmt.Errorf("%s: %w", name, err)))
		}
	})
	return errors.Join(errs...)
}

// colored reports whether w gets colours: where they are asked for, or on a terminal
// whose user has not said otherwise (no-color.org).
func (a *app) colored(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// checkArgs makes wrong arguments of a command and of those below it an error of
// usage.
func checkArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
		}
		return nil
	}
}

// exitCode says what the end of a command means to the shell: of what applies, the
// first in the order of the exit codes.
func exitCode(ctx context.Context, err error) int {
	if err == nil { // interrupted or not: for a command that serves, that is how it ends well
		return ExitOK
	}
	if ctx.Err() != nil {
		return ExitInterrupted
	}
	found := make(map[int]bool)
	classify(err, found)
	for _, code := range []int{ExitInterrupted, ExitInternal, ExitUsage, ExitUnreachable, ExitInvalid, ExitThresholds, ExitRegression, ExitInconclusive} {
		if found[code] {
			return code
		}
	}
	return ExitInternal
}

// classify finds the exit codes of an error and of those that are joined in it. Of a
// chain the outermost one that has a code counts: it knows what the others mean here.
func classify(err error, found map[int]bool) {
	switch e := err.(type) { //nolint:errorlint // errors.As stops at its first match: here every branch of what is joined counts
	case *exitError:
		found[e.code] = true
		return
	case *scenarios.CountError:
		found[ExitInternal] = true
		return
	case *scenarios.FileError:
		found[ExitUsage] = true
		return
	case *scenarios.UnreachableError, *session.Error:
		found[ExitUnreachable] = true
		return
	case *bench.InvalidError:
		found[ExitInvalid] = true
		return
	case *scenarios.ThresholdError, *scenarios.SLOError:
		found[ExitThresholds] = true
		return
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			classify(part, found)
		}
		return
	}
	if inner := errors.Unwrap(err); inner != nil {
		classify(inner, found)
		return
	}
	found[ExitInternal] = true
}

// input opens a file for reading, or standard input for "-".
func (a *app) input(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(name) // #nosec G304 -- a file that the user names
	if err != nil {
		return nil, usage(err)
	}
	return f, nil
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	const limit = 16 << 20
	r, err := a.input(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > limit {
		return nil, usage(fmt.Errorf("%s: is longer than %d bytes", name, limit))
	}
	return b, nil
}

// scenarioNames completes the name of a scenario, or of a file.
func scenarioNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return scenarios.Names(), cobra.ShellCompDirectiveDefault
}

// variantNames completes a list of variants: those of the scenario that is named,
// those of all without one.
func variantNames(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	variants := scenarios.Variants()
	if len(args) > 0 {
		if s, ok := scenarios.Find(args[0]); ok {
			variants = s.Variants()
		}
	}
	names := []string{"all"}
	for _, v := range variants {
		names = append(names, v.Name)
	}
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		for n := range names {
			names[n] = typed[:i+1] + names[n]
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// explainable completes the names of scenarios and variants.
func explainable(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return explainableNames(), cobra.ShellCompDirectiveNoFileComp
}

func explainableNames() []string {
	names := scenarios.Names()
	for _, v := range scenarios.Variants() {
		names = append(names, v.Name)
	}
	return names
}

// writeJSON prints the answer of a command as indented JSON.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// wrap breaks text at words into lines of at most width columns. The first line
// follows a heading of as many columns as the others are indented by.
func wrap(text string, indent, width int) string {
	var b strings.Builder
	column := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
