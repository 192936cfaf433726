package attrcert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

const (
	// MaxSkew is the largest skew of a [Verifier].
	MaxSkew = 300 * time.Second
	// MaxIntermediates is how many certificates between the owner's and a trust anchor may be shown.
	MaxIntermediates = 8

	maxChains = 1 << 16 // remembered
)

// A Claim is what one end of a connection asserts: that it may speak for a domain.
type Claim struct {
	Certificate *Certificate
	Domain      string // in lower case and A-labels
	// Rights that are needed. Zero means SendAs and ReceiveFor. Subdomains is not asked for: it widens the others.
	Rights Rights
	// Holder is the certificate by which the peer has proved itself in TLS. Its own chain is a matter of TLS.
	Holder *x509.Certificate
	// Owner is the certificate of the domain's owner, who issued the attribute certificate.
	Owner *x509.Certificate
	// Intermediates lead from Owner to a trust anchor, in any order.
	Intermediates []*x509.Certificate
}

// A Verdict says for how long a claim holds, and what it cost to find out.
type Verdict struct {
	// Until is the last moment of the attribute certificate or of the owner's chain, whichever ends first. Skew is not added.
	Until time.Time
	// StatusUntil is when the revocation list that was looked at is followed by another, at the latest: whoever wants to learn of
	// revocations verifies again then. It is zero for certificates that cannot be revoked.
	StatusUntil time.Time
	// Signatures is the number of signatures checked by this call: of the attribute certificate, of the chain and of a revocation
	// list, as far as they were not remembered. It is exact unless certificates with equal subjects and different keys are among trust
	// anchors or intermediates, or the chain is refused: checks on ways that lead nowhere are not counted.
	Signatures int
}

// A Verifier decides whom to believe. Its fields must not be changed once it is in use; it may then be used concurrently, and must not
// be copied.
type Verifier struct {
	// Roots are the trust anchors of owners. Nil means none, not those of the system.
	Roots *x509.CertPool
	// Now returns the time. Nil means [time.Now].
	Now func() time.Time
	// Skew is how far the clocks of owner and verifier may be apart, 0 to MaxSkew. It widens the validity of attribute certificates
	// and lists, not that of chains.
	Skew time.Duration
	// Self are the domain names of this verifier, for certificates that are meant for some verifiers only.
	Self []string
	// WWWFallback also takes an owner's certificate that names "www." and the domain, as web servers have them.
	WWWFallback bool
	// Revocation answers for certificates that can be revoked. Nil means that only those are accepted that cannot be.
	Revocation Revocation

	chains memo[[sha256.Size]byte, chain]
}

// Revocation knows who is revoked. [CRLCache] is one.
type Revocation interface {
	// Status tells whether an attribute certificate is revoked. It may block, until ctx ends, and is called concurrently. An error
	// means that it is not known, which the verifier takes for a refusal with the reason [Policy]; Status.Signatures counts even so.
	Status(ctx context.Context, q Query) (Status, error)
}

// A Query asks whether an attribute certificate is revoked.
type Query struct {
	URL    string // of a list, HTTP or HTTPS
	Serial *big.Int
	Owner  *x509.Certificate // issuer of certificate and list
	Now    time.Time
	Skew   time.Duration
}

// Status is the answer to a [Query].
type Status struct {
	Revoked    bool
	Until      time.Time // when to ask again
	Signatures int       // that were checked to find out
}

