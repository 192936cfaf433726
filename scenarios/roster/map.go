package roster

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Map is a roster merged from chunks, pages and pushes by their versions, as a
// client of the chunked protocol keeps it across attempts (rules R3, R5 and R6 of
// docs/variants.md). The zero value holds nothing. It is safe for concurrent use.
type Map struct {
	mu sync.Mutex

	epoch   string
	version uint64
	known   bool

	held map[string]held
	// numbering is the epoch that the versions in held belong to.
	numbering string
	full      bool   // the retrieval under way brings everything
	running   bool   // a retrieval is under way, or was cut off
	highest   uint64 // version of the last push since it began
}

type held struct {
	v    uint64
	gone bool
	seen bool
	item Item
}

// Have returns what to ask with: the version of the last complete retrieval.
func (m *Map) Have() Have {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Have{Epoch: m.epoch, Version: m.version, Known: m.known}
}

// Len returns the number of items held.
func (m *Map) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, h := range m.held {
		if !h.gone {
			n++
		}
	}
	return n
}

// Items returns a copy of the items held with their versions, in key order.
func (m *Map) Items() iter.Seq[Entry] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Entry
	for jid, h := range m.held {
		if !h.gone {
			list = append(list, Entry{JID: jid, V: h.v, Item: h.item})
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.JID, b.JID) })
	return slices.Values(list)
}

// begin starts a retrieval in the mode that the server answered with. One that
// resumes goes on with the marks of the attempt before.
func (m *Map) begin(epoch, mode string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		m.held = map[string]held{}
	}
	if mode == modeResume {
		if !m.running || epoch != m.numbering {
			return fmt.Errorf("roster: server resumed a retrieval that was not begun")
		}
		return nil
	}
	if epoch != m.numbering {
		if mode != modeFull {
			return fmt.Errorf("roster: server answered %s in epoch %q to a client of epoch %q", mode, epoch, m.numbering)
		}
		// The versions held mean nothing any more, and the items that come now mix
		// with them: what was complete is not.
		m.known = false
		m.numbering = epoch
		for jid, h := range m.held {
			h.v = 0
			m.held[jid] = h
		}
		maps.DeleteFunc(m.held, func(_ string, h held) bool { return h.gone })
	}
	m.running, m.full, m.highest = true, mode == modeFull, 0
	for jid, h := range m.held {
		if h.seen {
			h.seen = false
			m.held[jid] = h
		}
	}
	return nil
}

// apply takes an item or a tombstone if it is newer than what is held (R3), and
// marks what is there as seen.
func (m *Map) apply(p *parsedItem) error {
	if !p.versioned {
		return fmt.Errorf("roster: item %s without version", p.jid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		return fmt.Errorf("roster: item %s before anything was asked for", p.jid)
	}
	h, ok := m.held[string(p.jid)]
	if ok && p.v <= h.v {
		if !p.gone && !h.gone && !h.seen {
			h.seen = true
			m.held[string(p.jid)] = h
		}
		return nil
	}
	switch {
	case !p.gone:
		m.held[string(p.jid)] = held{v: p.v, seen: true, item: p.item()}
	case m.running:
		m.held[string(p.jid)] = held{v: p.v, gone: true}
	default:
		delete(m.held, string(p.jid))
	}
	return nil
}

// pushed notes the version of a push whose items were applied.
func (m *Map) pushed(epoch string, ver uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch != m.numbering {
		return
	}
	m.highest = max(m.highest, ver)
	if !m.running && m.known {
		m.version = max(m.version, ver)
	}
}

// complete ends the retrieval at version f (R5): what a full one did not bring is
// dropped, and so are the tombstones.
func (m *Map) complete(epoch string, f uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.held, func(_ string, h held) bool { return h.gone || m.full && !h.seen })
	m.epoch, m.version, m.known = epoch, max(f, m.highest), true
	m.running, m.full = false, false
}
