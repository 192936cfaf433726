package provision

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/xmppbench/xmppbench/internal/population"
)

// sqlite writes ejabberd's tables users, rosterusers and rostergroups (its
// default schema, without server_host) through the sqlite3 command.
type sqlite struct {
	database string
	schema   string
	owner    owner
	hash     scram
}

// rowsPerInsert keeps statements well below SQLite's limits.
const rowsPerInsert = 200

func (s sqlite) describe() (method, place string) {
	place, err := filepath.Abs(s.database)
	if err != nil {
		place = s.database
	}
	return "SQLite database of ejabberd, " + place, place
}

func (s sqlite) batch() (accounts, items int) { return 2000, 200_000 }

func (s sqlite) path(domain string) string {
	return strings.ReplaceAll(s.database, "{domain}", domain)
}

func (s sqlite) existing(ctx context.Context, accounts []member) ([]string, error) {
	var found []string
	domains := 0
	for domain, local := range byDomain(accounts) {
		if domains++; domains > 1 && !strings.Contains(s.database, "{domain}") {
			return nil, fmt.Errorf("provision: %s is one database, the accounts are at several domains: put {domain} into its name, or provision one domain", s.database)
		}
		if err := s.prepare(ctx, domain); err != nil {
			return nil, err
		}
		out, err := s.sql(ctx, domain, func(w printer) {
			w.put("CREATE TEMP TABLE wanted (username text PRIMARY KEY);\n")
			insert(w, "wanted(username)", func(row func(...string)) {
				for _, m := range local {
					row(m.account().Local)
				}
			})
			for _, table := range []string{"users", "rosterusers"} {
				w.put(fmt.Sprintf("SELECT DISTINCT username FROM %s JOIN wanted USING (username) LIMIT 5;\n", table))
			}
		})
		if err != nil {
			return nil, err
		}
		for name := range strings.Lines(out) {
			found = append(found, strings.TrimSuffix(name, "\n")+"@"+domain)
		}
	}
	return found, nil
}

// prepare makes the tables if the database does not exist, and refuses a
// database of another form.
func (s sqlite) prepare(ctx context.Context, domain string) error {
	if _, err := os.Stat(s.path(domain)); errors.Is(err, os.ErrNotExist) {
		if s.schema == "" {
			return fmt.Errorf("provision: there is no database %s: start ejabberd once, or give the schema to make it with (lite.sql of ejabberd)", s.path(domain))
		}
		schema, err := os.ReadFile(s.schema)
		if err != nil {
			return fmt.Errorf("provision: schema: %w", err)
		}
		if _, err := s.sql(ctx, domain, func(w printer) { w.write(schema) }); err != nil {
			return err
		}
	}
	out, err := s.sql(ctx, domain, func(w printer) {
		w.put("SELECT name FROM pragma_table_info('users');\n")
	})
	switch columns := strings.Fields(out); {
	case err != nil:
		return err
	case len(columns) == 0:
		return fmt.Errorf("provision: %s has no table users: it is not a database of ejabberd", s.path(domain))
	case strings.Contains(out, "server_host"):
		return fmt.Errorf("provision: %s has the schema for several hosts (new_sql_schema), which is not supported: use one database for each host, or ctl", s.path(domain))
	}
	return nil
}

func (s sqlite) create(ctx context.Context, _ string, accounts []member) (done []member, made []string, err error) {
	for domain, local := range byDomain(accounts) {
		users, err := s.users(local)
		if err != nil {
			return done, nil, err
		}
		// All of a domain or nothing: one transaction.
		_, err = s.sql(ctx, domain, func(w printer) {
			w.put("BEGIN IMMEDIATE;\n")
			insert(w, "users(username,password,serverkey,salt,iterationcount)", func(row func(...string)) {
				for _, u := range users {
					row(u...)
				}
			})
			insert(w, "rosterusers(username,jid,nick,subscription,ask,askmessage,server,subscribe,type)", func(row func(...string)) {
				for _, m := range local {
					name := m.account().Local
					for it := range m.items() {
						subscription, ask := ejabberdState(it)
						row(name, it.JID, it.Name, subscription, ask, "", "N", "", "item")
					}
				}
			})
			insert(w, "rostergroups(username,jid,grp)", func(row func(...string)) {
				for _, m := range local {
					name := m.account().Local
					for it := range m.items() {
						for _, g := range it.Groups {
							row(name, it.JID, g)
						}
					}
				}
			})
			w.put("COMMIT;\n")
		})
		if err != nil {
			return done, nil, err
		}
		done = append(done, local...)
	}
	return done, nil, nil
}

