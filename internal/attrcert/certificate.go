package attrcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of a certificate that is parsed. Beyond them it is refused as [TooMany].
const (
	MaxBytes      = 16 << 10 // octets of DER
	MaxDomains    = 256      // in all values of the delegation attribute together
	maxAttributes = 16
)

// An Attribute is one attribute as it was received.
type Attribute struct {
	Type   x509.OID
	Values [][]byte // DER, in the order of DER, at least one
}

// A Certificate is a parsed attribute certificate. It is not thereby verified. It must not be changed, and may then be used concurrently.
type Certificate struct {
	Raw     []byte // DER, all of it
	RawInfo []byte // the part that is signed

	Holder       Holder
	Issuer       []byte // DER of the owner's Name
	SerialNumber *big.Int
	NotBefore    time.Time // the first moment of the validity
	NotAfter     time.Time // the last one
	Attributes   []Attribute
	Extensions   []Extension

	// SignatureAlgorithm is zero if it is not accepted; RawAlgorithm is the DER.
	SignatureAlgorithm x509.SignatureAlgorithm
	RawAlgorithm       []byte
	Signature          []byte

	// Delegations are the values of the delegation attribute, none if it is missing.
	Delegations []Delegation
	// AuthorityKeyID identifies the owner's key; it may be empty.
	AuthorityKeyID []byte
	// NoRevAvail says that the certificate cannot be revoked.
	NoRevAvail bool
	// CRL is the URI of the list on which the certificate stands once it is revoked. It is empty if there is none, or one without a URI.
	CRL string
	// OCSP is the URI of a responder, or empty.
	OCSP string
	// Targets are the verifiers it is meant for, as domain names. Nil means all, empty means none that goes by a domain name.
	Targets []string

	crlPoint bool
}

// RefHash returns the SHA-256 of an attribute certificate's DER, by which one that was shown before is referred to.
func RefHash(der []byte) [sha256.Size]byte { return sha256.Sum256(der) }

// Rights returns what the holder may do for a domain, given in lower case and A-labels, according to all values of the delegation
// attribute together.
func (c *Certificate) Rights(domain string) Rights {
	var r Rights
	for _, d := range c.Delegations {
		if d.covers(domain) {
			r |= d.Rights
		}
	}
	return r
}

// Parse reads an attribute certificate and checks all that can be checked without knowing who shows it to whom and when. Nothing but
// DER is accepted. Attributes of other types than ours are skipped, and so are extensions that are neither known nor critical. It
// returns an [*Error] with the reason [BadEncoding], [UnknownCritical], [HolderMismatch] or [TooMany].
func Parse(der []byte) (*Certificate, error) {
	if len(der) > MaxBytes {
		return nil, refuse(TooMany, "%d octets, more than %d", len(der), MaxBytes)
	}
	c := &Certificate{Raw: bytes.Clone(der)}
	if err := c.parse(); err != nil {
		return nil, err
	}
	return c, nil
}

// parse reads
//
//	AttributeCertificate ::= SEQUENCE {
//	  acinfo              AttributeCertificateInfo,
//	  signatureAlgorithm  AlgorithmIdentifier,
//	  signatureValue      BIT STRING }
func (c *Certificate) parse() error {
	s := cryptobyte.String(c.Raw)
	if !wellFormed(s, maxDepth) {
		return malformed("not DER")
	}
	var outer, info cryptobyte.String
	if !s.ReadASN1(&outer, asn1.SEQUENCE) || !s.Empty() || !outer.ReadASN1Element(&info, asn1.SEQUENCE) {
		return malformed("not a sequence that begins with another, or something follows it")
	}
	algorithm, _, _, ok := readAlgorithm(&outer)
	if !ok {
		return malformed("signatureAlgorithm is not an AlgorithmIdentifier")
	}
	if !outer.ReadASN1BitStringAsBytes(&c.Signature) || !outer.Empty() {
		return malformed("no bit string of whole octets at the end, or something follows it")
	}
	c.RawInfo, c.RawAlgorithm, c.SignatureAlgorithm = info, algorithm, signatureAlgorithm(algorithm)
	return c.parseInfo(info)
}

