package s2s

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// fuzzHosts are hosts without a network, to which nobody has any authority.
func fuzzHosts(f *testing.F) []*Host {
	f.Helper()
	var all []*Host
	for _, way := range []struct {
		variant string
		given   map[string]any
	}{
		{"pair-dialback", map[string]any{"tls": TLSNone}},
		{"shared-dialback", map[string]any{"tls": TLSNone, "streams": StreamsOne}},
		{"shared-dialback", map[string]any{"tls": TLSNone, "granularity": GrainDomain, "unauth": string(UnauthClose)}},
		{"pair-external", nil},
		{"shared-cert", nil},
		{"shared-mux", nil},
		{"zero-handshake", map[string]any{"tls": TLSNone}},
	} {
		v, ok := Find(way.variant)
		if !ok {
			f.Fatalf("no variant %s", way.variant)
		}
		p, err := v.Parse(way.given)
		if err != nil {
			f.Fatal(err)
		}
		h, err := New(context.Background(), Config{
			Domains: []string{"b.test", "bb.test"}, Address: "127.0.0.1:5269", Variant: v, Params: p, Secret: "x", Resolver: &resolve.Static{},
			Partners: []Partner{{Name: "a.test", Address: "127.0.0.2:5269", Domains: []string{"a.test"}}}, Setup: 5 * time.Second, Frame: 64 << 10,
			Dial:    func(context.Context, string) (net.Conn, error) { return nil, errors.New("there is no network") },
			Deliver: func(in Inbound) { panic("delivered " + in.String()) },
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = h.Close(context.Background()) })
		all = append(all, h)
	}
	return all
}

// FuzzReception sends anything to a host as the first bytes of a stream. The stream
// ends, nothing is delivered, and nothing is left of it.
func FuzzReception(f *testing.F) {
	const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' from='a.test' to='b.test' version='1.0'>"
	const message = "<message from='u@a.test' to='v@b.test'><body>x</body></message>"
	for _, seed := range []string{
		"", header, header + message, message, header + "</stream:stream>", header + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
		header + "<db:result from='a.test' to='b.test'>0</db:result>" + message,
		header + "<db:result from='a.test' to='b.test' type='valid'/>" + message,
		header + "<db:verify from='a.test' to='b.test' id='1'>0</db:verify><db:verify from='a.test' to='b.test' id='1' type='valid'/>",
		header + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS50ZXN0</auth>" + header + message,
		header + "<bidi xmlns='urn:xmpp:bidi'/><mux xmlns='urn:xmpp:mux:0'/>" + message,
		header + "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
		"\x16\x03\x01\x00\x05hello", "<!DOCTYPE x>", header + "<!-- -->", header + "<iq type='error' from='a.test' to='b.test'/>",
	} {
		for i := range 7 {
			f.Add(uint8(i), []byte(seed))
		}
	}
	hosts := fuzzHosts(f)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		h := hosts[int(which)%len(hosts)]
		near, far := net.Pipe()
		h.Accept(far, false)
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, near)
		}()
		_ = near.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = near.Write(data) // the host may have had enough
		_ = near.Close()
		<-read
		for end := time.Now().Add(10 * time.Second); h.Figures()[FigureStreams] > 0; {
			if time.Now().After(end) {
				t.Fatal("the stream stays")
			}
			time.Sleep(time.Millisecond / 10)
		}
	})
}

// FuzzControl hands any element to a stream on which one pair has authority and one
// request waits for its answer. No element by itself admits another pair.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{
		"<db:result from='c.test' to='b.test'>0</db:result>", "<db:result from='c.test' to='b.test' type='valid'/>",
		"<db:result from='a.test' to='bb.test' type='valid'/>", "<db:result from='a.test' to='bb.test' type='invalid'/>",
		"<db:result from='a.test' to='bb.test' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
		"<db:verify from='c.test' to='b.test' id='1'>0</db:verify>", "<db:verify from='c.test' to='b.test' id='1' type='valid'/>",
		"<db:x from='a.test' to='b.test'/>", "<db:result/>", "<mux xmlns='urn:xmpp:mux:0'/>", "<bidi xmlns='urn:xmpp:bidi'/>",
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Yy50ZXN0</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		"<stream:features/>", "<message from='c.test' to='b.test'/>", "<x/>",
	} {
		for i := range 14 {
			f.Add(uint8(i), []byte(seed))
		}
	}
	hosts := fuzzHosts(f)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		el, err := wire.ParseElement(data, wire.NSServer, map[string]string{"db": wire.NSDialback, "stream": wire.NSStreams})
		if err != nil {
			return
		}
		h := hosts[int(which/2)%len(hosts)]
		near, far := net.Pipe()
		s := &Stream{host: h, initiator: which%2 > 0, raw: wire.NewConn(near, 0), gone: make(chan struct{}), local: "b.test", remote: "a.test", id: "1"}
		s.both = h.c.Variant.Layout(h.c.Params).Both()
		s.begin(s.raw, true)
		if err := h.enter(s); err != nil {
			t.Fatal(err)
		}
		known, asked := Pair{"a.test", "b.test"}, Pair{"bb.test", "a.test"}
		s.in.addPair(known)
		s.out.addPair(known.Reverse())
		answered := make(chan error, 2)
		s.ask(asked, func(_ Proved, err error) { answered <- err })
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, far)
		}()

		acted := s.act(el)

		s.mu.Lock()
		in, out := slices.Collect(maps.Keys(s.in.pairs)), slices.Collect(maps.Keys(s.out.pairs))
		covers := s.in.from.covers != nil || s.out.from.covers != nil || len(s.in.from.names) > 0
		s.mu.Unlock()
		in = slices.DeleteFunc(in, func(p Pair) bool { return p == known || p == asked.Reverse() && s.both })
		out = slices.DeleteFunc(out, func(p Pair) bool { return p == known.Reverse() || p == asked })
		if len(in)+len(out) > 0 || covers {
			t.Errorf("%s admits %v in, %v out", data, in, out)
		}
		_ = far.Close()
		s.wire.Abort(wire.StreamError{Condition: "reset"})
		h.lost(s, acted)
		<-read
		<-answered
		if len(answered) > 0 {
			t.Error("a request was answered twice")
		}
		select {
		case <-s.wire.Done():
		case <-time.After(10 * time.Second):
			t.Error("the stream stays")
		}
	})
}

// FuzzCredentials reads credentials: never a panic, and what was read is written and
// read unchanged.
func FuzzCredentials(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"provider":"p.test","roots":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t","own":{"certificates":"","key":""}}`,
		`{"domains":{"a.test":{"certificates":"AA==","key":"AA=="}},"all":null}`, `{"proofs":{"a.test":{"ac":"AA==","chain":["AA==",""]}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Credentials
		if json.Unmarshal(data, &c) != nil {
			return
		}
		_, err := c.parse()
		b, werr := json.Marshal(c)
		if werr != nil {
			t.Fatal(werr)
		}
		var back Credentials
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		again, _ := json.Marshal(back)
		if !bytes.Equal(b, again) {
			t.Errorf("%s, then %s", b, again)
		}
		if _, second := back.parse(); (err == nil) != (second == nil) {
			t.Errorf("%v, then %v", err, second)
		}
		if id, err := back.parse(); err == nil && id.customerKeys() != len(back.Domains)+len(slices.DeleteFunc([]*KeyPair{back.All}, func(k *KeyPair) bool { return k == nil })) {
			t.Errorf("%d keys of %s", id.customerKeys(), b)
		}
	})
}
