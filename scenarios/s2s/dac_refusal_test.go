package s2s_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// rewrite changes the fields of an attribute certificate and signs it again.
func rewrite(t *testing.T, ac []byte, owner tls.Certificate, change func(fields []asn1.RawValue) []asn1.RawValue) []byte {
	t.Helper()
	var outer struct {
		Info, Algorithm asn1.RawValue
		Signature       asn1.BitString
	}
	if _, err := asn1.Unmarshal(ac, &outer); err != nil {
		t.Fatal(err)
	}
	var fields []asn1.RawValue
	for rest := outer.Info.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			t.Fatal(err)
		}
		fields = append(fields, field)
	}
	var content []byte
	for _, f := range change(fields) {
		b, err := asn1.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, b...)
	}
	info, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(info)
	signature, err := owner.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	outer.Info = asn1.RawValue{FullBytes: info}
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	out, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The numbers of fields that rewrite changes.
const (
	fieldAttributes = 6
	fieldExtensions = 7
)

// content returns a field with other content.
func withContent(f asn1.RawValue, b []byte) asn1.RawValue {
	return asn1.RawValue{Class: f.Class, Tag: f.Tag, IsCompound: f.IsCompound, Bytes: b}
}

// refusals are proofs of a domain that have to be refused, by what is wrong with them.
func refusals(t *testing.T, o *signers) map[string]struct {
	reason attrcert.Reason
	proof  func(domain string) s2s.Proof
} {
	type refusal = struct {
		reason attrcert.Reason
		proof  func(domain string) s2s.Proof
	}
	const provider = "provider-a.test"
	signed := func(change func(*attrcert.Template)) func(string) s2s.Proof {
		return func(domain string) s2s.Proof { return o.sign(domain, provider, change) }
	}
	// bent changes a correct proof.
	bent := func(change func(domain string, p *s2s.Proof)) func(string) s2s.Proof {
		return func(domain string) s2s.Proof {
			p := o.sign(domain, provider, nil)
			p.AC, p.Chain = bytes.Clone(p.AC), slices.Clone(p.Chain)
			change(domain, &p)
			return p
		}
	}
	rewritten := func(change func(fields []asn1.RawValue) []asn1.RawValue) func(string) s2s.Proof {
		return bent(func(domain string, p *s2s.Proof) { p.AC = rewrite(t, p.AC, o.leaf(domain), change) })
	}
	// by has it signed by another certificate.
	by := func(owner tls.Certificate, as *x509.Certificate, shown [][]byte, change func(*attrcert.Template)) func(string) s2s.Proof {
		return func(domain string) s2s.Proof {
			template := attrcert.Template{Holder: o.provider(provider).Leaf, Domains: []string{domain}, NotBefore: o.from, NotAfter: o.to}
			if change != nil {
				change(&template)
			}
			der, err := attrcert.Issue(template, as, owner.PrivateKey.(crypto.Signer))
			if err != nil {
				t.Fatal(err)
			}
			return s2s.Proof{AC: der, Chain: shown}
		}
	}
	strangers := newCA(t)
	other := issue(t, o.ca, lab.LeafOptions{Names: []string{"other.test"}})
	// An authority that looks like an end entity to whoever signs, and not to whoever verifies.
	authority := o.ca.Certificate()
	posing := *authority
	posing.IsCA, posing.KeyUsage = false, 0
	intermediate, err := o.ca.Intermediate("between", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]refusal{
		"forged signature": {attrcert.BadSignature, bent(func(_ string, p *s2s.Proof) { p.AC[len(p.AC)-1] ^= 1 })},
		"signed by another key of the same name": {attrcert.BadSignature, func(domain string) s2s.Proof {
			again := issue(t, o.ca, lab.LeafOptions{Names: []string{domain}})
			return by(again, again.Leaf, o.leaf(domain).Certificate, func(t *attrcert.Template) { t.OmitAuthorityKeyID = true })(domain)
		}},
		"another key": {attrcert.UntrustedIssuer, func(domain string) s2s.Proof {
			again := issue(t, o.ca, lab.LeafOptions{Names: []string{domain}})
			return by(again, again.Leaf, o.leaf(domain).Certificate, nil)(domain)
		}},
		"expired":       {attrcert.Expired, signed(func(t *attrcert.Template) { t.NotAfter = time.Now().Add(-time.Minute) })},
		"not yet valid": {attrcert.NotYetValid, signed(func(t *attrcert.Template) { t.NotBefore = time.Now().Add(time.Hour) })},
		"another provider's": {attrcert.HolderMismatch, func(domain string) s2s.Proof {
			return o.sign(domain, "provider-b.test", nil)
		}},
		"another provider's certificate by its serial number": {attrcert.HolderMismatch, func(domain string) s2s.Proof {
			return o.sign(domain, "provider-b.test", func(t *attrcert.Template) { t.HolderForm = attrcert.ByIssuerSerial })
		}},
		"unknown authority": {attrcert.UntrustedIssuer, func(domain string) s2s.Proof {
			stranger := issue(t, strangers, lab.LeafOptions{Names: []string{domain}})
			return by(stranger, stranger.Leaf, stranger.Certificate, nil)(domain)
		}},
		"authority in place of an owner": {attrcert.UntrustedIssuer, by(tls.Certificate{PrivateKey: o.ca.Signer()}, &posing, [][]byte{authority.Raw}, nil)},
		"owner of another domain":        {attrcert.NameMismatch, by(other, other.Leaf, other.Certificate, nil)},
		"www. without fallback": {attrcert.NameMismatch, func(domain string) s2s.Proof {
			web := issue(t, o.ca, lab.LeafOptions{Names: []string{"www." + domain}})
			return by(web, web.Leaf, web.Certificate, nil)(domain)
		}},
		"another domain":           {attrcert.AttributeMissing, signed(func(t *attrcert.Template) { t.Domains = []string{"a1.test"} })},
		"right to receive missing": {attrcert.AttributeMissing, signed(func(t *attrcert.Template) { t.Rights = attrcert.SendAs })},
		"right to send missing":    {attrcert.AttributeMissing, signed(func(t *attrcert.Template) { t.Rights = attrcert.ReceiveFor })},
		"no attribute": {attrcert.BadEncoding, rewritten(func(f []asn1.RawValue) []asn1.RawValue {
			f[fieldAttributes] = withContent(f[fieldAttributes], nil)
			return f
		})},
		"attribute twice": {attrcert.BadEncoding, rewritten(func(f []asn1.RawValue) []asn1.RawValue {
			f[fieldAttributes] = withContent(f[fieldAttributes], append(bytes.Clone(f[fieldAttributes].Bytes), f[fieldAttributes].Bytes...))
			return f
		})},
		"cut short":               {attrcert.BadEncoding, bent(func(_ string, p *s2s.Proof) { p.AC = p.AC[:len(p.AC)-1] })},
		"one octet too many":      {attrcert.BadEncoding, bent(func(_ string, p *s2s.Proof) { p.AC = append(p.AC, 0) })},
		"owner's certificate cut": {attrcert.BadEncoding, bent(func(_ string, p *s2s.Proof) { p.Chain[0] = p.Chain[0][:100] })},
		"unknown critical extension": {attrcert.UnknownCritical, rewritten(func(f []asn1.RawValue) []asn1.RawValue {
			extension := []byte{0x30, 0x11, 0x06, 0x08, 0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 0x01, 0x01, 0xff, 0x04, 0x02, 5, 0}
			f[fieldExtensions] = withContent(f[fieldExtensions], append(bytes.Clone(f[fieldExtensions].Bytes), extension...))
			return f
		})},
		"revoked": {attrcert.Revoked, func(domain string) s2s.Proof {
			o.revoke(domain, big.NewInt(7))
			return o.sign(domain, provider, func(t *attrcert.Template) { t.Serial, t.CRL = big.NewInt(7), "http://"+domain+"/ac.crl" })
		}},
		"list not to be had": {attrcert.Policy, signed(func(t *attrcert.Template) { t.CRL = "http://nowhere.test/ac.crl" })},
		"meant for others":   {attrcert.Policy, signed(func(t *attrcert.Template) { t.Targets = []string{"provider-c.test"} })},
		"no word of revocation": {attrcert.Policy, rewritten(func(f []asn1.RawValue) []asn1.RawValue {
			var kept []byte
			for rest := f[fieldExtensions].Bytes; len(rest) > 0; {
				var e asn1.RawValue
				rest, _ = asn1.Unmarshal(rest, &e)
				if !bytes.Contains(e.FullBytes, []byte{0x55, 0x1d, 56}) {
					kept = append(kept, e.FullBytes...)
				}
			}
			f[fieldExtensions] = withContent(f[fieldExtensions], kept)
			return f
		})},
		"long life without revocation": {attrcert.Policy, func(domain string) s2s.Proof {
			long := o.sign(domain, provider, func(t *attrcert.Template) {
				t.CRL = "http://" + domain + "/ac.crl"
				t.NotAfter = t.NotBefore.Add(25 * time.Hour)
			})
			short := o.sign(domain, provider, nil)
			var extensions asn1.RawValue
			rewrite(t, short.AC, o.leaf(domain), func(f []asn1.RawValue) []asn1.RawValue {
				extensions = f[fieldExtensions]
				return f
			})
			long.AC = rewrite(t, long.AC, o.leaf(domain), func(f []asn1.RawValue) []asn1.RawValue {
				f[fieldExtensions] = extensions
				return f
			})
			return long
		}},
		"too many certificates": {attrcert.TooMany, bent(func(_ string, p *s2s.Proof) {
			for range attrcert.MaxIntermediates + 1 {
				p.Chain = append(p.Chain, intermediate.Certificate().Raw)
			}
		})},
		"too large": {attrcert.TooMany, bent(func(_ string, p *s2s.Proof) { p.AC = append(p.AC, make([]byte, attrcert.MaxBytes)...) })},
	}
}

