package s2s

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// write appends a parsed element of attribute certificates.
func write(t testing.TB, el any) []byte {
	t.Helper()
	switch e := el.(type) {
	case *dacFeature:
		return e.append(nil)
	case *dacAssert:
		return e.append(nil, true)
	case *dacChallenge:
		return e.append(nil)
	case *dacVerdict:
		return e.append(nil, true)
	case *dacRetract:
		return e.append(nil)
	case *dacRevoke:
		return e.append(nil)
	case *dacImpossible:
		return e.append(nil)
	}
	t.Fatalf("nobody writes a %T", el)
	return nil
}

// read parses one, from what stands alone or in the features.
func read(b []byte) (any, error) {
	el, err := wire.ParseElement(b, wire.NSServer, nil)
	if err != nil {
		return nil, err
	}
	if el.Name == "dac" {
		return parseDACFeature(el)
	}
	return parseDAC(el)
}

const dacNS = " xmlns='urn:example:xmppbench:dac:0'"

// nonce returns a nonce of one octet, repeated, and its base64.
func nonce(c byte) ([]byte, string) {
	b := bytes.Repeat([]byte{c}, attrcert.NonceLength)
	return b, map[byte]string{0: strings.Repeat("A", 43) + "=", 0xff: strings.Repeat("/", 42) + "8="}[c]
}

func TestDACElements(t *testing.T) {
	zeros, zeros64 := nonce(0)
	ones, ones64 := nonce(0xff)
	until := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		want string
		el   any
	}{
		{
			"<dac" + dacNS + " nonce='" + zeros64 + "' max-batch='256' max-bytes='262144'><proof-type>ac</proof-type><binding/>" +
				"<assert id='f0'><cert id='i1'>aQ==</cert><cert id='c1'>bGVhZg==</cert><domain name='b1.example'><chain leaf='c1' via='i1'/><ac>YWM=</ac></domain></assert>" +
				"<verdict><valid name='a1.example' until='2026-11-23T00:00:00Z'/></verdict></dac>",
			&dacFeature{
				nonce: zeros, maxBatch: 256, maxBytes: 262144, types: []string{"ac"}, binding: true,
				assert: &dacAssert{
					id: "f0", certs: []dacCert{{"i1", []byte("i")}, {"c1", []byte("leaf")}},
					domains: []dacDomain{{name: "b1.example", ac: []byte("ac"), leaf: "c1", via: []string{"i1"}}},
				},
				verdicts: []dacVerdict{{entries: []dacEntry{{name: "a1.example", until: until}}}},
			},
		},
		{
			"<assert" + dacNS + " id='a7' re='c1' nonce='" + ones64 + "'><cert id='c1'>bGVhZg==</cert>" +
				"<domain name='a1.example'><chain leaf='c1'/><ac>YWM=</ac></domain><domain name='a2.example' ref='a6'/>" +
				"<domain name='a3.example' ref-hash='" + zeros64 + "'/><domain name='a4.example'/><binding alg='ecdsa-sha256'>c2ln</binding></assert>",
			&dacAssert{
				id: "a7", re: "c1", nonce: ones, certs: []dacCert{{"c1", []byte("leaf")}},
				domains: []dacDomain{
					{name: "a1.example", ac: []byte("ac"), leaf: "c1"}, {name: "a2.example", ref: "a6"},
					{name: "a3.example", refHash: zeros}, {name: "a4.example"},
				},
				binding: &dacBinding{"ecdsa-sha256", []byte("sig")},
			},
		},
		{
			"<challenge" + dacNS + " id='c&apos;2' nonce='" + zeros64 + "'><domain name='b1.example'/><domain name='b2.example'/></challenge>",
			&dacChallenge{"c'2", zeros, []string{"b1.example", "b2.example"}},
		},
		{
			"<verdict" + dacNS + " id='a7'><valid name='a1.example' until='2026-11-23T00:00:00Z'/><invalid name='a2.example'><expired/></invalid>" +
				"<challenge name='a3.example' nonce='" + ones64 + "'/></verdict>",
			&dacVerdict{"a7", []dacEntry{{name: "a1.example", until: until}, {name: "a2.example", reason: attrcert.Expired}, {name: "a3.example", nonce: ones}}},
		},
		{
			"<verdict" + dacNS + "><valid name='a1.example' until='2026-11-23T00:00:00Z'/></verdict>",
			&dacVerdict{"", []dacEntry{{name: "a1.example", until: until}}},
		},
		{"<retract" + dacNS + " id='r1'><domain name='a1.example'/></retract>", &dacRetract{"r1", []string{"a1.example"}}},
		{
			"<revoke" + dacNS + " id='v1'><invalid name='a1.example'><policy/></invalid></revoke>",
			&dacRevoke{"v1", []dacEntry{{name: "a1.example", reason: attrcert.Policy}}},
		},
		{"<impossible" + dacNS + " name='a1.example'/>", &dacImpossible{"a1.example"}},
	}
	all := cmp.Exporter(func(reflect.Type) bool { return true })
	for _, tt := range tests {
		if got := string(write(t, tt.el)); got != tt.want {
			t.Errorf("written:\n%s\nwant:\n%s", got, tt.want)
		}
		got, err := read([]byte(tt.want))
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
			continue
		}
		if d := cmp.Diff(tt.el, got, all, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.want, d)
		}
	}
}

