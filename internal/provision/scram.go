package provision

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" // #nosec G505 -- RFC 5802 prescribes it.
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/xmppbench/xmppbench/internal/population"
)

// scram says how a server stores passwords: the zero value in clear, else as
// SCRAM keys (RFC 5802 §3).
type scram struct {
	name       string // SHA-1 or SHA-256
	iterations int
}

// scramKeys are what a server keeps instead of a password.
type scramKeys struct {
	salt, stored, server []byte
}

func newScram(name string, iterations int) (scram, error) {
	switch {
	case name == "" && iterations != 0:
		return scram{}, fmt.Errorf("provision: iterations go with hash: passwords are stored in clear")
	case name == "":
		return scram{}, nil
	case name != "SHA-1" && name != "SHA-256":
		return scram{}, fmt.Errorf("provision: hash %q: want SHA-1 or SHA-256, or none for passwords in clear", name)
	case iterations == 0:
		iterations = 10_000
	case iterations < 1 || iterations > 10_000_000:
		return scram{}, fmt.Errorf("provision: %d iterations of %s: want 1 to 10000000", iterations, name)
	}
	return scram{name: name, iterations: iterations}, nil
}

// check refuses passwords whose keys would depend on a normal form of Unicode.
func (s scram) check(password string) error {
	if s.name == "" {
		return nil
	}
	for _, c := range []byte(password) {
		if c >= 0x80 {
			return fmt.Errorf("provision: hash %s: only passwords in ASCII can be hashed here: choose one, or let them be derived", s.name)
		}
	}
	return nil
}

// keys derives the keys of an account. The salt follows from account and
// password, so that the same population is always stored the same way. It is
// text, as servers of both kinds make it.
func (s scram) keys(a population.Account) (scramKeys, error) {
	salt := hex.EncodeToString(mac(sha256.New, []byte(a.Password), "salt "+a.JID()))[:32]
	keys, err := s.derive(a.Password, []byte(salt))
	if err != nil {
		return scramKeys{}, fmt.Errorf("provision: keys of %s: %w", a.JID(), err)
	}
	return keys, nil
}

func (s scram) derive(password string, salt []byte) (scramKeys, error) {
	h, size := sha256.New, sha256.Size
	if s.name == "SHA-1" {
		h, size = sha1.New, sha1.Size
	}
	salted, err := pbkdf2.Key(h, password, salt, s.iterations, size)
	if err != nil {
		return scramKeys{}, err
	}
	client := h()
	client.Write(mac(h, salted, "Client Key"))
	return scramKeys{salt: salt, stored: client.Sum(nil), server: mac(h, salted, "Server Key")}, nil
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
