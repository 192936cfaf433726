package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/xmppbench/xmppbench/internal/golden"
)

// patience bounds the wait for a program that a script started. It is far above
// what any script needs.
const patience = time.Minute

func TestScripts(t *testing.T) {
	runs, err := filepath.Abs(filepath.Join("testdata", "runs"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: golden.Update(),
		Setup: func(e *testscript.Env) error {
			e.Setenv("RUNS", runs)
			return os.WriteFile(filepath.Join(e.WorkDir, "tiny.yaml"), []byte(tiny), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"priced": priced, "valid": valid,
			"interrupt": interrupt, "visit": visit,
		},
	})
}

// tiny is a scenario file that ends within a fraction of a second and that no
// noise of the machine makes invalid. Every script finds it as tiny.yaml.
const tiny = `scenario: roster-login
variants: [monolithic]
roster: {items: 50}
login:  {tls: none}
probe:  {every: 5ms, before: 10ms, after: 10ms}
simulator: {iterations: 1}
limits: {lateness-floor: 1m}
blocks: 1
`

// exits CODE COMMAND... runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// exitCode is that of a program that has ended, -1 if it never ran.
func exitCode(err error) int {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return ended.ExitCode()
	}
	return -1
}

// interrupt CODE FILE PATTERN COMMAND... runs a command, sends it SIGINT as soon
// as a line of FILE matches PATTERN, and wants the exit code. Its output goes to
// the files out and err.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: interrupt CODE FILE PATTERN COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	interrupted(ts, want, args[1], args[2], args[3:], func([]byte) {})
}

// visit STATUS COMMAND... runs a server, opens the address that it prints first as a
// browser would, wants the status, writes what came to the file page, and interrupts the
// server, which must end in order. Its output goes to the files out and err.
func visit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: visit STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	const address = `https?://\S+`
	interrupted(ts, 0, "out", address+`.*\n`, args[1:], func(out []byte) {
		jar, err := cookiejar.New(nil)
		ts.Check(err)
		client := http.Client{Jar: jar, Timeout: patience}
		defer client.CloseIdleConnections()
		resp, err := client.Get(string(regexp.MustCompile(address).Find(out)))
		ts.Check(err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("page"), body, 0o600))
		if resp.StatusCode != want {
			ts.Fatalf("status %d, not %d: %s", resp.StatusCode, want, body)
		}
	})
}

// interrupted runs a command; as soon as the file called name matches the pattern it
// calls then with its content, and interrupts the command.
func interrupted(ts *testscript.TestScript, want int, name, pattern string, command []string, then func(content []byte)) {
	expected, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	path, err := exec.LookPath(command[0])
	ts.Check(err)
	out, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer out.Close()
	messages, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer messages.Close()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, messages
	cmd.Env = append(os.Environ(), "XMPPBENCH_PASSWORD="+ts.Getenv("XMPPBENCH_PASSWORD"))
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			said, _ := os.ReadFile(messages.Name())
			ts.Fatalf("ended before it could be interrupted: %v\n%s", err, said)
		case <-time.After(5 * time.Millisecond):
		}
		if b, err := os.ReadFile(ts.MkAbs(name)); err == nil && expected.Match(b) {
			then(b)
			break
		}
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if got := exitCode(<-ended); got != want {
		said, _ := os.ReadFile(messages.Name())
		ts.Fatalf("exit code %d, not %d\n%s", got, want, bytes.TrimSpace(said))
	}
}
