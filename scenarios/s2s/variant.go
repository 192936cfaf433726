package s2s

import (
	"context"
	"crypto/tls"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// Needs says what a provider has to hold for a variant, besides the roots that it
// trusts.
type Needs int

// The kinds of credentials.
const (
	// OwnOnly is the hosting provider's own certificate and key.
	OwnOnly Needs = iota
	// EachDomain is a certificate and private key of every customer's domain.
	EachDomain
	// OneForAll is one certificate and key that names every customer's domain.
	OneForAll
	// Attributes is the provider's own certificate and, for each customer's domain,
	// an attribute certificate that the customer has signed.
	Attributes
	// Nothing is no certificate at all.
	Nothing
)

// ThirdParty says who has to publish something for a variant, besides SRV records.
type ThirdParty int

// The third parties.
const (
	// Nobody has to.
	Nobody ThirdParty = iota
	// WebServers of the domains publish POSH documents.
	WebServers
	// SecureDNS publishes TLSA records, and proves all of its answers.
	SecureDNS
	// RevocationLists are published by the owners of the domains.
	RevocationLists
)

// Variant is one way of federating, both ends of it.
type Variant struct {
	// Name is the canonical name, as in scenario files; Spec says where the
	// protocol is written down; Summary is one line for help texts.
	Name, Spec, Summary string
	// Params are the settings that mean something to this variant, besides those
	// that all have (see [Common]).
	Params []Param
	// Layout says which pairs share a stream, Needs what a provider holds.
	Layout func(p Params) Layout
	Needs  func(p Params) Needs
	// Asks says who else is asked; nil is nobody.
	Asks func(p Params) ThirdParty
	// Counts is the closed form of what a mesh comes to.
	Counts func(p Params, m Mesh) Counts
	// Rounds is the closed form of round trips until pairs can talk.
	Rounds func(p Params) Rounds

	// named says that a peer's certificate must name the domain of the stream
	// header; otherwise a wrong name does not end the connection. open must be true
	// then for certificates that cannot be verified at all, as with dialback.
	named, open bool
	// headless streams have no header, features or negotiation (XEP-0361).
	headless bool
	// duplex streams carry stanzas in both directions without XEP-0288 saying so.
	duplex bool
	// lapses says that authority can end while the stream lives: it is looked at for
	// each stanza that is sent.
	lapses bool

	// check refuses settings that do not go together; nil refuses none. prepare makes
	// what a host keeps for the variant.
	check   func(p Params) error
	prepare func(h *Host) error
	// meet looks at a peer that has connected, after TLS; the error turns it away.
	meet func(s *Stream) error

	// before is what the initiating end does before it connects to the target of a
	// domain; nil is nothing. client returns the certificate that it presents for a
	// hosted domain, where that is not the one it presents as a server.
	before func(ctx context.Context, h *Host, domain string, t *target) error
	client func(h *Host, local string) *tls.Certificate
	// admit is the receiving end's part of a headless stream. authenticated admits
	// what SASL EXTERNAL has proved; nil where that is refused.
	admit         func(s *Stream) error
	authenticated func(s *Stream) error
	// offer appends the features that the receiving end announces after TLS, in
	// place of which headless streams have none.
	offer func(s *Stream, dst []byte) []byte
	// begin is the initiating end's part from the features after TLS to a stream on
	// which authority can be proved. It may use n.next and may block.
	begin func(n *negotiation) error
	// prove asks the peer to accept a pair on a stream of which this end is not
	// known to have the authority for it. done is called once, from any goroutine
	// and perhaps before prove returns; without an error the stream's Authority out
	// admits the pair. Nil where begin settles everything.
	prove func(s *Stream, p Pair, done func(Proved, error))
	// judge is the receiving end's decision on a dialback request. answer is called
	// once with the verdict. Nil where dialback is refused.
	judge func(s *Stream, r dialbackRequest, answer func(dialbackVerdict))
	// control takes an element of the variant's own protocol that arrived on an
	// open stream. It must not block.
	control func(s *Stream, el *wire.Element) (handled bool, err error)
	// unauth is the default of the setting of that name.
	unauth Unauth
}

// Proved says when a proof of authority was written (s4) and when its acceptance
// was read (s5).
type Proved struct{ Asked, Granted time.Time }

// Key names the stream that carries stanzas from one endpoint to another:
// streams with equal keys are one stream.
func (v Variant) Key(p Params, from, to Endpoint) string {
	return v.Layout(p).Key(from, to, p.Pool)
}

// Headless reports whether streams have no header and nothing is negotiated on them
// (XEP-0361).
func (v Variant) Headless() bool { return v.headless }

// Variants returns the variants, the baseline first.
func Variants() []Variant {
	return []Variant{
		pairExternal(),
		pairDialback(),
		pairBidi(),
		sharedDialback(),
		shared7712(),
		sharedCert(),
		sharedMux(),
		sharedPOSH(),
		sharedDANE(),
		sharedAttrcert(),
		zeroHandshake(),
	}
}

// Names returns the names of the variants, in the same order.
func Names() []string {
	var names []string
	for _, v := range Variants() {
		names = append(names, v.Name)
	}
	return names
}

// Find returns the variant of this name.
func Find(name string) (Variant, bool) {
	all := Variants()
	if i := slices.IndexFunc(all, func(v Variant) bool { return v.Name == name }); i >= 0 {
		return all[i], true
	}
	return Variant{}, false
}
