package scenarios

import (
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

// herdTheory returns when clients would be back whose server and link take no time: by
// their back-off alone, and in a restart by the time that the simulator is away. In each
// block chance has other numbers; these are the medians over the blocks.
func (p Plan) herdTheory(arm Arm) map[string]float64 {
	down := time.Duration(0)
	if p.Herd.Event == EventRestart {
		down = p.Herd.Down
	}
	all := make(map[string][]float64)
	for block := range min(p.Blocks, theoryBlocks) {
		times := make([]time.Duration, p.Herd.Sessions)
		for i := range times {
			for attempt := 0; attempt == 0 || times[i] < min(down, p.Herd.Limit); attempt++ {
				times[i] += arm.Return.Backoff.Delay(p.herdSeed(block), i, attempt)
			}
		}
		slices.Sort(times)
		for name, percent := range backShares() {
			d, _ := backBy(times, len(times), percent)
			all[name] = append(all[name], d.Seconds())
		}
	}
	scalars := make(map[string]float64)
	for name, values := range all {
		slices.Sort(values)
		scalars[name] = (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	return scalars
}

// bound returns when clients can be back at the earliest: what their back-off alone takes,
// where that is known, and at least the CPU time of so many logins, as before the event, on
// all processors of the machine.
func (h *herds) bound(arm Arm) map[string]float64 {
	if arm.Name != ReturnCold || len(h.bounds) == 0 {
		return nil
	}
	scalars, known := h.theory(arm)
	if !known {
		scalars = make(map[string]float64)
	}
	slices.Sort(h.bounds)
	cpu := (h.bounds[(len(h.bounds)-1)/2] + h.bounds[len(h.bounds)/2]) / 2
	for name, percent := range backShares() {
		scalars[name] = max(scalars[name], cpu*float64(percent)/100)
	}
	return scalars
}

// theoryBlocks bounds the work that theory takes: more blocks change its medians little.
const theoryBlocks = 21

// herdSeed is that of the back-off in a block.
func (p Plan) herdSeed(block int) uint64 { return p.Seed + uint64(block) } // #nosec G115 -- blocks are not negative

// herdOutlook is that of an event from which all come back.
func (p Plan) herdOutlook() outlook {
	few := p
	few.Herd.Sessions = min(p.Herd.Sessions, herdWarmup)
	return outlook{
		operations: []string{"talk"},
		sessions:   func() int { return p.Herd.Sessions },
		cell:       p.herdDuration,
		warmup:     few.herdDuration,
		connections: func(Arm) int {
			return 2 * (bench.DefaultWarmupBlocks*few.Herd.Sessions + p.Blocks*p.Herd.Sessions)
		},
		samples: func(metric string) float64 {
			if metric == "talk" || metric == "attempt" {
				return float64(p.Herd.Sessions)
			}
			return 0
		},
		theory: func(arm Arm) (map[string]float64, bool) { return p.herdTheory(arm), true },
	}
}

// herdDuration estimates how long a cell takes: logins, the wait, the return and the
// logouts.
func (p Plan) herdDuration(arm Arm) time.Duration {
	logins, _ := p.Logins.reaches(p.Herd.Sessions)
	back := time.Duration(p.herdTheory(arm)["back.all"] * float64(time.Second))
	return logins + p.Herd.Settle + min(back+time.Duration(p.Herd.Sessions)*2*time.Millisecond, p.Herd.Limit) + overhead
}

// checkHerd refuses what does nothing.
func (p *planParser) checkHerd(plan *Plan) {
	// What the command line or another plan makes idle may stay in the file.
	idle := func(key, by string) bool {
		return slices.Contains(plan.Given, key) && (slices.Contains(p.set, key) || !slices.Contains(p.set, by)) &&
			!slices.ContainsFunc(p.dims, func(d dimension) bool { return d.path == by && len(d.values) > 1 })
	}
	given := func(arm Arm, setting string) bool { return slices.Contains(arm.Given, setting) }
	for _, s := range []struct {
		setting, why string
		used         func(Backoff) bool
	}{
		{"base", "a back-off", func(b Backoff) bool { return b.Policy != BackoffNone }},
		{"jitter", "a back-off", func(b Backoff) bool { return b.Policy != BackoffNone }},
		{"cap", "an exponential back-off", func(b Backoff) bool { return b.Policy == BackoffExponential }},
	} {
		some := false
		for _, arm := range plan.Arms {
			used := s.used(arm.Return.Backoff)
			some = some || used
			if given(arm, s.setting) && !used {
				p.fail(nil, "variants", "%s: %s does nothing without %s", arm.Label, s.setting, s.why)
			}
		}
		if idle("herd."+s.setting, "herd.backoff") && !some {
			p.fail(nil, "herd."+s.setting, "does nothing without %s", s.why)
		}
	}
	if _, ok := plan.Logins.reaches(plan.Herd.Sessions); !ok {
		p.fail(nil, "logins.rate", "%s ends before %d sessions are online", plan.Logins, plan.Herd.Sessions)
	}
}
