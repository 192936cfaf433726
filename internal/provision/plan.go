package provision

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/xmppbench/xmppbench/internal/population"
)

// Spec says where accounts are to be created. Its keys are those of the
// provision section of a target file; which of them apply depends on the server.
// File names are used as they stand.
type Spec struct {
	// Server is prosody, ejabberd or other.
	Server string `yaml:"-"`
	// Ledger is the file that records what was created. It is made if missing.
	Ledger string `yaml:"ledger"`
	// Owner is the user the server runs as, who is to own what is written. Left
	// empty it is the user of this process.
	Owner string `yaml:"owner"`
	// Data is Prosody's data_path, for hosts with storage = "internal".
	Data string `yaml:"data"`
	// Hash is how Prosody's authentication = "internal_hashed" and ejabberd's
	// auth_password_format: scram in a database store passwords, SHA-1 or
	// SHA-256. Left empty, passwords are stored in clear; servers that keep keys
	// then derive them at the first login.
	Hash string `yaml:"hash"`
	// Iterations are those of Hash, 10 000 where left out. An account takes a
	// millisecond or more with them.
	Iterations int `yaml:"iterations"`
	// Database is ejabberd's SQLite file (sql_type: sqlite), one for each
	// domain: {domain} in the name stands for it. ejabberd must not run meanwhile:
	// it would not see the change behind its caches.
	Database string `yaml:"database"`
	// Schema is the SQL file that makes the tables where Database does not exist
	// yet, such as ejabberd's lite.sql.
	Schema string `yaml:"schema"`
	// Ctl is ejabberd's control command with its options, separated by spaces.
	// It needs a running ejabberd on this machine.
	Ctl string `yaml:"ctl"`
	// API is the URL of ejabberd's mod_http_api, such as
	// http://127.0.0.1:5280/api, faster than Ctl. It takes the commands
	// registered_users, import_piefxis and unregister, and reads the file to
	// import on this machine.
	API string `yaml:"api"`
	// Export is the XEP-0227 file to write for another server.
	Export string `yaml:"export"`
}

// CarriesRequests reports whether subscription requests that wait for an answer
// reach the server. ejabberd's import drops them: populations for it have to be
// settled (population.Config).
func (s Spec) CarriesRequests() bool {
	return s.Server != "ejabberd" || s.Database != ""
}

// Progress says how far Apply or Teardown has come.
type Progress struct {
	Accounts, TotalAccounts int
	// Items are roster items; Teardown does not count them.
	Items, TotalItems int
}

// ExistsError is returned by Apply when accounts exist already that it would
// have had to write over. Nothing was created for the accounts it names.
type ExistsError struct {
	// JIDs are some of the accounts, at least one.
	JIDs []string
	// Run is the run of the ledger that created them; empty if they are foreign.
	Run string
}

// Error names the accounts and what to do about them.
func (e *ExistsError) Error() string {
	names := strings.Join(e.JIDs, ", ")
	if e.Run != "" {
		return fmt.Sprintf("provision: %s already created by run %s of this ledger: tear it down first", names, e.Run)
	}
	return fmt.Sprintf("provision: accounts that exist already are never written over: %s: choose another accounts pattern, or use them as they are without provisioning", names)
}

// Plan is what is to be created and how.
type Plan struct {
	// Method describes the way in words.
	Method string
	// Accounts and Items count what is to be created.
	Accounts, Items int

	spec        Spec
	store       store
	populations []*population.Population
}

// member is one account to be created.
type member struct {
	of *population.Population
	i  int
}

func (m member) account() population.Account { return m.of.Account(m.i) }
func (m member) items() iter.Seq[population.Item] {
	return m.of.Items(m.i)
}

// store is a way to create and remove accounts.
type store interface {
	// describe returns the way in words, and the place, which identifies the
	// server's storage in the ledger.
	describe() (method, place string)
	// existing returns some of the accounts that exist already.
	existing(ctx context.Context, accounts []member) ([]string, error)
	// create makes accounts for run. It returns those it did make where it
	// fails half way. made are directories that had to be created.
	create(ctx context.Context, run string, accounts []member) (done []member, made []string, err error)
	// remove takes accounts away that run created. It returns those that it
	// removed or that were gone.
	remove(ctx context.Context, run string, jids []string) (done []string, err error)
	// batch returns how many accounts and items are done at a time, at most.
	batch() (accounts, items int)
}

