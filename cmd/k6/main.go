// Command k6 is k6 with XMPP: the module k6/x/xmpp, the output xmpp-hdr and the
// subcommand x xmppbench.
package main

import (
	"os"
	"runtime/debug"

	"go.k6.io/k6/v2/cmd"

	_ "github.com/xmppbench/xmppbench" // registers the extensions
)

func main() {
	limitGarbage()
	cmd.Execute()
}

// garbage is GOGC where the environment says nothing: docs/design/005 has the reason.
const garbage = 50

// limitGarbage lets the collector run earlier than Go would, unless the environment
// says how it should.
func limitGarbage() {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	debug.SetGCPercent(garbage)
}
