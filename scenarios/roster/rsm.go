package roster

import (
	"fmt"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameRSM = "rsm"

// rsm is the roster in pages of result set management, each asked for with the
// last key of the one before. No specification has that for rosters: it is a
// convention of this project on top of XEP-0059, announced by <roster-rsm/>.
//
// On the wire: ceil(N/k) requests, results and round trips. Complete with the
// page that is short, empty, or ends at the count. Changes between the pages come
// as pushes. Servers that do not know it answer with the whole roster and no
// <set/>, which counts as complete.
func rsm() Variant {
	return Variant{
		Name:     nameRSM,
		Spec:     "XEP-0059 on RFC 6121 §2.1.3, experimental: " + wire.NSRosterRSM,
		Summary:  "the roster in pages, each asked for after the one before",
		Params:   []Param{pageParam()},
		fetch:    func(f *fetch, p Params) error { return f.pages(p.Chunk, 0) },
		Features: rsmFeature,
		Serve:    func(s *Server, q *wire.Element) (bool, error) { return s.servePage(q, false) },
		Detect:   detectPages,
		Counts: func(p Params, size Size) Counts {
			n := pages(size.Items, p.Chunk)
			return Counts{StanzasOut: n, StanzasIn: n, Chunks: n, RoundTrips: n, ItemBytes: size.Bytes, Exact: true}
		},
		Flow: func(p Params, size Size) Flow {
			n := pages(size.Items, p.Chunk)
			return Flow{Answers: alike(size.Bytes+int64(n)*pageEnvelope, n), Window: 1}
		},
	}
}

func pageParam() Param {
	return Param{Name: paramChunk, Unit: "items", Default: 100, Min: 1, Max: 500,
		Doc: "How many items a page has at most."}
}

func rsmFeature(dst []byte, s Settings) []byte {
	dst = append(dst, "<roster-rsm xmlns='"+wire.NSRosterRSM+"' max='"...)
	dst = strconv.AppendInt(dst, int64(s.pageLimit()), 10)
	return append(dst, "'/>"...)
}

func (s Settings) pageLimit() int {
	if s.PageLimit == 0 {
		return 500
	}
	return s.PageLimit
}

// pageEnvelope is about what a page takes around its items.
const pageEnvelope = 260

// pages returns the number of pages of k of n items; an empty roster has one.
func pages(n, k int) int { return max(1, (n+k-1)/k) }

// servePage answers a get with <set/> (XEP-0059 §2). Positions are derived from
// keys, which are bare JIDs in byte order, so that no page asked for is ever
// unknown.
func (s *Server) servePage(q *wire.Element, byIndex bool) (bool, error) {
	query := rosterQuery(q)
	set := query.Child(wire.NSRSM, "set")
	if set == nil || byIndex != (set.Child(wire.NSRSM, "index") != nil) {
		return false, nil
	}
	store := s.c.Store
	if ver, ok := query.LookupAttr("", "ver"); ok && ver == FormatVer(store.Epoch(), store.Version()) {
		s.interest(pushClassic)
		return true, s.c.Stream.Post(emptyResult(q.Attr("id"), s.c.Full), nil)
	}
	first, most, err := s.page(set)
	if err != nil {
		return true, err
	}
	s.interest(pushClassic)

	b := wire.AppendIQStart(nil, "result", q.Attr("id"), "", s.c.Full)
	b = s.appendQuery(b, store.Version())
	n := 0
	var firstKey, lastKey string
	if most > 0 {
		for e := range store.Items(first) {
			if n == 0 {
				firstKey = e.JID
			}
			lastKey = e.JID
			b = population.AppendItem(b, e.Item)
			if n++; n == most {
				break
			}
		}
	}
	b = append(b, "<set xmlns='"+wire.NSRSM+"'>"...)
	if n > 0 {
		b = append(b, "<first index='"...)
		b = strconv.AppendInt(b, int64(first), 10)
		b = append(b, "'>"...)
		b = wire.AppendText(b, firstKey)
		b = append(b, "</first><last>"...)
		b = wire.AppendText(b, lastKey)
		b = append(b, "</last>"...)
	}
	b = append(b, "<count>"...)
	b = strconv.AppendInt(b, int64(store.Len()), 10)
	b = append(b, "</count></set></query>"...)
	return true, s.c.Stream.Post(wire.AppendIQEnd(b), nil)
}

// page returns the position of the first item asked for and how many there may
// be.
func (s *Server) page(set *wire.Element) (first, most int, err error) {
	store := s.c.Store
	bad := func(what string) (int, int, error) {
		return 0, 0, &wire.StanzaError{Type: "modify", Condition: "bad-request", Text: what + " is not a number"}
	}
	most = s.c.pageLimit()
	if e := set.Child(wire.NSRSM, "max"); e != nil {
		n, err := parseUint(e.Text())
		if err != nil {
			return bad("max")
		}
		most = int(min(n, uint64(most))) // #nosec G115 -- no more than a limit, which is above 0
	}
	after, before, index := set.Child(wire.NSRSM, "after"), set.Child(wire.NSRSM, "before"), set.Child(wire.NSRSM, "index")
	switch {
	case index != nil:
		n, err := parseUint(index.Text())
		if err != nil {
			return bad("index")
		}
		if n > uint64(store.Len()) { // #nosec G115 -- a length
			return 0, 0, &wire.StanzaError{Type: "cancel", Condition: "item-not-found"} // XEP-0059 §2.4
		}
		first = int(n) // #nosec G115 -- no more than the length
	case after != nil:
		first = store.Position(after.Text())
	case before != nil:
		end := store.Len()
		if key := before.Text(); key != "" {
			// The items before a key are those up to it, but not the key itself.
			end = store.Position(key)
			for e := range store.Items(end - 1) {
				if e.JID == key {
					end--
				}
				break
			}
		}
		first = max(0, end-most)
		most = min(most, end)
	}
	return first, most, nil
}

// pageState is the client's side of paging.
type pageState struct {
	most    int
	window  int // requests in flight by index, 0 to ask by key
	next    int // index of the next request
	count   int // as the server said
	open    int // requests not answered
	set     []byte
	ignored bool
}

// pages asks for the roster page by page: by key, or by index with this many
// requests in flight once the count is known.
func (f *fetch) pages(most, window int) error {
	f.paging = pageState{most: most, window: window, next: most, count: -1}
	return f.askPage("", 1)
}

// askPage asks for the page with this position.
func (f *fetch) askPage(position string, depth int) error {
	p := &f.paging
	b := []byte("<query xmlns='" + wire.NSRoster + "'><set xmlns='" + wire.NSRSM + "'><max>")
	b = strconv.AppendInt(b, int64(p.most), 10)
	b = append(b, "</max>"...)
	b = append(b, position...)
	b = append(b, "</set></query>"...)
	p.open++
	// A server that ignores <set/> sends the whole roster, so the page is not
	// framed but its children are looked at one by one.
	_, err := f.ask(request{
		payload: b,
		watch:   wire.Watch{Mode: wire.Count, Level: 4},
		piece:   f.pagePiece,
		done:    func(st *wire.Stanza) error { return f.pageAnswered(st, depth) },
	})
	return err
}

// pagePiece takes one child of the query of a page.
func (f *fetch) pagePiece(b []byte) error {
	if string(wire.LocalName(b)) == "set" {
		f.paging.set = append(f.paging.set[:0], b...)
		return nil
	}
	f.r.Items++
	if f.o.Digest || f.o.Item != nil {
		return f.item.eachItem(b, 1, f.see)
	}
	return nil
}

// pageAnswered goes on after a page.
func (f *fetch) pageAnswered(st *wire.Stanza, depth int) error {
	p := &f.paging
	p.open--
	f.depth = max(f.depth, depth)
	f.r.Mode = modeFull
	if st.Child == nil {
		return fmt.Errorf("empty result to a client that has no roster yet (RFC 6121 §2.6.3)")
	}
	if err := isQuery(st.Child); err != nil {
		return err
	}
	f.r.Ver = wire.AttrString(st.Child, "ver")
	f.r.Chunks++
	if len(p.set) == 0 {
		p.ignored = f.r.Chunks == 1
		f.r.Ignored = p.ignored
		f.complete(st.End) // the whole roster
		return nil
	}
	set, err := wire.ParseElement(p.set, wire.NSRSM, nil)
	p.set = p.set[:0]
	if err != nil {
		return err
	}
	items := st.Elements - 1
	if n, err := strconv.Atoi(set.Child("", "count").Text()); err == nil {
		p.count = n
	}
	first, last := set.Child("", "first"), set.Child("", "last")
	f.r.MaxItems = max(f.r.MaxItems, items)
	if p.window > 0 {
		return f.nextByIndex(st, items, depth)
	}
	end := items == 0
	if index, err := strconv.Atoi(first.Attr("index")); err == nil && p.count >= 0 {
		end = end || index+items >= p.count
	} else {
		end = end || items < p.most
	}
	if end || f.limited() {
		f.complete(st.End)
		return nil
	}
	if last.Text() == "" {
		return fmt.Errorf("page of %d items without its last (XEP-0059 §2.1)", items)
	}
	return f.askPage(string(append(wire.AppendText([]byte("<after>"), last.Text()), "</after>"...)), depth+1)
}

// detectPages tells what a server did with <set/>.
func detectPages(_ Params, r Result, err error) Answer {
	switch {
	case err != nil:
		return failed(err)
	case r.Ignored:
		return Answer{Ignored, "the whole roster came without <set/>"}
	}
	return Answer{Verdict: Spoken}
}
