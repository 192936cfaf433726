package roster

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// stand is a client half whose server is the test.
type stand struct {
	t      testing.TB
	client *Client
	stream *simStream
	out    []string
}

func newStand(t testing.TB) *stand {
	client, _ := newSim()
	s := &stand{t: t, stream: client}
	s.client = newClient(client, accountJID, nil)
	client.handle = s.client.Handle
	client.sent = func(st []byte) { s.out = append(s.out, string(st)) }
	return s
}

// hear returns what the client sends until it waits.
func (s *stand) hear() []string {
	s.out = nil
	for len(s.stream.queue) > 0 {
		s.stream.write()
	}
	return s.out
}

// say hands a stanza to the client.
func (s *stand) say(format string, args ...any) {
	s.t.Helper()
	s.stream.receive(fmt.Appendf(nil, format, args...))
}

// begin starts a retrieval.
func (s *stand) begin(variant string, params params, o Options) *fetch {
	return s.client.begin(o, starter(s.t, variant, params))
}

const (
	startedX = "<iq type='result' id='q1'><query xmlns='urn:example:xmppbench:roster:0' epoch='e' ver='3' mode='full'>" +
		"<started xmlns='urn:example:xmppbench:chunk:0' sid='s' window='2' max-items='100' max-bytes='8192'/></query></iq>"
	chunkX = "<iq type='set' id='k%d'><chunk xmlns='urn:example:xmppbench:chunk:0' sid='s' seq='%d' cursor='c%[2]d'%s>" +
		"<items xmlns='urn:example:xmppbench:roster:0'><item jid='j%[2]d' v='%[2]d'/></items>%[4]s</chunk></iq>"
	completeX = "<complete xmlns='urn:example:xmppbench:roster:0' epoch='e' ver='3'/>"
	pageX     = "<iq type='result' id='q%d'><query xmlns='urn:example:xmppbench:roster:0' epoch='e' ver='3' mode='%s'><page xmlns='urn:example:xmppbench:chunk:0' %s/>%s</query></iq>"
)

