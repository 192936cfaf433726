package bench

import (
	"crypto/sha256"
	"testing"
	"time"
)

func TestParsePressure(t *testing.T) {
	tests := []struct {
		name, give string
		want       *time.Duration
	}{
		{"as the kernel writes it", "some avg10=1.50 avg60=0.80 avg300=0.20 total=12345678\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n", new(12345678 * time.Microsecond)},
		{"full alone", "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n", nil},
		{"no total", "some avg10=1.50\n", nil},
		{"no number", "some total=x\n", nil},
		{"empty", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parsePressure(tt.give)
			if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, give   string
		ok           bool
		steal, total uint64
	}{
		{"as the kernel writes it", "cpu  100 1 20 800 5 0 4 70 30 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n", true, 70, 1000},
		{"old kernel", "cpu  100 1 20 800\n", false, 0, 0},
		{"no number", "cpu  100 1 20 800 5 0 4 x 30 0\n", false, 0, 0},
		{"empty", "", false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steal, total := parseStat(tt.give)
			if (steal != nil) != tt.ok || (total != nil) != tt.ok {
				t.Fatalf("got %v, %v", steal, total)
			}
			if tt.ok && (*steal != tt.steal || *total != tt.total) {
				t.Errorf("steal %d of %d", *steal, *total)
			}
		})
	}
}

// The kernel's own files are understood, and what this process does is seen.
func TestMonitorOfThisProcess(t *testing.T) {
	m := StartMonitor()
	sum := sha256.Sum256(make([]byte, 1<<22))
	f := m.Stop()
	if f.CPU == nil || *f.CPU <= 0 {
		t.Errorf("CPU %v after a digest of 4 MiB (%x)", f.CPU, sum[:4])
	}
	steal, total := readMachine().steal, readMachine().total
	if steal == nil || total == nil || *total == 0 {
		t.Error("/proc/stat was not understood")
	}
}
