package attrcert_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
)

// A node is an element of DER that can be taken apart, changed and put together again, without the code under test.
type node struct {
	tag      byte
	content  []byte  // of a primitive element
	children []*node // of a constructed one
	padding  int     // octets by which the length is longer than it has to be
}

const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagBitString   = 0x03
	tagOctetString = 0x04
	tagNull        = 0x05
	tagOID         = 0x06
	tagEnumerated  = 0x0a
	tagTime        = 0x18
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext     = 0x80 // primitive
	tagExplicit    = 0xa0 // constructed
)

func leafNode(tag byte, content ...byte) *node { return &node{tag: tag, content: content} }
func text(tag byte, s string) *node            { return &node{tag: tag, content: []byte(s)} }
func group(tag byte, children ...*node) *node  { return &node{tag: tag, children: children} }
func sequence(children ...*node) *node         { return group(tagSequence, children...) }
func set(children ...*node) *node              { return group(tagSet, children...) }
func octets(n *node) *node                     { return leafNode(tagOctetString, n.der()...) }
func null() *node                              { return leafNode(tagNull) }
func boolean(b byte) *node                     { return leafNode(tagBoolean, b) }
func integer(content ...byte) *node            { return leafNode(tagInteger, content...) }
func dnsName(s string) *node                   { return text(tagContext|2, s) }
func uri(s string) *node                       { return text(tagContext|6, s) }

func oid(t testing.TB, s string) *node {
	t.Helper()
	o, err := x509.ParseOID(s)
	if err != nil {
		t.Fatal(err)
	}
	content, err := o.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return leafNode(tagOID, content...)
}

func (n *node) der() []byte {
	content := n.content
	if n.tag&0x20 != 0 {
		content = nil
		for _, c := range n.children {
			content = append(content, c.der()...)
		}
	}
	var length []byte
	for l := len(content); l > 0; l >>= 8 {
		length = append([]byte{byte(l)}, length...)
	}
	switch {
	case len(content) < 128 && n.padding == 0:
		length = []byte{byte(len(content))}
	case len(content) < 128 && n.padding == 1:
		length = []byte{0x81, byte(len(content))}
	default:
		length = append(make([]byte, n.padding), length...)
		length = append([]byte{0x80 | byte(len(length))}, length...)
	}
	return slices.Concat([]byte{n.tag}, length, content)
}

// at walks down by numbers of children.
func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.children[i]
	}
	return n
}

// all returns the node and all below it.
func (n *node) all() []*node {
	nodes := []*node{n}
	for _, c := range n.children {
		nodes = append(nodes, c.all()...)
	}
	return nodes
}

func (n *node) add(children ...*node) { n.children = append(n.children, children...) }

// tree takes one element of DER apart.
func tree(t testing.TB, der []byte) *node {
	t.Helper()
	n, rest, err := readNode(der)
	if err != nil || len(rest) > 0 {
		t.Fatalf("not one element: %v, %d octets left", err, len(rest))
	}
	return n
}

func readNode(der []byte) (n *node, rest []byte, err error) {
	if len(der) < 2 {
		return nil, nil, fmt.Errorf("%d octets are no element", len(der))
	}
	n = &node{tag: der[0]}
	length, header := int(der[1]), 2
	if length >= 0x80 {
		size := length & 0x7f
		if len(der) < 2+size || size > 4 {
			return nil, nil, fmt.Errorf("a length of %d octets", size)
		}
		length = 0
		for _, c := range der[2 : 2+size] {
			length = length<<8 | int(c)
		}
		header += size
	}
	if len(der) < header+length {
		return nil, nil, fmt.Errorf("an element of %d octets is cut", length)
	}
	content, rest := der[header:header+length], der[header+length:]
	if n.tag&0x20 == 0 {
		n.content = slices.Clone(content)
		return n, rest, nil
	}
	for len(content) > 0 {
		var c *node
		if c, content, err = readNode(content); err != nil {
			return nil, nil, err
		}
		n.children = append(n.children, c)
	}
	return n, rest, nil
}

// Parts of an attribute certificate, as numbers of children.
const (
	partInfo, partAlgorithm, partSignature = 0, 1, 2

	infoVersion, infoHolder, infoIssuer, infoAlgorithm, infoSerial, infoValidity, infoAttributes, infoExtensions = 0, 1, 2, 3, 4, 5, 6, 7
)

// sign puts the signature of key over the first part of an attribute certificate.
func (n *node) sign(t testing.TB, key crypto.Signer) {
	t.Helper()
	message := n.at(partInfo).der()
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := key.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	} else {
		sum := sha256.Sum256(message)
		message = sum[:]
	}
	signature, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		t.Fatal(err)
	}
	n.at(partSignature).content = append([]byte{0}, signature...)
}

// edit changes an attribute certificate and signs it again.
func edit(t testing.TB, der []byte, key crypto.Signer, change func(info *node)) []byte {
	t.Helper()
	ac := tree(t, der)
	change(ac.at(partInfo))
	ac.sign(t, key)
	return ac.der()
}
