package wire

// A Token is what a [Scanner] stands at.
type Token uint8

// Tokens. A tag that closes itself gives a StartTag and an EndTag.
const (
	NoToken  Token = iota
	StartTag       // <name attr='value'> or <name/>
	EndTag         // </name>
	Text           // characters, not unescaped
	CDATA          // characters of a CDATA section
)

// A Scanner walks over one whole stanza without allocating.
type Scanner struct {
	b []byte
}

// NewScanner returns a scanner over one whole element.
func NewScanner(frame []byte) Scanner { return Scanner{b: frame} }

// Next moves to the next token. It returns NoToken at the end and on an error.
func (s *Scanner) Next() Token { return NoToken }

// Err returns the *[SyntaxError] that ended the walk, or nil.
func (s *Scanner) Err() error { return nil }

// Raw returns the token's bytes: a whole tag, or the characters of Text and CDATA.
func (s *Scanner) Raw() []byte { return nil }

// Name returns the raw name (prefix included) of a StartTag or EndTag.
func (s *Scanner) Name() []byte { return nil }

// Depth returns the number of open elements, the one at hand included: 1 at the
// start and end tag of the frame's own element.
func (s *Scanner) Depth() int { return 0 }

// Attr returns the raw value of an attribute in the start tag at hand; see [Attr].
func (s *Scanner) Attr(name string) (value []byte, ok bool) { return Attr(s.Raw(), name) }

// Attr returns the raw value (still escaped) of the attribute with the raw name
// in a start tag.
func Attr(tag []byte, name string) (value []byte, ok bool) { return nil, false }

// AttrString returns the unescaped value of an attribute in a start tag, or ""
// when it is absent or its escapes are wrong.
func AttrString(tag []byte, name string) string { return "" }

// Unescape appends raw to dst with the five predefined entities and character
// references resolved and line ends normalised (XML §2.11). Anything else after
// & is a *[SyntaxError], and dst is returned as it was.
func Unescape(dst, raw []byte) ([]byte, error) { return dst, nil }

// TagName returns the raw name in a start or end tag, prefix included.
func TagName(tag []byte) []byte { return nil }

// LocalName returns the name in a start or end tag without its prefix.
func LocalName(tag []byte) []byte { return nil }
