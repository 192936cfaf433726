package simulator_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/simulator"
)

// comeback logs in again and resumes, or says why that does not go.
func comeback(t *testing.T, s *simulator.Simulator, account, id string) string {
	t.Helper()
	user, domain, _ := strings.Cut(account, "@")
	p := dial(t, s.Addrs()[0])
	p.open(domain)
	p.plain(user, domain, "secret")
	p.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
	return p.stanza()
}

// What outlives a restart is what Keep says, and nothing more.
func TestRestart(t *testing.T) {
	const jid = "u2@a.example"
	tests := []struct {
		keep           simulator.Keep
		goodbye        bool
		changes, epoch bool   // whether they are kept
		resume         string // what the answer begins with
	}{
		{"", true, true, true, "<failed "},
		{simulator.KeepNothing, true, false, false, "<failed "},
		{simulator.KeepSessions, false, true, true, "<resumed "},
	}
	for _, tt := range tests {
		t.Run("keep "+string(tt.keep), func(t *testing.T) {
			s := start(t, contacts)
			before := control(t, s, simulator.MethodMutate, simulator.Mutation{JID: jid, Changes: 5, Kind: "add"})
			p, id := manage(t, s, jid+"/x")
			waiting, waitingID := manage(t, s, "u4@a.example/x")
			waiting.conn.Close()
			wantFigure(t, s, "connections.open", 1)
			addresses := s.Addrs()

			var got simulator.Dropped
			if err := s.Control(t.Context(), simulator.MethodRestart, simulator.Restart{Down: time.Millisecond, Keep: tt.keep}, &got); err != nil {
				t.Fatal(err)
			}
			if got.Connections != 1 {
				t.Errorf("%d connections ended, want 1", got.Connections)
			}
			if tt.goodbye {
				p.want("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
				p.want("</stream:stream>")
			}
			p.wantEOF()
			for i, a := range s.Addrs() {
				if a.String() != addresses[i].String() {
					t.Errorf("listener %d came back at %s, it was at %s", i, a, addresses[i])
				}
			}
			after := control(t, s, simulator.MethodRoster, simulator.Account{JID: jid})
			if kept := after.Digest == before.Digest; kept != tt.changes {
				t.Errorf("changes of the roster kept: %v, want %v", kept, tt.changes)
			}
			if kept := after.Epoch == before.Epoch; kept != tt.epoch {
				t.Errorf("numbering of versions kept: %v, want %v", kept, tt.epoch)
			}
			for account, id := range map[string]string{jid: id, "u4@a.example": waitingID} {
				if got := comeback(t, s, account, id); !strings.HasPrefix(got, tt.resume) {
					t.Errorf("%s resumes: got %s, want %s", account, got, tt.resume)
				}
			}
			user(t, s, jid+"/y").ping()
		})
	}
}

// While the provider is down, nobody is let in; Close ends that.
func TestDown(t *testing.T) {
	s := start(t, nil)
	p := user(t, s, "u2@a.example/x")
	address := s.Addrs()[0].String()
	restarted := make(chan error, 1)
	go func() {
		restarted <- s.Control(t.Context(), simulator.MethodRestart, simulator.Restart{Down: time.Hour, Keep: simulator.KeepSessions}, nil)
	}()
	p.wantEOF()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("a listener is open while the provider is down")
	}
	if err := s.Control(t.Context(), simulator.MethodRestart, simulator.Restart{}, nil); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("a second restart: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-restarted; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the restart ended with %v", err)
	}
}
