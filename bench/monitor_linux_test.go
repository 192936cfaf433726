package bench

import (
	"crypto/sha256"
	"testing"
)

// What this process does is seen, and what its machine does.
func TestMonitorOfThisProcess(t *testing.T) {
	m := StartMonitor()
	sum := sha256.Sum256(make([]byte, 1<<22))
	f := m.Stop()
	if f.CPU == nil || *f.CPU <= 0 {
		t.Errorf("CPU %v after a digest of 4 MiB (%x)", f.CPU, sum[:4])
	}
	if m := readMachine(); m.steal == nil || m.total == nil || *m.total == 0 {
		t.Errorf("of the machine nothing is known: %+v", m)
	}
}
