package view

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/xmppbench/xmppbench/results"
)

// maxListed bounds the entries of the directory that are looked at, the last in
// the order of their names, which begin with the time.
const maxListed = 10_000

// Entry is one line of the list of runs. What is not known stays empty.
type Entry struct {
	ID       string         `json:"id"` // name of the directory
	Scenario string         `json:"scenario,omitempty"`
	Started  time.Time      `json:"started,omitzero"`
	Ended    time.Time      `json:"ended,omitzero"`
	Status   results.Status `json:"status,omitempty"`
	Live     bool           `json:"live,omitempty"` // not ended, and written to a moment ago
	Targets  []string       `json:"targets,omitempty"`
	Variants []string       `json:"variants,omitempty"`
	Plans    int            `json:"plans,omitempty"`
	Blocks   int            `json:"blocks,omitempty"`
	Primary  string         `json:"primary,omitempty"`
	Machine  string         `json:"machine,omitempty"`
	Reasons  []string       `json:"reasons,omitempty"`  // why it is not ok
	Warnings int            `json:"warnings,omitempty"` // of the self-check
	Verdicts []string       `json:"verdicts,omitempty"` // on the primary figure, in words
	Decision string         `json:"decision,omitempty"` // of the first of them
	Failed   int            `json:"failed,omitempty"`   // thresholds
	Broken   string         `json:"broken,omitempty"`   // why it cannot be read
}

// Listing is the answer to /api/runs.
type Listing struct {
	Dir     string  `json:"dir"` // its base name
	Runs    []Entry `json:"runs"`
	Omitted int     `json:"omitted,omitempty"` // entries that were not looked at
}

// cachedHead is an entry with what it was read from. Summaries are large and runs
// many, so that it holds of them what trends show, and nothing else.
type cachedHead struct {
	stamp string
	entry Entry
	arms  []armFigures
}

// armFigures are the figures of one variant in one plan.
type armFigures struct {
	plan, variant string
	figures       []figure
}

// figure is a [results.Value] in as little room as it takes.
type figure struct {
	of               unique.Handle[figureName]
	median, min, max float64
	blocks           int
}

// figureName is what the figures of many runs have in common.
type figureName struct{ name, unit string }

func armsOf(h results.Head) []armFigures {
	var out []armFigures
	if h.Summary == nil {
		return nil
	}
	for _, run := range h.Summary.Runs {
		for _, p := range run.Plans {
			for _, v := range p.Variants {
				arm := armFigures{plan: p.Name, variant: v.Name, figures: make([]figure, 0, len(v.Values))}
				for _, x := range v.Values {
					arm.figures = append(arm.figures, figure{unique.Make(figureName{x.Name, x.Unit}), x.Median, x.Min, x.Max, x.Blocks})
				}
				out = append(out, arm)
			}
		}
	}
	return out
}

// liveFor is how long after the last write a run without an end counts as under
// way.
const liveFor = 15 * time.Second

func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	l, err := s.listing()
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, l)
}

// listing reads the heads of all runs, the newest first. What cannot be read is
// listed with the reason.
func (s *Server) listing() (Listing, error) {
	l := Listing{Dir: filepath.Base(s.config.Dir), Runs: []Entry{}}
	if abs, err := filepath.Abs(s.config.Dir); err == nil {
		l.Dir = filepath.Base(abs)
	}
	all, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return l, err
	}
	var ids []string
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".") && (e.IsDir() || e.Type()&os.ModeSymlink != 0) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	if n := len(ids) - maxListed; n > 0 {
		l.Omitted, ids = n, ids[n:]
	}
	now := time.Now()
	for _, id := range ids {
		l.Runs = append(l.Runs, s.head(id, now).entry)
	}
	slices.SortStableFunc(l.Runs, func(a, b Entry) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
	})
	s.forget(ids)
	return l, nil
}

// forget drops runs that are gone.
func (s *Server) forget(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.heads {
		if _, found := slices.BinarySearch(ids, id); !found {
			delete(s.heads, id)
		}
	}
}

// head reads what the list says of a run, or remembers it if its files are as they
// were.
func (s *Server) head(id string, now time.Time) cachedHead {
	dir, err := s.place(id)
	if err != nil {
		return cachedHead{entry: Entry{ID: id, Broken: err.Error()}}
	}
	stamp := fingerprint(dir)
	s.mu.Lock()
	known, ok := s.heads[id]
	s.mu.Unlock()
	if ok && known.stamp == stamp && !known.entry.Live {
		return known
	}
	c := cachedHead{stamp: stamp}
	h, err := results.OpenHead(dir)
	if err != nil {
		c.entry = Entry{ID: id, Broken: reason(err)}
	} else {
		c.entry, c.arms = entryOf(id, h), armsOf(h)
		c.entry.Live = h.Done.Status == results.StatusPartial && now.Sub(lastWrite(dir)) < liveFor
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads[id] = c
	return c
}

// watched are the files that change while a run goes on, when it ends, and when
// somebody mends it.
func watched() []string {
	return []string{
		"manifest.json", "DONE", "summary.json", "series.jsonl", "latency.hlog", "blocks.jsonl", "events.jsonl", "timelines.jsonl",
		"search.jsonl", "theory.jsonl", "counts.json", "sheet.json",
	}
}

func fingerprint(dir string) string {
	var b strings.Builder
	for _, name := range watched() {
		if about, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", name, about.Size(), about.ModTime().UnixNano())
		}
	}
	return b.String()
}

func lastWrite(dir string) time.Time {
	var last time.Time
	for _, name := range watched() {
		if about, err := os.Lstat(filepath.Join(dir, name)); err == nil && about.ModTime().After(last) {
			last = about.ModTime()
		}
	}
	return last
}

func entryOf(id string, h results.Head) Entry {
	m := h.Manifest
	e := Entry{
		ID: id, Scenario: m.Scenario, Started: m.Started, Ended: h.Done.Ended, Status: h.Done.Status, Variants: m.Variants,
		Plans: len(m.Plans), Blocks: m.Blocks, Primary: m.Primary, Reasons: h.Done.Reasons, Machine: m.Environment.Host,
	}
	for _, t := range m.Targets {
		e.Targets = append(e.Targets, t.Name)
	}
	if h.Summary == nil {
		return e
	}
	for _, r := range h.Summary.Runs {
		e.Warnings += len(r.Warnings)
		for _, t := range r.Thresholds {
			if t.State == results.Failed {
				e.Failed++
			}
		}
	}
	if c := h.Summary.Comparison; c != nil {
		for _, v := range c.Verdicts {
			if v.Primary {
				e.Verdicts = append(e.Verdicts, v.String())
				if e.Decision == "" {
					e.Decision = string(v.Decision)
				}
			}
		}
	}
	return e
}
