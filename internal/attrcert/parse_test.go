package attrcert_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

const (
	delegationOID = "1.3.6.1.4.1.32473.1.1"
	// An attribute type of which encoding/asn1 says that it is too large.
	uuidOID = "2.25.329800735698586629295641978511506172918"

	keyIdentifierOID = "2.5.29.35"
	crlPointOID      = "2.5.29.31"
	noRevAvailOID    = "2.5.29.56"
	targetsOID       = "2.5.29.55"
	accessOID        = "1.3.6.1.5.5.7.1.1"
	ocspOID          = "1.3.6.1.5.5.7.48.1"
	caIssuersOID     = "1.3.6.1.5.5.7.48.2"
	auditOID         = "1.3.6.1.5.5.7.1.4"
)

// delegation is a value of our attribute, with rights as the content of a bit string.
func delegation(rights []byte, domains ...*node) *node {
	return sequence(integer(0), sequence(domains...), leafNode(tagBitString, rights...))
}

var (
	bothRights = []byte{6, 0xc0}
	oneDomain  = dnsName(domain)
)

func attribute(t testing.TB, id string, values ...*node) *node {
	return sequence(oid(t, id), set(values...))
}

func extension(t testing.TB, id string, value *node) *node {
	return sequence(oid(t, id), octets(value))
}

func critical(t testing.TB, id string, value *node) *node {
	return sequence(oid(t, id), boolean(0xff), octets(value))
}

// crlPoint is the value of cRLDistributionPoints with one point that has these names.
func crlPoint(names ...*node) *node {
	return sequence(sequence(group(tagExplicit, group(tagExplicit, names...))))
}

func directoryName(name *node) *node { return group(tagExplicit|4, name) }

func targetName(name *node) *node { return group(tagExplicit, name) }

