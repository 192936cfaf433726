package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// defaultTTL is the time to live of records that name none, in seconds.
const defaultTTL = 60

// A DNS server answers from a table, over UDP and over TCP on one port, with authority for everything: a name that the table lacks
// does not exist. It may be used concurrently.
//
// A name that is an IPv4 address in dotted form has that address without standing in the table, so that an SRV record can point to
// "127.0.10.1." and a client that insists on looking its target up finds it. Servers written in C and Lua take such targets;
// [net.Resolver] drops them as malformed, so a target that Go programs are to find needs a host name.
type DNS struct {
	addr    string
	servers []*dns.Server
	serving sync.WaitGroup

	mu      sync.Mutex
	table   map[string][]dns.RR // by canonical name
	queries uint64
}

// NewDNS starts a server on the given address; empty means a free port of 127.0.0.1. The records are given as to [DNS.Add]. The
// context bounds the start alone; end the server with [DNS.Close].
func NewDNS(ctx context.Context, addr string, records ...string) (*DNS, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	d := &DNS{table: make(map[string][]dns.RR)}
	if err := d.Add(records...); err != nil {
		return nil, err
	}
	packets, listener, err := listenBoth(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("lab: DNS server on %s: %w", addr, err)
	}
	d.addr = listener.Addr().String()
	d.servers = []*dns.Server{{PacketConn: packets, Handler: d}, {Listener: listener, Handler: d}}
	for _, s := range d.servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		failed := make(chan error, 1)
		d.serving.Go(func() { failed <- s.ActivateAndServe() })
		select {
		case <-started:
		case err := <-failed:
			return nil, errors.Join(fmt.Errorf("lab: DNS server on %s: %w", addr, err), packets.Close(), listener.Close())
		}
	}
	return d, nil
}

// listenBoth opens one port for UDP and TCP. A free port of the one may be taken in the other, hence the attempts.
func listenBoth(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	const attempts = 20
	var lc net.ListenConfig
	var last error
	for range attempts {
		listener, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		packets, err := lc.ListenPacket(ctx, "udp", listener.Addr().String())
		if err == nil {
			return packets, listener, nil
		}
		last = errors.Join(err, listener.Close())
		if _, port, _ := net.SplitHostPort(addr); port != "0" {
			break
		}
	}
	return nil, nil, last
}

// Addr returns "host:port" of the server, the same for UDP and TCP.
func (d *DNS) Addr() string { return d.addr }

// Close ends the server and waits for its goroutines.
func (d *DNS) Close() error {
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Shutdown())
	}
	d.serving.Wait()
	return errors.Join(errs...)
}

// Add puts records into the table. Each is a line in the form of zone files (RFC 1035 §5), for example
//
//	_xmpp-server._tcp.a.test. 60 IN SRV 0 5 15269 127.0.10.1.
//	_443._tcp.a.test. TLSA 3 1 1 0123...
//
// where the time to live and the class may be left out. All records are checked before one is added.
func (d *DNS) Add(records ...string) error {
	parsed := make([]dns.RR, 0, len(records))
	for _, line := range records {
		parser := dns.NewZoneParser(strings.NewReader(line), ".", "")
		parser.SetDefaultTTL(defaultTTL)
		rr, ok := parser.Next()
		if err := parser.Err(); err != nil {
			return fmt.Errorf("lab: DNS record %q: %w", line, err)
		}
		if !ok {
			return fmt.Errorf("lab: DNS record %q: there is no record", line)
		}
		parsed = append(parsed, rr)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rr := range parsed {
		name := dns.CanonicalName(rr.Header().Name)
		d.table[name] = append(d.table[name], rr)
	}
	return nil
}

// AddSRV puts an SRV record (RFC 2782) for a service, for example "xmpp-client", of a domain into the table. The target is a host
// name or a dotted IPv4 address; "." says that the service is not offered.
func (d *DNS) AddSRV(service, domain, target string, port uint16) error {
	return d.Add(fmt.Sprintf("_%s._tcp.%s %d IN SRV 0 5 %d %s", service, dns.Fqdn(domain), defaultTTL, port, dns.Fqdn(target)))
}

// AddHost puts the addresses of a host into the table, as A and AAAA records.
func (d *DNS) AddHost(host string, addrs ...netip.Addr) error {
	for _, a := range addrs {
		kind := "A"
		if a = a.Unmap(); a.Is6() {
			kind = "AAAA"
		}
		if err := d.Add(fmt.Sprintf("%s %d IN %s %s", dns.Fqdn(host), defaultTTL, kind, a)); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes all records of a name out of the table.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.table, dns.CanonicalName(name))
}

// Queries returns how many questions have been answered, whatever the answer was.
func (d *DNS) Queries() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries
}

// Resolver returns a resolver that asks this server and no other.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo:     true,
		StrictErrors: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, d.addr)
		},
	}
}

// ServeDNS implements [dns.Handler].
func (d *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	switch {
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	default:
		d.answer(reply, query.Question[0])
	}
	if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
		size := uint16(dns.MinMsgSize)
		if opt := query.IsEdns0(); opt != nil {
			size = max(size, opt.UDPSize())
			reply.SetEdns0(size, false)
		}
		reply.Truncate(int(size))
	}
	// A client that has gone needs no answer, and there is nobody else to tell.
	_ = w.WriteMsg(reply)
}

// answer fills in what the table has for a question.
func (d *DNS) answer(reply *dns.Msg, q dns.Question) {
	name := dns.CanonicalName(q.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queries++
	if q.Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
		return
	}
	records := d.table[name]
	if addr, err := netip.ParseAddr(strings.TrimSuffix(name, ".")); err == nil && addr.Is4() && records == nil {
		header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: defaultTTL}
		records = []dns.RR{&dns.A{Hdr: header, A: addr.AsSlice()}}
	}
	for _, rr := range records {
		if q.Qtype == rr.Header().Rrtype || q.Qtype == dns.TypeANY {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	if records == nil && !d.hasDescendant(name) {
		reply.Rcode = dns.RcodeNameError
	}
}

// hasDescendant tells whether a name without records stands above one with some: then it exists (RFC 8020 §2).
func (d *DNS) hasDescendant(name string) bool {
	for other := range d.table {
		if strings.HasSuffix(other, "."+name) {
			return true
		}
	}
	return false
}
