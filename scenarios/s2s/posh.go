package s2s

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/resolve"
)

// POSHPath is where a domain publishes which certificates its servers have (RFC 7712 §5.2).
const POSHPath = "/.well-known/posh/xmpp-server.json"

const (
	// MaxPOSHRedirects bounds the HTTP redirects on the way to one document (RFC 7711 §10).
	MaxPOSHRedirects = 10
	// DefaultPOSHTimeout bounds getting one document, redirects included.
	DefaultPOSHTimeout = 10 * time.Second
	// DefaultPOSHMaxBytes bounds the body of one answer.
	DefaultPOSHMaxBytes = 64 << 10
	// DefaultPOSHMaxAge bounds how long a document is kept, whatever it says of itself.
	DefaultPOSHMaxAge = 7 * 24 * time.Hour

	maxPOSHHeader = 16 << 10 // octets of one answer before its body
)

// A Fingerprint is the hashes of one certificate, over its DER. At least one of those that are known here is set, unless
// the document had none of these.
type Fingerprint struct{ SHA256, SHA512 []byte }

// matches reports whether one of the hashes is that of the certificate.
func (f Fingerprint) matches(cert *x509.Certificate) bool {
	short, long := sha256.Sum256(cert.Raw), sha512.Sum512(cert.Raw)
	return bytes.Equal(f.SHA256, short[:]) || bytes.Equal(f.SHA512, long[:])
}

// A POSHDocument is one of the two documents of RFC 7711 §3: Fingerprints, alternatives of each other, or the URL of
// a document that has them.
type POSHDocument struct {
	Fingerprints []Fingerprint
	URL          string
	// Expires is how long the document may be kept, in whole seconds, at least one.
	Expires time.Duration
}

// ParsePOSH reads a document (RFC 7711 §3.1, §3.2). Refused are documents with both or neither of fingerprints and url,
// without expires or with one that is no non-negative integer, and hashes that are no base64 (RFC 4648 §4) or too short
// or long. Members and hashes of other names are passed over. A document that expires at once is not valid. All of this
// is a [POSHError] whose reason is POSHDocumentBad or POSHExpired.
func ParsePOSH(data []byte) (POSHDocument, error) {
	var doc POSHDocument
	bad := func(format string, args ...any) (POSHDocument, error) {
		return POSHDocument{}, &POSHError{Reason: POSHDocumentBad, Err: fmt.Errorf(format, args...)}
	}
	members, err := object(data)
	if err != nil {
		return bad("%w", err)
	}
	doc.Expires, err = parseExpires(members["expires"])
	if err != nil {
		return bad("expires: %w", err)
	}
	fingerprints, url := members["fingerprints"], members["url"]
	switch {
	case fingerprints != nil && url != nil:
		return bad("there are both fingerprints and url; publish one of them")
	case fingerprints != nil:
		doc.Fingerprints, err = parseFingerprints(fingerprints)
	case url != nil:
		doc.URL, err = parseReference(url)
	default:
		return bad("there are neither fingerprints nor url")
	}
	if err != nil {
		return bad("%w", err)
	}
	if doc.Expires == 0 {
		return POSHDocument{}, &POSHError{Reason: POSHExpired, Err: errors.New("expires is 0, which makes the document invalid (RFC 7711 section 3)")}
	}
	return doc, nil
}

// object reads a JSON object and nothing after it. A member twice is refused: readers would disagree on which one
// counts. Names are compared exactly, which encoding/json does not do for structures.
func object(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if open, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	} else if open != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("it is no JSON: a member has no name")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("the member %q is there twice", name)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return members, nil
}

// parseExpires reads a number of seconds. What time.Duration cannot hold, some 292 years, is cut to that.
func parseExpires(raw json.RawMessage) (time.Duration, error) {
	if raw == nil {
		return 0, errors.New("it is missing; publish a number of seconds")
	}
	text := string(raw)
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < '0' || c > '9' }) {
		return 0, fmt.Errorf("%s is no non-negative integer; publish a number of seconds", clip(text))
	}
	const most = int64(math.MaxInt64) / int64(time.Second)
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > most { // the only error left is that it is too large
		seconds = most
	}
	return time.Duration(seconds) * time.Second, nil
}

// clip shortens foreign text for a message.
func clip(text string) string {
	const most = 40
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strconv.Quote(text)
}

