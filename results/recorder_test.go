package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample starts and ends the given milliseconds after it was intended.
func sample(metric string, startMS, endMS float64) Sample {
	ms := func(v float64) time.Time { return at(0).Add(time.Duration(v * float64(time.Millisecond))) }
	return Sample{Metric: metric, Intended: at(0), Start: ms(startMS), End: ms(endMS)}
}

func TestRecorderClocks(t *testing.T) {
	rec := NewRecorder()
	key := Key{"p", "v", 3}
	sink := rec.Sink(key)
	sink.Observe(sample("ready", 2, 10))
	sink.Observe(sample("ready", 4, 20))
	got := rec.Total(key).Metrics["ready"]
	for _, tt := range []struct {
		clock     Clock
		mean, max time.Duration
	}{
		{Response, 15 * time.Millisecond, 20 * time.Millisecond},
		{Service, 12 * time.Millisecond, 16 * time.Millisecond},
		{Lateness, 3 * time.Millisecond, 4 * time.Millisecond},
	} {
		h := got.Of(tt.clock)
		if h.N() != 2 || h.Mean() != tt.mean || h.Max() != tt.max {
			t.Errorf("%s: n %d, mean %v, max %v; want 2, %v, %v", tt.clock, h.N(), h.Mean(), h.Max(), tt.mean, tt.max)
		}
	}
}

// A metric without plan of its own has one histogram, and gets the others with
// all earlier samples when the first planned one arrives, in whatever interval.
func TestRecorderPlanned(t *testing.T) {
	for _, takes := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("takes=%d", takes), func(t *testing.T) {
			rec := NewRecorder()
			key := Key{}
			sink := rec.Sink(key)
			sink.Observe(sample("iq", 0, 5))
			if total := rec.Total(key).Metrics["iq"]; total.Response != nil || total.Of(Response).N() != 1 || total.Of(Lateness).Max() != 0 {
				t.Error("an unplanned sample must have response equal to service and no lateness")
			}
			if takes > 0 {
				rec.Take(time.Now())
			}
			sink.Observe(sample("iq", 2, 10))
			if takes > 1 {
				rec.Take(time.Now())
			}
			sink.Observe(sample("iq", 0, 1))
			total := rec.Total(key).Metrics["iq"]
			if n := total.Of(Response).N(); n != 3 {
				t.Errorf("response counts %d samples, want 3", n)
			}
			if h := total.Of(Lateness); h.N() != 3 || h.Max() != 2*time.Millisecond {
				t.Errorf("lateness has n %d, max %v; want 3, 2ms", h.N(), h.Max())
			}
			if got, want := total.Of(Service).Max(), 8*time.Millisecond; got != want {
				t.Errorf("service max %v, want %v", got, want)
			}
		})
	}
}

type kinded struct{ kind string }

func (k kinded) Error() string { return "failed" }
func (k kinded) Kind() string  { return k.kind }

func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("login: %w", kinded{"sasl"}), "sasl"},
		{kinded{""}, "error"},
		{errors.New("odd"), "error"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), "timeout"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "timeout"},
		{context.Canceled, "canceled"},
	} {
		if got := ErrorKind(tt.err); got != tt.want {
			t.Errorf("ErrorKind(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestErrorsAreCountedAndBounded(t *testing.T) {
	rec := NewRecorder()
	sink := rec.Sink(Key{})
	for i := range 1000 {
		sink.Observe(Sample{Metric: "login", Err: kinded{strconv.Itoa(i)}})
	}
	snap := rec.Total(Key{})
	if got := snap.Metrics["login"]; got.Failed() != 1000 || len(got.Errors) > maxKinds+1 {
		t.Errorf("%d failures of %d kinds, want 1000 of at most %d", got.Failed(), len(got.Errors), maxKinds+1)
	}
	if _, ok := snap.Scalars()["login.mean"]; ok {
		t.Error("a failed sample must not enter a histogram")
	}
}

func TestClampedIsCountedAndRecorded(t *testing.T) {
	rec := NewRecorder()
	sink := rec.Sink(Key{})
	now := at(0)
	sink.Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(2 * time.Hour)})
	sink.Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(-time.Second)})
	sink.Observe(Sample{Metric: "iq", Intended: now, Start: now, End: now.Add(time.Second)})
	snap := rec.Total(Key{})
	if h := snap.Metrics["iq"].Of(Response); h.N() != 3 || h.Max() != time.Hour || h.Min() != 0 {
		t.Errorf("n %d, max %v, min %v; want 3, 1h, 0", h.N(), h.Max(), h.Min())
	}
	if got := snap.Clamped(); got != 2 {
		t.Errorf("clamped %d, want 2", got)
	}
}

