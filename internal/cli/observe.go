package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/observe"
)

// observeFlags are the options of the observe command.
type observeFlags struct {
	observe.Config

	listen, tokenFile string
	cert, key         string // PEM files
	allow             bool
}

func (a *app) observe() *cobra.Command {
	var f observeFlags
	c := &cobra.Command{
		Use:   "observe",
		Short: "On the machine of a server: tell its CPU, memory and descriptors to runs made elsewhere",
		Long: `Tell runs made on another machine what the server on this one uses: CPU of its
processes and of their threads, memory, descriptors, sockets, network, control
group. It answers one question, GET /v1/reading, to whoever shows the token, and
changes nothing. It runs until it is interrupted, as root or as the server's own
user: others may not look at its processes.

The target file of the run names it as observe: {agent: ADDR, token: {file: FILE}}.
It listens on loopback unless told otherwise. Between machines give it a certificate,
whose authority the target file names as observe: {ca: FILE}, or let ssh -L carry it:
without TLS the token passes in clear.`,
		Example: `  xmppbench observe --token-file token --pid-file /run/prosody/prosody.pid
  xmppbench observe --token-file token --port 5222 --listen 10.0.0.5:7380 --tls-cert agent.pem --tls-key agent-key.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.serveObserver(c.Context(), f) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.listen, "listen", "127.0.0.1:7380", "`ADDR` to answer at")
	flags.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the token, one line of at least 16 characters")
	flags.IntVar(&f.PID, "pid", 0, "the server is this `PROCESS`")
	flags.StringVar(&f.PIDFile, "pid-file", "", "the server is the process whose number stands in `FILE`, read anew each time")
	flags.StringVar(&f.Listen, "port", "", "the server is what listens at `[ADDRESS:]PORT`")
	flags.StringVar(&f.Metrics, "metrics", "", "`URL` of the server's metrics in the format of Prometheus, for runs that cannot reach it")
	flags.StringVar(&f.API, "api", "", "`URL` of ejabberd's mod_http_api, likewise")
	flags.StringVar(&f.cert, "tls-cert", "", "PEM `FILE` with the certificate to show and those that it is signed by: speak TLS")
	flags.StringVar(&f.key, "tls-key", "", "PEM `FILE` with its key")
	flags.BoolVar(&f.allow, "allow-remote", false, "listen on addresses other than loopback without TLS: the token passes in clear")
	return c
}

// announcement is what observe says of itself once it answers.
type announcement struct {
	Address string `json:"address"` // host:port
	PIDs    []int  `json:"pids"`
}

func (a *app) serveObserver(ctx context.Context, f observeFlags) error {
	if f.tokenFile == "" {
		return usage(errors.New("--token-file is missing: name a file with a token, which the target file of the run names too"))
	}
	token, err := readToken(f.tokenFile)
	if err != nil {
		return usage(err)
	}
	if f.PID == 0 && f.PIDFile == "" && f.Listen == "" {
		return usage(errors.New("name the server: --pid, --pid-file or --port"))
	}
	serving, err := f.tls()
	if err != nil {
		return usage(err)
	}
	if !f.allow && serving == nil {
		if err := onLoopback(f.listen, "the token passes in clear: give --tls-cert and --tls-key"); err != nil {
			return usage(err)
		}
	}
	o, err := observe.Open(f.Config)
	if err != nil {
		return usage(err)
	}
	defer o.Close()
	first, err := o.Read(ctx)
	if err != nil {
		return &exitError{ExitUnreachable, err}
	}
	for _, missing := range first.Missing {
		fmt.Fprintln(a.stderr, "warning:", missing)
	}
	server := &http.Server{Handler: observe.Handler(o, token), TLSConfig: serving, WriteTimeout: 30 * time.Second} // #nosec G112 -- serveHTTP sets the time-out
	return serveHTTP(ctx, server, f.listen, func(at string) error {
		if a.json {
			return a.writeJSON(announcement{at, first.PIDs})
		}
		_, err := fmt.Fprintf(a.stdout, "observing %s, answering at %s\n", processes(first.PIDs), at)
		return err
	})
}

// tls is what the options make of TLS, nil if they name no certificate.
func (f observeFlags) tls() (*tls.Config, error) {
	switch {
	case f.cert == "" && f.key == "":
		return nil, nil
	case f.cert == "":
		return nil, errors.New("--tls-cert is missing: --tls-key is the key of a certificate")
	case f.key == "":
		return nil, errors.New("--tls-key is missing: --tls-cert is of no use without its key")
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left <= 0 {
		return nil, fmt.Errorf("--tls-cert: %s has expired on %s: no run would trust it", f.cert, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// processes names processes by their numbers.
func processes(pids []int) string {
	text := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ", "), "[]")
	if len(pids) == 1 {
		return "process " + text
	}
	return "processes " + text
}
