package wire

import (
	"bytes"
	"cmp"
	"unicode/utf8"
)

// AppendText appends s as character data, escaped. Characters that XML does not
// allow become U+FFFD.
func AppendText[T ~string | ~[]byte](dst []byte, s T) []byte { return appendEscaped(dst, s, false) }

// AppendAttr appends " name='value'", with the value escaped so that a reader gets
// it back unchanged, tabs and line ends included. name is written as it is.
func AppendAttr[T ~string | ~[]byte](dst []byte, name string, value T) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	dst = appendEscaped(dst, value, true)
	return append(dst, '\'')
}

func appendEscaped[T ~string | ~[]byte](dst []byte, s T, attr bool) []byte {
	run := 0 // start of what needs no escape
	for i := 0; i < len(s); {
		c := s[i]
		width, escape := 1, ""
		switch {
		case c == '&':
			escape = "&amp;"
		case c == '<':
			escape = "&lt;"
		case c == '>':
			escape = "&gt;"
		case c == '\r': // a parser would make it a line feed
			escape = "&#xD;"
		case attr && c == '\'':
			escape = "&apos;"
		case attr && c == '"':
			escape = "&quot;"
		case attr && c == '\t': // a parser would make these spaces
			escape = "&#x9;"
		case attr && c == '\n':
			escape = "&#xA;"
		case c >= utf8.RuneSelf:
			var u [utf8.UTFMax]byte
			r, n := utf8.DecodeRune(u[:copy(u[:], s[i:])])
			width = n
			if (r == utf8.RuneError && n == 1) || !isChar(r) {
				escape = "\uFFFD"
			}
		case !isChar(rune(c)):
			escape = "\uFFFD"
		}
		if escape != "" {
			dst = append(dst, s[run:i]...)
			dst = append(dst, escape...)
			run = i + width
		}
		i += width
	}
	return append(dst, s[run:]...)
}

func appendOptional(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return AppendAttr(dst, name, value)
}

// AppendIQStart appends the start tag of an iq. Empty id, from and to are left out.
func AppendIQStart(dst []byte, typ, id, from, to string) []byte {
	dst = append(dst, "<iq"...)
	dst = AppendAttr(dst, "type", typ)
	dst = appendOptional(dst, "id", id)
	dst = appendOptional(dst, "from", from)
	dst = appendOptional(dst, "to", to)
	return append(dst, '>')
}

// AppendIQEnd appends the end tag of an iq.
func AppendIQEnd(dst []byte) []byte { return append(dst, "</iq>"...) }

// AppendIQ appends an iq around payload, which is XML. Empty id, from and to are left out.
func AppendIQ(dst []byte, typ, id, from, to string, payload []byte) []byte {
	dst = AppendIQStart(dst, typ, id, from, to)
	dst = append(dst, payload...)
	return AppendIQEnd(dst)
}

// AppendReplyStart appends the start tag of the answer to the stanza that tag
// starts: same name and id, from and to exchanged, the type given.
func AppendReplyStart(dst, tag []byte, typ string) []byte {
	dst = append(dst, '<')
	dst = append(dst, TagName(tag)...)
	dst = AppendAttr(dst, "type", typ)
	dst = appendRaw(dst, "id", tag, "id")
	dst = appendRaw(dst, "from", tag, "to")
	dst = appendRaw(dst, "to", tag, "from")
	return append(dst, '>')
}

