package bench_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a sink that keeps everything.
type memory struct {
	mu      sync.Mutex
	samples []results.Sample
	counts  map[string]int64
}

func (m *memory) Observe(s results.Sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples = append(m.samples, s)
}

func (m *memory) Count(name string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = make(map[string]int64)
	}
	m.counts[name] += n
}

// must returns the plan of a constructor that cannot fail here.
func must(t testing.TB) func(bench.Pacer, error) bench.Pacer {
	return func(p bench.Pacer, err error) bench.Pacer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}
