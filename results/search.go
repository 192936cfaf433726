package results

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SearchLine is one line of search.jsonl. Exactly one field is set. A goal comes
// before what belongs to it, trials in the order in which they ran, and what was
// found after the trials of its search.
type SearchLine struct {
	Goal  *SearchGoal  `json:"goal,omitempty"`
	Trial *SearchTrial `json:"trial,omitempty"`
	Found *SearchFound `json:"found,omitempty"`
}

// SearchGoal says what is looked for: the highest level of one key of a scenario
// that keeps all of an SLO.
type SearchGoal struct {
	Name     string   `json:"name"` // of the goal, unique in a run
	Scenario string   `json:"scenario"`
	Variant  string   `json:"variant"`
	Target   string   `json:"target"`
	Over     string   `json:"over"`              // path of the key, such as "load.rate"
	Unit     string   `json:"unit"`              // of a level, such as "logins/s"
	Role     string   `json:"role,omitempty"`    // of the target's processes in series.jsonl
	Shared   bool     `json:"shared,omitempty"`  // target and generator share a machine
	Sources  int      `json:"sources,omitempty"` // local addresses that sessions connect from in turn; 0: the one that the system chooses
	Metric   string   `json:"metric"`            // timed metric that the distributions of levels are of; empty if the SLO has none
	SLO      []string `json:"slo"`               // as [Parse] reads them
	// A trial fails as well if more than this share of its operations fail, or less
	// than this share of the planned rate is achieved.
	Errors     float64 `json:"errors"`
	Attainment float64 `json:"attainment"`
	Start      float64 `json:"start"`
	Min        float64 `json:"min"`
	Max        float64 `json:"max"`
	MaxBy      string  `json:"max_by,omitempty"` // what there is no more of, where that bounds Max and neither the key nor who asked
	Tolerance  float64 `json:"tolerance"`
	Repeat     int     `json:"repeat"`           // searches planned
	Budget     float64 `json:"budget,omitempty"` // seconds; 0: none
}

// PhaseCurve is the phase of a [SearchTrial] that is run for the curve of response
// against load, and decides nothing. The other phases are those of package bench.
const PhaseCurve = "curve"

// SearchTrial is one level run once. What it measured stands under its Key in the
// other files.
type SearchTrial struct {
	Goal string `json:"goal"`
	Key
	Search    int     `json:"search"` // from 1; 0 for the curve
	Phase     string  `json:"phase"`  // grow, shrink, bisect, confirm or curve
	Level     float64 `json:"level"`
	Judgement string  `json:"judgement"` // pass, fail or invalid
	Reason    string  `json:"reason"`    // one sentence
	// Aborted says that the trial was ended before its time, as it could only fail:
	// its distribution is what was seen until then.
	Aborted  bool        `json:"aborted,omitempty"`
	Planned  float64     `json:"planned,omitempty"`  // per second; 0 where levels are no rates
	Achieved float64     `json:"achieved,omitempty"` // per second, ended well
	Errors   float64     `json:"errors"`             // share of the operations, 0 to 1, of the kind of which most failed
	SLO      []SLOFigure `json:"slo"`
	// Access is what the access links of the clients were used; nil where there were none of a given rate.
	Access *AccessUse `json:"access,omitempty"`
	Start  time.Time  `json:"start"` // of the measured window
	End    time.Time  `json:"end"`
}

// SLOFigure is one condition of an SLO in one trial.
type SLOFigure struct {
	Expr  string   `json:"expr"`
	Got   *float64 `json:"got"` // in the unit of the condition; null for want of samples
	N     int64    `json:"n"`
	Holds bool     `json:"holds"`
}

