package attrcert

import "fmt"

// A Reason says why a certificate or a proof was refused. Its text is the name of the element that tells the peer.
type Reason string

// The reasons, in the order in which a verifier comes upon them, as far as there is one.
const (
	// TooMany means more octets, attributes, extensions, domains, targets or certificates than a verifier is ready to look at.
	TooMany Reason = "too-many"
	// BadEncoding means that it is not DER, or not what the profile allows.
	BadEncoding Reason = "bad-encoding"
	// UnknownCritical means that there is a critical extension which this verifier does not know.
	UnknownCritical Reason = "unknown-critical"
	// AttributeMissing means that the delegation is missing, does not cover the domain, or lacks a right.
	AttributeMissing Reason = "attribute-missing"
	// NotYetValid means that the validity of the attribute certificate begins later.
	NotYetValid Reason = "not-yet-valid"
	// Expired means that the validity of the attribute certificate is over.
	Expired Reason = "expired"
	// HolderMismatch means that the peer is not the holder, or that the holder is named in a way that is not supported.
	HolderMismatch Reason = "holder-mismatch"
	// UntrustedIssuer means that the certificate shown as the owner's is not that of the issuer, may not issue, or leads to no trust
	// anchor by certificates that are valid now.
	UntrustedIssuer Reason = "untrusted-issuer"
	// NameMismatch means that the owner's certificate does not name the domain.
	NameMismatch Reason = "name-mismatch"
	// BadSignature means that the owner's key did not sign the attribute certificate, or not by an algorithm that is accepted.
	BadSignature Reason = "bad-signature"
	// Revoked means that the owner has revoked the attribute certificate.
	Revoked Reason = "revoked"
	// Policy means that it may be correct but is not accepted here: it is meant for other verifiers, lives too long without revocation, or
	// it cannot be learned whether it is revoked.
	Policy Reason = "policy"
	// BindingFailed means that the provider's key has not signed the assertion for this connection, role, nonce and list of names.
	BindingFailed Reason = "binding-failed"
)

// Reasons returns all reasons, in the order above.
func Reasons() []Reason {
	return []Reason{
		TooMany, BadEncoding, UnknownCritical, AttributeMissing, NotYetValid, Expired, HolderMismatch, UntrustedIssuer, NameMismatch,
		BadSignature, Revoked, Policy, BindingFailed,
	}
}

// An Error says that what was shown is refused. It does not stand for faults of the caller, which are other errors.
type Error struct {
	Reason Reason // for the peer
	Detail string // what was wrong, for people; it may quote what the peer sent
	Err    error  // cause, may be nil
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("attrcert: %s: %s: %v", e.Reason, e.Detail, e.Err)
	}
	return fmt.Sprintf("attrcert: %s: %s", e.Reason, e.Detail)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting: "proof." and the reason.
func (e *Error) Kind() string { return "proof." + string(e.Reason) }

func refuse(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error {
	return refuse(BadEncoding, format, args...)
}
