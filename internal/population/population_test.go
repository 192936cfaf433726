package population_test

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/population"
)

func mustNew(t testing.TB, cfg population.Config) *population.Population {
	t.Helper()
	p, err := population.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shapes are populations of every kind that the graph and the numbering treat
// differently.
func shapes() map[string]population.Config {
	two := []string{"a1.test", "a2.test"}
	return map[string]population.Config{
		"one account":           {Domains: two, Accounts: 1, Contacts: 12},
		"odd degree":            {Domains: two, Accounts: 40, Contacts: 7},
		"odd degree, odd count": {Domains: two, Accounts: 41, Contacts: 7},
		"complete, odd":         {Domains: two, Accounts: 10, Contacts: 9},
		"complete, even":        {Domains: two, Accounts: 11, Contacts: 10},
		"single contact":        {Domains: two, Accounts: 9, Contacts: 1},
		"no contacts":           {Domains: two, Accounts: 5},
		"sparse":                {Seed: 9, Domains: two, Accounts: 150, Contacts: 14},
		"plain numbers":         {Domains: two, Accounts: 130, Contacts: 20, Pattern: "u{i}"},
		"plain, from 7":         {Domains: two, Accounts: 113, Contacts: 11, Pattern: "u{i}", First: 7},
		"plain, letter behind":  {Domains: two, Accounts: 120, Contacts: 10, Pattern: "u{i}x"},
		"plain, hyphen behind":  {Domains: two, Accounts: 120, Contacts: 10, Pattern: "u{i}-x", First: 95},
		"both ends of pattern":  {Domains: two, Accounts: 12, Contacts: 10, Pattern: "r{n}.u{i:03}.x"},
	}
}

func TestGraphIsSymmetricAndSorted(t *testing.T) {
	for name, cfg := range shapes() {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, cfg)
			rosters := make(map[string]map[string]population.Item)
			for i := range p.Members() {
				owner := p.JID(i)
				rosters[owner] = make(map[string]population.Item)
				var jids []string
				for it := range p.Items(i) {
					if diff := cmp.Diff(it, p.Item(i, len(jids))); diff != "" {
						t.Fatalf("Items and Item differ at %d: %s", len(jids), diff)
					}
					jids = append(jids, it.JID)
					rosters[owner][it.JID] = it
				}
				if len(jids) != cfg.Contacts || len(jids) != p.Len(i) {
					t.Fatalf("%s has %d items, Len says %d, want %d", owner, len(jids), p.Len(i), cfg.Contacts)
				}
				if !slices.IsSorted(jids) || len(slices.Compact(jids)) != len(jids) {
					t.Fatalf("%s: keys are not in byte order or not distinct: %q", owner, jids)
				}
			}
			mirror := map[string]string{"both": "both", "to": "from", "from": "to", "none": "none"}
			for owner, roster := range rosters {
				for peer, it := range roster {
					back, ok := rosters[peer][owner]
					if !ok {
						t.Fatalf("%s has %s, but not the other way round", owner, peer)
					}
					if back.Subscription != mirror[it.Subscription] {
						t.Errorf("%s -> %s is %q, back is %q", owner, peer, it.Subscription, back.Subscription)
					}
					if it.Ask && (back.Ask || it.Subscription != "none") {
						t.Errorf("%s -> %s: ask with %q, other end asks %v", owner, peer, it.Subscription, back.Ask)
					}
				}
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	for name, cfg := range shapes() {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, cfg)
			seen := make(map[string]bool)
			for i := range p.Members() {
				a := p.Account(i)
				if a.JID() != p.JID(i) {
					t.Errorf("member %d is %s and %s", i, a.JID(), p.JID(i))
				}
				if got, ok := p.Index(a.JID()); !ok || got != i {
					t.Errorf("Index(%s) = %d, %v, want %d", a.JID(), got, ok, i)
				}
				if a.Domain != cfg.Domains[i%len(cfg.Domains)] {
					t.Errorf("member %d lives at %s", i, a.Domain)
				}
				if seen[a.Password] || len(a.Password) != 22 {
					t.Errorf("member %d has the password %q", i, a.Password)
				}
				seen[a.Password] = true
			}
			for _, foreign := range []string{"", "@", "u", "u0000001", "u0000001@b.test", "u1@a1.test/x", "u-1@a1.test", "u99999999@a1.test", "x" + p.JID(0)} {
				if i, ok := p.Index(foreign); ok {
					t.Errorf("Index(%q) = %d", foreign, i)
				}
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	base := population.Config{Domains: []string{"a.test"}, Accounts: 2}
	derived := mustNew(t, base).Account(0).Password
	secret, shared, seeded := base, base, base
	secret.Secret, shared.Password, seeded.Seed = "s", "all alike", 1
	if got := mustNew(t, secret).Account(0).Password; got == derived {
		t.Error("the secret does not change the password")
	}
	if got := mustNew(t, seeded).Account(0).Password; got == derived {
		t.Error("the seed does not change the password")
	}
	if p := mustNew(t, shared); p.Account(0).Password != "all alike" || p.Account(1).Password != "all alike" {
		t.Error("the shared password is not used")
	}
}

func TestSearch(t *testing.T) {
	for name, cfg := range shapes() {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, cfg)
			for i := range min(p.Members(), 10) {
				var jids []string
				for it := range p.Items(i) {
					jids = append(jids, it.JID)
				}
				probes := []string{"", "u", "u5", "zzz"}
				for m := range p.Members() {
					probes = append(probes, p.JID(m), p.JID(m)+"x")
				}
				for _, probe := range probes {
					n, found := p.Search(i, probe)
					wantN, wantFound := slices.BinarySearch(jids, probe)
					if n != wantN || found != wantFound {
						t.Fatalf("Search(%d, %q) = %d, %v, want %d, %v", i, probe, n, found, wantN, wantFound)
					}
				}
			}
		})
	}
}

