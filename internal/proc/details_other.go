//go:build !linux

package proc

import (
	"fmt"
	"net/netip"
)

// Inspect is available on Linux only.
func Inspect(pid int) (Details, error) {
	return Details{}, fmt.Errorf("proc: inspect process %d: %w", pid, ErrUnavailable)
}

// Started is available on Linux only.
func Started(pid int) (uint64, error) {
	return 0, fmt.Errorf("proc: start of process %d: %w", pid, ErrUnavailable)
}

// Sockets is available on Linux only.
func Sockets(pid int) (int, error) {
	return 0, fmt.Errorf("proc: sockets of process %d: %w", pid, ErrUnavailable)
}

// Listeners is available on Linux only.
func Listeners(netip.Addr, uint16) ([]int, error) {
	return nil, fmt.Errorf("proc: listeners: %w", ErrUnavailable)
}

// NetworkOf is available on Linux only.
func NetworkOf(pid int) (Network, error) {
	return Network{}, fmt.Errorf("proc: network of process %d: %w", pid, ErrUnavailable)
}

// CgroupOf is available on Linux only.
func CgroupOf(pid int) (Cgroup, error) {
	return Cgroup{}, fmt.Errorf("proc: control group of process %d: %w", pid, ErrUnavailable)
}
