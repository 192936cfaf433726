package simulator

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/xmppbench/xmppbench/internal/lab"
)

// channels is the TLS side of the simulator: one certificate for all domains and
// the channel bindings that follow from it.
type channels struct {
	ca     *lab.CA
	config *tls.Config
	// endPoint is the data of tls-server-end-point (RFC 5929 §4), nil where that
	// is not defined for the certificate's signature.
	endPoint []byte
	plus13   bool
}

func newChannels(c TLS, domains []string) (*channels, error) {
	ca, err := authority(c)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue(lab.LeafOptions{Names: domains, Key: c.Key})
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates:           []tls.Certificate{cert},
		NextProtos:             []string{"xmpp-client"},
		SessionTicketsDisabled: !c.Resumption,
		MinVersion:             tls.VersionTLS12,
	}
	if config.MinVersion, err = version(c.MinVersion, tls.VersionTLS12); err != nil {
		return nil, err
	}
	if config.MaxVersion, err = version(c.MaxVersion, tls.VersionTLS13); err != nil {
		return nil, err
	}
	for _, name := range c.Curves {
		id, ok := curves()[name]
		if !ok {
			return nil, fmt.Errorf("simulator: curve %q is not known: use X25519MLKEM768, X25519, P-256 or P-384", name)
		}
		config.CurvePreferences = append(config.CurvePreferences, id)
	}
	return &channels{ca: ca, config: config, endPoint: endPoint(cert.Leaf), plus13: c.Plus13}, nil
}

func authority(c TLS) (*lab.CA, error) {
	if len(c.CA) > 0 {
		return lab.ParseCA(c.CA, c.CAKey)
	}
	return lab.NewCA("xmppbench simulator", lab.CAOptions{})
}

func version(name string, otherwise uint16) (uint16, error) {
	switch name {
	case "":
		return otherwise, nil
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("simulator: TLS version %q is not one of \"1.2\" and \"1.3\"", name)
}

func curves() map[string]tls.CurveID {
	return map[string]tls.CurveID{
		"X25519MLKEM768": tls.X25519MLKEM768, "X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384,
	}
}

// endPoint hashes the certificate with the hash of its signature, SHA-256 in place
// of weaker ones (RFC 5929 §4.1).
func endPoint(leaf *x509.Certificate) []byte {
	var h crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	default:
		return nil
	}
	d := h.New()
	d.Write(leaf.Raw)
	return d.Sum(nil)
}

// bindings returns the channel binding types that a connection supports, the best
// first; none where -PLUS mechanisms are not on offer.
func (ch *channels) bindings(cs *tls.ConnectionState) []string {
	var types []string
	switch {
	case cs == nil:
		return nil
	case cs.Version >= tls.VersionTLS13:
		if !ch.plus13 {
			return nil
		}
		types = append(types, "tls-exporter")
	case cs.TLSUnique != nil: // absent after a resumption without extended master secret
		types = append(types, "tls-unique")
	}
	if ch.endPoint != nil {
		types = append(types, "tls-server-end-point")
	}
	return types
}

// binding returns the data of a binding type on a connection, or nil where it is
// not supported (RFC 5929, RFC 9266).
func (ch *channels) binding(cs *tls.ConnectionState, typ string) []byte {
	switch {
	case cs == nil:
		return nil
	case typ == "tls-server-end-point":
		return ch.endPoint
	case typ == "tls-unique" && cs.Version < tls.VersionTLS13:
		return cs.TLSUnique
	case typ == "tls-exporter" && cs.Version >= tls.VersionTLS13:
		data, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return nil
		}
		return data
	}
	return nil
}
