package results

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/golden"
)

// TestReference reads the runs that the documentation quotes: they are whole, their
// reports are those of this program, and what the pages say stands in them.
func TestReference(t *testing.T) {
	for run, page := range map[string]string{
		"roster-login": "README.md",
		"federation":   "README.md",
		"rsm-growing":  "docs/proposals.md",
		"prosody":      "docs/capacity.md",
		"ejabberd":     "", // told of in the words of docs/capacity.md
	} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("reference", run)
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verify(); err != nil {
				t.Error(err)
			}
			if bad, why := r.Invalid(); bad || r.Done.Status != StatusOK {
				t.Errorf("a reference that is no evidence: %s, %v", r.Done.Status, why)
			}
			report := func(format string) []byte {
				var b bytes.Buffer
				if err := Report(&b, []*Run{r}, format, ReportOptions{}); err != nil {
					t.Fatal(err)
				}
				return b.Bytes()
			}
			golden.File(t, filepath.Join(dir, "report.md"), report("md"))
			if page == "" {
				return
			}
			text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(page)))
			if err != nil {
				t.Fatal(err)
			}
			// A page may leave parts of a report out, and has no others.
			var quoted int
			known := string(report("text"))
			for _, block := range strings.Split(strings.ReplaceAll(string(text), "```console\n$ ", "```text\n$ "), "```text\n")[1:] {
				block, _, _ = strings.Cut(block, "```")
				if command, output, ok := strings.Cut(block, "\n"); ok && strings.HasPrefix(command, "$ ") {
					block = output
				}
				block, _, _ = strings.Cut(block, "\ngate ") // gates were given to the run, and are none of the report's
				if !strings.Contains(block, known[:strings.IndexByte(known, '\n')]) && !strings.Contains(block, "capacity of "+run) {
					continue
				}
				for _, paragraph := range strings.Split(strings.TrimSpace(block), "\n\n") {
					quoted++
					if !strings.Contains(known, paragraph) {
						t.Errorf("%s quotes what the run does not say:\n%s", page, paragraph)
					}
				}
			}
			if quoted < 2 {
				t.Errorf("%s quotes %d paragraphs of the run", page, quoted)
			}
		})
	}
}