// appendRaw copies the attribute called from of tag as the attribute called name.
func appendRaw(dst []byte, name string, tag []byte, from string) []byte {
	v, ok := Attr(tag, from)
	if !ok {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	for {
		// The value may have stood in double quotes, where a single one is legal.
		i := bytes.IndexByte(v, '\'')
		if i < 0 {
			break
		}
		dst = append(dst, v[:i]...)
		dst = append(dst, "&apos;"...)
		v = v[i+1:]
	}
	dst = append(dst, v...)
	return append(dst, '\'')
}

func appendEndOf(dst, tag []byte) []byte {
	dst = append(dst, '<', '/')
	dst = append(dst, TagName(tag)...)
	return append(dst, '>')
}

// AppendReply appends the whole answer, of type typ, to the stanza that tag starts,
// around payload, which is XML and may be nil.
func AppendReply(dst, tag []byte, typ string, payload []byte) []byte {
	dst = AppendReplyStart(dst, tag, typ)
	dst = append(dst, payload...)
	return appendEndOf(dst, tag)
}

// AppendStanzaError appends the error answer to the stanza that tag starts (RFC 6120 §8.3).
func AppendStanzaError(dst, tag []byte, e *StanzaError) []byte {
	dst = AppendReplyStart(dst, tag, "error")
	dst = AppendError(dst, e)
	return appendEndOf(dst, tag)
}

// AppendError appends the <error/> element alone. An empty Type is written as
// "cancel", an empty Condition as "undefined-condition".
func AppendError(dst []byte, e *StanzaError) []byte {
	dst = append(dst, "<error"...)
	dst = AppendAttr(dst, "type", cmp.Or(e.Type, "cancel"))
	dst = append(dst, '>')
	dst = appendCondition(dst, e.Condition, NSStanzas)
	dst = appendErrorText(dst, e.Text, NSStanzas)
	dst = append(dst, e.App...)
	return append(dst, "</error>"...)
}

// AppendStreamError appends <stream:error/> without the stream's end tag (RFC 6120
// §4.9). An empty Condition is written as "undefined-condition".
func AppendStreamError(dst []byte, e *StreamError) []byte {
	dst = append(dst, "<stream:error>"...)
	dst = appendCondition(dst, e.Condition, NSStreamErrors)
	dst = appendErrorText(dst, e.Text, NSStreamErrors)
	dst = append(dst, e.App...)
	return append(dst, "</stream:error>"...)
}

func appendCondition(dst []byte, condition, ns string) []byte {
	dst = append(dst, '<')
	dst = append(dst, cmp.Or(condition, undefined)...)
	dst = AppendAttr(dst, "xmlns", ns)
	return append(dst, "/>"...)
}

func appendErrorText(dst []byte, text, ns string) []byte {
	if text == "" {
		return dst
	}
	dst = append(dst, "<text"...)
	dst = AppendAttr(dst, "xmlns", ns)
	dst = append(dst, '>')
	dst = AppendText(dst, text)
	return append(dst, "</text>"...)
}

// A Header is the start of a stream in either direction (RFC 6120 §4.7).
type Header struct {
	NS       string // content namespace; empty when appended: NSClient
	From, To string
	ID       string // set by the receiving entity
	Lang     string // xml:lang
	Version  string // empty when appended: "1.0"; empty when parsed: absent, which means 0.9
	Dialback bool   // whether the dialback namespace is declared (XEP-0220 §2.1)
}

// AppendHeader appends the XML declaration and the stream's start tag. Empty
// fields are left out, but for NS and Version.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream"...)
	dst = AppendAttr(dst, "xmlns", cmp.Or(h.NS, NSClient))
	dst = AppendAttr(dst, "xmlns:stream", NSStreams)
	if h.Dialback {
		dst = AppendAttr(dst, "xmlns:db", NSDialback)
	}
	dst = appendOptional(dst, "from", h.From)
	dst = appendOptional(dst, "to", h.To)
	dst = appendOptional(dst, "id", h.ID)
	dst = appendOptional(dst, "xml:lang", h.Lang)
	dst = AppendAttr(dst, "version", cmp.Or(h.Version, "1.0"))
	return append(dst, '>')
}

// ParseHeader reads the start tag of a stream. An error is a *[SyntaxError] with
// the condition that RFC 6120 §4.9.3 wants to be answered. Which content
// namespace, version and domain are acceptable is the caller's to judge.
func ParseHeader(tag []byte) (Header, error) {
	var h Header
	prefix, local := splitName(TagName(tag))
	space := ""
	for pos := nameEnd(tag); ; {
		name, raw, next, fault := scanAttr(tag, pos)
		if fault != "" {
			return Header{}, &SyntaxError{Condition: NotWellFormed, Msg: "stream header: " + fault, Offset: int64(pos)}
		}
		if name == nil {
			break
		}
		v, err := unescape(nil, raw, true)
		if err != nil {
			return Header{}, &SyntaxError{Condition: NotWellFormed, Msg: "stream header: bad reference in attribute " + string(name), Offset: int64(pos)}
		}
		pos = next
		value := string(v)
		switch p, _ := splitName(name); {
		case string(name) == "xmlns":
			h.NS = value
		case string(p) == "xmlns" && value == NSDialback:
			h.Dialback = true
		case string(name) == "from":
			h.From = value
		case string(name) == "to":
			h.To = value
		case string(name) == "id":
			h.ID = value
		case string(name) == "version":
			h.Version = value
		case string(name) == "xml:lang":
			h.Lang = value
		}
		if string(name) == "xmlns:"+string(prefix) || (len(prefix) == 0 && string(name) == "xmlns") {
			space = value
		}
	}
	switch {
	case string(local) != "stream":
		return Header{}, &SyntaxError{Condition: BadFormat, Msg: "stream header: the root element is <" + string(TagName(tag)) + ">, not <stream:stream>"}
	case len(prefix) > 0 && space == "":
		return Header{}, &SyntaxError{Condition: BadNamespacePrefix, Msg: "stream header: prefix " + string(prefix) + " is not bound"}
	case space != NSStreams:
		return Header{}, &SyntaxError{Condition: InvalidNamespace, Msg: "stream header: namespace is " + space + ", not " + NSStreams}
	case len(prefix) == 0:
		h.NS = ""
	}
	return h, nil
}

// headerPrefixes returns the prefixes that a stream header binds, or nil when it
// is "stream" alone, as nearly always.
func headerPrefixes(tag []byte) map[string]string {
	m := map[string]string{}
	for pos := nameEnd(tag); ; {
		name, raw, next, fault := scanAttr(tag, pos)
		if fault != "" || name == nil {
			break
		}
		if p, l := splitName(name); string(p) == "xmlns" {
			if v, err := unescape(nil, raw, true); err == nil {
				m[string(l)] = string(v)
			}
		}
		pos = next
	}
	if len(m) == 1 && m["stream"] == NSStreams {
		return nil
	}
	return m
}

// AppendFooter appends the stream's end tag.
func AppendFooter(dst []byte) []byte { return append(dst, "</stream:stream>"...) }
