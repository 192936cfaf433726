package bench

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// threadMargin is how long before its deadline a thread sleeper leaves the
// runtime's timer, which can be about 1 ms late, for nanosleep, which cannot be
// cancelled.
const threadMargin = 2 * time.Millisecond

type threadSleeper struct{ coarse *timerSleeper }

func newThreadSleeper(coarse *timerSleeper) (sleeper, bool) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		runtime.UnlockOSThread()
		return nil, false
	}
	return threadSleeper{coarse}, true
}

func (s threadSleeper) sleep(ctx context.Context, until time.Time) error {
	if time.Until(until) > threadMargin {
		if err := s.coarse.sleep(ctx, until.Add(-threadMargin)); err != nil {
			return err
		}
	}
	for wait := time.Until(until); wait > 0; wait = time.Until(until) {
		ts := unix.NsecToTimespec(int64(wait))
		// A signal ends the sleep early; the loop then sleeps the rest.
		if err := unix.Nanosleep(&ts, nil); err != nil && err != unix.EINTR {
			return s.coarse.sleep(ctx, until)
		}
	}
	return ctx.Err()
}

func (s threadSleeper) release() {
	s.coarse.release()
	// 0 restores the thread's own default. It succeeded with another value
	// before, so it has no way to fail now.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	runtime.UnlockOSThread()
}
