package results

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Key says what a sample belongs to: the plan and variant that ran, and the
// block it ran in. Block 0 and upwards are measured; a caller that wants to
// keep warm-up apart does not record it.
type Key struct {
	Plan    string `json:"plan"`
	Variant string `json:"variant"`
	Block   int    `json:"block"`
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Plan, o.Plan), cmp.Compare(k.Variant, o.Variant), cmp.Compare(k.Block, o.Block))
}

// Clock names one of the three durations of a sample.
type Clock string

// The three clocks.
const (
	Response Clock = "response" // End - Intended: what a user waits, queueing included
	Service  Clock = "service"  // End - Start: what the operation itself took
	Lateness Clock = "lateness" // Start - Intended: how late the generator was
)

// Clocks returns the clocks in the order in which they are written.
func Clocks() []Clock { return []Clock{Response, Service, Lateness} }

// Timings is everything recorded for one metric.
//
// Response and Lateness are nil as long as every sample had Intended equal to
// Start: response then equals service and lateness is zero. The first sample
// with a plan of its own brings them to life with all earlier samples in them,
// so that the three histograms of a metric always count the same samples.
type Timings struct {
	Response *Histogram       `json:"response,omitempty"`
	Service  *Histogram       `json:"service,omitempty"`
	Lateness *Histogram       `json:"lateness,omitempty"`
	Errors   map[string]int64 `json:"errors,omitempty"`  // by kind
	Clamped  int64            `json:"clamped,omitempty"` // recorded at an end of the range
}

// Of returns the histogram of one clock: never nil, and Response falls back on
// Service as described above. The caller must not change it.
func (t *Timings) Of(c Clock) *Histogram {
	h := t.Service
	switch {
	case c == Response && t.Response != nil:
		h = t.Response
	case c == Lateness && t.Lateness != nil:
		h = t.Lateness
	case c == Lateness:
		h = NewHistogram()
		if t.Service != nil && t.Service.N() > 0 {
			h.Record(0, t.Service.N())
		}
	}
	if h == nil {
		h = NewHistogram()
	}
	return h
}

// Failed is the number of samples that ended in an error.
func (t *Timings) Failed() int64 {
	var n int64
	for _, v := range t.Errors {
		n += v
	}
	return n
}

// plan brings Response and Lateness to life.
func (t *Timings) plan() {
	if t.Response != nil {
		return
	}
	t.Response, t.Lateness = NewHistogram(), NewHistogram()
	if t.Service != nil && t.Service.N() > 0 {
		t.Response.Merge(t.Service)
		t.Lateness.Record(0, t.Service.N())
	}
}

func (t *Timings) merge(o *Timings) {
	if o.Service != nil && o.Service.N() > 0 {
		if t.Service == nil {
			t.Service = NewHistogram()
		}
		if o.Response != nil {
			t.plan()
		}
		switch {
		case o.Response != nil:
			t.Response.Merge(o.Response)
			t.Lateness.Merge(o.Lateness)
		case t.Response != nil:
			t.Response.Merge(o.Service)
			t.Lateness.Record(0, o.Service.N())
		}
		t.Service.Merge(o.Service)
	}
	t.Errors = addCounts(t.Errors, o.Errors)
	t.Clamped += o.Clamped
}

func (t *Timings) clone() *Timings {
	c := &Timings{Errors: maps.Clone(t.Errors), Clamped: t.Clamped}
	for _, p := range []struct{ to, from **Histogram }{
		{&c.Response, &t.Response}, {&c.Service, &t.Service}, {&c.Lateness, &t.Lateness},
	} {
		if *p.from != nil {
			*p.to = (*p.from).Clone()
		}
	}
	return c
}

func addCounts(to, from map[string]int64) map[string]int64 {
	if len(from) > 0 && to == nil {
		to = make(map[string]int64, len(from))
	}
	for k, n := range from {
		to[k] += n
	}
	return to
}

// Snapshot is what one key, or several together, recorded.
type Snapshot struct {
	Metrics map[string]*Timings `json:"metrics,omitempty"`
	Counts  map[string]int64    `json:"counts,omitempty"`
}

func (s *Snapshot) timings(metric string) *Timings {
	if s.Metrics == nil {
		s.Metrics = make(map[string]*Timings)
	}
	t := s.Metrics[metric]
	if t == nil {
		t = &Timings{}
		s.Metrics[metric] = t
	}
	return t
}

func (s *Snapshot) merge(o *Snapshot) {
	for name, from := range o.Metrics {
		s.timings(name).merge(from)
	}
	s.Counts = addCounts(s.Counts, o.Counts)
}

func (s *Snapshot) empty() bool { return len(s.Metrics) == 0 && len(s.Counts) == 0 }

