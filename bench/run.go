package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/xmppbench/xmppbench/results"
)

// Op performs one operation: it times the steps and gives them to s, the first
// of them with a.At as its intended time. It runs concurrently with others of
// its kind and must return soon after ctx ends. An error is counted as failed
// and does not end the run.
type Op func(ctx context.Context, a Arrival, s results.Sink) error

// ErrCut is the cause ([context.Cause]) with which the context of an operation
// or probe ends that was still under way when [Config.Drain], [Config.Grace] or
// [ProbeConfig.Drain] ran out.
var ErrCut = errors.New("bench: cut off at the end of the run")

// Values of [Config] where it says nothing.
const (
	DefaultMaxInFlight = 10_000
	DefaultMaxBacklog  = 100_000
	DefaultDrain       = 30 * time.Second
	DefaultGrace       = time.Second
)

// Config says when operations start and how long the run goes on. Either Pacer
// or Workers must be set.
type Config struct {
	// Pacer is the arrival plan of an open loop.
	Pacer Pacer
	// Workers is the number of goroutines of a closed loop, in which each
	// starts its next operation when the last has ended. A closed loop starts
	// less while the target is slow, so its latencies understate a stall.
	Workers int
	// Limit ends a closed loop after this many operations; 0: no limit.
	Limit uint64

	// Start is when the plan begins; the zero time: when Run is called.
	Start time.Time
	// The run is divided into three windows, and an operation belongs to the
	// window of its intended time. Measure 0 means until the plan ends, and
	// then there is no Cooldown.
	Warmup, Measure, Cooldown time.Duration

	// MaxInFlight bounds the operations under way in an open loop. An arrival
	// that finds them all busy waits, and the wait is part of its lateness.
	// 0: DefaultMaxInFlight.
	MaxInFlight int
	// MaxBacklog bounds the arrivals that wait; one that finds the backlog full
	// is dropped and counted. 0: DefaultMaxBacklog; negative: none may wait.
	MaxBacklog int
	// Drain is how long operations may go on after the last arrival.
	// 0: DefaultDrain.
	Drain time.Duration
	// Grace is how long operations may go on after the context of the run has
	// ended. 0: DefaultGrace; negative: not at all.
	Grace time.Duration

	// Metric, where set, is the name under which Run itself observes every
	// operation as a whole.
	Metric string
	// Outside takes samples and counts of operations outside the measured
	// window; nil: they are discarded.
	Outside results.Sink
	// Timer chooses how the pacing goroutine waits.
	Timer Timer
	// Progress, where set, is called about once a second and when the last
	// operation has ended, never concurrently. Arrivals do not wait for it.
	Progress func(Progress)
}

// Window is a part of a run.
type Window uint8

// The windows of a run in their order.
const (
	Warmup Window = iota
	Measured
	Cooldown
)

// String returns the name of w as reports show it.
func (w Window) String() string { return [...]string{"warm-up", "measured", "cool-down"}[w] }

// Tally counts the arrivals of a window. When Run has returned,
// Planned = Started + Dropped + Abandoned and Started = Done + Failed + Cut.
type Tally struct {
	// Planned counts the arrivals whose time came.
	Planned uint64
	// Started counts those whose operation began.
	Started uint64
	// Waited counts those that found MaxInFlight operations under way and had
	// to wait; they are among Started or Abandoned too.
	Waited uint64
	// Dropped counts those that found the backlog full.
	Dropped uint64
	// Abandoned counts those that still waited when the run ended.
	Abandoned uint64
	// Done and Failed count the operations that returned without and with an
	// error.
	Done, Failed uint64
	// Cut counts those that returned an error after their context had ended.
	Cut uint64
}

func (t Tally) plus(u Tally) Tally {
	t.Planned += u.Planned
	t.Started += u.Started
	t.Waited += u.Waited
	t.Dropped += u.Dropped
	t.Abandoned += u.Abandoned
	t.Done += u.Done
	t.Failed += u.Failed
	t.Cut += u.Cut
	return t
}

