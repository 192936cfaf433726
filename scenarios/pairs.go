package scenarios

import (
	"strconv"
	"strings"
	"time"
)

// A pairing is what one receiver has got from one sender, by numbers that the sender
// gives in order, from 1.
type pairing struct {
	high    uint32              // the highest number seen
	missing map[uint32]struct{} // those below it that were not
	seen    int64               // each number once

	duplicated, reordered int64
}

// arrive takes number n, of which at most sent can have come. It reports whether n is
// new, and false for a duplicate or a number that was never sent.
func (p *pairing) arrive(n, sent uint32) (fresh bool) {
	switch {
	case n == 0 || n > sent:
		return false
	case n > p.high:
		for gap := p.high + 1; gap < n; gap++ {
			if p.missing == nil {
				p.missing = make(map[uint32]struct{})
			}
			p.missing[gap] = struct{}{}
		}
		p.high = n
	default:
		if _, late := p.missing[n]; !late {
			p.duplicated++
			return false
		}
		delete(p.missing, n)
		p.reordered++
	}
	p.seen++
	return true
}

// gaps is how many numbers never came though later ones did.
func (p *pairing) gaps() int64 { return int64(len(p.missing)) }

// lost is how many of the sent numbers never came.
func (p *pairing) lost(sent uint32) int64 { return int64(sent-p.high) + p.gaps() }

// A mark is what a message or a presence of ours says of itself, in its id: who sent
// it and to whom, with which number, when it was due and when it was sent. Sender and
// receiver have one clock.
type mark struct {
	sender     int
	receiver   int // of a presence, which goes to all contacts, its sender
	number     uint32
	due, start time.Duration // since the epoch of the cell
}

// message names the message that says so.
func (m mark) message() ref {
	return ref{"message", int32(m.sender), int32(m.receiver), uint64(m.number)} // #nosec G115 -- bounded by parseMark
}

// append writes the mark as an id behind a tag, which tells the cells of all runs
// apart.
func (m mark) append(dst []byte, tag string) []byte {
	dst = append(dst, tag...)
	for _, v := range []int64{int64(m.sender), int64(m.receiver), int64(m.number), int64(m.due), int64(m.start)} {
		dst = append(dst, '-')
		dst = strconv.AppendInt(dst, v, 36)
	}
	return dst
}

// parseMark reads the id of a stanza. It reports false for one that is not of this
// cell.
func parseMark(id, tag string) (m mark, ok bool) {
	rest, ok := strings.CutPrefix(id, tag+"-")
	if !ok {
		return m, false
	}
	var fields [5]int64
	for i := range fields {
		var field string
		var more bool
		field, rest, more = strings.Cut(rest, "-")
		v, err := strconv.ParseUint(field, 36, 63)
		if err != nil || more != (i < len(fields)-1) {
			return m, false
		}
		fields[i] = int64(v) // 63 bits
	}
	if fields[0] > maxMembers || fields[1] > maxMembers || fields[2] > maxNumber {
		return m, false
	}
	return mark{int(fields[0]), int(fields[1]), uint32(fields[2]), time.Duration(fields[3]), time.Duration(fields[4])}, true // #nosec G115 -- bounded above
}

// Bounds of what an id may hold.
const (
	maxMembers = 1<<31 - 1
	maxNumber  = 1<<32 - 1
)
