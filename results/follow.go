package results

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFollow bounds what one call of [Follower.Next] reads of a file; the rest is
// for the next call.
const maxFollow = 16 << 20

// Follower reads a run directory while the run goes on, each line once, so that
// watching a run costs little however long it is.
type Follower struct {
	root    *os.Root
	offsets map[string]int64
	run     Run // only for its intervals, which are taken away after each call
	latency func([]byte) error
}

// Update is what was written to a run directory since the last one. Lines of
// blocks take earlier ones of the same key back, as in blocks.jsonl.
type Update struct {
	Seconds   []Second         `json:"seconds,omitempty"`
	Blocks    []Block          `json:"blocks,omitempty"`
	Events    []Event          `json:"events,omitempty"`
	Latencies []LatencySummary `json:"latencies,omitempty"`
	Done      *Done            `json:"done,omitempty"` // set once, with the last lines
}

// LatencySummary is what one metric recorded in one interval, on the response
// clock where it has one. Times are in seconds.
type LatencySummary struct {
	Key
	Metric   string   `json:"metric"`
	Start    float64  `json:"start"` // seconds since the epoch
	Length   float64  `json:"length"`
	N        int64    `json:"n"`
	Mean     float64  `json:"mean"`
	Max      float64  `json:"max"`
	P50      *float64 `json:"p50"` // null with too few samples
	P99      *float64 `json:"p99"`
	Lateness float64  `json:"lateness"` // the largest
}

// Follow begins to read a run directory, which may still be written. It must be
// closed.
func Follow(dir string) (*Follower, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("results: follow run: %w", err)
	}
	f := &Follower{root: root, offsets: make(map[string]int64)}
	if err := f.run.readHead(root); err != nil {
		return nil, errors.Join(fmt.Errorf("results: follow run %s: %w", dir, err), root.Close())
	}
	f.latency = f.run.intervalLine()
	return f, nil
}

// Close ends the reading.
func (f *Follower) Close() error { return f.root.Close() }

// Next returns what was written since the last call, which may be nothing. It
// does not wait for more. A line that is not complete yet is left for the next
// call; damage is an error that names the file. After an error the follower is of
// no more use.
func (f *Follower) Next() (Update, error) {
	var u Update
	var done Done
	// DONE is written last: what it speaks of has all been written.
	err := readJSON(f.root, fileDone, &done)
	ended := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return u, fmt.Errorf("results: follow run: %w", err)
	}
	more := false
	for _, file := range []struct {
		name string
		line func([]byte) error
	}{
		{fileSeries, appendLine(&u.Seconds)},
		{fileBlocks, appendLine(&u.Blocks)},
		{fileEvents, appendLine(&u.Events)},
		{fileLatency, f.latency},
	} {
		rest, err := f.lines(file.name, file.line)
		if err != nil {
			return u, fmt.Errorf("results: follow run: %s: %w", file.name, err)
		}
		more = more || rest
	}
	u.Latencies = f.takeIntervals()
	if ended && !more {
		u.Done = &done
	}
	return u, nil
}

// lines calls line for each complete line behind the offset of a file, and
// reports whether it left any for the next call.
func (f *Follower) lines(name string, line func([]byte) error) (more bool, err error) {
	file, err := openFile(f.root, name, maxLatency)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return false, err
	}
	at := f.offsets[name]
	if about.Size() < at {
		return false, errors.New("is shorter than it was")
	}
	b, err := io.ReadAll(io.NewSectionReader(file, at, min(about.Size()-at, maxFollow)))
	if err != nil {
		return false, err
	}
	complete := bytes.LastIndexByte(b, '\n') + 1
	if complete == 0 && len(b) > maxLine {
		return false, fmt.Errorf("has a line of more than %d bytes", maxLine)
	}
	for l := range bytes.Lines(b[:complete]) {
		if err := line(bytes.TrimSuffix(l, []byte("\n"))); err != nil {
			return false, fmt.Errorf("at byte %d: %w", at, err)
		}
		at += int64(len(l))
	}
	f.offsets[name] = at
	return complete > 0 && at < about.Size(), nil
}

// takeIntervals summarizes the intervals that have come together.
func (f *Follower) takeIntervals() []LatencySummary {
	var out []LatencySummary
	var d decoder
	for _, iv := range f.run.intervals {
		s := LatencySummary{Key: iv.key, Metric: iv.metric, Start: iv.start, Length: iv.length}
		h := NewHistogram()
		if iv.response != "" {
			d.mustAdd(iv.response, h)
			late := NewHistogram()
			d.mustAdd(iv.lateness, late)
			s.Lateness = late.Max().Seconds()
		} else {
			d.mustAdd(iv.service, h)
		}
		s.N, s.Mean, s.Max = h.N(), h.Mean().Seconds(), h.Max().Seconds()
		for _, q := range []struct {
			q  float64
			to **float64
		}{{0.5, &s.P50}, {0.99, &s.P99}} {
			if v := h.Quantile(q.q); v.OK {
				seconds := v.Value.Seconds()
				*q.to = &seconds
			}
		}
		out = append(out, s)
	}
	f.run.intervals = nil
	return out
}
