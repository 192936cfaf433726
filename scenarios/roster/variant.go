package roster

import (
	"context"
	"time"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/setting"
)

// Variant is one way of retrieving a roster, both ends of it. Every function is
// set except where noted.
type Variant struct {
	// Name is the canonical name, as in scenario files; Spec says where the
	// protocol is written down; Summary is one line for help texts.
	Name, Spec, Summary string
	// Params are the settings that mean something to this variant.
	Params []Param
	// Features appends the stream feature by which a server announces the
	// variant after authentication. Nil where there is none.
	Features func(dst []byte, s Settings) []byte
	// Serve answers a request, with the account's lock held. It reports false if
	// the request is not one of this variant.
	Serve func(s *Server, q *wire.Element) (handled bool, err error)
	// Detect says what the peer really did, by what Fetch returned.
	Detect func(p Params, r Result, err error) Answer
	// Counts is the closed form of what goes over the wire.
	Counts func(p Params, size Size) Counts
	// Flow is what the retrieval looks like to a link. Link.Replay makes of it the
	// times to expect.
	Flow func(p Params, size Size) Flow

	// fetch is the first step of the client half; callbacks do the rest. It is
	// called with the client's mutex held.
	fetch func(f *fetch, p Params) error
}

// Fetch retrieves a roster over the client's stream, whose Serve is running. It
// returns when the roster is complete, the context ends or the stream does. With
// an error the result tells how far it came; a server's refusal is a
// *[wire.StanzaError]. Two retrievals on one stream may run at a time.
func (v Variant) Fetch(ctx context.Context, c *Client, p Params, o Options) (Result, error) {
	return c.fetch(ctx, o, func(f *fetch) error { return v.fetch(f, p) })
}

// Param describes one setting of a variant. Server marks those that Settings holds.
type Param = setting.Param

// Have is what a client already holds when it asks.
type Have struct {
	// Ver is the version string of RFC 6121 §2.6, empty for an empty cache.
	Ver string
	// Epoch and Version are those of the chunked protocol. Known says that they
	// are meant: version 0 is one like any other.
	Epoch   string
	Version uint64
	Known   bool
	// Target is, for pushes after an empty result (RFC 6121 §2.6.3), the version
	// string whose push ends the retrieval: the protocol has no end marker.
	Target string
}

// Options is how a client half is used. The zero value counts.
type Options struct {
	// Have is what the client holds; Resume goes on with an earlier attempt, of
	// either mode of the chunked protocol.
	Have   Have
	Resume Resume
	// Item, if not nil, is given a copy of every item received. It is called by
	// the goroutine that reads the stream and must not use the Client; its error
	// ends the retrieval.
	Item func(Item) error
	// Limit, if not 0, ends the retrieval well with the page or chunk that brings
	// so many items, if it is not the last. A roster in one stanza comes whole.
	Limit int
	// Digest asks for Result.Digest at the price of parsing every item.
	Digest bool
	// Map, if not nil, is merged into by the rules of the chunked protocol and
	// must be kept between attempts; pushes go on to reach it afterwards. Without
	// it items are counted only. Other variants ignore it.
	Map *Map
}

// Resume is the place in a roster up to which a retrieval came. It is worth
// something only together with the Map that the retrieval filled.
type Resume struct{ Epoch, Cursor string }

// Verdict says whether a peer spoke a variant.
type Verdict string

// The verdicts.
const (
	Spoken  Verdict = "spoken"  // the peer did as the variant says
	Ignored Verdict = "ignored" // the peer answered as if the variant's elements were not there
	Refused Verdict = "refused" // the peer answered with an error
	Unknown Verdict = "unknown" // the retrieval failed otherwise, as by a cut
)

// Answer is a verdict with its reason.
type Answer struct {
	Verdict Verdict
	Reason  string
}

// Result is what a retrieval brought. Times are those at which the bytes were
// read, from one monotonic clock; times of steps that did not happen are zero.
type Result struct {
	// Requested is when the request was written (t9), Answered when the start tag
	// of the first answer was read (t10), First when the first item was (t11),
	// Complete when the roster was whole (t12).
	Requested, Answered, First, Complete time.Time
	// Items counts the items received and Gone the tombstones, repeats included.
	Items, Gone int
	// Digest sums up the items received, if asked for.
	Digest population.Digest
	// Ver is the version string of RFC 6121 §2.6; Epoch and Version are those of
	// the chunked protocol.
	Ver     string
	Epoch   string
	Version uint64
	// Mode is "full", "delta", "none" (nothing had changed) or "resume".
	Mode string
	// Resume is where an interrupted retrieval can go on, zero if it cannot.
	Resume Resume
	// StanzasOut and StanzasIn count the stanzas of the retrieval, BytesOut and
	// BytesIn their bytes; pushes of live changes are not among them.
	StanzasOut, StanzasIn int
	BytesOut, BytesIn     int64
	// Largest is the size in bytes of the largest stanza received.
	Largest int64
	// RoundTrips counts the answers that had to arrive before the next request
	// or chunk could leave, plus one.
	RoundTrips int
	// Chunks counts pages or chunks.
	Chunks int
	// Limits in force, as the server lowered them; zero where it does not say.
	MaxItems, MaxBytes, Window int
	// Limited says that Options.Limit ended the retrieval: it holds no version that
	// a later one could go on from.
	Limited bool
	// Ignored says that a request for pages was answered with the whole roster.
	Ignored bool
	// Restarts counts the times that the server did not know the cursor any more
	// and the client began again.
	Restarts int
}

// Variants returns the variants, the baseline first.
func Variants() []Variant {
	return []Variant{monolithic(), versioned(), rsm(), rsmIndex(), chunkedPush(), chunkedPull()}
}

// Names returns the names of the variants, in the same order.
func Names() []string {
	var names []string
	for _, v := range Variants() {
		names = append(names, v.Name)
	}
	return names
}

// Find returns the variant of this name.
func Find(name string) (Variant, bool) {
	for _, v := range Variants() {
		if v.Name == name {
			return v, true
		}
	}
	return Variant{}, false
}
