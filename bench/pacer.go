package bench

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"sync"
	"time"
)

// Arrival is one planned start of an operation.
type Arrival struct {
	// Seq numbers the arrivals of a run from 0.
	Seq uint64
	// At is when the operation should start, whether or not it can.
	At time.Time
}

// Pacer is an arrival plan.
//
// At returns the offset of arrival seq from the start of the run, and false
// from the first arrival that is not part of the plan on. It is a pure function
// of seq, never decreasing, and safe for concurrent use. The pacers of this
// package answer consecutive calls in constant time and without allocating.
type Pacer interface {
	At(seq uint64) (offset time.Duration, ok bool)
}

// toOffset converts nanoseconds, rounding to the nearest, and reports false for
// what a time.Duration cannot hold.
func toOffset(ns float64) (time.Duration, bool) {
	if !(ns < math.MaxInt64) {
		return 0, false
	}
	return time.Duration(math.Round(ns)), true
}

func checkRate(rate float64) error {
	if !(rate > 0) || math.IsInf(rate, 1) {
		return fmt.Errorf("rate %v/s: must be a finite number above 0", rate)
	}
	return nil
}

type constant struct{ rate float64 }

// Constant returns an endless plan of rate arrivals per second at equal
// distances, the first at 0. Rate must be finite and above 0.
func Constant(rate float64) (Pacer, error) {
	if err := checkRate(rate); err != nil {
		return nil, fmt.Errorf("bench: constant arrivals: %w", err)
	}
	return constant{rate}, nil
}

func (c constant) At(seq uint64) (time.Duration, bool) {
	return toOffset(float64(seq) * float64(time.Second) / c.rate)
}

// poissonStride is the number of arrivals between two stored sums: a jump
// backwards costs at most this many additions, and a plan of a million arrivals
// stores 8 KiB.
const poissonStride = 1024

// gaps sums exponential gaps, each of mean 1 and a function of seed and seq alone:
// a Poisson process of rate 1. The sums are always formed in the same order, from 0
// upwards, so that a sum does not depend, even in its last bit, on the calls made
// before.
type gaps struct {
	seed uint64

	mu    sync.Mutex
	next  uint64    // gaps summed so far
	sum   float64   // of gaps [0, next)
	marks []float64 // marks[k] is the sum of gaps [0, k*poissonStride)
}

func newGaps(seed uint64) *gaps { return &gaps{seed: Mix(seed), marks: []float64{0}} }

// upTo returns the sum of gaps [0, seq], and false if it is not below limit. Gaps
// behind the limit are not summed: every later arrival is out of reach too.
func (g *gaps) upTo(seq uint64, limit float64) (float64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	mark := min(seq/poissonStride, uint64(len(g.marks))-1)
	if g.next > seq+1 || g.next < mark*poissonStride {
		g.next, g.sum = mark*poissonStride, g.marks[mark]
	}
	for g.next <= seq {
		g.sum += g.gap(g.next)
		g.next++
		if g.next == uint64(len(g.marks))*poissonStride {
			g.marks = append(g.marks, g.sum)
		}
		if !(g.sum < limit) {
			return g.sum, false
		}
	}
	return g.sum, g.sum < limit
}

// gap is the distance from arrival i-1 to arrival i.
func (g *gaps) gap(i uint64) float64 {
	u := float64(Mix(g.seed+i)>>11+1) * 0x1p-53 // in (0, 1]: the logarithm stays finite
	return -math.Log(u)
}

type poisson struct {
	rate float64
	gaps *gaps
}

// Poisson returns an endless plan of independent arrivals, rate per second on
// average, that depends on seed alone. Rate must be finite and above 0.
//
// Consecutive calls and calls for arrivals already passed are cheap; a first
// call far ahead sums all gaps up to there.
func Poisson(rate float64, seed uint64) (Pacer, error) {
	if err := checkRate(rate); err != nil {
		return nil, fmt.Errorf("bench: poisson arrivals: %w", err)
	}
	return poisson{rate, newGaps(seed)}, nil
}

func (p poisson) At(seq uint64) (time.Duration, bool) {
	sum, ok := p.gaps.upTo(seq, math.MaxInt64/float64(time.Second)*p.rate)
	if !ok {
		return 0, false
	}
	return toOffset(sum * float64(time.Second) / p.rate)
}

// Mix is one step of the SplitMix64 generator from state x: neighbouring states
// give unrelated numbers.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Stage is a stretch of a plan whose rate, in arrivals per second, changes
// linearly.
type Stage struct {
	From, To float64
	Duration time.Duration
}

// course is a rate over time. It tells where the rate, summed over time, reaches n.
type course struct {
	stages []Stage
	begin  []time.Duration // of each stage
	before []float64       // arrivals before each stage
	sum    float64         // of arrivals in all stages
}

func newCourse(list []Stage) (course, error) {
	if len(list) == 0 {
		return course{}, errors.New("need at least one stage")
	}
	var c course
	var end time.Duration
	for i, s := range list {
		for _, rate := range []float64{s.From, s.To} {
			if !(rate >= 0) || math.IsInf(rate, 1) {
				return course{}, fmt.Errorf("stage %d: rate %v/s: must be a finite number, not negative", i+1, rate)
			}
		}
		if s.Duration <= 0 {
			return course{}, fmt.Errorf("stage %d: length %v: must be above 0", i+1, s.Duration)
		}
		if end > math.MaxInt64-s.Duration {
			return course{}, fmt.Errorf("stage %d: the stages together are too long", i+1)
		}
		c.stages = append(c.stages, s)
		c.begin = append(c.begin, end)
		c.before = append(c.before, c.sum)
		end += s.Duration
		c.sum += s.Arrivals(s.Duration)
	}
	if c.sum >= 1<<63 {
		return course{}, fmt.Errorf("%g arrivals: too many", c.sum)
	}
	return c, nil
}

