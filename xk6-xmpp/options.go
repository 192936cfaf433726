package xk6xmpp

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/lib/types"
	"go.k6.io/k6/v2/metrics"
)

// options reads the options of one call. Its methods throw a TypeError that names the
// option; done refuses those that nobody has asked for.
type options struct {
	m     *instance
	call  string // as "connect()"
	o     *sobek.Object
	known []string
}

// options returns those in v, which may be missing unless they are required.
func (m *instance) options(call string, v sobek.Value, required bool) *options {
	p := &options{m: m, call: call}
	switch o, ok := v.(*sobek.Object); {
	case ok && o.ClassName() != "Array" && o.ClassName() != "Function":
		p.o = o
	case !common.IsNullish(v) || required:
		m.typeErrorf("%s takes an object of options", call)
	}
	return p
}

func (p *options) bad(name, format string, args ...any) {
	p.m.typeErrorf("%s option %q: %s", p.call, name, fmt.Sprintf(format, args...))
}

// get returns an option, nil if it is not there.
func (p *options) get(name string) sobek.Value {
	p.known = append(p.known, name)
	if p.o == nil {
		return nil
	}
	if v := p.o.Get(name); !common.IsNullish(v) {
		return v
	}
	return nil
}

func (p *options) has(name string) bool { return p.get(name) != nil }

// text returns a string.
func (p *options) text(name, fallback string) string {
	v := p.get(name)
	if v == nil {
		return fallback
	}
	s, ok := v.Export().(string)
	if !ok {
		p.bad(name, "%v is not a string", v)
	}
	return s
}

// required returns a string that must be there.
func (p *options) required(name string) string {
	s := p.text(name, "")
	if s == "" {
		p.bad(name, "is required")
	}
	return s
}

// among refuses a string that is none of the choices.
func (p *options) among(name, s string, choices []string) {
	if !slices.Contains(choices, s) {
		p.bad(name, "%q is not one of %s", s, strings.Join(choices, ", "))
	}
}

// choice returns one of the strings.
func (p *options) choice(name, fallback string, choices ...string) string {
	s := p.text(name, fallback)
	p.among(name, s, choices)
	return s
}

// number returns a number within bounds.
func (p *options) number(name string, fallback, least, most float64) float64 {
	v := p.get(name)
	if v == nil {
		return fallback
	}
	n := math.NaN()
	switch x := v.Export().(type) {
	case int64:
		n = float64(x)
	case float64:
		n = x
	}
	if !(n >= least && n <= most) {
		p.bad(name, "%v is not a number from %v to %v", v, least, most)
	}
	return n
}

// integer returns a whole number within bounds.
func (p *options) integer(name string, fallback, least, most int) int {
	n := p.number(name, float64(fallback), float64(least), float64(most))
	if n != math.Trunc(n) {
		p.bad(name, "%v is not a whole number", n)
	}
	return int(n)
}

// port returns the number of a port.
func (p *options) port(fallback uint16) uint16 {
	n := p.integer("port", int(fallback), 1, math.MaxUint16)
	return uint16(n & math.MaxUint16)
}

// flag returns true or false.
func (p *options) flag(name string, fallback bool) bool {
	v := p.get(name)
	if v == nil {
		return fallback
	}
	b, ok := v.Export().(bool)
	if !ok {
		p.bad(name, "%v is neither true nor false", v)
	}
	return b
}

// duration returns a time: a number of milliseconds, or a text such as "1m30s".
func (p *options) duration(name string, fallback time.Duration) time.Duration {
	v := p.get(name)
	if v == nil {
		return fallback
	}
	d, err := types.GetDurationValue(v.Export())
	if err != nil {
		p.bad(name, "%v is neither a number of milliseconds nor a duration such as \"30s\"", v)
	}
	if d <= 0 {
		p.bad(name, "%v is not above zero", v)
	}
	return d
}

// texts returns a list of strings.
func (p *options) texts(name string) []string {
	v := p.get(name)
	if v == nil {
		return nil
	}
	list, ok := v.Export().([]any)
	if !ok {
		p.bad(name, "%v is not an array of strings", v)
	}
	out := make([]string, 0, len(list))
	for _, x := range list {
		s, ok := x.(string)
		if !ok {
			p.bad(name, "%v is not a string", x)
		}
		out = append(out, s)
	}
	return out
}

// inner returns the options in an option.
func (p *options) inner(name string) *options {
	v := p.get(name)
	return p.m.options(strings.TrimSuffix(p.call, "()")+"() option "+name, v, false)
}

// tags puts the tags of the option on top of others.
func (p *options) tags(t *metrics.TagsAndMeta) {
	v := p.get("tags")
	if v == nil {
		return
	}
	if _, ok := v.(*sobek.Object); !ok {
		p.bad("tags", "%v is not an object", v)
	}
	if err := common.ApplyCustomUserTags(p.m.rt, t, v); err != nil {
		p.bad("tags", "%v", err)
	}
}

// tagged returns the tags of an object that calls have besides their own. It throws where
// they are wrong.
func (p *options) tagged() sobek.Value {
	t := metrics.TagsAndMeta{Tags: p.m.metrics.root}
	p.tags(&t)
	return p.get("tags")
}

// not refuses an option that a script may expect, and says why it is not there.
func (p *options) not(name, why string, args ...any) {
	if p.o != nil && !common.IsNullish(p.o.Get(name)) {
		p.bad(name, why, args...)
	}
}

// done refuses options that do not exist.
func (p *options) done() {
	if p.o == nil {
		return
	}
	for _, key := range p.o.Keys() {
		if !slices.Contains(p.known, key) {
			p.bad(key, "does not exist: use one of %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(p.known))), ", "))
		}
	}
}
