package session

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// ALPN is the protocol name of direct TLS for clients (XEP-0368 §3).
const ALPN = "xmpp-client"

// A TLSMode says how a connection to a server is secured.
type TLSMode uint8

// The ways to secure a connection.
const (
	StartTLS  TLSMode = iota // RFC 6120 §5; a server that does not offer it is refused
	DirectTLS                // TLS from the first byte (XEP-0368)
	NoTLS                    // in clear
)

// ParseTLSMode reads "starttls", "direct" or "none".
func ParseTLSMode(s string) (TLSMode, error) {
	for _, m := range []TLSMode{StartTLS, DirectTLS, NoTLS} {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("session: unknown TLS mode %q: say starttls, direct or none", s)
}

// String returns the name of the mode as [ParseTLSMode] reads it.
func (m TLSMode) String() string {
	switch m {
	case StartTLS:
		return "starttls"
	case DirectTLS:
		return "direct"
	case NoTLS:
		return "none"
	}
	return fmt.Sprintf("TLSMode(%d)", uint8(m))
}

// TLSSettings are the TLS parameters of a scenario or target file.
type TLSSettings struct {
	CAFile     string   // PEM file of the trusted authorities; empty: the system's
	Min, Max   string   // "1.2" or "1.3"; empty: 1.2 and no maximum
	Curves     []string // key exchanges on offer, best first, as "X25519MLKEM768", "X25519", "P-256"; empty: Go's
	CertFile   string   // PEM file of the client's certificate, for EXTERNAL
	KeyFile    string   // PEM file of its key
	Resumption int      // sessions kept to resume TLS with (RFC 8446 §2.2); 0: no resumption
	NoVerify   bool     // accept any certificate
}

// Config builds the configuration that [Config.TLSConfig] takes. It reads the files named, and can be shared by any
// number of logins, also to different domains.
func (t TLSSettings) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.NoVerify} // #nosec G402 -- NoVerify is the user's decision
	var err error
	if t.Min != "" {
		if c.MinVersion, err = parseVersion(t.Min); err != nil {
			return nil, err
		}
	}
	if t.Max != "" {
		if c.MaxVersion, err = parseVersion(t.Max); err != nil {
			return nil, err
		}
		if c.MaxVersion < c.MinVersion {
			return nil, fmt.Errorf("session: the highest TLS version %s is below the lowest, %s", t.Max, tls.VersionName(c.MinVersion))
		}
	}
	for _, name := range t.Curves {
		curve, err := parseCurve(name)
		if err != nil {
			return nil, err
		}
		c.CurvePreferences = append(c.CurvePreferences, curve)
	}
	if t.CAFile != "" {
		if c.RootCAs, err = loadRoots(t.CAFile); err != nil {
			return nil, err
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("session: client certificate %q with key %q: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.Resumption > 0 {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(t.Resumption)
	}
	return c, nil
}

func parseVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("session: unknown TLS version %q: say 1.2 or 1.3", s)
}

func parseCurve(name string) (tls.CurveID, error) {
	known := []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	plain := func(s string) string {
		return strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(s, "-", "")), "curve")
	}
	i := slices.IndexFunc(known, func(c tls.CurveID) bool { return plain(c.String()) == plain(name) })
	if i < 0 {
		return 0, fmt.Errorf("session: unknown curve %q: known are %v", name, known)
	}
	return known[i], nil
}

func loadRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) // #nosec G304 -- the user names it
	if err != nil {
		return nil, fmt.Errorf("session: CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("session: CA file %s: %w", file, errors.New("no certificate in PEM form found"))
	}
	return pool, nil
}

// TLSInfo is what a TLS handshake came to. Its fields are named as those of [tls.ConnectionState], which is not kept
// because it holds the peer's certificates. The zero value means no TLS.
type TLSInfo struct {
	Version            uint16
	CipherSuite        uint16
	CurveID            tls.CurveID
	DidResume          bool
	HelloRetryRequest  bool
	NegotiatedProtocol string // ALPN, may be empty
}

func newTLSInfo(s *tls.ConnectionState) TLSInfo {
	return TLSInfo{
		Version: s.Version, CipherSuite: s.CipherSuite, CurveID: s.CurveID, DidResume: s.DidResume,
		HelloRetryRequest: s.HelloRetryRequest, NegotiatedProtocol: s.NegotiatedProtocol,
	}
}

// String returns the handshake in words, as "TLS 1.3 X25519MLKEM768 TLS_AES_128_GCM_SHA256", or "none".
func (t TLSInfo) String() string {
	if t.Version == 0 {
		return "none"
	}
	s := tls.VersionName(t.Version)
	if t.CurveID != 0 {
		s += " " + t.CurveID.String()
	}
	s += " " + tls.CipherSuiteName(t.CipherSuite)
	if t.DidResume {
		s += " resumed"
	}
	return s
}

// roundTrips returns how often the client waited for the server before it could send application data
// (RFC 5246 §7.3, RFC 8446 §2).
func (t TLSInfo) roundTrips() int {
	switch {
	case t.Version == 0:
		return 0
	case t.Version >= tls.VersionTLS13 && t.HelloRetryRequest:
		return 2
	case t.Version >= tls.VersionTLS13, t.DidResume:
		return 1
	default:
		return 2
	}
}

// clientConfig returns base fit for one domain. A base that fits already is used as it is: a clone is kept by the
// connection as long as it lives, which counts when there are many.
func clientConfig(base *tls.Config, domain string, mode TLSMode) *tls.Config {
	if base == nil {
		base = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	name := base.ServerName
	if name == "" {
		name = domain
	}
	protos := base.NextProtos
	if mode == DirectTLS && !slices.Contains(protos, ALPN) {
		protos = append(slices.Clip(protos), ALPN)
	}
	if mode == StartTLS {
		protos = nil // ALPN names direct TLS; over STARTTLS the protocol is known
	}
	if base.ServerName == name && slices.Equal(base.NextProtos, protos) {
		return base
	}
	c := base.Clone()
	c.ServerName, c.NextProtos = name, protos
	return c
}
