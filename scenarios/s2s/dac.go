package s2s

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// Bounds of what an end takes in one element of the namespace [NSDAC]. The receiving
// end of a stream announces them, the initiating end has the same.
const (
	dacMaxBatch = 256     // domains
	dacMaxBytes = 1 << 20 // octets of names, references and base64
)

// proofTypeAC is the one type of proof: attribute certificates.
const proofTypeAC = "ac"

// dacFeature is <dac/> in the stream features after TLS.
type dacFeature struct {
	nonce              []byte
	maxBatch, maxBytes int
	types              []string
	binding            bool       // assertions are to be bound
	assert             *dacAssert // of the domain that the header is for
	verdicts           []dacVerdict
}

// dacAssert says that its sender speaks for domains.
type dacAssert struct {
	id      string
	re      string // id of the challenge that it answers
	nonce   []byte // for what the other end asserts
	certs   []dacCert
	domains []dacDomain
	binding *dacBinding
}

// names returns the domains.
func (a *dacAssert) names() []string {
	names := make([]string, len(a.domains))
	for i := range a.domains {
		names[i] = a.domains[i].name
	}
	return names
}

// dacCert is a certificate under a name that holds in its element.
type dacCert struct {
	id  string
	der []byte
}

// dacDomain is one domain of an assertion, with at most one of ac, ref and refHash.
type dacDomain struct {
	name    string
	ac      []byte   // DER
	leaf    string   // of the owner, by id
	via     []string // from there to a trust anchor, by id
	ref     string   // id of the assertion that had the certificate
	refHash []byte   // SHA-256 of the certificate that was accepted on an earlier stream
}

// proofless reports whether the assertion asks to be challenged.
func (d *dacDomain) proofless() bool { return d.ac == nil && d.ref == "" && d.refHash == nil }

type dacBinding struct {
	alg       string
	signature []byte
}

// dacChallenge asks for proofs.
type dacChallenge struct {
	id    string
	nonce []byte
	names []string
}

// dacVerdict answers an assertion or, without an id, says what is remembered.
type dacVerdict struct {
	id      string
	entries []dacEntry
}

// dacEntry is what is said of one domain: valid with a time, invalid with a reason, or
// challenged with a nonce.
type dacEntry struct {
	name   string
	until  time.Time
	reason attrcert.Reason
	nonce  []byte
}

// dacRetract takes assertions back, dacRevoke their acceptance.
type dacRetract struct {
	id    string
	names []string
}

type dacRevoke struct {
	id      string
	entries []dacEntry
}

// dacImpossible says that its sender does not speak for a domain.
type dacImpossible struct{ name string }

// appendDACNonce appends an attribute with octets.
func appendDACNonce(dst, nonce []byte) []byte {
	if len(nonce) == 0 {
		return dst
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, " nonce='"...), nonce), '\'')
}

// appendDACStart appends the start of an element's tag. The namespace is declared on
// elements that stand alone.
func appendDACStart(dst []byte, name string, alone bool) []byte {
	dst = append(append(dst, '<'), name...)
	if alone {
		dst = wire.AppendAttr(dst, "xmlns", NSDAC)
	}
	return dst
}

// append appends <dac/>.
func (f *dacFeature) append(dst []byte) []byte {
	dst = appendDACNonce(appendDACStart(dst, "dac", true), f.nonce)
	dst = wire.AppendAttr(dst, "max-batch", strconv.Itoa(f.maxBatch))
	dst = append(wire.AppendAttr(dst, "max-bytes", strconv.Itoa(f.maxBytes)), '>')
	for _, t := range f.types {
		dst = append(append(append(dst, "<proof-type>"...), t...), "</proof-type>"...)
	}
	if f.binding {
		dst = append(dst, "<binding/>"...)
	}
	if f.assert != nil {
		dst = f.assert.append(dst, false)
	}
	for i := range f.verdicts {
		dst = f.verdicts[i].append(dst, false)
	}
	return append(dst, "</dac>"...)
}

// append appends <assert/>.
func (a *dacAssert) append(dst []byte, alone bool) []byte {
	dst = wire.AppendAttr(appendDACStart(dst, "assert", alone), "id", a.id)
	if a.re != "" {
		dst = wire.AppendAttr(dst, "re", a.re)
	}
	dst = append(appendDACNonce(dst, a.nonce), '>')
	for _, c := range a.certs {
		dst = append(wire.AppendAttr(append(dst, "<cert"...), "id", c.id), '>')
		dst = append(base64.StdEncoding.AppendEncode(dst, c.der), "</cert>"...)
	}
	for i := range a.domains {
		dst = a.domains[i].append(dst)
	}
	if b := a.binding; b != nil {
		dst = append(wire.AppendAttr(append(dst, "<binding"...), "alg", b.alg), '>')
		dst = append(base64.StdEncoding.AppendEncode(dst, b.signature), "</binding>"...)
	}
	return append(dst, "</assert>"...)
}

