package s2s

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// A Pair is a sender's domain and a target domain: the unit of authority in XMPP
// (XEP-0220 §1). The pair of the other direction is another one.
type Pair struct{ From, To string }

// Reverse returns the pair of the other direction.
func (p Pair) Reverse() Pair { return Pair{p.To, p.From} }

// String writes the pair as "from>to".
func (p Pair) String() string { return p.From + ">" + p.To }

// An Endpoint is a domain and the provider that hosts it.
type Endpoint struct {
	// Domain is an A-label name in lower case.
	Domain string
	// Provider identifies the provider: the host:port that the domain's SRV record
	// points to.
	Provider string
}

// A Layout says which pairs of domains share a stream.
type Layout int

// The layouts. For n × m domains of two providers with traffic in both directions
// they make 2nm, nm, 2 and 1 streams.
const (
	// EachPair has a stream for each ordered pair of domains, as RFC 6120 describes.
	EachPair Layout = iota
	// EachPairBoth has a stream for each two domains, used in both directions (XEP-0288).
	EachPairBoth
	// EachProvider has a stream for each ordered pair of providers.
	EachProvider
	// EachProviderBoth has a stream for each two providers, used in both directions.
	EachProviderBoth
)

// Layouts returns all layouts in order.
func Layouts() []Layout { return []Layout{EachPair, EachPairBoth, EachProvider, EachProviderBoth} }

// String is the name of the layout in runs and tags.
func (l Layout) String() string {
	return [...]string{"each-pair", "each-pair-both", "each-provider", "each-provider-both"}[l]
}

// Shared reports whether a stream carries many domains.
func (l Layout) Shared() bool { return l == EachProvider || l == EachProviderBoth }

// Both reports whether a stream carries stanzas in both directions.
func (l Layout) Both() bool { return l == EachPairBoth || l == EachProviderBoth }

// Key names the stream that carries stanzas from one endpoint to the other:
// streams with equal keys are one stream. With a pool of k > 1 streams, each pair
// of domains keeps to one of them (RFC 6120 §10.1).
func (l Layout) Key(from, to Endpoint, pool int) string {
	a, b := from.Domain, to.Domain
	if l.Shared() {
		a, b = from.Provider, to.Provider
	}
	if l.Both() && b < a {
		a, b = b, a
	}
	key := a + ">" + b
	if l.Shared() && pool > 1 {
		key += "#" + strconv.Itoa(slot(Pair{from.Domain, to.Domain}, pool))
	}
	return key
}

// slot hashes a pair to one of k streams, and its reverse to the same one.
func slot(p Pair, k int) int {
	if p.To < p.From {
		p = p.Reverse()
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.From)) // never fails
	_, _ = h.Write([]byte{'>'})
	_, _ = h.Write([]byte(p.To))
	return int(h.Sum32() % uint32(k)) // #nosec G115 -- the option is bounded
}

// domainOf returns the domain of a JID (RFC 7622 §3.2), in lower case.
func domainOf[T ~string | ~[]byte](jid T) string {
	s := string(jid)
	if i := strings.IndexByte(s, '/'); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}
