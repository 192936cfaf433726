package observe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/observe"
)

// TestParseMetrics reads what servers write. prosody.txt is in the form of OpenMetrics as Prosody 0.12 writes it, with what the standard
// allows besides. mongooseim.txt is written after the documentation of MongooseIM 6.3: no such server has been asked, so its figures
// are untested.
func TestParseMetrics(t *testing.T) {
	for name, want := range map[string]map[string]float64{
		"prosody": {
			`prosody_mod_c2s__connections{host="a.test",ip_family="ipv4",type="c2s"}`:              7,
			`prosody_mod_c2s__connections{host="a.test",ip_family="ipv6",type="c2s"}`:              1,
			`prosody_mod_c2s__connections{host="b.test",ip_family="ipv4",type="c2s_unauthed"}`:     3,
			`prosody_mod_c2s__encrypted_total{cipher="TLS_AES_128_GCM_SHA256",protocol="TLSv1.3"}`: 7,
			`prosody_stats_processing_seconds_sum`:                                                 3.814697265625e-06,
			`prosody_stats_processing_seconds_count`:                                               2,
			`with_time`:                                                                            1.5,
			`label_with_brace{a="} 2 3",b="z"}`:                                                    4,
		},
		"mongooseim": {
			`sm_session_count{host_type="localhost"}`:                 41,
			`sm_session_count{host_type="anonymous auth"}`:            2,
			`sm_session_logins{host_type="localhost"}`:                105,
			`sm_total_sessions_count`:                                 60,
			`c2s_message_processed_time_sum{host_type="localhost"}`:   7421,
			`c2s_message_processed_time_count{host_type="localhost"}`: 9,
			`system_memory_total`:                                     9.437184e7,
		},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := observe.ParseMetrics(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		sessions, ok := observe.Sessions(got)
		if wantSessions := map[string]int{"prosody": 8, "mongooseim": 43}[name]; !ok || sessions != wantSessions {
			t.Errorf("%s: %d sessions, %t; want %d", name, sessions, ok, wantSessions)
		}
	}
	if n, ok := observe.Sessions(map[string]float64{"other": 5, "sm_session_logins": 7}); ok {
		t.Errorf("%d sessions out of nothing", n)
	}
	var many strings.Builder
	for i := range 1100 {
		fmt.Fprintf(&many, "m%d 1\n", i)
	}
	for text, want := range map[string]string{"<html>\n": "is not in the format of Prometheus", many.String(): "more than 1000"} {
		if _, err := observe.ParseMetrics([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseMetrics(f *testing.F) {
	for _, name := range []string{"prosody", "mongooseim"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := observe.ParseMetrics(b)
		if err != nil {
			return
		}
		for name, v := range got {
			if name == "" || v-v != 0 {
				t.Errorf("%q is %v", name, v)
			}
		}
		again, err := observe.ParseMetrics(b)
		if err != nil || !maps.Equal(got, again) {
			t.Errorf("read twice: %v and %v, %v", got, again, err)
		}
	})
}

// TestScrape asks a server for its metrics, and for nothing more often than every five seconds.
func TestScrape(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, "sm_session_count{host_type=\"a\"} 3\n# EOF\n")
	}))
	defer s.Close()
	o := open(t, observe.Config{Metrics: s.URL})
	r, err := o.Read(t.Context())
	if err != nil || r.PIDs != nil || r.Sessions != 3 || r.Metrics[`sm_session_count{host_type="a"}`] != 3 || r.Missing != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err = o.Read(t.Context()); err != nil || r.Sessions != -1 || len(r.Metrics) > 0 || asked != 1 {
		t.Errorf("asked %d times: %+v, %v", asked, r, err)
	}
	if _, err := o.CPU(t.Context()); err == nil {
		t.Error("metrics alone have no CPU time")
	}
	s.Close()
	r, err = open(t, observe.Config{Metrics: s.URL}).Read(t.Context())
	if err != nil || len(r.Missing) != 1 || !strings.Contains(r.Missing[0], "metrics: ") {
		t.Errorf("nobody answers: %+v, %v", r, err)
	}
}

// TestAPI asks as ejabberd's mod_http_api wants to be asked: some versions answer with a number, some with an object of one.
func TestAPI(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var in map[string]string
		if q.Method != http.MethodPost || json.NewDecoder(q.Body).Decode(&in) != nil {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		switch q.URL.Path + in["name"] {
		case "/api/connected_users_number":
			_, _ = io.WriteString(w, "12")
		case "/api/statsprocesses":
			_, _ = io.WriteString(w, `{"stat":345}`)
		case "/api/statsregisteredusers", "/api/statsuptimeseconds":
			_, _ = io.WriteString(w, "1")
		case "/api/incoming_s2s_number":
			_, _ = io.WriteString(w, `"many"`)
		default:
			http.NotFound(w, q)
		}
	}))
	defer s.Close()
	r, err := open(t, observe.Config{API: s.URL + "/api/"}).Read(t.Context())
	want := map[string]float64{"ejabberd.sessions": 12, "ejabberd.processes": 345, "ejabberd.users": 1, "ejabberd.uptime": 1}
	if err != nil || !maps.Equal(r.Metrics, want) || r.Sessions != 12 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.Missing) != 1 || !strings.Contains(r.Missing[0], "incoming_s2s_number did not answer with a number") {
		t.Errorf("missing: %q", r.Missing)
	}
}
