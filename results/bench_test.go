package results

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"
)

// TestBenchFormat reads what report --format bench writes with the reader of benchstat: each
// block is a benchmark of its plan and variant, and each of its figures a value of its unit.
func TestBenchFormat(t *testing.T) {
	runs := []*Run{fixture(t, "before", 1, 1), fixture(t, "after", 2, 0.8)}
	// Labels that end as benchmarks do.
	for _, r := range runs {
		for i := range r.Blocks {
			if r.Blocks[i].Variant == "rsm" {
				r.Blocks[i].Variant = "chunk-500"
			}
		}
	}
	var out bytes.Buffer
	if err := Report(&out, runs, "bench", ReportOptions{}); err != nil {
		t.Fatal(err)
	}
	var want []Block
	of := make(map[string]string) // runs of blocks, by their number
	for _, r := range runs {
		for _, b := range r.Blocks {
			if b.Skipped == "" && b.Valid {
				of[fmt.Sprint(len(want))] = r.Manifest.ID
				want = append(want, b)
			}
		}
	}
	read := benchfmt.NewReader(&out, "out")
	n := 0
	for ; read.Scan(); n++ {
		var got *benchfmt.Result
		switch record := read.Result().(type) {
		case *benchfmt.Result:
			got = record
		default:
			t.Fatalf("%v", record)
		}
		if n >= len(want) {
			continue
		}
		block := want[n]
		base, parts := got.Name.Parts()
		words := []string{string(base)}
		for _, p := range parts {
			words = append(words, string(p))
		}
		if name := []string{"RosterLogin", "/plan=" + block.Plan, "/variant=" + block.Variant, "-2"}; !slices.Equal(words, name) {
			t.Errorf("benchmark %q, want %q", words, name)
		}
		if got.GetConfig("goos") != "linux" || got.GetConfig("cpu") != "Example CPU" || got.GetConfig("run") != of[fmt.Sprint(n)] {
			t.Errorf("made by %+v", got.Config)
		}
		values := make(map[string]float64)
		for _, v := range got.Values {
			values[v.Unit] = v.Value
		}
		for name, v := range block.Scalars {
			s := parseScalar(Metrics(), name)
			if s.stat == "n" {
				continue
			}
			unit := name + map[string]string{UnitSeconds: "-sec", UnitBytes: "-bytes"}[s.unit()]
			if got, ok := values[unit]; !ok || got != v {
				t.Errorf("%v %s: %v, want %v", block.Key, unit, got, v)
			}
			delete(values, unit)
		}
		if len(values) > 0 {
			t.Errorf("%v: values of no figure: %v", block.Key, values)
		}
	}
	if err := read.Err(); err != nil || n != len(want) {
		t.Errorf("%d benchmarks of %d blocks, %v", n, len(want), err)
	}
}

// TestBenchstat shows two runs to benchstat itself, which has to find the one that was made
// faster.
func TestBenchstat(t *testing.T) {
	dir := t.TempDir()
	args := []string{"tool", "benchstat", "-filter", ".unit:(probe.mean-sec OR bytes.in-bytes)"}
	for i, r := range []*Run{fixture(t, "before", 1, 1), fixture(t, "after", 2, 0.8)} {
		var b bytes.Buffer
		if err := Report(&b, []*Run{r}, "bench", ReportOptions{}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, []string{"before", "after"}[i])
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput() // #nosec G204 -- It is pinned in go.mod.
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var rows int
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "RosterLogin/plan=items=") && strings.Contains(line, "%") && strings.Contains(line, "n=8") {
			rows++
		}
	}
	if rows < 8 || !strings.Contains(string(out), "probe.mean-sec") || !strings.Contains(string(out), "bytes.in-bytes") {
		t.Errorf("%d rows:\n%s", rows, out)
	}
}
