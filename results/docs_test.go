package results

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/golden"
)

//go:generate go test -run "^(TestMetricsDoc|TestSeriesDoc|TestPlotsSchema)$" . -update

// TestSeriesDoc holds the table of figures of docs/run-directory.md against that of
// the code; -update writes it anew.
func TestSeriesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("| figure | unit | what it is |\n| --- | --- | --- |\n")
	for _, f := range SeriesFigures() {
		name, doc := f.Name, f.Doc
		if !f.Machine {
			name += ".ROLE"
		}
		if f.Each {
			name += "/NAME"
		}
		if f.Counter {
			doc += " A counter."
		}
		b.WriteString("| `" + name + "` | " + f.Unit + " | " + doc + " |\n")
	}
	golden.Part(t, filepath.Join("..", "docs", "run-directory.md"), "series", b.String())
}

// TestMetricsDoc holds the table of docs/metrics.md against that of the code;
// -update writes it anew.
func TestMetricsDoc(t *testing.T) {
	var timed, counted strings.Builder
	timed.WriteString("| metric | from | to | what it is |\n| --- | --- | --- | --- |\n")
	counted.WriteString("| figure | unit | what it is |\n| --- | --- | --- |\n")
	for _, m := range Metrics() {
		if m.Timed() {
			timed.WriteString("| `" + m.Name + "` | " + m.From + " | " + m.To + " | " + m.Doc + " |\n")
			continue
		}
		doc := m.Doc
		if m.Exact {
			doc += " Exact: follows from seed and protocol alone."
		}
		counted.WriteString("| `" + m.Name + "` | " + m.Unit + " | " + doc + " |\n")
	}
	golden.Part(t, filepath.Join("..", "docs", "metrics.md"), "timed", timed.String())
	golden.Part(t, filepath.Join("..", "docs", "metrics.md"), "counted", counted.String())
}

// TestRunDirectoryDoc decodes the example that docs/run-directory.md gives of
// every file.
func TestRunDirectoryDoc(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "docs", "run-directory.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]any{
		fileManifest: new(Manifest), fileSeries: new(Second), fileEvents: new(Event), fileBlocks: new(Block),
		fileTheory: new(Theory), fileTimeline: new(Timeline), fileSearch: new(SearchLine), fileSheet: new(Sheet), fileCounts: new([]Count), fileSummary: new(Document), fileDone: new(Done), fileLatency: nil,
	}
	for name, into := range files {
		t.Run(name, func(t *testing.T) {
			_, section, ok := strings.Cut(string(b), "\n## `"+name+"`\n")
			section, _, _ = strings.Cut(section, "\n## ")
			_, example, fenced := strings.Cut(section, "```")
			example, _, closed := strings.Cut(example, "```")
			if !ok || !fenced || !closed {
				t.Fatalf("no section %q with an example", name)
			}
			if into == nil {
				example = strings.TrimPrefix(example, "text\n")
				lines := 0
				for line := range strings.Lines(example) {
					if !strings.HasPrefix(line, "Tag=") {
						continue
					}
					lines++
					if _, _, _, err := parseInterval(strings.TrimSuffix(line, "\n")); err != nil {
						t.Errorf("%s: %v", line, err)
					}
				}
				if lines == 0 {
					t.Error("the example has no interval")
				}
				return
			}
			dec := json.NewDecoder(strings.NewReader(strings.TrimPrefix(example, "json\n")))
			dec.DisallowUnknownFields()
			if err := dec.Decode(into); err != nil {
				t.Errorf("%s\n%v", example, err)
			}
			if m, ok := into.(*Manifest); ok && m.Schema != Schema {
				t.Errorf("schema %q, want %q", m.Schema, Schema)
			}
			if d, ok := into.(*Document); ok && d.Schema != DocumentSchema {
				t.Errorf("schema %q, want %q", d.Schema, DocumentSchema)
			}
		})
	}
}
