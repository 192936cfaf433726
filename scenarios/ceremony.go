package scenarios

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// A ceremony is what owners of domains and hosting providers have prepared before
// anything is measured: authorities, certificates, keys and what owners have signed.
// It lives in the generator. A provider gets what its variant needs and nothing else,
// so that the keys of customers are in its process only if they have to be.
type ceremony struct {
	key   lab.KeyType
	root  *lab.CA // of providers
	owner *lab.CA // of owners, an intermediate one

	mu        sync.Mutex
	providers map[string]*tls.Certificate // by host name
	owners    map[string]*tls.Certificate // by domain
	pairs     map[string]s2s.KeyPair      // the same, in PEM
	all       map[string]s2s.KeyPair      // for all domains of a provider, by host name
	proofs    map[string]s2s.Proof        // by provider, domain and kind of revocation
	lists     map[string][]byte           // revocation lists, by domain
}

// Lengths of the chains that providers and owners of domains present, without the root.
const (
	ownChain   = 1
	ownerChain = 2
)

// newCeremony makes the authorities.
func newCeremony(key string) (*ceremony, error) {
	c := &ceremony{
		key: lab.KeyType(key), providers: make(map[string]*tls.Certificate), owners: make(map[string]*tls.Certificate),
		pairs: make(map[string]s2s.KeyPair), all: make(map[string]s2s.KeyPair), proofs: make(map[string]s2s.Proof), lists: make(map[string][]byte),
	}
	var err error
	if c.root, err = lab.NewCA("xmppbench federation", lab.CAOptions{Key: c.key}); err != nil {
		return nil, err
	}
	c.owner, err = c.root.Intermediate("xmppbench owners of domains", lab.CAOptions{Key: c.key})
	return c, err
}

// prepare makes the certificates of the owners of domains, several at a time, since
// some kinds of keys take theirs.
func (c *ceremony) prepare(domains []string) error {
	var (
		wait   sync.WaitGroup
		failed error // under the lock, as what is made
	)
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, d := range domains {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			c.mu.Lock()
			_, known := c.owners[d]
			c.mu.Unlock()
			if known {
				return
			}
			leaf, err := c.owner.Issue(lab.LeafOptions{Names: []string{d}, Key: c.key, CRLSign: true})
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			c.owners[d] = &leaf
		})
	}
	wait.Wait()
	return failed
}

// provider returns the certificate of a hosting provider.
func (c *ceremony) provider(name string) (*tls.Certificate, error) {
	if p := c.providers[name]; p != nil {
		return p, nil
	}
	// Its machines have names below its own.
	leaf, err := c.root.Issue(lab.LeafOptions{Names: []string{name, "*." + name}, Key: c.key})
	if err != nil {
		return nil, err
	}
	c.providers[name] = &leaf
	return &leaf, nil
}

// certificate returns the certificate of a hosting provider.
func (c *ceremony) certificate(name string) (*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.provider(name)
	if err != nil {
		return nil, err
	}
	return p.Leaf, nil
}

