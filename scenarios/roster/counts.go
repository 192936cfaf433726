package roster

import (
	"math"
	"strconv"
	"time"
)

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

// Link is what a closed form assumes of the network: one bottleneck, FIFO,
// without loss, towards the client.
type Link struct {
	// RTT is the round trip of an empty link, Rate its bytes per second.
	RTT  time.Duration
	Rate float64
	// ProbeBytes is the size of a probe, and of its echo.
	ProbeBytes int
	// Unsent is the number of bytes that a server which waits for no credit
	// writes ahead: its socket buffer and the queue of the link.
	Unsent int64
}

// Theory is what to expect on a link, counted from the writing of the request. A
// probe is sent every so often during the retrieval and answered at once.
type Theory struct {
	// First is when the first item is there, Complete when the roster is.
	First, Complete time.Duration
	// ProbeMean and ProbeMax are the times of a probe while the roster comes.
	ProbeMean, ProbeMax time.Duration
}

// base is the time of a probe on the empty link, in seconds.
func (l Link) base() float64 { return l.rtt() + 2*float64(l.ProbeBytes)/l.Rate }

func (l Link) rtt() float64 { return l.RTT.Seconds() }

func (l Link) theory(complete, mean, most float64) Theory {
	return Theory{First: l.RTT, Complete: seconds(complete), ProbeMean: seconds(l.base() + mean), ProbeMax: seconds(l.base() + most)}
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// whole is one stanza of this size: whatever comes after the request waits for
// what is left of it.
func (l Link) whole(bytes int64) Theory {
	download := float64(bytes) / l.Rate
	complete := l.rtt() + download
	mean := 0.0
	if complete > 0 {
		mean = download * download / (2 * complete)
	}
	return l.theory(complete, mean, download)
}

// credited is n chunks of which window may be on the way at a time; a window of
// 1 is a pull. A cycle is the time from a chunk to the one that its credit
// releases.
func (l Link) credited(bytes int64, n, window int) Theory {
	if n <= window {
		return l.whole(bytes)
	}
	each := float64(bytes) / float64(n) / l.Rate
	burst := float64(window) * each
	cycle := max(burst, l.rtt()+each)
	full := (n+window-1)/window - 1
	complete := float64(full)*cycle + l.rtt() + float64(n-full*window)*each
	mean := burst * burst / (2 * cycle)
	if burst >= l.rtt()+each { // the link never idles
		mean = max(each/2, burst-l.rtt()-each/2)
	}
	return l.theory(complete, mean, burst)
}

// uncredited is n chunks that the server writes as fast as its buffers take them:
// a probe waits for the buffer, which is full until the server has written all
// and empties then.
func (l Link) uncredited(bytes int64, n int) Theory {
	if l.Unsent >= bytes {
		return l.whole(bytes)
	}
	download := float64(bytes) / l.Rate
	each := download / float64(n)
	buffer := float64(l.Unsent) / l.Rate
	complete := l.rtt() + download
	waited := buffer*(download-buffer) + buffer*buffer/2 + each/2*download
	return l.theory(complete, waited/complete, min(buffer, download)+each)
}

func itoa(n int) string { return strconv.Itoa(n) }

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