// NewPlan checks spec and the populations and returns what is to be done. It
// reads nothing but the user database and touches nothing. All populations must
// have different accounts: patterns with {n} in them keep those with rosters of
// different size apart.
func NewPlan(spec Spec, populations ...*population.Population) (*Plan, error) {
	s, err := open(spec)
	if err != nil {
		return nil, err
	}
	p := &Plan{spec: spec, store: s, populations: populations}
	p.Method, _ = s.describe()
	if len(populations) == 0 {
		return nil, errors.New("provision: no accounts wanted")
	}
	seen := make(map[string]bool)
	for n, pop := range populations {
		if c := pop.Config(); c.Contacts > 0 && !c.Settled && !spec.CarriesRequests() {
			return nil, errors.New("provision: ejabberd's import drops pending subscription requests: use a settled population, or a database")
		}
		if h, _ := newScram(spec.Hash, spec.Iterations); h.check(pop.Config().Password) != nil {
			return nil, h.check(pop.Config().Password)
		}
		p.Accounts += pop.Accounts()
		for i := range pop.Accounts() {
			p.Items += pop.Len(i)
			if len(populations) == 1 {
				continue
			}
			if jid := pop.JID(i); seen[jid] {
				return nil, fmt.Errorf("provision: %s would be created twice, with %d contacts the second time: put {n} into the accounts pattern %q, which stands for the number of contacts",
					jid, populations[n].Len(i), pop.Config().Pattern)
			} else {
				seen[jid] = true
			}
		}
	}
	return p, nil
}

// open returns the store that spec describes.
func open(spec Spec) (store, error) {
	if spec.Ledger == "" {
		return nil, errors.New("provision: no ledger file: it is needed to take away later what is created")
	}
	who, err := lookupOwner(spec.Owner)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{"data": spec.Data, "hash": spec.Hash, "database": spec.Database, "schema": spec.Schema, "ctl": spec.Ctl, "api": spec.API, "export": spec.Export}
	allow := func(names ...string) error {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if keys[key] != "" && !slices.Contains(names, key) {
				return fmt.Errorf("provision: %q has no meaning here: for %s give %s", key, spec.Server, strings.Join(names, ", "))
			}
		}
		return nil
	}
	hashed, err := newScram(spec.Hash, spec.Iterations)
	if err != nil {
		return nil, err
	}
	switch {
	case spec.Server == "prosody":
		if spec.Data == "" {
			return nil, errors.New("provision: data is missing: give Prosody's data_path")
		}
		return prosody{data: spec.Data, owner: who, hash: hashed}, allow("data", "hash")
	case spec.Server == "ejabberd" && spec.Database != "":
		return sqlite{database: spec.Database, schema: spec.Schema, owner: who, hash: hashed}, allow("database", "schema", "hash")
	case spec.Server == "ejabberd" && (spec.Ctl != "" || spec.API != ""):
		return newEjabberd(spec, who), allow("ctl", "api")
	case spec.Server == "ejabberd":
		return nil, errors.New("provision: give the database of an ejabberd that stores in SQLite, or api or ctl of a running one")
	case spec.Server == "other":
		if spec.Export == "" {
			return nil, errors.New("provision: export is missing: name the XEP-0227 file to write for a server of another kind")
		}
		return export{path: spec.Export, owner: who}, allow("export")
	}
	return nil, fmt.Errorf("provision: no way to provision a server of the kind %q: want prosody, ejabberd or other", spec.Server)
}