func TestItemBytes(t *testing.T) {
	base := population.Config{Domains: []string{"a1.test", "longer.example"}, Accounts: 3000, Contacts: 300}
	longest := len("u0000000@longer.example")
	least := len("<item jid='' name='x' subscription='none' ask='subscribe'/>") + longest
	for _, size := range []int{least, least + 1, 100, 120, 150, 333, 2000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			cfg := base
			cfg.ItemBytes = size
			p := mustNew(t, cfg)
			for i := range 5 {
				for it := range p.Items(i) {
					text := string(population.AppendItem(nil, it))
					if len(text) != size {
						t.Fatalf("%d bytes, want %d: %s", len(text), size, text)
					}
					if !utf8.ValidString(text) {
						t.Fatalf("a character was cut: %q", text)
					}
					if it.Name == "" || it.Name != strings.TrimSpace(it.Name) {
						t.Fatalf("name %q is empty or ends in a space", it.Name)
					}
				}
			}
		})
	}
	base.ItemBytes = least - 1
	if _, err := population.New(base); err == nil || !strings.Contains(err.Error(), fmt.Sprint(least)) {
		t.Errorf("items of %d bytes: error %v does not name the least size %d", base.ItemBytes, err, least)
	}
}

// A reader gets back what was written, whatever a client may put into an item.
func TestAppendItemIsReadBack(t *testing.T) {
	want := population.Item{JID: "o'hara@a.test", Name: "a<b> & 'c' \"d\"\te\r\nf", Subscription: "none", Groups: []string{"g\r\n\t<&>"}}
	var got struct {
		JID          string   `xml:"jid,attr"`
		Name         string   `xml:"name,attr"`
		Subscription string   `xml:"subscription,attr"`
		Groups       []string `xml:"group"`
	}
	text := population.AppendItem(nil, want)
	if err := xml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	item := population.Item{JID: got.JID, Name: got.Name, Subscription: got.Subscription, Groups: got.Groups}
	if diff := cmp.Diff(want, item); diff != "" {
		t.Errorf("%s (-want +got):\n%s", text, diff)
	}
	if strings.ContainsAny(string(text), "\t\r\n") {
		t.Errorf("%q: a parser of attributes makes spaces of these", text)
	}
}

