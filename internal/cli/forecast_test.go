package cli

import (
	"path/filepath"
	"testing"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/schema"
)

//go:generate go test -run "^TestForecastSchema$" . -update

// TestForecastSchema holds the schema of what model predict prints as JSON against the
// types; -update writes it anew. The script model validates answers against it.
func TestForecastSchema(t *testing.T) {
	golden.File(t, filepath.Join("..", "..", "results", "schema", "forecast.schema.json"), schema.Document{
		ID: "forecast.schema.json", Title: "xmppbench forecast: what model predict --json prints", Version: forecastSchema,
	}.Of(forecasts{}))
}

func TestShare(t *testing.T) {
	for v, want := range map[float64]string{1: "100 %", 0.997: "100 %", 0.2048: "20 %", 0.089: "8.9 %", 0.00075: "0.075 %"} {
		if got := share(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