// credentials returns what a provider of the domains holds for the needs of a
// variant.
func (c *ceremony) credentials(needs s2s.Needs, name string, domains []string, revocation string) (s2s.Credentials, error) {
	if err := c.prepare(domains); err != nil {
		return s2s.Credentials{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := s2s.Credentials{Provider: name, Roots: c.root.CertificatePEM()}
	if needs == s2s.Nothing {
		return out, nil
	}
	provider, err := c.provider(name)
	if err != nil {
		return out, err
	}
	own, err := pem(provider)
	if err != nil {
		return out, err
	}
	out.Own = &own
	switch needs {
	case s2s.EachDomain:
		out.Domains = make(map[string]s2s.KeyPair, len(domains))
		for _, d := range domains {
			if _, ok := c.pairs[d]; !ok {
				if c.pairs[d], err = pem(c.owners[d]); err != nil {
					return out, err
				}
			}
			out.Domains[d] = c.pairs[d]
		}
	case s2s.OneForAll:
		key := name + fmt.Sprint(len(domains))
		if _, ok := c.all[key]; !ok {
			leaf, err := c.owner.Issue(lab.LeafOptions{Names: domains, Key: c.key})
			if err != nil {
				return out, err
			}
			if c.all[key], err = pem(&leaf); err != nil {
				return out, err
			}
		}
		all := c.all[key]
		out.All = &all
	case s2s.Attributes:
		out.Proofs = make(map[string]s2s.Proof, len(domains))
		for _, d := range domains {
			if out.Proofs[d], err = c.proof(provider.Leaf, d, revocation); err != nil {
				return out, err
			}
		}
	case s2s.OwnOnly, s2s.Nothing:
	}
	return out, nil
}

// Lives of what owners sign.
const (
	proofLife = 24 * time.Hour
	listLife  = 24 * time.Hour
)

// crlPath is where an owner publishes what it has revoked.
const crlPath = "/xmpp-delegations.crl"

// proof is the attribute certificate with which the owner of a domain allows a
// provider to speak for it. The lock is held.
func (c *ceremony) proof(provider *x509.Certificate, domain, revocation string) (s2s.Proof, error) {
	key := provider.Subject.CommonName + " " + domain + " " + revocation
	if p, ok := c.proofs[key]; ok {
		return p, nil
	}
	owner := c.owners[domain]
	signer, ok := owner.PrivateKey.(crypto.Signer)
	if !ok {
		return s2s.Proof{}, fmt.Errorf("scenarios: the key of %s cannot sign", domain)
	}
	now := time.Now()
	t := attrcert.Template{Holder: provider, Domains: []string{domain}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(proofLife - time.Hour)}
	if revocation == "crl" {
		t.CRL = "http://" + domain + crlPath
		if c.lists[domain] == nil {
			list, err := attrcert.IssueCRL(attrcert.CRLTemplate{ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(listLife)}, owner.Leaf, signer)
			if err != nil {
				return s2s.Proof{}, err
			}
			c.lists[domain] = list
		}
	}
	der, err := attrcert.Issue(t, owner.Leaf, signer)
	if err != nil {
		return s2s.Proof{}, err
	}
	p := s2s.Proof{AC: der, Chain: owner.Certificate}
	c.proofs[key] = p
	return p, nil
}

// pem writes a certificate and its key as providers take them.
func pem(cert *tls.Certificate) (s2s.KeyPair, error) {
	certificates, key, err := lab.EncodePEM(*cert)
	return s2s.KeyPair{Certificates: certificates, Key: key}, err
}

// published is a worker of a provider as others find it.
type published struct {
	address string
	domains []string
}

// serverService returns what other servers look a domain up by.
func serverService(direct bool) string {
	if direct {
		return resolve.ServerDirect
	}
	return resolve.ServerStart
}

// publish puts what the variant of an arm needs onto DNS and web server, for a provider whose
// workers listen at the given addresses.
func (c *ceremony) publish(dns *lab.DNS, web *lab.Web, arm Arm, provider string, workers []published) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, err := c.provider(provider)
	if err != nil {
		return err
	}
	asks, service := arm.asks(), serverService(arm.S2S.TLS == s2s.TLSDirect)
	document := s2s.NewPOSHDocument(proofLife, own.Leaf)
	for i, w := range workers {
		host := fmt.Sprintf("w%d.%s", i, provider)
		at, err := netip.ParseAddrPort(w.address)
		if err != nil {
			return err
		}
		if err := dns.AddHost(host, at.Addr()); err != nil {
			return err
		}
		for _, d := range w.domains {
			if err := dns.AddSRV(service, d, host, at.Port()); err != nil {
				return err
			}
			switch asks {
			case s2s.WebServers:
				web.SetCertificate(d, *c.owners[d])
				web.SetPage(d, s2s.POSHPath, lab.Page{Body: document})
			case s2s.RevocationLists:
				web.SetPage(d, crlPath, lab.Page{Type: "application/pkix-crl", Body: c.lists[d]})
			case s2s.Nobody, s2s.SecureDNS:
			}
		}
		if asks != s2s.SecureDNS {
			continue
		}
		usage := uint8(s2s.DANEEE)
		if arm.S2S.Usage == s2s.UsagePKIX {
			usage = s2s.PKIXEE
		}
		record, err := s2s.TLSARecord(own.Leaf, usage, s2s.SelectKey, s2s.MatchSHA256)
		if err != nil {
			return err
		}
		if err := dns.AddTLSA(at.Port(), host, record.String()); err != nil {
			return err
		}
	}
	return nil
}