// TestAttrcertRefusals shows everything that has to be refused, all at once beside a
// domain that is correct: each is refused for its own reason, no stanza of it is
// delivered, and the correct domain lives on.
func TestAttrcertRefusals(t *testing.T) {
	w := newWorld(t, "shared-attrcert", nil)
	w.signers = newSigners(t, w.ca, false)
	wrong := refusals(t, w.signers)
	wants := map[string]attrcert.Reason{}
	named := map[string]string{}
	hosted := []string{"a1.test"}
	for name := range wrong {
		domain := fmt.Sprintf("a%d.test", len(hosted)+1)
		hosted = append(hosted, domain)
		named[domain] = name
	}
	w.change = func(name string, c *s2s.Config) {
		if name != "provider-a.test" {
			return
		}
		for domain, name := range named {
			c.Credentials.Proofs[domain] = wrong[name].proof(domain)
			wants[domain] = wrong[name].reason
		}
	}
	made := w.start(map[string][]string{"provider-a.test": hosted, "provider-b.test": {"b1.test"}})
	a, b := made["provider-a.test"], made["provider-b.test"]
	exchange(t, a, []s2s.Pair{{From: "a1.test", To: "b1.test"}})
	type outcome struct {
		domain string
		err    error
	}
	outcomes := make(chan outcome, 2*len(named))
	try := func() {
		for domain := range named {
			p := s2s.Pair{From: domain, To: "b1.test"}
			if err := a.host.Send(s2s.Stanza{Pair: p, XML: message(p.From, p.To, "1"), Done: func(_ s2s.Times, err error) {
				outcomes <- outcome{domain, err}
			}}); err != nil {
				t.Error(err)
			}
		}
		for range named {
			got := <-outcomes
			if err := wantRefused(got.err, got.domain, string(wants[got.domain])); err != nil {
				t.Errorf("%s: %v", named[got.domain], err)
			}
		}
	}
	try()
	asserts := a.host.Figures()[s2s.FigureAsserts]
	verified := b.host.Figures()[s2s.FigureVerified]
	try() // nothing is tried again without new material
	if f := a.host.Figures(); f[s2s.FigureAsserts] != asserts {
		t.Errorf("refused domains were asserted again: %d messages, then %d", asserts, f[s2s.FigureAsserts])
	}
	exchange(t, a, []s2s.Pair{{From: "a1.test", To: "b1.test"}})
	f := b.host.Figures()
	if f[s2s.FigureStanzasIn] != 2 || f[s2s.FigureUnauthorised] != 0 || f[s2s.FigureVerified] != verified {
		t.Errorf("figures %v", f)
	}
	// New material is looked at.
	for domain := range named {
		if err := a.host.Prove(domain, w.signers.sign(domain, "provider-a.test", nil)); err != nil {
			t.Fatal(err)
		}
		exchange(t, a, []s2s.Pair{{From: domain, To: "b1.test"}})
	}
	seen := map[attrcert.Reason]bool{attrcert.BindingFailed: true} // see TestAttrcertBindings
	for _, refusal := range wrong {
		seen[refusal.reason] = true
	}
	for _, r := range attrcert.Reasons() {
		if !seen[r] {
			t.Errorf("nothing is refused as %s", r)
		}
	}
}

