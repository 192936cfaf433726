package provision

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xmppbench/xmppbench/internal/population"
)

// Accounts names the accounts of a target: by a pattern, by a CSV file, or by an
// environment variable with text in the form of such a file. Its keys are those
// of the accounts section of a target file.
type Accounts struct {
	// Pattern, First and Count make accounts as in population.Config. Password
	// is that of all of them; left empty, passwords are derived.
	Pattern  string `yaml:"pattern"`
	First    int    `yaml:"first"`
	Count    int    `yaml:"count"`
	Password Secret `yaml:"password"`
	// CSV is a file with the lines "jid,password".
	CSV string `yaml:"csv"`
	// Env is an environment variable that holds such lines.
	Env string `yaml:"env"`
}

// Source is a sequence of accounts; *population.Population is one as well.
type Source interface {
	// Accounts returns how many there are.
	Accounts() int
	// Account returns the i-th, from 0.
	Account(i int) population.Account
}

// List is a Source that holds its accounts.
type List []population.Account

// Accounts returns the length of the list.
func (l List) Accounts() int { return len(l) }

// Account returns account i of the list.
func (l List) Account(i int) population.Account { return l[i] }

// Open returns the accounts. base completes a pattern: its seed, domains,
// contacts and secret are used, and its Accounts where Count is 0. For listed
// accounts its domains, if any, are those that are accepted.
func (a Accounts) Open(base population.Config) (Source, error) {
	ways := slices.DeleteFunc([]string{a.Pattern, a.CSV, a.Env}, func(s string) bool { return s == "" })
	if len(ways) > 1 {
		return nil, errors.New("provision: accounts: give one of pattern, csv and env, not several")
	}
	switch {
	case a.CSV != "" || a.Env != "":
		if a.Password != (Secret{}) || a.Count != 0 || a.First != 0 {
			return nil, errors.New("provision: accounts: password, count and first go with a pattern: in a list every account has its own line")
		}
		if a.Env != "" {
			text, err := Secret{Env: a.Env}.Resolve()
			if err != nil {
				return nil, err
			}
			return ReadCSV(strings.NewReader(text), "$"+a.Env, base.Domains)
		}
		f, err := os.Open(a.CSV)
		if err != nil {
			return nil, fmt.Errorf("provision: accounts: %w", err)
		}
		l, err := ReadCSV(f, a.CSV, base.Domains)
		return l, errors.Join(err, f.Close())
	}
	base.Pattern, base.First = a.Pattern, a.First
	if a.Count != 0 {
		base.Accounts = a.Count
	}
	if a.Password != (Secret{}) {
		var err error
		if base.Password, err = a.Password.Resolve(); err != nil {
			return nil, err
		}
	}
	p, err := population.New(base)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Secret says where a secret is to be found, never the secret itself.
type Secret struct {
	// Env is the name of an environment variable.
	Env string `yaml:"env"`
	// File is a file whose content, without the line end, is the secret.
	File string `yaml:"file"`
}

// Resolve returns the secret, which is never empty.
func (s Secret) Resolve() (string, error) {
	switch {
	case s.Env != "" && s.File != "":
		return "", errors.New("provision: secret: give env or file, not both")
	case s.Env != "":
		v := os.Getenv(s.Env)
		if v == "" {
			return "", fmt.Errorf("provision: the environment variable %s is not set: it is to hold a secret", s.Env)
		}
		return v, nil
	case s.File != "":
		text, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("provision: secret: %w", err)
		}
		v := strings.TrimRight(string(text), "\r\n")
		if v == "" {
			return "", fmt.Errorf("provision: the file %s is empty: it is to hold a secret", s.File)
		}
		return v, nil
	}
	return "", errors.New("provision: secret: name its environment variable (env) or file (file)")
}

// maxListed bounds the accounts of a list, which is held in memory.
const maxListed = 5_000_000

// ReadCSV reads accounts, a bare JID and a password in each line, in the quoting
// of RFC 4180. A first line "jid,password", empty lines and lines that begin
// with # are passed over. Errors begin with name and the number of the line. If
// domains are given, accounts elsewhere are refused.
func ReadCSV(r io.Reader, name string, domains []string) (List, error) {
	c := csv.NewReader(r)
	c.Comment = '#'
	c.FieldsPerRecord = -1
	c.ReuseRecord = true
	var list List
	lines := make(map[string]int)
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var bad *csv.ParseError
			if errors.As(err, &bad) {
				return nil, fmt.Errorf("provision: %s:%d: %w", name, bad.Line, bad.Err)
			}
			return nil, fmt.Errorf("provision: %s: %w", name, err)
		}
		line, _ := c.FieldPos(0)
		if len(record) == 2 && len(list) == 0 && record[0] == "jid" && record[1] == "password" {
			continue
		}
		a, err := checkAccount(record, domains)
		if err != nil {
			return nil, fmt.Errorf("provision: %s:%d: %w", name, line, err)
		}
		if first, twice := lines[a.JID()]; twice {
			return nil, fmt.Errorf("provision: %s:%d: %s stands already in line %d", name, line, a.JID(), first)
		}
		if len(list) == maxListed {
			return nil, fmt.Errorf("provision: %s:%d: more than %d accounts: use a pattern", name, line, maxListed)
		}
		lines[a.JID()] = line
		list = append(list, a)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("provision: %s: no accounts: want lines with jid,password", name)
	}
	return list, nil
}

func checkAccount(record []string, domains []string) (population.Account, error) {
	if len(record) != 2 {
		return population.Account{}, fmt.Errorf("%d fields: want jid,password; a comma in a password needs quotes around it", len(record))
	}
	jid, password := strings.Clone(record[0]), strings.Clone(record[1])
	local, domain, ok := strings.Cut(jid, "@")
	switch {
	case !utf8.ValidString(jid + password):
		return population.Account{}, errors.New("not in UTF-8")
	case !ok || local == "" || domain == "":
		return population.Account{}, fmt.Errorf("%q is no account: want user@domain", jid)
	case strings.ContainsAny(jid, "/ \t\r\n<>\"&':") || strings.Contains(domain, "@") || strings.ContainsFunc(jid, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return population.Account{}, fmt.Errorf("%q is no bare JID: want user@domain without resource, spaces and the characters of RFC 7622 §3.3.1", jid)
	case len(local) > 1023 || len(domain) > 1023:
		return population.Account{}, fmt.Errorf("a JID of %d bytes: each part may have 1023", len(jid))
	case password == "":
		return population.Account{}, fmt.Errorf("%s has no password", jid)
	case strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return population.Account{}, fmt.Errorf("the password of %s has control characters, which SASL forbids (RFC 4013)", jid)
	case len(domains) > 0 && !slices.Contains(domains, domain):
		return population.Account{}, fmt.Errorf("%s is not at a domain of the target (%s)", jid, strings.Join(domains, ", "))
	}
	return population.Account{Local: local, Domain: domain, Password: password}, nil
}
