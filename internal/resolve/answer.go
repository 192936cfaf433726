package resolve

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/miekg/dns"
)

// Services that clients (RFC 6120 §3.2.1) and servers look domains up by, with STARTTLS and with direct TLS (XEP-0368).
const (
	ClientStart  = "xmpp-client"
	ClientDirect = "xmpps-client"
	ServerStart  = "xmpp-server"
	ServerDirect = "xmpps-server"
)

// DefaultPort returns the port at which a domain offers a service that it has no SRV records for (RFC 6120 §3.2.2). That
// of ClientDirect is in no RFC, but older than the SRV record for it. ok is false for ServerDirect and unknown services:
// nobody listens there unannounced.
func DefaultPort(service string) (port uint16, ok bool) {
	switch service {
	case ClientStart:
		return 5222, true
	case ClientDirect:
		return 5223, true
	case ServerStart:
		return 5269, true
	}
	return 0, false
}

// A Target is a host, by name or address, and a TCP port.
type Target struct {
	Host string
	Port uint16
}

// String returns "host:port".
func (t Target) String() string { return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))) }

// An SRVAnswer is where the servers of a domain are, in the order in which to try them. Targets holds at least one.
//
// Secure says, here and in the other answers, that every set of records which the answer rests on, aliases included, was
// proved by DNSSEC (RFC 7673 §3).
type SRVAnswer struct {
	Targets []Target
	// Fallback says that the domain has no SRV records and stands for itself (RFC 6120 §3.2.2).
	Fallback bool
	// Secure is true of the absence of records too, where that was proved.
	Secure bool
}

// An AddressAnswer is the addresses of a host in the order in which to try them. Addrs holds at least one.
type AddressAnswer struct {
	Addrs  []netip.Addr
	Secure bool
}

// A TLSAAnswer is the TLSA records of a port. Records that are not Secure must not be used (RFC 6698 §4.1).
type TLSAAnswer struct {
	Records []TLSA
	Secure  bool
}

// A TLSA record says which certificate is found at a port (RFC 6698 §2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// String writes the record as in a zone file, as "3 1 1 0123...".
func (t TLSA) String() string {
	return fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data)
}

// parseTLSA takes a record over. Data that is no hexadecimal text makes it unusable.
func parseTLSA(r *dns.TLSA) TLSA {
	data, err := hex.DecodeString(r.Certificate)
	if err != nil {
		data = nil
	}
	return TLSA{r.Usage, r.Selector, r.MatchingType, data}
}
