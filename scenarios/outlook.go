package scenarios

import (
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

// outlook is what a scenario tells of a plan before it is run.
type outlook struct {
	// budget is the time that the whole plan keeps to; 0: its cells take what they take.
	budget time.Duration
	// sessions is the most that are held at one time.
	sessions func() int
	// setup is how long a cell takes to bring those online who are there before its load.
	setup time.Duration
	// cell is how long one of an arm takes, warmup how long that of the warm-up block;
	// nil: as long as the others.
	cell, warmup func(Arm) time.Duration
	// connections is the number that clients make for an arm in all blocks; nil where
	// actors are no clients.
	connections func(Arm) int
	// samples is the number of samples of a metric that a cell makes, 0 if it is not known;
	// nil: it never is.
	samples func(metric string) float64
	// operations are the metrics of which every operation of a load makes one sample,
	// whether it ended well or not; nil where that is told of the SLO's own metric at most.
	operations []string
	// theory returns what an arm should show, under the names of the scalars of a block,
	// and false where no theory is known; nil: none ever is.
	theory func(Arm) (map[string]float64, bool)
}

// outlook is that of the plan. Its scenario is known: the parser and readers of manifests
// see to it.
func (p Plan) outlook() outlook {
	s, _ := Find(p.Scenario)
	return s.outlook(p)
}

// Sessions returns the most sessions that the plan holds at one time.
func (p Plan) Sessions() int { return p.outlook().sessions() }

// Theory returns what the arm should show on the plan's link, under the names of
// the scalars of a block, and false where no theory is known.
func (p Plan) Theory(arm Arm) (map[string]float64, bool) {
	if theory := p.outlook().theory; theory != nil {
		return theory(arm)
	}
	return nil, false
}

// Duration estimates how long the plan takes, warm-up included. With aa the
// baseline runs twice.
func (p Plan) Duration(aa bool) time.Duration {
	if budget := p.outlook().budget; budget > 0 {
		return budget
	}
	var total time.Duration
	for i, arm := range p.Arms {
		d := p.armDuration(arm)
		if i == 0 && aa {
			d *= 2
		}
		total += d
	}
	return total
}

// armDuration is that of an arm's cells in all blocks, warm-up included.
func (p Plan) armDuration(arm Arm) time.Duration {
	o := p.outlook()
	cell := o.cell(arm)
	warmup := cell
	if o.warmup != nil {
		warmup = o.warmup(arm)
	}
	return bench.DefaultWarmupBlocks*warmup + time.Duration(p.Blocks)*cell
}

// samples estimates how many samples of a metric one arm makes over all blocks, 0 if
// that is not known beforehand.
func (p Plan) samples(metric string) int64 {
	if samples := p.outlook().samples; samples != nil {
		return int64(samples(metric) * float64(p.Blocks))
	}
	return 0
}

// overhead is what a cell takes on a fast machine besides waiting: two logins,
// two fetches and the ends of the sessions.
const overhead = 50 * time.Millisecond

// short is a warm-up cell that tries one login.
func short(Arm) time.Duration { return overhead }
