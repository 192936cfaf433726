package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// ProbeFunc sends probe seq and returns without waiting for the answer. Whoever
// reads the answer calls done with the time it came and what was wrong with it;
// done does not block, may be called from any goroutine, also before ProbeFunc
// returns, and only its first call counts. An error returned says that the probe
// could not be sent, and done need not be called. The context ends when no
// answer is waited for any more; a send under way must then return soon.
type ProbeFunc func(ctx context.Context, seq uint64, done func(end time.Time, err error)) error

// Errors of the samples of probes that got no answer.
var (
	// ErrUnanswered says that no answer came until the drain had passed.
	ErrUnanswered = errors.New("bench: probe not answered")
	// ErrOutstanding says that the probe was not sent because
	// [ProbeConfig.MaxOutstanding] others were not answered yet.
	ErrOutstanding = errors.New("bench: too many unanswered probes")
)

// Values of [ProbeConfig] where it says nothing.
const (
	DefaultMaxOutstanding = 100_000
	DefaultProbeDrain     = 5 * time.Second
)

// ProbeConfig says when probes are sent and under which metric they count.
type ProbeConfig struct {
	// Pacer is the plan of the probes.
	Pacer Pacer
	// Start is when the plan begins; the zero time: when Probe is called.
	Start time.Time
	// Stop, where set, ends the plan when closed.
	Stop <-chan struct{}
	// Classify returns the metric of a probe, such as one for probes during a
	// transfer and another one outside. It is called once the outcome of the
	// probe is known, so that the beginning of the transfer, if it lies before
	// intended, is known then too, and also its end. It must not block and is
	// not called concurrently. "" keeps the probe out of the sink.
	Classify func(intended time.Time) string
	// Drain is how long answers are waited for after the last probe.
	// 0: DefaultProbeDrain; negative: not at all.
	Drain time.Duration
	// MaxOutstanding bounds the probes without an answer.
	// 0: DefaultMaxOutstanding.
	MaxOutstanding int
	// Timer chooses how the pacing goroutine waits.
	Timer Timer
}

// ProbeStats says what became of the probes. When Probe has returned,
// Planned = Answered + Failed + Unanswered + Dropped.
type ProbeStats struct {
	// Planned counts the probes whose time came.
	Planned uint64
	// Answered and Failed count those done without and with an error, the
	// latter including those that could not be sent.
	Answered, Failed uint64
	// Unanswered counts those that got no answer in time, Dropped those that
	// MaxOutstanding kept from being sent.
	Unanswered, Dropped uint64
	// OutstandingPeak is the greatest number of probes without an answer.
	OutstandingPeak int
	// MaxLateness is the longest time from when a probe should have been sent
	// to when its sending began.
	MaxLateness time.Duration
}

// outstanding is a probe under way.
type outstanding struct{ intended, start time.Time }

type prober struct {
	cfg  ProbeConfig
	send ProbeFunc
	sink results.Sink

	mu    sync.Mutex
	open  map[uint64]outstanding // whoever removes a probe reports it
	ended bool                   // no more will be sent
	empty chan struct{}          // closed when ended and none is open
	stats ProbeStats
}

// Probe sends probes as planned whatever answers are outstanding, and observes
// each in sink from its intended time to its answer. One goroutine sends: a send
// that blocks delays the next ones, which are late then and timed from when they
// should have been sent.
//
// It returns when the plan has ended, or cfg.Stop is closed, and every answer
// has come or cfg.Drain has passed; what is still open then is observed with
// [ErrUnanswered]. When ctx ends, it returns at once with its cause as the
// error, also of the probes still open.
// No goroutine or probe is left behind, and later calls of done do nothing.
func Probe(ctx context.Context, cfg ProbeConfig, send ProbeFunc, sink results.Sink) (ProbeStats, error) {
	switch {
	case cfg.Pacer == nil || cfg.Classify == nil || send == nil || sink == nil:
		return ProbeStats{}, errors.New("bench: probe: need a pacer, a classifier, a function and a sink")
	case cfg.MaxOutstanding < 0:
		return ProbeStats{}, fmt.Errorf("bench: probe: limit of %d outstanding probes: must not be negative", cfg.MaxOutstanding)
	}
	if cfg.MaxOutstanding == 0 {
		cfg.MaxOutstanding = DefaultMaxOutstanding
	}
	if cfg.Drain == 0 {
		cfg.Drain = DefaultProbeDrain
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Now()
	}
	p := &prober{
		cfg:   cfg,
		send:  send,
		sink:  sink,
		open:  make(map[uint64]outstanding),
		empty: make(chan struct{}),
	}
	return p.run(ctx)
}

