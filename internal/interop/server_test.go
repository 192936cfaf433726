//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/procfs"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/provision"
)

// Options say how a server is to be configured. The zero value is a server of
// the domain xmpp.test that stores passwords in clear, offers TLS, proves
// domains by certificate, and takes stanzas of any size.
type Options struct {
	// Domains are the virtual hosts.
	Domains []string
	// CA issues the server's certificate; left out, a new authority does.
	CA *lab.CA
	// RequireTLS refuses clients in clear, who may log in otherwise.
	RequireTLS bool
	// Storage is how passwords are stored: "plain" (the default), or "SHA-1" or
	// "SHA-256" for SCRAM keys.
	Storage string
	// Versioning switches roster versioning on in ejabberd; Prosody always has it.
	Versioning bool
	// Services adds rooms at muc.DOMAIN and publish-subscribe at pubsub.DOMAIN to each
	// domain, takes an external component that calls itself bots.DOMAIN, and lets
	// anybody in at guests.DOMAIN. In Prosody only Admins create nodes.
	Services bool
	// Admins are JIDs that may do anything.
	Admins []string
	// Mnesia stores ejabberd's accounts and rosters there and not in SQLite.
	Mnesia bool
	// DNS is the resolver, as host:port; left out, the system's. ejabberd needs
	// SRV targets that are addresses, it looks up hosts elsewhere.
	DNS string
	// Federation is how the server federates.
	Federation Federation
	// Impatient does something about streams between servers on which nothing has come for
	// a second: Prosody sends whitespace, ejabberd ends them.
	Impatient bool
	// Metrics lets Prosody tell of itself over HTTP; ejabberd's API always does.
	Metrics bool
	// DirectTLS listens for servers with direct TLS (XEP-0368), too. Only Prosody connects
	// with it.
	DirectTLS bool
}

// Federation says what a server takes as proof of a domain. The zero value is TLS with a
// certificate of the test's authority for EXTERNAL, and no dialback.
type Federation struct {
	// Dialback takes dialback. Prosody takes nothing else then, unless Certificates is set.
	Dialback bool
	// Certificates takes certificates beside dialback. Without it ejabberd knows another authority
	// than that of the test.
	Certificates bool
	// Bidi lets Prosody use one stream for both directions (XEP-0288). ejabberd 23.01 cannot.
	Bidi bool
	// Plain is federation without TLS, which leaves dialback.
	Plain bool
}

// EXTERNAL reports whether the server accepts certificates of the test's authority.
func (f Federation) EXTERNAL() bool { return !f.Plain && (!f.Dialback || f.Certificates) }

// String names the way in tables.
func (f Federation) String() string {
	name := "external"
	switch {
	case f.Plain:
		name = "plain-dialback"
	case f.Dialback && f.Certificates:
		name = "either"
	case f.Dialback:
		name = "dialback"
	}
	if f.Bidi {
		name += "-bidi"
	}
	return name
}

// Server is a configured server, running or not.
type Server struct {
	Options
	// Kind is "prosody" or "ejabberd".
	Kind string
	// Dir is the server's scratch directory, server.log in it its log.
	Dir string
	// Host is the server's address; C2S, S2S, Direct, HTTP and Component are its ports: for
	// clients, for servers, for servers with direct TLS if so told, for ejabberd's API or
	// Prosody's metrics, and for an external component if there is one.
	Host                              string
	C2S, S2S, Direct, HTTP, Component int
	// Spec provisions the server. Prosody may run meanwhile, ejabberd must not if
	// it stores in SQLite and must if it does in Mnesia.
	Spec provision.Spec

	user         *user.User
	distribution int
	command      *exec.Cmd
	console      console
	exited       chan error
}

// Ports for servers, with STARTTLS and with direct TLS.
const (
	s2sPort       = 5269
	s2sDirectPort = 5270
)

// ComponentSecret is what external components know.
const ComponentSecret = "known to both"

const (
	// startLimit is generous: a loaded machine must not fail a test.
	startLimit = 3 * time.Minute
	stopLimit  = 30 * time.Second
	// descriptors are needed at least; servers of these kinds fail in ugly ways
	// when they run out.
	descriptors = 4096
)

