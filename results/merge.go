package results

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MergeOptions say what [Merge] accepts.
type MergeOptions struct {
	// AllowDifferent merges runs although their machines, targets or wire formats
	// differ, or they did not run at the same time; the differences become notes.
	AllowDifferent bool
	Metrics        []Metric // table for the summary; nil means [Metrics]
}

// Merge writes into dir one run that holds what several recorded: the instances
// of one test that was split over processes or machines. Counts, errors and
// histograms of equal keys are added, bucket by bucket, so that a quantile is that
// of all samples together; means are exact to a nanosecond where all instances
// ended. Events keep the name of their run. The directory appears as a whole or not
// at all; it must not exist, or be empty.
//
// Runs of different scenarios or windows, the same run twice, and runs with figures
// that cannot be added, such as CPU time of a cell, are refused; so are runs that
// are not alike ([*DifferentError]), unless o allows them.
func Merge(dir string, runs []*Run, o MergeOptions) error {
	if len(runs) == 0 {
		return errors.New("results: merge: no runs")
	}
	if o.Metrics == nil {
		o.Metrics = Metrics()
	}
	notes, err := checkMergeable(runs, o)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("results: merge: %s is not empty: name a directory that does not exist", dir)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil { // #nosec G301 -- Others may read runs.
		return fmt.Errorf("results: merge: %w", err)
	}
	work, err := os.MkdirTemp(parent, ".merge-*")
	if err != nil {
		return fmt.Errorf("results: merge: %w", err)
	}
	m := merger{runs: runs, table: o.Metrics, dir: work, rec: NewRecorder()}
	err = m.write(mergedManifest(filepath.Base(filepath.Clean(dir)), runs, notes))
	if err == nil {
		err = os.Chmod(work, 0o755) // #nosec G302 -- as above
	}
	if err == nil {
		// An empty directory is in the way of a rename on some systems; any other
		// stays, and the rename fails.
		_ = os.Remove(dir)
		err = os.Rename(work, dir)
	}
	if err != nil {
		return fmt.Errorf("results: merge: %w", errors.Join(err, os.RemoveAll(work)))
	}
	return nil
}

// checkMergeable refuses what would give figures of nothing in particular, and
// returns the differences that were allowed.
func checkMergeable(runs []*Run, o MergeOptions) (notes []string, err error) {
	first := runs[0].Manifest
	type identity struct {
		id, host string
		started  int64
	}
	seen := make(map[identity]bool)
	for _, r := range runs {
		m := r.Manifest
		if len(r.Theory) > 0 {
			return nil, fmt.Errorf("results: merge: %s holds theory of single cells: only parts of one test are merged; compare sets runs side by side", m.ID)
		}
		if m.Scenario != first.Scenario {
			return nil, fmt.Errorf("results: merge: %s ran scenario %s and %s ran %s", first.ID, first.Scenario, m.ID, m.Scenario)
		}
		if m.Window != first.Window {
			return nil, fmt.Errorf("results: merge: the blocks of %s are windows of %gs and those of %s of %gs", first.ID, first.Window, m.ID, m.Window)
		}
		id := identity{m.ID, m.Environment.Host, m.Started.UnixNano()}
		if seen[id] {
			return nil, fmt.Errorf("results: merge: %s was given twice", m.ID)
		}
		seen[id] = true
		notes = append(notes, first.unversioned(m)...)
		diff := first.differences(m, true)
		if a, b := runs[0].span(), r.span(); a.to < b.from || b.to < a.from {
			diff = append(diff, "they did not run at the same time")
		}
		if len(diff) == 0 {
			continue
		}
		text := fmt.Sprintf("%s and %s are not alike: %s", first.ID, m.ID, strings.Join(diff, "; "))
		if !o.AllowDifferent {
			return nil, &DifferentError{What: "merge", Text: text}
		}
		notes = append(notes, text)
	}
	return notes, nil
}

// span is the time from the start of the run to its end, or to the last that is
// known of it.
func (r *Run) span() span {
	s := span{from: epoch(r.Manifest.Started)}
	s.to = s.from
	if !r.Partial {
		s.to = epoch(r.Done.Ended)
	}
	for _, iv := range r.intervals {
		s.to = max(s.to, iv.start+iv.length)
	}
	for _, second := range r.Series {
		s.to = max(s.to, epoch(second.Time))
	}
	return s
}

