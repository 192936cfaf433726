package results

import (
	"math"
	"slices"
)

// Estimate is a location with a confidence interval.
type Estimate struct {
	Value float64 `json:"value"`
	Lo    float64 `json:"lo"` // infinite where the samples are too few for the level, as is Hi
	Hi    float64 `json:"hi"`
	Level float64 `json:"level"` // confidence asked for, such as 0.95; the true one is at least that if Exact
	Exact bool    `json:"exact"` // from the exact distribution, not the normal one
}

// MinBlocks is the smallest number of blocks with which k comparisons can each
// be decided so that all together err with probability at most alpha: with
// fewer, the interval of the signed-rank test is infinite. It is 6 for one
// comparison at 0.05. Alpha lies between 0 and 1.
func MinBlocks(k int, alpha float64) int {
	// The allowance keeps an exact power of two from being rounded up.
	return max(1, int(math.Ceil(math.Log2(2*float64(max(k, 1)))-math.Log2(alpha)-1e-9)))
}

// Bonferroni is the confidence level of each of k intervals that together hold
// with confidence 1-alpha.
func Bonferroni(k int, alpha float64) float64 { return 1 - alpha/float64(max(k, 1)) }

// exactPaired is the number of differences up to which the distribution of the
// signed-rank statistic is computed and not approximated, at a cost that grows with
// its third power. There the normal distribution gives the same rank, or one that
// differs by one or two of 2525.
const exactPaired = 100

// SignedRank returns the Hodges-Lehmann estimate of the centre of the paired
// differences d, the median of their pairwise averages, with the interval of
// the Wilcoxon signed-rank test. It does not change d. Its time and memory grow with
// the number of differences, not with that of pairs: see [kth].
func SignedRank(d []float64, level float64) Estimate {
	n := len(d)
	e := Estimate{Level: level, Lo: math.Inf(-1), Hi: math.Inf(1), Exact: n <= exactPaired}
	if n == 0 {
		e.Value = math.NaN()
		return e
	}
	x := slices.Sorted(slices.Values(d))
	var k int
	if e.Exact {
		k = lowerTail(signedRankDistribution(n), errorOf(level))
	} else {
		m := float64(n) * float64(n+1) / 4
		sd := math.Sqrt(float64(n) * float64(n+1) * float64(2*n+1) / 24)
		k = normalTail(m, sd, errorOf(level))
	}
	e.locate(k, n*(n+1)/2, func(k int) float64 {
		return kth(k, x[0], x[n-1], func(v float64) int { return averagesUpTo(x, v) })
	})
	return e
}

// averagesUpTo counts the pairwise averages of sorted values, each with itself
// included, that are not above v.
func averagesUpTo(x []float64, v float64) int {
	count := 0
	// As i grows, its partners up to v become fewer.
	for i, j := 0, len(x); i < j; i++ {
		for j > i && x[i]/2+x[j-1]/2 > v {
			j--
		}
		count += j - i
	}
	return count
}

// locate takes the value and the interval from n sorted numbers, of which number gives
// the one of a rank: the median, and the k-th from either end, if k is not 0.
func (e *Estimate) locate(k, n int, number func(rank int) float64) {
	low := number((n + 1) / 2)
	e.Value = low
	if n%2 == 0 {
		e.Value = low/2 + number(n/2+1)/2
	}
	if k = min(k, (n+1)/2); k > 0 {
		e.Lo, e.Hi = number(k), number(n+1-k)
	}
}

// kth returns the k-th smallest, from 1, of numbers between lo and hi that are too many
// to be stored, exactly: upTo says how many are not above a value. It halves the
// floating-point numbers between the bounds until one is left, at most 64 times.
func kth(k int, lo, hi float64, upTo func(v float64) int) float64 {
	from, to := ordered(lo), ordered(hi)
	for from < to {
		middle := from + (to-from)/2
		if upTo(unordered(middle)) >= k {
			to = middle
		} else {
			from = middle + 1
		}
	}
	return unordered(to) + 0 // of the two zeros, the positive one
}

// ordered maps numbers to integers of the same order.
func ordered(v float64) uint64 {
	b := math.Float64bits(v)
	if b>>63 == 1 {
		return ^b
	}
	return b | 1<<63
}

