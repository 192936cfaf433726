package s2s

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// clients is what outgoing TLS connections share.
type clients struct {
	mu     sync.Mutex
	caches map[string]tls.ClientSessionCache // by local domain: a ticket speaks for the certificate it was made with
}

// sessions is how many TLS sessions a domain keeps for resumption.
const sessions = 64

func (c *clients) cache(local string) tls.ClientSessionCache {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caches == nil {
		c.caches = make(map[string]tls.ClientSessionCache)
	}
	if c.caches[local] == nil {
		c.caches[local] = tls.NewLRUClientSessionCache(sessions)
	}
	return c.caches[local]
}

// tune sets what the settings say of TLS at both ends.
func (h *Host) tune(c *tls.Config) {
	p := h.c.Params
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	if p.TLSMax == "1.2" {
		c.MaxVersion = tls.VersionTLS12
	}
	switch p.Curves {
	case "x25519":
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	case "p256":
		c.CurvePreferences = []tls.CurveID{tls.CurveP256}
	}
	c.NextProtos = []string{ALPN}
	c.SessionTicketsDisabled = !p.Resumption
	c.Time = h.c.Now
}

// presented returns the domain whose certificate a peer gets: the one that it named in
// TLS, else the one that its stream header was for before STARTTLS, as servers have it
// that leave the name out of TLS (Prosody 0.12 among them), else the first one.
func (h *Host) presented(serverName, header string) string {
	return cmp.Or(domainOf(serverName), header, h.c.Domains[0])
}

// askedKey is the key of a context for the domain of the stream header before STARTTLS.
type askedKey struct{}

func withAsked(ctx context.Context, domain string) context.Context {
	return context.WithValue(ctx, askedKey{}, domain)
}

func asked(ctx context.Context) string {
	domain, _ := ctx.Value(askedKey{}).(string)
	return domain
}

// serverTLS is the configuration of all incoming connections: the certificate is
// that of the domain asked for, and the peer's is looked at afterwards.
func (h *Host) serverTLS() *tls.Config {
	c := &tls.Config{
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			domain := h.presented(hello.ServerName, asked(hello.Context()))
			if !h.hosts(domain) {
				return nil, fmt.Errorf("s2s: %s is not hosted here", domain)
			}
			if cert := h.id.of(domain); cert != nil {
				return cert, nil
			}
			return nil, fmt.Errorf("s2s: there is no certificate for %s", domain)
		},
	}
	h.tune(c)
	return c
}

// clientTLS is the configuration of one outgoing connection.
func (h *Host) clientTLS(s *Stream, o connectOptions) *tls.Config {
	c := &tls.Config{
		ServerName:         s.remote,
		InsecureSkipVerify: true, // #nosec G402 -- VerifyConnection does it: names of RFC 6120 §13.7 are not those of HTTPS.
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		s.chainErr = h.verifyChain(&cs)
		v := h.c.Variant
		switch {
		case o.certify, v.named:
			if s.chainErr != nil {
				return s.chainErr
			}
			if !Covers(cs.PeerCertificates[0], s.remote) {
				return fmt.Errorf("s2s: the peer's certificate does not name %s", s.remote)
			}
		case !v.open && s.chainErr != nil:
			return s.chainErr // a wrong name may pass, a wrong chain may not
		}
		return nil
	}
	own := h.id.of(s.local)
	if h.c.Variant.client != nil {
		own = h.c.Variant.client(h, s.local)
	}
	if own != nil {
		c.Certificates = []tls.Certificate{*own}
		c.GetClientCertificate = func(wish *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked := *wish
			asked.AcceptableCAs = nil
			if asked.SupportsCertificate(own) != nil {
				return new(tls.Certificate), nil
			}
			// Whoever signed it: the authorities that a server lists are those of its own
			// clients, and dialback needs none (ejabberd lists what is in s2s_cafile).
			return own, nil
		}
	}
	h.tune(c)
	if h.c.Params.Resumption {
		c.ClientSessionCache = h.clients.cache(s.local)
	}
	return c
}

// verifyChain verifies the peer's certificate up to a root, and counts the
// signatures that this and the handshake took.
func (h *Host) verifyChain(cs *tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("s2s: the peer presented no certificate")
	}
	signatures := len(cs.PeerCertificates)
	if !cs.DidResume {
		signatures++ // that of the handshake
	}
	h.tally.add(FigureVerified, int64(signatures))
	if cs.PeerCertificates[0].IsCA {
		return errors.New("s2s: the peer's certificate is that of an authority (RFC 6120 §13.7.1.1)")
	}
	return VerifyChain(cs.PeerCertificates, h.id.roots, h.now(), h.c.Credentials.ClientAuth)
}

// leafOf returns the certificate that a key pair presents, nil without one.
func leafOf(c *tls.Certificate) *x509.Certificate {
	if c == nil {
		return nil
	}
	return c.Leaf
}
