package attrcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers as the content octets of their DER. They are compared as such: encoding/asn1 fails on an arc that does not fit
// into an int, and a certificate may carry attributes of types like 2.25.<UUID> beside ours.
const (
	// For examples in documents (RFC 5612): good in a closed network only.
	oidDelegation = "\x2b\x06\x01\x04\x01\x81\xfd\x59\x01\x01" // 1.3.6.1.4.1.32473.1.1

	oidCRLDistributionPoints = "\x55\x1d\x1f"                     // 2.5.29.31
	oidAuthorityKeyID        = "\x55\x1d\x23"                     // 2.5.29.35
	oidTargetInformation     = "\x55\x1d\x37"                     // 2.5.29.55
	oidNoRevAvail            = "\x55\x1d\x38"                     // 2.5.29.56
	oidAuthorityInfoAccess   = "\x2b\x06\x01\x05\x05\x07\x01\x01" // 1.3.6.1.5.5.7.1.1
	oidOCSP                  = "\x2b\x06\x01\x05\x05\x07\x30\x01" // 1.3.6.1.5.5.7.48.1

	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01" // 2.16.840.1.101.3.4.2.1
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"
)

// AlgorithmIdentifiers of signatures as whole elements of DER. Each algorithm has one encoding: RFC 4055 demands the NULL of RSA,
// RFC 5758 and RFC 8410 forbid parameters for the others.
const (
	algECDSASHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	algECDSASHA384 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"
	algECDSASHA512 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04"
	algRSASHA256   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
	algRSASHA384   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00"
	algRSASHA512   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00"
	algEd25519     = "\x30\x05\x06\x03\x2b\x65\x70"
)

// signatureAlgorithm returns the algorithm of an AlgorithmIdentifier, zero for one that is not accepted.
func signatureAlgorithm(der []byte) x509.SignatureAlgorithm {
	switch string(der) {
	case algECDSASHA256:
		return x509.ECDSAWithSHA256
	case algECDSASHA384:
		return x509.ECDSAWithSHA384
	case algECDSASHA512:
		return x509.ECDSAWithSHA512
	case algRSASHA256:
		return x509.SHA256WithRSA
	case algRSASHA384:
		return x509.SHA384WithRSA
	case algRSASHA512:
		return x509.SHA512WithRSA
	case algEd25519:
		return x509.PureEd25519
	}
	return x509.UnknownSignatureAlgorithm
}

// A scheme is how a key of one kind signs here.
type scheme struct {
	algorithm  x509.SignatureAlgorithm
	identifier string // AlgorithmIdentifier
	binding    string // name in an assertion
	hash       crypto.Hash
}

func schemeFor(public crypto.PublicKey) (scheme, error) {
	const minRSABits = 2048
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return scheme{}, fmt.Errorf("the curve %s is not supported, P-256 is", k.Curve.Params().Name)
		}
		return scheme{x509.ECDSAWithSHA256, algECDSASHA256, "ecdsa-sha256", crypto.SHA256}, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return scheme{}, fmt.Errorf("an RSA key of %d bits is too short, it takes %d", k.N.BitLen(), minRSABits)
		}
		return scheme{x509.SHA256WithRSA, algRSASHA256, "rsa-sha256", crypto.SHA256}, nil
	case ed25519.PublicKey:
		return scheme{x509.PureEd25519, algEd25519, "ed25519", 0}, nil
	}
	return scheme{}, fmt.Errorf("a public key of type %T is not supported", public)
}

func (s scheme) sign(key crypto.Signer, message []byte) ([]byte, error) {
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	return key.Sign(rand.Reader, message, s.hash)
}

const (
	tagName       = asn1.Tag(4) // GeneralName: directoryName
	tagDNSName    = asn1.Tag(2)
	tagURI        = asn1.Tag(6)
	maxDepth      = 16
	maxSerialSize = 20 // octets, RFC 5755 §4.2.5
	generalized   = "20060102150405Z"
)

// explicit is the tag of a constructed element in the context of its parent, implicit that of a primitive one.
func explicit(n asn1.Tag) asn1.Tag { return n.ContextSpecific().Constructed() }
func implicit(n asn1.Tag) asn1.Tag { return n.ContextSpecific() }

// wellFormed reports whether s is a series of elements of DER all the way down: lengths in their shortest form, strings in one piece.
// Whoever decodes an element checks more; what nobody decodes is checked here alone.
func wellFormed(s cryptobyte.String, depth int) bool {
	for !s.Empty() {
		var content cryptobyte.String
		var tag asn1.Tag
		if depth == 0 || !s.ReadAnyASN1(&content, &tag) {
			return false
		}
		const classes, constructed = 0xc0, 0x20
		if tag&classes == 0 {
			// Of the universal types only the sequences and sets are constructed: 8 is EXTERNAL, 11 EMBEDDED PDV.
			switch number := tag &^ constructed; number {
			case 8, 11, 16, 17:
				if tag&constructed == 0 {
					return false
				}
			default:
				if tag&constructed != 0 {
					return false
				}
			}
		}
		if tag&constructed != 0 && !wellFormed(content, depth-1) {
			return false
		}
	}
	return true
}

