//go:build unix && !linux

package proc

import "syscall"

// childAttributes puts a child into a process group of its own, so that an interrupt typed at the terminal reaches the parent alone
// and the parent decides.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
