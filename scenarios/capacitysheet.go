package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
)

// Sheet holds the settings of the scenario capacity-sheet.
type Sheet struct {
	Budget     time.Duration `json:"budget"`      // of all measurements together
	Searches   int           `json:"searches"`    // of each rate
	LoginSLO   string        `json:"login-slo"`   // in the grammar of package results
	MessageSLO string        `json:"message-slo"` //
	Online     int           `json:"online"`      // sessions that talk, and that come back
	Idle       int           `json:"idle"`        // sessions that do nothing
	Small      int           `json:"small"`       // contacts of the smaller rosters that are fetched
	Large      int           `json:"large"`       // and of the larger ones
	Event      string        `json:"event"`       // from which all come back: drop or restart
}

func capacitySheet() Scenario {
	return Scenario{
		Name:    CapacitySheet,
		Summary: "what a server carries, what each thing costs and what breaks first, on one page",
		Steps: []string{
			"log sheet.idle sessions in, a share in each block, and leave them idle: memory of a session",
			"fetch rosters of sheet.small and of sheet.large contacts: what a contact costs",
			"let one of sheet.online users change presence: the time until all contacts know",
			"let all of sheet.online sessions be lost: the time until all can talk again",
			"search for the highest rate of logins that keeps sheet.login-slo, sheet.searches times",
			"search for the highest rate of messages between sheet.online sessions that keeps sheet.message-slo, sheet.searches times",
		},
		Metrics: []string{
			"session.rss.server", "ready", "roster.complete", "message", "presence", "talk", "cpu.server", "bytes.in",
		},
		single:  true,
		family:  rosterFamily,
		check:   (*planParser).checkSheet,
		outlook: func(p Plan) outlook { return outlook{budget: p.Sheet.Budget, sessions: p.sheetSessions} },
		primary: func(Plan) string { return "" },
		prepare: func(context.Context, *site) (actor, error) {
			return nil, errors.New("scenarios: a capacity sheet is made of other scenarios")
		},
	}
}

// Part is one measurement of a capacity sheet: some plans of another scenario, or a
// search that starts at one.
type Part struct {
	Name string // as it begins the labels of its plans
	// Plans are what is run; of a search, the one that it starts from.
	Plans []Plan
	// SLO is what is searched for; empty if nothing is.
	SLO string
	// Over is the path of the key that is searched over, Start the level tried first.
	Over  string
	Start float64
	// Budget is the part's share of the time.
	Budget time.Duration

	// answer makes the rows of the sheet of what was measured.
	answer func(*partRun) []results.SheetRow
	rows   []string // their names, for a part that could not be run
}

// The parts of a sheet, by the names that they have in labels.
const (
	partIdle     = "idle"
	partLogins   = "logins"
	partRosters  = "rosters"
	partMessages = "messages"
	partPresence = "presence"
	partReturn   = "return"
)

