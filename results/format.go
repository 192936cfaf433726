package results

import (
	"math"
	"strconv"
	"strings"
)

// significant writes v with three significant digits and no exponent.
func significant(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if decimals <= 0 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	s := strconv.FormatFloat(v, 'f', min(decimals, 12), 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// scaled writes v with the largest unit whose rounded figure is at least one.
func scaled(v float64, units []string, steps []float64) string {
	a := math.Abs(v)
	i := 0
	// 999.7 of a unit prints as 1000; the next unit reads better.
	for i < len(units)-1 && a >= steps[i+1]*0.9995 {
		i++
	}
	return significant(v/steps[i]) + units[i]
}

func formatSeconds(s float64) string {
	if s == 0 {
		return "0s"
	}
	return scaled(s, []string{"ns", "µs", "ms", "s"}, []float64{1e-9, 1e-6, 1e-3, 1})
}

func formatBytes(b float64) string {
	if math.Abs(b) < 1024 {
		return significant(b) + "B"
	}
	return scaled(b, []string{"KiB", "MiB", "GiB", "TiB"}, []float64{1 << 10, 1 << 20, 1 << 30, 1 << 40})
}

// formatCount keeps whole numbers whole: a count is exact.
func formatCount(n float64) string {
	if n == math.Trunc(n) && math.Abs(n) < 1e15 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return significant(n)
}

func formatUnit(v float64, unit string) string {
	switch unit {
	case UnitSeconds:
		return formatSeconds(v)
	case UnitBytes:
		return formatBytes(v)
	}
	return formatCount(v)
}
