package attrcert

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxCRLBytes is the largest revocation list that is accepted, in octets of DER.
const MaxCRLBytes = 4 << 20

// crlBudget is how many octets of lists, as DER, a [CRLCache] remembers.
const crlBudget = 64 << 20

// A CRLTemplate describes a revocation list that is to be issued.
type CRLTemplate struct {
	// ThisUpdate is when the list was made, NextUpdate when it is followed by another. Both are needed.
	ThisUpdate, NextUpdate time.Time
	// Revoked are the serial numbers of attribute certificates.
	Revoked []*big.Int
	// Number rises from list to list. Nil means the microseconds from 1970 to ThisUpdate.
	Number *big.Int
}

// IssueCRL makes a list of the attribute certificates that an owner has revoked, and returns its DER (RFC 5280 §5). Owner and key are
// those of [Issue]; the owner's certificate must moreover have a subject key identifier and the key usage cRLSign, which certificates
// of ordinary servers lack: whoever wants to revoke has to ask for it. The errors are not of type [Error].
func IssueCRL(t CRLTemplate, owner *x509.Certificate, key crypto.Signer) ([]byte, error) {
	if _, err := checkIssuer(owner, key); err != nil {
		return nil, fmt.Errorf("attrcert: issue a CRL: %w", err)
	}
	if t.ThisUpdate.IsZero() || t.NextUpdate.IsZero() {
		return nil, errors.New("attrcert: issue a CRL: a time is missing")
	}
	list := &x509.RevocationList{Number: t.Number, ThisUpdate: t.ThisUpdate, NextUpdate: t.NextUpdate}
	if list.Number == nil {
		list.Number = big.NewInt(t.ThisUpdate.UnixMicro())
	}
	for _, serial := range t.Revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: t.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, owner, key)
	if err != nil {
		return nil, fmt.Errorf("attrcert: issue a CRL: %w", err)
	}
	return der, nil
}

// A CRLCache answers from revocation lists, each of which it fetches once in its life, that is until its next update. Whoever asks
// while a list is being fetched waits for it. It is a [Revocation], may be used concurrently and must not be copied.
type CRLCache struct {
	// Fetch returns the DER of the list at a URL of HTTP or HTTPS. It is needed, and called concurrently. The URL comes from the peer's
	// certificate: Fetch decides where it is ready to connect to, and should not read more than MaxCRLBytes and one. It must not be
	// changed once the cache is in use.
	Fetch func(ctx context.Context, url string) ([]byte, error)

	lists      memo[crlKey, crl]
	fetches    atomic.Int64
	signatures atomic.Int64
}

// crlKey has the owner beside the URL, so that nobody can put a list under another owner's.
type crlKey struct {
	url   string
	owner [sha256.Size]byte // hash of the certificate
}

// A crl is what counts of a list that was checked.
type crl struct {
	revoked    map[string]bool // octets of the serial numbers
	nextUpdate time.Time
	size       int64 // of the DER
}

// CRLCounts says what a [CRLCache] has done so far.
type CRLCounts struct {
	Fetches    int64 // calls of Fetch
	Signatures int64 // that were checked
}

// Counts returns what the cache has done so far.
func (c *CRLCache) Counts() CRLCounts {
	return CRLCounts{Fetches: c.fetches.Load(), Signatures: c.signatures.Load()}
}

// Status implements [Revocation]. A list must be signed by the owner's key, which is not forbidden to do so, must say when it is followed
// by another, must not be past that or from the future, and must be about all certificates or about attribute certificates. What a list
// holds until removed again is revoked as well. Failures are not remembered.
func (c *CRLCache) Status(ctx context.Context, q Query) (Status, error) {
	var status Status
	rule := memoRule[crl]{
		budget: crlBudget,
		cost:   func(l crl) int64 { return l.size },
		usable: func(l crl) bool { return !q.Now.After(l.nextUpdate) },
		share:  true,
	}
	list, err := c.lists.get(ctx, crlKey{q.URL, sha256.Sum256(q.Owner.Raw)}, rule, func() (crl, error) {
		der, err := c.fetch(ctx, q.URL)
		if err != nil {
			return crl{}, err
		}
		list, checked, err := parseCRL(der, q)
		if checked {
			status.Signatures++
			c.signatures.Add(1)
		}
		return list, err
	})
	if err != nil {
		return status, fmt.Errorf("CRL %s: %w", q.URL, err)
	}
	status.Revoked = list.revoked[string(q.Serial.Bytes())]
	status.Until = list.nextUpdate
	return status, nil
}

