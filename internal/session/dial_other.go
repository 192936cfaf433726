//go:build !linux

package session

import "syscall"

// shareSourcePorts does nothing where the system has no such option.
func shareSourcePorts(_, _ string, _ syscall.RawConn) error { return nil }
