package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A decoder above a Conn takes exactly what it returns, whatever the pieces.
func TestConnLosesNothing(t *testing.T) {
	const head, rest = "<iq type='result' id='bind'><bind/></iq>", "<message/><presence/>"
	for size := 1; size < len(head)+len(rest)+2; size += 7 {
		a, b := net.Pipe()
		go func() {
			_, _ = a.Write([]byte(head + rest))
			a.Close()
		}()
		c := wire.NewConn(b, size)
		d := xml.NewDecoder(c)
		for depth := 1; depth > 0; {
			tok, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := tok.(xml.EndElement); ok && e.Name.Local == "iq" {
				depth = 0
			}
		}
		buffered := c.Buffered()
		left, under := c.Detach()
		if len(left) != buffered || under != b {
			t.Fatalf("%d bytes left, %d buffered", len(left), buffered)
		}
		if n := c.BytesIn(); n != int64(len(head)+len(left)) {
			t.Errorf("%d bytes in", n)
		}
		more, err := io.ReadAll(under)
		if got := string(left) + string(more); got != rest || err != nil {
			t.Errorf("size %d: left %q, %v", size, got, err)
		}
		b.Close()
	}
}

func TestConnMixesReadAndReadByte(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		_, _ = a.Write([]byte("abcdef"))
		_, _ = a.Write([]byte("gh"))
		a.Close()
	}()
	c := wire.NewConn(b, 0)
	x, err := c.ReadByte()
	if x != 'a' || err != nil {
		t.Fatal(x, err)
	}
	buf := make([]byte, 3)
	if n, err := c.Read(buf); n != 3 || string(buf) != "bcd" || err != nil {
		t.Fatal(n, err)
	}
	rest, err := io.ReadAll(c)
	if string(rest) != "efgh" || err != nil || c.BytesIn() != 8 {
		t.Errorf("%q, %v, %d bytes", rest, err, c.BytesIn())
	}
	if _, err := c.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	b.Close()
}

func TestConnForwardsTLS(t *testing.T) {
	a, b := loopback(t)
	raw := wire.NewConn(a, 0)
	client := wire.NewConn(tls.Client(raw, &tls.Config{InsecureSkipVerify: true}), 0)
	go func() {
		s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}})
		_, _ = s.Write([]byte("x"))
	}()
	if x, err := client.ReadByte(); x != 'x' || err != nil {
		t.Fatal(x, err)
	}
	if !client.ConnectionState().HandshakeComplete || raw.ConnectionState().HandshakeComplete {
		t.Error("the TLS state is not that of the connection beneath")
	}
	if client.BytesIn() != 1 || raw.BytesIn() < 500 || raw.BytesOut() < 100 || raw.Buffered() != 0 {
		t.Errorf("above %d, below %d and %d", client.BytesIn(), raw.BytesIn(), raw.BytesOut())
	}
}
