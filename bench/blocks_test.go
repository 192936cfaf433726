package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/bench"
)

func TestOrder(t *testing.T) {
	const blocks, arms = 6000, 3
	orders := bench.Order(1, blocks, arms)
	if !cmp.Equal(orders, bench.Order(1, blocks, arms)) {
		t.Error("one seed gave two orders")
	}
	if cmp.Equal(orders, bench.Order(2, blocks, arms)) {
		t.Error("two seeds gave one order")
	}
	if !cmp.Equal(orders[:12], bench.Order(1, 12, arms)) {
		t.Error("the order of a block depends on how many there are")
	}
	seen := make(map[string]int)
	for _, order := range orders {
		seen[fmt.Sprint(order)]++
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, []int{0, 1, 2}) {
			t.Fatalf("block %v does not run each arm once", order)
		}
	}
	// Each of the 6 orders 1000 times; five standard deviations are 144.
	if len(seen) != 6 {
		t.Errorf("%d of 6 orders seen", len(seen))
	}
	for order, n := range seen {
		if math.Abs(float64(n)-1000) > 144 {
			t.Errorf("order %s seen %d times of 1000", order, n)
		}
	}
	// Nor does the seed favour a first block.
	first := make(map[int]int)
	for seed := range uint64(3000) {
		first[bench.Order(seed, 1, arms)[0][0]]++
	}
	for arm, n := range first {
		if math.Abs(float64(n)-1000) > 129 {
			t.Errorf("arm %d comes first with %d of 3000 seeds", arm, n)
		}
	}
	if got := bench.Order(1, -1, 3); len(got) != 0 {
		t.Errorf("orders of no block: %v", got)
	}
}

