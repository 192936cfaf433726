package roster

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/xmppbench/xmppbench/internal/chunk"
)

// MemStore is the Store in memory: a base, and over it the entries changed since.
// Item n of the base has version n+1, as if the roster had been built in key
// order, so that a client that holds version Len()-d is d changes behind and no
// memory is spent on it. Whoever calls holds the account's lock.
type MemStore struct {
	epoch   string
	base    Base
	n       int // items of the base
	version uint64
	horizon uint64
	holds   []uint64

	byKey     []*overlay
	byVersion []*overlay
	live      int // items among the overlay
	hidden    int // items of the base that the overlay stands for
}

// overlay is an entry that was changed since the base.
type overlay struct {
	Entry
	at     int  // position in the base of the first item with a key not smaller
	inBase bool // the base has the key: the entry hides it, even when compacted
}

// NewMemStore returns the store of a roster that begins as base; nil is empty.
func NewMemStore(epoch string, base Base) *MemStore {
	s := &MemStore{epoch: epoch, base: base}
	if base != nil {
		s.n = base.Len()
		s.version = uint64(s.n) // #nosec G115 -- a length
	}
	return s
}

// Epoch implements Store.
func (s *MemStore) Epoch() string { return s.epoch }

// Version implements Store.
func (s *MemStore) Version() uint64 { return s.version }

// Horizon implements Store.
func (s *MemStore) Horizon() uint64 { return s.horizon }

// Len implements Store.
func (s *MemStore) Len() int { return s.n - s.hidden + s.live }

// search finds key in the base.
func (s *MemStore) search(key string) (n int, found bool) {
	if s.base == nil {
		return 0, false
	}
	return s.base.Search(key)
}

// find finds key in the overlay.
func (s *MemStore) find(key string) (n int, found bool) {
	return slices.BinarySearchFunc(s.byKey, key, func(o *overlay, key string) int { return cmp.Compare(o.JID, key) })
}

// Position implements Store.
func (s *MemStore) Position(key string) int {
	n, found := s.search(key)
	if found {
		n++
	}
	for _, o := range s.byKey {
		if o.JID > key {
			break
		}
		if o.inBase {
			n--
		}
		if !o.Gone {
			n++
		}
	}
	return n
}

// Get returns the item of a JID, if the roster has one.
func (s *MemStore) Get(jid string) (Item, bool) {
	if i, found := s.find(jid); found {
		return s.byKey[i].Item, !s.byKey[i].Gone
	}
	if n, found := s.search(jid); found {
		return s.base.Item(n), true
	}
	return Item{}, false
}

// Put adds an item, or replaces the one of the same JID, and returns the entry
// that is new. JIDs are normalised bare ones of at most chunk.MaxKey bytes; the
// error says if one is longer or empty.
func (s *MemStore) Put(item Item) (Entry, error) {
	if item.JID == "" || len(item.JID) > chunk.MaxKey {
		return Entry{}, fmt.Errorf("roster: put: JID of %d bytes: want 1 to %d", len(item.JID), chunk.MaxKey)
	}
	s.version++
	return s.change(Entry{JID: item.JID, V: s.version, Item: item}), nil
}

// Remove removes the item of a JID and returns the tombstone. It reports false
// if there is no such item.
func (s *MemStore) Remove(jid string) (Entry, bool) {
	if _, ok := s.Get(jid); !ok {
		return Entry{}, false
	}
	s.version++
	return s.change(Entry{JID: jid, V: s.version, Gone: true}), true
}

func (s *MemStore) change(e Entry) Entry {
	i, found := s.find(e.JID)
	if !found {
		o := &overlay{Entry: e}
		o.at, o.inBase = s.search(e.JID)
		if o.inBase {
			s.hidden++
		}
		s.byKey = slices.Insert(s.byKey, i, o)
	} else {
		o := s.byKey[i]
		if !o.Gone {
			s.live--
		}
		if j, ok := s.findVersion(o.V); ok {
			s.byVersion = slices.Delete(s.byVersion, j, j+1)
		}
		o.Entry = e
	}
	if !e.Gone {
		s.live++
	}
	s.byVersion = append(s.byVersion, s.byKey[i])
	return e
}

