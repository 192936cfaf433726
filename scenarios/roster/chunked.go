package roster

import (
	"encoding/base64"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// This file is the server side that both chunked variants share: what is to be
// sent (retrieval), in which order and until when; and the transfers of push.

// retrieval is what is left to send to one client.
//
// It is consistent although the roster changes meanwhile, with no copy of it
// (rules R1 to R7 of docs/variants.md): each chunk shows the items as they are
// when it is made, every change since the request was accepted is pushed as well,
// and the client keeps what has the highest version. Two things are sent:
//
//   - first, only for a client that was away, the changes since s among the keys
//     that it has already passed, and the tombstones since s of any key: an item
//     beyond its key may have been pushed to it and removed while it was away;
//   - then everything beyond key: all items, or for a delta what changed since
//     ver, tombstones included.
type retrieval struct {
	chunk.Cursor
	catchUp bool
	until   string // last key wanted; empty for no end
}

// cursorLen returns the length of the cursor's text.
func cursorLen(c chunk.Cursor) int {
	n := 1 + uvarintLen(c.S) + len(c.Key)
	if c.Delta {
		n += uvarintLen(c.Ver)
	}
	return base64.RawURLEncoding.EncodedLen(n)
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// build appends the next entries, at most most of them and, with the text of the
// cursor behind them, at most room bytes, but always one. It moves the cursor
// behind what it appended and reports how many entries that were and whether
// nothing is left.
func (r *retrieval) build(dst []byte, store Store, most, room int) (b []byte, n int, done bool) {
	from := len(dst)
	add := func(e Entry, moved chunk.Cursor) bool {
		if n == most {
			return false
		}
		size := len(dst)
		dst = appendEntry(dst, e)
		if len(dst)-from+cursorLen(moved) > room && n > 0 {
			dst = dst[:size]
			return false
		}
		n++
		r.Cursor = moved
		return true
	}
	if r.catchUp {
		for e := range store.Changed(r.S) {
			moved := r.Cursor
			moved.S = e.V
			if !e.Gone && e.JID > r.Key {
				r.Cursor = moved // it comes with its key
				continue
			}
			if !add(e, moved) {
				return dst, n, false
			}
		}
		r.S = store.Version()
		r.catchUp = false
	}
	for e := range r.beyond(store) {
		if r.until != "" && e.JID > r.until {
			break
		}
		moved := r.Cursor
		moved.Key = e.JID
		if !add(e, moved) {
			return dst, n, false
		}
	}
	if r.until != "" {
		r.Key = r.until
	}
	return dst, n, true
}

// beyond yields what lies beyond the key.
func (r *retrieval) beyond(store Store) iter.Seq[Entry] {
	if r.Delta {
		return store.After(r.Key, r.Ver)
	}
	return store.Items(store.Position(r.Key))
}

// boundaries returns up to most cursors, each step entries further on, that have
// something behind them.
func (r *retrieval) boundaries(store Store, step, most int) []string {
	if most <= 0 || step <= 0 {
		return nil
	}
	var list []string
	at := r.Cursor
	if !r.Delta {
		first, items := store.Position(r.Key), store.Len()
		for p := first + step; p < items && len(list) < most; p += step {
			for e := range store.Items(p - 1) {
				at.Key = e.JID
				break
			}
			list = append(list, at.String())
		}
		return list
	}
	n := 0
	for e := range r.beyond(store) {
		if n == step {
			list = append(list, at.String())
			if len(list) == most {
				break
			}
			n = 0
		}
		n++
		at.Key = e.JID
	}
	return list
}

// count estimates what is left: exactly, as long as nothing changes.
func (r *retrieval) count(store Store) int {
	n := 0
	if r.catchUp {
		for e := range store.Changed(r.S) {
			if e.Gone || e.JID <= r.Key {
				n++
			}
		}
	}
	if !r.Delta {
		return n + store.Len() - store.Position(r.Key)
	}
	for range store.After(r.Key, r.Ver) {
		n++
	}
	return n
}

// base is the version from which on tombstones are needed to finish.
func (r *retrieval) base() uint64 {
	if r.Delta {
		return r.Ver
	}
	return r.S
}

// The modes of an answer, as they stand in its attribute.
const (
	modeFull   = "full"
	modeDelta  = "delta"
	modeNone   = "none"
	modeResume = "resume"
)

// chunkedQuery returns the query of a chunked retrieval in this mode and its
// request, or nil if q is something else.
func chunkedQuery(q *wire.Element, mode chunk.Mode) (query *wire.Element, req chunk.Request, err error) {
	query = q.Child(wire.NSRosterX, "query")
	if query == nil {
		return nil, req, nil
	}
	e := query.Child(wire.NSChunk, "chunked")
	if m := e.Attr("mode"); m != string(mode) && (m == string(chunk.Push) || m == string(chunk.Pull)) {
		return nil, req, nil
	}
	req, err = chunk.ParseRequest(e)
	return query, req, err
}

// accept decides what a query gets, and makes the session one that is told of
// changes.
func (s *Server) accept(query *wire.Element, req chunk.Request) (r retrieval, mode string, err error) {
	store := s.c.Store
	var ver uint64
	text, known := query.LookupAttr("", "ver")
	if known {
		if ver, err = parseUint(text); err != nil {
			return r, "", &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: "ver is not a number"}
		}
	}
	sameEpoch := query.Attr("epoch") == store.Epoch()
	if req.After != "" {
		if !sameEpoch {
			return r, "", chunk.CursorExpired()
		}
		if r, err = s.resume(req); err != nil {
			return r, "", err
		}
		s.interest(pushChunked)
		return r, modeResume, nil
	}
	s.interest(pushChunked)
	r.S = store.Version()
	switch {
	case !known || !sameEpoch || ver < store.Horizon() || ver > store.Version():
		return r, modeFull, nil
	case ver == store.Version():
		return r, modeNone, nil
	}
	r.Delta, r.Ver = true, ver
	return r, modeDelta, nil
}

// resume checks a cursor. Whether the client was away shows by the version from
// which on this session hears of every change.
func (s *Server) resume(req chunk.Request) (retrieval, error) {
	store := s.c.Store
	c, err := chunk.ParseCursor(req.After)
	if err != nil || c.S > store.Version() || c.Delta && c.Ver > c.S {
		return retrieval{}, chunk.CursorExpired()
	}
	r := retrieval{Cursor: c}
	since := store.Version()
	if s.form == pushChunked {
		since = s.since
	}
	r.catchUp = c.S < since
	// A delta always needs the tombstones since the client's version, a full
	// retrieval those of the time that the client was away.
	if c.Delta && c.Ver < store.Horizon() || r.catchUp && c.S < store.Horizon() {
		return retrieval{}, chunk.CursorExpired()
	}
	if req.Until != "" {
		u, err := chunk.ParseCursor(req.Until)
		if err != nil || u.Delta != c.Delta || u.Key == "" {
			return retrieval{}, chunk.CursorExpired()
		}
		r.until = u.Key
	}
	return r, nil
}

// appendChunkedQuery appends the start tag of an answer's query.
func (s *Server) appendChunkedQuery(dst []byte, mode string) []byte {
	dst = append(dst, "<query xmlns='"+wire.NSRosterX+"'"...)
	dst = s.appendVersion(dst, s.c.Store.Version())
	dst = append(dst, " mode='"...)
	dst = append(dst, mode...)
	return append(dst, '\'')
}

// answerNone tells a client that nothing changed.
func (s *Server) answerNone(q *wire.Element) error {
	b := wire.AppendIQStart(nil, "result", q.Attr("id"), "", s.c.Full)
	b = s.appendChunkedQuery(b, modeNone)
	b = append(b, "/>"...)
	return s.c.Stream.Post(wire.AppendIQEnd(b), nil)
}

// appendComplete appends what ends a retrieval: the version that the client has
// then. It is made under the lock, so that the pushes up to that version are
// already queued.
func (s *Server) appendComplete(dst []byte) []byte {
	dst = append(dst, "<complete xmlns='"+wire.NSRosterX+"'"...)
	dst = s.appendVersion(dst, s.c.Store.Version())
	return append(dst, "/>"...)
}

const (
	itemsStart = "<items xmlns='" + wire.NSRosterX + "'>"
	itemsEnd   = "</items>"
	noStore    = "<no-store xmlns='" + wire.NSHints + "'/>"
	lastAttr   = " last='true'"
)

// appendItems wraps items, if there are any.
func appendItems(dst, items []byte) []byte {
	if len(items) == 0 {
		return dst
	}
	dst = append(dst, itemsStart...)
	dst = append(dst, items...)
	return append(dst, itemsEnd...)
}

// transfer is one push under way.
type transfer struct {
	s       *Server
	sid     string
	req     chunk.Request
	r       retrieval
	sender  chunk.Sender
	release func()
	timer   *time.Timer
	ended   bool
	// cancel takes back that answers to chunks are expected, for clients that never
	// give them.
	cancel []func()
}

// start answers a push request and sends the first chunks.
func (s *Server) start(q *wire.Element, req chunk.Request, r retrieval, mode string) error {
	s.sids++
	t := &transfer{
		s: s, sid: "s" + strconv.Itoa(s.sids), req: req, r: r,
		sender:  chunk.NewSender(req.Window, !s.c.NoInterleave),
		release: s.c.Store.Hold(r.base()),
	}
	s.transfers = append(s.transfers, t)
	started := chunk.Started{SID: t.sid, Window: req.Window, MaxItems: req.MaxItems, MaxBytes: req.MaxBytes, Count: r.count(s.c.Store)}
	b := wire.AppendIQStart(nil, "result", q.Attr("id"), "", s.c.Full)
	b = s.appendChunkedQuery(b, mode)
	b = started.Append(append(b, '>'))
	b = append(b, "</query>"...)
	if err := s.c.Stream.Post(wire.AppendIQEnd(b), nil); err != nil {
		t.end()
		return err
	}
	return t.pump()
}

// pump posts the chunks that may go now.
func (t *transfer) pump() error {
	for !t.ended && t.sender.Ready() {
		if err := t.post(); err != nil {
			t.end()
			return err
		}
	}
	if !t.ended && t.timer == nil && t.req.Window != chunk.Unbounded {
		t.timer = time.AfterFunc(chunk.CreditTimeout, t.overdue)
	}
	return nil
}

// post builds the next chunk and queues it.
func (t *transfer) post() error {
	store, stream := t.s.c.Store, t.s.c.Stream
	id := t.id()
	c := chunk.Chunk{SID: t.sid, Seq: t.sender.Sent()}
	head := t.appendHead(nil, id)
	envelope := len(c.AppendStart(head)) - len(head) + len(" cursor=''") + len(t.appendTail(head)) + len(itemsStart) + len(itemsEnd)
	items, n, done := t.r.build(nil, store, t.req.MaxItems, t.req.MaxBytes-envelope)
	c.Cursor = t.r.String()
	var complete []byte
	if done {
		complete = t.s.appendComplete(nil)
		c.Last = n == 0 || envelope+len(c.Cursor)+len(items)+len(lastAttr)+len(complete) <= t.req.MaxBytes
	}
	b := appendItems(c.AppendStart(head), items)
	if c.Last {
		b = append(b, complete...)
	}
	b = t.appendTail(b)
	t.sender.Post(c.Last)
	if t.req.Delivery == chunk.DeliverIQ {
		if t.sender.Unanswered() == 1 {
			t.cancel = t.cancel[:0]
		}
		t.cancel = append(t.cancel, stream.Expect(id, wire.Handler{Done: t.answered}))
	}
	t.s.count("chunk.sent", 1)
	if c.Last {
		t.finish()
		return stream.Post(b, nil)
	}
	return stream.Post(b, t.written)
}

// id names the next stanza of the transfer.
func (t *transfer) id() string {
	if t.req.Delivery == chunk.DeliverMessage {
		return t.sid + "-" + strconv.Itoa(t.sender.Sent())
	}
	return t.s.c.Stream.NextID()
}

// isMessage reports whether id is that of a message of the transfer.
func (t *transfer) isMessage(id string) bool {
	return t.req.Delivery == chunk.DeliverMessage && len(id) > len(t.sid) && id[:len(t.sid)] == t.sid && id[len(t.sid)] == '-'
}

// appendHead appends the start of a stanza of the transfer.
func (t *transfer) appendHead(dst []byte, id string) []byte {
	c := &t.s.c
	if t.req.Delivery == chunk.DeliverIQ {
		return wire.AppendIQStart(dst, "set", id, c.Account, c.Full)
	}
	dst = append(dst, "<message type='headline'"...)
	dst = wire.AppendAttr(dst, "id", id)
	dst = wire.AppendAttr(dst, "from", c.Account)
	dst = wire.AppendAttr(dst, "to", c.Full)
	return append(dst, '>')
}

// appendTail appends the end of a chunk and of its stanza.
func (t *transfer) appendTail(dst []byte) []byte {
	return t.appendEnd(chunk.AppendChunkEnd(dst))
}

// appendEnd appends the end of a stanza of the transfer.
func (t *transfer) appendEnd(dst []byte) []byte {
	if t.req.Delivery == chunk.DeliverIQ {
		return wire.AppendIQEnd(dst)
	}
	return append(dst, noStore+"</message>"...)
}

// written is called by the stream when a chunk went out: the next one is queued
// only now, behind whatever else was queued meanwhile.
func (t *transfer) written() {
	t.s.c.Lock.Lock()
	defer t.s.c.Lock.Unlock()
	t.sender.Written()
	t.advance()
}

// answered is called by the stream with the client's answer to a chunk.
func (t *transfer) answered(st *wire.Stanza) error {
	t.s.c.Lock.Lock()
	defer t.s.c.Lock.Unlock()
	if st.Type() == "error" {
		t.refused()
		return nil
	}
	t.sender.Credit()
	if t.ended && t.sender.Unanswered() == 0 {
		t.forget()
	}
	t.credited()
	return nil
}

// credited goes on after an answer.
func (t *transfer) credited() {
	if t.timer != nil && !t.ended {
		t.timer.Reset(chunk.CreditTimeout)
	}
	t.advance()
}

// advance goes on where there is no caller to tell of an error.
func (t *transfer) advance() {
	if err := t.pump(); err != nil {
		t.s.fail(err)
	}
}

// refused ends the transfer after an error in answer to a chunk.
func (t *transfer) refused() {
	t.s.count("chunk.refused", 1)
	t.end()
}

// overdue ends the transfer when no credit came for too long.
func (t *transfer) overdue() {
	t.s.c.Lock.Lock()
	defer t.s.c.Lock.Unlock()
	if t.ended {
		return
	}
	id := t.id()
	b := t.appendHead(nil, id)
	b = chunk.Aborted{SID: t.sid, Cursor: t.r.String(), Reason: "timeout"}.Append(b)
	if t.req.Delivery == chunk.DeliverIQ {
		t.s.c.Stream.Expect(id, wire.Handler{Done: func(*wire.Stanza) error { return nil }})
	}
	t.s.count("chunk.aborted", 1)
	t.end()
	if err := t.s.c.Stream.Post(t.appendEnd(b), nil); err != nil {
		t.s.fail(err)
	}
}

// end forgets the transfer. Answers and callbacks that still come are ignored.
func (t *transfer) end() {
	if !t.ended {
		t.over()
		t.forget()
	}
}

// finish ends the transfer with its last chunk, whose answer and those before it
// are still to come. They are waited for until as many others have finished as a
// client may have at a time.
func (t *transfer) finish() {
	t.over()
	s := t.s
	if len(s.finished) == chunk.MaxSIDs {
		s.finished[0].forget()
		s.finished = slices.Delete(s.finished, 0, 1)
	}
	s.finished = append(s.finished, t)
}

// forget stops to expect answers.
func (t *transfer) forget() {
	for _, cancel := range t.cancel {
		cancel()
	}
	t.cancel = nil
}

// over takes the transfer off the list of those under way.
func (t *transfer) over() {
	t.ended = true
	t.release()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.s.transfers = slices.DeleteFunc(t.s.transfers, func(other *transfer) bool { return other == t })
}

// control answers an ack, a change of the window or a stop.
func (s *Server) control(q, e *wire.Element) error {
	c, err := chunk.ParseControl(e)
	if err != nil {
		return err
	}
	for _, t := range s.transfers {
		if t.sid != c.SID {
			continue
		}
		switch c.Name {
		case "ack":
			if err := t.sender.Ack(c.Seq); err != nil {
				return err
			}
		case "window":
			t.sender.Resize(min(c.Size, s.c.Limits.WithDefaults().MaxWindow))
		case "stop":
			t.end()
		}
		if err := s.c.Stream.Post(emptyResult(q.Attr("id"), s.c.Full), nil); err != nil {
			return err
		}
		if c.Name == "ack" {
			t.credited()
		} else if !t.ended {
			t.advance()
		}
		return nil
	}
	if c.Name == "ack" && slices.ContainsFunc(s.finished, func(t *transfer) bool { return t.sid == c.SID }) {
		// It crossed the last chunk.
		return s.c.Stream.Post(emptyResult(q.Attr("id"), s.c.Full), nil)
	}
	return chunk.UnknownSID()
}