func TestNewRefuses(t *testing.T) {
	good := population.Config{Domains: []string{"a.test"}, Accounts: 100, Contacts: 10}
	for name, c := range map[string]struct {
		change func(*population.Config)
		want   string
	}{
		"no domain":         {func(c *population.Config) { c.Domains = nil }, "no domain"},
		"empty domain":      {func(c *population.Config) { c.Domains = []string{"a.test", ""} }, "domain 2 of 2: empty"},
		"capital domain":    {func(c *population.Config) { c.Domains = []string{"A.test"} }, "small ones"},
		"domain with space": {func(c *population.Config) { c.Domains = []string{"a test"} }, "' '"},
		"no accounts":       {func(c *population.Config) { c.Accounts = 0 }, "at least 1"},
		"negative contacts": {func(c *population.Config) { c.Contacts = -1 }, "fewer than 0"},
		"negative first":    {func(c *population.Config) { c.First = -1 }, "negative"},
		"password":          {func(c *population.Config) { c.Password = "a\nb" }, "control characters"},
		"too many":          {func(c *population.Config) { c.Accounts = 1 << 31 }, "limit"},
		"no number":         {func(c *population.Config) { c.Pattern = "user" }, "no {i}"},
		"open brace":        {func(c *population.Config) { c.Pattern = "u{i" }, "no {i}"},
		"bad width":         {func(c *population.Config) { c.Pattern = "u{i:7}" }, "{i:07}"},
		"width 0":           {func(c *population.Config) { c.Pattern = "u{i:00}" }, "{i:07}"},
		"narrow":            {func(c *population.Config) { c.Pattern = "u{i:01}" }, "{i:02}"},
		"capital":           {func(c *population.Config) { c.Pattern = "U{i}" }, "RFC 7622"},
		"at sign":           {func(c *population.Config) { c.Pattern = "u{i}@a" }, "RFC 7622"},
		"two numbers":       {func(c *population.Config) { c.Pattern = "u{i}{i}" }, "RFC 7622"},
		"digit behind":      {func(c *population.Config) { c.Pattern = "u{i}7" }, "ambiguous"},
		"small items":       {func(c *population.Config) { c.ItemBytes = 20 }, "too small"},
		"huge items":        {func(c *population.Config) { c.ItemBytes = 1 << 20 }, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			_, err := population.New(cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestMixOfItems(t *testing.T) {
	p := mustNew(t, population.Config{Seed: 3, Domains: []string{"a.test"}, Accounts: 20_000, Contacts: 10_000})
	count := make(map[string]int)
	for it := range p.Items(17) {
		count[it.Subscription]++
		count[fmt.Sprintf("%d groups", len(it.Groups))]++
		if it.Ask {
			count["ask"]++
		}
		if strings.ContainsAny(it.Name, `&<'"`) {
			count["escaped"]++
		}
		for _, r := range it.Name {
			if r > 0x250 {
				count["other script"]++
				break
			}
		}
	}
	for _, c := range []struct {
		what     string
		min, max int
	}{
		{"both", 8600, 9000}, {"to", 250, 450}, {"from", 250, 450}, {"none", 350, 650}, {"ask", 80, 250},
		{"0 groups", 2800, 3200}, {"1 groups", 4700, 5300}, {"2 groups", 1800, 2200},
		{"escaped", 400, 900}, {"other script", 3000, 5000},
	} {
		if n := count[c.what]; n < c.min || n > c.max {
			t.Errorf("%s: %d of 10000 items, want %d to %d", c.what, n, c.min, c.max)
		}
	}
}

func TestSettled(t *testing.T) {
	cfg := population.Config{Seed: 3, Domains: []string{"a.test"}, Accounts: 2000, Contacts: 1000}
	pending := slices.Collect(mustNew(t, cfg).Items(1))
	cfg.Settled = true
	settled := slices.Collect(mustNew(t, cfg).Items(1))
	if !slices.ContainsFunc(pending, func(it population.Item) bool { return it.Ask }) {
		t.Fatal("nobody has asked")
	}
	for n := range pending {
		pending[n].Ask = false
	}
	if diff := cmp.Diff(pending, settled); diff != "" {
		t.Errorf("a settled roster differs in more than ask (-pending +settled):\n%s", diff)
	}
}

// TestGolden holds the functions behind a population still: a change of the
// golden file is a new Version.
func TestGolden(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "version %d\n", population.Version)
	for _, cfg := range []population.Config{
		{Seed: 1, Domains: []string{"a1.test", "a2.test"}, Accounts: 1000, Contacts: 20},
		{Seed: 2, Domains: []string{"a1.test"}, Accounts: 50, Contacts: 12, ItemBytes: 110, Pattern: "u{i}"},
	} {
		p := mustNew(t, cfg)
		fmt.Fprintf(&b, "\n%s %s %s\n", p.JID(11), p.Account(11).Password, p.Expected(11))
		for it := range p.Items(11) {
			b.Write(append(population.AppendItem(nil, it), '\n'))
		}
	}
	s := population.Sizes{Seed: 1, Median: 80, Sigma: 1}
	fmt.Fprintln(&b)
	for n := range uint64(10) {
		fmt.Fprintf(&b, "%d %s\n", s.At(n), s.AppendBody(nil, n))
	}
	golden.File(t, filepath.Join("testdata", "population.txt"), []byte(b.String()))
}

func TestMillionAccountsCostNothing(t *testing.T) {
	size := func(accounts, contacts int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p := mustNew(t, population.Config{Domains: []string{"a.test"}, Accounts: accounts, Contacts: contacts})
		if it := p.Item(accounts-1, contacts-1); it.JID == "" {
			t.Fatal("empty item")
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := size(10, 5), size(1_000_000, 100_000)
	if large > small+4096 {
		t.Errorf("a million accounts took %d bytes, ten took %d", large, small)
	}
}

func FuzzNumbering(f *testing.F) {
	f.Add("u{i}", uint16(0), uint16(12), uint16(3))
	f.Add("u{i}-", uint16(95), uint16(20), uint16(4))
	f.Add("{i:05}x", uint16(7), uint16(300), uint16(11))
	f.Add("r{n}u{i}z", uint16(999), uint16(3), uint16(2))
	f.Fuzz(func(t *testing.T, pattern string, first, accounts, contacts uint16) {
		p, err := population.New(population.Config{
			Pattern: pattern, First: int(first), Accounts: int(accounts%2000) + 1, Contacts: int(contacts % 50),
			Domains: []string{"a.test", "b.test", "c.test"},
		})
		if err != nil {
			return
		}
		last := ""
		for it := range p.Items(0) {
			i, ok := p.Index(it.JID)
			if !ok || p.JID(i) != it.JID {
				t.Fatalf("%q has no index", it.JID)
			}
			if it.JID <= last {
				t.Fatalf("%q after %q", it.JID, last)
			}
			last = it.JID
			if n, found := p.Search(i, p.JID(0)); !found || p.Item(i, n).JID != p.JID(0) {
				t.Fatalf("%q does not have %q", it.JID, p.JID(0))
			}
		}
	})
}

func BenchmarkItem(b *testing.B) {
	for _, pattern := range []string{"u{i:07}", "u{i}"} {
		b.Run(pattern, func(b *testing.B) {
			p := mustNew(b, population.Config{Domains: []string{"a.test"}, Accounts: 1_000_000, Contacts: 10_000, ItemBytes: 120, Pattern: pattern})
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				p.Item(5, n%10_000)
				n++
			}
		})
	}
}
