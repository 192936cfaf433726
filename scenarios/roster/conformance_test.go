package roster

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// testChunk is the number of items in a chunk or page of the conformance tests.
const testChunk = 10

// conformance is one way of using a variant.
type conformance struct {
	variant  string
	params   params
	settings Settings
	have     func(n int) Have
}

func (c conformance) String() string {
	s := c.variant
	for _, name := range []string{"state", "changes", "diff", "chunk", "max-bytes", "window", "delivery", "interleave"} {
		if v, ok := c.params[name]; ok {
			s += fmt.Sprintf(",%s=%v", name, v)
		}
	}
	return s
}

// holding returns what a client holds that is so many changes behind.
func holding(behind int) func(n int) Have {
	return func(n int) Have {
		v := uint64(max(0, n-behind))
		return Have{Ver: FormatVer("e", v), Target: FormatVer("e", uint64(n)), Epoch: "e", Version: v, Known: true}
	}
}

// ways returns every variant in all its forms: a new variant adds its lines.
func ways() []conformance {
	return []conformance{
		{variant: "monolithic"},
		{variant: "monolithic", settings: Settings{Shuffled: true}},
		{variant: "versioned", params: params{"state": "cold"}},
		{variant: "versioned", params: params{"state": "unchanged"}, have: holding(0)},
		{variant: "versioned", params: params{"state": "stale", "changes": 1}, have: holding(1)},
		{variant: "versioned", params: params{"state": "stale", "changes": 5, "diff": true}, have: holding(5)},
		{variant: "rsm", params: params{"chunk": testChunk}},
		{variant: "rsm-index", params: params{"chunk": testChunk, "window": 1}},
		{variant: "rsm-index", params: params{"chunk": testChunk, "window": 3}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": 1}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": 4}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": 4, "interleave": false}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": "unbounded"}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": "unbounded", "interleave": false}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": 1, "delivery": "message"}},
		{variant: "chunked-push", params: params{"chunk": testChunk, "window": 5, "delivery": "message"}},
		{variant: "chunked-push", params: params{"chunk": 500, "max-bytes": 2048}},
		{variant: "chunked-push", params: params{"state": "unchanged"}, have: holding(0)},
		{variant: "chunked-push", params: params{"state": "stale", "changes": 25, "chunk": testChunk}, have: holding(25)},
		{variant: "chunked-pull", params: params{"state": "unchanged"}, have: holding(0)},
		{variant: "chunked-pull", params: params{"state": "stale", "changes": 25, "chunk": testChunk, "window": 3}, have: holding(25)},
		{variant: "chunked-pull", params: params{"chunk": testChunk}},
		{variant: "chunked-pull", params: params{"chunk": testChunk, "window": 2}},
		{variant: "chunked-pull", params: params{"chunk": testChunk, "window": 7}},
		{variant: "chunked-pull", params: params{"chunk": 500, "max-bytes": 2048, "window": 4}},
		{variant: "chunked-pull", params: params{"chunk": 500, "max-bytes": 65536}},
	}
}

func TestEveryVariantIsTested(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range ways() {
		tested[c.variant] = true
	}
	for _, v := range Variants() {
		if !tested[v.Name] {
			t.Errorf("no way of using %s", v.Name)
		}
	}
}

// prepare returns the account and the parsed parameters for one way.
func (c conformance) prepare(t *testing.T, base Base) (*account, Variant, Params) {
	t.Helper()
	v, ok := Find(c.variant)
	if !ok {
		t.Fatalf("no variant %s", c.variant)
	}
	p, err := v.Parse(c.params)
	if err != nil {
		t.Fatal(err)
	}
	return &account{store: NewMemStore("e", base), settings: p.Apply(c.settings)}, v, p
}

func (c conformance) options(n int) Options {
	if c.have == nil {
		return Options{}
	}
	return Options{Have: c.have(n)}
}

