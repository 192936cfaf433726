package link

// queue is a first-in first-out list. The zero value is empty.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

// first returns the oldest entry, which must exist.
func (q *queue[T]) first() *T { return &q.items[q.head] }

// pop removes and returns the oldest entry, which must exist.
func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	// Moving the rest down once it is the smaller half keeps both the memory and the work per entry bounded.
	if q.head*2 >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// remove takes out all entries of which drop is true.
func (q *queue[T]) remove(drop func(T) bool) {
	kept := q.items[:0]
	for _, v := range q.items[q.head:] {
		if !drop(v) {
			kept = append(kept, v)
		}
	}
	clear(q.items[len(kept):])
	q.items, q.head = kept, 0
}
