package link

import (
	"testing"
	"time"
)

// A timer that fires late changes nothing: here every segment is taken up long after its time.
func TestLateTimer(t *testing.T) {
	for _, scheduling := range []Scheduling{RoundRobin, FIFO} {
		params := Params{Rate: 9_999_991, Scheduling: scheduling}.WithDefaults()
		const delay = 25 * time.Millisecond
		p := newPipe(params, delay, forward, newMeter(params))
		f := p.open()
		o := Oracle{Rate: params.Rate, Delay: delay}
		start := time.Now().Add(-time.Hour)
		for i := range 1000 {
			at := time.Duration(i) * 700 * time.Microsecond
			f.send(make([]byte, 1+i), nil, start.Add(at))
			_, want := o.Send(at, 1+i)
			if f.line.len() != 1 {
				t.Fatalf("%s: segment %d has not left", scheduling, i)
			}
			if got := f.line.pop().due.Sub(start); got != want {
				t.Fatalf("%s: segment %d is due at %v, want %v", scheduling, i, got, want)
			}
		}
	}
}

func TestQueue(t *testing.T) {
	var q queue[int]
	next, want := 0, 0
	for round := range 100 {
		for range round {
			q.push(next)
			next++
		}
		for range round / 2 {
			if got := q.pop(); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
	}
	if q.len() != next-want || *q.first() != want {
		t.Fatalf("%d left, the first is %d, want %d and %d", q.len(), *q.first(), next-want, want)
	}
	q.remove(func(i int) bool { return i%2 == 0 })
	for want |= 1; want < next; want += 2 {
		if got := q.pop(); got != want {
			t.Fatalf("after the removal: got %d, want %d", got, want)
		}
	}
	if q.len() != 0 || cap(q.items) > 4*next {
		t.Errorf("%d left in %d places", q.len(), cap(q.items))
	}
}