func TestBlocks(t *testing.T) {
	cfg := bench.BlocksConfig{Arms: []string{"a", "b", "c"}, Blocks: 4, Seed: 7}
	var got, after []bench.BlockRun
	cfg.After = func(b bench.BlockRun, err error) error {
		after = append(after, b)
		return err
	}
	err := bench.Blocks(t.Context(), cfg, func(_ context.Context, b bench.BlockRun) error {
		got = append(got, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 15 || len(after) != 5 {
		t.Fatalf("%d arms and %d blocks ran, want 15 and 5", len(got), len(after))
	}
	for i, b := range got {
		if b.Warmup != (i < 3) || b.Attempt != 0 {
			t.Errorf("run %d: %+v", i, b)
		}
	}
	var want []bench.BlockRun
	for block, order := range bench.Order(7, 4, 3) {
		for _, arm := range order {
			want = append(want, bench.BlockRun{Block: block, Arm: arm})
		}
	}
	if diff := cmp.Diff(want, got[3:]); diff != "" {
		t.Error("not in the order of the seed:\n" + diff)
	}
}

// Without time for more, a comparison ends well, and with one block at least.
func TestBlocksAffords(t *testing.T) {
	for afforded := range 4 {
		var asked []int
		ran := 0
		err := bench.Blocks(t.Context(), bench.BlocksConfig{Arms: []string{"a", "b"}, Blocks: 3, Affords: func(block int) bool {
			asked = append(asked, block)
			return block < afforded
		}}, func(_ context.Context, b bench.BlockRun) error {
			if !b.Warmup {
				ran++
			}
			return nil
		})
		if want := max(1, min(afforded, 3)); err != nil || ran != 2*want {
			t.Errorf("time for %d: %d arms ran, want %d: %v", afforded, ran, 2*want, err)
		}
		if want := min(max(1, afforded)+1, 3); len(asked) != want || asked[0] != 0 {
			t.Errorf("time for %d: it was asked for %v", afforded, asked)
		}
	}
}

func TestBlocksRepeat(t *testing.T) {
	tests := []struct {
		name    string
		cfg     bench.BlocksConfig
		invalid func(bench.BlockRun) bool
		runs    int    // of arms
		kept    int    // blocks that count
		dropped int    // attempts discarded
		reason  string // of the InvalidError
	}{
		{"all valid", bench.BlocksConfig{Blocks: 3}, func(bench.BlockRun) bool { return false }, 8, 4, 0, ""},
		{"warm-up does not matter", bench.BlocksConfig{Blocks: 3, Warmup: 2}, func(b bench.BlockRun) bool { return b.Warmup }, 10, 5, 0, ""},
		{"no warm-up", bench.BlocksConfig{Blocks: 3, Warmup: -1}, func(bench.BlockRun) bool { return false }, 6, 3, 0, ""},
		{"saved by the last repeat", bench.BlocksConfig{Blocks: 3, Warmup: -1}, func(b bench.BlockRun) bool { return b.Block == 1 && b.Attempt < 3 }, 9, 3, 3, ""},
		{"never valid", bench.BlocksConfig{Blocks: 3, Warmup: -1}, func(b bench.BlockRun) bool { return b.Block == 1 }, 6, 1, 4, "block 2 is invalid after 4 attempts"},
		{"not repeated", bench.BlocksConfig{Blocks: 3, Warmup: -1, Repeat: -1}, func(b bench.BlockRun) bool { return b.Block == 1 }, 3, 1, 1, "block 2 is invalid in a: late"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var runs, kept, dropped int
			tt.cfg.Arms = []string{"a", "b"}
			tt.cfg.After = func(_ bench.BlockRun, err error) error {
				if err == nil {
					kept++
				} else {
					dropped++
				}
				return nil
			}
			err := bench.Blocks(t.Context(), tt.cfg, func(_ context.Context, b bench.BlockRun) error {
				runs++
				if tt.invalid(b) {
					return fmt.Errorf("step: %w", &bench.InvalidError{Reason: "late"})
				}
				return nil
			})
			invalid, ok := errors.AsType[*bench.InvalidError](err)
			if ok != (tt.reason != "") || !ok && err != nil {
				t.Fatalf("error %v", err)
			}
			if ok && (!strings.Contains(err.Error(), tt.reason) || invalid.Reason != "late" || invalid.Block != 1 || invalid.Arm == "") {
				t.Errorf("error %v (%+v), want one with %q", err, invalid, tt.reason)
			}
			if runs != tt.runs || kept != tt.kept || dropped != tt.dropped {
				t.Errorf("%d runs, %d kept, %d dropped; want %d, %d, %d", runs, kept, dropped, tt.runs, tt.kept, tt.dropped)
			}
		})
	}
}

func TestBlocksErrorsEndThem(t *testing.T) {
	broken := errors.New("target gone")
	tests := []struct {
		name  string
		run   error
		after error
		want  string
	}{
		{"arm", broken, nil, "block 1: a: target gone"},
		{"after", nil, broken, "block 1: after the block: target gone"},
		{"arm and after", broken, errors.New("disk full"), "block 1: a: target gone"},
		{"after an invalid block", &bench.InvalidError{Reason: "late"}, broken, "block 1: after the block: target gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			runs := 0
			err := bench.Blocks(t.Context(), bench.BlocksConfig{
				Arms: []string{"a"}, Blocks: 3, Warmup: -1,
				After: func(bench.BlockRun, error) error { return tt.after },
			}, func(context.Context, bench.BlockRun) error { runs++; return tt.run })
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), tt.want) || runs != 1 {
				t.Errorf("error %v after %d runs, want %q", err, runs, tt.want)
			}
		})
	}
}

func TestBlocksCancel(t *testing.T) {
	errStop := errors.New("enough")
	for at := range 6 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if at == 0 {
				cancel(errStop)
			}
			var kept, runs int
			err := bench.Blocks(ctx, bench.BlocksConfig{
				Arms: []string{"a", "b"}, Blocks: 3,
				After: func(_ bench.BlockRun, err error) error {
					if err == nil {
						kept++
					}
					return nil
				},
			}, func(context.Context, bench.BlockRun) error {
				if runs++; runs == at {
					cancel(errStop)
					// A run that is being cancelled may well look starved.
					return &bench.InvalidError{Reason: "late"}
				}
				return nil
			})
			if !errors.Is(err, errStop) || runs != at || kept != max(0, at-1)/2 {
				t.Errorf("error %v after %d runs, %d blocks kept", err, runs, kept)
			}
		})
	}
}

func TestBlocksRefuse(t *testing.T) {
	run := func(context.Context, bench.BlockRun) error { return nil }
	for name, err := range map[string]error{
		"no arm":      bench.Blocks(t.Context(), bench.BlocksConfig{Blocks: 1}, run),
		"no block":    bench.Blocks(t.Context(), bench.BlocksConfig{Arms: []string{"a"}}, run),
		"no function": bench.Blocks(t.Context(), bench.BlocksConfig{Arms: []string{"a"}, Blocks: 1}, nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "need") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