// parseInfo reads
//
//	AttributeCertificateInfo ::= SEQUENCE {
//	  version                 INTEGER (1),  -- v2
//	  holder                  Holder,
//	  issuer                  [0] SEQUENCE { issuerName GeneralNames },  -- v2Form
//	  signature               AlgorithmIdentifier,
//	  serialNumber            INTEGER,
//	  attrCertValidityPeriod  SEQUENCE { notBeforeTime GeneralizedTime, notAfterTime GeneralizedTime },
//	  attributes              SEQUENCE OF Attribute,
//	  extensions              Extensions OPTIONAL }
//
// The profile has no issuerUniqueID.
func (c *Certificate) parseInfo(s cryptobyte.String) error {
	var holder, issuer, attributes, extensions cryptobyte.String
	var version int64
	if !s.ReadASN1(&s, asn1.SEQUENCE) || !s.ReadASN1Integer(&version) {
		return malformed("no version")
	}
	if version != 1 {
		return malformed("version number %d is not 1, which means v2", version)
	}
	// The holder is read last: whoever shows what is no certificate at all should not be told that he is not its holder.
	if !s.ReadASN1(&holder, asn1.SEQUENCE) {
		return malformed("no holder")
	}
	if !s.ReadASN1(&issuer, explicit(0)) {
		return malformed("the issuer is not in v2Form")
	}
	name, ok := readDirectoryName(&issuer)
	if !ok || !issuer.Empty() {
		return malformed("the issuer is not one non-empty directoryName and nothing else")
	}
	c.Issuer = name
	algorithm, _, _, ok := readAlgorithm(&s)
	if !ok || !bytes.Equal(algorithm, c.RawAlgorithm) {
		return malformed("signature and signatureAlgorithm are not equal")
	}
	if c.SerialNumber, ok = readSerial(&s); !ok || c.SerialNumber.Sign() <= 0 {
		return malformed("the serial number is not a positive integer of at most %d octets", maxSerialSize)
	}
	if err := c.parseValidity(&s); err != nil {
		return err
	}
	if !s.ReadASN1(&attributes, asn1.SEQUENCE) {
		return malformed("no attributes")
	}
	if err := c.parseAttributes(attributes); err != nil {
		return err
	}
	var hasExtensions bool
	if !s.ReadOptionalASN1(&extensions, &hasExtensions, asn1.SEQUENCE) || !s.Empty() {
		return malformed("something else than extensions follows the attributes")
	}
	if hasExtensions {
		if err := c.parseExtensions(extensions); err != nil {
			return err
		}
	}
	return c.Holder.parse(holder)
}

func (c *Certificate) parseValidity(s *cryptobyte.String) error {
	var period cryptobyte.String
	if !s.ReadASN1(&period, asn1.SEQUENCE) {
		return malformed("no validity")
	}
	var ok1, ok2 bool
	c.NotBefore, ok1 = readTime(&period)
	c.NotAfter, ok2 = readTime(&period)
	if !ok1 || !ok2 || !period.Empty() {
		return malformed("the validity is not two times like 20060102150405Z")
	}
	if c.NotAfter.Before(c.NotBefore) {
		return malformed("the validity ends before it begins")
	}
	return nil
}

func (c *Certificate) parseAttributes(s cryptobyte.String) error {
	seen := make(map[string]bool, 2)
	for !s.Empty() {
		if len(seen) == maxAttributes {
			return refuse(TooMany, "more than %d attributes", maxAttributes)
		}
		var one, set cryptobyte.String
		if !s.ReadASN1(&one, asn1.SEQUENCE) {
			return malformed("an attribute is not a sequence")
		}
		oid, ok := readOID(&one)
		if !ok || !one.ReadASN1(&set, asn1.SET) || !one.Empty() || set.Empty() {
			return malformed("an attribute is not a type with a set of values")
		}
		if seen[oid] {
			return malformed("an attribute type stands there twice")
		}
		seen[oid] = true
		var a Attribute
		_ = a.Type.UnmarshalBinary([]byte(oid)) // readOID has done it before
		for !set.Empty() {
			var value cryptobyte.String
			var tag asn1.Tag
			if !set.ReadAnyASN1Element(&value, &tag) {
				return malformed("an attribute's value is not DER")
			}
			if n := len(a.Values); n > 0 && bytes.Compare(a.Values[n-1], value) > 0 {
				return malformed("an attribute's values are not in the order of DER")
			}
			a.Values = append(a.Values, value)
		}
		c.Attributes = append(c.Attributes, a)
		if oid == oidDelegation {
			if err := c.parseDelegations(a.Values); err != nil {
				return err
			}
		}
	}
	if len(c.Attributes) == 0 {
		return malformed("no attribute")
	}
	return nil
}

func (c *Certificate) parseDelegations(values [][]byte) error {
	domains := 0
	for _, value := range values {
		var d Delegation
		if err := d.parse(value); err != nil {
			return err
		}
		if domains += len(d.Domains); domains > MaxDomains {
			return refuse(TooMany, "more than %d domains", MaxDomains)
		}
		c.Delegations = append(c.Delegations, d)
	}
	return nil
}
