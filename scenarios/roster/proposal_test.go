package roster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProposal adds the variant of docs/proposals.md to the package, as its reader
// would, and runs the tests that it speaks of.
func TestProposal(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "proposals.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlocks(string(text))
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of Go, want the file and two lines", len(blocks))
	}
	dir := t.TempDir()
	replace := make(map[string]string)
	put := func(file, content string) {
		replacement := filepath.Join(dir, file)
		if err := os.WriteFile(replacement, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		original, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		replace[original] = replacement
	}
	edit := func(file, prefix string, change func(line string) string) {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(source)) {
			if strings.HasPrefix(strings.TrimSpace(line), prefix) {
				put(file, strings.Replace(string(source), line, change(line), 1))
				return
			}
		}
		t.Fatalf("%s has no line that begins with %s", file, prefix)
	}
	put("rsm_growing.go", blocks[0])
	edit("variant.go", "return []Variant{", func(string) string { return blocks[1] })
	edit("conformance_test.go", `{variant: "rsm",`, func(line string) string { return line + blocks[2] })
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	put("overlay.json", string(overlay))
	for _, args := range [][]string{
		{"vet"},
		{"test", "-v", "-run", "^TestConformance$/./rsm-growing|^(TestEveryVariantIsTested|TestItemsAsked|TestItemError|TestCut|TestCancel)$/rsm-growing"},
	} {
		args = append(args, "-overlay", filepath.Join(dir, "overlay.json"), ".")
		out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if args[0] == "test" && strings.Count(string(out), "--- PASS: TestConformance/") < 6 {
			t.Errorf("the variant was not tested:\n%s", out)
		}
	}
	// The list of variants in the document is the real one, and the new one.
	if got, want := strings.ReplaceAll(blocks[1], "rsmGrowing(), ", ""), "return []Variant{"; !strings.HasPrefix(got, want) || strings.Count(got, "()") != len(Variants()) {
		t.Errorf("%q is not the list of variants and the new one", blocks[1])
	}
}

// goBlocks returns the parts of a document that are fenced as go.
func goBlocks(text string) []string {
	var blocks []string
	for {
		_, after, ok := strings.Cut(text, "```go\n")
		if !ok {
			return blocks
		}
		block, rest, _ := strings.Cut(after, "```\n")
		blocks, text = append(blocks, block), rest
	}
}
