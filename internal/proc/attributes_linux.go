package proc

import "syscall"

// childAttributes puts a child into a process group of its own, so that an interrupt typed at the terminal reaches the parent alone
// and the parent decides; and it asks the kernel to kill the child with its parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