// TestAttrcertRefusedTarget refuses what the peer shows.
func TestAttrcertRefusedTarget(t *testing.T) {
	for _, mode := range []string{"batch", "classic"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, "shared-attrcert", map[string]any{"mode": mode})
			w.signers = newSigners(t, w.ca, false)
			w.change = func(name string, c *s2s.Config) {
				for _, domain := range []string{"b1.test", "b2.test"} {
					if name == "provider-b.test" {
						c.Credentials.Proofs[domain] = w.signers.sign(domain, "provider-a.test", nil)
					}
				}
			}
			made := w.start(map[string][]string{"provider-a.test": {"a1.test"}, "provider-b.test": domains("b", 3)})
			a, b := made["provider-a.test"], made["provider-b.test"]
			for _, to := range []string{"b1.test", "b2.test"} { // the first is in the features
				done := make(chan error, 1)
				p := s2s.Pair{From: "a1.test", To: to}
				if err := a.host.Send(s2s.Stanza{Pair: p, XML: message(p.From, p.To, "1"), Done: func(_ s2s.Times, err error) { done <- err }}); err != nil {
					t.Fatal(err)
				}
				if err := wantRefused(<-done, to, "holder-mismatch"); err != nil {
					t.Error(err)
				}
			}
			exchange(t, a, []s2s.Pair{{From: "a1.test", To: "b3.test"}})
			if f := b.host.Figures(); f[s2s.FigureStanzasIn] != 1 {
				t.Errorf("figures %v", f)
			}
		})
	}
}