// Apply creates the accounts with their rosters. It first looks whether any
// exists already, and then creates none (*ExistsError). It blocks until all is
// done, ctx ends or something fails; what was created by then stands in the
// ledger and can be torn down. progress, which may be nil, is called now and
// then from the calling goroutine.
func (p *Plan) Apply(ctx context.Context, progress func(Progress)) (err error) {
	_, place := p.store.describe()
	l, err := openLedger(p.spec.Ledger, p.spec.Server, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	for b := range p.batches() {
		for _, m := range b {
			if run, ok := l.owned[m.account().JID()]; ok {
				return &ExistsError{JIDs: []string{m.account().JID()}, Run: run}
			}
		}
		jids, err := p.store.existing(ctx, b)
		if err != nil {
			return err
		}
		if len(jids) > 0 {
			return &ExistsError{JIDs: jids}
		}
	}

	run := strings.ToLower(rand.Text()[:10])
	at := Progress{TotalAccounts: p.Accounts, TotalItems: p.Items}
	for b := range p.batches() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("provision: stopped after %d of %d accounts: %w", at.Accounts, p.Accounts, err)
		}
		// The ledger is written first: an account that this process made and did
		// not live to record could never be taken away.
		if err := l.record(entry{Run: run, Creating: names(b)}); err != nil {
			return err
		}
		done, made, err := p.store.create(ctx, run, b)
		missing := without(b, done)
		if len(missing) > 0 || len(made) > 0 {
			err = errors.Join(err, l.record(entry{Run: run, Gone: names(missing), Dirs: made}))
		}
		for _, m := range done {
			at.Accounts++
			at.Items += m.of.Len(m.i)
		}
		if err != nil {
			return fmt.Errorf("%w (%d of %d accounts were created)", err, at.Accounts, p.Accounts)
		}
		if progress != nil {
			progress(at)
		}
	}
	return nil
}

// batches deals the accounts out in portions that the store likes.
func (p *Plan) batches() iter.Seq[[]member] {
	accounts, items := p.store.batch()
	return func(yield func([]member) bool) {
		var b []member
		size := 0
		for _, pop := range p.populations {
			for i := range pop.Accounts() {
				b = append(b, member{pop, i})
				size += pop.Len(i)
				if len(b) >= accounts || size >= items {
					if !yield(b) {
						return
					}
					b, size = nil, 0
				}
			}
		}
		if len(b) > 0 {
			yield(b)
		}
	}
}

// without returns the members of all that are not in done.
func without(all, done []member) []member {
	if len(all) == len(done) {
		return nil
	}
	is := make(map[member]bool, len(done))
	for _, m := range done {
		is[m] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(m member) bool { return is[m] })
}

func names(ms []member) []string {
	jids := make([]string, len(ms))
	for n, m := range ms {
		jids[n] = m.account().JID()
	}
	return jids
}

// Teardown removes the accounts that the ledger names, with all that the server
// keeps for them, and then the ledger. Accounts that are gone already count as
// removed. It refuses a ledger of another server. Like Apply it can be stopped
// and repeated.
func Teardown(ctx context.Context, spec Spec, progress func(Progress)) (err error) {
	s, err := open(spec)
	if err != nil {
		return err
	}
	if _, err := os.Stat(spec.Ledger); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("provision: nothing to tear down, there is no ledger: %w", err)
	}
	_, place := s.describe()
	l, err := openLedger(spec.Ledger, spec.Server, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	// Batches of one run each, in a fixed order.
	type owned struct{ run, jid string }
	all := make([]owned, 0, len(l.owned))
	for jid, run := range l.owned {
		all = append(all, owned{run, jid})
	}
	slices.SortFunc(all, func(a, b owned) int { return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.jid, b.jid)) })

	limit, _ := s.batch()
	at := Progress{TotalAccounts: len(all)}
	var failed []error
	for len(all) > 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("provision: stopped after removing %d of %d accounts: %w", at.Accounts, at.TotalAccounts, err)
		}
		run := all[0].run
		var jids []string
		for len(all) > 0 && len(jids) < limit && all[0].run == run {
			jids, all = append(jids, all[0].jid), all[1:]
		}
		done, err := s.remove(ctx, run, jids)
		if err != nil {
			failed = append(failed, err)
		}
		if err := l.record(entry{Run: run, Gone: done}); err != nil {
			return err
		}
		at.Accounts += len(done)
		if len(failed) > 10 {
			break // the rest would fare no better
		}
		if progress != nil {
			progress(at)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("provision: %d of %d accounts were removed, the others still stand in %s: %w", at.Accounts, at.TotalAccounts, spec.Ledger, errors.Join(failed...))
	}
	return l.discard()
}
