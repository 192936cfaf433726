package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocs runs the scripts of docs/k6.md, each for a moment, against the simulator.
func TestDocs(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "docs", "k6.md"))
	if err != nil {
		t.Fatal(err)
	}
	scripts := regexp.MustCompile("(?ms)^```js (\\S+)( inspect)?\n(.*?)^```$").FindAllStringSubmatch(string(source), -1)
	if len(scripts) < 4 || strings.Count(string(source), "```js") != len(scripts) {
		t.Fatalf("%d scripts with a name", len(scripts))
	}
	environment := append(os.Environ(), "XMPPBENCH_PASSWORD=secret", "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true",
		"HOME="+t.TempDir(), "RATE=5", "DURATION=1s", "ITERATIONS=1", "SLOT=1")
	environment = slices.Clip(environment) // scripts that run at a time each add to it
	program, err := exec.LookPath("k6")
	if err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(context.WithoutCancel(t.Context()), program, "x", "xmppbench", "serve", "--listen", "127.0.0.1:0", "--optional-tls", "--domain", "bench.test", "--accounts", "1000")
	server.Env = environment
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		if err := server.Wait(); err != nil {
			t.Errorf("serve, when interrupted: %v", err)
		}
	})
	port, err := portOf(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		t.Run(script[1], func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, script[1]), []byte(script[3]), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"run", "--quiet", "--no-color"}
			switch {
			case script[2] != "": // wants what the simulator has not
				args = []string{"inspect"}
			case script[1] == "first.js":
				args = append(args, "--duration", "1s")
			}
			cmd := exec.CommandContext(t.Context(), program, append(args, script[1])...)
			cmd.Dir, cmd.Env = dir, append(environment, "XMPP_PORT="+port)
			// A threshold on a time may fail on a busy machine; a script may not.
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 99 && (err != nil || strings.Contains(string(out), "level=error")) {
				t.Errorf("%v\n%s", err, out)
			}
			if strings.Contains(string(out), "Uncaught") || strings.Contains(string(out), "xmpp_errors") && !regexp.MustCompile(`xmpp_errors\.*: 0 `).Match(out) {
				t.Errorf("there were errors:\n%s", out)
			}
		})
	}
}
