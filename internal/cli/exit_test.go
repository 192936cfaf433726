package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/scenarios"
)

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