// Parts returns the measurements of a capacity sheet, in the order in which they are
// made. Those of blocks come first: they end when they have enough, and what they leave is
// for the searches, which put more on the server than it bears and may leave it worse off.
// Their sizes fit the budget.
func (p Plan) Parts() ([]Part, error) {
	s := p.Sheet
	count := func(path string, n int) string { return path + "=" + strconv.Itoa(n) }
	parts := []Part{
		{
			Name: partIdle, Budget: share(s.Budget, 8), answer: idleRows, rows: []string{rowSessionMemory, rowSessions},
			Plans: []Plan{{Scenario: IdleCost}},
		},
		{
			Name: partRosters, Budget: share(s.Budget, 10), answer: rosterRows, rows: []string{rowItemsCPU, rowItemsTime, rowItemsBytes},
			Plans: []Plan{{Scenario: RosterLogin}, {Scenario: RosterLogin}},
		},
		{
			Name: partPresence, Budget: share(s.Budget, 6), answer: presenceRows, rows: []string{rowPresence, rowFanOut},
			Plans: []Plan{{Scenario: PresenceFanout}},
		},
		{
			Name: partReturn, Budget: share(s.Budget, 10), answer: returnRows, rows: []string{rowBack95, rowBackAll},
			Plans: []Plan{{Scenario: ReconnectHerd}},
		},
		{
			Name: partLogins, Budget: share(s.Budget, 34), answer: loginRows, rows: []string{rowLogins},
			Plans: []Plan{{Scenario: LoginStorm}}, SLO: s.LoginSLO, Over: "load.rate", Start: 20,
		},
		{
			Name: partMessages, Budget: share(s.Budget, 26), answer: messageRows, rows: []string{rowMessages},
			Plans: []Plan{{Scenario: MessageSteady}}, SLO: s.MessageSLO, Over: "messages.rate", Start: 100,
		},
	}
	set := map[string][]string{
		partIdle:     {count("hold.sessions", s.Idle), "hold.settle=2s", "hold.grow=true"},
		partRosters:  {"link.rtt=0s", "link.rate=unlimited", "probe.every=0s"},
		partLogins:   nil,
		partMessages: {count("online.sessions", s.Online)},
		partPresence: {count("online.sessions", s.Online), "load.warmup=1s", "load.duration=5s"},
		partReturn:   {count("herd.sessions", s.Online), "herd.event=" + s.Event},
	}
	for i := range parts {
		part := &parts[i]
		for n := range part.Plans {
			items := p.Roster.Items
			if part.Name == partRosters {
				items = []int{s.Small, s.Large}[n]
			}
			plan, err := p.part(part.Plans[n].Scenario, append(slices.Clone(set[part.Name]), count("roster.items", items)))
			if err != nil {
				return nil, fmt.Errorf("scenarios: capacity-sheet: %s: %w", part.Name, err)
			}
			if plan.Label = part.Name; len(part.Plans) > 1 {
				plan.Label += ",items=" + strconv.Itoa(items)
			}
			plan.Dimensions = map[string]string{"part": part.Name, "items": strconv.Itoa(items)}
			part.Plans[n] = plan
		}
		part.fit()
	}
	return parts, nil
}

func share(budget time.Duration, percent int) time.Duration {
	return budget * time.Duration(percent) / 100
}

// part returns the plan of another scenario with what the sheet says of accounts,
// logins and link.
func (p Plan) part(scenario string, set []string) (Plan, error) {
	source, err := Shipped(scenario)
	if err != nil {
		return Plan{}, err
	}
	accounts := p.Accounts
	if scenario == RosterLogin {
		accounts = 3 // one at a time, the idle one and one to spare
	}
	o := Override{Set: append(set, "accounts="+strconv.Itoa(accounts))}
	if s, _ := Find(scenario); len(s.Variants()) > 0 {
		o.Variants = []string{s.Variants()[0].Name}
	}
	plans, err := Parse(scenario+".yaml", source, o)
	if err != nil {
		return Plan{}, err
	}
	plan := plans[0]
	plan.Roster.ItemBytes = p.Roster.ItemBytes
	plan.Login, plan.Link, plan.Simulator = p.Login, p.Link, p.Simulator
	plan.Limits, plan.Repeats, plan.Seed = p.Limits, p.Repeats, p.Seed
	plan.Thresholds, plan.Given = nil, p.Given
	return plan, nil
}

// check returns the first key that is wrong, and why.
func (s Sheet) check() (key string, err error) {
	for _, slo := range []struct{ key, scenario, text string }{
		{"sheet.login-slo", LoginStorm, s.LoginSLO}, {"sheet.message-slo", MessageSteady, s.MessageSLO},
	} {
		e, err := results.Parse(slo.text)
		if err == nil {
			err = checkSLO(slo.scenario, e)
		}
		if err != nil {
			return slo.key, err
		}
	}
	if s.Small >= s.Large {
		return "sheet.small", fmt.Errorf("%d is not below sheet.large, %d", s.Small, s.Large)
	}
	return "", nil
}

// checkSheet refuses what no sheet can do.
func (p *planParser) checkSheet(plan *Plan) {
	p.checkSessions(plan)
	if p.override.Blocks != nil {
		p.flagged("--blocks", func() { p.fail(nil, "", "the budget decides on blocks: set budget") })
	}
	if len(plan.Thresholds) > 0 {
		p.fail(nil, "thresholds", "a sheet has conditions of its own: sheet.login-slo and sheet.message-slo")
	}
	if key, err := plan.Sheet.check(); err != nil {
		p.fail(nil, key, "%w", err)
		return
	}
	if len(p.errs) > 0 {
		return
	}
	if _, err := plan.Parts(); err != nil {
		p.fail(nil, "", "%w", err)
	}
}

