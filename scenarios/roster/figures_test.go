package roster

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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	melliumroster "mellium.im/xmpp/roster"
	"mellium.im/xmpp/stream"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// The figures are the client's, so their server is a process of its own: this test
// binary, run again with figuresEnv set.
const figuresEnv = "XMPPBENCH_ROSTER_FIGURES_SERVER"

// The roster of the figures, about 11 MB.
const (
	figureItems     = 100_000
	figureItemBytes = 110
	figureID        = "c1"     // what the first request of a stream is called
	figurePiece     = 16 << 10 // bytes of a write of the server: the largest TLS record, and of a read
)

// serveFigures prints the addresses for plain and for TLS connections, the length
// of an answer to figureID, the digest of the roster and the authority, and answers
// every request on a connection with the roster until its standard input ends.
func serveFigures() {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	p, err := population.New(population.Config{Seed: 1, Domains: []string{"a.example"}, Accounts: 1, Contacts: figureItems, ItemBytes: figureItemBytes})
	must(err)
	items := []byte("<query xmlns='" + wire.NSRoster + "'>")
	for it := range p.Items(0) {
		items = population.AppendItem(items, it)
	}
	items = append(items, "</query></iq>"...)
	head := func(id string) []byte { return wire.AppendIQStart(nil, "result", id, "", "") }

	ca, err := lab.NewCA("figures", lab.CAOptions{})
	must(err)
	leaf, err := ca.Issue(lab.LeafOptions{Names: []string{"a.example"}})
	must(err)
	config := &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS13}
	for _, upgrade := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		func(c net.Conn) net.Conn { return tls.Server(c, config) },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		fmt.Println(l.Addr())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go answerFigures(upgrade(c), head, items)
			}
		}()
	}
	fmt.Println(len(head(figureID)) + len(items))
	fmt.Println(p.Expected(0))
	fmt.Println(base64.StdEncoding.EncodeToString(ca.Certificate().Raw))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// answerFigures writes in pieces of the same size whoever asks.
func answerFigures(c net.Conn, head func(id string) []byte, items []byte) {
	s := wire.NewStream(c, nil, wire.StreamOptions{Opened: true, Server: true, Piece: figurePiece})
	s.Handle(func(*wire.Stanza) wire.Handler {
		return wire.Handler{Done: func(st *wire.Stanza) error {
			begin, rest := head(st.ID()), items
			return s.PostPieces(func(dst []byte) ([]byte, bool) {
				dst = append(dst, begin...)
				begin = nil
				n := min(figurePiece-len(dst), len(rest))
				dst, rest = append(dst, rest[:n]...), rest[n:]
				return dst, len(rest) > 0
			}, nil)
		}}
	})
	_ = s.Serve(context.Background()) // clients leave without a word
}

// figures is the server process as the client sees it.
type figures struct {
	plain, tls string
	config     *tls.Config
	bytes      int
	digest     population.Digest
}

