package wire

import (
	"bytes"
	"encoding/xml"
	"iter"
	"unicode/utf8"
)

// A Token is what a [Scanner] stands at.
type Token uint8

// Tokens. A tag that closes itself gives a StartTag and an EndTag.
const (
	NoToken  Token = iota
	StartTag       // <name attr='value'> or <name/>
	EndTag         // </name>
	Text           // characters, still escaped
	CDATA          // characters of a CDATA section
)

// A Scanner walks over one whole element without allocating. It checks the shape of tags
// and that they nest in number, and refuses what RFC 6120 §11.1 forbids; names of
// end tags, references, characters and namespaces are checked by [ParseElement] only.
type Scanner struct {
	b       []byte
	pos     int
	raw     []byte
	name    []byte
	depth   int
	token   Token
	selfEnd bool // the start tag at hand closes itself
	err     error
}

// NewScanner returns a scanner over one whole element.
func NewScanner(frame []byte) Scanner { return Scanner{b: frame} }

// Next moves to the next token. It returns NoToken at the end and on an error.
func (s *Scanner) Next() Token {
	if s.err != nil {
		return NoToken
	}
	if s.token == EndTag {
		s.depth--
	}
	if s.selfEnd {
		s.selfEnd = false
		s.token = EndTag
		return EndTag
	}
	s.token = s.scan()
	if s.err != nil {
		s.token = NoToken
	}
	return s.token
}

func (s *Scanner) scan() Token {
	rest := s.b[s.pos:]
	if len(rest) == 0 {
		if s.depth > 0 || s.pos == 0 {
			s.fail(NotWellFormed, "the element does not end")
		}
		return NoToken
	}
	if s.depth == 0 && s.pos > 0 {
		s.fail(NotWellFormed, "something follows the element")
		return NoToken
	}
	if rest[0] != '<' {
		if s.depth == 0 {
			s.fail(NotWellFormed, "text before the element")
			return NoToken
		}
		n := bytes.IndexByte(rest, '<')
		if n < 0 {
			n = len(rest)
		}
		s.raw, s.name = rest[:n], nil
		s.pos += n
		return Text
	}
	if len(rest) == 1 {
		s.fail(NotWellFormed, "the element does not end")
		return NoToken
	}
	switch rest[1] {
	case '/':
		return s.scanEnd(rest)
	case '!':
		return s.scanCDATA(rest)
	case '?':
		s.fail(RestrictedXML, "processing instruction")
		return NoToken
	}
	return s.scanStart(rest)
}

func (s *Scanner) scanEnd(rest []byte) Token {
	n := bytes.IndexByte(rest, '>')
	if n < 0 {
		s.fail(NotWellFormed, "end tag without >")
		return NoToken
	}
	name := bytes.TrimRight(rest[2:n], " \t\r\n")
	if !isName(name) || s.depth == 0 {
		s.fail(NotWellFormed, "bad end tag")
		return NoToken
	}
	s.raw, s.name = rest[:n+1], name
	s.pos += n + 1
	return EndTag
}

func (s *Scanner) scanCDATA(rest []byte) Token {
	const open, end = "<![CDATA[", "]]>"
	if !bytes.HasPrefix(rest, []byte(open)) {
		s.fail(RestrictedXML, "comment or document type")
		return NoToken
	}
	n := bytes.Index(rest[len(open):], []byte(end))
	if n < 0 || s.depth == 0 {
		s.fail(NotWellFormed, "bad CDATA section")
		return NoToken
	}
	s.raw, s.name = rest[len(open):len(open)+n], nil
	s.pos += len(open) + n + len(end)
	return CDATA
}

func (s *Scanner) scanStart(rest []byte) Token {
	pos := nameEnd(rest)
	name := rest[1:pos]
	if !isName(name) {
		s.fail(NotWellFormed, "bad element name")
		return NoToken
	}
	for {
		attr, _, next, fault := scanAttr(rest, pos)
		if fault == "" && attr != nil && !isName(attr) {
			fault = "bad attribute name"
		}
		if fault != "" {
			s.fail(NotWellFormed, fault)
			return NoToken
		}
		pos = next
		if attr == nil {
			break
		}
	}
	if rest[pos] == '/' {
		s.selfEnd = true
		pos++
	}
	s.raw, s.name = rest[:pos+1], name
	s.pos += pos + 1
	s.depth++
	return StartTag
}

