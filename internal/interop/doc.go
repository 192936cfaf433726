// Package interop holds the tests against servers and clients that others have
// written. They need Prosody and ejabberd from Debian's packages, root to start
// each under its own user, and the loopback network only; the clients are slixmpp
// and libstrophe from Debian's packages and xmpp.js from npm, which is the one
// thing fetched while testing. install.sh installs what is missing. The tests stand
// behind the build tag interop and are run by "make interop". What is missing then
// is a failure, nothing is skipped.
//
// Every server gets a scratch directory with a configuration made for the test,
// an address of its own in 127.0.0.0/8 with the usual ports, certificates of a
// private authority, and its own user. It is stopped when the test ends, and
// does not outlive the test process.
//
// Federation is tested through a DNS server of the test: real servers with each
// other, which is what ours is compared with, and our side with each of them, in
// every variant. What comes of the latter stands in testdata/federation.txt.
package interop