// MergedRun tells of one run that was merged, in the config of the manifest.
type MergedRun struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Status  Status    `json:"status"`
	Host    string    `json:"host,omitempty"`
	Argv    []string  `json:"argv,omitempty"`
	Config  any       `json:"config,omitempty"`
}

func mergedManifest(id string, runs []*Run, notes []string) Manifest {
	m := runs[0].Manifest
	m.Schema, m.ID, m.Argv, m.Processes = Schema, id, nil, nil
	m.Plans, m.Variants, m.Targets, m.Thresholds, m.Notes = nil, nil, nil, nil, nil
	var from []MergedRun
	var names []string
	for _, r := range runs {
		o := r.Manifest
		if o.Started.Before(m.Started) {
			m.Started = o.Started
		}
		m.Blocks = max(m.Blocks, o.Blocks)
		for _, p := range o.Processes {
			m.Processes = append(m.Processes, Process{Role: p.Role + "@" + o.ID, PID: p.PID})
		}
		m.Plans = addNew(m.Plans, o.Plans, func(a, b Plan) bool { return a.Name == b.Name })
		m.Variants = addNew(m.Variants, o.Variants, func(a, b string) bool { return a == b })
		m.Targets = addNew(m.Targets, o.Targets, func(a, b TargetInfo) bool { return a.Name == b.Name && a.Server == b.Server && a.Version == b.Version })
		m.Thresholds = addNew(m.Thresholds, o.Thresholds, func(a, b string) bool { return a == b })
		m.Notes = addNew(m.Notes, o.Notes, func(a, b string) bool { return a == b })
		from = append(from, MergedRun{ID: o.ID, Started: o.Started, Status: r.Done.Status, Host: o.Environment.Host, Argv: o.Argv, Config: o.Config})
		names = append(names, o.ID)
	}
	m.Notes = append(m.Notes, fmt.Sprintf("Merged from %s.", strings.Join(names, ", ")))
	m.Notes = append(m.Notes, notes...)
	m.Config = map[string]any{"merged": from}
	return m
}

// addNew appends those of from that to does not hold yet.
func addNew[T any](to, from []T, equal func(a, b T) bool) []T {
	for _, v := range from {
		if !slices.ContainsFunc(to, func(have T) bool { return equal(have, v) }) {
			to = append(to, v)
		}
	}
	return to
}

// merger replays what runs recorded into a recorder of its own, one interval of
// the log at a time, and writes what comes out.
type merger struct {
	runs  []*Run
	table []Metric
	dir   string
	rec   *Recorder
	dec   decoder
}

