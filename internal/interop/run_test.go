//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// program builds xmppbench once and returns its path.
var program = sync.OnceValues(func() (string, error) { return build("xmppbench") })

// build builds a command of the project with the flags of the Makefile, which has what it
// takes ready where it has built it already.
func build(name string) (path string, err error) {
	path = filepath.Join(programDir, name)
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/"+name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// xmppbench runs the program as a user would and returns its exit code and what
// it printed.
func xmppbench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, path, args...)
	c.Dir, c.Stdout, c.Stderr = t.TempDir(), &out, &errs
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// mustXmppbench fails the test unless the program ends with exit code 0.
func mustXmppbench(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := xmppbench(t, args...)
	if code != 0 {
		t.Fatalf("xmppbench %s: exit %d\n%s\n%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// targetFile writes a target file for the server.
func (s *Server) targetFile(t *testing.T) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA.CertificatePEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "server: %s\ndomains: [%s]\n", s.Kind, strings.Join(s.Domains, ", "))
	fmt.Fprintf(&b, "connect: {host: %s, port: %d, ca: %s}\n", s.Host, s.C2S, ca)
	if pid := s.PID(); pid != 0 {
		fmt.Fprintf(&b, "observe: {pid: %d}\n", pid)
	}
	fmt.Fprintf(&b, "provision:\n  ledger: %s\n  owner: %s\n", s.Spec.Ledger, s.Spec.Owner)
	for key, value := range map[string]string{"data": s.Spec.Data, "database": s.Spec.Database, "schema": s.Spec.Schema, "api": s.Spec.API} {
		if value != "" {
			fmt.Fprintf(&b, "  %s: %q\n", key, value)
		}
	}
	file := filepath.Join(t.TempDir(), s.Kind+".yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// patient keeps the noise of a shared machine from making a run invalid: these
// tests are about what is right, not about how fast.
var patient = []string{"--progress", "none", "--set", "limits.lateness-floor=1m", "--set", "link.rtt=0s", "--set", "link.rate=unlimited"}

// TestRosterLogin runs the main job against real servers: every variant with
// 1 000 items, the deployed one with 10 000 and 100 000, every roster verified by
// count and digest.
func TestRosterLogin(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true, Versioning: true})
			sizes := "roster.items=[1k,10k,100k]"
			mustXmppbench(t, "provision", "roster-login", "--target", s.targetFile(t), "--set", sizes)
			s.Start(t)
			target := s.targetFile(t)

			dir := filepath.Join(t.TempDir(), "all")
			mustXmppbench(t, append([]string{"run", "roster-login", "--target", target, "--out", dir, "--variants", "all", "--blocks", "8",
				"--set", "roster.items=1k", "--set", "roster.state=unchanged"}, patient...)...)
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			skipped := make(map[string]string)
			valid := make(map[string]int)
			for _, b := range run.Blocks {
				if b.Skipped != "" {
					skipped[b.Variant] = b.Skipped
				} else if b.Valid {
					valid[b.Variant]++
				}
			}
			for _, v := range []string{"monolithic", "versioned"} {
				if valid[v] != 8 {
					t.Errorf("%s: %d valid blocks of 8", v, valid[v])
				}
			}
			for v, want := range map[string]string{"rsm": "ignored", "rsm-index": "ignored", "chunked-push": "refused", "chunked-pull": "refused"} {
				if !strings.HasPrefix(skipped[v], want) {
					t.Errorf("%s: skipped %q, want %s with the reason", v, skipped[v], want)
				}
			}

			dir = filepath.Join(t.TempDir(), "massive")
			report := mustXmppbench(t, append([]string{"run", "roster-login", "--target", target, "--out", dir, "--variants", "monolithic", "--blocks", "2",
				"--set", sizes}, patient...)...)
			t.Logf("massive rosters:\n%s", report)
			if run, err = results.Open(dir); err != nil {
				t.Fatal(err)
			}
			verified := 0
			for _, c := range run.Counts {
				if c.Name == "roster.items" && c.Equal {
					verified++
				}
			}
			if verified != 2*3 {
				t.Errorf("%d rosters had the expected count, want 6", verified)
			}

			s.Stop(t)
			mustXmppbench(t, "provision", "roster-login", "--target", target, "--teardown")
			s.Start(t)
			if code, _, stderr := xmppbench(t, append([]string{"run", "roster-login", "--target", s.targetFile(t), "--variants", "monolithic",
				"--set", "roster.items=1k"}, patient...)...); code != 3 || !strings.Contains(stderr, "not-authorized") {
				t.Errorf("after teardown: exit %d, %s; want 3 and not-authorized", code, stderr)
			}
		})
	}
}
