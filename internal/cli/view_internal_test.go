package cli

import (
	"errors"
	"net"
	"testing"
)

// Where a server listens on all addresses, the one that is printed can be opened.
func TestReachable(t *testing.T) {
	own := func(all ...string) func() ([]net.Addr, error) {
		return func() ([]net.Addr, error) {
			var out []net.Addr
			for _, a := range all {
				ip, network, err := net.ParseCIDR(a)
				if err != nil {
					return nil, err
				}
				out = append(out, &net.IPNet{IP: ip, Mask: network.Mask})
			}
			return out, nil
		}
	}
	machine := own("127.0.0.1/8", "::1/128", "fe80::1/64", "2001:db8::7/64", "192.0.2.7/24", "198.51.100.1/24")
	for _, c := range []struct {
		at    string
		hosts []string
		own   func() ([]net.Addr, error)
		want  string
	}{
		{"127.0.0.1:80", nil, machine, "127.0.0.1:80"},
		{"[::1]:80", []string{"bench.example"}, machine, "[::1]:80"},
		{"0.0.0.0:80", nil, machine, "192.0.2.7:80"},
		{"[::]:80", nil, machine, "192.0.2.7:80"},
		{"[::]:80", []string{"bench.example"}, machine, "bench.example:80"},
		{"[::]:80", nil, own("::1/128", "2001:db8::7/64"), "[2001:db8::7]:80"},
		{"0.0.0.0:80", nil, own("2001:db8::7/64"), "127.0.0.1:80"},
		{"[::]:80", nil, own("127.0.0.1/8", "fe80::1/64"), "127.0.0.1:80"},
		{"0.0.0.0:80", nil, func() ([]net.Addr, error) { return nil, errors.New("not allowed") }, "127.0.0.1:80"},
	} {
		if got := (viewFlags{hosts: c.hosts}).reachable(c.at, c.own); got != c.want {
			t.Errorf("%s with hosts %q: %s, want %s", c.at, c.hosts, got, c.want)
		}
	}
}
