package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// KeyType names a kind of key pair. Its text stands in scenario files.
type KeyType string

// The kinds of keys that XMPP servers are deployed with.
const (
	P256    KeyType = "p256"
	RSA2048 KeyType = "rsa-2048"
	Ed25519 KeyType = "ed25519"
)

// GenerateKey makes a new key pair. RSA keys take a tenth of a second and more, the others some microseconds.
func GenerateKey(t KeyType) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch t {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("lab: unknown key type %q, want %s, %s or %s", t, P256, RSA2048, Ed25519)
	}
	if err != nil {
		return nil, fmt.Errorf("lab: generate a key of type %s: %w", t, err)
	}
	return key, nil
}

const (
	// backdate makes certificates valid on a machine whose clock is a little behind.
	backdate   = time.Hour
	caLifetime = 10 * 365 * 24 * time.Hour
	// leafLifetime stays below what strict clients accept from a public authority.
	leafLifetime = 90 * 24 * time.Hour
)

// CAOptions describe a certificate authority. The zero value is a P-256 authority that is valid for ten years from an hour ago.
type CAOptions struct {
	Key KeyType
	// NotBefore and NotAfter bound the validity.
	NotBefore, NotAfter time.Time
}

// A CA is a private certificate authority with a self-signed root. It may be used concurrently.
type CA struct {
	root *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority with a new key; name becomes its common name.
func NewCA(name string, opts CAOptions) (*CA, error) {
	if opts.Key == "" {
		opts.Key = P256
	}
	key, err := GenerateKey(opts.Key)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(opts.NotBefore, opts.NotAfter, caLifetime)
	if err != nil {
		return nil, fmt.Errorf("lab: authority %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	root, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("lab: authority %q: %w", name, err)
	}
	return &CA{root: root, key: key}, nil
}

// ParseCA reads an authority back from what [CA.CertificatePEM] and [CA.KeyPEM] wrote.
func ParseCA(certificatePEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("lab: parse the authority: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("lab: parse the authority: a key of type %T cannot sign", pair.PrivateKey)
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("lab: parse the authority: the certificate of %q is not that of an authority", pair.Leaf.Subject.CommonName)
	}
	return &CA{root: pair.Leaf, key: key}, nil
}

// Certificate returns the root certificate. It must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.root }

// Signer returns the authority's private key, for signing what is not a certificate.
func (ca *CA) Signer() crypto.Signer { return ca.key }

// Pool returns a new pool with the root certificate alone, for [tls.Config].
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// CertificatePEM returns the root certificate, as servers and clients want it in a file.
func (ca *CA) CertificatePEM() []byte { return certificatePEM(ca.root.Raw) }

// KeyPEM returns the unencrypted private key in PKCS #8.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// LeafOptions describe a certificate of a server or client. The zero value of everything but Names is useful.
type LeafOptions struct {
	// Names become subjectAltName entries of type dNSName, in this order, in any number, an initial "*." allowed. Names beyond
	// ASCII have to be given in their A-label form. IP addresses become entries of type iPAddress.
	Names []string
	// Key is the type of a new key. Empty means P-256.
	Key KeyType
	// Signer is used instead of a new key, so that many certificates can share one.
	Signer crypto.Signer
	// NotBefore and NotAfter bound the validity, 90 days from an hour ago where left out. They may lie in the past: an expired
	// certificate is a case to test.
	NotBefore, NotAfter time.Time
}

// Issue makes a leaf certificate that serves for both ends of a TLS connection (extended key usage serverAuth and clientAuth), with
// a subject key identifier by method 1 of RFC 7093. The result holds the leaf alone and goes into a [tls.Config] as it is; its Leaf
// field is set.
func (ca *CA) Issue(opts LeafOptions) (tls.Certificate, error) {
	if len(opts.Names) == 0 {
		return tls.Certificate{}, errors.New("lab: issue a certificate: no name is given")
	}
	template := &x509.Certificate{
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range opts.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if err := checkName(name); err != nil {
			return tls.Certificate{}, fmt.Errorf("lab: issue a certificate for %q: %w", name, err)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	// X.520 bounds a common name; the alternative names are what counts.
	const maxCommonName = 64
	if name := opts.Names[0]; len(name) <= maxCommonName {
		template.Subject.CommonName = name
	}
	var err error
	template.NotBefore, template.NotAfter, err = validity(opts.NotBefore, opts.NotAfter, leafLifetime)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("lab: issue a certificate for %q: %w", opts.Names[0], err)
	}
	key := opts.Signer
	if key == nil {
		if opts.Key == "" {
			opts.Key = P256
		}
		if key, err = GenerateKey(opts.Key); err != nil {
			return tls.Certificate{}, err
		}
	}
	if template.SubjectKeyId, err = keyIdentifier(key.Public()); err != nil {
		return tls.Certificate{}, fmt.Errorf("lab: issue a certificate for %q: %w", opts.Names[0], err)
	}
	leaf, err := sign(template, ca.root, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("lab: issue a certificate for %q: %w", opts.Names[0], err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// EncodePEM returns a certificate with its chain, and its unencrypted private key in PKCS #8, as servers want them in files.
// [tls.X509KeyPair] reads them back.
func EncodePEM(c tls.Certificate) (certificates, key []byte, err error) {
	for _, der := range c.Certificate {
		certificates = append(certificates, certificatePEM(der)...)
	}
	key, err = keyPEM(c.PrivateKey)
	return certificates, key, err
}

// validity fills in the bounds that are left out.
func validity(notBefore, notAfter time.Time, lifetime time.Duration) (from, to time.Time, err error) {
	if notBefore.IsZero() {
		notBefore = time.Now().Add(-backdate)
		if !notAfter.IsZero() && !notBefore.Before(notAfter) {
			// Only the end is given, and it is past: an expired certificate.
			notBefore = notAfter.Add(-lifetime)
		}
	}
	if notAfter.IsZero() {
		notAfter = notBefore.Add(lifetime)
	}
	if notAfter.Before(notBefore) {
		return from, to, fmt.Errorf("it would end on %v, before it begins on %v", notAfter, notBefore)
	}
	return notBefore, notAfter, nil
}

// checkName refuses what no certificate can carry as a dNSName.
func checkName(name string) error {
	plain := strings.TrimPrefix(name, "*.")
	if plain == "" || len(plain) > 253 {
		return errors.New("a domain name has 1 to 253 characters")
	}
	for label := range strings.SplitSeq(plain, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("a label of a domain name has 1 to 63 characters")
		}
	}
	for _, r := range plain {
		if r > '~' || r <= ' ' {
			return fmt.Errorf("the character %q is not allowed, write the name in A-labels (xn--...)", r)
		}
	}
	return nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyIdentifier returns the leftmost 160 bits of the SHA-256 of the public key's bits.
func keyIdentifier(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	bits, err := subjectPublicKey(der)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

// subjectPublicKey returns the bits of the key within a SubjectPublicKeyInfo (RFC 5280 §4.1).
func subjectPublicKey(der []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	return info.Key.Bytes, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("lab: encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
