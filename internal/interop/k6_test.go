//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
)

// k6Program builds k6 with the extensions once and returns its path.
var k6Program = sync.OnceValues(func() (string, error) { return build("k6") })

// k6Password is that of all accounts in the tests with k6.
const k6Password = "secret"

// k6Limit bounds a script: a loaded machine must not fail a test.
const k6Limit = 10 * time.Minute

// k6Run is what a run of k6 came to.
type k6Run struct {
	code   int
	output string
	// figures are those of its summary, by metric and aggregation.
	figures map[string]map[string]float64
}

// k6 runs a script against the server as a user does, with the environment that the
// examples know and more of it, as NAME=VALUE.
func (s *Server) k6(t *testing.T, script string, env []string, args ...string) k6Run {
	t.Helper()
	path, err := k6Program()
	if err != nil {
		t.Fatal(err)
	}
	if script, err = filepath.Abs(script); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), k6Limit)
	defer cancel()
	dir := t.TempDir()
	summary := filepath.Join(dir, "summary.json")
	c := exec.CommandContext(ctx, path, append([]string{"run", "--quiet", "--no-color", "--summary-export", summary, "--summary-trend-stats", "min,avg,max,count", script}, args...)...)
	c.Dir = dir
	c.Env = append(append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true", "HOME="+dir,
		"SSL_CERT_FILE="+filepath.Join(s.Dir, "ca.pem"), "XMPP_TLS=starttls", "XMPP_HOST="+s.Host, "XMPP_PORT="+strconv.Itoa(s.C2S),
		"DOMAIN="+s.Domains[0], "XMPPBENCH_PASSWORD="+k6Password), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := k6Run{code: c.ProcessState.ExitCode(), output: out.String()}
	text, err := os.ReadFile(summary)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.output)
	}
	var told struct {
		Metrics map[string]map[string]any `json:"metrics"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	r.figures = make(map[string]map[string]float64)
	for metric, figures := range told.Metrics {
		r.figures[metric] = make(map[string]float64)
		for name, v := range figures {
			if n, ok := v.(float64); ok {
				r.figures[metric][name] = n
			}
		}
	}
	return r
}

// mustK6 fails the test unless a script ends with exit code 0, every check and login has
// succeeded, and there was no error besides those that are expected.
func (s *Server) mustK6(t *testing.T, script string, errors float64, env []string, args ...string) k6Run {
	t.Helper()
	r := s.k6(t, script, env, args...)
	if r.code != 0 || r.figures["xmpp_errors"]["count"] != errors || strings.Contains(r.output, "Uncaught") {
		t.Fatalf("%s: exit %d\n%s", script, r.code, r.output)
	}
	for _, rate := range []string{"checks", "xmpp_login_success"} {
		if f, there := r.figures[rate]; there && f["value"] != 1 {
			t.Errorf("%s: %s is %v\n%s", script, rate, f, r.output)
		}
	}
	return r
}

// expect fails the test unless figures of the summary are as they must be.
func (r k6Run) expect(t *testing.T, want map[string]float64) {
	t.Helper()
	for name, n := range want {
		metric, aggregation, _ := strings.Cut(name, " ")
		if got, there := r.figures[metric][aggregation]; !there || got != n {
			t.Errorf("%s is %v (there: %t), want %v\n%s", name, got, there, n, r.output)
		}
	}
}

// TestK6 runs the examples for users of k6, and a script that calls everything there is,
// against real servers over TLS. Thresholds on times are left out: the machine decides
// them.
func TestK6(t *testing.T) {
	t.Parallel()
	const domain = "bench.test"
	for kind, tt := range map[string]struct {
		create func(*testing.T, Options) *Server
		pages  string // whether publish-subscribe has them
	}{
		"prosody":  {NewProsody, "ignored"},
		"ejabberd": {NewEjabberd, "spoken"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := tt.create(t, Options{Domains: []string{domain}, RequireTLS: true, Versioning: true, Services: true, Admins: []string{"u0000000@" + domain, "m0@" + domain}})
			accounts := func(pattern string, n, contacts int) *population.Population {
				return mustPopulation(t, population.Config{Seed: 1, Domains: s.Domains, Pattern: pattern, Accounts: n, Contacts: contacts, Password: k6Password, Settled: true})
			}
			const contacts = 20
			mustApply(t, s, accounts("u{i:07}", 200, contacts), accounts("m{i}", 30, 0), accounts("l{i}", 300, contacts))
			s.Start(t)
			port := "COMPONENT_PORT=" + strconv.Itoa(s.Component)
			example := func(name string) string { return filepath.Join("..", "..", "examples", name) }

			t.Run("services", func(t *testing.T) {
				s.mustK6(t, filepath.Join("testdata", "k6", "services.js"), 5, []string{"PAGES=" + tt.pages, "SECRET=" + ComponentSecret, port})
			})
			t.Run("chat", func(t *testing.T) {
				r := s.mustK6(t, example("01-chat-rtt.js"), 0, nil, "--no-thresholds")
				r.expect(t, map[string]float64{"iterations count": 100, "xmpp_message_rtt count": 1000, "xmpp_sessions count": 200, "checks passes": 1100})
			})
			t.Run("storm", func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "run")
				r := s.mustK6(t, example("02-login-storm.js"), 0, []string{"MODES=monolithic,versioned", "EACH=100", "PEAK=10", "RAMP=2", "HOLD=1"}, "--no-thresholds", "--out", "xmpp-hdr="+out)
				n := r.figures["xmpp_roster_items"]["count"]
				if n < 40 {
					t.Errorf("%v rosters", n)
				}
				r.expect(t, map[string]float64{"xmpp_sessions count": n, "xmpp_roster_items min": contacts, "xmpp_roster_items max": contacts})
				report := mustXmppbench(t, "report", out)
				if !strings.Contains(report, "roster.complete") {
					t.Errorf("the report has no rosters:\n%s", report)
				}
			})
			t.Run("crowd", func(t *testing.T) {
				r := s.mustK6(t, example("03-online-crowd.ts"), 0, []string{"MEMBERS=20", "SILENT=200", "RAMP=2", "STAY=10", "PAUSE=0"})
				if r.figures["room_messages_seen"]["count"] == 0 || r.figures["xmpp_pubsub_items_duration"]["count"] == 0 || r.figures["xmpp_roster_items"]["count"] != 200 {
					t.Errorf("somebody was not there:\n%s", r.output)
				}
			})
			t.Run("strict", func(t *testing.T) {
				if r := s.k6(t, filepath.Join("testdata", "k6", "strict.js"), []string{port}); r.code != 99 {
					t.Errorf("exit %d with a threshold that fails\n%s", r.code, r.output)
				} else {
					r.expect(t, map[string]float64{"xmpp_ping_rtt count": 1, "xmpp_errors count": 2, "checks passes": 2, "checks fails": 0})
				}
			})
		})
	}
}

// TestK6Mesh runs the example of a mesh against real servers.
func TestK6Mesh(t *testing.T) {
	t.Parallel()
	const n = 3
	for _, c := range []struct {
		Federation
		kind, variants string
	}{
		{Federation{}, "prosody", "pair-external"},
		{Federation{Dialback: true}, "prosody", "pair-dialback,shared-dialback"},
		{Federation{}, "ejabberd", "pair-external"},
	} {
		t.Run(c.kind+" "+c.String(), func(t *testing.T) {
			t.Parallel()
			f := foreigner{kind: c.kind, Federation: c.Federation}
			target := f.federationTarget(t, n, n)
			s := &Server{Dir: filepath.Dir(target), Options: Options{Domains: []string{"unused.test"}}}
			size := fmt.Sprint(n)
			r := s.mustK6(t, filepath.Join("..", "..", "examples", "04-federation-mesh.js"), 0,
				[]string{"TARGET=" + target, "VARIANTS=" + c.variants, "N=" + size, "M=" + size, "SLOT=20"}, "--no-thresholds")
			opened := 3 * float64(len(strings.Split(c.variants, ",")))
			r.expect(t, map[string]float64{
				"iterations count": opened, "xmpp_s2s_setup_duration count": opened, "xmpp_s2s_pair_ready count": opened * n * n, "xmpp_s2s_rtt count": opened * 500,
			})
		})
	}
}
