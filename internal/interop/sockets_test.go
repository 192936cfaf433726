//go:build interop

package interop

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// socket is one end of a TCP connection, as the kernel sees it.
type socket struct {
	local, remote netip.AddrPort
	state         string
}

// States of sockets (include/net/tcp_states.h of Linux).
const (
	established = "01"
	closeWait   = "08"
)

// sockets returns all TCP sockets over IPv4. A connection within this machine is two of them.
func sockets() ([]socket, error) {
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	var all []socket
	seen := make(map[[2]string]bool) // a table that changes while it is read has lines twice
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] == "sl" || seen[[2]string{f[1], f[2]}] {
			continue
		}
		seen[[2]string{f[1], f[2]}] = true
		local, err := kernelAddress(f[1])
		if err != nil {
			return nil, err
		}
		remote, err := kernelAddress(f[2])
		if err != nil {
			return nil, err
		}
		all = append(all, socket{local, remote, f[3]})
	}
	return all, nil
}

// kernelAddress parses "0100007F:1435": the address as a number in the machine's order, and the port.
func kernelAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	if err != nil || len(b) != 4 {
		return netip.AddrPort{}, fmt.Errorf("%s in the table of sockets is no address", text)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s in the table of sockets has no port", text)
	}
	var ip [4]byte
	binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(b))
	return netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(n)), nil
}

// mustSockets is sockets in a test. The table is that of the whole machine: reading it takes a while
// on a busy one.
func mustSockets(t *testing.T) []socket {
	t.Helper()
	all, err := sockets()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// connections counts the established connections to a port of an address among all sockets, only
// those from another address where one is given.
func connections(all []socket, host string, port int, from string) int {
	to := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port))
	n := 0
	for _, c := range all {
		if c.local == to && c.state == established && (from == "" || c.remote.Addr().String() == from) {
			n++
		}
	}
	return n
}
