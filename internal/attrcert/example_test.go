package attrcert_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// The owner of a1.example lets a provider speak for it; another provider believes that, and does not for another domain.
func Example() {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	certify := func(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1),
			Subject:      pkix.Name{CommonName: name},
			DNSNames:     []string{name},
			SubjectKeyId: []byte(name),
			NotBefore:    now, NotAfter: now.Add(90 * 24 * time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			panic(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		return cert, key
	}
	owner, ownerKey := certify("a1.example")
	provider, _ := certify("provider-a.example")

	der, err := attrcert.Issue(attrcert.Template{
		Holder:    provider,
		NotBefore: now, NotAfter: now.Add(24 * time.Hour),
		Domains: []string{"a1.example"},
	}, owner, ownerKey)
	if err != nil {
		panic(err)
	}

	// Here the owner's certificate is a trust anchor itself. Otherwise it would be shown with what leads to one.
	roots := x509.NewCertPool()
	roots.AddCert(owner)
	verifier := &attrcert.Verifier{Roots: roots, Now: func() time.Time { return now }}
	ac, err := attrcert.Parse(der)
	if err != nil {
		panic(err)
	}
	for _, domain := range []string{"a1.example", "b1.example"} {
		verdict, err := verifier.Verify(context.Background(), attrcert.Claim{
			Certificate: ac, Domain: domain, Holder: provider, Owner: owner,
		})
		var refused *attrcert.Error
		switch {
		case errors.As(err, &refused):
			fmt.Println(domain, "refused:", refused.Reason)
		case err != nil:
			panic(err)
		default:
			fmt.Println(domain, "valid until", verdict.Until.Format(time.RFC3339))
		}
	}
	// Output:
	// a1.example valid until 2026-11-23T12:00:00Z
	// b1.example refused: attribute-missing
}
