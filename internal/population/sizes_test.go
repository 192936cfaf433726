package population_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
)

func TestSizes(t *testing.T) {
	s := population.Sizes{Seed: 5, Median: 100, Sigma: 1}
	sizes := make([]int, 20_001)
	var logs, squares float64
	for n := range sizes {
		sizes[n] = s.At(uint64(n))
		l := math.Log(float64(sizes[n]))
		logs, squares = logs+l, squares+l*l
	}
	mean := logs / float64(len(sizes))
	sigma := math.Sqrt(squares/float64(len(sizes)) - mean*mean)
	slices.Sort(sizes)
	if m := sizes[len(sizes)/2]; m < 96 || m > 104 {
		t.Errorf("median %d, want about 100", m)
	}
	if sigma < 0.97 || sigma > 1.03 {
		t.Errorf("sigma %.3f, want about 1", sigma)
	}
	if sizes[0] < 1 || sizes[len(sizes)-1] > 10_000 {
		t.Errorf("sizes from %d to %d, want 1 to 10000", sizes[0], sizes[len(sizes)-1])
	}
	fixed := population.Sizes{Median: 64}
	if fixed.At(1) != 64 || fixed.At(2) != 64 {
		t.Error("sigma 0 does not fix the size")
	}
	if cut := (population.Sizes{Median: 100, Sigma: 2, Max: 120}); slices.MaxFunc([]uint64{1, 2, 3, 4, 5, 6, 7, 8}, func(a, b uint64) int { return cut.At(a) - cut.At(b) }) > 8 || cut.At(1) > 120 {
		t.Error("the maximum is not kept")
	}
}

func TestBodies(t *testing.T) {
	s := population.Sizes{Seed: 5, Median: 40, Sigma: 1}
	for n := range uint64(500) {
		body := string(s.AppendBody([]byte("x:"), n))[2:]
		if len(body) != s.At(n) || body != strings.TrimSpace(body) || strings.Trim(body, "abcdefghijklmnopqrstuvwxyz ") != "" {
			t.Fatalf("message %d should have %d bytes: %q", n, s.At(n), body)
		}
	}
}

func TestSizesCheck(t *testing.T) {
	if err := (population.Sizes{Median: 1, Sigma: 1, Max: 1}).Check(); err != nil {
		t.Error(err)
	}
	for _, s := range []population.Sizes{{}, {Median: 1, Sigma: -1}, {Median: 1, Sigma: math.NaN()}, {Median: 10, Max: 5}} {
		if s.Check() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
