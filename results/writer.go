package results

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options of a [Writer]. The zero value writes what it is given and nothing
// each second.
type Options struct {
	Recorder *Recorder                 // emptied into latency.hlog; nil for none
	Figures  func() map[string]float64 // called once an interval, for series.jsonl, and not while a call is under way; nil for none
	Interval time.Duration             // between flushes; 0 means one second
	Events   int                       // events kept of each kind, the rest is counted; 0 means 100
	Metrics  []Metric                  // table for the summary; nil means [Metrics]
}

// Writer writes a run directory while the run goes on.
//
// Events, blocks, theories and counts are put into memory, and a goroutine of
// the writer's own appends them, together with what the recorder took in, and
// syncs the files, once an interval. So no method but Close waits for a disk,
// and a process that is killed loses at most the last interval. Figures are
// read in another goroutine: a server that takes its time to tell them moves
// no sample into another interval. All methods are safe for concurrent use;
// after Close they do nothing.
type Writer struct {
	dir     string
	opts    Options
	created time.Time

	mu       sync.Mutex // guards what follows, never held during output
	pending  map[string]*bytes.Buffer
	events   map[string]int64
	counts   []Count
	dirty    bool // counts.json is older than counts
	started  []Process
	versions map[string]string // of targets, not in the manifest yet
	plans    []Plan
	sheet    *Sheet // not written yet
	err      error
	closed   bool

	// Used by the flusher, and by Close after it ended. A file that could not be
	// written stays nil: what would follow a torn line could not be read.
	files    map[string]*os.File
	manifest Manifest
	stop     chan struct{}
	wg       sync.WaitGroup
}

// DirName is the default name of a run's directory: time, scenario and four
// random digits. What does not belong into a file's name becomes a dash.
func DirName(scenario string, now time.Time) string {
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	plain := strings.Map(func(r rune) rune {
		if checkMetricName(string(r)) != nil {
			return '-'
		}
		return r
	}, scenario)
	return now.UTC().Format("20060102T150405Z") + "-" + plain + "-" + hex.EncodeToString(id[:])
}

// Create makes the run directory dir, writes its manifest and starts the
// flusher. Missing parents are made; dir itself must not exist, or be empty.
// Schema, ID (the name of dir), Started and Environment are filled in where m
// leaves them zero. Every Writer must be closed.
func Create(dir string, m Manifest, o Options) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- Others may read runs.
		return nil, fmt.Errorf("results: create run: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("results: create run: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("results: create run: %s is not empty: name a directory that does not exist", dir)
	}
	now := time.Now()
	m.Schema = Schema
	if m.ID == "" {
		m.ID = filepath.Base(dir)
	}
	if m.Started.IsZero() {
		m.Started = now.Round(0)
	}
	if m.Environment.OS == "" {
		m.Environment = GatherEnvironment()
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Events <= 0 {
		o.Events = 100
	}
	if o.Metrics == nil {
		o.Metrics = Metrics()
	}
	if err := writeJSON(dir, fileManifest, m); err != nil {
		return nil, err
	}
	w := &Writer{
		dir: dir, opts: o, created: now,
		pending: make(map[string]*bytes.Buffer),
		events:  make(map[string]int64),
		files:   make(map[string]*os.File), manifest: m,
		stop: make(chan struct{}),
	}
	var head bytes.Buffer
	writeLogHead(&head, now)
	w.append(fileLatency, head.Bytes())
	w.each(w.flush)
	if o.Figures != nil {
		w.each(w.sample)
	}
	return w, nil
}

// Dir is the directory.
func (w *Writer) Dir() string { return w.dir }

// Err is the first error met in writing, nil so far. Close returns it too.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("results: write run: %w", err)
	}
}

// Event notes something that happened. The first events of each kind are kept,
// the rest is counted.
func (w *Writer) Event(kind, text string, fields map[string]string) {
	w.mu.Lock()
	w.events[kind]++
	keep := w.events[kind] <= int64(w.opts.Events)
	w.mu.Unlock()
	if keep {
		w.line(fileEvents, Event{Time: time.Now().Round(0), Kind: kind, Text: text, Fields: fields})
	}
}

