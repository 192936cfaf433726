package results

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// sheetOf is a sheet with a row of every kind.
func sheetOf() Sheet {
	v := func(x float64) *float64 { return &x }
	return Sheet{Target: "prosody", Budget: 600, Took: 580.5, Complete: true, Rows: []SheetRow{
		{Name: "logins at the SLO", Goal: "logins", Valid: "while ready p(95)<1s holds"},
		{Name: "memory of a session", Value: v(20480), Lo: v(19456), Hi: v(21504), Unit: UnitBytes, Basis: "95 % interval over 7 blocks"},
		{Name: "95 % can talk again", Unit: UnitSeconds, Missing: "the server did not come back"},
		{Name: "all can talk again", Unit: UnitSeconds, Missing: "the server did not come back"},
	}}
}

// A sheet must come back from a run directory as it was written last, and the rows of
// searches with the figures of these.
func TestSheet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	synctest.Test(t, func(t *testing.T) {
		w, err := Create(dir, Manifest{Scenario: "capacity-sheet"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.Sheet(Sheet{Target: "prosody"})
		w.Search(SearchLine{Goal: &SearchGoal{Name: "logins", Scenario: "login-storm", Target: "prosody", Over: "load.rate", Unit: "logins/s", Metric: "ready", SLO: []string{"ready p(95)<1s"}, Repeat: 3}})
		for i, lo := range []float64{90, 110, 100} {
			w.Search(SearchLine{Found: &SearchFound{Goal: "logins", Search: i + 1, End: "bracket", Lo: lo, Hi: lo * 1.05, Confirmed: true}})
		}
		w.Sheet(sheetOf())
		if err := w.Close(StatusOK); err != nil {
			t.Fatal(err)
		}
	})
	run, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sheetOf(), *run.Sheet); diff != "" {
		t.Error(diff)
	}
	if err := run.Verify(); err != nil {
		t.Error(err)
	}
	row := Summarize([]*Run{run}, CompareOptions{}).Runs[0].Sheet.Rows[0]
	if row.Value == nil || *row.Value != 100 || *row.Lo != 90 || *row.Hi != 110 || row.Unit != "logins/s" || row.Missing != "" {
		t.Errorf("the row of the search is %+v", row)
	}
	for format, wants := range map[string][]string{
		"text": {"capacity of prosody", "logins at the SLO          100 logins/s  90 to 110 logins/s", "95 % can talk again, all can talk again: no value: the server did not come back", "median and range of 3 searches"},
		"md":   {"| memory of a session | 20KiB | 19KiB to 21KiB |"},
		"html": {"<th scope=\"row\">memory of a session</th><td>20KiB</td><td>19KiB to 21KiB</td>"},
	} {
		var b strings.Builder
		if err := Report(&b, []*Run{run}, format, ReportOptions{}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range wants {
			if !strings.Contains(text, strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%s does not say %q:\n%s", format, want, b.String()[:min(1500, b.Len())])
			}
		}
	}
}

// What ended searches other than a level that failed makes a row a lower bound, which
// says why, and how many searches stand behind it.
func TestSheetLowerBounds(t *testing.T) {
	bracket := SearchFound{End: "bracket", Lo: 100, Hi: 106, Confirmed: true}
	for name, c := range map[string]struct {
		missing      string
		planned      int
		found        []SearchFound
		value, basis string
		between      string
	}{
		"brackets":           {planned: 3, found: []SearchFound{bracket, bracket, bracket}, value: "100 logins/s", between: "100 to 100 logins/s", basis: "median and range of 3 searches"},
		"fewer than planned": {planned: 5, found: []SearchFound{bracket, bracket}, value: "100 logins/s", between: "100 to 100 logins/s", basis: "median and range of 2 searches; 5 were planned"},
		"one search":         {planned: 1, found: []SearchFound{bracket}, value: "100 logins/s", basis: "one search, in which 106 failed; it tells nothing of its spread"},
		"budget": {
			planned: 2, found: []SearchFound{bracket, {End: "budget", Lo: 80, Hi: 160}}, value: "at least 90 logins/s", between: "80 to 100 logins/s",
			basis: "median and range of 2 searches; a lower bound, since the time ran out in 1 of 2 searches",
		},
		"maximum": {
			planned: 1, found: []SearchFound{{End: "maximum", Lo: 500, Confirmed: true}}, value: "at least 500 logins/s",
			basis: "one search, which tells nothing of its spread; a lower bound, since the highest level that was allowed held in the only search",
		},
		"generator": {
			planned: 5, missing: "the generator cannot go higher than 120/s on this machine: at 240/s it was late",
			found: []SearchFound{bracket, {End: "invalid", Lo: 120, Stuck: 240, Reason: "it was late"}}, value: "at least 110 logins/s", between: "100 to 120 logins/s",
			basis: "median and range of 2 searches; 5 were planned; a lower bound, since the generator could not keep its promise at 240 logins/s: it was late",
		},
		"generator at once": {planned: 5, missing: "it was late", found: []SearchFound{{End: "invalid", Stuck: 20, Reason: "it was late"}}, value: "n/a"},
		"target lost": {
			planned: 5, missing: "prosody does not answer any more", found: []SearchFound{bracket}, value: "100 logins/s",
			basis: "one search, in which 106 failed; it tells nothing of its spread; 5 were planned; it ended early: prosody does not answer any more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			report := SearchReport{SearchGoal: SearchGoal{Name: "logins", Scenario: "login-storm", Target: "prosody", Unit: "logins/s", SLO: []string{"ready p(95)<1s"}, Repeat: c.planned}, Searches: c.found}
			report.conclude()
			sheet := Sheet{Rows: []SheetRow{{Name: "logins at the SLO", Goal: "logins", Missing: c.missing}}}
			row := sheet.withSearches([]SearchReport{report}).Rows[0]
			if row.value() != c.value || row.Basis != c.basis || row.between() != c.between || row.AtLeast != strings.HasPrefix(c.value, "at least") {
				t.Errorf("it says %q, %q, %q, want %q, %q, %q", row.value(), row.between(), row.Basis, c.value, c.between, c.basis)
			}
			if (row.Missing != "") != (row.Value == nil) {
				t.Errorf("value %v, missing %q", row.Value, row.Missing)
			}
		})
	}
}
