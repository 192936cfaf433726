//go:build unix

package proc

import "syscall"

// commandAttributes puts a command into a session of its own.
func commandAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
