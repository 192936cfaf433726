package s2s_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/resolve"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// TestParams holds the tables of settings: every default is taken, every choice is,
// and nothing else.
func TestParams(t *testing.T) {
	for _, v := range s2s.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			p, err := v.Parse(nil)
			if err != nil {
				t.Fatal(err)
			}
			want := s2s.UnauthBounce
			if strings.HasPrefix(v.Name, "pair-") {
				want = s2s.UnauthClose
			}
			if p.Unauth != want {
				t.Errorf("unauth is %s", p.Unauth)
			}
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var back s2s.Params
			if err := json.Unmarshal(b, &back); err != nil || back != p {
				t.Errorf("%+v comes back as %+v, %v", p, back, err)
			}
			if _, err := v.Parse(map[string]any{"nonsense": 1}); err == nil || !strings.Contains(err.Error(), "nonsense") {
				t.Errorf("an unknown setting: %v", err)
			}
			seen := map[string]bool{}
			for _, param := range v.Settings() {
				if seen[param.Name] {
					t.Errorf("%s stands twice in the table", param.Name)
				}
				seen[param.Name] = true
				if param.Doc == "" {
					t.Errorf("%s is not explained", param.Name)
				}
				for _, c := range param.Choices {
					if _, err := v.Parse(map[string]any{param.Name: c}); err != nil {
						t.Error(err)
					}
				}
				for _, wrong := range []any{"nonsense", nil, struct{}{}, -1} {
					if _, err := v.Parse(map[string]any{param.Name: wrong}); err == nil {
						t.Errorf("%s takes %v", param.Name, wrong)
					}
				}
			}
		})
	}
	if _, ok := s2s.Find("nonsense"); ok {
		t.Error("there is a variant called nonsense")
	}
	if len(s2s.Names()) != len(s2s.Variants()) {
		t.Error("there are not as many names as variants")
	}
}

// TestClosedForms writes the closed forms of protocols out by hand, for meshes of
// n × m domains that all talk.
func TestClosedForms(t *testing.T) {
	type form func(n, m, p int) int
	none := func(int, int, int) int { return 0 }
	one := func(int, int, int) int { return 1 }
	two := func(int, int, int) int { return 2 }
	pairs := func(_, _, p int) int { return p }
	twice := func(_, _, p int) int { return 2 * p }
	four := func(_, _, p int) int { return 4 * p }
	domains := func(n, m, _ int) int { return n + m }
	literal := func(n, m, _ int) int { return 2 + n + m }
	tests := []struct {
		variant                                                                    string
		given                                                                      map[string]any
		persistent, opened, handshakes, sasl, results, verifies, fetches, keys, ns form
	}{
		{"pair-external", nil, twice, twice, twice, twice, none, none, none, domains, domains},
		{"pair-dialback", nil, twice, twice, twice, none, twice, twice, none, none, domains},
		{"pair-dialback", map[string]any{"verify": "separate"}, twice, four, four, none, twice, twice, none, none, domains},
		{"pair-dialback", map[string]any{"verify": "separate", "verify-tls": false}, twice, four, twice, none, twice, twice, none, none, domains},
		{"pair-dialback", map[string]any{"tls": "none"}, twice, twice, none, none, twice, twice, none, none, domains},
		{"pair-bidi", nil, pairs, pairs, pairs, pairs, none, none, none, domains, func(_, m, _ int) int { return m }},
		{"shared-dialback", nil, two, two, two, none, twice, twice, none, none, domains},
		{"shared-dialback", map[string]any{"streams": "one"}, two, two, two, none, pairs, pairs, none, none, domains},
		{"shared-7712", nil, two, literal, literal, none, twice, domains, none, domains, domains},
		{"shared-cert", map[string]any{"streams": "two"}, two, two, two, none, twice, none, none, two, domains},
		{"shared-cert", nil, one, one, one, none, pairs, none, none, two, nil},
		{"shared-cert", map[string]any{"granularity": "domain"}, one, one, one, none, func(n, _, _ int) int { return n }, none, none, two, nil},
		{"shared-mux", nil, one, one, one, one, none, none, none, two, nil},
		{"shared-posh", nil, one, one, one, none, pairs, none, domains, none, nil},
		{"shared-dane", nil, one, one, one, none, pairs, none, none, none, domains},
		{"shared-attrcert", nil, one, one, one, none, none, none, none, none, nil},
		{"zero-handshake", nil, one, one, one, none, none, none, none, none, nil},
		{"zero-handshake", map[string]any{"tls": "none"}, one, one, none, none, none, none, none, none, nil},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		seen[tt.variant] = true
		v, _ := s2s.Find(tt.variant)
		p, err := v.Parse(tt.given)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {3, 7}, {10, 10}, {100, 1}, {50, 50}, {100, 100}} {
			n, m := size[0], size[1]
			c := v.Counts(p, s2s.Full(n, m))
			got := []int{c.Persistent, c.Opened, c.Handshakes, c.SASL, c.Results, c.Verifies, c.Fetches, c.Keys}
			var want []int
			for _, f := range []form{tt.persistent, tt.opened, tt.handshakes, tt.sasl, tt.results, tt.verifies, tt.fetches, tt.keys} {
				want = append(want, f(n, m, n*m))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s %v, %d × %d: %v, want %v", tt.variant, tt.given, n, m, got, want)
			}
			if tt.ns != nil && c.Lookups != tt.ns(n, m, n*m) {
				t.Errorf("%s %v, %d × %d: %d look-ups, want %d", tt.variant, tt.given, n, m, c.Lookups, tt.ns(n, m, n*m))
			}
		}
	}
	for _, v := range s2s.Variants() {
		if !seen[v.Name] {
			t.Errorf("%s has no closed form here", v.Name)
		}
	}
}

