package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// defaultTTL is the time to live of records that name none, in seconds.
const defaultTTL = 60

// maxAliases bounds the chain of CNAME records that one answer follows.
const maxAliases = 8

// A DNS server answers from a table, over UDP and over TCP on one port, with authority for everything: a name that the table lacks
// does not exist. Aliases are followed within the table. It may be used concurrently.
//
// It also stands for a resolver that validates DNSSEC: [DNS.SetValidation] says what the validation of a name comes to, and
// [DNS.SetDelay] how long a question is on its way. There are no signatures.
//
// A name that is an IPv4 address in dotted form has that address without standing in the table, so that an SRV record can point to
// "127.0.10.1." and a client that insists on looking its target up finds it. Servers written in C and Lua take such targets;
// [net.Resolver] drops them as malformed, so a target that Go programs are to find needs a host name.
type DNS struct {
	addr    string
	servers []*dns.Server
	serving sync.WaitGroup
	delay   atomic.Int64  // nanoseconds
	closed  chan struct{} // ends the delays
	once    sync.Once

	mu         sync.Mutex
	table      map[string][]dns.RR   // by canonical name
	below      map[string]int        // by canonical name: names with records under it
	validation map[string]Validation // by canonical name
	counts     QueryCounts
}

// A Validation is what DNSSEC has to say of an answer (RFC 4035 §4.3).
type Validation int

// The states of an answer.
const (
	// Insecure answers carry no proof and need none. It is the state of all names that have no other.
	Insecure Validation = iota
	// Secure answers have the AD bit set for those who ask with the AD or the DO bit (RFC 6840 §5.8).
	Secure
	// Bogus answers are withheld: the response code is SERVFAIL (RFC 4035 §5.5).
	Bogus
)

// QueryCounts are questions that a [DNS] server has answered, by the type of record that was asked for.
type QueryCounts struct{ SRV, A, AAAA, TLSA, Other uint64 }

// Total returns the sum.
func (c QueryCounts) Total() uint64 { return c.SRV + c.A + c.AAAA + c.TLSA + c.Other }

func (c *QueryCounts) add(kind uint16) {
	switch kind {
	case dns.TypeSRV:
		c.SRV++
	case dns.TypeA:
		c.A++
	case dns.TypeAAAA:
		c.AAAA++
	case dns.TypeTLSA:
		c.TLSA++
	default:
		c.Other++
	}
}

// NewDNS starts a server on the given address; empty means a free port of 127.0.0.1. The records are given as to [DNS.Add]. The
// context bounds the start alone; end the server with [DNS.Close].
func NewDNS(ctx context.Context, addr string, records ...string) (*DNS, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	d := &DNS{
		closed: make(chan struct{}), table: make(map[string][]dns.RR), below: make(map[string]int),
		validation: make(map[string]Validation),
	}
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

// Close ends the server and waits for its goroutines. Answers that are still delayed go out at once. A second call does nothing.
func (d *DNS) Close() error {
	var errs []error
	d.once.Do(func() { errs = d.close() })
	return errors.Join(errs...)
}

func (d *DNS) close() []error {
	close(d.closed)
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Shutdown())
	}
	d.serving.Wait()
	return errs
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
		if d.table[name] == nil {
			d.count(name, 1)
		}
		d.table[name] = append(d.table[name], rr)
	}
	return nil
}

// count notes at all names above one that it has records, or has them no longer.
func (d *DNS) count(name string, change int) {
	for above := range parents(name) {
		if d.below[above] += change; d.below[above] == 0 {
			delete(d.below, above)
		}
	}
}

// parents iterates over the names above a canonical one, the root last.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name != "." {
			next, end := dns.NextLabel(name, 0)
			if name = name[next:]; end {
				name = "."
			}
			if !yield(name) {
				return
			}
		}
	}
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

// AddTLSA puts a TLSA record for a TCP port of a host into the table (RFC 6698 §3). Association is the usage, the selector, the
// matching type and the data in hexadecimal, as "3 1 1 0123...".
func (d *DNS) AddTLSA(port uint16, host, association string) error {
	return d.Add(fmt.Sprintf("_%d._tcp.%s %d IN TLSA %s", port, dns.Fqdn(host), defaultTTL, association))
}

