package provision

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"testing"
)

// TestScramVectors checks the keys against the exchanges of RFC 5802 §5 and RFC
// 7677 §3: the stored key must accept the client's proof, the server key must
// give the server's signature.
func TestScramVectors(t *testing.T) {
	decode := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		h                                   func() hash.Hash
		salt, exchange, proof, serverAnswer string
	}{
		"SHA-1": {
			sha1.New, "QSXCR+Q6sek8bf92",
			"n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
			"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		"SHA-256": {
			sha256.New, "W22ZaJ0SNY7soEsUEjb6gQ==",
			"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := scram{name: name, iterations: 4096}.derive("pencil", decode(c.salt))
			if err != nil {
				t.Fatal(err)
			}
			client := decode(c.proof)
			for i, b := range mac(c.h, keys.stored, c.exchange) {
				client[i] ^= b
			}
			sum := c.h()
			sum.Write(client)
			if !bytes.Equal(sum.Sum(nil), keys.stored) {
				t.Error("the stored key does not accept the proof")
			}
			if got := mac(c.h, keys.server, c.exchange); !bytes.Equal(got, decode(c.serverAnswer)) {
				t.Error("the server key gives another signature")
			}
		})
	}
}
