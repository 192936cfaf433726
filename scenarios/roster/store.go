package roster

import (
	"iter"

	"github.com/xmppbench/xmppbench/internal/population"
)

// Item is what a roster holds about one contact (RFC 6121 §2.1.2).
type Item = population.Item

// Entry is the state of one JID of a roster: an item, or the tombstone of one
// that was removed.
type Entry struct {
	// JID is the normalised bare JID, the key of the entry. Keys are ordered by
	// their bytes.
	JID string
	// V is the version of the roster at the last change of this entry.
	V uint64
	// Gone says that the item was removed: a tombstone.
	Gone bool
	// Item is the item, with the same JID. It is zero if Gone.
	Item Item
}

// Store is the roster of one account as the server halves read it. It is not
// safe for concurrent use: whoever calls holds the account's lock. Sequences are
// consumed before the lock is released and the store is not changed meanwhile.
type Store interface {
	// Epoch names the numbering of the versions. It changes only when that
	// restarts, for example after a restore from a backup.
	Epoch() string
	// Version is the version of the roster: the number of changes of this epoch.
	Version() uint64
	// Horizon is the version down to which the tombstones are complete: every
	// removal of a later version has one.
	Horizon() uint64
	// Len is the number of items.
	Len() int
	// Position returns the number of items whose key is not greater than key.
	Position(key string) int
	// Items yields the items in key order from position n (0 is the first) on.
	Items(n int) iter.Seq[Entry]
	// After yields, in key order, the entries, tombstones included, with a key
	// greater than key and a version greater than v.
	After(key string, v uint64) iter.Seq[Entry]
	// Changed yields the entries, tombstones included, with a version greater
	// than v, in order of version.
	Changed(v uint64) iter.Seq[Entry]
	// Hold keeps Horizon from moving past v until release is called, which may
	// be done once, with the account's lock held.
	Hold(v uint64) (release func())
}

// Base is a roster that nobody has changed: a function, not memory. Its items
// are in key order.
type Base interface {
	// Len is the number of items.
	Len() int
	// Item returns item n, from 0 to Len()-1.
	Item(n int) Item
	// Search returns the position of the first item whose JID is not smaller
	// than jid, and whether it is that of jid.
	Search(jid string) (n int, found bool)
}

// PopulationBase returns the roster of member i of p.
func PopulationBase(p *population.Population, i int) Base { return populationBase{p, i} }

type populationBase struct {
	p *population.Population
	i int
}

func (b populationBase) Len() int                      { return b.p.Len(b.i) }
func (b populationBase) Item(n int) Item               { return b.p.Item(b.i, n) }
func (b populationBase) Search(jid string) (int, bool) { return b.p.Search(b.i, jid) }
