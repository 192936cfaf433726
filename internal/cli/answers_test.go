package cli

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/schema"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

//go:generate go test -run "^TestAnswerSchemas$" . -update

// TestAnswerSchemas holds the schemas of what commands print as JSON against the types;
// -update writes them anew. Scripts validate answers against them. Those of run, search and
// report are that of the report, and those of models have their own.
func TestAnswerSchemas(t *testing.T) {
	for _, a := range []struct {
		name, title, version string
		v                    any
		or                   []any
	}{
		{"check", "what check --json prints", checkSchema, checkAnswer{}, nil},
		{"compare", "what compare --json prints", "", results.Comparison{}, nil},
		{"dry-run", "what run --dry-run --json and search --dry-run --json print", "", estimated[scenarios.Estimate]{},
			[]any{estimated[scenarios.MeshEstimate]{}, sheetParts{}, plannedSearch{}}},
		{"explain", "what explain --json prints", "", explanation{}, nil},
		{"list", "what list --json prints", "", lists{}, nil},
		{"merge", "what merge --json prints", "", merged{}, nil},
		{"model-check", "what model check --json prints", "", results.ModelCheck{}, nil},
		{"observe", "what observe --json prints", "", announcement{}, nil},
		{"provision", "what provision --json prints, and users --json where it makes accounts", "", provisioned{}, nil},
		{"serve", "what serve --json prints", "", serveInfo{}, nil},
		{"users", "what users --json prints", "", []user{}, nil},
		{"version", "what version --json prints", "", programVersion{}, nil},
		{"view", "what view --json prints", "", viewInfo{}, nil},
	} {
		id := a.name + ".schema.json"
		golden.File(t, filepath.Join("..", "..", "results", "schema", id), schema.Document{
			ID: id, Title: "xmppbench " + a.name + ": " + a.title, Version: a.version,
			Other: map[reflect.Type]map[string]any{
				reflect.TypeFor[results.Ratio]():   {"type": []string{"number", "null"}},
				reflect.TypeFor[scenarios.Shape](): {"type": []string{"string", "null"}},
			},
		}.Of(a.v, a.or...))
	}
}
