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
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
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

// A CA is a private certificate authority: one with a self-signed root, or an intermediate one. It may be used concurrently.
type CA struct {
	chain []*x509.Certificate // its own certificate first, the root last
	key   crypto.Signer
}

// NewCA makes an authority with a new key; name becomes its common name and must not be empty (RFC 6120 §13.7.1.1).
func NewCA(name string, opts CAOptions) (*CA, error) { return newCA(name, opts, nil) }

// Intermediate makes an authority whose certificate this one signs. What it issues comes with the chain that leads to the root.
func (ca *CA) Intermediate(name string, opts CAOptions) (*CA, error) { return newCA(name, opts, ca) }

// newCA makes an authority below the given one, or a root.
func newCA(name string, opts CAOptions, above *CA) (*CA, error) {
	if name == "" {
		return nil, errors.New("lab: an authority needs a name")
	}
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
	parent, signer, chain := template, key, []*x509.Certificate(nil)
	if above != nil {
		parent, signer, chain = above.chain[0], above.key, above.chain
	}
	certificate, err := sign(template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("lab: authority %q: %w", name, err)
	}
	return &CA{chain: append([]*x509.Certificate{certificate}, chain...), key: key}, nil
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
	ca := &CA{key: key}
	for _, der := range pair.Certificate {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("lab: parse the authority: %w", err)
		}
		ca.chain = append(ca.chain, certificate)
	}
	return ca, nil
}

// Certificate returns the authority's own certificate. It must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.chain[0] }

// Root returns the self-signed certificate at the end of the authority's chain. It must not be changed.
func (ca *CA) Root() *x509.Certificate { return ca.chain[len(ca.chain)-1] }

// Signer returns the authority's private key, for signing what is not a certificate.
func (ca *CA) Signer() crypto.Signer { return ca.key }

// Pool returns a new pool with the root certificate alone, for [tls.Config].
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root())
	return pool
}

// CertificatePEM returns the authority's certificate and, for an intermediate one, all above it, as servers and clients want them in
// a file.
func (ca *CA) CertificatePEM() []byte {
	var out []byte
	for _, certificate := range ca.chain {
		out = append(out, certificatePEM(certificate.Raw)...)
	}
	return out
}

// KeyPEM returns the unencrypted private key in PKCS #8.
func (ca *CA) KeyPEM() ([]byte, error) { return keyPEM(ca.key) }

// Usage says for which end of a TLS connection a certificate is made (RFC 5280 §4.2.1.12). Its text stands in scenario files.
type Usage string

// The extended key usages of a leaf.
const (
	BothUsages   Usage = ""       // serverAuth and clientAuth, as federation with public authorities had them for long
	ServerUsage  Usage = "server" // serverAuth alone, as public authorities issue them from 2026 on
	ClientUsage  Usage = "client" // clientAuth alone
	WithoutUsage Usage = "none"   // no such extension: any use
)

// LeafOptions describe a certificate of a server or client. The zero value of everything but the names is useful.
type LeafOptions struct {
	// Names become subjectAltName entries of type dNSName, in this order, in any number, an initial "*." allowed. Names beyond
	// ASCII have to be given in their A-label form. IP addresses become entries of type iPAddress.
	Names []string
	// SRVNames become entries of type SRVName (RFC 4985), written as "_xmpp-server.a.test".
	SRVNames []string
	// XMPPAddrs become entries of type xmppAddr (RFC 6120 §13.7.1.4), which is what old certificates have.
	XMPPAddrs []string
	// Subject is the distinguished name. Left empty, it has the first name as common name, or where that has more than the 64
	// characters allowed there its SHA-256 as serial number: a subject must not be empty (RFC 6120 §13.7.1.1).
	Subject pkix.Name
	// Key is the type of a new key. Empty means P-256.
	Key KeyType
	// Signer is used instead of a new key, so that many certificates can share one.
	Signer crypto.Signer
	// Usage is the extended key usage.
	Usage Usage
	// CRLSign adds the key usage cRLSign, for owners who sign lists of what they revoke.
	CRLSign bool
	// OCSP and Issuers are URLs for the extension authorityInfoAccess (RFC 5280 §4.2.2.1): of responders, and of the issuer's
	// certificate.
	OCSP, Issuers []string
	// NotBefore and NotAfter bound the validity, 90 days from an hour ago where left out. They may lie in the past: an expired
	// certificate is a case to test.
	NotBefore, NotAfter time.Time
}

