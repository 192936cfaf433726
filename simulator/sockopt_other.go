//go:build !linux

package simulator

import (
	"errors"
	"syscall"
)

// setNotSentLowat refuses: the option is known to mean what it should on Linux only.
func setNotSentLowat(syscall.RawConn, int) error {
	return errors.New("notsent-lowat is not available on this system: leave it out")
}
