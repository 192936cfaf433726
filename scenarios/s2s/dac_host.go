package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// A Known is a proof that one provider has shown to another, which has accepted it:
// what both keep of it from stream to stream with the modes warm and proactive.
type Known struct {
	// Holder and Verifier are the two, as SHA-256 of their certificates' public keys
	// in DER.
	Holder   []byte `json:"holder"`
	Verifier []byte `json:"verifier"`
	// Domain is what was proved, AC the SHA-256 of the attribute certificate.
	Domain string `json:"domain"`
	AC     []byte `json:"ac"`
	// Until is when it ends.
	Until time.Time `json:"until"`
}

// KnownOf returns what is kept of the proofs that the holder of a certificate has
// shown to that of another one. Proofs that cannot be read are left out.
func KnownOf(holder, verifier *x509.Certificate, proofs map[string]Proof) []Known {
	from, to := keyHash(holder), keyHash(verifier)
	var out []Known
	for _, domain := range slices.Sorted(maps.Keys(proofs)) {
		ac, err := attrcert.Parse(proofs[domain].AC)
		if err != nil {
			continue
		}
		hash := attrcert.RefHash(ac.Raw)
		out = append(out, Known{Holder: from[:], Verifier: to[:], Domain: domain, AC: hash[:], Until: ac.NotAfter})
	}
	return out
}

// dacHash is a SHA-256.
type dacHash = [sha256.Size]byte

// keyHash identifies a provider by the public key of its certificate, which survives
// its renewal.
func keyHash(c *x509.Certificate) dacHash { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// dacHost is what a host knows of proofs, on all of its streams.
type dacHost struct {
	remembers bool // from stream to stream

	mu       sync.Mutex
	verifier *attrcert.Verifier
	known    map[dacKey]dacMemory // what peers have proved
	shown    map[dacKey]dacMemory // what they have accepted
}

// dacKey is a domain and the provider who has proved it, or has accepted it.
type dacKey struct {
	peer   dacHash
	domain string
}

type dacMemory struct {
	ac    dacHash
	until time.Time
}

// maxRemembered bounds what is kept of peers.
const maxRemembered = 1 << 17

// Remembers reports whether what was proved on a stream counts on later ones.
func (p Params) Remembers() bool { return p.Mode == ModeWarm || p.Mode == ModeProactive }

// prepareDAC makes what a host needs before its first stream.
func prepareDAC(h *Host) error {
	p := h.c.Params
	if h.id.own == nil {
		return errors.New("s2s: attribute certificates need the provider's own certificate")
	}
	if p.Revocation == RevocationCRL && h.c.CRLs == nil {
		return errors.New("s2s: attribute certificates that can be revoked need a way to fetch lists: Config.CRLs")
	}
	h.dac = &dacHost{remembers: p.Remembers(), known: make(map[dacKey]dacMemory), shown: make(map[dacKey]dacMemory)}
	h.dac.verifier = h.newVerifier()
	own := keyHash(h.id.own.Leaf)
	for _, k := range h.c.Known {
		if len(k.Holder) != len(own) || len(k.Verifier) != len(own) || len(k.AC) != len(own) {
			return errors.New("s2s: what is known of proofs has hashes of a wrong length")
		}
		m := dacMemory{dacHash(k.AC), k.Until}
		if dacHash(k.Verifier) == own {
			h.dac.remember(h.dac.known, dacKey{dacHash(k.Holder), k.Domain}, m)
		}
		if dacHash(k.Holder) == own {
			h.dac.remember(h.dac.shown, dacKey{dacHash(k.Verifier), k.Domain}, m)
		}
	}
	return nil
}

// newVerifier makes a verifier that has seen nothing yet.
func (h *Host) newVerifier() *attrcert.Verifier {
	v := &attrcert.Verifier{
		Roots: h.id.roots, Now: h.c.Now, Skew: h.c.Params.Skew, Self: []string{h.c.Credentials.Provider}, WWWFallback: h.c.Params.WWW,
	}
	if fetch := h.c.CRLs; fetch != nil {
		v.Revocation = &attrcert.CRLCache{Fetch: func(ctx context.Context, url string) ([]byte, error) {
			h.tally.add(FigureFetches, 1)
			return fetch(ctx, url)
		}}
	}
	return v
}

// remember keeps something, unless there is too much already.
func (k *dacHost) remember(in map[dacKey]dacMemory, key dacKey, m dacMemory) {
	if !k.remembers {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := in[key]; there || len(in) < maxRemembered {
		in[key] = m
	}
}

// forget drops one thing.
func (k *dacHost) forget(from map[dacKey]dacMemory, key dacKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(from, key)
}

// recall returns what is kept and holds still.
func (k *dacHost) recall(from map[dacKey]dacMemory, key dacKey, now time.Time) (dacMemory, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := from[key]
	return m, ok && !now.After(m.until)
}

// provedBy returns what a peer has proved and holds still, in the order of the names.
func (k *dacHost) provedBy(peer dacHash, now time.Time) []dacEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []dacEntry
	for key, m := range k.known {
		if key.peer == peer && !now.After(m.until) {
			out = append(out, dacEntry{name: key.domain, until: m.until})
		}
	}
	slices.SortFunc(out, func(a, b dacEntry) int { return strings.Compare(a.name, b.name) })
	return out
}

// clear drops everything.
func (k *dacHost) clear(v *attrcert.Verifier) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.verifier = v
	clear(k.known)
	clear(k.shown)
}

