package s2s

import "time"

// An Authority is the set of pairs for which stanzas may pass on a stream in one
// direction. It holds single pairs, as dialback proves them, and everything from
// one set of domains to another, as certificates prove it. It is guarded by the
// lock of its stream.
type Authority struct {
	pairs    map[Pair]struct{}
	from, to domainSet
}

// A domainSet is a set of names, each up to a moment or for ever, and of whatever a
// rule covers.
type domainSet struct {
	names  map[string]time.Time // zero: for ever
	covers func(domain string) bool
}

func (d *domainSet) add(name string, until time.Time) {
	if d.names == nil {
		d.names = make(map[string]time.Time)
	}
	d.names[name] = until
}

func (d *domainSet) empty() bool { return len(d.names) == 0 && d.covers == nil }

func (d *domainSet) remove(name string) { delete(d.names, name) }

// has reports whether the set holds the name; at the very end of its time it still does.
func (d *domainSet) has(name string, now time.Time) bool {
	if until, ok := d.names[name]; ok {
		return until.IsZero() || !now.After(until)
	}
	return d.covers != nil && d.covers(name)
}

// addPair admits a single pair for ever.
func (a *Authority) addPair(p Pair) {
	if a.pairs == nil {
		a.pairs = make(map[Pair]struct{})
	}
	a.pairs[p] = struct{}{}
}

// Allows reports whether stanzas of the pair may pass now.
func (a *Authority) Allows(p Pair, now time.Time) bool {
	if _, ok := a.pairs[p]; ok {
		return true
	}
	return a.from.has(p.From, now) && a.to.has(p.To, now)
}

// speaks reports whether the sender's domain is admitted towards anybody.
func (a *Authority) speaks(from string, now time.Time) bool {
	if a.from.has(from, now) {
		return true
	}
	for p := range a.pairs {
		if p.From == from {
			return true
		}
	}
	return false
}

// reaches reports whether some pair with the target was ever admitted.
func (a *Authority) reaches(to string) bool {
	for p := range a.pairs {
		if p.To == to {
			return true
		}
	}
	_, ok := a.to.names[to]
	return ok
}
