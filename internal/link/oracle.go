package link

import (
	"math/bits"
	"time"
)

// An Oracle computes when bytes pass an ideal link, from their arrivals alone: one queue without limit, served in order at an exact
// rate, then a constant delay. It is what a [Link] is measured against, and what a theory of a protocol on a link is computed with.
//
// The zero value passes everything at once. An Oracle must not be used concurrently.
type Oracle struct {
	// Rate is in bits per second. Zero means unlimited.
	Rate int64
	// Delay is the time between the departure of a byte and its delivery.
	Delay time.Duration

	// The link has been busy from start with bytes until end.
	start, end time.Duration
	bytes      uint64
}

// Send lets n bytes reach the link at a time, and returns when the last of them has left the bottleneck and when it is delivered. Times
// are relative to any common origin and are rounded down to nanoseconds, without the roundings adding up. Calls must be in the order of
// time; bytes with an earlier time than those before them join the queue behind these.
func (o *Oracle) Send(at time.Duration, n int) (departed, delivered time.Duration) {
	if o.Rate == 0 {
		o.end = max(o.end, at)
		return o.end, o.end + o.Delay
	}
	if at > o.end || o.bytes == 0 {
		o.start, o.bytes = max(at, o.end), 0
	}
	o.bytes += uint64(n) // #nosec G115 -- not negative
	const bitsTimesNanoseconds = 8 * uint64(time.Second)
	high, low := bits.Mul64(o.bytes, bitsTimesNanoseconds)
	busy, _ := bits.Div64(high, low, uint64(o.Rate)) // #nosec G115 -- above 0
	o.end = o.start + time.Duration(busy)            // #nosec G115 -- below 292 years
	return o.end, o.end + o.Delay
}
