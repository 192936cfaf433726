package attrcert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxUnrevocable is the longest life of an attribute certificate that cannot be revoked.
const MaxUnrevocable = 24 * time.Hour

// A Template describes an attribute certificate that is to be issued. Holder, NotBefore, NotAfter and Domains are needed, the zero
// value of everything else is useful.
type Template struct {
	// Holder is the certificate by which the provider proves itself in TLS.
	Holder     *x509.Certificate
	HolderForm HolderForm
	// Serial is unique for the owner, positive, at most 20 octets. Nil means 16 random octets.
	Serial *big.Int
	// NotBefore and NotAfter bound the validity, both included. They are cut to whole seconds.
	NotBefore, NotAfter time.Time
	// Domains are names in lower case and A-labels. Whether the owner's certificate names them is for verifiers to judge.
	Domains []string
	// Rights are given for each of the domains. Zero means SendAs and ReceiveFor.
	Rights Rights
	// CRL is the URL where the owner's list of revoked certificates can be had, by HTTP or HTTPS. OCSP is the URL of a responder, by
	// HTTP. Without either the certificate says that it cannot be revoked (noRevAvail), and its life is at most MaxUnrevocable.
	CRL, OCSP string
	// Targets are domain names of the verifiers that may accept it; without any all may.
	Targets []string
	// OmitAuthorityKeyID leaves out the identifier of the owner's key, which RFC 5755 §4.3.3 says SHOULD be there.
	OmitAuthorityKeyID bool
}

// Issue makes an attribute certificate and returns its DER. Owner is the certificate of the domains' owner: of an end entity, with a
// subject and, unless the template says otherwise, a subject key identifier. Key is its private key: ECDSA on P-256, Ed25519, or RSA
// of 2048 bits and more. What Issue returns Parse accepts; the errors are not of type [Error].
func Issue(t Template, owner *x509.Certificate, key crypto.Signer) ([]byte, error) {
	der, err := t.issue(owner, key)
	if err != nil {
		return nil, fmt.Errorf("attrcert: issue: %w", err)
	}
	return der, nil
}

func (t *Template) issue(owner *x509.Certificate, key crypto.Signer) ([]byte, error) {
	scheme, err := checkIssuer(owner, key)
	if err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	holder, err := newHolder(t.HolderForm, t.Holder)
	if err != nil {
		return nil, err
	}
	keyID := owner.SubjectKeyId
	switch {
	case t.OmitAuthorityKeyID:
		keyID = nil
	case len(keyID) == 0:
		return nil, errors.New("the owner's certificate has no subject key identifier to refer to")
	}
	serial := t.Serial
	if serial == nil {
		serial = randomSerial()
	}
	delegation := Delegation{Domains: t.Domains, Rights: t.Rights}
	if delegation.Rights == 0 {
		delegation.Rights = bothDirections
	}

	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // v2
		b.AddASN1(asn1.SEQUENCE, holder.marshal)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { addDirectoryName(b, owner.RawSubject) })
		b.AddBytes([]byte(scheme.identifier))
		b.AddASN1BigInt(serial)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.NotBefore)
			addTime(b, t.NotAfter)
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, oidDelegation)
				b.AddASN1(asn1.SET, delegation.marshal)
			})
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { t.addExtensions(b, keyID) })
	})
	info, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	signature, err := scheme.sign(key, info)
	if err != nil {
		return nil, err
	}
	var whole cryptobyte.Builder
	whole.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		b.AddBytes([]byte(scheme.identifier))
		b.AddASN1BitString(signature)
	})
	der, err := whole.Bytes()
	if err == nil && len(der) > MaxBytes {
		err = fmt.Errorf("it would have %d octets, more than %d", len(der), MaxBytes)
	}
	return der, err
}