// findVersion finds the first overlay entry with a version not smaller than v.
func (s *MemStore) findVersion(v uint64) (n int, found bool) {
	return slices.BinarySearchFunc(s.byVersion, v, func(o *overlay, v uint64) int { return cmp.Compare(o.V, v) })
}

// Items implements Store.
func (s *MemStore) Items(n int) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		base, passed, o := 0, 0, 0
		for ; o < len(s.byKey); o++ {
			e := s.byKey[o]
			before := passed + e.at - base // items before e
			if before >= n {
				break
			}
			passed, base = before, e.at
			if e.inBase {
				base++
			}
			if !e.Gone {
				passed++
			}
		}
		base += n - passed
		s.merge(base, o, func(e *overlay) bool { return !e.Gone }, yield)
	}
}

// After implements Store.
func (s *MemStore) After(key string, v uint64) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		base, found := s.search(key)
		if found {
			base++
		}
		o, found := s.find(key)
		if found {
			o++
		}
		s.merge(max(base, s.from(v)), o, func(e *overlay) bool { return e.V > v && (!e.Gone || e.V > s.horizon) }, yield)
	}
}

// merge yields the base from position base on and the overlay from entry o on,
// as far as want says, in key order.
func (s *MemStore) merge(base, o int, want func(*overlay) bool, yield func(Entry) bool) {
	for {
		switch {
		case o < len(s.byKey) && s.byKey[o].at <= base:
			e := s.byKey[o]
			o++
			if e.inBase && e.at == base {
				base++
			}
			if want(e) && !yield(e.Entry) {
				return
			}
		case base < s.n:
			if !yield(s.baseEntry(base)) {
				return
			}
			base++
		default:
			return
		}
	}
}

func (s *MemStore) baseEntry(n int) Entry {
	item := s.base.Item(n)
	return Entry{JID: item.JID, V: uint64(n) + 1, Item: item} // #nosec G115 -- n is an index
}

// from returns the position from which on items of the base are new to v.
func (s *MemStore) from(v uint64) int {
	return int(min(v, uint64(s.n))) // #nosec G115 -- no more than the length
}

// Changed implements Store.
func (s *MemStore) Changed(v uint64) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if from := s.from(v); from < s.n {
			o, _ := slices.BinarySearchFunc(s.byKey, from, func(o *overlay, n int) int { return cmp.Compare(o.at, n) })
			for n := from; n < s.n; n++ {
				for o < len(s.byKey) && (s.byKey[o].at < n || s.byKey[o].at == n && !s.byKey[o].inBase) {
					o++
				}
				if o < len(s.byKey) && s.byKey[o].at == n {
					continue
				}
				if !yield(s.baseEntry(n)) {
					return
				}
			}
		}
		i, _ := s.findVersion(v + 1)
		for _, o := range s.byVersion[i:] {
			if o.Gone && o.V <= s.horizon {
				continue
			}
			if !yield(o.Entry) {
				return
			}
		}
	}
}

// Hold implements Store.
func (s *MemStore) Hold(v uint64) (release func()) {
	s.holds = append(s.holds, v)
	released := false
	return func() {
		if released {
			return
		}
		released = true
		i := slices.Index(s.holds, v)
		s.holds = slices.Delete(s.holds, i, i+1)
	}
}

// Compact moves the horizon up to v, or as far as no transfer holds it back, and
// forgets the tombstones below. Clients whose version or cursor is older get the
// full roster.
func (s *MemStore) Compact(v uint64) {
	v = min(v, s.version)
	for _, h := range s.holds {
		v = min(v, h)
	}
	if v <= s.horizon {
		return
	}
	s.horizon = v
	// A tombstone that hides an item of the base has to stay, but is not told.
	forgotten := func(o *overlay) bool { return o.Gone && o.V <= v && !o.inBase }
	s.byKey = slices.DeleteFunc(s.byKey, forgotten)
	s.byVersion = slices.DeleteFunc(s.byVersion, forgotten)
}
