//go:build !unix

package proc

import "syscall"

// commandAttributes asks for nothing: this system has no sessions.
func commandAttributes() *syscall.SysProcAttr { return nil }
