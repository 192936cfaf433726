package scenarios_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

func sheetPlan(t *testing.T, set ...string) scenarios.Plan {
	t.Helper()
	source, err := scenarios.Shipped(scenarios.CapacitySheet)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := scenarios.Parse("capacity-sheet.yaml", source, scenarios.Override{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return plans[0]
}

// The parts of a sheet must fit its budget, and take what it says of accounts, logins
// and link.
func TestSheetParts(t *testing.T) {
	for _, budget := range []time.Duration{time.Minute, 20 * time.Minute, 3 * time.Hour} {
		plan := sheetPlan(t, "budget="+budget.String(), "login.tls=direct", "link.rtt=30ms", "sheet.online=50", "accounts=70", "seed=7")
		parts, err := plan.Parts()
		if err != nil {
			t.Fatal(err)
		}
		var all time.Duration
		labels := make(map[string]bool)
		for i, part := range parts {
			if i > 0 && part.SLO == "" && parts[i-1].SLO != "" {
				t.Errorf("what %s leaves is of no use to the search before it", part.Name)
			}
			all += part.Budget
			var takes time.Duration
			for _, p := range part.Plans {
				if labels[p.Label] {
					t.Errorf("two plans are called %s", p.Label)
				}
				labels[p.Label] = true
				if p.Login.TLS != "direct" || p.Link.RTT != 30*time.Millisecond || p.Seed != 7 {
					t.Errorf("%s: TLS %s, round trip %s, seed %d", p.Label, p.Login.TLS, p.Link.RTT, p.Seed)
				}
				if p.Blocks < 1 || p.Blocks > 12 {
					t.Errorf("%s has %d blocks", p.Label, p.Blocks)
				}
				takes += p.Duration(false)
				if part.SLO == "" && p.Blocks == 1 {
					takes = 0 // less than one there cannot be
				}
			}
			if part.SLO == "" && takes > part.Budget {
				t.Errorf("%s takes %s of %s", part.Name, takes, part.Budget)
			}
		}
		if all > budget {
			t.Errorf("the parts have %s of %s", all, budget)
		}
	}
	measured, err := scenarios.Measured([]scenarios.Plan{sheetPlan(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range measured {
		if p.Scenario == scenarios.CapacitySheet {
			t.Error("a sheet is measured by itself")
		}
	}
}

func TestSheetErrors(t *testing.T) {
	source, err := scenarios.Shipped(scenarios.CapacitySheet)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 3
	for name, c := range map[string]struct {
		o    scenarios.Override
		want string
	}{
		"blocks":       {scenarios.Override{Blocks: &blocks}, "--blocks: the budget decides on blocks: set budget"},
		"a dimension":  {scenarios.Override{Set: []string{"sheet.online=[10, 20]"}}, "has one plan: give every key a single value"},
		"thresholds":   {scenarios.Override{Set: []string{"thresholds.ready=p(95)<1s"}}, "a sheet has conditions of its own"},
		"variants":     {scenarios.Override{Variants: []string{"monolithic"}}, "compares none: leave them out"},
		"no metric":    {scenarios.Override{Set: []string{`sheet.login-slo="speed p(95)<1s"`}}, "sheet.login-slo: "},
		"other metric": {scenarios.Override{Set: []string{`sheet.message-slo="push p(95)<1s"`}}, "sheet.message-slo: the scenario message-steady does not measure push"},
		"abort":        {scenarios.Override{Set: []string{`sheet.login-slo="ready p(95)<1s abort"`}}, "leave abort out"},
		"sizes":        {scenarios.Override{Set: []string{"sheet.small=10k"}}, "sheet.small: 10000 is not below sheet.large, 10000"},
		"too short":    {scenarios.Override{Set: []string{"budget=10s"}}, "below the minimum, 1m0s"},
	} {
		_, err := scenarios.Parse("capacity-sheet.yaml", source, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", name, err, c.want)
		}
	}
}

// gone is a target that cannot be reached.
type gone struct{}

func (gone) Name() string { return "gone" }
func (gone) Open(context.Context, scenarios.Plan) (scenarios.Target, error) {
	return nil, &scenarios.UnreachableError{Target: "gone", Err: errors.New("nobody is there")}
}

// A sheet of a target that is lost must say of every answer why it is missing, try no
// further parts, and end in the error that tells the reason.
func TestSheetWithoutTarget(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	recorder := results.NewRecorder()
	w, err := results.Create(dir, results.Manifest{Scenario: scenarios.CapacitySheet}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	_, runErr := scenarios.Run(t.Context(), scenarios.RunConfig{
		Plans: []scenarios.Plan{sheetPlan(t)}, Targets: []scenarios.Targets{gone{}}, Results: w, Recorder: recorder,
	})
	if err := w.Close(results.StatusFailed); err != nil {
		t.Fatal(err)
	}
	var sheet *scenarios.SheetError
	var unreachable *scenarios.UnreachableError
	if !errors.As(runErr, &sheet) || !errors.As(runErr, &unreachable) {
		t.Fatalf("it ended with %v", runErr)
	}
	if len(sheet.Reasons) != 1 {
		t.Errorf("%d parts were tried, the target was lost in the first: %v", len(sheet.Reasons), sheet)
	}
	run, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range run.Sheet.Rows {
		names = append(names, r.Name)
		if r.Value != nil || !strings.Contains(r.Missing, "nobody is there") {
			t.Errorf("%s: %v, missing %q", r.Name, r.Value, r.Missing)
		}
	}
	if len(names) != 11 || run.Sheet.Complete || !slices.Contains(names, "logins at the SLO") {
		t.Errorf("the sheet has %q, complete: %v", names, run.Sheet.Complete)
	}
}
