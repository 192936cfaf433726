package session

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTLSSettings(t *testing.T) {
	c, err := TLSSettings{Min: "1.3", Max: "1.3", Curves: []string{"P-256", "x25519", "X25519MLKEM768", "CurveP384"}, Resumption: 3}.Config()
	if err != nil {
		t.Fatal(err)
	}
	if want := []tls.CurveID{tls.CurveP256, tls.X25519, tls.X25519MLKEM768, tls.CurveP384}; !slices.Equal(c.CurvePreferences, want) {
		t.Errorf("curves %v", c.CurvePreferences)
	}
	if c.MinVersion != tls.VersionTLS13 || c.MaxVersion != tls.VersionTLS13 || c.ClientSessionCache == nil || c.RootCAs != nil || c.InsecureSkipVerify {
		t.Errorf("configuration %+v", c)
	}
	if c, err := (TLSSettings{}).Config(); err != nil || c.MinVersion != tls.VersionTLS12 || c.MaxVersion != 0 || c.ClientSessionCache != nil {
		t.Errorf("defaults %+v, %v", c, err)
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]TLSSettings{
		"1.4": {Min: "1.4"}, "0.9": {Max: "0.9"}, "below": {Min: "1.3", Max: "1.2"}, "P-255": {Curves: []string{"P-255"}},
		"ca.pem": {CAFile: empty}, "missing.pem": {CAFile: filepath.Join(t.TempDir(), "missing.pem")}, "cert.pem": {CertFile: "cert.pem"},
	} {
		if _, err := s.Config(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: error %v does not say %q", s, err, name)
		}
	}
}

func TestParseTLSMode(t *testing.T) {
	for _, m := range []TLSMode{StartTLS, DirectTLS, NoTLS} {
		if got, err := ParseTLSMode(m.String()); got != m || err != nil {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
	if _, err := ParseTLSMode("ssl"); err == nil {
		t.Error("ssl is a TLS mode")
	}
}

// TestClientConfig checks that a configuration is cloned only where it has to differ, as a clone is kept per connection.
func TestClientConfig(t *testing.T) {
	base := &tls.Config{}
	got := clientConfig(base, "a.test", DirectTLS)
	if got == base || got.ServerName != "a.test" || !slices.Equal(got.NextProtos, []string{"xmpp-client"}) || base.ServerName != "" || base.NextProtos != nil {
		t.Errorf("from an empty one: %+v", got)
	}
	if again := clientConfig(got, "a.test", DirectTLS); again != got {
		t.Error("a fitting configuration is cloned")
	}
	if got := clientConfig(got, "b.test", StartTLS); got.ServerName != "a.test" || got.NextProtos != nil {
		t.Errorf("a given server name is kept and ALPN is not offered over STARTTLS: %+v", got)
	}
	if got := clientConfig(nil, "a.test", StartTLS); got.ServerName != "a.test" || got.MinVersion != tls.VersionTLS12 {
		t.Errorf("from none: %+v", got)
	}
}

func TestTLSRoundTrips(t *testing.T) {
	for want, infos := range map[int][]TLSInfo{
		0: {{}},
		1: {{Version: tls.VersionTLS13}, {Version: tls.VersionTLS13, DidResume: true}, {Version: tls.VersionTLS12, DidResume: true}},
		2: {{Version: tls.VersionTLS13, HelloRetryRequest: true}, {Version: tls.VersionTLS12}},
	} {
		for _, info := range infos {
			if got := info.roundTrips(); got != want {
				t.Errorf("%+v takes %d round trips, want %d", info, got, want)
			}
		}
	}
}