// Progress is the state of a run under way.
type Progress struct {
	// Elapsed is the time since the start of the plan.
	Elapsed time.Duration
	Window  Window
	// Total counts over all windows.
	Total Tally
	// InFlight and Waiting are operations under way and arrivals that wait.
	InFlight, Waiting int
	// LatenessP99 is that of the measured window so far, 0 before it.
	LatenessP99 time.Duration
}

// Stats says what a run did and how well the generator kept its plan.
type Stats struct {
	// Closed marks a closed loop.
	Closed bool
	// Interrupted marks a run whose context ended before it was done.
	Interrupted bool
	// Timer is the one really used.
	Timer Timer

	// Start is when the plan began.
	Start time.Time
	// Window is the length of the measured window: Measure; less where the run
	// was interrupted before; from its begin to the end of its last operation
	// where Measure is 0.
	Window time.Duration

	Warmup, Measured, Cooldown Tally
	// StartedWithin and DoneWithin count the operations of any window that
	// started, or ended without an error, while the measured window was open.
	StartedWithin, DoneWithin uint64
	// InFlightPeak and BacklogPeak are the greatest numbers of operations under
	// way and of arrivals waiting, over the whole run.
	InFlightPeak, BacklogPeak int

	// Lateness holds start − intended, in nanoseconds, of the operations of the
	// measured window. Of a closed loop it says nothing.
	Lateness *hdrhistogram.Histogram
	// Clamped counts latenesses beyond the histogram's range (1 h), which are
	// recorded as its end.
	Clamped uint64

	// Generator is what this process consumed during the measured window.
	Generator Figures
}

// PlannedRate returns the arrivals per second that the plan had in the measured
// window; 0 where that has no length.
func (s *Stats) PlannedRate() float64 { return perSecond(s.Measured.Planned, s.Window) }

// StartRate returns the operations per second started while the measured window
// was open: less than PlannedRate where the generator fell behind.
func (s *Stats) StartRate() float64 { return perSecond(s.StartedWithin, s.Window) }

// DoneRate returns the operations per second that ended without an error while
// the measured window was open.
func (s *Stats) DoneRate() float64 { return perSecond(s.DoneWithin, s.Window) }

func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

const (
	maxLateness = time.Hour
	// parkedWorkers bounds the goroutines kept for later arrivals.
	parkedWorkers = 1024
)

// Run starts op as cfg says and returns when every operation has ended.
//
// Samples of the measured window go to sink. When ctx ends, no more arrivals
// start, waiting ones are abandoned, operations under way get cfg.Grace to end
// and then their context ends; Run then returns what was measured, and the
// cause of ctx as its error. What is cut off then has not failed, and is not
// observed. Operations that outlast cfg.Drain are cut off likewise, but that is
// their failure, and no error of Run.
func Run(ctx context.Context, cfg Config, op Op, sink results.Sink) (Stats, error) {
	if err := cfg.complete(op, sink); err != nil {
		return Stats{}, fmt.Errorf("bench: run: %w", err)
	}
	r := newRunner(cfg, op, sink)
	return r.run(ctx)
}

