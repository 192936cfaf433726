package roster

import (
	"fmt"

	"github.com/xmppbench/xmppbench/internal/wire"
)

const nameVersioned = "versioned"

// versioned is the whole roster unless the client's version is the server's,
// RFC 6121 §2.6, and, with diff, only what changed.
//
// On the wire: one request; an empty result when nothing changed, else the whole
// roster, as all deployed servers do; with diff an empty result and one push for
// each changed item. One round trip in every case. Complete with the end of the
// result, or with the push of the version that the client knows to be the last:
// the protocol itself does not say which one that is. Announced by <ver/>.
func versioned() Variant {
	return Variant{
		Name:    nameVersioned,
		Spec:    "RFC 6121 §2.6",
		Summary: "the whole roster, or nothing when the client's copy is current",
		Params: []Param{
			stateParam(StateUnchanged),
			changesParam(),
			{Name: paramDiff, Default: false, Server: true,
				Doc: "A stale client gets one push for each change instead of the whole roster. No deployed server does that."},
		},
		fetch: func(f *fetch, p Params) error {
			if p.State == StateCold {
				f.o.Have = Have{}
			}
			if !p.Diff {
				f.o.Have.Target = "" // an empty result is the end
			}
			return f.whole(f.o.Have.Ver, true)
		},
		Features: func(dst []byte, _ Settings) []byte {
			return append(dst, "<ver xmlns='"+wire.NSRosterVer+"'/>"...)
		},
		Serve: func(s *Server, q *wire.Element) (bool, error) {
			query := rosterQuery(q)
			ver, ok := query.LookupAttr("", "ver")
			if !ok {
				return false, nil
			}
			return true, s.serveVersioned(q, ver)
		},
		Detect: detectWhole,
		Counts: func(p Params, size Size) Counts {
			if p.State == StateUnchanged || p.Diff {
				size = p.sent(size)
			}
			c := Counts{StanzasOut: 1, StanzasIn: 1, RoundTrips: 1, ItemBytes: size.Bytes, Exact: true}
			if p.State == StateStale && p.Diff {
				// One push for each change, and an answer to each.
				c.StanzasIn += size.Items
				c.StanzasOut += size.Items
			}
			return c
		},
		Flow: func(p Params, size Size) Flow {
			switch {
			case p.State == StateUnchanged:
				return Flow{Answers: []int64{unchangedBytes}}
			case p.State == StateStale && p.Diff && size.Items > 0:
				each := size.Bytes / int64(size.Items)
				return Flow{Answers: []int64{unchangedBytes + int64(min(p.Changes, size.Items))*(each+pushEnvelope)}}
			}
			return Flow{Answers: []int64{size.Bytes}}
		},
	}
}

// stateParam says what a client holds that asks with a version.
func stateParam(fallback string) Param {
	return Param{Name: paramState, Default: fallback, Choices: []string{StateCold, StateUnchanged, StateStale},
		Doc: "What the client holds: nothing, the current roster, or an older one."}
}

func changesParam() Param {
	return Param{Name: paramChanges, Unit: "items", Default: 1, Min: 1, Max: maxItems,
		Doc: "How many changes a stale client is behind."}
}

// maxItems bounds what a setting may ask for: the largest roster that makes sense
// to simulate.
const maxItems = 10_000_000

// unchangedBytes is about what the result without a roster takes.
const unchangedBytes = 65

// pushEnvelope is about what a roster push takes around its item.
const pushEnvelope = 120

// maxDiff bounds the pushes that a stale version is answered with, so that they
// fit into the queue of a stream. Above it the full roster goes.
const maxDiff = wire.DefaultQueueBytes * 3 / 4

// serveVersioned answers a get with a version.
func (s *Server) serveVersioned(q *wire.Element, ver string) error {
	store := s.c.Store
	epoch, v, ok := ParseVer(ver)
	if !ok || epoch != store.Epoch() || v > store.Version() {
		return s.serveWhole(q)
	}
	var pushes [][]byte
	if v < store.Version() {
		if pushes, ok = s.diff(v); !ok {
			return s.serveWhole(q)
		}
	}
	s.interest(pushClassic)
	post := s.c.Stream.Post
	if err := post(emptyResult(q.Attr("id"), s.c.Full), nil); err != nil {
		return err
	}
	// All at once: were a live change to come between, the client would store its
	// version and never learn what it missed.
	for _, b := range pushes {
		if err := post(b, nil); err != nil {
			return fmt.Errorf("roster: pushes of what changed since %s: %w", ver, err)
		}
	}
	return nil
}

// diff returns a push for each change since v, in order. It reports false where
// the full roster has to go instead: when that is smaller, when the tombstones
// do not reach back to v, or when the server is one that does not do this.
func (s *Server) diff(v uint64) (pushes [][]byte, ok bool) {
	if !s.c.Diff || v < s.c.Store.Horizon() {
		return nil, false
	}
	size := 0
	for e := range s.c.Store.Changed(v) {
		b := s.appendPush(nil, e)
		size += len(b)
		pushes = append(pushes, b)
		if size > maxDiff || len(pushes) > s.c.Store.Len() {
			return nil, false
		}
	}
	return pushes, true
}
