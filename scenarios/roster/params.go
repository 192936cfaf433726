package roster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xmppbench/xmppbench/internal/chunk"
)

// Params are the settings of all variants, typed. Each variant uses those that
// its table names; the others are zero.
type Params struct {
	// State is what a versioned client holds: StateCold, StateUnchanged or
	// StateStale; Changes is how many changes a stale one is behind.
	State   string
	Changes int
	// Diff says that the server answers a stale version with what changed.
	Diff bool
	// Chunk is the number of items per chunk or page, MaxBytes the largest stanza.
	Chunk, MaxBytes int
	// Window is the number of chunks or requests in flight, or chunk.Unbounded.
	Window int
	// Delivery is how chunks are pushed.
	Delivery chunk.Delivery
	// Interleave says that the server lets other stanzas pass between chunks.
	Interleave bool
}

// What a versioned client holds when it asks (RFC 6121 §2.6).
const (
	StateCold      = "cold"
	StateUnchanged = "unchanged"
	StateStale     = "stale"
)

// The names of the settings.
const (
	paramState      = "state"
	paramChanges    = "changes"
	paramDiff       = "diff"
	paramChunk      = "chunk"
	paramMaxBytes   = "max-bytes"
	paramWindow     = "window"
	paramDelivery   = "delivery"
	paramInterleave = "interleave"
)

// Parse checks settings against the variant's table and fills in the defaults.
// Numbers may be of any integer type or integral floats, as decoders of YAML and
// JSON give them. The error names every setting that is wrong and what would do.
func (v Variant) Parse(given map[string]any) (Params, error) {
	var p Params
	var errs []error
	known := make([]string, 0, len(v.Params))
	for _, param := range v.Params {
		known = append(known, param.Name)
		value, ok := given[param.Name]
		if !ok {
			value = param.Default
		}
		checked, err := param.check(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("roster: %s: %s: %w", v.Name, param.Name, err))
			continue
		}
		p.set(param.Name, checked)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case slices.Contains(known, name):
		case len(known) == 0:
			errs = append(errs, fmt.Errorf("roster: %s: %s: no such setting: this variant has none", v.Name, name))
		default:
			errs = append(errs, fmt.Errorf("roster: %s: %s: no such setting: use one of %s", v.Name, name, strings.Join(known, ", ")))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Params{}, err
	}
	return p, nil
}

func (p *Params) set(name string, value any) {
	switch name {
	case paramState:
		p.State = value.(string)
	case paramChanges:
		p.Changes = value.(int)
	case paramDiff:
		p.Diff = value.(bool)
	case paramChunk:
		p.Chunk = value.(int)
	case paramMaxBytes:
		p.MaxBytes = value.(int)
	case paramWindow:
		p.Window = value.(int)
	case paramDelivery:
		p.Delivery = chunk.Delivery(value.(string))
	case paramInterleave:
		p.Interleave = value.(bool)
	default:
		panic("roster: a variant's table names the unknown setting " + name)
	}
}

// check returns value in the type of the setting, or why it cannot be.
func (p Param) check(value any) (any, error) {
	switch p.Default.(type) {
	case bool:
		if b, ok := value.(bool); ok {
			return b, nil
		}
		return nil, fmt.Errorf("%v is neither true nor false", value)
	case string:
		s, ok := value.(string)
		if !ok || !slices.Contains(p.Choices, s) {
			return nil, fmt.Errorf("%v is not one of %s", value, strings.Join(p.Choices, ", "))
		}
		return s, nil
	}
	if s, ok := value.(string); ok && len(p.Choices) > 0 {
		if s == windowUnbounded && slices.Contains(p.Choices, s) {
			return chunk.Unbounded, nil
		}
	}
	n, ok := integer(value)
	switch {
	case ok && n >= p.Min && n <= p.Max:
		return n, nil
	case len(p.Choices) > 0:
		return nil, fmt.Errorf("%v is neither a number of %s from %d to %d nor %q", value, p.Unit, p.Min, p.Max, strings.Join(p.Choices, ", "))
	}
	return nil, fmt.Errorf("%v is not a number of %s from %d to %d", value, p.Unit, p.Min, p.Max)
}

// windowUnbounded is the word for chunk.Unbounded.
const windowUnbounded = "unbounded"

func integer(value any) (int, bool) {
	switch n := value.(type) {
	case int:
		return n, true
	case int32:
		return int(n), true
	case int64:
		return int(n), int64(int(n)) == n
	case uint64:
		return int(n), n <= 1<<31
	case float64:
		return int(n), float64(int(n)) == n
	}
	return 0, false
}

// Apply returns s with those settings of the server that p decides.
func (p Params) Apply(s Settings) Settings {
	s.Diff = p.Diff
	s.NoInterleave = !p.Interleave
	return s
}
