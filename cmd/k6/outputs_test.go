package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/klauspost/compress/snappy"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// TestOutputs sends the metrics of one test through the outputs that k6 brings along:
// remote write of Prometheus, OpenTelemetry and the report of the web dashboard.
func TestOutputs(t *testing.T) {
	const logins = 20 // of the script
	sim, err := simulator.Start(t.Context(), simulator.Config{
		Populations: []population.Config{{Domains: []string{"bench.test"}, Accounts: logins, Contacts: 5, Password: "secret"}},
		Listeners:   []simulator.Listener{{Address: "127.0.0.1:0", Security: simulator.Plaintext}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sim.Close(t.Context()) }()
	_, port, _ := net.SplitHostPort(sim.Addrs()[0].String())

	got := &receiver{t: t, prometheus: make(map[string]float64), telemetry: make(map[string]float64)}
	server := httptest.NewServer(got)
	defer server.Close()
	dir := t.TempDir()
	report := filepath.Join(dir, "report.html")
	run := exec.CommandContext(t.Context(), "k6", "run", "--quiet", "--out", "experimental-prometheus-rw", "--out", "opentelemetry",
		"--out", "web-dashboard", "-e", "XMPP_PORT="+port, filepath.Join("testdata", "outputs.js"))
	run.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true", "HOME="+dir,
		"K6_PROMETHEUS_RW_SERVER_URL="+server.URL+"/write", "K6_PROMETHEUS_RW_TREND_STATS=max",
		"K6_OTEL_EXPORTER_PROTOCOL=http/protobuf", "K6_OTEL_HTTP_EXPORTER_INSECURE=true", "K6_OTEL_HTTP_EXPORTER_ENDPOINT="+server.Listener.Addr().String(),
		"K6_WEB_DASHBOARD_PORT=-1", "K6_WEB_DASHBOARD_PERIOD=500ms", "K6_WEB_DASHBOARD_EXPORT="+report)
	said, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}

	got.mu.Lock()
	defer got.mu.Unlock()
	for name, figures := range map[string]struct{ got, want map[string]float64 }{
		"prometheus": {got.prometheus, map[string]float64{"k6_xmpp_sessions_total": logins, "k6_xmpp_login_success_rate": 1, "k6_xmpp_login_duration_max": taken, "k6_xmpp_ping_rtt_max": taken}},
		"telemetry":  {got.telemetry, map[string]float64{"xmpp_sessions": logins, "xmpp_login_success.total": logins, "xmpp_login_duration": logins, "xmpp_ping_rtt": logins}},
		"dashboard":  {dashboard(t, report), map[string]float64{"xmpp_sessions": logins, "xmpp_login_success": 1, "xmpp_login_duration": taken, "xmpp_ping_rtt": taken}},
	} {
		for metric, want := range figures.want {
			if n, there := figures.got[metric]; !there || n != want && (want != taken || n <= 0) {
				t.Errorf("%s has %v of %s, want %v; it has %v\n%s", name, n, metric, want, figures.got, said)
			}
		}
	}
}

// taken stands for a time: more than nothing.
const taken = -1

// receiver takes what the outputs send and keeps the last value of every metric: of the
// samples with the tag of the script.
type receiver struct {
	t  *testing.T
	mu sync.Mutex

	prometheus, telemetry map[string]float64
}

// ServeHTTP implements http.Handler.
func (x *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if r.URL.Path == "/write" {
			err = x.write(body)
		} else {
			err = x.export(body, r.Header.Get("Content-Encoding") == "gzip")
		}
	}
	if err != nil {
		x.t.Errorf("%s: %v", r.URL, err)
		w.WriteHeader(http.StatusBadRequest)
	}
}

// write takes a request of remote write.
func (x *receiver) write(body []byte) error {
	body, err := snappy.Decode(nil, body)
	if err != nil {
		return err
	}
	var request prompb.WriteRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, series := range request.GetTimeseries() {
		labels := map[string]string{}
		for _, l := range series.GetLabels() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["side"] != "a" {
			continue
		}
		for _, s := range series.GetSamples() {
			x.prometheus[labels["__name__"]] = s.GetValue()
		}
	}
	return nil
}

// export takes a request of OpenTelemetry's protocol.
func (x *receiver) export(body []byte, compressed bool) error {
	if compressed {
		plain, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(plain); err != nil {
			return err
		}
	}
	var request collector.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, resource := range request.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				n := 0.0
				for _, point := range m.GetSum().GetDataPoints() {
					if tagged(point.GetAttributes()) {
						n += point.GetAsDouble() + float64(point.GetAsInt())
					}
				}
				for _, point := range m.GetHistogram().GetDataPoints() {
					if tagged(point.GetAttributes()) {
						n += float64(point.GetCount())
					}
				}
				x.telemetry[m.GetName()] = n
			}
		}
	}
	return nil
}

// tagged tells whether attributes hold the tag of the script.
func tagged(attributes []*common.KeyValue) bool {
	return slices.ContainsFunc(attributes, func(a *common.KeyValue) bool {
		return a.GetKey() == "side" && a.GetValue().GetStringValue() == "a"
	})
}

// embedded is where a report of the dashboard keeps its data.
var embedded = regexp.MustCompile(`<script id="data" [^>]*>\s*([^<]*\S)\s*</script>`)

// dashboard returns the first aggregate of each metric over the whole test, as a report of
// the dashboard has it.
func dashboard(t *testing.T, file string) map[string]float64 {
	t.Helper()
	html, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := embedded.FindSubmatch(html)
	if found == nil {
		t.Fatal("the report of the dashboard holds no data")
	}
	plain, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(found[1])))
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]json.RawMessage{}
	var aggregates [][]float64 // in the order of the names
	for d := json.NewDecoder(plain); ; {
		var event struct {
			Event string
			Data  json.RawMessage
		}
		if err = d.Decode(&event); err != nil {
			break
		}
		switch event.Event {
		case "metric":
			err = json.Unmarshal(event.Data, &metrics)
		case "cumulative":
			err = json.Unmarshal(event.Data, &aggregates)
		}
		if err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) || len(aggregates) != len(metrics) {
		t.Fatalf("%v; %d metrics, %d of them aggregated", err, len(metrics), len(aggregates))
	}
	first := map[string]float64{}
	for i, name := range slices.Sorted(maps.Keys(metrics)) {
		if len(aggregates[i]) > 0 {
			first[name] = aggregates[i][0]
		}
	}
	return first
}