// StartProsody configures and starts a Prosody and waits until it is ready.
func StartProsody(t *testing.T, opts Options) *Server {
	t.Helper()
	s := NewProsody(t, opts)
	s.Start(t)
	return s
}

// StartEjabberd configures and starts an ejabberd and waits until it is ready.
func StartEjabberd(t *testing.T, opts Options) *Server {
	t.Helper()
	s := NewEjabberd(t, opts)
	s.Start(t)
	return s
}

// servers makes a server of each kind, without starting it.
func servers() map[string]func(*testing.T, Options) *Server {
	return map[string]func(*testing.T, Options) *Server{"prosody": NewProsody, "ejabberd": NewEjabberd}
}

// NewProsody configures a Prosody without starting it.
func NewProsody(t *testing.T, opts Options) *Server {
	t.Helper()
	s := newServer(t, "prosody", opts)
	s.write(t, "prosody.cfg.lua", s.render(t, "prosody.cfg.lua.tmpl"))
	data := filepath.Join(s.Dir, "data")
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	s.own(t)
	s.Spec = provision.Spec{Server: "prosody", Data: data, Owner: s.Kind, Ledger: filepath.Join(s.Dir, "ledger.jsonl")}
	return s
}

// NewEjabberd configures an ejabberd without starting it.
func NewEjabberd(t *testing.T, opts Options) *Server {
	t.Helper()
	s := newServer(t, "ejabberd", opts)
	s.write(t, "ejabberd.yml", s.render(t, "ejabberd.yml.tmpl"))
	// The control script starts the node as a child. The wrapper ties the node's
	// life to it, as the script's is tied to ours.
	s.write(t, "erl", "#!/bin/sh\nexec setpriv --pdeathsig TERM /usr/bin/erl \"$@\"\n")
	s.distribution = freePort(t, "127.0.0.1")
	s.write(t, "ejabberdctl.cfg", fmt.Sprintf(
		"ERLANG_NODE=xmppbench%d@localhost\nERL_DIST_PORT=%[1]d\nERL_MAX_PORTS=65536\nERL_PROCESSES=500000\nINET_DIST_INTERFACE=127.0.0.1\nEJABBERD_PID_PATH=%s/ejabberd.pid\nERL=%[2]s/erl\n",
		s.distribution, s.Dir))
	if s.DNS != "" {
		host, port := split(t, s.DNS)
		// The order matters, and so do the empty strings: without them the name
		// server is silently dropped.
		s.write(t, "inetrc", fmt.Sprintf("{lookup,[\"file\",\"dns\"]}.\n{host,{127,0,0,1},[\"localhost\"]}.\n{resolv_conf,\"\"}.\n{hosts_file,\"\"}.\n{nameserver,{%s},%d}.\n{cache_size,0}.\n",
			strings.ReplaceAll(host, ".", ","), port))
	} else {
		s.write(t, "inetrc", "{lookup,[\"file\",\"native\"]}.\n{host,{127,0,0,1},[\"localhost\"]}.\n")
	}
	for _, dir := range []string{"spool", "log"} {
		if err := os.Mkdir(filepath.Join(s.Dir, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.Dir, "erl"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.own(t)
	s.Spec = provision.Spec{Server: "ejabberd", Owner: s.Kind, Ledger: filepath.Join(s.Dir, "ledger.jsonl")}
	if s.Mnesia {
		s.Spec.API = fmt.Sprintf("http://%s/api", net.JoinHostPort(s.Host, strconv.Itoa(s.HTTP)))
	} else {
		s.Spec.Database = filepath.Join(s.Dir, "{domain}.db")
		s.Spec.Schema = "/usr/share/ejabberd/sql/lite.sql"
	}
	return s
}

func newServer(t *testing.T, kind string, opts Options) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests start servers under users of their own, which takes root")
	}
	u, err := user.Lookup(kind)
	if err != nil {
		t.Fatalf("%v: run internal/interop/install.sh", err)
	}
	if len(opts.Domains) == 0 {
		opts.Domains = []string{"xmpp.test"}
	}
	if opts.Storage == "" {
		opts.Storage = "plain"
	}
	if opts.CA == nil {
		if opts.CA, err = lab.NewCA("xmppbench interop", lab.CAOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "xmppbench-") //nolint:usetesting // the names of sockets have to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &Server{Options: opts, Kind: kind, Dir: dir, user: u, C2S: 5222, S2S: s2sPort, Direct: s2sDirectPort, HTTP: 5280, Component: 5347}
	s.Host = freeHost(t, s.C2S, s.S2S, s.Direct, s.HTTP, s.Component)

	names := slices.Clone(s.Domains)
	if s.Services {
		for _, d := range s.Domains {
			names = append(names, "muc."+d, "pubsub."+d, "bots."+d, "guests."+d)
		}
	}
	leaf, err := s.CA.Issue(lab.LeafOptions{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := lab.EncodePEM(leaf)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "ca.pem", string(s.CA.CertificatePEM()))
	if !s.Federation.EXTERNAL() {
		other, err := lab.NewCA("another authority", lab.CAOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "other-ca.pem", string(other.CertificatePEM()))
	}
	s.write(t, "certificate.pem", string(certificate))
	s.write(t, "key.pem", string(key))
	s.write(t, "server.pem", string(certificate)+string(key))
	return s
}

// freeHost returns an address of the loopback network on which all the ports
// are free.
func freeHost(t *testing.T, ports ...int) string {
	t.Helper()
	var err error
	for range 20 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		free := true
		for _, p := range ports {
			var l net.Listener
			if l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p))); err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return host
		}
	}
	t.Fatalf("no free address in 127.0.0.0/8: %v", err)
	return ""
}

