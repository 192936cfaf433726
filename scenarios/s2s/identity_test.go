package s2s_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

func newCA(t testing.TB) *lab.CA {
	t.Helper()
	ca, err := lab.NewCA("test authority", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *lab.CA, opts lab.LeafOptions) tls.Certificate {
	t.Helper()
	leaf, err := ca.Issue(opts)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// chain parses what a peer would have presented.
func chain(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cert)
	}
	return out
}

func TestCovers(t *testing.T) {
	tests := []struct {
		name    string
		opts    lab.LeafOptions
		covers  []string
		uncover []string
	}{
		{
			"dNSName", lab.LeafOptions{Names: []string{"a.test", "B.Test"}},
			[]string{"a.test", "A.TEST", "a.test.", "b.test"},
			[]string{"", ".", "a.te\u017ft", "x.a.test", "test", "aa.test", "a.test.x", "a.tes", "a..test"},
		},
		{
			"wildcard", lab.LeafOptions{Names: []string{"*.a.test", "*.XN--BCHER-KVA.test"}},
			[]string{"x.a.test", "X.A.Test", "y.a.test", "x.xn--bcher-kva.test"},
			[]string{"a.test", "x.y.a.test", ".a.test", "xa.test", "*.a.test", "*.test"},
		},
		{
			"wildcard elsewhere", lab.LeafOptions{Names: []string{"f*.a.test", "x.*.test", "*f.b.test", "**.c.test"}},
			nil,
			[]string{"foo.a.test", "f.a.test", "x.y.test", "x.*.test", "of.b.test", "x.c.test", "f*.a.test"},
		},
		{
			"SRVName", lab.LeafOptions{SRVNames: []string{"_xmpp-server.a.test", "_XMPP-Server.B.test", "_xmpp-server.*.c.test"}},
			[]string{"a.test", "b.test", "x.c.test"},
			[]string{"_xmpp-server.a.test", "c.test", "x.y.c.test"},
		},
		{
			"SRVName of other services", lab.LeafOptions{SRVNames: []string{"_xmpp-client.a.test", "_imaps.b.test", "_xmpp-servers.c.test", "_xmpp-server-x.d.test"}},
			nil,
			[]string{"a.test", "b.test", "c.test", "d.test", "s.c.test"},
		},
		{
			"xmppAddr", lab.LeafOptions{XMPPAddrs: []string{"a.test", "user@b.test", "*.c.test", "bücher.test", "d.test/r"}},
			[]string{"a.test", "A.test"},
			[]string{"b.test", "user@b.test", "x.c.test", "xn--bcher-kva.test", "bücher.test", "d.test"},
		},
		{
			"all kinds", lab.LeafOptions{Names: []string{"a.test"}, SRVNames: []string{"_xmpp-server.b.test"}, XMPPAddrs: []string{"c.test"}},
			[]string{"a.test", "b.test", "c.test"},
			[]string{"d.test"},
		},
		{
			"common name", lab.LeafOptions{Names: []string{"a.test"}, Subject: pkix.Name{CommonName: "b.test"}},
			[]string{"a.test"},
			[]string{"b.test"},
		},
		{
			"addresses", lab.LeafOptions{Names: []string{"127.0.0.1", "::1", "*.0.0.1", "a.123"}},
			nil,
			[]string{"127.0.0.1", "::1", "[::1]", "127.0.0.2", "a.123"},
		},
	}
	ca := newCA(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert := issue(t, ca, tt.opts).Leaf
			ids, err := s2s.NewIdentities(cert)
			if err != nil {
				t.Fatal(err)
			}
			for _, domain := range tt.covers {
				if !s2s.Covers(cert, domain) || !ids.Covers(domain) {
					t.Errorf("%q is not covered", domain)
				}
			}
			for _, domain := range tt.uncover {
				if s2s.Covers(cert, domain) || ids.Covers(domain) {
					t.Errorf("%q is covered", domain)
				}
			}
		})
	}
}

