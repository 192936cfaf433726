package results

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Schema is the version of the run directory that this package writes; it
// stands in every manifest. A reader accepts the same name with an equal or
// lower number.
const Schema = "xmppbench.run/1"

// Manifest is what a run was meant to do and where it ran: manifest.json, the
// first file of a run directory. It holds no passwords; keeping them out of
// Config and Argv is the caller's duty.
type Manifest struct {
	Schema      string            `json:"schema"`
	ID          string            `json:"id"`       // name of the run, unique
	Scenario    string            `json:"scenario"` // its name
	Started     time.Time         `json:"started"`
	Argv        []string          `json:"argv,omitempty"`
	Config      any               `json:"config,omitempty"` // the scenario after defaults, any JSON
	Seeds       map[string]uint64 `json:"seeds,omitempty"`
	Plans       []Plan            `json:"plans,omitempty"`    // in order
	Variants    []string          `json:"variants,omitempty"` // in order; one that ends in "#aa" repeats the one before the mark
	Baseline    string            `json:"baseline,omitempty"` // the variant that the others are compared with
	Primary     string            `json:"primary,omitempty"`  // the scalar that decides, such as "probe.mean"
	Alpha       float64           `json:"alpha,omitempty"`    // joint error probability of the verdicts of a plan; 0 means 0.05
	Blocks      int               `json:"blocks,omitempty"`
	Window      float64           `json:"window,omitempty"`     // seconds; set if blocks are windows in time of one test that goes on, not repetitions
	Thresholds  []string          `json:"thresholds,omitempty"` // as [Parse] reads them
	Targets     []TargetInfo      `json:"targets,omitempty"`
	Processes   []Process         `json:"processes,omitempty"`
	Link        map[string]string `json:"link,omitempty"` // parameters of the shaped link, absent without one
	Wire        map[string]string `json:"wire,omitempty"` // version of each protocol variant's wire format
	Limits      Limits            `json:"limits"`         // of the self-check
	Notes       []string          `json:"notes,omitempty"`
	Environment Environment       `json:"environment"`
}

// check refuses what no run can have been made with.
func (m Manifest) check() error {
	switch {
	case m.Alpha != 0 && !(m.Alpha >= leastAlpha && m.Alpha < 1):
		return fmt.Errorf("alpha is %g: want a probability of error from %g up to 1", m.Alpha, leastAlpha)
	case m.Window < 0:
		return fmt.Errorf("window is %g: want seconds, or none", m.Window)
	case m.Blocks < 0:
		return fmt.Errorf("blocks is %d: want a number from 0", m.Blocks)
	}
	for _, p := range m.Plans {
		if p.Blocks < 0 {
			return fmt.Errorf("blocks of plan %q is %d: want a number from 0", p.Name, p.Blocks)
		}
	}
	return nil
}

// leastAlpha is a probability of error below which levels could not be told from 1.
const leastAlpha = 1e-12

// Plan is one combination of the values of all dimensions.
type Plan struct {
	Name       string            `json:"name"`
	Dimensions map[string]string `json:"dimensions,omitempty"` // only those that take several values in the run

	// Stages are the stretches in which a load of the plan holds a rate, where there are several.
	Stages []Stage `json:"stages,omitempty"`

	// Where they differ from those of the run.
	Blocks int               `json:"blocks,omitempty"`
	Seeds  map[string]uint64 `json:"seeds,omitempty"`
	Limits *Limits           `json:"limits,omitempty"`
}

// TargetInfo describes what was measured.
type TargetInfo struct {
	Name    string            `json:"name"`              // "sim", or the name of the target file
	Server  string            `json:"server,omitempty"`  // software
	Version string            `json:"version,omitempty"` // as it says of itself (XEP-0092); the simulator has that of the environment
	Details map[string]string `json:"details,omitempty"`
}

// Process is a process that took part.
type Process struct {
	Role string `json:"role"` // "generator", "worker", "simulator", "server"
	PID  int    `json:"pid"`
}

// checkSchema refuses what a reader of the schema own, that of what is named, cannot
// know.
func checkSchema(s, own, what string) error {
	name, number, ok := strings.Cut(s, "/")
	wantName, wantNumber, _ := strings.Cut(own, "/")
	n, err := strconv.Atoi(number)
	if !ok || name != wantName || err != nil || n < 1 {
		return fmt.Errorf("schema %q is not that of %s (want %q)", s, what, own)
	}
	if want, _ := strconv.Atoi(wantNumber); n > want {
		return fmt.Errorf("schema %q is newer than this program, which reads %q and older: use a newer xmppbench", s, own)
	}
	return nil
}

