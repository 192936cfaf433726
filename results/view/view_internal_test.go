package view

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Requests share the room for runs: one that finds none waits, and gives its own back.
func TestRoom(t *testing.T) {
	const budget = 1 << 20
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../internal/cli/testdata/runs")); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/report?run=after", http.NoBody)
	runs, done, err := s.asked(r)
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	if s.room.TryAcquire(1) {
		t.Error("there is room beside runs that take all of it")
	}
	waited := make(chan error)
	go func() {
		_, _, err := s.asked(r)
		waited <- err
	}()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("without room: %v", err)
	}
	done()
	if !s.room.TryAcquire(budget) {
		t.Error("room was not given back")
	}
	s.room.Release(budget)
	// Runs that cannot be read leave no room taken.
	if err := os.WriteFile(filepath.Join(dir, "before", "latency.hlog"), []byte("damage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/report?run=after&run=before", http.NoBody)
	if _, _, err := s.asked(r); err == nil {
		t.Error("a damaged run was read")
	}
	if !s.room.TryAcquire(budget) {
		t.Error("room was not given back after an error")
	}
}

// What is remembered of runs for the list and for trends is a small part of what their
// summaries hold.
func TestHeadsAreSmall(t *testing.T) {
	const copies = 8
	dir := t.TempDir()
	var summary int64
	for i := range copies {
		to := filepath.Join(dir, fmt.Sprint("run", i))
		if err := os.Mkdir(to, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"manifest.json", "DONE", "summary.json"} {
			b, err := os.ReadFile(filepath.Join("../reference/prosody", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			summary = int64(len(b))
		}
	}
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	if _, err := s.listing(); err != nil {
		t.Fatal(err)
	}
	if took := heap() - before; took > copies*summary/4 {
		t.Errorf("%d runs with summaries of %d bytes take %d bytes of memory", copies, summary, took)
	}
	if n := len(s.heads["run0"].arms); n < 50 {
		t.Errorf("%d arms are remembered of a capacity sheet", n)
	}
	runtime.KeepAlive(s)
}

// heap is what is allocated and in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC() // twice, for what pools hold
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) // #nosec G115 -- far below the limit
}
