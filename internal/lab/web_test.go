package lab_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
)

func newWeb(t *testing.T) *lab.Web {
	t.Helper()
	w, err := lab.NewWeb(t.Context(), lab.WebOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// client returns one that finds every host at the server, follows no redirects, and trusts the authority.
func client(t *testing.T, w *lab.Web, ca *lab.CA) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext:     w.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get returns status, body and header.
func get(t *testing.T, c *http.Client, url string) (int, string, http.Header, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), response.Header, err
}

func TestWeb(t *testing.T) {
	ca, w := newCA(t), newWeb(t)
	for _, host := range []string{"a.test", "b.test"} {
		w.SetCertificate(host, issue(t, ca, lab.LeafOptions{Names: []string{host}}))
	}
	w.SetPage("A.test", "/x", lab.Page{Body: []byte("of a")})
	w.SetPage("b.test", "/x", lab.Page{Body: []byte("of b"), Type: "text/plain", Header: http.Header{"Cache-Control": {"no-cache"}}})
	w.SetPage("a.test", "/teapot", lab.Page{Status: http.StatusTeapot})
	w.SetPage("a.test", "/away", lab.Page{Location: "http://b.test/x"})
	w.SetPage("a.test", "/moved", lab.Page{Location: "/x", Status: http.StatusPermanentRedirect})
	w.SetPage("a.test", "/huge", lab.Page{Fill: 100_000, Body: []byte("{}")})
	w.SetPage("a.test", "/slow", lab.Page{Body: []byte("slow"), Slow: time.Microsecond, Wait: time.Microsecond})
	w.SetPage("a.test", "/close", lab.Page{Body: []byte("end"), Close: true})
	tests := []struct {
		url    string
		status int
		body   string
		field  string
		value  string
	}{
		{"https://a.test/x", 200, "of a", "Content-Type", "application/json"},
		{"http://a.test/x", 200, "of a", "Content-Length", "4"},
		{"https://b.test/x", 200, "of b", "Cache-Control", "no-cache"},
		{"https://B.TEST:8443/x", 200, "of b", "Content-Type", "text/plain"},
		{"https://a.test/none", 404, "", "Content-Length", "0"},
		{"https://a.test/teapot", 418, "", "", ""},
		{"https://a.test/away", 302, "", "Location", "http://b.test/x"},
		{"https://a.test/moved", 308, "", "Location", "/x"},
		{"https://a.test/huge", 200, strings.Repeat(" ", 100_000) + "{}", "", ""},
		{"https://a.test/slow", 200, "slow", "", ""},
		{"https://a.test/close", 200, "end", "", ""},
	}
	c := client(t, w, ca)
	for _, tt := range tests {
		status, body, header, err := get(t, c, tt.url)
		if err != nil || status != tt.status || body != tt.body || header.Get(tt.field) != tt.value {
			t.Errorf("%s: %d, %d octets, %v, %v", tt.url, status, len(body), header, err)
		}
	}
	// Connections are kept for each host and port; a second one to a.test follows its closing.
	if _, _, _, err := get(t, c, "https://a.test/x"); err != nil {
		t.Error(err)
	}
	want := lab.WebCounts{Connections: 5, Handshakes: 4, Resumed: 1, Requests: uint64(len(tests) + 1)}
	if got := w.Counts(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if got := w.Requests("a.test", "/x"); got != 3 {
		t.Errorf("a.test/x was asked for %d times, want 3", got)
	}
	if got := w.Requests("a.test", "/none"); got != 1 {
		t.Errorf("what is not there was asked for %d times, want 1", got)
	}
	w.RemovePage("a.test", "/x")
	if status, _, _, err := get(t, c, "https://a.test/x"); status != http.StatusNotFound || err != nil {
		t.Errorf("after its removal: %d, %v", status, err)
	}
	if response, err := c.Post("https://a.test/x", "", strings.NewReader("{}")); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", response, err)
	}
}

func TestWebCertificates(t *testing.T) {
	ca, other, w := newCA(t), newCA(t), newWeb(t)
	w.SetCertificate("wrong.test", issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}))
	w.SetCertificate("foreign.test", issue(t, other, lab.LeafOptions{Names: []string{"foreign.test"}}))
	c := client(t, w, ca)
	var hostname x509.HostnameError
	if _, _, _, err := get(t, c, "https://wrong.test/"); !errors.As(err, &hostname) {
		t.Errorf("wrong name: got %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if _, _, _, err := get(t, c, "https://foreign.test/"); !errors.As(err, &unknown) {
		t.Errorf("foreign authority: got %v", err)
	}
	if _, _, _, err := get(t, c, "https://none.test/"); err == nil {
		t.Error("a host without certificate was reached")
	}
	for w.Counts().Failed < 3 { // the client knows first
		time.Sleep(time.Millisecond)
	}
	if got, want := w.Counts(), (lab.WebCounts{Connections: 3, Failed: 3}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	w.SetCertificate("", issue(t, ca, lab.LeafOptions{Names: []string{"*.test"}}))
	if status, _, _, err := get(t, c, "https://none.test/"); status != http.StatusNotFound || err != nil {
		t.Errorf("with a certificate for all: %d, %v", status, err)
	}
}

// A body that is cut is an error for the client.
func TestWebCut(t *testing.T) {
	ca, w := newCA(t), newWeb(t)
	w.SetCertificate("a.test", issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}))
	w.SetPage("a.test", "/", lab.Page{Body: []byte("0123456789"), Cut: true})
	if _, body, _, err := get(t, client(t, w, ca), "https://a.test/"); !errors.Is(err, io.ErrUnexpectedEOF) || body != "01234" {
		t.Errorf("got %q, %v", body, err)
	}
}

// Close ends what takes for ever: handshakes, waits, pauses, idle connections.
func TestWebClose(t *testing.T) {
	ca, w := newCA(t), newWeb(t)
	w.SetCertificate("a.test", issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}))
	w.SetPage("a.test", "/wait", lab.Page{Wait: time.Hour})
	w.SetPage("a.test", "/slow", lab.Page{Slow: time.Hour, Body: []byte("{}")})
	ended := make(chan error)
	for _, path := range []string{"/wait", "/slow"} {
		conn, err := tls.Dial("tcp", w.Addr(), &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\n\r\n")
		go func() {
			_, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, conn)
			}
			ended <- err
		}()
	}
	silent, err := net.Dial("tcp", w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	go func() {
		_, err := io.Copy(io.Discard, silent)
		ended <- err
	}()
	for w.Counts().Connections < 3 || w.Counts().Requests < 2 {
		time.Sleep(time.Millisecond)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		<-ended // that they end is what counts, not how
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestWebRefuses(t *testing.T) {
	w := newWeb(t)
	if _, err := lab.NewWeb(t.Context(), lab.WebOptions{HTTPS: w.Addr()}); err == nil {
		t.Error("two servers share an address")
	}
	if _, err := lab.NewWeb(t.Context(), lab.WebOptions{HTTP: w.PlainAddr()}); err == nil {
		t.Error("two servers share an address")
	}
	if _, err := w.DialContext(t.Context(), "tcp", "a.test"); err == nil {
		t.Error("an address without a port was dialled")
	}
}
