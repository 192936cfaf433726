package s2s_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"net"
	"testing"
	"time"

	melliumsasl "mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	mellium "mellium.im/xmpp/s2s"
	"mellium.im/xmpp/stanza"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// external is SASL EXTERNAL for mellium, which has none.
func external(domain string) melliumsasl.Mechanism {
	return melliumsasl.Mechanism{
		Name:  "EXTERNAL",
		Start: func(*melliumsasl.Negotiator) (bool, []byte, any, error) { return false, []byte(domain), nil, nil },
		Next: func(*melliumsasl.Negotiator, []byte, any) (bool, []byte, any, error) {
			return false, nil, nil, melliumsasl.ErrTooManySteps
		},
	}
}

// TestMellium has mellium.im/xmpp open streams to a host, authenticated by EXTERNAL,
// in one direction and in both.
func TestMellium(t *testing.T) {
	for _, variant := range []string{"pair-external", "pair-bidi"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			m := meet(t, variant, nil, nil)
			both := m.variant.Layout(m.params).Both()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.own.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			features := []xmpp.StreamFeature{
				xmpp.StartTLS(&tls.Config{ServerName: b1, RootCAs: m.ca.Pool(), Certificates: []tls.Certificate{m.certs[f1]}}),
				xmpp.SASL("", "", external(f1)),
			}
			if both {
				features = append(features, mellium.Bidi())
			}
			session, err := xmpp.NewServerSession(ctx, jid.MustParse(b1), jid.MustParse(f1), conn, features...)
			if err != nil {
				conn.Close()
				t.Fatal(err)
			}
			if session.State()&xmpp.Ready == 0 || session.State()&xmpp.Authn == 0 {
				t.Errorf("state %v", session.State())
			}
			received := make(chan stanza.Message, 4)
			served := make(chan error, 1)
			go func() {
				served <- session.Serve(xmpp.HandlerFunc(func(_ xmlstream.TokenReadEncoder, start *xml.StartElement) error {
					if start.Name.Local != "message" {
						return nil
					}
					st, err := stanza.NewMessage(*start)
					received <- st
					return err
				}))
			}()
			defer func() {
				session.Close()
				session.Conn().Close()
				<-served
			}()
			body := xmlstream.Wrap(xmlstream.Token(xml.CharData("hello")), xml.StartElement{Name: xml.Name{Local: "body"}})
			ask := stanza.Message{ID: "m1", To: jid.MustParse("echo@" + b1), From: jid.MustParse("u@" + f1), Type: stanza.ChatMessage}
			if err := session.Send(ctx, ask.Wrap(body)); err != nil {
				t.Fatal(err)
			}
			if !both {
				if n := m.foreign.receive(); n.attr("id") != "m1" || n.attr("from") != "echo@"+b1 {
					t.Errorf("%+v came", n)
				}
				return
			}
			select {
			case st := <-received:
				if st.ID != "m1" || st.From.String() != "echo@"+b1 || st.Type == stanza.ErrorMessage {
					t.Errorf("%+v came", st)
				}
			case <-time.After(patience):
				t.Error("the echo did not come")
			}
			if f := m.own.host.Figures(); f[s2s.FigureOpened] != 0 || f[s2s.FigureAccepted] != 1 {
				t.Errorf("figures %v", f)
			}
		})
	}
}
