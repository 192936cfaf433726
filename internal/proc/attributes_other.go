//go:build !unix

package proc

import "syscall"

// childAttributes asks for nothing: this system has neither process groups nor death signals.
func childAttributes() *syscall.SysProcAttr { return nil }