func (p *prober) run(ctx context.Context) (ProbeStats, error) {
	sendCtx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	planCtx, stop := context.WithCancel(sendCtx)
	defer stop()
	planned := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(planned)
		pace(planCtx, p.cfg.Timer, p.cfg.Start, p.cfg.Pacer, math.MaxInt64, func(a Arrival) { p.probe(sendCtx, a) })
		p.endPlan()
	})
	select {
	case <-planned:
	case <-p.cfg.Stop:
		stop()
	case <-ctx.Done():
	}
	// The drain also bounds a send that hangs while the plan is stopped.
	drain := time.NewTimer(p.cfg.Drain)
	defer drain.Stop()
	select {
	case <-p.empty:
	case <-drain.C:
	case <-ctx.Done():
	}
	cut(ErrCut)
	wg.Wait()
	return p.finish(ctx)
}

// probe sends one probe, from the pacing goroutine.
func (p *prober) probe(ctx context.Context, a Arrival) {
	if !p.begin(a, time.Now()) {
		return
	}
	done := func(end time.Time, err error) { p.done(a.Seq, end, err) }
	if err := p.send(ctx, a.Seq, done); err != nil {
		done(time.Now(), err)
	}
}

// begin opens a probe unless too many are open.
func (p *prober) begin(a Arrival, start time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Planned++
	p.stats.MaxLateness = max(p.stats.MaxLateness, start.Sub(a.At))
	o := outstanding{a.At, start}
	if len(p.open) >= p.cfg.MaxOutstanding {
		p.stats.Dropped++
		p.observe(o, start, ErrOutstanding)
		return false
	}
	p.open[a.Seq] = o
	p.stats.OutstandingPeak = max(p.stats.OutstandingPeak, len(p.open))
	return true
}

func (p *prober) done(seq uint64, end time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, open := p.open[seq]
	if !open {
		return
	}
	delete(p.open, seq)
	if err == nil {
		p.stats.Answered++
	} else {
		p.stats.Failed++
	}
	p.observe(o, end, err)
	p.checkEmpty()
}

// observe is called with mu held, so that no sample comes after Probe returned.
func (p *prober) observe(o outstanding, end time.Time, err error) {
	if metric := p.cfg.Classify(o.intended); metric != "" {
		p.sink.Observe(results.Sample{Metric: metric, Intended: o.intended, Start: o.start, End: end, Err: err})
	}
}

func (p *prober) endPlan() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.checkEmpty()
}

// checkEmpty is called with mu held after ended was set or a probe was done;
// after ended none is opened, so both hold for the first time once.
func (p *prober) checkEmpty() {
	if p.ended && len(p.open) == 0 {
		close(p.empty)
	}
}

// finish reports what is still open.
func (p *prober) finish(ctx context.Context) (ProbeStats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reason := ErrUnanswered
	if ctx.Err() != nil {
		reason = context.Cause(ctx)
	}
	now := time.Now()
	for _, seq := range slices.Sorted(maps.Keys(p.open)) {
		p.stats.Unanswered++
		p.observe(p.open[seq], now, reason)
	}
	clear(p.open)
	if ctx.Err() != nil {
		return p.stats, fmt.Errorf("bench: probe: %w", reason)
	}
	return p.stats, nil
}
