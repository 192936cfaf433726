package chunk

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/wire"
)

func parse(t testing.TB, s string) *wire.Element {
	t.Helper()
	e, err := wire.ParseElement([]byte(s), wire.NSClient, nil)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return e
}

func TestRequest(t *testing.T) {
	tests := []struct {
		xml  string
		want Request
	}{
		{"<chunked xmlns='urn:example:xmppbench:chunk:0' mode='push'/>",
			Request{Mode: Push, MaxItems: 100, MaxBytes: 8192, Window: 4, Delivery: DeliverIQ}},
		{"<chunked xmlns='urn:example:xmppbench:chunk:0' mode='push' max-items='7' max-bytes='1024' window='9' after='abc' delivery='message'/>",
			Request{Mode: Push, MaxItems: 7, MaxBytes: 1024, Window: 9, After: "abc", Delivery: DeliverMessage}},
		{"<chunked xmlns='urn:example:xmppbench:chunk:0' mode='push' window='unbounded'/>",
			Request{Mode: Push, MaxItems: 100, MaxBytes: 8192, Window: Unbounded, Delivery: DeliverIQ}},
		{"<chunked xmlns='urn:example:xmppbench:chunk:0' mode='pull'/>",
			Request{Mode: Pull, MaxItems: 100, MaxBytes: 8192, Window: 1, Delivery: DeliverIQ}},
		{"<chunked xmlns='urn:example:xmppbench:chunk:0' mode='pull' window='3' after='a' until='b'/>",
			Request{Mode: Pull, MaxItems: 100, MaxBytes: 8192, Window: 3, After: "a", Until: "b", Delivery: DeliverIQ}},
	}
	for _, tt := range tests {
		got, err := ParseRequest(parse(t, tt.xml))
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.xml, got, err, tt.want)
		}
		if text := string(got.Append(nil)); text != tt.xml {
			t.Errorf("written %s, want %s", text, tt.xml)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for _, attrs := range []string{
		"", "mode='shove'", "mode='push' max-items='0'", "mode='push' max-items='-1'", "mode='push' max-items=''", "mode='push' max-items='1e3'",
		"mode='push' max-items='123456789012345678901'", "mode='push' max-bytes='1023'", "mode='push' window='0'", "mode='pull' window='unbounded'",
		"mode='pull' delivery='message'", "mode='push' delivery='pigeon'", "mode='push' after='a' until='b'", "mode='pull' until='b'",
		"mode='pull' after='" + strings.Repeat("a", MaxCursor+1) + "'",
	} {
		_, err := ParseRequest(parse(t, "<chunked xmlns='"+wire.NSChunk+"' "+attrs+"/>"))
		if e, ok := errors.AsType[*wire.StanzaError](err); !ok || e.Type != "modify" || e.Condition != "bad-request" {
			t.Errorf("%s: %v, want bad-request", attrs, err)
		}
	}
	if _, err := ParseRequest(nil); err == nil {
		t.Error("no element at all was taken")
	}
}

func TestLower(t *testing.T) {
	ask := Request{MaxItems: 1000, MaxBytes: 100_000, Window: 100}
	tests := []struct {
		limits Limits
		ask    Request
		want   Request
	}{
		{Limits{}, ask, Request{MaxItems: 500, MaxBytes: 65536, Window: 64}},
		{Limits{MaxItems: 10, MaxBytes: 2000, MaxWindow: 1}, ask, Request{MaxItems: 10, MaxBytes: 2000, Window: 1}},
		{Limits{MaxItems: 5000, MaxBytes: 200_000, MaxWindow: 200}, ask, ask},
		{Limits{}, Request{MaxItems: 1, MaxBytes: 1024, Window: Unbounded}, Request{MaxItems: 1, MaxBytes: 1024, Window: Unbounded}},
		{Limits{Credited: true}, Request{MaxItems: 1, MaxBytes: 1024, Window: Unbounded}, Request{MaxItems: 1, MaxBytes: 1024, Window: 64}},
	}
	for _, tt := range tests {
		if got := tt.ask.Lower(tt.limits); got != tt.want {
			t.Errorf("%+v under %+v: %+v, want %+v", tt.ask, tt.limits, got, tt.want)
		}
	}
	if got := (Limits{MaxWindow: 3}).WithDefaults(); got != (Limits{MaxItems: 500, MaxBytes: 65536, MaxWindow: 3}) {
		t.Errorf("defaults %+v", got)
	}
}

