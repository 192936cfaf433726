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
		"text": {"capacity of prosody", "logins at the SLO          100 logins/s  90 to 110 logins/s", "all can talk again: no value: the server did not come back", "median and range of 3 searches"},
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
