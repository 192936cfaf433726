package attrcert

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512 for [crypto.Hash]
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A HolderForm is the way in which an attribute certificate names its holder (RFC 5755 §4.2.2 and §7.3).
type HolderForm uint8

// The forms that are supported. A certificate uses one of them.
const (
	// ByPublicKey is objectDigestInfo with a hash of the holder's public key. It survives a renewal of the holder's certificate, and is
	// the default for this, although RFC 5755 would rather have ByIssuerSerial.
	ByPublicKey HolderForm = iota
	// ByCertificate is objectDigestInfo with a hash of the holder's whole certificate.
	ByCertificate
	// ByIssuerSerial is baseCertificateID: issuer and serial number of the holder's certificate.
	ByIssuerSerial
)

// A Holder says who may use an attribute certificate.
type Holder struct {
	Form HolderForm
	// Hash and Digest are those of ByPublicKey and ByCertificate. SHA-256, SHA-384 and SHA-512 are supported.
	Hash   crypto.Hash
	Digest []byte
	// Issuer and Serial are those of ByIssuerSerial; Issuer is the DER of a Name.
	Issuer []byte
	Serial *big.Int
}

// newHolder names the holder of a certificate, by SHA-256 if by a hash.
func newHolder(form HolderForm, holder *x509.Certificate) (Holder, error) {
	switch form {
	case ByPublicKey:
		sum := sha256.Sum256(holder.RawSubjectPublicKeyInfo)
		return Holder{Form: form, Hash: crypto.SHA256, Digest: sum[:]}, nil
	case ByCertificate:
		sum := sha256.Sum256(holder.Raw)
		return Holder{Form: form, Hash: crypto.SHA256, Digest: sum[:]}, nil
	case ByIssuerSerial:
		if emptyName(holder.RawIssuer) {
			return Holder{}, errors.New("the issuer of the holder's certificate has no name")
		}
		return Holder{Form: form, Issuer: holder.RawIssuer, Serial: holder.SerialNumber}, nil
	}
	return Holder{}, fmt.Errorf("there is no form %d of naming a holder", form)
}

// Matches reports whether a certificate is the holder's. Names match if their encodings are equal, which is stricter than RFC 5280
// §7.1 and what RFC 5280 §4.1.2.4 makes issuers do.
func (h Holder) Matches(c *x509.Certificate) bool {
	switch h.Form {
	case ByPublicKey:
		return h.matchesDigest(c.RawSubjectPublicKeyInfo)
	case ByCertificate:
		return h.matchesDigest(c.Raw)
	case ByIssuerSerial:
		return bytes.Equal(h.Issuer, c.RawIssuer) && h.Serial.Cmp(c.SerialNumber) == 0
	}
	return false
}

func (h Holder) matchesDigest(der []byte) bool {
	d := h.Hash.New()
	d.Write(der)
	return bytes.Equal(d.Sum(nil), h.Digest)
}

// parse reads the content of
//
//	Holder ::= SEQUENCE {
//	  baseCertificateID  [0] IssuerSerial OPTIONAL,
//	  entityName         [1] GeneralNames OPTIONAL,
//	  objectDigestInfo   [2] ObjectDigestInfo OPTIONAL }
func (h *Holder) parse(s cryptobyte.String) error {
	var base, entity, object cryptobyte.String
	var hasBase, hasEntity, hasObject bool
	if !s.ReadOptionalASN1(&base, &hasBase, explicit(0)) || !s.ReadOptionalASN1(&entity, &hasEntity, explicit(1)) ||
		!s.ReadOptionalASN1(&object, &hasObject, explicit(2)) || !s.Empty() {
		return malformed("holder: not a sequence of its three options")
	}
	switch {
	case hasEntity:
		return refuse(HolderMismatch, "a holder by name (entityName) is not accepted")
	case hasBase == hasObject:
		return refuse(HolderMismatch, "the holder is not named in exactly one way")
	case hasBase:
		return h.parseIssuerSerial(base)
	}
	return h.parseDigest(object)
}

func (h *Holder) parseIssuerSerial(s cryptobyte.String) error {
	name, ok := readDirectoryName(&s)
	if !ok {
		return malformed("holder: the issuer is not one non-empty directoryName")
	}
	serial, ok := readSerial(&s)
	if !ok {
		return malformed("holder: the serial number is not an integer of at most %d octets", maxSerialSize)
	}
	if !s.Empty() {
		var issuerUID cryptobyte.String
		if !s.ReadASN1(&issuerUID, asn1.BIT_STRING) || !s.Empty() {
			return malformed("holder: something follows the serial number")
		}
		// RFC 5280 §4.1.2.8 forbids certificates that have one.
		return refuse(HolderMismatch, "an issuerUID is not supported")
	}
	h.Form, h.Issuer, h.Serial = ByIssuerSerial, name, serial
	return nil
}

func (h *Holder) parseDigest(s cryptobyte.String) error {
	const publicKey, publicKeyCert, otherObjectTypes = 0, 1, 2
	var kind int
	if !s.ReadASN1Enum(&kind) {
		return malformed("holder: digestedObjectType is not an enumeration")
	}
	switch kind {
	case publicKey:
		h.Form = ByPublicKey
	case publicKeyCert:
		h.Form = ByCertificate
	case otherObjectTypes:
		return refuse(HolderMismatch, "a digest of other object types is not accepted")
	default:
		return malformed("holder: there is no digestedObjectType %d", kind)
	}
	_, algorithm, parameters, ok := readAlgorithm(&s)
	var digest []byte
	if !ok || !s.ReadASN1BitStringAsBytes(&digest) || !s.Empty() {
		return malformed("holder: not a digest with its algorithm")
	}
	switch algorithm {
	case oidSHA256:
		h.Hash = crypto.SHA256
	case oidSHA384:
		h.Hash = crypto.SHA384
	case oidSHA512:
		h.Hash = crypto.SHA512
	default:
		return refuse(HolderMismatch, "the digest algorithm is not SHA-256, SHA-384 or SHA-512")
	}
	// RFC 5754 §2: written without parameters, read with NULL as well.
	if len(parameters) != 0 && string(parameters) != "\x05\x00" {
		return malformed("holder: the digest algorithm has parameters")
	}
	if len(digest) != h.Hash.Size() {
		return malformed("holder: a digest of %d octets, not %d", len(digest), h.Hash.Size())
	}
	h.Digest = digest
	return nil
}

// marshal writes the content of a holder whose hash, if any, is SHA-256.
func (h *Holder) marshal(b *cryptobyte.Builder) {
	if h.Form == ByIssuerSerial {
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			addDirectoryName(b, h.Issuer)
			b.AddASN1BigInt(h.Serial)
		})
		return
	}
	b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
		// The forms have the numbers of digestedObjectType.
		b.AddASN1Enum(int64(h.Form))
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addOID(b, oidSHA256) })
		b.AddASN1BitString(h.Digest)
	})
}
