package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// A CRLFetcher fetches revocation lists over HTTP and HTTPS, each on a connection of
// its own. Its methods may be called concurrently.
//
// The URLs come from certificates that peers have shown. Dial decides where to connect
// to: the zero value connects to whatever a peer likes.
type CRLFetcher struct {
	// Roots verify web servers; nil means the system's.
	Roots *x509.CertPool
	// Dial connects to "host:port"; nil means a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// crlHeader bounds the header of an answer, in octets.
const crlHeader = 16 << 10

// Fetch returns what stands at a URL, as Config.CRLs has it. Nothing is redirected: the
// list belongs where the certificate says. It blocks until the context ends.
func (f *CRLFetcher) Fetch(ctx context.Context, from string) ([]byte, error) {
	at, err := url.Parse(from)
	if err != nil || at.Host == "" || at.User != nil || (at.Scheme != "http" && at.Scheme != "https") {
		return nil, fmt.Errorf("s2s: %q is not the URL of a revocation list", clip(from))
	}
	transport := &http.Transport{
		DialContext: f.Dial, TLSClientConfig: &tls.Config{RootCAs: f.Roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: crlHeader,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport: transport, Timeout: DefaultSetup,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("s2s: revocation list: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("s2s: revocation list: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // what matters was read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("s2s: revocation list %s: %s", clip(from), resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, attrcert.MaxCRLBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("s2s: revocation list %s: %w", clip(from), err)
	case len(b) > attrcert.MaxCRLBytes:
		return nil, fmt.Errorf("s2s: revocation list %s: more than %d octets", clip(from), attrcert.MaxCRLBytes)
	}
	return b, nil
}