// Measured returns the plans that are really run: those of the parts of a capacity
// sheet, and the plans themselves of other scenarios.
func Measured(plans []Plan) ([]Plan, error) {
	var all []Plan
	for _, p := range plans {
		if p.Scenario != CapacitySheet {
			all = append(all, p)
			continue
		}
		parts, err := p.Parts()
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			all = append(all, part.Plans...)
		}
	}
	return all, nil
}

// sheetSessions is the most sessions that a sheet holds at one time.
func (p Plan) sheetSessions() int {
	measured, err := Measured([]Plan{p})
	if err != nil {
		return 0 // the parser has refused it
	}
	most := 0
	for _, m := range measured {
		most = max(most, m.Sessions())
	}
	return most
}

// maxSheetBlocks is more than the answers gain from.
const maxSheetBlocks = 12

// fit gives the plans as many blocks as the part has time for, one at least.
func (p *Part) fit() {
	if p.SLO != "" {
		return
	}
	each := p.Budget / time.Duration(len(p.Plans))
	for i := range p.Plans {
		plan := &p.Plans[i]
		plan.Blocks = maxSheetBlocks
		for plan.Blocks > 1 && plan.Duration(false) > each {
			plan.Blocks--
		}
	}
}

// sheetTolerance is the ratio of failing to holding level at which the searches of a sheet
// end. They differ by more than that from each other, and start at levels of their own, so
// that their median is finer than each of them; a narrower bracket would take the time that
// whole searches need.
const sheetTolerance = 1.12

// partRun is what came of one part.
type partRun struct {
	plan   Plan // of the sheet
	part   Part
	blocks map[results.Key]results.Block // valid ones
}

// SheetError says that measurements of a capacity sheet are missing. It wraps the
// reasons.
type SheetError struct{ Reasons []error }

// Error names them all.
func (e *SheetError) Error() string {
	texts := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		texts[i] = r.Error()
	}
	return "the sheet is not complete: " + strings.Join(texts, "; ")
}

// Unwrap returns the reasons.
func (e *SheetError) Unwrap() []error { return e.Reasons }

// sheetRun makes a sheet.
type sheetRun struct {
	RunConfig
	plan    Plan
	sheet   results.Sheet
	started time.Time
	outcome Outcome
}

// runSheet makes the measurements of a sheet one after another.
func runSheet(ctx context.Context, c RunConfig) (Outcome, error) {
	plan := c.Plans[0]
	r := &sheetRun{
		RunConfig: c, plan: plan, started: time.Now(),
		sheet:   results.Sheet{Target: c.Targets[0].Name(), Budget: plan.Sheet.Budget.Seconds()},
		outcome: Outcome{Skipped: make(map[string]string), Failed: make(map[string]error)},
	}
	parts, err := plan.Parts()
	if err != nil {
		return r.outcome, err
	}
	return r.outcome, r.parts(ctx, parts, r.measure, r.ask)
}

