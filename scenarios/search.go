package scenarios

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/proc"
	"github.com/xmppbench/xmppbench/results"
)

// Values of [SearchConfig] where it says nothing.
const (
	DefaultSearches   = 3
	DefaultWindow     = 4 * time.Second
	DefaultCurve      = 8
	DefaultErrors     = 0.01
	DefaultAttainment = 0.98
)

// SearchConfig says what is looked for: the highest level of a key that keeps an SLO.
type SearchConfig struct {
	// RunConfig says how. Plans and Targets hold one each, the plan with one arm;
	// AA is not used.
	RunConfig
	// Name tells the search from others of the same run; empty if there are none.
	Name string
	// Over is the path of the key; empty for that of the scenario's rate.
	Over string
	// SLO holds the conditions, all of which have to be met.
	SLO []results.Expr
	// Start, Min and Max are levels in the base unit of the key. 0: the plan's own
	// value; what the samples that the SLO needs admit; the largest that the key and
	// the descriptors of this process admit.
	Start, Min, Max float64
	// Tolerance is the ratio of failing to holding level at which a search ends. 0:
	// bench.DefaultTolerance.
	Tolerance float64
	// Repeat is the number of searches. 0: DefaultSearches.
	Repeat int
	// Window is the least measured time of a level. 0: DefaultWindow.
	Window time.Duration
	// Curve is the number of levels between 10 and 95 % of the level found that are
	// to be known in the end: those that the search has not seen are run. 0:
	// DefaultCurve; negative: none are run.
	Curve int
	// Budget bounds the time of all searches together; 0: no bound. Where it is
	// short, windows are shortened first, then searches end early.
	Budget time.Duration
	// Errors is the share of operations that may fail, Attainment the share of the
	// planned rate that has to be achieved. 0: DefaultErrors, DefaultAttainment.
	Errors, Attainment float64
}

// SearchOutcome is what came of a search.
type SearchOutcome struct {
	Searches []bench.Found
	// Held are the levels found, one for each search that ended with one.
	Held []float64
}

// Search is a search that has been checked and can be run once.
type Search struct {
	config   SearchConfig
	key      Key
	plan     Plan // with one block and the values of a search; its level is not set
	arm      Arm
	scenario Scenario
	limit    time.Duration // of the SLO's upper bounds on times, the largest; 0 if it has none
	metric   string        // of that condition; empty if there is none
	samples  int64         // that a trial must make
	round    func(float64) float64
	bound    string // why there are no higher levels, where that is neither the key nor asked for

	runner   *runner
	site     *site // open, nil if none is
	actor    actor
	baseline time.Duration // of a warm-up cell on an idle target
	trials   int           // run so far, over all searches
	expected int           // trials in all
	search   int           // that is under way, from 1; 0: the curve
	seen     map[float64]bool
	patience time.Duration // before an invalid trial is repeated
	invalid  bool          // whether the last trial was
	started  time.Time
	deadline time.Time     // zero: none
	share    time.Time     // until when the search under way may take; zero: for ever
	reserve  time.Duration // of the budget, for the curve
}

const (
	// maxWindow bounds the time that a level takes to make the samples that an SLO
	// needs.
	maxWindow = 2 * time.Minute
	// minWindow is the shortest window that a budget may cut to.
	minWindow = 2 * time.Second
	// confirming is how many times longer a confirming run is.
	confirming = 2.5
	// hopeless is how many times the SLO's limit nothing is waited for.
	hopeless = 10
	// drainLimit bounds the wait between levels for a target to recover.
	drainLimit = 30 * time.Second
	// clearly is the share of an SLO's limit up to which one trial is enough.
	clearly = 0.5
)

