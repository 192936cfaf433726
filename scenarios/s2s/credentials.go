package s2s

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
)

// Credentials is what a provider holds: certificates, private keys and proofs. It
// goes through JSON unchanged, so that whoever made it can hand it to the process of
// the provider, which gets nothing else: a key that does not stand here is not there.
type Credentials struct {
	// Provider is the host name of the provider itself.
	Provider string `json:"provider"`
	// Own is the provider's own certificate, which names it and no customer.
	Own *KeyPair `json:"own,omitempty"`
	// Domains are the certificates with private keys that customers have handed
	// over, by domain.
	Domains map[string]KeyPair `json:"domains,omitempty"`
	// All is one certificate that names all customers' domains.
	All *KeyPair `json:"all,omitempty"`
	// Proofs are the attribute certificates that customers have signed, by domain.
	Proofs map[string]Proof `json:"proofs,omitempty"`
	// Roots are the trust anchors, in PEM; ClientAuth wants peers' certificates to
	// carry the extended key usage clientAuth, which RFC 6120 §13.7.1 does not.
	Roots      []byte `json:"roots,omitempty"`
	ClientAuth bool   `json:"client-auth,omitempty"`
}

// A KeyPair is a certificate with its chain and its private key, in PEM.
type KeyPair struct {
	Certificates []byte `json:"certificates"`
	Key          []byte `json:"key"`
}

// A Proof is an attribute certificate with the chain of the domain owner who signed
// it, in DER. No private key belongs to it.
type Proof struct {
	AC    []byte   `json:"ac"`
	Chain [][]byte `json:"chain"` // the owner's leaf first, without the root
}

// identity is Credentials in the form that a running host needs.
type identity struct {
	own    *tls.Certificate
	roots  *x509.CertPool
	signed *atomic.Int64 // private key operations made

	mu      sync.RWMutex // taken after all others
	all     *tls.Certificate
	domains map[string]*tls.Certificate
	proofs  map[string]Proof
}

// add takes what came with a new domain; what is nil stays as it was.
func (id *identity) add(domain string, pair, all *tls.Certificate, proof *Proof) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if pair != nil {
		id.domains[domain] = pair
	}
	if all != nil {
		id.all = all
	}
	if proof != nil {
		if id.proofs == nil {
			id.proofs = make(map[string]Proof)
		}
		id.proofs[domain] = *proof
	}
}

// drop gives up what a domain's owner has signed.
func (id *identity) drop(domain string) {
	id.mu.Lock()
	defer id.mu.Unlock()
	delete(id.proofs, domain)
}

// proof returns what the owner of a domain has signed.
func (id *identity) proof(domain string) (Proof, bool) {
	id.mu.RLock()
	defer id.mu.RUnlock()
	p, ok := id.proofs[domain]
	return p, ok
}

func (c Credentials) parse() (*identity, error) {
	id := &identity{roots: x509.NewCertPool(), proofs: maps.Clone(c.Proofs), signed: new(atomic.Int64)}
	if len(c.Roots) > 0 && !id.roots.AppendCertsFromPEM(c.Roots) {
		return nil, errors.New("s2s: credentials: the roots hold no certificate in PEM form")
	}
	var err error
	if id.own, err = id.pair(c.Own, "the provider's own"); err != nil {
		return nil, err
	}
	if id.all, err = id.pair(c.All, "the one for all domains"); err != nil {
		return nil, err
	}
	id.domains = make(map[string]*tls.Certificate, len(c.Domains))
	for domain, pair := range c.Domains {
		if id.domains[domain], err = id.pair(&pair, "that of "+domain); err != nil {
			return nil, err
		}
	}
	return id, nil
}

func (id *identity) pair(k *KeyPair, which string) (*tls.Certificate, error) {
	if k == nil {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(k.Certificates, k.Key)
	if err != nil {
		return nil, fmt.Errorf("s2s: credentials: %s: %w", which, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("s2s: credentials: %s: a key of type %T cannot sign", which, pair.PrivateKey)
	}
	pair.PrivateKey = countingSigner{signer, id.signed}
	return &pair, nil
}

// of returns the certificate that stands for a hosted domain.
func (id *identity) of(domain string) *tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return cmp.Or(id.domains[domain], id.all, id.own)
}

// customerKeys counts the private keys of customers' domains that are held.
func (id *identity) customerKeys() int {
	id.mu.RLock()
	defer id.mu.RUnlock()
	n := len(id.domains)
	if id.all != nil {
		n++
	}
	return n
}

// countingSigner counts what is signed.
type countingSigner struct {
	crypto.Signer
	made *atomic.Int64
}

// Sign implements crypto.Signer.
func (s countingSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.made.Add(1)
	return s.Signer.Sign(rand, digest, opts)
}
