package attrcert_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// One case for each reason that there is.
func TestReasons(t *testing.T) {
	w := newWorld(t, "p256")
	stranger := newWorld(t, "p256")
	other := w.intermediate.certify(t, "a2.example", w.owner.key, nil)
	asOther := func(c *attrcert.Claim) { c.Certificate, c.Owner = parse(t, w.issueBy(t, other)), other.cert }
	replace := func(change func(*attrcert.Template)) func(*attrcert.Claim) {
		return func(c *attrcert.Claim) { c.Certificate = parse(t, w.issue(t, change)) }
	}
	claims := []struct {
		want   attrcert.Reason
		change func(*attrcert.Claim)
	}{
		{attrcert.TooMany, func(c *attrcert.Claim) { c.Intermediates = slices.Repeat(c.Intermediates, 9) }},
		{attrcert.AttributeMissing, func(c *attrcert.Claim) { c.Domain = "a2.example" }},
		{attrcert.NotYetValid, replace(func(t *attrcert.Template) { t.NotBefore = noon.Add(time.Second) })},
		{attrcert.Expired, replace(func(t *attrcert.Template) { t.NotAfter = noon.Add(-time.Second) })},
		{attrcert.HolderMismatch, func(c *attrcert.Claim) { c.Holder = stranger.provider.cert }},
		{attrcert.UntrustedIssuer, func(c *attrcert.Claim) { c.Intermediates = nil }},
		{attrcert.NameMismatch, asOther},
		{attrcert.BadSignature, func(c *attrcert.Claim) {
			c.Certificate = parse(t, edit(t, c.Certificate.Raw, stranger.owner.key, func(*node) {}))
		}},
		{attrcert.Revoked, func(c *attrcert.Claim) {
			c.Certificate = parse(t, w.issue(t, func(t *attrcert.Template) { t.CRL, t.Serial = crlURL, w.provider.cert.SerialNumber }))
		}},
		{attrcert.Policy, replace(func(t *attrcert.Template) { t.Targets = []string{"provider-c.example"} })},
	}
	seen := map[attrcert.Reason]bool{}
	for _, tt := range claims {
		t.Run(string(tt.want), func(t *testing.T) {
			v := w.verifier()
			list := w.crl(t, w.provider.cert.SerialNumber.Int64())
			v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: list}.fetch}
			c := w.claim(t, w.issue(t, nil))
			if _, err := v.Verify(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			// Another verifier, for what this one has learned of the chain.
			v = w.verifier()
			v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: list}.fetch}
			tt.change(&c)
			verdict, err := v.Verify(t.Context(), c)
			wantReason(t, err, tt.want)
			if !verdict.Until.IsZero() {
				t.Errorf("refused, but until %v", verdict.Until)
			}
		})
		seen[tt.want] = true
	}

	_, err := attrcert.Parse([]byte("no certificate"))
	wantReason(t, err, attrcert.BadEncoding)
	_, err = attrcert.Parse(edit(t, w.issue(t, nil), w.owner.key, func(info *node) {
		info.at(infoExtensions).add(critical(t, uuidOID, null()))
	}))
	wantReason(t, err, attrcert.UnknownCritical)
	wantReason(t, attrcert.Binding{}.Verify(w.provider.cert, "ed25519", nil), attrcert.BindingFailed)
	for _, r := range []attrcert.Reason{attrcert.BadEncoding, attrcert.UnknownCritical, attrcert.BindingFailed} {
		seen[r] = true
	}
	for _, r := range attrcert.Reasons() {
		if !seen[r] {
			t.Errorf("no case for %s", r)
		}
	}
	if len(seen) != len(attrcert.Reasons()) {
		t.Errorf("%d reasons seen, %d listed", len(seen), len(attrcert.Reasons()))
	}
}

