package s2s

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Names of [Figures].
const (
	FigureOpened            = "connections.opened"      // connections this host has set up, streams that only verify among them
	FigureAccepted          = "connections.accepted"    // connections it has taken
	FigureAlive             = "connections.alive"       // of those it has set up, now
	FigureStreams           = "streams.alive"           // both kinds, now
	FigureFull              = "handshakes.full"         // TLS, as the one who connects
	FigureResumed           = "handshakes.resumed"      // TLS, as the one who connects
	FigureHandshakesFailed  = "handshakes.failed"       // TLS, at either end
	FigureSigned            = "signatures.made"         // with any private key
	FigureVerified          = "signatures.verified"     // in handshakes, chains and proofs
	FigureSASL              = "authority.sasl"          // EXTERNAL exchanges begun
	FigureResults           = "authority.results"       // db:result requests sent
	FigureVerifies          = "authority.verifies"      // db:verify requests sent
	FigureAsserts           = "authority.asserts"       // assertion messages sent
	FigureProofs            = "authority.proofs"        // attribute certificates sent, or references to them
	FigureReferences        = "authority.references"    // of the proofs, how many were references
	FigureVerdicts          = "authority.verdicts"      // verdict messages sent unasked
	FigureFetches           = "fetches"                 // documents fetched from third parties
	FigureFetchConnections  = "fetches.connections"     // connections for that
	FigureFetchHandshakes   = "fetches.handshakes"      // TLS handshakes for that
	FigureLookups           = "lookups"                 // SRV look-ups of target domains
	FigureLookupsTLSA       = "lookups.tlsa"            // TLSA look-ups
	FigureStanzasIn         = "stanzas.in"              // delivered
	FigureStanzasOut        = "stanzas.out"             // written
	FigureUnauthorised      = "unauthorised"            // stanzas without authority, never delivered
	FigureBounced           = "bounced"                 // stanzas returned because no stream could be had
	FigureUnsolicited       = "unsolicited"             // answers nobody had asked for
	FigureLenientTarget     = "lenient.target"          // stanzas admitted to a domain that their sender had not proved himself to
	FigureLenientAnswer     = "lenient.answer"          // answers admitted that came where nothing had been proved
	FigureGlare             = "glare"                   // streams given up because the peer opened one as well
	FigureConflict          = "conflict"                // streams that the peer closed with conflict
	FigureBytesIn           = "bytes.in"                // XML
	FigureBytesOut          = "bytes.out"               // XML
	FigureRawIn             = "bytes.in.tls"            // on sockets
	FigureRawOut            = "bytes.out.tls"           // on sockets
	FigureKeys              = "keys.customer"           // private keys of customers' domains held
	FigureStreamErrorPrefix = "stream-errors."          // sent, by condition
	FigurePeerErrorPrefix   = "stream-errors.received." // by condition
)

// Figures are counts of a host since it was made, by the names above.
type Figures map[string]int64

// Add adds the figures of another host, as of another worker of one provider.
func (f Figures) Add(g Figures) {
	for name, n := range g {
		f[name] += n
	}
}

// tally is a set of counters.
type tally struct {
	mu     sync.Mutex
	counts map[string]int64

	// Counted too often for a map.
	stanzasIn, stanzasOut atomic.Int64
}

func (t *tally) add(name string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]int64)
	}
	t.counts[name] += n
}

func (t *tally) read() Figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := Figures(maps.Clone(t.counts))
	if f == nil {
		f = Figures{}
	}
	f[FigureStanzasIn] = t.stanzasIn.Load()
	f[FigureStanzasOut] = t.stanzasOut.Load()
	return f
}