func TestStarted(t *testing.T) {
	asked := Request{MaxItems: 100, MaxBytes: 8192, Window: 8}
	for _, s := range []Started{
		{SID: "s'1", Window: 8, MaxItems: 100, MaxBytes: 8192, Count: 9},
		{SID: "s", Window: 1, MaxItems: 1, MaxBytes: 1024, Count: -1},
	} {
		if got, err := ParseStarted(parse(t, string(s.Append(nil))), asked); err != nil || got != s {
			t.Errorf("%+v came back as %+v, %v", s, got, err)
		}
	}
	for _, s := range []Started{
		{Window: 8, MaxItems: 100, MaxBytes: 8192},
		{SID: "s", Window: 9, MaxItems: 100, MaxBytes: 8192},
		{SID: "s", Window: Unbounded, MaxItems: 100, MaxBytes: 8192},
		{SID: "s", Window: 8, MaxItems: 101, MaxBytes: 8192},
		{SID: "s", Window: 8, MaxItems: 100, MaxBytes: 8193},
		{SID: "s", Window: 0, MaxItems: 100, MaxBytes: 8192},
	} {
		if _, err := ParseStarted(parse(t, string(s.Append(nil))), asked); err == nil {
			t.Errorf("%+v was taken for %+v", s, asked)
		}
	}
	asked.Window = Unbounded
	s := Started{SID: "s", Window: Unbounded, MaxItems: 1, MaxBytes: 1024, Count: 0}
	if got, err := ParseStarted(parse(t, string(s.Append(nil))), asked); err != nil || got != s {
		t.Errorf("%+v came back as %+v, %v", s, got, err)
	}
}

func TestChunkAndPage(t *testing.T) {
	for _, c := range []Chunk{{SID: "s1"}, {SID: "a&'b", Seq: 12, Cursor: "MTI4", Last: true}} {
		tag := c.AppendStart(nil)
		if got, err := ParseChunk(tag); err != nil || got != c || !Is(tag, "chunk") || Is(tag, "page") {
			t.Errorf("%s came back as %+v, %v", tag, got, err)
		}
	}
	for _, bad := range []string{"<chunk seq='1'>", "<chunk sid='s'>", "<chunk sid='s' seq='one'>", "<chunk sid='s' seq='1' cursor='" + strings.Repeat("c", 257) + "'>"} {
		if c, err := ParseChunk([]byte(bad)); err == nil {
			t.Errorf("%s was read as %+v", bad, c)
		}
	}
	if Is([]byte("<chunk xmlns='other'>"), "chunk") || Is([]byte("<chunk>"), "chunk") {
		t.Error("another namespace was taken")
	}
	for _, p := range []Page{{Cursor: "c", Count: -1}, {Cursor: "c", Ahead: []string{"d", "e"}, Count: 7, Last: true}, {Count: 0, Last: true}} {
		if got, err := ParsePage(p.Append(nil), 9); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v came back as %+v, %v", p, got, err)
		}
	}
	p, err := ParsePage(Page{Cursor: "c", Ahead: []string{"d", "e", "f"}}.Append(nil), 2)
	if err != nil || len(p.Ahead) != 2 {
		t.Errorf("bounded at 2: %+v, %v", p, err)
	}
	long := strings.Repeat("c", 257)
	for _, bad := range []Page{{}, {Cursor: long}, {Cursor: "c", Ahead: []string{long}}} {
		if _, err := ParsePage(bad.Append(nil), 9); err == nil {
			t.Errorf("%.60v was taken", bad)
		}
	}
}