// TestAttrcertBindings shows assertions whose binding is wrong, and one that is right.
func TestAttrcertBindings(t *testing.T) {
	w, b := oneHost(t, map[string]any{"binding": true}, nil)
	o := w.signers
	own := o.provider("provider-c.test")
	address := b.listener.Addr().String()
	p := dialDAC(t, address, own, "c1.test", "b1.test")
	elsewhere := dialDAC(t, address, own, "c1.test", "b1.test")
	theirs := unb64(t, p.dac().attr("nonce"))
	foreignNonce := unb64(t, elsewhere.dac().attr("nonce"))
	tests := []struct{ name, binding string }{
		{"none", ""},
		{"replayed from another connection", sign(t, own, bindingContent('i', elsewhere.keying('i', foreignNonce), foreignNonce, "c1.test"))},
		{"replayed keying", sign(t, own, bindingContent('i', elsewhere.keying('i', theirs), theirs, "c1.test"))},
		{"replayed nonce", sign(t, own, bindingContent('i', p.keying('i', foreignNonce), foreignNonce, "c1.test"))},
		{"own nonce", sign(t, own, bindingContent('i', p.keying('i', p.nonce[:]), p.nonce[:], "c1.test"))},
		{"reflected", "<binding alg='ecdsa-sha256'>" + p.dac().path("assert", "binding").Text + "</binding>"},
		{"wrong role", sign(t, own, bindingContent('r', p.keying('r', theirs), theirs, "c1.test"))},
		{"other names", sign(t, own, bindingContent('i', p.keying('i', theirs), theirs, "c2.test"))},
		{"more names", sign(t, own, bindingContent('i', p.keying('i', theirs), theirs, "c1.test", "c2.test"))},
		{"another key", sign(t, o.provider("provider-d.test"), bindingContent('i', p.keying('i', theirs), theirs, "c1.test"))},
		{"owner's key", sign(t, o.leaf("c1.test"), bindingContent('i', p.keying('i', theirs), theirs, "c1.test"))},
		{"wrong algorithm", strings.Replace(sign(t, own, bindingContent('i', p.keying('i', theirs), theirs, "c1.test")), "ecdsa-sha256", "ed25519", 1)},
		{"no signature", "<binding alg='ecdsa-sha256'>AAAA</binding>"},
	}
	proof := proving("c1.test", o.sign("c1.test", "provider-c.test", nil))
	before := b.host.Figures()[s2s.FigureVerified]
	for i, tt := range tests {
		if got := p.assert(fmt.Sprint("q", i), proof+tt.binding); got != "binding-failed" {
			t.Errorf("%s: %s", tt.name, got)
		}
		if got := p.echo("c1.test", "b1.test"); got != "not-authorized" {
			t.Errorf("%s: a stanza is answered by %q", tt.name, got)
		}
	}
	// No binding and a wrong algorithm cost no check of a signature, and no proof is looked at.
	if n := b.host.Figures()[s2s.FigureVerified] - before; n != int64(len(tests)-2) {
		t.Errorf("%d signatures were checked for %d wrong bindings", n, len(tests))
	}
	p.printf("<verdict xmlns='%s' id='f0'><valid name='b1.test' until='2030-01-01T00:00:00Z'/></verdict>", peerDAC)
	if got := p.assert("right", proof+sign(t, own, bindingContent('i', p.keying('i', theirs), theirs, "c1.test"))); got != "valid" {
		t.Errorf("a right binding is %s", got)
	}
	if got := p.echo("c1.test", "b1.test"); got != "back" {
		t.Errorf("the echo was %q", got)
	}
	// The same, sent again, is as good: the nonce is the stream's.
	if got := p.assert("again", proof+sign(t, own, bindingContent('i', p.keying('i', theirs), theirs, "c1.test"))); got != "valid" {
		t.Errorf("a right binding is %s", got)
	}
}

