package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// TestSegments runs a test in one process and in three segments, with the command line
// of the operator for Kubernetes: paused, and started over REST. The server must see the
// same number of logins, no account twice, and merged counts must be equal.
func TestSegments(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join("testdata", "segments.js")
	logins := map[string]int64{}
	for _, split := range []int{1, 3} {
		sim, err := simulator.Start(t.Context(), simulator.Config{
			Populations: []population.Config{{Domains: []string{"bench.test"}, Accounts: 400, Contacts: 5, Password: "secret"}},
			Listeners:   []simulator.Listener{{Address: "127.0.0.1:0", Security: simulator.Plaintext}},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(sim.Addrs()[0].String())
		var outputs []string
		var waiting sync.WaitGroup
		for i := range split {
			out := filepath.Join(dir, fmt.Sprintf("%d-of-%d", i+1, split))
			outputs = append(outputs, out)
			args := []string{"run", "--quiet"}
			if split > 1 {
				args = append(args, fmt.Sprintf("--execution-segment=%d/%d:%d/%d", i, split, i+1, split), "--execution-segment-sequence=0,1/3,2/3,1")
			}
			address := freeAddress(t)
			args = append(args, "--out", "xmpp-hdr="+out, "-e", "XMPP_PORT="+port, script, "--address="+address, "--paused", "--tag", fmt.Sprintf("instance_id=%d", i+1), "--tag", "testrun_name=test")
			run := exec.CommandContext(t.Context(), "k6", args...)
			run.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true", "HOME="+dir)
			waiting.Go(func() {
				if said, err := run.CombinedOutput(); err != nil {
					t.Errorf("%v: %v\n%s", args, err, said)
				}
			})
			waiting.Go(func() { unpause(t, address) })
		}
		waiting.Wait()
		figures := sim.Figures()
		logins[fmt.Sprint(split)] = figures["sessions"]
		// Every login has changed its account, and found it as it was.
		if figures["accounts.held"] != figures["sessions"] || figures["logins.failed"] != 0 {
			t.Errorf("%d instances: %d logins at %d accounts, %d failed", split, figures["sessions"], figures["accounts.held"], figures["logins.failed"])
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := sim.Close(closing); err != nil {
			t.Error(err)
		}
		merge := exec.CommandContext(t.Context(), "k6", append(append([]string{"x", "xmppbench", "merge"}, outputs...), "-o", filepath.Join(dir, fmt.Sprintf("merged-%d", split)), "--json")...)
		said, err := merge.Output()
		if err != nil {
			t.Fatalf("merge: %v\n%s", err, said)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", split)), said, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if logins["1"] != logins["3"] || logins["1"] < 60 {
		t.Errorf("logins by number of instances: %v", logins)
	}
	if diff := cmp.Diff(sums(t, filepath.Join(dir, "1.json")), sums(t, filepath.Join(dir, "3.json"))); diff != "" {
		t.Errorf("merged counts (-one process +three segments):\n%s", diff)
	}
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// unpause starts a paused k6, as soon as it is there.
func unpause(t *testing.T, address string) {
	const body = `{"data":{"type":"status","id":"default","attributes":{"paused":false}}}`
	for range 600 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://"+address+"/v1/status", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				http.DefaultClient.CloseIdleConnections()
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("k6 at %s cannot be started", address)
}

// sums are counts of a merged run that do not depend on how long things took.
func sums(t *testing.T, file string) map[string]int64 {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var merged struct{ Samples, Counts map[string]int64 }
	if err := json.Unmarshal(raw, &merged); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	out := map[string]int64{}
	for name, n := range merged.Samples {
		out["samples of "+name] = n
	}
	for name, n := range merged.Counts {
		if !strings.HasPrefix(name, "data") && !strings.HasPrefix(name, "vus") {
			out[name] = n
		}
	}
	return out
}
