package resolve

import (
	"context"
	"sync"
)

// A Flight lets those who want the same thing at the same time share the work of getting it. The work goes on as long
// as one of them waits, whoever began it; the last one to leave ends it and waits for that. The zero value
// is ready; it must not be copied once it is used.
type Flight[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*flightCall[V]
}

type flightCall[V any] struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   V
	err     error
}

// Do returns what the work gives, and whether somebody else had begun it. It blocks until then, or until the context ends:
// then with the error of the context. The context of the work has the values of that of who began it.
func (f *Flight[K, V]) Do(ctx context.Context, key K, work func(context.Context) (V, error)) (value V, joined bool, err error) {
	if err := ctx.Err(); err != nil {
		return value, false, err
	}
	f.mu.Lock()
	call, joined := f.calls[key]
	if !joined {
		if f.calls == nil {
			f.calls = make(map[K]*flightCall[V])
		}
		call = &flightCall[V]{done: make(chan struct{})}
		var working context.Context
		working, call.cancel = context.WithCancel(context.WithoutCancel(ctx))
		f.calls[key] = call
		go func() {
			call.value, call.err = work(working)
			f.forget(key, call)
			call.cancel()
			close(call.done)
		}()
	}
	call.waiting++
	f.mu.Unlock()
	select {
	case <-call.done:
		return call.value, joined, call.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	call.waiting--
	last := call.waiting == 0
	if last && f.calls[key] == call {
		// Who comes now begins anew.
		delete(f.calls, key)
	}
	f.mu.Unlock()
	if last {
		call.cancel()
		<-call.done
	}
	return value, joined, ctx.Err()
}

func (f *Flight[K, V]) forget(key K, call *flightCall[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[key] == call {
		delete(f.calls, key)
	}
}
