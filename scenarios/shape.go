package scenarios

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/results"
)

// The arrival processes.
const (
	ArrivalsPoisson  = "poisson"
	ArrivalsConstant = "constant"
)

// Shape is how a load comes, as a scenario file says it:
//
//	200/s                                           a rate that does not change
//	ramp 0->200/s in 30s, hold 2m, ramp 200->0/s in 10s     stages
//	constant hold 50/s for 1m, hold 100/s for 1m    stages, the arrivals at equal distances
//	trace logins.txt                                offsets from a file, see bench.Trace
//	closed 16                                       a closed loop of 16 workers
//
// The zero value is no load at all.
type Shape struct {
	text    string // as it was written, spaces made one
	process string // of this load alone; empty: that of load.arrivals
	rate    float64
	stages  []stage
	workers int
	file    string // of a trace
	trace   bench.Pacer
	traced  uint64        // arrivals of the trace
	span    time.Duration // offset of its last one
}

type stage struct {
	bench.Stage
	hold bool // as opposed to a ramp
}

// ParseShape reads a shape. The file of a trace is not read.
func ParseShape(s string) (Shape, error) {
	words := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(s, "→", "->"), ",", " , "))
	shape := Shape{text: strings.ReplaceAll(strings.Join(words, " "), " , ", ", ")}
	if len(words) == 0 {
		return Shape{}, errors.New("is empty: give a rate such as 20/s, or stages such as ramp 0->20/s in 30s, hold 2m")
	}
	switch words[0] {
	case "trace":
		_, file, _ := strings.Cut(strings.TrimSpace(s), "trace")
		if shape.file = strings.TrimSpace(file); shape.file == "" {
			return Shape{}, errors.New("trace: name a file with an offset such as 250ms on each line")
		}
		shape.text = "trace " + shape.file
		return shape, nil
	case "closed":
		if len(words) != 2 {
			return Shape{}, errors.New("closed: say how many workers, as in closed 16")
		}
		n, err := ParseCount(words[1])
		if err != nil || n < 1 || n > maxClosed {
			return Shape{}, fmt.Errorf("closed %s: give a number of workers from 1 to %d", words[1], maxClosed)
		}
		shape.workers = int(n)
		return shape, nil
	case ArrivalsPoisson, ArrivalsConstant:
		shape.process, words = words[0], words[1:]
	}
	if len(words) == 1 {
		var err error
		if shape.rate, err = ParseRate(words[0]); err == nil && shape.rate == 0 {
			err = errors.New("a rate of 0 makes no arrivals")
		}
		return shape, err
	}
	return shape, shape.parseStages(words)
}

// maxClosed bounds the workers of a closed loop.
const maxClosed = 100_000

// maxStages bounds the stages of a shape.
const maxStages = 1000

func (s *Shape) parseStages(words []string) error {
	rate, known := 0.0, false // at the end of the stages so far
	for n := 1; ; n++ {
		end := slices.Index(words, ",")
		one := words
		if end >= 0 {
			one = words[:end]
		}
		st, err := parseStage(one, rate, known)
		if err != nil {
			return fmt.Errorf("stage %d: %w", n, err)
		}
		if n > maxStages {
			return fmt.Errorf("more than %d stages", maxStages)
		}
		s.stages = append(s.stages, st)
		rate, known = st.To, true
		if end < 0 {
			break
		}
		words = words[end+1:]
	}
	if _, err := bench.Stages(s.plain()...); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "bench: stages: "))
	}
	if s.peak() == 0 {
		return errors.New("all rates are 0: no arrivals")
	}
	return nil
}

