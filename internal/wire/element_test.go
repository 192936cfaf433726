package wire_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/wire"
)

func TestParseElement(t *testing.T) {
	el, err := wire.ParseElement([]byte(`<iq type='result' id="r&#x31;" xml:lang='en'><query xmlns='jabber:iq:roster' ver=''>`+
		`<item jid='o&apos;neil@b.example' name='&#65;&#x1F600; &lt;&amp;&quot;&gt;'><group>A &amp; B</group><group><![CDATA[<x>&amp;]]></group></item>`+
		"<x:item xmlns:x='urn:x' x:a='1' a='2'/>line\r\nend<item/></query></iq>"), wire.NSClient, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &wire.Element{Space: wire.NSClient, Name: "iq",
		Attrs: []wire.Attribute{{Name: "type", Value: "result"}, {Name: "id", Value: "r1"}, {Space: wire.NSXML, Name: "lang", Value: "en"}},
		Nodes: []wire.Node{{Element: &wire.Element{Space: wire.NSRoster, Name: "query", Attrs: []wire.Attribute{{Name: "ver"}}, Nodes: []wire.Node{
			{Element: &wire.Element{Space: wire.NSRoster, Name: "item",
				Attrs: []wire.Attribute{{Name: "jid", Value: "o'neil@b.example"}, {Name: "name", Value: "A😀 <&\">"}},
				Nodes: []wire.Node{
					{Element: &wire.Element{Space: wire.NSRoster, Name: "group", Nodes: []wire.Node{{Text: "A & B"}}}},
					{Element: &wire.Element{Space: wire.NSRoster, Name: "group", Nodes: []wire.Node{{Text: "<x>&amp;"}}}},
				}}},
			{Element: &wire.Element{Space: "urn:x", Name: "item", Attrs: []wire.Attribute{{Space: "urn:x", Name: "a", Value: "1"}, {Name: "a", Value: "2"}}}},
			{Text: "line\nend"},
			{Element: &wire.Element{Space: wire.NSRoster, Name: "item"}},
		}}}},
	}
	if d := cmp.Diff(want, el); d != "" {
		t.Fatal(d)
	}
	query := el.Child(wire.NSRoster, "query")
	if v, ok := query.LookupAttr("", "ver"); v != "" || !ok {
		t.Errorf("ver is %q, %v", v, ok)
	}
	if _, ok := query.LookupAttr("", "none"); ok {
		t.Error("an absent attribute was found")
	}
	if n := len(slices.Collect(query.Each(wire.NSRoster, "item"))); n != 2 {
		t.Errorf("%d items", n)
	}
	if got := query.Text(); got != "line\nend" {
		t.Errorf("text %q", got)
	}
	if got := el.Child("", "none").Child("x", "y").Attr("z") + el.Child("", "none").Text(); got != "" {
		t.Errorf("a missing child has %q", got)
	}
	again, err := wire.ParseElement(el.Append(nil, ""), "other", nil)
	if d := cmp.Diff(el, again); d != "" || err != nil {
		t.Error(err, d)
	}
	if got := el.Append(nil, wire.NSClient); bytes.Contains(got, []byte("jabber:client")) {
		t.Errorf("the namespace in scope is declared again: %s", got)
	}
}

func TestParseElementUsesTheHeadersPrefixes(t *testing.T) {
	for _, tt := range []struct {
		frame    string
		prefixes map[string]string
		space    string
	}{
		{"<stream:features/>", nil, wire.NSStreams},
		{"<db:result/>", map[string]string{"db": wire.NSDialback}, wire.NSDialback},
		{"<db:result xmlns:db='urn:x'/>", map[string]string{"db": wire.NSDialback}, "urn:x"},
	} {
		el, err := wire.ParseElement([]byte(tt.frame), wire.NSServer, tt.prefixes)
		if err != nil || el.Space != tt.space {
			t.Errorf("%s: %+v, %v", tt.frame, el, err)
		}
	}
}

func TestParseElementErrors(t *testing.T) {
	tests := []struct{ frame, want string }{
		{"", wire.NotWellFormed},
		{" ", wire.NotWellFormed},
		{"x", wire.NotWellFormed},
		{"<", wire.NotWellFormed},
		{"<a", wire.NotWellFormed},
		{"<a>", wire.NotWellFormed},
		{"<a/", wire.NotWellFormed},
		{"</a>", wire.NotWellFormed},
		{"<a/>x", wire.NotWellFormed},
		{"<a/><b/>", wire.NotWellFormed},
		{"<a></b>", wire.NotWellFormed},
		{"<a xmlns:x='y' xmlns:z='y'><x:b></z:b></a>", wire.NotWellFormed},
		{"<a><b></a></b>", wire.NotWellFormed},
		{"<1/>", wire.NotWellFormed},
		{"<a b/>", wire.NotWellFormed},
		{"<a b=c/>", wire.NotWellFormed},
		{"<a b='c'd='e'/>", wire.NotWellFormed},
		{"<a b='<'/>", wire.NotWellFormed},
		{"<a b='1' b='2'/>", wire.NotWellFormed},
		{"<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>", wire.NotWellFormed},
		{"<a xmlns='u' xmlns='v'/>", wire.NotWellFormed},
		{"<a 1='2'/>", wire.NotWellFormed},
		{"<a>&nbsp;</a>", wire.NotWellFormed},
		{"<a>&</a>", wire.NotWellFormed},
		{"<a>&amp</a>", wire.NotWellFormed},
		{"<a>&#;</a>", wire.NotWellFormed},
		{"<a>&#x;</a>", wire.NotWellFormed},
		{"<a>&#xG;</a>", wire.NotWellFormed},
		{"<a>&#0;</a>", wire.NotWellFormed},
		{"<a>&#xD800;</a>", wire.NotWellFormed},
		{"<a>&#x110000;</a>", wire.NotWellFormed},
		{"<a>&#99999999999999999999;</a>", wire.NotWellFormed},
		{"<a b='&foo;'/>", wire.NotWellFormed},
		{"<a>\x00</a>", wire.NotWellFormed},
		{"<a>\x1f</a>", wire.NotWellFormed},
		{"<a>\xff</a>", wire.NotWellFormed},
		{"<a>\xed\xa0\x80</a>", wire.NotWellFormed},
		{"<a>\ufffe</a>", wire.NotWellFormed},
		{"<a b='\x01'/>", wire.NotWellFormed},
		{"<a><![CDATA[\x01]]></a>", wire.NotWellFormed},
		{"<a><![CDATA[</a>", wire.NotWellFormed},
		{"<a>]]></a>", wire.NotWellFormed},
		{"<a:b:c xmlns:a='u'/>", wire.NotWellFormed},
		{"<:a/>", wire.NotWellFormed},
		{"<a:/>", wire.NotWellFormed},
		{"<x:a/>", wire.BadNamespacePrefix},
		{"<a x:b='c'/>", wire.BadNamespacePrefix},
		{"<a><b xmlns:x='u'/><x:c/></a>", wire.BadNamespacePrefix},
		{"<a xmlns:x=''/>", wire.BadNamespacePrefix},
		{"<a xmlns:xmlns='u'/>", wire.BadNamespacePrefix},
		{"<a xmlns:xml='u'/>", wire.BadNamespacePrefix},
		{"<a xmlns='http://www.w3.org/2000/xmlns/'/>", wire.BadNamespacePrefix},
		{"<a><!-- c --></a>", wire.RestrictedXML},
		{"<a><?pi?></a>", wire.RestrictedXML},
		{"<?xml version='1.0'?><a/>", wire.RestrictedXML},
		{"<!DOCTYPE a><a/>", wire.RestrictedXML},
		{strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000), wire.PolicyViolation},
	}
	for _, tt := range tests {
		el, err := wire.ParseElement([]byte(tt.frame), wire.NSClient, nil)
		var se *wire.SyntaxError
		if !errors.As(err, &se) || se.Condition != tt.want || el != nil {
			t.Errorf("%.60q: %v, want %s", tt.frame, err, tt.want)
		}
	}
}

