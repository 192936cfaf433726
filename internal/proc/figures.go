package proc

import (
	"errors"
	"time"
)

// ErrUnavailable says that this system does not offer a figure.
var ErrUnavailable = errors.New("not available on this system")

// ErrNoListener says that no process takes connections at an address.
var ErrNoListener = errors.New("nothing listens at")

// Figures are what one process has cost up to now and holds at the moment.
type Figures struct {
	// CPU is the processor time used since the start, user and system, in nanoseconds. Threads that have ended are included,
	// child processes that have ended are not.
	CPU time.Duration `json:"cpu_ns"`
	// RSS is the resident memory and PeakRSS its maximum since the start or since [ResetPeak], in bytes.
	RSS     int64 `json:"rss_bytes"`
	PeakRSS int64 `json:"peak_rss_bytes"`
	// Descriptors is the number of open file descriptors, or -1 if this user may not know it.
	Descriptors int `json:"descriptors"`
	Threads     int `json:"threads"`
}
