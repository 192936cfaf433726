// Package roster holds the ways of retrieving a roster that are compared: each
// variant is one file with the client half beside the server half, and one line
// in [Variants].
//
// The client half runs over a negotiated [wire.Stream] and counts what it gets
// without work per item; on request it digests every item or merges them into a
// [Map]. The server half, [Server], answers one session of an account from a
// [Store] and posts roster pushes in the form that the session asked for.
// [MemStore] is the store: a roster that nobody changed costs no memory.
//
// The package measures nothing but times and counts of its own stanzas, knows no
// scenario, no simulator and no histogram.
package roster
