package view

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Trend is one figure over all runs of a scenario, in order of time.
type Trend struct {
	Scenario string        `json:"scenario"`
	Metrics  []string      `json:"metrics"` // that any run of the scenario has
	Metric   string        `json:"metric"`
	Unit     string        `json:"unit"`
	Series   []TrendSeries `json:"series"`
}

// TrendSeries is one variant in one plan at one target on one machine: what may be
// joined by a line.
type TrendSeries struct {
	Variant string       `json:"variant"`
	Plan    string       `json:"plan,omitempty"`
	Target  string       `json:"target,omitempty"`
	Machine string       `json:"machine,omitempty"`
	Points  []TrendPoint `json:"points"`
}

// TrendPoint is the figure in one run: the median of its blocks between their
// extremes.
type TrendPoint struct {
	Run     string    `json:"run"`
	Started time.Time `json:"started"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Blocks  int       `json:"blocks"`
}

func (s *Server) trend(w http.ResponseWriter, r *http.Request) {
	l, err := s.listing()
	if err != nil {
		fail(w, err)
		return
	}
	slices.Reverse(l.Runs)
	q := r.URL.Query()
	t := Trend{Scenario: q.Get("scenario"), Metric: q.Get("metric"), Metrics: []string{}, Series: []TrendSeries{}}
	series := make(map[trendKey]*TrendSeries)
	names := make(map[string]string) // to units
	now := time.Now()
	for _, e := range l.Runs {
		if e.Scenario != t.Scenario || e.Broken != "" {
			continue
		}
		arms := s.head(e.ID, now).arms
		if len(arms) == 0 {
			continue
		}
		if t.Metric == "" {
			t.Metric = e.Primary
		}
		trendOf(arms, e, t.Metric, names, series)
	}
	t.Metrics = append(t.Metrics, slices.Sorted(maps.Keys(names))...)
	t.Unit = names[t.Metric]
	for _, k := range slices.SortedFunc(maps.Keys(series), trendKey.compare) {
		t.Series = append(t.Series, *series[k])
	}
	answer(w, t)
}

// trendKey tells the series of a trend apart.
type trendKey struct{ variant, plan, target, machine string }

func (k trendKey) compare(o trendKey) int {
	return cmp.Or(cmp.Compare(k.plan, o.plan), cmp.Compare(k.variant, o.variant), cmp.Compare(k.target, o.target), cmp.Compare(k.machine, o.machine))
}

// trendOf adds the figures of one run.
func trendOf(arms []armFigures, e Entry, metric string, names map[string]string, series map[trendKey]*TrendSeries) {
	target := ""
	if len(e.Targets) == 1 {
		target = e.Targets[0]
	}
	for _, arm := range arms {
		for _, f := range arm.figures {
			of := f.of.Value()
			names[of.name] = of.unit
			if of.name != metric {
				continue
			}
			k := trendKey{arm.variant, arm.plan, target, e.Machine}
			if series[k] == nil {
				series[k] = &TrendSeries{Variant: k.variant, Plan: k.plan, Target: k.target, Machine: k.machine}
			}
			series[k].Points = append(series[k].Points, TrendPoint{
				Run: e.ID, Started: e.Started, Median: f.median, Min: f.min, Max: f.max, Blocks: f.blocks,
			})
		}
	}
}
