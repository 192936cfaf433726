package proc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == proc.ChildArgument {
		if err := childMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Under the race detector a process waits a second at its end for late reports; the many children here have none.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// childMain is what this test binary does when it is started again.
func childMain(role string) error {
	ctx := context.Background()
	switch role {
	case "worker":
		return proc.Serve(ctx, os.Stdin, os.Stdout, openWorker)
	case "deserter": // leaves without a word
		return nil
	case "mute": // starts, and never says anything
		<-ctx.Done()
		return nil
	case "babbler": // writes something else than messages to the control pipe
		fmt.Println("hello, world")
		<-ctx.Done()
		return nil
	case "parent": // starts a child of its own and tells its number
		child, err := proc.Start(ctx, "worker", workerConfig{}, proc.Options{})
		if err != nil {
			return err
		}
		fmt.Println(child.PID())
		<-child.Done()
		return child.Close()
	}
	return fmt.Errorf("unknown role %q", role)
}

type workerConfig struct {
	Greeting string
	Refuse   string
	Crash    bool
	Stubborn bool
}

// worker is the handler of the tests.
type worker struct {
	config workerConfig
	closed chan struct{}
}

func openWorker(_ context.Context, raw json.RawMessage) (proc.Handler, error) {
	w := &worker{closed: make(chan struct{})}
	if err := json.Unmarshal(raw, &w.config); err != nil {
		return nil, err
	}
	if w.config.Crash {
		fmt.Fprintln(os.Stderr, "cannot bear it")
		os.Exit(7)
	}
	if w.config.Refuse != "" {
		return nil, errors.New(w.config.Refuse)
	}
	return w, nil
}

func (w *worker) Handle(ctx context.Context, method string, in json.RawMessage) (any, error) {
	switch method {
	case "greet":
		var name string
		if err := json.Unmarshal(in, &name); err != nil {
			return nil, err
		}
		return w.config.Greeting + ", " + name, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "crash":
		for i := range 1000 {
			fmt.Fprintf(os.Stderr, "complaint %d\n", i)
		}
		os.Exit(3)
	case "unencodable":
		return func() {}, nil
	case "burn":
		sum := 0
		for i := range 200_000_000 {
			sum += i
		}
		return sum, nil
	case "grow":
		block := make([]byte, 64<<20)
		for i := range block {
			block[i] = 1
		}
		return strings.Count(string(block[:10]), "\x01"), nil
	}
	return nil, fmt.Errorf("no method %q", method)
}

func (w *worker) Close() error {
	if w.config.Stubborn {
		select {}
	}
	close(w.closed)
	return nil
}
