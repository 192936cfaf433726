//go:build interop

package interop

import (
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/results"
)

// federationTarget starts a server of n domains with an account at each, and writes a target file
// by which "xmppbench run federation" federates with it from up to m domains. The DNS server that
// the server asks is to be that of the run, at an address that stands in the file.
func (f foreigner) federationTarget(t *testing.T, n, m int) (file string) {
	t.Helper()
	const resolverPort = 5353
	listen := net.JoinHostPort(freeHost(t, s2sPort), fmt.Sprint(s2sPort))
	resolver := net.JoinHostPort(freeHost(t, resolverPort), fmt.Sprint(resolverPort))
	w := &world{}
	w.newCA(t)
	s := f.create(t, Options{Domains: numbered("r", n), CA: w.ca, DNS: resolver})
	accounts := s.startWith(t, population.Config{Domains: s.Domains, Pattern: "user{i}", Accounts: n, Settled: true})

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lines strings.Builder
	list := csv.NewWriter(&lines)
	for i := range accounts.Accounts() {
		a := accounts.Account(i)
		if err := list.Write([]string{a.JID(), a.Password}); err != nil {
			t.Fatal(err)
		}
	}
	list.Flush()
	own := w.keyPair(t, numbered("o", m)...)
	return write("server.yaml", fmt.Sprintf(`server: %s
domains: [%s]
connect: {host: %s, port: %d, s2s-port: %d, ca: %s}
accounts: {csv: %s}
federation: {listen: "%s", dns: "%s", domain: "o{i}.test", certificate: %s, key: %s}
`,
		s.Kind, strings.Join(s.Domains, ", "), s.Host, s.C2S, s.S2S, write("ca.pem", string(s.CA.CertificatePEM())),
		write("accounts.csv", lines.String()), listen, resolver, write("own.pem", string(own.Certificates)), write("own-key.pem", string(own.Key))))
}

// TestRunFederation runs the scenario against real servers, as a user does.
func TestRunFederation(t *testing.T) {
	for _, c := range []struct {
		Federation
		kind, variants string
	}{
		{Federation{}, "prosody", "pair-external"},
		{Federation{Dialback: true}, "prosody", "pair-dialback,shared-dialback"},
		{Federation{}, "ejabberd", "pair-external"},
	} {
		t.Run(c.kind+" "+c.String(), func(t *testing.T) {
			t.Parallel()
			f := foreigner{kind: c.kind, Federation: c.Federation}
			dir := filepath.Join(t.TempDir(), "run")
			report := mustXmppbench(t, append([]string{
				"run", "federation", "--target", f.federationTarget(t, 3, 3), "--out", dir, "--variants", c.variants,
				"--blocks", "6", "--set", "domains=3x3", "--set", "workers=1", "--set", "bulk.bytes=0",
				"--set", "traffic.duration=100ms", "--set", "mesh.settle=50ms",
			}, patient...)...)
			t.Logf("%s", report)
			run, err := results.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			valid := make(map[string]int)
			for _, b := range run.Blocks {
				if b.Valid {
					valid[b.Variant]++
				}
			}
			for v := range strings.SplitSeq(c.variants, ",") {
				if valid[v] != 6 {
					t.Errorf("%s: %d valid blocks of 6", v, valid[v])
				}
			}
		})
	}
}