// readOID reads an object identifier and returns its content octets.
func readOID(s *cryptobyte.String) (string, bool) {
	var content cryptobyte.String
	if !s.ReadASN1(&content, asn1.OBJECT_IDENTIFIER) {
		return "", false
	}
	var oid x509.OID
	if oid.UnmarshalBinary(content) != nil {
		return "", false
	}
	return string(content), true
}

func addOID(b *cryptobyte.Builder, oid string) {
	b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
}

// readAlgorithm reads an AlgorithmIdentifier and returns it whole, and its object identifier and parameters.
func readAlgorithm(s *cryptobyte.String) (whole cryptobyte.String, oid string, parameters cryptobyte.String, ok bool) {
	if !s.ReadASN1Element(&whole, asn1.SEQUENCE) {
		return nil, "", nil, false
	}
	inner := whole
	if !inner.ReadASN1(&inner, asn1.SEQUENCE) {
		return nil, "", nil, false
	}
	if oid, ok = readOID(&inner); !ok {
		return nil, "", nil, false
	}
	parameters = inner
	var tag asn1.Tag
	if !inner.Empty() && (!inner.ReadAnyASN1Element(&cryptobyte.String{}, &tag) || !inner.Empty()) {
		return nil, "", nil, false
	}
	return whole, oid, parameters, true
}

// readTime reads a time as RFC 5755 §4.2.6 wants it: GeneralizedTime, UTC, whole seconds.
func readTime(s *cryptobyte.String) (time.Time, bool) {
	var content cryptobyte.String
	if !s.ReadASN1(&content, asn1.GeneralizedTime) {
		return time.Time{}, false
	}
	t, err := time.Parse(generalized, string(content))
	// The comparison finds what [time.Parse] lets pass, as fractions of a second.
	if err != nil || t.Format(generalized) != string(content) {
		return time.Time{}, false
	}
	return t, true
}

func addTime(b *cryptobyte.Builder, t time.Time) {
	b.AddASN1(asn1.GeneralizedTime, func(b *cryptobyte.Builder) { b.AddBytes([]byte(t.UTC().Format(generalized))) })
}

// readSerial reads the serial number of a certificate: of any sign, since the serial numbers of others are only compared.
func readSerial(s *cryptobyte.String) (*big.Int, bool) {
	peek := *s
	var content cryptobyte.String
	if !peek.ReadASN1(&content, asn1.INTEGER) || len(content) > maxSerialSize {
		return nil, false
	}
	n := new(big.Int)
	return n, s.ReadASN1Integer(n)
}

// readDirectoryName reads GeneralNames that consist of one directoryName, and returns the DER of that Name, which is not empty.
func readDirectoryName(s *cryptobyte.String) (cryptobyte.String, bool) {
	var names, explicitName, name, content cryptobyte.String
	if !s.ReadASN1(&names, asn1.SEQUENCE) || !names.ReadASN1(&explicitName, explicit(tagName)) || !names.Empty() ||
		!explicitName.ReadASN1Element(&name, asn1.SEQUENCE) || !explicitName.Empty() {
		return nil, false
	}
	whole := name
	return whole, name.ReadASN1(&content, asn1.SEQUENCE) && !content.Empty()
}

func addDirectoryName(b *cryptobyte.Builder, name []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(tagName), func(b *cryptobyte.Builder) { b.AddBytes(name) })
	})
}

// emptyName reports whether name, the DER of a Name, has no part: the certificate then goes by its alternative names alone.
func emptyName(name []byte) bool { return len(name) <= 2 }

// printable reports whether s is made of visible ASCII, as URIs and domain names are, and of at most limit characters.
func printable(s []byte, limit int) bool {
	for _, c := range s {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= limit
}

// checkDomain refuses what is not a host name in lower case and A-labels (RFC 5890 §2.3.2.1). Wildcards are not.
func checkDomain(name string) error {
	if name == "" || len(name) > 253 {
		return errors.New("a domain name has 1 to 253 characters")
	}
	var last string
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return errors.New("a label of a domain name has 1 to 63 characters")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("a label of a domain name does not begin or end with a hyphen")
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
				return fmt.Errorf("the character %q is not allowed: lower case and A-labels (xn--...) are", r)
			}
		}
		last = label
	}
	// RFC 3696 §2: otherwise it could be taken for an address.
	if strings.Trim(last, "0123456789") == "" {
		return errors.New("the last label of a domain name is not a number")
	}
	return nil
}
