package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/simulator"
)

// simDomain is where the accounts of the simulator live.
const simDomain = "sim.test"

// simName is what the simulator is called on the command line and in results.
const simName = "sim"

// simTargets starts a simulator for each plan, in a child process unless told
// otherwise.
type simTargets struct {
	inProcess bool
	started   func(role string, c *proc.Child) // told of every child
}

func (simTargets) Name() string { return simName }

// simDomains are the domains of a simulator that has n.
func simDomains(n int) []string {
	all := []string{simDomain}
	for i := 2; i <= n; i++ {
		all = append(all, fmt.Sprintf("sim%d.test", i))
	}
	return all
}

// simulatorConfig is the simulator that a plan asks for.
func simulatorConfig(p scenarios.Plan) simulator.Config {
	security := map[string]simulator.Security{
		"starttls": simulator.StartTLS, "direct": simulator.DirectTLS, "none": simulator.Plaintext,
	}[p.Login.TLS]
	return simulator.Config{
		Listeners: []simulator.Listener{{Address: "127.0.0.1:0", Security: security}},
		Populations: []population.Config{{
			Seed: p.Seed, Domains: simDomains(p.Simulator.Domains), Accounts: p.Accounts,
			Contacts: p.Roster.Items, ItemBytes: p.Roster.ItemBytes,
		}},
		TLS:          simulator.TLS{Key: lab.KeyType(p.Simulator.Key), Plus13: true},
		Iterations:   p.Simulator.Iterations,
		Resources:    max(64, p.Push.Resources+2, p.Hold.Sessions),
		Roster:       roster.Settings{Shuffled: p.Simulator.Shuffled},
		Piece:        p.Simulator.Piece,
		NotSentLowat: p.Simulator.NotSentLowat,
		SendBuffer:   p.Simulator.SendBuffer,
		Presence: simulator.Presence{
			Online: p.Simulator.Online, Resources: float64(p.Simulator.Resources), Delay: p.Simulator.Delay,
			Probes: simulator.ProbePolicy(p.Simulator.ProbePolicy), OfflineReply: simulator.OfflineReply(p.Simulator.OfflineReply),
		},
	}
}

func (t simTargets) Open(ctx context.Context, p scenarios.Plan) (scenarios.Target, error) {
	if p.Scenario == scenarios.FederationScenario {
		// Providers are started cell by cell, each with what its variant needs.
		return &simTarget{about: scenarios.Description{Name: simName, Server: scenarios.SimulatorServer, Simulated: true}}, nil
	}
	config := simulatorConfig(p)
	pop, err := population.New(config.Populations[0])
	if err != nil {
		return nil, err
	}
	target := &simTarget{population: pop}
	var info simulatorInfo
	if t.inProcess {
		s, err := simulator.Start(context.WithoutCancel(ctx), config)
		if err != nil {
			return nil, fmt.Errorf("cli: simulator: %w", err)
		}
		target.own, info = s, describeSimulator(s)
	} else {
		if target.child, err = proc.Start(ctx, roleSimulator, config, proc.Options{}); err != nil {
			return nil, fmt.Errorf("cli: simulator: %w", err)
		}
		if target.observer, err = observe.Open(observe.Config{PID: target.child.PID()}); err != nil {
			return nil, errors.Join(err, target.child.Close())
		}
		t.started(roleSimulator, target.child)
		if err := target.child.Call(ctx, methodDescribe, nil, &info); err != nil {
			return nil, errors.Join(err, target.child.Close())
		}
	}
	target.about = scenarios.Description{
		Name: simName, Server: scenarios.SimulatorServer, Domains: config.Populations[0].Domains, Accounts: pop.Accounts(),
		Endpoint: info.Addresses[0], Roots: info.CA, Simulated: true,
	}
	if config.Listeners[0].Security == simulator.DirectTLS {
		target.about.DirectTLS = info.Addresses[0]
	}
	return target, nil
}

// simTarget is a running simulator: a child, or in this process.
type simTarget struct {
	about      scenarios.Description
	population *population.Population
	child      *proc.Child
	observer   *observe.Observer // of the child
	own        *simulator.Simulator
}

