package wire

import "iter"

// An Element is one parsed XML element. All its methods work on a nil Element,
// which is empty, so that look-ups chain.
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

// ParseElement parses one whole element as XMPP allows it (RFC 6120 §11): checked
// are matching tags, unique attributes, the five entities and character references,
// legal characters, UTF-8, bound prefixes, and the absence of comments, processing
// instructions and document types. defaultNS is the namespace of names without a
// prefix, prefixes the prefixes bound by the stream header; nil binds "stream" to
// [NSStreams] alone. Errors are *[SyntaxError]. The Element holds no part of frame.
func ParseElement(frame []byte, defaultNS string, prefixes map[string]string) (*Element, error) {
	return nil, nil
}

// Attr returns the value of the attribute without a namespace, or "".
func (e *Element) Attr(name string) string { return "" }

// LookupAttr tells an empty attribute from an absent one.
func (e *Element) LookupAttr(space, name string) (value string, ok bool) { return "", false }

// Child returns the first child with the name; an empty space or name matches any.
func (e *Element) Child(space, name string) *Element { return nil }

// Each yields the children with the name; an empty space or name matches any.
func (e *Element) Each(space, name string) iter.Seq[*Element] { return func(func(*Element) bool) {} }

// Text returns the element's own text, without that of its children.
func (e *Element) Text() string { return "" }

// Append appends the element as XML. ns is the default namespace in scope where
// the XML will stand: a declaration is written where the element's differs.
func (e *Element) Append(dst []byte, ns string) []byte { return dst }

// ParseStanzaError returns the error of a stanza of type error. A stanza without
// a usable <error/> gives the condition "undefined-condition".
func ParseStanzaError(stanza *Element) *StanzaError { return nil }

// ParseStreamError returns the error in a <stream:error/>.
func ParseStreamError(e *Element) *StreamError { return nil }
