package wire_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// rich holds every construct a stream can carry, those that only servers of
// doubtful taste send included.
const rich = `<?xml version='1.0' encoding="UTF-8"?>` + "\n" +
	`<stream:stream xmlns='jabber:client' xmlns:stream="http://etherx.jabber.org/streams" id='a>b' version='1.0'>` +
	`<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>` +
	" \r\n\t" +
	`<iq type='result' id='r1' to="u@a.example/x 'y'"><query xmlns='jabber:iq:roster' ver='1'>` +
	`<item jid='a@b.example' name='A &amp; "B" > C / D'/><item jid='c@d.example'><group>x</group><item/></item >` +
	`<!-- <item/> - > <iq> --><note><![CDATA[<item/>]] ]>]]]]></note><?pi <item/> ? >?><x:item xmlns:x='y'/>` +
	`</query></iq>` +
	`<presence/><presence from='q@r/s' />` +
	`<message to='a'><body>1 &lt; 2 é 漢 😀</body><empty/></message>` +
	`<!----><iq id='2' type="result"/><?xml-ish?>` +
	`<a:b xmlns:a='c'>text only</a:b>` +
	`<r xmlns='urn:xmpp:sm:3'/>` +
	"\n</stream:stream>"

// stanza is what the tests compare of one top-level element.
type stanza struct {
	Tag, Child, Frame string
	Elements          []string
	Count             int
	Size              int64
}

// recorder notes what a framer reports.
type recorder struct {
	watch   func(tag []byte) wire.Watch
	pause   bool
	header  string
	stanzas []stanza
	cur     stanza
	closed  bool
	watched wire.Watch
}

func (r *recorder) Open(tag []byte) (bool, error) { r.header = string(tag); return r.pause, nil }
func (r *recorder) Start(tag []byte) (wire.Watch, error) {
	r.cur = stanza{Tag: string(tag)}
	r.watched = r.watch(tag)
	return r.watched, nil
}
func (r *recorder) Child(tag []byte) { r.cur.Child = string(tag) }
func (r *recorder) Element(b []byte) error {
	r.cur.Elements = append(r.cur.Elements, string(b))
	return nil
}
func (r *recorder) End(frame []byte, n int, size int64) (bool, error) {
	r.cur.Frame, r.cur.Count, r.cur.Size = string(frame), n, size
	r.stanzas = append(r.stanzas, r.cur)
	return r.pause, nil
}
func (r *recorder) Close() error { r.closed = true; return nil }

func always(w wire.Watch) func([]byte) wire.Watch { return func([]byte) wire.Watch { return w } }

// feed pushes doc in the given pieces (the last one repeated), as a reader with
// one buffer would: what was pushed is overwritten afterwards.
func feed(f *wire.Framer, r *recorder, doc string, pieces ...int) error {
	buf := []byte{}
	for i := 0; len(doc) > 0 && !r.closed; i++ {
		n := len(doc)
		if len(pieces) > 0 {
			n = min(n, max(1, pieces[min(i, len(pieces)-1)]))
		}
		buf = append(buf[:0], doc[:n]...)
		took, err := f.Feed(buf, r)
		for j := range buf {
			buf[j] = '#'
		}
		if err != nil {
			return err
		}
		if took < n && !r.pause && !r.closed {
			return fmt.Errorf("took %d of %d bytes without a pause", took, n)
		}
		doc = doc[took:]
	}
	return nil
}

// reference is the independent reader: encoding/xml, from offsets of tokens.
type reference struct {
	header  string
	stanzas []stanza
	closed  bool
	refused bool // holds what encoding/xml takes and a stream may not carry
}