// Process notes a process that was started during the run. It appears in the
// manifest, which is replaced as a whole at the next flush.
func (w *Writer) Process(p Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = append(w.started, p)
}

// TargetVersion notes the version of a target's software, which was learned during the
// run. It appears in the manifest at the next flush.
func (w *Writer) TargetVersion(target, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = make(map[string]string)
	}
	w.versions[target] = version
}

// Plan notes a plan that was met during the run, and is not in the manifest yet.
// It appears there at the next flush.
func (w *Writer) Plan(p Plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plans = append(w.plans, p)
}

// Flag notes a flag of the self-check; a reader finds it in [Run.Flags].
func (w *Writer) Flag(f Flag) {
	w.Event("flag", f.Text, map[string]string{"kind": f.Kind, "severity": string(f.Severity)})
}

// Block notes the figures of a block.
func (w *Writer) Block(b Block) { w.line(fileBlocks, b) }

// Theory notes what a model expects.
func (w *Writer) Theory(t Theory) { w.line(fileTheory, t) }

// maxPoints bounds the points of a line of timelines.jsonl.
const maxPoints = 2000

// Timeline notes single samples, to the microsecond. Of more than 2000 it keeps the
// largest of each stretch.
func (w *Writer) Timeline(t Timeline) {
	kept := thin(t.Points, maxPoints)
	t.Thin += len(t.Points) - len(kept)
	t.Points = make([]Point, len(kept))
	for i, p := range kept {
		t.Points[i] = Point{math.Round(p[0]*1e6) / 1e6, math.Round(p[1]*1e6) / 1e6}
	}
	w.line(fileTimeline, t)
}

// thin keeps at most n points, of each stretch of equal number the largest.
func thin(points []Point, n int) []Point {
	if len(points) <= n {
		return points
	}
	out := make([]Point, 0, n)
	for i := range n {
		stretch := points[i*len(points)/n : (i+1)*len(points)/n]
		out = append(out, slices.MaxFunc(stretch, func(a, b Point) int { return cmp.Compare(a[1], b[1]) }))
	}
	return out
}

// Count notes a counted figure beside its closed form and reports whether they
// are equal. A run with any that is not has failed.
func (w *Writer) Count(c Count) (equal bool) {
	c.Equal = c.Counted == c.Expected
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts = append(w.counts, c)
	w.dirty = true
	return c.Equal
}

func (w *Writer) line(file string, v any) {
	var b bytes.Buffer
	if err := encodeJSON(&b, v, ""); err != nil {
		w.fail(fmt.Errorf("%s: %w", file, err))
		return
	}
	w.append(file, b.Bytes())
}

func (w *Writer) append(file string, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	buf := w.pending[file]
	if buf == nil {
		buf = new(bytes.Buffer)
		w.pending[file] = buf
	}
	buf.Write(b)
}

// each calls f once an interval in a goroutine of its own, and a last time when the writer is closed. What falls due while f works is
// left out.
func (w *Writer) each(f func()) {
	stop := w.stop
	w.wg.Go(func() {
		t := time.NewTicker(w.opts.Interval)
		defer t.Stop()
		for {
			select {
			case <-stop:
				f()
				return
			case <-t.C:
				f()
			}
			select {
			case <-t.C:
			default:
			}
		}
	})
}

// second begins a line of series.jsonl.
func (w *Writer) second(now time.Time) Second {
	return Second{Time: now.Round(0), Elapsed: now.Sub(w.created).Seconds()}
}

// sample notes the figures under the time at which their reading began.
func (w *Writer) sample() {
	second := w.second(time.Now())
	if second.Figures = finite(w.opts.Figures()); len(second.Figures) > 0 {
		w.line(fileSeries, second)
	}
}

