package wire

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxElementDepth bounds what walks an Element recursively. A frame of a [Framer]
// with default limits never comes near.
const maxElementDepth = 256

// An Element is one parsed XML element. All its methods but Append work on a nil
// Element, which is empty, so that look-ups chain.
type Element struct {
	Space string // namespace
	Name  string // local name
	Attrs []Attribute
	Nodes []Node // children and text in document order
}

// An Attribute is one attribute of an [Element]; namespace declarations are none.
type Attribute struct {
	Space string // namespace; empty for names without a prefix
	Name  string // local name
	Value string // unescaped
}

// A Node is a child element or, when Element is nil, text.
type Node struct {
	Element *Element
	Text    string
}

// binding is a namespace declaration in scope.
type binding struct {
	prefix, space string
	depth         int // of the element that declares it
}

// parser builds the Element of one frame.
type parser struct {
	scan     Scanner
	bindings []binding
	open     []*Element
	names    [][]byte // raw names of the open elements
	text     []byte   // character data since the last tag
	scratch  []byte
}

// ParseElement parses one whole element as XMPP allows it (RFC 6120 §11): checked
// are matching tags, unique attributes, the five entities and character references,
// legal characters, UTF-8, bound prefixes, and the absence of comments, processing
// instructions and document types. defaultNS is the namespace of names without a
// prefix, prefixes the prefixes bound by the stream header; nil binds "stream" to
// [NSStreams] alone. Errors are *[SyntaxError] with the offset in the frame. The
// Element holds no part of frame.
func ParseElement(frame []byte, defaultNS string, prefixes map[string]string) (*Element, error) {
	p := parser{scan: NewScanner(frame)}
	p.bindings = append(p.bindings, binding{prefix: "xml", space: NSXML}, binding{space: defaultNS})
	if prefixes == nil {
		p.bindings = append(p.bindings, binding{prefix: "stream", space: NSStreams})
	}
	for prefix, space := range prefixes {
		p.bindings = append(p.bindings, binding{prefix: prefix, space: space})
	}
	root := &Element{}
	p.open = append(p.open, root)
	for {
		var err error
		switch p.scan.Next() {
		case NoToken:
			if err := p.scan.Err(); err != nil {
				return nil, err
			}
			return root.Nodes[0].Element, nil
		case StartTag:
			err = p.start()
		case EndTag:
			err = p.end()
		case Text:
			err = p.chars()
		case CDATA:
			if err = p.legal(p.scan.Raw()); err == nil {
				p.text = appendLines(p.text, p.scan.Raw())
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) fault(condition, format string, args ...any) error {
	return &SyntaxError{Condition: condition, Msg: fmt.Sprintf(format, args...), Offset: int64(p.scan.pos)}
}

// flush makes a text node of the character data before a tag.
func (p *parser) flush() {
	if len(p.text) > 0 {
		e := p.open[len(p.open)-1]
		e.Nodes = append(e.Nodes, Node{Text: string(p.text)})
		p.text = p.text[:0]
	}
}

func (p *parser) start() error {
	p.flush()
	depth := p.scan.Depth()
	if depth > maxElementDepth {
		return p.fault(PolicyViolation, "more than %d nested elements", maxElementDepth)
	}
	e := &Element{}
	tag := p.scan.Raw()
	// Declarations hold for the whole tag, whatever the order.
	count := 0
	for pos := nameEnd(tag); ; {
		name, raw, next, _ := scanAttr(tag, pos)
		if name == nil {
			break
		}
		pos = next
		if prefix, local := splitName(name); string(name) != "xmlns" && string(prefix) != "xmlns" {
			count++
		} else if err := p.declare(depth, prefix, local, raw); err != nil {
			return err
		}
	}
	var err error
	if e.Space, e.Name, err = p.resolve(p.scan.Name(), true); err != nil {
		return err
	}
	if count > 0 {
		e.Attrs = make([]Attribute, 0, count)
	}
	for pos := nameEnd(tag); ; {
		name, raw, next, _ := scanAttr(tag, pos)
		if name == nil {
			break
		}
		pos = next
		if prefix, _ := splitName(name); string(name) == "xmlns" || string(prefix) == "xmlns" {
			continue
		}
		a := Attribute{}
		if a.Space, a.Name, err = p.resolve(name, false); err != nil {
			return err
		}
		if _, twice := e.LookupAttr(a.Space, a.Name); twice {
			return p.fault(NotWellFormed, "attribute %s stands twice", name)
		}
		if a.Value, err = p.value(name, raw); err != nil {
			return err
		}
		e.Attrs = append(e.Attrs, a)
	}
	parent := p.open[len(p.open)-1]
	parent.Nodes = append(parent.Nodes, Node{Element: e})
	p.open = append(p.open, e)
	p.names = append(p.names, p.scan.Name())
	return nil
}

func (p *parser) end() error {
	p.flush()
	last := len(p.names) - 1
	if !bytes.Equal(p.names[last], p.scan.Name()) {
		return p.fault(NotWellFormed, "<%s> ends with </%s>", p.names[last], p.scan.Name())
	}
	p.names = p.names[:last]
	p.open = p.open[:len(p.open)-1]
	for n := len(p.bindings); n > 0 && p.bindings[n-1].depth == p.scan.Depth(); n-- {
		p.bindings = p.bindings[:n-1]
	}
	return nil
}

// declare takes xmlns or xmlns:local (Namespaces in XML §3).
func (p *parser) declare(depth int, prefix, local, raw []byte) error {
	space, err := p.value(local, raw)
	if err != nil {
		return err
	}
	b := binding{space: space, depth: depth}
	if prefix != nil {
		b.prefix = string(local)
	}
	switch {
	case b.prefix == "xmlns", (b.prefix == "xml") != (space == NSXML), space == nsXMLNS, prefix != nil && space == "":
		return p.fault(BadNamespacePrefix, "prefix %q cannot be bound to %q", b.prefix, space)
	case bytes.IndexByte(local, ':') >= 0:
		return p.fault(NotWellFormed, "bad prefix %q", local)
	}
	for i := len(p.bindings) - 1; i >= 0 && p.bindings[i].depth == depth; i-- {
		if p.bindings[i].prefix == b.prefix {
			return p.fault(NotWellFormed, "prefix %q is bound twice", b.prefix)
		}
	}
	p.bindings = append(p.bindings, b)
	return nil
}

// resolve returns the namespace and local name of a raw name.
func (p *parser) resolve(name []byte, element bool) (space, local string, err error) {
	prefix, l := splitName(name)
	if bytes.IndexByte(l, ':') >= 0 || !isName(l) {
		return "", "", p.fault(NotWellFormed, "bad name %q", name)
	}
	local = string(l)
	if prefix == nil && !element {
		return "", local, nil
	}
	for i := len(p.bindings) - 1; i >= 0; i-- {
		if b := &p.bindings[i]; b.prefix == string(prefix) {
			return b.space, local, nil
		}
	}
	return "", "", p.fault(BadNamespacePrefix, "prefix %q is not bound", prefix)
}

// value checks and unescapes an attribute's value.
func (p *parser) value(name, raw []byte) (string, error) {
	if err := p.legal(raw); err != nil {
		return "", err
	}
	if bytes.IndexByte(raw, '&') < 0 && !bytes.ContainsAny(raw, "\t\r\n") {
		return string(raw), nil
	}
	v, err := unescape(p.scratch[:0], raw, true)
	if err != nil {
		return "", p.fault(NotWellFormed, "attribute %s: & starts neither a predefined entity nor a character reference", name)
	}
	p.scratch = v[:0]
	return string(v), nil
}

// chars checks and unescapes character data.
func (p *parser) chars() error {
	raw := p.scan.Raw()
	if err := p.legal(raw); err != nil {
		return err
	}
	if bytes.Contains(raw, []byte("]]>")) {
		return p.fault(NotWellFormed, "]]> in text")
	}
	v, err := unescape(p.text, raw, false)
	if err != nil {
		return p.fault(NotWellFormed, "& starts neither a predefined entity nor a character reference")
	}
	p.text = v
	return nil
}

// legal checks that b is UTF-8 and holds only characters that XML allows.
func (p *parser) legal(b []byte) error {
	for i := 0; i < len(b); {
		if c := b[i]; c >= ' ' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return p.fault(NotWellFormed, "not UTF-8")
		}
		if !isChar(r) {
			return p.fault(NotWellFormed, "character %U is not allowed", r)
		}
		i += n
	}
	return nil
}

// appendLines appends raw, which has no references, with its line ends normalised.
func appendLines(dst, raw []byte) []byte {
	for i, c := range raw {
		switch {
		case c != '\r':
			dst = append(dst, c)
		case i+1 == len(raw) || raw[i+1] != '\n':
			dst = append(dst, '\n')
		}
	}
	return dst
}

// Attr returns the value of the attribute that has the name and no namespace, or "".
func (e *Element) Attr(name string) string {
	v, _ := e.LookupAttr("", name)
	return v
}

// LookupAttr tells an empty attribute from an absent one.
func (e *Element) LookupAttr(space, name string) (value string, ok bool) {
	if e == nil {
		return "", false
	}
	for i := range e.Attrs {
		if a := &e.Attrs[i]; a.Name == name && a.Space == space {
			return a.Value, true
		}
	}
	return "", false
}

// Child returns the first child with the name, or nil; an empty space or name matches any.
func (e *Element) Child(space, name string) *Element {
	for c := range e.Each(space, name) {
		return c
	}
	return nil
}

// Each yields the children with the name; an empty space or name matches any.
func (e *Element) Each(space, name string) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for i := range e.Nodes {
			c := e.Nodes[i].Element
			if c == nil || (space != "" && c.Space != space) || (name != "" && c.Name != name) {
				continue
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Text returns the element's own text, without that of its children.
func (e *Element) Text() string {
	if e == nil {
		return ""
	}
	if len(e.Nodes) == 1 {
		return e.Nodes[0].Text
	}
	var b strings.Builder
	for i := range e.Nodes {
		b.WriteString(e.Nodes[i].Text)
	}
	return b.String()
}

// Append appends the element as XML. ns is the default namespace in scope where
// the XML will stand: a declaration is written where the element's differs.
// Prefixes are not kept, namespaces are.
func (e *Element) Append(dst []byte, ns string) []byte {
	dst = append(dst, '<')
	dst = append(dst, e.Name...)
	if e.Space != ns {
		dst = AppendAttr(dst, "xmlns", e.Space)
	}
	for i := range e.Attrs {
		a := &e.Attrs[i]
		name := a.Name
		switch a.Space {
		case "":
		case NSXML:
			name = "xml:" + name
		default:
			prefix := "ns" + strconv.Itoa(i)
			dst = AppendAttr(dst, "xmlns:"+prefix, a.Space)
			name = prefix + ":" + name
		}
		dst = AppendAttr(dst, name, a.Value)
	}
	if len(e.Nodes) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	for i := range e.Nodes {
		if c := e.Nodes[i].Element; c != nil {
			dst = c.Append(dst, e.Space)
		} else {
			dst = AppendText(dst, e.Nodes[i].Text)
		}
	}
	dst = append(dst, '<', '/')
	dst = append(dst, e.Name...)
	return append(dst, '>')
}

// ParseStanzaError returns the error of a stanza of type error (RFC 6120 §8.3). A
// stanza without a usable <error/> gives the condition "undefined-condition".
func ParseStanzaError(stanza *Element) *StanzaError {
	var el *Element
	if stanza != nil {
		el = stanza.Child(stanza.Space, "error")
	}
	e := &StanzaError{Type: el.Attr("type")}
	for c := range el.Each("", "") {
		switch {
		case c.Space != NSStanzas:
			e.App = string(c.Append(nil, el.Space))
		case c.Name == "text":
			e.Text = c.Text()
		case e.Condition == "":
			e.Condition = c.Name
		}
	}
	e.Condition = cmp.Or(e.Condition, undefined)
	return e
}

// ParseStreamError returns the error in a <stream:error/> (RFC 6120 §4.9), or nil
// when e is something else.
func ParseStreamError(e *Element) *StreamError {
	if e == nil || e.Space != NSStreams || e.Name != "error" {
		return nil
	}
	err := &StreamError{}
	for c := range e.Each("", "") {
		switch {
		case c.Space != NSStreamErrors:
			err.App = string(c.Append(nil, NSStreams))
		case c.Name == "text":
			err.Text = c.Text()
		case err.Condition == "":
			err.Condition = c.Name
		}
	}
	err.Condition = cmp.Or(err.Condition, undefined)
	return err
}
