package proc

import (
	"math"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

// RuntimeFigures tell how much the Go runtime of a process was in the way of its work during an interval.
//
// The runtime counts durations in buckets, each at most a quarter wider than its lower bound; every duration here is the upper bound
// of a bucket, or the lower bound of the last one, which has no end.
type RuntimeFigures struct {
	// GCCycles is the number of garbage collections that ended, and GCPauseMax the longest stop of all goroutines for one.
	GCCycles   uint64        `json:"gc_cycles"`
	GCPauseMax time.Duration `json:"gc_pause_max_ns"`
	// SchedP99 and SchedMax tell how long goroutines that were ready waited for a processor.
	SchedP99 time.Duration `json:"sched_p99_ns"`
	SchedMax time.Duration `json:"sched_max_ns"`
	// Heap is the memory of live and not yet swept objects at the end of the interval, in bytes.
	Heap uint64 `json:"heap_bytes"`
	// Goroutines is their number at the end of the interval.
	Goroutines uint64 `json:"goroutines"`
}

// The places of the figures in the samples of a RuntimeMeter.
const (
	sampleCycles = iota
	samplePauses
	sampleLatencies
	sampleHeap
	sampleGoroutines
)

// A RuntimeMeter reads figures of this process's Go runtime, interval by interval. It may be used concurrently, but then each reader
// sees only the time since the other's reading.
type RuntimeMeter struct {
	mu        sync.Mutex
	samples   []metrics.Sample
	cycles    uint64
	pauses    []uint64
	latencies []uint64
}

// NewRuntimeMeter returns a meter whose first interval begins now.
func NewRuntimeMeter() *RuntimeMeter {
	m := &RuntimeMeter{samples: []metrics.Sample{
		sampleCycles:     {Name: "/gc/cycles/total:gc-cycles"},
		samplePauses:     {Name: "/sched/pauses/total/gc:seconds"},
		sampleLatencies:  {Name: "/sched/latencies:seconds"},
		sampleHeap:       {Name: "/memory/classes/heap/objects:bytes"},
		sampleGoroutines: {Name: "/sched/goroutines:goroutines"},
	}}
	m.Read()
	return m
}

// Read returns the figures since the previous Read, or since the meter was made. It takes some microseconds.
func (m *RuntimeMeter) Read() RuntimeFigures {
	m.mu.Lock()
	defer m.mu.Unlock()
	metrics.Read(m.samples)

	cycles := m.samples[sampleCycles].Value.Uint64()
	pauses := m.samples[samplePauses].Value.Float64Histogram()
	latencies := m.samples[sampleLatencies].Value.Float64Histogram()
	newPauses := since(pauses.Counts, m.pauses)
	newLatencies := since(latencies.Counts, m.latencies)
	f := RuntimeFigures{
		GCCycles:   cycles - m.cycles,
		GCPauseMax: quantile(newPauses, pauses.Buckets, 1),
		SchedP99:   quantile(newLatencies, latencies.Buckets, 0.99),
		SchedMax:   quantile(newLatencies, latencies.Buckets, 1),
		Heap:       m.samples[sampleHeap].Value.Uint64(),
		Goroutines: m.samples[sampleGoroutines].Value.Uint64(),
	}
	m.cycles = cycles
	// metrics.Read writes the next reading into the same histograms.
	m.pauses = append(m.pauses[:0], pauses.Counts...)
	m.latencies = append(m.latencies[:0], latencies.Counts...)
	return f
}

// since subtracts an earlier reading of the same counts; none is a reading of zeros.
func since(now, before []uint64) []uint64 {
	diff := slices.Clone(now)
	for i := range before {
		diff[i] -= before[i]
	}
	return diff
}

// quantile returns the upper bound of the bucket that holds the q-quantile; counts[i] are the values between bounds[i] and
// bounds[i+1], in seconds. It returns zero where nothing was counted.
func quantile(counts []uint64, bounds []float64, q float64) time.Duration {
	var total uint64
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(q*float64(total))))
	var seen uint64
	for i, n := range counts {
		if seen += n; seen < rank {
			continue
		}
		bound := bounds[i+1]
		if math.IsInf(bound, 1) {
			bound = bounds[i]
		}
		return time.Duration(math.Ceil(bound * float64(time.Second)))
	}
	return 0 // not reached: the sum of the counts is the total
}
