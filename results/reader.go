package results

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what Open reads; a file beyond them is refused.
const (
	maxFile    = 8 << 20  // manifest.json, counts.json, DONE
	maxLines   = 64 << 20 // blocks.jsonl, theory.jsonl, events.jsonl
	maxSeries  = 512 << 20
	maxLatency = 1 << 30
	maxLine    = 2 << 20
	maxEntries = 5 << 20 // lines of one file: short ones take more memory than room in the file
)

// Run is a run directory that was read.
type Run struct {
	Dir      string
	Manifest Manifest
	Done     Done // Status is StatusPartial if the directory has none
	Partial  bool // the run has not ended: what it holds is what was written so far
	Blocks   []Block
	Theory   []Theory
	Counts   []Count
	Events   []Event
	Flags    []Flag // of the whole run, from its events
	Series   []Second
	// SearchLines are those of a search, in the order in which they were written.
	SearchLines []SearchLine
	Sheet       *Sheet // nil if the run made none

	Timelines []Timeline

	// Changed says of each file that is not as it was when the run ended what is wrong
	// with it. It says nothing of summary.json, of which no report takes anything.
	Changed []string

	intervals []interval
	discarded map[Key]bool // cells of blocks that the self-check found invalid
}

// interval is what one metric of one key recorded between two flushes, still
// encoded: a run has thousands of them, and few are asked for.
type interval struct {
	key                         Key
	metric                      string
	start, length               float64 // seconds since the epoch; seconds
	response, lateness, service string
}