// Issue makes a leaf certificate that serves for both ends of a TLS connection unless the options say otherwise, with a subject key
// identifier by method 1 of RFC 7093. The result holds the leaf and, from an intermediate authority, the chain without the root; it
// goes into a [tls.Config] as it is. Its Leaf field is set.
func (ca *CA) Issue(opts LeafOptions) (tls.Certificate, error) {
	all := slices.Concat(opts.Names, opts.SRVNames, opts.XMPPAddrs)
	if len(all) == 0 {
		return tls.Certificate{}, errors.New("lab: issue a certificate: no name is given")
	}
	leaf, key, err := ca.issue(opts, all[0])
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("lab: issue a certificate for %q: %w", all[0], err)
	}
	chain := [][]byte{leaf.Raw}
	for _, certificate := range ca.chain[:len(ca.chain)-1] {
		chain = append(chain, certificate.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

func (ca *CA) issue(opts LeafOptions, name string) (*x509.Certificate, crypto.Signer, error) {
	template := &x509.Certificate{
		Subject:               opts.Subject,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		OCSPServer:            opts.OCSP,
		IssuingCertificateURL: opts.Issuers,
	}
	if opts.CRLSign {
		template.KeyUsage |= x509.KeyUsageCRLSign
	}
	var err error
	if template.ExtKeyUsage, err = opts.Usage.extended(); err != nil {
		return nil, nil, err
	}
	if err := opts.names(template); err != nil {
		return nil, nil, err
	}
	if len(template.Subject.ToRDNSequence()) == 0 {
		template.Subject = subject(name)
	}
	template.NotBefore, template.NotAfter, err = validity(opts.NotBefore, opts.NotAfter, leafLifetime)
	if err != nil {
		return nil, nil, err
	}
	key := opts.Signer
	if key == nil {
		if opts.Key == "" {
			opts.Key = P256
		}
		if key, err = GenerateKey(opts.Key); err != nil {
			return nil, nil, err
		}
	}
	if template.SubjectKeyId, err = keyIdentifier(key.Public()); err != nil {
		return nil, nil, err
	}
	leaf, err := sign(template, ca.chain[0], key.Public(), ca.key)
	return leaf, key, err
}

func (u Usage) extended() ([]x509.ExtKeyUsage, error) {
	switch u {
	case BothUsages:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil
	case ServerUsage:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, nil
	case ClientUsage:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil
	case WithoutUsage:
		return nil, nil
	}
	return nil, fmt.Errorf("unknown usage %q, want %s, %s, %s or nothing for both", u, ServerUsage, ClientUsage, WithoutUsage)
}

// subject returns a distinguished name that is never empty. It means nothing: the alternative names are what counts.
func subject(name string) pkix.Name {
	const maxCommonName = 64 // X.520
	if utf8.RuneCountInString(name) <= maxCommonName {
		return pkix.Name{CommonName: name}
	}
	sum := sha256.Sum256([]byte(name))
	return pkix.Name{SerialNumber: hex.EncodeToString(sum[:])}
}

// names fills in the alternative names. Those of kinds that crypto/x509 does not know make it necessary to write the extension here.
func (opts *LeafOptions) names(template *x509.Certificate) error {
	var general []asn1.RawValue
	for _, name := range opts.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			if v4 := ip.To4(); v4 != nil {
				ip = v4
			}
			general = append(general, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: ip})
			continue
		}
		if err := checkName(name); err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
		template.DNSNames = append(template.DNSNames, name)
		general = append(general, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)})
	}
	if len(opts.SRVNames)+len(opts.XMPPAddrs) == 0 {
		return nil
	}
	for _, name := range opts.SRVNames {
		service, domain, _ := strings.Cut(name, ".")
		if len(service) < 2 || service[0] != '_' {
			return fmt.Errorf("SRV name %q: it begins with a service, as _xmpp-server", name)
		}
		if err := checkName(domain); err != nil {
			return fmt.Errorf("SRV name %q: %w", name, err)
		}
		value, err := asn1.MarshalWithParams(name, "ia5")
		if err != nil {
			return fmt.Errorf("SRV name %q: %w", name, err)
		}
		other, err := otherName(7, value)
		if err != nil {
			return err
		}
		general = append(general, other)
	}
	for _, addr := range opts.XMPPAddrs {
		if !utf8.ValidString(addr) || addr == "" {
			return fmt.Errorf("XMPP address %q: it is no text", addr)
		}
		value, err := asn1.MarshalWithParams(addr, "utf8")
		if err != nil {
			return fmt.Errorf("XMPP address %q: %w", addr, err)
		}
		other, err := otherName(5, value)
		if err != nil {
			return err
		}
		general = append(general, other)
	}
	der, err := asn1.Marshal(general)
	if err != nil {
		return err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der})
	return nil
}

// otherName wraps a value as a GeneralName of type otherName (RFC 5280 §4.2.1.6), of a kind below id-on (1.3.6.1.5.5.7.8).
func otherName(kind int, value []byte) (asn1.RawValue, error) {
	id, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, kind})
	if err != nil {
		return asn1.RawValue{}, err
	}
	explicit, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: value})
	if err != nil {
		return asn1.RawValue{}, err
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(id, explicit...)}, nil
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