func readReference(doc string, w wire.Watch) (reference, error) {
	var r reference
	var cur stanza
	var starts []int64
	matched := -1 // depth of the counted element at hand
	d := xml.NewDecoder(strings.NewReader(doc))
	for {
		from := d.InputOffset()
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		raw := doc[from:d.InputOffset()]
		switch t := t.(type) {
		case xml.StartElement:
			starts = append(starts, from)
			switch depth := len(starts); {
			case depth == 1:
				r.header = raw
			case depth == 2:
				cur = stanza{Tag: raw}
			case depth == 3 && cur.Child == "":
				cur.Child = raw
			}
			if len(starts) == w.Level && (w.Name == "" || w.Name == t.Name.Local) && w.Mode != wire.Skip {
				matched = len(starts)
			}
		case xml.EndElement:
			start, end := starts[len(starts)-1], d.InputOffset()
			if matched == len(starts) {
				matched = -1
				cur.Count++
				if w.Elements {
					cur.Elements = append(cur.Elements, doc[start:end])
				}
			}
			starts = starts[:len(starts)-1]
			switch len(starts) {
			case 0:
				r.closed = true
				return r, nil
			case 1:
				cur.Size = end - start
				if w.Mode == wire.Frame {
					cur.Frame = doc[start:end]
				}
				r.stanzas = append(r.stanzas, cur)
			}
		case xml.CharData:
			if len(starts) < 2 && strings.Trim(raw, " \t\r\n") != "" {
				r.refused = true
				return r, nil
			}
		case xml.Directive:
			r.refused = true
			return r, nil
		}
	}
}

func watches() []wire.Watch {
	return []wire.Watch{
		{},
		{Mode: wire.Count, Name: "item", Level: 4},
		{Mode: wire.Count, Name: "item", Level: 4, Elements: true},
		{Mode: wire.Count, Level: 3, Elements: true},
		{Mode: wire.Count, Level: 5},
		{Mode: wire.Frame},
		{Mode: wire.Frame, Name: "item", Level: 4, Elements: true},
	}
}

func compare(t *testing.T, what string, got *recorder, want reference) {
	t.Helper()
	if got.header != want.header || got.closed != want.closed {
		t.Fatalf("%s: header %q closed %v, want %q %v", what, got.header, got.closed, want.header, want.closed)
	}
	equal := func(a, b stanza) bool {
		return a.Tag == b.Tag && a.Child == b.Child && a.Frame == b.Frame && a.Count == b.Count && a.Size == b.Size && slices.Equal(a.Elements, b.Elements)
	}
	if !slices.EqualFunc(got.stanzas, want.stanzas, equal) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got.stanzas, want.stanzas)
	}
}

func TestFramerCutAnywhere(t *testing.T) {
	for _, w := range watches() {
		want, err := readReference(rich, w)
		if err != nil || want.refused || len(want.stanzas) != 8 {
			t.Fatalf("the sample is bad: %v, %d stanzas", err, len(want.stanzas))
		}
		for _, pause := range []bool{false, true} {
			for n := 1; n <= len(rich); n++ {
				for _, pieces := range [][]int{{n}, {n, len(rich)}} { // every piece size, every place of one cut
					f := wire.NewFramer(wire.Limits{})
					r := &recorder{watch: always(w), pause: pause}
					what := fmt.Sprintf("watch %+v pause %v pieces %v", w, pause, pieces)
					if err := feed(&f, r, rich, pieces...); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					compare(t, what, r, want)
				}
			}
		}
	}
}

func TestFramerCountsTheRightElements(t *testing.T) {
	f := wire.NewFramer(wire.Limits{})
	f.Opened()
	r := &recorder{watch: always(wire.Watch{Mode: wire.Count, Name: "item", Level: 4, Elements: true})}
	if err := feed(&f, r, rich[strings.Index(rich, "<iq"):strings.Index(rich, "<presence")]); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`<item jid='a@b.example' name='A &amp; "B" > C / D'/>`,
		`<item jid='c@d.example'><group>x</group><item/></item >`,
		`<x:item xmlns:x='y'/>`,
	}
	if got := r.stanzas[0].Elements; !slices.Equal(got, want) {
		t.Errorf("elements %q, want %q", got, want)
	}
}