func TestManyIdentities(t *testing.T) {
	const count = 5000
	names, services := make([]string, count), make([]string, count)
	for i := range names {
		names[i], services[i] = fmt.Sprintf("c%d.test", i), fmt.Sprintf("_xmpp-server.s%d.test", i)
	}
	ids, err := s2s.NewIdentities(issue(t, newCA(t), lab.LeafOptions{Names: names, SRVNames: services}).Leaf)
	if err != nil {
		t.Fatal(err)
	}
	if ids.Len() != 2*count {
		t.Errorf("%d names, want %d", ids.Len(), 2*count)
	}
	for i := range names {
		if !ids.Covers(fmt.Sprintf("c%d.test", i)) || !ids.Covers(fmt.Sprintf("s%d.test", i)) {
			t.Fatalf("number %d is not covered", i)
		}
	}
}

// withSAN returns a certificate that has only the given alternative names.
func withSAN(der []byte) *x509.Certificate {
	return &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}}
}

// san writes GeneralNames by hand: parts are put one after the other into a sequence.
func san(parts ...string) []byte { return []byte(tlv(0x30, parts...)) }

// tlv writes one element in DER, of up to 127 octets.
func tlv(tag byte, parts ...string) string {
	content := strings.Join(parts, "")
	if len(content) > 127 {
		panic("too long for a short form")
	}
	return string([]byte{tag, byte(len(content))}) + content
}

const (
	oidSRV  = "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x07"
	oidXMPP = "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x05"
	oidUPN  = "\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03"
)

func TestAlternativeNames(t *testing.T) {
	srv := "_xmpp-server.a.test"
	good := tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, srv)))
	tests := []struct {
		name   string
		der    []byte
		covers bool
		err    string
	}{
		{"SRVName", san(good), true, ""},
		{"SRVName as UTF8String", san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x0c, srv)))), true, ""},
		{"xmppAddr", san(tlv(0xa0, oidXMPP, tlv(0xa0, tlv(0x0c, "a.test")))), true, ""},
		{"after names of other kinds", san(tlv(0x82, "x.test"), tlv(0x87, "\x7f\x00\x00\x01"), tlv(0xa4, tlv(0x30)), tlv(0xa0, oidUPN, tlv(0xa0, tlv(0x0c, "u@x.test"))), good), true, ""},
		{"empty", san(), false, ""},
		{"other kind, strangely built", san(tlv(0xa0, oidUPN)), false, ""},
		{"identifier that is none", san(tlv(0xa0, tlv(0x16, "x")), good), true, ""},
		{"identifier with a huge arc", san(tlv(0xa0, "\x06\x06\x69\xff\xff\xff\xff\x7f"), good), true, ""},
		{"control characters", san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, srv+"\x00")))), false, ""},
		{"not a sequence", []byte(tlv(0x31, good)), false, "no sequence"},
		{"nothing", nil, false, "no sequence"},
		{"something after the sequence", append(san(good), 0), false, "no sequence"},
		{"cut short", san(good[:len(good)-1]), false, "cut short"},
		{"without value", san(tlv(0xa0, oidSRV)), false, "no value"},
		{"value not wrapped", san(tlv(0xa0, oidSRV, tlv(0x16, srv))), false, "no value"},
		{"two values", san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, srv), tlv(0x16, srv)))), false, "no value"},
		{"something after the value", san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, srv)), tlv(0x05))), false, "no value"},
		{"no string", san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x04, srv)))), false, "no string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ids, err := s2s.NewIdentities(withSAN(tt.der))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want an error with %q", err, tt.err)
				}
			} else if err != nil || ids.Covers("a.test") != tt.covers {
				t.Errorf("got %v, %v", ids, err)
			}
			if s2s.Covers(withSAN(tt.der), "a.test") != tt.covers {
				t.Errorf("covered: %v, want %v", !tt.covers, tt.covers)
			}
		})
	}
}

