package session_test

import (
	"context"
	"net"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmpp"
	xmppjid "mellium.im/xmpp/jid"

	"github.com/xmppbench/xmppbench/internal/session"
)

// TestAgainstLibrary logs in to a server that is the negotiating library's own.
func TestAgainstLibrary(t *testing.T) {
	ca := newAuthority(t)
	for _, mode := range []session.TLSMode{session.NoTLS, session.StartTLS} {
		t.Run(mode.String(), func(t *testing.T) {
			connect, _ := listen(t, func(p *peer) {
				state := xmpp.SessionState(0)
				features := []xmpp.StreamFeature{
					xmpp.SASLServer(func(n *sasl.Negotiator) bool {
						user, pass, _ := n.Credentials()
						return string(user) == "juliet" && string(pass) == password
					}, sasl.Plain),
					xmpp.BindCustom(func(j xmppjid.JID, resource string) (xmppjid.JID, error) {
						return xmppjid.MustParse("juliet@a.test").WithResource(resource)
					}),
				}
				if mode == session.NoTLS {
					state = xmpp.Secure
				} else {
					features = append(features, xmpp.StartTLS(ca.server("a.test")))
				}
				_, err := xmpp.ReceiveSession(context.Background(), p.conn, state, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
					return xmpp.StreamConfig{Features: features}
				}))
				if err != nil {
					t.Error(err)
				}
				p.rest()
			})
			var raw net.Conn
			s := mustLogin(t, session.Config{TLS: mode, TLSConfig: ca.client(), PlainInClear: true, Resource: "nurse", Connect: func(ctx context.Context) (net.Conn, error) {
				var err error
				raw, err = connect(ctx)
				return raw, err
			}})
			if s.JID != "juliet@a.test/nurse" || s.Mechanism != "PLAIN" {
				t.Errorf("bound %s by %s", s.JID, s.Mechanism)
			}
			raw.Close() // the library's server would wait for the end of the stream
		})
	}
}
