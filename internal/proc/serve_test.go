package proc_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestServeRefuses(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"not JSON", "hello\n", "malformed"},
		{"no configuration", `{"id":1,"method":"greet"}` + "\n", "not a configuration"},
		{"broken off later", `{"config":{}}` + "\n" + `{"id":`, "malformed"},
		{"handler refuses", `{"config":{"Refuse":"not today"}}` + "\n", "not today"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := proc.Serve(t.Context(), strings.NewReader(tt.in), io.Discard, openWorker)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, parent := io.Pipe()
	defer parent.Close()
	opened := make(chan *worker, 1)
	result := make(chan error, 1)
	go func() {
		result <- proc.Serve(ctx, in, io.Discard, func(ctx context.Context, raw json.RawMessage) (proc.Handler, error) {
			h, err := openWorker(ctx, raw)
			opened <- h.(*worker)
			return h, err
		})
	}()
	if _, err := io.WriteString(parent, `{"config":{}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	w := <-opened
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	<-w.closed
}

// slowCloser is a handler whose Close waits.
type slowCloser struct{ release chan struct{} }

func (s slowCloser) Handle(context.Context, string, json.RawMessage) (any, error) { return nil, nil }
func (s slowCloser) Close() error                                                 { <-s.release; return nil }

func TestServeDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowCloser{release: make(chan struct{})}
		err := proc.Serve(t.Context(), strings.NewReader(`{"config":{}}`+"\n"), io.Discard,
			func(context.Context, json.RawMessage) (proc.Handler, error) { return h, nil })
		if err == nil || !strings.Contains(err.Error(), "did not close") {
			t.Errorf("got %v, want to hear that the handler did not close", err)
		}
		close(h.release)
	})
}

// FuzzServe feeds arbitrary lines to a child: it must end, and answer with well-formed lines.
func FuzzServe(f *testing.F) {
	f.Add(`{"config":{}}` + "\n" + `{"id":1,"method":"greet","in":"you"}` + "\n" + `{"cancel":1}` + "\n")
	f.Add(`{"config":{"Refuse":"no"}}`)
	f.Add(`{"config":null}` + "\n" + `{"id":2}` + "\n" + `{"id":2,"method":"wait"}` + "\n" + `[]`)
	f.Add("\n\n{}\n")
	f.Fuzz(func(t *testing.T, in string) {
		var out strings.Builder
		_ = proc.Serve(t.Context(), strings.NewReader(in), &out,
			func(context.Context, json.RawMessage) (proc.Handler, error) { return echo{}, nil })
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %q", line)
			}
		}
	})
}

// echo answers every call with its input.
type echo struct{}

func (echo) Handle(_ context.Context, _ string, in json.RawMessage) (any, error) { return in, nil }
func (echo) Close() error                                                        { return nil }
