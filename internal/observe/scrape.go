package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrapeEvery is how often a server is asked for its metrics. It makes them itself, on the thread that serves users where it has only
// one, so it is asked seldom.
const scrapeEvery = 5 * time.Second

// maxMetrics bounds the metrics that are kept of one answer.
const maxMetrics = 1000

// scraper asks a server for what it tells of itself.
type scraper struct {
	metrics, api string
	client       *http.Client

	mu   sync.Mutex
	next time.Time
}

func newScraper(metrics, api string) (*scraper, error) {
	for key, text := range map[string]string{"metrics": metrics, "api": api} {
		if text == "" {
			continue
		}
		if _, err := parseURL(text); err != nil {
			return nil, fmt.Errorf("observe: %s %q is not a URL: %w", key, text, err)
		}
	}
	return &scraper{metrics: metrics, api: strings.TrimSuffix(api, "/"), client: newClient()}, nil
}

func (s *scraper) close() { s.client.CloseIdleConnections() }

// read asks the server if it is time to, and says what it did not answer.
func (s *scraper) read(ctx context.Context) (values map[string]float64, missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.next) {
		return nil, nil
	}
	s.next = time.Now().Add(scrapeEvery - time.Second/2) // whoever reads once a second does not come late
	values = make(map[string]float64)
	if s.metrics != "" {
		got, err := s.scrape(ctx)
		if err != nil {
			missing = append(missing, fmt.Sprintf("metrics: %v", err))
		}
		maps.Copy(values, got)
	}
	if s.api != "" {
		got, err := s.ask(ctx)
		if err != nil {
			missing = append(missing, fmt.Sprintf("api: %v", err))
		}
		maps.Copy(values, got)
	}
	return values, missing
}

func (s *scraper) scrape(ctx context.Context) (map[string]float64, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.metrics, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5")
	b, err := ask(s.client, q)
	if err != nil {
		return nil, err
	}
	values, err := ParseMetrics(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.metrics, err)
	}
	return values, nil
}

// ParseMetrics reads metrics in the text format of Prometheus 0.0.4 or of OpenMetrics 1.0: values by name, with their labels in order
// where they have any, as in name{a="1",b="2"}. Of histograms and summaries it keeps sum and count. Samples that are not numbers, times
// of samples, and the times at which OpenMetrics began to count are left out; an answer with more than a thousand samples is an error.
func ParseMetrics(b []byte) (map[string]float64, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(withoutTimes(b)))
	if err != nil {
		return nil, fmt.Errorf("is not in the format of Prometheus: %w", err)
	}
	values := make(map[string]float64)
	put := func(name string, m *dto.Metric, v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) && !strings.HasSuffix(name, "_created") {
			values[name+labels(m)] = v
		}
	}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case m.Gauge != nil:
				put(name, m, m.Gauge.GetValue())
			case m.Counter != nil:
				put(name, m, m.Counter.GetValue())
			case m.Untyped != nil:
				put(name, m, m.Untyped.GetValue())
			case m.Summary != nil:
				put(name+"_sum", m, m.Summary.GetSampleSum())
				put(name+"_count", m, float64(m.Summary.GetSampleCount()))
			case m.Histogram != nil:
				put(name+"_sum", m, m.Histogram.GetSampleSum())
				put(name+"_count", m, float64(m.Histogram.GetSampleCount()))
			}
			if len(values) > maxMetrics {
				return nil, fmt.Errorf("holds more than %d samples", maxMetrics)
			}
		}
	}
	return values, nil
}

// withoutTimes cuts the times from samples, which OpenMetrics writes as seconds with a fraction and the parser does not take, and what
// follows the end that OpenMetrics marks.
func withoutTimes(b []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		trimmed := bytes.TrimSpace(line)
		if bytes.Equal(trimmed, []byte("# EOF")) {
			break
		}
		if len(trimmed) > 0 && trimmed[0] != '#' {
			// Labels may hold spaces, and braces in quotes; what follows the last brace does not.
			start := bytes.LastIndexByte(trimmed, '}') + 1
			if words := bytes.Fields(trimmed[start:]); start == 0 && len(words) > 2 {
				trimmed = bytes.Join(words[:2], []byte(" "))
			} else if start > 0 && len(words) > 1 {
				trimmed = append(append(bytes.Clone(trimmed[:start]), ' '), words[0]...)
			}
		}
		out.Write(trimmed)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// Sessions returns how many sessions of clients the metrics of a server tell of, and false if they do not. Prosody's and ejabberd's
// have been held against counts of our own; MongooseIM's, of one node, stand as its documentation describes them.
func Sessions(metrics map[string]float64) (int, bool) {
	sum, ok := 0.0, false
	for key, v := range metrics {
		name, labels, _ := strings.Cut(key, "{")
		switch {
		case name == "ejabberd.sessions", name == "sm_session_count",
			name == "prosody_mod_c2s__connections" && strings.Contains(labels, `type="c2s"`):
			sum, ok = sum+v, true
		}
	}
	return int(sum), ok
}

// labels writes the labels of a sample in order of their names.
func labels(m *dto.Metric) string {
	if len(m.GetLabel()) == 0 {
		return ""
	}
	var all []string
	for _, l := range m.GetLabel() {
		all = append(all, l.GetName()+"="+strconv.Quote(l.GetValue()))
	}
	slices.Sort(all)
	return "{" + strings.Join(all, ",") + "}"
}

// An apiFigure is a number that ejabberd tells through mod_http_api.
type apiFigure struct {
	name    string         // in [Reading.Metrics]
	command string         // of the API
	input   map[string]any // its arguments
}

func apiFigures() []apiFigure {
	return []apiFigure{
		{"ejabberd.sessions", "connected_users_number", nil},
		{"ejabberd.processes", "stats", map[string]any{"name": "processes"}},
		{"ejabberd.users", "stats", map[string]any{"name": "registeredusers"}},
		{"ejabberd.uptime", "stats", map[string]any{"name": "uptimeseconds"}},
		{"ejabberd.s2s.in", "incoming_s2s_number", nil},
		{"ejabberd.s2s.out", "outgoing_s2s_number", nil},
	}
}

// ask asks ejabberd for each of its figures.
func (s *scraper) ask(ctx context.Context) (map[string]float64, error) {
	values := make(map[string]float64)
	for _, f := range apiFigures() {
		v, err := s.command(ctx, f)
		if err != nil {
			return values, err
		}
		values[f.name] = v
	}
	return values, nil
}

func (s *scraper) command(ctx context.Context, f apiFigure) (float64, error) {
	input := f.input
	if input == nil {
		input = map[string]any{}
	}
	body, err := json.Marshal(input)
	if err != nil {
		return 0, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api+"/"+url.PathEscape(f.command), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Content-Type", "application/json")
	b, err := ask(s.client, q)
	if err != nil {
		return 0, err
	}
	return number(s.api+"/"+f.command, b)
}

// number takes the answer to a command: a number, or in newer versions an object of one number.
func number(from string, b []byte) (float64, error) {
	var v float64
	if json.Unmarshal(b, &v) == nil {
		return v, nil
	}
	var object map[string]float64
	if json.Unmarshal(b, &object) == nil && len(object) == 1 {
		for _, v := range object {
			return v, nil
		}
	}
	return 0, errors.New(from + " did not answer with a number")
}