func TestControl(t *testing.T) {
	for _, c := range []Control{{Name: "ack", SID: "s", Seq: 3}, {Name: "window", SID: "s", Size: 3}, {Name: "stop", SID: "s"}} {
		if got, err := ParseControl(parse(t, string(c.Append(nil)))); err != nil || got != c {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
	a := Aborted{SID: "s", Cursor: "c", Reason: "timeout"}
	if got, err := ParseAborted(parse(t, string(a.Append(nil)))); err != nil || got != a {
		t.Errorf("%+v came back as %+v, %v", a, got, err)
	}
	if got, err := ParseAborted(parse(t, "<aborted sid='s'/>")); err != nil || got.Reason != "unknown" {
		t.Errorf("without reason: %+v, %v", got, err)
	}
	if _, err := ParseAborted(parse(t, "<aborted/>")); err == nil {
		t.Error("aborted without sid was taken")
	}
	if e := (&AbortedError{a}); e.Kind() != "chunk.aborted" || !strings.Contains(e.Error(), "timeout") {
		t.Errorf("%v, %s", e, e.Kind())
	}
}

// TestSender plays a transfer by hand.
func TestSender(t *testing.T) {
	ready := func(s *Sender, want bool, when string) {
		t.Helper()
		if s.Ready() != want {
			t.Errorf("%s: ready %v", when, !want)
		}
	}
	s := NewSender(2, true)
	ready(&s, true, "at the start")
	if seq := s.Post(false); seq != 0 {
		t.Errorf("first chunk is %d", seq)
	}
	ready(&s, false, "one chunk in the queue") // the rule that others pass
	s.Written()
	ready(&s, true, "written")
	s.Post(false)
	s.Written()
	ready(&s, false, "window used up")
	if s.Unanswered() != 2 {
		t.Errorf("%d unanswered", s.Unanswered())
	}
	s.Credit()
	ready(&s, true, "one credit")
	s.Resize(1)
	ready(&s, false, "a smaller window")
	s.Resize(3)
	ready(&s, true, "a larger window")
	if err := s.Ack(2); err == nil {
		t.Error("a chunk that was not sent was acknowledged")
	}
	if err := s.Ack(1); err != nil || s.Unanswered() != 0 {
		t.Errorf("ack: %v, %d unanswered", err, s.Unanswered())
	}
	if err := s.Ack(0); err != nil || s.Unanswered() != 0 {
		t.Errorf("an old ack: %v, %d unanswered", err, s.Unanswered())
	}
	s.Credit() // one too many
	if s.Unanswered() != 0 {
		t.Errorf("%d unanswered after a credit too many", s.Unanswered())
	}
	s.Post(true)
	s.Written()
	ready(&s, false, "after the last")
	if s.Sent() != 3 {
		t.Errorf("%d sent", s.Sent())
	}

	queue := NewSender(3, false)
	n := 0
	for ; queue.Ready(); n++ {
		queue.Post(false)
	}
	if n != 3 {
		t.Errorf("without interleaving %d chunks were queued, the window is 3", n)
	}
	for _, interleave := range []bool{true, false} {
		free := NewSender(Unbounded, interleave)
		n = 0
		for ; free.Ready(); n++ {
			free.Post(false)
		}
		if want := map[bool]int{true: 1, false: unboundedQueue}[interleave]; n != want {
			t.Errorf("an unbounded sender, interleave %v, queued %d chunks, want %d", interleave, n, want)
		}
		free.Written()
		if !free.Ready() {
			t.Error("an unbounded sender waits for credit")
		}
	}
}

func TestReceiver(t *testing.T) {
	for _, tt := range []struct {
		window int
		d      Delivery
		acks   []int // after chunks 0 to 6, the last
	}{
		{4, DeliverIQ, nil},
		{1, DeliverMessage, []int{0, 1, 2, 3, 4, 5}},
		{4, DeliverMessage, []int{1, 3, 5}},
		{5, DeliverMessage, []int{2, 5}},
		{Unbounded, DeliverMessage, nil},
	} {
		r := NewReceiver(Started{SID: "s", Window: tt.window}, tt.d)
		var acks []int
		for seq := range 7 {
			if err := r.Accept(Chunk{SID: "s", Seq: seq, Last: seq == 6}); err != nil {
				t.Fatal(err)
			}
			if seq, due := r.AckDue(); due {
				acks = append(acks, seq)
			}
		}
		if !reflect.DeepEqual(acks, tt.acks) {
			t.Errorf("window %d, %s: acks of %v, want %v", tt.window, tt.d, acks, tt.acks)
		}
		var late *SequenceError
		if err := r.Accept(Chunk{SID: "s", Seq: 7}); !errors.As(err, &late) || !late.Ended || late.Kind() != "chunk.protocol-error" {
			t.Errorf("after the last: %v", err)
		}
	}
	r := NewReceiver(Started{SID: "s", Window: 4}, DeliverIQ)
	var gap *SequenceError
	if err := r.Accept(Chunk{SID: "s", Seq: 1}); !errors.As(err, &gap) || gap.Got != 1 || gap.Want != 0 {
		t.Errorf("a gap: %v", err)
	}
}

func TestCursor(t *testing.T) {
	for _, c := range []Cursor{
		{}, {S: 1, Key: "a@b"}, {Delta: true, S: 300, Ver: 7, Key: "ü@b"},
		{Delta: true, S: 1<<64 - 1, Ver: 1<<64 - 1, Key: strings.Repeat("k", MaxKey)},
	} {
		text := c.String()
		if got, err := ParseCursor(text); err != nil || got != c || len(text) > MaxCursor {
			t.Errorf("%+v: %d bytes, came back as %+v, %v", c, len(text), got, err)
		}
	}
	for _, bad := range []string{"", "A", "=", "AA", "AgA", "AAE=", "AP__", "!!!!", "AA AA", strings.Repeat("A", MaxCursor+1), "Af-_____________AQ"} {
		if c, err := ParseCursor(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

// FuzzCursor: whatever is read is written again as it was, so that a cursor has
// one text only.
func FuzzCursor(f *testing.F) {
	f.Add(Cursor{S: 5, Key: "a@b"}.String())
	f.Add(Cursor{Delta: true, S: 500, Ver: 3}.String())
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		again, err := ParseCursor(c.String())
		if err != nil || again != c {
			t.Errorf("%q: %+v, then %+v, %v", s, c, again, err)
		}
	})
}

// FuzzElements: nothing that a peer sends makes the parsers panic, and what they
// take stays within the bounds and survives being written.
func FuzzElements(f *testing.F) {
	f.Add("<chunked xmlns='urn:example:xmppbench:chunk:0' mode='pull' window='3' after='a' until='b'/>")
	f.Add("<started xmlns='urn:example:xmppbench:chunk:0' sid='s' window='4' max-items='1' max-bytes='2000' count='3'/>")
	f.Add("<chunk xmlns='urn:example:xmppbench:chunk:0' sid='s' seq='4' cursor='c' last='true'></chunk>")
	f.Add("<page xmlns='urn:example:xmppbench:chunk:0' cursor='c' ahead='d e' count='3' last='1'/>")
	f.Add("<window xmlns='urn:example:xmppbench:chunk:0' sid='s' size='4'/>")
	f.Add("<aborted xmlns='urn:example:xmppbench:chunk:0' sid='s' cursor='c'><timeout/></aborted>")
	f.Fuzz(func(t *testing.T, s string) {
		tag := []byte(s)
		if i := strings.IndexByte(s, '>'); i >= 0 {
			tag = tag[:i+1]
		}
		e, err := wire.ParseElement([]byte(s), wire.NSClient, nil)
		if err != nil {
			return
		}
		if c, err := ParseChunk(tag); err == nil {
			if again, err := ParseChunk(c.AppendStart(nil)); err != nil || again != c {
				t.Errorf("%s: chunk %+v, then %+v, %v", s, c, again, err)
			}
		}
		if p, err := ParsePage(tag, 3); err == nil && len(p.Ahead) > 3 {
			t.Errorf("%s: %d boundaries", s, len(p.Ahead))
		}
		if r, err := ParseRequest(e); err == nil {
			if again, err := ParseRequest(parse(t, string(r.Append(nil)))); err != nil || again != r {
				t.Errorf("%s: request %+v, then %+v, %v", s, r, again, err)
			}
			low := r.Lower(Limits{})
			if low.MaxItems < 1 || low.MaxItems > 500 || low.MaxBytes < MinBytes || low.MaxBytes > 65536 || low.Window == 0 || low.Window > 64 {
				t.Errorf("%s: lowered to %+v", s, low)
			}
		}
		if c, err := ParseControl(e); err == nil {
			if again, err := ParseControl(parse(t, string(c.Append(nil)))); err != nil || again != c {
				t.Errorf("%s: control %+v, then %+v, %v", s, c, again, err)
			}
		}
		_, _ = ParseStarted(e, Request{Window: Unbounded, MaxItems: 10, MaxBytes: 5000}) // errors are fine, a panic is not
		_, _ = ParseAborted(e)
	})
}
