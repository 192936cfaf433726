package session

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// TestLoginIsGarbage checks that a live stream keeps nothing of the login, the negotiating library's session included:
// that one refers to the login through its connection.
func TestLoginIsGarbage(t *testing.T) {
	client, server := net.Pipe()
	const header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='a.test' version='1.0'><stream:features>"
	answers := []struct{ to, with string }{
		{"'juliet@a.test'>", header + "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"},
		{"</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"},
		{"'juliet@a.test'>", header + "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"},
		{"</iq>", "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@a.test/x</jid></bind></iq><presence id='9'/>"},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, a := range answers {
			var got strings.Builder
			for b := make([]byte, 1); !strings.HasSuffix(got.String(), a.to); {
				if _, err := server.Read(b); err != nil {
					t.Errorf("server waits for %q: %v", a.to, err)
					return
				}
				got.Write(b)
			}
			if _, err := io.WriteString(server, a.with); err != nil {
				t.Errorf("server: %v", err)
				return
			}
		}
		_, _ = io.Copy(io.Discard, server)
	}()
	l, err := newLogin(t.Context(), Config{JID: "juliet@a.test", Password: "x", TLS: NoTLS, PlainInClear: true,
		Connect: func(context.Context) (net.Conn, error) { return client, nil }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := weak.Make(l)
	// The library's goroutine that watches its context ends a moment after the login.
	for range 100 {
		runtime.GC()
		if kept.Value() == nil {
			break
		}
		runtime.Gosched()
	}
	if kept.Value() != nil {
		t.Error("the stream keeps the login alive")
	}
	if st, err := s.Stream.Next(t.Context()); err != nil || st.ID() != "9" {
		t.Errorf("after the login: %v, %v", st, err)
	}
	s.Stream.Abort(wire.StreamError{Condition: "reset"})
	client.Close()
	<-done
}