// SearchFound is how one search ended.
type SearchFound struct {
	Goal      string  `json:"goal"`
	Search    int     `json:"search"`           // from 1
	End       string  `json:"end"`              // bracket, maximum, nothing, invalid or budget
	Lo        float64 `json:"lo"`               // highest level that holds; 0: none is known
	Hi        float64 `json:"hi,omitempty"`     // lowest level above it that fails; 0: none is known
	Confirmed bool    `json:"confirmed"`        // a longer run at Lo held too
	Stuck     float64 `json:"stuck,omitempty"`  // level that stayed invalid
	Reason    string  `json:"reason,omitempty"` // why Hi failed, or Stuck was invalid
	Trials    int     `json:"trials"`
	Seconds   float64 `json:"seconds"` // that it took
}

// SearchReport is one goal of a run in reports: what was found, and every level.
type SearchReport struct {
	SearchGoal
	// Answer is the result in one sentence, Remarks what has to be known to read it.
	Answer  string   `json:"answer"`
	Remarks []string `json:"remarks,omitempty"`
	// Limit says what the target ran into at a level that failed, or where the
	// generator did; Limits holds the evidence in order. Both are empty if nothing
	// failed.
	Limit  string     `json:"limit,omitempty"`
	Limits []Evidence `json:"limits,omitempty"`
	// Bound says why Median is a lower bound of what holds: what ended searches other
	// than a level that failed. It is empty if nothing did.
	Bound string `json:"bound,omitempty"`
	// Searches that ended with a level that holds: the median of these levels, and
	// their range. All are 0 if there is none.
	Median float64 `json:"median"`
	Lowest float64 `json:"lowest"`
	// Highest is the largest of the levels that hold, Fails the lowest that failed
	// in any search; 0 if none did.
	Highest  float64       `json:"highest"`
	Fails    float64       `json:"fails,omitempty"`
	Searches []SearchFound `json:"searches"`
	Levels   []SearchLevel `json:"levels"`
}

// SearchLevel is one level over all of its trials, invalid ones left out but for
// their number.
type SearchLevel struct {
	Level     float64 `json:"level"`
	Plan      string  `json:"plan"`
	Passed    int     `json:"passed"` // trials
	Failed    int     `json:"failed"`
	Invalid   int     `json:"invalid"`
	Aborted   bool    `json:"aborted,omitempty"` // all trials were: the figures are what was seen until then
	Judgement string  `json:"judgement"`         // of the majority: pass, fail, split where there is none, or invalid
	Reason    string  `json:"reason"`            // of the last trial that agrees with it
	// Planned and Achieved are per second, over the trials; 0 where levels are no
	// rates.
	Planned  float64 `json:"planned,omitempty"`
	Achieved float64 `json:"achieved,omitempty"`
	Errors   float64 `json:"errors"` // share of the operations
	// Response is the distribution of the goal's metric; nil where it has none.
	Response *Latency `json:"response,omitempty"`
	// SLO holds the figures of the last trial that counts.
	SLO []SLOFigure `json:"slo,omitempty"`
}

// Search notes a line of search.jsonl.
func (w *Writer) Search(l SearchLine) { w.line(fileSearch, l) }

// searches makes the reports of all goals of a run.
func (r *Run) searches() []SearchReport {
	var out []SearchReport
	at := func(name string) *SearchReport {
		if i := slices.IndexFunc(out, func(s SearchReport) bool { return s.Name == name }); i >= 0 {
			return &out[i]
		}
		return nil
	}
	trials := make(map[string][]SearchTrial)
	for _, l := range r.SearchLines {
		switch {
		case l.Goal != nil:
			out = append(out, SearchReport{SearchGoal: *l.Goal, Searches: []SearchFound{}, Levels: []SearchLevel{}})
		case l.Trial != nil:
			trials[l.Trial.Goal] = append(trials[l.Trial.Goal], *l.Trial)
		case l.Found != nil:
			if s := at(l.Found.Goal); s != nil {
				s.Searches = append(s.Searches, *l.Found)
			}
		}
	}
	for i := range out {
		out[i].levels(r, trials[out[i].Name])
		out[i].conclude()
		out[i].firstLimit(r, trials[out[i].Name])
	}
	return out
}

