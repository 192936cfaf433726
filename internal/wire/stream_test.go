package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback returns both ends of a TCP connection.
func loopback(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// opened returns two streams that have their headers behind them.
func opened(t testing.TB, client, server wire.StreamOptions) (c, s *wire.Stream) {
	a, b := loopback(t)
	client.Opened, server.Opened, server.Server = true, true, true
	return wire.NewStream(a, nil, client), wire.NewStream(b, nil, server)
}

// serve runs Serve and returns a function that waits for its result.
func serve(ctx context.Context, s *wire.Stream) (wait func() error) {
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx) }()
	return func() error { return <-result }
}

// answering makes a stream answer each request with fill as the payload.
func answering(s *wire.Stream, fill func(st *wire.Stanza) []byte) {
	s.Handle(func(head *wire.Stanza) wire.Handler {
		if typ := head.Type(); typ != "get" && typ != "set" {
			return wire.Handler{}
		}
		return wire.Handler{Done: func(st *wire.Stanza) error {
			return s.Post(fill(st), nil)
		}}
	})
}

func TestNegotiation(t *testing.T) {
	ctx := t.Context()
	a, b := loopback(t)
	client := wire.NewStream(a, nil, wire.StreamOptions{Verify: true})
	server := wire.NewStream(b, nil, wire.StreamOptions{Server: true, Verify: true})
	answering(server, func(st *wire.Stanza) []byte { return wire.AppendReply(nil, st.Tag, "result", nil) })

	// The client does not wait: header, auth, second header and a request go out at once.
	var early []byte
	early = wire.AppendHeader(early, wire.Header{To: "a.example"})
	early = append(early, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>x</auth>"...)
	if err := client.Send(early); err != nil {
		t.Fatal(err)
	}
	if err := client.Send(append(wire.AppendHeader(nil, wire.Header{To: "a.example"}), "<iq type='get' id='early'/>"...)); err != nil {
		t.Fatal(err)
	}

	head, err := server.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := wire.ParseHeader(head.Tag); err != nil || h.To != "a.example" || string(head.Name()) != "stream" {
		t.Fatalf("%+v, %v", h, err)
	}
	auth, err := server.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if el, err := auth.Element(); err != nil || el.Space != wire.NSSASL || el.Text() != "x" {
		t.Fatalf("%+v, %v", el, err)
	}
	if err := server.Send(append(wire.AppendHeader(nil, wire.Header{ID: "1"}), "<stream:features/><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"...)); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(append(wire.AppendHeader(nil, wire.Header{ID: "2"}), "<stream:features/>"...)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Next(ctx); err != nil {
		t.Fatal(err)
	}
	serverDone := serve(ctx, server)

	for i, want := range []string{"stream", "features", "success", "stream", "features"} {
		st, err := client.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if string(st.Name()) != want {
			t.Fatalf("element %d is %s, want %s", i, st.Name(), want)
		}
		if want == "success" {
			if err := client.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	answered := make(chan string, 1)
	client.Expect("early", wire.Handler{Done: func(st *wire.Stanza) error { answered <- st.ID(); return nil }})
	clientDone := serve(ctx, client)
	if id := <-answered; id != "early" {
		t.Errorf("answer to %q", id)
	}
	if err := client.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := errors.Join(clientDone(), serverDone()); err != nil {
		t.Error(err)
	}
	if got := client.Counts(); got.StanzasIn != 1 || got.BytesIn != server.Counts().BytesOut || got.BytesOut != server.Counts().BytesIn {
		t.Errorf("client %+v, server %+v", got, server.Counts())
	}
}

func TestUpgrade(t *testing.T) {
	ctx := t.Context()
	cert := selfSigned(t)
	a, b := loopback(t)
	client, server := wire.NewStream(a, nil, wire.StreamOptions{}), wire.NewStream(b, nil, wire.StreamOptions{Server: true})
	var g sync.WaitGroup
	g.Go(func() {
		for _, err := range []error{
			client.Send(append(wire.AppendHeader(nil, wire.Header{}), "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"...)),
			skip(ctx, client, 2),
			client.Upgrade(tls.Client(client.Conn(), &tls.Config{InsecureSkipVerify: true})),
			client.Send(wire.AppendHeader(nil, wire.Header{})),
			skip(ctx, client, 1),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err := skip(ctx, server, 2); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(append(wire.AppendHeader(nil, wire.Header{}), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"...)); err != nil {
		t.Fatal(err)
	}
	if err := server.Upgrade(tls.Server(server.Conn(), &tls.Config{Certificates: []tls.Certificate{cert}})); err != nil {
		t.Fatal(err)
	}
	if err := skip(ctx, server, 1); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(wire.AppendHeader(nil, wire.Header{})); err != nil {
		t.Fatal(err)
	}
	g.Wait()
	wait := serve(ctx, server)
	if err := errors.Join(client.Close(ctx), wait()); err != nil {
		t.Error(err)
	}
}

func skip(ctx context.Context, s *wire.Stream, n int) error {
	for range n {
		if _, err := s.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}

func TestUpgradeRefusesInjectedBytes(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	s := wire.NewStream(b, []byte("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><iq type='set' id='evil'/>"), wire.StreamOptions{Opened: true})
	if err := skip(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
	var se *wire.SyntaxError
	if err := s.Upgrade(b); !errors.As(err, &se) || se.Condition != wire.PolicyViolation {
		t.Errorf("%v", err)
	}
	b.Close()
}

// The bytes that a negotiation read too early and those that follow are one stream.
func TestHandover(t *testing.T) {
	const doc = "<presence from='1'/><message from='2'><body>x</body></message><presence from='3'/></stream:stream>"
	for cut := range len(doc) {
		a, b := net.Pipe()
		c := wire.NewConn(b, 0)
		go func() {
			_, _ = a.Write([]byte("!" + doc[:cut]))
			_, _ = a.Write([]byte(doc[cut:]))
			_, _ = io.Copy(io.Discard, a)
			a.Close()
		}()
		if x, err := c.ReadByte(); x != '!' || err != nil {
			t.Fatal(x, err)
		}
		left, under := c.Detach()
		s := wire.NewStream(under, left, wire.StreamOptions{Opened: true, Verify: true})
		if st, err := s.Next(t.Context()); err != nil || st.From() != "1" {
			t.Fatal(st, err)
		}
		var got []string
		s.Handle(func(head *wire.Stanza) wire.Handler {
			return wire.Handler{Done: func(st *wire.Stanza) error { got = append(got, st.From()); return nil }}
		})
		if err := s.Serve(t.Context()); err != nil || !slices.Equal(got, []string{"2", "3"}) {
			t.Fatalf("cut %d: %v, %v", cut, got, err)
		}
		if n := s.Counts().BytesIn; n != int64(len(doc)) {
			t.Errorf("%d bytes in, want %d", n, len(doc))
		}
	}
}

func TestServeAfterAnInterruptedNextLosesNothing(t *testing.T) {
	const doc = "<iq type='result' id='1'><query><item/><item/></query></iq>"
	for cut := 1; cut < len(doc); cut++ {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true, Verify: true})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go a.Write([]byte(doc[:cut]))
			if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			items := 0
			s.Expect("1", wire.Handler{
				Watch: wire.Watch{Mode: wire.Count, Name: "item", Level: 4},
				Done:  func(st *wire.Stanza) error { items = st.Elements; return nil },
			})
			go func() {
				_, _ = a.Write([]byte(doc[cut:] + "</stream:stream>"))
				_, _ = io.Copy(io.Discard, a)
			}()
			if err := s.Serve(t.Context()); err != nil || items != 2 || s.Counts().StanzasIn != 1 {
				t.Fatalf("cut %d: %d items, %v, %+v", cut, items, err, s.Counts())
			}
			a.Close()
		})
	}
}

func TestIQ(t *testing.T) {
	ctx := t.Context()
	client, server := opened(t, wire.StreamOptions{Verify: true}, wire.StreamOptions{Verify: true})
	answering(server, func(st *wire.Stanza) []byte {
		if st.ID() == "bad'&" {
			return wire.AppendStanzaError(nil, st.Tag, &wire.StanzaError{Type: "cancel", Condition: "item-not-found"})
		}
		return wire.AppendReply(nil, st.Tag, "result", []byte("<query xmlns='jabber:iq:roster'/>"))
	})
	serverDone, clientDone := serve(ctx, server), serve(ctx, client)
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			for range 50 {
				id := client.NextID()
				el, err := client.IQ(ctx, id, wire.AppendIQ(nil, "get", id, "", "", []byte("<query xmlns='jabber:iq:roster'/>")))
				if err != nil || el.Attr("id") != id || el.Child(wire.NSRoster, "query") == nil {
					t.Errorf("%+v, %v", el, err)
				}
			}
		})
	}
	g.Wait()
	_, err := client.IQ(ctx, "bad'&", wire.AppendIQ(nil, "get", "bad'&", "", "", nil))
	var se *wire.StanzaError
	if !errors.As(err, &se) || se.Condition != "item-not-found" {
		t.Errorf("%v", err)
	}
	if got := client.Counts(); got.StanzasIn != 401 || got.StanzasOut != 401 || server.Counts().StanzasIn != 401 {
		t.Errorf("client %+v, server %+v", got, server.Counts())
	}
	if err := errors.Join(server.Close(ctx), clientDone(), serverDone()); err != nil {
		t.Error(err)
	}
	if _, err := client.IQ(ctx, "x", []byte("<iq type='get' id='x'/>")); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("iq on a closed stream: %v", err)
	}
}

func TestCountedAnswerKnowsItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true})
		var got []string
		var jids []string
		base := time.Now()
		note := func(st *wire.Stanza) error {
			first := "-"
			if !st.First.IsZero() {
				first = st.First.Sub(base).String()
			}
			got = append(got, fmt.Sprint(st.ID(), " ", st.Elements, " ", st.Start.Sub(base), " ", first, " ", st.End.Sub(base), " ", string(st.Child), " ", len(st.Frame)))
			return nil
		}
		for _, id := range []string{"1", "2", "3"} {
			s.Expect(id, wire.Handler{
				Watch:   wire.Watch{Mode: wire.Count, Name: "item", Level: 4, Elements: id == "2"},
				Element: func(b []byte, at time.Time) error { jids = append(jids, wire.AttrString(b, "jid")); return nil },
				Done:    note,
			})
		}
		go func() {
			for _, part := range []string{
				"<iq type='result' id='1'><query ver='7", "'><item jid='a'", "/><item/>", "</query></iq><iq id='2' type='result'><query><item jid='b&#x21;'/>", "<item jid='c'/></query></iq>",
				"<iq id='3' type='error'><error/></iq><iq type='result' id='4'/>", "</stream:stream>",
			} {
				_, _ = a.Write([]byte(part))
				time.Sleep(time.Second)
			}
			_, _ = io.Copy(io.Discard, a)
		}()
		if err := s.Serve(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"1 2 0s 2s 3s <query ver='7'> 0",
			"2 2 3s 3s 4s <query> 0",
			"3 0 5s - 5s <error/> 37",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
		if !slices.Equal(jids, []string{"b!", "c"}) {
			t.Errorf("jids %q", jids)
		}
		a.Close()
	})
}

