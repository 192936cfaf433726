// Command xmppbench measures XMPP servers and XMPP protocol proposals.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/xmppbench/xmppbench/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first interrupt ends the run in order, the second one leaves at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
