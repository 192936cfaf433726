package provision

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
)

// luaString reads the Lua string literal at the beginning of text.
func luaString(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		return "", text, fmt.Errorf("no string at %.20q", text)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], nil
		case c == '\n' || c == '\r':
			return "", text, fmt.Errorf("line end in a string")
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(text):
			return "", text, fmt.Errorf("string ends in a backslash")
		case text[i+1] >= '0' && text[i+1] <= '9':
			n, digits := 0, 0
			for ; digits < 3 && i+1+digits < len(text) && text[i+1+digits] >= '0' && text[i+1+digits] <= '9'; digits++ {
				n = n*10 + int(text[i+1+digits]-'0')
			}
			if n > 255 {
				return "", text, fmt.Errorf("escape \\%d", n)
			}
			b.WriteByte(byte(n))
			i += digits
		case text[i+1] == '"' || text[i+1] == '\\':
			i++
			b.WriteByte(text[i])
		default:
			return "", text, fmt.Errorf("escape \\%c", text[i+1])
		}
	}
	return "", text, fmt.Errorf("string without end")
}

func FuzzLuaString(f *testing.F) {
	f.Add("plain")
	f.Add("quote \" backslash \\ line\r\nnul \x00 digit \x001 del \x7f ümlaut \xff")
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	f.Add(string(every))
	f.Fuzz(func(t *testing.T, s string) {
		literal := string(appendLua(nil, s))
		got, rest, err := luaString(literal + "1;")
		if err != nil || got != s || rest != "1;" {
			t.Errorf("%q is written %s and read %q, rest %q, %v", s, literal, got, rest, err)
		}
	})
}

// TestRosterFileHoldsTheRoster reads a roster file back, piece by piece, and
// compares it with what a client is to expect.
func TestRosterFileHoldsTheRoster(t *testing.T) {
	p, err := population.New(population.Config{Seed: 4, Domains: []string{"a.test"}, Accounts: 1000, Contacts: 500})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := newPrinter(&b)
	writeProsodyRoster(w, member{p, 3})
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	expect := func(s string) {
		t.Helper()
		rest, ok := strings.CutPrefix(text, s)
		if !ok {
			t.Fatalf("want %q at %.60q", s, text)
		}
		text = rest
	}
	literal := func() string {
		t.Helper()
		s, rest, err := luaString(text)
		if err != nil {
			t.Fatal(err)
		}
		text = rest
		return s
	}
	expect("return {\n\t[false] = {\n\t\t[\"version\"] = 1;\n\t\t[\"pending\"] = {};\n\t};\n")
	var d population.Digest
	for !strings.HasPrefix(text, "};") {
		var it population.Item
		expect("\t[")
		it.JID = literal()
		expect("] = {\n")
		for !strings.HasPrefix(text, "\t};\n") {
			expect("\t\t[")
			field := literal()
			expect("] = ")
			switch field {
			case "subscription":
				it.Subscription = literal()
			case "ask":
				it.Ask = literal() == "subscribe"
			case "name":
				it.Name = literal()
			case "groups":
				expect("{")
				for strings.HasPrefix(text, " [") {
					expect(" [")
					it.Groups = append(it.Groups, literal())
					expect("] = true;")
				}
				expect(" }")
			default:
				t.Fatalf("field %q", field)
			}
			expect(";\n")
		}
		expect("\t};\n")
		d.Add(it)
	}
	expect("};\n")
	if want := p.Expected(3); !d.Equal(want) || text != "" {
		t.Errorf("the file holds %s, want %s; rest %q", d, want, text)
	}
}
