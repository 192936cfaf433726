package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// ejabberd creates accounts on a running server by importing XEP-0227 files, and
// removes them one by one. Single rosters of 100 000 items take it minutes;
// those belong into SQLite.
type ejabberd struct {
	commands commands
	place    string
	owner    owner
}

// commands runs administration commands of ejabberd. Arguments are pairs of name
// and value, in the order of the command's definition.
type commands interface {
	run(ctx context.Context, name string, args ...[2]string) (string, error)
}

func newEjabberd(spec Spec, who owner) ejabberd {
	if spec.API != "" {
		return ejabberd{commands: api{url: strings.TrimSuffix(spec.API, "/")}, place: spec.API, owner: who}
	}
	return ejabberd{commands: ctl{line: strings.Fields(spec.Ctl)}, place: spec.Ctl, owner: who}
}

func (e ejabberd) describe() (method, place string) {
	return "administration commands of ejabberd through " + e.place, e.place
}

func (e ejabberd) batch() (accounts, items int) { return 5000, 50_000 }

// registered returns the local parts of all accounts at a domain.
func (e ejabberd) registered(ctx context.Context, domain string) (map[string]bool, error) {
	out, err := e.commands.run(ctx, "registered_users", [2]string{"host", domain})
	if err != nil {
		return nil, err
	}
	var users []string
	if strings.HasPrefix(out, "[") {
		if err := json.Unmarshal([]byte(out), &users); err != nil {
			return nil, fmt.Errorf("provision: answer to registered_users for %s: %w", domain, err)
		}
	} else {
		users = strings.Fields(out)
	}
	is := make(map[string]bool, len(users))
	for _, u := range users {
		is[u] = true
	}
	return is, nil
}

// those returns which of the accounts are registered.
func (e ejabberd) those(ctx context.Context, accounts []member) (found []member, err error) {
	for domain, local := range byDomain(accounts) {
		is, err := e.registered(ctx, domain)
		if err != nil {
			return nil, err
		}
		for _, m := range local {
			if is[m.account().Local] {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

func (e ejabberd) existing(ctx context.Context, accounts []member) ([]string, error) {
	found, err := e.those(ctx, accounts)
	return names(found[:min(len(found), 5)]), err
}

func (e ejabberd) create(ctx context.Context, _ string, accounts []member) (done []member, made []string, err error) {
	f, err := os.CreateTemp("", "xmppbench-*.xml")
	if err != nil {
		return nil, nil, fmt.Errorf("provision: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if err := errors.Join(writeXEP0227(ctx, f, accounts), e.owner.take(f), f.Close()); err != nil {
		return nil, nil, fmt.Errorf("provision: file to import: %w", err)
	}
	if _, err := e.commands.run(ctx, "import_piefxis", [2]string{"file", f.Name()}); err != nil {
		// The import stops where it fails and leaves what it has done. Even an
		// interrupt must not keep that from the ledger.
		done, look := e.those(context.WithoutCancel(ctx), accounts)
		if look != nil {
			done = accounts
		}
		return done, nil, errors.Join(err, look)
	}
	return accounts, nil, nil
}

func (e ejabberd) remove(ctx context.Context, _ string, jids []string) (done []string, err error) {
	for _, jid := range jids {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		local, domain, _ := strings.Cut(jid, "@")
		if _, err := e.commands.run(ctx, "unregister", [2]string{"user", local}, [2]string{"host", domain}); err != nil {
			return done, err
		}
		done = append(done, jid)
	}
	return done, nil
}

// maxAnswer bounds what is read of an answer: a list of some million accounts.
const maxAnswer = 128 << 20

// ctl runs commands through ejabberdctl.
type ctl struct{ line []string }

func (c ctl) run(ctx context.Context, name string, args ...[2]string) (string, error) {
	line := append(append([]string{}, c.line...), name)
	for _, a := range args {
		line = append(line, a[1])
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...) // #nosec G204 -- a command that the user names, without a shell
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("provision: %s %s: %w: %s", c.line[0], name, err, strings.TrimSpace(problem.String()+string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// api runs commands through mod_http_api.
type api struct{ url string }

func (a api) run(ctx context.Context, name string, args ...[2]string) (text string, err error) {
	fields := make(map[string]string, len(args))
	for _, arg := range args {
		fields[arg[0]] = arg[1]
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("provision: %s: %w", name, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/"+name, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("provision: ejabberd's API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("provision: ejabberd's API: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("provision: %s: %w", req.URL, err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("provision: %s: %s: %.300s", req.URL, res.Status, answer)
	}
	return strings.TrimSpace(string(answer)), nil
}
