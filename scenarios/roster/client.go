package roster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Client is the client half of all variants on one stream: it answers pushes and
// chunks, and runs retrievals. Its methods may be called concurrently.
type Client struct {
	stream  Stream
	account string
	others  func(head *wire.Stanza) wire.Handler
	life    life // nil: for ever

	mu     sync.Mutex // held while calling the stream, which never calls back from within
	active []*fetch
	live   *Map // what pushes are merged into, after a retrieval with a map
	pushes int
}

// life is what tells the end of a stream and its reason.
type life interface {
	Done() <-chan struct{}
	Err() error
}

// NewClient makes the client half the handler of s, whose Serve must not run
// yet. account is the client's own bare JID: pushes and chunks from anybody else
// are refused (RFC 6121 §2.1.6). others, if not nil, gets the stanzas that do not
// concern rosters; those of type set and headline messages it gets in Frame mode,
// whatever it asks for.
func NewClient(s *wire.Stream, account string, others func(head *wire.Stanza) wire.Handler) *Client {
	c := newClient(s, account, others)
	c.life = s
	s.Handle(c.Handle)
	return c
}

func newClient(s Stream, account string, others func(head *wire.Stanza) wire.Handler) *Client {
	if others == nil {
		others = func(*wire.Stanza) wire.Handler { return wire.Handler{} }
	}
	return &Client{stream: s, account: account, others: others}
}

// Pushes returns the number of pushes of live changes taken so far, those that
// came instead of a result included.
func (c *Client) Pushes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pushes
}

// Handle says what to do with a stanza. NewClient makes it the stream's handler;
// it is exported for whoever wants to wrap it.
func (c *Client) Handle(head *wire.Stanza) wire.Handler {
	switch name := head.Name(); {
	case string(name) == "iq" && head.Type() == "set", string(name) == "message" && head.Type() == "headline":
		return wire.Handler{Watch: itemsFramed(), Done: c.take}
	}
	return c.others(head)
}

// itemsCounted counts the items of a whole roster: iq, query, item.
func itemsCounted() wire.Watch { return wire.Watch{Mode: wire.Count, Name: "item", Level: 4} }

// itemsFramed keeps a chunk or page, and counts the items in it: iq, chunk or
// query, items, item.
func itemsFramed() wire.Watch { return wire.Watch{Mode: wire.Frame, Name: "item", Level: 5} }

// take dispatches a set or a headline message on its first child.
func (c *Client) take(st *wire.Stanza) error {
	tag := st.Child
	switch ns := wire.AttrString(tag, "xmlns"); string(wire.TagName(tag)) {
	case "query":
		if ns == wire.NSRoster {
			return c.takePush(st)
		}
	case "push":
		if ns == wire.NSRosterX {
			return c.takePush(st)
		}
	case "chunk":
		if ns == wire.NSChunk {
			return c.takeChunk(st)
		}
	case "aborted":
		if ns == wire.NSChunk {
			return c.takeAborted(st)
		}
	}
	if h := c.others(st); h.Done != nil {
		return h.Done(st)
	}
	return nil
}

