package population

import (
	"fmt"
	"math"
)

// Sizes draws the lengths of message bodies in bytes.
type Sizes struct {
	// Seed decides the draws.
	Seed uint64
	// Median is the middle length, at least 1.
	Median int
	// Sigma is the standard deviation of the logarithm of the length; 0 makes
	// every length the median. Chat text is near 1.
	Sigma float64
	// Max cuts the longest lengths off; 0 stands for 100 times the median.
	Max int
	// Least, if above zero, spreads lengths evenly from there to Max; Median and
	// Sigma must be 0 then.
	Least int
}

// Check says what is wrong with s, if anything.
func (s Sizes) Check() error {
	switch {
	case s.Least != 0 && (s.Median != 0 || s.Sigma != 0):
		return fmt.Errorf("population: message size with both a least length and a median: give one of them")
	case s.Least < 0 || s.Least > 0 && s.Max < s.Least:
		return fmt.Errorf("population: message size from %d to %d bytes: want at least 1, and not less than that", s.Least, s.Max)
	case s.Least > 0:
	case s.Median < 1:
		return fmt.Errorf("population: message size with median %d: it must be at least 1 byte", s.Median)
	case !(s.Sigma >= 0 && s.Sigma <= 5):
		return fmt.Errorf("population: message size with sigma %g: it must lie between 0 (all alike) and 5", s.Sigma)
	case s.Max != 0 && s.Max < s.Median:
		return fmt.Errorf("population: message size with maximum %d below its median %d", s.Max, s.Median)
	}
	return nil
}

// Longest returns the greatest length there can be.
func (s Sizes) Longest() int {
	switch {
	case s.Sigma == 0 && s.Least == 0:
		return s.Median
	case s.Max == 0:
		return 100 * s.Median
	}
	return s.Max
}

// At returns the length of message number n, always the same for the same n.
func (s Sizes) At(n uint64) int {
	if s.Least > 0 {
		return s.Least + pick(hash(s.Seed, saltSize, n), s.Max-s.Least+1)
	}
	if s.Sigma == 0 {
		return s.Median
	}
	limit := s.Longest()
	even := (float64(hash(s.Seed, saltSize, n)>>11) + 0.5) / (1 << 53)
	normal := math.Sqrt2 * math.Erfinv(2*even-1)
	size := float64(s.Median) * math.Exp(s.Sigma*normal)
	return int(min(max(math.Round(size), 1), float64(limit)))
}

// AppendBody appends the body of message number n, exactly At(n) bytes of small
// letters and spaces that need no escaping and neither begin nor end with a
// space.
func (s Sizes) AppendBody(dst []byte, n uint64) []byte {
	const letters = "etaoinshrdlucmwf"
	size := s.At(n)
	d := hash(s.Seed, saltSize, n, 1)
	word := 0
	for i := range size {
		if i%12 == 0 {
			d = hash(d, uint64(i))
		}
		c := letters[d>>(i%12*5)&15]
		if space := word > 2 && d>>(i%12*5+4)&1 == 0; space && i < size-1 {
			c, word = ' ', -1
		}
		word++
		dst = append(dst, c)
	}
	return dst
}
