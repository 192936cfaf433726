package simulator_test

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"testing"
)

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decode(t testing.TB, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("%q is not base64: %v", s, err)
	}
	return string(b)
}

func sha256New() hash.Hash { return sha256.New() }

func sha256Sum(b []byte) string {
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// scramClient is the client's end of RFC 5802, written from the RFC for these tests.
type scramClient struct {
	hash           func() hash.Hash
	user, password string
	gs2, binding   string

	bare     string
	verifier string
}

func (c *scramClient) first() string {
	c.bare = "n=" + c.user + ",r=clientnonce"
	return c.gs2 + c.bare
}

func (c *scramClient) final(t testing.TB, challenge string) string {
	t.Helper()
	f := strings.Split(challenge, ",")
	if len(f) != 3 || !strings.HasPrefix(f[0], "r=clientnonce") || len(f[0]) == len("r=clientnonce") {
		t.Fatalf("challenge %q", challenge)
	}
	iterations, err := strconv.Atoi(strings.TrimPrefix(f[2], "i="))
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(c.hash, c.password, []byte(decode(t, strings.TrimPrefix(f[1], "s="))), iterations, c.hash().Size())
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, s string) []byte {
		m := hmac.New(c.hash, key)
		m.Write([]byte(s))
		return m.Sum(nil)
	}
	clientKey := mac(salted, "Client Key")
	h := c.hash()
	h.Write(clientKey)
	without := "c=" + encode(c.gs2+c.binding) + "," + f[0]
	message := c.bare + "," + challenge + "," + without
	signature := mac(h.Sum(nil), message)
	for i := range clientKey {
		clientKey[i] ^= signature[i]
	}
	c.verifier = "v=" + encode(string(mac(mac(salted, "Server Key"), message)))
	return without + ",p=" + encode(string(clientKey))
}
