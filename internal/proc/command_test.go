package proc_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	out, err := proc.Command(t.Context(), dir, "pwd; echo two >&2")
	if err != nil || out != dir+"\ntwo" {
		t.Errorf("%q, %v", out, err)
	}
	_, err = proc.Command(t.Context(), dir, "echo no such server >&2; exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.HasSuffix(err.Error(), "\nno such server") {
		t.Errorf("%v", err)
	}
	// Of much output the end is kept.
	out, err = proc.Command(t.Context(), dir, "head -c 100000 /dev/zero | tr '\\0' x; echo end")
	if err != nil || len(out) != 4<<10-1 || !strings.HasSuffix(out, "xend") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

// What a command leaves running is not waited for, and outlives it.
func TestCommandLeavesSomethingRunning(t *testing.T) {
	out, err := proc.Command(t.Context(), t.TempDir(), "tail -f /dev/null & echo $!")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		t.Fatalf("%q is no process", out)
	}
	left, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Kill(); err != nil {
		t.Errorf("what was left running is gone: %v", err)
	}
}

func TestCommandIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("that will do")
	cancel(why)
	if _, err := proc.Command(ctx, t.TempDir(), "sleep 3600"); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}
