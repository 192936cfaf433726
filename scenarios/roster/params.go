package roster

import (
	"github.com/xmppbench/xmppbench/internal/chunk"
	"github.com/xmppbench/xmppbench/scenarios/setting"
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

// Parse checks settings against the variant's table and fills in the defaults, as
// [setting.Parse] does.
func (v Variant) Parse(given map[string]any) (Params, error) {
	var p Params
	if err := setting.Parse("roster: "+v.Name, v.Params, given, p.set); err != nil {
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
		if n, ok := value.(int); ok {
			p.Window = n
		} else {
			p.Window = chunk.Unbounded // the only word there is
		}
	case paramDelivery:
		p.Delivery = chunk.Delivery(value.(string))
	case paramInterleave:
		p.Interleave = value.(bool)
	default:
		panic("roster: a variant's table names the unknown setting " + name)
	}
}

// windowUnbounded is the word for chunk.Unbounded.
const windowUnbounded = "unbounded"

// Apply returns s with those settings of the server that p decides.
func (p Params) Apply(s Settings) Settings {
	s.Diff = p.Diff
	s.NoInterleave = !p.Interleave
	return s
}
