package provision

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/xmppbench/xmppbench/internal/population"
)

// prosody writes the files of Prosody's storage "internal": Lua tables, one file
// for each account and store. Prosody reads them at login, so it may run.
type prosody struct {
	data  string
	owner owner
	hash  scram
}

// marker is the field of an account's file that holds the run that made it.
// Prosody keeps fields it does not know.
const marker = "xmppbench"

func (p prosody) describe() (method, place string) {
	place, err := filepath.Abs(p.data)
	if err != nil {
		place = p.data
	}
	return "data files of Prosody in " + place, place
}

func (p prosody) batch() (accounts, items int) { return 256, 1 << 20 }

// root opens the data directory. Nothing in it, not even a symbolic link of
// another user, can lead a write out of it.
func (p prosody) root() (*os.Root, error) {
	r, err := os.OpenRoot(p.data)
	if err != nil {
		return nil, fmt.Errorf("provision: Prosody's data directory: %w", err)
	}
	return r, nil
}

func (p prosody) existing(ctx context.Context, accounts []member) (found []string, err error) {
	r, err := p.root()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, m := range accounts {
		a := m.account()
		for _, kind := range []string{"accounts", "roster"} {
			switch _, err := r.Lstat(prosodyPath(a, kind)); {
			case err == nil:
				found = append(found, a.JID())
			case !errors.Is(err, fs.ErrNotExist):
				return nil, fmt.Errorf("provision: %s: %w", a.JID(), err)
			default:
				continue
			}
			break
		}
		if len(found) == 5 {
			break
		}
	}
	return found, ctx.Err()
}

func (p prosody) create(ctx context.Context, run string, accounts []member) (done []member, made []string, err error) {
	r, err := p.root()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for n, m := range accounts {
		if err := ctx.Err(); err != nil {
			return accounts[:n], made, err
		}
		a := m.account()
		for _, kind := range []string{"accounts", "roster"} {
			dirs, err := p.makeDirs(r, path.Dir(prosodyPath(a, kind)))
			made = append(made, dirs...)
			if err != nil {
				return accounts[:n], made, fmt.Errorf("provision: %s: %w", a.JID(), err)
			}
		}
		text, err := p.account(a, run)
		if err != nil {
			return accounts[:n], made, err
		}
		err = p.write(r, prosodyPath(a, "accounts"), func(w printer) { w.write(text) })
		if err != nil {
			return accounts[:n], made, fmt.Errorf("provision: account of %s: %w", a.JID(), err)
		}
		// From here on the account exists and is ours, roster or not.
		err = p.write(r, prosodyPath(a, "roster"), func(w printer) { writeProsodyRoster(w, m) })
		if err != nil {
			return accounts[:n+1], made, fmt.Errorf("provision: roster of %s: %w", a.JID(), err)
		}
	}
	return accounts, made, nil
}

// makeDirs makes dir and the one above it where they are missing and returns
// those that were.
func (p prosody) makeDirs(r *os.Root, dir string) (made []string, err error) {
	for _, d := range []string{path.Dir(dir), dir} {
		err := r.Mkdir(d, 0o750)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return made, err
		}
		made = append(made, filepath.Join(r.Name(), d))
		f, err := r.Open(d)
		if err != nil {
			return made, err
		}
		if err := errors.Join(p.owner.take(f), f.Close()); err != nil {
			return made, err
		}
	}
	return made, nil
}

// write makes a file that must not exist yet.
func (p prosody) write(r *os.Root, name string, content func(printer)) error {
	f, err := r.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	w := newPrinter(f)
	content(w)
	if err := errors.Join(w.flush(), p.owner.take(f), f.Close()); err != nil {
		// Half an account would count as one that exists already, and be nobody's.
		return errors.Join(err, r.Remove(name))
	}
	return nil
}

