package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Methods of [Simulator.Control], with the types of what goes in and comes out.
const (
	MethodFigures  = "figures"         // nothing -> Figures
	MethodRoster   = "roster"          // Account -> RosterState
	MethodMutate   = "roster.mutate"   // Mutation -> RosterState
	MethodCompact  = "roster.compact"  // Compaction -> RosterState
	MethodSettings = "roster.settings" // roster.Settings -> nothing; for sessions bound from then on
	MethodDrop     = "drop"            // Drop -> Dropped
	MethodRestart  = "restart"         // Restart -> Dropped; blocks until the provider is back
)

// Account names an account by its bare JID.
type Account struct {
	JID string `json:"jid"`
}

// Mutation changes a roster as if the user had done it elsewhere.
type Mutation struct {
	// JID is the account whose roster changes.
	JID string `json:"jid"`
	// Changes is the number of items to change, each a different one; Seed
	// decides which.
	Changes int    `json:"changes"`
	Seed    uint64 `json:"seed"`
	// Kind is "rename" (the default: items stay as many as they were), "remove",
	// "add", or "mixed", which is all three by turns.
	Kind string `json:"kind,omitempty"`
}

// Compaction moves the horizon of a roster: clients whose version is older get the
// whole roster.
type Compaction struct {
	JID     string `json:"jid"`
	Version uint64 `json:"version"`
}

// RosterState is where a roster stands.
type RosterState struct {
	Epoch   string `json:"epoch"`
	Version uint64 `json:"version"`
	Horizon uint64 `json:"horizon"`
	Items   int    `json:"items"`
	// Ver is the version as RFC 6121 §2.6 spells it.
	Ver string `json:"ver"`
	// Digest is the [population.Digest] of the items, in its text form.
	Digest string `json:"digest"`
}

// Drop says whose connections to cut without a goodbye, as a failing network does.
type Drop struct {
	// JID is a bare or full JID; empty means everybody.
	JID string `json:"jid,omitempty"`
}

// Dropped is the number of connections cut.
type Dropped struct {
	Connections int `json:"connections"`
}

// Control runs one of the methods above. in and out are pointers to its types, or
// whatever marshals to and from the same JSON; either may be nil where nothing is needed.
func (s *Simulator) Control(ctx context.Context, method string, in, out any) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("simulator: %s: %w", method, err)
	}
	result, err := s.control(ctx, method, in)
	if err != nil {
		return fmt.Errorf("simulator: %s: %w", method, err)
	}
	if out == nil || result == nil {
		return nil
	}
	if err := convert(result, out); err != nil {
		return fmt.Errorf("simulator: %s: result: %w", method, err)
	}
	return nil
}

func (s *Simulator) control(ctx context.Context, method string, in any) (any, error) {
	switch method {
	case MethodFigures:
		return s.Figures(), nil
	case MethodRoster:
		var a Account
		if err := convert(in, &a); err != nil {
			return nil, err
		}
		return s.editRoster(a.JID, func(*account) error { return nil })
	case MethodMutate:
		var m Mutation
		if err := convert(in, &m); err != nil {
			return nil, err
		}
		return s.editRoster(m.JID, func(a *account) error { return a.mutate(m) })
	case MethodCompact:
		var c Compaction
		if err := convert(in, &c); err != nil {
			return nil, err
		}
		return s.editRoster(c.JID, func(a *account) error {
			a.store.Compact(c.Version)
			return nil
		})
	case MethodSettings:
		var settings roster.Settings
		if err := convert(in, &settings); err != nil {
			return nil, err
		}
		if err := settings.Check(); err != nil {
			return nil, err
		}
		s.offer.Store(newOffer(settings))
		return nil, nil
	case MethodDrop:
		var d Drop
		if err := convert(in, &d); err != nil {
			return nil, err
		}
		return s.drop(d), nil
	case MethodRestart:
		var r Restart
		if err := convert(in, &r); err != nil {
			return nil, err
		}
		return s.restart(ctx, r)
	}
	return nil, fmt.Errorf("no such method: use one of %q", []string{MethodFigures, MethodRoster, MethodMutate, MethodCompact, MethodSettings, MethodDrop, MethodRestart})
}

