//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/xmppbench/xmppbench/internal/population"
)

// clientLimit bounds what a client does with a server in a test.
const clientLimit = 2 * time.Minute

// login logs in with TLS and the best mechanism both sides have, through code
// that shares nothing with the project's own client.
func login(ctx context.Context, s *Server, a population.Account) (*xmpp.Session, error) {
	to, err := jid.Parse(a.JID())
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.C2SAddr())
	if err != nil {
		return nil, err
	}
	session, err := xmpp.NewSession(ctx, to.Domain(), to, conn, 0, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
		return xmpp.StreamConfig{Features: []xmpp.StreamFeature{
			xmpp.StartTLS(&tls.Config{RootCAs: s.CA.Pool(), ServerName: a.Domain, MinVersion: tls.VersionTLS12}),
			xmpp.SASL("", a.Password, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain),
			xmpp.BindResource(),
		}}
	}))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in as %s: %w", a.JID(), err)
	}
	return session, nil
}

// fetchRoster logs in and returns the digest of the roster that the server
// sends.
func fetchRoster(ctx context.Context, s *Server, a population.Account) (d population.Digest, err error) {
	session, err := login(ctx, s, a)
	if err != nil {
		return d, err
	}
	served := make(chan error, 1)
	go func() { served <- session.Serve(nil) }()
	defer func() {
		session.Close()
		session.Conn().Close()
		<-served
	}()
	var answer struct {
		XMLName xml.Name `xml:"jabber:iq:roster query"`
		Items   []struct {
			JID          string   `xml:"jid,attr"`
			Name         string   `xml:"name,attr"`
			Subscription string   `xml:"subscription,attr"`
			Ask          string   `xml:"ask,attr"`
			Groups       []string `xml:"group"`
		} `xml:"item"`
	}
	query := xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: "jabber:iq:roster", Local: "query"}})
	if err := session.UnmarshalIQElement(ctx, query, stanza.IQ{Type: stanza.GetIQ}, &answer); err != nil {
		return d, fmt.Errorf("roster of %s: %w", a.JID(), err)
	}
	for _, it := range answer.Items {
		d.Add(population.Item{JID: it.JID, Name: it.Name, Subscription: it.Subscription, Ask: it.Ask == "subscribe", Groups: it.Groups})
	}
	return d, nil
}

// checkRoster fails the test unless the roster of account i is the expected one.
func checkRoster(t *testing.T, s *Server, p *population.Population, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	got, err := fetchRoster(ctx, s, p.Account(i))
	if err != nil {
		t.Fatal(err)
	}
	if want := p.Expected(i); !got.Equal(want) {
		t.Errorf("roster of %s is %s, want %s", p.JID(i), got, want)
	}
}

// checkNoLogin fails the test if account i can log in.
func checkNoLogin(t *testing.T, s *Server, p *population.Population, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	session, err := login(ctx, s, p.Account(i))
	switch {
	case err == nil:
		session.Close()
		session.Conn().Close()
		t.Errorf("%s can still log in", p.JID(i))
	case !strings.Contains(err.Error(), "not-authorized") && !strings.Contains(err.Error(), "Invalid username or password"):
		t.Errorf("%s is not refused as unknown: %v", p.JID(i), err)
	}
}
