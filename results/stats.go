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
// comparison at 0.05.
func MinBlocks(k int, alpha float64) int {
	// The allowance keeps an exact power of two from being rounded up.
	return max(1, int(math.Ceil(math.Log2(2*float64(max(k, 1))/alpha)-1e-9)))
}

// Bonferroni is the confidence level of each of k intervals that together hold
// with confidence 1-alpha.
func Bonferroni(k int, alpha float64) float64 { return 1 - alpha/float64(max(k, 1)) }

// exactPaired is the number of differences up to which the distribution of the
// signed-rank statistic is computed and not approximated.
const exactPaired = 400

// SignedRank returns the Hodges-Lehmann estimate of the centre of the paired
// differences d, the median of their pairwise averages, with the interval of
// the Wilcoxon signed-rank test. It does not change d.
func SignedRank(d []float64, level float64) Estimate {
	n := len(d)
	e := Estimate{Level: level, Lo: math.Inf(-1), Hi: math.Inf(1), Exact: n <= exactPaired}
	if n == 0 {
		e.Value = math.NaN()
		return e
	}
	averages := make([]float64, 0, n*(n+1)/2)
	for i, a := range d {
		for _, b := range d[i:] {
			averages = append(averages, a/2+b/2)
		}
	}
	slices.Sort(averages)
	e.Value = median(averages)
	tail := (1 - level) / 2
	var k int
	if e.Exact {
		k = lowerTail(signedRankDistribution(n), tail)
	} else {
		m := float64(n) * float64(n+1) / 4
		sd := math.Sqrt(float64(n) * float64(n+1) * float64(2*n+1) / 24)
		k = normalTail(m, sd, tail)
	}
	if k > 0 {
		e.Lo, e.Hi = averages[k-1], averages[len(averages)-k]
	}
	return e
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

func normalTail(mean, sd, tail float64) int {
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
	diffs := make([]float64, 0, m*n)
	for _, a := range x {
		for _, b := range y {
			diffs = append(diffs, b-a)
		}
	}
	slices.Sort(diffs)
	e.Value = median(diffs)
	tail := (1 - level) / 2
	var k int
	if e.Exact {
		k = lowerTail(mannWhitneyDistribution(m, n), tail)
	} else {
		mn := float64(m) * float64(n)
		k = normalTail(mn/2, math.Sqrt(mn*float64(m+n+1)/12), tail)
	}
	if k > 0 {
		e.Lo, e.Hi = diffs[k-1], diffs[len(diffs)-k]
	}
	return e
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