func freePort(t *testing.T, host string) int {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func split(t *testing.T, address string) (host string, port int) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func (s *Server) render(t *testing.T, name string) string {
	t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	data := struct {
		*Server
		DNSHost         string
		DNSPort         int
		ComponentSecret string
	}{Server: s, ComponentSecret: ComponentSecret}
	if s.DNS != "" {
		data.DNSHost, data.DNSPort = split(t, s.DNS)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (s *Server) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// own gives the scratch directory to the server's user.
func (s *Server) own(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(s.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, s.id(t, s.user.Uid), s.id(t, s.user.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Server) id(t *testing.T, text string) int {
	t.Helper()
	id, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// as returns a command that runs as the server's user, in its directory, with
// as many descriptors as the machine allows. Changing the user with su instead
// would go through PAM, which sets the limit to 1024.
func (s *Server) as(ctx context.Context, t *testing.T, line ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `ulimit -n "$(ulimit -Hn)"; exec "$@"`, "sh"}, line...)...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"HOME=" + s.Dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(s.id(t, s.user.Uid)), Gid: uint32(s.id(t, s.user.Gid))},
		Pdeathsig:  syscall.SIGTERM,
	}
	return cmd
}

// Ctl returns a command of ejabberdctl for this server.
func (s *Server) Ctl(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return s.as(ctx, t, append([]string{"ejabberdctl", "--config-dir", s.Dir, "--ctl-config", s.Dir + "/ejabberdctl.cfg", "--logs", s.Dir + "/log", "--spool", s.Dir + "/spool"}, args...)...)
}

// console keeps what a server prints.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

// String returns what was printed since the last Reset.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// Reset forgets it.
func (c *console) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Reset()
}

// Start starts the server and returns when clients can connect. The server is
// stopped at the end of the test; its log is shown if the test fails.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	// The context of a test ends before its cleanup, where the server is to be
	// stopped in order.
	ctx := context.WithoutCancel(t.Context())
	var cmd *exec.Cmd
	if s.Kind == "prosody" {
		cmd = s.as(ctx, t, "prosody", "--config", filepath.Join(s.Dir, "prosody.cfg.lua"), "-F")
	} else {
		cmd = s.Ctl(ctx, t, "foreground")
	}
	s.console.Reset()
	cmd.Stdout, cmd.Stderr = &s.console, &s.console
	// A process that keeps the console open must not hold Wait up for ever.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.command, s.exited = cmd, make(chan error, 1)
	go func() { s.exited <- cmd.Wait() }()
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			s.showLogs(t)
		}
	})
	s.awaitReady(t)
	s.checkDescriptors(t)
}