// TestConformance runs each client half against its server half, for rosters of
// the sizes at which something changes, and compares what was counted with the
// closed forms and with the bytes that passed.
func TestConformance(t *testing.T) {
	for _, n := range []int{0, 1, testChunk - 1, testChunk, testChunk + 1, largeRoster} {
		people := contacts(t, n, 120)
		base := PopulationBase(people, 0)
		size := sizeOf(base)
		for _, c := range ways() {
			t.Run(fmt.Sprintf("%d/%v", n, c), func(t *testing.T) {
				t.Parallel()
				a, v, p := c.prepare(t, base)
				pair := newPair(t, a, uncut)
				defer pair.wait()
				o := c.options(n)
				o.Digest = true
				r, err := v.Fetch(bounded(t), pair.client, p, o)
				if err != nil {
					t.Fatal(err)
				}
				if answer := v.Detect(p, r, err); answer.Verdict != Spoken && n > 0 {
					t.Errorf("answer %+v", answer)
				}
				if err := pair.stream.Close(t.Context()); err != nil { // what was posted last goes out
					t.Fatal(err)
				}
				up, down := pair.traffic()
				up, down = bytes.TrimSuffix(up, wire.AppendFooter(nil)), bytes.TrimSuffix(down, wire.AppendFooter(nil))
				want := v.Counts(p, size)
				items, itemBytes := wireItems(t, down)
				got := Counts{StanzasOut: r.StanzasOut, StanzasIn: r.StanzasIn, Chunks: r.Chunks, RoundTrips: r.RoundTrips, ItemBytes: itemBytes, Exact: want.Exact}
				if !want.Exact {
					// The item sizes decide: hold the estimate to a tenth.
					if d := got.Chunks - want.Chunks; d*10 > want.Chunks+10 || -d*10 > want.Chunks+10 {
						t.Errorf("%d chunks, estimated %d", got.Chunks, want.Chunks)
					}
					got, want = Counts{ItemBytes: got.ItemBytes}, Counts{ItemBytes: want.ItemBytes}
				}
				if got != want {
					t.Errorf("counted %+v\nwant    %+v", got, want)
				}
				switch {
				case p.State == StateUnchanged:
					if r.Items != 0 {
						t.Errorf("%d items although nothing changed", r.Items)
					}
				case p.State == StateStale && (p.Diff || p.Chunk > 0):
					if r.Items != min(n, p.Changes) {
						t.Errorf("%d items of %d changes", r.Items, p.Changes)
					}
				case r.Items != n || r.Digest != people.Expected(0):
					t.Errorf("%d items, digest %v, want %d, %v", r.Items, r.Digest, n, people.Expected(0))
				}
				if r.Items != items {
					t.Errorf("result says %d items, %d passed", r.Items, items)
				}
				if r.BytesIn != int64(len(down)) || r.BytesOut != int64(len(up)) {
					t.Errorf("result says %d bytes in, %d out; %d and %d passed", r.BytesIn, r.BytesOut, len(down), len(up))
				}
				if total := pair.stream.Counts(); int64(r.StanzasIn) != total.StanzasIn || int64(r.StanzasOut) != total.StanzasOut {
					t.Errorf("result says %d stanzas in, %d out; the stream %+v", r.StanzasIn, r.StanzasOut, total)
				}
				if p.MaxBytes > 0 && r.Largest > int64(p.MaxBytes) {
					t.Errorf("a stanza of %d bytes, above %d", r.Largest, p.MaxBytes)
				}
				if r.Complete.Before(r.Answered) || r.Answered.Before(r.Requested) || r.Items > 0 && (r.First.Before(r.Answered) || r.Complete.Before(r.First)) {
					t.Errorf("times out of order: %v %v %v %v", r.Requested, r.Answered, r.First, r.Complete)
				}
				if (v.Name == nameChunkedPush || v.Name == nameChunkedPull) && (r.Version != uint64(n) || r.Epoch != "e") {
					t.Errorf("complete at %s %d", r.Epoch, r.Version)
				}
			})
		}
	}
}

// wireItems finds the items in XML, with a parser that shares nothing with the
// halves, and sums up their lengths.
func wireItems(t *testing.T, b []byte) (n int, size int64) {
	t.Helper()
	// A server pushes removals as items too; they are none.
	d := xml.NewDecoder(io.MultiReader(strings.NewReader("<s>"), bytes.NewReader(b), strings.NewReader("</s>")))
	for {
		from := d.InputOffset()
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n, size
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := tok.(xml.StartElement); ok && start.Name.Local == "item" {
			if err := d.Skip(); err != nil {
				t.Fatal(err)
			}
			n++
			size += d.InputOffset() - from
		}
	}
}

