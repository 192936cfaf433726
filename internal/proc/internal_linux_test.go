package proc

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The fall-back has to be tried where the clock works, so it is called by its own name.
func TestCPUThreads(t *testing.T) {
	clock, err := cpuClock(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	threads, err := cpuThreads(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// A Go process keeps its threads, so the sum over the living ones is nearly everything.
	if threads < clock/2 {
		t.Errorf("the threads add up to %v, the clock stands at %v", threads, clock)
	}
}

func TestQuantile(t *testing.T) {
	bounds := []float64{math.Inf(-1), 1, 2, 3, math.Inf(1)}
	tests := []struct {
		name   string
		counts []uint64
		q      float64
		want   time.Duration
	}{
		{"nothing", []uint64{0, 0, 0, 0}, 0.99, 0},
		{"first bucket", []uint64{1, 0, 0, 0}, 0.99, time.Second},
		{"one in a hundred is not the 99th percentile", []uint64{0, 99, 1, 0}, 0.99, 2 * time.Second},
		{"but the maximum", []uint64{0, 99, 1, 0}, 1, 3 * time.Second},
		{"last bucket has no upper bound", []uint64{0, 0, 0, 5}, 1, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.counts, bounds, tt.q); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	end := &tail{limit: 10}
	for _, s := range []string{"one\n", "two\n", "three\n", "four\n"} {
		if n, err := end.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if got, want := end.String(), "... four\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCgroup(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "system.slice", "prosody.service")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounts := "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 " + root + " cgroup2 rw,relatime 0 0\n"
	groups := "4:memory:/elsewhere\n0::/system.slice/prosody.service\n"

	// A group whose controllers are off tells nothing but its name.
	got, err := cgroup(mounts, groups)
	if want := (Cgroup{Path: "/system.slice/prosody.service"}); err != nil || got != want {
		t.Errorf("without controllers: %+v, %v", got, err)
	}
	write("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 100\nnr_throttled 40\nthrottled_usec 1500000\n")
	write("cpu.max", "50000 100000\n")
	write("memory.current", "104857600\n")
	write("memory.peak", "209715200\n")
	write("memory.max", "max\n")
	got, err = cgroup(mounts, groups)
	want := Cgroup{
		Path: "/system.slice/prosody.service", CPU: 2500 * time.Millisecond, Throttled: 1500 * time.Millisecond, CPULimit: 0.5,
		Memory: 100 << 20, MemoryPeak: 200 << 20,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	write("cpu.max", "max 100000\n")
	write("memory.max", "1073741824\n")
	if got, err = cgroup(mounts, groups); err != nil || got.CPULimit != 0 || got.MemoryLimit != 1<<30 {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, tt := range map[string][2]string{
		"no hierarchy":       {"tmpfs / tmpfs rw 0 0\n", groups},
		"the root":           {mounts, "0::/\n"},
		"version 1 alone":    {mounts, "4:memory:/elsewhere\n"},
		"outside of view":    {mounts, "0::/../other\n"},
		"nothing left of it": {mounts, "0::/gone\n"},
	} {
		if got, err := cgroup(tt[0], tt[1]); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
