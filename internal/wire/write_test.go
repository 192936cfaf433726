package wire_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/wire"
)

func TestWriters(t *testing.T) {
	tag := []byte(`<iq from="a@b/c" to='d' type='set' id='7'>`)
	tests := []struct {
		name, got, want string
	}{
		{"text", string(wire.AppendText(nil, "a<b>&'\"\r\n\t\x01\xff😀")), "a&lt;b&gt;&amp;'\"&#xD;\n\t\uFFFD\uFFFD😀"},
		{"attribute", string(wire.AppendAttr(nil, "n", []byte("'\"<&\t\n"))), " n='&apos;&quot;&lt;&amp;&#x9;&#xA;'"},
		{"empty attribute", string(wire.AppendAttr(nil, "ver", "")), " ver=''"},
		{"iq", string(wire.AppendIQ(nil, "get", "1", "", "x@y", []byte("<ping/>"))), "<iq type='get' id='1' to='x@y'><ping/></iq>"},
		{"empty reply", string(wire.AppendReply(nil, tag, "result", nil)), "<iq type='result' id='7' from='d' to='a@b/c'></iq>"},
		{"reply", string(wire.AppendReply(nil, []byte("<iq id='7'/>"), "result", []byte("<q/>"))), "<iq type='result' id='7'><q/></iq>"},
		{"stanza error", string(wire.AppendStanzaError(nil, []byte("<message/>"), &wire.StanzaError{})),
			"<message type='error'><error type='cancel'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"},
		{"stream error", string(wire.AppendStreamError(nil, &wire.StreamError{Condition: "reset", Text: "<"})),
			"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>&lt;</text></stream:error>"},
		{"header", string(wire.AppendHeader(nil, wire.Header{To: "b.example"})),
			"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='b.example' version='1.0'>"},
		{"footer", string(wire.AppendFooter(nil)), "</stream:stream>"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	want := wire.Header{NS: wire.NSServer, From: "a", To: "b'c", ID: "x&y", Lang: "de", Version: "1.0", Dialback: true}
	b := wire.AppendHeader(nil, want)
	tag := b[strings.Index(string(b), "<stream"):]
	got, err := wire.ParseHeader(tag)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	got, err = wire.ParseHeader([]byte("<x:stream xmlns:x='http://etherx.jabber.org/streams' xmlns='jabber:client'>"))
	if d := cmp.Diff(wire.Header{NS: wire.NSClient}, got); d != "" || err != nil {
		t.Error(err, d)
	}
	for tag, want := range map[string]string{
		"<stream:stream xmlns='jabber:client'>": wire.BadNamespacePrefix,
		"<stream:stream xmlns:stream='urn:x'>":  wire.InvalidNamespace,
		"<stream>":                              wire.InvalidNamespace,
		"<html>":                                wire.BadFormat,
		"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='&'>":            wire.NotWellFormed,
		"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to>":                wire.NotWellFormed,
		"<stream:other xmlns:stream='http://etherx.jabber.org/streams' version='1.0' a=''>": wire.BadFormat,
	} {
		_, err := wire.ParseHeader([]byte(tag))
		var se *wire.SyntaxError
		if !errors.As(err, &se) || se.Condition != want {
			t.Errorf("%s: %v, want %s", tag, err, want)
		}
	}
}

func TestAttr(t *testing.T) {
	tag := []byte("<a:item jid = 'x@y' name=\"it's\"\n xjid='no' e='&#65;&amp;' bad='&x;'/>")
	for name, want := range map[string]string{"jid": "x@y", "name": "it's", "e": "A&", "bad": "", "none": "", "id": ""} {
		if got := wire.AttrString(tag, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := string(wire.TagName(tag)) + " " + string(wire.LocalName(tag)) + " " + string(wire.LocalName([]byte("</x:y >"))); got != "a:item item y" {
		t.Error(got)
	}
	if allocs := testing.AllocsPerRun(100, func() { wire.Attr(tag, "xjid") }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	for _, broken := range []string{"", "<", "<a", "<a b", "<a b=", "<a b='", "<a b='c", "</", "/"} {
		if v, ok := wire.Attr([]byte(broken), "b"); ok {
			t.Errorf("%q has b=%q", broken, v)
		}
		wire.LocalName([]byte(broken))
	}
}

func TestScanner(t *testing.T) {
	doc := roster(3)
	var jids []string
	walk := func() {
		s := wire.NewScanner(doc)
		for tok := s.Next(); tok != wire.NoToken; tok = s.Next() {
			if tok == wire.StartTag && s.Depth() == 3 && string(s.Name()) == "item" {
				if v, ok := s.Attr("jid"); ok && jids != nil {
					jids = append(jids, string(v))
				}
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	if allocs := testing.AllocsPerRun(10, walk); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	jids = []string{}
	walk()
	if d := cmp.Diff([]string{"contact000000@provider.example", "contact000001@provider.example", "contact000002@provider.example"}, jids); d != "" {
		t.Error(d)
	}

	attrs := wire.NewScanner([]byte(`<item jid='a&amp;b' x:name = "it's" ask=''/>`))
	var pairs []string
	for range 2 { // the start tag, and the end tag that has none
		attrs.Next()
		for name, value := range attrs.Attrs() {
			pairs = append(pairs, string(name)+"="+string(value))
		}
	}
	if d := cmp.Diff([]string{"jid=a&amp;b", "x:name=it's", "ask="}, pairs); d != "" {
		t.Error(d)
	}

	s := wire.NewScanner([]byte("<a>t<![CDATA[c]]><b/></a>"))
	var got []string
	for tok := s.Next(); tok != wire.NoToken; tok = s.Next() {
		got = append(got, string(rune('0'+int(tok)))+string(rune('0'+s.Depth()))+string(s.Raw()))
	}
	if d := cmp.Diff([]string{"11<a>", "31t", "41c", "12<b/>", "22<b/>", "21</a>"}, got); d != "" {
		t.Error(d)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("plain")
	f.Add("a<b>&'\"\r\n\t\x00\x01\xff\ufffe😀]]>")
	f.Fuzz(func(t *testing.T, s string) {
		want := strings.Map(func(r rune) rune {
			if r == utf8.RuneError || (r < ' ' && r != '\t' && r != '\n' && r != '\r') || r == 0xFFFE || r == 0xFFFF {
				return utf8.RuneError
			}
			return r
		}, s)
		b := wire.AppendAttr([]byte("<a"), "v", s)
		b = append(b, '>')
		b = wire.AppendText(b, []byte(s))
		b = append(b, "</a>"...)
		el, err := wire.ParseElement(b, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if el.Attr("v") != want || el.Text() != want {
			t.Fatalf("%q came back as %q and %q", want, el.Attr("v"), el.Text())
		}
		if tag := b[:strings.IndexByte(string(b), '>')+1]; wire.AttrString(tag, "v") != want {
			t.Fatalf("%q came back as %q", want, wire.AttrString(tag, "v"))
		}
	})
}
