//go:build interop

package interop

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/results"
)

// TestLoginModel calibrates a model of logins at real servers, holds it against four times
// as many sessions, contacts and messages, and asks it what no server here can carry.
// Bytes are told apart by what they are for; CPU time and memory of so few sessions, on a
// machine with other work, are figures that say nothing.
func TestLoginModel(t *testing.T) {
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true})
			few := []string{"--set", "accounts=48", "--set", "online.sessions=[4,12]", "--set", "roster.items=[5,50]", "--set", "messages.each=[2,10]"}
			mustXmppbench(t, append([]string{"provision", "session-cost", "--target", s.targetFile(t)}, few...)...)
			s.Start(t)
			target := s.targetFile(t)
			dir := t.TempDir()
			run := func(name string, set ...string) string {
				out := filepath.Join(dir, name)
				mustXmppbench(t, append(append([]string{
					"run", "session-cost", "--target", target, "--out", out, "--progress", "none", "--set", "logins.rate=closed 4", "--set", "login.sasl=auto", "--set", "hold.settle=100ms", "--variants", "monolithic", "--blocks", "3",
				}, few...), set...)...)
				return out
			}
			small := run("few")
			large := run("many", "--set", "online.sessions=48", "--set", "roster.items=50", "--set", "messages.each=10")
			model := filepath.Join(dir, "logins.json")
			t.Log(mustXmppbench(t, "model", "fit", small, "-o", model))
			predicted := mustXmppbench(t, "model", "predict", "--model", model, "--sessions", "100k", "--items", "200", "--messages", "1M", "--login-rate", "20/s", "--max-extrapolation", "1e6")
			t.Log(predicted)
			for _, want := range []string{"cpu.server", "rss.server", "fds.server", "descriptors: ends of connections at the server: 100 000", "ports: ", "memory: ", "upkeep: 20 logins", "never checked"} {
				if !strings.Contains(predicted, want) {
					t.Errorf("the prediction lacks %q", want)
				}
			}
			code, stdout, stderr := xmppbench(t, "model", "check", "--model", model, large, "--json")
			var check results.ModelCheck
			if err := json.Unmarshal([]byte(stdout), &check); err != nil || code != 0 && code != 99 {
				t.Fatalf("exit %d, %v\n%s\n%s", code, err, stdout, stderr)
			}
			judged := make(map[string]results.ModelVerdict)
			for _, v := range check.Verdicts {
				t.Log(v)
				judged[v.Name] = v
			}
			for _, name := range []string{"bytes", "bytes.tls"} {
				if v := judged[name]; !v.Within || v.Factor < 4 {
					t.Errorf("%s: %v", name, v)
				}
			}
			// A server may open a file or close one meanwhile.
			if v := judged["fds.server"]; v.Measured < 48 || v.Error < -5 || v.Error > 5 {
				t.Errorf("%v", v)
			}
			for _, name := range []string{"cpu.server", "cpu.client", "rss.server"} {
				if judged[name].Measured <= 0 {
					t.Errorf("%s was not measured", name)
				}
			}
		})
	}
}
