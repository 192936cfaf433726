package scenarios

import (
	"math/rand/v2"
	"time"
)

// The back-off policies.
const (
	BackoffNone        = "none"
	BackoffFixed       = "fixed"
	BackoffExponential = "exponential"
)

// The kinds of jitter.
const (
	JitterNone  = "none"
	JitterFull  = "full"
	JitterEqual = "equal"
)

// Backoff says how long a client waits before each attempt to return (RFC 6120 §3.3).
type Backoff struct {
	// Policy is none, fixed or exponential: a wait of nothing, of Base, or of Base
	// doubled with each attempt up to Cap.
	Policy string        `json:"policy"`
	Base   time.Duration `json:"base"`
	Cap    time.Duration `json:"cap"`
	// Jitter is none, full or equal: the wait is as it is, anything up to it, or half of
	// it and anything up to the other half.
	Jitter string `json:"jitter"`
}

// eager is how long clients without a back-off wait before another attempt, so that
// those which are refused at once leave the generator time for anything else.
const eager = 100 * time.Millisecond

// Delay returns how long a client waits before its attempt, from the loss of its
// connection or the end of the attempt before; both are numbered from 0. It is a pure
// function of its arguments.
func (b Backoff) Delay(seed uint64, client, attempt int) time.Duration {
	d := b.Base
	switch b.Policy {
	case BackoffNone:
		if attempt == 0 {
			return 0
		}
		return eager
	case BackoffExponential:
		for range attempt {
			if d > b.Cap-d {
				d = b.Cap
				break
			}
			d *= 2
		}
		d = min(d, b.Cap)
	}
	random := func(d time.Duration) time.Duration {
		r := rand.New(rand.NewPCG(seed, uint64(client)<<32|uint64(attempt))) // #nosec G115 G404 -- seeded on purpose; neither is negative
		return time.Duration(r.Int64N(int64(d) + 1))
	}
	switch b.Jitter {
	case JitterFull:
		return random(d)
	case JitterEqual:
		return d - d/2 + random(d/2)
	}
	return d
}
