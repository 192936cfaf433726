package simulator

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
)

// A saslError is the condition of a SASL failure (RFC 6120 §6.5).
type saslError struct {
	condition string
	text      string
}

func (e *saslError) Error() string { return "simulator: sasl " + e.condition + ": " + e.text }

func refuse(condition, text string) error { return &saslError{condition, text} }

// storedKeys is what a server needs to know of a password (RFC 5802 §3).
type storedKeys struct {
	salt       []byte
	iterations int
	stored     []byte
	server     []byte
}

// scram is the server's end of one SCRAM exchange (RFC 5802, RFC 7677).
type scram struct {
	hash func() hash.Hash
	// plus says that the mechanism chosen is a -PLUS one, offered that -PLUS forms
	// were on offer: a client that says it saw none was deceived (RFC 5802 §6).
	plus, offered bool
	// binding returns the channel's data for a binding type, or nil.
	binding func(typ string) []byte
	// salt and keys look a user up. They answer for users that do not exist too,
	// in the same shape and time.
	salt func(user string) (salt []byte, iterations int)
	keys func(user string) storedKeys

	user, authzid string
	gs2           []byte // header with its commas
	bindingType   string
	clientBare    string // client-first-message-bare
	serverFirst   string
	nonce         string
}

// first takes the client's first message and returns the server's.
func (s *scram) first(msg []byte) ([]byte, error) {
	flag, rest, ok := strings.Cut(string(msg), ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		return nil, refuse("malformed-request", "no gs2 header")
	}
	switch {
	case strings.HasPrefix(flag, "p="):
		if !s.plus {
			return nil, refuse("malformed-request", "channel binding asked for with a mechanism that has none")
		}
		s.bindingType = flag[2:]
	case flag != "n" && flag != "y":
		return nil, refuse("malformed-request", "bad channel binding flag")
	case s.plus:
		return nil, refuse("malformed-request", "a -PLUS mechanism without channel binding")
	case flag == "y" && s.offered:
		return nil, refuse("not-authorized", "the client believes that channel binding was not on offer")
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if s.authzid, ok = saslName(name, ok); !ok {
			return nil, refuse("malformed-request", "bad authorization identity")
		}
	}
	s.gs2 = msg[:len(msg)-len(bare)]
	s.clientBare = bare

	fields := strings.Split(bare, ",")
	if len(fields) < 2 || strings.HasPrefix(fields[0], "m=") {
		return nil, refuse("malformed-request", "user name and nonce expected")
	}
	name, ok := strings.CutPrefix(fields[0], "n=")
	if s.user, ok = saslName(name, ok); !ok || s.user == "" {
		return nil, refuse("malformed-request", "bad user name")
	}
	nonce, ok := strings.CutPrefix(fields[1], "r=")
	if !ok || nonce == "" || len(nonce) > 1024 {
		return nil, refuse("malformed-request", "bad nonce")
	}
	s.nonce = nonce + rand.Text()
	salt, iterations := s.salt(s.user)
	s.serverFirst = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=" + strconv.Itoa(iterations)
	return []byte(s.serverFirst), nil
}

// final takes the client's final message, checks the proof and returns the
// server's signature.
func (s *scram) final(msg []byte) ([]byte, error) {
	without, proof64, ok := bytes.Cut(msg, []byte(",p="))
	if !ok {
		return nil, refuse("malformed-request", "no proof")
	}
	proof, err := base64.StdEncoding.DecodeString(string(proof64))
	if err != nil {
		return nil, refuse("malformed-request", "the proof is not base64")
	}
	fields := strings.Split(string(without), ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, refuse("malformed-request", "channel binding and nonce expected")
	}
	bound, err := base64.StdEncoding.DecodeString(fields[0][2:])
	if err != nil {
		return nil, refuse("malformed-request", "the channel binding is not base64")
	}
	want := s.gs2
	if s.plus {
		data := s.binding(s.bindingType)
		if data == nil {
			return nil, refuse("not-authorized", "channel binding "+s.bindingType+" is not supported on this connection")
		}
		want = append(bytes.Clone(s.gs2), data...)
	}
	// The proof is checked even if the binding does not match, so that the time
	// taken says nothing of which was wrong.
	sameChannel := subtle.ConstantTimeCompare(bound, want) == 1
	sameNonce := subtle.ConstantTimeCompare([]byte(fields[1][2:]), []byte(s.nonce)) == 1

	keys := s.keys(s.user)
	message := []byte(s.clientBare + "," + s.serverFirst + "," + string(without))
	signature := s.mac(keys.stored, message)
	if len(proof) != len(signature) {
		return nil, refuse("not-authorized", "wrong user name or password")
	}
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, signature)
	h := s.hash()
	h.Write(clientKey)
	sameKey := subtle.ConstantTimeCompare(h.Sum(nil), keys.stored) == 1
	switch {
	case !sameKey || !sameNonce:
		return nil, refuse("not-authorized", "wrong user name or password")
	case !sameChannel:
		return nil, refuse("not-authorized", "channel binding does not match")
	}
	verifier := s.mac(keys.server, message)
	return []byte("v=" + base64.StdEncoding.EncodeToString(verifier)), nil
}

func (s *scram) mac(key, message []byte) []byte {
	m := hmac.New(s.hash, key)
	m.Write(message)
	return m.Sum(nil)
}

// saslName undoes the escapes of RFC 5802 §5.1: =2C and =3D.
func saslName(s string, ok bool) (string, bool) {
	if !ok || !strings.Contains(s, "=") {
		return s, ok
	}
	var b strings.Builder
	for {
		plain, rest, more := strings.Cut(s, "=")
		b.WriteString(plain)
		if !more {
			return b.String(), true
		}
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}
