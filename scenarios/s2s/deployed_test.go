package s2s_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// These tests hold what deployed servers were seen to do (internal/interop) against peers that
// do the same, without those servers.

// deployed is a peer that speaks as told, byte by byte.
type deployed struct {
	t      *testing.T
	conn   net.Conn
	served bool // on a goroutine that is not the test's
	read   strings.Builder
	at     int // what was read up to here has been looked at
}

// fail ends what the peer does, and the test.
func (d *deployed) fail(format string, args ...any) {
	d.t.Helper()
	if !d.served {
		d.t.Fatalf(format, args...)
	}
	d.t.Errorf(format, args...)
	runtime.Goexit()
}

func dialDeployed(t *testing.T, address string) *deployed {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &deployed{t: t, conn: conn}
}

func (d *deployed) send(format string, args ...any) {
	d.t.Helper()
	if _, err := fmt.Fprintf(d.conn, format, args...); err != nil {
		d.fail("send: %v", err)
	}
}

// header opens a stream, as the initiator or in answer.
func (d *deployed) header(from, to, id string) {
	d.t.Helper()
	d.send("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='%s' to='%s' id='%s' version='1.0'>", from, to, id)
}

// await reads on until the pattern has come, and returns its groups.
func (d *deployed) await(pattern string) []string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	_ = d.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		text := d.read.String()[d.at:]
		if at := re.FindStringSubmatchIndex(text); at != nil {
			d.at += at[1]
			return re.FindStringSubmatch(text)
		}
		b := make([]byte, 4096)
		n, err := d.conn.Read(b)
		d.read.Write(b[:n])
		if n == 0 && err != nil {
			d.fail("%v, while %q was awaited; %q came", err, pattern, text)
		}
	}
}

// startTLS asks for STARTTLS on a stream whose features have come, as tell says.
func (d *deployed) startTLS(c *tls.Config) tls.ConnectionState {
	d.t.Helper()
	d.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	d.await(`<proceed[^>]*/>`)
	secured := tls.Client(d.conn, c)
	if err := secured.HandshakeContext(d.t.Context()); err != nil {
		d.fail("TLS: %v", err)
	}
	d.conn, d.at = secured, d.read.Len()
	return secured.ConnectionState()
}

// alone starts one provider and returns the address at which it is reached.
func (w *world) alone(domains ...string) (*provider, string) {
	w.t.Helper()
	p := w.start(map[string][]string{"provider-a.test": domains})["provider-a.test"]
	return p, p.listener.Addr().String()
}

// TestCertificateOfTheHeader has a peer leave the name out of TLS, as Prosody 0.12 does: the stream
// header before STARTTLS has said whose certificate it wants.
func TestCertificateOfTheHeader(t *testing.T) {
	w := newWorld(t, "pair-external", nil)
	_, address := w.alone(domains("a", 3)...)
	for _, domain := range domains("a", 3) {
		d := dialDeployed(t, address)
		d.header("b1.test", domain, "")
		d.await(`<starttls`)
		// The test looks at the certificate itself.
		got := d.startTLS(&tls.Config{InsecureSkipVerify: true})
		if names := got.PeerCertificates[0].DNSNames; !slices.Equal(names, []string{domain}) {
			t.Errorf("a stream for %s is secured with the certificate of %v", domain, names)
		}
	}
}

// TestDirectTLSTakesSTARTTLS has a peer that knows no direct TLS connect to a provider that does,
// on the port for STARTTLS.
func TestDirectTLSTakesSTARTTLS(t *testing.T) {
	w := newWorld(t, "pair-external", map[string]any{"tls": "direct"})
	p, _ := w.alone("a1.test")
	ours, theirs := net.Pipe()
	p.host.Accept(ours, false)
	t.Cleanup(func() { theirs.Close() })
	d := &deployed{t: t, conn: theirs}
	d.header("b1.test", "a1.test", "")
	d.await(`<starttls[^>]*><required/>`)
	certificate, err := w.ca.Issue(lab.LeafOptions{Names: []string{"b1.test"}})
	if err != nil {
		t.Fatal(err)
	}
	d.startTLS(&tls.Config{RootCAs: w.ca.Pool(), ServerName: "a1.test", Certificates: []tls.Certificate{certificate}})
	d.header("b1.test", "a1.test", "")
	d.await(`<mechanism>EXTERNAL</mechanism>`)
}