func (d *dacDomain) append(dst []byte) []byte {
	dst = wire.AppendAttr(append(dst, "<domain"...), "name", d.name)
	switch {
	case d.ref != "":
		return append(wire.AppendAttr(dst, "ref", d.ref), "/>"...)
	case d.refHash != nil:
		return append(base64.StdEncoding.AppendEncode(append(dst, " ref-hash='"...), d.refHash), "'/>"...)
	case d.ac == nil:
		return append(dst, "/>"...)
	}
	dst = wire.AppendAttr(append(dst, "><chain"...), "leaf", d.leaf)
	if len(d.via) > 0 {
		dst = wire.AppendAttr(dst, "via", strings.Join(d.via, " "))
	}
	dst = base64.StdEncoding.AppendEncode(append(dst, "/><ac>"...), d.ac)
	return append(dst, "</ac></domain>"...)
}

func appendDACNames(dst []byte, names []string) []byte {
	for _, name := range names {
		dst = append(wire.AppendAttr(append(dst, "<domain"...), "name", name), "/>"...)
	}
	return dst
}

// append appends <challenge/>.
func (c *dacChallenge) append(dst []byte) []byte {
	dst = wire.AppendAttr(appendDACStart(dst, "challenge", true), "id", c.id)
	dst = append(appendDACNonce(dst, c.nonce), '>')
	return append(appendDACNames(dst, c.names), "</challenge>"...)
}

// append appends <verdict/>.
func (v *dacVerdict) append(dst []byte, alone bool) []byte {
	dst = appendDACStart(dst, "verdict", alone)
	if v.id != "" {
		dst = wire.AppendAttr(dst, "id", v.id)
	}
	dst = append(dst, '>')
	for i := range v.entries {
		dst = v.entries[i].append(dst)
	}
	return append(dst, "</verdict>"...)
}

func (e *dacEntry) append(dst []byte) []byte {
	switch {
	case e.reason != "":
		dst = append(wire.AppendAttr(append(dst, "<invalid"...), "name", e.name), "><"...)
		return append(append(dst, e.reason...), "/></invalid>"...)
	case e.nonce != nil:
		dst = wire.AppendAttr(append(dst, "<challenge"...), "name", e.name)
		return append(appendDACNonce(dst, e.nonce), "/>"...)
	}
	dst = append(wire.AppendAttr(append(dst, "<valid"...), "name", e.name), " until='"...)
	return append(e.until.UTC().AppendFormat(dst, time.RFC3339), "'/>"...)
}

// append appends <retract/>.
func (r *dacRetract) append(dst []byte) []byte {
	dst = append(wire.AppendAttr(appendDACStart(dst, "retract", true), "id", r.id), '>')
	return append(appendDACNames(dst, r.names), "</retract>"...)
}

// append appends <revoke/>.
func (r *dacRevoke) append(dst []byte) []byte {
	dst = append(wire.AppendAttr(appendDACStart(dst, "revoke", true), "id", r.id), '>')
	for i := range r.entries {
		dst = r.entries[i].append(dst)
	}
	return append(dst, "</revoke>"...)
}

// append appends <impossible/>.
func (i *dacImpossible) append(dst []byte) []byte {
	return append(wire.AppendAttr(appendDACStart(dst, "impossible", true), "name", i.name), "/>"...)
}

// parseDAC reads an element that stands alone, as one of the types above. An element
// that is not as it should be ends the stream: the error is a stream error.
func parseDAC(el *wire.Element) (any, error) {
	p := &dacParser{}
	var out any
	switch el.Name {
	case "assert":
		out = p.assert(el)
	case "challenge":
		out = p.challenge(el)
	case "verdict":
		out = p.verdict(el)
	case "retract":
		out = p.retract(el)
	case "revoke":
		out = p.revoke(el)
	case "impossible":
		p.shape(el, []string{"name"}, nil)
		out = &dacImpossible{p.name(el)}
	default:
		p.fail("<%s/> is not known", el.Name)
	}
	return out, p.err
}

// parseDACFeature reads <dac/>.
func parseDACFeature(el *wire.Element) (*dacFeature, error) {
	p := &dacParser{}
	p.shape(el, []string{"nonce", "max-batch", "max-bytes"}, []string{"proof-type", "binding", "assert", "verdict"})
	f := &dacFeature{nonce: p.nonce(el), maxBatch: p.number(el, "max-batch"), maxBytes: p.number(el, "max-bytes")}
	for c := range el.Each(NSDAC, "") {
		switch c.Name {
		case "proof-type":
			f.types = append(f.types, c.Text())
		case "binding":
			f.binding = true
		case "assert":
			if f.assert != nil {
				p.fail("two assertions in the features")
			}
			f.assert = p.assert(c)
		case "verdict":
			v := p.verdict(c)
			if v.id != "" {
				p.fail("the features answer the assertion %q", v.id)
			}
			f.verdicts = append(f.verdicts, *v)
		}
	}
	if !slices.Contains(f.types, proofTypeAC) {
		p.fail("proofs by attribute certificates are not offered")
	}
	return f, p.err
}

