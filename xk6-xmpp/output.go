package xk6xmpp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/errext/exitcodes"
	"go.k6.io/k6/v2/lib"
	"go.k6.io/k6/v2/metrics"
	"go.k6.io/k6/v2/output"

	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// OutputName is what --out and K6_OUT call the output by.
const OutputName = "xmpp-hdr"

// RegisterOutput makes the output known to k6.
func RegisterOutput() {
	output.RegisterExtension(OutputName, func(p output.Params) (output.Output, error) { return newHDR(p) })
}

// hdrOptions are what the argument of --out xmpp-hdr=DIR,KEY=VALUE,... says.
type hdrOptions struct {
	dir      string
	block    time.Duration // length of a window; 0 means a thirtieth of the test
	interval time.Duration // between writes; 0 means as the length of the test allows
	series   int           // that are told apart
	without  []string      // tags that are left out
	variant  string        // tag that is the variant; empty means the mode, or the scenario
	primary  string        // figure that decides
}

// maxSeries bounds the option series: as many sets of histograms are kept at a time.
const maxSeries = 10_000

func parseHDROptions(argument string) (hdrOptions, error) {
	dir, rest, _ := strings.Cut(argument, ",")
	o := hdrOptions{dir: dir, series: 500}
	for _, setting := range strings.FieldsFunc(rest, func(r rune) bool { return r == ',' }) {
		key, value, _ := strings.Cut(setting, "=")
		var err error
		switch {
		case value == "":
			err = errors.New("has no value")
		case key == "block":
			o.block, err = atLeastSecond(value)
		case key == "interval":
			o.interval, err = atLeastSecond(value)
		case key == "series":
			if o.series, err = strconv.Atoi(value); err != nil || o.series < 1 || o.series > maxSeries {
				err = fmt.Errorf("%q is not a number from 1 to %d", value, maxSeries)
			}
		case key == "without":
			o.without = append(o.without, value)
		case key == "variant":
			o.variant = value
		case key == "primary":
			o.primary = value
		default:
			err = errors.New("is not known: there are block, interval, series, without, variant, primary")
		}
		if err != nil {
			return o, fmt.Errorf("%s: option %q: %w", OutputName, key, err)
		}
	}
	return o, nil
}

func atLeastSecond(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%q is not a time of at least a second, such as 10s", value)
	}
	return d, nil
}

// hdr is the output: it puts samples into histograms as they come, in memory that
// grows with the number of series and not with that of samples, and writes them to a
// run directory while the test goes on.
//
// A series is what a metric says under one set of tags. Blocks are windows in time.
type hdr struct {
	opts   hdrOptions
	params output.Params
	log    logrus.FieldLogger
	now    func() time.Time
	tags   tagRules

	started  time.Time
	writer   *results.Writer
	recorder *results.Recorder
	stop     chan struct{}
	ticking  sync.WaitGroup
	judged   map[results.Key]bool // plans and variants that have a block; used by one goroutine at a time

	mu      sync.Mutex // guards what follows
	series  map[metrics.TimeSeries]*hdrSeries
	known   map[hdrName]*hdrSeries
	plans   map[string]bool
	order   map[results.Key]int   // of a variant in its plan, as they were met; its Block is 0
	windows map[int][]results.Key // that recorded something, not closed yet
	open    int                   // the first window that is not closed
	left    map[string]bool       // metrics that are not written
	over    int64                 // samples of series beyond the limit
	dropped float64               // iterations
}

// hdrName tells series apart.
type hdrName struct {
	metric        *metrics.Metric
	plan, variant string
}

// hdrSeries is one series, and where its samples of the latest window go.
type hdrSeries struct {
	take    func(s results.Sink, sample metrics.Sample)
	key     results.Key // of the latest window
	sink    results.Sink
	beyond  bool // stands for all series beyond the limit
	dropped bool // counts iterations that k6 did not start in time
}

func newHDR(p output.Params) (*hdr, error) {
	o, err := parseHDROptions(p.ConfigArgument)
	if err != nil {
		return nil, err
	}
	if o.dir, err = hdrDirectory(o.dir, p); err != nil {
		return nil, err
	}
	return &hdr{
		opts: o, params: p, log: p.Logger.WithField("output", OutputName), now: time.Now, tags: newTagRules(o, p.ScriptOptions),
		series: make(map[metrics.TimeSeries]*hdrSeries), known: make(map[hdrName]*hdrSeries),
		plans: make(map[string]bool), order: make(map[results.Key]int), windows: make(map[int][]results.Key), left: make(map[string]bool),
		judged: make(map[results.Key]bool),
	}, nil
}

