package link

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Scheduling names the order in which a link serves the connections that share it.
type Scheduling string

const (
	// RoundRobin serves the connections in turn, one segment each, from a queue of its own for each. It is the default.
	RoundRobin Scheduling = "round-robin"
	// FIFO serves the segments of all connections in the order of their arrival, from one queue.
	FIFO Scheduling = "fifo"
)

// Params describe a link, the same in both directions. The zero value is a link without limit and without delay.
type Params struct {
	// RTT is the round-trip time of an empty link. The way from client to server takes half of it, rounded down, the way back the rest.
	RTT time.Duration `json:"rtt_ns,omitempty"`
	// Rate is in bits per second. Zero means unlimited.
	Rate int64 `json:"rate_bits_per_second,omitempty"`
	// Jitter is the upper bound of what each segment waits in addition to the delay, uniformly distributed from zero. No segment
	// overtakes another of the same connection.
	Jitter time.Duration `json:"jitter_ns,omitempty"`
	// Queue is the limit in bytes above which the link stops reading: of the bytes that wait for the clock, of each connection with
	// RoundRobin, of all together with FIFO. What is being read when the limit is reached still gets in, so each connection can exceed
	// it by one segment. Zero means 4 ms of the rate, and 16 KiB at least. On a link without a rate it limits the bytes of each
	// connection under way, and zero means 4 MiB.
	Queue int `json:"queue_bytes,omitempty"`
	// Scheduling is RoundRobin where left out.
	Scheduling Scheduling `json:"scheduling,omitempty"`
	// Seed determines the jitter.
	Seed uint64 `json:"seed,omitempty"`
}

const (
	// minSegment is the payload of an Ethernet packet with the usual TCP options.
	minSegment = 1448
	maxSegment = 16 << 10
	// unlimitedSegment is the read size where no rate asks for another: large enough to be cheap, small enough for idle connections.
	unlimitedSegment = 4 << 10
	// segmentTime bounds the time that one segment occupies a fast link.
	segmentTime = 100 * time.Microsecond

	// maxRate keeps the arithmetic of the clock far from overflow.
	maxRate = 1_000_000_000_000

	minQueue       = 16 << 10
	unlimitedQueue = 4 << 20
	// queueTime is how much of the rate the queue holds at least: a relay that wakes 1 ms late must not find the link idle.
	queueTime = 4 * time.Millisecond
	// stalledWindow is what a connection may have under way beyond the link's own contents before its receiver counts as stalled.
	stalledWindow = 256 << 10
)

// Validate tells what is wrong with the parameters.
func (p Params) Validate() error {
	switch {
	case p.RTT < 0:
		return fmt.Errorf("link: the RTT %v is negative", p.RTT)
	case p.Rate < 0:
		return fmt.Errorf("link: the rate %d bit/s is negative", p.Rate)
	case p.Rate > maxRate:
		return fmt.Errorf("link: the rate %d bit/s is over 1 Tbit/s; 0 is unlimited", p.Rate)
	case p.Jitter < 0:
		return fmt.Errorf("link: the jitter %v is negative", p.Jitter)
	case p.Queue < 0:
		return fmt.Errorf("link: the queue of %d bytes is negative", p.Queue)
	case p.RTT > time.Hour || p.Jitter > time.Hour:
		return errors.New("link: RTT and jitter are an hour at most")
	case p.Queue > math.MaxInt32:
		return fmt.Errorf("link: the queue of %d bytes is longer than 2 GiB", p.Queue)
	}
	switch p.Scheduling {
	case "", RoundRobin, FIFO:
		return nil
	}
	return fmt.Errorf("link: unknown scheduling %q, want %s or %s", p.Scheduling, RoundRobin, FIFO)
}

// WithDefaults returns the parameters with everything filled in that was left out.
func (p Params) WithDefaults() Params {
	if p.Scheduling == "" {
		p.Scheduling = RoundRobin
	}
	if p.Queue == 0 {
		p.Queue = unlimitedQueue
		if p.Rate > 0 {
			p.Queue = max(minQueue, p.bytesIn(queueTime))
		}
	}
	return p
}

// segment returns the size of the largest segment, in bytes.
func (p Params) segment() int {
	if p.Rate == 0 {
		return unlimitedSegment
	}
	return min(max(minSegment, p.bytesIn(segmentTime)), maxSegment)
}

// window returns how many bytes of one connection may be under way. Above it, the receiver does not take what has arrived, and as with
// a closed TCP window the sender has to wait.
func (p Params) window() int {
	if p.Rate == 0 {
		return p.Queue
	}
	return p.Queue + 2*p.bytesIn(p.RTT+p.Jitter) + stalledWindow
}

// bytesIn returns how many bytes pass in a time at the rate.
func (p Params) bytesIn(d time.Duration) int {
	return int(min(float64(p.Rate)/8*d.Seconds(), math.MaxInt32))
}
