package xk6xmpp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/lib"

	"github.com/xmppbench/xmppbench/internal/population"
)

// userPool is the class UserPool: accounts by formula.
type userPool struct {
	m             *instance
	jid, password string // templates
	count, first  int
	pad           int
	exhausted     string
}

// What happens past the end of a pool.
const (
	exhaustedAbort  = "abort"
	exhaustedWrap   = "wrap"
	exhaustedReject = "reject"
)

// maxUsers bounds a pool, as populations do.
const maxUsers = 1<<31 - 1

func userPoolClass() class[*userPool] {
	return class[*userPool]{
		name: "UserPool",
		make: newUserPool,
		methods: map[string]func(*userPool, sobek.FunctionCall) sobek.Value{
			"at":          (*userPool).at,
			"byIteration": (*userPool).byIteration,
			"byVU":        (*userPool).byVU,
		},
		getters: map[string]func(*userPool) any{"count": func(u *userPool) any { return u.count }},
	}
}

func newUserPool(m *instance, call sobek.ConstructorCall) *userPool {
	p := m.options("UserPool()", call.Argument(0), true)
	u := &userPool{
		m: m, jid: p.required("jid"), password: p.text("password", ""),
		first: p.integer("first", 0, 0, maxUsers), pad: p.integer("pad", 0, 0, 18),
		exhausted: p.choice("onExhausted", exhaustedAbort, exhaustedAbort, exhaustedWrap, exhaustedReject),
	}
	if !p.has("count") {
		p.bad("count", "is required")
	}
	u.count = p.integer("count", 0, 1, maxUsers-u.first)
	p.done()
	local, domain, _ := strings.Cut(u.jid, "@")
	switch {
	case strings.Count(u.jid, placeholder) != 1 || !strings.Contains(local, placeholder):
		p.bad("jid", "%q must hold %s once, for the number of the user, before the @", u.jid, placeholder)
	case domain == "" || strings.Contains(domain, "/"):
		p.bad("jid", "%q is not user%s@domain", u.jid, placeholder)
	}
	return u
}

// placeholder is where templates have a number.
const placeholder = "{i}"

// account is a user of a pool.
type account struct{ jid, password string }

// user returns the user with an index.
func (u *userPool) user(i int) account {
	number := fmt.Sprintf("%0*d", u.pad, u.first+i)
	return account{strings.Replace(u.jid, placeholder, number, 1), strings.ReplaceAll(u.password, placeholder, number)}
}

// credentials are those of a user, for scripts.
func (u *userPool) credentials(i int) sobek.Value {
	a := u.user(i)
	o := u.m.rt.NewObject()
	must(u.m.rt, o.Set("index", i))
	must(u.m.rt, o.Set("jid", a.jid))
	must(u.m.rt, o.Set("password", a.password))
	return o
}

// at returns the user with an index.
func (u *userPool) at(call sobek.FunctionCall) sobek.Value {
	return u.credentials(u.m.index("UserPool.at()", "the index", call.Argument(0), 0, u.count-1))
}

// index reads a whole number that a function takes.
func (m *instance) index(call, what string, v sobek.Value, least, most int) int {
	n, ok := v.Export().(int64)
	if !ok || int(n) < least || int(n) > most {
		m.typeErrorf("%s: %s, %v, is not a whole number from %d to %d", call, what, v, least, most)
	}
	return int(n)
}

// byIteration returns the user of this iteration: no other iteration of the scenario,
// in whatever instance of a split test, gets the same.
func (u *userPool) byIteration(call sobek.FunctionCall) sobek.Value {
	const name = "UserPool.byIteration()"
	state := u.running(name)
	if state.GetScenarioGlobalVUIter == nil {
		u.m.typeErrorf("%s: there are no iterations outside of scenarios, as in setup(); use at()", name)
	}
	return u.numbered(name, call, counter(state.GetScenarioGlobalVUIter()))
}

// byVU returns the user of this virtual user: no other one of the test, in whatever
// instance, gets the same.
func (u *userPool) byVU(call sobek.FunctionCall) sobek.Value {
	const name = "UserPool.byVU()"
	state := u.running(name)
	if state.VUIDGlobal == 0 {
		u.m.typeErrorf("%s: there is no virtual user outside of scenarios, as in setup(); use at()", name)
	}
	return u.numbered(name, call, counter(state.VUIDGlobal)-1)
}