// Whatever is sent by whom, stanzas are whole and each sender's come in order.
func TestConcurrentSending(t *testing.T) {
	ctx := t.Context()
	var sent atomic.Int64
	client, server := opened(t, wire.StreamOptions{Piece: 100, QueueBytes: 1 << 30, Sent: func([]byte) { sent.Add(1) }}, wire.StreamOptions{Verify: true})
	const senders, each = 12, 100
	last := map[string]int{}
	server.Handle(func(head *wire.Stanza) wire.Handler {
		return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error {
			el, err := st.Element()
			if err != nil {
				return err
			}
			var n int
			if _, err := fmt.Sscan(el.Attr("n"), &n); err != nil || n != last[st.From()] {
				return fmt.Errorf("%s came with %q after %d: %w", st.From(), el.Attr("n"), last[st.From()], err)
			}
			if body := el.Child("", "body").Text(); body != strings.Repeat("x", n*7%500) {
				return fmt.Errorf("body of %d bytes in stanza %d", len(body), n)
			}
			last[st.From()]++
			return nil
		}}
	})
	serverDone, clientDone := serve(ctx, server), serve(ctx, client)
	var written atomic.Int64
	var g sync.WaitGroup
	for i := range senders {
		g.Go(func() {
			for n := range each {
				body := strings.Repeat("x", n*7%500)
				b := fmt.Appendf(nil, "<message from='%d' n='%d'><body>%s</body></message>", i, n, body)
				var err error
				switch i % 3 {
				case 0:
					err = client.Send(b)
				case 1:
					err = client.Post(b, func() { written.Add(1) })
				case 2:
					err = client.PostPieces(func(dst []byte) ([]byte, bool) {
						k := min(len(b), 1+n%90)
						dst = append(dst, b[:k]...)
						b = b[k:]
						return dst, len(b) > 0
					}, func() { written.Add(1) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
	if err := errors.Join(client.Close(ctx), clientDone(), serverDone()); err != nil {
		t.Fatal(err)
	}
	for i := range senders {
		if n := last[fmt.Sprint(i)]; n != each {
			t.Errorf("%d stanzas of sender %d", n, i)
		}
	}
	if n := server.Counts().StanzasIn; n != senders*each || client.Counts().StanzasOut != n || sent.Load() != n || written.Load() != n*2/3 {
		t.Errorf("in %d, out %d, hook %d, written %d", n, client.Counts().StanzasOut, sent.Load(), written.Load())
	}
}

func TestWrittenMayPostAgain(t *testing.T) {
	ctx := t.Context()
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	serverDone, clientDone := serve(ctx, server), serve(ctx, client)
	const rounds = 20_000
	done := make(chan error, 1)
	n := 0
	var again func()
	again = func() {
		if n++; n == rounds {
			done <- nil
		} else if err := client.Post([]byte("<message/>"), again); err != nil {
			done <- err
		}
	}
	again()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.Close(ctx), clientDone(), serverDone()); err != nil {
		t.Fatal(err)
	}
	if got := server.Counts().StanzasIn; got != rounds-1 {
		t.Errorf("%d stanzas, want %d", got, rounds-1)
	}
}

func TestOthersInterleaveBetweenChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true})
		chunk := func() { _ = s.Post([]byte("<c/>"), nil) }
		if err := s.Post([]byte("<c/>"), func() { _ = s.Post([]byte("<c/>"), chunk) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the writer waits for the peer
		if err := s.Post([]byte("<probe/>"), nil); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		var got []string
		for range 3 {
			n, err := a.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(buf[:n]))
			synctest.Wait()
		}
		if want := []string{"<c/>", "<probe/><c/>", "<c/>"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		s.Abort(wire.StreamError{Condition: "reset"})
		a.Close()
		<-s.Done()
	})
}

func TestSlowPeerFillsTheQueueOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe() // which holds nothing, so the first write hangs
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true, QueueBytes: 10_000, WriteTimeout: time.Hour})
		failed := make(chan error, 2)
		s.Expect("1", wire.Handler{Fail: func(err error) { failed <- err }})
		big := append(append([]byte("<message>"), bytes.Repeat([]byte("x"), 20_000)...), "</message>"...)
		if err := s.Post(big, func() { t.Error("was not written") }); err != nil {
			t.Fatalf("larger than the bound, but alone: %v", err)
		}
		if err := s.Post([]byte("<message/>"), nil); !errors.Is(err, wire.ErrQueueFull) {
			t.Fatalf("%v", err)
		}
		if err := s.PostPieces(func(dst []byte) ([]byte, bool) { return dst, false }, nil); !errors.Is(err, wire.ErrQueueFull) {
			t.Fatalf("%v", err)
		}
		var g sync.WaitGroup
		g.Go(func() {
			if err := s.Send([]byte("<iq type='get' id='1'/>")); !errors.Is(err, wire.ErrClosed) {
				t.Errorf("send: %v", err)
			}
		})
		synctest.Wait()
		s.Abort(wire.StreamError{Condition: wire.PolicyViolation, Text: "too slow"})
		if err := s.Post([]byte("<message/>"), nil); !errors.Is(err, wire.ErrClosed) {
			t.Errorf("post after abort: %v", err)
		}
		<-s.Done()
		g.Wait()
		var se *wire.StreamError
		if !errors.As(s.Err(), &se) || se.Condition != wire.PolicyViolation {
			t.Errorf("%v", s.Err())
		}
		if err := <-failed; !errors.Is(err, wire.ErrClosed) || !errors.As(err, &se) {
			t.Errorf("expectation: %v", err)
		}
		a.Close()
	})
}

func TestQueueTakesMoreOnceItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true, QueueBytes: 1000})
		posted := 0
		for s.Post([]byte("<message/>"), nil) == nil {
			posted++
		}
		if posted < 2 || posted > 20 {
			t.Errorf("%d posted", posted)
		}
		go io.Copy(io.Discard, a)
		synctest.Wait()
		if err := s.Post([]byte("<message/>"), nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := s.Counts().StanzasOut; n != int64(posted)+1 {
			t.Errorf("%d written", n)
		}
		s.Abort(wire.StreamError{Condition: "reset"})
		<-s.Done()
		a.Close()
	})
}

func TestWriteTimeoutEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true})
		wait := serve(t.Context(), s)
		var ne net.Error
		if err := s.Send([]byte("<message/>")); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("send: %v", err)
		}
		if err := wait(); !errors.As(err, &ne) {
			t.Errorf("serve: %v", err)
		}
		a.Close()
	})
}

func TestCloseIsBounded(t *testing.T) {
	for _, serving := range []bool{false, true} {
		for _, reading := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				if reading {
					go io.Copy(io.Discard, a)
				}
				s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true})
				wait := func() error { return context.DeadlineExceeded }
				if serving {
					wait = serve(t.Context(), s)
				}
				begin := time.Now()
				if err := s.Close(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("close: %v", err)
				}
				if d := time.Since(begin); d != wire.DefaultCloseTimeout {
					t.Errorf("took %v", d)
				}
				if err := wait(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("serve: %v", err)
				}
				a.Close()
			})
		}
	}
}

