package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/observe"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/scenarios"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/simulator"
)

// serveFlags are the options of the serve command.
type serveFlags struct {
	listen, direct, plain string
	domains               []string
	accounts, contacts    int
	itemBytes             int
	password              string
	seed                  uint64
	key                   string
	caOut                 string
	plus13, optional      bool
	conflict              string
	variants              []string
	allow                 bool
}

func (a *app) serve() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve [FILE]",
		Short: "Run the simulator alone, for other clients",
		Long: `Run the simulator alone, for any XMPP client, until it is interrupted. It prints
its addresses, its accounts and where its certificate authority is, then nothing
more. FILE is a configuration of the simulator in YAML or JSON, as
docs/simulator.md describes it, in place of the options below.`,
		Example: `  xmppbench serve --accounts 10 --ca-out ca.pem
  XMPPBENCH_PASSWORD=secret xmppbench serve --domain a.test --items 10000`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			config, err := f.config()
			if err != nil {
				return usage(err)
			}
			if len(args) == 1 {
				if config, err = a.serveConfig(args[0]); err != nil {
					return err
				}
			}
			return a.serveSimulator(c.Context(), config, f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.listen, "listen", "127.0.0.1:5222", "`ADDR` for clients that use STARTTLS; empty for none")
	flags.StringVar(&f.direct, "direct-tls", "", "`ADDR` for clients that begin with TLS")
	flags.StringVar(&f.plain, "plain", "", "`ADDR` for clients in clear")
	flags.BoolVar(&f.optional, "optional-tls", false, "admit clients that do not use STARTTLS")
	flags.StringSliceVar(&f.domains, "domain", []string{"sim.test"}, "domains served")
	flags.IntVar(&f.accounts, "accounts", 10, "number of accounts, u0000000@DOMAIN and up")
	flags.IntVar(&f.contacts, "items", 5, "contacts in each roster")
	flags.IntVar(&f.itemBytes, "item-bytes", 0, "length of each roster item; 0 leaves names and groups as they come")
	flags.Uint64Var(&f.seed, "seed", 1, "what accounts and rosters follow from")
	flags.StringVar(&f.password, "password-env", "XMPPBENCH_PASSWORD", "environment `VARIABLE` with the password of every account; if it is empty passwords are derived from the seed and printed")
	flags.StringVar(&f.key, "key", string(lab.P256), "key of the certificates: p256, rsa-2048 or ed25519")
	flags.StringVar(&f.caOut, "ca-out", "", "`FILE` that gets the certificate of the authority to trust")
	flags.BoolVar(&f.plus13, "plus13", false, "offer -PLUS mechanisms over TLS 1.3 too")
	flags.StringVar(&f.conflict, "conflict", string(simulator.ConflictRefuse), "what happens to a resource that is already connected: refuse, replace or rename")
	flags.StringSliceVar(&f.variants, "variants", nil, "roster variants on offer (default all)")
	flags.BoolVar(&f.allow, "allow-remote", false, "listen on addresses other than loopback")
	return c
}

func (f serveFlags) config() (simulator.Config, error) {
	c := simulator.Config{
		Populations: []population.Config{{
			Seed: f.seed, Domains: f.domains, Accounts: f.accounts, Contacts: f.contacts, ItemBytes: f.itemBytes,
			Password: os.Getenv(f.password),
		}},
		TLS:      simulator.TLS{Key: lab.KeyType(f.key), Plus13: f.plus13},
		Conflict: simulator.Conflict(f.conflict),
		Roster:   roster.Settings{Variants: f.variants},
	}
	starttls := simulator.StartTLS
	if f.optional {
		starttls = simulator.OptionalTLS
	}
	for _, l := range []simulator.Listener{{Address: f.listen, Security: starttls}, {Address: f.direct, Security: simulator.DirectTLS}, {Address: f.plain, Security: simulator.Plaintext}} {
		if l.Address != "" {
			c.Listeners = append(c.Listeners, l)
		}
	}
	if len(c.Listeners) == 0 {
		return c, errors.New("nothing to listen on: give --listen, --direct-tls or --plain an address")
	}
	return c, nil
}

// serveConfig reads a configuration file. YAML is read as the JSON it stands
// for, so that both have the same keys.
func (a *app) serveConfig(name string) (simulator.Config, error) {
	var c simulator.Config
	source, err := a.readInput(name)
	if err != nil {
		return c, err
	}
	raw, err := yaml.YAMLToJSON(source)
	if err != nil {
		e := &scenarios.FileError{File: name, Err: err}
		if located, ok := errors.AsType[yaml.Error](err); ok && located.GetToken() != nil && located.GetToken().Position != nil {
			pos := located.GetToken().Position
			e = &scenarios.FileError{File: name, Line: pos.Line, Column: pos.Column, Err: errors.New(located.GetMessage())}
		}
		return c, e
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, usage(fmt.Errorf("%s: %w", name, err))
	}
	return c, nil
}

