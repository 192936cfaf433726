package attrcert_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

func (w *world) query(serial int64) attrcert.Query {
	return attrcert.Query{URL: crlURL, Serial: big.NewInt(serial), Owner: w.owner.cert, Now: noon}
}

func TestCRL(t *testing.T) {
	for _, keys := range []string{"p256", "rsa", "ed25519"} {
		t.Run(keys, func(t *testing.T) {
			w := newWorld(t, keys)
			cache := &attrcert.CRLCache{Fetch: shelf{crlURL: w.crl(t, 7, 256)}.fetch}
			for serial, want := range map[int64]bool{1: false, 7: true, 255: false, 256: true, 0x700: false} {
				status, err := cache.Status(t.Context(), w.query(serial))
				if err != nil {
					t.Fatal(err)
				}
				if status.Revoked != want || !status.Until.Equal(noon.Add(time.Hour)) {
					t.Errorf("%d: %+v", serial, status)
				}
			}
			if got, want := cache.Counts(), (attrcert.CRLCounts{Fetches: 1, Signatures: 1}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// list makes a list with everything that x509 can put into one.
func (w *world) list(t testing.TB, by *identity, change func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: noon.Add(-time.Hour), NextUpdate: noon.Add(time.Hour)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func extended(id asn1.ObjectIdentifier, value *node) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value.der()})
	}
}

func TestCRLChecks(t *testing.T) {
	w := newWorld(t, "p256")
	stranger := w.intermediate.certify(t, domain, newKey(t, "p256"), revoking)
	other := w.intermediate.certify(t, "a2.example", w.owner.key, revoking)
	point := asn1.ObjectIdentifier{2, 5, 29, 28}
	at := func(names ...*node) *node { return group(tagExplicit, group(tagExplicit, names...)) }
	only := leafNode(tagContext|5, 0xff)

	noNextUpdate := tree(t, w.crl(t))
	noNextUpdate.at(0).children = append(noNextUpdate.at(0).children[:4:4], noNextUpdate.at(0).children[5:]...)
	noNextUpdate.sign(t, w.owner.key)
	sha1 := tree(t, w.crl(t))
	for _, n := range []*node{sha1.at(1), sha1.at(0, 1)} {
		n.children[0] = oid(t, "1.2.840.10045.4.1")
	}
	sha1.sign(t, w.owner.key)

	tests := []struct {
		name       string
		der        []byte
		skew       time.Duration
		ok         bool
		signatures int
	}{
		{"plain", w.list(t, w.owner, nil), 0, true, 1},
		{"its last moment", w.list(t, w.owner, func(l *x509.RevocationList) { l.NextUpdate = noon }), 0, true, 1},
		{"its first moment", w.list(t, w.owner, func(l *x509.RevocationList) { l.ThisUpdate = noon }), 0, true, 1},
		{"expired", w.list(t, w.owner, func(l *x509.RevocationList) { l.NextUpdate = noon.Add(-time.Second) }), 0, false, 0},
		{"expired within the skew", w.list(t, w.owner, func(l *x509.RevocationList) { l.NextUpdate = noon.Add(-5 * time.Second) }), 5 * time.Second, true, 1},
		{"from the future", w.list(t, w.owner, func(l *x509.RevocationList) { l.ThisUpdate = noon.Add(time.Second) }), 0, false, 0},
		{"from the future within the skew", w.list(t, w.owner, func(l *x509.RevocationList) { l.ThisUpdate = noon.Add(5 * time.Second) }), 5 * time.Second, true, 1},
		{"without next update", noNextUpdate.der(), 0, false, 0},
		{"by another key", w.list(t, stranger, nil), 0, false, 1},
		{"by another name", w.list(t, other, nil), 0, false, 0},
		{"by the owner's authority", w.list(t, w.intermediate, nil), 0, false, 0},
		{"by SHA-1", sha1.der(), 0, false, 0},
		{"for attribute certificates", w.list(t, w.owner, extended(point, sequence(only))), 0, true, 1},
		{"for all", w.list(t, w.owner, extended(point, sequence())), 0, true, 1},
		{"of the same point", w.list(t, w.owner, extended(point, sequence(at(uri("http://x.example"), uri(crlURL)), only))), 0, true, 1},
		{"of another point", w.list(t, w.owner, extended(point, sequence(at(uri("http://x.example"))))), 0, false, 0},
		{"of a point by relative name", w.list(t, w.owner, extended(point, sequence(group(tagExplicit, group(tagExplicit|1))))), 0, false, 0},
		{"for certificates of users", w.list(t, w.owner, extended(point, sequence(leafNode(tagContext|1, 0xff)))), 0, false, 0},
		{"for some reasons", w.list(t, w.owner, extended(point, sequence(leafNode(tagContext|3, 1, 2)))), 0, false, 0},
		{"indirect", w.list(t, w.owner, extended(point, sequence(leafNode(tagContext|4, 0xff)))), 0, false, 0},
		{"for attribute certificates, or not", w.list(t, w.owner, extended(point, sequence(leafNode(tagContext|5, 1)))), 0, false, 0},
		{"with a point that is not DER", w.list(t, w.owner, extended(point, sequence(&node{tag: tagContext | 5, content: []byte{0xff}, padding: 1}))), 0, false, 0},
		{"delta", w.list(t, w.owner, extended(asn1.ObjectIdentifier{2, 5, 29, 27}, integer(1))), 0, false, 0},
		{"with a critical extension", w.list(t, w.owner, extended(asn1.ObjectIdentifier{2, 5, 29, 99}, sequence(only))), 0, false, 0},
		{"with a critical extension of an entry", w.list(t, w.owner, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(1), RevocationTime: noon,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: sequence().der()}},
			}}
		}), 0, false, 0},
		{"with a negative serial number", w.list(t, w.owner, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(-1), RevocationTime: noon}}
		}), 0, true, 1},
		{"with something behind", append(w.list(t, w.owner, nil), 5, 0), 0, false, 0},
		{"cut", w.list(t, w.owner, nil)[:100], 0, false, 0},
		{"nothing", nil, 0, false, 0},
		{"too large", make([]byte, attrcert.MaxCRLBytes+1), 0, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cache := &attrcert.CRLCache{Fetch: shelf{crlURL: tt.der}.fetch}
			q := w.query(1)
			q.Skew = tt.skew
			status, err := cache.Status(t.Context(), q)
			if (err == nil) != tt.ok || status.Revoked {
				t.Errorf("got %+v, %v", status, err)
			}
			if status.Signatures != tt.signatures || cache.Counts().Signatures != int64(tt.signatures) {
				t.Errorf("%d signatures checked, want %d", status.Signatures, tt.signatures)
			}
		})
	}
}