// malformed are elements of which each ends the stream.
func malformed() []string {
	_, n := nonce(0)
	many := new(strings.Builder)
	for i := range dacMaxBatch + 1 {
		fmt.Fprintf(many, "<domain name='a%d.example'/>", i)
	}
	certs := "<cert id='c1'>bGVhZg==</cert>"
	proof := "<chain leaf='c1'/><ac>YWM=</ac>"
	assert := func(inside string) string { return "<assert" + dacNS + " id='a1'>" + inside + "</assert>" }
	return []string{
		"<dance" + dacNS + "/>",
		assert(""),
		assert(many.String()),
		"<assert" + dacNS + "><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id=''><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id='a 1'><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id='" + strings.Repeat("a", 65) + "'><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id='a1' whim='1'><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id='a1' re=''><domain name='a.example'/></assert>",
		"<assert" + dacNS + " id='a1' nonce='AAAA'><domain name='a.example'/></assert>",
		assert("<domain/>"),
		assert("<domain name='A.example'/>"),
		assert("<domain name='*.example'/>"),
		assert("<domain name='a.example.'/>"),
		assert("<domain name='a b'/>"),
		assert("<domain name='127.0.0.1'/>"),
		assert("<domain name='" + strings.Repeat("a.", 127) + "a'/>"),
		assert("<domain name='a.example'/><domain name='a.example'/>"),
		assert("<domain name='a.example'/><dance/>"),
		assert("<domain name='a.example'><dance/></domain>"),
		assert("<domain name='a.example'><ac>YWM=</ac></domain>"),
		assert("<domain name='a.example'>" + proof + "</domain>"),
		assert(certs + "<domain name='a.example'><chain leaf='c1'/></domain>"),
		assert(certs + "<domain name='a.example'><chain leaf='c1' via='i1'/><ac>YWM=</ac></domain>"),
		assert(certs + "<domain name='a.example'>" + proof + proof + "</domain>"),
		assert(certs + "<domain name='a.example'>" + proof + "<ac>YWM=</ac></domain>"),
		assert(certs + "<domain name='a.example' ref='a0'>" + proof + "</domain>"),
		assert(certs + "<domain name='a.example'><chain leaf='c1'/><ac>YWM</ac></domain>"),
		assert(certs + "<domain name='a.example'><chain leaf='c1'/><ac>YWN=</ac></domain>"),
		assert(certs + "<domain name='a.example'><chain leaf='c1'/><ac/></domain>"),
		assert(certs + certs + "<domain name='a.example'>" + proof + "</domain>"),
		assert("<cert>bGVhZg==</cert><domain name='a.example'/>"),
		assert("<domain name='a.example' ref='a0' ref-hash='" + n + "'/>"),
		assert("<domain name='a.example' ref-hash='AAAA'/>"),
		assert("<domain name='a.example'/><binding>c2ln</binding>"),
		assert("<domain name='a.example'/><binding alg='ed25519'>c2ln</binding><binding alg='ed25519'>c2ln</binding>"),
		assert("<cert id='c1'>" + strings.Repeat("AAAA", dacMaxBytes/4+1) + "</cert><domain name='a.example'/>"),
		"<challenge" + dacNS + " id='c1'><domain name='b.example'/></challenge>",
		"<challenge" + dacNS + " id='c1' nonce='" + n + "'/>",
		"<challenge" + dacNS + " id='c1' nonce='" + n + "'>" + many.String() + "</challenge>",
		"<verdict" + dacNS + " id='a1'/>",
		"<verdict" + dacNS + "><invalid name='a.example'><expired/></invalid></verdict>",
		"<verdict" + dacNS + " id='a1'><valid name='a.example'/></verdict>",
		"<verdict" + dacNS + " id='a1'><valid name='a.example' until='tomorrow'/></verdict>",
		"<verdict" + dacNS + " id='a1'><valid name='a.example' until='0000-01-01T00:00:00Z'/></verdict>",
		"<verdict" + dacNS + " id='a1'><invalid name='a.example'/></verdict>",
		"<verdict" + dacNS + " id='a1'><invalid name='a.example'><whim/></invalid></verdict>",
		"<verdict" + dacNS + " id='a1'><invalid name='a.example'><expired/><revoked/></invalid></verdict>",
		"<verdict" + dacNS + " id='a1'><challenge name='a.example'/></verdict>",
		"<retract" + dacNS + " id='r1'/>",
		"<retract" + dacNS + "><domain name='a.example'/></retract>",
		"<revoke" + dacNS + " id='v1'/>",
		"<revoke" + dacNS + " id='v1'><valid name='a.example' until='2026-11-23T00:00:00Z'/></revoke>",
		"<impossible" + dacNS + "/>",
		"<impossible" + dacNS + " name='a.example'><expired/></impossible>",
		"<dac" + dacNS + " nonce='" + n + "' max-batch='256' max-bytes='1000'/>",
		"<dac" + dacNS + " max-batch='256' max-bytes='1000'><proof-type>ac</proof-type></dac>",
		"<dac" + dacNS + " nonce='" + n + "' max-batch='0' max-bytes='1000'><proof-type>ac</proof-type></dac>",
		"<dac" + dacNS + " nonce='" + n + "' max-batch='256' max-bytes='-1'><proof-type>ac</proof-type></dac>",
		"<dac" + dacNS + " nonce='" + n + "' max-batch='256' max-bytes='1000'><proof-type>ac</proof-type><verdict id='a1'><valid name='a.example' until='2026-11-23T00:00:00Z'/></verdict></dac>",
		"<dac" + dacNS + " nonce='" + n + "' max-batch='256' max-bytes='1000'><proof-type>ac</proof-type>" + strings.Repeat("<assert id='f0'><domain name='b.example'/></assert>", 2) + "</dac>",
	}
}