// parts makes the measurements. One that fails leaves rows without a value that say why,
// and the others go on, unless the target does not answer any more when it is asked, or
// the sheet is interrupted.
func (r *sheetRun) parts(
	ctx context.Context, parts []Part, measure func(context.Context, Part, []Part) ([]results.SheetRow, error), ask func(context.Context, Plan) error,
) error {
	var missing SheetError
	var stopped error
	for i, part := range parts {
		why := stopped
		var rows []results.SheetRow
		if why == nil {
			rows, why = measure(ctx, part, parts[i:])
			switch {
			case ctx.Err() != nil:
				stopped = why
			case mayBeLost(why) && ask(ctx, parts[0].Plans[0]) != nil:
				if _, said := errors.AsType[*UnreachableError](why); !said {
					why = &UnreachableError{Target: r.sheet.Target, Err: why}
				}
				stopped = why
			}
			if why != nil {
				missing.Reasons = append(missing.Reasons, fmt.Errorf("%s: %w", part.Name, why))
			}
		}
		if rows == nil {
			for _, name := range part.rows {
				rows = append(rows, results.SheetRow{Name: name})
			}
		}
		for n := range rows {
			if why != nil {
				rows[n].Missing = reasonOf(why)
			}
		}
		r.sheet.Rows = append(r.sheet.Rows, rows...)
		slices.SortStableFunc(r.sheet.Rows, func(a, b results.SheetRow) int {
			return cmp.Compare(slices.Index(sheetRows(), a.Name), slices.Index(sheetRows(), b.Name))
		})
		r.sheet.Took = time.Since(r.started).Seconds()
		r.sheet.Complete = i == len(parts)-1 && len(missing.Reasons) == 0
		r.Results.Sheet(r.sheet)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(missing.Reasons) > 0 {
		return &missing
	}
	return nil
}

// mayBeLost reports whether a part ended in a way in which it does when the target is gone.
func mayBeLost(err error) bool {
	_, unreachable := errors.AsType[*UnreachableError](err)
	_, offline := errors.AsType[*offlineError](err)
	_, login := errors.AsType[*session.Error](err)
	return unreachable || offline || login
}

// ask logs one client in at the target: what a part could not be measured for tells
// nothing of the next.
func (r *sheetRun) ask(ctx context.Context, p Plan) error {
	s, err := openSite(ctx, p, r.Targets[0], r.RunConfig)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, p.Login.StepLimit)
	defer cancel()
	cl, err := s.login(limited, studied, shaped, false)
	if err == nil {
		cl.close(limited)
	}
	return errors.Join(err, s.close())
}

// reasonOf says why something is missing.
func reasonOf(err error) string {
	if invalid, ok := errors.AsType[*bench.InvalidError](err); ok {
		return invalid.Reason
	}
	return err.Error()
}

// measure runs one part and returns its rows, which may lack values if there is an
// error, or nil.
func (r *sheetRun) measure(ctx context.Context, part Part, rest []Part) ([]results.SheetRow, error) {
	run := &partRun{plan: r.plan, part: part, blocks: make(map[results.Key]results.Block)}
	c := r.RunConfig
	c.Plans = part.Plans
	if part.SLO == "" {
		c.budget = r.left(rest)
		for _, p := range part.Plans {
			r.Results.Plan(results.Plan{Name: p.Label, Dimensions: p.Dimensions})
		}
		c.block = func(b results.Block) {
			delete(run.blocks, b.Key) // it may be taken back
			if b.Valid {
				run.blocks[b.Key] = b
			}
		}
		outcome, err := Run(ctx, c)
		maps.Copy(r.outcome.Skipped, outcome.Skipped)
		if err != nil {
			return nil, err
		}
		for _, err := range outcome.Failed {
			return nil, err
		}
		return part.answer(run), nil
	}
	slo, err := results.Parse(part.SLO)
	if err != nil {
		return nil, err
	}
	search, err := NewSearch(SearchConfig{
		RunConfig: c, Name: part.Name, Over: part.Over, Start: part.Start, SLO: []results.Expr{slo}, Repeat: r.plan.Sheet.Searches, Budget: r.left(rest),
		Tolerance: sheetTolerance,
	})
	if err != nil {
		// What was checked before the run can fail now for want of time alone.
		return nil, &bench.InvalidError{Reason: err.Error()}
	}
	found, err := search.Run(ctx)
	return part.answer(run), unanswered(found, err)
}

// unanswered is the error of a search that leaves its row without a value. That the
// generator could go no higher than levels which held is what the row says itself.
func unanswered(found SearchOutcome, err error) error {
	if _, invalid := errors.AsType[*bench.InvalidError](err); invalid && len(found.Held) > 0 {
		return nil
	}
	return err
}

// left is the time that the first of the parts that are to come may take: what others
// have not used is for those that come.
func (r *sheetRun) left(rest []Part) time.Duration {
	var all time.Duration
	for _, p := range rest {
		all += p.Budget
	}
	left := r.plan.Sheet.Budget - time.Since(r.started)
	return max(time.Second, time.Duration(float64(left)*float64(rest[0].Budget)/float64(all)))
}
