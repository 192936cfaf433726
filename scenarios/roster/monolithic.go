package roster

import (
	"fmt"
	"math/rand/v2"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameMonolithic = "monolithic"

// monolithic is the whole roster in one stanza, RFC 6121 §2.1.3 and §2.1.4: what
// every server does, and the baseline.
//
// On the wire: one request, one result, one round trip; nothing else can reach
// the client while the result is on its way. It is complete with the end of the
// result. No stream feature announces it.
func monolithic() Variant {
	return Variant{
		Name:    nameMonolithic,
		Spec:    "RFC 6121 §2.1.3",
		Summary: "the whole roster in one stanza",
		fetch:   func(f *fetch, _ Params) error { return f.whole("", false) },
		Serve: func(s *Server, q *wire.Element) (bool, error) {
			if rosterQuery(q) == nil {
				return false, nil
			}
			return true, s.serveWhole(q)
		},
		Detect: detectWhole,
		Counts: func(_ Params, size Size) Counts {
			return Counts{StanzasOut: 1, StanzasIn: 1, RoundTrips: 1, ItemBytes: size.Bytes, Exact: true}
		},
		Flow: func(_ Params, size Size) Flow { return Flow{Answers: []int64{size.Bytes}} },
	}
}

// serveWhole answers with the full roster.
func (s *Server) serveWhole(q *wire.Element) error {
	s.interest(pushClassic)
	w := whole{s: s, id: q.Attr("id"), version: s.c.Store.Version()}
	return s.c.Stream.PostPieces(w.next, nil)
}

// whole writes a full roster piece by piece.
//
// The roster may change between two pieces. That does no harm: a piece shows
// items as they are when it is made, whoever is passed or left out is told of by
// a push, and pushes come after the result, in order. The version is that of the
// beginning, so that a client that is cut off in between is told again.
type whole struct {
	s        *Server
	id       string
	version  uint64
	begun    bool
	last     string   // last key written
	keys     []string // what is left, if shuffled
	shuffled bool
}

// pieceBytes is the size of a piece. Items that do not fit wait for the next,
// unless they are larger than a piece.
const pieceBytes = wire.DefaultPiece

func (w *whole) next(dst []byte) (b []byte, more bool) {
	w.s.c.Lock.Lock()
	defer w.s.c.Lock.Unlock()
	from := len(dst)
	if !w.begun {
		dst = wire.AppendIQStart(dst, "result", w.id, "", w.s.c.Full)
		dst = w.s.appendQuery(dst, w.version)
		w.begun = true
		if w.s.c.Shuffled {
			w.shuffle() // only now: rosters that wait to be written hold no keys
		}
	}
	room := func(size int) bool { return len(dst)-from <= pieceBytes || size == from }
	if w.shuffled {
		for len(w.keys) > 0 {
			size := len(dst)
			dst = w.appendKey(dst, w.keys[0])
			if !room(size) {
				return dst[:size], true
			}
			w.keys = w.keys[1:]
		}
	} else {
		store := w.s.c.Store
		for e := range store.Items(store.Position(w.last)) {
			size := len(dst)
			dst = population.AppendItem(dst, e.Item)
			if !room(size) {
				return dst[:size], true
			}
			w.last = e.JID
		}
	}
	dst = append(dst, "</query>"...)
	return wire.AppendIQEnd(dst), false
}

// appendKey appends the item of a key, unless it is gone by now.
func (w *whole) appendKey(dst []byte, key string) []byte {
	n := w.s.c.Store.Position(key)
	for e := range w.s.c.Store.Items(n - 1) {
		if e.JID == key {
			dst = population.AppendItem(dst, e.Item)
		}
		break
	}
	return dst
}

// shuffle takes down the keys in an order that depends on the account alone.
func (w *whole) shuffle() {
	w.shuffled = true
	for e := range w.s.c.Store.Items(0) {
		w.keys = append(w.keys, e.JID)
	}
	var seed uint64
	for _, c := range []byte(w.s.c.Account) {
		seed = seed*0x100000001b3 ^ uint64(c)
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(w.keys)))) // #nosec G404 -- seeded on purpose
	random.Shuffle(len(w.keys), func(i, j int) {
		w.keys[i], w.keys[j] = w.keys[j], w.keys[i]
	})
}

