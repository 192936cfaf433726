package lab_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
)

func newCA(t *testing.T) *lab.CA {
	t.Helper()
	ca, err := lab.NewCA("test authority", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *lab.CA, opts lab.LeafOptions) tls.Certificate {
	t.Helper()
	leaf, err := ca.Issue(opts)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// handshake runs mutual TLS between two leaves over a pipe and returns what the client says of the server.
func handshake(t *testing.T, ca *lab.CA, server, client tls.Certificate, name string) error {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	go func() {
		s := tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		})
		served <- s.HandshakeContext(t.Context())
		far.Close()
	}()
	c := tls.Client(near, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: ca.Pool(), ServerName: name})
	err := c.HandshakeContext(t.Context())
	near.Close()
	if serverErr := <-served; err == nil && serverErr != nil {
		return serverErr
	}
	return err
}

func TestIssue(t *testing.T) {
	ca := newCA(t)
	tests := []struct {
		key  lab.KeyType
		want func(public any) bool
	}{
		{"", func(k any) bool { e, ok := k.(*ecdsa.PublicKey); return ok && e.Curve == elliptic.P256() }},
		{lab.P256, func(k any) bool { e, ok := k.(*ecdsa.PublicKey); return ok && e.Curve == elliptic.P256() }},
		{lab.RSA2048, func(k any) bool { r, ok := k.(*rsa.PublicKey); return ok && r.N.BitLen() == 2048 }},
		{lab.Ed25519, func(k any) bool { _, ok := k.(ed25519.PublicKey); return ok }},
	}
	for _, tt := range tests {
		t.Run("key "+string(tt.key), func(t *testing.T) {
			names := []string{"a.test", "conference.a.test", "*.b.test", "127.0.10.1", "::1"}
			leaf := issue(t, ca, lab.LeafOptions{Names: names, Key: tt.key})
			if !tt.want(leaf.Leaf.PublicKey) {
				t.Errorf("the key is a %T", leaf.Leaf.PublicKey)
			}
			if !slices.Equal(leaf.Leaf.DNSNames, names[:3]) || len(leaf.Leaf.IPAddresses) != 2 {
				t.Errorf("names %q, addresses %v", leaf.Leaf.DNSNames, leaf.Leaf.IPAddresses)
			}
			if len(leaf.Leaf.SubjectKeyId) != 20 || !bytes.Equal(leaf.Leaf.AuthorityKeyId, ca.Certificate().SubjectKeyId) {
				t.Errorf("key identifiers %x and %x", leaf.Leaf.SubjectKeyId, leaf.Leaf.AuthorityKeyId)
			}
			for _, name := range []string{"a.test", "conference.a.test", "x.b.test"} {
				if err := handshake(t, ca, leaf, leaf, name); err != nil {
					t.Errorf("handshake with %s: %v", name, err)
				}
			}
		})
	}
}

func TestManyNames(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("customer%d.test", i))
	}
	leaf := issue(t, newCA(t), lab.LeafOptions{Names: names})
	if !slices.Equal(leaf.Leaf.DNSNames, names) {
		t.Errorf("%d names came back", len(leaf.Leaf.DNSNames))
	}
}

func TestSharedKey(t *testing.T) {
	ca := newCA(t)
	key, err := lab.GenerateKey(lab.P256)
	if err != nil {
		t.Fatal(err)
	}
	a := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, Signer: key})
	b := issue(t, ca, lab.LeafOptions{Names: []string{"b.test"}, Signer: key})
	if !bytes.Equal(a.Leaf.SubjectKeyId, b.Leaf.SubjectKeyId) {
		t.Error("one key has two identifiers")
	}
	if a.Leaf.SerialNumber.Cmp(b.Leaf.SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
}