func TestParseRefuses(t *testing.T) {
	w := newWorld(t, "p256")
	name := tree(t, w.owner.cert.RawSubject)
	sha256ID := sequence(oid(t, "2.16.840.1.101.3.4.2.1"))
	digest := func(kind byte, algorithm *node, bits ...byte) *node {
		return group(tagExplicit|2, leafNode(tagEnumerated, kind), algorithm, leafNode(tagBitString, append([]byte{0}, bits...)...))
	}
	hash := make([]byte, 32)
	issuerSerial := func(children ...*node) *node { return group(tagExplicit, children...) }
	names := func(n ...*node) *node { return sequence(n...) }

	// Each changes a part of acinfo that is correct before.
	attributes := func(a ...*node) func(*node) {
		return func(info *node) { info.children[infoAttributes] = sequence(a...) }
	}
	value := func(v ...*node) func(*node) { return attributes(attribute(t, delegationOID, v...)) }
	extensions := func(e ...*node) func(*node) {
		return func(info *node) { info.children[infoExtensions] = sequence(e...) }
	}
	holder := func(h ...*node) func(*node) { return func(info *node) { info.children[infoHolder] = sequence(h...) } }
	issuer := func(n *node) func(*node) { return func(info *node) { info.children[infoIssuer] = n } }
	validity := func(from, to *node) func(*node) {
		return func(info *node) { info.children[infoValidity] = sequence(from, to) }
	}
	from, to := text(tagTime, "20261122110000Z"), text(tagTime, "20261122130000Z")
	norev := extension(t, noRevAvailOID, null())
	manyDomains := slices.Repeat([]*node{oneDomain}, attrcert.MaxDomains+1)
	manyTargets := slices.Repeat([]*node{targetName(dnsName("b"))}, 257)
	manyAttributes := make([]*node, 17)
	manyExtensions := make([]*node, 17)
	for i := range manyAttributes {
		manyAttributes[i] = attribute(t, fmt.Sprintf("1.3.6.1.4.1.32473.9.%d", i), null())
		manyExtensions[i] = extension(t, fmt.Sprintf("1.3.6.1.4.1.32473.9.%d", i), null())
	}

	tests := []struct {
		name   string
		change func(info *node)
		want   attrcert.Reason
	}{
		{"version 1", func(info *node) { info.at(infoVersion).content = []byte{0} }, attrcert.BadEncoding},
		{"version 3", func(info *node) { info.at(infoVersion).content = []byte{2} }, attrcert.BadEncoding},
		{"version in two octets", func(info *node) { info.at(infoVersion).content = []byte{0, 1} }, attrcert.BadEncoding},

		{"holder: none", holder(), attrcert.HolderMismatch},
		{"holder: two ways", holder(issuerSerial(names(directoryName(name)), integer(1)), digest(0, sha256ID, hash...)), attrcert.HolderMismatch},
		{"holder: in another order", holder(digest(0, sha256ID, hash...), issuerSerial(names(directoryName(name)), integer(1))), attrcert.BadEncoding},
		{"holder: entityName", holder(group(tagExplicit|1, directoryName(name))), attrcert.HolderMismatch},
		{"holder: entityName and digest", holder(group(tagExplicit|1, directoryName(name)), digest(0, sha256ID, hash...)), attrcert.HolderMismatch},
		{"holder: otherObjectTypes", holder(digest(2, sha256ID, hash...)), attrcert.HolderMismatch},
		{"holder: digestedObjectType 3", holder(digest(3, sha256ID, hash...)), attrcert.BadEncoding},
		{"holder: otherObjectTypeID", holder(group(tagExplicit|2, leafNode(tagEnumerated, 0), oid(t, "1.2.3"), sha256ID, leafNode(tagBitString, append([]byte{0}, hash...)...))), attrcert.BadEncoding},
		{"holder: digestedObjectType as an integer", holder(group(tagExplicit|2, integer(0), sha256ID, leafNode(tagBitString, append([]byte{0}, hash...)...))), attrcert.BadEncoding},
		{"holder: SHA-1", holder(digest(0, sequence(oid(t, "1.3.14.3.2.26")), hash[:20]...)), attrcert.HolderMismatch},
		{"holder: algorithm with parameters", holder(digest(0, sequence(oid(t, "2.16.840.1.101.3.4.2.1"), integer(1)), hash...)), attrcert.BadEncoding},
		{"holder: algorithm with two parameters", holder(digest(0, sequence(oid(t, "2.16.840.1.101.3.4.2.1"), null(), null()), hash...)), attrcert.BadEncoding},
		{"holder: short digest", holder(digest(0, sha256ID, hash[:31]...)), attrcert.BadEncoding},
		{"holder: bits that are no octets", holder(group(tagExplicit|2, leafNode(tagEnumerated, 0), sha256ID, leafNode(tagBitString, append([]byte{1}, hash...)...))), attrcert.BadEncoding},
		{"holder: empty issuer", holder(issuerSerial(names(directoryName(sequence())), integer(1))), attrcert.BadEncoding},
		{"holder: two issuers", holder(issuerSerial(names(directoryName(name), directoryName(name)), integer(1))), attrcert.BadEncoding},
		{"holder: issuer is a domain", holder(issuerSerial(names(oneDomain), integer(1))), attrcert.BadEncoding},
		{"holder: no serial number", holder(issuerSerial(names(directoryName(name)))), attrcert.BadEncoding},
		{"holder: serial number of 21 octets", holder(issuerSerial(names(directoryName(name)), integer(append([]byte{1}, hash[:20]...)...))), attrcert.BadEncoding},
		{"holder: issuerUID", holder(issuerSerial(names(directoryName(name)), integer(1), leafNode(tagBitString, 0, 1))), attrcert.HolderMismatch},
		{"holder: more than issuerUID", holder(issuerSerial(names(directoryName(name)), integer(1), null())), attrcert.BadEncoding},
		{"holder: something else", holder(null()), attrcert.BadEncoding},
		{"holder: not a sequence", func(info *node) { info.children[infoHolder] = null() }, attrcert.BadEncoding},

		{"issuer: v1Form", issuer(names(directoryName(name))), attrcert.BadEncoding},
		{"issuer: no name", issuer(group(tagExplicit)), attrcert.BadEncoding},
		{"issuer: empty list of names", issuer(group(tagExplicit, names())), attrcert.BadEncoding},
		{"issuer: empty name", issuer(group(tagExplicit, names(directoryName(sequence())))), attrcert.BadEncoding},
		{"issuer: two names", issuer(group(tagExplicit, names(directoryName(name), directoryName(name)))), attrcert.BadEncoding},
		{"issuer: a domain", issuer(group(tagExplicit, names(oneDomain))), attrcert.BadEncoding},
		{"issuer: baseCertificateID", issuer(group(tagExplicit, names(directoryName(name)), group(tagExplicit, names(directoryName(name)), integer(1)))), attrcert.BadEncoding},
		{"issuer: objectDigestInfo", issuer(group(tagExplicit, names(directoryName(name)), group(tagExplicit|1, leafNode(tagEnumerated, 0), sha256ID, leafNode(tagBitString, 0)))), attrcert.BadEncoding},

		{"algorithm: not the outer one", func(info *node) { info.children[infoAlgorithm] = sequence(oid(t, "1.2.840.10045.4.3.3")) }, attrcert.BadEncoding},
		{"algorithm: NULL", func(info *node) { info.at(infoAlgorithm).add(null()) }, attrcert.BadEncoding},

		{"serial: zero", func(info *node) { info.at(infoSerial).content = []byte{0} }, attrcert.BadEncoding},
		{"serial: negative", func(info *node) { info.at(infoSerial).content = []byte{0x80} }, attrcert.BadEncoding},
		{"serial: leading zero", func(info *node) { info.at(infoSerial).content = []byte{0, 1} }, attrcert.BadEncoding},
		{"serial: empty", func(info *node) { info.at(infoSerial).content = nil }, attrcert.BadEncoding},
		{"serial: 21 octets", func(info *node) { info.at(infoSerial).content = append([]byte{1}, hash[:20]...) }, attrcert.BadEncoding},

		{"validity: UTCTime", validity(text(0x17, "261122110000Z"), to), attrcert.BadEncoding},
		{"validity: fractions", validity(text(tagTime, "20261122110000.0Z"), to), attrcert.BadEncoding},
		{"validity: offset", validity(text(tagTime, "20261122110000+0000"), to), attrcert.BadEncoding},
		{"validity: no seconds", validity(text(tagTime, "202611221100Z"), to), attrcert.BadEncoding},
		{"validity: no zone", validity(text(tagTime, "20261122110000"), to), attrcert.BadEncoding},
		{"validity: 30 February", validity(text(tagTime, "20260230110000Z"), to), attrcert.BadEncoding},
		{"validity: backwards", validity(to, from), attrcert.BadEncoding},
		{"validity: three times", func(info *node) { info.at(infoValidity).add(to) }, attrcert.BadEncoding},
		{"validity: one time", func(info *node) { info.children[infoValidity] = sequence(from) }, attrcert.BadEncoding},

		{"attributes: none", attributes(), attrcert.BadEncoding},
		{"attributes: no values", value(), attrcert.BadEncoding},
		{"attributes: a type twice", attributes(attribute(t, delegationOID, delegation(bothRights, oneDomain)), attribute(t, delegationOID, delegation(bothRights, oneDomain))), attrcert.BadEncoding},
		{"attributes: another type twice", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, null()), attribute(t, uuidOID, boolean(0)))
		}, attrcert.BadEncoding},
		{"attributes: values out of order", value(delegation(bothRights, dnsName("b.example")), delegation(bothRights, dnsName("a.example"))), attrcert.BadEncoding},
		{"attributes: other values out of order", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, integer(2), integer(1)))
		}, attrcert.BadEncoding},
		{"attributes: other value is not DER", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, &node{tag: tagInteger, content: []byte{1}, padding: 1}))
		}, attrcert.BadEncoding},
		{"attributes: other value is not DER within", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, sequence(&node{tag: tagInteger, content: []byte{1}, padding: 1})))
		}, attrcert.BadEncoding},
		{"attributes: a string in pieces", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, group(tagOctetString|0x20, leafNode(tagOctetString, 1))))
		}, attrcert.BadEncoding},
		{"attributes: a primitive sequence", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, leafNode(0x10)))
		}, attrcert.BadEncoding},
		{"attributes: values in a sequence", attributes(sequence(oid(t, delegationOID), sequence(delegation(bothRights, oneDomain)))), attrcert.BadEncoding},
		{"attributes: type with a leading 0x80", attributes(sequence(leafNode(tagOID, 0x2b, 0x80, 0x01), set(null()))), attrcert.BadEncoding},
		{"attributes: type is cut", attributes(sequence(leafNode(tagOID, 0x2b, 0x81), set(null()))), attrcert.BadEncoding},
		{"attributes: empty type", attributes(sequence(leafNode(tagOID), set(null()))), attrcert.BadEncoding},
		{"attributes: too many", attributes(manyAttributes...), attrcert.TooMany},

		{"delegation: version 1", value(sequence(integer(1), sequence(oneDomain), leafNode(tagBitString, bothRights...))), attrcert.BadEncoding},
		{"delegation: no domains", value(delegation(bothRights)), attrcert.BadEncoding},
		{"delegation: too many domains", value(delegation(bothRights, manyDomains...)), attrcert.TooMany},
		{"delegation: a URI", value(delegation(bothRights, uri("xmpp:a1.example"))), attrcert.BadEncoding},
		{"delegation: upper case", value(delegation(bothRights, dnsName("A1.example"))), attrcert.BadEncoding},
		{"delegation: wildcard", value(delegation(bothRights, dnsName("*.a1.example"))), attrcert.BadEncoding},
		{"delegation: U-label", value(delegation(bothRights, dnsName("bücher.example"))), attrcert.BadEncoding},
		{"delegation: NUL", value(delegation(bothRights, dnsName("a1.example\x00.evil"))), attrcert.BadEncoding},
		{"delegation: no rights", value(sequence(integer(0), sequence(oneDomain))), attrcert.BadEncoding},
		{"delegation: more", value(sequence(integer(0), sequence(oneDomain), leafNode(tagBitString, bothRights...), null())), attrcert.BadEncoding},
		{"delegation: unknown right", value(delegation([]byte{4, 0x10}, oneDomain)), attrcert.BadEncoding},
		{"delegation: rights with zeros at the end", value(delegation([]byte{0, 0xc0}, oneDomain)), attrcert.BadEncoding},
		{"delegation: unused bits are set", value(delegation([]byte{7, 0xc0}, oneDomain)), attrcert.BadEncoding},
		{"delegation: eight unused bits", value(delegation([]byte{8, 0x80}, oneDomain)), attrcert.BadEncoding},
		{"delegation: zero as a bit", value(delegation([]byte{7, 0}, oneDomain)), attrcert.BadEncoding},
		{"delegation: unused bits of nothing", value(delegation([]byte{1}, oneDomain)), attrcert.BadEncoding},
		{"delegation: rights without octets", value(delegation(nil, oneDomain)), attrcert.BadEncoding},
		{"delegation: rights of two octets", value(delegation([]byte{7, 0xc0, 0x80}, oneDomain)), attrcert.BadEncoding},

		{"issuerUniqueID", func(info *node) {
			info.children = slices.Insert(info.children, infoExtensions, leafNode(tagBitString, 0, 1))
		}, attrcert.BadEncoding},
		{"something after the extensions", func(info *node) { info.add(null()) }, attrcert.BadEncoding},

		{"extensions: empty", extensions(), attrcert.BadEncoding},
		{"extensions: one twice", extensions(norev, norev), attrcert.BadEncoding},
		{"extensions: too many", extensions(manyExtensions...), attrcert.TooMany},
		{"extensions: FALSE is written out", extensions(sequence(oid(t, noRevAvailOID), boolean(0), octets(null()))), attrcert.BadEncoding},
		{"extensions: TRUE is 1", extensions(sequence(oid(t, targetsOID), boolean(1), octets(sequence()))), attrcert.BadEncoding},
		{"extensions: no value", extensions(sequence(oid(t, noRevAvailOID))), attrcert.BadEncoding},
		{"extensions: unknown and critical", extensions(norev, critical(t, "1.3.6.1.4.1.32473.9.1", null())), attrcert.UnknownCritical},
		{"extensions: audit identity", extensions(norev, critical(t, auditOID, leafNode(tagOctetString, 1))), attrcert.UnknownCritical},

		{"noRevAvail: critical", extensions(critical(t, noRevAvailOID, null())), attrcert.BadEncoding},
		{"noRevAvail: not NULL", extensions(extension(t, noRevAvailOID, boolean(0xff))), attrcert.BadEncoding},
		{"noRevAvail: and a CRL", extensions(norev, extension(t, crlPointOID, crlPoint(uri(crlURL)))), attrcert.BadEncoding},
		{"noRevAvail: and a CRL by name", extensions(norev, extension(t, crlPointOID, crlPoint(directoryName(name)))), attrcert.BadEncoding},
		{"noRevAvail: and OCSP", extensions(norev, extension(t, accessOID, sequence(sequence(oid(t, ocspOID), uri("http://o.example"))))), attrcert.BadEncoding},

		{"CRL: critical", extensions(critical(t, crlPointOID, crlPoint(uri(crlURL)))), attrcert.BadEncoding},
		{"CRL: no point", extensions(extension(t, crlPointOID, sequence())), attrcert.BadEncoding},
		{"CRL: two points", extensions(extension(t, crlPointOID, sequence(crlPoint(uri(crlURL)).at(0), crlPoint(uri(crlURL)).at(0)))), attrcert.BadEncoding},
		{"CRL: two names", extensions(extension(t, crlPointOID, crlPoint(uri(crlURL), uri(crlURL)))), attrcert.BadEncoding},
		{"CRL: a domain", extensions(extension(t, crlPointOID, crlPoint(oneDomain))), attrcert.BadEncoding},
		{"CRL: reasons", extensions(extension(t, crlPointOID, sequence(sequence(crlPoint(uri(crlURL)).at(0, 0), leafNode(tagContext|1, 1, 2))))), attrcert.BadEncoding},
		{"CRL: a URI with a space", extensions(extension(t, crlPointOID, crlPoint(uri("http://a1.example/a b")))), attrcert.BadEncoding},
		{"CRL: a long URI", extensions(extension(t, crlPointOID, crlPoint(uri(crlURL+strings.Repeat("x", 1024))))), attrcert.BadEncoding},
		{"CRL: an empty URI", extensions(extension(t, crlPointOID, crlPoint(uri("")))), attrcert.BadEncoding},
		{"CRL: not DER", extensions(extension(t, crlPointOID, crlPoint(&node{tag: tagContext | 6, content: []byte(crlURL), padding: 1}))), attrcert.BadEncoding},

		{"OCSP: critical", extensions(critical(t, accessOID, sequence(sequence(oid(t, ocspOID), uri("http://o.example"))))), attrcert.BadEncoding},
		{"OCSP: no description", extensions(extension(t, accessOID, sequence())), attrcert.BadEncoding},
		{"OCSP: not a sequence", extensions(extension(t, accessOID, sequence(null()))), attrcert.BadEncoding},
		{"OCSP: not a URI", extensions(extension(t, accessOID, sequence(sequence(oid(t, ocspOID), directoryName(name))))), attrcert.BadEncoding},
		{"OCSP: no location", extensions(extension(t, accessOID, sequence(sequence(oid(t, ocspOID))))), attrcert.BadEncoding},

		{"key identifier: critical", extensions(norev, critical(t, keyIdentifierOID, sequence(leafNode(tagContext, 1)))), attrcert.BadEncoding},
		{"key identifier: empty", extensions(norev, extension(t, keyIdentifierOID, sequence(leafNode(tagContext)))), attrcert.BadEncoding},
		{"key identifier: issuer without serial number", extensions(norev, extension(t, keyIdentifierOID, sequence(group(tagExplicit|1, directoryName(name))))), attrcert.BadEncoding},
		{"key identifier: more", extensions(norev, extension(t, keyIdentifierOID, sequence(leafNode(tagContext, 1), null()))), attrcert.BadEncoding},

		{"targets: not critical", extensions(norev, extension(t, targetsOID, sequence(sequence(targetName(dnsName(verifier)))))), attrcert.BadEncoding},
		{"targets: not in a list of lists", extensions(norev, critical(t, targetsOID, sequence(targetName(dnsName(verifier))))), attrcert.BadEncoding},
		{"targets: targetCert", extensions(norev, critical(t, targetsOID, sequence(sequence(group(tagExplicit|2, group(tagExplicit, names(directoryName(name)), integer(1))))))), attrcert.BadEncoding},
		{"targets: two names in one", extensions(norev, critical(t, targetsOID, sequence(sequence(group(tagExplicit, dnsName("b"), dnsName("c")))))), attrcert.BadEncoding},
		{"targets: a domain with a space", extensions(norev, critical(t, targetsOID, sequence(sequence(targetName(dnsName("b c")))))), attrcert.BadEncoding},
		{"targets: a group that is not DER", extensions(norev, critical(t, targetsOID, sequence(sequence(group(tagExplicit|1, &node{tag: tagContext | 2, content: []byte("g"), padding: 1}))))), attrcert.BadEncoding},
		{"targets: too many", extensions(norev, critical(t, targetsOID, sequence(sequence(manyTargets[:100]...), sequence(manyTargets[100:]...)))), attrcert.TooMany},
	}
	good := w.issue(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der := edit(t, good, w.owner.key, tt.change)
			_, err := attrcert.Parse(der)
			wantReason(t, err, tt.want)
		})
	}
	if err := w.judge(t, edit(t, good, w.owner.key, func(*node) {})); err != nil {
		t.Errorf("the tests change what was refused before: %v", err)
	}
}

