package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// echoLogin is how the accounts log in that return messages at a real server: as the
// server would have it, since nothing of it is measured.
func echoLogin() Login {
	return Login{TLS: session.StartTLS.String(), SASL: "auto", TLSMin: "1.2", TLSMax: "1.3", Curves: "default", StepLimit: 30 * time.Second, Limit: 5 * time.Minute}
}

// sizes returns the number of domains of each provider.
func (f Federation) sizes() []int {
	all := make([]int, f.Providers)
	for i := range all {
		all[i] = f.Domains.B
	}
	all[0] = f.Domains.A
	return all
}

// pairs is the number of pairs of domains of different providers, either direction
// being the same pair.
func (f Federation) pairs() int {
	others := f.Providers - 1
	return f.Domains.A*f.Domains.B*others + f.Domains.B*f.Domains.B*others*(others-1)/2
}

// domainName is the name of a domain of a provider of the simulator, numbered from 1.
func domainName(provider, number int) string {
	return letter(provider) + strconv.Itoa(number) + ".test"
}

// between is the closed form of the i-th and the j-th provider. On which streams of a
// pool pairs fall is a matter of their names; where there are very many pairs, each
// stream is taken to have pairs of all domains.
func (p Plan) between(arm Arm, i, j int) s2s.Counts {
	const many = 50_000
	sizes := p.Federation.sizes()
	n, m := sizes[i], sizes[j]
	mesh := s2s.Full(n, m)
	switch pool := arm.S2S.Pool; {
	case pool > 1 && n*m > many:
		mesh.Slots, mesh.ProvedA, mesh.ProvedB = pool, n*pool, m*pool
	case pool > 1:
		pairs := make([]s2s.Pair, 0, n*m)
		for from := range n {
			for to := range m {
				pairs = append(pairs, s2s.Pair{From: domainName(i, from+1), To: domainName(j, to+1)})
			}
		}
		mesh = s2s.MeshOf(n, m, pairs, pool)
	}
	return arm.Federation.Counts(arm.S2S, mesh)
}

// meshCounts is the closed form of the full mesh of all providers, by metric. Each
// two of them are a mesh of their own, which shares no stream with the others; the
// keys of a provider are the same towards all.
func (p Plan) meshCounts(arm Arm) map[string]int {
	sum := make(map[string]int)
	keys := 0
	for i, n := range p.Federation.sizes() {
		for j := i + 1; j < p.Federation.Providers; j++ {
			for figure, count := range p.between(arm, i, j).Figures() {
				sum[metricOf(figure)] += count
			}
		}
		keys += arm.Federation.Counts(arm.S2S, s2s.Full(n, n)).Keys / 2
	}
	sum[metricOf(s2s.FigureKeys)] = keys
	if p.Federation.BringUp != BringUpLazy {
		sum[metricPairs] = p.Federation.pairs()
		for _, n := range p.Federation.sizes() {
			sum[metricDomains] += n
		}
		sum[metricOf(s2s.FigureStanzasOut)] = 2 * p.Federation.messages() * p.Federation.pairs() // and their echoes
	}
	return sum
}

// Counts of the pairs of domains that talk, and of the domains.
const (
	metricPairs   = "pairs"
	metricDomains = "domains"
)

// opened is how many connections the provider with the most is an end of, until all
// pairs talk.
func (p Plan) opened(arm Arm) int {
	most := 0
	for i := range p.Federation.Providers {
		opened := 0
		for j := range p.Federation.Providers {
			if i != j {
				opened += p.between(arm, min(i, j), max(i, j)).Opened
			}
		}
		most = max(most, opened)
	}
	return most
}

// descriptors is how many the largest process of a provider needs at most.
func (p Plan) descriptors(arm Arm) int {
	return portion(p.opened(arm), p.workers(arm, p.Federation)) + reservedDescriptors
}

// dialled is the largest number of connections that one provider makes to another.
func (p Plan) dialled(arm Arm) int {
	largest := p.between(arm, 0, 1).Opened
	if p.Federation.Providers > 2 {
		largest = max(largest, p.between(arm, 1, 2).Opened)
	}
	if arm.Federation.Layout(arm.S2S) == s2s.EachPair {
		return portion(largest, 2) // half of them each way
	}
	return largest
}