// counter is a number that k6 gives out, from 0 or 1 up.
func counter(n uint64) int {
	return int(n) // #nosec G115 -- no test lasts so long
}

func (u *userPool) running(name string) *lib.State {
	state := u.m.vu.State()
	if state == nil {
		common.Throw(u.m.rt, common.NewInitContextError(name+" depends on who runs it, so it cannot be used in the init context"))
	}
	return state
}

// numbered returns the user with a number that k6 gives out, behind an offset.
func (u *userPool) numbered(name string, call sobek.FunctionCall, n int) sobek.Value {
	offset := 0
	if v := call.Argument(0); !common.IsNullish(v) {
		offset = u.m.index(name, "the offset", v, 0, maxUsers)
	}
	i, ok := u.place(offset + n)
	if ok {
		return u.credentials(i)
	}
	return u.exhaust(offset + n)
}

// exhaust does what is to be done when a user is wanted that the pool does not have.
func (u *userPool) exhaust(n int) sobek.Value {
	why := fmt.Sprintf("user %d is wanted of a pool of %d: numbers are unique but not dense when a test is split, so a pool needs some more users than iterations or virtual users", n, u.count)
	if u.exhausted == exhaustedReject {
		panic(u.m.jsError(&fault{stage: stageUsers, condition: "resource-constraint", err: errors.New(why)}))
	}
	u.m.rt.Interrupt(&errext.InterruptError{Reason: errext.AbortTest + ": UserPool: " + why})
	return sobek.Undefined()
}

// place returns the index of a user, unless the pool is exhausted.
func (u *userPool) place(n int) (int, bool) {
	if n >= u.count && u.exhausted != exhaustedWrap {
		return 0, false
	}
	return n % u.count, true
}

// rosterFor returns the roster that the simulator gives to a user, when its accounts,
// sizes and seed are the same.
func (m *instance) rosterFor(call sobek.FunctionCall) sobek.Value {
	const name = "rosterFor()"
	u, ok := inside[*userPool](m, call.Argument(0))
	if !ok {
		m.typeErrorf("%s: the first argument is not a UserPool", name)
	}
	i := m.index(name, "the index of the user", call.Argument(1), 0, u.count-1)
	size := m.index(name, "the size of the roster", call.Argument(2), 0, maxItems)
	seed := 1
	if v := call.Argument(3); !common.IsNullish(v) {
		seed = m.index(name, "the seed", v, 0, 1<<53)
	}
	local, domain, _ := strings.Cut(u.jid, "@")
	pattern := local
	if u.pad > 0 {
		pattern = strings.Replace(local, placeholder, "{i:0"+strconv.Itoa(u.pad)+"}", 1)
	}
	p, err := m.root.population(population.Config{
		Seed: uint64(seed), Domains: []string{domain}, Pattern: pattern, First: u.first, Accounts: u.count, Contacts: size,
	})
	if err != nil {
		m.typeErrorf("%s: %v", name, err)
	}
	items := make([]rosterItem, 0, size)
	for it := range p.Items(i) {
		items = append(items, newRosterItem(it))
	}
	return m.rt.ToValue(items)
}

// population returns a population, made once.
func (r *RootModule) population(c population.Config) (*population.Population, error) {
	key := fmt.Sprintf("%+v", c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.populations[key]; p != nil {
		return p, nil
	}
	p, err := population.New(c)
	if err == nil {
		r.populations[key] = p
	}
	return p, err
}

// domains makes names from a template.
func (m *instance) domains(call sobek.FunctionCall) sobek.Value {
	const name = "domains()"
	template, ok := call.Argument(0).Export().(string)
	if !ok || strings.Count(template, placeholder) != 1 {
		m.typeErrorf("%s: %v must be a name that holds %s once", name, call.Argument(0), placeholder)
	}
	count := m.index(name, "the count", call.Argument(1), 0, 1_000_000)
	first := 0
	if v := call.Argument(2); !common.IsNullish(v) {
		first = m.index(name, "the first number", v, 0, maxUsers)
	}
	names := make([]any, 0, count)
	for i := range count {
		names = append(names, strings.Replace(template, placeholder, strconv.Itoa(first+i), 1))
	}
	return m.rt.NewArray(names...)
}
