package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// ThresholdError says which threshold ended a run, and when.
type ThresholdError struct {
	Expr    results.Expr
	Plan    string
	Variant string
	After   time.Duration // since the run began
	Text    string        // the threshold and what there was in its place
}

// Error says it in one sentence.
func (e *ThresholdError) Error() string {
	where := e.Variant
	if e.Plan != allPlans {
		where += " in " + e.Plan
	}
	return fmt.Sprintf("%s for %s, %s after the start of the run", e.Text, where, e.After.Round(100*time.Millisecond))
}

// thresholds are those of the plan, read.
func (p Plan) thresholds() []results.Expr {
	var all []results.Expr
	for _, text := range p.Thresholds {
		e, err := results.Parse(text)
		if err != nil {
			panic("scenarios: threshold " + text + ": " + err.Error()) // the parser wrote it
		}
		all = append(all, e)
	}
	return all
}

// watchInterval is how often a cell is looked at while it runs: for the thresholds
// that end a run, and for its progress.
const watchInterval = time.Second

// guard watches a booth while it runs a cell. The context that it returns ends as soon
// as a threshold that aborts is broken; the function ends the watch and returns which
// one was, nil if none.
func (r *runner) guard(ctx context.Context, b *booth, key results.Key, progress Progress) (context.Context, func() *ThresholdError) {
	aborting := b.watch.Aborts()
	live := liveMetric(b.site.plan)
	if progress.Warmup || aborting == nil && (r.Progress == nil || live == "") {
		return ctx, func() *ThresholdError { return nil }
	}
	metrics := slices.Clone(aborting)
	if r.Progress != nil && live != "" && !slices.Contains(metrics, live) {
		metrics = append(metrics, live)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var broken *ThresholdError
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		var last Live
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			total := r.Recorder.Total(key, metrics...)
			if t := total.Metrics[live]; t != nil && r.Progress != nil {
				last = liveOf(live, t, last, b.site.plan.Limits)
				progress.Live = &last
				r.report(progress)
			}
			e, text, ok := b.watch.Broken(time.Now(), total)
			if !ok {
				continue
			}
			broken = &ThresholdError{Expr: e, Plan: b.label, Variant: b.arm.Label, After: time.Since(r.started), Text: text}
			cancel(broken)
			return
		}
	}()
	return ctx, func() *ThresholdError {
		close(stop)
		<-ended
		cancel(nil)
		return broken
	}
}

// Live is what the cell under way has measured so far.
type Live struct {
	Metric string           // the one that decides
	Rate   float64          // samples of it in the last second
	P99    results.Quantile // of its response, unknown with too few samples
	Failed int64            // samples of it that failed
	Late   bool             // the generator is over its limit of lateness

	n  int64
	at time.Time
}

// liveMetric is the timed metric that decides a plan, "" if none does.
func liveMetric(p Plan) string {
	s, ok := Find(p.Scenario)
	if !ok {
		return ""
	}
	metric, timed := strings.CutSuffix(s.Primary(p), ".mean")
	if !timed {
		return ""
	}
	return metric
}

// liveOf follows last by what has been recorded since.
func liveOf(metric string, t *results.Timings, last Live, limits results.Limits) Live {
	now := time.Now()
	response := t.Of(results.Response)
	l := Live{Metric: metric, P99: response.Quantile(0.99), Failed: t.Failed(), n: response.N(), at: now}
	since := watchInterval
	if !last.at.IsZero() {
		since = now.Sub(last.at)
	}
	l.Rate = float64(l.n-last.n) / since.Seconds()
	flags := results.Check(limits, results.Figures{Response: response, Lateness: t.Of(results.Lateness)})
	l.Late = results.IsInvalid(flags)
	return l
}

// aborted writes down what a cell that a threshold ended had measured until then. It
// is not whole, and so no evidence in comparisons, but its samples count.
func (r *runner) aborted(started time.Time, c *cell, total results.Snapshot, flags []results.Flag, broken *ThresholdError) {
	flags = append(flags, results.Flag{Kind: "threshold", Severity: results.Warning, Text: "the block was ended: " + broken.Error()})
	r.block(c.key, started, c, total, flags, broken)
	r.noteAbort(c.key, broken)
}

// noteAbort records the threshold that ends the run.
func (r *runner) noteAbort(key results.Key, broken *ThresholdError) {
	r.Results.Event("abort", broken.Error(), map[string]string{
		"threshold": broken.Expr.String(), "plan": broken.Plan, "variant": broken.Variant, "block": strconv.Itoa(key.Block),
		"after": broken.After.Round(time.Millisecond).String(),
	})
}