func (c *CRLCache) fetch(ctx context.Context, url string) ([]byte, error) {
	c.fetches.Add(1)
	der, err := c.Fetch(ctx, url)
	if err != nil && ctx.Err() != nil {
		// Others who wait have more time, perhaps.
		return nil, fmt.Errorf("%w: %w", errAbandoned, err)
	}
	return der, err
}

// parseCRL reads a list and checks it, and says whether it has checked the signature, which it does last.
func parseCRL(der []byte, q Query) (list crl, checked bool, err error) {
	if len(der) > MaxCRLBytes {
		return crl{}, false, fmt.Errorf("%d octets, more than %d", len(der), MaxCRLBytes)
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return crl{}, false, err
	}
	if len(l.Raw) != len(der) {
		return crl{}, false, errors.New("something follows the list")
	}
	if !bytes.Equal(l.RawIssuer, q.Owner.RawSubject) {
		return crl{}, false, errors.New("it is not the owner's")
	}
	if err := checkCRLTimes(l, q); err != nil {
		return crl{}, false, err
	}
	if err := checkCRLExtensions(l, q.URL); err != nil {
		return crl{}, false, err
	}
	if q.Owner.KeyUsage != 0 && q.Owner.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return crl{}, false, errors.New("the owner's certificate is not for signing lists")
	}
	if !acceptedForCRL(l.SignatureAlgorithm) {
		return crl{}, false, fmt.Errorf("the signature algorithm %v is not accepted", l.SignatureAlgorithm)
	}
	// Not CheckSignatureFrom, which demands the certificate of an authority.
	if err := q.Owner.CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature); err != nil {
		return crl{}, true, fmt.Errorf("the owner's key did not sign it: %w", err)
	}
	list = crl{revoked: make(map[string]bool, len(l.RevokedCertificateEntries)), nextUpdate: l.NextUpdate, size: int64(len(der))}
	for _, entry := range l.RevokedCertificateEntries {
		if entry.SerialNumber.Sign() > 0 {
			list.revoked[string(entry.SerialNumber.Bytes())] = true
		}
	}
	return list, true, nil
}

func checkCRLTimes(l *x509.RevocationList, q Query) error {
	switch {
	case l.NextUpdate.IsZero():
		return errors.New("it does not say when it is followed by another")
	case q.Now.Add(q.Skew).Before(l.ThisUpdate):
		return fmt.Errorf("it is from %v, and it is %v", l.ThisUpdate, q.Now)
	case q.Now.Add(-q.Skew).After(l.NextUpdate):
		return fmt.Errorf("it should have been followed by another on %v, and it is %v", l.NextUpdate, q.Now)
	}
	return nil
}

// acceptedForCRL leaves out SHA-1, which crypto/x509 lets pass for lists.
func acceptedForCRL(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.PureEd25519:
		return true
	}
	return false
}

// checkCRLExtensions refuses lists that say less than a whole one would. All ways of saying so are critical.
func checkCRLExtensions(l *x509.RevocationList, url string) error {
	for _, e := range l.Extensions {
		if !e.Critical {
			continue
		}
		if id := e.Id.String(); id != "2.5.29.28" {
			return fmt.Errorf("the critical extension %s is not known", id)
		}
		if err := checkIssuingDistributionPoint(e.Value, url); err != nil {
			return err
		}
	}
	for _, entry := range l.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return fmt.Errorf("the critical extension %v of an entry is not known", e.Id)
			}
		}
	}
	return nil
}

// checkIssuingDistributionPoint accepts two fields of RFC 5280 §5.2.5: that the list is about attribute certificates only, and that it is
// the one at url, lest a list about other certificates is put in its place.
func checkIssuingDistributionPoint(der cryptobyte.String, url string) error {
	var content, point, names, only cryptobyte.String
	var hasPoint, hasOnly bool
	if !wellFormed(der, maxDepth) || !der.ReadASN1(&content, asn1.SEQUENCE) || !der.Empty() ||
		!content.ReadOptionalASN1(&point, &hasPoint, explicit(0)) || !content.ReadOptionalASN1(&only, &hasOnly, implicit(5)) ||
		!content.Empty() || (hasOnly && string(only) != "\xff") {
		return errors.New("it is not about all certificates, or all attribute certificates, of its issuer")
	}
	if !hasPoint {
		return nil
	}
	if !point.ReadASN1(&names, explicit(0)) || !point.Empty() {
		return errors.New("its distribution point has no full name")
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return errors.New("its distribution point is not a list of names")
		}
		if tag == implicit(tagURI) && string(name) == url {
			return nil
		}
	}
	return errors.New("it belongs to another distribution point")
}
