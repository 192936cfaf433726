package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Barrier is a named point that every member of a crowd is to reach before the
// crowd goes on, such as "online". Its methods may be called concurrently.
type Barrier struct {
	name string
	want int

	mu            sync.Mutex
	reached, lost int
	settled       chan struct{} // closed when nobody is to be waited for any more
	made          time.Time
}

// NewBarrier returns a barrier for a crowd of want members. Its clock starts now.
func NewBarrier(name string, want int) *Barrier {
	b := &Barrier{name: name, want: want, settled: make(chan struct{}), made: time.Now()}
	b.settle()
	return b
}

// Reach says that one more member has come. It does not block.
func (b *Barrier) Reach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reached++
	b.settle()
}

// Lose says that one member never will. It does not block.
func (b *Barrier) Lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost++
	b.settle()
}

// settle is called with mu held, or before anybody else knows the barrier.
func (b *Barrier) settle() {
	select {
	case <-b.settled:
	default:
		if b.reached+b.lost >= b.want {
			close(b.settled)
		}
	}
}

// Wait blocks until every member has come or is lost, limit has passed since the
// barrier was made, or ctx ends, whose cause it returns then. With fewer than least
// members the error is a [*BarrierError]. Whoever comes later is not counted.
func (b *Barrier) Wait(ctx context.Context, limit time.Duration, least int) (Crowd, error) {
	timer := time.NewTimer(time.Until(b.made.Add(limit)))
	defer timer.Stop()
	late := false
	select {
	case <-b.settled:
	case <-timer.C:
		late = true
	case <-ctx.Done():
		return b.crowd(false), context.Cause(ctx)
	}
	c := b.crowd(late)
	if c.Reached < least {
		return c, &BarrierError{c, least}
	}
	return c, nil
}

func (b *Barrier) crowd(late bool) Crowd {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Crowd{Barrier: b.name, Reached: b.reached, Lost: b.lost, Want: b.want, After: time.Since(b.made), TimedOut: late && b.reached+b.lost < b.want}
}

// Crowd is who was at a barrier when it opened.
type Crowd struct {
	Barrier string
	// Reached of Want members have come; Lost of them never will.
	Reached, Lost, Want int
	// After is the time since the barrier was made.
	After time.Duration
	// TimedOut says that some members were still waited for.
	TimedOut bool
}

// String tells the count reached, such as "9998 of 10000 online after 60s".
func (c Crowd) String() string {
	text := fmt.Sprintf("%d of %d %s after %s", c.Reached, c.Want, c.Barrier, c.After.Round(time.Millisecond))
	if c.Lost > 0 {
		text += fmt.Sprintf(", %d failed", c.Lost)
	}
	return text
}

// BarrierError says that too few members reached a barrier.
type BarrierError struct {
	Crowd
	// Least is the number that would have done.
	Least int
}

// Error tells the counts.
func (e *BarrierError) Error() string {
	return fmt.Sprintf("bench: barrier: %s, at least %d are needed", e.Crowd, e.Least)
}
