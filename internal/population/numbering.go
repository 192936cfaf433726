package population

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxMembers keeps every product in this package within 63 bits.
const maxMembers = math.MaxInt32

// numbering turns the numbers lo to hi-1 into local parts and ranks them by the
// byte order of the bare JIDs they become.
type numbering struct {
	prefix, suffix string
	width          int // digits to pad to; 0: plain decimal numbers
	lo, hi         int
	// extendedFirst says that a number sorts after its own extensions (u10@
	// before u1@), because what follows the digits sorts after a digit.
	extendedFirst bool
}

func newNumbering(pattern string, contacts, first, members int) (numbering, error) {
	n := numbering{lo: first, hi: first + members}
	open := strings.Index(pattern, "{i")
	length := strings.IndexByte(pattern[max(open, 0):], '}')
	if open < 0 || length < 0 {
		return n, fmt.Errorf("population: pattern %q has no {i}: write the number's place, as in \"u{i}\" or \"u{i:07}\"", pattern)
	}
	field := pattern[open+len("{i") : open+length]
	sizes := strings.NewReplacer("{n}", strconv.Itoa(contacts))
	n.prefix = sizes.Replace(pattern[:open])
	n.suffix = sizes.Replace(pattern[open+length+1:])
	if field != "" {
		w, err := strconv.Atoi(strings.TrimPrefix(field, ":0"))
		if err != nil || !strings.HasPrefix(field, ":0") || w < 1 || w > 19 {
			return n, fmt.Errorf("population: pattern %q: {i%s} is not a number's place: write {i}, or {i:07} for 7 digits", pattern, field)
		}
		n.width = w
		if digits := len(strconv.Itoa(n.hi - 1)); digits > w {
			return n, fmt.Errorf("population: pattern %q has room for %d digits, but the last of %d members has the number %d: write {i:0%d}",
				pattern, w, members, n.hi-1, digits)
		}
	}
	for _, c := range []byte(n.prefix + n.suffix) {
		if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' || strings.IndexByte(`"&'/:<>@{}`, c) >= 0 {
			return n, fmt.Errorf("population: pattern %q: %q cannot stand in a local part here: use small letters, digits and .-_ (RFC 7622 §3.3)", pattern, c)
		}
	}
	after := n.suffix + "@"
	if n.width == 0 && after[0] >= '0' && after[0] <= '9' {
		return n, fmt.Errorf("population: pattern %q: a digit right after {i} makes numbers ambiguous: put a letter between, or pad with {i:07}", pattern)
	}
	n.extendedFirst = after[0] > '9'
	return n, nil
}

// maxLen returns the length in bytes of the longest local part.
func (n numbering) maxLen() int {
	return len(n.prefix) + max(n.width, len(strconv.Itoa(n.hi-1))) + len(n.suffix)
}

func (n numbering) append(dst []byte, number int) []byte {
	dst = append(dst, n.prefix...)
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], int64(number), 10)
	for range n.width - len(d) {
		dst = append(dst, '0')
	}
	dst = append(dst, d...)
	return append(dst, n.suffix...)
}

// parse is the inverse of append.
func (n numbering) parse(local string) (number int, ok bool) {
	digits, ok := strings.CutPrefix(local, n.prefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, n.suffix); !ok {
		return 0, false
	}
	number, err := strconv.Atoi(digits)
	if err != nil || number < n.lo || number >= n.hi || string(n.append(nil, number)) != local {
		return 0, false
	}
	return number, true
}

// rank returns how many of the numbers have smaller keys than number has.
func (n numbering) rank(number int) int {
	if n.width > 0 {
		return number - n.lo
	}
	digits := len(strconv.Itoa(number))
	below := 0
	for length, from := 1, 0; from < n.hi; length++ {
		to := pow10(length)
		// bound is the first number of this length whose key is not smaller.
		var bound int
		switch {
		case length == digits:
			bound = number
		case length < digits:
			bound = number / pow10(digits-length)
			if !n.extendedFirst {
				bound++ // number's own prefix sorts before it
			}
		default:
			bound = number
			if n.extendedFirst {
				bound++ // number's own extensions sort before it
			}
			bound *= pow10(length - digits)
		}
		below += n.within(from, min(to, bound))
		from = to
	}
	return below
}

// at is the inverse of rank. It walks down the decimal tree digit by digit.
func (n numbering) at(rank int) int {
	if n.width > 0 {
		return n.lo + rank
	}
	node, children := 0, 0 // the root stands for no digit at all
	for {
		next := -1
		for child := children; child < children+10; child++ {
			size := n.subtree(child)
			if rank < size {
				next = child
				break
			}
			rank -= size
		}
		if next < 0 {
			return node // the children came first, and all of them are passed
		}
		node, children = next, next*10
		self := n.within(node, node+1)
		if node == 0 {
			return 0 // no number is written with a leading zero
		}
		if !n.extendedFirst {
			if rank < self {
				return node
			}
			rank -= self
		}
	}
}

// subtree counts the numbers whose decimal form begins with that of node.
func (n numbering) subtree(node int) int {
	size := n.within(node, node+1)
	if node == 0 {
		return size
	}
	for from, to := node*10, (node+1)*10; from < n.hi; from, to = from*10, to*10 {
		size += n.within(from, to)
	}
	return size
}

// within counts the numbers from a up to, not including, b.
func (n numbering) within(a, b int) int { return max(0, min(b, n.hi)-max(a, n.lo)) }

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}
