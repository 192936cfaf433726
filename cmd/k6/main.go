// Command k6 is k6 with XMPP: the module k6/x/xmpp, the output xmpp-hdr and the
// subcommand x xmppbench.
package main

import (
	"go.k6.io/k6/v2/cmd"

	_ "github.com/xmppbench/xmppbench" // registers the extensions
)

func main() { cmd.Execute() }
