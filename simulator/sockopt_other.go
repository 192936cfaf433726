//go:build !linux

package simulator

import (
	"errors"
	"syscall"
)

// limitWriteAhead refuses: TCP_NOTSENT_LOWAT is known to mean what it should on Linux only.
func limitWriteAhead(notSentLowat, sendBuffer int) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error {
		if notSentLowat > 0 || sendBuffer > 0 {
			return errors.New("notsent-lowat and send-buffer are not available on this system: leave them out")
		}
		return nil
	}
}
