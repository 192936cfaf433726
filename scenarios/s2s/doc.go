// Package s2s is federation between providers: how streams between servers are
// opened, who may say what on them, and every layout and proof of authority under
// study, one file each, both ends in one value.
//
// A [Host] is the federation side of one provider. Stanzas are handed to it with
// [Host.Send]; it resolves the target domain, finds the stream that the variant's
// [Layout] asks for or opens it, proves that it may speak for the sender's domain,
// and writes the stanza. What peers send is checked against what they have proved
// and handed to Config.Deliver.
//
// A [Variant] decides four things: which pairs of domains share a stream (Layout),
// which certificates and keys a provider needs for it (Needs), how authority is
// proved on an open stream and how the other end checks it, and what all that must
// come to in connections, handshakes and messages (Counts). RFC 6120 has the
// streams, XEP-0220 dialback, XEP-0178 SASL EXTERNAL, XEP-0288 bidirectional
// streams, XEP-0344, RFC 7711 and RFC 7712 other proofs, XEP-0361 streams without
// any negotiation. The attribute certificates are this project's own, after a sketch
// of 2009.
//
// The package measures nothing and knows no accounts: times and counts of what
// happened are handed to whoever asks.
//
// # Locks
//
// The lock of what is asserted on a stream is taken before the host's, the host's
// before a stream's, and a stream's before that of the wire below it. No callback runs
// under any of them.
package s2s
