package observe_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef"

func open(t *testing.T, c observe.Config) *observe.Observer {
	t.Helper()
	o, err := observe.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func TestOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		c    observe.Config
		want string
	}{
		"nothing":           {observe.Config{}, "nothing to observe"},
		"two ways":          {observe.Config{PID: 1, Listen: ":5222"}, "four ways"},
		"no port":           {observe.Config{Listen: "localhost"}, `"localhost" is not a port`},
		"name for address":  {observe.Config{Listen: "localhost:5222"}, `is not a port, nor address:port`},
		"port out of range": {observe.Config{Listen: ":65536"}, "is not a port"},
		"no token":          {observe.Config{Agent: "127.0.0.1:9"}, "wants a token"},
		"agent's port":      {observe.Config{Agent: "127.0.0.1", Token: token}, "is not host:port"},
		"agent's scheme":    {observe.Config{Agent: "ftp://a:1", Token: token}, "http:// or https://"},
		"metrics":           {observe.Config{Metrics: "127.0.0.1:5280/metrics"}, "is not a URL"},
		"api":               {observe.Config{API: "localhost"}, "is not a URL"},
	} {
		if _, err := observe.Open(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func TestRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]observe.Config{
		"pid":      {PID: os.Getpid()},
		"pid file": {PIDFile: file},
		"port":     {Listen: l.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, c)
			r, err := o.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.PIDs) != 1 || r.PIDs[0] != os.Getpid() || r.CPU <= 0 || r.RSS <= 0 || r.PeakRSS < r.RSS || r.Sockets < 1 ||
				r.Descriptors <= r.Sockets || r.DescriptorLimit < r.Descriptors || len(r.Threads) == 0 || r.CPUs < 1 || r.Network == nil ||
				r.Memory <= r.Available || r.Voluntary == 0 || r.StorageRead < 0 || r.Missing != nil {
				t.Errorf("%+v", r)
			}
			again, err := o.CPU(t.Context())
			if own, _ := proc.CPU(os.Getpid()); err != nil || again < r.CPU || again > own {
				t.Errorf("CPU went from %v to %v (%v), the process has used %v", r.CPU, again, err, own)
			}
		})
	}
}

// TestRestart replaces the process behind a pid file: counters go on.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	run := func() (pid int, stop func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
			t.Fatal(err)
		}
		return cmd.Process.Pid, func() { cancel(); _ = cmd.Wait() }
	}
	first, stop := run()
	o := open(t, observe.Config{PIDFile: file})
	before, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := o.Read(t.Context()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("while it is down: %v, want os.ErrProcessDone", err)
	}
	second, stop := run()
	defer stop()
	own, err := proc.CPU(second)
	if err != nil {
		t.Fatal(err)
	}
	after, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first == second || len(after.PIDs) != 1 || after.PIDs[0] != second {
		t.Fatalf("processes %d and %d: %+v", first, second, after)
	}
	if after.CPU < before.CPU+own {
		t.Errorf("%v before the restart and %v after it are %v", before.CPU, own, after.CPU)
	}
	cpu, err := o.CPU(t.Context())
	if err != nil || cpu < after.CPU {
		t.Errorf("CPU alone: %v, %v; want %v at least", cpu, err, after.CPU)
	}
}

func TestReadFailures(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	for name, tt := range map[string]struct {
		c    observe.Config
		want string
	}{
		"no process":      {observe.Config{PID: 1 << 30}, "process already finished"},
		"no file":         {observe.Config{PIDFile: filepath.Join(dir, "none")}, "no such file or directory: is the server running"},
		"a directory":     {observe.Config{PIDFile: dir}, "cannot be read"},
		"empty":           {observe.Config{PIDFile: write("empty", "")}, "is empty"},
		"no number":       {observe.Config{PIDFile: write("text", "prosody\n")}, `holds "prosody" in place of the number of a process`},
		"negative":        {observe.Config{PIDFile: write("negative", "-5")}, `holds "-5"`},
		"nothing listens": {observe.Config{Listen: free}, "nothing listens at " + free},
		"no agent":        {observe.Config{Agent: free, Token: token}, "connection refused"},
	} {
		o := open(t, tt.c)
		if _, err := o.Read(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if _, err := o.CPU(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, CPU alone: %v, want %s", name, err, tt.want)
		}
	}
}

func TestAgent(t *testing.T) {
	local := open(t, observe.Config{PID: os.Getpid()})
	s := httptest.NewServer(observe.Handler(local, token))
	defer s.Close()
	o := open(t, observe.Config{Agent: strings.TrimPrefix(s.URL, "http://"), Token: token})
	r, err := o.Read(t.Context())
	if err != nil || len(r.PIDs) != 1 || r.PIDs[0] != os.Getpid() || r.CPU <= 0 || len(r.Threads) == 0 || r.Network == nil {
		t.Errorf("%+v, %v", r, err)
	}
	if cpu, err := o.CPU(t.Context()); err != nil || cpu < r.CPU {
		t.Errorf("CPU alone: %v, %v; want %v at least", cpu, err, r.CPU)
	}

	wrong := open(t, observe.Config{Agent: s.URL, Token: "fedcba9876543210"})
	if _, err := wrong.Read(t.Context()); !errors.Is(err, observe.ErrToken) {
		t.Errorf("wrong token: %v", err)
	}
	for name, header := range map[string]string{"none": "", "other scheme": "Basic " + token, "no scheme": token, "longer": "Bearer " + token + "x", "shorter": "Bearer " + token[1:]} {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/reading", nil)
		if header != "" {
			q.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		observe.Handler(local, token).ServeHTTP(w, q)
		if w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "cpu_ns") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}

	gone := open(t, observe.Config{PID: 1 << 30})
	down := httptest.NewServer(observe.Handler(gone, token))
	defer down.Close()
	if _, err := open(t, observe.Config{Agent: down.URL, Token: token}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "503: proc: inspect process") {
		t.Errorf("the agent's server is down: %v", err)
	}
}

// TestNotAnAgent asks what is no agent.
func TestNotAnAgent(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"another page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "did not answer as an agent does"},
		"not found":    {http.NotFound, "answered 404"},
		"elsewhere": {func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://127.0.0.1:9/", http.StatusFound)
		}, "answered 302"},
		"without end":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 9<<20)) }, "answered more than"},
		"control codes": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "a\x1b[2Jb", http.StatusTeapot) }, "418: a [2Jb"},
	} {
		s := httptest.NewServer(tt.answer)
		if _, err := open(t, observe.Config{Agent: s.URL, Token: token}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		s.Close()
	}
}

func TestParseToken(t *testing.T) {
	if got, err := observe.ParseToken([]byte(" 0123456789abcdef\n")); err != nil || got != token {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{"": "too short", "short": "too short", "0123456789 abcdef": "one line", "0123456789\x00abcdef": "one line", `0123456789;abcdef`: "semicolons"} {
		if _, err := observe.ParseToken([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
