package link_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/proc"
)

// sourceServer sends n bytes for every byte it gets.
func sourceServer(b *testing.B, n int) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		block := make([]byte, n)
		for {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return
			}
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// BenchmarkGoodput transfers a quarter of a second of the rate and reports how far the goodput between the first and the last byte is
// from the rate.
func BenchmarkGoodput(b *testing.B) {
	for _, rate := range []int64{1_000_000, 10_000_000, 100_000_000, 1_000_000_000} {
		b.Run(fmt.Sprintf("%dMbit", rate/1_000_000), func(b *testing.B) {
			total := int(rate / 8 / 4)
			r := startRelay(b, link.Config{
				Params: link.Params{Rate: rate, RTT: 20 * time.Millisecond},
				Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: sourceServer(b, total)}},
			})
			conn := dial(b, r.Addrs()[0])
			buffer := make([]byte, 64<<10)
			pressure := startPressure(b)
			var took []time.Duration
			var after []int
			for b.Loop() {
				if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Write(buffer[:1]); err != nil {
					b.Fatal(err)
				}
				first, err := conn.Read(buffer)
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				for left := total - first; left > 0; {
					n, err := conn.Read(buffer[:min(left, len(buffer))])
					if err != nil {
						b.Fatal(err)
					}
					left -= n
				}
				took = append(took, time.Since(start))
				after = append(after, total-first)
			}
			var rates []float64
			for i, d := range took {
				rates = append(rates, float64(after[i])*8/d.Seconds())
			}
			slices.Sort(rates)
			b.ReportMetric(100*(rates[len(rates)/2]/float64(rate)-1), "%error")
			report(b, r, pressure)
		})
	}
}

// BenchmarkRTT exchanges single bytes and reports what the median round trip takes more than it should.
func BenchmarkRTT(b *testing.B) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond} {
		b.Run(rtt.String(), func(b *testing.B) {
			r := startRelay(b, link.Config{
				Params: link.Params{Rate: 100_000_000, RTT: rtt},
				Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: echoServer(b)}},
			})
			conn := dial(b, r.Addrs()[0])
			exchange := func() {
				if _, err := conn.Write([]byte{1}); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
			}
			exchange() // sets up the connection
			pressure := startPressure(b)
			var bias []time.Duration
			for b.Loop() {
				start := time.Now()
				exchange()
				bias = append(bias, time.Since(start)-rtt)
			}
			slices.Sort(bias)
			b.ReportMetric(float64(bias[len(bias)/2].Microseconds()), "µs-bias")
			report(b, r, pressure)
		})
	}
}

// pressure measures whether others wanted the processors too: with much of it, the other figures say little about the link.
type pressure struct {
	start time.Time
	total time.Duration
}

func startPressure(b *testing.B) pressure {
	b.Helper()
	total, err := proc.CPUPressure()
	if err != nil && !errors.Is(err, proc.ErrUnavailable) {
		b.Fatal(err)
	}
	return pressure{time.Now(), total}
}

func report(b *testing.B, r *link.Relay, before pressure) {
	b.Helper()
	stats, err := r.Stats()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(stats.Lateness.P50.Microseconds()), "µs-late-p50")
	b.ReportMetric(float64(stats.Lateness.P99.Microseconds()), "µs-late-p99")
	after := startPressure(b)
	b.ReportMetric(100*float64(after.total-before.total)/float64(after.start.Sub(before.start)), "%pressure")
	b.ReportMetric(0, "ns/op")
}
