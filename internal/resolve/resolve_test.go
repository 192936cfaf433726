package resolve_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
)

func newDNS(t testing.TB, records ...string) *lab.DNS {
	t.Helper()
	d, err := lab.NewDNS(t.Context(), "", records...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// zone has a domain for every case; all below sec.test is secure, all below bad.test bogus.
func zone(t testing.TB) *lab.DNS {
	d := newDNS(t,
		"_xmpp-server._tcp.a.test. SRV 0 5 5270 xmpp.a.test.",
		"_xmpps-server._tcp.a.test. SRV 0 5 5271 xmpp.a.test.",
		"xmpp.a.test. A 127.0.0.1",
		"xmpp.a.test. AAAA ::1",
		"_xmpp-client._tcp.a.test. SRV 20 0 15222 xmpp.a.test.",
		"_xmpp-client._tcp.a.test. SRV 10 0 5222 xmpp.sec.test.",
		"_xmpps-client._tcp.a.test. SRV 0 0 443 xmpp.a.test.",
		"_xmpp-client._tcp.dot.test. SRV 0 0 0 .",
		"_xmpps-client._tcp.dot.test. SRV 0 0 0 .",
		"plain.test. A 127.0.0.2",
		"_xmpp-server._tcp.dot.test. SRV 0 0 0 .",
		"_xmpps-server._tcp.dot.test. SRV 0 0 0 .",
		"_xmpp-server._tcp.dots.test. SRV 0 0 0 .",
		"_xmpp-server._tcp.dots.test. SRV 0 0 5269 xmpp.a.test.",
		"_xmpp-server._tcp.quad.test. SRV 0 0 15269 127.0.10.1.",
		"_xmpp-server._tcp.alias.test. CNAME _xmpp-server._tcp.a.test.",
		"alias.test. CNAME xmpp.a.test.",
		"loop.test. CNAME loop2.test.",
		"loop2.test. CNAME loop.test.",
		"nowhere.test. CNAME none.test.",
		"_xmpp-server._tcp.sec.test. SRV 0 5 5269 xmpp.sec.test.",
		"xmpp.sec.test. A 127.0.0.3",
		"mixed.sec.test. CNAME xmpp.a.test.",
		"_5269._tcp.xmpp.sec.test. TLSA 3 1 1 "+strings.Repeat("ab", 32),
		"_5269._tcp.xmpp.sec.test. TLSA 1 0 2 "+strings.Repeat("cd", 64),
		"_5270._tcp.xmpp.a.test. TLSA 3 1 1 "+strings.Repeat("ef", 32),
		"_5269._tcp.mixed.sec.test. CNAME _5270._tcp.xmpp.a.test.",
		"_xmpp-server._tcp.bad.test. SRV 0 5 5269 xmpp.bad.test.",
		"xmpp.bad.test. A 127.0.0.4",
		"_5269._tcp.xmpp.bad.test. TLSA 3 1 1 "+strings.Repeat("ab", 32),
		"half.test. A 127.0.0.5",
	)
	for i := range 60 {
		if err := d.AddSRV("xmpp-server", "many.test", fmt.Sprintf("host-%d.many.test", i), 5269); err != nil {
			t.Fatal(err)
		}
	}
	d.SetValidation("sec.test", lab.Secure)
	d.SetValidation("bad.test", lab.Bogus)
	return d
}

func TestSRV(t *testing.T) {
	d := zone(t)
	one := func(host string, port uint16) []resolve.Target { return []resolve.Target{{Host: host, Port: port}} }
	tests := []struct {
		service, domain string
		want            resolve.SRVAnswer
	}{
		{resolve.ServerStart, "a.test", resolve.SRVAnswer{Targets: one("xmpp.a.test", 5270)}},
		{resolve.ServerStart, "A.Test.", resolve.SRVAnswer{Targets: one("xmpp.a.test", 5270)}},
		{resolve.ServerDirect, "a.test", resolve.SRVAnswer{Targets: one("xmpp.a.test", 5271)}},
		{resolve.ServerStart, "plain.test", resolve.SRVAnswer{Targets: one("plain.test", 5269), Fallback: true}},
		{resolve.ServerStart, "none.test", resolve.SRVAnswer{Targets: one("none.test", 5269), Fallback: true}},
		{resolve.ServerStart, "none.sec.test", resolve.SRVAnswer{Targets: one("none.sec.test", 5269), Fallback: true, Secure: true}},
		{resolve.ServerStart, "dots.test", resolve.SRVAnswer{Targets: one("xmpp.a.test", 5269)}},
		{resolve.ServerStart, "quad.test", resolve.SRVAnswer{Targets: one("127.0.10.1", 15269)}},
		{resolve.ServerStart, "alias.test", resolve.SRVAnswer{Targets: one("xmpp.a.test", 5270)}},
		{resolve.ServerStart, "sec.test", resolve.SRVAnswer{Targets: one("xmpp.sec.test", 5269), Secure: true}},
		{resolve.ClientStart, "a.test", resolve.SRVAnswer{Targets: append(one("xmpp.sec.test", 5222), one("xmpp.a.test", 15222)...)}},
		{resolve.ClientDirect, "a.test", resolve.SRVAnswer{Targets: one("xmpp.a.test", 443)}},
		{resolve.ClientStart, "plain.test.", resolve.SRVAnswer{Targets: one("plain.test", 5222), Fallback: true}},
		{resolve.ClientDirect, "plain.test", resolve.SRVAnswer{Targets: one("plain.test", 5223), Fallback: true}},
	}
	r := &resolve.Resolver{Servers: []string{d.Addr()}}
	for _, tt := range tests {
		got, err := r.SRV(t.Context(), tt.service, tt.domain)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s of %s: %v\n%s", tt.service, tt.domain, err, diff)
		}
	}
	many, err := r.SRV(t.Context(), resolve.ServerStart, "many.test")
	if err != nil || len(many.Targets) != 60 || r.Counts().TCP != 1 {
		t.Errorf("what does not fit into a datagram: %d targets, %v, %+v", len(many.Targets), err, r.Counts())
	}
}

func TestSRVErrors(t *testing.T) {
	r := &resolve.Resolver{Servers: []string{zone(t).Addr()}}
	var (
		none   *resolve.NoServiceError
		bogus  *resolve.BogusError
		lookup *resolve.LookupError
	)
	for _, service := range []string{resolve.ServerStart, resolve.ServerDirect, resolve.ClientStart, resolve.ClientDirect} {
		if _, err := r.SRV(t.Context(), service, "dot.test"); !errors.As(err, &none) || !none.Said || none.Kind() != "dns.no-service" ||
			!strings.Contains(err.Error(), "dot.test") {
			t.Errorf("target .: got %v", err)
		}
	}
	if _, err := r.SRV(t.Context(), resolve.ServerDirect, "plain.test"); !errors.As(err, &none) || none.Said ||
		!strings.Contains(err.Error(), "_xmpps-server._tcp.plain.test") {
		t.Errorf("direct TLS without record: got %v", err)
	}
	for _, domain := range []string{"bad.test", "none.bad.test"} {
		if _, err := r.SRV(t.Context(), resolve.ServerStart, domain); !errors.As(err, &bogus) || bogus.Kind() != "dns.bogus" ||
			!strings.Contains(err.Error(), "SRV _xmpp-server._tcp."+domain) {
			t.Errorf("%s: got %v", domain, err)
		}
	}
	for _, domain := range []string{"", "a..test", "bücher.test", "a b.test", `a\.test`, strings.Repeat("a", 64) + ".test"} {
		if _, err := r.SRV(t.Context(), resolve.ServerStart, domain); !errors.As(err, &lookup) || lookup.Kind() != "dns.failed" {
			t.Errorf("%q: got %v", domain, err)
		}
	}
}

// All records of one priority come before all of the next, and by weight: over many draws the shares are as RFC 2782
// has them, and the same for the same seed.
func TestSRVOrder(t *testing.T) {
	d := newDNS(t,
		"_xmpp-server._tcp.a.test. SRV 20 0 5269 last.test.",
		"_xmpp-server._tcp.a.test. SRV 10 75 5269 three.test.",
		"_xmpp-server._tcp.a.test. SRV 10 25 5269 one.test.",
		"_xmpp-server._tcp.a.test. SRV 10 0 5269 zero.test.",
	)
	const draws = 2000
	first := make(map[string]int)
	orders := make([][]string, 2)
	for run := range orders {
		r := &resolve.Resolver{Servers: []string{d.Addr()}, Seed: 7}
		for i := range draws {
			answer, err := r.SRV(t.Context(), resolve.ServerStart, "a.test")
			if err != nil {
				t.Fatal(err)
			}
			if len(answer.Targets) != 4 || answer.Targets[3].Host != "last.test" {
				t.Fatalf("got %v", answer.Targets)
			}
			if run == 1 && i%2 == 0 { // others in between change nothing
				if _, err := r.SRV(t.Context(), resolve.ServerStart, fmt.Sprintf("x%d.test", i%10)); err != nil {
					t.Fatal(err)
				}
			}
			first[answer.Targets[0].Host]++
			orders[run] = append(orders[run], fmt.Sprint(answer.Targets))
		}
	}
	if !slices.Equal(orders[0], orders[1]) {
		t.Error("the same seed gives two orders")
	}
	// A record of weight 0 is first once in 101 draws, one of 75 three times as often as one of 25.
	const all = 2 * draws
	for host, share := range map[string]float64{"zero.test": 1. / 101, "one.test": 25. / 101, "three.test": 75. / 101} {
		if got := float64(first[host]) / all; got < share-0.03 || got > share+0.03 {
			t.Errorf("%s is first in %.3f of the draws, want %.3f", host, got, share)
		}
	}
	r := &resolve.Resolver{Servers: []string{d.Addr()}, Seed: 8}
	answer, err := r.SRV(t.Context(), resolve.ServerStart, "a.test")
	different := err == nil && fmt.Sprint(answer.Targets) != orders[0][0]
	for i := 1; i < 20 && !different && err == nil; i++ {
		answer, err = r.SRV(t.Context(), resolve.ServerStart, "a.test")
		different = fmt.Sprint(answer.Targets) != orders[0][i]
	}
	if !different {
		t.Errorf("another seed gives the same orders, %v", err)
	}
}

// A given source decides in place of the seed, by the running sums of RFC 2782.
func TestRandom(t *testing.T) {
	d := newDNS(t,
		"_xmpp-client._tcp.a.test. SRV 20 0 5222 backup.test.",
		"_xmpp-client._tcp.a.test. SRV 10 30 15222 one.test.",
		"_xmpp-client._tcp.a.test. SRV 10 70 15223 two.test.",
	)
	for draw, want := range map[uint32]string{
		0: "[one.test:15222 two.test:15223 backup.test:5222]", 30: "[one.test:15222 two.test:15223 backup.test:5222]",
		31: "[two.test:15223 one.test:15222 backup.test:5222]",
	} {
		var below []uint32
		r := &resolve.Resolver{Servers: []string{d.Addr()}, Random: func(n uint32) uint32 {
			below = append(below, n)
			return draw
		}}
		answer, err := r.SRV(t.Context(), resolve.ClientStart, "a.test")
		if got := fmt.Sprint(answer.Targets); err != nil || got != want || len(below) == 0 || below[0] != 101 {
			t.Errorf("drawn %d: %s, %v, want %s; drawn below %d", draw, got, err, want, below)
		}
	}
}

func TestAddresses(t *testing.T) {
	r := &resolve.Resolver{Servers: []string{zone(t).Addr()}}
	tests := []struct {
		host   string
		want   []string
		secure bool
	}{
		{"xmpp.a.test", []string{"::1", "127.0.0.1"}, false},
		{"plain.test", []string{"127.0.0.2"}, false},
		{"alias.test", []string{"::1", "127.0.0.1"}, false},
		{"xmpp.sec.test", []string{"127.0.0.3"}, true},
		{"mixed.sec.test", []string{"::1", "127.0.0.1"}, false},
		{"127.0.10.1", []string{"127.0.10.1"}, true},
		{"127.0.10.1.", []string{"127.0.10.1"}, true},
		{"::1", []string{"::1"}, true},
		{"[::1]", []string{"::1"}, true},
	}
	for _, tt := range tests {
		got, err := r.Addresses(t.Context(), tt.host)
		var addrs []string
		for _, a := range got.Addrs {
			addrs = append(addrs, a.String())
		}
		if err != nil || !slices.Equal(addrs, tt.want) || got.Secure != tt.secure {
			t.Errorf("%s: %+v, %v", tt.host, got, err)
		}
	}
	var (
		none   *resolve.NoAddressError
		bogus  *resolve.BogusError
		lookup *resolve.LookupError
	)
	for _, host := range []string{"none.test", "_xmpp-server._tcp.a.test", "nowhere.test"} {
		if _, err := r.Addresses(t.Context(), host); !errors.As(err, &none) || none.Kind() != "dns.no-address" || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: got %v", host, err)
		}
	}
	if _, err := r.Addresses(t.Context(), "xmpp.bad.test"); !errors.As(err, &bogus) {
		t.Errorf("bogus: got %v", err)
	}
	if _, err := r.Addresses(t.Context(), "loop.test"); !errors.As(err, &lookup) || !strings.Contains(err.Error(), "aliases") {
		t.Errorf("endless aliases: got %v", err)
	}
}