func TestFramerErrors(t *testing.T) {
	long := strings.Repeat("x", 200)
	limits := wire.Limits{Depth: 5, Tag: 100, Frame: 150}
	tests := []struct {
		name, doc string
		watch     wire.Watch
		want      string
	}{
		{"text before header", "x<s>", wire.Watch{}, wire.NotWellFormed},
		{"end before header", "</s>", wire.Watch{}, wire.NotWellFormed},
		{"text between stanzas", "<s><a/>x<b/>", wire.Watch{}, wire.NotWellFormed},
		{"reference between stanzas", "<s><a/>&#32;<b/>", wire.Watch{}, wire.NotWellFormed},
		{"document type", "<!DOCTYPE x><s>", wire.Watch{}, wire.RestrictedXML},
		{"entity in a stanza", "<s><a><!ENTITY x 'y'></a>", wire.Watch{}, wire.RestrictedXML},
		{"CDATA between stanzas", "<s><![CDATA[ ]]>", wire.Watch{}, wire.RestrictedXML},
		{"CDATA misspelt", "<s><a><![CDaTA[ ]]>", wire.Watch{}, wire.NotWellFormed},
		{"comment misspelt", "<s><a><!-x-->", wire.Watch{}, wire.NotWellFormed},
		{"comment with --", "<s><a><!-- -- -->", wire.Watch{}, wire.NotWellFormed},
		{"slash in tag", "<s><a/b>", wire.Watch{}, wire.NotWellFormed},
		{"less in tag", "<s><a <b>", wire.Watch{}, wire.NotWellFormed},
		{"no name", "<s>< a>", wire.Watch{}, wire.NotWellFormed},
		{"empty tag", "<s><>", wire.Watch{}, wire.NotWellFormed},
		{"too deep", "<s><a><b><c><d><e>", wire.Watch{}, wire.PolicyViolation},
		{"long start tag", "<s><a b='" + long + "'>", wire.Watch{}, wire.PolicyViolation},
		{"long name", "<s><a><" + long, wire.Watch{}, wire.PolicyViolation},
		{"long end tag", "<s><a></a" + long + ">", wire.Watch{}, wire.PolicyViolation},
		{"long header", "<s a='" + long, wire.Watch{}, wire.PolicyViolation},
		{"long frame", "<s><a>" + long + "</a>", wire.Watch{Mode: wire.Frame}, wire.PolicyViolation},
		{"long element", "<s><a><b>" + long + "</b>", wire.Watch{Mode: wire.Count, Level: 3, Elements: true}, wire.PolicyViolation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for n := 1; n <= len(tt.doc); n++ {
				f := wire.NewFramer(limits)
				err := feed(&f, &recorder{watch: always(tt.watch)}, tt.doc, n)
				var se *wire.SyntaxError
				if !errors.As(err, &se) || se.Condition != tt.want {
					t.Fatalf("pieces of %d: %v, want %s", n, err, tt.want)
				}
			}
		})
	}
}

// What RFC 6120 §11.1 forbids is refused wherever it stands, on request.
func TestFramerRestricted(t *testing.T) {
	for doc, ok := range map[string]bool{
		"<?xml version='1.0'?><s><a><![CDATA[<!-- text -->]]></a></s>": true,
		"<!-- c --><s>":            false,
		"<s><!-- c --><a/></s>":    false,
		"<s><a><!-- c --></a>":     false,
		"<s><?pi ?><a/></s>":       false,
		"<s><a><b><?pi ?></b></a>": false,
	} {
		for n := 1; n <= len(doc); n++ {
			free := wire.NewFramer(wire.Limits{})
			if err := feed(&free, &recorder{watch: always(wire.Watch{})}, doc, n); err != nil {
				t.Fatalf("%s in pieces of %d: %v without restriction", doc, n, err)
			}
			f := wire.NewFramer(wire.Limits{Restricted: true})
			err := feed(&f, &recorder{watch: always(wire.Watch{})}, doc, n)
			var se *wire.SyntaxError
			if refused := errors.As(err, &se) && se.Condition == wire.RestrictedXML; refused == ok || ok && err != nil {
				t.Fatalf("%s in pieces of %d: %v", doc, n, err)
			}
		}
	}
}

func TestFramerRefusesWatchOfTheStanzaItself(t *testing.T) {
	f := wire.NewFramer(wire.Limits{})
	if err := feed(&f, &recorder{watch: always(wire.Watch{Mode: wire.Count, Level: 2})}, "<s><a/>"); err == nil {
		t.Error("no error for a level that cannot be watched")
	}
}

