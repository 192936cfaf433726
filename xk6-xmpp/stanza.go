package xk6xmpp

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// stanza is a received stanza as scripts get it. Its text is parsed when they ask for
// more than the attributes.
type stanza struct {
	Name       string  `js:"name"`
	From       string  `js:"from"`
	To         string  `js:"to"`
	ID         string  `js:"id"`
	Type       string  `js:"type"`
	Body       string  `js:"body"`
	Size       int64   `js:"size"`
	ReceivedAt float64 `js:"receivedAt"`

	frame   []byte
	element *wire.Element
	m       *instance
}

// newStanza copies what was read, which is valid for a moment only. It may run on any
// goroutine.
func newStanza(m *instance, st *wire.Stanza) (*stanza, error) {
	el, err := st.Element()
	if err != nil {
		return nil, err
	}
	return &stanza{
		Name: el.Name, From: el.Attr("from"), To: el.Attr("to"), ID: el.Attr("id"), Type: el.Attr("type"),
		Body: el.Child(el.Space, "body").Text(), Size: st.Size, ReceivedAt: float64(st.End.UnixMicro()) / 1000,
		frame: slices.Clone(st.Frame), element: el, m: m,
	}, nil
}

// Child returns the first child element with the name, and with the namespace where one
// is given, or null.
func (s *stanza) Child(name string, ns string) any {
	if c := s.element.Child(ns, name); c != nil {
		return plainElement(c)
	}
	return nil
}

// ToString returns the stanza as it was received.
func (s *stanza) ToString() string { return string(s.frame) }

// element is an element as plain data.
type element struct {
	Name     string            `js:"name"`
	NS       string            `js:"ns"`
	Attrs    map[string]string `js:"attrs"`
	Children []any             `js:"children"` // *element or string
}

func plainElement(e *wire.Element) *element {
	out := &element{Name: e.Name, NS: e.Space, Attrs: make(map[string]string, len(e.Attrs)), Children: make([]any, 0, len(e.Nodes))}
	for _, a := range e.Attrs {
		name := a.Name
		if a.Space == wire.NSXML {
			name = "xml:" + name
		}
		out.Attrs[name] = a.Value
	}
	for _, n := range e.Nodes {
		if n.Element != nil {
			out.Children = append(out.Children, plainElement(n.Element))
		} else {
			out.Children = append(out.Children, n.Text)
		}
	}
	return out
}

// payload appends what a script wants to send: XML as text, or elements as plain data.
// It throws where it is neither.
func (m *instance) payload(dst []byte, what string, v sobek.Value) []byte {
	if common.IsNullish(v) {
		return dst
	}
	return m.appendPayload(dst, what, v.Export(), false)
}

func (m *instance) appendPayload(dst []byte, what string, v any, inside bool) []byte {
	switch x := v.(type) {
	case string:
		if inside {
			return wire.AppendText(dst, x)
		}
		return append(dst, x...)
	case []any:
		for _, part := range x {
			dst = m.appendPayload(dst, what, part, inside)
		}
		return dst
	case map[string]any:
		return m.appendElement(dst, what, x)
	case *element: // of a stanza received
		return m.appendElement(dst, what, x.plain())
	}
	m.typeErrorf("%s: a payload is XML as text, an element such as {name: \"x\", ns: \"urn:x\", attrs: {}, children: []}, or an array of these", what)
	return dst
}

// plain is the element as a script would write it.
func (e *element) plain() map[string]any {
	attrs := make(map[string]any, len(e.Attrs))
	for name, value := range e.Attrs {
		attrs[name] = value
	}
	return map[string]any{"name": e.Name, "ns": e.NS, "attrs": attrs, "children": e.Children}
}

