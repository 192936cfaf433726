//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
)

// metricsOf is where the server tells of itself.
func (s *Server) metricsOf() observe.Config {
	if s.Kind == "prosody" {
		return observe.Config{Metrics: "http://" + s.httpAddr() + "/metrics"}
	}
	return observe.Config{API: "http://" + s.httpAddr() + "/api"}
}

// observed opens an observer that the test closes.
func observed(t *testing.T, c observe.Config) *observe.Observer {
	t.Helper()
	o, err := observe.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// TestObserve takes no figure of a server on trust: each is held against what the test
// itself has counted.
func TestObserve(t *testing.T) {
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			const accounts = 7
			s := create(t, Options{Metrics: true})
			pop := s.startWith(t, population.Config{Seed: 1, Domains: s.Domains, Pattern: "u{i}", Accounts: accounts})
			o := observed(t, observe.Config{Listen: s.C2SAddr()})
			var before observe.Reading
			var held []*session.Session
			keys := new(session.KeyCache)
			for i := range accounts {
				a := pop.Account(i)
				got, err := session.Dial(t.Context(), session.Config{
					JID: a.JID(), Password: a.Password, TLS: session.StartTLS, Dialer: s.dialer(), Keys: keys,
					TLSConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12},
				})
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, got)
				if i > 0 {
					continue
				}
				// By now the server has opened all that it opens as it starts.
				if before, err = o.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				if len(before.PIDs) != 1 || before.PIDs[0] != s.PID() {
					t.Errorf("%v listens at %s, want %d", before.PIDs, s.C2SAddr(), s.PID())
				}
			}
			after, err := o.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := after.Sockets - before.Sockets; got != accounts-1 {
				t.Errorf("%d sockets more for %d sessions more", got, accounts-1)
			}
			if after.CPU <= before.CPU || after.RSS < 1<<20 || after.Voluntary <= before.Voluntary || after.Descriptors < after.Sockets {
				t.Errorf("before %+v\nafter %+v", before, after)
			}
			var sum time.Duration
			for _, thread := range after.Threads {
				sum += thread.CPU
			}
			// Threads that have ended are missing, and the process's clock is read before theirs.
			if sum > 2*after.CPU || sum < after.CPU/2 {
				t.Errorf("the threads have used %v, the process %v", sum, after.CPU)
			}
			told, err := observed(t, s.metricsOf()).Read(t.Context())
			if err != nil || told.Missing != nil {
				t.Fatalf("%q, %v", told.Missing, err)
			}
			if told.Sessions != accounts {
				t.Errorf("the server tells of %d sessions, there are %d: %v", told.Sessions, accounts, told.Metrics)
			}
			if kind == "prosody" {
				if got := told.Metrics[`prosody_mod_c2s__encrypted_total{cipher="TLS_AES_128_GCM_SHA256",protocol="TLSv1.3"}`]; got != accounts {
					t.Errorf("the server tells of %v TLS handshakes, there were %d: %v", got, accounts, told.Metrics)
				}
			} else if told.Metrics["ejabberd.users"] != accounts || told.Metrics["ejabberd.s2s.in"] != 0 {
				t.Errorf("the server tells of other accounts or streams: %v", told.Metrics)
			}

			// A server that is started again is found again, and its counters go on.
			for _, got := range held {
				closeSession(t.Context(), t, got)
			}
			s.Stop(t)
			if _, err := o.Read(t.Context()); err == nil {
				t.Error("a server that is down was read")
			}
			s.Start(t)
			again, err := o.Read(t.Context())
			if err != nil || again.CPU < after.CPU || again.PIDs[0] == after.PIDs[0] {
				t.Errorf("after a restart: %+v, %v", again, err)
			}
		})
	}
}

