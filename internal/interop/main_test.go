//go:build interop

package interop

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// programDir holds the program once it was built for the tests.
var programDir string

func TestMain(m *testing.M) {
	var err error
	if programDir, err = os.MkdirTemp("", "xmppbench-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programDir) // what is left is in the directory for such things
		os.Exit(code)
	}))
}
