package scenarios

import (
	"slices"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

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

// meshCounts is the closed form of the full mesh of all providers. Each two of
// them are a mesh of their own, which shares no stream with the others; the keys of
// a provider are the same towards all.
func (p Plan) meshCounts(arm Arm) s2s.Counts {
	var sum s2s.Counts
	sizes := p.Federation.sizes()
	for i, n := range sizes {
		for _, m := range sizes[i+1:] {
			c := p.between(arm, n, m)
			sum.Persistent += c.Persistent
			sum.Opened += c.Opened
			sum.Handshakes += c.Handshakes
			sum.SASL += c.SASL
			sum.Results += c.Results
			sum.Verifies += c.Verifies
			sum.Asserts += c.Asserts
			sum.Proofs += c.Proofs
			sum.Verdicts += c.Verdicts
			sum.Fetches += c.Fetches
			sum.Lookups += c.Lookups
		}
		sum.Keys += p.between(arm, n, n).Keys / 2
	}
	return sum
}

// between is the closed form of two providers with n and m domains. Each stream of
// a pool is taken to have pairs, which is so unless there are few.
func (p Plan) between(arm Arm, n, m int) s2s.Counts {
	mesh := s2s.Full(n, m)
	mesh.Slots = max(1, min(arm.S2S.Pool, mesh.Pairs))
	return arm.Federation.Counts(arm.S2S, mesh)
}

// shares reports whether the domains of a provider share streams, which takes one
// process.
func (a Arm) shares() bool { return a.Federation.Layout(a.S2S).Shared() }

// Bounds of what a plan may ask for, besides maxDomains.
const (
	maxPairs   = 1_000_000
	maxWorkers = 64        // of a provider
	maxBulk    = 4_000_000 // bytes of a stanza; peers take up to s2s.DefaultFrames
)

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
}

// checkUsed refuses keys that do nothing in any of the plans, for want of what
// another key would have to say.
func (p *planParser) checkUsed(plans []Plan) {
	for _, k := range []struct {
		path, without string
		used          func(Federation) bool
	}{
		{"traffic.matrix", "traffic.rate", func(f Federation) bool { return f.Traffic.Rate > 0 }},
		{"traffic.duration", "traffic.rate", func(f Federation) bool { return f.Traffic.Rate > 0 }},
		{"traffic.zipf", "traffic.matrix: zipf", func(f Federation) bool { return f.Traffic.Matrix == MatrixZipf }},
		{"bulk.every", "bulk.bytes", func(f Federation) bool { return f.Bulk > 0 }},
		{"event.idle", "event.kind: idle", func(f Federation) bool { return f.Event == EventIdle }},
	} {
		if slices.Contains(plans[0].Given, k.path) && !slices.ContainsFunc(plans, func(p Plan) bool { return k.used(p.Federation) }) {
			p.fail(nil, k.path, "does nothing without %s", k.without)
		}
	}
}
