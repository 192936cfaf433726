package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/provision"
)

// usersFlags are the options of the users command.
type usersFlags struct {
	domains             []string
	pattern, password   string
	accounts, first     int
	contacts, itemBytes int
	seed                uint64
	format, output      string
	target              string
}

func (a *app) users() *cobra.Command {
	var f usersFlags
	c := &cobra.Command{
		Use:   "users",
		Short: "Print accounts with their passwords, or make them on a real server",
		Long: `Print the accounts of a population as comma-separated values or JSON, for k6
scripts and for whatever makes accounts on your server. They are the same for the
same options, and those of serve for the options that both have.

With --target nothing is printed: the accounts are made on that server, with their
rosters, as provision does for a scenario; provision --teardown takes them away.`,
		Example: `  xmppbench users --domain bench.test --accounts 1000 -o users.csv
  xmppbench users --domain bench.test --accounts 20000 --items 200 --target prosody.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.json && !c.Flags().Changed("format") {
				f.format = "json"
			}
			return a.printUsers(c.Context(), f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.domains, "domain", []string{"sim.test"}, "domains; accounts live at them in turn")
	flags.IntVar(&f.accounts, "accounts", 10, "number of accounts")
	flags.IntVar(&f.first, "first", 0, "number of the first one")
	flags.StringVar(&f.pattern, "pattern", "u{i:07}", "local part, with {i} for the number or {i:05} for five digits of it")
	flags.IntVar(&f.contacts, "items", 5, "contacts in each roster")
	flags.IntVar(&f.itemBytes, "item-bytes", 0, "length of each roster item; 0 leaves names and groups as they come")
	flags.Uint64Var(&f.seed, "seed", 1, "what passwords and rosters follow from")
	flags.StringVar(&f.password, "password-env", "XMPPBENCH_PASSWORD", "environment `VARIABLE` with the password of every account; if it is empty passwords are derived from the seed, which whoever knows the seed can do as well")
	flags.StringVar(&f.format, "format", "csv", "csv or json")
	flags.StringVarP(&f.output, "output", "o", "-", "`FILE` to write, readable by its owner alone; \"-\" is standard output")
	flags.StringVar(&f.target, "target", "", "target `FILE` with a provision section: make the accounts there")
	return c
}

func (a *app) printUsers(ctx context.Context, f usersFlags) (err error) {
	c := population.Config{
		Seed: f.seed, Domains: f.domains, Pattern: f.pattern, First: f.first, Accounts: f.accounts, Contacts: f.contacts,
		ItemBytes: f.itemBytes, Password: os.Getenv(f.password),
	}
	if f.target != "" {
		return a.makeUsers(ctx, f.target, c)
	}
	pop, err := population.New(c)
	if err != nil {
		return usage(err)
	}
	if f.format != "csv" && f.format != "json" {
		return usage(fmt.Errorf("--format %q is neither csv nor json", f.format))
	}
	w := a.stdout
	if f.output != "-" {
		file, err := os.OpenFile(f.output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return usage(fmt.Errorf("output: %w", err))
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		w = file
	}
	b := bufio.NewWriter(w)
	if f.format == "json" {
		err = usersJSON(b, pop)
	} else {
		err = usersCSV(b, pop)
	}
	return errors.Join(err, b.Flush())
}

// user is an account as scripts want it: the keys are those of the credentials
// of k6/x/xmpp.
type user struct {
	Index    int    `json:"index"`
	JID      string `json:"jid"`
	Password string `json:"password"`
}

// usersJSON writes an array with one account a line.
func usersJSON(w io.Writer, pop *population.Population) error {
	separator := "[\n "
	for i := range pop.Accounts() {
		account := pop.Account(i)
		b, err := json.Marshal(user{i, account.JID(), account.Password}) // #nosec G117 -- Scripts log in with the passwords.
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, b); err != nil {
			return err
		}
		separator = ",\n "
	}
	_, err := io.WriteString(w, "\n]\n")
	return err
}

func usersCSV(w io.Writer, pop *population.Population) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"index", "jid", "password"}) // Flush reports the error, as below.
	for i := range pop.Accounts() {
		account := pop.Account(i)
		_ = c.Write([]string{strconv.Itoa(i), account.JID(), account.Password})
	}
	c.Flush()
	return c.Error()
}

// makeUsers makes the accounts of a population on a real server.
func (a *app) makeUsers(ctx context.Context, target string, c population.Config) error {
	file, err := a.targetFile(target)
	if err != nil {
		return err
	}
	if !file.Provisioned() {
		return usage(fmt.Errorf("%s: provision: is missing: say where the server keeps its accounts", target))
	}
	c.Settled = !file.Provision.CarriesRequests()
	pop, err := population.New(c)
	if err != nil {
		return usage(err)
	}
	plan, err := provision.NewPlan(file.Provision, pop)
	if err != nil {
		return usage(err)
	}
	return a.apply(ctx, file, plan)
}
