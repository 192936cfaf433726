package attrcert

import (
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Rights are what an owner allows a provider to do for a domain, as a set of bits.
type Rights uint8

// The rights. Their bits have the numbers of the named bits of the attribute.
const (
	// SendAs allows stanzas from the domain.
	SendAs Rights = 1 << iota
	// ReceiveFor allows stanzas to the domain.
	ReceiveFor
	// Subdomains extends the other rights to all names below the domain.
	Subdomains

	// A connection between providers carries stanzas both ways.
	bothDirections = SendAs | ReceiveFor
	allRights      = bothDirections | Subdomains
)

// String returns the names of the rights as "sendAs+receiveFor", or "none".
func (r Rights) String() string {
	var names []string
	for i, name := range []string{"sendAs", "receiveFor", "subdomains"} {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// A Delegation is one value of the delegation attribute: rights for some domains.
type Delegation struct {
	Domains []string // in lower case and A-labels
	Rights  Rights
}

// covers reports whether the rights hold for a domain.
func (d Delegation) covers(domain string) bool {
	return slices.ContainsFunc(d.Domains, func(listed string) bool {
		if listed == domain {
			return true
		}
		parent, below := strings.CutSuffix(domain, listed)
		return below && d.Rights&Subdomains != 0 && strings.HasSuffix(parent, ".")
	})
}

// parse reads
//
//	XmppDelegation ::= SEQUENCE {
//	  version  INTEGER (0),
//	  domains  SEQUENCE OF GeneralName,  -- each a dNSName
//	  rights   BIT STRING { sendAs(0), receiveFor(1), subdomains(2) } }
func (d *Delegation) parse(der cryptobyte.String) error {
	var content, domains, rights cryptobyte.String
	var version int64
	if !der.ReadASN1(&content, asn1.SEQUENCE) || !der.Empty() || !content.ReadASN1Integer(&version) ||
		!content.ReadASN1(&domains, asn1.SEQUENCE) || !content.ReadASN1(&rights, asn1.BIT_STRING) || !content.Empty() {
		return malformed("delegation: not a sequence of version, domains and rights")
	}
	if version != 0 {
		return malformed("delegation: version %d is not known", version)
	}
	for !domains.Empty() {
		var name cryptobyte.String
		if !domains.ReadASN1(&name, implicit(tagDNSName)) {
			return malformed("delegation: a domain is not a dNSName")
		}
		if err := checkDomain(string(name)); err != nil {
			return malformed("delegation: domain %q: %v", name, err)
		}
		d.Domains = append(d.Domains, string(name))
	}
	if len(d.Domains) == 0 {
		return malformed("delegation: no domain")
	}
	return d.parseRights(rights)
}

// parseRights reads the content of a BIT STRING with named bits: without bits that are zero at its end (X.690 §11.2.2).
func (d *Delegation) parseRights(content cryptobyte.String) error {
	var unused, octet uint8
	if !content.ReadUint8(&unused) {
		return malformed("delegation: rights are not a bit string")
	}
	if content.Empty() && unused == 0 {
		return nil
	}
	if !content.ReadUint8(&octet) || !content.Empty() || octet == 0 || int(unused) != bits.TrailingZeros8(octet) {
		return malformed("delegation: rights are not a bit string of at most eight bits in its shortest form")
	}
	d.Rights = Rights(bits.Reverse8(octet))
	if d.Rights&^allRights != 0 {
		return malformed("delegation: rights hold a bit that is not known")
	}
	return nil
}

// marshal writes a delegation with one right at least.
func (d *Delegation) marshal(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, domain := range d.Domains {
				b.AddASN1(implicit(tagDNSName), func(b *cryptobyte.Builder) { b.AddBytes([]byte(domain)) })
			}
		})
		b.AddASN1(asn1.BIT_STRING, func(b *cryptobyte.Builder) {
			octet := bits.Reverse8(uint8(d.Rights))
			b.AddUint8(uint8(bits.TrailingZeros8(octet))) // #nosec G115 -- 8 at most
			b.AddUint8(octet)
		})
	})
}
