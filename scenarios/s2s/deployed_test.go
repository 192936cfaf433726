package s2s_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
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
		//nolint:gosec // The test looks at the certificate itself.
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
