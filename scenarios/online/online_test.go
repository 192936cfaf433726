package online_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/online"
)

// What a server asks of a client is answered by itself; roster pushes, and nothing
// else, are shown to who wants to see them.
func TestAnswers(t *testing.T) {
	near, far := net.Pipe()
	server := wire.NewStream(far, nil, wire.StreamOptions{Opened: true, Server: true})
	acknowledged := make(chan string, 1)
	server.Handle(func(head *wire.Stanza) wire.Handler {
		if string(head.Name()) == "a" {
			acknowledged <- wire.AttrString(head.Tag, "h")
		}
		return wire.Handler{}
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(context.Background()) // ends with the client
	}()
	pushes, over := make(chan string, 10), make(chan struct{})
	login := &session.Session{
		Stream: wire.NewStream(near, nil, wire.StreamOptions{Opened: true, CloseTimeout: time.Second}), SM: &session.SM{Early: 1},
	}
	client := online.New(login, online.Config{
		Account: "u@a.test", Domain: "a.test", Handled: 7, Over: func() { close(over) },
		Push: func(st *wire.Stanza) { pushes <- wire.AttrString(st.Tag, "id") },
	})
	client.Start()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tests := []struct{ id, kind, payload, condition string }{
		{"ping", "get", "<ping xmlns='urn:xmpp:ping'/>", ""},
		{"other-get", "get", "<query xmlns='urn:x'/>", "service-unavailable"},
		{"other-set", "set", "<query xmlns='urn:x'/>", "service-unavailable"},
		{"push", "set", "<query xmlns='jabber:iq:roster'><item jid='v@a.test'/></query>", ""},
	}
	for _, tt := range tests {
		_, err := server.IQ(ctx, tt.id, []byte("<iq type='"+tt.kind+"' id='"+tt.id+"' to='u@a.test/r'>"+tt.payload+"</iq>"))
		condition := ""
		if refused, ok := errors.AsType[*wire.StanzaError](err); ok {
			condition = refused.Condition
		} else if err != nil {
			t.Fatalf("%s: %v", tt.id, err)
		}
		if condition != tt.condition {
			t.Errorf("%s: the answer is %q, want %q", tt.id, condition, tt.condition)
		}
	}
	// One of the stanzas came before stream management was on.
	if err := server.Send([]byte("<r xmlns='" + wire.NSSM + "'/>")); err != nil {
		t.Fatal(err)
	}
	select {
	case h := <-acknowledged:
		if h != "10" {
			t.Errorf("acknowledged %s stanzas, want 7 and 4 without 1", h)
		}
	case <-ctx.Done():
		t.Fatal("no acknowledgement")
	}
	client.Close(ctx)
	<-over
	<-served
	close(pushes)
	var seen []string
	for id := range pushes {
		seen = append(seen, id)
	}
	if got := strings.Join(seen, " "); got != "push" {
		t.Errorf("shown as pushes: %q", got)
	}
}

// A server that tells its version is understood, and one that refuses is no version.
func TestVersion(t *testing.T) {
	near, far := net.Pipe()
	server := wire.NewStream(far, nil, wire.StreamOptions{Opened: true, Server: true})
	answers := []string{
		"<iq type='result' id='%s'><query xmlns='jabber:iq:version'><name>Prosody</name><version>0.12.3 &amp; more</version></query></iq>",
		"<iq type='result' id='%s'><query xmlns='jabber:iq:version'><name>Prosody</name></query></iq>",
		"<iq type='error' id='%s'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
	}
	server.Handle(func(head *wire.Stanza) wire.Handler {
		id, answer := head.ID(), answers[0]
		answers = answers[1:]
		return wire.Handler{Done: func(*wire.Stanza) error { return server.Post(fmt.Appendf(nil, answer, id), nil) }}
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(context.Background()) // ends with the client
	}()
	client := online.New(&session.Session{
		Stream: wire.NewStream(near, nil, wire.StreamOptions{Opened: true, CloseTimeout: time.Second}),
	}, online.Config{Account: "u@a.test", Domain: "a.test"})
	client.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i, want := range []string{"0.12.3 & more", "", ""} {
		got, err := client.Version(ctx, "a.test")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("answer %d: %q, %v", i, got, err)
		}
	}
	client.Close(ctx)
	<-served
}
