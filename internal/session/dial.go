package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/xmppbench/xmppbench/internal/resolve"
)

// Sources are the local addresses to connect from, taken in turn: one address has about 28,000 ports to one server,
// so more sessions than that need several. Any number of goroutines may share one.
type Sources struct {
	v4, v6 []netip.Addr
	next   atomic.Uint64
}

// NewSources returns sources for addresses of this machine.
func NewSources(addresses ...string) (*Sources, error) {
	s := &Sources{}
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("session: source address: %w", err)
		}
		if a = a.Unmap(); a.Is4() {
			s.v4 = append(s.v4, a)
		} else {
			s.v6 = append(s.v6, a)
		}
	}
	return s, nil
}

// pick returns the next source of the family of to; ok is false when the system shall choose.
func (s *Sources) pick(to netip.Addr) (from netip.Addr, ok bool) {
	if s == nil {
		return netip.Addr{}, false
	}
	of := s.v6
	if to.Is4() {
		of = s.v4
	}
	if len(of) == 0 {
		return netip.Addr{}, false
	}
	return of[(s.next.Add(1)-1)%uint64(len(of))], true
}

// A Dialer connects to the server of a domain. The zero value follows the domain's SRV records. TCP keep-alive
// probes are off, as they would be traffic on sessions that are measured idle.
//
// Each login looks up anew, as clients that share nothing do, if the Resolver's NoCache is set.
type Dialer struct {
	Host     string            // server to connect to in place of what SRV records say: name or address
	Port     uint16            // port in place of the SRV record's or the default
	Resolver *resolve.Resolver // nil: the system's, for each connection anew
	Sources  *Sources          // nil: the system chooses
}

// service returns what the clients of a domain look it up by.
func (m TLSMode) service() string {
	if m == DirectTLS {
		return resolve.ClientDirect
	}
	return resolve.ClientStart
}

// resolver returns whom to ask.
func (d *Dialer) resolver() *resolve.Resolver {
	if d.Resolver != nil {
		return d.Resolver
	}
	// It is used once: from a seed, each would draw the same.
	return &resolve.Resolver{NoCache: true, Random: rand.Uint32N}
}

// Targets returns where the clients of a domain connect to, in the order in which to try: the Host, or what the SRV
// records of the domain say, or the domain itself. It blocks as [resolve.Resolver.SRV] does, and has its errors; with a
// Host nothing is looked up.
func (d *Dialer) Targets(ctx context.Context, domain string, mode TLSMode) ([]resolve.Target, error) {
	var targets []resolve.Target
	if d.Host != "" {
		port, _ := resolve.DefaultPort(mode.service()) // clients always have one
		targets = []resolve.Target{{Host: d.Host, Port: port}}
	} else {
		answer, err := d.resolver().SRV(ctx, mode.service(), domain)
		if err != nil {
			return nil, err
		}
		targets = answer.Targets
	}
	if d.Port != 0 {
		for i := range targets {
			targets[i].Port = d.Port
		}
	}
	return targets, nil
}

// static tells whether the address to connect to is known without a look-up.
func (d *Dialer) static() bool {
	_, err := netip.ParseAddr(d.Host)
	return err == nil
}

// connect opens a TCP connection to one address.
func (d *Dialer) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	if from, ok := d.Sources.pick(to.Addr()); ok {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		dialer.Control = shareSourcePorts
	}
	c, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Dial connects to the first server of the domain that answers, and negotiates nothing. The context bounds it.
func (d *Dialer) Dial(ctx context.Context, domain string, mode TLSMode) (net.Conn, error) {
	return d.dial(ctx, domain, mode, func(string) context.Context { return ctx })
}

// dial connects to the first target that answers. enter is called at the start of each step.
func (d *Dialer) dial(ctx context.Context, domain string, mode TLSMode, enter func(step string) context.Context) (net.Conn, error) {
	if !d.static() {
		ctx = enter(StepResolve)
	}
	targets, err := d.Targets(ctx, domain, mode)
	if err != nil {
		return nil, err
	}
	var failures []error
	for i, target := range targets {
		if i > 0 && !d.static() {
			ctx = enter(StepResolve)
		}
		found, err := d.resolver().Addresses(ctx, target.Host)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		ctx = enter(StepDial)
		for _, a := range found.Addrs {
			c, err := d.connect(ctx, netip.AddrPortFrom(a, target.Port))
			if err == nil {
				return c, nil
			}
			failures = append(failures, err)
			if ctx.Err() != nil {
				return nil, errors.Join(failures...)
			}
		}
	}
	return nil, errors.Join(failures...)
}
