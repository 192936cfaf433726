package roster

import (
	"cmp"
	"container/heap"
	"math"
	"time"
)

// Link is what theory assumes of the network: one bottleneck each way, first in
// first out, without loss.
type Link struct {
	// RTT is the round trip of an empty link, Rate its bytes per second.
	RTT  time.Duration
	Rate float64
	// ProbeBytes is the size of a probe, and of its echo; ProbeEvery the interval
	// between probes, 5 ms if zero.
	ProbeBytes int
	ProbeEvery time.Duration
	// Record is the number of bytes that must have arrived before the first of them
	// can be read: a TLS record, or a segment, 1448 if zero.
	Record int
	// Unsent is the number of bytes that a server writes ahead of the network: its
	// socket buffer and the queue of the link. 0 means any number.
	Unsent int64
}

// Theory is what to expect on a link, counted from the writing of the request. A
// probe is sent every so often during the retrieval and answered at once.
type Theory struct {
	// First is when the first item is there, Complete when the roster is.
	First, Complete time.Duration
	// ProbeMean and ProbeMax are the times of a probe while the roster comes.
	ProbeMean, ProbeMax time.Duration
	// Probes are these probes one by one, in the order in which they were sent.
	Probes []ProbeTheory
}

// ProbeTheory is one probe: when it is sent, and how long until it is answered.
type ProbeTheory struct{ Due, Took time.Duration }

// Flow is a retrieval as a link sees it: answers, of which some may be on their way at
// a time.
type Flow struct {
	// Answers are the lengths of the answers in bytes, in their order; one at least.
	Answers []int64
	// Lead is the number of answers that come one by one before the window opens.
	Lead int
	// Window is the number of answers that may be asked for, or unanswered, at a
	// time; 0 means all of them.
	Window int
	// Passes says that other stanzas pass the answers that the server may write
	// but has no room for: without it an answer goes to the server's queue as soon
	// as it may be written.
	Passes bool
}

// alike returns the lengths of n answers that share so many bytes evenly.
func alike(bytes int64, n int) []int64 {
	answers := make([]int64, n)
	for i := range answers {
		answers[i] = bytes*int64(i+1)/int64(n) - bytes*int64(i)/int64(n)
	}
	return answers
}

// requestBytes is about what a request, a credit or a ping takes upstream.
const requestBytes = 130

// segmentBytes is what arrives at a time where nothing else is said.
const segmentBytes = 1448

// Replay sends the flow, and a probe every so often, over the link, event by
// event, and returns when things arrive. Client and server take no time. It knows
// what closed forms leave out: the burst at the start, the last short cycle and
// the bytes of requests.
func (l Link) Replay(f Flow) Theory {
	if l.Rate <= 0 {
		l.Rate = math.Inf(1)
	}
	r := replay{link: l, flow: f}
	r.schedule(0, r.request)
	every := l.ProbeEvery
	if every <= 0 {
		every = 5 * time.Millisecond
	}
	for at := time.Duration(0); ; at += every {
		// Probes are sent as long as the retrieval goes on; events up to here
		// tell whether it does.
		r.run(at)
		if r.received == len(f.Answers) && at >= r.complete {
			break
		}
		r.probe(at)
	}
	r.run(1<<63 - 1)
	t := Theory{First: r.first, Complete: r.complete, Probes: r.probes}
	for _, p := range r.probes {
		t.ProbeMean += p.Took
		t.ProbeMax = max(t.ProbeMax, p.Took)
	}
	t.ProbeMean /= time.Duration(max(1, len(r.probes)))
	return t
}

// replay is the state of the simulated link and its two ends.
type replay struct {
	link Link
	flow Flow

	events events
	seq    int
	up     time.Duration // when the bottleneck upstream is free
	down   time.Duration // and downstream

	asked    int // answers that the client has asked for or given credit for
	sent     int // answers that the server has written
	writing  bool
	received int

	first, complete time.Duration
	probes          []ProbeTheory
}

// event is something that happens at a time; seq keeps the order of what happens
// at the same time.
type event struct {
	at  time.Duration
	seq int
	do  func(at time.Duration)
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (r *replay) schedule(at time.Duration, do func(time.Duration)) {
	r.seq++
	heap.Push(&r.events, event{at, r.seq, do})
}

// run lets everything happen that happens up to a time.
func (r *replay) run(until time.Duration) {
	for len(r.events) > 0 && r.events[0].at <= until {
		e := heap.Pop(&r.events).(event)
		e.do(e.at)
	}
}

// pass sends bytes through a bottleneck that is free from *free on, and returns
// when the last of them is delivered.
func (r *replay) pass(free *time.Duration, at time.Duration, bytes float64) time.Duration {
	*free = max(*free, at) + seconds(bytes/r.link.Rate)
	return *free + r.link.RTT/2
}

// request is the client asking for the first answer.
func (r *replay) request(at time.Duration) {
	r.schedule(r.pass(&r.up, at, requestBytes), func(at time.Duration) {
		r.asked = r.flow.Window
		switch {
		case r.flow.Lead > 0:
			r.asked = 1
		case r.flow.Window == 0:
			r.asked = len(r.flow.Answers)
		}
		r.write(at)
	})
}

// write is the server writing what it may.
func (r *replay) write(at time.Duration) {
	if r.writing || r.sent == min(r.asked, len(r.flow.Answers)) {
		return
	}
	size := float64(r.flow.Answers[r.sent])
	r.sent++
	free := max(r.down, at)
	n := r.sent
	delivered := r.pass(&r.down, at, size)
	if n == 1 {
		r.first = free + seconds(min(size, float64(cmp.Or(r.link.Record, segmentBytes)))/r.link.Rate) + r.link.RTT/2
	}
	r.schedule(delivered, r.receive)
	written := at
	if r.flow.Passes && r.link.Unsent > 0 {
		written = max(at, r.down-seconds(float64(r.link.Unsent)/r.link.Rate))
	}
	r.writing = true
	r.schedule(written, func(at time.Duration) {
		r.writing = false
		r.write(at)
	})
}

// receive is the client having an answer: it asks for the next or gives credit.
func (r *replay) receive(at time.Duration) {
	r.received++
	if r.received == len(r.flow.Answers) {
		r.complete = at
		return
	}
	more := 1
	if r.received == r.flow.Lead {
		more = r.flow.Window
	}
	if r.flow.Window == 0 {
		return
	}
	for range more {
		r.schedule(r.pass(&r.up, at, requestBytes), func(at time.Duration) {
			r.asked++
			r.write(at)
		})
	}
}

// probe is a ping that the client sends and the server answers at once.
func (r *replay) probe(at time.Duration) {
	n := len(r.probes)
	r.probes = append(r.probes, ProbeTheory{Due: at})
	r.schedule(r.pass(&r.up, at, float64(r.link.ProbeBytes)), func(arrived time.Duration) {
		r.probes[n].Took = r.pass(&r.down, arrived, float64(r.link.ProbeBytes)) - at
	})
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }
