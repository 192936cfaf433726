package simulator_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/simulator"
)

// FuzzStream feeds a server anything: it never panics, and the stream always ends.
func FuzzStream(f *testing.F) {
	const auth = openA + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHUyAHNlY3JldA==</auth>" + openA +
		"<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind></iq>"
	for _, seed := range []string{
		"", "<", openA, auth,
		openA + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj11MixyPWFiYw==</auth><response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1iaXdzLHI9YWJjLHA9eA==</response>",
		auth + "<presence/><message to='u4@a.example'><body>hello</body></message></stream:stream>",
		auth + "<iq type='get' id='2'><query xmlns='jabber:iq:roster' ver=''/></iq><presence type='subscribe' to='u4@a.example'/>",
		auth + "<iq type='set' id='3'><query xmlns='jabber:iq:roster'><item jid='a@b.example' name='x'><group>g</group></item></query></iq>",
		auth + "<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='1'/>",
		auth + "<inactive xmlns='urn:xmpp:csi:0'/><presence><priority>-3</priority></presence><active xmlns='urn:xmpp:csi:0'/>",
		auth + "<iq type='get' id='4'><query xmlns='urn:example:xmppbench:roster:0'><chunked xmlns='urn:example:xmppbench:chunk:0' mode='push'/></query></iq><iq type='result' id='s1'/>",
	} {
		f.Add([]byte(seed), uint16(len(seed)/2))
	}
	s, err := simulator.Start(context.Background(), simulator.Config{
		Listeners: []simulator.Listener{{Address: "127.0.0.1:0", Security: simulator.Plaintext}},
		Populations: []population.Config{{
			Domains: []string{"a.example", "b.example"}, Pattern: "u{i}", Accounts: 10, Contacts: 5, Password: "secret",
		}},
		Resumption: simulator.Resumption{Timeout: time.Millisecond},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		client, server := net.Pipe()
		s.ServeConn(server, simulator.Plaintext)
		read := make(chan struct{})
		go func() {
			defer close(read)
			io.Copy(io.Discard, client)
		}()
		client.SetWriteDeadline(time.Now().Add(timeout))
		at := min(int(cut), len(in))
		for _, part := range [][]byte{in[:at], in[at:]} {
			if _, err := client.Write(part); err != nil {
				break // the server has had enough
			}
		}
		client.Close()
		<-read
		wantFigure(t, s, "connections.open", 0)
	})
}