// SetValidation says what the validation of a name and of all names below it comes to, whether they exist or not, until it is said
// otherwise. The longest name that fits counts; "." fits all. An answer that passes through aliases is as good as the worst of them.
func (d *DNS) SetValidation(name string, v Validation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.validation[dns.CanonicalName(name)] = v
}

// validated returns the state of a canonical name.
func (d *DNS) validated(name string) Validation {
	if v, ok := d.validation[name]; ok {
		return v
	}
	for above := range parents(name) {
		if v, ok := d.validation[above]; ok {
			return v
		}
	}
	return Insecure
}

// SetDelay lets each answer wait from now on, as if the server were so far away: the round trip to a resolver. Questions are
// answered side by side, but for those on one TCP connection, which has its answers one after the other. Zero, the initial value,
// is no delay.
func (d *DNS) SetDelay(wait time.Duration) { d.delay.Store(int64(wait)) }

// wait lasts as long as an answer is to be delayed.
func (d *DNS) wait() {
	wait := time.Duration(d.delay.Load())
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.closed:
	}
}

// Remove takes all records of a name out of the table.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name = dns.CanonicalName(name); d.table[name] != nil {
		delete(d.table, name)
		d.count(name, -1)
	}
}

// Queries returns how many questions have been answered, whatever the answer was. One that was cut over UDP and asked again over
// TCP is two.
func (d *DNS) Queries() uint64 { return d.Counts().Total() }

// Counts returns how many questions have been answered, by type.
func (d *DNS) Counts() QueryCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
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
	opt := query.IsEdns0()
	switch {
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	default:
		v := d.answer(reply, query.Question[0])
		reply.AuthenticatedData = v == Secure && (query.AuthenticatedData || opt != nil && opt.Do())
		if v == Bogus && !query.CheckingDisabled {
			reply.Answer, reply.Rcode = nil, dns.RcodeServerFailure
		}
	}
	if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
		size := uint16(dns.MinMsgSize)
		if opt != nil {
			size = max(size, opt.UDPSize())
			reply.SetEdns0(size, opt.Do())
		}
		reply.Truncate(int(size))
	}
	d.wait()
	// A client that has gone needs no answer, and there is nobody else to tell.
	_ = w.WriteMsg(reply)
}

// answer fills in what the table has for a question, aliases followed, and returns what its validation comes to.
func (d *DNS) answer(reply *dns.Msg, q dns.Question) Validation {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.add(q.Qtype)
	if q.Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
		return Insecure
	}
	worst := Secure
	asked, name := q.Name, dns.CanonicalName(q.Name)
	for range maxAliases {
		switch v := d.validated(name); {
		case v == Bogus:
			worst = Bogus
		case v == Insecure && worst == Secure:
			worst = Insecure
		}
		records := d.records(asked, name)
		alias := ""
		for _, rr := range records {
			if kind := rr.Header().Rrtype; q.Qtype == kind || q.Qtype == dns.TypeANY {
				reply.Answer = append(reply.Answer, rr)
			} else if cname, ok := rr.(*dns.CNAME); ok {
				reply.Answer = append(reply.Answer, rr)
				alias = cname.Target
			}
		}
		if alias == "" {
			if records == nil && d.below[name] == 0 {
				// That a name stands above others makes it exist (RFC 8020 §2).
				reply.Rcode = dns.RcodeNameError
			}
			return worst
		}
		asked, name = alias, dns.CanonicalName(alias)
	}
	return worst
}

// records returns what the table has for a canonical name, in answer to the name as it was asked for.
func (d *DNS) records(asked, name string) []dns.RR {
	if records := d.table[name]; records != nil {
		return records
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(name, ".")); err == nil && addr.Is4() {
		header := dns.RR_Header{Name: asked, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: defaultTTL}
		return []dns.RR{&dns.A{Hdr: header, A: addr.AsSlice()}}
	}
	return nil
}