// Without servers the system finds addresses, whose files know localhost.
func TestSystemAddresses(t *testing.T) {
	r := &resolve.Resolver{System: zone(t).Resolver()}
	for host, want := range map[string][]netip.Addr{
		"localhost": {netip.MustParseAddr("127.0.0.1")}, "xmpp.a.test": {netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()},
	} {
		got, err := r.Addresses(t.Context(), host)
		if err != nil || got.Secure || !slices.Contains(got.Addrs, want[0]) || len(want) == 2 && !slices.Contains(got.Addrs, want[1]) {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	if got, err := r.Addresses(t.Context(), "127.0.0.9"); err != nil || len(got.Addrs) != 1 {
		t.Errorf("an address: %+v, %v", got, err)
	}
	var (
		none   *resolve.NoAddressError
		lookup *resolve.LookupError
	)
	if _, err := r.Addresses(t.Context(), "none.test"); !errors.As(err, &none) {
		t.Errorf("a host that is not there: got %v", err)
	}
	if _, err := r.Addresses(t.Context(), "xmpp.bad.test"); !errors.As(err, &lookup) || lookup.Name != "xmpp.bad.test" {
		t.Errorf("an answer that is none: got %v", err)
	}
	if diff := cmp.Diff(resolve.Counts{System: 4, Failed: 2}, r.Counts()); diff != "" || r.Counts().Lookups() != 4 {
		t.Error(diff)
	}
	if got, err := new(resolve.Resolver).Addresses(t.Context(), "localhost"); err != nil || len(got.Addrs) == 0 {
		t.Errorf("of the system as it is: %+v, %v", got, err)
	}
}

func TestTLSALookup(t *testing.T) {
	r := &resolve.Resolver{Servers: []string{zone(t).Addr()}}
	tests := []struct {
		host   string
		port   uint16
		want   []string
		secure bool
	}{
		{"xmpp.sec.test", 5269, []string{"1 0 2 " + strings.Repeat("cd", 64), "3 1 1 " + strings.Repeat("ab", 32)}, true},
		{"xmpp.sec.test", 5270, nil, true},
		{"xmpp.a.test", 5270, []string{"3 1 1 " + strings.Repeat("ef", 32)}, false},
		{"xmpp.a.test", 5269, nil, false},
		{"mixed.sec.test", 5269, []string{"3 1 1 " + strings.Repeat("ef", 32)}, false},
	}
	for _, tt := range tests {
		got, err := r.TLSA(t.Context(), tt.port, tt.host)
		var records []string
		for _, record := range got.Records {
			records = append(records, record.String())
		}
		slices.Sort(records)
		if err != nil || !slices.Equal(records, tt.want) || got.Secure != tt.secure {
			t.Errorf("%s: %v, secure %v, %v", tt.host, records, got.Secure, err)
		}
	}
	var bogus *resolve.BogusError
	if _, err := r.TLSA(t.Context(), 5269, "xmpp.bad.test"); !errors.As(err, &bogus) || bogus.Type != "TLSA" {
		t.Errorf("bogus: got %v", err)
	}
}

// What was looked up is counted, and what the server was asked is exactly that.
func TestLookupCounts(t *testing.T) {
	d := zone(t)
	now := time.Unix(0, 0)
	r := &resolve.Resolver{Servers: []string{d.Addr()}, Now: func() time.Time { return now }, NegativeTTL: 5 * time.Second}
	all := func() {
		t.Helper()
		for range 3 {
			_, err1 := r.SRV(t.Context(), resolve.ServerStart, "a.test")
			_, err2 := r.SRV(t.Context(), resolve.ServerStart, "none.test")
			_, err3 := r.Addresses(t.Context(), "xmpp.a.test")
			_, err4 := r.TLSA(t.Context(), 5269, "xmpp.sec.test")
			if err := errors.Join(err1, err2, err3, err4); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(want resolve.Counts) {
		t.Helper()
		got := r.Counts()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		server := lab.QueryCounts{SRV: got.SRV, A: got.A, AAAA: got.AAAA, TLSA: got.TLSA}
		if d.Counts() != server || server.Total() != got.Lookups() {
			t.Errorf("the server was asked %+v, the resolver counts %+v", d.Counts(), got)
		}
	}
	all()
	check(resolve.Counts{SRV: 2, A: 1, AAAA: 1, TLSA: 1, Cached: 10})
	now = now.Add(5 * time.Second) // absence is forgotten, records are not
	all()
	check(resolve.Counts{SRV: 3, A: 1, AAAA: 1, TLSA: 1, Cached: 24})
	now = now.Add(55*time.Second - 1)
	all()
	check(resolve.Counts{SRV: 4, A: 1, AAAA: 1, TLSA: 1, Cached: 38})
	now = now.Add(1)
	all()
	check(resolve.Counts{SRV: 5, A: 2, AAAA: 2, TLSA: 2, Cached: 49})
	r.NoCache = true
	now = now.Add(time.Hour)
	all()
	check(resolve.Counts{SRV: 11, A: 5, AAAA: 5, TLSA: 5, Cached: 49})
	if _, err := r.SRV(t.Context(), resolve.ServerStart, "bad.test"); err == nil {
		t.Error("bogus answers are accepted")
	}
	check(resolve.Counts{SRV: 12, A: 5, AAAA: 5, TLSA: 5, Cached: 49, Failed: 1})
}

// However many want the same at the same time, the server is asked once.
func TestJoinedLookups(t *testing.T) {
	d := zone(t)
	r := &resolve.Resolver{Servers: []string{d.Addr()}}
	const clients = 100
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range clients {
		wg.Go(func() {
			if _, err := r.Addresses(t.Context(), "xmpp.a.test"); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	got := r.Counts()
	if failed.Load() != 0 || got.A != 1 || got.AAAA != 1 || got.Cached+got.Joined != 2*(clients-1) || d.Queries() != 2 {
		t.Errorf("%d failed, %+v, the server was asked %d times", failed.Load(), got, d.Queries())
	}
}

// Clients that share nothing do not share look-ups either, whether one after the other or at the same time.
func TestNoCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipeServer{answer: func(_ string, q *dns.Msg) *dns.Msg {
			time.Sleep(time.Second)
			return reply(q, 0, "_xmpp-client._tcp.a.test. 60 SRV 0 0 5222 x.test.")
		}}
		defer p.wg.Wait()
		r := &resolve.Resolver{Servers: []string{"1"}, Dial: p.dial, NoCache: true}
		const clients = 10
		for range 2 {
			begin := time.Now()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					if _, err := r.SRV(t.Context(), resolve.ClientStart, "a.test"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(begin); took != time.Second {
				t.Errorf("it took %v", took)
			}
		}
		if diff := cmp.Diff(resolve.Counts{SRV: 2 * clients}, r.Counts()); diff != "" {
			t.Error(diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var failed *resolve.LookupError
		if _, err := r.SRV(ctx, resolve.ClientStart, "a.test"); !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who leaves got %v", err)
		}
	})
}

// A pipe server answers DNS messages, framed as over TCP, on every connection dialled to it. It runs in virtual time.
type pipeServer struct {
	answer func(server string, query *dns.Msg) *dns.Msg // nil: no answer

	mu    sync.Mutex
	asked []string // servers, in order
	wg    sync.WaitGroup
}

func (p *pipeServer) dial(_ context.Context, _, addr string) (net.Conn, error) {
	near, far := net.Pipe()
	p.mu.Lock()
	p.asked = append(p.asked, strings.TrimSuffix(addr, ":53"))
	p.mu.Unlock()
	p.wg.Go(func() {
		defer far.Close()
		for {
			var size [2]byte
			if _, err := io.ReadFull(far, size[:]); err != nil {
				return
			}
			data := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(far, data); err != nil {
				return
			}
			query := new(dns.Msg)
			if query.Unpack(data) != nil {
				return
			}
			reply := p.answer(addr, query)
			if reply == nil {
				continue
			}
			data, err := reply.Pack()
			if err != nil {
				return
			}
			if _, err := far.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)); err != nil {
				return
			}
		}
	})
	return near, nil
}

func reply(query *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(query)
	m.Rcode = rcode
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func TestSeveralServers(t *testing.T) {
	const srv = "_xmpp-server._tcp.a.test. 60 SRV 0 0 5269 x.test."
	silent := func(*dns.Msg) *dns.Msg { return nil }
	good := func(q *dns.Msg) *dns.Msg { return reply(q, dns.RcodeSuccess, srv) }
	refusing := func(q *dns.Msg) *dns.Msg { return reply(q, dns.RcodeRefused) }
	failing := func(q *dns.Msg) *dns.Msg { return reply(q, dns.RcodeServerFailure) }
	tests := []struct {
		name    string
		servers map[string]func(*dns.Msg) *dns.Msg
		asked   []string
		took    time.Duration
		err     string
	}{
		{"the first answers", map[string]func(*dns.Msg) *dns.Msg{"1": good, "2": silent}, []string{"1"}, 0, ""},
		{"the first is silent", map[string]func(*dns.Msg) *dns.Msg{"1": silent, "2": good}, []string{"1", "2"}, 3 * time.Second, ""},
		{"the first refuses", map[string]func(*dns.Msg) *dns.Msg{"1": refusing, "2": good}, []string{"1", "2"}, 0, ""},
		{"the first validates and says no", map[string]func(*dns.Msg) *dns.Msg{"1": failing, "2": good}, []string{"1"}, 0, "SERVFAIL"},
		{"all are silent", map[string]func(*dns.Msg) *dns.Msg{"1": silent, "2": silent}, []string{"1", "2", "1", "2"}, 12 * time.Second, "deadline exceeded"},
		{"all refuse", map[string]func(*dns.Msg) *dns.Msg{"1": refusing, "2": refusing}, []string{"1", "2", "1", "2"}, 0, "REFUSED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipeServer{answer: func(server string, q *dns.Msg) *dns.Msg { return tt.servers[strings.TrimSuffix(server, ":53")](q) }}
				defer p.wg.Wait()
				r := &resolve.Resolver{Servers: []string{"1", "2"}, Dial: p.dial}
				begin := time.Now()
				answer, err := r.SRV(t.Context(), resolve.ServerStart, "a.test")
				switch {
				case tt.err == "" && (err != nil || answer.Targets[0].String() != "x.test:5269"):
					t.Errorf("got %+v, %v", answer, err)
				case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
					t.Errorf("got %v, want an error with %q", err, tt.err)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if !slices.Equal(p.asked, tt.asked) || r.Counts().Retries != uint64(len(tt.asked)-1) {
					t.Errorf("asked %v, want %v; %+v", p.asked, tt.asked, r.Counts())
				}
			})
		})
	}
}

// Answers that a server of the lab does not give.
func TestStrangeAnswers(t *testing.T) {
	long := make([]string, 9)
	for i := range long {
		long[i] = fmt.Sprintf("x%d.test. 60 CNAME x%d.test.", i, i+1)
	}
	const soa = ". 30 SOA ns. host. 1 1 1 1 20"
	tests := []struct {
		name   string
		answer func(*dns.Msg) *dns.Msg
		want   string // of Addresses of x0.test
		err    string
		count  uint64 // questions
	}{
		{"alias not followed", func(q *dns.Msg) *dns.Msg {
			if q.Question[0].Name == "x0.test." {
				return reply(q, 0, "x0.test. 60 CNAME y.test.")
			}
			return reply(q, 0, "y.test. 60 A 127.0.0.1", "y.test. 60 AAAA ::1")
		}, "[::1 127.0.0.1]", "", 4},
		{"alias in any case, records of other names beside", func(q *dns.Msg) *dns.Msg {
			return reply(q, 0, "z.test. 60 A 127.0.0.9", "Y.test. 60 A 127.0.0.1", "X0.Test. 60 CNAME y.TEST.", soa)
		}, "[127.0.0.1]", "", 2},
		{"alias to nothing", func(q *dns.Msg) *dns.Msg { return reply(q, dns.RcodeNameError, "x0.test. 60 CNAME y.test.") }, "", "no address", 2},
		{"alias to a name without addresses", func(q *dns.Msg) *dns.Msg { return reply(q, 0, "x0.test. 60 CNAME y.test.", soa) }, "", "no address", 2},
		{"too many aliases", func(q *dns.Msg) *dns.Msg { return reply(q, 0, long...) }, "", "more than 8 aliases", 2},
		{"too many aliases, one by one", func(q *dns.Msg) *dns.Msg {
			var n int
			if _, err := fmt.Sscanf(q.Question[0].Name, "x%d.test.", &n); err != nil {
				panic(err)
			}
			return reply(q, 0, fmt.Sprintf("x%d.test. 60 CNAME x%d.test.", n, n+1))
		}, "", "more than 8 aliases", 18},
		{"an answer to another question", func(q *dns.Msg) *dns.Msg {
			m := reply(q, 0, "x0.test. 60 A 127.0.0.1")
			m.Question[0].Name = "other.test."
			return m
		}, "", "deadline exceeded", 2},
		{"an answer with another number", func(q *dns.Msg) *dns.Msg {
			m := reply(q, 0, "x0.test. 60 A 127.0.0.1")
			m.Id++
			return m
		}, "", "deadline exceeded", 2},
		{"the question itself", func(q *dns.Msg) *dns.Msg { return q }, "", "deadline exceeded", 2},
		{"truncated over TCP", func(q *dns.Msg) *dns.Msg {
			m := reply(q, 0, "x0.test. 60 A 127.0.0.1")
			m.Truncated = true
			return m
		}, "", "truncated", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipeServer{answer: func(_ string, q *dns.Msg) *dns.Msg { return tt.answer(q) }}
				defer p.wg.Wait()
				r := &resolve.Resolver{Servers: []string{"1"}, Rounds: 1, Dial: p.dial}
				got, err := r.Addresses(t.Context(), "x0.test")
				switch {
				case tt.err == "" && (err != nil || fmt.Sprint(got.Addrs) != tt.want):
					t.Errorf("got %v, %v", got.Addrs, err)
				case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
					t.Errorf("got %v, want an error with %q", err, tt.err)
				}
				if n := r.Counts().Lookups(); n != tt.count {
					t.Errorf("%d questions, want %d", n, tt.count)
				}
			})
		})
	}
}

