package proc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Command runs a command line that the user wrote, by the shell, in the folder dir, and waits until the shell has ended. It returns
// the last 4 KiB of what was printed, which the error of a command that fails holds as well. When the context ends, the shell is
// killed.
//
// The command has a session of its own, so that what it leaves running, such as a server that it started, outlives this process
// and hears nothing of an interrupt typed at the terminal.
func Command(ctx context.Context, dir, line string) (string, error) {
	// A file in place of a pipe: what is left running can go on writing to it, and nobody waits for it to stop.
	f, err := os.CreateTemp("", "xmppbench-command-*")
	if err != nil {
		return "", fmt.Errorf("proc: output of a command: %w", err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		defer func() { _ = os.Remove(f.Name()) }() // systems that keep files which are open
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line) // #nosec G204 -- a command that the user writes
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, f, f
	cmd.SysProcAttr = commandAttributes()
	failed := cmd.Run()
	said, err := said(f)
	switch {
	case err != nil:
		return "", fmt.Errorf("proc: output of `%s`: %w", line, err)
	case ctx.Err() != nil:
		return said, fmt.Errorf("`%s` had not ended: %w%s", line, context.Cause(ctx), quoted(said))
	case failed != nil:
		return said, fmt.Errorf("`%s` failed: %w%s", line, failed, quoted(said))
	}
	return said, nil
}

// said returns the end of what stands in a file.
func said(f *os.File) (string, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, end-tailSize), min(end, tailSize)))
	return strings.ToValidUTF8(strings.TrimSpace(string(b)), "?"), err
}

func quoted(said string) string {
	if said == "" {
		return "; it printed nothing"
	}
	return "; it printed:\n" + said
}