// Starting early is no error of measurement.
func TestEarlyStartIsOnTime(t *testing.T) {
	rec := NewRecorder()
	rec.Sink(Key{}).Observe(sample("probe", -1, 4))
	snap := rec.Total(Key{})
	if m := snap.Metrics["probe"]; m.Clamped != 0 || m.Of(Lateness).Max() != 0 || m.Of(Response).Max() != 4*time.Millisecond {
		t.Errorf("clamped %d, lateness %v, response %v; want 0, 0, 4ms", m.Clamped, m.Of(Lateness).Max(), m.Of(Response).Max())
	}
}

// While samples arrive from several goroutines and others take and read, none
// is lost or counted twice.
func TestRecorderConcurrent(t *testing.T) {
	rec := NewRecorder()
	key := Key{"p", "v", 0}
	const workers, each = 4, 2000
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			sink := rec.Sink(key)
			for i := range each {
				sink.Observe(sample("probe", float64(i%7), 10))
				sink.Count("stanzas", 1)
			}
		})
	}
	var taken, stanzas int64
	tally := func(d Delta) {
		for _, s := range d.Series {
			// A count may come between two samples.
			if t := s.Metrics["probe"]; t != nil {
				taken += t.Of(Response).N()
			}
			stanzas += s.Counts["stanzas"]
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			rec.Total(key)
		}
		tally(rec.Take(time.Now()))
	}
	total := rec.Total(key)
	if n := total.Metrics["probe"].Of(Lateness).N(); taken != workers*each || n != workers*each {
		t.Errorf("%d taken, %d in total, want %d", taken, n, workers*each)
	}
	if total.Counts["stanzas"] != workers*each || stanzas != workers*each {
		t.Errorf("%d stanzas taken, %d in total, want %d", stanzas, total.Counts["stanzas"], workers*each)
	}
}

// Totals keep exact sums over intervals that were taken and one that was not.
func TestTotalsKeepSums(t *testing.T) {
	rec := NewRecorder()
	const keys = 4
	for round := range 3 {
		for i := range keys {
			rec.Sink(Key{Block: i}).Observe(sample("probe", 1, 10+float64(round)))
		}
		if round < 2 {
			rec.Take(time.Now())
		}
	}
	for i := range keys {
		snap := rec.Total(Key{Block: i})
		if h := snap.Metrics["probe"].Of(Response); h.N() != 3 || h.Mean() != 11*time.Millisecond {
			t.Fatalf("block %d: n %d, mean %v; want 3, 11ms", i, h.N(), h.Mean())
		}
	}
}