func (s *Scanner) fail(condition, msg string) {
	s.err = &SyntaxError{Condition: condition, Msg: msg, Offset: int64(s.pos)}
}

// Err returns the *[SyntaxError] that ended the walk, or nil.
func (s *Scanner) Err() error { return s.err }

// Raw returns the token's bytes: a whole tag, or the characters of Text and CDATA.
func (s *Scanner) Raw() []byte { return s.raw }

// Name returns the raw name (prefix included) of a StartTag or EndTag.
func (s *Scanner) Name() []byte { return s.name }

// Depth returns the number of open elements, the one at hand included: 1 at the
// start and end tag of the frame's own element.
func (s *Scanner) Depth() int { return s.depth }

// Attr returns the raw value of an attribute in the start tag at hand; see [Attr].
func (s *Scanner) Attr(name string) (value []byte, ok bool) {
	if s.token != StartTag {
		return nil, false
	}
	return Attr(s.raw, name)
}

// Attrs returns the raw names and raw values of the attributes in the start tag at
// hand, in order.
func (s *Scanner) Attrs() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if s.token != StartTag {
			return
		}
		for pos := nameEnd(s.raw); ; {
			name, value, next, fault := scanAttr(s.raw, pos)
			if name == nil || fault != "" || !yield(name, value) {
				return
			}
			pos = next
		}
	}
}

