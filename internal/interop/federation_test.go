//go:build interop

package interop

import (
	"context"
	"encoding/xml"
	"fmt"
	"testing"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/stanza"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/population"
)

// TestFederation has every server deliver a message to every other one, over
// the names, certificates and proofs that the options set up.
func TestFederation(t *testing.T) {
	for name, opts := range map[string]Options{
		"certificates":       {},
		"certificates, bidi": {Federation: Federation{Bidi: true}},
		"dialback":           {Federation: Federation{Dialback: true}},
	} {
		t.Run(name, func(t *testing.T) {
			names, err := lab.NewDNS(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := names.Close(); err != nil {
					t.Error(err)
				}
			})
			if opts.CA, err = lab.NewCA("xmppbench interop", lab.CAOptions{}); err != nil {
				t.Fatal(err)
			}
			opts.DNS = names.Addr()
			var peers []*peer
			for _, s := range []*Server{
				NewProsody(t, opts.with("a.test")), NewProsody(t, opts.with("b.test")), NewEjabberd(t, opts.with("e.test")),
			} {
				if err := names.AddSRV("xmpp-server", s.Domains[0], s.Host, uint16(s.S2S)); err != nil {
					t.Fatal(err)
				}
				p := mustPopulation(t, population.Config{Domains: s.Domains, Accounts: 1})
				mustApply(t, s, p)
				s.Start(t)
				peers = append(peers, newPeer(t, s, p.Account(0)))
			}
			ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
			defer cancel()
			for _, from := range peers {
				for _, to := range peers {
					if from == to {
						continue
					}
					if err := from.send(ctx, to); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// with returns o with one domain.
func (o Options) with(domain string) Options {
	o.Domains = []string{domain}
	return o
}

// peer is a foreign client that is logged in.
type peer struct {
	session  *xmpp.Session
	received chan stanza.Message
}

func newPeer(t *testing.T, s *Server, a population.Account) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	session, err := login(ctx, s, a)
	if err != nil {
		t.Fatal(err)
	}
	u := &peer{session: session, received: make(chan stanza.Message, 16)}
	served := make(chan error, 1)
	go func() {
		served <- session.Serve(xmpp.HandlerFunc(func(_ xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local == "message" {
				m, err := stanza.NewMessage(*start)
				if err != nil {
					return err
				}
				u.received <- m
			}
			return nil
		}))
	}()
	t.Cleanup(func() {
		session.Close()
		session.Conn().Close()
		<-served
	})
	return u
}

// send sends a message and waits until it is there. A message that comes back
// as an error is one.
func (u *peer) send(ctx context.Context, to *peer) error {
	from, id := u.session.LocalAddr(), "from-"+u.session.LocalAddr().Domainpart()
	body := xmlstream.Wrap(xmlstream.Token(xml.CharData("hello")), xml.StartElement{Name: xml.Name{Local: "body"}})
	if err := u.session.Send(ctx, stanza.Message{ID: id, To: to.session.LocalAddr(), Type: stanza.ChatMessage}.Wrap(body)); err != nil {
		return fmt.Errorf("send from %s: %w", from, err)
	}
	select {
	case m := <-to.received:
		if m.ID != id || !m.From.Equal(from) || m.Type != stanza.ChatMessage {
			return fmt.Errorf("%s received %+v instead of the message from %s", to.session.LocalAddr(), m, from)
		}
		return nil
	case m := <-u.received:
		return fmt.Errorf("the message from %s to %s came back: %+v", from, to.session.LocalAddr(), m)
	case <-ctx.Done():
		return fmt.Errorf("the message from %s to %s did not arrive: %w", from, to.session.LocalAddr(), ctx.Err())
	}
}
