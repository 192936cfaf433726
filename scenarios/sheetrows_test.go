package scenarios

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
)

// Blocks in which not everybody came back must not be left out of the time that this
// takes: they make it a lower bound.
func TestSheetOfAbsent(t *testing.T) {
	run := func(all ...float64) *partRun {
		r := &partRun{part: Part{Plans: []Plan{{Herd: Herd{Limit: time.Minute}}}}, blocks: make(map[results.Key]results.Block)}
		for i, v := range all {
			b := results.Block{Key: results.Key{Block: i}, Scalars: map[string]float64{"absent": 0, "back.all": v}}
			if v == 0 {
				b.Scalars = map[string]float64{"absent": 1}
			}
			r.blocks[b.Key] = b
		}
		return r
	}
	if row := run(2, 2, 2).until(rowBackAll, "back.all"); row.AtLeast || row.Value == nil || *row.Value != 2 {
		t.Errorf("all were back: %+v", row)
	}
	row := run(2, 0, 0).until(rowBackAll, "back.all")
	if !row.AtLeast || *row.Hi != 60 || *row.Value < 30 || !strings.Contains(row.Basis, "not back within 1m0s in 2 of 3 blocks") {
		t.Errorf("some were not: %+v", row)
	}
	if row := run().until(rowBackAll, "back.all"); row.Value != nil || row.Missing == "" {
		t.Errorf("nothing was measured: %+v", row)
	}
}

// Memory that jitters from block to block by more than a share of the sessions costs must
// not hide what they cost.
func TestSheetOfMemory(t *testing.T) {
	r := &partRun{part: Part{Plans: []Plan{{Scenario: IdleCost}}}, blocks: make(map[results.Key]results.Block)}
	jitter := []float64{3e6, -2e6, 1e6, -3e6, 2e6, -1e6, 2e6, -3e6, 1e6, -2e6, 3e6, -1e6}
	last := 50e6
	for i, j := range jitter {
		n := float64(80 * (i + 1))
		rss := 50e6 + 45e3*n + j
		b := results.Block{Key: results.Key{Block: i}, Scalars: map[string]float64{"sessions": n, "rss.server": rss, "session.rss.server": (rss - last) / 80}}
		last, r.blocks[b.Key] = rss, b
	}
	memory := idleRows(r)[1]
	if *memory.Value < 40e3 || *memory.Value > 50e3 || *memory.Lo < 30e3 || *memory.Hi > 60e3 || memory.Basis != "95 % interval over 6 pairs of blocks" {
		t.Errorf("%.0f, %.0f to %.0f, %s", *memory.Value, *memory.Lo, *memory.Hi, memory.Basis)
	}
	for i := 2; i < len(jitter); i++ {
		delete(r.blocks, results.Key{Block: i})
	}
	if memory := idleRows(r)[1]; memory.Basis != "range of 2 blocks" {
		t.Errorf("of two blocks it is the %s", memory.Basis)
	}
}

