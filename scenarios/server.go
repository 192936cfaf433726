package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/internal/provision"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/session"
)

// ServerTargets makes a real server the target of plans.
type ServerTargets struct {
	File *TargetFile
	// Allow names the hosts that may be connected to besides loopback addresses.
	Allow []string
	// Observer reads what the server uses; nil if the file names nothing to look at,
	// or for tests.
	Observer *observe.Observer
}

// Name returns the base name of the target file.
func (s ServerTargets) Name() string { return s.File.Name }

// Open resolves the server's address and its accounts, and connects once to see
// that it is there.
func (s ServerTargets) Open(ctx context.Context, p Plan) (Target, error) {
	t, err := s.open(ctx, p)
	if err != nil {
		return nil, &UnreachableError{Target: s.File.Name, Err: err}
	}
	return t, nil
}

// prepare makes a target of the file alone: nothing is looked up or connected to.
func (s ServerTargets) prepare(p Plan) (*serverTarget, error) {
	f := s.File
	t := &serverTarget{file: f, observer: s.Observer, about: Description{Name: f.Name, Server: f.Server, Domains: f.Domains, Insecure: f.Connect.Insecure}}
	var err error
	if f.Connect.CA != "" {
		if t.about.Roots, err = os.ReadFile(f.Connect.CA); err != nil {
			return nil, fmt.Errorf("connect.ca: %w", err)
		}
	}
	sources, err := session.NewSources(f.Connect.Sources...)
	if err != nil {
		return nil, err
	}
	// Clients know nothing of each other's look-ups.
	resolver := &resolve.Resolver{Servers: f.Connect.DNS, Seed: p.Seed, NoCache: true}
	t.plain = session.Dialer{Host: f.Connect.Host, Port: f.Connect.Port, Resolver: resolver, Sources: sources}
	t.direct = t.plain
	t.direct.Port = f.Connect.DirectTLSPort
	if f.Provisioned() {
		t.population, err = f.Population(p)
		t.accounts = t.population
	} else {
		t.accounts, err = f.Accounts.Open(population.Config{Seed: p.Seed, Domains: f.Domains, Contacts: p.Roster.Items})
	}
	if err != nil {
		return nil, err
	}
	t.about.Accounts = t.accounts.Accounts()
	return t, nil
}

func (s ServerTargets) open(ctx context.Context, p Plan) (*serverTarget, error) {
	t, err := s.prepare(p)
	if err != nil {
		return nil, err
	}
	// What was asked for and cannot be seen would be missed only when the run is over.
	if _, err := t.Observe(ctx); err != nil && !errors.Is(err, proc.ErrUnavailable) {
		return nil, err
	}
	domain := t.accounts.Account(0).Domain
	direct := p.Login.TLS == session.DirectTLS.String()
	// What is not dialled need not be allowed.
	if t.about.Endpoint, err = s.endpoint(ctx, t.plain, domain, session.StartTLS, !direct); err != nil {
		return nil, err
	}
	if direct {
		if t.about.DirectTLS, err = s.endpoint(ctx, t.direct, domain, session.DirectTLS, true); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, p.Login.StepLimit)
	defer cancel()
	conn, err := t.Dial(limited, domain, direct)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w: is the server running, and is connect right in the target file?", err)
	}
	return t, conn.Close()
}

// endpoint returns the host:port of the client port that is tried first. Where it is
// to be dialled, those tried after it have to be allowed as well.
func (s ServerTargets) endpoint(ctx context.Context, d session.Dialer, domain string, mode session.TLSMode, dialled bool) (string, error) {
	targets, err := d.Targets(ctx, domain, mode)
	if err != nil {
		return "", err
	}
	for _, t := range targets {
		if !dialled {
			break
		}
		if err := s.allowed(t.String()); err != nil {
			return "", err
		}
	}
	return targets[0].String(), nil
}

// allowed refuses hosts outside of this machine that nobody named on purpose: a
// load generator in the wrong place is an attack.
func (s ServerTargets) allowed(endpoint string) error {
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		return err
	}
	for _, allowed := range s.Allow {
		if allowed == host {
			return nil
		}
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is not on this machine: put load on servers of your own only, and name the host with --allow %s", host, host)
}

// serverTarget is a real server as the target of one plan.
type serverTarget struct {
	about      Description
	file       *TargetFile
	observer   *observe.Observer // nil for none
	accounts   provision.Source
	population *population.Population // nil if the accounts existed already
	plain      session.Dialer
	direct     session.Dialer
}

func (t *serverTarget) Describe() Description { return t.about }

func (t *serverTarget) Dial(ctx context.Context, domain string, directTLS bool) (net.Conn, error) {
	if directTLS {
		return t.direct.Dial(ctx, domain, session.DirectTLS)
	}
	return t.plain.Dial(ctx, domain, session.StartTLS)
}

func (t *serverTarget) Account(i int) population.Account { return t.accounts.Account(i) }

func (t *serverTarget) Expected(i int) (population.Digest, bool) {
	if t.population == nil {
		return population.Digest{}, false
	}
	return t.population.Expected(i), true
}

// Control restarts the server by the command of the target file.
func (t *serverTarget) Control(ctx context.Context, method string, _, _ any) error {
	if method != controlRestart || t.file.Control.Restart == "" {
		return ErrUnsupported
	}
	if _, err := proc.Command(ctx, t.file.dir, t.file.Control.Restart); err != nil {
		return fmt.Errorf("control.restart: %w", err)
	}
	return nil
}

func (t *serverTarget) CPU() (time.Duration, error) {
	if t.observer == nil {
		return 0, proc.ErrUnavailable
	}
	return t.observer.CPU(context.Background())
}

func (t *serverTarget) Observe(ctx context.Context) (observe.Reading, error) {
	if t.observer == nil {
		return observe.Reading{}, proc.ErrUnavailable
	}
	return t.observer.Read(ctx)
}

func (t *serverTarget) Close() error { return nil }
