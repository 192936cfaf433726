package resolve

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DefaultTimeout bounds one question to one DNS server, DefaultRounds how often all of them are asked.
const (
	DefaultTimeout = 3 * time.Second
	DefaultRounds  = 2
)

const (
	// udpSize is what a datagram may have without being fragmented on nearly every path.
	udpSize = 1232
	// maxAliases bounds a chain of CNAME records.
	maxAliases = 8
)

// A Resolver asks DNS servers, over UDP and where an answer does not fit over TCP. It believes the AD bit: the way to
// its servers has to be trusted (RFC 6840 §5.7). The zero value asks the system's servers. Any number of goroutines may
// use one; it must not be copied or changed once it is used.
//
// A look-up that others wait for already is not made twice, and its outcome is kept for the time to live of the records
// that it rests on, unless NoCache is set. Errors are not kept.
//
// SRV, Addresses and TLSA block until there is an answer, everybody was asked or the context ends. What could not be had
// is an error, one of [BogusError], [NoServiceError], [NoAddressError] and [LookupError]; of these only NoServiceError
// lets another service of the same domain be tried (RFC 7673 §3.1).
type Resolver struct {
	// Servers are asked in turn, "address" or "address:port" each. Empty means those of the system, read at the first
	// question, and that System finds addresses. SERVFAIL from one of them ends a look-up: another that does not validate
	// would hide a forgery.
	Servers []string
	// System finds the addresses of hosts where there are no Servers, so that files like /etc/hosts count; nil means
	// [net.DefaultResolver].
	System *net.Resolver
	// Timeout bounds one question to one server; 0 means DefaultTimeout.
	Timeout time.Duration
	// Rounds is how often all servers are asked before a look-up fails; 0 means DefaultRounds.
	Rounds int
	// Seed determines the draws between targets of equal priority (RFC 2782): the n-th for a domain is always the same.
	Seed uint64
	// Random returns a random number below n for a draw, in place of what Seed determines. It may be called concurrently.
	Random func(n uint32) uint32
	// NoCache makes each look-up a question of its own, as of clients that share nothing: nothing is kept, and what others
	// wait for is not waited for.
	NoCache bool
	// NegativeTTL is how long the absence of records is kept where the answer has no SOA record to say it (RFC 2308 §5
	// would not keep it).
	NegativeTTL time.Duration
	// Now is the clock of the cache; nil means [time.Now].
	Now func() time.Time
	// Dial connects to a server, network "udp" or "tcp"; nil means a [net.Dialer]. A connection that is no
	// [net.PacketConn] carries messages as TCP does (RFC 1035 §4.2.2).
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	system   sync.Once
	fallback []string // the system's servers
	failed   error    // why there are none
	pending  Flight[dns.Question, outcome]

	mu     sync.Mutex
	cache  map[dns.Question]outcome
	draws  map[string]uint64 // by service and domain
	counts Counts
}

// Counts are what a [Resolver] has done. What its servers have been asked is the sum of SRV, A, AAAA, TLSA, Retries and
// TCP.
type Counts struct {
	SRV, A, AAAA, TLSA uint64 // look-ups that were made, by type
	System             uint64 // look-ups of addresses that were left to the system
	Cached             uint64 // questions answered without, from the cache
	Joined             uint64 // questions answered by a look-up that was under way
	Retries            uint64 // further attempts of the same look-up
	TCP                uint64 // answers that were cut, and asked for again over TCP
	Failed             uint64 // look-ups that ended in an error
}

// Lookups returns the number of look-ups that were made.
func (c Counts) Lookups() uint64 { return c.SRV + c.A + c.AAAA + c.TLSA + c.System }

