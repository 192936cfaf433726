package attrcert_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"testing"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

func binding() attrcert.Binding {
	return attrcert.Binding{
		Role:     attrcert.Initiator,
		Exporter: bytes.Repeat([]byte{1}, attrcert.ExporterLength),
		Nonce:    bytes.Repeat([]byte{2}, attrcert.NonceLength),
		Names:    []string{"a1.example", "a2.example"},
	}
}

func TestBinding(t *testing.T) {
	for keys, want := range map[string]string{"p256": "ecdsa-sha256", "rsa": "rsa-sha256", "ed25519": "ed25519"} {
		t.Run(keys, func(t *testing.T) {
			w := newWorld(t, keys)
			alg, signature, err := binding().Sign(w.provider.key)
			if err != nil {
				t.Fatal(err)
			}
			if alg != want {
				t.Errorf("algorithm %s, want %s", alg, want)
			}
			other := binding()
			slices.Reverse(other.Names)
			if err := other.Verify(w.provider.cert, alg, signature); err != nil {
				t.Error(err)
			}
			tests := []struct {
				name   string
				change func(*attrcert.Binding)
			}{
				{"role", func(b *attrcert.Binding) { b.Role = attrcert.Responder }},
				{"exporter", func(b *attrcert.Binding) { b.Exporter[31] ^= 1 }},
				{"nonce", func(b *attrcert.Binding) { b.Nonce[0] ^= 1 }},
				{"a name", func(b *attrcert.Binding) { b.Names[1] = "a3.example" }},
				{"a name less", func(b *attrcert.Binding) { b.Names = b.Names[:1] }},
				{"a name more", func(b *attrcert.Binding) { b.Names = append(b.Names, "a3.example") }},
				{"a name twice", func(b *attrcert.Binding) { b.Names = append(b.Names, "a1.example") }},
				{"names in one", func(b *attrcert.Binding) { b.Names = []string{"a1.example\na2.example"} }},
				{"no names", func(b *attrcert.Binding) { b.Names = nil }},
				{"no role", func(b *attrcert.Binding) { b.Role = 0 }},
				{"short exporter", func(b *attrcert.Binding) { b.Exporter = b.Exporter[1:] }},
				{"long nonce", func(b *attrcert.Binding) { b.Nonce = append(b.Nonce, 2) }},
				{"nonce and exporter exchanged", func(b *attrcert.Binding) { b.Nonce, b.Exporter = b.Exporter, b.Nonce }},
			}
			for _, tt := range tests {
				b := binding()
				tt.change(&b)
				wantReason(t, b.Verify(w.provider.cert, alg, signature), attrcert.BindingFailed)
			}
			wantReason(t, binding().Verify(w.owner.cert, alg, signature), attrcert.BindingFailed)
			wantReason(t, binding().Verify(w.provider.cert, "sha1", signature), attrcert.BindingFailed)
			wantReason(t, binding().Verify(w.provider.cert, "", signature), attrcert.BindingFailed)
			for i := range signature {
				flipped := slices.Clone(signature)
				flipped[i] ^= 0x10
				wantReason(t, binding().Verify(w.provider.cert, alg, flipped), attrcert.BindingFailed)
			}
		})
	}
}

// What is signed, octet for octet, as another implementation would write it.
func TestBindingContent(t *testing.T) {
	w := newWorld(t, "p256")
	names := sha256.Sum256([]byte("a1.example\na2.example\n"))
	content := slices.Concat([]byte("xmppbench-dac-0\x00i"), bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), names[:])
	hash := sha256.Sum256(content)
	signature, err := w.provider.key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := binding().Verify(w.provider.cert, "ecdsa-sha256", signature); err != nil {
		t.Error(err)
	}
}

