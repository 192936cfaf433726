// Package wire is what travels: a counted connection, a push framer for XMPP
// streams, a scanner and an element tree for single stanzas, append-style
// writers, and [Stream], which is what a negotiated (or negotiating) connection
// is for both ends of it, client-to-server and server-to-server alike.
//
// It knows streams, stanzas and bytes. It does not know how a login goes, what a
// roster is, who may send what to whom, or what is measured: negotiation, the
// protocols under study and authority live above it. It imports the standard
// library only.
//
// The [Framer] finds the boundaries of stanzas and counts the elements in them at
// memory speed, and checks only what it needs for that. What is kept whole is
// checked fully by [ParseElement]; what is only counted is checked fully on
// streams that set StreamOptions.Verify, which run encoding/xml beside the framer.
package wire