func TestForeignNames(t *testing.T) {
	el, err := wire.ParseElement([]byte("<größe maß='1'/>"), wire.NSClient, nil)
	if err != nil || el.Name != "größe" || el.Attr("maß") != "1" {
		t.Errorf("%+v, %v", el, err)
	}
	if _, err := wire.ParseElement([]byte("<a×b/>"), wire.NSClient, nil); err == nil {
		t.Error("a name with a multiplication sign was accepted")
	}
}

func TestErrorsRoundTrip(t *testing.T) {
	tag := []byte(`<iq type='get' id="a'b&amp;" from='me@x/y' to="them@x"/>`)
	want := &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "a < b", App: `<limit xmlns='urn:x'>9</limit>`}
	b := wire.AppendStanzaError(nil, tag, want)
	el, err := wire.ParseElement(b, wire.NSClient, nil)
	if err != nil {
		t.Fatal(err)
	}
	if el.Attr("type") != "error" || el.Attr("id") != "a'b&" || el.Attr("from") != "them@x" || el.Attr("to") != "me@x/y" {
		t.Errorf("%s", b)
	}
	if d := cmp.Diff(want, wire.ParseStanzaError(el)); d != "" {
		t.Error(d)
	}
	if got := want.Kind(); got != "stanza.bad-request" {
		t.Error(got)
	}
	if got := wire.ParseStanzaError(nil).Condition; got != "undefined-condition" {
		t.Error(got)
	}
	stream := &wire.StreamError{Condition: "conflict", Text: "ü", App: "<app xmlns='urn:example:x'><a b='c'/></app>"}
	el, err = wire.ParseElement(wire.AppendStreamError(nil, stream), wire.NSClient, nil)
	if d := cmp.Diff(stream, wire.ParseStreamError(el)); d != "" || err != nil {
		t.Error(err, d)
	}
	if wire.ParseStreamError(el.Child("", "conflict")) != nil {
		t.Error("another element was taken for a stream error")
	}
}