// A worker's samples reach the parent through JSON without loss.
func TestMergeFromWorker(t *testing.T) {
	worker, parent := NewRecorder(), NewRecorder()
	key := Key{"p", "v", 1}
	worker.Sink(key).Observe(sample("ready", 1, 10))
	worker.Sink(key).Observe(Sample{Metric: "ready", Err: context.Canceled})
	worker.Sink(key).Count("bytes.in", 7)
	b, err := json.Marshal(worker.Take(at(1)))
	if err != nil {
		t.Fatal(err)
	}
	var d Delta
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	parent.Sink(key).Observe(sample("ready", 0, 20))
	parent.Merge(d)
	snap := parent.Total(key)
	want := map[string]float64{"ready.mean": 0.015, "ready.max": 0.020, "ready.n": 2, "bytes.in": 7}
	if diff := cmp.Diff(want, snap.Scalars()); diff != "" {
		t.Errorf("scalars (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]map[string]int64{"ready": {"canceled": 1}}, snap.Errors()); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// One stall of ten seconds in a hundred, a plan of a hundred a second: the
// naive closed loop sees one slow sample, the intended start sees a thousand.
func TestCoordinatedOmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := NewRecorder()
		open, closed := rec.Sink(Key{Variant: "open"}), rec.Sink(Key{Variant: "closed"})
		begin := time.Now()
		for i := range 10_000 {
			intended := begin.Add(time.Duration(i) * 10 * time.Millisecond)
			time.Sleep(time.Until(intended))
			start := time.Now()
			if i == 4000 {
				time.Sleep(10 * time.Second)
			}
			time.Sleep(time.Millisecond)
			end := time.Now()
			open.Observe(Sample{Metric: "iq", Intended: intended, Start: start, End: end})
			closed.Observe(Sample{Metric: "iq", Intended: start, Start: start, End: end})
		}
		q := func(variant string) time.Duration {
			snap := rec.Total(Key{Variant: variant})
			return snap.Metrics["iq"].Of(Response).Quantile(0.99).Value
		}
		if got := q("closed"); got > 2*time.Millisecond {
			t.Errorf("closed loop p99 %v, want about 1ms", got)
		}
		if got := q("open"); got < 9*time.Second || got > 10*time.Second {
			t.Errorf("open loop p99 %v, want more than 9s", got)
		}
	})
}

func TestScalarsOfABlock(t *testing.T) {
	rec := NewRecorder()
	sink := rec.Sink(Key{})
	for i := range 20 {
		sink.Observe(sample("probe", 0, float64(i+1)))
	}
	snap := rec.Total(Key{})
	got := snap.Scalars()
	if got["probe.mean"] != 0.0105 || got["probe.max"] != 0.020 || got["probe.n"] != 20 {
		t.Errorf("scalars %v", got)
	}
	if p50, ok := got["probe.p50"]; !ok || p50 < 0.00999 || p50 > 0.01101 {
		t.Errorf("median %v, want about 0.010 from 20 samples", p50)
	}
}

func TestQuantileNeedsSamples(t *testing.T) {
	for _, tt := range []struct {
		q    float64
		want int64
	}{{0.5, 20}, {0.9, 100}, {0.95, 200}, {0.99, 1000}, {0.999, 10_000}, {0.9999, 100_000}} {
		if got := MinSamples(tt.q); got != tt.want {
			t.Errorf("MinSamples(%v) = %d, want %d", tt.q, got, tt.want)
		}
	}
	h := NewHistogram()
	h.Record(time.Millisecond, 999)
	if got := h.Quantile(0.99).String(); got != "n/a (n=999)" {
		t.Errorf("p99 of 999 samples prints %q", got)
	}
	h.Record(time.Millisecond, 1)
	if got := h.Quantile(0.99).String(); got != "1ms" {
		t.Errorf("p99 of 1000 equal samples prints %q, want 1ms", got)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	sink := NewRecorder().Sink(Key{})
	s := sample("probe", 1, 10)
	work := func() { sink.Observe(s); sink.Count("stanzas", 1) }
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("%v allocations for a sample and a count, want none", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	sink := NewRecorder().Sink(Key{})
	s := sample("probe", 1, 10)
	b.ReportAllocs()
	for b.Loop() {
		sink.Observe(s)
	}
}

func BenchmarkObserveParallel(b *testing.B) {
	sink := NewRecorder().Sink(Key{})
	s := sample("probe", 1, 10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			sink.Observe(s)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	rec := NewRecorder()
	s := sample("probe", 1, 10)
	b.ReportAllocs()
	for b.Loop() {
		rec.Sink(Key{}).Observe(s)
		rec.Take(at(1))
	}
}
