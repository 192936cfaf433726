package roster

import "strconv"

// Size describes the roster that a closed form is about.
type Size struct {
	// Items is the number of items, Bytes the sum of their lengths as written by
	// population.AppendItem, Largest the length of the longest, 0 if not known.
	Items   int
	Bytes   int64
	Largest int
}

// Counts is what one retrieval of a roster that does not change meanwhile sends.
type Counts struct {
	StanzasOut, StanzasIn int
	// Chunks counts pages or chunks, 0 where there are none.
	Chunks     int
	RoundTrips int
	// ItemBytes is the length of all items as they stand on the wire. What is
	// around them depends on identifiers and addresses.
	ItemBytes int64
	// Exact says that the numbers hold exactly. Otherwise max-bytes may cut chunks,
	// and their number is estimated from the mean length of an item.
	Exact bool
}

// versionBytes returns the length of the attribute v of all items, for a roster
// that was built item by item.
func (s Size) versionBytes() int64 {
	n := int64(len(" v=''")) * int64(s.Items)
	for from := 1; from <= s.Items; from *= 10 {
		n += int64(s.Items - from + 1) // one digit more from here on
	}
	return n
}

// chunkEnvelope is about what a chunk or page takes around its items; the exact
// length depends on identifiers and addresses, and is at most longEnvelope for
// addresses of ordinary length.
const (
	chunkEnvelope = 240
	longEnvelope  = 500
)

// chunks returns the number of chunks or pages, and whether that is exact.
func (p Params) chunks(s Size) (n int, exact bool) {
	if s.Items == 0 {
		return 1, true
	}
	digits := len(" v=''") + len(strconv.Itoa(s.Items))
	if room := p.MaxBytes - longEnvelope - p.aheadBytes(); s.Largest > 0 && min(p.Chunk, s.Items)*(s.Largest+digits) <= room {
		return pages(s.Items, p.Chunk), true
	}
	each := float64(s.Bytes+s.versionBytes()) / float64(s.Items)
	fit := int(float64(p.MaxBytes-chunkEnvelope-p.aheadBytes()) / each)
	if p.aheadBytes() > 0 {
		fit -= fit / 8 // as newStride does
	}
	return pages(s.Items, max(1, min(p.Chunk, fit))), false
}

// aheadBytes returns what pages set aside for boundaries.
func (p Params) aheadBytes() int {
	if p.Delivery != "" || p.Window <= 1 {
		return 0
	}
	return min((p.Window-1)*aheadBytes, p.MaxBytes/4)
}

// wireBytes returns about what n chunks take.
func (p Params) wireBytes(s Size, n int) int64 {
	return s.Bytes + s.versionBytes() + int64(n)*chunkEnvelope
}

func itoa(n int) string { return strconv.Itoa(n) }

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