// Arrivals returns how many arrivals the stage has in its first d, on average.
func (s Stage) Arrivals(d time.Duration) float64 {
	d = min(max(d, 0), s.Duration)
	if d == s.Duration {
		return (s.From/2 + s.To/2) * d.Seconds()
	}
	t := d.Seconds()
	return s.From*t + (s.To-s.From)*t*(t/s.Duration.Seconds())/2
}

// at returns when the rate, summed over time, reaches n, which must lie in [0, c.sum).
func (c course) at(n float64) time.Duration {
	// The last stage that begins at or before arrival n; of several without
	// arrivals in between, the last one.
	i := sort.Search(len(c.before), func(i int) bool { return c.before[i] > n }) - 1
	s := c.stages[i]
	n -= c.before[i]
	slope := (s.To - s.From) / s.Duration.Seconds()
	// The root of slope/2·t² + from·t = n in the form that neither cancels nor
	// divides by a slope of 0.
	root := math.Sqrt(max(0, s.From*s.From+2*slope*n))
	var offset time.Duration
	if n > 0 {
		offset, _ = toOffset(2 * n / (s.From + root) * float64(time.Second))
	}
	return c.begin[i] + min(offset, s.Duration)
}

// stages places arrival n where the course reaches n.
type stages struct {
	course
	total uint64
}

// Ramp returns a plan of the given length whose rate changes linearly; it is
// [Stages] with one stage.
func Ramp(from, to float64, over time.Duration) (Pacer, error) {
	return Stages(Stage{from, to, over})
}

// Stages returns a plan that goes through the given stages and then ends. The
// arrivals are spread evenly: arrival n lies where the rate, summed over time,
// reaches n. Rates must be finite and not negative, lengths above 0.
func Stages(list ...Stage) (Pacer, error) {
	c, err := newCourse(list)
	if err != nil {
		return nil, fmt.Errorf("bench: stages: %w", err)
	}
	// An arrival at the very end belongs to what follows; the tolerance keeps
	// rounding (10 s at 1.1/s) from adding one.
	return stages{c, uint64(math.Ceil(c.sum * (1 - 1e-12)))}, nil
}

func (p stages) At(seq uint64) (time.Duration, bool) {
	if seq >= p.total {
		return 0, false
	}
	return p.at(float64(seq)), true
}

// poissonStages places arrival n where the course reaches the n-th sum of a
// Poisson process of rate 1.
type poissonStages struct {
	course
	gaps *gaps
}

// PoissonStages returns a plan that goes through the given stages and then ends,
// with independent arrivals: a Poisson process whose rate changes over time. It
// depends on seed alone, and so does the number of its arrivals, which is random:
// on average that of [Stages]. The rest is as with Stages and [Poisson].
func PoissonStages(seed uint64, list ...Stage) (Pacer, error) {
	c, err := newCourse(list)
	if err != nil {
		return nil, fmt.Errorf("bench: poisson stages: %w", err)
	}
	return poissonStages{c, newGaps(seed)}, nil
}

func (p poissonStages) At(seq uint64) (time.Duration, bool) {
	n, ok := p.gaps.upTo(seq, p.sum)
	if !ok {
		return 0, false
	}
	return p.at(n), true
}

type burst struct {
	size, every uint64 // every in nanoseconds
}

// Burst returns an endless plan of size arrivals at once, at 0 and then after
// each interval. Size and interval must be above 0.
func Burst(size int, every time.Duration) (Pacer, error) {
	if size <= 0 || every <= 0 {
		return nil, fmt.Errorf("bench: bursts of %d each %v: both must be above 0", size, every)
	}
	return burst{uint64(size), uint64(every)}, nil
}

func (b burst) At(seq uint64) (time.Duration, bool) {
	high, low := bits.Mul64(seq/b.size, b.every)
	if high != 0 || low > math.MaxInt64 {
		return 0, false
	}
	return time.Duration(low), true
}

type once uint64

// Once returns a plan of n arrivals, all at 0.
func Once(n uint64) Pacer { return once(n) }

func (o once) At(seq uint64) (time.Duration, bool) { return 0, seq < uint64(o) }

type first struct {
	plan Pacer
	n    uint64
}

// First returns the plan that ends after the first n arrivals of p.
func First(p Pacer, n uint64) Pacer { return first{p, n} }

func (f first) At(seq uint64) (time.Duration, bool) {
	if seq >= f.n {
		return 0, false
	}
	return f.plan.At(seq)
}

type until struct {
	plan Pacer
	end  time.Duration
}

// Until returns the plan that holds the arrivals of p before end.
func Until(p Pacer, end time.Duration) Pacer { return until{p, end} }

func (u until) At(seq uint64) (time.Duration, bool) {
	offset, ok := u.plan.At(seq)
	if !ok || offset >= u.end {
		return 0, false
	}
	return offset, true
}

type share struct {
	plan  Pacer
	index uint64
	of    uint64
}

// Share returns every of-th arrival of p, beginning with arrival index: the part
// of one of several generators that follow the same plan together. Index must
// lie in [0, of).
func Share(p Pacer, index, of int) (Pacer, error) {
	if of <= 0 || index < 0 || index >= of {
		return nil, fmt.Errorf("bench: share %d of %d: the index must lie in [0, %d)", index, of, max(of, 0))
	}
	return share{p, uint64(index), uint64(of)}, nil
}

func (s share) At(seq uint64) (time.Duration, bool) {
	high, low := bits.Mul64(seq, s.of)
	whole, carry := bits.Add64(low, s.index, 0)
	if high != 0 || carry != 0 {
		return 0, false
	}
	return s.plan.At(whole)
}