// remove deletes the files of all stores that an account has, as Prosody does
// when it deletes a user.
func (p prosody) remove(ctx context.Context, run string, jids []string) (done []string, err error) {
	r, err := p.root()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	stores := make(map[string][]string)
	for _, jid := range jids {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		local, domain, _ := strings.Cut(jid, "@")
		a := population.Account{Local: local, Domain: domain}
		host := path.Dir(path.Dir(prosodyPath(a, "accounts")))
		if _, ok := stores[host]; !ok {
			if stores[host], err = subdirs(r, host); err != nil {
				return done, fmt.Errorf("provision: %s: %w", domain, err)
			}
		}
		if err := checkMarker(r, a, run); err != nil {
			return done, err
		}
		// The account's own file goes last: as long as it is there the removal
		// can be repeated.
		for _, kind := range append(stores[host], "accounts") {
			for _, ext := range []string{".list", ".lidx", ".dat"} {
				name := strings.TrimSuffix(prosodyPath(a, kind), ".dat") + ext
				if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return done, fmt.Errorf("provision: remove %s: %w", jid, err)
				}
			}
		}
		done = append(done, jid)
	}
	return done, nil
}

// subdirs returns the stores of a host, other than its accounts.
func subdirs(r *os.Root, host string) (stores []string, err error) {
	f, err := r.Open(host)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entries, err := f.ReadDir(-1)
	stores = []string{}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "accounts" {
			stores = append(stores, e.Name())
		}
	}
	return stores, err
}

// checkMarker makes sure that the account, if there, is the one that run made
// and not a later one of the same name.
func checkMarker(r *os.Root, a population.Account, run string) error {
	f, err := r.Open(prosodyPath(a, "accounts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("provision: %s: %w", a.JID(), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("provision: %s: %w", a.JID(), err)
	}
	if !strings.Contains(string(text), `["`+marker+`"] = "`+run+`"`) {
		return fmt.Errorf("provision: %s is no longer the account that run %s created: it is left alone", a.JID(), run)
	}
	return nil
}

// prosodyPath returns the file of an account in a store, inside the data
// directory.
func prosodyPath(a population.Account, kind string) string {
	return prosodyName(a.Domain) + "/" + kind + "/" + prosodyName(a.Local) + ".dat"
}

// prosodyName encodes what stands for a file name in Prosody: all bytes but
// ASCII letters and digits as %xx.
func prosodyName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// account returns the text of an account's file.
func (p prosody) account(a population.Account, run string) ([]byte, error) {
	text := []byte("return {\n")
	field := func(name, value string) {
		text = append(text, "\t[\""+name+"\"] = "...)
		text = append(appendLua(text, value), ";\n"...)
	}
	if p.hash.name == "" {
		field("password", a.Password)
	} else {
		keys, err := p.hash.keys(a)
		if err != nil {
			return nil, err
		}
		// Prosody feeds the salt to PBKDF2 as it stands.
		field("salt", string(keys.salt))
		field("stored_key", hex.EncodeToString(keys.stored))
		field("server_key", hex.EncodeToString(keys.server))
		text = fmt.Appendf(text, "\t[\"iteration_count\"] = %d;\n", p.hash.iterations)
	}
	field(marker, run)
	return append(text, "};\n"...), nil
}

func writeProsodyRoster(w printer, m member) {
	w.put("return {\n\t[false] = {\n\t\t[\"version\"] = 1;\n\t\t[\"pending\"] = {};\n\t};\n")
	for it := range m.items() {
		line := append(w.space(), "\t["...)
		line = appendLua(line, it.JID)
		line = append(line, "] = {\n\t\t[\"subscription\"] = "...)
		line = appendLua(line, it.Subscription)
		if it.Ask {
			line = append(line, ";\n\t\t[\"ask\"] = \"subscribe\""...)
		}
		if it.Name != "" {
			line = append(line, ";\n\t\t[\"name\"] = "...)
			line = appendLua(line, it.Name)
		}
		line = append(line, ";\n\t\t[\"groups\"] = {"...)
		for _, g := range it.Groups {
			line = append(line, " ["...)
			line = appendLua(line, g)
			line = append(line, "] = true;"...)
		}
		line = append(line, " };\n\t};\n"...)
		w.write(line)
	}
	w.put("};\n")
}

// appendLua appends s as a Lua string literal. Any bytes are allowed.
func appendLua(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
