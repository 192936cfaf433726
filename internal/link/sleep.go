package link

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// fineMargin is how long before its time a fine wait leaves the runtime's timer, which can be 1 ms late, for a sleep of its
	// thread, which cannot be cancelled.
	fineMargin = 2 * time.Millisecond
	// fineThreads bounds the threads that sleep at a time. With more to deliver than that the process is busy, and the runtime's
	// timers are better then.
	fineThreads = 8
)

// fineSleeper waits more exactly than the runtime's timers do in an idle process. It waits on the real clock; a nil one uses the timers,
// and so virtual time.
type fineSleeper struct{ asleep atomic.Int32 }

// until waits for a point in time. It may wake late, and never early.
func (s *fineSleeper) until(ctx context.Context, timer *time.Timer, at time.Time) error {
	if s == nil {
		return sleepUntil(ctx, timer, at)
	}
	if time.Until(at) > fineMargin {
		if err := sleepUntil(ctx, timer, at.Add(-fineMargin)); err != nil {
			return err
		}
	}
	if s.asleep.Add(1) <= fineThreads {
		sleepThread(at)
	}
	s.asleep.Add(-1)
	return sleepUntil(ctx, timer, at)
}