// TestCertificateForOtherAuthorities has a server list authorities that have not signed our
// certificate: it is presented nevertheless, as deployed servers do.
func TestCertificateForOtherAuthorities(t *testing.T) {
	w := newWorld(t, "pair-dialback", nil)
	other, err := lab.NewCA("another authority", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := w.ca.Issue(lab.LeafOptions{Names: []string{"b1.test"}})
	if err != nil {
		t.Fatal(err)
	}
	presented := make(chan []*x509.Certificate, 1)
	w.serveDeployed("b1.test", func(d *deployed) {
		d.await(`<stream:stream[^>]*>`)
		d.header("b1.test", "a1.test", "one")
		d.send("<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
		d.await(`<starttls[^>]*>`)
		d.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		secured := tls.Server(d.conn, &tls.Config{Certificates: []tls.Certificate{leaf}, ClientAuth: tls.RequestClientCert, ClientCAs: other.Pool()})
		if err := secured.HandshakeContext(t.Context()); err != nil {
			t.Error(err)
		}
		presented <- secured.ConnectionState().PeerCertificates
	})
	p, _ := w.alone("a1.test")
	if err := p.host.Connect(s2s.Pair{From: "a1.test", To: "b1.test"}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-presented:
		if len(got) == 0 {
			t.Error("no certificate was presented")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no connection came")
	}
}

// serveDeployed has a peer serve the connections to a domain, one after the other, until it has
// nothing more to say on them.
func (w *world) serveDeployed(domain string, serve func(*deployed)) (address string) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var serving sync.WaitGroup
	w.t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	w.locator.Start[domain] = listener.Addr().String()
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(&deployed{t: w.t, conn: conn, served: true})
			})
		}
	})
	return listener.Addr().String()
}

// lenient makes providers that meet deployed servers.
func lenient(_ string, c *s2s.Config) { c.LenientTarget, c.LenientAnswer = true, true }

