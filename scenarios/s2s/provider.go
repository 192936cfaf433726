package s2s

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// EchoUser is the account of every hosted domain that returns what it is sent: a
// message to it comes back to its sender, with the same id.
const EchoUser = "echo"

// ProviderConfig describes a running provider, or one worker of it. It goes through
// JSON unchanged, so that a parent can hand it to a child process; durations are in
// nanoseconds there.
type ProviderConfig struct {
	// Domains, Variant (by name), Params, Credentials, Secret and Partners are as in
	// [Config].
	Domains     []string    `json:"domains"`
	Variant     string      `json:"variant"`
	Params      Params      `json:"params"`
	Credentials Credentials `json:"credentials"`
	Secret      string      `json:"secret"`
	Partners    []Partner   `json:"partners,omitempty"`
	// DNS are the resolvers that are asked, "host:port". Without one Hosts has the
	// "host:port" of the server of each domain.
	DNS   []string          `json:"dns,omitempty"`
	Hosts map[string]string `json:"hosts,omitempty"`
	// Via has addresses to dial in place of others, as those of links.
	Via map[string]string `json:"via,omitempty"`
	// Web is the "host:port" that answers HTTPS, WebPlain that which answers HTTP, for
	// all owners of domains alike; WebRoots are their authorities in PEM.
	Web      string `json:"web,omitempty"`
	WebPlain string `json:"web-plain,omitempty"`
	WebRoots []byte `json:"web-roots,omitempty"`
	// Known is what was proved before: see [Config.Known].
	Known []Known `json:"known,omitempty"`

	Setup   time.Duration `json:"setup,omitempty"`
	Dials   int           `json:"dials,omitempty"`
	Queue   int           `json:"queue,omitempty"`
	Idle    time.Duration `json:"idle,omitempty"`
	Piece   int           `json:"piece,omitempty"`
	Lenient bool          `json:"lenient,omitempty"` // towards deployed servers: see Config.LenientTarget

	// Trace, where set, is as in [Config]. It does not go through JSON.
	Trace func(stream uint64, out bool, b []byte) `json:"-"`
}

// Provider is a hosting provider that federates: a listener and a [Host] behind it.
// Its methods may be called concurrently.
type Provider struct {
	address  string // listened on
	deliver  func(Inbound)
	ctx      context.Context
	cancel   context.CancelFunc
	mu       sync.Mutex
	listener net.Listener
	host     *Host
	serving  sync.WaitGroup
}

// Listen opens the listener of a provider; connections wait until [Provider.Host]
// is there. deliver takes what is sent to hosted domains, but for [EchoUser].
func Listen(ctx context.Context, address string, deliver func(Inbound)) (*Provider, error) {
	p := &Provider{deliver: deliver}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.listen(ctx, address); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

func (p *Provider) listen(ctx context.Context, address string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("s2s: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener, p.address = ln, ln.Addr().String()
	return nil
}

// Address returns the host:port listened on.
func (p *Provider) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// Host returns the federation side, nil before Federate.
func (p *Provider) Host() *Host {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.host
}

// Federate begins to serve what connects, and makes the provider able to send.
func (p *Provider) Federate(c ProviderConfig) error {
	v, ok := Find(c.Variant)
	if !ok {
		return fmt.Errorf("s2s: no variant is called %q", c.Variant)
	}
	config := Config{
		Domains: c.Domains, Address: p.Address(), Variant: v, Params: c.Params, Credentials: c.Credentials,
		Secret: c.Secret, Partners: c.Partners, Setup: c.Setup, Dials: c.Dials, Queue: c.Queue, Idle: c.Idle, Piece: c.Piece,
		LenientTarget: c.Lenient, LenientAnswer: c.Lenient, Deliver: p.inbound, Trace: c.Trace,
		Known: c.Known,
	}
	config = config.withDefaults()
	dial := config.Dial
	config.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		return dial(ctx, cmp.Or(c.Via[address], address))
	}
	if len(c.DNS) > 0 {
		// That a target has no IPv6 address is known after one look-up.
		config.Resolver = &resolve.Resolver{Servers: c.DNS, NegativeTTL: time.Minute}
	} else {
		config.Resolver = &resolve.Static{Start: c.Hosts, Direct: c.Hosts}
	}
	if c.Web != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(c.WebRoots) {
			return errors.New("s2s: the roots of the web servers hold no certificate in PEM form")
		}
		config.POSH = &POSHFetcher{Roots: roots, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", cmp.Or(c.Via[c.Web], c.Web))
		}}
		lists := &CRLFetcher{Roots: roots, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			at := cmp.Or(c.WebPlain, c.Web)
			if _, port, _ := net.SplitHostPort(address); port == "443" {
				at = c.Web
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", cmp.Or(c.Via[at], at))
		}}
		config.CRLs = lists.Fetch
	}
	h, err := New(p.ctx, config)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.host = h
	ln := p.listener
	p.serving.Go(func() { p.accept(ln, h, c.Params.TLS == TLSDirect) })
	p.mu.Unlock()
	return nil
}

func (p *Provider) accept(ln net.Listener, h *Host, direct bool) {
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			h.Accept(c, direct)
		case p.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			// Out of descriptors, most likely: waiting frees some.
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// inbound returns what is for the echo and hands on the rest.
func (p *Provider) inbound(in Inbound) {
	to, _ := wire.Attr(in.Stanza.Tag, "to")
	user, _, _ := strings.Cut(string(to), "@")
	if user != EchoUser {
		if p.deliver != nil {
			p.deliver(in)
		}
		return
	}
	switch string(in.Stanza.Name()) {
	case "message":
		if in.Stanza.Type() == "error" {
			return
		}
		b := wire.AppendReply(nil, in.Stanza.Tag, "chat", []byte("<body>echo</body>"))
		// A stream that has just ended loses the answer with the question.
		_ = p.Host().Send(Stanza{Pair: in.Reverse(), XML: b})
	case "iq":
		switch in.Stanza.Type() {
		case "get", "set":
			b := wire.AppendStanzaError(nil, in.Stanza.Tag, &wire.StanzaError{Type: "cancel", Condition: "service-unavailable"})
			_ = p.Host().Send(Stanza{Pair: in.Reverse(), XML: b})
		}
	}
}

// Crash cuts every connection and closes the listener, as a server that is killed
// does; Federate serves again after Revive.
func (p *Provider) Crash() error {
	p.mu.Lock()
	ln, h := p.listener, p.host
	p.host = nil
	p.mu.Unlock()
	err := ln.Close()
	p.serving.Wait()
	if h != nil {
		h.Drop()
		gone, cancel := context.WithCancel(p.ctx)
		cancel() // nothing is left to be said
		err = errors.Join(err, h.Close(gone))
	}
	return err
}

// Revive listens again on the address that Crash has given up.
func (p *Provider) Revive(ctx context.Context) error { return p.listen(ctx, p.Address()) }

// Close ends all streams in order, as long as ctx allows, and the listener.
func (p *Provider) Close(ctx context.Context) error {
	p.mu.Lock()
	ln, h := p.listener, p.host
	p.mu.Unlock()
	err := ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if h != nil {
		err = errors.Join(err, h.Close(ctx))
	}
	p.cancel()
	p.serving.Wait()
	return err
}
