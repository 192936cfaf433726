package scenarios

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// open makes the target ready for a plan. One that can serve several levels stays
// open between them.
func (s *Search) open(ctx context.Context, p Plan) error {
	if s.site != nil && s.keeps() {
		s.site.plan = p
		return nil
	}
	if err := s.close(ctx); err != nil {
		return err
	}
	targets := s.config.Targets[0]
	site, err := openSite(ctx, p, targets, s.config.RunConfig)
	if err != nil {
		return err
	}
	site.record(s.config.Results, p.Label, targets.Name())
	site.identify(ctx, s.config.Results)
	a, err := s.scenario.prepare(ctx, site)
	if err != nil {
		err = errors.Join(&UnreachableError{Target: targets.Name(), Err: err}, site.close())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	s.site, s.actor = site, a
	s.baseline = math.MaxInt64
	for range 3 {
		took, err := s.warm(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &UnreachableError{Target: targets.Name(), Err: err}
		}
		s.baseline = min(s.baseline, took)
	}
	return nil
}

// close releases the target.
func (s *Search) close(ctx context.Context) error {
	if s.site == nil {
		return nil
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.plan.Login.StepLimit)
	defer cancel()
	err := errors.Join(s.actor.close(limited), s.site.close())
	s.site, s.actor = nil, nil
	return err
}

// warm runs a cell as in a warm-up block, which records nothing.
func (s *Search) warm(ctx context.Context) (time.Duration, error) {
	started := time.Now()
	c := &cell{arm: s.arm, warmup: true, sink: results.Discard{}, recorder: s.config.Recorder}
	err := s.actor.cell(ctx, c)
	if err == nil && c.skipped != "" {
		err = errors.New(c.skipped)
	}
	return time.Since(started), err
}

// drain waits until the target answers a single operation about as fast as when it
// was idle: what a level left behind is not booked on the next one. A target that
// does not answer at all any more has gone.
func (s *Search) drain(ctx context.Context) error {
	began := time.Now()
	enough := max(3*s.baseline, s.baseline+100*time.Millisecond)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, serverErr := s.site.target.CPU()
		took, err := s.warm(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && took <= enough:
			return nil
		case err != nil && (s.site.measurable && serverErr != nil || time.Since(began) > drainLimit):
			return &UnreachableError{Target: s.site.about.Name, Err: fmt.Errorf("does not answer any more: %w", err)}
		case time.Since(began) > drainLimit:
			s.config.Results.Event("drain", fmt.Sprintf("%s after the level a single operation still takes %s, and %s on an idle target",
				drainLimit, took.Round(time.Millisecond), s.baseline.Round(time.Millisecond)), nil)
			return nil
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// trial runs a level once and judges it.
func (s *Search) trial(ctx context.Context, t bench.Trial) (bench.Judged, error) {
	p := s.planOf(t)
	s.report(p, t, "")
	// What makes a generator late is mostly other work on the machine, and that takes
	// its time.
	switch {
	case t.Attempt == 0:
		s.patience = patience
	case s.invalid:
		if err := sleep(ctx, s.patience); err != nil {
			return bench.Judged{}, err
		}
		s.patience *= 3
	}
	if err := s.open(ctx, p); err != nil {
		return bench.Judged{}, err
	}
	key := results.Key{Plan: p.Label, Variant: s.arm.Label, Block: s.trials}
	if !s.seen[t.Level] {
		s.seen[t.Level] = true
		s.config.Results.Plan(results.Plan{Name: p.Label, Dimensions: p.Dimensions})
	}
	s.trials++
	running, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	w := newWatch(s, p, abort)
	c := &cell{arm: s.arm, block: key.Block, recorder: s.config.Recorder, key: key, watch: w.progress, load: s.key.Path, keep: s.keeps()}
	c.sink = watchedSink{s.config.Recorder.Sink(key), w}
	s.site.attend(ctx)
	started := time.Now()
	monitor := bench.StartMonitor()
	err := s.actor.cell(running, c)
	if ctx.Err() != nil {
		return bench.Judged{}, context.Cause(ctx)
	}
	if offline, ok := errors.AsType[*offlineError](err); ok && w.aborted() == "" && !s.key.sessions && !exhausted(offline) {
		return bench.Judged{}, &UnreachableError{Target: s.site.about.Name, Err: fmt.Errorf(
			"the sessions that each level needs did not come online, which says nothing of the level: %w; lower logins.rate", offline)}
	}
	digest, wrongDigest := errors.AsType[*DigestError](err)
	if wrongDigest {
		return bench.Judged{}, digest
	}
	aborted := w.aborted()
	line := &results.SearchTrial{Goal: s.name(), Key: key, Search: s.search, Phase: string(t.Phase), Level: t.Level, Aborted: aborted != ""}
	judged := s.judge(ctx, c, w, p, line, key, started, monitor.Stop(), err)
	if err := s.runner.checkCounts(&booth{label: p.Label}, c, false); err != nil && judged.Judgement == bench.Pass {
		return bench.Judged{}, err
	}
	line.Judgement, line.Reason = string(judged.Judgement), judged.Reason
	s.config.Results.Search(results.SearchLine{Trial: line})
	s.report(p, t, fmt.Sprintf("%s %s: %s", s.show(t.Level), map[bench.Judgement]string{
		bench.Pass: "held", bench.Fail: "failed", bench.Invalid: "invalid",
	}[judged.Judgement], judged.Reason))
	s.invalid = judged.Judgement == bench.Invalid
	return judged, s.drain(ctx)
}

// judge decides a trial and writes its block.
func (s *Search) judge(ctx context.Context, c *cell, w *watch, p Plan, line *results.SearchTrial, key results.Key, started time.Time, generator bench.Figures, cellErr error) bench.Judged {
	total := s.config.Recorder.Total(key)
	if metric := total.Metrics[s.judged(c)]; metric != nil {
		c.figures.Response, c.figures.Lateness = metric.Of(results.Response), metric.Of(results.Lateness)
	}
	if w.aborted() != "" {
		c.figures.Planned, c.figures.Dropped = 0, 0 // of a window that was cut
	}
	c.figures.Clamped = total.Clamped()
	s.site.observe(ctx, &c.figures, generator)
	line.Access = c.figures.Access
	flags := append(results.Check(p.Limits, c.figures), c.flags...)
	waited := c.stats != nil && c.stats.Measured.Waited > 0
	if waited {
		// Arrivals waited for others to end: that is no lateness of the generator.
		flags = without(flags, "lateness", "rate", "dropped")
	}
	judged := s.decide(c, w, total, line, waited, cellErr)
	if judged.Judgement == bench.Fail && !c.figures.Shared && p.Limits.GeneratorCPU > 0 && c.figures.GeneratorCPU > p.Limits.GeneratorCPU {
		flags = append(flags, results.Flag{Kind: "cpu", Severity: results.Invalid, Text: fmt.Sprintf(
			"the generator used %.0f %% of its CPUs, over %.0f %%: that the level failed may be its own doing",
			100*c.figures.GeneratorCPU, 100*p.Limits.GeneratorCPU)})
	}
	spent := w.exhausted()
	if spent == nil && exhausted(cellErr) {
		spent = cellErr
	}
	if spent != nil {
		flags = append(flags, results.Flag{Kind: "exhausted", Severity: results.Invalid, Text: fmt.Sprintf("the generator ran out of what it needs: %v", spent)})
	}
	if judged.Judgement == bench.Invalid {
		flags = append(flags, results.Flag{Kind: "samples", Severity: results.Invalid, Text: judged.Reason})
	}
	if results.IsInvalid(flags) {
		judged = bench.Judged{Judgement: bench.Invalid, Reason: firstInvalid(flags)}
	}
	block := s.runner.block(key, started, c, total, flags, nil)
	line.Start, line.End = block.Start, block.End
	return judged
}

// judged is the metric whose response and lateness tell whether the generator kept
// its promise.
func (s *Search) judged(c *cell) string {
	if c.judge != "" {
		return c.judge
	}
	return s.metric
}

// without leaves out what makes a trial invalid for one of the reasons.
func without(flags []results.Flag, kinds ...string) []results.Flag {
	return slices.DeleteFunc(flags, func(f results.Flag) bool {
		return f.Severity == results.Invalid && slices.Contains(kinds, f.Kind)
	})
}

// decide holds a trial against the SLO and the rules that hold beside it.
func (s *Search) decide(c *cell, w *watch, total results.Snapshot, line *results.SearchTrial, waited bool, cellErr error) bench.Judged {
	scalars := total.Scalars()
	for name, v := range c.scalars {
		scalars[name] = v
	}
	var elapsed time.Duration
	if c.stats != nil {
		elapsed = c.stats.Window
		line.Planned, line.Achieved = c.stats.PlannedRate(), c.stats.DoneRate()
	}
	line.Errors = w.errors()
	var failed, missing, held []string
	allClear := line.Errors == 0
	for _, e := range s.config.SLO {
		v, n, err := e.Judge(&total, scalars, elapsed)
		figure := results.SLOFigure{Expr: e.String(), N: n}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s cannot be judged: %v", e, err))
		} else {
			figure.Got, figure.Holds = new(v), e.Holds(v)
			text := fmt.Sprintf("%s is %s", strings.TrimSpace(e.Metric+" "+e.Aggregated()), e.Format(v))
			if figure.Holds {
				held = append(held, text)
				allClear = allClear && strings.HasPrefix(e.Op, "<") && v <= clearly*e.Value
			} else {
				failed = append(failed, text)
			}
		}
		line.SLO = append(line.SLO, figure)
	}
	var lost []string
	for _, f := range c.flags {
		if f.Kind == flagLoss {
			lost = append(lost, f.Text)
		}
	}
	if line.Errors > s.config.Errors {
		failed = append(failed, fmt.Sprintf("%.3g %% of the operations failed, over %.3g %%", 100*line.Errors, 100*s.config.Errors))
	}
	if reason := s.attained(c, w); reason != "" {
		failed = append(failed, reason)
	}
	if reason := s.worsens(c.stats, w, line.Phase); reason != "" && len(failed) == 0 {
		failed = append(failed, reason)
	}
	if waited {
		failed = append(failed, fmt.Sprintf("arrivals had to wait, since %d operations were under way", c.stats.InFlightPeak))
	}
	if cellErr != nil && w.aborted() == "" {
		failed = append(failed, cellErr.Error())
	}
	switch aborted := w.aborted(); {
	case aborted != "":
		return bench.Judged{Judgement: bench.Fail, Reason: aborted}
	case len(failed) > 0:
		return bench.Judged{Judgement: bench.Fail, Reason: strings.Join(append(failed, lost...), "; ")}
	case len(missing) > 0:
		return bench.Judged{Judgement: bench.Invalid, Reason: strings.Join(missing, "; ")}
	}
	if line.Planned > 0 {
		held = append(held, fmt.Sprintf("%.3g/s achieved", line.Achieved))
	}
	held = append(held, lost...)
	return bench.Judged{Judgement: bench.Pass, Clear: allClear, Reason: strings.Join(held, ", ")}
}

// attained says what is missing of the planned rate, or how the backlog grew.
func (s *Search) attained(c *cell, w *watch) string {
	if c.stats == nil || w.aborted() != "" {
		return ""
	}
	planned, done := float64(c.stats.Measured.Planned), float64(c.stats.DoneWithin)
	if planned == 0 {
		return ""
	}
	spread := 3 * math.Sqrt(planned) // of arrivals, and of ends, at random
	if done < s.config.Attainment*planned-spread {
		return fmt.Sprintf("%.3g/s of %.3g/s planned were achieved, less than %.3g %%", c.stats.DoneRate(), c.stats.PlannedRate(), 100*s.config.Attainment)
	}
	if grown, arrivals := w.growth(c.stats); grown > (1-s.config.Attainment)*arrivals+3*math.Sqrt(arrivals) {
		return fmt.Sprintf("the backlog grew by %.0f operations in the second half, of %.0f that arrived", grown, arrivals)
	}
	return ""
}

// watch sees the samples of a level as they are made, and ends it as soon as it can
// only fail.
type watch struct {
	search *Search
	plan   Plan
	abort  context.CancelCauseFunc

	mu       sync.Mutex
	outcomes map[string]*outcomes   // of operations and conditions, by metric
	over     map[results.Expr]int64 // samples beyond a condition
	backlog  []backlog
	trend    trend
	reason   string // why the level was ended
	spent    error  // that the generator has run out of something
}

// outcomes are what the samples of a metric came to so far.
type outcomes struct {
	planned   float64 // in the window, 0 if that is not known
	operation bool    // failed samples are operations that failed
	n, failed int64
}

// most is how many samples the window can bring, by chance included, and false if that is
// not known.
func (o *outcomes) most() (float64, bool) {
	return max(o.planned+3*math.Sqrt(o.planned), float64(o.n+o.failed)), o.planned > 0
}

// backlog is the number of operations under way or waiting at one time of a load.
type backlog struct {
	at          time.Duration
	outstanding float64
}

func newWatch(s *Search, p Plan, abort context.CancelCauseFunc) *watch {
	w := &watch{search: s, plan: p, abort: abort, outcomes: make(map[string]*outcomes), over: make(map[results.Expr]int64)}
	add := func(metric string, operation bool) {
		if w.outcomes[metric] == nil {
			w.outcomes[metric] = &outcomes{planned: float64(p.samples(metric)), operation: operation}
		}
	}
	operations := p.outlook().operations
	for _, metric := range operations {
		add(metric, true)
	}
	for _, e := range s.config.SLO {
		add(e.Metric, operations == nil && e.Metric == s.metric)
	}
	return w
}

// errAborted is why the context of a level ends that can only fail.
var errAborted = errors.New("the level can only fail")

// end ends the level. The caller holds the lock.
func (w *watch) end(format string, args ...any) {
	if w.reason == "" {
		w.reason = fmt.Sprintf(format, args...)
		w.abort(errAborted)
	}
}

func (w *watch) aborted() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

func (w *watch) exhausted() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spent
}

// errors is the share of the operations that failed, of the kind of which most did.
func (w *watch) errors() (share float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.outcomes {
		if o.operation {
			share = max(share, float64(o.failed)/float64(max(1, o.n+o.failed)))
		}
	}
	return share
}

// exhausted reports whether an error is that the generator has no descriptor or no local
// port left.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// fewSamples is how many a level makes before anything is called hopeless.
const fewSamples = 20

// observe counts a sample.
func (w *watch) observe(sample results.Sample) {
	s := w.search
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason != "" {
		return // those that were cut with the level did not fail by themselves
	}
	if exhausted(sample.Err) {
		w.spent = sample.Err
	}
	of := w.outcomes[sample.Metric]
	if of == nil {
		return
	}
	if sample.Err != nil {
		of.failed++
		most, known := of.most()
		_, over := errors.AsType[*unansweredError](sample.Err) // nothing is left to be cut short
		if known && of.operation && of.failed >= fewSamples && float64(of.failed) > s.config.Errors*most && !over {
			w.end("%d operations failed, over %.3g %% of all that were planned; the last: %v", of.failed, 100*s.config.Errors, sample.Err)
		}
		return
	}
	of.n++
	if sample.Metric == s.metric {
		w.trend.add(sample.Intended, sample.End.Sub(sample.Intended))
	}
	for _, e := range s.config.SLO {
		if e.Metric != sample.Metric || e.Q == 0 || !strings.HasPrefix(e.Op, "<") {
			continue
		}
		if e.Holds(sample.End.Sub(sample.Intended).Seconds()) {
			continue
		}
		// As soon as more are beyond the limit than may be of all that the window can
		// bring, the quantile is.
		w.over[e]++
		most, known := of.most()
		if n := w.over[e]; known && n >= fewSamples && float64(n) > (1-e.Q)*most {
			w.end("%s is over the limit, since %d of %d planned operations took longer", strings.TrimSpace(e.Metric+" "+e.Aggregated()), n, int(of.planned))
		}
	}
}

// progress takes the state of a load.
func (w *watch) progress(p bench.Progress) {
	s := w.search
	w.mu.Lock()
	defer w.mu.Unlock()
	outstanding := float64(p.InFlight + p.Waiting)
	w.backlog = append(w.backlog, backlog{p.Elapsed, outstanding})
	if p.Waiting > 0 {
		w.end("arrivals had to wait, since %d operations were under way", p.InFlight)
		return
	}
	// By Little's law, what is under way takes that long.
	rate := s.levelRate(w.plan)
	if rate > 0 && s.limit > 0 && outstanding > max(fewSamples, hopeless*rate*s.limit.Seconds()) {
		w.end("%.0f operations are under way at %.3g/s, so that they take more than %d times the limit", outstanding, rate, hopeless)
	}
}

// levelRate is the rate of operations of a plan, 0 if it has none.
func (s *Search) levelRate(p Plan) float64 {
	if s.key.Rated() {
		return s.levelOf(p)
	}
	return p.Load.Rate.rate
}

// growth is by how much the backlog grew in the second half of the measured window,
// by least squares, and how many operations arrived meanwhile.
func (w *watch) growth(stats *bench.Stats) (grown, arrivals float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	half := stats.Window / 2
	from := w.plan.Load.Warmup + half
	to := w.plan.Load.Warmup + stats.Window
	var n, st, so, stt, sto, first, last float64
	for _, b := range w.backlog {
		if b.at < from || b.at > to {
			continue
		}
		t := b.at.Seconds()
		if n == 0 {
			first = t
		}
		last = t
		n, st, so, stt, sto = n+1, st+t, so+b.outstanding, stt+t*t, sto+t*b.outstanding
	}
	if spread := n*stt - st*st; n >= 2 && spread > 0 {
		// Only over the time that was seen: what two looks close together differ by, no
		// long time may be multiplied with.
		grown = (n*sto - st*so) / spread * (last - first)
	}
	return grown, stats.PlannedRate() * half.Seconds()
}

// watchedSink shows samples to the watch of a level.
type watchedSink struct {
	results.Sink
	watch *watch
}

// Observe implements results.Sink.
func (s watchedSink) Observe(sample results.Sample) {
	s.Sink.Observe(sample)
	s.watch.observe(sample)
}

// report tells how far the search is.
func (s *Search) report(p Plan, t bench.Trial, note string) {
	if s.config.Progress == nil {
		return
	}
	step := fmt.Sprintf("search %d/%d", s.search, s.config.Repeat)
	if s.search == 0 {
		step = "curve"
	}
	step += ", " + s.show(t.Level)
	if t.Attempt > 0 {
		step += fmt.Sprintf(", trial %d", t.Attempt+1)
	}
	elapsed, trials := time.Since(s.started), max(s.expected, s.trials+1)
	expected := s.Expected()
	if s.trials > 2 {
		expected = elapsed * time.Duration(trials) / time.Duration(s.trials)
	}
	if s.config.Budget > 0 {
		expected = min(expected, s.config.Budget)
	}
	s.config.Progress(Progress{
		Plan: p.Label, Step: step, Arm: s.arm.Label, Cells: s.trials, TotalCells: trials,
		Elapsed: elapsed, Expected: max(expected, elapsed), Note: note,
	})
}
