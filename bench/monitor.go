package bench

import (
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
)

// Figures says what this process consumed over a time, and how much the machine
// as a whole was under pressure. A nil pointer means "not available".
type Figures struct {
	// Elapsed is the time covered.
	Elapsed time.Duration
	// Processors is GOMAXPROCS, Machine the number of processors of the machine
	// that this process may use.
	Processors, Machine int

	// CPU is the processor time that this process used, user and system.
	CPU *time.Duration
	// Pressure is the share of the time, 0 to 1, in which some task of the
	// machine waited for a processor (/proc/pressure/cpu).
	Pressure *float64
	// Steal is the share of the machine's processor time, 0 to 1, that the
	// hypervisor gave to others (/proc/stat).
	Steal *float64

	// GCCycles is the number of garbage collections, GCPauses that of the
	// pauses they made, and GCPauseMax the longest. The runtime keeps pauses
	// and scheduling latencies in buckets: of a bucket the upper end is given.
	GCCycles, GCPauses uint64
	GCPauseMax         time.Duration
	// SchedulingP99 and SchedulingMax are how long goroutines that were ready
	// waited to run.
	SchedulingP99, SchedulingMax time.Duration
	// HeapBytes is the memory occupied by live objects and those not swept yet,
	// at the end.
	HeapBytes uint64
	// GOGC in percent and the memory limit in bytes are the settings of the
	// garbage collector; math.MaxInt64 bytes mean no limit.
	GOGC, MemoryLimit uint64
}

// CPUShare returns the share, 0 to 1, of the processors available to this
// process that it used, and false where that is not known.
func (f *Figures) CPUShare() (float64, bool) {
	if f.CPU == nil || f.Elapsed <= 0 || f.Processors <= 0 {
		return 0, false
	}
	return f.CPU.Seconds() / f.Elapsed.Seconds() / float64(f.Processors), true
}

// Monitor measures this process from [StartMonitor] to Stop. It costs nothing
// in between.
type Monitor struct{ start reading }

// StartMonitor reads the counters of this process and of the machine.
func StartMonitor() *Monitor { return &Monitor{read()} }

// Stop reads them again and returns the differences. It may be called more than
// once; each call covers the time since StartMonitor.
func (m *Monitor) Stop() Figures { return difference(m.start, read()) }

// reading is the state of all counters at one time.
type reading struct {
	at       time.Time
	cpu      *time.Duration
	machine  machine
	gcCycles uint64
	heap     uint64
	gogc     uint64
	limit    uint64
	pauses   *metrics.Float64Histogram
	latency  *metrics.Float64Histogram
}

// machine holds counters of the whole machine. They only grow, and are nil where
// the system does not offer them.
type machine struct {
	stall        *time.Duration // during which some task waited for a processor
	steal, total *time.Duration // of all processors together
}

func readMachine() machine {
	m := machine{stall: known(proc.CPUPressure())}
	if steal, total, err := proc.Steal(); err == nil {
		m.steal, m.total = &steal, &total
	}
	return m
}

func known(d time.Duration, err error) *time.Duration {
	if err != nil {
		return nil
	}
	return &d
}

func read() reading {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/gogc:percent"},
		{Name: "/gc/gomemlimit:bytes"},
		{Name: "/sched/pauses/total/gc:seconds"},
		{Name: "/sched/latencies:seconds"},
	}
	metrics.Read(samples)
	r := reading{
		at:       time.Now(),
		cpu:      known(proc.CPU(os.Getpid())),
		machine:  readMachine(),
		gcCycles: number(samples[0]),
		heap:     number(samples[1]),
		gogc:     number(samples[2]),
		limit:    number(samples[3]),
	}
	r.pauses, r.latency = histogram(samples[4]), histogram(samples[5])
	return r
}

// A runtime that drops one of these metrics reports KindBad, which counts as 0.
func number(s metrics.Sample) uint64 {
	if s.Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s.Value.Uint64()
}

func histogram(s metrics.Sample) *metrics.Float64Histogram {
	if s.Value.Kind() != metrics.KindFloat64Histogram {
		return &metrics.Float64Histogram{}
	}
	return s.Value.Float64Histogram()
}

func difference(from, to reading) Figures {
	f := Figures{
		Elapsed:     to.at.Sub(from.at),
		Processors:  runtime.GOMAXPROCS(0),
		Machine:     runtime.NumCPU(),
		GCCycles:    to.gcCycles - from.gcCycles,
		HeapBytes:   to.heap,
		GOGC:        to.gogc,
		MemoryLimit: to.limit,
	}
	if from.cpu != nil && to.cpu != nil {
		f.CPU = new(*to.cpu - *from.cpu)
	}
	a, b := from.machine, to.machine
	if a.stall != nil && b.stall != nil && f.Elapsed > 0 {
		f.Pressure = new(share01((*b.stall - *a.stall).Seconds(), f.Elapsed.Seconds()))
	}
	if a.steal != nil && b.steal != nil && *b.total > *a.total {
		f.Steal = new(share01(float64(*b.steal-*a.steal), float64(*b.total-*a.total)))
	}
	pauses := added(from.pauses, to.pauses)
	f.GCPauses = pauses.count()
	f.GCPauseMax = pauses.quantile(1)
	waits := added(from.latency, to.latency)
	f.SchedulingP99 = waits.quantile(0.99)
	f.SchedulingMax = waits.quantile(1)
	return f
}

func share01(part, whole float64) float64 { return min(1, max(0, part/whole)) }

// growth is what was added to a runtime histogram: n[i] values up to upper[i].
type growth struct {
	n     []uint64
	upper []float64 // seconds
}

// added compares two readings of one histogram, whose buckets do not change.
func added(from, to *metrics.Float64Histogram) growth {
	g := growth{n: make([]uint64, len(to.Counts)), upper: make([]float64, len(to.Counts))}
	for i, n := range to.Counts {
		if i < len(from.Counts) {
			n -= from.Counts[i]
		}
		g.n[i] = n
		g.upper[i] = to.Buckets[i+1]
		if math.IsInf(g.upper[i], 1) {
			g.upper[i] = to.Buckets[i]
		}
	}
	return g
}

func (g growth) count() (total uint64) {
	for _, n := range g.n {
		total += n
	}
	return total
}

// quantile returns the upper end of the bucket in which quantile q lies, 0 where
// nothing was added.
func (g growth) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(g.count())))
	var seen uint64
	for i, n := range g.n {
		seen += n
		if n > 0 && seen >= rank {
			return time.Duration(g.upper[i] * float64(time.Second))
		}
	}
	return 0
}
