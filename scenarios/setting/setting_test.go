package setting_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/scenarios/setting"
)

func table() []setting.Param {
	return []setting.Param{
		{Name: "window", Unit: "chunks", Default: 8, Min: 1, Max: 64, Choices: []string{"unbounded"}},
		{Name: "pool", Unit: "streams", Default: 1, Min: 1, Max: 9},
		{Name: "tls", Default: "starttls", Choices: []string{"starttls", "direct"}},
		{Name: "diff", Default: false},
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		given map[string]any
		want  map[string]any
	}{
		{"defaults", nil, map[string]any{"window": 8, "pool": 1, "tls": "starttls", "diff": false}},
		{"all", map[string]any{"window": "unbounded", "pool": uint64(9), "tls": "direct", "diff": true},
			map[string]any{"window": "unbounded", "pool": 9, "tls": "direct", "diff": true}},
		{"floats as JSON has them", map[string]any{"pool": 2.0, "window": int64(3)},
			map[string]any{"window": 3, "pool": 2, "tls": "starttls", "diff": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := map[string]any{}
			if err := setting.Parse("x: y", table(), tt.given, func(name string, v any) { got[name] = v }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name  string
		given map[string]any
		want  string
	}{
		{"too large", map[string]any{"pool": 10}, "x: y: pool: 10 is not a number of streams from 1 to 9"},
		{"not whole", map[string]any{"pool": 1.5}, "1.5 is not a number"},
		{"wrong word", map[string]any{"window": "open"}, `neither a number of chunks from 1 to 64 nor "unbounded"`},
		{"no choice", map[string]any{"tls": "none"}, "none is not one of starttls, direct"},
		{"no switch", map[string]any{"diff": "yes"}, "yes is neither true nor false"},
		{"unknown", map[string]any{"rate": 1}, "rate: no such setting: use one of window, pool, tls, diff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := setting.Parse("x: y", table(), tt.given, func(string, any) {})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := setting.Parse("x: z", nil, map[string]any{"a": 1}, nil); err == nil || !strings.Contains(err.Error(), "this variant has none") {
		t.Errorf("got %v", err)
	}
}
