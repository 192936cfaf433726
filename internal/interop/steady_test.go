//go:build interop

package interop

import (
	"path/filepath"
	"testing"

	"github.com/xmppbench/xmppbench/results"
)

// TestSteady sends traffic among users of real servers, at two domains: nothing is
// lost, doubled or out of order, and every contact who is online sees each change of
// presence.
func TestSteady(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true, Domains: []string{"m1.test", "m2.test"}})
			size := []string{"--set", "accounts=24", "--set", "roster.items=8"}
			mustXmppbench(t, append([]string{"provision", "message-steady", "--target", s.targetFile(t)}, size...)...)
			s.Start(t)
			target := s.targetFile(t)
			for scenario, set := range map[string][]string{
				"message-steady": {
					"--set", "messages.rate=100/s", "--set", "messages.remote=0.5", "--set", "messages.size=uniform 1..2000",
					"--set", "presence.rate=5/s", "--set", "pings.rate=20/s", "--set", "disco.rate=20/s",
				},
				"presence-fanout": {"--set", "presence.rate=10/s"},
			} {
				dir := filepath.Join(t.TempDir(), scenario)
				args := []string{
					"run", scenario, "--target", target, "--out", dir, "--progress", "none", "--set", "limits.lateness-floor=1m",
					"--set", "load.warmup=1s", "--set", "load.duration=3s", "--set", "logins.rate=20/s",
				}
				report := mustXmppbench(t, append(append(args, size...), set...)...)
				t.Logf("%s at %s:\n%s", scenario, kind, report)
				run, err := results.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				got := run.Blocks[len(run.Blocks)-1].Scalars
				if scenario == "message-steady" && (got["messages.sent"] == 0 || got["messages.delivered"] != got["messages.sent"]) {
					t.Errorf("%v messages arrived of %v", got["messages.delivered"], got["messages.sent"])
				}
				if got["presence.changes"] == 0 || got["presence.delivered"] != got["presence.expected"] || got["presence.amplification"] < 2 {
					t.Errorf("%v presences arrived of %v, %v for each change", got["presence.delivered"], got["presence.expected"], got["presence.amplification"])
				}
				for _, none := range []string{
					"messages.lost", "messages.duplicated", "messages.reordered", "messages.bounced", "presence.lost", "presence.superseded",
					"presence.duplicated", "presence.reordered", "requests.unanswered", "sessions.lost", "logins.failed",
				} {
					if got[none] != 0 {
						t.Errorf("%s: %v", none, got[none])
					}
				}
				if got["sessions"] != 24 || got["cpu.stanza"] <= 0 {
					t.Errorf("%v sessions, %v s of the server for each stanza", got["sessions"], got["cpu.stanza"])
				}
				for _, c := range run.Counts {
					if !c.Equal {
						t.Errorf("%+v", c)
					}
				}
			}
		})
	}
}
