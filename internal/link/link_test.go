package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// arrival is bytes that a sender writes at a time after the start of a test.
type arrival struct {
	at    time.Duration
	bytes int
}

// reading is the count of bytes that a receiver has got by a time after the start of a test.
type reading struct {
	At    time.Duration
	Bytes int
}

// relayed is a connection over a link, with its two outer ends.
type relayed struct {
	client, server *memoryConn
	result         chan error
}

// connect relays a connection over a link. The buffers beside the relay hold up to limit bytes, 0 is without limit.
func connect(ctx context.Context, l *link.Link, limit int) relayed {
	client, near := memoryPair(limit)
	far, server := memoryPair(limit)
	r := relayed{client: client, server: server, result: make(chan error, 1)}
	go func() { r.result <- l.Relay(ctx, near, far) }()
	return r
}

// end closes both halves in order and waits for the relay.
func (r relayed) end(t *testing.T) {
	t.Helper()
	_ = r.client.CloseWrite()
	_ = r.server.CloseWrite()
	if err := <-r.result; err != nil {
		t.Errorf("relay: %v", err)
	}
}

// play writes what arrives at its time.
func play(start time.Time, w io.Writer, arrivals []arrival) {
	for _, a := range arrivals {
		time.Sleep(time.Until(start.Add(a.at)))
		if _, err := w.Write(make([]byte, a.bytes)); err != nil {
			panic(err)
		}
	}
}

// record notes what a receiver gets until the end.
func record(start time.Time, r io.Reader) []reading {
	var got []reading
	total := 0
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if err != nil {
			return got
		}
		total += n
		now := reading{time.Since(start), total}
		if last := len(got) - 1; last >= 0 && got[last].At == now.At {
			got[last] = now // How the bytes of one instant come in pieces is no matter of the link.
			continue
		}
		got = append(got, now)
	}
}

// deliveries returns for each byte of the arrivals when the oracle delivers it.
func deliveries(o *link.Oracle, arrivals []arrival) []time.Duration {
	var times []time.Duration
	for _, a := range arrivals {
		for range a.bytes {
			_, delivered := o.Send(a.at, 1)
			times = append(times, delivered)
		}
	}
	return times
}

// expect holds what was received against the times of the single bytes.
func expect(t *testing.T, name string, got []reading, times []time.Duration) {
	t.Helper()
	last := 0
	for _, r := range got {
		if want := times[r.Bytes-1]; r.At != want {
			t.Errorf("%s: byte %d was delivered at %v, want %v", name, r.Bytes, r.At, want)
			return
		}
		last = r.Bytes
	}
	if last != len(times) {
		t.Errorf("%s: %d bytes were delivered, want %d", name, last, len(times))
	}
}

// schedule makes up the arrivals of a sender: bursts, trickles of 0.1 ms, and pauses.
func schedule(random *rand.Rand, from time.Duration, total int) []arrival {
	var arrivals []arrival
	at := from
	for total > 0 {
		a := arrival{at: at}
		switch random.IntN(3) {
		case 0:
			a.bytes = 1 + random.IntN(200)
			at += 100 * time.Microsecond
		case 1:
			a.bytes = 1 + random.IntN(9000)
			at += time.Duration(random.IntN(int(3 * time.Millisecond)))
		default:
			a.bytes = 1448
			at += time.Duration(1 + random.IntN(int(40*time.Millisecond)))
		}
		a.bytes = min(a.bytes, total)
		total -= a.bytes
		arrivals = append(arrivals, a)
	}
	return arrivals
}

func newLink(t *testing.T, p link.Params) *link.Link {
	t.Helper()
	l, err := link.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The departures of every byte, on one connection and in both directions at once, are those of the exact queue.
func TestDeparturesEqualOracle(t *testing.T) {
	tests := []link.Params{
		{},
		{RTT: 50 * time.Millisecond},
		{Rate: 1_000_000},
		{Rate: 10_000_000, RTT: 50 * time.Millisecond},
		{Rate: 10_000_000, RTT: 50 * time.Millisecond, Queue: 1},
		{Rate: 9_999_991, RTT: 33_333_333},
		{Rate: 100_000_000, RTT: 20 * time.Millisecond, Scheduling: link.FIFO},
		{Rate: 1_000_000_000, RTT: 10 * time.Millisecond, Queue: 20_000},
	}
	for _, p := range tests {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%d bit_s %v %s %d", p.Rate, p.RTT, p.Scheduling, seed), func(t *testing.T) {
				bothWays(t, p, seed)
			})
		}
	}
}