// ports is the largest number of connections from one address to one other. Each
// process of a provider has an address of its own; links dial from a common one.
func (p Plan) ports(arm Arm) int {
	workers := p.workers(arm, p.Federation)
	if p.Link.Shaped() {
		return portion(p.dialled(arm)*(p.Federation.Providers-1), workers)
	}
	return portion(p.dialled(arm), workers*workers)
}

// portion is the largest of so many portions of n.
func portion(n, portions int) int { return (n + portions - 1) / portions }

// Memory that a mesh is expected to take, in bytes.
const (
	endMemory     = 28 << 10 // of one end of a connection with TLS, as measured
	processMemory = 12 << 20 // of a provider's process without connections
)

// memory is what all providers take when the mesh stands, in bytes.
func (p Plan) memory(arm Arm) int64 {
	ends := 2 * int64(p.meshCounts(arm)[metricOf(s2s.FigureAlive)])
	processes := int64(p.workers(arm, p.Federation) * p.Federation.Providers)
	return ends*endMemory + processes*processMemory
}

// meshRounds are the round trips of the network until pairs of domains can talk, by
// metric. Further pairs of a pool may fall on a stream that is not there yet, which
// no closed form knows.
func (a Arm) meshRounds() map[string]int {
	r := a.Federation.Rounds(a.S2S)
	rounds := map[string]int{"pair.first": r.First, "pair.first.echo": r.FirstEcho}
	if a.S2S.Pool <= 1 {
		rounds["pair.further"], rounds["pair.further.echo"] = r.Further, r.FurtherEcho
	}
	return rounds
}

// meshOutlook is that of providers that federate.
func (p Plan) meshOutlook() outlook {
	return outlook{
		sessions: func() int { return 0 },
		cell:     func(arm Arm) time.Duration { cell, _ := p.meshDurations(arm); return cell },
		warmup:   func(arm Arm) time.Duration { _, warmup := p.meshDurations(arm); return warmup },
		samples:  func(metric string) float64 { return float64(p.meshSamples(metric)) },
		theory:   p.meshTheory,
	}
}

// meshTheory is what the arm should show on the plan's link: round trips take their
// time, and nothing else does.
func (p Plan) meshTheory(arm Arm) (map[string]float64, bool) {
	if p.Link.RTT == 0 {
		return nil, false
	}
	scalars := make(map[string]float64)
	for metric, n := range arm.meshRounds() {
		scalars[metric+".mean"] = (time.Duration(n) * p.Link.RTT).Seconds()
	}
	return scalars, true
}

// meshSamples estimates how many samples of a metric a cell makes, 0 if that is not
// known beforehand.
func (p Plan) meshSamples(metric string) int64 {
	f := p.Federation
	switch metric {
	case "pair.first", "pair.first.echo", "pair.further", "pair.further.echo", "mesh":
		return 1
	case "pair.ready", "pair.echo", "reconnect":
		if f.BringUp == BringUpAll {
			return int64(f.pairs())
		}
	case "echo", "victim":
		return int64(f.Traffic.Rate * f.Traffic.Duration.Seconds() * float64(f.Providers-1))
	case "pair.added":
		return int64(f.Domains.B)
	}
	return 0
}

// What parts of a cell take on a fast machine.
const (
	handshakeTime = time.Millisecond      // of a connection between servers, both ends together, on two processors
	processTime   = 50 * time.Millisecond // to start and end a process
	// warmTraffic is how long the steady phase is in the warm-up block at most.
	warmTraffic = 200 * time.Millisecond
)

