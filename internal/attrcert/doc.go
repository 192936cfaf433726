// Package attrcert issues, parses and verifies X.509 attribute certificates (RFC 5755), narrowed to one purpose: the owner of a domain
// says that a provider may send and receive for it.
//
// An attribute certificate has a holder, the provider, known by the key of its TLS certificate; an issuer, the owner of the domains,
// known by an ordinary end-entity certificate that names them; and an attribute that lists the domains and the rights given. The
// provider needs no private key of its customers: it proves by TLS that it is the holder, and shows the attribute certificate.
//
//	der, err := attrcert.Issue(attrcert.Template{
//		Holder:    provider,
//		Domains:   []string{"a1.example"},
//		NotBefore: now, NotAfter: now.Add(24 * time.Hour),
//	}, owner, ownerKey)
//
//	ac, err := attrcert.Parse(der)
//	verifier := &attrcert.Verifier{Roots: roots, Self: []string{"provider-b.example"}}
//	verdict, err := verifier.Verify(ctx, attrcert.Claim{
//		Certificate: ac, Domain: "a1.example", Holder: peerCertificate, Owner: owner, Intermediates: chain,
//	})
//
// What is refused is refused with an [Error], whose [Reason] is fit to be told to the peer.
//
// The package knows the encoding and the rules, and no XMPP: which elements carry certificates and when, is somebody else's matter.
// It trusts nobody by itself, opens no connection and starts no goroutine. It is no implementation of all of RFC 5755: no attribute
// certificate chains, no proxying, no encrypted attributes, no OCSP client.
package attrcert
