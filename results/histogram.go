package results

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Limits of every histogram of this package: values are nanoseconds with three
// significant digits. An hour holds the slowest transfer that makes sense to
// measure; what lies beyond is recorded as an hour and counted as clamped.
const (
	lowestValue  = 1
	highestValue = int64(time.Hour)
	digits       = 3
)

// Histogram is a distribution of durations: an HdrHistogram (V2) of nanoseconds
// with three significant digits, from 0 to one hour, together with the exact
// sum and extremes where they are known. Its memory grows with the number of
// different values: about 200 bytes, and five to twelve for each. It is not safe for
// concurrent use.
type Histogram struct {
	hdr      *hdrhistogram.PackedHistogram
	sum      float64 // nanoseconds
	min, max int64
}

// NewHistogram returns an empty histogram.
func NewHistogram() *Histogram {
	return &Histogram{hdr: hdrhistogram.NewPacked(lowestValue, highestValue, digits), min: math.MaxInt64}
}

// Record adds n times the duration d and reports whether d lay outside the
// range, in which case the nearest end of the range is recorded in its place.
func (h *Histogram) Record(d time.Duration, n int64) (clamped bool) {
	v := int64(d)
	if v < 0 || v > highestValue {
		clamped = true
		v = min(max(v, 0), highestValue)
	}
	if h.hdr.RecordValues(v, n) != nil {
		return true // Unreachable while v lies in the range; never lose it silently.
	}
	h.sum += float64(v) * float64(n)
	h.min, h.max = min(h.min, v), max(h.max, v)
	return clamped
}

// N is the number of recorded durations.
func (h *Histogram) N() int64 { return h.hdr.TotalCount() }

// Mean is the arithmetic mean, 0 without samples.
func (h *Histogram) Mean() time.Duration {
	if h.N() == 0 {
		return 0
	}
	return time.Duration(math.Round(h.sum / float64(h.N())))
}

// Max is the largest recorded duration, 0 without samples.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Min is the smallest recorded duration, 0 without samples.
func (h *Histogram) Min() time.Duration {
	if h.N() == 0 {
		return 0
	}
	return time.Duration(h.min)
}

// Quantile is the q-quantile, 0 < q < 1, as a value that refuses to be printed
// when fewer than [MinSamples] durations stand behind it.
func (h *Histogram) Quantile(q float64) Quantile { return h.Quantiles(q)[0] }

// Quantiles is Quantile for several q, smallest first, in one pass.
func (h *Histogram) Quantiles(qs ...float64) []Quantile {
	percentiles := make([]float64, len(qs))
	for i, q := range qs {
		percentiles[i] = 100 * q
	}
	values := h.hdr.ValueAtPercentilesSlice(percentiles)
	out := make([]Quantile, len(qs))
	for i, q := range qs {
		out[i] = Quantile{Q: q, N: h.N()}
		if out[i].N > 0 && out[i].N >= MinSamples(q) {
			out[i].OK = true
			out[i].Value = min(time.Duration(values[i]), h.Max())
		}
	}
	return out
}

// All yields the upper end of each occupied bucket and the number of durations
// in it, smallest first.
func (h *Histogram) All() iter.Seq2[time.Duration, int64] {
	return func(yield func(time.Duration, int64) bool) {
		for low, n := range h.hdr.ForEachBucket {
			if !yield(time.Duration(upperEnd(low)), n) {
				return
			}
		}
	}
}

// upperEnd is the largest value that counts in the bucket of which low is the lowest.
func upperEnd(low int64) int64 {
	// bits of the values of which each has a bucket: 2·10^digits, rounded up
	const exact = 11
	return low | (1<<max(bits.Len64(uint64(low))-exact, 0) - 1) // #nosec G115 -- No duration is negative.
}

// Merge adds all durations of o to h.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil || o.N() == 0 {
		return
	}
	h.hdr.Merge(o.hdr) // Drops nothing: they have one range.
	h.sum += o.sum
	h.min, h.max = min(h.min, o.min), max(h.max, o.max)
}

// Since returns the durations that were recorded after o, an earlier state of h, as
// buckets tell them: its sum and extremes are those of the buckets.
func (h *Histogram) Since(o *Histogram) *Histogram {
	before := make(map[time.Duration]int64)
	for v, n := range o.All() {
		before[v] = n
	}
	out := NewHistogram()
	for v, n := range h.All() {
		if n -= before[v]; n > 0 {
			out.Record(v, n)
		}
	}
	return out
}

// Clone returns an independent copy.
func (h *Histogram) Clone() *Histogram {
	c := *h
	c.hdr = h.hdr.Clone()
	return &c
}

// Encode returns the histogram in HdrHistogram's compressed V2 form, base64:
// the fourth column of an interval log.
func (h *Histogram) Encode() (string, error) {
	b, err := h.hdr.EncodeV2()
	if err != nil {
		return "", fmt.Errorf("results: encode histogram: %w", err)
	}
	return string(b), nil
}

type histogramJSON struct {
	HDR string  `json:"hdr"`
	Sum float64 `json:"sum"`
	Min int64   `json:"min"`
	Max int64   `json:"max"`
}

// MarshalJSON writes the V2 form beside the exact sum and extremes, so that a
// histogram travels from a worker process without loss.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	s, err := h.Encode()
	if err != nil {
		return nil, err
	}
	return json.Marshal(histogramJSON{s, h.sum, h.min, h.max})
}

// UnmarshalJSON reads what MarshalJSON wrote. Bytes that would need more memory
// than this package's own histograms are refused.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	d, err := DecodeHistogram(j.HDR)
	if err != nil {
		return err
	}
	if d.N() > 0 {
		if math.IsNaN(j.Sum) || j.Sum < 0 || j.Min < 0 || j.Max > highestValue || j.Min > j.Max {
			return fmt.Errorf("results: histogram sum %g, min %d, max %d out of range", j.Sum, j.Min, j.Max)
		}
		d.sum, d.min, d.max = j.Sum, j.Min, j.Max
	}
	*h = *d
	return nil
}

// Quantile is a quantile that may be unknown for want of samples.
type Quantile struct {
	Q     float64       // 0 < Q < 1
	Value time.Duration // meaningful only if OK
	N     int64         // samples it rests on
	OK    bool          // at least MinSamples(Q) of them
}

// String prints the value with three significant digits, or "n/a (n=…)".
func (q Quantile) String() string {
	if !q.OK {
		return fmt.Sprintf("n/a (n=%d)", q.N)
	}
	return formatSeconds(q.Value.Seconds())
}

// MinSamples is the number of samples that the q-quantile must rest on before
// it is printed or decides anything: 10/(1-q), so that at least ten samples lie
// beyond it. It is 20 for the median and 1000 for 0.99.
func MinSamples(q float64) int64 {
	if q <= 0 {
		return 1
	}
	if q >= 1 {
		return math.MaxInt64
	}
	// 1-0.99 is a little more than 0.01 in binary; the tiny allowance keeps the
	// requirement at 1000 and not 1001.
	n := math.Ceil(10/(1-q) - 1e-6)
	if n >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(n)
}
