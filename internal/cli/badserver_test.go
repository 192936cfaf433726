package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/cli"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/results"
)

// badDomain is what the bad servers claim to serve.
const badDomain = "bad.test"

// TestBadServers runs a scenario against servers that break every promise. None
// may hang the program, take its memory or leave the user without a hint.
func TestBadServers(t *testing.T) {
	ca, err := lab.NewCA("lab", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, ca.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	certificate := func(o lab.LeafOptions) *tls.Config {
		c, err := ca.Issue(o)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{c}}
	}
	var (
		past    = time.Now().AddDate(-1, 0, 0)
		expired = certificate(lab.LeafOptions{Names: []string{badDomain}, NotBefore: past, NotAfter: past.AddDate(0, 1, 0)})
		other   = certificate(lab.LeafOptions{Names: []string{"other.test"}})
		piece   = bytes.Repeat([]byte("x"), 64<<10)
		nested  = bytes.Repeat([]byte("<a>"), 16<<10)
	)
	tests := []struct {
		name    string
		serve   func(*script) error
		set     string
		tls     bool
		code    int
		want    []string // parts of the message
		status  results.Status
		memory  uint64 // bytes that the run may have in use more than before
		refuses bool   // nothing listens
	}{
		{
			name: "refuses", refuses: true, code: cli.ExitUnreachable,
			want: []string{"cannot connect", "connection refused", "is the server running"},
		},
		{
			name: "accepts and closes", serve: func(*script) error { return nil }, code: cli.ExitUnreachable,
			want: []string{"in step header", "closed the connection"},
		},
		{
			name: "never answers", serve: (*script).silence, set: "login.step-limit=200ms", code: cli.ExitUnreachable,
			want: []string{"in step header", "within 200ms"},
		},
		{
			name: "falls silent during the login", set: "login.step-limit=200ms", code: cli.ExitUnreachable,
			serve: func(s *script) error {
				return errors.Join(s.header("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"), s.silence())
			},
			want: []string{"in step sasl", "within 200ms"},
		},
		{
			name: "garbage", serve: func(s *script) error { return s.send("HTTP/1.1 400 Bad Request\r\n\r\n") }, code: cli.ExitUnreachable,
			want: []string{"in step header", "not XMPP", "HTTP/1.1 400"},
		},
		{
			name: "garbage, then silence", set: "login.step-limit=200ms", code: cli.ExitUnreachable,
			serve: func(s *script) error { return errors.Join(s.send("220 mail.test ESMTP\r\n"), s.silence()) },
			want:  []string{"in step header", "not XMPP", "220 mail.test"},
		},
		{
			name: "wrong password", code: cli.ExitUnreachable,
			serve: func(s *script) error {
				return errors.Join(s.auth(), s.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"), s.silence())
			},
			want: []string{"in step sasl", "not-authorized", "wrong password"},
		},
		{
			name: "unknown host", code: cli.ExitUnreachable,
			serve: func(s *script) error {
				return errors.Join(s.open(), s.send("<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"))
			},
			want: []string{"the server does not serve bad.test", "host-unknown"},
		},
		{
			name: "expired certificate", tls: true, code: cli.ExitUnreachable, serve: func(s *script) error { return s.starttls(expired) },
			want: []string{"in step tls", "expired"},
		},
		{
			name: "certificate of another name", tls: true, code: cli.ExitUnreachable, serve: func(s *script) error { return s.starttls(other) },
			want: []string{"in step tls", "other.test", badDomain},
		},
		{
			name: "no TLS", tls: true, code: cli.ExitUnreachable,
			serve: func(s *script) error {
				return errors.Join(s.header("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"), s.silence())
			},
			want: []string{"STARTTLS"},
		},
		{
			name: "closes in the middle of the roster", code: cli.ExitUnreachable,
			serve: func(s *script) error { return errors.Join(s.login(), s.roster("<item jid='a@b.test'/>")) },
			want:  []string{"roster: "},
		},
		{
			name: "falls silent in the middle of the roster", set: "login.limit=300ms", code: cli.ExitUnreachable,
			serve: func(s *script) error { return errors.Join(s.login(), s.roster("<item jid='a@b.test'/>"), s.silence()) },
			want:  []string{"roster: ", "login.limit"},
		},
		{
			name: "garbage in the roster", code: cli.ExitUnreachable,
			serve: func(s *script) error {
				return errors.Join(s.login(), s.roster("<item jid='a@b.test'/></iq><&"), s.silence())
			},
			want: []string{"roster: "},
		},
		{
			name: "a tag of 1 GiB", code: cli.ExitUnreachable, memory: 64 << 20,
			serve: func(s *script) error {
				return errors.Join(s.login(), s.roster("<item jid='a@b.test' name='"), s.flood(piece, 1<<30))
			},
			want: []string{"roster: "},
		},
		{
			name: "a stanza of 1 GiB", code: cli.ExitUnreachable, memory: 64 << 20,
			serve: func(s *script) error {
				return errors.Join(s.login(), s.roster("<item jid='a@b.test'>"), s.flood(piece, 1<<30), s.send("</item></query></iq>"), s.silence())
			},
			want: []string{"roster: "},
		},
		{
			name: "nests a million deep", code: cli.ExitUnreachable, memory: 64 << 20,
			serve: func(s *script) error { return errors.Join(s.login(), s.roster(""), s.flood(nested, 3_000_000)) },
			want:  []string{"roster: ", "deep"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := listen(t, tt.refuses, tt.serve)
			dir := t.TempDir()
			target := badTarget(t, address, roots)
			security := "none"
			if tt.tls {
				security = "starttls"
			}
			out := filepath.Join(dir, "run")
			args := []string{
				"run", "roster-login", "--target", target, "--out", out, "--progress", "none", "--variants", "monolithic", "--blocks", "1",
				"--set", "link={rtt: 0s, rate: unlimited}", "--set", "probe.every=0", "--set", "login.sasl=PLAIN", "--set", "login.tls=" + security,
			}
			if tt.set != "" {
				args = append(args, "--set", tt.set)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var stdout, stderr bytes.Buffer
			peak := watchMemory(t)
			code := cli.Main(ctx, args, strings.NewReader(""), &stdout, &stderr)
			if used := peak(); tt.memory > 0 && used > tt.memory {
				t.Errorf("the run took %d MiB", used>>20)
			}
			t.Log(stderr.String())
			if ctx.Err() != nil {
				t.Fatal("hangs")
			}
			if code != tt.code {
				t.Errorf("exit code %d, not %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("the message does not say %q", want)
				}
			}
			if strings.Contains(stderr.String()+stdout.String(), "secret") {
				t.Error("the password is printed")
			}
			run, err := results.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			if run.Done.Status != results.StatusFailed {
				t.Errorf("the run is marked %q", run.Done.Status)
			}
		})
	}
}

// badTarget writes the target file for a bad server.
func badTarget(t *testing.T, address, roots string) (file string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "bad.yaml")
	text := fmt.Sprintf("server: other\ndomains: [%s]\nconnect: {host: %s, port: %s, ca: '%s'}\naccounts: {pattern: \"u{i}\", count: 3, password: {env: BAD_PASSWORD}}\n",
		badDomain, host, port, roots)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BAD_PASSWORD", "secret")
	return file
}

// TestLaterFailure runs against a server that is well at first: what fails is
// told, and the rest of the run goes on.
func TestLaterFailure(t *testing.T) {
	// The program connects once to see that the server is there, once to ask for its
	// version, and then twice in each block, of which the first is the warm-up.
	const block1, block2 = 4, 6
	tests := []struct {
		name   string
		fails  func(connection int) bool
		code   int
		status results.Status
		valid  int // blocks
	}{
		{"not at all", func(int) bool { return false }, cli.ExitOK, results.StatusOK, 3},
		{"in the second block", func(n int) bool { return n == block2 }, cli.ExitOK, results.StatusOK, 2},
		{"from the first block", func(n int) bool { return n >= block1 }, cli.ExitInternal, results.StatusFailed, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var connections atomic.Int64
			address := listen(t, false, func(s *script) error {
				broken := tt.fails(int(connections.Add(1)) - 1)
				if err := s.login(); err != nil {
					return err
				}
				return s.answer(broken)
			})
			out := filepath.Join(t.TempDir(), "run")
			args := []string{
				"run", "roster-login", "--target", badTarget(t, address, ""), "--out", out, "--variants", "monolithic", "--blocks", "3",
				"--set", "link={rtt: 0s, rate: unlimited}", "--set", "probe.every=0", "--set", "login={tls: none, sasl: PLAIN}",
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var stdout, stderr bytes.Buffer
			code := cli.Main(ctx, args, strings.NewReader(""), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, not %d\n%s%s", code, tt.code, &stdout, &stderr)
			}
			run, err := results.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			valid := 0
			for _, b := range run.Blocks {
				if b.Valid {
					valid++
				}
			}
			if run.Done.Status != tt.status || valid != tt.valid {
				t.Errorf("the run is %q with %d valid blocks, want %q with %d", run.Done.Status, valid, tt.status, tt.valid)
			}
			if told := strings.Contains(stderr.String(), "monolithic: roster: "); told != (tt.valid < 3) {
				t.Errorf("progress says\n%s", &stderr)
			}
		})
	}
}

// watchMemory samples the memory in use until the returned function is called,
// which tells how much the peak was above the start.
func watchMemory(t *testing.T) func() uint64 {
	t.Helper()
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	start, peak := inUse(), uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, inUse())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		if peak < start {
			return 0
		}
		return peak - start
	}
}

