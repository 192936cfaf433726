package s2s_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

var (
	hash256 = base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	hash512 = base64.StdEncoding.EncodeToString(make([]byte, sha512.Size))
)

func TestParsePOSH(t *testing.T) {
	short, long := make([]byte, sha256.Size), make([]byte, sha512.Size)
	one := fmt.Sprintf(`[{"sha-256":%q}]`, hash256)
	tests := []struct {
		name string
		doc  string
		want s2s.POSHDocument
	}{
		{"one hash", `{"fingerprints":` + one + `,"expires":86400}`,
			s2s.POSHDocument{Fingerprints: []s2s.Fingerprint{{SHA256: short}}, Expires: 24 * time.Hour}},
		{"both hashes, two certificates", fmt.Sprintf(" {\"expires\" : 1,\n\"fingerprints\":[{\"sha-256\":%q,\"sha-512\":%q},{\"sha-512\":%q}]}\n", hash256, hash512, hash512),
			s2s.POSHDocument{Fingerprints: []s2s.Fingerprint{{SHA256: short, SHA512: long}, {SHA512: long}}, Expires: time.Second}},
		{"an unknown hash", `{"fingerprints":[{"sha-1":"x"}],"expires":1}`,
			s2s.POSHDocument{Fingerprints: []s2s.Fingerprint{{}}, Expires: time.Second}},
		{"unknown members", `{"fingerprints":` + one + `,"expires":1,"Expires":[],"URL":"x","more":{"fingerprints":[]}}`,
			s2s.POSHDocument{Fingerprints: []s2s.Fingerprint{{SHA256: short}}, Expires: time.Second}},
		{"escaped names", `{"f\u0069ngerprints":` + one + `,"expires":1}`,
			s2s.POSHDocument{Fingerprints: []s2s.Fingerprint{{SHA256: short}}, Expires: time.Second}},
		{"reference", `{"url":"https://p.test/x.json","expires":86400}`, s2s.POSHDocument{URL: "https://p.test/x.json", Expires: 24 * time.Hour}},
		{"reference with port and query", `{"url":"https://p.test:8443/?a=b","expires":1}`, s2s.POSHDocument{URL: "https://p.test:8443/?a=b", Expires: time.Second}},
		{"for ever", `{"url":"https://p.test/","expires":99999999999999999999999999}`, s2s.POSHDocument{URL: "https://p.test/", Expires: (1<<63 - 1) / time.Second * time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s2s.ParsePOSH([]byte(tt.doc))
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestParsePOSHRefuses(t *testing.T) {
	one := fmt.Sprintf(`[{"sha-256":%q}]`, hash256)
	with := func(fingerprints string) string { return `{"fingerprints":` + fingerprints + `,"expires":1}` }
	tests := []struct{ name, doc, want string }{
		{"nothing", ``, "no JSON"},
		{"no JSON", `<html>`, "no JSON"},
		{"cut", `{"fingerprints":` + one, "no JSON"},
		{"cut in a name", `{"finger`, "no JSON"},
		{"no object", `[1]`, "no JSON object"},
		{"null", `null`, "no JSON object"},
		{"two objects", with(one) + `{}`, "follows"},
		{"something behind", with(one) + `x`, "follows"},
		{"a name twice", `{"fingerprints":` + one + `,"expires":1,"expires":2}`, "twice"},
		{"no name", `{1:2}`, "no JSON"},
		{"neither", `{"expires":1}`, "neither"},
		{"both", `{"fingerprints":` + one + `,"url":"https://p.test/","expires":1}`, "both"},
		{"names are compared exactly", `{"Fingerprints":` + one + `,"expires":1}`, "neither"},
		{"no expires", `{"fingerprints":` + one + `}`, "expires: it is missing"},
		{"expires below zero", `{"fingerprints":` + one + `,"expires":-1}`, "no non-negative integer"},
		{"expires minus zero", `{"fingerprints":` + one + `,"expires":-0}`, "no non-negative integer"},
		{"expires with a fraction", `{"fingerprints":` + one + `,"expires":1.5}`, "no non-negative integer"},
		{"expires with an exponent", `{"fingerprints":` + one + `,"expires":1e3}`, "no non-negative integer"},
		{"expires as text", `{"fingerprints":` + one + `,"expires":"1"}`, "no non-negative integer"},
		{"expires null", `{"fingerprints":` + one + `,"expires":null}`, "no non-negative integer"},
		{"expires long", `{"url":"https://p.test/","expires":"` + strings.Repeat("x", 99) + `"}`, `xxx..."`},
		{"no array", with(`{}`), "no array"},
		{"null instead of an array", with(`null`), "there is none"},
		{"no fingerprint", with(`[]`), "there is none"},
		{"no object in the array", with(`["x"]`), "number 1: it is no JSON object"},
		{"no hash", with(fmt.Sprintf(`[{"sha-256":%q},{}]`, hash256)), "number 2 has no hash"},
		{"a hash twice", with(fmt.Sprintf(`[{"sha-256":%q,"sha-256":%q}]`, hash256, hash256)), "twice"},
		{"hash no string", with(`[{"sha-256":1}]`), "sha-256: it is no string"},
		{"hash null", with(`[{"sha-256":null}]`), "sha-256: it is no string"},
		{"hash too short", with(`[{"sha-256":"AAAA"}]`), "3 octets, not 32"},
		{"hash of another kind", with(fmt.Sprintf(`[{"sha-512":%q}]`, hash256)), "32 octets, not 64"},
		{"hash without padding", with(fmt.Sprintf(`[{"sha-256":%q}]`, strings.TrimRight(hash256, "="))), "no base64"},
		{"hash in base64url", with(fmt.Sprintf(`[{"sha-256":%q}]`, "-_"+hash256[2:])), "no base64"},
		{"hash with bits in the padding", with(fmt.Sprintf(`[{"sha-256":%q}]`, hash256[:42]+"B=")), "no base64"},
		{"hash with line breaks", with(fmt.Sprintf(`[{"sha-256":%q}]`, hash256[:20]+"\n"+hash256[20:])), "line breaks"},
		{"url no string", `{"url":1,"expires":1}`, "url: it is no string"},
		{"url null", `{"url":null,"expires":1}`, "url: it is no string"},
		{"url no URI", `{"url":"https://p.test/%zz","expires":1}`, "no URI"},
		{"url http", `{"url":"http://p.test/","expires":1}`, "no https URI"},
		{"url relative", `{"url":"/x.json","expires":1}`, "no https URI"},
		{"url without host", `{"url":"https:///x.json","expires":1}`, "names no host"},
		{"url opaque", `{"url":"https:p.test","expires":1}`, "names no host"},
		{"url with user", `{"url":"https://u:p@p.test/","expires":1}`, "user name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var bad *s2s.POSHError
			doc, err := s2s.ParsePOSH([]byte(tt.doc))
			if !errors.As(err, &bad) || bad.Reason != s2s.POSHDocumentBad || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want an error with %q", doc, err, tt.want)
			}
		})
	}
	for _, doc := range []string{`{"fingerprints":` + one + `,"expires":0}`, `{"url":"https://p.test/","expires":0}`} {
		var expired *s2s.POSHError
		if got, err := s2s.ParsePOSH([]byte(doc)); !errors.As(err, &expired) || expired.Reason != s2s.POSHExpired || expired.Kind() != "posh.expired" {
			t.Errorf("%s: got %+v, %v", doc, got, err)
		}
	}
}

func FuzzPOSHDocument(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(`{"fingerprints":[{"sha-256":%q,"sha-512":%q}],"expires":86400}`, hash256, hash512)))
	f.Add([]byte(`{"url":"https://p.test/.well-known/posh/xmpp-server.json","expires":1}`))
	f.Add([]byte(`{"fingerprints":[{}],"expires":1e9,"url":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := s2s.ParsePOSH(data)
		var known *s2s.POSHError
		if err != nil {
			if !errors.As(err, &known) || doc.Expires != 0 || doc.URL != "" || doc.Fingerprints != nil {
				t.Errorf("got %+v, %v", doc, err)
			}
			return
		}
		if doc.Expires < time.Second || (doc.URL == "") == (len(doc.Fingerprints) == 0) {
			t.Errorf("got %+v", doc)
		}
		if doc.URL != "" {
			again, err := s2s.ParsePOSH(s2s.NewPOSHReference(doc.Expires, doc.URL))
			if diff := cmp.Diff(doc, again); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	})
}

func TestNewPOSHDocument(t *testing.T) {
	ca := newCA(t)
	a, b := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}).Leaf, issue(t, ca, lab.LeafOptions{Names: []string{"b.test"}}).Leaf
	doc, err := s2s.ParsePOSH(s2s.NewPOSHDocument(1500*time.Millisecond, a, b))
	if err != nil || doc.Expires != 2*time.Second || len(doc.Fingerprints) != 2 {
		t.Fatalf("got %+v, %v", doc, err)
	}
	sum := sha512.Sum512(b.Raw)
	if !bytes.Equal(doc.Fingerprints[1].SHA512, sum[:]) {
		t.Error("the hash of the second certificate is not there")
	}
}

func TestMatchPOSH(t *testing.T) {
	ca := newCA(t)
	now := time.Now().Truncate(time.Second)
	cert := issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute)}).Leaf
	other := issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}}).Leaf
	short, long, wrong := sha256.Sum256(cert.Raw), sha512.Sum512(cert.Raw), sha256.Sum256(other.Raw)
	day := now.Add(24 * time.Hour)
	tests := []struct {
		name         string
		fingerprints []s2s.Fingerprint
		until        time.Time
		now          time.Time
		reason       s2s.POSHReason
	}{
		{"sha-256", []s2s.Fingerprint{{SHA256: short[:]}}, day, now, ""},
		{"sha-512", []s2s.Fingerprint{{SHA512: long[:]}}, day, now, ""},
		{"one of two hashes", []s2s.Fingerprint{{SHA256: wrong[:], SHA512: long[:]}}, day, now, ""},
		{"the second certificate", []s2s.Fingerprint{{SHA256: wrong[:]}, {SHA256: short[:]}}, day, now, ""},
		{"another certificate", []s2s.Fingerprint{{SHA256: wrong[:]}}, day, now, s2s.POSHMismatch},
		{"no known hash", []s2s.Fingerprint{{}}, day, now, s2s.POSHMismatch},
		{"nothing", nil, day, now, s2s.POSHMismatch},
		{"at the end of the certificate", []s2s.Fingerprint{{SHA256: short[:]}}, day, cert.NotAfter, ""},
		{"after the end of the certificate", []s2s.Fingerprint{{SHA256: short[:]}}, day, cert.NotAfter.Add(time.Second), s2s.POSHCertificate},
		{"before its begin", []s2s.Fingerprint{{SHA256: short[:]}}, day, cert.NotBefore.Add(-time.Second), s2s.POSHCertificate},
		{"just before the material is stale", []s2s.Fingerprint{{SHA256: short[:]}}, now.Add(1), now, ""},
		{"stale material", []s2s.Fingerprint{{SHA256: short[:]}}, now, now, s2s.POSHExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s2s.MatchPOSH(&s2s.POSHMaterial{Domain: "a.test", Fingerprints: tt.fingerprints, Until: tt.until}, cert, tt.now)
			var failed *s2s.POSHError
			switch {
			case tt.reason == "" && err != nil:
				t.Errorf("got %v", err)
			case tt.reason != "" && (!errors.As(err, &failed) || failed.Reason != tt.reason || failed.Domain != "a.test"):
				t.Errorf("got %v, want the reason %s", err, tt.reason)
			}
		})
	}
}

// owners is a web server of the owners of some domains, and a fetcher that finds all hosts there.
func owners(t *testing.T, hosts ...string) (*lab.CA, *lab.Web, *s2s.POSHFetcher) {
	t.Helper()
	ca := newCA(t)
	w, err := lab.NewWeb(t.Context(), lab.WebOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, host := range hosts {
		w.SetCertificate(host, issue(t, ca, lab.LeafOptions{Names: []string{host}, NotAfter: time.Now().Add(9 * 365 * 24 * time.Hour)}))
	}
	return ca, w, &s2s.POSHFetcher{Roots: ca.Pool(), Dial: w.DialContext}
}

func TestPOSHFetch(t *testing.T) {
	ca, w, f := owners(t, "a.test", "b.test", "p.test")
	cert := issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}}).Leaf
	doc := s2s.NewPOSHDocument(time.Hour, cert)
	now := time.Now()
	f.Now = func() time.Time { return now }

	page := func(p lab.Page) func(string) { return func(host string) { w.SetPage(host, s2s.POSHPath, p) } }
	hops := func(n int, host string) func(string) {
		return func(from string) {
			w.SetPage(from, s2s.POSHPath, lab.Page{Location: "https://" + host + "/hop/1"})
			for i := 1; i < n; i++ {
				w.SetPage(host, fmt.Sprintf("/hop/%d", i), lab.Page{Location: fmt.Sprintf("/hop/%d", i+1), Status: http.StatusTemporaryRedirect})
			}
			w.SetPage(host, fmt.Sprintf("/hop/%d", n), lab.Page{Body: doc})
		}
	}
	w.SetPage("p.test", "/doc", lab.Page{Body: doc})
	w.SetPage("p.test", "/short", lab.Page{Body: s2s.NewPOSHDocument(time.Minute, cert)})
	w.SetPage("p.test", "/away", lab.Page{Location: "/doc"})
	tests := []struct {
		name  string
		set   func(host string)
		until time.Duration
		want  s2s.POSHCounts // of this fetch
	}{
		{"document", page(lab.Page{Body: doc}), time.Hour, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"caching headers are not heeded", page(lab.Page{Body: doc, Header: http.Header{"Cache-Control": {"no-store"}, "Expires": {"0"}}}), time.Hour, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"any type", page(lab.Page{Body: doc, Type: "text/html"}), time.Hour, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"slow", page(lab.Page{Body: doc, Slow: time.Microsecond, Wait: time.Millisecond}), time.Hour, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"just not too large", page(lab.Page{Body: doc, Fill: s2s.DefaultPOSHMaxBytes - int64(len(doc))}), time.Hour, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"long life", page(lab.Page{Body: s2s.NewPOSHDocument(1000*time.Hour, cert)}), s2s.DefaultPOSHMaxAge, s2s.POSHCounts{Requests: 1, Connections: 1}},
		{"reference to another host", page(lab.Page{Body: s2s.NewPOSHReference(2*time.Hour, "https://p.test/doc")}), time.Hour, s2s.POSHCounts{Requests: 2, Connections: 2}},
		{"reference with the shorter life", page(lab.Page{Body: s2s.NewPOSHReference(time.Second, "https://p.test/doc")}), time.Second, s2s.POSHCounts{Requests: 2, Connections: 2}},
		{"reference to the shorter life", page(lab.Page{Body: s2s.NewPOSHReference(time.Hour, "https://p.test/short")}), time.Minute, s2s.POSHCounts{Requests: 2, Connections: 2}},
		{"reference to a redirect", page(lab.Page{Body: s2s.NewPOSHReference(time.Hour, "https://p.test:8443/away#x")}), time.Hour, s2s.POSHCounts{Requests: 3, Connections: 2}},
		{"redirect on the same host", hops(1, "a.test"), time.Hour, s2s.POSHCounts{Requests: 2, Connections: 1}},
		{"ten redirects", hops(10, "b.test"), time.Hour, s2s.POSHCounts{Requests: 11, Connections: 2}},
		{"connection closed in between", func(host string) {
			w.SetPage(host, s2s.POSHPath, lab.Page{Location: "/x", Close: true, Body: []byte("moved")})
			w.SetPage(host, "/x", lab.Page{Body: doc})
		}, time.Hour, s2s.POSHCounts{Requests: 2, Connections: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now = now.Add(s2s.DefaultPOSHMaxAge) // nothing is kept
			tt.set("a.test")
			before, served := f.Counts(), w.Counts()
			m, err := f.Fetch(t.Context(), "A.test.")
			if err != nil {
				t.Fatal(err)
			}
			if m.Domain != "a.test" || !m.Until.Equal(now.Add(tt.until)) {
				t.Errorf("material of %s until %v, want %v", m.Domain, m.Until, now.Add(tt.until))
			}
			got := f.Counts()
			tt.want.Fetches, tt.want.Handshakes = 1, tt.want.Connections
			diff := s2s.POSHCounts{
				Fetches: got.Fetches - before.Fetches, Requests: got.Requests - before.Requests, Connections: got.Connections - before.Connections,
				Handshakes: got.Handshakes - before.Handshakes, Failed: got.Failed - before.Failed,
			}
			if d := cmp.Diff(tt.want, diff); d != "" {
				t.Error(d)
			}
			server := w.Counts()
			if server.Requests-served.Requests != diff.Requests || server.Handshakes-served.Handshakes != diff.Handshakes || server.Resumed != 0 {
				t.Errorf("the server counts %+v more than %+v", server, served)
			}
		})
	}
	m, err := f.Fetch(t.Context(), "a.test")
	if err != nil {
		t.Fatal(err)
	}
	certNow := cert.NotBefore.Add(time.Hour)
	if err := s2s.MatchPOSH(m, cert, certNow); err != nil {
		t.Error(err)
	}
}

func TestPOSHFetchFails(t *testing.T) {
	ca, w, f := owners(t, "a.test", "p.test")
	f.MaxBytes = 4 << 10
	cert := issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}}).Leaf
	doc := s2s.NewPOSHDocument(time.Hour, cert)
	w.SetPage("p.test", "/doc", lab.Page{Body: doc})
	w.SetPage("p.test", "/again", lab.Page{Body: s2s.NewPOSHReference(time.Hour, "https://a.test/doc")})
	w.SetPage("p.test", "/expired", lab.Page{Body: s2s.NewPOSHDocument(0, cert)})
	refer := func(url string) lab.Page { return lab.Page{Body: s2s.NewPOSHReference(time.Hour, url)} }
	tests := []struct {
		name   string
		page   lab.Page
		reason s2s.POSHReason
		want   string
	}{
		{"not there", lab.Page{Status: 404}, s2s.POSHAbsent, "publishes no certificates"},
		{"gone", lab.Page{Status: 410}, s2s.POSHAbsent, "410"},
		{"forbidden", lab.Page{Status: 403}, s2s.POSHAbsent, "403"},
		{"server at fault", lab.Page{Status: 500, Body: doc}, s2s.POSHStatus, "500"},
		{"not modified", lab.Page{Status: 304}, s2s.POSHStatus, "304"},
		{"choices", lab.Page{Status: 300, Location: "/x"}, s2s.POSHStatus, "300"},
		{"no content", lab.Page{Status: 204}, s2s.POSHDocumentBad, "no JSON"},
		{"wrong content", lab.Page{Body: []byte("<html>sign in</html>")}, s2s.POSHDocumentBad, "no JSON"},
		{"old document", lab.Page{Body: []byte(`{"fingerprints":[{"sha-256":"` + hash256 + `"}]}`)}, s2s.POSHDocumentBad, "expires"},
		{"expires 0", lab.Page{Body: s2s.NewPOSHDocument(0, cert)}, s2s.POSHExpired, "expires is 0"},
		{"redirect to itself", lab.Page{Location: s2s.POSHPath}, s2s.POSHRedirect, "more than 10 redirects"},
		{"redirect to http", lab.Page{Location: "http://p.test/doc"}, s2s.POSHRedirect, "no https URI"},
		{"redirect to nowhere", lab.Page{Status: 302}, s2s.POSHRedirect, "says not where"},
		{"redirect to no URI", lab.Page{Location: "https://p.test/%zz"}, s2s.POSHRedirect, "no URI"},
		{"redirect with user", lab.Page{Location: "https://u@p.test/doc"}, s2s.POSHRedirect, "user name"},
		{"redirect to a host without certificate", lab.Page{Location: "https://x.test/doc"}, s2s.POSHUnreachable, "x.test"},
		{"huge", lab.Page{Fill: 1 << 30, Body: doc}, s2s.POSHTooLarge, "more than 4096 octets"},
		{"a little too large", lab.Page{Fill: 4<<10 - int64(len(doc)) + 1, Body: doc}, s2s.POSHTooLarge, "more than 4096 octets"},
		{"huge header", lab.Page{Header: http.Header{"X": {strings.Repeat("x", 20<<10)}}, Body: doc}, s2s.POSHTooLarge, "before the body"},
		{"cut", lab.Page{Cut: true, Body: doc}, s2s.POSHUnreachable, "unexpected EOF"},
		{"reference to a reference", refer("https://p.test/again"), s2s.POSHDocumentBad, "is a reference, too"},
		{"reference to nothing", refer("https://p.test/none"), s2s.POSHStatus, "404"},
		{"reference to an expired document", refer("https://p.test/expired"), s2s.POSHExpired, "expires is 0"},
		{"reference that expires", lab.Page{Body: s2s.NewPOSHReference(0, "https://p.test/doc")}, s2s.POSHExpired, "expires is 0"},
		{"reference to http", refer("http://p.test/doc"), s2s.POSHDocumentBad, "no https URI"},
		{"reference to a host without certificate", refer("https://x.test/doc"), s2s.POSHUnreachable, "reference to"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.SetPage("a.test", s2s.POSHPath, tt.page)
			m, err := f.Fetch(t.Context(), "a.test")
			var failed *s2s.POSHError
			if !errors.As(err, &failed) || failed.Reason != tt.reason || failed.Domain != "a.test" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want reason %s with %q", m, err, tt.reason, tt.want)
			}
			if got := f.Counts(); got.Failed != uint64(i+1) || got.Fetches != got.Failed {
				t.Errorf("counted %+v", got)
			}
		})
	}
	for _, domain := range []string{"", "127.0.0.1", "bücher.test", "a.test/x", "u@a.test", "a.test:443"} {
		var failed *s2s.POSHError
		requests := f.Counts().Connections
		if _, err := f.Fetch(t.Context(), domain); !errors.As(err, &failed) || !strings.Contains(err.Error(), "no domain name") || f.Counts().Connections != requests {
			t.Errorf("%q: got %v", domain, err)
		}
	}
}

// The web server has to prove that it is the domain's (RFC 7711 §3, RFC 2818).
func TestPOSHWebCertificates(t *testing.T) {
	ca, w, f := owners(t)
	cert := issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}}).Leaf
	doc := s2s.NewPOSHDocument(time.Hour, cert)
	var (
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
	)
	tests := []struct {
		host string
		leaf tls.Certificate
		want func(error) bool
	}{
		{"good.test", issue(t, ca, lab.LeafOptions{Names: []string{"good.test"}}), func(err error) bool { return err == nil }},
		{"provider-name.test", issue(t, ca, lab.LeafOptions{Names: []string{"provider.test"}}), func(err error) bool { return errors.As(err, &hostname) }},
		{"service-name.test", issue(t, ca, lab.LeafOptions{SRVNames: []string{"_xmpp-server.service-name.test"}}), func(err error) bool { return errors.As(err, &hostname) }},
		{"foreign.test", issue(t, newCA(t), lab.LeafOptions{Names: []string{"foreign.test"}}), func(err error) bool { return errors.As(err, &unknown) }},
		{"expired.test", issue(t, ca, lab.LeafOptions{Names: []string{"expired.test"}, NotAfter: time.Now().Add(-time.Hour)}),
			func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }},
		{"client.test", issue(t, ca, lab.LeafOptions{Names: []string{"client.test"}, Usage: lab.ClientUsage}),
			func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage }},
	}
	for _, tt := range tests {
		w.SetCertificate(tt.host, tt.leaf)
		w.SetPage(tt.host, s2s.POSHPath, lab.Page{Body: doc})
		_, err := f.Fetch(t.Context(), tt.host)
		var failed *s2s.POSHError
		if !tt.want(err) || err != nil && (!errors.As(err, &failed) || failed.Reason != s2s.POSHUnreachable) {
			t.Errorf("%s: got %v", tt.host, err)
		}
	}
	if got := f.Counts(); got.Connections != uint64(len(tests)) || got.Handshakes != 1 {
		t.Errorf("counted %+v", got)
	}
	// What is configured besides is up to the caller.
	f = &s2s.POSHFetcher{Roots: ca.Pool(), Dial: w.DialContext, TLS: func(c *tls.Config) { c.ServerName = "provider.test" }}
	w.SetCertificate("provider.test", tests[1].leaf)
	if _, err := f.Fetch(t.Context(), "provider-name.test"); err != nil {
		t.Error(err)
	}
}

func TestPOSHCache(t *testing.T) {
	ca, w, f := owners(t, "a.test")
	now := time.Now()
	f.Now = func() time.Time { return now }
	w.SetPage("a.test", s2s.POSHPath, lab.Page{Body: s2s.NewPOSHDocument(10*time.Second, issue(t, ca, lab.LeafOptions{Names: []string{"p.test"}}).Leaf)})
	fetch := func(want s2s.POSHCounts) {
		t.Helper()
		if _, err := f.Fetch(t.Context(), "a.test"); err != nil {
			t.Fatal(err)
		}
		got := f.Counts()
		if got.Fetches != want.Fetches || got.Cached != want.Cached || got.Requests != want.Fetches {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	}
	fetch(s2s.POSHCounts{Fetches: 1})
	now = now.Add(10*time.Second - 1)
	fetch(s2s.POSHCounts{Fetches: 1, Cached: 1})
	now = now.Add(1)
	fetch(s2s.POSHCounts{Fetches: 2, Cached: 1})
	f.MaxAge = time.Second
	now = now.Add(10 * time.Second)
	fetch(s2s.POSHCounts{Fetches: 3, Cached: 1})
	now = now.Add(time.Second)
	fetch(s2s.POSHCounts{Fetches: 4, Cached: 1})
	f.MaxAge = -1
	now = now.Add(time.Second)
	fetch(s2s.POSHCounts{Fetches: 5, Cached: 1})
	fetch(s2s.POSHCounts{Fetches: 6, Cached: 1})
}

// However many want the material of a domain at the same time, it is fetched once.
func TestJoinedFetches(t *testing.T) {
	ca, w, f := owners(t, "a.test", "b.test")
	cert := issue(t, ca, lab.LeafOptions{Names: []string{"p.test"}}).Leaf
	for _, host := range []string{"a.test", "b.test"} {
		w.SetPage(host, s2s.POSHPath, lab.Page{Body: s2s.NewPOSHDocument(time.Hour, cert)})
	}
	const clients = 50
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 2 * clients {
		wg.Go(func() {
			if _, err := f.Fetch(t.Context(), []string{"a.test", "b.test"}[i%2]); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	got := f.Counts()
	want := s2s.POSHCounts{Fetches: 2, Requests: 2, Connections: 2, Handshakes: 2, Cached: got.Cached, Joined: 2*(clients-1) - got.Cached}
	if diff := cmp.Diff(want, got); failed.Load() != 0 || diff != "" {
		t.Errorf("%d failed\n%s", failed.Load(), diff)
	}
}

// Servers that say nothing are given up in time, wherever they stop. It runs in virtual time, over pipes.
func TestPOSHTimeouts(t *testing.T) {
	ca := newCA(t)
	leaf := issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}})
	answer := func(text string) func(context.Context, net.Conn) {
		return func(ctx context.Context, far net.Conn) {
			s := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{leaf}, Time: time.Now})
			if s.HandshakeContext(ctx) != nil {
				return
			}
			go io.Copy(io.Discard, s)
			io.WriteString(s, text)
			<-ctx.Done()
		}
	}
	tests := []struct {
		name   string
		serve  func(ctx context.Context, far net.Conn)
		reason s2s.POSHReason
		took   time.Duration
	}{
		{"no handshake", func(ctx context.Context, _ net.Conn) { <-ctx.Done() }, s2s.POSHUnreachable, 5 * time.Second},
		{"no answer", answer(""), s2s.POSHUnreachable, 5 * time.Second},
		{"half a header", answer("HTTP/1.1 200 OK\r\nContent-Le"), s2s.POSHUnreachable, 5 * time.Second},
		{"half a body", answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), s2s.POSHUnreachable, 5 * time.Second},
		{"preliminary answers for ever", answer(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 6)), s2s.POSHUnreachable, 0},
		{"some preliminary answers", answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), s2s.POSHAbsent, 0},
		{"chunks", answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), s2s.POSHDocumentBad, 0},
		{"no HTTP", answer("220 mail.test ESMTP\r\n"), s2s.POSHUnreachable, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				// The certificate is of today, the clock of the test is not.
				begin, today := time.Now(), leaf.Leaf.NotBefore.Add(time.Hour)
				f := &s2s.POSHFetcher{
					Roots: ca.Pool(), Timeout: 5 * time.Second, Now: func() time.Time { return today.Add(time.Since(begin)) },
					Dial: func(context.Context, string, string) (net.Conn, error) {
						near, far := net.Pipe()
						wg.Go(func() {
							defer far.Close()
							tt.serve(ctx, far)
						})
						return near, nil
					},
				}
				_, err := f.Fetch(ctx, "a.test")
				var failed *s2s.POSHError
				if !errors.As(err, &failed) || failed.Reason != tt.reason {
					t.Errorf("got %v, want the reason %s", err, tt.reason)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if tt.took > 0 && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want a deadline", err)
				}
			})
		})
	}
}

// Who fetches alone and leaves ends the fetch.
func TestLeavingFetches(t *testing.T) {
	ca, w, f := owners(t, "a.test")
	w.SetPage("a.test", s2s.POSHPath, lab.Page{Wait: time.Hour})
	f.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.Fetch(ctx, "a.test")
		ended <- err
	}()
	for w.Counts().Requests == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.SetPage("a.test", s2s.POSHPath, lab.Page{Body: s2s.NewPOSHDocument(time.Hour, issue(t, ca, lab.LeafOptions{Names: []string{"p.test"}}).Leaf)})
	if _, err := f.Fetch(t.Context(), "a.test"); err != nil {
		t.Errorf("who comes after got %v", err)
	}
}
