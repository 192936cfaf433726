package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Values of [SearchConfig] where it says nothing.
const (
	DefaultGrowth    = 2
	DefaultTolerance = 1.06
	DefaultVotes     = 3
)

// Judgement is what one trial of a level says of it.
type Judgement string

// The judgements. An invalid trial says nothing: the generator could not keep its
// promise.
const (
	Pass    Judgement = "pass"
	Fail    Judgement = "fail"
	Invalid Judgement = "invalid"
)

// Phase is the part of a search that a trial belongs to.
type Phase string

// The phases in their order. Growing and shrinking find a level that passes and one
// that fails, bisecting narrows them, and the confirming runs are longer.
const (
	PhaseGrow    Phase = "grow"
	PhaseShrink  Phase = "shrink"
	PhaseBisect  Phase = "bisect"
	PhaseConfirm Phase = "confirm"
)

// Trial is one run of the target at one level.
type Trial struct {
	Level float64
	Phase Phase
	// Attempt numbers the trials of this visit to the level from 0.
	Attempt int
}

// Judged is what came of a trial.
type Judged struct {
	Judgement Judgement
	// Clear says of a trial that passed that it did so by a wide margin: it then
	// decides alone. Failures never do, as a search does not come back to what has
	// failed.
	Clear bool
	// Reason is one sentence; of a pass it may be empty.
	Reason string
}

// SearchConfig says where and how to search.
type SearchConfig struct {
	// Start is the level tried first; Min and Max bound all others. They must be
	// above 0 and in order.
	Start, Min, Max float64
	// Growth, above 1, is the ratio of the second level to the first. It is squared
	// from level to level as long as it is below two, so that a start near the goal
	// can take small steps. 0: DefaultGrowth.
	Growth float64
	// Tolerance, above 1, is the ratio of failing to passing level at which the
	// search ends. 0: DefaultTolerance.
	Tolerance float64
	// Votes is the most valid trials of a level, the majority of which decides; an
	// odd number. 0: DefaultVotes.
	Votes int
	// Repeat is how often an invalid trial is repeated. 0: DefaultRepeat; negative:
	// never.
	Repeat int
	// Round, where set, is the level that is really run in place of the one asked
	// for: a whole number, or one with few digits. It must not decrease.
	Round func(float64) float64
	// Affords, where set, is asked before each trial whether there is time for it.
	Affords func(Trial) bool
}

// End says why a search ended.
type End string

// The ends of a search.
const (
	EndBracket End = "bracket" // Lo holds, Hi fails, and they are close, or nothing lies between
	EndMaximum End = "maximum" // the highest level allowed holds
	EndNothing End = "nothing" // even the lowest level allowed fails
	EndInvalid End = "invalid" // a level stayed invalid
	EndBudget  End = "budget"  // the time ran out
)

// Found is the result of a search.
type Found struct {
	End End
	// Lo is the highest level that holds, 0 if none is known; Confirmed says that a
	// longer run agreed. Hi is the lowest level above it that failed, 0 if none is
	// known.
	Lo, Hi    float64
	Confirmed bool
	// Stuck is the level that stayed invalid, 0 if none did.
	Stuck float64
	// Reason is that of the last trial of Hi or, in its place, of Stuck.
	Reason string
	// Trials is how many were run.
	Trials int
}

// errBudget ends a search for want of time.
var errBudget = errors.New("bench: no time left")

// Search looks for the highest level that a target bears: it grows the level until
// one fails, bisects at the geometric mean, and confirms the winner with a longer
// run; if that fails it steps down. Each level is tried until a majority of
// cfg.Votes trials agree, except that one clear pass suffices: if it was wrong, the
// confirming run tells.
//
// Where levels below a failing one fail too, Lo and Hi bracket the highest that
// holds. Where they do not, Lo still held and Hi still failed.
//
// An error of run, or the end of ctx, ends the search; Found is then what was known
// so far.
func Search(ctx context.Context, cfg SearchConfig, run func(context.Context, Trial) (Judged, error)) (Found, error) {
	if err := cfg.complete(); err != nil {
		return Found{}, fmt.Errorf("bench: search: %w", err)
	}
	s := &search{SearchConfig: cfg, run: run}
	err := s.bracket(ctx)
	if err == nil && s.found.End != EndNothing && s.found.End != EndInvalid {
		err = s.bisect(ctx)
	}
	if errors.Is(err, errBudget) {
		s.found.End, err = EndBudget, nil
	}
	if err == nil && s.found.Lo > 0 && s.found.End != EndInvalid {
		err = s.confirm(ctx)
	}
	if errors.Is(err, errBudget) {
		s.found.End, err = EndBudget, nil
	}
	return s.found, err
}