func startFigures(b *testing.B) figures {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), figuresEnv+"=1")
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
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	r := bufio.NewReader(out)
	line := func() string {
		s, err := r.ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		return strings.TrimSpace(s)
	}
	f := figures{plain: line(), tls: line()}
	if _, err := fmt.Sscan(line(), &f.bytes); err != nil {
		b.Fatal(err)
	}
	if f.digest, err = population.ParseDigest(line()); err != nil {
		b.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(line())
	if err != nil {
		b.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	f.config = &tls.Config{RootCAs: roots, ServerName: "a.example", MinVersion: tls.VersionTLS13}
	return f
}

func (f figures) dial(b *testing.B, secure bool) net.Conn {
	b.Helper()
	address := f.plain
	if secure {
		address = f.tls
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if !secure {
		return c
	}
	t := tls.Client(c, f.config)
	if err := t.HandshakeContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	return t
}

// A reading is what one retrieval took of the client.
type reading struct {
	cpu     time.Duration
	mallocs uint64
}

// measure runs a retrieval and nothing else.
func measure(b *testing.B, retrieve func() error) reading {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := processorTime(b)
	err := retrieve()
	took := processorTime(b) - start
	runtime.ReadMemStats(&after)
	if err != nil {
		b.Fatal(err)
	}
	return reading{took, after.Mallocs - before.Mallocs}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// readBare reads the bytes of the answer and does not look at them.
func readBare(b *testing.B, f figures, c net.Conn) reading {
	return measure(b, func() error {
		if _, err := c.Write(wire.AppendIQ(nil, "get", figureID, "", "", []byte("<query xmlns='"+wire.NSRoster+"'/>"))); err != nil {
			return err
		}
		buf := make([]byte, figurePiece)
		for left := f.bytes; left > 0; {
			n, err := c.Read(buf)
			if left -= n; err != nil && left > 0 {
				return err
			}
		}
		return nil
	})
}

// readOurs fetches the roster with the client half of the baseline.
func readOurs(o wire.StreamOptions, digest bool) func(*testing.B, figures, net.Conn) reading {
	return func(b *testing.B, f figures, c net.Conn) reading {
		o.Opened = true
		s := wire.NewStream(c, nil, o)
		client := NewClient(s, "u@a.example", nil)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(context.Background())
		}()
		r := measure(b, func() error {
			got, err := monolithic().Fetch(b.Context(), client, Params{}, Options{Digest: digest})
			switch {
			case err != nil:
				return err
			case got.Items != figureItems || got.BytesIn != int64(f.bytes):
				return fmt.Errorf("%d items in %d bytes, want %d in %d", got.Items, got.BytesIn, figureItems, f.bytes)
			case digest && !got.Digest.Equal(f.digest):
				return fmt.Errorf("digest %v, want %v", got.Digest, f.digest)
			}
			return nil
		})
		c.Close()
		<-served
		return r
	}
}

// readLibrary fetches the roster with mellium.im/xmpp.
func readLibrary(b *testing.B, _ figures, c net.Conn) reading {
	account := jid.MustParse("u@a.example")
	ready := func(context.Context, *stream.Info, *stream.Info, *xmpp.Session, any) (xmpp.SessionState, io.ReadWriter, any, error) {
		return xmpp.Ready, nil, nil, nil
	}
	s, err := xmpp.NewSession(b.Context(), account.Domain(), account, c, xmpp.Secure|xmpp.Authn, ready)
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(nil) // ends with the connection
	}()
	r := measure(b, func() error {
		items := melliumroster.Fetch(b.Context(), s)
		n := 0
		for items.Next() {
			if items.Item().JID.String() == "" {
				return fmt.Errorf("item %d has no JID", n)
			}
			n++
		}
		if n != figureItems {
			return fmt.Errorf("%d items of %d: %w", n, figureItems, items.Err())
		}
		return items.Close()
	})
	c.Close()
	<-served
	return r
}

// BenchmarkClient reports what a roster of 100 000 items costs the client: the
// processor time of counting it as a multiple of reading the same bytes, and that of
// checking the digest, of verifying all XML and of mellium's roster.Fetch as
// multiples of counting. An operation is seven rounds in which all take turns, so
// that a noisy machine disturbs all; since it can only add, the least of each is compared.
func BenchmarkClient(b *testing.B) {
	server := startFigures(b)
	arms := []struct {
		name string
		read func(*testing.B, figures, net.Conn) reading
	}{
		{"read", readBare},
		{"count", readOurs(wire.StreamOptions{}, false)},
		{"digest", readOurs(wire.StreamOptions{}, true)},
		{"verify", readOurs(wire.StreamOptions{Verify: true}, true)},
		{"mellium", readLibrary},
	}
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "tls"
		}
		b.Run(name, func(b *testing.B) {
			cpu, mallocs := map[string][]float64{}, map[string][]float64{}
			for b.Loop() {
				for range 7 {
					for _, arm := range arms {
						c := server.dial(b, secure)
						r := arm.read(b, server, c)
						c.Close()
						cpu[arm.name] = append(cpu[arm.name], r.cpu.Seconds())
						mallocs[arm.name] = append(mallocs[arm.name], float64(r.mallocs))
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			least := func(of map[string][]float64, arm string) float64 { return slices.Min(of[arm]) }
			b.ReportMetric(least(cpu, "count")*1e3, "cpu-ms/count")
			b.ReportMetric(least(cpu, "count")/least(cpu, "read"), "count/read")
			for _, arm := range []string{"digest", "verify", "mellium"} {
				b.ReportMetric(least(cpu, arm)/least(cpu, "count"), arm+"/count")
			}
			for _, arm := range []string{"count", "digest", "mellium"} {
				b.ReportMetric(least(mallocs, arm)/figureItems, arm+"-allocs/item")
			}
		})
	}
}