// Open reads a run directory. A run that died before its end is read as far as
// it goes; a cut last line of a file is left out. Damage elsewhere is an error
// that names file and line. Of a run that has ended, files that do not agree with the
// checksums in DONE are read and listed in [Run.Changed]. Files are bounded in size, and
// symbolic links in the directory are refused.
func Open(dir string) (*Run, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("results: open run: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	r := &Run{Dir: dir}
	if err := r.read(root); err != nil {
		return nil, fmt.Errorf("results: open run %s: %w", dir, err)
	}
	return r, nil
}

func (r *Run) read(root *os.Root) error {
	if err := r.readHead(root); err != nil {
		return err
	}
	if err := readJSON(root, fileCounts, &r.Counts); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch err := readJSON(root, fileSheet, &r.Sheet); {
	case errors.Is(err, fs.ErrNotExist):
		r.Sheet = nil
	case err != nil:
		return err
	}
	for _, f := range []struct {
		name string
		line func([]byte) error
	}{
		{fileBlocks, r.blockLine()},
		{fileTheory, appendLine(&r.Theory)},
		{fileTimeline, appendLine(&r.Timelines)},
		{fileSearch, appendLine(&r.SearchLines)},
		{fileEvents, appendLine(&r.Events)},
		{fileSeries, appendLine(&r.Series)},
		{fileLatency, r.intervalLine()},
	} {
		if err := readLines(root, f.name, limitOf(f.name), r.Partial, f.line); err != nil {
			return err
		}
	}
	for _, e := range r.Events {
		if e.Kind == "flag" && e.Count == 0 {
			r.Flags = append(r.Flags, Flag{Kind: e.Fields["kind"], Severity: Severity(e.Fields["severity"]), Text: e.Text})
		}
	}
	if !r.Partial {
		r.Changed = r.Done.changed(root)
	}
	return nil
}

// limitOf bounds the size of a file that is read whole.
func limitOf(name string) int64 {
	switch name {
	case fileLatency:
		return maxLatency
	case fileSeries, fileTimeline:
		return maxSeries
	case fileBlocks, fileTheory, fileSearch, fileEvents:
		return maxLines
	}
	return maxFile
}

// filesRead are the files that Open reads, but for DONE.
func filesRead() []string {
	return []string{
		fileManifest, fileCounts, fileSheet, fileBlocks, fileTheory, fileTimeline, fileSearch, fileEvents, fileSeries, fileLatency,
	}
}

// bytesOf is the sum of the sizes of the files that Open reads.
func bytesOf(root *os.Root) (int64, error) {
	var sum int64
	for _, name := range append(filesRead(), fileDone) {
		about, err := regular(root, name, limitOf(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sum += about.Size()
	}
	return sum, nil
}

// regular describes a regular file of at most limit bytes.
func regular(root *os.Root, name string, limit int64) (fs.FileInfo, error) {
	about, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !about.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if about.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", name, about.Size(), limit)
	}
	return about, nil
}

// openFile opens a regular file of at most limit bytes.
func openFile(root *os.Root, name string, limit int64) (*os.File, error) {
	before, err := regular(root, name, limit)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	// The name may have been given to something else meanwhile.
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		_ = f.Close()
		return nil, fmt.Errorf("%s changed while it was opened", name)
	}
	return f, nil
}

func readJSON(root *os.Root, name string, v any) error {
	f, err := openFile(root, name, maxFile)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s:%d: %w", name, errorLine(b, err), err)
	}
	if err := checkFigures(v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// errorLine is the line at which JSON could not be read, the first one where that is
// not known.
func errorLine(b []byte, err error) int {
	line := 1
	if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
		line += bytes.Count(b[:min(int(s.Offset), len(b))], []byte("\n"))
	}
	return line
}

// readLines calls line for each line of a file that may be missing. An error
// on the very last line of a run that has not ended means that the line was
// cut, and is passed over.
func readLines(root *os.Root, name string, limit int64, partial bool, line func([]byte) error) error {
	f, err := openFile(root, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(io.LimitReader(f, limit))
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	var bad error
	n := 0
	for s.Scan() {
		if bad != nil {
			return bad
		}
		if n++; n > maxEntries {
			return fmt.Errorf("%s has more than %d lines", name, maxEntries)
		}
		if err := line(s.Bytes()); err != nil {
			bad = fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	if partial {
		return nil
	}
	return bad
}

func appendLine[T any](to *[]T) func([]byte) error {
	return func(b []byte) error {
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		if err := checkFigures(&v); err != nil {
			return err
		}
		*to = append(*to, v)
		return nil
	}
}

// blockLine returns the reader of blocks.jsonl's lines. A line that says that a
// cell is invalid takes the place of one that said it was not: the cell was part
// of a block that another one spoiled.
func (r *Run) blockLine() func([]byte) error {
	place := make(map[Key]int)
	r.discarded = make(map[Key]bool)
	return func(line []byte) error {
		var b Block
		if err := json.Unmarshal(line, &b); err != nil {
			return err
		}
		if err := checkFigures(&b); err != nil {
			return err
		}
		i, known := place[b.Key]
		switch {
		case b.Skipped != "":
		case IsInvalid(b.Flags):
			r.discarded[b.Key] = true
			if known {
				r.Blocks[i] = b
				return nil
			}
		case !known:
			place[b.Key] = len(r.Blocks)
		}
		r.Blocks = append(r.Blocks, b)
		return nil
	}
}

// intervalLine returns the reader of latency.hlog's lines. It joins the lines
// of one metric and interval, of which the service line is the last.
func (r *Run) intervalLine() func([]byte) error {
	var d decoder
	var open interval
	return func(b []byte) error {
		if len(b) == 0 || b[0] == '#' || b[0] == '"' {
			return nil
		}
		clock, iv, text, err := parseInterval(string(b))
		if err != nil {
			return err
		}
		if _, err := d.add(text, nil); err != nil {
			return err
		}
		if open.key != iv.key || open.metric != iv.metric || open.start != iv.start {
			if open.response != "" || open.lateness != "" {
				return fmt.Errorf("the line before belongs to a service line of %s, which is missing", open.metric)
			}
			open = iv
		}
		switch clock {
		case Response:
			open.response = text
		case Lateness:
			open.lateness = text
		case Service:
			open.service = text
			if (open.response == "") != (open.lateness == "") {
				return fmt.Errorf("%s has only one of response and lateness", open.metric)
			}
			r.intervals = append(r.intervals, open)
			open = interval{}
		}
		return nil
	}
}

func parseInterval(line string) (Clock, interval, string, error) {
	p := strings.Split(line, ",")
	if len(p) != 5 || !strings.HasPrefix(p[0], "Tag=") {
		return "", interval{}, "", errors.New("not an interval: want Tag=…,start,length,max,histogram")
	}
	metric, clock, key, err := parseTag(p[0][len("Tag="):])
	if err != nil {
		return "", interval{}, "", err
	}
	iv := interval{key: key, metric: metric}
	var figures [3]float64
	for i := range figures {
		figures[i], err = strconv.ParseFloat(p[1+i], 64)
		if err != nil || !(figures[i] >= 0 && figures[i] <= 1e12) {
			return "", interval{}, "", fmt.Errorf("figure %q is not a number between 0 and 1e12", p[1+i])
		}
	}
	iv.start, iv.length = figures[0], figures[1]
	return clock, iv, p[4], nil
}

// Filter chooses keys; an empty field chooses all.
type Filter struct {
	Plan, Variant string
	Block         *int
}

func (f Filter) match(k Key) bool {
	return (f.Plan == "" || f.Plan == k.Plan) && (f.Variant == "" || f.Variant == k.Variant) && (f.Block == nil || *f.Block == k.Block)
}

// chosen reports whether figures of k count for f: those that an invalid block
// recorded count for nothing.
func (r *Run) chosen(f Filter, k Key) bool { return f.match(k) && !r.discarded[k] }

// Keys returns the keys that recorded anything or have a block, in order.
func (r *Run) Keys() []Key {
	set := make(map[Key]bool)
	for _, iv := range r.intervals {
		set[iv.key] = true
	}
	for _, b := range r.Blocks {
		set[b.Key] = true
	}
	return slices.SortedFunc(maps.Keys(set), Key.compare)
}

// TimedMetrics returns the names of all metrics with histograms, sorted.
func (r *Run) TimedMetrics() []string {
	set := make(map[string]bool)
	for _, iv := range r.intervals {
		set[iv.metric] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// Timings merges what one metric recorded under the keys that f chooses. Like
// [Run.Counters], [Run.Errors], [Run.Intervals] and [Run.Elapsed] it leaves out
// what belongs to an invalid block. It never returns nil; an unknown metric has
// no samples.
func (r *Run) Timings(metric string, f Filter) *Timings {
	var d decoder
	sum := &Timings{}
	add := func(to **Histogram, text string) int64 {
		if *to == nil {
			*to = NewHistogram()
		}
		return d.mustAdd(text, *to).n
	}
	// Intervals without a plan of their own are part of the response too, once
	// any interval has one.
	var unplanned []string
	var unplannedN int64
	for i := range r.intervals {
		iv := &r.intervals[i]
		if iv.metric != metric || !r.chosen(f, iv.key) {
			continue
		}
		n := add(&sum.Service, iv.service)
		if iv.response == "" {
			unplanned, unplannedN = append(unplanned, iv.service), unplannedN+n
			continue
		}
		add(&sum.Response, iv.response)
		add(&sum.Lateness, iv.lateness)
	}
	if sum.Response != nil {
		for _, text := range unplanned {
			add(&sum.Response, text)
		}
		sum.Lateness.Record(0, unplannedN)
	}
	for _, s := range r.Series {
		for _, c := range s.Counts {
			if r.chosen(f, c.Key) {
				sum.Errors = addCounts(sum.Errors, c.Errors[metric])
				sum.Clamped += c.Clamped[metric]
			}
		}
	}
	return sum
}

// Counters sums the counters under the keys that f chooses.
func (r *Run) Counters(f Filter) map[string]int64 {
	var sum map[string]int64
	for _, s := range r.Series {
		for _, c := range s.Counts {
			if r.chosen(f, c.Key) {
				sum = addCounts(sum, c.Counts)
			}
		}
	}
	return sum
}

// Errors sums the failed samples under the keys that f chooses, by metric and
// kind.
func (r *Run) Errors(f Filter) map[string]map[string]int64 {
	sum := make(map[string]map[string]int64)
	for _, s := range r.Series {
		for _, c := range s.Counts {
			if !r.chosen(f, c.Key) {
				continue
			}
			for metric, kinds := range c.Errors {
				sum[metric] = addCounts(sum[metric], kinds)
			}
		}
	}
	return sum
}

// Interval is what one metric recorded between two flushes.
type Interval struct {
	Key
	Start   time.Time
	Length  time.Duration
	Timings *Timings
}

// Intervals yields the intervals of one metric in order of time, for charts
// over time.
func (r *Run) Intervals(metric string, f Filter) iter.Seq[Interval] {
	return func(yield func(Interval) bool) {
		var d decoder
		histogram := func(text string) *Histogram {
			if text == "" {
				return nil
			}
			h := NewHistogram()
			d.mustAdd(text, h)
			return h
		}
		for _, iv := range r.intervals {
			if iv.metric != metric || !r.chosen(f, iv.key) {
				continue
			}
			if !yield(Interval{
				Key:    iv.key,
				Start:  time.UnixMilli(int64(iv.start * 1e3)),
				Length: time.Duration(iv.length * float64(time.Second)),
				Timings: &Timings{
					Response: histogram(iv.response), Service: histogram(iv.service), Lateness: histogram(iv.lateness),
				},
			}) {
				return
			}
		}
	}
}

// Elapsed is the time in which what f chooses ran: the length of its blocks, or
// where they have none the intervals in which anything was recorded.
func (r *Run) Elapsed(f Filter) time.Duration {
	var spans []span
	for _, b := range r.Blocks {
		if r.chosen(f, b.Key) && b.Skipped == "" && b.End.After(b.Start) {
			spans = append(spans, span{epoch(b.Start), epoch(b.End)})
		}
	}
	if len(spans) == 0 {
		for _, iv := range r.intervals {
			if r.chosen(f, iv.key) {
				spans = append(spans, span{iv.start, iv.start + iv.length})
			}
		}
	}
	return time.Duration(covered(spans) * float64(time.Second))
}

// span is a stretch of time in seconds since the epoch.
type span struct{ from, to float64 }

// covered is the length of the union of spans, which it sorts.
func covered(spans []span) float64 {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var sum, end float64
	for _, s := range spans {
		if s.to > end {
			sum += s.to - max(s.from, end)
			end = s.to
		}
	}
	return sum
}

// Invalid reports whether the run holds no figures to be believed, and why.
func (r *Run) Invalid() (bool, []string) {
	var why []string
	if r.Done.Status == StatusInvalid {
		why = append(why, r.Done.Reasons...)
	}
	for _, f := range r.Flags {
		if f.Severity == Invalid && !slices.Contains(why, f.Text) {
			why = append(why, f.Text)
		}
	}
	return r.Done.Status == StatusInvalid || len(why) > 0, why
}

// Verify compares all files with the checksums in DONE and returns the first
// difference as an error; a partial run has nothing to compare with.
func (r *Run) Verify() error {
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("results: verify run: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	for _, name := range slices.Sorted(maps.Keys(r.Done.SHA256)) {
		if err := r.Done.verify(root, name); err != nil {
			return fmt.Errorf("results: verify run %s: %w", r.Dir, err)
		}
	}
	return nil
}

// verify compares one file with its checksum.
func (d Done) verify(root *os.Root, name string) error {
	f, err := openFile(root, name, maxLatency)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := checksum(f)
	if err != nil {
		return err
	}
	if sum != d.SHA256[name] {
		return fmt.Errorf("%s was changed after the run ended", name)
	}
	return nil
}

// changed lists what is wrong with the files that figures are taken from.
func (d Done) changed(root *os.Root) []string {
	if len(d.SHA256) == 0 {
		return []string{fileDone + " has no checksums"}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(d.SHA256)) {
		if name == fileSummary {
			continue
		}
		if err := d.verify(root, name); err != nil {
			all = append(all, err.Error())
		}
	}
	for _, name := range filesRead() {
		if _, err := root.Lstat(name); err == nil && d.SHA256[name] == "" {
			all = append(all, name+" was added after the run ended")
		}
	}
	return all
}

// change says in one sentence, without a full stop, that files are not as they were when
// the run ended; "" if they are.
func (r *Run) change() string {
	const told = 5
	what, more := r.Changed, ""
	if len(what) == 0 {
		return ""
	}
	if n := len(what) - told; n > 0 {
		what, more = what[:told], fmt.Sprintf("; and %d files more", n)
	}
	return "these may not be the figures that were measured: " + strings.Join(what, "; ") + more
}