func (m *instance) appendElement(dst []byte, what string, x map[string]any) []byte {
	for key := range x {
		if !slices.Contains([]string{"name", "ns", "attrs", "children"}, key) {
			m.typeErrorf("%s: an element has no %q: use name, ns, attrs and children", what, key)
		}
	}
	name, _ := x["name"].(string)
	if !plainName(name) {
		m.typeErrorf("%s: %q is no name of an element", what, name)
	}
	dst = append(append(dst, '<'), name...)
	if ns, ok := x["ns"].(string); ok && ns != "" {
		dst = wire.AppendAttr(dst, "xmlns", ns)
	}
	attrs, _ := x["attrs"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		value, ok := attrs[key].(string)
		if !ok || !plainName(strings.TrimPrefix(key, "xml:")) {
			m.typeErrorf("%s: attribute %q of %s: names are plain and values are strings", what, key, name)
		}
		dst = wire.AppendAttr(dst, key, value)
	}
	children, _ := x["children"].([]any)
	if len(children) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	dst = m.appendPayload(dst, what, children, true)
	dst = append(dst, "</"...)
	return append(append(dst, name...), '>')
}

// nsDataForms is the namespace of forms (XEP-0004).
const nsDataForms = "jabber:x:data"

// form returns a form of the given type that is filled in with the names and values of an
// object. An empty one accepts what is preset.
func (m *instance) form(call, typ string, v sobek.Value) []byte {
	b := []byte("<x xmlns='" + nsDataForms + "' type='submit'")
	if common.IsNullish(v) {
		return append(b, "/>"...)
	}
	values, ok := v.Export().(map[string]any)
	if !ok {
		m.typeErrorf("%s: the configuration is an object of names and values", call)
	}
	b = append(b, "><field var='FORM_TYPE' type='hidden'>"...)
	b = append(appendChild(b, "value", typ), "</field>"...)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b = append(wire.AppendAttr(append(b, "<field"...), "var", key), '>')
		b = append(appendChild(b, "value", fmt.Sprint(values[key])), "</field>"...)
	}
	return append(b, "</x>"...)
}

// plainName reports whether s can be the name of an element or attribute.
func plainName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return s != "" && strings.Trim(s, letters+"-.0123456789") == "" && strings.ContainsAny(s[:1], letters)
}

// match is a condition on stanzas that is evaluated outside of JavaScript.
type match struct {
	name, from, id, typ, child, ns, body string
	bare                                 bool
	hasBody                              bool
}

// match reads one.
func (m *instance) match(call string, v sobek.Value) match {
	p := m.options(call, v, true)
	c := match{
		from: p.text("from", ""), id: p.text("id", ""), typ: p.text("type", ""), child: p.text("child", ""), ns: p.text("ns", ""),
		bare: p.flag("bare", false), hasBody: p.has("body"), body: p.text("body", ""),
	}
	if p.has("name") {
		c.name = p.choice("name", "", "message", "presence", "iq")
	}
	p.done()
	return c
}

// head reports whether a stanza may match, by its start tag.
func (c *match) head(st *wire.Stanza) bool {
	from := ""
	if c.from != "" {
		from = st.From()
		if c.bare {
			from, _, _ = strings.Cut(from, "/")
		}
	}
	return (c.name == "" || c.name == string(st.Name())) && c.from == from &&
		(c.id == "" || c.id == st.ID()) && (c.typ == "" || c.typ == st.Type())
}

// whole reports whether the head is all there is to look at.
func (c *match) whole() bool { return c.child == "" && c.ns == "" && !c.hasBody }

// content reports whether a stanza matches whose head does.
func (c *match) content(el *wire.Element) bool {
	if (c.child != "" || c.ns != "") && el.Child(c.ns, c.child) == nil {
		return false
	}
	return !c.hasBody || el.Child(el.Space, "body").Text() == c.body
}

// waiter is a match that somebody waits for. done is called once for each stanza that
// matches until it returns false.
type waiter struct {
	match
	whole bool // the stanza itself is wanted
	done  func(st *wire.Stanza) (more bool)
}

// since is the time of a moment of the run for scripts.
func since(start time.Time) float64 { return milliseconds(time.Since(start)) }
