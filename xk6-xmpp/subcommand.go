package xk6xmpp

import (
	"context"
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"go.k6.io/k6/v2/cmd/state"
	"go.k6.io/k6/v2/errext"
	"go.k6.io/k6/v2/errext/exitcodes"
	"go.k6.io/k6/v2/subcommand"

	"github.com/xmppbench/xmppbench/internal/cli"
)

// SubcommandName is what follows k6 x.
const SubcommandName = "xmppbench"

// RegisterSubcommand makes the subcommand known to k6.
func RegisterSubcommand() { subcommand.RegisterExtension(SubcommandName, newSubcommand) }

// newSubcommand returns the command that hands everything to the command line of
// xmppbench: arguments, streams and, through k6, the exit code.
func newSubcommand(gs *state.GlobalState) *cobra.Command {
	return &cobra.Command{
		Use:   SubcommandName,
		Short: "Merge, report and compare runs of xmppbench, make accounts, serve the simulator",
		// Flags and help are those of the commands below, which k6 does not know.
		DisableFlagParsing: true,
		SilenceUsage:       true,
		SilenceErrors:      true,
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := notify(gs)
			defer stop()
			// It says itself what was wrong; k6 adds the exit code.
			code := cli.Tools(ctx, "k6 x "+SubcommandName, args, gs.Stdin, gs.Stdout, gs.Stderr)
			if code == cli.ExitOK {
				return nil
			}
			return errext.WithExitCodeIfNone(fmt.Errorf("k6 x %s: exit code %d", SubcommandName, code), exitcodes.ExitCode(code&math.MaxUint8))
		},
	}
}

// notify returns a context that an interrupt ends. k6 leaves signals to its commands.
func notify(gs *state.GlobalState) (context.Context, func()) {
	ctx, cancel := context.WithCancel(gs.Ctx)
	signals := make(chan os.Signal, 1)
	gs.SignalNotify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		gs.SignalStop(signals)
		cancel()
		<-done
	}
}
