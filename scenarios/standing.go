package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// MeshConfig describes two federating providers of this process for whoever drives them
// step by step, as scripts of k6 do. Variant and Params are required.
type MeshConfig struct {
	Variant s2s.Variant
	Params  s2s.Params
	// Local and Remote are the domains of the two providers. With a target they are the
	// numbers of them that count: ours are named as the target file says.
	Local, Remote []string
	// Target, where set, is the server that takes the place of the second provider.
	Target *ServerTargets
	// Limit bounds the bring-up of all pairs, 30 s if zero; Size is that of messages in
	// bytes, 256 if zero. Key is the type of the certificates' keys, P-256 if empty.
	Limit time.Duration
	Size  int
	Key   lab.KeyType
	Seed  uint64
}

// Defaults of MeshConfig.
const (
	defaultMeshLimit = 30 * time.Second
	defaultMeshSize  = 256
)

// StandingMesh is a mesh that stands until it is closed. Its methods may be called
// concurrently, but for Add and Close.
type StandingMesh struct {
	m     *mesh
	site  *site
	owner *federates

	mu    sync.Mutex
	pairs map[s2s.Pair]struct{} // that have talked
}

// OpenMesh makes certificates and starts both providers. Nothing is connected yet.
func OpenMesh(ctx context.Context, c MeshConfig) (_ *StandingMesh, err error) {
	if c.Limit == 0 {
		c.Limit = defaultMeshLimit
	}
	if c.Size == 0 {
		c.Size = defaultMeshSize
	}
	if c.Key == "" {
		c.Key = lab.P256
	}
	arm := Arm{Label: c.Variant.Name, Name: c.Variant.Name, Federation: c.Variant, S2S: c.Params}
	plan := Plan{
		Label: "all", Scenario: FederationScenario, Arms: []Arm{arm}, Seed: c.Seed, Login: echoLogin(), Simulator: Simulator{Key: string(c.Key)},
		Federation: Federation{
			Domains: Domains{len(c.Local), len(c.Remote)}, Providers: 2, Workers: 1, BringUp: BringUpAll, Event: EventNone,
			Limit: c.Limit, Traffic: Traffic{Size: c.Size},
		},
	}
	if err := plan.fits(thisMachine()); err != nil {
		return nil, err
	}
	s := &StandingMesh{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if c.Target != nil {
		if key, err := plan.against(c.Target.File); err != nil {
			return nil, fmt.Errorf("scenarios: target file: %s: %w", key, err)
		}
		if s.site, err = openSite(ctx, plan, *c.Target, RunConfig{Workers: OwnWorkers{}}); err != nil {
			return nil, err
		}
		a, err := prepareFederation(ctx, s.site)
		if err != nil {
			return nil, err
		}
		s.owner = a.(*federates)
	} else {
		made, err := newCeremony(string(c.Key))
		if err != nil {
			return nil, err
		}
		s.owner = &federates{site: &site{plan: plan, starter: OwnWorkers{}}, ceremony: made, names: [][]string{c.Local, c.Remote}}
	}
	s.m, err = s.owner.raise(ctx, arm, plan.Federation)
	return s, err
}

// Domains returns the domains of both providers.
func (s *StandingMesh) Domains() (local, remote []string) {
	return s.m.providers[0].domains, s.m.second()
}

// A Trip is what the first message of a pair took.
type Trip struct {
	Pair        s2s.Pair
	Ready, Echo time.Duration // until stanzas could pass, and until the echo was there
}

// BringUp makes all pairs talk at once, in both directions. It returns what that took,
// from the first message to the last echo. Pairs that could not talk are an error.
func (s *StandingMesh) BringUp(ctx context.Context) (elapsed time.Duration, trips []Trip, err error) {
	local, remote := s.Domains()
	b := bringUp{matrix: matrix{local, remote, s.m.users()}, Size: s.m.fed.Traffic.Size, Limit: s.m.fed.Limit}
	got, err := s.near().bringUp(ctx, b)
	if err != nil {
		return 0, nil, err
	}
	if err := got.failure(); err != nil {
		return 0, nil, err
	}
	pairs := make([]s2s.Pair, 0, len(got.Trips))
	for i, t := range got.Trips {
		pairs = append(pairs, b.pair(i))
		trips = append(trips, Trip{b.pair(i), time.Duration(t.Ready), time.Duration(t.Echo)})
	}
	s.talked(pairs...)
	return got.Elapsed, trips, nil
}

// near is the worker of the first provider, which is in this process.
func (s *StandingMesh) near() *ProviderWorker {
	return s.m.providers[0].workers[0].(ownWorker).ProviderWorker
}

// talked notes pairs that have had traffic, on which closed forms depend.
func (s *StandingMesh) talked(pairs ...s2s.Pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pairs == nil {
		s.pairs = make(map[s2s.Pair]struct{})
	}
	for _, p := range pairs {
		s.pairs[p] = struct{}{}
	}
}

// Add adds a domain to the first provider and makes it talk to every domain of the
// second. It returns what that took until the last echo.
func (s *StandingMesh) Add(ctx context.Context, domain string) (elapsed time.Duration, trips []Trip, err error) {
	if s.m.foreign != nil {
		return 0, nil, errors.New("scenarios: a domain can be added between two providers of the simulator only")
	}
	near := s.m.providers[0]
	if slices.Contains(near.domains, domain) {
		return 0, nil, fmt.Errorf("scenarios: %s is hosted already", domain)
	}
	got, err := s.m.join(ctx, domain)
	if err != nil {
		return 0, nil, err
	}
	if err := got.failure(); err != nil {
		return 0, nil, err
	}
	near.domains = append(slices.Clip(near.domains), domain)
	near.hosted[0] = near.domains
	_, remote := s.Domains()
	for i, t := range got.Trips {
		p := matrix{From: []string{domain}, To: remote}.pair(i)
		trips = append(trips, Trip{p, time.Duration(t.Ready), time.Duration(t.Echo)})
		s.talked(p)
	}
	return got.Elapsed, trips, nil
}

// Echo sends one message of the given size in bytes over a pair, which must be one of
// the first and one of the second provider's domains, and waits for its echo.
func (s *StandingMesh) Echo(ctx context.Context, p s2s.Pair, size int) (time.Duration, error) {
	b := bringUp{matrix: matrix{Users: s.m.users()}, Only: []s2s.Pair{p}, Size: size, Limit: s.m.fed.Limit}
	got, err := s.near().bringUp(ctx, b)
	if err != nil {
		return 0, err
	}
	if err := got.failure(); err != nil {
		return 0, err
	}
	s.talked(p)
	return time.Duration(got.Trips[0].Echo), nil
}

// Figures returns the counts of both providers, and those of the closed form where there
// is one: not against a server.
func (s *StandingMesh) Figures(ctx context.Context) (got s2s.Figures, want map[string]int, err error) {
	if s.m.foreign != nil {
		return s.near().provider.Host().Figures(), nil, nil
	}
	s.mu.Lock()
	pairs := slices.Collect(maps.Keys(s.pairs))
	s.mu.Unlock()
	want = s.m.expected(pairs)
	got, err = s.m.figures(ctx, want)
	return got, want, err
}

// Close ends both providers, or ours and the accounts at the server.
func (s *StandingMesh) Close(ctx context.Context) error {
	var errs []error
	if s.m != nil {
		errs = append(errs, s.m.close())
	}
	if s.owner != nil {
		errs = append(errs, s.owner.close(ctx))
	}
	if s.site != nil {
		errs = append(errs, s.site.close())
	}
	return errors.Join(errs...)
}
