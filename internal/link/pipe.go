package link

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pipe is one direction of a link. It has no goroutine of its own: the timer of the segment on the clock drives it, so an idle link
// costs nothing.
type pipe struct {
	params  Params // with defaults
	delay   time.Duration
	segment int
	window  int
	meter   *meter
	fine    *fineSleeper // for deliveries; nil: the runtime's timers
	way     direction
	buffers sync.Pool // of *[]byte, segment long

	mu     sync.Mutex
	random *rand.Rand
	timer  *time.Timer

	// The serialisation clock: the segment on it leaves at busyUntil, plus carry/Rate nanoseconds that rounding has kept back.
	busy      bool
	current   packet
	busyUntil time.Time
	carry     int64

	queued  int           // bytes waiting for the clock or on it
	order   queue[packet] // FIFO: what waits
	active  []*flow       // RoundRobin: who has something waiting, in turn
	waiters []*flow       // whose reader waits for room
}

// packet is a segment on its way. One with an end carries no data.
type packet struct {
	flow    *flow
	data    []byte
	arrived time.Time
	due     time.Time
	// end is io.EOF after the last byte, or the error that broke the connection.
	end error
}

// flow is one direction of one connection on a pipe. Its fields belong to the pipe's mutex.
type flow struct {
	pipe    *pipe
	backlog queue[packet] // RoundRobin: what waits for the clock
	queued  int           // bytes waiting for the clock or on it
	line    queue[packet] // what has left the clock, in the order of delivery
	held    int           // bytes queued, in line, or being written
	lastDue time.Time
	closed  bool
	waiting bool
	room    chan struct{} // a token when the reader may go on
	arrival chan struct{} // a token when the line has got something
}

func newPipe(p Params, delay time.Duration, way direction, m *meter) *pipe {
	size := p.segment()
	return &pipe{
		params:  p,
		delay:   delay,
		segment: size,
		window:  p.window(),
		meter:   m,
		way:     way,
		random:  rand.New(rand.NewPCG(p.Seed, uint64(way))), // #nosec G404 -- The jitter has to repeat.
		buffers: sync.Pool{New: func() any { return new(make([]byte, size)) }},
	}
}

func (p *pipe) open() *flow {
	return &flow{pipe: p, room: make(chan struct{}, 1), arrival: make(chan struct{}, 1)}
}

// close takes away what the flow still has on the link. A segment on the clock stays there until it is through.
func (f *flow) close() {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	f.closed = true
	onClock := 0
	if p.busy && p.current.flow == f {
		onClock = len(p.current.data)
	}
	p.queued -= f.queued - onClock
	f.queued = onClock
	f.backlog = queue[packet]{}
	f.line = queue[packet]{}
	p.order.remove(func(k packet) bool { return k.flow == f })
	p.active = slices.DeleteFunc(p.active, func(g *flow) bool { return g == f })
	p.waiters = slices.DeleteFunc(p.waiters, func(g *flow) bool { return g == f })
	p.admit()
}

// send puts a segment, or an end, onto the link. It arrives at the given time, which is not in the future.
func (f *flow) send(data []byte, end error, at time.Time) {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.closed {
		return
	}
	k := packet{flow: f, data: data, end: end, arrived: at}
	f.held += len(data)
	if p.params.Rate == 0 {
		p.depart(k, at)
		return
	}
	f.queued += len(data)
	p.queued += len(data)
	p.meter.queued(p.way, p.queued)
	if p.params.Scheduling == FIFO {
		p.order.push(k)
	} else {
		if f.backlog.len() == 0 {
			p.active = append(p.active, f)
		}
		f.backlog.push(k)
	}
	if !p.busy {
		p.serve()
		p.run(time.Now())
	}
}

// run lets everything leave whose time has come, and sets the timer for the next.
func (p *pipe) run(now time.Time) {
	for p.busy && !p.busyUntil.After(now) {
		k := p.current
		p.busy, p.current = false, packet{}
		p.queued -= len(k.data)
		k.flow.queued -= len(k.data)
		p.depart(k, p.busyUntil)
		p.admit()
		p.serve()
	}
	if !p.busy {
		return
	}
	wait := p.busyUntil.Sub(now)
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.tick)
	} else {
		p.timer.Reset(wait)
	}
}

func (p *pipe) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run(time.Now())
}

// serve puts the next segment on the clock, if one waits. The start of its service follows from the clock and from arrivals only: that
// this code may run late has no part in it.
func (p *pipe) serve() {
	k, ok := p.pick()
	if !ok {
		return
	}
	if k.arrived.After(p.busyUntil) {
		p.busyUntil, p.carry = k.arrived, 0
	}
	start := p.busyUntil
	work := int64(len(k.data))*8*int64(time.Second) + p.carry
	p.busyUntil = p.busyUntil.Add(time.Duration(work / p.params.Rate))
	p.carry = work % p.params.Rate
	p.meter.served(p.way, start.Sub(k.arrived), p.busyUntil.Sub(start))
	p.busy, p.current = true, k
}

