package scenarios

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
)

// A unit is a suffix and what one of it is worth.
type unit struct {
	suffix string
	worth  float64
}

// countUnits are the suffixes of counts, byteUnits of sizes and bitRateUnits of
// link rates, longest first where one ends in another.
func countUnits() []unit { return []unit{{"k", 1e3}, {"M", 1e6}, {"", 1}} }

func byteUnits() []unit {
	return []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
		{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
	}
}

func bitRateUnits() []unit {
	return []unit{{"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"bit/s", 1}}
}

func rateUnits() []unit { return []unit{{"/s", 1}, {"/min", 1.0 / 60}, {"/h", 1.0 / 3600}} }

// parseUnits reads a number that is not negative followed by one of the units.
func parseUnits(s string, units []unit, example string) (float64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			continue
		}
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return 0, fmt.Errorf("%q is not a finite number", s)
		case v < 0 || math.Signbit(v):
			return 0, fmt.Errorf("%q is negative", s)
		}
		return v * u.worth, nil
	}
	return 0, fmt.Errorf("%q is not a value such as %s", s, example)
}

// parseWhole reads a whole number with units.
func parseWhole(s string, units []unit, example string) (int64, error) {
	v, err := parseUnits(s, units, example)
	switch {
	case err != nil:
		return 0, err
	case v != math.Trunc(v):
		return 0, fmt.Errorf("%q is not a whole number", s)
	case v >= 1<<53:
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int64(v), nil
}

// ParseCount reads a count such as 500, 10k or 1M (decimal multiples).
func ParseCount(s string) (int64, error) { return parseWhole(s, countUnits(), "500, 10k or 1M") }

// ParseBytes reads a size such as 100, 64KiB or 1MB, in bytes.
func ParseBytes(s string) (int64, error) { return parseWhole(s, byteUnits(), "100, 64KiB or 1MB") }

// ParseRate reads a rate such as 20/s or 90/min, in events per second.
func ParseRate(s string) (float64, error) { return parseUnits(s, rateUnits(), "20/s or 90/min") }

// ParseSizes reads lengths of messages in bytes, such as "100", "uniform 20..500" or
// "lognormal 60 sigma 1".
func ParseSizes(s string) (population.Sizes, error) {
	usage := fmt.Errorf("%q is not a length such as 100, uniform 20..500 or lognormal 60 sigma 1", s)
	var sizes population.Sizes
	var err error
	one := func(s string) int {
		n, bad := ParseBytes(s)
		if bad != nil {
			err = bad
		}
		return int(min(n, math.MaxInt32))
	}
	words := strings.Fields(s)
	switch {
	case len(words) == 1:
		sizes.Median = one(words[0])
	case len(words) == 2 && words[0] == "uniform":
		low, high, ok := strings.Cut(words[1], "..")
		if !ok {
			return sizes, usage
		}
		sizes.Least, sizes.Max = one(low), one(high)
	case len(words) == 4 && words[0] == "lognormal" && words[2] == "sigma":
		sizes.Median = one(words[1])
		if sizes.Sigma, err = strconv.ParseFloat(words[3], 64); err != nil {
			return sizes, usage
		}
	default:
		return sizes, usage
	}
	if err == nil {
		err = sizes.Check()
	}
	if err != nil {
		return sizes, errors.New(strings.TrimPrefix(err.Error(), "population: "))
	}
	return sizes, nil
}

// ParseBitRate reads the rate of a link such as 10Mbit/s, in bits per second.
func ParseBitRate(s string) (float64, error) {
	return parseUnits(s, bitRateUnits(), "10Mbit/s or 500kbit/s")
}

// ParseDuration reads a duration such as 50ms, 1m30s or 0; it is never negative.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 50ms, 30s or 1m30s", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, nil
}
