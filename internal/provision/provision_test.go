package provision_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

// TestMain lets this binary stand in for sqlite3 and ejabberdctl, which the
// tests of this package must do without.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "sqlite3":
		os.Exit(fakeSQLite(os.Args[1:]))
	case "ejabberdctl":
		os.Exit(fakeCtl(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// fakeSQLite appends what it is told to the file "script" beside the database,
// and answers as a database with ejabberd's tables and the accounts of the file
// "users" would.
func fakeSQLite(args []string) int {
	dir := filepath.Dir(args[len(args)-1])
	in, _ := io.ReadAll(os.Stdin)
	script, err := os.OpenFile(filepath.Join(dir, "script"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	script.Write(append(in, "----\n"...))
	script.Close()
	fmt.Println("5000")
	switch {
	case strings.Contains(string(in), "pragma_table_info('users')"):
		columns, _ := os.ReadFile(filepath.Join(dir, "columns"))
		os.Stdout.Write(columns)
	case strings.Contains(string(in), "sqlite_master"):
		fmt.Print("users\nrosterusers\nrostergroups\nlast\n")
	case strings.Contains(string(in), "SELECT DISTINCT"):
		users, _ := os.ReadFile(filepath.Join(dir, "users"))
		os.Stdout.Write(users)
	case strings.Contains(string(in), "BEGIN"):
		if text, err := os.ReadFile(filepath.Join(dir, "fail")); err == nil {
			os.Stderr.Write(text)
			return 1
		}
	}
	return 0
}

// fakeCtl answers for a server whose accounts are the lines of the file in its
// first argument.
func fakeCtl(args []string) int {
	state, command, args := args[0], args[1], args[2:]
	users, _ := os.ReadFile(state)
	switch command {
	case "registered_users":
		for line := range strings.Lines(string(users)) {
			if local, domain, _ := strings.Cut(strings.TrimSpace(line), "@"); domain == args[0] {
				fmt.Println(local)
			}
		}
	case "import_piefxis":
		imported, err := readXEP0227(args[0])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.WriteFile(state, append(users, strings.Join(imported, "\n")+"\n"...), 0o600)
	case "unregister":
		os.WriteFile(state, []byte(strings.Replace(string(users), args[0]+"@"+args[1]+"\n", "", 1)), 0o600)
	default:
		fmt.Fprintln(os.Stderr, "unknown command", command)
		return 1
	}
	return 0
}

// readXEP0227 returns the accounts of a document.
func readXEP0227(path string) (jids []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Hosts []struct {
			JID   string `xml:"jid,attr"`
			Users []struct {
				Name string `xml:"name,attr"`
			} `xml:"user"`
		} `xml:"urn:xmpp:pie:0 host"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	for _, h := range doc.Hosts {
		for _, u := range h.Users {
			jids = append(jids, u.Name+"@"+h.JID)
		}
	}
	return jids, nil
}

// standIn makes a command of this binary and returns its path.
func standIn(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The race detector would have each of them sleep a second at its end.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func people(t *testing.T, cfg population.Config) *population.Population {
	t.Helper()
	if cfg.Domains == nil {
		cfg.Domains = []string{"a-1.test"}
	}
	p, err := population.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func apply(t *testing.T, spec provision.Spec, pops ...*population.Population) error {
	t.Helper()
	plan, err := provision.NewPlan(spec, pops...)
	if err != nil {
		t.Fatal(err)
	}
	last := provision.Progress{}
	err = plan.Apply(t.Context(), func(p provision.Progress) {
		if p.Accounts <= last.Accounts || p.TotalAccounts != plan.Accounts || p.TotalItems != plan.Items {
			t.Errorf("progress goes from %+v to %+v of %d accounts, %d items", last, p, plan.Accounts, plan.Items)
		}
		last = p
	})
	if err == nil && (last.Accounts != plan.Accounts || last.Items != plan.Items) {
		t.Errorf("progress ends at %+v of %d accounts, %d items", last, plan.Accounts, plan.Items)
	}
	return err
}

// files returns the text of all files below dir by their relative names;
// directories have names that end in a slash.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			all[name+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(path)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func prosodySpec(t *testing.T) provision.Spec {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	return provision.Spec{Server: "prosody", Data: data, Ledger: filepath.Join(dir, "ledger.jsonl")}
}

func TestProsodyFiles(t *testing.T) {
	spec := prosodySpec(t)
	if err := apply(t, spec, people(t, population.Config{Seed: 1, Accounts: 2, Contacts: 12, Pattern: "u.{i}", Password: `p"\ä'`})); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	all := files(t, spec.Data)
	run := regexp.MustCompile(`(\["xmppbench"\] = )"[a-z2-7]{10}"`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "== %s\n%s", name, run.ReplaceAllString(all[name], `$1"RUN"`))
	}
	golden.File(t, filepath.Join("testdata", "prosody.txt"), []byte(b.String()))
}

func TestProsodyKeys(t *testing.T) {
	spec := prosodySpec(t)
	spec.Hash, spec.Iterations = "SHA-256", 3
	if err := apply(t, spec, people(t, population.Config{Accounts: 1, Password: "pencil"})); err != nil {
		t.Fatal(err)
	}
	text := files(t, spec.Data)["a%2d1%2etest/accounts/u0000000.dat"]
	if strings.Contains(text, "pencil") || !strings.Contains(text, `["iteration_count"] = 3;`) {
		t.Errorf("account:\n%s", text)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Error(err)
	}
}

func TestProsodyTeardownLeavesWhatIsForeign(t *testing.T) {
	spec := prosodySpec(t)
	host := filepath.Join(spec.Data, "a%2d1%2etest")
	write(t, filepath.Join(host, "accounts", "alice.dat"), "return {};")
	before := files(t, spec.Data)
	if err := apply(t, spec, people(t, population.Config{Accounts: 300, Contacts: 3, Domains: []string{"a-1.test", "b.test"}})); err != nil {
		t.Fatal(err)
	}
	// Prosody has written for our accounts and for others meanwhile.
	write(t, filepath.Join(host, "offline", "u0000002.list"), "item({})")
	write(t, filepath.Join(host, "vcard", "u0000002.dat"), "return {};")
	write(t, filepath.Join(host, "vcard", "alice.dat"), "return {};")
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	before["a%2d1%2etest/vcard/"] = ""
	before["a%2d1%2etest/vcard/alice.dat"] = "return {};"
	before["a%2d1%2etest/offline/"] = ""
	if diff := cmp.Diff(before, files(t, spec.Data)); diff != "" {
		t.Errorf("after the teardown (-want +got):\n%s", diff)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err == nil || !strings.Contains(err.Error(), "nothing to tear down") {
		t.Errorf("second teardown: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestExistingAccountIsRefused(t *testing.T) {
	for _, store := range []string{"accounts", "roster"} {
		spec := prosodySpec(t)
		write(t, filepath.Join(spec.Data, "a%2d1%2etest", store, "u0000290.dat"), "theirs")
		before := files(t, spec.Data)
		err := apply(t, spec, people(t, population.Config{Accounts: 300}))
		var exists *provision.ExistsError
		if !errors.As(err, &exists) || !slices.Equal(exists.JIDs, []string{"u0000290@a-1.test"}) || exists.Run != "" {
			t.Errorf("%s: error %v does not name the account", store, err)
		}
		if diff := cmp.Diff(before, files(t, spec.Data)); diff != "" {
			t.Errorf("%s: a refused plan changed something:\n%s", store, diff)
		}
	}
}

func TestApplyTwiceIsRefused(t *testing.T) {
	spec := prosodySpec(t)
	p := people(t, population.Config{Accounts: 3})
	if err := apply(t, spec, p); err != nil {
		t.Fatal(err)
	}
	var exists *provision.ExistsError
	if err := apply(t, spec, p); !errors.As(err, &exists) || exists.Run == "" {
		t.Errorf("second time: %v", err)
	}
	// What is new may join, and goes with the rest.
	if err := apply(t, spec, people(t, population.Config{Accounts: 3, First: 3})); err != nil {
		t.Error(err)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Error(err)
	}
	if left := files(t, spec.Data); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestTeardownRefusesReplacedAccount(t *testing.T) {
	spec := prosodySpec(t)
	if err := apply(t, spec, people(t, population.Config{Accounts: 3, Contacts: 2})); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(spec.Data, "a%2d1%2etest", "accounts", "u0000001.dat")
	if err := os.WriteFile(theirs, []byte(`return { ["password"] = "x"; };`), 0o644); err != nil {
		t.Fatal(err)
	}
	err := provision.Teardown(t.Context(), spec, nil)
	if err == nil || !strings.Contains(err.Error(), "u0000001@a-1.test is no longer the account") {
		t.Fatalf("teardown: %v", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}

func TestTeardownRefusesForeignLedger(t *testing.T) {
	spec := prosodySpec(t)
	if err := apply(t, spec, people(t, population.Config{Accounts: 3})); err != nil {
		t.Fatal(err)
	}
	other := prosodySpec(t)
	other.Ledger = spec.Ledger
	if err := provision.Teardown(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), "it belongs to") {
		t.Errorf("teardown: %v", err)
	}
}

func TestInterruptedApplyCanBeTornDown(t *testing.T) {
	spec := prosodySpec(t)
	plan, err := provision.NewPlan(spec, people(t, population.Config{Accounts: 2000, Contacts: 2}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = plan.Apply(ctx, func(p provision.Progress) {
		if p.Accounts > 600 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "of 2000 accounts") {
		t.Fatalf("apply: %v", err)
	}
	// The process died while it wrote a line.
	l, err := os.OpenFile(spec.Ledger, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WriteString(`{"run":"x","creating":["u00`); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	if left := files(t, spec.Data); len(left) > 0 {
		t.Errorf("left over: %d files", len(left))
	}
}

func TestLedgerErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"not JSON":    {"{\"version\":1,\"server\":\"prosody\",\"place\":\"$\"}\nnonsense\n", "line 2"},
		"unknown key": {"{\"version\":1,\"what\":1}\n", "line 1"},
		"version":     {"{\"version\":9}\n", "version 9"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := prosodySpec(t)
			text := strings.Replace(c.text, "$", spec.Data, 1)
			write(t, spec.Ledger, text)
			if err := provision.Teardown(t.Context(), spec, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
			if got, _ := os.ReadFile(spec.Ledger); string(got) != text {
				t.Errorf("the ledger was changed to %q", got)
			}
		})
	}
}

func TestLedgerIsLocked(t *testing.T) {
	spec := prosodySpec(t)
	p := people(t, population.Config{Accounts: 300})
	plan, err := provision.NewPlan(spec, p)
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := plan.Apply(t.Context(), func(provision.Progress) { inner = provision.Teardown(t.Context(), spec, nil) }); err != nil {
		t.Fatal(err)
	}
	if inner == nil || !strings.Contains(inner.Error(), "in use by another process") {
		t.Errorf("teardown during apply: %v", inner)
	}
}

func TestSeveralRosterSizes(t *testing.T) {
	spec := prosodySpec(t)
	size := func(pattern string, n int) *population.Population {
		return people(t, population.Config{Accounts: 3, Contacts: n, Pattern: pattern})
	}
	if err := apply(t, spec, size("r{n}.u{i}", 2), size("r{n}.u{i}", 20)); err != nil {
		t.Error(err)
	}
	if _, err := provision.NewPlan(spec, size("u{i}", 2), size("u{i}", 20)); err == nil || !strings.Contains(err.Error(), "{n}") {
		t.Errorf("equal names: %v", err)
	}
}

func sqliteSpec(t *testing.T) (spec provision.Spec, dir string) {
	dir = t.TempDir()
	t.Setenv("PATH", filepath.Dir(standIn(t, "sqlite3")))
	write(t, filepath.Join(dir, "columns"), "username\npassword\n")
	write(t, filepath.Join(dir, "a-1.test.db"), "")
	return provision.Spec{Server: "ejabberd", Database: filepath.Join(dir, "{domain}.db"), Ledger: filepath.Join(dir, "ledger.jsonl")}, dir
}

func TestSQLiteScript(t *testing.T) {
	spec, dir := sqliteSpec(t)
	spec.Schema = filepath.Join(dir, "lite.sql")
	write(t, spec.Schema, "CREATE TABLE users (username text);\n")
	if err := os.Remove(filepath.Join(dir, "a-1.test.db")); err != nil {
		t.Fatal(err)
	}
	if err := apply(t, spec, people(t, population.Config{Seed: 1, Accounts: 2, Contacts: 12, Password: "it's"})); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a-1.test.db"), "")
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "script"))
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("testdata", "ejabberd.sql"), text)
}

func TestSQLiteErrors(t *testing.T) {
	p := people(t, population.Config{Accounts: 2})
	t.Run("account exists", func(t *testing.T) {
		spec, dir := sqliteSpec(t)
		write(t, filepath.Join(dir, "users"), "u0000001\n")
		var exists *provision.ExistsError
		if err := apply(t, spec, p); !errors.As(err, &exists) || exists.JIDs[0] != "u0000001@a-1.test" {
			t.Errorf("error %v", err)
		}
	})
	for name, c := range map[string]struct {
		change func(t *testing.T, spec *provision.Spec, dir string)
		want   string
	}{
		"no database":    {func(t *testing.T, s *provision.Spec, dir string) { os.Remove(filepath.Join(dir, "a-1.test.db")) }, "give the schema"},
		"other database": {func(t *testing.T, s *provision.Spec, dir string) { write(t, filepath.Join(dir, "columns"), "") }, "no table users"},
		"new schema": {func(t *testing.T, s *provision.Spec, dir string) {
			write(t, filepath.Join(dir, "columns"), "username\nserver_host\n")
		}, "new_sql_schema"},
		"sqlite fails":  {func(t *testing.T, s *provision.Spec, dir string) { write(t, filepath.Join(dir, "fail"), "disk full") }, "disk full (0 of 2 accounts"},
		"no sqlite":     {func(t *testing.T, s *provision.Spec, dir string) { t.Setenv("PATH", dir) }, "sqlite3"},
		"two, one file": {func(t *testing.T, s *provision.Spec, dir string) { s.Database = filepath.Join(dir, "a-1.test.db") }, "{domain}"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, dir := sqliteSpec(t)
			write(t, filepath.Join(dir, "b.test.db"), "")
			c.change(t, &spec, dir)
			cfg := population.Config{Accounts: 2}
			if name == "two, one file" {
				cfg.Domains = []string{"a-1.test", "b.test"}
			}
			if err := apply(t, spec, people(t, cfg)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestEjabberdCtl(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	write(t, state, "alice@a-1.test\nu0000001@b.test\n")
	spec := provision.Spec{Server: "ejabberd", Ctl: standIn(t, "ejabberdctl") + " " + state, Ledger: filepath.Join(dir, "ledger.jsonl")}
	if err := apply(t, spec, people(t, population.Config{Accounts: 4, Contacts: 3, Settled: true})); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(state)
	if want := "alice@a-1.test\nu0000001@b.test\nu0000000@a-1.test\nu0000001@a-1.test\nu0000002@a-1.test\nu0000003@a-1.test\n"; string(got) != want {
		t.Errorf("accounts %q, want %q", got, want)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(state); string(got) != "alice@a-1.test\nu0000001@b.test\n" {
		t.Errorf("after the teardown: %q", got)
	}
	var exists *provision.ExistsError
	if err := apply(t, spec, people(t, population.Config{Accounts: 4, Domains: []string{"b.test"}})); !errors.As(err, &exists) || exists.JIDs[0] != "u0000001@b.test" {
		t.Errorf("existing account: %v", err)
	}
}

// apiServer is ejabberd's mod_http_api for the three commands that are used.
type apiServer struct {
	mu       sync.Mutex
	accounts []string
	failing  bool
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var args map[string]string
	if err := json.NewDecoder(r.Body).Decode(&args); err != nil || r.Method != http.MethodPost {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	switch r.URL.Path {
	case "/api/registered_users":
		users := []string{}
		for _, a := range s.accounts {
			if local, domain, _ := strings.Cut(a, "@"); domain == args["host"] {
				users = append(users, local)
			}
		}
		json.NewEncoder(w).Encode(users)
	case "/api/import_piefxis":
		imported, err := readXEP0227(args["file"])
		if s.failing {
			imported, err = imported[:len(imported)/2], errors.New("import_failed")
		}
		s.accounts = append(s.accounts, imported...)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case "/api/unregister":
		s.accounts = slices.DeleteFunc(s.accounts, func(a string) bool { return a == args["user"]+"@"+args["host"] })
	default:
		http.NotFound(w, r)
	}
}

func TestEjabberdAPI(t *testing.T) {
	s := &apiServer{accounts: []string{"alice@a-1.test"}}
	server := httptest.NewServer(s)
	defer server.Close()
	spec := provision.Spec{Server: "ejabberd", API: server.URL + "/api", Ledger: filepath.Join(t.TempDir(), "ledger.jsonl")}
	two := population.Config{Accounts: 10, Contacts: 3, Settled: true, Domains: []string{"a-1.test", "b.test"}}
	if err := apply(t, spec, people(t, two)); err != nil {
		t.Fatal(err)
	}
	if len(s.accounts) != 11 {
		t.Errorf("accounts: %v", s.accounts)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.accounts, []string{"alice@a-1.test"}) {
		t.Errorf("after the teardown: %v", s.accounts)
	}

	// An import that fails half way leaves accounts; the ledger must know them.
	s.failing = true
	if err := apply(t, spec, people(t, two)); err == nil || !strings.Contains(err.Error(), "(5 of 10 accounts were created)") {
		t.Fatalf("failing import: %v", err)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.accounts, []string{"alice@a-1.test"}) {
		t.Errorf("after the second teardown: %v", s.accounts)
	}
}

func TestExport(t *testing.T) {
	dir := t.TempDir()
	spec := provision.Spec{Server: "other", Export: filepath.Join(dir, "accounts.xml"), Ledger: filepath.Join(dir, "ledger.jsonl")}
	p := people(t, population.Config{Seed: 1, Accounts: 4, Contacts: 10, Domains: []string{"b.test", "a-1.test"}, Password: "it's <&>"})
	if err := apply(t, spec, p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(spec.Export)
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, filepath.Join("testdata", "xep0227.xml"), text)
	if jids, err := readXEP0227(spec.Export); err != nil || len(jids) != 4 {
		t.Errorf("the document holds %v, %v", jids, err)
	}
	if err := provision.Teardown(t.Context(), spec, nil); err != nil {
		t.Fatal(err)
	}
	write(t, spec.Export, "theirs")
	if err := apply(t, spec, p); err == nil || !strings.Contains(err.Error(), "not written over") {
		t.Errorf("existing file: %v", err)
	}
	if got, _ := os.ReadFile(spec.Export); string(got) != "theirs" {
		t.Error("the file was written over")
	}
}

// TestExportHoldsTheRoster reads the document with an independent reader and
// compares it with what a client is to expect.
func TestExportHoldsTheRoster(t *testing.T) {
	p := people(t, population.Config{Seed: 4, Accounts: 2, Contacts: 500, ItemBytes: 130})
	dir := t.TempDir()
	spec := provision.Spec{Server: "other", Export: filepath.Join(dir, "accounts.xml"), Ledger: filepath.Join(dir, "ledger.jsonl")}
	if err := apply(t, spec, p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(spec.Export)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Users []struct {
			Items []struct {
				JID          string   `xml:"jid,attr"`
				Name         string   `xml:"name,attr"`
				Subscription string   `xml:"subscription,attr"`
				Ask          string   `xml:"ask,attr"`
				Groups       []string `xml:"group"`
			} `xml:"jabber:iq:roster query>item"`
		} `xml:"host>user"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Users) != p.Accounts() {
		t.Fatalf("the document holds %d accounts of %d", len(doc.Users), p.Accounts())
	}
	for i, u := range doc.Users {
		var d population.Digest
		for _, it := range u.Items {
			d.Add(population.Item{JID: it.JID, Name: it.Name, Subscription: it.Subscription, Ask: it.Ask == "subscribe", Groups: it.Groups})
		}
		if want := p.Expected(i); !d.Equal(want) {
			t.Errorf("roster %d is %s, want %s", i, d, want)
		}
	}
}

func TestNewPlanRefuses(t *testing.T) {
	p := people(t, population.Config{Accounts: 2})
	for name, c := range map[string]struct {
		spec provision.Spec
		want string
	}{
		"no ledger":     {provision.Spec{Server: "prosody", Data: "x"}, "no ledger"},
		"kind":          {provision.Spec{Server: "openfire", Ledger: "l"}, `"openfire"`},
		"prosody data":  {provision.Spec{Server: "prosody", Ledger: "l"}, "data is missing"},
		"hash":          {provision.Spec{Server: "prosody", Ledger: "l", Data: "x", Hash: "MD5"}, "SHA-1 or SHA-256"},
		"iterations":    {provision.Spec{Server: "prosody", Ledger: "l", Data: "x", Iterations: 1}, "go with hash"},
		"no iterations": {provision.Spec{Server: "prosody", Ledger: "l", Data: "x", Hash: "SHA-1", Iterations: -1}, "want 1 to"},
		"hash, import":  {provision.Spec{Server: "ejabberd", Ledger: "l", Ctl: "c", Hash: "SHA-1"}, `"hash" has no meaning`},
		"prosody ctl":   {provision.Spec{Server: "prosody", Ledger: "l", Data: "x", Ctl: "prosodyctl"}, `"ctl" has no meaning`},
		"ejabberd none": {provision.Spec{Server: "ejabberd", Ledger: "l"}, "database"},
		"ejabberd data": {provision.Spec{Server: "ejabberd", Ledger: "l", Ctl: "c", Data: "x"}, `"data" has no meaning`},
		"other":         {provision.Spec{Server: "other", Ledger: "l"}, "export is missing"},
		"owner":         {provision.Spec{Server: "prosody", Ledger: "l", Data: "x", Owner: "no-such-user"}, "no-such-user"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := provision.NewPlan(c.spec, p); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
	umlaut := people(t, population.Config{Accounts: 2, Password: "ä"})
	if _, err := provision.NewPlan(provision.Spec{Server: "prosody", Data: "x", Ledger: "l", Hash: "SHA-1"}, umlaut); err == nil || !strings.Contains(err.Error(), "ASCII") {
		t.Errorf("a password that needs SASLprep: %v", err)
	}
	pending := people(t, population.Config{Accounts: 2, Contacts: 1})
	if _, err := provision.NewPlan(provision.Spec{Server: "ejabberd", Ctl: "c", Ledger: "l"}, pending); err == nil || !strings.Contains(err.Error(), "settled") {
		t.Errorf("requests that would be lost: %v", err)
	}
	if _, err := provision.NewPlan(provision.Spec{Server: "prosody", Data: "x", Ledger: "l"}); err == nil {
		t.Error("a plan for nobody is accepted")
	}
}
