package scenarios

import (
	"errors"
	"reflect"
	"slices"
	"strings"
)

// A Need is what a key takes for granted. Where it does not hold the key does nothing,
// and a file that gives it a value of its own is refused.
type Need struct {
	// Doc is a sentence without its full stop, such as "one-shot cells only".
	Doc string
	// Scenario names the only scenario in which it may not hold; empty: any of the key's.
	Scenario string

	by    string           // path of the key that decides
	why   string           // why the key does nothing, and what to do
	holds func(*Plan) bool // whether the key does something in a plan
}

// oneShotOnly is the need of keys of single logins.
func oneShotOnly() *Need {
	return &Need{
		Doc: "one-shot cells only", by: "load.rate", why: "is for one-shot cells and does nothing under a load.rate: leave one of the two out",
		holds: func(p *Plan) bool { return !p.Load.Rate.Any() },
	}
}

// ratesOnly is the need of keys of loads, where a scenario has one-shot cells too.
func ratesOnly() *Need {
	return &Need{
		Doc: "rates only", Scenario: RosterLogin, by: "load.rate", why: "is for rates and does nothing in one-shot cells: give a load.rate, or leave it out",
		holds: func(p *Plan) bool { return p.Scenario != RosterLogin || p.Load.Rate.Any() },
	}
}

// openOnly is the need of keys of logins that come on schedule.
func openOnly() *Need {
	return &Need{
		Doc: "logins on schedule only", by: "load.rate",
		why:   "is for logins that come on schedule and does nothing in one-shot cells and closed loops: give a load.rate such as 50/s, or leave it out",
		holds: func(p *Plan) bool { return p.Load.Rate.Any() && p.Load.Rate.workers == 0 },
	}
}

// messagesOnly is the need of keys of messages, whose number each scenario has a key of its
// own for.
func messagesOnly() *Need {
	return &Need{
		Doc: "only with messages.rate, or messages.each", by: "messages.rate", why: "does nothing without messages.rate, or messages.each in session-cost",
		holds: func(p *Plan) bool { return p.Messages.Rate.Any() || p.Messages.Each > 0 },
	}
}

// unnamedOnly is the need of load.arrivals.
func unnamedOnly() *Need {
	return &Need{
		Doc: "only for rates that do not say it themselves", by: "load.rate",
		why: "does nothing, since every load of this plan says itself how it comes, as one-shot cells, closed loops, traces and \"constant 5/s\" do: give a plain rate, or leave it out",
		holds: func(p *Plan) bool {
			return slices.ContainsFunc(p.Streams(), func(s Stream) bool { return s.process == "" && s.file == "" && s.workers == 0 })
		},
	}
}

// only is the need of a key that another one makes something of, by its being there or by
// a value such as ": zipf".
func only(key, value string, holds func(*Plan) bool) *Need {
	return &Need{Doc: "only with " + key + value, by: key, why: "does nothing without " + key + value, holds: holds}
}

// Explained is the key's sentence with what it needs in a scenario, or in all that have
// the key if scenario is empty.
func (k Key) Explained(scenario string) string {
	switch n := k.Need; {
	case n == nil, n.Scenario != "" && scenario != "" && scenario != n.Scenario:
		return k.Doc
	case n.Scenario != "" && scenario == "":
		return k.Doc + " In " + n.Scenario + " " + n.Doc + "."
	default:
		return k.Doc + " " + strings.ToUpper(n.Doc[:1]) + n.Doc[1:] + "."
	}
}

// checkUsed refuses keys that do nothing in any of the plans; searched is the path of the
// key that a search gives its values, if there is one. What the command line makes idle
// may stay in the file, and what stands there as it is by default does no harm.
func (p *planParser) checkUsed(plans []Plan, searched string) {
	keys := Keys()
	for _, d := range p.dims {
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == d.path })
		if i < 0 || keys[i].Need == nil {
			continue
		}
		key, need := keys[i], keys[i].Need
		switch {
		case need.by == searched:
		case slices.Contains(p.set, need.by) && !slices.Contains(p.set, d.path):
		case len(d.values) == 1 && key.isDefault(d.values[0]):
		case slices.ContainsFunc(plans, func(p Plan) bool { return need.holds(&p) }):
		default:
			named := key.Path
			if d.where.node == nil {
				named = "" // the option that stands for the file names it
			}
			p.errs = append(p.errs, at(d.where.file, d.where.node, named, errors.New(need.why)))
		}
	}
}

// isDefault reports whether a value is the one of a file that leaves the key out.
func (k Key) isDefault(v any) bool {
	d, err := k.parse(k.Default)
	return err == nil && reflect.DeepEqual(v, d)
}
