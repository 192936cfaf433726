package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/cli"
	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/results"
)

//go:generate go test -run ^TestReferenceModel$ . -update

// TestReferenceModel reads the model that the documentation quotes: every variant has passed
// its check, the runs of the check are whole, and pages and reports say what the program says.
func TestReferenceModel(t *testing.T) {
	root := filepath.Join("..", "..")
	dir := filepath.Join(root, "results", "reference", "calibration")
	file := filepath.Join(dir, "model.json")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := results.ReadModel(bytes.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Parts {
		if state := m.Checked(p.Variant); state != results.Passed {
			t.Errorf("the model of %s: %s", p.Variant, state)
		}
	}
	checked := []string{filepath.Join(dir, "pairs-64x64"), filepath.Join(dir, "shared-80x80")}
	for _, dir := range checked {
		r, err := results.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(); err != nil {
			t.Error(err)
		}
	}
	output := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := cli.Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), code, stderr.String())
		}
		return stdout.String()
	}
	golden.File(t, filepath.Join(dir, "report.md"), []byte(output(append([]string{"report", "--model", file, "--format", "md"}, checked...)...)))
	fence := func(text string) string { return "```text\n" + strings.Trim(text, "\n") + "\n```\n" }
	// What is predicted, what it costs, how far that is from what was measured, and the limits.
	forecast := func(variant string) []string {
		return strings.Split(output("model", "predict", "--model", file, "--domains", "1kx1k", "--variant", variant, "--max-extrapolation", "1000"), "\n\n")
	}
	deployed, shared := forecast("pair-external"), forecast("shared-attrcert")
	golden.Part(t, filepath.Join(root, "README.md"), "model", fence(strings.Join([]string{deployed[0], deployed[2], deployed[3], strings.TrimSpace(deployed[4]), shared[0], shared[2]}, "\n\n")))
	const title = "Error of the model"
	_, errors, _ := strings.Cut(output("report", "--model", file, checked[0], checked[1]), title)
	errors, _, _ = strings.Cut(errors, "\n\n")
	golden.Part(t, filepath.Join(root, "docs", "method.md"), "check", fence(title+errors))
}
