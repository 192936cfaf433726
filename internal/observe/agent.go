package observe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// path is where an agent answers.
const path = "/v1/reading"

// maxAnswer bounds what is read from an agent or a server, in bytes.
const maxAnswer = 8 << 20

// MinToken is the least length of a token, in bytes: a shorter one can be guessed.
const MinToken = 16

// ErrToken says that an agent did not take the token.
var ErrToken = errors.New("the agent does not accept the token")

// ParseToken takes a token as it stands in a file: one line of printable ASCII of at least [MinToken] bytes, without what headers of
// HTTP give a meaning to: spaces, quotes, commas, semicolons and backslashes.
func ParseToken(b []byte) (string, error) {
	token := string(bytes.TrimSpace(b))
	if len(token) < MinToken {
		return "", fmt.Errorf("observe: a token of %d bytes is too short: at least %d, such as those of: head -c 24 /dev/urandom | base64", len(token), MinToken)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' || strings.IndexByte(`",;\`, c) >= 0 {
			return "", errors.New("observe: a token is one line of printable characters without spaces, quotes, commas, semicolons and backslashes")
		}
	}
	return token, nil
}

// Handler answers GET /v1/reading with a [Reading] of o in JSON, to whoever shows the token as "Authorization: Bearer TOKEN"
// (RFC 6750 §2.1). With the query "only=cpu" it reads the processor time alone. It changes nothing and takes nothing else.
func Handler(o *Observer, token string) http.Handler {
	want := sha256.Sum256([]byte(token))
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, q *http.Request) {
		shown, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(shown))
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) == 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="xmppbench observe"`)
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		var (
			r   Reading
			err error
		)
		if q.URL.Query().Get("only") == "cpu" {
			r.CPU, err = o.CPU(q.Context())
			r.Time = time.Now().Round(0)
		} else {
			r, err = o.Read(q.Context())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// A client that has gone away need not be told.
		_ = json.NewEncoder(w).Encode(r)
	})
	return mux
}

// agent is the client of a Handler.
type agent struct {
	url    string
	token  string
	client *http.Client
}

func newAgent(address, token, ca string) (*agent, error) {
	if token == "" {
		return nil, errors.New("observe: an agent wants a token")
	}
	text := address
	if !strings.Contains(text, "://") {
		if _, _, err := net.SplitHostPort(text); err != nil {
			return nil, fmt.Errorf("observe: the agent %q is not host:port", address)
		}
		scheme := "http://"
		if ca != "" {
			scheme = "https://"
		}
		text = scheme + text
	}
	u, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("observe: the agent %q is neither host:port nor a URL: %w", address, err)
	}
	u.Path, u.RawQuery, u.Fragment = path, "", ""
	a := &agent{url: u.String(), token: token, client: newClient()}
	if ca == "" {
		return a, nil
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("observe: the agent %s is asked without TLS, and has no certificate to be trusted: name it as https://, or leave the authorities out", a.url)
	}
	pem, err := os.ReadFile(ca) // #nosec G304 -- a file that the user names
	if err != nil {
		return nil, fmt.Errorf("observe: authorities of the agent: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("observe: authorities of the agent: %s holds no certificate in PEM", ca)
	}
	a.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return a, nil
}

func (a *agent) close() { a.client.CloseIdleConnections() }

func (a *agent) read(ctx context.Context, onlyCPU bool) (Reading, error) {
	at := a.url
	if onlyCPU {
		at += "?only=cpu"
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return Reading{}, fmt.Errorf("observe: agent: %w", err)
	}
	q.Header.Set("Authorization", "Bearer "+a.token)
	b, err := ask(a.client, q)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusUnauthorized {
		return Reading{}, fmt.Errorf("observe: %s: %w: it must be the one of its --token-file", a.url, ErrToken)
	}
	if errors.As(err, &status) && status.code == http.StatusBadRequest && strings.HasPrefix(a.url, "http://") {
		return Reading{}, fmt.Errorf("observe: %w; an agent with a certificate is asked by https://, or with the authority of the certificate named", err)
	}
	if err != nil {
		return Reading{}, fmt.Errorf("observe: agent: %w", err)
	}
	var r Reading
	if err := json.Unmarshal(b, &r); err != nil {
		return Reading{}, fmt.Errorf("observe: %s did not answer as an agent does: %w", a.url, err)
	}
	return r, nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("it must begin with http:// or https:// and name a host")
	}
	return u, nil
}

// newClient returns a client that keeps one connection and follows nobody elsewhere: what it shows is meant for one host.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       limit,
		Transport:     &http.Transport{MaxConnsPerHost: 1, IdleConnTimeout: time.Minute, DialContext: (&net.Dialer{Timeout: limit}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// statusError is an answer other than 200.
type statusError struct {
	url, text string
	code      int
}

func (e *statusError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("%s answered %d", e.url, e.code)
	}
	return fmt.Sprintf("%s answered %d: %s", e.url, e.code, e.text)
}

// ask sends a request and returns the body of the answer.
func ask(c *http.Client, q *http.Request) ([]byte, error) {
	answer, err := c.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		text := strings.TrimSpace(string(b[:min(len(b), 200)]))
		return nil, &statusError{url: q.URL.Redacted(), code: answer.StatusCode, text: strings.Map(printable, text)}
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s answered more than %d bytes", q.URL.Redacted(), maxAnswer)
	}
	return b, nil
}

// printable keeps what a peer wrote from moving the cursor of a terminal.
func printable(c rune) rune {
	if c < ' ' || c == 0x7f {
		return ' '
	}
	return c
}