// parseStage reads "ramp A->B in D", "hold D" or "hold R for D".
func parseStage(words []string, rate float64, known bool) (stage, error) {
	text := strings.Join(words, " ")
	usage := fmt.Errorf("%q is no stage: write ramp 0->200/s in 30s, hold 2m, or hold 200/s for 2m", text)
	if len(words) == 0 {
		return stage{}, usage
	}
	st := stage{hold: words[0] == "hold"}
	var before, length string
	var timed bool
	switch {
	case words[0] == "ramp":
		before, length, timed = strings.Cut(text, " in ")
		from, to, ok := strings.Cut(strings.TrimPrefix(before, "ramp"), "->")
		if !ok || !timed {
			return stage{}, usage
		}
		var err error
		if st.To, err = ParseRate(strings.TrimSpace(to)); err != nil {
			return stage{}, err
		}
		from = strings.TrimSpace(from)
		if !strings.Contains(from, "/") {
			from += to[strings.IndexByte(to, '/'):]
		}
		if st.From, err = ParseRate(strings.TrimSpace(from)); err != nil {
			return stage{}, err
		}
	case st.hold:
		before, length, timed = strings.Cut(strings.TrimPrefix(text, "hold"), " for ")
		if !timed {
			before, length = "", before
			if !known {
				return stage{}, fmt.Errorf("%s: at which rate? write hold 200/s for 2m, or begin with a ramp", text)
			}
		}
		st.From = rate
		if timed {
			var err error
			if st.From, err = ParseRate(strings.TrimSpace(before)); err != nil {
				return stage{}, err
			}
		}
		st.To = st.From
	default:
		return stage{}, usage
	}
	var err error
	if st.Duration, err = ParseDuration(strings.TrimSpace(length)); err != nil {
		return stage{}, err
	}
	return st, nil
}

// load reads the file of a trace, whose name is relative to dir.
func (s Shape) load(dir string) (Shape, error) {
	if s.file == "" {
		return s, nil
	}
	name := s.file
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() {
		return s, fmt.Errorf("%s is not a file", name)
	}
	f, err := os.Open(name) // #nosec G304 -- a file that its user names
	if err != nil {
		return s, err
	}
	defer f.Close()
	return s.read(f)
}

// read takes the offsets of a trace.
func (s Shape) read(r io.Reader) (Shape, error) {
	var err error
	if s.trace, err = bench.Trace(r); err != nil {
		return s, fmt.Errorf("%s: %s", s.file, strings.TrimPrefix(err.Error(), "bench: trace "))
	}
	for {
		at, ok := s.trace.At(s.traced)
		if !ok {
			break
		}
		s.traced, s.span = s.traced+1, at
	}
	if s.traced == 0 {
		return s, fmt.Errorf("%s: no arrivals: want an offset such as 250ms on each line", s.file)
	}
	return s, nil
}

// Any reports whether there is any load.
func (s Shape) Any() bool { return s.text != "" }

// Workers returns the size of a closed loop, 0 for an open one.
func (s Shape) Workers() int { return s.workers }

// String returns the shape as a scenario file says it; "none" for no load.
func (s Shape) String() string {
	if s.text == "" {
		return "none"
	}
	return s.text
}

// MarshalJSON writes the text, null for no load.
func (s Shape) MarshalJSON() ([]byte, error) {
	if s.text == "" {
		return []byte("null"), nil
	}
	return json.Marshal(s.text)
}