func TestIssueCRLRefuses(t *testing.T) {
	w := newWorld(t, "p256")
	for name, list := range map[string]attrcert.CRLTemplate{
		"no this update": {NextUpdate: noon},
		"no next update": {ThisUpdate: noon},
		"backwards":      {ThisUpdate: noon, NextUpdate: noon.Add(-time.Second)},
	} {
		if der, err := attrcert.IssueCRL(list, w.owner.cert, w.owner.key); err == nil {
			t.Errorf("%s: issued %x", name, der)
		}
	}
}

// A certificate of an ordinary server does not let its owner revoke.
func TestCRLNeedsKeyUsage(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.crl(t)
	w.owner = w.intermediate.certify(t, domain, w.owner.key, nil)
	list := attrcert.CRLTemplate{ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
	if _, err := attrcert.IssueCRL(list, w.owner.cert, w.owner.key); err == nil {
		t.Error("issued without the key usage")
	}
	cache := &attrcert.CRLCache{Fetch: shelf{crlURL: der}.fetch}
	if _, err := cache.Status(t.Context(), w.query(1)); err == nil {
		t.Error("accepted without the key usage")
	}
	w.owner = w.intermediate.certify(t, domain, w.owner.key, func(c *x509.Certificate) { c.KeyUsage = 0 })
	if _, err := cache.Status(t.Context(), w.query(1)); err != nil {
		t.Errorf("no key usage forbids it: %v", err)
	}
}

// A list lives until its next update, and is fetched once in that time.
func TestCRLLife(t *testing.T) {
	w := newWorld(t, "p256")
	lists := shelf{crlURL: w.crl(t)}
	cache := &attrcert.CRLCache{Fetch: lists.fetch}
	ask := func(after time.Duration) (attrcert.Status, error) {
		q := w.query(7)
		q.Now = noon.Add(after)
		return cache.Status(t.Context(), q)
	}
	if status, err := ask(0); err != nil || status.Revoked || status.Signatures != 1 {
		t.Fatalf("got %+v, %v", status, err)
	}
	// Revoked, and not yet known.
	list := attrcert.CRLTemplate{ThisUpdate: noon, NextUpdate: noon.Add(2 * time.Hour), Revoked: []*big.Int{big.NewInt(7)}}
	der, err := attrcert.IssueCRL(list, w.owner.cert, w.owner.key)
	if err != nil {
		t.Fatal(err)
	}
	lists[crlURL] = der
	if status, err := ask(time.Hour); err != nil || status.Revoked || status.Signatures != 0 {
		t.Errorf("in its life: %+v, %v", status, err)
	}
	if status, err := ask(time.Hour + time.Second); err != nil || !status.Revoked || status.Signatures != 1 {
		t.Errorf("after its life: %+v, %v", status, err)
	}
	// Out of reach, and then there again.
	delete(lists, crlURL)
	if status, err := ask(2 * time.Hour); err != nil || !status.Revoked {
		t.Errorf("out of reach, in its life: %+v, %v", status, err)
	}
	if status, err := ask(3 * time.Hour); err == nil {
		t.Errorf("out of reach: %+v", status)
	}
	list.ThisUpdate, list.NextUpdate = noon.Add(3*time.Hour), noon.Add(4*time.Hour)
	if lists[crlURL], err = attrcert.IssueCRL(list, w.owner.cert, w.owner.key); err != nil {
		t.Fatal(err)
	}
	if status, err := ask(3 * time.Hour); err != nil || !status.Revoked {
		t.Errorf("there again: %+v, %v", status, err)
	}
	if got, want := cache.Counts(), (attrcert.CRLCounts{Fetches: 4, Signatures: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Lists of different owners at one place do not replace one another.
func TestCRLOwners(t *testing.T) {
	w, other := newWorld(t, "p256"), newWorld(t, "p256")
	lists := shelf{crlURL: w.crl(t)}
	cache := &attrcert.CRLCache{Fetch: lists.fetch}
	for range 2 {
		if _, err := cache.Status(t.Context(), w.query(1)); err != nil {
			t.Error(err)
		}
		if _, err := cache.Status(t.Context(), other.query(1)); err == nil {
			t.Error("another's list is accepted")
		}
		lists[crlURL] = other.crl(t, 1)
		if status, err := cache.Status(t.Context(), w.query(1)); err != nil || status.Revoked {
			t.Errorf("got %+v, %v", status, err)
		}
		lists[crlURL] = w.crl(t)
	}
}

func TestCRLOneFetchForAll(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.crl(t)
	broken := errors.New("connection refused")
	for _, want := range []error{nil, broken} {
		synctest.Test(t, func(t *testing.T) {
			cache := &attrcert.CRLCache{Fetch: func(context.Context, string) ([]byte, error) {
				time.Sleep(time.Second)
				return der, want
			}}
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if _, err := cache.Status(t.Context(), w.query(1)); !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				})
			}
			wg.Wait()
			if got := cache.Counts().Fetches; got != 1 {
				t.Errorf("%d fetches", got)
			}
		})
	}
}

// Whoever waits for another's fetch neither inherits its impatience nor gives up its own.
func TestCRLImpatience(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.crl(t)
	synctest.Test(t, func(t *testing.T) {
		cache := &attrcert.CRLCache{Fetch: func(ctx context.Context, _ string) ([]byte, error) {
			select {
			case <-time.After(time.Minute):
				return der, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		ask := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := cache.Status(ctx, w.query(1))
			return err
		}
		var wg sync.WaitGroup
		begin := time.Now()
		wg.Go(func() {
			if err := ask(10 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := ask(time.Hour); err != nil {
				t.Errorf("patient: %v", err)
			}
			if got := time.Since(begin); got != 70*time.Second {
				t.Errorf("after %v", got)
			}
		})
		wg.Go(func() {
			if err := ask(5 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient: %v", err)
			}
			if got := time.Since(begin); got != 5*time.Second {
				t.Errorf("impatient after %v", got)
			}
		})
		wg.Wait()
		if got := cache.Counts().Fetches; got != 2 {
			t.Errorf("%d fetches, want 2", got)
		}
	})
}

// A fetch that panics leaves nobody waiting.
func TestCRLPanic(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.crl(t)
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		cache := &attrcert.CRLCache{Fetch: func(context.Context, string) ([]byte, error) {
			calls++
			time.Sleep(time.Second)
			if calls == 1 {
				panic("fetch")
			}
			return der, nil
		}}
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is gone")
				}
			}()
			_, _ = cache.Status(t.Context(), w.query(1))
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := cache.Status(t.Context(), w.query(1)); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	})
}
