package attrcert

import (
	"context"
	"errors"
	"testing"
)

// A memo keeps its budget, and never forgets what was just found out.
func TestMemoBudget(t *testing.T) {
	var m memo[int, int64]
	found := 0
	get := func(key int, cost int64) {
		t.Helper()
		rule := memoRule[int64]{budget: 10, cost: func(c int64) int64 { return c }, usable: func(int64) bool { return true }}
		got, err := m.get(t.Context(), key, rule, func() (int64, error) {
			found++
			return cost, nil
		})
		if err != nil || got != cost {
			t.Errorf("%d: got %d, %v, want %d", key, got, err, cost)
		}
	}
	for key := range 10 {
		get(key, 1)
	}
	for key := range 10 {
		get(key, 1)
	}
	if found != 10 || len(m.entries) != 10 || m.spent != 10 {
		t.Errorf("within the budget: found %d, %d entries, %d spent", found, len(m.entries), m.spent)
	}
	get(10, 5)
	if len(m.entries) != 6 || m.spent != 10 {
		t.Errorf("beyond the budget: %d entries, %d spent", len(m.entries), m.spent)
	}
	get(11, 100)
	found = 0
	get(11, 100)
	if found != 0 || len(m.entries) != 1 || m.spent != 100 {
		t.Errorf("larger than the budget: found %d, %d entries, %d spent", found, len(m.entries), m.spent)
	}
}

// What is no longer usable is replaced, and costs no more.
func TestMemoReplaces(t *testing.T) {
	var m memo[string, int64]
	now := int64(0)
	for range 5 {
		rule := memoRule[int64]{budget: 10, cost: func(int64) int64 { return 3 }, usable: func(v int64) bool { return v >= now }}
		for range 2 {
			if got, err := m.get(t.Context(), "key", rule, func() (int64, error) { return now, nil }); err != nil || got != now {
				t.Errorf("got %d, %v, want %d", got, err, now)
			}
		}
		now++
	}
	if len(m.entries) != 1 || m.spent != 3 {
		t.Errorf("%d entries, %d spent", len(m.entries), m.spent)
	}
}

// Errors are told and forgotten; what is remembered needs no context.
func TestMemoErrors(t *testing.T) {
	var m memo[string, int]
	rule := memoRule[int]{budget: 1, cost: func(int) int64 { return 1 }, usable: func(int) bool { return true }, share: true}
	broken := errors.New("broken")
	if _, err := m.get(t.Context(), "key", rule, func() (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if len(m.entries) != 0 {
		t.Error("an error is remembered")
	}
	find := func() (int, error) { return 1, nil }
	if got, err := m.get(t.Context(), "key", rule, find); got != 1 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if got, err := m.get(ended, "key", rule, find); got != 1 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	}
}