// flush moves one interval to disk.
func (w *Writer) flush() {
	if w.opts.Recorder != nil {
		now := time.Now()
		d := w.opts.Recorder.Take(now)
		if log, err := intervalLines(d); err != nil {
			w.fail(err)
		} else {
			w.append(fileLatency, log)
		}
		second := w.second(now)
		if second.Counts = secondCounts(d); len(second.Counts) > 0 {
			w.line(fileSeries, second)
		}
	}

	w.mu.Lock()
	pending := w.pending
	w.pending = make(map[string]*bytes.Buffer)
	var counts []Count
	if w.dirty {
		counts, w.dirty = slices.Clone(w.counts), false
	}
	started, plans, versions := w.started, w.plans, w.versions
	sheet := w.sheet
	w.started, w.plans, w.versions, w.sheet = nil, nil, nil, nil
	w.mu.Unlock()
	for i := range w.manifest.Targets {
		t := &w.manifest.Targets[i]
		t.Version = cmp.Or(versions[t.Name], t.Version)
	}
	if len(started)+len(plans)+len(versions) > 0 {
		w.manifest.Processes = append(w.manifest.Processes, started...)
		w.manifest.Plans = append(w.manifest.Plans, plans...)
		w.fail(writeJSON(w.dir, fileManifest, w.manifest))
	}
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		w.fail(w.store(name, pending[name].Bytes()))
	}
	if counts != nil {
		w.fail(writeJSON(w.dir, fileCounts, counts))
	}
	if sheet != nil {
		w.fail(writeJSON(w.dir, fileSheet, sheet))
	}
}

// finite leaves out what JSON cannot hold, and what readers refuse.
func finite(m map[string]float64) map[string]float64 {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, v float64) bool { return !plausible(v) })
	return out
}