// Algorithms that are equal, and no AlgorithmIdentifiers.
func TestParseAlgorithms(t *testing.T) {
	w := newWorld(t, "p256")
	ecdsa := oid(t, "1.2.840.10045.4.3.2")
	for name, algorithm := range map[string]*node{
		"empty":          sequence(),
		"no identifier":  sequence(null()),
		"bad identifier": sequence(leafNode(tagOID, 0x2a, 0x80, 1)),
		"two parameters": sequence(ecdsa, null(), null()),
		"not a sequence": ecdsa,
	} {
		ac := tree(t, w.issue(t, nil))
		ac.children[partAlgorithm], ac.at(partInfo).children[infoAlgorithm] = algorithm, algorithm
		ac.sign(t, w.owner.key)
		_, err := attrcert.Parse(ac.der())
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantReason(t, err, attrcert.BadEncoding)
	}
}

// What the profile leaves open, and what is skipped.
func TestParseAccepts(t *testing.T) {
	w := newWorld(t, "p256")
	name := tree(t, w.owner.cert.RawSubject)
	replace := func(e *node) func(*node) { return func(info *node) { info.at(infoExtensions).children[1] = e } }
	tests := []struct {
		name   string
		change func(info *node)
		check  func(ac *attrcert.Certificate) bool
	}{
		{"an attribute with a large arc", func(info *node) {
			info.at(infoAttributes).add(attribute(t, uuidOID, boolean(0xff), sequence(integer(1))))
		}, func(ac *attrcert.Certificate) bool {
			return len(ac.Attributes) == 2 && ac.Attributes[1].Type.String() == uuidOID && len(ac.Attributes[1].Values) == 2
		}},
		{"a large arc first", func(info *node) {
			info.at(infoAttributes).children = slices.Insert(info.at(infoAttributes).children, 0, attribute(t, uuidOID, null()))
		}, func(ac *attrcert.Certificate) bool { return len(ac.Attributes) == 2 && len(ac.Delegations) == 1 }},
		{"an extension that is neither known nor critical", func(info *node) {
			info.at(infoExtensions).add(extension(t, uuidOID, null()))
		}, func(ac *attrcert.Certificate) bool { return len(ac.Extensions) == 3 }},
		{"several values of the delegation", func(info *node) {
			info.children[infoAttributes] = sequence(attribute(t, delegationOID,
				delegation([]byte{6, 0x40}, oneDomain), delegation([]byte{7, 0x80}, oneDomain)))
		}, func(ac *attrcert.Certificate) bool { return ac.Rights(domain) == attrcert.SendAs|attrcert.ReceiveFor }},
		{"two lists of targets", func(info *node) {
			info.at(infoExtensions).add(critical(t, targetsOID, sequence(
				sequence(targetName(dnsName("provider-c.example"))),
				sequence(targetName(uri("xmpp:b")), group(tagExplicit|1, dnsName("group")), targetName(dnsName(verifier))))))
		}, func(ac *attrcert.Certificate) bool {
			return slices.Equal(ac.Targets, []string{"provider-c.example", verifier})
		}},
		{"a key identifier with issuer and serial number", func(info *node) {
			info.at(infoExtensions).children[0] = extension(t, keyIdentifierOID, sequence(
				leafNode(tagContext, w.owner.cert.SubjectKeyId...), group(tagExplicit|1, directoryName(name)), leafNode(tagContext|2, 1)))
		}, func(ac *attrcert.Certificate) bool { return bytes.Equal(ac.AuthorityKeyID, w.owner.cert.SubjectKeyId) }},
		{"no key identifier", func(info *node) {
			info.at(infoExtensions).children = info.at(infoExtensions).children[1:]
		}, func(ac *attrcert.Certificate) bool { return ac.AuthorityKeyID == nil }},
		{"SHA-512", func(info *node) {
			sum := sha512.Sum512(w.provider.cert.RawSubjectPublicKeyInfo)
			holder := info.at(infoHolder, 0)
			holder.children[1] = sequence(oid(t, "2.16.840.1.101.3.4.2.3"))
			holder.children[2] = leafNode(tagBitString, append([]byte{0}, sum[:]...)...)
		}, func(ac *attrcert.Certificate) bool { return ac.Holder.Matches(w.provider.cert) }},
		{"SHA-256 with NULL", func(info *node) { info.at(infoHolder, 0, 1).add(null()) },
			func(ac *attrcert.Certificate) bool { return ac.Holder.Matches(w.provider.cert) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der := edit(t, w.issue(t, nil), w.owner.key, tt.change)
			if !tt.check(parse(t, der)) {
				t.Errorf("got %+v", parse(t, der))
			}
			if err := w.judge(t, der); err != nil {
				t.Error(err)
			}
		})
	}

	// These parse, and are refused for what they say.
	parsed := []struct {
		name   string
		change func(info *node)
		want   attrcert.Reason
	}{
		{"no extensions", func(info *node) { info.children = info.children[:infoExtensions] }, attrcert.Policy},
		{"caIssuers", replace(extension(t, accessOID, sequence(sequence(oid(t, caIssuersOID), uri("http://a1.example/ca"))))), attrcert.Policy},
		{"a CRL by name", replace(extension(t, crlPointOID, crlPoint(directoryName(name)))), attrcert.Policy},
		{"a CRL by LDAP", replace(extension(t, crlPointOID, crlPoint(uri("ldap://a1.example/cn=a1?certificateRevocationList")))), attrcert.Policy},
		{"no rights", func(info *node) {
			info.children[infoAttributes] = sequence(attribute(t, delegationOID, delegation([]byte{0}, oneDomain)))
		}, attrcert.AttributeMissing},
		{"another attribute alone", func(info *node) {
			info.children[infoAttributes] = sequence(attribute(t, uuidOID, null()))
		}, attrcert.AttributeMissing},
		{"no targets", func(info *node) { info.at(infoExtensions).add(critical(t, targetsOID, sequence())) }, attrcert.Policy},
	}
	for _, tt := range parsed {
		t.Run(tt.name, func(t *testing.T) {
			der := edit(t, w.issue(t, nil), w.owner.key, tt.change)
			wantReason(t, w.judge(t, der), tt.want)
			if ac := parse(t, der); ac.OCSP != "" {
				t.Errorf("OCSP %s", ac.OCSP)
			}
		})
	}
}

