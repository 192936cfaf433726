package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// TestGateCodes judges gates as run and compare do.
func TestGateCodes(t *testing.T) {
	gated := func(states ...results.State) *results.Comparison {
		c := &results.Comparison{}
		for _, s := range states {
			c.Gates = append(c.Gates, results.GateOutcome{State: s})
		}
		return c
	}
	empty := fmt.Errorf("somewhere: %w", &results.EmptyError{Text: "no block"})
	for _, tt := range []struct {
		name       string
		c          *results.Comparison
		err        error
		gates      int
		fail, pass int // exit codes, by what is undecided
	}{
		{"none", gated(), nil, 0, ExitOK, ExitOK},
		{"met", gated(results.Passed), nil, 1, ExitOK, ExitOK},
		{"broken", gated(results.Inconclusive, results.Failed), nil, 2, ExitRegression, ExitRegression},
		{"undecided", gated(results.Passed, results.Inconclusive), nil, 2, ExitInconclusive, ExitOK},
		{"nothing to compare", nil, empty, 1, ExitInconclusive, ExitOK},
		{"nothing to compare, and nothing asked", nil, empty, 0, ExitUsage, ExitUsage},
		{"not alike", nil, &results.DifferentError{What: "compare"}, 1, ExitUsage, ExitUsage},
	} {
		for mode, want := range map[string]int{"fail": tt.fail, "pass": tt.pass} {
			g := gateFlags{exprs: make([]string, tt.gates), inconclusive: mode}
			if got := exitCode(t.Context(), g.judge(tt.c, tt.err)); got != want {
				t.Errorf("%s, --inconclusive %s: exit code %d, want %d", tt.name, mode, got, want)
			}
		}
	}
}

// TestExitCodes joins every two kinds of ends of a command, in either order: the one
// that stands first in the order of the exit codes is told.
func TestExitCodes(t *testing.T) {
	order := []struct {
		code int
		err  error
	}{
		{ExitInternal, &scenarios.CountError{Name: "stanzas"}},
		{ExitInternal, errors.New("disk full")},
		{ExitUsage, &scenarios.FileError{File: "f.yaml", Err: errors.New("wrong")}},
		{ExitUsage, usage(errors.New("wrong"))},
		{ExitUnreachable, &scenarios.UnreachableError{Target: "sim", Err: errors.New("refused")}},
		{ExitUnreachable, &session.Error{}},
		{ExitInvalid, &bench.InvalidError{Reason: "late"}},
		{ExitThresholds, &scenarios.ThresholdError{Text: "broken"}},
		{ExitThresholds, &exitError{code: ExitThresholds}},
		{ExitRegression, &exitError{code: ExitRegression}},
		{ExitInconclusive, &exitError{code: ExitInconclusive}},
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for i, a := range order {
		if got := exitCode(t.Context(), fmt.Errorf("somewhere: %w", a.err)); got != a.code {
			t.Errorf("%v: exit code %d, want %d", a.err, got, a.code)
		}
		if got := exitCode(interrupted, a.err); got != ExitInterrupted {
			t.Errorf("%v after an interrupt: exit code %d, want 130", a.err, got)
		}
		for _, b := range order[i:] {
			for _, err := range []error{errors.Join(a.err, b.err), errors.Join(fmt.Errorf("there: %w", b.err), a.err)} {
				if got := exitCode(t.Context(), err); got != a.code {
					t.Errorf("%v: exit code %d, want %d", err, got, a.code)
				}
			}
		}
	}
	if got := exitCode(interrupted, nil); got != ExitOK {
		t.Errorf("done before the interrupt: exit code %d", got)
	}
	// What is wrapped keeps its own meaning: an unreachable target may be a login that
	// failed.
	if got := exitCode(t.Context(), &exitError{ExitInternal, &scenarios.UnreachableError{Err: errors.New("refused")}}); got != ExitInternal {
		t.Errorf("the outermost code of a chain counts: %d", got)
	}
}