// What is not framed has no limit of size and costs no memory.
func TestFramerHoldsNothingOfWhatItSkips(t *testing.T) {
	const gib = 1 << 30
	for _, mode := range []wire.Mode{wire.Skip, wire.Count} {
		f := wire.NewFramer(wire.Limits{})
		r := &recorder{watch: always(wire.Watch{Mode: mode, Name: "item", Level: 4})}
		if err := feed(&f, r, "<s><iq><query>"); err != nil {
			t.Fatal(err)
		}
		chunk := bytes.Repeat([]byte("<item jid='a@b'><group>"+strings.Repeat("text ", 1600)+"</group></item>"), 8)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for fed := 0; fed < gib; fed += len(chunk) {
			for _, p := range [][]byte{chunk[:9], chunk[9:]} { // a cut inside a tag each time
				if _, err := f.Feed(p, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
			t.Errorf("mode %d: allocated %d bytes over 1 GiB", mode, used)
		}
		if err := feed(&f, r, "</query></iq>"); err != nil || r.stanzas[0].Size < gib {
			t.Errorf("mode %d: %v, stanzas %+v", mode, err, r.stanzas)
		}
	}
}

func TestFramerStopsAtDepth(t *testing.T) {
	f := wire.NewFramer(wire.Limits{})
	deep := []byte("<s>" + strings.Repeat("<a>", 1_000_000))
	n, err := f.Feed(deep, &recorder{watch: always(wire.Watch{Mode: wire.Count})})
	var se *wire.SyntaxError
	if !errors.As(err, &se) || se.Condition != wire.PolicyViolation || n > 3*wire.DefaultDepth+3 {
		t.Errorf("took %d bytes, %v", n, err)
	}
}

// quiet is an Events that does nothing, so that only the framer can allocate.
type quiet struct {
	watch    wire.Watch
	stanzas  int
	elements int
	bytes    int64
}

func (*quiet) Open([]byte) (bool, error)          { return false, nil }
func (q *quiet) Start([]byte) (wire.Watch, error) { return q.watch, nil }
func (*quiet) Child([]byte)                       {}
func (*quiet) Element([]byte) error               { return nil }
func (q *quiet) End(_ []byte, n int, size int64) (bool, error) {
	q.stanzas++
	q.elements += n
	q.bytes += size
	return false, nil
}
func (*quiet) Close() error { return nil }

func roster(n int) []byte {
	b := []byte("<iq type='result' id='r1' to='u@a.example/x'><query xmlns='jabber:iq:roster' ver='1'>")
	for i := range n {
		b = fmt.Appendf(b, "<item jid='contact%06d@provider.example' name='Contact %06d' subscription='both'><group>Friends</group></item>", i, i)
	}
	return append(b, "</query></iq>"...)
}

func TestFramerAllocatesNothingPerStanza(t *testing.T) {
	doc := append(roster(20), "<message to='a@b.example'><body>text</body></message><presence/>"...)
	for _, w := range watches() {
		f := wire.NewFramer(wire.Limits{})
		f.Opened()
		q := &quiet{watch: w}
		for cut := 1; cut < len(doc); cut += 97 {
			allocs := testing.AllocsPerRun(5, func() {
				for _, p := range [][]byte{doc[:cut], doc[cut:]} {
					if _, err := f.Feed(p, q); err != nil {
						t.Fatal(err)
					}
				}
			})
			// The warm-up run of AllocsPerRun grows the carry to what this cut needs.
			if allocs != 0 {
				t.Fatalf("watch %+v cut at %d: %v allocations", w, cut, allocs)
			}
		}
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(rich, uint16(7), uint16(31), uint8(2))
	f.Add("<s><a b='>'><![CDATA[]]]]></a><!-- > --></s>", uint16(1), uint16(2), uint8(6))
	f.Add("<s><a/><b><item><item/></item></b ></s>", uint16(3), uint16(1), uint8(3))
	f.Add("<?xml version='1.0'?><s>\n<a:b c = \"'\" /><?x ??>\n</s>", uint16(5), uint16(2), uint8(4))
	f.Fuzz(func(t *testing.T, doc string, a, b uint16, which uint8) {
		all := watches()
		w := all[int(which)%len(all)]
		want, refErr := readReference(doc, w)
		f := wire.NewFramer(wire.Limits{Depth: 1 << 20, Tag: 1 << 30, Frame: 1 << 30})
		whole := &recorder{watch: always(w)}
		err := feed(&f, whole, doc)
		f = wire.NewFramer(wire.Limits{Depth: 1 << 20, Tag: 1 << 30, Frame: 1 << 30})
		cut := &recorder{watch: always(w)}
		cutErr := feed(&f, cut, doc, int(a), int(b))
		if fmt.Sprint(err) != fmt.Sprint(cutErr) {
			t.Fatalf("whole: %v, cut: %v", err, cutErr)
		}
		compare(t, "whole against cut", cut, reference{header: whole.header, stanzas: whole.stanzas, closed: whole.closed})
		switch {
		case refErr != nil: // not XML, or a charset: the framer may say anything but must not crash
		case want.refused:
			if err == nil {
				t.Fatalf("accepted what a stream must not carry: %q", doc)
			}
		case err != nil:
			t.Fatalf("refused: %v", err)
		default:
			compare(t, "against encoding/xml", whole, want)
		}
	})
}

func BenchmarkFramer(b *testing.B) {
	doc := roster(10_000)
	for _, bb := range []struct {
		name  string
		watch wire.Watch
	}{
		{"count", wire.Watch{Mode: wire.Count, Name: "item", Level: 4}},
		{"elements", wire.Watch{Mode: wire.Count, Name: "item", Level: 4, Elements: true}},
		{"frame", wire.Watch{Mode: wire.Frame}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			f := wire.NewFramer(wire.Limits{Frame: 1 << 30})
			f.Opened()
			q := &quiet{watch: bb.watch}
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				for p := range slices.Chunk(doc, 16<<10) {
					if _, err := f.Feed(p, q); err != nil {
						b.Fatal(err)
					}
				}
			}
			if q.bytes != int64(q.stanzas*len(doc)) {
				b.Fatalf("%d stanzas have %d bytes", q.stanzas, q.bytes)
			}
		})
	}
	// The two take turns, and a disturbance can only add: the least of each is compared.
	b.Run("against-encoding-xml", func(b *testing.B) {
		f := wire.NewFramer(wire.Limits{})
		f.Opened()
		q := &quiet{watch: wire.Watch{Mode: wire.Count, Name: "item", Level: 4}}
		ours, theirs := time.Hour, time.Hour
		for b.Loop() {
			start := time.Now()
			if _, err := f.Feed(doc, q); err != nil {
				b.Fatal(err)
			}
			ours = min(ours, time.Since(start))
			start = time.Now()
			d := xml.NewDecoder(bytes.NewReader(doc))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
			theirs = min(theirs, time.Since(start))
		}
		megabytes := float64(len(doc)) / 1e6
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(megabytes/ours.Seconds(), "framer-MB/s")
		b.ReportMetric(megabytes/theirs.Seconds(), "xml-MB/s")
		b.ReportMetric(theirs.Seconds()/ours.Seconds(), "xml/framer")
	})
}

// A start tag that lies whole in one piece is read by a shorter way than one that is
// cut: both have to say the same.
func TestFramerReadsWholeAndCutTagsAlike(t *testing.T) {
	watch := wire.Watch{Mode: wire.Count, Name: "item", Level: 4, Elements: true}
	long := strings.Repeat("x", 600)
	for _, tag := range []string{
		"<item/>", "<item />", "<item></item>", "<item jid='a@b.example' name='n'/>", `<item jid="a@b.example" name="n"/>`,
		`<item jid='a@b.example' name="it's"/>`, `<item jid="a@b.example" name='say "x"'/>`, `<item jid='a@b.example' name=">"/>`,
		"<item name='a > b and more'/>", "<item name='a /> b and more'/>", "<item name='1>2>3' jid='>' ></item>", "<item jid='a@b.example/resource'/>",
		"<item jid='a@b.example' name='" + long + "'/>", "<item jid='a@b.example' name='" + long + "'></item>",
		"<item jid='a@b.example' / name='n'/>", "<item jid='a@b.example' < name='n'/>", "<item jid='a@b.example' name='a < b'/>", "<item <>", "<item // >", "<a/b>",
	} {
		doc := "<iq id='1'><query>" + tag + "<item jid='next@b.example'/></query></iq>"
		read := func(pieces ...int) (*recorder, string) {
			f := wire.NewFramer(wire.Limits{})
			f.Opened()
			r := &recorder{watch: always(watch)}
			if err := feed(&f, r, doc, pieces...); err != nil {
				return r, err.Error()
			}
			return r, ""
		}
		whole, wholeErr := read()
		cut, cutErr := read(1)
		if wholeErr != cutErr {
			t.Errorf("%.80s: %q whole, %q cut", tag, wholeErr, cutErr)
		}
		if wholeErr == "" && !cmp.Equal(whole.stanzas, cut.stanzas) {
			t.Errorf("%.80s: whole and cut differ: %s", tag, cmp.Diff(whole.stanzas, cut.stanzas))
		}
	}
}