func TestParseTrailingAndCut(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.issue(t, nil)
	for i := range der {
		_, err := attrcert.Parse(der[:i])
		wantReason(t, err, attrcert.BadEncoding)
	}
	for _, more := range [][]byte{{0}, {0, 0}, {5, 0}, der} {
		_, err := attrcert.Parse(slices.Concat(der, more))
		wantReason(t, err, attrcert.BadEncoding)
	}
	// Within: after the last part of every element. Names have any content, but then it is another name.
	for i := range tree(t, der).all() {
		ac := tree(t, der)
		mayHaveNull := ac.at(partInfo, infoHolder, 0, 1) // RFC 5754 §2
		if n := ac.all()[i]; n.tag&0x20 != 0 && n != mayHaveNull {
			n.add(null())
			ac.sign(t, w.owner.key)
			if err := w.judge(t, ac.der()); err == nil {
				t.Errorf("element %d: accepted with NULL at its end", i)
			}
		}
	}
	_, err := attrcert.Parse(make([]byte, attrcert.MaxBytes+1))
	wantReason(t, err, attrcert.TooMany)
	_, err = attrcert.Parse(nil)
	wantReason(t, err, attrcert.BadEncoding)
}

// A length that is longer than it has to be is refused wherever it stands.
func TestParseLengths(t *testing.T) {
	w := newWorld(t, "p256")
	for _, form := range []attrcert.HolderForm{attrcert.ByPublicKey, attrcert.ByIssuerSerial} {
		der := w.issue(t, func(t *attrcert.Template) { t.HolderForm, t.Targets = form, []string{verifier} })
		for i := range tree(t, der).all() {
			for _, padding := range []int{1, 2} {
				ac := tree(t, der)
				n := ac.all()[i]
				n.padding = padding
				ac.sign(t, w.owner.key)
				_, err := attrcert.Parse(ac.der())
				wantReason(t, err, attrcert.BadEncoding)
			}
		}
	}
	// The indefinite length of BER.
	der := w.issue(t, nil)
	_, err := attrcert.Parse(slices.Concat([]byte{tagSequence, 0x80}, der[4:], []byte{0, 0}))
	wantReason(t, err, attrcert.BadEncoding)
}

