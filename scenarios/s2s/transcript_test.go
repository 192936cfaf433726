package s2s_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// conversation is what passes on one connection, by who opened it.
type conversation struct {
	opener, other []string // elements in canonical form
}

// lines sets out a conversation for comparing: what each end says is in order, while
// the two speak at once.
func (c conversation) lines() []string {
	return append(append(append([]string{"opener:"}, c.opener...), "other:"), c.other...)
}

// TestTranscripts plays a pair's set-up, a message and its echo, on shared streams
// those of a further pair too, and compares everything after TLS with the
// transcripts, which were written from the specifications before.
func TestTranscripts(t *testing.T) {
	tests := []struct {
		name, variant string
		given         map[string]any
		further       bool
	}{
		{"pair-external", "pair-external", nil, false},
		{"pair-dialback", "pair-dialback", nil, false},
		{"pair-bidi", "pair-bidi", nil, false},
		{"shared-dialback", "shared-dialback", nil, true},
		{"shared-dialback-one", "shared-dialback", map[string]any{"streams": "one"}, true},
		{"shared-7712", "shared-7712", nil, true},
		{"shared-cert", "shared-cert", nil, true},
		{"shared-mux", "shared-mux", nil, true},
		{"shared-posh", "shared-posh", nil, true},
		{"shared-dane", "shared-dane", nil, true},
		{"zero-handshake", "zero-handshake", nil, true},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.variant] = true
		t.Run(tt.name, func(t *testing.T) {
			want := readConversations(t, filepath.Join("testdata", tt.name+".txt"))
			taken := &take{sent: map[uint64]*[2][]byte{}}
			newBlueprint(t, tt.variant, tt.given, 2, 1).run(t, func(n *network, name string, c *s2s.Config) {
				// What follows from something comes after it, and nothing happens at the same moment on two connections.
				n.rtt, n.skew = 10*time.Millisecond, time.Millisecond
				if name == left {
					c.Trace = taken.trace
				}
			}, func(n *network) {
				for i, from := range []string{"a1.test", "a2.test"} {
					if i > 0 && !tt.further {
						break
					}
					n.a.send(s2s.Pair{From: from, To: "b1.test"}, i+1, "echo")
					time.Sleep(time.Minute)
				}
				if failed := n.a.failures(); len(failed) > 0 {
					t.Error(failed)
				}
			})
			got := taken.conversations(t, tt.variant != "zero-handshake")
			if len(got) != len(want) {
				t.Fatalf("%d connections, want %d", len(got), len(want))
			}
			for i := range want {
				if d := gocmp.Diff(want[i].lines(), got[i].lines()); d != "" {
					t.Errorf("connection %d (-want +got):\n%s", i+1, d)
				}
			}
		})
	}
	for _, v := range s2s.Variants() {
		if !seen[v.Name] && v.Name != "shared-attrcert" { // that has TestAttrcertTranscript
			t.Errorf("%s has no transcript", v.Name)
		}
	}
}

// take is what one host reads and writes, by stream; first what comes in.
type take struct {
	mu     sync.Mutex
	sent   map[uint64]*[2][]byte
	opened map[uint64]bool // that this host wrote first
}

func (k *take) trace(stream uint64, out bool, b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sent[stream] == nil {
		k.sent[stream] = new([2][]byte)
		if k.opened == nil {
			k.opened = map[uint64]bool{}
		}
		k.opened[stream] = out
	}
	i := 0
	if out {
		i = 1
	}
	k.sent[stream][i] = append(k.sent[stream][i], b...)
}

// conversations are what passed after TLS, in the order in which the connections
// were made. Stream ids become ID1, ID2, … by the connection and the stream on it, and
// keys that are right KEY.
func (k *take) conversations(t *testing.T, headers bool) []conversation {
	t.Helper()
	var all []conversation
	ids := map[string]string{}
	var said [][2][]*xmlElement // first by who opened the connection
	for stream := range uint64(len(k.sent)) {
		in, out := k.sent[stream+1][0], k.sent[stream+1][1]
		if !k.opened[stream+1] {
			in, out = out, in
		}
		both := [2][]*xmlElement{cutElements(t, out, headers), cutElements(t, in, headers)}
		id := ""
		for _, el := range both[1] {
			if el.is(nsStream, "stream") {
				id = el.attr("id")
				ids[id] = fmt.Sprint("ID", len(ids)+1)
			}
		}
		for _, el := range both[0] {
			if el.is(nsDialback, "result") && el.attr("type") == "" {
				el.check(el.attr("from"), el.attr("to"), id)
			}
			if el.is(nsDialback, "verify") && el.attr("type") == "" {
				el.check(el.attr("to"), el.attr("from"), el.attr("id"))
			}
		}
		said = append(said, both)
	}
	for _, both := range said {
		var c conversation
		for _, el := range both[0] {
			c.opener = append(c.opener, canonical(el.anonymous(ids)))
		}
		for _, el := range both[1] {
			c.other = append(c.other, canonical(el.anonymous(ids)))
		}
		all = append(all, c)
	}
	return all
}

// check puts KEY in place of the dialback key that belongs there.
func (n *xmlElement) check(sender, target, id string) {
	secret := "secret of " + left
	if strings.HasPrefix(sender, "b") {
		secret = "secret of " + rightSide
	}
	if n.Text == keyFor(secret, target, sender, id) {
		n.Text = "KEY"
	}
}