// diffState is what a client waits for after an empty result: the push of the
// version that it knows to be the last.
type diffState struct {
	target string
}

// whole asks for a whole roster: without a version, or with one, which may be the
// empty string.
func (f *fetch) whole(ver string, versioned bool) error {
	b := []byte("<query xmlns='" + wire.NSRoster + "'")
	if versioned {
		b = wire.AppendAttr(b, "ver", ver)
	}
	_, err := f.ask(request{
		payload: append(b, "/>"...),
		watch:   itemsCounted(),
		piece:   f.wanted(),
		done:    func(st *wire.Stanza) error { return f.wholeAnswered(st, ver) },
	})
	return err
}

func (f *fetch) wholeAnswered(st *wire.Stanza, ver string) error {
	if st.Child == nil {
		if ver == "" {
			return fmt.Errorf("empty result to a client that has no roster yet (RFC 6121 §2.6.3)")
		}
		f.r.Mode, f.r.Ver = modeNone, ver
		if f.o.Have.Target != "" && !reached(ver, f.o.Have.Target) {
			f.r.Mode = modeDelta
			f.diff.target = f.o.Have.Target
			return nil
		}
		f.complete(st.End)
		return nil
	}
	if err := isQuery(st.Child); err != nil {
		return err
	}
	f.r.Mode, f.r.Items, f.r.Ver = modeFull, st.Elements, wire.AttrString(st.Child, "ver")
	f.complete(st.End)
	return nil
}

// isQuery checks that a result holds a roster.
func isQuery(tag []byte) error {
	if ns, ok := wire.Attr(tag, "xmlns"); string(wire.LocalName(tag)) != "query" || ok && string(ns) != wire.NSRoster {
		return fmt.Errorf("result holds %s instead of a roster", tag)
	}
	return nil
}

// pushed takes a push that came while the retrieval was under way.
func (f *fetch) pushed(st *wire.Stanza, answer int) error {
	if f.diff.target == "" || string(wire.TagName(st.Child)) != "query" {
		return nil
	}
	f.received(st)
	f.r.StanzasOut++
	f.r.BytesOut += int64(answer)
	err := f.item.eachItem(st.Frame, 3, func() error {
		if f.r.First.IsZero() {
			f.r.First = st.End
		}
		f.r.Items++
		if f.item.gone {
			f.r.Items--
			f.r.Gone++
		}
		return f.see()
	})
	if err != nil {
		return err
	}
	if f.r.Ver = wire.AttrString(st.Child, "ver"); reached(f.r.Ver, f.diff.target) {
		f.complete(st.End)
	}
	return nil
}

// reached reports whether a client that has applied ver has everything up to
// target. Strings of other servers can only be compared for equality.
func reached(ver, target string) bool {
	if ver == target {
		return true
	}
	epoch, v, ok := ParseVer(ver)
	targetEpoch, t, okTarget := ParseVer(target)
	return ok && okTarget && epoch == targetEpoch && v >= t
}

// detectWhole tells what a server did with a request for a whole roster.
func detectWhole(p Params, r Result, err error) Answer {
	switch {
	case err != nil:
		return failed(err)
	case p.State != "" && r.Mode == modeFull && r.Ver == "":
		return Answer{Ignored, "the result carries no version"}
	case p.State == StateUnchanged && r.Mode == modeFull:
		return Answer{Ignored, "the whole roster came although nothing had changed"}
	case p.Diff && p.State == StateStale && r.Mode == modeFull:
		return Answer{Ignored, "the whole roster came instead of what had changed"}
	}
	return Answer{Verdict: Spoken}
}

// failed is the answer of a server that did not serve a retrieval.
func failed(err error) Answer {
	if e := refusal(err); e != nil {
		return Answer{Refused, e.Error()}
	}
	return Answer{Verdict: Unknown, Reason: err.Error()}
}