// Counts returns what has been done so far.
func (r *Resolver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// SRV returns where a service of a domain is. Without records that is the domain itself at [DefaultPort], if the service
// has one. A record that says that the service is not offered is a [NoServiceError].
func (r *Resolver) SRV(ctx context.Context, service, domain string) (SRVAnswer, error) {
	domain = strings.TrimSuffix(domain, ".")
	answer, err := r.ask(ctx, "_"+service+"._tcp."+domain, dns.TypeSRV)
	if err != nil {
		return SRVAnswer{}, err
	}
	var records []*dns.SRV
	for _, rr := range answer.records {
		if srv, ok := rr.(*dns.SRV); ok {
			records = append(records, srv)
		}
	}
	offered := slices.DeleteFunc(slices.Clone(records), func(srv *dns.SRV) bool { return srv.Target == "." })
	switch {
	case len(offered) > 0:
		return SRVAnswer{Targets: orderSRV(offered, r.draw(service, domain)), Secure: answer.secure}, nil
	case len(records) > 0:
		return SRVAnswer{}, &NoServiceError{Service: service, Domain: domain, Said: true}
	}
	port, ok := DefaultPort(service)
	if !ok {
		return SRVAnswer{}, &NoServiceError{Service: service, Domain: domain}
	}
	return SRVAnswer{Targets: []Target{{domain, port}}, Fallback: true, Secure: answer.secure}, nil
}

// draw returns the source of random numbers for one order of targets. It depends on nothing but the seed and how often
// the domain was asked for, so that other domains looked up meanwhile change nothing.
func (r *Resolver) draw(service, domain string) func(n uint32) uint32 {
	if r.Random != nil {
		return r.Random
	}
	key := strings.ToLower(service + " " + domain)
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draws == nil {
		r.draws = make(map[string]uint64)
	}
	n := r.draws[key]
	r.draws[key]++
	return rand.New(rand.NewPCG(r.Seed, h.Sum64()+n)).Uint32N // #nosec G404 -- The order has to repeat.
}

// orderSRV sorts by priority and draws by weight within one (RFC 2782, "Usage rules").
func orderSRV(records []*dns.SRV, random func(n uint32) uint32) []Target {
	slices.SortStableFunc(records, func(a, b *dns.SRV) int {
		if a.Priority != b.Priority {
			return int(a.Priority) - int(b.Priority)
		}
		// Records of weight 0 stand first, which gives them their small chance.
		return min(int(a.Weight), 1) - min(int(b.Weight), 1)
	})
	targets := make([]Target, 0, len(records))
	for len(records) > 0 {
		same, sum := 0, uint32(0)
		for same < len(records) && records[same].Priority == records[0].Priority {
			sum += uint32(records[same].Weight)
			same++
		}
		draw, running, pick := random(sum+1), uint32(0), 0
		for pick = range same {
			if running += uint32(records[pick].Weight); running >= draw {
				break
			}
		}
		srv := records[pick]
		targets = append(targets, Target{strings.TrimSuffix(srv.Target, "."), srv.Port})
		records = slices.Delete(records, pick, pick+1)
	}
	return targets
}

// Addresses returns the addresses of a host. One that is an address already, as SRV records in dotted form have it, is
// looked up nowhere and Secure: it rests on nothing but the record that named it. A and AAAA are looked up side by side,
// and where one of the two look-ups fails, so does the whole (RFC 7673 §3.2). IPv6 comes before IPv4. Without Servers the
// system is asked: its order counts (RFC 6724 §6), and nothing is Secure or kept.
func (r *Resolver) Addresses(ctx context.Context, host string) (AddressAnswer, error) {
	if a, ok := literal(host); ok {
		return AddressAnswer{Addrs: []netip.Addr{a}, Secure: true}, nil
	}
	if len(r.Servers) == 0 {
		return r.systemAddresses(ctx, host)
	}
	kinds := []uint16{dns.TypeAAAA, dns.TypeA}
	answers, errs := make([]outcome, len(kinds)), make([]error, len(kinds))
	var both sync.WaitGroup
	for i, kind := range kinds {
		both.Go(func() { answers[i], errs[i] = r.ask(ctx, host, kind) })
	}
	both.Wait()
	for _, err := range errs {
		if err != nil {
			return AddressAnswer{}, err
		}
	}
	out := AddressAnswer{Secure: true}
	for _, answer := range answers {
		found := false
		for _, rr := range answer.records {
			if a, ok := address(rr); ok {
				out.Addrs, found = append(out.Addrs, a), true
			}
		}
		out.Secure = out.Secure && (answer.secure || !found)
	}
	if len(out.Addrs) == 0 {
		return AddressAnswer{}, &NoAddressError{Host: host}
	}
	return out, nil
}

// systemAddresses asks the system, which has files besides the DNS.
func (r *Resolver) systemAddresses(ctx context.Context, host string) (AddressAnswer, error) {
	system := r.System
	if system == nil {
		system = net.DefaultResolver
	}
	addrs, err := system.LookupNetIP(ctx, "ip", host)
	r.mu.Lock()
	r.counts.System++
	if err != nil {
		r.counts.Failed++
	}
	r.mu.Unlock()
	if failed := new(net.DNSError); errors.As(err, &failed) && failed.IsNotFound {
		return AddressAnswer{}, &NoAddressError{Host: host}
	}
	if err != nil {
		return AddressAnswer{}, &LookupError{Name: host, Type: "address", Err: err}
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return AddressAnswer{Addrs: addrs}, nil
}

// literal parses an address, an IPv6 one with or without brackets.
func literal(host string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(host, "."), "["), "]"))
	return a.Unmap(), err == nil
}

