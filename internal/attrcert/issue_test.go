package attrcert_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

func TestIssueParseVerify(t *testing.T) {
	forms := map[string]attrcert.HolderForm{
		"public-key": attrcert.ByPublicKey, "certificate": attrcert.ByCertificate, "issuer-serial": attrcert.ByIssuerSerial,
	}
	for _, keys := range []string{"p256", "rsa", "ed25519"} {
		w := newWorld(t, keys)
		for name, form := range forms {
			t.Run(keys+"/"+name, func(t *testing.T) {
				der := w.issue(t, func(t *attrcert.Template) {
					t.HolderForm = form
					t.Serial = big.NewInt(1 << 40)
					t.Domains = []string{domain, "xn--bcher-kva.example"}
					t.Rights = attrcert.SendAs | attrcert.ReceiveFor | attrcert.Subdomains
					t.CRL = crlURL
					t.Targets = []string{"provider-c.example", verifier}
				})
				ac := parse(t, der)
				if !bytes.Equal(ac.Raw, der) || !bytes.Equal(ac.Issuer, w.owner.cert.RawSubject) ||
					!bytes.Equal(ac.AuthorityKeyID, w.owner.cert.SubjectKeyId) || ac.SerialNumber.Int64() != 1<<40 ||
					!ac.NotBefore.Equal(noon.Add(-time.Hour)) || !ac.NotAfter.Equal(noon.Add(time.Hour)) {
					t.Errorf("fields: %+v", ac)
				}
				if ac.CRL != crlURL || ac.OCSP != "" || ac.NoRevAvail || len(ac.Attributes) != 1 || len(ac.Extensions) != 3 {
					t.Errorf("extensions: %+v", ac)
				}
				want := []attrcert.Delegation{{Domains: []string{domain, "xn--bcher-kva.example"}, Rights: 7}}
				if d := cmp.Diff(want, ac.Delegations); d != "" {
					t.Error(d)
				}
				if d := cmp.Diff([]string{"provider-c.example", verifier}, ac.Targets); d != "" {
					t.Error(d)
				}
				if ac.Holder.Form != form || !ac.Holder.Matches(w.provider.cert) || ac.Holder.Matches(w.owner.cert) {
					t.Errorf("holder: %+v", ac.Holder)
				}
				v := w.verifier()
				v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: w.crl(t)}.fetch}
				if _, err := v.Verify(t.Context(), w.claim(t, der)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestIssueDefaults(t *testing.T) {
	w := newWorld(t, "p256")
	ac := parse(t, w.issue(t, nil))
	if !ac.NoRevAvail || ac.CRL != "" || ac.OCSP != "" || ac.Targets != nil || len(ac.AuthorityKeyID) == 0 {
		t.Errorf("got %+v", ac)
	}
	if got := ac.Rights(domain); got != attrcert.SendAs|attrcert.ReceiveFor {
		t.Errorf("rights %v", got)
	}
	spki := sha256.Sum256(w.provider.cert.RawSubjectPublicKeyInfo)
	if ac.Holder.Form != attrcert.ByPublicKey || !bytes.Equal(ac.Holder.Digest, spki[:]) {
		t.Errorf("holder %+v", ac.Holder)
	}
	if other := parse(t, w.issue(t, nil)); other.SerialNumber.Cmp(ac.SerialNumber) == 0 || other.SerialNumber.Sign() <= 0 {
		t.Errorf("serial numbers %v and %v", ac.SerialNumber, other.SerialNumber)
	}
}

func TestIssueOCSP(t *testing.T) {
	w := newWorld(t, "p256")
	ac := parse(t, w.issue(t, func(t *attrcert.Template) { t.OCSP = "http://ocsp.a1.example/" }))
	if ac.OCSP != "http://ocsp.a1.example/" || ac.NoRevAvail || ac.CRL != "" {
		t.Errorf("got %+v", ac)
	}
}

func TestIssueWithoutKeyIdentifier(t *testing.T) {
	w := newWorld(t, "p256")
	w.owner = w.intermediate.certify(t, domain, w.owner.key, func(c *x509.Certificate) { c.SubjectKeyId = nil })
	if len(w.owner.cert.SubjectKeyId) > 0 {
		t.Fatal("the certificate has a subject key identifier")
	}
	if _, err := attrcert.Issue(w.template(), w.owner.cert, w.owner.key); err == nil {
		t.Error("issued without being told to leave the identifier out")
	}
	der := w.issue(t, func(t *attrcert.Template) { t.OmitAuthorityKeyID = true })
	if ac := parse(t, der); ac.AuthorityKeyID != nil {
		t.Errorf("identifier %x", ac.AuthorityKeyID)
	}
	if err := w.judge(t, der); err != nil {
		t.Error(err)
	}
}

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t, "p256")
	many := make([]string, attrcert.MaxDomains+1)
	for i := range many {
		many[i] = domain
	}
	long := strings.Repeat("a", 63) + ".example"
	nameless := (*identity)(nil).certify(t, "", w.root.key, func(c *x509.Certificate) { authority(c); c.Subject = pkix.Name{} })
	orphan := nameless.certify(t, "provider-a.example", w.provider.key, nil)
	tests := []struct {
		name   string
		change func(*attrcert.Template)
	}{
		{"holder by an issuer without a name", func(t *attrcert.Template) {
			t.Holder, t.HolderForm = orphan.cert, attrcert.ByIssuerSerial
		}},
		{"no holder", func(t *attrcert.Template) { t.Holder = nil }},
		{"unknown form", func(t *attrcert.Template) { t.HolderForm = 9 }},
		{"serial zero", func(t *attrcert.Template) { t.Serial = new(big.Int) }},
		{"serial negative", func(t *attrcert.Template) { t.Serial = big.NewInt(-1) }},
		{"serial of 21 octets", func(t *attrcert.Template) { t.Serial = new(big.Int).Lsh(big.NewInt(1), 159) }},
		{"no beginning", func(t *attrcert.Template) { t.NotBefore = time.Time{} }},
		{"no end", func(t *attrcert.Template) { t.NotAfter = time.Time{} }},
		{"ends before it begins", func(t *attrcert.Template) { t.NotAfter = t.NotBefore.Add(-time.Second) }},
		{"year 10000", func(t *attrcert.Template) {
			t.NotAfter, t.CRL = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), crlURL
		}},
		{"lives too long unrevocably", func(t *attrcert.Template) { t.NotAfter = t.NotBefore.Add(24*time.Hour + time.Second) }},
		{"no domain", func(t *attrcert.Template) { t.Domains = nil }},
		{"too many domains", func(t *attrcert.Template) { t.Domains = many }},
		{"too large", func(t *attrcert.Template) { t.Domains = slices.Repeat([]string{long}, 250) }},
		{"upper case", func(t *attrcert.Template) { t.Domains = []string{"A1.example"} }},
		{"wildcard", func(t *attrcert.Template) { t.Domains = []string{"*.a1.example"} }},
		{"U-label", func(t *attrcert.Template) { t.Domains = []string{"bücher.example"} }},
		{"empty domain", func(t *attrcert.Template) { t.Domains = []string{""} }},
		{"empty label", func(t *attrcert.Template) { t.Domains = []string{"a1..example"} }},
		{"dot at the end", func(t *attrcert.Template) { t.Domains = []string{"a1.example."} }},
		{"hyphen", func(t *attrcert.Template) { t.Domains = []string{"-a1.example"} }},
		{"long label", func(t *attrcert.Template) { t.Domains = []string{"a" + long} }},
		{"long domain", func(t *attrcert.Template) { t.Domains = []string{strings.Repeat("a.", 126) + "ab"} }},
		{"address", func(t *attrcert.Template) { t.Domains = []string{"192.0.2.1"} }},
		{"target", func(t *attrcert.Template) { t.Targets = []string{"provider b"} }},
		{"too many targets", func(t *attrcert.Template) { t.Targets = many }},
		{"unknown right", func(t *attrcert.Template) { t.Rights = 8 }},
		{"two pointers", func(t *attrcert.Template) { t.CRL, t.OCSP = crlURL, "http://ocsp.a1.example" }},
		{"CRL by FTP", func(t *attrcert.Template) { t.CRL = "ftp://a1.example/crl" }},
		{"CRL without host", func(t *attrcert.Template) { t.CRL = "http:///crl" }},
		{"CRL beyond ASCII", func(t *attrcert.Template) { t.CRL = "http://a1.example/ü" }},
		{"CRL with password", func(t *attrcert.Template) { t.CRL = "http://me:secret@a1.example/crl" }},
		{"CRL too long", func(t *attrcert.Template) { t.CRL = crlURL + strings.Repeat("x", 1024) }},
		{"OCSP by HTTPS", func(t *attrcert.Template) { t.OCSP = "https://ocsp.a1.example" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			template := w.template()
			tt.change(&template)
			if der, err := attrcert.Issue(template, w.owner.cert, w.owner.key); err == nil {
				t.Errorf("issued %x", der)
			}
		})
	}
}

func TestIssueRefusesOwners(t *testing.T) {
	w := newWorld(t, "p256")
	key := newKey(t, "p256")
	certify := func(change func(*x509.Certificate)) *identity { return w.intermediate.certify(t, domain, key, change) }
	tests := []struct {
		name  string
		owner *identity
	}{
		{"no certificate", &identity{nil, key}},
		{"no key", &identity{w.owner.cert, nil}},
		{"another's key", &identity{w.owner.cert, key}},
		{"no subject", certify(func(c *x509.Certificate) { c.Subject = pkix.Name{} })},
		{"authority", certify(authority)},
		{"not for signatures", certify(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })},
		{"P-384", w.intermediate.certify(t, domain, newKey(t, "p384"), nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if der, err := attrcert.Issue(w.template(), tt.owner.cert, tt.owner.key); err == nil {
				t.Errorf("issued %x", der)
			}
			list := attrcert.CRLTemplate{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
			if der, err := attrcert.IssueCRL(list, tt.owner.cert, tt.owner.key); err == nil {
				t.Errorf("issued list %x", der)
			}
		})
	}
}

func TestIssueMaximal(t *testing.T) {
	w := newWorld(t, "p256")
	domains := make([]string, attrcert.MaxDomains)
	for i := range domains {
		domains[i] = strings.Repeat("d", i%40+1) + ".example"
	}
	ac := parse(t, w.issue(t, func(t *attrcert.Template) {
		t.Domains = domains
		t.Serial = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
		t.NotAfter = t.NotBefore.Add(24 * time.Hour)
	}))
	if d := cmp.Diff(domains, ac.Delegations[0].Domains); d != "" {
		t.Error(d)
	}
	if ac.SerialNumber.BitLen() != 159 {
		t.Errorf("serial number %x", ac.SerialNumber)
	}
}

func TestRefHash(t *testing.T) {
	der := newWorld(t, "p256").issue(t, nil)
	if got, want := attrcert.RefHash(der), sha256.Sum256(der); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestRightsString(t *testing.T) {
	for r, want := range map[attrcert.Rights]string{
		0:                   "none",
		attrcert.SendAs:     "sendAs",
		attrcert.ReceiveFor: "receiveFor",
		attrcert.SendAs | attrcert.ReceiveFor | attrcert.Subdomains: "sendAs+receiveFor+subdomains",
	} {
		if got := r.String(); got != want {
			t.Errorf("%d: got %s, want %s", r, got, want)
		}
	}
}
