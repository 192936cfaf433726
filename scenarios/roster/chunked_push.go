package roster

import (
	"fmt"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameChunkedPush = "chunked-push"

// chunkedPush is the roster in chunks that the server sends under a window of
// credits: the chunked protocol of this project, mode push.
//
// On the wire: one request, its result, ceil(N/k) chunks of k items, and an
// answer to each chunk, or with delivery by message an ack for every half window
// and a result to each ack. One round trip, and one more for every time that the
// window is used up. Other stanzas pass between chunks; what may be in their way
// is at most the window. Complete with the end of the last chunk, which names the
// version. It resumes after a cut, with a cursor of either mode, and sends only
// what changed to a client that has a version.
func chunkedPush() Variant {
	return Variant{
		Name:    nameChunkedPush,
		Spec:    "experimental: " + wire.NSRosterX + ", " + wire.NSChunk,
		Summary: "the roster in chunks, pushed under a window of credits",
		Params: []Param{
			chunkParam(),
			maxBytesParam(),
			stateParam(StateCold),
			changesParam(),
			{Name: paramWindow, Unit: "chunks", Default: 8, Min: 1, Max: 64, Choices: []string{windowUnbounded},
				Doc: "How many chunks may be unanswered. Servers lower what exceeds their limit."},
			{Name: paramDelivery, Default: string(chunk.DeliverIQ), Choices: []string{string(chunk.DeliverIQ), string(chunk.DeliverMessage)},
				Doc: "Chunks come as iq, each answered, or as message, answered by cumulative acks."},
			{Name: paramInterleave, Default: true, Server: true,
				Doc: "Other stanzas pass between chunks. Off hands all chunks of the window to the write queue at once."},
		},
		fetch: func(f *fetch, p Params) error {
			return f.push(chunk.Request{Mode: chunk.Push, MaxItems: p.Chunk, MaxBytes: p.MaxBytes, Window: p.Window, Delivery: p.Delivery})
		},
		Features: chunkedFeature,
		Serve: func(s *Server, q *wire.Element) (bool, error) {
			query, req, err := chunkedQuery(q, chunk.Push)
			if query == nil || err != nil {
				return query != nil, err
			}
			return true, s.servePush(q, query, req.Lower(s.c.Limits))
		},
		Detect: detectChunked,
		Counts: func(p Params, size Size) Counts {
			n, exact := p.chunks(size)
			c := Counts{StanzasOut: 1 + n, StanzasIn: 1 + n, Chunks: n, RoundTrips: 1, ItemBytes: p.sent(size).Bytes + p.versions(size), Exact: exact}
			if n == 0 {
				return c
			}
			if p.Window != chunk.Unbounded {
				c.RoundTrips += (n - 1) / p.Window
			}
			if p.Delivery == chunk.DeliverMessage {
				acks := 0
				if p.Window != chunk.Unbounded {
					acks = (n - 1) / ((p.Window + 1) / 2)
				}
				c.StanzasOut = 1 + acks
				c.StanzasIn = 1 + n + acks
			}
			return c
		},
		Flow: func(p Params, size Size) Flow {
			n, _ := p.chunks(size)
			f := Flow{Answers: alike(p.wireBytes(size, n), max(1, n)), Passes: p.Interleave}
			if p.Window != chunk.Unbounded {
				f.Window = p.Window
			}
			return f
		},
	}
}

func chunkParam() Param {
	return Param{Name: paramChunk, Unit: "items", Default: chunk.DefaultItems, Min: 1, Max: 500,
		Doc: "How many items a chunk or page has at most."}
}

func maxBytesParam() Param {
	return Param{Name: paramMaxBytes, Unit: "bytes", Default: chunk.DefaultBytes, Min: chunk.MinBytes, Max: 65536,
		Doc: "How large the stanza of a chunk or page is at most. Whichever of the two limits is met first ends it."}
}

// chunkedFeature announces the chunked protocol. It stands once, for push and
// pull together.
func chunkedFeature(dst []byte, s Settings) []byte {
	l := s.Limits.WithDefaults()
	dst = append(dst, "<roster xmlns='"+wire.NSRosterX+"'><limits"...)
	dst = wire.AppendAttr(dst, "max-items", strconv.Itoa(l.MaxItems))
	dst = wire.AppendAttr(dst, "max-bytes", strconv.Itoa(l.MaxBytes))
	dst = wire.AppendAttr(dst, "max-window", strconv.Itoa(l.MaxWindow))
	dst = append(dst, "/>"...)
	if s.offers(nameChunkedPush) {
		dst = append(dst, "<push/>"...)
	}
	if s.offers(nameChunkedPull) {
		dst = append(dst, "<pull/>"...)
	}
	return append(dst, "<delta/></roster>"...)
}

// servePush answers a push request.
func (s *Server) servePush(q, query *wire.Element, req chunk.Request) error {
	if len(s.transfers) >= chunk.MaxSIDs {
		return chunk.TooManySIDs()
	}
	r, mode, err := s.accept(query, req)
	if err != nil {
		return err
	}
	if mode == modeNone {
		return s.answerNone(q)
	}
	return s.start(q, req, r, mode)
}

// pushState is the client's side of a push.
type pushState struct {
	sid      string
	req      chunk.Request
	receiver chunk.Receiver
	controls int // not yet answered
	depth    int // round trips up to the first chunk
}

// push asks for a push and takes the chunks.
func (f *fetch) push(req chunk.Request) error {
	req.After = f.o.Resume.Cursor
	f.pushing.req, f.pushing.depth = req, f.depth
	f.restart = func() error { return f.push(req) }
	_, err := f.ask(request{payload: f.chunkedQuery(req), resumes: req.After != "", watch: wire.Watch{Mode: wire.Frame}, done: f.started})
	return err
}

// started takes the answer: a transfer, or that there is nothing to send.
func (f *fetch) started(st *wire.Stanza) error {
	e, err := parse(st)
	if err != nil {
		return err
	}
	query := e.Child(wire.NSRosterX, "query")
	if query == nil {
		return fmt.Errorf("result without a query of %s", wire.NSRosterX)
	}
	if err := f.mode(query.Attr("mode"), query.Attr("epoch"), query.Attr("ver")); err != nil {
		return err
	}
	if f.r.Mode == modeNone {
		f.completeAt(f.r.Epoch, f.r.Version, st.End)
		return nil
	}
	started, err := chunk.ParseStarted(query.Child(wire.NSChunk, "started"), f.pushing.req)
	if err != nil {
		return err
	}
	f.pushing.sid = started.SID
	f.pushing.receiver = chunk.NewReceiver(started, f.pushing.req.Delivery)
	f.r.MaxItems, f.r.MaxBytes, f.r.Window = started.MaxItems, started.MaxBytes, started.Window
	return nil
}

// takeChunk hands a chunk to its retrieval and answers it.
func (c *Client) takeChunk(st *wire.Stanza) error {
	if ok, err := c.own(st); !ok {
		return err
	}
	ch, err := chunk.ParseChunk(st.Child)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.transfer(ch.SID)
	iq := string(st.Name()) == "iq"
	if f == nil {
		if !iq {
			return nil
		}
		return c.stream.Post(wire.AppendStanzaError(nil, st.Tag, chunk.UnknownSID()), nil)
	}
	f.received(st)
	if iq { // the credit, even for a chunk that turns out wrong: every request is answered
		if err := f.send(answer(st)); err != nil {
			return err
		}
	}
	if err := f.chunk(st, ch); err != nil {
		if !ch.Last {
			f.stop()
		}
		f.finish(err)
	}
	return nil
}

// transfer returns the retrieval with this sid, or nil.
func (c *Client) transfer(sid string) *fetch {
	for _, f := range c.active {
		if f.pushing.sid == sid {
			return f
		}
	}
	return nil
}

// chunk takes one chunk.
func (f *fetch) chunk(st *wire.Stanza, ch chunk.Chunk) error {
	if err := f.pushing.receiver.Accept(ch); err != nil {
		return err
	}
	f.r.Chunks++
	if w := f.r.Window; w > 0 {
		f.depth = f.pushing.depth + ch.Seq/w
	}
	if err := f.items(st); err != nil {
		return err
	}
	f.r.Resume = Resume{f.r.Epoch, ch.Cursor}
	if ch.Last {
		if err := f.ending(st); err != nil {
			return err
		}
		f.completeAt(f.r.Epoch, f.r.Version, st.End)
		return nil
	}
	if f.limited() {
		f.stop()
		f.complete(st.End)
		return nil
	}
	if seq, due := f.pushing.receiver.AckDue(); due {
		return f.control(chunk.Control{Name: "ack", SID: ch.SID, Seq: seq})
	}
	return nil
}

// control sends a control of the transfer. Its answer counts, and the retrieval
// waits for it; that it may be an error is only news of a transfer that is over.
func (f *fetch) control(c chunk.Control) error {
	id := f.c.stream.NextID()
	b := wire.AppendIQ(nil, "set", id, "", "", c.Append(nil))
	f.pushing.controls++
	f.c.stream.Expect(id, wire.Handler{Done: func(st *wire.Stanza) error {
		f.c.mu.Lock()
		defer f.c.mu.Unlock()
		f.pushing.controls--
		f.r.StanzasIn++
		f.r.BytesIn += st.Size
		if !f.r.Complete.IsZero() {
			f.complete(f.r.Complete)
		}
		return nil
	}})
	return f.send(b)
}

// stop tells the server to stop a transfer. That the stream is over, or too full
// to say so, changes nothing.
func (f *fetch) stop() {
	_ = f.control(chunk.Control{Name: "stop", SID: f.pushing.sid})
	f.pushing.sid = ""
}

// takeAborted takes the server's end of a transfer.
func (c *Client) takeAborted(st *wire.Stanza) error {
	if ok, err := c.own(st); !ok {
		return err
	}
	e, err := parse(st)
	if err != nil {
		return err
	}
	aborted, err := chunk.ParseAborted(e.Child(wire.NSChunk, "aborted"))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.transfer(aborted.SID); f != nil {
		f.pushing.sid = ""
		f.received(st)
		f.finish(&chunk.AbortedError{Aborted: aborted})
	}
	if string(st.Name()) == "iq" {
		return c.stream.Post(answer(st), nil)
	}
	return nil
}
