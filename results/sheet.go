package results

import (
	"fmt"
	"slices"
	"strings"
)

// Sheet is what several measurements of one target come to: a page that says what it
// carries, what each thing costs and what came first. It is sheet.json of a run
// directory, and replaced as a whole after each measurement.
type Sheet struct {
	Target string  `json:"target"`
	Budget float64 `json:"budget"` // seconds that were allowed
	Took   float64 `json:"took"`   // seconds so far
	// Rows are the answers in the order in which they are read. A row without a value
	// says what is missing.
	Rows []SheetRow `json:"rows"`
	// Complete says that every measurement was made, with or without a value.
	Complete bool `json:"complete"`
}

// SheetRow is one answer. Value is nil if there is none, Lo and Hi if nothing is known
// of its uncertainty.
type SheetRow struct {
	Name  string   `json:"name"` // what is answered, such as "logins at the SLO"
	Value *float64 `json:"value"`
	Lo    *float64 `json:"lo,omitempty"`
	Hi    *float64 `json:"hi,omitempty"`
	// AtLeast says that Value is a lower bound; Basis says why.
	AtLeast bool `json:"at-least,omitempty"`
	// Unit is "s" or "B", or what stands behind a count, such as "logins/s".
	Unit string `json:"unit"`
	// Basis says what Lo and Hi are, Valid for what the answer holds, Limit what came
	// first, with its evidence.
	Basis   string `json:"basis,omitempty"`
	Valid   string `json:"valid,omitempty"`
	Limit   string `json:"limit,omitempty"`
	Missing string `json:"missing,omitempty"`
	// Goal names the search of the run whose result the row is. The figures are then
	// those of the search, which reports fill in.
	Goal string `json:"goal,omitempty"`
}

// Sheet replaces the sheet of the run, at the next flush.
func (w *Writer) Sheet(s Sheet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sheet = &s
}

// withSearches returns the sheet with the figures of the searches that rows stand for.
func (s *Sheet) withSearches(all []SearchReport) *Sheet {
	if s == nil {
		return nil
	}
	out := *s
	out.Rows = slices.Clone(s.Rows)
	for i := range out.Rows {
		r := &out.Rows[i]
		n := slices.IndexFunc(all, func(f SearchReport) bool { return f.Name == r.Goal })
		if r.Goal == "" || n < 0 {
			continue
		}
		r.searched(&all[n])
	}
	return &out
}

// searched fills in what a search has found.
func (r *SheetRow) searched(f *SearchReport) {
	r.Unit, r.Limit = f.Unit, f.Limit
	if f.Median <= 0 {
		if r.Missing == "" {
			r.Missing = f.Answer
		}
		return
	}
	r.Value, r.AtLeast = &f.Median, f.Bound != ""
	var held []SearchFound
	for _, s := range f.Searches {
		if s.Lo > 0 {
			held = append(held, s)
		}
	}
	r.Basis = fmt.Sprintf("median and range of %d searches", len(held))
	if len(held) == 1 {
		r.Basis = "one search, which tells nothing of its spread"
		if s := held[0]; s.Hi > 0 {
			r.Basis = fmt.Sprintf("one search, in which %s failed; it tells nothing of its spread", f.number(s.Hi))
		}
	} else {
		r.Lo, r.Hi = &f.Lowest, &f.Highest
	}
	if len(f.Searches) < f.Repeat {
		r.Basis += fmt.Sprintf("; %d were planned", f.Repeat)
	}
	if f.Bound != "" {
		r.Basis += "; a lower bound, since " + f.Bound
	}
	if stuck := f.Searches[len(f.Searches)-1].End == "invalid"; r.Missing != "" && !stuck {
		r.Basis += "; it ended early: " + r.Missing
	}
	r.Missing = ""
}

// value writes the answer; "n/a" if there is none.
func (r SheetRow) value() string {
	switch {
	case r.Value == nil:
		return "n/a"
	case r.AtLeast:
		return "at least " + r.figure(*r.Value)
	}
	return r.figure(*r.Value)
}

// figure writes a number of the row with its unit.
func (r SheetRow) figure(v float64) string {
	switch r.Unit {
	case UnitSeconds, UnitBytes:
		return formatUnit(v, r.Unit)
	case UnitCount, "":
		return formatCount(v)
	}
	return formatCount(v) + " " + r.Unit
}

// between writes the uncertainty of the row; empty if nothing is known of it.
func (r SheetRow) between() string {
	if r.Lo == nil || r.Hi == nil {
		return ""
	}
	return fmt.Sprintf("%s to %s", strings.TrimSuffix(r.figure(*r.Lo), " "+r.Unit), r.figure(*r.Hi))
}

// sheet writes the page that the run was made for.
func (t *textReport) sheet(s *Sheet) {
	if s == nil {
		return
	}
	t.line("")
	t.heading(2, "capacity of "+s.Target)
	g := grid{head: []string{"", "value", "from - to"}, left: 1}
	for _, r := range s.Rows {
		g.add(r.Name, r.value(), r.between())
	}
	t.grid(g)
	t.gap()
	for i := 0; i < len(s.Rows); {
		about, names := s.Rows[i].about(), []string{s.Rows[i].Name}
		for i++; i < len(s.Rows) && s.Rows[i].about() == about; i++ {
			names = append(names, s.Rows[i].Name) // what was measured together is explained once
		}
		if about != "" {
			t.item(strings.Join(names, ", ") + ": " + about)
		}
	}
	if !s.Complete {
		t.item("the sheet is not complete: measurements are missing")
	}
	t.item(fmt.Sprintf("budget %s, took %s", formatSeconds(s.Budget), formatSeconds(s.Took)))
}

// about says in words what stands behind the row.
func (r SheetRow) about() string {
	var words []string
	if r.Missing != "" {
		words = append(words, "no value: "+r.Missing)
	}
	for _, w := range []string{r.Valid, r.Basis} {
		if w != "" {
			words = append(words, w)
		}
	}
	if r.Limit != "" {
		words = append(words, "first limit: "+r.Limit)
	}
	return strings.Join(words, "; ")
}