// Scalars are the figures of a block as blocks.jsonl names them. A metric m
// that was timed gives m.mean and m.max in seconds, m.n, and m.p50 in seconds
// where enough samples stand behind it, all on the response clock. Counters
// appear under their own names.
func (s *Snapshot) Scalars() map[string]float64 {
	out := make(map[string]float64, 4*len(s.Metrics)+len(s.Counts))
	for name, n := range s.Counts {
		out[name] = float64(n)
	}
	for name, t := range s.Metrics {
		h := t.Of(Response)
		if h.N() == 0 {
			continue
		}
		out[name+".mean"] = h.Mean().Seconds()
		out[name+".max"] = h.Max().Seconds()
		out[name+".n"] = float64(h.N())
		if q := h.Quantile(0.5); q.OK {
			out[name+".p50"] = q.Value.Seconds()
		}
	}
	return out
}

// Errors are the failed samples by metric and kind; nil if there were none.
func (s *Snapshot) Errors() map[string]map[string]int64 {
	var out map[string]map[string]int64
	for name, t := range s.Metrics {
		if len(t.Errors) == 0 {
			continue
		}
		if out == nil {
			out = make(map[string]map[string]int64)
		}
		out[name] = maps.Clone(t.Errors)
	}
	return out
}

// Clamped is the number of samples outside the range of the histograms.
func (s *Snapshot) Clamped() int64 {
	var n int64
	for _, t := range s.Metrics {
		n += t.Clamped
	}
	return n
}

// Delta is what a recorder took in between two calls of [Recorder.Take]. It
// marshals to JSON, so that worker processes can send theirs to the process
// that writes the run directory.
type Delta struct {
	Start  time.Time     `json:"start"`
	End    time.Time     `json:"end"`
	Series []DeltaSeries `json:"series,omitempty"` // in order of key
}

// DeltaSeries is the part of a [Delta] that belongs to one key.
type DeltaSeries struct {
	Key
	Snapshot
}

// maxKinds bounds the kinds of error kept per metric; the rest is counted as
// "other", so that an error that names itself after its input cannot fill the
// memory.
const maxKinds = 64

// Recorder takes samples from any number of goroutines into histograms, one set
// per key and metric.
//
// The path of a sample takes one short lock of its own metric and never waits for
// output: a reader takes the histograms away, and fresh ones grow with the values that
// come. The zero Recorder is not ready for use; see [NewRecorder].
type Recorder struct {
	mu     sync.Mutex // guards series
	series map[Key]*series

	takeMu  sync.Mutex // guards what follows, and makes Take and Total exclude each other
	last    time.Time
	totals  map[Key]*Snapshot // what has been taken
	leaving []Key             // to be forgotten once they have been taken
}

// NewRecorder returns an empty recorder whose first interval starts now.
func NewRecorder() *Recorder {
	return &Recorder{series: make(map[Key]*series), totals: make(map[Key]*Snapshot), last: time.Now()}
}

// series is the hot end of one key.
type series struct {
	mu     sync.Mutex // guards replacement of the two maps
	timed  atomic.Pointer[map[string]*timed]
	counts atomic.Pointer[map[string]*atomic.Int64]
}

// timed is the hot end of one metric of one key.
type timed struct {
	mu sync.Mutex
	t  Timings
}

// Sink returns the sink of key. All sinks of one key record together.
func (r *Recorder) Sink(key Key) Sink { return r.seriesOf(key) }

func (r *Recorder) seriesOf(key Key) *series {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[key]
	if s == nil {
		s = &series{}
		s.timed.Store(&map[string]*timed{})
		s.counts.Store(&map[string]*atomic.Int64{})
		r.series[key] = s
	}
	return s
}

// Observe implements [Sink].
func (s *series) Observe(sample Sample) {
	t, ok := (*s.timed.Load())[sample.Metric]
	if !ok {
		t = addEntry(&s.mu, &s.timed, sample.Metric)
	}
	if sample.Err != nil {
		t.fail(ErrorKind(sample.Err))
		return
	}
	t.observe(sample)
}

// Count implements [Sink].
func (s *series) Count(name string, n int64) {
	c, ok := (*s.counts.Load())[name]
	if !ok {
		c = addEntry(&s.mu, &s.counts, name)
	}
	c.Add(n)
}

// addEntry replaces the map by a copy with one more entry: names are few and
// soon known, and reading a map that never changes needs no lock.
func addEntry[T any](mu *sync.Mutex, p *atomic.Pointer[map[string]*T], name string) *T {
	mu.Lock()
	defer mu.Unlock()
	old := *p.Load()
	if v, ok := old[name]; ok {
		return v
	}
	next := make(map[string]*T, len(old)+1)
	maps.Copy(next, old)
	v := new(T)
	next[name] = v
	p.Store(&next)
	return v
}

