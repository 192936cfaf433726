package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios"
)

func (a *app) model() *cobra.Command {
	c := &cobra.Command{
		Use:   "model",
		Short: "Fit unit costs to small runs and predict large ones",
		Long: `Fit unit costs to runs of small sizes, check them on larger ones, and predict
sizes that nobody can run.

fit takes runs of six sizes at least, of three blocks each, and writes a model
file: what one more connection, proof or message of a federation, or one more
session, contact or message of logins (scenario session-cost) costs in CPU time,
memory, bytes and descriptors. check predicts runs that fit did not have, four times as
large at least, and writes into the file what came of it. predict says what
another size comes to, with a band, how far that is beyond what was measured,
and which limits of a machine come first.

docs/method.md says how it is done and what it does not know.`,
		Example: `  xmppbench run examples/calibration.yaml --out small
  xmppbench run examples/calibration.yaml --set domains=64x64 --out large
  xmppbench model fit small -o model.json
  xmppbench model check --model model.json large
  xmppbench model predict --model model.json --domains 100x100 --variant pair-external`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.modelFit(), a.modelCheck(), a.modelPredict())
	return c
}

const modelFlag = "`FILE` of the model; \"-\" is standard input"

func (a *app) modelFit() *cobra.Command {
	var (
		output  string
		holdout []string
		o       results.FitOptions
	)
	c := &cobra.Command{
		Use:   "fit RUN... -o FILE",
		Short: "Fit unit costs to runs of small sizes",
		Long: `Fit unit costs to runs of small sizes: relative errors, least squares, no price
below zero. The sizes must differ such that each price can be told from the
others; where they do not, the error says what to run.

With --holdout, plans of the same runs are left out and checked at once: name
them, or a value of a dimension such as 50x50, or say auto to leave out whatever
is larger than a quarter of the largest.`,
		Example: `  xmppbench model fit small-1 small-2 -o model.json
  xmppbench model fit RUN --holdout 50x50 -o model.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range holdout {
				if name == "auto" {
					o.Automatic = true
					continue
				}
				o.HoldOut = append(o.HoldOut, name)
			}
			return a.fitModel(args, output, o)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVarP(&output, "output", "o", "", "model `FILE` to write; \"-\" is standard output")
	flags.StringSliceVar(&holdout, "holdout", nil, "`PLAN` to leave out and check, a value of its dimensions, or auto; several are separated by commas")
	flags.BoolVar(&o.AllowDifferent, "allow-different", false, "take runs of different machines, targets, settings or wire versions together")
	return c
}

// modelOf opens runs and says what their scenario's costs depend on.
func modelOf(dirs []string) ([]*results.Run, results.ModelDesign, error) {
	runs, err := openRuns(dirs)
	if err != nil {
		return nil, results.ModelDesign{}, err
	}
	design, err := designOf(runs[0].Manifest.Scenario, runs[0].Manifest.Targets)
	return runs, design, err
}

func designOf(scenario string, targets []results.TargetInfo) (results.ModelDesign, error) {
	design, ok := scenarios.ModelDesign(scenario, targets)
	if !ok {
		return design, usage(fmt.Errorf("no model is made of the scenario %s, but of %s", scenario, strings.Join(scenarios.Modelled(), " and ")))
	}
	return design, nil
}

func (a *app) fitModel(dirs []string, output string, o results.FitOptions) error {
	if output == "" {
		return usage(errors.New("-o is missing: name the model file to write"))
	}
	runs, design, err := modelOf(dirs)
	if err != nil {
		return err
	}
	m, warnings, err := results.FitModel(runs, design, o)
	if err != nil {
		return usage(err)
	}
	m.Created = time.Now().UTC().Truncate(time.Second)
	for i := range m.Checks {
		m.Checks[i].Time = m.Created
	}
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "warning:", w)
	}
	if output == "-" {
		if err := m.Write(a.stdout); err != nil {
			return err
		}
	} else {
		if err := m.Save(output); err != nil {
			return usage(err)
		}
		if a.json {
			err = a.writeJSON(m)
		} else {
			err = m.WriteText(a.stdout, terminalWidth(a.stdout))
		}
		if err != nil {
			return err
		}
	}
	if len(m.Checks) > 0 && m.Checks[len(m.Checks)-1].State == results.Failed {
		return &exitError{code: ExitThresholds}
	}
	return nil
}

// readModel reads a model file.
func (a *app) readModel(name string) (*results.Model, error) {
	if name == "" {
		return nil, usage(errors.New("--model is missing: name the file that model fit has written"))
	}
	r, err := a.input(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, err := results.ReadModel(r)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", name, err))
	}
	return m, nil
}

func (a *app) modelCheck() *cobra.Command {
	var (
		file string
		o    results.CheckOptions
	)
	c := &cobra.Command{
		Use:   "check --model FILE RUN...",
		Short: "Hold a model against larger runs that it was not fitted to",
		Long: `Predict runs that the model was not fitted to, print the errors, and write into
the model file what came of it. Counts must be exact, bytes and memory within
2 %, CPU time within 15 %: otherwise the exit code is 99, and predict refuses the
model. A check takes sizes of four times the calibration at least.`,
		Example: `  xmppbench model check --model model.json large`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.checkModel(file, args, o)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&file, "model", "", "`FILE` of the model, which gets the result")
	flags.BoolVar(&o.AllowDifferent, "allow-different", false, "take runs of other machines, targets, settings or wire versions")
	return c
}

func (a *app) checkModel(file string, dirs []string, o results.CheckOptions) error {
	if file == "-" {
		return usage(errors.New("--model -: the result of the check is written into the model, which takes a file"))
	}
	m, err := a.readModel(file)
	if err != nil {
		return err
	}
	design, err := designOf(m.Scenario, m.Source.Targets)
	if err != nil {
		return err
	}
	runs, err := openRuns(dirs)
	if err != nil {
		return err
	}
	check, err := m.Check(runs, design, o)
	if err != nil {
		return usage(err)
	}
	check.Time = time.Now().UTC().Truncate(time.Second)
	if err := m.Save(file); err != nil {
		return err
	}
	if a.json {
		err = a.writeJSON(check)
	} else {
		err = check.WriteText(a.stdout, terminalWidth(a.stdout))
	}
	if err != nil {
		return err
	}
	if check.State == results.Failed {
		return &exitError{code: ExitThresholds}
	}
	return nil
}

// predictFlags are the options of model predict.
type predictFlags struct {
	file     string
	variants []string
	messages string
	within   time.Duration
	level    float64
	limit    float64

	domains string // of a model of federation, as are those that follow
	perPair string
	traffic string
	zipf    float64
	idle    time.Duration

	sessions    string // of a model of logins, as are those that follow
	items       string
	loginRate   string
	messageRate string

	// given reports whether an option stands on the command line.
	given func(name string) bool
}

// defaultExtrapolation is how many times the largest size that was measured a
// prediction may be without being asked for by --max-extrapolation.
const defaultExtrapolation = 100

func (a *app) modelPredict() *cobra.Command {
	var f predictFlags
	c := &cobra.Command{
		Use:   "predict --model FILE --domains NxM|--sessions N --variant NAME",
		Short: "Predict what a size comes to that was not run",
		Long: `Predict CPU time, memory, bytes, descriptors and ports of a size that was not
run, with a band and the limits of the calibration's machine in the order in
which they are met. A model of federation is asked about --domains of two
providers, one of logins about --sessions.

By default all pairs of domains talk, which is the upper bound. With --traffic
zipf, so many messages go between domains that are the more popular the lower
their rank; with --idle, the time that they take, streams that were silent for as
long are closed, and the prediction says what it costs to keep up.

Sessions log in once, fetch rosters of --items contacts each, send --messages in
all, and stay. --login-rate and --message-rate say what goes on then, and the
prediction what that takes of the CPUs.

A prediction far beyond what was measured is refused unless --max-extrapolation
allows it, and any at all after a check that failed.`,
		Example: `  xmppbench model predict --model model.json --domains 100x100 --variant pair-external
  xmppbench model predict --model model.json --domains 100kx100k --variant shared-attrcert --max-extrapolation 1e8
  xmppbench model predict --model model.json --domains 100kx100k --traffic zipf --messages 1M --idle 5m --max-extrapolation 1e6
  xmppbench model predict --model logins.json --sessions 100k --items 200 --messages 1M --login-rate 50/s --max-extrapolation 500`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f.given = c.Flags().Changed
			return a.predictModel(f)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.file, "model", "", modelFlag)
	flags.StringSliceVar(&f.variants, "variant", nil, "`NAME` of a variant of the model, or several (default all)")
	flags.StringVar(&f.domains, "domains", "", "domains of both providers, such as 100kx100k")
	flags.StringVar(&f.perPair, "per-pair", "1", "messages of each pair, each of which is echoed")
	flags.StringVar(&f.traffic, "traffic", "full", "full: all pairs talk; zipf: popular domains more than others")
	flags.Float64Var(&f.zipf, "zipf", 1, "exponent of popularity")
	flags.DurationVar(&f.idle, "idle", 0, "time that the messages take, after which a silent stream is closed")
	flags.StringVar(&f.sessions, "sessions", "", "sessions that log in and stay, such as 1M")
	flags.StringVar(&f.items, "items", "0", "contacts in each roster")
	flags.StringVar(&f.loginRate, "login-rate", "0/s", "logins that go on once everybody is online")
	flags.StringVar(&f.messageRate, "message-rate", "0/s", "messages that go on then")
	flags.StringVar(&f.messages, "messages", "", "messages in all; between domains each is echoed (default 1M with --traffic zipf, none of sessions)")
	flags.DurationVar(&f.within, "within", time.Hour, "time in which everything has to come up")
	flags.Float64Var(&f.level, "level", 0.95, "probability of the band")
	flags.Float64Var(&f.limit, "max-extrapolation", defaultExtrapolation, "refuse sizes of more than so many times the largest calibrated one")
	return c
}

// check refuses options that have no meaning whatever the model.
func (f predictFlags) check() error {
	switch {
	case f.within <= 0:
		return fmt.Errorf("--within %s is no time to come up in", f.within)
	case !(f.level > 0.5 && f.level < 1):
		return fmt.Errorf("--level %v is not a probability between 0.5 and 1", f.level)
	case !(f.limit >= 1) || math.IsInf(f.limit, 0):
		return fmt.Errorf("--max-extrapolation %v is not a factor of 1 or more", f.limit)
	}
	return nil
}

// about returns what a model is asked about, and refuses options of other subjects.
func (f predictFlags) about(m *results.Model) (subject, error) {
	all := subjects()
	i := slices.IndexFunc(all, func(s subject) bool { return s.scenario == m.Scenario })
	if i < 0 {
		return subject{}, fmt.Errorf("%s: is a model of %s, of which this program predicts nothing", f.file, m.Scenario)
	}
	for _, other := range all {
		for _, name := range other.flags {
			if other.scenario != m.Scenario && f.given(name) {
				return subject{}, fmt.Errorf("--%s is for models of %s; %s is one of %s, which takes --%s",
					name, other.scenario, f.file, m.Scenario, strings.Join(append(slices.Clone(all[i].flags), "messages"), ", --"))
			}
		}
	}
	return all[i], nil
}

// count reads an option that is a whole number.
func count(name, text string, least, most int64, what string) (int, error) {
	n, err := scenarios.ParseCount(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("--%s %q is not a number of %s from %d to %g", name, text, what, least, float64(most))
	}
	return int(n), nil
}

// mesh is what is asked of a model of federation.
func (f predictFlags) mesh() (q question, err error) {
	for _, name := range []string{"messages", "zipf", "idle"} {
		if f.given(name) && f.traffic != "zipf" {
			return q, fmt.Errorf("--%s is for --traffic zipf; in a full mesh --per-pair says how many messages there are", name)
		}
	}
	if f.given("per-pair") && f.traffic == "zipf" {
		return q, errors.New("--per-pair is for a full mesh; with --traffic zipf, --messages says how many there are in all")
	}
	if f.domains == "" {
		return q, errors.New("--domains is missing: name the numbers of domains of both providers, such as 100x100")
	}
	var t scenarios.MeshTraffic
	if t.Domains, err = scenarios.ParseDomains(f.domains); err != nil {
		return q, fmt.Errorf("--domains: %w", err)
	}
	if t.PerPair, err = count("per-pair", f.perPair, 1, 1e9, "messages"); err != nil {
		return q, err
	}
	q = question{
		size: t.Domains.String() + " domains", traffic: fmt.Sprintf("all pairs talk, %s each", plural(t.PerPair, "message")),
		forms: func(variant json.RawMessage) (scenarios.Forecast, error) { return scenarios.ForecastMesh(variant, t) },
	}
	switch f.traffic {
	case "full":
	case "zipf":
		messages, err := scenarios.ParseCount(cmp.Or(f.messages, "1M"))
		if err != nil || messages < 1 {
			return q, fmt.Errorf("--messages %q is not a number of messages", f.messages)
		}
		t.Zipf, t.Exponent, t.Messages, t.Idle = true, f.zipf, float64(messages), f.idle
		if !(f.zipf >= 0 && f.zipf <= 5) {
			return q, fmt.Errorf("--zipf %v is not an exponent from 0 to 5", f.zipf)
		}
		q.traffic = fmt.Sprintf("%s messages, popularity by rank to the power of -%g", results.Grouped(t.Messages), t.Exponent)
	default:
		return q, fmt.Errorf("--traffic %q is neither full nor zipf", f.traffic)
	}
	if f.idle < 0 {
		return q, fmt.Errorf("--idle %s is below 0", f.idle)
	}
	return q, nil
}

// logins is what is asked of a model of logins.
func (f predictFlags) logins() (q question, err error) {
	if f.sessions == "" {
		return q, errors.New("--sessions is missing: name the number of sessions, such as 1M")
	}
	var t scenarios.LoginTraffic
	if t.Sessions, err = count("sessions", f.sessions, 1, 1e9, "sessions"); err != nil {
		return q, err
	}
	if t.Items, err = count("items", f.items, 0, 10e6, "contacts"); err != nil {
		return q, err
	}
	if t.Messages, err = count("messages", cmp.Or(f.messages, "0"), 0, 1e15, "messages"); err != nil {
		return q, err
	}
	for name, at := range map[string]*float64{"login-rate": &t.LoginRate, "message-rate": &t.MessageRate} {
		text := map[string]string{"login-rate": f.loginRate, "message-rate": f.messageRate}[name]
		if *at, err = scenarios.ParseRate(text); err != nil {
			return q, fmt.Errorf("--%s: %w", name, err)
		}
	}
	return question{
		size:    results.Grouped(float64(t.Sessions)) + " sessions",
		traffic: fmt.Sprintf("rosters of %s, %s messages", contacts(t.Items), results.Grouped(float64(t.Messages))),
		forms:   func(variant json.RawMessage) (scenarios.Forecast, error) { return scenarios.ForecastLogins(variant, t) },
	}, nil
}

func contacts(n int) string { return results.Grouped(float64(n)) + " contacts" }

func (a *app) predictModel(f predictFlags) error {
	if err := f.check(); err != nil {
		return usage(err)
	}
	m, err := a.readModel(f.file)
	if err != nil {
		return err
	}
	about, err := f.about(m)
	if err != nil {
		return usage(err)
	}
	asked, err := about.size(f)
	if err != nil {
		return usage(err)
	}
	variants := f.variants
	if len(variants) == 0 {
		for _, p := range m.Parts {
			variants = append(variants, p.Variant)
		}
	}
	var all []forecast
	for _, variant := range variants {
		part, err := m.Part(strings.TrimSpace(variant))
		if err != nil {
			return usage(err)
		}
		one, err := newForecast(m, part, about, asked, f)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	if a.json {
		return a.writeJSON(forecasts{forecastSchema, all})
	}
	for i, one := range all {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		if err := one.write(a.stdout); err != nil {
			return err
		}
	}
	return nil
}
