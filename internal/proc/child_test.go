package proc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/xmppbench/xmppbench/internal/proc"
)

// limit is long enough for any child on a busy machine; nothing waits for it to pass.
const limit = 60 * time.Second

func start(t *testing.T, role string, config any, opts proc.Options) *proc.Child {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	child, err := proc.Start(ctx, role, config, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Close() })
	return child
}

func TestCall(t *testing.T) {
	child := start(t, "worker", workerConfig{Greeting: "Good morning"}, proc.Options{})
	if child.PID() == os.Getpid() {
		t.Error("the child is this process")
	}

	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			name := strconv.Itoa(i)
			var got string
			if err := child.Call(t.Context(), "greet", name, &got); err != nil {
				t.Error(err)
			}
			if want := "Good morning, " + name; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	calls.Wait()

	var remote *proc.RemoteError
	err := child.Call(t.Context(), "dance", nil, nil)
	if !errors.As(err, &remote) || remote.Message != `no method "dance"` {
		t.Errorf("an unknown method: got %v, want the child's error", err)
	}
	if err := child.Call(t.Context(), "unencodable", nil, nil); !errors.As(err, &remote) {
		t.Errorf("an answer that JSON does not know: got %v, want the child's error", err)
	}
	var number int
	if err := child.Call(t.Context(), "greet", "you", &number); err == nil {
		t.Error("a text was decoded into a number")
	}
	if err := child.Call(t.Context(), "greet", func() {}, nil); err == nil {
		t.Error("a function was encoded")
	}
	if err := child.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := child.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if err := child.Call(t.Context(), "greet", "you", nil); !errors.Is(err, proc.ErrClosed) {
		t.Errorf("call after close: got %v, want ErrClosed", err)
	}
}

func TestCallIsAbandoned(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- child.Call(ctx, "wait", nil, nil) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	// The child goes on, and the forgotten call does not hold up its end.
	if err := child.Call(t.Context(), "greet", "you", nil); err != nil {
		t.Error(err)
	}
	if err := child.Close(); err != nil {
		t.Error(err)
	}
}

func TestCrash(t *testing.T) {
	var stderr strings.Builder
	child := start(t, "worker", workerConfig{}, proc.Options{Stderr: &stderr})
	waiting := make(chan error, 1)
	go func() { waiting <- child.Call(t.Context(), "wait", nil, nil) }()
	var exit *proc.ExitError
	err := child.Call(t.Context(), "crash", nil, nil)
	if !errors.As(err, &exit) {
		t.Fatalf("got %v, want an ExitError", err)
	}
	if exit.PID != child.PID() || exit.Role != "worker" || exit.State.ExitCode() != 3 {
		t.Errorf("got %+v", exit)
	}
	if !strings.HasSuffix(exit.Stderr, "complaint 999\n") || strings.Contains(exit.Stderr, "complaint 1\n") {
		t.Errorf("the error has not the end of what the child said: %q", exit.Stderr)
	}
	if !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("the message does not say how the child ended: %v", err)
	}
	if err := <-waiting; !errors.As(err, &exit) {
		t.Errorf("the other call: got %v, want an ExitError", err)
	}
	<-child.Done()
	if !strings.Contains(stderr.String(), "complaint 1\n") {
		t.Error("standard error was not passed on whole")
	}
	if err := child.Close(); !errors.As(err, &exit) {
		t.Errorf("close: got %v, want an ExitError", err)
	}
}

func TestStartFails(t *testing.T) {
	var exit *proc.ExitError
	var remote *proc.RemoteError
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	_, err := proc.Start(ctx, "worker", workerConfig{Refuse: "port taken"}, proc.Options{Stderr: io.Discard})
	if !errors.As(err, &remote) || remote.Message != "port taken" {
		t.Errorf("a refused configuration: got %v, want the child's reason", err)
	}
	_, err = proc.Start(ctx, "worker", workerConfig{Crash: true}, proc.Options{Stderr: io.Discard})
	if !errors.As(err, &exit) || exit.State.ExitCode() != 7 || !strings.Contains(err.Error(), "cannot bear it") {
		t.Errorf("a crash at the start: got %v, want an ExitError with the last words", err)
	}
	_, err = proc.Start(ctx, "nobody", nil, proc.Options{Stderr: io.Discard})
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), `unknown role "nobody"`) {
		t.Errorf("an unknown role: got %v", err)
	}
	if _, err = proc.Start(ctx, "babbler", nil, proc.Options{Stderr: io.Discard}); !errors.As(err, &remote) {
		t.Errorf("a child that breaks the control pipe: got %v", err)
	}
	if _, err = proc.Start(ctx, "", nil, proc.Options{Args: []string{proc.ChildArgument, "deserter"}}); err == nil ||
		!strings.Contains(err.Error(), "before it was ready") {
		t.Errorf("a program that does not know the role: got %v", err)
	}
	if _, err = proc.Start(ctx, "worker", func() {}, proc.Options{}); err == nil {
		t.Error("a configuration that JSON does not know was accepted")
	}
	if _, err = proc.Start(ctx, "worker", nil, proc.Options{Path: t.TempDir() + "/none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such program: got %v, want os.ErrNotExist", err)
	}

	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err = proc.Start(short, "mute", nil, proc.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that is given up: got %v, want context.Canceled", err)
	}
}

func TestCloseKills(t *testing.T) {
	child := start(t, "worker", workerConfig{Stubborn: true}, proc.Options{Grace: 10 * time.Millisecond})
	if err := child.Close(); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v, want to hear that the child was killed", err)
	}
	if alive(child.PID()) {
		t.Error("the child lives")
	}
}

// A parent killed without a chance to tidy up takes its child with it.
func TestNoOrphan(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.CommandContext(t.Context(), executable, proc.ChildArgument, "parent")
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("there is no grandchild")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	eventually(t, "the grandchild ends", func() bool { return !alive(pid) })
}

// Where the kernel has no death signal, the end of the control pipe alone ends the child.
func TestEndOfControlPipe(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), executable, proc.ChildArgument, "worker")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(stdin, `{"config":{}}`)
	fmt.Fprintln(stdin, `{"id":1,"method":"wait"}`)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != `{"id":0,"out":{}}`+"\n" {
		t.Errorf("got %q, %v, want the ready message", line, err)
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := child.Wait(); err != nil {
		t.Errorf("the child did not end in order: %v", err)
	}
}

// alive tells whether a process runs; one that has ended and waits to be collected does not.
func alive(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State != "Z" && stat.State != "X"
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