// issueBy makes an attribute certificate for domain that another certificate issues.
func (w *world) issueBy(t testing.TB, owner *identity) []byte {
	t.Helper()
	der, err := attrcert.Issue(w.template(), owner.cert, owner.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A claim in which everything is wrong is refused for what is checked first; once that is mended, for what is checked next.
func TestOrder(t *testing.T) {
	w, stranger := newWorld(t, "p256"), newWorld(t, "p256")
	// Of the right name and key, but by an authority that nobody knows.
	unknown := stranger.root.certify(t, domain, w.owner.key, revoking)
	elsewhere := w.intermediate.certify(t, "a2.example", w.owner.key, nil)
	elsewhere.cert.RawSubject = w.owner.cert.RawSubject

	template := w.template()
	template.Targets = []string{"provider-c.example"}
	template.CRL, template.Serial = crlURL, w.provider.cert.SerialNumber
	forge := func(domain string, from time.Time) *attrcert.Certificate {
		forged := template
		forged.Domains, forged.NotBefore, forged.NotAfter = []string{domain}, from, from.Add(time.Hour)
		return w.forge(t, forged)
	}
	revoked := w.crl(t, w.provider.cert.SerialNumber.Int64())
	lists := shelf{}
	v := w.verifier()
	v.Revocation = &attrcert.CRLCache{Fetch: lists.fetch}
	c := attrcert.Claim{
		Certificate:   forge("a2.example", noon.Add(time.Hour)),
		Domain:        domain,
		Holder:        stranger.provider.cert,
		Owner:         stranger.root.cert,
		Intermediates: slices.Repeat([]*x509.Certificate{w.intermediate.cert}, 9),
	}
	steps := []struct {
		want       attrcert.Reason
		signatures int
		mend       func()
	}{
		{attrcert.TooMany, 0, func() { c.Intermediates = c.Intermediates[:1] }},
		{attrcert.AttributeMissing, 0, func() { c.Certificate = forge(domain, noon.Add(time.Hour)) }},
		{attrcert.NotYetValid, 0, func() { c.Certificate = forge(domain, noon.Add(-2*time.Hour)) }},
		{attrcert.Expired, 0, func() { c.Certificate = forge(domain, noon.Add(-time.Minute)) }},
		{attrcert.HolderMismatch, 0, func() { c.Holder = w.provider.cert }},
		{attrcert.UntrustedIssuer, 0, func() { c.Owner = elsewhere.cert }},
		{attrcert.NameMismatch, 0, func() { c.Owner = unknown.cert }},
		{attrcert.BadSignature, 1, func() {
			template.NotBefore, template.NotAfter = noon, noon.Add(time.Hour)
			der, err := attrcert.Issue(template, w.owner.cert, w.owner.key)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificate = parse(t, der)
		}},
		{attrcert.UntrustedIssuer, 1, func() { c.Owner = w.owner.cert }},
		{attrcert.Policy, 3, func() { lists[crlURL] = revoked }},
		{attrcert.Revoked, 2, func() { v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: w.crl(t)}.fetch} }},
		{attrcert.Policy, 2, func() { v.Self = []string{"Provider-C.example"} }},
	}
	for i, step := range steps {
		verdict, err := v.Verify(t.Context(), c)
		wantReason(t, err, step.want)
		if verdict.Signatures != step.signatures {
			t.Errorf("step %d, %s: %d signatures checked, want %d", i, step.want, verdict.Signatures, step.signatures)
		}
		step.mend()
	}
	verdict, err := v.Verify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := attrcert.Verdict{Until: noon.Add(time.Hour), StatusUntil: noon.Add(time.Hour), Signatures: 1}
	if d := cmp.Diff(want, verdict); d != "" {
		t.Error(d)
	}
}

// forge issues by the template in the owner's name, but with a signature that is good for nothing.
func (w *world) forge(t testing.TB, template attrcert.Template) *attrcert.Certificate {
	t.Helper()
	der, err := attrcert.Issue(template, w.owner.cert, w.owner.key)
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	return parse(t, der)
}