// levels sums the trials of each level up.
func (s *SearchReport) levels(r *Run, trials []SearchTrial) {
	byPlan := make(map[string][]SearchTrial)
	for _, t := range trials {
		byPlan[t.Plan] = append(byPlan[t.Plan], t)
	}
	for plan, all := range byPlan {
		l := SearchLevel{Level: all[0].Level, Plan: plan, Aborted: true, Judgement: "invalid"}
		var seconds float64
		counted := &Timings{}
		add := func(t SearchTrial) {
			d := t.End.Sub(t.Start).Seconds()
			seconds += d
			l.Planned += t.Planned * d
			l.Achieved += t.Achieved * d
			l.Errors += t.Errors * d
			counted.merge(r.Timings(s.Metric, Filter{Plan: t.Plan, Variant: t.Variant, Block: &t.Block}))
			l.SLO = t.SLO
		}
		for _, t := range all {
			switch t.Judgement {
			case "pass":
				l.Passed++
			case "fail":
				l.Failed++
			default:
				l.Invalid++
			}
			l.Aborted = l.Aborted && (t.Aborted || t.Judgement == "invalid")
		}
		switch {
		case l.Invalid > l.Passed+l.Failed:
			l.Aborted = l.Aborted && l.Failed > 0
		case l.Passed > l.Failed:
			l.Judgement = "pass"
		case l.Passed > 0 && l.Passed == l.Failed:
			l.Judgement, l.Aborted = "split", false
		case l.Failed > 0:
			l.Judgement = "fail"
		}
		for _, t := range all {
			// What was aborted saw less than the rest: it counts only where there is no
			// other trial.
			if t.Judgement != "invalid" && t.Aborted == l.Aborted {
				add(t)
			}
			if t.Judgement == l.Judgement || l.Judgement == "split" && t.Judgement == "fail" {
				l.Reason = t.Reason
			}
		}
		if seconds > 0 {
			l.Planned, l.Achieved, l.Errors = l.Planned/seconds, l.Achieved/seconds, l.Errors/seconds
		}
		if h := counted.Of(Response); s.Metric != "" && h.N() > 0 {
			response := latency(s.Metric, Response, h, counted.Clamped)
			l.Response = &response
		}
		s.Levels = append(s.Levels, l)
	}
	slices.SortFunc(s.Levels, func(a, b SearchLevel) int { return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Plan, b.Plan)) })
}

// firstLimit looks for what was run into at the levels at which the searches ended:
// in the trial there that lasted longest, since that tells most.
func (s *SearchReport) firstLimit(r *Run, trials []SearchTrial) {
	var longest SearchTrial
	for _, t := range trials {
		ended := slices.ContainsFunc(s.Searches, func(f SearchFound) bool { return t.Level == f.Stuck || t.Level == f.Hi })
		if t.Judgement != "pass" && (ended || len(s.Searches) == 0) && (longest.Goal == "" || t.End.Sub(t.Start) > longest.End.Sub(longest.Start)) {
			longest = t
		}
	}
	if longest.Goal == "" {
		return
	}
	c := Ceilings{Shared: s.Shared, Server: s.Role, Sources: s.Sources}
	limits := r.Manifest.Limits
	if limits == (Limits{}) {
		limits = DefaultLimits() // it does not say
	}
	if c.GeneratorShare = limits.GeneratorCPU; c.GeneratorShare > 0 {
		c.GeneratorCPUs = float64(r.Manifest.Environment.GOMAXPROCS)
	}
	if soft, _, ok := strings.Cut(r.Manifest.Environment.Ulimit["nofile"], "/"); ok {
		c.GeneratorDescriptors, _ = strconv.Atoi(soft)
	}
	var low, high int
	if n, _ := fmt.Sscan(r.Manifest.Environment.Sysctl["net.ipv4.ip_local_port_range"], &low, &high); n == 2 {
		c.Ports = high - low + 1
	}
	for _, b := range r.Blocks {
		if b.Key == longest.Key {
			c.Flags = b.Flags
		}
	}
	c.Access = longest.Access
	s.Limits = FirstLimit(r.Series, longest.Start, longest.End, c)
	s.Limit = fmt.Sprintf("At %s %s", s.level(longest.Level), LimitSentence(s.Limits))
}