// NewSearch checks what can be checked before anything is connected. An error says
// what to do.
func NewSearch(c SearchConfig) (*Search, error) {
	switch {
	case len(c.Plans) != 1:
		return nil, fmt.Errorf("a search has one plan, not %d: give every key a single value", len(c.Plans))
	case len(c.Targets) != 1:
		return nil, fmt.Errorf("a search has one target, not %d", len(c.Targets))
	case len(c.Plans[0].Arms) != 1:
		return nil, fmt.Errorf("a search has one variant, not %d: choose one of them", len(c.Plans[0].Arms))
	case len(c.SLO) == 0:
		return nil, errors.New("a search needs a condition, such as ready p(99)<2s")
	}
	c.Repeat = cmp.Or(c.Repeat, DefaultSearches)
	c.Window = cmp.Or(c.Window, DefaultWindow)
	c.Curve = cmp.Or(c.Curve, DefaultCurve)
	c.Tolerance = cmp.Or(c.Tolerance, bench.DefaultTolerance)
	c.Errors, c.Attainment = cmp.Or(c.Errors, DefaultErrors), cmp.Or(c.Attainment, DefaultAttainment)
	s := &Search{config: c, plan: c.Plans[0], arm: c.Plans[0].Arms[0], seen: make(map[float64]bool)}
	s.scenario, _ = Find(s.plan.Scenario)
	if err := s.conditions(); err != nil {
		return nil, err
	}
	if err := s.over(); err != nil {
		return nil, err
	}
	s.shape()
	if err := s.bounds(); err != nil {
		return nil, err
	}
	return s, s.afford()
}

// conditions checks the SLO and finds what it needs.
func (s *Search) conditions() error {
	for _, e := range s.config.SLO {
		if err := checkSLO(s.plan.Scenario, e); err != nil {
			return err
		}
		timed := slices.ContainsFunc(results.Metrics(), func(m results.Metric) bool { return m.Name == e.Metric && m.Timed() })
		if !timed && e.MinSamples() > 1 {
			return fmt.Errorf("%s: %s is one figure for each level, which has no quantiles: use mean or max", e, e.Metric)
		}
		s.samples = max(s.samples, e.MinSamples())
		if timed && e.Agg != results.AggErrors && e.Agg != results.AggCount && e.Agg != results.AggRate && strings.HasPrefix(e.Op, "<") {
			if limit := time.Duration(e.Value * float64(time.Second)); limit > s.limit {
				s.limit, s.metric = limit, e.Metric
			}
		}
		if s.metric == "" && timed {
			s.metric = e.Metric
		}
	}
	return nil
}

// checkSLO refuses a condition that no level can be held against.
func checkSLO(scenario string, e results.Expr) error {
	if e.Abort {
		return fmt.Errorf("%s: a search ends a level by itself as soon as it can only fail: leave abort out", e)
	}
	return checkThreshold(scenario, e)
}

// over finds the key.
func (s *Search) over() (err error) {
	if s.key, err = SearchKey(s.plan.Scenario, s.config.Over); err != nil {
		return err
	}
	if _, real := s.config.Targets[0].(ServerTargets); real && !s.keeps() && !s.key.sessions {
		return fmt.Errorf("%s cannot be searched over at %s: its accounts and rosters are what they are; give a list to run instead, as in --set '%s=[...]'",
			s.key.Path, s.config.Targets[0].Name(), s.key.Path)
	}
	return nil
}

// SearchKey returns the key of a scenario that a search goes over: the one at path,
// or if that is empty the scenario's rate or size. It refuses keys of which a higher
// value is no more load.
func SearchKey(scenario, path string) (Key, error) {
	keys := searchable(scenario)
	if len(keys) == 0 {
		return Key{}, fmt.Errorf("the scenario %s has nothing to search over", scenario)
	}
	if path == "" {
		return keys[0], nil
	}
	var known []string
	for _, k := range keys {
		if k.Path == path {
			return k, nil
		}
		known = append(known, k.Path)
	}
	return Key{}, fmt.Errorf("%s cannot be searched over in %s; one of these can: %s", path, scenario, strings.Join(known, ", "))
}