// dacParser reads elements. It remembers the first thing that was wrong.
type dacParser struct {
	err   error
	bytes int
}

func (p *dacParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = streamError(wire.PolicyViolation, "domain attribute certificates: "+fmt.Sprintf(format, args...))
	}
}

// shape checks attributes and the names of children. What stands in other namespaces is
// passed over.
func (p *dacParser) shape(el *wire.Element, attributes, children []string) {
	for i := range el.Attrs {
		a := &el.Attrs[i]
		if a.Space == "" && !slices.Contains(attributes, a.Name) {
			p.fail("<%s/> has no attribute %q", el.Name, a.Name)
		}
		p.weigh(len(a.Value))
	}
	for c := range el.Each(NSDAC, "") {
		if !slices.Contains(children, c.Name) {
			p.fail("<%s/> holds no <%s/>", el.Name, c.Name)
		}
	}
}

// weigh adds to the size of what is parsed.
func (p *dacParser) weigh(n int) {
	if p.bytes += n; p.bytes > dacMaxBytes {
		p.fail("more than %d octets", dacMaxBytes)
	}
}

// required returns an attribute that must be there.
func (p *dacParser) required(el *wire.Element, attribute string) string {
	v := el.Attr(attribute)
	if v == "" || len(v) > 64 || strings.ContainsAny(v, " \t\r\n") {
		p.fail("<%s/> needs %q", el.Name, attribute)
	}
	return v
}

// optional is required for an attribute that may be absent.
func (p *dacParser) optional(el *wire.Element, attribute string) string {
	if _, ok := el.LookupAttr("", attribute); !ok {
		return ""
	}
	return p.required(el, attribute)
}

func (p *dacParser) number(el *wire.Element, attribute string) int {
	n, err := strconv.ParseUint(el.Attr(attribute), 10, 31)
	if err != nil || n == 0 {
		p.fail("<%s/> needs a number in %q", el.Name, attribute)
	}
	return int(n)
}

// name returns the domain of an element, in lower case and A-labels.
func (p *dacParser) name(el *wire.Element) string {
	name := el.Attr("name")
	if !plainDomain(name) || canonicalDomain(name) != name {
		p.fail("%q is not the name of a domain", name)
	}
	return name
}

// count counts domains, and finds those that stand twice.
func (p *dacParser) count(seen map[string]bool, name string) {
	if seen[name] {
		p.fail("%s stands twice", name)
	}
	seen[name] = true
	if len(seen) > dacMaxBatch {
		p.fail("more than %d domains", dacMaxBatch)
	}
}

