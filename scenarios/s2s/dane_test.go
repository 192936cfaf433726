package s2s_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

func TestMatchTLSA(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	now := time.Now().Truncate(time.Second)
	key, err := lab.GenerateKey(lab.P256)
	if err != nil {
		t.Fatal(err)
	}
	mine := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, Signer: key}))
	renewed := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, Signer: key}))
	expired := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, NotAfter: now.Add(-time.Hour)}))
	foreign := chain(t, issue(t, other, lab.LeafOptions{Names: []string{"a.test"}}))
	server := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}, Usage: lab.ServerUsage}))
	stranger := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"x.test"}}))
	record := func(c []*x509.Certificate, usage, selector, matching uint8) resolve.TLSA {
		t.Helper()
		r, err := s2s.TLSARecord(c[0], usage, selector, matching)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	unusable := []resolve.TLSA{
		{Usage: 0, Selector: 1, Matching: 1, Data: record(mine, s2s.DANEEE, 1, 1).Data}, // PKIX-TA
		{Usage: 2, Selector: 1, Matching: 1, Data: record(mine, s2s.DANEEE, 1, 1).Data}, // DANE-TA
		{Usage: 3, Selector: 2, Matching: 1, Data: record(mine, s2s.DANEEE, 1, 1).Data},
		{Usage: 3, Selector: 1, Matching: 3, Data: record(mine, s2s.DANEEE, 1, 1).Data},
		{Usage: 3, Selector: 1, Matching: 1, Data: record(mine, s2s.DANEEE, 1, 1).Data[:31]},
		{Usage: 3, Selector: 1, Matching: 2, Data: record(mine, s2s.DANEEE, 1, 1).Data},
		{Usage: 3, Selector: 1, Matching: 0},
		{Usage: 255, Selector: 255, Matching: 255},
	}
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	yes := func(err error) bool { return err == nil }
	no := func(text string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
	}
	tests := []struct {
		name    string
		records []resolve.TLSA
		chain   []*x509.Certificate
		names   string
		client  bool
		usable  int
		want    func(error) bool
	}{
		{"DANE-EE", []resolve.TLSA{record(mine, s2s.DANEEE, 1, 1)}, mine, "a.test", false, 1, yes},
		{"DANE-EE, key kept", []resolve.TLSA{record(mine, s2s.DANEEE, 1, 1)}, renewed, "a.test", false, 1, yes},
		{"DANE-EE, certificate renewed", []resolve.TLSA{record(mine, s2s.DANEEE, 0, 1)}, renewed, "a.test", false, 1, no("none of 1")},
		{"DANE-EE skips names", []resolve.TLSA{record(stranger, s2s.DANEEE, 1, 1)}, stranger, "a.test", false, 1, yes},
		{"DANE-EE skips validity", []resolve.TLSA{record(expired, s2s.DANEEE, 1, 1)}, expired, "a.test", false, 1, yes},
		{"DANE-EE skips the path", []resolve.TLSA{record(foreign, s2s.DANEEE, 0, 2)}, foreign, "a.test", false, 1, yes},
		{"DANE-EE skips usages", []resolve.TLSA{record(server, s2s.DANEEE, 0, 2)}, server, "a.test", true, 1, yes},
		{"PKIX-EE", []resolve.TLSA{record(mine, s2s.PKIXEE, 1, 1)}, mine, "a.test", false, 1, yes},
		{"PKIX-EE, name of the target host", []resolve.TLSA{record(mine, s2s.PKIXEE, 1, 1)}, mine, "x.test a.test", false, 1, yes},
		{"PKIX-EE checks names", []resolve.TLSA{record(stranger, s2s.PKIXEE, 1, 1)}, stranger, "a.test b.test", false, 1, no(`none of ["a.test" "b.test"]`)},
		{"PKIX-EE without a name to check", []resolve.TLSA{record(mine, s2s.PKIXEE, 1, 1)}, mine, "", false, 1, no("none of []")},
		{"PKIX-EE checks validity", []resolve.TLSA{record(expired, s2s.PKIXEE, 1, 1)}, expired, "a.test", false, 1,
			func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }},
		{"PKIX-EE checks the path", []resolve.TLSA{record(foreign, s2s.PKIXEE, 1, 1)}, foreign, "a.test", false, 1,
			func(err error) bool { return errors.As(err, &unknown) }},
		{"PKIX-EE checks usages where asked to", []resolve.TLSA{record(server, s2s.PKIXEE, 1, 1)}, server, "a.test", true, 1,
			func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage }},
		{"PKIX-EE fails, DANE-EE holds", []resolve.TLSA{record(foreign, s2s.PKIXEE, 1, 1), record(foreign, s2s.DANEEE, 1, 1)}, foreign, "a.test", false, 2, yes},
		{"one of many", []resolve.TLSA{record(stranger, s2s.DANEEE, 1, 1), record(foreign, s2s.DANEEE, 0, 1), record(mine, s2s.DANEEE, 0, 2)}, mine, "a.test", false, 3, yes},
		{"none of many", []resolve.TLSA{record(stranger, s2s.DANEEE, 1, 1), record(foreign, s2s.PKIXEE, 0, 0)}, mine, "a.test", false, 2, no("none of 2")},
		{"not the authority's", []resolve.TLSA{record([]*x509.Certificate{ca.Certificate()}, s2s.DANEEE, 0, 1)}, append(mine[:1:1], ca.Certificate()), "a.test", false, 1, no("none of 1")},
		{"unusable ones are passed over", append(unusable[:len(unusable):len(unusable)], record(mine, s2s.DANEEE, 1, 1)), mine, "a.test", false, 1, yes},
		{"nothing presented", []resolve.TLSA{record(mine, s2s.DANEEE, 1, 1)}, nil, "a.test", false, 1, no("no certificate")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s2s.MatchTLSA(tt.records, tt.chain, s2s.DANEOptions{
				Names: strings.Fields(tt.names), Roots: ca.Pool(), Now: now, RequireClientAuth: tt.client,
			})
			if got.Usable != tt.usable || got.Matched != (got.Err == nil) || !tt.want(got.Err) {
				t.Errorf("got %+v", got)
			}
			if r := got.Record; got.Matched && r.String() != record(tt.chain, r.Usage, r.Selector, r.Matching).String() {
				t.Errorf("matched by %v, which does not match", r)
			}
		})
	}
	for _, records := range [][]resolve.TLSA{nil, unusable} {
		if got := s2s.MatchTLSA(records, mine, s2s.DANEOptions{}); got.Usable != 0 || got.Matched || got.Err != nil {
			t.Errorf("nothing usable: got %+v", got)
		}
	}
}

