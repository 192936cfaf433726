package s2s_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/attrcert"
	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

func TestCRLFetcher(t *testing.T) {
	ca := newCA(t)
	web, err := lab.NewWeb(t.Context(), lab.WebOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	web.SetCertificate("a.test", issue(t, ca, lab.LeafOptions{Names: []string{"a.test"}}))
	web.SetPage("a.test", "/ac.crl", lab.Page{Body: []byte("a list")})
	web.SetPage("a.test", "/moved.crl", lab.Page{Location: "http://a.test/ac.crl"})
	web.SetPage("a.test", "/large.crl", lab.Page{Body: []byte("."), Fill: attrcert.MaxCRLBytes})
	web.SetPage("a.test", "/cut.crl", lab.Page{Body: []byte("a list"), Cut: true})
	web.SetPage("a.test", "/slow.crl", lab.Page{Body: []byte("a list"), Wait: time.Hour})
	web.SetCertificate("b.test", issue(t, newCA(t), lab.LeafOptions{Names: []string{"b.test"}}))
	web.SetPage("b.test", "/ac.crl", lab.Page{Body: []byte("a list")})
	f := &s2s.CRLFetcher{Roots: ca.Pool(), Dial: web.DialContext}
	tests := []struct{ url, want, err string }{
		{"http://a.test/ac.crl", "a list", ""},
		{"https://a.test/ac.crl", "a list", ""},
		{"https://b.test/ac.crl", "", "certificate"},
		{"http://a.test/none.crl", "", "404"},
		{"http://a.test/moved.crl", "", "302"},
		{"http://a.test/large.crl", "", "more than"},
		{"http://a.test/cut.crl", "", "EOF"},
		{"ldap://a.test/ac.crl", "", "is not the URL"},
		{"http:///ac.crl", "", "is not the URL"},
		{"http://u:p@a.test/ac.crl", "", "is not the URL"},
		{"%", "", "is not the URL"},
	}
	for _, tt := range tests {
		got, err := f.Fetch(t.Context(), tt.url)
		switch {
		case tt.err == "" && (err != nil || string(got) != tt.want):
			t.Errorf("%s: %q, %v", tt.url, got, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: %q, error %v, want one with %q", tt.url, got, err, tt.err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := f.Fetch(ctx, "http://a.test/slow.crl"); err == nil {
		t.Error("a fetch outlived its context")
	}
	nowhere := &s2s.CRLFetcher{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }}
	if _, err := nowhere.Fetch(t.Context(), "http://a.test/ac.crl"); err == nil {
		t.Error("a list came from nowhere")
	}
}
