package wire

// AppendText appends s as character data, escaped. Characters that XML does not
// allow become U+FFFD.
func AppendText[T ~string | ~[]byte](dst []byte, s T) []byte { return dst }

// AppendAttr appends " name='value'", escaped as AppendText does.
func AppendAttr[T ~string | ~[]byte](dst []byte, name string, value T) []byte { return dst }

// AppendIQStart appends the start tag of an iq. Empty id, from and to are left out.
func AppendIQStart(dst []byte, typ, id, from, to string) []byte { return dst }

// AppendIQEnd appends the end tag of an iq.
func AppendIQEnd(dst []byte) []byte { return dst }

// AppendIQ appends an iq around payload, which is XML. Empty id, from and to are left out.
func AppendIQ(dst []byte, typ, id, from, to string, payload []byte) []byte { return dst }

// AppendReplyStart appends the start tag of the answer to the stanza that tag
// starts: same name and id, from and to exchanged, the type given.
func AppendReplyStart(dst, tag []byte, typ string) []byte { return dst }

// AppendReply appends the whole answer, of type typ, to the stanza that tag starts,
// around payload, which is XML and may be nil.
func AppendReply(dst, tag []byte, typ string, payload []byte) []byte { return dst }

// AppendStanzaError appends the error answer to the stanza that tag starts (RFC 6120 §8.3).
func AppendStanzaError(dst, tag []byte, e *StanzaError) []byte { return dst }

// AppendError appends the <error/> element alone.
func AppendError(dst []byte, e *StanzaError) []byte { return dst }

// AppendStreamError appends <stream:error/> without the stream's end tag (RFC 6120 §4.9).
func AppendStreamError(dst []byte, e *StreamError) []byte { return dst }

// A Header is the start of a stream in either direction (RFC 6120 §4.7).
type Header struct {
	NS       string // content namespace; empty when appended: NSClient
	From, To string
	ID       string // set by the receiving entity
	Lang     string // xml:lang
	Version  string // empty when appended: "1.0"
	Dialback bool   // whether xmlns:db is declared (XEP-0220 §2.1)
}

// AppendHeader appends the XML declaration and the stream's start tag. Empty
// fields are left out, but for NS and Version.
func AppendHeader(dst []byte, h Header) []byte { return dst }

// ParseHeader reads the start tag of a stream. An error is a *[SyntaxError] with
// the condition that RFC 6120 §4.9.3 wants to be answered.
func ParseHeader(tag []byte) (Header, error) { return Header{}, nil }

// AppendFooter appends the stream's end tag.
func AppendFooter(dst []byte) []byte { return dst }
