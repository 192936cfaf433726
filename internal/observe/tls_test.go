package observe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/observe"
)

// certified makes a certificate that is its own authority, valid until a time, and the PEM
// file of it.
func certified(t *testing.T, until time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// An agent with a certificate is asked over TLS, and shown the token only once it is trusted.
func TestAgentTLS(t *testing.T) {
	local := open(t, observe.Config{PID: os.Getpid()})
	serve := func(pair tls.Certificate) string {
		s := httptest.NewUnstartedServer(observe.Handler(local, token))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	good, ca := certified(t, time.Now().Add(time.Hour))
	_, other := certified(t, time.Now().Add(time.Hour))
	old, oldCA := certified(t, time.Now().Add(-time.Minute))
	at, expired := serve(good), serve(old)
	for _, address := range []string{at, "https://" + at} {
		r, err := open(t, observe.Config{Agent: address, Token: token, CA: ca}).Read(t.Context())
		if err != nil || len(r.PIDs) != 1 || r.PIDs[0] != os.Getpid() {
			t.Errorf("%s: %+v, %v", address, r, err)
		}
	}
	for name, tt := range map[string]struct {
		c    observe.Config
		want string
	}{
		"another authority":      {observe.Config{Agent: at, Token: token, CA: other}, "certificate signed by unknown authority"},
		"authorities of nobody":  {observe.Config{Agent: "https://" + at, Token: token}, "certificate signed by unknown authority"},
		"expired":                {observe.Config{Agent: expired, Token: token, CA: oldCA}, "certificate has expired"},
		"another name":           {observe.Config{Agent: strings.Replace(at, "127.0.0.1", "localhost", 1), Token: token, CA: ca}, "wanted to match localhost"},
		"without TLS":            {observe.Config{Agent: at, Token: token}, "an agent with a certificate is asked by https://"},
		"another token, trusted": {observe.Config{Agent: at, Token: "fedcba9876543210", CA: ca}, "does not accept the token"},
	} {
		_, err := open(t, tt.c).Read(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v does not say %q", name, err, tt.want)
		}
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted != (strings.HasPrefix(tt.want, "cert") || name == "another name") {
			t.Errorf("%s: %v is of type %T", name, err, err)
		}
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		c    observe.Config
		want string
	}{
		"of nobody":      {observe.Config{PID: 1, CA: ca}, "none is named"},
		"beside no TLS":  {observe.Config{Agent: "http://" + at, Token: token, CA: ca}, "asked without TLS"},
		"no such file":   {observe.Config{Agent: at, Token: token, CA: text + "s"}, "no such file"},
		"no certificate": {observe.Config{Agent: at, Token: token, CA: text}, "holds no certificate in PEM"},
	} {
		if _, err := observe.Open(tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v does not say %q", name, err, tt.want)
		}
	}
}
