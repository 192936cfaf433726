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
func (t *Timings) plan(fresh func() *Histogram) {
	if t.Response != nil {
		return
	}
	t.Response, t.Lateness = fresh(), fresh()
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
			t.plan(NewHistogram)
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

// maxOpen is the number of metrics whose totals stay as open histograms
// (three of 270 KB each); those least recently written are kept encoded.
const maxOpen = 32

// Recorder takes samples from any number of goroutines into histograms, one set
// per key and metric.
//
// The path of a sample takes one short lock of its own metric, allocates
// nothing once the metric is known, and never waits for output: a reader takes
// the open histograms away and leaves room for fresh ones. The zero Recorder is
// not ready for use; see [NewRecorder].
type Recorder struct {
	mu     sync.Mutex // guards series
	series map[Key]*series

	poolMu sync.Mutex
	pool   []*Histogram

	takeMu sync.Mutex // guards what follows, and makes Take and Total exclude each other
	last   time.Time
	totals map[Key]*total
	recent []*archive // open ones, least recently written first
	open   int        // how many of them may be

	leaving []Key // to be forgotten once they have been taken
}

// NewRecorder returns an empty recorder whose first interval starts now.
func NewRecorder() *Recorder {
	return &Recorder{series: make(map[Key]*series), totals: make(map[Key]*total), last: time.Now(), open: maxOpen}
}

// series is the hot end of one key.
type series struct {
	rec    *Recorder
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
		s = &series{rec: r}
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
	t.observe(sample, s.rec.fresh)
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

func (t *timed) observe(s Sample, fresh func() *Histogram) {
	planned := !s.Intended.Equal(s.Start)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.t.Service == nil {
		t.t.Service = fresh()
	}
	if planned {
		t.t.plan(fresh)
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

func (r *Recorder) fresh() *Histogram {
	r.poolMu.Lock()
	defer r.poolMu.Unlock()
	if n := len(r.pool); n > 0 {
		h := r.pool[n-1]
		r.pool = r.pool[:n-1]
		return h
	}
	return NewHistogram()
}

// release gives the histograms of a delta back for the next interval. The
// delta must not be used any more.
func (r *Recorder) release(d Delta) {
	for _, s := range d.Series {
		for _, t := range s.Metrics {
			for _, h := range []*Histogram{t.Response, t.Service, t.Lateness} {
				if h == nil {
					continue
				}
				h.reset()
				r.poolMu.Lock()
				if len(r.pool) < 3*maxOpen {
					r.pool = append(r.pool, h)
				}
				r.poolMu.Unlock()
			}
		}
	}
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
		r.addTotal(key, &snap)
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
		out.Counts = maps.Clone(t.counts)
		for name, a := range t.metrics {
			if wanted(name) {
				*out.timings(name) = *a.read()
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
		t := r.totals[key]
		if t == nil {
			continue
		}
		delete(r.totals, key)
		r.recent = slices.DeleteFunc(r.recent, func(a *archive) bool {
			for _, of := range t.metrics {
				if a == of {
					return true
				}
			}
			return false
		})
	}
	r.leaving = nil
}

// total is what has been taken of one key.
type total struct {
	metrics map[string]*archive
	counts  map[string]int64
}

func (r *Recorder) addTotal(key Key, s *Snapshot) {
	t := r.totals[key]
	if t == nil {
		t = &total{metrics: make(map[string]*archive)}
		r.totals[key] = t
	}
	t.counts = addCounts(t.counts, s.Counts)
	for name, from := range s.Metrics {
		a := t.metrics[name]
		if a == nil {
			a = &archive{}
			t.metrics[name] = a
		}
		r.touch(a)
		a.open().merge(from)
	}
}

// touch moves a to the end of the open archives and closes the first ones if
// there are too many.
func (r *Recorder) touch(a *archive) {
	if i := slices.Index(r.recent, a); i >= 0 {
		r.recent = slices.Delete(r.recent, i, i+1)
	}
	r.recent = append(r.recent, a)
	for len(r.recent) > r.open {
		r.recent[0].close()
		r.recent = slices.Delete(r.recent, 0, 1)
	}
}

// archive holds timings either open or, to save memory, encoded: a histogram
// takes 270 KB open and about 2 KB encoded, and a run has thousands of them.
type archive struct {
	dense   *Timings
	encoded [3]string // response, service, lateness
	exact   [3]Histogram
	rest    Timings // errors and clamped while encoded
}

func (a *archive) slots(t *Timings) [3]**Histogram {
	return [3]**Histogram{&t.Response, &t.Service, &t.Lateness}
}

func (a *archive) open() *Timings {
	if a.dense == nil {
		a.dense = a.read()
	}
	return a.dense
}

func (a *archive) read() *Timings {
	if a.dense != nil {
		return a.dense.clone()
	}
	t := &Timings{Errors: maps.Clone(a.rest.Errors), Clamped: a.rest.Clamped}
	for i, p := range a.slots(t) {
		if a.encoded[i] == "" {
			continue
		}
		h, err := DecodeHistogram(a.encoded[i])
		if err != nil {
			panic("results: own histogram does not decode: " + err.Error())
		}
		h.sum, h.min, h.max = a.exact[i].sum, a.exact[i].min, a.exact[i].max
		*p = h
	}
	return t
}

func (a *archive) close() {
	if a.dense == nil {
		return
	}
	var encoded [3]string
	for i, p := range a.slots(a.dense) {
		if *p == nil {
			continue
		}
		s, err := (*p).Encode()
		if err != nil {
			return // Stay open: memory is cheaper than samples.
		}
		encoded[i] = s
		a.exact[i] = Histogram{sum: (*p).sum, min: (*p).min, max: (*p).max}
	}
	a.encoded = encoded
	a.rest = Timings{Errors: a.dense.Errors, Clamped: a.dense.Clamped}
	a.dense = nil
}
