package scenarios

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// The names of the scenarios.
const (
	RosterLogin     = "roster-login"
	LoginStorm      = "login-storm"
	RosterPushStorm = "roster-push-storm"
	IdleCost        = "idle-cost"
	SessionCost     = "session-cost"
	CapacitySheet   = "capacity-sheet"
	MessageSteady   = "message-steady"
	PresenceFanout  = "presence-fanout"
	ReconnectHerd   = "reconnect-herd"

	FederationScenario = "federation"
)

// Scenario says what one simulated actor does and what is measured of it.
type Scenario struct {
	// Name is as in scenario files, Summary one line.
	Name, Summary string
	// Steps is what an actor does, in order.
	Steps []string
	// Metrics are the names of what is measured, as in results.Metrics.
	Metrics []string

	// level is the path of the key that says how much is done: what a search goes over
	// unless it is told otherwise. Empty where there is nothing to search for.
	level string
	// model says what the costs of the scenario depend on, at the simulator or at a real
	// server; nil if no model is made of it.
	model func(simulated bool) results.ModelDesign
	// single says that there is one way to do it: its variants are not compared.
	single bool
	// family returns the variants that it runs.
	family func() family
	// check refuses what cannot work whatever the target.
	check func(*planParser, *Plan)
	// outlook tells what a plan is going to take.
	outlook func(Plan) outlook
	// primary names the scalar of a block that decides the verdict.
	primary func(Plan) string
	// prepare makes the fixtures of a plan at a site.
	prepare func(context.Context, *site) (actor, error)
}

// Primary names the scalar that decides the verdicts of a plan.
func (s Scenario) Primary(p Plan) string { return s.primary(p) }

// actor carries out the cells of one plan at one site.
type actor interface {
	// cell runs one arm once. Samples go to the cell's sink.
	cell(ctx context.Context, c *cell) error
	// close releases the fixtures.
	close(ctx context.Context) error
}

// cell is one arm in one block.
type cell struct {
	arm    Arm
	block  int
	warmup bool         // discarded, and read with full verification
	keep   bool         // sessions that were online before the load may stay for the next cell
	sink   results.Sink // samples and counts of the measured operation

	// What the cell found, filled in by the actor.
	scalars map[string]float64
	skipped string // why the arm cannot run here
	counts  []results.Count
	figures results.Figures // for the self-check
	judge   string          // the metric whose response and lateness are judged, if figures holds none

	from, to time.Time    // of what was measured, if that is not the whole cell
	stats    *bench.Stats // of the load, if the cell is one

	// watch, where set, is told about once a second how a load goes: the one at the key
	// load, where the scenario has several.
	watch func(bench.Progress)
	load  string

	// Where workers' samples go, and what else the actor has noticed.
	recorder *results.Recorder
	key      results.Key
	flags    []results.Flag

	timelines []results.Timeline // of single samples; the runner fills in the key
}

func (c *cell) set(name string, v float64) {
	if c.scalars == nil {
		c.scalars = make(map[string]float64)
	}
	c.scalars[name] = v
}

// window notes the measured window of a load.
func (c *cell) window(stats bench.Stats, warmup time.Duration) {
	c.from = stats.Start.Add(warmup)
	c.to = c.from.Add(stats.Window)
	c.stats = &stats
}

// failed observes a step that ended in an error. A step that was interrupted did
// not fail.
func (c *cell) failed(ctx context.Context, metric string, since time.Time, err error) {
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		c.sink.Observe(results.Sample{Metric: metric, Intended: since, Start: since, End: time.Now(), Err: err})
	}
}

// count notes a counted figure with its closed form.
func (c *cell) count(name string, counted, expected int64) {
	c.counts = append(c.counts, results.Count{
		Name: name, Variant: c.arm.Label, Block: c.block, Counted: float64(counted), Expected: float64(expected),
	})
}

// Scenarios returns the scenarios in the order in which they are listed.
func Scenarios() []Scenario {
	return []Scenario{rosterLogin(), loginStorm(), rosterPushStorm(), messageSteady(), presenceFanout(), idleCost(), sessionCost(), reconnectHerd(), federation(), capacitySheet()}
}

// Find returns the scenario called name.
func Find(name string) (Scenario, bool) {
	all := Scenarios()
	if i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return all[i], true
	}
	return Scenario{}, false
}

// Names returns the names of the scenarios.
func Names() []string {
	return []string{RosterLogin, LoginStorm, RosterPushStorm, MessageSteady, PresenceFanout, IdleCost, SessionCost, ReconnectHerd, FederationScenario, CapacitySheet}
}

//go:embed *.yaml
var shipped embed.FS

// Shipped returns the scenario file that comes with the program.
func Shipped(name string) ([]byte, error) {
	b, err := shipped.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("scenarios: no scenario is called %q", name)
	}
	return b, nil
}