// meshDurations estimates how long a cell of an arm takes, and that of the warm-up block.
func (p Plan) meshDurations(arm Arm) (cell, warmup time.Duration) {
	f := p.Federation
	// Each process sets up so many streams at a time.
	batches := portion(p.dialled(arm)*(f.Providers-1), p.workers(arm, f)*s2s.DefaultDials)
	rounds := arm.Federation.Rounds(arm.S2S)
	bringUp := time.Duration(p.meshCounts(arm)[metricOf(s2s.FigureOpened)])*handshakeTime + time.Duration((batches-1)*rounds.First+rounds.FirstEcho)*p.Link.RTT
	single := time.Duration(rounds.FirstEcho+rounds.FurtherEcho) * p.Link.RTT
	cell, warmup = single+f.Settle, 2*single+f.Settle
	if f.BringUp == BringUpAll {
		cell += bringUp
	}
	phases := 0
	if f.Traffic.Rate > 0 {
		phases++
		if f.Bulk > 0 || f.Noisy > 0 {
			phases++
		}
	}
	cell += time.Duration(phases) * f.Traffic.Duration
	warmup += time.Duration(phases) * min(f.Traffic.Duration, warmTraffic)
	switch f.Event {
	case EventIdle:
		cell += f.Idle + bringUp
		warmup += f.Idle
	case EventRestart:
		cell += bringUp
	}
	start := time.Duration(f.Providers*p.workers(arm, f)) * processTime
	return start + cell, start + warmup
}

// MeshEstimate is what a plan of federating providers is going to take, before
// anything is connected.
type MeshEstimate struct {
	Plan string `json:"plan"`
	Arm  string `json:"variant"`
	// Pairs of domains, and the counts of a mesh in which all of them talk, by
	// metric. AtMost says that traffic decides how many do.
	Pairs  int            `json:"pairs"`
	Counts map[string]int `json:"counts"`
	AtMost bool           `json:"at-most,omitempty"`
	// Rounds are round trips of the network, by metric.
	Rounds map[string]int `json:"round-trips"`
	// Workers is the number of processes of each provider. Descriptors are the most
	// that one of them needs, Ports the most connections from one address to one
	// other, Memory the bytes that all providers take.
	Workers     int   `json:"workers"`
	Descriptors int   `json:"descriptors"`
	Ports       int   `json:"ports"`
	Memory      int64 `json:"memory"`
	// Duration is that of all blocks, warm-up included.
	Duration time.Duration `json:"duration-ns"`
	// Theory holds the expected scalars of a block, nil where none are known.
	Theory map[string]float64 `json:"theory,omitempty"`
}

// MeshEstimates returns what each arm of a plan of federating providers is going to
// take.
func (p Plan) MeshEstimates() []MeshEstimate {
	all := make([]MeshEstimate, 0, len(p.Arms))
	for _, arm := range p.Arms {
		e := MeshEstimate{
			Plan: p.Label, Arm: arm.Label, Pairs: p.Federation.pairs(), Counts: p.meshCounts(arm), AtMost: p.Federation.BringUp == BringUpLazy,
			Rounds: arm.meshRounds(), Workers: p.workers(arm, p.Federation), Descriptors: p.descriptors(arm), Ports: p.ports(arm),
			Memory: p.memory(arm), Duration: p.armDuration(arm),
		}
		e.Theory, _ = p.meshTheory(arm)
		all = append(all, e)
	}
	return all
}

// A machine is what processes can have here; 0 is not known.
type machine struct {
	descriptors int   // of a process
	ports       int   // from one address to one other
	memory      int64 // bytes
}

func thisMachine() machine {
	var m machine
	// What cannot be told limits nothing.
	m.descriptors, _ = proc.DescriptorLimit()
	m.ports, _ = proc.EphemeralPorts()
	m.memory, _ = proc.AvailableMemory()
	return m
}

// CheckMachine refuses a plan that takes more than this machine has. The error is an
// [*UnreachableError].
func CheckMachine(p Plan) error {
	if p.Scenario != FederationScenario {
		return nil
	}
	if err := p.fits(thisMachine()); err != nil {
		return &UnreachableError{Target: "this machine", Err: err}
	}
	return nil
}