func TestClock(t *testing.T) {
	w := newWorld(t, "p256")
	from, to := noon.Add(-time.Hour), noon.Add(time.Hour)
	tests := []struct {
		name string
		now  time.Time
		skew time.Duration
		want attrcert.Reason
	}{
		{"first moment", from, 0, ""},
		{"a second before", from.Add(-time.Second), 0, attrcert.NotYetValid},
		{"last moment", to, 0, ""},
		{"a second after", to.Add(time.Second), 0, attrcert.Expired},
		{"within the skew before", from.Add(-300 * time.Second), 300 * time.Second, ""},
		{"beyond the skew before", from.Add(-301 * time.Second), 300 * time.Second, attrcert.NotYetValid},
		{"within the skew after", to.Add(300 * time.Second), 300 * time.Second, ""},
		{"beyond the skew after", to.Add(301 * time.Second), 300 * time.Second, attrcert.Expired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := w.verifier()
			v.Now = func() time.Time { return tt.now }
			v.Skew = tt.skew
			verdict, err := v.Verify(t.Context(), w.claim(t, w.issue(t, nil)))
			if tt.want != "" {
				wantReason(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !verdict.Until.Equal(to) || !verdict.StatusUntil.IsZero() {
				t.Errorf("got %+v", verdict)
			}
		})
	}
}

func TestFaultsOfTheCaller(t *testing.T) {
	w := newWorld(t, "p256")
	c := w.claim(t, w.issue(t, nil))
	var refused *attrcert.Error
	for _, skew := range []time.Duration{-1, attrcert.MaxSkew + 1} {
		v := w.verifier()
		v.Skew = skew
		if _, err := v.Verify(t.Context(), c); err == nil || errors.As(err, &refused) {
			t.Errorf("skew %v: %v", skew, err)
		}
	}
	if _, err := w.verifier().Verify(t.Context(), attrcert.Claim{Domain: domain}); err == nil || errors.As(err, &refused) {
		t.Errorf("no certificate: %v", err)
	}
}

func TestMissingCertificates(t *testing.T) {
	w := newWorld(t, "p256")
	c := w.claim(t, w.issue(t, nil))
	c.Holder = nil
	_, err := w.verifier().Verify(t.Context(), c)
	wantReason(t, err, attrcert.HolderMismatch)

	c = w.claim(t, w.issue(t, nil))
	c.Owner = nil
	_, err = w.verifier().Verify(t.Context(), c)
	wantReason(t, err, attrcert.UntrustedIssuer)

	// Nor is the system asked, whose trust anchors crypto/x509 takes for want of others.
	v := w.verifier()
	v.Roots = nil
	_, err = v.Verify(t.Context(), w.claim(t, w.issue(t, nil)))
	wantReason(t, err, attrcert.UntrustedIssuer)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		t.Errorf("asked for a chain: %v", err)
	}
}

// A certificate for two domains, of which its issuer owns one.
func TestTwoDomainsOneWrong(t *testing.T) {
	w := newWorld(t, "p256")
	c := w.claim(t, w.issue(t, func(t *attrcert.Template) { t.Domains = []string{domain, "a2.example"} }))
	v := w.verifier()
	if _, err := v.Verify(t.Context(), c); err != nil {
		t.Error(err)
	}
	c.Domain = "a2.example"
	_, err := v.Verify(t.Context(), c)
	wantReason(t, err, attrcert.NameMismatch)
}

