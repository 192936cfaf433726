package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/cli"
)

// TestServeDocs starts the simulator with the configuration that its
// documentation shows, on other ports.
func TestServeDocs(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(doc), "```yaml\n")
	example, _, closed := strings.Cut(example, "```")
	if !ok || !closed {
		t.Fatal("docs/simulator.md shows no configuration")
	}
	config := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(example, "127.0.0.1:0")
	// Interrupted before it begins, serve stops as soon as it is ready.
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr bytes.Buffer
	code := cli.Main(ctx, []string{"serve", "-"}, strings.NewReader(config), &stdout, &stderr)
	if code != cli.ExitOK || !strings.Contains(stdout.String(), "1000 accounts, the first u0000000@a.test") {
		t.Errorf("exit %d\n%s%s", code, &stdout, &stderr)
	}
}

// TestOptionsDocs finds options of serve that its documentation lacks, and
// documented ones that do not exist.
func TestOptionsDocs(t *testing.T) {
	var help bytes.Buffer
	if code := cli.Main(t.Context(), []string{"serve", "--help"}, strings.NewReader(""), &help, &help); code != cli.ExitOK {
		t.Fatalf("exit %d\n%s", code, &help)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, flags, _ := strings.Cut(help.String(), "\nFlags:")
	flags, _, _ = strings.Cut(flags, "\nGlobal Flags:")
	known := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`).FindAllStringSubmatch(flags, -1) {
		known[m[1]] = true
		if m[1] != "help" && !strings.Contains(string(doc), "\n| `--"+m[1]+" ") && !strings.Contains(string(doc), "\n| `--"+m[1]+"`") {
			t.Errorf("docs/simulator.md does not know --%s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)").FindAllStringSubmatch(string(doc), -1) {
		if !known[m[1]] {
			t.Errorf("docs/simulator.md has --%s, serve has not", m[1])
		}
	}
	if len(known) < 5 {
		t.Errorf("found the options %v only: the test reads the help wrongly", known)
	}
}
