package simulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/simulator"
)

// TestScripts plays the transcripts in testdata/scripts. In a script
//
//	A< text        client A sends text
//	A> pattern     client A receives an element; see match for patterns
//	A ping         client A's ping is answered and nothing comes before
//	A cut          client A's connection is cut
//	A end          client A's connection ends
//	A connect      client A dials
//	A auth JID     client A dials and authenticates
//	A login JID    client A dials, authenticates and binds
//	A online JID   client A logs in and sends initial presence
//
// and what a pattern captured as {name} stands for itself in what follows. Lines
// that are indented continue the one before.
func TestScripts(t *testing.T) {
	edits := map[string]func(*simulator.Config){
		"bind-replace":  func(c *simulator.Config) { c.Conflict = simulator.ConflictReplace },
		"bind-rename":   func(c *simulator.Config) { c.Conflict = simulator.ConflictRename },
		"bind-limit":    func(c *simulator.Config) { c.Resources = 2 },
		"offline":       func(c *simulator.Config) { c.OfflineMessages = 2 },
		"offline-none":  func(c *simulator.Config) { c.OfflineMessages = -1 },
		"sm-expired":    func(c *simulator.Config) { c.Resumption.Timeout = 50 * time.Millisecond },
		"sm-bound":      func(c *simulator.Config) { c.Resumption.QueueStanzas = 3 },
		"sm-off":        func(c *simulator.Config) { c.Resumption.Off = true },
		"login-timeout": func(c *simulator.Config) { c.LoginTimeout = 50 * time.Millisecond },
		"idle-timeout":  func(c *simulator.Config) { c.IdleTimeout = 2 * time.Second },
	}
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, start(t, edits[name]), string(text))
		})
	}
}

func play(t *testing.T, s *simulator.Simulator, script string) {
	clients := map[string]*peer{}
	vars := []string{}
	lines := strings.Split(strings.ReplaceAll(script, "\n\t", ""), "\n")
	for n, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.NewReplacer(vars...).Replace(line)
		t.Logf("%d: %s", n+1, line)
		name, op := line[:1], line[1:2]
		arg := strings.TrimSpace(line[2:])
		p := clients[name]
		if op != " " {
			if p == nil {
				t.Fatalf("no client %s", name)
			}
			if op == "<" {
				p.send(arg)
				continue
			}
			for key, value := range p.want(arg) {
				vars = append(vars, "{"+key+"}", value)
			}
			continue
		}
		verb, jid, _ := strings.Cut(arg, " ")
		switch verb {
		case "connect", "auth", "login", "online":
			p = dial(t, s.Addrs()[0])
			clients[name] = p
			if verb == "connect" {
				continue
			}
			if user, domain, _ := strings.Cut(jid, "@"); verb == "auth" {
				p.open(domain)
				p.plain(user, domain, "secret")
				continue
			}
			if got := p.login(jid); got != jid {
				t.Fatalf("bound %s instead of %s", got, jid)
			}
			if verb == "online" {
				p.send("<presence/>")
				p.want("<presence to='" + jid + "' from='" + jid + "'/>")
			}
		case "ping":
			p.ping()
		case "cut":
			p.conn.Close()
		case "end":
			p.wantEOF()
		case "restart":
			p.restart()
		default:
			t.Fatalf("what is %q?", line)
		}
	}
}
