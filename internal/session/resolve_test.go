package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone answers from a list of records; a name under "broken." gets SERVFAIL, one under "slow." nothing.
func zone(t *testing.T, records ...string) (addr string) {
	t.Helper()
	var all []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	var (
		udp net.PacketConn
		tcp net.Listener
	)
	for range 10 { // the port has to be free for both
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			break
		}
		udp.Close()
	}
	if tcp == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		switch {
		case strings.HasSuffix(name, "slow."):
			return
		case strings.HasSuffix(name, "broken."):
			m.Rcode = dns.RcodeServerFailure
		}
		exists := false
		for _, rr := range all {
			exists = exists || rr.Header().Name == name
			if rr.Header().Name == name && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if !exists && m.Rcode == 0 {
			m.Rcode = dns.RcodeNameError
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return udp.LocalAddr().String()
}

func TestTargets(t *testing.T) {
	records := []string{
		"_xmpp-client._tcp.a.test. SRV 20 0 5222 backup.a.test.",
		"_xmpp-client._tcp.a.test. SRV 10 30 15222 one.a.test.",
		"_xmpp-client._tcp.a.test. SRV 10 70 15223 two.a.test.",
		"_xmpps-client._tcp.a.test. SRV 0 0 443 one.a.test.",
		"_xmpp-client._tcp.none.test. SRV 0 0 0 .",
	}
	for i := range 100 { // more than fits into a datagram
		records = append(records, fmt.Sprintf("_xmpp-client._tcp.many.test. SRV %d 0 5222 server-%d.many.test.", i, i))
	}
	server := zone(t, records...)
	draw := func(n uint32) *Resolver {
		return &Resolver{Servers: []string{server}, Timeout: 2 * time.Second, Random: func(uint32) uint32 { return n }}
	}
	tests := []struct {
		domain string
		mode   TLSMode
		draw   uint32
		want   string
	}{
		{"a.test", StartTLS, 30, "one.a.test:15222 two.a.test:15223 backup.a.test:5222"},
		{"a.test", NoTLS, 31, "two.a.test:15223 one.a.test:15222 backup.a.test:5222"},
		{"a.test", DirectTLS, 0, "one.a.test:443"},
		{"b.test", StartTLS, 0, "b.test:5222"},
		{"b.test", DirectTLS, 0, "b.test:5223"},
	}
	for _, tt := range tests {
		got, err := draw(tt.draw).Targets(t.Context(), tt.domain, tt.mode)
		if text := strings.Trim(fmt.Sprint(got), "[]"); text != tt.want || err != nil {
			t.Errorf("%s %v: %s, %v; want %s", tt.domain, tt.mode, text, err, tt.want)
		}
	}
	if got, err := draw(0).Targets(t.Context(), "many.test", StartTLS); len(got) != 100 || err != nil {
		t.Errorf("truncated answer: %d targets, %v", len(got), err)
	}
	if _, err := draw(0).Targets(t.Context(), "none.test", StartTLS); err == nil {
		t.Error("a domain without the service has targets")
	}
	if _, err := draw(0).Targets(t.Context(), "x.broken", StartTLS); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("broken server: %v", err)
	}
	two := &Resolver{Servers: []string{"127.0.0.1:1", server}, Timeout: time.Second}
	if got, err := two.Targets(t.Context(), "b.test", StartTLS); len(got) != 1 || err != nil {
		t.Errorf("second DNS server: %v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := draw(0).Targets(ctx, "x.slow", StartTLS); err == nil {
		t.Error("an answer from a silent server")
	}
}

// TestWeights draws often and compares with the weights (RFC 2782).
func TestWeights(t *testing.T) {
	records := func() (srv []*dns.SRV) {
		for _, w := range []uint16{0, 10, 30, 60} {
			srv = append(srv, &dns.SRV{Target: fmt.Sprintf("w%d.", w), Weight: w})
		}
		return srv
	}
	count := make(map[string]int)
	n := uint32(0)
	r := &Resolver{Random: func(max uint32) uint32 { n++; return n % max }}
	const draws = 40_400
	for range draws {
		targets := r.order(records())
		if len(targets) != 4 {
			t.Fatalf("targets %v", targets)
		}
		count[targets[0].Host]++
	}
	for host, want := range map[string]int{"w0": 1, "w10": 10, "w30": 30, "w60": 60} {
		want = want * draws / 101
		if got := count[host]; got < want*8/10 || got > want*12/10 {
			t.Errorf("%s comes first %d times of %d, want about %d", host, got, draws, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	r := &Resolver{Servers: []string{zone(t, "one.a.test. A 127.0.0.2", "one.a.test. AAAA ::1", "one.a.test. A 127.0.0.3")}}
	got, err := r.Addresses(t.Context(), "one.a.test")
	if want := []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}; !slices.Equal(got, want) || err != nil {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := r.Addresses(t.Context(), "two.a.test"); err == nil {
		t.Errorf("an unknown host has addresses %v", got)
	}
	if got, err := r.Addresses(t.Context(), "192.0.2.7"); len(got) != 1 || err != nil {
		t.Errorf("literal address: %v, %v", got, err)
	}
	if got, err := (*Resolver)(nil).Addresses(t.Context(), "localhost"); len(got) == 0 || err != nil {
		t.Errorf("the system's resolver: %v, %v", got, err)
	}
}

// TestDialer goes from SRV records over a dead server to one that answers, from the given sources in turn.
func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	server := zone(t,
		fmt.Sprintf("_xmpp-client._tcp.a.test. SRV 1 0 %d dead.a.test.", port), fmt.Sprintf("_xmpp-client._tcp.a.test. SRV 2 0 %d live.a.test.", port),
		"dead.a.test. A 127.0.0.9", "live.a.test. A 127.0.0.1")
	sources, err := NewSources("127.0.0.11", "127.0.0.12", "::1")
	if err != nil {
		t.Fatal(err)
	}
	d := Dialer{Resolver: &Resolver{Servers: []string{server}}, Sources: sources}
	seen := make(map[string]int)
	var entered []string
	for range 4 {
		entered = nil
		c, err := d.dial(t.Context(), "a.test", StartTLS, func(step string) context.Context {
			entered = append(entered, step)
			return t.Context()
		})
		if err != nil {
			t.Fatal(err)
		}
		seen[c.LocalAddr().(*net.TCPAddr).IP.String()]++
		c.Close()
	}
	if got := strings.Join(entered, " "); got != "resolve dial resolve dial" {
		t.Errorf("steps %s", got)
	}
	// The dead address takes its turn of the sources too, so the live one sees only every other.
	if len(seen) != 1 || seen["127.0.0.11"]+seen["127.0.0.12"] != 4 {
		t.Errorf("sources %v", seen)
	}
	d = Dialer{Host: "127.0.0.9", Port: uint16(port)}
	entered = nil
	_, err = d.dial(t.Context(), "a.test", StartTLS, func(step string) context.Context {
		entered = append(entered, step)
		return t.Context()
	})
	if !errors.Is(err, syscall.ECONNREFUSED) || !slices.Equal(entered, []string{"dial"}) {
		t.Errorf("%v after %v", err, entered)
	}
	if _, err := NewSources("localhost"); err == nil {
		t.Error("a name is no source address")
	}
}

func TestDialErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	server := zone(t, "_xmpp-client._tcp.none.test. SRV 0 0 0 .")
	for name, tt := range map[string]struct {
		domain string
		dialer Dialer
		step   string
	}{
		"refused":         {"a.test", Dialer{Host: "127.0.0.1", Port: port}, StepDial},
		"unknown domain":  {"a.test", Dialer{Resolver: &Resolver{Servers: []string{server}}}, StepResolve},
		"no such service": {"none.test", Dialer{Resolver: &Resolver{Servers: []string{server}}}, StepResolve},
		"unknown host":    {"a.test", Dialer{Host: "x.test", Resolver: &Resolver{Servers: []string{server}}}, StepResolve},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), Config{JID: "u@" + tt.domain, Dialer: tt.dialer})
			if failed := new(Error); !errors.As(err, &failed) || failed.Step != tt.step {
				t.Errorf("got %v, want step %s", err, tt.step)
			}
		})
	}
}
