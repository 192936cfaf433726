//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

// restartable writes a command that restarts the server into a target file, as its
// operator would, and lets the process be found by the pid file, which outlives it.
func (s *Server) restartable(t *testing.T, target string) {
	t.Helper()
	pidFile := filepath.Join(s.Dir, s.Kind+".pid")
	start := "prosody --config " + filepath.Join(s.Dir, "prosody.cfg.lua") + " -F"
	if s.Kind == "ejabberd" {
		start = strings.Join(s.Ctl(t.Context(), t, "foreground").Args[4:], " ")
	}
	stop := fmt.Sprintf(`pid=$(cat %[1]s)
kill -TERM $pid
# Prosody can trip over a session that it is retiring, and then stays.
for i in $(seq 200); do kill -0 $pid 2>/dev/null || break; sleep 0.05; done
kill -KILL $pid 2>/dev/null
rm -f %[1]s
`, pidFile)
	script := "#!/bin/sh\n" + stop + fmt.Sprintf(`cd %s
ulimit -n "$(ulimit -Hn)"
HOME=%[1]s LANG=C.UTF-8 setpriv --reuid=%[2]s --regid=%[2]s --clear-groups %[3]s >> console.log 2>&1 &
`, s.Dir, s.Kind, start)
	s.write(t, "restart.sh", script)
	s.write(t, "stop.sh", "#!/bin/sh\n[ -s "+pidFile+" ] || exit 0\n"+stop)
	// What the command started is no child of the test.
	t.Cleanup(func() {
		if out, err := exec.Command("sh", filepath.Join(s.Dir, "stop.sh")).CombinedOutput(); err != nil && len(out) > 0 {
			t.Logf("stopping the server that was restarted: %v\n%s", err, out)
		}
	})
	b, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), fmt.Sprintf("observe: {pid: %d}", s.PID()), "observe: {pid-file: "+pidFile+"}", 1)
	text += fmt.Sprintf("control: {restart: \"sh %s/restart.sh\"}\n", s.Dir)
	if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReconnectHerd lets everybody lose the connection to real servers, and restarts
// these: all are back, sessions are resumed after a drop and cannot be after a restart,
// and rosters keep their versions through it.
func TestReconnectHerd(t *testing.T) {
	t.Parallel()
	const n = 100
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true, Versioning: true})
			sizes := []string{"--set", "roster.items=20", "--set", fmt.Sprintf("accounts=%d", n)}
			mustXmppbench(t, append([]string{"provision", "reconnect-herd", "--target", s.targetFile(t)}, sizes...)...)
			s.Start(t)
			target := s.targetFile(t)
			s.restartable(t, target)
			for _, event := range []string{scenarios.EventDrop, scenarios.EventRestart} {
				for _, variant := range []string{scenarios.ReturnCold, scenarios.ReturnVersioned, scenarios.ReturnResume} {
					dir := filepath.Join(t.TempDir(), event+"-"+variant)
					args := append([]string{"run", "reconnect-herd", "--target", target, "--out", dir, "--variants", variant, "--blocks", "1",
						"--set", "herd.event=" + event, "--set", fmt.Sprintf("herd.sessions=%d", n), "--set", "logins.rate=50/s", "--set", "herd.limit=2m"}, sizes...)
					mustXmppbench(t, append(args, "--progress", "none", "--set", "limits.lateness-floor=1m")...)
					run, err := results.Open(dir)
					if err != nil {
						t.Fatal(err)
					}
					if len(run.Blocks) != 1 || !run.Blocks[0].Valid {
						t.Fatalf("%s, %s: blocks %+v", event, variant, run.Blocks)
					}
					got := run.Blocks[0].Scalars
					t.Logf("%s, %s: 50 %% back after %.2f s, 95 %% after %.2f s, all after %.2f s, at most %v within one second; %v attempts, errors %v; server CPU %.2f s, login %.4f s; resumed %v, lost %v",
						event, variant, got["back.50"], got["back.95"], got["back.all"], got["back.rate"], got["attempts"], run.Blocks[0].Errors,
						got["cpu.server"], got["cpu.login"], got["resumed"], got["stanzas.lost"])
					if got["talk.n"] != n || got["absent"] != 0 {
						t.Errorf("%s, %s: %v talk, %v are absent, want %d and 0", event, variant, got["talk.n"], got["absent"], n)
					}
					if got["roster.whole"] != 0 {
						t.Errorf("%s, %s: %v whole rosters came to clients that had them", event, variant, got["roster.whole"])
					}
					if got["cpu.server"] <= 0 {
						t.Errorf("%s, %s: the server used %v s of CPU time", event, variant, got["cpu.server"])
					}
					if variant != scenarios.ReturnResume {
						continue
					}
					want := 0.0
					if event == scenarios.EventDrop {
						want = n
					}
					if got["resumed"] != want || got["resumed.refused"] != n-want {
						t.Errorf("%s: %v resumed, %v refused, want %v resumed", event, got["resumed"], got["resumed.refused"], want)
					}
					if event == scenarios.EventDrop && got["stanzas.lost"] != 0 {
						t.Errorf("%v stanzas were lost although all sessions were resumed", got["stanzas.lost"])
					}
				}
			}
		})
	}
}
