//go:build !linux

package link

import "time"

// sleepThread does not wait: the caller does.
func sleepThread(time.Time) {}
