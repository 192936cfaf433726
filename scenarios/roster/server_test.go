package roster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// bench is a server half whose client is the test.
type bench struct {
	t       *testing.T
	account *account
	server  *Server
	stream  *simStream // the server's end
	out     []string   // what the server sent
}

func newBench(t *testing.T, a *account) *bench {
	_, server := newSim()
	b := &bench{t: t, account: a, stream: server}
	b.server = a.session(server)
	server.handle = a.serve(b.server, server)
	server.sent = func(st []byte) { b.out = append(b.out, string(st)) }
	t.Cleanup(b.server.Close) // stops timers
	return b
}

// say hands a stanza to the server.
func (b *bench) say(stanza string) {
	b.t.Helper()
	b.stream.receive([]byte(stanza))
	if b.stream.err != nil {
		b.t.Fatalf("%s: %v", stanza, b.stream.err)
	}
}

// hear returns what the server sends until it waits.
func (b *bench) hear() []string {
	b.out = nil
	for len(b.stream.queue) > 0 {
		b.stream.write()
	}
	return b.out
}

// ask sends a chunked request.
func (b *bench) ask(query, chunked string) {
	b.t.Helper()
	b.say(fmt.Sprintf("<iq type='get' id='r'><query xmlns='%s'%s><chunked xmlns='%s' %s/></query></iq>", wire.NSRosterX, query, wire.NSChunk, chunked))
}

func fifty(t *testing.T) *account {
	return &account{store: NewMemStore("e", PopulationBase(contacts(t, 50, 120), 0))}
}