// TestItemsAsked checks that Item and Digest see every item, and that counting
// alone gives the same numbers.
func TestItemsAsked(t *testing.T) {
	people := contacts(t, 25, 0)
	base := PopulationBase(people, 0)
	for _, c := range ways() {
		t.Run(c.String(), func(t *testing.T) {
			var digest population.Digest
			for _, o := range []Options{{}, {Item: func(it Item) error { digest.Add(it); return nil }}} {
				a, v, p := c.prepare(t, base)
				pair := newPair(t, a, uncut)
				defer pair.wait()
				o.Have = c.options(25).Have
				r, err := v.Fetch(bounded(t), pair.client, p, o)
				if err != nil {
					t.Fatal(err)
				}
				if o.Item != nil && digest.Count() != r.Items {
					t.Errorf("saw %d of %d items", digest.Count(), r.Items)
				}
				if r.Items == 25 && o.Item != nil && digest != people.Expected(0) {
					t.Error("other items than the roster has")
				}
			}
		})
	}
}

// TestItemError checks that a caller's error ends a retrieval and not the stream.
func TestItemError(t *testing.T) {
	stop := errors.New("enough")
	for _, c := range ways() {
		if c.params["state"] == "unchanged" {
			continue // there are no items
		}
		t.Run(c.String(), func(t *testing.T) {
			a, v, p := c.prepare(t, PopulationBase(contacts(t, 25, 0), 0))
			pair := newPair(t, a, uncut)
			defer pair.wait()
			o := c.options(25)
			o.Item = func(Item) error { return stop }
			if _, err := v.Fetch(bounded(t), pair.client, p, o); !errors.Is(err, stop) {
				t.Fatalf("error %v, want the caller's", err)
			}
			mono, _ := Find(nameMonolithic)
			if r, err := mono.Fetch(bounded(t), pair.client, Params{}, Options{}); err != nil || r.Items != 25 {
				t.Errorf("afterwards: %d items, %v", r.Items, err)
			}
		})
	}
}

// TestLimit ends retrievals early: those in chunks and pages with the one that brings
// enough, and the stream goes on.
func TestLimit(t *testing.T) {
	const limit = testChunk + 1
	for _, c := range ways() {
		t.Run(c.String(), func(t *testing.T) {
			a, v, p := c.prepare(t, PopulationBase(contacts(t, 10*testChunk, 0), 0))
			pair := newPair(t, a, uncut)
			defer pair.wait()
			o := c.options(10 * testChunk)
			o.Limit = limit
			r, err := v.Fetch(bounded(t), pair.client, p, o)
			if err != nil {
				t.Fatal(err)
			}
			ends := c.params["chunk"] == testChunk
			if r.Limited != ends && p.MaxBytes == 0 {
				t.Errorf("ended early: %v", r.Limited)
			}
			if ends && r.Items != 2*testChunk {
				t.Errorf("%d items", r.Items)
			}
			mono, _ := Find(nameMonolithic)
			if r, err := mono.Fetch(bounded(t), pair.client, Params{}, Options{Limit: limit}); err != nil || r.Items != 10*testChunk || r.Limited {
				t.Errorf("afterwards: %d items, %v", r.Items, err)
			}
		})
	}
}

// TestCut cuts the stream behind and inside every stanza: that is an error, and
// never a wait without end.
func TestCut(t *testing.T) {
	base := PopulationBase(contacts(t, 23, 0), 0)
	for _, c := range ways() {
		t.Run(c.String(), func(t *testing.T) {
			a, v, p := c.prepare(t, base)
			whole := newPair(t, a, uncut)
			if _, err := v.Fetch(bounded(t), whole.client, p, c.options(23)); err != nil {
				t.Fatal(err)
			}
			_, down := whole.traffic()
			whole.wait()
			for _, end := range stanzaEnds(t, down) {
				for _, cut := range []int{end - 1, end} {
					synctest.Test(t, func(t *testing.T) {
						a, v, p := c.prepare(t, base)
						pair := newPair(t, a, cut)
						r, err := v.Fetch(bounded(t), pair.client, p, c.options(23))
						if err == nil && (cut < len(down)-1 && r.Complete.IsZero() || cut < end) && cut < len(down)-200 {
							t.Errorf("cut after %d of %d bytes: no error, %+v", cut, len(down), r)
						}
						var cutError *wire.CutError
						if err != nil && !errors.As(err, &cutError) {
							t.Errorf("cut after %d of %d bytes: %v", cut, len(down), err)
						}
						if err != nil && v.Detect(p, r, err).Verdict != Unknown {
							t.Errorf("a cut was taken for an answer: %+v", v.Detect(p, r, err))
						}
						pair.wait()
					})
				}
			}
		})
	}
}

