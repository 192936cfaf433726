// Package link relays byte streams over links of a given rate and round-trip time, in user space.
//
// A [Link] has two directions, and each is a serialisation clock behind a bounded queue, followed by a delay line:
//
//	sender ──> queue ──> clock (rate) ──> delay (RTT/2, jitter) ──> receiver
//
// Bytes are read in segments of at most 1448 bytes, or 100 µs of the rate where that is more. A segment leaves the clock when its last
// bit would have left a line of that rate, and reaches the receiver after the delay. All times follow from the arrivals and from
// absolute deadlines: a timer that fires late makes one segment late, and never slows the link. When the queue is full the link stops
// reading, so that the sender's socket fills up and blocks. Several connections can share a link; they are served round robin, or in
// the order of their arrival.
//
// What the model leaves out, and every report that rests on it has to say: nothing is lost and nothing is sent twice, there is no slow
// start, and TCP ends at the relay on both sides, so congestion control does not act from end to end. Setting up a connection costs one
// round trip, which the first bytes of the client wait out. Packet headers are not counted. An idle Go process wakes up to 1 ms late;
// a [Relay] on Linux ends each wait with its thread, which is more exact. Round trips below 10 ms are better left to the plain loopback
// interface all the same; [Stats] tell how late segments really were.
//
// The package sees bytes and never messages. [Oracle] computes the same queue from the arrivals alone: in virtual time the link equals
// it to the nanosecond.
package link
