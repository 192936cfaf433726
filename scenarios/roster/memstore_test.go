package roster

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// sliceBase is a base in a slice.
type sliceBase []Item

func (b sliceBase) Len() int        { return len(b) }
func (b sliceBase) Item(n int) Item { return b[n] }
func (b sliceBase) Search(jid string) (int, bool) {
	return slices.BinarySearchFunc(b, jid, func(it Item, jid string) int { return cmp.Compare(it.JID, jid) })
}

func key(n int) string { return fmt.Sprintf("k%02d@b.example", n) }

// model is the store as a map, to compare with.
type model struct {
	entries map[string]Entry
	horizon uint64
}

func (m *model) list(keep func(Entry) bool, order func(a, b Entry) int) []Entry {
	var l []Entry
	for _, e := range m.entries {
		if keep(e) && (!e.Gone || e.V > m.horizon) {
			l = append(l, e)
		}
	}
	slices.SortFunc(l, order)
	return l
}

func sameEntry(a, b Entry) bool {
	return a.JID == b.JID && a.V == b.V && a.Gone == b.Gone && a.Item.JID == b.Item.JID && a.Item.Name == b.Item.Name
}

func byKey(a, b Entry) int     { return cmp.Compare(a.JID, b.JID) }
func byVersion(a, b Entry) int { return cmp.Compare(a.V, b.V) }

// TestMemStore compares every read with a plain map, over random histories.
func TestMemStore(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &model{entries: map[string]Entry{}}
		var base sliceBase
		for n := range 30 {
			if r.IntN(2) == 0 {
				base = append(base, Item{JID: key(n), Subscription: "both"})
				m.entries[key(n)] = Entry{JID: key(n), V: uint64(len(base)), Item: base[len(base)-1]}
			}
		}
		s := NewMemStore("e", base)
		for range r.IntN(40) {
			jid := key(r.IntN(30))
			switch r.IntN(8) {
			case 0, 1, 2, 3:
				e, err := s.Put(Item{JID: jid, Name: fmt.Sprint(r.IntN(100)), Subscription: "none"})
				if err != nil {
					t.Fatal(err)
				}
				m.entries[jid] = e
			case 4, 5, 6:
				e, ok := s.Remove(jid)
				if old, had := m.entries[jid]; ok != (had && !old.Gone) {
					t.Fatalf("seed %d: Remove(%s) = %v", seed, jid, ok)
				}
				if ok {
					m.entries[jid] = e
				}
			case 7:
				v := uint64(r.IntN(int(s.Version()) + 1))
				s.Compact(v)
				m.horizon = max(m.horizon, v)
			}
		}
		items := m.list(func(e Entry) bool { return !e.Gone }, byKey)
		same := func(what string, got, want []Entry) {
			t.Helper()
			if !slices.EqualFunc(got, want, sameEntry) {
				t.Fatalf("seed %d: %s (-want +got):\n%s", seed, what, gocmp.Diff(want, got))
			}
		}
		if s.Len() != len(items) || s.Horizon() != m.horizon {
			t.Fatalf("seed %d: Len %d, Horizon %d; want %d, %d", seed, s.Len(), s.Horizon(), len(items), m.horizon)
		}
		for n := range len(items) + 2 {
			same(fmt.Sprintf("Items(%d)", n), slices.Collect(s.Items(n)), items[min(n, len(items)):])
		}
		for n := -1; n < 31; n++ {
			k := ""
			if n >= 0 {
				k = key(n)
			}
			at, _ := slices.BinarySearchFunc(items, k+"\x00", func(e Entry, k string) int { return cmp.Compare(e.JID, k) })
			if got := s.Position(k); got != at {
				t.Fatalf("seed %d: Position(%s) = %d, want %d", seed, k, got, at)
			}
			v := m.horizon + uint64(r.IntN(int(s.Version()-m.horizon)+1))
			same(fmt.Sprintf("After(%s, %d)", k, v), slices.Collect(s.After(k, v)),
				m.list(func(e Entry) bool { return e.JID > k && e.V > v }, byKey))
			same(fmt.Sprintf("Changed(%d)", v), slices.Collect(s.Changed(v)),
				m.list(func(e Entry) bool { return e.V > v }, byVersion))
			if it, ok := s.Get(k); ok != (m.entries[k].JID != "" && !m.entries[k].Gone) || ok && it.JID != k {
				t.Fatalf("seed %d: Get(%s) = %v, %v", seed, k, it, ok)
			}
		}
	}
}

func TestMemStoreHold(t *testing.T) {
	s := NewMemStore("e", nil)
	for n := range 5 {
		if _, err := s.Put(Item{JID: key(n)}); err != nil {
			t.Fatal(err)
		}
	}
	release := s.Hold(2)
	s.Compact(4)
	if s.Horizon() != 2 {
		t.Errorf("held at 2, horizon is %d", s.Horizon())
	}
	release()
	release()
	s.Compact(9)
	if s.Horizon() != 5 {
		t.Errorf("horizon %d, want the version 5", s.Horizon())
	}
	if _, err := s.Put(Item{JID: string(make([]byte, 300))}); err == nil {
		t.Error("a key longer than any cursor was taken")
	}
}
