package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrServerSignature says that a server accepted a login without proving that it knows the password's keys
// (RFC 5802 §5.1, attribute v): it is not the server that holds the account, or is broken.
var ErrServerSignature = errors.New("the server's signature is wrong or missing: it did not prove that it knows the account's password")

// binding is the channel binding of a login: what ties SCRAM to the TLS connection it runs over (RFC 5802 §6).
type binding struct {
	name string // of the channel binding type; empty without one
	flag string // gs2-cbind-flag: "n", "y" or "p=NAME"
	data []byte
}

// channelBinding returns the binding data of a TLS connection and its name: tls-exporter for TLS 1.3 (RFC 9266),
// tls-unique before it (RFC 5929).
func channelBinding(state *tls.ConnectionState) (name string, data []byte, err error) {
	switch {
	case state == nil:
		return "", nil, errors.New("channel binding needs TLS")
	case state.Version >= tls.VersionTLS13:
		data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return "", nil, fmt.Errorf("tls-exporter: %w", err)
		}
		return "tls-exporter", data, nil
	case len(state.TLSUnique) == 0:
		return "", nil, errors.New("this TLS 1.2 connection has no tls-unique data: it was resumed without extended master secret")
	default:
		return "tls-unique", state.TLSUnique, nil
	}
}

// scram is the client's half of one SCRAM exchange (RFC 5802, RFC 7677).
type scram struct {
	hash           scramHash
	user, password string // prepared with SASLprep
	binding        binding
	nonce          string
	cache          *KeyCache
	maxIterations  int

	step      int
	firstBare string
	signature []byte
}

// newNonce returns a fresh client nonce of printable ASCII without commas.
func newNonce() string { return rand.Text() }

func (s *scram) gs2() string { return s.binding.flag + ",," }

// start returns the client-first-message.
func (s *scram) start() ([]byte, bool, error) {
	s.firstBare = "n=" + escapeName(s.user) + ",r=" + s.nonce
	return []byte(s.gs2() + s.firstBare), false, nil
}

// next answers the server-first-message, then checks the server-final-message. done says that the server has proved
// itself, and that nothing but success may follow.
func (s *scram) next(challenge []byte) (response []byte, done bool, err error) {
	s.step++
	switch s.step {
	case 1:
		response, err = s.prove(challenge)
		return response, false, err
	case 2:
		return nil, true, s.check(challenge)
	default:
		return nil, false, errors.New("the server went on after the last message of SCRAM")
	}
}

func (s *scram) prove(challenge []byte) ([]byte, error) {
	nonce, salt, iterations, err := s.parseFirst(challenge)
	if err != nil {
		return nil, err
	}
	keys, err := s.cache.keys(s.hash, s.user, s.password, salt, iterations)
	if err != nil {
		return nil, err
	}
	bound := append([]byte(s.gs2()), s.binding.data...)
	final := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + nonce
	message := s.firstBare + "," + string(challenge) + "," + final
	s.signature = sign(s.hash, keys.server, message)
	proof := sign(s.hash, keys.stored(s.hash), message)
	subtle.XORBytes(proof, proof, keys.client)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (s *scram) parseFirst(challenge []byte) (nonce string, salt []byte, iterations int, err error) {
	for field := range bytes.SplitSeq(challenge, []byte(",")) {
		name, value, ok := strings.Cut(string(field), "=")
		if !ok {
			return "", nil, 0, fmt.Errorf("the server's first SCRAM message has a field %.40q without a value", field)
		}
		switch name {
		case "m":
			return "", nil, 0, errors.New("the server demands a SCRAM extension (attribute m) that is not known")
		case "r":
			nonce = value
		case "s":
			if salt, err = base64.StdEncoding.DecodeString(value); err != nil {
				return "", nil, 0, fmt.Errorf("the salt of the server's first SCRAM message: %w", err)
			}
		case "i":
			if iterations, err = strconv.Atoi(value); err != nil {
				return "", nil, 0, fmt.Errorf("the iteration count of the server's first SCRAM message: %w", err)
			}
		}
	}
	switch {
	case len(nonce) <= len(s.nonce) || !strings.HasPrefix(nonce, s.nonce):
		return "", nil, 0, errors.New("the server's SCRAM nonce does not continue the client's: the answer belongs to another exchange")
	case len(salt) == 0:
		return "", nil, 0, errors.New("the server's first SCRAM message has no salt")
	case iterations < 1:
		return "", nil, 0, fmt.Errorf("the server asks for %d SCRAM iterations; at least 1 is needed", iterations)
	case iterations > s.maxIterations:
		return "", nil, 0, fmt.Errorf("the server asks for %d SCRAM iterations, more than the limit of %d: lower the server's count or raise the limit", iterations, s.maxIterations)
	}
	return nonce, salt, iterations, nil
}

func (s *scram) check(final []byte) error {
	first, _, _ := bytes.Cut(final, []byte(","))
	if reason, ok := bytes.CutPrefix(first, []byte("e=")); ok {
		return fmt.Errorf("the server's last SCRAM message says %.80q", reason)
	}
	v, ok := bytes.CutPrefix(first, []byte("v="))
	if !ok {
		return ErrServerSignature
	}
	got, err := base64.StdEncoding.DecodeString(string(v))
	if err != nil || !hmac.Equal(got, s.signature) {
		return ErrServerSignature
	}
	return nil
}

// escapeName encodes a saslname (RFC 5802 §5.1).
func escapeName(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "=", "=3D"), ",", "=2C")
}
