package link_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/xmppbench/xmppbench/internal/link"
)

// echoServer answers every connection with its own bytes, and returns its address.
func echoServer(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

func startRelay(t testing.TB, c link.Config) *link.Relay {
	t.Helper()
	r, err := link.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	// Far more than any test takes: a failure ends instead of hanging.
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func TestRelayOverTCP(t *testing.T) {
	server := echoServer(t)
	for _, shared := range []bool{false, true} {
		r := startRelay(t, link.Config{
			Params: link.Params{Rate: 200_000_000, RTT: 2 * time.Millisecond},
			Shared: shared,
			Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: server}, {Listen: "127.0.0.1:0", Dial: server, Reverse: true}},
		})
		const each = 300_000
		sent := bytes.Repeat([]byte("0123456789abcde\n"), each/16)
		var work sync.WaitGroup
		for _, addr := range r.Addrs() {
			for range 2 {
				conn := dial(t, addr)
				work.Go(func() {
					_, _ = conn.Write(sent)
					_ = conn.CloseWrite()
				})
				work.Go(func() {
					if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
						t.Errorf("got %d bytes, %v, or not the same", len(got), err)
					}
				})
			}
		}
		work.Wait()
		stats, err := r.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Connections != 4 || stats.Failed != 0 || stats.Forward.Bytes != 4*each || stats.Backward.Bytes != 4*each {
			t.Errorf("shared %v: counted %+v", shared, stats)
		}
		if stats.Lateness.Count != stats.Forward.Segments+stats.Backward.Segments {
			t.Errorf("%d latenesses of %d and %d segments", stats.Lateness.Count, stats.Forward.Segments, stats.Backward.Segments)
		}
		if stats.Buffers.ClientReceive <= 0 || stats.Buffers.ServerReceive <= 0 || stats.Buffers.ServerReceive > 64<<10 {
			t.Errorf("receive buffers %+v", stats.Buffers)
		}

		// The figures survive the way to another process.
		raw, err := json.Marshal(stats)
		if err != nil {
			t.Fatal(err)
		}
		var again link.Stats
		if err := json.Unmarshal(raw, &again); err != nil || again != stats {
			t.Errorf("%v, or %+v became %+v", err, stats, again)
		}
		if _, err := base64.StdEncoding.DecodeString(again.Lateness.Histogram); err != nil {
			t.Error(err)
		}
		h, err := hdrhistogram.Decode([]byte(again.Lateness.Histogram))
		if err != nil || h.TotalCount() != stats.Lateness.Count {
			t.Errorf("the histogram has %v, %v", h, err)
		}
	}
}

// A client whose server cannot be reached learns so by a reset, and the relay goes on.
func TestRelayWithoutServer(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	r := startRelay(t, link.Config{Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: gone.Addr().String()}}})
	for range 2 {
		conn, err := net.Dial("tcp", r.Addrs()[0])
		if err == nil { // The reset may come before the dial returns.
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset", err)
		}
	}
	stats, err := r.Stats()
	if err != nil || stats.Failed != 2 || stats.Connections != 0 {
		t.Errorf("counted %+v, %v", stats, err)
	}
}

// A reset by the server reaches the client as a reset.
func TestRelayReset(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := startRelay(t, link.Config{Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: ln.Addr().String()}}})
	client := dial(t, r.Addrs()[0])
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// Closing a relay ends the connections that are still open.
func TestRelayClose(t *testing.T) {
	r := startRelay(t, link.Config{Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: echoServer(t)}}})
	conn := dial(t, r.Addrs()[0])
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the end", err)
	}
	if _, err := net.Dial("tcp", r.Addrs()[0]); err == nil {
		t.Error("the relay still listens")
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		give link.Config
		want string
	}{
		{"no route", link.Config{}, "at least one route"},
		{"bad link", link.Config{Params: link.Params{Rate: -1}, Routes: []link.Route{{Listen: "127.0.0.1:0"}}}, "negative"},
		{"bad buffer", link.Config{ReceiveBuffer: -1, Routes: []link.Route{{Listen: "127.0.0.1:0"}}}, "receive buffer"},
		{"port taken", link.Config{Routes: []link.Route{{Listen: "127.0.0.1:0"}, {Listen: taken.Addr().String()}}}, "in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := link.Start(t.Context(), tt.give); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
