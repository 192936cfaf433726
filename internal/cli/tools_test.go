package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/cli"
)

// TestTools runs commands as another program has them.
func TestTools(t *testing.T) {
	before := filepath.Join("testdata", "runs", "before")
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"", 0, "k6 x xmppbench [command]", ""},
		{"--help", 0, "k6 x xmppbench [command]", ""},
		{"merge --help", 0, "k6 x xmppbench merge RUN... -o DIR [flags]", ""},
		{"report " + before, 0, "roster-login  before  ok", ""},
		{"users --accounts 1", 0, "0,u0000000@sim.test,", ""},
		{"compare " + before + " --gate x", 2, "", "xmppbench: --gate: "},
		{"run roster-login", 2, "", `unknown command "run" for "k6 x xmppbench"`},
		{"merge", 2, "", "see k6 x xmppbench merge --help"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := cli.Tools(t.Context(), "k6 x xmppbench", strings.Fields(tt.args), strings.NewReader(""), &stdout, &stderr)
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("exit code %d\n%s\n%s", code, &stdout, &stderr)
			}
		})
	}
}
