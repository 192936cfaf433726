package link

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// direction numbers the two ways of a link.
type direction uint8

const (
	forward direction = iota
	backward
)

const (
	// The lateness histogram ranges from a microsecond to a minute, in nanoseconds, with two digits: 28 KiB for a relay.
	latenessLowest  = int64(time.Microsecond)
	latenessHighest = int64(time.Minute)
	latenessDigits  = 2
	// stall is how long a write may take before it counts as a receiver that does not take its bytes.
	stall = time.Millisecond
	// lateShare is the part of the RTT that the lateness may have at its 99th percentile before a link is flagged.
	lateShare = 0.05
)

// Stats are what passed a link, or all links of a relay, and how true the links were to their parameters.
type Stats struct {
	Params Params `json:"params"`
	// Connections counts those relayed so far, Open those relayed at the moment, and Failed those whose far end could not be reached.
	Connections int64 `json:"connections"`
	Open        int64 `json:"open"`
	Failed      int64 `json:"failed"`
	// Connected is how long connections have been relayed, summed over them.
	Connected time.Duration `json:"connected_ns"`
	// Forward is the way from client to server, unless the link was reversed.
	Forward  Traffic  `json:"forward"`
	Backward Traffic  `json:"backward"`
	Lateness Lateness `json:"lateness"`
	// Buffers are the receive buffers of the relay's own sockets, which hold bytes before the link sees them.
	Buffers Buffers `json:"buffers"`
}

// Traffic is what passed one way.
type Traffic struct {
	// Bytes and Segments were delivered, that is, written to the receiver's socket.
	Bytes    int64 `json:"bytes"`
	Segments int64 `json:"segments"`
	// QueueMax is the greatest number of bytes that waited for the clock of one link.
	QueueMax int `json:"queue_max_bytes"`
	// Busy is how long the clock of a link was at work, summed over links, and Waited how long segments waited for it, summed over
	// segments, Served of which have been on it. Links without a rate have no clock.
	Busy   time.Duration `json:"busy_ns"`
	Waited time.Duration `json:"waited_ns"`
	Served int64         `json:"served"`
}

// Lateness tells how long after its time a segment was handed to the receiver's socket. The time that the receiver itself held up
// the delivery is not counted.
type Lateness struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
	// Exceeds says that the 99th percentile is more than 5 % of the RTT: the link did not behave as its parameters say.
	Exceeds bool `json:"exceeds"`
	// Histogram holds all values in nanoseconds, in the compressed V2 encoding of HdrHistogram, base64.
	Histogram string `json:"histogram,omitempty"`
}

// Buffers are socket buffer sizes in bytes, as the system reports them; zero where no connection has been made or the system does
// not tell. Linux reports double of what was asked for, its bookkeeping included.
type Buffers struct {
	ClientReceive int `json:"client_receive"`
	ServerReceive int `json:"server_receive"`
}

// meter collects the figures of any number of links.
type meter struct {
	mu       sync.Mutex
	stats    Stats
	counted  time.Time // until when Connected is
	lateness *hdrhistogram.Histogram
}

func newMeter(p Params) *meter {
	return &meter{
		stats:    Stats{Params: p},
		counted:  time.Now(),
		lateness: hdrhistogram.New(latenessLowest, latenessHighest, latenessDigits),
	}
}

func (m *meter) traffic(way direction) *Traffic {
	if way == forward {
		return &m.stats.Forward
	}
	return &m.stats.Backward
}

// queued notes how much waits for the clock.
func (m *meter) queued(way direction, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traffic(way)
	t.QueueMax = max(t.QueueMax, bytes)
}

// served notes how long a segment waited for the clock, and how long it is on it.
func (m *meter) served(way direction, waited, busy time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traffic(way)
	t.Served++
	t.Waited += waited
	t.Busy += busy
}

// late notes how late a segment was taken up for delivery.
func (m *meter) late(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Clamped as it is, the value cannot be out of range.
	_ = m.lateness.RecordValue(min(max(int64(by), 0), latenessHighest))
}

// delivered notes a segment that the receiver's socket took.
func (m *meter) delivered(way direction, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traffic(way)
	t.Bytes += int64(bytes)
	t.Segments++
}

// connection notes that one began (1) or ended (-1).
func (m *meter) connection(change int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count()
	m.stats.Open += change
	m.stats.Connections += max(change, 0)
}

// count brings the time of connections up to now. The caller holds the lock.
func (m *meter) count() {
	now := time.Now()
	m.stats.Connected += time.Duration(m.stats.Open) * now.Sub(m.counted)
	m.counted = now
}

func (m *meter) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Failed++
}

func (m *meter) buffers(b Buffers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Buffers = b
}

func (m *meter) read() (Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count()
	s := m.stats
	s.Lateness.Count = m.lateness.TotalCount()
	if s.Lateness.Count == 0 {
		return s, nil
	}
	s.Lateness.P50 = time.Duration(m.lateness.ValueAtQuantile(50))
	s.Lateness.P99 = time.Duration(m.lateness.ValueAtQuantile(99))
	s.Lateness.Max = time.Duration(m.lateness.Max())
	s.Lateness.Exceeds = s.Params.RTT > 0 && float64(s.Lateness.P99) > lateShare*float64(s.Params.RTT)
	encoded, err := m.lateness.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return s, fmt.Errorf("link: encode the lateness: %w", err)
	}
	s.Lateness.Histogram = string(encoded)
	return s, nil
}