// unordered is the inverse of ordered.
func unordered(o uint64) float64 {
	if o>>63 == 1 {
		return math.Float64frombits(o &^ (1 << 63))
	}
	return math.Float64frombits(^o)
}

// errorOf is the probability that an interval of a level leaves to either side. A level
// that is none leaves as much as there is, or nothing.
func errorOf(level float64) float64 {
	if !(level < 1) {
		return 0
	}
	return min((1-level)/2, 0.5)
}

// signedRankDistribution is the probability of each value of the sum of the
// positive ranks when signs are fair coins.
func signedRankDistribution(n int) []float64 {
	p := make([]float64, n*(n+1)/2+1)
	p[0] = 1
	top := 0
	for rank := 1; rank <= n; rank++ {
		top += rank
		for s := top; s >= 0; s-- {
			p[s] /= 2
			if s >= rank {
				p[s] += p[s-rank] / 2
			}
		}
	}
	return p
}

// lowerTail is the largest k with P(statistic < k) at most tail: the interval
// runs from the k-th smallest to the k-th largest of the values that the
// statistic counts. It is 0 if there is no such interval.
func lowerTail(p []float64, tail float64) int {
	sum := 0.0
	for k, q := range p {
		if sum += q; sum > tail*(1+1e-12) {
			return k
		}
	}
	return len(p)
}

// normalTail is lowerTail of a normal distribution.
func normalTail(mean, sd, tail float64) int {
	if tail <= 0 {
		return 0
	}
	z := math.Sqrt2 * math.Erfinv(1-2*tail)
	return max(0, int(math.Floor(mean-z*sd)))
}

// exactUnpaired bounds the sizes for which the Mann-Whitney distribution is
// computed and not approximated.
const exactUnpaired = 60

// MannWhitney returns the Hodges-Lehmann estimate of how far y lies above x,
// the median of all differences, with the interval of the Mann-Whitney test.
// It is for samples that share no blocks. It changes neither slice.
func MannWhitney(x, y []float64, level float64) Estimate {
	m, n := len(x), len(y)
	e := Estimate{Level: level, Lo: math.Inf(-1), Hi: math.Inf(1), Exact: max(m, n) <= exactUnpaired}
	if m == 0 || n == 0 {
		e.Value = math.NaN()
		return e
	}
	x, y = slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
	var k int
	if e.Exact {
		k = lowerTail(mannWhitneyDistribution(m, n), errorOf(level))
	} else {
		mn := float64(m) * float64(n)
		k = normalTail(mn/2, math.Sqrt(mn*float64(m+n+1)/12), errorOf(level))
	}
	e.locate(k, m*n, func(k int) float64 {
		return kth(k, y[0]-x[m-1], y[n-1]-x[0], func(v float64) int { return differencesUpTo(x, y, v) })
	})
	return e
}

// differencesUpTo counts the differences of values of y to values of x, both sorted,
// that are not above v.
func differencesUpTo(x, y []float64, v float64) int {
	count, j := 0, 0
	for _, a := range x {
		for j < len(y) && y[j]-a <= v {
			j++
		}
		count += j
	}
	return count
}

// mannWhitneyDistribution is the probability of each value of U when all orders
// of m and n values are equally likely: with one more value of the second
// sample, it is the largest of all with probability n/(m+n) and then adds m.
func mannWhitneyDistribution(m, n int) []float64 {
	// rows[j] is the distribution for i values of the first and j of the second
	// sample, i being the step of the outer loop.
	rows := make([][]float64, n+1)
	for j := range rows {
		rows[j] = []float64{1} // no value of the first sample: U is 0
	}
	for i := 1; i <= m; i++ {
		next := make([][]float64, n+1)
		next[0] = []float64{1}
		for j := 1; j <= n; j++ {
			p := make([]float64, i*j+1)
			fromSecond, fromFirst := float64(j)/float64(i+j), float64(i)/float64(i+j)
			for u, q := range next[j-1] { // the largest is of the second sample: above all i
				p[u+i] += fromSecond * q
			}
			for u, q := range rows[j] { // the largest is of the first sample
				p[u] += fromFirst * q
			}
			next[j] = p
		}
		rows = next
	}
	return rows[n]
}

// median of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return sorted[(n-1)/2]/2 + sorted[n/2]/2
}

// medianOf values in any order, which it leaves as they are.
func medianOf(v []float64) float64 { return median(slices.Sorted(slices.Values(v))) }