// TestWrongServers feeds the client half what no right server sends: the
// retrieval ends with an error that says why, and a push is stopped.
func TestWrongServers(t *testing.T) {
	push := func(say ...string) []string { return append([]string{startedX}, say...) }
	tests := []struct {
		name    string
		variant string
		say     []string
		want    string
		stops   bool
	}{
		{"a gap", "chunked-push", push(fmt.Sprintf(chunkX, 1, 0, "", ""), fmt.Sprintf(chunkX, 2, 2, "", "")), "chunk 2 came where 1 was due", true},
		{"a repeat", "chunked-push", push(fmt.Sprintf(chunkX, 1, 0, "", ""), fmt.Sprintf(chunkX, 2, 0, "", "")), "chunk 0 came where 1 was due", true},
		{"no version at the end", "chunked-push", push(fmt.Sprintf(chunkX, 1, 0, " last='true'", "")), "without the version", false},
		{"another epoch at the end", "chunked-push", push(fmt.Sprintf(chunkX, 1, 0, " last='true'", strings.Replace(completeX, "'e'", "'f'", 1))), "completed in epoch \"f\"", false},
		{"raised window", "chunked-push", []string{strings.Replace(startedX, "window='2'", "window='9'", 1)}, "raised window from 8 to 9", false},
		{"no window", "chunked-push", []string{strings.Replace(startedX, "window='2'", "", 1)}, "not a positive number", false},
		{"unbounded window", "chunked-push", []string{strings.Replace(startedX, "window='2'", "window='unbounded'", 1)}, "not a positive number", false},
		{"no sid", "chunked-push", []string{strings.Replace(startedX, "sid='s'", "", 1)}, "without sid", false},
		{"unknown mode", "chunked-push", []string{strings.Replace(startedX, "'full'", "'half'", 1)}, "unknown mode", false},
		{"resumed unasked", "chunked-push", []string{strings.Replace(startedX, "'full'", "'resume'", 1)}, "does not allow it", false},
		{"nothing new to a new client", "chunked-push", []string{strings.Replace(startedX, "'full'", "'none'", 1)}, "does not allow it", false},
		{"no query", "chunked-push", []string{"<iq type='result' id='q1'/>"}, "without a query", false},
		{"aborted", "chunked-push", push("<iq type='set' id='a'><aborted xmlns='urn:example:xmppbench:chunk:0' sid='s' cursor='c'><timeout/></aborted></iq>"), "server aborted s: timeout", false},
		{"a page without an end", "chunked-pull", []string{fmt.Sprintf(pageX, 1, "full", "", "")}, "without cursor", false},
		{"no progress", "chunked-pull", []string{fmt.Sprintf(pageX, 1, "full", "cursor='a'", ""), fmt.Sprintf(pageX, 2, "resume", "cursor='a'", "")}, "without progress", false},
		{"no page", "chunked-pull", []string{"<iq type='result' id='q1'><query xmlns='urn:example:xmppbench:roster:0' epoch='e' ver='3' mode='full'/></iq>"}, "without a page", false},
		{"no query in a pull", "chunked-pull", []string{"<iq type='result' id='q1'/>"}, "without a query", false},
		{"epoch changed", "chunked-pull", []string{fmt.Sprintf(pageX, 1, "full", "cursor='a'", ""), strings.Replace(fmt.Sprintf(pageX, 2, "resume", "cursor='b'", ""), "'e'", "'f'", 1)}, "epoch changed", false},
		{"cursor too long", "chunked-pull", []string{fmt.Sprintf(pageX, 1, "full", "cursor='"+strings.Repeat("c", 257)+"'", "")}, "cursor of 257 bytes", false},
		{"always expired", "chunked-pull", []string{fmt.Sprintf(pageX, 1, "full", "cursor='a'", ""),
			"<iq type='error' id='q2'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><cursor-expired xmlns='urn:example:xmppbench:chunk:0'/></error></iq>",
			"<iq type='error' id='q3'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><cursor-expired xmlns='urn:example:xmppbench:chunk:0'/></error></iq>"}, "item-not-found", false},
		{"empty result without a version", "monolithic", []string{"<iq type='result' id='q1'/>"}, "empty result", false},
		{"something else", "monolithic", []string{"<iq type='result' id='q1'><vCard xmlns='vcard-temp'/></iq>"}, "instead of a roster", false},
		{"something else for a page", "rsm", []string{"<iq type='result' id='q1'><query xmlns='jabber:iq:private'/></iq>"}, "instead of a roster", false},
		{"a page without its last", "rsm", []string{"<iq type='result' id='q1'><query xmlns='jabber:iq:roster'><item jid='a'/><set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a</first><count>200</count></set></query></iq>"}, "without its last", false},
		{"positions without a count", "rsm-index", []string{"<iq type='result' id='q1'><query xmlns='jabber:iq:roster'><item jid='a'/><set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>a</last></set></query></iq>"}, "without count", false},
		{"an error", "monolithic", []string{"<iq type='error' id='q1'><error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"}, "internal-server-error", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t)
			f := s.begin(tt.variant, nil, Options{})
			s.hear()
			for _, stanza := range tt.say {
				s.say("%s", stanza)
			}
			if !f.over {
				t.Fatal("it waits")
			}
			_, err := f.result(nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if stops := strings.Contains(strings.Join(s.hear(), ""), "<stop xmlns='urn:example:xmppbench:chunk:0' sid='s'/>"); stops != tt.stops {
				t.Errorf("stopped %v", stops)
			}
			if s.stream.err != nil {
				t.Errorf("the stream broke: %v", s.stream.err)
			}
			if len(s.client.active) > 0 {
				t.Error("the retrieval was not forgotten")
			}
		})
	}
}

// TestStrangers lets somebody else send pushes and chunks: they are refused and
// change nothing (RFC 6121 §2.1.6).
func TestStrangers(t *testing.T) {
	s := newStand(t)
	m := &Map{}
	f := s.begin("chunked-push", nil, Options{Map: m})
	s.hear()
	s.say(startedX)
	for _, stanza := range []string{
		"<iq type='set' id='x' from='mallory@a.example'><query xmlns='jabber:iq:roster'><item jid='m'/></query></iq>",
		"<iq type='set' id='x' from='mallory@a.example'><push xmlns='urn:example:xmppbench:roster:0' epoch='e' ver='9'><item jid='m' v='9'/></push></iq>",
		strings.Replace(fmt.Sprintf(chunkX, 1, 0, "", ""), "id=", "from='u@a.example/other' id=", 1),
		"<iq type='set' id='x' from='a.example'><aborted xmlns='urn:example:xmppbench:chunk:0' sid='s'><timeout/></aborted></iq>",
	} {
		s.say("%s", stanza)
		out := s.hear()
		if len(out) != 1 || !strings.Contains(out[0], "type='error'") || !strings.Contains(out[0], "service-unavailable") {
			t.Errorf("%s\nanswered %q", stanza, out)
		}
	}
	if m.Len() != 0 || f.over || s.client.Pushes() != 0 {
		t.Errorf("%d items held, over %v, %d pushes", m.Len(), f.over, s.client.Pushes())
	}
	// The account itself, by its bare JID or by none, is heard.
	s.say("%s", strings.Replace(fmt.Sprintf(chunkX, 1, 0, "", ""), "id=", "from='u@a.example' id=", 1))
	s.say(chunkX, 2, 1, " last='true'", completeX)
	if _, err := f.result(errors.New("not complete")); err != nil {
		t.Error(err)
	}
	if out := s.hear(); len(out) != 2 || out[0] != "<iq type='result' id='k1' to='u@a.example'/>" {
		t.Errorf("credits %q", out)
	}
	// A chunk of a transfer that is over is refused, so that the server stops.
	s.say(chunkX, 3, 2, "", "")
	if out := s.hear(); len(out) != 1 || !strings.Contains(out[0], "item-not-found") {
		t.Errorf("late chunk answered %q", out)
	}
}

