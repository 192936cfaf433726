package s2s

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// srvServer is what the SRVName of a server begins with (RFC 4985 §2, RFC 6120 §13.7.1.2.1).
const srvServer = "_xmpp-server."

// Identities are the domains that a certificate names as an XMPP server, put in order so that certificates with
// thousands of names are asked often and cheaply. They do not change; any number of goroutines may use them.
type Identities struct {
	names     map[string]struct{} // in lower case, those of wildcards without "*."
	wildcards map[string]struct{}
}

// NewIdentities reads the names of a certificate. They are those of RFC 6120 §13.7.1.2.1: dNSName, SRVName for the
// service _xmpp-server, and xmppAddr as in old certificates. The common name is none of them. An extension that cannot
// be read is an error, names of other kinds are passed over.
func NewIdentities(cert *x509.Certificate) (*Identities, error) {
	ids := &Identities{names: make(map[string]struct{}), wildcards: make(map[string]struct{})}
	for _, name := range cert.DNSNames {
		ids.add(name)
	}
	other, err := serviceNames(cert)
	if err != nil {
		return nil, err
	}
	for _, name := range other.srv {
		if sameFold(name[:min(len(name), len(srvServer))], srvServer) {
			ids.add(name[len(srvServer):])
		}
	}
	for _, name := range other.xmpp {
		if !strings.HasPrefix(name, "*") { // wildcards are for domain names only
			ids.add(name)
		}
	}
	return ids, nil
}

// add takes a name in, a wildcard only as the whole left-most label; that goes for SRVName as for dNSName (RFC 9525 §6.3).
func (ids *Identities) add(name string) {
	name = canonicalDomain(name)
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		if plainDomain(parent) {
			ids.wildcards[parent] = struct{}{}
		}
	} else if plainDomain(name) {
		ids.names[name] = struct{}{}
	}
}

// Len returns the number of different names, wildcards included.
func (ids *Identities) Len() int { return len(ids.names) + len(ids.wildcards) }

// Covers reports whether the certificate may stand for a domain, given in A-labels; case does not matter. A wildcard
// stands for exactly one label. A domain that is an IP address is covered by nothing: XMPP certificates name domains.
func (ids *Identities) Covers(domain string) bool {
	domain = canonicalDomain(domain)
	if !plainDomain(domain) {
		return false
	}
	if _, ok := ids.names[domain]; ok {
		return true
	}
	_, parent, ok := strings.Cut(domain, ".")
	if ok {
		_, ok = ids.wildcards[parent]
	}
	return ok
}

// Covers reports whether a certificate may stand for a domain, by the rules of [NewIdentities] and [Identities.Covers].
// It goes through all names of the certificate each time; where one with many names is asked about many domains, use
// [Identities]. A certificate whose names cannot be read covers nothing.
func Covers(cert *x509.Certificate, domain string) bool {
	domain = canonicalDomain(domain)
	if !plainDomain(domain) {
		return false
	}
	_, parent, _ := strings.Cut(domain, ".")
	other, err := serviceNames(cert)
	if err != nil {
		return false
	}
	for _, name := range cert.DNSNames {
		if nameCovers(name, domain, parent) {
			return true
		}
	}
	for _, name := range other.srv {
		if sameFold(name[:min(len(name), len(srvServer))], srvServer) && nameCovers(name[len(srvServer):], domain, parent) {
			return true
		}
	}
	for _, name := range other.xmpp {
		if nameCovers(name, domain, "") {
			return true
		}
	}
	return false
}

// nameCovers reports whether a name stands for a domain in canonical form, of which the parent is what follows its first
// label. With no parent a wildcard stands for nothing.
func nameCovers(name, domain, parent string) bool {
	name = strings.TrimSuffix(name, ".")
	if parent != "" && strings.HasPrefix(name, "*.") {
		return sameFold(name[2:], parent)
	}
	return sameFold(name, domain)
}

// sameFold compares without regard to case. That the lengths are equal keeps characters beyond ASCII out, of which some
// fold into ASCII (U+212A into k).
func sameFold(name, ascii string) bool {
	return len(name) == len(ascii) && strings.EqualFold(name, ascii)
}

// canonicalDomain brings names that mean the same into one form. Characters beyond ASCII stay as they are, for the reason
// that sameFold gives.
func canonicalDomain(name string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, strings.TrimSuffix(name, "."))
}

// plainDomain reports whether a name in canonical form is a domain name in A-labels without any wildcard. One whose last
// label is a number is none: it is an IPv4 address, or part of one.
func plainDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

// otherNames are the names of an alternative name extension that crypto/x509 passes over.
type otherNames struct{ srv, xmpp []string }