// stanzaEnds returns the offsets behind each stanza.
func stanzaEnds(t *testing.T, b []byte) []int {
	t.Helper()
	var ends []int
	d := xml.NewDecoder(io.MultiReader(strings.NewReader("<s>"), bytes.NewReader(b), strings.NewReader("</s>")))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for {
		tok, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tok.(xml.StartElement); !ok {
			return ends
		}
		if err := d.Skip(); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(d.InputOffset())-len("<s>"))
	}
}

// TestCancel ends retrievals by their context: the server is told to stop.
func TestCancel(t *testing.T) {
	for _, c := range ways() {
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := newConn(uncut)
				defer server.Close()
				stream := wire.NewStream(client, nil, wire.StreamOptions{Opened: true})
				cl := NewClient(stream, accountJID, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- stream.Serve(ctx) }()
				_, v, p := c.prepare(t, nil)
				_, err := v.Fetch(ctx, cl, p, c.options(5)) // nobody answers
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				<-done
			})
		})
	}
}

// TestCreditTimeout lets a client never answer a chunk: after a minute the server
// ends the transfer, and the cursor that it names stays good.
func TestCreditTimeout(t *testing.T) {
	for _, delivery := range []chunk.Delivery{chunk.DeliverIQ, chunk.DeliverMessage} {
		t.Run(string(delivery), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &account{store: NewMemStore("e", PopulationBase(contacts(t, 50, 0), 0))}
				client, server := newSim()
				session := a.session(server)
				server.handle = a.serve(session, server)
				var last string
				client.handle = func(*wire.Stanza) wire.Handler {
					return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
						last = string(st.Frame)
						return nil
					}}
				}
				post := func(payload []byte) {
					if err := client.Post(wire.AppendIQ(nil, "get", client.NextID(), "", "", payload), nil); err != nil {
						t.Fatal(err)
					}
					settle(client)
				}
				req := chunk.Request{Mode: chunk.Push, MaxItems: 10, Window: 2, Delivery: delivery}
				post(append(req.Append([]byte("<query xmlns='"+wire.NSRosterX+"'>")), "</query>"...))
				if !strings.Contains(last, "seq='1'") {
					t.Fatalf("two chunks are due, the last was %s", last)
				}
				// The timer runs on a goroutine of its own, under the account's lock.
				a.lock.Lock()
				a.lock.Unlock() //nolint:staticcheck // only orders what was before the timer
				time.Sleep(chunk.CreditTimeout - time.Second)
				synctest.Wait()
				settle(client)
				if strings.Contains(last, "<aborted") {
					t.Fatal("gave up too early")
				}
				a.lock.Lock()
				a.lock.Unlock() //nolint:staticcheck // as above
				time.Sleep(2 * time.Second)
				synctest.Wait()
				settle(client)
				if !strings.Contains(last, "<aborted") || !strings.Contains(last, "<timeout/>") || strings.HasPrefix(last, "<iq") != (delivery == chunk.DeliverIQ) {
					t.Fatalf("after a minute: %s", last)
				}
				e, err := wire.ParseElement([]byte(last), wire.NSClient, nil)
				if err != nil {
					t.Fatal(err)
				}
				aborted, err := chunk.ParseAborted(e.Child(wire.NSChunk, "aborted"))
				if err != nil || aborted.Reason != "timeout" {
					t.Fatalf("%+v, %v", aborted, err)
				}
				req.After = aborted.Cursor
				post(append(req.Append([]byte("<query xmlns='"+wire.NSRosterX+"' epoch='e'>")), "</query>"...))
				if !strings.Contains(last, "<chunk ") {
					t.Errorf("the cursor was not good any more: %s", last)
				}
				session.Close()
			})
		})
	}
}
