package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ChildArgument is the hidden first argument with which a program starts itself again; the second is the role.
const ChildArgument = "__child"

const (
	defaultGrace = 15 * time.Second
	// drainLimit bounds the wait for output that a grandchild holds open after the child's end.
	drainLimit = 2 * time.Second
	// tailSize is how much of a child's standard error is kept for the error message, in bytes.
	tailSize = 4 << 10
)

// Options say how a child process is started. The zero value is right for most uses.
type Options struct {
	// Path is the executable. Empty means the running one.
	Path string
	// Args replaces the arguments, which are [ChildArgument] and the role.
	Args []string
	// Env is added to the environment of this process, as "key=value".
	Env []string
	// Stderr receives the child's standard error. Nil means the standard error of this process.
	Stderr io.Writer
	// Grace is how long [Child.Close] waits for an orderly end before it kills. Zero means 15 seconds.
	Grace time.Duration
}

// A Child is a process started by this one, which answers calls. Its methods may be used concurrently.
type Child struct {
	role    string
	command []string
	pid     int
	grace   time.Duration
	kill    func() error
	stdin   io.Closer
	last    atomic.Uint64

	send chan []byte
	// closing ends the writing side, done follows the end of the process.
	closing chan struct{}
	done    chan struct{}
	closed  sync.Once
	err     error // valid once done is closed

	mu      sync.Mutex
	waiting map[uint64]chan<- response
}

// Start runs this executable again in the given role, hands it the configuration as JSON, and returns when the child says that it is
// ready. The context bounds the start alone; afterwards the child lives until [Child.Close], until it ends by itself, or until this
// process ends in whatever way.
//
// If the child refuses its configuration, the error is a [*RemoteError]; if it ends before it is ready, an [*ExitError].
func Start(ctx context.Context, role string, config any, opts Options) (*Child, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("proc: encode the configuration of child %s: %w", role, err)
	}
	line, err := appendLine(request{Config: raw})
	if err != nil {
		return nil, fmt.Errorf("proc: encode the configuration of child %s: %w", role, err)
	}
	c := &Child{
		role:    role,
		grace:   opts.Grace,
		send:    make(chan []byte),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		waiting: make(map[uint64]chan<- response),
	}
	if c.grace <= 0 {
		c.grace = defaultGrace
	}
	// The answer to the configuration has the number 0.
	ready := make(chan response, 1)
	c.waiting[0] = ready
	if err := c.launch(opts); err != nil {
		return nil, fmt.Errorf("proc: start child %s: %w", role, err)
	}

	r, err := c.exchange(ctx, line, ready)
	if err != nil {
		if ctx.Err() != nil {
			_ = c.kill()
		}
		if errors.Is(err, ErrClosed) {
			err = fmt.Errorf("it ended in order before it was ready: does %s serve this role?", strings.Join(c.command, " "))
		}
		return nil, errors.Join(fmt.Errorf("proc: start child %s: %w", role, err), ignoreExit(c.Close()))
	}
	if r.Error != "" {
		return nil, errors.Join(&RemoteError{Role: role, Method: "start", Message: r.Error}, ignoreExit(c.Close()))
	}
	return c, nil
}

// ignoreExit drops the news that a child which failed to start did not end well.
func ignoreExit(err error) error {
	if _, ok := errors.AsType[*ExitError](err); ok {
		return nil
	}
	return err
}

