package provision_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

func TestReadCSV(t *testing.T) {
	got, err := provision.ReadCSV(strings.NewReader("jid,password\n# a comment\n\nu1@a.test,secret\nü@a.test,\"with, comma and \"\"quotes\"\"\"\r\n"), "f.csv", []string{"a.test"})
	want := provision.List{
		{Local: "u1", Domain: "a.test", Password: "secret"},
		{Local: "ü", Domain: "a.test", Password: `with, comma and "quotes"`},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, difference:\n%s", err, diff)
	}
}

func TestReadCSVErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":          {"", "f.csv: no accounts"},
		"header only":    {"jid,password\n", "f.csv: no accounts"},
		"one field":      {"u1@a.test,x\nu2@a.test\n", "f.csv:2: 1 fields"},
		"three fields":   {"u1@a.test,x,y\n", "f.csv:1: 3 fields"},
		"no domain":      {"u1,x\n", `f.csv:1: "u1" is no account`},
		"resource":       {"u1@a.test/r,x\n", "f.csv:1: "},
		"two at signs":   {"u1@b@a.test,x\n", "f.csv:1: "},
		"no password":    {"u1@a.test,\n", "f.csv:1: u1@a.test has no password"},
		"other domain":   {"u1@b.test,x\n", "f.csv:1: u1@b.test is not at a domain of the target (a.test)"},
		"twice":          {"u1@a.test,x\nu2@a.test,x\n\nu1@a.test,y\n", "f.csv:4: u1@a.test stands already in line 1"},
		"quote":          {"u1@a.test,x\nu2@a.test,\"x\n", "f.csv:2: "},
		"late header":    {"u1@a.test,x\njid,password\n", "f.csv:2: "},
		"line in secret": {"u1@a.test,\"x\ny\"\n", "f.csv:1: the password of u1@a.test has control"},
		"not UTF-8":      {"u1@a.test,\xff\n", "f.csv:1: not in UTF-8"},
		"long":           {strings.Repeat("u", 2000) + "@a.test,x\n", "f.csv:1: a JID of 2007 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := provision.ReadCSV(strings.NewReader(c.text), "f.csv", []string{"a.test"}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestOpenAccounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.csv")
	if err := os.WriteFile(file, []byte("u7@a.test,x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_ACCOUNTS", "u8@a.test,y")
	t.Setenv("TEST_PASSWORD", "z")
	base := population.Config{Domains: []string{"a.test"}}
	for name, c := range map[string]struct {
		accounts provision.Accounts
		count    int
		first    population.Account
	}{
		"csv":     {provision.Accounts{CSV: file}, 1, population.Account{Local: "u7", Domain: "a.test", Password: "x"}},
		"env":     {provision.Accounts{Env: "TEST_ACCOUNTS"}, 1, population.Account{Local: "u8", Domain: "a.test", Password: "y"}},
		"pattern": {provision.Accounts{Pattern: "t{i}", Count: 20, First: 5, Password: provision.Secret{Env: "TEST_PASSWORD"}}, 20, population.Account{Local: "t5", Domain: "a.test", Password: "z"}},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := c.accounts.Open(base)
			if err != nil {
				t.Fatal(err)
			}
			if got := source.Account(0); source.Accounts() != c.count || got != c.first {
				t.Errorf("%d accounts from %+v, want %d from %+v", source.Accounts(), got, c.count, c.first)
			}
		})
	}
	for name, c := range map[string]struct {
		accounts provision.Accounts
		want     string
	}{
		"two ways":         {provision.Accounts{CSV: file, Pattern: "u{i}"}, "not several"},
		"csv and password": {provision.Accounts{CSV: file, Password: provision.Secret{Env: "X"}}, "its own line"},
		"missing file":     {provision.Accounts{CSV: file + "x"}, "no such file"},
		"unset":            {provision.Accounts{Env: "TEST_NOT_SET"}, "TEST_NOT_SET is not set"},
		"no count":         {provision.Accounts{Pattern: "u{i}"}, "at least 1"},
		"no password":      {provision.Accounts{Pattern: "u{i}", Count: 1, Password: provision.Secret{Env: "TEST_NOT_SET"}}, "TEST_NOT_SET is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.accounts.Open(base); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(" s \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := file + ".empty"
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := (provision.Secret{File: file}).Resolve(); err != nil || got != " s " {
		t.Errorf("secret %q, %v", got, err)
	}
	for _, bad := range []provision.Secret{{}, {Env: "A", File: "b"}, {File: empty}, {File: file + "x"}} {
		if got, err := bad.Resolve(); err == nil {
			t.Errorf("%+v resolves to %q", bad, got)
		}
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add("jid,password\nu1@a.test,x\n")
	f.Add("u1@a.test,\"a\"\"b\"\n#\n")
	f.Add("u1@a.test,x\nu1@a.test,y")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := provision.ReadCSV(strings.NewReader(text), "f", nil)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "provision: f:") {
				t.Errorf("error %v does not say where", err)
			}
			return
		}
		seen := make(map[string]bool)
		for _, a := range list {
			if a.Local == "" || a.Domain == "" || a.Password == "" || seen[a.JID()] || strings.Count(a.JID(), "@") != 1 {
				t.Errorf("account %+v", a)
			}
			seen[a.JID()] = true
		}
	})
}
