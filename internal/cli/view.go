package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/results/view"
)

// viewFlags are the options of the view command.
type viewFlags struct {
	listen    string
	tokenFile string
	hosts     []string
}

func (a *app) view() *cobra.Command {
	var f viewFlags
	c := &cobra.Command{
		Use:   "view [DIR]",
		Short: "Show a directory of runs as a web page",
		Long: `Show a directory of runs, by default "runs", as a web page: a list with filters,
reports, comparisons of several runs, trends of a figure, and runs under way. It
prints the address to open and serves until it is interrupted; it reads and never
writes.

The page is served on this machine alone, unless --listen names another address.
Then a token is asked for, which --token-file holds.`,
		Example: `  xmppbench view
  xmppbench view results/reference --listen 127.0.0.1:8080
  xmppbench view runs --listen 192.0.2.7:8080 --token-file token.txt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "runs"
			if len(args) == 1 {
				dir = args[0]
			}
			return a.serveView(c.Context(), dir, f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "`ADDR` to serve on; port 0 takes a free one")
	flags.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the token that requests must bring; needed off the loopback addresses")
	flags.StringSliceVar(&f.hosts, "host", nil, "`NAME` by which browsers ask for the page, beside the address")
	return c
}

// minToken is the shortest token taken: less can be guessed.
const minToken = 16

func (f viewFlags) token() (string, error) {
	if f.tokenFile == "" {
		if err := onLoopback(f.listen, "its runs can be read"); err != nil {
			return "", errors.New("--listen: others can reach " + f.listen + ": give a file with a token of at least 16 characters as --token-file")
		}
		return "", nil
	}
	b, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n\";,\\") {
		return "", fmt.Errorf("--token-file: %s must hold one line of at least %d characters, without spaces, quotes, commas, semicolons and backslashes",
			f.tokenFile, minToken)
	}
	return token, nil
}

func (a *app) serveView(ctx context.Context, dir string, f viewFlags) error {
	token, err := f.token()
	if err != nil {
		return usage(err)
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usage(fmt.Errorf("--listen: %w", err))
	}
	page, err := view.New(view.Config{Dir: dir, Hosts: append(f.hosts, host), Token: token})
	if err != nil {
		return usage(fmt.Errorf("%w; runs are made by xmppbench run", err))
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return usage(fmt.Errorf("--listen: %w", err))
	}
	server := &http.Server{
		Handler: page, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		// What still watches a run then ends with the command.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	address := "http://" + l.Addr().String() + "/"
	if token != "" {
		address += "?token=" + token
	}
	if a.json {
		err = a.writeJSON(viewInfo{Address: address, Dir: dir})
	} else {
		_, err = fmt.Fprintf(a.stdout, "%s shows the runs in %s until this is interrupted\n", address, dir)
	}
	select {
	case <-ctx.Done():
	case e := <-served:
		return errors.Join(err, e)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := errors.Join(err, server.Shutdown(closing)); err != nil {
		return err
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		return e
	}
	// To be interrupted is how serving ends.
	return &exitError{code: ExitOK}
}

// viewInfo is what view prints when it is ready.
type viewInfo struct {
	Address string `json:"address"`
	Dir     string `json:"dir"`
}