// Absence is kept as long as the SOA record says (RFC 2308 §5), records for the shortest of their times.
func TestTimesToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipeServer{answer: func(_ string, q *dns.Msg) *dns.Msg {
			if q.Question[0].Qtype == dns.TypeAAAA {
				return reply(q, 0, ". 30 SOA ns. host. 1 1 1 1 20")
			}
			return reply(q, 0, "x.test. 60 CNAME y.test.", "y.test. 40 A 127.0.0.1", "y.test. 50 A 127.0.0.2")
		}}
		defer p.wg.Wait()
		r := &resolve.Resolver{Servers: []string{"1"}, Dial: p.dial}
		for _, step := range []struct {
			wait    time.Duration
			a, aaaa uint64
		}{{0, 1, 1}, {20*time.Second - 1, 1, 1}, {1, 1, 2}, {20*time.Second - 1, 1, 2}, {1, 2, 3}, {time.Hour, 3, 4}} {
			time.Sleep(step.wait)
			if got, err := r.Addresses(t.Context(), "x.test"); err != nil || len(got.Addrs) != 2 {
				t.Fatalf("got %v, %v", got, err)
			}
			if got := r.Counts(); got.A != step.a || got.AAAA != step.aaaa {
				t.Errorf("after %v more: %+v, want %+v", step.wait, got, step)
			}
		}
	})
}