func address(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch rr := rr.(type) {
	case *dns.A:
		ip = rr.A
	case *dns.AAAA:
		ip = rr.AAAA
	}
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

// TLSA returns what the DNS says of the certificate at a TCP port of a host; that it says nothing is no error. The name is
// _PORT._tcp.HOST (RFC 6698 §3). Only hosts whose addresses are Secure should be asked about (RFC 7673 §3.2).
func (r *Resolver) TLSA(ctx context.Context, port uint16, host string) (TLSAAnswer, error) {
	answer, err := r.ask(ctx, fmt.Sprintf("_%d._tcp.%s", port, host), dns.TypeTLSA)
	if err != nil {
		return TLSAAnswer{}, err
	}
	out := TLSAAnswer{Secure: answer.secure}
	for _, rr := range answer.records {
		if record, ok := rr.(*dns.TLSA); ok {
			out.Records = append(out.Records, parseTLSA(record))
		}
	}
	return out, nil
}

// An outcome is what a look-up gives: the records of the type that was asked for, none where there are none.
type outcome struct {
	records []dns.RR
	secure  bool
	until   time.Time // kept no longer than this
}

// ask looks a name up, from the cache if it is there.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) (outcome, error) {
	q := dns.Question{Name: dns.CanonicalName(name), Qtype: kind, Qclass: dns.ClassINET}
	if err := checkDomainName(name); err != nil {
		return outcome{}, &LookupError{Name: name, Type: dns.TypeToString[kind], Err: err}
	}
	if r.NoCache {
		return r.lookup(ctx, q)
	}
	if kept, ok := r.cached(q); ok {
		return kept, nil
	}
	answer, joined, err := r.pending.Do(ctx, q, func(ctx context.Context) (outcome, error) { return r.lookup(ctx, q) })
	if joined {
		r.mu.Lock()
		r.counts.Joined++
		r.mu.Unlock()
	}
	var (
		failed *LookupError
		bogus  *BogusError
	)
	if err != nil && !errors.As(err, &failed) && !errors.As(err, &bogus) {
		err = &LookupError{Name: q.Name, Type: dns.TypeToString[kind], Err: err} // the context has ended
	}
	return answer, err
}

// checkDomainName refuses what would be escaped or taken for another name.
func checkDomainName(name string) error {
	if strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) {
		return errors.New("it has characters that no host name has; write it in A-labels (xn--...)")
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" || strings.HasSuffix(name, "._tcp.") {
		return errors.New("it is no domain name")
	}
	return nil
}

// cached returns what is kept.
func (r *Resolver) cached(q dns.Question) (outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept, ok := r.cache[q]
	if !ok || r.NoCache {
		return outcome{}, false
	}
	if !r.now().Before(kept.until) {
		delete(r.cache, q)
		return outcome{}, false
	}
	r.counts.Cached++
	return kept, true
}

// lookup asks the servers, follows aliases that they have not followed themselves, and fills the cache.
func (r *Resolver) lookup(ctx context.Context, q dns.Question) (outcome, error) {
	// Another look-up may have ended since the cache was asked. Without this, how many there are would depend on
	// luck.
	if kept, ok := r.cached(q); ok {
		return kept, nil
	}
	r.count(q.Qtype)
	answer, err := r.resolve(ctx, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.counts.Failed++
		return outcome{}, err
	}
	if !r.NoCache && r.now().Before(answer.until) {
		if r.cache == nil {
			r.cache = make(map[dns.Question]outcome)
		}
		r.cache[q] = answer
	}
	return answer, nil
}

func (r *Resolver) count(kind uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case dns.TypeSRV:
		r.counts.SRV++
	case dns.TypeA:
		r.counts.A++
	case dns.TypeAAAA:
		r.counts.AAAA++
	case dns.TypeTLSA:
		r.counts.TLSA++
	}
}

func (r *Resolver) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Resolver) resolve(ctx context.Context, q dns.Question) (outcome, error) {
	fail := func(err error) (outcome, error) {
		return outcome{}, &LookupError{Name: q.Name, Type: dns.TypeToString[q.Qtype], Err: err}
	}
	out := outcome{secure: true}
	ttl := time.Duration(-1)
	shorten := func(t time.Duration) {
		if ttl < 0 || t < ttl {
			ttl = t
		}
	}
	seen := 0
	for next := q; ; {
		if next != q {
			r.count(q.Qtype)
		}
		reply, err := r.exchange(ctx, next)
		if err != nil {
			return outcome{}, err
		}
		if reply.Rcode == dns.RcodeServerFailure {
			return outcome{}, &BogusError{Name: q.Name, Type: dns.TypeToString[q.Qtype]}
		}
		// The bit speaks of every set of records in the answer (RFC 4035 §3.2.3).
		out.secure = out.secure && reply.AuthenticatedData
		name := next.Name
		for moved := true; moved; {
			moved = false
			for _, rr := range reply.Answer {
				if h := rr.Header(); dns.CanonicalName(h.Name) != name || h.Class != dns.ClassINET {
					continue
				} else if h.Rrtype == q.Qtype {
					out.records = append(out.records, rr)
					shorten(time.Duration(h.Ttl) * time.Second)
				} else if alias, ok := rr.(*dns.CNAME); ok {
					if seen++; seen > maxAliases {
						return fail(fmt.Errorf("more than %d aliases, the last one %s; correct the CNAME records", maxAliases, alias.Target))
					}
					shorten(time.Duration(h.Ttl) * time.Second)
					name, moved = dns.CanonicalName(alias.Target), true
					break
				}
			}
		}
		if len(out.records) > 0 || name == next.Name || reply.Rcode == dns.RcodeNameError || denied(reply) {
			if len(out.records) == 0 {
				shorten(r.negative(reply))
			}
			out.until = r.now().Add(ttl)
			return out, nil
		}
		next.Name = name // the server has not followed the alias
	}
}

