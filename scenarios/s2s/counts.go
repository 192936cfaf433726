package s2s

import (
	"maps"
	"slices"
	"strconv"
)

// Mesh is what a closed form is about: two providers, the domains of each that have
// traffic, and the pairs of them that have it, in both directions.
type Mesh struct {
	// A and B are the domains hosted at each end, ActiveA and ActiveB those that
	// have traffic.
	A, B             int
	ActiveA, ActiveB int
	// Pairs counts unordered pairs of domains with traffic; A·B for a full mesh.
	Pairs int
	// Slots counts the streams of a pool that the pairs fall on; 1 without a pool.
	Slots int
	// ProvedA and ProvedB are the domains of each end with traffic on a stream, added
	// up over the streams of a pool; without one ActiveA and ActiveB.
	ProvedA, ProvedB int
	// Each has the same for each stream of a pool; without one it may be nil.
	Each []Ends
	// Lazy says that the pairs came one by one, as traffic wanted them, and not all at
	// once.
	Lazy bool
}

// Ends are numbers of domains of both providers.
type Ends struct{ A, B int }

// streams returns the domains with traffic on each stream.
func (m Mesh) streams() []Ends {
	if len(m.Each) > 0 {
		return m.Each
	}
	return []Ends{{m.ActiveA, m.ActiveB}}
}

// Full is the full mesh of n and m domains.
func Full(n, m int) Mesh {
	return Mesh{A: n, B: m, ActiveA: n, ActiveB: m, Pairs: n * m, Slots: 1, ProvedA: n, ProvedB: m}
}

// Undetermined is a count that depends on when things happen.
const Undetermined = -1

// Counts is what a mesh comes to, both providers together: what the counters of a
// run must equal. Zero is a number like any other.
type Counts struct {
	// Persistent connections stay, Opened are all that were made; each is counted
	// once. Handshakes of TLS are the full ones where nothing is resumed.
	Persistent, Opened, Handshakes int
	// SASL, Results, Verifies, Asserts, Proofs and Verdicts are exchanges and
	// messages of authority, by the figures of those names.
	SASL, Results, Verifies, Asserts, Proofs, Verdicts int
	// Fetches of documents from third parties; look-ups of SRV records of domains,
	// and of TLSA records.
	Fetches, Lookups, TLSA int
	// Keys are the customers' private keys that both providers hold.
	Keys int
}

// Figures returns the counts under the names that a host counts them by, without
// those that are Undetermined.
func (c Counts) Figures() map[string]int {
	f := map[string]int{
		FigureAlive: c.Persistent, FigureOpened: c.Opened, FigureFull: c.Handshakes,
		FigureSASL: c.SASL, FigureResults: c.Results, FigureVerifies: c.Verifies,
		FigureAsserts: c.Asserts, FigureProofs: c.Proofs, FigureVerdicts: c.Verdicts,
		FigureFetches: c.Fetches, FigureLookups: c.Lookups, FigureLookupsTLSA: c.TLSA, FigureKeys: c.Keys,
	}
	maps.DeleteFunc(f, func(_ string, n int) bool { return n == Undetermined })
	return f
}

// Rounds are round trips of the network until pairs can talk, by closed form.
type Rounds struct {
	// First is the time until the first pair of two providers is ready, FirstEcho
	// until its first message has been echoed.
	First, FirstEcho int
	// Further and FurtherEcho are those of another pair afterwards.
	Further, FurtherEcho int
}

// transport is the number of round trips until features after TLS: TCP, headers,
// STARTTLS and the handshake.
func (p Params) transport() int {
	n := 5
	switch p.TLS {
	case TLSDirect:
		n = 3
	case TLSNone:
		return 2
	}
	if p.TLSMax == "1.2" {
		n++
	}
	return n
}

// keys counts the customers' private keys that both providers hold.
func (m Mesh) keys(n Needs) int {
	switch n {
	case EachDomain:
		return m.A + m.B
	case OneForAll:
		return 2
	case OwnOnly, Attributes, Nothing:
	}
	return 0
}

// secured is the number of handshakes of n connections.
func (p Params) secured(n int) int {
	if p.TLS == TLSNone {
		return 0
	}
	return n
}

// MeshOf is the mesh of a and b domains of which only the given pairs have traffic,
// for streams of a pool.
func MeshOf(a, b int, pairs []Pair, pool int) Mesh {
	m := Mesh{A: a, B: b, Pairs: len(pairs)}
	from, to, slots := make(map[string]bool), make(map[string]bool), make(map[int]bool)
	proofs := make(map[string]bool)
	each := make([]Ends, max(pool, 1))
	for _, p := range pairs {
		n := slot(p, max(pool, 1))
		from[p.From], to[p.To], slots[n] = true, true, true
		for _, d := range []string{p.From, p.To} {
			if key := strconv.Itoa(n) + " " + d; !proofs[key] {
				proofs[key] = true
				if d == p.From {
					m.ProvedA++
					each[n].A++
				} else {
					m.ProvedB++
					each[n].B++
				}
			}
		}
	}
	m.ActiveA, m.ActiveB, m.Slots = len(from), len(to), len(slots)
	m.Each = slices.DeleteFunc(each, func(e Ends) bool { return e == Ends{} })
	return m
}

// Signatures is the closed form of private key operations made and of signatures
// verified in a mesh, both providers together, without resumption: two of
// each handshake, those of the chains that both ends present, and those of proofs.
// own and owner are the lengths of the chains of providers and of owners of domains,
// without the root. Both are Undetermined where the messages are that carry them.
func (v Variant) Signatures(p Params, m Mesh, own, owner int) (made, verified int) {
	c := v.Counts(p, m)
	server := own
	switch v.Needs(p) {
	case EachDomain, OneForAll:
		server = owner
	case OwnOnly, Attributes, Nothing:
	}
	client := server
	if v.client != nil {
		client = own
	}
	made = 2 * c.Handshakes
	verified = c.Handshakes * (2 + client + server)
	if v.Needs(p) != Attributes {
		return made, verified
	}
	if !p.Remembers() {
		// The owner's signature, on each stream; its chain and a list, where there is one, once.
		verified += c.Proofs + (m.ActiveA+m.ActiveB)*owner + c.Fetches
	}
	if p.Binding && c.Asserts == Undetermined {
		return Undetermined, Undetermined
	}
	if p.Binding {
		made += c.Asserts
		verified += c.Asserts
	}
	return made, verified
}
