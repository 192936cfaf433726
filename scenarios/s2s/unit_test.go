package s2s

import (
	"fmt"
	"testing"
	"time"
)

func TestLayoutKey(t *testing.T) {
	const n, m = 7, 5
	tests := []struct {
		layout Layout
		want   int
	}{
		{EachPair, 2 * n * m}, {EachPairBoth, n * m}, {EachProvider, 2}, {EachProviderBoth, 1},
	}
	a, b := "127.0.0.1:5269", "127.0.0.2:5269"
	for _, tt := range tests {
		for _, pool := range []int{0, 1, 4, 1000} {
			keys := map[string]bool{}
			for i := range n {
				for j := range m {
					from, to := Endpoint{fmt.Sprintf("a%d.test", i), a}, Endpoint{fmt.Sprintf("b%d.test", j), b}
					forth, back := tt.layout.Key(from, to, pool), tt.layout.Key(to, from, pool)
					if (forth == back) != tt.layout.Both() {
						t.Errorf("layout %d: %q one way, %q the other", tt.layout, forth, back)
					}
					if again := tt.layout.Key(from, to, pool); again != forth {
						t.Errorf("layout %d: %q, then %q", tt.layout, forth, again)
					}
					keys[forth], keys[back] = true, true
				}
			}
			want := tt.want
			if tt.layout.Shared() && pool > 1 {
				pairs := n * m * tt.want
				want *= pool
				if len(keys) > min(want, pairs) || len(keys) < min(want, pairs)/2 {
					t.Errorf("layout %d with a pool of %d: %d streams", tt.layout, pool, len(keys))
				}
				continue
			}
			if len(keys) != want {
				t.Errorf("layout %d: %d streams, want %d", tt.layout, len(keys), want)
			}
		}
	}
}

func TestDomainOf(t *testing.T) {
	for jid, want := range map[string]string{
		"a.test": "a.test", "u@a.test": "a.test", "u@a.test/r": "a.test", "a.test/r": "a.test", "a.test/u@b.test": "a.test",
		"u@a.test/b@c/d": "a.test", "A.TEST.": "a.test", "u@A.Test./r": "a.test", "u@v@a.test": "v@a.test",
		"": "", "u@": "", "/r": "", "@a.test": "a.test", "@": "", ".": "", "u@a.test..": "a.test.",
	} {
		if got := domainOf(jid); got != want {
			t.Errorf("%q: %q, want %q", jid, got, want)
		}
		if got := domainOf([]byte(jid)); got != want {
			t.Errorf("%q: %q as bytes, want %q", jid, got, want)
		}
	}
}

func TestAddressed(t *testing.T) {
	tests := []struct {
		tag   string
		want  Pair
		plain bool
		bad   bool
	}{
		{tag: "<message from='u@a.test' to='b.test'>", want: Pair{"a.test", "b.test"}, plain: true},
		{tag: `<iq to="v@b.test/r" id='from' from="a.test"/>`, want: Pair{"a.test", "b.test"}, plain: true},
		{tag: "<message xmlns='jabber:server' from='a.test' to='b.test'>", want: Pair{"a.test", "b.test"}, plain: true},
		{tag: "<message xmlns='jabber:client' from='a.test' to='b.test'>", want: Pair{"a.test", "b.test"}},
		{tag: "<x:message xmlns:x='jabber:server' from='a.test' to='b.test'>", want: Pair{"a.test", "b.test"}},
		{tag: "<message x:from='c.test' from='a.test' to='b.test'>", want: Pair{"a.test", "b.test"}, plain: true},
		{tag: "<message from='u@&#97;.test' to='&#x62;.test'>", want: Pair{"a.test", "b.test"}, plain: true},
		{tag: "<message from='c.test&#47;@a.test' to='b.test'>", want: Pair{"c.test", "b.test"}, plain: true},
		{tag: "<message from='u&#64;c.test@a.test' to='b.test'>", want: Pair{"c.test@a.test", "b.test"}, plain: true},
		{tag: "<message from='a&amp;b' to='b.test'>", want: Pair{"a&b", "b.test"}, plain: true},
		{tag: "<message to='b.test'>", want: Pair{"", "b.test"}, plain: true},
		{tag: "<message from='a.test' from='a.test' to='b.test'>", bad: true},
		{tag: "<message from='a.test' to='b.test' to='c.test'>", bad: true},
		{tag: "<message from='&a;' to='b.test'>", bad: true},
	}
	for _, tt := range tests {
		got, plain, err := addressed([]byte(tt.tag))
		if (err != nil) != tt.bad || err == nil && (got != tt.want || plain != tt.plain) {
			t.Errorf("%s: %v, %v, %v", tt.tag, got, plain, err)
		}
	}
}

func TestAuthority(t *testing.T) {
	now := time.Now()
	var a Authority
	a.addPair(Pair{"a.test", "b.test"})
	a.from.add("c.test", time.Time{})
	a.from.add("soon.test", now)
	a.to.add("d.test", time.Time{})
	a.to.covers = func(domain string) bool { return domain == "e.test" }
	for p, want := range map[Pair]bool{
		{"a.test", "b.test"}: true, {"b.test", "a.test"}: false, {"a.test", "d.test"}: false, {"c.test", "b.test"}: false,
		{"c.test", "d.test"}: true, {"c.test", "e.test"}: true, {"soon.test", "d.test"}: true, {"", ""}: false, {"c.test", ""}: false,
	} {
		if got := a.Allows(p, now); got != want {
			t.Errorf("%s: %t", p, got)
		}
	}
	if later := now.Add(1); a.Allows(Pair{"soon.test", "d.test"}, later) || a.speaks("soon.test", later) || !a.Allows(Pair{"c.test", "d.test"}, later) {
		t.Error("a name is admitted as long as it was said, and no longer")
	}
	for domain, want := range map[string]bool{"a.test": true, "c.test": true, "soon.test": true, "b.test": false, "": false} {
		if got := a.speaks(domain, now); got != want {
			t.Errorf("%s speaks: %t", domain, got)
		}
	}
	for domain, want := range map[string]bool{"b.test": true, "d.test": true, "a.test": false} {
		if got := a.reaches(domain); got != want {
			t.Errorf("%s is reached: %t", domain, got)
		}
	}
	if nothing := (Authority{}); nothing.Allows(Pair{}, now) || nothing.speaks("", now) || !nothing.from.empty() || a.from.empty() {
		t.Error("authority of nothing admits something")
	}
}
