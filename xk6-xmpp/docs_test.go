package xk6xmpp

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.k6.io/k6/v2/metrics"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/results"
)

//go:generate go test -run ^TestMetricsDoc$ . -update

// TestMetricsDoc holds the table of metrics in docs/k6.md against that of the code, which
// is what is registered; -update writes it anew.
func TestMetricsDoc(t *testing.T) {
	var table strings.Builder
	table.WriteString("| metric | kind | tags | what it is | in a run directory |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range metricTable() {
		registered := &metrics.Metric{Name: m.name, Type: m.typ, Contains: m.value}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", m.name, kindOf(registered), strings.ReplaceAll(m.tags, "|", `\|`), m.doc, writtenAs(registered))
	}
	golden.Part(t, filepath.Join("..", "docs", "k6.md"), "metrics", table.String())
}

// kindOf is the kind of a metric in words.
func kindOf(m *metrics.Metric) string {
	switch {
	case m.Type == metrics.Trend && m.Contains == metrics.Time:
		return "Trend, ms"
	case m.Type == metrics.Trend && m.Contains == metrics.Data:
		return "Trend, bytes"
	}
	name := m.Type.String()
	return strings.ToUpper(name[:1]) + name[1:]
}

// sinkNames notes the names under which something is recorded.
type sinkNames map[string]bool

func (s sinkNames) Observe(sample results.Sample) { s[sample.Metric] = true }
func (s sinkNames) Count(name string, n int64) {
	if n != 0 {
		s[name] = true
	}
}

// writtenAs is what the output makes of a metric.
func writtenAs(m *metrics.Metric) string {
	take := takerOf(m)
	switch {
	case take == nil:
		return "left out"
	case m.Name == metricErrors:
		return "errors of the step that failed"
	}
	names := make(sinkNames)
	for _, value := range []float64{1, 0} {
		take(names, metrics.Sample{Value: value})
	}
	var out []string
	for name := range names {
		out = append(out, "`"+name+"`")
	}
	return strings.Join(slices.Sorted(slices.Values(out)), ", ")
}