// referenceTree builds an Element with encoding/xml.
func referenceTree(frame []byte, ns string) (*wire.Element, error) {
	doc := "<stream:stream xmlns='" + ns + "' xmlns:stream='" + wire.NSStreams + "'>" + string(frame) + "</stream:stream>"
	d := xml.NewDecoder(strings.NewReader(doc))
	open := []*wire.Element{{}}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return open[0].Nodes[0].Element.Nodes[0].Element, nil
		}
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch t := t.(type) {
		case xml.StartElement:
			e := &wire.Element{Space: t.Name.Space, Name: t.Name.Local}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
					e.Attrs = append(e.Attrs, wire.Attribute{Space: a.Name.Space, Name: a.Name.Local, Value: spaces(a.Value)})
				}
			}
			top.Nodes = append(top.Nodes, wire.Node{Element: e})
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if n := len(top.Nodes); n > 0 && top.Nodes[n-1].Element == nil {
				top.Nodes[n-1].Text += string(t)
			} else if len(t) > 0 {
				top.Nodes = append(top.Nodes, wire.Node{Text: string(t)})
			}
		}
	}
}

// spaces hides that encoding/xml does not normalise white space in attributes.
func spaces(s string) string { return strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(s) }

func normalise(e *wire.Element) {
	for i := range e.Attrs {
		e.Attrs[i].Value = spaces(e.Attrs[i].Value)
	}
	for c := range e.Each("", "") {
		normalise(c)
	}
}

func FuzzParseElement(f *testing.F) {
	for _, s := range []string{
		rich[strings.Index(rich, "<iq"):strings.Index(rich, "<!-- <item")] + "</query></iq>",
		"<a b='&#x31;&lt;' xml:lang='en'>x\r\ny<![CDATA[]]]]>&amp;</a>",
		"<x:a xmlns:x='u' x:b='1' b='2'><x:c/><d xmlns=''/></x:a >",
		"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
		"<größe/>", "<a b=\"'\" c='\"'\n/>", "<a>\ufffe</a>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, err := wire.ParseElement(frame, wire.NSClient, nil)
		if err != nil {
			var se *wire.SyntaxError
			if !errors.As(err, &se) || se.Condition == "" {
				t.Fatalf("not a syntax error: %v", err)
			}
			return
		}
		want, err := referenceTree(frame, wire.NSClient)
		if err != nil {
			t.Fatalf("accepted %q, which encoding/xml refuses: %v", frame, err)
		}
		text := got.Append(nil, wire.NSClient)
		again, err := wire.ParseElement(text, wire.NSClient, nil)
		if d := cmp.Diff(got, again); err != nil || d != "" {
			t.Fatalf("written %q: %v\n%s", text, err, d)
		}
		normalise(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func BenchmarkParseElement(b *testing.B) {
	doc := roster(100)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseElement(doc, wire.NSClient, nil); err != nil {
			b.Fatal(err)
		}
	}
}
