package xk6xmpp

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// router is a server that takes one component at a time and returns what is sent
// between JIDs of its domain, but for what is sent to nobody@.
func router(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { route(ctx, c, false) })
		}
	})
	t.Cleanup(func() { cancel(); _ = ln.Close(); wg.Wait() })
	return ln
}

// route serves one component; a stuck one reads nothing after the handshake.
func route(ctx context.Context, c net.Conn, stuck bool) {
	s := wire.NewStream(c, nil, wire.StreamOptions{Server: true, CloseTimeout: 100 * time.Millisecond})
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Close(closing)
	}()
	st, err := s.Next(ctx)
	if err != nil {
		return
	}
	header, err := wire.ParseHeader(st.Tag)
	if err != nil || header.NS != nsComponent || s.Send(wire.AppendHeader(nil, wire.Header{NS: nsComponent, From: header.To, ID: "id<1"})) != nil {
		return
	}
	if st, err = s.Next(ctx); err != nil {
		return
	}
	el, err := st.Element()
	sum := sha1.Sum([]byte("id<1secret"))
	if err != nil || el.Name != "handshake" || el.Text() != hex.EncodeToString(sum[:]) {
		s.Abort(wire.StreamError{Condition: "not-authorized"})
		return
	}
	_ = s.Send([]byte("<handshake/>"))
	if stuck {
		<-ctx.Done()
	}
	for {
		st, err := s.Next(ctx)
		if err != nil {
			return
		}
		if el, err := st.Element(); err != nil || el.Attr("to") == "nobody@c.test" || s.Send(el.Append(nil, nsComponent)) != nil {
			continue
		}
	}
}

// TestComponent connects a domain and talks to itself through the server.
func TestComponent(t *testing.T) {
	u := newUser(t, New(), router(t).Addr().String(), nil)
	options := `{ domain: "c.test", secret: "secret", host: server.host, port: server.port }`
	u.must(`
		const c = new Component(` + options + `);
		equal([c.connected, c.domain, c.autoReply], [false, "c.test", true], "before");
		const got = [];
		c.on("message", (m) => got.push(m.from + " " + m.body)).on("presence", () => {});
		ok((await c.connect()).total > 0, "connect");
		ok(c.connected, "connected");
		ok(await c.ping("a@c.test", "b@c.test") > 0, "ping");
		await c.message({ from: "a@c.test/x", to: "b@c.test", body: "hello", type: "chat" });
		while (got.length === 0) await sleep(5);
		equal(got, ["a@c.test/x hello"], "messages");
		await c.disconnect();
		ok(!c.connected, "after");
		const d = new Component({ ...` + options + `, secret: "wrong" });
		await rejects(d.connect(), "sasl:not-authorized");
		let e;
		try { d.ping("a@c.test", "b@c.test"); } catch (x) { e = x; }
		equal(e.condition, "not-connected", "ping");
		await rejects(new Component({ ...` + options + `, port: 1 }).connect(), "dial:connection-refused");
	`)
	if got := len(u.values(metricPing)); got != 1 {
		t.Errorf("%d pings", got)
	}
	if got := u.sum(metricSessions, "mechanism", "component"); got != 1 {
		t.Errorf("%v sessions", got)
	}
}