func (w *Writer) store(name string, b []byte) (err error) {
	f, open := w.files[name]
	if !open {
		f, err = os.OpenFile(filepath.Join(w.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644) // #nosec G302 G304 -- Others may read runs; the name is one of this package.
		if err != nil {
			return err
		}
		w.files[name] = f
	}
	if f == nil {
		return nil // It failed before, and the error is kept.
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err != nil {
		w.files[name] = nil
		return errors.Join(err, f.Close())
	}
	return nil
}

func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// intervalLines writes the lines of one interval. The service line of a
// metric comes last: where it is missing, the interval was cut.
func intervalLines(d Delta) ([]byte, error) {
	var b bytes.Buffer
	length := d.End.Sub(d.Start).Seconds()
	for _, s := range d.Series {
		for _, metric := range slices.Sorted(maps.Keys(s.Metrics)) {
			t := s.Metrics[metric]
			for _, c := range []struct {
				clock Clock
				h     *Histogram
			}{{Response, t.Response}, {Lateness, t.Lateness}, {Service, t.Service}} {
				if c.h == nil || c.h.N() == 0 {
					continue
				}
				text, err := c.h.Encode()
				if err != nil {
					return nil, err
				}
				writeLogLine(&b, logTag(metric, c.clock, s.Key), epoch(d.Start), length, c.h.Max(), text)
			}
		}
	}
	return b.Bytes(), nil
}

// writeLogHead begins an interval log, version 1.3.
func writeLogHead(b *bytes.Buffer, start time.Time) {
	fmt.Fprintf(b, "#[Histogram log format version 1.3]\n#[StartTime: %.3f (seconds since epoch), %s]\n"+
		"#[values in nanoseconds, Interval_Max in milliseconds, tag = metric/clock/plan/variant/block]\n"+
		"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
		epoch(start), start.UTC().Format(time.RFC3339))
}

// writeLogLine writes one interval: start and length in seconds, the largest
// value in milliseconds as readers of nanosecond logs expect it.
func writeLogLine(b *bytes.Buffer, tag string, start, length float64, largest time.Duration, text string) {
	fmt.Fprintf(b, "Tag=%s,%.3f,%.3f,%.6f,%s\n", tag, start, length, float64(largest)/1e6, text)
}

// logTag is metric/clock/plan/variant/block with everything escaped that the
// log or the tag itself gives a meaning to.
func logTag(metric string, c Clock, k Key) string {
	return strings.Join([]string{
		url.PathEscape(metric), string(c), url.PathEscape(k.Plan), url.PathEscape(k.Variant), strconv.Itoa(k.Block),
	}, "/")
}

func parseTag(tag string) (metric string, c Clock, k Key, err error) {
	p := strings.Split(tag, "/")
	if len(p) != 5 {
		return "", "", Key{}, fmt.Errorf("tag %q is not metric/clock/plan/variant/block", tag)
	}
	unescape := func(s string) string {
		u, e := url.PathUnescape(s)
		err = errors.Join(err, e)
		return u
	}
	metric, c, k = unescape(p[0]), Clock(p[1]), Key{Plan: unescape(p[2]), Variant: unescape(p[3])}
	n, e := strconv.Atoi(p[4])
	k.Block = n
	if err = errors.Join(err, e); err == nil && !slices.Contains(Clocks(), c) {
		err = fmt.Errorf("clock %q is not known", c)
	}
	return metric, c, k, err
}

func secondCounts(d Delta) []SecondCounts {
	var out []SecondCounts
	for _, s := range d.Series {
		sc := SecondCounts{Key: s.Key, Counts: s.Counts, Errors: s.Errors()}
		for name, t := range s.Metrics {
			if t.Clamped > 0 {
				sc.Clamped = addCounts(sc.Clamped, map[string]int64{name: t.Clamped})
			}
		}
		if len(sc.Counts)+len(sc.Errors)+len(sc.Clamped) > 0 {
			out = append(out, sc)
		}
	}
	return out
}

// Close stops the flusher, writes what is left, derives summary.json from the
// files and writes DONE last. It returns the first error met in writing. A
// second Close does nothing.
func (w *Writer) Close(status Status, reasons ...string) error {
	w.mu.Lock()
	if w.stop == nil {
		w.mu.Unlock()
		return w.Err()
	}
	close(w.stop)
	w.stop = nil
	over := maps.Clone(w.events)
	w.mu.Unlock()
	w.wg.Wait()

	for _, kind := range slices.Sorted(maps.Keys(over)) {
		if over[kind] > int64(w.opts.Events) {
			w.line(fileEvents, Event{Time: time.Now().Round(0), Kind: kind, Text: "further events of this kind were only counted", Count: over[kind]})
		}
	}
	w.flush()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for _, f := range w.files {
		if f != nil {
			w.fail(f.Close())
		}
	}
	done := Done{Status: status, Reasons: reasons, Ended: time.Now().Round(0)}
	w.fail(writeSummary(w.dir, done, w.opts.Metrics))
	w.fail(finish(w.dir, done))
	return w.Err()
}

// finish writes DONE with the checksums of all other files.
func finish(dir string, done Done) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	done.SHA256 = make(map[string]string)
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == fileDone {
			continue
		}
		if done.SHA256[e.Name()], err = checksumFile(dir, e.Name()); err != nil {
			return err
		}
	}
	return writeJSON(dir, fileDone, done)
}

func checksumFile(dir, name string) (string, error) {
	f, err := os.Open(filepath.Join(dir, name)) // #nosec G304 -- a file of a run
	if err != nil {
		return "", err
	}
	defer f.Close()
	return checksum(f)
}

func checksum(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// encodeJSON writes v and a line feed, and leaves <, > and & as they are: they
// are part of thresholds, and nothing of this goes into HTML unescaped.
func encodeJSON(w io.Writer, v any, indent string) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// writeJSON replaces a file so that a reader, or a crash, finds it either whole
// or not at all.
func writeJSON(dir, name string, v any) (err error) {
	var b bytes.Buffer
	if err := encodeJSON(&b, v, "  "); err != nil {
		return fmt.Errorf("results: %s: %w", name, err)
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("results: %s: %w", name, err)
		}
	}()
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir) // #nosec G304 -- the folder of a run
	if err != nil {
		return err
	}
	// Some file systems refuse to sync a directory; the rename is then as
	// durable as they make it.
	_ = d.Sync()
	return d.Close()
}
