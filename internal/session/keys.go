package session

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" // #nosec G505 -- SCRAM-SHA-1 (RFC 5802) is what some servers offer
	"crypto/sha256"
	"fmt"
	"hash"
	"sync"
)

// DefaultMaxIterations is the largest SCRAM iteration count a client accepts unless it is told otherwise. A server
// chooses the count, so without a bound it chooses how long the client computes.
const DefaultMaxIterations = 1_000_000

// scramHash is a hash function a SCRAM mechanism is built on.
type scramHash struct {
	name string // as in the mechanism's name, "SHA-1" or "SHA-256"
	size int
	new  func() hash.Hash
}

func sha1Hash() scramHash   { return scramHash{"SHA-1", sha1.Size, sha1.New} }
func sha256Hash() scramHash { return scramHash{"SHA-256", sha256.Size, sha256.New} }

// scramKeys is what SCRAM needs of a password (RFC 5802 §3): the proof is made with the client key, the server's
// signature is checked with the server key.
type scramKeys struct {
	client, server []byte
}

// stored returns the key that a server keeps, which is one hash away: cheaper to make than to keep for every account.
func (k scramKeys) stored(h scramHash) []byte {
	digest := h.new()
	digest.Write(k.client)
	return digest.Sum(nil)
}

// KeyCache keeps the keys that SCRAM derives from a password (RFC 5802 §3), so that an account which logs in again
// pays for PBKDF2 only once. It holds one entry per account and hash function: a new salt, iteration count or
// password replaces the old one, which bounds the memory by the number of accounts even with a server that makes a
// new salt for each login. The zero value is ready for use, and any number of goroutines may share one.
type KeyCache struct {
	mu      sync.RWMutex
	entries map[keyOwner]*keyEntry
	derived uint64
}

type keyOwner struct{ user, hash string }

type keyEntry struct {
	password, salt string
	iterations     int
	client, server [sha256.Size]byte // as many bytes as the hash has
}

func (e *keyEntry) keys(h scramHash) scramKeys {
	return scramKeys{client: e.client[:h.size:h.size], server: e.server[:h.size:h.size]}
}

// Derivations returns how often the cache had to run PBKDF2.
func (c *KeyCache) Derivations() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.derived
}

// Len returns the number of entries held.
func (c *KeyCache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}

// keys returns the keys of an account, derived at most once per salt, iteration count and password. A nil cache
// derives them each time. The caller must not change the result.
func (c *KeyCache) keys(h scramHash, user, password string, salt []byte, iterations int) (scramKeys, error) {
	if c == nil {
		return deriveKeys(h, password, salt, iterations)
	}
	owner := keyOwner{user, h.name}
	c.mu.RLock()
	e := c.entries[owner]
	c.mu.RUnlock()
	if e != nil && e.iterations == iterations && e.salt == string(salt) && e.password == password {
		return e.keys(h), nil
	}
	// Two logins of one account at the same instant may both derive; that is cheaper than making every other
	// account wait for a lock held over PBKDF2.
	keys, err := deriveKeys(h, password, salt, iterations)
	if err != nil {
		return keys, err
	}
	e = &keyEntry{password: password, salt: string(salt), iterations: iterations}
	copy(e.client[:], keys.client)
	copy(e.server[:], keys.server)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[keyOwner]*keyEntry)
	}
	c.entries[owner] = e
	c.derived++
	return keys, nil
}

func deriveKeys(h scramHash, password string, salt []byte, iterations int) (scramKeys, error) {
	salted, err := pbkdf2.Key(h.new, password, salt, iterations, h.size)
	if err != nil {
		return scramKeys{}, fmt.Errorf("session: PBKDF2 with %d iterations: %w", iterations, err)
	}
	return scramKeys{client: sign(h, salted, "Client Key"), server: sign(h, salted, "Server Key")}, nil
}

// sign returns the HMAC of text under key.
func sign(h scramHash, key []byte, text string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
