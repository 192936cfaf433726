package roster

import (
	"fmt"

	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameRSMIndex = "rsm-index"

// rsmIndex is rsm by position: when the first page has told the count, the rest
// is asked for by index, several pages at a time.
//
// On the wire: as many requests and results as rsm, but only
// 1 + ceil((pages-1)/window) round trips. The price is that positions move: an
// item that is removed between two requests makes another one fall between the
// pages, and no push repairs that. It is here to be compared with.
func rsmIndex() Variant {
	return Variant{
		Name:    nameRSMIndex,
		Spec:    "XEP-0059 §2.4 on RFC 6121 §2.1.3, experimental: " + wire.NSRosterRSM,
		Summary: "the roster in pages by position, several at a time",
		Params: []Param{
			pageParam(),
			{Name: paramWindow, Unit: "requests", Default: 8, Min: 1, Max: 64, Doc: "How many requests are in flight."},
		},
		fetch:    func(f *fetch, p Params) error { return f.pages(p.Chunk, p.Window) },
		Features: rsmFeature,
		Serve:    func(s *Server, q *wire.Element) (bool, error) { return s.servePage(q, true) },
		Detect:   detectPages,
		Counts: func(p Params, size Size) Counts {
			n := pages(size.Items, p.Chunk)
			return Counts{StanzasOut: n, StanzasIn: n, Chunks: n, RoundTrips: 1 + (n-2+p.Window)/p.Window, ItemBytes: size.Bytes, Exact: true}
		},
		Flow: func(p Params, size Size) Flow {
			n := pages(size.Items, p.Chunk)
			return Flow{Answers: alike(size.Bytes+int64(n)*pageEnvelope, n), Lead: 1, Window: p.Window}
		},
	}
}

// nextByIndex asks for further pages, as many as the window admits.
func (f *fetch) nextByIndex(st *wire.Stanza, items, depth int) error {
	p := &f.paging
	if p.count < 0 {
		return fmt.Errorf("page without count: positions cannot be asked for (XEP-0059 §2.6)")
	}
	if f.r.Chunks == 1 && items < p.most {
		p.most = max(1, items) // the server's limit is lower
		p.next = p.most
	}
	if more := p.open > 0 || p.next < p.count; more && f.limited() {
		f.complete(st.End)
		return nil
	}
	for p.open < p.window && p.next < p.count {
		index := p.next
		p.next += p.most
		if err := f.askPage(fmt.Sprintf("<index>%d</index>", index), depth+1); err != nil {
			return err
		}
	}
	if p.open == 0 {
		f.complete(st.End)
	}
	return nil
}
