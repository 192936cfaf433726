package population

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// Config says what a population looks like. Domains and Accounts are required.
type Config struct {
	// Seed decides everything random.
	Seed uint64 `json:"seed"`
	// Domains host the accounts: account i lives at Domains[i mod len(Domains)].
	Domains []string `json:"domains"`
	// Pattern is the local part of an account. It holds {i} once, the number of
	// the account, or {i:07}, the number padded with zeros to 7 digits; {n}, if
	// present, stands for Contacts, so that populations with rosters of
	// different size can live side by side on one server. Left empty it is
	// "u{i:07}". With {i:07} numbers and keys have the same order; with {i} each
	// access to an item costs about a microsecond more, because u10 sorts before
	// u9.
	Pattern string `json:"pattern,omitempty"`
	// First is the number of account 0.
	First int `json:"first,omitempty"`
	// Accounts is the number of accounts that exist on the server.
	Accounts int `json:"accounts"`
	// Contacts is the number of items in every roster. Where it is not smaller
	// than Accounts the population has members beyond the accounts: contacts
	// that nobody ever logs in as.
	Contacts int `json:"contacts"`
	// ItemBytes, if above zero, is the exact length of every item as written by
	// AppendItem. Names are cut or lengthened, and groups dropped, to make it so.
	ItemBytes int `json:"item-bytes,omitempty"`
	// Settled leaves subscription requests that wait for an answer out, for
	// servers that cannot be told of them: items are "none" without ask.
	Settled bool `json:"settled,omitempty"`
	// Password, if not empty, is the password of every account.
	Password string `json:"password,omitempty"`
	// Secret is mixed into the passwords that are derived when Password is
	// empty. Without it anybody who knows the seed knows the passwords.
	Secret string `json:"secret,omitempty"`
}

// maxItemBytes bounds Config.ItemBytes: the longer an item is, the more of it is
// a made-up name, and servers may refuse long names (RFC 6121 §2.3.3).
const maxItemBytes = 16 << 10

// Population is a set of members, the first of which are accounts. It does not
// change once made and may be used by any number of goroutines.
type Population struct {
	cfg     Config
	numbers numbering
	graph   graph
	words   words
	key     [sha256.Size]byte
}

// Account is one member of a population.
type Account struct {
	// Local and Domain are the two parts of the bare JID.
	Local, Domain string
	// Password is what the account logs in with.
	Password string
}

// JID returns the bare JID of the account.
func (a Account) JID() string { return a.Local + "@" + a.Domain }

// New checks cfg and returns the population it describes. The error says which
// setting is wrong, why, and what would do.
func New(cfg Config) (*Population, error) {
	if cfg.Pattern == "" {
		cfg.Pattern = "u{i:07}"
	}
	if len(cfg.Domains) == 0 {
		return nil, fmt.Errorf("population: no domain given: accounts need at least one")
	}
	for n, d := range cfg.Domains {
		if err := checkDomain(d); err != nil {
			return nil, fmt.Errorf("population: domain %d of %d: %w", n+1, len(cfg.Domains), err)
		}
	}
	switch {
	case cfg.Accounts < 1:
		return nil, fmt.Errorf("population: %d accounts: at least 1 is needed", cfg.Accounts)
	case cfg.Contacts < 0:
		return nil, fmt.Errorf("population: %d contacts: a roster cannot have fewer than 0", cfg.Contacts)
	case cfg.First < 0:
		return nil, fmt.Errorf("population: first number %d: it cannot be negative", cfg.First)
	case strings.ContainsFunc(cfg.Password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, fmt.Errorf("population: the password has control characters, which SASL forbids (RFC 4013)")
	case cfg.Accounts > maxMembers || cfg.Contacts >= maxMembers || cfg.First > maxMembers:
		return nil, fmt.Errorf("population: %d accounts numbered from %d with %d contacts: the limit of each is %d",
			cfg.Accounts, cfg.First, cfg.Contacts, maxMembers)
	}
	members := max(cfg.Accounts, cfg.Contacts+1)
	if members%2 == 1 && cfg.Contacts%2 == 1 {
		members++ // no graph has an odd number of vertices of odd degree
	}
	numbers, err := newNumbering(cfg.Pattern, cfg.Contacts, cfg.First, members)
	if err != nil {
		return nil, err
	}
	p := &Population{
		cfg:     cfg,
		numbers: numbers,
		graph:   newGraph(cfg.Seed, members, cfg.Contacts),
		words:   newWords(),
	}
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], cfg.Seed)
	p.key = sha256.Sum256(append(seed[:], cfg.Secret...))

	longest := 0
	for _, d := range cfg.Domains {
		longest = max(longest, p.numbers.maxLen()+1+len(d))
	}
	if least := len(emptyItem) + longest + 1; cfg.ItemBytes != 0 && cfg.Contacts > 0 {
		switch {
		case cfg.ItemBytes < least:
			return nil, fmt.Errorf("population: items of %d bytes are too small: with JIDs of up to %d bytes they need %d; raise the item size or shorten pattern and domains",
				cfg.ItemBytes, longest, least)
		case cfg.ItemBytes > maxItemBytes:
			return nil, fmt.Errorf("population: items of %d bytes are too large: the limit is %d", cfg.ItemBytes, maxItemBytes)
		}
	}
	return p, nil
}