func (t *timed) observe(s Sample) {
	planned := !s.Intended.Equal(s.Start)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.t.Service == nil {
		t.t.Service = NewHistogram()
	}
	if planned {
		t.t.plan()
	}
	clamped := t.t.Service.Record(s.End.Sub(s.Start), 1)
	if t.t.Response != nil {
		clamped = t.t.Response.Record(s.End.Sub(s.Intended), 1) || clamped
		// A start before its time is on time, not out of range.
		clamped = t.t.Lateness.Record(max(s.Start.Sub(s.Intended), 0), 1) || clamped
	}
	if clamped {
		t.t.Clamped++
	}
}

func (t *timed) fail(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.t.Errors == nil {
		t.t.Errors = make(map[string]int64)
	}
	if _, known := t.t.Errors[kind]; !known && len(t.t.Errors) >= maxKinds {
		kind = "other"
	}
	t.t.Errors[kind]++
}

// ErrorKind is the kind under which an error is counted: what the first error
// of the chain with a Kind method says, else "timeout", "canceled" or "error".
func ErrorKind(err error) string {
	var k interface{ Kind() string }
	if errors.As(err, &k) {
		if kind := k.Kind(); kind != "" {
			return kind
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "error"
}

// Take returns what was recorded since the last call, or since the recorder
// was made, and adds it to the totals. The observing goroutines go on
// meanwhile.
func (r *Recorder) Take(now time.Time) Delta {
	r.takeMu.Lock()
	defer r.takeMu.Unlock()
	d := Delta{Start: r.last, End: now}
	r.last = now
	r.mu.Lock()
	all := maps.Clone(r.series)
	r.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(all), Key.compare) {
		snap := all[key].take()
		if snap.empty() {
			continue
		}
		total := r.totals[key]
		if total == nil {
			total = &Snapshot{}
			r.totals[key] = total
		}
		total.merge(&snap)
		d.Series = append(d.Series, DeltaSeries{key, snap})
	}
	r.forget()
	return d
}

func (s *series) take() Snapshot {
	var out Snapshot
	for name, t := range *s.timed.Load() {
		t.mu.Lock()
		got := t.t
		t.t = Timings{}
		t.mu.Unlock()
		if got.Service != nil || len(got.Errors) > 0 {
			*out.timings(name) = got
		}
	}
	for name, c := range *s.counts.Load() {
		if n := c.Swap(0); n != 0 {
			if out.Counts == nil {
				out.Counts = make(map[string]int64)
			}
			out.Counts[name] = n
		}
	}
	return out
}

// Merge adds what another recorder, in a worker process, took in.
func (r *Recorder) Merge(d Delta) {
	for _, ds := range d.Series {
		s := r.seriesOf(ds.Key)
		for name, from := range ds.Metrics {
			t, ok := (*s.timed.Load())[name]
			if !ok {
				t = addEntry(&s.mu, &s.timed, name)
			}
			t.mu.Lock()
			t.t.merge(from)
			t.mu.Unlock()
		}
		for name, n := range ds.Counts {
			s.Count(name, n)
		}
	}
}

// Total returns what was recorded for key since the recorder was made, whether or
// not it has been taken, in histograms of the caller's own: of the metrics that are
// named, of all if none is.
func (r *Recorder) Total(key Key, metrics ...string) Snapshot {
	wanted := func(name string) bool { return len(metrics) == 0 || slices.Contains(metrics, name) }
	r.takeMu.Lock()
	defer r.takeMu.Unlock()
	var out Snapshot
	if t := r.totals[key]; t != nil {
		out.Counts = maps.Clone(t.Counts)
		for name, timings := range t.Metrics {
			if wanted(name) {
				*out.timings(name) = *timings.clone()
			}
		}
	}
	r.mu.Lock()
	s := r.series[key]
	r.mu.Unlock()
	if s == nil {
		return out
	}
	for name, t := range *s.timed.Load() {
		if !wanted(name) {
			continue
		}
		t.mu.Lock()
		hot := t.t.clone()
		t.mu.Unlock()
		if hot.Service != nil || len(hot.Errors) > 0 {
			out.timings(name).merge(hot)
		}
	}
	for name, c := range *s.counts.Load() {
		out.Counts = addCounts(out.Counts, map[string]int64{name: c.Load()})
	}
	return out
}

// Forget drops what the recorder knows of key as soon as it has been taken, so that
// a run with ever new keys does not grow for ever. From now on nothing may be
// recorded under it: the samples would be lost.
func (r *Recorder) Forget(key Key) {
	r.takeMu.Lock()
	defer r.takeMu.Unlock()
	r.leaving = append(r.leaving, key)
}

// forget drops the keys that are to be forgotten.
func (r *Recorder) forget() {
	for _, key := range r.leaving {
		r.mu.Lock()
		delete(r.series, key)
		r.mu.Unlock()
		delete(r.totals, key)
	}
	r.leaving = nil
}
