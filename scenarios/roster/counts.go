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

// sent returns what of a roster is sent to a client that is told of changes only.
// A size that counts the changes alone stays as it is.
func (p Params) sent(s Size) Size {
	switch items := min(p.Changes, s.Items); {
	case p.State == StateUnchanged:
		return Size{}
	case p.State == StateStale && items < s.Items:
		return Size{Items: items, Bytes: s.Bytes * int64(items) / int64(s.Items), Largest: s.Largest}
	}
	return s
}

// versions returns the length of the attribute v of all items sent: of the whole
// roster, or of the changes last made to it.
func (p Params) versions(s Size) int64 {
	older := Size{Items: s.Items - p.sent(s).Items}
	return s.versionBytes() - older.versionBytes()
}

// chunkEnvelope is about what a chunk or page takes around its items; the exact
// length depends on identifiers and addresses, and is at most longEnvelope for
// addresses of ordinary length.
const (
	chunkEnvelope = 240
	longEnvelope  = 500
)

// chunks returns the number of chunks or pages, none if nothing changed, and
// whether that is exact.
func (p Params) chunks(s Size) (n int, exact bool) {
	if p.State == StateUnchanged || p.State == StateStale && s.Items == 0 {
		return 0, true
	}
	last := s.Items // the highest version
	s = p.sent(s)
	if s.Items == 0 {
		return 1, true
	}
	digits := len(" v=''") + len(strconv.Itoa(last))
	if room := p.MaxBytes - longEnvelope - p.aheadBytes(); s.Largest > 0 && min(p.Chunk, s.Items)*(s.Largest+digits) <= room {
		return pages(s.Items, p.Chunk), true
	}
	each := float64(s.Bytes)/float64(s.Items) + float64(digits)
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

// wireBytes returns about what n chunks take, or the answer that there are none.
func (p Params) wireBytes(s Size, n int) int64 {
	return p.sent(s).Bytes + p.versions(s) + int64(max(1, n))*chunkEnvelope
}
