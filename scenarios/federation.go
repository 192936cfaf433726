package scenarios

import (
	"context"
	"errors"

	"github.com/xmppbench/xmppbench/internal/link"
)

// WorkerStarter starts the processes of providers.
type WorkerStarter interface {
	// Start starts a worker that listens as c says. It returns when it does.
	Start(ctx context.Context, c WorkerConfig) (Worker, error)
}

// Worker is a running [ProviderWorker], in a process of its own or in this one.
type Worker interface {
	// Call runs a method of the worker. It blocks until the answer is there.
	Call(ctx context.Context, method string, in, out any) error
	// PID is the process, 0 if it is this one.
	PID() int
	// Close ends the worker.
	Close() error
}

// SharedRelay is a running link with several routes.
type SharedRelay interface {
	// Addresses are what to connect to, in the order of the routes.
	Addresses() []string
	// Stats returns what the links have carried, and how late, since the relay was started.
	Stats(ctx context.Context) (link.Stats, error)
	// Close ends the relay and every connection through it.
	Close() error
}

func federation() Scenario {
	return Scenario{
		Name:    FederationScenario,
		Summary: "n × m domains of hosting providers federate; layout against layout, proof against proof",
		Steps: []string{
			"start the providers, each in processes of its own, with the certificates, keys and signed proofs that the variant needs and no others",
			"on a cold mesh, send a message for one pair of domains and wait for its echo, then for a second pair: `pair.first`, `pair.further`",
			"begin anew; bring all pairs up at once, or lazily by traffic, each with a message and its echo: `pair.ready`, `pair.echo`, `mesh`",
			"wait mesh.settle; read counts, which must equal the closed forms, CPU time, memory and descriptors",
			"send messages between domains at traffic.rate and time their echoes: `echo`",
			"send them again while a bulk stanza crosses, or one pair is noisy: `victim`",
			"let the event happen: streams idle out, the peers restart, or a domain is added to the live mesh",
		},
		Metrics: []string{
			"pair.first", "pair.first.echo", "pair.further", "pair.further.echo", "pair.ready", "pair.echo", "mesh", "echo", "victim", "bulk",
			"reconnect", "pair.added",
			"connections", "connections.opened", "handshakes.full", "handshakes.resumed", "signatures.made", "signatures.verified",
			"authority.sasl", "authority.results", "authority.verifies", "authority.asserts", "authority.proofs", "authority.verdicts",
			"fetches", "lookups", "keys.customer", "pairs", "domains", "messages", "bytes.mesh", "bytes.mesh.tls", "cpu.mesh", "cpu.mesh.a", "cpu.mesh.b", "cpu.steady",
			"rss.a", "rss.b", "heap.a", "heap.b", "rss.connection", "fds.a", "fds.b", "glare", "unauthorised", "pairs.rate", "pairs.open", "pairs.expected",
		},
		level:   "traffic.rate",
		family:  s2sFamily,
		check:   (*planParser).checkFederation,
		outlook: Plan.meshOutlook,
		model:   meshModel,
		primary: func(p Plan) string {
			if p.Federation.BringUp == BringUpLazy {
				return "pair.echo.mean"
			}
			return "cpu.mesh"
		},
		prepare: prepareFederation,
	}
}

// federates is the actor of federation plans.
type federates struct {
	*site
	ceremony *ceremony
	foreign  *foreign   // nil where all providers are ours
	names    [][]string // of the domains of each provider; nil: made up
}

func prepareFederation(ctx context.Context, s *site) (actor, error) {
	c, err := newCeremony(s.plan.Simulator.Key)
	if err != nil {
		return nil, err
	}
	f := &federates{site: s, ceremony: c}
	if !s.about.Simulated {
		f.foreign, err = s.meet(ctx)
	}
	return f, err
}

func (f *federates) close(ctx context.Context) error {
	if f.foreign == nil {
		return nil
	}
	return f.foreign.close(ctx)
}

// warmDomains are those of each provider in the warm-up block: enough for every step.
const warmDomains = 2

func (f *federates) cell(ctx context.Context, c *cell) error {
	fed := f.plan.Federation
	if c.warmup {
		// Processes are fresh in each cell: what is warm afterwards is the machine.
		fed.Domains = Domains{min(fed.Domains.A, warmDomains), min(fed.Domains.B, warmDomains)}
		fed.Workers = 1
		fed.Traffic.Duration = min(fed.Traffic.Duration, warmTraffic)
	}
	m, err := f.raise(ctx, c.arm, fed)
	if err != nil {
		return err
	}
	err = m.steps(ctx, c)
	if unspoken := (*skipError)(nil); errors.As(err, &unspoken) {
		c.skipped = unspoken.reason
		err = nil
	}
	return errors.Join(err, m.close())
}

// skipError says that the peer does not speak the variant.
type skipError struct{ reason string }

func (e *skipError) Error() string { return e.reason }