// launch starts the process and the goroutines that serve it.
func (c *Child) launch(opts Options) error {
	path := opts.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return err
		}
	}
	args := opts.Args
	if args == nil {
		args = []string{ChildArgument, c.role}
	}
	//nolint:noctx // The child outlives the context of its start.
	cmd := exec.Command(path, args...) // #nosec G204 -- this program, or one that the caller names
	c.command = cmd.Args
	cmd.Env = append(cmd.Environ(), opts.Env...)
	cmd.SysProcAttr = childAttributes()
	cmd.WaitDelay = drainLimit
	stderr := opts.Stderr
	if stderr == nil {
		stderr = os.Stderr
	}
	tail := &tail{limit: tailSize}
	cmd.Stderr = io.MultiWriter(tail, stderr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	// A plain pipe instead of StdoutPipe, since Wait must not close it before the last answer is read.
	fromChild, stdout, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdin.Close())
	}
	cmd.Stdout = stdout
	c.stdin = stdin

	started := make(chan error, 1)
	go func() {
		// The kernel's death signal follows the thread that started the child, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = stdout.Close()
		if err == nil {
			c.pid, c.kill = cmd.Process.Pid, cmd.Process.Kill
		}
		started <- err
		if err != nil {
			return
		}
		var reading sync.WaitGroup
		reading.Go(func() { c.read(fromChild) })
		reading.Go(func() { c.write(stdin) })
		waitErr := cmd.Wait()
		// A grandchild may hold the pipe open; the deadline ends the reading all the same.
		_ = fromChild.SetReadDeadline(time.Now().Add(drainLimit))
		c.closed.Do(func() { close(c.closing) })
		reading.Wait()
		_ = fromChild.Close()
		c.finish(cmd.ProcessState, waitErr, tail.String())
	}()
	if err := <-started; err != nil {
		return errors.Join(err, stdin.Close(), fromChild.Close())
	}
	return nil
}

// read hands the child's answers to their callers until the pipe ends.
func (c *Child) read(from io.Reader) {
	in := newLines(from)
	for {
		var r response
		if err := in.next(&r); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
				// Whatever wrote this is not a child that can be talked to.
				c.fail(fmt.Sprintf("the control pipe is broken: %v", err))
				_ = c.kill()
			}
			return
		}
		c.mu.Lock()
		to := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if to != nil {
			to <- r
		}
	}
}

// fail answers every waiting call with an error.
func (c *Child) fail(message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, to := range c.waiting {
		to <- response{ID: id, Error: message}
	}
	clear(c.waiting)
}

// write owns the child's standard input: a call whose caller gives up leaves no half line behind.
func (c *Child) write(to io.WriteCloser) {
	defer to.Close()
	for {
		select {
		case line := <-c.send:
			if _, err := to.Write(line); err != nil {
				return
			}
		case <-c.closing:
			return
		}
	}
}

// finish records how the process ended and releases everyone who waits for it.
func (c *Child) finish(state *os.ProcessState, err error, stderr string) {
	if state == nil || !state.Success() {
		c.err = &ExitError{Role: c.role, PID: c.pid, State: state, Stderr: stderr, err: err}
	}
	close(c.done)
}

// PID returns the number of the process.
func (c *Child) PID() int { return c.pid }

// Done returns a channel that is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Call asks the child and decodes its answer into out, which may be nil. It blocks until the answer is there, the context ends, or
// the child ends. An error that the child answered is a [*RemoteError]; the end of the child is an [*ExitError].
func (c *Child) Call(ctx context.Context, method string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("proc: encode %s for child %s: %w", method, c.role, err)
	}
	id := c.last.Add(1)
	line, err := appendLine(request{ID: id, Method: method, In: raw})
	if err != nil {
		return fmt.Errorf("proc: encode %s for child %s: %w", method, c.role, err)
	}
	answer := make(chan response, 1)
	c.mu.Lock()
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()

	r, err := c.exchange(ctx, line, answer)
	if err != nil {
		if ctx.Err() != nil {
			c.abandon(id)
		}
		return fmt.Errorf("proc: call %s of child %s: %w", method, c.role, err)
	}
	if r.Error != "" {
		return &RemoteError{Role: c.role, Method: method, Message: r.Error}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.Out, out); err != nil {
		return fmt.Errorf("proc: decode the answer of child %s to %s: %w", c.role, method, err)
	}
	return nil
}

