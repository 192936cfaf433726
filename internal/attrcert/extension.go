package attrcert

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxExtensions = 16
	maxTargets    = 256
	maxURI        = 1024 // octets
)

// An Extension is one extension as it was received.
type Extension struct {
	ID       x509.OID
	Critical bool
	Value    []byte // DER
}

// parseExtensions reads the content of Extensions and fills in what is known of them.
func (c *Certificate) parseExtensions(s cryptobyte.String) error {
	if s.Empty() {
		return malformed("extensions: an empty sequence")
	}
	var unknownCritical error
	seen := make(map[string]bool, 4)
	for !s.Empty() {
		if len(seen) == maxExtensions {
			return refuse(TooMany, "more than %d extensions", maxExtensions)
		}
		var one, value cryptobyte.String
		var oid string
		var ok bool
		critical, present := false, false
		if ok = s.ReadASN1(&one, asn1.SEQUENCE); ok {
			oid, ok = readOID(&one)
		}
		if ok && one.PeekASN1Tag(asn1.BOOLEAN) {
			present, ok = true, one.ReadASN1Boolean(&critical)
		}
		if !ok || !one.ReadASN1(&value, asn1.OCTET_STRING) || !one.Empty() {
			return malformed("extensions: not a sequence of identifier, criticality and value")
		}
		if present && !critical {
			return malformed("extensions: a default value is written out") // X.690 §11.5
		}
		if seen[oid] {
			return malformed("extensions: one stands there twice")
		}
		seen[oid] = true
		e := Extension{Critical: critical, Value: value}
		_ = e.ID.UnmarshalBinary([]byte(oid)) // readOID has done it before
		c.Extensions = append(c.Extensions, e)
		known, err := c.parseExtension(oid, critical, value)
		if err != nil {
			return err
		}
		if critical && !known && unknownCritical == nil {
			unknownCritical = refuse(UnknownCritical, "extension %s", e.ID)
		}
	}
	if unknownCritical != nil {
		return unknownCritical
	}
	if c.NoRevAvail && (c.crlPoint || c.OCSP != "") {
		return malformed("extensions: noRevAvail beside a pointer to revocation information")
	}
	return nil
}

// parseExtension reads one extension, if it is known. Which are critical is a matter of RFC 5755 §4.3, not of the issuer.
func (c *Certificate) parseExtension(oid string, critical bool, value cryptobyte.String) (known bool, err error) {
	var parse func(cryptobyte.String) error
	switch oid {
	case oidAuthorityKeyID:
		parse = c.parseAuthorityKeyID
	case oidNoRevAvail:
		parse = c.parseNoRevAvail
	case oidCRLDistributionPoints:
		parse = c.parseCRLDistributionPoints
	case oidAuthorityInfoAccess:
		parse = c.parseAuthorityInfoAccess
	case oidTargetInformation:
		parse = c.parseTargetInformation
	default:
		return false, nil
	}
	if critical != (oid == oidTargetInformation) {
		return true, malformed("extensions: the criticality is not the one that RFC 5755 demands")
	}
	if !wellFormed(value, maxDepth) {
		return true, malformed("extensions: a value is not DER")
	}
	return true, parse(value)
}

// parseAuthorityKeyID reads RFC 5280 §4.2.1.1. Only the key identifier is used.
func (c *Certificate) parseAuthorityKeyID(s cryptobyte.String) error {
	var content, id, names, serial cryptobyte.String
	var hasID, hasNames, hasSerial bool
	if !s.ReadASN1(&content, asn1.SEQUENCE) || !s.Empty() ||
		!content.ReadOptionalASN1(&id, &hasID, implicit(0)) || !content.ReadOptionalASN1(&names, &hasNames, explicit(1)) ||
		!content.ReadOptionalASN1(&serial, &hasSerial, implicit(2)) || !content.Empty() || hasNames != hasSerial {
		return malformed("authorityKeyIdentifier: not a sequence of its options")
	}
	if hasID && len(id) == 0 {
		return malformed("authorityKeyIdentifier: it is empty")
	}
	c.AuthorityKeyID = id
	return nil
}

func (c *Certificate) parseNoRevAvail(s cryptobyte.String) error {
	if string(s) != "\x05\x00" {
		return malformed("noRevAvail: not NULL")
	}
	c.NoRevAvail = true
	return nil
}

// parseCRLDistributionPoints reads RFC 5280 §4.2.1.13 as far as RFC 5755 §4.3.5 allows it: one point with one name.
func (c *Certificate) parseCRLDistributionPoints(s cryptobyte.String) error {
	var points, point, name, names, uri, directory cryptobyte.String
	if !s.ReadASN1(&points, asn1.SEQUENCE) || !s.Empty() || !points.ReadASN1(&point, asn1.SEQUENCE) || !points.Empty() ||
		!point.ReadASN1(&name, explicit(0)) || !point.Empty() || !name.ReadASN1(&names, explicit(0)) || !name.Empty() {
		return malformed("cRLDistributionPoints: not one point with a full name and nothing else")
	}
	switch {
	case names.PeekASN1Tag(implicit(tagURI)) && names.ReadASN1(&uri, implicit(tagURI)) && printable(uri, maxURI):
		c.CRL = string(uri)
	case names.ReadASN1(&directory, explicit(tagName)):
	default:
		return malformed("cRLDistributionPoints: the name is neither a URI nor a directoryName")
	}
	if !names.Empty() {
		return malformed("cRLDistributionPoints: more than one name")
	}
	c.crlPoint = true
	return nil
}