func (k *dacHost) verify(ctx context.Context, c attrcert.Claim) (attrcert.Verdict, error) {
	k.mu.Lock()
	v := k.verifier
	k.mu.Unlock()
	return v.Verify(ctx, c)
}

// Known returns what the host keeps of proofs for streams to come, with the modes
// warm and proactive of shared-attrcert.
func (h *Host) Known() []Known {
	if h.dac == nil {
		return nil
	}
	own := keyHash(h.id.own.Leaf)
	h.dac.mu.Lock()
	defer h.dac.mu.Unlock()
	var out []Known
	for key, m := range h.dac.known {
		out = append(out, Known{Holder: key.peer[:], Verifier: own[:], Domain: key.domain, AC: m.ac[:], Until: m.until})
	}
	for key, m := range h.dac.shown {
		out = append(out, Known{Holder: own[:], Verifier: key.peer[:], Domain: key.domain, AC: m.ac[:], Until: m.until})
	}
	slices.SortFunc(out, func(a, b Known) int {
		return strings.Compare(string(a.Holder)+string(a.Verifier)+a.Domain, string(b.Holder)+string(b.Verifier)+b.Domain)
	})
	return out
}

// proof returns the proof of a hosted domain.
func (h *Host) proof(domain string) (Proof, bool) {
	if !h.hosts(domain) {
		return Proof{}, false
	}
	p, ok := h.id.proof(domain)
	return p, ok && len(p.AC) > 0 && len(p.Chain) > 0
}

// assertions returns the state of attribute certificates on every stream.
func (h *Host) assertions() []*dac {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*dac
	for s := range h.streams {
		if d := s.dac.Load(); d != nil {
			all = append(all, d)
		}
	}
	return all
}

// Prove replaces the proof of a hosted domain. Streams on which the old one is
// accepted show the new one when four fifths of the old one's time are over, others
// when they need it.
func (h *Host) Prove(domain string, proof Proof) error {
	if !h.hosts(domain) {
		return ErrNotHosted
	}
	h.id.add(domain, nil, nil, &proof)
	return nil
}

// Retract gives a hosted domain up: it is hosted no more, and the peers that have
// accepted a proof of it are told. Stanzas that wait for its authority bounce.
func (h *Host) Retract(domain string) error {
	if !h.hosts(domain) {
		return ErrNotHosted
	}
	h.names.drop(domain)
	h.id.drop(domain)
	for _, d := range h.assertions() {
		d.do(func() { d.retract(domain) })
	}
	return nil
}

// Revoke stops accepting a peer's domain, for a reason that the peer is told, on all
// streams. The domain is accepted again once the peer shows another proof of it.
func (h *Host) Revoke(domain string, reason attrcert.Reason) {
	for _, d := range h.assertions() {
		d.do(func() { d.revoke(domain, reason) })
	}
}