// FuzzDepartures looks for links and schedules that differ from the exact queue.
func FuzzDepartures(f *testing.F) {
	f.Add(int64(10_000_000), int64(50_000_000), 0, false, uint64(1))
	f.Add(int64(77_777), int64(1), 1, true, uint64(2))
	f.Add(int64(0), int64(0), 0, false, uint64(3))
	f.Fuzz(func(t *testing.T, rate, rtt int64, queue int, fifo bool, seed uint64) {
		p := link.Params{Rate: rate, RTT: time.Duration(rtt), Queue: queue, Scheduling: link.RoundRobin}
		if fifo {
			p.Scheduling = link.FIFO
		}
		// A schedule on a slower link takes most of the time for nothing new, and on a link without a rate the limit holds back
		// what the oracle lets through.
		if p.Validate() != nil || rate > 0 && rate < 10_000 || rate == 0 && queue > 0 && queue < 200_000 {
			return
		}
		bothWays(t, p, seed)
	})
}

// bothWays sends made-up schedules over a link in both directions at once, and holds every delivery against the oracle.
func bothWays(t *testing.T, p link.Params, seed uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		up, down := schedule(random, 0, 100_000), schedule(random, 0, 100_000)
		c := connect(t.Context(), newLink(t, p), 0)
		start := time.Now()
		var work sync.WaitGroup
		var atServer, atClient []reading
		work.Go(func() { play(start, c.client, up); _ = c.client.CloseWrite() })
		work.Go(func() { play(start, c.server, down); _ = c.server.CloseWrite() })
		work.Go(func() { atServer = record(start, c.server) })
		work.Go(func() { atClient = record(start, c.client) })
		work.Wait()
		c.end(t)

		// What the client sends while the connection is being set up leaves when it is.
		ready := up[0].at + p.RTT
		for i := range up {
			up[i].at = max(up[i].at, ready)
		}
		expect(t, "up", atServer, deliveries(&link.Oracle{Rate: p.Rate, Delay: p.RTT / 2}, up))
		expect(t, "down", atClient, deliveries(&link.Oracle{Rate: p.Rate, Delay: p.RTT - p.RTT/2}, down))
	})
}

// flowBytes is what one of several senders wrote.
type flowBytes struct {
	arrival
	flow int
}

// threeFlows makes up arrivals of three senders that never coincide, in order of time.
func threeFlows(seed uint64, largest int) (all []flowBytes, flows [3][]arrival) {
	random := rand.New(rand.NewPCG(seed, 1))
	at := time.Duration(0)
	for range 600 {
		at += 100*time.Microsecond + time.Duration(random.IntN(2000))
		i := random.IntN(3)
		a := arrival{at: at, bytes: 1 + random.IntN(largest)}
		flows[i] = append(flows[i], a)
		all = append(all, flowBytes{a, i})
	}
	return all, flows
}

// shareLink lets three servers send to their clients over one link and returns what each client got.
func shareLink(t *testing.T, p link.Params, flows [3][]arrival) (got [3][]reading) {
	t.Helper()
	l := newLink(t, p)
	start := time.Now()
	var work sync.WaitGroup
	var connections [3]relayed
	for i := range flows {
		c := connect(t.Context(), l, 0)
		connections[i] = c
		work.Go(func() { play(start, c.server, flows[i]); _ = c.server.CloseWrite() })
		work.Go(func() { got[i] = record(start, c.client) })
	}
	work.Wait()
	for _, c := range connections {
		c.end(t)
	}
	return got
}

// Three connections on one link in the order of arrival leave as one queue would let them.
func TestThreeFlowsFIFO(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			p := link.Params{Rate: 10_000_000, RTT: 40 * time.Millisecond, Scheduling: link.FIFO, Queue: 10 << 20}
			all, flows := threeFlows(seed, 2000)
			got := shareLink(t, p, flows)
			o := &link.Oracle{Rate: p.Rate, Delay: p.RTT / 2}
			var times [3][]time.Duration
			for _, a := range all {
				times[a.flow] = append(times[a.flow], deliveries(o, []arrival{a.arrival})...)
			}
			for i := range got {
				expect(t, fmt.Sprintf("flow %d", i), got[i], times[i])
			}
		})
	}
}