// TestTwoAtATime ends one retrieval by a push while another one is under way.
func TestTwoAtATime(t *testing.T) {
	s := newStand(t)
	have := Have{Ver: "e-1", Target: "e-2"}
	ended := s.begin("versioned", params{"state": "stale", "diff": true}, Options{Have: have})
	other := s.begin("monolithic", nil, Options{})
	s.say("<iq type='result' id='q1'/>")
	s.say("<iq type='set' id='k1'><query xmlns='jabber:iq:roster' ver='e-2'><item jid='a'/></query></iq>")
	if r, err := ended.result(errors.New("not complete")); err != nil || r.Items != 1 || r.Ver != "e-2" {
		t.Errorf("ended with %+v, %v", r, err)
	}
	s.say("<iq type='result' id='q2'><query xmlns='jabber:iq:roster'><item jid='a'/></query></iq>")
	if r, err := other.result(errors.New("not complete")); err != nil || r.Items != 1 {
		t.Errorf("the other: %+v, %v", r, err)
	}
}

// TestOthers passes on what does not concern rosters.
func TestOthers(t *testing.T) {
	var got []string
	client, _ := newSim()
	c := newClient(client, accountJID, func(head *wire.Stanza) wire.Handler {
		return wire.Handler{Done: func(st *wire.Stanza) error {
			got = append(got, string(st.Name())+" "+st.Type())
			return nil
		}}
	})
	client.handle = c.Handle
	for _, st := range []string{
		"<iq type='set' id='1'><query xmlns='jabber:iq:private'/></iq>", "<iq type='set' id='1'/>", "<iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>",
		"<message type='headline'><body/></message>", "<message type='chat'/>", "<presence/>",
		"<iq type='set' id='3'><push xmlns='jabber:iq:roster'/></iq>", "<iq type='set' id='3'><chunk xmlns='else'/></iq>",
	} {
		client.receive([]byte(st))
	}
	want := []string{"iq set", "iq set", "iq get", "message headline", "message chat", "presence ", "iq set", "iq set"}
	if !slices.Equal(got, want) || len(client.queue) != 0 {
		t.Errorf("passed on %q, want %q", got, want)
	}
}