// Whatever stands in the extension: no panic, and what is covered is a plain domain name.
func FuzzSAN(f *testing.F) {
	f.Add(san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, "_xmpp-server.a.test")))), "a.test")
	f.Add(san(tlv(0xa0, oidXMPP, tlv(0xa0, tlv(0x0c, "a.test"))), tlv(0x82, "b.test")), "A.test.")
	f.Add(san(tlv(0xa0, oidSRV, tlv(0xa0, tlv(0x16, "_xmpp-server.*.test")))), "*.test")
	f.Add([]byte{0x30, 0x80}, "")
	f.Fuzz(func(t *testing.T, der []byte, domain string) {
		ids, err := s2s.NewIdentities(withSAN(der))
		if err != nil {
			if ids != nil {
				t.Error("names beside an error")
			}
			return
		}
		if ids.Covers(domain) && (domain == "" || strings.ContainsAny(domain, "*@/ ")) {
			t.Errorf("%q is covered", domain)
		}
		if s2s.Covers(withSAN(der), domain) != ids.Covers(domain) {
			t.Error("two ways, two answers")
		}
	})
}

func TestVerifyChain(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	middle, err := ca.Intermediate("middle", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	end := now.Add(time.Hour)
	leaf := func(ca *lab.CA, opts lab.LeafOptions) []*x509.Certificate {
		if opts.SRVNames == nil {
			opts.Names = []string{"a.test"}
		}
		opts.NotAfter = end
		return chain(t, issue(t, ca, opts))
	}
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		critical  x509.UnhandledCriticalExtension
	)
	is := func(reason x509.InvalidReason) func(error) bool {
		return func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == reason }
	}
	good := func(err error) bool { return err == nil }
	twisted := leaf(ca, lab.LeafOptions{})
	twisted[0].UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{1, 2, 3}, {2, 5, 29, 17}}
	services := leaf(ca, lab.LeafOptions{SRVNames: []string{"_xmpp-server.a.test"}})
	services[0].UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{2, 5, 29, 17}}
	tests := []struct {
		name       string
		chain      []*x509.Certificate
		now        time.Time
		clientAuth bool
		want       func(error) bool
	}{
		{"good", leaf(ca, lab.LeafOptions{}), now, false, good},
		{"good, clientAuth asked for", leaf(ca, lab.LeafOptions{}), now, true, good},
		{"with an intermediate authority", leaf(middle, lab.LeafOptions{}), now, false, good},
		{"without it", leaf(middle, lab.LeafOptions{})[:1], now, false, func(err error) bool { return errors.As(err, &authority) }},
		{"foreign authority", leaf(other, lab.LeafOptions{}), now, false, func(err error) bool { return errors.As(err, &authority) }},
		{"at its end", leaf(ca, lab.LeafOptions{}), end, false, good},
		{"after its end", leaf(ca, lab.LeafOptions{}), end.Add(time.Second), false, is(x509.Expired)},
		{"before its begin", leaf(ca, lab.LeafOptions{}), now.Add(-48 * time.Hour), false, is(x509.Expired)},
		{"serverAuth alone", leaf(ca, lab.LeafOptions{Usage: lab.ServerUsage}), now, false, good},
		{"serverAuth alone, clientAuth asked for", leaf(ca, lab.LeafOptions{Usage: lab.ServerUsage}), now, true, is(x509.IncompatibleUsage)},
		{"clientAuth alone", leaf(ca, lab.LeafOptions{Usage: lab.ClientUsage}), now, true, good},
		{"no usage, clientAuth asked for", leaf(ca, lab.LeafOptions{Usage: lab.WithoutUsage}), now, true, good},
		{"nothing presented", nil, now, false, func(err error) bool { return err != nil && strings.Contains(err.Error(), "no certificate") }},
		{"critical names of services", services, now, false, good},
		{"something else critical", twisted, now, false, func(err error) bool { return errors.As(err, &critical) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := s2s.VerifyChain(tt.chain, ca.Pool(), tt.now, tt.clientAuth); !tt.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	if !slices.ContainsFunc(services[0].UnhandledCriticalExtensions, asn1.ObjectIdentifier{2, 5, 29, 17}.Equal) {
		t.Error("the certificate was changed")
	}
}

func BenchmarkCovers(b *testing.B) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("c%d.test", i)
	}
	cert := issue(b, newCA(b), lab.LeafOptions{Names: names}).Leaf
	ids, err := s2s.NewIdentities(cert)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Identities", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ids.Covers("c999.test") {
				b.Fatal("not covered")
			}
		}
	})
	b.Run("certificate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !s2s.Covers(cert, "c999.test") {
				b.Fatal("not covered")
			}
		}
	})
}
