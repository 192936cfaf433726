package s2s_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// signers are owners of domains, who sign for providers and revoke.
type signers struct {
	t         testing.TB
	ca        *lab.CA
	crl       bool
	from, to  time.Time // validity of what they sign
	mu        sync.Mutex
	leaves    map[string]tls.Certificate // by domain
	providers map[string]tls.Certificate // by host name
	lists     map[string][]byte          // by URL
	fetched   map[string]int             // the same
	serial    int64
	proofs    map[string]map[string]s2s.Proof // by provider and domain
}

func newSigners(t testing.TB, ca *lab.CA, crl bool) *signers {
	now := time.Now()
	return &signers{
		t: t, ca: ca, crl: crl, from: now.Add(-time.Hour), to: now.Add(20 * time.Hour),
		leaves: map[string]tls.Certificate{}, providers: map[string]tls.Certificate{}, lists: map[string][]byte{}, fetched: map[string]int{},
	}
}

// provider returns the certificate of a provider.
func (o *signers) provider(name string) tls.Certificate {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.providers[name]; !ok {
		o.providers[name] = issue(o.t, o.ca, lab.LeafOptions{Names: []string{name}})
	}
	return o.providers[name]
}

// leaf returns the certificate of a domain's owner.
func (o *signers) leaf(domain string) tls.Certificate {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.leaves[domain]; !ok {
		o.leaves[domain] = issue(o.t, o.ca, lab.LeafOptions{Names: []string{domain}, CRLSign: true})
	}
	return o.leaves[domain]
}

// sign makes the owner of a domain sign for a provider. change sees the template.
func (o *signers) sign(domain, provider string, change func(*attrcert.Template)) s2s.Proof {
	o.t.Helper()
	leaf := o.leaf(domain)
	o.mu.Lock()
	o.serial++
	serial := o.serial
	o.mu.Unlock()
	template := attrcert.Template{
		Holder: o.provider(provider).Leaf, Domains: []string{domain}, NotBefore: o.from, NotAfter: o.to, Serial: big.NewInt(serial),
	}
	if o.crl {
		template.CRL = "http://" + domain + "/ac.crl"
		o.revoke(domain)
	}
	if change != nil {
		change(&template)
	}
	der, err := attrcert.Issue(template, leaf.Leaf, leaf.PrivateKey.(crypto.Signer))
	if err != nil {
		o.t.Fatal(err)
	}
	return s2s.Proof{AC: der, Chain: leaf.Certificate}
}

// revoke publishes the list of an owner.
func (o *signers) revoke(domain string, serials ...*big.Int) {
	o.t.Helper()
	leaf := o.leaf(domain)
	list, err := attrcert.IssueCRL(attrcert.CRLTemplate{ThisUpdate: o.from, NextUpdate: o.to, Revoked: serials}, leaf.Leaf, leaf.PrivateKey.(crypto.Signer))
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lists["http://"+domain+"/ac.crl"] = list
}

// fetch is what hosts get revocation lists by.
func (o *signers) fetch(_ context.Context, url string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetched[url]++
	list, ok := o.lists[url]
	if !ok {
		return nil, fmt.Errorf("there is no list at %s", url)
	}
	return list, nil
}

// attest gives providers what owners have signed, and what they know of each other
// where the mode wants it.
func (w *world) attest(hosting map[string][]string) func(name string, c *s2s.Config) {
	if w.signers == nil {
		w.signers = newSigners(w.t, w.ca, w.params.Revocation == s2s.RevocationCRL)
	}
	o := w.signers
	proofs := map[string]map[string]s2s.Proof{}
	for name, hosted := range hosting {
		proofs[name] = map[string]s2s.Proof{}
		for _, d := range hosted {
			proofs[name][d] = o.sign(d, name, nil)
		}
	}
	var known []s2s.Known
	for _, holder := range []string{"provider-a.test", "provider-b.test"} {
		for verifier := range hosting {
			if verifier != holder {
				known = append(known, s2s.KnownOf(o.provider(holder).Leaf, o.provider(verifier).Leaf, proofs[holder])...)
			}
		}
	}
	o.proofs = proofs
	return func(name string, c *s2s.Config) {
		certificates, key, err := lab.EncodePEM(o.provider(name))
		if err != nil {
			w.t.Fatal(err)
		}
		c.Credentials.Own = &s2s.KeyPair{Certificates: certificates, Key: key}
		c.Credentials.Proofs = proofs[name]
		c.CRLs = o.fetch
		c.Known = known
	}
}

// attrcertWays are the settings of shared-attrcert that change what passes.
func attrcertWays() map[string]map[string]any {
	ways := map[string]map[string]any{
		"shared-attrcert tls=direct":           {"tls": "direct"},
		"shared-attrcert tls-max=1.2 binding":  {"tls-max": "1.2", "binding": true},
		"shared-attrcert resumption binding":   {"resumption": true, "binding": true},
		"shared-attrcert pool=3":               {"pool": 3},
		"shared-attrcert pool=3 mode=eager":    {"pool": 3, "mode": "eager"},
		"shared-attrcert pool=2 mode=classic":  {"pool": 2, "mode": "classic"},
		"shared-attrcert pool=2 proactive":     {"pool": 2, "mode": "proactive"},
		"shared-attrcert batch=1":              {"batch": 1},
		"shared-attrcert batch=2 window=1":     {"batch": 2, "window": 1},
		"shared-attrcert mode=pipelined win=2": {"mode": "pipelined", "window": 2},
	}
	for _, mode := range []string{"classic", "classic-feat", "eager", "pipelined", "batch", "warm", "proactive"} {
		for _, revocation := range []string{"short", "crl"} {
			for _, binding := range []bool{false, true} {
				if mode == "proactive" && binding {
					continue
				}
				name := fmt.Sprintf("shared-attrcert mode=%s revocation=%s binding=%t", mode, revocation, binding)
				ways[name] = map[string]any{"mode": mode, "revocation": revocation, "binding": binding}
			}
		}
	}
	return ways
}

// withAttrcert adds its ways to those of the others.
func withAttrcert(ways map[string]map[string]any) map[string]map[string]any {
	maps.Copy(ways, attrcertWays())
	return ways
}