// complete checks c and fills in the defaults.
func (c *Config) complete(op Op, sink results.Sink) error {
	switch {
	case op == nil || sink == nil:
		return errors.New("need an operation and a sink")
	case (c.Pacer == nil) == (c.Workers == 0):
		return errors.New("need either a pacer (open loop) or workers (closed loop)")
	case c.Workers < 0:
		return fmt.Errorf("%d workers: must not be negative", c.Workers)
	case c.Limit > 0 && c.Workers == 0:
		return errors.New("a limit belongs to a closed loop; bound an open one with First")
	case c.Workers > 0 && c.Measure == 0 && c.Limit == 0:
		return errors.New("a closed loop needs a measured window or a limit")
	case c.Warmup < 0 || c.Measure < 0 || c.Cooldown < 0:
		return fmt.Errorf("windows %v, %v, %v: must not be negative", c.Warmup, c.Measure, c.Cooldown)
	case c.Measure == 0 && c.Cooldown > 0:
		return errors.New("a cool-down needs a measured window of fixed length")
	case c.Measure > math.MaxInt64-c.Warmup || c.Cooldown > math.MaxInt64-c.Warmup-c.Measure:
		return errors.New("the windows together are too long")
	case c.MaxInFlight < 0 || c.Drain < 0:
		return fmt.Errorf("in-flight limit %d, drain %v: must not be negative", c.MaxInFlight, c.Drain)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxBacklog == 0 {
		c.MaxBacklog = DefaultMaxBacklog
	}
	if c.Drain == 0 {
		c.Drain = DefaultDrain
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Outside == nil {
		c.Outside = results.Discard{}
	}
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	return nil
}

// end is the offset at which arrivals end whatever the plan says.
func (c *Config) end() time.Duration {
	if c.Measure == 0 {
		return math.MaxInt64
	}
	return c.Warmup + c.Measure + c.Cooldown
}

func (c *Config) window(offset time.Duration) Window {
	switch {
	case offset < c.Warmup:
		return Warmup
	case c.Measure == 0 || offset < c.Warmup+c.Measure:
		return Measured
	default:
		return Cooldown
	}
}

// runner is the state of one run. Each operation takes mu twice for a few
// dozen nanoseconds; with one pacing goroutine there is nobody to contend with
// but operations that end.
type runner struct {
	cfg   Config
	op    Op
	sinks [3]results.Sink // by window

	work    chan Arrival  // to parked workers
	quit    chan struct{} // closed when all is done: parked workers return
	planned func()        // arrivals have ended: closes the channel of that name
	plan    chan struct{}
	idle    chan struct{} // closed when arrivals have ended and nothing is under way
	wg      sync.WaitGroup
	seq     atomic.Uint64 // closed loop: the next arrival

	mu       sync.Mutex
	tally    [3]Tally
	inFlight int
	parked   int
	backlog  queue
	ended    bool // no arrival will come
	stopped  bool // the backlog was abandoned; none may start
	timer    Timer
	lastEnd  time.Time // of a measured operation
	broken   time.Time // when the context of the run ended
	stats    Stats

	cutShort atomic.Bool // operations were cut off since the context of the run had ended
}

// unfinished is the sink of operations: one that was cut off with the run has not
// failed, whatever error it returns.
type unfinished struct {
	results.Sink
	run *runner
}

// Observe implements [results.Sink].
func (u unfinished) Observe(s results.Sample) {
	if s.Err == nil || !u.run.cutShort.Load() {
		u.Sink.Observe(s)
	}
}

func newRunner(cfg Config, op Op, sink results.Sink) *runner {
	r := &runner{
		cfg:  cfg,
		op:   op,
		work: make(chan Arrival),
		quit: make(chan struct{}),
		plan: make(chan struct{}),
		idle: make(chan struct{}),
	}
	outside := unfinished{cfg.Outside, r}
	r.sinks = [3]results.Sink{outside, unfinished{sink, r}, outside}
	r.planned = sync.OnceFunc(func() { close(r.plan) })
	r.stats = Stats{
		Closed:   cfg.Workers > 0,
		Start:    cfg.Start,
		Lateness: hdrhistogram.New(1, int64(maxLateness), 3),
	}
	return r
}

func (r *runner) run(ctx context.Context) (Stats, error) {
	opCtx, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	if r.stats.Closed {
		r.startWorkers(ctx, opCtx)
	} else {
		r.wg.Go(func() {
			_, used := pace(ctx, r.cfg.Timer, r.cfg.Start, r.cfg.Pacer, r.cfg.end(), func(a Arrival) { r.arrive(opCtx, a) })
			r.endArrivals(used)
		})
	}
	cause := r.supervise(ctx, cut)
	close(r.quit)
	r.wg.Wait()
	return r.finish(cause)
}

// supervise returns when arrivals have ended and nothing is under way: the
// cause where ctx ended before.
func (r *runner) supervise(ctx context.Context, cut context.CancelCauseFunc) (cause error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var monitor *Monitor
	begin := time.NewTimer(time.Until(r.cfg.Start.Add(r.cfg.Warmup)))
	defer begin.Stop()
	end := time.NewTimer(math.MaxInt64)
	defer end.Stop()
	if r.cfg.Measure > 0 {
		end.Reset(time.Until(r.cfg.Start.Add(r.cfg.Warmup + r.cfg.Measure)))
	}
	measured := func() {
		if monitor != nil {
			r.stats.Generator = monitor.Stop()
			monitor = nil
		}
	}
	defer measured()

	cancelled, plan := ctx.Done(), r.plan
	var limit <-chan time.Time
	for {
		select {
		case <-begin.C:
			monitor = StartMonitor()
		case <-end.C:
			measured()
		case <-tick.C:
			r.progress()
		case <-plan:
			plan = nil
			if cancelled != nil {
				limit = time.After(r.cfg.Drain)
			}
		case <-cancelled:
			cause = context.Cause(ctx)
			cancelled = nil
			r.broken = time.Now()
			r.abandon()
			limit = time.After(r.cfg.Grace)
		case <-limit:
			r.abandon()
			r.cutShort.Store(cancelled == nil)
			cut(ErrCut)
		case <-r.idle:
			if cancelled != nil && ctx.Err() != nil {
				cause = context.Cause(ctx)
				r.broken = time.Now()
			}
			r.progress()
			return cause
		}
	}
}

// startWorkers begins a closed loop.
func (r *runner) startWorkers(ctx, opCtx context.Context) {
	r.inFlight = r.cfg.Workers
	r.stats.InFlightPeak = r.cfg.Workers
	over := func(now time.Time) bool {
		return ctx.Err() != nil || opCtx.Err() != nil || now.Sub(r.cfg.Start) >= r.cfg.end()
	}
	for range r.cfg.Workers {
		r.wg.Go(func() {
			defer r.leave()
			sleep, _ := newSleeper(TimerPortable)
			defer sleep.release()
			if sleep.sleep(ctx, r.cfg.Start) != nil {
				return
			}
			for now := time.Now(); !over(now); now = time.Now() {
				seq := r.seq.Add(1) - 1
				if r.cfg.Limit > 0 && seq >= r.cfg.Limit {
					return
				}
				r.mu.Lock()
				r.tally[r.windowOf(now)].Planned++
				r.mu.Unlock()
				r.execute(opCtx, Arrival{Seq: seq, At: now})
			}
		})
	}
	// Arrivals end with the last window, or when a worker finds no more to do.
	r.wg.Go(func() {
		var end <-chan time.Time
		if r.cfg.Measure > 0 {
			timer := time.NewTimer(time.Until(r.cfg.Start.Add(r.cfg.end())))
			defer timer.Stop()
			end = timer.C
		}
		select {
		case <-end:
		case <-ctx.Done():
		case <-r.plan:
		}
		r.endArrivals(TimerPortable)
	})
}

// leave ends a worker of a closed loop.
func (r *runner) leave() {
	r.planned()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	r.checkIdle()
}

func (r *runner) windowOf(at time.Time) Window { return r.cfg.window(at.Sub(r.cfg.Start)) }

// arrive starts a, or lets it wait, or drops it. It does not block.
func (r *runner) arrive(ctx context.Context, a Arrival) {
	r.mu.Lock()
	t := &r.tally[r.windowOf(a.At)]
	t.Planned++
	switch {
	case r.stopped:
		t.Abandoned++
	case r.inFlight < r.cfg.MaxInFlight:
		r.inFlight++
		r.stats.InFlightPeak = max(r.stats.InFlightPeak, r.inFlight)
		r.mu.Unlock()
		select {
		case r.work <- a:
		default:
			r.wg.Go(func() { r.worker(ctx, a) })
		}
		return
	case r.backlog.len() < r.cfg.MaxBacklog:
		t.Waited++
		r.backlog.push(a)
		r.stats.BacklogPeak = max(r.stats.BacklogPeak, r.backlog.len())
	default:
		t.Dropped++
	}
	r.mu.Unlock()
}

// worker executes a, then what waits, then parks for later arrivals: its grown
// stack is worth keeping.
func (r *runner) worker(ctx context.Context, a Arrival) {
	for {
		r.execute(ctx, a)
		var again, park bool
		if a, again, park = r.next(); again {
			continue
		}
		if !park {
			return
		}
		select {
		case a = <-r.work:
			r.mu.Lock()
			r.parked--
			r.mu.Unlock()
		case <-r.quit:
			return
		}
	}
}

// next returns the arrival that waited longest, or else says whether the worker
// should park.
func (r *runner) next() (a Arrival, again, park bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backlog.len() > 0 {
		return r.backlog.pop(), true, false
	}
	r.inFlight--
	r.checkIdle()
	if r.parked == parkedWorkers {
		return a, false, false
	}
	r.parked++
	return a, false, true
}

func (r *runner) execute(ctx context.Context, a Arrival) {
	window := r.windowOf(a.At)
	sink := r.sinks[window]
	start := time.Now()
	err := r.op(ctx, a, sink)
	end := time.Now()
	if r.cfg.Metric != "" {
		sink.Observe(results.Sample{Metric: r.cfg.Metric, Intended: a.At, Start: start, End: end, Err: err})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tally[window]
	t.Started++
	switch {
	case err == nil:
		t.Done++
	case ctx.Err() != nil:
		t.Cut++
	default:
		t.Failed++
	}
	if r.windowOf(start) == Measured {
		r.stats.StartedWithin++
	}
	if err == nil && r.windowOf(end) == Measured {
		r.stats.DoneWithin++
	}
	if window == Measured {
		if end.After(r.lastEnd) {
			r.lastEnd = end
		}
		r.recordLateness(start.Sub(a.At))
	}
}

// recordLateness is called with mu held.
func (r *runner) recordLateness(late time.Duration) {
	if late > maxLateness {
		late = maxLateness
		r.stats.Clamped++
	}
	if r.stats.Lateness.RecordValue(int64(max(0, late))) != nil {
		r.stats.Clamped++
	}
}

// endArrivals says that no more will come.
func (r *runner) endArrivals(used Timer) {
	r.planned()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = used
	r.ended = true
	r.checkIdle()
}

// abandon empties the backlog. It may be called more than once.
func (r *runner) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for r.backlog.len() > 0 {
		r.tally[r.windowOf(r.backlog.pop().At)].Abandoned++
	}
}

// checkIdle is called with mu held after inFlight or ended changed; one of the
// two changes comes last, and once both hold neither changes again.
func (r *runner) checkIdle() {
	if r.ended && r.inFlight == 0 {
		close(r.idle)
	}
}

func (r *runner) progress() {
	if r.cfg.Progress == nil {
		return
	}
	elapsed := time.Since(r.cfg.Start)
	p := Progress{Elapsed: elapsed, Window: r.cfg.window(elapsed)}
	r.mu.Lock()
	for _, t := range r.tally {
		p.Total = p.Total.plus(t)
	}
	p.InFlight, p.Waiting = r.inFlight, r.backlog.len()
	p.LatenessP99 = time.Duration(r.stats.Lateness.ValueAtQuantile(99))
	r.mu.Unlock()
	r.cfg.Progress(p)
}

// finish is called when no goroutine of the run is left.
func (r *runner) finish(cause error) (Stats, error) {
	s := r.stats
	s.Interrupted = cause != nil
	s.Timer = r.timer
	s.Warmup, s.Measured, s.Cooldown = r.tally[Warmup], r.tally[Measured], r.tally[Cooldown]
	opened := r.cfg.Start.Add(r.cfg.Warmup)
	switch {
	case r.cfg.Measure == 0 && !r.lastEnd.IsZero():
		s.Window = r.lastEnd.Sub(opened)
	case r.cfg.Measure > 0:
		s.Window = r.cfg.Measure
		if s.Interrupted {
			s.Window = max(0, min(s.Window, r.broken.Sub(opened)))
		}
	}
	if cause != nil {
		return s, fmt.Errorf("bench: run: %w", cause)
	}
	return s, nil
}

// queue is a first-in first-out queue that keeps its memory.
type queue struct {
	items []Arrival
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(a Arrival) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		// Rather than grow, reuse what was popped; as that is at least half, each
		// arrival is moved once on average at most.
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	q.items = append(q.items, a)
}

func (q *queue) pop() Arrival {
	a := q.items[q.head]
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return a
}
