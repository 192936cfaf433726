package population

import "math/bits"

// graph is a circulant graph: the neighbours of vertex v are v+o modulo members
// for every o of a symmetric set of offsets. Vertices are members in key order,
// so that a member's neighbours in rank order are its roster in key order.
//
// The lower half of the offsets is spread over equal strata, one offset drawn
// from each: sorted, without duplicates and computed in constant time, with no
// table.
type graph struct {
	seed    uint64
	members int
	degree  int
	half    int // offsets below members/2
	room    int // numbers these are drawn from, 1 to room
}

func newGraph(seed uint64, members, degree int) graph {
	return graph{seed: seed, members: members, degree: degree, half: degree / 2, room: (members - 1) / 2}
}

// low returns the j-th offset of the lower half, for j from 0 to half-1.
func (g graph) low(j int) int {
	from := j * g.room / g.half
	to := (j + 1) * g.room / g.half
	return 1 + from + pick(hash(g.seed, saltOffset, uint64(j)), to-from) // #nosec G115 -- j is an index
}

// offset returns the k-th offset in rising order, for k from 0 to degree-1.
func (g graph) offset(k int) int {
	switch {
	case k < g.half:
		return g.low(k)
	case k < g.degree-g.half:
		return g.members / 2 // an odd degree takes the one offset that is its own mirror image
	default:
		return g.members - g.low(g.degree-1-k)
	}
}

// below returns the number of offsets smaller than o.
func (g graph) below(o int) int {
	switch {
	case g.degree == 0 || o <= 0:
		return 0
	case o <= (g.members+1)/2:
		return g.lowBelow(min(o, g.room+1))
	default:
		// The mirror image: o' < o exactly if members-o' > members-o.
		return g.degree - g.lowBelow(min(g.members-o+1, g.room+1))
	}
}

// lowBelow returns the number of lower offsets smaller than o, for o from 1 to
// room+1.
func (g graph) lowBelow(o int) int {
	if g.half == 0 {
		return 0
	}
	// o-1 lies in stratum j or j+1, by the rounding of the strata's bounds.
	j := max(0, (o-1)*g.half/g.room-1)
	for j < g.half && g.low(j) < o {
		j++
	}
	return j
}

// neighbour returns the n-th neighbour of v in rising order.
func (g graph) neighbour(v, n int) int {
	wrapped := g.degree - g.below(g.members-v)
	if n < wrapped {
		return v + g.offset(g.degree-wrapped+n) - g.members
	}
	return v + g.offset(n-wrapped)
}

// The salts keep the draws for different purposes independent.
const (
	saltOffset = iota + 1
	saltState
	saltName
	saltGroups
	saltSize
)

// hash mixes the words of a key into 64 evenly distributed bits.
func hash(seed uint64, words ...uint64) uint64 {
	h := seed
	for _, w := range words {
		h ^= w
		h += 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// pick maps 64 even bits to a number from 0 to n-1.
func pick(h uint64, n int) int {
	hi, _ := bits.Mul64(h, uint64(n)) // #nosec G115 -- n is not negative
	return int(hi)                    // #nosec G115 -- below n
}

// draws deals several small numbers out of one hash.
type draws uint64

// next returns a number from 0 to n-1 and moves on.
func (d *draws) next(n int) int {
	*d = draws(hash(uint64(*d), uint64(n))) // #nosec G115 -- n is not negative
	return pick(uint64(*d), n)
}