// convert takes a value over by way of its JSON, which is how it comes from a
// parent process.
func convert(from, to any) error {
	if from == nil {
		return nil
	}
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

func (s *Simulator) editRoster(jid string, edit func(*account) error) (RosterState, error) {
	var state RosterState
	var err error
	known := s.use(jid, func(a *account) {
		if err = edit(a); err != nil {
			return
		}
		var d population.Digest
		for e := range a.store.Items(0) {
			d.Add(e.Item)
		}
		state = RosterState{
			Epoch: a.store.Epoch(), Version: a.store.Version(), Horizon: a.store.Horizon(), Items: a.store.Len(),
			Ver: roster.FormatVer(a.store.Epoch(), a.store.Version()), Digest: d.String(),
		}
	})
	if !known {
		return state, fmt.Errorf("no account %q", jid)
	}
	return state, err
}

// mutate makes the changes of m, and pushes them where somebody is interested. The
// account is locked.
func (a *account) mutate(m Mutation) error {
	rnd := rand.New(rand.NewPCG(m.Seed, uint64(a.member.index))) // #nosec G115 G404 -- seeded on purpose; an index
	var kinds []string
	switch m.Kind {
	case "", "rename":
		kinds = []string{"rename"}
	case "remove", "add":
		kinds = []string{m.Kind}
	case "mixed":
		kinds = []string{"rename", "remove", "add"}
	default:
		return fmt.Errorf("kind %q is not one of rename, remove, add and mixed", m.Kind)
	}
	adds := m.Changes / len(kinds)
	if kinds[0] == "rename" && len(kinds) == 1 || kinds[0] == "remove" {
		adds = 0
	}
	items := a.store.Len()
	if m.Changes < 0 || m.Changes-adds > items {
		return fmt.Errorf("%d changes: the roster has %d items, and each is changed once", m.Changes, items)
	}
	// The items to change are drawn first: positions move as items go.
	chosen := make([]roster.Item, 0, m.Changes-adds)
	left := m.Changes - adds
	for e := range a.store.Items(0) {
		if left > 0 && rnd.IntN(items) < left {
			chosen = append(chosen, e.Item)
			left--
		}
		items--
	}
	domain := a.member.population.Account(a.member.index).Domain
	for i := range m.Changes {
		kind := kinds[i%len(kinds)]
		if kind != "add" && len(chosen) == 0 {
			kind = "add"
		}
		switch kind {
		case "add":
			item := roster.Item{
				JID:          "new-" + strconv.FormatUint(rnd.Uint64(), 36) + "@" + domain,
				Name:         "New " + strconv.Itoa(i),
				Subscription: "none",
			}
			if err := a.put(item); err != nil {
				return err
			}
		case "remove":
			if entry, ok := a.store.Remove(chosen[0].JID); ok {
				a.push(entry)
			}
			chosen = chosen[1:]
		default:
			item := chosen[0]
			chosen = chosen[1:]
			item.Name = rename(item.Name, rnd)
			if err := a.put(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// rename returns another name of the same length, so that items keep their size.
func rename(name string, rnd *rand.Rand) string {
	b := []byte(name)
	for i := len(b) - 1; i >= 0; i-- {
		if c := b[i]; c >= 'a' && c <= 'z' {
			b[i] = 'a' + (c-'a'+1+byte(rnd.IntN(25)))%26 // #nosec G115 -- below 25
			return string(b)
		}
	}
	return name + "x"
}

func (s *Simulator) drop(d Drop) Dropped {
	target, all := address{}, d.JID == ""
	if !all {
		var ok bool
		if target, ok = parseAddress(d.JID); !ok {
			return Dropped{}
		}
	}
	s.mu.Lock()
	var cut []*connection
	for c := range s.conns {
		cut = append(cut, c)
	}
	s.mu.Unlock()
	n := 0
	for _, c := range cut {
		x := c.bound.Load()
		if !all && (x == nil || x.account.jid != target.bare() || (target.resource != "" && x.resource != target.resource)) {
			continue
		}
		if c.raw.Close() == nil { // else it was gone already
			n++
		}
	}
	return Dropped{n}
}