// Verify decides on a claim. The cheap checks come first:
//
//  1. the domain and the rights are in the certificate,
//  2. the time is within its validity, both ends included,
//  3. the peer is the holder,
//  4. the owner's certificate is the issuer's and may issue,
//  5. it names the domain,
//  6. its key made the signature,
//  7. a chain leads from it to a trust anchor, for any purpose,
//  8. the certificate is not revoked,
//  9. it is meant for this verifier.
//
// Whether the owner's own certificate is revoked is not asked. What is refused is refused with an [*Error]; its verdict has the number
// of signatures only. Other errors are faults of the caller, or the end of ctx, which is waited for only if revocation blocks or another
// call checks the same chain.
func (v *Verifier) Verify(ctx context.Context, c Claim) (Verdict, error) {
	if err := v.checkCall(c); err != nil {
		return Verdict{}, fmt.Errorf("attrcert: verify: %w", err)
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	var verdict Verdict
	err := v.verify(ctx, c, now(), &verdict)
	if err == nil {
		return verdict, nil
	}
	if refused := (*Error)(nil); !errors.As(err, &refused) {
		err = fmt.Errorf("attrcert: verify: %w", err)
	}
	return Verdict{Signatures: verdict.Signatures}, err
}

func (v *Verifier) checkCall(c Claim) error {
	if v.Skew < 0 || v.Skew > MaxSkew {
		return fmt.Errorf("a skew of %v is not within 0 to %v", v.Skew, MaxSkew)
	}
	if c.Certificate == nil {
		return errors.New("no attribute certificate")
	}
	return nil
}

func (v *Verifier) verify(ctx context.Context, c Claim, now time.Time, verdict *Verdict) error {
	ac := c.Certificate
	if len(c.Intermediates) > MaxIntermediates {
		return refuse(TooMany, "%d intermediate certificates, more than %d", len(c.Intermediates), MaxIntermediates)
	}
	if err := checkDelegation(c); err != nil {
		return err
	}
	if now.Add(v.Skew).Before(ac.NotBefore) {
		return refuse(NotYetValid, "valid from %v, and it is %v", ac.NotBefore, now)
	}
	if now.Add(-v.Skew).After(ac.NotAfter) {
		return refuse(Expired, "valid until %v, and it is %v", ac.NotAfter, now)
	}
	if c.Holder == nil || !ac.Holder.Matches(c.Holder) {
		return refuse(HolderMismatch, "the peer is not the holder")
	}
	if err := checkOwner(ac, c.Owner); err != nil {
		return err
	}
	if err := v.checkNames(c.Owner, c.Domain); err != nil {
		return err
	}
	if err := checkSignature(ac, c.Owner, &verdict.Signatures); err != nil {
		return err
	}
	chain, err := v.checkChain(ctx, c, now, &verdict.Signatures)
	if err != nil {
		return err
	}
	verdict.Until = ac.NotAfter
	if chain.notAfter.Before(verdict.Until) {
		verdict.Until = chain.notAfter
	}
	if err := v.checkRevocation(ctx, c, now, verdict); err != nil {
		return err
	}
	return v.checkTargets(ac)
}

func checkDelegation(c Claim) error {
	if len(c.Certificate.Delegations) == 0 {
		return refuse(AttributeMissing, "no delegation")
	}
	if err := checkDomain(c.Domain); err != nil {
		return refuse(AttributeMissing, "no delegation can list %q: %v", c.Domain, err)
	}
	want := c.Rights &^ Subdomains
	if want == 0 {
		want = bothDirections
	}
	if got := c.Certificate.Rights(c.Domain); got&want != want {
		return refuse(AttributeMissing, "rights for %s: %v, want %v", c.Domain, got, want)
	}
	return nil
}

// checkOwner decides whether the certificate shown as the owner's is that of the issuer, and may issue (RFC 5755 §4.5).
func checkOwner(ac *Certificate, owner *x509.Certificate) error {
	if owner == nil {
		return refuse(UntrustedIssuer, "the owner's certificate was not shown")
	}
	if !bytes.Equal(ac.Issuer, owner.RawSubject) {
		return refuse(UntrustedIssuer, "the certificate of %q is not that of the issuer", owner.Subject)
	}
	if len(ac.AuthorityKeyID) > 0 && len(owner.SubjectKeyId) > 0 && !bytes.Equal(ac.AuthorityKeyID, owner.SubjectKeyId) {
		return refuse(UntrustedIssuer, "the issuer has used another key than that of the certificate of %q", owner.Subject)
	}
	if err := checkIssues(owner); err != nil {
		return refuse(UntrustedIssuer, "%v", err)
	}
	return nil
}

func (v *Verifier) checkNames(owner *x509.Certificate, domain string) error {
	err := owner.VerifyHostname(domain)
	if err != nil && v.WWWFallback {
		err = owner.VerifyHostname("www." + domain)
	}
	if err != nil {
		return &Error{Reason: NameMismatch, Detail: "the owner's certificate does not name " + domain, Err: err}
	}
	return nil
}

func checkSignature(ac *Certificate, owner *x509.Certificate, signatures *int) error {
	if ac.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		return refuse(BadSignature, "the algorithm is not ECDSA, RSA (PKCS #1 v1.5) or Ed25519 with SHA-2")
	}
	*signatures++
	if err := owner.CheckSignature(ac.SignatureAlgorithm, ac.RawInfo, ac.Signature); err != nil {
		return &Error{Reason: BadSignature, Detail: "the owner's key did not make it", Err: err}
	}
	return nil
}

