// Package simulator is an XMPP provider made for measuring: one or several
// domains with as many accounts as a [population.Population] describes, served to
// clients over real sockets by the rules of RFC 6120 and RFC 6121.
//
// It speaks STARTTLS and direct TLS, PLAIN and SCRAM with channel binding,
// resource binding, stream management with resumption (XEP-0198), rosters in every
// variant of package roster, the subscription ladder, presence with probes,
// messages and offline messages, ping, service discovery and software version.
// Accounts that nobody touched cost no memory, and contacts that nobody is logged
// in as are simulated: a set share of them is online and answers probes.
//
// It is not a server to deploy: passwords follow from a seed, nothing is kept on
// disk, and it imposes no limits but those that protect its own memory. It measures nothing
// either: [Simulator.Figures] counts, and judging is for others.
//
// # Locks
//
// Whatever belongs to an account, the roster and the sessions' presence among it,
// is guarded by the account's lock; what is to be written to a session is
// guarded by the session's. The order is account, session, stream. Two accounts
// are never locked at once: what one user's stanza does to another account happens
// after the first lock was released, on the same goroutine, so that the stanzas of
// one sender stay in order.
package simulator
