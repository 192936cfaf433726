package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// What cannot work with a real server is refused before the first connection.
func TestForeignServersThatCannotWork(t *testing.T) {
	now := time.Now()
	ca, err := lab.NewCA("lab", lab.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := lab.NewCA("old lab", lab.CAOptions{NotAfter: now.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(opts lab.LeafOptions) *s2s.KeyPair {
		leaf, err := ca.Issue(opts)
		if err != nil {
			t.Fatal(err)
		}
		certificates, key, err := lab.EncodePEM(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return &s2s.KeyPair{Certificates: certificates, Key: key}
	}
	names := []string{"g1.test", "g2.test", "g3.test"}
	good := issue(lab.LeafOptions{Names: names})
	own := OwnProvider{Listen: "127.0.10.4:15269", DNS: "127.0.10.53:15053", Domain: "g{i}.test"}
	base := func() *foreign {
		return &foreign{own: own, pair: good, roots: ca.CertificatePEM(), address: map[string]string{"a1.test": "127.0.10.1:15269"}}
	}
	plan := Plan{Federation: Federation{Domains: Domains{3, 1}}}
	tests := []struct {
		name   string
		change func(f *foreign)
		want   string
	}{
		{"well", func(*foreign) {}, ""},
		{"dialback alone", func(f *foreign) { f.pair = nil }, ""},
		{"expired authority", func(f *foreign) { f.roots = old.CertificatePEM() }, `connect.ca: the authority "old lab" has expired on `},
		{"expired certificate", func(f *foreign) { f.pair = issue(lab.LeafOptions{Names: names, NotAfter: now.Add(-time.Hour)}) }, "federation.certificate: it has expired on "},
		{"early certificate", func(f *foreign) { f.pair = issue(lab.LeafOptions{Names: names, NotBefore: now.Add(time.Hour)}) }, "federation.certificate: it is not valid before "},
		{"too few names", func(f *foreign) { f.pair = issue(lab.LeafOptions{Names: names[:2]}) }, "it does not name g3.test, one of our 3 domains"},
		{"another key", func(f *foreign) {
			f.pair = &s2s.KeyPair{Certificates: good.Certificates, Key: issue(lab.LeafOptions{Names: names}).Key}
		}, "federation.certificate and federation.key: "},
		{"clash with the server", func(f *foreign) { f.own.Listen = "127.0.10.1:15269" }, "federation.listen is 127.0.10.1:15269, which is where the server takes streams for a1.test"},
		{"clash with our own", func(f *foreign) { f.own.DNS = f.own.Listen }, "give them different ports"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := base()
			tt.change(f)
			err := f.check(plan, now)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A server keeps what the DNS has said, so that it has to be true of every arm.
func TestArmsOfOneKindOfTLS(t *testing.T) {
	arm := func(variant, tls string) Arm {
		v, _ := s2s.Find(variant)
		return Arm{Label: variant + " " + tls, Federation: v, S2S: s2s.Params{TLS: tls}}
	}
	start, direct, headless := arm("pair-external", s2s.TLSStart), arm("shared-cert", s2s.TLSDirect), arm("zero-handshake", s2s.TLSDirect)
	tests := []struct {
		name string
		arms []Arm
		want bool
		err  bool
	}{
		{"STARTTLS", []Arm{start, start}, false, false},
		{"direct", []Arm{direct}, true, false},
		{"without headers", []Arm{start, headless}, false, false},
		{"both", []Arm{start, direct}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Plan{Arms: tt.arms}.directTLS()
			if got != tt.want || (err != nil) != tt.err {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
