package session_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// FuzzServer logs in to a server that says anything at all, in pieces of any size, and then closes: the login ends,
// without a panic, and with a session only if a resource was bound.
func FuzzServer(f *testing.F) {
	features := func(s string) string { return openTag + "<stream:features>" + s + "</stream:features>" }
	success := "<success xmlns='" + saslNS + "'/>"
	bound := "<iq type='result' id='bind'><bind xmlns='" + bindNS + "'><jid>juliet@a.test/x</jid></bind></iq>"
	good := features(mechanisms("PLAIN")) + success + features(bindFeature+smFeature)
	f.Add(good+bound+"<enabled xmlns='"+smNS+"' id='1' resume='1'/><message/>", uint8(3))
	f.Add(good+"<iq type='error' id='bind'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", uint8(0))
	f.Add(good+bound+"<message/><failed xmlns='"+smNS+"'/>", uint8(0))
	f.Add(features(mechanisms("SCRAM-SHA-1"))+"<challenge xmlns='"+saslNS+"'>cj0=</challenge>", uint8(0))
	f.Add("<stream:error xmlns:stream='"+streamNS+"'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", uint8(0))
	f.Add(features("<starttls xmlns='"+tlsNS+"'/>")+"<stream:error/>", uint8(1))
	f.Add("<?xml version='1.0'?><!DOCTYPE x><s:stream xmlns:s='"+streamNS+"' a='>'><!-- --><s:features/>", uint8(1))
	f.Add("</stream:stream>", uint8(0))
	f.Fuzz(func(t *testing.T, says string, cut uint8) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer server.Close()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			for len(says) > 0 {
				n := len(says)
				if cut > 0 {
					n = min(n, int(cut))
				}
				if _, err := io.WriteString(server, says[:n]); err != nil {
					return
				}
				says = says[n:]
			}
		}()
		s, err := session.Dial(t.Context(), session.Config{JID: jid, Password: password, TLS: session.NoTLS, PlainInClear: true, SM: true,
			StepTimeout: 5 * time.Second, StepBytes: 4 << 10, Connect: dialled(client)})
		var failed *session.Error
		switch {
		case err == nil && (s.JID == "" || s.Stream == nil || s.Mechanism == ""):
			t.Errorf("session %+v", s)
		case err == nil:
			s.Stream.Abort(wire.StreamError{Condition: "reset"})
		case !errors.As(err, &failed) || failed.Step == "":
			t.Errorf("error %v", err)
		case errors.Is(err, session.ErrNoAnswer):
			t.Errorf("waited for a server that had closed: %v", err)
		}
		client.Close()
		<-done
	})
}
