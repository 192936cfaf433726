package bench

import (
	"context"
	"time"
)

// Timer chooses how the pacing goroutine waits for the next arrival. Neither
// spins: on a small machine that takes the processor from what is measured.
type Timer uint8

const (
	// TimerPortable waits with the runtime's timers. An idle process wakes up
	// to about 1 ms late.
	TimerPortable Timer = iota
	// TimerThread gives the pacing goroutine its own thread, with the kernel's
	// timer slack at its least, and passes the last 2 ms of each wait in
	// nanosleep(2). Only Linux has it; elsewhere it is TimerPortable. It waits
	// on the real clock and so cannot be used in virtual time.
	TimerThread
)

// String returns the name of t as reports show it.
func (t Timer) String() string {
	if t == TimerThread {
		return "thread"
	}
	return "portable"
}

// sleeper waits until an instant or until ctx ends, whose error it returns. It
// belongs to one goroutine, which calls release at the end.
type sleeper interface {
	sleep(ctx context.Context, until time.Time) error
	release()
}

// newSleeper must be called on the goroutine that will sleep. The Timer
// returned is the one really used.
func newSleeper(t Timer) (sleeper, Timer) {
	portable := &timerSleeper{timer: time.NewTimer(0)}
	if t == TimerThread {
		if s, ok := newThreadSleeper(portable); ok {
			return s, TimerThread
		}
	}
	return portable, TimerPortable
}

type timerSleeper struct{ timer *time.Timer }

func (s *timerSleeper) sleep(ctx context.Context, until time.Time) error {
	s.timer.Reset(time.Until(until))
	select {
	case <-s.timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (s *timerSleeper) release() { s.timer.Stop() }

// pace calls arrive for each arrival of plan at its time, or at once where that
// has passed, until the plan ends, an offset reaches end, or ctx ends. It
// returns the number of calls and the timer used. arrive must not wait.
func pace(ctx context.Context, timer Timer, start time.Time, plan Pacer, end time.Duration, arrive func(Arrival)) (uint64, Timer) {
	sleep, used := newSleeper(timer)
	defer sleep.release()
	for seq := uint64(0); ; seq++ {
		offset, ok := plan.At(seq)
		if !ok || offset >= end {
			return seq, used
		}
		at := start.Add(offset)
		if time.Until(at) > 0 {
			if sleep.sleep(ctx, at) != nil {
				return seq, used
			}
		} else if ctx.Err() != nil {
			return seq, used
		}
		arrive(Arrival{Seq: seq, At: at})
	}
}
