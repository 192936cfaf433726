//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// foreignLimit bounds what a foreign client takes to be prepared, and to do its work.
const foreignLimit = 3 * time.Minute

// TestForeignClients lets clients of other code bases log in, edit a roster,
// subscribe to each other, talk, lose a connection and resume it against
// "xmppbench serve". Each does the same steps with two users and says so.
func TestForeignClients(t *testing.T) {
	steps := []string{"ok login", "ok ping", "ok roster", "ok subscription", "ok chat", "ok resume", "ok remove"}
	clients := []struct {
		name string
		// prepare makes what is needed in dir and returns the command line.
		prepare func(t *testing.T, dir string) []string
	}{
		{"slixmpp", func(*testing.T, string) []string {
			// The system's own Python: Debian's package is for that one.
			return []string{"/usr/bin/python3", "slixmpp_client.py"}
		}},
		{"xmpp.js", func(t *testing.T, dir string) []string {
			run(t, dir, "npm", "ci", "--no-audit", "--no-fund")
			return []string{"node", "xmppjs_client.mjs"}
		}},
		{"libstrophe", func(t *testing.T, dir string) []string {
			flags := strings.Fields(run(t, dir, "pkg-config", "--cflags", "--libs", "libstrophe"))
			run(t, dir, "cc", slices.Concat([]string{"-o", "strophe_client", "strophe_client.c"}, flags)...)
			return []string{"./strophe_client"}
		}},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("testdata/clients")); err != nil {
				t.Fatal(err)
			}
			line := c.prepare(t, dir)
			for _, key := range []string{"p256", "rsa-2048"} {
				t.Run(key, func(t *testing.T) {
					host, port, ca := serve(t, "--key", key)
					ctx, cancel := context.WithTimeout(t.Context(), foreignLimit)
					defer cancel()
					cmd := exec.CommandContext(ctx, line[0], slices.Concat(line[1:], []string{host, port, ca, "sim.test", "u0000001", "u0000002"})...)
					cmd.Dir = dir
					cmd.Env = append(os.Environ(), "PASSWORD="+servePassword, "NODE_EXTRA_CA_CERTS="+ca)
					var out, errs bytes.Buffer
					cmd.Stdout, cmd.Stderr = &out, &errs
					err := cmd.Run()
					if got := strings.Split(strings.TrimSpace(out.String()), "\n"); err != nil || !slices.Equal(got, steps) {
						t.Errorf("%v\n%s\nsteps (-want +got):\n%s", err, errs.String(), cmp.Diff(steps, got))
					}
				})
			}
		})
	}
}

// servePassword is the password of every account of serve.
const servePassword = "correct horse"

// serve starts "xmppbench serve" for the duration of a test and returns where to
// connect with STARTTLS, and the file of the authority to trust.
func serve(t *testing.T, args ...string) (host, port, ca string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	cmd := exec.Command(path, slices.Concat([]string{"serve", "--json", "--listen", "127.0.0.1:0", "--items", "0", "--ca-out", ca}, args)...)
	cmd.Env = append(os.Environ(), "XMPPBENCH_PASSWORD="+servePassword)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("serve: %v\n%s", err, errs.String())
		}
	})
	var info struct {
		Listeners []struct {
			Address string `json:"address"`
		} `json:"listeners"`
	}
	if err := json.NewDecoder(out).Decode(&info); err != nil || len(info.Listeners) == 0 {
		t.Fatalf("serve did not say where it listens: %v\n%s", err, errs.String())
	}
	if host, port, err = net.SplitHostPort(info.Listeners[0].Address); err != nil {
		t.Fatal(err)
	}
	return host, port, ca
}

// run runs a command that has to succeed and returns what it printed.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), foreignLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s%s", cmd, err, out.String(), errs.String()))
	}
	return out.String()
}