// parseAuthorityInfoAccess reads RFC 5280 §4.2.2.1. RFC 5755 §4.3.4 has no use for other methods than OCSP.
func (c *Certificate) parseAuthorityInfoAccess(s cryptobyte.String) error {
	var descriptions cryptobyte.String
	if !s.ReadASN1(&descriptions, asn1.SEQUENCE) || !s.Empty() || descriptions.Empty() {
		return malformed("authorityInfoAccess: not a sequence of descriptions")
	}
	for !descriptions.Empty() {
		var one, location cryptobyte.String
		var tag asn1.Tag
		if !descriptions.ReadASN1(&one, asn1.SEQUENCE) {
			return malformed("authorityInfoAccess: not a sequence of descriptions")
		}
		method, ok := readOID(&one)
		if !ok || !one.ReadAnyASN1(&location, &tag) || !one.Empty() {
			return malformed("authorityInfoAccess: not a method and a location")
		}
		if method != oidOCSP {
			continue
		}
		if tag != implicit(tagURI) || !printable(location, maxURI) {
			return malformed("authorityInfoAccess: the location of OCSP is not a URI")
		}
		if c.OCSP == "" {
			c.OCSP = string(location)
		}
	}
	return nil
}

// parseTargetInformation reads SEQUENCE OF Targets (RFC 5755 §4.3.2), all of which count as one list.
func (c *Certificate) parseTargetInformation(s cryptobyte.String) error {
	var lists cryptobyte.String
	if !s.ReadASN1(&lists, asn1.SEQUENCE) || !s.Empty() {
		return malformed("targetInformation: not a sequence of targets")
	}
	// Not nil: an empty list means nobody.
	c.Targets = []string{}
	count := 0
	for !lists.Empty() {
		var targets cryptobyte.String
		if !lists.ReadASN1(&targets, asn1.SEQUENCE) {
			return malformed("targetInformation: not a sequence of targets")
		}
		for !targets.Empty() {
			if count++; count > maxTargets {
				return refuse(TooMany, "more than %d targets", maxTargets)
			}
			var name, group cryptobyte.String
			switch {
			case targets.PeekASN1Tag(explicit(0)) && targets.ReadASN1(&name, explicit(0)):
			case targets.PeekASN1Tag(explicit(1)) && targets.ReadASN1(&group, explicit(1)):
				continue // this verifier is in no group
			default:
				return malformed("targetInformation: a target is neither a name nor a group")
			}
			var content cryptobyte.String
			var tag asn1.Tag
			if !name.ReadAnyASN1(&content, &tag) || !name.Empty() {
				return malformed("targetInformation: a target is not one name")
			}
			// Other kinds of names are no verifier's of ours.
			if tag != implicit(tagDNSName) {
				continue
			}
			if !printable(content, 253) {
				return malformed("targetInformation: %q is not a domain name", content)
			}
			c.Targets = append(c.Targets, string(content))
		}
	}
	return nil
}

// addExtension writes an Extension.
func addExtension(b *cryptobyte.Builder, oid string, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(asn1.OCTET_STRING, value)
	})
}

func addURI(b *cryptobyte.Builder, uri string) {
	b.AddASN1(implicit(tagURI), func(b *cryptobyte.Builder) { b.AddBytes([]byte(uri)) })
}

func (t *Template) addExtensions(b *cryptobyte.Builder, authorityKeyID []byte) {
	if len(authorityKeyID) > 0 {
		addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(implicit(0), func(b *cryptobyte.Builder) { b.AddBytes(authorityKeyID) })
			})
		})
	}
	if len(t.Targets) > 0 {
		addExtension(b, oidTargetInformation, true, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1(asn1.SEQUENCE, t.addTargets) })
		})
	}
	switch {
	case t.CRL != "":
		addExtension(b, oidCRLDistributionPoints, false, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
						b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { addURI(b, t.CRL) })
					})
				})
			})
		})
	case t.OCSP != "":
		addExtension(b, oidAuthorityInfoAccess, false, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addOID(b, oidOCSP)
					addURI(b, t.OCSP)
				})
			})
		})
	default:
		addExtension(b, oidNoRevAvail, false, func(b *cryptobyte.Builder) { b.AddASN1NULL() })
	}
}

func (t *Template) addTargets(b *cryptobyte.Builder) {
	for _, target := range t.Targets {
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(implicit(tagDNSName), func(b *cryptobyte.Builder) { b.AddBytes([]byte(target)) })
		})
	}
}