// awaitReady polls until the server has written its process id and accepts
// clients.
func (s *Server) awaitReady(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(startLimit)
	for {
		select {
		case err := <-s.exited:
			s.command = nil
			t.Fatalf("%s ended while it started: %v", s.Kind, err)
		case <-limit:
			t.Fatalf("%s was not ready after %v", s.Kind, startLimit)
		case <-tick.C:
		}
		// ejabberd accepts clients before all of its domains have their database.
		if s.PID() == 0 || s.Kind == "ejabberd" && !strings.Contains(s.console.String(), "is started in the node") {
			continue
		}
		if c, err := net.DialTimeout("tcp", s.C2SAddr(), time.Second); err == nil {
			c.Close()
			break
		}
	}
	if s.Kind == "ejabberd" && !s.Mnesia {
		s.openDatabases(t)
	}
}

// openDatabases asks ejabberd something of each domain. It opens a database when it
// is first used, and crashes a client that uses it at the same moment.
func (s *Server) openDatabases(t *testing.T) {
	t.Helper()
	for _, domain := range s.Domains {
		body := strings.NewReader(fmt.Sprintf(`{"host": %q}`, domain))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://%s/api/registered_users", s.httpAddr()), body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("ejabberd knows no users of %s: %s", domain, answer.Status)
		}
	}
}

// C2SAddr returns the address for clients, as host:port.
func (s *Server) C2SAddr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.C2S)) }

// httpAddr returns the address of ejabberd's API or of Prosody's metrics, as host:port.
func (s *Server) httpAddr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.HTTP)) }

// PID returns the process that does the server's work, or 0.
func (s *Server) PID() int {
	text, err := os.ReadFile(filepath.Join(s.Dir, s.Kind+".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

func (s *Server) checkDescriptors(t *testing.T) {
	t.Helper()
	p, err := procfs.NewProc(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	limits, err := p.Limits()
	if err != nil {
		t.Fatal(err)
	}
	if limits.OpenFiles < descriptors {
		t.Fatalf("%s may open %d files, want %d at least: raise the hard limit (ulimit -Hn)", s.Kind, limits.OpenFiles, descriptors)
	}
}

// awaitQuiet waits until the server has noticed that its clients are gone. Prosody
// runs its shutdown wherever the signal meets it; in the middle of retiring a
// session it trips over that session, and goes on running without ports.
func (s *Server) awaitQuiet() {
	const (
		interval  = 20 * time.Millisecond
		afterward = 200 * time.Millisecond // for what follows the closing of the socket
	)
	at := netip.AddrPortFrom(netip.MustParseAddr(s.Host), uint16(s.C2S))
	busy := func() bool {
		all, err := sockets()
		return err == nil && slices.ContainsFunc(all, func(c socket) bool {
			return c.local == at && (c.state == established || c.state == closeWait)
		})
	}
	for end := time.Now().Add(stopLimit); busy() && time.Now().Before(end); time.Sleep(interval) {
	}
	time.Sleep(afterward)
}

// Stop stops the server, if it runs, and waits until it has ended.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if s.command == nil {
		return
	}
	pid := s.PID()
	if pid == 0 {
		pid = s.command.Process.Pid
	}
	s.awaitQuiet()
	s.signal(t, pid, syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopLimit):
		t.Errorf("%s did not stop within %v", s.Kind, stopLimit)
		s.signal(t, pid, syscall.SIGKILL)
		s.signal(t, s.command.Process.Pid, syscall.SIGKILL)
		<-s.exited
	}
	s.command = nil
	_ = os.Remove(filepath.Join(s.Dir, s.Kind+".pid"))
}

func (s *Server) signal(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("%v to %s: %v", sig, s.Kind, err)
	}
}

// showLogs logs the end of what the server has written.
func (s *Server) showLogs(t *testing.T) {
	t.Helper()
	logs := map[string][]byte{"console": []byte(s.console.String())}
	for _, name := range []string{"server.log", "log/ejabberd.log", "log/error.log"} {
		if text, err := os.ReadFile(filepath.Join(s.Dir, name)); err == nil {
			logs[name] = text
		}
	}
	for name, text := range logs {
		if over := len(text) - 8<<10; over > 0 {
			text = text[over:]
		}
		if len(text) > 0 {
			t.Logf("%s of %s:\n%s", name, s.Kind, text)
		}
	}
}