func (t *simTarget) Describe() scenarios.Description { return t.about }

func (t *simTarget) Dial(ctx context.Context, _ string, _ bool) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, "tcp", t.about.Endpoint)
}

func (t *simTarget) Account(i int) population.Account { return t.population.Account(i) }

func (t *simTarget) Expected(i int) (population.Digest, bool) { return t.population.Expected(i), true }

func (t *simTarget) Control(ctx context.Context, method string, in, out any) error {
	if t.child != nil {
		return t.child.Call(ctx, method, in, out)
	}
	if method == methodFreeMemory {
		debug.FreeOSMemory() // what is alive is not the simulator's alone
		return nil
	}
	return t.own.Control(ctx, method, in, out)
}

func (t *simTarget) CPU() (time.Duration, error) {
	if t.child == nil {
		return 0, proc.ErrUnavailable // client and server share a process
	}
	return t.observer.CPU(context.Background())
}

func (t *simTarget) Observe(ctx context.Context) (observe.Reading, error) {
	if t.child == nil {
		return observe.Reading{}, proc.ErrUnavailable
	}
	return t.observer.Read(ctx)
}

func (t *simTarget) Close() error {
	switch {
	case t.child != nil:
		return t.child.Close()
	case t.own != nil:
		return t.own.Close(context.Background())
	}
	return nil
}

// workerStarter starts the processes of federating providers.
type workerStarter struct {
	started func(role string, c *proc.Child)
}

// Start implements scenarios.WorkerStarter.
func (s workerStarter) Start(ctx context.Context, c scenarios.WorkerConfig) (scenarios.Worker, error) {
	child, err := proc.Start(ctx, roleProvider, c, proc.Options{})
	if err != nil {
		return nil, err
	}
	s.started(roleProvider, child)
	return child, nil
}

// linkShaper starts access links, in a child process unless told otherwise, so
// that their work is not booked on the client.
type linkShaper struct {
	inProcess bool
	started   func(role string, c *proc.Child)
}

func (s linkShaper) Shape(ctx context.Context, l scenarios.Link, endpoint string) (scenarios.Relay, error) {
	config := link.Config{
		Params: l.Params(),
		Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: endpoint}},
	}
	r, _, err := s.start(ctx, config)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// start starts a relay and returns the addresses of its routes.
func (s linkShaper) start(ctx context.Context, config link.Config) (*relay, []string, error) {
	if s.inProcess {
		r, err := link.Start(context.WithoutCancel(ctx), config)
		if err != nil {
			return nil, nil, err
		}
		return &relay{address: r.Addrs()[0], close: r.Close, stats: func(context.Context) (link.Stats, error) { return r.Stats() }}, r.Addrs(), nil
	}
	c, err := proc.Start(ctx, roleLink, config, proc.Options{})
	if err != nil {
		return nil, nil, err
	}
	s.started(roleLink, c)
	var addresses []string
	if err := c.Call(ctx, methodDescribe, nil, &addresses); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return &relay{address: addresses[0], close: c.Close, stats: func(ctx context.Context) (stats link.Stats, err error) {
		err = c.Call(ctx, methodStats, nil, &stats)
		return stats, err
	}}, addresses, nil
}

// Share implements scenarios.Shaper.
func (s linkShaper) Share(ctx context.Context, c link.Config) (scenarios.SharedRelay, error) {
	r, addresses, err := s.start(ctx, c)
	if err != nil {
		return nil, err
	}
	return sharedRelay{r, addresses}, nil
}

// sharedRelay is a running link with several routes.
type sharedRelay struct {
	*relay
	addresses []string
}

func (r sharedRelay) Addresses() []string { return r.addresses }

// relay is a running link.
type relay struct {
	address string
	close   func() error
	stats   func(context.Context) (link.Stats, error)
}

func (r *relay) Address() string { return r.address }

func (r *relay) Stats(ctx context.Context) (link.Stats, error) { return r.stats(ctx) }

func (r *relay) Close() error { return r.close() }