// TestClosedFormsOfTimes writes the round trips of protocols out by hand.
func TestClosedFormsOfTimes(t *testing.T) {
	tests := []struct {
		variant                          string
		given                            map[string]any
		first, echo, further, furtherEch int
	}{
		{"pair-external", nil, 7, 15, 7, 15},
		{"pair-external", map[string]any{"tls": "direct"}, 5, 11, 5, 11},
		{"pair-external", map[string]any{"tls-max": "1.2"}, 8, 17, 8, 17},
		{"pair-dialback", nil, 12, 13, 12, 13},
		{"pair-dialback", map[string]any{"tls": "direct"}, 8, 9, 8, 9},
		{"pair-dialback", map[string]any{"tls": "none"}, 6, 7, 6, 7},
		{"pair-dialback", map[string]any{"verify": "separate"}, 12, 25, 12, 25},
		{"pair-dialback", map[string]any{"verify": "separate", "tls": "direct"}, 8, 17, 8, 17},
		{"pair-dialback", map[string]any{"verify": "separate", "verify-tls": false}, 9, 19, 9, 19},
		{"pair-dialback", map[string]any{"verify": "separate", "verify-tls": false, "tls": "direct"}, 7, 15, 7, 15},
		{"pair-bidi", nil, 7, 8, 7, 8},
		{"pair-bidi", map[string]any{"tls": "direct"}, 5, 6, 5, 6},
		{"shared-dialback", nil, 12, 13, 2, 3},
		{"shared-dialback", map[string]any{"streams": "one"}, 12, 13, 2, 3},
		{"shared-dialback", map[string]any{"tls": "direct"}, 8, 9, 2, 3},
		{"shared-7712", nil, 12, 25, 7, 15},
		{"shared-7712", map[string]any{"tls": "direct"}, 8, 17, 5, 11},
		{"shared-cert", nil, 6, 7, 1, 2},
		{"shared-cert", map[string]any{"tls": "direct"}, 4, 5, 1, 2},
		{"shared-cert", map[string]any{"streams": "two"}, 6, 13, 1, 3},
		{"shared-mux", nil, 7, 8, 0, 1},
		{"shared-mux", map[string]any{"tls": "direct"}, 5, 6, 0, 1},
		{"shared-posh", nil, 12, 13, 7, 8},
		{"shared-posh", map[string]any{"overlap": true}, 9, 10, 7, 8},
		{"shared-dane", nil, 12, 13, 3, 4},
		{"zero-handshake", nil, 2, 3, 0, 1},
		{"zero-handshake", map[string]any{"tls": "none"}, 1, 2, 0, 1},
	}
	for _, tt := range tests {
		v, _ := s2s.Find(tt.variant)
		p, err := v.Parse(tt.given)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := v.Rounds(p), (s2s.Rounds{First: tt.first, FirstEcho: tt.echo, Further: tt.further, FurtherEcho: tt.furtherEch}); got != want {
			t.Errorf("%s %v: %+v, want %+v", tt.variant, tt.given, got, want)
		}
	}
}

// TestCredentials is about what cannot be held.
func TestCredentials(t *testing.T) {
	ca := newCA(t)
	good, other := keyPair(t, ca, lab.LeafOptions{Names: []string{"a.test"}}), keyPair(t, ca, lab.LeafOptions{Names: []string{"b.test"}})
	swapped := s2s.KeyPair{Certificates: good.Certificates, Key: other.Key}
	v, _ := s2s.Find("pair-external")
	p, err := v.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		c    s2s.Credentials
		want string
	}{
		"roots that are none":           {s2s.Credentials{Roots: []byte("-----BEGIN NOTHING-----")}, "roots"},
		"certificate without a key":     {s2s.Credentials{Own: &s2s.KeyPair{Certificates: good.Certificates}}, "the provider's own"},
		"nothing":                       {s2s.Credentials{All: &s2s.KeyPair{}}, "the one for all domains"},
		"key of another certificate":    {s2s.Credentials{Domains: map[string]s2s.KeyPair{"a.test": swapped}}, "that of a.test"},
		"certificate that is a key":     {s2s.Credentials{Own: &s2s.KeyPair{Certificates: good.Key, Key: good.Key}}, "the provider's own"},
		"certificate in place of a key": {s2s.Credentials{Own: &s2s.KeyPair{Certificates: good.Certificates, Key: good.Certificates}}, "the provider's own"},
	} {
		_, err := s2s.New(t.Context(), s2s.Config{Domains: []string{"a.test"}, Variant: v, Params: p, Resolver: &resolve.Static{}, Credentials: tt.c})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	posh, _ := s2s.Find("shared-posh")
	for name, c := range map[string]s2s.Config{
		"no fetcher":  {Domains: []string{"a.test"}, Variant: posh, Resolver: &resolve.Static{}},
		"no domains":  {Variant: v, Params: p, Resolver: &resolve.Static{}},
		"no variant":  {Domains: []string{"a.test"}, Resolver: &resolve.Static{}},
		"no resolver": {Domains: []string{"a.test"}, Variant: v, Params: p},
	} {
		if _, err := s2s.New(t.Context(), c); err == nil {
			t.Errorf("%s: a host was made", name)
		}
	}
}