// fits refuses a plan that takes more than the machine has.
func (p Plan) fits(m machine) error {
	for _, arm := range p.Arms {
		opened := p.opened(arm)
		if need := p.descriptors(arm); m.descriptors > 0 && need > m.descriptors {
			return fmt.Errorf("%s: each provider is an end of %d connections; in %s that is up to %d file descriptors in a process, which may open %d: raise workers or ulimit -n, or lower domains",
				arm.Label, opened, counted(p.workers(arm, p.Federation), "process", "processes"), need, m.descriptors)
		}
		// A link has two descriptors for each connection, in one process for each two providers.
		if need := 2*p.between(arm, 0, 1).Opened + reservedDescriptors; p.Link.Shaped() && m.descriptors > 0 && need > m.descriptors {
			return fmt.Errorf("%s: the link takes %d file descriptors, two for each connection, and its process may open %d: raise ulimit -n, lower domains, or leave link out",
				arm.Label, need, m.descriptors)
		}
		if need := p.ports(arm); m.ports > 0 && need > m.ports {
			return fmt.Errorf("%s: up to %d connections go from one address to one other, which has %d ports for them (net.ipv4.ip_local_port_range): raise workers or lower domains",
				arm.Label, need, m.ports)
		}
		if need := p.memory(arm); m.memory > 0 && need > m.memory {
			return fmt.Errorf("%s: the mesh takes about %d MiB of memory, %d KiB for each of the two ends of %d connections, and %d MiB are available: lower domains",
				arm.Label, need>>20, endMemory>>10, p.meshCounts(arm)[metricOf(s2s.FigureAlive)], m.memory>>20)
		}
	}
	return nil
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "one " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Bounds of what a plan may ask for, besides maxDomains.
const (
	maxPairs   = 1_000_000
	maxWorkers = 64        // of a provider
	maxBulk    = 4_000_000 // bytes of a stanza; peers take up to s2s.DefaultFrames
)

// against refuses a federation with a real server for which its target file does not
// say enough, or which the server cannot be made to do. It returns the key that is
// wrong.
func (p Plan) against(file *TargetFile) (key string, err error) {
	f := p.Federation
	switch {
	case file.Federation == (OwnProvider{}):
		return "federation", errors.New("is missing: say where our provider listens, where our DNS server answers, and what our domains are called")
	case file.Connect.Host == "":
		return "connect.host", errors.New("is missing: a federation needs the address of the server")
	case f.Providers != 2:
		return "providers", fmt.Errorf("%d federate, but a real server is one of two: leave the key out", f.Providers)
	case f.Workers > 1:
		return "workers", fmt.Errorf("our provider listens at one address, %s, in one process: leave the key out", file.Federation.Listen)
	case p.Link.Shaped():
		return "link", errors.New("lies between two providers of the simulator: leave it out for a real server")
	case f.Event == EventRestart || f.Event == EventAdd:
		return "event.kind", fmt.Errorf("%s is for two providers of the simulator", f.Event)
	case f.Domains.B > len(file.Domains):
		return "domains", fmt.Errorf("has %d domains, and %s asks for %d at the server", len(file.Domains), f.Domains, f.Domains.B)
	case file.Accounts.Count > 0 && file.Accounts.Count < f.Domains.B:
		return "accounts.count", fmt.Errorf("is %d, and each of %d domains needs an account that returns messages", file.Accounts.Count, f.Domains.B)
	}
	return "", nil
}

// checkFederation refuses what no providers can do, and settings that would do
// nothing.
func (p *planParser) checkFederation(plan *Plan) {
	f := plan.Federation
	if n := f.pairs(); n > maxPairs {
		p.fail(nil, "domains", "%s domains of %d providers make %d pairs; the limit is %d", f.Domains, f.Providers, n, maxPairs)
	}
	if fewest := slices.Min(f.sizes()); f.Workers > fewest {
		p.fail(nil, "workers", "%d processes have no more than %d domains to divide: use at most as many", f.Workers, fewest)
	}
	for _, arm := range plan.Arms {
		if n := f.Domains.A * f.Domains.B; arm.S2S.Pool > n {
			p.fail(nil, "s2s.pool", "%s: a pool of %d streams has %d pairs of domains to carry: use at most as many", arm.Label, arm.S2S.Pool, n)
		}
	}
	needs := func(key string, asked bool) {
		if asked && f.Traffic.Rate == 0 {
			p.fail(nil, key, "needs messages beside it: set traffic.rate, such as 200/s")
		}
	}
	needs("mesh.bring-up", f.BringUp == BringUpLazy)
	needs("bulk.bytes", f.Bulk > 0)
	needs("noisy.rate", f.Noisy > 0)
	if f.Bulk > 0 && f.Noisy > 0 {
		p.fail(nil, "noisy.rate", "and bulk.bytes would disturb the same messages: leave one of them out")
	}
}