// searchable are the keys of a scenario whose highest value can be looked for, the
// one that is meant if none is named first.
func searchable(scenario string) []Key {
	s, ok := Find(scenario)
	if !ok || s.level == "" {
		return nil
	}
	var all []Key
	for _, k := range Keys() {
		section, _, _ := strings.Cut(k.Path, ".")
		switch {
		case !k.has(scenario), k.Simulator, slices.Contains([]string{"accounts", "blocks", "seed", "limits", "login", "logins", "link", "providers", "workers"}, section), k.Path == "load.max-in-flight":
		case k.Rated() || k.Kind == KindCount || k.Kind == KindBytes:
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(a, b Key) int {
		rank := func(k Key) int {
			switch {
			case k.Path == s.level:
				return 0
			case k.Rated():
				return 1
			}
			return 2
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return all
}

// keeps reports whether one target serves all levels: a rate changes nothing that it
// was opened with.
func (s *Search) keeps() bool { return s.key.Rated() }

// Rated reports whether the key says how much happens in a second.
func (k Key) Rated() bool { return k.Kind == KindRate || k.Kind == KindLoad }

// shape gives the plan what is common to all levels.
func (s *Search) shape() {
	p := &s.plan
	p.Blocks, p.Thresholds = 1, nil
	given := func(path string) bool { return slices.Contains(p.Given, path) }
	if s.limit > 0 {
		// What takes ten times as long as it may has failed, and what is late by less
		// than a part of what it may take changes nothing.
		if !given("login.limit") && p.outlook().setup == 0 {
			p.Login.Limit = min(p.Login.Limit, max(hopeless*s.limit, 5*time.Second))
		}
		if !given("limits.lateness-floor") {
			p.Limits.LatenessFloor = max(p.Limits.LatenessFloor, time.Duration(p.Limits.LatenessShare*float64(s.limit)))
		}
	}
	s.round = significantLevel
	if !s.key.Rated() {
		s.round = func(v float64) float64 { return math.Round(significantLevel(v)) }
	}
}

// significantLevel keeps three digits: nobody can read more, and none is known.
func significantLevel(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		return v
	}
	return rounded
}

// bounds finds where the search starts and how far it may go.
func (s *Search) bounds() error {
	c := &s.config
	if c.Start == 0 {
		if c.Start = s.levelOf(s.plan); c.Start == 0 {
			return fmt.Errorf("%s has no value to start from: name one with --start", s.key.Path)
		}
	}
	least := max(s.key.Min, c.Start/1024)
	if !s.key.Rated() {
		least = max(least, 1)
	}
	top, why := cmp.Or(s.key.Max, 1e9), ""
	if s.key.sessions {
		if most, because := s.plan.mostSessions(thisMachine(), c.Targets[0], s.key.apart); float64(most) < top {
			top, why = float64(most), because
		}
	}
	max0 := c.Max
	c.Max = cmp.Or(c.Max, top)
	since := ""
	if why != "" {
		since = ", since " + why
	}
	if c.Max > top {
		return fmt.Errorf("--max %s is above the maximum of %s, %s%s", s.show(c.Max), s.key.Path, s.show(top), since)
	}
	if c.Max == top {
		s.bound = why
	}
	if c.Start > c.Max {
		if max0 == 0 {
			return fmt.Errorf("%s starts at %s, above its maximum, %s%s: name a lower --start", s.key.Path, s.show(c.Start), s.show(c.Max), since)
		}
		c.Start = c.Max // the plan's own value need not be allowed
	}
	if c.Min == 0 {
		// A lower level would take too long to make the samples that the SLO needs.
		c.Min = least
		for c.Min < c.Start && s.window(c.Min) > maxWindow {
			c.Min = min(c.Min*1.1, c.Start)
		}
		c.Min = min(math.Max(s.round(c.Min), least), c.Start)
	}
	switch {
	case c.Min < s.key.Min || c.Min <= 0:
		return fmt.Errorf("--min %s is below the minimum of %s, %s", s.show(c.Min), s.key.Path, s.show(math.Max(s.key.Min, least)))
	case c.Min > c.Start || c.Start > c.Max:
		return fmt.Errorf("--min %s, --start %s and --max %s must be in this order", s.show(c.Min), s.show(c.Start), s.show(c.Max))
	}
	for _, level := range []float64{c.Start, c.Min} {
		if w := s.window(level); w > maxWindow {
			return fmt.Errorf("%s needs %d samples, which take %s at %s, and a level may take %s: use a lower quantile, or a higher --min and --start",
				joinSLO(c.SLO), s.samples, w.Round(time.Second), s.show(level), maxWindow)
		}
	}
	return nil
}

// levelOf is the level that a plan has: a plan in JSON has the paths of its keys. It
// is 0 if there is none, or if a load comes in another way than at a rate.
func (s *Search) levelOf(p Plan) float64 {
	raw, err := json.Marshal(p)
	for _, word := range strings.Split(s.key.Path, ".") {
		var object map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(raw, &object)
		}
		raw = object[word]
	}
	var level any
	if err != nil || json.Unmarshal(raw, &level) != nil {
		return 0
	}
	switch level := level.(type) {
	case float64:
		return level
	case string:
		if rate, err := ParseRate(level); err == nil {
			return rate
		}
	}
	return 0
}

// Level writes a level as a scenario file does.
func (s *Search) Level(v float64) string { return s.show(v) }

func (s *Search) show(v float64) string { return s.key.show(v) }

// unit says what a level counts.
func (s *Search) unit() string {
	per := ""
	if s.key.Rated() {
		per = "/s"
	}
	if s.key.Counts != "" {
		return s.key.Counts + per
	}
	return strings.TrimSpace(per + " of " + s.key.Path)
}

// at returns the plan of a level, without regard to phases.
func (s *Search) at(level float64) Plan {
	p := s.plan
	text := strconv.FormatFloat(level, 'f', -1, 64)
	if s.key.Rated() {
		text += "/s"
	}
	if v, err := s.key.parse(text); err == nil { // as it is for every level within the bounds
		s.key.set(&p, v)
	}
	short := s.key.Path[strings.LastIndexByte(s.key.Path, '.')+1:]
	p.Label = short + "=" + labelText(s.show(level))
	p.Dimensions = map[string]string{short: s.show(level)}
	if s.config.Name != "" {
		p.Label = labelText(s.config.Name) + "," + p.Label
		p.Dimensions["search"] = s.config.Name
	}
	if s.key.sessions && !slices.Contains(p.Given, "barrier.timeout") {
		// The wait begins with the logins, which are no faster than they are meant to be.
		if logins, ok := p.Logins.reaches(int(level)); ok {
			p.Barrier.Timeout += logins
		}
	}
	if rate := p.Load.Rate.rate; s.limit > 0 && rate > 0 && !slices.Contains(p.Given, "load.max-in-flight") {
		// By Little's law as many are under way when each takes ten times what it may.
		need := int(math.Ceil(hopeless * rate * s.limit.Seconds()))
		if limit, err := proc.DescriptorLimit(); err == nil {
			need = min(need, limit-reservedDescriptors)
		}
		p.Load.MaxInFlight = max(p.Load.MaxInFlight, need)
	}
	return p
}

// window is how long a level is measured so that it makes the samples that the SLO
// needs, with three standard deviations of arrivals at random to spare.
func (s *Search) window(level float64) time.Duration {
	p := s.at(level)
	// Counts are whole: what a short window makes is best told by a long one.
	const long = 1000 * time.Hour
	p.Load.Duration = long
	made := float64(p.samples(s.metric)) / long.Seconds()
	if s.samples <= 1 || made <= 0 {
		return s.config.Window
	}
	need := float64(s.samples) + 3*math.Sqrt(float64(s.samples))
	return max(s.config.Window, time.Duration(need/made*float64(time.Second)))
}

// planOf returns the plan of a trial.
func (s *Search) planOf(t bench.Trial) Plan {
	p := s.at(t.Level)
	p.Load.Duration = s.window(t.Level)
	if t.Phase == bench.PhaseConfirm {
		p.Load.Duration = max(p.Load.Duration, time.Duration(confirming*float64(s.config.Window)))
	}
	return p
}

// takes estimates the time of a trial, the first of which on a target brings its
// sessions online.
func (s *Search) takes(t bench.Trial) time.Duration {
	p := s.planOf(t)
	o := p.outlook()
	d := o.cell(s.arm) + 3*overhead
	if s.keeps() {
		return d - o.setup
	}
	return d + time.Second // another target is opened
}

// afford shortens what it can until the budget holds a search.
func (s *Search) afford() error {
	c := &s.config
	if c.Budget <= 0 {
		return nil
	}
	for s.Expected() > c.Budget && c.Window > minWindow {
		c.Window = max(c.Window/2, minWindow)
	}
	for s.Expected() > c.Budget && s.plan.Load.Warmup > time.Second {
		s.plan.Load.Warmup = max(s.plan.Load.Warmup/2, time.Second)
	}
	least := s.takes(bench.Trial{Level: c.Start, Phase: bench.PhaseGrow}) + s.takes(bench.Trial{Level: c.Start, Phase: bench.PhaseConfirm})
	if s.keeps() {
		least += s.plan.outlook().setup
	}
	if least > c.Budget {
		return fmt.Errorf("a budget of %s is too short: a level at %s and its confirmation take %s", c.Budget, s.show(c.Start), least.Round(time.Second))
	}
	return nil
}

// Expected estimates how long all searches take, if the level found is some times
// higher than the start. A budget bounds it.
func (s *Search) Expected() time.Duration {
	total, _ := s.estimate()
	return total
}

// guess is by how much the level found may exceed the start.
const guess = 6

// estimate runs the searches against a target that is made up.
func (s *Search) estimate() (total time.Duration, trials int) {
	knee := min(guess*s.config.Start, s.config.Max)
	levels := make(map[float64]bool)
	previous := 0.0
	if s.keeps() {
		total = s.plan.outlook().setup
	}
	for n := range s.config.Repeat {
		found, err := bench.Search(context.Background(), s.searchConfig(n, previous, nil), func(_ context.Context, t bench.Trial) (bench.Judged, error) {
			trials++
			if t.Level > knee {
				// It ends when enough samples are beyond the SLO.
				total += min(s.takes(t), s.plan.Load.Warmup+s.limit+2*time.Second)
				return bench.Judged{Judgement: bench.Fail}, nil
			}
			total += s.takes(t)
			levels[t.Level] = true
			return bench.Judged{Judgement: bench.Pass, Clear: true}, nil
		})
		if err != nil {
			return total, trials
		}
		previous = found.Lo
	}
	for _, level := range s.curve(previous, levels) {
		trials++
		total += s.takes(bench.Trial{Level: level})
	}
	return total, trials
}

// searchConfig is that of the n-th search, from 0. Later ones start close below what
// the one before has found, at a place that the seed decides: searches on the same
// levels would agree better than they know.
func (s *Search) searchConfig(n int, previous float64, affords func(bench.Trial) bool) bench.SearchConfig {
	c := bench.SearchConfig{
		Start: s.config.Start, Min: s.config.Min, Max: s.config.Max, Tolerance: s.config.Tolerance,
		Repeat: s.plan.Repeats, Round: s.round, Affords: affords,
	}
	if c.Repeat == 0 {
		c.Repeat = -1 // to bench, zero is the default
	}
	if n > 0 && previous > 0 {
		random := rand.New(rand.NewPCG(s.plan.Seed, uint64(n))) // #nosec G404 -- seeded on purpose
		c.Start = min(max(s.round(previous/(1.15+0.25*random.Float64())), c.Min), c.Max)
		c.Growth = 1.25
	}
	return c
}

// curve are the levels to be run so that enough are known between 10 and 95 % of the
// one found, those that are next to it first: where time runs out, that part is known.
func (s *Search) curve(found float64, seen map[float64]bool) []float64 {
	if s.config.Curve < 0 || found <= 0 {
		return nil
	}
	known := 0
	for level := range seen {
		if level >= 0.1*found && level <= 0.95*found {
			known++
		}
	}
	near := func(level float64) bool {
		for l := range seen {
			if math.Abs(l/level-1) < 0.06 {
				return true
			}
		}
		return false
	}
	var levels []float64
	for i := s.config.Curve - 1; i >= 0 && known+len(levels) < s.config.Curve; i-- {
		share := 0.1
		if s.config.Curve > 1 {
			share += 0.85 * float64(i) / float64(s.config.Curve-1)
		}
		level := s.round(share * found)
		if level < s.config.Min || near(level) || slices.Contains(levels, level) {
			continue
		}
		levels = append(levels, level)
	}
	return levels
}

// Goal describes the search.
func (s *Search) Goal() results.SearchGoal {
	c := s.config
	g := results.SearchGoal{
		Name: s.name(), Scenario: s.plan.Scenario, Variant: s.arm.Label, Target: c.Targets[0].Name(), Over: s.key.Path, Unit: s.unit(),
		Metric: s.metric, Errors: c.Errors, Attainment: c.Attainment, Start: c.Start, Min: c.Min, Max: c.Max, Tolerance: c.Tolerance,
		MaxBy: s.bound, Repeat: c.Repeat, Budget: c.Budget.Seconds(),
	}
	if server, ok := c.Targets[0].(ServerTargets); ok {
		g.Sources = len(server.File.Connect.Sources)
	}
	if s.site != nil {
		g.Shared, g.Role = s.site.about.local(), "server"
		if s.site.about.Simulated {
			g.Role = "simulator"
		}
	}
	for _, e := range c.SLO {
		g.SLO = append(g.SLO, e.String())
	}
	return g
}

func (s *Search) name() string { return cmp.Or(s.config.Name, s.key.Path) }

// Plan is the plan at the level at which the search starts.
func (s *Search) Plan() Plan { return s.planOf(bench.Trial{Level: s.config.Start}) }

func joinSLO(all []results.Expr) string {
	texts := make([]string, len(all))
	for i, e := range all {
		texts[i] = e.String()
	}
	return strings.Join(texts, " and ")
}

// Run carries out the searches and then the levels of the curve. What it measures
// goes to the configuration's Results as it is measured. The error is, by errors.As,
// an [*UnreachableError] when the target could not be used or went away, a
// [*bench.InvalidError] when the generator could not keep its promise, a
// [*SLOError] when not even the lowest level holds, one that [Run] returns for
// figures that cannot be trusted, or the cause of ctx. The outcome holds what was
// found until then.
func (s *Search) Run(ctx context.Context) (out SearchOutcome, err error) {
	s.started = time.Now()
	if s.config.Budget > 0 {
		s.deadline = s.started.Add(s.config.Budget)
		s.reserve = s.reserved()
	}
	_, s.expected = s.estimate()
	s.runner = &runner{RunConfig: s.config.RunConfig, started: s.started, warnings: make(map[string]results.Flag)}
	opened := s.open(ctx, s.Plan())
	s.config.Results.Search(results.SearchLine{Goal: new(s.Goal())})
	if opened != nil {
		return out, errors.Join(opened, s.close(ctx))
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	previous := 0.0
	for n := range s.config.Repeat {
		s.search = n + 1
		s.allot(n)
		if n > 0 && !s.affords(bench.Trial{Level: previous, Phase: bench.PhaseConfirm}) {
			break
		}
		began := time.Now()
		found, err := bench.Search(ctx, s.searchConfig(n, previous, s.affords), s.trial)
		if err != nil {
			return out, err
		}
		s.config.Results.Search(results.SearchLine{Found: &results.SearchFound{
			Goal: s.name(), Search: n + 1, End: string(found.End), Lo: found.Lo, Hi: found.Hi, Confirmed: found.Confirmed,
			Stuck: found.Stuck, Reason: found.Reason, Trials: found.Trials, Seconds: time.Since(began).Seconds(),
		}})
		out.Searches = append(out.Searches, found)
		switch {
		case found.End == bench.EndInvalid:
			return out, &bench.InvalidError{Reason: s.beyond(found, out.Held)}
		case found.Lo > 0:
			out.Held = append(out.Held, found.Lo)
			previous = found.Lo
		case found.End == bench.EndBudget && len(out.Held) == 0:
			return out, &bench.InvalidError{Reason: fmt.Sprintf("the time ran out before any level held: give more than %s, or a lower --start", s.config.Budget.Round(time.Second))}
		case n == 0:
			return out, &SLOError{Level: s.show(found.Hi), Reason: found.Reason}
		}
	}
	return out, s.runCurve(ctx, out.Held)
}

// beyond says what stopped a search that a level stayed invalid in; held are the levels
// of the searches before.
func (s *Search) beyond(f bench.Found, held []float64) string {
	stuck := fmt.Sprintf("at %s %s", s.show(f.Stuck), f.Reason)
	switch {
	case len(held) > 0:
		return fmt.Sprintf("search %d of %d ended early, and %s held in one before: %s", s.search, s.config.Repeat, s.show(slices.Max(held)), stuck)
	case f.Lo > 0:
		return fmt.Sprintf("the generator cannot go higher than %s on this machine: %s", s.show(f.Lo), stuck)
	}
	return stuck
}

// SLOError says that a target does not keep its SLO at the lowest level allowed.
type SLOError struct {
	Level  string
	Reason string
}

// Error says where and why.
func (e *SLOError) Error() string {
	return fmt.Sprintf("the target fails at the lowest level, %s: %s", e.Level, e.Reason)
}

// runCurve runs the levels that the curve lacks.
func (s *Search) runCurve(ctx context.Context, held []float64) error {
	if len(held) == 0 {
		return nil
	}
	slices.Sort(held)
	levels := s.curve(held[len(held)/2], s.seen)
	s.search, s.share = 0, s.deadline
	s.expected = s.trials + len(levels)
	for _, level := range levels {
		t := bench.Trial{Level: level, Phase: results.PhaseCurve}
		if !s.fits(s.takes(t)) {
			return nil
		}
		if _, err := s.trial(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// curveShare is the part of a budget that is kept for the curve at most, and curveLevels
// how many levels it is kept for: searches meet the others on their way.
const (
	curveShare  = 0.1
	curveLevels = 3
)

// reserved is what is kept of the budget so that levels of the curve can be run when the
// searches have spent the rest.
func (s *Search) reserved() time.Duration {
	if s.config.Curve < 0 {
		return 0
	}
	knee := min(guess*s.config.Start, s.config.Max)
	each := s.takes(bench.Trial{Level: s.round(knee / 2), Phase: results.PhaseCurve})
	return min(curveLevels*each, time.Duration(curveShare*float64(s.config.Budget)))
}

// allot gives the n-th search its part of the time that is left.
func (s *Search) allot(n int) {
	if s.deadline.IsZero() {
		return
	}
	left := time.Until(s.deadline) - s.reserve
	if n == 0 {
		// The first one comes from further away.
		s.share = time.Now().Add(left * 2 / time.Duration(s.config.Repeat+1))
		return
	}
	s.share = time.Now().Add(left / time.Duration(s.config.Repeat-n))
}

// affords reports whether there is time for a trial, and for the confirming run that
// has to follow it.
func (s *Search) affords(t bench.Trial) bool {
	need := s.takes(t)
	if t.Phase != bench.PhaseConfirm {
		need += s.takes(bench.Trial{Level: t.Level, Phase: bench.PhaseConfirm})
	}
	return s.fits(need)
}

func (s *Search) fits(d time.Duration) bool { return s.share.IsZero() || time.Until(s.share) >= d }
