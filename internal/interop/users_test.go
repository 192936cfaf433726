//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// users are accounts of a real server, one for each of its domains, that are logged in. They echo.
type users struct {
	server *Server
	all    map[string]*session.Session // by domain

	current atomic.Pointer[conversation]
	silent  bool // questions are not answered, but count as answered where they arrive
}

// startWith starts the server with a population, which is made at the time that is right for it.
func (s *Server) startWith(t *testing.T, c population.Config) *population.Population {
	t.Helper()
	p := mustPopulation(t, c)
	if s.Mnesia {
		s.Start(t)
	}
	mustApply(t, s, p)
	if !s.Mnesia {
		s.Start(t)
	}
	return p
}

// newUsers makes an account at each domain of a server and starts the server; the accounts are
// logged in until the test ends.
func newUsers(t *testing.T, s *Server) *users {
	t.Helper()
	p := s.startWith(t, population.Config{Domains: s.Domains, Pattern: "user{i}", Accounts: len(s.Domains), Settled: true})
	u := &users{server: s, all: make(map[string]*session.Session)}
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	serving, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var served sync.WaitGroup
	t.Cleanup(func() {
		for _, got := range u.all {
			closeSession(serving, t, got)
		}
		stop()
		served.Wait()
	})
	for i := range s.Domains {
		a := p.Account(i)
		got, err := session.Dial(ctx, session.Config{
			JID: a.JID(), Password: a.Password, Resource: "bench", TLS: session.StartTLS, Dialer: s.dialer(),
			TLSConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12},
		})
		if err != nil {
			t.Fatal(err)
		}
		u.all[a.Domain] = got
		got.Stream.Handle(func(head *wire.Stanza) wire.Handler {
			if string(head.Name()) != "message" {
				return wire.Handler{}
			}
			return wire.Handler{Watch: wire.Watch{Mode: wire.Frame}, Done: func(st *wire.Stanza) error { return u.receive(got, st) }}
		})
		served.Go(func() {
			if err := got.Stream.Serve(serving); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", got.JID, err)
			}
		})
	}
	return u
}

func (u *users) receive(s *session.Session, st *wire.Stanza) error {
	id, c := st.ID(), u.current.Load()
	if st.Type() == question && !u.silent {
		return s.Stream.Post(wire.AppendReply(nil, st.Tag, answer, []byte("<body>back</body>")), nil)
	}
	c.heard(id, complaint(st))
	return nil
}

// ask has the account of the server's domain of each pair send the question to whom address names.
func (u *users) ask(t *testing.T, c *conversation, pairs []s2s.Pair, address func(domain string) string) {
	t.Helper()
	for _, p := range pairs {
		xml := fmt.Appendf(nil, "<message type='%s' to='%s' id='%s'><body>hello</body></message>", question, address(p.To), c.id(p))
		if err := u.all[p.From].Stream.Post(xml, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// address returns the full JID of the account at a domain of the server.
func (u *users) address(domain string) string { return u.all[domain].JID }
