package attrcert_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// What BouncyCastle has issued is stored in a directory, with the certificates of all who take part and no key. It is made anew by
//
//	go test -tags interop -run BouncyCastleIssues ./internal/attrcert -update
const (
	foreign  = "testdata/bouncycastle"
	ocspURL  = "http://ocsp.a1.example/"
	bothRead = attrcert.SendAs | attrcert.ReceiveFor
)

// keyKinds are the names of the directories.
func keyKinds() []string { return []string{"p256", "rsa", "ed25519"} }

// foreignCertificates returns the names of the stored attribute certificates, below testdata.
func foreignCertificates(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(foreign + "/*/*.der")
	if err != nil || len(names) != 7*len(keyKinds()) {
		t.Fatalf("%d certificates, %v", len(names), err)
	}
	return names
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	der, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func readPEM(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(readTestdata(t, name))
	if block == nil {
		t.Fatalf("%s is not PEM", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Attribute certificates and lists that another implementation has issued are read as they were meant, and verified.
func TestForeign(t *testing.T) {
	for _, keys := range keyKinds() {
		t.Run(keys, func(t *testing.T) { checkForeign(t, filepath.Join(foreign, keys)) })
	}
}

func checkForeign(t *testing.T, dir string) {
	w := &world{
		root:         &identity{cert: readPEM(t, filepath.Join(dir, "root.pem"))},
		intermediate: &identity{cert: readPEM(t, filepath.Join(dir, "intermediate.pem"))},
		owner:        &identity{cert: readPEM(t, filepath.Join(dir, "owner.pem"))},
		provider:     &identity{cert: readPEM(t, filepath.Join(dir, "provider.pem"))},
	}
	read := func(name string) []byte { return readTestdata(t, filepath.Join(dir, name)) }
	plain := []attrcert.Delegation{{Domains: []string{domain}, Rights: bothRead}}
	type said struct {
		Serial      string
		NoRevAvail  bool
		CRL, OCSP   string
		Targets     []string
		Delegations []attrcert.Delegation
	}
	tests := []struct {
		name string
		form attrcert.HolderForm
		deny attrcert.Reason
		want said
	}{
		{"public-key", attrcert.ByPublicKey, "", said{Serial: "1", NoRevAvail: true, Delegations: plain}},
		{"certificate", attrcert.ByCertificate, "", said{Serial: "2", NoRevAvail: true, Delegations: plain}},
		{"issuer-serial", attrcert.ByIssuerSerial, "", said{Serial: "3", NoRevAvail: true, Delegations: plain}},
		{"crl", attrcert.ByPublicKey, "", said{Serial: "4", CRL: crlURL, Delegations: plain}},
		{"ocsp", attrcert.ByPublicKey, attrcert.Policy, said{Serial: "5", OCSP: ocspURL, Delegations: plain}},
		{"targeted", attrcert.ByPublicKey, "", said{
			Serial: "6", NoRevAvail: true, Delegations: plain, Targets: []string{"provider-c.example", verifier},
		}},
		{"more", attrcert.ByPublicKey, "", said{
			Serial: new(big.Int).Lsh(big.NewInt(1), 158).String(), NoRevAvail: true,
			Delegations: []attrcert.Delegation{
				{Domains: []string{domain}, Rights: attrcert.SendAs | attrcert.Subdomains},
				{Domains: []string{domain, "a2.example"}, Rights: attrcert.ReceiveFor},
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ac := parse(t, read(tt.name+".der"))
			got := said{ac.SerialNumber.String(), ac.NoRevAvail, ac.CRL, ac.OCSP, ac.Targets, ac.Delegations}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if ac.Holder.Form != tt.form || !ac.Holder.Matches(w.provider.cert) || ac.Holder.Matches(w.owner.cert) {
				t.Errorf("holder %+v", ac.Holder)
			}
			if got := rewrite(t, ac); string(got) != string(ac.Raw) {
				t.Errorf("written anew: %x, want %x", got, ac.Raw)
			}
			for _, moment := range []struct {
				now  time.Time
				deny attrcert.Reason
			}{{ac.NotBefore, tt.deny}, {ac.NotAfter, tt.deny}, {ac.NotAfter.Add(time.Second), attrcert.Expired}} {
				v := w.verifier()
				v.Now = func() time.Time { return moment.now }
				v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: read("plain.crl")}.fetch}
				_, err := v.Verify(t.Context(), w.show(ac))
				if moment.deny != "" {
					wantReason(t, err, moment.deny)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	// The other list revokes one of them, and is about attribute certificates only.
	ac := parse(t, read("crl.der"))
	v := w.verifier()
	v.Now = func() time.Time { return ac.NotBefore }
	v.Revocation = &attrcert.CRLCache{Fetch: func(context.Context, string) ([]byte, error) { return read("revoking.crl"), nil }}
	_, err := v.Verify(t.Context(), w.show(ac))
	wantReason(t, err, attrcert.Revoked)
}