// TestMapRules plays the rules of merging one by one.
func TestMapRules(t *testing.T) {
	m := &Map{}
	apply := func(jid string, v uint64, gone bool) {
		t.Helper()
		if err := m.apply(&parsedItem{jid: []byte(jid), v: v, versioned: true, gone: gone}); err != nil {
			t.Fatal(err)
		}
	}
	held := func() string {
		var b strings.Builder
		for e := range m.Items() {
			fmt.Fprintf(&b, "%s%d ", e.JID, e.V)
		}
		return strings.TrimSpace(b.String())
	}
	expect := func(what, want string) {
		t.Helper()
		if got := held(); got != want {
			t.Errorf("%s: holds %q, want %q", what, got, want)
		}
	}
	begin := func(epoch, mode string) {
		t.Helper()
		if err := m.begin(epoch, mode); err != nil {
			t.Fatal(err)
		}
	}
	if m.apply(&parsedItem{jid: []byte("a"), v: 1, versioned: true}) == nil {
		t.Error("an item before anything was asked for was taken")
	}
	begin("e", modeFull)
	if m.apply(&parsedItem{jid: []byte("a")}) == nil {
		t.Error("an item without version was taken")
	}
	apply("a", 5, false)
	apply("b", 3, true)
	apply("a", 4, false)
	apply("b", 2, false)
	expect("R3: the older does not win, not against a tombstone either", "a5")
	apply("c", 1, false)
	m.pushed("e", 9)
	if m.Have().Known {
		t.Error("R6: a version before completion")
	}
	m.complete("e", 7)
	if have := m.Have(); have != (Have{Epoch: "e", Version: 9, Known: true}) {
		t.Errorf("R5: %+v, want the highest push", have)
	}
	begin("e", modeFull)
	apply("a", 5, false)
	m.complete("e", 9)
	expect("R5: what a full retrieval did not bring is dropped", "a5")
	begin("e", modeDelta)
	apply("d", 10, false)
	m.complete("e", 10)
	expect("a delta drops nothing", "a5 d10")
	apply("d", 11, true)
	m.pushed("e", 11)
	m.pushed("f", 99)
	if m.Have().Version != 11 || m.Len() != 1 {
		t.Errorf("live push: %+v, %d items", m.Have(), m.Len())
	}
	begin("f", modeFull)
	apply("a", 1, false)
	if m.Have().Known {
		t.Error("the version of another epoch is still known")
	}
	m.complete("f", 1)
	expect("another epoch counts held versions as 0", "a1")
	if m.begin("g", modeDelta) == nil || m.begin("f", modeResume) == nil {
		t.Error("a delta of another epoch, or a resume of nothing, was taken")
	}
}

// FuzzItem compares the item parser with encoding/xml.
func FuzzItem(f *testing.F) {
	f.Add("<item jid='a@b' name='A &amp; B' subscription='both' ask='subscribe'><group>x</group><group>y&#x20;z</group></item>")
	f.Add("<item jid=\"a'b\" v='18446744073709551615'/>")
	f.Add("<gone jid='a' v='1'/>")
	f.Add("<item jid='a' subscription='remove'><ext><group>no</group></ext><group><![CDATA[<&]]></group></item>")
	f.Add("<item jid='&bogus;'/>")
	f.Add("<item><item jid='b'/></item>")
	f.Fuzz(func(t *testing.T, s string) {
		el, err := wire.ParseElement([]byte(s), wire.NSRoster, nil)
		if err != nil || el.Name != "item" && el.Name != "gone" {
			return // a stream only hands over what it can vouch for
		}
		var want struct {
			JID    string   `xml:"jid,attr"`
			Name   string   `xml:"name,attr"`
			Sub    string   `xml:"subscription,attr"`
			Ask    string   `xml:"ask,attr"`
			Groups []string `xml:"group"`
		}
		if xml.Unmarshal([]byte(s), &want) != nil {
			return
		}
		plain := !strings.Contains(s, ":") && !slices.ContainsFunc(el.Nodes, func(n wire.Node) bool {
			return n.Element != nil && (len(n.Element.Nodes) > 1 || len(n.Element.Nodes) == 1 && n.Element.Nodes[0].Element != nil)
		})
		var p parsedItem
		seen := 0
		err = p.eachItem([]byte(s), 1, func() error { seen++; return nil })
		if err != nil || !plain {
			return
		}
		it := p.item()
		if seen != 1 || it.JID != want.JID || it.Name != want.Name || it.Ask != (want.Ask == "subscribe") ||
			want.Sub != "" && it.Subscription != want.Sub || !slices.Equal(it.Groups, want.Groups) {
			t.Errorf("%q: parsed %+v, want %+v", s, it, want)
		}
		var d, e population.Digest
		p.digest(&d)
		e.Add(it)
		if d != e {
			t.Errorf("%q: digest of the bytes differs from that of the item", s)
		}
	})
}