// users returns the rows of the table users. ejabberd stores keys in Base64 and
// puts the name of the hash in front unless it is SHA-1.
func (s sqlite) users(accounts []member) ([][]string, error) {
	rows := make([][]string, len(accounts))
	for n, m := range accounts {
		a := m.account()
		if s.hash.name == "" {
			rows[n] = []string{a.Local, a.Password, "", "", "0"}
			continue
		}
		keys, err := s.hash.keys(a)
		if err != nil {
			return nil, err
		}
		prefix := ""
		if s.hash.name == "SHA-256" {
			prefix = "sha256:"
		}
		encode := base64.StdEncoding.EncodeToString
		rows[n] = []string{a.Local, prefix + encode(keys.stored), encode(keys.server), encode(keys.salt), strconv.Itoa(s.hash.iterations)}
	}
	return rows, nil
}

// ejabberdState returns the letters that ejabberd stores for a subscription and
// a pending request.
func ejabberdState(it population.Item) (subscription, ask string) {
	subscription = map[string]string{"both": "B", "to": "T", "from": "F"}[it.Subscription]
	if subscription == "" {
		subscription = "N"
	}
	if it.Ask {
		return subscription, "O"
	}
	return subscription, "N"
}

// remove deletes the accounts from every table that has their name in a column
// username.
func (s sqlite) remove(ctx context.Context, _ string, jids []string) (done []string, err error) {
	groups := make(map[string][]string)
	for _, jid := range jids {
		local, domain, _ := strings.Cut(jid, "@")
		groups[domain] = append(groups[domain], local)
	}
	for domain, local := range groups {
		if _, err := os.Stat(s.path(domain)); errors.Is(err, os.ErrNotExist) {
			done = append(done, qualify(local, domain)...)
			continue
		}
		tables, err := s.sql(ctx, domain, func(w printer) {
			w.put("SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'username';\n")
		})
		if err != nil {
			return done, err
		}
		_, err = s.sql(ctx, domain, func(w printer) {
			w.put("BEGIN IMMEDIATE;\nCREATE TEMP TABLE unwanted (username text PRIMARY KEY);\n")
			insert(w, "unwanted(username)", func(row func(...string)) {
				for _, name := range local {
					row(name)
				}
			})
			for _, table := range strings.Fields(tables) {
				w.put(fmt.Sprintf("DELETE FROM \"%s\" WHERE username IN (SELECT username FROM unwanted);\n", table))
			}
			w.put("COMMIT;\n")
		})
		if err != nil {
			return done, err
		}
		done = append(done, qualify(local, domain)...)
	}
	return done, nil
}

func qualify(local []string, domain string) []string {
	jids := make([]string, len(local))
	for n, l := range local {
		jids[n] = l + "@" + domain
	}
	return jids
}

// sql runs what script writes in one sqlite3 process, stops at the first error,
// and returns its output.
func (s sqlite) sql(ctx context.Context, domain string, script func(printer)) (string, error) {
	path, err := filepath.Abs(s.path(domain))
	if err != nil {
		return "", fmt.Errorf("provision: %w", err)
	}
	cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", "-init", os.DevNull, path) // #nosec G204 -- a database that the user names, without a shell
	cmd.Dir = filepath.Dir(path)
	s.owner.run(cmd)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", fmt.Errorf("provision: sqlite3: %w", err)
	}
	w := newPrinter(in)
	w.put("PRAGMA busy_timeout = 5000;\n")
	script(w)
	err = errors.Join(w.flush(), in.Close())
	// When sqlite3 gives up, what it says is better than the broken pipe.
	if waited := cmd.Wait(); waited != nil || problem.Len() > 0 {
		if text := strings.TrimSpace(problem.String()); text != "" {
			err = errors.New(text)
		} else {
			err = waited
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("provision: sqlite3 %s: %w", path, err)
	}
	if err != nil {
		return "", fmt.Errorf("provision: sqlite3 %s: %w", path, err)
	}
	// The pragma answers with a line of its own.
	_, answer, _ := strings.Cut(out.String(), "\n")
	return answer, nil
}

// insert writes the rows that fill calls for as INSERT statements of limited
// length.
func insert(w printer, into string, fill func(row func(...string))) {
	n := 0
	fill(func(columns ...string) {
		switch {
		case n%rowsPerInsert == 0 && n > 0:
			w.put(";\nINSERT INTO " + into + " VALUES\n")
		case n == 0:
			w.put("INSERT INTO " + into + " VALUES\n")
		default:
			w.put(",\n")
		}
		n++
		row := append(w.space(), '(')
		for i, c := range columns {
			if i > 0 {
				row = append(row, ',')
			}
			row = appendSQL(row, c)
		}
		w.write(append(row, ')'))
	})
	if n > 0 {
		w.put(";\n")
	}
}

// appendSQL appends s as an SQL literal. Text with control characters goes in
// hexadecimal: a shell that reads lines might stumble over it.
func appendSQL(dst []byte, s string) []byte {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
		return fmt.Appendf(dst, "CAST(X'%x' AS TEXT)", s)
	}
	dst = append(dst, '\'')
	for _, c := range []byte(s) {
		if c == '\'' {
			dst = append(dst, '\'')
		}
		dst = append(dst, c)
	}
	return append(dst, '\'')
}