// Runtime returns the figures of the child's Go runtime since the previous call, or since its start.
func (c *Child) Runtime(ctx context.Context) (RuntimeFigures, error) {
	var f RuntimeFigures
	err := c.Call(ctx, methodRuntime, nil, &f)
	return f, err
}

// exchange sends a line and waits for what comes back.
func (c *Child) exchange(ctx context.Context, line []byte, answer <-chan response) (response, error) {
	select {
	case c.send <- line:
	case <-c.closing:
		return response{}, c.ended(ctx)
	case <-ctx.Done():
		return response{}, context.Cause(ctx)
	}
	select {
	case r := <-answer:
		return r, nil
	case <-c.done:
		// The last answer may have come together with the end.
		select {
		case r := <-answer:
			return r, nil
		default:
			return response{}, c.ended(ctx)
		}
	case <-ctx.Done():
		return response{}, context.Cause(ctx)
	}
}

// abandon tells the child, in passing, that nobody waits for the call any more.
func (c *Child) abandon(id uint64) {
	line, err := appendLine(request{Cancel: id})
	if err != nil {
		return
	}
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case c.send <- line:
	case <-c.closing:
	case <-moment.C:
	}
}

// ended tells why there is no one to talk to.
func (c *Child) ended(ctx context.Context) error {
	moment := time.NewTimer(2 * drainLimit)
	defer moment.Stop()
	select {
	case <-c.done:
		if c.err != nil {
			return c.err
		}
	case <-moment.C:
	case <-ctx.Done():
	}
	return ErrClosed
}

// Close lets the child end in order, waits for it no longer than the grace period of its [Options], and then kills it. It returns
// how the process ended: nil, or an [*ExitError]. Closing again waits for the same end.
func (c *Child) Close() error {
	c.closed.Do(func() { close(c.closing) })
	grace := time.NewTimer(c.grace)
	defer grace.Stop()
	select {
	case <-c.done:
		return c.err
	case <-grace.C:
	}
	// Closing releases a write to a child that no longer reads.
	killErr := c.kill()
	_ = c.stdin.Close()
	<-c.done
	return errors.Join(
		fmt.Errorf("proc: child %s (process %d) did not end within %v and was killed", c.role, c.pid, c.grace), ignoreDone(killErr))
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// ErrClosed is the error of a call to a child that has been closed.
var ErrClosed = errors.New("the child is closed")

// A RemoteError is an error that the child answered: the child itself is well.
type RemoteError struct {
	Role, Method string
	// Message is the text of the child's error.
	Message string
}

// Error implements error.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("proc: %s of child %s: %s", e.Method, e.Role, e.Message)
}

// An ExitError says that a child has ended otherwise than in order.
type ExitError struct {
	Role string
	PID  int
	// State is how the process ended; nil if that could not be learnt.
	State *os.ProcessState
	// Stderr is the end of what the child wrote to its standard error, at most 4 KiB.
	Stderr string

	err error
}

// Error implements error.
func (e *ExitError) Error() string {
	how := "ended"
	switch {
	case e.State != nil:
		how = e.State.String()
	case e.err != nil:
		how = e.err.Error()
	}
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		return fmt.Sprintf("child %s (process %d): %s", e.Role, e.PID, how)
	}
	return fmt.Sprintf("child %s (process %d): %s; it last said:\n%s", e.Role, e.PID, how, text)
}

// Unwrap returns what the operating system reported.
func (e *ExitError) Unwrap() error { return e.err }

// tail keeps the end of what is written to it.
type tail struct {
	limit int

	mu    sync.Mutex
	bytes []byte
	cut   bool
}

// Write implements io.Writer. It never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - t.limit; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// String returns the kept end, from the start of a line where something was cut.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.bytes)
	if t.cut {
		if _, after, ok := strings.Cut(text, "\n"); ok {
			text = after
		}
		return "... " + text
	}
	return text
}
