package s2s

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// A Locator finds the servers of domains. [resolve.Resolver] asks the DNS, [resolve.Static] has a table; both say what the
// methods return, and which errors. Any number of goroutines may use one. All three methods may block until the context
// ends.
type Locator interface {
	// SRV returns where the servers of a domain are, in the order in which to try them. A service is
	// [resolve.ServerStart] or [resolve.ServerDirect].
	SRV(ctx context.Context, service, domain string) (resolve.SRVAnswer, error)
	// Addresses returns the addresses of a target.
	Addresses(ctx context.Context, host string) (resolve.AddressAnswer, error)
	// TLSA returns what the DNS says of the certificate at a TCP port of a target. That it says nothing is no error.
	TLSA(ctx context.Context, port uint16, host string) (resolve.TLSAAnswer, error)
}

// A target is where the provider of a domain listens.
type target struct {
	addresses []string       // host:port, in the order in which to try them
	service   resolve.Target // that the first of them belongs to
	secure    bool           // by DNSSEC, all the way
}

// provider identifies the provider by its first address.
func (t *target) provider() string { return t.addresses[0] }

// lookup is what is known of a domain's target.
type lookup struct {
	target  *target // nil while it is being asked for
	waiting []func(*target, error)
}

// resolve finds the target of a domain and hands it to got: at once where it is
// known, later else. What was found holds until Forget.
func (h *Host) resolve(domain string, got func(*target, error)) {
	h.mu.Lock()
	l := h.targets[domain]
	switch {
	case h.closing:
		h.mu.Unlock()
		got(nil, ErrClosed)
		return
	case l != nil && l.target != nil:
		h.mu.Unlock()
		got(l.target, nil)
		return
	case l != nil:
		l.waiting = append(l.waiting, got)
		h.mu.Unlock()
		return
	}
	l = &lookup{waiting: []func(*target, error){got}}
	h.targets[domain] = l
	h.wg.Go(func() {
		t, err := h.find(domain)
		h.mu.Lock()
		waiting := l.waiting
		l.target, l.waiting = t, nil
		if err != nil && h.targets[domain] == l {
			delete(h.targets, domain)
		}
		h.mu.Unlock()
		for _, got := range waiting {
			got(t, err)
		}
	})
	h.mu.Unlock()
}

// find asks for the SRV records of a domain and the addresses they lead to.
func (h *Host) find(domain string) (*target, error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.c.Setup)
	defer cancel()
	h.tally.add(FigureLookups, 1)
	service := resolve.ServerStart
	if h.c.Params.TLS == TLSDirect {
		service = resolve.ServerDirect
	}
	answer, err := h.c.Resolver.SRV(ctx, service, domain)
	if err != nil {
		return nil, &RouteError{Pair: Pair{To: domain}, Condition: "remote-server-not-found", Err: err}
	}
	t := &target{secure: answer.Secure}
	var errs []error
	for _, service := range answer.Targets {
		port := strconv.Itoa(int(service.Port))
		if _, err := netip.ParseAddr(service.Host); err == nil {
			t.add(service, net.JoinHostPort(service.Host, port))
			continue
		}
		hosts, err := h.c.Resolver.Addresses(ctx, service.Host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.secure = t.secure && hosts.Secure
		for _, a := range hosts.Addrs {
			t.add(service, net.JoinHostPort(a.String(), port))
		}
	}
	if len(t.addresses) == 0 {
		return nil, &RouteError{Pair: Pair{To: domain}, Condition: "remote-server-not-found", Err: errors.Join(errs...)}
	}
	return t, nil
}

func (t *target) add(service resolve.Target, address string) {
	if len(t.addresses) == 0 {
		t.service = service
	}
	t.addresses = append(t.addresses, address)
}

// stanzaError makes the error answer's content for a condition of a dialback or
// other element.
func stanzaError(condition string) *wire.StanzaError {
	typ := "cancel"
	switch condition {
	case "remote-server-timeout", "resource-constraint":
		typ = "wait"
	case "forbidden", "not-authorized":
		typ = "auth"
	case "policy-violation", "not-acceptable":
		typ = "modify"
	}
	return &wire.StanzaError{Type: typ, Condition: condition}
}
