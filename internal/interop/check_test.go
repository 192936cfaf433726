//go:build interop

package interop

import (
	"slices"
	"strings"
	"testing"
)

// TestCheck looks at real servers before a run: each line of the answer is as a user
// reads it.
func TestCheck(t *testing.T) {
	for kind, create := range servers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := create(t, Options{RequireTLS: true, Versioning: true})
			size := []string{"--set", "roster.items=20"}
			mustXmppbench(t, append([]string{"provision", "roster-login", "--target", s.targetFile(t)}, size...)...)
			if code, out, _ := xmppbench(t, append([]string{"check", "--target", s.targetFile(t)}, size...)...); code != 3 || !strings.Contains(out, "connection refused") {
				t.Errorf("before its start: exit %d\n%s", code, out)
			}
			s.Start(t)
			out := mustXmppbench(t, append([]string{"check", "--target", s.targetFile(t), "--variants", "monolithic,versioned,chunked-push"}, size...)...)
			lines := strings.Split(out, "\n")
			for _, want := range []string{
				"ok    tls          TLS 1.3, ", "ok    login        xb20-0000000@xmpp.test logged in with SCRAM-",
				"ok    variant      monolithic will run: the server speaks it, 20 contacts",
				"ok    variant      versioned will run: the server speaks it, 20 contacts",
				"warn  variant      chunked-push will be skipped, refused", "ok    observe      one process: ", "ok    descriptors  the server has ",
			} {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
					t.Errorf("no line begins with %q:\n%s", want, out)
				}
			}
		})
	}
}