// own reports whether a stanza may come from the account, and refuses it if not.
func (c *Client) own(st *wire.Stanza) (bool, error) {
	if from := st.From(); from == "" || from == c.account {
		return true, nil
	}
	if string(st.Name()) != "iq" {
		return false, nil
	}
	return false, c.stream.Post(wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"}), nil)
}

// answer returns the result to an iq.
func answer(st *wire.Stanza) []byte {
	return emptyResult(st.ID(), st.From())
}

// takePush applies a push, in either form, and answers it.
func (c *Client) takePush(st *wire.Stanza) error {
	if ok, err := c.own(st); !ok {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushes++
	b := answer(st)
	for _, f := range slices.Clone(c.active) { // the push may end some of them
		if err := f.pushed(st, len(b)); err != nil {
			f.finish(err)
		}
	}
	if c.live != nil && string(wire.TagName(st.Child)) == "push" {
		if err := c.merge(st); err != nil {
			return err
		}
	}
	return c.stream.Post(b, nil)
}

// merge applies a push of the chunked protocol to the map.
func (c *Client) merge(st *wire.Stanza) error {
	ver, err := parseUint(wire.AttrString(st.Child, "ver"))
	if err != nil {
		return fmt.Errorf("roster: push: ver: %w", err)
	}
	var p parsedItem
	err = p.eachItem(st.Frame, 3, func() error { return c.live.apply(&p) })
	if err != nil {
		return err
	}
	c.live.pushed(wire.AttrString(st.Child, "epoch"), ver)
	return nil
}

// fetch is one retrieval under way. All of it is guarded by the client's mutex.
type fetch struct {
	c    *Client
	o    Options
	r    Result
	err  error
	done chan struct{}
	over bool

	sent time.Time // when the request was posted, in case the answer is faster than the news of its writing
	item parsedItem
	// restart begins again without a cursor, for variants that have them.
	restart func() error
	depth   int // round trips so far
	cancel  []func()

	diff    diffState
	pushing pushState
	pulling pullState
	paging  pageState
}

// begin starts a retrieval; done is closed when it is over.
func (c *Client) begin(o Options, start func(*fetch) error) *fetch {
	f := &fetch{c: c, o: o, done: make(chan struct{}), depth: 1}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = append(c.active, f)
	if o.Map != nil {
		c.live = o.Map
	}
	if err := start(f); err != nil {
		f.finish(err)
	}
	return f
}

// fetch runs a retrieval to its end.
func (c *Client) fetch(ctx context.Context, o Options, start func(*fetch) error) (Result, error) {
	f := c.begin(o, start)
	var (
		over <-chan struct{}
		err  error
	)
	if c.life != nil {
		over = c.life.Done()
	}
	select {
	case <-f.done:
	case <-over:
		err = c.life.Err()
		if err == nil {
			err = wire.ErrClosed
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	return f.result(err)
}

// result ends the retrieval, if it has not ended by itself, and returns what it
// brought.
func (f *fetch) result(cause error) (Result, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	switch {
	case f.over:
	case !f.r.Complete.IsZero():
		f.finish(nil) // only the answer to an ack is missing
	default:
		f.abandon()
		f.finish(cause)
	}
	// On a busy machine the writer may learn that the request has gone out when the
	// answer is there already.
	if f.r.Requested.IsZero() || !f.r.Answered.IsZero() && f.r.Requested.After(f.r.Answered) {
		f.r.Requested = f.sent
	}
	if f.err != nil {
		return f.r, fmt.Errorf("roster: retrieve: %w", f.err)
	}
	return f.r, nil
}

// finish ends the retrieval.
func (f *fetch) finish(err error) {
	if f.over {
		return
	}
	f.over, f.err = true, err
	for _, cancel := range f.cancel {
		cancel()
	}
	f.c.active = slices.DeleteFunc(f.c.active, func(other *fetch) bool { return other == f })
	close(f.done)
}

// complete ends the retrieval well, once every ack is answered.
func (f *fetch) complete(at time.Time) {
	f.r.Complete = at
	f.r.RoundTrips = f.depth
	f.r.Resume = Resume{}
	if f.pushing.controls == 0 {
		f.finish(nil)
	}
}

// limited reports whether enough has come, which ends a retrieval that is not
// complete.
func (f *fetch) limited() bool {
	f.r.Limited = f.o.Limit > 0 && f.r.Items >= f.o.Limit
	return f.r.Limited
}

// abandon tells the server that nobody waits any more.
func (f *fetch) abandon() {
	if f.pushing.sid != "" {
		f.stop()
	}
}

// request is an iq of type get and what to do with its answer. The functions are
// called with the mutex held; their errors end the retrieval.
type request struct {
	payload []byte
	resumes bool // the request has a cursor
	watch   wire.Watch
	piece   func(b []byte) error        // each watched element; nil to count only
	done    func(st *wire.Stanza) error // the result
}

// ask sends a request of the retrieval. An error answer ends the retrieval.
func (f *fetch) ask(q request) (id string, err error) {
	id = f.c.stream.NextID()
	b := wire.AppendIQ(nil, "get", id, "", "", q.payload)
	h := wire.Handler{
		Watch: q.watch,
		Done: func(st *wire.Stanza) error {
			return f.guarded(func() error {
				f.received(st)
				return f.answered(st, q.resumes, q.done)
			})
		},
	}
	if q.piece != nil {
		h.Watch.Elements = true
		h.Element = func(b []byte, _ time.Time) error {
			return f.guarded(func() error { return q.piece(b) })
		}
	}
	f.cancel = append(f.cancel, f.c.stream.Expect(id, h))
	f.r.StanzasOut++
	f.r.BytesOut += int64(len(b))
	var written func()
	if f.sent.IsZero() {
		f.sent = time.Now()
		written = f.written
	}
	return id, f.c.stream.Post(b, written)
}

// guarded runs a callback of the stream with the mutex held, unless the retrieval
// is over. Its error ends the retrieval and not the stream.
func (f *fetch) guarded(do func() error) error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.over {
		return nil
	}
	if err := do(); err != nil {
		f.finish(err)
	}
	return nil
}

// wanted returns what to do with each item of an uncounted stanza, or nil.
func (f *fetch) wanted() func(b []byte) error {
	if !f.o.Digest && f.o.Item == nil {
		return nil
	}
	return func(b []byte) error { return f.item.eachItem(b, 1, f.see) }
}

// maxRestarts bounds how often a retrieval begins again, for servers that expire
// every cursor.
const maxRestarts = 8

// answered looks for an error before it hands the answer on.
func (f *fetch) answered(st *wire.Stanza, resumes bool, done func(*wire.Stanza) error) error {
	if st.Type() != "error" {
		return done(st)
	}
	e, err := parse(st)
	if err != nil {
		return err
	}
	refused := wire.ParseStanzaError(e)
	if !resumes || !isExpired(e) || f.r.Restarts == maxRestarts {
		return refused
	}
	// The server forgot what the cursor needs: begin again without it.
	for _, cancel := range f.cancel {
		cancel()
	}
	f.cancel = nil
	f.o.Resume, f.r.Resume, f.r.Mode = Resume{}, Resume{}, ""
	f.r.Restarts++
	f.depth++
	return f.restart()
}

// written notes when the request went out.
func (f *fetch) written() {
	now := time.Now()
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.r.Answered.IsZero() {
		f.r.Requested = now
	}
}

// received counts a stanza of the retrieval.
func (f *fetch) received(st *wire.Stanza) {
	f.r.StanzasIn++
	f.r.BytesIn += st.Size
	f.r.Largest = max(f.r.Largest, st.Size)
	if f.r.Answered.IsZero() {
		f.r.Answered = st.Start
	}
	if f.r.First.IsZero() && st.Elements > 0 {
		f.r.First = st.First
	}
}

// send sends a stanza of the retrieval that asks for nothing.
func (f *fetch) send(b []byte) error {
	f.r.StanzasOut++
	f.r.BytesOut += int64(len(b))
	return f.c.stream.Post(b, nil)
}

// see does with the item at hand what was asked for.
func (f *fetch) see() error {
	if f.item.gone {
		return nil
	}
	if f.o.Digest {
		f.item.digest(&f.r.Digest)
	}
	if f.o.Item != nil {
		return f.o.Item(f.item.item())
	}
	return nil
}

// items takes the items of a frame of the chunked protocol, and works on each
// only where somebody wants it.
func (f *fetch) items(st *wire.Stanza) error {
	f.r.Items += st.Elements
	if f.o.Map == nil && f.o.Item == nil && !f.o.Digest {
		f.r.Gone += gones(st.Frame)
		return nil
	}
	return f.item.eachItem(st.Frame, 4, func() error {
		if f.item.gone {
			f.r.Gone++
		}
		if f.o.Map != nil {
			if err := f.o.Map.apply(&f.item); err != nil {
				return err
			}
		}
		return f.see()
	})
}

// refusal returns the stanza error that ended a retrieval, or nil.
func refusal(err error) *wire.StanzaError {
	e, _ := errors.AsType[*wire.StanzaError](err)
	return e
}
