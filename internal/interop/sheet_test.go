//go:build interop

package interop

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// smallSheet are the options of a sheet of a size that says nothing of a server.
func smallSheet() []string {
	return []string{
		"--set", "budget=1m", "--set", "sheet.searches=1", "--set", "accounts=20", "--set", "roster.items=5", "--set", "sheet.online=10",
		"--set", "sheet.idle=20", "--set", "sheet.small=100", "--set", "sheet.large=400", "--set", "login.sasl=auto",
	}
}

// TestCapacitySheet makes a whole sheet of real servers at a size that says nothing of
// them: every answer has a value, or a reason why not.
func TestCapacitySheet(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true})
			mustXmppbench(t, append([]string{"provision", "capacity-sheet", "--target", s.targetFile(t)}, smallSheet()...)...)
			s.Start(t)
			dir := filepath.Join(t.TempDir(), "sheet")
			code, stdout, stderr := xmppbench(t, append([]string{
				"run", "capacity-sheet", "--target", s.targetFile(t), "--out", dir, "--progress", "none", "--set", "limits.lateness-floor=1m",
				"--set", `sheet.login-slo="ready mean<30s"`, "--set", `sheet.message-slo="message mean<30s"`,
			}, smallSheet()...)...)
			t.Logf("exit %d\n%s\n%s", code, stdout, stderr)
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if v := run.Manifest.Targets[0].Version; v == "" {
				t.Error("the manifest does not tell the version of the server")
			}
			if run.Sheet == nil {
				t.Fatal("the run has no sheet")
			}
			values := 0
			for _, r := range results.Summarize([]*results.Run{run}, results.CompareOptions{}).Runs[0].Sheet.Rows {
				if r.Value != nil {
					values++
				} else if r.Missing == "" {
					t.Errorf("%s has neither a value nor a reason", r.Name)
				}
			}
			// A search of a busy machine may end without an answer, and says so.
			if len(run.Sheet.Rows) != 11 || values < 8 {
				t.Errorf("%d of %d answers have values: %+v", values, len(run.Sheet.Rows), run.Sheet.Rows)
			}
			if code != 0 && code != 4 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

// TestSheetOfServerThatDies kills a server in the third part of a sheet: what was measured
// until then stands, every other answer says why it is missing, and nobody waits for the
// budget to be over.
func TestSheetOfServerThatDies(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true})
			mustXmppbench(t, append([]string{"provision", "capacity-sheet", "--target", s.targetFile(t)}, smallSheet()...)...)
			s.Start(t)
			path, err := program()
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "sheet")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, path, append([]string{
				"run", "capacity-sheet", "--target", s.targetFile(t), "--out", dir, "--progress", "plain", "--set", "limits.lateness-floor=1m",
			}, smallSheet()...)...)
			progress, err := c.StderrPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			killed := false
			for lines := bufio.NewScanner(progress); lines.Scan(); {
				said = append(said, lines.Text())
				if !killed && strings.Contains(lines.Text(), "presence, block 1/") {
					s.signal(t, s.PID(), syscall.SIGKILL)
					killed = true
				}
			}
			err = c.Wait()
			if t.Logf("%s", strings.Join(said, "\n")); !killed {
				t.Fatalf("the presence part did not begin: %v", err)
			}
			if code := c.ProcessState.ExitCode(); code != 3 {
				t.Errorf("exit %d, want 3: the server is not there", code)
			}
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if run.Sheet == nil || run.Sheet.Complete || len(run.Sheet.Rows) != 11 {
				t.Fatalf("the sheet is %+v", run.Sheet)
			}
			if took := time.Duration(run.Sheet.Took * float64(time.Second)); took >= time.Minute {
				t.Errorf("it went on for %s", took)
			}
			for i, r := range run.Sheet.Rows {
				// Idle sessions and rosters came before; of few sessions nothing need be seen.
				if rosters, before := i >= 4 && i < 7, i >= 2 && i < 7; rosters && r.Value == nil || !before && r.Value != nil || (r.Value == nil) != (r.Missing != "") {
					t.Errorf("%s: value %v, missing %q", r.Name, r.Value, r.Missing)
				}
			}
			if last := said[len(said)-1]; !strings.Contains(last, "the sheet is not complete") {
				t.Errorf("the program ends with %q", last)
			}
		})
	}
}