func parseFingerprints(raw json.RawMessage) ([]Fingerprint, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("fingerprints: it is no array: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("fingerprints: there is none")
	}
	out := make([]Fingerprint, 0, len(list))
	for i, descriptor := range list {
		hashes, err := object(descriptor)
		if err != nil {
			return nil, fmt.Errorf("fingerprints: number %d: %w", i+1, err)
		}
		if len(hashes) == 0 {
			return nil, fmt.Errorf("fingerprints: number %d has no hash", i+1)
		}
		var f Fingerprint
		for _, known := range []struct {
			name string
			size int
			to   *[]byte
		}{{"sha-256", sha256.Size, &f.SHA256}, {"sha-512", sha512.Size, &f.SHA512}} {
			if *known.to, err = parseHash(hashes[known.name], known.size); err != nil {
				return nil, fmt.Errorf("fingerprints: number %d: %s: %w", i+1, known.name, err)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func parseHash(raw json.RawMessage, size int) ([]byte, error) {
	if raw == nil {
		return nil, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || raw[0] != '"' { // null would pass
		return nil, errors.New("it is no string")
	}
	if strings.ContainsAny(text, "\r\n") { // encoding/base64 passes over them
		return nil, errors.New("it has line breaks")
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("it is no base64: %w", err)
	}
	if len(hash) != size {
		return nil, fmt.Errorf("it has %d octets, not %d", len(hash), size)
	}
	return hash, nil
}

func parseReference(raw json.RawMessage) (string, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || raw[0] != '"' {
		return "", errors.New("url: it is no string")
	}
	if _, err := secureURL(text); err != nil {
		return "", fmt.Errorf("url: %w", err)
	}
	return text, nil
}

// secureURL parses an absolute https URI.
func secureURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("it is no URI: %w", err)
	}
	return u, checkURL(u)
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https":
		return fmt.Errorf("%s is no https URI; anything else could be forged", clip(u.Redacted()))
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%s names no host", clip(u.Redacted()))
	case u.User != nil:
		return errors.New("a URI with a user name is refused")
	}
	return nil
}

// NewPOSHDocument writes the document for certificates of which any may be used (RFC 7711 §3.1). Expires is rounded up
// to whole seconds.
func NewPOSHDocument(expires time.Duration, certs ...*x509.Certificate) []byte {
	var doc struct {
		Fingerprints []map[string][]byte `json:"fingerprints"`
		Expires      int64               `json:"expires"`
	}
	doc.Expires = wholeSeconds(expires)
	for _, c := range certs {
		short, long := sha256.Sum256(c.Raw), sha512.Sum512(c.Raw)
		doc.Fingerprints = append(doc.Fingerprints, map[string][]byte{"sha-256": short[:], "sha-512": long[:]})
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic("s2s: " + err.Error()) // a structure of numbers and octets always has a form
	}
	return out
}

// NewPOSHReference writes the document that refers to another one (RFC 7711 §3.2).
func NewPOSHReference(expires time.Duration, url string) []byte {
	out, err := json.Marshal(struct {
		URL     string `json:"url"`
		Expires int64  `json:"expires"`
	}{url, wholeSeconds(expires)})
	if err != nil {
		panic("s2s: " + err.Error()) // likewise
	}
	return out
}

func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// POSHReason says what was wrong with POSH for a domain.
type POSHReason string

// The reasons.
const (
	POSHAbsent      POSHReason = "absent"      // the domain publishes nothing (4xx): go on with another proof
	POSHUnreachable POSHReason = "unreachable" // no connection, no valid certificate for the web server, no answer in time
	POSHStatus      POSHReason = "status"      // the web server answered something else than a document
	POSHRedirect    POSHReason = "redirect"    // a redirect to something else than https, or too many
	POSHTooLarge    POSHReason = "too-large"   // more than the limit
	POSHDocumentBad POSHReason = "document"    // not what RFC 7711 §3 describes, or a reference to a reference
	POSHExpired     POSHReason = "expired"     // the document is not valid, or no longer
	POSHCertificate POSHReason = "certificate" // the peer's certificate is not valid at this time
	POSHMismatch    POSHReason = "mismatch"    // the peer's certificate is none of those published
)

// A POSHError says that POSH proves nothing for a domain, and why. Another proof may still (RFC 7711 §3.3).
type POSHError struct {
	Domain string // empty where only a document was read
	Reason POSHReason
	Err    error
}

// Error implements error.
func (e *POSHError) Error() string {
	if e.Domain == "" {
		return fmt.Sprintf("s2s: POSH document: %v", e.Err)
	}
	return fmt.Sprintf("s2s: POSH for %s: %v", e.Domain, e.Err)
}

// Unwrap returns the cause.
func (e *POSHError) Unwrap() error { return e.Err }

// Kind returns the class of the error for counting.
func (e *POSHError) Kind() string { return "posh." + string(e.Reason) }

// POSHMaterial is what a domain says of the certificates of its servers. It must not be changed.
type POSHMaterial struct {
	Domain       string
	Fingerprints []Fingerprint
	// Until is when the material is stale, from this moment on.
	Until time.Time
}

// MatchPOSH holds the certificate that a peer has presented against the material of the domain that it claims, at a
// moment. Nil means that the certificate is one of those that the domain publishes, that it has not expired, and that the
// material is not stale; anything else is a [POSHError]. One hash of one fingerprint is enough (RFC 7711 §3.3). The name
// in the certificate and who has signed it do not matter: that is what POSH is for.
func MatchPOSH(m *POSHMaterial, cert *x509.Certificate, now time.Time) error {
	fail := func(reason POSHReason, err error) error {
		return &POSHError{Domain: m.Domain, Reason: reason, Err: err}
	}
	if !now.Before(m.Until) {
		return fail(POSHExpired, fmt.Errorf("the material was good until %v; fetch it again", m.Until))
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return fail(POSHCertificate, x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired, Detail: fmt.Sprintf("at %v", now)})
	}
	for _, f := range m.Fingerprints {
		if f.matches(cert) {
			return nil
		}
	}
	return fail(POSHMismatch, fmt.Errorf("none of %d fingerprints is that of the certificate of %s; publish its SHA-256 %s",
		len(m.Fingerprints), cert.Subject, base64Sum(cert.Raw)))
}

func base64Sum(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A POSHFetcher gets the material of domains from their web servers (RFC 7711 §3) and keeps it as long as the documents
// say. The zero value trusts the system's roots. Any number of goroutines may use one; it must not be copied or changed
// once it is used.
//
// Each fetch has its own connections, which it keeps for redirects and references to the same host and closes at its end:
// web servers of different domains are different in reality, too. HTTP/1.1 is spoken, caching headers are not heeded
// (RFC 7711 §6). What others are fetching already is not fetched again. Errors are not kept.
type POSHFetcher struct {
	// Roots verify the web servers; nil means the system's.
	Roots *x509.CertPool
	// TLS is called with the configuration for each connection before it is used; nil leaves it as it is: the name of
	// the host is sent and verified (RFC 2818), nothing is resumed.
	TLS func(*tls.Config)
	// Dial connects to "host:port"; nil means a [net.Dialer]. It has to return when its context ends.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout bounds getting one document, redirects included; a reference doubles it. 0 means DefaultPOSHTimeout.
	Timeout time.Duration
	// MaxBytes bounds the body of one answer; 0 means DefaultPOSHMaxBytes.
	MaxBytes int64
	// MaxAge bounds how long material is kept; 0 means DefaultPOSHMaxAge, less than 0 that nothing is kept. RFC 7711 §6
	// allows less than a document says.
	MaxAge time.Duration
	// Now is the clock; nil means [time.Now].
	Now func() time.Time

	pending resolve.Flight[string, *POSHMaterial]

	mu     sync.Mutex
	cache  map[string]*POSHMaterial
	counts POSHCounts
}

// POSHCounts are what a [POSHFetcher] has done.
type POSHCounts struct {
	Fetches     uint64 // for a domain, with whatever outcome
	Requests    uint64 // GETs: of documents, after redirects and of references
	Connections uint64 // opened
	Handshakes  uint64 // of TLS, brought to an end
	Cached      uint64 // answered from what is kept
	Joined      uint64 // answered by a fetch that was under way
	Failed      uint64 // fetches that ended in an error, a domain without POSH among them
}

// Counts returns what has been done so far.
func (f *POSHFetcher) Counts() POSHCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

func (f *POSHFetcher) count(change func(*POSHCounts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.counts)
}

func (f *POSHFetcher) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// Fetch returns the material of a domain. It blocks until that is there, the time is over or the context ends. Errors are
// a [POSHError].
func (f *POSHFetcher) Fetch(ctx context.Context, domain string) (*POSHMaterial, error) {
	domain = canonicalDomain(domain)
	if m := f.cached(domain); m != nil {
		return m, nil
	}
	m, joined, err := f.pending.Do(ctx, domain, func(ctx context.Context) (*POSHMaterial, error) { return f.fetch(ctx, domain) })
	if joined {
		f.count(func(c *POSHCounts) { c.Joined++ })
	}
	if err != nil {
		e := &POSHError{Domain: domain, Reason: POSHUnreachable, Err: err}
		if cause := new(POSHError); errors.As(err, &cause) {
			e.Reason, e.Err = cause.Reason, cause.Err
		}
		return nil, e
	}
	return m, nil
}

// cached returns what is kept and not stale.
func (f *POSHFetcher) cached(domain string) *POSHMaterial {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.cache[domain]
	switch {
	case m == nil:
		return nil
	case !f.now().Before(m.Until):
		delete(f.cache, domain)
		return nil
	}
	f.counts.Cached++
	return m
}

// fetch gets a document and what it refers to, and keeps what comes of it.
func (f *POSHFetcher) fetch(ctx context.Context, domain string) (*POSHMaterial, error) {
	// Another fetch may have ended since the cache was asked.
	if m := f.cached(domain); m != nil {
		return m, nil
	}
	f.count(func(c *POSHCounts) { c.Fetches++ })
	m, err := f.material(ctx, domain)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.counts.Failed++
		return nil, err
	}
	if f.MaxAge >= 0 {
		if f.cache == nil {
			f.cache = make(map[string]*POSHMaterial)
		}
		f.cache[domain] = m
	}
	return m, nil
}

func (f *POSHFetcher) material(ctx context.Context, domain string) (*POSHMaterial, error) {
	if !plainDomain(domain) {
		return nil, &POSHError{Reason: POSHUnreachable, Err: fmt.Errorf("%s is no domain name; write it in A-labels", clip(domain))}
	}
	g := &poshGetter{fetcher: f}
	defer g.close()
	doc, err := g.document(ctx, &url.URL{Scheme: "https", Host: domain, Path: POSHPath})
	if err != nil {
		return nil, err
	}
	// The time begins when the first document is there. For the second one that is a little early, never too late.
	begin, expires := f.now(), doc.Expires
	if doc.URL != "" {
		where, err := secureURL(doc.URL)
		if err != nil {
			return nil, &POSHError{Reason: POSHDocumentBad, Err: fmt.Errorf("url: %w", err)}
		}
		if doc, err = g.document(ctx, where); err != nil {
			return nil, referred(where, err)
		}
		if doc.URL != "" {
			return nil, &POSHError{Reason: POSHDocumentBad, Err: fmt.Errorf("the reference leads to %s, which is a reference, too", clip(where.String()))}
		}
		expires = min(expires, doc.Expires)
	}
	most := f.MaxAge
	if most <= 0 {
		most = DefaultPOSHMaxAge
	}
	return &POSHMaterial{Domain: domain, Fingerprints: doc.Fingerprints, Until: begin.Add(min(expires, most))}, nil
}

// referred says that the second document is at fault. That it does not exist is a fault, too: the domain has POSH.
func referred(where *url.URL, err error) error {
	e := &POSHError{Reason: POSHUnreachable, Err: fmt.Errorf("reference to %s: %w", clip(where.String()), err)}
	if cause := new(POSHError); errors.As(err, &cause) {
		e.Reason, e.Err = cause.Reason, fmt.Errorf("reference to %s: %w", clip(where.String()), cause.Err)
		if e.Reason == POSHAbsent {
			e.Reason = POSHStatus
		}
	}
	return e
}

// A poshGetter does the requests of one fetch, one after the other, over one connection at a time.
type poshGetter struct {
	fetcher *POSHFetcher
	host    string // "host:port" of the connection
	conn    net.Conn
	reader  *bufio.Reader
	limit   *io.LimitedReader
}

func (g *poshGetter) close() {
	if g.conn != nil {
		_ = g.conn.Close()
		g.conn = nil
	}
}

// document gets one document, redirects followed.
func (g *poshGetter) document(ctx context.Context, where *url.URL) (POSHDocument, error) {
	timeout := g.fetcher.Timeout
	if timeout <= 0 {
		timeout = DefaultPOSHTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for range MaxPOSHRedirects + 1 {
		answer, err := g.get(ctx, where)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			var known *POSHError
			if errors.As(err, &known) {
				return POSHDocument{}, err
			}
			return POSHDocument{}, &POSHError{Reason: POSHUnreachable, Err: fmt.Errorf("GET %s: %w", where.Redacted(), err)}
		}
		switch {
		case answer.location != nil:
			where = answer.location
			continue
		case answer.status >= 200 && answer.status < 300:
			return ParsePOSH(answer.body)
		case answer.status >= 400 && answer.status < 500:
			return POSHDocument{}, &POSHError{Reason: POSHAbsent, Err: fmt.Errorf("GET %s: %d, the domain publishes no certificates", where.Redacted(), answer.status)}
		}
		return POSHDocument{}, &POSHError{Reason: POSHStatus, Err: fmt.Errorf("GET %s: %d, want 200", where.Redacted(), answer.status)}
	}
	return POSHDocument{}, &POSHError{Reason: POSHRedirect, Err: fmt.Errorf("more than %d redirects, the last one to %s", MaxPOSHRedirects, clip(where.Redacted()))}
}

// A poshAnswer is what one request brought.
type poshAnswer struct {
	status   int
	body     []byte
	location *url.URL // of a redirect
}

// get does one request.
func (g *poshGetter) get(ctx context.Context, where *url.URL) (poshAnswer, error) {
	if err := g.connect(ctx, where); err != nil {
		return poshAnswer{}, err
	}
	conn := g.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	g.fetcher.count(func(c *POSHCounts) { c.Requests++ })
	request := &http.Request{
		Method: http.MethodGet, URL: where, Host: where.Host, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Accept": {"application/json"}, "User-Agent": {"xmppbench"}},
	}
	if err := request.Write(conn); err != nil {
		return poshAnswer{}, err
	}
	most := g.fetcher.MaxBytes
	if most <= 0 {
		most = DefaultPOSHMaxBytes
	}
	g.limit.N = maxPOSHHeader
	response, err := g.response(request)
	if err != nil {
		if g.limit.N <= 0 {
			err = &POSHError{Reason: POSHTooLarge, Err: fmt.Errorf("GET %s: more than %d octets before the body", where.Redacted(), maxPOSHHeader)}
		}
		return poshAnswer{}, err
	}
	// The body is not closed, which would read on to its end: the connection is.
	g.limit.N = 2*most + maxPOSHHeader // chunks have an overhead; the body itself is bounded below
	answer := poshAnswer{status: response.StatusCode}
	if answer.body, err = io.ReadAll(io.LimitReader(response.Body, most+1)); err != nil && g.limit.N > 0 {
		return poshAnswer{}, err
	}
	if int64(len(answer.body)) > most || g.limit.N <= 0 {
		return poshAnswer{}, &POSHError{Reason: POSHTooLarge, Err: fmt.Errorf("GET %s: more than %d octets", where.Redacted(), most)}
	}
	if response.Close {
		g.close()
	}
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		answer.location, err = redirect(where, response.Header.Get("Location"))
	}
	return answer, err
}