// listen accepts connections until the test ends and plays the script to each. A
// port that refuses was listened on a moment ago.
func listen(t *testing.T, refuses bool, serve func(*script) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if refuses {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	var (
		serving sync.WaitGroup
		mu      sync.Mutex
		open    []net.Conn
	)
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				// How a script ends is up to the client, which is what is tested.
				_ = serve(&script{conn: conn, in: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}

// script is a server that plays its part as far as a test wants it to.
type script struct {
	conn net.Conn
	in   *bufio.Reader
}

// expect reads until text has come.
func (s *script) expect(text string) (string, error) {
	var got []byte
	for !bytes.HasSuffix(got, []byte(text)) {
		b, err := s.in.ReadByte()
		if err != nil {
			return "", err
		}
		got = append(got, b)
	}
	return string(got), nil
}

func (s *script) send(text string) error {
	_, err := io.WriteString(s.conn, text)
	return err
}

// silence reads and never answers.
func (s *script) silence() error {
	_, err := io.Copy(io.Discard, s.in)
	return err
}

// flood sends n bytes, piece by piece.
func (s *script) flood(piece []byte, n int) error {
	for sent := 0; sent < n; sent += len(piece) {
		if _, err := s.conn.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// header answers a stream header with one, and with features.
func (s *script) header(features string) error {
	if err := s.open(); err != nil {
		return err
	}
	return s.send("<stream:features>" + features + "</stream:features>")
}

// open answers a stream header with one.
func (s *script) open() error {
	if _, err := s.expect("<stream:stream"); err != nil {
		return err
	}
	if _, err := s.expect(">"); err != nil {
		return err
	}
	return s.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='" + badDomain +
		"' id='1' version='1.0'>")
}

func (s *script) starttls(c *tls.Config) error {
	if err := s.header("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"); err != nil {
		return err
	}
	if _, err := s.expect("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	if err := s.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	return tls.Server(s.conn, c).Handshake()
}

// auth takes credentials.
func (s *script) auth() error {
	if err := s.header("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"); err != nil {
		return err
	}
	_, err := s.expect("</auth>")
	return err
}

// login lets a client in.
func (s *script) login() error {
	if err := s.auth(); err != nil {
		return err
	}
	if err := s.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"); err != nil {
		return err
	}
	if err := s.header("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"); err != nil {
		return err
	}
	id, err := s.request("xmpp-bind")
	if err != nil {
		return err
	}
	return s.send("<iq type='result' id='" + id + "'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>u0@" + badDomain + "/x</jid></bind></iq>")
}

// answer answers requests until the client leaves, the one for the roster with
// half of it and the end of the connection if it is broken.
func (s *script) answer(broken bool) error {
	var got []byte
	for {
		b, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		got = append(got, b)
		switch {
		case bytes.HasSuffix(got, []byte("</stream:stream>")):
			return s.send("</stream:stream>")
		case !bytes.HasSuffix(got, []byte("</iq>")):
			continue
		}
		_, rest, _ := strings.Cut(string(got), " id='")
		id, _, _ := strings.Cut(rest, "'")
		answer := "<iq type='result' id='" + id + "'/>"
		if bytes.Contains(got, []byte("jabber:iq:roster")) {
			answer = "<iq type='result' id='" + id + "'><query xmlns='jabber:iq:roster'><item jid='a@b.test'/>"
			if broken {
				return s.send(answer)
			}
			answer += "</query></iq>"
		}
		if err := s.send(answer); err != nil {
			return err
		}
		got = got[:0]
	}
}

// request reads an iq that holds text and returns its id.
func (s *script) request(text string) (id string, err error) {
	for {
		iq, err := s.expect("</iq>")
		if err != nil {
			return "", err
		}
		if !strings.Contains(iq, text) {
			continue
		}
		_, rest, _ := strings.Cut(iq, " id='")
		id, _, ok := strings.Cut(rest, "'")
		if !ok {
			return "", fmt.Errorf("no id in %s", iq)
		}
		return id, nil
	}
}

// roster begins the answer to a roster request.
func (s *script) roster(begin string) error {
	id, err := s.request("jabber:iq:roster")
	if err != nil {
		return err
	}
	return s.send("<iq type='result' id='" + id + "'><query xmlns='jabber:iq:roster'>" + begin)
}