// denied reports whether the absence of records was said with authority (RFC 2308 §2.2).
func denied(reply *dns.Msg) bool {
	return slices.ContainsFunc(reply.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

// negative returns how long the absence of records is kept (RFC 2308 §5).
func (r *Resolver) negative(reply *dns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	return r.NegativeTTL
}

// exchange asks one question, each server in turn, until one of them answers it.
func (r *Resolver) exchange(ctx context.Context, q dns.Question) (*dns.Msg, error) {
	fail := func(err error) (*dns.Msg, error) {
		return nil, &LookupError{Name: q.Name, Type: dns.TypeToString[q.Qtype], Err: err}
	}
	servers, err := r.servers()
	if err != nil {
		return fail(err)
	}
	rounds := r.Rounds
	if rounds <= 0 {
		rounds = DefaultRounds
	}
	var failures []error
	for round := range rounds {
		for i, server := range servers {
			if round+i > 0 {
				r.mu.Lock()
				r.counts.Retries++
				r.mu.Unlock()
			}
			reply, err := r.put(ctx, server, q)
			if err == nil {
				return reply, nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", server, err))
			if ctx.Err() != nil {
				return fail(errors.Join(failures...))
			}
		}
	}
	return fail(errors.Join(failures...))
}

// servers returns whom to ask.
func (r *Resolver) servers() ([]string, error) {
	servers := r.Servers
	if len(servers) == 0 {
		r.system.Do(func() {
			config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
			if err != nil {
				r.failed = fmt.Errorf("the system's DNS servers: %w", err)
				return
			}
			for _, s := range config.Servers {
				r.fallback = append(r.fallback, net.JoinHostPort(s, config.Port))
			}
		})
		if servers = r.fallback; r.failed != nil {
			return nil, r.failed
		}
	}
	if len(servers) == 0 {
		return nil, errors.New("no DNS server is configured")
	}
	out := make([]string, len(servers))
	for i, server := range servers {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(server, "53")
		}
		out[i] = server
	}
	return out, nil
}

// put asks one server, over TCP too if its answer is cut.
func (r *Resolver) put(ctx context.Context, server string, q dns.Question) (*dns.Msg, error) {
	reply, err := r.over(ctx, "udp", server, q)
	if err == nil && reply.Truncated {
		r.mu.Lock()
		r.counts.TCP++
		r.mu.Unlock()
		if reply, err = r.over(ctx, "tcp", server, q); err == nil && reply.Truncated {
			err = errors.New("its answer is truncated over TCP too")
		}
	}
	if err != nil {
		return nil, err
	}
	switch reply.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure:
		return reply, nil
	}
	return nil, fmt.Errorf("it answered %s", dns.RcodeToString[reply.Rcode])
}

// over asks one server over one network.
func (r *Resolver) over(ctx context.Context, network, server string, q dns.Question) (*dns.Msg, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// A wait for the answer ends with the context, and says why.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reply, err := question(&dns.Conn{Conn: conn, UDPSize: udpSize}, q)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return reply, err
}

// question puts a question and waits for the answer to it.
func question(conn *dns.Conn, q dns.Question) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
	query.AuthenticatedData = true // asks for the bit without the signatures (RFC 6840 §5.7)
	query.SetEdns0(udpSize, false)
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	// Late answers to other questions of this port, and forged ones, are passed over; how many is bounded.
	const strays = 16
	var last error
	for range strays {
		reply, err := conn.ReadMsg()
		switch {
		case err != nil && reply == nil:
			return nil, err
		case err != nil:
			last = err
		case reply.Id != query.Id, !reply.Response, len(reply.Question) != 1,
			reply.Question[0].Qtype != q.Qtype, dns.CanonicalName(reply.Question[0].Name) != q.Name:
			last = errors.New("it answered another question")
		default:
			return reply, nil
		}
	}
	return nil, last
}