func TestFeatures(t *testing.T) {
	tests := []struct {
		settings Settings
		want     string
	}{
		{Settings{}, "<ver xmlns='urn:xmpp:features:rosterver'/>" +
			"<roster-rsm xmlns='urn:example:xmppbench:roster-rsm:0' max='500'/>" +
			"<roster xmlns='urn:example:xmppbench:roster:0'><limits max-items='500' max-bytes='65536' max-window='64'/><push/><pull/><delta/></roster>"},
		{Settings{Variants: []string{"monolithic"}}, ""},
		{Settings{Variants: []string{"rsm-index", "chunked-pull"}, PageLimit: 20, Limits: chunk.Limits{MaxItems: 7}},
			"<roster-rsm xmlns='urn:example:xmppbench:roster-rsm:0' max='20'/>" +
				"<roster xmlns='urn:example:xmppbench:roster:0'><limits max-items='7' max-bytes='65536' max-window='64'/><pull/><delta/></roster>"},
	}
	for _, tt := range tests {
		if got := string(tt.settings.Features(nil)); got != tt.want {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.settings, got, tt.want)
		}
		if err := tt.settings.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []Settings{{Variants: []string{"telepathy"}}, {PageLimit: -1}, {Limits: chunk.Limits{MaxBytes: 10}}} {
		if bad.Check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestErrors provokes every error that the server half can answer with.
func TestErrors(t *testing.T) {
	iq := func(typ, payload string) string { return fmt.Sprintf("<iq type='%s' id='r'>%s</iq>", typ, payload) }
	x := func(query, chunked string) string {
		return iq("get", fmt.Sprintf("<query xmlns='%s'%s>%s</query>", wire.NSRosterX, query, chunked))
	}
	req := func(attrs string) string { return fmt.Sprintf("<chunked xmlns='%s' %s/>", wire.NSChunk, attrs) }
	control := func(what string) string { return iq("set", fmt.Sprintf(what, wire.NSChunk)) }
	page := func(what string) string {
		return iq("get", fmt.Sprintf("<query xmlns='%s'><set xmlns='%s'>%s</set></query>", wire.NSRoster, wire.NSRSM, what))
	}
	old := chunk.Cursor{S: 10, Key: "x"}.String()
	future := chunk.Cursor{S: 1000, Key: "x"}.String()
	delta := chunk.Cursor{S: 50, Ver: 10, Delta: true, Key: "x"}.String()
	good := chunk.Cursor{S: 50, Key: "x"}.String()
	tests := []struct{ name, stanza, want string }{
		{"no request", x("", ""), "modify bad-request"},
		{"no mode", x("", req("")), "modify bad-request"},
		{"unknown mode", x("", req("mode='shove'")), "modify bad-request"},
		{"items not a number", x("", req("mode='push' max-items='many'")), "modify bad-request"},
		{"no items", x("", req("mode='push' max-items='0'")), "modify bad-request"},
		{"too few bytes", x("", req("mode='push' max-bytes='1023'")), "modify bad-request"},
		{"no window", x("", req("mode='push' window='0'")), "modify bad-request"},
		{"pull without bound", x("", req("mode='pull' window='unbounded'")), "modify bad-request"},
		{"pull by message", x("", req("mode='pull' delivery='message'")), "modify bad-request"},
		{"push until", x("", req("mode='push' after='a' until='b'")), "modify bad-request"},
		{"until from nowhere", x("", req("mode='pull' until='b'")), "modify bad-request"},
		{"version not a number", x(" epoch='e' ver='new'", req("mode='pull'")), "modify bad-request"},
		{"cursor unreadable", x(" epoch='e'", req("mode='pull' after='!'")), "cancel item-not-found cursor-expired"},
		{"cursor without epoch", x("", req("mode='pull' after='"+good+"'")), "cancel item-not-found cursor-expired"},
		{"cursor of another epoch", x(" epoch='d'", req("mode='push' after='"+good+"'")), "cancel item-not-found cursor-expired"},
		{"cursor of the future", x(" epoch='e'", req("mode='push' after='"+future+"'")), "cancel item-not-found cursor-expired"},
		{"cursor below the horizon", x(" epoch='e'", req("mode='push' after='"+old+"'")), "cancel item-not-found cursor-expired"},
		{"delta below the horizon", x(" epoch='e'", req("mode='push' after='"+delta+"'")), "cancel item-not-found cursor-expired"},
		{"until of another kind", x(" epoch='e'", req("mode='pull' after='"+good+"' until='"+delta+"'")), "cancel item-not-found cursor-expired"},
		{"ack of nothing", control("<ack xmlns='%s' sid='s9' seq='1'/>"), "cancel item-not-found"},
		{"window of nothing", control("<window xmlns='%s' sid='s9' size='1'/>"), "cancel item-not-found"},
		{"stop of nothing", control("<stop xmlns='%s' sid='s9'/>"), "cancel item-not-found"},
		{"control without sid", control("<stop xmlns='%s'/>"), "modify bad-request"},
		{"unknown control", control("<rewind xmlns='%s' sid='s9'/>"), "cancel feature-not-implemented"},
		{"window without size", control("<window xmlns='%s' sid='s9'/>"), "modify bad-request"},
		{"ack without seq", control("<ack xmlns='%s' sid='s9' seq='-1'/>"), "modify bad-request"},
		{"page size", page("<max>all</max>"), "modify bad-request"},
		{"page index", page("<max>1</max><index>first</index>"), "modify bad-request"},
		{"page beyond the end", page("<max>1</max><index>51</index>"), "cancel item-not-found"},
		{"not about rosters", iq("get", "<ping xmlns='urn:xmpp:ping'/>"), "cancel service-unavailable"},
		{"nothing at all", iq("set", ""), "cancel service-unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, fifty(t))
			b.account.store.Compact(20)
			b.say(tt.stanza)
			out := b.hear()
			if len(out) != 1 {
				t.Fatalf("%d stanzas in answer: %q", len(out), out)
			}
			e, err := wire.ParseElement([]byte(out[0]), wire.NSClient, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := wire.ParseStanzaError(e)
			said := got.Type + " " + got.Condition
			if isExpired(e) {
				said += " cursor-expired"
			}
			if e.Attr("type") != "error" || e.Attr("id") != "r" || said != tt.want {
				t.Errorf("answered %s: %s, want %s", out[0], said, tt.want)
			}
		})
	}
}

// TestLimitsLowered asks for more than a server grants.
func TestLimitsLowered(t *testing.T) {
	tests := []struct {
		limits     chunk.Limits
		asked, got string
	}{
		{chunk.Limits{}, "max-items='9999999999999' max-bytes='99999999' window='9999'", "window='64' max-items='500' max-bytes='65536'"},
		{chunk.Limits{MaxItems: 10, MaxBytes: 4096, MaxWindow: 2}, "", "window='2' max-items='10' max-bytes='4096'"},
		{chunk.Limits{}, "max-items='3' max-bytes='1024' window='1'", "window='1' max-items='3' max-bytes='1024'"},
		{chunk.Limits{}, "window='unbounded'", "window='unbounded' max-items='100' max-bytes='8192'"},
		{chunk.Limits{Credited: true}, "window='unbounded'", "window='64' max-items='100' max-bytes='8192'"},
	}
	for _, tt := range tests {
		a := fifty(t)
		a.settings.Limits = tt.limits
		b := newBench(t, a)
		b.ask("", "mode='push' "+tt.asked)
		if out := b.hear(); !strings.Contains(out[0], tt.got) {
			t.Errorf("%s: answered %s, want %s", tt.asked, out[0], tt.got)
		}
	}
}

func chunks(stanzas []string) (seqs []string) {
	for _, st := range stanzas {
		if _, rest, ok := strings.Cut(st, " seq='"); ok {
			seq, _, _ := strings.Cut(rest, "'")
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// credit answers the chunk in a stanza.
func (b *bench) credit(stanza, typ string) {
	b.t.Helper()
	_, rest, _ := strings.Cut(stanza, " id='")
	id, _, _ := strings.Cut(rest, "'")
	b.say(fmt.Sprintf("<iq type='%s' id='%s'/>", typ, id))
}

// TestWindow holds a server to its window: no chunk more without a credit.
func TestWindow(t *testing.T) {
	b := newBench(t, fifty(t))
	b.ask("", "mode='push' max-items='5' window='3'")
	out := b.hear()
	if got := chunks(out); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Fatalf("chunks %v with a window of 3", got)
	}
	b.credit(out[1], "result")
	if out = b.hear(); !slices.Equal(chunks(out), []string{"3"}) {
		t.Fatalf("chunks %v for one credit", chunks(out))
	}
	b.say(fmt.Sprintf("<iq type='set' id='w'><window xmlns='%s' sid='s1' size='5'/></iq>", wire.NSChunk))
	if out = b.hear(); !slices.Equal(chunks(out), []string{"4", "5"}) {
		t.Fatalf("chunks %v for a window of 5", chunks(out))
	}
	b.say(fmt.Sprintf("<iq type='set' id='w'><stop xmlns='%s' sid='s1'/></iq>", wire.NSChunk))
	if out = b.hear(); len(out) != 1 || !strings.Contains(out[0], "result") {
		t.Fatalf("after stop: %q", out)
	}
	b.say(fmt.Sprintf("<iq type='set' id='w'><stop xmlns='%s' sid='s1'/></iq>", wire.NSChunk))
	if out = b.hear(); !strings.Contains(out[0], "item-not-found") {
		t.Fatalf("the sid lives on: %q", out)
	}
}

// TestRefusedChunk answers a chunk with an error: nothing more is sent.
func TestRefusedChunk(t *testing.T) {
	b := newBench(t, fifty(t))
	b.ask("", "mode='push' max-items='5' window='1'")
	b.credit(b.hear()[1], "error")
	if out := b.hear(); len(out) != 0 {
		t.Errorf("after an error: %q", out)
	}
	b.ask("", "mode='push' max-items='5' window='1' delivery='message'")
	if got := chunks(b.hear()); len(got) != 1 {
		t.Fatalf("chunks %v", got)
	}
	for _, m := range []struct {
		stanza string
		want   bool
	}{
		{"<message type='error' id='s20-0'/>", false},
		{"<message type='chat' id='s2-0'/>", false},
		{"<message type='error' id='s2-0'/>", true},
	} {
		e, err := wire.ParseElement([]byte(m.stanza), wire.NSClient, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.server.ServeMessage(e); got != m.want {
			t.Errorf("%s: taken %v", m.stanza, got)
		}
	}
	b.say(fmt.Sprintf("<iq type='set' id='w'><ack xmlns='%s' sid='s2' seq='0'/></iq>", wire.NSChunk))
	if out := b.hear(); !strings.Contains(out[0], "item-not-found") {
		t.Errorf("the sid lives on: %q", out)
	}
}

// TestAnswersNeverGiven lets a client never answer a chunk: what the server expects
// of it stays bounded, however many transfers it starts.
func TestAnswersNeverGiven(t *testing.T) {
	b := newBench(t, fifty(t))
	for n := range 5 * chunk.MaxSIDs {
		b.ask("", "mode='push' max-items='10' window='unbounded'")
		b.hear()
		b.ask("", "mode='push' max-items='1' window='3'")
		b.hear()
		b.say(fmt.Sprintf("<iq type='set' id='w'><stop xmlns='%s' sid='s%d'/></iq>", wire.NSChunk, 2*n+2))
		if out := b.hear(); len(out) != 1 || !strings.Contains(out[0], "type='result'") {
			t.Fatalf("stop answered %q", out)
		}
	}
	if n := len(b.stream.expects); n > 5*chunk.MaxSIDs {
		t.Errorf("%d answers are still expected, of %d chunks in the last %d transfers", n, 5*chunk.MaxSIDs, chunk.MaxSIDs)
	}
}

// TestTransfersAtATime starts one transfer more than a connection may have.
func TestTransfersAtATime(t *testing.T) {
	b := newBench(t, fifty(t))
	for range chunk.MaxSIDs {
		b.ask("", "mode='push' max-items='1' window='1'")
	}
	b.hear()
	b.ask("", "mode='push' max-items='1' window='1'")
	if out := b.hear(); len(out) != 1 || !strings.Contains(out[0], "<error type='wait'><resource-constraint") {
		t.Errorf("answered %q", out)
	}
}

// TestInterleave posts another stanza while chunks are due: it passes after the
// chunk at hand, or with interleave off after the whole window.
func TestInterleave(t *testing.T) {
	for _, off := range []bool{false, true} {
		a := fifty(t)
		a.settings.NoInterleave = off
		b := newBench(t, a)
		b.ask("", "mode='push' max-items='5' window='4'")
		if err := b.stream.Post([]byte("<message/>"), nil); err != nil {
			t.Fatal(err)
		}
		got := slices.Index(b.hear(), "<message/>")
		want := 2 // result, chunk, message
		if off {
			want = 5
		}
		if got != want {
			t.Errorf("interleave off %v: the message came at place %d, want %d", off, got, want)
		}
	}
}

// TestHorizonHeld moves the horizon while a transfer needs the tombstones.
func TestHorizonHeld(t *testing.T) {
	b := newBench(t, fifty(t))
	b.account.remove(t, b.account.store.base.Item(3).JID)
	b.ask(" epoch='e' ver='50'", "mode='push' max-items='1' window='1'")
	out := b.hear()
	if len(chunks(out)) != 1 || !strings.Contains(out[1], "<gone ") {
		t.Fatalf("delta: %q", out)
	}
	b.ask(" epoch='e' ver='40'", "mode='push' max-items='1' window='1'")
	b.account.store.Compact(51)
	if h := b.account.store.Horizon(); h != 40 {
		t.Errorf("horizon %d under a delta from 40", h)
	}
	b.server.Close()
	b.account.store.Compact(51)
	if h := b.account.store.Horizon(); h != 51 {
		t.Errorf("horizon %d after the session", h)
	}
}

// TestPushForms checks in which form, if any, a session hears of changes.
func TestPushForms(t *testing.T) {
	b := newBench(t, fifty(t))
	b.account.put(t, Item{JID: "n@x", Subscription: "none"})
	if out := b.hear(); len(out) != 0 || b.server.Interested() {
		t.Errorf("before it asked: %q", out)
	}
	b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
	b.account.remove(t, "n@x")
	out := b.hear()
	if !b.server.Interested() || len(out) != 2 || out[1] != "<iq type='set' id='k1' to='u@a.example/x'><query xmlns='jabber:iq:roster' ver='e-52'><item jid='n@x' subscription='remove'/></query></iq>" {
		t.Errorf("after a roster get: %q", out[1:])
	}
	b.ask(" epoch='e' ver='52'", "mode='pull'")
	b.hear()
	var batch []Entry
	for n := range 250 {
		e, err := b.account.store.Put(Item{JID: fmt.Sprintf("n%03d@x", n), Subscription: "none"})
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, e)
	}
	if err := b.server.Changed(batch...); err != nil {
		t.Fatal(err)
	}
	out = b.hear()
	total := 0
	for _, st := range out {
		n := strings.Count(st, "<item ")
		total += n
		if n > chunk.DefaultItems || len(st) > chunk.DefaultBytes || !strings.Contains(st, "<push xmlns='"+wire.NSRosterX+"' epoch='e' ver=") {
			t.Errorf("push of %d items, %d bytes: %.120s", n, len(st), st)
		}
	}
	if total != 250 || !strings.Contains(out[len(out)-1], "ver='302'") {
		t.Errorf("%d of 250 changes pushed in %d stanzas", total, len(out))
	}
}

// TestLargeItem sends an item that is larger than a chunk may be: it goes alone.
func TestLargeItem(t *testing.T) {
	base := sliceBase{{JID: "a@x", Subscription: "none"}, {JID: "b@x", Name: strings.Repeat("long ", 500), Subscription: "none"}, {JID: "c@x", Subscription: "none"}}
	b := newBench(t, &account{store: NewMemStore("e", base)})
	b.ask("", "mode='push' max-bytes='1024' window='8'")
	var sizes []int
	for _, st := range b.hear()[1:] {
		sizes = append(sizes, strings.Count(st, "<item "))
		if n := strings.Count(st, "<item "); n != 1 {
			t.Errorf("%d items in a chunk of %d bytes", n, len(st))
		}
	}
	if len(sizes) != 3 {
		t.Errorf("chunks of %v items", sizes)
	}
}

// TestChangesBetweenPieces changes the roster while a whole one is written. What
// the client ends with, pushes included, is what the server has.
func TestChangesBetweenPieces(t *testing.T) {
	for _, shuffled := range []bool{false, true} {
		a := &account{store: NewMemStore("e", PopulationBase(contacts(t, 200, 120), 0)), settings: Settings{Shuffled: shuffled}}
		b := newBench(t, a)
		b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
		next := b.stream.queue[0].next
		b.stream.queue = b.stream.queue[1:]
		var all []byte
		for i, more := 0, true; more; i++ {
			var piece []byte
			piece, more = next(nil)
			if len(piece) > wire.DefaultPiece {
				t.Errorf("a piece of %d bytes", len(piece))
			}
			all = append(all, piece...)
			a.remove(t, a.store.base.Item(i).JID)     // passed, if in order
			a.remove(t, a.store.base.Item(199-i).JID) // to come
			a.put(t, Item{JID: fmt.Sprintf("new%d@x", i), Subscription: "none"})
			a.put(t, Item{JID: a.store.base.Item(100).JID, Name: fmt.Sprint("renamed ", i), Subscription: "both"})
		}
		for _, push := range b.hear() {
			all = append(all, push...)
		}
		held := map[string]string{}
		var p parsedItem
		for _, st := range bytes.SplitAfter(all, []byte("</iq>")) {
			if len(st) == 0 {
				continue
			}
			if err := p.eachItem(st, 3, func() error {
				held[string(p.jid)] = string(p.name)
				if p.gone {
					delete(held, string(p.jid))
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{}
		for e := range a.store.Items(0) {
			want[e.JID] = e.Item.Name
		}
		if fmt.Sprint(held) != fmt.Sprint(want) {
			t.Errorf("shuffled %v: client holds %d items, server %d", shuffled, len(held), len(want))
		}
	}
}

// TestShuffled checks that shuffling changes the order, and always alike.
func TestShuffled(t *testing.T) {
	a := fifty(t)
	whole := func() string {
		b := newBench(t, a)
		b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
		return b.hear()[0]
	}
	sorted := whole()
	a.settings.Shuffled = true
	if one, two := whole(), whole(); one != two || one == sorted || len(one) != len(sorted) {
		t.Error("shuffled rosters are the same each time, in another order than that of keys")
	}
}

// TestDiffOrFull checks when a stale version gets what changed and when all.
func TestDiffOrFull(t *testing.T) {
	tests := []struct {
		name, ver string
		diff      bool
		compact   uint64
		pushes    int // -1: the whole roster
	}{
		{"current", "e-50", true, 0, 0},
		{"one behind", "e-49", true, 0, 1},
		{"all behind", "e-0", true, 0, 50},
		{"not on offer", "e-49", false, 0, -1},
		{"below the horizon", "e-30", true, 40, -1},
		{"other epoch", "d-49", true, 0, -1},
		{"from the future", "e-51", true, 0, -1},
		{"of another server", "7c4a8d09ca3762af", true, 0, -1},
		{"none", "", true, 0, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := fifty(t)
			a.settings.Diff = tt.diff
			a.store.Compact(tt.compact)
			b := newBench(t, a)
			b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster' ver='" + tt.ver + "'/></iq>")
			out := b.hear()
			got := len(out) - 1
			if strings.Contains(out[0], "<query") {
				got = -1
			}
			if got != tt.pushes {
				t.Errorf("%d pushes, want %d", got, tt.pushes)
			}
		})
	}
}

// TestPagesBackwards asks for the last page, and for the one before a key.
func TestPagesBackwards(t *testing.T) {
	a := &account{store: NewMemStore("e3", fixture())}
	for ask, want := range map[string]string{
		"<max>2</max><before/>":                     "<first index='1'>fk@b.example</first><last>zz@b.example</last><count>3</count>",
		"<max>1</max><before>zz@b.example</before>": "<first index='1'>fk@b.example</first><last>fk@b.example</last><count>3</count>",
		"<max>5</max><before>zz@b.example</before>": "<first index='0'>aa@b.example</first><last>fk@b.example</last><count>3</count>",
		"<max>1</max><before>mm@b.example</before>": "<first index='1'>fk@b.example</first><last>fk@b.example</last><count>3</count>",
		"<max>1</max><after>bb@b.example</after>":   "<first index='1'>fk@b.example</first><last>fk@b.example</last><count>3</count>",
		"<max>0</max>": "'><count>3</count>",
		"<max>1</max><before>aa@b.example</before>": "'><count>3</count>",
		"<after>zz@b.example</after>":               "'><count>3</count>",
		"":                                          "<first index='0'>aa@b.example</first><last>zz@b.example</last><count>3</count>",
		"<max>1</max><index>3</index>":              "'><count>3</count>",
	} {
		b := newBench(t, a)
		b.say(fmt.Sprintf("<iq type='get' id='r'><query xmlns='jabber:iq:roster'><set xmlns='%s'>%s</set></query></iq>", wire.NSRSM, ask))
		if out := b.hear(); !strings.Contains(out[0], want) {
			t.Errorf("%s: answered %s, want %s", ask, out[0], want)
		}
	}
	b := newBench(t, a)
	b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster' ver='e3-3'><set xmlns='" + wire.NSRSM + "'><max>1</max></set></query></iq>")
	if out := b.hear(); out[0] != "<iq type='result' id='r' to='u@a.example/x'/>" {
		t.Errorf("unchanged: %s", out[0])
	}
}

// TestQueueFull lets the queue be full: a push that cannot be queued is an error,
// as the client would miss it, and a chunk that cannot be ends the stream.
func TestQueueFull(t *testing.T) {
	b := newBench(t, fifty(t))
	b.ask("", "mode='push' max-items='5' window='4'")
	b.stream.full = true
	e, _ := b.account.store.Remove(b.account.store.base.Item(0).JID)
	if err := b.server.Changed(e); !errors.Is(err, wire.ErrQueueFull) {
		t.Errorf("push: %v", err)
	}
	b.hear() // a chunk is written, and the next one due
	if b.stream.aborted == nil || b.stream.aborted.Condition != "resource-constraint" {
		t.Errorf("stream aborted with %v", b.stream.aborted)
	}
	b.account.store.Compact(51)
	if h := b.account.store.Horizon(); h != 51 {
		t.Errorf("the transfer still holds the horizon at %d", h)
	}
}

// TestEvents checks what a server counts.
func TestEvents(t *testing.T) {
	a := fifty(t)
	_, stream := newSim()
	counted := map[string]int64{}
	s := NewServer(SessionConfig{Stream: stream, Account: accountJID, Full: fullJID, Store: a.store, Lock: &a.lock,
		Count: func(name string, n int64) { counted[name] += n }})
	defer s.Close()
	stream.handle = a.serve(s, stream)
	b := &bench{t: t, account: a, server: s, stream: stream}
	stream.sent = func(st []byte) { b.out = append(b.out, string(st)) }
	b.ask("", "mode='push' max-items='25' window='2'")
	b.credit(b.hear()[1], "error") // after the last chunk: counted, and nothing to end
	b.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
	e, _ := a.store.Remove(a.store.base.Item(0).JID)
	if err := s.Changed(e); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"roster.chunked-push": 1, "roster.monolithic": 1, "chunk.sent": 2, "chunk.refused": 1, "roster.pushes": 1}
	if fmt.Sprint(counted) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}
