package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/observe"
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
Then a token is asked for, which --token-file holds. Other machines may ask for the
page by any address of this one, and by the names that --host gives.`,
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

// token is what requests must show, empty where nobody else can make any.
func (f viewFlags) token() (string, error) {
	if f.tokenFile != "" {
		return readToken(f.tokenFile)
	}
	ok, err := isLoopback(f.listen)
	switch {
	case err != nil:
		return "", fmt.Errorf("--listen: %w", err)
	case !ok:
		return "", fmt.Errorf("--listen: others can reach %s: give a file with a token of at least %d characters as --token-file", f.listen, observe.MinToken)
	}
	return "", nil
}

// reachable is what a browser can be given for the address at which the page is served:
// "all addresses" is none. It prefers a name from --host, then an address that other
// machines can reach.
func (f viewFlags) reachable(at string, own func() ([]net.Addr, error)) string {
	host, port, err := net.SplitHostPort(at)
	ip, parseErr := netip.ParseAddr(host)
	if err != nil || parseErr != nil || !ip.IsUnspecified() {
		return at
	}
	if len(f.hosts) > 0 {
		return net.JoinHostPort(f.hosts[0], port)
	}
	best := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	all, _ := own() // without them there is loopback
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		// A socket for all addresses of IPv6 takes those of IPv4 too.
		other := prefix.Addr()
		if other.IsGlobalUnicast() && (other.Is4() || ip.Is6()) && (best.IsLoopback() || other.Is4() && !best.Is4()) {
			best = other
		}
	}
	return net.JoinHostPort(best.String(), port)
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
	page, err := view.New(view.Config{Dir: dir, Hosts: append(slices.Clone(f.hosts), host), Token: token})
	if err != nil {
		return usage(fmt.Errorf("%w; runs are made by xmppbench run", err))
	}
	server := &http.Server{Handler: page} // #nosec G112 -- serveHTTP sets the time-out
	return serveHTTP(ctx, server, f.listen, func(at string) error {
		address := "http://" + f.reachable(at, net.InterfaceAddrs) + "/"
		if token != "" {
			address += "?token=" + token
		}
		if a.json {
			return a.writeJSON(viewInfo{Address: address, Dir: dir})
		}
		_, err := fmt.Fprintf(a.stdout, "%s shows the runs in %s until this is interrupted\n", address, dir)
		return err
	})
}

// viewInfo is what view prints when it is ready.
type viewInfo struct {
	Address string `json:"address"`
	Dir     string `json:"dir"`
}
