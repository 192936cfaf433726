package population

import (
	"iter"
	"sort"
	"unicode/utf8"
)

// Item is one entry of a roster (RFC 6121 §2.1.2).
type Item struct {
	JID, Name string
	// Subscription is "both", "to", "from" or "none".
	Subscription string
	// Ask says that a subscription request is pending: ask='subscribe'.
	Ask bool
	// Approved says that a request of the contact will be granted without asking
	// (RFC 6121 §3.4): approved='true'. No population has such items.
	Approved bool
	// Groups are distinct. The slice is shared: do not write to it.
	Groups []string
}

// AppendItem appends the canonical text of it to dst: attributes in apostrophes
// in the order jid, name, subscription, ask, approved; the characters & < > '
// escaped by name, tab and line ends, which a reader would make spaces, by number;
// no name, ask or approved attribute where there is none.
func AppendItem(dst []byte, it Item) []byte {
	dst = append(dst, "<item jid='"...)
	dst = appendEscaped(dst, it.JID)
	if it.Name != "" {
		dst = append(dst, "' name='"...)
		dst = appendEscaped(dst, it.Name)
	}
	dst = append(dst, "' subscription='"...)
	dst = append(dst, it.Subscription...)
	if it.Ask {
		dst = append(dst, "' ask='subscribe"...)
	}
	if it.Approved {
		dst = append(dst, "' approved='true"...)
	}
	if len(it.Groups) == 0 {
		return append(dst, "'/>"...)
	}
	dst = append(dst, "'>"...)
	for _, g := range it.Groups {
		dst = append(dst, "<group>"...)
		dst = appendEscaped(dst, g)
		dst = append(dst, "</group>"...)
	}
	return append(dst, "</item>"...)
}

func appendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		if e := escape(s[i]); e != "" {
			dst = append(append(dst, s[from:i]...), e...)
			from = i + 1
		}
	}
	return append(dst, s[from:]...)
}

func escape(c byte) string {
	switch c {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	case '\'':
		return "&apos;"
	case '\t':
		return "&#x9;"
	case '\n':
		return "&#xA;"
	case '\r':
		return "&#xD;"
	}
	return ""
}

// escapedLen returns the length of s as appendEscaped writes it.
func escapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if e := escape(s[i]); e != "" {
			n += len(e) - 1
		}
	}
	return n
}

// Len returns the number of items in the roster of member i.
func (p *Population) Len(i int) int {
	p.number(i)
	return p.graph.degree
}

// Item returns item n of the roster of member i, for n from 0 to Len(i)-1, in
// constant time. Items are in key order, the byte order of their JIDs. It panics
// outside of the range.
func (p *Population) Item(i, n int) Item {
	if l := p.Len(i); n < 0 || n >= l {
		panic("population: item outside of the roster")
	}
	return p.item(p.numbers.rank(p.cfg.First+i), n)
}

// Items returns the roster of member i in key order.
func (p *Population) Items(i int) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		v := p.numbers.rank(p.number(i))
		for n := range p.graph.degree {
			if !yield(p.item(v, n)) {
				return
			}
		}
	}
}

// Search finds the position of jid in the roster of member i: the first item
// whose JID is not smaller than jid, or Len(i), and whether that item is jid.
// The page after jid begins at n+1 when found and at n when not.
func (p *Population) Search(i int, jid string) (n int, found bool) {
	v := p.numbers.rank(p.number(i))
	var buf [256]byte
	return sort.Find(p.graph.degree, func(n int) int {
		peer := p.numbers.at(p.graph.neighbour(v, n)) - p.cfg.First
		switch key := p.appendJID(buf[:0], peer); {
		case jid < string(key):
			return -1
		case jid > string(key):
			return 1
		}
		return 0
	})
}

// item makes item n of the roster of the member with rank v.
func (p *Population) item(v, n int) Item {
	peer := p.graph.neighbour(v, n)
	member := p.numbers.at(peer) - p.cfg.First
	var buf [256]byte
	it := Item{JID: string(p.appendJID(buf[:0], member))}
	it.Subscription, it.Ask = p.state(v, peer)
	it.Groups = p.words.groupSet(hash(p.cfg.Seed, saltGroups, uint64(v), uint64(peer))) // #nosec G115 -- ranks
	name := draws(hash(p.cfg.Seed, saltName, uint64(peer)))                             // #nosec G115 -- a rank
	if p.cfg.ItemBytes == 0 {
		it.Name = p.words.name(&name)
		return it
	}
	width := p.nameWidth(it)
	for width < comfortableName && len(it.Groups) > 0 {
		it.Groups = it.Groups[:len(it.Groups)-1]
		width = p.nameWidth(it)
	}
	it.Name = p.words.fit(&name, width)
	return it
}

// comfortableName is the width in bytes below which a name loses its meaning,
// so that groups are given up for it.
const comfortableName = 8

// nameWidth returns the bytes that the name of it must fill.
func (p *Population) nameWidth(it Item) int {
	width := p.cfg.ItemBytes - len("<item jid='' name='' subscription=''/>") - escapedLen(it.JID) - len(it.Subscription)
	if it.Ask {
		width -= len(" ask='subscribe'")
	}
	if len(it.Groups) > 0 {
		width -= len("></item>") - len("/>")
	}
	for _, g := range it.Groups {
		width -= len("<group></group>") + escapedLen(g)
	}
	return width
}

// state returns the subscription of the member with rank v to the one with rank
// peer. Both ends draw from the same hash, so they agree.
func (p *Population) state(v, peer int) (subscription string, ask bool) {
	first := v < peer
	d := draws(hash(p.cfg.Seed, saltState, uint64(min(v, peer)), uint64(max(v, peer)))) // #nosec G115 -- ranks
	share := d.next(100)
	if d.next(2) == 0 {
		first = !first
	}
	switch {
	case share < 88:
		return "both", false
	case share < 95 && first:
		return "to", false
	case share < 95:
		return "from", false
	case share < 98:
		return "none", first && !p.cfg.Settled // one end has asked, the other has not answered
	default:
		return "none", false
	}
}

// fit makes a name that takes exactly width bytes when escaped. Longer names
// are cut between characters; shorter ones go on with another name.
func (w words) fit(d *draws, width int) string {
	name := make([]byte, 0, width)
	escaped := 0
	add := func(s string) {
		for i, r := range s {
			size := utf8.RuneLen(r)
			e := escapedLen(s[i : i+size])
			if escaped+e > width {
				break
			}
			name = append(name, s[i:i+size]...)
			escaped += e
		}
	}
	add(w.name(d))
	for width-escaped > comfortableName {
		add(" ")
		add(w.name(d))
	}
	// A space at the end might be trimmed on its way.
	if n := len(name); n > 0 && name[n-1] == ' ' {
		name[n-1] = '.'
	}
	for ; escaped < width; escaped++ {
		name = append(name, 'a'+byte(d.next(26))) // #nosec G115 -- below 26
	}
	return string(name)
}