// anonymous puts names in place of stream ids.
func (n *xmlElement) anonymous(ids map[string]string) *xmlElement {
	for i := range n.Attrs {
		if name, ok := ids[n.Attrs[i].Value]; ok && n.Attrs[i].Name.Local == "id" {
			n.Attrs[i].Value = name
		}
	}
	return n
}

// cutElements cuts what one end has written into headers and elements; with headers
// the first stream, which is before TLS, is left out.
func cutElements(t *testing.T, b []byte, headers bool) []*xmlElement {
	t.Helper()
	streams := []string{"<stream:stream xmlns='jabber:server' xmlns:stream='" + nsStream + "'>" + string(b)}
	if headers {
		streams = strings.Split(string(b), "<?xml version='1.0'?>")[2:]
	}
	var out []*xmlElement
	for _, stream := range streams {
		d := xml.NewDecoder(strings.NewReader(stream))
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			start, ok := tok.(xml.StartElement)
			if !ok {
				break // the end of the stream
			}
			el := &xmlElement{XMLName: start.Name}
			switch {
			case !el.is(nsStream, "stream"):
				if err := d.DecodeElement(el, &start); err != nil {
					t.Fatal(err)
				}
			case headers:
				el.Attrs = start.Attr
			default:
				continue
			}
			out = append(out, el)
		}
	}
	return out
}

// canonical writes an element with attributes, and the features of a stream, in
// alphabetical order.
func canonical(n *xmlElement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<{%s}%s", n.XMLName.Space, n.XMLName.Local)
	var attrs []string
	for _, a := range n.Attrs {
		if a.Name.Local != "xmlns" || a.Name.Space != "" {
			attrs = append(attrs, fmt.Sprintf(" %s%s='%s'", strings.Replace(a.Name.Space, "xmlns", "xmlns:", 1), a.Name.Local, a.Value))
		}
	}
	slices.Sort(attrs)
	var children []string
	for i := range n.Nodes {
		children = append(children, canonical(&n.Nodes[i]))
	}
	if n.is(nsStream, "features") {
		slices.Sort(children)
	}
	fmt.Fprintf(&b, "%s>%s%s", strings.Join(attrs, ""), strings.Join(children, ""), strings.TrimSpace(n.Text))
	return b.String()
}

// readConversations reads a transcript: a line that begins a connection, then what
// its opener (C:) and the other end (S:) say.
func readConversations(t *testing.T, file string) []conversation {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []conversation
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "# connection "):
			all = append(all, conversation{})
		case strings.HasPrefix(line, "#"):
		default:
			c := &all[len(all)-1]
			who, text, ok := strings.Cut(line, ": ")
			if !ok {
				t.Fatalf("%s: %q", file, line)
			}
			el := parseLine(t, text)
			switch who {
			case "C":
				c.opener = append(c.opener, canonical(el))
			case "S":
				c.other = append(c.other, canonical(el))
			}
		}
	}
	return all
}

// parseLine reads one element of a transcript, or a header, which has no end.
func parseLine(t *testing.T, text string) *xmlElement {
	t.Helper()
	end := ""
	if strings.HasPrefix(text, "<stream:stream") {
		end = "</stream:stream>"
	}
	root := &xmlElement{}
	doc := "<x xmlns='jabber:server' xmlns:stream='" + nsStream + "' xmlns:db='" + nsDialback + "'>" + text + end + "</x>"
	if err := xml.Unmarshal([]byte(doc), root); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return &root.Nodes[0]
}

// TestDocumentation holds docs/variants.md to the transcripts and to the closed
// forms.
func TestDocumentation(t *testing.T) {
	golden.Part(t, filepath.Join("..", "..", "docs", "variants.md"), "federation", federationTable(t))
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "variants.md"))
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
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		if !strings.Contains(doc, "```xml\n"+string(golden)+"```\n") {
			t.Errorf("docs/variants.md does not show %s as it is", name)
		}
	}
	for _, v := range s2s.Variants() {
		if !strings.Contains(doc, "\n## `"+v.Name+"`\n") {
			t.Errorf("docs/variants.md has no section %s", v.Name)
		}
	}
}

// federationTable sets the closed forms side by side.
func federationTable(t *testing.T) string {
	t.Helper()
	const n = 10
	var pairs []s2s.Pair
	for i := range n {
		for j := range n {
			pairs = append(pairs, s2s.Pair{From: fmt.Sprint("a", i), To: fmt.Sprint("b", j)})
		}
	}
	mesh := s2s.MeshOf(n, n, pairs, 1)
	var b strings.Builder
	b.WriteString("| variant | written down in | connections | handshakes | messages of authority | keys | ready, echo | further pair |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, v := range s2s.Variants() {
		for _, given := range []map[string]any{nil, {"verify": "separate"}, {"streams": "one"}} {
			p, err := v.Parse(given)
			if err != nil || given["streams"] == p.Streams && v.Name != "shared-dialback" {
				continue
			}
			name := "`" + v.Name + "`"
			for key, value := range given {
				name += fmt.Sprintf(", `%s: %v`", key, value)
			}
			c, r := v.Counts(p, mesh), v.Rounds(p)
			connections := fmt.Sprint(c.Persistent)
			if c.Opened != c.Persistent {
				connections += fmt.Sprintf(" of %d opened", c.Opened)
			}
			authority := c.SASL + c.Results + c.Verifies + c.Asserts + c.Verdicts
			fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %d, %d | %d, %d |\n",
				name, v.Spec, connections, c.Handshakes, authority, c.Keys, r.First, r.FirstEcho, r.Further, r.FurtherEcho)
		}
	}
	return b.String()
}