func (a *app) serveSimulator(ctx context.Context, c simulator.Config, f serveFlags) error {
	if !f.allow {
		for _, l := range c.Listeners {
			if err := onLoopback(l.Address, "its accounts are known to anybody"); err != nil {
				return usage(err)
			}
		}
	}
	s, err := simulator.Start(context.WithoutCancel(ctx), c)
	if err != nil {
		return usage(err)
	}
	if f.caOut != "" {
		if err := os.WriteFile(f.caOut, s.CA(), 0o644); err != nil { // #nosec G306 -- Clients are to read the certificate.
			return errors.Join(usage(fmt.Errorf("--ca-out: %w", err)), s.Close(ctx))
		}
	}
	if err := a.announce(s, c, f.caOut); err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	<-ctx.Done()
	closing, cancel := untilClosed(ctx)
	defer cancel()
	return s.Close(closing)
}

// untilClosed returns how long what serves may take to close, once ctx has ended.
func untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
}

// serveHTTP answers at an address until ctx ends, which is how serving ends well, and
// tells announce where once it listens. Of s the caller sets what is its own.
func serveHTTP(ctx context.Context, s *http.Server, address string, announce func(at string) error) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return usage(fmt.Errorf("--listen: %w", err))
	}
	if err := announce(l.Addr().String()); err != nil {
		return errors.Join(err, l.Close())
	}
	s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes = 5*time.Second, 2*time.Minute, 16<<10
	// An answer that goes on for long ends with the command.
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() {
		if s.TLSConfig != nil {
			served <- s.ServeTLS(l, "", "")
			return
		}
		served <- s.Serve(l)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	closing, cancel := untilClosed(ctx)
	defer cancel()
	err = s.Shutdown(closing)
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// readToken reads the file that --token-file names.
func readToken(name string) (string, error) {
	b, err := os.ReadFile(name) // #nosec G304 -- a file that the user names
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token, err := observe.ParseToken(b)
	if err != nil {
		return "", fmt.Errorf("--token-file %s: %w", name, err)
	}
	return token, nil
}

// isLoopback reports whether an address cannot be reached from other machines.
func isLoopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// onLoopback refuses an address that others can reach, and says what that would mean.
func onLoopback(address, meaning string) error {
	ok, err := isLoopback(address)
	switch {
	case err != nil:
		return fmt.Errorf("listen: %w", err)
	case ok:
		return nil
	}
	return fmt.Errorf("listen: %s can be reached from other machines, and %s; say --allow-remote if that is meant", address, meaning)
}

// serveInfo is what serve prints when it is ready.
type serveInfo struct {
	Listeners []serveListener `json:"listeners"`
	Accounts  int             `json:"accounts"`
	First     string          `json:"first"`              // JID of the first account
	Password  string          `json:"password,omitempty"` // of the first account, if it is derived from the seed
	CA        string          `json:"ca,omitempty"`       // file
}

type serveListener struct {
	Address  string `json:"address"`
	Security string `json:"security"`
}

func (a *app) announce(s *simulator.Simulator, c simulator.Config, ca string) error {
	pop, err := population.New(c.Populations[0])
	if err != nil {
		return err
	}
	first := pop.Account(0)
	info := serveInfo{Accounts: pop.Accounts(), First: first.JID(), CA: ca}
	if c.Populations[0].Password == "" {
		info.Password = first.Password
	}
	for i, addr := range s.Addrs() {
		security := c.Listeners[i].Security
		if security == "" {
			security = simulator.StartTLS
		}
		info.Listeners = append(info.Listeners, serveListener{addr.String(), string(security)})
	}
	if a.json {
		return json.NewEncoder(a.stdout).Encode(info) // #nosec G117 -- Clients log in with the password.
	}
	return info.write(a.stdout)
}

func (i serveInfo) write(w io.Writer) error {
	var b strings.Builder
	for _, l := range i.Listeners {
		fmt.Fprintf(&b, "listening on %s (%s)\n", l.Address, l.Security)
	}
	fmt.Fprintf(&b, "%s, the first %s", plural(i.Accounts, "account"), i.First)
	if i.Password != "" {
		fmt.Fprintf(&b, ", password %s", i.Password)
	}
	b.WriteByte('\n')
	if i.CA != "" {
		fmt.Fprintf(&b, "certificate authority in %s\n", i.CA)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
