package attrcert

import (
	"context"
	"errors"
	"sync"
)

// errAbandoned is what those who wait get when whoever did the work gave up for reasons of its own.
var errAbandoned = errors.New("given up")

// A memo remembers what was expensive to find out, within a budget. Callers who want the same thing at the same time share the work of
// one of them, so that the number of fetches and signature checks does not depend on how goroutines are scheduled. The zero value is
// ready for use. It may be used concurrently.
type memo[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]*memoEntry[V]
	spent   int64
}

type memoEntry[V any] struct {
	done  chan struct{} // closed when the rest is there
	value V
	err   error
	cost  int64 // zero until it is there
}

// A memoRule says how a memo is to be used for one kind of things.
type memoRule[V any] struct {
	budget int64
	cost   func(V) int64 // more than zero
	usable func(V) bool  // now
	// share also gives an error to the callers that waited, unless it is errAbandoned. Otherwise each tries by itself. No error is
	// remembered.
	share bool
}

// get returns what is known under key and still usable, or else what find returns. Waiting for another caller's find ends with ctx.
func (m *memo[K, V]) get(ctx context.Context, key K, rule memoRule[V], find func() (V, error)) (V, error) {
	for {
		m.mu.Lock()
		e := m.entries[key]
		if e != nil && e.cost > 0 && rule.usable(e.value) {
			m.mu.Unlock()
			return e.value, nil
		}
		if e == nil || e.cost > 0 {
			e = m.open(key)
			m.mu.Unlock()
			return m.lead(key, e, rule, find)
		}
		m.mu.Unlock()
		select {
		case <-e.done:
		case <-ctx.Done():
			var none V
			return none, context.Cause(ctx)
		}
		if e.err == nil && rule.usable(e.value) {
			return e.value, nil
		}
		if e.err != nil && rule.share && !errors.Is(e.err, errAbandoned) {
			return e.value, e.err
		}
	}
}

// open replaces the entry of key by one that is yet to be filled.
func (m *memo[K, V]) open(key K) *memoEntry[V] {
	if m.entries == nil {
		m.entries = make(map[K]*memoEntry[V])
	}
	if old := m.entries[key]; old != nil {
		m.spent -= old.cost
	}
	e := &memoEntry[V]{done: make(chan struct{})}
	m.entries[key] = e
	return e
}

func (m *memo[K, V]) lead(key K, e *memoEntry[V], rule memoRule[V], find func() (V, error)) (V, error) {
	found := false
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		defer close(e.done)
		if !found || e.err != nil {
			delete(m.entries, key)
			if !found {
				e.err = errAbandoned // find has panicked
			}
			return
		}
		e.cost = rule.cost(e.value)
		m.spent += e.cost
		m.evict(key, rule.budget)
	}()
	e.value, e.err = find()
	found = true
	return e.value, e.err
}

// evict forgets entries, any but that of keep, until the budget is kept.
func (m *memo[K, V]) evict(keep K, budget int64) {
	for key, e := range m.entries {
		if m.spent <= budget {
			return
		}
		if key != keep && e.cost > 0 {
			m.spent -= e.cost
			delete(m.entries, key)
		}
	}
}