func TestDACMalformed(t *testing.T) {
	for _, b := range malformed() {
		_, err := read([]byte(b))
		var bye *wire.StreamError
		if !errors.As(err, &bye) || bye.Condition != wire.PolicyViolation {
			t.Errorf("%.300s: error %v, want policy-violation", b, err)
		}
	}
}

// TestDACLeniency reads what others may write differently.
func TestDACLeniency(t *testing.T) {
	_, n := nonce(0)
	tests := []struct{ given, want string }{
		{
			"<d:challenge xmlns:d='urn:example:xmppbench:dac:0' xmlns='jabber:server' nonce=\"" + n + "\" id=\"c1\">\n <d:domain name=\"b.example\"> </d:domain>\n</d:challenge>",
			"<challenge" + dacNS + " id='c1' nonce='" + n + "'><domain name='b.example'/></challenge>",
		},
		{
			"<assert" + dacNS + " id='a1'><more xmlns='urn:other' x='1'/><cert id='c1'>bGVh\n Zg==\n</cert><domain name='a.example' xml:lang='en'><ac> YWM= </ac><chain via=' ' leaf='c1'/></domain></assert>",
			"<assert" + dacNS + " id='a1'><cert id='c1'>bGVhZg==</cert><domain name='a.example'><chain leaf='c1'/><ac>YWM=</ac></domain></assert>",
		},
		{
			"<verdict" + dacNS + " id='a1'><valid until='2026-11-23T02:00:00.9+02:00' name='a.example'/></verdict>",
			"<verdict" + dacNS + " id='a1'><valid name='a.example' until='2026-11-23T00:00:00Z'/></verdict>",
		},
	}
	for _, tt := range tests {
		el, err := read([]byte(tt.given))
		if err != nil {
			t.Errorf("%s: %v", tt.given, err)
			continue
		}
		if got := string(write(t, el)); got != tt.want {
			t.Errorf("%s: read as\n%s\nwant\n%s", tt.given, got, tt.want)
		}
	}
}

// FuzzDAC parses elements: nothing panics, and what was read is read again as the same
// after it was written.
func FuzzDAC(f *testing.F) {
	b, err := os.ReadFile("testdata/shared-attrcert.txt")
	if err != nil {
		f.Fatal(err)
	}
	_, n := nonce(0)
	for line := range strings.Lines(string(b)) {
		if _, el, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasPrefix(el, "<") {
			el = strings.NewReplacer("NONCE-R", n, "NONCE-I", n, "UNTIL", "2026-11-23T00:00:00Z", "SIGNATURE", "c2ln").Replace(el)
			for _, symbol := range []string{"CERT", "AC", "HASH"} {
				for at := strings.Index(el, symbol+"("); at >= 0; at = strings.Index(el, symbol+"(") {
					end := at + strings.Index(el[at:], ")") + 1
					el = el[:at] + n + el[end:]
				}
			}
			f.Add([]byte(el))
		}
	}
	for _, el := range malformed() {
		if len(el) < 1<<10 {
			f.Add([]byte(el))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		el, err := read(b)
		if err != nil {
			return
		}
		first := write(t, el)
		again, err := read(first)
		if err != nil {
			t.Fatalf("%q was read, and written as %q, which is not: %v", b, first, err)
		}
		if second := write(t, again); !bytes.Equal(first, second) {
			t.Fatalf("%q was written as %q, then as %q", b, first, second)
		}
	})
}