// Three connections served in turn leave as a simulation of the turns says, which keeps a list of everybody and asks each in order.
func TestThreeFlowsRoundRobin(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			p := link.Params{Rate: 10_000_000, RTT: 40 * time.Millisecond, Queue: 10 << 20}
			all, flows := threeFlows(seed, 1448)
			got := shareLink(t, p, flows)
			var want [3][]reading
			for _, d := range takeTurns(all, p.Rate) {
				i, total := d.flow, d.bytes
				if n := len(want[i]); n > 0 {
					total += want[i][n-1].Bytes
				}
				want[i] = append(want[i], reading{d.at + p.RTT/2, total})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("seed %d: (-want +got)\n%s", seed, diff)
			}
		})
	}
}

// takeTurns serves segments round robin: who has nothing loses his place, who comes joins at the end, also after he was served.
func takeTurns(arrivals []flowBytes, rate int64) []flowBytes {
	var left []flowBytes
	var waiting [3][]flowBytes
	var turn []int
	var free time.Duration
	var bits int64 // sent since the link was last idle, at idle
	var idle time.Duration
	admit := func(until time.Duration) {
		for len(arrivals) > 0 && arrivals[0].at <= until {
			a := arrivals[0]
			arrivals = arrivals[1:]
			if len(waiting[a.flow]) == 0 && !slices.Contains(turn, a.flow) {
				turn = append(turn, a.flow)
			}
			waiting[a.flow] = append(waiting[a.flow], a)
		}
	}
	for len(arrivals) > 0 || len(turn) > 0 {
		admit(free)
		if len(turn) == 0 {
			free, idle, bits = arrivals[0].at, arrivals[0].at, 0
			admit(free)
		}
		i := turn[0]
		turn = turn[1:]
		a := waiting[i][0]
		waiting[i] = waiting[i][1:]
		if len(waiting[i]) > 0 {
			turn = append(turn, i)
		}
		bits += int64(a.bytes) * 8
		free = idle + time.Duration(bits*int64(time.Second)/rate)
		left = append(left, flowBytes{arrival{free, a.bytes}, i})
	}
	return left
}

// With turns, a small message waits for the segment on the clock and for one of each other connection; in order of arrival it waits for
// the whole queue.
func TestRoundRobinProtectsSmallFlows(t *testing.T) {
	waited := func(s link.Scheduling) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			l := newLink(t, link.Params{Rate: 1_000_000, Queue: 64 << 10, Scheduling: s})
			bulk, small := connect(t.Context(), l, 4096), connect(t.Context(), l, 0)
			var work sync.WaitGroup
			work.Go(func() {
				_, _ = bulk.server.Write(make([]byte, 200<<10))
				_ = bulk.server.CloseWrite()
			})
			work.Go(func() { record(time.Now(), bulk.client) })
			work.Go(func() {
				time.Sleep(300*time.Millisecond + 1)
				sent := time.Now()
				_, _ = small.server.Write(make([]byte, 125))
				_, _ = small.client.Read(make([]byte, 125))
				took = time.Since(sent)
			})
			work.Wait()
			bulk.end(t)
			small.end(t)
		})
		return took
	}
	segment := 1448 * 8 * time.Microsecond
	own := 125 * 8 * time.Microsecond
	if got, most := waited(link.RoundRobin), 2*segment+own; got > most {
		t.Errorf("round robin: waited %v, want at most %v", got, most)
	}
	if got, least := waited(link.FIFO), (64<<10)*8*time.Microsecond-segment; got < least {
		t.Errorf("FIFO: waited %v, want at least %v", got, least)
	}
}

// A sender faster than the link is blocked, with no more than the queue on the link, and the link never runs dry.
func TestBoundedQueue(t *testing.T) {
	for _, scheduling := range []link.Scheduling{link.RoundRobin, link.FIFO} {
		for _, queue := range []int{1, 1448, 5000, 64 << 10} {
			t.Run(fmt.Sprintf("%s %d", scheduling, queue), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const total, socket, segment = 300_000, 4000, 1448
					p := link.Params{Rate: 10_000_000, RTT: 50 * time.Millisecond, Queue: queue, Scheduling: scheduling}
					l := newLink(t, p)
					c := connect(t.Context(), l, socket)
					start := time.Now()
					var work sync.WaitGroup
					var got []reading
					work.Go(func() { play(start, c.server, []arrival{{0, total}}); _ = c.server.CloseWrite() })
					work.Go(func() { got = record(start, c.client) })
					work.Go(func() {
						// Half way through, the sender has written no more than what has left, waits, or sits in its socket.
						time.Sleep(120 * time.Millisecond)
						synctest.Wait()
						departed := int(p.Rate / 8 * 120 / 1000)
						if n, most := c.server.out.acceptedBytes(), departed+queue+2*segment+socket; n > most || n < departed {
							t.Errorf("the sender wrote %d bytes, want between %d and %d", n, departed, most)
						}
					})
					work.Wait()
					c.end(t)
					expect(t, "down", got, deliveries(&link.Oracle{Rate: p.Rate, Delay: p.RTT / 2}, []arrival{{0, total}}))
					stats, err := l.Stats()
					if err != nil {
						t.Fatal(err)
					}
					if n := stats.Backward.QueueMax; n > queue+segment || n == 0 {
						t.Errorf("%d bytes were queued, want at most %d", n, queue+segment)
					}
					if stats.Backward.Bytes != total || stats.Forward.Bytes != 0 {
						t.Errorf("counted %+v", stats)
					}
				})
			})
		}
	}
}

