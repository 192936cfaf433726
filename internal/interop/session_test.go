//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/internal/wire"
)

// dialer returns a dialer that goes to the server's port for clients whatever the domain.
func (s *Server) dialer() session.Dialer { return session.Dialer{Host: s.Host, Port: uint16(s.C2S)} }

// closeSession ends a session in order.
func closeSession(ctx context.Context, t *testing.T, s *session.Session) {
	t.Helper()
	if err := s.Stream.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// ping asks the server for a sign of life over the handed-over stream.
func ping(ctx context.Context, t *testing.T, s *session.Session, domain string) {
	t.Helper()
	id := s.Stream.NextID()
	_, err := s.Stream.IQ(ctx, id, wire.AppendIQ(nil, "get", id, "", domain, []byte("<ping xmlns='urn:xmpp:ping'/>")))
	if err != nil {
		t.Errorf("ping: %v", err)
	}
}

// TestSession logs in to real servers in every way they offer.
func TestSession(t *testing.T) {
	for kind, start := range servers() {
		for _, storage := range []string{"plain", "SHA-1", "SHA-256"} {
			t.Run(kind+"/"+storage, func(t *testing.T) {
				t.Parallel()
				s := start(t, Options{Storage: storage})
				p := mustPopulation(t, population.Config{Seed: 1, Domains: s.Domains, Accounts: 4, Contacts: 2})
				mustApply(t, s, p)
				s.Start(t)
				testSession(t, s, p.Account(0))
			})
		}
	}
}

func testSession(t *testing.T, s *Server, a population.Account) {
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	keys := new(session.KeyCache)
	config := func(mode session.TLSMode, mechanisms ...string) session.Config {
		return session.Config{
			JID: a.JID(), Password: a.Password, Resource: "bench", TLS: mode, Mechanisms: mechanisms, Keys: keys, Dialer: s.dialer(),
			TLSConfig: &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}},
			SM:        true, Stream: wire.StreamOptions{Verify: true},
		}
	}
	old := config(session.StartTLS)
	old.TLSConfig.MaxVersion = tls.VersionTLS12
	for name, c := range map[string]session.Config{
		"best": config(session.StartTLS), "TLS 1.2": old, "clear": config(session.NoTLS), "PLAIN": config(session.StartTLS, session.Plain),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := session.Dial(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %s, %d round trips, %+v, features %q", got.Mechanism, got.TLS, got.RoundTrips, got.Login, got.Features.Names())
			if want := a.JID() + "/bench"; got.JID != want {
				t.Errorf("bound %s, want %s", got.JID, want)
			}
			if got.SM == nil || got.SM.ID == "" {
				t.Errorf("stream management is %+v", got.SM)
			}
			if got.Features.Find(wire.NSBind, "bind") == nil || got.Features.Find(wire.NSSM, "sm") == nil {
				t.Errorf("features %q", got.Features.Names())
			}
			served := make(chan error, 1)
			go func() { served <- got.Stream.Serve(ctx) }()
			ping(ctx, t, got, a.Domain)
			if err := got.Stream.Close(ctx); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}

	t.Run("resume", func(t *testing.T) {
		first, err := session.Dial(ctx, config(session.StartTLS))
		if err != nil {
			t.Fatal(err)
		}
		if first.SM == nil {
			t.Fatal("the server does not offer stream management")
		}
		// Cut the connection under the session, without a word.
		if err := first.Stream.Conn().Close(); err != nil {
			t.Fatal(err)
		}
		again := config(session.StartTLS)
		again.Resume = &session.Resume{ID: first.SM.ID, JID: first.JID}
		second, err := session.Dial(ctx, again)
		if err != nil {
			t.Fatal(err)
		}
		if !second.Resumed {
			t.Fatalf("not resumed: %v", second.NotResumed)
		}
		closeSession(ctx, t, second)
		third, err := session.Dial(ctx, func() session.Config {
			c := config(session.StartTLS)
			c.Resume = &session.Resume{ID: "no-such-session", JID: first.JID}
			return c
		}())
		if err != nil {
			t.Fatal(err)
		}
		if third.Resumed || third.NotResumed == nil || third.JID != a.JID()+"/bench" {
			t.Errorf("resumption of no session: %v, %v, %s", third.Resumed, third.NotResumed, third.JID)
		}
		closeSession(ctx, t, third)
	})

	failures := map[string]struct {
		change func(*session.Config)
		step   string
		says   string
	}{
		"wrong password":      {func(c *session.Config) { c.Password += "x" }, session.StepSASL, "not-authorized"},
		"unknown account":     {func(c *session.Config) { c.JID = "nobody-" + c.JID }, session.StepSASL, "not-authorized"},
		"unknown domain":      {func(c *session.Config) { c.JID = "u@elsewhere.test"; c.TLS = session.NoTLS }, session.StepFeatures, "host-unknown"},
		"unknown authority":   {func(c *session.Config) { c.TLSConfig.RootCAs = nil }, session.StepTLS, "CA file"},
		"another name":        {func(c *session.Config) { c.TLSConfig.ServerName = "elsewhere.test" }, session.StepTLS, s.Domains[0]},
		"no such mechanism":   {func(c *session.Config) { c.Mechanisms = []string{session.External} }, session.StepSASL, "offers"},
		"TLS on a clear port": {func(c *session.Config) { c.TLS = session.DirectTLS }, session.StepTLS, ""},
	}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			c := config(session.StartTLS)
			f.change(&c)
			_, err := session.Dial(ctx, c)
			var failed *session.Error
			if !errors.As(err, &failed) || failed.Step != f.step || !strings.Contains(err.Error(), f.says) {
				t.Errorf("got %v, want step %s and %q", err, f.step, f.says)
			}
		})
	}
}
