package roster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/chunk"
)

// fixture is the roster that every transcript is about.
func fixture() sliceBase {
	return sliceBase{
		{JID: "aa@b.example", Name: "A", Subscription: "both", Groups: []string{"Work"}},
		{JID: "fk@b.example", Subscription: "none", Ask: true},
		{JID: "zz@b.example", Name: "Z & Co", Subscription: "to"},
	}
}

// script drives the two halves for one transcript.
type script struct {
	t       *testing.T
	account *account
	client  *Client
	stream  *simStream
	lines   []string
}

// reconnect starts a new session, whose stanzas are the transcript.
func (s *script) reconnect() {
	s.client, _, s.stream = s.account.connect()
	s.lines = nil
	s.stream.sent = func(b []byte) { s.lines = append(s.lines, "C: "+string(b)) }
	s.stream.peer.sent = func(b []byte) { s.lines = append(s.lines, "S: "+string(b)) }
}

// fetch runs a retrieval to its end.
func (s *script) fetch(variant string, params map[string]any, o Options) Result {
	s.t.Helper()
	f := s.start(variant, params, o)
	settle(s.stream)
	select {
	case <-f.done:
	default:
		s.t.Fatalf("%s did not end", variant)
	}
	r, err := f.result(nil)
	if err != nil {
		s.t.Fatalf("%s: %v", variant, err)
	}
	return r
}

// start begins a retrieval.
func (s *script) start(variant string, params map[string]any, o Options) *fetch {
	s.t.Helper()
	return s.client.begin(o, starter(s.t, variant, params))
}

// starter returns the first step of a variant's client half.
func starter(t testing.TB, variant string, params map[string]any) func(*fetch) error {
	t.Helper()
	v, ok := Find(variant)
	if !ok {
		t.Fatalf("no variant %s", variant)
	}
	p, err := v.Parse(params)
	if err != nil {
		t.Fatal(err)
	}
	return func(f *fetch) error { return v.fetch(f, p) }
}

type params = map[string]any

// TestTranscripts runs the two halves against each other and compares every
// stanza with the transcript, which was written before them.
func TestTranscripts(t *testing.T) {
	stale := func(v uint64) Have { return Have{Ver: FormatVer("e3", v)} }
	tests := []struct {
		name     string
		settings Settings
		run      func(s *script)
	}{
		{"monolithic", Settings{Variants: []string{"monolithic"}}, func(s *script) {
			s.fetch("monolithic", nil, Options{})
			s.account.put(s.t, Item{JID: "bb@b.example", Subscription: "none"})
			settle(s.stream)
		}},
		{"versioned", Settings{}, func(s *script) {
			s.fetch("versioned", params{"state": "cold"}, Options{})
			s.fetch("versioned", params{"state": "unchanged"}, Options{Have: stale(3)})
			s.fetch("versioned", params{"state": "stale"}, Options{Have: stale(2)})
		}},
		{"versioned-diff", Settings{Diff: true}, func(s *script) {
			s.account.remove(s.t, "fk@b.example")
			have := stale(1)
			have.Target = FormatVer("e3", 4)
			s.fetch("versioned", params{"state": "stale", "changes": 2, "diff": true}, Options{Have: have})
		}},
		{"rsm", Settings{}, func(s *script) { s.fetch("rsm", params{"chunk": 2}, Options{}) }},
		{"rsm-index", Settings{}, func(s *script) { s.fetch("rsm-index", params{"chunk": 1, "window": 2}, Options{}) }},
		{"chunked-push", Settings{}, func(s *script) {
			s.fetch("chunked-push", params{"chunk": 2, "window": 2}, Options{})
			s.account.put(s.t, Item{JID: "bb@b.example", Subscription: "none"})
			settle(s.stream)
		}},
		{"chunked-push-message", Settings{}, func(s *script) {
			s.fetch("chunked-push", params{"chunk": 1, "window": 2, "delivery": "message"}, Options{})
		}},
		{"chunked-pull", Settings{}, func(s *script) { s.fetch("chunked-pull", params{"chunk": 2}, Options{}) }},
		{"chunked-pull-pipelined", Settings{}, func(s *script) {
			s.fetch("chunked-pull", params{"chunk": 1, "window": 2}, Options{})
		}},
		{"chunked-resume", Settings{}, func(s *script) {
			f := s.start("chunked-pull", params{"chunk": 2}, Options{})
			s.stream.deliver()
			s.stream.peer.deliver()
			cut, err := f.result(fmt.Errorf("the link is cut"))
			if err == nil {
				s.t.Fatal("a cut retrieval ended well")
			}
			s.account.sessions[0].Close()
			s.account.put(s.t, Item{JID: "aa@b.example", Name: "AA", Subscription: "both"})
			s.account.remove(s.t, "zz@b.example")
			s.reconnect()
			s.fetch("chunked-push", params{"window": 4}, Options{Resume: cut.Resume})
		}},
		{"chunked-delta", Settings{}, func(s *script) {
			s.account.remove(s.t, "fk@b.example")
			r := s.fetch("chunked-push", params{"window": 4}, Options{Have: Have{Epoch: "e3", Version: 1, Known: true}})
			s.fetch("chunked-push", params{"window": 4}, Options{Have: Have{Epoch: r.Epoch, Version: r.Version, Known: true}})
		}},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.name] = true
		t.Run(tt.name, func(t *testing.T) {
			s := &script{t: t, account: &account{store: NewMemStore("e3", fixture()), settings: tt.settings}}
			s.reconnect()
			tt.run(s)
			if s.stream.err != nil || s.stream.peer.err != nil {
				t.Errorf("client: %v, server: %v", s.stream.err, s.stream.peer.err)
			}
			if d := gocmp.Diff(readTranscript(t, tt.name), anonymous(s.lines)); d != "" {
				t.Errorf("transcript (-want +got):\n%s", d)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".txt"); !seen[name] {
			t.Errorf("%s belongs to no test", f)
		}
	}
}

// readTranscript reads the stanzas of a golden file.
func readTranscript(t testing.TB, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// anonymous replaces the cursors, which are opaque, by K1, K2, … in the order of
// their appearance.
func anonymous(lines []string) []string {
	cursors := regexp.MustCompile(` (cursor|after|until|ahead)='([^']*)'`)
	names := map[string]string{}
	var out []string
	for _, line := range lines {
		out = append(out, cursors.ReplaceAllStringFunc(line, func(attr string) string {
			m := cursors.FindStringSubmatch(attr)
			fields := strings.Fields(m[2])
			for i, c := range fields {
				if _, ok := names[c]; !ok {
					names[c] = fmt.Sprint("K", len(names)+1)
				}
				fields[i] = names[c]
			}
			return fmt.Sprintf(" %s='%s'", m[1], strings.Join(fields, " "))
		}))
	}
	return out
}

// TestDocumentation holds docs/variants.md to the transcripts.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../../docs/variants.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		golden, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(f)
		if !strings.Contains(doc, "```xml\n"+string(golden)+"```\n") {
			t.Errorf("docs/variants.md does not show %s as it is", name)
		}
	}
	for _, v := range Variants() {
		if !strings.Contains(doc, "\n## `"+v.Name+"`\n") {
			t.Errorf("docs/variants.md has no section %s", v.Name)
		}
		for _, p := range v.Params {
			if !strings.Contains(doc, "| `"+p.Name+"` |") {
				t.Errorf("docs/variants.md does not explain the setting %s of %s", p.Name, v.Name)
			}
		}
	}
	if !strings.Contains(doc, fmt.Sprint(chunk.DefaultBytes)) {
		t.Error("docs/variants.md does not name the default of max-bytes")
	}
}
