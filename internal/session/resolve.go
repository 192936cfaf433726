package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// DefaultDNSTimeout bounds one question to one DNS server.
const DefaultDNSTimeout = 3 * time.Second

// A Resolver finds the servers of a domain (RFC 6120 §3.2, XEP-0368). The zero value asks the system's DNS servers.
// It keeps nothing: each login looks up anew, as a client would. Any number of goroutines may use one.
type Resolver struct {
	Servers []string              // DNS servers, "address" or "address:port", tried in turn; empty: the system's
	Timeout time.Duration         // for one question to one server; 0: DefaultDNSTimeout
	Random  func(n uint32) uint32 // random number below n for the choice by weight; nil: math/rand/v2
}

// A Target is a host and port to connect to.
type Target struct {
	Host string
	Port uint16
}

// String returns "host:port".
func (t Target) String() string { return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))) }

// Targets returns where the clients of a domain connect to, in the order in which to try (RFC 2782): from the SRV
// records _xmpp-client, or for direct TLS _xmpps-client, and without any the domain itself at port 5222, or 5223.
// A domain that says by the record "." that it has no such service is an error.
func (r *Resolver) Targets(ctx context.Context, domain string, mode TLSMode) ([]Target, error) {
	service, port := "_xmpp-client._tcp.", uint16(5222)
	if mode == DirectTLS {
		service, port = "_xmpps-client._tcp.", 5223
	}
	name := dns.Fqdn(service + domain)
	records, err := r.ask(ctx, name, dns.TypeSRV)
	if err != nil {
		return nil, err
	}
	var srv []*dns.SRV
	for _, rr := range records {
		if s, ok := rr.(*dns.SRV); ok {
			srv = append(srv, s)
		}
	}
	if len(srv) == 0 {
		return []Target{{strings.TrimSuffix(domain, "."), port}}, nil
	}
	if len(srv) == 1 && srv[0].Target == "." {
		return nil, fmt.Errorf("session: %s says that %s offers no such service", name, domain)
	}
	return r.order(srv), nil
}

// order sorts by priority and draws by weight within one (RFC 2782, "Usage rules").
func (r *Resolver) order(srv []*dns.SRV) []Target {
	random := r.Random
	if random == nil {
		random = rand.Uint32N
	}
	slices.SortStableFunc(srv, func(a, b *dns.SRV) int {
		if a.Priority != b.Priority {
			return int(a.Priority) - int(b.Priority)
		}
		// Records of weight 0 stand first, which gives them their small chance.
		return min(int(a.Weight), 1) - min(int(b.Weight), 1)
	})
	targets := make([]Target, 0, len(srv))
	for len(srv) > 0 {
		same := 1
		sum := uint32(srv[0].Weight)
		for same < len(srv) && srv[same].Priority == srv[0].Priority {
			sum += uint32(srv[same].Weight)
			same++
		}
		draw, running, pick := random(sum+1), uint32(0), 0
		for pick = range same {
			if running += uint32(srv[pick].Weight); running >= draw {
				break
			}
		}
		targets = append(targets, Target{strings.TrimSuffix(srv[pick].Target, "."), srv[pick].Port})
		srv = slices.Delete(srv, pick, pick+1)
	}
	return targets
}

// Addresses returns the addresses of a host, IPv6 before IPv4. Without own DNS servers the system's files count too.
func (r *Resolver) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if r == nil || len(r.Servers) == 0 {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("session: address of %s: %w", host, err)
		}
		for i, a := range addrs {
			addrs[i] = a.Unmap()
		}
		return addrs, nil
	}
	var addrs []netip.Addr
	for _, typ := range []uint16{dns.TypeAAAA, dns.TypeA} {
		records, err := r.ask(ctx, dns.Fqdn(host), typ)
		if err != nil {
			return nil, err
		}
		for _, rr := range records {
			var ip net.IP
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A
			case *dns.AAAA:
				ip = rr.AAAA
			}
			if a, ok := netip.AddrFromSlice(ip); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("session: %s has no address record", host)
	}
	return addrs, nil
}

// ask returns the answers to one question; none exist is not an error, no usable answer is one.
func (r *Resolver) ask(ctx context.Context, name string, typ uint16) ([]dns.RR, error) {
	if r == nil {
		r = &Resolver{}
	}
	servers := r.Servers
	if len(servers) == 0 {
		system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fmt.Errorf("session: the system's DNS servers: %w", err)
		}
		for _, s := range system.Servers {
			servers = append(servers, net.JoinHostPort(s, system.Port))
		}
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultDNSTimeout
	}
	question := new(dns.Msg).SetQuestion(name, typ)
	question.SetEdns0(1232, false)
	var failures []error
	for _, server := range servers {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(server, "53")
		}
		answer, err := exchange(ctx, question, server, timeout)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", server, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		return answer.Answer, nil
	}
	if len(failures) == 0 {
		failures = append(failures, errors.New("no DNS server is configured"))
	}
	return nil, fmt.Errorf("session: look-up of %s %s: %w", dns.TypeToString[typ], name, errors.Join(failures...))
}

func exchange(ctx context.Context, question *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	answer, _, err := (&dns.Client{Timeout: timeout}).ExchangeContext(ctx, question, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: timeout}).ExchangeContext(ctx, question, server)
	}
	switch {
	case err != nil:
		return nil, err
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("answered %s", dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}
