package scenarios

import (
	"context"
	"fmt"
	"strconv"
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

// watchInterval is how often the thresholds that end a run are judged while a cell
// runs.
const watchInterval = time.Second

// guard watches the thresholds of a booth while it runs a cell. The context that it
// returns ends as soon as one that aborts is broken; the function ends the watch and
// returns which one was, nil if none.
func (r *runner) guard(ctx context.Context, b *booth, key results.Key, warmup bool) (context.Context, func() *ThresholdError) {
	metrics := b.watch.Aborts()
	if warmup || metrics == nil {
		return ctx, func() *ThresholdError { return nil }
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var broken *ThresholdError
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
				e, text, ok := b.watch.Broken(time.Now(), r.Recorder.Total(key, metrics...))
				if !ok {
					continue
				}
				broken = &ThresholdError{Expr: e, Plan: b.label, Variant: b.arm.Label, After: time.Since(r.started), Text: text}
				cancel(broken)
				return
			}
		}
	}()
	return ctx, func() *ThresholdError {
		close(stop)
		<-ended
		cancel(nil)
		return broken
	}
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