// Block is one line of blocks.jsonl: what one variant did in one block of one
// plan. Scalars hold a metric's <name>.mean, .p50 and .max in seconds and its
// .n, and counts and resources under their plain names (CPU in seconds, sizes
// in bytes); [Snapshot.Scalars] makes them. A later line of the same key with an
// [Invalid] flag takes an earlier one back.
type Block struct {
	Key
	Order   int                         `json:"order"`          // position of the variant within the block, from 0
	Start   time.Time                   `json:"start,omitzero"` // of the cell; of a load, of its measured window
	End     time.Time                   `json:"end,omitzero"`
	Valid   bool                        `json:"valid"`             // false: not used as evidence
	Skipped string                      `json:"skipped,omitempty"` // why the cell was not run
	Flags   []Flag                      `json:"flags,omitempty"`   // of the self-check
	Scalars map[string]float64          `json:"scalars,omitempty"`
	Errors  map[string]map[string]int64 `json:"errors,omitempty"` // by metric and kind
}

// Stage is a stretch of a block in which a load holds a rate.
type Stage struct {
	Load   string  `json:"load"`   // key of the load
	Metric string  `json:"metric"` // that times its operations
	Rate   float64 `json:"rate"`   // per second
	// From and To are in seconds from the start of the block.
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Theory is one line of theory.jsonl: what a model expects of a variant on the
// link of a plan, under the names that [Block] uses, and by metric the samples
// that a [Timeline] should show.
type Theory struct {
	Plan      string             `json:"plan"`
	Variant   string             `json:"variant"`
	Scalars   map[string]float64 `json:"scalars"`
	Timelines map[string][]Point `json:"timelines,omitempty"`
}

// Timeline is one line of timelines.jsonl: the samples of a metric in one block,
// each at the time at which it was due. It is kept where a histogram would hide
// what matters, which is when a sample was slow.
type Timeline struct {
	Key
	Metric string  `json:"metric"`
	Since  string  `json:"since"`          // what happened at zero, such as "roster request"
	Points []Point `json:"points"`         // in order of time
	Thin   int     `json:"thin,omitempty"` // points that the writer left out, never the largest of their stretch
}

// Point is a sample: when it was due, in seconds since the zero of its timeline,
// and how long it took, in seconds.
type Point [2]float64

// Count is one entry of counts.json: a counted figure beside its closed form.
type Count struct {
	Name     string  `json:"name"`
	Plan     string  `json:"plan,omitempty"`
	Variant  string  `json:"variant,omitempty"`
	Block    int     `json:"block"`
	Counted  float64 `json:"counted"`
	Expected float64 `json:"expected"`
	Equal    bool    `json:"equal"` // set by the writer
}

// Event is one line of events.jsonl.
type Event struct {
	Time   time.Time         `json:"time"`
	Kind   string            `json:"kind"` // "session", "error", "repeat", "flag", …
	Text   string            `json:"text,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	Count  int64             `json:"count,omitempty"` // in the last lines: how many of this kind there were
}

// Second is one line of series.jsonl. Figures and counts have lines of their own, since a
// reading of figures may take longer than an interval. Lines with figures are in order of
// time among themselves, as are those with counts.
type Second struct {
	Time    time.Time          `json:"time"`              // end of the interval, or when the reading of the figures began
	Elapsed float64            `json:"elapsed"`           // the same in seconds since the run directory was made
	Figures map[string]float64 `json:"figures,omitempty"` // what the caller sampled
	Counts  []SecondCounts     `json:"counts,omitempty"`  // increments of this interval
}

// SecondCounts are the counters and errors of one key within one interval.
type SecondCounts struct {
	Key
	Counts  map[string]int64            `json:"counts,omitempty"`
	Errors  map[string]map[string]int64 `json:"errors,omitempty"`
	Clamped map[string]int64            `json:"clamped,omitempty"`
}

// Status says how a run ended.
type Status string

// How a run can end. A directory without DONE is Partial: the program died.
const (
	StatusOK          Status = "ok"
	StatusFailed      Status = "failed"
	StatusInvalid     Status = "invalid"
	StatusInterrupted Status = "interrupted"
	StatusAborted     Status = "aborted" // by a threshold
	StatusPartial     Status = "partial"
)

// Done is the file DONE, the last one written.
type Done struct {
	Status  Status            `json:"status"`
	Reasons []string          `json:"reasons,omitempty"`
	Ended   time.Time         `json:"ended"`
	SHA256  map[string]string `json:"sha256"` // of the other files, hexadecimal
}

// Names of the files of a run directory.
const (
	fileManifest = "manifest.json"
	fileLatency  = "latency.hlog"
	fileSeries   = "series.jsonl"
	fileEvents   = "events.jsonl"
	fileBlocks   = "blocks.jsonl"
	fileTheory   = "theory.jsonl"
	fileTimeline = "timelines.jsonl"
	fileSearch   = "search.jsonl"
	fileCounts   = "counts.json"
	fileSheet    = "sheet.json"
	fileSummary  = "summary.json"
	fileDone     = "DONE"
)
