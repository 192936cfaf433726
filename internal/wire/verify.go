package wire

import (
	"encoding/xml"
	"fmt"
	"io"
	"iter"
)

// A verifier reads the same bytes as the framer with encoding/xml and compares.
//
// The decoder pulls and the framer is pushed, so the decoder runs as a coroutine:
// it hands control back when it has used up what was fed.
type verifier struct {
	feed  []byte
	yield func(struct{}) bool
	next  func() (struct{}, bool)
	stop  func()
	err   error
	found []verdict // what the framer began and the decoder has not ended
}

// verdict is what the framer says of one stanza.
type verdict struct {
	watch    Watch
	elements int
	size     int64
	ended    bool
}

// startVerifier starts a verifier for what the framer is fed next.
func (s *Stream) startVerifier() {
	v := &verifier{}
	if s.in.Depth() > 0 { // the header was read elsewhere
		v.feed = AppendHeader(nil, Header{NS: s.names.ns})
	}
	v.next, v.stop = iter.Pull(v.run)
	s.mu.Lock()
	s.verify = v
	s.mu.Unlock()
	v.next() // as far as the header goes
}

// stopVerifier ends the coroutine. The lock is held and nobody reads.
func (s *Stream) stopVerifier() {
	if s.verify != nil {
		s.verify.stop()
		s.verify = nil
	}
}

func (v *verifier) begin(w Watch) { v.found = append(v.found, verdict{watch: w}) }

func (v *verifier) settle(elements int, size int64) {
	last := &v.found[len(v.found)-1]
	last.elements, last.size, last.ended = elements, size, true
}

// check reads p after the framer did.
func (v *verifier) check(p []byte) error {
	v.feed = p
	v.next()
	if v.err == nil && len(v.found) > 0 && v.found[0].ended {
		v.err = fmt.Errorf("wire: verify: the framer saw a stanza of %d bytes end where encoding/xml sees it go on", v.found[0].size)
	}
	return v.err
}

// ReadByte implements io.ByteReader, which keeps the decoder from reading ahead.
func (v *verifier) ReadByte() (byte, error) {
	for len(v.feed) == 0 {
		if !v.yield(struct{}{}) {
			return 0, io.EOF
		}
	}
	b := v.feed[0]
	v.feed = v.feed[1:]
	return b, nil
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	b, err := v.ReadByte()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// run is the coroutine. It returns at the root's end tag or with err set.
func (v *verifier) run(yield func(struct{}) bool) {
	v.yield = yield
	d := xml.NewDecoder(v)
	var depth, elements int
	var start int64
	for {
		from := d.InputOffset()
		t, err := d.Token()
		if err != nil {
			v.err = &SyntaxError{Condition: NotWellFormed, Msg: "verify: " + err.Error(), Offset: from}
			return
		}
		switch t := t.(type) {
		case xml.StartElement:
			depth++
			if depth == 2 {
				start, elements = from, 0
			}
			if depth > 1 && len(v.found) == 0 {
				v.err = fmt.Errorf("wire: verify: the framer missed <%s> at byte %d", t.Name.Local, from)
				return
			}
			if depth > 2 {
				if w := v.found[0].watch; w.Mode != Skip && w.Level == depth && (w.Name == "" || w.Name == t.Name.Local) {
					elements++
				}
			}
		case xml.EndElement:
			depth--
			if depth == 0 {
				return
			}
			if depth == 1 {
				want := verdict{elements: elements, size: d.InputOffset() - start, ended: true}
				got := v.found[0]
				got.watch = Watch{}
				if got != want {
					v.err = fmt.Errorf("wire: verify: <%s> at byte %d: the framer says %+v, encoding/xml %+v", t.Name.Local, start, got, want)
					return
				}
				v.found = v.found[:copy(v.found, v.found[1:])]
			}
		case xml.Comment, xml.Directive:
			v.err = &SyntaxError{Condition: RestrictedXML, Msg: "verify: comment or document type", Offset: from}
			return
		case xml.ProcInst:
			if depth > 0 {
				v.err = &SyntaxError{Condition: RestrictedXML, Msg: "verify: processing instruction", Offset: from}
				return
			}
		}
	}
}