// pick takes the next segment from the queue.
func (p *pipe) pick() (packet, bool) {
	if p.params.Scheduling == FIFO {
		if p.order.len() == 0 {
			return packet{}, false
		}
		return p.order.pop(), true
	}
	if len(p.active) == 0 {
		return packet{}, false
	}
	// The turn goes to the first in line that was there when the clock got free, or else to whoever came first after that.
	next := 0
	for i, f := range p.active {
		if !f.backlog.first().arrived.After(p.busyUntil) {
			next = i
			break
		}
		if f.backlog.first().arrived.Before(p.active[next].backlog.first().arrived) {
			next = i
		}
	}
	f := p.active[next]
	p.active = slices.Delete(p.active, next, next+1)
	k := f.backlog.pop()
	if f.backlog.len() > 0 {
		p.active = append(p.active, f)
	}
	return k, true
}

// depart moves a segment that has left the clock into the delay line of its flow.
func (p *pipe) depart(k packet, at time.Time) {
	f := k.flow
	if f.closed {
		return
	}
	k.due = at.Add(p.delay)
	if p.params.Jitter > 0 {
		k.due = k.due.Add(time.Duration(p.random.Int64N(int64(p.params.Jitter) + 1)))
	}
	if k.due.Before(f.lastDue) {
		k.due = f.lastDue
	}
	f.lastDue = k.due
	f.line.push(k)
	signal(f.arrival)
}

// admit lets the waiting readers go on that have room. All of them at once: each brings one segment at most, and nobody is left to wait
// for a race that he may lose again and again.
func (p *pipe) admit() {
	if len(p.waiters) == 0 {
		return
	}
	p.waiters = slices.DeleteFunc(p.waiters, func(f *flow) bool {
		if !f.hasRoom() {
			return false
		}
		f.waiting = false
		signal(f.room)
		return true
	})
}

func (f *flow) hasRoom() bool {
	p := f.pipe
	switch {
	case f.held >= p.window:
		return false
	case p.params.Rate == 0:
		return true
	case p.params.Scheduling == FIFO:
		return p.queued < p.params.Queue
	}
	return f.queued < p.params.Queue
}

// waitForRoom blocks until the flow may read its next segment.
func (f *flow) waitForRoom(ctx context.Context) error {
	p := f.pipe
	p.mu.Lock()
	if f.hasRoom() {
		p.mu.Unlock()
		return nil
	}
	f.waiting = true
	p.waiters = append(p.waiters, f)
	p.mu.Unlock()
	select {
	case <-f.room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// receive blocks until the next segment is to be delivered and returns it. The caller says with done that it has been delivered.
func (f *flow) receive(ctx context.Context, timer *time.Timer) (packet, error) {
	p := f.pipe
	for {
		p.mu.Lock()
		empty := f.line.len() == 0
		var k packet
		if !empty {
			k = f.line.pop()
		}
		p.mu.Unlock()
		if empty {
			select {
			case <-f.arrival:
				continue
			case <-ctx.Done():
				return packet{}, context.Cause(ctx)
			}
		}
		if err := p.fine.until(ctx, timer, k.due); err != nil {
			return packet{}, err
		}
		return k, nil
	}
}

// done gives back the room that a delivered segment took.
func (f *flow) done(k packet) {
	p := f.pipe
	p.mu.Lock()
	f.held -= len(k.data)
	if f.waiting {
		p.admit()
	}
	p.mu.Unlock()
	p.recycle(k.data)
}

// buffer returns a buffer of one segment.
func (p *pipe) buffer() []byte { return *p.buffers.Get().(*[]byte) }

// recycle takes back a buffer that nobody uses any more.
func (p *pipe) recycle(b []byte) {
	if cap(b) == p.segment {
		b = b[:p.segment]
		p.buffers.Put(&b)
	}
}

// detach returns the first n bytes of a buffer as a segment, and the buffer for the next read. A few bytes are copied out, so that small
// messages do not hold the memory of large segments while they wait.
func (p *pipe) detach(buffer []byte, n int) (data, next []byte) {
	if n*4 < len(buffer) {
		return slices.Clone(buffer[:n]), buffer
	}
	return buffer[:n], p.buffer()
}

// signal leaves a token unless one is there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// newTimer returns a timer that has not been set.
func newTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// sleepUntil waits for a point in time. It may wake late, and never early.
func sleepUntil(ctx context.Context, timer *time.Timer, at time.Time) error {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err()
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