// checkIssuer refuses owners whose attribute certificates no verifier would accept.
func checkIssuer(owner *x509.Certificate, key crypto.Signer) (scheme, error) {
	if owner == nil || key == nil {
		return scheme{}, errors.New("the owner's certificate or key is missing")
	}
	if emptyName(owner.RawSubject) {
		return scheme{}, errors.New("the owner's certificate has no subject, by which an issuer is named")
	}
	if err := checkIssues(owner); err != nil {
		return scheme{}, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(owner.PublicKey) {
		return scheme{}, errors.New("the key is not that of the owner's certificate")
	}
	return schemeFor(owner.PublicKey)
}

// checkIssues refuses certificates whose keys may not sign attribute certificates (RFC 5755 §4.5).
func checkIssues(owner *x509.Certificate) error {
	if owner.IsCA {
		return errors.New("the owner's certificate is that of a certificate authority")
	}
	if owner.KeyUsage != 0 && owner.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the owner's certificate is not for digital signatures")
	}
	return nil
}

func (t *Template) check() error {
	if t.Holder == nil {
		return errors.New("the holder's certificate is missing")
	}
	if t.Serial != nil && (t.Serial.Sign() <= 0 || t.Serial.BitLen() > 8*maxSerialSize-1) {
		return fmt.Errorf("the serial number is not positive and of at most %d octets", maxSerialSize)
	}
	if err := t.checkValidity(); err != nil {
		return err
	}
	if len(t.Domains) == 0 || len(t.Domains) > MaxDomains {
		return fmt.Errorf("%d domains, want 1 to %d", len(t.Domains), MaxDomains)
	}
	if len(t.Targets) > maxTargets {
		return fmt.Errorf("%d targets, more than %d", len(t.Targets), maxTargets)
	}
	for _, name := range slices.Concat(t.Domains, t.Targets) {
		if err := checkDomain(name); err != nil {
			return fmt.Errorf("domain or target %q: %w", name, err)
		}
	}
	if t.Rights&^allRights != 0 {
		return fmt.Errorf("there are no rights %#x", uint8(t.Rights))
	}
	if t.CRL != "" && !fetchable(t.CRL, "http", "https") {
		return fmt.Errorf("CRL %q: not a URL of HTTP or HTTPS in at most %d characters of ASCII", t.CRL, maxURI)
	}
	if t.OCSP != "" && !fetchable(t.OCSP, "http") {
		return fmt.Errorf("OCSP %q: not a URL of HTTP in at most %d characters of ASCII", t.OCSP, maxURI)
	}
	return nil
}

func (t *Template) checkValidity() error {
	notBefore, notAfter := t.NotBefore.UTC(), t.NotAfter.UTC()
	if t.NotBefore.IsZero() || t.NotAfter.IsZero() || notAfter.Before(notBefore) {
		return fmt.Errorf("a validity from %v to %v", t.NotBefore, t.NotAfter)
	}
	if notBefore.Year() < 0 || notAfter.Year() > 9999 {
		return errors.New("the validity does not fit into years of four digits")
	}
	if t.CRL != "" && t.OCSP != "" {
		return errors.New("both a CRL and OCSP, one is enough")
	}
	if t.CRL == "" && t.OCSP == "" && tooLongUnrevocable(notBefore.Truncate(time.Second), notAfter.Truncate(time.Second)) {
		return fmt.Errorf("a life of %v without revocation, more than %v", notAfter.Sub(notBefore), MaxUnrevocable)
	}
	return nil
}

func tooLongUnrevocable(notBefore, notAfter time.Time) bool {
	return notAfter.Sub(notBefore) > MaxUnrevocable
}

// fetchable reports whether uri can be fetched by one of the schemes.
func fetchable(uri string, schemes ...string) bool {
	u, err := url.Parse(uri)
	return err == nil && printable([]byte(uri), maxURI) && slices.Contains(schemes, u.Scheme) && u.Host != "" && u.User == nil
}

// randomSerial returns a number that is unique without a record of what was issued before.
func randomSerial() *big.Int {
	octets := make([]byte, 16)
	_, _ = rand.Read(octets)          // it never fails
	octets[0] = octets[0]&0x7f | 0x40 // positive, and of one length
	return new(big.Int).SetBytes(octets)
}
