package attrcert_test

import (
	"testing"

	"github.com/xmppbench/xmppbench/internal/attrcert"
)

func BenchmarkIssue(b *testing.B) {
	for _, keys := range keyKinds() {
		b.Run(keys, func(b *testing.B) {
			w := newWorld(b, keys)
			template := w.template()
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				der, err := attrcert.Issue(template, w.owner.cert, w.owner.key)
				if err != nil {
					b.Fatal(err)
				}
				size = len(der)
			}
			b.ReportMetric(float64(size), "octets")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	w := newWorld(b, "p256")
	der := w.issue(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := attrcert.Parse(der); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify verifies with the owner's chain of two signatures, or with what is remembered of it.
func BenchmarkVerify(b *testing.B) {
	for _, keys := range keyKinds() {
		w := newWorld(b, keys)
		c := w.claim(b, w.issue(b, nil))
		b.Run(keys+"/cold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify(b, w.verifier(), c, 3)
			}
		})
		b.Run(keys+"/cached-chain", func(b *testing.B) {
			v := w.verifier()
			verify(b, v, c, 3)
			b.ReportAllocs()
			for b.Loop() {
				verify(b, v, c, 1)
			}
		})
	}
}

// BenchmarkVerifyCRL verifies with a list that is remembered, as is the chain.
func BenchmarkVerifyCRL(b *testing.B) {
	w := newWorld(b, "p256")
	c := w.claim(b, w.issue(b, func(t *attrcert.Template) { t.CRL = crlURL }))
	v := w.verifier()
	v.Revocation = &attrcert.CRLCache{Fetch: shelf{crlURL: w.crl(b, 1, 2, 3)}.fetch}
	verify(b, v, c, 4)
	b.ReportAllocs()
	for b.Loop() {
		verify(b, v, c, 1)
	}
}

func verify(b *testing.B, v *attrcert.Verifier, c attrcert.Claim, signatures int) {
	b.Helper()
	verdict, err := v.Verify(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	if verdict.Signatures != signatures {
		b.Fatalf("%d signatures checked, want %d", verdict.Signatures, signatures)
	}
}

func BenchmarkBinding(b *testing.B) {
	w := newWorld(b, "p256")
	alg, signature, err := binding().Sign(w.provider.key)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := binding().Sign(w.provider.key); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := binding().Verify(w.provider.cert, alg, signature); err != nil {
				b.Fatal(err)
			}
		}
	})
}