// conclude finds the answer and puts it into words.
func (s *SearchReport) conclude() {
	var held []float64
	var nothing, budget, maximum int
	unconfirmed := 0
	var last SearchFound
	var stuck *SearchFound // the last one does not go on
	for i, f := range s.Searches {
		last = f
		switch f.End {
		case "invalid":
			stuck = &s.Searches[i]
		case "nothing":
			nothing++
			continue
		case "budget":
			budget++
		case "maximum":
			maximum++
		}
		if f.Lo <= 0 {
			continue
		}
		held = append(held, f.Lo)
		if !f.Confirmed {
			unconfirmed++
		}
		if f.Hi > 0 && (s.Fails == 0 || f.Hi < s.Fails) {
			s.Fails = f.Hi
		}
	}
	if len(held) > 0 {
		s.Median, s.Lowest, s.Highest = medianOf(held), slices.Min(held), slices.Max(held)
		var why []string
		if maximum > 0 {
			why = append(why, fmt.Sprintf("%s held in %s", s.highest(), ofSearches(maximum, len(s.Searches))))
		}
		if budget > 0 {
			why = append(why, fmt.Sprintf("the time ran out in %s", ofSearches(budget, len(s.Searches))))
		}
		if stuck != nil {
			why = append(why, s.promise(stuck))
		}
		s.Bound = strings.Join(why, ", and ")
	}
	slo := strings.Join(s.SLO, " and ")
	subject := fmt.Sprintf("%s at %s", s.Scenario, s.Target)
	switch {
	case len(s.Searches) == 0:
		s.Answer = fmt.Sprintf("%s: no search ended", subject)
	case stuck != nil && len(held) == 0:
		s.Answer = fmt.Sprintf("%s: no answer, since %s", subject, s.promise(stuck))
	case stuck != nil && len(s.Searches) == 1:
		s.Answer = fmt.Sprintf("%s: at least %s keep %s; the generator cannot go higher than %s on this machine: %s",
			subject, s.level(stuck.Lo), slo, s.level(stuck.Lo), stuck.Reason)
	case len(held) == 0 && nothing > 0:
		s.Answer = fmt.Sprintf("%s: not even %s keep %s: %s", subject, s.level(last.Hi), slo, last.Reason)
	case len(held) == 0:
		s.Answer = fmt.Sprintf("%s: no answer, the time ran out before any level held", subject)
	case len(s.Searches) == 1 && s.Fails == 0 && last.End == "maximum":
		s.Answer = fmt.Sprintf("%s: %s keep %s, %s", subject, s.level(s.Median), slo, s.highest())
	case len(s.Searches) == 1 && s.Fails == 0:
		s.Answer = fmt.Sprintf("%s: at least %s keep %s", subject, s.level(s.Median), slo)
	case len(s.Searches) == 1:
		s.Answer = fmt.Sprintf("%s: %s keep %s and %s do not (one search)", subject, s.level(s.Median), slo, s.level(s.Fails))
	default:
		upTo := "up to"
		if s.Bound != "" {
			upTo = "at least"
		}
		of := fmt.Sprintf("median of %d searches, range %s to %s", len(held), s.number(s.Lowest), s.number(s.Highest))
		if len(held) == 1 {
			of = "one search of " + strconv.Itoa(len(s.Searches))
		}
		s.Answer = fmt.Sprintf("%s: %s %s keep %s (%s)", subject, upTo, s.level(s.Median), slo, of)
	}
	if len(s.Searches) == 1 && len(held) == 1 {
		s.remark("One search says nothing of its own uncertainty: --repeat 5 gives median and range.")
	}
	if len(s.Searches) > 1 && nothing > 0 && len(held) > 0 {
		s.remark("In %d of %d searches no level held.", nothing, len(s.Searches))
	}
	if stuck != nil && len(s.Searches) > 1 && len(held) > 0 {
		s.remark("Search %d ended early, since %s.", stuck.Search, s.promise(stuck))
	}
	if budget > 0 {
		s.remark("The time ran out in %d of %d searches: the levels found are lower bounds within wide brackets.", budget, len(s.Searches))
	}
	if unconfirmed > 0 {
		s.remark("%d of %d levels found were not confirmed by a longer run.", unconfirmed, len(held))
	}
	if n := len(s.Searches); n > 0 && n < s.Repeat {
		s.remark("%d of %d planned searches ended.", n, s.Repeat)
	}
	if len(s.Searches) == 0 {
		var lo, hi float64
		for _, l := range s.Levels {
			switch {
			case l.Judgement == "pass":
				lo = max(lo, l.Level)
			case l.Judgement == "fail" && (hi == 0 || l.Level < hi):
				hi = l.Level
			}
		}
		if lo > 0 {
			s.remark("Until then %s held.", s.level(lo))
		}
		if hi > 0 {
			s.remark("Until then %s failed.", s.level(hi))
		}
	}
	for _, f := range s.Searches {
		if f.Hi > 0 && f.Lo > 0 && f.Reason != "" {
			s.remark("Search %d ended between %s, which held, and %s: %s.", f.Search, s.number(f.Lo), s.number(f.Hi), strings.TrimSuffix(f.Reason, "."))
		}
	}
}

