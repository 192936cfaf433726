package population_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
)

func TestDigestIgnoresOrder(t *testing.T) {
	p := mustNew(t, population.Config{Domains: []string{"a.test"}, Accounts: 1000, Contacts: 100})
	items := slices.Collect(p.Items(3))
	var backwards population.Digest
	for _, it := range slices.Backward(items) {
		it.Groups = slices.Clone(it.Groups)
		slices.Reverse(it.Groups)
		groups := make([][]byte, len(it.Groups))
		for n, g := range it.Groups {
			groups[n] = []byte(g)
		}
		backwards.AddBytes([]byte(it.JID), []byte(it.Name), []byte(it.Subscription), it.Ask, groups)
	}
	want := p.Expected(3)
	if !backwards.Equal(want) || backwards.Count() != 100 {
		t.Errorf("backwards %s, forwards %s", backwards, want)
	}
	if other := p.Expected(4); other.Equal(want) {
		t.Error("two rosters have the same digest")
	}
}

func TestDigestSeesEveryPart(t *testing.T) {
	base := population.Item{JID: "a@x", Name: "N", Subscription: "both", Groups: []string{"g", "h"}}
	sum := func(items ...population.Item) population.Digest {
		var d population.Digest
		for _, it := range items {
			d.Add(it)
		}
		return d
	}
	change := func(f func(*population.Item)) population.Digest {
		it := base
		f(&it)
		return sum(it)
	}
	seen := map[population.Digest]string{sum(): "empty", sum(base): "base", sum(base, base): "twice"}
	for name, d := range map[string]population.Digest{
		"jid":               change(func(it *population.Item) { it.JID = "b@x" }),
		"name":              change(func(it *population.Item) { it.Name = "M" }),
		"no name":           change(func(it *population.Item) { it.Name = "" }),
		"shifted":           change(func(it *population.Item) { it.JID, it.Name = "a@xN", "" }),
		"subscription":      change(func(it *population.Item) { it.Subscription = "to" }),
		"ask":               change(func(it *population.Item) { it.Ask = true }),
		"group gone":        change(func(it *population.Item) { it.Groups = []string{"g"} }),
		"groups joined":     change(func(it *population.Item) { it.Groups = []string{"gh"} }),
		"group twice":       change(func(it *population.Item) { it.Groups = []string{"g", "h", "h"} }),
		"group moved":       sum(base, population.Item{JID: "b@x"}),
		"group moved there": sum(population.Item{JID: "b@x", Groups: []string{"h"}}, population.Item{JID: "a@x", Name: "N", Subscription: "both", Groups: []string{"g"}}),
	} {
		if with, dup := seen[d]; dup {
			t.Errorf("%s has the digest of %s", name, with)
		}
		seen[d] = name
	}
	if change(func(it *population.Item) { it.Subscription = "" }) != change(func(it *population.Item) { it.Subscription = "none" }) {
		t.Error("an absent subscription is not none")
	}
}

func TestDigestRemove(t *testing.T) {
	p := mustNew(t, population.Config{Domains: []string{"a.test"}, Accounts: 50, Contacts: 20})
	d := p.Expected(1)
	gone := p.Item(1, 7)
	d.Remove(gone)
	if d.Equal(p.Expected(1)) || d.Count() != 19 {
		t.Error("nothing was removed")
	}
	d.Add(gone)
	if !d.Equal(p.Expected(1)) {
		t.Error("removing and adding an item is not neutral")
	}
}

func TestParseDigest(t *testing.T) {
	p := mustNew(t, population.Config{Domains: []string{"a.test"}, Accounts: 50, Contacts: 20})
	d := p.Expected(0)
	if got, err := population.ParseDigest(d.String()); err != nil || got != d {
		t.Errorf("%s reads as %s, %v", d, got, err)
	}
	for _, bad := range []string{"", "1", "1:2", "x:" + strings.Repeat("0", 32), "1:" + strings.Repeat("g", 32), "1:" + strings.Repeat("0", 31) + "g"} {
		if d, err := population.ParseDigest(bad); err == nil {
			t.Errorf("%q reads as %s", bad, d)
		}
	}
}

func TestDigestAllocatesNothing(t *testing.T) {
	p := mustNew(t, population.Config{Domains: []string{"a.test"}, Accounts: 50, Contacts: 20})
	var d population.Digest
	it := p.Item(0, 1)
	jid, name, subscription := []byte(it.JID), []byte(it.Name), []byte(it.Subscription)
	groups := [][]byte{[]byte("Work"), []byte("Family")}
	if n := testing.AllocsPerRun(100, func() { d.AddBytes(jid, name, subscription, true, groups) }); n != 0 {
		t.Errorf("AddBytes: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { d.Add(it) }); n != 0 {
		t.Errorf("Add: %v allocations", n)
	}
}

func BenchmarkDigest(b *testing.B) {
	var d population.Digest
	jid, name, both := []byte("u0000001@a.test"), []byte("Someone Somewhere"), []byte("both")
	groups := [][]byte{[]byte("Work")}
	for b.Loop() {
		d.AddBytes(jid, name, both, false, groups)
	}
}