// Records go into the DNS as text and come back as they were.
func TestTLSARecord(t *testing.T) {
	ca := newCA(t)
	certs := chain(t, issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}))
	cert := certs[0]
	opts := s2s.DANEOptions{Names: []string{"a.test"}, Roots: ca.Pool(), Now: time.Now()}
	d, err := lab.NewDNS(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &resolve.Resolver{Servers: []string{d.Addr()}}
	for _, usage := range []uint8{s2s.PKIXEE, s2s.DANEEE} {
		for _, selector := range []uint8{s2s.SelectCertificate, s2s.SelectKey} {
			for _, matching := range []uint8{s2s.MatchFull, s2s.MatchSHA256, s2s.MatchSHA512} {
				record, err := s2s.TLSARecord(cert, usage, selector, matching)
				if err != nil {
					t.Fatal(err)
				}
				host := fmt.Sprintf("h%d%d%d.test", usage, selector, matching)
				if err := d.AddTLSA(5269, host, record.String()); err != nil {
					t.Fatal(err)
				}
				got, err := r.TLSA(t.Context(), 5269, host)
				if err != nil || len(got.Records) != 1 || got.Records[0].String() != record.String() || !s2s.MatchTLSA(got.Records, certs, opts).Matched {
					t.Errorf("%v came back as %v, %v", record, got.Records, err)
				}
			}
		}
	}
	for _, bad := range [][3]uint8{{0, 1, 1}, {2, 1, 1}, {4, 1, 1}, {3, 2, 1}, {3, 1, 3}} {
		if record, err := s2s.TLSARecord(cert, bad[0], bad[1], bad[2]); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d %d %d", bad[0], bad[1], bad[2])) {
			t.Errorf("%v: got %v, %v", bad, record, err)
		}
	}
}
