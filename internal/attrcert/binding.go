package attrcert

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// ExporterLabel is the label under which a binding takes keying material from TLS (RFC 5705 §4).
	ExporterLabel = "EXPERIMENTAL-xmppbench-dac-0"
	// ExporterLength is how many octets of keying material a binding takes.
	ExporterLength = 32
	// NonceLength is the length of a verifier's nonce, in octets.
	NonceLength = 32

	bindingPrefix = "xmppbench-dac-0\x00"
)

// A Role is the end of a connection that makes an assertion. It keeps an assertion from being sent back to where it came from.
type Role byte

// The roles. Their values are what is signed.
const (
	Initiator Role = 'i'
	Responder Role = 'r'
)

// ExporterContext returns the context for [crypto/tls.ConnectionState.ExportKeyingMaterial], with the role of the end that asserts and
// the nonce of the one that verifies. Only TLS 1.3, and 1.2 with extended master secret, have such material.
func ExporterContext(role Role, nonce []byte) []byte {
	return append([]byte{byte(role)}, nonce...)
}

// A Binding ties an assertion to the key of the provider and to the connection on which it is made. TLS has already proved that the
// peer has the key; a binding proves that the assertion comes from there, too, and not from what stands between.
type Binding struct {
	Role     Role     // of the end that asserts
	Exporter []byte   // ExporterLength octets of keying material
	Nonce    []byte   // NonceLength octets, chosen by the end that verifies
	Names    []string // domains asserted, in any order
}

// content returns what is signed:
//
//	"xmppbench-dac-0" 0x00 role exporter nonce SHA-256(names in the order of their octets, each followed by 0x0A)
func (b Binding) content() ([]byte, error) {
	if b.Role != Initiator && b.Role != Responder {
		return nil, fmt.Errorf("there is no role %q", byte(b.Role))
	}
	if len(b.Exporter) != ExporterLength || len(b.Nonce) != NonceLength {
		return nil, fmt.Errorf("%d octets of keying material and %d of nonce, want %d and %d",
			len(b.Exporter), len(b.Nonce), ExporterLength, NonceLength)
	}
	if len(b.Names) == 0 {
		return nil, errors.New("no names")
	}
	names := slices.Sorted(slices.Values(b.Names))
	h := sha256.New()
	for _, name := range names {
		if strings.Contains(name, "\n") {
			return nil, fmt.Errorf("the name %q holds a line feed", name)
		}
		h.Write([]byte(name + "\n"))
	}
	return slices.Concat([]byte(bindingPrefix), []byte{byte(b.Role)}, b.Exporter, b.Nonce, h.Sum(nil)), nil
}

// Sign signs the binding with the provider's key, and returns the name of the algorithm, which follows from the key: ecdsa-sha256 for
// P-256, ed25519, or rsa-sha256 for RSA of 2048 bits and more. The errors are not of type [Error].
func (b Binding) Sign(key crypto.Signer) (alg string, signature []byte, err error) {
	content, err := b.content()
	if err != nil {
		return "", nil, fmt.Errorf("attrcert: sign a binding: %w", err)
	}
	scheme, err := schemeFor(key.Public())
	if err != nil {
		return "", nil, fmt.Errorf("attrcert: sign a binding: %w", err)
	}
	signature, err = scheme.sign(key, content)
	if err != nil {
		return "", nil, fmt.Errorf("attrcert: sign a binding: %w", err)
	}
	return scheme.binding, signature, nil
}

// Verify decides whether the provider has signed the binding. It checks one signature, and none if the algorithm is not the one of the
// provider's key. It returns an [*Error] with the reason [BindingFailed].
func (b Binding) Verify(provider *x509.Certificate, alg string, signature []byte) error {
	content, err := b.content()
	if err != nil {
		return &Error{Reason: BindingFailed, Detail: "there is nothing that could be signed", Err: err}
	}
	scheme, err := schemeFor(provider.PublicKey)
	if err != nil {
		return &Error{Reason: BindingFailed, Detail: "the provider's key", Err: err}
	}
	if alg != scheme.binding {
		return refuse(BindingFailed, "the algorithm %q does not fit the provider's key, %q does", alg, scheme.binding)
	}
	if err := provider.CheckSignature(scheme.algorithm, content, signature); err != nil {
		return &Error{Reason: BindingFailed, Detail: "the provider's key did not sign it", Err: err}
	}
	return nil
}
