package link

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepThread waits for a point in time with its thread. A signal can end it early.
func sleepThread(at time.Time) {
	if wait := time.Until(at); wait > 0 {
		ts := unix.NsecToTimespec(int64(wait))
		// Whatever ends it early, the caller waits for the rest.
		_ = unix.Nanosleep(&ts, nil)
	}
}