// The certificates that a verifier has to refuse.
func TestRefusedCertificates(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	client := issue(t, ca, lab.LeafOptions{Names: []string{"client.test"}})
	now := time.Now()

	expired := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, NotAfter: now.Add(-24 * time.Hour)})
	var invalid x509.CertificateInvalidError
	if err := handshake(t, ca, expired, client, "a.test"); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("expired: got %v", err)
	}
	early := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, NotBefore: now.Add(24 * time.Hour)})
	if err := handshake(t, ca, early, client, "a.test"); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("not yet valid: got %v", err)
	}
	wrong := issue(t, ca, lab.LeafOptions{Names: []string{"b.test"}})
	var hostname x509.HostnameError
	if err := handshake(t, ca, wrong, client, "a.test"); !errors.As(err, &hostname) {
		t.Errorf("wrong name: got %v", err)
	}
	foreign := issue(t, other, lab.LeafOptions{Names: []string{"a.test"}})
	var unknown x509.UnknownAuthorityError
	if err := handshake(t, ca, foreign, client, "a.test"); !errors.As(err, &unknown) {
		t.Errorf("foreign authority: got %v", err)
	}
	good := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}})
	if err := handshake(t, ca, good, foreign, "a.test"); err == nil {
		t.Error("a client certificate of a foreign authority was accepted")
	}
}

