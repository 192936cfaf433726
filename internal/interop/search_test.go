//go:build interop

package interop

import (
	"path/filepath"
	"testing"

	"github.com/xmppbench/xmppbench/results"
)

// TestSearch looks for the highest rate of logins of real servers, at a size that says
// nothing of them: levels are run, a server that bears all of them ends the search at
// the maximum, and one that bears none at exit 99.
func TestSearch(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true})
			size := []string{"--set", "accounts=20", "--set", "roster.items=10"}
			mustXmppbench(t, append([]string{"provision", "login-storm", "--target", s.targetFile(t)}, size...)...)
			s.Start(t)
			search := func(dir, slo, most string) (int, *results.Run) {
				args := append([]string{"search", "login-storm", "--target", s.targetFile(t), "--slo", slo, "--out", dir, "--start", "2", "--min", "2", "--max", most,
					"--repeat", "1", "--curve", "0", "--window", "2s", "--progress", "none", "--set", "login.sasl=auto", "--set", "load.warmup=1s",
					"--set", "limits.lateness-floor=1m"}, size...)
				code, stdout, stderr := xmppbench(t, args...)
				t.Logf("exit %d\n%s\n%s", code, stdout, stderr)
				run, err := results.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				return code, run
			}
			code, run := search(filepath.Join(t.TempDir(), "held"), "ready mean<30s", "4")
			found := 0
			for _, l := range run.SearchLines {
				if l.Trial != nil && l.Trial.Judgement == "pass" && l.Trial.Achieved == 0 {
					t.Errorf("held without a login: %+v", l.Trial)
				}
				if l.Found != nil && l.Found.End == "maximum" && l.Found.Lo == 4 && l.Found.Confirmed {
					found++
				}
			}
			if code != 0 || found != 1 {
				t.Errorf("exit %d, found %+v", code, run.SearchLines)
			}
			if code, _ := search(filepath.Join(t.TempDir(), "failed"), "ready mean<1us", "4"); code != 99 {
				t.Errorf("an SLO that nothing keeps: exit %d", code)
			}
		})
	}
}