func TestParseDepth(t *testing.T) {
	deep := null().der()
	for len(deep) < attrcert.MaxBytes-4 {
		wrapped := leafNode(0x10, deep...).der()
		wrapped[0] = tagSequence
		deep = wrapped
	}
	_, err := attrcert.Parse(deep)
	wantReason(t, err, attrcert.BadEncoding)

	w := newWorld(t, "p256")
	der := edit(t, w.issue(t, nil), w.owner.key, func(info *node) {
		n := null()
		for range 20 {
			n = sequence(n)
		}
		info.at(infoAttributes).add(attribute(t, uuidOID, n))
	})
	_, err = attrcert.Parse(der)
	wantReason(t, err, attrcert.BadEncoding)
}

// Whatever bit is wrong, the certificate is not accepted: no field is outside the signature, and none is read leniently.
func TestFlippedBits(t *testing.T) {
	for _, keys := range []string{"p256", "rsa", "ed25519"} {
		t.Run(keys, func(t *testing.T) {
			w := newWorld(t, keys)
			der := w.issue(t, func(t *attrcert.Template) { t.Targets = []string{verifier} })
			c := w.claim(t, der)
			v := w.verifier()
			if _, err := v.Verify(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			parsed := 0
			for i := range der {
				for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
					flipped := slices.Clone(der)
					flipped[i] ^= mask
					ac, err := attrcert.Parse(flipped)
					if err != nil {
						continue
					}
					parsed++
					c.Certificate = ac
					if _, err := v.Verify(t.Context(), c); err == nil {
						t.Errorf("octet %d with %#02x: accepted", i, der[i]^mask)
					}
				}
			}
			if parsed == 0 {
				t.Error("none came as far as the signature")
			}
		})
	}
}

func TestParsedIsNotAliased(t *testing.T) {
	w := newWorld(t, "p256")
	der := w.issue(t, nil)
	c := w.claim(t, der)
	clear(der)
	if _, err := w.verifier().Verify(t.Context(), c); err != nil {
		t.Error(err)
	}
}

func TestSerialNumbers(t *testing.T) {
	w := newWorld(t, "p256")
	largest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 159), big.NewInt(1))
	for _, serial := range []*big.Int{big.NewInt(1), big.NewInt(127), big.NewInt(128), big.NewInt(255), big.NewInt(256), largest} {
		ac := parse(t, w.issue(t, func(t *attrcert.Template) { t.Serial = serial }))
		if ac.SerialNumber.Cmp(serial) != 0 {
			t.Errorf("got %v, want %v", ac.SerialNumber, serial)
		}
	}
}