// TestItemAllocations holds the digest of items to no allocation at all.
func TestItemAllocations(t *testing.T) {
	var frame []byte
	base := PopulationBase(contacts(t, 50, 0), 0)
	frame = append(frame, "<iq><query>"...)
	for n := range base.Len() {
		frame = population.AppendItem(frame, base.Item(n))
	}
	frame = append(frame, "</query></iq>"...)
	var p parsedItem
	var d population.Digest
	see := func() error { p.digest(&d); return nil }
	if n := testing.AllocsPerRun(10, func() {
		if err := p.eachItem(frame, 3, see); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for 50 items", n)
	}
	if d.Count() != 11*50 {
		t.Errorf("digest of %d items", d.Count())
	}
}

// FuzzClient feeds a client half that waits whatever comes: it must not panic,
// and a retrieval that ended must be forgotten.
func FuzzClient(f *testing.F) {
	variants := Variants()
	for _, file := range []string{"monolithic", "versioned", "versioned-diff", "rsm", "rsm-index", "chunked-push", "chunked-push-message", "chunked-pull", "chunked-pull-pipelined"} {
		for i := range variants {
			f.Add(uint8(i), serverLines(f, file))
		}
	}
	f.Add(uint8(4), startedX+fmt.Sprintf(chunkX, 1, 0, "", "")+fmt.Sprintf(chunkX, 2, 1, " last='true'", completeX))
	f.Fuzz(func(t *testing.T, variant uint8, stanzas string) {
		v := variants[int(variant)%len(variants)]
		p, err := v.Parse(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := newStand(t)
		r := s.client.begin(Options{Map: &Map{}, Digest: true, Have: Have{Ver: "e3-1", Target: "e3-3", Epoch: "e3", Version: 1, Known: true}}, func(f *fetch) error { return v.fetch(f, p) })
		s.stream.receive([]byte(stanzas))
		for range 20 { // answers to what it asked meanwhile
			if len(s.stream.queue) == 0 || r.over {
				break
			}
			s.hear()
			s.stream.receive([]byte(stanzas))
		}
		if _, err := r.result(errCut); r.r.Complete.IsZero() == (err == nil) {
			t.Errorf("complete %v, error %v", r.r.Complete, err)
		}
		if len(s.client.active) > 0 {
			t.Error("the retrieval was not forgotten")
		}
	})
}

// serverLines returns what the server says in a transcript.
func serverLines(f *testing.F, name string) string {
	var b strings.Builder
	for _, line := range readTranscript(f, name) {
		if said, ok := strings.CutPrefix(line, "S: "); ok {
			b.WriteString(said)
		}
	}
	return b.String()
}

// FuzzServer hands the server half any request: it must not panic, and answers
// every one that it takes.
func FuzzServer(f *testing.F) {
	for _, file := range []string{"monolithic", "versioned", "rsm", "rsm-index", "chunked-push", "chunked-push-message", "chunked-pull", "chunked-resume", "chunked-delta"} {
		for _, line := range readTranscript(f, file) {
			if said, ok := strings.CutPrefix(line, "C: "); ok {
				f.Add(said)
			}
		}
	}
	f.Add(fmt.Sprintf("<iq type='get' id='1'><query xmlns='%s' epoch='e'><chunked xmlns='%s' mode='pull' window='9' after='%s' until='%s'/></query></iq>",
		wire.NSRosterX, wire.NSChunk, chunk.Cursor{S: 3, Key: "a"}, chunk.Cursor{S: 2, Key: "z"}))
	base := sliceBase{{JID: "a"}, {JID: "b"}, {JID: "c"}}
	f.Fuzz(func(t *testing.T, stanza string) {
		e, err := wire.ParseElement([]byte(stanza), wire.NSClient, nil)
		if err != nil {
			return
		}
		a := &account{store: NewMemStore("e", base)}
		_, stream := newSim()
		s := a.session(stream)
		defer s.Close()
		if _, err := a.store.Put(Item{JID: "bb"}); err != nil {
			t.Fatal(err)
		}
		handled, err := s.ServeIQ(e)
		if err != nil {
			t.Fatalf("%s: %v", stanza, err)
		}
		if handled != (len(stream.queue) > 0) {
			t.Errorf("%s: taken %v, %d stanzas in answer", stanza, handled, len(stream.queue))
		}
		if handled {
			answer := stream.write()
			if got, err := wire.ParseElement(answer, wire.NSClient, nil); err != nil || got.Attr("id") != e.Attr("id") {
				t.Errorf("%s: answered %s, %v", stanza, answer, err)
			}
		}
		s.ServeMessage(e)
	})
}

// TestAnswerBeforeTheNewsOfItsRequest reads the answer before the writer has looked
// at the clock: no step takes less than no time.
func TestAnswerBeforeTheNewsOfItsRequest(t *testing.T) {
	sent := time.Now()
	for _, tt := range []struct{ written, want time.Duration }{
		{time.Millisecond, time.Millisecond}, {3 * time.Millisecond, 0},
	} {
		f := &fetch{c: &Client{}, over: true, sent: sent}
		f.r.Answered = sent.Add(2 * time.Millisecond)
		f.r.Requested = sent.Add(tt.written)
		r, err := f.result(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Requested.Sub(sent); got != tt.want {
			t.Errorf("written %s after it was sent and answered after 2ms: requested after %s, want %s", tt.written, got, tt.want)
		}
	}
}
