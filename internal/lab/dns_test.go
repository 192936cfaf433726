package lab_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/xmppbench/xmppbench/internal/lab"
)

func newDNS(t *testing.T, records ...string) *lab.DNS {
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

// ask sends one question over the given network.
func ask(t *testing.T, d *lab.DNS, network, name string, kind uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network}
	reply, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, kind), d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestResolver(t *testing.T) {
	d := newDNS(t, "_xmpp-server._tcp.c.test. SRV 0 0 0 .")
	if err := d.AddSRV("xmpp-client", "a.test", "host.a.test", 5222); err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParseAddr("127.0.10.2"), netip.MustParseAddr("::1")
	if err := d.AddHost("host.a.test", v4, v6, netip.MustParseAddr("::ffff:127.0.10.3")); err != nil {
		t.Fatal(err)
	}
	r, ctx := d.Resolver(), t.Context()

	_, srvs, err := r.LookupSRV(ctx, "xmpp-client", "tcp", "A.Test")
	if err != nil || len(srvs) != 1 || *srvs[0] != (net.SRV{Target: "host.a.test.", Port: 5222, Weight: 5}) {
		t.Errorf("xmpp-client of a.test: %v, %v", srvs, err)
	}
	addrs, err := r.LookupNetIP(ctx, "ip", "host.a.test")
	slices.SortFunc(addrs, netip.Addr.Compare)
	if want := []netip.Addr{v4, netip.MustParseAddr("127.0.10.3"), v6}; err != nil || !slices.Equal(unmap(addrs), want) {
		t.Errorf("host.a.test: %v, %v, want %v", addrs, err, want)
	}
	_, srvs, err = r.LookupSRV(ctx, "xmpp-server", "tcp", "c.test")
	if err != nil || len(srvs) != 1 || srvs[0].Target != "." {
		t.Errorf("xmpp-server of c.test: %v, %v, want no service", srvs, err)
	}
	var dnsErr *net.DNSError
	if _, _, err = r.LookupSRV(ctx, "xmpp-client", "tcp", "none.test"); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Errorf("an unknown domain: got %v", err)
	}
}

