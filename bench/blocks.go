package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// Values of [BlocksConfig] where it says nothing.
const (
	DefaultWarmupBlocks = 1
	DefaultRepeat       = 3
)

// BlocksConfig describes a comparison in randomised complete blocks: each block
// runs every arm once, in an order of its own.
type BlocksConfig struct {
	// Arms names what is compared; at least one.
	Arms []string
	// Blocks is the number of blocks that count; at least one.
	Blocks int
	// Seed fixes the orders.
	Seed uint64
	// Warmup is the number of blocks run first and discarded.
	// 0: DefaultWarmupBlocks; negative: none.
	Warmup int
	// Repeat is how often an invalid block is run again before the comparison
	// ends invalid. 0: DefaultRepeat; negative: never.
	Repeat int
	// Affords, where set, is asked before each block that counts whether there is time
	// for it. If not, the comparison ends well after the blocks that were run; the first
	// is run in any case.
	Affords func(block int) bool
	// After, where set, is called when an attempt at a block has ended: with
	// nil when every arm was valid and what they recorded counts, else with the
	// error that ended it, and what they recorded is to be discarded. An error
	// it returns ends the comparison too.
	After func(BlockRun, error) error
}

// BlockRun says which part of a comparison runs.
type BlockRun struct {
	// Block numbers the blocks from 0, warm-up blocks separately.
	Block int
	// Attempt is 0 unless the block was invalid before.
	Attempt int
	// Warmup marks a block whose results are discarded.
	Warmup bool
	// Arm is an index of BlocksConfig.Arms; in a call of After, that of the
	// last arm that ran.
	Arm int
}

// InvalidError says that a measurement does not count because the generator
// could not keep its promise. The function given to [Blocks] returns one with
// its Reason; Blocks adds the rest.
type InvalidError struct {
	Reason string
	// Arm, Block and Attempts say where: Attempts is how often the block ran.
	Arm      string
	Block    int
	Attempts int
}

// Error describes what was invalid and why.
func (e *InvalidError) Error() string {
	if e.Attempts == 0 {
		return "bench: invalid: " + e.Reason
	}
	if e.Attempts == 1 {
		return fmt.Sprintf("bench: block %d is invalid in %s: %s", e.Block+1, e.Arm, e.Reason)
	}
	return fmt.Sprintf("bench: block %d is invalid after %d attempts, at last in %s: %s", e.Block+1, e.Attempts, e.Arm, e.Reason)
}

// Blocks runs warm-up blocks and then cfg.Blocks blocks, one arm at a time,
// through run. When run returns an error that holds an [*InvalidError], the rest
// of the block is skipped and the whole block runs again in the same order, as
// its arms are only comparable when they ran close together; when that was in
// vain cfg.Repeat times, Blocks returns an *InvalidError. The validity of
// warm-up blocks does not matter. Any other error ends the comparison, as does
// the end of ctx, whose cause is returned.
func Blocks(ctx context.Context, cfg BlocksConfig, run func(context.Context, BlockRun) error) error {
	switch {
	case run == nil:
		return errors.New("bench: blocks: need a function")
	case len(cfg.Arms) == 0 || cfg.Blocks < 1:
		return fmt.Errorf("bench: blocks: %d blocks of %d arms: need at least one of each", cfg.Blocks, len(cfg.Arms))
	}
	if cfg.Warmup == 0 {
		cfg.Warmup = DefaultWarmupBlocks
	}
	if cfg.Repeat == 0 {
		cfg.Repeat = DefaultRepeat
	}
	// Their orders come from another seed, so that the number of warm-up blocks
	// does not change the orders that count.
	for block, order := range Order(^cfg.Seed, max(0, cfg.Warmup), len(cfg.Arms)) {
		if _, err := cfg.attempt(ctx, BlockRun{Block: block, Warmup: true}, order, run); err != nil {
			return fmt.Errorf("bench: warm-up block %d: %w", block+1, err)
		}
	}
	for block, order := range Order(cfg.Seed, cfg.Blocks, len(cfg.Arms)) {
		if cfg.Affords != nil && !cfg.Affords(block) && block > 0 {
			return nil
		}
		if err := cfg.block(ctx, block, order, run); err != nil {
			return err
		}
	}
	return nil
}

// block runs a block until it is valid or has been repeated often enough.
func (c *BlocksConfig) block(ctx context.Context, block int, order []int, run func(context.Context, BlockRun) error) error {
	for attempt := 0; ; attempt++ {
		invalid, err := c.attempt(ctx, BlockRun{Block: block, Attempt: attempt}, order, run)
		switch {
		case err != nil:
			return fmt.Errorf("bench: block %d: %w", block+1, err)
		case invalid == nil:
			return nil
		case attempt >= c.Repeat:
			return invalid
		}
	}
}

// attempt runs the arms of a block until one is invalid or fails.
func (c *BlocksConfig) attempt(ctx context.Context, b BlockRun, order []int, run func(context.Context, BlockRun) error) (invalid *InvalidError, err error) {
	for _, b.Arm = range order {
		if invalid, err = c.arm(ctx, b, run); invalid != nil || err != nil {
			break
		}
	}
	if c.After == nil {
		return invalid, err
	}
	outcome := err
	if invalid != nil {
		outcome = invalid
	}
	if afterErr := c.After(b, outcome); afterErr != nil && err == nil {
		return nil, fmt.Errorf("after the block: %w", afterErr)
	}
	return invalid, err
}

func (c *BlocksConfig) arm(ctx context.Context, b BlockRun, run func(context.Context, BlockRun) error) (*InvalidError, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err := run(ctx, b)
	invalid, ok := errors.AsType[*InvalidError](err)
	switch {
	case ctx.Err() != nil:
		// What was measured while the run was ending is not complete, however
		// valid it may look.
		return nil, context.Cause(ctx)
	case err == nil || ok && b.Warmup:
		return nil, nil
	case ok:
		return &InvalidError{Reason: invalid.Reason, Arm: c.Arms[b.Arm], Block: b.Block, Attempts: b.Attempt + 1}, nil
	default:
		return nil, fmt.Errorf("%s: %w", c.Arms[b.Arm], err)
	}
}

// Order returns the order of the arms, as indices, in each block: independent
// random permutations. That of a block depends on seed, its number and the
// number of arms alone. Negative numbers count as 0.
func Order(seed uint64, blocks, arms int) [][]int {
	orders := make([][]int, max(0, blocks))
	for block := range orders {
		random := rand.New(rand.NewPCG(Mix(seed), Mix(uint64(block)))) // #nosec G404 -- The order has to repeat.
		orders[block] = random.Perm(max(0, arms))
	}
	return orders
}