// hdrDirectory fills in {instance}, by which the pods of a test, which all have the
// same arguments, write into directories of their own.
func hdrDirectory(dir string, p output.Params) (string, error) {
	if dir == "" {
		return filepath.Join("runs", results.DirName(scriptName(p), time.Now())), nil
	}
	if !strings.Contains(dir, "{instance}") {
		return dir, nil
	}
	instance := p.ScriptOptions.RunTags["instance_id"]
	if instance == "" {
		return "", fmt.Errorf("%s: %s names {instance}, but the test has no tag instance_id: give it with --tag instance_id=1", OutputName, dir)
	}
	if strings.ContainsAny(instance, `/\`) {
		return "", fmt.Errorf("%s: the tag instance_id %q cannot be part of a file's name", OutputName, instance)
	}
	return strings.ReplaceAll(dir, "{instance}", instance), nil
}

// scriptName is the name of the scenario in the run directory.
func scriptName(p output.Params) string {
	if p.ScriptPath == nil || filepath.Base(p.ScriptPath.Path) == "-" {
		return "k6"
	}
	return filepath.Base(p.ScriptPath.Path)
}

// Description implements [output.Output].
func (h *hdr) Description() string { return fmt.Sprintf("%s (%s)", OutputName, h.opts.dir) }

// Start implements [output.Output]: it makes the run directory.
func (h *hdr) Start() error {
	h.fit()
	h.started = h.now()
	h.recorder = results.NewRecorder()
	w, err := results.Create(h.opts.dir, h.manifest(), results.Options{Recorder: h.recorder, Interval: h.opts.interval})
	if err != nil {
		return fmt.Errorf("%s: %w", OutputName, err)
	}
	h.writer = w
	h.stop = make(chan struct{})
	h.ticking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-h.stop:
				return
			case <-tick.C:
				// A second for samples that are under way.
				h.closeWindows(h.window(h.now().Add(-time.Second)))
			}
		}
	})
	return nil
}

// fit chooses the length of windows and intervals so that a long test leaves a
// directory that can be read. It looks at the whole test, not at the segment of this
// instance: all instances must have the same windows.
func (h *hdr) fit() {
	var planned time.Duration
	if et, err := lib.NewExecutionTuple(nil, nil); err == nil {
		planned, _ = lib.GetEndOffset(h.params.ScriptOptions.Scenarios.GetFullExecutionRequirements(et))
	}
	if h.opts.block == 0 {
		h.opts.block = max(planned/30, 5*time.Second).Round(time.Second)
	}
	if h.opts.interval == 0 {
		h.opts.interval = min(max(planned/3600, time.Second), time.Minute).Round(time.Second)
	}
}

// hdrConfig is the config of the manifest. It has nothing of what may hold secrets,
// such as the environment.
type hdrConfig struct {
	Script    string                       `json:"script"`
	Scenarios map[string]map[string]string `json:"scenarios,omitempty"`
	Tags      map[string]string            `json:"tags,omitempty"` // of the whole test
	Segment   string                       `json:"segment,omitempty"`
	Block     string                       `json:"block"`
	Interval  string                       `json:"interval"`
	Series    int                          `json:"series"`
	Without   []string                     `json:"without,omitempty"`
	Variant   string                       `json:"variant,omitempty"`
}

func (h *hdr) manifest() results.Manifest {
	o := h.params.ScriptOptions
	config := hdrConfig{
		Script: scriptName(h.params), Tags: o.RunTags, Block: h.opts.block.String(), Interval: h.opts.interval.String(),
		Series: h.opts.series, Without: h.opts.without, Variant: h.opts.variant, Scenarios: make(map[string]map[string]string),
	}
	for name, scenario := range o.Scenarios {
		config.Scenarios[name] = map[string]string{"executor": scenario.GetType(), "start": scenario.GetStartTime().String(), "exec": scenario.GetExec()}
	}
	if o.ExecutionSegment != nil {
		config.Segment = o.ExecutionSegment.String()
	}
	return results.Manifest{
		Scenario: scriptName(h.params), Config: config, Window: h.opts.block.Seconds(), Primary: h.opts.primary,
		Processes: []results.Process{{Role: "generator", PID: os.Getpid()}},
		Wire:      map[string]string{"xmppbench": strconv.Itoa(wire.WireVersion)},
		Limits:    results.DefaultLimits(),
		Notes: []string{
			"Measured by k6: times are those of the operations themselves. How late an operation began is not known, and is not part of them.",
			fmt.Sprintf("Blocks are windows of %s of one test, not repetitions.", h.opts.block),
		},
	}
}

// window is the number of the window that a moment lies in.
func (h *hdr) window(at time.Time) int { return int(max(at.Sub(h.started), 0) / h.opts.block) }

// AddMetricSamples implements [output.Output].
func (h *hdr) AddMetricSamples(containers []metrics.SampleContainer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range containers {
		for _, sample := range c.GetSamples() {
			h.add(sample)
		}
	}
}

func (h *hdr) add(sample metrics.Sample) {
	s, known := h.series[sample.TimeSeries]
	if !known {
		s = h.find(sample.TimeSeries)
	}
	if s == nil {
		return
	}
	if s.beyond {
		h.over++
	}
	if s.dropped {
		h.dropped += sample.Value
	}
	// A sample that comes after its window was closed counts in the first open one.
	if w := max(h.window(sample.Time), h.open); s.sink == nil || s.key.Block != w {
		s.key.Block = w
		s.sink = h.recorder.Sink(s.key)
		if !slices.Contains(h.windows[w], s.key) {
			h.windows[w] = append(h.windows[w], s.key)
		}
	}
	s.take(s.sink, sample)
}

// find returns the series of a k6 time series, several of which are one here when they
// differ in tags that are left out; nil for a metric that is not written.
func (h *hdr) find(ts metrics.TimeSeries) *hdrSeries {
	if h.left[ts.Metric.Name] {
		return nil
	}
	take := takerOf(ts.Metric)
	if take == nil {
		h.left[ts.Metric.Name] = true
		return nil
	}
	name := hdrName{metric: ts.Metric}
	dimensions := make(map[string]string)
	name.plan, name.variant = h.tags.split(ts.Metric.Name, ts.Tags.Map(), dimensions)
	s := h.known[name]
	if s == nil && len(h.known) >= h.opts.series {
		if h.over == 0 {
			h.log.Warnf("more than %d sets of metric and tags: further ones are written together as plan %q; leave tags out with without=TAG, or raise series=", h.opts.series, beyondPlan)
		}
		name.plan, name.variant, dimensions = beyondPlan, beyondPlan, nil
		s = h.known[name]
	}
	if s == nil {
		key := results.Key{Plan: name.plan, Variant: name.variant}
		s = &hdrSeries{take: take, key: key, beyond: name.plan == beyondPlan, dropped: ts.Metric.Name == metrics.DroppedIterationsName}
		h.known[name] = s
		if !h.plans[name.plan] {
			h.plans[name.plan] = true
			h.writer.Plan(results.Plan{Name: name.plan, Dimensions: dimensions})
		}
		if _, met := h.order[key]; !met {
			n := 0
			for k := range h.order {
				if k.Plan == key.Plan {
					n++
				}
			}
			h.order[key] = n
		}
	}
	// Tags that are left out may have any number of values: what is remembered of
	// them is bounded like everything else.
	if len(h.series) >= 10*maxSeries {
		clear(h.series)
	}
	h.series[ts] = s
	return s
}

// beyondPlan is the plan, and the variant, of all series beyond the limit.
const beyondPlan = "(other tags)"

// closed is a window that takes no more samples: its blocks are to be written.
type closed struct {
	number int
	whole  bool // not cut off by the end of the test
	keys   []results.Key
	order  []int // places of their variants
}

// closeWindows writes the blocks of all windows before the given one.
func (h *hdr) closeWindows(before int) {
	for _, c := range h.shut(before, func(int) bool { return true }) {
		h.writeBlocks(c)
	}
}

// shut lets no more samples into windows before the given one. Their histograms are read
// without the lock then, so that k6 never waits for it.
func (h *hdr) shut(before int, whole func(window int) bool) (all []closed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ; h.open < before; h.open++ {
		c := closed{number: h.open, whole: whole(h.open), keys: h.windows[h.open]}
		for _, key := range c.keys {
			c.order = append(c.order, h.order[results.Key{Plan: key.Plan, Variant: key.Variant}])
		}
		delete(h.windows, h.open)
		all = append(all, c)
	}
	return all
}

func (h *hdr) writeBlocks(c closed) {
	start := h.started.Add(time.Duration(c.number) * h.opts.block)
	end := start.Add(h.opts.block)
	if now := h.now(); now.Before(end) {
		end = now
	}
	for i, key := range c.keys {
		total := h.recorder.Total(key)
		arm := results.Key{Plan: key.Plan, Variant: key.Variant}
		// What the end cut off is no evidence: its counts are those of a shorter time, and
		// what ended last is what was slow. For a short scenario it is all there is.
		valid := c.whole || !h.judged[arm]
		h.judged[arm] = true
		h.writer.Block(results.Block{
			Key: key, Order: c.order[i], Start: start.Round(0), End: end.Round(0),
			Valid: valid, Scalars: total.Scalars(), Errors: total.Errors(),
		})
		h.recorder.Forget(key)
	}
}

// Stop implements [output.Output].
func (h *hdr) Stop() error { return h.StopWithTestError(nil) }

// StopWithTestError implements [output.WithStopWithTestError]: it writes what is left
// and how the test ended.
func (h *hdr) StopWithTestError(testErr error) error {
	close(h.stop)
	h.ticking.Wait()
	now := h.now()
	for _, c := range h.shut(h.last(now)+1, func(window int) bool {
		return !now.Before(h.started.Add(time.Duration(window+1) * h.opts.block))
	}) {
		h.writeBlocks(c)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over > 0 {
		h.writer.Flag(results.Flag{Kind: "series", Severity: results.Warning,
			Text: fmt.Sprintf("%d samples had tags beyond the first %d sets of metric and tags and were written together", h.over, h.opts.series)})
	}
	if h.dropped > 0 {
		h.writer.Flag(results.Flag{Kind: "dropped", Severity: results.Warning,
			Text: fmt.Sprintf("k6 dropped %g iterations for want of free virtual users: the rate was not kept, and times are those of an easier test", h.dropped)})
	}
	for _, name := range slices.Sorted(maps.Keys(h.left)) {
		h.writer.Event("left-out", "a metric that is not written", map[string]string{"metric": name})
	}
	status, reasons := testStatus(testErr)
	if err := h.writer.Close(status, reasons...); err != nil {
		return fmt.Errorf("%s: %w", OutputName, err)
	}
	return nil
}

// last is the last window that has anything. Samples have a clock of their own, which
// may be ahead.
func (h *hdr) last(now time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Max(append(slices.Collect(maps.Keys(h.windows)), h.window(now)))
}

// testStatus says how a test ended.
func testStatus(err error) (results.Status, []string) {
	if err == nil {
		return results.StatusOK, nil
	}
	status := results.StatusFailed
	var coded errext.HasExitCode
	if errors.As(err, &coded) {
		switch coded.ExitCode() {
		case exitcodes.ExternalAbort, exitcodes.ScriptAborted, exitcodes.ScriptStoppedFromRESTAPI:
			status = results.StatusInterrupted
		}
	}
	return status, []string{err.Error()}
}

// takerOf returns what makes figures of the samples of a metric: times go into
// histograms, counts, rates and sizes into counters. It is nil for what is not
// written: gauges, and metrics of other protocols.
func takerOf(m *metrics.Metric) func(results.Sink, metrics.Sample) {
	name := NativeName(m.Name)
	switch {
	case otherProtocol(m.Name):
	case m.Name == metricErrors:
		return takeError
	case m.Name == metricLoginSuccess:
		return takeRate("logins", "logins.failed")
	case m.Type == metrics.Trend && m.Contains == metrics.Time:
		return func(s results.Sink, sample metrics.Sample) {
			// k6 has milliseconds, and no moment at which it should have begun.
			took := time.Duration(math.Round(sample.Value * 1e6))
			start := sample.Time.Add(-took)
			s.Observe(results.Sample{Metric: name, Intended: start, Start: start, End: sample.Time})
		}
	case m.Type == metrics.Trend:
		sum := takeSum(name + ".sum")
		return func(s results.Sink, sample metrics.Sample) {
			sum(s, sample)
			s.Count(name+".samples", 1)
		}
	case m.Type == metrics.Counter:
		return takeSum(name)
	case m.Type == metrics.Rate:
		return takeRate(name+".true", name+".false")
	}
	return nil
}

func takeRate(yes, no string) func(results.Sink, metrics.Sample) {
	return func(s results.Sink, sample metrics.Sample) {
		if sample.Value != 0 {
			s.Count(yes, 1)
		} else {
			s.Count(no, 1)
		}
	}
}

// takeSum adds values up. Counters are whole: what is left of a fraction waits for the
// next sample of the series.
func takeSum(name string) func(results.Sink, metrics.Sample) {
	var rest float64
	return func(s results.Sink, sample metrics.Sample) {
		rest += sample.Value
		whole := math.Floor(rest)
		rest -= whole
		s.Count(name, int64(whole))
	}
}

// failure is an error that is known by its condition.
type failure string

func (f failure) Error() string { return string(f) }
func (f failure) Kind() string  { return string(f) }

// takeError makes of a count of errors as many failed samples of the step that failed.
func takeError(s results.Sink, sample metrics.Sample) {
	stage, _ := sample.Tags.Get("stage")
	condition, _ := sample.Tags.Get("condition")
	metric := cmp.Or(stage, "error")
	switch stage {
	case "dial", "tls", "sasl", "bind":
		metric = "login." + stage
	case "stream", "session":
		metric = "login"
	case "roster":
		metric = "roster.complete"
	}
	for range int(sample.Value) {
		s.Observe(results.Sample{Metric: metric, Err: failure(cmp.Or(condition, "error"))})
	}
}

// NativeName is what the native engine calls the metric of k6 called name, where both
// mean the same; otherwise the name in the native manner.
func NativeName(name string) string {
	switch name {
	case metricLogin:
		return "login"
	case metricRoster:
		return "roster.complete"
	case metricRosterFirst:
		return "roster.first"
	case metricDial, metricTLS, metricSASL, metricBind:
		return "login." + strings.TrimSuffix(strings.TrimPrefix(name, "xmpp_"), "_duration")
	case metricSessions:
		return "sessions.bound" // sessions are those held
	case metrics.DataSentName:
		return "bytes.out.tls"
	case metrics.DataReceivedName:
		return "bytes.in.tls"
	}
	if rest, ours := strings.CutPrefix(name, "xmpp_"); ours {
		return strings.ReplaceAll(strings.TrimSuffix(rest, "_duration"), "_", ".")
	}
	return name
}

// otherProtocol reports whether a metric is one that k6 has for another protocol.
func otherProtocol(name string) bool {
	return slices.ContainsFunc([]string{"http_", "ws_", "grpc_", "browser_"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// tagRules say what becomes of tags.
type tagRules struct {
	without  []string          // tags that are left out
	run      map[string]string // tags of the whole test, which tell nothing apart
	variants []string          // tags one of which is the variant, the first that is there
	implied  bool              // the variant tells the scenario
}

// variantTags are the tags by which k6/x/xmpp says how something was done.
func variantTags() []string { return []string{"items_mode", "roster_mode", "s2s_strategy"} }

func newTagRules(o hdrOptions, options lib.Options) tagRules {
	r := tagRules{
		// Where an instance ran is not what was measured; proto is XMPP; a check is
		// counted with the others.
		without:  append([]string{"instance_id", "ip", "proto", "check"}, o.without...),
		run:      options.RunTags,
		variants: variantTags(),
	}
	if o.variant != "" {
		r.variants = []string{o.variant}
	}
	// Where each scenario is given a variant of its own, its name says nothing more,
	// and variants stand side by side.
	seen := make(map[string]bool)
	r.implied = len(options.Scenarios) > 0
	for _, scenario := range options.Scenarios {
		value := ""
		for _, tag := range r.variants {
			value = cmp.Or(value, scenario.GetTags()[tag])
		}
		if value == "" || seen[value] {
			r.implied = false
		}
		seen[value] = true
	}
	return r
}

// usualLayout is the layout of a strategy that nobody set; empty if there is no such
// strategy.
func usualLayout(strategy string) string {
	v, ok := s2s.Find(strategy)
	if !ok {
		return ""
	}
	params, err := v.Parse(nil)
	if err != nil {
		return ""
	}
	return v.Layout(params).String()
}

// split turns the tags of a series of a metric into the names of a plan and a variant,
// and puts those of the plan into dimensions.
func (r tagRules) split(metric string, tags, dimensions map[string]string) (plan, variant string) {
	if tags["s2s_layout"] == usualLayout(tags["s2s_strategy"]) {
		delete(tags, "s2s_layout") // The strategy says it.
	}
	for _, tag := range r.variants {
		if variant = tags[tag]; variant != "" {
			delete(tags, tag)
			break
		}
	}
	if variant == "" || r.implied {
		variant = cmp.Or(variant, tags["scenario"], "all")
		delete(tags, "scenario")
	}
	if metric == metricErrors || metric == metricLoginSuccess {
		delete(tags, "stage") // These become what failed, and how.
		delete(tags, "condition")
	}
	var names []string
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		value := tags[tag]
		if value == "" || slices.Contains(r.without, tag) || r.run[tag] == value {
			continue
		}
		dimensions[tag] = value
		if strings.ContainsAny(value, " =\"") {
			value = strconv.Quote(value)
		}
		names = append(names, tag+"="+value)
	}
	return cmp.Or(strings.Join(names, " "), "all"), variant
}