// Those who leave do not take the look-up away from those who stay; the last one ends it.
func TestLeavingLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipeServer{answer: func(_ string, q *dns.Msg) *dns.Msg {
			time.Sleep(2 * time.Second)
			return reply(q, 0, "_xmpp-server._tcp.a.test. 60 SRV 0 0 5269 x.test.")
		}}
		defer p.wg.Wait()
		r := &resolve.Resolver{Servers: []string{"1"}, Dial: p.dial}
		ask := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := r.SRV(ctx, resolve.ServerStart, "a.test")
			return err
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { // begins the look-up
			if err := ask(time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who leaves got %v", err)
			}
		})
		synctest.Wait()
		if err := ask(time.Minute); err != nil {
			t.Errorf("who stays got %v", err)
		}
		if got := r.Counts(); got.SRV != 1 || got.Joined != 1 || got.Failed != 0 {
			t.Errorf("counted %+v", got)
		}
		time.Sleep(time.Hour) // the record is forgotten
		begin := time.Now()
		var failed *resolve.LookupError
		if err := ask(time.Second); !errors.As(err, &failed) || time.Since(begin) != time.Second {
			t.Errorf("who stays alone got %v after %v", err, time.Since(begin))
		}
		if got := r.Counts(); got.SRV != 2 || got.Failed != 1 {
			t.Errorf("counted %+v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.SRV(ctx, resolve.ServerStart, "b.test"); !errors.As(err, &failed) || r.Counts().SRV != 2 {
			t.Errorf("who comes with an ended context got %v", err)
		}
	})
}