func (c *SearchConfig) complete() error {
	if c.Growth == 0 {
		c.Growth = DefaultGrowth
	}
	if c.Tolerance == 0 {
		c.Tolerance = DefaultTolerance
	}
	if c.Votes == 0 {
		c.Votes = DefaultVotes
	}
	if c.Repeat == 0 {
		c.Repeat = DefaultRepeat
	}
	if c.Round == nil {
		c.Round = func(v float64) float64 { return v }
	}
	switch {
	case !(c.Min > 0) || math.IsInf(c.Max, 0) || !(c.Min <= c.Start && c.Start <= c.Max):
		return fmt.Errorf("start %v, from %v to %v: must be finite, above 0, and in order", c.Start, c.Min, c.Max)
	case !(c.Growth > 1) || math.IsInf(c.Growth, 0):
		return fmt.Errorf("growth %v: must be above 1", c.Growth)
	case !(c.Tolerance > 1) || math.IsInf(c.Tolerance, 0):
		return fmt.Errorf("tolerance %v: must be above 1", c.Tolerance)
	case c.Votes < 1 || c.Votes%2 == 0:
		return fmt.Errorf("%d votes: must be an odd number", c.Votes)
	}
	return nil
}

type search struct {
	SearchConfig
	run    func(context.Context, Trial) (Judged, error)
	found  Found
	passed []float64 // levels
}

// level tries a level until it is decided.
func (s *search) level(ctx context.Context, level float64, phase Phase) (Judged, error) {
	var passed, failed, invalid int
	for attempt := 0; ; attempt++ {
		t := Trial{Level: level, Phase: phase, Attempt: attempt}
		if ctx.Err() != nil {
			return Judged{}, context.Cause(ctx)
		}
		if s.Affords != nil && !s.Affords(t) {
			return Judged{}, errBudget
		}
		j, err := s.run(ctx, t)
		if err != nil {
			return Judged{}, err
		}
		s.found.Trials++
		switch j.Judgement {
		case Pass:
			if passed++; passed > s.Votes/2 || j.Clear && attempt == invalid {
				s.passed = append(s.passed, level)
				return j, nil
			}
		case Fail:
			if failed++; failed > s.Votes/2 {
				return j, nil
			}
		default:
			if invalid++; invalid > max(0, s.Repeat) {
				s.found.End, s.found.Stuck, s.found.Reason = EndInvalid, level, j.Reason
				return j, nil
			}
		}
	}
}

// bracket looks for a level that passes and one that fails.
func (s *search) bracket(ctx context.Context) error {
	level, step := s.clamp(s.Start), s.Growth
	phase := PhaseGrow
	for {
		j, err := s.level(ctx, level, phase)
		if err != nil {
			return err
		}
		switch j.Judgement {
		case Pass:
			if s.found.Lo = level; s.found.Hi > 0 {
				return nil
			}
			if level >= s.Max {
				s.found.End = EndMaximum
				return nil
			}
			next := s.clamp(level * step)
			if next <= level { // rounded back
				next = s.Max
			}
			level = next
		case Fail:
			if s.found.Hi, s.found.Reason = level, j.Reason; s.found.Lo > 0 {
				return nil
			}
			if level <= s.Min {
				s.found.End = EndNothing
				return nil
			}
			next := s.clamp(level / step)
			if next >= level {
				next = s.Min
			}
			level, phase = next, PhaseShrink
		default:
			return nil
		}
		if step < DefaultGrowth {
			step = min(step*step, DefaultGrowth)
		}
	}
}

func (s *search) clamp(level float64) float64 { return min(max(s.Round(level), s.Min), s.Max) }

// bisect narrows what bracket found.
func (s *search) bisect(ctx context.Context) error {
	if s.found.End == EndMaximum {
		return nil
	}
	for s.found.Hi/s.found.Lo > s.Tolerance {
		mid := s.Round(math.Sqrt(s.found.Lo * s.found.Hi))
		if !(s.found.Lo < mid && mid < s.found.Hi) {
			break
		}
		j, err := s.level(ctx, mid, PhaseBisect)
		if err != nil {
			return err
		}
		switch j.Judgement {
		case Pass:
			s.found.Lo = mid
		case Fail:
			s.found.Hi, s.found.Reason = mid, j.Reason
		default:
			return nil
		}
	}
	s.found.End = EndBracket
	return nil
}

// confirm runs the winner for longer, and steps down while that fails: by the
// tolerance first, then by its square, and so on.
func (s *search) confirm(ctx context.Context) error {
	level := s.found.Lo
	for step := s.Tolerance; ; step *= step {
		j, err := s.level(ctx, level, PhaseConfirm)
		if err != nil {
			return err
		}
		switch j.Judgement {
		case Pass:
			s.found.Lo, s.found.Confirmed = level, true
			return nil
		case Fail:
			if s.found.End == EndMaximum {
				s.found.End = EndBracket
			}
			s.found.Hi, s.found.Reason = level, j.Reason
			s.found.Lo = s.passedBelow(level)
			if level <= s.Min {
				s.found.End = EndNothing
				return nil
			}
			next := s.clamp(level / step)
			if next >= level {
				next = s.Min
			}
			level = next
		default:
			return nil
		}
	}
}

// passedBelow is the highest level below another one that has passed, 0 if none has.
func (s *search) passedBelow(level float64) (below float64) {
	for _, l := range s.passed {
		if l < level {
			below = max(below, l)
		}
	}
	return below
}
