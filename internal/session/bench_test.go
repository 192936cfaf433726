package session_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// The benchmarks ask what the client costs, so their server is a process of its own: this test binary, run again with
// serverEnv set.
const serverEnv = "XMPPBENCH_SESSION_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		serveBenchmark()
		return
	}
	goleak.VerifyTestMain(m)
}

// quiet is the testing.TB of the server process.
type quiet struct{ testing.TB }

func (quiet) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (quiet) Fatal(args ...any)                 { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }

// serveBenchmark prints the addresses for STARTTLS logins, clear logins and bare handshakes, and the authority, and
// serves until its standard input ends.
func serveBenchmark() {
	ca := newAuthority(quiet{})
	config := ca.server("a.test")
	scram := scramServer{mechanism: "SCRAM-SHA-256", password: password, iterations: 4096}
	scram.salted = scram.saltedPassword()
	login := func(p *peer) {
		p.stream(mechanisms("SCRAM-SHA-256"))
		p.scram(scram)
		p.stream(bindFeature)
		p.bind(jid, "")
		p.rest()
	}
	for _, script := range []func(*peer){
		func(p *peer) { p.startTLS(config); login(p) },
		login,
		func(p *peer) {
			p.upgrade(config)
			b := make([]byte, 1)
			if _, err := io.ReadFull(p.conn, b); err == nil {
				_, _ = p.conn.Write(b)
			}
			p.rest()
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			quiet{}.Fatal(err)
		}
		fmt.Println(l.Addr())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					script(&peer{t: quiet{}, conn: c})
				}()
			}
		}()
	}
	fmt.Println(base64.StdEncoding.EncodeToString(ca.cert.Raw))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// benchServer is the server process as the client sees it.
type benchServer struct {
	starttls, clear, bare string
	tls                   *tls.Config
}

func startServer(b *testing.B) benchServer {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	r := bufio.NewReader(out)
	line := func() string {
		s, err := r.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		return strings.TrimSpace(s)
	}
	s := benchServer{starttls: line(), clear: line(), bare: line()}
	der, err := base64.StdEncoding.DecodeString(line())
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	s.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: "a.test"}
	return s
}

func connectTo(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkLogin reports the client's processor time for a login with STARTTLS (P-256 certificate, SCRAM-SHA-256 with
// cached keys), that of a bare TLS handshake with the same server, and their ratio. The two take turns, so that a
// noisy machine disturbs both.
func BenchmarkLogin(b *testing.B) {
	server := startServer(b)
	c := session.Config{JID: jid, Password: password, TLSConfig: server.tls, Keys: new(session.KeyCache), Connect: connectTo(server.starttls)}
	login := func() {
		s, err := session.Dial(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		s.Stream.Conn().Close()
	}
	connect := connectTo(server.bare)
	handshake := func() {
		raw, err := connect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		conn := tls.Client(raw, server.tls)
		defer conn.Close()
		one := []byte{1}
		if _, err := conn.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			b.Fatal(err)
		}
	}
	login() // derives the keys
	handshake()
	var logins, handshakes time.Duration
	n := 0
	for b.Loop() {
		start := cpu(b)
		for range 8 {
			login()
		}
		middle := cpu(b)
		for range 8 {
			handshake()
		}
		logins += middle - start
		handshakes += cpu(b) - middle
		n += 8
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(logins.Seconds()*1e6/float64(n), "cpu-µs/login")
	b.ReportMetric(handshakes.Seconds()*1e6/float64(n), "cpu-µs/handshake")
	b.ReportMetric(logins.Seconds()/handshakes.Seconds(), "login/handshake")
}

// BenchmarkLoginClear reports the client's processor time and allocations of a login without TLS.
func BenchmarkLoginClear(b *testing.B) {
	server := startServer(b)
	c := session.Config{JID: jid, Password: password, TLS: session.NoTLS, Keys: new(session.KeyCache), Connect: connectTo(server.clear)}
	b.ReportAllocs()
	start, n := cpu(b), 0
	for b.Loop() {
		s, err := session.Dial(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		s.Stream.Conn().Close()
		n++
	}
	b.ReportMetric((cpu(b)-start).Seconds()*1e6/float64(n), "cpu-µs/login")
}

// BenchmarkIdle reports the heap and stack that one idle session holds, its reading goroutine included.
func BenchmarkIdle(b *testing.B) {
	server := startServer(b)
	for name, c := range map[string]session.Config{
		"clear":    {TLS: session.NoTLS, Connect: connectTo(server.clear)},
		"starttls": {TLSConfig: server.tls, Connect: connectTo(server.starttls)},
	} {
		b.Run(name, func(b *testing.B) {
			const sessions = 500
			c.JID, c.Password, c.Keys = jid, password, new(session.KeyCache)
			for b.Loop() {
				before := memory()
				streams := make([]*wire.Stream, sessions)
				var served sync.WaitGroup
				for i := range streams {
					s, err := session.Dial(b.Context(), c)
					if err != nil {
						b.Fatal(err)
					}
					stream := s.Stream
					streams[i] = stream
					served.Go(func() { _ = stream.Serve(context.Background()) })
				}
				time.Sleep(100 * time.Millisecond)
				after := memory()
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/sessions, "heap-B/session")
				b.ReportMetric(float64(after.StackInuse-before.StackInuse)/sessions, "stack-B/session")
				for _, s := range streams {
					s.Conn().Close()
				}
				served.Wait()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}