// serviceNames reads the SRVName and xmppAddr entries of a certificate.
func serviceNames(cert *x509.Certificate) (otherNames, error) {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(subjectAltName()) {
			names, err := parseOtherNames(ext.Value)
			if err != nil {
				return names, fmt.Errorf("s2s: certificate of %s: subjectAltName: %w", cert.Subject, err)
			}
			return names, nil
		}
	}
	return otherNames{}, nil
}

func subjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// parseOtherNames reads GeneralNames (RFC 5280 §4.2.1.6) and returns the entries of type otherName whose kind is SRVName
// (RFC 4985 §2) or xmppAddr (RFC 6120 §13.7.1.4). A malformed entry of these kinds is an error, any other is passed over.
// The string types of the two, IA5String and UTF8String, are taken for each other: deployed certificates mix them up.
func parseOtherNames(der []byte) (otherNames, error) {
	var (
		out     otherNames
		names   cryptobyte.String
		input   = cryptobyte.String(der)
		srvName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}
		addr    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
	)
	if !input.ReadASN1(&names, cryptobyteasn1.SEQUENCE) || !input.Empty() {
		return out, errors.New("it is no sequence of names")
	}
	for !names.Empty() {
		var (
			entry cryptobyte.String
			tag   cryptobyteasn1.Tag
			kind  asn1.ObjectIdentifier
		)
		if !names.ReadAnyASN1(&entry, &tag) {
			return out, errors.New("a name is cut short")
		}
		if tag != cryptobyteasn1.Tag(0).ContextSpecific().Constructed() {
			continue
		}
		if !entry.ReadASN1ObjectIdentifier(&kind) {
			// Identifiers with arcs beyond 31 bits are no errors, and not ours.
			continue
		}
		if !kind.Equal(srvName) && !kind.Equal(addr) {
			continue
		}
		text, err := otherNameText(entry)
		switch {
		case err != nil:
			return out, err
		case kind.Equal(srvName):
			out.srv = append(out.srv, text)
		default:
			out.xmpp = append(out.xmpp, text)
		}
	}
	return out, nil
}

// otherNameText reads the value of an otherName that is a string of characters from ASCII; others cannot name a domain
// in A-labels, and come out as "".
func otherNameText(value cryptobyte.String) (string, error) {
	var (
		wrapped, text cryptobyte.String
		tag           cryptobyteasn1.Tag
	)
	if !value.ReadASN1(&wrapped, cryptobyteasn1.Tag(0).ContextSpecific().Constructed()) || !value.Empty() ||
		!wrapped.ReadAnyASN1(&text, &tag) || !wrapped.Empty() {
		return "", errors.New("a name of type SRVName or xmppAddr has no value")
	}
	if tag != cryptobyteasn1.IA5String && tag != cryptobyteasn1.UTF8String {
		return "", fmt.Errorf("a name of type SRVName or xmppAddr is no string (tag %d)", tag)
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return "", nil
		}
	}
	return string(text), nil
}

// VerifyChain checks the chain that a peer has presented, its own certificate first, against trust anchors at a moment:
// signatures, validity, the rules for authorities (RFC 5280 §6). It says nothing of names: see [Covers]. Constraints on
// names bind dNSName only: an authority that may not issue for a domain is not kept from an SRVName of it (RFC 9525 §7.6
// warns of that). Roots of nil mean those of the system.
//
// Extended key usages are not looked at, since RFC 6120 §13.7.1 has no rule for them; with requireClientAuth the leaf and
// all above it have to admit clientAuth, as some servers want it of those who connect.
//
// The error wraps what crypto/x509 says, as [x509.UnknownAuthorityError] or [x509.CertificateInvalidError].
func VerifyChain(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, requireClientAuth bool) error {
	if len(chain) == 0 {
		return errors.New("s2s: the peer has presented no certificate")
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if requireClientAuth {
		opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := processed(chain[0]).Verify(opts); err != nil {
		return fmt.Errorf("s2s: certificate of %s: %w", chain[0].Subject, err)
	}
	return nil
}

// processed returns the certificate without the mark that a critical subjectAltName was not understood, if it is
// understood here: crypto/x509 does not know names of type SRVName and gives up on an extension with no others.
func processed(cert *x509.Certificate) *x509.Certificate {
	for i, id := range cert.UnhandledCriticalExtensions {
		if !id.Equal(subjectAltName()) {
			continue
		}
		if names, err := serviceNames(cert); err != nil || len(names.srv)+len(names.xmpp) == 0 {
			return cert
		}
		c := *cert
		c.UnhandledCriticalExtensions = append(cert.UnhandledCriticalExtensions[:i:i], cert.UnhandledCriticalExtensions[i+1:]...)
		return &c
	}
	return cert
}