func TestRights(t *testing.T) {
	const both = attrcert.SendAs | attrcert.ReceiveFor
	tests := []struct {
		name   string
		given  attrcert.Rights
		domain string
		asked  attrcert.Rights
		want   attrcert.Reason
	}{
		{"both, not said", both, domain, 0, ""},
		{"both", both, domain, both, ""},
		{"one of both", both, domain, attrcert.ReceiveFor, ""},
		{"the other one", attrcert.SendAs, domain, attrcert.ReceiveFor, attrcert.AttributeMissing},
		{"one, not said", attrcert.SendAs, domain, 0, attrcert.AttributeMissing},
		{"subdomains alone", attrcert.Subdomains, domain, attrcert.SendAs, attrcert.AttributeMissing},
		{"a subdomain", both | attrcert.Subdomains, "chat.a1.example", 0, ""},
		{"a subdomain of one", both | attrcert.Subdomains, "x.chat.a1.example", 0, ""},
		{"a subdomain without the right", both, "chat.a1.example", 0, attrcert.AttributeMissing},
		{"one right for a subdomain", attrcert.SendAs | attrcert.Subdomains, "chat.a1.example", attrcert.ReceiveFor, attrcert.AttributeMissing},
		{"a name that ends alike", both | attrcert.Subdomains, "chata1.example", 0, attrcert.AttributeMissing},
		{"the name above", both | attrcert.Subdomains, "example", 0, attrcert.AttributeMissing},
		{"upper case", both, "A1.example", 0, attrcert.AttributeMissing},
		{"empty label", both | attrcert.Subdomains, ".a1.example", 0, attrcert.AttributeMissing},
		{"wildcard", both | attrcert.Subdomains, "*.a1.example", 0, attrcert.AttributeMissing},
	}
	w := newWorld(t, "p256")
	w.owner = w.intermediate.certify(t, domain, w.owner.key, func(c *x509.Certificate) {
		c.DNSNames = append(c.DNSNames, "*.a1.example", "x.chat.a1.example")
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.claim(t, w.issue(t, func(t *attrcert.Template) { t.Rights = tt.given }))
			c.Domain, c.Rights = tt.domain, tt.asked
			_, err := w.verifier().Verify(t.Context(), c)
			if tt.want != "" {
				wantReason(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// Rights for a subdomain do not make an owner of it who is none.
func TestSubdomainNeedsItsName(t *testing.T) {
	w := newWorld(t, "p256")
	c := w.claim(t, w.issue(t, func(t *attrcert.Template) {
		t.Rights = attrcert.SendAs | attrcert.ReceiveFor | attrcert.Subdomains
	}))
	c.Domain = "chat." + domain
	_, err := w.verifier().Verify(t.Context(), c)
	wantReason(t, err, attrcert.NameMismatch)
}

// Rights do not leak from one domain to another, nor from one value of the attribute to another.
func TestRightsOfSeveralValues(t *testing.T) {
	w := newWorld(t, "p256")
	ac := parse(t, edit(t, w.issue(t, nil), w.owner.key, func(info *node) {
		info.children[infoAttributes] = sequence(attribute(t, delegationOID,
			delegation([]byte{5, 0xa0}, dnsName("a1.example")),
			delegation([]byte{6, 0x40}, dnsName("a1.example"), dnsName("a2.example"))))
	}))
	for name, want := range map[string]attrcert.Rights{
		"a1.example":   attrcert.SendAs | attrcert.ReceiveFor | attrcert.Subdomains,
		"x.a1.example": attrcert.SendAs | attrcert.Subdomains,
		"a2.example":   attrcert.ReceiveFor,
		"x.a2.example": 0,
	} {
		if got := ac.Rights(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestHolderForms(t *testing.T) {
	w := newWorld(t, "p256")
	renewed := w.intermediate.certify(t, "provider-a.example", w.provider.key, nil)
	elsewhere := w.root.certify(t, "provider-a.example", w.provider.key,
		func(c *x509.Certificate) { c.SerialNumber = w.provider.cert.SerialNumber })
	for _, tt := range []struct {
		form               attrcert.HolderForm
		renewed, elsewhere bool
	}{
		{attrcert.ByPublicKey, true, true},
		{attrcert.ByCertificate, false, false},
		{attrcert.ByIssuerSerial, false, false},
	} {
		ac := parse(t, w.issue(t, func(t *attrcert.Template) { t.HolderForm = tt.form }))
		for _, holder := range []struct {
			name string
			cert *x509.Certificate
			want bool
		}{
			{"the same", w.provider.cert, true},
			{"renewed", renewed.cert, tt.renewed},
			{"of another authority", elsewhere.cert, tt.elsewhere},
			{"another provider's", w.owner.cert, false},
		} {
			if got := ac.Holder.Matches(holder.cert); got != holder.want {
				t.Errorf("form %d, certificate %s: %v", tt.form, holder.name, got)
			}
		}
	}
}

func TestOwners(t *testing.T) {
	w, stranger := newWorld(t, "p256"), newWorld(t, "p256")
	key := w.owner.key
	certify := func(change func(*x509.Certificate)) *identity { return w.intermediate.certify(t, domain, key, change) }
	tests := []struct {
		name  string
		owner *identity
		www   bool
		want  attrcert.Reason
	}{
		{"issued by the root", w.root.certify(t, domain, key, nil), false, ""},
		{"renewed", certify(nil), false, ""},
		{"without key usage", certify(func(c *x509.Certificate) { c.KeyUsage = 0 }), false, ""},
		{"without key identifier", certify(func(c *x509.Certificate) { c.SubjectKeyId = nil }), false, ""},
		{"for code signing", certify(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}), false, ""},
		{"an authority", certify(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}), false, attrcert.UntrustedIssuer},
		{"not for signatures", certify(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), false, attrcert.UntrustedIssuer},
		{"with another key identifier", certify(func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} }), false, attrcert.UntrustedIssuer},
		{"with another subject", certify(func(c *x509.Certificate) { c.Subject.CommonName = "a1" }), false, attrcert.UntrustedIssuer},
		{"expired", certify(func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) }), false, attrcert.UntrustedIssuer},
		{"not yet valid", certify(func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Second) }), false, attrcert.UntrustedIssuer},
		{"of an unknown authority", stranger.root.certify(t, domain, key, nil), false, attrcert.UntrustedIssuer},
		{"signed by itself", (*identity)(nil).certify(t, domain, key, nil), false, attrcert.UntrustedIssuer},
		{"by a certificate that is no authority's", w.provider.certify(t, domain, key, nil), false, attrcert.UntrustedIssuer},
		{"for another domain", certify(func(c *x509.Certificate) { c.DNSNames = []string{"a2.example"} }), false, attrcert.NameMismatch},
		{"named by its subject alone", certify(func(c *x509.Certificate) { c.DNSNames = nil }), false, attrcert.NameMismatch},
		{"with a wildcard", certify(func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }), false, ""},
		{"of a web server", certify(func(c *x509.Certificate) { c.DNSNames = []string{"www.a1.example"} }), false, attrcert.NameMismatch},
		{"of a web server, which is allowed", certify(func(c *x509.Certificate) { c.DNSNames = []string{"www.a1.example"} }), true, ""},
		{"of another web server", certify(func(c *x509.Certificate) { c.DNSNames = []string{"www.a2.example"} }), true, attrcert.NameMismatch},
	}
	der := w.issue(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := w.verifier()
			v.WWWFallback = tt.www
			c := w.claim(t, der)
			c.Owner = tt.owner.cert
			c.Intermediates = append(c.Intermediates, stranger.intermediate.cert, w.provider.cert)
			_, err := v.Verify(t.Context(), c)
			if tt.want != "" {
				wantReason(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// An owner's key of a kind that Issue does not use, and algorithms that are not accepted.
func TestAlgorithms(t *testing.T) {
	w := newWorld(t, "p256")
	algorithm := func(id *node) func(*node) {
		return func(ac *node) { ac.children[partAlgorithm], ac.children[partInfo].children[infoAlgorithm] = id, id }
	}
	resign := func(key *identity, change func(*node)) []byte {
		ac := tree(t, w.issue(t, nil))
		change(ac)
		ac.sign(t, key.key)
		return ac.der()
	}
	unchanged := func(*node) {}
	p384 := w.intermediate.certify(t, domain, newKey(t, "p384"), func(c *x509.Certificate) { c.SubjectKeyId = w.owner.cert.SubjectKeyId })
	rsa := w.intermediate.certify(t, domain, newKey(t, "rsa"), func(c *x509.Certificate) { c.SubjectKeyId = w.owner.cert.SubjectKeyId })
	tests := []struct {
		name  string
		owner *identity
		der   []byte
		want  attrcert.Reason
		count int
	}{
		{"P-384 with SHA-256", p384, resign(p384, unchanged), "", 3},
		{"RSA", rsa, resign(rsa, algorithm(sequence(oid(t, "1.2.840.113549.1.1.11"), null()))), "", 3},
		{"RSA without NULL", rsa, resign(rsa, algorithm(sequence(oid(t, "1.2.840.113549.1.1.11")))), attrcert.BadSignature, 0},
		{"RSA, and it says ECDSA", rsa, resign(rsa, unchanged), attrcert.BadSignature, 1},
		{"ECDSA with SHA-1", w.owner, resign(w.owner, algorithm(sequence(oid(t, "1.2.840.10045.4.1")))), attrcert.BadSignature, 0},
		{"ECDSA with SHA-384, and it is not", w.owner, resign(w.owner, algorithm(sequence(oid(t, "1.2.840.10045.4.3.3")))), attrcert.BadSignature, 1},
		{"unknown", w.owner, resign(w.owner, algorithm(sequence(oid(t, uuidOID), sequence(integer(1))))), attrcert.BadSignature, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.claim(t, tt.der)
			c.Owner = tt.owner.cert
			verdict, err := w.verifier().Verify(t.Context(), c)
			if tt.want != "" {
				wantReason(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
			if verdict.Signatures != tt.count {
				t.Errorf("%d signatures checked, want %d", verdict.Signatures, tt.count)
			}
		})
	}
}

func TestUntil(t *testing.T) {
	for _, tt := range []struct {
		name                string
		owner, intermediate time.Duration // after noon
		want                time.Duration
	}{
		{"the attribute certificate ends first", 2 * time.Hour, 2 * time.Hour, time.Hour},
		{"the owner's certificate ends first", time.Minute, 2 * time.Hour, time.Minute},
		{"the intermediate certificate ends first", 2 * time.Hour, time.Second, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "p256")
			w.intermediate = w.root.certify(t, "intermediate", w.intermediate.key, func(c *x509.Certificate) {
				authority(c)
				c.NotAfter = noon.Add(tt.intermediate)
			})
			w.owner = w.intermediate.certify(t, domain, w.owner.key, func(c *x509.Certificate) { c.NotAfter = noon.Add(tt.owner) })
			v := w.verifier()
			c := w.claim(t, w.issue(t, nil))
			for range 2 { // the second time from memory
				verdict, err := v.Verify(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if want := noon.Add(tt.want); !verdict.Until.Equal(want) {
					t.Errorf("until %v, want %v", verdict.Until, want)
				}
			}
			// A chain that is remembered ends all the same.
			end := noon.Add(tt.want)
			v.Now = func() time.Time { return end }
			if _, err := v.Verify(t.Context(), c); err != nil {
				t.Errorf("at the last moment: %v", err)
			}
			v.Now = func() time.Time { return end.Add(time.Second) }
			if _, err := v.Verify(t.Context(), c); err == nil {
				t.Error("accepted after the last moment")
			}
		})
	}
}

// A chain that is remembered is not valid before it begins, should the clock be set back.
func TestChainBegins(t *testing.T) {
	w := newWorld(t, "p256")
	begin := noon.Add(-time.Minute)
	w.intermediate = w.root.certify(t, "intermediate", w.intermediate.key, func(c *x509.Certificate) {
		authority(c)
		c.NotBefore = begin
	})
	v := w.verifier()
	now := noon
	v.Now = func() time.Time { return now }
	c := w.claim(t, w.issue(t, nil))
	for _, now = range []time.Time{noon, begin} {
		if _, err := v.Verify(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	now = begin.Add(-time.Second)
	_, err := v.Verify(t.Context(), c)
	wantReason(t, err, attrcert.UntrustedIssuer)
}

func TestSignatures(t *testing.T) {
	w := newWorld(t, "p256")
	verify := func(v *attrcert.Verifier, c attrcert.Claim) int {
		t.Helper()
		verdict, err := v.Verify(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return verdict.Signatures
	}
	v := w.verifier()
	c := w.claim(t, w.issue(t, nil))
	if got := verify(v, c); got != 3 {
		t.Errorf("owner and intermediate: %d, want 3", got)
	}
	c = w.claim(t, w.issue(t, nil))
	c.Intermediates = nil
	if got := verify(v, c); got != 1 {
		t.Errorf("a chain that is remembered: %d, want 1", got)
	}
	w.owner = w.root.certify(t, domain, w.owner.key, nil)
	if got := verify(v, w.claim(t, w.issue(t, nil))); got != 2 {
		t.Errorf("owner below the root: %d, want 2", got)
	}
	if got := verify(v, w.claim(t, w.issue(t, nil))); got != 1 {
		t.Errorf("the same again: %d, want 1", got)
	}

	// Two ways from the intermediate one upwards: what is common to both is checked once.
	w = newWorld(t, "p256")
	second := (*identity)(nil).certify(t, "second root", newKey(t, "p256"), authority)
	crossed := second.certify(t, "intermediate", w.intermediate.key, authority)
	v = w.verifier()
	v.Roots.AddCert(second.cert)
	c = w.claim(t, w.issue(t, nil))
	c.Intermediates = append(c.Intermediates, crossed.cert)
	if got := verify(v, c); got != 5 {
		t.Errorf("two ways: %d, want 5", got)
	}
}

// What is refused is tried again, with what is shown then.
func TestRefusedChainIsNotRemembered(t *testing.T) {
	w := newWorld(t, "p256")
	v := w.verifier()
	c := w.claim(t, w.issue(t, nil))
	good := c.Intermediates
	c.Intermediates = nil
	_, err := v.Verify(t.Context(), c)
	wantReason(t, err, attrcert.UntrustedIssuer)
	c.Intermediates = good
	if _, err := v.Verify(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// However goroutines are scheduled, each chain is checked once, and the counts are exact.
func TestConcurrently(t *testing.T) {
	const each, owners = 20, 5
	w := newWorld(t, "p256")
	v := w.verifier()
	lists := shelf{}
	var claims []attrcert.Claim
	for i := range owners {
		name := fmt.Sprintf("b%d.example", i)
		owner := w.intermediate.certify(t, name, newKey(t, "p256"), revoking)
		template := w.template()
		template.Domains, template.CRL = []string{name}, "http://"+name+"/crl"
		der, err := attrcert.Issue(template, owner.cert, owner.key)
		if err != nil {
			t.Fatal(err)
		}
		list, err := attrcert.IssueCRL(attrcert.CRLTemplate{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}, owner.cert, owner.key)
		if err != nil {
			t.Fatal(err)
		}
		lists[template.CRL] = list
		c := w.claim(t, der)
		c.Domain, c.Owner = name, owner.cert
		claims = append(claims, c)
	}
	cache := &attrcert.CRLCache{Fetch: lists.fetch}
	v.Revocation = cache
	var total atomic.Int64
	var wg sync.WaitGroup
	for range each {
		for _, c := range claims {
			wg.Go(func() {
				verdict, err := v.Verify(t.Context(), c)
				if err != nil {
					t.Error(err)
				}
				total.Add(int64(verdict.Signatures))
			})
		}
	}
	wg.Wait()
	if got, want := total.Load(), int64(owners*(each+2+1)); got != want {
		t.Errorf("%d signatures checked, want %d", got, want)
	}
	if got, want := cache.Counts(), (attrcert.CRLCounts{Fetches: owners, Signatures: owners}); got != want {
		t.Errorf("lists: %+v, want %+v", got, want)
	}
}

func TestTargets(t *testing.T) {
	w := newWorld(t, "p256")
	tests := []struct {
		name    string
		self    []string
		targets []string
		accept  bool
	}{
		{"for all", nil, nil, true},
		{"one of two", []string{verifier}, []string{"provider-c.example", verifier}, true},
		{"by another of its names", []string{"b", verifier}, []string{verifier}, true},
		{"in upper case", []string{"PROVIDER-B.example"}, []string{verifier}, true},
		{"another", []string{verifier}, []string{"provider-c.example"}, false},
		{"a name below", []string{"x." + verifier}, []string{verifier}, false},
		{"a verifier without a name", nil, []string{verifier}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := w.verifier()
			v.Self = tt.self
			_, err := v.Verify(t.Context(), w.claim(t, w.issue(t, func(t *attrcert.Template) { t.Targets = tt.targets })))
			if !tt.accept {
				wantReason(t, err, attrcert.Policy)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// Certificates whose status cannot be learned are refused.
func TestRevocationPolicy(t *testing.T) {
	w := newWorld(t, "p256")
	v := w.verifier()
	_, err := v.Verify(t.Context(), w.claim(t, w.issue(t, func(t *attrcert.Template) { t.CRL = crlURL })))
	wantReason(t, err, attrcert.Policy) // nobody to ask

	v.Revocation = &attrcert.CRLCache{Fetch: shelf{}.fetch}
	_, err = v.Verify(t.Context(), w.claim(t, w.issue(t, func(t *attrcert.Template) { t.CRL = crlURL })))
	wantReason(t, err, attrcert.Policy) // unreachable
	_, err = v.Verify(t.Context(), w.claim(t, w.issue(t, func(t *attrcert.Template) { t.OCSP = "http://ocsp.a1.example" })))
	wantReason(t, err, attrcert.Policy)

	neither := edit(t, w.issue(t, nil), w.owner.key, func(info *node) { info.at(infoExtensions).children = info.at(infoExtensions).children[:1] })
	_, err = v.Verify(t.Context(), w.claim(t, neither))
	wantReason(t, err, attrcert.Policy)

	long := edit(t, w.issue(t, nil), w.owner.key, func(info *node) { info.at(infoValidity, 1).content = []byte("20261123110001Z") })
	_, err = v.Verify(t.Context(), w.claim(t, long))
	wantReason(t, err, attrcert.Policy)
}

// The end of the context is no verdict.
func TestContext(t *testing.T) {
	w := newWorld(t, "p256")
	v := w.verifier()
	ctx, cancel := context.WithCancel(t.Context())
	v.Revocation = &attrcert.CRLCache{Fetch: func(ctx context.Context, _ string) ([]byte, error) {
		cancel()
		return nil, ctx.Err()
	}}
	_, err := v.Verify(ctx, w.claim(t, w.issue(t, func(t *attrcert.Template) { t.CRL = crlURL })))
	var refused *attrcert.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &refused) || !strings.HasPrefix(err.Error(), "attrcert: verify: ") {
		t.Errorf("got %v", err)
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	err := error(&attrcert.Error{Reason: attrcert.Policy, Detail: "detail", Err: cause})
	if got := err.Error(); got != "attrcert: policy: detail: cause" {
		t.Error(got)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not found")
	}
	err = &attrcert.Error{Reason: attrcert.Policy, Detail: "detail"}
	if got := err.Error(); got != "attrcert: policy: detail" {
		t.Error(got)
	}
	var kind interface{ Kind() string }
	if !errors.As(err, &kind) || kind.Kind() != "proof.policy" {
		t.Error("no kind")
	}
}
