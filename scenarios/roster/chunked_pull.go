package roster

import (
	"fmt"
	"slices"

	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameChunkedPull = "chunked-pull"

// chunkedPull is the roster in pages that the client asks for: the chunked
// protocol of this project, mode pull.
//
// On the wire: ceil(N/k) requests and as many results of k items each. With a
// window of 1 that is as many round trips. With a larger one each page names the
// boundaries of those that follow, and the client keeps that many requests in
// flight; pages are ranges of keys, not positions, so that changes between the
// requests lose nothing. Complete when every range is answered and one answer was
// marked as the last. It resumes after a cut like push does.
func chunkedPull() Variant {
	return Variant{
		Name:    nameChunkedPull,
		Spec:    "experimental: " + wire.NSRosterX + ", " + wire.NSChunk,
		Summary: "the roster in pages, asked for one by one or pipelined",
		Params: []Param{
			chunkParam(),
			maxBytesParam(),
			stateParam(StateCold),
			changesParam(),
			{Name: paramWindow, Unit: "requests", Default: 1, Min: 1, Max: 64,
				Doc: "How many requests are in flight."},
		},
		fetch: func(f *fetch, p Params) error {
			return f.pull(chunk.Request{Mode: chunk.Pull, MaxItems: p.Chunk, MaxBytes: p.MaxBytes, Window: p.Window})
		},
		Features: chunkedFeature,
		Serve: func(s *Server, q *wire.Element) (bool, error) {
			query, req, err := chunkedQuery(q, chunk.Pull)
			if query == nil || err != nil {
				return query != nil, err
			}
			return true, s.servePull(q, query, req.Lower(s.c.Limits))
		},
		Detect: detectChunked,
		Counts: func(p Params, size Size) Counts {
			n, exact := p.chunks(size)
			c := Counts{StanzasOut: max(1, n), StanzasIn: max(1, n), Chunks: n, RoundTrips: 1, ItemBytes: p.sent(size).Bytes + p.versions(size), Exact: exact}
			if n > 1 {
				c.RoundTrips = 2 + (n-2)/p.Window
			}
			return c
		},
		Flow: func(p Params, size Size) Flow {
			n, _ := p.chunks(size)
			return Flow{Answers: alike(p.wireBytes(size, n), max(1, n)), Lead: 1, Window: p.Window}
		},
	}
}

// servePull answers one request for a page.
func (s *Server) servePull(q, query *wire.Element, req chunk.Request) error {
	r, mode, err := s.accept(query, req)
	if err != nil {
		return err
	}
	if mode == modeNone {
		return s.answerNone(q)
	}
	store := s.c.Store
	head := wire.AppendIQStart(nil, "result", q.Attr("id"), "", s.c.Full)
	head = append(s.appendChunkedQuery(head, mode), '>')
	const tail = "</query></iq>"

	page := chunk.Page{Count: store.Len()}
	envelope := len(head) + len(page.Append(nil)) + len(" cursor=''") + len(itemsStart) + len(itemsEnd) + len(tail)
	room := req.MaxBytes - envelope - min((req.Window-1)*aheadBytes, req.MaxBytes/4)
	most := req.MaxItems
	known := req.After != "" && s.stride.items == req.MaxItems && s.stride.bytes == req.MaxBytes
	if req.Window > 1 && known {
		most = s.stride.n
	}
	items, n, done := r.build(nil, store, most, room)
	page.Cursor = r.String()
	if r.until != "" && done {
		page.Cursor = req.Until // as the client knows it
	}
	var complete []byte
	if done && r.until == "" {
		complete = s.appendComplete(nil)
		page.Last = n == 0 || envelope+len(page.Cursor)+len(items)+len(lastAttr)+len(complete) <= req.MaxBytes
	}
	if req.Window > 1 && !page.Last {
		if !known {
			s.stride = newStride(req, room, len(items), n)
		}
		left := req.MaxBytes - envelope - len(page.Cursor) - len(items) - len(" ahead=''")
		page.Ahead = fitting(r.boundaries(store, s.stride.n, req.Window-1), left)
	}
	b := appendItems(head, items)
	b = page.Append(b)
	if page.Last {
		b = append(b, complete...)
	}
	return s.c.Stream.Post(append(b, tail...), nil)
}

// aheadBytes is what is set aside for each boundary ahead.
const aheadBytes = 48

// fitting returns the first of the cursors, as many as fit with their spaces.
func fitting(cursors []string, room int) []string {
	for n, c := range cursors {
		if room -= len(c) + 1; room < 0 {
			return cursors[:n]
		}
	}
	return cursors
}

// stride is how many items the pages of a pipelined pull hold. It is found with
// the first page and kept, so that boundaries named with one page are those named
// with the next and ranges do not overlap.
type stride struct {
	items, bytes int // limits for which it was found
	n            int
}

// newStride guesses from a page of n items in size bytes: less than what would
// just fit, so that ranges with larger items do not need a second request each.
func newStride(req chunk.Request, room, size, n int) stride {
	st := stride{items: req.MaxItems, bytes: req.MaxBytes, n: req.MaxItems}
	if n > 0 {
		if fit := room * n / max(1, size); fit < st.n {
			st.n = max(1, fit-fit/8)
		}
	}
	return st
}

// pullState is the client's side of a pull.
type pullState struct {
	req    chunk.Request
	spans  []*span // not completely answered, in the order of keys
	flight []*span // asked, in the order of requests
	rests  []*span // not asked again yet, after a short answer
	ahead  []string
	tail   string // cursor up to which spans were made
	last   bool   // the answer marked as the last came
}

// span is a range of keys, from after up to until. An open one ends where its
// page does.
type span struct {
	after, until string
	id           string
	depth        int
}

// pull asks for the first page; each answer leads to the next requests.
func (f *fetch) pull(req chunk.Request) error {
	f.pulling = pullState{req: req, tail: f.o.Resume.Cursor}
	f.restart = func() error { return f.pull(req) }
	return f.more(f.depth)
}

// more sends the requests that the window admits: first for what answers were
// short of, then for the ranges known, then for whatever comes after these.
func (f *fetch) more(depth int) error {
	p := &f.pulling
	window := p.req.Window
	if f.r.Mode == "" {
		window = 1 // the first answer names the boundaries
	}
	for len(p.flight) < window {
		sp := p.next()
		if sp == nil {
			return nil
		}
		sp.depth = depth
		p.flight = append(p.flight, sp)
		req := p.req
		req.After, req.Until = sp.after, sp.until
		var err error
		if sp.id, err = f.ask(request{payload: f.chunkedQuery(req), resumes: req.After != "", watch: itemsFramed(), done: f.paged}); err != nil {
			return err
		}
	}
	return nil
}

// next returns the span to ask for, or nil.
func (p *pullState) next() *span {
	if len(p.rests) > 0 {
		sp := p.rests[0]
		p.rests = p.rests[1:]
		return sp
	}
	sp := &span{after: p.tail}
	switch {
	case len(p.ahead) > 0:
		sp.until = p.ahead[0]
		p.tail, p.ahead = p.ahead[0], p.ahead[1:]
	case p.last || p.open() != nil:
		return nil
	}
	p.spans = append(p.spans, sp)
	return sp
}

// open returns the span without an end, or nil.
func (p *pullState) open() *span {
	if n := len(p.spans); n > 0 && p.spans[n-1].until == "" {
		return p.spans[n-1]
	}
	return nil
}

// took books the answer to a span. A page that ended elsewhere than the span
// leaves a rest: the range has grown meanwhile, or its end was only learned after
// it was asked for.
func (p *pullState) took(sp *span, page chunk.Page) error {
	i := slices.Index(p.spans, sp)
	switch {
	case page.Last:
		p.last, p.ahead = true, nil
	case page.Cursor == sp.after:
		return fmt.Errorf("page without progress behind cursor %q", page.Cursor)
	case sp.until == "":
		p.tail, p.ahead = page.Cursor, page.Ahead
	default:
		p.learn(append([]string{page.Cursor}, page.Ahead...))
		if page.Cursor != sp.until {
			rest := &span{after: page.Cursor, until: sp.until}
			p.spans[i] = rest
			p.rests = append(p.rests, rest)
			return nil
		}
	}
	p.spans = slices.Delete(p.spans, i, i+1)
	return nil
}

// learn takes boundaries beyond those known already. One that lies behind the
// open span becomes its end, so that what follows can be asked for at once.
func (p *pullState) learn(boundaries []string) {
	open := p.open()
	known := p.tail
	if n := len(p.ahead); n > 0 {
		known = p.ahead[n-1]
	}
	if open != nil {
		known = open.after
	}
	i := slices.Index(boundaries, known)
	if i < 0 || i+1 == len(boundaries) {
		return
	}
	boundaries = boundaries[i+1:]
	if open != nil {
		open.until, p.tail = boundaries[0], boundaries[0]
		boundaries = boundaries[1:]
	}
	p.ahead = append(p.ahead, boundaries...)
}

// resume returns the cursor behind which something is missing.
func (p *pullState) resume() string {
	if len(p.spans) > 0 {
		return p.spans[0].after
	}
	return p.tail
}

// paged takes a page.
func (f *fetch) paged(st *wire.Stanza) error {
	p := &f.pulling
	query := st.Child
	if ns, ok := wire.Attr(query, "xmlns"); !ok || string(ns) != wire.NSRosterX {
		return fmt.Errorf("result without a query of %s", wire.NSRosterX)
	}
	sp := p.flight[0]
	if sp.id != st.ID() {
		return fmt.Errorf("answers came out of order")
	}
	p.flight = p.flight[1:]
	f.depth = max(f.depth, sp.depth)
	if f.r.Mode == "" {
		if err := f.mode(wire.AttrString(query, "mode"), wire.AttrString(query, "epoch"), wire.AttrString(query, "ver")); err != nil {
			return err
		}
		if f.r.Mode == modeNone {
			f.completeAt(f.r.Epoch, f.r.Version, st.End)
			return nil
		}
	} else if epoch := wire.AttrString(query, "epoch"); epoch != f.r.Epoch {
		return fmt.Errorf("epoch changed from %q to %q between two pages", f.r.Epoch, epoch)
	}
	tag := lastTag(st.Frame, "<page ", wire.NSChunk)
	if tag == nil {
		return fmt.Errorf("result without a page of %s", wire.NSChunk)
	}
	page, err := chunk.ParsePage(tag, p.req.Window)
	if err != nil {
		return err
	}
	f.r.Chunks++
	if err := f.items(st); err != nil {
		return err
	}
	if err := p.took(sp, page); err != nil {
		return err
	}
	if page.Last {
		if err := f.ending(st); err != nil {
			return err
		}
	}
	if p.last && len(p.spans) == 0 {
		f.completeAt(f.r.Epoch, f.r.Version, st.End)
		return nil
	}
	if f.limited() {
		f.complete(st.End)
		return nil
	}
	f.r.Resume = Resume{f.r.Epoch, p.resume()}
	return f.more(sp.depth + 1)
}