// TestAttrcertMalformed ends the stream for what is not an element of the protocol, and
// for what breaks its rules.
func TestAttrcertMalformed(t *testing.T) {
	w, b := oneHost(t, nil, nil)
	o := w.signers
	own := o.provider("provider-c.test")
	var many strings.Builder
	for i := range 257 {
		fmt.Fprintf(&many, "<domain name='c%d.test'/>", i)
	}
	bad := o.sign("c1.test", "provider-d.test", nil)
	tests := []struct{ name, sent string }{
		{"unknown", "<dance xmlns='" + peerDAC + "'/>"},
		{"too many domains", "<assert xmlns='" + peerDAC + "' id='q'>" + many.String() + "</assert>"},
		{"no base64", "<assert xmlns='" + peerDAC + "' id='q'><cert id='c'>?</cert><domain name='c1.test'/></assert>"},
		{"asserted twice at a time", strings.Repeat("<assert xmlns='"+peerDAC+"' id='q'><cert id='x'>"+b64(own.Certificate[0])+"</cert><domain name='c1.test'/></assert>", 200)},
		{"refused proofs again and again", ""},
	}
	for _, tt := range tests {
		p := dialDAC(t, b.listener.Addr().String(), own, "c1.test", "b1.test")
		if tt.sent == "" {
			for i := range 101 {
				if got := p.assert(fmt.Sprint("q", i), proving("c1.test", bad)); got != "holder-mismatch" {
					t.Fatalf("%s: %s", tt.name, got)
				}
			}
			p.printf("<assert xmlns='%s' id='one-too-many'>%s</assert>", peerDAC, proving("c1.test", bad))
		} else {
			// The host may end the stream before all of it is written.
			go fmt.Fprint(p.conn, tt.sent)
		}
		if got := p.expect("error"); got.Nodes[0].XMLName.Local != "policy-violation" {
			t.Errorf("%s: the stream ended with %+v", tt.name, got)
		}
	}
}

// TestAttrcertDistrusted turns a provider away whose own certificate is not trusted, and
// takes one whose certificate names something else.
func TestAttrcertDistrusted(t *testing.T) {
	w, b := oneHost(t, nil, nil)
	stranger := issue(t, newCA(t), lab.LeafOptions{Names: []string{"c1.test"}})
	p := dialDAC(t, b.listener.Addr().String(), stranger, "c1.test", "b1.test")
	if got := p.features.Nodes[0].XMLName.Local; p.features.XMLName.Local != "error" || got != "not-authorized" {
		t.Errorf("a provider without a trusted certificate gets %+v", p.features)
	}
	p = dialDAC(t, b.listener.Addr().String(), w.signers.provider("provider-c.test"), "c1.test", "b1.test")
	if p.dac().attr("nonce") == "" {
		t.Errorf("a provider whose certificate does not name the domain gets %+v", p.features)
	}
}