// response reads the header of the final answer.
func (g *poshGetter) response(request *http.Request) (*http.Response, error) {
	const informational = 5
	for range informational {
		response, err := http.ReadResponse(g.reader, request)
		if err != nil || response.StatusCode >= 200 {
			return response, err
		}
	}
	return nil, fmt.Errorf("more than %d preliminary answers", informational)
}

// redirect returns where a redirect leads to.
func redirect(from *url.URL, location string) (*url.URL, error) {
	fail := func(err error) (*url.URL, error) {
		return nil, &POSHError{Reason: POSHRedirect, Err: fmt.Errorf("GET %s: redirect: %w", from.Redacted(), err)}
	}
	if location == "" {
		return fail(errors.New("it says not where to"))
	}
	to, err := from.Parse(location)
	if err != nil {
		return fail(fmt.Errorf("it leads to no URI: %w", err))
	}
	if err := checkURL(to); err != nil {
		return fail(err)
	}
	return to, nil
}

// connect makes sure that there is a connection to the host.
func (g *poshGetter) connect(ctx context.Context, where *url.URL) error {
	name, port := where.Hostname(), where.Port()
	if port == "" {
		port = "443"
	}
	host := net.JoinHostPort(strings.ToLower(name), port)
	if g.conn != nil && g.host == host {
		return nil
	}
	g.close()
	dial := g.fetcher.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", host)
	if err != nil {
		return err
	}
	g.fetcher.count(func(c *POSHCounts) { c.Connections++ })
	config := &tls.Config{RootCAs: g.fetcher.Roots, ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Time: g.fetcher.Now}
	if g.fetcher.TLS != nil {
		g.fetcher.TLS(config)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return err
	}
	g.fetcher.count(func(c *POSHCounts) { c.Handshakes++ })
	g.host, g.conn = host, secured
	g.limit = &io.LimitedReader{R: secured}
	g.reader = bufio.NewReader(g.limit)
	return nil
}
