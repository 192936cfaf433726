package link_test

import (
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/link"
)

func TestOracle(t *testing.T) {
	type send struct {
		at    time.Duration
		bytes int
		want  time.Duration // of the delivery
	}
	tests := []struct {
		name   string
		oracle link.Oracle
		sends  []send
	}{
		{"no limit, no delay", link.Oracle{}, []send{{0, 1 << 30, 0}, {5, 1, 5}}},
		{"delay alone", link.Oracle{Delay: 25}, []send{{0, 1, 25}, {100, 1 << 30, 125}}},
		{"a megabyte at 10 Mbit/s", link.Oracle{Rate: 10_000_000, Delay: 25 * time.Millisecond}, []send{
			{0, 1_000_000, 825 * time.Millisecond},
			{400 * time.Millisecond, 125, 825*time.Millisecond + 100*time.Microsecond},
		}},
		{"idle between", link.Oracle{Rate: 8_000}, []send{
			{0, 1, time.Millisecond},
			{time.Second, 1, 1001 * time.Millisecond},
			{1001 * time.Millisecond, 1, 1002 * time.Millisecond},
		}},
		{"thirds of a nanosecond", link.Oracle{Rate: 24_000_000_000}, []send{{0, 1, 0}, {0, 1, 0}, {0, 1, 1}, {0, 1, 1}, {0, 2, 2}}},
		{"nothing sent takes no time", link.Oracle{Rate: 8_000}, []send{{3, 0, 3}, {5, 1, time.Millisecond + 5}}},
		{"late news join the queue", link.Oracle{Rate: 8_000}, []send{{time.Second, 1, 1001 * time.Millisecond}, {0, 1, 1002 * time.Millisecond}}},
		{"beyond 64 bits of work", link.Oracle{Rate: 8_000_000_000}, []send{{0, 1 << 40, 1 << 40}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, s := range tt.sends {
				departed, delivered := tt.oracle.Send(s.at, s.bytes)
				if delivered != s.want || delivered-departed != tt.oracle.Delay {
					t.Errorf("send %d: delivered at %v after leaving at %v, want %v", i, delivered, departed, s.want)
				}
			}
		})
	}
}

// Roundings do not add up: a million single bytes take as long as all at once.
func TestOracleDoesNotDrift(t *testing.T) {
	single, whole := link.Oracle{Rate: 30_000_000}, link.Oracle{Rate: 30_000_000}
	var got time.Duration
	for range 1_000_000 {
		got, _ = single.Send(0, 1)
	}
	if want, _ := whole.Send(0, 1_000_000); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
