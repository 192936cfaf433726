package proc_test

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xmppbench/xmppbench/internal/proc"
)

func TestCPU(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	before, err := proc.CPU(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Call(t.Context(), "burn", nil, nil); err != nil {
		t.Fatal(err)
	}
	after, err := proc.CPU(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	if after-before < time.Millisecond {
		t.Errorf("200 million additions took %v of CPU", after-before)
	}
	// The kernel's other account of the same process, once it has ended.
	if err := child.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.CPU(child.PID()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after its end: got %v, want os.ErrProcessDone", err)
	}
	for _, pid := range []int{0, -1} {
		if _, err := proc.CPU(pid); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("process %d: got %v, want os.ErrProcessDone", pid, err)
		}
	}
}

func TestCPUOfSelfAgreesWithGetrusage(t *testing.T) {
	cpu := func() time.Duration {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			t.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	low := cpu()
	got, err := proc.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	high := cpu()
	// The two accounts are scaled apart from one another by less than two ticks.
	const slack = 20 * time.Millisecond
	if got < low-slack || got > high+slack {
		t.Errorf("got %v, want between %v and %v", got, low, high)
	}
}

func TestUsage(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	before, err := proc.Usage(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	if before.CPU <= 0 || before.RSS <= 0 || before.PeakRSS < before.RSS || before.Threads < 1 {
		t.Errorf("got %+v", before)
	}
	if before.Descriptors < 3 {
		t.Errorf("got %d descriptors, want the standard three at least", before.Descriptors)
	}
	if err := child.Call(t.Context(), "grow", nil, nil); err != nil {
		t.Fatal(err)
	}
	after, err := proc.Usage(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.PeakRSS - before.PeakRSS; grown < 60<<20 {
		t.Errorf("the peak grew by %d bytes, want about 64 MiB", grown)
	}
	if err := child.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.Usage(child.PID()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after its end: got %v, want os.ErrProcessDone", err)
	}
}

func TestUsageOfDescriptors(t *testing.T) {
	before, err := proc.Usage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	after, err := proc.Usage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Descriptors != before.Descriptors+2 {
		t.Errorf("a pipe changed the descriptors from %d to %d", before.Descriptors, after.Descriptors)
	}
}

func TestResetPeak(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	if err := child.Call(t.Context(), "grow", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := proc.ResetPeak(child.PID()); err != nil {
		t.Fatal(err)
	}
	f, err := proc.Usage(child.PID())
	if err != nil {
		t.Fatal(err)
	}
	// The runtime may or may not have given the block back; the peak is now what is held.
	if f.PeakRSS < f.RSS || f.PeakRSS > f.RSS+16<<20 {
		t.Errorf("after the reset the peak is %d and the present %d", f.PeakRSS, f.RSS)
	}
	if err := child.Close(); err != nil {
		t.Fatal(err)
	}
	if err := proc.ResetPeak(child.PID()); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after its end: got %v, want os.ErrProcessDone", err)
	}
}

func TestRoomForMore(t *testing.T) {
	if ports, err := proc.EphemeralPorts(); err != nil || ports < 1 || ports > 65535 {
		t.Errorf("EphemeralPorts() = %d, %v", ports, err)
	}
	if memory, err := proc.AvailableMemory(); err != nil || memory < 1<<20 {
		t.Errorf("AvailableMemory() = %d, %v", memory, err)
	}
}

func TestDescriptorLimit(t *testing.T) {
	got, err := proc.DescriptorLimit()
	if err != nil {
		t.Fatal(err)
	}
	self, err := proc.Usage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got < self.Descriptors {
		t.Errorf("the limit is %d, and %d are open", got, self.Descriptors)
	}
}

func TestMachine(t *testing.T) {
	stolen, total, err := proc.Steal()
	if err != nil {
		t.Fatal(err)
	}
	if stolen < 0 || total <= 0 || stolen > total {
		t.Errorf("stolen %v of %v", stolen, total)
	}
	first, err := proc.CPUPressure()
	if errors.Is(err, proc.ErrUnavailable) {
		return // A kernel without pressure accounting says so.
	}
	if err != nil {
		t.Fatal(err)
	}
	second, err := proc.CPUPressure()
	if err != nil {
		t.Fatal(err)
	}
	if first <= 0 || second < first {
		t.Errorf("pressure went from %v to %v", first, second)
	}
}

func TestRuntimeMeter(t *testing.T) {
	m := proc.NewRuntimeMeter()
	runtime.GC()
	runtime.GC()
	got := m.Read()
	if got.GCCycles < 2 || got.GCPauseMax <= 0 || got.Heap == 0 || got.Goroutines == 0 {
		t.Errorf("after two collections: %+v", got)
	}
	if got.SchedMax < got.SchedP99 {
		t.Errorf("the maximum %v lies below the 99th percentile %v", got.SchedMax, got.SchedP99)
	}
	if again := m.Read(); again.GCCycles >= got.GCCycles {
		t.Errorf("the second reading counts %d collections again", again.GCCycles)
	}
}

func TestRuntimeOfChild(t *testing.T) {
	child := start(t, "worker", workerConfig{}, proc.Options{})
	if err := child.Call(t.Context(), "grow", nil, nil); err != nil {
		t.Fatal(err)
	}
	f, err := child.Runtime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.GCCycles == 0 || f.Goroutines == 0 {
		t.Errorf("after an allocation of 64 MiB: %+v", f)
	}
}