// What says too little is neither signed nor believed, not even with a signature over nothing.
func TestBindingIncomplete(t *testing.T) {
	w := newWorld(t, "ed25519")
	overNothing, err := w.provider.key.Sign(rand.Reader, nil, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*attrcert.Binding){
		"everything": func(b *attrcert.Binding) { *b = attrcert.Binding{} },
		"role":       func(b *attrcert.Binding) { b.Role = 'x' },
		"exporter":   func(b *attrcert.Binding) { b.Exporter = nil },
		"nonce":      func(b *attrcert.Binding) { b.Nonce = b.Nonce[:16] },
		"names":      func(b *attrcert.Binding) { b.Names = nil },
		"a name":     func(b *attrcert.Binding) { b.Names[0] += "\n" },
	} {
		b := binding()
		change(&b)
		if _, signature, err := b.Sign(w.provider.key); err == nil {
			t.Errorf("%s: signed %x", name, signature)
		}
		wantReason(t, b.Verify(w.provider.cert, "ed25519", overNothing), attrcert.BindingFailed)
	}
}

// A weak key is one of RSA with 1024 bits.
type weakKey struct{ crypto.Signer }

func (weakKey) Public() crypto.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
}

func TestBindingKeys(t *testing.T) {
	w := newWorld(t, "p256")
	if _, _, err := binding().Sign(weakKey{w.provider.key}); err == nil {
		t.Error("a key of 1024 bits has signed")
	}
	key := newKey(t, "p384")
	if _, _, err := binding().Sign(key); err == nil {
		t.Error("a key of P-384 has signed")
	}
	p384 := w.root.certify(t, "provider-a.example", key, nil)
	wantReason(t, binding().Verify(p384.cert, "ecdsa-sha256", nil), attrcert.BindingFailed)
}

// Both ends of a connection come to the same keying material, and an assertion on one connection is worth nothing on another.
func TestBindingOverTLS(t *testing.T) {
	w := newWorld(t, "p256")
	nonce := bytes.Repeat([]byte{3}, attrcert.NonceLength)
	export := func(state tls.ConnectionState, role attrcert.Role) []byte {
		t.Helper()
		exporter, err := state.ExportKeyingMaterial(attrcert.ExporterLabel, attrcert.ExporterContext(role, nonce), attrcert.ExporterLength)
		if err != nil {
			t.Fatal(err)
		}
		return exporter
	}
	client, server := handshake(t, w)
	b := attrcert.Binding{Role: attrcert.Initiator, Nonce: nonce, Names: []string{domain}}
	b.Exporter = export(client, b.Role)
	alg, signature, err := b.Sign(w.provider.key)
	if err != nil {
		t.Fatal(err)
	}
	b.Exporter = export(server, b.Role)
	if err := b.Verify(server.PeerCertificates[0], alg, signature); err != nil {
		t.Error(err)
	}
	if bytes.Equal(export(server, attrcert.Responder), b.Exporter) {
		t.Error("keying material does not depend on the role")
	}
	_, other := handshake(t, w)
	b.Exporter = export(other, b.Role)
	wantReason(t, b.Verify(other.PeerCertificates[0], alg, signature), attrcert.BindingFailed)
}

// handshake connects the provider with a peer.
func handshake(t *testing.T, w *world) (client, server tls.ConnectionState) {
	t.Helper()
	peer := w.intermediate.certify(t, verifier, newKey(t, "p256"), nil)
	roots := x509.NewCertPool()
	roots.AddCert(w.root.cert)
	pair := func(id *identity) []tls.Certificate {
		return []tls.Certificate{{Certificate: [][]byte{id.cert.Raw, w.intermediate.cert.Raw}, PrivateKey: id.key}}
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	now := w.verifier().Now
	c := tls.Client(near, &tls.Config{Certificates: pair(w.provider), RootCAs: roots, ServerName: verifier, Time: now})
	s := tls.Server(far, &tls.Config{Certificates: pair(peer), ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, Time: now})
	done := make(chan error, 1)
	go func() { done <- s.HandshakeContext(t.Context()) }()
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}
