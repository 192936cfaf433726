package bench_test

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"
)

func TestMonitor(t *testing.T) {
	m := bench.StartMonitor()
	before := m.Stop()
	const cycles = 3
	keep := make([]byte, 1<<20)
	for range cycles {
		runtime.GC()
	}
	f := m.Stop()
	if f.GCCycles < before.GCCycles+cycles {
		t.Errorf("%d collections, then %d forced ones: %d", before.GCCycles, cycles, f.GCCycles)
	}
	// Each collection stops the world twice.
	if f.GCPauses < before.GCPauses+2*cycles || f.GCPauseMax <= 0 || f.GCPauseMax > time.Minute {
		t.Errorf("%d pauses of up to %v", f.GCPauses, f.GCPauseMax)
	}
	if f.SchedulingP99 > f.SchedulingMax || f.SchedulingMax <= 0 {
		t.Errorf("scheduling delays p99 %v, max %v", f.SchedulingP99, f.SchedulingMax)
	}
	if f.Elapsed <= 0 || f.Elapsed < before.Elapsed {
		t.Errorf("%v elapsed, then %v", before.Elapsed, f.Elapsed)
	}
	if f.Processors != runtime.GOMAXPROCS(0) || f.Machine != runtime.NumCPU() {
		t.Errorf("%d processors of %d", f.Processors, f.Machine)
	}
	if f.HeapBytes < uint64(len(keep)) {
		t.Errorf("%d bytes of heap with %d in use", f.HeapBytes, len(keep))
	}
	runtime.KeepAlive(keep)

	gogc := debug.SetGCPercent(50)
	limit := debug.SetMemoryLimit(1 << 40)
	f = bench.StartMonitor().Stop()
	debug.SetGCPercent(gogc)
	debug.SetMemoryLimit(limit)
	if f.GOGC != 50 || f.MemoryLimit != 1<<40 {
		t.Errorf("GOGC %d, limit %d", f.GOGC, f.MemoryLimit)
	}
}

func TestCPUShare(t *testing.T) {
	tests := []struct {
		name   string
		give   bench.Figures
		want   float64
		wantOK bool
	}{
		{"half of two", bench.Figures{Elapsed: time.Second, Processors: 2, CPU: new(time.Second)}, 0.5, true},
		{"idle", bench.Figures{Elapsed: time.Second, Processors: 2, CPU: new(time.Duration(0))}, 0, true},
		{"not available", bench.Figures{Elapsed: time.Second, Processors: 2}, 0, false},
		{"no time", bench.Figures{Processors: 2, CPU: new(time.Second)}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := tt.give.CPUShare(); got != tt.want || ok != tt.wantOK {
				t.Errorf("%v, %v", got, ok)
			}
		})
	}
}
