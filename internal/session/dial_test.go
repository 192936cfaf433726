package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
)

func zone(t *testing.T, records ...string) (addr string) {
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
	return d.Addr()
}

func TestTargets(t *testing.T) {
	server := zone(t,
		"_xmpp-client._tcp.a.test. SRV 20 0 5222 two.a.test.", "_xmpp-client._tcp.a.test. SRV 10 0 15222 one.a.test.",
		"_xmpps-client._tcp.a.test. SRV 0 0 443 one.a.test.", "_xmpp-client._tcp.none.test. SRV 0 0 0 .")
	r := &resolve.Resolver{Servers: []string{server}}
	tests := []struct {
		dialer Dialer
		domain string
		mode   TLSMode
		want   string
	}{
		{Dialer{Resolver: r}, "a.test", StartTLS, "one.a.test:15222 two.a.test:5222"},
		{Dialer{Resolver: r}, "a.test", NoTLS, "one.a.test:15222 two.a.test:5222"},
		{Dialer{Resolver: r}, "a.test", DirectTLS, "one.a.test:443"},
		{Dialer{Resolver: r}, "b.test", StartTLS, "b.test:5222"},
		{Dialer{Resolver: r}, "b.test", DirectTLS, "b.test:5223"},
		{Dialer{Resolver: r, Port: 1}, "a.test", StartTLS, "one.a.test:1 two.a.test:1"},
		{Dialer{Resolver: r, Port: 1}, "b.test", DirectTLS, "b.test:1"},
		{Dialer{Host: "h"}, "a.test", StartTLS, "h:5222"},
		{Dialer{Host: "h"}, "a.test", DirectTLS, "h:5223"},
		{Dialer{Host: "::1", Port: 1}, "a.test", NoTLS, "[::1]:1"},
	}
	for _, tt := range tests {
		got, err := tt.dialer.Targets(t.Context(), tt.domain, tt.mode)
		if text := strings.Trim(fmt.Sprint(got), "[]"); text != strings.Trim(tt.want, "[]") || err != nil {
			t.Errorf("%s %v: %s, %v; want %s", tt.domain, tt.mode, text, err, tt.want)
		}
	}
	d := Dialer{Resolver: r}
	var none *resolve.NoServiceError
	if _, err := d.Targets(t.Context(), "none.test", StartTLS); !errors.As(err, &none) || !none.Said {
		t.Errorf("a domain without the service: %v", err)
	}
}

// TestSystemResolver connects by the files of the system.
func TestSystemResolver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := Dialer{Host: "localhost", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	c, err := d.Dial(t.Context(), "a.test", StartTLS)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
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
	d := Dialer{Resolver: &resolve.Resolver{Servers: []string{server}}, Sources: sources}
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
		"unknown domain":  {"a.test", Dialer{Resolver: &resolve.Resolver{Servers: []string{server}}}, StepResolve},
		"no such service": {"none.test", Dialer{Resolver: &resolve.Resolver{Servers: []string{server}}}, StepResolve},
		"unknown host":    {"a.test", Dialer{Host: "x.test", Resolver: &resolve.Resolver{Servers: []string{server}}}, StepResolve},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dial(t.Context(), Config{JID: "u@" + tt.domain, Dialer: tt.dialer})
			if failed := new(Error); !errors.As(err, &failed) || failed.Step != tt.step {
				t.Errorf("got %v, want step %s", err, tt.step)
			}
		})
	}
}