func TestCloseWithoutServe(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	ctx := t.Context()
	for _, b := range []string{"<presence/>", "<iq type='get' id='1'><q/></iq>"} {
		if err := server.Send([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	wait := serve(ctx, server)
	if err := errors.Join(client.Close(ctx), wait(), client.Close(ctx)); err != nil {
		t.Error(err)
	}
	if _, err := client.Next(ctx); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("next after close: %v", err)
	}
}

func TestBothEndsClose(t *testing.T) {
	ctx := t.Context()
	for range 20 {
		client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
		a, b := serve(ctx, client), serve(ctx, server)
		var g sync.WaitGroup
		for _, s := range []*wire.Stream{client, server, client} {
			g.Go(func() {
				if err := s.Close(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if err := errors.Join(a(), b()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNextAfterThePeersEnd(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	ctx := t.Context()
	closed := make(chan error, 1)
	go func() { closed <- client.Close(ctx) }()
	if _, err := server.Next(ctx); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := errors.Join(server.Close(ctx), <-closed); err != nil {
		t.Error(err)
	}
}

func TestContextStopsServe(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	wait := serve(ctx, client)
	failed := make(chan error, 1)
	client.Expect("1", wire.Handler{Fail: func(err error) { failed <- err }})
	cancel()
	if err := wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := <-failed; !errors.Is(err, context.Canceled) || !errors.Is(err, wire.ErrClosed) {
		t.Errorf("%v", err)
	}
	late := make(chan error, 1)
	client.Expect("2", wire.Handler{Fail: func(err error) { late <- err }})
	if err := <-late; !errors.Is(err, wire.ErrClosed) {
		t.Errorf("%v", err)
	}
	var cut *wire.CutError
	if err := server.Serve(t.Context()); !errors.As(err, &cut) {
		t.Errorf("the other end: %v", err)
	}
}

func TestContextStopsIQ(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	wait := serve(t.Context(), client)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = server.Next(t.Context())
		cancel()
	}()
	if _, err := client.IQ(ctx, "1", []byte("<iq type='get' id='1'/>")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	serverDone := serve(t.Context(), server)
	if err := errors.Join(client.Close(t.Context()), wait(), serverDone()); err != nil {
		t.Error(err)
	}
}

// However a stream is cut, all who wait are told, and where it was.
func TestCutStream(t *testing.T) {
	const doc = "<presence/><iq type='result' id='o&apos;1'><query><item/><item/></query></iq><message/>"
	where := map[int]string{}
	for i := range len(doc) + 1 {
		switch iq, end := strings.Index(doc, "<iq"), strings.Index(doc, "<message"); {
		case i == 0 || i == iq || i == end || i == len(doc):
			where[i] = "between stanzas"
		case i >= iq+len("<iq type='result' id='o&apos;1'>") && i < end:
			where[i] = "inside <iq id='o&apos;1'>"
		default:
			where[i] = "inside a start tag"
		}
	}
	for cut := range len(doc) + 1 {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true, Verify: true})
		var told []string
		for _, id := range []string{"o'1", "2"} {
			s.Expect(id, wire.Handler{
				Watch: wire.Watch{Mode: wire.Count, Level: 4},
				Done:  func(*wire.Stanza) error { told = append(told, id+" done"); return nil },
				Fail:  func(err error) { told = append(told, id+" failed") },
			})
		}
		cancel := s.Expect("3", wire.Handler{Fail: func(error) { t.Error("a cancelled expectation was told") }})
		cancel()
		go func() {
			_, _ = a.Write([]byte(doc[:cut]))
			a.Close()
		}()
		err := s.Serve(t.Context())
		var ce *wire.CutError
		if !errors.As(err, &ce) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), where[cut]+":") {
			t.Errorf("cut at %d: %v, want %q", cut, err, where[cut])
		}
		want := []string{"2 failed", "o'1 failed"}
		if cut >= strings.Index(doc, "<message") {
			want = []string{"2 failed", "o'1 done"}
		}
		if slices.Sort(told); !slices.Equal(told, want) {
			t.Errorf("cut at %d: %q", cut, told)
		}
	}
}

func TestIQFailsWithTheStream(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	wait := serve(t.Context(), client)
	go func() {
		_, _ = server.Next(t.Context())
		server.Abort(wire.StreamError{Condition: "system-shutdown", Text: "bye"})
	}()
	_, err := client.IQ(t.Context(), "1", []byte("<iq type='get' id='1'/>"))
	var se *wire.StreamError
	if !errors.As(err, &se) || se.Condition != "system-shutdown" || se.Text != "bye" || !errors.Is(err, wire.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := wait(); !errors.As(err, &se) || se.Kind() != "stream.system-shutdown" {
		t.Errorf("%v", err)
	}
	<-server.Done()
}

func TestNextReturnsAStreamError(t *testing.T) {
	client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
	server.Abort(wire.StreamError{Condition: "host-unknown"})
	var se *wire.StreamError
	if _, err := client.Next(t.Context()); !errors.As(err, &se) || se.Condition != "host-unknown" {
		t.Errorf("%v", err)
	}
	<-client.Done()
	<-server.Done()
}

// The peer learns what it did wrong, even while it floods.
func TestBadInputIsAnswered(t *testing.T) {
	tests := []struct {
		name, doc string
		watch     wire.Watch
		want      string
	}{
		{"text between stanzas", "<presence/>oops", wire.Watch{}, wire.NotWellFormed},
		{"tag names, in a frame", "<message><a></b></message>", wire.Watch{Mode: wire.Frame}, wire.NotWellFormed},
		{"tag names, counted and verified", "<message><a></b></message>", wire.Watch{Mode: wire.Count}, wire.NotWellFormed},
		{"entity, skipped and verified", "<message>&uuml;</message>", wire.Watch{}, wire.NotWellFormed},
		{"comment, verified", "<message><!-- x --></message>", wire.Watch{}, wire.RestrictedXML},
		{"prefix, framed and verified", "<message><x:a/></message>", wire.Watch{Mode: wire.Frame}, wire.BadNamespacePrefix},
		{"too large", "<message>" + strings.Repeat("x", 2<<20), wire.Watch{Mode: wire.Frame}, wire.PolicyViolation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{Verify: true})
			server.Handle(func(*wire.Stanza) wire.Handler {
				return wire.Handler{Watch: tt.watch, Done: func(st *wire.Stanza) error {
					if tt.watch.Mode == wire.Frame {
						_, err := st.Element()
						return err
					}
					return nil
				}}
			})
			serverDone, clientDone := serve(t.Context(), server), serve(t.Context(), client)
			_ = client.Post([]byte(tt.doc+strings.Repeat(" ", 1<<20)), nil)
			var syntax *wire.SyntaxError
			if err := serverDone(); !errors.As(err, &syntax) || syntax.Condition != tt.want {
				t.Errorf("server: %v", err)
			}
			var se *wire.StreamError
			if err := clientDone(); !errors.As(err, &se) || se.Condition != tt.want {
				t.Errorf("client: %v", err)
			}
		})
	}
}

// A verifying stream takes everything that a stream may carry, in any pieces and
// with restarts.
func TestVerifyRaisesNoFalseAlarm(t *testing.T) {
	doc := regexp.MustCompile(`<!--.*?-->|<\?(pi|xml-ish).*?\?>`).ReplaceAllString(rich, "")
	header, rest, _ := strings.Cut(doc, "<stream:features>")
	rest = "<stream:features>" + strings.TrimSuffix(rest, "\n</stream:stream>")
	for _, w := range watches() {
		for n := 1; n < len(doc); n += 1 + n/8 {
			c := &canned{doc: []byte(header + rest + header + rest + "</stream:stream>"), rounds: 1, piece: n}
			s := wire.NewStream(c, nil, wire.StreamOptions{Verify: true})
			if err := skip(t.Context(), s, 9); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			if err := skip(t.Context(), s, 3); err != nil {
				t.Fatal(err)
			}
			stanzas := 0
			s.Handle(func(*wire.Stanza) wire.Handler {
				return wire.Handler{Watch: w, Done: func(*wire.Stanza) error { stanzas++; return nil }}
			})
			if err := s.Serve(t.Context()); err != nil || stanzas != 6 {
				t.Fatalf("watch %+v, pieces of %d: %d stanzas, %v", w, n, stanzas, err)
			}
		}
	}
}

func TestExpectOfTheSameIDFailsTheOlder(t *testing.T) {
	s := wire.NewStream(&canned{}, nil, wire.StreamOptions{Opened: true})
	told := 0
	cancelOld := s.Expect("1", wire.Handler{Fail: func(error) { told++ }})
	newer := 0
	s.Expect("1", wire.Handler{Fail: func(error) { newer++ }})
	cancelOld() // takes back nothing of the newer one
	var cut *wire.CutError
	if err := s.Serve(t.Context()); told != 1 || newer != 1 || !errors.As(err, &cut) {
		t.Errorf("older told %d times, newer %d, %v", told, newer, err)
	}
}

// A server that gives up before it has said anything says its header first.
func TestAbortBeforeTheHeader(t *testing.T) {
	a, b := loopback(t)
	client, server := wire.NewStream(a, nil, wire.StreamOptions{}), wire.NewStream(b, nil, wire.StreamOptions{Server: true})
	if err := client.Send(append(wire.AppendHeader(nil, wire.Header{To: "x"}), strings.Repeat(" ", 100_000)...)); err != nil {
		t.Fatal(err)
	}
	if err := skip(t.Context(), server, 1); err != nil {
		t.Fatal(err)
	}
	server.Abort(wire.StreamError{Condition: "host-unknown"})
	var se *wire.StreamError
	if err := skip(t.Context(), client, 2); !errors.As(err, &se) || se.Condition != "host-unknown" {
		t.Errorf("%v", err)
	}
	<-server.Done()
}

func TestHandlerErrorsEndTheStream(t *testing.T) {
	oops := errors.New("oops")
	for _, tt := range []struct {
		err  error
		peer string
	}{
		{oops, "undefined-condition"},
		{io.EOF, "undefined-condition"},
		{fmt.Errorf("quota: %w", &wire.StreamError{Condition: "resource-constraint"}), "resource-constraint"},
	} {
		client, server := opened(t, wire.StreamOptions{}, wire.StreamOptions{})
		failed := false
		server.Handle(func(*wire.Stanza) wire.Handler {
			return wire.Handler{
				Watch:   wire.Watch{Mode: wire.Count, Level: 3, Elements: true},
				Element: func([]byte, time.Time) error { return tt.err },
				Done:    func(*wire.Stanza) error { t.Error("done"); return nil },
				Fail:    func(err error) { failed = errors.Is(err, tt.err) },
			}
		})
		serverDone, clientDone := serve(t.Context(), server), serve(t.Context(), client)
		if err := client.Send([]byte("<message><body/></message>")); err != nil {
			t.Fatal(err)
		}
		if err := serverDone(); !errors.Is(err, tt.err) || !failed {
			t.Errorf("server: %v, failed %v", err, failed)
		}
		var se *wire.StreamError
		if err := clientDone(); !errors.As(err, &se) || se.Condition != tt.peer {
			t.Errorf("client: %v", err)
		}
	}
}

func TestOneReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := wire.NewStream(b, nil, wire.StreamOptions{Opened: true})
		wait := serve(t.Context(), s)
		synctest.Wait()
		if _, err := s.Next(t.Context()); !errors.Is(err, wire.ErrReading) {
			t.Errorf("next: %v", err)
		}
		if err := s.Serve(t.Context()); !errors.Is(err, wire.ErrReading) {
			t.Errorf("serve: %v", err)
		}
		if err := s.Restart(); !errors.Is(err, wire.ErrReading) {
			t.Errorf("restart: %v", err)
		}
		a.Close()
		if wait() == nil {
			t.Error("no error after a cut")
		}
	})
}

func TestTrace(t *testing.T) {
	var in, out bytes.Buffer // each is written by one goroutine only
	trace := func(o bool, b []byte) {
		if o {
			out.Write(b)
		} else {
			in.Write(b)
		}
	}
	client, server := opened(t, wire.StreamOptions{Trace: trace}, wire.StreamOptions{})
	answering(server, func(st *wire.Stanza) []byte { return wire.AppendReply(nil, st.Tag, "result", nil) })
	serverDone, clientDone := serve(t.Context(), server), serve(t.Context(), client)
	if _, err := client.IQ(t.Context(), "1", []byte("<iq type='get' id='1'/>")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.Close(t.Context()), clientDone(), serverDone()); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "<iq type='get' id='1'/></stream:stream>"; got != want {
		t.Errorf("out %s, want %s", got, want)
	}
	if got, want := in.String(), "<iq type='result' id='1'></iq></stream:stream>"; got != want {
		t.Errorf("in %s, want %s", got, want)
	}
}

// canned is a connection that serves the same bytes many times.
type canned struct {
	net.Conn
	doc    []byte
	rounds int
	pos    int
	piece  int // largest read answered; 0: no limit
	read   int // largest read asked for
}

func (c *canned) Read(p []byte) (int, error) {
	c.read = max(c.read, len(p))
	if c.rounds == 0 {
		return 0, io.EOF
	}
	if c.piece > 0 {
		p = p[:min(len(p), c.piece)]
	}
	n := copy(p, c.doc[c.pos:])
	if c.pos += n; c.pos == len(c.doc) {
		c.pos, c.rounds = 0, c.rounds-1
	}
	return n, nil
}
func (*canned) Write(p []byte) (int, error)      { return len(p), nil }
func (*canned) SetDeadline(time.Time) error      { return nil }
func (*canned) SetReadDeadline(time.Time) error  { return nil }
func (*canned) SetWriteDeadline(time.Time) error { return nil }
func (*canned) Close() error                     { return nil }

func TestServeAllocatesNothingPerStanza(t *testing.T) {
	// One stanza that fits the small buffer, one that needs the large one.
	for _, doc := range [][]byte{[]byte("<message from='a@b/c' to='d@e'><body>text</body></message>"), roster(200)} {
		const rounds = 2000
		c := &canned{doc: doc, rounds: rounds}
		s := wire.NewStream(c, nil, wire.StreamOptions{Opened: true})
		stanzas, elements := 0, 0
		h := wire.Handler{
			Watch:   wire.Watch{Mode: wire.Count, Name: "item", Level: 4, Elements: true},
			Element: func(b []byte, _ time.Time) error { elements++; return nil },
			Done:    func(*wire.Stanza) error { stanzas++; return nil },
		}
		s.Handle(func(*wire.Stanza) wire.Handler { return h })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := s.Serve(t.Context())
		runtime.ReadMemStats(&after)
		var cut *wire.CutError
		if !errors.As(err, &cut) || stanzas != rounds {
			t.Fatalf("%d stanzas, %v", stanzas, err)
		}
		limit := uint64(rounds / 20)
		if forgets {
			limit = 2 * rounds
		}
		if n := after.Mallocs - before.Mallocs; n > limit {
			t.Errorf("%d allocations for %d stanzas of %d bytes with %d elements", n, stanzas, len(doc), elements)
		}
		if small := len(doc) < 64; small != (c.read <= 512) || c.read > 16<<10 {
			t.Errorf("stanzas of %d bytes were read with a buffer of %d", len(doc), c.read)
		}
	}
}

// The figure leaves out the goroutine that serves, which a stream needs anyway.
func TestIdleStreamIsSmall(t *testing.T) {
	const n, limit = 400, 768
	heap := func(start func(*idle)) int {
		c := &idle{released: make(chan struct{})}
		var g sync.WaitGroup
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range n {
			g.Go(func() { start(c) })
		}
		for c.waiting.Load() < n {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		close(c.released)
		g.Wait()
		return int(after.HeapAlloc-before.HeapAlloc) / n
	}
	bare := func(c *idle) { _, _ = c.Read(nil) }
	heap(bare) // the goroutines' descriptors are kept for the next ones
	base := heap(bare)
	per := heap(func(c *idle) {
		s := wire.NewStream(c, []byte("<presence from='a@b/c'><c ver='x'/></presence>"), wire.StreamOptions{Opened: true})
		_ = s.Send([]byte("<message/>"))
		_ = s.Serve(context.Background())
	}) - base
	t.Logf("%d bytes of heap per idle stream", per)
	if per > limit {
		t.Errorf("%d bytes of heap per idle stream, more than %d", per, limit)
	}
}

// idle is a connection on which nothing comes until it is released.
type idle struct {
	canned
	waiting  atomic.Int64
	released chan struct{}
}

func (c *idle) Read([]byte) (int, error) {
	c.waiting.Add(1)
	<-c.released
	return 0, io.EOF
}

func BenchmarkServe(b *testing.B) {
	doc := roster(10_000)
	c := &canned{doc: doc}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		c.rounds = 1
		s := wire.NewStream(c, nil, wire.StreamOptions{Opened: true})
		s.Handle(func(*wire.Stanza) wire.Handler {
			return wire.Handler{Watch: wire.Watch{Mode: wire.Count, Name: "item", Level: 4}, Done: func(st *wire.Stanza) error {
				if st.Elements != 10_000 {
					return errors.New("items are missing")
				}
				return nil
			}}
		})
		var cut *wire.CutError
		if err := s.Serve(b.Context()); !errors.As(err, &cut) {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	s := wire.NewStream(&canned{}, nil, wire.StreamOptions{Opened: true})
	msg := []byte("<message from='a@b/c' to='d@e' type='chat'><body>" + strings.Repeat("x", 100) + "</body></message>")
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPost(b *testing.B) {
	s := wire.NewStream(&canned{}, nil, wire.StreamOptions{Opened: true, QueueBytes: 1 << 30})
	msg := []byte("<message from='a@b/c' to='d@e' type='chat'><body>" + strings.Repeat("x", 100) + "</body></message>")
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Post(msg, nil); err != nil {
			b.Fatal(err)
		}
	}
}
