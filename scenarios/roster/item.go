package roster

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// appendEntry appends an entry in the form of the chunked protocol: an item with
// its version, or <gone/>.
func appendEntry(dst []byte, e Entry) []byte {
	if e.Gone {
		dst = append(dst, "<gone"...)
		dst = wire.AppendAttr(dst, "jid", e.JID)
		dst = append(dst, " v='"...)
		dst = strconv.AppendUint(dst, e.V, 10)
		return append(dst, "'/>"...)
	}
	start := len(dst)
	dst = population.AppendItem(dst, e.Item)
	// The version goes behind the jid, which is the first attribute.
	jid := start + len("<item jid='")
	jid += bytes.IndexByte(dst[jid:], '\'') + 1
	var room [32]byte
	v := append(room[:0], " v='"...)
	v = strconv.AppendUint(v, e.V, 10)
	v = append(v, '\'')
	return slices.Insert(dst, jid, v...)
}

// appendChange appends an entry in the form of RFC 6121: an item, or one with
// the subscription "remove" (§2.1.2.5).
func appendChange(dst []byte, e Entry) []byte {
	if !e.Gone {
		return population.AppendItem(dst, e.Item)
	}
	dst = append(dst, "<item"...)
	dst = wire.AppendAttr(dst, "jid", e.JID)
	return append(dst, " subscription='remove'/>"...)
}

// parsedItem is an item or tombstone as it came over the wire, in bytes that are
// used again for the next one.
type parsedItem struct {
	jid, name, subscription []byte
	ask                     bool
	groups                  [][]byte
	gone                    bool // <gone/>, or the subscription "remove"
	v                       uint64
	versioned               bool

	room []byte
}

// parse reads the element whose start tag is at hand and moves sc to its end.
func (p *parsedItem) parse(sc *wire.Scanner) error {
	*p = parsedItem{groups: p.groups[:0], room: p.room[:0], gone: string(wire.LocalName(sc.Raw())) == "gone"}
	depth := sc.Depth()
	var v []byte
	var err error
	for name, value := range sc.Attrs() {
		switch string(name) {
		case "jid":
			p.jid, err = p.unescaped(value)
		case "name":
			p.name, err = p.unescaped(value)
		case "subscription":
			p.subscription, err = p.unescaped(value)
			p.gone = p.gone || string(p.subscription) == "remove"
		case "ask":
			p.ask = string(value) == "subscribe"
		case "v":
			v, p.versioned = value, true
		}
		if err != nil {
			return err
		}
	}
	if len(p.jid) == 0 {
		return fmt.Errorf("roster: item without jid")
	}
	if p.versioned {
		if p.v, err = parseUint(v); err != nil {
			return fmt.Errorf("roster: item %s: v: %w", p.jid, err)
		}
	}
	group := -1
	for {
		switch sc.Next() {
		case wire.StartTag:
			if sc.Depth() == depth+1 && string(wire.LocalName(sc.Raw())) == "group" {
				group = len(p.room)
			}
		case wire.Text:
			if group >= 0 {
				if p.room, err = wire.Unescape(p.room, sc.Raw()); err != nil {
					return err
				}
			}
		case wire.CDATA:
			if group >= 0 {
				p.room = append(p.room, sc.Raw()...)
			}
		case wire.EndTag:
			switch {
			case sc.Depth() == depth:
				return nil
			case sc.Depth() == depth+1 && group >= 0:
				p.groups = append(p.groups, p.room[group:])
				group = -1
			}
		default:
			if sc.Err() != nil {
				return sc.Err()
			}
			return fmt.Errorf("roster: item %s does not end", p.jid)
		}
	}
}

// unescaped returns the value of an attribute, copied only where it has to be.
func (p *parsedItem) unescaped(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '&') < 0 {
		return raw, nil
	}
	from := len(p.room)
	var err error
	p.room, err = wire.Unescape(p.room, raw)
	return p.room[from:], err
}

// digest adds the item to d.
func (p *parsedItem) digest(d *population.Digest) {
	d.AddBytes(p.jid, p.name, p.subscription, p.ask, p.groups)
}

// item returns a copy that can be kept.
func (p *parsedItem) item() Item {
	it := Item{JID: string(p.jid), Name: string(p.name), Subscription: string(p.subscription), Ask: p.ask}
	if it.Subscription == "" {
		it.Subscription = "none" // RFC 6121 §2.1.2.5
	}
	for _, g := range p.groups {
		it.Groups = append(it.Groups, string(g))
	}
	return it
}

// parseUint reads an unsigned decimal number of 64 bits.
func parseUint[T ~string | ~[]byte](s T) (uint64, error) {
	if len(s) == 0 || len(s) > 20 {
		return 0, fmt.Errorf("%q is not a number", string(s))
	}
	var n uint64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 || n > (1<<64-1-uint64(c))/10 {
			return 0, fmt.Errorf("%q is not a number of 64 bits", string(s))
		}
		n = n*10 + uint64(c)
	}
	return n, nil
}

// eachItem calls f for every <item/> and <gone/> that is a child of the element
// at depth level-1 of the frame.
func (p *parsedItem) eachItem(frame []byte, level int, f func() error) error {
	sc := wire.NewScanner(frame)
	for {
		switch sc.Next() {
		case wire.StartTag:
			if sc.Depth() != level {
				continue
			}
			if name := wire.LocalName(sc.Raw()); string(name) != "item" && string(name) != "gone" {
				continue
			}
			if err := p.parse(&sc); err != nil {
				return err
			}
			if err := f(); err != nil {
				return err
			}
		case wire.NoToken:
			return sc.Err()
		}
	}
}

// gones counts the tombstones in a frame. A raw < stands in no text and no
// attribute, so only elements match.
func gones(frame []byte) int { return bytes.Count(frame, []byte("<gone ")) }
