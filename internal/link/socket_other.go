//go:build !unix

package link

import (
	"net"
	"syscall"
)

// setReceiveBuffer leaves the system's own size.
func setReceiveBuffer(syscall.RawConn, int) error { return nil }

// receiveBuffer cannot tell.
func receiveBuffer(net.Conn) int { return 0 }

// exhausted takes every failure to accept for lasting.
func exhausted(error) bool { return false }