// A receiver that does not read blocks its sender with a bounded number of bytes under way, and nobody else on the link.
func TestStalledReceiver(t *testing.T) {
	for _, scheduling := range []link.Scheduling{link.RoundRobin, link.FIFO} {
		for _, rate := range []int64{0, 10_000_000} {
			t.Run(fmt.Sprintf("%s %d", scheduling, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLink(t, link.Params{Rate: rate, RTT: 50 * time.Millisecond, Scheduling: scheduling, Queue: 20_000})
					ctx, cancel := context.WithCancel(t.Context())
					stalled, lively := connect(ctx, l, 1000), connect(ctx, l, 1000)
					go func() { _, _ = stalled.server.Write(make([]byte, 10<<20)) }()
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if n := stalled.server.out.acceptedBytes(); n > 1<<20 {
						t.Errorf("the stalled connection took %d bytes", n)
					}

					start := time.Now()
					go play(start, lively.server, []arrival{{0, 50_000}})
					if _, err := io.ReadFull(lively.client, make([]byte, 50_000)); err != nil {
						t.Error(err)
					}
					if rate > 0 {
						_, want := (&link.Oracle{Rate: rate, Delay: 25 * time.Millisecond}).Send(0, 50_000)
						if got := time.Since(start); got != want {
							t.Errorf("the other connection took %v, want %v", got, want)
						}
					}
					cancel()
					for _, c := range []relayed{stalled, lively} {
						if err := <-c.result; !errors.Is(err, context.Canceled) {
							t.Errorf("relay: got %v, want context.Canceled", err)
						}
					}
				})
			})
		}
	}
}

// A receiver that falls behind for a while gets everything, and the link counts none of that as its own lateness.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, link.Params{Rate: 10_000_000, RTT: 50 * time.Millisecond})
		c := connect(t.Context(), l, 1000)
		sent := make([]byte, 500_000)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		go func() { _, _ = c.server.Write(sent); _ = c.server.CloseWrite() }()
		time.Sleep(3 * time.Second)
		got, err := io.ReadAll(c.client)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, %v, or not the same", len(got), err)
		}
		c.end(t)
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Lateness.Max > time.Microsecond || stats.Lateness.Exceeds {
			t.Errorf("lateness %+v, want none in virtual time", stats.Lateness)
		}
	})
}

func TestJitter(t *testing.T) {
	p := link.Params{Rate: 10_000_000, RTT: 50 * time.Millisecond, Jitter: 20 * time.Millisecond, Seed: 1}
	arrivals := make([]arrival, 200)
	for i := range arrivals {
		arrivals[i] = arrival{time.Duration(i) * 3 * time.Millisecond, 100}
	}
	run := func(p link.Params) (got []reading) {
		synctest.Test(t, func(t *testing.T) {
			l := newLink(t, p)
			c := connect(t.Context(), l, 0)
			start := time.Now()
			go func() { play(start, c.server, arrivals); _ = c.server.CloseWrite() }()
			got = record(start, c.client)
			c.end(t)
			stats, err := l.Stats()
			if err != nil || stats.Lateness.Max > time.Microsecond {
				t.Errorf("waiting for one's turn counts as lateness: %+v, %v", stats.Lateness, err)
			}
		})
		return got
	}
	got := run(p)
	times := deliveries(&link.Oracle{Rate: p.Rate, Delay: p.RTT / 2}, arrivals)
	if got[len(got)-1].Bytes != len(times) {
		t.Errorf("%d bytes were delivered, want %d", got[len(got)-1].Bytes, len(times))
	}
	late := 0
	for _, r := range got {
		extra := r.At - times[r.Bytes-1]
		if extra < 0 || extra > p.Jitter {
			t.Errorf("byte %d was %v off, want 0 to %v", r.Bytes, extra, p.Jitter)
		}
		if extra > p.Jitter/10 {
			late++
		}
	}
	if late < len(got)/2 {
		t.Errorf("only %d of %d deliveries were delayed", late, len(got))
	}
	if diff := cmp.Diff(got, run(p)); diff != "" {
		t.Errorf("the same seed gave other times:\n%s", diff)
	}
	p.Seed++
	if cmp.Equal(got, run(p)) {
		t.Error("another seed gave the same times")
	}
}