// octets decodes base64 as schemas have it, with white space.
func (p *dacParser) octets(el *wire.Element, text string) []byte {
	p.weigh(len(text))
	if p.err != nil {
		return nil
	}
	if strings.ContainsAny(text, " \t\r\n") {
		text = strings.Join(strings.Fields(text), "")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 {
		p.fail("<%s/> does not hold base64", el.Name)
	}
	return b
}

// nonce decodes a nonce that must be there.
func (p *dacParser) nonce(el *wire.Element) []byte {
	b := p.octets(el, el.Attr("nonce"))
	if len(b) != attrcert.NonceLength {
		p.fail("the nonce of <%s/> does not have %d octets", el.Name, attrcert.NonceLength)
	}
	return b
}

func (p *dacParser) assert(el *wire.Element) *dacAssert {
	p.shape(el, []string{"id", "re", "nonce"}, []string{"cert", "domain", "binding"})
	a := &dacAssert{id: p.required(el, "id"), re: p.optional(el, "re")}
	if _, ok := el.LookupAttr("", "nonce"); ok {
		a.nonce = p.nonce(el)
	}
	certs := make(map[string]bool)
	for c := range el.Each(NSDAC, "cert") {
		p.shape(c, []string{"id"}, nil)
		id := p.required(c, "id")
		if certs[id] {
			p.fail("the certificate %q stands twice", id)
		}
		certs[id] = true
		a.certs = append(a.certs, dacCert{id, p.octets(c, c.Text())})
	}
	seen := make(map[string]bool)
	for c := range el.Each(NSDAC, "domain") {
		if p.err != nil {
			return a
		}
		d := p.domain(c, certs)
		p.count(seen, d.name)
		a.domains = append(a.domains, d)
	}
	if len(a.domains) == 0 {
		p.fail("an assertion names a domain")
	}
	for c := range el.Each(NSDAC, "binding") {
		p.shape(c, []string{"alg"}, nil)
		if a.binding != nil {
			p.fail("an assertion is bound twice")
		}
		a.binding = &dacBinding{p.required(c, "alg"), p.octets(c, c.Text())}
	}
	return a
}

func (p *dacParser) domain(el *wire.Element, certs map[string]bool) dacDomain {
	p.shape(el, []string{"name", "ref", "ref-hash"}, []string{"chain", "ac"})
	d := dacDomain{name: p.name(el), ref: p.optional(el, "ref")}
	ways := 0
	if d.ref != "" {
		ways++
	}
	if v, ok := el.LookupAttr("", "ref-hash"); ok {
		ways++
		if d.refHash = p.octets(el, v); len(d.refHash) != sha256.Size {
			p.fail("the ref-hash of %s does not have %d octets", d.name, sha256.Size)
		}
	}
	chains := 0
	for c := range el.Each(NSDAC, "") {
		switch c.Name {
		case "ac":
			p.shape(c, nil, nil)
			ways++
			d.ac = p.octets(c, c.Text())
		case "chain":
			chains++
			p.shape(c, []string{"leaf", "via"}, nil)
			d.leaf = p.required(c, "leaf")
			d.via = strings.Fields(c.Attr("via"))
			for _, id := range append([]string{d.leaf}, d.via...) {
				if !certs[id] {
					p.fail("there is no certificate %q", id)
				}
			}
		}
	}
	if ways > 1 || chains > 1 || (chains == 1) != (d.ac != nil) {
		p.fail("%s has more or less than one proof", d.name)
	}
	return d
}

func (p *dacParser) domains(el *wire.Element) []string {
	seen := make(map[string]bool)
	var names []string
	for c := range el.Each(NSDAC, "domain") {
		p.shape(c, []string{"name"}, nil)
		names = append(names, p.name(c))
		if p.count(seen, names[len(names)-1]); p.err != nil {
			return nil
		}
	}
	if len(names) == 0 {
		p.fail("<%s/> names no domain", el.Name)
	}
	return names
}

func (p *dacParser) challenge(el *wire.Element) *dacChallenge {
	p.shape(el, []string{"id", "nonce"}, []string{"domain"})
	return &dacChallenge{p.required(el, "id"), p.nonce(el), p.domains(el)}
}

func (p *dacParser) retract(el *wire.Element) *dacRetract {
	p.shape(el, []string{"id"}, []string{"domain"})
	return &dacRetract{p.required(el, "id"), p.domains(el)}
}

func (p *dacParser) verdict(el *wire.Element) *dacVerdict {
	children := []string{"valid", "invalid", "challenge"}
	v := &dacVerdict{id: p.optional(el, "id")}
	if v.id == "" {
		children = children[:1] // nobody can be told of anything else unasked
	}
	p.shape(el, []string{"id"}, children)
	v.entries = p.entries(el)
	return v
}

func (p *dacParser) revoke(el *wire.Element) *dacRevoke {
	p.shape(el, []string{"id"}, []string{"invalid"})
	return &dacRevoke{p.required(el, "id"), p.entries(el)}
}

func (p *dacParser) entries(el *wire.Element) []dacEntry {
	seen := make(map[string]bool)
	var entries []dacEntry
	for c := range el.Each(NSDAC, "") {
		e := dacEntry{name: p.name(c)}
		switch c.Name {
		case "valid":
			p.shape(c, []string{"name", "until"}, nil)
			until, err := time.Parse(time.RFC3339, c.Attr("until"))
			e.until = until.UTC().Truncate(time.Second)
			if err != nil || e.until.Year() < 1 || e.until.Year() > 9999 {
				p.fail("%s is valid until no time", e.name)
			}
		case "invalid":
			p.shape(c, []string{"name"}, dacReasons())
			for reason := range c.Each(NSDAC, "") {
				p.shape(reason, nil, nil)
				if e.reason != "" {
					p.fail("%s is invalid for two reasons", e.name)
				}
				e.reason = attrcert.Reason(reason.Name)
			}
			if e.reason == "" {
				p.fail("%s is invalid for no reason", e.name)
			}
		case "challenge":
			p.shape(c, []string{"name", "nonce"}, nil)
			e.nonce = p.nonce(c)
		}
		if p.count(seen, e.name); p.err != nil {
			return nil
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		p.fail("<%s/> says nothing", el.Name)
	}
	return entries
}

// dacReasons are the names of the elements that say why a domain is invalid.
func dacReasons() []string {
	var names []string
	for _, r := range attrcert.Reasons() {
		names = append(names, string(r))
	}
	return names
}
