package attrcert_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

const (
	domain   = "a1.example"
	crlURL   = "http://crl.a1.example/ac.crl"
	verifier = "provider-b.example"
)

// noon is when the tests take place.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// rsaKeys are made once, and handed out in turn: making one takes longer than most tests.
var rsaKeys struct {
	sync.Mutex
	keys []*rsa.PrivateKey
	next int
}

func nextRSAKey() (*rsa.PrivateKey, error) {
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	for len(rsaKeys.keys) < 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		rsaKeys.keys = append(rsaKeys.keys, key)
	}
	rsaKeys.next++
	return rsaKeys.keys[rsaKeys.next%2], nil
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa":
		key, err = nextRSAKey()
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// An identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serials struct {
	sync.Mutex
	last int64
}

// certify makes a certificate; change sees the template first.
func (ca *identity) certify(t testing.TB, name string, key crypto.Signer, change func(*x509.Certificate)) *identity {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(public)
	serials.Lock()
	serials.last++
	serial := serials.last
	serials.Unlock()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		SubjectKeyId:          id[:20],
		NotBefore:             noon.Add(-30 * 24 * time.Hour),
		NotAfter:              noon.Add(30 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.DNSNames = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
}

func revoking(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }

// A world has all who take part: the owner of domain, whose certificate is issued below an intermediate one, and the provider.
type world struct {
	root, intermediate, owner, provider *identity
}

func newWorld(t testing.TB, keys string) *world {
	t.Helper()
	root := (*identity)(nil).certify(t, "root", newKey(t, "p256"), authority)
	intermediate := root.certify(t, "intermediate", newKey(t, "p256"), authority)
	return &world{
		root:         root,
		intermediate: intermediate,
		owner:        intermediate.certify(t, domain, newKey(t, keys), revoking),
		provider:     intermediate.certify(t, "provider-a.example", newKey(t, keys), nil),
	}
}

func (w *world) template() attrcert.Template {
	return attrcert.Template{
		Holder:    w.provider.cert,
		NotBefore: noon.Add(-time.Hour),
		NotAfter:  noon.Add(time.Hour),
		Domains:   []string{domain},
	}
}

// issue makes an attribute certificate of the owner; change sees the template first.
func (w *world) issue(t testing.TB, change func(*attrcert.Template)) []byte {
	t.Helper()
	template := w.template()
	if change != nil {
		change(&template)
	}
	der, err := attrcert.Issue(template, w.owner.cert, w.owner.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (w *world) verifier() *attrcert.Verifier {
	roots := x509.NewCertPool()
	roots.AddCert(w.root.cert)
	return &attrcert.Verifier{Roots: roots, Self: []string{verifier}, Now: func() time.Time { return noon }}
}

func parse(t testing.TB, der []byte) *attrcert.Certificate {
	t.Helper()
	ac, err := attrcert.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return ac
}

func (w *world) claim(t testing.TB, der []byte) attrcert.Claim {
	t.Helper()
	return w.show(parse(t, der))
}

func (w *world) show(ac *attrcert.Certificate) attrcert.Claim {
	return attrcert.Claim{
		Certificate:   ac,
		Domain:        domain,
		Holder:        w.provider.cert,
		Owner:         w.owner.cert,
		Intermediates: []*x509.Certificate{w.intermediate.cert},
	}
}

// judge parses and verifies as the world's verifier does.
func (w *world) judge(t testing.TB, der []byte) error {
	t.Helper()
	ac, err := attrcert.Parse(der)
	if err != nil {
		return err
	}
	_, err = w.verifier().Verify(t.Context(), w.show(ac))
	return err
}

func wantReason(t testing.TB, err error, want attrcert.Reason) {
	t.Helper()
	var refused *attrcert.Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal: %s", err, want)
	}
	if refused.Reason != want {
		t.Fatalf("refused with %v, want %s", err, want)
	}
}

// A shelf has revocation lists by URL.
type shelf map[string][]byte

func (s shelf) fetch(_ context.Context, url string) ([]byte, error) {
	der, ok := s[url]
	if !ok {
		return nil, errors.New("no such list")
	}
	return der, nil
}

// crl makes a list of the owner that is an hour old and lives for another one.
func (w *world) crl(t testing.TB, revoked ...int64) []byte {
	t.Helper()
	template := attrcert.CRLTemplate{ThisUpdate: noon.Add(-time.Hour), NextUpdate: noon.Add(time.Hour)}
	for _, n := range revoked {
		template.Revoked = append(template.Revoked, big.NewInt(n))
	}
	der, err := attrcert.IssueCRL(template, w.owner.cert, w.owner.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