// Setting up a connection costs the client one round trip, whenever it begins to speak, and only once.
func TestSetUp(t *testing.T) {
	for _, pause := range []time.Duration{0, 10 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			const rtt = 50 * time.Millisecond
			c := connect(t.Context(), newLink(t, link.Params{RTT: rtt}), 0)
			go func() { _, _ = io.Copy(c.server, c.server) }() // an echo
			time.Sleep(pause)
			for i, want := range []time.Duration{2 * rtt, rtt, rtt} {
				sent := time.Now()
				if _, err := c.client.Write([]byte("hello")); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(c.client, make([]byte, 5)); err != nil {
					t.Error(err)
				}
				if got := time.Since(sent); got != want {
					t.Errorf("after %v, exchange %d took %v, want %v", pause, i, got, want)
				}
			}
			_ = c.client.CloseWrite()
			synctest.Wait()
			time.Sleep(rtt)
			c.end(t)
		})
	}
}

// The end of one direction comes after its last byte, and the other direction goes on.
func TestHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 50 * time.Millisecond
		c := connect(t.Context(), newLink(t, link.Params{RTT: rtt, Rate: 1_000_000}), 0)
		start := time.Now()
		_, _ = c.client.Write(make([]byte, 12_500))
		_ = c.client.CloseWrite()
		got, err := io.ReadAll(c.server)
		if err != nil || len(got) != 12_500 {
			t.Errorf("the server got %d bytes, %v", len(got), err)
		}
		if at, want := time.Since(start), rtt+100*time.Millisecond+rtt/2; at != want {
			t.Errorf("the end came at %v, want %v", at, want)
		}
		_, _ = c.server.Write([]byte("still here"))
		buffer := make([]byte, 10)
		if _, err := io.ReadFull(c.client, buffer); err != nil || string(buffer) != "still here" {
			t.Errorf("the client got %q, %v", buffer, err)
		}
		c.end(t)
		if _, err := c.client.Read(buffer); !errors.Is(err, io.EOF) {
			t.Errorf("the client's end: %v, want io.EOF", err)
		}
	})
}

// plainConn hides CloseWrite.
type plainConn struct{ net.Conn }

// A connection without halves is closed as a whole when the other side has ended.
func TestCloseWithoutHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, link.Params{RTT: 50 * time.Millisecond})
		client, near := memoryPair(0)
		far, server := memoryPair(0)
		result := make(chan error, 1)
		go func() { result <- l.Relay(t.Context(), plainConn{near}, plainConn{far}) }()
		_, _ = client.Write([]byte("bye"))
		_ = client.Close()
		if got, err := io.ReadAll(server); err != nil || string(got) != "bye" {
			t.Errorf("the server got %q, %v", got, err)
		}
		if err := <-result; err != nil {
			t.Errorf("relay: %v", err)
		}
	})
}

// A reset travels with the delay and breaks both directions.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 50 * time.Millisecond
		c := connect(t.Context(), newLink(t, link.Params{RTT: rtt}), 0)
		_, _ = c.server.Write([]byte("hello"))
		if _, err := io.ReadFull(c.client, make([]byte, 5)); err != nil {
			t.Error(err)
		}
		start := time.Now()
		c.server.reset()
		if err := <-c.result; !errors.Is(err, errReset) {
			t.Errorf("relay: got %v, want the reset", err)
		}
		if at, want := time.Since(start), rtt/2; at != want {
			t.Errorf("the reset came at %v, want %v", at, want)
		}
	})
}