// TestOneRequestForASender has a peer without dialback errors, as Prosody 0.12 is, end the stream
// when a sender is asked about twice: the second request would take back what the first has given.
func TestOneRequestForASender(t *testing.T) {
	for _, variant := range []string{"shared-dialback", "shared-dialback streams=one"} {
		t.Run(variant, func(t *testing.T) {
			name, streams, _ := strings.Cut(variant, " streams=")
			given := map[string]any{"tls": "none"}
			if streams != "" {
				given["streams"] = streams
			}
			w := newWorld(t, name, given)
			w.change = lenient
			got := make(chan string, 10)
			address := w.serveDeployed("b1.test", func(d *deployed) {
				d.await(`<stream:stream[^>]*>`)
				d.header("b1.test", "a1.test", "one")
				d.send("<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
				asked := map[string]bool{}
				for range 6 {
					el := d.await(`<(db:result|message) from='([^']*)' to='([^']*)'(>[0-9a-f]+</db:result>|[^>]*><body>x</body></message>)`)
					got <- el[1] + " " + el[2]
					if el[1] != "db:result" {
						continue
					}
					if asked[el[2]] {
						d.send("<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
						return
					}
					asked[el[2]] = true
					// As Prosody has it: with id and key, which mean nothing.
					d.send("<db:result from='%s' to='%s' id='one' type='valid'>key</db:result>", el[3], el[2])
				}
				d.await(`</stream:stream>`)
				d.send("</stream:stream>")
			})
			w.locator.Start["b2.test"] = address
			p, _ := w.alone("a1.test", "a2.test")
			for _, pair := range allPairs([]string{"a1.test", "a2.test"}, []string{"b1.test", "b2.test"}) {
				xml := fmt.Appendf(nil, "<message from='%s' to='%s'><body>x</body></message>", pair.From, pair.To)
				err := p.host.Send(s2s.Stanza{Pair: pair, XML: xml, Done: func(_ s2s.Times, err error) {
					if err != nil {
						t.Error(err)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
			}
			count := map[string]int{}
			for range 6 {
				select {
				case el := <-got:
					count[el]++
				case <-time.After(10 * time.Second):
					t.Fatalf("only %v came", count)
				}
			}
			for el, want := range map[string]int{"db:result a1.test": 1, "db:result a2.test": 1, "message a1.test": 2, "message a2.test": 2} {
				if count[el] != want {
					t.Errorf("%s: %d, want %d", el, count[el], want)
				}
			}
		})
	}
}

// TestNoRequestOnTheirStream has a peer open a bidirectional stream, on which Prosody 0.12 takes no
// dialback requests: pairs that it does not grant get a stream of our own.
func TestNoRequestOnTheirStream(t *testing.T) {
	w := newWorld(t, "shared-dialback", map[string]any{"tls": "none", "streams": "one"})
	w.change = lenient
	asked := make(chan string, 10)
	w.serveDeployed("b1.test", func(d *deployed) {
		header := d.await(`<stream:stream[^>]* from='([^']*)'`)
		d.header("b1.test", header[1], "two")
		d.send("<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
		el := d.await(`<db:(result|verify) from='([^']*)' to='([^']*)'(?: id='([^']*)')?>`)
		asked <- el[1] + " " + el[2]
		d.send("<db:%s from='%s' to='%s' id='%s' type='valid'/>", el[1], el[3], el[2], el[4])
		d.await(`</stream:stream>`)
		d.send("</stream:stream>")
	})
	p, address := w.alone("a1.test", "a2.test")
	d := dialDeployed(t, address)
	d.header("b1.test", "a1.test", "")
	d.await(`<bidi[^>]*/>`)
	d.send("<bidi xmlns='urn:xmpp:bidi'/><db:result from='b1.test' to='a1.test'>key</db:result>")
	d.await(`<db:result from='a1.test' to='b1.test' type='valid'/>`)
	for _, from := range []string{"a1.test", "a2.test"} {
		xml := fmt.Appendf(nil, "<message from='%s' to='b1.test'><body>x</body></message>", from)
		if err := p.host.Send(s2s.Stanza{Pair: s2s.Pair{From: from, To: "b1.test"}, XML: xml}); err != nil {
			t.Fatal(err)
		}
	}
	d.await(`<message from='a1.test'`)
	for _, want := range []string{"verify a1.test", "result a2.test"} {
		select {
		case got := <-asked:
			if got != want {
				t.Errorf("the peer was asked for %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing came, want %s", want)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- p.host.Close(t.Context()) }()
	d.await(`</stream:stream>`)
	d.send("</stream:stream>")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if all := d.read.String(); strings.Contains(all, "<db:result from='a2.test'") {
		t.Errorf("a request went out on the peer's stream: %s", all)
	}
}

// TestConditionOfDialback has a peer refuse a request: its condition is the reason.
func TestConditionOfDialback(t *testing.T) {
	w := newWorld(t, "pair-dialback", map[string]any{"tls": "none"})
	w.serveDeployed("b1.test", func(d *deployed) {
		d.await(`<stream:stream[^>]*>`)
		d.header("b1.test", "a1.test", "one")
		d.send("<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>")
		d.await(`</db:result>`)
		d.send("<db:result from='b1.test' to='a1.test' type='error'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>")
		d.await(`</stream:stream>`)
		d.send("</stream:stream>")
	})
	p, _ := w.alone("a1.test")
	failed := make(chan error, 1)
	st := s2s.Stanza{Pair: s2s.Pair{From: "a1.test", To: "b1.test"}, XML: message("a1.test", "b1.test", "one")}
	st.Done = func(_ s2s.Times, err error) { failed <- err }
	if err := p.host.Send(st); err != nil {
		t.Fatal(err)
	}
	var proof *s2s.ProofError
	if err := <-failed; !errors.As(err, &proof) || proof.Reason != "not-allowed" {
		t.Errorf("got %v, want the reason not-allowed", err)
	}
}
