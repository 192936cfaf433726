package xk6xmpp

import (
	"context"
	"errors"
	"time"

	"github.com/grafana/sobek"
)

// onLoop makes a value that needs the runtime. It runs on the event loop.
type onLoop func() any

// async runs work on a goroutine of its own and returns the promise of what it returns.
// The iteration stays alive until then: work must return soon after ctx has ended.
// after, where set, runs on the event loop before the promise is settled.
func (m *instance) async(ctx context.Context, after func(), work func(ctx context.Context) (any, error)) sobek.Value {
	promise, resolve, reject := m.rt.NewPromise()
	stack := m.rt.CaptureCallStack(maxFrames, nil)
	enqueue := m.vu.RegisterCallback()
	go func() {
		result, err := work(ctx)
		if err != nil && ctx.Err() != nil {
			// The end of the iteration ends sessions as well: which of the two is noticed first means nothing.
			err = &fault{stage: fail(stageSession, err).stage, condition: conditionCancelled, err: context.Cause(ctx)}
		}
		enqueue(func() (failed error) {
			defer func() {
				// An interrupted runtime panics where something tries to run in it.
				if thrown := recover(); thrown != nil {
					interrupted, ok := thrown.(*sobek.InterruptedError)
					if !ok {
						panic(thrown)
					}
					failed = interrupted
				}
			}()
			if after != nil {
				after()
			}
			if err != nil {
				return reject(m.jsError(err, stack...))
			}
			if make, ok := result.(onLoop); ok {
				result = make()
			}
			if result == nil {
				result = sobek.Undefined()
			}
			return resolve(result)
		})
	}()
	return m.rt.ToValue(promise)
}

// ending waits for the end of something, which goes on when the iteration does not wait
// any more; the end of the test does.
func (m *instance) ending(ctx context.Context, end func() error) error {
	done := make(chan error, 1)
	m.root.work.Go(func() { done <- end() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxFrames bounds the stack of errors.
const maxFrames = 8

// within bounds work by a time-out of the script.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, errTimeout)
}

// timedOut returns what ended work that failed: the time-out of the script, where that is
// over and the iteration is not, and otherwise its own error.
func timedOut(ctx, bounded context.Context, err error) error {
	if bounded.Err() != nil && ctx.Err() == nil {
		return errTimeout
	}
	return err
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isCancelled reports whether work ended because the iteration did, of which no samples
// are taken.
func isCancelled(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && !errors.Is(err, errTimeout)
}
