//go:build !linux

package proc

import (
	"fmt"
	"time"
)

// CPU is available on Linux only.
func CPU(pid int) (time.Duration, error) {
	return 0, fmt.Errorf("proc: CPU of process %d: %w", pid, ErrUnavailable)
}

// Usage is available on Linux only.
func Usage(pid int) (Figures, error) {
	return Figures{}, fmt.Errorf("proc: usage of process %d: %w", pid, ErrUnavailable)
}

// ResetPeak is available on Linux only.
func ResetPeak(pid int) error {
	return fmt.Errorf("proc: reset the memory peak of process %d: %w", pid, ErrUnavailable)
}

// DescriptorLimit is available on Linux only.
func DescriptorLimit() (int, error) {
	return 0, fmt.Errorf("proc: descriptor limit: %w", ErrUnavailable)
}

// EphemeralPorts is available on Linux only.
func EphemeralPorts() (int, error) {
	return 0, fmt.Errorf("proc: ephemeral ports: %w", ErrUnavailable)
}

// AvailableMemory is available on Linux only.
func AvailableMemory() (int64, error) {
	return 0, fmt.Errorf("proc: available memory: %w", ErrUnavailable)
}

// Memory is available on Linux only.
func Memory() (available, total int64, err error) {
	return 0, 0, fmt.Errorf("proc: available memory: %w", ErrUnavailable)
}

// CPUPressure is available on Linux only.
func CPUPressure() (time.Duration, error) {
	return 0, fmt.Errorf("proc: CPU pressure: %w", ErrUnavailable)
}

// Steal is available on Linux only.
func Steal() (stolen, total time.Duration, err error) {
	return 0, 0, fmt.Errorf("proc: stolen CPU time: %w", ErrUnavailable)
}
