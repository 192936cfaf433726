package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/scenarios"
)

// TestDocs holds the documentation against the program: commands in blocks fenced
// as sh must parse, those fenced as "sh run" must work, and scenario and target
// files in blocks fenced as yaml must be valid.
func TestDocs(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, file := range append([]string{filepath.Join(root, "README.md")}, files...) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(root, file)
		for _, b := range fencedBlocks(source) {
			where := fmt.Sprintf("%s:%d", filepath.ToSlash(name), b.line)
			switch b.info {
			case "sh", "sh run":
				for _, words := range b.commands() {
					commands++
					if err := checkCommand(t, words); err != nil {
						t.Errorf("%s: %s: %v", where, strings.Join(words, " "), err)
					}
				}
				if b.info == "sh run" {
					t.Run(where, func(t *testing.T) { runBlock(t, b.text) })
				}
			case "yaml":
				if err := checkYAML(b.text); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
		}
	}
	if commands < 5 {
		t.Errorf("%d commands were found in the documentation", commands)
	}
}

// A block is a fenced part of a Markdown document.
type block struct {
	info string // after the fence
	line int    // of its first line
	text string
}

func fencedBlocks(source []byte) []block {
	var (
		all  []block
		open *block
		text strings.Builder
		line int
	)
	for s := bufio.NewScanner(bytes.NewReader(source)); s.Scan(); {
		line++
		info, fence := strings.CutPrefix(strings.TrimSpace(s.Text()), "```")
		switch {
		case fence && open != nil:
			open.text = text.String()
			all = append(all, *open)
			open = nil
			text.Reset()
		case fence:
			open = &block{info: strings.TrimSpace(info), line: line + 1}
		case open != nil:
			text.WriteString(s.Text() + "\n")
		}
	}
	return all
}

// commands returns the arguments of each call of the program in a block of
// shell.
func (b block) commands() [][]string {
	var all [][]string
	for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
		words := shellWords(line)
		for len(words) > 0 && strings.Contains(words[0], "=") {
			words = words[1:] // a variable for this command
		}
		if len(words) > 0 && (words[0] == "xmppbench" || words[0] == "bin/xmppbench") {
			all = append(all, words[1:])
		}
	}
	return all
}

// shellWords splits a simple command as a shell does, up to a comment, a pipe or
// a redirection.
func shellWords(line string) []string {
	var (
		words  []string
		word   strings.Builder
		inside bool
		quote  rune
	)
	end := func() {
		if inside {
			words = append(words, word.String())
			word.Reset()
			inside = false
		}
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case strings.ContainsRune(" \t\n", r):
			end()
		case !inside && strings.ContainsRune("#|>&;", r):
			return words
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	end()
	return words
}

// checkCommand parses a command line without running it.
func checkCommand(t *testing.T, words []string) error {
	t.Helper()
	a := &app{stdin: strings.NewReader(""), stdout: t.Output(), stderr: t.Output()}
	c, rest, err := a.root().Find(words)
	if err != nil {
		return err
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if help, err := c.Flags().GetBool("help"); err != nil || help {
		return err
	}
	args := c.Flags().Args()
	if err := c.ValidateArgs(args); err != nil {
		return err
	}
	switch c.Name() {
	case "run", "provision":
		return checkScenario(c, args)
	case "explain":
		_, err = explanationOf(args[0])
	}
	return err
}

// checkScenario parses the scenario with the overrides of the command line, where
// it is one that is shipped.
func checkScenario(c *cobra.Command, args []string) error {
	if len(args) == 0 || strings.HasSuffix(args[0], ".yaml") || args[0] == "-" {
		return nil
	}
	source, err := scenarios.Shipped(args[0])
	if err != nil {
		return err
	}
	var o scenarios.Override
	if o.Set, err = c.Flags().GetStringArray("set"); err != nil {
		return err
	}
	if c.Flags().Changed("variants") {
		if o.Variants, err = c.Flags().GetStringSlice("variants"); err != nil {
			return err
		}
	}
	if c.Flags().Changed("blocks") {
		n, err := c.Flags().GetInt("blocks")
		if err != nil {
			return err
		}
		o.Blocks = &n
	}
	plans, err := scenarios.Parse(args[0], source, o)
	if err != nil || c.Name() != "run" {
		return err
	}
	thresholds, err := c.Flags().GetStringArray("threshold")
	if err != nil {
		return err
	}
	return addThresholds(plans, thresholds)
}

// checkYAML parses a scenario or target file; other YAML is let alone.
func checkYAML(text string) error {
	starts := func(key string) bool {
		return slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, key) })
	}
	var err error
	switch {
	case starts("scenario:"):
		_, err = scenarios.Parse("scenario", []byte(text), scenarios.Override{})
	case starts("server:"):
		_, err = scenarios.ParseTarget("target.yaml", []byte(text))
	}
	return err
}

// runBlock runs a block of shell in an empty folder, where the program is
// bin/xmppbench and on the path.
func runBlock(t *testing.T, text string) {
	t.Helper()
	program, err := exec.LookPath("xmppbench")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "bin", "xmppbench")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", text)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestBlocks reads a document that has everything.
func TestBlocks(t *testing.T) {
	document := "# Title\n\n```sh run\nxmppbench list > list.txt   # all of them\nbin/xmppbench list --json | grep name\n" +
		"A=b xmppbench run roster-login \\\n  --threshold 'ready mean<2s' --dry-run\nls\n```\n\n```\nxmppbench nothing\n```\n"
	blocks := fencedBlocks([]byte(document))
	if len(blocks) != 2 || blocks[0].info != "sh run" || blocks[0].line != 4 || blocks[1].info != "" {
		t.Fatalf("blocks %+v", blocks)
	}
	want := [][]string{{"list"}, {"list", "--json"}, {"run", "roster-login", "--threshold", "ready mean<2s", "--dry-run"}}
	if diff := cmp.Diff(want, blocks[0].commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	runBlock(t, blocks[0].text)
	for _, bad := range []string{
		"walk", "run --fast roster-login", "run roster-logout", "run roster-login --set rooster.items=5", "run roster-login --variants pigeon",
		"run roster-login --blocks 1", "run roster-login --threshold x", "explain nothing", "compare", "provision roster-login --set link.rtt=5",
	} {
		if err := checkCommand(t, strings.Fields(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if checkYAML("# a file\nscenario: roster-login\nrooster: 5\n") == nil || checkYAML("server: sendmail\n") == nil || checkYAML("other: [\n") != nil {
		t.Error("YAML is not checked")
	}
}
