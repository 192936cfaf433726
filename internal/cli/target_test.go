package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/cli"
	"github.com/xmppbench/xmppbench/results"
)

// TestTwoTargets runs one scenario against the simulator and against a server
// that happens to be another simulator, block by block, and compares them.
func TestTwoTargets(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	t.Setenv("XMPPBENCH_PASSWORD", "secret")
	address := serve(t, "--domain", "lab.test", "--accounts", "3", "--items", "20", "--ca-out", at("ca.pem"))
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("server: other\ndomains: [lab.test]\nconnect: {host: %s, port: %s, ca: ca.pem}\nobserve: {pid: %d}\naccounts: {pattern: \"u{i:07}\", count: 3, password: {env: XMPPBENCH_PASSWORD}}\n",
		host, port, os.Getpid())
	for name, text := range map[string]string{"lab.yaml": target, "tiny.yaml": strings.Replace(tiny, "simulator: {iterations: 1}\n", "", 1)} {
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := func(code int, args ...string) (stdout string) {
		t.Helper()
		var out, messages bytes.Buffer
		if got := cli.Main(t.Context(), args, strings.NewReader(""), &out, &messages); got != code {
			t.Fatalf("%s: exit code %d, not %d\n%s", strings.Join(args, " "), got, code, &messages)
		}
		return out.String()
	}
	program(cli.ExitOK, "run", at("tiny.yaml"), "--in-process", "--target", "sim", "--target", at("lab.yaml"), "--out", at("run"),
		"--set", "login.tls=starttls", "--set", "roster.items=20", "--set", "probe.every=0", "--blocks", "2")
	run, err := results.Open(at("run"))
	if err != nil {
		t.Fatal(err)
	}
	var plans []string
	for _, p := range run.Manifest.Plans {
		plans = append(plans, p.Name)
	}
	if got := strings.Join(plans, " "); got != "target=sim target=lab" || len(run.Blocks) != 4 {
		t.Errorf("plans %s, %d blocks", got, len(run.Blocks))
	}
	manifest, err := os.ReadFile(at("run/manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(manifest, []byte("secret")) {
		t.Error("the password stands in the manifest")
	}
	text := program(cli.ExitOK, "compare", at("run"), "--by", "target", "--baseline", "sim")
	if !strings.Contains(text, "whether lab differs from sim") {
		t.Errorf("the comparison of targets says\n%s", text)
	}

	// Rosters that are known are verified: one contact more than there is, and no
	// figure can be trusted.
	known := strings.Replace(target, "observe:", "provision: {export: export.xml}\nobserve:", 1)
	if err := os.WriteFile(at("known.yaml"), []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	for items, code := range map[int]int{20: cli.ExitOK, 21: cli.ExitInternal} {
		out := at(fmt.Sprint("known-", items))
		program(code, "run", at("tiny.yaml"), "--target", at("known.yaml"), "--out", out,
			"--set", "login.tls=starttls", "--set", "roster.item-bytes=0", "--set", fmt.Sprint("roster.items=", items), "--set", "probe.every=0")
		run, err := results.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if reasons := strings.Join(run.Done.Reasons, " "); (code == cli.ExitOK) == strings.Contains(reasons, "roster.items of monolithic in plan all: counted 20, by its closed form it is 21") {
			t.Errorf("%d items: %s: %s", items, run.Done.Status, reasons)
		}
	}

	// What only the simulator can be told cannot be compared.
	program(cli.ExitUsage, "run", at("tiny.yaml"), "--target", at("lab.yaml"), "--set", "simulator.piece=1KiB")
	// The same target twice neither.
	program(cli.ExitUsage, "run", at("tiny.yaml"), "--target", at("lab.yaml"), "--target", at("lab.yaml"))
}

// serve runs the simulator alone until the test ends and returns its first
// address.
func serve(t *testing.T, args ...string) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var messages bytes.Buffer
	go func() {
		ended <- cli.Main(ctx, append([]string{"serve", "--json", "--listen", "127.0.0.1:0"}, args...), strings.NewReader(""), in, &messages)
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != cli.ExitOK {
			t.Errorf("serve: exit code %d\n%s", code, &messages)
		}
	})
	var info struct {
		Listeners []struct{ Address string }
	}
	if err := json.NewDecoder(out).Decode(&info); err != nil || len(info.Listeners) == 0 {
		t.Fatalf("serve: %v, %+v", err, info)
	}
	go io.Copy(io.Discard, out)
	return info.Listeners[0].Address
}
