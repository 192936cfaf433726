package s2s

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/internal/resolve"
)

// Certificate usages that tie an end entity to a name (RFC 6698 §2.1.1, RFC 7218 §2.1). The two others, which name an
// authority, are not for XMPP (RFC 7712 §5.1).
const (
	PKIXEE = 1 // besides path and name
	DANEEE = 3 // in place of path and name
)

// Selectors (RFC 6698 §2.1.2) say what of a certificate a record speaks of, matching types (§2.1.3) in which form.
const (
	SelectCertificate = 0 // the whole, in DER
	SelectKey         = 1 // the SubjectPublicKeyInfo, in DER

	MatchFull   = 0
	MatchSHA256 = 1
	MatchSHA512 = 2
)

// TLSARecord makes the record that says of a certificate where it may be used.
func TLSARecord(cert *x509.Certificate, usage, selector, matching uint8) (resolve.TLSA, error) {
	t := resolve.TLSA{Usage: usage, Selector: selector, Matching: matching}
	data, ok := associated(t, cert)
	if t.Data = data; !ok || !usable(t) {
		return resolve.TLSA{}, fmt.Errorf("s2s: TLSA record %d %d %d: want usage %d or %d, selector 0 or 1, matching type 0, 1 or 2",
			usage, selector, matching, PKIXEE, DANEEE)
	}
	return t, nil
}

// associated returns what the data of such a record is for a certificate.
func associated(t resolve.TLSA, cert *x509.Certificate) ([]byte, bool) {
	var selected []byte
	switch t.Selector {
	case SelectCertificate:
		selected = cert.Raw
	case SelectKey:
		selected = cert.RawSubjectPublicKeyInfo
	default:
		return nil, false
	}
	switch t.Matching {
	case MatchFull:
		return selected, true
	case MatchSHA256:
		sum := sha256.Sum256(selected)
		return sum[:], true
	case MatchSHA512:
		sum := sha512.Sum512(selected)
		return sum[:], true
	}
	return nil, false
}

// usable reports whether a record can be applied: its parameters are known and its data has the length that goes with
// them (RFC 6698 §4.1). Usages that name an authority count as not usable here.
func usable(t resolve.TLSA) bool {
	if t.Usage != PKIXEE && t.Usage != DANEEE || t.Selector > SelectKey {
		return false
	}
	switch t.Matching {
	case MatchFull:
		return len(t.Data) > 0
	case MatchSHA256:
		return len(t.Data) == sha256.Size
	case MatchSHA512:
		return len(t.Data) == sha512.Size
	}
	return false
}

// matches reports whether a usable record speaks of the certificate, whatever its usage.
func matches(t resolve.TLSA, cert *x509.Certificate) bool {
	data, ok := associated(t, cert)
	return ok && bytes.Equal(data, t.Data)
}

// DANEOptions are what PKIX-EE records need besides the records; DANE-EE records need nothing of it.
type DANEOptions struct {
	// Names are the reference identities: the domain, and the host that a Secure SRV record points to (RFC 7673 §4.1).
	Names []string
	// Roots, Now and RequireClientAuth are those of [VerifyChain].
	Roots             *x509.CertPool
	Now               time.Time
	RequireClientAuth bool
}

// A DANEResult is what TLSA records come to for a certificate.
type DANEResult struct {
	// Usable is the number of records that can be applied. With none the answer is to be treated as if there were no
	// records, and ordinary PKIX decides (RFC 7673 §4.1). With any the certificate has to match.
	Usable int
	// Matched is true where one of them proves the certificate, Record which one.
	Matched bool
	Record  resolve.TLSA
	// Err says why none of the usable ones does.
	Err error
}

// MatchTLSA holds the TLSA records of an answer that is Secure against the chain that a peer has presented, its own
// certificate first.
//
// A DANE-EE record that matches is enough: path, names and validity of the certificate are not looked at, since the
// record vouches for them (RFC 7671 §5.1). A PKIX-EE record that matches needs a valid path and one of the names as
// well (RFC 7671 §5.3). Every usable record counts; the preference among digests of RFC 7671 §9 is not applied.
func MatchTLSA(records []resolve.TLSA, chain []*x509.Certificate, opts DANEOptions) DANEResult {
	var out DANEResult
	apply := slices.DeleteFunc(slices.Clone(records), func(t resolve.TLSA) bool { return !usable(t) })
	out.Usable = len(apply)
	if out.Usable == 0 {
		return out
	}
	if len(chain) == 0 {
		out.Err = errors.New("s2s: TLSA: the peer has presented no certificate")
		return out
	}
	// Records in place of the path come first: they are cheap.
	slices.SortStableFunc(apply, func(a, b resolve.TLSA) int { return int(b.Usage) - int(a.Usage) })
	for _, t := range apply {
		if !matches(t, chain[0]) {
			continue
		}
		if t.Usage == PKIXEE {
			if out.Err = opts.check(chain); out.Err != nil {
				return out // it would be the same for others of this usage
			}
		}
		out.Matched, out.Record = true, t
		return out
	}
	out.Err = fmt.Errorf("s2s: TLSA: none of %d records matches the certificate of %s; publish %x, the SHA-256 of its key, as 3 1 1",
		out.Usable, chain[0].Subject, sha256.Sum256(chain[0].RawSubjectPublicKeyInfo))
	return out
}

// check is ordinary PKIX.
func (opts *DANEOptions) check(chain []*x509.Certificate) error {
	ids, err := NewIdentities(chain[0])
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(opts.Names, ids.Covers) {
		return fmt.Errorf("s2s: TLSA: PKIX-EE: the certificate of %s names none of %q", chain[0].Subject, opts.Names)
	}
	return VerifyChain(chain, opts.Roots, opts.Now, opts.RequireClientAuth)
}
