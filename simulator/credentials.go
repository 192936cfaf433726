package simulator

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- SCRAM-SHA-1 is on offer: some clients know nothing newer.
	"crypto/sha256"
	"hash"
	"sync"
)

// mechanism is one SASL mechanism that can be put on offer.
type mechanism struct {
	name string
	plus bool
	hash func() hash.Hash // nil: PLAIN
}

// mechanisms returns every mechanism there is, the strongest first, as they are
// listed to clients.
func mechanisms() []mechanism {
	return []mechanism{
		{"SCRAM-SHA-256-PLUS", true, sha256.New},
		{"SCRAM-SHA-1-PLUS", true, sha1.New},
		{"SCRAM-SHA-256", false, sha256.New},
		{"SCRAM-SHA-1", false, sha1.New},
		{"PLAIN", false, nil},
	}
}

// maxDecoys bounds the keys remembered for users that do not exist.
const maxDecoys = 1024

// credentials derives stored keys from passwords when they are first needed and
// keeps them. Users that do not exist get keys that nobody has a password for,
// from the same derivation, so that neither answer nor time tells them apart.
type credentials struct {
	iterations int
	secret     []byte
	password   func(jid string) (string, bool)

	mu     sync.Mutex
	keys   map[keyID]storedKeys
	decoys map[keyID]storedKeys
}

// keyID names the keys of an account for one hash, by the hash's size.
type keyID struct {
	jid  string
	size int
}

func newCredentials(iterations int, password func(jid string) (string, bool)) *credentials {
	secret := make([]byte, 32)
	rand.Read(secret)
	return &credentials{
		iterations: iterations, secret: secret, password: password,
		keys: map[keyID]storedKeys{}, decoys: map[keyID]storedKeys{},
	}
}

// salt returns the salt of an account. It depends on the account alone, so that
// clients can cache their keys, and exists for every name.
func (c *credentials) salt(jid string) []byte {
	m := hmac.New(sha256.New, c.secret)
	m.Write([]byte(jid))
	return m.Sum(nil)[:16]
}

// derive returns the keys of an account. It may take the time of a key
// derivation, without holding a lock.
func (c *credentials) derive(jid string, h func() hash.Hash) storedKeys {
	id := keyID{jid, h().Size()}
	c.mu.Lock()
	k, ok := c.keys[id]
	if !ok {
		k, ok = c.decoys[id]
	}
	c.mu.Unlock()
	if ok {
		return k
	}
	password, known := c.password(jid)
	if !known {
		password = rand.Text()
	}
	salted, err := pbkdf2.Key(h, password, c.salt(jid), c.iterations, id.size)
	if err != nil {
		// Only a key length beyond the hash's limits fails.
		panic(err)
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	digest := h()
	digest.Write(mac(salted, "Client Key"))
	k = storedKeys{salt: c.salt(jid), iterations: c.iterations, stored: digest.Sum(nil), server: mac(salted, "Server Key")}

	c.mu.Lock()
	defer c.mu.Unlock()
	if known {
		c.keys[id] = k
		return k
	}
	if len(c.decoys) >= maxDecoys {
		clear(c.decoys)
	}
	c.decoys[id] = k
	return k
}