// What keeps one part from being measured must not keep the others, unless the target is
// gone: each row says why it has no value.
func TestSheetMissing(t *testing.T) {
	offline := &UnreachableError{Target: "there", Err: errors.New("the sessions that each level needs did not come online")}
	for name, tt := range map[string]struct {
		fails error
		gone  bool
		asked int
		want  []string // parts that are measured
		says  string   // the last row
	}{
		"nothing fails":         {nil, false, 0, []string{"a", "b", "c"}, ""},
		"sessions of one":       {offline, false, 1, []string{"a", "b", "c"}, ""},
		"a count of one":        {&CountError{Name: "stanzas"}, false, 0, []string{"a", "b", "c"}, ""},
		"the target":            {offline, true, 1, []string{"a", "b"}, offline.Error()},
		"logins of one":         {&session.Error{}, false, 1, []string{"a", "b", "c"}, ""},
		"the target, by logins": {&offlineError{errors.New("0 of 10 online")}, true, 1, []string{"a", "b"}, "there: 0 of 10 online"},
		"what nobody could say": {&bench.InvalidError{Reason: "late"}, true, 0, []string{"a", "b", "c"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := results.Create(filepath.Join(t.TempDir(), "run"), results.Manifest{Scenario: CapacitySheet}, results.Options{Recorder: results.NewRecorder()})
			if err != nil {
				t.Fatal(err)
			}
			r := &sheetRun{RunConfig: RunConfig{Results: w}, started: time.Now(), sheet: results.Sheet{Target: "there"}}
			var measured []string
			asked := 0
			parts := []Part{
				{Name: "a", rows: []string{rowLogins}, Plans: make([]Plan, 1)},
				{Name: "b", rows: []string{rowMessages}, Plans: make([]Plan, 1)},
				{Name: "c", rows: []string{rowBackAll}, Plans: make([]Plan, 1)},
			}
			err = r.parts(t.Context(), parts, func(_ context.Context, p Part, _ []Part) ([]results.SheetRow, error) {
				measured = append(measured, p.Name)
				if p.Name == "b" && tt.fails != nil {
					return nil, tt.fails
				}
				return []results.SheetRow{{Name: p.rows[0], Value: new(1.0)}}, nil
			}, func(context.Context, Plan) error {
				asked++
				if tt.gone {
					return errors.New("refused")
				}
				return nil
			})
			if err := w.Close(results.StatusOK); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(measured, tt.want) || asked != tt.asked {
				t.Errorf("%v were measured, and the target was asked %d times", measured, asked)
			}
			if !errors.Is(err, tt.fails) || r.sheet.Complete != (tt.fails == nil) {
				t.Errorf("complete: %v, with %v", r.sheet.Complete, err)
			}
			rows := r.sheet.Rows
			if len(rows) != 3 || rows[2].Missing != tt.says || (rows[2].Value == nil) != (tt.says != "") {
				t.Errorf("rows %+v", rows)
			}
			if tt.fails != nil && !strings.Contains(rows[1].Missing, reasonOf(tt.fails)) {
				t.Errorf("the row of b says %q", rows[1].Missing)
			}
			if _, unreachable := errors.AsType[*UnreachableError](err); tt.gone && tt.asked > 0 && !unreachable {
				t.Errorf("the target is gone, and the sheet ends with %v", err)
			}
		})
	}
}

// A search that the generator ends has an answer if levels held before, a lower bound; one
// that the target ends has none, whatever held.
func TestSheetOfGeneratorAtItsLimit(t *testing.T) {
	late, gone := &bench.InvalidError{Reason: "late"}, &UnreachableError{Target: "there", Err: errors.New("refused")}
	held := SearchOutcome{Held: []float64{100}}
	for _, tt := range []struct {
		found SearchOutcome
		err   error
		want  error
	}{
		{held, nil, nil},
		{held, late, nil},
		{SearchOutcome{}, late, late},
		{held, gone, gone},
	} {
		if got := unanswered(tt.found, tt.err); !errors.Is(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%d levels held, then %v: %v, want %v", len(tt.found.Held), tt.err, got, tt.want)
		}
	}
}

// A target that can be logged in at is there, and one that refuses connections is not.
func TestSheetAsks(t *testing.T) {
	t.Parallel()
	source, err := Shipped(CapacitySheet)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Parse("capacity-sheet.yaml", source, Override{Set: []string{"sheet.idle=10"}})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := plans[0].Parts()
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("nobody listens")
	for _, l := range []rig{{}, {connect: func() error { return refused }}} {
		r := &sheetRun{RunConfig: RunConfig{Targets: []Targets{l}}}
		if err := r.ask(t.Context(), parts[0].Plans[0]); (err == nil) != (l.connect == nil) || err != nil && !errors.Is(err, refused) {
			t.Error(err)
		}
	}
}

// A share of the budget of a search is kept for levels of its curve, those next to the
// level found first.
func TestSearchCurve(t *testing.T) {
	s, _ := searching(t, stormFile, "ready mean<1m", func(c *SearchConfig) { c.Curve, c.Max, c.Budget = 8, 8, 100*time.Second })
	if kept := s.reserved(); kept <= 0 || kept > 10*time.Second {
		t.Errorf("%s are kept", kept)
	}
	if levels := s.curve(8, map[float64]bool{8: true}); len(levels) < 4 || !slices.IsSortedFunc(levels, func(a, b float64) int { return int(1000 * (b - a)) }) {
		t.Errorf("levels %v", levels)
	}
}
