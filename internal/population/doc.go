// Package population invents accounts, their contact graph and their rosters.
//
// Everything is a pure function of a [Config]: the same seed gives the same
// accounts, the same contacts with the same names, and so the same expected
// answer to a roster request, in every process and on every machine. Nothing is
// kept per account: a population of a million accounts costs as much memory as
// one of ten, and the n-th item of any roster is computed when it is asked for.
//
// The graph is symmetric. Whoever has a contact is that contact's contact, and
// the subscription states of the two ends mirror each other (RFC 6121 §2.1.2.5).
// Rosters are uniform: every member has Contacts contacts, spread evenly over
// the whole population.
//
// The package knows nothing of XMPP streams, of servers or of storage. What it
// does fix is the canonical text of a roster item ([AppendItem]) and the
// [Digest] by which a reader proves that a roster came over whole.
package population

// Version numbers the functions behind a population. It rises when the same
// Config begins to give other accounts, rosters, passwords or sizes: results
// obtained with different versions are not about the same data.
const Version = 1