// UnmarshalJSON reads what MarshalJSON wrote; a number is a rate in arrivals per
// second. The file of a trace is not read.
func (s *Shape) UnmarshalJSON(b []byte) error {
	var text string
	switch {
	case bytes.Equal(b, []byte("null")), bytes.Equal(b, []byte("0")):
		*s = Shape{}
		return nil
	case len(b) > 0 && b[0] != '"':
		text = string(b) + "/s"
	default:
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	var err error
	*s, err = ParseShape(text)
	return err
}

// plain are the stages as the engine takes them.
func (s Shape) plain() []bench.Stage {
	var all []bench.Stage
	for _, st := range s.stages {
		all = append(all, st.Stage)
	}
	return all
}

// peak is the highest rate, 0 where that is not known beforehand.
func (s Shape) peak() float64 {
	top := s.rate
	for _, st := range s.stages {
		top = max(top, st.From, st.To)
	}
	return top
}

// length returns when the last arrival is over, and false for a load without an end.
func (s Shape) length() (time.Duration, bool) {
	if s.trace != nil {
		return s.span + 1, true
	}
	var sum time.Duration
	for _, st := range s.stages {
		sum += st.Duration
	}
	return sum, len(s.stages) > 0
}

// held returns the window that the shape itself says is to be measured: from the
// first hold to the end of the last one, so that a ramp before them is warm-up and
// one behind them cool-down; all of it where nothing is held.
func (s Shape) held() (from, to time.Duration) {
	var at time.Duration
	found := false
	for _, st := range s.stages {
		if st.hold && st.From > 0 {
			if !found {
				from = at
			}
			found, to = true, at+st.Duration
		}
		at += st.Duration
	}
	if !found {
		to, _ = s.length()
	}
	return from, to
}

// expected returns how many arrivals lie in a window, on average; 0 for a closed loop.
func (s Shape) expected(from, to time.Duration) float64 {
	switch {
	case s.trace != nil:
		n := 0.0
		for seq := range s.traced {
			if at, _ := s.trace.At(seq); at >= from && at < to {
				n++
			}
		}
		return n
	case s.stages != nil:
		n := 0.0
		var at time.Duration
		for _, st := range s.stages {
			n += st.Arrivals(to-at) - st.Arrivals(from-at)
			at += st.Duration
		}
		return n
	}
	return s.rate * (to - from).Seconds()
}

// reaches returns when arrival n is expected, and false if there are fewer. Of a
// closed loop it is a guess: 10 ms for each.
func (s Shape) reaches(n int) (time.Duration, bool) {
	switch {
	case s.workers > 0:
		return time.Duration(n) * 10 * time.Millisecond, true
	case n <= 0:
		return 0, true
	}
	s.process = ArrivalsConstant
	p, err := s.pacer(ArrivalsConstant, 0)
	if err != nil {
		return 0, false
	}
	return p.At(uint64(n - 1)) // n is above 0
}

// random reports whether the number of arrivals in a window is random.
func (s Shape) random(arrivals string) bool {
	if s.process != "" {
		arrivals = s.process
	}
	return s.trace == nil && s.workers == 0 && arrivals == ArrivalsPoisson
}

// pacer is the arrival plan of an open loop.
func (s Shape) pacer(arrivals string, seed uint64) (bench.Pacer, error) {
	random := s.random(arrivals)
	switch {
	case s.file != "" && s.trace == nil:
		return nil, fmt.Errorf("scenarios: the trace %s was not read", s.file)
	case s.trace != nil:
		return s.trace, nil
	case s.stages != nil && random:
		return bench.PoissonStages(seed, s.plain()...)
	case s.stages != nil:
		return bench.Stages(s.plain()...)
	case random:
		return bench.Poisson(s.rate, seed)
	}
	return bench.Constant(s.rate)
}

// engine fills in what says when operations start: a plan up to end, or workers.
func (s Shape) engine(c *bench.Config, arrivals string, seed uint64, end time.Duration) error {
	if s.workers > 0 {
		c.Workers = s.workers
		return nil
	}
	p, err := s.pacer(arrivals, seed)
	if err != nil {
		return err
	}
	c.Pacer = bench.Until(p, end)
	return nil
}

// A Stream is one load of a plan.
type Stream struct {
	// Key is where the scenario file says how it comes, such as "messages.rate".
	Key string
	Shape
}

// Streams returns the loads of the plan.
func (p Plan) Streams() []Stream {
	all := []Stream{{"logins.rate", p.Logins}, {"load.rate", p.Load.Rate}}
	for _, f := range p.traffic() {
		all = append(all, f.Stream)
	}
	return slices.DeleteFunc(all, func(s Stream) bool { return !s.Any() })
}

// Closed returns the loads that are closed loops. Every output has to say so.
func (p Plan) Closed() []Stream {
	return slices.DeleteFunc(p.Streams(), func(s Stream) bool { return s.workers == 0 })
}

// end is when all loads end.
func (l Load) end() time.Duration { return l.Warmup + l.Duration + l.Cooldown }

// Arrivals is what one load of a plan comes to in each cell, before anything is
// connected.
type Arrivals struct {
	Plan   string `json:"plan"`
	Stream string `json:"stream"` // key of the scenario file
	Shape  string `json:"shape"`
	// The expected numbers of arrivals by window. A closed loop has none: it goes as
	// fast as the target.
	Warmup   float64 `json:"warmup"`
	Measured float64 `json:"measured"`
	Cooldown float64 `json:"cooldown"`
	Closed   bool    `json:"closed,omitempty"`
}

// Arrivals returns what the loads of the plan come to.
func (p Plan) Arrivals() []Arrivals {
	var all []Arrivals
	opens, closes, end := p.Load.Warmup, p.Load.Warmup+p.Load.Duration, p.Load.end()
	for _, s := range p.Streams() {
		a := Arrivals{Plan: p.Label, Stream: s.Key, Shape: s.String(), Closed: s.workers > 0}
		a.Warmup, a.Measured, a.Cooldown = s.expected(0, opens), s.expected(opens, closes), s.expected(closes, end)
		all = append(all, a)
	}
	return all
}

// Stages returns the stretches of the measured window in which loads of the plan hold a
// rate, of those loads that hold several.
func (p Plan) Stages() []results.Stage {
	metrics := map[string]string{"load.rate": "ready"}
	for _, f := range p.traffic() {
		metrics[f.Key] = f.metric
	}
	var all []results.Stage
	for _, s := range p.Streams() {
		if metrics[s.Key] == "" {
			continue
		}
		var held []results.Stage
		var at time.Duration
		for _, st := range s.stages {
			from, to := max(at-p.Load.Warmup, 0), min(at+st.Duration-p.Load.Warmup, p.Load.Duration)
			if at += st.Duration; st.hold && st.From > 0 && from < to {
				held = append(held, results.Stage{Load: s.Key, Metric: metrics[s.Key], Rate: st.From, From: from.Seconds(), To: to.Seconds()})
			}
		}
		if len(held) > 1 {
			all = append(all, held...)
		}
	}
	return all
}

// windows takes the windows of a plan from its stages or traces, where they are not
// given: the stretch that all of them hold. Stages of the command line go before
// windows of the file.
func (p *Plan) windows(set []string) error {
	from := p.Given
	if slices.ContainsFunc(p.Streams(), func(s Stream) bool { _, finite := s.length(); return finite && slices.Contains(set, s.Key) }) {
		from = set
	}
	given := func(path string) bool { return slices.Contains(from, path) }
	return p.fitWindows(given)
}

func (p *Plan) fitWindows(given func(path string) bool) error {
	if given("load.duration") {
		return nil
	}
	var from, to, end time.Duration
	found := false
	for _, s := range p.Streams() {
		length, finite := s.length()
		if !finite {
			continue
		}
		begin, until := s.held()
		if !found {
			found, from, to = true, begin, until
		}
		from, to, end = max(from, begin), min(to, until), max(end, length)
	}
	if !found {
		return nil
	}
	if given("load.warmup") {
		from = p.Load.Warmup
	}
	if to <= from {
		return errors.New("the loads hold their rates at no common time: say what is to be measured by load.warmup and load.duration")
	}
	p.Load.Warmup, p.Load.Duration = from, to-from
	if !given("load.cooldown") {
		p.Load.Cooldown = end - to
	}
	return nil
}

// labelClosed adds closed loops to the label of the plan, which every output shows.
func (p *Plan) labelClosed() {
	for _, s := range p.Closed() {
		text := labelText(s.text)
		if slices.Contains(slices.Collect(maps.Values(p.Dimensions)), text) {
			continue // a dimension tells it already
		}
		if p.Dimensions == nil {
			p.Dimensions = make(map[string]string)
		}
		p.Dimensions[s.Key] = text
		if p.Label != "" {
			p.Label += ","
		}
		p.Label += s.Key + "=" + text
	}
}
