package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program too: scripts find it as k6.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"k6": main})
}

// TestScripts runs k6 as its users do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			examples, err := filepath.Abs(filepath.Join("..", "..", "examples"))
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("K6_AUTO_EXTENSION_RESOLUTION", "false") // what is missing is not downloaded
			e.Setenv("K6_NO_USAGE_REPORT", "true")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "killed": killed, "serve": serve},
	})
}

// exits CODE COMMAND... runs a command that must end with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var ended *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &ended) {
		got = ended.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// killed FILE COMMAND... runs a command and kills it as soon as FILE is there and
// holds something.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: killed FILE COMMAND...")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true", "HOME="+ts.MkAbs("."))
	out, err := os.Create(ts.MkAbs("killed.log"))
	ts.Check(err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if info, err := os.Stat(ts.MkAbs(args[0])); err == nil && info.Size() > 0 {
			break
		}
		select {
		case <-ended:
			said, _ := os.ReadFile(out.Name())
			ts.Fatalf("ended before it could be killed:\n%s", said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	ts.Check(cmd.Process.Kill())
	<-ended
}

// serve ARGUMENT... starts the simulator with a port of its own, which the variable
// XMPP_PORT then holds, until the script ends.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve ARGUMENT...")
	}
	path, err := exec.LookPath("k6")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"x", "xmppbench", "serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "XMPPBENCH_PASSWORD="+ts.Getenv("XMPPBENCH_PASSWORD"))
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	port, err := portOf(out)
	ts.Check(err)
	ts.Setenv("XMPP_PORT", port)
}

// portOf reads the port of a simulator from what it says first.
func portOf(out io.Reader) (string, error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(strings.Fields(strings.TrimPrefix(line, "listening on "))[0])
	return port, err
}
