package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// Federation says how providers federate. Its zero value means none.
type Federation struct {
	// Domains are those of each provider: the first number for the first, the
	// second for all others.
	Domains Domains `json:"domains,omitzero"`
	// Providers is how many there are; all federate with all.
	Providers int `json:"providers,omitempty"`
	// Workers is the number of processes of each provider, 0 for as few as the
	// limit of descriptors admits.
	Workers int `json:"workers,omitempty"`

	// BringUp is how pairs come to be: all at once, or lazily, with the first
	// message that the traffic has for them.
	BringUp string `json:"bring-up,omitempty"`
	// Messages is how many each pair sends in the bring-up, each of which is echoed; 0
	// is one.
	Messages int `json:"messages,omitempty"`
	// Settle is how long to wait until counts and memory are read.
	Settle time.Duration `json:"settle,omitempty"`
	// Limit is the longest that the bring-up of all pairs may take.
	Limit time.Duration `json:"limit,omitempty"`

	Traffic Traffic `json:"traffic,omitzero"`
	// Bulk is a large stanza that crosses while small ones wait, 0 for none, every
	// BulkEvery.
	Bulk      int           `json:"bulk,omitempty"` // bytes
	BulkEvery time.Duration `json:"bulk-every,omitempty"`
	// Noisy is the rate of one pair of domains that sends more than all others, 0
	// for none.
	Noisy float64 `json:"noisy,omitempty"`
	// Event is what happens to the mesh when it stands: EventNone, EventIdle,
	// EventRestart or EventAdd.
	Event string `json:"event,omitempty"`
	// Idle is the time after which a stream without stanzas is closed.
	Idle time.Duration `json:"idle,omitempty"`
}

// Ways to bring a mesh up.
const (
	BringUpAll  = "all"
	BringUpLazy = "lazy"
)

// What happens to a mesh.
const (
	EventNone    = "none"
	EventIdle    = "idle"       // streams are closed for want of traffic, and come back with it
	EventRestart = "restart"    // the peers restart, and everything comes back at once
	EventAdd     = "add-domain" // one domain more on the first provider
)

// Traffic is the steady load of messages with echo between domains.
type Traffic struct {
	Matrix   string        `json:"matrix,omitempty"` // full, uniform or zipf: who talks to whom
	Zipf     float64       `json:"zipf,omitempty"`   // exponent of popularity
	Rate     float64       `json:"rate,omitempty"`   // messages per second of each provider but the last
	Duration time.Duration `json:"duration,omitempty"`
	Size     int           `json:"size,omitempty"` // bytes of each message
}

// Who talks to whom.
const (
	MatrixFull    = "full"    // every pair in turn
	MatrixUniform = "uniform" // any pair, equally likely
	MatrixZipf    = "zipf"    // popular domains more than others, at both ends
)

// Domains are the numbers of domains of two providers.
type Domains struct{ A, B int }

// String writes the numbers as "20x20".
func (d Domains) String() string { return strconv.Itoa(d.A) + "x" + strconv.Itoa(d.B) }

// MarshalText implements encoding.TextMarshaler.
func (d Domains) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Domains) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDomains(string(b))
	return err
}

// ParseDomains reads numbers of domains such as 20x20 or 1kx100.
func ParseDomains(s string) (Domains, error) {
	left, right, ok := strings.Cut(s, "x")
	if !ok {
		return Domains{}, fmt.Errorf("%q is not two numbers of domains such as 20x20", s)
	}
	a, err := ParseCount(left)
	if err != nil {
		return Domains{}, err
	}
	b, err := ParseCount(right)
	if err != nil {
		return Domains{}, err
	}
	if a < 1 || b < 1 || a > maxDomains || b > maxDomains {
		return Domains{}, fmt.Errorf("%q: each provider hosts 1 to %d domains", s, maxDomains)
	}
	return Domains{int(a), int(b)}, nil
}

// maxDomains bounds the domains of a provider.
const maxDomains = 100_000

// expectedPairs is the number of pairs that uniform traffic is expected to have met
// within its duration.
func (f Federation) expectedPairs() float64 {
	n := float64(f.Domains.A * f.Domains.B)
	return n * (1 - math.Exp(-f.Traffic.Rate*f.Traffic.Duration.Seconds()/n))
}

// messages is how many each pair sends in the bring-up.
func (f Federation) messages() int { return max(f.Messages, 1) }

// workers is the number of processes of each provider for an arm: as many as the
// plan says, or as few as hold its ends of connections. Streams that are shared live
// in one process.
func (p Plan) workers(arm Arm, f Federation) int {
	if arm.Federation.Layout(arm.S2S).Shared() {
		return 1
	}
	if f.Workers > 0 {
		return min(f.Workers, f.Domains.A, f.Domains.B)
	}
	limit, err := proc.DescriptorLimit()
	if err != nil {
		return 1
	}
	ends := arm.Federation.Counts(arm.S2S, s2s.Full(f.Domains.A, f.Domains.B)).Persistent * (f.Providers - 1)
	return min(max(1, (ends+limit-reservedEnds-1)/(limit-reservedEnds)), f.Domains.A, f.Domains.B)
}

// reservedEnds are descriptors of a provider's process that are no persistent
// streams: streams that only verify, look-ups, fetches.
const reservedEnds = 500
