//go:build interop

package interop

import (
	"path/filepath"
	"testing"

	"github.com/xmppbench/xmppbench/results"
)

// TestCapacitySheet makes a whole sheet of real servers at a size that says nothing of
// them: every answer has a value, or a reason why not.
func TestCapacitySheet(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true})
			size := []string{
				"--set", "budget=1m", "--set", "sheet.searches=1", "--set", "accounts=20", "--set", "roster.items=5", "--set", "sheet.online=10",
				"--set", "sheet.idle=20", "--set", "sheet.small=100", "--set", "sheet.large=400", "--set", "login.sasl=auto",
			}
			mustXmppbench(t, append([]string{"provision", "capacity-sheet", "--target", s.targetFile(t)}, size...)...)
			s.Start(t)
			dir := filepath.Join(t.TempDir(), "sheet")
			code, stdout, stderr := xmppbench(t, append([]string{
				"run", "capacity-sheet", "--target", s.targetFile(t), "--out", dir, "--progress", "none", "--set", "limits.lateness-floor=1m",
				"--set", `sheet.login-slo="ready mean<30s"`, "--set", `sheet.message-slo="message mean<30s"`,
			}, size...)...)
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