// scanAttr reads the attribute that follows pos in a start tag. At the end of the
// tag name is nil and next is the index of > or of / in />. fault says what is
// wrong, or is empty.
func scanAttr(tag []byte, pos int) (name, value []byte, next int, fault string) {
	i := skipSpace(tag, pos)
	if i >= len(tag) {
		return nil, nil, i, "tag does not end"
	}
	switch tag[i] {
	case '>':
		return nil, nil, i, ""
	case '/':
		if i+1 < len(tag) && tag[i+1] == '>' {
			return nil, nil, i, ""
		}
		return nil, nil, i, "/ inside a tag"
	}
	if i == pos {
		return nil, nil, i, "no space before an attribute"
	}
	start := i
	for i < len(tag) && tag[i] != '=' && tag[i] > ' ' && tag[i] != '>' && tag[i] != '<' && tag[i] != '/' {
		i++
	}
	name = tag[start:i]
	if i = skipSpace(tag, i); i >= len(tag) || tag[i] != '=' || len(name) == 0 {
		return nil, nil, i, "attribute without ="
	}
	if i = skipSpace(tag, i+1); i >= len(tag) || (tag[i] != '\'' && tag[i] != '"') {
		return nil, nil, i, "attribute value without quotes"
	}
	n := bytes.IndexByte(tag[i+1:], tag[i])
	if n < 0 {
		return nil, nil, i, "attribute value does not end"
	}
	value = tag[i+1 : i+1+n]
	if bytes.IndexByte(value, '<') >= 0 {
		return nil, nil, i, "< in an attribute value"
	}
	return name, value, i + n + 2, ""
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// Attr returns the raw value (still escaped) of the attribute with the raw name
// in a start tag.
func Attr(tag []byte, name string) (value []byte, ok bool) {
	for pos := nameEnd(tag); ; {
		n, v, next, fault := scanAttr(tag, pos)
		if n == nil || fault != "" {
			return nil, false
		}
		if string(n) == name {
			return v, true
		}
		pos = next
	}
}

// AttrString returns the unescaped value of an attribute in a start tag, or ""
// when it is absent or a reference in it is wrong.
func AttrString(tag []byte, name string) string {
	raw, ok := Attr(tag, name)
	if !ok {
		return ""
	}
	if bytes.IndexByte(raw, '&') < 0 && !bytes.ContainsAny(raw, "\t\r\n") {
		return string(raw)
	}
	v, err := unescape(nil, raw, true)
	if err != nil {
		return ""
	}
	return string(v)
}

// Unescape appends raw to dst with the five predefined entities and character
// references resolved and line ends normalised (XML §2.11). Anything else after
// & is a *[SyntaxError], whose offset counts from the start of raw; dst is returned as it was then.
func Unescape(dst, raw []byte) ([]byte, error) { return unescape(dst, raw, false) }

// unescape also makes spaces of tabs and line ends in attributes (XML §3.3.3).
func unescape(dst, raw []byte, attr bool) ([]byte, error) {
	was := len(dst)
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '&':
			n := bytes.IndexByte(raw[i:min(len(raw), i+maxReference)], ';')
			r, ok := rune(0), false
			if n > 0 {
				r, ok = reference(raw[i+1 : i+n])
			}
			if !ok {
				return dst[:was], &SyntaxError{Condition: NotWellFormed, Msg: "& starts neither a predefined entity nor a character reference", Offset: int64(i)}
			}
			dst = utf8.AppendRune(dst, r)
			i += n + 1
		case c == '\r':
			i++
			if i < len(raw) && raw[i] == '\n' {
				i++
			}
			dst = append(dst, lineEnd(attr))
		case attr && (c == '\t' || c == '\n'):
			dst = append(dst, ' ')
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, nil
}

func lineEnd(attr bool) byte {
	if attr {
		return ' '
	}
	return '\n'
}

// maxReference is the longest reference that is looked for, leading zeros included.
const maxReference = 32

// reference resolves what stands between & and ;.
func reference(ref []byte) (rune, bool) {
	switch string(ref) {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	if len(ref) < 2 || ref[0] != '#' {
		return 0, false
	}
	base, digits := rune(10), ref[1:]
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	var r rune
	for _, c := range digits {
		d := rune(16)
		switch {
		case '0' <= c && c <= '9':
			d = rune(c - '0')
		case 'a' <= c && c <= 'f':
			d = rune(c-'a') + 10
		case 'A' <= c && c <= 'F':
			d = rune(c-'A') + 10
		}
		if d >= base {
			return 0, false
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, false
		}
	}
	return r, isChar(r)
}

// isChar reports whether XML 1.0 allows the character (§2.2).
func isChar(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	}
	return (r >= 0xE000 && r <= 0xFFFD) || (r >= 0x10000 && r <= utf8.MaxRune)
}

// isName reports whether b is a name of XML 1.0 (§2.3).
func isName(b []byte) bool {
	if len(b) == 0 || !(isNameStart(b[0])) {
		return false
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return isForeignName(b)
		}
		if !isNameStart(c) && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == ':' || c >= utf8.RuneSelf
}

// isForeignName asks encoding/xml, which has the tables of XML 1.0 appendix B: no
// XMPP protocol uses such names, so speed and memory do not matter here.
func isForeignName(b []byte) bool {
	doc := append(append([]byte{'<'}, b...), '/', '>')
	_, err := xml.NewDecoder(bytes.NewReader(doc)).RawToken()
	return err == nil
}

// nameEnd returns the index behind the name in a start tag.
func nameEnd(tag []byte) int {
	for i := 1; i < len(tag); i++ {
		if c := tag[i]; c == '>' || c == '/' || isSpace(c) {
			return i
		}
	}
	return len(tag)
}

// TagName returns the raw name in a start or end tag, prefix included.
func TagName(tag []byte) []byte {
	if len(tag) > 1 && tag[1] == '/' {
		tag = tag[1:]
	}
	return tag[min(1, len(tag)):nameEnd(tag)]
}

// LocalName returns the name in a start or end tag without its prefix.
func LocalName(tag []byte) []byte {
	_, local := splitName(TagName(tag))
	return local
}

// splitName parts prefix and local name. A colon at either end parts nothing.
func splitName(name []byte) (prefix, local []byte) {
	i := bytes.IndexByte(name, ':')
	if i <= 0 || i == len(name)-1 {
		return nil, name
	}
	return name[:i], name[i+1:]
}