// When a side has closed, what it sent before still arrives, although nothing can be sent to it any more.
func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t.Context(), newLink(t, link.Params{RTT: 50 * time.Millisecond}), 0)
		_, _ = c.client.Write([]byte("first"))
		if _, err := io.ReadFull(c.server, make([]byte, 5)); err != nil {
			t.Error(err)
		}
		_, _ = c.client.Write([]byte("too late"))
		time.Sleep(10 * time.Millisecond)
		_, _ = c.server.Write([]byte("goodbye"))
		_ = c.server.Close()
		got, err := io.ReadAll(c.client)
		if err != nil || string(got) != "goodbye" {
			t.Errorf("the client got %q, %v", got, err)
		}
		if err := <-c.result; !errors.Is(err, errReset) {
			t.Errorf("relay: got %v, want to hear of the bytes that were refused", err)
		}
	})
}

// A cancelled relay ends at once wherever it stands: waiting for bytes, for room, for the clock, or for the receiver.
func TestCancel(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 55 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			l := newLink(t, link.Params{Rate: 1_000_000, RTT: 50 * time.Millisecond, Queue: 3000})
			ctx, cancel := context.WithCancelCause(t.Context())
			c := connect(ctx, l, 2000)
			var work sync.WaitGroup
			work.Go(func() { _, _ = c.client.Write(make([]byte, 1<<20)) })
			work.Go(func() { _, _ = c.server.Write(make([]byte, 1<<20)) })
			time.Sleep(after)
			reason := errors.New("enough")
			cancel(reason)
			before := time.Now()
			if err := <-c.result; !errors.Is(err, reason) {
				t.Errorf("after %v: got %v, want the reason", after, err)
			}
			if took := time.Since(before); took != 0 {
				t.Errorf("after %v: the relay took %v to end", after, took)
			}
			work.Wait() // Both outer ends are released.

			// The link is as good as new.
			next := connect(t.Context(), l, 0)
			time.Sleep(time.Minute)
			start := time.Now()
			_, _ = next.server.Write(make([]byte, 1250))
			if _, err := io.ReadFull(next.client, make([]byte, 1250)); err != nil {
				t.Error(err)
			}
			if got, want := time.Since(start), 35*time.Millisecond; got != want {
				t.Errorf("the next connection took %v, want %v", got, want)
			}
			next.end(t)
		})
	}
}

// Clients at the far end of a reversed link share the way with the servers of the other connections.
func TestReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, link.Params{Rate: 1_000_000})
		here, there := connect(t.Context(), l, 0), connect(t.Context(), l.Reverse(), 0)
		start := time.Now()
		_, _ = here.client.Write(make([]byte, 12_500))
		_, _ = there.server.Write(make([]byte, 12_500))
		var work sync.WaitGroup
		work.Go(func() { _, _ = io.ReadFull(here.server, make([]byte, 12_500)) })
		work.Go(func() { _, _ = io.ReadFull(there.client, make([]byte, 12_500)) })
		work.Wait()
		if got, want := time.Since(start), 200*time.Millisecond; got != want {
			t.Errorf("both together took %v, want %v", got, want)
		}
		here.end(t)
		there.end(t)
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Forward.Bytes != 25_000 || stats.Backward.Bytes != 0 || stats.Connections != 2 || stats.Open != 0 {
			t.Errorf("counted %+v", stats)
		}
	})
}

// What a link says of its use must be what its rate and its arrivals make of it.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := link.New(link.Params{Rate: 8000, Queue: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r := connect(t.Context(), l, 0)
		go func() { _, _ = io.Copy(io.Discard, r.client) }()
		got := make(chan []reading)
		go func() { got <- record(start, r.server) }()
		// A second's worth, half a second's while that is sent, and another once all is quiet.
		play(start, r.client, []arrival{{0, 1000}, {600 * time.Millisecond, 500}, {2 * time.Second, 500}})
		time.Sleep(time.Until(start.Add(4 * time.Second)))
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if f := stats.Forward; f.Busy != 2*time.Second || f.Waited != 400*time.Millisecond || f.Served != 3 {
			t.Errorf("busy for %s, waited for %s, %d segments", f.Busy, f.Waited, f.Served)
		}
		if stats.Backward.Busy != 0 || stats.Connected != 4*time.Second {
			t.Errorf("busy back for %s, connected for %s", stats.Backward.Busy, stats.Connected)
		}
		r.end(t)
		<-got
		after, err := l.Stats()
		if err != nil || after.Connected != 4*time.Second || after.Open != 0 {
			t.Errorf("connected for %s, %d open, %v", after.Connected, after.Open, err)
		}
	})
}
