package session

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Names of the steps of a login, as in [Step] and [Error]. A login runs through header and features once for each
// stream it opens.
const (
	StepConfig   = "config"   // checking the configuration; never timed
	StepResolve  = "resolve"  // SRV and address records
	StepDial     = "dial"     // TCP
	StepHeader   = "header"   // stream header sent, the server's received (RFC 6120 §4.7)
	StepFeatures = "features" // the rest of the stream features received (RFC 6120 §4.3.2)
	StepStartTLS = "starttls" // <starttls/> sent, <proceed/> received (RFC 6120 §5.4.2)
	StepTLS      = "tls"      // TLS handshake
	StepSASL     = "sasl"     // from <auth/> to <success/> (RFC 6120 §6.4)
	StepBind     = "bind"     // resource binding (RFC 6120 §7)
	StepSM       = "sm"       // stream management enabled or resumed (XEP-0198)
)

var (
	// ErrTooLarge says that the server sent more in one step than a login is willing to hold.
	ErrTooLarge = errors.New("the server sent too much")
	// ErrNoAnswer says that a step was not over within [Config.StepTimeout].
	ErrNoAnswer = errors.New("no answer in time")
	// ErrClosed says that the server closed the stream or the connection in the middle of the login.
	ErrClosed = errors.New("the server closed the connection")
	// ErrNoTLS says that TLS was required and the server did not offer STARTTLS.
	ErrNoTLS = errors.New("the server does not offer STARTTLS")
)

// An Error says in which step a login failed.
type Error struct {
	Step    string // one of the Step constants
	Account string // bare JID as configured
	Err     error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("session: login of %s failed in step %s: %v", e.Account, e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting: "login." and the step.
func (e *Error) Kind() string { return "login." + e.Step }

// An AuthError is the server's refusal of a login (RFC 6120 §6.5).
type AuthError struct {
	Account   string // bare JID
	Mechanism string
	Condition string // defined condition, as "not-authorized"
	Text      string // the server's words, may be empty
}

// Error implements error.
func (e *AuthError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: the server refused %s", e.Condition, e.Account)
	switch e.Condition {
	case "not-authorized":
		b.WriteString(": wrong password, or no such account")
	case "encryption-required":
		b.WriteString(": it wants TLS first")
	case "temporary-auth-failure":
		b.WriteString(": its account database did not answer; try later")
	}
	fmt.Fprintf(&b, " (mechanism %s", e.Mechanism)
	if e.Text != "" {
		fmt.Fprintf(&b, "; the server says %q", e.Text)
	}
	b.WriteByte(')')
	return b.String()
}

// A MechanismError says that client and server have no usable SASL mechanism in common.
type MechanismError struct {
	Wanted  []string // what the client would use on this connection, best first
	Offered []string // what the server lists
	Reason  string   // why some mechanisms could not be used, may be empty
}

// Error implements error.
func (e *MechanismError) Error() string {
	s := fmt.Sprintf("no common SASL mechanism: the server offers %s, the client accepts %s", list(e.Offered), list(e.Wanted))
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// explainTLS adds to a failed handshake what the user has to know to repair it.
func explainTLS(err error, domain string, direct bool) error {
	var (
		verify  *tls.CertificateVerificationError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
	)
	leaf := "?"
	if errors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0 {
		leaf = certificateNames(verify.UnverifiedCertificates[0])
	}
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("the server's certificate is for %s, not for %s: %w", certificateNames(name.Certificate), domain, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		c := invalid.Cert
		return fmt.Errorf("the certificate for %s, asked for as %s, is valid from %s to %s only: %w", certificateNames(c), domain,
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate for %s, asked for as %s, is signed by an authority that is not trusted; name its CA file: %w", leaf, domain, err)
	case errors.As(err, &record) && direct:
		return fmt.Errorf("the server does not speak TLS at once on this port; use STARTTLS or its direct TLS port: %w", err)
	}
	return err
}

func certificateNames(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, c.Subject.String())
	}
	return strings.Join(names, ", ")
}
