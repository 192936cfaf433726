package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xmppbench/xmppbench/internal/population"
)

// export writes a file in the portable format of XEP-0227, for the operator of
// any server to import.
type export struct {
	path  string
	owner owner
}

func (e export) describe() (method, place string) {
	place, err := filepath.Abs(e.path)
	if err != nil {
		place = e.path
	}
	return "a XEP-0227 file to import, " + place, place
}

// batch asks for everything at once: the file is either whole or not there.
func (e export) batch() (accounts, items int) { return 1 << 40, 1 << 40 }

func (e export) existing(context.Context, []member) ([]string, error) {
	if _, err := os.Lstat(e.path); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("provision: %s is there already and is not written over", e.path), err)
	}
	return nil, nil
}

func (e export) create(ctx context.Context, _ string, accounts []member) (done []member, made []string, err error) {
	f, err := os.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("provision: export: %w", err)
	}
	err = errors.Join(writeXEP0227(ctx, f, accounts), e.owner.take(f), f.Close())
	if err != nil {
		return nil, nil, fmt.Errorf("provision: export to %s: %w", e.path, errors.Join(err, os.Remove(e.path)))
	}
	return accounts, nil, nil
}

// remove deletes the file. What was imported from it is the server's.
func (e export) remove(_ context.Context, _ string, jids []string) (done []string, err error) {
	if err := os.Remove(e.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("provision: %w", err)
	}
	return jids, nil
}

// writeXEP0227 writes accounts with their rosters as one XEP-0227 document, with
// passwords in clear, streaming: memory use does not grow with the rosters.
func writeXEP0227(ctx context.Context, w io.Writer, accounts []member) error {
	b := newPrinter(w)
	b.put("<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='urn:xmpp:pie:0'>\n")
	for domain, local := range byDomain(accounts) {
		b.put("<host jid='" + escapeXML(domain) + "'>\n")
		for _, m := range local {
			if err := ctx.Err(); err != nil {
				return err
			}
			a := m.account()
			b.put("<user name='" + escapeXML(a.Local) + "' password='" + escapeXML(a.Password) + "'>\n<query xmlns='jabber:iq:roster'>\n")
			for it := range m.items() {
				b.write(append(population.AppendItem(b.space(), it), '\n'))
			}
			b.put("</query>\n</user>\n")
		}
		b.put("</host>\n")
	}
	b.put("</server-data>\n")
	return b.flush()
}

// byDomain groups accounts by domain, in order of the domains' names.
func byDomain(accounts []member) iter.Seq2[string, []member] {
	groups := make(map[string][]member)
	for _, m := range accounts {
		d := m.account().Domain
		groups[d] = append(groups[d], m)
	}
	var domains []string
	for d := range groups {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	return func(yield func(string, []member) bool) {
		for _, d := range domains {
			if !yield(d, groups[d]) {
				return
			}
		}
	}
}

func escapeXML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", "\t", "&#9;", "\n", "&#10;", "\r", "&#13;").Replace(s)
}