// promise says what ended a search that a level stayed invalid in.
func (s *SearchReport) promise(f *SearchFound) string {
	return fmt.Sprintf("the generator could not keep its promise at %s: %s", s.level(f.Stuck), strings.TrimSuffix(f.Reason, "."))
}

// highest names the level that none is above.
func (s *SearchReport) highest() string {
	if s.MaxBy != "" {
		return "the highest level that there can be (" + s.MaxBy + ")"
	}
	return "the highest level that was allowed"
}

// ofSearches says in how many of all searches something was so.
func ofSearches(n, all int) string {
	if all == 1 {
		return "the only search"
	}
	return fmt.Sprintf("%d of %d searches", n, all)
}

func (s *SearchReport) remark(format string, args ...any) {
	s.Remarks = append(s.Remarks, fmt.Sprintf(format, args...))
}

// level writes a level with its unit.
func (s *SearchReport) level(v float64) string { return s.number(v) + " " + s.Unit }

// number writes a level.
func (s *SearchReport) number(v float64) string { return formatCount(math.Round(v*1e6) / 1e6) }

// Judge returns what e speaks of in the samples and scalars of one block that lasted
// the given time, and the number of samples behind it. Like a threshold it refuses
// what too few samples stand behind, with an error.
func (e Expr) Judge(s *Snapshot, scalars map[string]float64, elapsed time.Duration) (v float64, n int64, err error) {
	if t := s.Metrics[e.Metric]; t != nil {
		h := t.Of(Response)
		if e.Agg == AggErrors {
			n = h.N() + t.Failed()
			return float64(t.Failed()) / float64(max(n, 1)), n, nil
		}
		return aggregateTimed(e, h, elapsed.Seconds())
	}
	if v, ok := scalars[e.Metric]; ok && e.Agg != AggErrors {
		if e.Agg == AggRate {
			if elapsed <= 0 {
				return 0, 1, fmt.Errorf("no time passed")
			}
			v /= elapsed.Seconds()
		}
		if e.MinSamples() > 1 {
			return 0, 1, fmt.Errorf("a quantile of %s, of which a block has one figure", e.Metric)
		}
		return v, 1, nil
	}
	return 0, 0, fmt.Errorf("nothing is known of %s", e.Metric)
}
