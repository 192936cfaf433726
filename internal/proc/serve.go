package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// closeLimit bounds how long a child tidies up after its parent has let go of it.
const closeLimit = 10 * time.Second

// methodRuntime is answered by Serve itself, for every role.
const methodRuntime = "proc.runtime"

// A Handler is what a child process does for its parent.
type Handler interface {
	// Handle answers one call. The input is the JSON of what the parent gave, and the answer is encoded as JSON. Calls run
	// concurrently; the context ends when the caller stops waiting or the child is to close.
	Handle(ctx context.Context, method string, in json.RawMessage) (any, error)
	// Close ends the work and releases what it holds. It is called once, after the last call has returned.
	Close() error
}

// Serve is the child's side of the control pipe. It reads the configuration, opens the handler, tells the parent that it is ready,
// and answers calls until in ends, which means that the parent has closed the child or is gone, or until the context ends. Then it
// closes the handler and returns.
//
// The context given to open lives as long as Serve does. An error of open reaches the parent as the error of [Start]. Nothing else
// may write to out: where in and out are the process's standard input and output, diagnostics go to standard error.
//
// Serve returns nil after an orderly end, and does not wait for the handler longer than ten seconds. A read from in that the
// context interrupted is left behind blocked, since a reader has no way to be stopped; the process is expected to exit.
func Serve(ctx context.Context, in io.Reader, out io.Writer,
	open func(ctx context.Context, config json.RawMessage) (Handler, error),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	s := &server{out: out, calls: make(map[uint64]context.CancelFunc)}
	requests := make(chan request)
	ended := make(chan error, 1)
	go func() {
		from := newLines(in)
		for {
			var q request
			if err := from.next(&q); err != nil {
				ended <- err
				return
			}
			select {
			case requests <- q:
			case <-ctx.Done():
				return
			}
		}
	}()

	var first request
	select {
	case first = <-requests:
	case err := <-ended:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("proc: read the configuration: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("proc: wait for the configuration: %w", context.Cause(ctx))
	}
	if first.ID != 0 || first.Method != "" || first.Config == nil {
		return errors.New("proc: the first message is not a configuration")
	}

	h, err := open(ctx, first.Config)
	if err != nil {
		return errors.Join(fmt.Errorf("proc: open: %w", err), s.answer(response{Error: err.Error()}))
	}
	s.handler = h
	s.runtime = NewRuntimeMeter()
	err = s.answer(response{Out: json.RawMessage("{}")})
	for err == nil {
		select {
		case q := <-requests:
			s.take(ctx, q)
			continue
		case err = <-ended:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	cancel()
	return errors.Join(err, s.close())
}

// server is the state of one Serve.
type server struct {
	handler Handler
	runtime *RuntimeMeter
	running sync.WaitGroup

	writing sync.Mutex
	out     io.Writer

	mu    sync.Mutex
	calls map[uint64]context.CancelFunc
}

// take starts the answer to one request, or ends one that nobody waits for any more.
func (s *server) take(ctx context.Context, q request) {
	if q.Cancel != 0 {
		s.mu.Lock()
		cancel := s.calls[q.Cancel]
		s.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.calls[q.ID] = cancel
	s.mu.Unlock()
	s.running.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.calls, q.ID)
			s.mu.Unlock()
			cancel()
		}()
		// A failed write means that the parent is gone, which the reading side learns as well.
		_ = s.answer(s.call(ctx, q))
	})
}

func (s *server) call(ctx context.Context, q request) response {
	out, err := s.handle(ctx, q)
	if err != nil {
		return response{ID: q.ID, Error: err.Error()}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return response{ID: q.ID, Error: fmt.Sprintf("encode the answer: %v", err)}
	}
	return response{ID: q.ID, Out: raw}
}

func (s *server) handle(ctx context.Context, q request) (any, error) {
	if q.Method == methodRuntime {
		return s.runtime.Read(), nil
	}
	return s.handler.Handle(ctx, q.Method, q.In)
}

func (s *server) answer(r response) error {
	line, err := appendLine(r)
	if err != nil {
		return fmt.Errorf("proc: encode the answer: %w", err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.out.Write(line); err != nil {
		return fmt.Errorf("proc: answer the parent: %w", err)
	}
	return nil
}

// close waits for the calls, whose contexts have ended, and closes the handler.
func (s *server) close() error {
	done := make(chan error, 1)
	go func() {
		s.running.Wait()
		done <- s.handler.Close()
	}()
	limit := time.NewTimer(closeLimit)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		return fmt.Errorf("proc: the handler did not close within %v", closeLimit)
	}
}