// A chain says when the certificates from an owner's to a trust anchor are all valid.
type chain struct {
	notBefore, notAfter time.Time
}

// checkChain takes what it remembers of the owner's certificate, whatever the intermediates: those that were shown before have proved
// it. What was refused is not remembered, since other intermediates may prove it.
func (v *Verifier) checkChain(ctx context.Context, c Claim, now time.Time, signatures *int) (chain, error) {
	if v.Roots == nil {
		return chain{}, refuse(UntrustedIssuer, "there are no trust anchors")
	}
	rule := memoRule[chain]{
		budget: maxChains,
		cost:   func(chain) int64 { return 1 },
		usable: func(ch chain) bool { return !now.Before(ch.notBefore) && !now.After(ch.notAfter) },
	}
	return v.chains.get(ctx, sha256.Sum256(c.Owner.Raw), rule, func() (chain, error) {
		intermediates := x509.NewCertPool()
		for _, i := range c.Intermediates {
			intermediates.AddCert(i)
		}
		found, err := c.Owner.Verify(x509.VerifyOptions{
			Roots:         v.Roots,
			Intermediates: intermediates,
			CurrentTime:   now,
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err != nil {
			return chain{}, &Error{Reason: UntrustedIssuer, Detail: "no chain leads to a trust anchor", Err: err}
		}
		*signatures += countSignatures(found)
		return longest(found), nil
	})
}

// countSignatures returns how many signatures it took to find chains. They are found from the owner's certificate upwards, so that what
// two have in common was checked once.
func countSignatures(chains [][]*x509.Certificate) int {
	seen := make(map[string]bool)
	for _, certificates := range chains {
		var path strings.Builder
		for i, cert := range certificates {
			sum := sha256.Sum256(cert.Raw)
			path.Write(sum[:])
			if i > 0 {
				seen[path.String()] = true
			}
		}
	}
	return len(seen)
}

// longest returns the validity of the chain that ends last.
func longest(chains [][]*x509.Certificate) chain {
	var best chain
	for i, certificates := range chains {
		this := chain{certificates[0].NotBefore, certificates[0].NotAfter}
		for _, cert := range certificates[1:] {
			if cert.NotBefore.After(this.notBefore) {
				this.notBefore = cert.NotBefore
			}
			if cert.NotAfter.Before(this.notAfter) {
				this.notAfter = cert.NotAfter
			}
		}
		if i == 0 || this.notAfter.After(best.notAfter) {
			best = this
		}
	}
	return best
}

// checkRevocation asks for the status (RFC 5755 §6). Not to know it is to refuse.
func (v *Verifier) checkRevocation(ctx context.Context, c Claim, now time.Time, verdict *Verdict) error {
	ac := c.Certificate
	switch {
	case ac.NoRevAvail && tooLongUnrevocable(ac.NotBefore, ac.NotAfter):
		return refuse(Policy, "it cannot be revoked and lives for %v, more than %v", ac.NotAfter.Sub(ac.NotBefore), MaxUnrevocable)
	case ac.NoRevAvail:
		return nil
	case !ac.crlPoint && ac.OCSP == "":
		return refuse(Policy, "it does not say how it would be revoked")
	case v.Revocation == nil:
		return refuse(Policy, "only certificates that cannot be revoked are accepted")
	case !fetchable(ac.CRL, "http", "https"):
		return refuse(Policy, "it has no revocation list that can be had by HTTP or HTTPS")
	}
	status, err := v.Revocation.Status(ctx, Query{URL: ac.CRL, Serial: ac.SerialNumber, Owner: c.Owner, Now: now, Skew: v.Skew})
	verdict.Signatures += status.Signatures
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		return &Error{Reason: Policy, Detail: "it is not known whether it is revoked", Err: err}
	}
	if status.Revoked {
		return refuse(Revoked, "serial number %v", ac.SerialNumber)
	}
	verdict.StatusUntil = status.Until
	return nil
}

// checkTargets decides whether the certificate is meant for this verifier (RFC 5755 §4.3.2).
func (v *Verifier) checkTargets(ac *Certificate) error {
	if ac.Targets == nil {
		return nil
	}
	for _, target := range ac.Targets {
		if slices.ContainsFunc(v.Self, func(self string) bool { return strings.EqualFold(self, target) }) {
			return nil
		}
	}
	return refuse(Policy, "it is meant for other verifiers")
}