// emptyItem is the longest item there can be that has neither JID nor name.
const emptyItem = "<item jid='' name='' subscription='none' ask='subscribe'/>"

// Config returns the configuration with its defaults filled in.
func (p *Population) Config() Config { return p.cfg }

// Accounts returns the number of accounts, the members 0 to Accounts-1.
func (p *Population) Accounts() int { return p.cfg.Accounts }

// Members returns the number of JIDs there are: the accounts, and the contacts
// that have no account.
func (p *Population) Members() int { return p.graph.members }

// Account returns member i, for i from 0 to Members()-1. It panics outside.
func (p *Population) Account(i int) Account {
	n := p.number(i)
	return Account{
		Local:    string(p.numbers.append(nil, n)),
		Domain:   p.domain(i),
		Password: p.password(i),
	}
}

// JID returns the bare JID of member i.
func (p *Population) JID(i int) string {
	p.number(i)
	return string(p.appendJID(make([]byte, 0, 64), i))
}

// Index returns the member whose bare JID is jid, and whether there is one. The
// JID is compared byte by byte: normalise it first.
func (p *Population) Index(jid string) (i int, ok bool) {
	local, domain, ok := strings.Cut(jid, "@")
	if !ok {
		return 0, false
	}
	n, ok := p.numbers.parse(local)
	if !ok || p.domain(n-p.cfg.First) != domain {
		return 0, false
	}
	return n - p.cfg.First, true
}

func (p *Population) number(i int) int {
	if i < 0 || i >= p.graph.members {
		panic(fmt.Sprintf("population: member %d of %d", i, p.graph.members))
	}
	return p.cfg.First + i
}

func (p *Population) domain(i int) string { return p.cfg.Domains[i%len(p.cfg.Domains)] }

func (p *Population) appendJID(dst []byte, i int) []byte {
	dst = p.numbers.append(dst, p.cfg.First+i)
	dst = append(dst, '@')
	return append(dst, p.domain(i)...)
}

// password derives 132 bits, in letters, digits, "-" and "_" so that no file
// format and no command line needs to quote them.
func (p *Population) password(i int) string {
	if p.cfg.Password != "" {
		return p.cfg.Password
	}
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write(p.appendJID(nil, i))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))[:22]
}

// checkDomain accepts what needs no normalisation, so that keys compare by
// bytes: lower-case ASCII names, and bracketed or dotted addresses.
func checkDomain(d string) error {
	if d == "" {
		return fmt.Errorf("empty name")
	}
	for _, c := range []byte(d) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte(".-_:[]", c) >= 0:
		case c >= 'A' && c <= 'Z':
			return fmt.Errorf("%q has capital letters: write it in small ones", d)
		default:
			return fmt.Errorf("%q has the character %q: use letters, digits, dots and hyphens, and the xn-- form of other scripts", d, c)
		}
	}
	return nil
}
