package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Static answers as a [Resolver] does, from a table, without any DNS. Nothing in it is Secure, nothing has TLSA records.
// It must not be changed once it is used.
type Static struct {
	// Start and Direct hold "address:port" by domain, in lower case, for services with STARTTLS and with direct TLS. The
	// domain "*" stands for all that are not there.
	Start, Direct map[string]string
}

// SRV returns the entry for a domain. One that has none does not offer the service.
func (s *Static) SRV(_ context.Context, service, domain string) (SRVAnswer, error) {
	table := s.Start
	if service == ServerDirect || service == ClientDirect {
		table = s.Direct
	}
	where, ok := table[strings.ToLower(strings.TrimSuffix(domain, "."))]
	if !ok {
		if where, ok = table["*"]; !ok {
			return SRVAnswer{}, &NoServiceError{Service: service, Domain: domain}
		}
	}
	host, text, err := net.SplitHostPort(where)
	if err != nil {
		return SRVAnswer{}, fmt.Errorf("resolve: server of %s: %w; write it as address:port", domain, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return SRVAnswer{}, fmt.Errorf("resolve: server of %s: %q is no port, write a number from 1 to 65535", domain, text)
	}
	return SRVAnswer{Targets: []Target{{host, uint16(port)}}}, nil
}

// Addresses returns the host itself, which has to be an address.
func (s *Static) Addresses(_ context.Context, host string) (AddressAnswer, error) {
	if a, ok := literal(host); ok {
		return AddressAnswer{Addrs: []netip.Addr{a}}, nil
	}
	return AddressAnswer{}, &NoAddressError{Host: host}
}

// TLSA says that there is none.
func (s *Static) TLSA(context.Context, uint16, string) (TLSAAnswer, error) { return TLSAAnswer{}, nil }
