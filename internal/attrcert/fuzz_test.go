package attrcert_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"math/bits"
	"slices"
	"testing"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

// FuzzParse holds that Parse never panics, and that what it returns is all there is: written anew from it, with code that shares
// nothing with the package, the certificate has the same octets.
func FuzzParse(f *testing.F) {
	w := newWorld(f, "p256")
	f.Add(w.issue(f, nil))
	f.Add(w.issue(f, func(t *attrcert.Template) {
		t.HolderForm, t.CRL, t.Targets = attrcert.ByIssuerSerial, crlURL, []string{verifier}
	}))
	f.Add(w.issue(f, func(t *attrcert.Template) {
		t.HolderForm, t.OCSP, t.Domains = attrcert.ByCertificate, "http://o.example", []string{"a.example", "b.example"}
	}))
	f.Add(edit(f, w.issue(f, nil), w.owner.key, func(info *node) {
		info.at(infoAttributes).add(attribute(f, uuidOID, integer(1), sequence(null())))
		info.at(infoExtensions).add(extension(f, uuidOID, null()))
	}))
	f.Add(edit(f, w.issue(f, nil), w.owner.key, func(info *node) {
		info.children[infoAttributes] = sequence(attribute(f, delegationOID,
			delegation([]byte{0}, oneDomain), delegation([]byte{5, 0xe0}, oneDomain)))
	}))
	for _, name := range foreignCertificates(f) {
		f.Add(readTestdata(f, name))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		ac, err := attrcert.Parse(der)
		if err != nil {
			var refused *attrcert.Error
			if !errors.As(err, &refused) || !slices.Contains(attrcert.Reasons(), refused.Reason) {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		if got := rewrite(t, ac); !bytes.Equal(got, der) {
			t.Fatalf("%x\nwas read as %+v\nand written as\n%x", der, ac, got)
		}
		// Nor does what comes after panic. Seeds are accepted, and nothing else is signed.
		_, _ = w.verifier().Verify(t.Context(), w.show(ac))
		ac.Holder.Matches(w.provider.cert)
	})
}

// rewrite makes the DER of a parsed certificate.
func rewrite(t testing.TB, ac *attrcert.Certificate) []byte {
	t.Helper()
	positive := func(octets []byte) *node {
		if len(octets) > 0 && octets[0] >= 0x80 {
			octets = append([]byte{0}, octets...)
		}
		return integer(octets...)
	}
	attributes := sequence()
	delegations := ac.Delegations
	for _, a := range ac.Attributes {
		values := set()
		for _, v := range a.Values {
			if a.Type.String() == delegationOID {
				v, delegations = rewriteDelegation(delegations[0]), delegations[1:]
			}
			values.add(tree(t, v))
		}
		attributes.add(sequence(oid(t, a.Type.String()), values))
	}
	info := sequence(
		integer(1),
		sequence(rewriteHolder(t, ac)),
		group(tagExplicit, sequence(directoryName(tree(t, ac.Issuer)))),
		tree(t, ac.RawAlgorithm),
		positive(ac.SerialNumber.Bytes()),
		sequence(text(tagTime, ac.NotBefore.Format("20060102150405Z")), text(tagTime, ac.NotAfter.Format("20060102150405Z"))),
		attributes,
	)
	if len(ac.Extensions) > 0 {
		extensions := sequence()
		for _, e := range ac.Extensions {
			one := sequence(oid(t, e.ID.String()))
			if e.Critical {
				one.add(boolean(0xff))
			}
			one.add(leafNode(tagOctetString, e.Value...))
			extensions.add(one)
		}
		info.add(extensions)
	}
	return sequence(info, tree(t, ac.RawAlgorithm), leafNode(tagBitString, append([]byte{0}, ac.Signature...)...)).der()
}

func rewriteDelegation(d attrcert.Delegation) []byte {
	var names []*node
	for _, name := range d.Domains {
		names = append(names, dnsName(name))
	}
	rights := []byte{0}
	if d.Rights != 0 {
		octet := bits.Reverse8(uint8(d.Rights))
		rights = []byte{byte(bits.TrailingZeros8(octet)), octet}
	}
	return delegation(rights, names...).der()
}

func rewriteHolder(t testing.TB, ac *attrcert.Certificate) *node {
	t.Helper()
	h := ac.Holder
	if h.Form == attrcert.ByIssuerSerial {
		// The sign is lost in what math/big calls the octets of a number: taken from what was read.
		serial := tree(t, ac.RawInfo).at(infoHolder, 0, 1)
		return group(tagExplicit, sequence(directoryName(tree(t, h.Issuer))), serial)
	}
	kind := byte(0)
	if h.Form == attrcert.ByCertificate {
		kind = 1
	}
	ids := map[crypto.Hash]string{
		crypto.SHA256: "2.16.840.1.101.3.4.2.1", crypto.SHA384: "2.16.840.1.101.3.4.2.2", crypto.SHA512: "2.16.840.1.101.3.4.2.3",
	}
	algorithm := sequence(oid(t, ids[h.Hash]))
	if read := tree(t, ac.RawInfo).at(infoHolder, 0, 1); len(read.children) == 2 {
		algorithm.add(null())
	}
	return group(tagExplicit|2, leafNode(tagEnumerated, kind), algorithm, leafNode(tagBitString, append([]byte{0}, h.Digest...)...))
}

// FuzzCRL holds that no list makes Status panic, and that none is believed that the owner has not signed.
func FuzzCRL(f *testing.F) {
	w := newWorld(f, "p256")
	signed := w.crl(f, 1, 2)
	f.Add(signed)
	f.Add(w.list(f, w.owner, extended([]int{2, 5, 29, 28}, sequence(group(tagExplicit, group(tagExplicit, uri(crlURL))), leafNode(tagContext|5, 0xff)))))
	f.Add(w.list(f, w.owner, extended([]int{2, 5, 29, 27}, integer(1))))
	f.Fuzz(func(t *testing.T, der []byte) {
		cache := &attrcert.CRLCache{Fetch: func(context.Context, string) ([]byte, error) { return der, nil }}
		status, err := cache.Status(t.Context(), w.query(1))
		if err == nil && !status.Revoked && bytes.Equal(der, signed) {
			t.Errorf("got %+v", status)
		}
		if err != nil && status.Revoked {
			t.Errorf("got %+v, %v", status, err)
		}
	})
}

// FuzzBinding holds that no list of names stands for another.
func FuzzBinding(f *testing.F) {
	w := newWorld(f, "ed25519")
	f.Add("a1.example", "a2.example", "a1.example", "a3.example")
	f.Add("a", "b\nc", "a\nb", "c")
	f.Add("", "a", "a", "")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		signed := binding()
		signed.Names = []string{a, b}
		alg, signature, err := signed.Sign(w.provider.key)
		if err != nil {
			return
		}
		other := binding()
		other.Names = []string{c, d}
		same := (a == c && b == d) || (a == d && b == c)
		if err := other.Verify(w.provider.cert, alg, signature); (err == nil) != same {
			t.Errorf("%q signed, %q: %v", signed.Names, other.Names, err)
		}
	})
}