func unmap(addrs []netip.Addr) []netip.Addr {
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

func TestDottedTarget(t *testing.T) {
	d := newDNS(t)
	if err := d.AddSRV("xmpp-server", "B.test", "127.0.10.1", 15269); err != nil {
		t.Fatal(err)
	}
	answers := ask(t, d, "udp", "_xmpp-server._tcp.b.test.", dns.TypeSRV).Answer
	if len(answers) != 1 {
		t.Fatalf("got %v, want one record", answers)
	}
	srv := answers[0].(*dns.SRV)
	if srv.Target != "127.0.10.1." || srv.Port != 15269 {
		t.Fatalf("got %v", srv)
	}
	answers = ask(t, d, "udp", srv.Target, dns.TypeA).Answer
	if len(answers) != 1 || answers[0].(*dns.A).A.String() != "127.0.10.1" {
		t.Errorf("the target has the addresses %v", answers)
	}
}

func TestAnswers(t *testing.T) {
	d := newDNS(t,
		"a.test. A 127.0.0.1",
		"_5269._tcp.a.test. TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	)
	tests := []struct {
		name    string
		network string
		query   string
		kind    uint16
		rcode   int
		answers int
	}{
		{"UDP", "udp", "a.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"TCP", "tcp", "a.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"any case", "udp", "A.TEST.", dns.TypeA, dns.RcodeSuccess, 1},
		{"TLSA", "udp", "_5269._tcp.a.test.", dns.TypeTLSA, dns.RcodeSuccess, 1},
		{"the name exists, the type does not", "udp", "a.test.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"names below exist", "udp", "_tcp.a.test.", dns.TypeA, dns.RcodeSuccess, 0},
		{"no such name", "udp", "b.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"dotted address", "udp", "127.0.10.1.", dns.TypeA, dns.RcodeSuccess, 1},
		{"dotted address has no other", "udp", "127.0.10.1.", dns.TypeAAAA, dns.RcodeSuccess, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply := ask(t, d, tt.network, tt.query, tt.kind)
			if reply.Rcode != tt.rcode || len(reply.Answer) != tt.answers || !reply.Authoritative {
				t.Errorf("got %v", reply)
			}
		})
	}
	if got, want := d.Queries(), uint64(len(tests)); got != want {
		t.Errorf("%d queries counted, want %d", got, want)
	}
	d.Remove("A.test")
	if reply := ask(t, d, "udp", "a.test.", dns.TypeA); len(reply.Answer) != 0 {
		t.Errorf("after the removal: %v", reply)
	}
}

// What does not fit into a datagram is cut there and whole over TCP.
func TestTruncation(t *testing.T) {
	d := newDNS(t)
	const hosts = 60
	for i := range hosts {
		if err := d.AddSRV("xmpp-server", "a.test", fmt.Sprintf("host-%d.a.test", i), 5269); err != nil {
			t.Fatal(err)
		}
	}
	const name = "_xmpp-server._tcp.a.test."
	if reply := ask(t, d, "udp", name, dns.TypeSRV); !reply.Truncated || len(reply.Answer) >= hosts {
		t.Errorf("over UDP: %d answers, truncated %v", len(reply.Answer), reply.Truncated)
	}
	if reply := ask(t, d, "tcp", name, dns.TypeSRV); reply.Truncated || len(reply.Answer) != hosts {
		t.Errorf("over TCP: %d answers, truncated %v", len(reply.Answer), reply.Truncated)
	}
	_, srvs, err := d.Resolver().LookupSRV(t.Context(), "xmpp-server", "tcp", "a.test")
	if err != nil || len(srvs) != hosts {
		t.Errorf("the resolver found %d records, %v", len(srvs), err)
	}
}

func TestBadRecords(t *testing.T) {
	d := newDNS(t)
	for _, record := range []string{"", "; nothing", "a.test. SRV 0 5", "a.test. A 300.0.0.1"} {
		if err := d.Add("good.test. A 127.0.0.1", record); err == nil || !strings.Contains(err.Error(), "DNS record") {
			t.Errorf("%q: got %v, want an error", record, err)
		}
	}
	if reply := ask(t, d, "udp", "good.test.", dns.TypeA); len(reply.Answer) != 0 {
		t.Error("a good record beside a bad one was added")
	}
	if _, err := lab.NewDNS(t.Context(), "127.0.0.1:0", "nonsense"); err == nil {
		t.Error("a server with a bad record started")
	}
	if _, err := lab.NewDNS(t.Context(), d.Addr()); err == nil {
		t.Error("two servers share a port")
	}
}

func TestValidation(t *testing.T) {
	d := newDNS(t,
		"a.good.test. A 127.0.0.1",
		"alias.good.test. CNAME a.test.",
		"a.test. A 127.0.0.1",
		"alias.test. CNAME a.bad.test.",
		"a.bad.test. A 127.0.0.1",
		"far.good.test. CNAME a.good.test.",
		"loop.test. CNAME loop.test.",
	)
	d.SetValidation("good.test", lab.Secure)
	d.SetValidation("bad.test", lab.Bogus)
	d.SetValidation("fine.bad.test", lab.Secure)
	ad := func(m *dns.Msg) { m.AuthenticatedData = true }
	tests := []struct {
		name    string
		query   string
		ask     func(*dns.Msg)
		rcode   int
		answers int
		ad      bool
	}{
		{"secure, asked with AD", "a.good.test.", ad, dns.RcodeSuccess, 1, true},
		{"secure, asked with DO", "a.good.test.", func(m *dns.Msg) { m.SetEdns0(1232, true) }, dns.RcodeSuccess, 1, true},
		{"secure, asked with EDNS without DO", "a.good.test.", func(m *dns.Msg) { m.SetEdns0(1232, false) }, dns.RcodeSuccess, 1, false},
		{"secure, not asked", "a.good.test.", func(*dns.Msg) {}, dns.RcodeSuccess, 1, false},
		{"secure denial", "none.good.test.", ad, dns.RcodeNameError, 0, true},
		{"insecure", "a.test.", ad, dns.RcodeSuccess, 1, false},
		{"bogus", "a.bad.test.", ad, dns.RcodeServerFailure, 0, false},
		{"bogus denial", "none.bad.test.", ad, dns.RcodeServerFailure, 0, false},
		{"bogus, unchecked", "a.bad.test.", func(m *dns.Msg) { m.CheckingDisabled = true }, dns.RcodeSuccess, 1, false},
		{"the longest name counts", "fine.bad.test.", ad, dns.RcodeNameError, 0, true},
		{"secure alias of secure", "far.good.test.", ad, dns.RcodeSuccess, 2, true},
		{"secure alias of insecure", "alias.good.test.", ad, dns.RcodeSuccess, 2, false},
		{"alias of bogus", "alias.test.", ad, dns.RcodeServerFailure, 0, false},
		{"endless alias", "loop.test.", ad, dns.RcodeSuccess, 8, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query := new(dns.Msg).SetQuestion(tt.query, dns.TypeA)
			tt.ask(query)
			client := dns.Client{Net: "tcp"}
			reply, _, err := client.ExchangeContext(t.Context(), query, d.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if reply.Rcode != tt.rcode || len(reply.Answer) != tt.answers || reply.AuthenticatedData != tt.ad {
				t.Errorf("got %v", reply)
			}
		})
	}
	if reply := ask(t, d, "udp", "alias.good.test.", dns.TypeCNAME); len(reply.Answer) != 1 {
		t.Errorf("asked for the alias itself: %v", reply)
	}
	d.SetValidation(".", lab.Secure)
	query := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	query.AuthenticatedData = true
	if reply, err := dns.ExchangeContext(t.Context(), query, d.Addr()); err != nil || !reply.AuthenticatedData {
		t.Errorf("the root is secure, a.test is not: %v, %v", reply, err)
	}
}

func TestCounts(t *testing.T) {
	d := newDNS(t)
	if err := d.AddTLSA(5269, "a.test", "3 1 1 "+strings.Repeat("ab", 32)); err != nil {
		t.Fatal(err)
	}
	if err := d.AddTLSA(5269, "a.test", "nonsense"); err == nil {
		t.Error("a nonsensical record was accepted")
	}
	for _, kind := range []uint16{
		dns.TypeSRV, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTLSA, dns.TypeTLSA, dns.TypeTLSA, dns.TypeMX, dns.TypeTXT,
	} {
		reply := ask(t, d, "udp", "_5269._tcp.A.test.", kind)
		if kind == dns.TypeTLSA && (len(reply.Answer) != 1 || reply.Answer[0].(*dns.TLSA).Usage != 3) {
			t.Errorf("TLSA: got %v", reply)
		}
	}
	if got, want := d.Counts(), (lab.QueryCounts{SRV: 1, A: 2, AAAA: 1, TLSA: 3, Other: 2}); got != want || d.Queries() != want.Total() {
		t.Errorf("got %+v, %d in all, want %+v", got, d.Queries(), want)
	}
}

// A name above others exists as long as one of them has records.
func TestNamesAbove(t *testing.T) {
	d := newDNS(t, "x.y.a.test. A 127.0.0.1", "x.y.a.test. A 127.0.0.2", "z.y.a.test. A 127.0.0.1")
	exists := func(want bool) {
		t.Helper()
		for _, name := range []string{"y.a.test.", "a.test.", "test.", "."} {
			if got := ask(t, d, "udp", name, dns.TypeA).Rcode == dns.RcodeSuccess; got != want {
				t.Errorf("%s exists: %v, want %v", name, got, want)
			}
		}
	}
	exists(true)
	d.Remove("x.y.a.test")
	exists(true)
	d.Remove("x.y.a.test")
	d.Remove("z.y.a.test")
	exists(false)
}

// All questions are put before the first answer is due; the server lets them wait side by side, and no longer than it lives.
func TestDelay(t *testing.T) {
	d := newDNS(t, "a.test. A 127.0.0.1")
	d.SetDelay(time.Hour)
	const clients = 20
	answered := make(chan error, clients)
	for range clients {
		go func() {
			client := dns.Client{Timeout: time.Minute}
			_, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion("a.test.", dns.TypeA), d.Addr())
			answered <- err
		}()
	}
	for d.Queries() < clients {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before its time: %v", err)
	default:
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range clients {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