func TestServerAddresses(t *testing.T) {
	for server, want := range map[string]string{"127.0.0.1": "127.0.0.1:53", "::1": "[::1]:53", "[::1]:5353": "[::1]:5353", "h:1": "h:1", "h": "h:53"} {
		var dialled string
		r := &resolve.Resolver{Servers: []string{server}, Rounds: 1, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			dialled = addr
			return nil, net.ErrClosed
		}}
		if _, err := r.SRV(t.Context(), resolve.ServerStart, "a.test"); !errors.Is(err, net.ErrClosed) || dialled != want {
			t.Errorf("%s: dialled %s, %v", server, dialled, err)
		}
	}
}

// Without servers the system's are asked, if it has any.
func TestSystemServers(t *testing.T) {
	var dialled []string
	r := &resolve.Resolver{Rounds: 1, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		return nil, net.ErrClosed
	}}
	_, err := r.SRV(t.Context(), resolve.ServerStart, "a.test")
	if len(dialled) == 0 && (err == nil || !strings.Contains(err.Error(), "DNS server")) {
		t.Errorf("nobody was asked: %v", err)
	}
	if len(dialled) > 0 && !errors.Is(err, net.ErrClosed) {
		t.Errorf("asked %v: %v", dialled, err)
	}
}

func TestStatic(t *testing.T) {
	s := &resolve.Static{
		Start:  map[string]string{"a.test": "127.0.0.1:5269", "v6.test": "[::1]:5270", "bad.test": "127.0.0.1", "port.test": "127.0.0.1:http", "zero.test": "127.0.0.1:0", "*": "127.0.0.9:5269"},
		Direct: map[string]string{"a.test": "127.0.0.1:5223"},
	}
	tests := []struct{ service, domain, want, err string }{
		{resolve.ServerStart, "a.test", "127.0.0.1:5269", ""},
		{resolve.ServerStart, "A.test.", "127.0.0.1:5269", ""},
		{resolve.ServerStart, "v6.test", "[::1]:5270", ""},
		{resolve.ServerStart, "other.test", "127.0.0.9:5269", ""},
		{resolve.ServerDirect, "a.test", "127.0.0.1:5223", ""},
		{resolve.ServerDirect, "other.test", "", "no SRV record"},
		{resolve.ServerStart, "bad.test", "", "bad.test"},
		{resolve.ServerStart, "port.test", "", "no port"},
		{resolve.ServerStart, "zero.test", "", "no port"},
	}
	for _, tt := range tests {
		got, err := s.SRV(t.Context(), tt.service, tt.domain)
		switch {
		case tt.err == "" && (err != nil || len(got.Targets) != 1 || got.Targets[0].String() != tt.want || got.Secure):
			t.Errorf("%s of %s: %+v, %v", tt.service, tt.domain, got, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s of %s: got %v, want an error with %q", tt.service, tt.domain, err, tt.err)
		}
	}
	if got, err := s.Addresses(t.Context(), "::1"); err != nil || !slices.Equal(got.Addrs, []netip.Addr{netip.IPv6Loopback()}) || got.Secure {
		t.Errorf("::1: %+v, %v", got, err)
	}
	var none *resolve.NoAddressError
	if _, err := s.Addresses(t.Context(), "a.test"); !errors.As(err, &none) {
		t.Errorf("a name: got %v", err)
	}
	if got, err := s.TLSA(t.Context(), 5269, "127.0.0.1"); err != nil || got.Secure || got.Records != nil {
		t.Errorf("TLSA: %+v, %v", got, err)
	}
}
