package roster

import (
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/chunk"
)

func TestParse(t *testing.T) {
	tests := []struct {
		variant string
		given   map[string]any
		want    Params
	}{
		{"monolithic", nil, Params{}},
		{"versioned", nil, Params{State: "unchanged", Changes: 1}},
		{"versioned", params{"state": "stale", "changes": uint64(30), "diff": true}, Params{State: "stale", Changes: 30, Diff: true}},
		{"rsm", params{"chunk": 50.0}, Params{Chunk: 50}},
		{"rsm-index", params{"window": int64(3)}, Params{Chunk: 100, Window: 3}},
		{"chunked-push", nil, Params{State: "cold", Changes: 1, Chunk: 100, MaxBytes: 8192, Window: 8, Delivery: chunk.DeliverIQ, Interleave: true}},
		{"chunked-push", params{"window": "unbounded", "delivery": "message", "interleave": false, "max-bytes": 65536, "chunk": 500},
			Params{State: "cold", Changes: 1, Chunk: 500, MaxBytes: 65536, Window: chunk.Unbounded, Delivery: chunk.DeliverMessage}},
		{"chunked-pull", nil, Params{State: "cold", Changes: 1, Chunk: 100, MaxBytes: 8192, Window: 1}},
	}
	for _, tt := range tests {
		v, ok := Find(tt.variant)
		if !ok {
			t.Fatalf("no variant %s", tt.variant)
		}
		if got, err := v.Parse(tt.given); err != nil || got != tt.want {
			t.Errorf("%s %v: %+v, %v; want %+v", tt.variant, tt.given, got, err, tt.want)
		}
	}
	if _, ok := Find("telepathy"); ok {
		t.Error("a variant that does not exist was found")
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		variant string
		given   map[string]any
		want    []string
	}{
		{"monolithic", params{"window": 3}, []string{"monolithic: window: no such setting: this variant has none"}},
		{"rsm", params{"windows": 3}, []string{"rsm: windows: no such setting: use one of chunk"}},
		{"rsm", params{"chunk": 0}, []string{"rsm: chunk: 0 is not a number of items from 1 to 500"}},
		{"rsm", params{"chunk": 2.5}, []string{"2.5 is not a number of items"}},
		{"rsm", params{"chunk": "many"}, []string{"many is not a number"}},
		{"versioned", params{"state": "fresh"}, []string{"state: fresh is not one of cold, unchanged, stale"}},
		{"versioned", params{"state": 1, "diff": "yes"}, []string{"state: 1 is not one of", "diff: yes is neither true nor false"}},
		{"chunked-push", params{"window": 65}, []string{"window: 65 is neither a number of chunks from 1 to 64 nor \"unbounded\""}},
		{"chunked-push", params{"window": "wide", "max-bytes": 1023, "x": 1}, []string{"window: wide", "max-bytes: 1023", "x: no such setting"}},
		{"chunked-pull", params{"window": "unbounded"}, []string{"window: unbounded is not a number of requests from 1 to 64"}},
	}
	for _, tt := range tests {
		v, _ := Find(tt.variant)
		_, err := v.Parse(tt.given)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %v: %v, want %q", tt.variant, tt.given, err, want)
			}
		}
	}
}

// TestTables holds the tables of settings to what they promise: every default is
// allowed, every name is used once and known.
func TestTables(t *testing.T) {
	var names []string
	for _, v := range Variants() {
		if slices.Contains(names, v.Name) {
			t.Errorf("two variants are called %s", v.Name)
		}
		names = append(names, v.Name)
		if v.Spec == "" || v.Summary == "" || v.Serve == nil || v.Detect == nil || v.Counts == nil || v.Flow == nil || v.fetch == nil {
			t.Errorf("%s is not whole", v.Name)
		}
		seen := map[string]bool{}
		for _, p := range v.Params {
			if seen[p.Name] || p.Doc == "" || !strings.HasSuffix(p.Doc, ".") {
				t.Errorf("%s: %s: comes twice, or is not explained in a sentence", v.Name, p.Name)
			}
			seen[p.Name] = true
			if _, ok := p.Default.(int); ok && (p.Unit == "" || p.Min >= p.Max) {
				t.Errorf("%s: %s: a number without unit or limits", v.Name, p.Name)
			}
		}
		if _, err := v.Parse(nil); err != nil {
			t.Errorf("defaults: %v", err)
		}
	}
}

func TestApply(t *testing.T) {
	v, _ := Find(nameChunkedPush)
	p, err := v.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Apply(Settings{Shuffled: true, NoInterleave: true}); s.NoInterleave || !s.Shuffled || s.Diff {
		t.Errorf("%+v", s)
	}
	if s := (Params{Diff: true}).Apply(Settings{}); !s.Diff {
		t.Errorf("%+v", s)
	}
}

func TestVer(t *testing.T) {
	for _, epoch := range []string{"", "e", "2026-11-23"} {
		if got, v, ok := ParseVer(FormatVer(epoch, 42)); !ok || got != epoch || v != 42 {
			t.Errorf("%q: %q, %d, %v", epoch, got, v, ok)
		}
	}
	for _, foreign := range []string{"", "30", "e-", "e-x", "da39a3ee5e6b4b0d3255bfef95601890afd80709"} {
		if _, _, ok := ParseVer(foreign); ok {
			t.Errorf("%q was taken for one of ours", foreign)
		}
	}
}
