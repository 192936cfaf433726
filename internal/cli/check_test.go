package cli_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/cli"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/scenarios"
)

// nobody returns an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// expired listens with direct TLS and a certificate that ended ten days ago.
func expired(t *testing.T, ca *lab.CA) string {
	t.Helper()
	leaf, err := ca.Issue(lab.LeafOptions{Names: []string{"lab.test"}, NotBefore: time.Now().AddDate(0, 0, -30), NotAfter: time.Now().AddDate(0, 0, -10)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{leaf}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// TestCheck looks at a server that is ready, and at one fault at a time.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XMPPBENCH_PASSWORD", "secret")
	t.Setenv("WRONG", "wrong")
	t.Setenv("TOKEN", "0123456789abcdef")
	t.Setenv("OTHER", "fedcba9876543210")
	address := serve(t, "--domain", "lab.test", "--accounts", "3", "--items", "20", "--variants", "monolithic,versioned", "--ca-out", filepath.Join(dir, "ca.pem"))
	ca, err := lab.NewCA("lab", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, pem := range map[string][]byte{"lab.pem": ca.CertificatePEM(), "none.pem": []byte("no certificate")} {
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, err := observe.Open(observe.Config{PID: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	agent := httptest.NewServer(observe.Handler(own, "0123456789abcdef"))
	defer agent.Close()

	connect := func(address, ca string) string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("connect: {host: %s, port: %s, direct-tls-port: %[2]s, ca: %s}", host, port, ca)
	}
	const (
		accounts = "accounts: {pattern: \"u{i:07}\", count: 3, password: {env: XMPPBENCH_PASSWORD}}"
		wrong    = "accounts: {pattern: \"u{i:07}\", count: 3, password: {env: WRONG}}"
	)
	pid := fmt.Sprintf("observe: {pid: %d}", os.Getpid())
	closed := nobody(t)
	for _, tt := range []struct {
		name                    string
		connect, accounts, rest string
		args                    []string
		code                    int
		check, state            string // the one that matters
		found, remedy           string // parts of it
		also                    string // another check, as "name state"
	}{
		{"ready", connect(address, "ca.pem"), accounts, pid, nil, 0, "login", "ok", "u0000000@lab.test logged in with SCRAM-SHA", "", "observe ok"},
		{"certificate", connect(address, "ca.pem"), accounts, pid, nil, 0, "tls", "ok", "days left", "", "reach ok"},
		{"agent", connect(address, "ca.pem"), accounts, fmt.Sprintf("observe: {agent: %q, token: {env: TOKEN}}", agent.URL), nil, 0, "observe", "ok", "one process", "", ""},
		{"features", connect(address, "ca.pem"), accounts, "", nil, 0, "features", "ok", "urn:xmpp:features:rosterver", "", "observe warn"},
		{"some variants", connect(address, "ca.pem"), accounts, pid, []string{"--variants", "monolithic,chunked-push"}, 0, "variant", "warn", "chunked-push will be skipped, refused", "leave it out", ""},
		{"no variant", connect(address, "ca.pem"), accounts, pid, []string{"--variants", "chunked-push"}, 3, "variant", "fail", "none of the variants", "monolithic", ""},
		{"nothing listens", connect(closed, "ca.pem"), accounts, pid, nil, 3, "reach", "fail", "connection refused", "start the server", "login skip"},
		{"not allowed", "connect: {host: 192.0.2.1}", accounts, pid, nil, 3, "reach", "fail", "not on this machine", "--allow 192.0.2.1", "tls skip"},
		{"no names", fmt.Sprintf("connect: {dns: [%q]}", closed), accounts, pid, nil, 3, "dns", "fail", "lab.test", "publish SRV records for lab.test", "reach skip"},
		{"unknown authority", connect(address, "lab.pem"), accounts, pid, nil, 3, "tls", "fail", "certificate of lab.test by xmppbench simulator", "connect.ca", "login skip"},
		{"no authority", connect(address, "none.pem"), accounts, pid, nil, 3, "tls", "fail", "no certificate in PEM form", "connect.ca", "login skip"},
		{"expired", connect(expired(t, ca), "lab.pem"), accounts, pid, []string{"--set", "login.tls=direct"}, 3, "tls", "fail", "expired 10 days ago", "renew the certificate", "login skip"},
		{"no TLS", connect(address, "ca.pem"), accounts, pid, []string{"--set", "login.tls=direct"}, 3, "tls", "fail", "", "login.tls says, direct", "login skip"},
		{"wrong password", connect(address, "ca.pem"), wrong, pid, nil, 3, "login", "fail", "not-authorized", "xmppbench provision", "variant skip"},
		{"wrong token", connect(address, "ca.pem"), accounts, fmt.Sprintf("observe: {agent: %q, token: {env: OTHER}}", agent.URL), nil, 3, "observe", "fail", "does not accept the token", "--token-file", "login ok"},
		{"no agent", connect(address, "ca.pem"), accounts, fmt.Sprintf("observe: {agent: %q, token: {env: TOKEN}}", closed), nil, 3, "observe", "fail", "connection refused", "start xmppbench observe", ""},
		{"no pid file", connect(address, "ca.pem"), accounts, "observe: {pid-file: none.pid}", nil, 3, "observe", "fail", "none.pid", "put observe right", ""},
		{"no metrics", connect(address, "ca.pem"), accounts, fmt.Sprintf("observe: {pid: %d, metrics: \"http://%s/metrics\"}", os.Getpid(), closed), nil, 0, "observe", "warn", "connection refused", "URL must be right", ""},
		{"too many sessions", connect(address, "ca.pem"), accounts, pid, []string{scenarios.IdleCost, "--set", "hold.sessions=1000000"}, 3, "descriptors", "fail", "1000064 descriptors", "ulimit -n", "ports fail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-")+".yaml")
			text := strings.Join([]string{"server: other", "domains: [lab.test]", tt.connect, tt.accounts, tt.rest}, "\n") + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, messages bytes.Buffer
			args := append([]string{"check", "--json", "--target", file}, tt.args...)
			if code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &messages); code != tt.code {
				t.Fatalf("exit code %d, want %d\n%s\n%s", code, tt.code, &out, &messages)
			}
			var answer struct {
				Schema  string
				OK      bool
				Targets []struct{ Checks []scenarios.Check }
			}
			if err := validate("check.schema.json", out.String()); err != nil {
				t.Error(err)
			}
			if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Schema != "xmppbench.check/1" || answer.OK != (tt.code == 0) || len(answer.Targets) != 1 {
				t.Fatalf("%v\n%s", err, &out)
			}
			matters, also := false, tt.also == ""
			for _, c := range answer.Targets[0].Checks {
				if c.Found == "" || (c.Remedy == "") != (c.State == scenarios.CheckOK || c.State == scenarios.CheckSkip) {
					t.Errorf("a check without a finding, or with a remedy too many or too few: %+v", c)
				}
				matters = matters || c.Name == tt.check && c.State == tt.state && strings.Contains(c.Found, tt.found) && strings.Contains(c.Remedy, tt.remedy)
				also = also || c.Name+" "+c.State == tt.also
			}
			if !matters || !also {
				t.Errorf("want %s %s, %q, %q, and %q:\n%s", tt.check, tt.state, tt.found, tt.remedy, tt.also, &out)
			}
			if strings.Contains(out.String()+messages.String(), "secret") {
				t.Error("the password is printed")
			}
		})
	}
}
