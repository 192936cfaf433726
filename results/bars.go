package results

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// bins are the durations of a histogram by the logarithm of their length: eight of
// them to an octave.
type bins map[int]int64

const binsPerOctave = 8

func binsOf(h *Histogram) bins {
	b := make(bins)
	for d, n := range h.All() {
		b[binOf(d)] += n
	}
	return b
}

func binOf(d time.Duration) int {
	return int(math.Floor(binsPerOctave * math.Log2(float64(max(d, 1)))))
}

// binStart is the shortest duration of a bin.
func binStart(i int) float64 { return math.Exp2(float64(i)/binsPerOctave) / 1e9 }

// Widths of a histogram in one line.
const (
	maxBars = 40
	minBars = 12
)

// bars draws b from bin lo on in columns of step bins each. A column that holds
// anything is seen, however little that is of the highest one.
func (b bins) bars(lo, columns, step int) string {
	sums := make([]int64, columns)
	for i, n := range b {
		sums[min((i-lo)/step, columns-1)] += n
	}
	top := slices.Max(sums)
	levels := []rune("▁▂▃▄▅▆▇█")
	var out strings.Builder
	for _, n := range sums {
		if n == 0 {
			out.WriteByte(' ')
			continue
		}
		out.WriteRune(levels[min(len(levels)-1, int(float64(n)/float64(top)*float64(len(levels))))])
	}
	return out.String()
}

// histograms draws the response times of each metric that the summary shows, one line
// for each variant, those of a metric on one axis: the logarithm of the time.
func (t *textReport) histograms(p PlanReport) {
	if t.markdown {
		return
	}
	var metrics []string
	names := 0
	for _, v := range p.Variants {
		names = max(names, utf8.RuneCountInString(v.Name))
		for _, l := range v.Latencies {
			m := parseScalar(t.table, l.Metric).metric
			if l.Clock == Response && l.N >= MinSamples(0.5) && len(m.Columns) > 0 && !slices.Contains(metrics, l.Metric) {
				metrics = append(metrics, l.Metric)
			}
		}
	}
	for _, metric := range sortScalars(t.table, metrics, "") {
		drawn := make(map[string]bins)
		lo, hi := math.MaxInt, math.MinInt
		for _, v := range p.Variants {
			for _, l := range v.Latencies {
				if l.Metric == metric && l.Clock == Response && len(l.bins) > 0 {
					drawn[v.Name] = l.bins
					keys := slices.Sorted(maps.Keys(l.bins))
					lo, hi = min(lo, keys[0]), max(hi, keys[len(keys)-1])
				}
			}
		}
		if len(drawn) == 0 {
			continue
		}
		room := min(maxBars, max(minBars, t.width-names-utf8.RuneCountInString("    ||")))
		step := (hi - lo + room) / room
		columns := (hi-lo)/step + 1
		t.line("")
		t.wrap(fmt.Sprintf("%s, from %s to %s on a logarithmic axis:", metric, formatSeconds(binStart(lo)), formatSeconds(binStart(lo+columns*step))), "  ")
		for _, v := range p.Variants {
			if b := drawn[v.Name]; b != nil {
				t.line("  %-*s  |%s|", names, v.Name, b.bars(lo, columns, step))
			}
		}
	}
}