func TestPEM(t *testing.T) {
	ca := newCA(t)
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := lab.ParseCA(ca.CertificatePEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificates, key, err := lab.EncodePEM(issue(t, again, lab.LeafOptions{Names: []string{"a.test"}}))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := tls.X509KeyPair(certificates, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, ca, leaf, leaf, "a.test"); err != nil {
		t.Errorf("handshake with what was read back: %v", err)
	}
	if _, err := lab.ParseCA(certificates, key); err == nil {
		t.Error("a leaf was taken for an authority")
	}
	if _, err := lab.ParseCA(certificates, nil); err == nil {
		t.Error("an authority without a key was accepted")
	}
}

func TestIssueRefuses(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name string
		opts lab.LeafOptions
		want string
	}{
		{"no name", lab.LeafOptions{}, "no name"},
		{"empty name", lab.LeafOptions{Names: []string{""}}, "1 to 253"},
		{"empty label", lab.LeafOptions{Names: []string{"a..test"}}, "1 to 63"},
		{"long label", lab.LeafOptions{Names: []string{strings.Repeat("a", 64) + ".test"}}, "1 to 63"},
		{"U-label", lab.LeafOptions{Names: []string{"bücher.test"}}, "A-labels"},
		{"blank", lab.LeafOptions{Names: []string{"a b.test"}}, "not allowed"},
		{"SRV name without service", lab.LeafOptions{SRVNames: []string{"a.test"}}, "begins with a service"},
		{"SRV name without domain", lab.LeafOptions{SRVNames: []string{"_xmpp-server."}}, "1 to 253"},
		{"SRV name with U-label", lab.LeafOptions{SRVNames: []string{"_xmpp-server.bücher.test"}}, "A-labels"},
		{"XMPP address that is no text", lab.LeafOptions{XMPPAddrs: []string{"\xff"}}, "XMPP address"},
		{"unknown usage", lab.LeafOptions{Names: []string{"a.test"}, Usage: "mail"}, "unknown usage"},
		{"unknown key", lab.LeafOptions{Names: []string{"a.test"}, Key: "dsa"}, "unknown key type"},
		{"ends first", lab.LeafOptions{Names: []string{"a.test"}, NotBefore: now, NotAfter: now.Add(-time.Hour)}, "before it begins"},
	}
	ca := newCA(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ca.Issue(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestIntermediate(t *testing.T) {
	root := newCA(t)
	middle, err := root.Intermediate("middle", lab.CAOptions{Key: lab.Ed25519})
	if err != nil {
		t.Fatal(err)
	}
	low, err := middle.Intermediate("low", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if low.Root() != root.Certificate() || low.Certificate().Issuer.CommonName != "middle" || middle.Certificate() == root.Certificate() {
		t.Errorf("low is signed by %v, its root is %v", low.Certificate().Issuer, low.Root().Subject)
	}
	leaf := issue(t, low, lab.LeafOptions{Names: []string{"a.test"}})
	if len(leaf.Certificate) != 3 {
		t.Fatalf("the chain has %d certificates, want leaf, low and middle", len(leaf.Certificate))
	}
	if err := handshake(t, root, leaf, leaf, "a.test"); err != nil {
		t.Errorf("with the whole chain: %v", err)
	}
	if err := handshake(t, low, leaf, leaf, "a.test"); err != nil {
		t.Errorf("with the pool of the intermediate authority: %v", err)
	}
	cut := leaf
	cut.Certificate = leaf.Certificate[:1]
	var unknown x509.UnknownAuthorityError
	if err := handshake(t, root, cut, leaf, "a.test"); !errors.As(err, &unknown) {
		t.Errorf("without the chain: got %v", err)
	}
	key, err := low.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := lab.ParseCA(low.CertificatePEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf = issue(t, again, lab.LeafOptions{Names: []string{"b.test"}})
	if err := handshake(t, root, leaf, leaf, "b.test"); err != nil {
		t.Errorf("issued by what was read back: %v", err)
	}
	if _, err := root.Intermediate("", lab.CAOptions{}); err == nil {
		t.Error("an authority without a name was made")
	}
}

func TestLeafOptions(t *testing.T) {
	ca := newCA(t)
	long := strings.Repeat("a", 60) + ".test"
	tests := []struct {
		name  string
		opts  lab.LeafOptions
		check func(*x509.Certificate) bool
	}{
		{"subject", lab.LeafOptions{Names: []string{"a.test"}}, func(c *x509.Certificate) bool { return c.Subject.String() == "CN=a.test" }},
		{"subject of a long name", lab.LeafOptions{Names: []string{long}}, func(c *x509.Certificate) bool {
			return c.Subject.CommonName == "" && len(c.Subject.SerialNumber) == 64
		}},
		{"own subject", lab.LeafOptions{Names: []string{"a.test"}, Subject: pkix.Name{Organization: []string{"Owners"}}},
			func(c *x509.Certificate) bool { return c.Subject.String() == "O=Owners" }},
		{"subject of an SRV name", lab.LeafOptions{SRVNames: []string{"_xmpp-server.a.test"}},
			func(c *x509.Certificate) bool { return c.Subject.CommonName == "_xmpp-server.a.test" }},
		{"both usages", lab.LeafOptions{Names: []string{"a.test"}}, func(c *x509.Certificate) bool {
			return slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth})
		}},
		{"server", lab.LeafOptions{Names: []string{"a.test"}, Usage: lab.ServerUsage}, func(c *x509.Certificate) bool {
			return slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
		}},
		{"client", lab.LeafOptions{Names: []string{"a.test"}, Usage: lab.ClientUsage}, func(c *x509.Certificate) bool {
			return slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
		}},
		{"no usage", lab.LeafOptions{Names: []string{"a.test"}, Usage: lab.WithoutUsage}, func(c *x509.Certificate) bool {
			return c.ExtKeyUsage == nil && c.UnknownExtKeyUsage == nil
		}},
		{"key usage", lab.LeafOptions{Names: []string{"a.test"}},
			func(c *x509.Certificate) bool { return c.KeyUsage == x509.KeyUsageDigitalSignature && !c.IsCA }},
		{"cRLSign", lab.LeafOptions{Names: []string{"a.test"}, CRLSign: true},
			func(c *x509.Certificate) bool {
				return c.KeyUsage == x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign && !c.IsCA
			}},
		{"access", lab.LeafOptions{Names: []string{"a.test"}, OCSP: []string{"http://o.test"}, Issuers: []string{"http://i.test/ca"}},
			func(c *x509.Certificate) bool {
				return slices.Equal(c.OCSPServer, []string{"http://o.test"}) && slices.Equal(c.IssuingCertificateURL, []string{"http://i.test/ca"})
			}},
		{"all kinds of names", lab.LeafOptions{
			Names: []string{"a.test", "127.0.0.1", "::1"}, SRVNames: []string{"_xmpp-server.b.test"}, XMPPAddrs: []string{"bücher.test"},
		}, func(c *x509.Certificate) bool {
			san, ok := extension(c, 17)
			return ok && slices.Equal(c.DNSNames, []string{"a.test"}) && len(c.IPAddresses) == 2 && len(c.UnhandledCriticalExtensions) == 0 &&
				bytes.Contains(san, []byte("\x16\x13_xmpp-server.b.test")) && bytes.Contains(san, []byte("\x0c\x0cbücher.test"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if leaf := issue(t, ca, tt.opts).Leaf; !tt.check(leaf) {
				t.Errorf("got subject %v, usages %v and %v, names %q and %v", leaf.Subject, leaf.KeyUsage, leaf.ExtKeyUsage, leaf.DNSNames, leaf.IPAddresses)
			}
		})
	}
}

// extension returns the value of an extension below 2.5.29.
func extension(c *x509.Certificate, arc int) ([]byte, bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, arc}) {
			return e.Value, true
		}
	}
	return nil, false
}