// TestObserveElsewhere runs the agent as on the server's machine, and a load that takes
// everything it knows of the server from there.
func TestObserveElsewhere(t *testing.T) {
	t.Parallel()
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{Metrics: true})
			size := []string{"--set", "accounts=20", "--set", "roster.items=20"}
			mustXmppbench(t, append([]string{"provision", "login-storm", "--target", s.targetFile(t)}, size...)...)
			s.Start(t)
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			agent := s.agent(t, token)
			file, err := os.ReadFile(s.targetFile(t))
			if err != nil {
				t.Fatal(err)
			}
			own := fmt.Sprintf("observe: {pid: %d}", s.PID())
			if !strings.Contains(string(file), own) {
				t.Fatalf("no %q in the target file:\n%s", own, file)
			}
			target := filepath.Join(t.TempDir(), kind+".yaml")
			elsewhere := fmt.Sprintf("observe: {agent: %q, token: {file: %s}}", agent, token)
			if err := os.WriteFile(target, []byte(strings.Replace(string(file), own, elsewhere, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "run")
			mustXmppbench(t, append(append([]string{"run", "login-storm", "--target", target, "--out", dir, "--variants", "monolithic", "--blocks", "1",
				"--set", "load.rate=5/s", "--set", "load.warmup=1s", "--set", "load.duration=10s", "--set", "load.cooldown=0s"}, size...), patient...)...)
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			var cpu []float64
			seen := make(map[string]bool)
			for _, second := range run.Series {
				for key, v := range second.Figures {
					f, role, part, ok := results.FindSeries(key)
					if !ok {
						t.Errorf("%s is in no table", key)
					}
					if role == "server" {
						seen[f.Name] = true
						if part != "" && v < 0 {
							t.Errorf("%s is %v", key, v)
						}
					}
					if key == "cpu.server" {
						cpu = append(cpu, v)
					}
				}
			}
			for _, name := range []string{"cpu", "wait", "thread.cpu", "thread.wait", "rss", "fds", "fds.limit", "sockets", "switches.voluntary", "net.loopback", "metric"} {
				if !seen[name] {
					t.Errorf("no %s.server in series.jsonl", name)
				}
			}
			if len(cpu) < 5 || !slices.IsSorted(cpu) || cpu[len(cpu)-1] <= cpu[0] {
				t.Errorf("CPU time of the server by second: %v", cpu)
			}
			b := run.Blocks[0]
			limits := results.FirstLimit(run.Series, b.Start, b.End, results.Ceilings{Shared: true, GeneratorCPUs: 2})
			if len(limits) < 4 {
				t.Errorf("evidence of limits: %+v", limits)
			}
			t.Log(results.LimitSentence(limits))
			if v := b.Scalars["cpu.server"]; v <= 0 || v > cpu[len(cpu)-1]-cpu[0]+1 {
				t.Errorf("the block has %v s of CPU time, the series went from %v to %v", v, cpu[0], cpu[len(cpu)-1])
			}

			bad := filepath.Join(t.TempDir(), "bad.yaml")
			if err := os.WriteFile(filepath.Join(filepath.Dir(bad), "other"), []byte("fedcba9876543210"), 0o600); err != nil {
				t.Fatal(err)
			}
			wrong := strings.Replace(elsewhere, token, filepath.Join(filepath.Dir(bad), "other"), 1)
			if err := os.WriteFile(bad, []byte(strings.Replace(string(file), own, wrong, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := xmppbench(t, append(append([]string{"run", "login-storm", "--target", bad}, size...), patient...)...)
			if code != 3 || !strings.Contains(stderr, "the agent does not accept the token") {
				t.Errorf("wrong token: exit %d, %s", code, stderr)
			}
		})
	}
}

// agent runs `xmppbench observe` beside the server until the test ends, and returns its
// address.
func (s *Server) agent(t *testing.T, token string) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(s.Host, "7380")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	args := []string{"observe", "--listen", address, "--token-file", token, "--pid-file", filepath.Join(s.Dir, s.Kind+".pid")}
	if c := s.metricsOf(); c.Metrics != "" {
		args = append(args, "--metrics", c.Metrics)
	} else {
		args = append(args, "--api", c.API)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopLimit
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the agent ended with exit code %d: %s", code, &errs)
		}
	})
	line := make([]byte, 200)
	n, err := out.Read(line) // it says one line when it is ready
	if err != nil || !strings.Contains(string(line[:n]), fmt.Sprintf("observing process %d, answering at %s", s.PID(), address)) {
		t.Fatalf("the agent says %q, %v; %s", line[:n], err, &errs)
	}
	return address
}
