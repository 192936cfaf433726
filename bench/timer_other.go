//go:build !linux

package bench

func newThreadSleeper(*timerSleeper) (sleeper, bool) { return nil, false }