func (m *merger) write(manifest Manifest) error {
	if err := writeJSON(m.dir, fileManifest, manifest); err != nil {
		return err
	}
	log, err := m.create(fileLatency)
	if err != nil {
		return err
	}
	defer log.Close()
	series, err := m.create(fileSeries)
	if err != nil {
		return err
	}
	defer series.Close()
	if err := m.replay(manifest.Started, log, series); err != nil {
		return err
	}
	if err := errors.Join(log.Sync(), series.Sync()); err != nil {
		return err
	}
	var blocks, events bytes.Buffer
	if err := m.blocks(&blocks); err != nil {
		return err
	}
	for _, e := range m.events() {
		if err := encodeJSON(&events, e, ""); err != nil {
			return err
		}
	}
	if counts := m.counts(); len(counts) > 0 {
		if err := writeJSON(m.dir, fileCounts, counts); err != nil {
			return err
		}
	}
	for name, b := range map[string]*bytes.Buffer{fileBlocks: &blocks, fileEvents: &events} {
		if b.Len() == 0 {
			continue
		}
		f, err := m.create(name)
		if err != nil {
			return err
		}
		_, err = b.WriteTo(f)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	done := m.done()
	if err := writeSummary(m.dir, done, m.table); err != nil {
		return err
	}
	return finish(m.dir, done)
}

func (m *merger) create(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(m.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // #nosec G302 G304 -- Others may read runs; the name is one of this package.
}

// bin is what all runs recorded within one stretch of time.
type bin struct {
	span
	intervals []interval
	seconds   []Second
	of        []int // which run each second is of
}

// bins sorts intervals and seconds into stretches of the usual length of an
// interval, in order of time.
func (m *merger) bins() []*bin {
	var lengths []float64
	for _, r := range m.runs {
		for _, iv := range r.intervals {
			lengths = append(lengths, iv.length)
		}
	}
	width := 1.0
	if len(lengths) > 0 {
		slices.Sort(lengths)
		width = max(width, math.Round(lengths[len(lengths)/2]))
	}
	all := make(map[int64]*bin)
	at := func(t float64) *bin {
		n := int64(t / width)
		if all[n] == nil {
			all[n] = &bin{span: span{from: math.Inf(1)}}
		}
		return all[n]
	}
	for i, r := range m.runs {
		for _, iv := range r.intervals {
			b := at(iv.start)
			b.from, b.to = min(b.from, iv.start), max(b.to, iv.start+iv.length)
			b.intervals = append(b.intervals, iv)
		}
		for _, s := range r.Series {
			b := at(epoch(s.Time))
			b.seconds, b.of = append(b.seconds, s), append(b.of, i)
		}
	}
	out := make([]*bin, 0, len(all))
	for _, n := range slices.Sorted(maps.Keys(all)) {
		b := all[n]
		if len(b.intervals) == 0 {
			b.from = float64(n) * width
			b.to = b.from + width
		}
		out = append(out, b)
	}
	return out
}

func (m *merger) replay(started time.Time, log, series *os.File) error {
	var text bytes.Buffer
	writeLogHead(&text, started)
	for _, b := range m.bins() {
		second := Second{Time: clockTime(b.to)}
		second.Elapsed = max(second.Time.Sub(started).Seconds(), 0)
		for _, iv := range b.intervals {
			m.rec.mergeEncoded(iv, &m.dec)
		}
		for i, s := range b.seconds {
			for name, v := range s.Figures {
				if second.Figures == nil {
					second.Figures = make(map[string]float64)
				}
				second.Figures[name+"@"+m.runs[b.of[i]].Manifest.ID] = v
			}
			for _, c := range s.Counts {
				m.rec.Merge(countsDelta(c))
			}
		}
		d := m.rec.Take(second.Time)
		d.Start, d.End = clockTime(b.from), clockTime(b.to)
		lines, err := intervalLines(d)
		if err != nil {
			return err
		}
		text.Write(lines)
		second.Counts = secondCounts(d)
		if _, err := text.WriteTo(log); err != nil {
			return err
		}
		if len(second.Figures)+len(second.Counts) > 0 {
			if err := encodeJSON(series, second, ""); err != nil {
				return err
			}
		}
	}
	_, err := text.WriteTo(log)
	return err
}

func clockTime(seconds float64) time.Time { return time.UnixMilli(int64(math.Round(seconds * 1e3))) }

// countsDelta makes of the counts of an interval what a recorder merges.
func countsDelta(c SecondCounts) Delta {
	s := Snapshot{Counts: c.Counts}
	for name, kinds := range c.Errors {
		s.timings(name).Errors = kinds
	}
	for name, n := range c.Clamped {
		s.timings(name).Clamped = n
	}
	return Delta{Series: []DeltaSeries{{c.Key, s}}}
}

// mergeEncoded adds an interval that was read from a log.
func (r *Recorder) mergeEncoded(iv interval, d *decoder) {
	s := r.seriesOf(iv.key)
	t, ok := (*s.timed.Load())[iv.metric]
	if !ok {
		t = addEntry(&s.mu, &s.timed, iv.metric)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.t.Service == nil {
		t.t.Service = NewHistogram()
	}
	if iv.response != "" {
		t.t.plan()
	}
	n := d.mustAdd(iv.service, t.t.Service).n
	switch {
	case iv.response != "":
		d.mustAdd(iv.response, t.t.Response)
		d.mustAdd(iv.lateness, t.t.Lateness)
	case t.t.Response != nil:
		d.mustAdd(iv.service, t.t.Response)
		t.t.Lateness.Record(0, n)
	}
}

// blocks writes one line for each key that has a block in any run.
func (m *merger) blocks(to *bytes.Buffer) error {
	parts := make(map[Key][]Block)
	var order []Key
	for _, r := range m.runs {
		for _, b := range r.Blocks {
			if parts[b.Key] == nil {
				order = append(order, b.Key)
			}
			parts[b.Key] = append(parts[b.Key], b)
		}
	}
	slices.SortStableFunc(order, func(a, b Key) int { return cmp.Compare(a.Block, b.Block) })
	for _, key := range order {
		snap := m.rec.Total(key)
		merged, err := mergeBlocks(parts[key], &snap)
		if err != nil {
			return err
		}
		if err := encodeJSON(to, merged, ""); err != nil {
			return err
		}
	}
	return nil
}

// mergeBlocks makes one block of those of several runs. The figures come from
// what was recorded under its key.
func mergeBlocks(parts []Block, snap *Snapshot) (Block, error) {
	out := parts[0]
	out.Flags, out.Scalars, out.Errors = nil, nil, snap.Errors()
	ran := 0
	for _, b := range parts {
		out.Flags = append(out.Flags, b.Flags...)
		if b.Skipped != "" {
			continue
		}
		if ran++; ran == 1 {
			out.Start, out.End, out.Valid, out.Skipped = b.Start, b.End, b.Valid, ""
			continue
		}
		if b.Start.Before(out.Start) {
			out.Start = b.Start
		}
		if b.End.After(out.End) {
			out.End = b.End
		}
		out.Valid = out.Valid && b.Valid
	}
	if ran == 0 {
		return out, nil
	}
	out.Scalars = snap.Scalars()
	for metric, t := range snap.Metrics {
		exactFigures(out.Scalars, metric, t.Of(Response).N(), parts)
	}
	for _, b := range parts {
		for name, v := range b.Scalars {
			if _, ok := out.Scalars[name]; ok {
				continue
			}
			if v == 0 { // Counters that stayed at zero are in no second.
				out.Scalars[name] = 0
			} else {
				return out, fmt.Errorf("%s of block %d of plan %q, variant %q, is neither a count nor a time that was recorded, and cannot be merged: only parts of one test are merged; compare sets runs side by side",
					name, b.Block, b.Plan, b.Variant)
			}
		}
	}
	return out, nil
}

// exactFigures replaces mean and maximum, which a log knows to three digits, by
// those that the blocks tell, if they tell of all n samples.
func exactFigures(scalars map[string]float64, metric string, n int64, parts []Block) {
	var count, sum, largest float64
	for _, b := range parts {
		of := b.Scalars[metric+".n"]
		count += of
		sum += of * b.Scalars[metric+".mean"]
		largest = max(largest, b.Scalars[metric+".max"])
	}
	if n > 0 && count == float64(n) {
		scalars[metric+".mean"], scalars[metric+".max"] = sum/count, largest
	}
}

// counts adds what was counted, and what closed forms gave.
func (m *merger) counts() []Count {
	type name struct {
		metric, plan, variant string
		block                 int
	}
	place := make(map[name]int)
	var out []Count
	for _, r := range m.runs {
		for _, c := range r.Counts {
			n := name{c.Name, c.Plan, c.Variant, c.Block}
			i, known := place[n]
			if !known {
				place[n] = len(out)
				out = append(out, c)
				continue
			}
			out[i].Counted += c.Counted
			out[i].Expected += c.Expected
			out[i].Equal = out[i].Equal && c.Equal
		}
	}
	return out
}

// events are those of all runs in order of time, each with the name of its run.
func (m *merger) events() []Event {
	var out []Event
	for _, r := range m.runs {
		for _, e := range r.Events {
			e.Fields = maps.Clone(e.Fields)
			if e.Fields == nil {
				e.Fields = make(map[string]string)
			}
			e.Fields["run"] = r.Manifest.ID
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return out
}

// done says how the whole ended: as badly as its worst part.
func (m *merger) done() Done {
	worst := []Status{StatusOK, StatusInterrupted, StatusAborted, StatusFailed, StatusInvalid}
	out := Done{Status: StatusOK}
	for _, r := range m.runs {
		status, reasons := r.Done.Status, r.Done.Reasons
		if r.Partial {
			status, reasons = StatusInterrupted, []string{"did not end"}
		}
		if !slices.Contains(worst, status) {
			status = StatusFailed
		}
		if slices.Index(worst, status) > slices.Index(worst, out.Status) {
			out.Status = status
		}
		for _, reason := range reasons {
			out.Reasons = append(out.Reasons, r.Manifest.ID+": "+reason)
		}
		if ended := clockTime(r.span().to); ended.After(out.Ended) {
			out.Ended = ended
		}
	}
	return out
}
